//! Everything that can be wrong with a request as a whole: form, sender, clock, grant and lot.

use crate::floor::{FIRST, Floor, SECOND, THIRD, assert_recorded, code};
use crate::orders::{Orders, fill, first_of, write_orders};
use acceptance::lines::CAMERAS;
use acceptance::register::Register;
use acceptance::soft::{Order, Signed, SoftChip, SoftStation};
use der::asn1::OctetString;
use identity::envelope::{ConfirmRequest, Envelope, Observation, Purpose, StationRequest as _};
use identity::field::Tag;
use identity::{DocumentHash, Id, Timestamp};
use proto::factory::ProvisionRequest;
use tokio::task::JoinSet;

const STATIONS: [&str; 3] = [FIRST, SECOND, THIRD];
/// Refusals of a station in a minute that are sure to get leaves of their own.
const OWN_LEAVES: usize = 20;
const HOUR_MS: u64 = 3_600_000;

/// A good request, about to be spoilt.
struct Case<'a> {
    station: &'a SoftStation,
    other: &'a SoftStation,
    orders: &'a Orders,
    envelope: Envelope,
    /// What is sent, if it is not the envelope with the station's signature.
    sent: Option<Signed>,
}

type Row = (&'static str, &'static str, fn(&mut Case<'_>));

impl Case<'_> {
    /// Sends the envelope's bytes altered, under a good signature.
    fn alter(&mut self, alter: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.envelope.to_bytes();
        alter(&mut bytes);
        self.sent = Some(self.station.seal_bytes::<Envelope>(bytes).unwrap());
    }

    /// Sends the envelope under another signature.
    fn sign(&mut self, signature: impl FnOnce(&[u8]) -> Vec<u8>) {
        let good = self.station.seal(&self.envelope).unwrap();
        let signature = signature(&good.signature);
        self.sent = Some(Signed { signature, ..good });
    }

    fn under(&mut self, order: impl FnOnce(&Orders) -> Order) {
        let order = order(self.orders);
        (self.envelope.grant, self.envelope.lot) = (order.grant, order.lot);
    }
}

const ROWS: &[Row] = &[
    ("an empty request", "CA-0101", |it| it.alter(Vec::clear)),
    ("a byte behind the envelope", "CA-0101", |it| {
        it.alter(|bytes| bytes.push(0));
    }),
    ("a byte too few", "CA-0101", |it| {
        it.alter(|bytes| bytes.truncate(bytes.len() - 1));
    }),
    ("a length not in its shortest form", "CA-0101", |it| {
        it.alter(|bytes| {
            assert_eq!(bytes[1], 0x82, "the envelope's length has two bytes");
            bytes[1] = 0x83;
            bytes.insert(2, 0);
        });
    }),
    ("a version not known", "CA-0101", |it| {
        it.alter(|bytes| {
            assert_eq!(bytes[4..6], [0x02, 0x01], "the version comes first");
            bytes[6] += 1;
        });
    }),
    ("more bytes than allowed", "CA-0107", |it| {
        it.alter(|bytes| bytes.resize(proto::MAX_ENVELOPE + 1, 0));
    }),
    ("a purpose not known", "CA-0101", |it| {
        it.alter(|bytes| {
            assert_eq!(bytes[7..9], [0x0A, 0x01], "the purpose comes second");
            bytes[9] = 3;
        });
    }),
    ("no unit", "CA-0101", |it| it.envelope.units.clear()),
    ("65 units", "CA-0101", |it| {
        it.envelope.units = vec![it.envelope.units[0].clone(); 65];
    }),
    ("a challenge of 65 bytes", "CA-0101", |it| {
        it.envelope.units[0].challenge = OctetString::new([7; 65]).unwrap();
    }),
    (
        "a fact that is not the station's to state",
        "CA-0101",
        |it| {
            it.envelope.units[0].observations = vec![observation(Tag::BrandOwner)];
        },
    ),
    ("facts out of order", "CA-0101", |it| {
        it.envelope.units[0].observations =
            vec![observation(Tag::Attempt), observation(Tag::Operator)];
    }),
    ("a checkpoint that is none", "CA-0101", |it| {
        it.envelope.seen = Some(OctetString::new(*b"log.mihon-denki.example/ota-2\n9\n").unwrap());
    }),
    ("another station's key", "CA-0102", |it| {
        let (other, envelope) = (it.other, &it.envelope);
        it.sent = Some(other.seal(envelope).unwrap());
    }),
    ("the station's other key", "CA-0102", |it| {
        let bytes = it.envelope.to_bytes();
        let hash = identity::envelope::request_hash::<Envelope>(&bytes);
        let signature = it.station.receipt.sign(&hash.0).unwrap();
        it.sign(|_| signature.0.to_vec());
    }),
    ("a signature under another label", "CA-0102", |it| {
        let other = it
            .station
            .seal_bytes::<ConfirmRequest>(it.envelope.to_bytes())
            .unwrap();
        it.sign(|_| other.signature);
    }),
    ("no signature", "CA-0102", |it| it.sign(|_| Vec::new())),
    ("a signature cut short", "CA-0102", |it| {
        it.sign(|good| good[..63].to_vec());
    }),
    ("a signature with a byte behind it", "CA-0102", |it| {
        it.sign(|good| [good, &[0]].concat());
    }),
    ("a signature of zeros", "CA-0102", |it| {
        it.sign(|_| vec![0; 64]);
    }),
    ("a signature in DER", "CA-0102", |it| {
        it.sign(|good| {
            let good = p256::ecdsa::Signature::from_slice(good).unwrap();
            good.to_der().as_bytes().to_vec()
        });
    }),
    ("another station's name", "CA-0105", |it| {
        it.envelope.station = it.other.id;
    }),
    ("another station's request", "CA-0105", |it| {
        it.envelope.station = it.other.id;
        it.sent = Some(it.other.seal(&it.envelope).unwrap());
    }),
    ("a clock a day behind", "CA-0106", |it| {
        it.envelope.time.0 -= 25 * HOUR_MS;
    }),
    ("a clock a day ahead", "CA-0106", |it| {
        it.envelope.time.0 += 25 * HOUR_MS;
    }),
    ("a clock at the end of time", "CA-0106", |it| {
        it.envelope.time = Timestamp(u64::MAX >> 1);
    }),
    ("a grant nobody has heard of", "CA-0201", |it| {
        it.envelope.grant = DocumentHash([9; 32]);
    }),
    ("a grant of other stations", "CA-0201", |it| {
        it.under(|orders| orders.others);
    }),
    ("a grant that has ended", "CA-0202", |it| {
        it.under(|orders| orders.expired);
    }),
    ("a grant that has not begun", "CA-0202", |it| {
        it.under(|orders| orders.early);
    }),
    ("a grant for another line", "CA-0204", |it| {
        it.under(|orders| orders.line);
    }),
    ("a grant for another site", "CA-0204", |it| {
        it.under(|orders| orders.site);
    }),
    ("a lot nobody has heard of", "CA-0205", |it| {
        it.envelope.lot = Id::new("26W48-Z").unwrap();
    }),
    ("another grant's lot", "CA-0205", |it| {
        it.envelope.lot = it.orders.sensors.lot;
    }),
    ("another product's grant", "CA-0207", |it| {
        it.under(|orders| orders.sensors);
    }),
    ("a lot that is full", "CA-0206", |it| {
        it.under(|orders| orders.full);
    }),
    ("a grant that is used up", "CA-0203", |it| {
        it.under(|orders| orders.used_up);
    }),
];

#[tokio::test]
async fn a_bad_request_is_refused_recorded_and_changes_nothing() {
    let floor = Floor::open_with(1_000, write_orders);
    let stations = STATIONS.map(|id| floor.station(id));
    let orders = Orders::load(&floor.factory);
    fill(&floor, &stations[0], &orders).await;
    let mut register = Register::open(&floor.factory).await.unwrap();
    let mut good = Vec::new();
    for (number, (name, wanted, spoil)) in (100_u32..).zip(ROWS) {
        let at = usize::try_from(number - 100).unwrap() / (OWN_LEAVES - 2);
        let (station, other) = (&stations[at], &stations[(at + 1) % STATIONS.len()]);
        let chip = SoftChip::make(&floor.factory.vendor, number).unwrap();
        let serial = CAMERAS.first + u64::from(number);
        let draft = station.draft(Purpose::Provision, floor.order, &chip, serial);
        let envelope = draft.await.unwrap();
        good.push((station, envelope.clone()));
        let mut case = Case {
            station,
            other,
            orders: &orders,
            envelope,
            sent: None,
        };
        spoil(&mut case);
        if *wanted == "CA-0203" || *wanted == "CA-0206" {
            // Nothing but the quantity is wrong.
            let order = (case.envelope.grant, case.envelope.lot);
            let order = Order {
                grant: order.0,
                lot: order.1,
            };
            let serial = first_of(&order, &orders) + 1;
            let draft = station.draft(Purpose::Provision, order, &chip, serial);
            case.envelope = draft.await.unwrap();
        }
        let Case { envelope, sent, .. } = case;
        let sent = sent.unwrap_or_else(|| station.seal(&envelope).unwrap());
        let refused = code(station.provision(&sent).await);
        assert_eq!(refused.as_deref(), Some(*wanted), "{name}");
        assert_recorded::<Envelope>(&mut register, name, wanted, &sent).await;
    }
    for (station, envelope) in good {
        let answer = station
            .provision(&station.seal(&envelope).unwrap())
            .await
            .unwrap();
        assert!(answer.is_ok(), "{answer:?}: a refusal took something");
    }
    floor.assert_sound();
}

#[tokio::test]
async fn a_request_cut_anywhere_or_too_large_is_refused() {
    let floor = Floor::open(10);
    let station = floor.station(FIRST);
    let chip = SoftChip::make(&floor.factory.vendor, 1).unwrap();
    let draft = station.draft(Purpose::Provision, floor.order, &chip, CAMERAS.first);
    let envelope = draft.await.unwrap();
    let bytes = envelope.to_bytes();
    let mut calls = JoinSet::new();
    for length in 0..bytes.len() {
        let cut = station
            .seal_bytes::<Envelope>(bytes[..length].to_vec())
            .unwrap();
        let station = station.clone();
        calls.spawn(async move { code(station.provision(&cut).await) });
    }
    let codes = calls.join_all().await;
    assert_eq!(codes.len(), bytes.len());
    assert!(codes.iter().all(|code| code.as_deref() == Some("CA-0101")));
    let limit = proto::MAX_ENVELOPE;
    for (length, wanted) in [(limit, "CA-0101"), (limit + 1, "CA-0107")] {
        let long = [&bytes[..], &vec![0; length - bytes.len()]].concat();
        let long = station.seal_bytes::<Envelope>(long).unwrap();
        assert_eq!(
            code(station.provision(&long).await).as_deref(),
            Some(wanted)
        );
    }
    // The transport itself takes nothing longer than that, whatever is in it.
    let huge = ProvisionRequest {
        envelope: vec![0x30; 8 * 1024 * 1024],
        signature: Vec::new(),
    };
    let refused = station.client().provision(huge).await.unwrap_err();
    assert!(
        matches!(
            refused.code(),
            tonic::Code::OutOfRange | tonic::Code::ResourceExhausted
        ),
        "{refused:?}"
    );
    let status = floor.factory.status().unwrap();
    assert!(status.contains(" 0 of 10 "), "{status}");
    let answer = station
        .provision(&station.seal(&envelope).unwrap())
        .await
        .unwrap();
    assert!(answer.is_ok(), "{answer:?}");
    floor.assert_sound();
}

#[tokio::test]
async fn the_same_unit_twice_in_one_request_is_certified_once() {
    let floor = Floor::open(10);
    let station = floor.station(FIRST);
    let chip = SoftChip::make(&floor.factory.vendor, 1).unwrap();
    let draft = station.draft(Purpose::Provision, floor.order, &chip, CAMERAS.first);
    let mut envelope = draft.await.unwrap();
    let mut again = envelope.units[0].clone();
    // As it is, then under another request id, then under another serial, too.
    envelope.units.push(again.clone());
    again.request.0[0] ^= 1;
    station
        .prove(&chip, &mut again, &floor.order.grant)
        .unwrap();
    envelope.units.push(again.clone());
    again.request.0[1] ^= 1;
    again.serial = identity::DeviceSerial::new("26480001001").unwrap();
    station
        .prove(&chip, &mut again, &floor.order.grant)
        .unwrap();
    envelope.units.push(again);
    let sent = station.seal(&envelope).unwrap();
    let request = ProvisionRequest {
        envelope: sent.envelope,
        signature: sent.signature,
    };
    let answer = station
        .client()
        .provision(request)
        .await
        .unwrap()
        .into_inner();
    let outcomes: Vec<String> = answer.results.into_iter().map(told).collect();
    assert_eq!(outcomes.len(), 4);
    assert_eq!(
        outcomes[0], outcomes[1],
        "the same request gets the same answer"
    );
    assert!(outcomes[0].starts_with("index "), "{outcomes:?}");
    assert_eq!(outcomes[2..], ["CA-0402", "CA-0402"]);
    assert!(floor.factory.status().unwrap().contains(" 1 of 10 "));
}

fn told(result: proto::factory::UnitResult) -> String {
    use proto::factory::unit_result::Outcome::{Issued, Refused};
    match result.outcome.unwrap() {
        Issued(issued) => format!("index {}", issued.index),
        Refused(fault) => fault.code,
    }
}

fn observation(tag: Tag) -> Observation {
    Observation {
        tag,
        value: OctetString::new(*b"x").unwrap(),
    }
}
