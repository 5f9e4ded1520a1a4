//! The whole screen at the station, as somebody sees it who stands there with a scanner: words in their colours, and a
//! terminal that is as it was when the program has ended.

use crate::support::Shop;
use acceptance::chips::{INJECTED, ON_CHIP};
use acceptance::hsm::Hsm;
use acceptance::lines::CAMERAS;
use acceptance::patience::until;
use acceptance::station::events;
use acceptance::terminal::{Shown, Terminal, colours};

/// Waits until a word stands on this colour, and the other somewhere: a picture arrives in pieces.
fn see(terminal: &Terminal, (word, colour): (&str, u8), beside: &str) -> Shown {
    let seen = until(word, || {
        let shown = terminal.shown();
        let is_whole = shown.colour_of(word) == Some(colour) && shown.text().contains(beside);
        Ok(is_whole.then_some(shown))
    });
    seen.unwrap_or_else(|error| panic!("{error}, {beside}\n{}", terminal.shown().text()))
}

/// Waits for the end of the program.
fn end(terminal: &mut Terminal) -> Option<i32> {
    until("the end", || terminal.ended()).unwrap().code()
}

#[test]
fn a_scanner_at_the_screen_makes_units_and_ctrl_c_leaves_the_terminal_as_it_was() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let (vendor, mut tray) = (shop.factory.vendor.clone(), shop.tray());
    for (part, first) in [(ON_CHIP, 1), (INJECTED, 1), (ON_CHIP, 2)] {
        tray.put(&vendor, part, first, 1).unwrap();
    }
    let programmer = tray.present(1).unwrap();
    // Nobody answers at the second socket.
    let sockets = [programmer.sockets[0].clone(), "127.0.0.1:9".to_owned()];
    let address = shop.factory.address().to_string();
    shop.station.dial(&address, 2);
    shop.station.hold(600);
    shop.station.scan();
    let lot = shop.lot(CAMERAS, 0, 4);
    let mut command = shop.station.at_screen(&lot, &sockets).unwrap();
    let mut terminal = Terminal::start(&mut command).unwrap();
    let before = terminal.modes().unwrap();
    let ready = see(
        &terminal,
        ("設備異常 ERROR", colours::MAGENTA),
        "[2] LINE-0101",
    );
    assert!(ready.is_whole_screen);
    assert_ne!(terminal.modes().unwrap(), before, "keys come one by one");

    // A plain serial, and one that the lot does not wait for.
    terminal.type_in("26480001001\r").unwrap();
    see(&terminal, ("合格 PASS", colours::GREEN), "");
    terminal.type_in("26480009999\r").unwrap();
    see(&terminal, ("26480009999 is not among those", 0), "");
    // The element string of a GS1 symbol; the chip is of another part.
    let symbol = "]C101049123456789042126480001002\u{1d}1026W48-A\r";
    terminal.type_in(symbol).unwrap();
    see(&terminal, ("不合格 FAIL", colours::RED), "LINE-0102");
    shop.factory.stop_server().unwrap();
    terminal.type_in("26480001000\r").unwrap();
    see(&terminal, ("保留 HOLD", colours::YELLOW), "LINE-0203");

    terminal.type_in("\u{3}").unwrap();
    assert_eq!(end(&mut terminal), Some(40));
    assert_eq!(terminal.modes().unwrap(), before);
    // The screen and the cursor are given back, and what it came to stays to be read.
    let last = until("the last lines", || {
        let raw = terminal.shown().raw;
        let last = raw.rfind("\u{1b}[?1049l").map(|at| raw[at..].to_owned());
        Ok(last.filter(|last| last.contains("LINE-0207")))
    });
    let last = last.unwrap();
    for word in ["\u{1b}[?25h", "PASS 1", "not begun 1"] {
        assert!(last.contains(word), "{word}: {last}");
    }
}

#[test]
fn a_run_without_chips_says_so_and_one_enter_closes_its_screen() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, ON_CHIP, 1, 1).unwrap();
    let programmer = tray.present(1).unwrap();
    let lot = shop.lot(CAMERAS, 0, 3);
    let mut command = shop.station.at_screen(&lot, &programmer.sockets).unwrap();
    let mut terminal = Terminal::start(&mut command).unwrap();
    see(&terminal, ("not begun 2  Enter closes", 0), "LINE-0211");
    // A scan that came too late, and its Enter.
    terminal.type_in("26480001002\r").unwrap();
    assert_eq!(end(&mut terminal), Some(20));

    let ended = shop.station.run(&lot, &programmer.sockets).unwrap();
    assert_eq!(ended.code, Some(20), "{}", ended.said);
    let lines = events(&ended.said);
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["event"], &last["not_begun"]),
        (&"lot".into(), &2.into())
    );
    assert_eq!(last["fault"]["code"], "LINE-0211", "{last}");
}
