//! The man pages of the configuration and of policies, from pages of the book and the files that are shipped.

use clap_mangen::roff::{Roff, roman};

use super::{
    commands::{GATEWAY, MASKER, References, see_also, verbatim},
    markdown::{blocks, render},
};
use crate::{Error, read_source};

/// Returns `masker.toml(5)`.
pub fn configuration() -> Result<String, Error> {
    page(&Page {
        name: "masker.toml",
        about: "configuration of masker",
        sources: &["docs/src/deploy/configuration.md", "docs/src/reference/configuration.md"],
        example: "systemd/masker.toml",
        references: &MASKER,
    })
}

/// Returns `gateway.toml(5)`.
pub fn gateway() -> Result<String, Error> {
    page(&Page {
        name: "gateway.toml",
        about: "configuration of masker-gateway",
        sources: &["docs/src/reference/gateway-configuration.md"],
        example: "systemd/gateway.toml",
        references: &GATEWAY,
    })
}

/// Returns `masker-policy(5)`.
pub fn policy() -> Result<String, Error> {
    page(&Page {
        name: "masker-policy",
        about: "how masker treats each kind of value",
        sources: &["docs/src/deploy/policies.md"],
        example: "policies/payments.toml",
        references: &MASKER,
    })
}

struct Page {
    name: &'static str,
    about: &'static str,
    /// Pages of the book.
    sources: &'static [&'static str],
    example: &'static str,
    references: &'static References,
}

fn page(page: &Page) -> Result<String, Error> {
    let mut roff = Roff::new();
    roff.control("TH", [page.name, "5", "", concat!("masker ", env!("CARGO_PKG_VERSION")), "masker"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{} - {}", page.name, page.about))]);
    roff.control("SH", ["DESCRIPTION"]);
    for source in page.sources {
        for block in blocks(&read_source(source)?) {
            render(&mut roff, &block);
        }
    }
    roff.control("SH", ["EXAMPLE"]);
    verbatim(&mut roff, read_source(page.example)?.lines());
    see_also(&mut roff, page.references);
    Ok(roff.render())
}

#[cfg(test)]
mod tests {
    use masker_core::normalize::Normalizer;

    use super::*;

    /// Removes what only roff needs from a page.
    fn plain(page: &str) -> String {
        page.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\&", "").replace("\\*(Aq", "'")
    }

    #[test]
    fn every_setting_has_its_entry() {
        let page = plain(&configuration().unwrap());
        let mut section = String::new();
        let mut found = 0;
        for line in read_source("systemd/masker.toml").unwrap().lines() {
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
        for variable in ["MASKER_KEY_<KID>", "MASKER_SOCKET", "CREDENTIALS_DIRECTORY"] {
            assert!(page.contains(&format!(".TP\n{variable}")), "{variable}");
        }
    }

    #[test]
    fn every_key_and_normalizer_of_a_policy_is_explained() {
        let page = plain(&policy().unwrap());
        for normalizer in Normalizer::ALL {
            assert!(page.contains(&format!(".TP\n{}\n", normalizer.name())), "{}", normalizer.name());
        }
        for key in ["kid", "tokenization", "cipher", "deterministic", "normalize", "validate", "context", "action"] {
            assert!(page.contains(&format!(".TP\n{key}\n")), "{key}");
        }
        for policy in ["healthcare-default", "payments", "stateless"] {
            assert!(page.contains(&format!(".TP\n{policy}\n")), "{policy}");
        }
    }
}
