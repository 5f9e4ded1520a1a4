//! The lot file: what the factory's execution system wants made, as CSV (RFC 4180).
//!
//! ```csv
//! lot,serial,label
//! 26W48-A,26480001000,見守りカメラ MD-CAM2 #1
//! ```
//! UTF-8, with or without byte order mark, lines ended by CRLF or LF; the three columns in any order. One file is one
//! lot. Every fault is named with line and column.

use crate::files::{FileError, read_bounded};
use crate::orders::Orders;
use csv::{ByteRecord, ReaderBuilder};
use identity::serial_pattern::SerialPattern;
use identity::{DeviceSerial, Id};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Longest lot file in bytes.
pub const MAX_FILE: usize = 4 * 1024 * 1024;
/// Most units in one lot file.
pub const MAX_UNITS: usize = 20_000;
/// Longest label in bytes.
pub const MAX_LABEL: usize = 256;

const COLUMNS: [&str; 3] = ["lot", "serial", "label"];
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A lot as ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    /// Name of the lot.
    pub id: Id,
    /// Its units, in the order of the file; at least one, no serial twice.
    pub units: Vec<LotUnit>,
}

/// One unit of a lot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LotUnit {
    /// Serial the device will carry.
    pub serial: DeviceSerial,
    /// What stands on the label; for people only.
    pub label: String,
}

/// Why a lot file was refused.
#[derive(Debug, thiserror::Error)]
pub enum LotError {
    /// The file cannot be read, or is too long.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something is wrong at this place.
    #[error("{0}: {1}")]
    At(Place, Wrong),
}

/// A place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: u64,
    /// Column of the table, from 1.
    pub column: usize,
    /// Name of the column, where it has one.
    pub name: Option<&'static str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)?;
        self.name.map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

/// What is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Not UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// A column of the header is unknown or stands twice.
    #[error("column {0:?} is unknown or stands twice; the columns are lot, serial, label")]
    Column(String),
    /// A column of the header is missing.
    #[error("column {0:?} is missing")]
    Missing(&'static str),
    /// A row has more or fewer fields than the header.
    #[error("{got} fields where the header has {wanted}")]
    Fields {
        /// Fields in the row.
        got: usize,
        /// Fields in the header.
        wanted: usize,
    },
    /// A lot or serial does not have its form.
    #[error("{0}")]
    Text(#[from] identity::text::TextError),
    /// Another lot than in the rows before.
    #[error("lot {got} where the rows before say {before}; one file is one lot")]
    OtherLot {
        /// Lot in this row.
        got: String,
        /// Lot in the rows before.
        before: String,
    },
    /// The serial stands in an earlier row.
    #[error("serial {0} stands in line {1} already")]
    Twice(DeviceSerial, u64),
    /// The serial does not have the form that the product's profile gives.
    #[error("serial {serial} does not have the product's form {pattern}")]
    Form {
        /// The serial.
        serial: String,
        /// The form.
        pattern: String,
    },
    /// The label is too long, or holds characters that change how others are shown.
    #[error(
        "a label has at most 256 bytes, and no control characters and no marks that turn text around"
    )]
    Label,
    /// A field that goes on in the next line, which none of a lot does.
    #[error("a quotation mark opens here and is not closed in its line")]
    Quote,
    /// More rows than allowed.
    #[error("more than 20000 units")]
    TooMany,
    /// No unit at all.
    #[error("no unit")]
    Empty,
    /// Not CSV.
    #[error("{0}")]
    Csv(String),
}

impl Lot {
    /// Reads a lot file whose serials have the forms of these orders' products.
    ///
    /// # Errors
    /// [`LotError`] names the first place that is wrong.
    pub fn read(path: &Path, orders: &Orders) -> Result<Self, LotError> {
        let bytes = read_bounded(path, MAX_FILE)?;
        Self::parse(&bytes, |lot| {
            orders.for_lot(lot).map(|order| &order.serials)
        })
    }

    /// Reads a lot file's bytes; `form_of` gives the form of a lot's serials, where it is known.
    ///
    /// # Errors
    /// [`LotError::At`] names the first place that is wrong.
    pub fn parse<'a>(
        bytes: &[u8],
        form_of: impl Fn(&Id) -> Option<&'a SerialPattern>,
    ) -> Result<Self, LotError> {
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        check_encoding(bytes)?;
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(bytes);
        let mut row = ByteRecord::new();
        let mut table: Option<Table> = None;
        let mut lines = LineCounter {
            rest: bytes,
            line: 1,
        };
        while reader
            .read_byte_record(&mut row)
            .map_err(|error| broken(&error))?
        {
            let line = lines.line_of(bytes, row.position());
            check_quotes(&row, line)?;
            match &mut table {
                None => table = Some(Table::from_header(&row, line)?),
                Some(table) => table.take(&row, line, &form_of)?,
            }
        }
        table.and_then(Table::finish).ok_or(LotError::At(
            Place {
                line: 1,
                column: 1,
                name: None,
            },
            Wrong::Empty,
        ))
    }
}

/// Counts lines. The reader's own count takes the feed of a CRLF, and empty lines, for part of the row behind them.
struct LineCounter<'a> {
    rest: &'a [u8],
    line: u64,
}

impl<'a> LineCounter<'a> {
    fn line_of(&mut self, bytes: &'a [u8], row: Option<&csv::Position>) -> u64 {
        let at = row
            .and_then(|row| usize::try_from(row.byte()).ok())
            .unwrap_or_default();
        let ends = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let ended = bytes.iter().skip(at).take_while(|byte| ends(byte)).count();
        let row = bytes.get(at + ended..).unwrap_or_default();
        let passed = self.rest.len().saturating_sub(row.len());
        let feeds = self
            .rest
            .iter()
            .take(passed)
            .filter(|byte| **byte == b'\n')
            .count();
        self.line = self
            .line
            .saturating_add(u64::try_from(feeds).unwrap_or_default());
        self.rest = row;
        self.line
    }
}

/// The rows read so far.
struct Table {
    /// Where each of [`COLUMNS`] stands.
    columns: [usize; 3],
    width: usize,
    lot: Option<Id>,
    units: Vec<LotUnit>,
    lines: BTreeMap<DeviceSerial, u64>,
}

impl Table {
    fn from_header(row: &ByteRecord, line: u64) -> Result<Self, LotError> {
        let mut columns = [None; 3];
        for (at, field) in row.iter().enumerate() {
            let name = String::from_utf8_lossy(field).trim().to_owned();
            let known = COLUMNS
                .iter()
                .position(|column| *column == name)
                .and_then(|which| columns.get_mut(which));
            match known {
                Some(slot @ None) => *slot = Some(at),
                _ => {
                    return Err(LotError::At(
                        Place {
                            line,
                            column: at + 1,
                            name: None,
                        },
                        Wrong::Column(name),
                    ));
                }
            }
        }
        let missing = |which: usize| {
            let name = COLUMNS.get(which).copied().unwrap_or_default();
            LotError::At(
                Place {
                    line,
                    column: row.len() + 1,
                    name: None,
                },
                Wrong::Missing(name),
            )
        };
        let [lot, serial, label] = columns;
        let columns = [
            lot.ok_or_else(|| missing(0))?,
            serial.ok_or_else(|| missing(1))?,
            label.ok_or_else(|| missing(2))?,
        ];
        Ok(Self {
            columns,
            width: row.len(),
            lot: None,
            units: Vec::new(),
            lines: BTreeMap::new(),
        })
    }

    fn take<'a>(
        &mut self,
        row: &ByteRecord,
        line: u64,
        form_of: impl Fn(&Id) -> Option<&'a SerialPattern>,
    ) -> Result<(), LotError> {
        if row.len() != self.width {
            let column = row.len().min(self.width) + 1;
            let wrong = Wrong::Fields {
                got: row.len(),
                wanted: self.width,
            };
            return Err(LotError::At(
                Place {
                    line,
                    column,
                    name: None,
                },
                wrong,
            ));
        }
        let field =
            |at: usize| std::str::from_utf8(row.get(at).unwrap_or_default()).unwrap_or_default();
        let [lot, serial, label] = self.columns.map(field);
        let lot = self
            .take_lot(lot)
            .map_err(|wrong| self.wrong(line, 0, wrong))?;
        let serial = self
            .take_serial(serial, line)
            .and_then(|serial| check_form(serial, form_of(&lot)))
            .map_err(|wrong| self.wrong(line, 1, wrong))?;
        let label = take_label(label).map_err(|wrong| self.wrong(line, 2, wrong))?;
        self.units.push(LotUnit { serial, label });
        if self.units.len() > MAX_UNITS {
            Err(self.wrong(line, 0, Wrong::TooMany))
        } else {
            Ok(())
        }
    }

    fn take_lot(&mut self, text: &str) -> Result<Id, Wrong> {
        let lot = Id::new(text)?;
        match self.lot.replace(lot) {
            Some(before) if before != lot => Err(Wrong::OtherLot {
                got: lot.to_string(),
                before: before.to_string(),
            }),
            _ => Ok(lot),
        }
    }

    fn take_serial(&mut self, text: &str, line: u64) -> Result<DeviceSerial, Wrong> {
        let serial = DeviceSerial::new(text)?;
        match self.lines.insert(serial, line) {
            Some(before) => Err(Wrong::Twice(serial, before)),
            None => Ok(serial),
        }
    }

    fn wrong(&self, line: u64, which: usize, wrong: Wrong) -> LotError {
        let column = self.columns.get(which).map_or(1, |at| at + 1);
        LotError::At(
            Place {
                line,
                column,
                name: COLUMNS.get(which).copied(),
            },
            wrong,
        )
    }

    fn finish(self) -> Option<Lot> {
        self.lot.map(|id| Lot {
            id,
            units: self.units,
        })
    }
}

/// That no field has more than one line: where a quotation mark is not closed, all that follows is one field.
fn check_quotes(row: &ByteRecord, line: u64) -> Result<(), LotError> {
    let ends = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let open = row.iter().position(|field| field.iter().any(ends));
    let place = |column: usize| Place {
        line,
        column: column + 1,
        name: None,
    };
    open.map_or(Ok(()), |column| {
        Err(LotError::At(place(column), Wrong::Quote))
    })
}

fn check_form(serial: DeviceSerial, form: Option<&SerialPattern>) -> Result<DeviceSerial, Wrong> {
    match form {
        Some(form) if !form.allows(&serial) => Err(Wrong::Form {
            serial: serial.to_string(),
            pattern: form.as_str().to_owned(),
        }),
        Some(_) | None => Ok(serial),
    }
}

fn take_label(text: &str) -> Result<String, Wrong> {
    if text.len() > MAX_LABEL || text.chars().any(alters_others) {
        Err(Wrong::Label)
    } else {
        Ok(text.to_owned())
    }
}

/// Control characters, the marks of the bidirectional algorithm (UAX #9 §2) and ends of lines: what stands on the screen
/// would not be what stands on the label.
fn alters_others(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
        )
}

/// Finds the line and the column of the table where UTF-8 ends.
fn check_encoding(bytes: &[u8]) -> Result<(), LotError> {
    let Err(error) = std::str::from_utf8(bytes) else {
        return Ok(());
    };
    let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
    let line = good.iter().filter(|byte| **byte == b'\n').count();
    let row = good
        .rsplit(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let column = row.iter().filter(|byte| **byte == b',').count();
    let line = u64::try_from(line).unwrap_or(u64::MAX).saturating_add(1);
    Err(LotError::At(
        Place {
            line,
            column: column + 1,
            name: None,
        },
        Wrong::Encoding,
    ))
}

fn broken(error: &csv::Error) -> LotError {
    let line = error.position().map_or(1, csv::Position::line);
    LotError::At(
        Place {
            line,
            column: 1,
            name: None,
        },
        Wrong::Csv(error.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Lot, LotError> {
        Lot::parse(bytes, |_| None)
    }

    fn error(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_lot_is_read_with_and_without_mark_and_with_either_line_end() {
        let plain =
            "lot,serial,label\n26W48-A,26480001000,見守りカメラ \"1\"\n26W48-A,26480001001,\n";
        let lot = parse(plain.as_bytes()).unwrap();
        assert_eq!(lot.id.as_str(), "26W48-A");
        assert_eq!(lot.units.len(), 2);
        assert_eq!(lot.units[0].label, "見守りカメラ \"1\"");
        assert_eq!(parse(plain.replace('\n', "\r\n").as_bytes()).unwrap(), lot);
        assert_eq!(parse(format!("\u{feff}{plain}").as_bytes()).unwrap(), lot);
        assert_eq!(parse(plain.trim_end().as_bytes()).unwrap(), lot);
    }

    #[test]
    fn columns_may_stand_in_any_order_and_fields_in_quotation_marks() {
        let lot = parse("label,serial,lot\r\n\"a, b\",1,L\r\n".as_bytes()).unwrap();
        assert_eq!(
            lot.units,
            [LotUnit {
                serial: DeviceSerial::new("1").unwrap(),
                label: "a, b".to_owned()
            }]
        );
    }

    #[test]
    fn every_fault_names_its_place() {
        assert_eq!(error(""), "line 1, column 1: no unit");
        assert_eq!(error("lot,serial,label\n"), "line 1, column 1: no unit");
        assert_eq!(
            error("lot,serial\nA,1\n"),
            "line 1, column 3: column \"label\" is missing"
        );
        assert_eq!(
            error("lot,serial,label,serial\n"),
            "line 1, column 4: column \"serial\" is unknown or stands twice; the columns are lot, serial, label"
        );
        assert_eq!(
            error("lot,serial,label\nA,1\n"),
            "line 2, column 3: 2 fields where the header has 3"
        );
        assert_eq!(
            error("lot,serial,label\r\nA,1,x\r\nA,1_2,x\r\n"),
            "line 3, column 2 (serial): byte 0x5f at position 1 is not allowed"
        );
        assert_eq!(
            error("lot,serial,label\r\n\r\n\nA,1,x\r\n\r\nA,é,x\r\n"),
            "line 6, column 2 (serial): byte 0xc3 at position 0 is not allowed"
        );
        assert_eq!(
            error("lot,serial,label\nA,,x\n"),
            "line 2, column 2 (serial): 0 bytes where 1 to 64 are allowed"
        );
        assert_eq!(
            error("label,lot,serial\n,A,1\n,A,2\n,A,1\n"),
            "line 4, column 3 (serial): serial 1 stands in line 2 already"
        );
        assert_eq!(
            error("lot,serial,label\nA,1,\nB,2,\n"),
            "line 3, column 1 (lot): lot B where the rows before say A; one file is one lot"
        );
        for altering in ["\u{1b}[2J", "\u{202e}", "\u{2067}", "\u{2028}", "\u{61c}"] {
            assert_eq!(
                error(&format!("lot,serial,label\nA,1,a{altering}\n")),
                "line 2, column 3 (label): a label has at most 256 bytes, and no control characters and no marks that turn text around"
            );
        }
        parse("lot,serial,label\nA,1,مستشعر חיישן\n".as_bytes()).unwrap();
    }

    #[test]
    fn a_quotation_mark_that_is_not_closed_is_named_where_it_opens() {
        let rest = "A,8,x\nA,9,x\n";
        let wrong = "a quotation mark opens here and is not closed in its line";
        for (rows, place) in [
            ("A,1,x\nA,2,\"x\n", "line 3, column 3"),
            ("A,1,\"x\"\nA,\"2,x\n", "line 3, column 2"),
            ("\r\n\"A,1,x\r\n", "line 3, column 1"),
            // Closed by the next one that was meant to open.
            ("A,1,\"x\nA,2,\"y\"\n", "line 2, column 3"),
        ] {
            let text = format!("lot,serial,label\n{rows}{rest}");
            assert_eq!(error(&text), format!("{place}: {wrong}"), "{rows}");
        }
        let header = error("lot,\"serial,label\nA,1,x\n");
        assert_eq!(header, format!("line 1, column 2: {wrong}"));
    }

    #[test]
    fn a_serial_without_the_products_form_names_its_place() {
        let form = SerialPattern::new("[0-9]{4}").unwrap();
        let read = |text: &str| Lot::parse(text.as_bytes(), |_| Some(&form));
        assert_eq!(read("lot,serial,label\nA,1234,\n").unwrap().units.len(), 1);
        assert_eq!(
            read("lot,serial,label\nA,1234,\nA,12345,\n")
                .unwrap_err()
                .to_string(),
            "line 3, column 2 (serial): serial 12345 does not have the product's form [0-9]{4}"
        );
    }

    #[test]
    fn other_encodings_are_refused_where_they_begin() {
        let mut shift_jis = b"lot,serial,label\r\nA,1,x\r\nA,2,".to_vec();
        shift_jis.extend([0x8C, 0xA9, 0x8E, 0xE7]);
        assert_eq!(
            parse(&shift_jis).unwrap_err().to_string(),
            "line 3, column 3: not UTF-8"
        );
    }

    #[test]
    fn sizes_are_bounded() {
        let many: String = (0..=MAX_UNITS).map(|n| format!("A,{n},\n")).collect();
        assert_eq!(
            error(&format!("lot,serial,label\n{many}")),
            "line 20002, column 1 (lot): more than 20000 units"
        );
    }
}
