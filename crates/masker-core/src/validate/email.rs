//! `email`: addresses as people have them.

/// Longest address, in bytes (RFC 5321 with its erratum 1690).
const ADDRESS_BYTES_MAX: usize = 254;
/// Longest local part, in bytes (RFC 5321).
const LOCAL_BYTES_MAX: usize = 64;
/// Longest label of a domain, in bytes (RFC 1035).
const LABEL_BYTES_MAX: usize = 63;

/// Returns whether a text is an address without quotes, comments and literals.
pub(super) fn is_valid(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    text.len() <= ADDRESS_BYTES_MAX && is_local(local) && is_domain(domain)
}

/// Dots separate words of at least one character each.
fn is_local(local: &str) -> bool {
    let is_allowed = |c: char| {
        let is_special = matches!(c, '(' | ')' | '<' | '>' | '[' | ']' | ':' | ';' | '@' | '\\' | ',' | '"');
        !is_special && !c.is_whitespace() && !c.is_control()
    };
    local.len() <= LOCAL_BYTES_MAX && local.split('.').all(|word| !word.is_empty() && word.chars().all(is_allowed))
}

/// At least two labels; the last is not a number, so an IPv4 address is not a domain.
fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        let is_allowed =
            |c: char| if c.is_ascii() { c.is_ascii_alphanumeric() || c == '-' } else { c.is_alphanumeric() };
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.chars().all(is_allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let Some((_, last)) = domain.rsplit_once('.') else { return false };
    domain.split('.').all(is_label) && !last.bytes().all(|b| b.is_ascii_digit())
}
