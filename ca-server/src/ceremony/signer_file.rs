//! The signer's own configuration: what it trusts, where its store is, which token holds the CA key. The ceremony
//! writes it; afterwards it belongs to the signer's operator, and the server never changes it.

use super::artefacts::{ArtefactError, read_certificate};
use super::{CeremonyError, Orders};
use crate::config::{ConfigError, PinSource, directory_of, read_toml};
use base64ct::{Base64, Encoding as _};
use identity::approval::ApproverSet;
use identity::document::{Ceremony, PinnedApprover};
use identity::{Id, P256Key};
use keyvault::{KeyUse, Module, Token, VaultError};
use serde::{Deserialize, Serialize};
use signer::{CaKeyError, Signer, SignerConfig, SignerError, VaultCaKey};
use std::path::{Path, PathBuf};

/// The file, as written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SignerSettings {
    origin: String,
    log_vkey: String,
    issuing_certificate: PathBuf,
    store: PathBuf,
    hsm: HsmSettings,
    approval: ApprovalSettings,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct HsmSettings {
    module: PathBuf,
    token: String,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin_credential: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ApprovalSettings {
    needed: u8,
    approver: Vec<ApproverSettings>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ApproverSettings {
    id: String,
    /// Base64 of the DER `SubjectPublicKeyInfo`.
    key: String,
}

/// What the signer is opened from.
pub struct SignerParts {
    config: SignerConfig,
    key: VaultCaKey,
    token: Token,
}

/// The signer could not be opened from its file.
#[derive(Debug, thiserror::Error)]
pub enum SignerFileError {
    /// The file cannot be used.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// A value in it cannot be used.
    #[error("{}: {what}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The issuing CA's certificate cannot be read.
    #[error("{0}")]
    Certificate(#[from] ArtefactError),
    /// The token or key cannot be used.
    #[error("issuing token: {0}")]
    Vault(#[from] VaultError),
    /// The key is no CA key.
    #[error("issuing key: {0}")]
    Key(#[from] CaKeyError),
}

impl SignerSettings {
    /// The settings that a ceremony writes.
    pub(super) fn of_ceremony(orders: &Orders<'_>, ceremony: &Ceremony, pin_file: &Path) -> Self {
        let (config, issuing) = (orders.config, &orders.plan.issuing.key);
        let approver = |pinned: &PinnedApprover| ApproverSettings {
            id: pinned.id.to_string(),
            key: Base64::encode_string(&pinned.key.spki()),
        };
        Self {
            origin: ceremony.origin.clone(),
            log_vkey: ceremony.log_vkey.clone(),
            issuing_certificate: config.paths.ceremony.join("issuing.pem"),
            store: config.signer.store.clone(),
            hsm: HsmSettings {
                module: config.hsm.module.clone(),
                token: issuing.token.to_string(),
                key: issuing.label.to_string(),
                pin_file: Some(pin_file.to_owned()),
                pin_credential: None,
            },
            approval: ApprovalSettings {
                needed: ceremony.needed,
                approver: ceremony.approvers.iter().map(approver).collect(),
            },
        }
    }

    pub(super) fn to_toml(&self) -> Result<String, CeremonyError> {
        let body = toml::to_string(self)
            .map_err(|error| CeremonyError::Certificate(format!("signer.toml: {error}")))?;
        Ok(format!(
            "# The signer's own configuration, written at the ceremony. Its operator keeps it; the server only reads it.\n{body}"
        ))
    }
}

impl SignerParts {
    /// Reads the file and opens the issuing token with the PIN that it names.
    ///
    /// # Errors
    /// [`SignerFileError`] names the file, value or token.
    pub fn load(path: &Path) -> Result<Self, SignerFileError> {
        let settings: SignerSettings = read_toml(path)?;
        let base = &directory_of(path)?;
        let value = |what: String| SignerFileError::Value {
            path: path.to_owned(),
            what,
        };
        let approvers = settings.approvers().map_err(value)?;
        let pin = settings.hsm.pin(base).map_err(value)?;
        let token = Module::load(&base.join(&settings.hsm.module))?
            .open(&settings.hsm.token, pin.read()?)?;
        let key = VaultCaKey::new(token.key(&settings.hsm.key, KeyUse::IssuingCa)?)?;
        let config = SignerConfig {
            store: base.join(&settings.store),
            issuing_certificate: read_certificate(&base.join(&settings.issuing_certificate))?,
            origin: settings.origin,
            log_vkey: settings.log_vkey,
            approvers,
            long_log: pages::LONG_LOG,
        };
        Ok(Self { config, key, token })
    }

    /// The issuing token, to be asked whether it answers.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token.clone()
    }

    /// Opens the signer.
    ///
    /// # Errors
    /// [`SignerError`], as [`Signer::open`].
    pub fn open(self) -> Result<Signer, SignerError> {
        Signer::open(self.config, Box::new(self.key))
    }
}

impl SignerSettings {
    fn approvers(&self) -> Result<ApproverSet, String> {
        let pinned = self.approval.approver.iter().map(|approver| {
            let id = Id::new(&approver.id).map_err(|error| format!("approver: {error}"))?;
            let spki = Base64::decode_vec(&approver.key)
                .map_err(|error| format!("key of {id}: {error}"))?;
            let key = P256Key::from_spki(&spki).map_err(|error| format!("key of {id}: {error}"))?;
            Ok(PinnedApprover { id, key })
        });
        let pinned = pinned.collect::<Result<Vec<_>, String>>()?;
        let needed = self.approval.needed;
        if needed == 0 || usize::from(needed) > pinned.len() {
            return Err("approval.needed is 1 to the number of approvers".to_owned());
        }
        Ok(ApproverSet::new(needed, pinned))
    }
}

impl HsmSettings {
    fn pin(&self, base: &Path) -> Result<PinSource, String> {
        match (&self.pin_file, &self.pin_credential) {
            (Some(file), None) => Ok(PinSource::File(base.join(file))),
            (None, Some(name)) => Ok(PinSource::Credential(name.clone())),
            (None, None) | (Some(_), Some(_)) => {
                Err("hsm has either pin_file or pin_credential".to_owned())
            }
        }
    }
}

impl std::fmt::Debug for SignerParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignerParts")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
