//! Directories that are nobody else's.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

/// Permission bits of group and others.
const GROUP_AND_OTHERS: u32 = 0o077;

/// Why a directory is not to be trusted with what must stay private.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPrivate {
    /// It cannot be made or looked at.
    #[error(transparent)]
    System(#[from] io::Error),
    /// Group or others may read it or write to it.
    #[error("open to group or others: chmod 700")]
    Open,
    /// It is somebody else's.
    #[error("owned by user {0}, not by the user of this program")]
    Foreign(u32),
}

/// Makes a directory, with those above it, closed to everybody else; one that is there must be so already.
pub(crate) fn directory(path: &Path) -> Result<(), NotPrivate> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)?;
    let found = std::fs::metadata(path)?;
    judge(
        found.mode(),
        found.uid(),
        rustix::process::geteuid().as_raw(),
    )
}

const fn judge(mode: u32, owner: u32, user: u32) -> Result<(), NotPrivate> {
    if owner != user {
        return Err(NotPrivate::Foreign(owner));
    }
    if mode & GROUP_AND_OTHERS != 0 {
        return Err(NotPrivate::Open);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_directory_is_made_closed_and_an_open_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        directory(&path).unwrap();
        directory(&path).unwrap();
        for mode in [0o710, 0o705, 0o770] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(directory(&path), Err(NotPrivate::Open)),
                "{mode:o}"
            );
        }
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        assert!(matches!(judge(0o700, 7, 8), Err(NotPrivate::Foreign(7))));
        judge(0o40_700, 8, 8).unwrap();
    }
}
