//! Why TLS failed, and what to do.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// A gateway and this client do not agree on TLS.
#[derive(Debug, thiserror::Error)]
#[error("{server} cannot be used: {problem}")]
pub struct TlsError {
    /// The address of the gateway.
    pub server: String,
    /// What is wrong, and what to do.
    pub problem: TlsProblem,
}

/// Why a connection over TLS failed. The text continues after the name of the server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsProblem {
    /// Its authority is not trusted.
    #[error(
        "its certificate is from an authority that is not trusted here. If it is an authority of your own, name the file with its \
         certificate: --ca or MASKER_CA"
    )]
    UnknownIssuer,
    /// Its certificate has expired.
    #[error("its certificate has expired: its operator must renew it. If the clock of this host is wrong, set it")]
    Expired,
    /// Its certificate is not valid yet.
    #[error("its certificate is not valid yet. If the clock of this host is wrong, set it")]
    NotYetValid,
    /// Its certificate is for other names.
    #[error(
        "its certificate is not for this name. Connect to a name in the certificate, or have one issued for this name"
    )]
    WrongName,
    /// Its certificate is that of an authority, as self-signed ones are.
    #[error(
        "its certificate is that of an authority, which no server may use. Have a certificate issued by it, or for a self-signed one, \
         use `basicConstraints=CA:FALSE`"
    )]
    Authority,
    /// It does not answer with TLS.
    #[error("it does not speak TLS on this port. Check the port")]
    NotTls,
    /// It needs a client certificate.
    #[error(
        "it asks for a client certificate: give --client-cert and --client-key. API keys are for the other port of the gateway"
    )]
    CertificateNeeded,
    /// It refuses the client certificate.
    #[error("it refuses the client certificate: {0}. Its operator knows which authorities it accepts")]
    CertificateRefused(String),
    /// Any other reason.
    #[error("TLS failed: {0}")]
    Other(String),
}

impl TlsProblem {
    /// Returns the problem that an error of a stream contains, if there is one.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        Some(match error {
            Error::InvalidCertificate(problem) => TlsProblem::of_certificate(problem),
            Error::InvalidMessage(_) => TlsProblem::NotTls,
            Error::AlertReceived(alert) => TlsProblem::of_alert(*alert),
            other => TlsProblem::Other(other.to_string()),
        })
    }

    fn of_certificate(problem: &CertificateError) -> Self {
        match problem {
            // A bad signature is that of an authority with the same name and another key, such as one that was made anew.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsProblem::UnknownIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsProblem::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsProblem::NotYetValid,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsProblem::WrongName
            }
            // The error of the library that verifies certificates has no variant of its own in rustls.
            CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => TlsProblem::Authority,
            other => TlsProblem::Other(format!("its certificate cannot be verified: {other}")),
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRequired => TlsProblem::CertificateNeeded,
            AlertDescription::UnknownCA => TlsProblem::CertificateRefused("its authority is another one".to_owned()),
            AlertDescription::CertificateExpired => TlsProblem::CertificateRefused("it has expired".to_owned()),
            AlertDescription::CertificateRevoked => TlsProblem::CertificateRefused("it is revoked".to_owned()),
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => TlsProblem::CertificateRefused(format!("alert {alert:?}")),
            other => TlsProblem::Other(format!("alert {other:?}")),
        }
    }
}
