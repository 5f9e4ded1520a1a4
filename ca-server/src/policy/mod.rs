//! Policy files: what people write and review, turned once into the documents that are signed, logged and checked.
//!
//! A policy directory holds `makers/`, `products/`, `vendors/`, `grants/`, `lots/`, `stations/`, `roles/` and
//! `ceremony/`. A file is capped at [`MAX_FILE`] bytes before it is parsed, an unknown key is refused, and every
//! error names file, line, column, key and what to do next. Nothing here is trusted at issuance: the corridor works
//! on the approved documents alone.

mod ceremony;
mod check;
mod error;
mod explain;
mod grant;
mod lot;
mod maker;
mod product;
mod roles;
mod source;
mod station;
mod template;
mod value;

#[cfg(test)]
mod sample;

pub use ceremony::{ApproverPlan, AuthorityPlan, CeremonyPlan, TokenKey, load_ceremony};
pub use check::check_dir;
pub use error::{Finding, Place, PolicyError, PolicyFault};
pub use grant::{GrantProposal, load_grant};
pub use identity::serial_pattern::{PatternError, SerialPattern};
pub use lot::{collide, load_lot};
pub use maker::{Applicant, CorporateNumber, Maker, load_maker};
pub use product::{Product, load_product};
pub use roles::{Role, RoleTable, load_roles};
pub use source::MAX_FILE;
pub use station::{StationKeys, StationPlan, load_station};
pub(crate) use value::rfc3339;
pub use value::{DisplayName, Names};
