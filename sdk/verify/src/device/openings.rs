//! Step *openings*: the fields are those of the `bind` entry, and what is open fits the certificate.

use super::history::History;
use crate::reason::Reason;
use crate::verdict::Miss;
use identity::field::{Opening, Openings, Tag};
use identity::idevid::Parsed;
use identity::leaf::WireError;

/// Withheld fields are fine: their commitments still make the root.
pub(super) fn check(
    openings: Result<&Openings, &WireError>,
    history: Option<&History>,
    parsed: Option<&Parsed>,
) -> Result<String, Miss> {
    let openings =
        openings.map_err(|error| Miss::failed(Reason::OpeningsForm, error.to_string()))?;
    let history = history.ok_or_else(|| Miss::needs("a linked history"))?;
    let parsed = parsed.ok_or_else(|| Miss::needs("an IDevID certificate"))?;
    if openings.root() != history.bind.fields {
        return Err(Miss::failed(Reason::OtherOpenings, "their root differs"));
    }
    fits(
        openings,
        Tag::DeviceSerial,
        parsed.device_serial.as_bytes(),
        Reason::OpenSerialDiffers,
    )?;
    fits(
        openings,
        Tag::ChipUid,
        parsed.uid.as_bytes(),
        Reason::OpenUidDiffers,
    )?;
    let fields = openings.fields();
    let open = fields
        .iter()
        .filter(|field| matches!(field, Opening::Open(_)))
        .count();
    Ok(format!(
        "{open} of {} fields are open, and those are the ones of the entry",
        fields.len()
    ))
}

fn fits(openings: &Openings, tag: Tag, certified: &[u8], reason: Reason) -> Result<(), Miss> {
    match openings.value(tag) {
        Some(opened) if opened != certified => Err(Miss::failed(reason, "")),
        Some(_) | None => Ok(()),
    }
}
