//! The pages of the command line, from its arguments and help.

use clap::{Arg, ArgAction, Command, CommandFactory};
use masker_cli::args::Arguments;

use super::{
    Page,
    markdown::{self, code, escape, table},
};

const INTRODUCTION: &str = "\
`masker` is one program: `masker serve` runs the daemon, and the other commands connect to its socket. `masker COMMAND --help` prints
the text of these pages. Results go to standard output, everything else to standard error. On a terminal, results are tables;
otherwise they are lines of cells separated by tabs, after a line with the names of the columns where there are some. With `--json` they are
the responses of the [HTTP interface](http.md).";

/// The pages of commands: file, title, introduction, and the commands or groups on it.
const PAGES: [(&str, &str, &str, &[&str]); 7] = [
    (
        "command-line-values.md",
        "Commands on values",
        "Commands that swap values for tokens and back.",
        &["tokenize", "rehydrate", "lookup"],
    ),
    (
        "command-line-text.md",
        "Commands on texts",
        "Commands that find personal data in texts. [Texts](../develop/text.md#on-the-command-line) has examples.",
        &["text"],
    ),
    (
        "command-line-daemon.md",
        "Commands of the daemon",
        "Commands that run, watch and examine the daemon.",
        &["init", "serve", "recover", "demo", "health", "status", "doctor", "whoami", "completions"],
    ),
    (
        "command-line-keys.md",
        "Commands on keys and API keys",
        "Commands that manage keys and API keys.",
        &["keys", "api-keys"],
    ),
    ("command-line-vault.md", "Commands on the vault", "Commands that manage the vault.", &["vault"]),
    ("command-line-backup.md", "Commands on backups", "Commands that make, verify and restore backups.", &["backup"]),
    (
        "command-line-audit.md",
        "Commands on sessions, policies and the audit log",
        "Commands that manage sessions and policies, and read and verify the audit log.",
        &["sessions", "policy", "audit", "report"],
    ),
];

/// The exit codes, as `masker_cli::Exit` defines them.
const EXIT_CODES: [(&str, &str); 7] = [
    ("0", "success"),
    ("1", "any other error"),
    (
        "2",
        "a failure that the command reports, such as a token that was not found, a degraded daemon, or what `masker text detect \
         --check` has found",
    ),
    ("3", "a policy or the configuration is invalid"),
    ("4", "not authorized"),
    ("5", "the daemon is not reachable"),
    ("64", "the command line is invalid"),
];

/// The environment variables of the commands that ask a daemon.
const VARIABLES: [(&str, &str); 13] = [
    ("MASKER_CONFIG", "the configuration file; `--config` takes precedence"),
    (
        "MASKER_SERVER",
        "a gateway, such as `https://masker.example`, or the daemon's address, such as `unix:///run/masker/masker.sock`; `--server` and \
         `--socket` take precedence",
    ),
    ("MASKER_CA", "the file with the authority of the gateway's certificate; `--ca` takes precedence"),
    ("MASKER_CLIENT_CERT", "the file of the client certificate for a gateway; `--client-cert` takes precedence"),
    ("MASKER_CLIENT_KEY", "the file of its private key; `--client-key` takes precedence"),
    ("HTTPS_PROXY, NO_PROXY", "the proxy of gateways, `http://HOST:PORT`, and the hosts without one, as in curl"),
    ("MASKER_SOCKET", "the daemon's socket, if `MASKER_SERVER` is not set"),
    ("MASKER_DATA_DIR", "the data directory, for `masker vault migrate`, `masker doctor` and `masker audit verify`"),
    ("MASKER_API_KEY", "the API key that authenticates requests; without it, the user of the process does"),
    ("MASKER_APP_SESSION", "the session that `masker tokenize`, `rehydrate` and `text` work in"),
    ("MASKER_AUDIT_HMAC_KEY", "the key of the audit log, for `masker audit verify` and `masker doctor`"),
    ("MASKER_AUDIT_HMAC_KEY_FILE", "the file of that key"),
    ("NO_COLOR", "if it is set, `masker doctor` and `--explain` use no colors"),
];

/// Returns the pages.
pub fn pages() -> Vec<Page> {
    let mut program = Arguments::command().disable_help_subcommand(true);
    program.build();
    let mut pages = vec![Page { name: "command-line.md", text: overview(&program) }];
    for (name, title, introduction, commands) in PAGES {
        let mut text = markdown::page(title, introduction);
        text.push_str("[Command line](command-line.md) has the options of every command and the exit codes.\n");
        for command in commands.iter().filter_map(|name| program.find_subcommand(name)) {
            describe(&mut text, command, 2);
        }
        pages.push(Page { name, text });
    }
    pages.push(Page { name: "command-line-gateway.md", text: gateway() });
    pages
}

/// Returns the page of the gateway's program.
fn gateway() -> String {
    let mut program = masker_gateway::arguments::Arguments::command();
    program.build();
    let introduction = "\
The gateway is a program of its own. [Reaching masker from elsewhere](../deploy/gateway-program.md) describes it, and
[Settings of the gateway](gateway-configuration.md) its configuration.";
    let mut page = markdown::page("The gateway's command line", introduction);
    describe(&mut page, &program, 2);
    page
}

/// Returns the page with what all commands have in common.
fn overview(program: &Command) -> String {
    let mut page = markdown::page("Command line", INTRODUCTION);
    page.push_str("\n## Commands\n");
    let rows = program.get_subcommands().filter(|command| !command.is_hide_set()).map(|command| {
        let file = PAGES.iter().find(|(.., commands)| commands.contains(&command.get_name())).map(|(file, ..)| *file);
        let anchor = command.get_name();
        let link = file.map_or_else(
            || code(&format!("masker {anchor}")),
            |file| format!("[`masker {anchor}`]({file}#masker-{anchor})"),
        );
        vec![link, about(command)]
    });
    table(&mut page, &["command", ""], rows);
    page.push_str("\n## Options of every command\n");
    let global = program.get_arguments().filter(|argument| argument.is_global_set());
    table(&mut page, &["option", "default", "meaning"], global.map(argument));
    page.push_str("\nIf an option is repeated, the last one counts.\n\n## Environment variables\n");
    table(&mut page, &["variable", "meaning"], VARIABLES.map(|(name, meaning)| vec![code(name), meaning.to_owned()]));
    page.push_str("\n[Settings](configuration.md) lists the variables of the daemon.\n\n## Exit codes\n");
    let rows = EXIT_CODES.map(|(exit, meaning)| vec![exit.to_owned(), meaning.to_owned()]);
    table(&mut page, &["code", "meaning"], rows);
    page
}

/// Describes a command, and the commands of a group below it.
fn describe(page: &mut String, command: &Command, level: usize) {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    page.push_str(&format!("\n{} {name}\n\n{}.\n", "#".repeat(level), about(command)));
    let visible: Vec<&Command> = command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    if !visible.is_empty() {
        for command in visible {
            describe(page, command, level + 1);
        }
        return;
    }
    // Without arguments, the heading is the usage.
    let usage = usage(command);
    if usage != name {
        page.push_str(&format!("\n{}\n", code(&usage)));
    }
    let arguments: Vec<&Arg> =
        command.get_arguments().filter(|argument| !argument.is_global_set() && !is_help(argument)).collect();
    if !arguments.is_empty() {
        table(page, &["argument", "default", "meaning"], arguments.into_iter().map(argument));
    }
    if let Some(help) = command.get_after_help() {
        after_help(page, &help.to_string());
    }
}

/// Returns the first paragraph of a command's help.
fn about(command: &Command) -> String {
    command.get_about().map(|about| escape(&about.to_string())).unwrap_or_default()
}

/// Returns the usage of a command on one line.
fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").split_whitespace().collect::<Vec<_>>().join(" ");
    usage.replace(" [OPTIONS]", "")
}

fn is_help(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version)
}

/// Returns the row of an argument: its names, its default, and its help.
fn argument(argument: &Arg) -> Vec<String> {
    let takes_value = argument.get_action().takes_values();
    let values: Vec<String> = argument.get_value_names().into_iter().flatten().map(ToString::to_string).collect();
    let mut names: Vec<String> = Vec::new();
    names.extend(argument.get_short().map(|short| format!("-{short}")));
    names.extend(argument.get_long().map(|long| format!("--{long}")));
    let term = match (names.is_empty(), takes_value) {
        (true, _) => values.join(" "),
        (false, true) => format!("{} {}", names.join(", "), values.join(" ")),
        (false, false) => names.join(", "),
    };
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default().replace('\n', " ");
    let (help, stated) = match help.split_once(" [default: ") {
        Some((help, rest)) => (help.to_owned(), Some(rest.trim_end_matches(']').to_owned())),
        None => (help, None),
    };
    let own: Vec<String> = argument.get_default_values().iter().map(|value| code(&value.to_string_lossy())).collect();
    let default = match (stated, own.is_empty() || !takes_value) {
        (Some(stated), _) => escape(&stated),
        (None, false) => own.join(", "),
        (None, true) if argument.is_required_set() => "required".to_owned(),
        (None, true) => String::new(),
    };
    let mut meaning = escape(&help);
    let choices: Vec<String> = argument.get_possible_values().iter().map(|choice| code(choice.get_name())).collect();
    if takes_value && !choices.is_empty() {
        meaning.push_str(&format!(": {}", choices.join(", ")));
    }
    vec![code(&term), default, meaning]
}

/// Appends the end of a help text. A paragraph that begins with `Heading:` and a line end is a section of indented lines.
fn after_help(page: &mut String, help: &str) {
    for paragraph in help.split("\n\n") {
        match paragraph.split_once(":\n") {
            Some((heading, lines)) if !heading.contains('\n') => {
                let lines: Vec<&str> = lines.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
                page.push_str(&format!("\n{heading}:\n\n```text\n{}\n```\n", lines.join("\n")));
            }
            _ => page.push_str(&format!("\n{}\n", escape(&paragraph.replace('\n', " ")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use masker_cli::Exit;

    use super::*;

    #[test]
    fn every_command_is_on_a_page() {
        fn names(command: &Command, into: &mut Vec<String>) {
            for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
                into.push(command.get_bin_name().unwrap().to_owned());
                names(command, into);
            }
        }
        let mut program = Arguments::command().disable_help_subcommand(true);
        program.build();
        let mut expected = Vec::new();
        names(&program, &mut expected);
        let text: String = pages().into_iter().map(|page| page.text).collect();
        for name in expected {
            assert!(text.contains(&format!("# {name}\n")), "{name} is missing");
        }
    }

    #[test]
    fn the_exit_codes_are_those_of_the_program() {
        let codes =
            [Exit::Done, Exit::Error, Exit::Failure, Exit::Invalid, Exit::Unauthorized, Exit::Unreachable, Exit::Usage];
        assert_eq!(EXIT_CODES.map(|(code, _)| code.to_owned()), codes.map(|exit| exit.code().to_string()));
    }

    #[test]
    fn an_argument_has_its_default_once() {
        let argument_of = |help: &'static str| argument(&Arg::new("limit").long("limit").value_name("N").help(help));
        assert_eq!(
            argument_of("List at most this many [default: all]"),
            ["`--limit N`", "all", "List at most this many"]
        );
    }
}
