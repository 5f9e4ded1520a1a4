//! What the journal's entries amount to.

use super::done::Done;
use super::ends::{self, Boards, Ends};
use super::form::{
    Aside, Closed, Earlier, Entry, Event, FailedUnit, HexUid, IssuedFacts, Keyed, KnownChip,
    Scrapping, SignedRequest, Summary, TextSerial,
};
use super::rework::{Past, remember};
use crate::station::close::Outcome;
use crate::verdict::Verdict;
use identity::envelope::{StationRequest as _, VoidRequest};
use identity::fault::Fault;
use identity::{ChipUid, DeviceSerial, Id, RequestId, Timestamp};
use std::collections::BTreeMap;

/// Most chips or serials in one line of a compacted journal.
const LIST: usize = 256;

/// A unit whose key exists and that is neither done nor dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUnit {
    /// Its request.
    pub request: RequestId,
    /// When its key was made.
    pub since: Timestamp,
    /// Who and where it is.
    pub keyed: Keyed,
    /// The newest envelope that may have been sent.
    pub sent: Option<SignedRequest>,
    /// What the CA answered.
    pub issued: Option<IssuedFacts>,
    /// The confirmation that may have been sent.
    pub confirming: Option<SignedRequest>,
    /// The void that waits for the CA's answer.
    pub voiding: Option<SignedRequest>,
    /// Why it was set aside: its chip is in no socket.
    pub aside: Option<Fault>,
}

impl OpenUnit {
    /// The last step in the journal.
    #[must_use]
    pub const fn step(&self) -> &'static str {
        match (&self.sent, &self.issued, &self.confirming, &self.voiding) {
            (_, _, _, Some(_)) => "voiding",
            (_, _, Some(_), None) => "confirming",
            (_, Some(_), None, None) => "issued",
            (Some(_), None, None, None) => "sent",
            (None, None, None, None) => "keyed",
        }
    }

    /// The entries that lead to it.
    fn entries(&self) -> impl Iterator<Item = Entry> + use<> {
        let Self {
            request, since: at, ..
        } = *self;
        let this = self.clone();
        [
            Some(Event::Keyed(Box::new(this.keyed))),
            this.sent.map(Event::Sent),
            this.issued.map(Event::Issued),
            this.confirming.map(Event::Confirming),
            this.voiding.map(Event::Voiding),
            this.aside.map(|fault| Event::Aside(Aside { fault })),
        ]
        .into_iter()
        .flatten()
        .map(move |event| Entry { request, at, event })
    }
}

/// The state that the entries lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub(super) open: BTreeMap<RequestId, OpenUnit>,
    pub(super) failed: BTreeMap<RequestId, FailedUnit>,
    chips: BTreeMap<ChipUid, KnownChip>,
    pub(super) serials: BTreeMap<(Id, DeviceSerial), SerialState>,
    pub(super) past: Past,
    /// The chip that was done last, by socket.
    last: BTreeMap<Id, ChipUid>,
    passed_units: u64,
    pub(super) failed_units: u64,
    pub(super) ends: Ends,
    pub(super) done: Done,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SerialState {
    pub(super) attempts: u32,
    /// Passed, or possibly bound: no other chip may have this serial.
    taken: bool,
    /// Units with a key that failed since the last scrapping.
    failures: u32,
}

impl History {
    /// Takes the next entry.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), String> {
        let request = entry.request;
        match &entry.event {
            Event::Keyed(keyed) => self.key(entry, keyed),
            Event::Sent(envelope) => {
                let unit = self.unit(request)?;
                unit.sent = Some(envelope.clone());
                let uid = unit.keyed.uid;
                self.chips.insert(uid, KnownChip::Sent);
                Ok(())
            }
            Event::Issued(facts) => self.unit(request).map(|unit| unit.issued = Some(*facts)),
            Event::Confirming(confirm) => self
                .unit(request)
                .map(|unit| unit.confirming = Some(confirm.clone())),
            Event::Dropped => self
                .open
                .remove(&request)
                .map(drop)
                .ok_or_else(|| not_open(request)),
            Event::Closed(closed) => {
                self.close(entry, closed);
                Ok(())
            }
            Event::Voiding(void) => self.set_voiding(request, Some(void.clone())),
            Event::VoidRefused => self.set_voiding(request, None),
            Event::Voided => {
                let unit = self.void(request)?;
                self.ends.voided(unit.lot);
                self.done.give_up(&unit.uid, entry.at, Fault::Voided);
                Ok(())
            }
            Event::NeverBound => self.void(request).map(drop),
            Event::Scrapping(scrapping) => {
                self.ends.wait(request, entry.at, scrapping);
                Ok(())
            }
            Event::Scrapped => self.scrap(&request, entry.at),
            Event::ScrapRefused => self.ends.answered(&request).map(drop),
            Event::Aside(aside) => self
                .unit(request)
                .map(|unit| unit.aside = Some(aside.fault)),
            Event::Reseated(seat) => self.unit(request).map(|unit| {
                unit.aside = None;
                unit.keyed.socket = seat.socket;
            }),
            Event::Reopened(seat) => self.reopen(entry, seat.socket),
        }
    }

    /// Takes the next line of a summary.
    pub(super) fn take(&mut self, summary: Summary) {
        match summary {
            Summary::Totals { passed, failed } => {
                (self.passed_units, self.failed_units) = (passed, failed);
            }
            Summary::Chips { known, uids } => {
                self.chips
                    .extend(uids.into_iter().map(|HexUid(uid)| (uid, known)));
            }
            Summary::Serials {
                lot,
                attempts,
                taken,
                failures,
                serials,
            } => {
                let state = SerialState {
                    attempts,
                    taken,
                    failures,
                };
                let rows = serials.into_iter();
                self.serials
                    .extend(rows.map(|TextSerial(serial)| ((lot, serial), state)));
            }
            Summary::Last { socket, uid } => {
                self.last.insert(socket, uid);
            }
            Summary::Failed(unit) => {
                self.failed.insert(unit.request, *unit);
            }
            Summary::Ends {
                lot,
                voided,
                scrapped,
                serials,
            } => self.ends.take(lot, Boards { voided, scrapped }, serials),
            Summary::Past {
                lot,
                serial,
                attempts,
            } => {
                self.past.insert((lot, serial), attempts);
            }
            Summary::Done { chips } => self.done.take(chips),
        }
    }

    /// The fewest lines that lead to the same state; the summary comes last, because entries of open units alone say
    /// less of their chips and serials than is known.
    pub(super) fn summary(&self) -> (Vec<Entry>, Vec<Summary>) {
        let mut summary = vec![Summary::Totals {
            passed: self.passed_units,
            failed: self.failed_units,
        }];
        let chips = self.chips.iter().map(|(uid, known)| (*known, HexUid(*uid)));
        summary.extend(lists(chips).map(|(known, uids)| Summary::Chips { known, uids }));
        let serials = self.serials.iter();
        let serials = serials.map(|((lot, serial), state)| ((*lot, *state), TextSerial(*serial)));
        summary.extend(
            lists(serials).map(|((lot, state), serials)| Summary::Serials {
                lot,
                attempts: state.attempts,
                taken: state.taken,
                failures: state.failures,
                serials,
            }),
        );
        let last = self.last.iter();
        summary.extend(last.map(|(socket, uid)| Summary::Last {
            socket: *socket,
            uid: *uid,
        }));
        let failed = self.failed.values().cloned();
        summary.extend(failed.map(|unit| Summary::Failed(Box::new(unit))));
        summary.extend(self.ends.summary());
        summary.extend(self.done.summary());
        let past = self.past.iter();
        summary.extend(past.map(|((lot, serial), attempts)| Summary::Past {
            lot: *lot,
            serial: *serial,
            attempts: attempts.clone(),
        }));
        let waiting = self.ends.waiting().map(|(id, at, scrapping)| Entry {
            request: *id,
            at: *at,
            event: Event::Scrapping(Box::new(scrapping.clone())),
        });
        let open = self.open.values().flat_map(OpenUnit::entries);
        (open.chain(waiting).collect(), summary)
    }

    fn key(&mut self, entry: &Entry, keyed: &Keyed) -> Result<(), String> {
        let request = entry.request;
        let unit = OpenUnit {
            request,
            since: entry.at,
            keyed: keyed.clone(),
            sent: None,
            issued: None,
            confirming: None,
            voiding: None,
            aside: None,
        };
        self.chips.insert(keyed.uid, KnownChip::Keyed);
        let state = self.serials.entry((keyed.lot, keyed.serial)).or_default();
        state.attempts = keyed.attempt;
        match self.open.insert(request, unit) {
            Some(_) => Err(format!("request {request} was open already")),
            None => Ok(()),
        }
    }

    fn unit(&mut self, request: RequestId) -> Result<&mut OpenUnit, String> {
        self.open.get_mut(&request).ok_or_else(|| not_open(request))
    }

    fn close(&mut self, entry: &Entry, closed: &Closed) {
        let request = entry.request;
        let unit = self.open.remove(&request);
        let issued = unit.as_ref().is_some_and(|unit| unit.issued.is_some());
        let passed = closed.verdict == Verdict::Pass;
        let state = self.serials.entry((closed.lot, closed.serial)).or_default();
        state.taken |= passed || issued;
        if let Some(unit) = unit.as_ref().filter(|_| !passed) {
            state.failures = state.failures.saturating_add(1);
            let earlier = Earlier {
                attempt: unit.keyed.attempt,
                uid: unit.keyed.uid,
                at: entry.at,
                fault: closed.fault,
            };
            remember(&mut self.past, (closed.lot, closed.serial), earlier);
        }
        if passed {
            self.past.remove(&(closed.lot, closed.serial));
        }
        if let Some(unit) = &unit {
            self.done.close(unit, closed, entry.at);
        }
        self.chips
            .entry(closed.uid)
            .or_insert(KnownChip::NeverKeyed);
        self.last.insert(closed.socket, closed.uid);
        match (passed, unit) {
            (true, _) => self.passed_units += 1,
            (false, Some(unit)) if unit.sent.is_some() => {
                self.failed_units += 1;
                let failed = FailedUnit {
                    request,
                    lot: closed.lot,
                    serial: closed.serial,
                    uid: closed.uid,
                    issued,
                    resumes: unit.resumable(),
                    voiding: unit.voiding,
                };
                self.failed.insert(request, failed);
            }
            (false, _) => self.failed_units += 1,
        }
    }

    fn set_voiding(
        &mut self,
        request: RequestId,
        void: Option<SignedRequest>,
    ) -> Result<(), String> {
        let place = match (self.open.get_mut(&request), self.failed.get_mut(&request)) {
            (Some(unit), _) => &mut unit.voiding,
            (None, Some(unit)) => &mut unit.voiding,
            (None, None) => return Err(format!("request {request} has nothing to void")),
        };
        *place = void;
        Ok(())
    }

    /// A void frees the serial, never the chip.
    fn void(&mut self, request: RequestId) -> Result<FailedUnit, String> {
        let unit = self
            .failed
            .remove(&request)
            .ok_or_else(|| format!("request {request} has not failed"))?;
        if let Some(state) = self.serials.get_mut(&(unit.lot, unit.serial))
            && unit.issued
        {
            state.taken = false;
        }
        Ok(unit)
    }

    /// So does a scrapping. The unit was closed before, if it was open.
    fn scrap(&mut self, id: &RequestId, at: Timestamp) -> Result<(), String> {
        let scrapping = self.ends.answered(id)?;
        let failed = self.failed.keys().find(|it| ends::is_of(&scrapping, it));
        if let Some(request) = failed.copied() {
            let unit = self.void(request)?;
            self.done.give_up(&unit.uid, at, Fault::ChipScrapped);
        }
        let place = (scrapping.lot, scrapping.serial);
        let state = self.serials.entry(place).or_default();
        state.failures = 0;
        self.ends.scrapped(&scrapping, state.attempts);
        Ok(())
    }

    /// Boards of a lot that will never ship.
    #[must_use]
    pub fn boards(&self, lot: &Id) -> Boards {
        self.ends.boards(lot)
    }

    /// Scrappings that wait for the CA's answer.
    #[must_use]
    pub fn scrappings(&self) -> Vec<RequestId> {
        self.ends.waiting().map(|(id, ..)| *id).collect()
    }

    /// A scrapping that waits for the CA's answer.
    #[must_use]
    pub fn scrapping(&self, id: &RequestId) -> Option<&Scrapping> {
        let mut waiting = self.ends.waiting();
        waiting.find(|(of, ..)| *of == id).map(|(.., it)| it)
    }

    /// Whether a serial failed so often since its last scrapping that it gets no further chip.
    #[must_use]
    pub fn is_used_up(&self, lot: &Id, serial: &DeviceSerial, most: u32) -> bool {
        let state = self.serials.get(&(*lot, *serial));
        let failures = state.map_or(0, |state| state.failures);
        self.outcome(lot, serial) == Outcome::Failed && failures >= most
    }

    /// Where a serial of a lot stands.
    #[must_use]
    pub fn outcome(&self, lot: &Id, serial: &DeviceSerial) -> Outcome {
        let mut open = self.open.values();
        if open.any(|unit| unit.keyed.lot == *lot && unit.keyed.serial == *serial) {
            return Outcome::Held;
        }
        let Some(state) = self.serials.get(&(*lot, *serial)) else {
            return Outcome::Unused;
        };
        let mut failed = self.failed.values();
        let is_bound = failed.any(|unit| unit.lot == *lot && unit.serial == *serial && unit.issued);
        match state.taken {
            true if !is_bound => Outcome::Passed,
            // A key that was made since, and whose chip was blank still when it was gone, changes nothing.
            false if state.failures == 0 && self.ends.is_scrapped(lot, serial) => Outcome::Scrapped,
            false if state.failures == 0 && state.attempts > 0 => Outcome::Unused,
            true | false => Outcome::Failed,
        }
    }

    /// How many of these serials of a lot passed.
    #[must_use]
    pub fn passed<'a>(&self, lot: &Id, serials: impl Iterator<Item = &'a DeviceSerial>) -> usize {
        let passed = |serial: &&DeviceSerial| self.outcome(lot, serial) == Outcome::Passed;
        serials.filter(passed).count()
    }

    /// Units that are neither done nor dropped, by request.
    pub fn open_units(&self) -> impl Iterator<Item = &OpenUnit> {
        self.open.values()
    }

    /// Units that failed behind their request to the CA and are not void.
    pub fn failed_units(&self) -> impl Iterator<Item = &FailedUnit> {
        self.failed.values()
    }

    /// Requests whose void waits for the CA's answer, the earliest first.
    #[must_use]
    pub fn voids(&self) -> Vec<RequestId> {
        let open = self.open.values().map(|unit| (unit.request, &unit.voiding));
        let failed = self.failed.values();
        let failed = failed.map(|unit| (unit.request, &unit.voiding));
        let mut voids: Vec<_> = open
            .chain(failed)
            .filter_map(|(request, void)| Some((time_of(void.as_ref()?), request)))
            .collect();
        voids.sort_unstable();
        voids.into_iter().map(|(_, request)| request).collect()
    }

    /// The void of a request that waits for the CA's answer.
    #[must_use]
    pub fn void_of(&self, request: &RequestId) -> Option<&SignedRequest> {
        let open = self
            .open
            .get(request)
            .and_then(|unit| unit.voiding.as_ref());
        let failed = self.failed.get(request);
        open.or_else(|| failed.and_then(|unit| unit.voiding.as_ref()))
    }

    /// The chip of a unit that is open, or failed and may be bound.
    #[must_use]
    pub fn chip_of(&self, request: &RequestId) -> Option<ChipUid> {
        let open = self.open.get(request).map(|unit| unit.keyed.uid);
        open.or_else(|| self.failed.get(request).map(|unit| unit.uid))
    }

    /// The open unit of a request.
    #[must_use]
    pub fn open_unit(&self, request: &RequestId) -> Option<&OpenUnit> {
        self.open.get(request)
    }

    /// The unit whose chip must sit in this socket.
    #[must_use]
    pub fn open_in(&self, socket: &Id) -> Option<&OpenUnit> {
        let in_sockets = self.open.values().filter(|unit| unit.aside.is_none());
        in_sockets
            .into_iter()
            .find(|unit| unit.keyed.socket == *socket)
    }

    /// Units that were set aside.
    pub fn aside(&self) -> impl Iterator<Item = &OpenUnit> {
        self.open.values().filter(|unit| unit.aside.is_some())
    }

    /// What is known of a chip from units that are done or dropped.
    #[must_use]
    pub fn known(&self, uid: &ChipUid) -> Option<KnownChip> {
        self.chips.get(uid).copied()
    }

    /// Whether this chip was the last that was done in this socket: then it may still sit there.
    #[must_use]
    pub fn was_last_in(&self, socket: &Id, uid: &ChipUid) -> bool {
        self.last.get(socket) == Some(uid)
    }

    /// Whether the serial needs a chip: not passed, not possibly bound, and not open.
    #[must_use]
    pub fn is_wanted(&self, lot: &Id, serial: &DeviceSerial) -> bool {
        let taken = self
            .serials
            .get(&(*lot, *serial))
            .is_some_and(|state| state.taken);
        !taken
            && !self
                .open
                .values()
                .any(|unit| unit.keyed.lot == *lot && unit.keyed.serial == *serial)
    }

    /// Units with a key that failed under this serial since it was last scrapped.
    #[must_use]
    pub fn failures(&self, lot: &Id, serial: &DeviceSerial) -> u32 {
        let state = self.serials.get(&(*lot, *serial));
        state.map_or(0, |state| state.failures)
    }

    /// Which attempt at a serial the next one is, from 1.
    #[must_use]
    pub fn next_attempt(&self, lot: &Id, serial: &DeviceSerial) -> u32 {
        self.serials
            .get(&(*lot, *serial))
            .map_or(0, |state| state.attempts)
            .saturating_add(1)
    }

    /// Units passed and failed since the journal began.
    #[must_use]
    pub const fn totals(&self) -> (u64, u64) {
        (self.passed_units, self.failed_units)
    }
}

/// Items under their common heading, in lists short enough for a line.
fn lists<K: Ord + Copy, T>(
    items: impl Iterator<Item = (K, T)>,
) -> impl Iterator<Item = (K, Vec<T>)> {
    let mut lists: BTreeMap<K, Vec<Vec<T>>> = BTreeMap::new();
    for (key, item) in items {
        let under = lists.entry(key).or_default();
        match under.last_mut() {
            Some(list) if list.len() < LIST => list.push(item),
            _ => under.push(vec![item]),
        }
    }
    lists
        .into_iter()
        .flat_map(|(key, under)| under.into_iter().map(move |list| (key, list)))
}

/// When a void was signed; one that cannot be read comes first, and is refused.
fn time_of(void: &SignedRequest) -> Option<Timestamp> {
    VoidRequest::from_bytes(&void.der)
        .map(|void| void.time)
        .ok()
}

fn not_open(request: RequestId) -> String {
    format!("request {request} is not open")
}

#[cfg(test)]
mod tests {
    use super::super::form::samples::{
        after, aside, bare, closed, issued, keyed, request, reseated, sent, voiding,
    };
    use super::*;

    fn wanted(history: &History) -> bool {
        history.is_wanted(
            &Id::new("26W48-A").unwrap(),
            &DeviceSerial::new("26480001001").unwrap(),
        )
    }

    #[test]
    fn a_serial_is_free_again_after_a_failure_unless_it_may_be_bound() {
        assert!(wanted(&after(&[])));
        assert!(!wanted(&after(&[keyed(1)])));
        assert!(wanted(&after(&[keyed(1), sent(1), closed(1)])));
        assert!(!wanted(&after(&[keyed(1), sent(1), issued(1), closed(1)])));
        let dropped = Entry {
            event: Event::Dropped,
            ..keyed(1)
        };
        assert!(wanted(&after(&[keyed(1), dropped])));
    }

    #[test]
    fn what_is_open_failed_or_void_did_not_pass() {
        let passed = |history: &History| {
            let serials = [DeviceSerial::new("26480001001").unwrap()];
            history.passed(&Id::new("26W48-A").unwrap(), serials.iter())
        };
        let bound = [keyed(1), sent(1), issued(1)];
        let mut history = after(&bound);
        assert_eq!(passed(&history), 0, "open");
        history.apply(&closed(1)).unwrap();
        assert_eq!(passed(&history), 0, "failed behind its binding");
        history.apply(&voiding(1)).unwrap();
        history.apply(&bare(1, Event::Voided)).unwrap();
        assert_eq!(passed(&history), 0, "void");
        let mut history = after(&bound);
        let mut pass = closed(1);
        if let Event::Closed(end) = &mut pass.event {
            (end.verdict, end.fault) = (Verdict::Pass, None);
        }
        history.apply(&pass).unwrap();
        assert_eq!(passed(&history), 1);
    }

    #[test]
    fn a_serial_whose_only_key_never_reached_a_chip_is_unused() {
        let (lot, serial) = (Id::new("26W48-A"), DeviceSerial::new("26480001001"));
        let (lot, serial) = (lot.unwrap(), serial.unwrap());
        let dropped = bare(1, Event::Dropped);
        let history = after(&[keyed(1), dropped.clone()]);
        assert_eq!(history.outcome(&lot, &serial), Outcome::Unused);
        // One that failed before is a failure still.
        let history = after(&[keyed(1), closed(1), keyed(1), dropped]);
        assert_eq!(history.outcome(&lot, &serial), Outcome::Failed);
    }

    #[test]
    fn a_void_frees_the_serial_and_never_the_chip() {
        let mut history = after(&[keyed(1), sent(1), issued(1), closed(1)]);
        assert_eq!(history.failed_units().count(), 1);
        history.apply(&voiding(1)).unwrap();
        assert_eq!(history.voids(), [request(1)]);
        assert!(!wanted(&history));
        let mut refused = history.clone();
        refused.apply(&bare(1, Event::VoidRefused)).unwrap();
        assert!(refused.voids().is_empty() && !wanted(&refused));
        history.apply(&bare(1, Event::Voided)).unwrap();
        assert!(wanted(&history));
        assert_eq!(history.failed_units().count(), 0);
        let uid = ChipUid::new(&[1, 0x23, 1]).unwrap();
        assert_eq!(history.known(&uid), Some(KnownChip::Sent));
    }

    #[test]
    fn a_unit_set_aside_leaves_its_socket_stays_open_and_comes_back() {
        let mut history = after(&[keyed(1), sent(1), aside(1)]);
        let (one, two) = (Id::new("1").unwrap(), Id::new("2").unwrap());
        assert_eq!(history.open_in(&one), None);
        assert_eq!(history.aside().count(), 1);
        assert!(!wanted(&history), "it may be bound");
        let again = after(&history.summary().0);
        assert_eq!(again.aside().count(), 1, "a compacted journal knows it");
        history.apply(&reseated(1, "2")).unwrap();
        assert_eq!(
            history.open_in(&two).map(|unit| unit.request),
            Some(request(1))
        );
        assert_eq!(history.aside().count(), 0);
    }

    #[test]
    #[expect(clippy::cognitive_complexity, reason = "one story of one serial")]
    fn a_serial_that_failed_often_enough_gets_no_chip_until_it_is_scrapped() {
        let (lot, serial) = (
            Id::new("26W48-A").unwrap(),
            DeviceSerial::new("26480001001").unwrap(),
        );
        let mut history = History::default();
        for attempt in 1..=3 {
            assert_eq!(history.next_attempt(&lot, &serial), attempt);
            assert!(!history.is_used_up(&lot, &serial, 3));
            let mut keyed = keyed(1);
            if let Event::Keyed(unit) = &mut keyed.event {
                unit.attempt = attempt;
            }
            history.apply(&keyed).unwrap();
            history.apply(&closed(1)).unwrap();
        }
        assert!(history.is_used_up(&lot, &serial, 3));
        assert!(!history.is_used_up(&lot, &serial, 4));
        let (_, summary) = history.summary();
        let mut compacted = History::default();
        summary.into_iter().for_each(|line| compacted.take(line));
        assert_eq!(compacted, history);

        let Event::Sent(signed) = sent(1).event else {
            panic!("a sample is what it is called")
        };
        let scrapping = Scrapping {
            lot,
            serial,
            unit: None,
            voided: false,
            signed,
            earlier: vec![super::super::form::HexHash(identity::RequestHash([7; 32]))],
        };
        let id = request(9);
        let announced = bare(9, Event::Scrapping(Box::new(scrapping)));
        let line = serde_json::to_string(&announced).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), announced);
        history.apply(&announced).unwrap();
        assert_eq!(history.scrappings(), [id]);
        history.apply(&bare(9, Event::Scrapped)).unwrap();
        assert!(history.apply(&bare(9, Event::Scrapped)).is_err());
        assert!(history.scrappings().is_empty());
        assert!(!history.is_used_up(&lot, &serial, 3));
        assert_eq!(history.outcome(&lot, &serial), Outcome::Scrapped);
        assert_eq!(history.boards(&lot).scrapped, 1);
        assert_eq!(history.next_attempt(&lot, &serial), 4);
        let (_, summary) = history.summary();
        let mut compacted = History::default();
        summary.into_iter().for_each(|line| compacted.take(line));
        assert_eq!(compacted, history);

        // The next board's key never reached its chip: the serial stands where it stood.
        let mut next = keyed(2);
        if let Event::Keyed(unit) = &mut next.event {
            (unit.serial, unit.attempt) = (serial, 4);
        }
        history.apply(&next).unwrap();
        assert_eq!(history.outcome(&lot, &serial), Outcome::Held);
        history.apply(&bare(2, Event::Dropped)).unwrap();
        assert_eq!(history.outcome(&lot, &serial), Outcome::Scrapped);
    }

    /// As docs/station.md says: an attempt counts from the entry before the key goes to the chip.
    #[test]
    fn what_ends_before_its_key_is_no_attempt() {
        let lot = Id::new("26W48-A").unwrap();
        let serial = DeviceSerial::new("26480001001").unwrap();
        let counted = |entries: &[Entry]| {
            let history = after(entries);
            let failures = history.failures(&lot, &serial);
            (history.next_attempt(&lot, &serial), failures)
        };
        assert_eq!(counted(&[closed(1), closed(1)]), (1, 0));
        assert_eq!(counted(&[keyed(1), closed(1)]), (2, 1));
    }

    #[test]
    fn what_never_failed_cannot_be_void() {
        assert!(after(&[keyed(1)]).apply(&bare(1, Event::Voided)).is_err());
        assert!(History::default().apply(&voiding(1)).is_err());
    }

    #[test]
    fn a_step_of_a_unit_that_is_not_open_is_damage() {
        assert!(History::default().apply(&sent(1)).is_err());
        assert!(after(&[keyed(1)]).apply(&keyed(1)).is_err());
    }

    #[test]
    fn the_last_chip_of_a_socket_and_its_past_are_known() {
        let history = after(&[keyed(1), sent(1), closed(1), keyed(2)]);
        let uid = ChipUid::new(&[1, 0x23, 1]).unwrap();
        let socket = Id::new("1").unwrap();
        assert!(history.was_last_in(&socket, &uid));
        assert_eq!(history.known(&uid), Some(KnownChip::Sent));
        assert_eq!(
            history.open_in(&socket).map(|unit| unit.request),
            Some(request(2))
        );
        assert_eq!(history.totals(), (0, 1));
    }
}
