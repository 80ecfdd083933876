//! Gateways: clients with a ceiling, each connected as its own user, that pass on the credentials of others.

mod assertions;
mod routes;
mod taken_over;

use super::harness::{Client, OpenDaemon, Site, TestKey};

/// The user of a gateway. No user of this host has it.
const GATEWAY: u32 = 62_000;
/// A user that no client matches.
const STRANGER: u32 = 62_900;
/// All that a gateway may assert.
const ALL: &str = "\"gateway:login\", \"gateway:certificate\", \"gateway:address\"";

const ADDRESS: &str = "Masker-Gateway-Address";
const CERTIFICATE: &str = "Masker-Gateway-Certificate";

/// Starts a daemon that all users can reach, with an audit log.
fn start(site: &Site) -> OpenDaemon {
    OpenDaemon::start_with(site, |launch| launch.env("MASKER_AUDIT_HMAC_KEY", TestKey::named("audit").base64()))
}

/// Adds a gateway, with a line of its ceiling or none.
fn add_gateway(site: &mut Site, uid: u32, scopes: &str, ceiling: &str) {
    site.client(&format!("name = \"gateway-{uid}\"\nuid = {uid}\ngateway = true\nscopes = [{scopes}]\n{ceiling}\n"));
}

/// Returns roles as they are written into a configuration, after its clients.
fn role(name: &str, scopes: &[&str], members: &[&str], more: &str) -> String {
    format!("[roles.{name}]\nscopes = {scopes:?}\nmembers = {members:?}\n{more}\n")
}

/// Returns the public key of a certificate as it is asserted.
fn key_of(number: u8) -> String {
    format!("sha256:{}", format!("{number:02x}").repeat(32))
}

/// Returns the identities of a certificate with this DNS name as they are asserted.
fn certificate(number: u8, name: &str) -> String {
    format!("{}, san:dns:{name}", key_of(number))
}

/// Connects as a gateway that asserts a certificate.
fn holder_of(daemon: &OpenDaemon, uid: u32, number: u8, name: &str) -> Client {
    daemon.client_of(uid).header(CERTIFICATE, &certificate(number, name))
}
