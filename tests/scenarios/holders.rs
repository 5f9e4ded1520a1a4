//! Who may confirm, void or take over a bound unit, and what is wrong with those who may not.

use crate::floor::{FIRST, Floor, SECOND, THIRD, code, with_stations};
use acceptance::lines::CAMERAS;
use acceptance::register::Register;
use acceptance::soft::{Signed, SoftChip, SoftStation};
use identity::RequestId;
use identity::envelope::{ConfirmRequest, Envelope, Purpose, StationRequest as _, VoidRequest};
use identity::leaf::Body;
use proto::factory::Issued;

/// A unit that a station has bound.
struct Bound {
    chip: SoftChip,
    envelope: Envelope,
    issued: Issued,
}

impl Bound {
    fn request(&self) -> RequestId {
        self.envelope.units[0].request
    }
}

async fn bind(floor: &Floor, station: &SoftStation, number: u32) -> Bound {
    let chip = SoftChip::make(&floor.factory.vendor, number).unwrap();
    let serial = CAMERAS.first + u64::from(number);
    let draft = station.draft(Purpose::Provision, floor.order, &chip, serial);
    let envelope = draft.await.unwrap();
    let issued = station
        .issue(&station.seal(&envelope).unwrap())
        .await
        .unwrap();
    Bound {
        chip,
        envelope,
        issued: issued.unwrap(),
    }
}

/// A station takes a unit over under a request id of its own.
async fn adopt(
    floor: &Floor,
    station: &SoftStation,
    unit: &Bound,
    number: u32,
) -> Result<(RequestId, Vec<u8>), String> {
    let serial = CAMERAS.first + u64::from(number);
    let draft = station.draft(Purpose::Adopt, floor.order, &unit.chip, serial);
    let envelope = draft.await.unwrap();
    let answer = station
        .adopt(&station.seal(&envelope).unwrap())
        .await
        .unwrap();
    answer.map(|(_, certificate)| (envelope.units[0].request, certificate))
}

fn confirmation(station: &SoftStation, unit: &Bound, request: RequestId) -> Signed {
    let confirm = station.confirmation(&unit.chip, request, &unit.issued);
    station.seal(&confirm.unwrap()).unwrap()
}

fn verdict(station: &SoftStation, request: RequestId) -> Signed {
    station.seal(&station.verdict(request).unwrap()).unwrap()
}

#[tokio::test]
async fn only_the_newest_holder_confirms_or_voids() {
    let floor = Floor::open_with(100, |factory| with_stations(factory, &[THIRD]));
    let [first, second, third] = [FIRST, SECOND, THIRD].map(|id| floor.station(id));
    let unit = bind(&floor, &first, 1).await;
    let (taken, bytes) = adopt(&floor, &second, &unit, 1).await.unwrap();
    assert_eq!(bytes, unit.issued.certificate);
    let (again, bytes) = adopt(&floor, &third, &unit, 1).await.unwrap();
    assert_eq!(bytes, unit.issued.certificate);
    for (station, request) in [
        (&first, unit.request()),
        (&second, taken),
        (&first, again),
        (&second, again),
        (&third, taken),
    ] {
        let confirm = confirmation(station, &unit, request);
        assert_eq!(
            code(station.confirm(&confirm).await).as_deref(),
            Some("CA-0406")
        );
        let void = verdict(station, request);
        assert_eq!(code(station.void(&void).await).as_deref(), Some("CA-0406"));
    }
    // The old holder's envelope does not open the unit for it either.
    let old = first.seal(&unit.envelope).unwrap();
    assert_eq!(
        code(first.provision(&old).await).as_deref(),
        Some("CA-0406")
    );
    let confirm = confirmation(&third, &unit, again);
    let receipt = third.confirm(&confirm).await.unwrap().unwrap();
    assert_eq!(third.confirm(&confirm).await.unwrap(), Ok(receipt));
    assert!(floor.factory.status().unwrap().contains(" 1 of 100 "));
    floor.assert_sound();
}

#[tokio::test]
async fn a_unit_changes_hands_so_often_and_no_more() {
    let floor = Floor::open(100);
    let [first, second] = [FIRST, SECOND].map(|id| floor.station(id));
    let unit = bind(&floor, &first, 1).await;
    let mut last = None;
    for time in 0..16 {
        let station = if time % 2 == 0 { &second } else { &first };
        last = Some(adopt(&floor, station, &unit, 1).await.unwrap());
    }
    assert_eq!(
        adopt(&floor, &second, &unit, 1).await.unwrap_err(),
        "CA-0411"
    );
    // Its last holder finishes it all the same.
    let (request, _) = last.unwrap();
    let confirm = confirmation(&first, &unit, request);
    first.confirm(&confirm).await.unwrap().unwrap();
    floor.assert_sound();
}

#[tokio::test]
async fn what_is_confirmed_or_void_changes_hands_no_more() {
    let floor = Floor::open(100);
    let [first, second] = [FIRST, SECOND].map(|id| floor.station(id));
    let confirmed = bind(&floor, &first, 1).await;
    let confirm = confirmation(&first, &confirmed, confirmed.request());
    assert!(first.confirm(&confirm).await.unwrap().is_ok());
    let void = bind(&floor, &first, 2).await;
    let voided = verdict(&first, void.request());
    let leaf = first.void(&voided).await.unwrap().unwrap();
    assert_eq!(first.void(&voided).await.unwrap(), Ok(leaf));
    let mut register = Register::open(&floor.factory).await.unwrap();
    let late = adopt(&floor, &second, &confirmed, 1).await;
    assert_eq!(late.unwrap_err(), "CA-0501");
    let dead = adopt(&floor, &second, &void, 2).await;
    assert_eq!(dead.unwrap_err(), "CA-0405");
    let confirm = confirmation(&first, &void, void.request());
    assert_eq!(
        code(first.confirm(&confirm).await).as_deref(),
        Some("CA-0405")
    );
    let retry = first.seal(&void.envelope).unwrap();
    assert_eq!(
        code(first.provision(&retry).await).as_deref(),
        Some("CA-0405")
    );
    let never = SoftChip::make(&floor.factory.vendor, 3).unwrap();
    let draft = second.prepare(Purpose::Adopt, floor.order, &never, CAMERAS.first + 3);
    let adopted = second.adopt(&draft.await.unwrap()).await;
    assert_eq!(code(adopted).as_deref(), Some("CA-0407"));
    let news = register.news().await.unwrap();
    let refusals = news
        .iter()
        .filter(|leaf| matches!(leaf.body, Body::Refuse(_)));
    assert_eq!(refusals.count(), news.len(), "{news:?}");
    assert!(news.len() >= 4, "{news:?}");
    floor.assert_sound();
}

type ConfirmRow = (&'static str, &'static str, fn(&mut ConfirmRequest, &Bound));

const CONFIRM_ROWS: &[ConfirmRow] = &[
    ("a request nobody made", "CA-0407", |it, _| {
        it.request.0 = [9; 16];
    }),
    ("another certificate", "CA-0501", |it, _| {
        it.certificate.0[0] ^= 1;
    }),
    ("another leaf", "CA-0501", |it, _| it.leaf.0[31] ^= 1),
    ("an altered signature", "CA-0502", |it, _| {
        it.signature.0[0] ^= 1;
    }),
    ("a signature of zeros", "CA-0502", |it, _| {
        it.signature.0 = [0; 64];
    }),
    (
        "the proof of possession in its place",
        "CA-0502",
        |it, unit| {
            it.signature = unit.envelope.units[0].possession;
        },
    ),
    ("another station", "CA-0105", |it, _| {
        it.station = identity::Id::new(SECOND).unwrap();
    }),
];

#[tokio::test]
async fn a_bad_confirmation_is_refused_and_changes_nothing() {
    let floor = Floor::open(100);
    let station = floor.station(FIRST);
    let (unit, other) = (
        bind(&floor, &station, 1).await,
        bind(&floor, &station, 2).await,
    );
    let good = station
        .confirmation(&unit.chip, unit.request(), &unit.issued)
        .unwrap();
    let mut register = Register::open(&floor.factory).await.unwrap();
    for (name, wanted, spoil) in CONFIRM_ROWS {
        let mut confirm = good.clone();
        spoil(&mut confirm, &unit);
        let sent = station.seal(&confirm).unwrap();
        assert_eq!(
            code(station.confirm(&sent).await).as_deref(),
            Some(*wanted),
            "{name}"
        );
        crate::floor::assert_recorded::<ConfirmRequest>(&mut register, name, wanted, &sent).await;
    }
    // Another chip's word for this unit, and this chip's for another.
    let foreign = station
        .confirmation(&other.chip, unit.request(), &unit.issued)
        .unwrap();
    let swapped = station
        .confirmation(&unit.chip, unit.request(), &other.issued)
        .unwrap();
    for (confirm, wanted) in [(foreign, "CA-0502"), (swapped, "CA-0501")] {
        let sent = station.seal(&confirm).unwrap();
        assert_eq!(code(station.confirm(&sent).await).as_deref(), Some(wanted));
    }
    let mut long = good.to_bytes();
    long.push(0);
    let long = station.seal_bytes::<ConfirmRequest>(long).unwrap();
    assert_eq!(
        code(station.confirm(&long).await).as_deref(),
        Some("CA-0101")
    );
    let longer = vec![0x30; proto::MAX_REQUEST + 1];
    let longer = station.seal_bytes::<ConfirmRequest>(longer).unwrap();
    assert_eq!(
        code(station.confirm(&longer).await).as_deref(),
        Some("CA-0107")
    );
    let void = station.seal_bytes::<VoidRequest>(good.to_bytes()).unwrap();
    assert_eq!(code(station.void(&void).await).as_deref(), Some("CA-0101"));
    // A confirmation may have waited in the station's journal for as long as the CA was away.
    let mut late = good;
    late.time.0 -= 25 * 3_600_000;
    let sent = station.seal(&late).unwrap();
    assert!(station.confirm(&sent).await.unwrap().is_ok());
    floor.assert_sound();
}
