//! What a station reads from its own disk and from the factory's execution system.

use line_agent::lot::{Lot, LotError};
use line_agent::station::journal::{Journal, seal};
use std::fmt::Write as _;

pub(super) fn lot_file(input: &[u8]) -> bool {
    let lot = match Lot::parse(input, |_| None) {
        Ok(lot) => lot,
        Err(LotError::At(place, _)) => {
            assert!(place.line > 0 && place.column > 0);
            return false;
        }
        Err(LotError::File(error)) => panic!("no file was read: {error}"),
    };
    let mut text = "lot,serial,label\n".to_owned();
    for unit in &lot.units {
        let label = unit.label.replace('"', "\"\"");
        writeln!(text, "\"{}\",\"{}\",\"{label}\"", lot.id, unit.serial).unwrap();
    }
    let again = Lot::parse(text.as_bytes(), |_| None);
    assert_eq!(again.ok().as_ref(), Some(&lot));
    true
}

/// Each line is an entry as JSON; its digest is put before it, so that more than the digest is tried.
pub(super) fn journal(input: &[u8]) -> bool {
    // As it is: nearly always damage.
    drop(Journal::read(input));
    let Ok(text) = str::from_utf8(input) else {
        return false;
    };
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (bytes, _) = seal(&lines);
    let Ok(history) = Journal::read(&bytes) else {
        return false;
    };
    let compacted = Journal::compacted(&history).expect("a state that a journal led to");
    assert_eq!(Journal::read(&compacted).as_ref(), Ok(&history));
    true
}
