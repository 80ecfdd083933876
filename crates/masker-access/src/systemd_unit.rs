//! The systemd unit of a process, read from its control group.
//!
//! Only the system's own manager puts processes into the control groups directly below its slices, so the first name of
//! a path that is not a slice is a unit of the system. Names further down prove nothing: a user's manager can name a unit
//! `billing.service`, and its path is `/user.slice/user-1000.slice/user@1000.service/…/billing.service`.

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

/// How to check that a pid still belongs to the same process.
pub(super) enum ProcessCheck {
    /// By a descriptor of the process (`SO_PEERPIDFD`).
    Pidfd(OwnedFd),
    /// By its owner, where the kernel offers no descriptor.
    OwnedBy(u32),
}

/// Returns the system unit of a process; `None` if it has none, or if its pid may belong to another process by now.
pub(super) fn of_process(proc: &Path, pid: i32, check: &ProcessCheck) -> Option<String> {
    let file = File::open(proc.join(pid.to_string()).join("cgroup")).ok()?;
    let owner = file.metadata().ok()?.uid();
    let mut text = Vec::new();
    let length = file.take(CGROUP_BYTES_MAX as u64).read_to_end(&mut text).ok()?;
    // A longer text may have been cut within a name.
    if length == CGROUP_BYTES_MAX {
        return None;
    }
    // After reading, because a pid is reused only once its process has ended.
    let same = match check {
        ProcessCheck::Pidfd(pidfd) => is_running(pidfd).unwrap_or(false),
        ProcessCheck::OwnedBy(uid) => owner == *uid,
    };
    if same { from_cgroups(&text).map(str::to_owned) } else { None }
}

/// Returns whether a process still runs: its descriptor becomes readable when it ends (pidfd_open(2)).
fn is_running(pidfd: &impl AsFd) -> io::Result<bool> {
    let mut watched = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut watched, PollTimeout::ZERO)? == 0)
}

/// Returns the unit in the text of `/proc/PID/cgroup` (cgroups(7)): one line for each hierarchy, `number:names:path`.
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
    // If systemd uses a hierarchy of version 1, one of version 2 may exist too, with every process at its root.
    let path = unified.filter(|path| *path != b"/").or(named)?;
    from_cgroup_path(str::from_utf8(path).ok()?)
}

fn from_cgroup_path(path: &str) -> Option<&str> {
    let names = path.strip_prefix('/')?.split('/').map(|name| {
        // systemd prepends `_` to names that would clash with the kernel's own files.
        name.strip_prefix('_').unwrap_or(name)
    });
    let first = names.into_iter().find(|name| !is_unit(name, ".slice"))?;
    (is_unit(first, ".service") || is_unit(first, ".scope")).then_some(first)
}

/// Returns whether a name is a valid unit name with this suffix (systemd.unit(5)).
fn is_unit(name: &str, suffix: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let stem = name.strip_suffix(suffix).unwrap_or("");
    !stem.is_empty() && name.len() <= UNIT_BYTES_MAX && stem.bytes().all(valid)
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
    fn the_unit_is_the_first_name_that_is_not_a_slice() {
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
            // Names that a user, or a unit with delegated control groups, has chosen are ignored.
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
    fn rejects_paths_that_systemd_does_not_create() {
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
    fn reads_only_the_hierarchy_of_systemd() {
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

    /// Returns a `/proc` with one process, 7, which runs in `billing.service`, and its owner.
    fn fake_proc() -> (tempfile::TempDir, u32) {
        let proc = tempfile::tempdir().unwrap();
        fs::create_dir(proc.path().join("7")).unwrap();
        fs::write(proc.path().join("7/cgroup"), "0::/system.slice/billing.service\n").unwrap();
        let owner = proc.path().metadata().unwrap().uid();
        (proc, owner)
    }

    #[test]
    fn the_process_must_still_run_after_its_unit_was_read() {
        let (proc, _) = fake_proc();
        // A socket replaces the pidfd: it can be made readable, as a pidfd is when its process has ended.
        let (mut end, pidfd) = UnixStream::pair().unwrap();
        let check = ProcessCheck::Pidfd(pidfd.into());
        assert_eq!(of_process(proc.path(), 7, &check).as_deref(), Some("billing.service"));
        assert_eq!(of_process(proc.path(), 8, &check), None);
        end.write_all(b"!").unwrap();
        assert_eq!(of_process(proc.path(), 7, &check), None);
    }

    #[test]
    fn without_a_pidfd_the_owner_must_match() {
        let (proc, owner) = fake_proc();
        assert_eq!(of_process(proc.path(), 7, &ProcessCheck::OwnedBy(owner)).as_deref(), Some("billing.service"));
        assert_eq!(of_process(proc.path(), 7, &ProcessCheck::OwnedBy(owner + 1)), None);
    }

    #[test]
    fn ignores_a_text_that_may_have_been_cut() {
        let (proc, owner) = fake_proc();
        let line = "0::/system.slice/billing.service/";
        for (length, unit) in [(CGROUP_BYTES_MAX - 1, Some("billing.service")), (CGROUP_BYTES_MAX, None)] {
            fs::write(proc.path().join("7/cgroup"), line.to_owned() + &"x".repeat(length - line.len())).unwrap();
            assert_eq!(of_process(proc.path(), 7, &ProcessCheck::OwnedBy(owner)).as_deref(), unit, "{length}");
        }
    }

    proptest! {
        /// Delegated control groups of any name belong to the unit that they are delegated to.
        #[test]
        fn names_below_a_unit_do_not_change_it(below in "(/[a-z_.@-]{1,12}(\\.slice|\\.service|\\.scope)?){0,4}") {
            let text = format!("0::/user.slice/user-7.slice/user@7.service{below}\n");
            prop_assert_eq!(from_cgroups(text.as_bytes()), Some("user@7.service"));
        }
    }
}
