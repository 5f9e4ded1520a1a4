//! Tokens, PINs, sessions.

use cryptoki::context::{CInitializeArgs, CInitializeFlags};
use cryptoki::error::RvError;
use cryptoki::object::Attribute;
use cryptoki::session::{SessionState, UserType};
use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{SO_PIN, USER_PIN, new_token, on_both, on_simulator, pin, refusal};

on_both!(a_free_slot_follows_the_tokens, |hsm| {
    let context = hsm.load();
    assert_eq!(context.get_all_slots().unwrap().len(), 1);
    for (count, label) in ["one", "two", "three"].into_iter().enumerate() {
        new_token(&context, label);
        assert_eq!(context.get_all_slots().unwrap().len(), count + 2);
    }
    let free = *context.get_all_slots().unwrap().last().unwrap();
    let info = context.get_token_info(free).unwrap();
    assert!(!info.token_initialized());
    assert!(context.get_slot_info(free).unwrap().token_present());
    context.open_rw_session(free).unwrap_err();
});

on_simulator!(slots_and_serials_stay_the_same, |hsm| {
    let context = hsm.load();
    let facts = |context: &cryptoki::context::Pkcs11| {
        let slots = context.get_slots_with_initialized_token().unwrap();
        let fact = |slot| {
            let info = context.get_token_info(slot).unwrap();
            (
                slot.id(),
                info.label().to_owned(),
                info.serial_number().to_owned(),
            )
        };
        slots.into_iter().map(fact).collect::<Vec<_>>()
    };
    new_token(&context, "one");
    new_token(&context, "two");
    let before = facts(&context);
    context.finalize().unwrap();
    assert_eq!(facts(&hsm.load()), before);
    let mode = std::fs::metadata(hsm.tokens())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    for entry in std::fs::read_dir(hsm.tokens()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
});

on_simulator!(the_library_tells_of_itself, |hsm| {
    let (context, slot) = hsm.with_token();
    let info = context.get_library_info().unwrap();
    assert_eq!(
        (
            info.cryptoki_version().major(),
            info.cryptoki_version().minor()
        ),
        (3, 0)
    );
    let again = context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    assert_eq!(refusal(again), RvError::CryptokiAlreadyInitialized);
    for mechanism in context.get_mechanism_list(slot).unwrap() {
        context.get_mechanism_info(slot, mechanism).unwrap();
    }
    assert_eq!(
        refusal(context.get_mechanism_info(slot, cryptoki::mechanism::MechanismType::RSA_PKCS)),
        RvError::MechanismInvalid
    );
    let mut one = [0; 32];
    let mut two = [0; 32];
    let session = context.open_ro_session(slot).unwrap();
    session.generate_random_slice(&mut one).unwrap();
    session.generate_random_slice(&mut two).unwrap();
    assert_ne!(one, two);
    assert_eq!(
        refusal(session.seed_random(&one)),
        RvError::RandomSeedNotSupported
    );
});

on_both!(session_states_follow_the_login, |hsm| {
    let (context, slot) = hsm.with_token();
    let reading = context.open_ro_session(slot).unwrap();
    let writing = context.open_rw_session(slot).unwrap();
    let states = || {
        let state = |session: &cryptoki::session::Session| {
            session.get_session_info().unwrap().session_state()
        };
        (state(&reading), state(&writing))
    };
    assert_eq!(states(), (SessionState::RoPublic, SessionState::RwPublic));
    assert_eq!(
        refusal(writing.login(UserType::So, Some(&pin(SO_PIN)))),
        RvError::SessionReadOnlyExists
    );
    writing.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
    assert_eq!(states(), (SessionState::RoUser, SessionState::RwUser));
    assert_eq!(
        refusal(reading.login(UserType::User, Some(&pin(USER_PIN)))),
        RvError::UserAlreadyLoggedIn
    );
    reading.logout().unwrap();
    assert_eq!(states(), (SessionState::RoPublic, SessionState::RwPublic));
    reading.close().unwrap();
    writing.login(UserType::So, Some(&pin(SO_PIN))).unwrap();
    assert_eq!(
        refusal(writing.login(UserType::User, Some(&pin(USER_PIN)))),
        RvError::UserAnotherAlreadyLoggedIn
    );
    assert_eq!(
        refusal(context.open_ro_session(slot)),
        RvError::SessionReadWriteSoExists
    );
    writing.close().unwrap();
    let fresh = context.open_ro_session(slot).unwrap();
    let state = fresh.get_session_info().unwrap().session_state();
    assert_eq!(state, SessionState::RoPublic, "the last close logs out");
});

on_both!(pins_are_set_changed_and_refused, |hsm| {
    let (context, slot) = hsm.with_token();
    let session = context.open_rw_session(slot).unwrap();
    assert_eq!(
        refusal(session.login(UserType::User, Some(&pin("wrong-one")))),
        RvError::PinIncorrect
    );
    assert_eq!(
        refusal(session.init_pin(&pin("another"))),
        RvError::UserNotLoggedIn
    );
    session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
    session
        .create_object(&[
            Attribute::Class(cryptoki::object::ObjectClass::DATA),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Label("kept".into()),
            Attribute::Value(vec![1, 2, 3]),
        ])
        .unwrap();
    assert_eq!(
        refusal(session.set_pin(&pin("wrong-one"), &pin("new-user-pin"))),
        RvError::PinIncorrect
    );
    assert_eq!(
        refusal(session.set_pin(&pin(USER_PIN), &pin("abc"))),
        RvError::PinLenRange
    );
    session
        .set_pin(&pin(USER_PIN), &pin("new-user-pin"))
        .unwrap();
    session.logout().unwrap();
    session
        .login(UserType::User, Some(&pin(USER_PIN)))
        .unwrap_err();
    session
        .login(UserType::User, Some(&pin("new-user-pin")))
        .unwrap();
    assert_eq!(session.find_objects(&[]).unwrap().len(), 1);
    session.logout().unwrap();
    session.login(UserType::So, Some(&pin(SO_PIN))).unwrap();
    session.set_pin(&pin(SO_PIN), &pin("new-so-pin")).unwrap();
    session.init_pin(&pin("third-user-pin")).unwrap();
    session.logout().unwrap();
    session
        .login(UserType::User, Some(&pin("third-user-pin")))
        .unwrap();
    assert_eq!(
        session.find_objects(&[]).unwrap().len(),
        1,
        "objects survive a new PIN"
    );
});

on_simulator!(ten_wrong_pins_lock_and_the_officer_unlocks, |hsm| {
    let (context, slot) = hsm.with_token();
    let session = context.open_rw_session(slot).unwrap();
    for attempt in 1..=10 {
        assert_eq!(
            refusal(session.login(UserType::User, Some(&pin("wrong-one")))),
            RvError::PinIncorrect
        );
        let info = context.get_token_info(slot).unwrap();
        assert!(info.user_pin_count_low());
        assert_eq!(info.user_pin_final_try(), attempt == 9);
        assert_eq!(info.user_pin_locked(), attempt == 10);
    }
    let right = pin(USER_PIN);
    assert_eq!(
        refusal(session.login(UserType::User, Some(&right))),
        RvError::PinLocked
    );
    drop(session);
    context.finalize().unwrap();

    let context = hsm.load();
    let session = context.open_rw_session(slot).unwrap();
    assert_eq!(
        refusal(session.login(UserType::User, Some(&right))),
        RvError::PinLocked
    );
    session.login(UserType::So, Some(&pin(SO_PIN))).unwrap();
    session.init_pin(&right).unwrap();
    session.logout().unwrap();
    session.login(UserType::User, Some(&right)).unwrap();
    assert!(!context.get_token_info(slot).unwrap().user_pin_count_low());
});

on_simulator!(a_right_pin_forgives_wrong_ones, |hsm| {
    let (context, slot) = hsm.with_token();
    let session = context.open_rw_session(slot).unwrap();
    for _ in 0..3 {
        for _ in 0..9 {
            session
                .login(UserType::User, Some(&pin("wrong-one")))
                .unwrap_err();
        }
        session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
        session.logout().unwrap();
    }
});

on_both!(
    initialising_again_needs_the_so_pin_and_empties_the_token,
    |hsm| {
        let (context, session) = hsm.logged_in();
        let slot = session.get_session_info().unwrap().slot_id();
        session
            .create_object(&[
                Attribute::Class(cryptoki::object::ObjectClass::DATA),
                Attribute::Token(true),
                Attribute::Value(vec![1]),
            ])
            .unwrap();
        assert_eq!(
            refusal(context.init_token(slot, &pin(SO_PIN), "again")),
            RvError::SessionExists
        );
        drop(session);
        assert_eq!(
            refusal(context.init_token(slot, &pin("not-it"), "again")),
            RvError::PinIncorrect
        );
        let serial = context
            .get_token_info(slot)
            .unwrap()
            .serial_number()
            .to_owned();
        context.init_token(slot, &pin(SO_PIN), "again").unwrap();
        let info = context.get_token_info(slot).unwrap();
        assert_eq!(
            (info.label(), info.serial_number()),
            ("again", serial.as_str())
        );
        assert!(!info.user_pin_initialized());
        let session = context.open_rw_session(slot).unwrap();
        assert!(session.find_objects(&[]).unwrap().is_empty());
        assert_eq!(
            refusal(session.login(UserType::User, Some(&pin(USER_PIN)))),
            RvError::UserPinNotInitialized
        );
    }
);
