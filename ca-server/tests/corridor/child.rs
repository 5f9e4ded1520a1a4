//! Each test runs in a process of its own: a PKCS#11 module is told by the environment where its tokens are.

use crate::module;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOM: &str = "KOSEKI_CORRIDOR_TEST";

/// Runs a test's body in a process of its own, with an empty directory.
pub(crate) fn run(path: &str, body: fn(&Path)) {
    run_after(path, "", body);
}

/// As [`run`], with a disk of this size at `small` in the directory: a tmpfs in a mount namespace of the process.
pub(crate) fn run_on_small_disk(path: &str, kilobytes: u32, body: fn(&Path)) {
    let mount = format!("mount -t tmpfs -o size={kilobytes}k none \"${ROOM}/small\" &&");
    run_after(path, &mount, body);
}

fn run_after(path: &str, first: &str, body: fn(&Path)) {
    if let Some(room) = std::env::var_os(ROOM) {
        return body(&PathBuf::from(room));
    }
    let (_crate, test) = path.split_once("::").unwrap();
    let room = tempfile::tempdir().unwrap();
    std::fs::create_dir(room.path().join("small")).unwrap();
    module::prepare(room.path());
    let script = format!("{first} exec \"$0\" \"$@\"");
    let mut command = if first.is_empty() {
        Command::new("sh")
    } else {
        // A user may mount in namespaces of his own (util-linux, user_namespaces(7)).
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh"]);
        command
    };
    let output = module::tell(&mut command, room.path())
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ROOM, room.path())
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test}:\n{text}"
    );
}
