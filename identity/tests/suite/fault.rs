//! The table of faults: complete in both languages, and published as it is.

use identity::fault::{Blame, Fault};
use std::fmt::Write as _;
use std::fs;

const PUBLISHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/faults.md");

/// Groups of codes by their first seven characters.
const GROUPS: [(&str, &str); 8] = [
    ("CA-01", "Who asks, and in what form"),
    ("CA-02", "Limits"),
    ("CA-03", "Proofs"),
    ("CA-04", "Seen before"),
    ("CA-05", "Confirmation"),
    ("CA-09", "The CA itself"),
    ("LINE-01", "The chip in the socket"),
    ("LINE-02", "The station"),
];

const HEAD: &str = "\
# Faults

Every fault has a code that never changes meaning, says who is at fault, and tells what to do next. Generated from
`identity/src/fault.rs` by `cargo test -p identity -- --ignored regenerate_faults`; do not edit.

At fault: `unit` — the unit or its chip, put the unit aside · `station` — its keys, clock, programmer or settings ·
`policy` — a limit set by people · `ca` — the CA, its HSM, disk or log · `peer` — somebody who is not who they say.

Two tables stand beside their code: the signer's refusals and stops, `SIGN-01xx`, in
[`signer/src/code.rs`](../signer/src/code.rs), and the verifier's reasons, `VERIFY-01xx`, in
[`sdk/verify/src/reason.rs`](../sdk/verify/src/reason.rs).
";

fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for (prefix, title) in GROUPS {
        write!(page, "\n## {prefix}xx: {title}\n\n").unwrap();
        page.push_str(
            "| code | at fault | what happened | what to do | 何が起きたか | 次にすること |\n",
        );
        page.push_str("|---|---|---|---|---|---|\n");
        for text in Fault::ALL
            .iter()
            .map(|fault| fault.text())
            .filter(|text| text.code.starts_with(prefix))
        {
            let blame = text.blame.name();
            let (en, ja) = ([text.en, text.hint_en], [text.ja, text.hint_ja]);
            writeln!(
                page,
                "| {} | {blame} | {} | {} | {} | {} |",
                text.code, en[0], en[1], ja[0], ja[1]
            )
            .unwrap();
        }
    }
    page
}

#[test]
fn the_published_table_is_this_one() {
    assert_eq!(fs::read_to_string(PUBLISHED).unwrap(), markdown());
}

#[test]
#[ignore = "writes docs/faults.md"]
fn regenerate_faults() {
    fs::write(PUBLISHED, markdown()).unwrap();
}

#[test]
fn every_fault_stands_in_exactly_one_group() {
    for fault in Fault::ALL {
        assert_eq!(
            GROUPS
                .iter()
                .filter(|(prefix, _)| fault.code().starts_with(prefix))
                .count(),
            1,
            "{fault}"
        );
        assert_eq!(
            markdown().matches(&format!("| {} |", fault.code())).count(),
            1,
            "{fault}"
        );
    }
}

#[test]
fn a_code_is_a_place_and_four_digits() {
    for fault in Fault::ALL {
        let (place, number) = fault.code().split_once('-').unwrap();
        assert!(matches!(place, "CA" | "LINE"), "{fault}");
        assert!(
            number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit()),
            "{fault}"
        );
        assert_eq!(
            fault.to_string(),
            format!("{}: {}", fault.code(), fault.text().en)
        );
    }
    assert_eq!(Fault::from_code("CA-0000"), None);
}

#[test]
fn codes_rise_so_that_a_new_one_finds_its_place() {
    assert!(
        Fault::ALL
            .windows(2)
            .all(|pair| pair[0].code() < pair[1].code())
    );
}

/// Hiragana, katakana or a CJK ideograph.
const fn is_japanese(letter: char) -> bool {
    matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}')
}

#[test]
fn every_text_is_there_in_both_languages() {
    for text in Fault::ALL.iter().map(|fault| fault.text()) {
        for english in [text.en, text.hint_en] {
            assert!(
                !english.trim().is_empty() && english.is_ascii(),
                "{}: {english}",
                text.code
            );
            assert!(
                !english.contains('|') && !english.ends_with('.'),
                "{}: {english}",
                text.code
            );
        }
        for japanese in [text.ja, text.hint_ja] {
            assert!(
                japanese.chars().any(is_japanese) && !japanese.contains('|'),
                "{}: {japanese}",
                text.code
            );
        }
    }
}

#[test]
fn nobody_is_never_at_fault() {
    for blame in [
        Blame::Unit,
        Blame::Station,
        Blame::Policy,
        Blame::Ca,
        Blame::Peer,
    ] {
        assert!(
            Fault::ALL.iter().any(|fault| fault.blame() == blame),
            "{}",
            blame.name()
        );
    }
}
