//! Every refusal and every stop of the signer has a code that never changes meaning.

use core::fmt;

/// How far a refusal reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// One item; its neighbours are signed.
    Item,
    /// The whole exchange: nothing was signed and nothing was taken over. The next one is heard.
    Exchange,
    /// The signer: it answers every further exchange with this code until it is opened again.
    Process,
    /// The store: also opened again, it signs nothing more.
    Store,
}

/// A code's row in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeText {
    /// Stable code, for instance `SIGN-0106`.
    pub code: &'static str,
    /// How far it reaches.
    pub reach: Reach,
    /// What happened.
    pub text: &'static str,
    /// What to do next.
    pub hint: &'static str,
}

macro_rules! codes {
    ($($name:ident = $code:literal $reach:ident, $text:literal, $hint:literal;)*) => {
        /// Why the signer did not sign.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = concat!($code, ": ", $text)] $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its row in the table.
            #[must_use]
            pub const fn row(self) -> CodeText {
                match self {
                    $(Self::$name => CodeText { code: $code, reach: Reach::$reach, text: $text, hint: $hint },)*
                }
            }
        }
    };
}

codes! {
    // SIGN-010x: the request and the tree
    Malformed = "SIGN-0101" Exchange, "the request cannot be read", "run CA server and signer of the same release";
    Checkpoint = "SIGN-0102" Exchange, "the checkpoint is not this log's", "compare origin and log key of CA server and signer";
    Gap = "SIGN-0103" Exchange, "the entries do not run from the signer's size to the checkpoint's", "send all leaves from the size given here";
    Behind = "SIGN-0104" Exchange, "the checkpoint is older than what the signer has followed", "if a backup was restored, issue nothing more and open a successor log";
    Root = "SIGN-0105" Exchange, "the entries do not make the tree that the checkpoint signs", "send from an earlier index; if it stays, the log has been altered";
    Fork = "SIGN-0106" Store, "the log has shown two histories", "keep both checkpoints as evidence; open a successor log by ceremony";
    // SIGN-011x: leaves and the documents behind them
    Leaf = "SIGN-0110" Exchange, "a leaf cannot be read", "compare the releases of CA server and signer";
    Rule = "SIGN-0111" Exchange, "a leaf breaks a rule of the log", "the CA server wrote what it must not: treat it as compromised";
    SupportMissing = "SIGN-0112" Exchange, "a leaf came without the documents it names", "send the leaf again with its documents";
    SupportSurplus = "SIGN-0113" Exchange, "a leaf came with documents it does not name", "send the leaf without them";
    Document = "SIGN-0114" Exchange, "a document cannot be read", "send the document as it was approved";
    DocumentHash = "SIGN-0115" Exchange, "a document is not the one its leaf names", "send the document as it was approved";
    ApprovalList = "SIGN-0116" Exchange, "the approvals are not the ones the leaf names", "send the approvals in the order of the leaf";
    Unapproved = "SIGN-0117" Exchange, "a document is not approved by the pinned approvers", "the CA server entered it without approval: treat it as compromised";
    Ceremony = "SIGN-0118" Exchange, "the ceremony is not the one this signer is configured for", "compare the signer's configuration with the ceremony's minutes";
    GrantTerms = "SIGN-0119" Exchange, "the grant's terms in the leaf are not the approved ones", "treat the CA server as compromised";
    ProfileHash = "SIGN-0120" Exchange, "the profile is not the one the grant names", "send the profile that was approved with the grant";
    LotTerms = "SIGN-0121" Exchange, "the lot order is not what its leaf says", "send the lot order as it was entered";
    // SIGN-013x: the store
    StoreFailed = "SIGN-0130" Exchange, "the signer's store failed before anything was made durable", "look at the signer's disk, then ask again";
    OutcomeUnknown = "SIGN-0131" Process, "the signer's store failed while committing", "restart the signer; it finds out what became durable";
    StoreDamaged = "SIGN-0132" Process, "the signer's store contradicts itself", "restore the signer's disk; never sign past this";
    // SIGN-014x: the bind leaf and the attempt
    NotBound = "SIGN-0140" Item, "the leaf is no bind that the signer has followed", "ask with the index of the bind leaf";
    Voided = "SIGN-0141" Item, "the unit is voided or scrapped", "no certificate is released for it";
    OtherTbs = "SIGN-0142" Item, "another certificate was attempted for this leaf", "ask with the bytes that were asked with first";
    TbsHash = "SIGN-0143" Item, "the certificate is not the one the leaf permits", "ask with the bytes that were reserved";
    Issuer = "SIGN-0144" Item, "the leaf names another issuing key", "hold the unit; compare the issuing CA's certificates";
    Fields = "SIGN-0145" Item, "the openings are not those of the leaf's fields", "hold the unit";
    FieldValue = "SIGN-0146" Item, "a field of the leaf says otherwise than envelope and grant", "treat the CA server as compromised";
    Lot = "SIGN-0147" Item, "the leaf names another lot than the envelope", "treat the CA server as compromised";
    Supersedes = "SIGN-0148" Item, "the leaf hides the board that the station says it supersedes, or names another", "treat the CA server as compromised";
    LotSize = "SIGN-0149" Item, "the lot order has more units than its grant allows a lot", "treat the CA server as compromised";
    // SIGN-015x: the station and its envelope
    Envelope = "SIGN-0150" Item, "the envelope cannot be read", "hold the unit";
    RequestHash = "SIGN-0151" Item, "the envelope is not the one the leaf names", "hold the unit";
    Purpose = "SIGN-0152" Item, "the envelope does not ask for a new certificate", "hold the unit";
    StationUnknown = "SIGN-0153" Item, "no approved statement of this station is before the leaf", "enter the station, then provision again";
    StationExpired = "SIGN-0154" Item, "the station's statement was not valid when it asked", "renew the station's statement";
    StationSignature = "SIGN-0155" Item, "the envelope does not bear the station's signature", "treat the CA server as compromised";
    EnvelopeTime = "SIGN-0156" Item, "the station asked more than 32 days before the leaf's day, or more than one after", "hold the unit; compare the clocks of CA server and station";
    EnvelopeMissing = "SIGN-0157" Item, "the request does not hold the item's envelope", "ask with the envelope";
    // SIGN-016x: the grant
    GrantDiffers = "SIGN-0160" Item, "envelope and leaf name different grants", "hold the unit";
    StationNotGranted = "SIGN-0161" Item, "the grant does not name this station", "ask for a grant that does";
    LineNotGranted = "SIGN-0162" Item, "the grant does not name the station's line", "ask for a grant that does";
    SiteNotGranted = "SIGN-0163" Item, "the grant is for another site than the station's", "ask for a grant that names it";
    // SIGN-017x: the unit, its key and its evidence
    Unit = "SIGN-0170" Item, "the envelope has no such unit", "hold the unit";
    Key = "SIGN-0171" Item, "the unit's key is no P-256 key", "hold the unit";
    Spki = "SIGN-0172" Item, "the unit's key is not the one the leaf certifies", "hold the unit";
    Subject = "SIGN-0173" Item, "the leaf's subject is not that of the unit's key", "hold the unit";
    Possession = "SIGN-0174" Item, "the chip did not prove possession of the key", "hold the unit";
    EvidenceHash = "SIGN-0175" Item, "the evidence is not the one the leaf names", "hold the unit";
    Evidence = "SIGN-0176" Item, "the evidence of the key's origin does not hold", "hold the unit";
    Grade = "SIGN-0177" Item, "the evidence earned another grade than the leaf says", "hold the unit";
    GradeTooLow = "SIGN-0178" Item, "the evidence's grade is below what the profile demands", "hold the unit";
    Origin = "SIGN-0179" Item, "the key's origin is not the one the profile demands", "hold the unit";
    Part = "SIGN-0180" Item, "the chip's part number is not the profile's", "hold the unit";
    Uid = "SIGN-0181" Item, "the chip's UID does not have the profile's form", "hold the unit";
    Serial = "SIGN-0182" Item, "the device serial does not have the profile's form, or is none of the lot's", "treat the CA server as compromised";
    // SIGN-019x: the certificate
    Tbs = "SIGN-0190" Item, "the certificate cannot be read", "hold the unit";
    TbsSerial = "SIGN-0191" Item, "the certificate's serial number is not the leaf's, or not the one that follows from its key", "hold the unit";
    TbsKey = "SIGN-0192" Item, "the certificate is for another key", "hold the unit";
    TbsIssuer = "SIGN-0193" Item, "the certificate names another issuer", "hold the unit";
    TbsDevice = "SIGN-0194" Item, "the certificate names another device or chip", "hold the unit";
    TbsValidity = "SIGN-0195" Item, "the certificate begins outside the grant's validity", "hold the unit";
    TbsProfile = "SIGN-0196" Item, "the certificate is not what the profile describes", "hold the unit";
    // SIGN-0199 and on: the HSM
    HsmFailed = "SIGN-0199" Item, "the HSM did not sign", "mend the HSM, then ask again with the same bytes";
    HsmWrongSignature = "SIGN-0200" Item, "the HSM's signature does not verify under the CA key; it was thrown away", "take the HSM out of service, then ask again with the same bytes";
}

impl Code {
    /// Stable code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().code
    }

    /// How far it reaches.
    #[must_use]
    pub const fn reach(self) -> Reach {
        self.row().reach
    }

    /// Reads [`Self::as_str`] back.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|row| row.as_str() == code)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.as_str(), self.row().text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_and_can_be_read_back() {
        let codes: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        let texts: BTreeSet<_> = Code::ALL.iter().map(|code| code.row().text).collect();
        assert_eq!(
            (codes.len(), texts.len()),
            (Code::ALL.len(), Code::ALL.len())
        );
        for code in Code::ALL {
            assert_eq!(Code::from_code(code.as_str()), Some(*code));
        }
    }
}
