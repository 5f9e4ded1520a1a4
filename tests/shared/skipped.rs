//! For tests that ask a tool of others. The rooms share this file, not a package: nobody sees another room for it.

/// Says that a tool is not here and nothing was tried. With `KOSEKI_REQUIRE_TOOLS=1`, as in continuous integration, that
/// is a failure.
///
/// # Panics
/// If tools are required.
pub(crate) fn skipped(what: &str) {
    let is_required = std::env::var_os("KOSEKI_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!is_required, "tools are required: {what}");
    eprintln!("SKIPPED: {what}");
}
