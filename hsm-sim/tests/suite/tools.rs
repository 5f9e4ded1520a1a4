//! Outside programs: `pkcs11-tool` of `OpenSC`, and Python through python-pkcs11.

use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{Hsm, SO_PIN, USER_PIN, on_simulator};
use crate::skipped::skipped;

/// Runs a program and expects it to succeed; its output, both streams.
fn expect(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = [stdout, stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{text}");
    text
}

fn is_there(program: &str, arguments: &[&str], what: &str) -> bool {
    let answered = Command::new(program).args(arguments).output();
    let there = answered.is_ok_and(|output| output.status.success());
    if !there {
        skipped(&format!("{what} is not installed"));
    }
    there
}

struct Tool<'a>(&'a Hsm);

impl Tool<'_> {
    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("pkcs11-tool");
        expect(command.arg("--module").arg(&self.0.module).args(arguments))
    }

    fn as_user(&self, arguments: &[&str]) -> String {
        let token = ["--token-label", "tool", "--login", "--pin", USER_PIN];
        self.run(&[&token[..], arguments].concat())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

on_simulator!(pkcs11_tool_makes_a_token_and_keys_and_signs, |hsm| {
    // It knows no harmless option with which it would end well.
    if !is_there("which", &["pkcs11-tool"], "pkcs11-tool") {
        return;
    }
    let tool = Tool(hsm);
    tool.run(&[
        "--init-token",
        "--slot-index",
        "0",
        "--label",
        "tool",
        "--so-pin",
        SO_PIN,
    ]);
    tool.run(&[
        "--token-label",
        "tool",
        "--login",
        "--login-type",
        "so",
        "--so-pin",
        SO_PIN,
        "--init-pin",
        "--pin",
        USER_PIN,
    ]);
    assert!(tool.run(&["--list-token-slots"]).contains("tool"));
    assert!(tool.run(&["--list-mechanisms"]).contains("ECDSA"));
    assert!(tool.run(&["--list-interfaces"]).contains("3.0"));
    tool.as_user(&[
        "--keypairgen",
        "--key-type",
        "EC:prime256v1",
        "--label",
        "p",
        "--id",
        "01",
    ]);
    let listed = tool.as_user(&["--list-objects"]);
    assert!(listed.contains("Private Key Object; EC"), "{listed}");
    assert!(
        listed.contains("Public Key Object; EC  EC_POINT 256 bits"),
        "{listed}"
    );

    let message = hsm.directory.join("message");
    let signature = hsm.directory.join("signature");
    let key = hsm.directory.join("key.der");
    std::fs::write(&message, b"Koseki").unwrap();
    tool.as_user(&[
        "--sign",
        "--mechanism",
        "ECDSA-SHA256",
        "--id",
        "01",
        "--signature-format",
        "openssl",
        "--input-file",
        text(&message),
        "--output-file",
        text(&signature),
    ]);
    tool.run(&[
        "--token-label",
        "tool",
        "--read-object",
        "--type",
        "pubkey",
        "--id",
        "01",
        "--output-file",
        text(&key),
    ]);
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-keyform", "DER", "-verify", text(&key)]);
    let verdict = expect(openssl.args(["-signature", text(&signature), text(&message)]));
    assert!(verdict.contains("Verified OK"), "{verdict}");

    let tested = tool.as_user(&["--test"]);
    assert!(tested.contains("No errors"), "{tested}");
    tool.as_user(&["--delete-object", "--type", "privkey", "--id", "01"]);
    assert!(
        !tool
            .as_user(&["--list-objects"])
            .contains("Private Key Object")
    );
});

on_simulator!(python_makes_keys_and_signs, |hsm| {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/checkers/bin/python");
    let python = if own.exists() { text(&own) } else { "python3" };
    if !is_there(python, &["-c", "import pkcs11"], "python-pkcs11") {
        return;
    }
    let context = hsm.load();
    crate::harness::new_token(&context, "python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client.py");
    let mut command = Command::new(python);
    let said = expect(
        command
            .arg(script)
            .arg(&hsm.module)
            .args(["python", USER_PIN]),
    );
    assert!(said.contains("all well"), "{said}");
});
