//! What a station did of a lot that another one closes: a file that names each serial it had and what became of it,
//! under the station's signature.
//!
//! ```text
//! koseki lot share v1
//! <lot-share document, hexadecimal>
//! <signature, hexadecimal>
//! pass 26480001000
//! hold-bound 26480001007
//! ```
//! The document holds the SHA-256 of all lines behind the third.

use super::Step;
use super::close::Outcome;
use super::floor::Floor;
use super::journal::{History, SignedRequest};
use crate::ca_link::CaError;
use crate::files::{FileError, read_bounded};
use crate::lot::Lot;
use crate::orders::Order;
use identity::envelope::{StationRequest as _, Version1};
use identity::evidence::Bytes32;
use identity::fault::Fault;
use identity::hash::sha256;
use identity::lot::{LotCounts, LotShare};
use identity::{ChipUid, DeviceSerial};
use std::collections::BTreeMap;
use std::path::Path;

/// Longest file in bytes: a million serials.
const MAX_FILE: usize = 32 * 1024 * 1024;
const HEAD: &str = "koseki lot share v1";

/// What became of the serials that a station had.
pub type Outcomes = BTreeMap<DeviceSerial, Standing>;

/// Where a serial stands at one station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Its last unit was scrapped.
    Scrapped,
    /// Its last unit failed, and no board is bound and undecided.
    Failed,
    /// Its last unit failed, and its board is bound and undecided.
    FailedBound,
    /// A unit with it is open, and not bound.
    Held,
    /// A unit with it is open, and bound.
    HeldBound,
    /// Its device ships.
    Passed,
}

/// A station's share, read and fitting.
#[derive(Clone, Debug)]
pub struct Share {
    /// The document.
    pub document: LotShare,
    /// As its station signed it.
    pub signed: SignedRequest,
    /// What became of its serials.
    pub outcomes: Outcomes,
}

impl Standing {
    const ALL: [Self; 6] = [
        Self::Scrapped,
        Self::Failed,
        Self::FailedBound,
        Self::Held,
        Self::HeldBound,
        Self::Passed,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Scrapped => "scrapped",
            Self::Failed => "fail",
            Self::FailedBound => "fail-bound",
            Self::Held => "hold",
            Self::HeldBound => "hold-bound",
            Self::Passed => "pass",
        }
    }

    fn of(outcome: Outcome, board: Option<ChipUid>) -> Option<Self> {
        Some(match (outcome, board) {
            (Outcome::Passed, _) => Self::Passed,
            (Outcome::Held, None) => Self::Held,
            (Outcome::Held, Some(_)) => Self::HeldBound,
            (Outcome::Failed, None) => Self::Failed,
            (Outcome::Failed, Some(_)) => Self::FailedBound,
            (Outcome::Scrapped, _) => Self::Scrapped,
            (Outcome::Unused, _) => return None,
        })
    }
}

/// What this station had of a lot. Of a board that it holds as bound and undecided the CA is asked: one that another
/// station has taken over and confirmed, or that is void, is not this station's to account for any more.
///
/// # Errors
/// [`Fault::CaUnreachable`]
pub fn outcomes(floor: &Floor<'_>, lot: &Lot) -> Step<Outcomes> {
    let known = floor.journal.with(|history| {
        let stands = |serial| {
            (
                history.outcome(&lot.id, serial),
                bound(history, lot, serial),
            )
        };
        let units = lot.units.iter();
        let known: Vec<_> = units.map(|it| (it.serial, stands(&it.serial))).collect();
        known
    });
    let mut outcomes = Outcomes::new();
    for (serial, (outcome, board)) in known {
        let board = match board {
            Some(uid) => match is_undecided(floor, &uid)? {
                Some(true) => Some(uid),
                Some(false) => None,
                None => continue,
            },
            None => None,
        };
        outcomes.extend(Standing::of(outcome, board).map(|standing| (serial, standing)));
    }
    Ok(outcomes)
}

/// The chip of which the CA was asked to bind it under this serial, and which is not done.
fn bound(history: &History, lot: &Lot, serial: &DeviceSerial) -> Option<ChipUid> {
    let mut open = history.open_units();
    let open = open.find(|unit| {
        let keyed = &unit.keyed;
        keyed.lot == lot.id && keyed.serial == *serial && unit.sent.is_some()
    });
    let mut failed = history.failed_units();
    let failed = failed.find(|unit| unit.lot == lot.id && unit.serial == *serial);
    open.map(|unit| unit.keyed.uid)
        .or_else(|| failed.map(|unit| unit.uid))
}

/// Whether a chip is bound and undecided; none if somebody else has decided it.
fn is_undecided(floor: &Floor<'_>, uid: &ChipUid) -> Step<Option<bool>> {
    match floor.ca.find_chip(uid) {
        Ok(Some(found)) if found.confirmed => Ok(None),
        Ok(Some(_)) => Ok(Some(true)),
        Ok(None) => Ok(Some(false)),
        Err(CaError::Refused(Fault::Voided, _)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Counts a lot over several stations. A serial that several had counts once, as the furthest of them says.
#[must_use]
pub fn together(lot: &Lot, own: (Outcomes, super::journal::Boards), shares: &[Share]) -> LotCounts {
    let (mut all, boards) = own;
    let mut counts = LotCounts {
        planned: u32::try_from(lot.units.len()).unwrap_or(u32::MAX),
        voided: boards.voided,
        boards_scrapped: boards.scrapped,
        ..LotCounts::default()
    };
    for share in shares {
        counts.voided = counts.voided.saturating_add(share.document.voided);
        let scrapped = share.document.boards_scrapped;
        counts.boards_scrapped = counts.boards_scrapped.saturating_add(scrapped);
        for (serial, standing) in &share.outcomes {
            let furthest = all.entry(*serial).or_insert(*standing);
            *furthest = (*furthest).max(*standing);
        }
    }
    for unit in &lot.units {
        let standing = all.get(&unit.serial);
        let count = match standing {
            Some(Standing::Passed) => &mut counts.pass,
            Some(Standing::Held | Standing::HeldBound) => &mut counts.hold,
            Some(Standing::Failed | Standing::FailedBound) => &mut counts.fail,
            Some(Standing::Scrapped) => &mut counts.scrapped,
            None => &mut counts.unused,
        };
        *count = count.saturating_add(1);
        let is_bound = matches!(standing, Some(Standing::HeldBound | Standing::FailedBound));
        counts.open = counts.open.saturating_add(u32::from(is_bound));
    }
    counts
}

/// The file of this station's share.
///
/// # Errors
/// [`Fault::CaUnreachable`], [`Fault::LineHsm`]
pub fn write(floor: &Floor<'_>, order: &Order, lot: &Lot) -> Step<(String, usize)> {
    let outcomes = outcomes(floor, lot)?;
    let lines = outcomes
        .iter()
        .map(|(serial, standing)| format!("{} {serial}\n", standing.word()));
    let list: String = lines.collect();
    let boards = floor.journal.with(|history| history.boards(&lot.id));
    let signed = floor.sign(&LotShare {
        version: Version1,
        station: floor.station.id,
        time: floor.clock.now(),
        grant: order.grant_hash,
        lot: lot.id,
        list: Bytes32(sha256(list.as_bytes())),
        voided: boards.voided,
        boards_scrapped: boards.scrapped,
    })?;
    let (der, signature) = (hex::encode(&signed.der), hex::encode(signed.signature));
    Ok((
        format!("{HEAD}\n{der}\n{signature}\n{list}"),
        outcomes.len(),
    ))
}

/// Reads a share of this lot. Who signed it, the CA says.
///
/// # Errors
/// [`FileError`] names the file and what does not fit.
pub fn read(path: &Path, order: &Order, lot: &Lot) -> Result<Share, FileError> {
    let bytes = read_bounded(path, MAX_FILE)?;
    let text = String::from_utf8(bytes).map_err(|error| FileError::content(path, error))?;
    let share = parse(&text).map_err(|fault| FileError::content(path, fault))?;
    let document = &share.document;
    if document.grant != order.grant_hash || document.lot != lot.id {
        let fault = format!("a share of lot {}", document.lot);
        return Err(FileError::content(path, fault));
    }
    let in_lot = |serial: &DeviceSerial| lot.units.iter().any(|unit| unit.serial == *serial);
    match share.outcomes.keys().find(|serial| !in_lot(serial)) {
        Some(other) => {
            let fault = format!("{other} is not in the lot file");
            Err(FileError::content(path, fault))
        }
        None => Ok(share),
    }
}

fn parse(text: &str) -> Result<Share, String> {
    let mut parts = text.splitn(4, '\n');
    let mut part = || parts.next().ok_or("too short");
    if part()? != HEAD {
        return Err("not a share of a lot".to_owned());
    }
    let der = hex::decode(part()?).map_err(|error| error.to_string())?;
    let mut signature = [0; 64];
    hex::decode_to_slice(part()?, &mut signature).map_err(|error| error.to_string())?;
    let list = part()?;
    let document = LotShare::from_bytes(&der).map_err(|error| error.to_string())?;
    if document.list.0 != sha256(list.as_bytes()) {
        return Err("the list is not the one that was signed".to_owned());
    }
    let mut outcomes = Outcomes::new();
    for line in list.lines() {
        let (word, serial) = line.split_once(' ').ok_or("a line without serial")?;
        let standing = Standing::ALL.into_iter().find(|it| it.word() == word);
        let standing = standing.ok_or_else(|| format!("{word} is no outcome"))?;
        let serial = DeviceSerial::new(serial).map_err(|error| error.to_string())?;
        outcomes.insert(serial, standing);
    }
    let signed = SignedRequest { der, signature };
    Ok(Share {
        document,
        signed,
        outcomes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lot::LotUnit;
    use crate::station::journal::Boards;
    use identity::{DocumentHash, Id, Timestamp};

    fn serial(n: u32) -> DeviceSerial {
        DeviceSerial::new(&n.to_string()).unwrap()
    }

    fn lot(units: u32) -> Lot {
        let unit = |n| LotUnit {
            serial: serial(n),
            label: String::new(),
        };
        Lot {
            id: Id::new("lot").unwrap(),
            units: (0..units).map(unit).collect(),
        }
    }

    fn share(list: &str) -> String {
        let document = LotShare {
            version: Version1,
            station: Id::new("st-2").unwrap(),
            time: Timestamp(1),
            grant: DocumentHash([7; 32]),
            lot: Id::new("lot").unwrap(),
            list: Bytes32(sha256(list.as_bytes())),
            voided: 1,
            boards_scrapped: 2,
        };
        let (der, signature) = (hex::encode(document.to_bytes()), "00".repeat(64));
        format!("{HEAD}\n{der}\n{signature}\n{list}")
    }

    #[test]
    fn a_serial_that_several_had_counts_once_as_the_furthest_says() {
        let list = "pass 1\nhold-bound 2\nscrapped 3\nfail-bound 5\n";
        let other = parse(&share(list)).unwrap();
        let own = [
            (0, Standing::Passed),
            (1, Standing::HeldBound),
            (2, Standing::HeldBound),
            (3, Standing::Failed),
            (4, Standing::Held),
        ];
        let own = own.map(|(n, standing)| (serial(n), standing)).into();
        let boards = Boards {
            voided: 3,
            scrapped: 0,
        };
        let counts = together(&lot(8), (own, boards), &[other]);
        let wanted = LotCounts {
            planned: 8,
            pass: 2,
            hold: 2,
            fail: 2,
            scrapped: 0,
            unused: 2,
            open: 2,
            voided: 4,
            boards_scrapped: 2,
        };
        assert_eq!(counts, wanted);
    }

    #[test]
    fn a_share_is_read_as_it_was_signed_and_no_other() {
        let good = share("pass 1\nfail 2\n");
        assert_eq!(parse(&good).unwrap().outcomes.len(), 2);
        for bad in [
            good.replace("fail 2", "pass 2"),
            good.replace("share v1", "share v2"),
            good.replace("pass 1\n", ""),
            share("lost 1\n"),
            share("pass\n"),
            String::new(),
        ] {
            parse(&bad).unwrap_err();
        }
    }
}
