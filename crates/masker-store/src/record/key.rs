//! The keys of the vault's rows.

use masker_types::{
    kind::{EntityKind, Kid},
    limits::{KID_BYTES_MAX, KIND_BYTES_MAX, LABEL_BYTES_MAX},
};

use super::{
    layout::{API_KEY_BYTES_MAX, NORMALIZER_BYTES_MAX, RecordError},
    placeholder::{PLACEHOLDER_CODE_BYTES_MAX, PlaceholderOwner},
};
use crate::RowKey;

/// Longest name of a policy that can have a mapping row, in bytes.
pub const POLICY_NAME_BYTES_MAX: usize = RowKey::BYTES_MAX - 2 - KIND_BYTES_MAX;

/// The key of the span, after its space.
const SPAN: &[u8] = b"span";
/// A key that no row has, after its space.
const NEVER_WRITTEN: &[u8] = b"-";
/// The key of the count of tombstones, after its space.
const TOMBSTONES: &[u8] = b"tombstones";
/// The key of the sum of tombstones, after its space.
const TOMBSTONE_SUM: &[u8] = b"tombstone-sum";
/// The key of the audit log's head, after its space.
const AUDIT_HEAD: &[u8] = b"audit";
/// The first byte of the key of a slot, after its space.
const SLOT: u8 = b's';
/// The key of the manifest of the control rows, after its space.
const MANIFEST: &[u8] = b"m";

const _: () = assert!(2 + 8 + KID_BYTES_MAX <= RowKey::BYTES_MAX);
const _: () = assert!(2 + KIND_BYTES_MAX + KID_BYTES_MAX <= RowKey::BYTES_MAX);
const _: () = assert!(2 + PlaceholderOwner::BYTES + KIND_BYTES_MAX + PLACEHOLDER_CODE_BYTES_MAX <= RowKey::BYTES_MAX);

/// Why a row or its key cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowKeyError {
    /// The policy's name is empty or too long.
    #[error("a policy's name must have 1 to {POLICY_NAME_BYTES_MAX} bytes")]
    PolicyName,
    /// The normalizer's name is empty, too long, or not printable ASCII.
    #[error("a normalizer's name must have 1 to {} bytes of printable ASCII", NORMALIZER_BYTES_MAX)]
    Normalizer,
    /// The document of an API key is empty or too long.
    #[error("an API key's document must have 1 to {} bytes", API_KEY_BYTES_MAX)]
    ApiKey,
    /// A label or the name of a caller is too long or not printable, or the name is empty.
    #[error("a label and a caller's name must be printable and have at most {} bytes", LABEL_BYTES_MAX)]
    Label,
}

/// The meaning of a row's key. It does not implement `Debug`: an id is a token.
///
/// | space | rest of the key |
/// |---|---|
/// | `r` record | id (20) |
/// | `v` value index | index (20) |
/// | `f` form index | index (20) |
/// | `n` normalizers | length of the kind (1), kind, sealing kid |
/// | `w` moves of a kid | kid |
/// | `g` generation | fingerprint (8), kid |
/// | `c` counts of a generation | fingerprint (8), kid |
/// | `u` usage | length of the kind (1), kind, minted kid |
/// | `d` uses | fingerprint (8), kid |
/// | `o` rotation | id (16) |
/// | `p` mapping | length of the kind (1), kind, name of the policy |
/// | `m` span | `span` |
/// | `m` count of tombstones | `tombstones` |
/// | `m` sum of tombstones | `tombstone-sum` |
/// | `m` head of the audit log | `audit` |
/// | `t` tombstone | id (20) |
/// | `k` API key | id (16) |
/// | `y` use of an API key | id (16) |
/// | `s` session | id (16) |
/// | `e` token of a session | id of the session (16), tag of the token (20) |
/// | `h` honeytoken | id (16) |
/// | `b` key of placeholders | owner (17) |
/// | `l` placeholder | owner (17), length of the kind (1), kind, digits of the code |
/// | `x` slot of the control key | `s`, fingerprint (8), kid |
/// | `x` manifest of the control rows | `m` |
#[derive(Clone, PartialEq, Eq)]
pub enum RowName {
    /// A [`super::Record`], by the id of its token.
    Record([u8; 20]),
    /// An [`super::IndexRow`] of ids, by the index of a value.
    ValueIndex([u8; 20]),
    /// An [`super::IndexRow`] of match parts, by the index of a form.
    FormIndex([u8; 20]),
    /// A [`super::NormalizersRow`], by kind and sealing kid.
    Normalizers(EntityKind, Kid),
    /// A [`super::KidMovesRow`], by the kid that records were moved from.
    KidMoves(Kid),
    /// A [`super::GenerationRow`], by kid and fingerprint.
    Generation(Kid, [u8; 8]),
    /// A [`super::GenerationCountsRow`], by kid and fingerprint.
    GenerationCounts(Kid, [u8; 8]),
    /// A [`super::UsageRow`], by kind and minted kid.
    Usage(EntityKind, Kid),
    /// A [`super::MappingRow`], by policy and kind.
    Mapping(String, EntityKind),
    /// A [`super::GenerationUseRow`], by kid and fingerprint.
    Uses(Kid, [u8; 8]),
    /// A [`super::RotationRow`], by its id.
    Rotation([u8; 16]),
    /// The [`super::SpanRow`].
    Span,
    /// The [`super::TombstoneCountRow`].
    Tombstones,
    /// The [`super::TombstoneSumRow`].
    TombstoneSum,
    /// A [`super::TombstoneRow`], by the id of the token whose record was erased.
    Tombstone([u8; 20]),
    /// The [`super::AuditHeadRow`].
    AuditHead,
    /// An [`super::ApiKeyRow`], by the key's id.
    ApiKey([u8; 16]),
    /// An [`super::ApiKeyRow`] with the last use of a key, by the key's id.
    ApiKeyUse([u8; 16]),
    /// A [`super::SessionRow`], by its id.
    Session([u8; 16]),
    /// A [`super::SessionTokenRow`], by the session's id and the token's tag.
    SessionToken([u8; 16], [u8; 20]),
    /// A [`super::HoneytokenRow`], by its id.
    Honeytoken([u8; 16]),
    /// A [`super::PlaceholderKeyRow`], by whose placeholders they are.
    PlaceholderKey(PlaceholderOwner),
    /// A [`super::PlaceholderRow`], by whose it is, kind, and the digits of its code.
    Placeholder(PlaceholderOwner, EntityKind, Vec<u8>),
    /// A [`super::ControlSlotRow`], by the kid and fingerprint that seal it.
    ControlSlot(Kid, [u8; 8]),
    /// The [`super::ControlManifestRow`].
    ControlManifest,
}

impl RowName {
    /// The space of records.
    pub const RECORDS: u8 = b'r';
    /// The space of value indexes.
    pub const VALUE_INDEXES: u8 = b'v';
    /// The space of form indexes.
    pub const FORM_INDEXES: u8 = b'f';
    /// The space of remembered normalizers.
    pub const NORMALIZERS: u8 = b'n';
    /// The space of moves of kids.
    pub const KID_MOVES: u8 = b'w';
    /// The space of key generations.
    pub const GENERATIONS: u8 = b'g';
    /// The space of the counts of key generations.
    pub const GENERATION_COUNTS: u8 = b'c';
    /// The space of usage counts.
    pub const USAGES: u8 = b'u';
    /// The space of policies' mappings.
    pub const MAPPINGS: u8 = b'p';
    /// The space of the uses of keys.
    pub const USES: u8 = b'd';
    /// The space of rotations.
    pub const ROTATIONS: u8 = b'o';
    /// The space of the rows about the vault as a whole.
    pub const WHOLE: u8 = b'm';
    /// The space of tombstones.
    pub const TOMBSTONES: u8 = b't';
    /// The space of API keys.
    pub const API_KEYS: u8 = b'k';
    /// The space of the last uses of API keys.
    pub const API_KEY_USES: u8 = b'y';
    /// The space of sessions.
    pub const SESSIONS: u8 = b's';
    /// The space of the tokens of sessions.
    pub const SESSION_TOKENS: u8 = b'e';
    /// The space of honeytokens.
    pub const HONEYTOKENS: u8 = b'h';
    /// The space of the keys of placeholders.
    pub const PLACEHOLDER_KEYS: u8 = b'b';
    /// The space of placeholders.
    pub const PLACEHOLDERS: u8 = b'l';
    /// The space of the control key's slots and of the manifest of the control rows.
    pub const CONTROL: u8 = b'x';

    /// Parses a key.
    ///
    /// # Errors
    ///
    /// [`RecordError::Damaged`] if the vault creates no such key.
    pub fn parse(key: &RowKey) -> Result<Self, RecordError> {
        let bytes = key.as_bytes();
        let rest = &bytes[1..];
        let name = match bytes[0] {
            Self::RECORDS => rest.try_into().ok().map(RowName::Record),
            Self::VALUE_INDEXES => rest.try_into().ok().map(RowName::ValueIndex),
            Self::FORM_INDEXES => rest.try_into().ok().map(RowName::FormIndex),
            Self::NORMALIZERS => {
                split_kind(rest).and_then(|(kind, kid)| Some(RowName::Normalizers(kind, Kid::parse(kid)?)))
            }
            Self::KID_MOVES => text(rest).and_then(Kid::parse).map(RowName::KidMoves),
            Self::GENERATIONS => {
                split_fingerprint(rest).map(|(kid, fingerprint)| RowName::Generation(kid, fingerprint))
            }
            Self::GENERATION_COUNTS => {
                split_fingerprint(rest).map(|(kid, fingerprint)| RowName::GenerationCounts(kid, fingerprint))
            }
            Self::USES => split_fingerprint(rest).map(|(kid, fingerprint)| RowName::Uses(kid, fingerprint)),
            Self::USAGES => split_kind(rest).and_then(|(kind, kid)| Some(RowName::Usage(kind, Kid::parse(kid)?))),
            Self::MAPPINGS => split_kind(rest)
                .filter(|(_, policy)| (1..=POLICY_NAME_BYTES_MAX).contains(&policy.len()))
                .map(|(kind, policy)| RowName::Mapping(policy.to_owned(), kind)),
            Self::ROTATIONS => rest.try_into().ok().map(RowName::Rotation),
            Self::WHOLE if rest == SPAN => Some(RowName::Span),
            Self::WHOLE if rest == AUDIT_HEAD => Some(RowName::AuditHead),
            Self::WHOLE if rest == TOMBSTONE_SUM => Some(RowName::TombstoneSum),
            Self::WHOLE => (rest == TOMBSTONES).then_some(RowName::Tombstones),
            Self::TOMBSTONES => rest.try_into().ok().map(RowName::Tombstone),
            Self::API_KEYS => rest.try_into().ok().map(RowName::ApiKey),
            Self::API_KEY_USES => rest.try_into().ok().map(RowName::ApiKeyUse),
            Self::SESSIONS => rest.try_into().ok().map(RowName::Session),
            Self::SESSION_TOKENS => split_session(rest).map(|(session, tag)| RowName::SessionToken(session, tag)),
            Self::HONEYTOKENS => rest.try_into().ok().map(RowName::Honeytoken),
            Self::PLACEHOLDER_KEYS => {
                rest.try_into().ok().and_then(PlaceholderOwner::from_bytes).map(RowName::PlaceholderKey)
            }
            Self::PLACEHOLDERS => split_placeholder(rest),
            Self::CONTROL if rest == MANIFEST => Some(RowName::ControlManifest),
            Self::CONTROL => rest
                .split_first()
                .filter(|(first, _)| **first == SLOT)
                .and_then(|(_, rest)| split_fingerprint(rest))
                .map(|(kid, fingerprint)| RowName::ControlSlot(kid, fingerprint)),
            _ => None,
        };
        name.ok_or(RecordError::Damaged("its key is invalid"))
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn split_fingerprint(bytes: &[u8]) -> Option<(Kid, [u8; 8])> {
    let (fingerprint, kid) = bytes.split_first_chunk()?;
    Some((Kid::parse(text(kid)?)?, *fingerprint))
}

fn split_session(bytes: &[u8]) -> Option<([u8; 16], [u8; 20])> {
    let (session, tag) = bytes.split_first_chunk()?;
    Some((*session, tag.try_into().ok()?))
}

fn split_placeholder(bytes: &[u8]) -> Option<RowName> {
    let (owner, rest) = bytes.split_first_chunk()?;
    let (&length, rest) = rest.split_first()?;
    let (kind, code) = rest.split_at_checked(usize::from(length))?;
    let is_code = (1..=PLACEHOLDER_CODE_BYTES_MAX).contains(&code.len());
    let (owner, kind) = (PlaceholderOwner::from_bytes(*owner)?, EntityKind::parse(text(kind)?)?);
    is_code.then(|| RowName::Placeholder(owner, kind, code.to_vec()))
}

fn split_kind(bytes: &[u8]) -> Option<(EntityKind, &str)> {
    let (&length, rest) = bytes.split_first()?;
    let (kind, rest) = rest.split_at_checked(usize::from(length))?;
    Some((EntityKind::parse(text(kind)?)?, text(rest)?))
}

// The bounds asserted above, and those of the callers, keep the keys within `RowKey::BYTES_MAX`.
impl RowKey {
    /// Returns the key of the record with this id.
    pub fn record(id: &[u8; 20]) -> Self {
        Self::of_parts(RowName::RECORDS, &[id])
    }

    /// Returns the beginning of the keys of all records with this match part. It is no row's key.
    pub fn records_with(match_part: &[u8; 10]) -> Self {
        Self::of_parts(RowName::RECORDS, &[match_part])
    }

    /// Returns the key of the row with this index of a value.
    pub fn value_index(index: &[u8; 20]) -> Self {
        Self::of_parts(RowName::VALUE_INDEXES, &[index])
    }

    /// Returns the key of the row with this index of a form.
    pub fn form_index(index: &[u8; 20]) -> Self {
        Self::of_parts(RowName::FORM_INDEXES, &[index])
    }

    /// Returns the key of the normalizers of a kind under a sealing kid.
    pub fn normalizers(kind: EntityKind, sealing_kid: Kid) -> Self {
        let kind = kind.as_str().as_bytes();
        Self::of_parts(RowName::NORMALIZERS, &[&[kind.len() as u8], kind, sealing_kid.as_str().as_bytes()])
    }

    /// Returns the key of the moves of a kid.
    pub fn kid_moves(source: Kid) -> Self {
        Self::of_parts(RowName::KID_MOVES, &[source.as_str().as_bytes()])
    }

    /// Returns the key of a generation's row.
    pub fn generation(kid: Kid, fingerprint: &[u8; 8]) -> Self {
        Self::of_parts(RowName::GENERATIONS, &[fingerprint, kid.as_str().as_bytes()])
    }

    /// Returns the key of a generation's counts.
    pub fn generation_counts(kid: Kid, fingerprint: &[u8; 8]) -> Self {
        Self::of_parts(RowName::GENERATION_COUNTS, &[fingerprint, kid.as_str().as_bytes()])
    }

    /// Returns the key of the count of records of a kind that were minted under a kid.
    pub fn usage(kind: EntityKind, minted_kid: Kid) -> Self {
        let kind = kind.as_str().as_bytes();
        Self::of_parts(RowName::USAGES, &[&[kind.len() as u8], kind, minted_kid.as_str().as_bytes()])
    }

    /// Returns the key of a policy's mapping of a kind.
    ///
    /// # Errors
    ///
    /// [`RowKeyError::PolicyName`] if the name is empty or longer than [`POLICY_NAME_BYTES_MAX`].
    pub fn mapping(policy: &str, kind: EntityKind) -> Result<Self, RowKeyError> {
        if !(1..=POLICY_NAME_BYTES_MAX).contains(&policy.len()) {
            return Err(RowKeyError::PolicyName);
        }
        let kind = kind.as_str().as_bytes();
        Ok(Self::of_parts(RowName::MAPPINGS, &[&[kind.len() as u8], kind, policy.as_bytes()]))
    }

    /// Returns the key of the row about a generation's uses.
    pub fn uses(kid: Kid, fingerprint: &[u8; 8]) -> Self {
        Self::of_parts(RowName::USES, &[fingerprint, kid.as_str().as_bytes()])
    }

    /// Returns the key of a rotation's row.
    pub fn rotation(id: &[u8; 16]) -> Self {
        Self::of_parts(RowName::ROTATIONS, &[id])
    }

    /// Returns the key of the span.
    pub fn span() -> Self {
        Self::of_parts(RowName::WHOLE, &[SPAN])
    }

    /// Returns a key that no row has. Caches do not remember missing rows, so reading it reaches the store.
    pub fn never_written() -> Self {
        Self::of_parts(RowName::WHOLE, &[NEVER_WRITTEN])
    }

    /// Returns the key of the count of tombstones.
    pub fn tombstones() -> Self {
        Self::of_parts(RowName::WHOLE, &[TOMBSTONES])
    }

    /// Returns the key of the sum of tombstones.
    pub fn tombstone_sum() -> Self {
        Self::of_parts(RowName::WHOLE, &[TOMBSTONE_SUM])
    }

    /// Returns the key of the tombstone of the record with this id.
    pub fn tombstone(id: &[u8; 20]) -> Self {
        Self::of_parts(RowName::TOMBSTONES, &[id])
    }

    /// Returns the key of the audit log's head.
    pub fn audit_head() -> Self {
        Self::of_parts(RowName::WHOLE, &[AUDIT_HEAD])
    }

    /// Returns the key of the row about an API key.
    pub fn api_key(id: &[u8; 16]) -> Self {
        Self::of_parts(RowName::API_KEYS, &[id])
    }

    /// Returns the key of the row about the last use of an API key.
    pub fn api_key_use(id: &[u8; 16]) -> Self {
        Self::of_parts(RowName::API_KEY_USES, &[id])
    }

    /// Returns the key of a session's row.
    pub fn session(id: &[u8; 16]) -> Self {
        Self::of_parts(RowName::SESSIONS, &[id])
    }

    /// Returns the key of the row about a token of a session.
    pub fn session_token(session: &[u8; 16], tag: &[u8; 20]) -> Self {
        Self::of_parts(RowName::SESSION_TOKENS, &[session, tag])
    }

    /// Returns the key of a honeytoken's row.
    pub fn honeytoken(id: &[u8; 16]) -> Self {
        Self::of_parts(RowName::HONEYTOKENS, &[id])
    }

    /// Returns the key of the row with the key of someone's placeholders.
    pub fn placeholder_key(owner: PlaceholderOwner) -> Self {
        Self::of_parts(RowName::PLACEHOLDER_KEYS, &[&owner.to_bytes()])
    }

    /// Returns the key of a placeholder's row. `code` has at most [`PLACEHOLDER_CODE_BYTES_MAX`] digits.
    pub fn placeholder(owner: PlaceholderOwner, kind: EntityKind, code: &[u8]) -> Self {
        let kind = kind.as_str().as_bytes();
        Self::of_parts(RowName::PLACEHOLDERS, &[&owner.to_bytes(), &[kind.len() as u8], kind, code])
    }

    /// Returns the beginning of the keys of someone's placeholders. It is no row's key.
    pub fn placeholders_of(owner: PlaceholderOwner) -> Self {
        Self::of_parts(RowName::PLACEHOLDERS, &[&owner.to_bytes()])
    }

    /// Returns the key of the slot in which a generation seals the control key.
    pub fn control_slot(kid: Kid, fingerprint: &[u8; 8]) -> Self {
        Self::of_parts(RowName::CONTROL, &[&[SLOT], fingerprint, kid.as_str().as_bytes()])
    }

    /// Returns the key of the manifest of the control rows.
    pub fn control_manifest() -> Self {
        Self::of_parts(RowName::CONTROL, &[MANIFEST])
    }
}
