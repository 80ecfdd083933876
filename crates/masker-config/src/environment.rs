//! A copy of the environment variables, so that tests need not change those of the process.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

use zeroize::Zeroize;

/// A copy of the environment of a process. It may contain keys, so it is wiped when it is dropped, and has no `Debug`.
pub struct Environment(BTreeMap<OsString, OsString>);

impl FromIterator<(OsString, OsString)> for Environment {
    /// Collects variables, as [`std::env::vars_os`] returns them. If a name occurs twice, the last value counts.
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        let mut environment = Environment(BTreeMap::new());
        for (name, value) in variables {
            if let Some(replaced) = environment.0.insert(name, value) {
                wipe(replaced);
            }
        }
        environment
    }
}

impl Environment {
    /// Returns the value of a variable.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Returns the value of a setting. An empty variable counts as unset.
    pub fn setting(&self, name: &str) -> Option<&OsStr> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Returns every variable, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        while let Some((_, value)) = self.0.pop_first() {
            wipe(value);
        }
    }
}

fn wipe(value: OsString) {
    value.into_encoded_bytes().zeroize();
}
