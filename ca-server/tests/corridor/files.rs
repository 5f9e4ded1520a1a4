use crate::child::run;
use crate::world::{Places, World, tell};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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
fn when_nobody_waits_the_files_are_those_of_the_newest_checkpoint() {
    run(
        concat!(
            module_path!(),
            "::when_nobody_waits_the_files_are_those_of_the_newest_checkpoint"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
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
                    let written = fs::read_to_string(log.join("checkpoint")).unwrap();
                    assert_eq!(written, world.corridor.checkpoint().unwrap());
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
