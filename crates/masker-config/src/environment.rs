//! Environment variables as a value, so that what depends on them can be tested without touching the process's own.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

use zeroize::Zeroize;

/// A copy of a process's environment. It is wiped when it is dropped and has no `Debug`: it may hold keys.
pub struct Environment(BTreeMap<OsString, OsString>);

impl FromIterator<(OsString, OsString)> for Environment {
    /// Takes over variables, as [`std::env::vars_os`] gives them. Of a name given twice the last one counts.
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
    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// The value of a setting: what an empty value would say is said by leaving the variable out, so an empty one
    /// counts as absent.
    pub fn setting(&self, name: &str) -> Option<&OsStr> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Every variable, in the order of names.
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
