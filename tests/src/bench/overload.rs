//! Twice as much as the server can do: what of it is done, and what is said to the rest.

use super::client::{Crew, Work, provision};
use super::issuance::Measured;
use super::load::in_flight;
use super::report::load;
use super::{GRANT, LOT, in_its_own_process, prepare};
use crate::factory::Factory;
use crate::failure::{Failure, Outcome};
use crate::hsm::Hsm;
use crate::soft::SoftStation;
use proto::factory::ProvisionRequest;
use proto::factory::unit_result::Outcome as Issuance;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use tonic::Code;

/// Stations, and connections of each: together they may have more calls under way than the server queues.
const STATIONS: usize = 8;
const CONNECTIONS: usize = 10;
/// Calls under way at once while the peak is measured.
const IN_FLIGHT: u32 = 256;
/// How much more than the peak is offered, and for how long.
const TIMES: u32 = 2;
const SECONDS: u32 = 10;

/// Of the peak, what has to be done of twice as much, in hundredths.
const ASKED: f64 = 90.0;

/// What came of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Overload {
    /// Which module signed.
    pub hsm: String,
    /// Certificates a second, each call begun when another ends: the mean of before and after.
    pub peak_per_s: f64,
    /// Calls a second that were begun between, whatever became of those before; as counted, not as planned.
    pub offered_per_s: f64,
    /// Certificates a second meanwhile, from the first call to the last answer.
    pub goodput_per_s: f64,
    /// Goodput by peak.
    pub share: f64,
    /// Calls that were refused, by all.
    pub refused: f64,
    /// Of these, `RESOURCE_EXHAUSTED` that says when to come again.
    pub hinted: f64,
    /// All but one in a hundred of the accepted took no longer, in milliseconds, from the moment when they were due.
    pub p99_ms: f64,
    /// Certificates that one commit of the server served, on average, while more was offered than it can do.
    pub batch: f64,
    /// Processor time of the server for each certificate meanwhile, refusals of others included, in microseconds.
    pub server_us: f64,
    /// Load average of the machine over the last minute, when the peak was measured.
    pub load: f64,
}

/// One call's end.
enum End {
    Accepted(Duration),
    Refused { hinted: bool },
}

/// A factory in a process of its own.
///
/// # Errors
/// [`Failure`] of a step, or of the run with all that it said.
pub fn overload(hsm: Hsm, units: u32) -> Outcome<Overload> {
    let arguments = ["--overload", "--units", &units.to_string()].map(str::to_owned);
    in_its_own_process(hsm, Duration::ZERO, &arguments)
}

/// What [`overload`] starts.
///
/// # Errors
/// [`Failure`] of a step, or that a call ended otherwise than with a certificate or a refusal.
pub fn overload_inside(home: &Path, hsm: Hsm, units: u32) -> Outcome<Overload> {
    let (mut factory, runtime) = (prepare(home, hsm)?, alone()?);
    name_stations(&factory)?;
    let crews = runtime.block_on(async { enroll(&factory) })?;
    factory.load_grant(GRANT)?;
    factory.open_lot(GRANT, LOT)?;
    let crews = crews.into_iter().map(|crew| crew.under(&factory));
    let crews = crews.collect::<Outcome<Vec<_>>>()?;
    let measured = runtime.block_on(measure(&factory, &crews, units))?;
    factory.stop_server()?;
    Ok(measured)
}

impl Overload {
    /// Whether as much of the peak is done as is asked for.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.share * 100.0 >= ASKED
    }
}

/// Says what was measured, in one line, and whether it is enough.
///
/// # Errors
/// As the stream.
pub fn print_overload(it: &Overload, out: &mut dyn Write) -> Outcome<()> {
    let percent = |part: f64| (part * 100.0).round();
    writeln!(
        out,
        "{}: peak {:.0}/s; {:.0}/s offered for {SECONDS} s: goodput {:.0}/s, {} % of the peak ({}: at least {ASKED} are asked); \
         {} % refused, of these {} % with RESOURCE_EXHAUSTED and when to come again; p99 of the accepted {:.0} ms; \
         {:.0} in a batch, {:.0} us of the server each; load {:.1}",
        it.hsm,
        it.peak_per_s,
        it.offered_per_s,
        it.goodput_per_s,
        percent(it.share),
        if it.is_enough() { "PASS" } else { "SHORT" },
        percent(it.refused),
        percent(it.hinted),
        it.p99_ms,
        it.batch,
        it.server_us,
        it.load
    )?;
    Ok(())
}

/// One thread for all callers, which are to take as little as they can from the server beside them.
fn alone() -> Outcome<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build()?)
}

fn ids() -> Vec<String> {
    (1..=STATIONS)
        .map(|number| format!("ota-l2-prov-{number:02}"))
        .collect()
}

/// Names all stations in the grant, and writes policies of those that have none.
fn name_stations(factory: &Factory) -> Outcome<()> {
    let (policies, ids) = (&factory.policies, ids());
    let grant = policies.file("grants", GRANT);
    let old = r#"stations = ["ota-l2-prov-01", "ota-l2-prov-02"]"#;
    policies.edit(&grant, old, &format!("stations = {ids:?}"))?;
    for id in &ids {
        if !policies.file("stations", id).exists() {
            let named = format!("{id:?}");
            policies.derive("stations", &ids[0], id, &[("id", &named)])?;
        }
    }
    Ok(())
}

fn enroll(factory: &Factory) -> Outcome<Vec<Crew>> {
    let mut crews: Vec<Crew> = Vec::new();
    for id in ids() {
        let crew = match crews.first() {
            None => Crew::enroll_as(factory, &id, CONNECTIONS)?,
            Some(first) => first.joined_by(factory, &id, CONNECTIONS)?,
        };
        crews.push(crew);
    }
    Ok(crews)
}

async fn measure(factory: &Factory, crews: &[Crew], units: u32) -> Outcome<Overload> {
    for crew in crews {
        // One handshake after another: so many at once from one address would be turned away.
        crew.connect().await?;
    }
    let load = load();
    let before = peak(crews, units).await?;
    let planned = (before * f64::from(TIMES)).round() as u32;
    let work = requests(crews, planned * SECONDS).await?;
    let measured = Measured::begin(factory)?;
    let Offer {
        ends,
        offered,
        whole,
    } = offer(planned, work).await?;
    let (mut accepted, mut refused, mut hints) = (Vec::new(), 0_u32, 0_u32);
    for end in ends {
        match end {
            End::Accepted(took) => accepted.push(took),
            End::Refused { hinted } => {
                refused += 1;
                hints += u32::from(hinted);
            }
        }
    }
    accepted.sort_unstable();
    let certificates = u32::try_from(accepted.len()).map_err(Failure::new)?;
    let (seconds, batch) = measured.done(certificates)?;
    // A machine that is shared changes its pace meanwhile.
    let peak = f64::midpoint(before, peak(crews, units).await?);
    let goodput = accepted.len() as f64 / whole.as_secs_f64();
    let calls = accepted.len() as f64 + f64::from(refused);
    let p99 = accepted.get(accepted.len() * 99 / 100);
    Ok(Overload {
        hsm: factory.module().hsm().name().to_owned(),
        peak_per_s: peak,
        offered_per_s: offered,
        goodput_per_s: goodput,
        share: goodput / peak,
        refused: f64::from(refused) / calls.max(1.0),
        hinted: f64::from(hints) / f64::from(refused.max(1)),
        p99_ms: p99.map_or(0.0, |took| took.as_secs_f64() * 1e3),
        batch,
        server_us: seconds * 1e6 / f64::from(certificates.max(1)),
        load,
    })
}

/// Certificates a second, each call begun when another ends.
async fn peak(crews: &[Crew], units: u32) -> Outcome<f64> {
    let work = requests(crews, units).await?;
    let times = in_flight(IN_FLIGHT, work, |_, (station, work)| async move {
        provision(&station, &work).await.map(drop)
    });
    Ok(times.await?.rate())
}

/// So many requests of new chips, the stations and their connections taking turns.
async fn requests(crews: &[Crew], count: u32) -> Outcome<Vec<(SoftStation, Work)>> {
    let each = usize::try_from(count)
        .map_err(Failure::new)?
        .div_ceil(crews.len());
    let mut queues = Vec::new();
    for crew in crews {
        queues.push(crew.requests(each, 1).await?.into_iter());
    }
    let mut work = Vec::with_capacity(each * crews.len());
    for call in 0..each {
        for (crew, queue) in crews.iter().zip(&mut queues) {
            work.extend(queue.next().map(|it| (crew.station(call), it)));
        }
    }
    Ok(work)
}

/// What was offered, and what became of it.
struct Offer {
    ends: Vec<End>,
    /// Calls a second, until the last was begun.
    offered: f64,
    /// From the first call to the last answer.
    whole: Duration,
}

/// Begins a call at each tick, whether or not those before have ended.
async fn offer(per_second: u32, work: Vec<(SoftStation, Work)>) -> Outcome<Offer> {
    let begin = tokio::time::Instant::now();
    let mut tasks = Vec::with_capacity(work.len());
    for (at, (station, work)) in (0_u32..).zip(work) {
        let due = begin + Duration::from_secs(1) * at / per_second;
        tokio::time::sleep_until(due).await;
        tasks.push(tokio::spawn(async move {
            ask(&station, &work, || due.elapsed()).await
        }));
    }
    let offered = tasks.len() as f64 / begin.elapsed().as_secs_f64();
    let mut ends = Vec::with_capacity(tasks.len());
    for task in tasks {
        ends.push(task.await.map_err(Failure::new)??);
    }
    Ok(Offer {
        ends,
        offered,
        whole: begin.elapsed(),
    })
}

async fn ask(station: &SoftStation, work: &Work, took: impl Fn() -> Duration) -> Outcome<End> {
    let request = ProvisionRequest {
        envelope: work.signed.envelope.clone(),
        signature: work.signed.signature.clone(),
    };
    let mut results = match station.client().provision(request).await {
        Ok(answer) => answer.into_inner().results,
        Err(status) if status.code() == Code::ResourceExhausted => {
            let fault = proto::fault::fault_from_status(&status);
            let hinted = fault.is_some_and(|fault| fault.retry_after_ms.is_some());
            return Ok(End::Refused { hinted });
        }
        Err(status) => return Err(Failure::new(status)),
    };
    match results.pop().and_then(|result| result.outcome) {
        Some(Issuance::Issued(_)) => Ok(End::Accepted(took())),
        Some(Issuance::Refused(verdict)) if verdict.code == "CA-0108" => Ok(End::Refused {
            hinted: verdict.retry_after_ms.is_some(),
        }),
        other => Err(Failure::new(format_args!("no certificate: {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_does_less_than_nine_tenths_of_the_peak_falls_short_and_is_told() {
        for (share, is_enough, word) in [(0.9, true, "PASS"), (0.899, false, "SHORT")] {
            let it = Overload {
                hsm: "hsm-sim".to_owned(),
                peak_per_s: 1_000.0,
                offered_per_s: 2_000.0,
                goodput_per_s: share * 1_000.0,
                share,
                refused: 0.5,
                hinted: 1.0,
                p99_ms: 1_800.0,
                batch: 300.0,
                server_us: 400.0,
                load: 1.0,
            };
            assert_eq!(it.is_enough(), is_enough, "{share}");
            let mut told = Vec::new();
            print_overload(&it, &mut told).unwrap();
            let told = String::from_utf8(told).unwrap();
            assert!(told.contains(&format!("({word}: at least 90 ")), "{told}");
        }
    }
}
