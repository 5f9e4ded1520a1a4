//! Everything that can be wrong with a unit, over the real wire: refused under its own code, recorded, and nothing
//! else is changed: the same chip, serial and request id are good afterwards.

use crate::floor::{FIRST, Floor, SECOND, assert_recorded, code, with_stations};
use acceptance::chips::Vendor;
use acceptance::insider;
use acceptance::lines::{CAMERAS, SENSORS};
use acceptance::register::Register;
use acceptance::soft::{Order, SoftChip, SoftKey, SoftStation};
use der::asn1::OctetString;
use identity::envelope::{Envelope, Purpose, Unit};
use identity::evidence::{Evidence, Injected, OnChip};
use identity::{ChipUid, DeviceSerial, PartNumber, RequestId};

const STATIONS: [&str; 4] = [FIRST, SECOND, "ota-l2-prov-03", "ota-l2-prov-04"];
/// Refusals of a station in a minute that are sure to get leaves of their own.
const OWN_LEAVES: usize = 20;

/// A good request for one unit, about to be spoilt.
struct Case<'a> {
    floor: &'a Floor,
    station: &'a SoftStation,
    /// A unit that is bound already.
    made: &'a (SoftChip, Envelope),
    foreign: &'a Vendor,
    chip: SoftChip,
    envelope: Envelope,
}

type Row = (&'static str, &'static str, fn(&mut Case<'_>));

impl Case<'_> {
    fn unit(&mut self) -> &mut Unit {
        &mut self.envelope.units[0]
    }

    /// The chip proves possession for what the unit says now, so that nothing else is wrong.
    fn prove(&mut self) {
        let (grant, chip) = (self.envelope.grant, self.chip.clone());
        self.station
            .prove(&chip, &mut self.envelope.units[0], &grant)
            .unwrap();
    }

    fn set_key(&mut self, key: &[u8]) {
        self.unit().key = octets(key);
    }

    fn point(&self) -> [u8; 65] {
        *self.chip.key.public().unwrap().sec1()
    }

    fn set_challenge(&mut self, challenge: &[u8]) {
        self.unit().challenge = octets(challenge);
        self.prove();
    }

    /// A challenge that the CA made for somebody, or some time ago.
    fn challenge_of(&mut self, station: &SoftStation, uid: ChipUid, minutes: i64) {
        let now = self.envelope.time.0;
        let expires = now.checked_add_signed(minutes * 60_000).unwrap();
        let factory = &self.floor.factory;
        let made = insider::challenge(factory, &station.id, &uid, expires).unwrap();
        self.set_challenge(&made);
    }

    /// The key of the unit that is bound, in another chip, in this encoding.
    fn key_again(&mut self, encode: fn(&[u8; 65]) -> Vec<u8>) {
        self.chip.key = self.made.0.key.clone();
        let key = encode(&self.point());
        self.set_key(&key);
        self.attest();
    }

    /// The chip attests its present key, and proves possession of it.
    fn attest(&mut self) {
        let (receipt, request) = (&self.station.receipt, self.envelope.units[0].request);
        self.envelope.units[0].evidence = self.chip.evidence(receipt, &request).unwrap();
        self.prove();
    }

    fn on_chip(&mut self) -> &mut OnChip {
        match &mut self.unit().evidence {
            Evidence::OnChip(evidence) => evidence,
            Evidence::Injected(_) => panic!("a camera's key is made on the chip"),
        }
    }

    fn injected(&mut self) -> &mut Injected {
        match &mut self.unit().evidence {
            Evidence::Injected(evidence) => evidence,
            Evidence::OnChip(_) => panic!("a sensor's key is injected"),
        }
    }
}

const CAMERA_ROWS: &[Row] = &[
    ("a serial of another form", "CA-0208", |it| {
        it.unit().serial = serial("1");
    }),
    ("a serial in letters", "CA-0208", |it| {
        it.unit().serial = serial("26480001O01");
    }),
    ("a serial too long", "CA-0208", |it| {
        it.unit().serial = serial("264800010010");
    }),
    ("a serial below the lot", "CA-0207", |it| {
        it.unit().serial = serial("26480000999");
    }),
    ("a serial above the lot", "CA-0207", |it| {
        it.unit().serial = serial("26480002000");
    }),
    ("a sensor's chip", "CA-0209", |it| {
        it.unit().part = PartNumber::new("sim-mcu-b2").unwrap();
    }),
    ("a part in capitals", "CA-0209", |it| {
        it.unit().part = PartNumber::new("SIM-SE-A1").unwrap();
    }),
    ("a UID of another prefix", "CA-0210", |it| {
        it.unit().uid = uid(&[9; 9]);
    }),
    ("a UID too short", "CA-0210", |it| {
        it.unit().uid = uid(&[0x01, 0x23, 1]);
    }),
    ("no key", "CA-0303", |it| it.set_key(&[])),
    ("the point at infinity", "CA-0303", |it| it.set_key(&[0])),
    ("the point at infinity as SPKI", "CA-0303", |it| {
        it.set_key(
            &[
                &SPKI_HEAD[..1],
                &[0x19],
                &SPKI_HEAD[2..24],
                &[0x02, 0x00, 0x00],
            ]
            .concat(),
        );
    }),
    ("a point off the curve", "CA-0303", |it| {
        let mut point = it.point();
        point[64] ^= 1;
        it.set_key(&point);
    }),
    ("a coordinate beyond the field", "CA-0303", |it| {
        it.set_key(&[&[0x04][..], &[0xFF; 32], &it.point()[33..]].concat());
    }),
    ("a hybrid encoding", "CA-0303", |it| {
        let mut point = it.point();
        point[0] = 0x06 | (point[64] & 1);
        it.set_key(&point);
    }),
    ("a point without its first byte", "CA-0303", |it| {
        it.set_key(&it.point()[1..]);
    }),
    ("a byte behind the key", "CA-0303", |it| {
        it.set_key(&[&it.chip.key.public().unwrap().spki()[..], &[0]].concat());
    }),
    ("another curve's SPKI", "CA-0303", |it| {
        let mut key = it.chip.key.public().unwrap().spki();
        key[22] ^= 1;
        it.set_key(&key);
    }),
    ("no challenge", "CA-0301", |it| it.set_challenge(&[])),
    ("a challenge made up", "CA-0301", |it| {
        it.set_challenge(&[0xA5; 40]);
    }),
    ("a challenge made longer", "CA-0301", |it| {
        it.set_challenge(&[it.envelope.units[0].challenge.as_bytes(), &[0]].concat());
    }),
    ("a challenge whose time was put off", "CA-0301", |it| {
        let mut challenge = it.unit().challenge.as_bytes().to_vec();
        challenge[5] ^= 1;
        it.set_challenge(&challenge);
    }),
    ("another chip's challenge", "CA-0301", |it| {
        let other = uid(&[0x01, 0x23, 0, 0, 0, 0, 0, 0, 1]);
        it.challenge_of(it.station, other, 5);
    }),
    ("another station's challenge", "CA-0301", |it| {
        let mut other = it.station.clone();
        other.id = identity::Id::new("ota-l2-prov-09").unwrap();
        it.challenge_of(&other, it.chip.uid, 5);
    }),
    ("a stale challenge", "CA-0302", |it| {
        it.challenge_of(it.station, it.chip.uid, -1);
    }),
    ("a proof of zeros", "CA-0304", |it| {
        it.unit().possession.0 = [0; 64];
    }),
    ("a proof of r = n", "CA-0304", |it| {
        it.unit().possession.0[..32].copy_from_slice(&ORDER);
    }),
    ("another key's proof", "CA-0304", |it| {
        let own = std::mem::replace(&mut it.chip.key, SoftKey::generate().unwrap());
        let proved = it.envelope.units[0].clone();
        it.prove();
        it.chip.key = own;
        assert_ne!(it.unit().possession, proved.possession);
    }),
    ("a proof for another request", "CA-0304", |it| {
        it.unit().request.0[0] ^= 1;
    }),
    ("a proof for another serial", "CA-0304", |it| {
        it.unit().serial = serial("26480001899");
    }),
    ("a proof for another UID", "CA-0301", |it| {
        it.unit().uid = uid(&[0x01, 0x23, 1, 1, 1, 1, 1, 1, 1]);
    }),
    ("another attestation key", "CA-0305", |it| {
        it.on_chip().chip.attestation = SoftKey::generate().unwrap().public().unwrap();
    }),
    ("an altered endorsement", "CA-0305", |it| {
        it.on_chip().chip.endorsement.0[9] ^= 1;
    }),
    ("an altered nonce", "CA-0305", |it| {
        it.on_chip().nonce.0[0] ^= 1;
    }),
    ("an altered attestation", "CA-0305", |it| {
        it.on_chip().origin.0[63] ^= 1;
    }),
    ("another vendor's chip", "CA-0305", |it| {
        let mut chip = SoftChip::make(it.foreign, 7).unwrap();
        (chip.uid, chip.key) = (it.chip.uid, it.chip.key.clone());
        let request = it.unit().request;
        it.unit().evidence = chip.evidence(&it.station.receipt, &request).unwrap();
    }),
    ("another chip's evidence", "CA-0305", |it| {
        it.unit().evidence = it.made.1.units[0].evidence.clone();
    }),
    ("a key from a line HSM", "CA-0211", |it| {
        let (chip, request) = (it.chip.clone(), it.unit().request);
        it.unit().evidence = chip.injected(&it.station.receipt, &request).unwrap();
    }),
    ("a key seen before", "CA-0402", |it| {
        it.key_again(|point| point.to_vec());
    }),
    ("a key seen before, compressed", "CA-0402", |it| {
        it.key_again(compressed);
    }),
    ("a key seen before, as SPKI", "CA-0402", |it| {
        it.key_again(|point| [&SPKI_HEAD[..], point].concat());
    }),
    ("a key seen before, as compressed SPKI", "CA-0402", |it| {
        it.key_again(|point| {
            let mut head = SPKI_HEAD;
            (head[1], head[24]) = (0x39, 0x22);
            [&head[..], &compressed(point)].concat()
        });
    }),
    ("a UID seen before", "CA-0403", |it| {
        let seen = it.made.0.uid;
        let vendor = SoftKey::of_vendor(&it.floor.factory.vendor).unwrap();
        let mut clone = SoftChip::of(&vendor, "sim-se-a1", &seen.as_bytes()[..5], 1).unwrap();
        assert_eq!(clone.uid, seen);
        clone.key = it.chip.key.clone();
        (it.unit().uid, it.chip) = (seen, clone);
        it.attest();
        it.challenge_of(it.station, seen, 5);
    }),
    ("a serial seen before", "CA-0404", |it| {
        it.unit().serial = it.made.1.units[0].serial;
        it.prove();
    }),
    ("a request id seen before", "CA-0401", |it| {
        it.unit().request = it.made.1.units[0].request;
        it.prove();
    }),
];

const SENSOR_ROWS: &[Row] = &[
    ("another attestation key", "CA-0305", |it| {
        it.injected().chip.attestation = SoftKey::generate().unwrap().public().unwrap();
    }),
    ("an altered endorsement", "CA-0305", |it| {
        it.injected().chip.endorsement.0[40] ^= 0x80;
    }),
    ("an altered nonce", "CA-0305", |it| {
        it.injected().nonce.0[31] ^= 1;
    }),
    ("another transport key", "CA-0305", |it| {
        it.injected().ephemeral = SoftKey::generate().unwrap().public().unwrap();
    }),
    ("an altered transport signature", "CA-0305", |it| {
        it.injected().transport.0[1] ^= 1;
    }),
    ("another wrapped key", "CA-0305", |it| {
        it.injected().wrapped.0[0] ^= 1;
    }),
    ("an altered receipt", "CA-0305", |it| {
        it.injected().receipt.0[33] ^= 1;
    }),
    ("a receipt of zeros", "CA-0305", |it| {
        it.injected().receipt.0 = [0; 64];
    }),
    ("another station's receipt", "CA-0305", |it| {
        let (chip, request) = (it.chip.clone(), it.unit().request);
        it.unit().evidence = chip
            .injected(&SoftKey::generate().unwrap(), &request)
            .unwrap();
    }),
    ("a receipt for another request", "CA-0305", |it| {
        let chip = it.chip.clone();
        it.unit().evidence = chip
            .injected(&it.station.receipt, &RequestId([1; 16]))
            .unwrap();
    }),
    ("a key made on the chip", "CA-0211", |it| {
        let chip = it.chip.clone();
        it.unit().evidence = chip.on_chip().unwrap();
    }),
];

#[tokio::test]
async fn a_bad_unit_is_refused_recorded_and_changes_nothing() {
    let floor = Floor::open_with(1_000, |factory| with_stations(factory, &STATIONS[2..]));
    floor.factory.load_grant(SENSORS.grant).unwrap();
    floor.factory.open_lot(SENSORS.grant, SENSORS.lot).unwrap();
    let sensors = Order::under(&floor.factory, SENSORS.grant, SENSORS.lot).unwrap();
    let stations = STATIONS.map(|id| floor.station(id));
    let foreign = Vendor::found(&floor.factory.path("foreign")).unwrap();
    let chip = SoftChip::make(&floor.factory.vendor, 1).unwrap();
    let envelope = stations[0].draft(Purpose::Provision, floor.order, &chip, CAMERAS.first);
    let envelope = envelope.await.unwrap();
    let made = (chip, envelope);
    let first = stations[0].seal(&made.1).unwrap();
    assert!(stations[0].provision(&first).await.unwrap().is_ok());
    let mut register = Register::open(&floor.factory).await.unwrap();
    let mut good = Vec::new();
    let cameras = CAMERA_ROWS
        .iter()
        .map(|row| (row, floor.order, CAMERAS.first));
    // Sensors' stations are the first two; those have made fewer mistakes by then than they may.
    let sensors = SENSOR_ROWS.iter().map(|row| (row, sensors, SENSORS.first));
    for (number, ((name, wanted, spoil), order, serials)) in (2_u32..).zip(sensors.chain(cameras)) {
        let at = usize::try_from(number - 2).unwrap() / (OWN_LEAVES - 2);
        let station = &stations[at];
        let chip = match serials == SENSORS.first {
            true => SoftChip::make_sensor(&floor.factory.vendor, number).unwrap(),
            false => SoftChip::make(&floor.factory.vendor, number).unwrap(),
        };
        let draft = station.draft(
            Purpose::Provision,
            order,
            &chip,
            serials + u64::from(number),
        );
        let envelope = draft.await.unwrap();
        good.push((station, envelope.clone()));
        let mut case = Case {
            floor: &floor,
            station,
            made: &made,
            foreign: &foreign,
            chip,
            envelope,
        };
        spoil(&mut case);
        let sent = station.seal(&case.envelope).unwrap();
        let refused = code(station.provision(&sent).await);
        assert_eq!(refused.as_deref(), Some(*wanted), "{name}");
        assert_recorded::<Envelope>(&mut register, name, wanted, &sent).await;
    }
    for (station, envelope) in good {
        let unit = &envelope.units[0];
        let answer = station
            .provision(&station.seal(&envelope).unwrap())
            .await
            .unwrap();
        assert!(
            answer.is_ok(),
            "{}: {answer:?}: a refusal took something",
            unit.serial
        );
    }
    floor.assert_sound();
}

/// `SubjectPublicKeyInfo` of P-256 up to the point (RFC 5480 §2).
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// Order of the group of P-256 (SP 800-186 §3.2.1.3).
pub(crate) const ORDER: [u8; 32] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xBC, 0xE6,
    0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
];

fn compressed(point: &[u8; 65]) -> Vec<u8> {
    [&[0x02 | (point[64] & 1)], &point[1..33]].concat()
}

fn octets(bytes: &[u8]) -> OctetString {
    OctetString::new(bytes).unwrap()
}

fn serial(text: &str) -> DeviceSerial {
    DeviceSerial::new(text).unwrap()
}

fn uid(bytes: &[u8]) -> ChipUid {
    ChipUid::new(bytes).unwrap()
}
