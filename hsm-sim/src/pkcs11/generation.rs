//! `C_GenerateKey` and `C_GenerateKeyPair`.

use cryptoki_sys::*;
use zeroize::Zeroizing;

use super::attributes::{Attributes, Value};
use super::creation::{check_secret_length, finish_point, set_secret};
use super::keys::Curve;
use super::mechanism::{Mechanism, lookup, random};
use super::rv::{BROKEN, Result, Rv};
use super::schema::Origin;
use super::session::Session;
use super::template::{Template, fix_key_type};

/// `C_GenerateKey`: an AES key or a generic secret of `CKA_VALUE_LEN` bytes.
///
/// # Errors
/// `CKR_MECHANISM_INVALID`, `CKR_TEMPLATE_INCOMPLETE` without a length, `CKR_KEY_SIZE_RANGE`, and
/// those of [`Template::complete`].
pub(crate) fn generate_key(
    session: &Session,
    mechanism: &Mechanism,
    template: &Template,
) -> Result<CK_OBJECT_HANDLE> {
    let key_type = match mechanism.number() {
        CKM_AES_KEY_GEN => CKK_AES,
        CKM_GENERIC_SECRET_KEY_GEN => CKK_GENERIC_SECRET,
        _ => return Err(Rv(CKR_MECHANISM_INVALID)),
    };
    let mut attributes = template.complete(CKO_SECRET_KEY, Origin::Generated)?;
    let stated = attributes.key_type();
    let is_hmac_key = key_type == CKK_GENERIC_SECRET && stated == Some(CKK_SHA256_HMAC);
    fix_key_type(
        &mut attributes,
        if is_hmac_key {
            CKK_SHA256_HMAC
        } else {
            key_type
        },
    )?;
    let length = stated_length(&attributes)?.ok_or(Rv(CKR_TEMPLATE_INCOMPLETE))?;
    check_secret_length(key_type, length)?;
    let mut value = Zeroizing::new(vec![0; length]);
    random::fill(&mut value)?;
    set_secret(&mut attributes, &value)?;
    mark_local(&mut attributes, mechanism);
    session.keep_one(attributes)
}

/// `C_GenerateKeyPair`: handles of the public and the private key.
///
/// # Errors
/// `CKR_MECHANISM_INVALID`, `CKR_TEMPLATE_INCOMPLETE` without `CKA_EC_PARAMS`,
/// `CKR_CURVE_NOT_SUPPORTED`, and those of [`Template::complete`].
pub(crate) fn generate_key_pair(
    session: &Session,
    mechanism: &Mechanism,
    public: &Template,
    private: &Template,
) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
    let key_type = match mechanism.number() {
        CKM_EC_KEY_PAIR_GEN => CKK_EC,
        CKM_EC_EDWARDS_KEY_PAIR_GEN => CKK_EC_EDWARDS,
        _ => return Err(Rv(CKR_MECHANISM_INVALID)),
    };
    let mut public = public.complete(CKO_PUBLIC_KEY, Origin::Generated)?;
    let mut private = private.complete(CKO_PRIVATE_KEY, Origin::Generated)?;
    fix_key_type(&mut public, key_type)?;
    fix_key_type(&mut private, key_type)?;
    let params = public.bytes(CKA_EC_PARAMS);
    let params = params.ok_or(Rv(CKR_TEMPLATE_INCOMPLETE))?.to_vec();
    let curve = Curve::from_params(key_type, &params)?;
    // Asked before the work is done; `keep` asks again.
    session.may_write(&public)?;
    session.may_write(&private)?;

    let (scalar, point) = curve.generate()?;
    finish_point(&mut public, curve, &point)?;
    private.set_bytes(CKA_EC_PARAMS, &params);
    private.set_bytes(CKA_VALUE, &scalar);
    private.set_bytes(CKA_PUBLIC_KEY_INFO, &curve.public_key_info(&point));
    public.set(CKA_LOCAL, Value::Flag(true));
    public.set_number(CKA_KEY_GEN_MECHANISM, mechanism.number());
    mark_local(&mut private, mechanism);
    match session.keep(vec![public, private])?.as_slice() {
        [public, private] => Ok((*public, *private)),
        _ => Err(BROKEN),
    }
}

/// `CKA_VALUE_LEN` of a template, if it is stated.
///
/// # Errors
/// `CKR_KEY_SIZE_RANGE` for a length no machine has.
pub(crate) fn stated_length(attributes: &Attributes) -> Result<Option<usize>> {
    attributes
        .number(CKA_VALUE_LEN)
        .map(|length| usize::try_from(length).or(Err(Rv(CKR_KEY_SIZE_RANGE))))
        .transpose()
}

/// Checks that a mechanism exists and serves this purpose (`CKF_…`).
///
/// # Errors
/// `CKR_MECHANISM_INVALID`.
pub(crate) fn require(mechanism: &Mechanism, purpose: CK_FLAGS) -> Result<()> {
    if lookup(mechanism.number())?.flags & purpose == 0 {
        return Err(Rv(CKR_MECHANISM_INVALID));
    }
    Ok(())
}

/// The history of a key made here: it has been as guarded as it is now since it exists.
fn mark_local(attributes: &mut Attributes, mechanism: &Mechanism) {
    attributes.set(CKA_LOCAL, Value::Flag(true));
    attributes.set_number(CKA_KEY_GEN_MECHANISM, mechanism.number());
    let sensitive = attributes.flag(CKA_SENSITIVE);
    let extractable = attributes.flag(CKA_EXTRACTABLE);
    attributes.set(CKA_ALWAYS_SENSITIVE, Value::Flag(sensitive));
    attributes.set(CKA_NEVER_EXTRACTABLE, Value::Flag(!extractable));
}
