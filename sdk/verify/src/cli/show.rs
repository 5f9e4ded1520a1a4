use super::args::Language;
use anstyle::{AnsiColor, Style};
use koseki_verify::{
    Check, Comparison, Finding, Findings, LotCount, Reason, Relation, State, Verdict,
};
use std::collections::BTreeMap;
use std::io::{self, Write};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const OPEN: Style = AnsiColor::Yellow.on_default();

/// Most findings of one kind that people are shown.
const MOST_OF_A_KIND: usize = 10;

/// Answers for people. Colours are dropped where the output is no terminal, or `NO_COLOR` is set.
pub(super) struct Show {
    language: Language,
    out: anstream::AutoStream<io::Stdout>,
}

impl Show {
    pub(super) fn new(language: Language) -> Self {
        Self {
            language,
            out: anstream::stdout(),
        }
    }

    pub(super) fn verdict(mut self, verdict: &Verdict) -> io::Result<()> {
        let (style, word) = if verdict.accepted {
            (GOOD, "accepted")
        } else {
            (BAD, "REJECTED")
        };
        let level = verdict
            .level
            .map_or_else(String::new, |level| format!(" {}", level.name()));
        writeln!(self.out, "{style}{word}{style:#}{level}")?;
        let grade = verdict.recorded_grade.map(|recorded| {
            let proved = verdict.proved_grade.unwrap_or("none");
            format!("{recorded} recorded, {proved} proved")
        });
        let facts = [
            ("serial", verdict.serial.as_deref()),
            ("chip", verdict.chip.as_deref()),
            ("subject", verdict.subject.as_deref()),
            ("grade", grade.as_deref()),
        ];
        for (name, value) in facts {
            writeln!(self.out, "  {name:<9} {}", value.unwrap_or("unknown"))?;
        }
        verdict
            .checks
            .iter()
            .try_for_each(|check| self.check(check))
    }

    pub(super) fn findings(mut self, findings: &Findings) -> io::Result<()> {
        let origin = findings.origin.as_deref().unwrap_or("unknown");
        let (style, word) = if findings.is_clean() {
            (GOOD, "clean")
        } else {
            (BAD, "FINDINGS")
        };
        writeln!(self.out, "{style}{word}{style:#} {origin}")?;
        writeln!(self.out, "  size      {}", findings.size)?;
        writeln!(
            self.out,
            "  root      {}",
            findings.root.as_deref().unwrap_or("unknown")
        )?;
        writeln!(self.out, "  devices   {}", findings.devices)?;
        let kinds: Vec<_> = findings
            .kinds
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        writeln!(self.out, "  entries   {}", kinds.join(", "))?;
        self.documents(findings)?;
        for grant in &findings.grants {
            let (issued, limit, scrapped, most) =
                (grant.issued, grant.limit, grant.scrapped, grant.scrap_limit);
            writeln!(
                self.out,
                "  grant     {}{} issued {issued}/{limit}, scrapped {scrapped}/{most}",
                grant.grant,
                named(grant.name.as_deref())
            )?;
            if let Some(entry) = grant.closed {
                writeln!(self.out, "            closed at entry {entry}")?;
            }
        }
        for lot in &findings.lots {
            self.lot(lot)?;
        }
        self.found(findings)
    }

    fn documents(&mut self, findings: &Findings) -> io::Result<()> {
        let Some(held) = findings.documents else {
            return writeln!(
                self.out,
                "  {OPEN}documents{OPEN:#} not looked at: nothing is said about approvals"
            );
        };
        let named = findings.documents_named;
        if named == 0 {
            return writeln!(
                self.out,
                "  {OPEN}documents{OPEN:#} none: no entry was read that names one"
            );
        }
        let style = if held == named { Style::new() } else { BAD };
        writeln!(
            self.out,
            "  {style}documents{style:#} {held} of {named} as their entries say, approved"
        )
    }

    /// The findings, of each kind the first ones and then their number.
    fn found(&mut self, findings: &Findings) -> io::Result<()> {
        let mut more = BTreeMap::<&'static str, (usize, usize)>::new();
        for finding in &findings.findings {
            let (shown, left) = more.entry(finding.code.code()).or_default();
            if *shown < MOST_OF_A_KIND {
                *shown += 1;
                self.finding(finding)?;
            } else {
                *left += 1;
            }
        }
        for (code, (_, left)) in more {
            if left > 0 {
                writeln!(
                    self.out,
                    "{BAD}and {left} more{BAD:#} {code}, listed with --json"
                )?;
            }
        }
        match findings.unlisted {
            0 => Ok(()),
            more => writeln!(self.out, "{BAD}and {more} more findings{BAD:#}"),
        }
    }

    pub(super) fn comparison(mut self, comparison: &Comparison) -> io::Result<()> {
        let (old, new) = comparison.sizes;
        let origin = &comparison.origin;
        match comparison.relation {
            Relation::Same => writeln!(self.out, "{GOOD}same{GOOD:#} {origin}: {new} entries"),
            Relation::Continues => writeln!(
                self.out,
                "{GOOD}consistent{GOOD:#} {origin}: {new} entries continue {old}"
            ),
            Relation::Forked => {
                writeln!(
                    self.out,
                    "{BAD}FORKED{BAD:#} {origin}: {new} entries do not continue {old}, and the log signed both"
                )
            }
        }
    }

    fn check(&mut self, check: &Check) -> io::Result<()> {
        let (style, word) = match check.state {
            State::Held => (GOOD, "held"),
            State::Failed => (BAD, "FAILED"),
            State::NotChecked => (OPEN, "not checked"),
        };
        write!(
            self.out,
            "{style}{word:<12}{style:#} {:<9} ",
            check.step.name()
        )?;
        self.reason(check.code, &check.note)
    }

    fn lot(&mut self, lot: &LotCount) -> io::Result<()> {
        let closed = lot
            .closed
            .map_or_else(|| "open".to_owned(), |entry| format!("closed at {entry}"));
        writeln!(
            self.out,
            "  lot       {}{} {closed}, planned {}, bound {}, confirmed {}, undecided {}, voided {}, scrapped {}",
            lot.lot,
            named(lot.name.as_deref()),
            lot.planned,
            lot.bound,
            lot.confirmed,
            lot.open,
            lot.voided,
            lot.scrapped
        )
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        let place = finding
            .entry
            .map_or_else(|| "the log".to_owned(), |index| format!("entry {index}"));
        write!(self.out, "{BAD}{place:<12}{BAD:#} ")?;
        self.reason(Some(finding.code), &finding.note)
    }

    /// The rest of the line: reason and particulars; below it, what to do.
    fn reason(&mut self, reason: Option<Reason>, note: &str) -> io::Result<()> {
        let Some(reason) = reason else {
            return writeln!(self.out, "{note}");
        };
        let text = reason.text();
        let (said, hint) = match self.language {
            Language::En => (text.en, text.hint_en),
            Language::Ja => (text.ja, text.hint_ja),
        };
        let separator = if note.is_empty() { "" } else { ": " };
        writeln!(self.out, "{} {said}{separator}{note}", text.code)?;
        // What needs an earlier step is mended there.
        if reason == Reason::Needs {
            Ok(())
        } else {
            writeln!(self.out, "{:23}→ {hint}", "")
        }
    }
}

/// A name behind a hash.
fn named(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(" ({name})"))
}
