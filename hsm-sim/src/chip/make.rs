//! The vendor's production: chips with rising identifiers, and clones of one.

use crate::chip::error::ChipError;
use crate::chip::memory::{ChipFile, Makings};
use crate::chip::vendor::Vendor;
use identity::{ChipUid, Entropy, PartNumber};
use std::fs;
use std::path::{Path, PathBuf};

/// Identifiers of a batch of chips.
#[derive(Clone, Debug)]
pub enum Batch {
    /// Prefix, then a number that rises, big-endian, over the rest of the bytes.
    Sequence {
        /// What all begin with.
        prefix: Vec<u8>,
        /// Bytes of an identifier, 1 to 32.
        bytes: usize,
        /// The first number.
        first: u64,
        /// How many chips.
        count: u32,
    },
    /// One more chip with an identifier that another has: endorsed like it, with an attestation key of its own.
    Clone(ChipUid),
}

/// Makes chip files, named by identifier, in a directory, which is made; gives their paths.
///
/// # Errors
/// [`ChipError`]; files that exist are never overwritten.
pub fn make_chips(
    dir: &Path,
    batch: &Batch,
    part: PartNumber,
    vendor: &Vendor,
    entropy: &impl Entropy,
) -> Result<Vec<PathBuf>, ChipError> {
    fs::create_dir_all(dir).map_err(ChipError::io(dir))?;
    let make = |uid: ChipUid, name: String| {
        let (attestation, endorsement) = vendor.endorse(&uid, &part, entropy)?;
        let path = dir.join(name);
        ChipFile::create(
            &path,
            &Makings {
                uid,
                part,
                attestation,
                endorsement,
            },
        )
        .map(|()| path)
    };
    match batch {
        Batch::Clone(uid) => Ok(vec![make(*uid, free_clone_name(dir, uid))?]),
        Batch::Sequence {
            prefix,
            bytes,
            first,
            count,
        } => (0..u64::from(*count))
            .map(|at| uid_of(prefix, *bytes, first.saturating_add(at)))
            .map(|uid| uid.and_then(|uid| make(uid, format!("{uid}.chip"))))
            .collect(),
    }
}

fn uid_of(prefix: &[u8], bytes: usize, number: u64) -> Result<ChipUid, ChipError> {
    let out_of_range = || ChipError::UidRange { bytes };
    let room = bytes.checked_sub(prefix.len()).ok_or_else(out_of_range)?;
    let number = number.to_be_bytes();
    let (surplus, digits) = number.split_at(number.len().saturating_sub(room));
    if surplus.iter().any(|byte| *byte != 0) {
        return Err(out_of_range());
    }
    let mut uid = prefix.to_vec();
    uid.resize(bytes - digits.len(), 0);
    uid.extend_from_slice(digits);
    Ok(ChipUid::new(&uid)?)
}

fn free_clone_name(dir: &Path, uid: &ChipUid) -> String {
    let mut number = 1_u32;
    loop {
        let name = format!("{uid}-clone-{number}.chip");
        if !dir.join(&name).exists() {
            return name;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_rise_and_are_bounded() {
        assert_eq!(
            uid_of(&[1, 0x23], 9, 258).unwrap().to_string(),
            "012300000000000102"
        );
        assert_eq!(
            uid_of(&[1, 0x23], 12, 1).unwrap().to_string(),
            "012300000000000000000001"
        );
        assert_eq!(uid_of(&[1, 0x23], 3, 255).unwrap().to_string(), "0123ff");
        uid_of(&[1, 0x23], 3, 256).unwrap_err();
        uid_of(&[1, 0x23], 1, 0).unwrap_err();
        uid_of(&[1], 33, 0).unwrap_err();
    }
}
