//! Plain lines for a person: where there is no screen, or none is wanted.

use super::{Event, Sink, Summary, Tally, UnitLine, Words, past, put};
use crate::config::Language;
use crate::station::Failure;
use crate::verdict::Verdict;
use identity::Id;
use std::io::Write;

/// Writes what a person reads, one line a unit, with reason and what to do below.
pub struct Lines {
    out: Box<dyn Write + Send>,
    language: Language,
}

impl Lines {
    /// Writes to `out`.
    #[must_use]
    pub const fn new(out: Box<dyn Write + Send>, language: Language) -> Self {
        Self { out, language }
    }
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

impl Sink for Lines {
    fn show(&mut self, event: &Event) {
        let text = match event {
            Event::Begun(_) => return,
            Event::Waits(line) | Event::Ended(line) => unit(line, self.language),
            Event::SocketFailed { socket, failure } => {
                let verdict = Verdict::of(failure.fault);
                let head = format!("[{socket}] {}", verdict.name());
                with_reason(&head, failure, self.language)
            }
            Event::Alarm { about, failure } => {
                with_reason(&format!("ALARM {about}"), failure, self.language)
            }
            Event::Summary(summary) => total(summary, self.language),
        };
        put(&mut self.out, &text);
    }
}

fn unit(line: &UnitLine, language: Language) -> String {
    let head = format!(
        "[{}] {:5} {} {}",
        line.socket,
        line.verdict().name(),
        line.serial,
        line.attempt.label(&line.label, language)
    );
    match (&line.failure, line.set_aside, language) {
        (None, ..) => head,
        (Some(failure), false, _) => with_reason(&head, failure, language),
        (Some(failure), true, Language::Ja) => {
            with_reason(&format!("{head} ※取り置き"), failure, language)
        }
        (Some(failure), true, Language::En) => {
            with_reason(&format!("{head} (set aside)"), failure, language)
        }
    }
}

fn with_reason(head: &str, failure: &Failure, language: Language) -> String {
    let Words { code, text, hint } = Words::of_failure(failure, language);
    let past = failure.chip.as_ref().map(|end| past::told(end, language));
    let detail = past.as_ref().unwrap_or(&failure.detail);
    let detail = match detail.is_empty() {
        true => String::new(),
        false => format!("\n    {detail}"),
    };
    format!("{head}\n    {code} {text}{detail}\n    → {hint}")
}

fn total(summary: &Summary, language: Language) -> String {
    let Summary {
        lot,
        tally,
        others,
        not_begun,
        reason,
        ..
    } = summary;
    let counts = counts(tally, language);
    let total = match language {
        Language::Ja => format!("ロット {lot}: {counts}、未着手 {not_begun}"),
        Language::En => format!("lot {lot}: {counts}, not begun {not_begun}"),
    };
    let total = match reason {
        Some(failure) => with_reason(&total, failure, language),
        None => total,
    };
    others.iter().fold(total, |told, (lot, tally)| {
        other_lot(told, (lot, tally), language)
    })
}

/// Units that were left over from another lot, on a line of their own.
fn other_lot(told: String, (lot, tally): (&Id, &Tally), language: Language) -> String {
    let counts = counts(tally, language);
    match language {
        Language::Ja => format!("{told}\n別のロット {lot}: {counts}"),
        Language::En => format!("{told}\nother lot {lot}: {counts}"),
    }
}

fn counts(tally: &Tally, language: Language) -> String {
    let counts = Verdict::ALL.map(|verdict| format!("{} {}", verdict.name(), tally.count(verdict)));
    match language {
        Language::Ja => counts.join("、"),
        Language::En => counts.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::told;
    use super::*;

    #[test]
    fn the_operator_reads_what_to_do() {
        assert_eq!(
            told(|paper| Box::new(Lines::new(Box::new(paper), Language::Ja))),
            "[2] PASS  1 見守りカメラ\n\
             [2] FAIL  2 見守りカメラ (2/3 回目)\n    LINE-0102 チップの品番が製品と違います\n    detail\n    → 取り外し、リールを確認してください\n\
             [2] HOLD  3 見守りカメラ\n    LINE-0203 CA に接続できません\n    detail\n    → 保留のまま待ってください。自動で再開します\n\
             [2] HOLD  4 見守りカメラ ※取り置き\n    CA-0503 署名装置がこの機器を保留しました\n    detail\n    → 保留し、CA 運用者に連絡してください\n\
             [2] PASS  5 見守りカメラ\n\
             ロット 26W48-A: PASS 1、HOLD 1、FAIL 1、ABORT 0、ERROR 0、未着手 3\n    LINE-0211 未着手の機器がありますが、どのソケットにもチップがありません\n    no chip in 2\n    → ソケットにチップを入れてから、もう一度開始してください\n\
             別のロット 26W47-B: PASS 1、HOLD 0、FAIL 0、ABORT 0、ERROR 0\n"
        );
    }
    #[test]
    fn a_unit_that_is_not_tried_again_is_no_attempt() {
        use crate::display::Attempt;
        let label = |number| Attempt { number, most: 3 }.label("camera", Language::En);
        assert_eq!(label(1), "camera");
        assert_eq!(label(3), "camera (attempt 3 of 3)");
        assert_eq!(label(4), "camera");
    }
}
