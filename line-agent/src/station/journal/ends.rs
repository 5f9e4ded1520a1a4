//! How units and serials end that never ship: what was voided and scrapped, lot by lot.

use super::form::{HexRequest, Scrapping, Summary, TextSerial};
use identity::{DeviceSerial, Id, RequestId, Timestamp};
use std::collections::BTreeMap;

/// Most serials in one line of a compacted journal.
const LIST: usize = 256;

/// The boards of a lot that will never ship.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Boards {
    /// Voided, and not scrapped since.
    pub voided: u32,
    /// Scrapped, those without a key included.
    pub scrapped: u32,
}

/// What the entries lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// Scrappings that wait for the CA's answer.
    waiting: BTreeMap<RequestId, (Timestamp, Scrapping)>,
    boards: BTreeMap<Id, Boards>,
    /// Attempts that a serial had when its last unit was scrapped.
    scrapped: BTreeMap<(Id, DeviceSerial), u32>,
}

impl Ends {
    pub(super) fn wait(&mut self, id: RequestId, at: Timestamp, scrapping: &Scrapping) {
        self.waiting.insert(id, (at, scrapping.clone()));
    }

    /// The scrapping that waited under this id, and waits no more.
    pub(super) fn answered(&mut self, id: &RequestId) -> Result<Scrapping, String> {
        let (_, scrapping) = self
            .waiting
            .remove(id)
            .ok_or_else(|| format!("scrapping {id} does not wait"))?;
        Ok(scrapping)
    }

    pub(super) fn scrapped(&mut self, scrapping: &Scrapping, attempts: u32) {
        let boards = self.boards.entry(scrapping.lot).or_default();
        boards.scrapped = boards.scrapped.saturating_add(1);
        if scrapping.voided {
            boards.voided = boards.voided.saturating_sub(1);
        }
        self.scrapped
            .insert((scrapping.lot, scrapping.serial), attempts);
    }

    pub(super) fn voided(&mut self, lot: Id) {
        let boards = self.boards.entry(lot).or_default();
        boards.voided = boards.voided.saturating_add(1);
    }

    pub(super) fn boards(&self, lot: &Id) -> Boards {
        self.boards.get(lot).copied().unwrap_or_default()
    }

    /// Whether a unit with this serial was scrapped.
    pub(super) fn is_scrapped(&self, lot: &Id, serial: &DeviceSerial) -> bool {
        self.scrapped.contains_key(&(*lot, *serial))
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = (&RequestId, &Timestamp, &Scrapping)> {
        self.waiting.iter().map(|(id, (at, it))| (id, at, it))
    }

    /// Takes a line of a summary that is about ends.
    pub(super) fn take(&mut self, lot: Id, boards: Boards, serials: Vec<(TextSerial, u32)>) {
        self.boards.insert(lot, boards);
        let rows = serials.into_iter();
        self.scrapped
            .extend(rows.map(|(TextSerial(serial), attempts)| ((lot, serial), attempts)));
    }

    /// The lines that lead to the same state but for what waits.
    pub(super) fn summary(&self) -> Vec<Summary> {
        let lines = self.boards.iter().flat_map(|(lot, boards)| {
            let of_lot = self.scrapped.iter().filter(move |((of, _), _)| of == lot);
            let serials: Vec<_> = of_lot
                .map(|((_, serial), attempts)| (TextSerial(*serial), *attempts))
                .collect();
            let mut lists: Vec<_> = serials.chunks(LIST).map(<[_]>::to_vec).collect();
            if lists.is_empty() {
                lists.push(Vec::new());
            }
            lists.into_iter().map(|serials| Summary::Ends {
                lot: *lot,
                voided: boards.voided,
                scrapped: boards.scrapped,
                serials,
            })
        });
        lines.collect()
    }
}

/// Whether a scrapping is of this unit.
pub(super) fn is_of(scrapping: &Scrapping, request: &RequestId) -> bool {
    scrapping.unit == Some(HexRequest(*request))
}
