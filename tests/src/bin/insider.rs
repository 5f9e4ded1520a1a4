//! What nobody but the holder of the infrastructure token could do: certificates and challenges that the CA's own
//! programs never make, for stories of expired, misnamed and late peers. The token is the factory's own.

use acceptance::failure::{At as _, Failure, Outcome};
use ca_server::challenge::ChallengeKey;
use clap::{Args, Parser, Subcommand};
use identity::{ChipUid, Id, Timestamp};
use keyvault::rcgen_key::RcgenKey;
use keyvault::{KeyUse, Module, Pin, Token};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyUsagePurpose, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::path::PathBuf;
use std::time::Duration;

/// What ca-server derives its challenge key for.
const CHALLENGE_CONTEXT: &[u8] = b"koseki/challenge-key/v1\n";
/// How long a challenge of the CA lives.
const LIFETIME_MS: u64 = 600_000;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    token: TokenArguments,
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Args)]
struct TokenArguments {
    #[arg(long)]
    module: PathBuf,
    #[arg(long)]
    token: String,
    #[arg(long)]
    pin_file: PathBuf,
}

#[derive(Subcommand)]
enum Deed {
    /// Signs a TLS certificate under the infrastructure root.
    Certify(Certify),
    /// Makes the challenge that the CA made at a moment.
    Challenge(Challenge),
}

#[derive(Args)]
struct Certify {
    #[arg(long)]
    root: PathBuf,
    #[arg(long)]
    root_key: String,
    /// Public key, `SubjectPublicKeyInfo` as PEM.
    #[arg(long)]
    key: PathBuf,
    /// `DNS:name` or `URI:name`.
    #[arg(long)]
    name: String,
    /// For servers, not clients.
    #[arg(long)]
    server: bool,
    /// Seconds since 1970.
    #[arg(long)]
    not_before: u64,
    #[arg(long)]
    not_after: u64,
    #[arg(long)]
    out: PathBuf,
}

#[derive(Args)]
struct Challenge {
    #[arg(long)]
    station: String,
    /// In hexadecimal.
    #[arg(long)]
    uid: String,
    /// When it expires, milliseconds since 1970.
    #[arg(long)]
    expires: u64,
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    let TokenArguments {
        module,
        token,
        pin_file,
    } = arguments.token;
    let pin = Pin::from_file(&pin_file).map_err(Failure::new)?;
    let module = Module::load(&module).map_err(Failure::new)?;
    let token = module.open(&token, pin).map_err(Failure::new)?;
    match arguments.deed {
        Deed::Certify(order) => certify(&token, &order),
        Deed::Challenge(order) => {
            println!("{}", challenge(&token, &order)?);
            Ok(())
        }
    }
}

fn certify(token: &Token, order: &Certify) -> Outcome<()> {
    let root = token.key(&order.root_key, KeyUse::Infrastructure);
    let root = RcgenKey::new(root.map_err(Failure::new)?);
    let infrastructure = CertificateDer::from_pem_file(&order.root).at(&order.root)?;
    let key = std::fs::read_to_string(&order.key).at(&order.key)?;
    let key = rcgen::SubjectPublicKeyInfo::from_pem(&key).map_err(Failure::new)?;
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![name(&order.name)?];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match order.server {
        true => ExtendedKeyUsagePurpose::ServerAuth,
        false => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    let moment = |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_before = moment(order.not_before);
    params.not_after = moment(order.not_after);
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::from_ca_cert_der(&infrastructure, &root).map_err(Failure::new)?;
    let certificate = params.signed_by(&key, &issuer).map_err(Failure::new)?;
    std::fs::write(&order.out, certificate.pem()).at(&order.out)
}

fn name(text: &str) -> Outcome<SanType> {
    match text.split_once(':') {
        Some(("DNS", name)) => name.try_into().map(SanType::DnsName).map_err(Failure::new),
        Some(("URI", name)) => name.try_into().map(SanType::URI).map_err(Failure::new),
        _ => Err(Failure::new("a name is DNS:… or URI:…")),
    }
}

fn challenge(token: &Token, order: &Challenge) -> Outcome<String> {
    let key = token.derive_secret("challenge", CHALLENGE_CONTEXT);
    let key = ChallengeKey::new(key.map_err(Failure::new)?);
    let station = Id::new(&order.station).map_err(Failure::new)?;
    let uid = identity_of(&order.uid)?;
    let made = Timestamp(order.expires.saturating_sub(LIFETIME_MS));
    let (challenge, expires) = key.challenge(&station, &uid, made);
    acceptance::failure::require(expires.0 == order.expires, "challenges live longer now")?;
    Ok(hex::encode(challenge))
}

fn identity_of(text: &str) -> Outcome<ChipUid> {
    let bytes = hex::decode(text);
    ChipUid::new(&bytes.map_err(Failure::new)?).map_err(Failure::new)
}
