//! Certificates, made for each test.

use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
    string::Ia5String,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Numbers certificates and authorities.
static SERIAL: AtomicU64 = AtomicU64::new(1);

/// An authority that issues certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub struct Identity {
    serial: u64,
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        // Each has a name of its own, so that a certificate of another one has an unknown issuer.
        let name = format!("authority {}", SERIAL.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// Returns the authority's certificate as a file has it.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", self.0.der())
    }

    /// Issues a certificate for a server on this host.
    pub fn server(&self) -> Identity {
        self.server_for(&["masker.example"], false)
    }

    /// Issues a certificate for a server with these names.
    pub fn server_for(&self, names: &[&str], has_expired: bool) -> Identity {
        let mut params = params(names);
        if has_expired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        self.issue(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Issues a certificate for a client with these names.
    pub fn client(&self, names: &[&str]) -> Identity {
        self.issue(params(names), ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Issues a certificate for a client that has expired.
    pub fn expired_client(&self) -> Identity {
        let mut params = params(&["old.example"]);
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        self.issue(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Returns a list of these certificates as revoked, as a file has it. An expired list has ended years ago.
    pub fn revoked(&self, identities: &[&Identity], has_expired: bool) -> String {
        let revoked = |identity: &&Identity| RevokedCertParams {
            serial_number: SerialNumber::from(identity.serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(if has_expired { 2021 } else { 2999 }, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: identities.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        pem("X509 CRL", list.signed_by(&self.0).unwrap().der())
    }

    fn issue(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Identity {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().der().clone();
        Identity { serial, certificate, key }
    }
}

impl Identity {
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// Returns the key's SubjectPublicKeyInfo in DER.
    pub fn public_key(&self) -> Vec<u8> {
        use rcgen::PublicKeyData;

        self.key.subject_public_key_info()
    }

    pub fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key.serialize_der())
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    let name = |name: &&str| match name.split_once("://") {
        Some(_) => SanType::URI(Ia5String::try_from(*name).unwrap()),
        None => SanType::DnsName(Ia5String::try_from(*name).unwrap()),
    };
    params.subject_alt_names = names.iter().map(name).collect();
    params
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}
