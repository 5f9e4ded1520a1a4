//! The token file: what of a token outlives the process, and in which bytes.
//!
//! ```text
//! magic "HSMSIMTK" · version u32 = 1
//! failed SO PINs u8 · failed user PINs u8
//! head:  serial [16] · label [32] · SO PIN record · 0 | 1 · user PIN record
//!        open objects (CKA_PRIVATE false, without key material)
//! body:  AES-256-GCM under the token key of all other objects, SHA-256(head) as its context
//! SHA-256 of everything before it
//! ```
//!
//! The closing hash finds accidental damage before anyone logs in; whoever recomputes it still
//! meets the context of the body at the first login. Only the two counters are outside of it,
//! because they change when nobody holds the token key.

use aws_lc_rs::digest::{SHA256, digest};
use cryptoki_sys::{CKA_PRIVATE, CKR_TOKEN_NOT_RECOGNIZED};
use std::collections::BTreeMap;

use super::codec::{DAMAGED, Reader, Writer};
use super::pin::{PinRecord, Role, TRIES};
use super::seal::{Key, Sealed};
use crate::pkcs11::attributes::{Attributes, Value};
use crate::pkcs11::object::Uid;
use crate::pkcs11::rv::{Result, Rv};

const MAGIC: &[u8; 8] = b"HSMSIMTK";
const VERSION: u32 = 1;
const HASH_LENGTH: usize = 32;

/// Objects by their name in the file.
pub(super) type Objects = BTreeMap<Uid, Attributes>;

/// What is known of a token before anyone logs in.
#[derive(Clone)]
pub(super) struct Head {
    pub(super) serial: [u8; 16],
    pub(super) label: [u8; 32],
    pub(super) so_pin: PinRecord,
    pub(super) user_pin: Option<PinRecord>,
    /// Objects that need no login, without key material
    pub(super) open: Objects,
}

/// Wrong PINs since the last right one.
#[derive(Clone, Copy, Default)]
pub(super) struct Failures {
    pub(super) so: u8,
    pub(super) user: u8,
}

/// A token file, its body still sealed.
#[derive(Clone)]
pub(super) struct TokenFile {
    pub(super) failures: Failures,
    pub(super) head: Head,
    body: Sealed,
}

impl Failures {
    pub(super) fn of(&mut self, role: Role) -> &mut u8 {
        match role {
            Role::SecurityOfficer => &mut self.so,
            Role::User => &mut self.user,
        }
    }

    pub(super) fn locked(count: u8) -> bool {
        count >= TRIES
    }
}

impl TokenFile {
    /// Seals a token's objects under its key: the open ones' public face goes into the head.
    pub(super) fn seal(
        failures: Failures,
        mut head: Head,
        objects: &Objects,
        key: &Key,
    ) -> Result<Self> {
        head.open = objects
            .iter()
            .filter(|(_, attributes)| !attributes.flag(CKA_PRIVATE))
            .map(|(uid, attributes)| (*uid, open_face(attributes)))
            .collect();
        let mut plain = Writer::default();
        let hidden: Vec<_> = objects
            .iter()
            .filter(|(uid, attributes)| head.open.get(*uid) != Some(*attributes))
            .collect();
        plain.length(hidden.len())?;
        for (uid, attributes) in hidden {
            write_object(&mut plain, uid, attributes)?;
        }
        let body = Sealed::new(key, &head.hash()?, plain.written())?;
        Ok(Self {
            failures,
            head,
            body,
        })
    }

    /// All of the token's objects.
    ///
    /// # Errors
    /// `CKR_DEVICE_ERROR` where head or body is not what was sealed under this key.
    pub(super) fn open(&self, key: &Key) -> Result<Objects> {
        let plain = self.body.open(key, &self.head.hash()?)?.ok_or(DAMAGED)?;
        let mut reader = Reader::new(&plain);
        let mut objects = self.head.open.clone();
        objects.extend(read_objects(&mut reader)?);
        reader.finish()?;
        Ok(objects)
    }

    /// The bytes of the file.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::default();
        writer.fixed(MAGIC);
        writer.u32(VERSION);
        writer.byte(self.failures.so);
        writer.byte(self.failures.user);
        self.head.write(&mut writer)?;
        self.body.write(&mut writer)?;
        let hash = digest(&SHA256, writer.written());
        writer.fixed(hash.as_ref());
        Ok(writer.finish().to_vec())
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// `CKR_TOKEN_NOT_RECOGNIZED` for another kind or version of file, `CKR_DEVICE_ERROR` for a
    /// damaged one.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        const UNKNOWN: Rv = Rv(CKR_TOKEN_NOT_RECOGNIZED);
        if !bytes.starts_with(MAGIC) {
            return Err(UNKNOWN);
        }
        let content = bytes.len().checked_sub(HASH_LENGTH).ok_or(DAMAGED)?;
        let (content, hash) = bytes.split_at_checked(content).ok_or(DAMAGED)?;
        if digest(&SHA256, content).as_ref() != hash {
            return Err(DAMAGED);
        }
        let mut reader = Reader::new(content);
        reader.take(MAGIC.len())?;
        if reader.u32()? != VERSION {
            return Err(UNKNOWN);
        }
        let failures = Failures {
            so: reader.byte()?,
            user: reader.byte()?,
        };
        let file = Self {
            failures,
            head: Head::read(&mut reader)?,
            body: Sealed::read(&mut reader)?,
        };
        reader.finish()?;
        Ok(file)
    }
}

impl Head {
    fn hash(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::default();
        self.write(&mut writer)?;
        Ok(digest(&SHA256, writer.written()).as_ref().to_vec())
    }

    fn write(&self, writer: &mut Writer) -> Result<()> {
        writer.fixed(&self.serial);
        writer.fixed(&self.label);
        self.so_pin.write(writer)?;
        writer.byte(u8::from(self.user_pin.is_some()));
        if let Some(record) = &self.user_pin {
            record.write(writer)?;
        }
        writer.length(self.open.len())?;
        for (uid, attributes) in &self.open {
            write_object(writer, uid, attributes)?;
        }
        Ok(())
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            serial: reader.array()?,
            label: reader.array()?,
            so_pin: PinRecord::read(reader)?,
            user_pin: match reader.byte()? {
                0 => None,
                1 => Some(PinRecord::read(reader)?),
                _ => return Err(DAMAGED),
            },
            open: read_objects(reader)?,
        })
    }
}

/// What of an object that needs no login may be read without one. Certificates, data and public
/// keys are wholly public; of a key that asked for `CKA_PRIVATE` false the value is not.
fn open_face(attributes: &Attributes) -> Attributes {
    use cryptoki_sys::{CKO_PRIVATE_KEY, CKO_SECRET_KEY};
    match attributes.class() {
        Some(CKO_PRIVATE_KEY | CKO_SECRET_KEY) => attributes.without_key(),
        Some(_) | None => attributes.clone(),
    }
}

const TAG_FALSE: u8 = 0;
const TAG_TRUE: u8 = 1;
const TAG_NUMBER: u8 = 2;
const TAG_BYTES: u8 = 3;

fn write_object(writer: &mut Writer, uid: &Uid, attributes: &Attributes) -> Result<()> {
    writer.fixed(&uid.0);
    writer.length(attributes.len())?;
    for (attribute, value) in attributes.iter() {
        writer.u64(attribute);
        match value {
            Value::Flag(false) => writer.byte(TAG_FALSE),
            Value::Flag(true) => writer.byte(TAG_TRUE),
            Value::Number(number) => {
                writer.byte(TAG_NUMBER);
                writer.u64(*number);
            }
            Value::Bytes(bytes) => {
                writer.byte(TAG_BYTES);
                writer.counted(bytes)?;
            }
        }
    }
    Ok(())
}

fn read_objects(reader: &mut Reader<'_>) -> Result<Objects> {
    let mut objects = Objects::new();
    for _ in 0..reader.length()? {
        let uid = Uid(reader.array()?);
        let mut attributes = Attributes::default();
        for _ in 0..reader.length()? {
            let attribute = reader.u64()?;
            attributes.set(attribute, read_value(reader)?);
        }
        objects.insert(uid, attributes);
    }
    Ok(objects)
}

fn read_value(reader: &mut Reader<'_>) -> Result<Value> {
    Ok(match reader.byte()? {
        TAG_FALSE => Value::Flag(false),
        TAG_TRUE => Value::Flag(true),
        TAG_NUMBER => Value::Number(reader.u64()?),
        TAG_BYTES => Value::Bytes(reader.secret()?),
        _ => return Err(DAMAGED),
    })
}
