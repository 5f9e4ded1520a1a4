//! One kind of failure for everything that is outside of us.

use std::fmt;
use std::path::Path;

/// What went wrong, in words, innermost cause last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

/// Something that can go wrong outside of us.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// In words.
    pub fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error)
    }
}

/// Says at which path a call of the system failed.
pub trait At<T> {
    /// The same, with the path in its failure.
    ///
    /// # Errors
    /// [`Failure`] names the path.
    fn at(self, path: &Path) -> Outcome<T>;
}

impl<T, E: fmt::Display> At<T> for Result<T, E> {
    fn at(self, path: &Path) -> Outcome<T> {
        self.map_err(|error| Failure::new(format_args!("{}: {error}", path.display())))
    }
}

/// Fails with a text unless something holds.
///
/// # Errors
/// [`Failure`] with the text.
pub fn require(holds: bool, what: impl fmt::Display) -> Outcome<()> {
    if holds {
        Ok(())
    } else {
        Err(Failure::new(what))
    }
}
