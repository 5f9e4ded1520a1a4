//! The full screen at the station. [`state`] takes what happens and what is typed, [`view`] draws it, and [`Panel`]
//! holds the terminal; whoever reads it needs no mouse.

mod letters;
pub mod state;
pub mod view;

use super::scanned::ScanDesk;
use super::{Event, Sink};
use crate::ca_link::Quota;
use crate::station::floor::{Stop, lock};
use identity::Clock;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, KeyEventKind};
use state::{State, Wish};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often the screen is drawn when no key is pressed.
const REFRESH: Duration = Duration::from_millis(100);

/// Draws events.
pub struct Screen<C> {
    state: Arc<Mutex<State>>,
    clock: C,
}

impl<C> std::fmt::Debug for Screen<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

impl<C: Clock + Send> Sink for Screen<C> {
    fn show(&mut self, event: &Event) {
        lock(&self.state).apply(event, self.clock.now());
    }
}

/// The terminal with its keys.
#[derive(Debug)]
pub struct Panel {
    state: Arc<Mutex<State>>,
    leave: AtomicBool,
}

impl Panel {
    /// A panel that shows this.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
            leave: AtomicBool::new(false),
        }
    }

    /// Where events of the run go.
    #[must_use]
    pub fn sink<C: Clock + Send>(&self, clock: C) -> Screen<C> {
        let state = Arc::clone(&self.state);
        Screen { state, clock }
    }

    /// Shows how much of the grant is left.
    pub fn show_quota(&self, quota: Quota) {
        lock(&self.state).quota = Some(quota);
    }

    /// The program was told to end: nobody is waited for.
    pub fn leave(&self) {
        self.leave.store(true, Ordering::Relaxed);
    }

    /// Holds the terminal until the run is over and its outcome was seen. Without a terminal the line stops: nobody
    /// would see what it does.
    pub fn run(&self, desk: &ScanDesk<'_>, stop: &Stop) {
        let shown = ratatui::try_init().and_then(|mut terminal| {
            let shown = self.turn(&mut terminal, desk, stop);
            ratatui::try_restore().and(shown)
        });
        if let Err(error) = shown {
            tracing::error!(%error, "the terminal cannot be used");
            stop.set();
        }
    }

    fn turn(
        &self,
        terminal: &mut DefaultTerminal,
        desk: &ScanDesk<'_>,
        stop: &Stop,
    ) -> io::Result<()> {
        loop {
            terminal.draw(|frame| view::view(&lock(&self.state), frame))?;
            let is_over = lock(&self.state).over.is_some();
            if is_over && self.leave.load(Ordering::Relaxed) {
                return Ok(());
            }
            if !event::poll(REFRESH)? {
                continue;
            }
            let Some(key) = event::read()?.as_key_event() else {
                continue;
            };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            let wish = lock(&self.state).key(key);
            match wish {
                Some(Wish::Seen) => return Ok(()),
                Some(Wish::Stop) => {
                    self.leave();
                    stop.set();
                }
                Some(Wish::Scanned(scan)) => {
                    let answer = desk.call(&scan.serial);
                    let mut state = lock(&self.state);
                    let words = answer.words(state.head.language);
                    state.note = Some(format!("{} {words}", scan.serial));
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::state::{Head, State};
    use crate::config::Language;
    use identity::Id;

    pub(crate) fn id(text: &str) -> Id {
        Id::new(text).unwrap()
    }

    /// A lot of 50 with 12 made before, on so many sockets.
    pub(crate) fn lot(sockets: usize) -> State {
        let head = Head {
            lot: id("26W48-A"),
            units: 50,
            before: 12,
            language: Language::Ja,
        };
        State::new(head, (1..=sockets).map(|n| id(&n.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{id, lot};
    use super::*;
    use crate::config::Language;
    use crate::display::Attempt;
    use crate::display::samples::line;
    use crate::display::{Begun, UnitLine};
    use crate::station::Failure;
    use identity::fault::Fault;
    use identity::{DeviceSerial, Timestamp};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::style::Color;

    fn drawn(state: &State, width: u16, height: u16) -> (String, Vec<Color>) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view::view(state, frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let mut text = String::new();
        for y in 0..height {
            let mut x = 0;
            let mut row = String::new();
            while x < width {
                let cell = &buffer[(x, y)];
                row.push_str(cell.symbol());
                // A wide character takes the cell behind it too.
                x += if cell.symbol().chars().any(|c| c >= '\u{2e80}') {
                    2
                } else {
                    1
                };
            }
            text.push_str(row.trim_end());
            text.push('\n');
        }
        let y = 3.min(height - 1);
        let colours = (0..width).map(|x| buffer[(x, y)].bg).collect();
        (text, colours)
    }

    fn at_work() -> State {
        let mut state = lot(4);
        let on = |socket, fault| UnitLine {
            socket: id(socket),
            ..line("26480001000", fault)
        };
        let mut tell = |event, at| state.apply(&event, Timestamp(at));
        tell(Event::Ended(on("1", None)), 0);
        tell(Event::Ended(on("3", Some(Fault::ChipWrongPart))), 2_500);
        tell(Event::Waits(on("2", Some(Fault::CaUnreachable))), 3_000);
        let begun = Begun {
            serial: DeviceSerial::new("26480001003").unwrap(),
            label: "見守りカメラ".to_owned(),
            socket: id("4"),
            attempt: Attempt { number: 1, most: 3 },
        };
        tell(Event::Begun(begun), 4_000);
        state.quota = Some(Quota {
            limit: 50_000,
            remaining: 812,
        });
        state
    }

    #[test]
    fn a_tray_of_four_is_four_fields_of_colour() {
        let (text, colours) = drawn(&at_work(), 80, 24);
        assert_eq!(text, include_str!("../../../golden/screen-4.txt"), "{text}");
        let field = |n: usize| colours[n * 20 + 10];
        assert_eq!(
            [field(0), field(1), field(2), field(3)],
            [Color::Green, Color::Yellow, Color::Red, Color::Blue]
        );
    }

    #[test]
    fn one_socket_is_the_whole_screen_and_its_word_is_large() {
        let mut state = lot(1);
        let fault = Fault::LineHsm;
        let failed = UnitLine {
            socket: id("1"),
            ..line("26480001000", Some(fault))
        };
        state.apply(&Event::Ended(failed), Timestamp(0));
        let (text, colours) = drawn(&state, 80, 24);
        assert_eq!(text, include_str!("../../../golden/screen-1.txt"), "{text}");
        assert!(colours.iter().all(|colour| *colour == Color::Magenta));
    }

    /// Its socket goes on at once; whoever comes to the screen a minute later reads what to do all the same.
    #[test]
    fn a_unit_that_was_set_aside_stays_on_the_screen_until_its_chip_is_back() {
        let mut state = at_work();
        let on = |socket, serial, fault| UnitLine {
            socket: id(socket),
            ..line(serial, fault)
        };
        let aside = |serial| UnitLine {
            set_aside: true,
            ..on("2", serial, Some(Fault::Alarmed))
        };
        let begun = |serial: &str| {
            Event::Begun(Begun {
                serial: DeviceSerial::new(serial).unwrap(),
                label: "見守りカメラ".to_owned(),
                socket: id("2"),
                attempt: Attempt { number: 1, most: 3 },
            })
        };
        let mut tell = |event| {
            state.apply(&event, Timestamp(5_000));
            drawn(&state, 80, 24).0
        };
        tell(Event::Ended(aside("26480001000")));
        tell(begun("26480001004"));
        tell(Event::Ended(on("2", "26480001004", None)));
        tell(begun("26480001005"));
        tell(Event::Ended(aside("26480001005")));
        let failed = on("3", "26480001002", Some(Fault::ChipWrongPart));
        let text = tell(Event::Ended(failed));
        assert_eq!(
            text,
            include_str!("../../../golden/screen-aside.txt"),
            "{text}"
        );
        for word in [
            "取り置き 2 台",
            "[2] 26480001005",
            "[2] 26480001000",
            "CA-0503",
            "LINE-0102",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
        // One is back in a socket and is not to be taken out; then the other.
        let text = tell(begun("26480001005"));
        assert!(text.contains("取り置き 1 台"), "{text}");
        assert!(text.contains("26480001000 CA-0503"), "{text}");
        let text = tell(begun("26480001000"));
        assert!(!text.contains("取り置き"), "{text}");
    }

    fn aside() -> state::Aside {
        state::Aside {
            socket: id("4"),
            serial: DeviceSerial::new("26480001000").unwrap(),
            fault: Fault::NotHolder,
        }
    }

    #[test]
    fn what_an_earlier_run_set_aside_is_on_the_screen_from_the_start() {
        let mut state = lot(1);
        state.aside = vec![aside()];
        state.head.language = Language::En;
        let (text, _) = drawn(&state, 80, 24);
        for word in [
            "1 set aside",
            "[4] 26480001000",
            "CA-0406",
            "finish the unit",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }

    #[test]
    fn a_run_that_is_over_says_what_was_not_begun_and_why() {
        let mut state = at_work();
        let over = crate::display::Summary {
            lot: id("26W48-A"),
            tally: crate::display::Tally::default(),
            others: std::collections::BTreeMap::new(),
            not_begun: 20_000,
            reason: Some(Failure::new(Fault::SocketEmpty, "no chip in 1")),
            verdict: crate::verdict::Verdict::Hold,
        };
        for (language, wanted) in [
            (
                Language::Ja,
                ["未着手 20000  Enter で閉じる", "LINE-0211 未着手"],
            ),
            (
                Language::En,
                ["not begun 20000  Enter closes", "LINE-0211 units are left"],
            ),
        ] {
            state.head.language = language;
            state.apply(&Event::Summary(over.clone()), Timestamp(5_000));
            let (text, _) = drawn(&state, 80, 24);
            assert!(wanted.iter().all(|it| text.contains(it)), "{text}");
        }
    }

    #[test]
    fn the_page_for_the_engineer_has_every_word_of_the_screen() {
        let page = include_str!("../../../../docs/station.md");
        for face in state::Face::ALL {
            let (ja, en) = face.words();
            let row = format!("| {ja} {en} |");
            assert!(page.contains(&row), "{row}");
        }
        assert!(page.contains(include_str!("../../../golden/screen-4.txt")));
        let aside = include_str!("../../../golden/screen-aside.txt");
        let lines = aside.lines().skip_while(|it| !it.contains("取り置き"));
        let lines: Vec<_> = lines.take(3).collect();
        assert!(page.contains(&lines.join("\n")), "{lines:?}");
    }

    #[test]
    fn the_smallest_terminal_and_the_most_sockets_draw_without_a_fault() {
        let mut with_aside = lot(64);
        with_aside.aside = vec![aside()];
        for (width, height) in [(1, 1), (10, 3), (80, 24), (300, 100)] {
            drawn(&lot(64), width, height);
            drawn(&with_aside, width, height);
        }
    }
}
