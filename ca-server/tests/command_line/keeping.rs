//! Where a backup goes, and what is left of a start that was refused.

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

#[test]
fn a_start_before_the_ceremony_leaves_nothing_behind() {
    let room = Room::new();
    let before = names(&room.path(""));
    let error = room
        .run(&["serve", "--config", "@ca-server.toml"])
        .refused(78);
    assert!(
        error.contains("To do: hold the ceremony first: `ca-server init`"),
        "{error}"
    );
    assert_eq!(names(&room.path("")), before);
}

/// The disk of the state is new: whatever starts the server before the operator restores must not stand in the way.
#[test]
fn a_refused_start_on_an_empty_state_leaves_it_empty_for_a_restore() {
    let room = Room::new();
    room.init().done();
    let server = Server::start(&room);
    back_up(&room, "@backup").done();
    server.stop();
    let state = room.path("state");
    let serve = || room.run(&["serve", "--config", "@ca-server.toml"]);
    let refused_and_empty = || {
        let error = serve().refused(69);
        assert_eq!(names(&state), Vec::<String>::new(), "{error}");
        error
    };
    std::fs::remove_dir_all(&state).unwrap();
    let error = refused_and_empty();
    assert!(error.contains("a head of 1 leaves"), "{error}");
    // The head file is lost as well.
    let (head, aside) = (room.path("head/head"), room.path("aside"));
    std::fs::rename(&head, &aside).unwrap();
    let error = refused_and_empty();
    assert!(error.contains("head/head is missing"), "{error}");
    std::fs::rename(&aside, &head).unwrap();
    room.run(&[
        "restore",
        "--config",
        "@ca-server.toml",
        "--from",
        "@backup",
    ])
    .done();
    Server::start(&room).stop();
}
