//! Wires the parts: the only place where the real clock and the real randomness are made, and where threads begin.

use crate::admin::{self, Admin, AdminSocket, Backups, Registrar};
use crate::auth::TrustDomain;
use crate::ceremony::{ArtefactError, Artefacts, SignerFileError, SignerParts};
use crate::challenge::ChallengeKey;
use crate::config::Config;
use crate::hsm_health::HsmProbe;
use crate::issuance::{Corridor, CorridorParts, Refusal, StartError};
use crate::ledger::{HeadFile, LedgerError, LogKey, LogKeyError};
use crate::metrics::Sampler;
use crate::rpc::{self, Audit, Chain, Factory, ServeError, TlsError, TlsIncoming};
use crate::scheduling::give_way;
use crate::service_manager;
use identity::approval::ApproverSet;
use identity::sources::EntropyError;
use identity::{Clock, Entropy, Timestamp};
use keyvault::rcgen_key::RcgenKey;
use keyvault::{KeyUse, Module, Token, VaultError};
use signer::SignerError;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use translog::checkpoint::{TrustError, TrustedLog};
use translog::note::VerifierKeyError;
use vitals::{manager, metrics};

/// What the challenge key is derived for.
const CHALLENGE_CONTEXT: &[u8] = b"koseki/challenge-key/v1\n";

/// A day in milliseconds.
const DAY_MS: u64 = 86_400_000;
/// Days before the end of the server's certificate from which every start warns.
const WARN_DAYS: u64 = 30;

/// The wall clock of the host.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the clock adapter")]
        let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
        // A clock before 1970 reads as 1970: earlier than any leaf, so that nothing is issued.
        let millis = now.map(|since| since.as_millis()).unwrap_or_default();
        Timestamp(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(out).map_err(|_failed| EntropyError)
    }
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Nothing that a ceremony leaves is here.
    #[error("{}: no ceremony was held here", .0.display())]
    NotHeld(PathBuf),
    /// The ceremony's files cannot be used.
    #[error("{0}")]
    Artefacts(#[from] ArtefactError),
    /// A token or key cannot be used.
    #[error("{0}")]
    Vault(#[from] VaultError),
    /// The log's key has no usable name or form.
    #[error("{0}")]
    LogKey(#[from] LogKeyError),
    /// The verifier key in the ceremony document cannot be read.
    #[error("log key of the ceremony: {0}")]
    Vkey(#[from] VerifierKeyError),
    /// The log cannot be trusted under its own key.
    #[error("log: {0}")]
    Trust(#[from] TrustError),
    /// The log token's key is another than the ceremony's.
    #[error("the log token holds another key than the ceremony made")]
    ForeignLogKey,
    /// The signer's file or token cannot be used.
    #[error("signer: {0}")]
    SignerFile(#[from] SignerFileError),
    /// The signer cannot be opened.
    #[error("signer: {0}")]
    Signer(#[from] SignerError),
    /// The corridor cannot start.
    #[error("{0}")]
    Start(#[from] StartError),
    /// The log could not be begun.
    #[error("the first leaf: {0}")]
    Begin(Refusal),
    /// TLS cannot be set up.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The infrastructure root cannot be read.
    #[error("infrastructure root: {0}")]
    Root(der::Error),
    /// A socket or directory cannot be used.
    #[error("{what}: {error}")]
    System {
        /// The address or path.
        what: String,
        /// What the system says.
        error: io::Error,
    },
    /// The services ended badly.
    #[error("{0}")]
    Serve(#[from] ServeError),
    /// What became durable is only found by reading it anew.
    #[error("the outcome of a write is not known: {0}")]
    Unknown(Refusal),
}

/// Runs the server until it is told to stop by `SIGTERM` or Ctrl-C.
///
/// # Errors
/// [`AppError`] if it cannot start, or ended badly.
pub fn run(config: &Config) -> Result<(), AppError> {
    let parts = Parts::open(config)?;
    let corridor = parts.corridor.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .on_thread_start(give_way)
        .enable_all()
        .build()
        .map_err(|error| system("runtime", error))?;
    let served = runtime.block_on(serve(config, parts));
    // What is reserved is finished and durable before the process ends.
    corridor.stop();
    // A module that hangs keeps its thread; the process ends all the same.
    runtime.shutdown_background();
    tracing::info!("stopped");
    served
}

/// Everything that is opened before the first connection.
struct Parts {
    artefacts: Artefacts,
    corridor: Corridor,
    infrastructure: Token,
    probe: HsmProbe,
}

impl Parts {
    fn open(config: &Config) -> Result<Self, AppError> {
        if was_not_held(config) {
            return Err(AppError::NotHeld(config.paths.ceremony.clone()));
        }
        let artefacts = Artefacts::load(&config.paths.ceremony)?;
        let module = Module::load(&config.hsm.module)?;
        let settings = &config.hsm.infrastructure;
        let infrastructure = module.open(&settings.token, settings.pin().read()?)?;
        let challenge = infrastructure.derive_secret(&settings.challenge_key, CHALLENGE_CONTEXT)?;
        let signer = SignerParts::load(&config.signer.config)?;
        private_directories(config)?;
        let (log_token, log_key) = log_key(config, &module, &artefacts)?;
        let probe = HsmProbe::new(vec![signer.token(), log_token, infrastructure.clone()]);
        let (store, signer) = (config.paths.state.join("ca.sqlite"), signer.open()?);
        may_begin(config, &store, signer.size())?;
        let corridor = Corridor::start(CorridorParts {
            store,
            log: config.paths.state.join("log"),
            head_file: config.paths.head.clone(),
            origin: artefacts.ceremony.origin.clone(),
            log_key,
            signer,
            issuing_certificate: artefacts.issuing.clone(),
            approvers: ApproverSet::from(&artefacts.ceremony),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            challenge: ChallengeKey::new(challenge),
            files_within: config.publication.lag(),
            long_log: pages::LONG_LOG,
        })?;
        Ok(Self {
            artefacts,
            corridor,
            infrastructure,
            probe,
        })
    }

    fn admin(&self, config: &Config) -> Result<Admin, AppError> {
        let label = &config.hsm.infrastructure.root_key;
        let root = self.infrastructure.key(label, KeyUse::Infrastructure)?;
        let registrar = Registrar::new(
            RcgenKey::new(root),
            &self.artefacts.infrastructure,
            self.domain(),
            Arc::new(SystemEntropy),
        );
        let registrar = registrar.map_err(AppError::Root)?;
        Ok(Admin::new(
            self.corridor.clone(),
            registrar,
            self.probe.clone(),
            Backups::new(config.clone(), self.log()?, Arc::new(SystemClock)),
        ))
    }

    fn factory(&self) -> Factory {
        let chain = Chain {
            issuing: self.artefacts.issuing.clone(),
            root: self.artefacts.root.clone(),
            log_vkey: self.artefacts.ceremony.log_vkey.clone(),
        };
        Factory::new(self.corridor.clone(), chain, Arc::new(SystemClock))
    }

    fn audit(&self) -> Result<Audit, AppError> {
        Ok(Audit::new(self.corridor.clone(), self.log()?))
    }

    fn log(&self) -> Result<TrustedLog, AppError> {
        let ceremony = &self.artefacts.ceremony;
        Ok(TrustedLog::new(
            &ceremony.origin,
            vec![ceremony.log_vkey.parse()?],
        )?)
    }

    fn tls(&self, config: &Config) -> Result<TlsIncoming, AppError> {
        let label = &config.hsm.infrastructure.server_key;
        let key = self.infrastructure.key(label, KeyUse::ServerTls)?;
        let tls = rpc::server_config(&self.artefacts, key)?;
        let meters = Arc::clone(self.corridor.meters());
        Ok(TlsIncoming::new(tls, self.domain(), config.limits, meters))
    }

    fn domain(&self) -> TrustDomain {
        TrustDomain::of_origin(&self.artefacts.ceremony.origin)
    }
}

/// The log token and its checkpoint key, if it is the one that the ceremony document names.
fn log_key(
    config: &Config,
    module: &Module,
    artefacts: &Artefacts,
) -> Result<(Token, LogKey), AppError> {
    use translog::note::NoteSigner as _;
    let settings = &config.hsm.log;
    let token = module.open(&settings.token, settings.pin().read()?)?;
    let key = token.key(&settings.key, KeyUse::Log)?;
    let key = LogKey::new(&artefacts.ceremony.origin, key)?;
    if key.verifier_key().to_string() == artefacts.ceremony.log_vkey {
        Ok((token, key))
    } else {
        Err(AppError::ForeignLogKey)
    }
}

async fn serve(config: &Config, parts: Parts) -> Result<(), AppError> {
    let stop = asked_to_stop().map_err(|error| system("signals", error))?;
    let corridor = parts.corridor.clone();
    begin(&parts).await?;
    let address = config.listen.address;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| system(&address.to_string(), error))?;
    let path = &config.paths.admin_socket;
    let socket =
        AdminSocket::bind(path).map_err(|error| system(&path.display().to_string(), error))?;
    let limits = config.limits;
    corridor.set_pace(limits.writes_per_second, limits.writes_burst);
    serve_metrics(config, &parts).await?;
    let (tell, told) = watch::channel(false);
    let network = rpc::serve(
        listener,
        parts.tls(config)?,
        (parts.factory(), parts.audit()?),
        config.limits,
        wait(told.clone()),
    );
    let local = admin::serve(
        socket,
        (parts.admin(config)?, parts.audit()?),
        config.limits,
        wait(told),
    );
    let mut services = tokio::spawn(both(network, local));
    tracing::info!(%address, admin = %path.display(), "serving");
    drop(tokio::spawn(service_manager::watch(corridor.clone())));
    manager::ready();
    let reason = tokio::select! {
        ended = &mut services => return joined(ended),
        () = stop => Ok(()),
        unknown = corridor.ending() => Err(AppError::Unknown(unknown)),
    };
    tracing::info!("stopping: calls under way may end");
    manager::stopping("stopping: calls under way may end");
    tell.send_replace(true);
    let drained = match timeout(config.limits.drain(), services).await {
        Ok(ended) => joined(ended),
        Err(_elapsed) => {
            tracing::warn!("calls were still under way when the time to drain ended");
            Ok(())
        }
    };
    reason.and(drained)
}

/// Shows metrics, if anybody wants them, and says in good time that the server's own certificate ends: after that no
/// station gets in.
async fn serve_metrics(config: &Config, parts: &Parts) -> Result<(), AppError> {
    let end = parts.artefacts.server_expiry()?;
    let left = end.0.saturating_sub(SystemClock.now().0) / DAY_MS;
    if left <= WARN_DAYS {
        tracing::warn!(days = left, "the server's TLS certificate ends soon");
    }
    let Some(address) = config.metrics.listen else {
        return Ok(());
    };
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| system(&address.to_string(), error))?;
    let sampler = Sampler::new(parts.corridor.clone(), config, end.0);
    let page = Arc::new(move || sampler.text());
    drop(tokio::spawn(metrics::serve(listener, page)));
    tracing::info!(%address, "metrics are shown");
    Ok(())
}

/// The log's first leaf is the ceremony.
async fn begin(parts: &Parts) -> Result<(), AppError> {
    let status = parts.corridor.status().map_err(AppError::Begin)?;
    if status.log_size > 0 {
        return Ok(());
    }
    let ceremony = parts.artefacts.ceremony.clone();
    let begun = parts.corridor.begin(ceremony).await;
    begun.map_err(AppError::Begin)?;
    tracing::info!(origin = parts.artefacts.ceremony.origin, "log begun");
    Ok(())
}

/// Both services; when one ends badly, so does the whole.
async fn both(
    network: impl Future<Output = Result<(), ServeError>>,
    local: impl Future<Output = Result<(), ServeError>>,
) -> Result<(), ServeError> {
    tokio::try_join!(network, local).map(|((), ())| ())
}

fn joined(ended: Result<Result<(), ServeError>, tokio::task::JoinError>) -> Result<(), AppError> {
    match ended {
        Ok(served) => Ok(served?),
        Err(error) => Err(system("services", io::Error::other(error))),
    }
}

async fn wait(mut told: watch::Receiver<bool>) {
    // The sender lives as long as the services; if it is gone, stopping is right too.
    if let Err(gone) = told.wait_for(|stop| *stop).await {
        tracing::debug!(%gone, "nobody is left to say stop");
    }
}

/// Listens for what asks the server to stop, from now on: a signal that comes before anybody waits counts too.
fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Whether the ceremony is still to come: of one that was held and lost in part there are other things to say.
fn was_not_held(config: &Config) -> bool {
    let left = [
        &config.paths.ceremony,
        &config.paths.head,
        &config.signer.store,
    ];
    left.iter().all(|path| is_missing(path))
}

/// Where no store is, a log begins, if nobody has seen any of it. Judged before a file is made: a restore wants the
/// state's directory empty.
fn may_begin(config: &Config, store: &Path, followed: u64) -> Result<(), StartError> {
    if !is_missing(store) {
        return Ok(());
    }
    let (size, _) = HeadFile::open(&config.paths.head)?.newest();
    if size > 0 {
        let source_name = "the head file";
        return Err(LedgerError::Ahead { source_name, size }.into());
    }
    match followed {
        0 => Ok(()),
        signer => Err(StartError::SignerAhead { signer, store: 0 }),
    }
}

fn is_missing(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

/// Where the store, the head and the signer's store are.
fn private_directories(config: &Config) -> Result<(), AppError> {
    let above = |file: &Path| file.parent().unwrap_or_else(|| Path::new("/")).to_owned();
    let (head, signer) = (above(&config.paths.head), above(&config.signer.store));
    for path in [&config.paths.state, &head, &signer] {
        let refused = |error| system(&path.display().to_string(), io::Error::other(error));
        crate::private::directory(path).map_err(refused)?;
    }
    Ok(())
}

fn system(what: &str, error: io::Error) -> AppError {
    AppError::System {
        what: what.to_owned(),
        error,
    }
}
