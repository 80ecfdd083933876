//! The man pages of the configuration and of policies, from README.md and the files that are shipped.

use std::error::Error;

use clap_mangen::roff::{Roff, roman};

use super::{
    commands::{see_also, verbatim},
    markdown::{Block, blocks, render, section},
    source,
};

/// `masker.toml(5)`.
pub fn configuration() -> Result<String, Box<dyn Error>> {
    page(&Page {
        name: "masker.toml",
        about: "configuration of masker",
        heading: "Configuration",
        tables: &[("key", "SETTINGS"), ("variable", "ENVIRONMENT")],
        example: "systemd/masker.toml",
    })
}

/// `masker-policy(5)`.
pub fn policy() -> Result<String, Box<dyn Error>> {
    page(&Page {
        name: "masker-policy",
        about: "what masker makes of each kind of value",
        heading: "Policies",
        tables: &[("shipped in `policies/`", "SHIPPED POLICIES")],
        example: "policies/payments.toml",
    })
}

struct Page {
    name: &'static str,
    about: &'static str,
    /// The section of README.md.
    heading: &'static str,
    /// Tables that begin a section of the page, by their first header.
    tables: &'static [(&'static str, &'static str)],
    example: &'static str,
}

fn page(page: &Page) -> Result<String, Box<dyn Error>> {
    let readme = source("README.md")?;
    let text = section(&readme, page.heading).ok_or_else(|| format!("README.md has no section {}", page.heading))?;
    let mut roff = Roff::new();
    roff.control("TH", [page.name, "5", "", concat!("masker ", env!("CARGO_PKG_VERSION")), "masker"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{} - {}", page.name, page.about))]);
    roff.control("SH", ["DESCRIPTION"]);
    for block in blocks(text) {
        if let Block::Table(rows) = &block {
            let heading = page.tables.iter().find(|(first, _)| *first == rows[0][0]);
            let (_, heading) = heading.ok_or_else(|| format!("a table of {} has no heading here", page.heading))?;
            roff.control("SH", [*heading]);
        }
        render(&mut roff, &block);
    }
    roff.control("SH", ["EXAMPLE"]);
    verbatim(&mut roff, source(page.example)?.lines());
    see_also(&mut roff);
    Ok(roff.render())
}

#[cfg(test)]
mod tests {
    use masker_core::normalize::Normalizer;

    use super::*;

    /// A page as it is read: without what only roff needs.
    fn read(page: String) -> String {
        page.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\&", "").replace("\\*(Aq", "'")
    }

    #[test]
    fn every_setting_has_its_entry() {
        let page = read(configuration().unwrap());
        let mut section = String::new();
        let mut found = 0;
        for line in source("systemd/masker.toml").unwrap().lines() {
            let line = line.trim_start_matches("# ");
            if line.starts_with('[') {
                section = line.to_owned();
            } else if let Some((key, _)) = line.split_once(" = ")
                && !key.contains(' ')
            {
                assert!(page.contains(&format!(".TP\n{section} {key}\n")), "{section} {key}");
                found += 1;
            }
        }
        assert!(found > 30, "{found}");
        for variable in ["MASKER_KEY_<KID>", "MASKER_SOCKET, MASKER_DATA_DIR", "CREDENTIALS_DIRECTORY"] {
            assert!(page.contains(&format!(".TP\n{variable}")), "{variable}");
        }
    }

    #[test]
    fn every_word_of_a_policy_is_told() {
        let page = read(policy().unwrap());
        for normalizer in Normalizer::ALL {
            assert!(page.contains(normalizer.name()), "{}", normalizer.name());
        }
        for key in ["kid", "tokenization", "cipher", "deterministic", "normalize", "context", "action"] {
            assert!(page.contains(&format!("{key} = ")), "{key}");
        }
        for policy in ["healthcare-default", "payments", "stateless"] {
            assert!(page.contains(&format!(".TP\n{policy}\n")), "{policy}");
        }
    }
}
