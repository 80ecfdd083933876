//! Numbers in groups of digits: cards, social security numbers, IPv4 addresses. Dates and telephone numbers have their own
//! modules.

use super::{Scan, dates, names, phones};
use crate::{
    candidate::{Candidate, Rank},
    guards,
    kind::Kind,
    labels::Says,
    names::token::TokenKind,
    validate,
};

/// Most groups in a run.
const GROUPS_MAX: usize = 12;

/// Groups of digits with separators between.
pub(crate) struct Run {
    /// The ranges of the groups.
    pub groups: Vec<(usize, usize)>,
    /// The tokens of the groups.
    pub tokens: Vec<usize>,
    /// Whether a group before the first one, joined without a space, makes it the middle of something.
    pub tail: bool,
}

impl Run {
    /// Reads the run that begins at a token. `found_to` is the end of what was found before it.
    fn read(scan: &Scan<'_>, first: usize, found_to: usize) -> Self {
        let tokens = scan.tokens();
        let start = tokens[first].start as usize;
        let mut run = Self { groups: Vec::new(), tokens: Vec::new(), tail: false };
        let bytes = scan.text.as_bytes();
        // After a comma, digits can be those of another cell. Thousands have too few of them to be taken for anything.
        run.tail = start >= 2
            && start - 1 != found_to
            && matches!(bytes[start - 1], b'-' | b'.' | b'/' | b':')
            && bytes[start - 2].is_ascii_digit();
        let mut index = first;
        while let Some(token) = tokens.get(index).filter(|_| run.groups.len() < GROUPS_MAX) {
            if token.kind == TokenKind::Number {
                run.groups.push((token.start as usize, token.end as usize));
                run.tokens.push(index);
            } else if token.line
                || !matches!(token.first, '-' | '.' | '(' | ')' | '/' | '+' | ':')
                || token.kind != TokenKind::Mark
            {
                break;
            }
            if tokens.get(index + 1).is_some_and(|next| next.line) {
                break;
            }
            index += 1;
        }
        // A separator has at most three bytes.
        let groups = &run.groups;
        let whole = (1..groups.len()).take_while(|&next| groups[next].0 - groups[next - 1].1 <= 3).count() + 1;
        run.groups.truncate(whole);
        run.tokens.truncate(whole);
        run
    }

    /// The text between a group and the next one.
    pub fn separator<'t>(&self, text: &'t str, group: usize) -> &'t str {
        match self.groups.get(group + 1) {
            Some(next) => &text[self.groups[group].1..next.0],
            None => "",
        }
    }

    /// The digits of the first groups.
    pub fn digits(&self, text: &str, count: usize) -> Vec<u8> {
        self.groups[..count].iter().flat_map(|group| text.as_bytes()[group.0..group.1].iter().copied()).collect()
    }

    /// The range of the first groups.
    pub fn range(&self, count: usize) -> (usize, usize) {
        (self.groups[0].0, self.groups[count - 1].1)
    }

    /// The lengths of the first groups.
    pub fn lengths(&self, count: usize) -> Vec<usize> {
        self.groups[..count].iter().map(|group| group.1 - group.0).collect()
    }

    /// Whether a mark joins the group after the first ones to them.
    pub fn joined(&self, text: &str, count: usize) -> bool {
        let separator = self.separator(text, count - 1);
        matches!(separator, "-" | "." | "/" | ":") && !(separator == "/" && self.repeats(text, count))
    }

    /// Whether the groups after the first ones have their form, as in `415-555-2671/415-555-2672`.
    fn repeats(&self, text: &str, count: usize) -> bool {
        let length = |group: usize| self.groups[group].1 - self.groups[group].0;
        count >= 3
            && self.groups.len() >= 2 * count
            && (0..count).all(|group| length(group) == length(count + group))
            && (0..count - 1).all(|group| {
                let separator = self.separator(text, group);
                separator != "/" && separator == self.separator(text, count + group)
            })
    }
}

/// Proposes what numbers can be.
pub(crate) fn find(scan: &mut Scan<'_>) {
    let (mut index, mut found_to) = (0, usize::MAX);
    while index < scan.tokens().len() {
        if scan.tokens()[index].kind != TokenKind::Number {
            index += 1;
            continue;
        }
        let run = Run::read(scan, index, found_to);
        index = match propose(scan, &run) {
            Some((count, candidate)) => {
                found_to = candidate.end;
                scan.out.push(candidate);
                run.tokens[count - 1] + 1
            }
            None => index + 1,
        };
    }
}

/// The best reading of a run's first groups: how many, and the candidate.
fn propose(scan: &Scan<'_>, run: &Run) -> Option<(usize, Candidate)> {
    if run.tail {
        return None;
    }
    dates::numeric(scan, run)
        .or_else(|| card(scan, run))
        .or_else(|| ipv4(scan, run))
        .or_else(|| ssn(scan, run))
        .or_else(|| phones::find(scan, run))
}

fn card(scan: &Scan<'_>, run: &Run) -> Option<(usize, Candidate)> {
    for count in (1..=run.groups.len().min(5)).rev() {
        let lengths = run.lengths(count);
        let form = match lengths.as_slice() {
            [13..=19] | [4, 6, 4 | 5] => true,
            [4, middle @ .., last] => {
                !middle.is_empty() && middle.iter().all(|&len| len == 4) && (1..=4).contains(last)
            }
            _ => false,
        };
        let separator = run.separator(scan.text, 0);
        let even = (0..count - 1).all(|group| run.separator(scan.text, group) == separator)
            && matches!(separator, "" | " " | "-");
        if !form || count > 1 && !even || run.joined(scan.text, count) {
            continue;
        }
        let digits = run.digits(scan.text, count);
        let range = run.range(count);
        if !(13..=19).contains(&digits.len()) || guards::technical(scan.text, range.0, range.1) {
            continue;
        }
        let label = scan.label(range.0);
        let labelled = label.filter(|(says, _)| names(says, &Kind::Card));
        let issuer = validate::card_issuer(&digits).filter(|_| validate::luhn(&digits));
        let near = labelled.is_some() || scan.near(&Kind::Card, range.0, range.1);
        // Numbers of 13 digits are often timestamps or orders, and prefixes of Maestro are many.
        let doubtful = digits.len() == 13 || matches!(issuer, Some("Maestro" | "UnionPay" | "enRoute" | "Mir"));
        let candidate = match (issuer, label) {
            (Some(issuer), _) if near => Candidate::new(range, Kind::Card, Rank::Validated, 99, "card").checked(issuer),
            (Some(issuer), Some((Says::Nothing, _))) => {
                Candidate::new(range, Kind::Card, Rank::Pattern, 40, "card").checked(issuer)
            }
            (Some(issuer), None) if !doubtful => {
                Candidate::new(range, Kind::Card, Rank::Validated, 92, "card").checked(issuer)
            }
            (Some(issuer), Some(_)) if !doubtful => {
                Candidate::new(range, Kind::Card, Rank::Pattern, 60, "card").checked(issuer)
            }
            (None, _) if labelled.is_some() => Candidate::new(range, Kind::Card, Rank::Labelled, 65, "card-label"),
            _ => continue,
        };
        let candidate = match labelled {
            Some((_, at)) => candidate.labelled(at.0, at.1),
            None => candidate,
        };
        return Some((count, candidate));
    }
    None
}

fn ipv4(scan: &Scan<'_>, run: &Run) -> Option<(usize, Candidate)> {
    if run.groups.len() < 4 || (0..3).any(|group| run.separator(scan.text, group) != ".") {
        return None;
    }
    let range = run.range(4);
    let text = &scan.text[range.0..range.1];
    if run.separator(scan.text, 3) == "."
        || !validate::is_ipv4(text)
        || guards::glued(scan.text.as_bytes(), range.0, range.1)
    {
        return None;
    }
    let near = scan.near(&Kind::IpAddress, range.0, range.1);
    let label = scan.label(range.0);
    let confidence = match label {
        Some((says, _)) if names(says, &Kind::IpAddress) => 95,
        Some((Says::Nothing, _)) => return None,
        // Addresses of every machine.
        _ if text.starts_with("127.") || text.starts_with("0.") || text == "255.255.255.255" => 30,
        _ if guards::after_version(scan.text, range.0) => return None,
        _ if near => 90,
        // `1.2.3.4` is more often the number of a section or a version.
        _ if run.groups[..4].iter().all(|group| group.1 - group.0 == 1) => 40,
        _ => 75,
    };
    Some((
        4,
        Candidate::new(range, Kind::IpAddress, Rank::Validated, confidence, "ipv4").checked("four numbers up to 255"),
    ))
}

fn ssn(scan: &Scan<'_>, run: &Run) -> Option<(usize, Candidate)> {
    let lengths = run.lengths(run.groups.len().min(3));
    let count = match lengths.as_slice() {
        [3, 2, 4] => 3,
        [9, ..] => 1,
        _ => return None,
    };
    let range = run.range(count);
    let separators = [run.separator(scan.text, 0), run.separator(scan.text, 1)];
    if count == 3 && (separators[0] != separators[1] || !matches!(separators[0], "-" | " " | "."))
        || run.joined(scan.text, count)
    {
        return None;
    }
    if guards::glued(scan.text.as_bytes(), range.0, range.1) {
        return None;
    }
    let digits = run.digits(scan.text, count);
    let valid = validate::is_ssn(&digits);
    let candidate = |rank, confidence| Candidate::new(range, Kind::Ssn, rank, confidence, "ssn");
    match scan.label(range.0) {
        Some((says, at)) if names(says, &Kind::Ssn) => {
            let candidate = candidate(Rank::Labelled, if valid { 98 } else { 70 }).labelled(at.0, at.1);
            return Some((count, if valid { candidate.checked("area, group and serial") } else { candidate }));
        }
        Some(_) => return None,
        None => {}
    }
    if !valid || count == 1 {
        return None;
    }
    let near = scan.near(&Kind::Ssn, range.0, range.1);
    let confidence = if near {
        95
    } else if separators[0] == "-" && !guards::technical(scan.text, range.0, range.1) {
        75
    } else {
        return None;
    };
    Some((count, candidate(Rank::Validated, confidence).checked("area, group and serial")))
}
