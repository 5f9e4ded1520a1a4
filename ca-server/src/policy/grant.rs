use super::error::{PolicyError, PolicyFault};
use super::maker::Maker;
use super::product::{Product, load_product};
use super::source::Source;
use super::value::{Text, ValidShape, rfc3339};
use identity::Id;
use identity::document::{Document as _, Grant, Version1};
use serde::Deserialize;
use std::num::NonZeroU32;
use std::path::Path;
use toml::Spanned;

/// A grant as asked for, with the product it is for: what approvers look at before they sign.
#[derive(Clone, Debug)]
pub struct GrantProposal {
    /// The document that approvers sign.
    pub grant: Grant,
    /// Product, maker and profile; `grant.profile` is the profile's hash.
    pub product: Product,
}

/// Loads a grant and, from the policy directory, its product and maker.
///
/// # Errors
/// [`PolicyError`] names the file, place and fault: of the grant, the product, the maker or a vendor's key.
pub fn load_grant(dir: &Path, path: &Path) -> Result<GrantProposal, PolicyError> {
    let source = Source::read(path)?;
    let shape: Shape = source.parse()?;
    let product = load_product(dir, &shape.product.0)?;
    same_maker(&source, &shape, &product.maker)?;
    mandated(&source, &shape, &product.maker)?;
    within_limits(&source, &shape)?;
    let grant = Grant {
        version: Version1,
        id: source.named(&shape.id)?,
        maker: product.maker.id,
        factory: shape.factory.0,
        site: shape.site.0,
        lines: source.distinct(&shape.lines)?,
        stations: source.distinct(&shape.stations)?,
        product: product.profile.product,
        profile: product.profile.hash(),
        limit: shape.quota.total.get(),
        per_lot: shape.quota.per_lot.as_ref().get(),
        scrap: shape.quota.scrap,
        not_before: shape.valid.as_ref().from.0,
        not_after: shape.valid.as_ref().until.0,
        requester: shape.requester.as_ref().0,
    };
    grant
        .check()
        .map_err(|error| source.refuse_whole(error.into()))?;
    Ok(GrantProposal { grant, product })
}

#[derive(Deserialize)]
enum Schema {
    #[serde(rename = "grant/v1")]
    V1,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    #[serde(rename = "schema")]
    _schema: Schema,
    id: Spanned<Text<Id>>,
    maker: Spanned<Text<Id>>,
    product: Text<Id>,
    factory: Text<Id>,
    site: Text<Id>,
    lines: Spanned<Vec<Spanned<Text<Id>>>>,
    stations: Spanned<Vec<Spanned<Text<Id>>>>,
    requester: Spanned<Text<Id>>,
    quota: QuotaShape,
    valid: Spanned<ValidShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaShape {
    total: NonZeroU32,
    per_lot: Spanned<NonZeroU32>,
    scrap: u32,
}

fn same_maker(source: &Source, shape: &Shape, maker: &Maker) -> Result<(), PolicyError> {
    let named = shape.maker.as_ref().0;
    if named == maker.id {
        return Ok(());
    }
    let other = format!("product {}", shape.product.0);
    let (found, expected) = (named.to_string(), maker.id.to_string());
    Err(source.refuse(
        shape.maker.span(),
        PolicyFault::Contradiction {
            what: "the maker",
            found,
            expected,
            other,
        },
    ))
}

/// The requester holds the maker's mandate on the day the grant begins.
fn mandated(source: &Source, shape: &Shape, maker: &Maker) -> Result<(), PolicyError> {
    let requester = shape.requester.as_ref().0;
    let known = maker
        .applicants
        .iter()
        .find(|applicant| applicant.id == requester);
    let unknown = || PolicyFault::Unknown {
        kind: "applicant of this maker named",
        id: requester.to_string(),
    };
    let applicant = known.ok_or_else(|| source.refuse(shape.requester.span(), unknown()))?;
    let begins = shape.valid.as_ref().from.0;
    if begins <= applicant.until {
        return Ok(());
    }
    let fault = PolicyFault::Contradiction {
        what: "the grant's beginning",
        found: rfc3339(begins),
        expected: format!("no later than {}", rfc3339(applicant.until)),
        other: format!("{requester}'s mandate"),
    };
    Err(source.refuse(shape.requester.span(), fault))
}

fn within_limits(source: &Source, shape: &Shape) -> Result<(), PolicyError> {
    let per_lot = &shape.quota.per_lot;
    source.require(
        *per_lot.as_ref() <= shape.quota.total,
        per_lot.span(),
        "per_lot is not more than the total",
    )?;
    let valid = shape.valid.as_ref();
    source.require(
        valid.from.0 < valid.until.0,
        shape.valid.span(),
        "until is later than from",
    )
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    const FILE: &str = "grants/2026-ota-line-2-cam2.toml";

    fn refused(from: &str, to: &str) -> String {
        let copy = sample::altered(FILE, from, to);
        load_grant(copy.path(), &copy.path().join(FILE))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn both_sample_grants_load() {
        for (file, product) in [
            (FILE, "md-cam2"),
            ("grants/2026-ota-line-2-tmp1.toml", "md-tmp1"),
        ] {
            let proposal = load_grant(&sample::dir(), &sample::dir().join(file)).unwrap();
            assert_eq!(proposal.grant.product.as_str(), product);
            assert_eq!(proposal.grant.profile, proposal.product.profile.hash());
            assert_eq!(
                Grant::from_bytes(&proposal.grant.to_bytes()).unwrap(),
                proposal.grant
            );
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_line_and_column() {
        let error = refused("scrap = 500", "scrapp = 500");
        assert!(
            error.contains("2026-ota-line-2-cam2.toml:17:1: quota.scrapp: unknown field `scrapp`"),
            "{error}"
        );
        assert!(
            refused("[valid]", "per_day = 3\n[valid]").contains(": quota.per_day: unknown field")
        );
        assert!(refused("[valid]", "[offline]\n[valid]").contains(": offline: unknown field"));
    }

    const FAULTS: &[(&str, &str, &str)] = &[
        (
            "total = 50_000",
            "total = \"50_000\"",
            "quota.total: invalid type",
        ),
        ("total = 50_000", "total = 0", "quota.total: invalid value"),
        ("total = 50_000", "total = -1", "quota.total: invalid value"),
        (
            "total = 50_000",
            "total = 4_294_967_296",
            "quota.total: invalid value",
        ),
        (
            "per_lot = 1_000",
            "per_lot = 0",
            "quota.per_lot: invalid value",
        ),
        (
            "per_lot = 1_000",
            "per_lot = 50_001",
            "quota.per_lot: per_lot is not more than the total",
        ),
        (
            "lines = [\"line-2\"]",
            "lines = []",
            "lines: at least one name",
        ),
        (
            "lines = [\"line-2\"]",
            "lines = [\"line-2\", \"line-2\"]",
            "lines[1]: the same name",
        ),
        (
            "lines = [\"line-2\"]",
            "lines = [\"line 2\"]",
            "lines: \"line 2\" is refused",
        ),
        (
            "until = 2027-03-31T18:00:00+09:00",
            "until = 2026-11-23T08:00:00+09:00",
            "valid: until is later",
        ),
        (
            "until = 2027-03-31T18:00:00+09:00",
            "until = 2027-03-31T18:00:00",
            "valid.until: ",
        ),
        (
            "until = 2027-03-31T18:00:00+09:00",
            "until = \"tomorrow\"",
            "valid.until: invalid type",
        ),
        (
            "maker = \"mihon-denki\"",
            "maker = \"other\"",
            "maker: the maker is other here and mihon-denki in product md-cam2",
        ),
        (
            "requester = \"app-01\"",
            "requester = \"vet-01\"",
            "requester: there is no applicant",
        ),
        ("grant/v1", "grant/v2", "schema: unknown variant"),
    ];

    #[test]
    fn a_wrong_type_or_value_is_refused_at_its_place() {
        for (from, to, key) in FAULTS {
            let error = refused(from, to);
            assert!(error.contains(key), "{to}: {error}");
            assert!(error.contains(". To do: "), "{error}");
        }
    }

    #[test]
    fn a_grant_does_not_begin_after_its_requesters_mandate() {
        let error = refused(
            "from = 2026-11-23T08:00:00+09:00\nuntil = 2027-03-31T18:00:00+09:00",
            "from = 2027-11-23T08:00:00+09:00\nuntil = 2028-03-31T18:00:00+09:00",
        );
        assert!(error.contains("app-01's mandate"), "{error}");
    }

    #[test]
    fn a_missing_key_and_broken_toml_are_refused() {
        assert!(refused("scrap = 500", "").contains("missing field `scrap`"));
        let error = refused("[quota]", "[quota");
        assert!(error.contains("cam2.toml:14:"), "{error}");
    }
}
