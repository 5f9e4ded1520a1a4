//! Where a backup goes.

use crate::room::{Ended, Room};
use crate::serving::Server;
use std::path::Path;

fn back_up(room: &Room, out: &str) -> Ended {
    room.run(&["backup", "--config", "@ca-server.toml", "--out", out])
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    let names = names.into_iter();
    names.map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn a_backup_is_made_under_the_name_that_a_shell_completes() {
    let room = Room::new();
    room.init().done();
    let server = Server::start(&room);
    let told = back_up(&room, "@first/").done();
    assert!(told.contains("1 leaves"), "{told}");
    let made = names(&room.path("first"));
    assert_eq!(made, ["MANIFEST", "ca.sqlite", "ceremony", "checkpoint"]);
    let again = back_up(&room, "@first").refused(69);
    assert!(again.contains("first: is there already"), "{again}");
    // A way around the state's directory leads into it all the same.
    let inside = back_up(&room, "@pins/../state/backup").refused(69);
    assert!(inside.contains("inside of what is backed up"), "{inside}");
    for nameless in ["@first/..", "/"] {
        let error = back_up(&room, nameless).refused(69);
        assert!(error.contains("name a directory"), "{error}");
    }
    server.stop();
}

#[test]
fn a_backup_to_a_disk_that_is_not_mounted_fills_no_other() {
    let room = Room::new();
    room.init().done();
    std::fs::write(room.path("a-file"), b"").unwrap();
    let server = Server::start(&room);
    for (out, above) in [
        ("@media/today", "media"),
        ("@media/koseki/today", "media/koseki"),
        ("@a-file/today", "a-file"),
    ] {
        let error = back_up(&room, out).refused(69);
        let above = room.path(above).display().to_string();
        assert!(
            error.contains(&above) && error.contains("mount"),
            "{out}: {error}"
        );
    }
    assert!(!room.path("media").exists());
    server.stop();
}
