//! The identity in a client certificate, as the daemon gets it.

use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_cert::{
    Certificate,
    der::{self, Decode, Encode},
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use masker_types::limits::{CERTIFICATE_IDENTITIES_MAX, HEAD_BYTES_MAX, IDENTITY_BYTES_MAX};

/// What a name is written with, besides letters and digits. The rest is percent-encoded, so that no name contains the separator.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'/')
    .remove(b'@')
    .remove(b'*');

/// Names of one certificate that are passed on, besides its key.
const NAMES_MAX: usize = CERTIFICATE_IDENTITIES_MAX - 1;
/// Size of the header, in bytes. The rest of the head is for the request.
const HEADER_BYTES_MAX: usize = HEAD_BYTES_MAX / 2;

/// A client certificate that was verified.
pub(crate) struct ClientIdentity {
    /// The value of the header.
    pub(crate) header: String,
    /// When the certificate expires.
    not_after: SystemTime,
}

/// Why the identity of a certificate cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("it is malformed: {0}")]
    Malformed(#[from] der::Error),
    #[error("it has more than {NAMES_MAX} DNS names, URIs and e-mail addresses")]
    TooManyNames,
    #[error("it has a name of more than {IDENTITY_BYTES_MAX} bytes")]
    NameTooLong,
    #[error("its names take more than {HEADER_BYTES_MAX} bytes with their escapes")]
    TooLarge,
}

impl ClientIdentity {
    /// Reads the identity: the SHA-256 of the DER of its key (SubjectPublicKeyInfo), and its names. Other kinds of names, and names
    /// that are not visible ASCII, are left out.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let certificate = Certificate::from_der(certificate)?;
        let certificate = certificate.tbs_certificate();
        let key = certificate.subject_public_key_info().to_der()?;
        let mut header = format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(&key)));
        let names = certificate.get_extension::<SubjectAltName>()?.map_or(Vec::new(), |(_, names)| names.0);
        let mut count = 0;
        for name in &names {
            let (kind, name) = match name {
                GeneralName::DnsName(name) => ("dns", name.as_str()),
                GeneralName::UniformResourceIdentifier(name) => ("uri", name.as_str()),
                GeneralName::Rfc822Name(name) => ("email", name.as_str()),
                _ => continue,
            };
            if name.len() > IDENTITY_BYTES_MAX {
                return Err(IdentityError::NameTooLong);
            }
            // The daemon refuses such a name, and no role can have it as a member.
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                continue;
            }
            count += 1;
            if count > NAMES_MAX {
                return Err(IdentityError::TooManyNames);
            }
            header.push_str(&format!(", san:{kind}:{}", utf8_percent_encode(name, KEPT)));
            if header.len() > HEADER_BYTES_MAX {
                return Err(IdentityError::TooLarge);
            }
        }
        Ok(ClientIdentity { header, not_after: certificate.validity().not_after.to_system_time() })
    }

    /// Returns whether the certificate has expired. The handshake has checked it, but a connection can be older than that.
    pub(crate) fn has_expired(&self, now: SystemTime) -> bool {
        // RFC 5280 includes the second of the end.
        now.duration_since(self.not_after).is_ok_and(|since| since >= Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PublicKeyData, SanType, string::Ia5String};

    use super::*;

    fn certificate(names: Vec<SanType>) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        (params.self_signed(&key).unwrap().der().clone(), key)
    }

    fn text(text: &str) -> Ia5String {
        Ia5String::try_from(text).unwrap()
    }

    #[test]
    fn the_header_has_the_key_and_the_names() {
        let (certificate, key) = certificate(vec![
            SanType::DnsName(text("ci.example")),
            SanType::URI(text("spiffe://example/ns/a,b%c")),
            SanType::Rfc822Name(text("ci@example,san:dns:admin.example")),
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
            SanType::DnsName(text("admin.example san:dns:x")),
            SanType::DnsName(text("")),
            SanType::DnsName(text("*.ci.example")),
        ]);
        let identity = ClientIdentity::of(&certificate).unwrap();
        let digest = HEXLOWER.encode(&Sha256::digest(key.subject_public_key_info()));
        let expected = format!(
            "sha256:{digest}, san:dns:ci.example, san:uri:spiffe://example/ns/a%2Cb%25c, \
             san:email:ci@example%2Csan:dns:admin.example, san:dns:*.ci.example"
        );
        assert_eq!(identity.header, expected);
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000);
        assert!(!identity.has_expired(end) && identity.has_expired(end + Duration::from_secs(1)));
        assert!(!identity.has_expired(SystemTime::UNIX_EPOCH));
    }

    #[test]
    fn a_certificate_without_names_has_its_key() {
        let (certificate, _) = certificate(Vec::new());
        let header = ClientIdentity::of(&certificate).unwrap().header;
        assert_eq!((header.len(), header.starts_with("sha256:"), header.contains(',')), (71, true, false));
    }

    #[test]
    fn what_is_too_large_or_malformed_is_refused() {
        let error = |names: Vec<SanType>| ClientIdentity::of(&certificate(names).0).err();
        let many = |count: usize| {
            (0..count).map(|number| SanType::DnsName(text(&format!("a{number}.example")))).collect::<Vec<_>>()
        };
        let uri = |byte: &str, length: usize| SanType::URI(text(&byte.repeat(length)));
        assert!(error(many(NAMES_MAX)).is_none() && error(vec![uri("a", IDENTITY_BYTES_MAX)]).is_none());
        assert!(matches!(error(many(NAMES_MAX + 1)), Some(IdentityError::TooManyNames)));
        assert!(matches!(error(vec![uri("a", IDENTITY_BYTES_MAX + 1)]), Some(IdentityError::NameTooLong)));
        // Each of these bytes takes three in the header.
        let heavy = (0..4).map(|_| uri("%", IDENTITY_BYTES_MAX)).collect();
        assert!(matches!(error(heavy), Some(IdentityError::TooLarge)));
        let cut = CertificateDer::from(certificate(Vec::new()).0[..100].to_vec());
        assert!(matches!(ClientIdentity::of(&cut), Err(IdentityError::Malformed(_))));
    }
}
