use crate::failure::Outcome;
use crate::process::compile_preloaded;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Makes each flush of a program, and of those that it starts, take longer.
pub(super) struct SlowDisk {
    library: PathBuf,
    longer: Duration,
}

impl SlowDisk {
    /// Compiles the library that does it into a directory.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) of the compiler.
    pub(super) fn prepare(directory: &Path, longer: Duration) -> Outcome<Self> {
        let library = directory.join("libkoseki_slow_disk.so");
        compile_preloaded("tests/bench/slow_disk.c", &library)?;
        Ok(Self { library, longer })
    }

    /// Puts a program that is to be started on such a disk.
    pub(super) fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LD_PRELOAD", &self.library)
            .env("KOSEKI_FLUSH_US", self.longer.as_micros().to_string())
    }
}
