//! The identities of client certificates: what a gateway asserts, and what members of roles are.

use std::fmt;

use crate::limits::IDENTITY_BYTES_MAX;

/// The length of the SHA-256 of a public key, in bytes.
const DIGEST_BYTES: usize = 32;

/// The SHA-256 of the public key of a certificate: of its SubjectPublicKeyInfo in DER. It stays the same when the
/// certificate is renewed for the same key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKeyDigest([u8; DIGEST_BYTES]);

/// One identity of a certificate. Two are the same if their texts are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateIdentity {
    /// `sha256:`: its public key.
    PublicKey(PublicKeyDigest),
    /// `san:dns:`: a DNS name. Letter cases do not matter.
    Dns(String),
    /// `san:uri:`: a URI.
    Uri(String),
    /// `san:email:`: an e-mail address.
    Email(String),
}

/// A text that is not an identity. No message contains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// It begins in another way.
    #[error("an identity begins with `sha256:`, `san:dns:`, `san:uri:` or `san:email:`")]
    Form,
    /// What follows `sha256:` is not a digest.
    #[error("after `sha256:` there are 64 digits from 0 to 9 and a to f: the SHA-256 of the public key")]
    Digest,
    /// The name is empty, too long, or has characters that are not visible ASCII.
    #[error("a name has 1 to {IDENTITY_BYTES_MAX} visible ASCII characters")]
    Name,
}

impl PublicKeyDigest {
    /// Parses 64 lower-case hex digits.
    pub fn parse(hex: &str) -> Option<Self> {
        let digits: Vec<u8> = hex.bytes().map(digit).collect::<Option<_>>()?;
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        (digits.len() == 2 * DIGEST_BYTES).then(|| bytes.try_into().ok().map(PublicKeyDigest))?
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for PublicKeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl CertificateIdentity {
    /// Parses an identity.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        if let Some(hex) = text.strip_prefix("sha256:") {
            return PublicKeyDigest::parse(hex).map(CertificateIdentity::PublicKey).ok_or(IdentityError::Digest);
        }
        let (form, name) = text
            .strip_prefix("san:")
            .and_then(|san| san.split_once(':'))
            .filter(|(form, _)| ["dns", "uri", "email"].contains(form))
            .ok_or(IdentityError::Form)?;
        let is_valid =
            (1..=IDENTITY_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_valid {
            return Err(IdentityError::Name);
        }
        Ok(match form {
            "dns" => CertificateIdentity::Dns(name.to_ascii_lowercase()),
            "uri" => CertificateIdentity::Uri(name.to_owned()),
            _ => CertificateIdentity::Email(name.to_owned()),
        })
    }
}

impl fmt::Display for CertificateIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateIdentity::PublicKey(digest) => write!(f, "sha256:{digest}"),
            CertificateIdentity::Dns(name) => write!(f, "san:dns:{name}"),
            CertificateIdentity::Uri(uri) => write!(f, "san:uri:{uri}"),
            CertificateIdentity::Email(address) => write!(f, "san:email:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_its_text() {
        let digest = format!("sha256:{}", "0af9".repeat(16));
        for text in
            [&*digest, "san:dns:ci.example", "san:dns:*.example", "san:uri:spiffe://a/b?c=%20", "san:email:A@b.example"]
        {
            assert_eq!(CertificateIdentity::parse(text).unwrap().to_string(), text);
        }
        let dns = |name: &str| CertificateIdentity::parse(&format!("san:dns:{name}")).unwrap();
        assert_eq!(dns("CI.Example"), dns("ci.example"));
        assert_ne!(dns("ci.example"), CertificateIdentity::parse("san:uri:ci.example").unwrap());
        assert_ne!(
            CertificateIdentity::parse("san:email:A@b.example"),
            CertificateIdentity::parse("san:email:a@b.example")
        );
    }

    #[test]
    fn other_texts_are_errors() {
        let longest = "x".repeat(IDENTITY_BYTES_MAX);
        assert!(CertificateIdentity::parse(&format!("san:uri:{longest}")).is_ok());
        for (text, error) in [
            ("", IdentityError::Form),
            ("ci.example", IdentityError::Form),
            ("cert:san:dns:ci.example", IdentityError::Form),
            ("san:ip:192.0.2.1", IdentityError::Form),
            ("SAN:DNS:ci.example", IdentityError::Form),
            ("sha256:", IdentityError::Digest),
            (&format!("sha256:{}", "0".repeat(63)), IdentityError::Digest),
            (&format!("sha256:{}", "0".repeat(66)), IdentityError::Digest),
            (&format!("sha256:{}", "A".repeat(64)), IdentityError::Digest),
            ("san:dns:", IdentityError::Name),
            ("san:dns:a b", IdentityError::Name),
            ("san:dns:é.example", IdentityError::Name),
            ("san:email:a\n@b", IdentityError::Name),
            (&format!("san:uri:{longest}x"), IdentityError::Name),
        ] {
            assert_eq!(CertificateIdentity::parse(text), Err(error), "{text}");
        }
    }
}
