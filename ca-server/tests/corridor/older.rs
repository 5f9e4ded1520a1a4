//! Each file alone replaced by an older copy of itself. Older copies of several, and a whole backup:
//! `tests/scenarios/backups.rs`.

use crate::child::run;
use crate::world::{Places, World, tell};
use std::fs;
use std::path::{Path, PathBuf};

/// The files of a place that are not derived from others, and the published checkpoint.
fn files(room: &Path) -> [PathBuf; 4] {
    let places = Places::below(room);
    let checkpoint = places.log.join("checkpoint");
    [places.store, places.signer, places.head, checkpoint]
}

/// After two units were made, with a file as it was after the first. `None` if the server does not start.
async fn with_older(room: &Path, number: usize) -> (String, Option<World>) {
    let world = World::open(room, Places::below(room)).await;
    let first = world.provision(1).await.unwrap();
    let path = files(room)[number].clone();
    let kept = path.with_extension("kept");
    let world = world.restart_after(|_log| {
        fs::copy(&path, &kept).unwrap();
    });
    let second = world.provision(2).await.unwrap();
    let put_back = |_log: &Path| {
        let newer = fs::read(&path).unwrap();
        fs::copy(&kept, &path).unwrap();
        assert!(fs::read(&path).unwrap() != newer, "it is not older");
    };
    let world = match world.try_restart_after(put_back) {
        Err(refused) => return (refused, None),
        Ok(world) => world,
    };
    // What was given is given again, and what is new is new.
    for (device, issued) in [(1, first), (2, second)] {
        let again = world.provision(device).await.unwrap();
        assert_eq!(again.certificate, issued.certificate);
    }
    (String::new(), Some(world))
}

#[test]
fn an_older_store_is_refused() {
    run(
        concat!(module_path!(), "::an_older_store_is_refused"),
        |room| {
            tell(async {
                let (refused, world) = with_older(room, 0).await;
                assert!(world.is_none());
                assert!(
                    refused.contains("the head file knows a head of"),
                    "{refused}"
                );
            });
        },
    );
}

/// The signer follows the log again, from what it knows on.
#[test]
fn an_older_store_of_the_signer_is_brought_up_to_the_log() {
    run(
        concat!(
            module_path!(),
            "::an_older_store_of_the_signer_is_brought_up_to_the_log"
        ),
        |room| {
            tell(async {
                let (refused, world) = with_older(room, 1).await;
                let world = world.expect(&refused);
                world.provision(3).await.unwrap();
                world.corridor.stop();
            });
        },
    );
}

/// It remembers less, and is brought up to the store; what it forgot is in the store.
#[test]
fn an_older_head_file_is_brought_up_to_the_store() {
    run(
        concat!(
            module_path!(),
            "::an_older_head_file_is_brought_up_to_the_store"
        ),
        |room| {
            tell(async {
                let (refused, world) = with_older(room, 2).await;
                let world = world.expect(&refused);
                let size = world.corridor.status().unwrap().log_size;
                let head = ca_server::ledger::HeadFile::open(&Places::below(room).head).unwrap();
                assert_eq!(head.newest().0, size);
                world.provision(3).await.unwrap();
                world.corridor.stop();
            });
        },
    );
}

#[test]
fn an_older_published_checkpoint_is_published_anew() {
    run(
        concat!(
            module_path!(),
            "::an_older_published_checkpoint_is_published_anew"
        ),
        |room| {
            tell(async {
                let (refused, world) = with_older(room, 3).await;
                let world = world.expect(&refused);
                let written = fs::read_to_string(&files(room)[3]).unwrap();
                assert_eq!(written, world.corridor.checkpoint().unwrap());
                world.provision(3).await.unwrap();
                world.corridor.stop();
            });
        },
    );
}
