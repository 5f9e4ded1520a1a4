use crate::room::{Room, policies};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

const GRANT: &str = "grants/2026-ota-line-2-cam2.toml";

/// A running server; killed if a test ends without stopping it.
pub(crate) struct Server<'a> {
    room: &'a Room,
    process: Child,
    log: Option<JoinHandle<String>>,
    port: u16,
}

impl<'a> Server<'a> {
    pub(crate) fn start(room: &'a Room) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let config = room.read("ca-server.toml");
        let line = config
            .lines()
            .find(|line| line.starts_with("address"))
            .unwrap();
        let config = config.replace(line, &format!("address = \"127.0.0.1:{port}\""));
        std::fs::write(room.path("ca-server.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ca-server"));
        command
            .args(["serve", "--config"])
            .arg(room.path("ca-server.toml"));
        let mut process = room
            .tell(&mut command)
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut events = BufReader::new(process.stderr.take().unwrap());
        let mut log = String::new();
        while !log.contains("\"serving\"") {
            assert!(events.read_line(&mut log).unwrap() > 0, "it ended: {log}");
        }
        let rest = std::thread::spawn(move || {
            let lines = events.lines().map_while(Result::ok);
            lines.fold(log, |log, line| log + &line + "\n")
        });
        Self {
            room,
            process,
            log: Some(rest),
            port,
        }
    }

    /// Sends `SIGTERM`, and gives the log of a server that ended well.
    pub(crate) fn stop(mut self) -> String {
        let id = self.process.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status();
        assert!(told.unwrap().success());
        let code = self.process.wait().unwrap().code();
        let log = self.log.take().unwrap().join().unwrap();
        assert_eq!(code, Some(0), "{log}");
        log
    }

    /// What `openssl s_client` says after it sent a line.
    fn connect(&self, more: &[&str]) -> String {
        let address = format!("127.0.0.1:{}", self.port);
        let root = self.room.path("ceremony/infrastructure.pem");
        let output = Command::new("sh")
            .args([
                "-c",
                "echo hello | timeout 10 openssl s_client -ign_eof \"$@\"",
                "sh",
            ])
            .args(["-connect", &address, "-alpn", "h2", "-CAfile"])
            .arg(root)
            .args(more)
            .output()
            .unwrap();
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        // Already gone after `stop`.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

pub(crate) fn approve(room: &Room, approver: &str) {
    let (grant, directory) = (policies(GRANT), policies(""));
    let done = room.run(&[
        "approve",
        "grant",
        grant.to_str().unwrap(),
        "--policies",
        directory.to_str().unwrap(),
        "--ceremony",
        "@ceremony/ceremony.der",
        "--approver",
        approver,
        "--module",
        crate::module::path().to_str().unwrap(),
        "--token-label",
        &format!("approver-{approver}"),
        "--pin-file",
        &format!("@pins/approvers/{approver}/approver-{approver}.pin"),
        "--out",
        &format!("@{approver}.pem"),
        "--yes",
    ]);
    done.done();
}

pub(crate) fn load(room: &Room, approvers: &[&str], out: &str) -> crate::room::Ended {
    let (grant, directory) = (policies(GRANT), policies(""));
    let approvals: Vec<_> = approvers.iter().map(|id| format!("@{id}.pem")).collect();
    let mut words = vec![
        "grant",
        "load",
        "--config",
        "@ca-server.toml",
        "--policies",
        directory.to_str().unwrap(),
        "--grant",
        grant.to_str().unwrap(),
        "--out",
        out,
    ];
    for approval in &approvals {
        words.extend(["--approval", approval]);
    }
    room.run(&words)
}

pub(crate) fn open_lot(room: &Room) -> crate::room::Ended {
    let (grant, lot, directory) = (policies(GRANT), policies("lots/26W48-A.toml"), policies(""));
    room.run(&[
        "lot",
        "open",
        "--config",
        "@ca-server.toml",
        "--policies",
        directory.to_str().unwrap(),
        "--grant",
        grant.to_str().unwrap(),
        "--lot",
        lot.to_str().unwrap(),
    ])
}

pub(crate) fn status(room: &Room) -> String {
    let ended = room.run(&["status", "--config", "@ca-server.toml"]);
    assert!(matches!(ended.code, Some(0..=2)), "{}", ended.err);
    ended.out
}

#[test]
fn a_second_server_says_that_one_runs() {
    let room = Room::new();
    room.init().done();
    let first = Server::start(&room);
    let error = room
        .run(&["serve", "--config", "@ca-server.toml"])
        .refused(75);
    assert!(
        error.contains("in use by another process") && error.contains("a server runs already"),
        "{error}"
    );
    first.stop();
}

#[test]
fn an_operator_loads_a_grant_once_and_a_restart_remembers_it() {
    let room = Room::new();
    room.init().done();
    approve(&room, "vet-01");
    approve(&room, "ca-op-02");
    let server = Server::start(&room);
    assert!(status(&room).contains("log      1 leaves"));
    // One approval of two is refused, and changes nothing.
    let error = load(&room, &["vet-01"], "@too-few").refused(77);
    assert!(
        error.contains("CA-0110") && error.contains("1 of 2 approvals"),
        "{error}"
    );
    assert!(!room.path("too-few").exists());
    let done = load(&room, &["vet-01", "ca-op-02"], "@granted").done();
    assert!(done.contains("is leaf 1;"), "{done}");
    assert!(room.path("granted/profile.der").exists());
    // The same command again, as after an answer that was lost, names the same leaf.
    let again = load(&room, &["vet-01", "ca-op-02"], "@again").done();
    assert_eq!(again, done);
    assert!(open_lot(&room).done().contains("is leaf 2"));
    server.stop();
    assert!(!room.path("admin.sock").exists());

    let server = Server::start(&room);
    let now = status(&room);
    assert!(now.contains("log      3 leaves"), "{now}");
    assert!(
        now.contains("2026-ota-line-2-cam2 0 of 50000 issued"),
        "{now}"
    );
    server.stop();
}

#[test]
fn the_network_is_mutual_tls_1_3_and_the_socket_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let room = Room::new();
    room.init().done();
    let server = Server::start(&room);
    let nobody = server.connect(&["-tls1_3"]);
    assert!(
        nobody.contains("Verify return code: 0 (ok)") || nobody.contains("Verification: OK"),
        "{nobody}"
    );
    assert!(nobody.contains("certificate required"), "{nobody}");
    let old = server.connect(&["-tls1_2"]);
    assert!(old.contains("alert protocol version"), "{old}");
    let mode = std::fs::metadata(room.path("admin.sock"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    server.stop();
}

#[test]
fn nothing_that_was_lost_begins_a_second_log() {
    let room = Room::new();
    room.init().done();
    Server::start(&room).stop();
    let serve = || room.run(&["serve", "--config", "@ca-server.toml"]);
    let lost = |path: &str| {
        let (place, aside) = (room.path(path), room.path("aside"));
        std::fs::rename(&place, &aside).unwrap();
        let error = serve().refused(69);
        assert!(!place.exists(), "{path} was made anew");
        // An empty file in its place is no memory either.
        std::fs::write(&place, b"").unwrap();
        assert_eq!(serve().refused(69), error);
        std::fs::remove_file(&place).unwrap();
        std::fs::rename(&aside, &place).unwrap();
        error
    };
    let error = lost("signer/signer.sqlite");
    assert!(error.contains("signer/signer.sqlite is missing"), "{error}");
    let error = lost("head/head");
    assert!(error.contains("head/head is missing"), "{error}");
    // The server's own state gone, with the head file and without it.
    std::fs::remove_dir_all(room.path("state")).unwrap();
    let error = serve().refused(69);
    assert!(error.contains("a head of 1 leaves"), "{error}");
    let error = lost("head/head");
    assert!(error.contains("head/head is missing"), "{error}");
}

/// An address of this machine that is not the one of the silent.
const ELSEWHERE: &str = "127.0.0.2";

#[test]
fn the_silent_shut_nobody_out() {
    let room = Room::new();
    let config = room
        .read("ca-server.toml")
        .replace("\nconnections = 256", "\nconnections = 1")
        .replace("handshakes_per_address = 32", "handshakes_per_address = 4");
    std::fs::write(room.path("ca-server.toml"), config).unwrap();
    room.init().done();
    let server = Server::start(&room);
    let silent: Vec<_> = (0..10)
        .map(|_| TcpStream::connect(("127.0.0.1", server.port)).unwrap())
        .collect();
    // Those above the limit are closed at once.
    let closed = silent.iter().filter(|stream| {
        let mut stream = *stream;
        let patience = Some(std::time::Duration::from_millis(500));
        stream.set_read_timeout(patience).unwrap();
        matches!(stream.read(&mut [0]), Ok(0))
    });
    assert_eq!(closed.count(), 6);
    // Handshakes go on for the others, and places of named connections are still free.
    let bound = format!("{ELSEWHERE}:0");
    let other = server.connect(&["-tls1_3", "-bind", &bound]);
    assert!(other.contains("certificate required"), "{other}");
    drop(silent);
    let log = server.stop();
    assert!(
        log.contains("too many handshakes with this address"),
        "{log}"
    );
}

#[test]
fn a_reason_is_one_word_and_the_hsm_is_asked() {
    let room = Room::new();
    room.init().done();
    let server = Server::start(&room);
    let now = status(&room);
    assert!(now.contains("HSM      ready"), "{now}");
    let void = |reason: &str| {
        let request = "00".repeat(16);
        let words = ["unit", "void", "--config", "@ca-server.toml"];
        let order = ["--request", request.as_str(), "--reason", reason];
        room.run(&[words, order].concat())
    };
    let error = void("the label was torn").refused(64);
    assert!(error.contains("--reason"), "{error}");
    let error = void("label-torn").refused(77);
    assert!(error.contains("CA-0407"), "{error}");
    assert_eq!(
        room.run(&["refusals", "--config", "@ca-server.toml"])
            .done(),
        ""
    );
    let watch = |time| {
        room.run(&[
            "clock",
            "confirm",
            "--config",
            "@ca-server.toml",
            "--watch",
            time,
        ])
    };
    watch("noon").refused(64);
    let error = watch("2020-01-01T12:00:00+09:00").refused(77);
    assert!(error.contains("CA-0906"), "{error}");
    server.stop();
}

#[test]
fn no_pin_is_ever_logged() {
    let room = Room::new();
    room.init().done();
    let config = room
        .read("ca-server.toml")
        .replace("filter = \"info\"", "filter = \"trace\"");
    std::fs::write(room.path("ca-server.toml"), config).unwrap();
    let server = Server::start(&room);
    status(&room);
    let log = server.stop();
    assert!(log.lines().count() > 10, "nothing was logged at trace");
    for pin in ["koseki-log", "koseki-infrastructure", "koseki-issuing"] {
        assert!(
            !log.contains(&room.read(&format!("pins/{pin}.pin"))),
            "{pin}"
        );
    }
}
