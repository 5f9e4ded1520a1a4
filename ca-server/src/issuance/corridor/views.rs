//! What the corridor shows: to stations their own, to operators and auditors all. Nothing here waits for the writer.

use super::{Corridor, Stop, blocking};
use crate::directory::{GrantEntry, LotEntry};
use crate::issuance::release::{self, Releaser};
use crate::issuance::{Issued, Receipt, Refusal};
use crate::store::{ClaimKey, LotCounts, Reader, SetAside, StoredBinding, StoredRefusal};
use identity::document::{Grant, LotOrder};
use identity::fault::Fault;
use identity::hash::DocumentHash;
use identity::lot::LotTally;
use identity::rules::Stage;
use identity::{ChipUid, Id, RequestId};
use std::path::Path;

/// How the CA is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Leaves committed.
    pub log_size: u64,
    /// Root over them.
    pub root: [u8; 32],
    /// Units bound and not signed yet; not those set aside or void.
    pub in_flight: u64,
    /// Units that the signer set aside, oldest first.
    pub set_aside: Vec<SetAside>,
    /// Why nothing is issued, if so.
    pub stopped: Option<Stop>,
}

/// A grant as its stations and operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantView {
    /// The grant.
    pub grant: Grant,
    /// Certificates bound.
    pub issued: u32,
    /// Units scrapped.
    pub scrapped: u32,
    /// Whether it was closed before its time.
    pub closed: bool,
    /// Its lots.
    pub lots: Vec<LotView>,
}

/// A lot as its stations and operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LotView {
    /// The order.
    pub order: LotOrder,
    /// Its units.
    pub counts: LotCounts,
    /// What the log counts, and what it closes with.
    pub tally: LotTally,
    /// Its end, once it is closed.
    pub closed: Option<LotEnd>,
}

/// How a lot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LotEnd {
    /// Index of the `lot-close` leaf.
    pub entry: u64,
    /// Whether the station's counts differ from the log.
    pub differs: bool,
}

/// Which grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantName {
    /// By its hash.
    Hash(DocumentHash),
    /// By its name.
    Id(Id),
}

/// Which unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitName {
    /// By its request id.
    Request(RequestId),
    /// By the index of its `bind` leaf.
    Index(u64),
    /// By the chip in the asker's hand, whichever station bound it.
    Chip(ChipUid),
}

/// What was issued for a unit and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipts {
    /// What was issued; of a void unit nothing is released any more.
    pub issued: Option<Issued>,
    /// The `confirm` leaf, once it is published.
    pub confirmed: Option<Receipt>,
    /// The `void` leaf, once it is published.
    pub voided: Option<Receipt>,
}

impl Corridor {
    /// What was issued for a unit: to a station for a unit that it holds, and for a chip of its own grants; to an auditor
    /// (no station) for any.
    ///
    /// # Errors
    /// [`Fault::NotBound`] also for a unit of others, so that nothing is learnt about it; [`Fault::Overloaded`] for a
    /// station that asks faster than it may.
    pub async fn receipts(&self, station: Option<Id>, unit: UnitName) -> Result<Receipts, Refusal> {
        if let Some(station) = &station {
            self.keep_pace(station)?;
        }
        let this = self.clone();
        blocking(move || {
            if let Some(station) = &station {
                this.shared.admission.station(station)?;
            }
            let binding = this.with_reader(|reader| find(reader, unit))?;
            let may_know = match &station {
                Some(station) => this.may_know(station, unit, &binding)?,
                None => true,
            };
            match may_know {
                true => this.with_releaser(|releaser| shown(releaser, &binding)),
                false => Err(Fault::NotBound.into()),
            }
        })
        .await?
    }

    /// A station knows its own units; with the chip in hand those of its own grants too.
    fn may_know(
        &self,
        station: &Id,
        unit: UnitName,
        binding: &StoredBinding,
    ) -> Result<bool, Refusal> {
        if binding.holder == station.as_str() || !matches!(unit, UnitName::Chip(_)) {
            return Ok(binding.holder == station.as_str());
        }
        let asked = self.with_reader(|reader| release::envelope_of(binding, reader))?;
        let grant = self.shared.admission.directory.grant(&asked.grant);
        Ok(grant.is_some_and(|entry| entry.grant.stations.contains(station)))
    }

    /// How the CA is.
    ///
    /// # Errors
    /// [`Refusal`] if the store cannot be read.
    pub fn status(&self) -> Result<Status, Refusal> {
        let (head, in_flight, set_aside) = self.with_reader(|reader| {
            let head = reader.head().map_err(Refusal::unread)?;
            let in_flight = reader.in_flight().map_err(Refusal::unread)?;
            Ok((
                head,
                in_flight,
                reader.set_aside().map_err(Refusal::unread)?,
            ))
        })?;
        Ok(Status {
            log_size: head.size,
            root: *head.root.as_bytes(),
            in_flight,
            set_aside,
            stopped: self.shared.state.stopped(),
        })
    }

    /// One of a station's own grants.
    ///
    /// # Errors
    /// [`Fault::GrantUnknown`] also for a grant of others; [`Fault::Overloaded`] for who asks faster than it may.
    pub async fn own_grant(&self, station: Id, name: GrantName) -> Result<GrantView, Refusal> {
        self.keep_pace(&station)?;
        let directory = &self.shared.admission.directory;
        let grant = match name {
            GrantName::Hash(hash) => directory.grant(&hash),
            GrantName::Id(id) => directory.grant_of_name(&id),
        };
        let grant = grant.filter(|entry| entry.grant.stations.contains(&station));
        let (this, grant) = (self.clone(), grant.ok_or(Fault::GrantUnknown)?);
        blocking(move || this.view(&grant)).await?
    }

    /// A lot under one of a station's own grants: under this one, or under any.
    ///
    /// # Errors
    /// [`Fault::LotUnknown`] also for a lot of others; [`Fault::Overloaded`] for who asks faster than it may.
    pub async fn own_lot(
        &self,
        station: Id,
        grant: Option<DocumentHash>,
        lot: Id,
    ) -> Result<LotView, Refusal> {
        self.keep_pace(&station)?;
        let directory = &self.shared.admission.directory;
        let grants = match grant {
            Some(hash) => directory.grant(&hash).into_iter().collect(),
            None => directory.grants(),
        };
        let mut own = grants
            .iter()
            .filter(|entry| entry.grant.stations.contains(&station));
        let found = own.find_map(|entry| directory.lot(&entry.hash, &lot));
        let (this, found) = (self.clone(), found.ok_or(Fault::LotUnknown)?);
        blocking(move || this.with_reader(|reader| lot_view(reader, &found))).await?
    }

    /// All grants in force, for operators.
    ///
    /// # Errors
    /// [`Refusal`] if the store cannot be read.
    pub fn grants(&self) -> Result<Vec<GrantView>, Refusal> {
        let grants = self.shared.admission.directory.grants();
        grants.iter().map(|entry| self.view(entry)).collect()
    }

    fn view(&self, entry: &GrantEntry) -> Result<GrantView, Refusal> {
        let lots = self.shared.admission.directory.lots(&entry.hash);
        self.with_reader(|reader| {
            let state = reader.grant(&entry.hash).map_err(Refusal::unread)?;
            let state = state.ok_or(Fault::GrantUnknown)?;
            let lots = lots.iter().map(|lot| lot_view(reader, lot));
            Ok(GrantView {
                grant: entry.grant.clone(),
                issued: state.issued,
                scrapped: state.scrapped,
                closed: state.closed.is_some(),
                lots: lots.collect::<Result<_, Refusal>>()?,
            })
        })
    }

    /// The newest checkpoint, a signed note.
    ///
    /// # Errors
    /// [`Refusal`] before the first leaf.
    pub fn checkpoint(&self) -> Result<String, Refusal> {
        self.newest().map(|(note, _)| note)
    }

    /// An entry with its proof.
    ///
    /// # Errors
    /// [`Refusal`] if there is none, or it is not published yet.
    pub fn entry(&self, index: u64) -> Result<(Vec<u8>, String), Refusal> {
        let leaf = self.with_reader(|reader| reader.leaf(index).map_err(Refusal::unread))?;
        let (_, bytes) = leaf.ok_or_else(|| Refusal::new(Fault::NotBound, "no such entry"))?;
        let proof = self.with_releaser(|releaser| releaser.proof(index, None))?;
        Ok((bytes, proof))
    }

    /// Entries in order, at most 1,000.
    ///
    /// # Errors
    /// [`Refusal`] if the store cannot be read.
    pub fn entries(&self, first: u64, count: u64) -> Result<Vec<Vec<u8>>, Refusal> {
        self.with_reader(|reader| {
            reader
                .leaves(first, count.min(1000))
                .map_err(Refusal::unread)
        })
    }

    /// Copies the store as it is in this moment into a file that must not be there.
    ///
    /// # Errors
    /// [`Refusal`] if it cannot be read or written.
    pub fn copy_store(&self, file: &Path) -> Result<(), Refusal> {
        self.with_reader(|reader| {
            let copied = reader.copy_to(file);
            copied.map_err(|error| Refusal::new(Fault::StoreUnavailable, error))
        })
    }

    /// The newest refusals whose leaf is below an index, newest first.
    ///
    /// # Errors
    /// [`Refusal`] if the store cannot be read.
    pub fn refusals(&self, below: u64, count: u32) -> Result<Vec<StoredRefusal>, Refusal> {
        self.with_reader(|reader| reader.refusals(below, count).map_err(Refusal::unread))
    }
}

fn lot_view(reader: &Reader, lot: &LotEntry) -> Result<LotView, Refusal> {
    let counts = reader.lot(&lot.hash).map_err(Refusal::unread)?;
    let state = reader.lot_state(&lot.hash).map_err(Refusal::unread)?;
    Ok(LotView {
        order: lot.order.clone(),
        counts: counts.unwrap_or_default(),
        tally: state.map(|state| state.tally).unwrap_or_default(),
        closed: reader.lot_end(&lot.hash).map_err(Refusal::unread)?,
    })
}

fn find(reader: &Reader, unit: UnitName) -> Result<StoredBinding, Refusal> {
    let bind = match unit {
        UnitName::Index(index) => Some(index),
        UnitName::Request(request) => reader
            .owner(&ClaimKey::request(&request))
            .map_err(Refusal::unread)?,
        UnitName::Chip(uid) => reader
            .owner(&ClaimKey::uid(&uid))
            .map_err(Refusal::unread)?,
    };
    let binding = reader
        .binding(bind.ok_or(Fault::NotBound)?)
        .map_err(Refusal::unread)?;
    Ok(binding.ok_or(Fault::NotBound)?)
}

fn shown(releaser: &Releaser<'_>, binding: &StoredBinding) -> Result<Receipts, Refusal> {
    let newest = || {
        let published = releaser.covers(binding.last.index);
        let receipt = || releaser.receipt(binding.last, Some(binding.bind));
        published.then(receipt).transpose()
    };
    Ok(match binding.stage {
        Stage::Voided | Stage::Scrapped => Receipts {
            voided: newest()?,
            ..Receipts::default()
        },
        Stage::Confirmed => Receipts {
            issued: Some(releaser.issued(binding.bind)?),
            confirmed: newest()?,
            voided: None,
        },
        Stage::Bound => Receipts {
            issued: Some(releaser.issued(binding.bind)?),
            ..Receipts::default()
        },
    })
}
