//! The databases of a directory that has several, although a vault has one: what an operator needs to know to choose.

use std::{fs, path::Path, time::SystemTime};

use masker_types::engine::EngineKind;

use super::{
    database::EngineDriver,
    engine::Engine,
    engine_error::EngineError,
    engine_lookup::find_driver,
    manifest::Manifest,
    open::ScratchFolder,
    panics::catch_panic,
    paths::{DataDirectoryLock, VaultPaths, files_under},
};

/// Memory for the engine's cache. Only one row is read.
const CACHE_BYTES: u64 = 1024 * 1024;

/// A database in a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundDatabase {
    /// Its engine.
    pub engine: EngineKind,
    /// What it must contain as of its last commit; `None` if that cannot be read.
    pub manifest: Option<Manifest>,
    /// When a file of it was last changed. A copy can have a later time than what was copied.
    pub changed: Option<SystemTime>,
}

/// Returns the databases in a data directory. Changes none of them: an engine that must open a database to read it gets a
/// copy. If another process has locked the directory, they are not read. Blocks.
pub fn found_databases(data_dir: &Path, engines: &[&'static dyn EngineDriver]) -> Vec<FoundDatabase> {
    let paths = VaultPaths { root: data_dir.to_owned(), kind: EngineKind::default() };
    let lock = DataDirectoryLock::take(&paths).ok();
    let existing = paths.for_each_engine().filter(|paths| paths.database().exists());
    let found = existing.map(|paths| {
        let driver = find_driver(engines, paths.kind, data_dir).ok().filter(|_| lock.is_some());
        FoundDatabase {
            engine: paths.kind,
            manifest: driver.and_then(|driver| last_manifest(&paths, driver).ok().flatten()),
            changed: last_change(&paths.database()),
        }
    });
    found.collect()
}

fn last_manifest(paths: &VaultPaths, driver: &'static dyn EngineDriver) -> Result<Option<Manifest>, EngineError> {
    let database = paths.database();
    if let Some(manifest) = catch_panic(|| driver.last_manifest(&database))?? {
        return Ok(Some(manifest));
    }
    let scratch = ScratchFolder::create(paths)?;
    driver.copy(&database, &scratch.folder)?;
    let (engine, manifest) = Engine::open(driver, &scratch.folder, CACHE_BYTES)?;
    engine.close();
    Ok(manifest)
}

fn last_change(database: &Path) -> Option<SystemTime> {
    let changed = |file| fs::metadata(file).and_then(|file| file.modified()).ok();
    files_under(database).ok()?.into_iter().filter_map(changed).max()
}
