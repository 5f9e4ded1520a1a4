//! A station and chips in software: what stories need that ask the CA for things no real station would.

use crate::chips::Vendor;
use crate::factory::{Factory, SERVER_NAME};
use crate::failure::{At as _, Failure, Outcome};
use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64ct::{Base64, Encoding as _};
use hyper_util::rt::TokioIo;
use identity::document::{Document as _, Grant};
use identity::envelope::{Envelope, Purpose, StationRequest, Unit, Version1, request_hash};
use identity::evidence::{Bytes32, EndorsedChip, Evidence, OnChip, Signature};
use identity::message::{Endorsement, KeyOrigin, Message as _, Possession};
use identity::{
    ChipUid, DeviceSerial, DocumentHash, Id, P256Key, PartNumber, RequestId, Timestamp,
};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use proto::factory::{AdoptRequest, FactoryServiceClient, GetChallengesRequest, ProvisionRequest};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// A P-256 key in software.
#[derive(Clone)]
pub struct SoftKey {
    secret: SecretKey,
    pair: Arc<EcdsaKeyPair>,
}

/// A chip in software, endorsed by the factory's vendor.
#[derive(Clone, Debug)]
pub struct SoftChip {
    /// Its identifier.
    pub uid: ChipUid,
    part: PartNumber,
    /// Its fixed key.
    pub key: SoftKey,
    evidence: Evidence,
}

/// A station in software, enrolled like any other.
#[derive(Clone, Debug)]
pub struct SoftStation {
    /// Its name.
    pub id: Id,
    pub(crate) request: SoftKey,
    pub(crate) client: FactoryServiceClient<Channel>,
    tls: SoftKey,
}

/// Where a unit belongs.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The grant.
    pub grant: DocumentHash,
    /// The lot.
    pub lot: Id,
}

/// A signed request, ready to be sent as often as one likes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The envelope, DER.
    pub envelope: Vec<u8>,
    /// The station's signature.
    pub signature: Vec<u8>,
}

/// What became of a unit: index and certificate, or the fault's code.
pub type Answer = Result<(u64, Vec<u8>), String>;

impl SoftKey {
    /// A new key.
    ///
    /// # Errors
    /// [`Failure`] without randomness.
    pub fn generate() -> Outcome<Self> {
        let mut scalar = [0; 32];
        getrandom::fill(&mut scalar).map_err(Failure::new)?;
        // All but one in 2^32 of random values are scalars of the curve.
        let secret = SecretKey::from_slice(&scalar).map_err(Failure::new)?;
        Self::of(secret)
    }

    fn of(secret: SecretKey) -> Outcome<Self> {
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &secret.to_bytes(),
            secret.public_key().to_sec1_point(false).as_bytes(),
        );
        Ok(Self {
            secret,
            pair: Arc::new(pair.map_err(Failure::new)?),
        })
    }

    /// The key with which a vendor endorses its chips.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn of_vendor(vendor: &Vendor) -> Outcome<Self> {
        let pem = fs::read_to_string(vendor.private()).at(&vendor.private())?;
        Self::of(SecretKey::from_pkcs8_pem(&pem).map_err(Failure::new)?)
    }

    /// Its public half.
    ///
    /// # Errors
    /// [`Failure`] never happens for a key that was made.
    pub fn public(&self) -> Outcome<P256Key> {
        let point = self.secret.public_key().to_sec1_point(false);
        P256Key::from_sec1(point.as_bytes()).map_err(Failure::new)
    }

    /// Signs a digest.
    ///
    /// # Errors
    /// [`Failure`] of the algorithm.
    pub fn sign(&self, digest: &[u8; 32]) -> Outcome<Signature> {
        let digest = Digest::import_less_safe(digest, &SHA256).map_err(Failure::new)?;
        let signature = self.pair.sign_digest(&digest).map_err(Failure::new)?;
        signature
            .as_ref()
            .try_into()
            .map(Signature)
            .map_err(Failure::new)
    }

    fn pkcs8(&self) -> Outcome<Vec<u8>> {
        let document = self.secret.to_pkcs8_der().map_err(Failure::new)?;
        Ok(document.as_bytes().to_vec())
    }
}

impl std::fmt::Debug for SoftKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SoftKey")
    }
}

impl SoftChip {
    /// A camera's chip with a fixed key.
    ///
    /// # Errors
    /// [`Failure`] of the vendor's key.
    pub fn make(vendor: &Vendor, number: u32) -> Outcome<Self> {
        Self::of_vendor(&SoftKey::of_vendor(vendor)?, number)
    }

    /// As [`Self::make`], with the vendor's key at hand.
    ///
    /// # Errors
    /// [`Failure`] without randomness.
    pub fn of_vendor(vendor: &SoftKey, number: u32) -> Outcome<Self> {
        let mut uid = vec![0x01, 0x23, 0, 0, 0xF0];
        uid.extend_from_slice(&number.to_be_bytes());
        let (uid, part) = (
            ChipUid::new(&uid).map_err(Failure::new)?,
            PartNumber::new("sim-se-a1").map_err(Failure::new)?,
        );
        let key = SoftKey::generate()?;
        let evidence = attest(vendor, (&uid, &part), &key)?;
        Ok(Self {
            uid,
            part,
            key,
            evidence,
        })
    }
}

/// What the vendor and the chip say of a key that was made on the chip.
fn attest(
    vendor: &SoftKey,
    (uid, part): (&ChipUid, &PartNumber),
    key: &SoftKey,
) -> Outcome<Evidence> {
    let attestation = SoftKey::generate()?;
    let endorsement = Endorsement {
        uid,
        part,
        attestation: &attestation.public()?.spki_hash(),
    };
    let nonce = [7; 32];
    let origin = KeyOrigin {
        uid,
        part,
        spki: &key.public()?.spki_hash(),
        nonce: &nonce,
    };
    Ok(Evidence::OnChip(OnChip {
        chip: EndorsedChip {
            attestation: attestation.public()?,
            endorsement: vendor.sign(&endorsement.digest())?,
        },
        nonce: Bytes32(nonce),
        origin: attestation.sign(&origin.digest())?,
    }))
}

impl Order {
    /// Under a grant that was loaded.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn under(factory: &Factory, grant: &str, lot: &str) -> Outcome<Self> {
        let path = factory.grant_dir(grant).join("grant.der");
        let grant = Grant::from_bytes(&fs::read(&path).at(&path)?).at(&path)?;
        Ok(Self {
            grant: grant.hash(),
            lot: Id::new(lot).map_err(Failure::new)?,
        })
    }
}

impl SoftStation {
    /// Enrolls a station whose keys are in software, and connects it.
    ///
    /// # Errors
    /// [`Failure`] of a step.
    pub fn enroll(factory: &Factory, id: &str) -> Outcome<Self> {
        let home = home(factory, id);
        fs::create_dir_all(&home).at(&home)?;
        let [tls, request, receipt] = [(); 3].map(|()| SoftKey::generate());
        let (tls, request, receipt) = (tls?, request?, receipt?);
        write_request(&home, id, [&tls, &request, &receipt])?;
        let certificate = home.join("station.cert.pem");
        factory.enroll_station(id, &home, &certificate)?;
        Ok(Self {
            id: Id::new(id).map_err(Failure::new)?,
            client: FactoryServiceClient::new(channel(factory, &certificate, &tls)?),
            tls,
            request,
        })
    }

    /// The same station with another connection, to its factory or a copy of it.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn at(&self, factory: &Factory) -> Outcome<Self> {
        let certificate = home(factory, self.id.as_str()).join("station.cert.pem");
        let channel = channel(factory, &certificate, &self.tls)?;
        Ok(Self {
            client: FactoryServiceClient::new(channel),
            ..self.clone()
        })
    }

    /// One challenge for each chip, and the CA's time.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn challenges<'a>(
        &self,
        chips: impl Iterator<Item = &'a SoftChip>,
    ) -> Outcome<(Vec<Vec<u8>>, Timestamp)> {
        let uids = chips.map(|chip| chip.uid.as_bytes().to_vec()).collect();
        let asked = GetChallengesRequest { uids };
        let answer = self.client.clone().get_challenges(asked).await;
        let answer = answer.map_err(Failure::new)?.into_inner();
        Ok((answer.challenges, Timestamp(answer.server_time_ms)))
    }

    /// Asks for a challenge and signs a request for one unit.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn prepare(
        &self,
        purpose: Purpose,
        order: Order,
        chip: &SoftChip,
        serial: u64,
    ) -> Outcome<Signed> {
        let (challenges, _time) = self.challenges(std::iter::once(chip)).await?;
        let challenge = challenges.into_iter().next();
        let challenge = challenge.ok_or_else(|| Failure::new("no challenge"))?;
        let unit = self.unit(order, chip, serial, challenge)?;
        self.seal(&Envelope {
            version: Version1,
            purpose,
            station: self.id,
            time: now()?,
            grant: order.grant,
            lot: order.lot,
            seen: None,
            units: vec![unit],
        })
    }

    /// A unit under a request id of its own, with proof of possession.
    ///
    /// # Errors
    /// [`Failure`] without randomness, or of the serial's form.
    pub fn unit(
        &self,
        order: Order,
        chip: &SoftChip,
        serial: u64,
        challenge: Vec<u8>,
    ) -> Outcome<Unit> {
        let mut request = [0; 16];
        getrandom::fill(&mut request).map_err(Failure::new)?;
        let request = RequestId(request);
        let serial = DeviceSerial::new(&serial.to_string()).map_err(Failure::new)?;
        let key = chip.key.public()?;
        let possession = Possession {
            challenge: &challenge,
            request: &request,
            uid: &chip.uid,
            serial: &serial,
            spki: &key.spki_hash(),
            grant: &order.grant,
            station: &self.id,
        };
        let possession = chip.key.sign(&possession.digest())?;
        let octets = |bytes: &[u8]| der::asn1::OctetString::new(bytes).map_err(Failure::new);
        Ok(Unit {
            request,
            uid: chip.uid,
            part: chip.part,
            serial,
            key: octets(&key.spki())?,
            challenge: octets(&challenge)?,
            possession,
            evidence: chip.evidence.clone(),
            observations: Vec::new(),
        })
    }

    /// Signs a request, whatever it says.
    ///
    /// # Errors
    /// [`Failure`] of the algorithm.
    pub fn seal<R: StationRequest>(&self, request: &R) -> Outcome<Signed> {
        let bytes = request.to_bytes();
        let signature = self.request.sign(&request_hash::<R>(&bytes).0)?;
        Ok(Signed {
            envelope: bytes,
            signature: signature.0.to_vec(),
        })
    }

    /// Sends a request of one unit to be provisioned.
    ///
    /// # Errors
    /// [`Failure`] of the call itself, with the fault's code if it has one.
    pub async fn provision(&self, signed: &Signed) -> Outcome<Answer> {
        let request = ProvisionRequest {
            envelope: signed.envelope.clone(),
            signature: signed.signature.clone(),
        };
        let answer = self.client.clone().provision(request).await;
        one(answer
            .map_err(|status| refused(&status))?
            .into_inner()
            .results)
    }

    /// Sends a request of one unit to be adopted.
    ///
    /// # Errors
    /// As [`Self::provision`].
    pub async fn adopt(&self, signed: &Signed) -> Outcome<Answer> {
        let request = AdoptRequest {
            envelope: signed.envelope.clone(),
            signature: signed.signature.clone(),
        };
        let answer = self.client.clone().adopt(request).await;
        one(answer
            .map_err(|status| refused(&status))?
            .into_inner()
            .results)
    }
}

/// The station's own clock.
pub(crate) fn now() -> Outcome<Timestamp> {
    let millis = u64::try_from(jiff::Timestamp::now().as_millisecond());
    millis.map(Timestamp).map_err(Failure::new)
}

fn home(factory: &Factory, id: &str) -> PathBuf {
    factory.path("soft-stations").join(id)
}

fn refused(status: &tonic::Status) -> Failure {
    let fault = proto::fault::fault_from_status(status);
    Failure::new(fault.map_or_else(|| status.to_string(), |fault| fault.code))
}

fn one(results: Vec<proto::factory::UnitResult>) -> Outcome<Answer> {
    use proto::factory::unit_result::Outcome::{Issued, Refused};
    let result = results.into_iter().next().and_then(|result| result.outcome);
    match result {
        Some(Issued(issued)) => Ok(Ok((issued.index, issued.certificate))),
        Some(Refused(fault)) => Ok(Err(fault.code)),
        None => Err(Failure::new("an answer without an outcome")),
    }
}

/// What a station's agent would write.
fn write_request(home: &Path, id: &str, [tls, request, receipt]: [&SoftKey; 3]) -> Outcome<()> {
    let spki = |key: &SoftKey| key.public().map(|key| Base64::encode_string(&key.spki()));
    let text = format!(
        "schema = \"station-request/v1\"\nid = \"{id}\"\nsite = \"JP-13-OTA\"\nline = \"line-2\"\n\n[keys]\ntls = \"{}\"\nrequest = \"{}\"\nreceipt = \"{}\"\n",
        spki(tls)?,
        spki(request)?,
        spki(receipt)?
    );
    let path = home.join("station-request.toml");
    fs::write(&path, text).at(&path)?;
    let key = PrivatePkcs8KeyDer::from(tls.pkcs8()?);
    let key = rcgen::KeyPair::try_from(&key).map_err(Failure::new)?;
    let csr = rcgen::CertificateParams::default();
    let csr = csr.serialize_request(&key).map_err(Failure::new)?;
    let path = home.join("station.csr.pem");
    fs::write(&path, csr.pem().map_err(Failure::new)?).at(&path)
}

/// TLS 1.3 with a client certificate.
fn channel(factory: &Factory, certificate: &Path, key: &SoftKey) -> Outcome<Channel> {
    let connector = TlsConnector::from(Arc::new(tls(factory, certificate, key)?));
    let address = factory.address();
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(Failure::new)?;
    let name = ServerName::try_from(SERVER_NAME).map_err(Failure::new)?;
    let connect = tower::service_fn(move |_uri| {
        let (connector, name) = (connector.clone(), name.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    });
    Ok(endpoint.connect_with_connector_lazy(connect))
}

fn tls(factory: &Factory, certificate: &Path, key: &SoftKey) -> Outcome<rustls::ClientConfig> {
    let pem = |path: &Path| -> Outcome<Vec<CertificateDer<'static>>> {
        let bytes = fs::read(path).at(path)?;
        CertificateDer::pem_slice_iter(&bytes)
            .collect::<Result<_, _>>()
            .at(path)
    };
    let mut roots = rustls::RootCertStore::empty();
    for root in pem(&factory.path("ca/ceremony/infrastructure.pem"))? {
        roots.add(root).map_err(Failure::new)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8()?));
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(Failure::new)?
        .with_root_certificates(roots)
        .with_client_auth_cert(pem(certificate)?, key)
        .map_err(Failure::new)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
