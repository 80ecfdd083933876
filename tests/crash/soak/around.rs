//! The environment of the daemons of a run, and the daemon that is running.

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
/// The size of the file system of vault and audit log, in MiB, when it is not full.
pub const DISK_MB: u32 = 6_144;
/// The pause between two checks of a condition.
pub const PAUSE: Duration = Duration::from_millis(20);
/// The memory that a daemon may gain after its warm-up, in KiB: caches that were not full by then (twice 16 MiB and 8
/// MiB), data that an engine has not written to its files yet, and freed memory that the allocator keeps for a moment
/// after a rotation or an opening. Twenty minutes, with 16 rotations on sled and 22 on fjall of up to 528,000
/// records, came to 76 MiB on sled and 39 on fjall.
const GROWTH_KIB: u64 = 128 * 1_024;

/// The environment of the daemons.
pub struct Around {
    pub site: Site,
    pub faults: FaultSchedule,
    /// The file system of vault and audit log, if they have their own.
    pub disk: Option<SmallDisk>,
    /// The control group that can limit memory.
    pub group: Option<Group>,
    /// The generation of the active key.
    pub generation: u64,
    place: PathBuf,
    /// Holds the files of the fault schedule.
    _beside: TempDir,
}

impl Around {
    /// Returns an environment without faults, and the faults that this machine does not support.
    pub fn new(engine: &str) -> (Self, Vec<(Fault, String)>) {
        let mut site = Site::of(engine);
        let (place, beside) = (site.path("disk"), scratch());
        let mut skipped = Vec::new();
        let disk = SmallDisk::mount(place.clone(), DISK_MB);
        if disk.is_none() {
            skipped.push((Fault::FullDisk, "no file system can be mounted, which needs root".to_owned()));
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

    /// Returns the directory of vault and audit log.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Starts a daemon with the current fault schedule.
    pub fn launch(&self) -> Launch<'_> {
        let launch = rotation::launch(&self.site, self.generation, self.generation > 1);
        let launch =
            launch.env(AUDIT_KEY, TestKey::named("the audit chain's").base64()).env("MASKER_LOG_LEVEL", "info");
        self.faults.environment().into_iter().fold(launch, |launch, (name, path)| launch.env(name, path))
    }

    /// Ends all faults and delays, and corrects the clock.
    pub fn calm(&self) {
        self.faults.fail(None);
        self.faults.slow(Duration::ZERO, Duration::ZERO);
        self.faults.clock(0);
    }

    /// Runs `masker audit verify` while no daemon writes the log.
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

/// A running daemon, with its resources after the warm-up.
pub struct Life {
    pub daemon: Daemon,
    pub at_first: Footprint,
}

impl Life {
    /// Warms up a daemon that has no other clients.
    pub fn warm(daemon: Daemon, place: &Path) -> Self {
        let at_first = footprint(&daemon, place);
        Life { daemon, at_first }
    }

    /// Sends `SIGTERM` and waits until it says that it is stopping.
    pub fn tell_to_stop(&self) {
        self.daemon.signal(Signal::SIGTERM);
        self.daemon.wait_for_notification("STOPPING=1");
    }

    /// Waits until its health is ok.
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

    /// Checks that it holds the same descriptors as after the warm-up while it has no clients, except for the files
    /// of vault and log, and that its memory has not grown too much. Returns the growth in KiB.
    pub fn assert_nothing_stays(&self, place: &Path, when: &str) -> u64 {
        let began = Instant::now();
        loop {
            let now = footprint(&self.daemon, place);
            let grown = now.anonymous_kib.saturating_sub(self.at_first.anonymous_kib);
            // The engines release the memory of a compaction later.
            if now.descriptors == self.at_first.descriptors && grown < GROWTH_KIB {
                return grown;
            }
            assert!(began.elapsed() < LIMIT, "{when}: it held {:?} at first, and now {now:?}", self.at_first);
            thread::sleep(PAUSE);
        }
    }
}

/// Returns a client, once the daemon has closed all other connections.
pub fn alone(daemon: &Daemon) -> Client {
    let (mut client, began) = (daemon.client(), Instant::now());
    while client.metric("masker_connections") != Some(1.0) {
        assert!(began.elapsed() < LIMIT, "connections have no end");
        thread::sleep(PAUSE);
    }
    client
}

/// Measures a daemon that has no other clients.
fn footprint(daemon: &Daemon, place: &Path) -> Footprint {
    let (_client, began) = (alone(daemon), Instant::now());
    // A connection counts as ended a moment before its descriptor is closed.
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
