//! Events of the process, to standard error. What is logged never holds a PIN, a key or a whole request.

use crate::config::Log;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Starts logging for the life of the process. A second call changes nothing.
///
/// # Errors
/// [`ParseError`] if the filter cannot be read.
pub fn start(log: &Log) -> Result<(), ParseError> {
    let filter: EnvFilter = keyvault::quiet(&log.filter).parse()?;
    vitals::log::start(log.format, filter);
    Ok(())
}
