//! The host: ways in which memory can reach a disk.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::sys::{
    resource::{Resource, getrlimit},
    stat::{major, minor},
};

use super::{finding::Finding, finding_id::FindingId};
use crate::format::bytes;

/// What to do if the kernel's files cannot be read.
const PROC: &str = "run doctor where /proc is mounted, as on the host in place of a container";
/// Maximum depth of stacked block devices, such as a volume on an encrypted partition.
const DEVICE_DEPTH_MAX: u32 = 8;
/// Locked memory that a daemon needs, in bytes: a page for each of its keys, and a reserve.
const LOCKED_BYTES_MIN: u64 = 1 << 20;

/// The facts about a host.
#[derive(Debug, Default)]
pub(super) struct HostFacts {
    /// The swap devices. `None` if they cannot be read.
    swaps: Option<Vec<SwapDevice>>,
    /// The pattern of core dumps. `None` if it cannot be read.
    core_pattern: Option<String>,
    /// Maximum bytes of a core dump of a process started here. `None` if the limit cannot be read.
    core_bytes_max: Option<u64>,
    /// Maximum bytes that a process started here may lock. `None` if the limit cannot be read.
    locked_bytes_max: Option<u64>,
}

/// A swap device or file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SwapDevice {
    path: String,
    /// Whether its contents can be read without a key.
    plain: bool,
}

/// Reads the kernel's files below a root, and the limits of this process.
pub(super) fn gather(root: &Path) -> HostFacts {
    let swaps = fs::read_to_string(root.join("proc/swaps")).ok();
    let swaps = swaps.map(|text| {
        let swap = |path: String| SwapDevice { plain: !is_protected(root, &path), path };
        swap_paths(&text).into_iter().map(swap).collect()
    });
    let soft = |resource| getrlimit(resource).ok().map(|(soft, _)| soft);
    HostFacts {
        swaps,
        core_pattern: fs::read_to_string(root.join("proc/sys/kernel/core_pattern")).ok(),
        core_bytes_max: soft(Resource::RLIMIT_CORE),
        locked_bytes_max: soft(Resource::RLIMIT_MEMLOCK),
    }
}

/// Returns the paths of `/proc/swaps`, where white space and backslashes are octal escapes (proc(5)).
fn swap_paths(text: &str) -> Vec<String> {
    let paths = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    paths
        .map(|path| {
            [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
                .iter()
                .fold(path.to_owned(), |path, (escape, character)| path.replace(escape, character))
        })
        .collect()
}

/// Returns whether a swap device is encrypted, or is memory.
fn is_protected(root: &Path, path: &str) -> bool {
    let path = Path::new(path);
    let Ok(path) = fs::canonicalize(root.join(path.strip_prefix("/").unwrap_or(path))) else { return false };
    let device = match path.file_name() {
        Some(name) if path.starts_with(root.join("dev")) => root.join("sys/class/block").join(name),
        // A swap file: examine the device that it is on.
        _ => match fs::metadata(&path) {
            Ok(found) => root.join(format!("sys/dev/block/{}:{}", major(found.dev()), minor(found.dev()))),
            Err(_) => return false,
        },
    };
    is_encrypted(&device, DEVICE_DEPTH_MAX)
}

/// Returns whether a block device of sysfs is encrypted, is memory, or is stacked on such devices only.
fn is_encrypted(device: &Path, depth_left: u32) -> bool {
    let Ok(device) = fs::canonicalize(device) else { return false };
    let uuid = fs::read_to_string(device.join("dm/uuid")).unwrap_or_default();
    // The device-mapper's own prefix for dm-crypt (cryptsetup(8)).
    if uuid.starts_with("CRYPT-") || device.file_name().is_some_and(|name| name.to_string_lossy().starts_with("zram")) {
        return true;
    }
    let below = fs::read_dir(device.join("slaves")).into_iter().flatten();
    let below: Vec<PathBuf> = below.filter_map(|entry| Some(entry.ok()?.path())).collect();
    depth_left > 0 && !below.is_empty() && below.iter().all(|device| is_encrypted(device, depth_left - 1))
}

/// Every check of the host.
pub(super) fn judge(host: &HostFacts) -> Vec<Finding> {
    let mut findings = swap(host.swaps.as_deref());
    findings.extend(core_dumps(host.core_pattern.as_deref(), host.core_bytes_max));
    findings.push(locked_memory(host.locked_bytes_max));
    findings
}

/// `host.swap`: no swap device is unencrypted. Keys are locked in memory, but values are not.
fn swap(swaps: Option<&[SwapDevice]>) -> Vec<Finding> {
    let Some(swaps) = swaps else {
        return vec![Finding::not_checked("host.swap", "failed to read /proc/swaps", PROC)];
    };
    let plain: Vec<&str> = swaps.iter().filter(|swap| swap.plain).map(|swap| &*swap.path).collect();
    vec![match (plain.is_empty(), swaps.is_empty()) {
        (_, true) => Finding::ok("host.swap", "there is no swap"),
        (true, false) => Finding::ok("host.swap", "every swap device is encrypted, or is memory"),
        (false, _) => {
            let found = format!(
                "memory is swapped to {} unencrypted: keys are locked in memory, values are not",
                plain.join(", ")
            );
            let remedy = "as root: if `free -h` shows more free memory than used swap, `swapoff --all`; or encrypt it with a new key at each boot: \
                 `swap` and /dev/urandom in /etc/crypttab";
            Finding::warning("host.swap", FindingId::SwapPlain, found, remedy)
        }
    }]
}

/// `host.core`: no core dump of a process with values is written. The daemon disables its own dumps; its clients do not.
fn core_dumps(pattern: Option<&str>, bytes_max: Option<u64>) -> Vec<Finding> {
    let remedy = "as root: `sysctl kernel.core_pattern=core` with `LimitCORE=0` in the units of applications; a file in /etc/sysctl.d keeps it \
                  across boots";
    let Some(pattern) = pattern.map(str::trim) else {
        return vec![Finding::not_checked("host.core", "failed to read /proc/sys/kernel/core_pattern", PROC)];
    };
    vec![if let Some(program) = pattern.strip_prefix('|') {
        let program = program.split_whitespace().next().unwrap_or_default().escape_debug();
        let found = format!(
            "core dumps go to {program}, regardless of their limit: the daemon disables its own dumps, other programs with \
             values do not"
        );
        Finding::warning("host.core", FindingId::CoreDumps, found, remedy)
    } else if pattern.is_empty() || bytes_max == Some(0) {
        Finding::ok("host.core", "processes started here write no core dumps")
    } else {
        let found = "processes started here write core dumps: the daemon disables its own dumps, other programs with values \
                     do not";
        Finding::warning(
            "host.core",
            FindingId::CoreDumps,
            found,
            "ulimit -c 0, and `LimitCORE=0` in the units of applications",
        )
    }]
}

/// `host.locked_memory`: the limit of locked memory is high enough for keys.
fn locked_memory(bytes_max: Option<u64>) -> Finding {
    let Some(bytes_max) = bytes_max else {
        return Finding::not_checked(
            "host.locked_memory",
            "failed to read the limit of locked memory",
            "run `ulimit -l`",
        );
    };
    if bytes_max >= LOCKED_BYTES_MIN {
        return Finding::ok("host.locked_memory", "a process started here can lock its keys in memory");
    }
    let found = format!("a process started here may lock only {} of memory", bytes(bytes_max));
    let remedy =
        "`ulimit -l 16384` before the daemon is started, or `LimitMEMLOCK=16M` in its unit, as in the package's";
    Finding::warning("host.locked_memory", FindingId::LockedMemory, found, remedy)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn follows_swap_to_its_devices() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let device = |name: &str, uuid: Option<&str>, below: &[&str]| {
            let device = at("sys/class/block").join(name);
            fs::create_dir_all(device.join("slaves")).unwrap();
            if let Some(uuid) = uuid {
                fs::create_dir_all(device.join("dm")).unwrap();
                fs::write(device.join("dm/uuid"), uuid).unwrap();
            }
            for slave in below {
                symlink(at("sys/class/block").join(slave), device.join("slaves").join(slave)).unwrap();
            }
            fs::create_dir_all(at("dev")).unwrap();
            fs::write(at("dev").join(name), "").unwrap();
        };
        device("sda2", None, &[]);
        device("zram0", None, &[]);
        device("dm-0", Some("CRYPT-LUKS2-x\n"), &["sda2"]);
        device("dm-1", Some("LVM-x\n"), &["dm-0"]);
        device("dm-2", Some("LVM-x\n"), &["dm-0", "sda2"]);
        symlink(at("dev/dm-1"), at("dev/vg-swap")).unwrap();
        let protected = ["/dev/sda2", "/dev/zram0", "/dev/dm-0", "/dev/vg-swap", "/dev/dm-2", "/dev/none"]
            .map(|path| is_protected(root.path(), path));
        assert_eq!(protected, [false, true, true, true, false, false]);
    }

    #[test]
    fn decodes_swap_paths() {
        let text =
            "Filename\t\t\tType\tSize\tUsed\tPriority\n/dev/dm-1   partition\t1\t0\t-2\n/swap\\040file file 1 0 -3\n";
        assert_eq!(swap_paths(text), ["/dev/dm-1", "/swap file"]);
        let one = |plain| SwapDevice { path: "/s".to_owned(), plain };
        let status = |swaps: Option<&[SwapDevice]>| swap(swaps)[0].status;
        assert_eq!(status(None), Severity::NotChecked);
        assert_eq!(status(Some(&[])), Severity::Ok);
        assert_eq!(status(Some(&[one(false)])), Severity::Ok);
        assert_eq!(status(Some(&[one(false), one(true)])), Severity::Warning);
    }

    #[test]
    fn judges_core_dumps_by_pattern_and_limit() {
        let status = |pattern, bytes| core_dumps(pattern, Some(bytes))[0].status;
        assert_eq!(status(Some("core\n"), 0), Severity::Ok);
        assert_eq!(status(Some("\n"), u64::MAX), Severity::Ok);
        assert_eq!(status(Some("core\n"), 1), Severity::Warning);
        // The limit does not apply to dumps that go to a program.
        assert_eq!(status(Some("|/usr/lib/systemd/systemd-coredump %P\n"), 0), Severity::Warning);
        assert_eq!(status(None, 0), Severity::NotChecked);
    }

    #[test]
    fn little_locked_memory_is_a_warning() {
        assert_eq!(locked_memory(Some(u64::MAX)).status, Severity::Ok);
        assert_eq!(locked_memory(Some(65_536)).status, Severity::Warning);
        assert_eq!(locked_memory(None).status, Severity::NotChecked);
    }
}
