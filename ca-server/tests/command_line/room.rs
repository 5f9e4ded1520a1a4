//! A room with an HSM of its own, a configuration and the project's policies.

use crate::module;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

pub(crate) struct Room {
    dir: TempDir,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Room {
    pub(crate) fn new() -> Self {
        let room = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        module::prepare(room.dir.path());
        let example = include_str!("../../ca-server.example.toml");
        let config = example
            .replace("\"/var/lib/koseki/ca\"", "\"state\"")
            .replace("\"/etc/koseki/ceremony\"", "\"ceremony\"")
            .replace("\"/var/lib/koseki-head/head\"", "\"head/head\"")
            .replace("\"/var/lib/koseki-signer/", "\"signer/")
            .replace("\"/run/koseki/admin.sock\"", "\"admin.sock\"")
            .replace("\"/etc/koseki/signer.toml\"", "\"signer.toml\"")
            .replace("/etc/koseki/pins/", "pins/")
            .replace(
                "/usr/lib/softhsm/libsofthsm2.so",
                &module::path().to_string_lossy(),
            )
            .replace("\"0.0.0.0:8443\"", "\"127.0.0.1:0\"");
        std::fs::write(room.path("ca-server.toml"), config).unwrap();
        room
    }

    /// Tells a program where the room's tokens are.
    pub(crate) fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        module::tell(command, self.dir.path())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `ca-server` with these words; `@name` stands for a file of the room.
    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        self.run_in(Path::new("/"), words)
    }

    /// As [`Self::run`], from a directory.
    pub(crate) fn run_in(&self, here: &Path, words: &[&str]) -> Ended {
        let words = words.iter().map(|word| match word.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => (*word).into(),
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_ca-server"));
        command.args(words).current_dir(here);
        let output = self.tell(&mut command).output().unwrap();
        Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn init(&self) -> Ended {
        let plan = policies("ceremony/demo.toml");
        self.run(&[
            "init",
            "--config",
            "@ca-server.toml",
            "--ceremony",
            plan.to_str().unwrap(),
            "--pins",
            "@pins",
            "--attended",
            "Sato Yui, CA operator",
        ])
    }
}

impl Ended {
    /// The output of a command that must have succeeded.
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.out
    }

    /// The message of a command that must have failed with this code, and said what to do.
    pub(crate) fn refused(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert!(self.err.contains("To do: "), "{}", self.err);
        self.err
    }
}

pub(crate) fn policies(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../policies")
        .join(file)
}

/// Output of `openssl`, which must succeed.
pub(crate) fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "openssl {arguments:?}: {text}");
    text
}
