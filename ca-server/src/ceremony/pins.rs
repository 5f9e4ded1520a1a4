//! PINs of the ceremony: random, one file each, closed to everybody but their owner.
//!
//! `<pins>/` holds what runs every day, `<pins>/offline/` the root's PIN and all security officers' PINs, and
//! `<pins>/approvers/<id>/` what goes home with each approver's card. A file that is there already is used, if
//! nobody else could have put or read it there.

use super::{CeremonyError, Orders};
use crate::config::PinSource;
use crate::policy::{CeremonyPlan, TokenKey};
use identity::{Entropy, Id};
use keyvault::Pin;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Random bytes of a PIN: 128 bits, written as 32 hexadecimal digits.
const PIN_BYTES: usize = 16;

/// The PINs of every token.
pub(super) struct Pins {
    tokens: BTreeMap<Id, TokenPins>,
    issuing_file: PathBuf,
}

struct TokenPins {
    user: Pin,
    officer: Pin,
}

impl Pins {
    /// Reads or makes every PIN of the plan.
    pub(super) fn prepare(
        orders: &Orders<'_>,
        entropy: &dyn Entropy,
    ) -> Result<Self, CeremonyError> {
        let offline = orders.pins.join("offline");
        closed_directory(orders.pins)?;
        closed_directory(&offline)?;
        let mut tokens = BTreeMap::new();
        for (key, user_file) in user_files(orders) {
            if let Some(parent) = user_file.parent().filter(|it| it.starts_with(orders.pins)) {
                closed_directory(parent)?;
            }
            let user = read_or_make(&user_file, entropy)?;
            let officer = read_or_make(&offline.join(format!("{}.so-pin", key.token)), entropy)?;
            tokens.insert(key.token, TokenPins { user, officer });
        }
        Ok(Self {
            tokens,
            issuing_file: pin_file(orders.pins, &orders.plan.issuing.key),
        })
    }

    /// User and security officer's PIN of a token of the plan.
    pub(super) fn of(&self, token: &Id) -> Result<(&Pin, &Pin), CeremonyError> {
        let pins = self.tokens.get(token).ok_or_else(|| {
            CeremonyError::Certificate(format!("token {token} is not in the plan"))
        })?;
        Ok((&pins.user, &pins.officer))
    }

    /// File of the issuing token's PIN, for the signer's configuration.
    pub(super) fn issuing_file(&self) -> &Path {
        &self.issuing_file
    }
}

/// Each token of the plan and the file of its user PIN.
fn user_files(orders: &Orders<'_>) -> Vec<(TokenKey, PathBuf)> {
    let CeremonyPlan {
        root,
        issuing,
        infrastructure,
        log,
        approvers,
        ..
    } = orders.plan;
    let configured = |source: PinSource, key: &TokenKey| match source {
        PinSource::File(path) => path,
        PinSource::Credential(_) => pin_file(orders.pins, key),
    };
    let hsm = &orders.config.hsm;
    let mut files = vec![
        (root.key, pin_file(&orders.pins.join("offline"), &root.key)),
        (issuing.key, pin_file(orders.pins, &issuing.key)),
        (
            infrastructure.key,
            configured(hsm.infrastructure.pin(), &infrastructure.key),
        ),
        (*log, configured(hsm.log.pin(), log)),
    ];
    files.extend(approvers.iter().map(|approver| {
        let home = orders.pins.join("approvers").join(approver.id.as_str());
        (approver.key, pin_file(&home, &approver.key))
    }));
    files
}

fn pin_file(directory: &Path, key: &TokenKey) -> PathBuf {
    directory.join(format!("{}.pin", key.token))
}

/// Makes a directory that is closed to others, or refuses the one that is there.
pub(super) fn closed_directory(path: &Path) -> Result<(), CeremonyError> {
    crate::private::directory(path).map_err(|why| CeremonyError::NotPrivate {
        path: path.to_owned(),
        why: why.to_string(),
    })
}

fn read_or_make(path: &Path, entropy: &dyn Entropy) -> Result<Pin, CeremonyError> {
    let failed = |error| CeremonyError::File {
        path: path.to_owned(),
        error,
    };
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Ok(mut file) => {
            let mut random = Zeroizing::new([0; PIN_BYTES]);
            entropy
                .fill(random.as_mut())
                .map_err(|_failed| CeremonyError::Entropy)?;
            let pin = Zeroizing::new(hex::encode(random.as_ref()));
            file.write_all(pin.as_bytes()).map_err(failed)?;
            file.sync_all().map_err(failed)?;
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    Ok(Pin::from_file(path)?)
}
