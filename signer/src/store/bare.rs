//! Stores of versions whose pages had no checksums yet.

use super::{FLAGS, failed, lock};
use crate::error::SignerError;
use pages::RewriteError;
use rusqlite::Connection;
use std::path::Path;

/// The first version whose pages have checksums. A later one without them is damaged: a flipped bit of the file's
/// header says so too.
const WITH_CHECKSUMS: i64 = 3;

/// Opens the store's file, and rewrites one that has no checksums.
pub(super) fn connect(path: &Path) -> Result<Connection, SignerError> {
    let failed = |error| failed(path, error);
    let connection = super::connect(path).map_err(failed)?;
    if !pages::is_bare(&connection).map_err(failed)? {
        return Ok(connection);
    }
    drop(connection);
    let bare = pages::connect_bare(path, FLAGS).map_err(failed)?;
    match lock(&bare, path, |_bare| Ok(()))? {
        0 => return Err(SignerError::StoreMissing(path.to_owned())),
        version if version >= WITH_CHECKSUMS => {
            let what = "its pages have no checksums".to_owned();
            return Err(SignerError::Damaged(what));
        }
        _ => tracing::info!("the signer's store is copied once, so that its pages have checksums"),
    }
    pages::rewrite(bare, path).map_err(|error| match error {
        RewriteError::Sqlite(error) => failed(error),
        RewriteError::File { path, error } => SignerError::StoreNotMade { path, error },
        RewriteError::Unsound { .. } => SignerError::Damaged(error.to_string()),
    })?;
    super::connect(path).map_err(failed)
}
