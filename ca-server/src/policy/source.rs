//! One policy file in memory: read with a cap, parsed once, and able to say where something stands.

use super::error::{Place, PolicyError, PolicyFault};
use super::value::Text;
use identity::Id;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longest policy file in bytes.
pub const MAX_FILE: u64 = 64 * 1024;
/// Most names in one list.
const MAX_LIST: usize = 64;

/// A policy file's path and text.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Reads a file of at most [`MAX_FILE`] bytes.
    pub(super) fn read(path: &Path) -> Result<Self, PolicyError> {
        let whole = |fault| PolicyError::of_file(path, fault);
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|error| whole(PolicyFault::Unreadable(error)))?;
        file.take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| whole(PolicyFault::Unreadable(error)))?;
        if u64::try_from(bytes.len()).is_ok_and(|got| got > MAX_FILE) {
            return Err(whole(PolicyFault::TooLong { max: MAX_FILE }));
        }
        let text = String::from_utf8(bytes)
            .ok()
            .ok_or_else(|| whole(PolicyFault::Encoding))?;
        Ok(Self {
            path: path.to_path_buf(),
            text,
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Parses the TOML; unknown keys are refused by the shapes themselves.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, PolicyError> {
        toml::from_str(&self.text).map_err(|error| {
            let fault = PolicyFault::Form(error.message().to_owned());
            match error.span() {
                Some(span) => self.refuse(span, fault),
                None => self.refuse_whole(fault),
            }
        })
    }

    /// An error at this place.
    pub(super) fn refuse(&self, span: Range<usize>, fault: PolicyFault) -> PolicyError {
        PolicyError::at(&self.path, self.place(span), fault)
    }

    /// An error of the file as a whole.
    pub(super) fn refuse_whole(&self, fault: PolicyFault) -> PolicyError {
        PolicyError::of_file(&self.path, fault)
    }

    /// `rule` at this place unless `holds`.
    #[expect(
        clippy::fn_params_excessive_bools,
        reason = "the bool is the condition itself, not a mode of working"
    )]
    pub(super) fn require(
        &self,
        holds: bool,
        span: Range<usize>,
        rule: &'static str,
    ) -> Result<(), PolicyError> {
        if holds {
            Ok(())
        } else {
            Err(self.refuse(span, PolicyFault::Rule(rule)))
        }
    }

    /// The file's identifier, which must be the file's name: so one directory never holds it twice.
    pub(super) fn named(&self, id: &Spanned<Text<Id>>) -> Result<Id, PolicyError> {
        let stem = self
            .path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        let value = id.as_ref().0;
        if value.as_str() == stem {
            return Ok(value);
        }
        Err(self.refuse(
            id.span(),
            PolicyFault::Misnamed {
                id: value.to_string(),
                stem,
            },
        ))
    }

    /// A list of 1 to [`MAX_LIST`] different names.
    pub(super) fn distinct(
        &self,
        list: &Spanned<Vec<Spanned<Text<Id>>>>,
    ) -> Result<Vec<Id>, PolicyError> {
        let names: Vec<Id> = list.as_ref().iter().map(|name| name.as_ref().0).collect();
        self.require(
            !names.is_empty(),
            list.span(),
            "at least one name is needed",
        )?;
        self.require(names.len() <= MAX_LIST, list.span(), "more than 64 names")?;
        for (position, name) in list.as_ref().iter().enumerate() {
            let earlier = names.get(..position).unwrap_or_default();
            self.require(
                !earlier.contains(&name.as_ref().0),
                name.span(),
                "the same name stands here twice",
            )?;
        }
        Ok(names)
    }

    fn place(&self, span: Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let in_line = before.get(line_start..).unwrap_or_default();
        Place {
            line: before.matches('\n').count() + 1,
            column: in_line.chars().count() + 1,
            key: DeTable::parse(&self.text)
                .ok()
                .and_then(|tree| path_in_table(tree.get_ref(), &span)),
        }
    }
}

/// Dotted path of the innermost key whose name or value holds the span.
fn path_in_table(table: &DeTable<'_>, span: &Range<usize>) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let inner = path_in_value(value.get_ref(), span);
        match inner {
            Some(inner) if inner.starts_with('[') => Some(format!("{}{inner}", key.get_ref())),
            Some(inner) => Some(format!("{}.{inner}", key.get_ref())),
            None => (holds(&key.span(), span) || holds(&value.span(), span))
                .then(|| key.get_ref().to_string()),
        }
    })
}

fn path_in_value(value: &DeValue<'_>, span: &Range<usize>) -> Option<String> {
    if let Some(table) = value.as_table() {
        return path_in_table(table, span);
    }
    value
        .as_array()?
        .iter()
        .enumerate()
        .find_map(|(position, item)| {
            let inner = path_in_value(item.get_ref(), span);
            match inner {
                Some(inner) if inner.starts_with('[') => Some(format!("[{position}]{inner}")),
                Some(inner) => Some(format!("[{position}].{inner}")),
                None => holds(&item.span(), span).then(|| format!("[{position}]")),
            }
        })
}

fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn write(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.toml");
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    #[test]
    fn the_size_is_capped_before_anything_is_parsed() {
        let cap = usize::try_from(MAX_FILE).unwrap();
        let (_dir, path) = write(&vec![b'#'; cap]);
        assert_eq!(Source::read(&path).unwrap().text().len(), cap);
        let (_dir, path) = write(&vec![b'['; cap + 1]);
        assert!(matches!(
            *Source::read(&path).unwrap_err().fault,
            PolicyFault::TooLong { max: MAX_FILE }
        ));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        let (_dir, path) = write(&[0xff, 0xfe]);
        assert!(matches!(
            *Source::read(&path).unwrap_err().fault,
            PolicyFault::Encoding
        ));
    }

    #[test]
    fn a_missing_file_says_so() {
        let error = Source::read(Path::new("/nowhere/x.toml")).unwrap_err();
        assert!(matches!(*error.fault, PolicyFault::Unreadable(_)));
        assert!(
            error
                .to_string()
                .starts_with("/nowhere/x.toml: cannot be read"),
            "{error}"
        );
    }

    #[test]
    fn a_place_counts_characters_and_names_the_key() {
        let text = "name = { ja = \"みほん\", en = \"x\" }\n[[applicant]]\nlist = [\"a\", \"b\"]\n";
        let source = Source {
            path: PathBuf::from("x.toml"),
            text: text.to_owned(),
        };
        let at = |needle: &str| {
            let start = text.find(needle).unwrap();
            source.place(start..start + needle.len())
        };
        assert_eq!(
            at("\"x\""),
            Place {
                line: 1,
                column: 27,
                key: Some("name.en".into())
            }
        );
        assert_eq!(
            at("\"b\""),
            Place {
                line: 3,
                column: 14,
                key: Some("applicant[0].list[1]".into())
            }
        );
    }

    #[test]
    fn deep_nesting_is_refused_not_recursed_into() {
        let (_dir, path) = write(format!("a = {}", "[".repeat(60_000)).as_bytes());
        let error = Source::read(&path)
            .unwrap()
            .parse::<toml::Table>()
            .unwrap_err();
        assert!(matches!(*error.fault, PolicyFault::Form(_)));
    }
}
