use super::Selection;
use super::client::{Crew, confirm, provision};
use super::floors::{Floors, Load};
use super::load::{in_flight, paced};
use super::report::{Row, Times};
use crate::factory::Factory;
use crate::failure::{Failure, Outcome};
use rusqlite::OpenFlags;
use std::sync::Arc;

/// Calls under way at once, and what part of the effort each level takes.
const LEVELS: [(u32, u32); 4] = [(1, 8), (8, 2), (64, 1), (256, 1)];
/// Units in an envelope of a gang programmer, and how many of them are under way at once.
const GANG: u32 = 32;
const GANGS: [u32; 2] = [2, 8];
/// A steady pace, envelopes a second, and what part of the effort it takes.
const PACE: (u32, u32) = (500, 2);

/// One module's rows, and what they are measured with.
pub(super) struct Course<'a> {
    pub(super) factory: &'a Factory,
    pub(super) crew: &'a Crew,
    pub(super) floors: &'a Floors,
    pub(super) selection: &'a Selection,
}

impl Course<'_> {
    /// Provision alone, with 32 units an envelope, at a steady pace, and whole units.
    pub(super) async fn rows(&self) -> Outcome<Vec<Row>> {
        let (units, mut rows) = (self.selection.units, Vec::new());
        for (level, part) in LEVELS {
            if self.selection.takes("issuance", level) {
                rows.push(self.issuance("issuance", level, (units / part, 1)).await?);
            }
        }
        for level in GANGS {
            if self.selection.takes("issuance-gang", level) {
                let calls = (units / GANG).max(1);
                rows.push(self.issuance("issuance-gang", level, (calls, GANG)).await?);
            }
        }
        if self.selection.takes("issuance-paced", PACE.0) {
            rows.push(self.at_pace(PACE.0, units / PACE.1).await?);
        }
        for (level, part) in LEVELS {
            if self.selection.takes("unit", level) {
                rows.push(self.units(level, units / part / 2).await?);
            }
        }
        Ok(rows)
    }

    /// So many envelopes with so many units each.
    pub(super) async fn issuance(
        &self,
        name: &str,
        level: u32,
        (calls, each): (u32, u32),
    ) -> Outcome<Row> {
        let work = self.crew.requests(size(calls), size(each)).await?;
        let stations: Arc<Vec<_>> = Arc::new((0..64).map(|call| self.crew.station(call)).collect());
        let before = self.floors.pace()?;
        let measured = Measured::begin(self.factory)?;
        let times = in_flight(level, work, move |call, work| {
            let stations = Arc::clone(&stations);
            async move {
                let station = &stations[call % stations.len()];
                provision(station, &work).await.map(drop)
            }
        });
        let (row, batch) = measured.end(times.await?, (name, level), calls * each)?;
        let load = Load {
            in_flight: level,
            each,
            batch,
            pace: before.between(self.floors.pace()?),
        };
        Ok(row.times(each).beside(self.floors.issuance(load)))
    }

    /// One unit an envelope, so many a second whatever becomes of those before. Its floor is the pace.
    async fn at_pace(&self, pace: u32, calls: u32) -> Outcome<Row> {
        let work = self.crew.requests(size(calls), 1).await?;
        let measured = Measured::begin(self.factory)?;
        let crew = self.crew.clone();
        let times = paced(pace, work, move |call, work| {
            let station = crew.station(call);
            async move { provision(&station, &work).await.map(drop) }
        });
        let (row, _) = measured.end(times.await?, ("issuance-paced", pace), calls)?;
        Ok(row.beside(f64::from(pace)))
    }

    /// Challenge, proofs, certificate, confirmation.
    async fn units(&self, level: u32, units: u32) -> Outcome<Row> {
        let chips = self.crew.chips(size(units))?;
        let crew = Arc::new(self.crew.clone());
        let before = self.floors.pace()?;
        let measured = Measured::begin(self.factory)?;
        let times = in_flight(level, chips, move |call, chip| {
            let crew = Arc::clone(&crew);
            async move {
                let station = crew.station(call);
                let (challenges, time) = station.challenges(std::iter::once(&chip.0)).await?;
                let work = crew.request(&station, &[chip], &mut challenges.into_iter(), time)?;
                let issued = provision(&station, &work).await?;
                confirm(&station, &work.units[0], &issued[0], time).await
            }
        });
        // Each unit goes through two batches.
        let (row, batch) = measured.end(times.await?, ("unit", level), units)?;
        let load = Load {
            in_flight: level,
            each: 1,
            batch: 2.0 * batch,
            pace: before.between(self.floors.pace()?),
        };
        Ok(row.beside(self.floors.unit(load)))
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What the server had done when a measurement began.
pub(super) struct Measured<'a> {
    factory: &'a Factory,
    seconds: f64,
    commits: i64,
}

impl<'a> Measured<'a> {
    pub(super) fn begin(factory: &'a Factory) -> Outcome<Self> {
        Ok(Self {
            factory,
            seconds: factory.server_seconds()?,
            commits: commits(factory)?,
        })
    }

    /// The row, and how many of `units` one commit of the server served.
    fn end(self, times: Times, of: (&str, u32), units: u32) -> Outcome<(Row, f64)> {
        let (name, level) = of;
        let row = times.row(name, self.factory.module().hsm().name(), level);
        let (seconds, batch) = self.done(units)?;
        Ok((row.serving(seconds, units).in_batches(batch), batch))
    }

    /// Processor time of the server since then, in seconds, and how many of `units` one commit served.
    pub(super) fn done(self, units: u32) -> Outcome<(f64, f64)> {
        let seconds = self.factory.server_seconds()? - self.seconds;
        let commits = commits(self.factory)? - self.commits;
        Ok((seconds, f64::from(units) / (commits.max(1) as f64)))
    }
}

/// Heads that the server has committed: one for each batch that appended to the log.
fn commits(factory: &Factory) -> Outcome<i64> {
    let store = factory.path("ca/state/ca.sqlite");
    let store = pages::connect(&store, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let count = "SELECT count(*) FROM past_head";
    let count = store.and_then(|store| store.query_row(count, [], |row| row.get(0)));
    count.map_err(Failure::new)
}
