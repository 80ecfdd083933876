//! The stable error codes, which clients match on.

use std::fmt;

macro_rules! codes {
    ($($variant:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// A stable code for a kind of failure. Texts may change between versions; codes do not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = concat!("`", $text, "`: ", $title)] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the reference.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// Returns the code as clients see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// Returns the HTTP status of a response to a request that fails as a whole with this code.
            pub const fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)* }
            }

            /// Returns a short summary, the same for every occurrence (the `title` of RFC 9457).
            pub const fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }
        }
    };
}

codes! {
    RequestInvalid = "request.invalid", 400, "The request is malformed";
    RequestTooLarge = "request.too_large", 413, "The request is too large";
    AnswerTooLarge = "answer.too_large", 413, "The answer is too large";
    RequestTimeout = "request.timeout", 408, "The request did not arrive in time";
    RequestMisdirected = "request.misdirected", 421, "The request is for another host";
    RouteNotFound = "route.not_found", 404, "There is no such route";
    RouteMethod = "route.method", 405, "The route does not support this method";
    AuthMissing = "auth.missing", 401, "A credential is required";
    AuthInvalid = "auth.invalid", 401, "The credential is not valid";
    AuthRevoked = "auth.revoked", 401, "The credential was revoked";
    AuthSuspended = "auth.suspended", 401, "The credential is suspended";
    AuthExpired = "auth.expired", 401, "The credential has expired";
    AuthBlocked = "auth.blocked", 429, "Too many attempts have failed";
    AuthSeveral = "auth.several", 400, "The request has more than one credential";
    RoleNone = "role.none", 403, "The client certificate has no role";
    RoleAmbiguous = "role.ambiguous", 403, "The client certificate has several roles";
    GatewayDenied = "gateway.denied", 403, "The process may not assert this";
    GatewayInvalid = "gateway.invalid", 400, "What the gateway asserts is malformed";
    PermDenied = "perm.denied", 403, "The caller may not do this";
    RateLimited = "rate.limited", 429, "The caller sends too many requests";
    QuotaExceeded = "quota.exceeded", 429, "The caller has used up its quota";
    ApiKeyNotFound = "api_key.not_found", 404, "There is no such API key";
    ApiKeyRevoked = "api_key.revoked", 409, "The API key was revoked";
    ApiKeyLimit = "api_key.limit", 409, "The workspace has the maximum number of API keys";
    SessionNotFound = "session.not_found", 404, "There is no such session";
    SessionLimit = "session.limit", 409, "The maximum number of sessions is open";
    HoneytokenNotFound = "honeytoken.not_found", 404, "There is no such honeytoken";
    HoneytokenRefused = "honeytoken.refused", 422, "The honeytoken cannot be planted";
    AuditUnavailable = "audit.unavailable", 503, "The audit log is unavailable";
    PolicyUnknown = "policy.unknown", 422, "There is no such policy";
    PolicyInvalid = "policy.invalid", 422, "The policies do not validate";
    KeysInvalid = "keys.invalid", 422, "The keys cannot be used";
    KindUnknown = "kind.unknown", 422, "The policy does not name this kind";
    ValueInvalid = "value.invalid", 422, "The value cannot be tokenized";
    ValueIsToken = "value.is_token", 422, "The value is a token";
    LookupImpossible = "lookup.impossible", 422, "Tokens of this kind cannot be looked up";
    ContextRequired = "context.required", 422, "A context is required";
    TokenMalformed = "token.malformed", 422, "This is not a token";
    TokenNotFound = "token.not_found", 404, "The token is unknown";
    TextTooLong = "text.too_long", 413, "The text is too long";
    TextNotJson = "text.not_json", 422, "The text is not JSON";
    TextTimeout = "text.timeout", 503, "The search of the texts took too long";
    PlaceholderCheck = "placeholder.check", 422, "The check character of the placeholder is wrong";
    PlaceholderNotFound = "placeholder.not_found", 404, "The placeholder is unknown";
    KeyUnavailable = "key.unavailable", 422, "The key is not loaded";
    KeyGraceExpired = "key.grace_expired", 422, "The key's grace period is over";
    ExportInvalid = "export.invalid", 422, "The export cannot be imported";
    PurgeRefused = "purge.refused", 422, "The records of this key may not be purged";
    RotationRunning = "rotation.running", 409, "A rotation is running";
    RotationEnded = "rotation.ended", 409, "The rotation has ended";
    RotationNotFound = "rotation.not_found", 404, "There is no such rotation";
    VaultUnavailable = "vault.unavailable", 503, "The vault is unavailable";
    VaultDamaged = "vault.damaged", 500, "A row of the vault is damaged";
    DaemonUnavailable = "daemon.unavailable", 503, "The daemon is unavailable";
    Overloaded = "overloaded", 503, "The daemon is busy";
    Internal = "internal", 500, "An internal error occurred";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Code;
    use std::collections::HashSet;

    #[test]
    fn codes_are_distinct_and_well_formed() {
        let texts: HashSet<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        assert!(texts.iter().all(|t| t.bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'_')));
        assert!(Code::ALL.iter().all(|c| (400..600).contains(&c.status())));
    }
}
