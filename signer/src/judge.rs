//! Judging certificates: leaf, envelope, evidence and TBS must say the same, and a station must have asked for it
//! under an approved grant.
//!
//! First what the store knows of each item is gathered, one after the other; then signatures and contents are judged
//! on all processors, because they are nearly all of the work.

mod case;

use crate::checks::Checks;
use crate::code::Code;
use crate::error::{Fault, ensure};
use crate::message::{Item, SignedEnvelope};
use crate::parallel;
use crate::pinned::Pinned;
use crate::store::{attempt, damaged, document, leaf, state};
use identity::document::{Grant, LotOrder, Profile, StationStatement};
use identity::envelope::{Envelope, Purpose, StationRequest as _, request_hash};
use identity::leaf::Bind;
use identity::rules::Stage;
use identity::serial_pattern::SerialPattern;
use identity::{Day, DocumentHash, Id, RequestHash, TbsHash, VerifyP256 as _};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most documents kept between two exchanges.
const MOST_KEPT: usize = 1024;

/// What is to be done about an item that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Answer with the signature that was made before.
    Stored([u8; 64]),
    /// Make the attempt durable, then sign.
    Sign(TbsHash),
}

/// Documents that were read, by hash: what a hash names never changes.
#[derive(Default)]
pub(crate) struct Documents {
    authorities: BTreeMap<DocumentHash, Arc<Authority>>,
    stations: BTreeMap<DocumentHash, Arc<StationStatement>>,
    lots: BTreeMap<DocumentHash, Arc<LotOrder>>,
}

impl Documents {
    /// As they are kept for the next exchange: not without end.
    pub(crate) fn kept(self) -> Self {
        let count = self.authorities.len() + self.stations.len() + self.lots.len();
        if count <= MOST_KEPT {
            self
        } else {
            Self::default()
        }
    }
}

/// Judges the items of one exchange, in their order.
pub(crate) fn judge(
    connection: &Connection,
    (pinned, checks): (&Pinned, &Checks),
    documents: &mut Documents,
    envelopes: &[SignedEnvelope],
    items: &[Item],
) -> Vec<Result<Verdict, Fault>> {
    let mut gathering = Gathering {
        connection,
        pinned,
        envelopes,
        documents,
        statements: BTreeMap::new(),
        read: BTreeMap::new(),
    };
    let found: Vec<_> = items.iter().map(|item| gathering.gather(item)).collect();
    let held = station_signatures(&found, checks);
    parallel::map(&found, |found| match found {
        Err(fault) => Err(fault.clone()),
        Ok(Found::Stored(signature)) => Ok(Verdict::Stored(*signature)),
        Ok(Found::Case(case)) => {
            ensure!(
                held.get(&case.asked()) == Some(&true),
                Code::StationSignature
            );
            case::judge(case, pinned, checks).map(Verdict::Sign)
        }
    })
}

/// What the store has on an item.
enum Found<'a> {
    /// A signature that still verifies.
    Stored([u8; 64]),
    /// To be judged.
    Case(Box<Case<'a>>),
}

/// Everything a unit is judged by.
struct Case<'a> {
    item: &'a Item,
    day: Day,
    bind: Bind,
    lot: Option<Arc<LotOrder>>,
    authority: Arc<Authority>,
    station: Arc<StationStatement>,
    statement: DocumentHash,
    signed: Arc<Signed<'a>>,
}

/// An approved grant and its profile.
struct Authority {
    grant: Grant,
    profile: Profile,
    serials: SerialPattern,
}

/// An envelope that was read.
struct Signed<'a> {
    signature: &'a [u8],
    hash: RequestHash,
    envelope: Envelope,
}

/// An envelope of the request, and under whose statement it is held.
type Asked = (u32, DocumentHash);

impl Case<'_> {
    const fn asked(&self) -> Asked {
        (self.item.envelope, self.statement)
    }
}

/// Whether each envelope bears its station's signature; checked once for all its units.
fn station_signatures(
    found: &[Result<Found<'_>, Fault>],
    checks: &Checks,
) -> BTreeMap<Asked, bool> {
    let cases = found.iter().filter_map(|found| match found {
        Ok(Found::Case(case)) => Some((case.asked(), case)),
        _ => None,
    });
    let first: Vec<_> = cases.collect::<BTreeMap<_, _>>().into_iter().collect();
    let held = parallel::map(&first, |(_, case)| {
        let (key, signed) = (&case.station.request_key, &case.signed);
        checks.known().verify(key, &signed.hash.0, signed.signature)
    });
    first
        .into_iter()
        .map(|(asked, _)| asked)
        .zip(held)
        .collect()
}

/// Looks up what items are judged by. Documents and envelopes are read once each.
struct Gathering<'a> {
    connection: &'a Connection,
    pinned: &'a Pinned,
    envelopes: &'a [SignedEnvelope],
    documents: &'a mut Documents,
    /// Statements of the stations that were asked for so far.
    statements: BTreeMap<Id, Vec<(u64, DocumentHash)>>,
    read: BTreeMap<u32, Arc<Signed<'a>>>,
}

impl<'a> Gathering<'a> {
    /// # Errors
    /// Why this item is not signed; only a fault that is not of an item concerns its neighbours.
    fn gather(&mut self, item: &'a Item) -> Result<Found<'a>, Fault> {
        let (day, bind) = self.live_bind(item.index)?;
        let tbs = TbsHash::of(item.tbs.as_bytes());
        if let Some(attempt) = attempt::get(self.connection, item.index)? {
            ensure!(attempt.tbs == tbs, Code::OtherTbs);
            if let Some(signature) = attempt.signature {
                return self.stored(&tbs, signature);
            }
        }
        ensure!(bind.certificate.tbs == tbs, Code::TbsHash);
        ensure!(
            bind.certificate.issuer == self.pinned.issuing_key,
            Code::Issuer,
        );
        let signed = self.envelope(item.envelope)?;
        ensure!(signed.hash == bind.request, Code::RequestHash);
        ensure!(signed.envelope.purpose == Purpose::Provision, Code::Purpose);
        let lot = bind.lot.map(|lot| self.lot(&lot)).transpose()?;
        ensure!(
            lot.as_ref().is_none_or(|lot| lot.id == signed.envelope.lot),
            Code::Lot
        );
        let (statement, station) = self.asking_station(&signed.envelope, item.index)?;
        Ok(Found::Case(Box::new(Case {
            item,
            day,
            authority: self.authority(&bind.grant.grant)?,
            bind,
            lot,
            station,
            statement,
            signed,
        })))
    }

    /// The `bind` leaf at this index, if its unit may still get a certificate.
    fn live_bind(&self, index: u64) -> Result<(Day, Bind), Fault> {
        let (day, bind) =
            leaf::bind(self.connection, index)?.ok_or_else(|| Fault::bare(Code::NotBound))?;
        let state = state::subject_state(self.connection, &bind.subject)?;
        let state = state
            .filter(|state| state.bind == index)
            .ok_or_else(|| damaged(format_args!("no subject of bind {index}")))?;
        match state.stage {
            Stage::Bound | Stage::Confirmed => Ok((day, bind)),
            Stage::Voided | Stage::Scrapped => Err(Fault::bare(Code::Voided)),
        }
    }

    /// A signature from the store goes out only if it still is one.
    fn stored(&self, tbs: &TbsHash, signature: [u8; 64]) -> Result<Found<'a>, Fault> {
        match self
            .pinned
            .verifier
            .verify(self.pinned.issuer.key(), tbs.as_bytes(), &signature)
        {
            true => Ok(Found::Stored(signature)),
            false => Err(damaged("a stored signature does not verify")),
        }
    }

    /// The lot that the leaf is counted in. Leaves from before lots stood in the open name none; the rules say how long
    /// that is permitted.
    fn lot(&mut self, hash: &DocumentHash) -> Result<Arc<LotOrder>, Fault> {
        if let Some(lot) = self.documents.lots.get(hash) {
            return Ok(Arc::clone(lot));
        }
        let lot: Arc<LotOrder> = Arc::new(document::get(self.connection, hash)?);
        self.documents.lots.insert(*hash, Arc::clone(&lot));
        Ok(lot)
    }

    fn envelope(&mut self, at: u32) -> Result<Arc<Signed<'a>>, Fault> {
        if let Some(signed) = self.read.get(&at) {
            return Ok(Arc::clone(signed));
        }
        let sent = usize::try_from(at)
            .ok()
            .and_then(|at| self.envelopes.get(at));
        let sent = sent.ok_or_else(|| Fault::bare(Code::EnvelopeMissing))?;
        let envelope = Envelope::from_bytes(sent.der.as_bytes())
            .map_err(|error| Fault::new(Code::Envelope, error))?;
        let signed = Arc::new(Signed {
            signature: sent.signature.as_bytes(),
            hash: request_hash::<Envelope>(sent.der.as_bytes()),
            envelope,
        });
        self.read.insert(at, Arc::clone(&signed));
        Ok(signed)
    }

    /// The statement of the station that asked, in force for this leaf and valid when it asked.
    fn asking_station(
        &mut self,
        envelope: &Envelope,
        index: u64,
    ) -> Result<(DocumentHash, Arc<StationStatement>), Fault> {
        let hash = self.statement_before(&envelope.station, index)?;
        let hash = hash.ok_or_else(|| Fault::bare(Code::StationUnknown))?;
        let station = self.station(&hash)?;
        ensure!(station.valid_at(envelope.time), Code::StationExpired);
        Ok((hash, station))
    }

    /// The statement in force for a `bind` leaf: the newest of that station before it. A later one neither helps nor
    /// hurts, so an unfinished issuance can always be finished.
    fn statement_before(
        &mut self,
        station: &Id,
        index: u64,
    ) -> Result<Option<DocumentHash>, Fault> {
        if !self.statements.contains_key(station) {
            let statements = document::statements(self.connection, station)?;
            self.statements.insert(*station, statements);
        }
        let statements = self.statements.get(station);
        let before = statements.and_then(|all| all.iter().rfind(|(entry, _)| *entry < index));
        Ok(before.map(|(_, hash)| *hash))
    }

    fn station(&mut self, hash: &DocumentHash) -> Result<Arc<StationStatement>, Fault> {
        if let Some(station) = self.documents.stations.get(hash) {
            return Ok(Arc::clone(station));
        }
        let station: Arc<StationStatement> = Arc::new(document::get(self.connection, hash)?);
        self.documents.stations.insert(*hash, Arc::clone(&station));
        Ok(station)
    }

    fn authority(&mut self, hash: &DocumentHash) -> Result<Arc<Authority>, Fault> {
        if let Some(authority) = self.documents.authorities.get(hash) {
            return Ok(Arc::clone(authority));
        }
        let grant: Grant = document::get(self.connection, hash)?;
        let profile: Profile = document::get(self.connection, &grant.profile)?;
        let serials =
            SerialPattern::of(&profile).map_err(|error| Fault::new(Code::Serial, error))?;
        let authority = Arc::new(Authority {
            grant,
            profile,
            serials,
        });
        self.documents
            .authorities
            .insert(*hash, Arc::clone(&authority));
        Ok(authority)
    }
}
