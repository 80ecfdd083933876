//! Certificates, made for each test.

use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    date_time_ymd, string::Ia5String,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// An authority that issues certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
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
        let params = CertificateParams::new(["masker.example".to_owned()]).unwrap();
        self.issue(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Issues a certificate for a client with these names.
    pub fn client(&self, names: &[&str]) -> Identity {
        self.issue(client_params(names), ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Issues a certificate for a client that has expired.
    pub fn expired_client(&self) -> Identity {
        let mut params = client_params(&["old.example"]);
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        self.issue(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Identity {
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().der().clone();
        Identity { certificate, key }
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

fn client_params(names: &[&str]) -> CertificateParams {
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
