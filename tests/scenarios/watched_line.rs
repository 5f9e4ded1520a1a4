//! What the machine around a station is told: the service manager, and whoever reads metrics.

use crate::every_step::governed_shop;
use crate::service::{Manager, scrape, value};
use acceptance::faults::{Deed, Kind, Plan};
use acceptance::lines::CAMERAS;
use acceptance::patience::until;
use std::net::TcpListener;
use std::time::Duration;

#[test]
fn the_service_manager_hears_beats_only_while_the_journal_goes_on() {
    let mut shop = governed_shop();
    let socket = shop.factory.path("notify");
    let manager = Manager::listen(&socket);
    shop.station.answer_to(&socket);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, 1).unwrap();
    let programmer = tray.present(1).unwrap();
    let lot = shop.lot(CAMERAS, 0, 1);
    let faults = shop.factory.faults().unwrap();
    let plan = Plan {
        kinds: vec![Kind::Write],
        path: "state/journal".to_owned(),
        deed: Deed::Stall,
        count: 1,
        ..Plan::watch()
    };
    faults.arm(&plan).unwrap();
    let mut agent = shop.station.start(&lot, &programmer.sockets).unwrap();
    manager.await_word("READY=1");
    until("a journal that hangs", || {
        Ok((faults.fired()? == 1).then_some(()))
    })
    .unwrap();
    manager.await_word("the journal does not answer; no beat");
    // Longer than the watchdog would wait: systemd would have killed it by now.
    let heard = manager.hear(Duration::from_millis(2_500));
    assert!(heard.is_none(), "{heard:?}");
    faults.disarm().unwrap();
    manager.await_word("STOPPING=1");
    let status = agent.wait().unwrap();
    assert!(status.success(), "{}", agent.said());

    // A healthy run, held up by a socket that says nothing, beats and says how it is, and stops when it is told to.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets = [mute.local_addr().unwrap().to_string()];
    let lot = shop.lot(CAMERAS, 1, 2);
    let agent = shop.station.start(&lot, &sockets).unwrap();
    manager.await_word("READY=1");
    manager.await_word("2 not begun, 0 wait for the CA");
    manager.await_word("WATCHDOG=1");
    manager.await_word("WATCHDOG=1");
    agent.tell_to_stop().unwrap();
    manager.await_word("stopping: each socket ends");
}

#[test]
fn metrics_of_a_run_say_what_it_made_and_what_waits() {
    let mut shop = governed_shop();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    shop.station
        .configure(&format!("\n[metrics]\nlisten = \"{address}\"\n"));
    shop.station.dial(&shop.factory.address().to_string(), 1);
    shop.station.hold(600);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, 3).unwrap();
    let programmer = tray.present(1).unwrap();
    let lot = shop.lot(CAMERAS, 0, 3);
    // The third unit's record hangs, and keeps the run and its page up.
    let plan = Plan {
        kinds: vec![Kind::Write],
        path: (CAMERAS.first + 2).to_string(),
        deed: Deed::Stall,
        count: 1,
        ..Plan::watch()
    };
    shop.factory.faults().unwrap().arm(&plan).unwrap();
    shop.factory.stop_server().unwrap();
    let mut agent = shop.station.start(&lot, &programmer.sockets).unwrap();
    let mut await_values = |wanted: &[(&str, f64)]| {
        let mut text = String::new();
        let outcome = until("metrics", || {
            if let Some(status) = agent.ended()? {
                panic!("{status}: {}", agent.said());
            }
            if std::net::TcpStream::connect(address).is_err() {
                return Ok(None);
            }
            text = scrape(address);
            let holds =
                |(name, expected): &(&str, f64)| (value(&text, name) - expected).abs() < 0.5;
            Ok(wanted.iter().all(holds).then_some(()))
        });
        assert!(outcome.is_ok(), "{wanted:?}: {text}");
        text
    };
    await_values(&[
        ("koseki_line_waiting_units", 1.0),
        ("koseki_line_ca_reachable", 0.0),
        ("koseki_line_lot_left_units", 2.0),
    ]);
    shop.factory.start_server().unwrap();
    let passed = "koseki_line_units_total{verdict=\"PASS\",reason=\"none\"}";
    let of_socket = "koseki_line_socket_units_total{socket=\"1\",verdict=\"PASS\"}";
    let left = format!(
        "koseki_line_grant_left_units{{grant=\"{}\"}}",
        CAMERAS.grant
    );
    let text = await_values(&[
        (passed, 2.0),
        (of_socket, 2.0),
        ("koseki_line_waiting_units", 0.0),
        ("koseki_line_ca_reachable", 1.0),
        ("koseki_line_unit_seconds_count", 2.0),
        ("koseki_line_takt_seconds_count", 1.0),
        ("koseki_line_open_units", 1.0),
        ("koseki_line_lot_left_units", 0.0),
    ]);
    assert!(value(&text, "koseki_line_hsm_calls_total") > 0.5, "{text}");
    let limit = left.replace("left", "limit");
    until("the quota", || {
        let text = scrape(address);
        let used = value(&text, &limit) - value(&text, &left);
        Ok(((used - 3.0).abs() < 0.5).then_some(()))
    })
    .unwrap();
    let serial = CAMERAS.first.to_string();
    assert!(!scrape(address).contains(&serial), "a serial is a label");
    shop.factory.faults().unwrap().disarm().unwrap();
    let status = agent.wait().unwrap();
    assert!(status.success(), "{}", agent.said());
}
