//! The products that the sample policies allow, and the station that makes them.

use crate::chips::{INJECTED, ON_CHIP, Part};

/// Cameras, whose chips make their own keys.
pub const CAMERAS: Line = Line {
    grant: "2026-ota-line-2-cam2",
    lot: "26W48-A",
    part: ON_CHIP,
    first: 26_480_001_000,
};
/// Sensors, whose keys are made in the line HSM.
pub const SENSORS: Line = Line {
    grant: "2026-ota-line-2-tmp1",
    lot: "26W48-B",
    part: INJECTED,
    first: 26_480_002_000,
};
/// The station that most stories work with.
pub const STATION: &str = "ota-l2-prov-01";

/// A product in production.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Its grant.
    pub grant: &'static str,
    /// Its lot.
    pub lot: &'static str,
    /// Its chips.
    pub part: Part,
    /// First serial of the lot.
    pub first: u64,
}
