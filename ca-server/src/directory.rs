//! What people approved, in memory: stations, grants with their profiles, lot orders. Built from the store at start,
//! changed only after a commit.

use crate::issuance::CLOSED;
use crate::policy::{SerialPattern, collide};
use crate::store::StoredDocument;
use identity::Id;
use identity::document::{Document, Grant, LotOrder, Profile, StationStatement};
use identity::hash::DocumentHash;
use identity::idevid::Issuer;
use identity::support::Support;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

/// A grant in force with what follows from it.
#[derive(Debug)]
pub struct GrantEntry {
    /// Its hash.
    pub hash: DocumentHash,
    /// The grant.
    pub grant: Grant,
    /// The certificate profile it names.
    pub profile: Profile,
    /// Form of the serials.
    pub serials: SerialPattern,
}

/// A lot order in force.
#[derive(Debug)]
pub struct LotEntry {
    /// Its hash.
    pub hash: DocumentHash,
    /// The order.
    pub order: LotOrder,
}

/// A document that the store holds cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored document {0} cannot be read: {1}")]
pub struct DirectoryError(DocumentHash, String);

#[derive(Debug, Default)]
struct Entries {
    stations: BTreeMap<Id, Arc<StationStatement>>,
    grants: BTreeMap<DocumentHash, Arc<GrantEntry>>,
    lots: BTreeMap<(DocumentHash, Id), Arc<LotEntry>>,
    closed: BTreeSet<DocumentHash>,
}

/// Everything in force.
#[derive(Debug)]
pub struct Directory {
    issuer: Issuer,
    entries: RwLock<Entries>,
}

impl Directory {
    /// Reads all documents that were entered.
    ///
    /// # Errors
    /// [`DirectoryError`] names the document that cannot be read.
    pub fn load(issuer: Issuer, documents: &[StoredDocument]) -> Result<Self, DirectoryError> {
        let directory = Self {
            issuer,
            entries: RwLock::default(),
        };
        for stored in documents {
            directory
                .add(&stored.kind, &stored.support)
                .map_err(|reason| DirectoryError(stored.hash, reason))?;
        }
        Ok(directory)
    }

    /// The issuing CA.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The newest statement of a station.
    #[must_use]
    pub fn station(&self, id: &Id) -> Option<Arc<StationStatement>> {
        self.read(|entries| entries.stations.get(id).cloned())
    }

    /// A grant.
    #[must_use]
    pub fn grant(&self, hash: &DocumentHash) -> Option<Arc<GrantEntry>> {
        self.read(|entries| entries.grants.get(hash).cloned())
    }

    /// The grant of this name.
    #[must_use]
    pub fn grant_of_name(&self, id: &Id) -> Option<Arc<GrantEntry>> {
        self.read(|entries| {
            let mut grants = entries.grants.values();
            grants.find(|entry| entry.grant.id == *id).cloned()
        })
    }

    /// A lot under a grant.
    #[must_use]
    pub fn lot(&self, grant: &DocumentHash, id: &Id) -> Option<Arc<LotEntry>> {
        self.read(|entries| entries.lots.get(&(*grant, *id)).cloned())
    }

    /// The lot whose order has this hash.
    #[must_use]
    pub fn lot_of_hash(&self, hash: &DocumentHash) -> Option<Arc<LotEntry>> {
        self.read(|entries| {
            let mut lots = entries.lots.values();
            lots.find(|lot| lot.hash == *hash).cloned()
        })
    }

    /// All lots under a grant.
    #[must_use]
    pub fn lots(&self, grant: &DocumentHash) -> Vec<Arc<LotEntry>> {
        self.read(|entries| {
            let of_grant = entries.lots.iter().filter(|((of, _), _)| of == grant);
            of_grant.map(|(_, lot)| Arc::clone(lot)).collect()
        })
    }

    /// A lot that cannot be beside this order, and its grant: one of the same maker, under whichever grant, open or closed.
    #[must_use]
    pub fn lot_sharing(&self, order: &LotOrder) -> Option<(Arc<LotEntry>, Arc<GrantEntry>)> {
        self.read(|entries| {
            let under = &entries.grants.get(&order.grant)?.grant;
            entries.lots.values().find_map(|lot| {
                let grant = entries.grants.get(&lot.order.grant)?;
                let stands = (&lot.order, &grant.grant);
                collide(stands, (order, under)).then(|| (Arc::clone(lot), Arc::clone(grant)))
            })
        })
    }

    /// Whether a lot is closed.
    #[must_use]
    pub fn is_closed(&self, lot: &DocumentHash) -> bool {
        self.read(|entries| entries.closed.contains(lot))
    }

    /// Notes that a lot is closed.
    pub fn close_lot(&self, lot: DocumentHash) {
        self.write(|entries| {
            entries.closed.insert(lot);
        });
    }

    /// All grants.
    #[must_use]
    pub fn grants(&self) -> Vec<Arc<GrantEntry>> {
        self.read(|entries| entries.grants.values().cloned().collect())
    }

    /// Adds a document that was just committed, or is read at start. Of a lot that closes it is the hash alone.
    ///
    /// # Errors
    /// Why it cannot be read, for people.
    pub fn add(&self, kind: &str, support: &[u8]) -> Result<(), String> {
        if kind == CLOSED {
            let lot = support.try_into().map_err(|_length| "a lot's hash")?;
            self.close_lot(DocumentHash(lot));
            return Ok(());
        }
        let support = Support::from_bytes(support).map_err(|error| error.to_string())?;
        match kind {
            StationStatement::KIND => self.add_station(&support),
            Grant::KIND => self.add_grant(&support),
            LotOrder::KIND => self.add_lot(&support),
            _ => Ok(()),
        }
    }

    fn add_station(&self, support: &Support) -> Result<(), String> {
        let statement: StationStatement = document(support.document.as_bytes())?;
        self.write(|entries| {
            drop(entries.stations.insert(statement.id, Arc::new(statement)));
        });
        Ok(())
    }

    fn add_grant(&self, support: &Support) -> Result<(), String> {
        let grant: Grant = document(support.document.as_bytes())?;
        let profile = support
            .profile
            .as_ref()
            .ok_or("a grant without its profile")?;
        let profile: Profile = document(profile.as_bytes())?;
        let serials = SerialPattern::of(&profile).map_err(|error| error.to_string())?;
        let entry = GrantEntry {
            hash: grant.hash(),
            grant,
            profile,
            serials,
        };
        self.write(|entries| {
            drop(entries.grants.insert(entry.hash, Arc::new(entry)));
        });
        Ok(())
    }

    fn add_lot(&self, support: &Support) -> Result<(), String> {
        let order: LotOrder = document(support.document.as_bytes())?;
        let entry = LotEntry {
            hash: order.hash(),
            order,
        };
        let key = (entry.order.grant, entry.order.id);
        self.write(|entries| entries.lots.insert(key, Arc::new(entry)).map_or((), drop));
        Ok(())
    }

    fn read<T>(&self, look: impl FnOnce(&Entries) -> T) -> T {
        look(&self.entries.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Entries)) {
        change(&mut self.entries.write().unwrap_or_else(PoisonError::into_inner));
    }
}

fn document<D: Document>(bytes: &[u8]) -> Result<D, String> {
    D::from_bytes(bytes).map_err(|error| error.to_string())
}
