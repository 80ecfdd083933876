//! The receiving end of the service manager's notification protocol (sd_notify(3)).

use std::{
    fs,
    io::ErrorKind,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    time::Duration,
};

/// Sent by the harness itself when the process has ended, so that no test waits for more.
const ENDED: &str = "(ended)";

/// The notifications of one daemon.
pub(super) struct Notifications {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notifications {
    pub(super) fn bind(path: PathBuf) -> Self {
        let socket = UnixDatagram::bind(&path).expect("a place for notifications");
        // The process can be of another user. Its directory protects the socket.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("a mode");
        Notifications { socket, path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a function that says that there will be no more notifications.
    pub(super) fn end(&self) -> impl FnOnce() + Send + 'static {
        let path = self.path.clone();
        move || {
            // The test may be over and the socket gone.
            let _ = UnixDatagram::unbound().and_then(|sender| sender.send_to(ENDED.as_bytes(), path));
        }
    }

    /// Returns the next notification; `None` if the process has ended.
    pub(super) fn next(&self, limit: Duration) -> Result<Option<Vec<String>>, String> {
        self.socket.set_read_timeout(Some(limit)).expect("a time limit");
        let mut buffer = [0; 1_024];
        // The system does not restart a call with a time limit after the process was stopped and continued.
        let received = loop {
            match self.socket.recv(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received,
            }
        };
        match received {
            Ok(length) if &buffer[..length] == ENDED.as_bytes() => Ok(None),
            Ok(length) => {
                let text = std::str::from_utf8(&buffer[..length]).expect("notifications are text");
                assert!(text.ends_with('\n'), "each assignment has a line: {text:?}");
                Ok(Some(text.lines().map(str::to_owned).collect()))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(format!("nothing was notified within {limit:?}"))
            }
            Err(error) => panic!("receiving notifications: {error}"),
        }
    }
}
