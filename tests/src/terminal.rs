//! A terminal with a program in it: what it shows, in which colour, what is typed into it, and how it is left behind.

use crate::failure::{At as _, Failure, Outcome};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};

/// Colours of a field, as numbers of a terminal's palette.
pub mod colours {
    /// Red.
    pub const RED: u8 = 1;
    /// Green.
    pub const GREEN: u8 = 2;
    /// Yellow.
    pub const YELLOW: u8 = 3;
    /// Magenta.
    pub const MAGENTA: u8 = 5;
}

const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

/// A program in a terminal of 80 columns and 24 rows; killed when dropped.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keys: File,
    line: File,
    shown: Arc<Mutex<Shown>>,
}

/// What stands in the terminal.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    cells: Vec<Vec<(char, u8)>>,
    at: (usize, usize),
    colour: u8,
    /// Whether the program has the whole screen for itself.
    pub is_whole_screen: bool,
    /// All that came, with the characters that steer the terminal.
    pub raw: String,
    rest: Vec<u8>,
}

impl Terminal {
    /// Starts a program in a terminal.
    ///
    /// # Errors
    /// [`Failure`] of the system.
    pub fn start(command: &mut Command) -> Outcome<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).map_err(Failure::new)?;
        grantpt(&master).map_err(Failure::new)?;
        unlockpt(&master).map_err(Failure::new)?;
        let name = ptsname(&master, Vec::new()).map_err(Failure::new)?;
        let path = PathBuf::from(name.to_string_lossy().into_owned());
        let line = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .at(&path)?;
        let size = Winsize {
            ws_row: ROWS,
            ws_col: COLUMNS,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&line, size).map_err(Failure::new)?;
        let copy = || line.try_clone().at(&path);
        let child = command
            .stdin(copy()?)
            .stdout(copy()?)
            .stderr(copy()?)
            .env("TERM", "xterm-256color")
            .spawn()?;
        let shown = Arc::new(Mutex::new(Shown::default()));
        let mut from = File::from(master);
        let keys = from.try_clone()?;
        let seen = Arc::clone(&shown);
        // It ends with the terminal.
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(len @ 1..) = from.read(&mut bytes) {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.take(&bytes[..len]);
            }
        });
        Ok(Self {
            child,
            keys,
            line,
            shown,
        })
    }

    /// Types, as fast as a scanner does.
    ///
    /// # Errors
    /// [`Failure`] of the system.
    pub fn type_in(&mut self, text: &str) -> Outcome<()> {
        Ok(self.keys.write_all(text.as_bytes())?)
    }

    /// What stands there now.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.clone()
    }

    /// How the terminal takes keys and lines, in words.
    ///
    /// # Errors
    /// [`Failure`] of the system.
    pub fn modes(&self) -> Outcome<String> {
        let modes = tcgetattr(&self.line).map_err(Failure::new)?;
        let (input, output, local) = (modes.input_modes, modes.output_modes, modes.local_modes);
        Ok(format!("{input:?} {output:?} {local:?}"))
    }

    /// How the program ended, if it has.
    ///
    /// # Errors
    /// [`Failure`] of the system.
    pub fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended cannot be killed any more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Shown {
    /// The rows, as they are read.
    #[must_use]
    pub fn text(&self) -> String {
        let row = |cells: &Vec<(char, u8)>| {
            let text: String = cells
                .iter()
                .map(|(c, _)| *c)
                .filter(|c| *c != '\0')
                .collect();
            text.trim_end().to_owned() + "\n"
        };
        self.cells.iter().map(row).collect()
    }

    /// The colour behind a word; none if it is not there.
    #[must_use]
    pub fn colour_of(&self, word: &str) -> Option<u8> {
        self.cells.iter().find_map(|row| {
            let cells = row.iter().filter(|(c, _)| *c != '\0');
            let (text, colours): (Vec<char>, Vec<u8>) = cells.copied().unzip();
            let word: Vec<char> = word.chars().collect();
            let at = text.windows(word.len()).position(|it| *it == word)?;
            colours.get(at).copied()
        })
    }

    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        // What is cut in the middle of a character or a sequence waits for the rest of it.
        let whole = match std::str::from_utf8(&self.rest) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let text = String::from_utf8_lossy(&self.rest[..whole]).into_owned();
        let mut left = text.as_str();
        while let Some(c) = left.chars().next() {
            let taken = match c {
                '\u{1b}' => match self.sequence(left) {
                    Some(len) => len,
                    None => break,
                },
                c => {
                    self.put(c);
                    c.len_utf8()
                }
            };
            left = &left[taken..];
        }
        let taken = text.len() - left.len();
        self.raw.push_str(&text[..taken]);
        self.rest.drain(..taken);
    }

    /// Obeys the sequence that the text begins with; gives its length, if all of it is there.
    fn sequence(&mut self, text: &str) -> Option<usize> {
        let Some(body) = text.strip_prefix("\u{1b}[") else {
            return (text.len() > 1).then_some(2);
        };
        let end = body.find(|c: char| ('@'..='~').contains(&c))?;
        let (arguments, last) = (&body[..end], body.as_bytes()[end]);
        let number = |n: usize| arguments.split(';').nth(n)?.parse::<usize>().ok();
        match last {
            b'H' => {
                let place = |n| number(n).unwrap_or(1).saturating_sub(1);
                self.at = (place(0), place(1));
            }
            b'J' => self.cells.clear(),
            b'm' => self.paint(arguments),
            b'h' | b'l' if arguments == "?1049" => self.is_whole_screen = last == b'h',
            _ => {}
        }
        Some(2 + end + 1)
    }

    /// Of colours, only those behind the characters matter.
    fn paint(&mut self, arguments: &str) {
        let mut numbers = arguments.split(';').map(|n| n.parse::<u8>().unwrap_or(0));
        while let Some(number) = numbers.next() {
            match number {
                38 | 48 => {
                    // Behind 5 stands the number of a colour.
                    let colour = numbers.by_ref().nth(1).unwrap_or(0);
                    if number == 48 {
                        self.colour = colour;
                    }
                }
                0 | 49 => self.colour = 0,
                40..=47 => self.colour = number - 40,
                _ => {}
            }
        }
    }

    fn put(&mut self, c: char) {
        let (row, column) = &mut self.at;
        match c {
            '\n' => *row += 1,
            '\r' => *column = 0,
            c if c.is_control() => {}
            c => {
                let width = if c >= '\u{2e80}' { 2 } else { 1 };
                let rows = self.cells.len().max(*row + 1);
                self.cells.resize(rows, Vec::new());
                let cells = &mut self.cells[*row];
                let columns = cells.len().max(*column + width);
                cells.resize(columns, (' ', 0));
                cells[*column] = (c, self.colour);
                if width == 2 {
                    cells[*column + 1] = ('\0', self.colour);
                }
                *column += width;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_pieces_stands_where_it_belongs() {
        let mut shown = Shown::default();
        let said = "\u{1b}[?1049h\u{1b}[2J\u{1b}[2;3H\u{1b}[48;5;2m合\u{1b}[2;5H格 PASS\u{1b}[39;49m!\r\n->";
        for byte in said.as_bytes() {
            shown.take(&[*byte]);
        }
        assert_eq!(shown.text(), "\n  合格 PASS!\n->\n");
        assert_eq!(shown.colour_of("合格 PASS"), Some(colours::GREEN));
        assert_eq!(shown.colour_of("!"), Some(0));
        assert_eq!(shown.colour_of("FAIL"), None);
        assert!(shown.is_whole_screen);
        assert_eq!(shown.raw, said);
    }
}
