//! A line under work whose programs are killed without warning, again and again: server, agent, programmer with its
//! chips. Lot after lot is made all the same, once.

use crate::chips::{Programmer, Tray};
use crate::factory::Factory;
use crate::failure::{Failure, Outcome, require};
use crate::hsm::Hsm;
use crate::lines::{CAMERAS, Line, STATION};
use crate::outside::{HandedOver, Seeded, made_once};
use crate::patience::{now, pause};
use crate::process::Daemon;
use crate::station::Station;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Units of one lot file.
const UNITS: u32 = 24;
const SOCKETS: usize = 4;
/// Time between two kills: enough that something is under work, too little to finish a lot.
const PAUSE_MS: (u64, u64) = (60, 400);
/// Runs without kills after which a unit that is not made is stuck.
const RUNS: usize = 6;
/// Most units of a grant.
const LIMIT: u32 = 900_000;

/// Whom a kill hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// The CA.
    Server,
    /// The line agent.
    Agent,
    /// The gang programmer with the chips in it.
    Programmer,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Kills of server, agent and programmer.
    pub kills: [usize; 3],
    /// Units made.
    pub units: u32,
    /// How long each restarted server took to its first answer.
    pub restarts: Vec<Duration>,
}

/// A line that can be killed.
#[derive(Debug)]
pub struct Target {
    factory: Factory,
    station: Station,
    handed: HandedOver,
    moments: Seeded,
    told: Told,
    trays: u32,
}

/// A lot under work.
struct Work {
    lot: PathBuf,
    tray: Tray,
    programmer: Programmer,
    agent: Daemon,
}

impl Told {
    /// Kills in all.
    #[must_use]
    pub fn count(&self) -> usize {
        self.kills.iter().sum()
    }
}

impl Target {
    /// A factory in a directory, with room for any number of units.
    ///
    /// # Errors
    /// [`Failure`] of a step.
    pub fn open(home: &Path, hsm: Hsm, seed: u64) -> Outcome<Self> {
        let mut factory = Factory::prepare(home, hsm)?;
        factory.policies.limit_grant(CAMERAS.grant, LIMIT)?;
        factory.policies.size_lot(CAMERAS.lot, LIMIT)?;
        let file = factory.policies.file("lots", CAMERAS.lot);
        let last = "to = \"26480001999\"";
        factory.policies.edit(&file, last, "to = \"26489999999\"")?;
        factory.hold_ceremony()?;
        factory.start_server()?;
        let mut station = Station::enroll(&factory, STATION)?;
        factory.load_grant(CAMERAS.grant)?;
        factory.open_lot(CAMERAS.grant, CAMERAS.lot)?;
        station.take_grant(&factory, CAMERAS.grant, &[CAMERAS.lot])?;
        Ok(Self {
            factory,
            station,
            handed: HandedOver::default(),
            moments: seed.into(),
            told: Told::default(),
            trays: 0,
        })
    }

    /// Makes lots until so many kills have hit, and holds every lot against what was handed over.
    ///
    /// # Errors
    /// [`Failure`] says what is lost, twice, forked or stuck.
    pub fn suffer(&mut self, kills: usize, tell: &dyn Fn(&Told)) -> Outcome<Told> {
        while self.told.count() < kills {
            let mut work = self.begin(CAMERAS)?;
            while self.told.count() < kills && work.agent.ended()?.is_none() {
                let (least, most) = PAUSE_MS;
                pause(Duration::from_millis(
                    least + self.moments.below(most - least),
                ));
                self.hit(&mut work)?;
                self.handed.hold_against(&self.station)?;
                tell(&self.told);
            }
            self.finish(work)?;
            self.told.units = self.trays * UNITS;
        }
        Ok(self.told.clone())
    }

    fn begin(&mut self, line: Line) -> Outcome<Work> {
        let first = self.trays * UNITS;
        self.trays += 1;
        let mut tray = Tray::new(&self.factory.path(&format!("tray-{}", self.trays)));
        tray.put(&self.factory.vendor, line.part, first + 1, UNITS)?;
        let programmer = tray.present(SOCKETS)?;
        let rows = (line.first + u64::from(first)..)
            .take(UNITS as usize)
            .map(|serial| format!("{},{serial},unit\n", line.lot));
        let text: String = std::iter::once("lot,serial,label\n".to_owned())
            .chain(rows)
            .collect();
        let lot = self
            .station
            .lot_file(&format!("lot-{}.csv", self.trays), text.as_bytes())?;
        let agent = self.station.start(&lot, &programmer.sockets)?;
        Ok(Work {
            lot,
            tray,
            programmer,
            agent,
        })
    }

    /// Kills one of them, and starts it again.
    fn hit(&mut self, work: &mut Work) -> Outcome<()> {
        let victim = match self.moments.below(5) {
            0 | 1 => Victim::Server,
            2 | 3 => Victim::Agent,
            _ => Victim::Programmer,
        };
        match victim {
            Victim::Server => {
                self.factory.kill_server()?;
                let begin = now();
                self.factory.start_server()?;
                self.factory.status()?;
                self.told.restarts.push(begin.elapsed());
            }
            Victim::Agent => {
                work.agent.kill()?;
                work.agent = self.station.start(&work.lot, &work.programmer.sockets)?;
            }
            Victim::Programmer => {
                work.programmer.daemon.kill()?;
                work.programmer = work.tray.present(SOCKETS)?;
                // The programmer has other addresses now: the station's settings name them at its next start.
                work.agent.kill()?;
                work.agent = self.station.start(&work.lot, &work.programmer.sockets)?;
            }
        }
        self.told.kills[victim as usize] += 1;
        Ok(())
    }

    /// Lets the lot be made to its end, without kills.
    fn finish(&mut self, mut work: Work) -> Outcome<()> {
        work.agent.wait()?;
        let made = usize::try_from(self.trays * UNITS).map_err(Failure::new)?;
        let mut said = work.agent.said();
        for _run in 0..RUNS {
            if self.station.devices()?.len() == made && self.station.open_units()?.is_empty() {
                break;
            }
            said = self.station.run(&work.lot, &work.programmer.sockets)?.said;
        }
        self.handed.hold_against(&self.station)?;
        let open = self.station.open_units()?;
        require(
            open.is_empty(),
            format_args!("STUCK: {}\n{said}", open.join("\n")),
        )?;
        made_once(&self.factory, &self.station, self.trays * UNITS)
            .map_err(|failure| Failure::new(format_args!("{failure}\n{said}")))
    }
}
