//! Reading files with a bound, and certificates in either of their two forms.

use crate::reason::Reason;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Largest certificate file: a chain with room to spare.
pub(crate) const MAX_CERTIFICATE_FILE: u64 = 64 << 10;

/// A file could not be read, or is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not there, not readable, or larger than anything of its kind.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Read, but malformed.
    #[error("{} is malformed: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which kind of file it should be.
        reason: Reason,
        /// What is wrong with it.
        why: String,
    },
}

/// Reads a file of at most `max` bytes.
///
/// # Errors
/// [`ReadError::Unreadable`]; a larger file counts as unreadable.
pub fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, ReadError> {
    read_to(path, max).map_err(|source| ReadError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// Reads a device's certificate, PEM or DER, and gives the DER. Of several certificates in a PEM file the first is the
/// device's; the others are not used, because intermediates come from [`crate::Trust`] only.
///
/// # Errors
/// [`ReadError`]
pub fn read_certificate(path: &Path) -> Result<Vec<u8>, ReadError> {
    let bytes = read_bounded(path, MAX_CERTIFICATE_FILE)?;
    if !is_pem(&bytes) {
        return Ok(bytes);
    }
    let malformed = |why: String| ReadError::Malformed {
        path: path.to_owned(),
        reason: Reason::CertificateForm,
        why,
    };
    let first = pem_blocks(&bytes, "CERTIFICATE")
        .map_err(malformed)?
        .into_iter()
        .next();
    first.ok_or_else(|| malformed("it holds no certificate".to_owned()))
}

/// Reads a proof file, as [`crate::verify_device`] takes it.
///
/// # Errors
/// [`ReadError::Unreadable`]
pub fn read_proof(path: &Path) -> Result<Vec<u8>, ReadError> {
    let max = u64::try_from(translog::receipt::MAX_RECEIPT_BYTES).unwrap_or(u64::MAX);
    read_bounded(path, max)
}

pub(crate) fn read_to(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= max => Ok(bytes),
        Ok(_) | Err(_) => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("more than {max} bytes"),
        )),
    }
}

/// Whether the bytes are PEM (RFC 7468): DER begins with a tag, never with a hyphen.
pub(crate) fn is_pem(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"-----BEGIN ")
}

/// The contents of all PEM blocks, each of which must have this label. Text between the blocks is refused.
pub(crate) fn pem_blocks(bytes: &[u8], label: &str) -> Result<Vec<Vec<u8>>, String> {
    const END: &str = "-----END ";
    let mut rest = str::from_utf8(bytes)
        .map_err(|error| error.to_string())?
        .trim();
    let mut blocks = Vec::new();
    while !rest.is_empty() {
        let end = rest.find(END).ok_or("a PEM block does not end")?;
        let (head, tail) = rest
            .split_at_checked(end)
            .ok_or("a PEM block does not end")?;
        let last = tail.split_inclusive('\n').next().unwrap_or(tail);
        let block = format!("{head}{last}");
        let (found, der) =
            der::pem::decode_vec(block.trim_end().as_bytes()).map_err(|error| error.to_string())?;
        if found != label {
            return Err(format!("a PEM block is {found:?}, not {label:?}"));
        }
        blocks.push(der);
        rest = tail.strip_prefix(last).unwrap_or_default().trim_start();
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nAQID\n-----END PUBLIC KEY-----\n";

    #[test]
    fn blocks_are_taken_one_by_one() {
        let two = format!("{PEM}\n{PEM}");
        assert_eq!(
            pem_blocks(two.as_bytes(), "PUBLIC KEY"),
            Ok(vec![vec![1, 2, 3], vec![1, 2, 3]])
        );
        pem_blocks(PEM.as_bytes(), "CERTIFICATE").unwrap_err();
        pem_blocks(format!("{PEM}trailing").as_bytes(), "PUBLIC KEY").unwrap_err();
        pem_blocks(PEM.replace("AQID", "AQI!").as_bytes(), "PUBLIC KEY").unwrap_err();
        assert_eq!(pem_blocks(b"", "PUBLIC KEY"), Ok(vec![]));
    }

    #[test]
    fn a_file_has_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [7; 10]).unwrap();
        assert_eq!(read_bounded(&path, 10).unwrap(), [7; 10]);
        assert!(matches!(
            read_bounded(&path, 9),
            Err(ReadError::Unreadable { .. })
        ));
    }
}
