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

/// `PrintableString` "edwards25519", the other form of the curve that PKCS#11 v3.0 §2.3.5 allows.
const ED25519_CURVE_NAME: &[u8] = b"\x13\x0Cedwards25519";

/// One boolean attribute of a private key, and what is demanded of it whatever the key's use.
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) kind: AttributeType,
    make: fn(bool) -> Attribute,
    demand: Demand,
}

#[derive(Clone, Copy)]
enum Demand {
    /// Asked for when the key is made: true.
    True,
    /// Asked for when the key is made: false.
    False,
    /// The token's own testimony, which nobody can set: true.
    Testified,
    /// A permission: false, or absent, because what a module does not know it cannot have granted.
    NotPermitted,
}

/// What every private key of ours must be: born in the token, never out of it, able to sign and to do nothing else.
pub(crate) const PRIVATE_KEY_FLAGS: [Flag; 12] = [
    Flag::new(
        "CKA_TOKEN",
        AttributeType::Token,
        Attribute::Token,
        Demand::True,
    ),
    Flag::new(
        "CKA_PRIVATE",
        AttributeType::Private,
        Attribute::Private,
        Demand::True,
    ),
    Flag::new(
        "CKA_SENSITIVE",
        AttributeType::Sensitive,
        Attribute::Sensitive,
        Demand::True,
    ),
    Flag::new(
        "CKA_EXTRACTABLE",
        AttributeType::Extractable,
        Attribute::Extractable,
        Demand::False,
    ),
    Flag::new(
        "CKA_ALWAYS_SENSITIVE",
        AttributeType::AlwaysSensitive,
        Attribute::AlwaysSensitive,
        Demand::Testified,
    ),
    Flag::new(
        "CKA_NEVER_EXTRACTABLE",
        AttributeType::NeverExtractable,
        Attribute::NeverExtractable,
        Demand::Testified,
    ),
    Flag::new(
        "CKA_LOCAL",
        AttributeType::Local,
        Attribute::Local,
        Demand::Testified,
    ),
    Flag::new(
        "CKA_SIGN",
        AttributeType::Sign,
        Attribute::Sign,
        Demand::True,
    ),
    Flag::new(
        "CKA_SIGN_RECOVER",
        AttributeType::SignRecover,
        Attribute::SignRecover,
        Demand::NotPermitted,
    ),
    Flag::new(
        "CKA_DECRYPT",
        AttributeType::Decrypt,
        Attribute::Decrypt,
        Demand::NotPermitted,
    ),
    Flag::new(
        "CKA_UNWRAP",
        AttributeType::Unwrap,
        Attribute::Unwrap,
        Demand::NotPermitted,
    ),
    Flag::new(
        "CKA_DERIVE",
        AttributeType::Derive,
        Attribute::Derive,
        Demand::NotPermitted,
    ),
];

impl Flag {
    const fn new(
        name: &'static str,
        kind: AttributeType,
        make: fn(bool) -> Attribute,
        demand: Demand,
    ) -> Self {
        Self {
            name,
            kind,
            make,
            demand,
        }
    }

    const fn demanded(&self) -> bool {
        matches!(self.demand, Demand::True | Demand::Testified)
    }

    /// The attribute as it is asked for when a key is made.
    fn in_template(&self) -> Option<Attribute> {
        (!matches!(self.demand, Demand::Testified)).then(|| (self.make)(self.demanded()))
    }

    fn accepts(&self, found: Option<bool>) -> bool {
        found.map_or(matches!(self.demand, Demand::NotPermitted), |found| {
            found == self.demanded()
        })
    }
}

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
    let mut private: Vec<_> = PRIVATE_KEY_FLAGS
        .iter()
        .filter_map(Flag::in_template)
        .collect();
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
    let point = ec_point(session, public)?;
    let public_key = PublicKey::from_ec_point(usage.algorithm(), &point);
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

/// Objects that match, found while certainly logged in: without a login a token hides its private objects (PKCS#11
/// v2.40 §2.6), which must not be taken for their absence. The login is
/// looked at after the search; that another thread did not log in again in between is seen by the pool.
pub(crate) fn matching(session: &Session, template: &[Attribute]) -> Result<Vec<ObjectHandle>> {
    let found = session.find_objects(template)?;
    match session.get_session_info()?.session_state() {
        SessionState::RwUser | SessionState::RoUser => Ok(found),
        SessionState::RwPublic | SessionState::RoPublic | SessionState::RwSecurityOfficer => {
            Err(VaultError::logged_out())
        }
    }
}

/// `CKA_EC_POINT` of a public key; empty where it has none.
pub(crate) fn ec_point(session: &Session, public: ObjectHandle) -> Result<Vec<u8>> {
    let mut point = Vec::new();
    for attribute in session.get_attributes(public, &[AttributeType::EcPoint])? {
        if let Attribute::EcPoint(value) = attribute {
            point = value;
        }
    }
    Ok(point)
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

/// All keys with this label, private ones first.
pub(crate) fn labelled(session: &Session, label: &str) -> Result<Vec<ObjectHandle>> {
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

pub(crate) fn only(
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

/// Refuses a key, private or secret, unless each flag is what it must be.
pub(crate) fn check_flags(session: &Session, label: &str, private: ObjectHandle) -> Result<()> {
    for flag in &PRIVATE_KEY_FLAGS {
        let found = read_flag(session, private, flag)?;
        if !flag.accepts(found) {
            return Err(VaultError::Attribute {
                label: label.to_owned(),
                attribute: flag.name,
                expected: flag.demanded().to_string(),
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
                attribute.map_or_else(|| "absent".to_owned(), |it| format!("{it:?}"))
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
