use super::error::{PolicyError, PolicyFault};
use super::source::Source;
use super::value::{DisplayName, Moment, Text};
use identity::{Id, Timestamp};
use serde::Deserialize;
use std::num::NonZeroU8;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;

/// Longest token label (PKCS #11 v3.1 §3.2, `CK_TOKEN_INFO.label`).
const MAX_TOKEN_LABEL: usize = 32;

/// What a key ceremony is to make. The root and the issuing CA have no end: no CA may end before the `IDevID`s below
/// it, and those have none (99991231235959Z, RFC 5280 §4.1.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CeremonyPlan {
    /// Origin line of the log's checkpoints (C2SP tlog-checkpoint).
    pub origin: String,
    /// First moment of validity of all three CA certificates.
    pub not_before: Timestamp,
    /// The device root; its token is put away after the ceremony.
    pub root: AuthorityPlan,
    /// The issuing CA; only the signer opens its token.
    pub issuing: AuthorityPlan,
    /// The root of TLS certificates for servers, stations and people.
    pub infrastructure: AuthorityPlan,
    /// Last moment of validity of the infrastructure root.
    pub infrastructure_until: Timestamp,
    /// The log's checkpoint key; only the ledger opens its token.
    pub log: TokenKey,
    /// Approvals that a grant or station needs; at most the number of approvers.
    pub needed: u8,
    /// All approvers, each with a card.
    pub approvers: Vec<ApproverPlan>,
}

/// A CA to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityPlan {
    /// O of its subject.
    pub organization: DisplayName,
    /// CN of its subject.
    pub common_name: DisplayName,
    /// Its key.
    pub key: TokenKey,
}

/// Where a key lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenKey {
    /// Label of the token, at most 32 bytes.
    pub token: Id,
    /// Label of the key pair on the token.
    pub label: Id,
}

/// An approver and the key on the approver's card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApproverPlan {
    /// Name of the approver.
    pub id: Id,
    /// The approver's key.
    pub key: TokenKey,
}

/// Loads the plan of a ceremony.
///
/// # Errors
/// [`PolicyError`] names the place and the fault: a token used twice, two CAs of one name, more approvals needed
/// than there are approvers.
pub fn load_ceremony(path: &Path) -> Result<CeremonyPlan, PolicyError> {
    let source = Source::read(path)?;
    let shape: Shape = source.parse()?;
    source.require(
        is_origin(shape.origin.as_ref()),
        shape.origin.span(),
        "origin is a host and path without scheme, blank or +",
    )?;
    tokens_apart(&source, &shape)?;
    names_apart(&source, &shape)?;
    enough_approvers(&source, &shape)?;
    let ends = shape.infrastructure.until.as_ref().0;
    source.require(
        shape.not_before.0 < ends,
        shape.infrastructure.until.span(),
        "until is later than not_before",
    )?;
    Ok(CeremonyPlan {
        origin: shape.origin.into_inner(),
        not_before: shape.not_before.0,
        infrastructure: shape.infrastructure.plan(),
        infrastructure_until: ends,
        root: shape.root.into(),
        issuing: shape.issuing.into(),
        log: TokenKey {
            token: shape.log.token.as_ref().0,
            label: shape.log.key.0,
        },
        needed: shape.approval.needed.as_ref().get(),
        approvers: shape.approver.iter().map(ApproverShape::plan).collect(),
    })
}

#[derive(Deserialize)]
enum Schema {
    #[serde(rename = "ceremony/v1")]
    V1,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    #[serde(rename = "schema")]
    _schema: Schema,
    origin: Spanned<String>,
    not_before: Moment,
    root: AuthorityShape,
    issuing: AuthorityShape,
    infrastructure: InfrastructureShape,
    log: KeyShape,
    approval: ApprovalShape,
    approver: Vec<ApproverShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorityShape {
    organization: Text<DisplayName>,
    common_name: Spanned<Text<DisplayName>>,
    token: Spanned<Text<Id>>,
    key: Text<Id>,
}

impl From<AuthorityShape> for AuthorityPlan {
    fn from(shape: AuthorityShape) -> Self {
        Self {
            organization: shape.organization.0,
            common_name: shape.common_name.into_inner().0,
            key: TokenKey {
                token: shape.token.as_ref().0,
                label: shape.key.0,
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InfrastructureShape {
    organization: Text<DisplayName>,
    common_name: Spanned<Text<DisplayName>>,
    token: Spanned<Text<Id>>,
    key: Text<Id>,
    until: Spanned<Moment>,
}

impl InfrastructureShape {
    fn plan(&self) -> AuthorityPlan {
        AuthorityPlan {
            organization: self.organization.0.clone(),
            common_name: self.common_name.as_ref().0.clone(),
            key: TokenKey {
                token: self.token.as_ref().0,
                label: self.key.0,
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyShape {
    token: Spanned<Text<Id>>,
    key: Text<Id>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApprovalShape {
    needed: Spanned<NonZeroU8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApproverShape {
    id: Spanned<Text<Id>>,
    token: Spanned<Text<Id>>,
    key: Text<Id>,
}

impl ApproverShape {
    fn plan(&self) -> ApproverPlan {
        ApproverPlan {
            id: self.id.get_ref().0,
            key: TokenKey {
                token: self.token.get_ref().0,
                label: self.key.0,
            },
        }
    }
}

fn is_origin(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && !text.contains("://")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'+')
}

/// Each key has a token of its own: whoever opens one must not reach another.
fn tokens_apart(source: &Source, shape: &Shape) -> Result<(), PolicyError> {
    let fixed = [
        &shape.root.token,
        &shape.issuing.token,
        &shape.infrastructure.token,
        &shape.log.token,
    ];
    let tokens: Vec<_> = fixed
        .into_iter()
        .chain(shape.approver.iter().map(|approver| &approver.token))
        .collect();
    for token in &tokens {
        let short = token.as_ref().0.as_str().len() <= MAX_TOKEN_LABEL;
        source.require(
            short,
            token.span(),
            "a token label has at most 32 bytes (PKCS #11)",
        )?;
    }
    let labels = tokens.iter().map(|token| (token.as_ref().0, token.span()));
    all_differ(
        source,
        labels,
        "every key has a token of its own; this one is named above",
    )
}

fn names_apart(source: &Source, shape: &Shape) -> Result<(), PolicyError> {
    let names = [
        &shape.root.common_name,
        &shape.issuing.common_name,
        &shape.infrastructure.common_name,
    ];
    all_differ(
        source,
        names.iter().map(|name| (&name.as_ref().0, name.span())),
        "the three CAs differ in name",
    )
}

fn enough_approvers(source: &Source, shape: &Shape) -> Result<(), PolicyError> {
    let ids = shape
        .approver
        .iter()
        .map(|approver| (approver.id.as_ref().0, approver.id.span()));
    all_differ(source, ids, "an approver stands in the file once")?;
    let needed = &shape.approval.needed;
    if usize::from(needed.as_ref().get()) <= shape.approver.len() {
        return Ok(());
    }
    let fault = PolicyFault::Contradiction {
        what: "the number of approvals needed",
        found: needed.as_ref().to_string(),
        expected: format!("at most {}", shape.approver.len()),
        other: "the list of approvers".to_owned(),
    };
    Err(source.refuse(needed.span(), fault))
}

fn all_differ<T: PartialEq>(
    source: &Source,
    values: impl Iterator<Item = (T, Range<usize>)>,
    rule: &'static str,
) -> Result<(), PolicyError> {
    let mut seen = Vec::new();
    for (value, span) in values {
        source.require(!seen.contains(&value), span, rule)?;
        seen.push(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    const FILE: &str = "ceremony/demo.toml";

    fn refused(from: &str, to: &str) -> String {
        let copy = sample::altered(FILE, from, to);
        load_ceremony(&copy.path().join(FILE))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_sample_ceremony_loads() {
        let plan = load_ceremony(&sample::dir().join(FILE)).unwrap();
        assert_eq!(plan.origin, "log.mihon-denki.example/ota-2");
        assert_eq!((plan.needed, plan.approvers.len()), (2, 3));
        assert!(
            plan.approvers
                .iter()
                .any(|approver| approver.id == sample::id("ca-op-02"))
        );
    }

    #[test]
    fn keys_people_and_names_are_kept_apart() {
        for (from, to, expected) in [
            (
                "token = \"koseki-issuing\"",
                "token = \"koseki-root\"",
                "issuing.token: every key has a token",
            ),
            (
                "token = \"approver-qa-03\"",
                "token = \"koseki-log\"",
                "approver[2].token: every key has a token",
            ),
            (
                "id = \"qa-03\"",
                "id = \"vet-01\"",
                "approver[2].id: an approver stands in the file once",
            ),
            (
                "Infrastructure Root R1",
                "Device Root R1",
                "infrastructure.common_name: the three CAs differ",
            ),
            (
                "needed = 2",
                "needed = 4",
                "approval.needed: the number of approvals needed is 4 here and at most 3",
            ),
            ("needed = 2", "needed = 0", "approval.needed: invalid value"),
            (
                "log.mihon-denki.example/ota-2",
                "https://log.mihon-denki.example",
                "origin: ",
            ),
            ("log.mihon-denki.example/ota-2", "log +1", "origin: "),
            (
                "koseki-log",
                "koseki-log-with-a-label-far-too-long",
                "log.token: a token label",
            ),
            (
                "until = 2036-",
                "until = 2026-",
                "infrastructure.until: until is later",
            ),
        ] {
            let error = refused(from, to);
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}
