//! What is not counted where it happens, but read when somebody asks.

use super::Meters;
use crate::config::Config;
use crate::issuance::{Corridor, Ends};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

type Seconds = Gauge<f64, AtomicU64>;
type Place = Family<[(&'static str, &'static str); 1], Gauge>;

/// Meters that are set when somebody asks.
#[derive(Debug)]
pub(super) struct Sampled {
    queue_age: Seconds,
    in_flight: Gauge,
    log_size: Gauge,
    checkpoint_size: Gauge,
    checkpoint_time: Seconds,
    stopped: Gauge,
    stop: Family<[(&'static str, &'static str); 2], Gauge>,
    grant_limit: Family<[(&'static str, String); 1], Gauge>,
    grant_used: Family<[(&'static str, String); 1], Gauge>,
    lots_differ: Gauge,
    store_bytes: Gauge,
    disk_free: Place,
    tls_expiry: Seconds,
    hsm_calls: Counter,
    hsm_errors: Counter,
    hsm_seconds: Counter<f64, AtomicU64>,
}

/// Reads what is asked for.
#[derive(Clone, Debug)]
pub struct Sampler {
    corridor: Corridor,
    store: PathBuf,
    places: [(&'static str, PathBuf); 3],
    tls_expiry: f64,
}

impl Sampled {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let version = [("version", env!("CARGO_PKG_VERSION"))].to_vec();
        registry.register("build", "Version of the program", Info::new(version));
        let sampled = Self {
            queue_age: Seconds::default(),
            in_flight: Gauge::default(),
            log_size: Gauge::default(),
            checkpoint_size: Gauge::default(),
            checkpoint_time: Seconds::default(),
            stopped: Gauge::default(),
            stop: Family::default(),
            grant_limit: Family::default(),
            grant_used: Family::default(),
            lots_differ: Gauge::default(),
            store_bytes: Gauge::default(),
            disk_free: Family::default(),
            tls_expiry: Seconds::default(),
            hsm_calls: Counter::default(),
            hsm_errors: Counter::default(),
            hsm_seconds: Counter::default(),
        };
        sampled.register_state(registry);
        sampled.register_resources(registry);
        sampled
    }

    fn register_state(&self, to: &mut Registry) {
        let age = "How long the oldest waiting job waits";
        to.register("queue_age_seconds", age, self.queue_age.clone());
        let in_flight = "Units bound and not signed yet";
        to.register("in_flight_units", in_flight, self.in_flight.clone());
        to.register("log_leaves", "Leaves committed", self.log_size.clone());
        let published = "Leaves below the newest checkpoint";
        to.register("checkpoint_leaves", published, self.checkpoint_size.clone());
        let when = "When the newest checkpoint was signed";
        let name = "checkpoint_timestamp_seconds";
        to.register(name, when, self.checkpoint_time.clone());
        let stopped = "1 while nothing is issued";
        to.register("stopped", stopped, self.stopped.clone());
        let why = "1 for the reason why nothing is issued, by fault code and what ends it";
        to.register("stop_reason", why, self.stop.clone());
        let limit = "Certificates that a grant allows";
        to.register("grant_limit_units", limit, self.grant_limit.clone());
        let used = "Certificates bound under a grant, void ones included";
        to.register("grant_used_units", used, self.grant_used.clone());
        let differ = "Lots that closed with a difference";
        to.register("lots_with_difference", differ, self.lots_differ.clone());
    }

    fn register_resources(&self, to: &mut Registry) {
        let store = "Bytes of the store and its write-ahead log";
        to.register("store_bytes", store, self.store_bytes.clone());
        let free = "Bytes free for the server, by place";
        to.register("disk_free_bytes", free, self.disk_free.clone());
        let expiry = "When the server's TLS certificate ends";
        let name = "tls_certificate_expiry_timestamp_seconds";
        to.register(name, expiry, self.tls_expiry.clone());
        to.register("hsm_calls", "Calls to the HSM", self.hsm_calls.clone());
        to.register(
            "hsm_errors",
            "Calls that the HSM failed",
            self.hsm_errors.clone(),
        );
        let time = "Time spent in calls to the HSM";
        to.register("hsm_seconds", time, self.hsm_seconds.clone());
    }
}

#[cfg(test)]
impl Sampled {
    /// Gives every meter with labels one value, so that its name is written.
    pub(super) fn touch(&self) {
        let stop = [("code", "CA-0000"), ("ends", "itself")];
        self.stop.get_or_create(&stop).set(0);
        let grant = [("grant", "none".to_owned())];
        self.grant_limit.get_or_create(&grant).set(0);
        self.grant_used.get_or_create(&grant).set(0);
        self.disk_free.get_or_create(&[("place", "state")]).set(0);
    }
}

impl Sampler {
    /// Over a running corridor.
    #[must_use]
    pub fn new(corridor: Corridor, config: &Config, tls_expiry_ms: u64) -> Self {
        let above = |file: &Path| file.parent().unwrap_or_else(|| Path::new("/")).to_owned();
        Self {
            corridor,
            store: config.paths.state.join("ca.sqlite"),
            places: [
                ("state", config.paths.state.clone()),
                ("head", above(&config.paths.head)),
                ("signer", above(&config.signer.store)),
            ],
            tls_expiry: seconds(tls_expiry_ms),
        }
    }

    /// All metrics as they are now. Reads the store; not for a thread that serves.
    #[must_use]
    pub fn text(&self) -> String {
        let meters = self.corridor.meters();
        self.state(meters);
        self.resources(&meters.sampled);
        meters.text()
    }

    fn state(&self, meters: &Meters) {
        let sampled = &meters.sampled;
        sampled.queue_age.set(meters.age().as_secs_f64());
        let (size, at) = self.corridor.published();
        sampled.checkpoint_size.set(signed(size));
        sampled.checkpoint_time.set(seconds(at.0));
        match self.corridor.status() {
            Err(refusal) => tracing::warn!(%refusal, "the store cannot be read for metrics"),
            Ok(status) => {
                sampled.log_size.set(signed(status.log_size));
                sampled.in_flight.set(signed(status.in_flight));
                sampled.stopped.set(status.stopped.is_some().into());
                sampled.stop.clear();
                if let Some(stop) = status.stopped {
                    let labels = [
                        ("code", stop.refusal.fault.code()),
                        ("ends", end(stop.ends)),
                    ];
                    sampled.stop.get_or_create(&labels).set(1);
                }
            }
        }
        let mut differ = 0_i64;
        // What cannot be read just now is shown as it was.
        let Ok(grants) = self.corridor.grants() else {
            return;
        };
        for view in grants {
            let ends = view.lots.iter().filter_map(|lot| lot.closed);
            let differing = ends.filter(|end| end.differs).count();
            differ = differ.saturating_add(i64::try_from(differing).unwrap_or(i64::MAX));
            let label = [("grant", view.grant.id.to_string())];
            let (limit, used) = (view.grant.limit.into(), view.issued.into());
            sampled.grant_limit.get_or_create(&label).set(limit);
            sampled.grant_used.get_or_create(&label).set(used);
        }
        sampled.lots_differ.set(differ);
    }

    fn resources(&self, sampled: &Sampled) {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let wal = self.store.with_extension("sqlite-wal");
        let bytes = length(&self.store).saturating_add(length(&wal));
        sampled.store_bytes.set(signed(bytes));
        for (name, path) in &self.places {
            if let Ok(found) = rustix::fs::statvfs(path) {
                let free = found.f_bavail.saturating_mul(found.f_frsize);
                let gauge = sampled.disk_free.get_or_create_owned(&[("place", name)]);
                gauge.set(signed(free));
            }
        }
        sampled.tls_expiry.set(self.tls_expiry);
        let usage = keyvault::usage();
        sampled
            .hsm_calls
            .inner()
            .store(usage.calls, Ordering::Relaxed);
        sampled
            .hsm_errors
            .inner()
            .store(usage.errors, Ordering::Relaxed);
        let spent = usage.time.as_secs_f64().to_bits();
        sampled.hsm_seconds.inner().store(spent, Ordering::Relaxed);
    }
}

const fn end(ends: Ends) -> &'static str {
    match ends {
        Ends::ByItself => "itself",
        Ends::ByOperator => "clock-confirmed",
        Ends::ByRepair => "repair",
        Ends::ByRestart => "restart",
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}
