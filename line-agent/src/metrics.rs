//! What is counted and measured for Prometheus; `docs/metrics.md` says what each name means, and a test holds it to
//! that. No label holds a serial, a chip or a key.

use crate::ca_link::Quota;
use crate::config::Config;
use crate::display::{Event, Sink, UnitLine};
use crate::station::Failure;
use crate::station::floor::{Floor, Queue, lock};
use crate::station::journal::History;
use crate::verdict::Verdict;
use identity::Id;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use vitals::Stopwatch;

/// Seconds that a unit takes: from a fast chip to one that waited for the CA.
const UNIT: [f64; 12] = [
    0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 30.0, 60.0, 600.0, 14_400.0,
];
/// Seconds from one finished unit to the next.
const TAKT: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 30.0, 300.0];

type Units = Family<[(&'static str, &'static str); 2], Counter>;
type Sockets<const N: usize> = Family<[(&'static str, String); N], Counter>;
type Grants = Family<[(&'static str, String); 1], Gauge>;
type Places = Family<[(&'static str, &'static str); 1], Gauge>;

/// All meters of one run.
#[derive(Default)]
pub struct Meters {
    registry: Registry,
    units: Units,
    socket_units: Sockets<2>,
    socket_failures: Sockets<1>,
    alarms: Counter,
    times: Times,
    last: Mutex<Option<Stopwatch>>,
    grants: [Grants; 2],
    disk_free: Places,
    state: State,
}

/// How long units take.
#[derive(Debug)]
struct Times {
    unit: Histogram,
    takt: Histogram,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            unit: Histogram::new(UNIT),
            takt: Histogram::new(TAKT),
        }
    }
}

/// What is read from time to time.
#[derive(Clone, Debug, Default)]
struct State {
    waiting: Gauge,
    open: Gauge,
    aside: Gauge,
    voids: Gauge,
    left: Gauge,
    ca: Gauge,
    hsm_calls: Counter,
    hsm_errors: Counter,
    hsm_seconds: Counter<f64, AtomicU64>,
}

impl Meters {
    /// Nothing has happened yet, in none of these sockets: each stands at nought. A series that comes into being with its
    /// first one has not grown for Prometheus, and one that is not there has no share of anything.
    #[must_use]
    pub fn new(sockets: impl IntoIterator<Item = Id>) -> Self {
        let mut registry = Registry::with_prefix("koseki_line");
        let meters = Self::default();
        for socket in sockets {
            for verdict in Verdict::ALL.into_iter().filter(|it| it.is_final()) {
                drop(meters.in_socket(&socket, verdict));
            }
            drop(meters.out_of_use(&socket));
        }
        meters.register_units(&mut registry);
        meters.register_state(&mut registry);
        Self { registry, ..meters }
    }

    fn register_units(&self, to: &mut Registry) {
        let version = [("version", env!("CARGO_PKG_VERSION"))].to_vec();
        to.register("build", "Version of the program", Info::new(version));
        let units = "Units whose session ended, by verdict and by who is to blame";
        to.register("units", units, self.units.clone());
        let socket = "Units finished in a socket, by verdict";
        to.register("socket_units", socket, self.socket_units.clone());
        let failures = "Times that a socket went out of use";
        to.register("socket_failures", failures, self.socket_failures.clone());
        let alarms = "Things told that a person must look at";
        to.register("alarms", alarms, self.alarms.clone());
        let unit = "Time from a unit's first step to PASS or FAIL";
        to.register("unit_seconds", unit, self.times.unit.clone());
        let takt = "Time from one finished unit to the next";
        to.register("takt_seconds", takt, self.times.takt.clone());
        let [limit, left] = &self.grants;
        let help = "Certificates that a grant allows";
        to.register("grant_limit_units", help, limit.clone());
        let help = "Certificates that are left of a grant";
        to.register("grant_left_units", help, left.clone());
    }

    fn register_state(&self, to: &mut Registry) {
        let state = &self.state;
        for (name, help, gauge) in [
            (
                "waiting_units",
                "Units that wait for the CA",
                &state.waiting,
            ),
            ("open_units", "Units open in the journal", &state.open),
            (
                "aside_units",
                "Of these, set aside for a person",
                &state.aside,
            ),
            ("waiting_voids", "Voids that wait for the CA", &state.voids),
            ("lot_left_units", "Units not begun", &state.left),
            ("ca_reachable", "1 while the CA answers", &state.ca),
        ] {
            to.register(name, help, gauge.clone());
        }
        let free = "Bytes free for the station, by place";
        to.register("disk_free_bytes", free, self.disk_free.clone());
        let calls = "Calls to the HSM";
        to.register("hsm_calls", calls, state.hsm_calls.clone());
        let errors = "Calls that the HSM failed";
        to.register("hsm_errors", errors, state.hsm_errors.clone());
        let time = "Time spent in calls to the HSM";
        to.register("hsm_seconds", time, state.hsm_seconds.clone());
    }

    /// Everything in the text form of `OpenMetrics` 1.0.
    #[must_use]
    pub fn text(&self) -> String {
        vitals::metrics::text(&self.registry)
    }

    fn apply(&self, event: &Event) {
        match event {
            Event::Ended(line) => self.end(line),
            Event::SocketFailed { socket, .. } => {
                self.out_of_use(socket).inc();
            }
            Event::Alarm { .. } => {
                self.alarms.inc();
            }
            Event::Begun(_) | Event::Waits(_) | Event::Summary(_) => {}
        }
    }

    fn end(&self, line: &UnitLine) {
        let verdict = line.verdict();
        let labels = [
            ("verdict", verdict.name()),
            ("reason", reason(line.failure.as_ref())),
        ];
        self.units.get_or_create(&labels).inc();
        if !verdict.is_final() {
            return;
        }
        self.in_socket(&line.socket, verdict).inc();
        let mut last = lock(&self.last);
        let gap = last.replace(Stopwatch::start()).map(Stopwatch::elapsed);
        drop(last);
        let took = Duration::from_millis(line.millis);
        self.times.unit.observe(took.as_secs_f64());
        if let Some(gap) = gap {
            self.times.takt.observe(gap.as_secs_f64());
        }
    }

    fn in_socket(&self, socket: &Id, verdict: Verdict) -> Counter {
        let labels = [
            ("socket", socket.to_string()),
            ("verdict", verdict.name().to_owned()),
        ];
        self.socket_units.get_or_create_owned(&labels)
    }

    fn out_of_use(&self, socket: &Id) -> Counter {
        let label = [("socket", socket.to_string())];
        self.socket_failures.get_or_create_owned(&label)
    }

    /// What the CA says is left of a grant.
    pub(crate) fn show_quota(&self, grant: &Id, quota: Quota) {
        let label = [("grant", grant.to_string())];
        let [limit, left] = &self.grants;
        limit.get_or_create(&label).set(signed(quota.limit));
        left.get_or_create(&label).set(signed(quota.remaining));
    }

    /// Reads what is not counted where it happens. The journal is asked, and its disk may hang.
    pub(crate) fn sample(&self, floor: &Floor<'_>, queue: &Queue) {
        let count = |history: &History| {
            let (open, aside) = (history.open_units().count(), history.aside().count());
            [open, aside, history.voids().len()]
        };
        let [open, aside, voids] = floor.journal.with(count);
        let state = &self.state;
        for (gauge, count) in [
            (&state.open, open),
            (&state.aside, aside),
            (&state.voids, voids),
            (&state.waiting, floor.spool.waiting()),
            (&state.left, queue.remaining()),
        ] {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        state.ca.set(floor.ca.answers().unwrap_or_default().into());
        let usage = keyvault::usage();
        let spent = usage.time.as_secs_f64().to_bits();
        for (counter, value) in [
            (state.hsm_calls.inner(), usage.calls),
            (state.hsm_errors.inner(), usage.errors),
            (state.hsm_seconds.inner(), spent),
        ] {
            counter.store(value, Ordering::Relaxed);
        }
    }

    /// Reads how much room there is.
    pub(crate) fn sample_disks(&self, config: &Config) {
        let places: [(_, &Path); 2] = [("state", &config.paths.state), ("out", &config.paths.out)];
        for (place, path) in places {
            if let Ok(found) = rustix::fs::statvfs(path) {
                let free = found.f_bavail.saturating_mul(found.f_frsize);
                let gauge = self.disk_free.get_or_create_owned(&[("place", place)]);
                gauge.set(signed(free));
            }
        }
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

/// Shows metrics for as long as the runtime lives, if the settings say where.
///
/// # Errors
/// The address cannot be had.
pub fn show(config: &Config, runtime: &Runtime, meters: &Arc<Meters>) -> std::io::Result<()> {
    let Some(address) = config.metrics.listen else {
        return Ok(());
    };
    let listener = runtime.block_on(TcpListener::bind(address))?;
    let meters = Arc::clone(meters);
    let page = Arc::new(move || meters.text());
    drop(runtime.spawn(vitals::metrics::serve(listener, page)));
    tracing::info!(%address, "metrics are shown");
    Ok(())
}

/// Counts what happens, and hands it on.
pub struct Counted {
    meters: Arc<Meters>,
    inner: Box<dyn Sink>,
}

impl Counted {
    /// Counts before `inner` shows.
    #[must_use]
    pub fn new(meters: Arc<Meters>, inner: Box<dyn Sink>) -> Self {
        Self { meters, inner }
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}

impl Sink for Counted {
    fn show(&mut self, event: &Event) {
        self.meters.apply(event);
        self.inner.show(event);
    }
}

/// Who is to blame.
const fn reason(failure: Option<&Failure>) -> &'static str {
    match failure {
        None => "none",
        Some(failure) => failure.fault.blame().name(),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::display::samples::line;
    use identity::fault::Fault;
    use vitals::metrics::{described, named};

    fn sockets() -> [Id; 2] {
        ["1", "2"].map(|name| Id::new(name).unwrap())
    }

    /// What comes into being with its first one has not grown, for whoever asks how much it grew.
    #[test]
    fn every_socket_of_the_settings_stands_at_nought_before_its_first_unit() {
        let text = Meters::new(sockets()).text();
        for socket in sockets() {
            for series in [
                format!("units_total{{socket=\"{socket}\",verdict=\"PASS\"}} 0\n"),
                format!("units_total{{socket=\"{socket}\",verdict=\"FAIL\"}} 0\n"),
                format!("failures_total{{socket=\"{socket}\"}} 0\n"),
            ] {
                let wanted = format!("koseki_line_socket_{series}");
                assert!(text.contains(&wanted), "{wanted}: {text}");
            }
        }
    }

    /// Selectors of this program's meters that an alert asks a growth of, and all that it asks.
    fn asked(rules: &str) -> (Vec<&str>, Vec<&str>) {
        let code = |c: char| !(c.is_alphanumeric() || "_{}=\"".contains(c));
        let exprs = rules.split("expr: ").skip(1);
        let exprs = exprs.filter_map(|it| it.split("labels: ").next());
        let (mut grown, mut all) = (Vec::new(), Vec::new());
        for expr in exprs {
            for (at, _) in expr.match_indices("koseki_line_") {
                let (before, from) = expr.split_at(at);
                let selector = from.split(code).next().unwrap();
                if before.ends_with("increase(") || before.ends_with("rate(") {
                    grown.push(selector);
                }
                all.push(selector);
            }
        }
        (grown, all)
    }

    /// Nor has what is told before the page is read for the first time, as a socket that is not there.
    #[test]
    fn what_an_alert_asks_the_growth_of_is_there_from_the_start_and_comes_more_than_once() {
        let (grown, all) = asked(include_str!("../../deploy/prometheus/koseki-alerts.yml"));
        assert!(grown.len() >= 3 && all.len() > grown.len(), "{all:?}");
        let text = Meters::new(sockets()).text();
        for selector in grown {
            let (name, label) = selector.split_once('{').unwrap_or((selector, ""));
            let label = label.trim_end_matches('}');
            let of_name = text.lines().filter(|line| line.starts_with(name));
            let there = of_name.filter(|line| line.contains(label)).count();
            assert!(there > 0, "{selector}: {text}");
            let once = ["socket_failures_total", "alarms_total"];
            assert!(!once.iter().any(|it| name.ends_with(it)), "{selector}");
        }
    }

    #[test]
    fn the_page_names_exactly_what_is_measured() {
        let mut described = described(include_str!("../../docs/metrics.md"));
        described.retain(|name| name.starts_with("koseki_line_"));
        let id = Id::new("1").unwrap();
        let meters = Meters::new([id]);
        meters.apply(&Event::Ended(line("1", None)));
        meters.apply(&Event::SocketFailed {
            socket: id,
            failure: Failure::new(Fault::NoChip, ""),
        });
        let quota = Quota {
            limit: 2,
            remaining: 1,
        };
        meters.show_quota(&id, quota);
        meters.disk_free.get_or_create(&[("place", "state")]).set(0);
        let measured = named(&meters.text());
        assert!(measured.len() > 15, "{measured:?}");
        assert_eq!(described, measured);
    }

    #[test]
    fn units_are_counted_by_verdict_blame_and_socket() {
        let meters = Meters::new(sockets());
        for fault in [
            None,
            None,
            Some(Fault::BurnFailed),
            Some(Fault::CaUnreachable),
        ] {
            meters.apply(&Event::Ended(line("1", fault)));
        }
        meters.apply(&Event::Waits(line("1", Some(Fault::CaUnreachable))));
        let text = meters.text();
        for wanted in [
            "koseki_line_units_total{verdict=\"PASS\",reason=\"none\"} 2",
            "koseki_line_units_total{verdict=\"FAIL\",reason=\"unit\"} 1",
            "koseki_line_units_total{verdict=\"HOLD\",reason=\"",
            "koseki_line_socket_units_total{socket=\"2\",verdict=\"PASS\"} 2",
            "koseki_line_socket_units_total{socket=\"2\",verdict=\"FAIL\"} 1",
            "koseki_line_unit_seconds_count 3",
            "koseki_line_takt_seconds_count 2",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
    }
}
