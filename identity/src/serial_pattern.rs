//! The form that a product's serials have, as its profile writes it. Station and CA read it alike.

use crate::document::Profile;
use crate::text::DeviceSerial;
use alloc::borrow::ToOwned as _;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use alloc::{fmt, format};
use core::str::FromStr;
use regex::bytes::{Regex, RegexBuilder};

/// Longest pattern in bytes.
const MAX_PATTERN: usize = 256;
/// Most bytes that a compiled pattern, and separately its matcher's cache, may take.
const MAX_COMPILED: usize = 64 * 1024;
/// Deepest nesting of groups and repetitions.
const MAX_NESTING: u32 = 16;

/// Why a serial pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// Empty or longer than 256 bytes.
    Length(usize),
    /// Something else than printable ASCII.
    Character,
    /// Not a regular expression of this syntax.
    Syntax(String),
    /// It would compile to more than 64 KiB.
    TooLarge,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(bytes) => write!(f, "{bytes} bytes where 1 to 256 are allowed"),
            Self::Character => f.write_str("it holds something else than printable ASCII"),
            Self::Syntax(text) => f.write_str(text),
            Self::TooLarge => f.write_str("compiled it takes more than 65536 bytes"),
        }
    }
}

impl core::error::Error for PatternError {}

/// The pattern that every device serial of a product matches from its first to its last character.
///
/// Matching takes time linear in the serial; `\d` and the like mean ASCII only, as serials do.
#[derive(Clone, Debug)]
pub struct SerialPattern {
    written: String,
    compiled: Regex,
}

impl SerialPattern {
    /// Compiles the pattern within its limits. `^` and `$` may be left out.
    ///
    /// # Errors
    /// [`PatternError`]: too long, not a regular expression, or too large once compiled.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        if pattern.is_empty() || pattern.len() > MAX_PATTERN {
            return Err(PatternError::Length(pattern.len()));
        }
        if !pattern
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        {
            return Err(PatternError::Character);
        }
        // Alone first: "a)|(b" must not become something else inside the group.
        compile(pattern)?;
        let compiled = compile(&format!(r"\A(?:{pattern})\z"))?;
        Ok(Self {
            written: pattern.to_owned(),
            compiled,
        })
    }

    /// The pattern of an approved profile.
    ///
    /// # Errors
    /// [`PatternError`] as for [`Self::new`]; a profile that people approved never has one.
    pub fn of(profile: &Profile) -> Result<Self, PatternError> {
        Self::new(&profile.serial_pattern)
    }

    /// Whether the whole serial matches.
    #[must_use]
    pub fn allows(&self, serial: &DeviceSerial) -> bool {
        self.compiled.is_match(serial.as_bytes())
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }
}

impl FromStr for SerialPattern {
    type Err = PatternError;

    fn from_str(pattern: &str) -> Result<Self, PatternError> {
        Self::new(pattern)
    }
}

fn compile(pattern: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .nest_limit(MAX_NESTING)
        .build()
        .map_err(|error| match &error {
            regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
            regex::Error::Syntax(_) | _ => PatternError::Syntax(one_line(&error)),
        })
}

/// The parser draws the pattern over several lines; an error of a policy file is one line.
fn one_line(error: &regex::Error) -> String {
    error
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, serial: &str) -> bool {
        SerialPattern::new(pattern)
            .unwrap()
            .allows(&DeviceSerial::new(serial).unwrap())
    }

    #[test]
    fn the_whole_serial_matches_with_or_without_anchors() {
        for pattern in ["^[0-9]{11}$", "[0-9]{11}", r"\d{11}"] {
            assert!(allows(pattern, "26480001000"), "{pattern}");
            assert!(!allows(pattern, "264800010001"), "{pattern}");
            assert!(!allows(pattern, "x26480001000"), "{pattern}");
        }
        assert!(allows("a|bc", "bc"));
        assert!(!allows("a|bc", "ac"));
    }

    #[test]
    fn a_pattern_that_grows_when_compiled_is_refused() {
        for bomb in [
            "((((a{100}){100}){100}){100})",
            "[0-9]{1000000}",
            "(a{1000}b?){1000}",
        ] {
            assert_eq!(
                SerialPattern::new(bomb).unwrap_err(),
                PatternError::TooLarge,
                "{bomb}"
            );
        }
    }

    #[test]
    fn deep_and_long_patterns_are_refused() {
        let deep = format!("{}a{}", "(".repeat(100), ")".repeat(100));
        assert!(matches!(
            SerialPattern::new(&deep),
            Err(PatternError::Syntax(_))
        ));
        assert_eq!(
            SerialPattern::new(&"a".repeat(257)).unwrap_err(),
            PatternError::Length(257)
        );
        assert_eq!(SerialPattern::new("").unwrap_err(), PatternError::Length(0));
    }

    #[test]
    fn a_pattern_cannot_break_out_of_its_anchors() {
        for pattern in ["a)|(b", "(?x)a #", "a\nb"] {
            assert!(SerialPattern::new(pattern).is_err(), "{pattern:?}");
        }
    }

    #[test]
    fn nested_repetition_matches_in_linear_time() {
        assert!(!allows("(a*)*b", &"a".repeat(64)));
    }
}
