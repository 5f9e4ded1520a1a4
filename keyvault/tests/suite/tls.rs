//! rcgen and rustls with keys in the module.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use keyvault::rcgen_key::{RcgenFault, RcgenKey};
use keyvault::{KeySpec, KeyUse, Token, VaultError, tls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, Stream,
};

use crate::harness::on_every_module;

fn rcgen_key(token: &Token, label: &str, usage: KeyUse) -> RcgenKey {
    RcgenKey::new(
        token
            .generate(&KeySpec::new(label, usage).unwrap())
            .unwrap(),
    )
}

fn ca_parameters() -> CertificateParams {
    let mut parameters = CertificateParams::new([]).unwrap();
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Infrastructure CA");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    text
}

on_every_module!(openssl_accepts_certificates_and_requests, |hsm| {
    let token = hsm.token();
    let ca = rcgen_key(&token, "ca", KeyUse::Infrastructure);
    let certificate = ca.sign(|key| ca_parameters().self_signed(key)).unwrap();
    let server = rcgen_key(&token, "server", KeyUse::ServerTls);
    let parameters = CertificateParams::new(["ca.factory.example".to_owned()]).unwrap();
    let request = server
        .sign(|key| parameters.serialize_request(key))
        .unwrap();

    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("ca.pem"), certificate.pem()).unwrap();
    std::fs::write(path("request.pem"), request.pem().unwrap()).unwrap();
    let verified = openssl(&[
        "verify",
        "-check_ss_sig",
        "-x509_strict",
        "-CAfile",
        &path("ca.pem"),
        &path("ca.pem"),
    ]);
    assert!(verified.contains("ca.pem: OK"), "{verified}");
    openssl(&["req", "-verify", "-noout", "-in", &path("request.pem")]);
});

on_every_module!(both_sides_of_a_handshake_sign_in_the_module, |hsm| {
    let token = hsm.token();
    let ca = rcgen_key(&token, "ca", KeyUse::Infrastructure);
    let root = ca.sign(|key| ca_parameters().self_signed(key)).unwrap();
    let leaf = |label: &str, usage, name: &str| {
        let key = rcgen_key(&token, label, usage);
        let parameters = CertificateParams::new([name.to_owned()]).unwrap();
        let issuer = Issuer::new(ca_parameters(), &ca);
        let certificate = ca.sign(|_| parameters.signed_by(&key, &issuer)).unwrap();
        tls::certificate(vec![certificate.der().clone()], key.key().clone()).unwrap()
    };
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let roots = Arc::new(roots);
    let clients = WebPkiClientVerifier::builder(Arc::clone(&roots))
        .build()
        .unwrap();
    let server = ServerConfig::builder()
        .with_client_cert_verifier(clients)
        .with_cert_resolver(leaf("server", KeyUse::ServerTls, "ca.factory.example"));
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_cert_resolver(leaf("station", KeyUse::StationTls, "line7.factory.example"));
    assert_eq!(converse(server, client), (b"provision".to_vec(), true));
});

on_every_module!(a_certificate_of_another_key_is_refused, |hsm| {
    let token = hsm.token();
    let ca = rcgen_key(&token, "ca", KeyUse::Infrastructure);
    let certificate = ca.sign(|key| ca_parameters().self_signed(key)).unwrap();
    let other = token
        .generate(&KeySpec::new("server", KeyUse::ServerTls).unwrap())
        .unwrap();
    let log = token
        .generate(&KeySpec::new("log", KeyUse::Log).unwrap())
        .unwrap();
    let chain = vec![certificate.der().clone()];
    assert!(matches!(
        tls::certificate(chain.clone(), other),
        Err(VaultError::Request { .. })
    ));
    tls::certificate(chain, log).unwrap_err();
    let nonsense = vec![CertificateDer::from(vec![0x30, 0])];
    tls::certificate(nonsense, ca.key().clone()).unwrap_err();
});

on_every_module!(the_reason_behind_a_remote_key_error_is_kept, |hsm| {
    let token = hsm.token();
    let ca = rcgen_key(&token, "ca", KeyUse::Infrastructure);
    token.destroy("ca").unwrap();
    let fault = ca.sign(|key| ca_parameters().self_signed(key)).unwrap_err();
    let expected = VaultError::NotFound {
        what: "private key",
        label: "ca".to_owned(),
    };
    assert!(
        matches!(&fault, RcgenFault::Vault(error) if *error == expected),
        "{fault}"
    );
    assert_eq!(ca.take_error(), None);
});

/// A mutual TLS connection: what the server read, and whether the client showed a certificate.
fn converse(server: ServerConfig, client: ClientConfig) -> (Vec<u8>, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::scope(|scope| {
        let server = scope.spawn(move || {
            let mut connection = ServerConnection::new(Arc::new(server)).unwrap();
            let mut socket = listener.accept().unwrap().0;
            let mut message = vec![0; 9];
            Stream::new(&mut connection, &mut socket)
                .read_exact(&mut message)
                .unwrap();
            (message, connection.peer_certificates().is_some())
        });
        let name = ServerName::try_from("ca.factory.example").unwrap();
        let mut connection = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        Stream::new(&mut connection, &mut socket)
            .write_all(b"provision")
            .unwrap();
        server.join().unwrap()
    })
}
