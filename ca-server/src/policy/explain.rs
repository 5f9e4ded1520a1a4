//! A grant in words, for the approver who is about to sign it. Every number and key comes from the documents whose
//! hashes are shown, not from the file they were made from.

use super::grant::GrantProposal;
use super::value::rfc3339;
use der::asn1::ObjectIdentifier;
use identity::document::{Document as _, Grant, KeyOriginRule, Profile};
use identity::{Id, P256Key};

impl GrantProposal {
    /// The grant in words, one fact a line. The last part holds names from the policy files that the approval does
    /// not cover.
    #[must_use]
    pub fn explain(&self) -> String {
        let maker = &self.product.maker;
        let mut lines = grant_lines(&self.grant);
        lines.extend(profile_lines(&self.product.profile));
        lines.push(heading("Names in the policy files (not signed)".to_owned()));
        lines.push(line(
            "maker",
            format!(
                "{} / {}, corporate number {}",
                maker.name.ja, maker.name.en, maker.corporate_number
            ),
        ));
        lines.push(line(
            "product",
            format!("{} / {}", self.product.name.ja, self.product.name.en),
        ));
        lines.concat()
    }
}

fn grant_lines(grant: &Grant) -> Vec<String> {
    vec![
        heading(format!("Grant {}", grant.id)),
        line("approve", format!("SHA-256 {}", grant.hash())),
        line("maker", grant.maker.to_string()),
        line("product", grant.product.to_string()),
        line(
            "certificates",
            format!("{} at most, ever", grouped(grant.limit)),
        ),
        line("per lot", format!("{} at most", grouped(grant.per_lot))),
        line(
            "scrap",
            format!("{} units at most, besides", grouped(grant.scrap)),
        ),
        line("factory", format!("{}, site {}", grant.factory, grant.site)),
        line("lines", joined(&grant.lines)),
        line("stations", joined(&grant.stations)),
        line("from", rfc3339(grant.not_before)),
        line("until", rfc3339(grant.not_after)),
        line(
            "asked for by",
            format!("{}, who cannot approve it", grant.requester),
        ),
    ]
}

fn profile_lines(profile: &Profile) -> Vec<String> {
    let mut lines = vec![
        heading(format!(
            "Each certificate, profile SHA-256 {}",
            profile.hash()
        )),
        line(
            "subject",
            profile
                .subject
                .iter()
                .map(|a| format!("{}={}", short(&a.oid), a.template))
                .collect::<Vec<_>>()
                .join(", "),
        ),
        line("serials", format!("match {}", profile.serial_pattern)),
        line("hardware type", profile.hardware_type.to_string()),
        line("revocation", profile.crl.clone()),
    ];
    lines.extend(
        profile
            .instance_uri
            .iter()
            .map(|uri| line("instance", uri.clone())),
    );
    lines.push(line(
        "chip",
        format!(
            "{}, UID of {} bytes{}",
            profile.part,
            profile.uid.length,
            beginning(profile)
        ),
    ));
    lines.push(line(
        "key",
        format!(
            "{}; evidence {} or better",
            origin(profile.origin),
            profile.grade.name()
        ),
    ));
    lines.extend(
        profile
            .vendors
            .iter()
            .map(|vendor| line("chip vendor", vendor_key(vendor))),
    );
    lines
}

fn heading(text: String) -> String {
    text + "\n"
}

fn line(label: &str, value: String) -> String {
    format!("  {label:<14}{value}\n")
}

fn joined(names: &[Id]) -> String {
    names.iter().map(Id::as_str).collect::<Vec<_>>().join(", ")
}

fn vendor_key(key: &P256Key) -> String {
    format!("key SHA-256 {}", key.spki_hash())
}

fn beginning(profile: &Profile) -> String {
    let prefix = profile.uid.prefix.as_bytes();
    if prefix.is_empty() {
        String::new()
    } else {
        format!(" beginning {}", hex::encode(prefix))
    }
}

const fn origin(rule: KeyOriginRule) -> &'static str {
    match rule {
        KeyOriginRule::OnChip => "made on the chip",
        KeyOriginRule::Injected => "made in the line HSM and injected",
    }
}

fn short(oid: &ObjectIdentifier) -> String {
    super::product::attribute_name(oid).map_or_else(|| oid.to_string(), str::to_owned)
}

/// A number with its thousands apart, so that a zero too many is seen.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::super::{load_grant, sample};
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let numbers = [0, 999, 1_000, 50_000, 1_234_567, u32::MAX].map(grouped);
        assert_eq!(
            numbers,
            ["0", "999", "1,000", "50,000", "1,234,567", "4,294,967,295"]
        );
    }

    #[test]
    fn an_approver_reads_what_is_signed() {
        let dir = sample::dir();
        let mut proposal = load_grant(&dir, &dir.join("grants/2026-ota-line-2-cam2.toml")).unwrap();
        let text = proposal.explain();
        for fact in [
            "certificates  50,000 at most, ever",
            "per lot       1,000 at most",
            "from          2026-11-22T23:00:00Z",
            "stations      ota-l2-prov-01, ota-l2-prov-02",
            "subject       O=Mihon Denki Co., Ltd., OU=md-cam2, serialNumber={serial}, CN=md-cam2 {serial}",
            "chip          sim-se-a1, UID of 9 bytes beginning 0123",
            "key           made on the chip; evidence chip-attested or better",
            "corporate number 8900001000017",
        ] {
            assert!(text.contains(fact), "{fact} is missing in\n{text}");
        }
        assert!(text.contains(&proposal.grant.hash().to_string()));
        proposal.grant.limit = 60_000;
        assert!(proposal.explain().contains("60,000 at most"));
    }
}
