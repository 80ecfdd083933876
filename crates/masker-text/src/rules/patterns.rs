//! One automaton for all patterns of one form: email addresses, URLs, bank accounts, network addresses, secrets.
//!
//! The patterns read bytes without Unicode tables. A match that can be rejected has a bounded length, so that all searches
//! together take linear time.

use super::{
    Scan, names,
    secrets::{self, OpenSecret},
};
use crate::{
    blobs::Blob,
    candidate::{Candidate, Rank},
    guards,
    kind::Kind,
    validate,
};
use regex_automata::{Input, meta::Regex, util::syntax};

/// What a pattern finds.
#[derive(Clone, Copy)]
enum Form {
    PrivateKey,
    Jwt,
    CutJwt,
    ApiKey,
    Assignment,
    Authorization,
    Url,
    Email,
    Iban,
    Mac,
    Ipv6,
}

const PATTERNS: &[(Form, &str)] = &[
    (Form::PrivateKey, r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"),
    (Form::Jwt, r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
    // At the end of a segment, one that goes on in the next.
    (Form::CutJwt, r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]{64,}|[A-Za-z0-9_-]{56,})\z"),
    (
        Form::ApiKey,
        concat!(
            r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{30,80}|github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_-]{18,40}",
            r"|sk-[A-Za-z0-9_-]{16,}|(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{16,}|xox[abeoprs]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{35}",
            r"|SG\.[A-Za-z0-9_-]{16,40}\.[A-Za-z0-9_-]{16,80}|npm_[A-Za-z0-9]{36}|hf_[A-Za-z0-9]{30,60}|dop_v1_[a-f0-9]{64}|ya29\.[A-Za-z0-9_-]{20,}",
            r"|AGE-SECRET-KEY-1[A-Z0-9]{50,60}|shpat_[a-f0-9]{32}|whsec_[A-Za-z0-9]{20,80}|pypi-[A-Za-z0-9_-]{50,})",
        ),
    ),
    (
        Form::Assignment,
        r#"(?i)\b[a-z0-9_.-]{0,30}(?:password|passwd|passphrase|pwd|secret|api[_-]?key|apikey|access[_-]?key|auth[_-]?token|access[_-]?token|client[_-]?secret|private[_-]?key|passwort|kennwort|contrase[\x80-\xff]{1,2}a)["']{0,2}\s{0,3}(?::=|=>|[:=])\s{0,3}["']?[^\s"'<>]{4,100}"#,
    ),
    (Form::Authorization, r"(?i)\b(?:bearer|basic)\s{1,3}[a-z0-9+/_.=-]{16,}"),
    (Form::Url, r#"(?i)\b(?:(?:https?|ftps?|wss?|sftp)://|www\.)[^\s<>"`{}|\\^]{3,60}"#),
    (
        Form::Email,
        r"[A-Za-z0-9\x80-\xff][A-Za-z0-9._%+'\x80-\xff-]{0,63}@(?:[A-Za-z0-9\x80-\xff-]{1,63}\.){1,8}[A-Za-z\x80-\xff-]{2,24}",
    ),
    (Form::Iban, r"(?i)\b[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{1,4}){3,16}"),
    (Form::Mac, r"(?i)\b[0-9a-f]{2}(?:(?::[0-9a-f]{2}){5,7}|(?:-[0-9a-f]{2}){5,7})\b"),
    (Form::Ipv6, r"(?i)(?:\b[0-9a-f]{1,4}|:)(?::[0-9a-f]{0,4}){2,7}(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3})?"),
];

/// Most bytes that the pattern of URLs matches after the scheme, which has three bytes or more.
const URL_HEAD_BYTES: usize = 63;

/// The automaton.
pub(crate) struct Patterns {
    regex: Regex,
}

impl Patterns {
    /// Compiles the patterns.
    pub fn new() -> Self {
        let sources: Vec<&str> = PATTERNS.iter().map(|(_, source)| *source).collect();
        let regex = Regex::builder()
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .configure(Regex::config().utf8_empty(false))
            .build_many(&sources)
            .expect("the tests compile the patterns");
        Self { regex }
    }

    /// Proposes what the patterns find. `open` is the secret that the text begins in, and afterwards the one that it ends in. In
    /// `blobs`, only the ends are searched: what begins before one, and what ends after it.
    pub fn find(&self, scan: &mut Scan<'_>, blobs: &[Blob], open: &mut Option<OpenSecret>) {
        let mut at = secrets::resume(scan, open);
        let text = scan.text;
        for &(start, end) in blobs {
            if end - start < BLOB_HEAD_BYTES + 2 * BLOB_TAIL_BYTES || has_jwt(text, start, end) {
                continue;
            }
            at = self.find_between(scan, open, at, start + BLOB_HEAD_BYTES).max(end - BLOB_TAIL_BYTES);
        }
        self.find_between(scan, open, at, text.len());
    }

    /// Proposes what the patterns find in a range. Returns where the search ended, which can be after the range.
    fn find_between(&self, scan: &mut Scan<'_>, open: &mut Option<OpenSecret>, from: usize, to: usize) -> usize {
        let mut at = from;
        let text = scan.text;
        while at < to {
            let Some(found) = self.regex.search(&Input::new(text).range(at..to)) else { break };
            let (start, end) = (found.start(), found.end());
            let form = PATTERNS[found.pattern().as_usize()].0;
            let kept = propose(scan, open, form, start, end);
            // A rejected match can hide another one that begins inside: search again after its first word.
            at = kept.unwrap_or_else(|| {
                let word =
                    scan.text.as_bytes()[start..end].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
                start + word.max(1)
            });
        }
        at
    }
}

/// Bytes at the beginning and at the end of a blob that patterns read.
const BLOB_HEAD_BYTES: usize = 256;
const BLOB_TAIL_BYTES: usize = 128;

/// Whether a blob can be part of a JSON web token, whose parts have any length.
fn has_jwt(text: &str, start: usize, end: usize) -> bool {
    let bytes = text.as_bytes();
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    let from = start - bytes[..start].iter().rev().take_while(|byte| is_inner(byte)).count();
    bytes[from..end].windows(3).enumerate().any(|(at, window)| {
        window == b"eyJ"
            && (from + at)
                .checked_sub(1)
                .is_none_or(|before| !bytes[before].is_ascii_alphanumeric() && bytes[before] != b'_')
    })
}

/// Checks a match. Returns where the search goes on if it is kept.
fn propose(scan: &mut Scan<'_>, open: &mut Option<OpenSecret>, form: Form, start: usize, end: usize) -> Option<usize> {
    // Patterns of bytes can begin or end inside a character.
    let mut start = start;
    while !scan.text.is_char_boundary(start) {
        start += 1;
    }
    let mut end = end;
    while !scan.text.is_char_boundary(end) {
        end -= 1;
    }
    if start >= end {
        return None;
    }
    let candidate = match form {
        Form::PrivateKey => {
            let end = secrets::private_key_end(scan.text, end, open);
            Candidate::new((start, end), Kind::Secret, Rank::Validated, 99, "private-key")
        }
        Form::Jwt | Form::CutJwt => {
            let end = secrets::token_end(scan.text, end, true, open);
            Candidate::new((start, end), Kind::Secret, Rank::Validated, 97, "jwt")
        }
        Form::ApiKey => {
            let has_parts = scan.text[start..end].starts_with("glpat-");
            let end = secrets::token_end(scan.text, end, has_parts, open);
            Candidate::new((start, end), Kind::Secret, Rank::Validated, 97, "api-key")
        }
        Form::Assignment => secrets::assignment(scan.text, start, end, open)?,
        Form::Authorization => {
            let value = start + scan.text[start..end].rfind(char::is_whitespace)? + 1;
            let text = &scan.text[value..end];
            let mixed =
                text.bytes().any(|byte| byte.is_ascii_digit()) && text.bytes().any(|byte| byte.is_ascii_alphabetic());
            if !mixed {
                return None;
            }
            let end = secrets::token_end(scan.text, end, false, open);
            Candidate::new((value, end), Kind::Secret, Rank::Labelled, 90, "authorization")
        }
        Form::Url => return url(scan, start, end),
        Form::Email => email(scan.text, start, end)?,
        Form::Iban => iban(scan, start, end)?,
        Form::Mac => {
            let labelled = scan.label(start).is_some_and(|(says, _)| names(says, &Kind::Device));
            if guards::glued(scan.text.as_bytes(), start, end) {
                return None;
            }
            Candidate::new((start, end), Kind::Device, Rank::Pattern, if labelled { 95 } else { 80 }, "mac")
        }
        Form::Ipv6 => {
            let text = &scan.text[start..end];
            if !validate::is_ipv6(text)
                || guards::glued(scan.text.as_bytes(), start, end)
                || scan.text[end..].starts_with(':')
            {
                return None;
            }
            Candidate::new((start, end), Kind::IpAddress, Rank::Validated, 90, "ipv6").checked("eight groups")
        }
    };
    let end = candidate.end;
    scan.out.push(candidate);
    Some(end)
}

/// Most bytes of an address before the `@` that the pattern matches, and that are looked for before these.
const LOCAL_BYTES: usize = 64;
const LOCAL_BYTES_MAX: usize = 512;

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"._%+'-".contains(&byte)
}

fn email(text: &str, start: usize, end: usize) -> Option<Candidate> {
    let bytes = text.as_bytes();
    // The pattern matches the end of a long local part. RFC 5321 allows 64 bytes, but what is longer is somebody's too.
    let local = bytes[..start].iter().rev().take(LOCAL_BYTES_MAX).take_while(|byte| is_local(**byte)).count();
    let mut start =
        start - if bytes[start..end].iter().position(|&byte| byte == b'@') == Some(LOCAL_BYTES) { local } else { 0 };
    while !text.is_char_boundary(start) {
        start += 1;
    }
    // Letters of other scripts are part of the match, so marks of quotes are not.
    let found = text[start..end].trim_start_matches(['.', '-', '\'', '%', '+', '_']);
    let start = end - found.len();
    let at = found.rfind('@')?;
    let domain = found[at + 1..].trim_end_matches('-');
    let end = start + at + 1 + domain.len();
    let tld = domain.rsplit('.').next()?;
    if found[..at].is_empty() || found[..at].contains("..") || bytes.get(end) == Some(&b'@') {
        return None;
    }
    // `git@code-host.org:team/repo` names a repository.
    if &found[..at] == "git"
        && bytes.get(end) == Some(&b':')
        && bytes.get(end + 1).is_some_and(u8::is_ascii_alphanumeric)
    {
        return None;
    }
    let known = validate::is_tld(tld);
    let latin = tld.is_ascii();
    match (known, latin) {
        (true, _) => {
            Some(Candidate::new((start, end), Kind::Email, Rank::Validated, 98, "email").checked("top-level domain"))
        }
        (false, false) => Some(Candidate::new((start, end), Kind::Email, Rank::Pattern, 80, "email")),
        // A sentence can follow the full stop without a space: `ann@example.com.Thanks`.
        (false, true) => {
            let shorter = &domain[..domain.len() - tld.len() - 1];
            let tld = shorter.rsplit('.').next().filter(|_| shorter.contains('.'))?;
            let end = start + at + 1 + shorter.len();
            validate::is_tld(tld).then(|| {
                Candidate::new((start, end), Kind::Email, Rank::Validated, 90, "email").checked("top-level domain")
            })
        }
    }
}

/// Checks a URL. An email address in its query is an identifier of its own: the URL ends before it.
fn url(scan: &mut Scan<'_>, start: usize, end: usize) -> Option<usize> {
    // The pattern matches the head of a long URL. The rest is read only if the head has a domain, so that a row of heads without
    // one takes linear time.
    let inside = |byte: &u8| !byte.is_ascii_whitespace() && !b"<>\"`{}|\\^".contains(byte);
    let end = if end - start >= URL_HEAD_BYTES {
        let head = &scan.text[start..end];
        let after_scheme = head.find("://").map_or(0, |at| at + 3);
        let authority = &head[after_scheme..after_scheme + head[after_scheme..].find(['/', '?', '#'])?];
        if !authority.contains('.') && !authority.contains('[') {
            return None;
        }
        end + scan.text[end..].bytes().take_while(inside).count()
    } else {
        end
    };
    let found = &scan.text[start..end];
    let mut len = found.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', '*', '_', ')', ']', '}']).len();
    // A closing bracket belongs to the URL if it was opened there.
    if found[len..].starts_with(')') && found[..len].matches('(').count() > found[..len].matches(')').count() {
        len += 1;
    }
    let found = &found[..len];
    let after_scheme = found.find("://").map_or(0, |at| at + 3);
    let authority_len = found[after_scheme..].find(['/', '?', '#']).unwrap_or(found.len() - after_scheme);
    let authority = &found[after_scheme..after_scheme + authority_len];
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let domain = host.split(':').next().unwrap_or(host);
    let tld = domain.rsplit('.').next().unwrap_or(domain);
    let numeric = validate::is_ipv4(domain) || host.starts_with('[');
    let named = domain.contains('.') && validate::is_tld(tld);
    if !numeric && !named {
        return None;
    }
    // `https://user:password@host`
    if let Some((_, password)) = user.and_then(|user| user.split_once(':'))
        && !password.is_empty()
    {
        let to = start + after_scheme + authority_len - host.len() - 1;
        scan.out.push(Candidate::new((to - password.len(), to), Kind::Secret, Rank::Validated, 95, "url-password"));
        return Some(to);
    }
    let rest = &found[after_scheme + authority_len..];
    let email = rest.find('@').filter(|_| user.is_none()).map(|at| {
        let local = rest[..at].rfind(['=', '/', '&', '?', ':', ',', ';']).map_or(0, |mark| mark + 1);
        after_scheme + authority_len + local
    });
    let stop = email.unwrap_or(len);
    // Domains for documentation belong to nobody. A host without a name says little about a person.
    let confidence = if validate::is_reserved_domain(domain) {
        30
    } else if numeric {
        60
    } else {
        90
    };
    let url = found[..stop].trim_end_matches(['=', '?', '&', '/', ':']);
    let url = if email.is_some() { url } else { &found[..stop] };
    scan.out.push(
        Candidate::new((start, start + url.len()), Kind::Url, Rank::Validated, confidence, "url")
            .checked("top-level domain"),
    );
    Some(start + stop)
}

fn iban(scan: &Scan<'_>, start: usize, end: usize) -> Option<Candidate> {
    let bytes = scan.text.as_bytes();
    let found = &bytes[start..end];
    let len = validate::iban_len(&found[..2]);
    let labelled = scan.label(start).is_some_and(|(says, _)| names(says, &Kind::Iban));
    let mut compact: Vec<u8> = Vec::with_capacity(34);
    let mut stop = start;
    for (offset, byte) in found.iter().enumerate() {
        if byte.is_ascii_alphanumeric() {
            compact.push(*byte);
            stop = start + offset + 1;
            if Some(compact.len()) == len {
                break;
            }
        }
    }
    let whole = !bytes.get(stop).is_some_and(u8::is_ascii_alphanumeric);
    let valid = Some(compact.len()) == len && validate::is_iban(&compact) && whole;
    if valid {
        return Some(Candidate::new((start, stop), Kind::Iban, Rank::Validated, 99, "iban").checked("modulo 97"));
    }
    // A labelled number with a wrong digit is still somebody's.
    let long = compact.len() >= 15 && compact.iter().filter(|byte| byte.is_ascii_digit()).count() >= 8;
    (labelled && long && len.is_some() && whole)
        .then(|| Candidate::new((start, stop), Kind::Iban, Rank::Labelled, 70, "iban-label"))
}
