//! The procedures of the book's part *Operate*, as they are written, and with mistakes.
//!
//! Each is run once as the page has it. Then each command is given twice, and each pair of commands in the wrong order; what is
//! refused says why, and the operator begins again at the top of the page. In the end the daemon serves, and every token gives its
//! value back.

use std::{collections::BTreeSet, fs, path::Path};

use super::host::Host;

/// What the daemon keeps, and what the operator changes.
const KEPT: &str = "/etc/masker /var/lib/masker /var/log/masker";
/// What a procedure leaves beside them.
const LEFT: &str = "/root/*.export /root/before-upgrade /root/audit-evidence /root/masker-move /etc/masker.installed /var/lib/masker.* \
     /var/log/masker.*";

/// A procedure of a page.
#[derive(Default)]
struct Procedure {
    page: &'static str,
    /// The sections with its commands.
    sections: &'static [&'static str],
    /// Brings a host with a serving daemon into the state in which the page is opened. The daemon may be stopped then.
    trouble: String,
    /// What else the trouble leaves, for the commands.
    given: &'static str,
    /// What the operator does when the page is finished.
    afterwards: &'static str,
    /// Where the page keeps the vault that it replaces. After mistakes a token may be there.
    replaced: Option<&'static str>,
}

/// Returns the commands of sections of a page: the lines after the prompts of `console` blocks, and whole `sh` blocks.
fn commands(page: &str, sections: &[&str]) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src/operate").join(page);
    let text = fs::read_to_string(path).unwrap();
    let (mut commands, mut block, mut language, mut is_wanted) = (Vec::new(), String::new(), None, false);
    let mut found = BTreeSet::new();
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), language) {
            (Some(opened), None) => language = Some(opened),
            (Some(_), Some(closed)) => {
                if closed == "sh" && is_wanted {
                    commands.push(std::mem::take(&mut block));
                }
                language = None;
                block.clear();
            }
            (None, Some("sh")) => block += &format!("{}\n", line.trim_start()),
            (None, Some("console")) if is_wanted => {
                commands.extend(line.trim_start().strip_prefix("# ").map(str::to_owned))
            }
            (None, Some(_)) => {}
            (None, None) => {
                if let Some(heading) = line.strip_prefix("## ") {
                    is_wanted = sections.contains(&heading);
                    if is_wanted {
                        found.insert(heading);
                    }
                }
            }
        }
    }
    assert_eq!(found.len(), sections.len(), "{page} has not all of {sections:?}");
    // No package is installed here, no lost key is found, and there is no other host.
    let is_elsewhere = |command: &str| command.starts_with("apt-get") || command.starts_with("scp");
    commands.retain(|command| !is_elsewhere(command) && !command.contains("FOUND-FILE"));
    assert!(commands.len() > 1, "{page} has no commands in {sections:?}");
    commands
}

/// An order of the commands, with its description.
type Order = (String, Vec<usize>);

/// Returns the orders of `count` commands with one mistake.
fn mistakes(count: usize) -> Vec<Order> {
    let written: Vec<usize> = (0..count).collect();
    let repeated = (0..count).map(|at| {
        let mut order = written.clone();
        order.insert(at, at);
        (format!("step {} twice", at + 1), order)
    });
    let swapped =
        (0..count).flat_map(|first| (first + 1..count).map(move |second| (first, second))).map(|(first, second)| {
            let mut order = written.clone();
            order.swap(first, second);
            (format!("steps {} and {} swapped", first + 1, second + 1), order)
        });
    repeated.chain(swapped).collect()
}

impl Procedure {
    /// Runs the procedure on a host with a serving daemon, as it is written and with each mistake.
    fn run(&self, host: &Host) {
        let commands = commands(self.page, self.sections);
        let tokens = Tokens::mint(host);
        host.run(&self.trouble).ok();
        host.stop_units();
        host.run(&format!("mkdir -p /kept && cp -a --parents {KEPT} {} /kept", self.given)).ok();
        let reset = || {
            host.stop_units();
            host.run(&format!("rm -rf {KEPT} {LEFT} && cp -a /kept/. /")).ok();
            host.run(
                "systemctl reset-failed; systemctl start masker.socket masker.service || systemctl stop masker.socket",
            )
            .ok();
        };
        let run = |command: &str| host.run(&format!("cd /root; {command}"));

        reset();
        for command in &commands {
            let outcome = run(command);
            // With 2, a command shows what is not well, or what waits to be accepted.
            let is_done = matches!(outcome.code, Some(0 | 2));
            let log = host.run("journalctl --unit masker.service --lines 20 --output cat").text;
            assert!(is_done, "{}: `{command}` as written: {}\n{log}", self.page, outcome.text);
        }
        run(self.afterwards).ok();
        host.run("masker health").ok();
        assert_eq!(tokens.lost(host), None, "{} as written", self.page);

        for (mistake, order) in mistakes(commands.len()) {
            reset();
            for at in order {
                // It is refused, or it does no harm.
                let outcome = run(&commands[at]);
                if outcome.code != Some(0) {
                    says_what_to_do(&format!("{}: {mistake}: `{}`", self.page, commands[at]), &outcome.text);
                }
            }
            commands.iter().for_each(|command| drop(run(command)));
            run(self.afterwards);
            if self.replaced.is_none() {
                host.start_units();
            } else {
                // The vault may be in the other place.
                host.run("systemctl reset-failed; systemctl start masker.socket masker.service");
            }
            let lost = tokens.lost(host).filter(|_| match self.replaced {
                None => true,
                Some(replaced) => {
                    host.stop_units();
                    run(&format!("mv -T /var/lib/masker /var/lib/masker.mistaken; mv -T {replaced} /var/lib/masker"))
                        .ok();
                    run("masker recover --accept new-vault");
                    host.start_units();
                    tokens.lost(host).is_some()
                }
            });
            assert_eq!(lost, None, "{}: {mistake}", self.page);
        }
    }
}

/// Tokens, with their values and contexts.
struct Tokens(Vec<(String, &'static str, &'static str)>);

impl Tokens {
    fn mint(host: &Host) -> Self {
        let mint = |(value, context)| {
            let line = format!("echo {value} | masker tokenize --kind PHONE --context '{context}'");
            (host.run(&line).ok().trim().to_owned(), value, context)
        };
        Tokens([("415-555-0132", ""), ("212-555-0187", "clinic")].map(mint).to_vec())
    }

    /// Returns what the daemon answers for the first token that does not give its value back.
    fn lost(&self, host: &Host) -> Option<String> {
        self.0.iter().find_map(|(token, value, context)| {
            let back = host.run(&format!("echo {token} | masker rehydrate --context '{context}'")).text;
            (back.trim() != *value).then(|| format!("{back}{}", host.run("masker health").text))
        })
    }
}

/// Checks that a refusal has words for an operator.
fn says_what_to_do(place: &str, text: &str) {
    let is_raw = ["Os {", "panicked", "RUST_BACKTRACE", "called `"].iter().any(|raw| text.contains(raw));
    assert!(!is_raw && !text.trim().is_empty(), "{place}: {text}");
    eprintln!("{place}: {}", text.trim().lines().last().unwrap_or_default());
}

/// Starts a host whose daemon serves.
fn serving_host() -> Option<Host> {
    let host = Host::start()?;
    host.run("masker init").ok();
    host.start_units();
    Some(host)
}

#[test]
fn a_rotation() {
    let Some(host) = serving_host() else { return };
    let procedure = Procedure {
        page: "rotation.md",
        sections: &[
            "1. Check the present state",
            "2. Add the new key",
            "3. Rehearse",
            "4. Move the records",
            "6. Remove the old key",
            "7. Compact the vault",
        ],
        ..Procedure::default()
    };
    procedure.run(&host);
}

#[test]
fn a_migration() {
    let Some(host) = serving_host() else { return };
    host.stop_units();
    // The editor of the page: it sets the engine.
    let editor = r#"printf '#!/bin/sh\nsed -i "s/^#* *engine = .*/engine = \\"fjall\\"/" "$1"\n' > /usr/bin/editor; chmod 755 /usr/bin/editor"#;
    host.run(editor).ok();
    host.run("sed -i 's/^# engine = .*/engine = \"sled\"/' /etc/masker/masker.toml && rm -r /var/lib/masker/*").ok();
    host.run("masker recover --accept new-vault").ok();
    host.start_units();
    Procedure { page: "engines.md", sections: &["Migrate a vault"], ..Procedure::default() }.run(&host);
}

/// Replaces the vault by an older copy.
const OLDER_COPY: &str = "systemctl stop masker.service masker.socket && cp -a /var/lib/masker /run/copy && \
     systemctl start masker.socket masker.service && \
     masker api-keys create --name billing --scope tokenize > /run/key && \
     systemctl stop masker.service masker.socket && rm -r /var/lib/masker && cp -a /run/copy /var/lib/masker";

#[test]
fn an_older_copy() {
    let Some(host) = serving_host() else { return };
    let procedure = Procedure {
        page: "lost-key-or-vault.md",
        sections: &["The vault is damaged or gone", "Control rows were changed"],
        trouble: OLDER_COPY.to_owned(),
        replaced: Some("/var/lib/masker.damaged"),
        ..Procedure::default()
    };
    procedure.run(&host);
}

#[test]
fn a_lost_key_that_is_found() {
    let Some(host) = serving_host() else { return };
    let procedure = Procedure {
        page: "lost-key-or-vault.md",
        sections: &["A key is lost for good"],
        trouble: "mv /etc/masker/keys/K_HEALTHCARE /run/K_HEALTHCARE".to_owned(),
        afterwards: "cp --no-clobber /run/K_HEALTHCARE /etc/masker/keys/K_HEALTHCARE_OLD; systemctl restart masker.service",
        ..Procedure::default()
    };
    procedure.run(&host);
}

#[test]
fn a_broken_audit_log() {
    let Some(host) = serving_host() else { return };
    let procedure = Procedure {
        page: "lost-key-or-vault.md",
        sections: &["The audit log does not verify"],
        trouble: "systemctl stop masker.service masker.socket && sed -i '2s/\"v\":1/\"v\":2/' /var/log/masker/*.jsonl"
            .to_owned(),
        ..Procedure::default()
    };
    procedure.run(&host);
}

#[test]
fn a_lost_key_of_the_audit_log() {
    let Some(host) = serving_host() else { return };
    let procedure = Procedure {
        page: "lost-key-or-vault.md",
        sections: &["The key of the audit log is lost for good"],
        trouble: "rm /etc/masker/audit.key".to_owned(),
        ..Procedure::default()
    };
    procedure.run(&host);
}

#[test]
fn the_way_back_from_an_upgrade() {
    let Some(host) = serving_host() else { return };
    let procedure = Procedure {
        page: "upgrade.md",
        sections: &["Before", "Going back"],
        replaced: Some("/var/lib/masker.later"),
        ..Procedure::default()
    };
    procedure.run(&host);
}

#[test]
fn a_restore() {
    let Some(host) = serving_host() else { return };
    let procedure = Procedure {
        page: "backup.md",
        sections: &["Verify a backup", "Restore"],
        trouble: "masker backup create /var/backups/masker/before-upgrade".to_owned(),
        replaced: Some("/var/lib/masker.before-restore"),
        ..Procedure::default()
    };
    procedure.run(&host);
}

#[test]
fn a_copy_of_the_data_directory() {
    let Some(host) = serving_host() else { return };
    let sections: &[&str] = &["Copy of the data directory"];
    Procedure { page: "backup.md", sections, ..Procedure::default() }.run(&host);
}

#[test]
fn a_copy_that_is_put_back() {
    let Some(host) = serving_host() else { return };
    let copy = commands("backup.md", &["Copy of the data directory"]).join(" && ");
    let procedure = Procedure {
        page: "backup.md",
        sections: &["Put a copy back"],
        trouble: format!("{copy} && echo 415-555-0199 | masker tokenize --kind PHONE"),
        given: "/var/lib/masker.copy",
        replaced: Some("/var/lib/masker.replaced"),
        ..Procedure::default()
    };
    procedure.run(&host);
}

#[test]
fn the_old_host_of_a_move() {
    let Some(host) = serving_host() else { return };
    let procedure = Procedure {
        page: "moving.md",
        sections: &["On the old host"],
        // The way back. A vault that is still in its place stays there.
        afterwards: "mv --no-target-directory /var/lib/masker.moved /var/lib/masker; systemctl start masker.socket masker.service",
        ..Procedure::default()
    };
    procedure.run(&host);
}

#[test]
fn the_new_host_of_a_move() {
    let Some(host) = serving_host() else { return };
    let pack = commands("moving.md", &["On the old host"]).join(" && ");
    // The other host has the package without keys, and gives the user another number.
    let other_host = "rm -r /etc/masker/keys /etc/masker/audit.key /var/lib/masker.moved /var/log/masker && \
                      usermod --uid 4242 masker && systemd-tmpfiles --create masker.conf";
    let procedure = Procedure {
        page: "moving.md",
        sections: &["On the new host"],
        trouble: format!("{pack} && {other_host}"),
        given: "/root/masker-move.tar",
        ..Procedure::default()
    };
    procedure.run(&host);
}

#[test]
fn the_timer_of_backups() {
    let Some(host) = serving_host() else { return };
    host.run("systemctl start masker-backup.service").ok();
    let made = host.run("ls /var/backups/masker").ok();
    host.run(&format!("masker backup verify /var/backups/masker/{}", made.trim())).ok();
    host.run("systemctl enable --now masker-backup.timer && systemctl list-timers masker-backup.timer").ok();
    // A stopped daemon stays so, and that no backup is made is a failure.
    host.run("systemctl stop masker.service").ok();
    assert_ne!(host.run("systemctl start masker-backup.service").code, Some(0));
    host.run("systemctl is-active masker.service").code(3);
}
