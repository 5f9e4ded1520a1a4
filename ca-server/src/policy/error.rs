use identity::document::WireError;
use identity::key::KeyError;
use identity::serial_pattern::PatternError;
use std::fmt;
use std::io;
use std::path::Path;
use thiserror::Error;

/// What [`check_dir`](super::check_dir) reports: the same error that the loader of that file gives.
pub type Finding = PolicyError;

/// A place in a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Dotted path of the key, list positions in brackets from 0; unknown where the file is not TOML.
    pub key: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, ": {key}"))
    }
}

/// A policy file that is not used. The author of the file is at fault; nothing was changed.
#[derive(Debug, Error)]
#[error("{}{}: {fault}. To do: {}", file.display(), place.as_ref().map(|place| format!(":{place}")).unwrap_or_default(), fault.remedy())]
pub struct PolicyError {
    /// The file.
    pub file: Box<Path>,
    /// The place in it, where one place is at fault.
    pub place: Option<Box<Place>>,
    /// What is wrong.
    pub fault: Box<PolicyFault>,
}

impl PolicyError {
    /// An error of the file as a whole.
    pub(super) fn of_file(file: &Path, fault: PolicyFault) -> Self {
        Self {
            file: file.into(),
            place: None,
            fault: Box::new(fault),
        }
    }

    /// An error at one place.
    pub(super) fn at(file: &Path, place: Place, fault: PolicyFault) -> Self {
        Self {
            file: file.into(),
            place: Some(Box::new(place)),
            fault: Box::new(fault),
        }
    }
}

/// What is wrong with a policy file.
#[derive(Debug, Error)]
pub enum PolicyFault {
    /// The file or directory could not be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// Longer than a policy file may be; nothing was parsed.
    #[error("longer than {max} bytes")]
    TooLong {
        /// Most bytes allowed.
        max: u64,
    },
    /// Not UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// Not TOML, an unknown or missing key, a wrong type, or a value outside its set.
    #[error("{0}")]
    Form(String),
    /// The identifier inside is not the file's name.
    #[error("the id is {id}, but the file is named {stem}")]
    Misnamed {
        /// Identifier inside.
        id: String,
        /// File name without its ending.
        stem: String,
    },
    /// A name that no file or entry stands for.
    #[error("there is no {kind} {id}")]
    Unknown {
        /// What is looked for: maker, applicant, grant, station.
        kind: &'static str,
        /// Its name.
        id: String,
    },
    /// Two files, or two places in one, say different things about one thing.
    #[error("{what} is {found} here and {expected} in {other}")]
    Contradiction {
        /// What both speak of.
        what: &'static str,
        /// Value here.
        found: String,
        /// Value there.
        expected: String,
        /// Where the other value stands.
        other: String,
    },
    /// Two lots of one maker have serials in common.
    #[error("its serials {serials} overlap {taken} in {other}")]
    Overlap {
        /// The range here.
        serials: String,
        /// The range there.
        taken: String,
        /// The file of the other lot.
        other: String,
    },
    /// A rule of this kind of file.
    #[error("{0}")]
    Rule(&'static str),
    /// The pattern of serials is not usable.
    #[error("the serial pattern is refused: {0}")]
    Pattern(#[from] PatternError),
    /// Not one PEM public key on P-256.
    #[error("not a PEM PUBLIC KEY: {0}")]
    Pem(der::pem::Error),
    /// PEM, but not a P-256 key.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// The document made from the file breaks a rule of documents.
    #[error("{0}")]
    Document(#[from] WireError),
}

impl PolicyFault {
    /// What the author of the file does next.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "check that the file exists and that this user may read it",
            Self::TooLong { .. } => "split the file; a policy is a page, not a data set",
            Self::Encoding => "save the file as UTF-8",
            Self::Form(_) => {
                "compare the line with the sample of this kind in the project's policies directory"
            }
            Self::Misnamed { .. } => "rename the file or correct the id",
            Self::Unknown { .. } => "correct the name, or add what it stands for first",
            Self::Contradiction { .. } => "decide which of the two is right and correct the other",
            Self::Overlap { .. } => "give one of the two lots a range of its own",
            Self::Rule(_) => "correct the value",
            Self::Pattern(_) => "write a shorter pattern, for instance ^[0-9]{11}$",
            Self::Pem(_) | Self::Key(_) => {
                "ask the vendor for the P-256 public key as PEM (RFC 7468 PUBLIC KEY)"
            }
            Self::Document(_) => "correct the values that the rule speaks of",
        }
    }
}
