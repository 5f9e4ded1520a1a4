//! The chip vendor: a test key that endorses attestation keys.

use crate::chip::error::ChipError;
use identity::message::{Endorsement, Message as _};
use identity::{ChipUid, Entropy, P256Key, PartNumber};
use koseki_device::Signature;
use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use std::fmt::{self, Display};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// The public half: `SubjectPublicKeyInfo`, PEM.
const PUBLIC_FILE: &str = "vendor.pub.pem";
/// The private half of a simulated vendor; no chip of the real world may ever be endorsed with it.
const PRIVATE_FILE: &str = "vendor-TEST-KEY.pem";

/// A simulated chip vendor.
pub struct Vendor {
    secret: SecretKey,
}

impl Vendor {
    /// Makes a vendor's key.
    ///
    /// # Errors
    /// [`ChipError::Key`]
    pub fn generate(entropy: &impl Entropy) -> Result<Self, ChipError> {
        Ok(Self {
            secret: generate(entropy)?,
        })
    }

    /// Writes both halves into a directory, which is made; existing keys are not overwritten.
    ///
    /// # Errors
    /// [`ChipError`]
    pub fn save(&self, dir: &Path) -> Result<(), ChipError> {
        fs::create_dir_all(dir).map_err(ChipError::io(dir))?;
        let private = self
            .secret
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(key_error)?;
        let public = self
            .secret
            .public_key()
            .to_public_key_pem(LineEnding::LF)
            .map_err(key_error)?;
        write_new(&dir.join(PRIVATE_FILE), private.as_bytes(), 0o600)?;
        write_new(&dir.join(PUBLIC_FILE), public.as_bytes(), 0o644)
    }

    /// Reads a vendor's key back.
    ///
    /// # Errors
    /// [`ChipError`]
    pub fn load(dir: &Path) -> Result<Self, ChipError> {
        let path = dir.join(PRIVATE_FILE);
        let pem = Zeroizing::new(fs::read_to_string(&path).map_err(ChipError::io(&path))?);
        Ok(Self {
            secret: SecretKey::from_pkcs8_pem(&pem).map_err(key_error)?,
        })
    }

    /// The public half.
    ///
    /// # Errors
    /// [`ChipError::Key`]
    pub fn public(&self) -> Result<P256Key, ChipError> {
        public(&self.secret)
    }

    /// Makes an attestation key for a chip and endorses it.
    pub(crate) fn endorse(
        &self,
        uid: &ChipUid,
        part: &PartNumber,
        entropy: &impl Entropy,
    ) -> Result<(Zeroizing<[u8; 32]>, Signature), ChipError> {
        let attestation = generate(entropy)?;
        let message = Endorsement {
            uid,
            part,
            attestation: &public(&attestation)?.spki_hash(),
        };
        let signature: p256::ecdsa::Signature = SigningKey::from(&self.secret)
            .sign_prehash(&message.digest())
            .map_err(key_error)?;
        Ok((
            Zeroizing::new(attestation.to_bytes().into()),
            signature.to_bytes().into(),
        ))
    }
}

impl fmt::Debug for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vendor")
    }
}

fn generate(entropy: &impl Entropy) -> Result<SecretKey, ChipError> {
    let mut scalar = Zeroizing::new([0; 32]);
    entropy.fill(scalar.as_mut_slice()).map_err(key_error)?;
    SecretKey::from_slice(scalar.as_slice()).map_err(key_error)
}

fn public(secret: &SecretKey) -> Result<P256Key, ChipError> {
    P256Key::from_sec1(secret.public_key().to_sec1_point(false).as_bytes()).map_err(key_error)
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), ChipError> {
    let opened = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    opened
        .and_then(|mut file| file.write_all(content))
        .map_err(ChipError::io(path))
}

fn key_error(error: impl Display) -> ChipError {
    ChipError::Key(error.to_string())
}
