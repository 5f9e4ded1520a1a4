//! What came of a rehearsal: each planted fault with what the station said, the takt, and the yield of each socket.

use super::plan::{FOREIGN_SERIAL, Plan, Planted};
use super::shift::{Line, Story};
use super::{Outcome, Teller};
use crate::config::Language;
use crate::display::Words;
use crate::verdict::Verdict;
use identity::fault::Fault;
use std::collections::BTreeMap;

/// The report.
#[derive(Debug)]
pub(super) struct Report {
    planted: Vec<Answered>,
    /// What went wrong without anybody having planted it.
    others: Vec<String>,
    /// Seconds from one unit to the next.
    takt: Option<f64>,
    /// Units that passed, of those that ended, by socket.
    yields: BTreeMap<String, (u32, u32)>,
    units: u32,
}

/// A planted fault and the answer to it.
#[derive(Clone, Debug)]
struct Answered {
    what: Planted,
    /// Code or verdict that was said; none if the fault met nobody.
    said: Option<String>,
    holds: bool,
}

impl Report {
    /// Holds what was said against what was planted.
    pub(super) fn of(plan: &Plan, story: &Story) -> Self {
        let planted = Planted::ALL
            .map(|what| answered(what, plan, story))
            .to_vec();
        let mut yields = BTreeMap::<String, (u32, u32)>::new();
        for line in story.units() {
            let (passed, ended) = yields.entry(line.socket.clone()).or_default();
            *ended += 1;
            *passed += u32::from(line.verdict == Verdict::Pass.name());
        }
        let seconds = std::time::Duration::from_millis(story.millis).as_secs_f64();
        Self {
            planted,
            others: others(plan, story),
            takt: (story.passed > 0).then(|| seconds / f64::from(story.passed)),
            yields,
            units: plan.units,
        }
    }

    /// Whether every planted fault was answered with its word, and everything else passed.
    pub(super) fn holds(&self) -> bool {
        self.others.is_empty() && self.planted.iter().all(|it| it.holds)
    }

    /// Shows it.
    pub(super) fn show(&self, teller: &mut Teller<'_>) -> Outcome<()> {
        teller.say(
            "\n    期待      ステーションの答え  仕込んだ不具合",
            "\n    expected  the station said    planted",
        )?;
        for it in &self.planted {
            let mark = if it.holds { "ok" } else { "NG" };
            let expected = it.what.answer().map_or("PASS", Fault::code);
            let said = it.said.as_deref().unwrap_or("-");
            let (ja, en) = it.what.name();
            let line = format!("{mark}  {expected:9} {said:19} {ja} / {en}");
            teller.say(&line, &line)?;
            if let Some(fault) = it.said.as_deref().and_then(Fault::from_code) {
                let [ja, en] = [Language::Ja, Language::En].map(|it| Words::of(fault, it).text);
                let words = format!("{:34}{ja} / {en}", "");
                teller.say(&words, &words)?;
            }
        }
        for other in &self.others {
            let line = format!("NG  {other}");
            teller.say(&line, &line)?;
        }
        self.show_numbers(teller)
    }

    fn show_numbers(&self, teller: &mut Teller<'_>) -> Outcome<()> {
        let takt = self
            .takt
            .map_or_else(|| "-".to_owned(), |it| format!("{it:.3} s"));
        teller.say(
            &format!("\nタクト {takt} (チップと HSM は模擬。CA 停止中を除く)"),
            &format!(
                "\ntakt {takt} (chips and HSM simulated; without the time in which there was no CA)"
            ),
        )?;
        for (socket, (passed, ended)) in &self.yields {
            let share = 100 * passed / (*ended).max(1);
            teller.say(
                &format!("[{socket}] 良品率 {share} % ({passed}/{ended})"),
                &format!("[{socket}] yield {share} % ({passed}/{ended})"),
            )?;
        }
        let units = self.units;
        match self.holds() {
            true => teller.say(
                &format!("\n合格: 不具合はすべて正しい番号で止まり、{units} 台すべて合格しました"),
                &format!("\nheld: every planted fault got its word, and all {units} units passed"),
            ),
            false => teller.say(
                "\n不合格: NG の行を見てください",
                "\nNOT held: see the lines that begin with NG",
            ),
        }
    }
}

/// Lines that a planted fault is answerable for.
fn lines_of<'a>(what: Planted, plan: &'a Plan, story: &'a Story) -> Vec<&'a Line> {
    let uid = plan.uid_of(what);
    let bad = (u32::from(plan.deaf.0) + 1).to_string();
    let is_unit = |line: &Line| line.event == "unit";
    let is_its = |line: &&Line| match what {
        Planted::BadSocket => is_unit(line) && line.uid.is_none() && line.socket == bad,
        Planted::CaKilled => line.event == "wait",
        Planted::ForeignSerial => is_unit(line) && line.serial == FOREIGN_SERIAL.to_string(),
        Planted::Clone
        | Planted::WrongPart
        | Planted::ForeignVendor
        | Planted::Torn
        | Planted::Leaky
        | Planted::PowerCut => is_unit(line) && line.uid == uid,
    };
    story.lines.iter().filter(is_its).collect()
}

fn answered(what: Planted, plan: &Plan, story: &Story) -> Answered {
    let lines = lines_of(what, plan, story);
    let failed: Vec<_> = lines.iter().filter(|line| line.fault().is_some()).collect();
    let said = failed.first().copied().or_else(|| lines.first());
    let is_answer = |line: &&&Line| line.fault() == what.answer();
    let holds = if what == Planted::Clone {
        // One of the two is good.
        lines.len() == 2 && failed.len() == 1 && failed.iter().all(is_answer)
    } else {
        !lines.is_empty() && lines.iter().all(|line| line.fault() == what.answer())
    };
    Answered {
        what,
        said: said.map(|line| line.word().to_owned()),
        holds,
    }
}

/// What went wrong and is no planted fault's.
fn others(plan: &Plan, story: &Story) -> Vec<String> {
    let planted: Vec<_> = Planted::ALL
        .iter()
        .flat_map(|what| lines_of(*what, plan, story))
        .collect();
    let is_planted = |line: &Line| planted.iter().any(|it| std::ptr::eq(*it, line));
    let failed = story.lines.iter().filter(|line| {
        let is_told = matches!(line.event.as_str(), "unit" | "socket" | "alarm");
        is_told && line.fault().is_some() && !is_planted(line)
    });
    let mut others: Vec<_> = failed
        .map(|line| {
            let Line { socket, serial, .. } = line;
            format!("[{socket}] {serial} {} {}", line.verdict, line.word())
        })
        .collect();
    for serial in plan.serials().map(|serial| serial.to_string()) {
        match story.passes().filter(|passed| **passed == serial).count() {
            1 => {}
            0 => others.push(format!("{serial} 合格していません / did not pass")),
            times => others.push(format!("{serial} {times} 回合格 / passed {times} times")),
        }
    }
    others
}
