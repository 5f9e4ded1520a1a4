use crate::room::{Room, openssl, policies};
use crate::serving::Server;
use identity::document::{Ceremony, Document as _};
use std::os::unix::fs::PermissionsExt as _;

fn text_of(room: &Room, certificate: &str) -> String {
    let path = room.path(&format!("ceremony/{certificate}.pem"));
    openssl(&["x509", "-noout", "-text", "-in", path.to_str().unwrap()])
}

#[test]
fn certificates_are_what_the_plan_says_and_others_accept_them() {
    let room = Room::new();
    room.init().done();
    for (certificate, facts) in [
        (
            "root",
            &[
                "Subject: O = \"Mihon Denki Co., Ltd.\", CN = Mihon Denki Device Root R1",
                "Not Before: Nov 22 23:00:00 2026 GMT",
                "Not After : Dec 31 23:59:59 9999 GMT",
                "CA:TRUE, pathlen:1",
                "Certificate Sign, CRL Sign",
                "Subject Key Identifier",
            ][..],
        ),
        (
            "issuing",
            &[
                "Issuer: O = \"Mihon Denki Co., Ltd.\", CN = Mihon Denki Device Root R1",
                "Not After : Dec 31 23:59:59 9999 GMT",
                "CA:TRUE, pathlen:0",
                "Certificate Sign, CRL Sign",
                "Authority Key Identifier",
            ],
        ),
        ("infrastructure", &["CA:TRUE, pathlen:0", "2036 GMT"]),
        (
            "server",
            &[
                "DNS:ca.mihon-denki.example",
                "TLS Web Server Authentication",
                "Digital Signature",
            ],
        ),
    ] {
        let text = text_of(&room, certificate);
        for fact in facts {
            assert!(text.contains(fact), "{certificate}: {fact}\n{text}");
        }
    }
    for (root, leaf) in [
        ("root", "root"),
        ("root", "issuing"),
        ("infrastructure", "infrastructure"),
        ("infrastructure", "server"),
    ] {
        let path = |name: &str| room.path(&format!("ceremony/{name}.pem"));
        let (root, leaf) = (path(root), path(leaf));
        openssl(&[
            "verify",
            "-x509_strict",
            "-check_ss_sig",
            "-CAfile",
            root.to_str().unwrap(),
            leaf.to_str().unwrap(),
        ]);
    }
}

#[test]
fn the_document_and_the_transcript_name_what_was_made() {
    let room = Room::new();
    let transcript = room.init().done();
    let document = std::fs::read(room.path("ceremony/ceremony.der")).unwrap();
    let ceremony = Ceremony::from_bytes(&document).unwrap();
    assert_eq!(transcript, room.read("ceremony/transcript.txt"));
    assert_eq!(room.read("ceremony/log.vkey").trim_end(), ceremony.log_vkey);
    let mut facts = vec![
        ceremony.hash().to_string(),
        ceremony.root.to_string(),
        ceremony.issuing.to_string(),
        ceremony.issuing_key.to_string(),
        ceremony.infrastructure.to_string(),
        ceremony.log_vkey.clone(),
        "Sato Yui, CA operator".to_owned(),
    ];
    facts.extend(
        ceremony
            .approvers
            .iter()
            .map(|approver| approver.key.spki_hash().to_string()),
    );
    for fact in facts {
        assert!(transcript.contains(&fact), "{fact}\n{transcript}");
    }
    assert_eq!((ceremony.needed, ceremony.approvers.len()), (2, 3));
}

#[test]
fn pins_are_closed_random_and_the_roots_lies_apart() {
    let room = Room::new();
    room.init().done();
    let pins = [
        "pins/koseki-log.pin",
        "pins/koseki-infrastructure.pin",
        "pins/koseki-issuing.pin",
        "pins/offline/koseki-root.pin",
        "pins/offline/koseki-root.so-pin",
        "pins/approvers/vet-01/approver-vet-01.pin",
    ];
    let mut seen = std::collections::BTreeSet::new();
    for pin in pins {
        let mode = std::fs::metadata(room.path(pin))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{pin}");
        assert!(seen.insert(room.read(pin)), "{pin} is not random");
    }
    let pins = room.path("pins");
    assert_eq!(
        std::fs::metadata(pins).unwrap().permissions().mode() & 0o777,
        0o700
    );
    for file in ["ca-server.toml", "signer.toml"] {
        let text = room.read(file);
        assert!(
            !text.contains("offline") && !text.contains("koseki-root"),
            "{file}"
        );
    }
    assert!(!room.read("ca-server.toml").contains("koseki-issuing"));
}

#[test]
fn a_second_ceremony_changes_nothing() {
    let room = Room::new();
    room.init().done();
    let before = room.read("ceremony/transcript.txt");
    let error = room.init().refused(77);
    assert!(error.contains("has been held"), "{error}");
    assert_eq!(room.read("ceremony/transcript.txt"), before);
}

#[test]
fn a_ceremony_that_broke_off_names_what_to_remove() {
    let room = Room::new();
    room.init().done();
    // As if the power had gone before the directory appeared.
    std::fs::rename(room.path("ceremony"), room.path("ceremony.part")).unwrap();
    let error = room.init().refused(77);
    for named in [
        "token koseki-root",
        "token approver-qa-03",
        "ceremony.part",
        "signer.toml",
        "signer/signer.sqlite",
        "head/head",
    ] {
        assert!(error.contains(named), "{named}: {error}");
    }
    std::fs::remove_dir_all(room.path("ceremony.part")).unwrap();
    for file in ["signer.toml", "signer/signer.sqlite", "head/head"] {
        std::fs::remove_file(room.path(file)).unwrap();
    }
    std::fs::remove_dir_all(room.path("tokens")).unwrap();
    std::fs::create_dir(room.path("tokens")).unwrap();
    room.init().done();
}

#[test]
fn plan_and_configuration_must_agree() {
    let room = Room::new();
    let config = room
        .read("ca-server.toml")
        .replace("\"log-ota-2\"", "\"log-ota-3\"");
    std::fs::write(room.path("ca-server.toml"), config).unwrap();
    let error = room.init().refused(78);
    assert!(error.contains("hsm.log.key"), "{error}");
    assert!(!room.path("pins").exists(), "PINs were made");
}

#[test]
fn commands_without_a_server_say_so() {
    let room = Room::new();
    let error = room
        .run(&["status", "--config", "@ca-server.toml"])
        .refused(69);
    assert!(error.contains("admin.sock"), "{error}");
    let error = room
        .run(&["serve", "--config", "@nowhere.toml"])
        .refused(78);
    assert!(error.contains("nowhere.toml"), "{error}");
    assert_eq!(room.run(&["serve", "--pin", "1234"]).code, Some(64));
    assert_eq!(room.run(&["--help"]).code, Some(0));
}

#[test]
fn held_with_relative_paths_in_its_own_directory_it_serves_from_anywhere() {
    let room = Room::new();
    let plan = policies("ceremony/demo.toml");
    let words = [
        "init",
        "--config",
        "ca-server.toml",
        "--pins",
        "pins",
        "--ceremony",
    ];
    let attended = [
        plan.to_str().unwrap(),
        "--attended",
        "Sato Yui, CA operator",
    ];
    let told = room
        .run_in(&room.path(""), &[&words[..], &attended].concat())
        .done();
    assert!(told.contains("Sato Yui"), "{told}");
    Server::start(&room).stop();
}

#[test]
fn nobody_holds_it_alone_and_unnamed() {
    let room = Room::new();
    let plan = policies("ceremony/demo.toml");
    let words = [
        "init",
        "--config",
        "@ca-server.toml",
        "--pins",
        "@pins",
        "--ceremony",
    ];
    let ended = room.run(&[&words[..], &[plan.to_str().unwrap()]].concat());
    assert_eq!(ended.code, Some(64), "{}", ended.err);
    assert!(ended.err.contains("--attended"), "{}", ended.err);
    assert!(!room.path("ceremony").exists() && !room.path("pins").exists());
}
