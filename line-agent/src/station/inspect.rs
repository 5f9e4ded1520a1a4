//! Nothing that the CA sends is believed: certificate and proof are held against the station's own trust directory
//! and against what the chip said.

use super::journal::{HexHash, SignedRequest};
use super::{Failure, Step};
use crate::ca_link::{ClosedLot, LeafProof};
use base64ct::{Base64, Encoding as _};
use identity::document::{Document as _, LotOrder};
use identity::envelope::{StationRequest as _, VoidRequest, request_hash};
use identity::evidence::Evidence;
use identity::fault::Fault;
use identity::field::Tag;
use identity::leaf::{Body, EntryRef};
use identity::lot::{Difference, LotCloseRequest, LotSeen, ScrapRequest, differences};
use identity::receipt::ReceiptExtra;
use identity::{ChipUid, Clock, DeviceSerial, P256Key, idevid};
use koseki_verify::{Level, ProvedEntry, Trust, verify_device, verify_entry};

/// A station's clock may lag this much behind the CA's, in milliseconds (the CA refuses stations further off). A
/// certificate made a moment ago must not look unborn for that; it never ends, so that looking ahead hides nothing.
const CLOCK_ALLOWANCE_MS: u64 = 24 * 60 * 60 * 1000;

/// The unit that an answer must be for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Serial of the device.
    pub serial: &'a DeviceSerial,
    /// The chip.
    pub uid: &'a ChipUid,
    /// The fixed key.
    pub key: &'a P256Key,
    /// Where the answer says the `bind` leaf is in the log.
    pub index: u64,
}

/// Checks what the CA answers.
pub trait Inspect: Sync {
    /// Checks a certificate with the proof of its `bind` leaf. Returns that leaf's place and hash.
    ///
    /// # Errors
    /// [`Fault::ProofInvalid`]
    fn inspect_bind(
        &self,
        certificate: &[u8],
        proof: &[u8],
        expected: &Expected<'_>,
    ) -> Step<EntryRef>;

    /// Checks what the CA says of a chip that is bound and not confirmed. Returns the serial and, if the proof brings it, the
    /// evidence it was bound with.
    ///
    /// # Errors
    /// [`Fault::ProofInvalid`]; [`Fault::UidSeen`] if the chip in hand has another key.
    fn inspect_orphan(
        &self,
        certificate: &[u8],
        proof: &[u8],
        uid: &ChipUid,
        key: &P256Key,
    ) -> Step<(DeviceSerial, Option<Evidence>)>;

    /// Checks the receipt of a confirmation of this certificate.
    ///
    /// # Errors
    /// [`Fault::ProofInvalid`]
    fn inspect_confirm(&self, certificate: &[u8], receipt: &[u8]) -> Step<()>;

    /// Checks that a leaf voids a unit: by this request, or whoever asked, of this chip.
    ///
    /// # Errors
    /// [`Fault::ProofInvalid`]
    fn inspect_void(
        &self,
        given: &LeafProof,
        void: &SignedRequest,
        uid: Option<&ChipUid>,
    ) -> Step<()>;

    /// Checks that a leaf scraps a unit: by this request, or one that was sent under its id before, or whoever asked, the
    /// one that it names, of this chip.
    ///
    /// # Errors
    /// [`Fault::ProofInvalid`]
    fn inspect_scrap(
        &self,
        given: &LeafProof,
        scrap: &SignedRequest,
        earlier: &[HexHash],
        uid: Option<&ChipUid>,
    ) -> Step<()>;

    /// Checks that a leaf closes this lot with these counts and, if it was for this request, with what that expects of the
    /// log; counts anew where the two differ.
    ///
    /// # Errors
    /// [`Fault::ProofInvalid`]
    fn inspect_close(&self, given: &ClosedLot, asked: &LotCloseRequest) -> Step<LotEnd>;
}

/// A lot that is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LotEnd {
    /// Index of the `lot-close` leaf.
    pub index: u64,
    /// Where the station's counts differ.
    pub differences: Vec<Difference>,
}

/// Checks with `koseki-verify` and a trust directory.
#[derive(Debug)]
pub struct Inspector<'a, C> {
    trust: &'a Trust,
    clock: &'a C,
}

impl<'a, C: Clock> Inspector<'a, C> {
    /// Checks against this trust.
    pub const fn new(trust: &'a Trust, clock: &'a C) -> Self {
        Self { trust, clock }
    }

    fn demand(&self, certificate: &[u8], proof: &[u8], level: Level) -> Step<()> {
        let at = self.clock.now().plus_millis(CLOCK_ALLOWANCE_MS);
        let verdict = verify_device(certificate, proof, self.trust, at);
        let failed = verdict
            .first_failure()
            .map(|check| format!("{}: {}", check.step.name(), check.note));
        match (verdict.accepted, verdict.level == Some(level)) {
            (true, true) => Ok(()),
            (true, false) => Err(refuse(format!(
                "the proof does not show the unit as {}",
                level.name()
            ))),
            (false, _) => Err(refuse(
                failed.unwrap_or_else(|| "a check could not be made".to_owned()),
            )),
        }
    }
}

impl<C> Inspector<'_, C> {
    fn prove(&self, given: &LeafProof) -> Step<ProvedEntry> {
        verify_entry(&given.proof, given.leaf.as_deref(), self.trust).map_err(refuse)
    }
}

impl<C: Clock> Inspect for Inspector<'_, C> {
    fn inspect_bind(
        &self,
        certificate: &[u8],
        proof: &[u8],
        expected: &Expected<'_>,
    ) -> Step<EntryRef> {
        self.demand(certificate, proof, Level::Bound)?;
        let parsed = idevid::parse_certificate(certificate).map_err(refuse)?;
        let is_for_unit = parsed.key == *expected.key
            && parsed.uid == *expected.uid
            && parsed.device_serial == *expected.serial;
        if !is_for_unit {
            return Err(refuse("the certificate is for another key, chip or serial"));
        }
        check_place(proof, expected.index)?;
        let (_, hash) = extra_of(proof)?.linked_history().map_err(refuse)?;
        Ok(EntryRef {
            index: expected.index,
            hash,
        })
    }

    fn inspect_orphan(
        &self,
        certificate: &[u8],
        proof: &[u8],
        uid: &ChipUid,
        key: &P256Key,
    ) -> Step<(DeviceSerial, Option<Evidence>)> {
        self.demand(certificate, proof, Level::Bound)?;
        let parsed = idevid::parse_certificate(certificate).map_err(refuse)?;
        match (parsed.uid == *uid, parsed.key == *key) {
            (true, true) => Ok((parsed.device_serial, bound_with(proof)?)),
            (true, false) => Err(Failure::new(
                Fault::UidSeen,
                format!("UID {uid}: bound with another key"),
            )),
            (false, _) => Err(refuse("the certificate is for another chip")),
        }
    }

    fn inspect_confirm(&self, certificate: &[u8], receipt: &[u8]) -> Step<()> {
        self.demand(certificate, receipt, Level::Confirmed)
    }

    fn inspect_void(
        &self,
        given: &LeafProof,
        void: &SignedRequest,
        uid: Option<&ChipUid>,
    ) -> Step<()> {
        let entry = self.prove(given)?;
        let asked = request_hash::<VoidRequest>(&void.der);
        let body = &entry.leaf.body;
        let by_this = matches!(body, Body::Void(leaf) if leaf.request == Some(asked));
        // What was scrapped since is void, too.
        let is_void = matches!(body, Body::Void(_) | Body::Scrap(_));
        match by_this || is_void && is_of_chip(&entry, uid) {
            true => Ok(()),
            false => Err(refuse("the leaf does not void this unit")),
        }
    }

    fn inspect_scrap(
        &self,
        given: &LeafProof,
        scrap: &SignedRequest,
        earlier: &[HexHash],
        uid: Option<&ChipUid>,
    ) -> Step<()> {
        let entry = self.prove(given)?;
        let asked = request_hash::<ScrapRequest>(&scrap.der);
        let request = ScrapRequest::from_bytes(&scrap.der).map_err(refuse)?;
        let Body::Scrap(leaf) = &entry.leaf.body else {
            return Err(refuse("the leaf scraps nothing"));
        };
        let is_it = || is_named(&entry, &request) && (uid.is_none() || is_of_chip(&entry, uid));
        let is_asked = leaf
            .request
            .is_some_and(|by| by == asked || earlier.contains(&HexHash(by)));
        match (is_asked || is_it()) && leaf.grant == request.grant {
            true => Ok(()),
            false => Err(refuse("the leaf does not scrap this unit")),
        }
    }

    fn inspect_close(&self, given: &ClosedLot, asked: &LotCloseRequest) -> Step<LotEnd> {
        let entry = self.prove(&given.entry)?;
        let order = LotOrder::from_bytes(&given.order).map_err(refuse)?;
        let Body::LotClose(leaf) = &entry.leaf.body else {
            return Err(refuse("the leaf closes no lot"));
        };
        let is_asked = leaf.lot == order.hash()
            && (order.grant, order.id) == (asked.grant, asked.lot)
            && leaf.counts == asked.counts;
        if !is_asked {
            let rule = "the leaf does not close this lot with these counts";
            return Err(refuse(rule));
        }
        let is_for_this = leaf.request == request_hash::<LotCloseRequest>(&asked.to_bytes());
        let seen = LotSeen::open(&order, leaf.tally);
        if is_for_this && asked.seen.is_some_and(|it| it != seen) {
            let rule = "the lot was closed with other numbers than those seen";
            return Err(refuse(rule));
        }
        Ok(LotEnd {
            index: entry.index,
            differences: differences(order.quantity, &leaf.counts, &leaf.tally).collect(),
        })
    }
}

/// Whether the device whose history the proof brings has this chip.
fn is_of_chip(entry: &ProvedEntry, uid: Option<&ChipUid>) -> bool {
    uid.is_some_and(|uid| is_open(entry, Tag::ChipUid, uid.as_bytes()))
}

/// Whether the device whose history the proof brings has serial and lot of the unit to be scrapped.
fn is_named(entry: &ProvedEntry, request: &ScrapRequest) -> bool {
    let serial = request.serial.as_ref();
    serial.is_some_and(|serial| is_open(entry, Tag::DeviceSerial, serial.as_bytes()))
        && is_open(entry, Tag::Lot, request.lot.as_bytes())
}

fn is_open(entry: &ProvedEntry, tag: Tag, value: &[u8]) -> bool {
    let openings = entry.openings.as_ref();
    openings.is_some_and(|openings| openings.value(tag) == Some(value))
}

/// The evidence beside a proof that was verified, if it is the one that the `bind` leaf names.
fn bound_with(proof: &[u8]) -> Step<Option<Evidence>> {
    let extra = extra_of(proof)?;
    let (leaves, _) = extra.linked_history().map_err(refuse)?;
    let Some((Body::Bind(bind), der)) = leaves.first().map(|leaf| &leaf.body).zip(extra.evidence)
    else {
        return Ok(None);
    };
    let evidence = Evidence::from_bytes(der.as_bytes()).map_err(refuse)?;
    match evidence.hash() == bind.evidence.hash {
        true => Ok(Some(evidence)),
        false => Err(refuse("the evidence is not the one that was bound")),
    }
}

/// The `extra` line of a `tlog-proof` that was verified (C2SP tlog-proof).
fn extra_of(proof: &[u8]) -> Step<ReceiptExtra> {
    let text = line_of(proof, b"extra ").ok_or_else(|| refuse("the proof has no extra line"))?;
    let bytes = Base64::decode_vec(text).map_err(refuse)?;
    ReceiptExtra::from_bytes(&bytes).map_err(refuse)
}

/// What is journalled and recorded as the leaf's place is what was proved, not what the CA says beside it.
fn check_place(proof: &[u8], index: u64) -> Step<()> {
    match index_of(proof)? == index {
        true => Ok(()),
        false => Err(refuse(format!("the proof is not of leaf {index}"))),
    }
}

/// The index that a `tlog-proof` was verified for.
pub(super) fn index_of(proof: &[u8]) -> Step<u64> {
    let text = line_of(proof, b"index ").ok_or_else(|| refuse("the proof has no index line"))?;
    text.parse().map_err(refuse)
}

fn line_of<'a>(proof: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let line = proof
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(name));
    line.and_then(|line| std::str::from_utf8(line).ok())
}

fn refuse(detail: impl ToString) -> Failure {
    Failure::new(Fault::ProofInvalid, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_in_the_log_is_the_proved_one() {
        let proof = b"c2sp.org/tlog-proof@v1\nextra aW5kZXggNwo=\nindex 6\n\norigin\n7\n";
        check_place(proof, 6).unwrap();
        for other in [5, 7] {
            assert_eq!(
                check_place(proof, other).unwrap_err().fault,
                Fault::ProofInvalid
            );
        }
        check_place(b"c2sp.org/tlog-proof@v1\n\norigin\n7\n", 0).unwrap_err();
    }
}
