//! The Debian packages, built with the development binaries: their contents, owners and reproducibility. `make test-deb`
//! installs it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use clap::CommandFactory;
use masker_cli::args::Arguments;
use tempfile::TempDir;
use xtask::papers;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Whether a program is here; otherwise prints that a test is skipped. CI must have it.
fn is_here(program: &str) -> bool {
    let missing = Command::new(program).arg("--version").output().err();
    if let Some(missing) = &missing {
        assert!(std::env::var_os("CI").is_none(), "{program} does not run: {missing}");
        eprintln!("skipped: {program} does not run here ({missing})");
    }
    missing.is_none()
}

fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Builds a package in a directory, with this umask and time zone.
fn package(name: &str, papers: &Path, output: &Path, umask: &str, zone: &str) -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_masker")).with_file_name(name);
    // The program of another package is not built with these tests alone. Any other one has the same place.
    let binary = if built.exists() { built } else { env!("CARGO_BIN_EXE_masker").into() };
    let packed = Command::new("/bin/sh")
        .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
        .arg(root().join("scripts/deb"))
        .args(["--package", name, "--binary"])
        .arg(binary)
        .arg("--papers")
        .arg(papers)
        .arg("--output")
        .arg(output)
        .args(["--compression", "none"])
        .env("SOURCE_DATE_EPOCH", "1767225600")
        .env("TZ", zone)
        .output()
        .unwrap();
    PathBuf::from(succeeded(packed).trim_end())
}

/// Returns mode, owner and type of each file in a package, by its path.
fn listing(package: &Path) -> BTreeMap<String, String> {
    let listed = succeeded(Command::new("dpkg-deb").arg("--contents").arg(package).output().unwrap());
    listed
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[5].trim_start_matches('.').to_owned(), words[..2].join(" "))
        })
        .collect()
}

#[test]
fn the_package_is_complete_and_reproducible() {
    if !is_here("dpkg-deb") {
        return;
    }
    let (papers, first, second) = (directory(), directory(), directory());
    papers::write(papers.path()).unwrap();
    let package_one = package("masker", papers.path(), first.path(), "0022", "UTC");
    let package_two = package("masker", papers.path(), second.path(), "0077", "Asia/Tokyo");
    assert!(fs::read(&package_one).unwrap() == fs::read(&package_two).unwrap(), "the same input, and other bytes");
    check(
        &package_one,
        "masker",
        "/etc/masker/masker.toml",
        &[
            "/usr/lib/systemd/system/masker.service",
            "/usr/lib/systemd/system/masker.socket",
            "/usr/lib/systemd/system/masker-backup.service",
            "/usr/lib/systemd/system/masker-backup.timer",
            "/usr/lib/sysusers.d/masker.conf",
            "/usr/lib/tmpfiles.d/masker.conf",
            "/usr/share/bash-completion/completions/masker",
            "/usr/share/zsh/vendor-completions/_masker",
            "/usr/share/fish/vendor_completions.d/masker.fish",
            "/usr/share/man/man1/masker.1.gz",
            "/usr/share/man/man5/masker.toml.5.gz",
            "/usr/share/man/man5/masker-policy.5.gz",
            "/usr/share/doc/masker/copyright",
            "/usr/share/doc/masker/changelog.gz",
            "/usr/share/doc/masker/README.md",
            "/usr/share/doc/masker/masker.cdx.json",
            "/usr/share/doc/masker/licences-of-dependencies.gz",
        ],
    );
}

#[test]
fn the_package_of_the_gateway_is_complete_and_shares_no_file() {
    if !is_here("dpkg-deb") {
        return;
    }
    let (papers, output) = (directory(), directory());
    papers::write(papers.path()).unwrap();
    let gateway = package("masker-gateway", papers.path(), output.path(), "0022", "UTC");
    check(
        &gateway,
        "masker-gateway",
        "/etc/masker/gateway.toml",
        &[
            "/usr/lib/systemd/system/masker-gateway.service",
            "/usr/lib/sysusers.d/masker-gateway.conf",
            "/usr/lib/tmpfiles.d/masker-gateway.conf",
            "/usr/share/man/man1/masker-gateway.1.gz",
            "/usr/share/man/man5/gateway.toml.5.gz",
            "/usr/share/doc/masker-gateway/copyright",
            "/usr/share/doc/masker-gateway/changelog.gz",
            "/usr/share/doc/masker-gateway/README.md",
            "/usr/share/doc/masker-gateway/masker-gateway.cdx.json",
            "/usr/share/doc/masker-gateway/licences-of-dependencies.gz",
        ],
    );
    let daemon = package("masker", papers.path(), output.path(), "0022", "UTC");
    let (gateway, daemon) = (listing(&gateway), listing(&daemon));
    let shared: Vec<&String> =
        gateway.keys().filter(|path| !path.ends_with('/') && daemon.contains_key(*path)).collect();
    assert!(shared.is_empty(), "dpkg refuses to install both: {shared:?}");
}

/// Checks the files of a package and its control files.
fn check(package: &Path, name: &str, configuration: &str, paths: &[&str]) {
    let listing = listing(package);
    for (path, what) in &listing {
        let expected = match path {
            path if path.ends_with('/') => "drwxr-xr-x root/root",
            path if *path == format!("/usr/bin/{name}") => "-rwxr-xr-x root/root",
            _ => "-rw-r--r-- root/root",
        };
        assert_eq!(what, expected, "{path}");
    }
    for path in paths {
        assert!(listing.contains_key(*path), "{path} is missing");
    }
    // Files that an administrator may change. An upgrade replaces all others.
    let control = package.with_extension("control");
    succeeded(Command::new("dpkg-deb").arg("--control").arg(package).arg(&control).output().unwrap());
    let conffiles: BTreeSet<String> =
        fs::read_to_string(control.join("conffiles")).unwrap().lines().map(str::to_owned).collect();
    let in_etc: BTreeSet<String> =
        listing.keys().filter(|path| path.starts_with("/etc/") && !path.ends_with('/')).cloned().collect();
    assert_eq!(conffiles, in_etc);
    assert!(in_etc.contains(configuration));
    let fields = fs::read_to_string(control.join("control")).unwrap();
    assert!(fields.contains(&format!("\nVersion: {}\n", env!("CARGO_PKG_VERSION"))), "{fields}");
    assert!(fields.starts_with(&format!("Package: {name}\n")), "{fields}");
    let unfilled = ["@VERSION@", "@ARCHITECTURE@", "@SIZE@", "@LIBC@", "@MAINTAINER@"];
    assert!(unfilled.iter().all(|field| !fields.contains(field)), "{fields}");
    for script in ["postinst", "prerm", "postrm"] {
        succeeded(Command::new("/bin/sh").arg("-n").arg(control.join(script)).output().unwrap());
    }
}

#[test]
fn licences_include_bundled_libraries() {
    let papers = directory();
    papers::write(papers.path()).unwrap();
    let licences = fs::read_to_string(papers.path().join("licences-of-dependencies")).unwrap();
    let texts: Vec<&str> = licences.split(&"=".repeat(80)).skip(1).collect();
    let of = |name: &str| -> Vec<&str> { texts.iter().copied().filter(|text| text.contains(name)).collect() };
    // Its licence is only beside jemalloc's source.
    assert!(of("\ntikv-jemalloc-sys ").iter().any(|text| text.contains("Jason Evans")));
    // zstd offers a choice of licences.
    let zstd = of("zstd-sys ");
    assert!(!zstd.is_empty() && zstd.iter().all(|text| !text.contains("GNU GENERAL PUBLIC LICENSE")));
}

#[test]
fn each_command_has_a_man_page() {
    fn names(command: &clap::Command, name: &str, into: &mut BTreeSet<String>) {
        into.insert(format!("{name}.1"));
        for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            names(command, &format!("{name}-{}", command.get_name()), into);
        }
    }
    let papers = directory();
    papers::write(papers.path()).unwrap();
    let mut expected = BTreeSet::from(["masker.toml.5".to_owned(), "masker-policy.5".to_owned()]);
    names(&Arguments::command(), "masker", &mut expected);
    let pages_of = |directory: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(papers.path().join(directory)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(pages_of("man"), expected);
    assert_eq!(pages_of("gateway/man"), ["gateway.toml.5", "masker-gateway.1"].map(str::to_owned).into());

    let bare = fs::read_to_string(papers.path().join("man/masker-vault-purge.1")).unwrap();
    assert!(bare.contains(".SH EXAMPLES") && bare.contains("masker vault purge \\-\\-before 2020\\-01\\-01"), "{bare}");
    if is_here("groff") {
        let all = ["man", "gateway/man"].map(|directory| (directory, pages_of(directory)));
        for page in
            all.iter().flat_map(|(directory, pages)| pages.iter().map(move |page| Path::new(directory).join(page)))
        {
            let mut groff = Command::new("groff");
            let output = groff.args(["-man", "-Tutf8", "-ww", "-z"]).arg(papers.path().join(&page)).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{}: {said}", page.display());
        }
    }
}
