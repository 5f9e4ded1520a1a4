//! `line-agent rehearse`: a whole shift on simulated hardware with planted faults, without any CA of the factory's.
//!
//! An engineer at a new station sees the line at work, and that each planted fault gets its word. Everything is a process
//! of its own in a directory of its own: the CA server, the simulated chips, and this program as the line runs it. They
//! are brought up by the commands of `docs/first-device.md`.

mod ca;
mod ground;
mod plan;
mod report;
mod shift;

pub use ground::Programs;

use crate::config::Language;
use crate::verdict::{Exit, Verdict};
use ground::Ground;
use plan::Plan;
use std::io::{self, Write};
use std::path::PathBuf;

/// Fewest and most units of a rehearsal: below, planted faults would meet nobody; above, the lot has no serials.
pub const UNITS: std::ops::RangeInclusive<u32> = 60..=900;
/// Fewest and most sockets: one of them goes bad, and the others go on.
pub const SOCKETS: std::ops::RangeInclusive<u16> = 2..=16;

/// What is to be rehearsed.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// Units that are to pass.
    pub units: u32,
    /// Sockets of the simulated programmer.
    pub sockets: u16,
    /// Where faults are planted.
    pub seed: u64,
    /// Whether the directory stays.
    pub keep: bool,
    /// Language of what is told.
    pub language: Language,
    /// The programs that take part.
    pub programs: Programs,
}

/// A thing in Japanese and in English.
type Named = (&'static str, &'static str);

/// The rehearsal could not be held.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// A program is not there.
    #[error("{} is not at {}", what.1, path.display())]
    Missing {
        /// What it is.
        what: Named,
        /// Where it was looked for.
        path: PathBuf,
        /// The option that names it.
        option: &'static str,
    },
    /// A program did not do what it was asked.
    #[error("{command}: {said}")]
    Failed {
        /// What was asked of it.
        command: String,
        /// What it said.
        said: String,
    },
    /// Nothing happened for too long.
    #[error("{}: nothing happened for {seconds} s", what.1)]
    Silent {
        /// Who ought to have done something.
        what: Named,
        /// How long.
        seconds: u64,
    },
    /// A file of the rehearsal.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The operating system.
    #[error("{0}")]
    System(#[from] io::Error),
    /// Somebody stopped it.
    #[error("stopped")]
    Stopped,
}

type Outcome<T> = Result<T, RehearsalError>;

impl RehearsalError {
    /// How the program ends.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Missing { .. } | Self::Failed { .. } | Self::Silent { .. } => Exit::Unavailable,
            Self::File { .. } | Self::System(_) => Exit::Io,
            Self::Stopped => Exit::Lot(Verdict::Abort),
        }
    }

    /// What happened.
    #[must_use]
    pub fn words(&self, language: Language) -> String {
        match (self, language) {
            (Self::Missing { what, path, .. }, Language::Ja) => {
                format!("{}が {} にありません", what.0, path.display())
            }
            (Self::Silent { what, seconds }, Language::Ja) => {
                format!("{}: {seconds} 秒間、何も起きませんでした", what.0)
            }
            (Self::Stopped, Language::Ja) => "中断しました".to_owned(),
            // What a program or the system said has the language that it was said in.
            (Self::Failed { .. } | Self::File { .. } | Self::System(_), Language::Ja)
            | (_, Language::En) => self.to_string(),
        }
    }

    /// What to do.
    #[must_use]
    pub fn remedy(&self, language: Language) -> String {
        let (ja, en) = match self {
            Self::Missing { option, .. } => (
                format!("line-agent と同じ場所に置くか、{option} で指定してください"),
                format!("install it beside line-agent, or name it with {option}"),
            ),
            Self::Failed { .. } | Self::Silent { .. } => (
                "--keep を付けて再実行し、残ったディレクトリの *.log を見てください".to_owned(),
                "run again with --keep, and read the *.log files of the directory that stays"
                    .to_owned(),
            ),
            Self::File { .. } | Self::System(_) => (
                "一時ディレクトリの空きと権限を確認してください (TMPDIR)".to_owned(),
                "see to room and permissions of the temporary directory (TMPDIR)".to_owned(),
            ),
            Self::Stopped => (
                "もう一度実行してください".to_owned(),
                "run it again".to_owned(),
            ),
        };
        match language {
            Language::Ja => ja,
            Language::En => en,
        }
    }
}

/// Tells the engineer how far it is.
struct Teller<'a> {
    out: &'a mut dyn Write,
    language: Language,
}

impl Teller<'_> {
    /// One line, in the engineer's language.
    fn say(&mut self, ja: &str, en: &str) -> Outcome<()> {
        let text = match self.language {
            Language::Ja => ja,
            Language::En => en,
        };
        writeln!(self.out, "{text}")?;
        Ok(self.out.flush()?)
    }
}

/// Holds the rehearsal, and tells what came of it.
///
/// # Errors
/// [`RehearsalError`] if it could not be held to its end.
pub fn rehearse(wish: &Rehearsal, out: &mut dyn Write) -> Outcome<Exit> {
    let mut teller = Teller {
        out,
        language: wish.language,
    };
    let ground = Ground::prepare(wish)?;
    if wish.keep {
        let home = ground.path("");
        teller.say(
            &format!("ディレクトリを残します: {}", home.display()),
            &format!("the directory stays: {}", home.display()),
        )?;
    }
    teller.say(
        "模擬 CA と模擬チップを用意しています",
        "a CA and chips are made ready, all simulated",
    )?;
    let mut ca = ca::open(&ground)?;
    let plan = Plan::draw(wish.units, wish.sockets, wish.seed);
    plan.make_chips(&ground)?;
    let story = shift::live(&ground, &mut ca, &plan, &mut teller)?;
    let report = report::Report::of(&plan, &story);
    report.show(&mut teller)?;
    Ok(match report.holds() {
        true => Exit::Done,
        false => Exit::Lot(Verdict::Fail),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kept_a_rehearsal_from_being_held_is_said_in_the_language_asked_for() {
        let missing = RehearsalError::Missing {
            what: ("CA サーバー", "the CA server"),
            path: PathBuf::from("/nowhere"),
            option: "--ca-server",
        };
        let en = "the CA server is not at /nowhere";
        assert_eq!(missing.words(Language::En), en);
        let ja = "CA サーバーが /nowhere にありません";
        assert_eq!(missing.words(Language::Ja), ja);
        for error in [
            RehearsalError::Silent {
                what: ("ラインの運転", "the run"),
                seconds: 120,
            },
            RehearsalError::Stopped,
        ] {
            assert!(error.words(Language::En).is_ascii());
            assert!(!error.words(Language::Ja).is_ascii());
        }
    }
}
