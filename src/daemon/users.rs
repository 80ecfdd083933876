//! The users and groups that clients of the configuration name.
//!
//! The sandbox refuses all connections, and so the daemon cannot ask a directory service any more. What such a service
//! answered before is remembered, and a reload finds it again.

use std::{
    collections::HashMap,
    fs,
    sync::{Mutex, PoisonError},
};

use masker_access::{HostUsers, UserDatabase};

/// Users and groups: those of the host's files as they are, and those of directory services as they were at the start.
pub(super) struct Users<D = HostUsers> {
    database: D,
    /// Ids by file and name; `None` where the sandbox refuses no connection.
    remembered: Option<Mutex<HashMap<(&'static str, String), u32>>>,
}

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

impl Users {
    /// Returns the users of this host. `remember` is whether the sandbox will refuse connections.
    pub(super) fn of_host(remember: bool) -> Self {
        Users::new(HostUsers, remember)
    }
}

impl<D: UserDatabase> Users<D> {
    fn new(database: D, remember: bool) -> Self {
        Users { database, remembered: remember.then(Mutex::default) }
    }

    fn find(&self, file: &'static str, name: &str, found: Result<Option<u32>, String>) -> Result<Option<u32>, String> {
        let Some(remembered) = &self.remembered else { return found };
        let mut remembered = remembered.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            // Entries of the file need no service: if one is removed, that counts.
            Ok(Some(id)) if is_in_file(file, name) => {
                remembered.remove(&(file, name.to_owned()));
                Ok(Some(id))
            }
            Ok(Some(id)) => {
                remembered.insert((file, name.to_owned()), id);
                Ok(Some(id))
            }
            other => remembered.get(&(file, name.to_owned())).map_or(other, |id| Ok(Some(*id))),
        }
    }
}

impl<D: UserDatabase> UserDatabase for Users<D> {
    fn uid(&self, name: &str) -> Result<Option<u32>, String> {
        self.find(USERS, name, self.database.uid(name))
    }

    fn gid(&self, name: &str) -> Result<Option<u32>, String> {
        self.find(GROUPS, name, self.database.gid(name))
    }
}

fn is_in_file(file: &str, name: &str) -> bool {
    let is_entry = |line: &str| line.split(':').next() == Some(name);
    fs::read_to_string(file).is_ok_and(|text| text.lines().any(is_entry))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A user of a directory service, which answers only before the sandbox, and the host's own root.
    struct Directory {
        answers: Cell<bool>,
        local: Cell<bool>,
    }

    impl UserDatabase for &Directory {
        fn uid(&self, name: &str) -> Result<Option<u32>, String> {
            match name {
                "masker-of-a-directory" => Ok(self.answers.get().then_some(70_000)),
                "root" => Ok(self.local.get().then_some(0)),
                _ => Ok(None),
            }
        }

        fn gid(&self, name: &str) -> Result<Option<u32>, String> {
            if self.answers.get() { self.uid(name) } else { Err("no response".to_owned()) }
        }
    }

    #[test]
    fn remembers_what_a_directory_service_answered_and_nothing_else() {
        let directory = Directory { answers: true.into(), local: true.into() };
        let (users, without) = (Users::new(&directory, true), Users::new(&directory, false));
        let ids = |users: &Users<&Directory>| {
            ["masker-of-a-directory", "root", "masker-no-such-user"].map(|name| users.uid(name).unwrap())
        };
        assert_eq!((ids(&users), ids(&without)), ([Some(70_000), Some(0), None], [Some(70_000), Some(0), None]));
        assert_eq!(users.gid("masker-of-a-directory"), Ok(Some(70_000)));
        directory.answers.set(false);
        directory.local.set(false);
        assert_eq!((ids(&users), ids(&without)), ([Some(70_000), None, None], [None, None, None]));
        assert_eq!(users.gid("masker-of-a-directory"), Ok(Some(70_000)));
        assert!(users.gid("masker-no-such-group").is_err());
    }
}
