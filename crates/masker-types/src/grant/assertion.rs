//! What a gateway may assert about the requests that it passes on.

use std::fmt;

/// The beginning of the name of every assertion.
const PREFIX: &str = "gateway:";

/// A fact about a request that the daemon believes a gateway. Operators write it among the scopes of the gateway's client,
/// but it is no scope: no grant, API key or role can contain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GatewayAssertion {
    /// A person has signed in.
    Login,
    /// The caller has shown a client certificate.
    Certificate,
    /// The address that the request comes from.
    Address,
}

impl GatewayAssertion {
    /// Every assertion, in the order of the reference.
    pub const ALL: &'static [GatewayAssertion] =
        &[GatewayAssertion::Login, GatewayAssertion::Certificate, GatewayAssertion::Address];

    /// Returns the name of the assertion, as operators write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            GatewayAssertion::Login => "gateway:login",
            GatewayAssertion::Certificate => "gateway:certificate",
            GatewayAssertion::Address => "gateway:address",
        }
    }

    /// Returns the assertion with this name.
    pub fn parse(text: &str) -> Option<Self> {
        GatewayAssertion::ALL.iter().copied().find(|assertion| assertion.as_str() == text)
    }

    /// Returns whether a text begins as the names of assertions do.
    pub fn is_meant_by(text: &str) -> bool {
        text.starts_with(PREFIX)
    }
}

impl fmt::Display for GatewayAssertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::{Scope, ScopeSet};

    #[test]
    fn no_assertion_is_a_scope() {
        for assertion in GatewayAssertion::ALL {
            let name = assertion.as_str();
            assert_eq!(GatewayAssertion::parse(name), Some(*assertion));
            assert!(GatewayAssertion::is_meant_by(name));
            assert!(Scope::parse(name).is_none() && ScopeSet::parse(&[name]).is_err(), "{name}");
        }
        assert!(Scope::ALL.iter().all(|scope| !GatewayAssertion::is_meant_by(scope.as_str())));
        assert_eq!(GatewayAssertion::parse("gateway:all"), None);
    }
}
