//! Every bound of the daemon, in one place, each with its unit in its name.
//!
//! A bound that clients can meet is documented in the README; relations between bounds are asserted
//! at compile time, so that changing one cannot silently break another.

/// Upper bounds of the buckets of durations, in seconds: from 50 µs, a warm single request, to 10 s, a failing disk.
pub const DURATION_BUCKETS_SECONDS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Longest label, and longest name of a caller, in bytes of UTF-8.
pub const LABEL_BYTES_MAX: usize = 128;

/// Longest value that can be tokenized, and longest normal form of one, in bytes of UTF-8.
pub const VALUE_BYTES_MAX: usize = 4_096;
/// Longest context, in bytes of UTF-8. The shortest is empty.
pub const CONTEXT_BYTES_MAX: usize = 256;
/// Longest entity kind, in bytes (it is ASCII).
pub const KIND_BYTES_MAX: usize = 32;
/// Longest key id, in bytes (it is ASCII).
pub const KID_BYTES_MAX: usize = 48;
/// Length of a key generation, in bytes: 256 bits.
pub const KEY_BYTES: usize = 32;

/// Items (values or tokens) in one request.
pub const ITEMS_PER_REQUEST_MAX: usize = 10_000;
/// Size of one request's body, in bytes.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bodies held in memory at once over all connections, in bytes; past it, requests wait their turn.
pub const BODIES_IN_FLIGHT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bodies up to this size, in bytes, are read without asking for a share of [`BODIES_IN_FLIGHT_BYTES_MAX`].
pub const BODY_BYTES_UNMETERED: usize = 64 * 1024;
/// Largest body of a request that is worked off on the thread which read it, in bytes. That takes some tens of
/// microseconds at most; other connections of the thread wait meanwhile.
pub const INLINE_BODY_BYTES_MAX: u64 = 4_096;
/// Size of an export that is imported, in bytes; it goes to the disk, not to memory.
pub const IMPORT_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// Size of a request's head (request line and headers), in bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers in one request.
pub const HEADERS_MAX: usize = 64;
/// Connections served at once; further ones wait in the listen queue.
pub const CONNECTIONS_MAX: usize = 1_024;

/// Time a client has to send a request's head where nothing else is configured, in seconds; also how long a kept-alive
/// connection may idle.
pub const HEAD_SECONDS_DEFAULT: u64 = 60;
/// Time a client has to send a whole body where nothing else is configured, in seconds.
pub const BODY_SECONDS_DEFAULT: u64 = 30;
/// Time for which a client may refuse to take bytes of an answer where nothing else is configured, in seconds.
pub const WRITE_STALL_SECONDS_DEFAULT: u64 = 30;
/// Longest of these times that can be configured, in seconds.
pub const CLIENT_SECONDS_MAX: u64 = 3_600;
/// Time a request waits for a share of memory or for the writer's queue before it is turned away, in seconds.
pub const QUEUE_WAIT_SECONDS_MAX: u64 = 5;
/// Time in which requests in flight may end after `SIGTERM`, in seconds.
pub const DRAIN_SECONDS_MAX: u64 = 8;
/// Time in which the daemon is gone after `SIGTERM`, in seconds.
pub const STOP_SECONDS_MAX: u64 = 10;

/// Items below which a batch is worked on one core: splitting costs more than it brings.
pub const PARALLEL_ITEMS_MIN: usize = 128;

/// Requests that may wait for the vault's writer.
pub const WRITER_QUEUE_MAX: usize = 1_024;
/// Rows that one group commit gathers before it stops taking more requests.
pub const COMMIT_ROWS_MAX: usize = 8_192;
/// Records that a step of a rotation moves at most. A request that comes meanwhile waits for its commit.
pub const ROTATION_RECORDS_MAX: usize = 512;
/// Records that a step of a rotation moves at least, when there are many requests beside it.
pub const ROTATION_RECORDS_MIN: usize = 40;

/// Highest rate to which a caller can be limited, in requests or values a second.
pub const PER_SECOND_MAX: u64 = 1_000_000;
/// Largest burst that a limited caller can have, in requests or values.
pub const BURST_MAX: u64 = 1_000_000_000;
/// Highest number to which a caller can be limited in an hour, in requests or values.
pub const PER_HOUR_MAX: u64 = 1_000_000_000_000;
/// Highest number to which a caller can be limited in a day, in operations.
pub const PER_DAY_MAX: u64 = 1_000_000_000_000;
/// Highest number of distinct values to which a caller can be limited in a day: each is remembered until its end.
pub const DISTINCT_VALUES_PER_DAY_MAX: u64 = 1_000_000;

/// Part of a day's budget past which a caller is reported, in percent.
pub const BUDGET_WARNING_PERCENT: u64 = 80;

/// Time in which failed attempts to authenticate count together, in seconds.
pub const ATTEMPTS_WINDOW_SECONDS: u64 = 600;
/// Failed attempts in that time that are answered at once.
pub const ATTEMPTS_AT_ONCE_MAX: usize = 2;
/// Delay of the answer to the first failed attempt after those, in milliseconds; each further one waits twice as long.
pub const ATTEMPTS_DELAY_MILLISECONDS_MIN: u64 = 100;
/// Longest delay of such an answer, in milliseconds.
pub const ATTEMPTS_DELAY_MILLISECONDS_MAX: u64 = 2_000;
/// Failed attempts in that time after which the pair of a uid and a key's prefix is blocked.
pub const ATTEMPTS_BEFORE_BLOCK_MAX: usize = 10;
/// Time of the first block, in seconds; each further one lasts twice as long.
pub const ATTEMPTS_BLOCK_SECONDS_MIN: u64 = 300;
/// Time of the longest block, in seconds; also how long a pair must rest until its blocks are forgotten.
pub const ATTEMPTS_BLOCK_SECONDS_MAX: u64 = 3_600;
/// Answers to failed attempts that are delayed at once for one uid; further ones are refused at once.
pub const ATTEMPTS_DELAYED_MAX: usize = 4;
/// Failed attempts in that time, under whatever prefixes, after which each answer to a uid's next is delayed.
pub const ATTEMPTS_OF_UID_AT_ONCE_MAX: usize = 20;
/// Prefixes of keys that failed attempts are remembered by, for one uid.
pub const ATTEMPTS_PREFIXES_MAX: usize = 32;
/// Uids that failed attempts are remembered by.
pub const ATTEMPTS_UIDS_MAX: usize = 256;

/// Size of what is read of a process's control groups, in bytes.
pub const CGROUP_BYTES_MAX: usize = 64 * 1024;

/// Sessions that may be open at once.
pub const SESSIONS_OPEN_MAX: usize = 10_000;
/// Tokens that one session tracks; further ones it only counts.
pub const SESSION_TOKENS_MAX: usize = 100_000;
/// Tokens that all open sessions track together: what bounds their memory.
pub const SESSIONS_TOKENS_MAX: usize = 1_000_000;
/// Sessions on one page of a list.
pub const SESSIONS_PAGE_MAX: usize = 1_000;
/// Time for which sessions are kept where nothing else is configured, in days.
pub const SESSION_RETENTION_DAYS_DEFAULT: u32 = 90;
/// Honeytokens that may be planted.
pub const HONEYTOKENS_MAX: usize = 10_000;

/// Longest logical row of the store, in bytes: a record with the longest context, value and normal form.
pub const ROW_BYTES_MAX: usize = 12 * 1024;

/// Time in which the store's engine must answer a call before it is taken for stuck, in seconds.
pub const STORE_ANSWER_SECONDS_MAX: u64 = 60;
/// First pause before a store that failed is opened again, in milliseconds; each further one is twice as long.
pub const STORE_REOPEN_PAUSE_MILLISECONDS_MIN: u64 = 100;
/// Longest pause before a store that failed is opened again, in milliseconds.
pub const STORE_REOPEN_PAUSE_MILLISECONDS_MAX: u64 = 5_000;
/// Room on the disk that a compaction leaves to the writer, in bytes: with less it ends.
pub const STORE_COMPACTION_ROOM_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// Pause before a store that was found damaged is looked at again, in milliseconds: that reads all of it.
pub const STORE_REOPEN_PAUSE_MILLISECONDS_DAMAGED: u64 = 30_000;

/// Longest line of the audit log, in bytes.
pub const AUDIT_LINE_BYTES_MAX: usize = 1024 * 1024;
/// Events of the audit log that may be written and not yet synced, in bytes: past it the disk is taken for stuck.
pub const AUDIT_UNSYNCED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Events that may be written and not yet synced before requests wait for the disk, in bytes.
pub const AUDIT_UNSYNCED_BYTES_SOFT_MAX: usize = 16 * 1024 * 1024;
/// Pause before an audit log that could not be written is tried again, in milliseconds.
pub const AUDIT_RETRY_PAUSE_MILLISECONDS: u64 = 250;
/// Events of the audit log that one call reads at most, whether they are wanted or not.
pub const AUDIT_EVENTS_PER_READ_MAX: usize = 100_000;
/// Size from which on the events that one call has found are enough, in bytes.
pub const AUDIT_READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Events that one answer has at most.
pub const AUDIT_PAGE_EVENTS_MAX: usize = 1_000;
/// The same where nothing is said.
pub const AUDIT_PAGE_EVENTS_DEFAULT: usize = 100;

/// Size of one policy or configuration file, in bytes.
pub const TEXT_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Size of one key or credential file, in bytes: room for white space around 44 characters.
pub const KEY_FILE_BYTES_MAX: u64 = 4_096;

/// Longest time for which a replaced secret of an API key works on, in seconds: 30 days.
pub const API_KEY_GRACE_SECONDS_MAX: u64 = 30 * 24 * 60 * 60;
/// The same where nothing is said, in seconds: one day.
pub const API_KEY_GRACE_SECONDS_DEFAULT: u64 = 24 * 60 * 60;
/// Days without use after which an API key is called inactive.
pub const API_KEY_UNUSED_DAYS_MAX: u64 = 90;

const _: () = assert!(AUDIT_UNSYNCED_BYTES_SOFT_MAX + 16 * AUDIT_LINE_BYTES_MAX <= AUDIT_UNSYNCED_BYTES_MAX);
const _: () = assert!(ROW_BYTES_MAX >= CONTEXT_BYTES_MAX + 2 * VALUE_BYTES_MAX + 512);
const _: () = assert!(1 <= ROTATION_RECORDS_MIN && ROTATION_RECORDS_MIN <= ROTATION_RECORDS_MAX);
const _: () = assert!(SESSION_TOKENS_MAX <= SESSIONS_TOKENS_MAX);
const _: () = assert!(DRAIN_SECONDS_MAX < STOP_SECONDS_MAX);
const _: () = assert!(QUEUE_WAIT_SECONDS_MAX < DRAIN_SECONDS_MAX);
const _: () = assert!(BODY_BYTES_MAX <= BODIES_IN_FLIGHT_BYTES_MAX);
const _: () = assert!(BODY_BYTES_UNMETERED <= BODY_BYTES_MAX);
const _: () = assert!(BURST_MAX <= u64::MAX / 1_000_000_000 / 2);
const _: () = assert!(ATTEMPTS_AT_ONCE_MAX < ATTEMPTS_BEFORE_BLOCK_MAX);
const _: () = assert!(ATTEMPTS_DELAY_MILLISECONDS_MIN <= ATTEMPTS_DELAY_MILLISECONDS_MAX);
const _: () = assert!(ATTEMPTS_BLOCK_SECONDS_MIN <= ATTEMPTS_BLOCK_SECONDS_MAX);
const _: () = assert!(BUDGET_WARNING_PERCENT <= 100 && PER_DAY_MAX <= u64::MAX / 100);
const _: () = assert!(ATTEMPTS_DELAYED_MAX < CONNECTIONS_MAX / 16);
