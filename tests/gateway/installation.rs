//! A real daemon for the gateway to reach.

use serde_json::json;

use crate::harness::{OpenDaemon, Site, TestKey};

/// The user of the gateway. No user of this host has it.
pub const GATEWAY: u32 = 62_000;
/// A value that has a token.
pub const VALUE: &str = "415-555-2671";

/// A daemon with a gateway before it, and an API key of every scope.
pub struct Installation {
    /// Its files are deleted with it.
    pub site: Site,
    pub daemon: OpenDaemon,
    /// An API key of every scope.
    pub key: String,
    /// The token of [`VALUE`].
    pub token: String,
}

/// Starts the daemon, whose configuration names the gateway and a role.
pub fn install() -> Installation {
    let mut site = Site::new();
    let assertions = "\"gateway:certificate\", \"gateway:address\"";
    site.client(&format!("name = \"gateway\"\nuid = {GATEWAY}\ngateway = true\nscopes = [{assertions}]\n"));
    site.client(
        "name = \"root\"\nuser = \"root\"\nscopes = [\"*\"]\n[roles.ci]\nscopes = [\"tokenize\"]\nmembers = \
         [\"cert:san:dns:ci.example\"]\n",
    );
    let audit = TestKey::named("audit").base64();
    let daemon = OpenDaemon::start_with(&site, |launch| launch.env("MASKER_AUDIT_HMAC_KEY", audit));
    let mut root = daemon.client_of(0);
    let created = json!({"name": "remote", "scopes": ["*"], "limits": "none"});
    let key = root.post("/api/v1/api-keys", &created).json()["key"].as_str().unwrap().to_owned();
    let token = root.token("PHONE", VALUE);
    Installation { site, daemon, key, token }
}
