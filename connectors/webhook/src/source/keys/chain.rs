//! Whether a certificate is what it says: issued for a host of its vendor, by an authority that everybody believes.

use std::time::Duration;

use headgate_sdk::Timestamp;
use rustls::{
    RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::ring,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use x509_cert::{
    Certificate,
    der::Decode,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use crate::verify::PublicKeys;

/// The key of the first certificate in `pem`, if it is for a host of `domain` and the others lead from it to an authority.
pub(super) fn key(
    pem: &[u8],
    domain: &str,
    authorities: &RootCertStore,
    now: Timestamp,
) -> Result<PublicKeys, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("it is no PEM: {error}"))?;
    let (first, others) = certificates
        .split_first()
        .ok_or("it holds no certificate")?;
    let parsed = ParsedCertificate::try_from(first)
        .map_err(|error| format!("its certificate is not readable: {error}"))?;
    let now = u64::try_from(now.as_second()).unwrap_or(0);
    verify_server_cert_signed_by_trust_anchor(
        &parsed,
        authorities,
        others,
        UnixTime::since_unix_epoch(Duration::from_secs(now)),
        ring::default_provider()
            .signature_verification_algorithms
            .all,
    )
    .map_err(|error| format!("its certificate leads to no public authority: {error}"))?;
    if !is_for(first, domain) {
        return Err(format!("its certificate is not for a host of {domain}"));
    }
    PublicKeys::of_certificate(first)
}

/// Whether every host that the certificate names is in `domain`, and it names one.
fn is_for(certificate: &[u8], domain: &str) -> bool {
    let names = Certificate::from_der(certificate)
        .ok()
        .and_then(|certificate| {
            let names = certificate.tbs_certificate.get::<SubjectAltName>().ok()??;
            Some(names.1.0)
        });
    let inside = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => name
            .as_str()
            .to_ascii_lowercase()
            .strip_suffix(domain)
            .is_some_and(|host| host.is_empty() || host.ends_with('.')),
        _ => false,
    };
    names.is_some_and(|names| !names.is_empty() && names.iter().all(inside))
}
