//! Whether the certificate of the gateway is valid now, and for the host that clients reach.

use std::time::{Duration, SystemTime};

use rustls::{
    client::verify_server_name,
    pki_types::{CertificateDer, ServerName},
    server::ParsedCertificate,
};
use x509_cert::{Certificate, der::Decode};

/// Time before the end of a certificate in which each day has a warning, in days.
const WARNING_DAYS: u64 = 14;
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Returns what is wrong with a certificate at a time, to be read after the name of its file. Without a `host`, the certificate may be
/// for any.
pub(crate) fn fault(certificate: &CertificateDer<'_>, host: Option<&str>, now: SystemTime) -> Option<String> {
    let Some((not_before, not_after)) = period(certificate) else {
        return Some("is malformed".to_owned());
    };
    if now > not_after {
        return Some("has expired, so every client refuses it: renew it".to_owned());
    }
    if now < not_before {
        return Some("is not valid yet: look at the clock of this host, and wait or renew it".to_owned());
    }
    let host = host?;
    let is_for_host = ServerName::try_from(host).is_ok_and(|name| {
        ParsedCertificate::try_from(certificate).is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
    });
    (!is_for_host).then(|| format!("is not for {host}, the host of `public_url`, so every client refuses it"))
}

/// Returns in how many days a certificate ends, from [`WARNING_DAYS`] days before its end on.
pub(crate) fn days_left(certificate: &CertificateDer<'_>, now: SystemTime) -> Option<u64> {
    let (_, not_after) = period(certificate)?;
    let days = not_after.duration_since(now).ok()?.as_secs() / DAY_SECONDS;
    (days < WARNING_DAYS).then_some(days)
}

fn period(certificate: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let validity = certificate.tbs_certificate().validity();
    // RFC 5280 includes the second of the end.
    let end = validity.not_after.to_system_time() + Duration::from_millis(999);
    Some((validity.not_before.to_system_time(), end))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// The first second of 2030.
    const START: u64 = 1_893_456_000;

    #[test]
    fn a_certificate_has_a_time_and_a_host() {
        let mut params = CertificateParams::new(["masker.example".to_owned(), "192.0.2.1".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2030, 1, 1), date_time_ymd(2030, 1, 31));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
        let on_day = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(START + days * DAY_SECONDS);
        let fault_on = |days, host| fault(&certificate, host, on_day(days)).unwrap_or_default();
        for host in [None, Some("masker.example"), Some("192.0.2.1")] {
            assert_eq!(fault_on(1, host), "");
        }
        assert!(fault_on(1, Some("other.example")).starts_with("is not for other.example"));
        assert!(fault_on(31, None).starts_with("has expired"));
        let before = SystemTime::UNIX_EPOCH + Duration::from_secs(START - 1);
        assert!(fault(&certificate, None, before).unwrap().starts_with("is not valid yet"));
        let left = [1, 15, 17, 29, 31].map(|day| days_left(&certificate, on_day(day)));
        assert_eq!(left, [None, None, Some(13), Some(1), None]);
    }
}
