//! Simulated chips in a simulated gang programmer.
//!
//! A [`ChipFile`] is one chip's persistent memory; [`koseki_device::Chip`], the code that firmware runs, lives on it.
//! A [`Socket`] holds one chip at a time and is fed by its part of the [`Tray`]; [`serve`] puts every socket on a
//! line of its own, over TCP or a pseudoterminal. [`Vendor`] makes and endorses chips.

mod entropy;
mod error;
mod gang;
mod line;
mod make;
mod memory;
mod socket;
mod tray;
mod trouble;
mod vendor;

pub use entropy::{OsEntropy, SeededEntropy};
pub use error::ChipError;
pub use gang::serve;
pub use line::Line;
pub use make::{Batch, make_chips};
pub use memory::ChipFile;
pub use socket::Socket;
pub use tray::Tray;
pub use trouble::{Trouble, Troubles};
pub use vendor::Vendor;
