//! The systemd unit of a process, which its control group tells.
//!
//! Only the system's own manager puts processes into the control groups right below its slices, so the first name of a
//! path that is no slice is a unit of the system. What stands further down is of somebody else's making: a user's manager
//! may call a unit `billing.service`, and its path is `/user.slice/user-1000.slice/user@1000.service/…/billing.service`.

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use masker_types::limits::CGROUP_BYTES_MAX;

/// Longest name of a unit, in bytes: `UNIT_NAME_MAX` of systemd.
const UNIT_BYTES_MAX: usize = 255;

/// What holds a process's number to the process.
pub(super) enum ProcessOwner {
    /// A descriptor of the process itself (`SO_PEERPIDFD`).
    Process(OwnedFd),
    /// The kernel has none: the process's owner must be this one.
    Owner(u32),
}

/// The system unit that a process runs in; `None` if it runs in none, or if there is a doubt that the number is still the
/// number of the same process.
pub(super) fn for_process(proc: &Path, pid: i32, hold: &ProcessOwner) -> Option<String> {
    let file = File::open(proc.join(pid.to_string()).join("cgroup")).ok()?;
    let owner = file.metadata().ok()?.uid();
    let mut text = Vec::new();
    let length = file.take(CGROUP_BYTES_MAX as u64).read_to_end(&mut text).ok()?;
    // A text that is longer may have been cut within a name.
    if length == CGROUP_BYTES_MAX {
        return None;
    }
    // Asked after reading: a number is given to another process only after the one that had it has ended.
    let same = match hold {
        ProcessOwner::Process(process) => runs(process).unwrap_or(false),
        ProcessOwner::Owner(uid) => owner == *uid,
    };
    if same { from_cgroups(&text).map(str::to_owned) } else { None }
}

/// Whether a process has not ended: its descriptor is readable once it has (pidfd_open(2)).
fn runs(process: &impl AsFd) -> io::Result<bool> {
    let mut watched = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut watched, PollTimeout::ZERO)? == 0)
}

/// The unit that the text of `/proc/PID/cgroup` tells (cgroups(7)): one line for each hierarchy, `number:names:path`.
fn from_cgroups(text: &[u8]) -> Option<&str> {
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let (mut unified, mut named) = (None, None);
    for line in lines {
        match line {
            (b"0", b"", path) => unified = Some(path),
            (_, b"name=systemd", path) => named = Some(path),
            _ => {}
        }
    }
    // Where systemd keeps a hierarchy of version 1, that of version 2 may be there, and everything at its root.
    let path = unified.filter(|path| *path != b"/").or(named)?;
    from_cgroup_path(str::from_utf8(path).ok()?)
}

fn from_cgroup_path(path: &str) -> Option<&str> {
    let names = path.strip_prefix('/')?.split('/').map(|name| {
        // systemd puts `_` before what would read as one of the kernel's own files.
        name.strip_prefix('_').unwrap_or(name)
    });
    let first = names.into_iter().find(|name| !is_unit(name, ".slice"))?;
    (is_unit(first, ".service") || is_unit(first, ".scope")).then_some(first)
}

/// Whether a name is one that systemd gives to units of a kind (systemd.unit(5)).
fn is_unit(name: &str, kind: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let stem = name.strip_suffix(kind).unwrap_or("");
    !stem.is_empty() && name.len() <= UNIT_BYTES_MAX && stem.bytes().all(sound)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write,
        os::unix::{fs::MetadataExt, net::UnixStream},
    };

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_unit_is_the_first_name_that_is_no_slice() {
        for (path, unit) in [
            ("/system.slice/billing.service", "billing.service"),
            ("/system.slice/billing.service/worker/1", "billing.service"),
            ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
            ("/system.slice/run-u12.scope", "run-u12.scope"),
            ("/init.scope", "init.scope"),
            ("/billing.service", "billing.service"),
            ("/system.slice/_cpu.service", "cpu.service"),
            ("/system.slice/__x.service", "_x.service"),
            ("/_cpu.slice/a.service", "a.service"),
            (r"/system.slice/a\x2db.service", r"a\x2db.service"),
            ("/system.slice/docker-0123.scope", "docker-0123.scope"),
            // What a user, or a unit with control groups of its own, calls itself is its own affair.
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/billing.service", "user@1000.service"),
            ("/user.slice/user-1000.slice/session-3.scope/system.slice/billing.service", "session-3.scope"),
            ("/system.slice/docker.service/system.slice/billing.service", "docker.service"),
        ] {
            assert_eq!(from_cgroups(format!("0::{path}\n").as_bytes()), Some(unit), "{path}");
            let old = format!("11:cpu,cpuacct:/x.service\n1:name=systemd:{path}\n0::/\n");
            assert_eq!(from_cgroups(old.as_bytes()), Some(unit), "{path}");
        }
    }

    #[test]
    fn what_no_manager_made_is_no_unit() {
        for path in [
            "",
            "/",
            "billing.service",
            "//billing.service",
            "/system.slice",
            "/system.slice/",
            "/system.slice//billing.service",
            "/docker/0123/system.slice/billing.service",
            "/docker/billing.service",
            "/../system.slice/billing.service",
            "/system.slice/../billing.service",
            "/.slice/billing.service",
            "/system.slice/.service",
            "/system.slice/_.service",
            "/system.slice/billing.service (deleted)",
            "/system.slice/billing service.service",
            "/system.slice/billing.socket",
            "/system.slice/billing",
            "/sy stem.slice/billing.service",
            "/system.slice/bïlling.service",
        ] {
            for text in [format!("0::{path}\n"), format!("1:name=systemd:{path}\n0::/\n")] {
                assert_eq!(from_cgroups(text.as_bytes()), None, "{path}");
            }
        }
        let long = format!("0::/system.slice/{}.service\n", "x".repeat(248));
        assert_eq!(from_cgroups(long.as_bytes()), None);
        assert_eq!(from_cgroups(b"0::/system.slice/\xff.service\n"), None);
    }

    #[test]
    fn only_the_hierarchy_of_systemd_counts() {
        let unit = "/system.slice/billing.service";
        for line in
            [format!("4:memory:{unit}"), format!("1:name=other:{unit}"), format!("0:x:{unit}"), format!("1::{unit}")]
        {
            for text in [format!("{line}\n0::/\n"), format!("0::/\n{line}\n")] {
                assert_eq!(from_cgroups(text.as_bytes()), None, "{text}");
            }
        }
        assert_eq!(from_cgroups(format!("1:name=systemd:/a.service\n0::{unit}\n").as_bytes()), Some("billing.service"));
        // Colons are part of paths.
        assert_eq!(from_cgroups(b"0::/system.slice/a:b.service"), Some("a:b.service"));
        assert_eq!(from_cgroups(b""), None);
        assert_eq!(from_cgroups(b"0:\n0\n\n:::"), None);
    }

    /// A `/proc` with one process, 7, that runs in `billing.service`, and who owns it.
    fn made_up_proc() -> (tempfile::TempDir, u32) {
        let proc = tempfile::tempdir().unwrap();
        fs::create_dir(proc.path().join("7")).unwrap();
        fs::write(proc.path().join("7/cgroup"), "0::/system.slice/billing.service\n").unwrap();
        let owner = proc.path().metadata().unwrap().uid();
        (proc, owner)
    }

    #[test]
    fn the_process_must_still_be_there_once_its_unit_is_read() {
        let (proc, _) = made_up_proc();
        // In the place of a process's descriptor something that can be read on demand, as that can when it has ended.
        let (mut end, process) = UnixStream::pair().unwrap();
        let hold = ProcessOwner::Process(process.into());
        assert_eq!(for_process(proc.path(), 7, &hold).as_deref(), Some("billing.service"));
        assert_eq!(for_process(proc.path(), 8, &hold), None);
        end.write_all(b"!").unwrap();
        assert_eq!(for_process(proc.path(), 7, &hold), None);
    }

    #[test]
    fn without_a_descriptor_the_owner_must_be_the_peer() {
        let (proc, owner) = made_up_proc();
        assert_eq!(for_process(proc.path(), 7, &ProcessOwner::Owner(owner)).as_deref(), Some("billing.service"));
        assert_eq!(for_process(proc.path(), 7, &ProcessOwner::Owner(owner + 1)), None);
    }

    #[test]
    fn a_text_that_may_have_been_cut_tells_nothing() {
        let (proc, owner) = made_up_proc();
        let line = "0::/system.slice/billing.service/";
        for (length, unit) in [(CGROUP_BYTES_MAX - 1, Some("billing.service")), (CGROUP_BYTES_MAX, None)] {
            fs::write(proc.path().join("7/cgroup"), line.to_owned() + &"x".repeat(length - line.len())).unwrap();
            assert_eq!(for_process(proc.path(), 7, &ProcessOwner::Owner(owner)).as_deref(), unit, "{length}");
        }
    }

    proptest! {
        /// Whatever is delegated, by whatever name, stays within the unit that it is delegated to.
        #[test]
        fn nothing_below_a_unit_changes_it(below in "(/[a-z_.@-]{1,12}(\\.slice|\\.service|\\.scope)?){0,4}") {
            let text = format!("0::/user.slice/user-7.slice/user@7.service{below}\n");
            prop_assert_eq!(from_cgroups(text.as_bytes()), Some("user@7.service"));
        }
    }
}
