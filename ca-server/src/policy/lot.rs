use super::error::{PolicyError, PolicyFault};
use super::source::Source;
use super::value::Text;
use identity::document::{Document as _, Grant, LotOrder, Version1};
use identity::{DeviceSerial, Id};
use serde::Deserialize;
use std::num::NonZeroU32;
use std::path::Path;
use toml::Spanned;

/// Loads a lot order under its grant.
///
/// # Errors
/// [`PolicyError`] names the place and the fault: another grant, more units than the grant allows a lot, a range
/// that does not run upward or is too short.
pub fn load_lot(path: &Path, grant: &Grant) -> Result<LotOrder, PolicyError> {
    let source = Source::read(path)?;
    let shape: Shape = source.parse()?;
    under_grant(&source, &shape, grant)?;
    serials_suffice(&source, &shape)?;
    let lot = LotOrder {
        version: Version1,
        id: source.named(&shape.id)?,
        grant: grant.hash(),
        work_order: shape.work_order.0,
        quantity: shape.quantity.as_ref().get(),
        first_serial: shape.serials.as_ref().from.0,
        last_serial: shape.serials.as_ref().to.0,
    };
    lot.check()
        .map_err(|error| source.refuse_whole(error.into()))?;
    Ok(lot)
}

/// Whether two lots, each with its grant, cannot both be. Serials are unique at a maker, so two of its lots never share
/// any; but one lot goes on under another grant, with name, product and serials as they were.
#[must_use]
pub fn collide((one, of_one): (&LotOrder, &Grant), (two, of_two): (&LotOrder, &Grant)) -> bool {
    let share = one.serials().holds(&two.first_serial) || two.serials().holds(&one.first_serial);
    let goes_on = one.grant != two.grant
        && one.id == two.id
        && of_one.product == of_two.product
        && one.serials() == two.serials();
    of_one.maker == of_two.maker && share && !goes_on
}

/// The grant that a lot order names, to find the grant before the lot is loaded.
///
/// # Errors
/// [`PolicyError`] if the file is not a lot order.
pub(super) fn grant_of_lot(path: &Path) -> Result<Id, PolicyError> {
    Source::read(path)?
        .parse::<Shape>()
        .map(|shape| shape.grant.as_ref().0)
}

#[derive(Deserialize)]
enum Schema {
    #[serde(rename = "lot/v1")]
    V1,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    #[serde(rename = "schema")]
    _schema: Schema,
    id: Spanned<Text<Id>>,
    grant: Spanned<Text<Id>>,
    work_order: Text<Id>,
    quantity: Spanned<NonZeroU32>,
    serials: Spanned<SerialsShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SerialsShape {
    from: Text<DeviceSerial>,
    to: Text<DeviceSerial>,
}

fn under_grant(source: &Source, shape: &Shape, grant: &Grant) -> Result<(), PolicyError> {
    let named = shape.grant.as_ref().0;
    if named != grant.id {
        let (found, expected) = (named.to_string(), grant.id.to_string());
        let other = "the grant given".to_owned();
        return Err(source.refuse(
            shape.grant.span(),
            PolicyFault::Contradiction {
                what: "the grant",
                found,
                expected,
                other,
            },
        ));
    }
    let quantity = shape.quantity.as_ref().get();
    if quantity > grant.per_lot {
        let fault = PolicyFault::Contradiction {
            what: "the quantity",
            found: quantity.to_string(),
            expected: format!("at most {}", grant.per_lot),
            other: format!("grant {}", grant.id),
        };
        return Err(source.refuse(shape.quantity.span(), fault));
    }
    Ok(())
}

fn serials_suffice(source: &Source, shape: &Shape) -> Result<(), PolicyError> {
    let (first, last) = (&shape.serials.as_ref().from.0, &shape.serials.as_ref().to.0);
    let upward = first.as_str().len() == last.as_str().len() && first.as_str() <= last.as_str();
    source.require(
        upward,
        shape.serials.span(),
        "serials run upward at one length",
    )?;
    let enough = serials_between(first, last)
        .is_none_or(|count| u128::from(shape.quantity.as_ref().get()) <= count);
    source.require(
        enough,
        shape.serials.span(),
        "the range holds fewer serials than the lot has units",
    )
}

/// How many serials a range holds, where its ends differ in digits only; no longer number is counted than `u128`
/// holds.
fn serials_between(first: &DeviceSerial, last: &DeviceSerial) -> Option<u128> {
    let common = first
        .as_str()
        .bytes()
        .zip(last.as_str().bytes())
        .take_while(|(a, b)| a == b)
        .count();
    let tail = |serial: &DeviceSerial| match serial.as_str().get(common..)? {
        "" => Some(0),
        digits if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits.parse::<u128>().ok(),
        _ => None,
    };
    tail(last)?.checked_sub(tail(first)?)?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::super::{load_grant, sample};
    use super::*;

    const FILE: &str = "lots/26W48-A.toml";

    fn grant() -> Grant {
        let dir = sample::dir();
        load_grant(&dir, &dir.join("grants/2026-ota-line-2-cam2.toml"))
            .unwrap()
            .grant
    }

    fn refused(from: &str, to: &str) -> String {
        let copy = sample::altered(FILE, from, to);
        load_lot(&copy.path().join(FILE), &grant())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_sample_lot_loads_under_its_grant() {
        let lot = load_lot(&sample::dir().join(FILE), &grant()).unwrap();
        assert_eq!((lot.grant, lot.quantity), (grant().hash(), 1_000));
        assert!(
            lot.serials()
                .holds(&DeviceSerial::new("26480001000").unwrap())
        );
        assert!(
            !lot.serials()
                .holds(&DeviceSerial::new("26480002000").unwrap())
        );
        assert_eq!(LotOrder::from_bytes(&lot.to_bytes()).unwrap(), lot);
    }

    #[test]
    fn a_lot_that_does_not_fit_is_refused() {
        for (from, to, expected) in [
            (
                "quantity = 1_000",
                "quantity = 0",
                "quantity: invalid value",
            ),
            (
                "quantity = 1_000",
                "quantity = 1_001",
                "at most 1000 in grant",
            ),
            ("26480001999", "26480001998", "fewer serials"),
            ("26480001999", "26480000999", "run upward"),
            ("26480001999", "264800019990", "run upward"),
            ("26480001999", "2648000199_", "serials.to: "),
            (
                "2026-ota-line-2-cam2",
                "2026-ota-line-2-tmp1",
                "the grant is",
            ),
            ("quantity", "late = true\nquantity", "late: unknown field"),
        ] {
            let error = refused(from, to);
            assert!(error.contains(expected), "{to}: {error}");
        }
    }

    #[test]
    fn serials_are_counted_behind_their_common_beginning() {
        let count = |first, last| {
            serials_between(
                &DeviceSerial::new(first).unwrap(),
                &DeviceSerial::new(last).unwrap(),
            )
        };
        assert_eq!(count("SN-0001", "SN-0999"), Some(999));
        assert_eq!(count("26480001000", "26480001000"), Some(1));
        assert_eq!(count("A1", "B1"), None);
    }
}
