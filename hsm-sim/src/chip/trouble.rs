//! Planted trouble.

use std::collections::BTreeMap;

/// What is wrong with a chip. All but [`Self::Leaky`] and [`Self::RefuseCertificate`] happen once, at the first burn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Gives its fixed key away.
    Leaky,
    /// Power goes between key slot and lock word.
    CutBeforeLock,
    /// Power goes after the lock word, before the answer.
    CutAfterLock,
    /// Power goes in the middle of the lock word.
    TearLock,
    /// Stores no certificate.
    RefuseCertificate,
}

/// Trouble by chip file name.
pub type Troubles = BTreeMap<String, Trouble>;
