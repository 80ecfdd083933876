//! The bounds of the daemon, each with its unit in its name.
//!
//! The reference of limits documents the bounds that clients can meet. Relations between bounds are asserted at compile
//! time, so changing one cannot silently break another.

/// Upper bounds of the buckets of duration histograms, in seconds: from 50 µs (a single request) to 10 s (a failing
/// disk).
pub const DURATION_BUCKETS_SECONDS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Longest label, and longest name of a caller, in bytes of UTF-8.
pub const LABEL_BYTES_MAX: usize = 128;

/// Most tokens that a lookup returns for one value.
pub const LOOKUP_TOKENS_MAX: usize = 1_000;
/// Tokens in the answer of a lookup after which each further value gets its first token alone. With these, an answer is
/// about 16 MB at most.
pub const LOOKUP_REQUEST_TOKENS_MAX: usize = 100_000;
/// Size of the answer of a lookup, in bytes, but for rare ones with long names of kinds and keys.
pub const LOOKUP_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest name of a normalizer, in bytes of ASCII.
pub const NORMALIZER_BYTES_MAX: usize = 32;

/// Longest value that can be tokenized, and longest form of one, in bytes of UTF-8.
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
/// Length of one text to mask, search or restore, in bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Length of a line of a text that arrives in parts, in bytes.
pub const TEXT_LINE_BYTES_MAX: usize = 64 * 1024;
/// Text that arrives in parts and is held back until more of it arrives, in bytes.
pub const TEXT_HELD_BYTES_MAX: usize = 32 * 1024;
/// Time in which a text can arrive in parts, in seconds.
pub const TEXT_STREAM_SECONDS_MAX: u64 = 15 * 60;
/// Memory that a text which arrives in parts takes at most, in bytes: what is held back of it, what was found in that, and the
/// lines of the request and of the answer in progress. Measured: 2.7 MiB, if every seventh byte begins a value.
pub const TEXT_STREAM_BYTES: usize = 3 * 1024 * 1024;
/// Time for the search of the texts of one request, in seconds.
pub const TEXT_SECONDS_MAX: u64 = 10;
/// Time by which an answer is held back for each token or placeholder of a text that does not exist, in milliseconds.
pub const TEXT_MISS_MS: u64 = 10;
/// Longest time by which an answer is held back for that, in milliseconds.
pub const TEXT_MISSES_MS_MAX: u64 = 2_000;
/// Size of one request's body, in bytes.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bodies of all connections that are in memory at once, in bytes. Beyond it, requests wait.
pub const BODIES_IN_FLIGHT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Part of each body that does not count against [`BODIES_IN_FLIGHT_BYTES_MAX`], in bytes.
pub const BODY_BYTES_UNMETERED: usize = 64 * 1024;
/// Size of one answer, in bytes. Exports are streamed, and have no bound.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Memory of all operations and of their answers until they are sent, in bytes. Beyond it, requests wait.
pub const ANSWERS_IN_FLIGHT_BYTES_MAX: usize = 768 * 1024 * 1024;
/// Largest operation or answer that does not count against [`ANSWERS_IN_FLIGHT_BYTES_MAX`], in bytes.
pub const ANSWER_BYTES_UNMETERED: usize = 128 * 1024;
/// Working memory of an operation for each byte of its body, in bytes: what a batch of the shortest items takes.
pub const OPERATION_BYTES_PER_BODY_BYTE: usize = 20;
/// Working memory of the largest operation, in bytes, without its answer.
pub const OPERATION_BYTES_MAX: usize = 12 * 1024 * 1024;
/// Memory for the values and the answer of a rehydration or a lookup for each byte of its body, in bytes. A token has at least
/// 60 bytes; the longest value has 24 KiB in JSON, and 8 KiB more in memory.
pub const ANSWER_BYTES_PER_BODY_BYTE: usize = 600;
/// Memory for the values and the answer of the largest rehydration, in bytes: both at once.
pub const REHYDRATION_BYTES_MAX: usize = 2 * ANSWER_BYTES_MAX;
/// Least rate at which a client must read an answer, in bytes per second.
pub const READ_BYTES_PER_SECOND_MIN: u64 = 16 * 1024;
/// Largest body that is processed on the thread that read it, in bytes. This takes some tens of microseconds, during
/// which the other connections of the thread wait.
pub const INLINE_BODY_BYTES_MAX: u64 = 4_096;
/// Size of an export to import, in bytes. It is kept on disk, not in memory.
pub const IMPORT_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// Size of the head of a request (request line and headers), in bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers in one request.
pub const HEADERS_MAX: usize = 64;
/// Connections served at once. A further one displaces an idle one, or waits.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Connections and requests that wait for a share at once. Further ones are refused.
pub const SHARE_QUEUE_MAX: usize = 512;
/// Part of the connections that one user's operations may occupy, in percent.
pub const OPERATIONS_PERCENT_MAX: u32 = 75;
/// Connections that only root and the daemon's own user may take.
pub const OWNER_CONNECTIONS: usize = 32;
/// Part of [`BODIES_IN_FLIGHT_BYTES_MAX`] that only they may take, in bytes: one whole body.
pub const OWNER_BODY_BYTES: usize = BODY_BYTES_MAX;
/// Part of [`ANSWERS_IN_FLIGHT_BYTES_MAX`] that only they may take, in bytes: the largest operation with its answer.
pub const OWNER_ANSWER_BYTES: usize = OPERATION_BYTES_MAX + REHYDRATION_BYTES_MAX;
/// Time without a byte until a connection that waits for its client counts as stalled, in milliseconds.
pub const STALLED_MS_MIN: u64 = 1_000;
/// The most that all clients of the configuration are guaranteed together, in percent.
pub const GUARANTEED_PERCENT_MAX: u64 = 50;
/// Users without a client whose limits are counted at once.
pub const UNLISTED_USERS_MAX: usize = 1_024;
/// Certificates of a role whose limits are counted at once.
pub const ROLE_CERTIFICATES_MAX: usize = 4_096;
/// Longest name of a role, in bytes.
pub const ROLE_NAME_BYTES_MAX: usize = 32;
/// Identities of one client certificate.
pub const CERTIFICATE_IDENTITIES_MAX: usize = 64;
/// Longest name in an identity of a client certificate, in bytes.
pub const IDENTITY_BYTES_MAX: usize = 1_024;
/// Requests of one address beyond a gateway that are at work at once.
pub const ADDRESS_REQUESTS_MAX: usize = 64;
/// Kinds of refusals that are counted in the audit log's current second. Further ones have an event each.
pub const REFUSALS_COUNTED_MAX: usize = 4_096;

/// Default time for a client to send the head of a request, in seconds; also the time that a kept-alive connection may
/// be idle.
pub const HEAD_SECONDS_DEFAULT: u64 = 60;
/// Default time for a client to send a whole body, in seconds.
pub const BODY_SECONDS_DEFAULT: u64 = 30;
/// Default time for which a client may accept no bytes of a response, in seconds.
pub const WRITE_STALL_SECONDS_DEFAULT: u64 = 30;
/// Longest time that can be configured for the three above, in seconds.
pub const CLIENT_SECONDS_MAX: u64 = 3_600;
/// Time that a request waits for memory or for the writer's queue before it is rejected, in seconds.
pub const QUEUE_WAIT_SECONDS_MAX: u64 = 5;
/// Time for requests in flight to end after `SIGTERM`, in seconds.
pub const DRAIN_SECONDS_MAX: u64 = 8;
/// Time within which the daemon exits after `SIGTERM`, in seconds.
pub const STOP_SECONDS_MAX: u64 = 10;
/// Time for calls that block on the disk to end once everything else has ended, in milliseconds.
pub const BLOCKING_CALLS_STOP_MS_MAX: u64 = 500;
/// The largest number of threads for calls that block on the disk, in each runtime.
pub const BLOCKING_THREADS_MAX: usize = 64;

/// Items from which a batch is split over several cores. For smaller ones, splitting costs more than it saves.
pub const PARALLEL_ITEMS_MIN: usize = 128;

/// Requests that may wait for the writer of the vault.
pub const WRITER_QUEUE_MAX: usize = 4_096;
/// Requests of one caller that may wait for the writer of the vault.
pub const WRITER_LANE_MAX: usize = 256;
/// Rows that one group commit collects before it accepts no more requests.
pub const COMMIT_ROWS_MAX: usize = 8_192;
/// Most records that a step of a rotation moves. Requests that arrive meanwhile wait for its commit.
pub const ROTATION_RECORDS_MAX: usize = 512;
/// Fewest records that a step of a rotation moves under load.
pub const ROTATION_RECORDS_MIN: usize = 40;

/// Highest rate limit of a caller, in requests or values per second.
pub const PER_SECOND_MAX: u64 = 1_000_000;
/// Largest burst limit of a caller, in requests or values.
pub const BURST_MAX: u64 = 1_000_000_000;
/// Highest hourly limit of a caller, in requests or values.
pub const PER_HOUR_MAX: u64 = 1_000_000_000_000;
/// Highest daily limit of a caller, in operations.
pub const PER_DAY_MAX: u64 = 1_000_000_000_000;
/// Highest daily limit of distinct values. Each value is remembered until the end of the day.
pub const DISTINCT_VALUES_PER_DAY_MAX: u64 = 1_000_000;

/// Share of a daily budget above which a caller is reported, in percent.
pub const BUDGET_WARNING_PERCENT: u64 = 80;

/// Period in which failed attempts to authenticate are counted together, in seconds.
pub const ATTEMPTS_WINDOW_SECONDS: u64 = 600;
/// Failed attempts in this period that are answered without delay.
pub const ATTEMPTS_UNDELAYED_MAX: usize = 2;
/// Delay of the response to the next failed attempt, in milliseconds. It doubles with each further one.
pub const ATTEMPTS_DELAY_MS_MIN: u64 = 100;
/// Longest delay of such a response, in milliseconds.
pub const ATTEMPTS_DELAY_MS_MAX: u64 = 2_000;
/// Failed attempts in this period after which the pair of uid and key prefix is blocked.
pub const ATTEMPTS_BEFORE_BLOCK_MAX: usize = 10;
/// Duration of the first block, in seconds. It doubles with each further one.
pub const ATTEMPTS_BLOCK_SECONDS_MIN: u64 = 300;
/// Duration of the longest block, in seconds; also the time without attempts after which earlier blocks are forgotten.
pub const ATTEMPTS_BLOCK_SECONDS_MAX: u64 = 3_600;
/// Delayed responses to failed attempts that one uid may have at once. Further ones are rejected without delay.
pub const ATTEMPTS_DELAYED_MAX: usize = 4;
/// Failed attempts of a uid in this period, under any prefix, after which every response to a further one is delayed.
pub const ATTEMPTS_OF_UID_UNDELAYED_MAX: usize = 20;
/// Key prefixes for which failed attempts of one uid are remembered.
pub const ATTEMPTS_PREFIXES_MAX: usize = 32;
/// Uids for which failed attempts are remembered.
pub const ATTEMPTS_UIDS_MAX: usize = 256;
/// Addresses beyond gateways for which failed attempts are remembered.
pub const ATTEMPTS_ADDRESSES_MAX: usize = 1_024;

/// Callers that have a series of their own in `masker_caller_requests_total`. Others share one.
pub const CALLER_SERIES_MAX: usize = 1_000;

/// Bytes that are read of the control groups of a process.
pub const CGROUP_BYTES_MAX: usize = 64 * 1024;

/// Sessions that may be open at once.
pub const SESSIONS_OPEN_MAX: usize = 10_000;
/// Tokens that one session tracks. Further ones are only counted.
pub const SESSION_TOKENS_MAX: usize = 100_000;
/// Tokens that all open sessions track together, which bounds their memory.
pub const OPEN_SESSIONS_TOKENS_MAX: usize = 1_000_000;
/// Sessions on one page of a list.
pub const SESSIONS_PAGE_MAX: usize = 1_000;
/// Sessions that one request for a page of a list looks at, also those of other callers.
pub const SESSIONS_SCANNED_MAX: usize = 2_000;
/// Default retention time of sessions, in days.
pub const SESSION_RETENTION_DAYS_DEFAULT: u32 = 90;
/// Honeytokens of a vault.
pub const HONEYTOKENS_MAX: usize = 10_000;
/// Honeytokens that one audit event or log line lists.
pub const HONEYTOKENS_PER_EVENT_MAX: usize = 100;

/// Longest logical row of the store, in bytes: a record with the longest context, value and form.
pub const ROW_BYTES_MAX: usize = 12 * 1024;

/// Time after which a call to the store's engine counts as stuck, in seconds.
pub const STORE_ANSWER_SECONDS_MAX: u64 = 60;
/// First pause before a failed store is reopened, in milliseconds. It doubles with each further one.
pub const STORE_REOPEN_PAUSE_MS_MIN: u64 = 100;
/// Longest pause before a failed store is reopened, in milliseconds.
pub const STORE_REOPEN_PAUSE_MS_MAX: u64 = 5_000;
/// Free disk space below which a compaction stops, in bytes. The rest is for the writer.
pub const STORE_COMPACTION_ROOM_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// Pause before a damaged store is checked again, in milliseconds. A check reads the whole store.
pub const STORE_REOPEN_PAUSE_MS_DAMAGED: u64 = 30_000;

/// Longest line of the audit log, in bytes.
pub const AUDIT_LINE_BYTES_MAX: usize = 1024 * 1024;
/// Events of the audit log that may be written but not yet synced, in bytes. Beyond it, the disk counts as stuck.
pub const AUDIT_UNSYNCED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Events that may be written but not yet synced before requests wait for the disk, in bytes.
pub const AUDIT_UNSYNCED_BYTES_SOFT_MAX: usize = 16 * 1024 * 1024;
/// Events that are kept while the audit log cannot be written, in bytes. Further events are lost and counted.
pub const AUDIT_KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Lines of the daemon's log that wait to be written, in bytes. Further lines are lost and counted.
pub const LOG_QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// How long the daemon waits at its end until its log is written, in milliseconds.
pub const LOG_END_MS_MAX: u64 = 500;
/// Days that the clock may be past the audit log's last event. Nothing is deleted by a clock that is further ahead.
pub const CLOCK_AHEAD_DAYS_MAX: i64 = 31;
/// Pause before a failed write of the audit log is retried, in milliseconds.
pub const AUDIT_RETRY_PAUSE_MS: u64 = 250;
/// Events of the audit log that one call reads, whether or not they match.
pub const AUDIT_EVENTS_PER_READ_MAX: usize = 100_000;
/// Size of the events found after which one call stops searching, in bytes.
pub const AUDIT_READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Events in one response.
pub const AUDIT_PAGE_EVENTS_MAX: usize = 1_000;
/// Default number of events in one response.
pub const AUDIT_PAGE_EVENTS_DEFAULT: usize = 100;

/// Callers with their operations, kinds and outcomes that a summary of the audit log has. Further callers are counted together.
pub const SUMMARY_ROWS_MAX: usize = 20_000;
/// Events that a summary of the audit log lists. Further ones are counted.
pub const SUMMARY_EVENTS_MAX: usize = 5_000;
/// Size of the summary that is kept beside a segment of the audit log, in bytes.
pub const ROLLUP_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest period of a report, in days.
pub const REPORT_DAYS_MAX: i64 = 3_660;
/// Rows of each table of a report. Further ones are left out and counted.
pub const REPORT_ROWS_MAX: usize = 5_000;
/// Memory that a report is charged with while it is made, in bytes.
pub const REPORT_BYTES: usize = 64 * 1024 * 1024;

/// Size of one policy or configuration file, in bytes.
pub const TEXT_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Size of one key or credential file, in bytes: 44 characters, and space for white space around them.
pub const KEY_FILE_BYTES_MAX: u64 = 4_096;

/// Longest time for which the replaced secret of an API key remains valid, in seconds: 30 days.
pub const API_KEY_GRACE_SECONDS_MAX: u64 = 30 * 24 * 60 * 60;
/// Default time for which the replaced secret of an API key remains valid, in seconds: one day.
pub const API_KEY_GRACE_SECONDS_DEFAULT: u64 = 24 * 60 * 60;
/// Days without use after which an API key counts as inactive.
pub const API_KEY_INACTIVE_DAYS_MIN: u64 = 90;

/// Default number of connections that a gateway serves at once.
pub const GATEWAY_CONNECTIONS_DEFAULT: u64 = 512;
/// Default number of connections that a gateway serves at once for one address.
pub const GATEWAY_ADDRESS_CONNECTIONS_DEFAULT: u64 = 32;
/// Default number of requests of one address that a gateway has in flight.
pub const GATEWAY_ADDRESS_REQUESTS_DEFAULT: u64 = 32;
/// The greatest value of each of these three settings.
pub const GATEWAY_COUNT_MAX: u64 = 65_536;
/// Requests that a gateway has in flight to the daemon. Beyond it, requests wait.
pub const GATEWAY_REQUESTS_MAX: usize = 256;
/// Requests that one HTTP/2 connection to a gateway has in flight.
pub const GATEWAY_STREAMS_MAX: u32 = 32;
/// Default time for a TLS handshake with a gateway, in seconds.
pub const GATEWAY_HANDSHAKE_SECONDS_DEFAULT: u64 = 10;
/// Default time between two checks whether the certificate files of a gateway have changed, in seconds.
pub const GATEWAY_FILES_SECONDS_DEFAULT: u64 = 5;
/// Time for which a browser uses a gateway's host over TLS only, in seconds: one year.
pub const GATEWAY_HSTS_SECONDS: u64 = 365 * 24 * 60 * 60;
/// Size of one file of certificates, in bytes.
pub const CERTIFICATE_FILE_BYTES_MAX: u64 = 1024 * 1024;

const _: () = assert!(AUDIT_UNSYNCED_BYTES_SOFT_MAX + 16 * AUDIT_LINE_BYTES_MAX <= AUDIT_UNSYNCED_BYTES_MAX);
const _: () = assert!(ROW_BYTES_MAX >= CONTEXT_BYTES_MAX + 2 * VALUE_BYTES_MAX + 512);
const _: () = assert!(1 <= ROTATION_RECORDS_MIN && ROTATION_RECORDS_MIN <= ROTATION_RECORDS_MAX);
const _: () = assert!(SESSION_TOKENS_MAX <= OPEN_SESSIONS_TOKENS_MAX);
const _: () = assert!(DRAIN_SECONDS_MAX < STOP_SECONDS_MAX);
const _: () = assert!(QUEUE_WAIT_SECONDS_MAX < DRAIN_SECONDS_MAX);
const _: () = assert!(BODY_BYTES_MAX <= BODIES_IN_FLIGHT_BYTES_MAX);
const _: () = assert!(BODY_BYTES_UNMETERED <= BODY_BYTES_MAX);
const _: () = assert!(TEXT_BYTES_MAX <= BODY_BYTES_MAX);
// The largest request fits into what no client is guaranteed.
const _: () = assert!(
    OWNER_ANSWER_BYTES
        <= ANSWERS_IN_FLIGHT_BYTES_MAX * (100 - GUARANTEED_PERCENT_MAX as usize) / 100 - OWNER_ANSWER_BYTES
);
const _: () = assert!(
    BODY_BYTES_MAX <= BODIES_IN_FLIGHT_BYTES_MAX * (100 - GUARANTEED_PERCENT_MAX as usize) / 100 - OWNER_BODY_BYTES
);
const _: () = assert!(OWNER_CONNECTIONS < CONNECTIONS_MAX * (100 - GUARANTEED_PERCENT_MAX as usize) / 100);
const _: () = assert!(BURST_MAX <= u64::MAX / 1_000_000_000 / 2);
const _: () = assert!(ATTEMPTS_UNDELAYED_MAX < ATTEMPTS_BEFORE_BLOCK_MAX);
const _: () = assert!(ATTEMPTS_DELAY_MS_MIN <= ATTEMPTS_DELAY_MS_MAX);
const _: () = assert!(ATTEMPTS_BLOCK_SECONDS_MIN <= ATTEMPTS_BLOCK_SECONDS_MAX);
const _: () = assert!(BUDGET_WARNING_PERCENT <= 100 && PER_DAY_MAX <= u64::MAX / 100);
const _: () = assert!(ATTEMPTS_DELAYED_MAX < CONNECTIONS_MAX / 16);
