//! Whether the corridor's threads go on.

use vitals::Pulse;

/// What was seen of them at the last look.
pub(crate) type Look = vitals::Look<3>;

/// The pulses of the corridor's threads.
#[derive(Debug, Default)]
pub(crate) struct Pulses {
    /// The writer's.
    pub(crate) writer: Pulse,
    /// The finisher's.
    pub(crate) finisher: Pulse,
    /// The releaser's.
    pub(crate) releaser: Pulse,
}

impl Pulses {
    /// Looks again; gives the name of a thread that is in the same piece of work as at the last look.
    pub(crate) fn stuck(&self, last: &mut Look) -> Option<&'static str> {
        last.stuck([
            ("writer", &self.writer),
            ("finisher", &self.finisher),
            ("releaser", &self.releaser),
        ])
    }
}
