//! The memory of a process, as a core dump or swap space would contain it (core(5), proc_pid_smaps(5)).

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
};

use super::needles::Needles;

/// A copy of the mappings in memory, except those that are both locked and excluded from dumps.
pub struct Memory {
    mappings: Vec<Mapping>,
    /// The number of mappings that were not copied.
    sheltered: usize,
}

struct Mapping {
    start: u64,
    name: String,
    /// Not marked `dd`, for "do not dump".
    dumped: bool,
    /// Not marked `lo`, for "locked".
    swapped: bool,
    bytes: Vec<u8>,
}

impl Memory {
    /// Copies the memory of a running process. Needs root if the process cannot be traced.
    pub fn of(pid: u32) -> io::Result<Self> {
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
        let file = File::open(format!("/proc/{pid}/mem"))?;
        let mut memory = Memory { mappings: Vec::new(), sheltered: 0 };
        for entry in entries(&smaps) {
            let has = |flag| entry.field("VmFlags:").unwrap_or_default().split_whitespace().any(|known| known == flag);
            let (dumped, swapped) = (!has("dd"), !has("lo"));
            if !dumped && !swapped {
                memory.sheltered += 1;
            } else if entry.kib("Rss:") + entry.kib("Swap:") > 0 {
                let mut bytes = vec![0; usize::try_from(entry.end - entry.start).expect("a mapping of this machine")];
                let length = read(&file, entry.start, &mut bytes)?;
                bytes.truncate(length);
                memory.mappings.push(Mapping {
                    start: entry.start,
                    name: entry.name.to_owned(),
                    dumped,
                    swapped,
                    bytes,
                });
            }
        }
        assert!(!memory.mappings.is_empty(), "a process has memory");
        Ok(memory)
    }

    /// Returns the number of mappings that are locked and excluded from dumps.
    pub fn sheltered(&self) -> usize {
        self.sheltered
    }

    /// Returns the number of bytes.
    pub fn bytes(&self) -> usize {
        self.mappings.iter().map(|mapping| mapping.bytes.len()).sum()
    }

    /// Returns the needles that a core dump would contain, with their places.
    pub fn find_dumped(&self, needles: &Needles) -> Vec<String> {
        self.find(needles, |mapping| mapping.dumped)
    }

    /// Returns the needles that swap space could contain, with their places.
    pub fn find_swapped(&self, needles: &Needles) -> Vec<String> {
        self.find(needles, |mapping| mapping.swapped)
    }

    fn find(&self, needles: &Needles, is_asked_for: fn(&Mapping) -> bool) -> Vec<String> {
        let found = self.mappings.iter().filter(|mapping| is_asked_for(mapping)).flat_map(|mapping| {
            let here = needles.find(&mapping.bytes).into_iter();
            here.map(|(name, at)| format!("{name} at {at:#x} of {:#x} {}", mapping.start, mapping.name))
        });
        found.collect()
    }
}

/// Reads what can be read: a mapping may have shrunk since it was listed.
fn read(memory: &File, start: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match memory.read_at(&mut bytes[length..], start + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.raw_os_error() == Some(libc::EIO) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// A mapping in `smaps`.
struct Entry<'s> {
    start: u64,
    end: u64,
    name: &'s str,
    lines: Vec<&'s str>,
}

impl<'s> Entry<'s> {
    /// Parses `00400000-00452000 r-xp 00000000 08:02 173521 /usr/bin/masker`.
    fn head(line: &'s str) -> Option<Self> {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let [start, end] = [start, end].map(|digits| u64::from_str_radix(digits, 16).ok());
        let name = rest.splitn(5, ' ').last().unwrap_or_default().trim();
        Some(Entry { start: start?, end: end?, name, lines: Vec::new() })
    }

    fn field(&self, name: &str) -> Option<&'s str> {
        self.lines.iter().find_map(|line| line.strip_prefix(name)).map(str::trim)
    }

    fn kib(&self, name: &str) -> u64 {
        let number = self.field(name).and_then(|text| text.strip_suffix(" kB")).map(str::trim);
        number.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }
}

fn entries(smaps: &str) -> Vec<Entry<'_>> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for line in smaps.lines() {
        match (Entry::head(line), entries.last_mut()) {
            (Some(entry), _) => entries.push(entry),
            (None, Some(entry)) => entry.lines.push(line),
            (None, None) => panic!("smaps begins with a mapping: {line}"),
        }
    }
    entries
}
