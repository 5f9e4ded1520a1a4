//! The documents behind leaves, which name them by hash only: what the signer is shown, what stands beside the log's
//! tiles, what an auditor reads. One form and one judgement for all of them.

use crate::approval::{Approval, ApprovalError, ApproverSet};
use crate::document::{
    Ceremony, Document, Grant, LotOrder, MAX_DOCUMENT, Profile, StationStatement, WireError,
};
use crate::hash::{DocumentHash, sha256};
use crate::key::VerifyP256;
use crate::leaf::{Body, GrantTerms, Named};
use crate::text::Id;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use der::Sequence;
use der::asn1::OctetString;

/// Longest encoded support in bytes: a grant, its profile, and as many approvals as anyone needs.
pub const MAX_SUPPORT: usize = 3 * MAX_DOCUMENT;

/// Directory beside a log's tiles that holds the documents, one file a leaf that names one.
pub const DIRECTORY: &str = "documents";

/// ASN.1 `Support`: what a leaf only names by hash.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct Support {
    /// The document, canonical DER: `Ceremony`, `StationStatement`, `Grant` or `LotOrder`.
    pub document: OctetString,
    /// The grant's certificate profile; with a grant, and with nothing else.
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    pub profile: Option<OctetString>,
    /// Approvals in the order of the leaf, each an [`Approval`] in DER. None for `ceremony` and `lot-open`.
    pub approvals: Vec<OctetString>,
}

impl Support {
    /// Packs a document with its companion and approvals.
    ///
    /// # Errors
    /// A part is longer than DER can say.
    pub fn pack<D: Document>(
        document: &D,
        profile: Option<&Profile>,
        approvals: &[Approval],
    ) -> der::Result<Self> {
        let octets = |approval: &Approval| OctetString::new(approval.to_bytes());
        Ok(Self {
            document: OctetString::new(document.to_bytes())?,
            profile: profile
                .map(|profile| OctetString::new(profile.to_bytes()))
                .transpose()?,
            approvals: approvals.iter().map(octets).collect::<Result<_, _>>()?,
        })
    }

    /// Canonical DER.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        crate::wire::encode(self)
    }

    /// Reads canonical DER.
    ///
    /// # Errors
    /// [`WireError`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        crate::wire::decode(bytes, MAX_SUPPORT)
    }

    /// Hash of the document, by which its leaf names it.
    #[must_use]
    pub fn hash(&self) -> DocumentHash {
        DocumentHash(sha256(self.document.as_bytes()))
    }
}

/// File of a document beside the log's tiles, below [`DIRECTORY`].
#[must_use]
pub fn file_name(document: &DocumentHash) -> String {
    alloc::format!("{document}.der")
}

/// Documents that were found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supported {
    /// The leaf names no document.
    Nothing,
    /// The keys and approvers that a log begins with. Whether they are the ones to believe is the reader's to say.
    Ceremony(Ceremony),
    /// An approved station.
    Station(StationStatement),
    /// An approved grant, and the profile it names.
    Grant(Box<Grant>, Box<Profile>),
    /// A lot order.
    LotOrder(LotOrder),
}

/// Why documents do not bear out their leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SupportError {
    /// The leaf names a document, and none is there.
    Missing,
    /// There is a document that the leaf does not name.
    Surplus,
    /// A document cannot be read.
    Document(WireError),
    /// Another document than the one named.
    DocumentHash,
    /// Other approvals than the ones named, or in another order.
    ApprovalList,
    /// Not approved.
    Unapproved(ApprovalError),
    /// The leaf shows other terms than the grant.
    GrantTerms,
    /// Another profile than the one that the grant names.
    Profile,
    /// The leaf shows another grant or quantity than the lot order.
    LotTerms,
}

impl fmt::Display for SupportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the document is not there"),
            Self::Surplus => f.write_str("a document is there that the entry does not name"),
            Self::Document(error) => write!(f, "the document: {error}"),
            Self::DocumentHash => f.write_str("the document is not the one named"),
            Self::ApprovalList => f.write_str("the approvals are not the ones named"),
            Self::Unapproved(error) => write!(f, "{error}"),
            Self::GrantTerms => f.write_str("the grant has other terms"),
            Self::Profile => f.write_str("the profile is not the one that the grant names"),
            Self::LotTerms => f.write_str("the lot order has another grant or quantity"),
        }
    }
}

impl core::error::Error for SupportError {}

/// Holds a leaf's documents against the leaf, and their approvals against these approvers.
///
/// # Errors
/// [`SupportError`]
pub fn check(
    body: &Body,
    support: Option<&Support>,
    approvers: &ApproverSet,
    verifier: &impl VerifyP256,
) -> Result<Supported, SupportError> {
    let (hash, named, support) = match (body.document(), support) {
        (None, None) => return Ok(Supported::Nothing),
        (None, Some(_)) => return Err(SupportError::Surplus),
        (Some(_), None) => return Err(SupportError::Missing),
        (Some((hash, named)), Some(support)) => (hash, named, support),
    };
    let approval = |listed| Approvals {
        support,
        listed,
        approvers,
    };
    match named {
        Named::Ceremony => {
            let ceremony = read(support, &hash)?;
            alone(support)?;
            Ok(Supported::Ceremony(ceremony))
        }
        Named::Station(approvals) => {
            let statement: StationStatement = read(support, &hash)?;
            if support.profile.is_some() {
                return Err(SupportError::Surplus);
            }
            approval(approvals).verify(&statement, &statement.requester, verifier)?;
            Ok(Supported::Station(statement))
        }
        Named::Grant(approvals, terms) => {
            let grant: Grant = read(support, &hash)?;
            approval(approvals).verify(&grant, &grant.requester, verifier)?;
            if terms != terms_of(&grant) {
                return Err(SupportError::GrantTerms);
            }
            let profile = profile_of(support, &grant)?;
            Ok(Supported::Grant(Box::new(grant), Box::new(profile)))
        }
        Named::LotOrder(grant, quantity) => {
            let order: LotOrder = read(support, &hash)?;
            alone(support)?;
            match order.grant == grant && order.quantity == quantity {
                true => Ok(Supported::LotOrder(order)),
                false => Err(SupportError::LotTerms),
            }
        }
    }
}

/// A grant's terms as they stand in its leaf.
#[must_use]
pub fn terms_of(grant: &Grant) -> GrantTerms {
    let (first, last) = grant.days();
    GrantTerms {
        limit: grant.limit,
        scrap: grant.scrap,
        first,
        last,
    }
}

fn read<D: Document>(support: &Support, hash: &DocumentHash) -> Result<D, SupportError> {
    let document = D::from_bytes(support.document.as_bytes()).map_err(SupportError::Document)?;
    if document.hash() != *hash {
        return Err(SupportError::DocumentHash);
    }
    Ok(document)
}

fn profile_of(support: &Support, grant: &Grant) -> Result<Profile, SupportError> {
    let der = support.profile.as_ref().ok_or(SupportError::Missing)?;
    let profile = Profile::from_bytes(der.as_bytes()).map_err(SupportError::Document)?;
    let named = profile.hash() == grant.profile
        && profile.product == grant.product
        && profile.maker == grant.maker;
    if !named {
        return Err(SupportError::Profile);
    }
    Ok(profile)
}

/// Ceremonies and lot orders bear no approvals.
fn alone(support: &Support) -> Result<(), SupportError> {
    let alone = support.approvals.is_empty() && support.profile.is_none();
    if alone {
        Ok(())
    } else {
        Err(SupportError::Surplus)
    }
}

/// Approvals as they came, and as the leaf lists them.
struct Approvals<'a> {
    support: &'a Support,
    listed: &'a [DocumentHash],
    approvers: &'a ApproverSet,
}

impl Approvals<'_> {
    /// Enough approvers signed exactly this document, and exactly their approvals stand in the leaf.
    fn verify<D: Document>(
        &self,
        document: &D,
        requester: &Id,
        verifier: &impl VerifyP256,
    ) -> Result<(), SupportError> {
        let given = self.support.approvals.iter();
        let approvals = given
            .map(|der| Approval::from_bytes(der.as_bytes()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(SupportError::Document)?;
        let hashes = approvals.iter().map(Approval::hash);
        if !hashes.eq(self.listed.iter().copied()) {
            return Err(SupportError::ApprovalList);
        }
        let verdict = self
            .approvers
            .verify(document, requester, &approvals, verifier);
        verdict.map_err(SupportError::Unapproved)
    }
}
