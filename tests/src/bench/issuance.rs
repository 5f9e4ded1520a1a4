use super::Effort;
use super::client::{Crew, confirm, provision};
use super::floors::Floors;
use super::load::in_flight;
use super::report::Row;
use crate::factory::Factory;
use crate::failure::Outcome;
use std::sync::Arc;

/// Calls under way at once, and what part of the effort each level takes.
const LEVELS: [(u32, u32); 4] = [(1, 8), (8, 2), (64, 1), (256, 1)];
/// Units in an envelope of a gang programmer.
const GANG: u32 = 32;

/// Provision alone, Provision with 32 units an envelope, and whole units.
pub(super) async fn rows(
    factory: &Factory,
    crew: &Crew,
    floors: &Floors,
    effort: Effort,
) -> Outcome<Vec<Row>> {
    let (at, mut rows) = ((factory, crew), Vec::new());
    for (level, part) in LEVELS {
        let work = (level, effort.units / part, 1);
        rows.push(issuance(at, work, floors.issuance(level, 1)).await?);
    }
    for level in [2, 8] {
        let work = (level, effort.units / GANG, GANG);
        rows.push(issuance(at, work, floors.issuance(level * GANG, GANG)).await?);
    }
    for (level, part) in LEVELS {
        let work = (level, effort.units / part / 2);
        rows.push(unit(at, work, floors.unit(level)).await?);
    }
    Ok(rows)
}

async fn issuance(
    (factory, crew): (&Factory, &Crew),
    (level, calls, each): (u32, u32, u32),
    floor: f64,
) -> Outcome<Row> {
    let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
    let work = crew.requests(size(calls), size(each)).await?;
    let stations: Arc<Vec<_>> = Arc::new((0..64).map(|call| crew.station(call)).collect());
    let before = factory.server_seconds()?;
    let times = in_flight(level, work, move |call, work| {
        let stations = Arc::clone(&stations);
        async move {
            provision(&stations[call % stations.len()], &work)
                .await
                .map(drop)
        }
    });
    let name = if each == 1 {
        "issuance"
    } else {
        "issuance-gang"
    };
    let row = times.await?.row(name, factory.module().hsm().name(), level);
    let seconds = factory.server_seconds()? - before;
    Ok(row.times(each).beside(floor).serving(seconds, calls * each))
}

/// Challenge, proofs, certificate, confirmation.
async fn unit(
    (factory, crew): (&Factory, &Crew),
    (level, units): (u32, u32),
    floor: f64,
) -> Outcome<Row> {
    let chips = crew.chips(usize::try_from(units).unwrap_or(usize::MAX))?;
    let crew = Arc::new(crew.clone());
    let before = factory.server_seconds()?;
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
    let row = times
        .await?
        .row("unit", factory.module().hsm().name(), level);
    let seconds = factory.server_seconds()? - before;
    Ok(row.beside(floor).serving(seconds, units))
}
