//! A full disk: an error, no loss, and service again when there is room.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use masker_store::{ApplyOutcome, Store, StoreError, embedded::EmbeddedStore};
use masker_types::{engine::EngineKind, limits::STORE_COMPACTION_ROOM_BYTES_MIN};

use crate::{
    compaction::{begun, is_left_over},
    options, runtime, scratch,
    workload::{Model, Workload, differences},
};

on_each_engine!(
    a_full_disk_loses_nothing_and_the_store_recovers,
    a_store_can_be_closed_while_it_reopens,
    a_compaction_without_room_changes_nothing,
);

/// A small file system, which is unmounted when dropped.
pub struct SmallDisk {
    pub path: PathBuf,
    _folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts it, which needs root.
    pub fn mount(megabytes: u32) -> Result<Self, String> {
        let folder = scratch();
        let path = folder.path().join("disk");
        fs::create_dir(&path).unwrap();
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=0700"), "tmpfs"])
            .arg(&path)
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(SmallDisk { path, _folder: folder })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// Fills the file system except for `left` bytes. Other writers may fill it meanwhile.
pub fn fill(disk: &Path, left: u64) -> PathBuf {
    let ballast = disk.join("ballast");
    let free = nix::sys::statvfs::statvfs(disk).unwrap();
    let bytes = (free.blocks_available() as u64 * free.fragment_size() as u64).saturating_sub(left);
    match fs::write(&ballast, vec![1; bytes as usize]) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
        written => written.unwrap(),
    }
    ballast
}

fn a_full_disk_loses_nothing_and_the_store_recovers(engine: EngineKind) {
    let disk = match SmallDisk::mount(24) {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: a small file system cannot be mounted here: {reason}"),
    };
    let root = disk.path.join("vault");
    let store = EmbeddedStore::open(&root, options(engine)).unwrap();
    let mut workload = Workload::new(81, 2_000, false);
    let model = runtime().block_on(async {
        let mut model = Model::default();
        for round in 0..3 {
            for _ in 0..30 {
                let batch = workload.batch();
                model.apply(&batch);
                assert_eq!(store.apply(batch).await.unwrap(), ApplyOutcome::Durable);
            }
            let ballast = fill(&disk.path, 100_000);
            let (failed, error) = loop {
                let batch = workload.batch();
                match store.apply(batch.clone()).await {
                    Ok(_) => model.apply(&batch),
                    Err(error) => break (batch, error),
                }
            };
            assert!(matches!(error, StoreError::Unavailable(_)), "round {round}: {error}");
            // Until there is room, writes fail and no acknowledged row is lost.
            assert!(store.apply(workload.batch()).await.is_err());

            fs::remove_file(ballast).unwrap();
            serves_again(&store).await;
            // The batch that failed is there completely or not at all.
            let mut with_failed = model.clone();
            with_failed.apply(&failed);
            let (old, new) = (differences(&store, &model).await, differences(&store, &with_failed).await);
            assert!(old.is_ok() || new.is_ok(), "round {round}: {old:?}, {new:?}");
            model = if old.is_ok() { model } else { with_failed };
        }
        store.close().await.unwrap();
        model
    });
    drop(store);
    let store = EmbeddedStore::open(&root, options(engine)).unwrap();
    assert_eq!(runtime().block_on(differences(&store, &model)), Ok(()));
    runtime().block_on(store.close()).unwrap();
}

fn a_store_can_be_closed_while_it_reopens(engine: EngineKind) {
    let disk = match SmallDisk::mount(16) {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: a small file system cannot be mounted here: {reason}"),
    };
    let root = disk.path.join("vault");
    let store = EmbeddedStore::open(&root, options(engine)).unwrap();
    let ballast = fill(&disk.path, 50_000);
    let mut workload = Workload::new(82, 2_000, false);
    runtime().block_on(async {
        while store.apply(workload.batch()).await.is_ok() {}
        store.close().await.unwrap();
        assert!(matches!(store.check().await, Err(StoreError::Unavailable(_))));
    });
    fs::remove_file(ballast).unwrap();
    let again = EmbeddedStore::open(&root, options(engine)).unwrap();
    assert!(runtime().block_on(again.check()).unwrap().sound);
    runtime().block_on(again.close()).unwrap();
}

fn a_compaction_without_room_changes_nothing(engine: EngineKind) {
    let disk = match SmallDisk::mount(96) {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: a small file system cannot be mounted here: {reason}"),
    };
    let root = disk.path.join("vault");
    let store = EmbeddedStore::open(&root, options(engine)).unwrap();
    let (mut workload, mut model) = (Workload::new(83, 4_000, true), Model::default());
    runtime().block_on(async {
        for _ in 0..150 {
            let batch = workload.batch();
            model.apply(&batch);
            store.apply(batch).await.unwrap();
        }
        let needed = store.compact().await.unwrap().bytes_after;
        // No room, no room besides the writer's, and room for half of the rows.
        for left in [0, STORE_COMPACTION_ROOM_BYTES_MIN, STORE_COMPACTION_ROOM_BYTES_MIN + needed / 2] {
            let ballast = fill(&disk.path, left);
            let writing = async {
                for _ in 0..if left == 0 { 0 } else { 20 } {
                    let batch = workload.batch();
                    model.apply(&batch);
                    assert_eq!(store.apply(batch).await.unwrap(), ApplyOutcome::Durable, "{left} left");
                }
            };
            let (compacted, ()) = tokio::join!(store.compact(), writing);
            let error = compacted.unwrap_err();
            assert!(matches!(error, StoreError::Uncompacted(_)), "{left} left: {error}");
            assert!(!is_left_over(&root), "{left} left");
            // The store served all the time.
            assert_eq!(differences(&store, &model).await, Ok(()), "{left} left");
            fs::remove_file(ballast).unwrap();
        }
        // Room that is taken during the compaction.
        for _ in 0..5 {
            let compacting = begun(&store, &root).await;
            let ballast = fill(&disk.path, 0);
            let compacted = compacting.await;
            assert!(matches!(compacted, Ok(_) | Err(StoreError::Uncompacted(_))), "{compacted:?}");
            assert!(!is_left_over(&root));
            assert_eq!(differences(&store, &model).await, Ok(()));
            fs::remove_file(ballast).unwrap();
        }
        store.compact().await.unwrap();
        assert_eq!(differences(&store, &model).await, Ok(()));
        store.close().await.unwrap();
    });
    drop(store);
    let store = EmbeddedStore::open(&root, options(engine)).unwrap();
    assert_eq!(runtime().block_on(differences(&store, &model)), Ok(()));
    runtime().block_on(store.close()).unwrap();
}

/// Waits until the store serves again. It retries with pauses of up to 5 seconds.
async fn serves_again(store: &EmbeddedStore) {
    let begun = Instant::now();
    while store.check().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the store does not recover");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
