//! Searching: `C_FindObjectsInit`, `C_FindObjects`, `C_FindObjectsFinal`.

use cryptoki_sys::*;

use super::rv::{Result, Rv};
use super::session::Session;
use super::template::Template;

/// Begins a search and does all of it: what other sessions change meanwhile is not seen.
///
/// # Errors
/// `CKR_OPERATION_ACTIVE`, and those of reading the token's file.
pub(crate) fn begin(session: &Session, template: &Template) -> Result<()> {
    let mut operations = session.operations()?;
    if operations.search.is_some() {
        return Err(Rv(CKR_OPERATION_ACTIVE));
    }
    session.token.refresh()?;
    let found = session.token.objects()?;
    operations.search = Some(
        found
            .iter()
            .filter(|object| object.matches(template))
            .map(|object| object.handle)
            .collect(),
    );
    Ok(())
}

/// The next handles, at most so many.
///
/// # Errors
/// `CKR_OPERATION_NOT_INITIALIZED`.
pub(crate) fn next(session: &Session, most: usize) -> Result<Vec<CK_OBJECT_HANDLE>> {
    let mut operations = session.operations()?;
    let search = operations
        .search
        .as_mut()
        .ok_or(Rv(CKR_OPERATION_NOT_INITIALIZED))?;
    let count = most.min(search.len());
    Ok(search.drain(..count).collect())
}

/// Ends the search.
///
/// # Errors
/// `CKR_OPERATION_NOT_INITIALIZED`.
pub(crate) fn end(session: &Session) -> Result<()> {
    let search = session.operations()?.search.take();
    search.map(drop).ok_or(Rv(CKR_OPERATION_NOT_INITIALIZED))
}
