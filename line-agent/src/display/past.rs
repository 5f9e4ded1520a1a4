//! What became of the unit of a chip that is seated again.

use super::Words;
use crate::config::Language;
use crate::sources::day;
use crate::station::Failure;
use crate::station::journal::ChipEnd;
use identity::fault::Fault;

/// What to do with a chip that passed, in English and in Japanese: that it says who it is proves nothing, its label does.
pub const PUT_IT_BACK: (&str, &str) = (
    "take the unit out; if its label has that serial nothing is wrong with it: put it with the good ones",
    "取り外してください。ラベルがその番号なら異常ではありません。良品に戻してください",
);

/// What became of it, and when.
#[must_use]
pub fn told(end: &ChipEnd, language: Language) -> String {
    let (serial, day) = (end.serial, day(end.at));
    match (end.fault, language) {
        (None, Language::Ja) => format!("{serial} として {day} に合格済み"),
        (None, Language::En) => format!("it passed as {serial} on {day}"),
        (Some(Fault::ChipScrapped), Language::Ja) => format!("{serial} は {day} に廃棄済み"),
        (Some(Fault::ChipScrapped), Language::En) => {
            format!("it was scrapped as {serial} on {day}")
        }
        (Some(Fault::Voided), Language::Ja) => format!("{serial} は {day} に無効化済み"),
        (Some(Fault::Voided), Language::En) => format!("it was voided as {serial} on {day}"),
        (Some(fault), Language::Ja) => format!("{serial} として {day} に不合格 ({})", fault.code()),
        (Some(fault), Language::En) => format!("it failed as {serial} on {day} ({})", fault.code()),
    }
}

impl Words {
    /// Of a failure; what is to be done with a chip that passed is another thing than with other used ones.
    #[must_use]
    pub fn of_failure(failure: &Failure, language: Language) -> Self {
        let words = Self::of(failure.fault, language);
        match has_passed(failure) {
            true => words.do_rather(language, PUT_IT_BACK),
            false => words,
        }
    }
}

/// Whether the chip is one that passed.
#[must_use]
pub fn has_passed(failure: &Failure) -> bool {
    let end = failure.chip.as_ref();
    end.is_some_and(|end| end.fault.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::{ChipUid, DeviceSerial, Timestamp};

    #[test]
    fn a_used_chip_is_told_with_what_became_of_it() {
        let uid = ChipUid::new(&[1, 0x23]).unwrap();
        let ended = |fault| ChipEnd {
            serial: DeviceSerial::new("26480001000").unwrap(),
            at: Timestamp(1_795_392_000_007),
            fault,
        };
        let en = |fault| {
            let failure = Failure::used_chip(&uid, Some(ended(fault)));
            let words = Words::of_failure(&failure, Language::En);
            (failure.detail, words.code, words.hint)
        };
        let (detail, code, hint) = en(None);
        assert!(detail.ends_with(": it passed as 26480001000 on 2026-11-23"));
        assert_eq!(code, "LINE-0104");
        assert!(hint.contains("put it with the good ones"), "{hint}");
        for (fault, said) in [
            (Fault::ChipScrapped, "scrapped as 26480001000 on 2026-11-23"),
            (Fault::Voided, "voided as 26480001000 on 2026-11-23"),
            (
                Fault::BurnFailed,
                "failed as 26480001000 on 2026-11-23 (LINE-0109)",
            ),
        ] {
            let (detail, _, hint) = en(Some(fault));
            assert!(detail.ends_with(said), "{detail}");
            assert!(!hint.contains("good"), "{hint}");
        }
        let ja = told(&ended(None), Language::Ja);
        assert_eq!(ja, "26480001000 として 2026-11-23 に合格済み");
        let unknown = Failure::used_chip(&uid, None);
        assert_eq!(unknown.detail, "UID 0123");
    }
}
