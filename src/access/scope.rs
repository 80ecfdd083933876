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
    VaultRead = "vault:read", "See the vault's counts.";
    VaultAdmin = "vault:admin", "Check the vault as a whole.";
    PoliciesRead = "policies:read", "See the policies in force.";
    PoliciesReload = "policies:reload", "Load the policies again.";
    MetricsRead = "metrics:read", "Read the metrics.";
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
