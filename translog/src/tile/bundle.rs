//! Entry bundles: each entry after its length, a big-endian u16.

use super::Width;

/// The largest entry that a bundle can hold.
pub const MAX_ENTRY_BYTES: usize = 65_535;

/// The entries do not fit a bundle, or the bytes are not the bundle that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// An entry is longer than [`MAX_ENTRY_BYTES`].
    #[error("an entry has at most 65535 bytes, not {0}")]
    EntryTooLong(usize),
    /// A bundle has between 1 and 256 entries.
    #[error("a bundle has 1 to 256 entries, not {0}")]
    Width(usize),
    /// The bytes end inside an entry, or before the last one expected.
    #[error("the bundle ends inside entry {0}")]
    Truncated(usize),
    /// Bytes follow the last entry expected.
    #[error("{0} bytes follow the last entry")]
    Trailing(usize),
}

/// The file of a bundle with these entries.
///
/// # Errors
/// [`BundleError`] unless there are 1 to 256 entries of at most [`MAX_ENTRY_BYTES`] each.
pub fn encode_entries<E: AsRef<[u8]>>(entries: &[E]) -> Result<Vec<u8>, BundleError> {
    Width::of(entries.len()).ok_or(BundleError::Width(entries.len()))?;
    let mut bytes = Vec::new();
    for entry in entries.iter().map(AsRef::as_ref) {
        let length = u16::try_from(entry.len()).ok();
        let length = length.ok_or(BundleError::EntryTooLong(entry.len()))?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}

/// The entries in the file of a bundle of known width. They borrow from `bytes`, so that a hostile
/// file costs no memory beyond its own.
///
/// # Errors
/// [`BundleError`] unless `bytes` holds exactly `width` entries.
pub fn decode_entries(bytes: &[u8], width: Width) -> Result<Vec<&[u8]>, BundleError> {
    let mut rest = bytes;
    let mut entries = Vec::with_capacity(width.hashes());
    for position in 0..width.hashes() {
        let (entry, after) = split_entry(rest).ok_or(BundleError::Truncated(position))?;
        entries.push(entry);
        rest = after;
    }
    if rest.is_empty() {
        Ok(entries)
    } else {
        Err(BundleError::Trailing(rest.len()))
    }
}

fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limits_are_exact() {
        let longest = vec![0xa5; MAX_ENTRY_BYTES];
        let bytes = encode_entries(&[&longest]).unwrap();
        assert_eq!(
            decode_entries(&bytes, Width::new(1).unwrap()),
            Ok(vec![longest.as_slice()])
        );
        let refused = BundleError::EntryTooLong(65_536);
        assert_eq!(encode_entries(&[vec![0; 65_536]]), Err(refused));
        assert_eq!(encode_entries::<&[u8]>(&[]), Err(BundleError::Width(0)));
        assert_eq!(encode_entries(&[[0; 1]; 257]), Err(BundleError::Width(257)));
    }

    #[test]
    fn width_must_match() {
        let bytes = encode_entries(&["alpha", "beta"]).unwrap();
        let decode = |bytes, width| decode_entries(bytes, Width::new(width).unwrap());
        assert_eq!(decode(&bytes, 1), Err(BundleError::Trailing(6)));
        assert_eq!(decode(&bytes, 3), Err(BundleError::Truncated(2)));
        assert_eq!(decode(&bytes[..12], 2), Err(BundleError::Truncated(1)));
        assert_eq!(decode(&bytes[..8], 2), Err(BundleError::Truncated(1)));
    }

    proptest! {
        #[test]
        fn entries_round_trip(entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..20)) {
            let bytes = encode_entries(&entries).unwrap();
            prop_assert_eq!(decode_entries(&bytes, Width::of(entries.len()).unwrap()).unwrap(), entries);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), width in 1..=256_u16) {
            if let Ok(entries) = decode_entries(&bytes, Width::new(width).unwrap()) {
                prop_assert_eq!(encode_entries(&entries).unwrap(), bytes);
            }
        }
    }
}
