//! The whole way with a key in a PKCS#11 token. A module is initialised once a process and finds its tokens through
//! the environment, so the test runs itself again as a child.

use crate::keys::{issuing_certificate, public};
use crate::world::*;
use identity::{PortableVerifier, TbsHash, VerifyP256 as _};
use keyvault::rcgen_key::RcgenKey;
use keyvault::{Key, KeySpec, KeyUse, Module, Pin};
use signer::message::Answer;
use signer::{CaKey as _, VaultCaKey};
use std::path::Path;
use std::process::Command;

/// Set in the child: the module under test.
const MODULE: &str = "SIGNER_TEST_MODULE";

#[test]
fn certificates_are_signed_with_a_key_in_a_token() {
    if let Some(module) = std::env::var_os(MODULE) {
        return sign_with_a_token(Path::new(&module));
    }
    // Tests lie one level deeper than libraries.
    let here = std::env::current_exe().unwrap();
    let simulator = here.ancestors().nth(2).unwrap().join("libhsm_sim.so");
    assert!(
        simulator.exists(),
        "run `make build`: {simulator:?} is not there"
    );
    for module in [Path::new("/usr/lib/softhsm/libsofthsm2.so"), &simulator] {
        in_a_child(module);
    }
}

fn in_a_child(module: &Path) {
    let tokens = tempfile::tempdir().unwrap();
    let configuration = tokens.path().join("softhsm2.conf");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.path().display()
    );
    std::fs::write(&configuration, text).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "token::certificates_are_signed_with_a_key_in_a_token",
            "--nocapture",
        ])
        .env(MODULE, module)
        .env("SOFTHSM2_CONF", &configuration)
        .env("HSM_SIM_TOKENS", tokens.path())
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{}: {text}",
        module.display()
    );
}

fn issuing_key(module: &Path) -> Key {
    let pin = |text: &str| Pin::new(text.to_owned());
    let module = Module::load(module).unwrap();
    module
        .init_token("issuing", &pin("so-4711-4711"), &pin("user-0815-0815"))
        .unwrap();
    let token = module.open("issuing", pin("user-0815-0815")).unwrap();
    let log = token
        .generate(&KeySpec::new("log", KeyUse::RootCa).unwrap())
        .unwrap();
    assert!(
        VaultCaKey::new(log).is_err(),
        "a key of another use was taken"
    );
    token
        .generate(&KeySpec::new("issuing CA 2026", KeyUse::IssuingCa).unwrap())
        .unwrap()
}

fn sign_with_a_token(module: &Path) {
    let key = issuing_key(module);
    let issuing = RcgenKey::new(key.clone())
        .sign(|key| Ok(issuing_certificate(key)))
        .unwrap();
    let ca = VaultCaKey::new(key).unwrap();
    let mut world = World::with_ca(issuing);
    world.enter_ceremony();
    world.enter_station();
    world.enter_grant();
    let births = world.births(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let items: Vec<_> = births.iter().map(|birth| world.bind(birth)).collect();
    let mut signer = world.try_open(Box::new(ca.clone())).unwrap();
    let first = answers(world.ask(&mut signer, &items)).unwrap();
    for (item, answer) in items.iter().zip(&first) {
        let Answer::Signed(signature) = answer else {
            panic!("{answer:?}")
        };
        let digest = TbsHash::of(item.tbs.as_bytes());
        assert!(PortableVerifier.verify(&ca.public_key(), digest.as_bytes(), &signature.0));
        let certificate = identity::idevid::assemble(item.tbs.as_bytes(), &signature.0).unwrap();
        assert_eq!(
            identity::idevid::parse_certificate(&certificate)
                .unwrap()
                .key,
            public(&crate::keys::key(
                1000 + u16::try_from(item.index - 2).unwrap()
            ))
        );
    }
    drop(signer);
    let mut signer = world.try_open(Box::new(ca)).unwrap();
    assert_eq!(answers(world.ask(&mut signer, &items)).unwrap(), first);
}
