//! The disk of a recorded run: what is certainly on it, and what may be.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

/// Bytes that a disk writes atomically.
const SECTOR: usize = 512;

/// Pseudo-random numbers from a seed (SplitMix64: Steele, Lea and Flood, 2014).
#[derive(Clone)]
pub struct Seeded(pub u64);

impl Seeded {
    /// Returns the next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// Returns true with this probability.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns this many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// Something that the recorded process did.
#[derive(Clone, Debug)]
pub enum Event {
    /// A file or folder with this inode was created under this path.
    Made { path: String, inode: u64, folder: bool },
    /// The bytes of the log from `data.0` to `data.1` were written; `durable` if the descriptor was `O_DSYNC`.
    Wrote { inode: u64, offset: u64, data: (usize, usize), durable: bool },
    /// The file was truncated or extended to this length.
    Truncated { inode: u64, length: u64 },
    /// A process began. Syncs of an earlier process never end.
    Began,
    /// A sync with this number began. It covers earlier changes.
    SyncBegan { inode: u64, number: u64 },
    /// A sync ended.
    SyncEnded { inode: u64, number: u64 },
    /// A sync failed: written data that no other running sync covers never reaches the disk.
    SyncFailed { inode: u64 },
    /// `sync_file_range`, which guarantees nothing.
    RangeSynced,
    /// A file was renamed.
    Renamed { from: String, to: String },
    /// A file or an empty folder was removed.
    Removed { path: String },
    /// The process added a mark.
    Marked(String),
}

/// A recorded run.
pub struct Log {
    bytes: Vec<u8>,
    pub events: Vec<Event>,
    /// Where each event's record ends.
    ends: Vec<u64>,
}

impl Log {
    /// Reads a log. The last record may be incomplete if the process was killed.
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).expect("failed to read the log");
        let (mut events, mut ends) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(head) = bytes.get(at..at + 32) {
            let integer = |from: usize| u64::from_le_bytes(head[from..from + 8].try_into().expect("eight bytes"));
            let path_length = usize::from(u16::from_le_bytes([head[2], head[3]]));
            let (inode, offset, length) = (integer(8), integer(16), integer(24) as usize);
            let data = (at + 32 + path_length, at + 32 + path_length + length);
            if data.1 > bytes.len() {
                break;
            }
            let text = |from: usize, to: usize| String::from_utf8_lossy(&bytes[from..to]).into_owned();
            let path = text(at + 32, at + 32 + path_length);
            events.push(match head[0] {
                b'O' => Event::Made { path, inode, folder: false },
                b'M' => Event::Made { path, inode, folder: true },
                b'W' => Event::Wrote { inode, offset, data, durable: head[1] != 0 },
                b'T' => Event::Truncated { inode, length: offset },
                b'B' => Event::Began,
                b'S' => Event::SyncBegan { inode, number: offset },
                b'E' => Event::SyncEnded { inode, number: offset },
                b'X' => Event::SyncFailed { inode },
                b'F' => Event::RangeSynced,
                b'R' => Event::Renamed { from: path, to: text(data.0, data.1) },
                b'U' => Event::Removed { path },
                b'K' => Event::Marked(text(data.0, data.1)),
                other => panic!("the log has a record of type {other}"),
            });
            at = data.1;
            ends.push(at as u64);
        }
        Log { bytes, events, ends }
    }

    /// Returns the length of the log before this event, in bytes.
    pub fn length_before(&self, event: usize) -> u64 {
        event.checked_sub(1).map_or(0, |last| self.ends[last])
    }

    /// Returns how many events the log had when it had this length.
    pub fn events_within(&self, length: u64) -> usize {
        self.ends.partition_point(|end| *end <= length)
    }
}

impl Log {
    /// Returns the points at which at least two writes of one file are unsynced, so that the disk may reorder them.
    pub fn busy_points(&self) -> Vec<usize> {
        let mut unsynced: HashMap<u64, usize> = HashMap::new();
        let mut points = Vec::new();
        for (number, event) in self.events.iter().enumerate() {
            match event {
                Event::Wrote { inode, durable: false, .. } => *unsynced.entry(*inode).or_default() += 1,
                Event::SyncEnded { inode, .. } => drop(unsynced.remove(inode)),
                _ => {}
            }
            if unsynced.values().any(|writes| *writes > 1) {
                points.push(number + 1);
            }
        }
        points
    }

    /// Returns the number of bytes written, and the greatest length of any file.
    pub fn volume(&self) -> (u64, u64) {
        self.events.iter().fold((0, 0), |(bytes, longest), event| match event {
            Event::Wrote { offset, data, .. } => {
                let length = (data.1 - data.0) as u64;
                (bytes + length, longest.max(offset + length))
            }
            _ => (bytes, longest),
        })
    }

    /// Counts events.
    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }
}

/// An unsynced change of a file.
#[derive(Clone)]
enum Pending {
    Write { event: usize, offset: u64, data: (usize, usize) },
    Length { event: usize, length: u64 },
}

impl Pending {
    fn event(&self) -> usize {
        match self {
            Pending::Write { event, .. } | Pending::Length { event, .. } => *event,
        }
    }
}

/// A directory entry: the folder, and the name in it.
type Entry = (usize, String);

/// An unsynced change of the entries of a folder.
#[derive(Clone)]
enum EntryChange {
    Add { at: Entry, file: usize },
    Move { from: Entry, to: Entry },
    Remove { at: Entry },
}

#[derive(Clone, Default)]
struct File {
    folder: bool,
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// Running syncs: their numbers, and the events with which they began.
    syncs: HashMap<u64, usize>,
}

/// The disk at one point of a run.
#[derive(Clone)]
pub struct Disk {
    files: Vec<File>,
    by_inode: HashMap<u64, usize>,
    /// The durable entries.
    entries: BTreeMap<Entry, usize>,
    /// The entries that the process sees.
    seen: BTreeMap<Entry, usize>,
    /// Unsynced changes of entries, with the event and the folder.
    pending: Vec<(usize, usize, EntryChange)>,
    events: usize,
    /// Whether syncs do nothing, which shows that a test can fail.
    pub lying: bool,
}

/// Which unsynced changes survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    DropAll,
    /// Everything.
    KeepAll,
    /// Some changes, at random.
    Reorder,
    /// Some sectors of the changes, at random.
    Tear,
    /// Only the last change of each file.
    LastOnly,
    /// All changes up to one that is torn.
    Prefix,
}

impl Cut {
    /// Returns a random kind of cut.
    pub fn any(random: &mut Seeded) -> Self {
        let all = [Cut::DropAll, Cut::KeepAll, Cut::Reorder, Cut::Tear, Cut::LastOnly, Cut::Prefix];
        all[random.below(all.len() as u64) as usize]
    }
}

/// The folder that paths are relative to.
const ROOT: usize = 0;

impl Disk {
    /// Creates a disk with the durable content of `root`.
    pub fn holding(root: &Path) -> Self {
        let mut disk = Disk {
            files: Vec::new(),
            by_inode: HashMap::new(),
            entries: BTreeMap::new(),
            seen: BTreeMap::new(),
            pending: Vec::new(),
            events: 0,
            lying: false,
        };
        disk.hold(root);
        disk.seen = disk.entries.clone();
        disk
    }

    fn hold(&mut self, path: &Path) -> usize {
        let found = fs::metadata(path).expect("failed to read metadata");
        let durable = if found.is_dir() { Vec::new() } else { fs::read(path).expect("failed to read") };
        let file = self.files.len();
        self.by_inode.insert(found.ino(), file);
        self.files.push(File { folder: found.is_dir(), durable, ..File::default() });
        if found.is_dir() {
            for entry in fs::read_dir(path).expect("failed to read") {
                let entry = entry.expect("failed to read");
                let below = self.hold(&entry.path());
                self.entries.insert((file, entry.file_name().to_string_lossy().into_owned()), below);
            }
        }
        file
    }

    /// Returns the entry that the process sees under this path.
    fn entry(&self, path: &str) -> Entry {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = match folder {
            "" => ROOT,
            folder => self.seen[&self.entry(folder)],
        };
        (folder, name.to_owned())
    }

    /// Applies the events of the log up to `to`.
    pub fn play(&mut self, log: &Log, to: usize) {
        while self.events < to {
            self.step(log, self.events);
            self.events += 1;
        }
    }

    fn step(&mut self, log: &Log, event: usize) {
        match &log.events[event] {
            Event::Made { path, inode, folder } => {
                let (at, file) = (self.entry(path), self.files.len());
                self.files.push(File { folder: *folder, ..File::default() });
                self.by_inode.insert(*inode, file);
                self.seen.insert(at.clone(), file);
                self.change(event, at.0, EntryChange::Add { at, file });
            }
            Event::Renamed { from, to } => {
                let (from, to) = (self.entry(from), self.entry(to));
                if let Some(file) = self.seen.remove(&from) {
                    self.seen.insert(to.clone(), file);
                    // Some file systems keep the new entry although the old one was never durable.
                    let added = |change: &EntryChange| matches!(change, EntryChange::Add { at, .. } if *at == from);
                    let not_durable = self.pending.iter().any(|(_, _, change)| added(change));
                    self.change(event, to.0, EntryChange::Move { from, to: to.clone() });
                    if not_durable {
                        self.change(event, to.0, EntryChange::Add { at: to, file });
                    }
                }
            }
            Event::Removed { path } => {
                let at = self.entry(path);
                self.seen.remove(&at);
                self.change(event, at.0, EntryChange::Remove { at });
            }
            Event::Wrote { inode, offset, data, durable } => {
                let change = Pending::Write { event, offset: *offset, data: *data };
                if let Some(file) = self.file(*inode) {
                    file.pending.push(change);
                    if *durable {
                        file.settle(event + 1, log);
                    }
                }
            }
            Event::Truncated { inode, length } => {
                let change = Pending::Length { event, length: *length };
                if let Some(file) = self.file(*inode) {
                    file.pending.push(change);
                }
            }
            Event::Began => self.files.iter_mut().for_each(|file| file.syncs.clear()),
            Event::SyncBegan { inode, number } => {
                if let Some(file) = self.file(*inode) {
                    file.syncs.insert(*number, event);
                }
            }
            Event::SyncEnded { .. } if self.lying => {}
            Event::SyncEnded { inode, number } => {
                let Some(&file) = self.by_inode.get(inode) else { return };
                let Some(began) = self.files[file].syncs.remove(number) else { return };
                self.files[file].settle(began, log);
                if self.files[file].folder {
                    self.settle_entries(file, began);
                }
            }
            Event::SyncFailed { inode } => {
                if let Some(file) = self.file(*inode) {
                    // Another running sync covers what was written before it.
                    let covered = file.syncs.values().max().copied().unwrap_or(0);
                    file.pending.retain(|change| change.event() < covered);
                }
            }
            Event::RangeSynced | Event::Marked(_) => {}
        }
    }

    fn file(&mut self, inode: u64) -> Option<&mut File> {
        self.by_inode.get(&inode).map(|file| &mut self.files[*file])
    }

    fn change(&mut self, event: usize, folder: usize, change: EntryChange) {
        self.pending.push((event, folder, change));
    }

    fn settle_entries(&mut self, folder: usize, before: usize) {
        let (settled, pending): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|(event, of, _)| *event < before && *of == folder);
        self.pending = pending;
        settled.iter().for_each(|(_, _, change)| apply(&mut self.entries, change));
    }

    /// Writes the disk to `target` as a power cut before the next event could have left it. If that event is a write, it may
    /// have begun.
    pub fn rebuild(&self, log: &Log, cut: Cut, random: &mut Seeded, target: &Path) {
        let mut entries = self.entries.clone();
        let first_dropped = random.below(self.pending.len() as u64 + 1) as usize;
        for (number, (_, _, change)) in self.pending.iter().enumerate() {
            let kept = match cut {
                Cut::DropAll => false,
                Cut::KeepAll => true,
                Cut::Reorder | Cut::Tear => random.chance(50),
                Cut::LastOnly => number + 1 == self.pending.len(),
                Cut::Prefix => number < first_dropped,
            };
            if kept {
                apply(&mut entries, change);
            }
        }
        let running = match log.events.get(self.events) {
            Some(Event::Wrote { inode, offset, data, .. }) => self
                .by_inode
                .get(inode)
                .map(|file| (*file, Pending::Write { event: self.events, offset: *offset, data: *data })),
            _ => None,
        };
        let mut folders = vec![(ROOT, target.to_owned())];
        while let Some((folder, path)) = folders.pop() {
            fs::DirBuilder::new().mode(0o700).recursive(true).create(&path).expect("failed to create a folder");
            let inside = entries.range((folder, String::new())..(folder + 1, String::new()));
            for ((_, name), &file) in inside {
                let path = path.join(name);
                if self.files[file].folder {
                    folders.push((file, path));
                    continue;
                }
                let extra = running.as_ref().filter(|(of, _)| *of == file).map(|(_, write)| write.clone());
                let content = self.files[file].content(log, cut, random, extra);
                use std::io::Write;
                let mut out = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .expect("failed to create a file");
                out.write_all(&content).expect("failed to write a file");
            }
        }
    }
}

fn apply(entries: &mut BTreeMap<Entry, usize>, change: &EntryChange) {
    match change {
        EntryChange::Add { at, file } => {
            entries.insert(at.clone(), *file);
        }
        EntryChange::Move { from, to } => {
            if let Some(file) = entries.remove(from) {
                entries.insert(to.clone(), file);
            }
        }
        EntryChange::Remove { at } => {
            entries.remove(at);
        }
    }
}

impl File {
    /// Makes every change before this event durable.
    fn settle(&mut self, before: usize, log: &Log) {
        let (settled, pending) =
            std::mem::take(&mut self.pending).into_iter().partition(|change| change.event() < before);
        self.pending = pending;
        let settled: Vec<Pending> = settled;
        for change in &settled {
            write(&mut self.durable, log, change, |_| true);
        }
    }

    fn content(&self, log: &Log, cut: Cut, random: &mut Seeded, running: Option<Pending>) -> Vec<u8> {
        let mut content = self.durable.clone();
        let changes: Vec<Pending> = self.pending.iter().cloned().chain(running).collect();
        let torn = random.below(changes.len() as u64 + 1) as usize;
        for (number, change) in changes.iter().enumerate() {
            match cut {
                Cut::DropAll => {}
                Cut::KeepAll => write(&mut content, log, change, |_| true),
                Cut::Reorder if random.chance(50) => write(&mut content, log, change, |_| true),
                Cut::Reorder => extend(&mut content, change, random),
                Cut::Tear => write(&mut content, log, change, |_| random.chance(50)),
                Cut::LastOnly if number + 1 == changes.len() => write(&mut content, log, change, |_| true),
                Cut::LastOnly => {}
                Cut::Prefix if number < torn => write(&mut content, log, change, |_| true),
                Cut::Prefix if number == torn => {
                    let mut sectors = random.below(1 + 64);
                    write(&mut content, log, change, |_| {
                        let kept = sectors > 0;
                        sectors = sectors.saturating_sub(1);
                        kept
                    });
                }
                Cut::Prefix => {}
            }
        }
        content
    }
}

/// Extends a file at random as a lost write may have done.
fn extend(content: &mut Vec<u8>, change: &Pending, random: &mut Seeded) {
    if let Pending::Write { offset, data, .. } = change {
        let end = *offset as usize + data.1 - data.0;
        if end > content.len() && random.chance(50) {
            content.resize(end, 0);
        }
    }
}

/// Applies a change: a truncation as a whole, a write only in the sectors that are kept.
fn write(content: &mut Vec<u8>, log: &Log, change: &Pending, mut keep: impl FnMut(usize) -> bool) {
    match *change {
        Pending::Length { length, .. } => {
            if keep(0) {
                content.resize(length as usize, 0);
            }
        }
        Pending::Write { offset, data, .. } => {
            let bytes = &log.bytes[data.0..data.1];
            let begin = offset as usize;
            let mut at = 0;
            while at < bytes.len() {
                let in_file = begin + at;
                let sector_end = ((in_file / SECTOR + 1) * SECTOR - begin).min(bytes.len());
                if keep(in_file / SECTOR) {
                    let end = begin + sector_end;
                    if content.len() < end {
                        content.resize(end, 0);
                    }
                    content[in_file..end].copy_from_slice(&bytes[at..sector_end]);
                }
                at = sector_end;
            }
        }
    }
}
