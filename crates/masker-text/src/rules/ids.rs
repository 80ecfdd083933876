//! Values that a label names: record numbers, accounts, licences, devices, names in forms, postal codes.

use super::{Scan, devices};
use crate::{
    candidate::{Candidate, Rank},
    guards,
    kind::Kind,
    labels::{Says, bracketed, is_gap_mark},
    names::{
        cue::Cue,
        token::{Case, TokenKind},
    },
    validate,
    words::Class,
};

/// Longest labelled value, in bytes.
const VALUE_MAX: usize = 48;

/// Proposes the values of labels and of tables' cells.
pub(crate) fn find(scan: &mut Scan<'_>) {
    for index in 0..scan.labels.found.len() {
        let label = scan.labels.found[index].clone();
        if label.hint {
            continue;
        }
        let Says::Kind(kind) = scan.labels.says(&label) else { continue };
        let Some(start) = value_start(scan, label.end) else { continue };
        // A longer label can lie between: `insurance policy number`.
        if scan.labels.found.get(index + 1).is_some_and(|next| !next.hint && next.start < start && next.end > label.end)
        {
            continue;
        }
        if let Some(candidate) = value(scan, kind, (label.start, label.end), start) {
            scan.out.push(candidate);
        }
    }
    cells(scan);
    zips(scan);
    vins(scan);
    devices::find(scan);
}

/// Where the value of a label begins: after marks and filler words.
fn value_start(scan: &Scan<'_>, end: usize) -> Option<usize> {
    let mut index = scan.token_at(end);
    let mut fillers = 0;
    loop {
        let token = scan.tokens().get(index)?;
        let start = token.start as usize;
        if start - end > 32 || token.line && index > 0 && fillers == 0 && start - end > 24 {
            return None;
        }
        if let Some(len) = bracketed(&scan.tokens()[index..]) {
            index += len;
            continue;
        }
        match token.kind {
            TokenKind::Mark if is_gap_mark(token.first) => {}
            TokenKind::Word if scan.is(index, Class::FILLER) && token.chars > 1 => fillers += 1,
            TokenKind::Possessive => {}
            _ => return Some(start),
        }
        // `insurance is …` may have some filler words, and no sentence between.
        let short =
            index > 0 && scan.tokens()[index - 1].kind == TokenKind::Word && scan.tokens()[index - 1].chars <= 3;
        if fillers > 4
            || !short && token.is('.') && scan.tokens().get(index + 1).is_some_and(|next| next.space) && start - end > 1
        {
            return None;
        }
        index += 1;
    }
}

/// Reads the value of a label of a kind.
fn value(scan: &Scan<'_>, kind: &Kind, label: (usize, usize), start: usize) -> Option<Candidate> {
    match kind {
        Kind::Device if devices::udi_end(scan.text, start).is_some() => None,
        Kind::Phone => pager(scan, label, start),
        Kind::Mrn | Kind::HealthPlan | Kind::Account | Kind::License | Kind::Device | Kind::OtherId | Kind::Vehicle => {
            let range = code(scan, start, matches!(kind, Kind::Account | Kind::HealthPlan | Kind::Device))?;
            id(scan, kind, label, range)
        }
        Kind::Plate => {
            let range = plate(scan, start)?;
            Some(Candidate::new(range, Kind::Plate, Rank::Labelled, 88, "plate").labelled(label.0, label.1))
        }
        Kind::Zip => {
            let range = code(scan, start, false)?;
            let text = &scan.text[range.0..range.1];
            let digits = text.bytes().filter(u8::is_ascii_digit).count();
            ((3..=9).contains(&digits) && text.len() <= 10)
                .then(|| Candidate::new(range, Kind::Zip, Rank::Labelled, 93, "zip-label").labelled(label.0, label.1))
        }
        Kind::Name => form_name(scan, label, start),
        _ => None,
    }
}

/// The number of a pager, which can be too short for a telephone number.
fn pager(scan: &Scan<'_>, label: (usize, usize), start: usize) -> Option<Candidate> {
    let name = &scan.text[label.0..label.1];
    let is_pager = ["pager", "beeper"]
        .iter()
        .any(|word| name.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word)));
    let range = code(scan, start, false).filter(|_| is_pager)?;
    let digits = scan.text[range.0..range.1].bytes().all(|byte| byte.is_ascii_digit());
    (digits && (3..=7).contains(&(range.1 - range.0)))
        .then(|| Candidate::new(range, Kind::Phone, Rank::Labelled, 80, "pager").labelled(label.0, label.1))
}

fn id(scan: &Scan<'_>, kind: &Kind, label: (usize, usize), range: (usize, usize)) -> Option<Candidate> {
    let text = &scan.text[range.0..range.1];
    let bytes = text.as_bytes();
    let compact: Vec<u8> = bytes.iter().copied().filter(u8::is_ascii_alphanumeric).collect();
    let labelled = |kind: Kind, confidence, rule| {
        Candidate::new(range, kind, Rank::Labelled, confidence, rule).labelled(label.0, label.1)
    };
    let name = &scan.text[label.0..label.1];
    Some(match kind {
        Kind::Vehicle if compact.len() == 17 && validate::is_vin(&compact) => {
            Candidate { rank: Rank::Validated, ..labelled(Kind::Vehicle, 99, "vin") }.checked("check digit")
        }
        Kind::Vehicle if compact.len() == 17 => labelled(Kind::Vehicle, 90, "vin"),
        Kind::Vehicle => labelled(Kind::Vehicle, 75, "vehicle"),
        Kind::License if validate::is_npi(&compact) || validate::is_dea(&compact) => {
            labelled(Kind::License, 97, "provider").checked("check digit")
        }
        Kind::OtherId if name.len() <= 5 && name.get(..2).is_some_and(|id| id.eq_ignore_ascii_case("id")) => {
            // A bare `ID` in a text about a patient is the patient's.
            if guards::is_uuid(bytes) || guards::is_hash(bytes) {
                return None;
            }
            // The ID of a plan: `Aetna ID`, `covered by insurance, ID`.
            if scan
                .labels
                .near(scan.text, &Kind::HealthPlan, label.0, label.0)
                .is_some_and(|plan| plan.1 + 16 >= label.0)
            {
                return Some(labelled(Kind::HealthPlan, 75, "plan-id"));
            }
            let key = scan.text[..label.0].ends_with(['_', '.']) || scan.text[label.1..].starts_with('_');
            if clinical(scan) {
                labelled(Kind::Mrn, 70, "patient-id")
            } else {
                labelled(Kind::OtherId, if key { 40 } else { 55 }, "id")
            }
        }
        Kind::OtherId if guards::is_uuid(bytes) => labelled(Kind::OtherId, 45, "id"),
        kind => labelled(kind.clone(), 90, "label"),
    })
}

/// Whether a text is about a patient.
fn clinical(scan: &Scan<'_>) -> bool {
    scan.labels.found.iter().any(|label| matches!(scan.labels.says(label), Says::Kind(Kind::Mrn)))
        || scan.sentence.infos.iter().enumerate().any(|(index, info)| {
            info.cue == Cue::Role
                && ["patient", "pt", "pts", "male", "female"]
                    .iter()
                    .any(|word| scan.word(index).eq_ignore_ascii_case(word))
                || info.cue == Cue::Facility && scan.is(index, Class::FACILITY)
        })
}

/// Reads a code at an offset: letters and digits, with marks inside, and with more groups of digits after single spaces.
fn code(scan: &Scan<'_>, start: usize, groups: bool) -> Option<(usize, usize)> {
    let bytes = scan.text.as_bytes();
    let mut end = start + bytes[start..].iter().take(VALUE_MAX).take_while(|byte| is_code(**byte)).count();
    while end > start && !bytes[end - 1].is_ascii_alphanumeric() {
        end -= 1;
    }
    let value = &bytes[start..end];
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = value.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    // `HMO 67890` and `XQH 123456789`: letters before the digits.
    if digits == 0 && (1..=4).contains(&letters) && letters == value.len() && value.iter().all(u8::is_ascii_uppercase) {
        let next = end + 1;
        let number = bytes.get(next..)?.iter().take(VALUE_MAX).take_while(|byte| is_code(**byte)).count();
        let tail = &bytes[next..next + number];
        if matches!(bytes.get(end), Some(b' ' | b'-')) && tail.iter().filter(|byte| byte.is_ascii_digit()).count() >= 4
        {
            return Some((start, next + tail.iter().rposition(u8::is_ascii_alphanumeric)? + 1));
        }
        return None;
    }
    if digits < 2
        || digits + letters < 3
        || end - start >= VALUE_MAX
        || bytes.get(end).is_some_and(|&byte| byte >= 0x80)
    {
        return None;
    }
    // Words that begin with digits (`3rd`), doses, and dates are no codes.
    if letters > digits + 6 || is_date(value) || digits < 3 && letters == 0 {
        return None;
    }
    // `W9923 80793`: a letter or two in front.
    let front = letters <= 2 && value.iter().skip(letters).all(u8::is_ascii_digit) && digits >= 3;
    let spaced = digits == value.len() || groups && front;
    let mut total = digits;
    while (groups || spaced) && bytes.get(end) == Some(&b' ') {
        let next = end + 1;
        let len = bytes[next..].iter().take(7).take_while(|byte| byte.is_ascii_digit()).count();
        let after = bytes.get(next + len);
        let inside = after.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'%'))
            || after == Some(&b'.') && bytes.get(next + len + 1).is_some_and(u8::is_ascii_digit);
        if !(2..=6).contains(&len) || inside || total + len > 24 || !spaced {
            break;
        }
        end = next + len;
        total += len;
    }
    Some((start, end))
}

fn is_code(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'/' | b'_' | b':')
}

/// Whether a value has the form of a date.
fn is_date(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| matches!(byte, b'/' | b'-' | b'.'));
    let (Some(a), Some(b), Some(c), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let number = |part: &[u8], lens: &[usize]| lens.contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
    let month = |part: &[u8]| number(part, &[1, 2]) && matches!(part, [_] | [b'0', _] | [b'1', b'0'..=b'2']);
    let slash = value.contains(&b'/');
    number(a, &[1, 2]) && number(b, &[1, 2]) && number(c, &[4]) && (month(a) || month(b))
        || slash && number(a, &[1, 2]) && number(b, &[1, 2]) && number(c, &[2])
        || number(a, &[4]) && month(b) && number(c, &[1, 2]) && matches!(a[..2], [b'1', b'9'] | [b'2', b'0'])
}

/// Reads a licence plate at an offset: up to three groups of capital letters and digits.
fn plate(scan: &Scan<'_>, start: usize) -> Option<(usize, usize)> {
    let bytes = scan.text.as_bytes();
    let mut end = start;
    let mut at = start;
    for _ in 0..3 {
        let len =
            bytes[at..].iter().take(9).take_while(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()).count();
        if len == 0 || len > 8 || bytes.get(at + len).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80)
        {
            break;
        }
        end = at + len;
        if !matches!(bytes.get(end), Some(b' ' | b'-')) {
            break;
        }
        at = end + 1;
    }
    let value = &bytes[start..end];
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    ((4..=11).contains(&value.len()) && digits >= 1).then_some((start, end))
}

/// Reads a name after a label such as `Name:`: capitalized words, or all words between quotes.
fn form_name(scan: &Scan<'_>, label: (usize, usize), start: usize) -> Option<Candidate> {
    let gap = &scan.text[label.1..start];
    if !gap.contains([':', '=']) || gap.contains('\n') {
        return None;
    }
    // `file_name: report`, `user name: x7`: only keys of people.
    let before = scan.text[..label.0].chars().next_back();
    let head = &scan.text[label.0..label.1];
    let bare = head.eq_ignore_ascii_case("name");
    if before.is_some_and(|char| char == '_' || char == '-' || char == '.') || bare && !starts_line(scan, label.0) {
        return None;
    }
    let first = scan.token_at(start);
    let quoted = gap.ends_with(['"', '\'']);
    let mut last = None;
    let mut words = 0;
    for index in first..scan.tokens().len() {
        let token = &scan.tokens()[index];
        if token.line && index > first {
            break;
        }
        match token.kind {
            TokenKind::Word => {
                let single = token.chars == 1
                    || matches!(token.case, Case::Title | Case::Upper | Case::Mixed | Case::None | Case::Single);
                let particle = scan.sentence.infos[index].cue == Cue::Particle;
                let label = scan.labels.found.iter().any(|other| !other.hint && other.start == token.start as usize);
                if label && index > first
                    || !single && !quoted && !particle
                    || scan.classes[index].month().is_some() && words > 0
                {
                    break;
                }
                words += 1;
                last = Some(index);
            }
            TokenKind::Mark if token.is('.') && index > first && !is_short(scan, index - 1) => break,
            TokenKind::Mark if matches!(token.first, '.' | '-' | '\'') => {}
            // `Last, First` without quotes only where the line ends after it.
            TokenKind::Mark if token.is(',') && (1..=2).contains(&words) && (quoted || ends_line(scan, index + 2)) => {}
            _ => break,
        }
        if words > 5 {
            return None;
        }
    }
    let mut end = scan.tokens()[last?].end as usize;
    // The full stop of an initial belongs to the name.
    if scan.tokens()[last?].chars == 1 && scan.text.as_bytes().get(end) == Some(&b'.') {
        end += 1;
    }
    let range = (start, end);
    let known = (first..=last?).any(|index| scan.sentence.infos[index].entry.is_name());
    let common = (first..=last?).all(|index| scan.tokens()[index].kind != TokenKind::Word || !is_new(scan, index));
    // `name: billing` names a thing.
    let lower = scan.tokens()[first].case == Case::Lower;
    if (common || lower) && !known {
        return None;
    }
    let confidence = if known { 88 } else { 66 };
    Some(Candidate::new(range, Kind::Name, Rank::Labelled, confidence, "name-label").labelled(label.0, label.1))
}

/// Whether a full stop after a word can belong to it: after an initial, a title, or a suffix.
fn is_short(scan: &Scan<'_>, index: usize) -> bool {
    let token = &scan.tokens()[index];
    token.chars == 1
        || token.chars <= 5 && matches!(scan.sentence.infos[index].cue, Cue::Title | Cue::Suffix | Cue::Particle)
}

/// Whether a word is none of the common ones.
fn is_new(scan: &Scan<'_>, index: usize) -> bool {
    !scan.sentence.infos[index].entry.is_common()
}

fn starts_line(scan: &Scan<'_>, at: usize) -> bool {
    scan.text[..at]
        .trim_end_matches([' ', '"', '\'', '*', '-', '>', '\t', '|'])
        .chars()
        .next_back()
        .is_none_or(|char| matches!(char, '\n' | ',' | '{' | '[' | ';' | '.'))
}

fn ends_line(scan: &Scan<'_>, index: usize) -> bool {
    scan.tokens().get(index).is_none_or(|token| token.line)
}

/// Proposes whole cells under heads whose values have no form of their own.
fn cells(scan: &mut Scan<'_>) {
    for index in 0..scan.labels.cells.len() {
        let cell = scan.labels.cells[index];
        let says = &scan.labels.says_of(cell.says).clone();
        let Says::Kind(kind) = says else { continue };
        let text = &scan.text[cell.start..cell.end];
        if text.len() > 80 || text.bytes().all(|byte| matches!(byte, b'-' | b':' | b'=')) {
            continue;
        }
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        let letters = text.chars().filter(|char| char.is_alphabetic()).count();
        let fits = match kind {
            Kind::Name => letters >= 2 && digits == 0 && text.split_whitespace().count() <= 5,
            Kind::Address => letters >= 3 && digits >= 1,
            Kind::Location => letters >= 3 && digits == 0,
            Kind::Mrn
            | Kind::HealthPlan
            | Kind::Account
            | Kind::License
            | Kind::Device
            | Kind::Vehicle
            | Kind::Plate => digits >= 2 && text.split_whitespace().count() <= 4,
            Kind::OtherId => digits >= 4 && !guards::is_uuid(text.as_bytes()) && cell.head.1 - cell.head.0 > 2,
            Kind::Zip => digits >= 3 && text.len() <= 10,
            Kind::Secret => text.len() >= 4,
            _ => false,
        };
        if fits {
            scan.out.push(
                Candidate::new((cell.start, cell.end), kind.clone(), Rank::Labelled, 90, "table")
                    .labelled(cell.head.0, cell.head.1),
            );
        }
    }
}

/// Proposes postal codes of the United States after a state: `IL 62704`, `NY 10001-1234`, `Springfield, Illinois 62704`.
fn zips(scan: &mut Scan<'_>) {
    let tokens = scan.tokens();
    for index in 1..tokens.len() {
        let token = &tokens[index];
        if token.kind != TokenKind::Number || token.chars != 5 || !token.space || token.line {
            continue;
        }
        let before = &tokens[index - 1];
        let comma = before.is(',') && index >= 2;
        let state = if comma { index - 2 } else { index - 1 };
        let (start, mut end) = (token.start as usize, token.end as usize);
        let mut next = index + 1;
        if tokens.get(index + 1).is_some_and(|mark| mark.is('-') && !mark.space)
            && tokens
                .get(index + 2)
                .is_some_and(|plus| plus.kind == TokenKind::Number && plus.chars == 4 && !plus.space)
        {
            end = tokens[index + 2].end as usize;
            next = index + 3;
        }
        let code = scan.is(state, Class::STATE) && tokens[state].case == Case::Upper
            || state_name(scan, state).is_some_and(|first| {
                // `Texas 75201 residents` is a number of people.
                let ends = tokens.get(next).is_none_or(|next| next.line || next.kind == TokenKind::Mark);
                ends || first > 0 && tokens[first - 1].is(',')
            });
        if code && !guards::glued(scan.text.as_bytes(), start, end) {
            scan.out.push(Candidate::new((start, end), Kind::Zip, Rank::Pattern, 80, "zip-state").checked("state"));
        }
    }
}

/// The first token of a state's name that ends with a token.
fn state_name(scan: &Scan<'_>, end: usize) -> Option<usize> {
    let tokens = scan.tokens();
    (0..3).filter_map(|words| end.checked_sub(words)).find(|&first| {
        let words = &tokens[first..=end];
        words.iter().all(|token| token.kind == TokenKind::Word)
            && !words[1..].iter().any(|token| token.line)
            && scan.words.is_state_name(&scan.text[words[0].start as usize..words[words.len() - 1].end as usize])
    })
}

/// Proposes vehicle identification numbers without a label: 17 characters with a right check digit.
fn vins(scan: &mut Scan<'_>) {
    let bytes = scan.text.as_bytes();
    for index in 0..scan.tokens().len() {
        let token = &scan.tokens()[index];
        let start = token.start as usize;
        if token.kind != TokenKind::Number && token.kind != TokenKind::Word
            || start > 0 && (bytes[start - 1].is_ascii_alphanumeric() || matches!(bytes[start - 1], b'-' | b'_' | b'/'))
        {
            continue;
        }
        let len = bytes[start..].iter().take(18).take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let vin = &bytes[start..start + len];
        let digits = vin.iter().filter(|byte| byte.is_ascii_digit()).count();
        if len == 17
            && (5..=15).contains(&digits)
            && !vin.iter().any(u8::is_ascii_lowercase)
            && !matches!(bytes.get(start + 17), Some(b'-' | b'_' | b'/' | 0x80..))
            && validate::is_vin(vin)
        {
            scan.out.push(
                Candidate::new((start, start + 17), Kind::Vehicle, Rank::Validated, 85, "vin").checked("check digit"),
            );
        }
    }
}
