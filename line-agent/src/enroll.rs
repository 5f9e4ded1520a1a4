//! Enrolling: the station's keys are made in the line HSM, and the CA's operator gets what they need to know of them.

use crate::config::{self, Config};
use crate::files::{FileError, ensure_directory, write_durably};
use crate::sources::rfc3339;
use base64ct::{Base64, Encoding as _};
use identity::{Clock, Timestamp};
use keyvault::rcgen_key::{RcgenFault, RcgenKey};
use keyvault::{Key, KeySpec, KeyUse, Module, Pin, Token, VaultError};
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};
use std::path::Path;

const MILLIS_PER_DAY: u64 = 86_400_000;

/// Enrolling failed.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The settings say nothing of enrolling.
    #[error("the settings have no [enroll] table")]
    NotSet,
    /// The token is not there, and no security officer's PIN is named to make it with.
    #[error("the token is not there, and hsm.so_pin_file is not set to make it with")]
    NoSecurityOfficer,
    /// The HSM.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The certification request.
    #[error("enroll.identity: {0}")]
    Request(#[from] rcgen::Error),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Makes token and keys where they are not there yet, and writes `station-request.toml` and `station.csr.pem`.
/// Run again, it finds the same keys and writes the same facts.
///
/// # Errors
/// [`EnrollError`]
pub fn enroll(config: &Config, out: &Path, clock: &dyn Clock) -> Result<(), EnrollError> {
    let wanted = config.enroll.as_ref().ok_or(EnrollError::NotSet)?;
    let token = open_or_make(&config.hsm)?;
    let tls = find_or_make(&token, &config.hsm.tls_key, KeyUse::StationTls)?;
    let request = find_or_make(&token, &config.hsm.request_key, KeyUse::StationRequest)?;
    let receipt = find_or_make(&token, &config.hsm.receipt_key, KeyUse::StationReceipt)?;
    let facts = station_request(config, wanted, [&tls, &request, &receipt], clock.now());
    let csr = certification_request(config, wanted, tls)?;
    ensure_directory(out)?;
    write_durably(&out.join("station-request.toml"), facts.as_bytes())?;
    Ok(write_durably(&out.join("station.csr.pem"), csr.as_bytes())?)
}

fn open_or_make(settings: &config::Hsm) -> Result<Token, EnrollError> {
    let module = Module::load(&settings.module)?;
    let pin = settings.pin()?;
    match module.open(&settings.token, pin.clone()) {
        Err(VaultError::NotFound { .. }) => {
            let so_pin = settings
                .so_pin_file
                .as_ref()
                .ok_or(EnrollError::NoSecurityOfficer)?;
            module.init_token(&settings.token, &Pin::from_file(so_pin)?, &pin)?;
            Ok(module.open(&settings.token, pin)?)
        }
        opened => Ok(opened?),
    }
}

fn find_or_make(token: &Token, label: &str, usage: KeyUse) -> Result<Key, VaultError> {
    match token.key(label, usage) {
        Err(VaultError::NotFound { .. }) => token.generate(&KeySpec::new(label, usage)?),
        found => found,
    }
}

/// The facts that the CA's operator puts beside the station's plan. Public keys are DER `SubjectPublicKeyInfo`, base64.
fn station_request(
    config: &Config,
    wanted: &config::Enroll,
    keys: [&Key; 3],
    now: Timestamp,
) -> String {
    let [tls, request, receipt] = keys.map(|key| Base64::encode_string(key.spki_der()));
    let station = &config.station;
    let until = now.plus_millis(u64::from(wanted.days).saturating_mul(MILLIS_PER_DAY));
    let identity = toml::Value::String(wanted.identity.clone());
    format!(
        "schema = \"station-request/v1\"\n\
         id = \"{}\"\nsite = \"{}\"\nline = \"{}\"\nidentity = {identity}\n\n\
         [keys]                                  # DER SubjectPublicKeyInfo, base64\n\
         tls = \"{tls}\"\nrequest = \"{request}\"\nreceipt = \"{receipt}\"\n\n\
         [valid]                                 # asked for; approvers decide\n\
         from = {}\nuntil = {}\n",
        station.id,
        station.site,
        station.line,
        rfc3339(now),
        rfc3339(until),
    )
}

fn certification_request(
    config: &Config,
    wanted: &config::Enroll,
    tls: Key,
) -> Result<String, EnrollError> {
    let mut parameters = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, config.station.id.as_str());
    parameters.distinguished_name = name;
    parameters.subject_alt_names = vec![SanType::URI(wanted.identity.as_str().try_into()?)];
    let key = RcgenKey::new(tls);
    let request =
        key.sign(|key| parameters.serialize_request(key))
            .map_err(|fault| match fault {
                RcgenFault::Vault(error) => EnrollError::Vault(error),
                RcgenFault::Contents(error) => EnrollError::Request(error),
            })?;
    Ok(request.pem()?)
}
