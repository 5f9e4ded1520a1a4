use crate::child::run_on_small_disk;
use crate::world::{Places, World, fault, tell, until};
use ca_server::issuance::Ends;
use identity::fault::Fault;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Takes all that is left of a disk.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filler");
    let mut file = std::fs::File::create(&path).unwrap();
    let mut room = 0;
    // Small pieces at the end, so that nothing at all is left.
    for piece in [65_536, 4096, 1] {
        let bytes = vec![0x55; piece];
        while file.write_all(&bytes).is_ok() {
            room += piece;
        }
    }
    assert!(room > 0, "the disk was full before");
    path
}

/// Whatever is on the small disk: a full disk stops issuing before anything is signed, reads go on, and as soon as
/// there is room the same requests are answered.
async fn story(room: &Path, places: Places) {
    let world = World::open(room, places).await;
    let first = world.provision(0).await.unwrap();
    let filler = fill(&room.join("small"));
    let last = until_refused(&world).await;
    reads_go_on(&world).await;
    std::fs::remove_file(filler).unwrap();
    until("issuing goes on", || {
        world.corridor.status().unwrap().stopped.is_none()
    })
    .await;
    for again in [last, 900] {
        world.provision(again).await.unwrap();
    }
    assert_eq!(
        world.provision(0).await.unwrap().certificate,
        first.certificate
    );
    // One binding a device, and the log is whole.
    let issued = crate::world::counts(&world).0;
    assert_eq!(issued, u32::from(last) + 2);
    let world = world.restart();
    assert_eq!(
        world.provision(0).await.unwrap().certificate,
        first.certificate
    );
}

/// Asks for units until one is refused for want of room, and gives that one.
async fn until_refused(world: &World) -> u16 {
    for device in 1..900 {
        if let Err(refusal) = world.provision(device).await {
            assert_eq!(refusal.fault, Fault::StoreUnavailable);
            return device;
        }
    }
    panic!("the disk never was full")
}

/// While issuing is stopped nothing more is bound, and what is there is read.
async fn reads_go_on(world: &World) {
    let status = world.corridor.status().unwrap();
    let stop = status.stopped.unwrap();
    assert_eq!(stop.ends, Ends::ByItself, "{stop:?}");
    assert_eq!(fault(world.provision(900).await), Fault::StoreUnavailable);
    let leaves = world.corridor.entries(0, 1000).unwrap().len();
    assert_eq!(u64::try_from(leaves).unwrap(), status.log_size);
    world.corridor.checkpoint().unwrap();
    assert_eq!(world.corridor.status().unwrap().log_size, status.log_size);
}

#[test]
fn a_full_disk_under_the_store() {
    run_on_small_disk(
        concat!(module_path!(), "::a_full_disk_under_the_store"),
        3000,
        |room| {
            let places = Places {
                store: room.join("small/ca.sqlite"),
                ..Places::below(room)
            };
            tell(story(room, places));
        },
    );
}

#[test]
fn a_full_disk_under_the_log_files() {
    run_on_small_disk(
        concat!(module_path!(), "::a_full_disk_under_the_log_files"),
        1000,
        |room| {
            let places = Places {
                log: room.join("small/log"),
                ..Places::below(room)
            };
            tell(story(room, places));
        },
    );
}

#[test]
fn a_full_disk_under_the_signers_store() {
    run_on_small_disk(
        concat!(module_path!(), "::a_full_disk_under_the_signers_store"),
        3000,
        |room| {
            let places = Places {
                signer: room.join("small/signer.sqlite"),
                ..Places::below(room)
            };
            tell(story(room, places));
        },
    );
}

/// The last unit is answered before its files are written; what follows is refused.
#[test]
fn a_full_disk_under_log_files_that_lag() {
    run_on_small_disk(
        concat!(module_path!(), "::a_full_disk_under_log_files_that_lag"),
        1000,
        |room| {
            let places = Places {
                log: room.join("small/log"),
                files_within: Duration::from_millis(5),
                ..Places::below(room)
            };
            tell(story(room, places));
        },
    );
}
