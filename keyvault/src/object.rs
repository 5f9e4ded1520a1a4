//! Objects on a token: how keys are made, found and checked.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState};

use crate::error::{Result, VaultError};
use crate::key_use::{Algorithm, KeySpec, KeyUse};
use crate::public_key::PublicKey;

/// OBJECT IDENTIFIER prime256v1 (RFC 5480 §2.1.1.1).
pub(crate) const P256_PARAMS: &[u8] = &[0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];

/// OBJECT IDENTIFIER id-Ed25519 (RFC 8410 §3).
const ED25519_PARAMS: &[u8] = &[0x06, 0x03, 0x2B, 0x65, 0x70];

/// PrintableString "edwards25519", the other form of the curve that PKCS#11 v3.0 §2.3.5 allows.
const ED25519_CURVE_NAME: &[u8] = b"\x13\x0Cedwards25519";

/// One boolean attribute that a private key must have, whatever its use.
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) kind: AttributeType,
    make: fn(bool) -> Attribute,
    value: bool,
    /// Whether it is asked for when a key is made; the others are the token's own testimony.
    in_template: bool,
    /// Whether a token may leave it out: a permission that a module does not know cannot have been granted.
    may_be_absent: bool,
}

/// What every private key of ours must be: born in the token, never out of it, able to sign and to do nothing else.
pub(crate) const PRIVATE_KEY_FLAGS: [Flag; 12] = [
    asked("CKA_TOKEN", AttributeType::Token, Attribute::Token, true),
    asked(
        "CKA_PRIVATE",
        AttributeType::Private,
        Attribute::Private,
        true,
    ),
    asked(
        "CKA_SENSITIVE",
        AttributeType::Sensitive,
        Attribute::Sensitive,
        true,
    ),
    asked(
        "CKA_EXTRACTABLE",
        AttributeType::Extractable,
        Attribute::Extractable,
        false,
    ),
    testified(
        "CKA_ALWAYS_SENSITIVE",
        AttributeType::AlwaysSensitive,
        Attribute::AlwaysSensitive,
    ),
    testified(
        "CKA_NEVER_EXTRACTABLE",
        AttributeType::NeverExtractable,
        Attribute::NeverExtractable,
    ),
    testified("CKA_LOCAL", AttributeType::Local, Attribute::Local),
    asked("CKA_SIGN", AttributeType::Sign, Attribute::Sign, true),
    forbidden(
        "CKA_SIGN_RECOVER",
        AttributeType::SignRecover,
        Attribute::SignRecover,
    ),
    forbidden("CKA_DECRYPT", AttributeType::Decrypt, Attribute::Decrypt),
    forbidden("CKA_UNWRAP", AttributeType::Unwrap, Attribute::Unwrap),
    forbidden("CKA_DERIVE", AttributeType::Derive, Attribute::Derive),
];

/// A key pair found on a token and checked.
pub(crate) struct Found {
    pub(crate) private: ObjectHandle,
    pub(crate) public_key: PublicKey,
}

/// Generates a key pair as its use demands and returns its public key. The label must be free.
pub(crate) fn generate(session: &Session, spec: &KeySpec) -> Result<()> {
    if !labelled(session, spec.label())?.is_empty() {
        return Err(VaultError::AlreadyExists {
            what: "key",
            label: spec.label().to_owned(),
        });
    }
    let (mechanism, params) = match spec.usage().algorithm() {
        Algorithm::P256 => (Mechanism::EccKeyPairGen, P256_PARAMS),
        Algorithm::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, ED25519_PARAMS),
    };
    let name = [
        Attribute::Label(spec.label().into()),
        Attribute::Id(spec.usage().object_id(spec.label()).into()),
    ];
    let mut public = vec![
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(params.to_vec()),
    ];
    public.extend_from_slice(&name);
    let asked = PRIVATE_KEY_FLAGS.iter().filter(|flag| flag.in_template);
    let mut private: Vec<_> = asked.map(|flag| (flag.make)(flag.value)).collect();
    private.extend(name);
    session.generate_key_pair(&mechanism, &public, &private)?;
    Ok(())
}

/// Finds the key pair with this label and refuses it unless it is all that `usage` demands.
pub(crate) fn find(session: &Session, label: &str, usage: KeyUse) -> Result<Found> {
    let private = only(session, ObjectClass::PRIVATE_KEY, "private key", label)?;
    let public = only(session, ObjectClass::PUBLIC_KEY, "public key", label)?;
    check_flags(session, label, private)?;
    for half in [private, public] {
        check_kind(session, label, usage, half)?;
    }
    let point = session.get_attributes(public, &[AttributeType::EcPoint])?;
    let public_key = point.iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(value) => PublicKey::from_ec_point(usage.algorithm(), value),
        _ => None,
    });
    let public_key = public_key.ok_or_else(|| VaultError::Attribute {
        label: label.to_owned(),
        attribute: "CKA_EC_POINT",
        expected: "a public key of the curve".to_owned(),
        found: "none".to_owned(),
    })?;
    Ok(Found {
        private,
        public_key,
    })
}

/// Destroys every object with this label, the private key first.
pub(crate) fn destroy(session: &Session, label: &str) -> Result<()> {
    let objects = labelled(session, label)?;
    if objects.is_empty() {
        return Err(VaultError::NotFound {
            what: "key",
            label: label.to_owned(),
        });
    }
    objects
        .into_iter()
        .try_for_each(|object| Ok(session.destroy_object(object)?))
}

/// Objects that match, of a session that is certainly logged in: without a login a token hides its private objects
/// (PKCS#11 v2.40 §2.6), which must not be taken for their absence.
pub(crate) fn matching(session: &Session, template: &[Attribute]) -> Result<Vec<ObjectHandle>> {
    match session.get_session_info()?.session_state() {
        SessionState::RwUser | SessionState::RoUser => Ok(session.find_objects(template)?),
        SessionState::RwPublic | SessionState::RoPublic | SessionState::RwSecurityOfficer => {
            Err(VaultError::logged_out())
        }
    }
}

/// The value of a flag, or `None` where the token has no such attribute.
pub(crate) fn read_flag(
    session: &Session,
    object: ObjectHandle,
    flag: &Flag,
) -> Result<Option<bool>> {
    let answer = session.get_attributes(object, &[flag.kind])?;
    Ok([true, false]
        .into_iter()
        .find(|value| answer.first() == Some(&(flag.make)(*value))))
}

const fn asked(
    name: &'static str,
    kind: AttributeType,
    make: fn(bool) -> Attribute,
    value: bool,
) -> Flag {
    Flag {
        name,
        kind,
        make,
        value,
        in_template: true,
        may_be_absent: false,
    }
}

const fn testified(name: &'static str, kind: AttributeType, make: fn(bool) -> Attribute) -> Flag {
    Flag {
        name,
        kind,
        make,
        value: true,
        in_template: false,
        may_be_absent: false,
    }
}

const fn forbidden(name: &'static str, kind: AttributeType, make: fn(bool) -> Attribute) -> Flag {
    Flag {
        name,
        kind,
        make,
        value: false,
        in_template: true,
        may_be_absent: true,
    }
}

/// All keys with this label, private ones first.
fn labelled(session: &Session, label: &str) -> Result<Vec<ObjectHandle>> {
    let mut objects = Vec::new();
    for class in [
        ObjectClass::PRIVATE_KEY,
        ObjectClass::PUBLIC_KEY,
        ObjectClass::SECRET_KEY,
    ] {
        objects.extend(matching(session, &with_label(class, label))?);
    }
    Ok(objects)
}

fn only(
    session: &Session,
    class: ObjectClass,
    what: &'static str,
    label: &str,
) -> Result<ObjectHandle> {
    match matching(session, &with_label(class, label))?.as_slice() {
        [one] => Ok(*one),
        [] => Err(VaultError::NotFound {
            what,
            label: label.to_owned(),
        }),
        several => Err(VaultError::Attribute {
            label: label.to_owned(),
            attribute: "CKA_LABEL",
            expected: format!("on one {what}"),
            found: format!("on {}", several.len()),
        }),
    }
}

fn with_label(class: ObjectClass, label: &str) -> [Attribute; 3] {
    [
        Attribute::Token(true),
        Attribute::Class(class),
        Attribute::Label(label.into()),
    ]
}

fn check_flags(session: &Session, label: &str, private: ObjectHandle) -> Result<()> {
    for flag in &PRIVATE_KEY_FLAGS {
        let found = read_flag(session, private, flag)?;
        let right = found.map_or(flag.may_be_absent, |found| found == flag.value);
        if !right {
            return Err(VaultError::Attribute {
                label: label.to_owned(),
                attribute: flag.name,
                expected: flag.value.to_string(),
                found: found.map_or_else(|| "absent".to_owned(), |found| found.to_string()),
            });
        }
    }
    Ok(())
}

/// Checks purpose, key type and curve of one half of a key pair.
fn check_kind(session: &Session, label: &str, usage: KeyUse, half: ObjectHandle) -> Result<()> {
    let (key_type, curves): (_, &[&[u8]]) = match usage.algorithm() {
        Algorithm::P256 => (KeyType::EC, &[P256_PARAMS]),
        Algorithm::Ed25519 => (KeyType::EC_EDWARDS, &[ED25519_PARAMS, ED25519_CURVE_NAME]),
    };
    let curves = curves
        .iter()
        .map(|curve| Attribute::EcParams(curve.to_vec()))
        .collect();
    let id = Attribute::Id(usage.object_id(label).into());
    for (attribute, kind, allowed) in [
        (
            "CKA_KEY_TYPE",
            AttributeType::KeyType,
            vec![Attribute::KeyType(key_type)],
        ),
        ("CKA_EC_PARAMS", AttributeType::EcParams, curves),
        ("CKA_ID", AttributeType::Id, vec![id]),
    ] {
        let answer = session.get_attributes(half, &[kind])?;
        if !answer.first().is_some_and(|found| allowed.contains(found)) {
            let text = |attribute: Option<&Attribute>| {
                attribute.map_or("absent".to_owned(), |it| format!("{it:?}"))
            };
            return Err(VaultError::Attribute {
                label: label.to_owned(),
                attribute,
                expected: format!("that of {}: {}", usage.name(), text(allowed.first())),
                found: text(answer.first()),
            });
        }
    }
    Ok(())
}
