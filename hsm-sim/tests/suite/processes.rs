//! Several processes with one token directory.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;
use std::path::Path;

use crate::harness::{P256, USER_PIN, child, key_pair, on_simulator, pin};

const WRITERS: usize = 4;
const KEYS: usize = 8;

/// What the other process does: it makes keys on the only token.
#[test]
#[ignore = "started by `writers_in_several_processes_lose_nothing`"]
fn another_writer() {
    crate::harness::run("suite::processes::another_writer", &[], |hsm| {
        let context = hsm.load();
        let slot = context.get_slots_with_initialized_token().unwrap()[0];
        let session = context.open_rw_session(slot).unwrap();
        session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
        for number in 0..KEYS {
            let label = format!("{} {number}", std::process::id());
            let (_, private) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, &label);
            session.sign(&Mechanism::Ecdsa, private, &[1; 32]).unwrap();
        }
    });
}

fn start(module: &Path, directory: &Path) -> std::process::Child {
    let mut command = child("suite::processes::another_writer", module, directory);
    command.stdout(std::process::Stdio::null());
    command.spawn().unwrap()
}

on_simulator!(writers_in_several_processes_lose_nothing, |hsm| {
    let (_context, session) = hsm.logged_in();
    let mut writers: Vec<_> = (0..WRITERS)
        .map(|_| start(&hsm.module, &hsm.directory))
        .collect();
    let (_, ours) = key_pair(&session, &Mechanism::EccKeyPairGen, P256, "ours");
    for _ in 0..KEYS {
        session.find_objects(&[]).unwrap();
        session.sign(&Mechanism::Ecdsa, ours, &[1; 32]).unwrap();
    }
    for writer in &mut writers {
        assert!(writer.wait().unwrap().success());
    }
    let keys = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]);
    assert_eq!(keys.unwrap().len(), WRITERS * KEYS + 1);
    session.sign(&Mechanism::Ecdsa, ours, &[1; 32]).unwrap();
});
