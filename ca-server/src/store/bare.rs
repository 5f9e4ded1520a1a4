//! Stores of versions whose pages had no checksums yet, and backups of them.

use super::{StoreError, version_of_ours};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// The first version whose pages have checksums. A later one without them is damaged: a flipped bit of the file's
/// header says so too.
const WITH_CHECKSUMS: i64 = 4;

/// Opens the store's file to read and write, makes it if it is not there, and rewrites one that has no checksums.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = pages::connect(path, OpenFlags::default())?;
    if !pages::is_bare(&connection)? {
        return Ok(connection);
    }
    drop(connection);
    let bare = of_before(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    tracing::info!(store = %path.display(), "the store is copied once, so that its pages have checksums");
    pages::rewrite(bare, path)?;
    Ok(pages::connect(path, OpenFlags::default())?)
}

/// Opens a store's file that nobody writes to. A backup of before has no checksums; its manifest covers its bytes.
pub(super) fn connect_to_read(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = pages::connect(path, flags)?;
    if pages::is_bare(&connection)? {
        return of_before(path, flags);
    }
    pages::insist(&connection)?;
    Ok(connection)
}

/// A store without checksums, which must be of a version that had none.
fn of_before(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let bare = pages::connect_bare(path, flags)?;
    match version_of_ours(&bare, path)? {
        version if version < WITH_CHECKSUMS => Ok(bare),
        _ => Err(StoreError::Damaged("its pages have no checksums")),
    }
}

impl From<pages::RewriteError> for StoreError {
    fn from(error: pages::RewriteError) -> Self {
        match error {
            pages::RewriteError::Sqlite(error) => error.into(),
            pages::RewriteError::File { path, error } => Self::Open {
                path,
                reason: error.to_string(),
            },
            pages::RewriteError::Unsound { path, found } => Self::Open {
                path,
                reason: format!("the copy with checksums does not hold together: {found}"),
            },
        }
    }
}
