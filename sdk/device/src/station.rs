//! The station's end without IO and without a clock: one question at a time.

use crate::frame::{ACK_LEN, Decoder, Frame, FrameBuffer, Header, MAX_PAYLOAD};
use crate::refusal::Refusal;
use crate::request::{Kind, Request};
use crate::wire::{Reader, Writer};
use core::fmt;
use identity::hash::Sink as _;

/// Why a question could not be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskError {
    /// The payload does not fit into a frame.
    TooLong,
    /// The session has used up its sequence numbers: identify again.
    SessionSpent,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the question does not fit into a frame",
            Self::SessionSpent => "the session has used up its sequence numbers",
        })
    }
}

impl core::error::Error for AskError {}

/// Why an answer is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// The chip or the handler refused.
    Refused(Refusal),
    /// The chip acted on other bytes than were sent; the line, or somebody on it, alters them.
    Altered,
    /// The answer is not what its kind promises.
    Malformed,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Altered => f.write_str("the chip acted on other bytes than were sent"),
            Self::Malformed => f.write_str("the answer is malformed"),
        }
    }
}

impl core::error::Error for AnswerError {}

/// What came of received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Nothing for the open question yet.
    Nothing,
    /// The answer is here: [`Station::body`].
    Answer,
    /// The question is closed, without an answer that is any good.
    Failed(AnswerError),
}

/// What to do when a tick has passed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick<'a> {
    /// No question is open.
    Quiet,
    /// Send this again.
    Resend(&'a [u8]),
    /// The last attempt had no answer either; whether the chip acted is unknown. Identify to find out.
    GaveUp,
}

/// The station's end: frames questions, repeats them, checks and opens answers.
pub struct Station {
    session: u32,
    sequence: u16,
    attempts: u8,
    sent: FrameBuffer,
    decoder: Decoder,
    inbox: Inbox,
}

impl Station {
    /// With the number of the first session, best random so that two stations' sessions differ, and how often a
    /// question is sent at most (0 counts as 1).
    #[must_use]
    pub const fn new(session: u32, attempts: u8) -> Self {
        Self {
            session,
            sequence: 0,
            attempts,
            sent: FrameBuffer::new(),
            decoder: Decoder::new(),
            inbox: Inbox {
                open: None,
                body: [0; MAX_PAYLOAD],
                len: 0,
            },
        }
    }

    /// Opens a question and gives the frame to send. [`Request::Identify`] opens a new session. A question that is
    /// still open is dropped.
    ///
    /// # Errors
    /// [`AskError`]
    pub fn ask(&mut self, request: &Request<'_>) -> Result<&[u8], AskError> {
        self.inbox.open = None;
        let header = self.next_header(request.kind())?;
        let mut payload = self.sent.payload();
        request.write(&mut payload);
        let len = payload.written().ok_or(AskError::TooLong)?;
        self.sent.seal(header, len);
        let ack = self
            .sent
            .frame()
            .map(|frame| frame.ack())
            .ok_or(AskError::TooLong)?;
        self.inbox.open = Some(Open {
            header: header.answer(),
            ack,
            attempts_left: self.attempts.saturating_sub(1),
        });
        Ok(self.sent.as_bytes())
    }

    /// Takes what the line brought. Answers to other questions, echoes and noise are passed over.
    pub fn receive(&mut self, bytes: &[u8]) -> Received {
        let Self { decoder, inbox, .. } = self;
        let mut outcome = Received::Nothing;
        decoder.feed(bytes, |frame| inbox.take(&frame, &mut outcome));
        outcome
    }

    /// The body of the last answer.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.inbox.body.get(..self.inbox.len).unwrap_or_default()
    }

    /// A time without an answer has passed; how long it is, is the caller's to say. A frame that was held back by
    /// noise is looked at before anything is sent again.
    pub fn tick(&mut self) -> (Received, Tick<'_>) {
        let Self { decoder, inbox, .. } = self;
        let mut outcome = Received::Nothing;
        decoder.idle(|frame| inbox.take(&frame, &mut outcome));
        let tick = match &mut self.inbox.open {
            None => Tick::Quiet,
            Some(open) if open.attempts_left > 0 => {
                open.attempts_left -= 1;
                Tick::Resend(self.sent.as_bytes())
            }
            Some(_) => {
                self.inbox.open = None;
                Tick::GaveUp
            }
        };
        (outcome, tick)
    }

    fn next_header(&mut self, kind: Kind) -> Result<Header, AskError> {
        if kind == Kind::Identify {
            self.session = self.session.wrapping_add(1);
            self.sequence = 0;
        }
        self.sequence = self.sequence.checked_add(1).ok_or(AskError::SessionSpent)?;
        Ok(Header {
            kind: kind.code(),
            session: self.session,
            sequence: self.sequence,
        })
    }
}

impl fmt::Debug for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Station(session {:08x}, sequence {})",
            self.session, self.sequence
        )
    }
}

/// The open question and the body of the last answer.
struct Inbox {
    open: Option<Open>,
    body: [u8; MAX_PAYLOAD],
    len: usize,
}

/// The question that waits for its answer.
#[derive(Clone, Copy)]
struct Open {
    header: Header,
    ack: [u8; ACK_LEN],
    attempts_left: u8,
}

impl Inbox {
    fn take(&mut self, frame: &Frame<'_>, outcome: &mut Received) {
        let Some(question) = self.open.filter(|question| question.header == frame.header) else {
            return;
        };
        self.open = None;
        *outcome = match check(frame.payload, &question.ack) {
            Ok(body) => {
                Writer::new(&mut self.body).put(body);
                self.len = body.len();
                Received::Answer
            }
            Err(error) => Received::Failed(error),
        };
    }
}

/// The body behind acknowledgement and code.
fn check<'a>(payload: &'a [u8], ack: &[u8; ACK_LEN]) -> Result<&'a [u8], AnswerError> {
    let mut reader = Reader::new(payload);
    let (Ok(acked), Ok(code)) = (reader.array::<ACK_LEN>(), reader.u16()) else {
        return Err(AnswerError::Malformed);
    };
    match code {
        _ if acked != *ack => Err(AnswerError::Altered),
        0 => Ok(reader.rest()),
        code => Err(AnswerError::Refused(Refusal::from_code(code))),
    }
}
