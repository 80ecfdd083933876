//! `gateway` and `ceiling` of a client: what a gateway may assert, and how far the credentials go that it passes on.

use std::collections::BTreeSet;

use masker_core::document::{Located, Section};
use masker_types::{
    grant::{GatewayAssertion, ScopeSet},
    quote::quoted,
};

/// A client that passes on requests of others, with their credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// What it may assert about these requests.
    pub assertions: BTreeSet<GatewayAssertion>,
    /// The scopes that a credential has at most when it comes through this gateway.
    pub ceiling: ScopeSet,
}

impl GatewayConfig {
    /// Returns the scopes of the ceiling that the default ceiling does not have, as written.
    pub fn opened(&self) -> Vec<String> {
        self.ceiling.beyond(&ScopeSet::default_ceiling())
    }
}

/// Reads what a client may do: its own scopes, and whether it is a gateway. A gateway has no scopes of its own.
pub(super) fn read(section: &Section<'_>) -> (ScopeSet, Option<GatewayConfig>) {
    let is_gateway = section.boolean("gateway").is_some_and(|gateway| gateway.value);
    if is_gateway { (ScopeSet::default(), Some(gateway(section))) } else { (own_scopes(section), None) }
}

fn own_scopes(section: &Section<'_>) -> ScopeSet {
    if section.has("ceiling") {
        section.strings("ceiling");
        section.report(
            section.line(),
            "`ceiling` is for gateways: add `gateway = true` if this client passes on the credentials of others, or leave \
             it out",
        );
    }
    let texts = section.strings("scopes").unwrap_or_default();
    let mut own = ScopeSet::default();
    for Located { value, line } in texts {
        if GatewayAssertion::is_meant_by(value) {
            section.report(
                line,
                format!(
                    "`scopes`: {} is for gateways: add `gateway = true` if this client passes on the credentials of \
                     others, or leave it out",
                    quoted(value)
                ),
            );
        } else if let Err(error) = own.add(value) {
            section.report(line, format!("`scopes`: {error}"));
        }
    }
    own
}

fn gateway(section: &Section<'_>) -> GatewayConfig {
    let mut assertions = BTreeSet::new();
    for Located { value, line } in section.strings("scopes").unwrap_or_default() {
        match GatewayAssertion::parse(value) {
            Some(assertion) => {
                assertions.insert(assertion);
            }
            None => section.report(
                line,
                format!(
                    "`scopes` of a gateway are what it may assert, {}, and not {}: list in `ceiling` what the credentials \
                     that it passes on may do",
                    listed(),
                    quoted(value)
                ),
            ),
        }
    }
    if section.has("limits") {
        section.report(
            section.line(),
            "`limits` of a gateway would limit all of its callers together: leave it out, and set limits of API keys and \
             roles, or `[clients.share]`",
        );
    }
    let ceiling = section.strings("ceiling").map(|texts| read_ceiling(section, &texts));
    GatewayConfig { assertions, ceiling: ceiling.unwrap_or_else(ScopeSet::default_ceiling) }
}

fn read_ceiling(section: &Section<'_>, texts: &[Located<&str>]) -> ScopeSet {
    let mut ceiling = ScopeSet::default();
    for Located { value, line } in texts {
        if GatewayAssertion::is_meant_by(value) {
            let problem =
                format!("`ceiling` cannot contain {}: list what the gateway asserts in `scopes`", quoted(value));
            section.report(*line, problem);
        } else if let Err(error) = ceiling.add(value) {
            section.report(*line, format!("`ceiling`: {error}"));
        }
    }
    ceiling
}

/// Returns the names of all assertions.
fn listed() -> String {
    let names: Vec<String> = GatewayAssertion::ALL.iter().map(|assertion| format!("`{assertion}`")).collect();
    names.join(", ")
}
