//! The picture of a [`State`]: one field of colour a socket, read from across the aisle.

use super::letters;
use super::state::{Face, Holds, SocketFace, State};
use crate::config::Language;
use crate::display::Words;
use crate::verdict::Verdict;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Wrap};

/// Narrowest field of a socket, in characters.
const FIELD: u16 = 18;

/// Draws the whole screen.
pub fn view(state: &State, frame: &mut Frame<'_>) {
    let aside_lines = aside_of(state);
    let height = u16::try_from(aside_lines.len()).unwrap_or_default();
    let [head, sockets, aside, reason, scanner] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(height),
        Constraint::Length(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(headline(state)).style(bold()), head);
    draw_sockets(state, frame, sockets);
    frame.render_widget(Paragraph::new(aside_lines).style(colour(Face::Hold)), aside);
    frame.render_widget(reason_of(state), reason);
    frame.render_widget(Paragraph::new(scanner_line(state)), scanner);
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn headline(state: &State) -> String {
    let (lot, done, units) = (state.head.lot, state.passed(), state.head.units);
    let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let quota = shown(state.quota.map(|quota| quota.remaining.to_string()));
    let takt = shown(state.takt().map(seconds));
    let percent = shown(state.percent().map(|percent| format!("{percent} %")));
    match state.head.language {
        Language::Ja => {
            format!("ロット {lot}  {done}/{units}  許可残 {quota}  タクト {takt}  良品率 {percent}")
        }
        Language::En => {
            format!("lot {lot}  {done}/{units}  quota left {quota}  takt {takt}  yield {percent}")
        }
    }
}

fn seconds(millis: u64) -> String {
    format!("{}.{} s", millis / 1_000, millis % 1_000 / 100)
}

fn draw_sockets(state: &State, frame: &mut Frame<'_>, area: Rect) {
    let count = u16::try_from(state.sockets.len())
        .unwrap_or(u16::MAX)
        .max(1);
    let columns = (area.width / FIELD).clamp(1, count);
    let rows = count.div_ceil(columns);
    // By hand: the solver behind `Layout` takes minutes for 64 fields in a small terminal.
    let fields = (0..rows).flat_map(|row| {
        let (y, height) = share(area.height, row, rows);
        (0..columns).map(move |column| {
            let (x, width) = share(area.width, column, columns);
            Rect::new(area.x + x, area.y + y, width, height)
        })
    });
    for (socket, field) in state.sockets.iter().zip(fields) {
        draw_socket(socket, state.head.language, frame, field);
    }
}

/// Where the n-th of `parts` equal parts of a length begins, and how long it is.
fn share(length: u16, n: u16, parts: u16) -> (u16, u16) {
    let at = |n: u16| {
        let whole = u32::from(length) * u32::from(n) / u32::from(parts.max(1));
        u16::try_from(whole).unwrap_or(length)
    };
    (at(n), at(n + 1).saturating_sub(at(n)))
}

fn draw_socket(socket: &SocketFace, language: Language, frame: &mut Frame<'_>, area: Rect) {
    let style = colour(socket.face);
    let block = Block::new()
        .style(style)
        .title(format!("[{}]", socket.name));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let (ja, en) = socket.face.words();
    let large = letters::large(en);
    let mut text: Vec<Line<'_>> = Vec::new();
    // Word, serial, label and yield need four lines beside the large letters.
    if inner.width > letters::width(en) && inner.height > 10 {
        text.extend(large.into_iter().map(Line::from));
        text.push(Line::default());
    }
    text.push(Line::styled(format!("{ja} {en}"), bold()));
    if let Some((serial, label)) = &socket.unit {
        text.push(Line::from(serial.clone()));
        text.push(Line::from(label.clone()));
    }
    text.push(Line::from(yield_of(socket, language)));
    let height = u16::try_from(text.len()).unwrap_or(inner.height);
    let above = inner.height.saturating_sub(height) / 2;
    let [_, middle] =
        Layout::vertical([Constraint::Length(above), Constraint::Fill(1)]).areas(inner);
    let text = Paragraph::new(text)
        .alignment(Alignment::Center)
        .style(style);
    frame.render_widget(text, middle);
}

fn yield_of(socket: &SocketFace, language: Language) -> String {
    let (passed, all) = (socket.passed, socket.passed + socket.failed);
    let word = match language {
        Language::Ja => "良品率",
        Language::En => "yield",
    };
    match socket.percent() {
        Some(percent) => format!("{word} {percent} % ({passed}/{all})"),
        None => format!("{word} -"),
    }
}

const fn colour(face: Face) -> Style {
    let (back, text) = match face {
        Face::Ready => (Color::DarkGray, Color::White),
        Face::Work => (Color::Blue, Color::White),
        Face::Pass => (Color::Green, Color::Black),
        Face::Hold => (Color::Yellow, Color::Black),
        Face::Fail => (Color::Red, Color::White),
        Face::Error => (Color::Magenta, Color::White),
        Face::Abort => (Color::Gray, Color::Black),
    };
    Style::new().bg(back).fg(text)
}

/// Three lines on the colour of what is held, for as long as units that were set aside are not back: which, the newest
/// first, and what to do about that one.
fn aside_of(state: &State) -> Vec<Line<'static>> {
    let Some(newest) = state.aside.last() else {
        return Vec::new();
    };
    let language = state.head.language;
    let units = state.aside.iter().rev();
    let units: Vec<_> = units
        .map(|it| format!("[{}] {}", it.socket, it.serial))
        .collect();
    let (count, units) = (units.len(), units.join(" "));
    let Words { code, text, hint } = Words::of(newest.fault, language);
    let which = match language {
        Language::Ja => format!("取り置き {count} 台 取り出して保管: {units}"),
        Language::En => format!("{count} set aside, take out and keep: {units}"),
    };
    vec![
        Line::styled(which, bold()),
        Line::from(format!("{} {code} {text}", newest.serial)),
        Line::styled(format!("→ {hint}"), bold()),
    ]
}

fn reason_of(state: &State) -> Paragraph<'static> {
    let Some(reason) = &state.reason else {
        return Paragraph::new(Vec::new());
    };
    let Words { code, text, hint } = reason.words;
    let (mark, style) = match (reason.holds, state.head.language) {
        (Holds::UntilGood | Holds::OfUnit, _) => ("", bold()),
        (Holds::Past, Language::Ja) => ("前の機器: ", Style::new()),
        (Holds::Past, Language::En) => ("earlier: ", Style::new()),
    };
    let chip = reason.chip.iter().map(|told| format!(": {told}"));
    let chip: String = chip.collect();
    let lines = vec![
        Line::from(format!("{mark}{} {code} {text}{chip}", reason.about)),
        Line::styled(format!("→ {hint}"), style),
    ];
    Paragraph::new(lines).wrap(Wrap { trim: true })
}

fn scanner_line(state: &State) -> String {
    let typed: String = state.typed.chars().filter(|c| !c.is_control()).collect();
    match (&state.over, state.head.language) {
        (Some(over), language) => {
            let (tally, left) = (&over.tally, over.not_begun);
            let counts = Verdict::ALL.map(|it| format!("{} {}", it.name(), tally.count(it)));
            let counts = counts.join(" ");
            match language {
                Language::Ja => format!("終了: {counts} 未着手 {left}  Enter で閉じる"),
                Language::En => format!("over: {counts} not begun {left}  Enter closes"),
            }
        }
        (None, Language::Ja) => with_note("スキャン", &typed, state.note.as_deref()),
        (None, Language::En) => with_note("scan", &typed, state.note.as_deref()),
    }
}

fn with_note(word: &str, typed: &str, note: Option<&str>) -> String {
    match note {
        Some(note) if typed.is_empty() => format!("{word} > {note}"),
        Some(_) | None => format!("{word} > {typed}"),
    }
}
