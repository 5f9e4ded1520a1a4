use super::floors::Floors;
use super::load::repeated;
use super::report::Row;
use crate::factory::Factory;
use crate::failure::{Failure, Outcome};
use crate::soft::SoftKey;
use keyvault::{KeySpec, KeyUse, Module, Pin};

/// A fixed key made in the line HSM, wrapped to a chip's transport key, and the receipt over it.
pub(super) fn rows(factory: &Factory, floors: &Floors) -> Outcome<Vec<Row>> {
    let module = Module::load(factory.module().path()).map_err(Failure::new)?;
    let token = module
        .open("bench", Pin::new("bench-4711-0815".to_owned()))
        .map_err(Failure::new)?;
    let spec = KeySpec::new("bench-receipt", KeyUse::StationReceipt).map_err(Failure::new)?;
    let receipt = token.generate(&spec).map_err(Failure::new)?;
    let chip = SoftKey::generate()?.public()?;
    let times = repeated(|| {
        let info = |module: &[u8; 65]| [chip.sec1().as_slice(), module].concat();
        let injection = token.inject(chip.sec1(), info).map_err(Failure::new)?;
        let digest = identity::hash::sha256(&injection.wrapped);
        receipt.sign_p256_digest(&digest).map_err(Failure::new)?;
        injection.pending.destroy().map_err(Failure::new)
    })?;
    let row = times.row("injection", factory.module().hsm().name(), 1);
    Ok(vec![row.beside(floors.injection())])
}
