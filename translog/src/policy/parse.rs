//! Reading a policy file.

use std::collections::BTreeMap;

use super::{Group, Member, Policy, PolicyLog, Witness};
use crate::checkpoint::{TrustError, TrustedLog};
use crate::note::{SignatureType, VerifierKey, VerifierKeyError};
use crate::text::parse_decimal;

/// Largest policy file accepted, in bytes.
pub const MAX_POLICY_BYTES: usize = 512 << 10;

/// Most log lines, witnesses and groups accepted, each. The specification asks for at least 32.
pub const MAX_POLICY_ITEMS: usize = 64;

/// A policy file that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy line {line}: {fault}")]
pub struct PolicyError {
    /// The line, counted from 1; the last one for what concerns the whole file.
    pub line: usize,
    /// What is wrong.
    pub fault: PolicyFault,
}

/// What is wrong with a policy file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// Larger than [`MAX_POLICY_BYTES`].
    #[error("the file is larger than 512 KiB")]
    TooLarge,
    /// The last line has no newline: the file may be cut off.
    #[error("the last line does not end in a newline")]
    Unterminated,
    /// A control character other than tab and newline.
    #[error("control characters are not allowed")]
    Characters,
    /// The line begins with no known keyword.
    #[error("a line is log, witness, group or quorum")]
    Keyword,
    /// Too few or too many words on the line.
    #[error("wrong number of words")]
    Words,
    /// More than [`MAX_POLICY_ITEMS`] of one kind.
    #[error("more than 64 of one kind")]
    TooMany,
    /// The key is malformed.
    #[error(transparent)]
    Key(#[from] VerifierKeyError),
    /// The key's type is not one for a log, or for a witness.
    #[error("a key of type {0:?} cannot stand here")]
    KeyType(SignatureType),
    /// Another line of this kind has the same public key.
    #[error("the public key is listed twice")]
    DuplicateKey,
    /// The name is `none`, which means no witness.
    #[error("the name none is reserved")]
    ReservedName,
    /// The name is taken by a witness or group above.
    #[error("the name is defined twice")]
    DuplicateName,
    /// No witness or group above has this name.
    #[error("the name is not defined above")]
    UndefinedName,
    /// The name is already a member, of this group or another.
    #[error("a name can be a member only once")]
    MemberTwice,
    /// Not `any`, `all` or a decimal between 1 and the number of members.
    #[error("the threshold is not any, all or 1 to the number of members")]
    Threshold,
    /// A second quorum line.
    #[error("there is a second quorum line")]
    SecondQuorum,
    /// No quorum line.
    #[error("there is no quorum line")]
    NoQuorum,
    /// A log that cannot be trusted so.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl Policy {
    /// Reads a policy file. Several `log` lines of one name are one log that signs with several
    /// keys, all of them required: a file that lists a key does not let it be left out.
    ///
    /// # Errors
    /// [`PolicyError`] with the line at fault.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        let whole = |fault| PolicyError { line: 1, fault };
        if bytes.len() > MAX_POLICY_BYTES {
            return Err(whole(PolicyFault::TooLarge));
        }
        let text = bytes
            .strip_suffix(b"\n")
            .ok_or_else(|| whole(PolicyFault::Unterminated))?;
        let mut draft = Draft::default();
        let mut last = 0;
        for (line, content) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            draft
                .read_line(content)
                .map_err(|fault| PolicyError { line, fault })?;
            last = line;
        }
        draft
            .finish()
            .map_err(|fault| PolicyError { line: last, fault })
    }
}

/// The policy as far as it is read.
#[derive(Default)]
struct Draft<'a> {
    log_keys: Vec<(VerifierKey, Option<Vec<u8>>)>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    /// Name → what it stands for, and whether it is a member already.
    names: BTreeMap<&'a [u8], (Member, bool)>,
    quorum: Option<Option<Member>>,
}

impl<'a> Draft<'a> {
    fn read_line(&mut self, line: &'a [u8]) -> Result<(), PolicyFault> {
        if line
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
        {
            return Err(PolicyFault::Characters);
        }
        let words = line
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .filter(|word| !word.is_empty());
        let words: Vec<&[u8]> = words.collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", vkey] => self.read_log(vkey, None),
            [b"log", vkey, url] => self.read_log(vkey, Some(url)),
            [b"witness", name, vkey] => self.read_witness(name, vkey, None),
            [b"witness", name, vkey, url] => self.read_witness(name, vkey, Some(url)),
            [b"group", name, threshold, members @ ..] => self.read_group(name, threshold, members),
            [b"quorum", name] => self.read_quorum(name),
            [b"log" | b"witness" | b"group" | b"quorum", ..] => Err(PolicyFault::Words),
            _ => Err(PolicyFault::Keyword),
        }
    }

    fn read_log(&mut self, vkey: &[u8], url: Option<&[u8]>) -> Result<(), PolicyFault> {
        check_room(self.log_keys.len())?;
        let key = parse_key(vkey)?;
        let known = self.log_keys.iter().map(|(other, _)| other);
        check_new(&key, known)?;
        if key.signature_type() == SignatureType::Ed25519Cosignature {
            return Err(PolicyFault::KeyType(key.signature_type()));
        }
        self.log_keys.push((key, url.map(<[u8]>::to_vec)));
        Ok(())
    }

    fn read_witness(
        &mut self,
        name: &'a [u8],
        vkey: &[u8],
        url: Option<&[u8]>,
    ) -> Result<(), PolicyFault> {
        check_room(self.witnesses.len())?;
        let key = parse_key(vkey)?;
        check_new(&key, self.witnesses.iter().map(Witness::key))?;
        if key.signature_type() == SignatureType::Ed25519 {
            return Err(PolicyFault::KeyType(key.signature_type()));
        }
        self.define(name, Member::Witness(self.witnesses.len()))?;
        let url = url.map(<[u8]>::to_vec);
        self.witnesses.push(Witness {
            name: name.to_vec(),
            key,
            url,
        });
        Ok(())
    }

    fn read_group(
        &mut self,
        name: &'a [u8],
        threshold: &[u8],
        members: &[&[u8]],
    ) -> Result<(), PolicyFault> {
        check_room(self.groups.len())?;
        let threshold = parse_threshold(threshold, members.len()).ok_or(PolicyFault::Threshold)?;
        let members = members
            .iter()
            .map(|member| self.take_member(member))
            .collect::<Result<_, _>>()?;
        self.define(name, Member::Group(self.groups.len()))?;
        self.groups.push(Group { threshold, members });
        Ok(())
    }

    fn read_quorum(&mut self, name: &[u8]) -> Result<(), PolicyFault> {
        if self.quorum.is_some() {
            return Err(PolicyFault::SecondQuorum);
        }
        self.quorum = Some(if name == b"none" {
            None
        } else {
            let (member, _) = self.names.get(name).ok_or(PolicyFault::UndefinedName)?;
            Some(*member)
        });
        Ok(())
    }

    fn define(&mut self, name: &'a [u8], member: Member) -> Result<(), PolicyFault> {
        if name == b"none" {
            return Err(PolicyFault::ReservedName);
        }
        match self.names.insert(name, (member, false)) {
            Some(_) => Err(PolicyFault::DuplicateName),
            None => Ok(()),
        }
    }

    fn take_member(&mut self, name: &[u8]) -> Result<Member, PolicyFault> {
        let (member, taken) = self.names.get_mut(name).ok_or(PolicyFault::UndefinedName)?;
        if *taken {
            return Err(PolicyFault::MemberTwice);
        }
        *taken = true;
        Ok(*member)
    }

    fn finish(self) -> Result<Policy, PolicyFault> {
        let quorum = self.quorum.ok_or(PolicyFault::NoQuorum)?;
        let mut by_name: BTreeMap<_, (Vec<_>, Option<_>)> = BTreeMap::new();
        for (key, url) in self.log_keys {
            let (keys, first_url) = by_name.entry(key.name().clone()).or_default();
            keys.push(key);
            *first_url = first_url.take().or(url);
        }
        let log = |(name, (keys, url)): (crate::note::KeyName, (Vec<_>, Option<_>))| {
            let log = TrustedLog::new(name.as_str(), keys)?;
            Ok(PolicyLog { log, url })
        };
        let logs = by_name
            .into_iter()
            .map(log)
            .collect::<Result<_, TrustError>>()?;
        Ok(Policy {
            logs,
            witnesses: self.witnesses,
            groups: self.groups,
            quorum,
        })
    }
}

fn check_room(count: usize) -> Result<(), PolicyFault> {
    if count < MAX_POLICY_ITEMS {
        Ok(())
    } else {
        Err(PolicyFault::TooMany)
    }
}

fn parse_key(vkey: &[u8]) -> Result<VerifierKey, PolicyFault> {
    let text = str::from_utf8(vkey).ok().ok_or(VerifierKeyError::Format)?;
    Ok(text.parse()?)
}

/// Two vkeys are duplicates when they wrap one public key, whatever their names and types.
fn check_new<'k>(
    key: &VerifierKey,
    mut known: impl Iterator<Item = &'k VerifierKey>,
) -> Result<(), PolicyFault> {
    let public_key = key.public_key();
    if known.any(|other| other.public_key() == public_key) {
        return Err(PolicyFault::DuplicateKey);
    }
    Ok(())
}

fn parse_threshold(word: &[u8], members: usize) -> Option<usize> {
    let threshold = match word {
        b"any" => 1,
        b"all" => members,
        number => usize::try_from(parse_decimal(str::from_utf8(number).ok()?)?).ok()?,
    };
    (1..=members).contains(&threshold).then_some(threshold)
}
