//! Rollups: the summary of a closed segment in a file beside it, with a MAC.
//!
//! A rollup is made from a segment whose lines all verify. It has the head before the segment and the head at its end, and
//! its MAC covers both with the summary. So the rollups of a log continue each other as its segments do, and only who has
//! the key of the chain can make one. It does not show whether the segment was damaged later: only reading the segment does.
//!
//! A file is exactly `{"rollup":ROLLUP,"mac":"MAC"}` and a line end. A file that is damaged, missing, or of another version is
//! made again from its segment. A rollup is removed with its segment.

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::reading::SegmentSummary;
use crate::{
    chain::parse_hash,
    segment::{self, SegmentName},
};
use masker_core::crypto::ChainKey;
use masker_types::limits::ROLLUP_BYTES_MAX;

const BEFORE_ROLLUP: &[u8] = b"{\"rollup\":";
const BEFORE_MAC: &[u8] = b",\"mac\":\"";
const AFTER_MAC: &[u8] = b"\"}\n";
const MAC_DIGITS: usize = 64;
/// The version of the content.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct RollupToWrite<'a> {
    v: u32,
    segment: &'a str,
    #[serde(flatten)]
    summary: &'a SegmentSummary,
}

#[derive(Deserialize)]
struct RollupRead {
    v: u32,
    segment: String,
    #[serde(flatten)]
    summary: SegmentSummary,
}

/// Reads the rollup of a segment. Returns `None` if there is none that can be used.
pub(crate) fn load(name: &SegmentName, directory: &Path, key: &ChainKey) -> io::Result<Option<SegmentSummary>> {
    let file = match segment::open(&name.rollup(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound || segment::is_damage(&error) => return Ok(None),
        opened => opened?,
    };
    let mut text = Vec::new();
    file.take(ROLLUP_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
    Ok(parse(&text, name, key))
}

fn parse(text: &[u8], name: &SegmentName, key: &ChainKey) -> Option<SegmentSummary> {
    let rest = text.strip_prefix(BEFORE_ROLLUP)?.strip_suffix(AFTER_MAC)?;
    let (rest, mac) = rest.split_at_checked(rest.len().checked_sub(MAC_DIGITS)?)?;
    let rollup = rest.strip_suffix(BEFORE_MAC)?;
    // Nothing is parsed before it is known to be masker's own.
    let mac = parse_hash(std::str::from_utf8(mac).ok()?)?;
    if !key.accepts_rollup(rollup, &mac) {
        return None;
    }
    let read: RollupRead = serde_json::from_slice(rollup).ok()?;
    (read.v == VERSION && read.segment == name.to_string()).then_some(read.summary)
}

/// Writes the rollup of a segment, durably. One thread at a time. A summary that is too large for a rollup leaves none.
pub(crate) fn store(name: &SegmentName, summary: &SegmentSummary, directory: &Path, key: &ChainKey) -> io::Result<()> {
    let rollup = serde_json::to_vec(&RollupToWrite { v: VERSION, segment: &name.to_string(), summary })?;
    let mac = HEXLOWER.encode(&key.rollup_mac(&rollup));
    let text = [BEFORE_ROLLUP, &rollup, BEFORE_MAC, mac.as_bytes(), AFTER_MAC].concat();
    if text.len() > ROLLUP_BYTES_MAX {
        return Ok(());
    }
    let unfinished = name.unfinished_rollup(directory);
    let mut file = segment::create_unfinished(&unfinished)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(unfinished, name.rollup(directory))?;
    masker_files::sync_directory(directory)
}
