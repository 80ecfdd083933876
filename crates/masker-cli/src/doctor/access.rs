//! Access: which callers have rights by default.

use super::finding::Finding;
use masker_config::AccessConfig;

/// `access.default`: what callers may do that no client names.
pub(super) fn judge(access: &AccessConfig) -> Vec<Finding> {
    let scopes = access.unlisted_scopes().to_texts().join(", ");
    let others = match (&access.unlisted, access.clients.is_empty()) {
        (Some(_), _) if scopes.is_empty() => "others have no scope (`[access] unlisted`)".to_owned(),
        (Some(_), _) => format!("others have the scopes {scopes} (`[access] unlisted`)"),
        (None, true) => format!(
            "no client is listed, so everyone else who can connect has the scopes {scopes}: list clients in masker.toml to \
             limit them"
        ),
        (None, false) => "others who match no client have no scope".to_owned(),
    };
    let found = format!("root and the daemon's own user may do everything unless a client names them; {others}");
    vec![Finding::ok("access.default", found)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use masker_config::ClientConfig;
    use masker_types::grant::{Grant, Limits, ScopeSet};

    #[test]
    fn says_which_default_holds() {
        let found = |unlisted: Option<&[&str]>, clients: usize| {
            let client = ClientConfig {
                place: String::new(),
                name: "app".to_owned(),
                user: None,
                uid: Some(7),
                group: None,
                gid: None,
                unit: None,
                grant: Grant::none(),
                limits: Limits::none(),
                share: None,
            };
            let access = AccessConfig {
                unlisted: unlisted.map(|texts| ScopeSet::parse(texts).unwrap()),
                clients: vec![client; clients],
                ..AccessConfig::default()
            };
            judge(&access).remove(0).found
        };
        assert!(found(None, 0).contains("who can connect has the scopes tokenize, rehydrate, lookup, rewrap"));
        assert!(found(None, 1).ends_with("others who match no client have no scope"));
        assert!(found(Some(&["lookup"]), 0).contains("others have the scopes lookup ("));
        assert!(found(Some(&[]), 0).contains("others have no scope ("));
    }
}
