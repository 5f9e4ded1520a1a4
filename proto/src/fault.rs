//! Faults as RPC-level failures: a [`tonic::Status`] with `google.rpc` details, and back.
//!
//! The code is the reason of an `ErrorInfo` under the domain [`DOMAIN`]; blame and hints are its metadata; the two
//! texts are `LocalizedMessage`s; the delay is a `RetryInfo`. Clients of other languages need no type of ours.

use crate::common::{Blame, Fault};
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetail, ErrorInfo, LocalizedMessage, RetryInfo, StatusExt as _};

/// Domain of the `ErrorInfo`.
pub const DOMAIN: &str = "koseki";

const BLAME: &str = "blame";
const HINT_EN: &str = "hint_en";
const HINT_JA: &str = "hint_ja";

/// The failure of a whole RPC. Its message is "`code`: `text_en`".
#[must_use]
pub fn status_from_fault(grpc_code: Code, fault: &Fault) -> Status {
    let metadata = [
        (BLAME.to_owned(), fault.blame().as_str_name().to_owned()),
        (HINT_EN.to_owned(), fault.hint_en.clone()),
        (HINT_JA.to_owned(), fault.hint_ja.clone()),
    ];
    let mut details: Vec<ErrorDetail> = vec![
        ErrorInfo::new(&fault.code, DOMAIN, metadata).into(),
        LocalizedMessage::new("en", &fault.text_en).into(),
        LocalizedMessage::new("ja", &fault.text_ja).into(),
    ];
    details.extend(
        fault
            .retry_after_ms
            .map(|ms| RetryInfo::new(Some(Duration::from_millis(ms))).into()),
    );
    Status::with_error_details_vec(
        grpc_code,
        format!("{}: {}", fault.code, fault.text_en),
        details,
    )
}

/// The fault that a failure carries. `None` if its details cannot be read or are not ours, as with a failure of the
/// transport.
#[must_use]
pub fn fault_from_status(status: &Status) -> Option<Fault> {
    let details = status.check_error_details_vec().ok()?;
    let info = details.iter().find_map(|detail| {
        if let ErrorDetail::ErrorInfo(info) = detail {
            Some(info).filter(|info| info.domain == DOMAIN)
        } else {
            None
        }
    })?;
    let metadata = |key: &str| info.metadata.get(key).cloned().unwrap_or_default();
    let blame = Blame::from_str_name(&metadata(BLAME)).unwrap_or(Blame::Unspecified);
    Some(Fault {
        code: info.reason.clone(),
        blame: blame.into(),
        text_en: text(&details, "en"),
        text_ja: text(&details, "ja"),
        hint_en: metadata(HINT_EN),
        hint_ja: metadata(HINT_JA),
        retry_after_ms: status.get_details_retry_info().and_then(delay_ms),
    })
}

fn text(details: &[ErrorDetail], locale: &str) -> String {
    let mut texts = details.iter().filter_map(|detail| {
        if let ErrorDetail::LocalizedMessage(text) = detail
            && text.locale == locale
        {
            Some(text.message.clone())
        } else {
            None
        }
    });
    texts.next().unwrap_or_default()
}

fn delay_ms(info: RetryInfo) -> Option<u64> {
    u64::try_from(info.retry_delay?.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault() -> Fault {
        Fault {
            code: "CA-0103".into(),
            blame: Blame::Policy.into(),
            text_en: "the grant is used up".into(),
            text_ja: "発行枠を使い切りました".into(),
            hint_en: "ask the maker for a new grant".into(),
            hint_ja: "メーカーに新しい発行枠を依頼してください".into(),
            retry_after_ms: Some(1_500),
        }
    }

    #[test]
    fn a_fault_survives_the_status() {
        let status = status_from_fault(Code::ResourceExhausted, &fault());
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "CA-0103: the grant is used up");
        assert_eq!(fault_from_status(&status), Some(fault()));
        let lasting = Fault {
            retry_after_ms: None,
            ..fault()
        };
        assert_eq!(
            fault_from_status(&status_from_fault(Code::PermissionDenied, &lasting)),
            Some(lasting)
        );
    }

    #[test]
    fn the_reason_and_domain_are_those_of_google_rpc() {
        let info = status_from_fault(Code::Unavailable, &fault())
            .get_details_error_info()
            .unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("CA-0103", "koseki")
        );
    }

    #[test]
    fn a_fault_survives_the_wire() {
        let mut headers = Default::default();
        status_from_fault(Code::Unavailable, &fault())
            .add_header(&mut headers)
            .unwrap();
        assert_eq!(
            fault_from_status(&Status::from_header_map(&headers).unwrap()),
            Some(fault())
        );
    }

    #[test]
    fn a_status_of_others_holds_no_fault_of_ours() {
        assert_eq!(
            fault_from_status(&Status::unavailable("connection refused")),
            None
        );
        let foreign = ErrorInfo::new("CA-0103", "example.com", []);
        let status = Status::with_error_details_vec(Code::Unknown, "", vec![foreign.into()]);
        assert_eq!(fault_from_status(&status), None);
        let broken = Status::with_details(Code::Unknown, "", vec![0xff; 8].into());
        assert_eq!(fault_from_status(&broken), None);
    }
}
