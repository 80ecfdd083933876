//! Whether a key can be removed, and what an operator should do next, derived from the status of a generation.

use jiff::{Timestamp, tz::Offset};

use super::GenerationStatus;
use masker_core::keyring::Role;
use masker_types::kind::Kid;

/// The assessment of one key generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAssessment {
    /// Whether the key can be removed: it is old, no record and no index row needs it, and a full pass since the last change
    /// has proven that.
    pub removable: bool,
    /// Why, or why not.
    pub reason: String,
    /// What to do next.
    advice: Advice,
}

/// Advice about a generation. The first in this order is the most urgent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Advice {
    /// Load a key that the vault needs.
    Load(String),
    /// Move records to another key.
    Rotate(String),
    /// Prove that nothing needs the key.
    Prove(String),
    /// Remove the key.
    Remove(String),
    /// There is nothing to do.
    Nothing,
}

impl Advice {
    /// Returns the advice in one line.
    pub fn text(&self) -> &str {
        match self {
            Advice::Load(text) | Advice::Rotate(text) | Advice::Prove(text) | Advice::Remove(text) => text,
            Advice::Nothing => "nothing to do",
        }
    }
}

impl KeyAssessment {
    /// Assesses a generation at `now`.
    pub fn on(generation: &GenerationStatus, now: Timestamp) -> Self {
        Self::with_apply(generation, now, &|_| String::new())
    }

    /// Assesses a generation. `apply` returns what makes changes of the keys of a kid take effect, for the advice.
    fn with_apply(generation: &GenerationStatus, now: Timestamp, apply: &dyn Fn(Kid) -> String) -> Self {
        let GenerationStatus { kid, fingerprint, .. } = *generation;
        let (old, is_active) = (generation.old_since.is_some(), generation.loaded == Some(Role::Active));
        let is_needed = generation.records + generation.index_rows > 0;
        let needs = needs(generation.records, generation.index_rows);
        let proven = generation.proven_at.filter(|_| old && !is_needed && !is_active);
        let (reason, advice) = match (generation.loaded, proven) {
            (Some(Role::Active), _) => ("new tokens are minted under it".to_owned(), Advice::Nothing),
            (None, _) if is_needed => (
                format!("{needs} it, and it is not loaded"),
                Advice::Load(format!(
                    "put the key {fingerprint} back as MASKER_KEY_{kid}{} and {}: {needs} it",
                    if old { "_OLD" } else { "" },
                    apply(kid)
                )),
            ),
            (Some(Role::Old), _) if is_needed => (
                format!("{needs} it{}", in_sessions(generation)),
                Advice::Rotate(format!(
                    "rotate the vault's records: `masker vault rotate-key --new-kid {kid}` ({needs} \
                     {fingerprint}{})",
                    grace(generation, now)
                )),
            ),
            (loaded, Some(at)) => (
                format!(
                    "a full pass on {} found no record and no index row that needs it; {}",
                    day(at),
                    stateless(generation)
                ),
                match loaded {
                    Some(_) => Advice::Remove(format!(
                        "as far as the vault is concerned, the old key {fingerprint} can be removed: take \
                         MASKER_KEY_{kid}_OLD away with `masker keys remove-old`, and {}; but {}",
                        apply(kid),
                        stateless(generation)
                    )),
                    None => Advice::Nothing,
                },
            ),
            (Some(Role::Old), None) => (
                format!(
                    "by its counts the vault does not need it any more, but no full pass has proven that; {}",
                    stateless(generation)
                ),
                Advice::Prove(format!(
                    "keep the old key {fingerprint} until it is proven that nothing needs it: `masker vault rotate-key \
                     --new-kid {kid}` reads the whole vault and says so"
                )),
            ),
            (None, None) => ("it is not loaded, and the vault does not need it".to_owned(), Advice::Nothing),
        };
        KeyAssessment { removable: proven.is_some(), reason, advice }
    }
}

/// Returns the most urgent advice for each kid. `apply` returns what makes changes of the keys of a kid take
/// effect, such as "run `masker keys reload`".
pub fn advice(generations: &[GenerationStatus], now: Timestamp, apply: &dyn Fn(Kid) -> String) -> Vec<(Kid, Advice)> {
    let mut kids: Vec<Kid> = generations.iter().map(|generation| generation.kid).collect();
    kids.sort_unstable();
    kids.dedup();
    let of_kid = |kid: Kid| {
        let of_kid = generations.iter().filter(|generation| generation.kid == kid);
        let advice = of_kid.map(|generation| KeyAssessment::with_apply(generation, now, apply).advice).min();
        (kid, advice.unwrap_or(Advice::Nothing))
    };
    kids.into_iter().map(of_kid).collect()
}

/// Says what needs a key, such as `12,080 records need`. Every record has index rows, so these are named only where none is
/// left.
pub(super) fn needs(records: u64, index_rows: u64) -> String {
    match (records, index_rows) {
        (0, 1) => "1 index row needs".to_owned(),
        (0, _) => format!("{} index rows need", grouped(index_rows)),
        (1, _) => "1 record needs".to_owned(),
        _ => format!("{} records need", grouped(records)),
    }
}

impl GenerationStatus {
    /// Returns the seconds until its grace period ends, negative once it is over. Only loaded old keys have one.
    pub fn grace_seconds_left(&self, now: Timestamp) -> Option<i64> {
        let ends = self.grace_ends.filter(|_| self.loaded == Some(Role::Old))?;
        Some(ends.duration_since(now).as_secs())
    }

    /// Returns the days until its grace period ends, rounded up; 0 or negative once it is over.
    pub fn grace_days_left(&self, now: Timestamp) -> Option<i64> {
        const DAY_SECONDS: i64 = 24 * 60 * 60;
        // Rounded up, for with one second left it is not over.
        self.grace_seconds_left(now).map(|seconds| -(-seconds).div_euclid(DAY_SECONDS))
    }
}

/// Describes the tokens without a record that only this key opens, for the middle of a sentence.
fn stateless(generation: &GenerationStatus) -> String {
    let opened = match generation.tokens_last_opened {
        None => "it has opened no `MSK1` token yet, and those that are never used cannot be counted".to_owned(),
        Some(at) => format!(
            "it last opened an `MSK1` token on {}, {} of them in the last 30 days, and those that are never used \
             cannot be counted: rewrap those that you know of first",
            day(at),
            grouped(generation.tokens_opened_30_days)
        ),
    };
    opened + &in_sessions(generation)
}

/// Describes the open sessions with tokens that need the key, for the end of a sentence.
fn in_sessions(generation: &GenerationStatus) -> String {
    match generation.open_sessions {
        None | Some(0) => String::new(),
        Some(1) => "; 1 open session holds tokens that need it".to_owned(),
        Some(sessions) => format!("; {} open sessions hold tokens that need it", grouped(sessions)),
    }
}

/// Describes the rest of the grace period, for the middle of a sentence.
fn grace(generation: &GenerationStatus, now: Timestamp) -> String {
    match (generation.grace_days_left(now), generation.grace_ends) {
        (Some(..=0), Some(ends)) => format!("; its grace period ended on {}", day(ends)),
        (Some(1), Some(ends)) => format!("; its grace period ends on {}, within a day", day(ends)),
        (Some(days), Some(ends)) => format!("; its grace period ends on {}, in {days} days", day(ends)),
        _ => String::new(),
    }
}

/// Formats the UTC day of a time.
fn day(at: Timestamp) -> String {
    Offset::UTC.to_datetime(at).date().to_string()
}

/// Formats a number with its digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use masker_core::crypto::Fingerprint;

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 24 * 60 * 60;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn active(kid: &str) -> GenerationStatus {
        GenerationStatus {
            kid: Kid::parse(kid).unwrap(),
            fingerprint: Fingerprint::from_bytes([0xab; 8]),
            loaded: Some(Role::Active),
            first_seen: Some(at(NOW - 90 * DAY)),
            old_since: None,
            grace_ends: None,
            last_used: None,
            records: 7,
            index_rows: 0,
            tokens_last_opened: None,
            tokens_opened_30_days: 0,
            proven_at: None,
            open_sessions: None,
        }
    }

    fn old(kid: &str, records: u64, index_rows: u64) -> GenerationStatus {
        let (old_since, grace_ends) = (Some(at(NOW - 10 * DAY)), Some(at(NOW + 20 * DAY)));
        GenerationStatus { loaded: Some(Role::Old), old_since, grace_ends, records, index_rows, ..active(kid) }
    }

    fn line(generations: &[GenerationStatus]) -> String {
        advice(generations, at(NOW), &|_| "run `apply`".to_owned()).remove(0).1.text().to_owned()
    }

    #[test]
    fn only_an_old_unneeded_and_proven_key_is_removable() {
        let proven = GenerationStatus { proven_at: Some(at(NOW - DAY)), ..old("K_A", 0, 0) };
        assert!(KeyAssessment::on(&proven, at(NOW)).removable);
        for needed in [
            GenerationStatus { proven_at: None, ..proven.clone() },
            GenerationStatus { records: 1, ..proven.clone() },
            GenerationStatus { index_rows: 1, ..proven.clone() },
            GenerationStatus { old_since: None, ..proven.clone() },
            GenerationStatus { loaded: Some(Role::Active), ..proven.clone() },
        ] {
            assert!(!KeyAssessment::on(&needed, at(NOW)).removable, "{needed:?}");
        }
        assert!(KeyAssessment::on(&GenerationStatus { loaded: None, ..proven }, at(NOW)).removable);
    }

    #[test]
    fn gives_the_most_urgent_advice_for_each_kid() {
        let lost = GenerationStatus { loaded: None, ..old("K_A", 12_080, 0) };
        let needed = old("K_A", 12_080, 3);
        let unproven = old("K_A", 0, 0);
        let proven = GenerationStatus {
            proven_at: Some(at(NOW)),
            tokens_last_opened: Some(at(NOW - 2 * DAY)),
            tokens_opened_30_days: 1_234,
            ..unproven.clone()
        };
        let gone = GenerationStatus { loaded: None, ..unproven.clone() };
        assert_eq!(line(&[active("K_A"), gone.clone()]), "nothing to do");
        let removable = line(&[active("K_A"), proven.clone(), gone]);
        assert_eq!(
            removable,
            "as far as the vault is concerned, the old key abababababababab can be removed: take MASKER_KEY_K_A_OLD \
             away with `masker keys remove-old`, and run `apply`; but it last opened an `MSK1` token on 2027-01-13, 1,234 of them in the last 30 \
             days, and those that are never used cannot be counted: rewrap those that you know of first"
        );
        let proving = line(&[proven.clone(), unproven.clone()]);
        assert!(proving.starts_with("keep the old key abababababababab until it is proven"), "{proving}");
        assert_eq!(
            line(&[unproven, needed.clone(), proven]),
            "rotate the vault's records: `masker vault rotate-key --new-kid K_A` (12,080 records \
             need abababababababab; its grace period ends on 2027-02-04, in 20 days)"
        );
        assert_eq!(
            line(&[needed, lost.clone()]),
            "put the key abababababababab back as MASKER_KEY_K_A_OLD and run `apply`: 12,080 records need it"
        );
        let whole_kid = line(&[GenerationStatus { old_since: None, ..lost }]);
        assert!(whole_kid.contains(" as MASKER_KEY_K_A and "), "{whole_kid}");

        let both = advice(&[active("K_B"), old("K_A", 1, 0), active("K_A")], at(NOW), &|_| String::new());
        let kids: Vec<String> = both.iter().map(|(kid, _)| kid.to_string()).collect();
        assert_eq!((kids, &both[1].1), (vec!["K_A".to_owned(), "K_B".to_owned()], &Advice::Nothing));
        assert!(matches!(both[0].1, Advice::Rotate(_)), "{:?}", both[0].1);
    }

    #[test]
    fn mentions_open_sessions_which_do_not_keep_a_key() {
        let reason = |records: u64, open_sessions: Option<u64>| {
            let proven_at = Some(at(NOW)).filter(|_| records == 0);
            let assessment =
                KeyAssessment::on(&GenerationStatus { open_sessions, proven_at, ..old("K_A", records, 0) }, at(NOW));
            (assessment.removable, assessment.reason)
        };
        assert_eq!(reason(2, Some(1)).1, "2 records need it; 1 open session holds tokens that need it");
        let (removable, text) = reason(0, Some(1_234));
        assert!(removable && text.ends_with("; 1,234 open sessions hold tokens that need it"), "{text}");
        assert!([None, Some(0)].into_iter().all(|none| !reason(0, none).1.contains("session")));
    }

    #[test]
    fn counts_the_days_of_grace_until_it_is_over() {
        let generation = old("K_A", 1, 0);
        let left = |second: i64| (generation.grace_days_left(at(second)), generation.grace_seconds_left(at(second)));
        let ends = NOW + 20 * DAY;
        assert_eq!(left(NOW), (Some(20), Some(20 * DAY)));
        assert_eq!(left(NOW + 1), (Some(20), Some(20 * DAY - 1)));
        assert_eq!(left(ends - 1), (Some(1), Some(1)));
        assert_eq!(left(ends), (Some(0), Some(0)));
        assert_eq!(left(ends + DAY - 1), (Some(0), Some(1 - DAY)));
        assert_eq!(left(ends + DAY), (Some(-1), Some(-DAY)));
        assert_eq!(active("K_A").grace_days_left(at(NOW)), None);
        let text = |second: i64| grace(&generation, at(second));
        assert!(text(ends).contains("ended on") && text(ends - 1).contains("within a day"));
    }
}
