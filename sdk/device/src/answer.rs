//! What chips and handlers answer: after the acknowledgement and a code of 0, these bodies.

use crate::wire::{Malformed, Reader, Writer};
use identity::hash::Sink as _;
use identity::message::{Endorsement, KeyOrigin, Message as _, Transport};
use identity::{CertificateHash, ChipUid, P256Key, PartNumber, VerifyP256};

/// Bytes of an ECDSA P-256 signature, r ‖ s.
pub const SIGNATURE_LEN: usize = 64;
/// An ECDSA P-256 signature over SHA-256, r ‖ s.
pub type Signature = [u8; SIGNATURE_LEN];

/// Where a fixed key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Made inside the chip.
    Made,
    /// Made in the line's module, and unwrapped by the chip.
    Injected,
}

/// The life of a chip, as far as its fixed key goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChipState {
    /// No key is burnt; takes one.
    Blank,
    /// A key is burnt, for ever.
    Burnt {
        /// The fixed key.
        key: P256Key,
        /// Where it came from.
        origin: Origin,
    },
    /// The lock word is torn: scrap.
    Torn,
}

/// Who a chip says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identification {
    /// Version of the protocol the chip speaks.
    pub version: u8,
    /// The chip.
    pub uid: ChipUid,
    /// Its part number.
    pub part: PartNumber,
    /// Blank, burnt or torn.
    pub state: ChipState,
    /// The attestation key.
    pub attestation: P256Key,
    /// The vendor's signature over [`Endorsement`].
    pub endorsement: Signature,
}

impl Identification {
    /// True if `vendor` endorsed this attestation key for this chip and part.
    pub fn is_endorsed_by(&self, vendor: &P256Key, verifier: &impl VerifyP256) -> bool {
        let attestation = self.attestation.spki_hash();
        let message = Endorsement {
            uid: &self.uid,
            part: &self.part,
            attestation: &attestation,
        };
        verifier.verify(vendor, &message.digest(), &self.endorsement)
    }

    pub(crate) fn write(&self, out: &mut Writer<'_>) {
        out.put(&[self.version]);
        out.put_prefixed(self.uid.as_bytes());
        out.put_prefixed(self.part.as_bytes());
        match &self.state {
            ChipState::Blank => out.put(&[0]),
            ChipState::Burnt { key, origin } => {
                out.put(match origin {
                    Origin::Made => &[1],
                    Origin::Injected => &[2],
                });
                out.put(key.sec1());
            }
            ChipState::Torn => out.put(&[3]),
        }
        out.put(self.attestation.sec1());
        out.put(&self.endorsement);
    }

    /// Reads the body of the answer to [`crate::Request::Identify`].
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let version = reader.byte()?;
        let uid = ChipUid::new(reader.piece(32)?).or(Err(Malformed))?;
        let part = PartNumber::new(reader.text(identity::text::MAX_TEXT)?).or(Err(Malformed))?;
        let state = match reader.byte()? {
            0 => ChipState::Blank,
            1 => ChipState::Burnt {
                key: point(&mut reader)?,
                origin: Origin::Made,
            },
            2 => ChipState::Burnt {
                key: point(&mut reader)?,
                origin: Origin::Injected,
            },
            3 => ChipState::Torn,
            _ => return Err(Malformed),
        };
        let (attestation, endorsement) = (point(&mut reader)?, reader.array()?);
        reader.finish()?;
        Ok(Self {
            version,
            uid,
            part,
            state,
            attestation,
            endorsement,
        })
    }
}

/// A key made in the chip, or attested again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MadeKey {
    /// The fixed key.
    pub key: P256Key,
    /// The attestation key's signature over [`KeyOrigin`].
    pub origin: Signature,
}

impl MadeKey {
    /// True if the chip's attestation key says that it made this key, for this nonce.
    pub fn is_attested_by(
        &self,
        chip: &Identification,
        nonce: &[u8; 32],
        verifier: &impl VerifyP256,
    ) -> bool {
        let spki = self.key.spki_hash();
        let message = KeyOrigin {
            uid: &chip.uid,
            part: &chip.part,
            spki: &spki,
            nonce,
        };
        verifier.verify(&chip.attestation, &message.digest(), &self.origin)
    }

    pub(crate) fn write(&self, out: &mut Writer<'_>) {
        out.put(self.key.sec1());
        out.put(&self.origin);
    }

    /// Reads the body of the answer to [`crate::Request::MakeKey`] and [`crate::Request::Attest`].
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let (key, origin) = (point(&mut reader)?, reader.array()?);
        reader.finish()?;
        Ok(Self { key, origin })
    }
}

/// A transport key made for one injection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportKey {
    /// The chip's ephemeral public key.
    pub ephemeral: P256Key,
    /// The attestation key's signature over [`Transport`].
    pub signature: Signature,
}

impl TransportKey {
    /// True if the chip's attestation key made it, for this nonce. Nothing may be wrapped for a key that is not.
    pub fn is_attested_by(
        &self,
        chip: &Identification,
        nonce: &[u8; 32],
        verifier: &impl VerifyP256,
    ) -> bool {
        let message = Transport {
            uid: &chip.uid,
            part: &chip.part,
            ephemeral: self.ephemeral.sec1(),
            nonce,
        };
        verifier.verify(&chip.attestation, &message.digest(), &self.signature)
    }

    pub(crate) fn write(&self, out: &mut Writer<'_>) {
        out.put(self.ephemeral.sec1());
        out.put(&self.signature);
    }

    /// Reads the body of the answer to [`crate::Request::Transport`].
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let (ephemeral, signature) = (point(&mut reader)?, reader.array()?);
        reader.finish()?;
        Ok(Self {
            ephemeral,
            signature,
        })
    }
}

/// A part of the stored certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificatePart<'a> {
    /// Bytes of the whole certificate.
    pub total: u16,
    /// The part; its last byte ends the certificate or is followed by another part.
    pub bytes: &'a [u8],
}

impl<'a> CertificatePart<'a> {
    /// Reads the body of the answer to [`crate::Request::ReadCertificate`].
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let total = reader.u16()?;
        Ok(Self {
            total,
            bytes: reader.rest(),
        })
    }
}

/// The chip's word for the certificate it stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// Hash of the certificate, made by the chip over what it stores.
    pub certificate: CertificateHash,
    /// The fixed key's signature over [`identity::message::Confirmation`].
    pub signature: Signature,
}

impl Confirmed {
    pub(crate) fn write(&self, out: &mut Writer<'_>) {
        out.put(&self.certificate.0);
        out.put(&self.signature);
    }

    /// Reads the body of the answer to [`crate::Request::Confirm`].
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let (certificate, signature) = (CertificateHash(reader.array()?), reader.array()?);
        reader.finish()?;
        Ok(Self {
            certificate,
            signature,
        })
    }
}

/// A socket of the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// How many chips were taken out of this socket; the first chip sits at position 0.
    pub position: u32,
    /// Whether a chip is in; false when the tray is empty.
    pub occupied: bool,
}

impl Seat {
    /// Writes the body.
    pub fn write(&self, out: &mut Writer<'_>) {
        out.put(&self.position.to_be_bytes());
        out.put(&[u8::from(self.occupied)]);
    }

    /// Reads the body of the answer to [`crate::Request::Look`] and [`crate::Request::Next`].
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let position = reader.array().map(u32::from_be_bytes)?;
        let occupied = match reader.byte()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed),
        };
        reader.finish()?;
        Ok(Self { position, occupied })
    }
}

/// Reads the body that is one public key: the answers to [`crate::Request::Inject`] and [`crate::Request::Burn`].
///
/// # Errors
/// [`Malformed`]
pub fn read_key(body: &[u8]) -> Result<P256Key, Malformed> {
    let mut reader = Reader::new(body);
    let key = point(&mut reader)?;
    reader.finish()?;
    Ok(key)
}

fn point(reader: &mut Reader<'_>) -> Result<P256Key, Malformed> {
    P256Key::from_sec1(reader.take(65)?).or(Err(Malformed))
}
