//! What the machine around the server is told: the service manager, whoever reads metrics, and stations that come too
//! fast.

use acceptance::factory::Factory;
use acceptance::faults::{Deed, Kind, Plan};
use acceptance::ground::{Ground, answered};
use acceptance::hsm::Hsm;
use acceptance::lines::CAMERAS;
use acceptance::patience::until;
use acceptance::soft::{Signed, SoftChip, SoftStation};
use proto::factory::ProvisionRequest;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;
use tonic::Code;

/// Stands where systemd would.
pub(crate) struct Manager(UnixDatagram);

impl Manager {
    pub(crate) fn listen(socket: &Path) -> Self {
        let manager = UnixDatagram::bind(socket).unwrap();
        manager
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self(manager)
    }

    /// The next thing that was said; nothing after this time of silence.
    pub(crate) fn hear(&self, silence: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(silence)).unwrap();
        let mut bytes = [0; 4096];
        match self.0.recv(&mut bytes) {
            Ok(length) => Some(String::from_utf8(bytes[..length].to_vec()).unwrap()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Listens until this is said; gives all that was said up to there.
    pub(crate) fn await_word(&self, word: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let said = self.hear(Duration::from_secs(60));
            let said = said.unwrap_or_else(|| panic!("no {word:?} after {heard:?}"));
            let is_it = said.contains(word);
            heard.push(said);
            if is_it {
                return heard;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_manager_hears_beats_only_while_the_corridor_lives() {
    let ground = Ground::open(Hsm::of_this_run()).await.unwrap();
    let mut factory = ground.governed_copy(&ground.home("watched")).unwrap();
    factory.stop_server().unwrap();
    let socket = ground.home("notify");
    let manager = Manager::listen(&socket);
    factory.answer_to(&socket);
    factory.start_server().unwrap();
    manager.await_word("READY=1");
    TcpStream::connect(factory.address()).unwrap();
    manager.await_word("WATCHDOG=1");
    manager.await_word("WATCHDOG=1");
    // Each thread in turn: the writer at the store's log, the finisher at the head file.
    for (number, path, thread) in [(1, "ca.sqlite-wal", "writer"), (2, "head/head", "finisher")] {
        let station = ground.station.reconnected(&factory).unwrap();
        let chip = SoftChip::make(&factory.vendor, number + 1).unwrap();
        let prepared = ground.prepare(&station, &chip, number.into());
        let signed = prepared.await.unwrap();
        let plan = Plan {
            kinds: vec![Kind::Write],
            path: path.to_owned(),
            deed: Deed::Stall,
            count: 1,
            ..Plan::watch()
        };
        factory.faults().unwrap().arm(&plan).unwrap();
        let waiting = {
            let (station, signed) = (station.clone(), signed.clone());
            tokio::spawn(async move { station.certify(&signed).await })
        };
        until("a thread that hangs", || {
            Ok((factory.faults()?.fired()? == 1).then_some(()))
        })
        .unwrap();
        manager.await_word(&format!("the {thread} does not go on"));
        // Longer than the watchdog would wait: systemd would have killed it by now.
        let heard = manager.hear(Duration::from_millis(2_500));
        assert!(heard.is_none(), "{thread}: {heard:?}");
        factory.faults().unwrap().disarm().unwrap();
        manager.await_word("WATCHDOG=1");
        waiting.await.unwrap().unwrap();
    }
    stops_are_told(&ground, &factory, &manager).await;
    factory.stop_server().unwrap();
    let said = manager.await_word("STOPPING=1");
    assert!(said.last().unwrap().contains("STATUS=stopping"), "{said:?}");
}

/// Why nothing is issued, in words, and that the beats go on: a restart would not help.
async fn stops_are_told(ground: &Ground, factory: &Factory, manager: &Manager) {
    let station = ground.station.reconnected(factory).unwrap();
    let chip = SoftChip::make(&factory.vendor, 9).unwrap();
    let signed = ground.prepare(&station, &chip, 8).await.unwrap();
    factory.faults().unwrap().shift_clock(-6 * 3_600).unwrap();
    let refused = answered(|| station.certify(&signed)).await.unwrap_err();
    assert_eq!(refused.code.as_deref(), Some("CA-0905"), "{refused}");
    let said = manager.await_word("NOT ISSUING: CA-0905");
    assert!(said.last().unwrap().contains("To do: set the CA's clock"));
    manager.await_word("WATCHDOG=1");
    factory.faults().unwrap().shift_clock(0).unwrap();
    factory.confirm_clock().unwrap();
    manager.await_word("STATUS=issuing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn metrics_say_what_happened_and_no_serial() {
    let ground = Ground::open(Hsm::of_this_run()).await.unwrap();
    let (mut factory, address) = with_metrics(&ground, "measured", "");
    let station = ground.station.reconnected(&factory).unwrap();
    let chip = SoftChip::make(&factory.vendor, 2).unwrap();
    let signed = ground.prepare(&station, &chip, 1).await.unwrap();
    let given = station.certify(&signed).await.unwrap();
    let confirmation = station.sealed_confirmation(&signed, &chip, &given);
    station.hand_in(&confirmation.unwrap()).await.unwrap();
    let mut forged = signed.clone();
    forged.signature[7] ^= 1;
    station.certify(&forged).await.unwrap_err();
    drop(TcpStream::connect(factory.address()).unwrap());
    let turned_away = "koseki_turned_away_total{reason=\"handshake\"}";
    until("a stranger that is counted", || {
        Ok((value(&scrape(address), turned_away) >= 1.0).then_some(()))
    })
    .unwrap();
    let text = scrape(address);
    assert!(
        text.contains("\r\n\r\n# HELP") && text.ends_with("# EOF\n"),
        "{text}"
    );
    for (name, expected) in [
        ("koseki_issued_total", 1.0),
        ("koseki_confirmed_total", 1.0),
        ("koseki_refused_total{code=\"CA-0102\"}", 1.0),
        ("koseki_queue_jobs", 0.0),
        ("koseki_stopped", 0.0),
        ("koseki_connections{role=\"station\"}", 1.0),
        ("koseki_door_seconds_count{door=\"admit\"}", 2.0),
    ] {
        assert!(
            (value(&text, name) - expected).abs() < 0.5,
            "{name}: {text}"
        );
    }
    let leaves = value(&text, "koseki_log_leaves");
    assert!((leaves - value(&text, "koseki_checkpoint_leaves")).abs() < 0.5);
    for name in [
        "koseki_hsm_calls_total",
        "koseki_store_bytes",
        "koseki_batch_jobs_count",
    ] {
        assert!(value(&text, name) > 0.5, "{name}: {text}");
    }
    for secret in [CAMERAS.first.to_string(), chip.uid.to_string()] {
        assert!(!text.contains(&secret), "{secret} is a label");
    }
    for (request, expected) in [
        ("GET / HTTP/1.1", "404"),
        ("POST /metrics HTTP/1.1", "405"),
        ("nonsense", "400"),
    ] {
        let answer = ask(address, request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected}")),
            "{answer}"
        );
    }
    factory.stop_server().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_comes_too_fast_is_sent_away_before_anything_is_verified() {
    let ground = Ground::open(Hsm::of_this_run()).await.unwrap();
    // One of the four is the look at what was made before.
    let limits = "[limits]\nwrites_per_second = 1\nwrites_burst = 4\n";
    let (factory, address) = with_metrics(&ground, "fast", limits);
    let station = ground.station.reconnected(&factory).unwrap();
    let made = ground.made.clone().unwrap();
    let before = station.look_up(&made).await.unwrap();
    let mut outcomes = (0_u32, 0_u32);
    for _ in 0..40 {
        match send(&station, &made).await {
            None => outcomes.0 += 1,
            Some(status) => {
                outcomes.1 += 1;
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                let fault = proto::fault::fault_from_status(&status).unwrap();
                assert_eq!(fault.code, "CA-0108");
                let wait = fault.retry_after_ms.unwrap();
                assert!((1..=3_000).contains(&wait), "{wait} ms");
            }
        }
    }
    let (passed, refused) = outcomes;
    assert!(passed >= 3 && refused >= 1, "{outcomes:?}");
    let text = scrape(address);
    // Nothing of what was sent away came to the first door.
    let admitted = value(&text, "koseki_door_seconds_count{door=\"admit\"}");
    assert!((admitted - f64::from(passed)).abs() < 0.5, "{text}");
    let counted = value(&text, "koseki_refused_total{code=\"CA-0108\"}");
    assert!((counted - f64::from(refused)).abs() < 0.5, "{text}");
    // Who waits as long as it was told gets the same as before.
    until("the station's turn", || {
        Ok(tokio::task::block_in_place(|| {
            let again = tokio::runtime::Handle::current().block_on(station.certify(&made));
            again.is_ok_and(|given| given == before).then_some(())
        }))
    })
    .unwrap();
}

fn with_metrics(ground: &Ground, name: &str, more: &str) -> (Factory, SocketAddr) {
    let mut factory = ground.factory.copy_to(&ground.home(name)).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let metrics = format!("[metrics]\nlisten = \"{address}\"\n{more}");
    factory.configure(&metrics).unwrap();
    factory.start_server().unwrap();
    (factory, address)
}

/// The failure of a call; none if it was answered.
async fn send(station: &SoftStation, signed: &Signed) -> Option<tonic::Status> {
    let request = ProvisionRequest {
        envelope: signed.envelope.clone(),
        signature: signed.signature.clone(),
    };
    station.client().provision(request).await.err()
}

pub(crate) fn scrape(address: SocketAddr) -> String {
    ask(address, "GET /metrics HTTP/1.1")
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request}\r\nHost: koseki\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The value of a line; 0 if there is none.
pub(crate) fn value(text: &str, name: &str) -> f64 {
    let mut lines = text.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.map_or(0.0, |value| value.parse().unwrap())
}
