//! The memory of the log's place, made once and kept out of every backup: the head file, which says that no leaf is
//! entered yet, and the signer's store. The server opens both and makes neither, so that a loss of the server's state
//! can never begin a second log under the same key.

use super::CeremonyError;
use super::artefacts::sync_directory;
use super::pins::closed_directory;
use crate::config::Config;
use crate::ledger::HeadFile;
use identity::approval::ApproverSet;
use identity::document::Ceremony;
use signer::{Signer, SignerConfig};
use std::path::Path;

/// Makes both, empty.
pub(super) fn begin(
    config: &Config,
    ceremony: &Ceremony,
    issuing_certificate: &[u8],
) -> Result<(), CeremonyError> {
    let (store, head) = (&config.signer.store, &config.paths.head);
    let places = [store, head].map(|file| file.parent().unwrap_or_else(|| Path::new("/")));
    for place in places {
        closed_directory(place)?;
    }
    Signer::make_store(SignerConfig {
        store: store.clone(),
        origin: ceremony.origin.clone(),
        log_vkey: ceremony.log_vkey.clone(),
        issuing_certificate: issuing_certificate.to_vec(),
        approvers: ApproverSet::from(ceremony),
        long_log: pages::LONG_LOG,
    })?;
    HeadFile::make(head)?;
    places.into_iter().try_for_each(sync_directory)
}
