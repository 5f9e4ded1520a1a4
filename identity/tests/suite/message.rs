//! What is signed: digests computed once from the written rule by another program, and never two under one label.

use identity::hash::Sink;
use identity::message::{
    Confirmation, Endorsement, InjectionReceipt, KekInfo, KeyOrigin, Message, Possession, Transport,
};
use identity::{
    CertificateHash, ChipUid, DeviceSerial, DocumentHash, Id, KeyKind, LeafHash, PartNumber,
    RequestId, SpkiHash, SubjectId,
};
use std::collections::BTreeSet;

/// Collects a message instead of hashing it.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Sink for Bytes {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// A message's digest and its bytes.
fn both(message: &impl Message) -> (String, Vec<u8>) {
    let mut bytes = Bytes::default();
    message.write(&mut bytes);
    (hex::encode(message.digest()), bytes.0)
}

/// Every message over fixed parts, with the digest it must have.
#[expect(clippy::too_many_lines, reason = "a table")]
fn vectors() -> Vec<(&'static str, (String, Vec<u8>))> {
    let uid = ChipUid::new(&[0x04, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77]).unwrap();
    let (part, serial) = (
        PartNumber::new("SE-256.A").unwrap(),
        DeviceSerial::new("26480001007").unwrap(),
    );
    let (request, station, spki) = (
        RequestId([2; 16]),
        Id::new("st-01").unwrap(),
        SpkiHash([3; 32]),
    );
    let (mut ephemeral, mut module) = ([0x41; 65], [0x42; 65]);
    (ephemeral[0], module[0]) = (4, 4);
    let possession = Possession {
        challenge: &[1; 48],
        request: &request,
        uid: &uid,
        serial: &serial,
        spki: &spki,
        grant: &DocumentHash([4; 32]),
        station: &station,
    };
    let confirmation = Confirmation {
        nonce: &[5; 32],
        certificate: &CertificateHash([6; 32]),
        leaf: &LeafHash([7; 32]),
    };
    let receipt = InjectionReceipt {
        request: &request,
        uid: &uid,
        spki: &spki,
        ephemeral: &ephemeral,
        wrapped: &[8; 32],
    };
    vec![
        (
            "a60cb371497a3b2e7b7beb774c34e68256baf3ecd8c3a45a9955002b74f7cee1",
            both(&possession),
        ),
        (
            "49d80ab6044eb79bce21315512e5fc7b1da5197ab85dca2e408103c6142732d9",
            both(&confirmation),
        ),
        (
            "bae14a14cf9f2d8d61476f3bc8bf4f28b0d6236a1495a6527ae4e2f9fca63e73",
            both(&Endorsement {
                uid: &uid,
                part: &part,
                attestation: &spki,
            }),
        ),
        (
            "3f191f4a2be77da99cb8bf7c9ebed3ad1998fd7600cb8bf5e709c5e182a9ea28",
            both(&Transport {
                uid: &uid,
                part: &part,
                ephemeral: &ephemeral,
                nonce: &[5; 32],
            }),
        ),
        (
            "29b503b73787797de25ccf6cf64c629fee9d640e544eecbd4db6d2abaab252da",
            both(&KeyOrigin {
                uid: &uid,
                part: &part,
                spki: &spki,
                nonce: &[5; 32],
            }),
        ),
        (
            "96f2c95324e91742f448ed8e6328f25c80918c27ae31dde0d8cacbc013600fea",
            both(&KekInfo {
                chip: &ephemeral,
                module: &module,
                uid: &uid,
                nonce: &[5; 32],
            }),
        ),
        (
            "dbdb8d0fc0d0dac75694b6526e29ca68253470df4125dedc5125bc606e729640",
            both(&receipt),
        ),
    ]
}

#[test]
fn every_message_has_its_digest() {
    for (expected, (digest, bytes)) in vectors() {
        assert_eq!(digest, expected, "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(hex::encode(identity::hash::sha256(&bytes)), expected);
    }
}

/// A label is printable, names the project and a version, and ends with the first line feed of the message.
fn label(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    let label = &bytes[..=end];
    assert!(
        label.starts_with(b"koseki/") && label.ends_with(b"/v1\n"),
        "{}",
        String::from_utf8_lossy(label)
    );
    label
}

#[test]
fn no_two_messages_share_a_label_or_begin_with_another() {
    let vectors = vectors();
    let mut labels: Vec<&[u8]> = vectors.iter().map(|(_, (_, bytes))| label(bytes)).collect();
    labels.extend::<[&[u8]; 3]>([
        b"koseki/approval/v1\n",
        b"koseki/subject/v1\n",
        b"koseki/field/v1\n",
    ]);
    #[cfg(feature = "alloc")]
    labels.extend(request_labels());
    assert_eq!(labels.iter().collect::<BTreeSet<_>>().len(), labels.len());
    for one in &labels {
        assert_eq!(
            labels.iter().filter(|other| other.starts_with(one)).count(),
            1
        );
    }
}

#[cfg(feature = "alloc")]
fn request_labels() -> [&'static [u8]; 3] {
    use identity::envelope::{ConfirmRequest, Envelope, StationRequest, VoidRequest};
    [Envelope::LABEL, ConfirmRequest::LABEL, VoidRequest::LABEL]
}

#[test]
fn bytes_cannot_move_from_one_piece_to_the_next() {
    let digest = |uid: &[u8], part: &str| {
        let (uid, part) = (ChipUid::new(uid).unwrap(), PartNumber::new(part).unwrap());
        Endorsement {
            uid: &uid,
            part: &part,
            attestation: &SpkiHash([3; 32]),
        }
        .digest()
    };
    assert_ne!(digest(b"AB", "C"), digest(b"A", "BC"));
}

#[test]
fn a_subject_depends_on_the_kind_of_key() {
    let subject = |kind| SubjectId::new(kind, &[3; 32]).to_string();
    assert_eq!(
        subject(KeyKind::P256),
        "f10aef89947b5490bd4d3202ecc328f81adcaa65e09d044f8ed8368ba9bc3411"
    );
    assert_eq!(
        subject(KeyKind::HmacSha256),
        "721dc29d5ab0c798e8bb352087c6578600b494caf97ed31961a88f346823a853"
    );
    assert_eq!(
        SubjectId::of_p256(&SpkiHash([3; 32])),
        SubjectId::new(KeyKind::P256, &[3; 32])
    );
    assert_eq!(KeyKind::from_name("hmac-sha256"), Some(KeyKind::HmacSha256));
    assert_eq!(KeyKind::from_name("rsa"), None);
}

#[test]
fn a_leaf_hash_is_that_of_rfc_6962() {
    let expected = "609f6e36d2405585188d5cfd761f407c7cc46a7d3f314c88270469dde315fcd1";
    assert_eq!(LeafHash::of(b"abc").to_string(), expected);
}
