//! Events of the audit log, and their text: canonical JSON (RFC 8785), the form that the hash covers.
//!
//! An event consists of fixed fields. None of them can hold a value, a token, a context or a digest of one: counts are by
//! kind and outcome, and keys appear as their ids and fingerprints.
//!
//! Canonical JSON sorts its members. The code below writes them in that order, so that only details are sorted at run
//! time; a test and every verification compare the result with an implementation of RFC 8785. The number, id and time of
//! an event are known only when it is written. An event is therefore prepared, outside of any lock, as three
//! [`EventParts`] with the id and the number between them.

use super::json::{Members, name};
use masker_core::{crypto::Fingerprint, keyring::Role};
use masker_types::kind::{EntityKind, Kid};

macro_rules! operations {
    ($($(#[$meta:meta])* $variant:ident = $text:literal;)*) => {
        /// What was done, or what happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum AuditOperation {
            $($(#[$meta])* #[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl AuditOperation {
            /// Every operation.
            pub const ALL: &'static [AuditOperation] = &[$(AuditOperation::$variant,)*];

            /// Returns the name of the operation in the log.
            pub const fn as_str(self) -> &'static str {
                match self { $(AuditOperation::$variant => $text,)* }
            }
        }
    };
}

operations! {
    Start = "start";
    Stop = "stop";
    KeysReload = "keys.reload";
    PoliciesReload = "policies.reload";
    /// Keys and policies, on `SIGHUP`:
    Reload = "reload";
    Tokenize = "tokenize";
    Rehydrate = "rehydrate";
    Lookup = "lookup";
    Rewrap = "rewrap";
    Forget = "forget";
    TextMask = "text.mask";
    TextRestore = "text.restore";
    TextDetect = "text.detect";
    /// The end of a text that arrived in parts:
    TextStreamed = "text.streamed";
    KeysRead = "keys.read";
    VaultStats = "vault.stats";
    VaultCheck = "vault.check";
    VaultExport = "vault.export";
    /// The end of an export's stream:
    VaultExported = "vault.exported";
    VaultImport = "vault.import";
    VaultPurge = "vault.purge";
    VaultCompact = "vault.compact";
    ControlKeyReplace = "control_key.replace";
    RotationBegin = "rotation.begin";
    RotationRead = "rotation.read";
    RotationCancel = "rotation.cancel";
    RotationEnd = "rotation.end";
    PoliciesRead = "policies.read";
    ApiKeyCreate = "api_key.create";
    ApiKeyList = "api_key.list";
    ApiKeyChange = "api_key.change";
    ApiKeyRotate = "api_key.rotate";
    ApiKeyRevoke = "api_key.revoke";
    SessionOpen = "session.open";
    SessionRead = "session.read";
    SessionClose = "session.close";
    /// Sessions were removed after their retention:
    SessionPurge = "session.purge";
    AuditRead = "audit.read";
    ReportRead = "report.read";
    HoneytokenPlant = "honeytoken.plant";
    HoneytokenList = "honeytoken.list";
    HoneytokenRemove = "honeytoken.remove";
    /// Nobody has a legitimate reason to do this:
    HoneytokenRehydrated = "honeytoken.rehydrated";
    BudgetCrossed = "budget.crossed";
    AuthFailed = "auth.failed";
    AuthBlocked = "auth.blocked";
    Denied = "denied";
    Refused = "refused";
    /// Commits of the vault while they happen:
    VaultPosition = "vault.position";
    /// The vault has commits that no event tells of:
    Unrecorded = "unrecorded";
    /// An operator accepted that commits of the vault are lost:
    LossAccepted = "loss.accepted";
    /// An operator accepted another vault than the one that the log belongs to:
    VaultAccepted = "vault.accepted";
    /// The first line of every segment:
    SegmentOpened = "segment.opened";
    /// The last line of a segment that is full or whose day is over:
    SegmentClosed = "segment.closed";
    /// The retention of a segment is over, and it is about to be removed:
    SegmentRemoved = "segment.removed";
    /// A torn last line was removed:
    LineCut = "line.cut";
    /// The log does not verify:
    ChainBroken = "chain.broken";
    /// An operator accepted a broken chain:
    BreakAccepted = "break.accepted";
    /// The clock is too far past the last event to delete anything by it:
    ClockJumped = "clock.jumped";
    /// An operator accepted such a clock:
    ClockAccepted = "clock.accepted";
    /// Events can be written again:
    Resumed = "log.resumed";
    /// The operator chose to serve while the log cannot be written:
    ContinueChosen = "continue.chosen";
}

impl AuditOperation {
    /// Returns whether events of this operation have the position of the vault: those of starts, stops and segments, and
    /// those after which an older copy of the vault would restore what was withdrawn.
    pub const fn has_vault_position(self) -> bool {
        use AuditOperation as Op;
        match self {
            Op::Start
            | Op::Stop
            | Op::KeysReload
            | Op::PoliciesReload
            | Op::Reload
            | Op::Forget
            | Op::VaultCheck
            | Op::VaultImport
            | Op::VaultPurge
            | Op::ControlKeyReplace
            | Op::RotationBegin
            | Op::RotationCancel
            | Op::RotationEnd
            | Op::ApiKeyCreate
            | Op::ApiKeyChange
            | Op::ApiKeyRotate
            | Op::ApiKeyRevoke
            | Op::SessionPurge
            | Op::HoneytokenPlant
            | Op::HoneytokenRemove
            | Op::VaultPosition
            | Op::Unrecorded
            | Op::LossAccepted
            | Op::VaultAccepted
            | Op::SegmentOpened
            | Op::SegmentClosed => true,
            Op::Tokenize
            | Op::Rehydrate
            | Op::Lookup
            | Op::Rewrap
            | Op::TextMask
            | Op::TextRestore
            | Op::TextDetect
            | Op::TextStreamed
            | Op::KeysRead
            | Op::VaultStats
            | Op::VaultExport
            | Op::VaultExported
            | Op::VaultCompact
            | Op::RotationRead
            | Op::PoliciesRead
            | Op::ApiKeyList
            | Op::SessionOpen
            | Op::SessionRead
            | Op::SessionClose
            | Op::AuditRead
            | Op::ReportRead
            | Op::HoneytokenList
            | Op::HoneytokenRehydrated
            | Op::BudgetCrossed
            | Op::AuthFailed
            | Op::AuthBlocked
            | Op::Denied
            | Op::Refused
            | Op::SegmentRemoved
            | Op::LineCut
            | Op::ChainBroken
            | Op::BreakAccepted
            | Op::ClockJumped
            | Op::ClockAccepted
            | Op::Resumed
            | Op::ContinueChosen => false,
        }
    }
}

/// An event to record. The log adds its time, number and id.
#[derive(Clone, Copy)]
pub struct AuditEvent<'a> {
    /// The operation.
    pub op: AuditOperation,
    /// `ok`, or the code of the failure.
    pub outcome: &'static str,
    /// The caller; `None` for the daemon itself.
    pub caller: Option<&'a EncodedCaller>,
    /// The id that masker gave to the request.
    pub request_id: Option<&'a str>,
    /// The HTTP status of the response.
    pub status: Option<u16>,
    /// The name of the policy.
    pub policy: Option<&'a str>,
    /// The id of the session.
    pub session: Option<&'a str>,
    /// The outcomes of the items.
    pub counts: &'a [OutcomeCount],
    /// The duration in microseconds.
    pub duration_us: Option<u64>,
    /// Details, each with a different name.
    pub detail: &'a [(&'static str, DetailValue<'a>)],
}

impl<'a> AuditEvent<'a> {
    /// Returns an event with an operation and an outcome only.
    pub const fn new(op: AuditOperation, outcome: &'static str) -> Self {
        AuditEvent {
            op,
            outcome,
            caller: None,
            request_id: None,
            status: None,
            policy: None,
            session: None,
            counts: &[],
            duration_us: None,
            detail: &[],
        }
    }
}

/// The text of a caller in the log, encoded once for all its events.
pub struct EncodedCaller(Box<[u8]>);

impl EncodedCaller {
    /// Encodes a caller.
    pub fn new(caller: &CallerIdentity<'_>) -> Self {
        let mut text = Vec::new();
        let mut members = Members(&mut text);
        members.open(concat!(name!("caller"), "{"));
        caller.write(&mut members);
        members.close(b'}');
        EncodedCaller(text.into())
    }
}

/// A caller, as the kernel and the configuration identify it.
#[derive(Clone, Copy)]
pub struct CallerIdentity<'a> {
    /// The address that its gateway has asserted.
    pub address: Option<&'a str>,
    /// The SHA-256 of the public key of its certificate, in hex.
    pub certificate: Option<&'a str>,
    /// The gateway that it comes through.
    pub gateway: Option<&'a str>,
    /// The group.
    pub gid: u32,
    /// The id of the API key.
    pub key_id: Option<&'a str>,
    /// The part of the API key that is not secret.
    pub key_prefix: Option<&'a str>,
    /// `live` or `test`.
    pub mode: &'static str,
    /// The client's name.
    pub name: &'a str,
    /// The process.
    pub pid: Option<i32>,
    /// The user.
    pub uid: u32,
    /// The systemd unit.
    pub unit: Option<&'a str>,
}

/// The number of items of one kind with one outcome.
#[derive(Clone, Copy)]
pub struct OutcomeCount {
    /// The fingerprint of the key.
    pub fingerprint: Option<Fingerprint>,
    /// The generation of the key.
    pub generation: Option<Role>,
    /// The number of items.
    pub items: u64,
    /// The key id.
    pub kid: Option<Kid>,
    /// The kind.
    pub kind: Option<EntityKind>,
    /// `ok`, or the code of the failure.
    pub outcome: &'static str,
}

/// The value of a detail: a scope, a reason, a code, the id of a rotation, the path of a directory.
#[derive(Clone, Copy)]
pub enum DetailValue<'a> {
    /// A number.
    Number(u64),
    /// A text of the operator or of masker, never of a request.
    Text(&'a str),
    /// A boolean.
    Flag(bool),
    /// Texts, in this order.
    List(&'a [String]),
}

/// The lengths of the three parts of a prepared event, in bytes: before its id, between the id and the number, and between
/// the number and the time. Each part ends with a comma, unless it is empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventParts {
    pub(super) op: AuditOperation,
    before_id: usize,
    before_number: usize,
    before_time: usize,
}

impl EventParts {
    /// Returns the length of all parts.
    pub(super) const fn bytes(&self) -> usize {
        self.before_id + self.before_number + self.before_time
    }
}

/// What the log adds to an event when it writes it.
pub(super) struct EventPosition<'a> {
    pub(super) id: &'a str,
    pub(super) sequence: u64,
    /// RFC 3339, in UTC, with milliseconds.
    pub(super) time: &'a str,
}

impl AuditEvent<'_> {
    /// Appends the parts that do not depend on the event's position to `text`.
    pub(super) fn prepare(&self, text: &mut Vec<u8>) -> EventParts {
        let start = text.len();
        self.before_id(&mut Members(text));
        let id = text.len();
        self.before_number(&mut Members(text));
        let number = text.len();
        self.before_time(&mut Members(text));
        let before_time = text.len() - number;
        EventParts { op: self.op, before_id: id - start, before_number: number - id, before_time }
    }

    fn before_id(&self, members: &mut Members<'_>) {
        if let Some(caller) = self.caller {
            members.raw(&caller.0);
        }
        if !self.counts.is_empty() {
            members.open(concat!(name!("counts"), "["));
            for count in self.counts {
                members.open("{");
                count.write(members);
                members.close(b'}');
            }
            members.close(b']');
        }
        if !self.detail.is_empty() {
            members.open(concat!(name!("detail"), "{"));
            write_details(self.detail, members);
            members.close(b'}');
        }
        if let Some(duration) = self.duration_us {
            members.number(name!("duration_us"), duration);
        }
    }

    fn before_number(&self, members: &mut Members<'_>) {
        members.plain(name!("op"), self.op.as_str());
        members.plain(name!("outcome"), self.outcome);
        members.text_if(name!("policy"), self.policy);
        members.plain_if(name!("request_id"), self.request_id);
    }

    fn before_time(&self, members: &mut Members<'_>) {
        members.text_if(name!("session"), self.session);
        if let Some(status) = self.status {
            members.number(name!("status"), u64::from(status));
        }
    }
}

impl CallerIdentity<'_> {
    fn write(&self, members: &mut Members<'_>) {
        members.plain_if(name!("address"), self.address);
        members.plain_if(name!("certificate"), self.certificate);
        members.text_if(name!("gateway"), self.gateway);
        members.number(name!("gid"), u64::from(self.gid));
        members.text_if(name!("key_id"), self.key_id);
        members.text_if(name!("key_prefix"), self.key_prefix);
        members.plain(name!("mode"), self.mode);
        members.text(name!("name"), self.name);
        if let Some(pid) = self.pid {
            members.integer(name!("pid"), pid);
        }
        members.number(name!("uid"), u64::from(self.uid));
        members.text_if(name!("unit"), self.unit);
    }
}

impl OutcomeCount {
    fn write(&self, members: &mut Members<'_>) {
        if let Some(fingerprint) = &self.fingerprint {
            members.fingerprint(name!("fingerprint"), fingerprint);
        }
        members.plain_if(name!("generation"), self.generation.map(Role::as_str));
        members.number(name!("items"), self.items);
        members.plain_if(name!("kid"), self.kid.as_ref().map(Kid::as_str));
        members.plain_if(name!("kind"), self.kind.as_ref().map(EntityKind::as_str));
        members.plain(name!("outcome"), self.outcome);
    }
}

/// Writes details in the order of their names.
fn write_details(details: &[(&'static str, DetailValue<'_>)], members: &mut Members<'_>) {
    let mut sorted = details.to_vec();
    sorted.sort_by_key(|(name, _)| *name);
    for (name, detail) in sorted {
        members.name(name);
        match detail {
            DetailValue::Number(number) => members.number_value(number),
            DetailValue::Text(text) => members.text_value(text),
            DetailValue::Flag(flag) => members.flag_value(flag),
            DetailValue::List(texts) => {
                members.open("[");
                texts.iter().for_each(|text| members.text_value(text));
                members.close(b']');
            }
        }
    }
}

/// Appends a prepared event at its position to `text`.
pub(super) fn assemble(text: &mut Vec<u8>, prepared: &[u8], parts: EventParts, position: &EventPosition<'_>) {
    let (before_id, rest) = prepared.split_at(parts.before_id);
    let (before_number, before_time) = rest.split_at(parts.before_number);
    text.push(b'{');
    text.extend_from_slice(before_id);
    let mut members = Members(text);
    members.plain(name!("id"), position.id);
    members.raw(before_number);
    members.number(name!("seq"), position.sequence);
    members.raw(before_time);
    members.plain(name!("time"), position.time);
    text.extend_from_slice(b"\"v\":1}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn written(event: &AuditEvent<'_>, sequence: u64) -> Vec<u8> {
        let (mut prepared, mut text) = (Vec::new(), Vec::new());
        let parts = event.prepare(&mut prepared);
        assert_eq!(parts.bytes(), prepared.len());
        let position = EventPosition { id: "01ARZ3NDEKTSV4RRFFQ69G5FAV", sequence, time: "2026-03-01T12:00:00.000Z" };
        assemble(&mut text, &prepared, parts, &position);
        text
    }

    fn assert_canonical(text: &[u8]) {
        let value: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&serde_json_canonicalizer::to_vec(&value).unwrap()),
            String::from_utf8_lossy(text)
        );
    }

    #[test]
    fn writes_events_as_documented() {
        assert_eq!(
            String::from_utf8(written(&AuditEvent::new(AuditOperation::Start, "ok"), 1)).unwrap(),
            r#"{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","op":"start","outcome":"ok","seq":1,"time":"2026-03-01T12:00:00.000Z","v":1}"#
        );
        let counts = [OutcomeCount {
            kind: EntityKind::parse("PHONE"),
            outcome: "ok",
            kid: Kid::parse("K_A"),
            fingerprint: Some(Fingerprint::from_bytes([0xab; 8])),
            generation: Some(Role::Active),
            items: 3,
        }];
        let caller = EncodedCaller::new(&CallerIdentity {
            address: None,
            certificate: None,
            gateway: None,
            name: "billing",
            uid: 1000,
            gid: 100,
            pid: Some(4),
            unit: Some("billing.service"),
            key_id: Some("k1"),
            key_prefix: Some("masker_live_abcd"),
            mode: "live",
        });
        let event = AuditEvent {
            caller: Some(&caller),
            request_id: Some("00ff"),
            status: Some(200),
            policy: Some("healthcare-default"),
            session: Some("s1"),
            counts: &counts,
            duration_us: Some(20),
            detail: &[("scope", DetailValue::Text("rehydrate:PHONE")), ("dry_run", DetailValue::Flag(true))],
            ..AuditEvent::new(AuditOperation::Tokenize, "ok")
        };
        let text = written(&event, 7);
        assert_eq!(
            String::from_utf8(text.clone()).unwrap(),
            concat!(
                r#"{"caller":{"gid":100,"key_id":"k1","key_prefix":"masker_live_abcd","mode":"live","name":"billing","#,
                r#""pid":4,"uid":1000,"unit":"billing.service"},"counts":[{"fingerprint":"abababababababab","#,
                r#""generation":"active","items":3,"kid":"K_A","kind":"PHONE","outcome":"ok"}],"#,
                r#""detail":{"dry_run":true,"scope":"rehydrate:PHONE"},"duration_us":20,"#,
                r#""id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","op":"tokenize","outcome":"ok","policy":"healthcare-default","#,
                r#""request_id":"00ff","seq":7,"session":"s1","status":200,"time":"2026-03-01T12:00:00.000Z","v":1}"#
            )
        );
        assert_canonical(&text);
    }

    #[test]
    fn operation_names_are_unique() {
        let names: std::collections::BTreeSet<_> = AuditOperation::ALL.iter().map(|op| op.as_str()).collect();
        assert_eq!(names.len(), AuditOperation::ALL.len());
    }

    proptest! {
        #[test]
        fn every_event_is_canonical(
            name in any::<String>(),
            policy in proptest::option::of(any::<String>()),
            session in proptest::option::of(any::<String>()),
            status in proptest::option::of(any::<u16>()),
            duration in proptest::option::of(any::<u32>()),
            pid in proptest::option::of(any::<i32>()),
            with_caller in any::<bool>(),
            number in any::<u64>(),
            items in proptest::collection::vec(any::<u64>(), 0..4),
            sequence in 1..1u64 << 53,
        ) {
            let counts: Vec<OutcomeCount> = items
                .iter()
                .map(|items| OutcomeCount { kind: None, outcome: "ok", kid: None, fingerprint: None, generation: None, items: *items })
                .collect();
            let caller = EncodedCaller::new(
                &CallerIdentity {
                    address: with_caller.then_some("2001:db8::1"),
                    certificate: pid.map(|_| "0f"),
                    gateway: policy.as_deref(),
                    name: &name,
                    uid: 0,
                    gid: 0,
                    pid,
                    unit: None,
                    key_id: None,
                    key_prefix: None,
                    mode: "test",
                },
            );
            let list = vec![name.clone(); items.len()];
            let details = [
                ("b", DetailValue::Text(&name)),
                ("c", DetailValue::Number(number)),
                ("a", DetailValue::Flag(with_caller)),
                ("d", DetailValue::List(&list)),
            ];
            let event = AuditEvent {
                caller: with_caller.then_some(&caller),
                policy: policy.as_deref(),
                session: session.as_deref(),
                status,
                duration_us: duration.map(u64::from),
                counts: &counts,
                detail: if status.is_some() { &details } else { &[] },
                ..AuditEvent::new(AuditOperation::Rehydrate, "ok")
            };
            assert_canonical(&written(&event, sequence));
        }
    }
}
