//! `recover.toml`: what an operator has accepted so that the daemon starts.
//!
//! Each entry describes one state exactly: a loss with its positions, keys by their fingerprints. It has no effect in any other
//! state, so the file can stay. It lies beside `masker.toml`, where the vault's own writer must not be able to write: a
//! program that can change the vault must not be able to accept the change.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use masker_core::document::{Document, Section};
use masker_files::PendingFile;
use masker_types::limits::TEXT_FILE_BYTES_MAX;

/// The name of the file.
const FILE: &str = "recover.toml";
/// The mode bits of other users than the owner that let them write.
const OTHERS_WRITE: u32 = 0o022;
/// Root.
const ROOT: u32 = 0;
/// The value of a field that has none.
pub const NONE: &str = "none";

/// What can be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AcceptedKind {
    /// Commits of the vault are lost, or its witness is.
    Loss,
    /// A new vault, or another one, takes the place of the one that the audit log has recorded.
    NewVault,
    /// No loaded key opens the vault's control key: it gets a new one.
    NewControlKey,
    /// A key that had been replaced is active again.
    KeyRollback,
    /// The chain of the audit log is broken.
    AuditBreak,
    /// The clock is far past the audit log's last event.
    Clock,
}

impl AcceptedKind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Loss, Self::NewVault, Self::NewControlKey, Self::KeyRollback, Self::AuditBreak, Self::Clock];

    /// Returns the name, as in the file and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            AcceptedKind::Loss => "loss",
            AcceptedKind::NewVault => "new-vault",
            AcceptedKind::NewControlKey => "new-control-key",
            AcceptedKind::KeyRollback => "key-rollback",
            AcceptedKind::AuditBreak => "audit-break",
            AcceptedKind::Clock => "clock",
        }
    }

    /// Returns the fields that describe a state. Each begins with the vault's id.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            AcceptedKind::Loss => &["vault", "reason", "lost", "witness", "recorded"],
            AcceptedKind::NewVault => &["vault", "previous", "recorded", "create"],
            AcceptedKind::NewControlKey => &["vault", "position", "holders"],
            AcceptedKind::KeyRollback => &["vault", "kid", "active", "replaced_by", "since"],
            AcceptedKind::AuditBreak => &["vault", "segment", "line"],
            AcceptedKind::Clock => &["vault", "trusted_time", "clock"],
        }
    }
}

/// A state that a start refuses, or that an operator has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptableState {
    /// What it is.
    pub kind: AcceptedKind,
    /// The contents of the fields, in their order.
    texts: Vec<String>,
}

impl AcceptableState {
    /// Returns a state. `contents` are those of [`AcceptedKind::fields`], in their order.
    pub fn new<const N: usize>(kind: AcceptedKind, contents: [String; N]) -> Self {
        debug_assert_eq!(kind.fields().len(), N);
        AcceptableState { kind, texts: contents.into() }
    }

    /// Returns the fields with their contents.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.kind.fields().iter().copied().zip(self.texts.iter().map(String::as_str))
    }

    /// Returns the value of a field; an empty text if the kind has no such field.
    pub fn field(&self, name: &str) -> &str {
        self.fields().find(|(field, _)| *field == name).map_or("", |(_, value)| value)
    }

    fn read(section: &Section<'_>) -> Option<Self> {
        let choices = AcceptedKind::ALL.map(|kind| (kind.as_str(), kind));
        if !section.has("what") {
            section.report_missing("what", "`masker recover` writes it");
        }
        let kind = section.choice("what", &choices)?.value;
        let mut texts = Vec::new();
        for field in kind.fields() {
            if !section.has(field) {
                section.report_missing(field, "`masker recover` writes it");
            }
            texts.push(section.string(field)?.value.to_owned());
        }
        section.finish();
        Some(AcceptableState { kind, texts })
    }

    fn write(&self, text: &mut String) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "\n[[accept]]\nwhat = \"{}\"", self.kind.as_str());
        for (name, value) in self.fields() {
            // Text without control characters, as all contents are, is the same in JSON and in TOML.
            let value: String = value.chars().filter(|character| !character.is_control()).collect();
            let _ = writeln!(text, "{name} = \"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
        }
    }
}

/// The states that an operator has accepted.
#[derive(Clone, Debug, Default)]
pub struct AcceptedStates {
    states: Vec<AcceptableState>,
}

/// Why the file is not used. The text continues after its path.
#[derive(Debug, thiserror::Error)]
pub enum AcceptanceError {
    /// It cannot be read or written.
    #[error("cannot be used: {0}")]
    Io(#[from] io::Error),
    /// It is not a regular file.
    #[error("is not a regular file: it is not read; remove it, and run `masker recover` again")]
    NotRegular,
    /// Others than those who may accept something can write it.
    #[error(
        "belongs to user {owner} with mode {mode:04o}, and must belong to {}, and others must not be able to write it: it is not read; \
         remove it, and run `masker recover` again", allowed(*runs_as)
    )]
    Exposed {
        /// The uid of the owner.
        owner: u32,
        /// The permission bits.
        mode: u32,
        /// The uid of the daemon, if the configuration is its own.
        runs_as: Option<u32>,
    },
    /// It is not what `masker recover` writes.
    #[error("is invalid: {0}; remove it, and run `masker recover` again")]
    Invalid(String),
}

fn allowed(runs_as: Option<u32>) -> String {
    runs_as.map_or_else(|| "root".to_owned(), |uid| format!("root or user {uid}"))
}

impl AcceptedStates {
    /// Returns the path of the file that belongs to a configuration file.
    pub fn path(config: &Path) -> PathBuf {
        config.with_file_name(FILE)
    }

    /// Reads the file beside a configuration file, for a daemon that runs as this user. Without a file, nothing is accepted.
    ///
    /// # Errors
    /// [`AcceptanceError`], also if the daemon could write the file although the configuration is not its own.
    pub fn read(config: &Path, runs_as: u32) -> Result<Self, AcceptanceError> {
        let path = Self::path(config);
        let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(&path);
        let file = match open {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(AcceptedStates::default()),
            // A link.
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(AcceptanceError::NotRegular),
            opened => opened?,
        };
        let own = own_configuration(config, runs_as)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(AcceptanceError::NotRegular);
        }
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        if (owner != ROOT && Some(owner) != own) || mode & OTHERS_WRITE != 0 {
            return Err(AcceptanceError::Exposed { owner, mode, runs_as: own });
        }
        Self::parse(file)
    }

    fn parse(file: File) -> Result<Self, AcceptanceError> {
        let mut text = String::new();
        file.take(TEXT_FILE_BYTES_MAX).read_to_string(&mut text)?;
        let document = Document::parse(&text);
        let root = document.root();
        let states = root.list("accept").iter().filter_map(AcceptableState::read).collect();
        root.finish();
        match document.into_problems().first() {
            None => Ok(AcceptedStates { states }),
            Some(problem) => Err(AcceptanceError::Invalid(format!("line {}: {}", problem.line, problem.message))),
        }
    }

    /// Returns the accepted states.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &AcceptableState> {
        self.states.iter()
    }

    /// Returns whether exactly this state is accepted.
    pub fn accepts(&self, state: &AcceptableState) -> bool {
        self.states.contains(state)
    }

    /// Returns whether accepting this state again would add nothing: it is accepted, but for the time of the clock or the id of a
    /// vault that is still to be created.
    pub fn covers(&self, state: &AcceptableState) -> bool {
        let is_same = |known: &AcceptableState, fields: &[&str]| {
            known.kind == state.kind && fields.iter().all(|field| known.field(field) == state.field(field))
        };
        self.states.iter().any(|known| match state.kind {
            AcceptedKind::Clock => is_same(known, &["vault", "trusted_time"]),
            AcceptedKind::NewVault if state.field("create") == "yes" => {
                is_same(known, &["previous", "recorded", "create"])
            }
            _ => known == state,
        })
    }

    /// Adds a state, unless it is [covered](Self::covers). A later time of the clock takes the place of an earlier one.
    pub fn add(&mut self, state: AcceptableState) {
        let is_clock = state.kind == AcceptedKind::Clock;
        if self.covers(&state) && !is_clock {
            return;
        }
        if is_clock {
            let trusted = state.field("trusted_time").to_owned();
            self.states.retain(|known| known.kind != AcceptedKind::Clock || known.field("trusted_time") != trusted);
        }
        self.states.push(state);
    }

    /// Writes the file beside a configuration file, as this user, who must be root or the owner of the configuration.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, config: &Path) -> io::Result<()> {
        let mut text = "# Made by `masker recover`. Each entry accepts exactly the state that it describes, and has no effect in any \
                        other,\n# so nothing here needs to be deleted.\n"
            .to_owned();
        self.states.iter().for_each(|state| state.write(&mut text));
        let mut file = PendingFile::create(&Self::path(config))?;
        file.write_all(text.as_bytes())?;
        // The daemon reads it as another user. It holds no secret.
        file.set_mode(0o644)?;
        file.persist(true)
    }
}

/// Returns the uid of the daemon if the configuration and its directory are its own, as those of a user are.
fn own_configuration(config: &Path, runs_as: u32) -> io::Result<Option<u32>> {
    let directory = config.parent().unwrap_or(Path::new("/"));
    let is_own = |path: &Path| Ok::<bool, io::Error>(std::fs::metadata(path)?.uid() == runs_as);
    Ok((is_own(config)? && is_own(directory)?).then_some(runs_as))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    fn clock(time: &str) -> AcceptableState {
        AcceptableState::new(AcceptedKind::Clock, ["ab".to_owned(), time.to_owned(), "later \\ \"x\"".to_owned()])
    }

    #[test]
    fn accepting_the_same_again_adds_nothing() {
        let text = str::to_owned;
        let vault = |id: &str, create: &str| {
            AcceptableState::new(AcceptedKind::NewVault, [text(id), text("before"), text("1.9"), text(create)])
        };
        let at = |clock: &str| AcceptableState::new(AcceptedKind::Clock, [text("ab"), text("trusted"), text(clock)]);
        let mut accepted = AcceptedStates::default();
        for state in [vault("a", "yes"), vault("b", "yes"), vault("c", "no"), vault("d", "no"), at("1"), at("2")] {
            accepted.add(state.clone());
            assert!(accepted.covers(&state));
        }
        assert_eq!(accepted.states, [vault("a", "yes"), vault("c", "no"), vault("d", "no"), at("2")]);
        assert!(accepted.covers(&at("3")) && !accepted.accepts(&at("3")));
    }

    #[test]
    fn what_is_written_is_read_and_accepts_exactly_that() {
        let folder = tempfile::tempdir().unwrap();
        let (config, own) = (folder.path().join("masker.toml"), nix::unistd::geteuid().as_raw());
        fs::write(&config, "").unwrap();
        assert_eq!(AcceptedStates::read(&config, own).unwrap().iter().count(), 0);
        let mut accepted = AcceptedStates::default();
        for kind in AcceptedKind::ALL {
            let texts = kind.fields().iter().map(|field| format!("a {field}")).collect();
            accepted.add(AcceptableState { kind, texts });
        }
        accepted.add(clock("now"));
        accepted.add(clock("now"));
        accepted.write(&config).unwrap();
        let read = AcceptedStates::read(&config, own).unwrap();
        assert_eq!(read.states, accepted.states);
        assert_eq!(read.states.len(), 7);
        assert!(read.accepts(&clock("now")) && !read.accepts(&clock("then")));
        assert_eq!(clock("now").field("trusted_time"), "now");
    }

    #[test]
    fn a_file_that_others_can_write_or_that_is_damaged_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (config, own) = (folder.path().join("masker.toml"), nix::unistd::geteuid().as_raw());
        let path = AcceptedStates::path(&config);
        fs::write(&config, "").unwrap();
        let mut accepted = AcceptedStates::default();
        accepted.add(clock("now"));
        accepted.write(&config).unwrap();
        let error = || AcceptedStates::read(&config, own).unwrap_err().to_string();
        for mode in [0o664, 0o646] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(error().contains("others must not be able to write it"), "{}", error());
        }
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        if own == ROOT {
            // The daemon's user could write it, and the configuration is root's.
            std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
            let refused = AcceptedStates::read(&config, 65_534).unwrap_err().to_string();
            assert!(refused.contains("must belong to root, and"), "{refused}");
            // The configuration of a user's own daemon.
            for own in [folder.path(), &config] {
                std::os::unix::fs::chown(own, Some(65_534), None).unwrap();
            }
            AcceptedStates::read(&config, 65_534).unwrap();
            for own in [folder.path(), &config, &path] {
                std::os::unix::fs::chown(own, Some(0), None).unwrap();
            }
        }
        for text in
            ["[[accept]]\n", "[[accept]]\nwhat = \"all\"\n", "[[accept]]\nwhat = \"clock\"\n", "x = 1\n", "accept = ["]
        {
            fs::write(&path, text).unwrap();
            assert!(error().starts_with("is invalid: line "), "{text}: {}", error());
        }
        fs::remove_file(&path).unwrap();
        symlink(&config, &path).unwrap();
        assert!(error().contains("not a regular file"), "{}", error());
    }
}
