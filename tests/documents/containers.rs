//! The files for containers agree with the packages, the programs and the book. No test builds an image.

use std::collections::BTreeSet;

use clap::CommandFactory;
use masker_cli::args::Arguments;

use crate::read;

const IMAGE: &str = "packaging/container/Containerfile";
const COMPOSE: &str = "packaging/container/compose.yaml";

/// Returns what is between quotes in the lines of a file that begin with this key.
fn quoted(file: &str, key: &str) -> Vec<String> {
    let text = read(file);
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix(key)).map(str::to_owned);
    lines.flat_map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn the_commands_of_containers_exist() {
    let packages = read("scripts/deb");
    assert!(packages.contains("\"$root/usr/bin/$package\""));
    let mut commands = quoted(COMPOSE, "command:");
    commands.extend(quoted(IMAGE, "CMD"));
    let programs: BTreeSet<&str> = commands.iter().filter_map(|word| word.strip_prefix("/usr/bin/")).collect();
    assert_eq!(programs, BTreeSet::from(["masker", "masker-gateway"]));
    for program in programs {
        assert!(packages.contains(&format!("  {program}) debian=")), "no package has {program}");
    }
    assert!(commands.contains(&"serve".to_owned()) && Arguments::command().find_subcommand("serve").is_some());
    let gateway = read("docs/src/reference/command-line-gateway.md");
    for flag in commands.iter().filter(|word| word.starts_with("--")) {
        assert!(gateway.contains(&format!("`{flag} FILE`")), "{flag}");
    }
}

#[test]
fn the_users_and_files_of_containers_are_those_of_the_book() {
    let (image, compose, page) = (read(IMAGE), read(COMPOSE), read("docs/src/deploy/container.md"));
    for user in ["masker", "masker-gateway"] {
        assert!(
            image.contains(&format!("/usr/sbin/nologin {user} "))
                || image.contains(&format!("/usr/sbin/nologin {user}\n"))
        );
    }
    for owner in quoted(COMPOSE, "user:") {
        let number = owner.split(':').next().unwrap().to_owned();
        assert_eq!(owner, format!("{number}:{number}"));
        assert!(image.contains(&format!("--uid {number} --gid {number}")), "{number}");
        assert!(page.contains(&number), "{number}");
    }
    // What the page mounts for one container, compose mounts for it too.
    let mounts: Vec<&str> =
        page.lines().filter_map(|line| line.trim().strip_prefix("--volume ")?.split(' ').next()).collect();
    assert!(mounts.len() >= 4, "{mounts:?}");
    for mount in mounts.iter().chain(&["/srv/masker/gateway:/etc/masker/gateway:ro"]) {
        assert!(compose.contains(&format!("- {mount}\n")), "{mount}");
    }
    for option in ["memlock", "no-new-privileges", "CREDENTIALS_DIRECTORY", "MASKER_CONFIG"] {
        assert!(compose.contains(option) && page.contains(option), "{option}");
    }
    assert!(page.contains(IMAGE) && page.contains(COMPOSE));
}
