//! The scopes that a caller can have.

use std::fmt;

macro_rules! scopes {
    ($($variant:ident = $text:literal, $meaning:literal;)*) => {
        /// A permission that a caller can have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Scope {
            $(#[doc = $meaning] $variant,)*
        }

        impl Scope {
            /// Every scope, in the order of the reference.
            pub const ALL: &'static [Scope] = &[$(Scope::$variant,)*];

            /// Returns the name of the scope, as operators and clients write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Scope::$variant => $text,)* }
            }

            /// Returns a description of what the scope allows.
            pub const fn meaning(self) -> &'static str {
                match self { $(Scope::$variant => $meaning,)* }
            }
        }
    };
}

scopes! {
    Tokenize = "tokenize", "Swap values for tokens.";
    Rehydrate = "rehydrate", "Swap tokens back for values.";
    Lookup = "lookup", "Find the tokens that stand for a value.";
    Rewrap = "rewrap", "Mint stateless tokens again under the active key.";
    Forget = "forget", "Erase vault records.";
    TextMask = "text:mask", "Replace the personal data in texts.";
    TextRestore = "text:restore", "Restore the personal data in texts.";
    TextDetect = "text:detect", "Find the personal data in texts.";
    KeysRead = "keys:read", "List key generations, by fingerprint.";
    KeysAdmin = "keys:admin", "Reload the keys.";
    VaultRead = "vault:read", "Read the counts of the vault, and its rotations.";
    VaultAdmin = "vault:admin", "Check, export, import, purge, and compact the vault, and rotate its records.";
    PoliciesRead = "policies:read", "Read the policies in force.";
    PoliciesReload = "policies:reload", "Reload the policies and the clients.";
    AuditRead = "audit:read", "Read the audit log.";
    ReportsRead = "reports:read", "Read reports: what the audit log, the keys and the API keys say of a period.";
    SessionsRead = "sessions:read", "Read the sessions of all callers.";
    AgentsRead = "agents:read", "Read agents. This release has none.";
    ApiKeysAdmin = "api-keys:admin", "Create, change and revoke API keys.";
    MetricsRead = "metrics:read", "Read the metrics.";
}

impl Scope {
    /// Returns the scope with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Scope::ALL.iter().copied().find(|scope| scope.as_str() == text)
    }

    /// Returns whether the scope can be granted for a single kind, as in `rehydrate:PHONE`.
    pub const fn takes_kind(self) -> bool {
        matches!(
            self,
            Scope::Tokenize
                | Scope::Rehydrate
                | Scope::Lookup
                | Scope::Rewrap
                | Scope::Forget
                | Scope::TextMask
                | Scope::TextRestore
                | Scope::TextDetect
        )
    }

    /// Returns whether the scope allows changing or exporting what live and test data share: keys, policies, API keys, the
    /// vault. No credential of the test mode can have it, though it can have scopes that only read such facts.
    pub const fn is_administrative(self) -> bool {
        matches!(self, Scope::KeysAdmin | Scope::VaultAdmin | Scope::PoliciesReload | Scope::ApiKeysAdmin)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
