//! The files of a ceremony: written together, read together.

use super::CeremonyError;
use super::certificates::Certificates;
use super::signer_file::SignerSettings;
use crate::config::Config;
use der::pem::{self, LineEnding};
use identity::document::{Ceremony, Document as _, WireError};
use identity::{CertificateHash, Timestamp};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

const ROOT: &str = "root.pem";
const ISSUING: &str = "issuing.pem";
const INFRASTRUCTURE: &str = "infrastructure.pem";
const SERVER: &str = "server.pem";
const LOG_VKEY: &str = "log.vkey";
const CEREMONY: &str = "ceremony.der";
const TRANSCRIPT: &str = "transcript.txt";

/// Label of a certificate in PEM (RFC 7468 §5).
const CERTIFICATE_LABEL: &str = "CERTIFICATE";

/// What a ceremony left for the server; every certificate is the one that the ceremony document names.
#[derive(Clone, Debug)]
pub struct Artefacts {
    /// The ceremony document.
    pub ceremony: Ceremony,
    /// The device root certificate, DER.
    pub root: Vec<u8>,
    /// The issuing CA's certificate, DER.
    pub issuing: Vec<u8>,
    /// The infrastructure root certificate, DER.
    pub infrastructure: Vec<u8>,
    /// The server's TLS certificate, DER.
    pub server: Vec<u8>,
}

/// Files of a ceremony that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Not one certificate in PEM.
    #[error("{}: not one PEM CERTIFICATE", .0.display())]
    Pem(PathBuf),
    /// The ceremony document cannot be read.
    #[error("{}: {error}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: WireError,
    },
    /// A certificate is not the one that the ceremony document names.
    #[error("{}: not the certificate of this ceremony", .0.display())]
    Foreign(PathBuf),
}

impl Artefacts {
    /// When the server's TLS certificate ends.
    ///
    /// # Errors
    /// [`ArtefactError::Pem`] if it is none.
    pub fn server_expiry(&self) -> Result<Timestamp, ArtefactError> {
        use der::Decode as _;
        let certificate = x509_cert::Certificate::from_der(&self.server)
            .map_err(|_not_one| ArtefactError::Pem(SERVER.into()))?;
        let end = certificate.tbs_certificate().validity().not_after;
        let millis = end.to_unix_duration().as_millis();
        Ok(Timestamp(u64::try_from(millis).unwrap_or(u64::MAX)))
    }

    /// All files of a ceremony, none of them secret.
    pub(crate) const FILES: [&'static str; 7] = [
        ROOT,
        ISSUING,
        INFRASTRUCTURE,
        SERVER,
        LOG_VKEY,
        CEREMONY,
        TRANSCRIPT,
    ];

    /// Reads the directory that `init` wrote.
    ///
    /// # Errors
    /// [`ArtefactError`] names the file.
    pub fn load(directory: &Path) -> Result<Self, ArtefactError> {
        let path = directory.join(CEREMONY);
        let ceremony = Ceremony::from_bytes(&read(&path)?)
            .map_err(|error| ArtefactError::Document { path, error })?;
        let certificate = |file: &str| read_certificate(&directory.join(file));
        let named = |file: &str, hash: CertificateHash| {
            let der = certificate(file)?;
            if CertificateHash::of(&der) == hash {
                Ok(der)
            } else {
                Err(ArtefactError::Foreign(directory.join(file)))
            }
        };
        Ok(Self {
            root: named(ROOT, ceremony.root)?,
            issuing: named(ISSUING, ceremony.issuing)?,
            infrastructure: named(INFRASTRUCTURE, ceremony.infrastructure)?,
            server: certificate(SERVER)?,
            ceremony,
        })
    }
}

/// Reads one certificate, PEM, as DER.
///
/// # Errors
/// [`ArtefactError`] names the file.
pub(super) fn read_certificate(path: &Path) -> Result<Vec<u8>, ArtefactError> {
    match pem::decode_vec(&read(path)?) {
        Ok((CERTIFICATE_LABEL, der)) => Ok(der),
        Ok(_) | Err(_) => Err(ArtefactError::Pem(path.to_owned())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ArtefactError> {
    std::fs::read(path).map_err(|error| ArtefactError::Unreadable {
        path: path.to_owned(),
        error,
    })
}

/// Where a ceremony writes: everything goes into `<directory>.part`, which becomes `<directory>` in one step.
pub(super) struct Output {
    directory: PathBuf,
    part: PathBuf,
    signer: PathBuf,
    memory: [PathBuf; 2],
}

impl Output {
    pub(super) fn new(config: &Config) -> Self {
        let directory = &config.paths.ceremony;
        let mut part = directory.as_os_str().to_owned();
        part.push(".part");
        Self {
            directory: directory.clone(),
            part: part.into(),
            signer: config.signer.config.clone(),
            memory: [config.signer.store.clone(), config.paths.head.clone()],
        }
    }

    pub(super) fn refuse_if_held(&self) -> Result<(), CeremonyError> {
        if self.directory.exists() {
            return Err(CeremonyError::Held(self.directory.clone()));
        }
        Ok(())
    }

    /// Files of a ceremony that broke off.
    pub(super) fn left_behind(&self) -> Vec<PathBuf> {
        [&self.part, &self.signer]
            .into_iter()
            .chain(&self.memory)
            .filter(|path| path.exists())
            .cloned()
            .collect()
    }

    pub(super) fn publish(
        &self,
        certificates: &Certificates,
        ceremony: &Ceremony,
        transcript: &str,
        settings: &SignerSettings,
    ) -> Result<(), CeremonyError> {
        make_directory(&self.part)?;
        let files = [
            (ROOT, pem_of(&certificates.root)?.into_bytes()),
            (ISSUING, pem_of(&certificates.issuing)?.into_bytes()),
            (
                INFRASTRUCTURE,
                pem_of(&certificates.infrastructure)?.into_bytes(),
            ),
            (SERVER, pem_of(&certificates.server)?.into_bytes()),
            (LOG_VKEY, format!("{}\n", ceremony.log_vkey).into_bytes()),
            (CEREMONY, ceremony.to_bytes()),
            (TRANSCRIPT, transcript.as_bytes().to_vec()),
        ];
        for (name, bytes) in files {
            write_new(&self.part.join(name), &bytes)?;
        }
        sync_directory(&self.part)?;
        write_new(&self.signer, settings.to_toml()?.as_bytes())?;
        // If the power goes before the rename, a new run names the `.part` directory, the signer's file and store, the
        // head file and the tokens; after it the ceremony has been held.
        std::fs::rename(&self.part, &self.directory)
            .map_err(|error| file_error(&self.directory, error))?;
        let parent = self.directory.parent().unwrap_or_else(|| Path::new("/"));
        sync_directory(parent)
    }
}

fn pem_of(der: &[u8]) -> Result<String, CeremonyError> {
    pem::encode_string(CERTIFICATE_LABEL, LineEnding::LF, der)
        .map_err(|error| CeremonyError::Certificate(error.to_string()))
}

fn make_directory(path: &Path) -> Result<(), CeremonyError> {
    if let Some(parent) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .create(parent)
            .map_err(|error| file_error(parent, error))?;
    }
    DirBuilder::new()
        .mode(0o755)
        .create(path)
        .map_err(|error| file_error(path, error))
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), CeremonyError> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    written.map_err(|error| file_error(path, error))
}

pub(super) fn sync_directory(path: &Path) -> Result<(), CeremonyError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| file_error(path, error))
}

fn file_error(path: &Path, error: io::Error) -> CeremonyError {
    CeremonyError::File {
        path: path.to_owned(),
        error,
    }
}
