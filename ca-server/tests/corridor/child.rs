//! Each test runs in a process of its own: a PKCS#11 module is told by the environment where its tokens are.

use crate::module;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOM: &str = "KOSEKI_CORRIDOR_TEST";

/// Runs a test's body in a process of its own, with an empty directory.
pub(crate) fn run(path: &str, body: fn(&Path)) {
    run_after(path, ("sh", &[]), "", body);
}

/// As [`run`], and a write past the limit of a file's size is an error of that write: not the end of the process, as it
/// would be (`setrlimit(2)`, `RLIMIT_FSIZE`).
pub(crate) fn run_with_file_limits(path: &str, body: fn(&Path)) {
    run_after(path, ("sh", &[]), "trap '' XFSZ &&", body);
}

/// As [`run`], with a disk of this size at `small` in the directory: a tmpfs in a mount namespace of the process.
pub(crate) fn run_on_small_disk(path: &str, kilobytes: u32, body: fn(&Path)) {
    let mount = format!("mount -t tmpfs -o size={kilobytes}k none \"${ROOM}/small\" &&");
    // A user may mount in namespaces of his own (util-linux, user_namespaces(7)).
    let shell = ("unshare", &["--map-root-user", "--mount", "sh"][..]);
    run_after(path, shell, &mount, body);
}

fn run_after(path: &str, (shell, arguments): (&str, &[&str]), first: &str, body: fn(&Path)) {
    if let Some(room) = std::env::var_os(ROOM) {
        return body(&PathBuf::from(room));
    }
    let (_crate, test) = path.split_once("::").unwrap();
    let room = tempfile::tempdir().unwrap();
    std::fs::create_dir(room.path().join("small")).unwrap();
    module::prepare(room.path());
    let script = format!("{first} exec \"$0\" \"$@\"");
    let output = module::tell(&mut Command::new(shell), room.path())
        .args(arguments)
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
