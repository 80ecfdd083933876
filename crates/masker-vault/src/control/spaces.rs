//! Which rows the control key authenticates, and what happens to those that do not verify.

use masker_store::record::RowName;

/// How the rows of a space are authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    /// By the keys of records, or by the seal of a slot.
    Sealed,
    /// By a tag, and by the manifest of the control rows.
    Control,
    /// By a tag, and by the sum of the tombstones.
    Tombstone,
    /// By a tag alone.
    Tag,
    /// By the seal of the control key: the rows hold keys.
    Encrypted,
}

/// The spaces whose rows have a tag, or a seal under the control key.
pub(super) const TAGGED: [u8; 17] = [
    RowName::NORMALIZERS,
    RowName::KID_MOVES,
    RowName::GENERATIONS,
    RowName::GENERATION_COUNTS,
    RowName::USAGES,
    RowName::MAPPINGS,
    RowName::USES,
    RowName::ROTATIONS,
    RowName::WHOLE,
    RowName::TOMBSTONES,
    RowName::API_KEYS,
    RowName::API_KEY_USES,
    RowName::SESSIONS,
    RowName::SESSION_TOKENS,
    RowName::HONEYTOKENS,
    RowName::PLACEHOLDER_KEYS,
    RowName::PLACEHOLDERS,
];

/// All spaces of a vault.
pub(super) fn all() -> impl Iterator<Item = u8> {
    TAGGED.into_iter().chain([RowName::RECORDS, RowName::VALUE_INDEXES, RowName::FORM_INDEXES, RowName::CONTROL])
}

/// The spaces of the control rows.
pub(super) fn control() -> impl Iterator<Item = u8> {
    TAGGED.into_iter().filter(|space| protection(*space) == Protection::Control)
}

pub(super) fn protection(space: u8) -> Protection {
    match space {
        RowName::API_KEYS | RowName::HONEYTOKENS | RowName::GENERATIONS | RowName::ROTATIONS => Protection::Control,
        RowName::TOMBSTONES => Protection::Tombstone,
        RowName::PLACEHOLDER_KEYS => Protection::Encrypted,
        space if TAGGED.contains(&space) => Protection::Tag,
        _ => Protection::Sealed,
    }
}

/// Returns whether a row of this space grants something, or makes the daemon move records, so that it is void if it does not
/// verify. The others withhold, or count what is needed, so they still count.
pub(super) fn grants(space: u8) -> bool {
    matches!(
        space,
        RowName::API_KEYS
            | RowName::API_KEY_USES
            | RowName::ROTATIONS
            | RowName::SESSIONS
            | RowName::SESSION_TOKENS
            | RowName::PLACEHOLDER_KEYS
            | RowName::PLACEHOLDERS
    )
}

/// Returns the name of a space for operators.
pub(super) fn name(space: u8) -> &'static str {
    match space {
        RowName::NORMALIZERS => "normalizers",
        RowName::KID_MOVES => "moves of a key id",
        RowName::GENERATIONS => "key generation",
        RowName::GENERATION_COUNTS => "counts of a key generation",
        RowName::USAGES => "usage count",
        RowName::MAPPINGS => "mapping of a policy",
        RowName::USES => "use of a key",
        RowName::ROTATIONS => "rotation",
        RowName::WHOLE => "row about the whole vault",
        RowName::TOMBSTONES => "tombstone",
        RowName::API_KEYS => "API key",
        RowName::API_KEY_USES => "use of an API key",
        RowName::SESSIONS => "session",
        RowName::SESSION_TOKENS => "token of a session",
        RowName::HONEYTOKENS => "honeytoken",
        RowName::PLACEHOLDER_KEYS => "key of placeholders",
        RowName::PLACEHOLDERS => "placeholder",
        _ => "row",
    }
}
