//! The transcript: what was made, in words that are read aloud and signed by hand.

use super::Orders;
use super::certificates::Certificates;
use super::tokens::Keys;
use identity::document::{Ceremony, Document as _};
use identity::hash::sha256;
use identity::{CertificateHash, Timestamp};
use keyvault::Key;

pub(super) fn write(
    orders: &Orders<'_>,
    keys: &Keys,
    certificates: &Certificates,
    ceremony: &Ceremony,
) -> String {
    let mut lines = vec![
        "Key ceremony".to_owned(),
        String::new(),
        line("origin", &ceremony.origin),
        line("time", &rfc3339(ceremony.time)),
        line("module", &orders.config.hsm.module.display().to_string()),
        line("ceremony", &format!("SHA-256 {}", ceremony.hash())),
        line("log key", &ceremony.log_vkey),
        line(
            "approvals",
            &format!("{} of {}", ceremony.needed, ceremony.approvers.len()),
        ),
        String::new(),
        "Keys: token, label, use, SHA-256 of the public key".to_owned(),
    ];
    lines.extend(key_lines(orders, keys));
    lines.extend([
        String::new(),
        "Certificates: SHA-256 of the DER".to_owned(),
        certificate("device root", &certificates.root),
        certificate("issuing CA", &certificates.issuing),
        certificate("infrastructure root", &certificates.infrastructure),
        certificate("server", &certificates.server),
        String::new(),
        "Present: name, role, signature".to_owned(),
    ]);
    lines.extend(
        orders
            .attended
            .iter()
            .map(|person| format!("  {person:<48} ____________________")),
    );
    lines.extend([
        String::new(),
        "To do: put the root's token and offline/ away; hand each approver token and PIN; copy the issuing PIN to the"
            .to_owned(),
        "signer's host and the log's and infrastructure's to the server's; keep this page signed.".to_owned(),
    ]);
    lines.join("\n") + "\n"
}

fn key_lines(orders: &Orders<'_>, keys: &Keys) -> Vec<String> {
    let plan = orders.plan;
    let mut lines = vec![
        key(plan.root.key.token.as_str(), &keys.root),
        key(plan.issuing.key.token.as_str(), &keys.issuing),
        key(plan.infrastructure.key.token.as_str(), &keys.infrastructure),
        key(plan.infrastructure.key.token.as_str(), &keys.server),
        key(plan.log.token.as_str(), &keys.log),
    ];
    lines.extend(
        plan.approvers
            .iter()
            .zip(&keys.approvers)
            .map(|(approver, (_, made))| key(approver.key.token.as_str(), made)),
    );
    lines
}

fn key(token: &str, key: &Key) -> String {
    format!(
        "  {token:<32} {:<32} {:<16} {}",
        key.label(),
        key.usage().name(),
        hex::encode(sha256(key.spki_der()))
    )
}

fn certificate(what: &str, der: &[u8]) -> String {
    format!("  {what:<22} {}", CertificateHash::of(der))
}

fn line(what: &str, value: &str) -> String {
    format!("  {what:<12} {value}")
}

fn rfc3339(moment: Timestamp) -> String {
    let time = i64::try_from(moment.0)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    time.map_or_else(|| format!("{} ms", moment.0), |time| time.to_string())
}
