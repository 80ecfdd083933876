//! The page of limits.

use masker_types::{
    grant::{Limit, Limits},
    limits,
};

use super::markdown::{self, code, number, table};

const INTRODUCTION: &str = "\
These limits are fixed. A request that exceeds one is refused with `request.too_large`, `request.invalid` or the code of the item;
a limit of the daemon as a whole makes requests wait. [Codes](codes.md) lists the codes.";

const CALLERS: &str = "
## Limits of a caller

Each client and each API key can have limits. [Access](../deploy/access.md) explains where to set them. A limit is a whole number
from 1. `standard` is the default of API keys.
";

/// Returns the page.
pub fn page() -> String {
    let mut page = markdown::page("Limits", INTRODUCTION);
    for (heading, limits) in [
        ("Requests", requests()),
        ("Texts", texts()),
        ("The daemon", daemon()),
        ("The gateway", gateway()),
        ("Resources", resources()),
    ] {
        page.push_str(&format!("\n## {heading}\n"));
        table(&mut page, &["limit", "value"], limits.into_iter().map(|(what, value)| vec![what, value]));
    }
    page.push_str(CALLERS);
    let standard = Limits::standard();
    let rows = Limit::ALL.iter().map(|limit| {
        let preset = standard.get(*limit).map_or_else(|| "–".to_owned(), number);
        vec![code(limit.as_str()), meaning(*limit).to_owned(), number(limit.greatest()), preset]
    });
    table(&mut page, &["limit", "meaning", "maximum", "`standard`"], rows);
    page
}

type Row = (String, String);

fn row(what: &str, value: String) -> Row {
    (what.to_owned(), value)
}

fn count(number_of: usize) -> String {
    number(number_of as u64)
}

/// Formats a size: from 16 KiB on with the largest unit that divides it.
fn size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| bytes.is_multiple_of(*unit)) {
        Some((name, unit)) if bytes >= 16 << 10 => format!("{} {name}", number(bytes / unit)),
        _ => format!("{} bytes", number(bytes)),
    }
}

fn requests() -> Vec<Row> {
    vec![
        row("items in a request", count(limits::ITEMS_PER_REQUEST_MAX)),
        row("body of a request", size(limits::BODY_BYTES_MAX as u64)),
        row("answer, except for exports and texts that arrive in parts", size(limits::ANSWER_BYTES_MAX as u64)),
        row(
            "least rate at which an answer is read, except for exports",
            format!("{} per second, over 30 s", size(limits::READ_BYTES_PER_SECOND_MIN)),
        ),
        row("export to import", size(limits::IMPORT_BYTES_MAX)),
        row(
            "head of a request",
            format!("{}, {} headers", size(limits::HEAD_BYTES_MAX as u64), count(limits::HEADERS_MAX)),
        ),
        row("tokens of one item in the answer of a lookup", count(limits::LOOKUP_TOKENS_MAX)),
        row(
            "tokens in the answer of a lookup, but for the first of each item",
            count(limits::LOOKUP_REQUEST_TOKENS_MAX),
        ),
        row("sessions on a page of a list", count(limits::SESSIONS_PAGE_MAX)),
        row("sessions that a request for such a page looks at", count(limits::SESSIONS_SCANNED_MAX)),
        row("events of the audit log in a response", count(limits::AUDIT_PAGE_EVENTS_MAX)),
    ]
}

fn texts() -> Vec<Row> {
    vec![
        row("value, and its form", size(limits::VALUE_BYTES_MAX as u64)),
        row("context", size(limits::CONTEXT_BYTES_MAX as u64)),
        row("kind", format!("{} characters", limits::KIND_BYTES_MAX)),
        row("key id", format!("{} characters", limits::KID_BYTES_MAX)),
        row("label, and name of a caller", size(limits::LABEL_BYTES_MAX as u64)),
        row("policy file, and configuration file", size(limits::TEXT_FILE_BYTES_MAX)),
        row("key file", size(limits::KEY_FILE_BYTES_MAX)),
        row("line of a text that arrives in parts", size(limits::TEXT_LINE_BYTES_MAX as u64)),
        row("text that is held back until more of it arrives", size(limits::TEXT_HELD_BYTES_MAX as u64)),
        row(
            "time in which a text arrives in parts, until the code `request.timeout`",
            format!("{} minutes", limits::TEXT_STREAM_SECONDS_MAX / 60),
        ),
    ]
}

fn daemon() -> Vec<Row> {
    vec![
        row(
            &format!(
                "connections served at the same time; others displace idle ones or wait for at most {} s",
                limits::QUEUE_WAIT_SECONDS_MAX
            ),
            count(limits::CONNECTIONS_MAX),
        ),
        row("connections and requests that wait for a place", count(limits::SHARE_QUEUE_MAX)),
        row(
            &format!(
                "bodies over {} in memory at the same time; others wait for at most {} s",
                size(limits::BODY_BYTES_UNMETERED as u64),
                limits::QUEUE_WAIT_SECONDS_MAX
            ),
            size(limits::BODIES_IN_FLIGHT_BYTES_MAX as u64),
        ),
        row(
            &format!(
                "operations and answers over {} in memory at the same time; others wait for at most {} s",
                size(limits::ANSWER_BYTES_UNMETERED as u64),
                limits::QUEUE_WAIT_SECONDS_MAX
            ),
            size(limits::ANSWERS_IN_FLIGHT_BYTES_MAX as u64),
        ),
        row("part of that which a text that arrives in parts takes", size(limits::TEXT_STREAM_BYTES as u64)),
        row(
            "requests that wait for the vault's writer, and those of one caller",
            format!("{}, {}", count(limits::WRITER_QUEUE_MAX), count(limits::WRITER_LANE_MAX)),
        ),
        row("time for requests in flight after SIGTERM", format!("{} s", limits::DRAIN_SECONDS_MAX)),
        row("time until the daemon has exited after SIGTERM", format!("{} s", limits::STOP_SECONDS_MAX)),
        row("requests of one address beyond a gateway at work at the same time", count(limits::ADDRESS_REQUESTS_MAX)),
        row("identities of a client certificate", count(limits::CERTIFICATE_IDENTITIES_MAX)),
        row(
            "failed authentications before a caller is blocked",
            format!("{} in {} s", limits::ATTEMPTS_BEFORE_BLOCK_MAX, limits::ATTEMPTS_WINDOW_SECONDS),
        ),
        row(
            "duration of a block, which doubles each time",
            format!("{} to {} s", limits::ATTEMPTS_BLOCK_SECONDS_MIN, number(limits::ATTEMPTS_BLOCK_SECONDS_MAX)),
        ),
    ]
}

fn gateway() -> Vec<Row> {
    let seconds = |seconds: u64| format!("{seconds} s");
    vec![
        row("requests in flight to the daemon; others wait", count(limits::GATEWAY_REQUESTS_MAX)),
        row("requests in flight of one HTTP/2 connection", number(u64::from(limits::GATEWAY_STREAMS_MAX))),
        row("connections, unless `connections` says otherwise", number(limits::GATEWAY_CONNECTIONS_DEFAULT)),
        row(
            "connections of one address, unless `connections_per_address` says otherwise",
            number(limits::GATEWAY_ADDRESS_CONNECTIONS_DEFAULT),
        ),
        row(
            "requests in flight of one address, unless `requests_per_address` says otherwise",
            number(limits::GATEWAY_ADDRESS_REQUESTS_DEFAULT),
        ),
        row("the greatest value of each of these three settings", number(limits::GATEWAY_COUNT_MAX)),
        row(
            "time for a TLS handshake, unless `handshake_timeout_seconds` says otherwise",
            seconds(limits::GATEWAY_HANDSHAKE_SECONDS_DEFAULT),
        ),
        row("file of certificates", size(limits::CERTIFICATE_FILE_BYTES_MAX)),
    ]
}

fn resources() -> Vec<Row> {
    vec![
        row("open sessions", count(limits::SESSIONS_OPEN_MAX)),
        row("tokens that a session tracks; further ones are counted", count(limits::SESSION_TOKENS_MAX)),
        row("tokens that all open sessions track", count(limits::OPEN_SESSIONS_TOKENS_MAX)),
        row("honeytokens", count(limits::HONEYTOKENS_MAX)),
        row("honeytokens that an audit event lists", count(limits::HONEYTOKENS_PER_EVENT_MAX)),
        row(
            "grace period of a replaced secret of an API key",
            format!("{} days", limits::API_KEY_GRACE_SECONDS_MAX / (24 * 60 * 60)),
        ),
    ]
}

/// Returns the meaning of a caller's limit.
fn meaning(limit: Limit) -> &'static str {
    match limit {
        Limit::RequestsPerSecond => "requests per second, on average",
        Limit::RequestsBurst => "requests at once after a pause; default: those of one second",
        Limit::RequestsPerHour => "requests in an hour, which begins with the first of them",
        Limit::ValuesPerSecond => "values and tokens per second, on average",
        Limit::ValuesBurst => "values and tokens at once after a pause; default: those of one second",
        Limit::ValuesPerHour => "values and tokens in an hour, which begins with the first of them",
        Limit::OperationsPerDay => "operations in a day (UTC)",
        Limit::DistinctValuesPerDay => "values tokenized or looked up for the first time in a day (UTC)",
        Limit::RehydrationsPerDay => "tokens rehydrated in a day (UTC)",
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_the_largest_unit_that_divides_them() {
        for (bytes, text) in [
            (256, "256 bytes"),
            (4_096, "4,096 bytes"),
            (16 << 10, "16 KiB"),
            (1 << 20, "1 MiB"),
            (16 << 20, "16 MiB"),
            (64 << 30, "64 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
