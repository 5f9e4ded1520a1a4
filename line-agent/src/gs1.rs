//! What a scanner types: a plain serial, or a GS1 element string as it stands in a GS1-128 or `DataMatrix` symbol
//! (GS1 General Specifications: element strings §3, symbology identifiers and FNC1 §7.8).
//!
//! Known elements are 01 (trade item), 21 (serial), 10 (batch or lot), 11 (day of making), 240 (the maker's own
//! number). FNC1 between elements arrives as GS (0x1D). A Japanese input method that is on makes digits and letters wide;
//! they are taken as what they are.

use crate::config::Language;
use identity::DeviceSerial;
use identity::text::TextError;

/// Longest scan in bytes; a GS1 symbol holds less.
pub const MAX_SCAN: usize = 256;
/// FNC1 as scanners transmit it.
pub const SEPARATOR: char = '\u{1d}';

/// Symbology identifiers before element strings (ISO/IEC 15424): GS1-128, GS1 `DataMatrix`, GS1 QR, GS1 `DataBar`.
const GS1_SYMBOLS: [&str; 4] = ["]C1", "]d2", "]Q3", "]e0"];

/// Application identifiers: their digits, and how long what follows is.
const ELEMENTS: [(&str, Length); 5] = [
    ("01", Length::Exactly(14)),
    ("21", Length::AtMost(20)),
    ("10", Length::AtMost(20)),
    ("11", Length::Exactly(6)),
    ("240", Length::AtMost(30)),
];

#[derive(Clone, Copy)]
enum Length {
    Exactly(usize),
    AtMost(usize),
}

/// What was scanned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Serial of the device.
    pub serial: DeviceSerial,
    /// Trade item number, where the symbol has one.
    pub item: Option<String>,
    /// Batch or lot, where the symbol has one.
    pub lot: Option<String>,
}

/// What was scanned names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Nothing, or too much.
    #[error("a scan has 1 to 256 characters")]
    Length,
    /// Kana or the like: no code has it.
    #[error("that is no code; turn the input method (IME) off")]
    InputMethod,
    /// An element that is not known, is too long, or is cut short.
    #[error("the symbol cannot be read from {0:?} on")]
    Element(String),
    /// The trade item's check digit does not fit.
    #[error("the check digit of item {0} does not fit")]
    CheckDigit(String),
    /// An element stands twice.
    #[error("element {0} stands twice")]
    Twice(&'static str),
    /// No serial in it.
    #[error("the symbol holds no serial (21)")]
    NoSerial,
    /// The serial does not have a serial's form.
    #[error("serial: {0}")]
    Serial(#[from] TextError),
}

impl ScanError {
    /// What is said of it at the station.
    #[must_use]
    pub fn words(&self, language: Language) -> String {
        match (self, language) {
            (error, Language::En) => error.to_string(),
            (Self::Length, Language::Ja) => "スキャンは 1〜256 文字です".to_owned(),
            (Self::InputMethod, Language::Ja) => {
                "コードではない文字です。日本語入力 (IME) をオフにしてください".to_owned()
            }
            (Self::Element(from), Language::Ja) => format!("コードを {from:?} から読めません"),
            (Self::CheckDigit(item), Language::Ja) => {
                format!("商品コード {item} のチェックデジットが合いません")
            }
            (Self::Twice(name), Language::Ja) => format!("要素 {name} が二つあります"),
            (Self::NoSerial, Language::Ja) => "コードに製造番号 (21) がありません".to_owned(),
            (Self::Serial(_), Language::Ja) => "製造番号の形式ではありません".to_owned(),
        }
    }
}

/// A wide digit, letter or sign as the plain one (Unicode, Halfwidth and Fullwidth Forms).
#[must_use]
pub fn narrow(c: char) -> char {
    match c {
        '\u{3000}' => ' ',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        other => other,
    }
}

/// Reads a scan.
///
/// # Errors
/// [`ScanError`]
pub fn read(text: &str) -> Result<Scan, ScanError> {
    let text: String = text.chars().map(narrow).collect();
    let text = text.trim_matches(|c| c == '\r' || c == '\n' || c == ' ');
    if text.is_empty() || text.len() > MAX_SCAN {
        return Err(ScanError::Length);
    }
    if !text.is_ascii() {
        return Err(ScanError::InputMethod);
    }
    let symbol = GS1_SYMBOLS.iter().find_map(|it| text.strip_prefix(it));
    match symbol {
        Some(elements) => read_elements(elements),
        None if text.contains(SEPARATOR) || begins_with_item(text) => read_elements(text),
        None if text.starts_with('(') => read_elements(&typed(text)?),
        None => Ok(Scan {
            serial: DeviceSerial::new(text)?,
            item: None,
            lot: None,
        }),
    }
}

/// What stands below a symbol for people, typed by hand: each identifier in brackets (GS1 General Specifications §4.14).
fn typed(text: &str) -> Result<String, ScanError> {
    let element = |element: &str| match element.split_once(')') {
        Some((name, value)) => Ok(format!("{name}{value}")),
        None => Err(ScanError::Element(format!("({element}"))),
    };
    let elements: Result<Vec<_>, _> = text.split('(').skip(1).map(element).collect();
    Ok(elements?.join(&SEPARATOR.to_string()))
}

/// Some scanners send no symbology identifier: then 01, a trade item whose check digit fits, and more behind it is an
/// element string.
fn begins_with_item(text: &str) -> bool {
    let rest = text.strip_prefix("01");
    rest.and_then(|rest| rest.split_at_checked(14))
        .is_some_and(|(item, more)| has_check_digit(item) && !more.is_empty())
}

fn read_elements(text: &str) -> Result<Scan, ScanError> {
    let mut found: [Option<&str>; ELEMENTS.len()] = [None; ELEMENTS.len()];
    let mut rest = text.trim_start_matches(SEPARATOR);
    while !rest.is_empty() {
        let (which, value, behind) = next_element(rest)?;
        if let Some((slot, (name, _))) = found.get_mut(which).zip(ELEMENTS.get(which))
            && slot.replace(value).is_some()
        {
            return Err(ScanError::Twice(name));
        }
        rest = behind.trim_start_matches(SEPARATOR);
    }
    let [item, serial, lot, ..] = found;
    if let Some(item) = item.filter(|item| !has_check_digit(item)) {
        return Err(ScanError::CheckDigit(item.to_owned()));
    }
    Ok(Scan {
        serial: DeviceSerial::new(serial.ok_or(ScanError::NoSerial)?)?,
        item: item.map(str::to_owned),
        lot: lot.map(str::to_owned),
    })
}

/// Which of [`ELEMENTS`] comes next, its value, and what stands behind it.
fn next_element(text: &str) -> Result<(usize, &str, &str), ScanError> {
    let bad = || ScanError::Element(text.chars().take(12).collect());
    let known = ELEMENTS.iter().enumerate().find_map(|(at, (name, len))| {
        let rest = text.strip_prefix(name)?;
        Some((at, rest, *len))
    });
    let (at, rest, len) = known.ok_or_else(bad)?;
    let (value, behind) = match len {
        Length::Exactly(len) => rest.split_at_checked(len).ok_or_else(bad)?,
        Length::AtMost(len) => {
            let (value, behind) = rest.split_once(SEPARATOR).unwrap_or((rest, ""));
            if value.is_empty() || value.len() > len {
                return Err(bad());
            }
            (value, behind)
        }
    };
    let is_digits = |value: &str| value.bytes().all(|byte| byte.is_ascii_digit());
    match (len, value.bytes().all(|byte| byte.is_ascii_graphic())) {
        (Length::Exactly(_), _) if !is_digits(value) => Err(bad()),
        (_, false) => Err(bad()),
        (_, true) => Ok((at, value, behind)),
    }
}

/// GS1 check digit: the digits, from the right weighed 1, 3, 1, 3 …, add up to a multiple of ten.
fn has_check_digit(item: &str) -> bool {
    let digits = item
        .bytes()
        .rev()
        .map(|byte| u32::from(byte.wrapping_sub(b'0')));
    let sum: u32 = digits
        .zip([1, 3].into_iter().cycle())
        .map(|(d, w)| d * w)
        .sum();
    item.len() == 14 && item.bytes().all(|byte| byte.is_ascii_digit()) && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(text: &str) -> String {
        read(text).unwrap().serial.to_string()
    }

    #[test]
    fn a_plain_serial_is_itself_with_whatever_ends_the_line() {
        assert_eq!(serial("26480001000"), "26480001000");
        assert_eq!(serial("26480001000\r\n"), "26480001000");
        assert_eq!(serial("AB-12"), "AB-12");
    }

    #[test]
    fn an_element_string_gives_serial_item_and_lot() {
        let scan = read("]C1010491234567890421264800010\u{1d}1026W48-A\u{1d}11261123").unwrap();
        assert_eq!(scan.serial.to_string(), "264800010");
        assert_eq!(scan.item.as_deref(), Some("04912345678904"));
        assert_eq!(scan.lot.as_deref(), Some("26W48-A"));
        // In any order, with FNC1 in front, from any symbol, and without an identifier.
        for text in [
            "]d221264800010\u{1d}0104912345678904",
            "]Q3\u{1d}240MD-CAM2\u{1d}21264800010",
            "\u{1d}010491234567890421264800010",
            "010491234567890421264800010\r",
            "(01)04912345678904(21)264800010",
            "(21)264800010",
        ] {
            assert_eq!(serial(text), "264800010", "{text:?}");
        }
    }

    #[test]
    fn what_an_input_method_made_wide_is_what_the_scanner_typed() {
        for text in ["２６４８", "2６４8\u{3000}", "（２１）２６４８"] {
            assert_eq!(serial(text), "2648", "{text}");
        }
        assert_eq!(serial("ＡＢ－１２"), "AB-12");
        for text in ["にろくよんはち", "2648。", "]C121にろ"] {
            assert_eq!(read(text), Err(ScanError::InputMethod), "{text}");
        }
        let told = ScanError::InputMethod.words(Language::Ja);
        assert!(told.contains("IME"), "{told}");
    }

    #[test]
    fn what_names_no_device_is_refused() {
        let error = |text: &str| read(text).unwrap_err();
        assert_eq!(error(""), ScanError::Length);
        assert_eq!(error(&"1".repeat(MAX_SCAN + 1)), ScanError::Length);
        assert_eq!(error("]C10104912345678904"), ScanError::NoSerial);
        assert_eq!(error("]C121A\u{1d}21B"), ScanError::Twice("21"));
        assert_eq!(error("(21)A(21)B"), ScanError::Twice("21"));
        assert_eq!(error("(21A"), ScanError::Element("(21A".to_owned()));
    }

    #[test]
    fn what_is_no_element_string_is_refused() {
        let error = |text: &str| read(text).unwrap_err();
        let item = "04912345678905".to_owned();
        assert_eq!(error("]C1010491234567890521A"), ScanError::CheckDigit(item));
        let long = format!("]C121{}", "1".repeat(21));
        for text in ["]C19921A", "]C101049123", "]C121", &long] {
            assert!(matches!(error(text), ScanError::Element(_)), "{text}");
        }
        assert!(matches!(error("26480001\u{1b}[2J"), ScanError::Serial(_)));
    }
}
