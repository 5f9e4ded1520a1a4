//! Values of policy files that are domain types at once, so that a wrong one is refused at its place.

use identity::Timestamp;
use serde::de::{Deserialize, Deserializer, Error as _};
use std::fmt;
use std::str::FromStr;
use toml::value::Datetime;

/// A string that becomes a domain type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text<T>(pub(super) T);

impl<'de, T> Deserialize<'de> for Text<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map(Self)
            .map_err(|error| D::Error::custom(format_args!("{text:?} is refused: {error}")))
    }
}

/// A date-time with its offset (RFC 3339), to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(pub(super) Timestamp);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Datetime::deserialize(deserializer)?;
        moment(written).map(Self).map_err(D::Error::custom)
    }
}

fn moment(written: Datetime) -> Result<Timestamp, String> {
    if written.date.is_none() || written.time.is_none() || written.offset.is_none() {
        return Err(format!(
            "{written} is not a date and time with an offset, as 2026-11-23T08:00:00+09:00 is"
        ));
    }
    let moment: jiff::Timestamp = written
        .to_string()
        .parse()
        .map_err(|error: jiff::Error| error.to_string())?;
    let whole = moment.subsec_nanosecond() % 1_000_000 == 0;
    let millis = u64::try_from(moment.as_millisecond())
        .ok()
        .filter(|_| whole);
    millis
        .map(Timestamp)
        .ok_or_else(|| format!("{written} is before 1970 or finer than a millisecond"))
}

/// A moment in RFC 3339, UTC.
pub(crate) fn rfc3339(moment: Timestamp) -> String {
    let millis = i64::try_from(moment.0)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    millis.map_or_else(
        || format!("{} ms after 1970", moment.0),
        |moment| moment.to_string(),
    )
}

/// A name that people read and that may stand in a certificate: 1 to 64 characters (RFC 5280 appendix A,
/// `ub-organization-name`), none of them a control, a direction mark or a brace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DisplayName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.chars().count() {
            0 => return Err("a name has at least one character"),
            65.. => return Err("a name has at most 64 characters (RFC 5280 appendix A)"),
            _ => {}
        }
        match text.chars().all(readable) && !text.contains(['{', '}']) && text.trim() == text {
            true => Ok(Self(text.to_owned())),
            false => Err(
                "a name holds no control characters, direction marks, braces or blanks at its ends",
            ),
        }
    }
}

/// Whether a character shows as what it is. Direction marks and invisible characters could make an approver read
/// something else than is signed.
pub(super) fn readable(character: char) -> bool {
    let hidden = matches!(character,
        '\u{00ad}' | '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !character.is_control() && !hidden
}

/// A name in the two languages of the product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Japanese.
    pub ja: DisplayName,
    /// English; the one that stands in certificates.
    pub en: DisplayName,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamesShape {
    ja: Text<DisplayName>,
    en: Text<DisplayName>,
}

impl From<NamesShape> for Names {
    fn from(shape: NamesShape) -> Self {
        Self {
            ja: shape.ja.0,
            en: shape.en.0,
        }
    }
}

/// First and last moment of validity.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ValidShape {
    pub(super) from: Moment,
    pub(super) until: Moment,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Timestamp, String> {
        moment(text.parse().unwrap())
    }

    #[test]
    fn a_moment_has_its_offset() {
        assert_eq!(
            read("2026-11-23T08:00:00+09:00"),
            Ok(Timestamp(1_795_388_400_000))
        );
        assert_eq!(
            read("2026-11-22T23:00:00Z"),
            Ok(Timestamp(1_795_388_400_000))
        );
        assert_eq!(
            rfc3339(Timestamp(1_795_388_400_000)),
            "2026-11-22T23:00:00Z"
        );
    }

    #[test]
    fn what_is_not_one_moment_is_refused() {
        for text in [
            "2026-11-23T08:00:00",
            "2026-11-23",
            "08:00:00",
            "1969-12-31T00:00:00Z",
            "2026-11-23T08:00:00.0001Z",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_reads_as_what_it_is() {
        let name: DisplayName = "みほん電機株式会社".parse().unwrap();
        assert_eq!(name.as_str(), "みほん電機株式会社");
        for text in ["", " x", "a\u{202e}b", "a\nb", "{serial}", &"x".repeat(65)] {
            assert!(text.parse::<DisplayName>().is_err(), "{text:?}");
        }
    }
}
