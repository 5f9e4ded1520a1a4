//! Stations on the line, as far as the CA sees them: each envelope is journalled before it is sent, and sent again
//! with the same bytes until there is an answer. Chips are keys in software.

use super::Chance;
use super::ground::{self, Chip, Ground, LOTS, STATIONS};
use ca_server::issuance::{Call, Corridor, Issued, Refusal, Session};
use identity::document::{Document as _, Version1};
use identity::envelope::{
    ConfirmRequest, Envelope, Purpose, Signature, StationRequest, Unit, VoidRequest, request_hash,
};
use identity::hash::RequestHash;
use identity::message::{Confirmation, Message as _, Possession};
use identity::{CertificateHash, PartNumber, RequestId, Timestamp};

/// Bytes and signature, as they are sent.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub(super) bytes: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

/// What the line means to do with a unit that has its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// Confirm it.
    Confirm,
    /// Void it.
    Void,
    /// Confirm it at one end and void it at the other.
    Both,
    /// The station dies; another adopts it.
    Leave,
}

/// Where a unit stands, as its station knows.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Asked for.
    Asking,
    /// It has its certificate.
    Given(Box<Issued>),
    /// All that the line wanted is done.
    Done,
    /// Refused for good, or in other hands.
    Over,
}

/// A unit in an envelope.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) chip: usize,
    pub(super) serial: u32,
    pub(super) request: RequestId,
    pub(super) intent: Intent,
    pub(super) stage: Stage,
    /// What is still to be acknowledged once it is given: confirmation, void.
    pub(super) owed: [Option<Sealed>; 2],
}

/// An envelope of one station, and what became of its units.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) station: usize,
    pub(super) lot: usize,
    pub(super) purpose: Purpose,
    pub(super) pieces: Vec<Piece>,
    pub(super) sealed: Option<Sealed>,
}

/// One message of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The envelope.
    Provision,
    /// The confirmation of a unit.
    Confirm(usize),
    /// The void of a unit.
    Void(usize),
}

impl Kind {
    pub(super) const fn call(self) -> Call {
        match self {
            Self::Provision => Call::Provision,
            Self::Confirm(_) => Call::Confirm,
            Self::Void(_) => Call::Void,
        }
    }
}

impl Work {
    /// The morning's work of a seed: 14 to 20 units in envelopes of one to three, a few of them clones or with a serial
    /// that another has.
    pub(super) fn morning(chance: &mut Chance) -> Vec<Self> {
        let count = 14 + chance.place(7);
        let mut chips: Vec<usize> = (0..count).collect();
        for _ in 0..2 {
            let at = chance.place(chips.len());
            chips.insert(at, ground::CHIPS + chance.place(ground::CLONES));
        }
        let (mut works, mut number) = (Vec::new(), 0);
        while !chips.is_empty() {
            let size = (1 + chance.place(3)).min(chips.len());
            let pieces = chips.drain(..size).map(|chip| {
                number += 1;
                let serial = if chance.one_in(16) { 1 } else { number };
                Piece::new(chip, serial, chance)
            });
            let pieces: Vec<Piece> = pieces.collect();
            let station = chance.place(STATIONS.len());
            let lot = chance.place(LOTS.len());
            // A serial is of one lot: who takes another's takes it from there.
            let first = works.first().map(|first: &Self| first.lot);
            let is_anothers = pieces.iter().any(|piece| piece.serial == 1);
            works.push(Self {
                station,
                lot: first.filter(|_| is_anothers).unwrap_or(lot),
                purpose: Purpose::Provision,
                pieces,
                sealed: None,
            });
        }
        works
    }

    /// The other station takes over a unit of this envelope.
    pub(super) fn adopted(&self, piece: usize, chance: &mut Chance) -> Self {
        let old = &self.pieces[piece];
        let mut new = Piece::new(old.chip, old.serial, chance);
        new.intent = Intent::Confirm;
        Self {
            station: (self.station + 1) % STATIONS.len(),
            lot: self.lot,
            purpose: Purpose::Adopt,
            pieces: vec![new],
            sealed: None,
        }
    }

    /// Asks for challenges and signs the envelope. Requests keep their ids, however often it is signed.
    pub(super) fn seal(
        &mut self,
        ground: &Ground,
        corridor: &Corridor,
        now: u64,
        seen: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        let station = ground::id(STATIONS[self.station]);
        let chips = self.pieces.iter().map(|it| &ground.chips[it.chip]);
        let uids: Vec<_> = chips.map(|chip| chip.uid).collect();
        let challenges = corridor.offer(&station, &Session::default(), &uids)?;
        let units = self.pieces.iter().zip(challenges);
        let units = units.map(|(piece, challenge)| self.unit(ground, piece, &challenge.bytes));
        let envelope = Envelope {
            version: Version1,
            purpose: self.purpose,
            station,
            time: Timestamp(now),
            grant: ground.grant.hash(),
            lot: ground::id(LOTS[self.lot]),
            seen: seen.map(ground::octets),
            units: units.collect(),
        };
        self.sealed = Some(self.sealed_by(&envelope));
        Ok(())
    }

    fn unit(&self, ground: &Ground, piece: &Piece, challenge: &[u8]) -> Unit {
        let chip = &ground.chips[piece.chip];
        let serial = ground::serial(self.lot, piece.serial);
        let possession = Possession {
            challenge,
            request: &piece.request,
            uid: &chip.uid,
            serial: &serial,
            spki: &chip.public.spki_hash(),
            grant: &ground.grant.hash(),
            station: &ground::id(STATIONS[self.station]),
        };
        Unit {
            request: piece.request,
            uid: chip.uid,
            part: PartNumber::new("CHIP-1").expect("a part number"),
            serial,
            key: ground::octets(&chip.public.spki()),
            challenge: ground::octets(challenge),
            possession: sign(chip, &possession.digest()),
            evidence: chip.evidence.clone(),
            observations: Vec::new(),
        }
    }

    /// A unit has its certificate: what the line wants of it is signed and journalled.
    pub(super) fn given(&mut self, at: usize, ground: &Ground, issued: Issued, now: u64) {
        let station = ground::id(STATIONS[self.station]);
        let piece = &self.pieces[at];
        let chip = &ground.chips[piece.chip];
        let certificate = CertificateHash::of(&issued.certificate);
        let message = Confirmation {
            nonce: &issued.nonce,
            certificate: &certificate,
            leaf: &issued.leaf,
        };
        let confirm = ConfirmRequest {
            version: Version1,
            station,
            time: Timestamp(now),
            request: piece.request,
            leaf: issued.leaf,
            certificate,
            signature: sign(chip, &message.digest()),
        };
        let void = VoidRequest {
            version: Version1,
            station,
            time: Timestamp(now),
            request: piece.request,
            reason: ground::id("LINE-0111"),
        };
        let owed = match piece.intent {
            Intent::Confirm => [Some(self.sealed_by(&confirm)), None],
            Intent::Void => [None, Some(self.sealed_by(&void))],
            Intent::Both => [Some(self.sealed_by(&confirm)), Some(self.sealed_by(&void))],
            Intent::Leave => [None, None],
        };
        let piece = &mut self.pieces[at];
        piece.stage = Stage::Given(Box::new(issued));
        piece.owed = owed;
    }

    /// The bytes of a message, if it is still to be sent.
    pub(super) fn message(&self, kind: Kind) -> Option<&Sealed> {
        match kind {
            Kind::Provision => self
                .sealed
                .as_ref()
                .filter(|_| self.pieces.iter().any(Piece::is_asking)),
            Kind::Confirm(at) => self.pieces[at].owed[0].as_ref(),
            Kind::Void(at) => self.pieces[at].owed[1].as_ref(),
        }
    }

    /// What the envelope is called in the log.
    pub(super) fn name(&self) -> Option<RequestHash> {
        let sealed = self.sealed.as_ref()?;
        Some(request_hash::<Envelope>(&sealed.bytes))
    }

    /// Whether nothing is open.
    pub(super) fn is_over(&self) -> bool {
        self.pieces.iter().all(Piece::is_over)
    }

    fn sealed_by<R: StationRequest>(&self, request: &R) -> Sealed {
        let bytes = request.to_bytes();
        let key = ground::request_key(self.station);
        let signature = ground::sign(&key, &request_hash::<R>(&bytes).0);
        Sealed {
            bytes,
            signature: signature.0.to_vec(),
        }
    }
}

impl Piece {
    fn new(chip: usize, serial: u32, chance: &mut Chance) -> Self {
        let mut request = [0; 16];
        request[..8].copy_from_slice(&chance.number().to_be_bytes());
        request[8..].copy_from_slice(&chance.number().to_be_bytes());
        let intent = match chance.below(8) {
            0 => Intent::Void,
            1 => Intent::Both,
            2 => Intent::Leave,
            _ => Intent::Confirm,
        };
        Self {
            chip,
            serial,
            request: RequestId(request),
            intent,
            stage: Stage::Asking,
            owed: [None, None],
        }
    }

    pub(super) fn is_asking(&self) -> bool {
        matches!(self.stage, Stage::Asking)
    }

    pub(super) fn is_over(&self) -> bool {
        match self.stage {
            Stage::Asking => false,
            Stage::Given(_) => self.owed.iter().all(Option::is_none),
            Stage::Done | Stage::Over => true,
        }
    }
}

fn sign(chip: &Chip, digest: &[u8; 32]) -> Signature {
    ground::sign(&chip.key, digest)
}
