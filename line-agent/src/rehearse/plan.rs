//! Which faults are planted, and where.

use super::{Outcome, ground::Ground};
use identity::fault::Fault;
use identity::hash::sha256;

/// What identifiers of the vendor's chips begin with; the chip's number stands behind it.
const UID_PREFIX: &str = "0123";
/// Of the other part.
const OTHER_PREFIX: &str = "0417";
/// First serial of the lot, and one that the lot's order does not have.
const FIRST_SERIAL: u64 = 26_480_001_000;
pub(super) const FOREIGN_SERIAL: u64 = 26_480_009_999;
pub(super) const LOT: &str = "26W48-A";
/// Chips beyond those that pass, in each tray: for serials whose chip was planted.
const SPARE: u32 = 12;

/// A fault that is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planted {
    /// Two chips with one UID.
    Clone,
    /// A chip of another part.
    WrongPart,
    /// A chip of a vendor that nobody pinned.
    ForeignVendor,
    /// A chip that loses power in the middle of its lock word.
    Torn,
    /// A chip that gives its key out.
    Leaky,
    /// A chip that loses power before its lock word, once.
    PowerCut,
    /// A socket that has lost contact.
    BadSocket,
    /// The CA server is killed, and comes back.
    CaKilled,
    /// A serial that the lot's order does not have.
    ForeignSerial,
}

impl Planted {
    /// All of them, in the order in which they are told.
    pub(super) const ALL: [Self; 9] = [
        Self::Clone,
        Self::WrongPart,
        Self::ForeignVendor,
        Self::Torn,
        Self::Leaky,
        Self::PowerCut,
        Self::BadSocket,
        Self::CaKilled,
        Self::ForeignSerial,
    ];
    /// Those that are a chip's.
    const CHIPS: [Self; 6] = [
        Self::Clone,
        Self::WrongPart,
        Self::ForeignVendor,
        Self::Torn,
        Self::Leaky,
        Self::PowerCut,
    ];

    /// What the station has to say; none if the unit has to pass all the same.
    pub(super) const fn answer(self) -> Option<Fault> {
        match self {
            Self::Clone => Some(Fault::DuplicateUid),
            Self::WrongPart => Some(Fault::ChipWrongPart),
            Self::ForeignVendor => Some(Fault::ChipNotGenuine),
            Self::Torn => Some(Fault::ChipTorn),
            Self::Leaky => Some(Fault::ReadbackPossible),
            Self::PowerCut => None,
            Self::BadSocket => Some(Fault::NoChip),
            Self::CaKilled => Some(Fault::CaUnreachable),
            Self::ForeignSerial => Some(Fault::SerialOutsideLot),
        }
    }

    /// What it is, in Japanese and in English.
    pub(super) const fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Clone => ("UID を複製したチップ", "a cloned UID"),
            Self::WrongPart => ("別品番のチップ", "a chip of another part"),
            Self::ForeignVendor => ("登録外メーカーのチップ", "a chip of an unknown vendor"),
            Self::Torn => ("ロック書き込み中の電源断", "a torn lock word"),
            Self::Leaky => ("鍵が読み出せるチップ", "a chip that gives its key out"),
            Self::PowerCut => (
                "ロック書き込み前の電源断",
                "power lost before the lock word",
            ),
            Self::BadSocket => ("接触不良のソケット", "a socket without contact"),
            Self::CaKilled => ("CA の停止と再起動", "the CA killed and started again"),
            Self::ForeignSerial => ("ロット外の製造番号", "a serial outside the lot"),
        }
    }
}

/// Numbers that a seed gives.
struct Dice {
    seed: u64,
    thrown: u64,
}

impl Dice {
    /// A number from 0 up to but without `end`.
    fn throw(&mut self, end: u32) -> u32 {
        let bytes = [self.seed.to_be_bytes(), self.thrown.to_be_bytes()].concat();
        self.thrown += 1;
        let digest = sha256(&bytes);
        let number = digest.first_chunk().copied().map_or(0, u32::from_be_bytes);
        number.checked_rem(end).unwrap_or_default()
    }
}

/// A shift with its planted faults.
#[derive(Debug)]
pub(super) struct Plan {
    /// Units that are to pass.
    pub(super) units: u32,
    /// Sockets.
    pub(super) sockets: u16,
    /// The bad socket, from 0, and the position from which on it has no contact.
    pub(super) deaf: (u16, u32),
    /// The CA is killed when so many units are done.
    pub(super) kill_after: u32,
    /// Places in the order of chips, each with what is planted there.
    seats: Vec<(u32, Planted)>,
    /// Place of the chip that was cloned.
    original: u32,
}

impl Plan {
    /// Draws the places of the faults. The bad socket goes bad early, and the others have their bad chips in the first
    /// quarter of what they will see if all are equally fast, behind their first chip: one that has to wait for the CA, or for a
    /// processor, sees fewer, and the lot must not be over before its bad chips came. The serial outside the lot meets a first one.
    pub(super) fn draw(units: u32, sockets: u16, seed: u64) -> Self {
        let mut dice = Dice { seed, thrown: 0 };
        let (bad, all) = (dice.throw(sockets.into()), u32::from(sockets));
        let others = all.saturating_sub(1).max(1);
        let wanted = u32::try_from(Planted::CHIPS.len() + 1).unwrap_or_default();
        let deep = (units / (4 * others)).max(wanted.div_ceil(others));
        let mut free: Vec<u32> = (1..=deep)
            .flat_map(|position| (0..all).map(move |socket| position * all + socket))
            .filter(|place| place % all != bad)
            .collect();
        let mut draw = || {
            let len = u32::try_from(free.len()).unwrap_or_default();
            let at = usize::try_from(dice.throw(len)).unwrap_or_default();
            match free.is_empty() {
                true => 0,
                false => free.swap_remove(at),
            }
        };
        let seats = Planted::CHIPS.map(|what| (draw(), what)).to_vec();
        let original = draw();
        Self {
            units,
            sockets,
            deaf: (
                u16::try_from(bad).unwrap_or_default(),
                1 + dice.throw((units / all / 4).max(1)),
            ),
            kill_after: units / 5 + dice.throw((units / 4).max(1)),
            seats,
            original,
        }
    }

    /// The serials of the lot's order.
    pub(super) fn serials(&self) -> impl Iterator<Item = u64> + use<> {
        (FIRST_SERIAL..)
            .zip(0..self.units)
            .map(|(serial, _)| serial)
    }

    /// The lot file; with the serial outside the lot in its first row.
    pub(super) fn lot_file(&self, with_foreign: Option<u64>) -> String {
        let serials = with_foreign.into_iter().chain(self.serials());
        let row = |serial: u64| format!("{LOT},{serial},見守りカメラ MD-CAM2\n");
        let header = std::iter::once("lot,serial,label\n".to_owned());
        header.chain(serials.map(row)).collect()
    }

    /// Chips in the order of their places: each tray has enough for the lot without the bad socket.
    fn chips(&self) -> u32 {
        let others = u32::from(self.sockets).saturating_sub(1).max(1);
        let tray = (self.units + SPARE).div_ceil(others) + SPARE;
        tray * u32::from(self.sockets)
    }

    /// Makes all chips, and the order in which they come.
    pub(super) fn make_chips(&self, ground: &Ground) -> Outcome<()> {
        let count = self.chips();
        let make = |vendor: &str, part: &str, which: &[&str]| {
            let words = [
                "make", "--vendor", vendor, "--chips", "chips", "--part", part,
            ];
            ground.run(&ground.chip_sim, &[&words[..], which].concat())
        };
        ground.run(&ground.chip_sim, &["vendor", "--out", "unknown"])?;
        let all = count.to_string();
        make(
            "vendor",
            "sim-se-a1",
            &["--uid-prefix", UID_PREFIX, "--count", &all],
        )?;
        let wrong = ["--uid-prefix", OTHER_PREFIX, "--uid-bytes", "12", "--first"];
        make("vendor", "sim-mcu-b2", &[&wrong[..], &["1"]].concat())?;
        let number = self.number(Planted::ForeignVendor).to_string();
        make(
            "unknown",
            "sim-se-a1",
            &["--uid-prefix", UID_PREFIX, "--first", &number],
        )?;
        let cloned = uid(self.original + 1);
        make("vendor", "sim-se-a1", &["--clone", &cloned])?;
        let order: String = (0..count).map(|place| self.chip(place) + "\n").collect();
        ground.write("chips/order.txt", &order)
    }

    /// The chip file at a place.
    fn chip(&self, place: u32) -> String {
        let planted = self.seats.iter().find(|(at, _)| *at == place);
        match planted.map(|(_, what)| *what) {
            Some(Planted::Clone) => format!("{}-clone-1.chip", uid(self.original + 1)),
            Some(what) => format!("{}.chip", self.uid_of(what).unwrap_or_default()),
            None => format!("{}.chip", uid(place + 1)),
        }
    }

    /// The UID by which a planted chip is known.
    pub(super) fn uid_of(&self, what: Planted) -> Option<String> {
        match what {
            Planted::Clone => Some(uid(self.original + 1)),
            Planted::WrongPart => Some(format!("{OTHER_PREFIX}{:020x}", 1)),
            Planted::ForeignVendor | Planted::Torn | Planted::Leaky | Planted::PowerCut => {
                Some(uid(self.number(what)))
            }
            Planted::BadSocket | Planted::CaKilled | Planted::ForeignSerial => None,
        }
    }

    /// Number of the chip at a planted place; that of another vendor has one that no other chip has.
    fn number(&self, what: Planted) -> u32 {
        let seat = self.seats.iter().find(|(_, planted)| *planted == what);
        let place = seat.map_or(0, |(place, _)| *place);
        if what == Planted::ForeignVendor {
            place + 1 + self.chips()
        } else {
            place + 1
        }
    }

    /// What the programmer is told of the trouble with its chips and sockets.
    pub(super) fn troubles(&self) -> Vec<String> {
        let (socket, position) = self.deaf;
        let mut options = vec!["--deaf".to_owned(), format!("{socket}:{position}")];
        for (option, what) in [
            ("--tear", Planted::Torn),
            ("--leaky", Planted::Leaky),
            ("--cut-before-lock", Planted::PowerCut),
        ] {
            options.extend([
                option.to_owned(),
                format!("{}.chip", uid(self.number(what))),
            ]);
        }
        options
    }
}

/// The identifier of the n-th chip, from 1.
fn uid(number: u32) -> String {
    format!("{UID_PREFIX}{number:014x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearse::{SOCKETS, UNITS};
    use std::collections::BTreeSet;

    #[test]
    fn every_fault_has_a_place_that_is_reached() {
        for units in [*UNITS.start(), 200, *UNITS.end()] {
            for sockets in [*SOCKETS.start(), 4, *SOCKETS.end()] {
                for seed in 0..50 {
                    check(&Plan::draw(units, sockets, seed));
                }
            }
        }
    }

    fn check(plan: &Plan) {
        let all = u32::from(plan.sockets);
        let places: BTreeSet<_> = plan.seats.iter().map(|(place, _)| *place).collect();
        assert_eq!(places.len(), Planted::CHIPS.len(), "{plan:?}");
        assert!(!places.contains(&plan.original), "{plan:?}");
        for place in places.into_iter().chain([plan.original]) {
            assert_ne!(place % all, u32::from(plan.deaf.0), "{plan:?}");
            assert!(place >= all && place < plan.chips(), "{plan:?}");
        }
        let names: BTreeSet<_> = (0..plan.chips()).map(|place| plan.chip(place)).collect();
        assert_eq!(names.len(), usize::try_from(plan.chips()).unwrap());
        assert!(
            plan.deaf.1 >= 1 && plan.deaf.1 <= plan.units / all,
            "{plan:?}"
        );
        assert!(plan.kill_after < plan.units / 2, "{plan:?}");
    }

    #[test]
    fn the_same_seed_plants_the_same_and_another_another() {
        let drawn = |seed| format!("{:?}", Plan::draw(200, 4, seed));
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }
}
