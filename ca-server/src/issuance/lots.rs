//! How units and lots end: a unit is scrapped, a lot is closed. Both are station requests that become one leaf each.

use super::Refusal;
use super::admit::Admission;
use super::confirm::{self, SubjectOf};
use super::corridor::Signed;
use super::refuse::code_id;
use super::reserve::{Due, Round, refusal_of};
use crate::directory::{GrantEntry, LotEntry};
use crate::store::{ClaimKey, LotRequest, Reader, StoreError};
use identity::document::StationStatement;
use identity::envelope::{StationRequest, request_hash};
use identity::fault::Fault;
use identity::field::{Openings, Tag};
use identity::hash::{DocumentHash, RequestHash};
use identity::leaf::{Body, EntryRef, Leaf, LotClose, Scrap};
use identity::lot::{LotCloseRequest, LotSeen, LotShare, ScrapRequest, differences};
use identity::rules::{Known as _, Stage};
use identity::{ChipUid, DeviceSerial, Id, SubjectId};
use std::sync::Arc;

/// A request as its station signed it.
#[derive(Debug)]
struct Asked<R> {
    request: R,
    der: Vec<u8>,
    signature: Vec<u8>,
    hash: RequestHash,
    lot: Arc<LotEntry>,
    grant: Arc<GrantEntry>,
    station: Arc<StationStatement>,
}

/// A scrapping that passed door 1.
#[derive(Debug)]
pub struct ScrapJob {
    asked: Asked<ScrapRequest>,
    /// The bound unit, if the chip ever had a key.
    bound: Option<SubjectOf>,
    openings: Openings,
}

/// The end of a lot that passed door 1.
#[derive(Debug)]
pub struct CloseJob {
    asked: Asked<LotCloseRequest>,
}

/// Kind under which a closed lot is told to the directory.
pub(crate) const CLOSED: &str = "lot-close";

impl Admission {
    /// Checks a station's scrapping.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn scrap(
        &self,
        peer: &Id,
        signed: (Vec<u8>, Vec<u8>),
        reader: &Reader,
    ) -> Result<ScrapJob, Refusal> {
        let asked = self.asked::<ScrapRequest>(peer, signed)?;
        let request = &asked.request;
        self.check_time(request.time)?;
        if let Some(serial) = &request.serial
            && !asked.lot.order.serials().holds(serial)
        {
            return Err(Refusal::new(Fault::SerialOutsideLot, serial));
        }
        let bound = match &request.request {
            None => None,
            Some(request) => Some(confirm::subject_of(request, reader)?),
        };
        let openings = self.seal_scrap(&asked, bound.as_ref())?;
        Ok(ScrapJob {
            asked,
            bound,
            openings,
        })
    }

    /// Checks the end of a lot.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn close_lot(
        &self,
        peer: &Id,
        signed: Signed,
        shares: &[Signed],
    ) -> Result<CloseJob, Refusal> {
        let asked = self.asked::<LotCloseRequest>(peer, signed)?;
        self.check_time(asked.request.time)?;
        self.check_shares(&asked, shares)?;
        Ok(CloseJob { asked })
    }

    /// The shares are those that the request names, each signed by a station of the grant, each station once.
    fn check_shares(
        &self,
        asked: &Asked<LotCloseRequest>,
        shares: &[Signed],
    ) -> Result<(), Refusal> {
        let malformed = |why| Refusal::new(Fault::EnvelopeMalformed, why);
        let hashes = shares.iter().map(|(der, _)| request_hash::<LotShare>(der));
        let named = asked.request.shares.iter().flatten().copied();
        if !hashes.eq(named) {
            return Err(malformed("the shares are not those that the request names"));
        }
        let mut stations = vec![asked.station.id];
        for (der, signature) in shares {
            let share = LotShare::from_bytes(der)
                .map_err(|error| Refusal::new(Fault::EnvelopeMalformed, error))?;
            let (share, station) = self.open_request::<LotShare>(&share.station, der, signature)?;
            let grant = self.granted(&station, &share.grant)?;
            if grant.hash != asked.grant.hash || share.lot != asked.request.lot {
                return Err(malformed("a share is of another lot"));
            }
            if stations.contains(&station.id) {
                return Err(malformed("two shares are of one station"));
            }
            stations.push(station.id);
        }
        Ok(())
    }

    /// Form, sender, signature; the grant is one of the station's own, and the lot is under it. Its days do not matter:
    /// a lot is closed when it is done.
    fn asked<R: OfLot>(
        &self,
        peer: &Id,
        (der, signature): (Vec<u8>, Vec<u8>),
    ) -> Result<Asked<R>, Refusal> {
        let (request, station) = self.open_request::<R>(peer, &der, &signature)?;
        let (grant_hash, lot_id) = request.lot();
        let grant = self.granted(&station, &grant_hash)?;
        let lot = self.directory.lot(&grant_hash, &lot_id);
        let lot = lot.ok_or_else(|| Refusal::new(Fault::LotUnknown, lot_id))?;
        let hash = request_hash::<R>(&der);
        Ok(Asked {
            request,
            der,
            signature,
            hash,
            lot,
            grant,
            station,
        })
    }

    /// What is known of a scrapped unit: of a bound one what it was bound with, else what the station saw.
    fn seal_scrap(
        &self,
        asked: &Asked<ScrapRequest>,
        bound: Option<&SubjectOf>,
    ) -> Result<Openings, Refusal> {
        let (request, grant) = (&asked.request, &asked.grant.grant);
        let time = self.clock.now().0.to_string();
        let mut fields: Vec<(Tag, &[u8])> = vec![
            (Tag::Model, grant.product.as_bytes()),
            (Tag::Lot, asked.lot.order.id.as_bytes()),
            (Tag::WorkOrder, asked.lot.order.work_order.as_bytes()),
            (Tag::Factory, grant.factory.as_bytes()),
            (Tag::Line, asked.station.line.as_bytes()),
            (Tag::Station, asked.station.id.as_bytes()),
            (Tag::BrandOwner, grant.maker.as_bytes()),
            (Tag::Time, time.as_bytes()),
        ];
        let unit = bound.map(|bound| bound.unit);
        let uid = unit.map(|(uid, _)| uid).or(request.uid);
        let serial = unit.map(|(_, serial)| serial).or(request.serial);
        if let Some(uid) = &uid {
            fields.push((Tag::ChipUid, uid.as_bytes()));
        }
        if let Some(serial) = &serial {
            fields.push((Tag::DeviceSerial, serial.as_bytes()));
        }
        Openings::seal(&fields, self.entropy.as_ref())
            .map_err(|error| Refusal::new(Fault::Internal, error))
    }
}

/// A request that names its grant and lot.
trait OfLot: StationRequest {
    fn lot(&self) -> (DocumentHash, Id);
}

impl OfLot for ScrapRequest {
    fn lot(&self) -> (DocumentHash, Id) {
        (self.grant, self.lot)
    }
}

impl OfLot for LotCloseRequest {
    fn lot(&self) -> (DocumentHash, Id) {
        (self.grant, self.lot)
    }
}

type Decided = Result<Due, StoreError>;

/// Scraps inside the transaction. The same scrapping again gets the same leaf, and so does a unit that is scrapped
/// already.
pub(super) fn scrap(round: &mut Round<'_, '_>, job: &ScrapJob) -> Decided {
    let asked = &job.asked;
    let id = ClaimKey::scrapping(&asked.request.id);
    if let Some(entry) = round.transaction.owner(&id)? {
        let bind = job.bound.as_ref().map(|bound| bound.bind);
        return Ok(Due::Leaf(round.transaction.entry_ref(entry)?, bind));
    }
    let (subject, previous, in_lot) = match &job.bound {
        Some(bound) => match scrappable(round, job, bound)? {
            Ok(Scrappable::Already(entry, bind)) => return Ok(Due::Leaf(entry, Some(bind))),
            Ok(Scrappable::Now(subject, previous, in_lot)) => {
                (Some(subject), Some(previous), in_lot)
            }
            Err(refusal) => return refuse(round, asked, refusal, Some(bound.unit)),
        },
        None => {
            if let Some(uid) = &asked.request.uid
                && let Some(fault) = used(round, uid)?
            {
                return refuse(round, asked, fault.into(), None);
            }
            (None, None, true)
        }
    };
    let body = Scrap {
        subject,
        previous,
        grant: asked.grant.hash,
        request: Some(asked.hash),
        reason: asked.request.reason,
        fields: job.openings.root(),
        lot: in_lot.then_some(asked.lot.hash),
    };
    match append(round, asked, Body::Scrap(body), Some(&job.openings))? {
        Err(refusal) => refuse(round, asked, refusal, job.bound.as_ref().map(|it| it.unit)),
        Ok(entry) => {
            round.transaction.claim(&id, entry.index)?;
            if let (None, Some(uid)) = (&job.bound, &asked.request.uid) {
                let scrapped = ClaimKey::scrapped_chip(uid);
                round.transaction.claim(&scrapped, entry.index)?;
            }
            Ok(Due::Leaf(entry, None))
        }
    }
}

/// What is to be done about a bound unit.
enum Scrappable {
    /// It was scrapped at this entry; its `bind` entry.
    Already(EntryRef, u64),
    /// Its subject, newest entry, and whether its `bind` leaf names the lot.
    Now(SubjectId, EntryRef, bool),
}

/// A bound unit that this station holds and that is of this lot.
fn scrappable(
    round: &Round<'_, '_>,
    job: &ScrapJob,
    bound: &SubjectOf,
) -> Result<Result<Scrappable, Refusal>, StoreError> {
    let known = round.transaction.binding(bound.bind)?;
    if known.holder != job.asked.station.id.as_str() {
        return Ok(Err(Refusal::new(Fault::NotHolder, &known.holder)));
    }
    if bound.lot != job.asked.lot.hash {
        let detail = "the unit is of another lot";
        return Ok(Err(Refusal::new(Fault::SerialOutsideLot, detail)));
    }
    let state = known.state;
    Ok(Ok(match state.stage {
        Stage::Scrapped => Scrappable::Already(state.last, state.bind),
        Stage::Bound | Stage::Confirmed | Stage::Voided => {
            Scrappable::Now(bound.subject, state.last, state.lot.is_some())
        }
    }))
}

/// Why a chip is not scrapped as one that never had a key.
fn used(round: &Round<'_, '_>, uid: &ChipUid) -> Result<Option<Fault>, StoreError> {
    let transaction = &*round.transaction;
    if transaction.owner(&ClaimKey::uid(uid))?.is_some() {
        return Ok(Some(Fault::UidSeen));
    }
    let scrapped = transaction.owner(&ClaimKey::scrapped_chip(uid))?;
    Ok(scrapped.map(|_| Fault::ChipScrapped))
}

/// Closes a lot inside the transaction. The same counts again get the same leaf; other counts are refused. A lot that has
/// moved since its station looked stays open: it would end with numbers that nobody saw.
pub(super) fn close(round: &mut Round<'_, '_>, job: &CloseJob) -> Decided {
    let asked = &job.asked;
    let lot = &asked.lot;
    let Some(state) = round.transaction.lot(&lot.hash)? else {
        return Err(StoreError::Damaged("a lot that is not counted"));
    };
    if let Some(entry) = state.closed {
        return match round.transaction.lot_close(entry)?.counts == asked.request.counts {
            true => Ok(Due::Leaf(round.transaction.entry_ref(entry)?, None)),
            false => {
                let detail = "it was closed with other counts";
                refuse(round, asked, Refusal::new(Fault::LotClosed, detail), None)
            }
        };
    }
    let now = LotSeen::open(&lot.order, state.tally);
    if asked.request.seen.unwrap_or(now) != now {
        let detail = "the station was shown another, or its units moved on since";
        return refuse(round, asked, Refusal::new(Fault::LotMoved, detail), None);
    }
    let differs = differences(state.quantity, &asked.request.counts, &state.tally).next();
    let body = LotClose {
        lot: lot.hash,
        request: asked.hash,
        counts: asked.request.counts,
        tally: state.tally,
        reason: differs.map(|_| code_id(Fault::LotDiffers)),
    };
    match append(round, asked, Body::LotClose(body), None)? {
        Err(refusal) => refuse(round, asked, refusal, None),
        Ok(entry) => {
            if let Some(difference) = differs {
                round.transaction.mark_difference(&lot.hash)?;
                tracing::error!(lot = %lot.order.id, %difference, "a lot closes with a difference");
            }
            round.entered(CLOSED, lot.hash.0.to_vec());
            Ok(Due::Leaf(entry, None))
        }
    }
}

fn append<R>(
    round: &mut Round<'_, '_>,
    asked: &Asked<R>,
    body: Body,
    openings: Option<&Openings>,
) -> Result<Result<EntryRef, Refusal>, StoreError> {
    let day = round.day;
    let entry = match round.append(&Leaf { day, body }, None)? {
        Ok(entry) => entry,
        Err(violation) => return Ok(Err(refusal_of(violation))),
    };
    let openings = openings.map(Openings::to_bytes);
    round.transaction.put_lot_request(
        entry.index,
        &LotRequest {
            der: &asked.der,
            signature: &asked.signature,
            openings: openings.as_deref(),
        },
    )?;
    Ok(Ok(entry))
}

fn refuse<R>(
    round: &mut Round<'_, '_>,
    asked: &Asked<R>,
    refusal: Refusal,
    unit: Option<(ChipUid, DeviceSerial)>,
) -> Decided {
    round.record_refusal(&asked.station.id, refusal, Some(asked.hash), unit)
}
