//! The certificates in force, and how they are replaced.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tracing::{error, info};

use crate::{
    config::{CertificateFiles, ConfigErrors},
    tls::{Fingerprint, Tls},
};
use masker_document::DocumentError;

/// The certificates in force.
pub(crate) struct Certificates {
    files: CertificateFiles,
    tls: ArcSwap<Tls>,
    /// Counts the changes of which client certificates are accepted.
    clients: watch::Sender<u64>,
    reloads: AtomicU64,
}

impl Certificates {
    /// Reads the files, and returns the watcher of their changes too.
    ///
    /// # Errors
    /// Every error of the files.
    pub(crate) fn load(files: CertificateFiles) -> Result<(Self, FileWatcher), Vec<DocumentError>> {
        // Before they are read, so that no change is missed.
        let seen = Fingerprint::of(&files);
        let tls = ArcSwap::from_pointee(Tls::load(&files)?);
        let certificates = Certificates { files, tls, clients: watch::Sender::new(0), reloads: AtomicU64::new(0) };
        Ok((certificates, FileWatcher { loaded: seen.clone(), seen }))
    }

    /// Returns what the next connection uses.
    pub(crate) fn current(&self) -> Arc<Tls> {
        self.tls.load_full()
    }

    /// Returns a receiver that changes when other client certificates than before are accepted.
    pub(crate) fn clients(&self) -> watch::Receiver<u64> {
        self.clients.subscribe()
    }

    /// Reads the files again. If one is invalid, all that was in force stays in force.
    pub(crate) async fn reload(&self, config_file: &Path) {
        let files = self.files.clone();
        // The files can be on a disk that does not answer.
        let loaded = match tokio::task::spawn_blocking(move || Tls::load(&files)).await {
            Ok(loaded) => loaded,
            Err(panicked) => return error!(error = %panicked, "failed to reload the certificates"),
        };
        match loaded {
            Ok(tls) => {
                let before = self.tls.swap(Arc::new(tls));
                let clients_changed = self.tls.load().accepts_other_clients(&before);
                if clients_changed {
                    self.clients.send_modify(|count| *count += 1);
                }
                let count = self.reloads.fetch_add(1, Ordering::Relaxed) + 1;
                info!(count, clients_changed, "certificates reloaded");
            }
            Err(problems) => {
                for line in ConfigErrors::new(config_file, problems).lines() {
                    error!("{line}");
                }
                error!("failed to reload the certificates: those from before stay in force");
            }
        }
    }

    /// Returns whether the files differ from those that were loaded, and no longer change.
    pub(crate) fn have_changed(&self, watcher: &mut FileWatcher) -> bool {
        watcher.check(Fingerprint::of(&self.files))
    }
}

/// Finds changes of the files. A change counts once the files were the same twice: a certificate and its key are rarely written
/// at the same moment.
pub(crate) struct FileWatcher {
    loaded: Fingerprint,
    seen: Fingerprint,
}

impl FileWatcher {
    fn check(&mut self, now: Fingerprint) -> bool {
        let is_settled = now == self.seen;
        self.seen = now;
        let has_changed = is_settled && self.seen != self.loaded;
        if has_changed {
            self.loaded = self.seen.clone();
        }
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::config::NamedFile;

    #[test]
    fn a_change_counts_once_it_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| NamedFile { path: folder.path().join(name), line: 1 };
        let files = CertificateFiles { certificate: file("cert"), key: file("key"), client_ca: None, client_crl: None };
        let write = |path: &PathBuf, text: &str| fs::write(path, text).unwrap();
        write(&files.certificate.path, "1");
        write(&files.key.path, "1");
        let seen = Fingerprint::of(&files);
        let mut watcher = FileWatcher { loaded: seen.clone(), seen };
        assert!(!watcher.check(Fingerprint::of(&files)), "nothing has changed");
        write(&files.certificate.path, "22");
        assert!(!watcher.check(Fingerprint::of(&files)), "the key may follow");
        write(&files.key.path, "22");
        assert!(!watcher.check(Fingerprint::of(&files)));
        assert!(watcher.check(Fingerprint::of(&files)));
        assert!(!watcher.check(Fingerprint::of(&files)), "once is enough");
    }
}
