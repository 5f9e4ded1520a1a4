use crate::failure::Outcome;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::time::Duration;

/// One measurement.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// Which module signed; `-` if none was used.
    pub hsm: String,
    /// Calls under way at once.
    pub in_flight: u32,
    /// Of what is named, in a second.
    pub rate_per_s: f64,
    /// Half of the calls took no longer, in milliseconds.
    pub p50_ms: f64,
    /// All but one in a hundred took no longer, in milliseconds.
    pub p99_ms: f64,
    /// What the unavoidable parts alone would allow; the rate itself for a floor.
    pub floor_per_s: f64,
    /// Rate by floor.
    pub ratio: f64,
    /// Load average of the machine over the last minute, when the measurement began.
    pub load: f64,
    /// Processor time of the server for each, in microseconds; 0 where no server is asked. Unlike the rate it does not
    /// depend on what else the machine is doing.
    pub server_us: f64,
    /// Units that one commit of the server made durable, on average; 0 where none did.
    #[serde(default)]
    pub batch: f64,
    /// Devices in the register when the measurement began, where it is about growth.
    #[serde(default)]
    pub devices: u64,
    /// Largest memory of the server until then, in megabytes (10^6 bytes), where it is about growth.
    #[serde(default)]
    pub server_mb: f64,
    /// From the start of the server's process to its first answer, in seconds, where it is about growth.
    #[serde(default)]
    pub start_s: f64,
    /// Flushes of files that the station made for each, where it is about the station.
    #[serde(default)]
    pub flushes: f64,
}

/// Times of the calls of one measurement.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) calls: Vec<Duration>,
    pub(super) whole: Duration,
    pub(super) load: f64,
}

impl Times {
    /// Calls a second.
    pub(super) fn rate(&self) -> f64 {
        self.calls.len() as f64 / self.whole.as_secs_f64()
    }

    /// A row for `each` things a call.
    pub(super) fn row(&self, name: &str, hsm: &str, in_flight: u32) -> Row {
        let mut calls = self.calls.clone();
        calls.sort_unstable();
        let at = |part: usize| {
            let place = (calls.len() * part / 100).min(calls.len().saturating_sub(1));
            calls.get(place).map_or(0.0, |it| it.as_secs_f64() * 1e3)
        };
        let rate = self.rate();
        Row {
            name: name.to_owned(),
            hsm: hsm.to_owned(),
            in_flight,
            rate_per_s: rate,
            p50_ms: at(50),
            p99_ms: at(99),
            floor_per_s: rate,
            ratio: 1.0,
            load: self.load,
            server_us: 0.0,
            batch: 0.0,
            devices: 0,
            server_mb: 0.0,
            start_s: 0.0,
            flushes: 0.0,
        }
    }
}

impl Row {
    /// Whether it tells of one part alone.
    pub(super) fn is_floor(&self) -> bool {
        self.name.starts_with("floor-")
    }

    /// Beside another floor than itself.
    pub(super) fn beside(self, floor_per_s: f64) -> Self {
        Self {
            floor_per_s,
            ratio: self.rate_per_s / floor_per_s,
            ..self
        }
    }

    /// With the server's processor time, in seconds for all of `count`.
    pub(super) fn serving(self, seconds: f64, count: u32) -> Self {
        Self {
            server_us: seconds * 1e6 / f64::from(count),
            ..self
        }
    }

    /// With the size of the server's batches.
    pub(super) fn in_batches(self, batch: f64) -> Self {
        Self { batch, ..self }
    }

    /// With the station's flushes for each.
    pub(super) fn flushing(self, flushes: f64) -> Self {
        Self { flushes, ..self }
    }

    /// With several things a call.
    pub(super) fn times(self, each: u32) -> Self {
        Self {
            rate_per_s: self.rate_per_s * f64::from(each),
            floor_per_s: self.floor_per_s * f64::from(each),
            ..self
        }
    }
}

/// Load average over the last minute.
pub(super) fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().and_then(|it| it.parse().ok());
    first.unwrap_or(f64::NAN)
}

/// Prints rows as a table.
///
/// # Errors
/// [`Failure`](crate::failure::Failure) of the output.
pub fn print_table(rows: &[Row], out: &mut impl Write) -> Outcome<()> {
    writeln!(
        out,
        "{:<20} {:<9} {:>9} {:>10} {:>9} {:>9} {:>10} {:>5} {:>5} {:>9} {:>6} {:>8} {:>6} {:>6} {:>7}",
        "name",
        "hsm",
        "in flight",
        "rate/s",
        "p50 ms",
        "p99 ms",
        "floor/s",
        "ratio",
        "load",
        "server µs",
        "batch",
        "devices",
        "MB",
        "start",
        "flushes"
    )?;
    for row in rows {
        write!(
            out,
            "{:<20} {:<9} {:>9} {:>10.1} {:>9.3} {:>9.3} {:>10.1} {:>5.2} {:>5.2}",
            row.name,
            row.hsm,
            row.in_flight,
            row.rate_per_s,
            row.p50_ms,
            row.p99_ms,
            row.floor_per_s,
            row.ratio,
            row.load,
        )?;
        let more = [
            (row.server_us, 9, 0),
            (row.batch, 6, 1),
            (row.devices as f64, 8, 0),
            (row.server_mb, 6, 0),
            (row.start_s, 6, 2),
            (row.flushes, 7, 1),
        ];
        for (value, width, digits) in more {
            match value > 0.0 {
                true => write!(out, " {value:>width$.digits$}")?,
                false => write!(out, " {:>width$}", "-")?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}
