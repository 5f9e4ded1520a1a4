//! As `altered_messages`, of what the CA answers when a unit changes hands or ends, when a lot ends, and when it is asked
//! what may be made: every byte is altered, one at a time, and what is accepted says what the truth says.

use crate::altered_messages::{
    Ground, WithoutHints, alterations, burn, id, in_chip, is_hint, journalled, send,
};
use acceptance::proxy::{Question, Said};
use identity::envelope::{Version1, request_hash};
use identity::fault::Fault;
use identity::lot::{LotCloseRequest, LotCounts, ScrapRequest};
use identity::{DeviceSerial, RequestId};
use line_agent::ca_link::{CaError, LeafProof};
use line_agent::lot::Lot;
use line_agent::station::close::{self, Ending};
use line_agent::station::floor::Serials;
use line_agent::station::journal::{HexHash, History, SignedRequest};
use line_agent::station::scrap::{self, Scrapped};
use line_agent::station::session::{Bench, Burnt};
use line_agent::station::{Failure, Step, unit, void};
use proto::factory::{
    AdoptResponse, CloseLotResponse, GetGrantResponse, GetLotResponse, LeafReceipt,
    ScrapUnitResponse, VoidResponse, scrap_unit_response, void_response,
};
use tonic::{Code, Status};

/// The leaf's index stands in its proof, under the log's signature.
fn without_index(receipt: &mut LeafReceipt) {
    receipt.index = 0;
}

impl WithoutHints for VoidResponse {
    fn without_hints(mut self) -> Self {
        if let Some(void_response::Outcome::Receipt(receipt)) = &mut self.outcome {
            without_index(receipt);
        }
        self
    }
}

impl WithoutHints for ScrapUnitResponse {
    fn without_hints(mut self) -> Self {
        if let Some(scrap_unit_response::Outcome::Receipt(receipt)) = &mut self.outcome {
            without_index(receipt);
        }
        self
    }
}

impl WithoutHints for CloseLotResponse {
    /// Where counts differ is counted anew, from the leaf and the order that it names.
    fn without_hints(mut self) -> Self {
        self.receipt.iter_mut().for_each(without_index);
        self.differences.clear();
        self
    }
}

impl WithoutHints for AdoptResponse {
    /// As of `ProvisionResponse`.
    fn without_hints(mut self) -> Self {
        for result in &mut self.results {
            if let Some(proto::factory::unit_result::Outcome::Issued(issued)) = &mut result.outcome
            {
                issued.grant.clear();
                issued.ordinal = 0;
            }
        }
        self
    }
}

impl WithoutHints for GetGrantResponse {
    /// The station asks for a hash and reads numbers.
    fn without_hints(self) -> Self {
        Self {
            grant_id: String::new(),
            lots: Vec::new(),
            ..self
        }
    }
}

impl WithoutHints for GetLotResponse {
    /// The station asks for one lot of one grant and reads its serials.
    fn without_hints(self) -> Self {
        Self {
            lot: None,
            tally: None,
            grant_hash: Vec::new(),
            ..self
        }
    }
}

/// Alters an answer; gives how many alterations were accepted, which are hints.
fn alter<M: WithoutHints, T: PartialEq + std::fmt::Debug>(
    ground: &Ground,
    question: Question,
    (truth, said): (&[u8], T),
    accept: impl Fn() -> Step<T>,
) -> usize {
    let mut hints = 0;
    for (at, altered) in alterations(truth, &[0x01, 0x80]) {
        ground.forge(question, &altered);
        if let Ok(accepted) = accept() {
            let is_hint = is_hint::<M>(&altered, truth);
            assert!(is_hint, "byte {at} of {question:?} is believed");
            assert_eq!(accepted, said, "byte {at} of {question:?}");
            hints += 1;
        }
    }
    println!("{question:?}: {} bytes, {hints} hints", truth.len());
    assert!(truth.len() > 20);
    hints
}

#[test]
fn no_altered_byte_of_an_answer_ends_a_unit_or_a_lot() {
    Ground::open().at_bench("state", |ground, bench| {
        let open = burn(bench);
        drop(Burnt::resume(&open).prove(bench).unwrap());
        let open = journalled(bench);
        drop(send(&open, bench).unwrap());
        alter_void(ground, bench, open.request);
        let id = alter_scrapping(ground, bench, open.request);
        assert_ne!(id, open.request);
        alter_look(ground, bench);
        alter_close(ground, bench);
    });
}

/// A void that is answered with anything else waits, and the unit stays open.
fn alter_void(ground: &Ground, bench: &Bench<'_>, request: RequestId) {
    let floor = &bench.floor;
    void::announce(floor, request, id("LINE-0111")).unwrap();
    let waiting = |history: &History| history.void_of(&request).cloned();
    let signed = floor.journal.with(waiting).unwrap();
    let uid = floor.journal.with(|history| history.chip_of(&request));
    let inspect = |given: &LeafProof| floor.inspector.inspect_void(given, &signed, uid.as_ref());
    inspect(&floor.ca.void(&signed).unwrap()).unwrap();
    let (truth, _) = ground.heard::<VoidResponse>(Question::Void);
    let hints = alter::<VoidResponse, ()>(ground, Question::Void, (&truth, ()), || {
        inspect(&floor.ca.void(&signed)?)
    });
    assert!((1..=4).contains(&hints), "{hints} hints");
    let mut altered = truth.clone();
    altered[truth.len() / 2] ^= 1;
    ground.forge(Question::Void, &altered);
    let failure = void::send(floor, request).unwrap_err();
    assert_eq!(failure.fault, Fault::ProofInvalid, "{failure}");
    assert!(floor.journal.with(waiting).is_some(), "the void waits");
    assert!(floor.journal.with(|it| it.open_unit(&request).is_some()));
    assert_eq!(void::send(floor, request).unwrap(), void::Outcome::Voided);
    assert!(floor.journal.with(|it| it.open_unit(&request).is_none()));
    // The proof of another unit's void: nobody's chip but its own.
    let other = SignedRequest {
        der: vec![0],
        ..signed.clone()
    };
    let given = floor.ca.void(&signed).unwrap();
    let unknown = floor.inspector.inspect_void(&given, &other, None);
    assert_eq!(unknown.unwrap_err().fault, Fault::ProofInvalid);
    let stranger = identity::ChipUid::new(&[9; 9]).unwrap();
    let strange = floor
        .inspector
        .inspect_void(&given, &other, Some(&stranger));
    assert_eq!(strange.unwrap_err().fault, Fault::ProofInvalid);
}

/// The same of a scrapping: of one that scraps, and of one that comes too late and gets the leaf of the first.
fn alter_scrapping(ground: &Ground, bench: &Bench<'_>, unit: RequestId) -> RequestId {
    let floor = &bench.floor;
    let order = bench.task.order;
    let serial = bench.task.serial;
    let asked = |id: RequestId| {
        let request = ScrapRequest {
            version: Version1,
            station: floor.station.id,
            time: floor.clock.now(),
            id,
            grant: order.grant_hash,
            lot: bench.task.lot,
            request: Some(unit),
            uid: None,
            serial: Some(serial),
            reason: self::id("board-broken"),
        };
        floor.sign(&request).unwrap()
    };
    for id in [[1; 16], [2; 16]].map(RequestId) {
        let signed = asked(id);
        let accept = |given: &LeafProof| floor.inspector.inspect_scrap(given, &signed, &[], None);
        accept(&floor.ca.scrap(&signed).unwrap()).unwrap();
        let (truth, _) = ground.heard::<ScrapUnitResponse>(Question::Scrap);
        let hints = alter::<ScrapUnitResponse, ()>(ground, Question::Scrap, (&truth, ()), || {
            accept(&floor.ca.scrap(&signed)?)
        });
        assert!((1..=4).contains(&hints), "{hints} hints");
        // A leaf that scraps this unit scraps no other serial.
        let other = ScrapRequest {
            serial: Some(DeviceSerial::new("26480001999").unwrap()),
            ..read(&signed)
        };
        let given = floor.ca.scrap(&signed).unwrap();
        let other = floor.sign(&other).unwrap();
        let strange = |earlier: &[HexHash]| {
            let inspected = floor.inspector.inspect_scrap(&given, &other, earlier, None);
            inspected.unwrap_err().fault
        };
        assert_eq!(strange(&[]), Fault::ProofInvalid);
        assert_eq!(
            strange(&[HexHash(request_hash::<ScrapRequest>(&other.der))]),
            Fault::ProofInvalid
        );
    }
    // One whose answer is not believed waits in the journal, and goes out with the next.
    let scrapped = Scrapped {
        serial,
        lot: bench.task.lot,
        reason: id("board-broken"),
        uid: None,
        voided: Some(unit),
    };
    let (mut altered, _) = ground.heard::<ScrapUnitResponse>(Question::Scrap);
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    ground.forge(Question::Scrap, &altered);
    let failure = scrap::scrap(floor, order, &scrapped).unwrap_err();
    assert_eq!(failure.fault, Fault::ProofInvalid, "{failure}");
    let waiting = floor.journal.with(History::scrappings);
    assert_eq!(waiting.len(), 1);
    scrap::send_waiting(floor).unwrap();
    assert!(floor.journal.with(History::scrappings).is_empty());
    waiting[0]
}

fn read(signed: &SignedRequest) -> ScrapRequest {
    identity::envelope::StationRequest::from_bytes(&signed.der).unwrap()
}

/// A look that was altered closes nothing, whatever it hides: the station signs what it was shown, and the CA holds that
/// against order and log.
fn alter_look(ground: &Ground, bench: &Bench<'_>) {
    let (floor, order, counts) = (&bench.floor, bench.task.order, LotCounts::default());
    let lot = Lot {
        id: bench.task.lot,
        units: Vec::new(),
    };
    let look = || Ok::<_, Failure>(close::look(floor, order, &lot, &counts)?.seen);
    let shown = look().unwrap();
    let (truth, _) = ground.heard::<GetLotResponse>(Question::Lot);
    let (mut moved, mut ended) = (0, 0);
    for (at, altered) in alterations(&truth, &[0x01, 0x02, 0x04, 0x80]) {
        ground.forge(Question::Lot, &altered);
        let Ok(seen) = look() else { continue };
        if seen == shown {
            continue;
        }
        ended += u32::from(seen.closed);
        let ending = Ending {
            lot: &lot.id,
            counts,
            seen,
            shares: &[],
        };
        let failure = close::close(floor, order, &ending).unwrap_err();
        assert_eq!(failure.fault, Fault::LotMoved, "byte {at}: {failure}");
        moved += 1;
    }
    println!(
        "a lot as it is shown: {moved} closed nothing, {ended} of them said that it is closed"
    );
    assert!(moved > 30 && ended > 0, "{moved} {ended}");
}

/// What a lot's end is said to be is what its leaf says.
fn alter_close(ground: &Ground, bench: &Bench<'_>) {
    let floor = &bench.floor;
    let asked = LotCloseRequest {
        version: Version1,
        station: floor.station.id,
        time: floor.clock.now(),
        grant: bench.task.order.grant_hash,
        lot: bench.task.lot,
        // One board too many voided: a difference.
        counts: LotCounts {
            planned: 1,
            scrapped: 1,
            voided: 1,
            boards_scrapped: 1,
            ..LotCounts::default()
        },
        shares: None,
        seen: None,
    };
    let signed = floor.sign(&asked).unwrap();
    let closed = || {
        let given = floor.ca.close_lot(&signed, &[])?;
        floor.inspector.inspect_close(&given, &asked)
    };
    let end = closed().unwrap();
    assert_eq!(end.differences.len(), 1, "{end:?}");
    let (truth, real) = ground.heard::<CloseLotResponse>(Question::CloseLot);
    assert_eq!(real.receipt.unwrap().index, end.index);
    let hints = alter::<CloseLotResponse, _>(ground, Question::CloseLot, (&truth, end), closed);
    assert!((2..=60).contains(&hints), "{hints} hints");
    for other in [
        LotCloseRequest {
            lot: id("another"),
            ..asked.clone()
        },
        LotCloseRequest {
            counts: LotCounts::default(),
            ..asked.clone()
        },
    ] {
        let given = floor.ca.close_lot(&signed, &[]).unwrap();
        let strange = floor.inspector.inspect_close(&given, &other);
        assert_eq!(strange.unwrap_err().fault, Fault::ProofInvalid);
    }
    // Other counts than those that it was closed with are refused; a proof of the first end is none of theirs.
    ground.forge(Question::CloseLot, &truth);
    let (order, lot) = (bench.task.order, bench.task.lot);
    let ending = Ending {
        lot: &lot,
        counts: LotCounts::default(),
        seen: floor.ca.lot(&order.grant_hash, &lot).unwrap(),
        shares: &[],
    };
    let failure = close::close(floor, order, &ending).unwrap_err();
    assert_eq!(failure.fault, Fault::ProofInvalid, "{failure}");
}

/// A unit that is taken over: what is accepted is what was bound, or the CA refuses what the chip signs for it.
#[test]
fn no_altered_byte_of_an_adoption_makes_another_unit() {
    let ground = Ground::open();
    ground.at_bench("state", |_, bench| {
        let open = burn(bench);
        drop(Burnt::resume(&open).prove(bench).unwrap());
        drop(send(&journalled(bench), bench).unwrap());
    });
    // The same station without its journal.
    ground.at_bench("state-anew", |ground, bench| {
        let away = Status::new(Code::PermissionDenied, "nobody may");
        ground.proxy.forge(Question::Adopt, Said::Failed(away));
        unit::run(bench).unwrap_err();
        let open = journalled(bench);
        assert!(open.keyed.adopts && open.sent.is_some());
        drop(send(&open, bench).unwrap());
        let (truth, real) = ground.heard::<AdoptResponse>(Question::Adopt);
        let issued = |answer: AdoptResponse| match answer.results.into_iter().next() {
            Some(proto::factory::UnitResult {
                outcome: Some(proto::factory::unit_result::Outcome::Issued(issued)),
            }) => issued,
            other => panic!("{other:?}"),
        };
        let real = issued(real);
        let (mut hints, mut nonces) = (0, 0);
        for (at, altered) in alterations(&truth, &[0x01]) {
            ground.forge(Question::Adopt, &altered);
            let Ok(accepted) = send(&open, bench) else {
                continue;
            };
            let written = accepted.write(bench).unwrap();
            assert_eq!(
                in_chip(bench).as_ref(),
                Some(&real.certificate),
                "byte {at}"
            );
            if is_hint::<AdoptResponse>(&altered, &truth) {
                hints += 1;
                continue;
            }
            // The nonce is the CA's own: only it can tell, and does.
            let ended = written.confirm(bench).unwrap().settle(bench);
            let failure = ended.unwrap_err();
            assert_eq!(failure.fault, Fault::ConfirmSignature, "byte {at}");
            nonces += 1;
        }
        println!("adopted: {} bytes, {hints} hints", truth.len());
        assert_eq!(nonces, 32);
        assert!((32..=40).contains(&hints), "{hints} hints");
        let written = send(&open, bench).unwrap().write(bench).unwrap();
        written.confirm(bench).unwrap().settle(bench).unwrap();
    });
}

/// How much of a grant is left is told to people, and nothing is decided by it at the line: an altered answer is refused or
/// says the same, for its numbers must add up. A lot's serials keep a chip from being burnt in vain, and the CA decides:
/// an altered range keeps the unit's serial out, or lets it on to the CA.
#[test]
fn altered_answers_of_what_may_be_made_make_nothing() {
    Ground::open().at_bench("state", |ground, bench| {
        let (floor, order, lot) = (&bench.floor, bench.task.order, bench.task.lot);
        let quota = || Ok(floor.ca.quota(&order.grant_hash)?);
        let said = quota().unwrap();
        let (truth, _) = ground.heard::<GetGrantResponse>(Question::Grant);
        let hints = alter::<GetGrantResponse, _>(ground, Question::Grant, (&truth, said), quota);
        assert!(hints > 20, "{hints} hints: name and lots");

        let range = floor.ca.serials(&order.grant_hash, &lot).unwrap();
        let (truth, _) = ground.heard::<GetLotResponse>(Question::Lot);
        let (mut same, mut kept_out) = (0, 0);
        for (at, altered) in alterations(&truth, &[0x01, 0x80]) {
            ground.forge(Question::Lot, &altered);
            let serial = &bench.task.serial;
            let checked = Serials::default().check(floor.ca, (order.grant_hash, lot), serial);
            match checked {
                Ok(()) if is_hint::<GetLotResponse>(&altered, &truth) => same += 1,
                // Wider than the truth, and the serial in it: it is in the truth, too.
                Ok(()) => assert!(range.holds(serial), "byte {at}"),
                Err(failure) => {
                    let is_held = [
                        Fault::SerialOutsideLot,
                        Fault::ProofInvalid,
                        Fault::Internal,
                    ]
                    .contains(&failure.fault);
                    assert!(is_held, "byte {at}: {failure}");
                    kept_out += 1;
                }
            }
        }
        println!("a lot's serials: {same} the same, {kept_out} kept out");
        assert!(same > 20 && kept_out > 20);
        let none: Result<_, CaError> = floor
            .ca
            .find_chip(&identity::ChipUid::new(&[1; 9]).unwrap());
        assert_eq!(none, Ok(None), "nothing is bound");
    });
}
