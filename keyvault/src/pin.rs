//! PINs: read from a private file, wiped from memory, never shown.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Component, Path};

use rustix::process::{Uid, geteuid};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::{PinFault, Result};

/// Longest PIN file that is read, in bytes. Tokens take far shorter PINs.
const LONGEST: u64 = 1024;

/// Permission bits of group and others.
const GROUP_AND_OTHERS: u32 = 0o077;

/// Permission bits of others.
const OTHERS: u32 = 0o007;

/// A PIN of a user or security officer. Wiped when dropped; `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Pin(SecretString);

impl Pin {
    /// Takes a PIN that is already in memory.
    #[must_use]
    pub fn new(pin: String) -> Self {
        Self(SecretString::from(pin))
    }

    /// Reads a PIN from a file that only its owner may read. One newline at the end is dropped.
    ///
    /// # Errors
    /// [`PinFault::File`] if the file cannot be read, is not a regular file, is another user's, is open to group or
    /// others, is empty, over 1 KiB, or not UTF-8.
    pub fn from_file(path: &Path) -> Result<Self> {
        read(path, GROUP_AND_OTHERS, &[geteuid()])
    }

    /// Reads the systemd credential `name` from `directory`, the service's `$CREDENTIALS_DIRECTORY`
    /// (systemd.exec(5), "Credentials").
    ///
    /// The directory itself is closed to everybody but the service; what is in it is root's or the service's. An access list that systemd sets for the
    /// service's user shows as group permission, so that only permissions of others are refused here.
    ///
    /// # Errors
    /// [`PinFault::File`] as for [`Pin::from_file`], or if `name` is not a plain file name.
    pub fn from_credential(directory: &Path, name: &str) -> Result<Self> {
        let path = directory.join(name);
        let mut components = Path::new(name).components();
        match (components.next(), components.next()) {
            (Some(Component::Normal(_)), None) => read(&path, OTHERS, &[geteuid(), Uid::ROOT]),
            _ => Err(refused(
                &path,
                "the credential's name must be a plain file name",
            )),
        }
    }

    /// Compares in constant time (for PINs of equal length).
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.0
            .expose_secret()
            .as_bytes()
            .ct_eq(other.0.expose_secret().as_bytes())
            .into()
    }

    pub(crate) const fn secret(&self) -> &SecretString {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin([REDACTED])")
    }
}

fn read(path: &Path, forbidden: u32, owners: &[Uid]) -> Result<Pin> {
    let unreadable = |error: std::io::Error| refused(path, &error.to_string());
    // Permissions are those of the open file, so that it cannot be exchanged between check and use.
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(refused(path, "not a regular file"));
    }
    // Whoever owns the file may put a PIN of his own choice into it.
    if !owners.iter().any(|owner| owner.as_raw() == metadata.uid()) {
        return Err(refused(path, "owned by another user"));
    }
    if metadata.permissions().mode() & forbidden != 0 {
        let mend = format!("open to more than its owner; chmod 400 {}", path.display());
        return Err(refused(path, &mend));
    }
    if metadata.len() > LONGEST {
        return Err(refused(path, "longer than any PIN"));
    }
    let capacity = usize::try_from(LONGEST).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(capacity)); // never grows: no copy of the PIN stays behind
    file.take(LONGEST)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    match text.strip_suffix('\n').unwrap_or(&text) {
        "" => Err(refused(path, "empty")),
        pin => Ok(Pin::new(pin.to_owned())),
    }
}

fn refused(path: &Path, reason: &str) -> crate::VaultError {
    PinFault::File {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn file(content: &str, mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pin");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    fn reason(outcome: Result<Pin>) -> String {
        let error = outcome.unwrap_err();
        let crate::VaultError::Pin(PinFault::File { reason, .. }) = error else {
            panic!("{error}")
        };
        reason
    }

    #[test]
    fn one_newline_is_dropped() {
        let (_keep, path) = file("12 34\n\n", 0o400);
        assert!(
            Pin::from_file(&path)
                .unwrap()
                .same(&Pin::new("12 34\n".to_owned()))
        );
    }

    #[test]
    fn a_file_open_to_others_is_refused() {
        for mode in [0o440, 0o404, 0o620] {
            let (_keep, path) = file("1234\n", mode);
            let told = reason(Pin::from_file(&path));
            let mend = format!("; chmod 400 {}", path.display());
            assert_eq!(told, format!("open to more than its owner{mend}"));
        }
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let (_keep, path) = file("1234\n", 0o600);
        let stranger = Uid::from_raw(geteuid().as_raw() + 1);
        let read_as = |owner| read(&path, GROUP_AND_OTHERS, &[owner]);
        read_as(geteuid()).unwrap();
        assert_eq!(reason(read_as(stranger)), "owned by another user");
    }

    #[test]
    fn empty_long_and_missing_files_are_refused() {
        let (_keep, empty) = file("\n", 0o400);
        assert_eq!(reason(Pin::from_file(&empty)), "empty");
        let (_keep, long) = file(&"1".repeat(1025), 0o400);
        assert_eq!(reason(Pin::from_file(&long)), "longer than any PIN");
        Pin::from_file(Path::new("/nonexistent/pin")).unwrap_err();
    }

    #[test]
    fn a_credential_may_carry_an_access_list_but_no_path() {
        let (directory, _) = file("1234", 0o440);
        assert!(
            Pin::from_credential(directory.path(), "pin")
                .unwrap()
                .same(&Pin::new("1234".to_owned()))
        );
        for name in ["../pin", "/etc/passwd", "a/b", ""] {
            assert!(
                Pin::from_credential(directory.path(), name).is_err(),
                "{name}"
            );
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(
            format!("{:?}", Pin::new("4711".to_owned())),
            "Pin([REDACTED])"
        );
    }
}
