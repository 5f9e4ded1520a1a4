//! The peer of a connection, from its certificate.

use crate::policy::Role;
use der::{Decode as _, Encode as _};
use identity::hash::sha256;
use identity::{Id, SpkiHash};
use std::fmt;
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What the peer is.
    pub role: Role,
    /// Its name.
    pub id: Id,
    /// The key of its TLS certificate; none on the local socket.
    pub key: Option<SpkiHash>,
}

/// The trust domain of the infrastructure root's certificates: the host of the log's origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustDomain(String);

impl Peer {
    /// What it is, in one word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        segment(self.role)
    }
}

/// A client certificate that names nobody this server knows of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Not a certificate, or names that cannot be read.
    #[error("the client certificate cannot be read: {0}")]
    Certificate(der::Error),
    /// No URI, or several.
    #[error("the client certificate holds {0} URIs where one names the peer")]
    Uris(usize),
    /// Another domain, another path, or not a name.
    #[error("the client certificate names {0:?}, which is no station and no auditor here")]
    Stranger(String),
}

impl TrustDomain {
    /// From the origin of the log, `host/path`.
    #[must_use]
    pub fn of_origin(origin: &str) -> Self {
        let host = origin.split('/').next().unwrap_or_default();
        Self(host.to_ascii_lowercase())
    }

    /// The URI that a peer's certificate carries (SPIFFE ID §2.1).
    #[must_use]
    pub fn uri(&self, peer: &Peer) -> String {
        format!("spiffe://{}/{}/{}", self.0, segment(peer.role), peer.id)
    }

    /// The peer that a client certificate names by its only URI. The chain was checked in the handshake.
    ///
    /// # Errors
    /// [`PeerError`] says what was found in its place.
    pub fn peer(&self, certificate: &[u8]) -> Result<Peer, PeerError> {
        let certificate = Certificate::from_der(certificate).map_err(PeerError::Certificate)?;
        let uris = uris(&certificate).map_err(PeerError::Certificate)?;
        match uris.as_slice() {
            [uri] => {
                let key = spki_hash(&certificate).map_err(PeerError::Certificate)?;
                let (role, id) = self.named(uri)?;
                Ok(Peer {
                    role,
                    id,
                    key: Some(key),
                })
            }
            several => Err(PeerError::Uris(several.len())),
        }
    }

    fn named(&self, uri: &str) -> Result<(Role, Id), PeerError> {
        let stranger = || PeerError::Stranger(uri.to_owned());
        let path = uri
            .strip_prefix("spiffe://")
            .and_then(|rest| rest.strip_prefix(self.0.as_str()))
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(stranger)?;
        let (role, name) = path.split_once('/').ok_or_else(stranger)?;
        let role = match role {
            "station" => Role::Station,
            "auditor" => Role::Auditor,
            _ => return Err(stranger()),
        };
        let id = Id::new(name).map_err(|_not_a_name| stranger())?;
        Ok((role, id))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", segment(self.role), self.id)
    }
}

const fn segment(role: Role) -> &'static str {
    match role {
        Role::Station => "station",
        Role::Auditor => "auditor",
        Role::Operator => "operator",
    }
}

fn spki_hash(certificate: &Certificate) -> Result<SpkiHash, der::Error> {
    let spki = certificate.tbs_certificate().subject_public_key_info();
    Ok(SpkiHash(sha256(&spki.to_der()?)))
}

fn uris(certificate: &Certificate) -> Result<Vec<String>, der::Error> {
    let names = certificate
        .tbs_certificate()
        .get_extension::<SubjectAltName>()?
        .map(|(_critical, names)| names.0)
        .unwrap_or_default();
    let uris = names.into_iter().filter_map(|name| {
        if let GeneralName::UniformResourceIdentifier(uri) = name {
            Some(uri.as_str().to_owned())
        } else {
            None
        }
    });
    Ok(uris.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certificate(uris: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::new(["station.example".to_owned()]).unwrap();
        let names = uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names.extend(names);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn domain() -> TrustDomain {
        TrustDomain::of_origin("log.Maker.example/ota-2")
    }

    #[test]
    fn a_certificate_names_one_peer() {
        for (role, uri) in [
            (
                Role::Station,
                "spiffe://log.maker.example/station/ota-l2-prov-01",
            ),
            (
                Role::Auditor,
                "spiffe://log.maker.example/auditor/ota-l2-prov-01",
            ),
        ] {
            let peer = domain().peer(&certificate(&[uri])).unwrap();
            assert_eq!(
                (peer.role, peer.id.as_str(), domain().uri(&peer)),
                (role, "ota-l2-prov-01", uri.to_owned())
            );
        }
    }

    #[test]
    fn nobody_else_is_let_in() {
        for uri in [
            "spiffe://other.example/station/a",
            "spiffe://log.maker.example.evil/station/a",
            "spiffe://log.maker.example/operator/a",
            "spiffe://log.maker.example/station/",
            "spiffe://log.maker.example/station/a/b",
            "spiffe://log.maker.example/station/a?role=auditor",
            "https://log.maker.example/station/a",
        ] {
            let error = domain().peer(&certificate(&[uri])).unwrap_err();
            assert_eq!(error, PeerError::Stranger(uri.to_owned()));
        }
        let own = "spiffe://log.maker.example/station/a";
        assert_eq!(domain().peer(&certificate(&[])), Err(PeerError::Uris(0)));
        assert_eq!(
            domain().peer(&certificate(&[own, own])),
            Err(PeerError::Uris(2))
        );
        assert!(matches!(
            domain().peer(b"no certificate"),
            Err(PeerError::Certificate(_))
        ));
    }
}
