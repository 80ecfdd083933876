//! What is around the daemons of a run, and one of them.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    super::{disk::SmallDisk, rotation, scratch},
    faults::Fault,
    host::{Footprint, Group},
};
use crate::{
    harness::{Client, Daemon, LIMIT, Launch, Site, TestKey, masker},
    powercut::fault_schedule::FaultSchedule,
};

const AUDIT_KEY: &str = "MASKER_AUDIT_HMAC_KEY";
/// The file system of vault and audit log, in MiB, where it is not full.
pub const DISK_MB: u32 = 6_144;
/// Between two looks at something that takes a moment.
pub const PAUSE: Duration = Duration::from_millis(20);
/// What a daemon may hold more than when it was warm, in KiB: what its caches take that are not full by then (twice 16
/// MiB and 8 MiB), what an engine keeps of what it has not written to its files yet, and what the allocator keeps for a moment
/// of what a rotation or an opening worked with. Twenty minutes, with 16 rotations on sled and 22 on fjall of up to 528,000
/// records, came to 76 MiB on sled and 39 on fjall.
const GROWTH_KIB: u64 = 128 * 1_024;

/// What is around the daemons.
pub struct Around {
    pub site: Site,
    pub faults: FaultSchedule,
    /// Where vault and audit log are, if it is a file system of their own.
    pub disk: Option<SmallDisk>,
    /// Where there can be too little memory.
    pub group: Option<Group>,
    /// Which key is the active one.
    pub generation: u64,
    place: PathBuf,
    /// Holds the files of the fault schedule.
    _beside: TempDir,
}

impl Around {
    /// All of it as it should be, and what this machine lacks.
    pub fn new(engine: &str) -> (Self, Vec<(Fault, String)>) {
        let mut site = Site::of(engine);
        let (place, beside) = (site.path("disk"), scratch());
        let mut skipped = Vec::new();
        let disk = SmallDisk::mount(place.clone(), DISK_MB);
        if disk.is_none() {
            skipped.push((Fault::FullDisk, "no file system can be mounted, which takes root".to_owned()));
            fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("a folder of ours");
        }
        for name in ["vault", "audit"] {
            fs::DirBuilder::new().mode(0o700).create(place.join(name)).expect("a folder can be made");
        }
        site.set("vault", "data_dir", format!("{:?}", place.join("vault")));
        site.set("vault", "row_cache_mb", "8");
        site.set("audit", "path", format!("{:?}", place.join("audit")));
        let group = Group::make(engine).map_err(|why| skipped.push((Fault::ScarceMemory, why))).ok();
        let faults = FaultSchedule::new(&place, beside.path()).unwrap_or_else(|reason| panic!("{reason}"));
        (Around { site, faults, disk, group, generation: 1, place, _beside: beside }, skipped)
    }

    /// Where vault and audit log are.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// A start with the current faults.
    pub fn launch(&self) -> Launch<'_> {
        let launch = rotation::launch(&self.site, self.generation, self.generation > 1);
        let launch =
            launch.env(AUDIT_KEY, TestKey::named("the audit chain's").base64()).env("MASKER_LOG_LEVEL", "info");
        self.faults.environment().into_iter().fold(launch, |launch, (name, path)| launch.env(name, path))
    }

    /// Nothing fails any more, everything is as fast as it can be, and the clock is right.
    pub fn calm(&self) {
        self.faults.fail(None);
        self.faults.slow(Duration::ZERO, Duration::ZERO);
        self.faults.clock(0);
    }

    /// `masker audit verify`, while no daemon writes the log.
    pub fn assert_audit_whole(&self, when: &str) {
        let mut command = Command::new(masker());
        command.args(["audit", "verify", "--json", "--config"]).arg(self.site.path("masker.toml"));
        command.env_clear().env(AUDIT_KEY, TestKey::named("the audit chain's").base64());
        let output = command.current_dir("/").stdin(Stdio::null()).output().expect("masker can be run");
        let (text, problem) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{when}: {text}{problem}");
        let report: Value = serde_json::from_str(&text).expect("JSON");
        assert!(report["ok"] == true && report["compared_with"] == "vault", "{when}: {report}");
    }
}

/// A daemon that serves, and what it held once it was warm.
pub struct Life {
    pub daemon: Daemon,
    pub at_first: Footprint,
}

impl Life {
    /// A daemon that is warm, and nobody else is connected to.
    pub fn warm(daemon: Daemon, place: &Path) -> Self {
        let at_first = footprint(&daemon, place);
        Life { daemon, at_first }
    }

    /// `SIGTERM`; it says that it is stopping.
    pub fn tell_to_stop(&self) {
        self.daemon.signal(Signal::SIGTERM);
        self.daemon.wait_for_notification("STOPPING=1");
    }

    /// Waits until it says itself that nothing is wrong.
    pub fn wait_until_well(&self, when: &str) {
        let began = Instant::now();
        loop {
            let (status, components) = self.daemon.client().health();
            if status == "ok" {
                return;
            }
            assert!(began.elapsed() < LIMIT, "{when}: it does not get well: {components}");
            thread::sleep(PAUSE);
        }
    }

    /// While nobody is connected, it holds what it held at first: exactly as many descriptors, but for the files of vault
    /// and log, and no more memory than there is reason for. Returns by how much that grew, in KiB.
    pub fn assert_nothing_stays(&self, place: &Path, when: &str) -> u64 {
        let began = Instant::now();
        loop {
            let now = footprint(&self.daemon, place);
            let grown = now.anonymous_kib.saturating_sub(self.at_first.anonymous_kib);
            // The engines give back what they were compacting with in their own time.
            if now.descriptors == self.at_first.descriptors && grown < GROWTH_KIB {
                return grown;
            }
            assert!(began.elapsed() < LIMIT, "{when}: it held {:?} at first, and now {now:?}", self.at_first);
            thread::sleep(PAUSE);
        }
    }
}

/// A client, once the daemon has seen the end of every other's connection.
pub fn alone(daemon: &Daemon) -> Client {
    let (mut client, began) = (daemon.client(), Instant::now());
    while client.metric("masker_connections") != Some(1.0) {
        assert!(began.elapsed() < LIMIT, "connections have no end");
        thread::sleep(PAUSE);
    }
    client
}

/// What a daemon holds that nobody but this function is connected to.
fn footprint(daemon: &Daemon, place: &Path) -> Footprint {
    let (_client, began) = (alone(daemon), Instant::now());
    // A connection is counted as ended a moment before its descriptor is closed.
    loop {
        let before = Footprint::of(daemon.pid(), place);
        thread::sleep(PAUSE);
        let now = Footprint::of(daemon.pid(), place);
        if before.descriptors == now.descriptors {
            return now;
        }
        assert!(began.elapsed() < LIMIT, "descriptors come and go: {now:?}");
    }
}
