//! The key ceremony: from one reviewed plan to tokens, keys, certificates and the first document of the log.
//!
//! Every key is made inside its own token. What comes out is written into a directory that appears whole or not at
//! all; a second ceremony over the same directory or tokens is refused. The root's PIN goes to a directory of its own
//! that the server's configuration never names, so that the root's token can be put away.

mod artefacts;
mod certificates;
mod error;
mod memory;
mod pins;
mod signer_file;
mod tokens;
mod transcript;

pub use artefacts::{ArtefactError, Artefacts};
pub use certificates::{PeerSubject, infrastructure_end, peer_certificate};
pub use error::CeremonyError;
pub use signer_file::{SignerFileError, SignerParts, SignerSettings};

use crate::config::Config;
use crate::policy::CeremonyPlan;
use artefacts::Output;
use certificates::Certificates;
use identity::document::{Ceremony, Document as _, PinnedApprover, Version1};
use identity::{CertificateHash, Clock, Entropy, P256Key, SpkiHash};
use keyvault::{Key, Module};
use pins::Pins;
use std::path::Path;
use tokens::Keys;
use translog::note::{SignatureType, VerifierKey};

/// What is to be done, and where.
#[derive(Clone, Copy, Debug)]
pub struct Orders<'a> {
    /// The reviewed plan.
    pub plan: &'a CeremonyPlan,
    /// The server's configuration: module, tokens, directories, names of the server.
    pub config: &'a Config,
    /// Directory of PIN files; made, closed to others, if it is not there.
    pub pins: &'a Path,
    /// Who was in the room, for the transcript.
    pub attended: &'a [String],
}

/// Holds the ceremony and returns the text of its transcript.
///
/// # Errors
/// [`CeremonyError`]: plan and configuration differ, a ceremony was held or begun before, the HSM or the disk failed.
/// After an error, what was made so far is named and nothing of it is used.
pub fn hold(
    orders: &Orders<'_>,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<String, CeremonyError> {
    agree(orders)?;
    let output = Output::new(orders.config);
    output.refuse_if_held()?;
    let module = Module::load(&orders.config.hsm.module)?;
    refuse_if_begun(&module, orders.plan, &output)?;
    let pins = Pins::prepare(orders, entropy)?;
    let keys = Keys::make(&module, orders, &pins, entropy)?;
    let certificates = Certificates::make(orders, &keys, entropy)?;
    let ceremony = document(orders.plan, &keys, &certificates, clock)?;
    let transcript = transcript::write(orders, &keys, &certificates, &ceremony);
    let settings = SignerSettings::of_ceremony(orders, &ceremony, pins.issuing_file());
    memory::begin(orders.config, &ceremony, &certificates.issuing)?;
    output.publish(&certificates, &ceremony, &transcript, &settings)?;
    Ok(transcript)
}

/// The server opens two of the tokens by its own configuration: both files must speak of the same.
fn agree(orders: &Orders<'_>) -> Result<(), CeremonyError> {
    let (hsm, plan) = (&orders.config.hsm, orders.plan);
    let pairs = [
        ("hsm.log.token", hsm.log.token.as_str(), plan.log.token),
        ("hsm.log.key", &hsm.log.key, plan.log.label),
        (
            "hsm.infrastructure.token",
            &hsm.infrastructure.token,
            plan.infrastructure.key.token,
        ),
        (
            "hsm.infrastructure.root_key",
            &hsm.infrastructure.root_key,
            plan.infrastructure.key.label,
        ),
    ];
    let different = pairs
        .into_iter()
        .find(|(_, configured, planned)| *configured != planned.as_str());
    match different {
        None => Ok(()),
        Some((key, configured, planned)) => Err(CeremonyError::Disagree {
            key,
            configured: configured.to_owned(),
            planned: planned.to_string(),
        }),
    }
}

fn refuse_if_begun(
    module: &Module,
    plan: &CeremonyPlan,
    output: &Output,
) -> Result<(), CeremonyError> {
    let planned: Vec<_> = tokens::labels(plan).collect();
    let tokens: Vec<String> = module
        .tokens()?
        .into_iter()
        .map(|token| token.label)
        .filter(|label| planned.iter().any(|id| id.as_str() == label))
        .collect();
    let files = output.left_behind();
    if tokens.is_empty() && files.is_empty() {
        return Ok(());
    }
    Err(CeremonyError::Begun { tokens, files })
}

/// The document whose hash is the log's first leaf.
fn document(
    plan: &CeremonyPlan,
    keys: &Keys,
    certificates: &Certificates,
    clock: &dyn Clock,
) -> Result<Ceremony, CeremonyError> {
    let pinned = |(id, key): &(identity::Id, Key)| {
        P256Key::from_spki(key.spki_der()).map(|key| PinnedApprover { id: *id, key })
    };
    let approvers: Result<Vec<_>, _> = keys.approvers.iter().map(pinned).collect();
    let ceremony = Ceremony {
        version: Version1,
        origin: plan.origin.clone(),
        time: clock.now(),
        root: CertificateHash::of(&certificates.root),
        issuing: CertificateHash::of(&certificates.issuing),
        issuing_key: SpkiHash(keys.issuing.public_key().spki_sha256()),
        log_vkey: log_vkey(&plan.origin, &keys.log)?,
        infrastructure: CertificateHash::of(&certificates.infrastructure),
        needed: plan.needed,
        approvers: approvers?,
    };
    ceremony.check()?;
    Ok(ceremony)
}

/// The verifier key of the log (C2SP signed-note); its name is the origin.
fn log_vkey(origin: &str, key: &Key) -> Result<String, CeremonyError> {
    let name = origin
        .parse()
        .map_err(|_not_a_name| CeremonyError::LogKey("the origin is no key name"))?;
    VerifierKey::new(name, SignatureType::Ed25519, key.public_key().as_bytes())
        .map(|vkey| vkey.to_string())
        .map_err(|_weak| CeremonyError::LogKey("the token gave no usable Ed25519 key"))
}
