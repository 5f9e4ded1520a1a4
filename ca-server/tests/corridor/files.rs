use crate::child::run;
use crate::world::{Places, World, tell, until};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

/// All files of a directory and below, with their bytes.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Partial tiles and bundles, without the newest of each.
fn older_partials(log: &Path) -> Vec<PathBuf> {
    let width = |path: &PathBuf| -> u32 {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.parse().unwrap()
    };
    let mut directories = BTreeMap::<PathBuf, Vec<PathBuf>>::new();
    for path in files(&log.join("tile")).into_keys() {
        let parent = path.parent().unwrap();
        if parent.extension().is_some_and(|extension| extension == "p") {
            directories.entry(parent.to_owned()).or_default().push(path);
        }
    }
    for partials in directories.values_mut() {
        partials.sort_by_key(width);
        partials.pop();
    }
    directories.into_values().flatten().collect()
}

#[test]
fn a_partial_file_that_a_kill_left_torn_is_mended_at_the_next_start() {
    run(
        concat!(
            module_path!(),
            "::a_partial_file_that_a_kill_left_torn_is_mended_at_the_next_start"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                for device in 1..=3 {
                    world.provision(device).await.unwrap();
                }
                let log = Places::below(room).log;
                let before = files(&log.join("tile"));
                let torn = older_partials(&log);
                assert!(torn.len() > 8, "{torn:?}");
                let world = world.restart_after(|_log| {
                    for (number, path) in torn.iter().enumerate() {
                        let bytes = fs::read(path).unwrap();
                        fs::write(path, &bytes[..bytes.len() * (number % 3) / 3]).unwrap();
                    }
                });
                assert!(files(&log.join("tile")) == before, "not as it was");
                world.corridor.stop();
            });
        },
    );
}

#[test]
fn without_the_newest_files_only_what_follows_the_checkpoint_is_written() {
    run(
        concat!(
            module_path!(),
            "::without_the_newest_files_only_what_follows_the_checkpoint_is_written"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                world.provision(1).await.unwrap();
                let log = Places::below(room).log;
                let published = fs::read(log.join("checkpoint")).unwrap();
                world.provision(2).await.unwrap();
                let before = files(&log.join("tile"));
                // As a kill leaves it between the commit of the second unit and its files.
                let world = world.restart_after(|log| {
                    fs::write(log.join("checkpoint"), &published).unwrap();
                    fs::remove_file(log.join("tile/0/000.p/6")).unwrap();
                    fs::remove_file(log.join("tile/entries/000.p/6")).unwrap();
                });
                assert!(files(&log.join("tile")) == before, "not as it was");
                assert_ne!(fs::read(log.join("checkpoint")).unwrap(), published);
                world.corridor.stop();
            });
        },
    );
}

/// While more waits, files of partial tiles are left to a later batch; once nobody waits any more, none is missing.
#[test]
fn partial_files_follow_within_their_lag() {
    run(
        concat!(module_path!(), "::partial_files_follow_within_their_lag"),
        |room| {
            tell(async {
                let mut places = Places::below(room);
                places.files_within = Duration::from_millis(5);
                let world = World::open(room, places).await;
                let runtime = tokio::runtime::Handle::current();
                for round in 0..3 {
                    std::thread::scope(|scope| {
                        for device in 1..=16 {
                            let (world, runtime) = (&world, &runtime);
                            scope.spawn(move || {
                                let device = 16 * round + device;
                                let issued = runtime.block_on(world.provision(device)).unwrap();
                                runtime.block_on(world.confirm(device, &issued)).unwrap();
                            });
                        }
                    });
                    let log = Places::below(room).log;
                    // Nobody asks for anything more; they are written all the same.
                    let newest = world.corridor.checkpoint().unwrap();
                    while fs::read_to_string(log.join("checkpoint")).unwrap() != newest {
                        std::thread::yield_now();
                    }
                    let size = world.corridor.status().unwrap().log_size;
                    assert!(log.join(format!("tile/0/000.p/{size}")).exists(), "{size}");
                    assert!(log.join(format!("tile/entries/000.p/{size}")).exists());
                }
                world.corridor.stop();
            });
        },
    );
}

#[test]
fn files_that_lag_are_written_at_the_end_and_with_the_next_batch() {
    run(
        concat!(
            module_path!(),
            "::files_that_lag_are_written_at_the_end_and_with_the_next_batch"
        ),
        |room| {
            tell(async {
                let log = Places::below(room).log;
                let read = || fs::read_to_string(log.join("checkpoint")).unwrap_or_default();
                let mut places = Places::below(room);
                places.files_within = Duration::from_secs(3600);
                let mut world = World::open(room, places).await;
                let issued = world.provision(1).await.unwrap();
                world.confirm(1, &issued).await.unwrap();
                let newest = world.corridor.checkpoint().unwrap();
                assert_ne!(read(), newest, "an hour is not over");
                world.places.files_within = Duration::ZERO;
                // At a graceful end nothing is left out, and the start finds nothing torn.
                world = world.restart_after(|_log| assert_eq!(read(), newest));
                world.provision(2).await.unwrap();
                assert_eq!(
                    read(),
                    world.corridor.checkpoint().unwrap(),
                    "no lag is allowed"
                );
                world.corridor.stop();
            });
        },
    );
}

#[test]
fn a_request_whose_caller_hung_up_is_finished() {
    run(
        concat!(
            module_path!(),
            "::a_request_whose_caller_hung_up_is_finished"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let before = crate::world::counts(&world).0;
                let asked = Box::pin(world.provision(1));
                // Asked for a first time, its signatures are being checked; then it is dropped.
                let asked = at_once(asked).await;
                assert!(asked.is_none(), "it was answered at once");
                until("the unit", || crate::world::counts(&world).0 == before + 1).await;
                world.provision(1).await.unwrap();
                assert_eq!(crate::world::counts(&world).0, before + 1);
                world.corridor.stop();
            });
        },
    );
}

/// What is ready when it is asked for the first time.
async fn at_once<T>(work: impl Future<Output = T> + Unpin) -> Option<T> {
    let mut work = work;
    std::future::poll_fn(move |context| {
        Poll::Ready(match Pin::new(&mut work).poll(context) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        })
    })
    .await
}

#[test]
fn documents_that_are_missing_or_torn_are_written_at_the_next_start() {
    run(
        concat!(
            module_path!(),
            "::documents_that_are_missing_or_torn_are_written_at_the_next_start"
        ),
        |room| {
            tell(async {
                let mut world = World::open(room, Places::below(room)).await;
                let documents = Places::below(room).log.join("documents");
                let before = files(&documents);
                assert_eq!(before.len(), 4, "ceremony, station, grant, lot: {before:?}");
                // As a store from before documents were published has it.
                world = world.restart_after(|_log| fs::remove_dir_all(&documents).unwrap());
                assert!(files(&documents) == before, "not as they were");
                world = world.restart_after(|_log| {
                    for (number, (path, bytes)) in before.iter().enumerate() {
                        match number % 2 {
                            0 => fs::remove_file(path).unwrap(),
                            _ => fs::write(path, &bytes[..bytes.len() / 2]).unwrap(),
                        }
                    }
                });
                assert!(files(&documents) == before, "not as they were");
                world.corridor.stop();
            });
        },
    );
}
