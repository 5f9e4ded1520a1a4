//! The questions a station asks, and their payloads.

use crate::wire::{Malformed, Reader, Writer};
use identity::hash::Sink as _;
use identity::text::MAX_TEXT;
use identity::{DeviceSerial, DocumentHash, Id, LeafHash, P256Key, RequestId, SpkiHash};

/// Most bytes of a CA challenge.
pub const MAX_CHALLENGE: usize = 64;
/// Most bytes of a wrapped key.
pub const MAX_WRAPPED: usize = 256;
/// Most bytes of a certificate in one message.
pub const MAX_CERTIFICATE_PART: usize = 1_024;

macro_rules! kinds {
    ($($name:ident = $code:literal;)*) => {
        /// Kinds of messages; the number stands in the frame's header.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $(
                #[doc = concat!("[`Request::", stringify!($name), "`]")]
                $name,
            )*
        }

        impl Kind {
            /// The number in the header.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// Reads [`Self::code`] back.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    Identify = 0x01;
    MakeKey = 0x02;
    Transport = 0x03;
    Inject = 0x04;
    Burn = 0x05;
    Prove = 0x06;
    WriteCertificate = 0x07;
    ReadCertificate = 0x08;
    Confirm = 0x09;
    ReadKey = 0x0A;
    Attest = 0x0B;
    Look = 0x40;
    Next = 0x41;
}

impl Kind {
    /// True for questions to a chip, known or not; false for the handler's and for answers.
    #[must_use]
    pub const fn is_for_chip(code: u8) -> bool {
        matches!(code, 0x01..=0x3F)
    }

    /// True for questions to the handler, known or not.
    #[must_use]
    pub const fn is_for_handler(code: u8) -> bool {
        matches!(code, 0x40..=0x7F)
    }
}

/// How the key-encryption key comes out of the agreement with the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Derivation {
    /// HKDF-SHA-256 (RFC 5869) over Z, no salt, info [`identity::message::KekInfo`].
    Hkdf,
    /// The X coordinate itself, for modules without HKDF.
    RawX,
}

/// A key wrapped by the line's module for the chip's transport key.
#[derive(Clone, Copy, Debug)]
pub struct Injection<'a> {
    /// The module's ephemeral public key.
    pub module: P256Key,
    /// How the key-encryption key is derived.
    pub derivation: Derivation,
    /// PKCS#8 wrapped with AES-256 key wrap with padding (RFC 5649); at most 256 bytes.
    pub wrapped: &'a [u8],
}

/// What a proof of possession is made over, but for the chip's identifier, which the chip adds.
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    /// The CA's challenge, at most 64 bytes.
    pub challenge: &'a [u8],
    /// The request.
    pub request: RequestId,
    /// Serial the device will carry.
    pub serial: DeviceSerial,
    /// Hash of the key to be certified; the chip refuses any but its own.
    pub spki: SpkiHash,
    /// The grant.
    pub grant: DocumentHash,
    /// The station.
    pub station: Id,
}

/// One question.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// Who are you? Opens the session of the frame that carries it. Answer: [`crate::Identification`].
    Identify,
    /// Make a key inside and keep it in RAM. Answer: [`crate::MadeKey`].
    MakeKey {
        /// The station's nonce.
        nonce: [u8; 32],
    },
    /// Make a transport key for one injection. Answer: [`crate::TransportKey`].
    Transport {
        /// The station's nonce.
        nonce: [u8; 32],
    },
    /// Unwrap this key into RAM; uses up the transport key, whatever comes of it. Answer: the key's point, 65 bytes.
    Inject(Injection<'a>),
    /// Burn the key in RAM. Answer: the burnt key's point, 65 bytes.
    Burn {
        /// Hash of the key meant; any other is refused.
        spki: SpkiHash,
    },
    /// Prove possession of the burnt key. Answer: the signature over [`identity::message::Possession`].
    Prove(Proof<'a>),
    /// Store a part of the certificate; parts come in order, from offset 0. Answer: bytes stored so far, u16.
    WriteCertificate {
        /// Where this part begins.
        offset: u16,
        /// Bytes of the whole certificate.
        total: u16,
        /// The part, 1 to 1,024 bytes.
        bytes: &'a [u8],
    },
    /// Read the stored certificate from `offset`. Answer: [`crate::CertificatePart`].
    ReadCertificate {
        /// Where to begin.
        offset: u16,
    },
    /// Sign for the certificate that is stored. Answer: [`crate::Confirmed`].
    Confirm {
        /// The CA's nonce.
        nonce: [u8; 32],
        /// Leaf hash of the `bind` entry.
        leaf: LeafHash,
    },
    /// Read the fixed key. Always refused with [`crate::Refusal::KeyReadDenied`]; a chip that answers is leaky.
    ReadKey,
    /// Attest again that the burnt key was made inside. Answer: [`crate::MadeKey`].
    Attest {
        /// The station's nonce.
        nonce: [u8; 32],
    },
    /// To the handler: what is in the socket? Answer: [`crate::Seat`].
    Look,
    /// To the handler: put the next chip in. Asked twice from the same position it moves once. Answer: [`crate::Seat`].
    Next {
        /// The position the socket is at.
        from: u32,
    },
}

impl<'a> Request<'a> {
    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Identify => Kind::Identify,
            Self::MakeKey { .. } => Kind::MakeKey,
            Self::Transport { .. } => Kind::Transport,
            Self::Inject(_) => Kind::Inject,
            Self::Burn { .. } => Kind::Burn,
            Self::Prove(_) => Kind::Prove,
            Self::WriteCertificate { .. } => Kind::WriteCertificate,
            Self::ReadCertificate { .. } => Kind::ReadCertificate,
            Self::Confirm { .. } => Kind::Confirm,
            Self::ReadKey => Kind::ReadKey,
            Self::Attest { .. } => Kind::Attest,
            Self::Look => Kind::Look,
            Self::Next { .. } => Kind::Next,
        }
    }

    /// Writes the payload.
    pub fn write(&self, out: &mut Writer<'_>) {
        match self {
            Self::Identify | Self::ReadKey | Self::Look => {}
            Self::MakeKey { nonce } | Self::Transport { nonce } | Self::Attest { nonce } => {
                out.put(nonce);
            }
            Self::Inject(injection) => injection.write(out),
            Self::Burn { spki } => out.put(&spki.0),
            Self::Prove(proof) => proof.write(out),
            Self::WriteCertificate {
                offset,
                total,
                bytes,
            } => {
                out.put(&offset.to_be_bytes());
                out.put(&total.to_be_bytes());
                out.put_prefixed(bytes);
            }
            Self::ReadCertificate { offset } => out.put(&offset.to_be_bytes()),
            Self::Confirm { nonce, leaf } => {
                out.put(nonce);
                out.put(&leaf.0);
            }
            Self::Next { from } => out.put(&from.to_be_bytes()),
        }
    }

    /// Reads a payload of `kind`.
    ///
    /// # Errors
    /// [`Malformed`] if it is not exactly that.
    pub fn read(kind: Kind, payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        let request = match kind {
            Kind::Identify => Self::Identify,
            Kind::ReadKey => Self::ReadKey,
            Kind::Look => Self::Look,
            Kind::MakeKey => Self::MakeKey {
                nonce: reader.array()?,
            },
            Kind::Transport => Self::Transport {
                nonce: reader.array()?,
            },
            Kind::Attest => Self::Attest {
                nonce: reader.array()?,
            },
            Kind::Inject => Self::Inject(Injection::read(&mut reader)?),
            Kind::Burn => Self::Burn {
                spki: SpkiHash(reader.array()?),
            },
            Kind::Prove => Self::Prove(Proof::read(&mut reader)?),
            Kind::WriteCertificate => {
                let (offset, total) = (reader.u16()?, reader.u16()?);
                Self::WriteCertificate {
                    offset,
                    total,
                    bytes: reader.piece(MAX_CERTIFICATE_PART)?,
                }
            }
            Kind::ReadCertificate => Self::ReadCertificate {
                offset: reader.u16()?,
            },
            Kind::Confirm => Self::Confirm {
                nonce: reader.array()?,
                leaf: LeafHash(reader.array()?),
            },
            Kind::Next => Self::Next {
                from: reader.array().map(u32::from_be_bytes)?,
            },
        };
        reader.finish()?;
        Ok(request)
    }
}

impl<'a> Injection<'a> {
    fn write(&self, out: &mut Writer<'_>) {
        out.put(self.module.sec1());
        out.put(match self.derivation {
            Derivation::Hkdf => &[1],
            Derivation::RawX => &[2],
        });
        out.put_prefixed(self.wrapped);
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let module = P256Key::from_sec1(reader.take(65)?).or(Err(Malformed))?;
        let derivation = match reader.byte()? {
            1 => Derivation::Hkdf,
            2 => Derivation::RawX,
            _ => return Err(Malformed),
        };
        Ok(Self {
            module,
            derivation,
            wrapped: reader.piece(MAX_WRAPPED)?,
        })
    }
}

impl<'a> Proof<'a> {
    fn write(&self, out: &mut Writer<'_>) {
        out.put_prefixed(self.challenge);
        out.put(&self.request.0);
        out.put_prefixed(self.serial.as_bytes());
        out.put(&self.spki.0);
        out.put(&self.grant.0);
        out.put_prefixed(self.station.as_bytes());
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            challenge: reader.piece(MAX_CHALLENGE)?,
            request: RequestId(reader.array()?),
            serial: DeviceSerial::new(reader.text(MAX_TEXT)?).or(Err(Malformed))?,
            spki: SpkiHash(reader.array()?),
            grant: DocumentHash(reader.array()?),
            station: Id::new(reader.text(MAX_TEXT)?).or(Err(Malformed))?,
        })
    }
}
