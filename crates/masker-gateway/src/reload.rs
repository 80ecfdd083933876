//! The certificates in force, and how they are replaced.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use arc_swap::ArcSwap;
use tokio::{sync::watch, task::spawn_blocking};
use tracing::{error, info, warn};

use crate::{
    config::{CertificateFiles, ConfigErrors, NamedFile},
    tls::{Fingerprint, Tls},
    validity::{days_left, fault},
};
use masker_document::DocumentError;

/// The certificates in force.
pub(crate) struct Certificates {
    files: CertificateFiles,
    tls: ArcSwap<Tls>,
    /// Counts the changes of which client certificates are accepted.
    clients: watch::Sender<u64>,
    reloads: AtomicU64,
    watcher: Mutex<FileWatcher>,
    /// The host that the certificate must be for. `None` where only proxies see it, which may know it by another name.
    host: Option<String>,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// Every error of the files.
    pub(crate) fn load(files: CertificateFiles, host: Option<String>) -> Result<Self, Vec<DocumentError>> {
        // Before they are read, so that no change is missed.
        let seen = Fingerprint::of(&files);
        let tls = ArcSwap::from_pointee(Tls::load(&files)?);
        let watcher = Mutex::new(FileWatcher { loaded: seen.clone(), seen });
        let clients = watch::Sender::new(0);
        Ok(Certificates { files, tls, clients, reloads: AtomicU64::new(0), watcher, host })
    }

    /// Returns what the next connection uses.
    pub(crate) fn current(&self) -> Arc<Tls> {
        self.tls.load_full()
    }

    /// Returns a receiver that changes when other client certificates than before are accepted.
    pub(crate) fn clients(&self) -> watch::Receiver<u64> {
        self.clients.subscribe()
    }

    /// Reads the files again. If one is invalid, the previous ones stay in use.
    pub(crate) async fn reload(&self, config_file: &Path) {
        let files = self.files.clone();
        // The files can be on a disk that does not answer. The fingerprint is from before, so that no change is missed.
        let (seen, loaded) = match spawn_blocking(move || (Fingerprint::of(&files), Tls::load(&files))).await {
            Ok(loaded) => loaded,
            Err(panicked) => return error!(error = %panicked, "failed to reload the certificates"),
        };
        *self.watcher() = FileWatcher { loaded: seen.clone(), seen };
        match loaded {
            Ok(tls) => {
                let before = self.tls.swap(Arc::new(tls));
                let clients_changed = self.tls.load().accepts_other_clients(&before);
                if clients_changed {
                    self.clients.send_modify(|count| *count += 1);
                }
                let count = self.reloads.fetch_add(1, Ordering::Relaxed) + 1;
                info!(count, clients_changed, "certificates reloaded");
                self.warn_of_fault();
            }
            Err(problems) => {
                for line in ConfigErrors::new(config_file, problems).lines() {
                    error!("{line}");
                }
                error!("failed to reload the certificates: the previous ones stay in use");
            }
        }
    }

    /// Returns whether the files differ from those that were loaded, and no longer change.
    pub(crate) async fn have_changed(&self) -> bool {
        let files = self.files.clone();
        // A panic was logged, and the next check is soon.
        let now = spawn_blocking(move || Fingerprint::of(&files)).await;
        now.is_ok_and(|now| self.watcher().check(now))
    }

    /// Returns what makes clients refuse the certificate, at the line of its setting.
    pub(crate) fn fault(&self) -> Option<DocumentError> {
        let NamedFile { path, line } = &self.files.certificate;
        let fault = fault(&self.current().certificate, self.host.as_deref(), SystemTime::now())?;
        Some(DocumentError { line: *line, message: format!("{} {fault}", path.display()) })
    }

    /// Warns if clients refuse the certificate, or will do so soon.
    pub(crate) fn warn_of_fault(&self) {
        if let Some(fault) = self.fault() {
            warn!(fault = fault.message, "clients refuse the certificate");
        } else if let Some(days) = days_left(&self.current().certificate, SystemTime::now()) {
            warn!(file = %self.files.certificate.path.display(), days, "the certificate expires soon: renew it");
        }
    }

    fn watcher(&self) -> MutexGuard<'_, FileWatcher> {
        // Nothing panics while it holds the lock.
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds changes of the files. A change counts once the files were the same twice: a certificate and its key are rarely written
/// at the same moment.
struct FileWatcher {
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
