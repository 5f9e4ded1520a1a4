//! Randomness of simulated chips: the host's, or a seed's.

use identity::Entropy;
use identity::hash::{Sink as _, sha256_of};
use identity::sources::EntropyError;
use std::sync::atomic::{AtomicU64, Ordering};

/// The host's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(out).or(Err(EntropyError))
    }
}

/// The same bytes in every run: SHA-256 over seed and a counter. For chips that tests make again and again.
#[derive(Debug)]
pub struct SeededEntropy {
    seed: u64,
    drawn: AtomicU64,
}

impl SeededEntropy {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            drawn: AtomicU64::new(0),
        }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        for piece in out.chunks_mut(32) {
            let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
            let block = sha256_of(|hasher| {
                hasher.put(b"chip-sim/seed/v1\n");
                hasher.put(&self.seed.to_be_bytes());
                hasher.put(&drawn.to_be_bytes());
            });
            piece
                .iter_mut()
                .zip(block)
                .for_each(|(byte, random)| *byte = random);
        }
        Ok(())
    }
}
