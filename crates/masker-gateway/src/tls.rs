//! The TLS of the listeners, from the files that the configuration names.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use nix::fcntl::OFlag;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use zeroize::Zeroizing;

use crate::config::{CertificateFiles, NamedFile};
use masker_document::DocumentError;
use masker_types::limits::CERTIFICATE_FILE_BYTES_MAX;

/// The mode bits that a private key must not have: those that let its group change it, and other users do anything.
const KEY_MODE_REFUSED: u32 = 0o037;

/// The TLS of the listeners. It is replaced as a whole.
pub(crate) struct Tls {
    /// For clients with a bearer.
    pub(crate) server: Arc<ServerConfig>,
    /// For clients with a certificate.
    pub(crate) mtls: Option<Arc<ServerConfig>>,
    clients: ClientTrust,
    /// The certificate of the gateway.
    pub(crate) certificate: CertificateDer<'static>,
}

/// Which client certificates are accepted.
#[derive(PartialEq, Eq)]
struct ClientTrust {
    /// The authorities that issue them.
    authorities: Vec<CertificateDer<'static>>,
    /// The lists of those that are revoked. Empty if none is to be read.
    revoked: Vec<CertificateRevocationListDer<'static>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Every error, at the line of the setting that names the file.
    pub(crate) fn load(files: &CertificateFiles) -> Result<Self, Vec<DocumentError>> {
        let chain = read_pem(&files.certificate, "certificate");
        let key = read_key(&files.key);
        let authorities = files.client_ca.as_ref().map(|file| read_pem(file, "certificate")).transpose();
        let revoked = files.client_crl.as_ref().map(|file| read_pem(file, "list of revoked certificates")).transpose();
        let (chain, key, clients) = match (chain, key, authorities, revoked) {
            (Ok(chain), Ok(key), Ok(authorities), Ok(revoked)) => {
                let (authorities, revoked) = (authorities.unwrap_or_default(), revoked.unwrap_or_default());
                (chain, key, ClientTrust { authorities, revoked })
            }
            (chain, key, authorities, revoked) => {
                let errors = [chain.err(), key.err(), authorities.err(), revoked.err()];
                return Err(errors.into_iter().flatten().collect());
            }
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificate_error = |error: rustls::Error| {
            let advice = "the file begins with the certificate of the key in `key`, and its chain follows";
            vec![located(&files.certificate, format!("cannot be used: {error}; {advice}"))]
        };
        let server = server_config(&provider, None, &chain, &key).map_err(certificate_error)?;
        let mtls = match &files.client_ca {
            Some(file) => {
                let verifier =
                    clients.verifier(&provider, file, files.client_crl.as_ref()).map_err(|error| vec![error])?;
                Some(server_config(&provider, Some(verifier), &chain, &key).map_err(certificate_error)?)
            }
            None => None,
        };
        let Some(certificate) = chain.into_iter().next() else {
            return Err(vec![located(&files.certificate, "contains no certificate in PEM")]);
        };
        Ok(Tls { server, mtls, clients, certificate })
    }

    /// Returns whether other client certificates than before are accepted.
    pub(crate) fn accepts_other_clients(&self, before: &Tls) -> bool {
        self.clients != before.clients
    }
}

impl ClientTrust {
    /// Returns what decides over a certificate in the handshake. With lists, each certificate of a chain must be in the scope of a list
    /// that has not expired.
    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
        client_ca: &NamedFile,
        client_crl: Option<&NamedFile>,
    ) -> Result<Arc<dyn ClientCertVerifier>, DocumentError> {
        let mut roots = RootCertStore::empty();
        for authority in &self.authorities {
            roots
                .add(authority.clone())
                .map_err(|error| located(client_ca, format!("has a certificate that cannot be used: {error}")))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = match client_crl {
            Some(_) => builder.with_crls(self.revoked.iter().cloned()).enforce_revocation_expiration(),
            None => builder,
        };
        builder.build().map_err(|error| {
            let file = match &error {
                VerifierBuilderError::InvalidCrl(_) => client_crl.unwrap_or(client_ca),
                _ => client_ca,
            };
            located(file, format!("cannot be used: {error}"))
        })
    }
}

/// Returns TLS 1.2 and 1.3 with the defaults of rustls, for HTTP/2 and HTTP/1.1.
fn server_config(
    provider: &Arc<CryptoProvider>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions()?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    // It also checks that the certificate has the key.
    let mut config = builder.with_single_cert(chain.to_vec(), key.clone_key())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Reads a file of at least one section of a kind.
fn read_pem<T: PemObject>(file: &NamedFile, kind: &str) -> Result<Vec<T>, DocumentError> {
    let (text, _) = read(&file.path).map_err(|message| located(file, message))?;
    let found: Result<Vec<T>, pem::Error> = T::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(located(file, format!("contains no {kind} in PEM"))),
        Ok(found) => Ok(found),
        Err(error) => Err(located(file, format!("is not PEM: {error}"))),
    }
}

fn read_key(file: &NamedFile) -> Result<PrivateKeyDer<'static>, DocumentError> {
    let (text, mode) = read(&file.path).map_err(|message| located(file, message))?;
    if mode & KEY_MODE_REFUSED != 0 {
        let advice = "give it the mode 0600, or 0640 with the group of the gateway";
        return Err(located(file, format!("is open to other users (mode {:04o}): {advice}", mode & 0o7777)));
    }
    // The errors of the parser quote what they found, which may be the key.
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| located(file, "contains no private key in PEM"))
}

/// Reads a regular file of a limited size, and its mode. The buffer is wiped; copies that the parser makes are not.
fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    // A pipe without a writer would make the open wait.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let too_long = || format!("is over {} KiB long", CERTIFICATE_FILE_BYTES_MAX / 1_024);
    if metadata.len() > CERTIFICATE_FILE_BYTES_MAX {
        return Err(too_long());
    }
    // A buffer that grew would leave copies of the text.
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).map_or(0, |length| length + 1)));
    file.take(metadata.len() + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > metadata.len() {
        return Err("was changed while it was read".to_owned());
    }
    Ok((text, metadata.mode()))
}

fn located(file: &NamedFile, message: impl Into<String>) -> DocumentError {
    DocumentError { line: file.line, message: format!("{} {}", file.path.display(), message.into()) }
}

/// What tells the present content of a file from another one, without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<Option<[i64; 6]>>);

impl Fingerprint {
    /// Takes the fingerprint of all files. A file that is missing has one too.
    pub(crate) fn of(files: &CertificateFiles) -> Self {
        let all = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref(), files.client_crl.as_ref()];
        let of_file = |file: &NamedFile| {
            let found = fs::metadata(&file.path).ok()?;
            let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
            Some([times[0], times[1], times[2], times[3], found.ino().cast_signed(), found.size().cast_signed()])
        };
        Fingerprint(all.into_iter().flatten().map(of_file).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use data_encoding::BASE64;
    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
    }

    struct Files(TempDir);

    impl Files {
        fn new() -> Self {
            let files = Files(TempDir::new().unwrap());
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new(["masker.example".to_owned()]).unwrap().self_signed(&key).unwrap();
            files.write("cert.pem", &pem("CERTIFICATE", certificate.der()), 0o644);
            files.write("ca.pem", &pem("CERTIFICATE", certificate.der()), 0o644);
            files.write("key.pem", &pem("PRIVATE KEY", &key.serialize_der()), 0o600);
            files
        }

        fn write(&self, name: &str, text: &str, mode: u32) {
            let path = self.0.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }

        fn named(&self) -> CertificateFiles {
            let file = |name: &str, line| NamedFile { path: self.0.path().join(name), line };
            CertificateFiles {
                certificate: file("cert.pem", 4),
                key: file("key.pem", 5),
                client_ca: Some(file("ca.pem", 9)),
                client_crl: None,
            }
        }

        /// Returns the errors, each without the directory.
        fn errors(&self) -> Vec<(usize, String)> {
            let directory = format!("{}/", self.0.path().display());
            let errors = Tls::load(&self.named()).err().expect("errors");
            errors.into_iter().map(|error| (error.line, error.message.replace(&directory, ""))).collect()
        }
    }

    #[test]
    fn valid_files_are_loaded() {
        let files = Files::new();
        let tls = Tls::load(&files.named()).ok().unwrap();
        assert!(tls.mtls.is_some() && !tls.accepts_other_clients(&tls));
        for mode in [0o400, 0o640] {
            let key = fs::read_to_string(files.0.path().join("key.pem")).unwrap();
            files.write("key.pem", &key, mode);
            assert!(Tls::load(&files.named()).is_ok(), "{mode:o}");
        }
        let other = Files::new();
        let mut named = files.named();
        named.client_ca = other.named().client_ca;
        assert!(Tls::load(&named).ok().unwrap().accepts_other_clients(&tls));
        named.client_ca = None;
        assert!(Tls::load(&named).ok().unwrap().mtls.is_none());
    }

    #[test]
    fn every_file_has_its_error() {
        let files = Files::new();
        fs::remove_file(files.0.path().join("cert.pem")).unwrap();
        files.write("key.pem", "hunter2", 0o600);
        files.write("ca.pem", "", 0o644);
        let errors = files.errors();
        assert_eq!(errors.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4, 5, 9]);
        assert!(errors[0].1.starts_with("cert.pem cannot be read: "), "{errors:?}");
        assert_eq!(errors[1].1, "key.pem contains no private key in PEM");
        assert_eq!(errors[2].1, "ca.pem contains no certificate in PEM");
    }

    #[test]
    fn an_invalid_list_of_revoked_certificates_is_named() {
        let files = Files::new();
        let mut named = files.named();
        named.client_crl = Some(NamedFile { path: files.0.path().join("crl.pem"), line: 10 });
        for (text, expected) in [
            ("", "contains no list of revoked certificates in PEM".to_owned()),
            (&pem("X509 CRL", b"hunter2"), "cannot be used: ".to_owned()),
        ] {
            files.write("crl.pem", text, 0o644);
            let errors = Tls::load(&named).err().expect("errors");
            assert!(errors[0].line == 10 && errors[0].message.contains(&expected), "{errors:?}");
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let files = Files::new();
        let key = fs::read_to_string(files.0.path().join("key.pem")).unwrap();
        for mode in [0o644, 0o660, 0o604, 0o601] {
            files.write("key.pem", &key, mode);
            let errors = files.errors();
            assert!(errors[0].1.starts_with("key.pem is open to other users (mode 0"), "{errors:?}");
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let files = Files::new();
        let key = KeyPair::generate().unwrap();
        files.write("key.pem", &pem("PRIVATE KEY", &key.serialize_der()), 0o600);
        assert!(files.errors()[0].1.starts_with("cert.pem cannot be used: "));
    }

    #[test]
    fn a_fingerprint_differs_once_a_file_was_replaced() {
        let files = Files::new();
        let before = Fingerprint::of(&files.named());
        assert_eq!(before, Fingerprint::of(&files.named()));
        fs::rename(files.0.path().join("ca.pem"), files.0.path().join("old.pem")).unwrap();
        let without = Fingerprint::of(&files.named());
        assert_ne!(before, without);
        files.write("ca.pem", "x", 0o644);
        assert_ne!(without, Fingerprint::of(&files.named()));
    }
}
