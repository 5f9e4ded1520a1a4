//! What does not fit before a lot is closed, and how a person names it: with the numbers that were shown, so that nobody
//! agrees to what was not seen.

use identity::lot::{Compared, Difference};
use std::fmt;
use std::str::FromStr;

/// Name of the misfit of a lot file that has serials of another order.
const SERIALS: &str = "serials";

/// Something that does not fit between lot file and counts here, and order and log there. Written `serials=COUNT`, or
/// `WHAT=STATED:FOUND` as in `pass=2:32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misfit {
    /// So many serials of the lot file are not of the order.
    Serials(usize),
    /// Two numbers that ought to be equal.
    Numbers(Difference),
}

/// Why a text names no misfit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MisfitError {
    /// Nothing of this name is compared.
    #[error("{SERIALS}, {} are compared, and nothing else", Compared::ALL.map(Compared::name).join(", "))]
    Unknown,
    /// Serials without their number.
    #[error("say how many, as the command does when it stops: {SERIALS}=COUNT")]
    NoCount,
    /// A name without its numbers.
    #[error("say both numbers, as the command does when it stops: {}=STATED:FOUND", .0.name())]
    NoNumbers(Compared),
    /// What ought to be a number and is none.
    #[error("`{0}` is no number")]
    NotANumber(String),
    /// Numbers that are as they ought to be.
    #[error("that is no difference")]
    Equal,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serials(count) => write!(f, "{SERIALS}={count}"),
            Self::Numbers(Difference {
                what,
                stated,
                found,
            }) => write!(f, "{}={stated}:{found}", what.name()),
        }
    }
}

impl FromStr for Misfit {
    type Err = MisfitError;

    fn from_str(text: &str) -> Result<Self, MisfitError> {
        let (name, numbers) = match text.split_once('=') {
            Some((name, numbers)) => (name, Some(numbers)),
            None => (text, None),
        };
        if name == SERIALS {
            return match number(numbers.ok_or(MisfitError::NoCount)?)? {
                0 => Err(MisfitError::Equal),
                count => Ok(Self::Serials(count)),
            };
        }
        let what = Compared::from_name(name).ok_or(MisfitError::Unknown)?;
        let pair = numbers.and_then(|numbers| numbers.split_once(':'));
        let (stated, found) = pair.ok_or(MisfitError::NoNumbers(what))?;
        let difference = Difference {
            what,
            stated: number(stated)?,
            found: number(found)?,
        };
        match difference.stated == difference.found {
            true => Err(MisfitError::Equal),
            false => Ok(Self::Numbers(difference)),
        }
    }
}

fn number<N: FromStr>(text: &str) -> Result<N, MisfitError> {
    let number = text.parse();
    number.map_err(|_other| MisfitError::NotANumber(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Misfit, MisfitError> {
        text.parse()
    }

    #[test]
    fn what_is_shown_is_what_is_read() {
        let numbers = Compared::ALL.map(|what| {
            let (stated, found) = (2, u64::MAX);
            Misfit::Numbers(Difference {
                what,
                stated,
                found,
            })
        });
        for misfit in numbers.into_iter().chain([Misfit::Serials(7)]) {
            assert_eq!(read(&misfit.to_string()), Ok(misfit));
        }
        assert_eq!(Misfit::Serials(1).to_string(), "serials=1");
        assert!(numbers.map(|it| it.to_string())[2].starts_with("pass=2:"));
    }

    #[test]
    fn what_names_no_misfit_says_how_one_is_named() {
        for (text, error, hint) in [
            ("", MisfitError::Unknown, "serials, planned, sum, pass"),
            ("pass,open", MisfitError::Unknown, "scrapped are compared"),
            ("hold=1:2", MisfitError::Unknown, "nothing else"),
            ("serials", MisfitError::NoCount, "serials=COUNT"),
            (
                "pass",
                MisfitError::NoNumbers(Compared::Pass),
                "pass=STATED:FOUND",
            ),
            (
                "open=3",
                MisfitError::NoNumbers(Compared::Open),
                "open=STATED:FOUND",
            ),
            (
                "pass=2:-1",
                MisfitError::NotANumber("-1".to_owned()),
                "`-1`",
            ),
            (
                "pass=:1",
                MisfitError::NotANumber(String::new()),
                "no number",
            ),
            ("pass=2:2", MisfitError::Equal, "no difference"),
            ("serials=0", MisfitError::Equal, "no difference"),
        ] {
            assert_eq!(read(text), Err(error.clone()), "{text}");
            assert!(error.to_string().contains(hint), "{error}");
        }
    }
}
