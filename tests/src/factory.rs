//! A CA with its operators, as the demonstration and the stories use it: real processes, real sockets, real files.

use crate::chips::Vendor;
use crate::failure::{At as _, Failure, Outcome};
use crate::faults::{Faults, Shim};
use crate::hsm::{Hsm, Module};
use crate::patience::until;
use crate::policies::Policies;
use crate::process::{Daemon, finish, program, said, succeed};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Name in the server's certificate.
pub const SERVER_NAME: &str = "ca.mihon-denki.example";
/// Two of the three approvers; two are needed.
pub const APPROVERS: [&str; 2] = ["vet-01", "ca-op-02"];

/// A CA in a directory.
#[derive(Debug)]
pub struct Factory {
    home: PathBuf,
    /// Its policies.
    pub policies: Policies,
    /// The vendor of its chips.
    pub vendor: Vendor,
    module: Module,
    address: SocketAddr,
    server: Option<Daemon>,
    faults: Option<Faults>,
    service_manager: Option<PathBuf>,
}

impl Factory {
    /// Prepares everything that is there before the ceremony: policies, chip vendor, HSM, configuration.
    ///
    /// # Errors
    /// [`Failure`] says what is missing.
    pub fn prepare(home: &Path, hsm: Hsm) -> Outcome<Self> {
        Self::prepare_at(home, hsm, jiff::Timestamp::now())
    }

    /// As [`Self::prepare`], with policies for this moment.
    ///
    /// # Errors
    /// [`Failure`] says what is missing.
    pub fn prepare_at(home: &Path, hsm: Hsm, now: jiff::Timestamp) -> Outcome<Self> {
        let policies = Policies::copy(&home.join("policies"), now)?;
        let vendor = Vendor::found(&home.join("vendor"))?;
        let pinned = policies.dir().join("vendors/sim-chips.pem");
        fs::copy(vendor.public(), &pinned).at(&pinned)?;
        let factory = Self {
            home: home.to_owned(),
            policies,
            vendor,
            module: Module::prepare(hsm, &home.join("hsm"))?,
            address: TcpListener::bind("127.0.0.1:0")?.local_addr()?,
            server: None,
            faults: None,
            service_manager: None,
        };
        let config = factory.config();
        fs::write(&config, factory.settings()).at(&config)?;
        Ok(factory)
    }

    /// Holds the key ceremony.
    ///
    /// # Errors
    /// [`Failure`] of `ca-server init`.
    pub fn hold_ceremony(&self) -> Outcome<String> {
        let mut command = self.ca_server(&["init"])?;
        command
            .arg("--ceremony")
            .arg(self.policies.file("ceremony", "demo"));
        command.arg("--pins").arg(self.path("pins"));
        command.args(["--attended", "Sato Yui, CA operator"]);
        succeed(command.arg("--config").arg(self.config()))
    }

    /// A factory after its ceremony, with its server running.
    ///
    /// # Errors
    /// [`Failure`] of any step.
    pub fn running(home: &Path, hsm: Hsm) -> Outcome<Self> {
        let mut factory = Self::prepare(home, hsm)?;
        factory.hold_ceremony()?;
        factory.start_server()?;
        Ok(factory)
    }

    /// Puts every program of the CA that is started from now on under a page of faults.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn govern(&mut self, shim: &Shim) -> Outcome<&Faults> {
        let faults = Faults::prepare(shim, &self.home)?;
        Ok(self.faults.insert(faults))
    }

    /// The page that governs the CA's programs.
    ///
    /// # Errors
    /// [`Failure`] if there is none.
    pub fn faults(&self) -> Outcome<&Faults> {
        let faults = self.faults.as_ref();
        faults.ok_or_else(|| Failure::new("no page of faults governs this factory"))
    }

    /// Another factory that is what this one is now, in another directory. The server must not be running.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn copy_to(&self, home: &Path) -> Outcome<Self> {
        crate::failure::require(self.server.is_none(), "a running server is not copied")?;
        copy_all(&self.home, home)?;
        let copy = Self {
            home: home.to_owned(),
            policies: Policies::at(&home.join("policies")),
            vendor: Vendor::at(&home.join("vendor")),
            module: self.module.moved_to(&home.join("hsm"))?,
            address: TcpListener::bind("127.0.0.1:0")?.local_addr()?,
            server: None,
            faults: None,
            service_manager: None,
        };
        let config = copy.config();
        fs::write(&config, copy.settings()).at(&config)?;
        // The ceremony wrote whole paths.
        let signer = home.join("signer.toml");
        let text = fs::read_to_string(&signer).at(&signer)?;
        let (old, new) = (self.home.to_string_lossy(), home.to_string_lossy());
        fs::write(&signer, text.replace(&*old, &new)).at(&signer)?;
        Ok(copy)
    }

    /// Waits until the server has ended by itself, as one that was killed from inside does.
    ///
    /// # Errors
    /// [`Failure`] if it does not run, or goes on.
    pub fn await_end(&mut self) -> Outcome<()> {
        let mut server = self.server.take();
        let server = server
            .as_mut()
            .ok_or_else(|| Failure::new("no server runs"))?;
        until("the server's end", || server.ended()).map(drop)
    }

    /// Whether the server has ended by itself; it counts as not running from then on.
    ///
    /// # Errors
    /// [`Failure`] of the system.
    pub fn has_ended(&mut self) -> Outcome<bool> {
        let ended = match &mut self.server {
            Some(server) => server.ended()?.is_some(),
            None => true,
        };
        if ended {
            self.server = None;
        }
        Ok(ended)
    }

    /// Starts the server and waits until both of its sockets answer.
    ///
    /// # Errors
    /// [`Failure`] with what the server said, if it ended.
    pub fn start_server(&mut self) -> Outcome<()> {
        let mut command = self.ca_server(&["serve"])?;
        if let Some(socket) = &self.service_manager {
            command.env("NOTIFY_SOCKET", socket);
            command.env("WATCHDOG_USEC", "2000000");
        }
        let command = command.arg("--config").arg(self.config());
        let mut daemon = Daemon::start(command, &self.path("ca-server.log"))?;
        let socket = self.path("ca/admin.sock");
        until("the server", || match daemon.ended()? {
            Some(status) => Err(Failure::new(format_args!("{status}: {}", daemon.said()))),
            None => {
                let up = UnixStream::connect(&socket).is_ok()
                    && TcpStream::connect(self.address).is_ok();
                Ok(up.then_some(()))
            }
        })?;
        self.server = Some(daemon);
        Ok(())
    }

    /// Waits until the log's files follow, then `kill -9` of the server.
    ///
    /// # Errors
    /// [`Failure`] if it does not run.
    pub fn kill_settled_server(&mut self) -> Outcome<()> {
        self.settle()?;
        self.kill_server()
    }

    /// `kill -9` of the server.
    ///
    /// # Errors
    /// [`Failure`] if it does not run.
    pub fn kill_server(&mut self) -> Outcome<()> {
        self.server
            .take()
            .ok_or_else(|| Failure::new("no server runs"))?
            .kill()
    }

    /// Seconds of processor time that the server has taken.
    ///
    /// # Errors
    /// [`Failure`] if it does not run.
    pub fn server_seconds(&self) -> Outcome<f64> {
        let server = self.server.as_ref();
        server
            .ok_or_else(|| Failure::new("no server runs"))?
            .processor_seconds()
    }

    /// Most memory that the server has had so far, in bytes.
    ///
    /// # Errors
    /// [`Failure`] if it does not run.
    pub fn server_memory(&self) -> Outcome<f64> {
        let server = self.server.as_ref();
        server
            .ok_or_else(|| Failure::new("no server runs"))?
            .most_memory()
    }

    /// Largest core dump that the server may leave and that it may ask for.
    ///
    /// # Errors
    /// [`Failure`] if it does not run.
    pub fn server_core_limits(&self) -> Outcome<Vec<String>> {
        let server = self.server.as_ref();
        server
            .ok_or_else(|| Failure::new("no server runs"))?
            .core_limits()
    }

    /// The server's process, if it runs.
    #[must_use]
    pub fn server_id(&self) -> Option<u32> {
        self.server.as_ref().map(Daemon::id)
    }

    /// Asks the server to stop, and waits.
    ///
    /// # Errors
    /// [`Failure`] if it does not run, or ends badly.
    pub fn stop_server(&mut self) -> Outcome<()> {
        let mut server = self.server.take();
        let server = server
            .as_mut()
            .ok_or_else(|| Failure::new("no server runs"))?;
        let status = server.stop()?;
        crate::failure::require(
            status.success(),
            format_args!("{status}: {}", server.said()),
        )
    }

    /// Asks the server to stop (SIGTERM), and does not wait.
    ///
    /// # Errors
    /// [`Failure`] if it does not run.
    pub fn tell_server_to_stop(&self) -> Outcome<()> {
        let server = self.server.as_ref();
        let server = server.ok_or_else(|| Failure::new("no server runs"))?;
        server.tell_to_stop()
    }

    /// Has two approvers sign a grant, loads it, and hands out its documents.
    ///
    /// # Errors
    /// [`Failure`] of a step.
    pub fn load_grant(&self, grant: &str) -> Outcome<()> {
        let file = self.policies.file("grants", grant);
        let approvals = APPROVERS
            .iter()
            .map(|approver| self.approve("grant", grant, approver, None))
            .collect::<Outcome<Vec<_>>>()?;
        let mut command = self.ca_server(&["grant", "load"])?;
        command.arg("--policies").arg(self.policies.dir());
        command.arg("--grant").arg(file);
        command.arg("--out").arg(self.grant_dir(grant));
        succeed(self.with_approvals(&mut command, &approvals)).map(drop)
    }

    /// Opens a lot under its grant.
    ///
    /// # Errors
    /// [`Failure`] of `ca-server lot open`.
    pub fn open_lot(&self, grant: &str, lot: &str) -> Outcome<()> {
        let mut command = self.ca_server(&["lot", "open"])?;
        command.arg("--policies").arg(self.policies.dir());
        command
            .arg("--grant")
            .arg(self.policies.file("grants", grant));
        command.arg("--lot").arg(self.policies.file("lots", lot));
        succeed(command.arg("--config").arg(self.config())).map(drop)
    }

    /// Has two approvers sign a station with its keys, and enrolls it; the certificate goes to `out`.
    ///
    /// # Errors
    /// [`Failure`] of a step.
    pub fn enroll_station(&self, station: &str, request: &Path, out: &Path) -> Outcome<()> {
        let keys = request.join("station-request.toml");
        let approvals = APPROVERS
            .iter()
            .map(|approver| self.approve("station", station, approver, Some(&keys)))
            .collect::<Outcome<Vec<_>>>()?;
        let mut command = self.ca_server(&["station", "enroll"])?;
        command
            .arg("--statement")
            .arg(self.policies.file("stations", station));
        command.arg("--keys").arg(&keys);
        command.arg("--csr").arg(request.join("station.csr.pem"));
        command.arg("--out").arg(out);
        succeed(self.with_approvals(&mut command, &approvals)).map(drop)
    }

    /// Has an approver sign; gives the approval's file.
    ///
    /// # Errors
    /// [`Failure`] of `ca-server approve`.
    pub fn approve(
        &self,
        kind: &str,
        name: &str,
        approver: &str,
        keys: Option<&Path>,
    ) -> Outcome<PathBuf> {
        let dir = self.path("approvals");
        fs::create_dir_all(&dir).at(&dir)?;
        let out = dir.join(format!("{kind}-{name}-{approver}.pem"));
        let card = format!("approver-{approver}");
        let mut command = self.ca_server(&["approve", kind])?;
        command.arg(self.policies.file(&format!("{kind}s"), name));
        command.arg("--policies").arg(self.policies.dir());
        if let Some(keys) = keys {
            command.arg("--keys").arg(keys);
        }
        command
            .arg("--ceremony")
            .arg(self.path("ca/ceremony/ceremony.der"));
        command.args(["--approver", approver, "--token-label", &card, "--yes"]);
        command.arg("--module").arg(self.module.path());
        let pins = self.path("pins").join("approvers").join(approver);
        command
            .arg("--pin-file")
            .arg(pins.join(format!("{card}.pin")));
        succeed(command.arg("--out").arg(&out))?;
        Ok(out)
    }

    /// Confirms to the server that its clock is right.
    ///
    /// # Errors
    /// [`Failure`] of `ca-server clock confirm`.
    pub fn confirm_clock(&self) -> Outcome<()> {
        let watch = jiff::Timestamp::now().to_string();
        let mut command = self.ca_server(&["clock", "confirm", "--watch", &watch])?;
        succeed(command.arg("--config").arg(self.config())).map(drop)
    }

    /// What the server says of itself, be it well, alarmed or stopped.
    ///
    /// # Errors
    /// [`Failure`] of `ca-server status`, also if its exit code says other than its words.
    pub fn status(&self) -> Outcome<String> {
        let mut command = self.ca_server(&["status"])?;
        let output = finish(command.arg("--config").arg(self.config()))?;
        let told = said(&output.stdout);
        let is_stopped = told.contains("issuing  stopped");
        let is_alarmed = told.contains("ALARM ") || !told.contains("HSM      ready");
        let wanted = match (is_stopped, is_alarmed) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        };
        if output.status.code() == Some(wanted) {
            return Ok(told);
        }
        let (ended, errors) = (output.status, said(&output.stderr));
        Err(Failure::new(format_args!(
            "status: {ended}\n{told}{errors}"
        )))
    }

    /// Adds to the configuration; takes effect when the server is started.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn configure(&self, more: &str) -> Outcome<()> {
        let path = self.config();
        let text = fs::read_to_string(&path).at(&path)?;
        fs::write(&path, format!("{text}\n{more}")).at(&path)
    }

    /// From now on the server tells this socket how it is, as it would tell systemd, with a watchdog of two seconds.
    pub fn answer_to(&mut self, socket: &Path) {
        self.service_manager = Some(socket.to_owned());
    }

    /// Has the running server back itself up.
    ///
    /// # Errors
    /// [`Failure`] of `ca-server backup`.
    pub fn back_up(&self, out: &Path) -> Outcome<String> {
        let mut command = self.ca_server(&["backup"])?;
        succeed(
            command
                .arg("--out")
                .arg(out)
                .arg("--config")
                .arg(self.config()),
        )
    }

    /// Brings a backup back into the place of the state, which is emptied first.
    ///
    /// # Errors
    /// [`Failure`] of `ca-server restore`, with what it said.
    pub fn restore(&self, from: &Path) -> Outcome<String> {
        let state = self.path("ca/state");
        if state.exists() {
            fs::remove_dir_all(&state).at(&state)?;
        }
        let mut command = self.ca_server(&["restore"])?;
        succeed(
            command
                .arg("--from")
                .arg(from)
                .arg("--config")
                .arg(self.config()),
        )
    }

    /// Runs a command of `ca-server` that may fail.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be run.
    pub fn try_ca_server(&self, args: &[&str]) -> Outcome<Output> {
        let mut command = self.ca_server(args)?;
        finish(command.arg("--config").arg(self.config()))
    }

    /// What relying parties believe in: root, issuing CA, log key, ceremony with the approvers, chip vendor, profiles.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn publish_trust(&self, to: &Path, grants: &[&str]) -> Outcome<()> {
        let ceremony = self.path("ca/ceremony");
        for (from, name) in [
            ("root.pem", "ca/root.pem"),
            ("issuing.pem", "ca/issuing.pem"),
            ("log.vkey", "log.vkey"),
            ("ceremony.der", "ceremony.der"),
        ] {
            copy(&ceremony.join(from), &to.join(name))?;
        }
        copy(&self.vendor.public(), &to.join("vendors/sim-chips.pem"))?;
        for grant in grants {
            let profile = self.grant_dir(grant).join("profile.der");
            copy(&profile, &to.join(format!("profiles/{grant}.der")))?;
        }
        Ok(())
    }

    /// The HSM.
    #[must_use]
    pub const fn module(&self) -> &Module {
        &self.module
    }

    /// Where stations connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A path in the factory's directory.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.home.join(below)
    }

    /// Where a loaded grant's documents are.
    #[must_use]
    pub fn grant_dir(&self, grant: &str) -> PathBuf {
        self.path("grants").join(grant)
    }

    /// Waits until the log's files are those of the head that the running server has now: partial ones lag.
    ///
    /// # Errors
    /// [`Failure`] if it does not run, or they do not follow.
    pub fn settle(&self) -> Outcome<()> {
        until("the files of the log", || {
            Ok(self.has_settled()?.then_some(()))
        })
    }

    /// Whether they are.
    ///
    /// # Errors
    /// [`Failure`] if the server does not run.
    pub fn has_settled(&self) -> Outcome<bool> {
        let status = self.status()?;
        let leaves = status.lines().find_map(|line| line.strip_prefix("log"));
        let leaves = leaves.and_then(|said| said.split_whitespace().next());
        let checkpoint = self.log_dir().join("checkpoint");
        let note = fs::read_to_string(&checkpoint).at(&checkpoint)?;
        Ok(note.lines().nth(1) == leaves)
    }

    /// The log as static files.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.path("ca/state/log")
    }

    /// All that the server said.
    #[must_use]
    pub fn server_log(&self) -> String {
        fs::read(self.path("ca-server.log"))
            .map(|bytes| said(&bytes))
            .unwrap_or_default()
    }

    fn with_approvals<'a>(
        &self,
        command: &'a mut Command,
        approvals: &[PathBuf],
    ) -> &'a mut Command {
        for approval in approvals {
            command.arg("--approval").arg(approval);
        }
        command.arg("--config").arg(self.config())
    }

    fn ca_server(&self, args: &[&str]) -> Outcome<Command> {
        let mut command = Command::new(program("ca-server")?);
        self.module.tell(command.args(args));
        if let Some(faults) = &self.faults {
            faults.govern(&mut command);
        }
        Ok(command)
    }

    fn config(&self) -> PathBuf {
        self.path("ca-server.toml")
    }

    fn settings(&self) -> String {
        let (address, module) = (self.address, self.module.path().display());
        format!(
            r#"[listen]
address = "{address}"
names = ["{SERVER_NAME}"]

[paths]
state = "ca/state"
ceremony = "ca/ceremony"
head = "ca/head/head"
admin_socket = "ca/admin.sock"

[hsm]
module = "{module}"

[hsm.log]
token = "koseki-log"
key = "log-ota-2"
pin_file = "pins/koseki-log.pin"

[hsm.infrastructure]
token = "koseki-infrastructure"
root_key = "infrastructure-root-r1"
pin_file = "pins/koseki-infrastructure.pin"

[signer]
config = "signer.toml"
store = "ca/signer/signer.sqlite"
"#
        )
    }
}

/// Copies a file into a directory that is made.
///
/// # Errors
/// [`Failure`] names the file.
pub fn copy(from: &Path, to: &Path) -> Outcome<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).at(parent)?;
    }
    fs::copy(from, to).at(from).map(drop)
}

/// Copies a directory with everything in it.
///
/// # Errors
/// [`Failure`] names the file.
pub fn copy_all(from: &Path, to: &Path) -> Outcome<()> {
    fs::create_dir_all(to).at(to)?;
    let mode = fs::metadata(from).at(from)?.permissions();
    fs::set_permissions(to, mode).at(to)?;
    for entry in fs::read_dir(from).at(from)? {
        let path = entry.at(from)?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_all(&path, &target)?;
        } else {
            copy(&path, &target)?;
        }
    }
    Ok(())
}
