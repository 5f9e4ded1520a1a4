//! The connection: TLS 1.3 only, the client's key in the HSM, one root for the server.

use super::CaError;
use crate::config;
use crate::files::{FileError, read_bounded};
use crate::sources::rfc3339;
use der::Decode as _;
use hyper_util::rt::TokioIo;
use identity::fault::Fault;
use identity::{Id, Timestamp};
use keyvault::{Key, VaultError};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore, crypto::aws_lc_rs, version::TLS13};
use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Longest PEM file in bytes.
const MAX_PEM: usize = 64 * 1024;
const HTTP2: &[u8] = b"h2";
/// Silence after which the line is tried, so that a dead one is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The line to the CA cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// A certificate file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The certificate is not of the HSM's key, or the key is unusable.
    #[error("ca.certificate: {0}")]
    Vault(#[from] VaultError),
    /// The certificate is another station's. What was signed in this one's name would be refused for ever.
    #[error("ca.certificate is of {named}, station.id is {station}")]
    Station {
        /// The URIs that it names.
        named: String,
        /// The name in the settings.
        station: Id,
    },
    /// A certificate or version is refused.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The server's name is none.
    #[error("ca.server_name: {0}")]
    Name(#[from] InvalidDnsNameError),
    /// The address is none.
    #[error("ca.address: {0}")]
    Address(#[from] tonic::transport::Error),
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From.
    pub from: Timestamp,
    /// Until.
    pub until: Timestamp,
}

impl Validity {
    /// Of a certificate, DER.
    ///
    /// # Errors
    /// [`der::Error`] if it is none.
    pub fn of(certificate: &[u8]) -> Result<Self, der::Error> {
        let certificate = Certificate::from_der(certificate)?;
        let validity = certificate.tbs_certificate().validity();
        let millis = |time: x509_cert::time::Time| {
            let since = time.to_unix_duration().as_millis();
            Timestamp(u64::try_from(since).unwrap_or(u64::MAX))
        };
        Ok(Self {
            from: millis(validity.not_before),
            until: millis(validity.not_after),
        })
    }

    /// Whether it is valid then.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        (self.from..=self.until).contains(&now)
    }

    /// Says whose fault it is that the CA did not answer: with a certificate that is not valid nobody is let in, and
    /// no waiting helps.
    pub(super) fn check(&self, error: &CaError, now: Timestamp) -> Result<(), CaError> {
        if self.holds(now) || !matches!(error, CaError::Unreachable(_)) {
            return Ok(());
        }
        let (from, until) = (rfc3339(self.from), rfc3339(self.until));
        let detail = format!("ca.certificate is valid from {from} to {until}; {error}");
        Err(CaError::Refused(Fault::StationExpired, detail))
    }
}

/// That a certificate, DER, is this station's: its URI ends with the station's name (SPIFFE ID §2.2).
fn check_station(certificate: &[u8], station: &Id) -> Result<Result<(), ChannelError>, der::Error> {
    let certificate = Certificate::from_der(certificate)?;
    let names = certificate.tbs_certificate();
    let names = names.get_extension::<SubjectAltName>()?;
    let names = names.map(|(_critical, names)| names.0).unwrap_or_default();
    let uris: Vec<_> = names
        .iter()
        .filter_map(|name| {
            if let GeneralName::UniformResourceIdentifier(uri) = name {
                Some(uri.as_str())
            } else {
                None
            }
        })
        .collect();
    let own = format!("/station/{station}");
    match uris.iter().any(|uri| uri.ends_with(&own)) {
        true => Ok(Ok(())),
        false => Ok(Err(ChannelError::Station {
            named: uris.join(", "),
            station: *station,
        })),
    }
}

/// A channel that connects when it is used, and when the station's own certificate is valid.
pub(super) fn lazy(
    settings: &config::Ca,
    station: &Id,
    key: Key,
) -> Result<(Channel, Validity), ChannelError> {
    let own = certificates(&settings.certificate)?;
    let wrong = |error| FileError::content(&settings.certificate, error);
    let leaf = own.first().map(|leaf| leaf.as_ref()).unwrap_or_default();
    let validity = Validity::of(leaf).map_err(wrong)?;
    check_station(leaf, station).map_err(wrong)??;
    let connector = TlsConnector::from(Arc::new(client_config(settings, own, key)?));
    let name = ServerName::try_from(settings.server_name.clone())?;
    let address: Arc<str> = settings.address.as_str().into();
    // The scheme is that of the requests inside; the connector below lets nothing out without TLS.
    let endpoint = Endpoint::from_shared(format!("http://{}", settings.address))?
        .connect_timeout(settings.deadline())
        .timeout(settings.deadline())
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    let connect =
        service_fn(move |_uri| dial(Arc::clone(&address), connector.clone(), name.clone()));
    Ok((endpoint.connect_with_connector_lazy(connect), validity))
}

async fn dial(
    address: Arc<str>,
    connector: TlsConnector,
    name: ServerName<'static>,
) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(&*address).await?;
    stream.set_nodelay(true)?;
    connector.connect(name, stream).await.map(TokioIo::new)
}

/// What TLS says where that is why nobody answered, with the setting that it is held against.
pub(super) fn refusal_of_tls(error: &(dyn Error + 'static)) -> Option<String> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(refusal) = error.downcast_ref::<rustls::Error>() {
            return Some(with_setting(refusal));
        }
        // What an IO error wraps is itself no source of it, only what lies behind that.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        at = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

fn with_setting(refusal: &rustls::Error) -> String {
    let held_against = if let rustls::Error::InvalidCertificate(error) = refusal {
        setting(error)
    } else {
        None
    };
    format!("{}: {refusal}", held_against.unwrap_or("TLS"))
}

fn setting(error: &CertificateError) -> Option<&'static str> {
    if matches!(
        error,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    ) {
        return Some("ca.server_name is not in the certificate of whoever answers");
    }
    let is_root = matches!(
        error,
        CertificateError::UnknownIssuer | CertificateError::BadSignature
    );
    is_root.then_some("ca.infrastructure_root is not the root of whoever answers")
}

fn client_config(
    settings: &config::Ca,
    own: Vec<CertificateDer<'static>>,
    key: Key,
) -> Result<ClientConfig, ChannelError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(&settings.infrastructure_root)? {
        roots.add(root)?;
    }
    let identity = keyvault::tls::certificate(own, key)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_cert_resolver(identity);
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let pem = read_bounded(path, MAX_PEM)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(FileError::content(path, "no certificate in it")),
        Err(error) => Err(FileError::content(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(from: (i32, u8, u8), until: (i32, u8, u8)) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_of_another_station_is_told_before_anything_is_signed() {
        let named = |uri: &str| {
            let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
            let uri = rcgen::SanType::URI(uri.try_into().unwrap());
            params.subject_alt_names = vec![uri];
            let key = rcgen::KeyPair::generate().unwrap();
            params.self_signed(&key).unwrap().der().to_vec()
        };
        let station = Id::new("ota-l2-prov-01").unwrap();
        let check = |certificate: &[u8]| check_station(certificate, &station).unwrap();
        check(&named("spiffe://ca.example/station/ota-l2-prov-01")).unwrap();
        for other in [
            "spiffe://ca.example/station/ota-l2-prov-02",
            "spiffe://ca.example/station/x-ota-l2-prov-01",
            "spiffe://ca.example/auditor/ota-l2-prov-01",
        ] {
            let error = check(&named(other)).unwrap_err();
            let said = error.to_string();
            assert!(said.contains(other) && said.contains("prov-01"), "{said}");
        }
        check(&certificate((2026, 1, 1), (2026, 12, 31))).unwrap_err();
    }

    #[test]
    fn what_tls_refuses_names_the_setting_that_it_is_held_against() {
        let told = |error: CertificateError| {
            let refusal = rustls::Error::InvalidCertificate(error);
            let io = io::Error::new(io::ErrorKind::InvalidData, refusal);
            let status = tonic::Status::from_error(Box::new(io));
            refusal_of_tls(&status).unwrap()
        };
        let name = told(CertificateError::NotValidForName);
        assert!(name.starts_with("ca.server_name "), "{name}");
        let root = told(CertificateError::UnknownIssuer);
        assert!(root.starts_with("ca.infrastructure_root "), "{root}");
        assert!(told(CertificateError::Expired).starts_with("TLS: "));
        let silent = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(refusal_of_tls(&silent), None);
    }

    #[test]
    fn a_certificate_that_has_ended_is_the_stations_own_fault() {
        let validity = Validity::of(&certificate((2026, 1, 1), (2026, 12, 31))).unwrap();
        let (before, within) = (Timestamp(1_767_225_599_000), Timestamp(1_767_225_600_000));
        let after = Timestamp(1_798_675_200_001);
        let away = CaError::Unreachable("tls alert".to_owned());
        validity.check(&away, within).unwrap();
        for now in [before, after] {
            let error = validity.check(&away, now).unwrap_err();
            assert!(
                matches!(error, CaError::Refused(Fault::StationExpired, _)),
                "{error}"
            );
            // Whatever the CA itself says stands.
            let said = CaError::Refused(Fault::Overloaded, String::new());
            validity.check(&said, now).unwrap();
        }
    }
}
