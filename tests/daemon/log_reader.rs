//! A reader of the daemon's log that stops reading.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
};

use nix::{libc, sys::stat::Mode, unistd::mkfifo};

use super::harness::{Daemon, Site};

/// A pipe that the daemon logs to.
struct Pipe(File);

impl Pipe {
    /// Starts a daemon that logs to a pipe of one page. Its end is still seen by the harness.
    fn start(site: &Site) -> (Pipe, Daemon) {
        let path = site.path("log");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        // SAFETY: the descriptor is open, and the call changes the size of the pipe only.
        assert!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETPIPE_SZ, 4_096) } >= 4_096);
        let prelude = format!("exec 9>&2 2>'{}'", path.display());
        let daemon = site.launch().care_keys().prelude(Box::leak(prelude.into_boxed_str())).start();
        (Pipe(file), daemon)
    }

    /// Fills the pipe.
    fn fill(&mut self) {
        while self.0.write(b"\n").is_ok() {}
    }

    /// Reads what is in the pipe.
    fn drain(&mut self) -> String {
        let mut read = Vec::new();
        match self.0.read_to_end(&mut read) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => drop(other.unwrap()),
        }
        String::from_utf8_lossy(&read).into_owned()
    }
}

#[test]
fn a_log_that_nobody_reads_stops_neither_requests_nor_reloads_nor_the_end() {
    let site = Site::new();
    let (mut pipe, daemon) = Pipe::start(&site);
    pipe.fill();
    let lost = |daemon: &Daemon| daemon.client().metric("masker_log_lines_lost_total").unwrap();
    assert_eq!(lost(&daemon), 0.0);
    let mut client = daemon.client();
    let token = client.token("PHONE", "415-555-2671");
    // Each request logs a line at this level, and the queue takes a megabyte.
    for _ in 0..20_000 {
        assert_eq!(client.get("/api/v1/auth/whoami").status, 200);
    }
    assert!(lost(&daemon) > 0.0);
    daemon.reload();
    assert_eq!(client.value(&token), "415-555-2671");

    // Once there is room, the log says what is missing.
    let mut text = String::new();
    while !text.contains("log lines were lost") {
        text.push_str(&pipe.drain());
        assert_eq!(client.get("/api/v1/auth/whoami").status, 200);
    }
    pipe.fill();
    drop(client);
    daemon.stop();
}
