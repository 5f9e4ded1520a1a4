//! Trust policies: which logs, which witnesses, how many of them (C2SP tlog-policy).

mod open;
mod parse;
#[cfg(test)]
mod tests;

pub use open::{Cosigned, WitnessedCheckpoint};
pub use parse::{MAX_POLICY_BYTES, MAX_POLICY_ITEMS, PolicyError, PolicyFault};

use crate::checkpoint::TrustedLog;
use crate::note::VerifierKey;

/// What a verifier of checkpoints believes in.
///
/// A checkpoint is valid when the log named by its origin has signed it, with *every* key that the
/// policy lists under that name, and the quorum of witnesses has cosigned it.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<Witness>,
    /// Each refers only to witnesses and to groups before it.
    groups: Vec<Group>,
    quorum: Option<Member>,
}

/// The log lines of one origin.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyLog {
    log: TrustedLog,
    url: Option<Vec<u8>>,
}

/// A witness line.
#[derive(Debug, Clone, PartialEq)]
pub struct Witness {
    name: Vec<u8>,
    key: VerifierKey,
    url: Option<Vec<u8>>,
}

/// A group line: at least `threshold` of the members.
#[derive(Debug, Clone, PartialEq)]
struct Group {
    threshold: usize,
    members: Vec<Member>,
}

/// A position among the witnesses or the groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

impl Policy {
    /// The policy that trusts this one log and asks for no witness.
    #[must_use]
    pub fn without_witnesses(log: TrustedLog) -> Self {
        let logs = vec![PolicyLog { log, url: None }];
        Self {
            logs,
            witnesses: Vec::new(),
            groups: Vec::new(),
            quorum: None,
        }
    }

    /// The logs, one for each origin.
    #[must_use]
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// The witnesses.
    #[must_use]
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// Whether the witnesses for which `cosigned` holds make the quorum.
    #[must_use]
    pub fn is_quorum(&self, cosigned: impl Fn(&Witness) -> bool) -> bool {
        let witnesses: Vec<_> = self.witnesses.iter().map(cosigned).collect();
        let mut groups = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            groups.push(group.is_met(&witnesses, &groups));
        }
        self.quorum
            .is_none_or(|member| member.is_met(&witnesses, &groups))
    }
}

impl PolicyLog {
    /// The log and all its keys.
    #[must_use]
    pub const fn log(&self) -> &TrustedLog {
        &self.log
    }

    /// Where to reach it: the octets of the first URL given.
    #[must_use]
    pub fn url(&self) -> Option<&[u8]> {
        self.url.as_deref()
    }
}

impl Witness {
    /// Its name in the policy file, opaque octets that mean nothing outside.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The key it cosigns with.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Where to reach it: the octets of its URL.
    #[must_use]
    pub fn url(&self) -> Option<&[u8]> {
        self.url.as_deref()
    }
}

impl Group {
    fn is_met(&self, witnesses: &[bool], groups: &[bool]) -> bool {
        let met = self
            .members
            .iter()
            .filter(|member| member.is_met(witnesses, groups));
        met.count() >= self.threshold
    }
}

impl Member {
    fn is_met(self, witnesses: &[bool], groups: &[bool]) -> bool {
        let met = match self {
            Self::Witness(position) => witnesses.get(position),
            Self::Group(position) => groups.get(position),
        };
        met.copied().unwrap_or(false)
    }
}
