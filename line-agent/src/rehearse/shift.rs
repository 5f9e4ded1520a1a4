//! The shift: runs of this program over the lot, as the line makes them, and what they say.

use super::ca::Ca;
use super::ground::{CHIP_SIM, Daemon, Ground};
use super::plan::{FOREIGN_SERIAL, Plan};
use super::{Named, Outcome, RehearsalError, Teller};
use crate::sources::SystemClock;
use identity::Clock as _;
use identity::fault::Fault;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// Most runs over the lot: the first, and those that make what was put aside anew.
const MOST_RUNS: usize = 5;
/// How often is looked for what a run says.
const LOOK_UP: Duration = Duration::from_millis(20);
/// So often is looked before a run that says nothing is given up: two minutes.
const LOOKS: u32 = 6_000;
const WAITING: Named = ("CA を待つ機器", "a unit that waits for the CA");
/// Progress is told each tenth of the lot.
const TENTHS: u32 = 10;

/// A line of JSON that a run said, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Line {
    /// `unit`, `wait`, `socket`, `alarm`, or `lot`.
    pub(super) event: String,
    /// What became of it.
    #[serde(default)]
    pub(super) verdict: String,
    #[serde(default)]
    pub(super) serial: String,
    #[serde(default)]
    pub(super) socket: String,
    #[serde(default)]
    pub(super) uid: Option<String>,
    #[serde(default)]
    fault: Option<Code>,
}

#[derive(Clone, Debug, Deserialize)]
struct Code {
    code: String,
}

impl Line {
    /// The fault that it names.
    pub(super) fn fault(&self) -> Option<Fault> {
        let code = self.fault.as_ref().map(|fault| fault.code.as_str())?;
        Fault::from_code(code)
    }

    /// The code that it names, or its verdict.
    pub(super) fn word(&self) -> &str {
        let code = self.fault.as_ref().map(|fault| fault.code.as_str());
        code.unwrap_or(&self.verdict)
    }
}

/// What all runs said.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// Lines in their order.
    pub(super) lines: Vec<Line>,
    /// Milliseconds of the first run, without those in which there was no CA.
    pub(super) millis: u64,
    /// Units that passed in the first run.
    pub(super) passed: u32,
}

impl Story {
    /// Serials that passed, each as often as it did.
    pub(super) fn passes(&self) -> impl Iterator<Item = &str> {
        self.units()
            .filter(|line| line.verdict == "PASS")
            .map(|line| line.serial.as_str())
    }

    /// Lines of units whose session has ended.
    pub(super) fn units(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.event == "unit")
    }

    fn is_over(&self, plan: &Plan) -> bool {
        let passed: BTreeSet<_> = self.passes().collect();
        plan.serials()
            .all(|serial| passed.contains(serial.to_string().as_str()))
    }

    fn count_passes(&self) -> u32 {
        u32::try_from(self.passes().count()).unwrap_or(u32::MAX)
    }
}

/// Lives the shift: one run with all that is planted; then, as on the line, the socket is repaired, the lot file mended,
/// and what was put aside is made anew.
pub(super) fn live(
    ground: &Ground,
    ca: &mut Ca,
    plan: &Plan,
    teller: &mut Teller<'_>,
) -> Outcome<Story> {
    let mut story = Story::default();
    teller.say(
        &format!("{} 台、ソケット {} 個で始めます", plan.units, plan.sockets),
        &format!("{} units in {} sockets", plan.units, plan.sockets),
    )?;
    for run in 1..=MOST_RUNS {
        let is_first = run == 1;
        let troubles = if is_first {
            plan.troubles()
        } else {
            Vec::new()
        };
        let (_programmer, sockets) = present(ground, plan, &troubles)?;
        ground.write("station/line-agent.toml", &ca.station(ground, &sockets))?;
        ground.write(
            "lot.csv",
            &plan.lot_file(is_first.then_some(FOREIGN_SERIAL)),
        )?;
        let words = "run --config station/line-agent.toml --lot lot.csv --headless";
        let words: Vec<_> = words.split(' ').collect();
        let name = format!("line-agent-{run}");
        let mut agent = ground.start(&name, &ground.agent, &words)?;
        let began = SystemClock.now().0;
        let mut watch = Watch {
            ground,
            plan,
            out: format!("{name}.out"),
            read: 0,
        };
        let away = watch.follow(&mut agent, is_first.then_some(&mut *ca), &mut story, teller)?;
        if is_first {
            let took = SystemClock.now().0.saturating_sub(began);
            story.millis = took.saturating_sub(away);
            story.passed = story.count_passes();
        }
        if story.is_over(plan) {
            break;
        }
        teller.say(
            "ソケットを直し、取り外した機器の番号を作り直します",
            "the socket is repaired; serials whose unit was put aside are made anew",
        )?;
    }
    Ok(story)
}

/// Starts the programmer; gives its sockets' addresses.
fn present(ground: &Ground, plan: &Plan, troubles: &[String]) -> Outcome<(Daemon, Vec<String>)> {
    let sockets = plan.sockets.to_string();
    let mut words = vec!["serve", "--chips", "chips", "--sockets", &sockets];
    words.extend(troubles.iter().map(String::as_str));
    let mut daemon = ground.start("chip-sim", &ground.chip_sim, &words)?;
    let told = ground.path("chip-sim.out");
    let sockets = ground.until(CHIP_SIM, || {
        daemon.check()?;
        Ok(ready(&fs::read_to_string(&told).unwrap_or_default()))
    })?;
    Ok((daemon, sockets))
}

/// Addresses, from the line that says that it is ready.
fn ready(said: &str) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Ready {
        sockets: Vec<String>,
    }
    let (line, _) = said.split_once('\n')?;
    let ready: Ready = serde_json::from_str(line).ok()?;
    Some(ready.sockets)
}

/// Reads what one run says while it says it.
struct Watch<'a> {
    ground: &'a Ground,
    plan: &'a Plan,
    /// The file that the run writes to.
    out: String,
    /// Bytes of it that were read.
    read: usize,
}

impl Watch<'_> {
    /// Follows a run to its end; kills its CA when it is time to, and brings it back. Gives the milliseconds in which there
    /// was none.
    fn follow(
        &mut self,
        agent: &mut Daemon,
        mut to_kill: Option<&mut Ca>,
        story: &mut Story,
        teller: &mut Teller<'_>,
    ) -> Outcome<u64> {
        let (mut silent, mut away, mut told) = (0, 0, story.count_passes());
        loop {
            let ended = agent.ended()?;
            let before = story.lines.len();
            self.take(story)?;
            silent = if story.lines.len() == before {
                silent + 1
            } else {
                0
            };
            told = self.tell(told, story, teller)?;
            if let Some(status) = ended {
                // Verdicts are below 64; what is above is no run at all.
                return match status.code() {
                    Some(0..64) => Ok(away),
                    _ => Err(agent.failed(status)),
                };
            }
            if silent > LOOKS {
                return Err(RehearsalError::Silent {
                    what: ("ラインの運転", "the run"),
                    seconds: 120,
                });
            }
            let done = u32::try_from(story.units().count()).unwrap_or(u32::MAX);
            if done >= self.plan.kill_after
                && let Some(ca) = to_kill.take()
            {
                away = self.without_ca(ca, story, teller)?;
            }
            self.ground.pause(LOOK_UP)?;
        }
    }

    /// Kills the CA, waits until a unit waits for it, and starts it again.
    fn without_ca(
        &mut self,
        ca: &mut Ca,
        story: &mut Story,
        teller: &mut Teller<'_>,
    ) -> Outcome<u64> {
        let killed = SystemClock.now().0;
        ca.kill()?;
        teller.say("CA を強制停止しました", "the CA was killed")?;
        let ground = self.ground;
        let waits = ground.until(WAITING, || {
            self.take(story)?;
            Ok(story.lines.iter().any(is_waiting).then_some(()))
        });
        match waits {
            // That nobody waited is for the report to say.
            Ok(()) | Err(RehearsalError::Silent { .. }) => {}
            Err(error) => return Err(error),
        }
        ca.start(ground)?;
        teller.say("CA を再起動しました", "the CA was started again")?;
        Ok(SystemClock.now().0.saturating_sub(killed))
    }

    /// Takes the whole lines that were written since.
    fn take(&mut self, story: &mut Story) -> Outcome<()> {
        let said = fs::read(self.ground.path(&self.out))?;
        let new = said.get(self.read..).unwrap_or_default();
        let whole = new.iter().rposition(|byte| *byte == b'\n');
        let new = new.get(..whole.map_or(0, |at| at + 1)).unwrap_or_default();
        self.read += new.len();
        let lines = new.split(|byte| *byte == b'\n');
        story
            .lines
            .extend(lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok()));
        Ok(())
    }

    /// Tells each tenth of the lot that has passed; gives how many had passed then.
    fn tell(&self, told: u32, story: &Story, teller: &mut Teller<'_>) -> Outcome<u32> {
        let (now, all) = (story.count_passes(), self.plan.units);
        let tenth = |passed: u32| passed * TENTHS / all.max(1);
        if tenth(now) == tenth(told) {
            return Ok(told);
        }
        teller.say(&format!("合格 {now}/{all}"), &format!("passed {now}/{all}"))?;
        Ok(now)
    }
}

fn is_waiting(line: &Line) -> bool {
    line.event == "wait" && line.fault() == Some(Fault::CaUnreachable)
}
