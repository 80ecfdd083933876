//! The limits of a caller over time, as operators write them.
//!
//! A *request* is one call of the HTTP interface. A *value* is one value or token in a request. Each value is an
//! *operation*; a request without values is one operation.

use std::{fmt, num::NonZeroU64};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Unexpected, Visitor},
    ser::SerializeMap,
};

use crate::limits::{BURST_MAX, DISTINCT_VALUES_PER_DAY_MAX, PER_DAY_MAX, PER_HOUR_MAX, PER_SECOND_MAX};

macro_rules! limits {
    ($($variant:ident = $text:literal, $max:expr, $meaning:literal;)*) => {
        /// A quantity that can be limited.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Limit {
            $(#[doc = $meaning] $variant,)*
        }

        impl Limit {
            /// Every limit, in the order of the reference.
            pub const ALL: &'static [Limit] = &[$(Limit::$variant,)*];
            /// The names of all limits, in the same order.
            const NAMES: &'static [&'static str] = &[$($text,)*];

            /// Returns the name of the limit, as operators and clients write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Limit::$variant => $text,)* }
            }

            /// Returns the highest number that can be configured. The lowest is 1.
            pub const fn greatest(self) -> u64 {
                match self { $(Limit::$variant => $max,)* }
            }
        }
    };
}

limits! {
    RequestsPerSecond = "requests_per_second", PER_SECOND_MAX, "Requests per second, on average.";
    RequestsBurst = "requests_burst", BURST_MAX,
        "Requests at once after a pause; by default, those of one second.";
    RequestsPerHour = "requests_per_hour", PER_HOUR_MAX, "Requests in an hour that begins with the first.";
    ValuesPerSecond = "values_per_second", PER_SECOND_MAX, "Values and tokens per second, on average.";
    ValuesBurst = "values_burst", BURST_MAX,
        "Values and tokens at once after a pause; by default, those of one second.";
    ValuesPerHour = "values_per_hour", PER_HOUR_MAX, "Values and tokens in an hour that begins with the first.";
    OperationsPerDay = "operations_per_day", PER_DAY_MAX, "Operations in a day of UTC.";
    DistinctValuesPerDay = "distinct_values_per_day", DISTINCT_VALUES_PER_DAY_MAX,
        "Values that are tokenized or looked up for the first time in a day of UTC.";
    RehydrationsPerDay = "rehydrations_per_day", PER_DAY_MAX, "Tokens that are rehydrated in a day of UTC.";
}

/// The burst limits, each with the rate limit that it needs.
const BURSTS: [(Limit, Limit); 2] =
    [(Limit::RequestsBurst, Limit::RequestsPerSecond), (Limit::ValuesBurst, Limit::ValuesPerSecond)];

/// The limits of a caller. Holding one proves that each is within its bounds and that each burst has its rate.
///
/// The JSON form is `"none"`, `"standard"`, or an object with the limits that are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits([Option<NonZeroU64>; Limit::ALL.len()]);

/// Numbers that are not valid limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// A number is 0 or too high.
    #[error("`{}` must be a whole number from 1 to {}", .0.as_str(), .0.greatest())]
    OutOfBounds(Limit),
    /// A burst is set without its rate.
    #[error("`{}` requires `{}`", .burst.as_str(), .rate.as_str())]
    BurstAlone {
        /// The burst that is set.
        burst: Limit,
        /// The rate that is missing.
        rate: Limit,
    },
}

impl Limits {
    /// Returns limits that limit nothing.
    pub const fn none() -> Self {
        Limits([None; Limit::ALL.len()])
    }

    /// Returns the preset for API keys: 60 requests at once, 60 per minute, and 1,000 per hour, with 1,000 values at once
    /// and 100 per second.
    pub const fn standard() -> Self {
        let mut limits = Limits::none();
        limits.0[Limit::ValuesPerSecond as usize] = NonZeroU64::new(100);
        limits.0[Limit::ValuesBurst as usize] = NonZeroU64::new(1_000);
        limits.0[Limit::RequestsPerSecond as usize] = NonZeroU64::new(1);
        limits.0[Limit::RequestsBurst as usize] = NonZeroU64::new(60);
        limits.0[Limit::RequestsPerHour as usize] = NonZeroU64::new(1_000);
        limits
    }

    /// Creates limits from numbers. If a limit is given twice, the last number counts.
    ///
    /// # Errors
    /// Returns [`LimitsError`] for the first number that is not valid.
    pub fn new(numbers: impl IntoIterator<Item = (Limit, u64)>) -> Result<Self, LimitsError> {
        let mut limits = Limits::none();
        for (limit, number) in numbers {
            let number = NonZeroU64::new(number).filter(|number| number.get() <= limit.greatest());
            limits.0[limit as usize] = Some(number.ok_or(LimitsError::OutOfBounds(limit))?);
        }
        for (burst, rate) in BURSTS {
            match (limits.0[burst as usize], limits.0[rate as usize]) {
                (Some(_), None) => return Err(LimitsError::BurstAlone { burst, rate }),
                (None, second) => limits.0[burst as usize] = second,
                (Some(_), Some(_)) => {}
            }
        }
        Ok(limits)
    }

    /// Returns the number of a limit, or `None` if it is not set.
    pub fn get(&self, limit: Limit) -> Option<u64> {
        self.0[limit as usize].map(NonZeroU64::get)
    }

    /// Returns the limits that are set, in the order of the reference.
    pub fn iter(&self) -> impl Iterator<Item = (Limit, u64)> + '_ {
        Limit::ALL.iter().filter_map(|limit| Some((*limit, self.get(*limit)?)))
    }

    /// Returns whether `other` allows no more than these limits.
    pub fn covers(&self, other: &Limits) -> bool {
        self.iter().all(|(limit, number)| other.get(limit).is_some_and(|others| others <= number))
    }

    /// Returns limits that cover these and `other`: of each limit the higher number, and none where one of them has none.
    #[must_use]
    pub fn union(&self, other: &Limits) -> Limits {
        let mut union = Limits::none();
        for limit in Limit::ALL.iter().map(|limit| *limit as usize) {
            union.0[limit] = self.0[limit].zip(other.0[limit]).map(|(own, others)| own.max(others));
        }
        union
    }

    /// Returns limits that allow what these and `other` allow: of each limit the lower number.
    #[must_use]
    pub fn intersection(&self, other: &Limits) -> Limits {
        let mut both = Limits::none();
        for limit in Limit::ALL.iter().map(|limit| *limit as usize) {
            both.0[limit] = self.0[limit].into_iter().chain(other.0[limit]).min();
        }
        both
    }

    /// Returns whether no limit is set.
    pub fn is_unlimited(&self) -> bool {
        *self == Limits::none()
    }

    /// Returns the preset with this name: `none` or `standard`.
    pub fn from_preset(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Limits::none()),
            "standard" => Some(Limits::standard()),
            _ => None,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Limits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_unlimited() {
            return serializer.serialize_str("none");
        }
        if *self == Limits::standard() {
            return serializer.serialize_str("standard");
        }
        let mut map = serializer.serialize_map(Some(self.iter().count()))?;
        for (limit, number) in self.iter() {
            map.serialize_entry(limit.as_str(), &number)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LimitsVisitor)
    }
}

/// Reads the JSON form of [`Limits`]. Errors name only what was expected, because a response may repeat them.
struct LimitsVisitor;

impl<'de> Visitor<'de> for LimitsVisitor {
    type Value = Limits;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`\"none\"`, `\"standard\"` or an object of limits")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Limits, E> {
        Limits::from_preset(name).ok_or_else(|| E::invalid_value(Unexpected::Other("another text"), &self))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Limits, A::Error> {
        let mut numbers: Vec<(Limit, u64)> = Vec::new();
        while let Some(LimitName(limit)) = map.next_key()? {
            if numbers.iter().any(|(known, _)| *known == limit) {
                return Err(de::Error::duplicate_field(limit.as_str()));
            }
            // The library of a client may write `null` for an absent field.
            if let Some(number) = map.next_value::<Option<u64>>()? {
                numbers.push((limit, number));
            }
        }
        Limits::new(numbers).map_err(|wrong| {
            let expected = match wrong {
                LimitsError::OutOfBounds(limit) => format!("`{limit}` from 1 to {}", limit.greatest()),
                LimitsError::BurstAlone { burst, rate } => format!("`{rate}` with `{burst}`"),
            };
            de::Error::invalid_value(Unexpected::Other("invalid limits"), &&*expected)
        })
    }
}

/// The name of a limit in an object.
struct LimitName(Limit);

impl<'de> Deserialize<'de> for LimitName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl Visitor<'_> for NameVisitor {
            type Value = LimitName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a limit")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<LimitName, E> {
                let known = Limit::ALL.iter().find(|limit| limit.as_str() == name);
                known.map(|limit| LimitName(*limit)).ok_or_else(|| E::unknown_field(name, Limit::NAMES))
            }
        }
        deserializer.deserialize_identifier(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Limits, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn covers_limits_that_allow_no_more() {
        let some = |json: &str| read(json).unwrap();
        let own = some(r#"{"requests_per_second": 3, "values_per_hour": 7}"#);
        for (other, covered) in [
            (own, true),
            (some(r#"{"requests_per_second": 2, "values_per_hour": 7, "operations_per_day": 1}"#), true),
            (some(r#"{"requests_per_second": 4, "values_per_hour": 7}"#), false),
            (some(r#"{"requests_per_second": 3, "requests_burst": 4, "values_per_hour": 7}"#), false),
            (some(r#"{"requests_per_second": 3}"#), false),
            (Limits::none(), false),
        ] {
            assert_eq!(own.covers(&other), covered, "{other:?}");
            assert!(Limits::none().covers(&other));
        }
    }

    #[test]
    fn a_union_covers_both_limits() {
        let some = |json: &str| read(json).unwrap();
        let own = some(r#"{"requests_per_second": 3, "requests_burst": 9, "values_per_hour": 7}"#);
        let other = some(r#"{"requests_per_second": 4, "rehydrations_per_day": 1}"#);
        let union = own.union(&other);
        assert_eq!(union, some(r#"{"requests_per_second": 4, "requests_burst": 9}"#));
        assert!(union.covers(&own) && union.covers(&other));
        assert_eq!(own.union(&own), own);
    }

    #[test]
    fn both_limits_cover_their_intersection() {
        let some = |json: &str| read(json).unwrap();
        let own = some(r#"{"requests_per_second": 3, "requests_burst": 9, "values_per_hour": 7}"#);
        let other = some(r#"{"requests_per_second": 4, "rehydrations_per_day": 1}"#);
        let both = own.intersection(&other);
        let expected =
            r#"{"requests_per_second": 3, "requests_burst": 4, "values_per_hour": 7, "rehydrations_per_day": 1}"#;
        assert_eq!(both, some(expected));
        assert!(own.covers(&both) && other.covers(&both));
        assert_eq!(own.intersection(&Limits::none()), own);
    }

    #[test]
    fn the_standard_preset_limits_guesses() {
        let standard = Limits::standard();
        assert_eq!((standard.get(Limit::ValuesPerSecond), standard.get(Limit::ValuesBurst)), (Some(100), Some(1_000)));
    }

    #[test]
    fn reads_and_writes_presets_and_objects() {
        for (json, limits) in [("\"none\"", Limits::none()), ("\"standard\"", Limits::standard())] {
            assert_eq!(read(json).unwrap(), limits);
            assert_eq!(serde_json::to_string(&limits).unwrap(), json);
        }
        assert_eq!(read("{}").unwrap(), Limits::none());
        assert!(Limits::none().is_unlimited() && !Limits::standard().is_unlimited());
        let some = read(r#"{"values_per_hour": 7, "requests_per_second": 3, "rehydrations_per_day": null}"#).unwrap();
        assert_eq!(
            serde_json::to_string(&some).unwrap(),
            r#"{"requests_per_second":3,"requests_burst":3,"values_per_hour":7}"#
        );
        assert_eq!(read(&serde_json::to_string(&some).unwrap()).unwrap(), some);
    }

    #[test]
    fn reads_every_limit_within_its_bounds() {
        for limit in Limit::ALL.iter().copied() {
            let with = |number: u64| {
                let rate = BURSTS.iter().find(|(burst, _)| *burst == limit).map(|(_, rate)| *rate);
                let rate = rate.map(|rate| format!("\"{rate}\": 1, ")).unwrap_or_default();
                read(&format!("{{{rate}\"{limit}\": {number}}}"))
            };
            for number in [1, limit.greatest()] {
                assert_eq!(with(number).unwrap().get(limit), Some(number), "{limit}");
            }
            for number in [0, limit.greatest() + 1] {
                let expected = format!("expected `{limit}` from 1 to {}", limit.greatest());
                assert!(with(number).unwrap_err().contains(&expected), "{limit}");
            }
        }
    }

    #[test]
    fn rejects_invalid_limits_without_quoting_them() {
        assert!(!read("\"sTandard\"").unwrap_err().contains("sTandard"));
        for (json, reason) in [
            ("7", "expected `\"none\"`, `\"standard\"` or an object of limits"),
            (r#"{"requests": 1}"#, "unknown field `requests`, expected one of `requests_per_second`, "),
            (r#"{"values_burst": 1}"#, "expected `values_per_second` with `values_burst`"),
            (r#"{"values_per_hour": 1, "values_per_hour": 2}"#, "duplicate field `values_per_hour`"),
            (r#"{"values_per_hour": -1}"#, "expected u64"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(reason), "{json}: {error}");
        }
    }
}
