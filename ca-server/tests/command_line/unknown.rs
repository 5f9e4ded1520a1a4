use crate::room::Room;
use crate::serving::{Server, approve, load, open_lot, status};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

/// Blocks of 512 bytes that a file may have: room in the write-ahead log for what a start writes, and little more.
const FEW: u32 = 64;

/// A server of which no file may grow beyond a limit: a write fails with `EFBIG`, which says nothing about the disk.
fn serve_limited(room: &Room) -> Child {
    let script = format!("trap '' XFSZ; ulimit -f {FEW}; exec \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_ca-server")])
        .args(["serve", "--config"])
        .arg(room.path("ca-server.toml"));
    room.tell(&mut command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Nothing is left in a write-ahead log that a start under the limit would have to write into a database beyond it. A
/// server that is stopped does this too, if no reader is about at that moment.
fn settle(room: &Room) {
    for store in ["state/ca.sqlite", "signer/signer.sqlite"] {
        let store = pages::open(&room.path(store)).unwrap();
        let truncate = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy: i64 = store.query_row(truncate, [], |row| row.get(0)).unwrap();
        assert_eq!(busy, 0);
    }
}

#[test]
fn a_commit_of_unknown_outcome_ends_the_process_and_a_restart_tells_the_truth() {
    let room = Room::new();
    room.init().done();
    // The store is made without the limit.
    Server::start(&room).stop();
    settle(&room);
    approve(&room, "vet-01");
    approve(&room, "ca-op-02");
    let both = ["vet-01", "ca-op-02"];
    let mut server = serve_limited(&room);
    let mut events = BufReader::new(server.stderr.take().unwrap());
    let mut log = String::new();
    while !log.contains("\"serving\"") {
        assert!(events.read_line(&mut log).unwrap() > 0, "it ended: {log}");
    }
    // One of the two finds no room.
    let told = [load(&room, &both, "@told"), open_lot(&room)];
    let lost = told.iter().find(|told| told.code != Some(0));
    let lost = lost.expect("both were written");
    events.read_to_string(&mut log).unwrap();
    let ended = server.wait().unwrap();
    assert_eq!(ended.code(), Some(75), "{}{log}", lost.err);
    assert!(log.contains("outcome of a commit is unknown"), "{log}");
    assert!(log.contains("To do: start it again"), "{log}");

    // Whatever became durable, the same commands are answered from it, each document with one leaf.
    let server = Server::start(&room);
    assert!(load(&room, &both, "@found").done().contains("is leaf 1;"));
    assert!(open_lot(&room).done().contains("is leaf 2"));
    let now = status(&room);
    assert!(now.contains("log      3 leaves"), "{now}");
    assert!(now.contains("issuing  yes, 0 in flight"), "{now}");
    server.stop();
}
