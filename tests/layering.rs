//! The arrows between modules, held against the order of the `mod` lines in `src/lib.rs`: a module uses only what stands
//! above it. One package gives no help of the compiler's for that.
//!
//! Test code may reach further down (the tests of an edge make themselves a store), so what is under `#[cfg(test)]` is
//! left out, whether it stands in place or in a file of its own.

#[path = "layering/source.rs"]
mod source;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use source::{Source, modules_in_order};

/// Arrows that the order would allow and the design does not: the first may not use the others.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("cli", &["store", "access", "vault"]),
    ("http", &["store", "crypto"]),
    // It looks and changes nothing: what opens a vault takes its lock.
    ("doctor", &["store", "access", "vault", "http"]),
];

/// One use of a module by another.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    from: String,
    to: String,
    file: PathBuf,
    line: usize,
}

/// Why an arrow may not be, if it may not.
fn objection(order: &[String], arrow: &Arrow) -> Option<String> {
    let place = |module: &str| order.iter().position(|known| known == module);
    let at = format!("{}:{}", arrow.file.display(), arrow.line);
    if arrow.from == arrow.to {
        return None;
    }
    let (Some(from), Some(to)) = (place(&arrow.from), place(&arrow.to)) else {
        return Some(format!("{at}: `{}` uses `{}`, which is no module of src/lib.rs", arrow.from, arrow.to));
    };
    if to > from {
        return Some(format!("{at}: `{}` uses `{}`, which stands below it in src/lib.rs", arrow.from, arrow.to));
    }
    let forbidden = FORBIDDEN.iter().any(|(module, others)| *module == arrow.from && others.contains(&&*arrow.to));
    forbidden.then(|| format!("{at}: `{}` may not use `{}`, though it stands above it", arrow.from, arrow.to))
}

/// The arrows of a tree of sources: the path below `src`, and the text.
fn arrows(files: &[(PathBuf, String)]) -> Vec<Arrow> {
    let sources: Vec<Source> = files.iter().map(|(file, text)| Source::read(file, text)).collect();
    let of_tests: BTreeSet<&[String]> =
        sources.iter().flat_map(|source| source.test_modules.iter().map(Vec::as_slice)).collect();
    let mut arrows = Vec::new();
    for source in &sources {
        let of_test = of_tests.iter().any(|test| source.module.starts_with(test));
        // The library's root names every module, and the binary is another crate: neither is in a layer.
        let Some(from) = source.module.first().filter(|_| !of_test) else { continue };
        for (to, line) in &source.root_names {
            arrows.push(Arrow { from: from.clone(), to: to.clone(), file: source.file.clone(), line: *line });
        }
    }
    arrows
}

fn rust_files(directory: &Path, root: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, root, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path.strip_prefix(root).unwrap().to_owned(), text));
        }
    }
}

#[test]
fn every_module_uses_only_what_stands_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &root, &mut files);
    files.sort();
    let order = modules_in_order(&fs::read_to_string(root.join("lib.rs")).unwrap());
    for (module, others) in FORBIDDEN {
        assert!(order.iter().any(|known| known == module), "there is no module `{module}` to hold to its rule");
        assert!(others.iter().all(|other| order.iter().any(|known| known == other)), "{others:?}");
    }
    let arrows = arrows(&files);
    // A checker that sees no arrows finds no fault: these two are the spine of the design.
    for (from, to) in [("http", "vault"), ("vault", "store")] {
        assert!(arrows.iter().any(|arrow| arrow.from == from && arrow.to == to), "no use of {to} by {from} was seen");
    }
    let objections: BTreeSet<String> = arrows.iter().filter_map(|arrow| objection(&order, arrow)).collect();
    assert!(objections.is_empty(), "{}", objections.into_iter().collect::<Vec<_>>().join("\n"));
}

/// The objections to made-up sources, under the order `low`, `store`, `access`, `vault`, `cli`, `http`.
fn objections_to(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<_> = files.iter().map(|(file, text)| (PathBuf::from(file), (*text).to_owned())).collect();
    let order = modules_in_order(
        "pub mod low; pub mod store; mod access; pub mod vault; pub mod cli;\npub mod http; // mod x;",
    );
    assert_eq!(order, ["low", "store", "access", "vault", "cli", "http"]);
    // One path that names a module twice is one objection.
    let objections: BTreeSet<String> = arrows(&files).iter().filter_map(|arrow| objection(&order, arrow)).collect();
    objections.into_iter().collect()
}

#[test]
fn an_arrow_that_points_down_is_found_however_it_is_written() {
    let uses = [
        "use crate::vault::Vault;",
        "use crate::{low, vault};",
        "use crate::{low::{a, b}, vault::{self, c}};",
        "pub(crate) use crate::vault as strongbox;",
        "fn f() { let x = crate::vault::Vault::<u8>::new(); }",
        "fn f(x: &dyn crate::vault::Open) {}",
        "macro_rules! m { () => { $crate::vault::f() } }",
        "use super::vault::Vault;",
        "use super::{low, vault};",
        "mod inner { use super::super::vault::Vault; }",
        "mod inner { fn f() {} } use super::vault::Vault;",
        "use self::super::vault;",
        "#[derive(X)] #[x(with = \"y\")] struct S(crate::vault::V);",
        "const C: char = '\"'; const D: u8 = b'\\''; use crate::vault::V; const E: char = '\"';",
        "const R: &str = r#\" \" \"#; use crate::vault::V; const S: &str = \"\";",
        "fn f<'a>(x: &'a str) {} use crate::vault::V; // '",
        "/* /* */ */ use crate::vault::V;",
        "#[cfg(test)] use crate::low; use crate::vault::V;",
        "#[cfg(test)] fn f(x: [u8; 3]) { if true { } } use crate::vault::V;",
        "#[cfg(not(test))] use crate::vault::V;",
    ];
    for text in uses {
        let found = objections_to(&[("store.rs", text)]);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains("`store` uses `vault`, which stands below it"), "{text}: {found:?}");
    }
    assert_eq!(objections_to(&[("store/a/b.rs", "use super::super::super::vault::V;")]).len(), 1);
    assert_eq!(objections_to(&[("store/a/mod.rs", "\n\nuse super::super::vault::V;")]).len(), 1);
    let nested = objections_to(&[("store/a.rs", "\n\nuse super::super::{low, vault::V};")]);
    assert_eq!(nested, ["store/a.rs:3: `store` uses `vault`, which stands below it in src/lib.rs"]);
}

#[test]
fn arrows_that_may_be_are_left_alone() {
    let uses = [
        "use crate::low::Low; use crate::store::inner;",
        "use super::low;",
        "mod a { mod b {} } mod c { use super::a; }",
        "//! [`crate::vault`]\n/// See crate::vault.\nfn f() {} // crate::vault",
        "const S: &str = \"crate::vault \\\" crate::vault\"; const R: &str = r\"crate::vault\";",
        "#[cfg(test)]\nmod tests {\n    use crate::vault::V;\n    fn f() {}\n}",
        "#[cfg(test)] use crate::vault::{A, B};",
        "#[cfg(test)] #[derive(X)] struct S { a: crate::vault::V }",
        "fn f() { other::crate_::vault(); let vault = 1; }",
        "pub(in crate::store) fn f() {}",
    ];
    for text in uses {
        assert_eq!(objections_to(&[("store.rs", text)]), Vec::<String>::new(), "{text}");
    }
    // The tests of a module, in a file of their own.
    let files = [
        ("store/mod.rs", "#[cfg(test)]\nmod checks; mod engine;"),
        ("store/checks.rs", "use crate::vault::V;"),
        ("store/checks/deep.rs", "use crate::vault::V;"),
    ];
    assert_eq!(objections_to(&files), Vec::<String>::new());
    assert_eq!(objections_to(&[files[0], ("store/engine.rs", "use crate::vault::V;")]).len(), 1);
    // Neither the root of the library nor the binary is in a layer.
    assert_eq!(objections_to(&[("lib.rs", "pub use crate::vault::V;"), ("main.rs", "use crate::x;")]), [""; 0]);
}

#[test]
fn the_tighter_rules_and_unknown_names_are_objected_to() {
    for (file, text) in [
        ("cli/run.rs", "use crate::vault::V;"),
        ("cli/run.rs", "use crate::store::S;"),
        ("cli.rs", "use crate::access::A;"),
        ("http/mod.rs", "use crate::{low, store};"),
    ] {
        let found = objections_to(&[(file, text)]);
        assert!(found.len() == 1 && found[0].contains("may not use"), "{text}: {found:?}");
    }
    for text in ["use crate::Nothing;", "use crate as everything;", "use crate::*;", "use super::*;"] {
        let found = objections_to(&[("store.rs", text)]);
        assert!(found.len() == 1 && found[0].contains("is no module of src/lib.rs"), "{text}: {found:?}");
    }
}
