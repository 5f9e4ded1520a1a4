use super::error::{PolicyError, PolicyFault};
use super::source::Source;
use super::value::{Moment, Names, NamesShape, Text};
use identity::{Id, Timestamp};
use serde::Deserialize;
use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;
use std::str::FromStr;
use toml::Spanned;

/// The company in whose name devices are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maker {
    /// Name in grants and profiles.
    pub id: Id,
    /// Registered names.
    pub name: Names,
    /// Corporate number in the Japanese register.
    pub corporate_number: CorporateNumber,
    /// IANA private enterprise number; the maker's hardware types lie below it (RFC 4108 §5).
    pub enterprise_number: u32,
    /// Who may ask for a grant in the maker's name, and until when.
    pub applicants: Vec<Applicant>,
}

/// A person with a mandate to ask for grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applicant {
    /// Name of the person.
    pub id: Id,
    /// Last moment of the mandate.
    pub until: Timestamp,
}

/// A Japanese corporate number: 13 digits, the first a check digit over the other twelve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorporateNumber(String);

impl fmt::Display for CorporateNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CorporateNumber {
    type Err = &'static str;

    /// Check digit: 9 − (Σ digit × weight mod 9), weights 1 and 2 in turn from the lowest of the twelve
    /// (Ministry of Finance Order 70 of 2014, article 2). It cannot tell 0 from 9.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(10)).collect();
        let digits = digits
            .filter(|digits| digits.len() == 13)
            .ok_or("a corporate number has 13 digits")?;
        let (check, base) = digits
            .split_first()
            .ok_or("a corporate number has 13 digits")?;
        let sum: u32 = base
            .iter()
            .rev()
            .zip([1, 2].into_iter().cycle())
            .map(|(digit, weight)| digit * weight)
            .sum();
        match *check == 9 - sum % 9 {
            true => Ok(Self(text.to_owned())),
            false => Err("the check digit does not fit"),
        }
    }
}

#[derive(Deserialize)]
enum Schema {
    #[serde(rename = "maker/v1")]
    V1,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    #[serde(rename = "schema")]
    _schema: Schema,
    id: Spanned<Text<Id>>,
    corporate_number: Text<CorporateNumber>,
    enterprise_number: NonZeroU32,
    name: NamesShape,
    applicant: Vec<ApplicantShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplicantShape {
    id: Spanned<Text<Id>>,
    until: Moment,
}

/// Loads `makers/<id>.toml` of a policy directory.
///
/// # Errors
/// [`PolicyError`] names the place and the fault.
pub fn load_maker(dir: &Path, id: &Id) -> Result<Maker, PolicyError> {
    let source = Source::read(&dir.join("makers").join(format!("{id}.toml")))?;
    let shape: Shape = source.parse()?;
    Ok(Maker {
        id: source.named(&shape.id)?,
        name: shape.name.into(),
        corporate_number: shape.corporate_number.0,
        enterprise_number: shape.enterprise_number.get(),
        applicants: applicants(&source, &shape.applicant)?,
    })
}

fn applicants(source: &Source, shapes: &[ApplicantShape]) -> Result<Vec<Applicant>, PolicyError> {
    let mut applicants: Vec<Applicant> = Vec::new();
    for shape in shapes {
        let id = shape.id.as_ref().0;
        if applicants.iter().any(|earlier| earlier.id == id) {
            return Err(source.refuse(
                shape.id.span(),
                PolicyFault::Rule("an applicant stands in the file once"),
            ));
        }
        applicants.push(Applicant {
            id,
            until: shape.until.0,
        });
    }
    Ok(applicants)
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_sample_maker_loads() {
        let maker = load_maker(&sample::dir(), &sample::id("mihon-denki")).unwrap();
        assert_eq!(maker.name.en.as_str(), "Mihon Denki Co., Ltd.");
        assert_eq!(maker.enterprise_number, 32473);
    }

    #[test]
    fn a_corporate_number_has_its_check_digit() {
        let number: CorporateNumber = "8900001000017".parse().unwrap();
        assert_eq!(number.to_string(), "8900001000017");
        for text in [
            "8900001000018",
            "7900001000017",
            "890000100001",
            "89000010000170",
            "890000100001x",
            "",
        ] {
            assert!(text.parse::<CorporateNumber>().is_err(), "{text}");
        }
    }

    #[test]
    fn faults_point_at_their_place() {
        let refused = |from: &str, to: &str| {
            let copy = sample::altered("makers/mihon-denki.toml", from, to);
            load_maker(copy.path(), &sample::id("mihon-denki"))
                .unwrap_err()
                .to_string()
        };
        let unknown = refused("enterprise_number", "enterprise_numbr");
        assert!(
            unknown.contains("mihon-denki.toml:5:1: enterprise_numbr: unknown field"),
            "{unknown}"
        );
        assert!(refused("= 32473", "= 0").contains(":5:21: enterprise_number: "));
        assert!(refused("= 32473", "= \"32473\"").contains("invalid type"));
        assert!(
            refused("id = \"mihon-denki\"", "id = \"other\"")
                .contains("the file is named mihon-denki")
        );
        assert!(refused("8900001000017", "8900001000018").contains("check digit"));
        assert!(refused("maker/v1", "maker/v2").contains("schema"));
    }
}
