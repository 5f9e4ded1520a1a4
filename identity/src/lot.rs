//! How a lot ends: what the station counted, what the log counted, and where the two differ.
//!
//! A station counts *serials*: every serial of the order has one outcome. The log counts *boards*: every binding has
//! one stage. Both stand in the `lot-close` leaf, and [`differences`] is the one comparison for server, signer and
//! auditor.

use crate::document::{LotOrder, SerialRange};
use crate::envelope::{MAX_REQUEST, StationRequest};
use crate::hash::{DocumentHash, RequestHash};
use crate::sources::Timestamp;
use crate::text::{ChipUid, DeviceSerial, Id, RequestId};
use crate::wire::require;
pub use crate::wire::{Bytes32, Version1, WireError};
use alloc::vec::Vec;
use core::fmt;
use der::Sequence;

/// What a station counted. Of the serials of the order: `planned` = `pass` + `hold` + `fail` + `scrapped` + `unused`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Sequence)]
pub struct LotCounts {
    /// Serials of the lot file.
    pub planned: u32,
    /// Serials whose device is confirmed and ships.
    pub pass: u32,
    /// Serials put aside.
    pub hold: u32,
    /// Serials whose last unit failed.
    pub fail: u32,
    /// Serials whose last unit was scrapped.
    pub scrapped: u32,
    /// Serials that no unit ever had.
    pub unused: u32,
    /// Boards bound and neither confirmed nor voided nor scrapped.
    pub open: u32,
    /// Boards voided and not scrapped.
    pub voided: u32,
    /// Boards scrapped, those without a key included.
    pub boards_scrapped: u32,
}

/// What the log holds of a lot: boards by the stage they are at now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Sequence)]
pub struct LotTally {
    /// Boards ever bound.
    pub bound: u32,
    /// Of these, confirmed.
    pub confirmed: u32,
    /// Of these, voided and not scrapped.
    pub voided: u32,
    /// Of these, scrapped.
    pub scrapped: u32,
    /// Chips scrapped that never had a key; not among those bound.
    pub keyless: u32,
}

impl LotTally {
    /// Boards bound and neither confirmed nor voided nor scrapped.
    #[must_use]
    pub const fn open(&self) -> u32 {
        self.live().saturating_sub(self.confirmed)
    }

    /// Boards that hold a serial of the lot: bound, and neither voided nor scrapped.
    #[must_use]
    pub const fn live(&self) -> u32 {
        self.bound
            .saturating_sub(self.voided)
            .saturating_sub(self.scrapped)
    }

    /// Boards scrapped, with a key or without.
    #[must_use]
    pub const fn boards_scrapped(&self) -> u32 {
        self.scrapped.saturating_add(self.keyless)
    }
}

/// A lot as it stands at the CA, and as a station was shown it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Sequence)]
pub struct LotSeen {
    /// Units ordered.
    pub quantity: u32,
    /// Serials of its order.
    pub serials: SerialRange,
    /// What the log holds of it.
    pub tally: LotTally,
    /// Whether it is closed.
    pub closed: bool,
}

impl LotSeen {
    /// A lot that is open.
    #[must_use]
    pub const fn open(order: &LotOrder, tally: LotTally) -> Self {
        Self {
            quantity: order.quantity,
            serials: order.serials(),
            tally,
            closed: false,
        }
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compared {
    /// Units planned: lot file and lot order.
    Planned,
    /// All outcomes together, and units planned.
    Sum,
    /// Devices that ship, and boards confirmed in the log.
    Pass,
    /// Boards bound and undecided.
    Open,
    /// Boards voided.
    Voided,
    /// Boards scrapped.
    Scrapped,
}

impl Compared {
    /// All that is compared, in the order of [`differences`].
    pub const ALL: [Self; 6] = [
        Self::Planned,
        Self::Sum,
        Self::Pass,
        Self::Open,
        Self::Voided,
        Self::Scrapped,
    ];

    /// Reads [`Self::name`] back.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.name() == name)
    }

    /// Stable lower-case name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Sum => "sum",
            Self::Pass => "pass",
            Self::Open => "open",
            Self::Voided => "voided",
            Self::Scrapped => "scrapped",
        }
    }
}

/// Two numbers that ought to be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// What was compared.
    pub what: Compared,
    /// What the station stated.
    pub stated: u64,
    /// What it ought to be: the order's, the station's own total, or the log's.
    pub found: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stated, found, .. } = self;
        match self.what {
            Compared::Planned => write!(f, "planned: {stated} stated, {found} ordered"),
            Compared::Sum => write!(f, "sum: {stated} accounted for, {found} planned"),
            Compared::Pass | Compared::Open | Compared::Voided | Compared::Scrapped => {
                write!(
                    f,
                    "{}: {stated} stated, {found} in the log",
                    self.what.name()
                )
            }
        }
    }
}

/// Where the station's counts differ from the order and from the log; nothing if the lot is reconciled.
pub fn differences(
    quantity: u32,
    counts: &LotCounts,
    tally: &LotTally,
) -> impl Iterator<Item = Difference> + use<> {
    let outcomes = [
        counts.pass,
        counts.hold,
        counts.fail,
        counts.scrapped,
        counts.unused,
    ];
    let sum = outcomes.into_iter().map(u64::from).sum();
    let planned = u64::from(counts.planned);
    let of_log = |what, stated: u32, found: u32| (what, u64::from(stated), u64::from(found));
    [
        (Compared::Planned, planned, u64::from(quantity)),
        (Compared::Sum, sum, planned),
        of_log(Compared::Pass, counts.pass, tally.confirmed),
        of_log(Compared::Open, counts.open, tally.open()),
        of_log(Compared::Voided, counts.voided, tally.voided),
        of_log(
            Compared::Scrapped,
            counts.boards_scrapped,
            tally.boards_scrapped(),
        ),
    ]
    .into_iter()
    .filter(|(_, stated, found)| stated != found)
    .map(|(what, stated, found)| Difference {
        what,
        stated,
        found,
    })
}

/// A unit is scrapped: a bound board, or a chip that never had a key.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct ScrapRequest {
    /// Version of the form.
    pub version: Version1,
    /// Who asks.
    pub station: Id,
    /// The station's clock.
    pub time: Timestamp,
    /// Names this scrapping; journalled by the station before it is sent.
    pub id: RequestId,
    /// The grant whose allowance it uses.
    pub grant: DocumentHash,
    /// The lot that the unit was to belong to.
    pub lot: Id,
    /// Request of the bound unit; none if the chip never had a key.
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    pub request: Option<RequestId>,
    /// The chip, where it still says who it is.
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub uid: Option<ChipUid>,
    /// Serial that the unit was to carry.
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    pub serial: Option<DeviceSerial>,
    /// Fault code, or a person's word.
    pub reason: Id,
}

/// The lot is done: nothing more is bound under it.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct LotCloseRequest {
    /// Version of the form.
    pub version: Version1,
    /// Who asks.
    pub station: Id,
    /// The station's clock.
    pub time: Timestamp,
    /// The grant that the lot draws on.
    pub grant: DocumentHash,
    /// The lot.
    pub lot: Id,
    /// What the station counted, together with the shares of others.
    pub counts: LotCounts,
    /// The shares of other stations that it counted in, by the hash that their stations signed.
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    pub shares: Option<Vec<RequestHash>>,
    /// What the station was shown when it looked: the lot ends with this, or stays open. None of stations from before this
    /// was asked for; their lots end with whatever the log holds.
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub seen: Option<LotSeen>,
}

/// What a station did of a lot that another one closes: signed here, counted in there.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct LotShare {
    /// Version of the form.
    pub version: Version1,
    /// Whose share it is.
    pub station: Id,
    /// The station's clock.
    pub time: Timestamp,
    /// The grant that the lot draws on.
    pub grant: DocumentHash,
    /// The lot.
    pub lot: Id,
    /// SHA-256 of the list of its serials and what became of each.
    pub list: Bytes32,
    /// Boards voided and not scrapped.
    pub voided: u32,
    /// Boards scrapped, those without a key included.
    pub boards_scrapped: u32,
}

/// Most shares that one lot may be closed with.
pub const MAX_SHARES: usize = 16;

impl StationRequest for ScrapRequest {
    const LABEL: &'static [u8] = b"koseki/scrap-request/v1\n";
    const LIMIT: usize = MAX_REQUEST;

    fn station(&self) -> &Id {
        &self.station
    }

    fn check(&self) -> Result<(), WireError> {
        require(
            self.request.is_some() || self.uid.is_some() || self.serial.is_some(),
            "a scrapped unit is named by its request, its chip or its serial",
        )
    }
}

impl StationRequest for LotCloseRequest {
    const LABEL: &'static [u8] = b"koseki/lot-close-request/v1\n";
    const LIMIT: usize = MAX_REQUEST;

    fn station(&self) -> &Id {
        &self.station
    }

    fn check(&self) -> Result<(), WireError> {
        let shares = self.shares.as_ref().map_or(1, Vec::len);
        require(
            (1..=MAX_SHARES).contains(&shares),
            "a lot is closed with 1 to 16 shares of others, or none is named",
        )
    }
}

impl StationRequest for LotShare {
    const LABEL: &'static [u8] = b"koseki/lot-share/v1\n";
    const LIMIT: usize = MAX_REQUEST;

    fn station(&self) -> &Id {
        &self.station
    }

    fn check(&self) -> Result<(), WireError> {
        Ok(())
    }
}
