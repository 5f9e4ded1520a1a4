//! What a story keeps of a real line outside of all its programs, while they are killed.

use crate::factory::Factory;
use crate::failure::{At as _, Outcome, require};
use crate::process::{program, succeed};
use crate::station::Station;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Certificates and receipts that the station was given and has put away.
#[derive(Debug, Default)]
pub struct HandedOver(BTreeMap<PathBuf, Vec<u8>>);

impl HandedOver {
    /// Takes in what is new; what is known must be as it was.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) names what is gone or has changed.
    pub fn hold_against(&mut self, station: &Station) -> Outcome<()> {
        let present: BTreeSet<_> = station.devices()?.into_iter().collect();
        for path in &present {
            let bytes = fs::read(path).at(path)?;
            let known = self.0.entry(path.clone()).or_insert_with(|| bytes.clone());
            require(*known == bytes, format_args!("CHANGED: {}", path.display()))?;
        }
        let lost = self.0.keys().find(|path| !present.contains(*path));
        require(lost.is_none(), format_args!("LOST: {lost:?}"))
    }
}

/// So many units are made, each once: counted by the station, by the server and from the leaves.
///
/// # Errors
/// [`Failure`](crate::failure::Failure) says who counts otherwise.
pub fn made_once(factory: &Factory, station: &Station, count: u32) -> Outcome<()> {
    let devices = station.devices()?.len();
    require(
        usize::try_from(count) == Ok(devices),
        format_args!("the station has {devices} devices of {count}"),
    )?;
    let status = factory.status()?;
    require(status.contains(&format!(" {count} of ")), &status)?;
    factory.settle()?;
    let mut audit = Command::new(program("koseki-verify")?);
    audit.arg("log").arg(factory.log_dir()).arg("--json");
    let told = succeed(audit.arg("--trust").arg(station.trust()))?;
    let found: serde_json::Value =
        serde_json::from_str(&told).map_err(crate::failure::Failure::new)?;
    let is_clean = found["findings"].as_array().is_some_and(Vec::is_empty);
    let is_once = ["bind", "confirm"]
        .iter()
        .all(|kind| found["kinds"][*kind] == count);
    require(is_clean && is_once, &told)
}

/// The same moments in every run (Vigna, splitmix64).
#[derive(Clone, Copy, Debug)]
pub struct Seeded(u64);

impl From<u64> for Seeded {
    fn from(seed: u64) -> Self {
        Self(seed)
    }
}

impl Seeded {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// The next number below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }
}
