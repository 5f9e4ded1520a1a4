//! The golden certificate, outside checkers, and what happens to every field that is not what it must be.

extern crate std;

use super::build::IssuerKey;
use super::*;
use crate::document::{KeyOriginRule, SubjectAttribute, UidRule, Version1};
use crate::evidence::Grade;
use crate::hash::TbsHash;
use crate::key::{PortableVerifier, VerifyP256 as _};
use crate::text::{Id, PartNumber};
use alloc::string::ToString as _;
use alloc::vec::Vec;
use const_oid::db::rfc4519;
use der::asn1::{ObjectIdentifier, OctetString};
use der::{Decode as _, Encode as _};
use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_ne, proptest};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{format, fs, vec};
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier};
use x509_cert::ext::{Extension, Extensions, ToExtension as _};
use x509_cert::time::{Time, Validity};
use x509_cert::{SubjectPublicKeyInfo, TbsCertificate, name::Name, serial_number::SerialNumber};

/// 2026-11-23T09:30:15.250Z.
const BIRTH: Timestamp = Timestamp(1_795_426_215_250);
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/idevid.der");
const GOLDEN_CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/idevid-ca.der");

fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn public_key(seed: u8) -> P256Key {
    P256Key::from_sec1(
        signing_key(seed)
            .verifying_key()
            .to_sec1_point(false)
            .as_bytes(),
    )
    .unwrap()
}

/// RFC 6979: the same bytes every time.
fn sign(seed: u8, tbs: &[u8]) -> [u8; 64] {
    let signature: Signature = signing_key(seed).sign_prehash(&TbsHash::of(tbs).0).unwrap();
    signature.to_bytes().into()
}

/// A root that signs device certificates itself, so that a chain of two is enough.
struct Root {
    name: Name,
    extensions: Extensions,
}

impl BuilderProfile for Root {
    fn get_issuer(&self, _: &Name) -> Name {
        self.name.clone()
    }
    fn get_subject(&self) -> Name {
        self.name.clone()
    }
    fn build_extensions(
        &self,
        _: spki::SubjectPublicKeyInfoRef<'_>,
        _: spki::SubjectPublicKeyInfoRef<'_>,
        _: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        Ok(self.extensions.clone())
    }
}

fn ca_with(seed: u8, constraints: &BasicConstraints, usage: KeyUsages, end: Time) -> Vec<u8> {
    let name = name::build(&[(rfc4519::COMMON_NAME, "Kawada Issuing CA".into())]).unwrap();
    let key_id = SubjectKeyIdentifier(OctetString::new([seed; 20]).unwrap());
    let extensions = vec![
        constraints.to_extension(&name, &[]).unwrap(),
        (&KeyUsage(usage.into())).to_extension(&name, &[]).unwrap(),
        (&key_id).to_extension(&name, &[]).unwrap(),
    ];
    let validity = Validity::new("2026-01-01T00:00:00Z".parse().unwrap(), end);
    let spki = SubjectPublicKeyInfo::from_der(&public_key(seed).spki()).unwrap();
    let serial = SerialNumber::new(&[0x51; 20]).unwrap();
    let mut builder =
        CertificateBuilder::new(Root { name, extensions }, serial, validity, spki).unwrap();
    let tbs = builder.finalize(&IssuerKey(public_key(seed))).unwrap();
    assemble(&tbs, &sign(seed, &tbs)).unwrap()
}

fn ca(seed: u8) -> Vec<u8> {
    ca_with(
        seed,
        &BasicConstraints {
            ca: true,
            path_len_constraint: Some(0),
        },
        KeyUsages::KeyCertSign,
        Time::INFINITY,
    )
}

fn attribute(oid: ObjectIdentifier, template: &str) -> SubjectAttribute {
    SubjectAttribute {
        oid,
        template: template.into(),
    }
}

/// Everything that [`Facts`] borrows, to be changed one by one.
#[derive(Clone)]
struct Unit {
    issuer: Issuer,
    profile: Profile,
    serial: DeviceSerial,
    uid: ChipUid,
    key: P256Key,
    certificate_serial: CertificateSerial,
    not_before: Timestamp,
}

impl Unit {
    fn new() -> Self {
        Self {
            issuer: Issuer::from_certificate(&ca(7)).unwrap(),
            profile: profile(),
            serial: DeviceSerial::new("26480001000").unwrap(),
            uid: ChipUid::new(&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]).unwrap(),
            key: public_key(9),
            certificate_serial: CertificateSerial::shaped([0xee; 20]),
            not_before: BIRTH,
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            profile: &self.profile,
            serial: &self.serial,
            uid: &self.uid,
            key: &self.key,
            certificate_serial: &self.certificate_serial,
            not_before: self.not_before,
        }
    }

    fn tbs(&self) -> Vec<u8> {
        build_tbs(&self.issuer, &self.facts()).unwrap()
    }

    fn certificate(&self) -> Vec<u8> {
        let tbs = self.tbs();
        assemble(&tbs, &sign(7, &tbs)).unwrap()
    }

    fn check(&self, tbs: &[u8]) -> Result<(), IdevidError> {
        parse_tbs(tbs)?.check(&self.issuer, &self.facts())
    }
}

fn profile() -> Profile {
    Profile {
        version: Version1,
        product: Id::new("kx-200").unwrap(),
        maker: Id::new("kawada").unwrap(),
        subject: vec![
            attribute(rfc4519::COUNTRY_NAME, "JP"),
            attribute(rfc4519::ORGANIZATION_NAME, "川田制御"),
            attribute(rfc4519::COMMON_NAME, "KX-200 {serial}"),
            attribute(rfc4519::SERIAL_NUMBER, "{serial}"),
        ],
        hardware_type: ObjectIdentifier::new_unwrap("1.3.6.1.4.1.32473.1.200"),
        crl: "http://pki.kawada.example/crl/issuing-1.crl".into(),
        instance_uri: Some("https://id.kawada.example/kx-200/{serial}".into()),
        serial_pattern: "[0-9]{11}".into(),
        part: PartNumber::new("SE-100").unwrap(),
        uid: UidRule {
            length: 8,
            prefix: OctetString::new([]).unwrap(),
        },
        origin: KeyOriginRule::OnChip,
        grade: Grade::ChipAttested,
        vendors: vec![public_key(3)],
    }
}

fn refused(field: Field) -> Result<(), IdevidError> {
    Err(IdevidError::Field(field))
}

#[test]
fn the_certificate_is_the_golden_one() {
    assert_eq!(ca(7), fs::read(GOLDEN_CA).unwrap());
    assert_eq!(Unit::new().certificate(), fs::read(GOLDEN).unwrap());
}

#[test]
#[ignore = "writes the goldens anew: cargo test -p identity writes_the_golden -- --ignored"]
fn writes_the_golden_certificates() {
    fs::write(GOLDEN_CA, ca(7)).unwrap();
    fs::write(GOLDEN, Unit::new().certificate()).unwrap();
}

#[test]
fn what_was_built_is_read_back() {
    let unit = Unit::new();
    let parsed = parse_certificate(&unit.certificate()).unwrap();
    assert_eq!(unit.check(&unit.tbs()), Ok(()));
    assert_eq!(parsed.certificate_serial, unit.certificate_serial);
    assert_eq!(parsed.issuer, *unit.issuer.name());
    assert_eq!(parsed.not_before, Timestamp(1_795_426_215_000));
    assert_eq!(parsed.not_after, NOT_AFTER);
    assert_eq!(
        parsed.subject[1],
        (rfc4519::ORGANIZATION_NAME, "川田制御".into())
    );
    assert_eq!(parsed.subject[2].1, "KX-200 26480001000");
    assert_eq!(parsed.device_serial, unit.serial);
    assert_eq!(parsed.key, unit.key);
    assert_eq!(parsed.issuer_key_id, [7; 20]);
    assert_eq!(parsed.hardware_type, unit.profile.hardware_type);
    assert_eq!(parsed.uid, unit.uid);
    assert_eq!(
        parsed.instance_uri.as_deref(),
        Some("https://id.kawada.example/kx-200/26480001000")
    );
    assert_eq!(parsed.crl, unit.profile.crl);
}

#[test]
fn assembling_and_splitting_are_inverse() {
    let (unit, certificate) = (Unit::new(), Unit::new().certificate());
    let (tbs, signature) = split(&certificate).unwrap();
    assert_eq!(tbs, unit.tbs());
    assert_eq!(assemble(&tbs, &signature).unwrap(), certificate);
    assert!(PortableVerifier.verify(unit.issuer.key(), &TbsHash::of(&tbs).0, &signature));
    assert_eq!(assemble(&tbs, &[0; 64]), Err(IdevidError::Signature));
    let trailing = [certificate.as_slice(), &[0]].concat();
    assert!(matches!(split(&trailing), Err(IdevidError::Der(_))));
    assert_eq!(
        split(&[0x30; MAX_CERTIFICATE + 1]),
        Err(IdevidError::TooLong {
            got: 4097,
            max: 4096
        })
    );
}

#[test]
fn every_fact_that_differs_is_named() {
    let built = Unit::new().tbs();
    type Change = fn(&mut Unit);
    let changes: [(Field, Change); 13] = [
        (Field::SerialNumber, |unit| {
            unit.certificate_serial = CertificateSerial::shaped([1; 20]);
        }),
        (Field::Issuer, |unit| unit.issuer.name = Name::default()),
        (Field::NotBefore, |unit| {
            unit.not_before = BIRTH.plus_millis(1000);
        }),
        (Field::SubjectLength, |unit| {
            unit.profile.subject.truncate(3);
        }),
        (Field::SubjectAttribute(0), |unit| {
            unit.profile.subject[0].template = "DE".into();
        }),
        (Field::SubjectAttribute(1), |unit| {
            unit.profile.subject[1].oid = rfc4519::ORGANIZATIONAL_UNIT_NAME;
        }),
        (Field::SubjectAttribute(2), |unit| {
            unit.serial = DeviceSerial::new("26480001001").unwrap();
        }),
        (Field::SubjectPublicKey, |unit| unit.key = public_key(10)),
        (Field::AuthorityKeyIdentifier, |unit| {
            unit.issuer.key_id = vec![8; 20];
        }),
        (Field::HardwareType, |unit| {
            unit.profile.hardware_type = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.32473.1.201");
        }),
        (Field::ChipUid, |unit| {
            unit.uid = ChipUid::new(&[1; 8]).unwrap();
        }),
        (Field::InstanceUri, |unit| unit.profile.instance_uri = None),
        (Field::CrlDistributionPoint, |unit| {
            unit.profile.crl = "http://pki.kawada.example/crl/2.crl".into();
        }),
    ];
    for (field, change) in changes {
        let mut unit = Unit::new();
        change(&mut unit);
        assert_eq!(unit.check(&built), refused(field), "{field}");
    }
}

/// The extensions of a good certificate, changed, in a `TBSCertificate` that is canonical all the same.
fn with_extensions(change: impl FnOnce(&mut Vec<Extension>)) -> Vec<u8> {
    let tbs = Unit::new().tbs();
    let mut extensions = TbsCertificate::from_der(&tbs)
        .unwrap()
        .extensions()
        .unwrap()
        .clone();
    let tail = explicit(3, &extensions);
    let head = tbs.strip_suffix(tail.as_slice()).unwrap();
    change(&mut extensions);
    let body = [&head[4..], &explicit(3, &extensions)].concat();
    [
        &[0x30, 0x82],
        u16::try_from(body.len()).unwrap().to_be_bytes().as_slice(),
        &body,
    ]
    .concat()
}

fn explicit(number: u8, extensions: &Extensions) -> Vec<u8> {
    let inner = extensions.to_der().unwrap();
    let length = der::Length::try_from(inner.len())
        .unwrap()
        .to_der()
        .unwrap();
    [&[0xa0 | number], length.as_slice(), &inner].concat()
}

#[test]
fn only_the_four_extensions_in_their_order_pass() {
    let unit = Unit::new();
    let extended_key_usage = Extension {
        extn_id: const_oid::db::rfc5280::ID_CE_EXT_KEY_USAGE,
        critical: false,
        extn_value: OctetString::new([0x30, 0x0a, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 2]).unwrap(),
    };
    assert_eq!(unit.check(&with_extensions(|_| ())), Ok(()));
    assert_eq!(
        unit.check(&with_extensions(|e| e.push(extended_key_usage))),
        refused(Field::Extensions)
    );
    assert_eq!(
        unit.check(&with_extensions(|e| e.truncate(3))),
        refused(Field::Extensions)
    );
    assert_eq!(
        unit.check(&with_extensions(|e| e.swap(0, 1))),
        refused(Field::Extensions)
    );
    assert_eq!(
        unit.check(&with_extensions(|e| e[1].critical = false)),
        refused(Field::Extensions)
    );
    assert_eq!(
        unit.check(&with_extensions(|e| e[2].critical = true)),
        refused(Field::Extensions)
    );
    let key_cert_sign = OctetString::new([0x03, 0x02, 0x02, 0x84]).unwrap();
    assert_eq!(
        unit.check(&with_extensions(|e| e[1].extn_value = key_cert_sign)),
        refused(Field::KeyUsage)
    );
    let no_names = OctetString::new([0x30, 0x00]).unwrap();
    assert_eq!(
        unit.check(&with_extensions(|e| e[2].extn_value = no_names)),
        refused(Field::SubjectAltName)
    );
}

#[test]
fn no_flipped_bit_passes() {
    let unit = Unit::new();
    let mut tbs = unit.tbs();
    for bit in 0..tbs.len() * 8 {
        tbs[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(unit.check(&tbs), Ok(()), "bit {bit}");
        tbs[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn dates_turn_to_generalized_time_in_2050() {
    let last_of_2049 = Timestamp(2_524_607_999_999);
    for (not_before, encoded) in [
        (last_of_2049, b"\x17\x0d491231235959Z".as_slice()),
        (last_of_2049.plus_millis(1), b"\x18\x0f20500101000000Z"),
    ] {
        let unit = Unit {
            not_before,
            ..Unit::new()
        };
        let tbs = unit.tbs();
        let dates = [encoded, b"\x18\x0f99991231235959Z"].concat();
        assert!(
            tbs.windows(dates.len()).any(|window| window == dates),
            "{not_before:?}"
        );
        assert_eq!(unit.check(&tbs), Ok(()));
    }
    let never = Unit {
        not_before: NOT_AFTER.plus_millis(1000),
        ..Unit::new()
    };
    assert_eq!(
        build_tbs(&never.issuer, &never.facts()),
        Err(IdevidError::Field(Field::NotBefore))
    );
}

#[test]
fn what_a_certificate_cannot_hold_is_not_built() {
    type Change = fn(&mut Unit);
    let changes: [(Field, Change); 6] = [
        (Field::SubjectAttribute(0), |unit| {
            unit.profile.subject[0].template = "JPN".into();
        }),
        (Field::SubjectAttribute(2), |unit| {
            unit.profile.subject[2].template = "x".repeat(65);
        }),
        (Field::SubjectAttribute(1), |unit| {
            unit.profile.subject[1].oid = rfc4519::DOMAIN_COMPONENT;
        }),
        (Field::HardwareType, |unit| {
            unit.profile.hardware_type = ObjectIdentifier::new_unwrap("2.23.133.1.2");
        }),
        (Field::InstanceUri, |unit| {
            unit.serial = DeviceSerial::new("26 480").unwrap();
        }),
        (Field::CrlDistributionPoint, |unit| {
            unit.profile.crl = "pki.kawada.example".into();
        }),
    ];
    for (field, change) in changes {
        let mut unit = Unit::new();
        change(&mut unit);
        assert_eq!(
            build_tbs(&unit.issuer, &unit.facts()),
            Err(IdevidError::Field(field)),
            "{field}"
        );
    }
    let mut long = Unit::new();
    long.profile.crl = format!("http://{}", "x".repeat(4000));
    assert!(matches!(
        build_tbs(&long.issuer, &long.facts()),
        Err(IdevidError::TooLong { .. })
    ));
}

#[test]
fn an_issuer_is_a_lasting_ca() {
    let (yes, no) = (
        BasicConstraints {
            ca: true,
            path_len_constraint: None,
        },
        BasicConstraints {
            ca: false,
            path_len_constraint: None,
        },
    );
    let soon: Time = "2030-01-01T00:00:00Z".parse().unwrap();
    for certificate in [
        ca_with(7, &no, KeyUsages::KeyCertSign, Time::INFINITY),
        ca_with(7, &yes, KeyUsages::CRLSign, Time::INFINITY),
        ca_with(7, &yes, KeyUsages::KeyCertSign, soon),
        Unit::new().certificate(),
    ] {
        assert!(matches!(
            Issuer::from_certificate(&certificate),
            Err(IdevidError::Issuer(_))
        ));
    }
}

#[test]
fn a_certificate_serial_is_positive_and_twenty_octets() {
    assert_eq!(
        CertificateSerial::shaped([0; 20]).as_bytes()[..2],
        [0x40, 0]
    );
    assert_eq!(
        CertificateSerial::shaped([0xff; 20]).as_bytes()[..2],
        [0x7f, 0xff]
    );
    assert_eq!(
        CertificateSerial::from_octets(&[0x3f; 20]),
        Err(IdevidError::Field(Field::SerialNumber))
    );
    assert_eq!(
        CertificateSerial::from_octets(&[0x40; 19]),
        Err(IdevidError::Field(Field::SerialNumber))
    );
    assert_eq!(
        CertificateSerial::shaped([0x41; 20]).to_string(),
        "41".repeat(20)
    );
}

#[test]
fn openssl_accepts_the_certificate() {
    let directory = Directory::new();
    let (ca_pem, device_pem) = (
        directory.pem("ca", &ca(7)),
        directory.pem("device", &Unit::new().certificate()),
    );
    let verified = openssl(&[
        "verify",
        "-x509_strict",
        "-check_ss_sig",
        "-CAfile",
        &ca_pem,
        &device_pem,
    ]);
    assert!(verified.contains("OK"), "{verified}");
    let shown = openssl(&[
        "x509",
        "-in",
        &device_pem,
        "-noout",
        "-text",
        "-nameopt",
        "utf8",
    ]);
    for line in [
        "Not After : Dec 31 23:59:59 9999 GMT",
        "X509v3 Key Usage: critical",
        "othername: 1.3.6.1.5.5.7.8.4",
        "URI:https://id.kawada.example/kx-200/26480001000",
        "URI:http://pki.kawada.example/crl/issuing-1.crl",
        "O=川田制御",
    ] {
        assert!(shown.contains(line), "{line} is missing in\n{shown}");
    }
    assert!(!shown.contains("Basic Constraints") && !shown.contains("Subject Key Identifier"));
    let other = directory.pem("other", &ca(8));
    assert!(!openssl(&["verify", "-x509_strict", "-CAfile", &other, &device_pem]).contains("OK"));
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .expect("openssl is installed");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// A directory that goes away with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("koseki-idevid-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn pem(&self, name: &str, der: &[u8]) -> String {
        let (der_path, pem_path) = (
            self.0.join(format!("{name}.der")),
            self.0.join(format!("{name}.pem")),
        );
        fs::write(&der_path, der).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_string();
        openssl(&[
            "x509",
            "-inform",
            "DER",
            "-in",
            &text(&der_path),
            "-out",
            &text(&pem_path),
        ]);
        text(&pem_path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn no_bytes_make_a_reader_panic(bytes: Vec<u8>) {
        prop_assert!(parse_tbs(&bytes).is_err());
        prop_assert!(parse_certificate(&bytes).is_err());
        prop_assert!(Issuer::from_certificate(&bytes).is_err());
    }

    #[test]
    fn no_damage_to_a_certificate_passes(at in 0_usize..600, byte: u8, cut in any::<bool>()) {
        let unit = Unit::new();
        let good = unit.tbs();
        let mut tbs = good.clone();
        let at = at % tbs.len();
        if cut { tbs.truncate(at) } else { tbs[at] = byte }
        if tbs != good {
            prop_assert_ne!(unit.check(&tbs), Ok(()));
        }
    }
}
