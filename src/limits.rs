//! Every bound of the daemon, in one place, each with its unit in its name.
//!
//! A bound that clients can meet is documented in the README; relations between bounds are asserted
//! at compile time, so that changing one cannot silently break another.

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
pub const HEAD_SECONDS_USUAL: u64 = 60;
/// Time a client has to send a whole body where nothing else is configured, in seconds.
pub const BODY_SECONDS_USUAL: u64 = 30;
/// Time for which a client may refuse to take bytes of an answer where nothing else is configured, in seconds.
pub const WRITE_STALL_SECONDS_USUAL: u64 = 30;
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

/// Sessions that may be open at once.
pub const SESSIONS_OPEN_MAX: usize = 10_000;
/// Tokens that one session tracks; further ones it only counts.
pub const SESSION_TOKENS_MAX: usize = 100_000;
/// Tokens that all open sessions track together: what bounds their memory.
pub const SESSIONS_TOKENS_MAX: usize = 1_000_000;
/// Sessions on one page of a list.
pub const SESSIONS_PAGE_MAX: usize = 1_000;
/// Time for which sessions are kept where nothing else is configured, in days.
pub const SESSION_RETENTION_DAYS_USUAL: u32 = 90;
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

/// Size of one policy or configuration file, in bytes.
pub const TEXT_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Size of one key or credential file, in bytes: room for white space around 44 characters.
pub const KEY_FILE_BYTES_MAX: u64 = 4_096;

const _: () = assert!(ROW_BYTES_MAX >= CONTEXT_BYTES_MAX + 2 * VALUE_BYTES_MAX + 512);
const _: () = assert!(1 <= ROTATION_RECORDS_MIN && ROTATION_RECORDS_MIN <= ROTATION_RECORDS_MAX);
const _: () = assert!(SESSION_TOKENS_MAX <= SESSIONS_TOKENS_MAX);
const _: () = assert!(DRAIN_SECONDS_MAX < STOP_SECONDS_MAX);
const _: () = assert!(QUEUE_WAIT_SECONDS_MAX < DRAIN_SECONDS_MAX);
const _: () = assert!(BODY_BYTES_MAX <= BODIES_IN_FLIGHT_BYTES_MAX);
const _: () = assert!(BODY_BYTES_UNMETERED <= BODY_BYTES_MAX);
