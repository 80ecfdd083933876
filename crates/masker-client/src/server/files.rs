//! The files of TLS: trusted authorities, and the client certificate with its key.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use zeroize::Zeroizing;

use masker_types::limits::CERTIFICATE_FILE_BYTES_MAX;

/// The mode bits that a private key must not have: those that let its group change it, and other users do anything.
const KEY_MODE_REFUSED: u32 = 0o037;

/// A file that cannot be used. No message contains any of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The content of the file is of another kind.
    #[error("{path} {problem}", path = .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Other users can read the private key.
    #[error("{path} is open to other users (mode {mode:04o}): give it the mode 0600", path = .path.display())]
    OpenKey {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// This host trusts no authority.
    #[error(
        "this host has no list of trusted authorities: install `ca-certificates`, or name the server's authority with --ca"
    )]
    NoAuthorities,
    /// TLS cannot be used at all.
    #[error("failed to set up TLS: {0}")]
    Tls(#[source] rustls::Error),
}

impl FileError {
    fn content(path: &Path, problem: impl Into<String>) -> Self {
        FileError::Content { path: path.to_owned(), problem: problem.into() }
    }

    /// Returns the error of a client certificate that does not fit its key.
    pub(super) fn certificate(path: &Path, error: &rustls::Error) -> Self {
        let advice = "the file begins with the certificate of the key, and its chain follows";
        FileError::content(path, format!("cannot be used: {error}; {advice}"))
    }
}

/// Returns the authorities of a file, or those that this host trusts.
pub(super) fn authorities(file: Option<&Path>) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        // Some authorities of a host can be unusable, as old ones are. The others count.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() { Err(FileError::NoAuthorities) } else { Ok(roots) };
    };
    for authority in certificates(file)? {
        let added = roots.add(authority);
        added.map_err(|error| FileError::content(file, format!("has a certificate that cannot be used: {error}")))?;
    }
    Ok(roots)
}

/// Returns the certificates of a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let (text, _) = read(path)?;
    match CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>() {
        Ok(found) if found.is_empty() => Err(FileError::content(path, "contains no certificate in PEM")),
        Ok(found) => Ok(found),
        Err(error) => Err(FileError::content(path, format!("is not PEM: {error}"))),
    }
}

/// Returns the private key of a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let (text, mode) = read(path)?;
    if mode & KEY_MODE_REFUSED != 0 {
        return Err(FileError::OpenKey { path: path.to_owned(), mode: mode & 0o7777 });
    }
    // The errors of the parser quote what they found, which may be the key.
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| FileError::content(path, "contains no private key in PEM"))
}

/// Reads a regular file of a limited size into a buffer that is wiped, and its mode.
fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), FileError> {
    let unreadable = |source| FileError::Unreadable { path: path.to_owned(), source };
    // A pipe without a writer would make the open wait.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(FileError::content(path, "is not a regular file"));
    }
    if metadata.len() > CERTIFICATE_FILE_BYTES_MAX {
        return Err(FileError::content(path, format!("is over {} KiB long", CERTIFICATE_FILE_BYTES_MAX / 1_024)));
    }
    // A buffer that does not grow leaves no copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).map_or(0, |length| length + 1)));
    file.take(metadata.len()).read_to_end(&mut text).map_err(unreadable)?;
    Ok((text, metadata.mode()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn files_that_cannot_be_used_are_named_and_not_quoted() {
        let none = Path::new("/nonexistent/ca.pem");
        assert!(certificates(none).unwrap_err().to_string().starts_with("/nonexistent/ca.pem cannot be read: "));
        let wrong = file("hunter2", 0o600);
        for error in [certificates(wrong.path()).unwrap_err(), private_key(wrong.path()).unwrap_err()] {
            let message = error.to_string();
            assert!(message.contains("in PEM") && !message.contains("hunter2"), "{message}");
        }
        assert!(certificates(Path::new("/dev/null")).unwrap_err().to_string().ends_with("is not a regular file"));
        let broken = file("-----BEGIN PRIVATE KEY-----\nhunter2!\n-----END PRIVATE KEY-----\n", 0o600);
        assert!(!private_key(broken.path()).unwrap_err().to_string().contains("hunter2"));
        let long = file(&"x".repeat(usize::try_from(CERTIFICATE_FILE_BYTES_MAX).unwrap() + 1), 0o600);
        assert!(certificates(long.path()).unwrap_err().to_string().contains("KiB long"));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        for mode in [0o644, 0o660, 0o604] {
            let key = file("hunter2", mode);
            let message = private_key(key.path()).unwrap_err().to_string();
            assert!(message.contains(&format!("(mode {mode:04o})")), "{message}");
        }
    }
}
