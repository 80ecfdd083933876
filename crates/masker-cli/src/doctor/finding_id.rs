//! The identifiers of what doctor finds. Each has a page in the book.

use serde::{Serialize, Serializer};

macro_rules! finding_ids {
    ($($(#[$meta:meta])* $variant:ident = $name:literal;)*) => {
        /// What is wrong, or why it is not known. The name does not change between versions, and is that of a page.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FindingId {
            $($(#[$meta])* $variant,)*
        }

        impl FindingId {
            /// Every identifier.
            pub const ALL: &'static [FindingId] = &[$(FindingId::$variant,)*];

            /// Returns the name.
            pub const fn as_str(self) -> &'static str {
                match self { $(FindingId::$variant => $name,)* }
            }

            /// Returns the path of its page in the book's source.
            pub const fn page(self) -> &'static str {
                match self { $(FindingId::$variant => concat!("operate/doctor/", $name, ".md"),)* }
            }
        }
    };
}

finding_ids! {
    /// A check could not look.
    NotChecked = "not-checked";
    /// The configuration is invalid.
    ConfigInvalid = "config-invalid";
    /// Another daemon, or another configuration, than the one that was examined is in use.
    OtherDaemon = "other-daemon";
    /// A policy is invalid.
    PolicyInvalid = "policy-invalid";
    /// Policies normalize a kind in different ways.
    PolicyNormalizers = "policy-normalizers";
    /// No policy names a key.
    PolicyKeyUnused = "policy-key-unused";
    /// Files that do not belong in the directories that the daemon reads.
    StrayFiles = "stray-files";
    /// Every user can change the configuration or the policies.
    FilesOpen = "files-open";
    /// A key is not there.
    KeyMissing = "key-missing";
    /// The file of an old key is not there.
    OldKeyFileMissing = "old-key-file-missing";
    /// What is there is not a key.
    KeyInvalid = "key-invalid";
    /// A file or a variable has a name that begins like that of a key and is none.
    KeyNameInvalid = "key-name-invalid";
    /// It is not clear which file a key is in.
    KeySourceInvalid = "key-source-invalid";
    /// An old key is there without the active key that replaced it.
    OldKeyAlone = "old-key-alone";
    /// An old key is the same as the active key.
    OldKeySame = "old-key-same";
    /// Two names have the same key.
    KeysEqual = "keys-equal";
    /// A key is in the place of another one.
    KeysSwapped = "keys-swapped";
    /// A key that was in use is in no file, and an unknown one is in its place.
    KeyReplaced = "key-replaced";
    /// The running daemon has not loaded keys that are in the files.
    KeysNotLoaded = "keys-not-loaded";
    /// A key looks like a passphrase or a placeholder.
    KeyWeak = "key-weak";
    /// Other users can read or replace a key.
    KeyFileOpen = "key-file-open";
    /// Keys are in variables.
    KeysInVariables = "keys-in-variables";
    /// There is an audit log, and its key is not there.
    AuditKeyMissing = "audit-key-missing";
    /// No audit log is written.
    AuditLogOff = "audit-log-off";
    /// A process has a secret in its environment.
    SecretInProcess = "secret-in-process";
    /// A unit file contains a secret.
    SecretInUnit = "secret-in-unit";
    /// A client takes rights from root or from the daemon's user.
    RootLimited = "root-limited";
    /// A gateway passes on more than the default ceiling.
    GatewayOpened = "gateway-opened";
    /// A gateway is root or the daemon's own user, so it is none.
    GatewayIgnored = "gateway-ignored";
    /// Others can replace the socket.
    SocketDirectoryOpen = "socket-directory-open";
    /// The group of the socket does not exist.
    SocketGroupMissing = "socket-group-missing";
    /// Every user can connect.
    SocketOpen = "socket-open";
    /// The socket is not as configured.
    SocketDiffers = "socket-differs";
    /// Something else is at the path of the socket.
    SocketNotASocket = "socket-not-a-socket";
    /// A directory of the daemon is not a directory.
    NotADirectory = "not-a-directory";
    /// A directory of the daemon belongs to another user.
    DirectoryOwner = "directory-owner";
    /// Others can enter or write to a directory of the daemon.
    DirectoryOpen = "directory-open";
    /// The vault that the audit log belongs to is not there.
    VaultMissing = "vault-missing";
    /// A vault has two databases.
    TwoDatabases = "two-databases";
    /// A disk is full or nearly full.
    DiskFull = "disk-full";
    /// There is a vault and a key for the audit log, and no audit log.
    AuditLogMissing = "audit-log-missing";
    /// The audit log does not verify.
    AuditLogBroken = "audit-log-broken";
    /// The clock is before times that were recorded.
    ClockBehind = "clock-behind";
    /// The clock is far past times that were recorded, or was.
    ClockAhead = "clock-ahead";
    /// Memory is swapped to a disk without encryption.
    SwapPlain = "swap-plain";
    /// Core dumps are written.
    CoreDumps = "core-dumps";
    /// Too little memory can be locked.
    LockedMemory = "locked-memory";
    /// The kernel lacks a feature.
    KernelFeature = "kernel-feature";
    /// A start is refused.
    StartRefused = "start-refused";
    /// A part of the daemon is degraded.
    DaemonDegraded = "daemon-degraded";
    /// The daemon does not answer as it should.
    DaemonSilent = "daemon-silent";
    /// The daemon has another version than this program.
    DaemonVersion = "daemon-version";
    /// Records need a key that is not loaded.
    RecordsWithoutKey = "records-without-key";
    /// Nothing needs an old key any more.
    OldKeyRemovable = "old-key-removable";
    /// The grace period of an old key is over.
    OldKeyOverdue = "old-key-overdue";
    /// The daemon has read damaged rows.
    VaultDamaged = "vault-damaged";
    /// Events of the audit log were lost.
    AuditEventsLost = "audit-events-lost";
    /// Honeytokens were presented.
    HoneytokenPresented = "honeytoken-presented";
    /// A part of the daemon's sandbox is not in force.
    SandboxOpen = "sandbox-open";
}

impl Serialize for FindingId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
