//! Time and randomness come in through these two traits; only a program's wiring builds the real ones.

use core::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// Days since 1970-01-01, UTC: the coarse time that stands in the open in a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

/// Days that a log may be ahead of the clock of a station that asks: as much as a clock may slip that nobody has to
/// confirm, and one.
pub const MOST_AHEAD_DAYS: u32 = 32;

impl Day {
    /// Whether a station that asked on this day may get a leaf of `leaf`'s day.
    #[must_use]
    pub const fn fits_leaf(self, leaf: Self) -> bool {
        let earliest = leaf.0.saturating_sub(MOST_AHEAD_DAYS);
        earliest <= self.0 && self.0 <= leaf.0.saturating_add(1)
    }
}

const MILLIS_PER_DAY: u64 = 86_400_000;

impl Timestamp {
    /// The day this moment lies in.
    #[must_use]
    pub fn day(self) -> Day {
        Day(u32::try_from(self.0 / MILLIS_PER_DAY).unwrap_or(u32::MAX))
    }

    /// This moment, `millis` later; saturates.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// Gives random bytes fit for keys, salts and request ids.
pub trait Entropy: Send + Sync {
    /// Fills `out` with random bytes.
    ///
    /// # Errors
    /// [`EntropyError`] if the source failed; `out` must then not be used.
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError>;
}

/// The source of randomness failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntropyError;

impl fmt::Display for EntropyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the source of randomness failed")
    }
}

impl core::error::Error for EntropyError {}
