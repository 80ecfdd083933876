//! The disk behind a recorded run: what is certainly on it, and what may be.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// Pseudo-random numbers from a seed (SplitMix64: Steele, Lea and Flood, 2014).
#[derive(Clone)]
pub struct Seeded(pub u64);

impl Seeded {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number under `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// One thing that the recorded process did.
#[derive(Clone, Debug)]
pub enum Event {
    /// A file (or folder) was made under this path, with this inode.
    Made { path: String, inode: u64, folder: bool },
    /// Bytes of the log, from `data.0` to `data.1`, were written; `durable` where the descriptor was `O_DSYNC`.
    Wrote { inode: u64, offset: u64, data: (usize, usize), durable: bool },
    /// The file was cut or stretched to this length.
    Truncated { inode: u64, length: u64 },
    /// A process began. Whatever an earlier one had begun never ends.
    Began,
    /// A sync began, and covers what was done before. The process counts its syncs.
    SyncBegan { inode: u64, number: u64 },
    /// A sync ended.
    SyncEnded { inode: u64, number: u64 },
    /// A sync failed: what was written and no sync had begun for will never reach the disk.
    SyncFailed { inode: u64 },
    /// `sync_file_range`: no promise.
    RangeSynced,
    /// A file was renamed.
    Renamed { from: String, to: String },
    /// A file or an empty folder was removed.
    Removed { path: String },
    /// The process told something.
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
    /// Reads a log, up to a last record that the end of the process may have cut off.
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).expect("the log can be read");
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

    /// How many bytes the log had before this event.
    pub fn length_before(&self, event: usize) -> u64 {
        event.checked_sub(1).map_or(0, |last| self.ends[last])
    }

    /// How many events were in the log when it had this length.
    pub fn events_within(&self, length: u64) -> usize {
        self.ends.partition_point(|end| *end <= length)
    }
}

impl Log {
    /// Points at which at least two writes of one file are not synced: where the order of the disk's work matters.
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

    /// Bytes written, and the length that the longest file ever had.
    pub fn volume(&self) -> (u64, u64) {
        self.events.iter().fold((0, 0), |(bytes, longest), event| match event {
            Event::Wrote { offset, data, .. } => {
                let length = (data.1 - data.0) as u64;
                (bytes + length, longest.max(offset + length))
            }
            _ => (bytes, longest),
        })
    }

    /// How many events are of a sort.
    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }
}

/// A change of a file that no sync has covered yet.
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

/// An entry: of which folder, and its name in it.
type Entry = (usize, String);

/// A change of the entries of a folder that no sync of the folder has covered yet.
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
    /// Those under way: their numbers, and the events with which they began.
    syncs: HashMap<u64, usize>,
}

/// The disk as of one point of a run.
#[derive(Clone)]
pub struct Disk {
    files: Vec<File>,
    by_inode: HashMap<u64, usize>,
    /// What is certainly there.
    entries: BTreeMap<Entry, usize>,
    /// What the process sees, to know which file a path is about.
    seen: BTreeMap<Entry, usize>,
    /// Each with its event and the folder.
    pending: Vec<(usize, usize, EntryChange)>,
    events: usize,
    /// A disk that says it has synced and has not: what shows that a test can fail.
    pub lying: bool,
}

/// How much of what was not synced is there after a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    DropAll,
    /// Everything.
    KeepAll,
    /// Each change or not.
    Reorder,
    /// Each sector or not.
    Tear,
    /// The last change of each file alone.
    LastOnly,
    /// Everything up to some point, which is torn.
    Prefix,
}

impl Cut {
    /// One of them, by chance.
    pub fn any(random: &mut Seeded) -> Self {
        let all = [Cut::DropAll, Cut::KeepAll, Cut::Reorder, Cut::Tear, Cut::LastOnly, Cut::Prefix];
        all[random.below(all.len() as u64) as usize]
    }
}

/// The folder that all paths begin at.
const ROOT: usize = 0;

impl Disk {
    /// A disk that durably holds what is below `root` now.
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
        let found = fs::metadata(path).expect("it is there");
        let durable = if found.is_dir() { Vec::new() } else { fs::read(path).expect("it can be read") };
        let file = self.files.len();
        self.by_inode.insert(found.ino(), file);
        self.files.push(File { folder: found.is_dir(), durable, ..File::default() });
        if found.is_dir() {
            for entry in fs::read_dir(path).expect("it can be read") {
                let entry = entry.expect("it can be read");
                let below = self.hold(&entry.path());
                self.entries.insert((file, entry.file_name().to_string_lossy().into_owned()), below);
            }
        }
        file
    }

    /// The entry that the process sees under this path.
    fn entry(&self, path: &str) -> Entry {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = match folder {
            "" => ROOT,
            folder => self.seen[&self.entry(folder)],
        };
        (folder, name.to_owned())
    }

    /// Plays the log on, up to event `to`.
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
                    // Some disks keep the new entry and have not yet made the old one durable.
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
                    // Another sync that is under way has taken charge of what was written before it.
                    let in_charge = file.syncs.values().max().copied().unwrap_or(0);
                    file.pending.retain(|change| change.event() < in_charge);
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

    /// Writes the disk out as a power cut before the next event could have left it. `next` is that event: where it is a
    /// write, it may have begun.
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
        let under_way = match log.events.get(self.events) {
            Some(Event::Wrote { inode, offset, data, .. }) => self
                .by_inode
                .get(inode)
                .map(|file| (*file, Pending::Write { event: self.events, offset: *offset, data: *data })),
            _ => None,
        };
        let mut folders = vec![(ROOT, target.to_owned())];
        while let Some((folder, path)) = folders.pop() {
            fs::DirBuilder::new().mode(0o700).recursive(true).create(&path).expect("a folder can be made");
            let inside = entries.range((folder, String::new())..(folder + 1, String::new()));
            for ((_, name), &file) in inside {
                let path = path.join(name);
                if self.files[file].folder {
                    folders.push((file, path));
                    continue;
                }
                let extra = under_way.as_ref().filter(|(of, _)| *of == file).map(|(_, write)| write.clone());
                let content = self.files[file].content(log, cut, random, extra);
                use std::io::Write;
                let mut out = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .expect("a file can be made");
                out.write_all(&content).expect("a file can be written");
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
    /// Every change before this event is on the disk.
    fn settle(&mut self, before: usize, log: &Log) {
        let (settled, pending) =
            std::mem::take(&mut self.pending).into_iter().partition(|change| change.event() < before);
        self.pending = pending;
        let settled: Vec<Pending> = settled;
        for change in &settled {
            write(&mut self.durable, log, change, |_| true);
        }
    }

    fn content(&self, log: &Log, cut: Cut, random: &mut Seeded, under_way: Option<Pending>) -> Vec<u8> {
        let mut content = self.durable.clone();
        let changes: Vec<Pending> = self.pending.iter().cloned().chain(under_way).collect();
        let torn = random.below(changes.len() as u64 + 1) as usize;
        for (number, change) in changes.iter().enumerate() {
            match cut {
                Cut::DropAll => {}
                Cut::KeepAll => write(&mut content, log, change, |_| true),
                Cut::Reorder if random.chance(50) => write(&mut content, log, change, |_| true),
                Cut::Reorder => stretch(&mut content, change, random),
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

/// A write that is lost may still have left its length.
fn stretch(content: &mut Vec<u8>, change: &Pending, random: &mut Seeded) {
    if let Pending::Write { offset, data, .. } = change {
        let end = *offset as usize + data.1 - data.0;
        if end > content.len() && random.chance(50) {
            content.resize(end, 0);
        }
    }
}

/// Carries out a change, of a write only the sectors that are kept.
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
