//! What the verifier believes in, read from one directory. Nothing else is believed.

use crate::authority::{Authority, AuthorityError};
use crate::files::{MAX_CERTIFICATE_FILE, pem_blocks, read_to};
use identity::P256Key;
use identity::document::{Ceremony, Document as _, MAX_DOCUMENT, Profile};
use std::io;
use std::path::{Path, PathBuf};
use translog::checkpoint::TrustedLog;
use translog::note::VerifierKey;
use translog::policy::{MAX_POLICY_BYTES, Policy};

/// Root, issuing CAs and log of one maker; optionally keys of chip vendors and profiles of products.
///
/// | file | holds |
/// |---|---|
/// | `root.pem` or `ca/root.pem` | the maker's device root |
/// | `issuing.pem` and `ca/*.pem` | issuing CAs, one or more in each file |
/// | `log.vkey` | keys of the log, one C2SP vkey a line, all of one name; every one must have signed |
/// | `log.policy` | instead of `log.vkey`: a C2SP tlog-policy, with witnesses and a quorum |
/// | `vendors/*.pem` | optional: keys of chip vendors, SPKI |
/// | `profiles/*.der` | optional: profiles of products |
/// | `ceremony.der` | optional: the document of the key ceremony. An audit then believes no other approvers |
#[derive(Clone, Debug)]
pub struct Trust {
    root: Authority,
    issuing: Vec<Authority>,
    policy: Policy,
    vendors: Vec<P256Key>,
    profiles: Vec<Profile>,
    ceremony: Option<Ceremony>,
}

/// The trust directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file that must be there cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is malformed.
    #[error("{} is malformed: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No issuing CA at all.
    #[error("no issuing CA")]
    NoIssuer,
    /// Both `log.vkey` and `log.policy` are there: which of them counts must not be guessed.
    #[error("{} holds both log.vkey and log.policy", .0.display())]
    TwoLogs(PathBuf),
}

impl Trust {
    /// Trust in one root, at least one issuing CA and the logs of a policy.
    ///
    /// # Errors
    /// [`TrustError::NoIssuer`]
    pub fn new(
        root: Authority,
        issuing: Vec<Authority>,
        policy: Policy,
    ) -> Result<Self, TrustError> {
        if issuing.is_empty() {
            return Err(TrustError::NoIssuer);
        }
        Ok(Self {
            root,
            issuing,
            policy,
            vendors: Vec::new(),
            profiles: Vec::new(),
            ceremony: None,
        })
    }

    /// Adds keys of chip vendors, under which evidence is judged again.
    #[must_use]
    pub fn with_vendors(self, vendors: Vec<P256Key>) -> Self {
        Self { vendors, ..self }
    }

    /// Adds profiles, against which certificates of their products are held.
    #[must_use]
    pub fn with_profiles(self, profiles: Vec<Profile>) -> Self {
        Self { profiles, ..self }
    }

    /// Believes in the approvers of this ceremony, whatever a log begins with.
    #[must_use]
    pub fn with_ceremony(self, ceremony: Option<Ceremony>) -> Self {
        Self { ceremony, ..self }
    }

    /// Reads a trust directory.
    ///
    /// # Errors
    /// [`TrustError`]
    pub fn load(dir: &Path) -> Result<Self, TrustError> {
        let root = load_root(dir)?;
        let trust = Self::new(root, load_issuing(dir)?, load_policy(dir)?)?;
        Ok(trust
            .with_vendors(load_vendors(dir)?)
            .with_profiles(load_profiles(dir)?)
            .with_ceremony(load_ceremony(dir)?))
    }

    /// The maker's device root.
    #[must_use]
    pub const fn root(&self) -> &Authority {
        &self.root
    }

    /// The issuing CAs.
    #[must_use]
    pub fn issuing(&self) -> &[Authority] {
        &self.issuing
    }

    /// The logs and witnesses.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Keys of chip vendors.
    #[must_use]
    pub fn vendors(&self) -> &[P256Key] {
        &self.vendors
    }

    /// The ceremony whose approvers are believed.
    #[must_use]
    pub const fn ceremony(&self) -> Option<&Ceremony> {
        self.ceremony.as_ref()
    }

    /// Profiles of products.
    #[must_use]
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }
}

fn load_root(dir: &Path) -> Result<Authority, TrustError> {
    let below = dir.join("ca").join("root.pem");
    let path = if below.exists() {
        below
    } else {
        dir.join("root.pem")
    };
    match <[Authority; 1]>::try_from(authorities(&path)?) {
        Ok([root]) => Ok(root),
        Err(other) => Err(malformed(
            &path,
            format!("one root is wanted, not {} certificates", other.len()),
        )),
    }
}

fn load_issuing(dir: &Path) -> Result<Vec<Authority>, TrustError> {
    let mut paths: Vec<PathBuf> = [dir.join("issuing.pem")]
        .into_iter()
        .filter(|path| path.exists())
        .collect();
    paths.extend(
        list(&dir.join("ca"), "pem")?
            .into_iter()
            .filter(|path| !path.ends_with("root.pem")),
    );
    let files = paths
        .iter()
        .map(|path| authorities(path))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(files.into_iter().flatten().collect())
}

fn load_policy(dir: &Path) -> Result<Policy, TrustError> {
    let (vkey, policy) = (dir.join("log.vkey"), dir.join("log.policy"));
    match (vkey.exists(), policy.exists()) {
        (true, true) => Err(TrustError::TwoLogs(dir.to_owned())),
        (false, true) => {
            let max = u64::try_from(MAX_POLICY_BYTES).unwrap_or(u64::MAX);
            Policy::parse(&read(&policy, max)?).map_err(|error| malformed(&policy, error))
        }
        (true | false, false) => read_vkeys(&vkey).map(Policy::without_witnesses),
    }
}

/// The log's origin is the name of its keys.
fn read_vkeys(path: &Path) -> Result<TrustedLog, TrustError> {
    let bytes = read(path, MAX_CERTIFICATE_FILE)?;
    let text = str::from_utf8(&bytes).map_err(|error| malformed(path, error))?;
    let lines = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty());
    let keys = lines
        .map(str::parse)
        .collect::<Result<Vec<VerifierKey>, _>>()
        .map_err(|error| malformed(path, error))?;
    let origin = keys
        .first()
        .map(|key| key.name().clone())
        .ok_or_else(|| malformed(path, "it holds no key"))?;
    if keys.iter().any(|key| *key.name() != origin) {
        return Err(malformed(path, "its keys have different names"));
    }
    TrustedLog::new(origin.as_str(), keys).map_err(|error| malformed(path, error))
}

fn load_vendors(dir: &Path) -> Result<Vec<P256Key>, TrustError> {
    let mut vendors = Vec::new();
    for path in list(&dir.join("vendors"), "pem")? {
        let blocks = pem_blocks(&read(&path, MAX_CERTIFICATE_FILE)?, "PUBLIC KEY")
            .map_err(|why| malformed(&path, why))?;
        for block in blocks {
            vendors.push(P256Key::from_spki(&block).map_err(|error| malformed(&path, error))?);
        }
    }
    Ok(vendors)
}

fn load_profiles(dir: &Path) -> Result<Vec<Profile>, TrustError> {
    let max = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX);
    let load = |path: &PathBuf| {
        Profile::from_bytes(&read(path, max)?).map_err(|error| malformed(path, error))
    };
    list(&dir.join("profiles"), "der")?
        .iter()
        .map(load)
        .collect()
}

fn load_ceremony(dir: &Path) -> Result<Option<Ceremony>, TrustError> {
    let path = dir.join("ceremony.der");
    if !path.exists() {
        return Ok(None);
    }
    let max = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX);
    let ceremony = Ceremony::from_bytes(&read(&path, max)?);
    ceremony.map(Some).map_err(|error| malformed(&path, error))
}

fn authorities(path: &Path) -> Result<Vec<Authority>, TrustError> {
    let pem = read(path, MAX_CERTIFICATE_FILE)?;
    Authority::from_pem(&pem).map_err(|error: AuthorityError| malformed(path, error))
}

/// Files of this extension in an optional directory, in the order of their names.
fn list(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, TrustError> {
    let unreadable = |source| TrustError::Unreadable {
        path: dir.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    let mut paths: Vec<_> = paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    paths.sort();
    Ok(paths)
}

fn read(path: &Path, max: u64) -> Result<Vec<u8>, TrustError> {
    read_to(path, max).map_err(|source| TrustError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn malformed(path: &Path, why: impl ToString) -> TrustError {
    TrustError::Malformed {
        path: path.to_owned(),
        why: why.to_string(),
    }
}
