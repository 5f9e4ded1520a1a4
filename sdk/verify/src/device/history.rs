//! Step *leaf*: the device's entries are linked and possible, and the first permitted exactly this certificate.

use crate::authority::Authority;
use crate::reason::Reason;
use crate::verdict::{Level, Miss, all_hold};
use identity::idevid::Parsed;
use identity::leaf::{Bind, Body, Confirm, Leaf};
use identity::receipt::ReceiptExtra;
use identity::{CertificateHash, LeafHash, SubjectId, TbsHash};

/// The linked entries of one device.
pub(super) struct History {
    pub(super) bind: Bind,
    /// Hash of the newest entry: the one that must be in the log.
    pub(super) newest: LeafHash,
    pub(super) level: Level,
    confirm: Option<Confirm>,
    /// Whether every entry may follow the one before it.
    possible: bool,
}

impl History {
    pub(super) fn read(extra: &ReceiptExtra) -> Result<Self, Miss> {
        let linked = extra
            .linked_history()
            .map_err(|error| Miss::failed(Reason::HistoryBroken, error.to_string()))?;
        let (leaves, newest) = linked;
        let mut entries = leaves.into_iter();
        let Some(Leaf {
            body: Body::Bind(bind),
            ..
        }) = entries.next()
        else {
            return Err(Miss::failed(
                Reason::HistoryBroken,
                "it does not begin with a bind entry",
            ));
        };
        let mut history = Self {
            bind,
            newest,
            level: Level::Bound,
            confirm: None,
            possible: true,
        };
        entries.for_each(|leaf| history.follow(leaf.body));
        Ok(history)
    }

    /// The transitions of [`identity::rules`], of which one device's history shows only these.
    fn follow(&mut self, body: Body) {
        let (from, to): (&[Level], Level) = match &body {
            Body::Adopt(_) => (&[Level::Bound], Level::Bound),
            Body::Confirm(_) => (&[Level::Bound], Level::Confirmed),
            Body::Void(_) => (&[Level::Bound], Level::Voided),
            Body::Scrap(_) => (&[Level::Bound, Level::Voided], Level::Voided),
            Body::Ceremony { .. }
            | Body::Station { .. }
            | Body::Grant { .. }
            | Body::GrantClose { .. }
            | Body::LotOpen { .. }
            | Body::LotClose(_)
            | Body::Bind(_)
            | Body::Refuse(_) => (&[], self.level),
        };
        self.possible &= from.contains(&self.level);
        // What was voided stays so, whatever an impossible entry says.
        if self.level != Level::Voided {
            self.level = to;
        }
        if let Body::Confirm(confirm) = body {
            self.confirm = Some(confirm);
        }
    }

    /// Holds the entries against the certificate.
    pub(super) fn check(
        &self,
        parsed: &Parsed,
        tbs: &TbsHash,
        certificate: &CertificateHash,
        issuer: Option<&Authority>,
    ) -> Result<String, Miss> {
        let permitted = &self.bind.certificate;
        let spki = parsed.key.spki_hash();
        all_hold(&[
            (
                permitted.serial.0 == *parsed.certificate_serial.as_bytes(),
                Reason::OtherSerial,
                "",
            ),
            (permitted.spki == spki, Reason::OtherKey, ""),
            (
                self.bind.subject == SubjectId::of_p256(&spki),
                Reason::OtherSubject,
                "",
            ),
        ])?;
        let issuer = issuer.ok_or_else(|| Miss::needs("the issuing CA"))?;
        all_hold(&[
            (
                permitted.issuer == issuer.key().spki_hash(),
                Reason::OtherIssuer,
                "",
            ),
            (permitted.tbs == *tbs, Reason::OtherTbs, ""),
            (self.possible, Reason::ImpossibleHistory, ""),
            (self.level != Level::Voided, Reason::Voided, ""),
        ])?;
        match &self.confirm {
            Some(confirm) if confirm.certificate != *certificate => Err(Miss::failed(Reason::OtherReadback, "")),
            Some(_) => Ok("the log permitted exactly this certificate, and it was read back from the chip".to_owned()),
            None => Ok("the log permitted exactly this certificate; that it reached the chip is not confirmed".to_owned()),
        }
    }
}
