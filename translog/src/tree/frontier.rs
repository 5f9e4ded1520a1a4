//! The compact range from the first leaf: all that is needed to append and to give the root.

use super::{EMPTY_ROOT, Hash, MAX_TREE_SIZE, node_hash};

/// Roots of the complete subtrees that a tree of this size is made of, largest (leftmost) first.
///
/// There is one for each bit set in the size, so a log of any length appends in constant space.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

/// The stored form is not a frontier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrontierError {
    /// Shorter than the 8 bytes of the size.
    #[error("a frontier begins with an eight-byte size")]
    Truncated,
    /// The size is above [`MAX_TREE_SIZE`].
    #[error("tree size {0} is beyond 2^63 - 1")]
    Size(u64),
    /// The number of hash bytes is not 32 for each bit set in the size.
    #[error("a frontier of size {size} does not have {bytes} bytes of hashes")]
    Length {
        /// The size read.
        size: u64,
        /// The bytes that followed it.
        bytes: usize,
    },
}

impl Frontier {
    /// The frontier of the empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            size: 0,
            peaks: Vec::new(),
        }
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the complete subtrees, largest first.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends one leaf hash.
    pub fn append(&mut self, leaf_hash: Hash) {
        let mut node = leaf_hash;
        // Each trailing one bit of the size is a complete subtree as large as `node` is by then.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(left, node);
            }
        }
        self.peaks.push(node);
        // Cannot overflow: no frontier starts above MAX_TREE_SIZE, and 2⁶³ appends take for ever.
        self.size = self.size.saturating_add(1);
    }

    /// Root hash of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev().copied();
        let smallest = peaks.next().unwrap_or(EMPTY_ROOT);
        peaks.fold(smallest, |right, left| node_hash(left, right))
    }

    /// Stored form: the size as eight big-endian bytes, then 32 bytes a peak, largest first.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.size.to_be_bytes().to_vec();
        for peak in &self.peaks {
            bytes.extend_from_slice(peak.as_ref());
        }
        bytes
    }

    /// Reads the stored form. The hashes are taken as they are: compare [`Frontier::root`] with a
    /// root that is trusted.
    ///
    /// # Errors
    /// [`FrontierError`] when `bytes` is not exactly what [`Frontier::to_bytes`] makes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrontierError> {
        let (size, hashes) = bytes.split_first_chunk().ok_or(FrontierError::Truncated)?;
        let size = u64::from_be_bytes(*size);
        if size > MAX_TREE_SIZE {
            return Err(FrontierError::Size(size));
        }
        let (peaks, rest) = hashes.as_chunks();
        if !rest.is_empty() || u32::try_from(peaks.len()) != Ok(size.count_ones()) {
            return Err(FrontierError::Length {
                size,
                bytes: hashes.len(),
            });
        }
        Ok(Self {
            size,
            peaks: peaks.iter().copied().map(Hash::new).collect(),
        })
    }

    /// Assembles a frontier whose peaks were computed elsewhere, one for each bit set in `size`.
    pub(crate) fn from_peaks(size: u64, peaks: Vec<Hash>) -> Self {
        debug_assert_eq!(u32::try_from(peaks.len()), Ok(size.count_ones()));
        Self { size, peaks }
    }
}

impl Extend<Hash> for Frontier {
    fn extend<I: IntoIterator<Item = Hash>>(&mut self, leaf_hashes: I) {
        for leaf_hash in leaf_hashes {
            self.append(leaf_hash);
        }
    }
}

impl FromIterator<Hash> for Frontier {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaf_hashes: I) -> Self {
        let mut frontier = Self::new();
        frontier.extend(leaf_hashes);
        frontier
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_support::leaves;

    #[test]
    fn stored_form_round_trips_at_every_size() {
        let mut frontier = Frontier::new();
        for (size, leaf) in (0_u64..).zip(leaves(70)) {
            assert_eq!(frontier.size(), size);
            assert_eq!(
                Frontier::from_bytes(&frontier.to_bytes()),
                Ok(frontier.clone())
            );
            frontier.append(leaf);
        }
    }

    #[test]
    fn stored_form_is_strict() {
        let good = leaves(3).into_iter().collect::<Frontier>().to_bytes();
        assert_eq!(
            Frontier::from_bytes(&good[..7]),
            Err(FrontierError::Truncated)
        );
        let short = FrontierError::Length { size: 3, bytes: 32 };
        assert_eq!(Frontier::from_bytes(&good[..40]), Err(short));
        let long = [good.as_slice(), &[0]].concat();
        assert!(matches!(
            Frontier::from_bytes(&long),
            Err(FrontierError::Length { .. })
        ));
        assert_eq!(
            Frontier::from_bytes(&[0xff; 8 + 64 * 32]),
            Err(FrontierError::Size(u64::MAX))
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(frontier) = Frontier::from_bytes(&bytes) {
                prop_assert_eq!(frontier.to_bytes(), bytes);
            }
        }
    }
}
