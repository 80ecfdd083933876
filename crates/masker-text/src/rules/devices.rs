//! Unique device identifiers (UDI): `(01)00844588003288(17)141120(21)A1`, in the form of GS1.

use super::Scan;
use crate::{
    candidate::{Candidate, Rank},
    kind::Kind,
};

/// The identifier of the device, which comes first: 14 digits.
const DEVICE: &str = "(01)";
const DEVICE_DIGITS: usize = 14;
/// Longest value of another part, in bytes.
const PART_BYTES_MAX: usize = 20;

/// Proposes identifiers of devices.
pub(crate) fn find(scan: &mut Scan<'_>) {
    let mut at = 0;
    while let Some(found) = scan.text[at..].find(DEVICE) {
        let start = at + found;
        at = start + DEVICE.len();
        if let Some(end) = udi_end(scan.text, at) {
            let candidate = Candidate::new((start, end), Kind::Device, Rank::Validated, 92, "udi");
            scan.out.push(candidate.checked("application identifiers"));
            at = end;
        }
    }
}

/// Returns where an identifier ends whose 14 digits begin at an offset, or whose `01)` does.
pub(super) fn udi_end(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let start = start + if text[start..].starts_with(&DEVICE[1..]) { DEVICE.len() - 1 } else { 0 };
    if start < DEVICE.len() || bytes.get(start - DEVICE.len()..start) != Some(DEVICE.as_bytes()) {
        return None;
    }
    let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits != DEVICE_DIGITS {
        return None;
    }
    let mut end = start + digits;
    // `(17)141120`: a date, a lot, a serial number.
    while let [b'(', a, b, b')', rest @ ..] = &bytes[end..]
        && a.is_ascii_digit()
        && b.is_ascii_digit()
    {
        let is_value = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'/' | b'_');
        let length = rest.iter().take(PART_BYTES_MAX).take_while(is_value).count();
        let length = rest[..length].iter().rposition(u8::is_ascii_alphanumeric).map_or(0, |last| last + 1);
        if length == 0 {
            break;
        }
        end += 4 + length;
    }
    Some(end)
}
