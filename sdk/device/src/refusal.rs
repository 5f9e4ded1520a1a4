//! Why a chip or its handler refuses, with numbers that never change.

use crate::memory::MemoryError;
use crate::wire::Malformed;
use core::fmt;
use identity::sources::EntropyError;

/// Who has to act on a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The station asked what it should not have asked.
    Station,
    /// The chip is broken or spent.
    Chip,
    /// The handler, or what lies in its tray.
    Handler,
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $fault:ident, $text:literal;)*) => {
        /// Why a question was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Refusal {
            $($(#[$doc])* $name,)*
            /// A code this version does not know.
            Other(u16),
        }

        impl Refusal {
            /// The number on the wire; 0 is not among them, it stands for success.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Other(code) => code,
                }
            }

            /// Reads [`Self::code`] back.
            #[must_use]
            pub const fn from_code(code: u16) -> Self {
                match code {
                    $($code => Self::$name,)*
                    other => Self::Other(other),
                }
            }

            /// Who has to act.
            #[must_use]
            pub const fn fault(self) -> Fault {
                match self {
                    $(Self::$name => Fault::$fault,)*
                    Self::Other(_) => Fault::Chip,
                }
            }
        }

        impl fmt::Display for Refusal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.write_str($text),)*
                    Self::Other(code) => write!(f, "refused with the unknown code {code}"),
                }
            }
        }

        #[cfg(test)]
        const ALL: &[(Refusal, u16)] = &[$((Refusal::$name, $code)),*];
    };
}

refusals! {
    /// No such command.
    UnknownCommand = 1, Station, "the chip does not know this command";
    /// The payload is not what its kind promises.
    Malformed = 2, Station, "the payload is malformed";
    /// Not a session of this chip's present power cycle: identify first.
    NoSession = 3, Station, "no session: the chip has lost power, or another station has spoken to it";
    /// The last sequence number again, with other content.
    SequenceReused = 4, Station, "the sequence number was used for another question";
    /// The fixed key is burnt.
    AlreadyBurnt = 5, Station, "the chip is burnt";
    /// The lock word is torn: scrap.
    Torn = 6, Chip, "the lock word is torn";
    /// Needs a burnt key.
    NotBurnt = 7, Station, "the chip is not burnt";
    /// There is no key in RAM to burn.
    NoKey = 8, Station, "there is no key to burn";
    /// The key named is not the chip's.
    WrongKey = 9, Station, "the chip holds another key than the one named";
    /// No transport key is waiting for an injection.
    NoTransport = 10, Station, "no transport key is waiting";
    /// The wrapped key does not unwrap (RFC 5649 integrity check).
    Unwrap = 12, Station, "the wrapped key does not unwrap";
    /// What was wrapped is not a P-256 private key in PKCS#8.
    NotAKey = 13, Station, "what was wrapped is not a P-256 private key";
    /// The public key that came with the private key is not its own.
    KeyMismatch = 14, Station, "the wrapped public key does not belong to the private key";
    /// The fixed key was injected; the chip cannot attest that it was made inside.
    NotMadeHere = 15, Station, "the fixed key was not made in the chip";
    /// No whole certificate is stored.
    NoCertificate = 16, Station, "no whole certificate is stored";
    /// Offset or length outside the certificate area, or not where the last part ended.
    CertificateRange = 17, Station, "this part of the certificate does not fit here";
    /// Keys are not read back.
    KeyReadDenied = 18, Station, "the fixed key cannot be read";
    /// The memory failed, or what was written did not read back.
    MemoryFault = 19, Chip, "the chip's memory failed";
    /// The chip's source of randomness failed.
    EntropyFault = 20, Chip, "the chip's source of randomness failed";
    /// The attestation key is unusable.
    AttestationFault = 21, Chip, "the chip's attestation key is unusable";
    /// The socket is empty.
    NoChip = 64, Handler, "the socket is empty";
    /// The socket is not at the position the question starts from.
    WrongPosition = 65, Station, "the socket is at another position";
    /// The chip in the socket cannot be powered, or the handler is jammed.
    HandlerFault = 66, Handler, "the handler failed";
}

impl core::error::Error for Refusal {}

impl From<Malformed> for Refusal {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<MemoryError> for Refusal {
    fn from(_: MemoryError) -> Self {
        Self::MemoryFault
    }
}

impl From<EntropyError> for Refusal {
    fn from(_: EntropyError) -> Self {
        Self::EntropyFault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back_and_differ() {
        for (at, (refusal, code)) in ALL.iter().enumerate() {
            assert_ne!(*code, 0);
            assert_eq!(Refusal::from_code(refusal.code()), *refusal);
            assert!(ALL.iter().skip(at + 1).all(|(_, other)| other != code));
        }
        assert_eq!(Refusal::from_code(999), Refusal::Other(999));
    }
}
