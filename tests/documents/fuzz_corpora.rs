//! Checks the properties of the fuzz targets on each file of `fuzz/corpus/`.
//!
//! `make fuzz` looks for new inputs.

#[path = "../../fuzz/src/lib.rs"]
mod properties;

use std::{fs, path::Path};

/// Runs the property of a target on each file of its corpus.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    assert!(paths.len() >= 5, "{}: only {} files", folder.display(), paths.len());
    for path in paths {
        let bytes = fs::read(&path).expect("a file of the repository");
        // If the property fails, this is the last line of the output.
        println!("{}", path.display());
        check(&bytes);
    }
}

macro_rules! replayed {
    ($($target:ident),* $(,)?) => {
        $(#[test] fn $target() { replay(stringify!($target), properties::$target::check); })*

        /// Compares the replayed targets with the files in `fuzz/fuzz_targets/`.
        #[test]
        fn each_target_is_replayed() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
            let mut targets: Vec<_> = fs::read_dir(folder)
                .expect("the targets")
                .map(|file| file.expect("a file").path().file_stem().expect("a name").to_string_lossy().into_owned())
                .collect();
            targets.sort();
            let mut replayed = vec![$(stringify!($target).to_owned()),*];
            replayed.sort();
            assert_eq!(targets, replayed);
        }
    };
}

replayed!(token, policy, configuration, request, audit, export, row, table, mask, restore, stream);
