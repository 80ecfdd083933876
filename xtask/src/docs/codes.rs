//! The page of error codes.

use masker_types::error_code::Code;

use super::markdown::{self, code, table};

const INTRODUCTION: &str = "\
A code identifies one kind of failure. Codes do not change between versions; titles and details can. A request that fails as a
whole has the status and a problem (RFC 9457) with `code`, `title` and `detail`. An item of a batch can fail on its own: the response
then has status 200, and the item has an `error` with `code` and `detail`. [Errors and
retries](../develop/errors-and-retries.md) explains which failures to retry.";

/// Returns the page.
pub fn page() -> String {
    let mut text = markdown::page("Codes", INTRODUCTION);
    let rows =
        Code::ALL.iter().map(|known| vec![code(known.as_str()), known.status().to_string(), known.title().to_owned()]);
    table(&mut text, &["code", "status", "title"], rows);
    text
}
