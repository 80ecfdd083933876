//! A man page for each command, from its help.

use std::{fs, path::Path};

use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use crate::Error;

/// What the pages of a package refer to at their ends.
pub struct References {
    pages: &'static [&'static str],
    file: &'static str,
}

/// The references of the package masker.
pub const MASKER: References = References {
    pages: &["masker(1)", "masker-serve(1)", "masker.toml(5)", "masker-policy(5)"],
    file: "/usr/share/doc/masker/README.md",
};

/// The references of the package masker-gateway.
pub const GATEWAY: References = References {
    pages: &["masker-gateway(1)", "gateway.toml(5)", "masker(1)"],
    file: "/usr/share/doc/masker-gateway/README.md",
};

/// Writes a page for a program and for each command that is not hidden.
pub fn write(program: Command, references: &References, directory: &Path) -> Result<(), Error> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    pages(&program, references, directory)
}

fn pages(command: &Command, references: &References, directory: &Path) -> Result<(), Error> {
    let man = Man::new(command.clone()).manual("masker").source(concat!("masker ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = Roff::new();
    if let Some(help) = command.get_after_help() {
        after_help(&mut rest, &help.to_string());
    }
    see_also(&mut rest, references);
    rest.to_writer(&mut page)?;
    fs::write(directory.join(man.get_filename()), page)?;
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        pages(command, references, directory)?;
    }
    Ok(())
}

/// Adds the end of a help text. A paragraph that begins with `Heading:` and a line end is a section of indented lines.
fn after_help(roff: &mut Roff, help: &str) {
    let mut has_notes = false;
    for paragraph in help.split("\n\n") {
        match paragraph.split_once(":\n") {
            Some((heading, lines)) if !heading.contains('\n') => {
                roff.control("SH", [heading.to_uppercase().as_str()]);
                verbatim(roff, lines.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)));
            }
            _ => {
                if !has_notes {
                    roff.control("SH", ["NOTES"]);
                    has_notes = true;
                }
                roff.control("PP", []);
                roff.text([roman(paragraph.replace('\n', " "))]);
            }
        }
    }
}

/// Adds lines without filling them.
pub fn verbatim<'l>(roff: &mut Roff, lines: impl Iterator<Item = &'l str>) {
    roff.control("PP", []).control("RS", ["4"]).control("EX", []);
    for line in lines {
        roff.text([roman(line)]);
    }
    roff.control("EE", []).control("RE", []);
}

/// Adds the references to other pages.
pub fn see_also(roff: &mut Roff, references: &References) {
    roff.control("SH", ["SEE ALSO"]);
    for (index, name) in references.pages.iter().enumerate() {
        let (name, section) = name.split_at(name.len() - 3);
        let comma = if index + 1 < references.pages.len() { "," } else { "" };
        roff.text([bold(name), roman(format!("{section}{comma}"))]);
    }
    roff.control("PP", []);
    roff.text([roman(references.file)]);
}
