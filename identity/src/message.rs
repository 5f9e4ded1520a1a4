//! The messages that chips, stations and modules sign: a label with a version, then every piece behind its length
//! as u16 big-endian. What is signed is ECDSA P-256 over SHA-256 of these bytes.

use crate::hash::{CertificateHash, DocumentHash, LeafHash, Sink, SpkiHash, sha256_of};
use crate::text::{ChipUid, DeviceSerial, Id, PartNumber, RequestId};

/// A message with its own label; nothing signed under one label is valid under another.
pub trait Message {
    /// Puts label and pieces into the sink, in the order that is signed.
    fn write(&self, sink: &mut impl Sink);

    /// SHA-256 of the message: what the signature is over.
    fn digest(&self) -> [u8; 32] {
        sha256_of(|hasher| self.write(hasher))
    }
}

fn write_pieces(sink: &mut impl Sink, label: &[u8], pieces: &[&[u8]]) {
    sink.put(label);
    for piece in pieces {
        sink.put_prefixed(piece);
    }
}

/// Proof of possession of the fixed key, made by the chip before issuance.
#[derive(Clone, Copy, Debug)]
pub struct Possession<'a> {
    /// The CA's challenge, verbatim (at most 64 bytes).
    pub challenge: &'a [u8],
    /// Request this proof belongs to.
    pub request: &'a RequestId,
    /// The chip.
    pub uid: &'a ChipUid,
    /// Serial the device will carry.
    pub serial: &'a DeviceSerial,
    /// Hash of the key to be certified.
    pub spki: &'a SpkiHash,
    /// The grant the certificate is issued under.
    pub grant: &'a DocumentHash,
    /// The station that asks.
    pub station: &'a Id,
}

impl Message for Possession<'_> {
    fn write(&self, sink: &mut impl Sink) {
        write_pieces(
            sink,
            b"koseki/pop/v1\n",
            &[
                self.challenge,
                &self.request.0,
                self.uid.as_bytes(),
                self.serial.as_bytes(),
                &self.spki.0,
                &self.grant.0,
                self.station.as_bytes(),
            ],
        );
    }
}

/// The chip's word that it holds the certificate it was read back from.
#[derive(Clone, Copy, Debug)]
pub struct Confirmation<'a> {
    /// The CA's nonce for this binding.
    pub nonce: &'a [u8; 32],
    /// Hash of the certificate as the chip stores it.
    pub certificate: &'a CertificateHash,
    /// Leaf hash of the `bind` entry.
    pub leaf: &'a LeafHash,
}

impl Message for Confirmation<'_> {
    fn write(&self, sink: &mut impl Sink) {
        write_pieces(
            sink,
            b"koseki/confirm/v1\n",
            &[self.nonce, &self.certificate.0, &self.leaf.0],
        );
    }
}

/// The vendor's word for a chip: this attestation key lives in the chip with this UID and part number.
#[derive(Clone, Copy, Debug)]
pub struct Endorsement<'a> {
    /// The chip.
    pub uid: &'a ChipUid,
    /// Its part number.
    pub part: &'a PartNumber,
    /// SPKI hash of the chip's attestation key.
    pub attestation: &'a SpkiHash,
}

impl Message for Endorsement<'_> {
    fn write(&self, sink: &mut impl Sink) {
        let pieces: [&[u8]; 3] = [
            self.uid.as_bytes(),
            self.part.as_bytes(),
            &self.attestation.0,
        ];
        write_pieces(sink, b"koseki/endorsement/v1\n", &pieces);
    }
}

/// The chip's attestation key authenticates a transport key made for one injection.
#[derive(Clone, Copy, Debug)]
pub struct Transport<'a> {
    /// The chip.
    pub uid: &'a ChipUid,
    /// Its part number.
    pub part: &'a PartNumber,
    /// The chip's ephemeral public key, SEC 1 uncompressed.
    pub ephemeral: &'a [u8; 65],
    /// Nonce chosen by the station.
    pub nonce: &'a [u8; 32],
}

impl Message for Transport<'_> {
    fn write(&self, sink: &mut impl Sink) {
        let pieces: [&[u8]; 4] = [
            self.uid.as_bytes(),
            self.part.as_bytes(),
            self.ephemeral,
            self.nonce,
        ];
        write_pieces(sink, b"koseki/transport/v1\n", &pieces);
    }
}

/// The chip's attestation key says that the fixed key was made inside the chip and cannot leave it.
#[derive(Clone, Copy, Debug)]
pub struct KeyOrigin<'a> {
    /// The chip.
    pub uid: &'a ChipUid,
    /// Its part number.
    pub part: &'a PartNumber,
    /// Hash of the fixed key.
    pub spki: &'a SpkiHash,
    /// Nonce chosen by the station.
    pub nonce: &'a [u8; 32],
}

impl Message for KeyOrigin<'_> {
    fn write(&self, sink: &mut impl Sink) {
        let pieces: [&[u8]; 4] = [
            self.uid.as_bytes(),
            self.part.as_bytes(),
            &self.spki.0,
            self.nonce,
        ];
        write_pieces(sink, b"koseki/origin/v1\n", &pieces);
    }
}

/// Info of the HKDF that makes the key-encryption key of an injection: both points, the chip and the nonce that
/// the transport key was signed with.
#[derive(Clone, Copy, Debug)]
pub struct KekInfo<'a> {
    /// The chip's ephemeral public key, SEC 1 uncompressed.
    pub chip: &'a [u8; 65],
    /// The module's ephemeral public key, SEC 1 uncompressed.
    pub module: &'a [u8; 65],
    /// The chip.
    pub uid: &'a ChipUid,
    /// The transport nonce.
    pub nonce: &'a [u8; 32],
}

impl Message for KekInfo<'_> {
    fn write(&self, sink: &mut impl Sink) {
        write_pieces(
            sink,
            b"koseki/kek/v1\n",
            &[self.chip, self.module, self.uid.as_bytes(), self.nonce],
        );
    }
}

/// The station's receipt key says that this key was made in the line HSM, wrapped for this chip's transport key, and
/// that the receipt key lives in the same module. It proves use of the station's HSM, not the key's origin.
#[derive(Clone, Copy, Debug)]
pub struct InjectionReceipt<'a> {
    /// Request the unit is certified under.
    pub request: &'a RequestId,
    /// The chip.
    pub uid: &'a ChipUid,
    /// Hash of the injected key.
    pub spki: &'a SpkiHash,
    /// The chip's ephemeral public key, SEC 1 uncompressed.
    pub ephemeral: &'a [u8; 65],
    /// SHA-256 of the wrapped key as sent to the chip.
    pub wrapped: &'a [u8; 32],
}

impl Message for InjectionReceipt<'_> {
    fn write(&self, sink: &mut impl Sink) {
        write_pieces(
            sink,
            b"koseki/injection/v1\n",
            &[
                &self.request.0,
                self.uid.as_bytes(),
                &self.spki.0,
                self.ephemeral,
                self.wrapped,
            ],
        );
    }
}
