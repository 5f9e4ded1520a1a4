use super::Selection;
use super::floors::Floors;
use super::load::at_once;
use super::report::Row;
use crate::factory::Factory;
use crate::failure::{Failure, Outcome};
use crate::soft::SoftKey;
use identity::P256Key;
use keyvault::{Key, KeySpec, KeyUse, Module, Pin, Token};
use std::time::Duration;

/// Sockets that are served at once.
const LEVELS: [u32; 3] = [1, 2, 8];
/// How long each level is measured.
const SPAN: Duration = Duration::from_secs(2);

/// A fixed key made in the line HSM, wrapped to a chip's transport key, and the receipt over it; then the key destroyed.
pub(super) fn rows(factory: &Factory, floors: &Floors, selection: &Selection) -> Outcome<Vec<Row>> {
    let module = Module::load(factory.module().path()).map_err(Failure::new)?;
    let token = module
        .open("bench", Pin::new("bench-4711-0815".to_owned()))
        .map_err(Failure::new)?;
    let spec = KeySpec::new("bench-receipt", KeyUse::StationReceipt).map_err(Failure::new)?;
    let receipt = token.generate(&spec).map_err(Failure::new)?;
    let chip = SoftKey::generate()?.public()?;
    let levels = LEVELS
        .into_iter()
        .filter(|level| selection.takes("injection", *level));
    levels
        .map(|level| {
            let times = at_once((level, SPAN), || one(&token, &receipt, &chip))?;
            let row = times.row("injection", factory.module().hsm().name(), level);
            Ok(row.beside(floors.injection(level)))
        })
        .collect()
}

fn one(token: &Token, receipt: &Key, chip: &P256Key) -> Outcome<()> {
    let info = |module: &[u8; 65]| [chip.sec1().as_slice(), module].concat();
    let injection = token.inject(chip.sec1(), info).map_err(Failure::new)?;
    let digest = identity::hash::sha256(&injection.wrapped);
    receipt.sign_p256_digest(&digest).map_err(Failure::new)?;
    injection.pending.destroy().map_err(Failure::new)
}
