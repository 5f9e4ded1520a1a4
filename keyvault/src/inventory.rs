//! What is on a token.

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use crate::error::Result;
use crate::key_use::{Algorithm, KeyUse};
use crate::object::{self, Flag, PRIVATE_KEY_FLAGS};
use crate::public_key::PublicKey;

/// One private key of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySummary {
    /// `CKA_LABEL`; what is not UTF-8 is replaced.
    pub label: String,
    /// `CKA_ID`.
    pub id: Vec<u8>,
    /// The use whose [`KeyUse::object_id`] this is; `None` for a key that was not made by us.
    pub usage: Option<KeyUse>,
    /// The public half, if the token holds it beside the private key and it is of a kind known here.
    pub public_key: Option<PublicKey>,
    /// The attributes that every use demands, as the token answers them.
    pub attributes: Vec<AttributeValue>,
}

/// A boolean attribute of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributeValue {
    /// PKCS#11 name, for example `CKA_EXTRACTABLE`.
    pub name: &'static str,
    /// Its value; `None` if the token has no such attribute.
    pub value: Option<bool>,
}

impl KeySummary {
    /// SHA-256 of the `SubjectPublicKeyInfo`, if the public key is known.
    #[must_use]
    pub fn spki_sha256(&self) -> Option<[u8; 32]> {
        self.public_key.map(|key| key.spki_sha256())
    }
}

pub(crate) fn list(session: &Session) -> Result<Vec<KeySummary>> {
    let private = [
        Attribute::Token(true),
        Attribute::Class(ObjectClass::PRIVATE_KEY),
    ];
    let found = object::matching(session, &private)?;
    let mut keys = found
        .into_iter()
        .map(|key| summary(session, key))
        .collect::<Result<Vec<_>>>()?;
    keys.sort_by(|a, b| (&a.label, &a.id).cmp(&(&b.label, &b.id)));
    Ok(keys)
}

fn summary(session: &Session, private: ObjectHandle) -> Result<KeySummary> {
    let (mut label, mut id) = (Vec::new(), Vec::new());
    for attribute in session.get_attributes(private, &[AttributeType::Label, AttributeType::Id])? {
        if let Attribute::Label(value) = attribute {
            label = value;
        } else if let Attribute::Id(value) = attribute {
            id = value;
        }
    }
    let public_key = public_half(session, &label, &id)?;
    let label = String::from_utf8_lossy(&label).into_owned();
    let read = |flag: &Flag| {
        Ok(AttributeValue {
            name: flag.name,
            value: object::read_flag(session, private, flag)?,
        })
    };
    Ok(KeySummary {
        usage: KeyUse::ALL
            .into_iter()
            .find(|usage| usage.object_id(&label).as_slice() == id),
        attributes: PRIVATE_KEY_FLAGS.iter().map(read).collect::<Result<_>>()?,
        label,
        id,
        public_key,
    })
}

fn public_half(session: &Session, label: &[u8], id: &[u8]) -> Result<Option<PublicKey>> {
    let template = [
        Attribute::Token(true),
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::Label(label.to_vec()),
        Attribute::Id(id.to_vec()),
    ];
    let [public] = *object::matching(session, &template)?.as_slice() else {
        return Ok(None);
    };
    let kind = session.get_attributes(public, &[AttributeType::KeyType])?;
    let algorithm = [
        (KeyType::EC, Algorithm::P256),
        (KeyType::EC_EDWARDS, Algorithm::Ed25519),
    ]
    .into_iter()
    .find_map(|(known, algorithm)| {
        (kind.first() == Some(&Attribute::KeyType(known))).then_some(algorithm)
    });
    let point = object::ec_point(session, public)?;
    Ok(algorithm.and_then(|algorithm| PublicKey::from_ec_point(algorithm, &point)))
}
