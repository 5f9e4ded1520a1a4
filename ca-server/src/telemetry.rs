//! Events of the process, to standard error. What is logged never holds a PIN, a key or a whole request.

use crate::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Starts logging for the life of the process. A second call changes nothing.
///
/// # Errors
/// [`ParseError`] if the filter cannot be read.
pub fn start(log: &Log) -> Result<(), ParseError> {
    let filter: EnvFilter = keyvault::quiet(&log.filter).parse()?;
    let events = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Json => events.json().flatten_event(true).try_init(),
        LogFormat::Text => events.with_ansi(false).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
    Ok(())
}
