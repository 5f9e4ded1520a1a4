use super::error::{PolicyError, PolicyFault};
use super::maker::{Maker, load_maker};
use super::source::Source;
use super::template::Filling;
use super::value::{Names, NamesShape, Text};
use der::asn1::{ObjectIdentifier, OctetString};
use identity::document::{
    Document as _, KeyOriginRule, Profile, SubjectAttribute, UidRule, Version1,
};
use identity::evidence::Grade;
use identity::serial_pattern::SerialPattern;
use identity::{Id, P256Key, PartNumber};
use serde::Deserialize;
use std::path::Path;
use toml::Spanned;

/// Attribute types that a subject may hold, by their short names (RFC 4519 §2).
const ATTRIBUTES: [(&str, ObjectIdentifier); 4] = [
    ("O", ObjectIdentifier::new_unwrap("2.5.4.10")),
    ("OU", ObjectIdentifier::new_unwrap("2.5.4.11")),
    ("CN", ObjectIdentifier::new_unwrap("2.5.4.3")),
    ("serialNumber", ObjectIdentifier::new_unwrap("2.5.4.5")),
];
/// Arc of private enterprise numbers (RFC 9371).
const ENTERPRISES: &str = "1.3.6.1.4.1";
/// Most characters of one subject attribute (RFC 5280 appendix A).
const MAX_ATTRIBUTE: usize = 64;
/// Longest URI in bytes.
const MAX_URI: usize = 256;

/// A product with what its certificates hold.
#[derive(Clone, Debug)]
pub struct Product {
    /// Names for people.
    pub name: Names,
    /// The maker.
    pub maker: Maker,
    /// The document that grants name by hash.
    pub profile: Profile,
    /// The profile's serial pattern, compiled.
    pub serials: SerialPattern,
}

/// Loads `products/<id>.toml` of a policy directory with its maker and the vendor keys it names.
///
/// # Errors
/// [`PolicyError`] names the file, place and fault: of the product, its maker or a vendor's key.
pub fn load_product(dir: &Path, id: &Id) -> Result<Product, PolicyError> {
    let source = Source::read(&dir.join("products").join(format!("{id}.toml")))?;
    let shape: Shape = source.parse()?;
    let id = source.named(&shape.id)?;
    let maker = load_maker(dir, &shape.maker.0)?;
    let serials = SerialPattern::new(shape.serial.pattern.as_ref())
        .map_err(|error| source.refuse(shape.serial.pattern.span(), error.into()))?;
    let vendors = source.distinct(&shape.chip.vendors)?;
    let vendors = vendors
        .iter()
        .map(|vendor| vendor_key(dir, vendor))
        .collect::<Result<_, _>>()?;
    let filling = Filling {
        maker_name_en: maker.name.en.as_str(),
        product_id: id.as_str(),
    };
    let profile = Profile {
        version: Version1,
        product: id,
        maker: maker.id,
        subject: subject(&source, &shape.certificate.subject, &filling)?,
        hardware_type: hardware_type(&source, &shape.certificate.hw_type, &maker)?,
        crl: crl(&source, shape.certificate.crl)?,
        instance_uri: shape
            .certificate
            .instance_uri
            .map(|uri| instance_uri(&source, &uri, &filling))
            .transpose()?,
        serial_pattern: serials.as_str().to_owned(),
        part: shape.chip.part.0,
        uid: uid_rule(&source, &shape.chip.uid)?,
        origin: shape.chip.origin.into(),
        grade: grade(&source, shape.chip.origin, &shape.chip.evidence)?,
        vendors,
    };
    profile
        .check()
        .map_err(|error| source.refuse_whole(error.into()))?;
    Ok(Product {
        name: shape.name.into(),
        maker,
        profile,
        serials,
    })
}

/// Short name of a subject attribute.
pub(super) fn attribute_name(oid: &ObjectIdentifier) -> Option<&'static str> {
    ATTRIBUTES
        .iter()
        .find(|(_, known)| known == oid)
        .map(|(short, _)| *short)
}

#[derive(Deserialize)]
enum Schema {
    #[serde(rename = "product/v1")]
    V1,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    #[serde(rename = "schema")]
    _schema: Schema,
    id: Spanned<Text<Id>>,
    maker: Text<Id>,
    name: NamesShape,
    chip: ChipShape,
    serial: SerialShape,
    certificate: CertificateShape,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChipShape {
    part: Text<PartNumber>,
    uid: UidShape,
    origin: OriginShape,
    evidence: Spanned<GradeShape>,
    vendors: Spanned<Vec<Spanned<Text<Id>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UidShape {
    bytes: Spanned<u8>,
    prefix: Spanned<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OriginShape {
    OnChip,
    Injected,
}

impl From<OriginShape> for KeyOriginRule {
    fn from(shape: OriginShape) -> Self {
        match shape {
            OriginShape::OnChip => Self::OnChip,
            OriginShape::Injected => Self::Injected,
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum GradeShape {
    StationAsserted,
    HsmAttested,
    ChipAttested,
}

impl From<GradeShape> for Grade {
    fn from(shape: GradeShape) -> Self {
        match shape {
            GradeShape::StationAsserted => Self::StationAsserted,
            GradeShape::HsmAttested => Self::HsmAttested,
            GradeShape::ChipAttested => Self::ChipAttested,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SerialShape {
    pattern: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateShape {
    subject: Spanned<Vec<Spanned<String>>>,
    hw_type: Spanned<String>,
    crl: Spanned<String>,
    instance_uri: Option<Spanned<String>>,
}

fn subject(
    source: &Source,
    lines: &Spanned<Vec<Spanned<String>>>,
    filling: &Filling<'_>,
) -> Result<Vec<SubjectAttribute>, PolicyError> {
    let rule = "the subject holds serialNumber={serial} once (IEEE 802.1AR §8.6)";
    let serials = lines
        .as_ref()
        .iter()
        .filter(|line| line.as_ref() == "serialNumber={serial}")
        .count();
    source.require(serials == 1, lines.span(), rule)?;
    lines
        .as_ref()
        .iter()
        .map(|line| attribute(source, line, filling))
        .collect()
}

fn attribute(
    source: &Source,
    line: &Spanned<String>,
    filling: &Filling<'_>,
) -> Result<SubjectAttribute, PolicyError> {
    let refuse = |rule| source.refuse(line.span(), PolicyFault::Rule(rule));
    let (name, template) = line
        .as_ref()
        .split_once('=')
        .ok_or_else(|| refuse("write an attribute as O=value"))?;
    let known = ATTRIBUTES.iter().find(|(short, _)| *short == name);
    let (short, oid) =
        known.ok_or_else(|| refuse("only O, OU, CN and serialNumber can stand in a subject"))?;
    source.require(
        *short != "serialNumber" || template == "{serial}",
        line.span(),
        "serialNumber is {serial}, nothing else",
    )?;
    let template = filling.fill(template).map_err(refuse)?;
    // The shortest serial has one character; a longer one is checked when the certificate is built.
    let shortest = template
        .replace("{serial}", "0")
        .replace("{uid}", "00")
        .chars()
        .count();
    source.require(
        (1..=MAX_ATTRIBUTE).contains(&shortest),
        line.span(),
        "an attribute has 1 to 64 characters",
    )?;
    Ok(SubjectAttribute {
        oid: *oid,
        template,
    })
}

fn hardware_type(
    source: &Source,
    written: &Spanned<String>,
    maker: &Maker,
) -> Result<ObjectIdentifier, PolicyError> {
    let below = format!("{ENTERPRISES}.{}.", maker.enterprise_number);
    let rule = "hw_type lies below the maker's enterprise number, as 1.3.6.1.4.1.<enterprise_number>.1.2 does";
    source.require(written.as_ref().starts_with(&below), written.span(), rule)?;
    let oid = ObjectIdentifier::new(written.as_ref()).ok();
    oid.ok_or_else(|| {
        source.refuse(
            written.span(),
            PolicyFault::Rule("hw_type is an object identifier in dotted numbers"),
        )
    })
}

/// Plain http: the list is signed itself, and https would need a certificate check to do a certificate check
/// (RFC 5280 §8).
fn crl(source: &Source, written: Spanned<String>) -> Result<String, PolicyError> {
    let uri = written.as_ref();
    source.require(
        is_uri(uri) && !uri.contains(['{', '}']),
        written.span(),
        "crl is an ASCII URI of at most 256 bytes",
    )?;
    let host = uri
        .strip_prefix("http://")
        .filter(|rest| !rest.is_empty() && !rest.starts_with('/'));
    source.require(
        host.is_some(),
        written.span(),
        "crl begins with http:// and a host",
    )?;
    Ok(written.into_inner())
}

fn instance_uri(
    source: &Source,
    written: &Spanned<String>,
    filling: &Filling<'_>,
) -> Result<String, PolicyError> {
    let uri = filling
        .fill(written.as_ref())
        .map_err(|rule| source.refuse(written.span(), PolicyFault::Rule(rule)))?;
    source.require(
        is_uri(&uri),
        written.span(),
        "instance_uri is ASCII without blanks, at most 256 bytes",
    )?;
    source.require(
        uri.contains("{serial}"),
        written.span(),
        "instance_uri names one device: it needs {serial}",
    )?;
    Ok(uri)
}

fn is_uri(text: &str) -> bool {
    text.len() <= MAX_URI && text.contains(':') && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn uid_rule(source: &Source, shape: &UidShape) -> Result<UidRule, PolicyError> {
    let length = *shape.bytes.as_ref();
    source.require(
        (1..=32).contains(&length),
        shape.bytes.span(),
        "a chip's UID has 1 to 32 bytes",
    )?;
    let refuse = |rule| source.refuse(shape.prefix.span(), PolicyFault::Rule(rule));
    let prefix = hex::decode(shape.prefix.as_ref())
        .ok()
        .ok_or_else(|| refuse("prefix is whole bytes in hexadecimal"))?;
    source.require(
        prefix.len() <= usize::from(length),
        shape.prefix.span(),
        "prefix is not longer than the UID",
    )?;
    let prefix = OctetString::new(prefix)
        .ok()
        .ok_or_else(|| refuse("prefix is too long"))?;
    Ok(UidRule { length, prefix })
}

/// An injected key was made outside the chip, so no chip can attest its making: such a profile would refuse all.
fn grade(
    source: &Source,
    origin: OriginShape,
    evidence: &Spanned<GradeShape>,
) -> Result<Grade, PolicyError> {
    let grade = Grade::from(*evidence.as_ref());
    let possible = origin == OriginShape::OnChip || grade < Grade::ChipAttested;
    source.require(
        possible,
        evidence.span(),
        "no chip attests the making of an injected key: ask for a lower grade",
    )?;
    Ok(grade)
}

/// `vendors/<id>.pem`: one P-256 public key as PEM `PUBLIC KEY` (RFC 7468 §13).
fn vendor_key(dir: &Path, vendor: &Id) -> Result<P256Key, PolicyError> {
    let source = Source::read(&dir.join("vendors").join(format!("{vendor}.pem")))?;
    let (label, der) = der::pem::decode_vec(source.text().as_bytes())
        .map_err(|error| source.refuse_whole(PolicyFault::Pem(error)))?;
    if label != "PUBLIC KEY" {
        return Err(
            source.refuse_whole(PolicyFault::Pem(der::pem::Error::UnexpectedTypeLabel {
                expected: "PUBLIC KEY",
            })),
        );
    }
    P256Key::from_spki(&der).map_err(|error| source.refuse_whole(error.into()))
}

#[cfg(test)]
mod tests {
    use super::super::{PatternError, sample};
    use super::*;

    const FILE: &str = "products/md-cam2.toml";

    fn refused_in(file: &str, from: &str, to: &str) -> PolicyError {
        let copy = sample::altered(file, from, to);
        load_product(copy.path(), &sample::id("md-cam2")).unwrap_err()
    }

    #[test]
    fn both_sample_products_load_and_fill_their_templates() {
        let camera = load_product(&sample::dir(), &sample::id("md-cam2")).unwrap();
        assert_eq!(
            (camera.profile.origin, camera.profile.grade),
            (KeyOriginRule::OnChip, Grade::ChipAttested)
        );
        let subject: Vec<&str> = camera
            .profile
            .subject
            .iter()
            .map(|attribute| attribute.template.as_str())
            .collect();
        assert_eq!(
            subject,
            [
                "Mihon Denki Co., Ltd.",
                "md-cam2",
                "{serial}",
                "md-cam2 {serial}"
            ]
        );
        assert_eq!(
            Profile::from_bytes(&camera.profile.to_bytes()).unwrap(),
            camera.profile
        );
        let sensor = load_product(&sample::dir(), &sample::id("md-tmp1")).unwrap();
        assert_eq!(
            (sensor.profile.origin, sensor.profile.grade),
            (KeyOriginRule::Injected, Grade::StationAsserted)
        );
        assert_eq!(
            (sensor.profile.uid.length, sensor.profile.instance_uri),
            (12, None)
        );
    }

    const FAULTS: &[(&str, &str, &str)] = &[
        ("bytes = 9", "bytes = 0", "chip.uid.bytes: "),
        ("bytes = 9", "bytes = 33", "chip.uid.bytes: "),
        (
            "bytes = 9",
            "bytes = 1",
            "chip.uid.prefix: prefix is not longer",
        ),
        (
            "\"0123\"",
            "\"012\"",
            "chip.uid.prefix: prefix is whole bytes",
        ),
        (
            "\"on-chip\"",
            "\"injected\"",
            "chip.evidence: no chip attests",
        ),
        (
            "\"chip-attested\"",
            "\"trusted\"",
            "chip.evidence: unknown variant",
        ),
        (
            "\"serialNumber={serial}\", ",
            "",
            "certificate.subject: the subject holds",
        ),
        (
            "\"OU={product.id}\"",
            "\"OU={product}\"",
            "certificate.subject[1]: only {maker.name.en}",
        ),
        (
            "\"OU={product.id}\"",
            "\"L=Ota\"",
            "certificate.subject[1]: only O, OU, CN",
        ),
        (
            ".32473.1.2",
            ".32474.1.2",
            "certificate.hw_type: hw_type lies below",
        ),
        (
            ".32473.1.2",
            ".32473.x",
            "certificate.hw_type: hw_type is an object identifier",
        ),
        ("http://crl", "https://crl", "certificate.crl: "),
        (
            ":{product.id}:{serial}",
            "cam2",
            "certificate.instance_uri: instance_uri names one device",
        ),
        (
            "vendors = [\"sim-chips\"]",
            "vendors = []",
            "chip.vendors: at least one",
        ),
        (
            "[serial]",
            "[serial]\nmeaning = \"YYWW\"",
            "serial.meaning: unknown field",
        ),
    ];

    #[test]
    fn faults_point_at_their_place() {
        for (from, to, expected) in FAULTS {
            let error = refused_in(FILE, from, to).to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }

    #[test]
    fn a_serial_pattern_that_explodes_is_refused_at_its_place() {
        let error = refused_in(
            FILE,
            "'^[0-9]{2}[0-5][0-9][0-9]{7}$'",
            "'((a{100}){100}){100}'",
        );
        assert!(
            matches!(*error.fault, PolicyFault::Pattern(PatternError::TooLarge)),
            "{error}"
        );
        assert_eq!(error.place.unwrap().key.unwrap(), "serial.pattern");
    }

    #[test]
    fn a_vendor_file_holds_one_p256_public_key() {
        let file = "vendors/sim-chips.pem";
        let refused = |from: &str, to: &str| *refused_in(file, from, to).fault;
        assert!(matches!(
            refused("PUBLIC KEY", "CERTIFICATE"),
            PolicyFault::Pem(_)
        ));
        assert!(matches!(
            refused("-----BEGIN", "----BEGIN"),
            PolicyFault::Pem(_)
        ));
        assert!(matches!(
            refused("MFkwEwYHKoZIzj0CAQ", "MFkwEwYHKoZIzj0CAR"),
            PolicyFault::Key(_)
        ));
    }
}
