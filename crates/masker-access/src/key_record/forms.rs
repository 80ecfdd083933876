//! How the parts of an API key are written in its document.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serializer, de};

use crate::{KeyDigest, KeyPrefix, Mode};

pub(super) mod digest {
    use super::*;

    pub(in crate::key_record) fn serialize<S: Serializer>(
        digest: &KeyDigest,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(digest.as_bytes()))
    }

    pub(in crate::key_record) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<KeyDigest, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(KeyDigest::from_bytes).ok_or_else(|| de::Error::custom("not a digest"))
    }
}

pub(super) mod prefix {
    use super::*;

    pub(in crate::key_record) fn serialize<S: Serializer>(
        prefix: &KeyPrefix,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(prefix.as_str())
    }

    pub(in crate::key_record) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<KeyPrefix, D::Error> {
        let text = String::deserialize(deserializer)?;
        KeyPrefix::parse(&text).ok_or_else(|| de::Error::custom("not an API key prefix"))
    }
}

pub(super) mod optional_prefix {
    use super::*;

    pub(in crate::key_record) fn serialize<S: Serializer>(
        prefix: &Option<KeyPrefix>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_some(prefix.as_ref().map_or("", KeyPrefix::as_str))
    }

    pub(in crate::key_record) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<KeyPrefix>, D::Error> {
        super::prefix::deserialize(deserializer).map(Some)
    }
}

pub(super) mod mode {
    use super::*;

    pub(in crate::key_record) fn serialize<S: Serializer>(mode: &Mode, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(mode.as_str())
    }

    pub(in crate::key_record) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mode, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mode = Mode::ALL.into_iter().find(|mode| mode.as_str() == text);
        mode.ok_or_else(|| de::Error::custom("neither live nor test"))
    }
}
