//! Who gets through the server's door, and what each may call there.

use crate::floor::{FIRST, Floor, SECOND, THIRD, with_stations};
use acceptance::failure::Failure;
use acceptance::insider::{self, Order};
use acceptance::lines::CAMERAS;
use acceptance::metadata::root;
use acceptance::patience::until;
use acceptance::process::finish;
use acceptance::register::Register;
use acceptance::soft::{SoftChip, SoftKey, SoftStation, refused};
use acceptance::tls::{self, Credentials};
use identity::envelope::Purpose;
use identity::leaf::Body;
use proto::Rpc;
use proto::factory::get_grant_request::Grant;
use proto::factory::get_receipt_request::Unit;
use proto::factory::{
    FactoryServiceClient, GetChainRequest, GetChallengesRequest, GetGrantRequest, GetLotRequest,
    GetReceiptRequest,
};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

const STATION: &str = "URI:spiffe://log.mihon-denki.example/station/ota-l2-prov-01";
const LONG: (i64, i64) = (-1, 50);

/// Certificates that open nothing: name, server's instead of client's, days.
const USELESS: [(&str, bool, (i64, i64)); 9] = [
    (STATION, false, (-9, -1)),
    (STATION, false, (2, 9)),
    (STATION, true, LONG),
    (
        "URI:spiffe://log.mihon-denki.example/operator/ca-op-02",
        false,
        LONG,
    ),
    (
        "URI:spiffe://log.mihon-denki.example/approver/vet-01",
        false,
        LONG,
    ),
    ("URI:spiffe://log.mihon-denki.example/station/", false, LONG),
    (
        "URI:spiffe://log.mihon-denki.example.evil.example/station/ota-l2-prov-01",
        false,
        LONG,
    ),
    (
        "URI:spiffe://log.other.example/station/ota-l2-prov-01",
        false,
        LONG,
    ),
    ("DNS:ota-l2-prov-01", false, LONG),
];

#[tokio::test]
async fn a_stranger_is_not_let_in_and_leaves_no_leaf() {
    let floor = Floor::open(10);
    let station = floor.station(FIRST);
    let mut register = Register::open(&floor.factory).await.unwrap();
    let mut turned_away = 0;
    for (name, server, days) in USELESS {
        let key = SoftKey::generate().unwrap();
        let order = Order { name, server, days };
        let certificate = insider::certify(&floor.factory, &key, &order).unwrap();
        let own = credentials(&certificate, &key);
        turned_away += 1;
        assert_turned_away(&floor, Some(own), turned_away).await;
    }
    let key = SoftKey::generate().unwrap();
    let foreign = foreign_certificate(&floor, &key);
    for own in [
        None,
        Some(credentials(&foreign, &key)),
        // The station's certificate without its key.
        Some(credentials(&station.certificate, &key)),
    ] {
        turned_away += 1;
        assert_turned_away(&floor, own, turned_away).await;
    }
    for (version, is_spoken) in [("-tls1_3", true), ("-tls1_2", false)] {
        assert_eq!(
            shakes_hands(&floor, &station, version),
            is_spoken,
            "{version}"
        );
    }
    station
        .client()
        .get_chain(GetChainRequest {})
        .await
        .unwrap();
    assert!(register.news().await.unwrap().is_empty());
}

/// Whether a client of others shakes hands in this version of TLS.
fn shakes_hands(floor: &Floor, station: &SoftStation, version: &str) -> bool {
    let key = floor.factory.path("station-key.pem");
    let pkcs8 = station.tls.pkcs8().unwrap();
    let pem = der::pem::encode_string("PRIVATE KEY", der::pem::LineEnding::LF, &pkcs8);
    fs::write(&key, pem.unwrap()).unwrap();
    let mut client = Command::new("openssl");
    client.args(["s_client", version, "-alpn", "h2", "-verify_return_error"]);
    client
        .arg("-connect")
        .arg(floor.factory.address().to_string());
    client
        .arg("-CAfile")
        .arg(floor.factory.path("ca/ceremony/infrastructure.pem"));
    client
        .arg("-cert")
        .arg(&station.certificate)
        .arg("-key")
        .arg(key);
    finish(&mut client).unwrap().status.success()
}

/// The call fails without an answer of ours, and the server's log has one more line about it.
async fn assert_turned_away(floor: &Floor, own: Option<Credentials<'_>>, count: usize) {
    // rustls itself refuses to send a certificate with another's key.
    let Ok(config) = tls::client(&floor.factory, own) else {
        let config = tls::mismatched(&floor.factory, own.unwrap()).unwrap();
        return assert_refused(floor, tls::lazy(floor.factory.address(), config), count).await;
    };
    assert_refused(floor, tls::lazy(floor.factory.address(), config), count).await;
}

async fn assert_refused(floor: &Floor, channel: Channel, count: usize) {
    let mut client = FactoryServiceClient::new(channel);
    let refused = client.get_chain(GetChainRequest {}).await.unwrap_err();
    let fault = proto::fault::fault_from_status(&refused);
    assert!(fault.is_none(), "{count}: {fault:?}");
    until("the server to say so", || {
        let said = floor.factory.server_log();
        Ok((said.matches("connection refused").count() >= count).then_some(()))
    })
    .unwrap();
}

fn credentials<'a>(certificate: &'a std::path::Path, key: &'a SoftKey) -> Credentials<'a> {
    Credentials { certificate, key }
}

/// A station's certificate under a root of the same name that is not ours.
fn foreign_certificate(floor: &Floor, key: &SoftKey) -> PathBuf {
    let mut root = rcgen::CertificateParams::default();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    root.distinguished_name = rcgen::DistinguishedName::new();
    let organization = (rcgen::DnType::OrganizationName, "Mihon Denki Co., Ltd.");
    let name = (
        rcgen::DnType::CommonName,
        "Mihon Denki Infrastructure Root R1",
    );
    root.distinguished_name.push(organization.0, organization.1);
    root.distinguished_name.push(name.0, name.1);
    let issuer = rcgen::Issuer::new(root, rcgen::KeyPair::generate().unwrap());
    let mut station = rcgen::CertificateParams::default();
    let uri = STATION.trim_start_matches("URI:").try_into().unwrap();
    station.subject_alt_names = vec![rcgen::SanType::URI(uri)];
    station.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.pkcs8().unwrap());
    let key = rcgen::KeyPair::try_from(&key).unwrap();
    let path = floor.factory.path("foreign.pem");
    fs::write(&path, station.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    path
}

#[tokio::test]
async fn a_certificate_without_a_valid_statement_gets_nothing() {
    let floor = Floor::open_with(10, |factory| {
        with_stations(factory, &[THIRD]);
        let file = factory.policies.file("stations", THIRD);
        let text = fs::read_to_string(&file).unwrap();
        let until = text.lines().find(|line| line.starts_with("until = "));
        let [from, until] = [text.lines().find(|line| line.starts_with("from = ")), until];
        for (line, value) in [
            (from.unwrap(), "from = 2020-01-01T00:00:00Z"),
            (until.unwrap(), "until = 2020-02-01T00:00:00Z"),
        ] {
            factory.policies.edit(&file, line, value).unwrap();
        }
    });
    let ended = floor.station(THIRD);
    let mut register = Register::open(&floor.factory).await.unwrap();
    let own = credentials(&ended.certificate, &ended.tls);
    assert_turned_away(&floor, Some(own), 1).await;
    // Certificates outlive statements when people make mistakes; the statement decides.
    for (name, wanted) in [(THIRD, "CA-0104"), ("ota-l2-prov-77", "CA-0103")] {
        let channel = as_peer(
            &floor,
            &format!("URI:spiffe://log.mihon-denki.example/station/{name}"),
        );
        let asked = GetChallengesRequest {
            uids: vec![vec![0x01, 0x23, 0, 0, 0xF0, 0, 0, 0, 1]],
            ..GetChallengesRequest::default()
        };
        let answer = FactoryServiceClient::new(channel)
            .get_challenges(asked)
            .await;
        assert_eq!(refused(&answer.unwrap_err()).to_string(), wanted);
    }
    // Of the known station it is on record; the stranger is only counted.
    let mut news = Vec::new();
    for _ in 0..600 {
        news.extend(register.news().await.unwrap());
        if !news.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let [leaf] = news.as_slice() else {
        panic!("{news:?}");
    };
    assert!(
        matches!(&leaf.body, Body::Refuse(refuse) if refuse.reason.as_str() == "CA-0104"),
        "{leaf:?}"
    );
}

/// A connection under a certificate of this name.
fn as_peer(floor: &Floor, name: &str) -> Channel {
    let key = SoftKey::generate().unwrap();
    let order = Order {
        name,
        server: false,
        days: LONG,
    };
    let certificate = insider::certify(&floor.factory, &key, &order).unwrap();
    tls::channel(&floor.factory, credentials(&certificate, &key)).unwrap()
}

#[tokio::test]
async fn every_role_calls_what_the_table_allows_and_nothing_else() {
    let floor = Floor::open(10);
    let station = floor.station(FIRST);
    let network = [
        (
            "station",
            tls::channel(
                &floor.factory,
                credentials(&station.certificate, &station.tls),
            )
            .unwrap(),
        ),
        (
            "auditor",
            as_peer(
                &floor,
                "URI:spiffe://log.mihon-denki.example/auditor/audit-01",
            ),
        ),
    ];
    let local = Register::channel(&floor.factory);
    let table: toml::Table = fs::read_to_string(root().join("policies/roles/roles.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let mut tried = 0;
    for rpc in Rpc::ALL {
        let row = table["rpc"].as_array().unwrap().iter();
        let mut row = row.filter(|row| row["method"].as_str() == Some(&rpc.path()[1..]));
        let row = row.next().unwrap();
        for (role, channel) in &network {
            let allowed = row[*role].as_str().unwrap() == "allow";
            let outcome = call(channel.clone(), rpc).await;
            assert_eq!(passed(&outcome), allowed, "{role} {rpc:?}: {outcome:?}");
            tried += 1;
        }
        // The operator comes by the local socket only, where the factory's service is not even there.
        let allowed = row["operator"].as_str().unwrap() == "allow";
        let outcome = call(local.clone(), rpc).await;
        assert_eq!(passed(&outcome), allowed, "operator {rpc:?}: {outcome:?}");
        tried += 1;
    }
    assert_eq!(tried, 3 * Rpc::ALL.len());
}

/// Calls an RPC with an empty message, which is none that anything is done for.
async fn call(channel: Channel, rpc: Rpc) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(rpc.path());
    let codec = ProstCodec::<(), ()>::default();
    client.unary(Request::new(()), path, codec).await.map(drop)
}

/// Whether a call came to its service. What it found there was an empty message.
fn passed(outcome: &Result<(), Status>) -> bool {
    match outcome {
        Ok(()) => true,
        Err(status) => {
            let fault = proto::fault::fault_from_status(status).map(|fault| fault.code);
            let is_denied = fault.as_deref() == Some("CA-0109");
            assert_eq!(
                is_denied,
                is_denied && status.code() == Code::PermissionDenied
            );
            !is_denied && status.code() != Code::Unimplemented
        }
    }
}

#[tokio::test]
async fn a_station_sees_its_own_grants_lots_and_units_only() {
    let floor = Floor::open_with(10, |factory| {
        with_stations(factory, &[THIRD]);
        let file = factory.policies.file("grants", CAMERAS.grant);
        let named = format!("stations = {:?}", [FIRST, SECOND]);
        let all = format!("stations = {:?}", [FIRST, SECOND, THIRD]);
        factory.policies.edit(&file, &all, &named).unwrap();
    });
    let [first, second, third] = [FIRST, SECOND, THIRD].map(|id| floor.station(id));
    let chip = SoftChip::make(&floor.factory.vendor, 1).unwrap();
    let draft = first.draft(Purpose::Provision, floor.order, &chip, CAMERAS.first);
    let envelope = draft.await.unwrap();
    let sent = first.seal(&envelope).unwrap();
    assert!(first.provision(&sent).await.unwrap().is_ok());
    let request = envelope.units[0].request.0.to_vec();
    let index = first.issue(&sent).await.unwrap().unwrap().index;
    // With the chip in hand whoever is named in the grant may ask; nobody else, under any name of the unit.
    for (station, grant, receipt, by_chip) in [
        (&first, Ok(()), Ok(()), Ok(())),
        (&second, Ok(()), Err("CA-0407"), Ok(())),
        (&third, Err("CA-0201"), Err("CA-0407"), Err("CA-0407")),
    ] {
        let lot = grant.map_err(|_| "CA-0205");
        assert_eq!(
            told(ask_grant(station, Grant::GrantId(CAMERAS.grant.to_owned())).await),
            grant.map_err(str::to_owned)
        );
        assert_eq!(
            told(ask_grant(station, Grant::GrantHash(floor.order.grant.0.to_vec())).await),
            grant.map_err(str::to_owned)
        );
        let asked = GetLotRequest {
            lot_id: CAMERAS.lot.to_owned(),
            grant_hash: Vec::new(),
        };
        assert_eq!(
            told(station.client().get_lot(asked).await),
            lot.map_err(str::to_owned)
        );
        for (unit, wanted) in [
            (Unit::RequestId(request.clone()), receipt),
            (Unit::Index(index), receipt),
            (Unit::ChipUid(chip.uid.as_bytes().to_vec()), by_chip),
        ] {
            let asked = GetReceiptRequest {
                unit: Some(unit.clone()),
            };
            assert_eq!(
                told(station.client().get_receipt(asked).await),
                wanted.map_err(str::to_owned),
                "{} asks for {unit:?}",
                station.id
            );
        }
    }
}

async fn ask_grant(
    station: &SoftStation,
    grant: Grant,
) -> Result<tonic::Response<proto::factory::GetGrantResponse>, Status> {
    let asked = GetGrantRequest { grant: Some(grant) };
    station.client().get_grant(asked).await
}

fn told<T>(answer: Result<T, Status>) -> Result<(), String> {
    let told = |status: Status| -> Failure { refused(&status) };
    answer.map(drop).map_err(|status| told(status).to_string())
}
