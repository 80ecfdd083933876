//! Each route, with each credential, through gateways with each ceiling.

use masker_http::{Route, RouteAccess, routes};
use masker_types::grant::{Scope, ScopeSet};
use serde_json::{Value, json};

use super::{ADDRESS, ALL, GATEWAY, add_gateway, holder_of, role, start};
use crate::{
    api_keys::create,
    harness::{Client, Site, is_root},
};

/// Credentials of a caller.
#[derive(Clone, Copy, Debug)]
enum Credential {
    None,
    /// An API key of `*`.
    Key,
    /// A certificate of a role that has `*`.
    Role,
    /// A certificate of a role that has `tokenize` and `rehydrate`.
    NarrowRole,
    /// A certificate of no role.
    UnknownCertificate,
}

/// What a route answers, as far as rights decide it.
#[derive(Debug, PartialEq)]
enum Expected {
    /// Neither 401 nor 403.
    Admitted,
    Refused(u16, &'static str),
}

fn expected(route: &Route, credential: Credential, ceiling: &ScopeSet) -> Expected {
    let rights = match credential {
        Credential::None if route.path() == "/health" => return Expected::Admitted,
        Credential::None => return Expected::Refused(401, "auth.missing"),
        Credential::UnknownCertificate => return Expected::Refused(403, "role.none"),
        Credential::Key | Credential::Role => ceiling.clone(),
        Credential::NarrowRole => ceiling.intersection(&ScopeSet::of(&[Scope::Tokenize, Scope::Rehydrate])),
    };
    let needed = route.access();
    let may = match needed {
        RouteAccess::Public => true,
        RouteAccess::Needs(_) | RouteAccess::NeedsAny(_) => {
            needed.scopes().iter().any(|scope| rights.allows_some(*scope))
        }
    };
    if may { Expected::Admitted } else { Expected::Refused(403, "perm.denied") }
}

#[test]
fn each_route_admits_what_the_credential_and_the_ceiling_allow() {
    if !is_root("being several users") {
        return;
    }
    let ceilings = [
        ("", ScopeSet::default_ceiling()),
        ("ceiling = [\"*\"]", ScopeSet::all()),
        ("ceiling = [\"tokenize\"]", ScopeSet::of(&[Scope::Tokenize])),
    ];
    let mut site = Site::new();
    for (uid, (line, _)) in (GATEWAY..).zip(&ceilings) {
        add_gateway(&mut site, uid, ALL, line);
    }
    let roles = [
        role("all", &["*"], &["cert:san:dns:all.example"], ""),
        role("narrow", &["tokenize", "rehydrate"], &["cert:san:dns:narrow.example"], ""),
    ];
    site.client(&format!("name = \"last\"\nuid = 1\nscopes = []\n{}", roles.concat()));
    let daemon = start(&site);
    let key = create(&mut daemon.client(), "everything", &["*"], json!({}));
    let mut admitted = [0; 3];
    for (index, (_, ceiling)) in ceilings.iter().enumerate() {
        let uid = GATEWAY + u32::try_from(index).unwrap();
        for route in routes() {
            let (method, template) = (route.method(), route.path());
            let path = template.replace("{id}", "0").replace("{name}", "care");
            for credential in [
                Credential::None,
                Credential::Key,
                Credential::Role,
                Credential::NarrowRole,
                Credential::UnknownCertificate,
            ] {
                let mut client: Client = match credential {
                    Credential::None => daemon.client_of(uid),
                    Credential::Key => daemon.client_of(uid).show(&key.key),
                    Credential::Role => holder_of(&daemon, uid, 1, "all.example"),
                    Credential::NarrowRole => holder_of(&daemon, uid, 2, "narrow.example"),
                    Credential::UnknownCertificate => holder_of(&daemon, uid, 3, "else.example"),
                };
                let answer = client.exchange(method.as_str(), &path, b"");
                match expected(route, credential, ceiling) {
                    Expected::Admitted => {
                        let what = format!("{method} {template} {credential:?} under {index}: {}", answer.status);
                        assert!(![401, 403].contains(&answer.status), "{what}");
                        admitted[index] += 1;
                    }
                    Expected::Refused(status, code) => {
                        answer.problem(status, code);
                    }
                }
            }
        }
    }
    assert!(admitted[2] > 0 && admitted[2] < admitted[0] && admitted[0] < admitted[1], "{admitted:?}");
    // Another path shows nothing to a stranger.
    daemon.client_of(GATEWAY).get("/nowhere").problem(401, "auth.missing");
    daemon.client_of(GATEWAY).show(&key.key).get("/nowhere").problem(404, "route.not_found");
    daemon.stop();
}

#[test]
fn the_caller_sees_the_rights_that_it_has_through_the_gateway() {
    if !is_root("being several users") {
        return;
    }
    let mut site = Site::new();
    let ceiling = "ceiling = [\"tokenize\", \"rehydrate:PHONE\", \"keys:read\"]\npolicies = [\"care\"]\ncontexts = [\"\", \"a/*\"]";
    add_gateway(&mut site, GATEWAY, ALL, ceiling);
    let scopes = ["rehydrate", "keys:read", "lookup"];
    site.client(&format!(
        "name = \"last\"\nuid = 1\nscopes = []\n{}",
        role("ci", &scopes, &["cert:san:dns:ci.example"], "limits = \"standard\"")
    ));
    let daemon = start(&site);
    let mut root = daemon.client();
    let token = root.token("PHONE", "415-555-2671");
    let name = root.token("NAME", "Ada");
    let key = create(&mut root, "everything", &["*"], json!({"contexts": ["a/b", "c"]}));
    assert_eq!(key.client(&daemon).get("/api/v1/auth/whoami").ok()["scopes"]["rehydrate"], true);

    let mut through = daemon.client_of(GATEWAY).show(&key.key).header(ADDRESS, "2001:DB8::7");
    let whoami = through.get("/api/v1/auth/whoami").ok();
    let scopes = whoami["scopes"].as_object().unwrap();
    let has: Vec<&str> = scopes.iter().filter(|(_, has)| **has == true).map(|(scope, _)| &**scope).collect();
    assert_eq!(has, ["keys:read", "rehydrate:PHONE", "tokenize"]);
    let shown = ["policies", "contexts", "gateway", "address", "attested_by", "certificate"].map(|name| &whoami[name]);
    let expected = [
        &json!(["care"]),
        &json!(["a/b"]),
        &json!(format!("gateway-{GATEWAY}")),
        &json!("2001:db8::7"),
        &json!("api-key"),
        &json!(null),
    ];
    assert_eq!(shown, expected);

    let mut ci = holder_of(&daemon, GATEWAY, 9, "CI.example");
    let whoami = ci.get("/api/v1/auth/whoami").ok();
    assert_eq!((&whoami["name"], &whoami["attested_by"]), (&json!("role:ci"), &json!("client-certificate")));
    assert_eq!((&whoami["certificate"], &whoami["limits"]), (&json!("09".repeat(32)), &json!("standard")));
    let results = ci.rehydrate(&[token, name]);
    assert_eq!(results[0]["value"], "415-555-2671");
    assert_eq!(results[1]["error"]["detail"], "this caller lacks the scope `rehydrate:NAME`");
    // Another certificate of the role has limits of its own.
    let left = |whoami: &Value| whoami["limits_left"]["requests_per_hour"].as_u64().unwrap();
    let other = holder_of(&daemon, GATEWAY, 8, "ci.example").get("/api/v1/auth/whoami").ok();
    assert!(left(&ci.get("/api/v1/auth/whoami").ok()) < left(&other));

    // Only a credential that may see the details of the health sees them, and the gateway has none of its own.
    assert_eq!(daemon.client_of(GATEWAY).get("/health").ok(), json!({"status": "ok"}));
    assert!(ci.get("/health").ok()["components"].is_object());
    daemon.stop();
}
