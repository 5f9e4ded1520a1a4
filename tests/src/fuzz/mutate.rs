//! Mutations of seeds, the same in every run.

use crate::outside::Seeded;

/// A source of mutations.
#[derive(Debug)]
pub struct Mutator(Seeded);

/// Bytes that mean something to one of the parsers.
const TELLING: [u8; 12] = [
    0x00, 0x01, 0x02, 0x30, 0x7F, 0x80, 0x81, 0xA0, 0xFF, b'\n', b'"', b',',
];

impl Mutator {
    /// With this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Seeded::from(seed))
    }

    /// One of the seeds with one to four small changes.
    ///
    /// # Panics
    /// If there is no seed.
    pub fn mutate(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, seeds);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        match self.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = TELLING[self.below(TELLING.len())],
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.insert(at, TELLING[self.below(TELLING.len())]),
            4 => bytes.truncate(at),
            5 => {
                let end = (at + self.below(24)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len() + 1);
                let to = (from + self.below(40)).min(other.len());
                let end = (at + (to - from)).min(bytes.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.below(bound.max(1) as u64)).unwrap_or_default()
    }
}
