use super::{FIRST_SERIAL, GRANT, LOT};
use crate::factory::Factory;
use crate::failure::{Failure, Outcome};
use crate::soft::{Order, Signed, SoftChip, SoftKey, SoftStation};
use identity::Timestamp;
use identity::envelope::{
    ConfirmRequest, Envelope, Purpose, StationRequest as _, Unit, Version1, request_hash,
};
use identity::hash::CertificateHash;
use identity::message::{Confirmation, Message as _};
use proto::factory::unit_result::Outcome as Issuance;
use proto::factory::{Issued, ProvisionRequest, confirm_response};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Connections of the station.
const CONNECTIONS: usize = 8;
/// Chips made by one thread at a time.
const SHARE: usize = 256;

/// One station over several connections, with chips that nobody has seen.
#[derive(Clone)]
pub(super) struct Crew {
    stations: Vec<SoftStation>,
    vendor: SoftKey,
    next: Arc<AtomicU32>,
    order: Option<Order>,
}

/// A request and the chips that it is for.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) signed: Signed,
    pub(super) units: Vec<(Unit, SoftChip)>,
}

impl Crew {
    pub(super) fn enroll(factory: &Factory) -> Outcome<Self> {
        Self::enroll_as(factory, "ota-l2-prov-01", CONNECTIONS)
    }

    /// A station of this name over so many connections.
    pub(super) fn enroll_as(factory: &Factory, id: &str, connections: usize) -> Outcome<Self> {
        let first = SoftStation::enroll(factory, id)?;
        let others = (1..connections).map(|_| first.reconnected(factory));
        let others: Vec<_> = others.collect::<Outcome<_>>()?;
        Ok(Self {
            stations: std::iter::once(first).chain(others).collect(),
            vendor: SoftKey::of_vendor(&factory.vendor)?,
            next: Arc::new(AtomicU32::new(1)),
            order: None,
        })
    }

    /// Another station, whose chips are none of this one's.
    pub(super) fn joined_by(
        &self,
        factory: &Factory,
        id: &str,
        connections: usize,
    ) -> Outcome<Self> {
        let other = Self::enroll_as(factory, id, connections)?;
        Ok(Self {
            next: Arc::clone(&self.next),
            ..other
        })
    }

    /// Connects, one connection after another.
    pub(super) async fn connect(&self) -> Outcome<()> {
        let chip = SoftChip::of_vendor(&self.vendor, 0)?;
        for station in &self.stations {
            station.challenges(std::iter::once(&chip)).await?;
        }
        Ok(())
    }

    pub(super) fn under(self, factory: &Factory) -> Outcome<Self> {
        Ok(Self {
            order: Some(Order::under(factory, GRANT, LOT)?),
            ..self
        })
    }

    /// The same crew with new connections, after the server was started again.
    pub(super) fn reconnected(&self, factory: &Factory) -> Outcome<Self> {
        let stations = self.stations.iter();
        let stations = stations.map(|station| station.reconnected(factory));
        Ok(Self {
            stations: stations.collect::<Outcome<_>>()?,
            ..self.clone()
        })
    }

    /// The connection of a call.
    pub(super) fn station(&self, call: usize) -> SoftStation {
        self.stations[call % self.stations.len()].clone()
    }

    /// New chips.
    pub(super) fn chips(&self, count: usize) -> Outcome<Vec<(SoftChip, u64)>> {
        let count = u32::try_from(count).map_err(Failure::new)?;
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        let numbers: Vec<_> = (first..first + count).collect();
        let threads = std::thread::available_parallelism()?.get();
        let make = |numbers: &[u32]| -> Outcome<Vec<_>> {
            let one = |number: &u32| {
                let serial = FIRST_SERIAL + u64::from(*number);
                SoftChip::of_vendor(&self.vendor, *number).map(|chip| (chip, serial))
            };
            numbers.iter().map(one).collect()
        };
        let share = numbers.len().div_ceil(threads).max(SHARE);
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = numbers
                .chunks(share)
                .map(|numbers| scope.spawn(move || make(numbers)))
                .collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().map_err(|_panic| Failure::new("a thread"))?
            };
            threads.into_iter().map(join).collect::<Outcome<Vec<_>>>()
        })?;
        Ok(made.into_iter().flatten().collect())
    }

    /// Signed requests for new chips, `each` of them a request.
    pub(super) async fn requests(&self, count: usize, each: usize) -> Outcome<Vec<Work>> {
        let chips = self.chips(count * each)?;
        let mut work = Vec::with_capacity(count);
        for group in chips.chunks(64 / each * each) {
            let station = self.station(work.len());
            let only = group.iter().map(|(chip, _)| chip);
            let (challenges, time) = station.challenges(only).await?;
            let mut challenges = challenges.into_iter();
            for chips in group.chunks(each) {
                work.push(self.request(&station, chips, &mut challenges, time)?);
            }
        }
        Ok(work)
    }

    /// One request, as a station makes it after it was given challenges.
    pub(super) fn request(
        &self,
        station: &SoftStation,
        chips: &[(SoftChip, u64)],
        challenges: &mut impl Iterator<Item = Vec<u8>>,
        time: Timestamp,
    ) -> Outcome<Work> {
        let order = self.order.ok_or_else(|| Failure::new("no grant yet"))?;
        let unit = |(chip, serial): &(SoftChip, u64)| -> Outcome<_> {
            let challenge = challenges.next();
            let challenge = challenge.ok_or_else(|| Failure::new("no challenge"))?;
            Ok((station.unit(order, chip, *serial, challenge)?, chip.clone()))
        };
        let units: Vec<_> = chips.iter().map(unit).collect::<Outcome<_>>()?;
        let signed = station.seal(&Envelope {
            version: Version1,
            purpose: Purpose::Provision,
            station: station.id,
            time,
            grant: order.grant,
            lot: order.lot,
            seen: None,
            units: units.iter().map(|(unit, _)| unit.clone()).collect(),
        })?;
        Ok(Work { signed, units })
    }
}

/// Sends a request; every unit must get its certificate.
pub(super) async fn provision(station: &SoftStation, work: &Work) -> Outcome<Vec<Issued>> {
    let request = ProvisionRequest {
        envelope: work.signed.envelope.clone(),
        signature: work.signed.signature.clone(),
    };
    let answer = station.client.clone().provision(request).await;
    let results = answer.map_err(Failure::new)?.into_inner().results;
    let issued = results.into_iter().map(|result| match result.outcome {
        Some(Issuance::Issued(issued)) => Ok(issued),
        other => Err(Failure::new(format_args!("no certificate: {other:?}"))),
    });
    let issued: Vec<_> = issued.collect::<Outcome<_>>()?;
    crate::failure::require(issued.len() == work.units.len(), "a unit has no answer")?;
    Ok(issued)
}

/// Has the chip confirm its certificate; there must be a receipt.
pub(super) async fn confirm(
    station: &SoftStation,
    (unit, chip): &(Unit, SoftChip),
    issued: &Issued,
    time: Timestamp,
) -> Outcome<()> {
    let leaf: [u8; 32] = issued
        .leaf_hash
        .as_slice()
        .try_into()
        .map_err(Failure::new)?;
    let nonce = issued.confirm_nonce.as_slice().try_into();
    let (leaf, certificate) = (
        identity::LeafHash(leaf),
        CertificateHash::of(&issued.certificate),
    );
    let confirmation = Confirmation {
        nonce: nonce.map_err(Failure::new)?,
        certificate: &certificate,
        leaf: &leaf,
    };
    let request = ConfirmRequest {
        version: Version1,
        station: station.id,
        time,
        request: unit.request,
        leaf,
        certificate,
        signature: chip.key.sign(&confirmation.digest())?,
    };
    let request = request.to_bytes();
    let signature = station
        .request
        .sign(&request_hash::<ConfirmRequest>(&request).0)?;
    let asked = proto::factory::ConfirmRequest {
        request,
        signature: signature.0.to_vec(),
    };
    let answer = station.client.clone().confirm(asked).await;
    match answer.map_err(Failure::new)?.into_inner().outcome {
        Some(confirm_response::Outcome::Receipt(_)) => Ok(()),
        other => Err(Failure::new(format_args!("no receipt: {other:?}"))),
    }
}
