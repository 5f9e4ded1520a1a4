//! Everything that stands in DER: one canonical form, the same bytes back.

use identity::approval::Approval;
use identity::document::{Ceremony, Document, Grant, LotOrder, Profile, StationStatement};
use identity::envelope::{ConfirmRequest, Envelope, StationRequest, VoidRequest};
use identity::evidence::Evidence;
use identity::field::Openings;
use identity::idevid;
use identity::leaf::Leaf;
use identity::lot::{LotCloseRequest, LotShare, ScrapRequest};
use identity::receipt::ReceiptExtra;
use signer::message::{SignReply, SignRequest};

pub(super) fn envelope(input: &[u8]) -> bool {
    let envelope = request::<Envelope>(input);
    if let Ok(envelope) = Envelope::from_bytes(input) {
        for unit in &envelope.units {
            // A key is refused or has one form, whatever the chip sent.
            if let Ok(key) = unit.fixed_key() {
                assert_eq!(identity::P256Key::from_spki(&key.spki()), Ok(key));
            }
        }
    }
    envelope
        | request::<ConfirmRequest>(input)
        | request::<VoidRequest>(input)
        | request::<ScrapRequest>(input)
        | request::<LotCloseRequest>(input)
        | request::<LotShare>(input)
}

fn request<R: StationRequest>(input: &[u8]) -> bool {
    let request = R::from_bytes(input);
    same(request.as_ref().map(StationRequest::to_bytes).ok(), input)
}

pub(super) fn documents(input: &[u8]) -> bool {
    document::<Grant>(input)
        | document::<LotOrder>(input)
        | document::<Profile>(input)
        | document::<StationStatement>(input)
        | document::<Ceremony>(input)
}

fn document<D: Document>(input: &[u8]) -> bool {
    let document = D::from_bytes(input);
    same(document.as_ref().map(Document::to_bytes).ok(), input)
}

pub(super) fn approval(input: &[u8]) -> bool {
    let approval = Approval::from_bytes(input);
    same(approval.map(|it| it.to_bytes()).ok(), input)
}

pub(super) fn leaf(input: &[u8]) -> bool {
    same(
        Leaf::from_bytes(input).map(|leaf| leaf.to_bytes()).ok(),
        input,
    )
}

pub(super) fn evidence(input: &[u8]) -> bool {
    let evidence = Evidence::from_bytes(input).map(|it| it.to_bytes()).ok();
    let openings = Openings::from_bytes(input).map(|it| it.to_bytes()).ok();
    same(evidence, input) | same(openings, input)
}

pub(super) fn receipt(input: &[u8]) -> bool {
    let extra = ReceiptExtra::from_bytes(input);
    if let Ok(extra) = &extra
        && let Ok((leaves, newest)) = extra.linked_history()
    {
        let last = leaves.last().expect("a linked history is not empty");
        assert_eq!(identity::LeafHash::of(&last.to_bytes()), newest);
    }
    same(extra.map(|it| it.to_bytes()).ok(), input)
}

pub(super) fn certificate(input: &[u8]) -> bool {
    // As a TBSCertificate and as a whole certificate.
    if let Ok(parsed) = idevid::parse_tbs(input) {
        assert_eq!(idevid::parse_tbs(input), Ok(parsed));
    }
    let Ok((tbs, signature)) = idevid::split(input) else {
        return false;
    };
    let whole = idevid::assemble(&tbs, &signature).expect("its parts were accepted");
    assert_eq!(whole, input, "a certificate has one form");
    idevid::parse_certificate(input).is_ok()
}

pub(super) fn signer_message(input: &[u8]) -> bool {
    let request = SignRequest::from_bytes(input)
        .map(|it| it.to_bytes().unwrap())
        .ok();
    let reply = SignReply::from_bytes(input)
        .map(|it| it.to_bytes().unwrap())
        .ok();
    same(request, input) | same(reply, input)
}

/// True if the input was accepted; then it must have come back.
fn same(back: Option<Vec<u8>>, input: &[u8]) -> bool {
    if let Some(back) = &back {
        assert_eq!(back, input, "what was accepted is not canonical");
    }
    back.is_some()
}
