//! The names of what can be allowed.

use std::fmt;

macro_rules! scopes {
    ($($variant:ident = $text:literal, $meaning:literal;)*) => {
        /// One thing that a caller may be allowed to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Scope {
            $(#[doc = $meaning] $variant,)*
        }

        impl Scope {
            /// Every scope, in the order of the reference.
            pub const ALL: &'static [Scope] = &[$(Scope::$variant,)*];

            /// The scope as operators and clients write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Scope::$variant => $text,)* }
            }

            /// What it allows.
            pub const fn meaning(self) -> &'static str {
                match self { $(Scope::$variant => $meaning,)* }
            }
        }
    };
}

scopes! {
    Tokenize = "tokenize", "Swap values for tokens.";
    Rehydrate = "rehydrate", "Swap tokens back for values.";
    Lookup = "lookup", "Find the tokens by which a value may be stored.";
    Rewrap = "rewrap", "Re-mint tokens under the active key.";
    Forget = "forget", "Erase vault records.";
    KeysRead = "keys:read", "See key generations, by fingerprint.";
    KeysAdmin = "keys:admin", "Load the keys again.";
    VaultRead = "vault:read", "See the vault's counts and its rotations.";
    VaultAdmin = "vault:admin", "Check, export, import, purge, compact and re-encrypt the vault as a whole.";
    PoliciesRead = "policies:read", "See the policies in force.";
    PoliciesReload = "policies:reload", "Load the policies and the clients again.";
    AuditRead = "audit:read", "Read the audit log.";
    ReportsRead = "reports:read", "Read reports; this release makes none.";
    SessionsRead = "sessions:read", "See the sessions of all callers.";
    AgentsRead = "agents:read", "See agents; this release knows none.";
    ApiKeysAdmin = "api-keys:admin", "Hand out, change and revoke API keys.";
    MetricsRead = "metrics:read", "Read the metrics.";
}

impl Scope {
    /// The scope of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Scope::ALL.iter().copied().find(|scope| scope.as_str() == text)
    }

    /// Whether it can be given for one kind of value alone, as in `rehydrate:PHONE`.
    pub const fn takes_kind(self) -> bool {
        matches!(self, Scope::Tokenize | Scope::Rehydrate | Scope::Lookup | Scope::Rewrap | Scope::Forget)
    }

    /// Whether it concerns the daemon as a whole, live tokens and test tokens alike: no test credential can have it.
    pub const fn is_administrative(self) -> bool {
        matches!(self, Scope::KeysAdmin | Scope::VaultAdmin | Scope::PoliciesReload | Scope::ApiKeysAdmin)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
