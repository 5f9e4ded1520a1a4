//! Health and reflection, for whoever watches the server or writes a client: as a station, over mutual TLS.

use acceptance::factory::Factory;
use acceptance::ground::{Ground, answered};
use acceptance::hsm::Hsm;
use acceptance::soft::{SoftChip, SoftStation};
use acceptance::tls::{self, Credentials};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

const FACTORY: &str = "koseki.factory.v1.FactoryService";
const AUDIT: &str = "koseki.audit.v1.AuditService";
const HOUR: i64 = 3_600;

/// A station's connection.
pub(crate) fn connection(factory: &Factory, station: &SoftStation) -> Channel {
    let own = Credentials {
        certificate: &station.certificate,
        key: &station.tls,
    };
    tls::channel(factory, own).unwrap()
}

pub(crate) async fn health(channel: Channel) -> Result<ServingStatus, Status> {
    let service = FACTORY.to_owned();
    let asked = HealthCheckRequest { service };
    let answer = HealthClient::new(channel).check(asked).await?;
    Ok(answer.into_inner().status())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn health_says_whether_certificates_are_issued() {
    let ground = Ground::open(Hsm::of_this_run()).await.unwrap();
    let factory = ground.governed_copy(&ground.home("health")).unwrap();
    let station = ground.station.reconnected(&factory).unwrap();
    let channel = connection(&factory, &station);
    becomes(&channel, ServingStatus::Serving).await;
    // A clock behind the log stops issuing.
    let chip = SoftChip::make(&factory.vendor, 2).unwrap();
    let signed = ground.prepare(&station, &chip, 1).await.unwrap();
    factory.faults().unwrap().shift_clock(-6 * HOUR).unwrap();
    answered(|| station.certify(&signed)).await.unwrap_err();
    becomes(&channel, ServingStatus::NotServing).await;
    factory.faults().unwrap().shift_clock(0).unwrap();
    factory.confirm_clock().unwrap();
    becomes(&channel, ServingStatus::Serving).await;
    answered(|| station.certify(&signed)).await.unwrap();
    let unknown = HealthCheckRequest {
        service: "koseki.nothing.v1.NoService".to_owned(),
    };
    let answer = HealthClient::new(channel).check(unknown).await;
    assert_eq!(answer.unwrap_err().code(), Code::NotFound);
    refuses_a_stranger(&factory).await;
}

async fn becomes(channel: &Channel, wanted: ServingStatus) {
    // The server looks every other second.
    for _ in 0..600 {
        if health(channel.clone()).await.unwrap() == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server's health never became {wanted:?}");
}

/// Whoever shows no certificate gets no answer of either service.
async fn refuses_a_stranger(factory: &Factory) {
    let stranger = tls::client(factory, None).unwrap();
    let channel = tls::lazy(factory.address(), stranger);
    health(channel.clone()).await.unwrap_err();
    reflect(channel, MessageRequest::ListServices(String::new()))
        .await
        .unwrap_err();
}

async fn reflect(channel: Channel, asked: MessageRequest) -> Result<MessageResponse, Status> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(asked),
    };
    let mut client = ServerReflectionClient::new(channel);
    let answer = client.server_reflection_info(tokio_stream::once(request));
    let first = answer.await?.into_inner().message().await?;
    let first = first.and_then(|first| first.message_response);
    first.ok_or_else(|| Status::internal("no answer"))
}

#[tokio::test]
async fn reflection_lists_the_services_and_their_messages() {
    let floor = crate::floor::Floor::open(1);
    let station = floor.station(crate::floor::FIRST);
    let channel = connection(&floor.factory, &station);
    let listed = reflect(channel.clone(), MessageRequest::ListServices(String::new()));
    let MessageResponse::ListServicesResponse(listed) = listed.await.unwrap() else {
        panic!("not a list");
    };
    let mut names: Vec<String> = listed.service.into_iter().map(|it| it.name).collect();
    names.sort();
    assert_eq!(names, [AUDIT, FACTORY]);
    let symbol = MessageRequest::FileContainingSymbol(FACTORY.to_owned());
    let answer = reflect(channel.clone(), symbol).await.unwrap();
    let MessageResponse::FileDescriptorResponse(file) = answer else {
        panic!("no file: {answer:?}");
    };
    let holds = |file: &Vec<u8>| file.windows(9).any(|window| window == b"Provision");
    assert!(file.file_descriptor_proto.iter().any(holds));
    let unknown = MessageRequest::FileContainingSymbol("koseki.nothing.v1.No".to_owned());
    assert!(matches!(
        reflect(channel, unknown).await,
        Err(_) | Ok(MessageResponse::ErrorResponse(_))
    ));
    refuses_a_stranger(&floor.factory).await;
}
