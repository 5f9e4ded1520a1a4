//! Step *profile*: the certificate is an `IDevID`, and what the product's profile says, if the trust directory has it.

use crate::authority::Authority;
use crate::reason::Reason;
use crate::trust::Trust;
use crate::verdict::Miss;
use identity::document::Profile;
use identity::idevid::{Facts, Field, IdevidError, Parsed};

/// The outcome, and the profile that fits. Products are told apart by their hwType.
pub(super) fn check<'t>(
    parsed: Result<&Parsed, &IdevidError>,
    issuer: Option<&Authority>,
    trust: &'t Trust,
) -> (Result<String, Miss>, Option<&'t Profile>) {
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            return (
                Err(Miss::failed(Reason::NotIdevid, error.to_string())),
                None,
            );
        }
    };
    let mut outcome = Ok(format!(
        "IDevID (IEEE 802.1AR); the trust directory has no profile for hardware type {}",
        parsed.hardware_type
    ));
    for profile in trust
        .profiles()
        .iter()
        .filter(|profile| profile.hardware_type == parsed.hardware_type)
    {
        match hold_against(profile, parsed, issuer) {
            Ok(note) => return (Ok(note), Some(profile)),
            Err(miss) => outcome = Err(miss),
        }
    }
    (outcome, None)
}

/// Everything that the profile fixes. The pattern of serials is for the CA, which reads the product file.
fn hold_against(
    profile: &Profile,
    parsed: &Parsed,
    issuer: Option<&Authority>,
) -> Result<String, Miss> {
    let issuer = issuer.ok_or_else(|| Miss::needs("the issuing CA"))?;
    let facts = Facts {
        profile,
        serial: &parsed.device_serial,
        uid: &parsed.uid,
        key: &parsed.key,
        certificate_serial: &parsed.certificate_serial,
        not_before: parsed.not_before,
    };
    let form = parsed.check(issuer.issuer(), &facts);
    let uid = if profile.uid.allows(&parsed.uid) {
        Ok(())
    } else {
        Err(IdevidError::Field(Field::ChipUid))
    };
    match form.and(uid) {
        Ok(()) => Ok(format!(
            "IDevID of product {} of {}, as its profile says",
            profile.product, profile.maker
        )),
        Err(error) => Err(Miss::failed(
            Reason::ProductProfile,
            format!("product {}: {error}", profile.product),
        )),
    }
}
