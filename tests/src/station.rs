//! A station on the line: its settings, its token, its runs and what they leave behind.

use crate::factory::{Factory, SERVER_NAME};
use crate::failure::{At as _, Outcome};
use crate::faults::Faults;
use crate::process::{Daemon, finish, program, said, succeed};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};

/// A station in a directory.
#[derive(Debug)]
pub struct Station {
    id: String,
    home: PathBuf,
    module: crate::hsm::Module,
    address: String,
    /// Seconds that a unit waits for the CA.
    give_up: u16,
    /// Seconds that a unit on hold waits for the CA in its socket.
    hold: u32,
    grants: Vec<(PathBuf, String)>,
    faults: Option<Faults>,
    more: String,
    /// Whether units are made only when they were scanned.
    scan: bool,
    service_manager: Option<PathBuf>,
}

/// What a run ended with.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Exit code; none if it was killed.
    pub code: Option<i32>,
    /// What it said.
    pub said: String,
}

impl Station {
    /// Makes the station's keys and has it enrolled. The page of faults that governs the factory governs it too.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) of a step.
    pub fn enroll(factory: &Factory, id: &str) -> Outcome<Self> {
        let station = Self {
            id: id.to_owned(),
            home: factory.path("stations").join(id),
            module: factory.module().clone(),
            address: factory.address().to_string(),
            give_up: 60,
            hold: 0,
            grants: Vec::new(),
            faults: factory.faults().ok().cloned(),
            more: String::new(),
            scan: false,
            service_manager: None,
        };
        fs::create_dir_all(&station.home).at(&station.home)?;
        station.write_secret("user.pin", "station-0815")?;
        station.write_secret("so.pin", "station-so-4711")?;
        // Enrolling looks at no socket, but settings name at least one.
        station.write_settings(&["127.0.0.1:9".to_owned()])?;
        let root = factory.path("ca/ceremony/infrastructure.pem");
        crate::factory::copy(&root, &station.home.join("infrastructure-root.pem"))?;
        let mut command = station.command(&["enroll"])?;
        succeed(command.arg("--out").arg(station.home.join("request")))?;
        let certificate = station.home.join("station.cert.pem");
        factory.enroll_station(id, &station.home.join("request"), &certificate)?;
        Ok(station)
    }

    /// Gives the station a grant with its lots, and all trust that it needs.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) names the file.
    pub fn take_grant(&mut self, factory: &Factory, grant: &str, lots: &[&str]) -> Outcome<()> {
        let lots = lots.iter().map(|lot| format!("{lot:?}"));
        let lots = lots.collect::<Vec<_>>().join(", ");
        self.grants.push((factory.grant_dir(grant), lots));
        factory.publish_trust(&self.home.join("trust"), &[grant])
    }

    /// From now on finds the CA at this address, and waits so many seconds for it.
    pub fn dial(&mut self, address: &str, give_up: u16) {
        address.clone_into(&mut self.address);
        self.give_up = give_up;
    }

    /// From now on units on hold wait in their sockets for the CA, so many seconds.
    pub const fn hold(&mut self, seconds: u32) {
        self.hold = seconds;
    }

    /// From now on has these settings, too.
    pub fn configure(&mut self, more: &str) {
        self.more.push_str(more);
    }

    /// From now on units are made only when they were scanned.
    pub const fn scan(&mut self) {
        self.scan = true;
    }

    /// From now on runs tell this socket how they are, as they would tell systemd, with a watchdog of two seconds.
    pub fn answer_to(&mut self, socket: &Path) {
        self.service_manager = Some(socket.to_owned());
    }

    /// Writes a lot file.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) names the file.
    pub fn lot_file(&self, name: &str, bytes: &[u8]) -> Outcome<PathBuf> {
        let path = self.home.join(name);
        fs::write(&path, bytes).at(&path)?;
        Ok(path)
    }

    /// Begins to make a lot in these sockets.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) if the agent cannot be started.
    pub fn start(&self, lot: &Path, sockets: &[String]) -> Outcome<Daemon> {
        self.write_settings(sockets)?;
        let log = self.home.join("agent.log");
        fs::write(&log, "").at(&log)?;
        let mut command = self.command(&["run"])?;
        if let Some(socket) = &self.service_manager {
            command.env("NOTIFY_SOCKET", socket);
            command.env("WATCHDOG_USEC", "2000000");
        }
        Daemon::start(command.arg("--headless").arg("--lot").arg(lot), &log)
    }

    /// The run of a lot in these sockets, as a person begins it who sits at a terminal.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) if the agent is not there.
    pub fn at_screen(&self, lot: &Path, sockets: &[String]) -> Outcome<Command> {
        self.write_settings(sockets)?;
        let mut command = self.command(&["run"])?;
        command.arg("--lot").arg(lot);
        Ok(command)
    }

    /// Makes a lot in these sockets.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) if the agent cannot be started.
    pub fn run(&self, lot: &Path, sockets: &[String]) -> Outcome<Ended> {
        let mut daemon = self.start(lot, sockets)?;
        let status = daemon.wait()?;
        Ok(Ended::of(status, &daemon))
    }

    /// What the journal says is open, one line a unit.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) of `line-agent status`.
    pub fn open_units(&self) -> Outcome<Vec<String>> {
        let told = succeed(&mut self.command(&["status"])?)?;
        let open = told.lines().filter(|line| line.starts_with("open "));
        Ok(open.map(str::to_owned).collect())
    }

    /// Gives a unit up with `line-agent unit void`.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) of the command.
    pub fn void(&self, serial: &str, reason: &str) -> Outcome<String> {
        let mut command = Command::new(program("line-agent")?);
        command.args(["unit", "void", serial, "--reason", reason, "--config"]);
        self.module
            .tell(command.arg(self.home.join("line-agent.toml")));
        succeed(&mut command)
    }

    /// The station burns down: settings, journal, records, and whatever else it had.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) names the directory.
    pub fn lose_home(self) -> Outcome<()> {
        fs::remove_dir_all(&self.home).at(&self.home)
    }

    /// What the journal says word for word.
    #[must_use]
    pub fn journal(&self) -> String {
        said(&fs::read(self.home.join("state/journal")).unwrap_or_default())
    }

    /// Entries of the journal of this kind.
    #[must_use]
    pub fn journalled(&self, step: &str) -> usize {
        let step = format!("\"step\":\"{step}\"");
        self.journal().matches(&step).count()
    }

    /// All records, in the order of their names.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) names the file.
    pub fn records(&self) -> Outcome<Vec<Value>> {
        let read = |path: PathBuf| {
            let text = fs::read(&path).at(&path)?;
            serde_json::from_slice(&text).at(&path)
        };
        files(&self.out().join("records"), "json")?
            .into_iter()
            .map(read)
            .collect()
    }

    /// Certificates of all devices, in the order of their serials.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) names the directory.
    pub fn devices(&self) -> Outcome<Vec<PathBuf>> {
        files(&self.out().join("devices"), "pem")
    }

    /// Where records and devices' files are.
    #[must_use]
    pub fn out(&self) -> PathBuf {
        self.home.join("out")
    }

    /// What the station believes in.
    #[must_use]
    pub fn trust(&self) -> PathBuf {
        self.home.join("trust")
    }

    /// Runs the agent with its settings as they were last written; it may fail.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) if it cannot be run.
    pub fn try_agent(&self, action: &str, arguments: &[&str]) -> Outcome<Output> {
        finish(self.command(&[action])?.args(arguments))
    }

    /// Runs the agent with these words and the station's settings.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) if it cannot be run.
    pub fn try_words(&self, words: &[&str]) -> Outcome<Output> {
        finish(&mut self.command(words)?)
    }

    /// Where its settings, PINs and state are.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    fn command(&self, words: &[&str]) -> Outcome<Command> {
        let mut command = Command::new(program("line-agent")?);
        command.args(words).arg("--config");
        self.module
            .tell(command.arg(self.home.join("line-agent.toml")));
        if let Some(faults) = &self.faults {
            faults.govern(&mut command);
        }
        Ok(command)
    }

    fn write_secret(&self, name: &str, pin: &str) -> Outcome<()> {
        let path = self.home.join(name);
        fs::write(&path, pin).at(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).at(&path)
    }

    /// Writes the settings, with these sockets.
    ///
    /// # Errors
    /// [`Failure`](crate::failure::Failure) names the file.
    pub fn write_settings(&self, sockets: &[String]) -> Outcome<()> {
        let path = self.home.join("line-agent.toml");
        fs::write(&path, self.settings(sockets)).at(&path)
    }

    fn settings(&self, sockets: &[String]) -> String {
        let (id, address, give_up, hold) = (&self.id, &self.address, self.give_up, self.hold);
        let module = self.module.path().display();
        let scan = self.scan;
        let mut text = format!(
            r#"language = "en"
scan = {scan}

[station]
id = "{id}"
site = "JP-13-OTA"
line = "line-2"

[paths]
state = "state"
out = "out"
trust = "trust"

[ca]
address = "{address}"
give_up_seconds = {give_up}
hold_seconds = {hold}
server_name = "{SERVER_NAME}"
infrastructure_root = "infrastructure-root.pem"
certificate = "station.cert.pem"

[hsm]
module = "{module}"
token = "{id}"
pin_file = "user.pin"
so_pin_file = "so.pin"

[enroll]
identity = "spiffe://mihon-denki.example/site/ota/line-2/{id}"
days = 365
"#
        );
        for (number, socket) in (1..).zip(sockets) {
            // A serial device is a file, an address is none.
            let kind = if socket.starts_with('/') {
                "serial"
            } else {
                "tcp"
            };
            text.push_str(&format!(
                "\n[[socket]]\nname = \"{number}\"\n{kind} = \"{socket}\"\n"
            ));
        }
        for (dir, lots) in &self.grants {
            let dir = dir.display();
            text.push_str(&format!(
                "\n[[grant]]\nfile = \"{dir}/grant.der\"\nprofile = \"{dir}/profile.der\"\nlots = [{lots}]\n"
            ));
        }
        text + &self.more
    }
}

impl Ended {
    /// Whether a unit's last line has this verdict.
    #[must_use]
    pub fn told(&self, verdict: &str, serial: &str) -> bool {
        let of_unit = |line: &Value| line["event"] == "unit" && line["serial"] == serial;
        let last = events(&self.said).into_iter().rfind(of_unit);
        last.is_some_and(|line| line["verdict"] == verdict)
    }

    /// Of a process that has ended.
    #[must_use]
    pub fn of(status: ExitStatus, daemon: &Daemon) -> Self {
        Self {
            code: status.code(),
            said: daemon.said(),
        }
    }
}

/// The lines of JSON in what an agent said, which says other things on standard error.
#[must_use]
pub fn events(said: &str) -> Vec<Value> {
    let lines = said.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line["event"].is_string())
        .collect()
}

/// Files with this extension, sorted; none if the directory is not there.
///
/// # Errors
/// [`Failure`](crate::failure::Failure) names the directory.
pub fn files(dir: &Path, extension: &str) -> Outcome<Vec<PathBuf>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).at(dir)?;
    let paths: Result<Vec<_>, _> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect();
    let mut paths = paths.at(dir)?;
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    Ok(paths)
}
