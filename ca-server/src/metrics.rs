//! What is counted and measured for Prometheus; `docs/metrics.md` says what each name means, and a test holds it to
//! that. Counting costs an addition, measuring a look at the clock a batch. No label holds a serial, a chip or a key.

mod sample;

pub use sample::Sampler;
pub(crate) use vitals::Stopwatch;

use identity::fault::Fault;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt;
use std::time::Duration;

/// One label with a value of a fixed set.
type Label = [(&'static str, &'static str); 1];

/// Seconds: from a commit on a fast disk to an HSM that hangs.
const SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];
/// Jobs in a batch.
const JOBS: [f64; 8] = [1.0, 4.0, 16.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// A door of the corridor, as metrics name it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door {
    /// 1.
    Admit,
    /// 2.
    Reserve,
    /// 3.
    Publish,
    /// 4.
    Sign,
    /// 5.
    Record,
    /// 6.
    Release,
}

/// All meters of one server.
pub struct Meters {
    registry: Registry,
    /// Certificates handed out.
    pub(crate) issued: Counter,
    /// Receipts of confirmations handed out.
    pub(crate) confirmed: Counter,
    /// Receipts of voids handed out.
    pub(crate) voided: Counter,
    waiting: Gauge,
    refused: Family<Label, Counter>,
    turned_away: Family<Label, Counter>,
    connections: Family<Label, Gauge>,
    batch: Histogram,
    doors: [Histogram; 6],
    oldest: std::sync::Mutex<Option<Stopwatch>>,
    sampled: sample::Sampled,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Meters {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("koseki");
        let issued = counter(
            &mut registry,
            "issued",
            "Certificates handed out, retries included",
        );
        let confirmed = counter(
            &mut registry,
            "confirmed",
            "Confirmations answered with a receipt",
        );
        let voided = counter(&mut registry, "voided", "Voids answered with a receipt");
        let (refused, turned_away) = (Family::default(), Family::default());
        registry.register(
            "refused",
            "Units and calls refused, by fault code",
            Family::clone(&refused),
        );
        let help = "Connections closed before anybody was known, by reason";
        registry.register("turned_away", help, Family::clone(&turned_away));
        let (waiting, connections) = (Gauge::default(), Family::default());
        registry.register(
            "queue_jobs",
            "Jobs that wait to be reserved",
            Gauge::clone(&waiting),
        );
        registry.register(
            "connections",
            "Named connections, by role",
            Family::clone(&connections),
        );
        let batch = Histogram::new(JOBS);
        registry.register("batch_jobs", "Jobs in one transaction", batch.clone());
        let doors = doors(&mut registry);
        let sampled = sample::Sampled::register(&mut registry);
        Self {
            registry,
            issued,
            confirmed,
            voided,
            waiting,
            refused,
            turned_away,
            connections,
            batch,
            doors,
            oldest: std::sync::Mutex::default(),
            sampled,
        }
    }
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn doors(registry: &mut Registry) -> [Histogram; 6] {
    let by_door = Family::<Label, Histogram>::new_with_constructor(|| Histogram::new(SECONDS));
    let help = "Time at one door, of an envelope or batch";
    registry.register("door_seconds", help, by_door.clone());
    ["admit", "reserve", "publish", "sign", "record", "release"]
        .map(|door| by_door.get_or_create_owned(&[("door", door)]))
}

impl Meters {
    /// One refusal of a unit or call.
    pub(crate) fn refuse(&self, fault: Fault) {
        self.refused.get_or_create(&[("code", fault.code())]).inc();
    }

    /// One connection that was closed before anybody was known.
    pub(crate) fn turn_away(&self, reason: &'static str) {
        self.turned_away.get_or_create(&[("reason", reason)]).inc();
    }

    /// One connection of somebody in this role.
    pub(crate) fn connect(&self, role: &'static str) -> Connected {
        let gauge = self.connections.get_or_create_owned(&[("role", role)]);
        gauge.inc();
        Connected(gauge)
    }

    /// Something passed a door.
    pub(crate) fn pass(&self, door: Door, since: Stopwatch) {
        let [admit, reserve, publish, sign, record, release] = &self.doors;
        let histogram = match door {
            Door::Admit => admit,
            Door::Reserve => reserve,
            Door::Publish => publish,
            Door::Sign => sign,
            Door::Record => record,
            Door::Release => release,
        };
        histogram.observe(since.elapsed().as_secs_f64());
    }

    /// So many jobs wait to be reserved, the oldest since then.
    pub(crate) fn wait(&self, jobs: usize, oldest: Option<Stopwatch>) {
        self.waiting.set(i64::try_from(jobs).unwrap_or(i64::MAX));
        *self.oldest() = oldest;
    }

    /// So many jobs share a transaction.
    pub(crate) fn take(&self, jobs: usize) {
        self.batch
            .observe(f64::from(u32::try_from(jobs).unwrap_or(u32::MAX)));
    }

    /// Whether a job waits to be reserved.
    pub(crate) fn somebody_waits(&self) -> bool {
        self.waiting.get() > 0
    }

    /// How long the oldest job waits.
    fn age(&self) -> Duration {
        let oldest = *self.oldest();
        oldest.map_or(Duration::ZERO, Stopwatch::elapsed)
    }

    fn oldest(&self) -> std::sync::MutexGuard<'_, Option<Stopwatch>> {
        self.oldest
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Everything in the text form of `OpenMetrics` 1.0.
    #[must_use]
    pub fn text(&self) -> String {
        vitals::metrics::text(&self.registry)
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitals::metrics::{described, named};

    #[test]
    fn the_page_names_exactly_what_is_measured() {
        let mut described = described(include_str!("../../docs/metrics.md"));
        described.retain(|name| !name.starts_with("koseki_line_"));
        let meters = Meters::default();
        meters.refuse(Fault::Overloaded);
        meters.turn_away("name");
        drop(meters.connect("station"));
        meters.sampled.touch();
        let measured = named(&meters.text());
        assert!(measured.len() > 20, "{measured:?}");
        assert_eq!(described, measured);
    }

    #[test]
    fn the_age_of_the_queue_is_that_of_its_oldest_job() {
        let meters = Meters::default();
        assert_eq!(meters.age(), Duration::ZERO);
        meters.wait(3, Some(Stopwatch::start()));
        assert!(meters.somebody_waits() && meters.age() > Duration::ZERO);
        meters.wait(0, None);
        assert!(!meters.somebody_waits());
        assert_eq!(meters.age(), Duration::ZERO);
    }
}
