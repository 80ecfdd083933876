//! Access: clients of the configuration, each connected as its own user.

use std::{fs, path::PathBuf, process};

use masker_http::{RouteAccess, routes};
use masker_types::grant::Scope;
use serde_json::{Value, json};

use super::harness::{OpenDaemon, Site, error_code, is_root, item};

/// The first of the uids for clients. No user of this host has them.
const USERS: u32 = 61_000;

/// Returns two users for a scope: one that has only this scope, and one that has all others.
fn users_of(scope: Scope) -> (u32, u32) {
    let place = Scope::ALL.iter().position(|known| *known == scope).unwrap();
    let place = u32::try_from(place).unwrap();
    (USERS + 2 * place, USERS + 2 * place + 1)
}

/// Returns the user that has every scope except those that the route at this place accepts.
fn user_beside(place: usize) -> u32 {
    USERS + 2 * u32::try_from(Scope::ALL.len() + place).unwrap()
}

#[test]
fn each_route_requires_its_scope() {
    if !is_root("being several users") {
        return;
    }
    let mut site = Site::new();
    for scope in Scope::ALL {
        let (has, lacks) = users_of(*scope);
        let others: Vec<&str> = Scope::ALL.iter().filter(|other| *other != scope).map(|other| other.as_str()).collect();
        site.client(&format!("name = \"only-{has}\"\nuid = {has}\nscopes = [\"{scope}\"]"));
        site.client(&format!("name = \"but-{lacks}\"\nuid = {lacks}\nscopes = {others:?}"));
    }
    let any = routes().iter().enumerate().filter_map(|(place, route)| match route.access() {
        RouteAccess::NeedsAny(scopes) => Some((place, scopes)),
        _ => None,
    });
    for (place, scopes) in any {
        let others: Vec<&str> =
            Scope::ALL.iter().filter(|other| !scopes.contains(other)).map(|other| other.as_str()).collect();
        let lacks = user_beside(place);
        site.client(&format!("name = \"but-{lacks}\"\nuid = {lacks}\nscopes = {others:?}"));
    }
    let daemon = OpenDaemon::start(&site);
    for (place, route) in routes().iter().enumerate() {
        let (method, template) = (route.method(), route.path());
        let path = template.replace("{id}", "0").replace("{name}", "care");
        let ask = |uid: u32| daemon.client_of(uid).exchange(method.as_str(), &path, b"");
        match route.access() {
            RouteAccess::Public => {
                for uid in [USERS, USERS - 1] {
                    let status = ask(uid).status;
                    assert!(![401, 403].contains(&status), "{method} {template} is open to everybody: {status}");
                }
            }
            RouteAccess::Needs(scope) => {
                let (has, lacks) = users_of(scope);
                let detail = ask(lacks).problem(403, "perm.denied");
                assert!(detail.contains(&format!("`{scope}`")), "{method} {template}: {detail}");
                let detail = ask(USERS - 1).problem(403, "perm.denied");
                assert!(detail.contains(&format!("`{scope}`")), "{method} {template}: {detail}");
                let status = ask(has).status;
                assert!(![401, 403].contains(&status), "{method} {template} takes {scope}: {status}");
            }
            RouteAccess::NeedsAny(scopes) => {
                for uid in [user_beside(place), USERS - 1] {
                    let detail = ask(uid).problem(403, "perm.denied");
                    assert!(detail.contains(&format!("`{}`", scopes[0])), "{method} {template}: {detail}");
                }
                for scope in scopes {
                    let status = ask(users_of(*scope).0).status;
                    assert!(![401, 403].contains(&status), "{method} {template} takes {scope}: {status}");
                }
            }
        }
    }
    // The first client locks root out of nothing.
    daemon.client().get("/api/v1/keys").ok();
    daemon.stop();
}

#[test]
fn while_no_client_is_listed_others_may_only_use_values() {
    if !is_root("being several users") {
        return;
    }
    let site = Site::new();
    let daemon = OpenDaemon::start(&site);
    let mut other = daemon.client_of(USERS);
    let token = other.token("PHONE", "415-555-2671");
    assert_eq!(other.value(&token), "415-555-2671");
    let whoami = other.get("/api/v1/auth/whoami").ok();
    assert_eq!(whoami["name"], "unlisted");
    let has: Vec<&str> =
        Scope::ALL.iter().map(|scope| scope.as_str()).filter(|scope| whoami["scopes"][scope] == true).collect();
    assert_eq!(has, ["tokenize", "rehydrate", "lookup", "rewrap", "text:mask", "text:restore", "text:detect"]);
    other.post("/api/v1/forget", &json!({"tokens": [token]})).problem(403, "perm.denied");
    other.get("/api/v1/api-keys").problem(403, "perm.denied");
    other.post("/api/v1/vault/check", &json!({})).problem(403, "perm.denied");
    // It sees whether the daemon is healthy, and nothing else of it.
    assert_eq!(other.get("/health").ok(), json!({"status": "ok"}));
    assert!(daemon.client().get("/health").ok()["components"]["keys"].is_object());
    daemon.stop();
}

#[test]
fn a_client_that_names_root_limits_it() {
    if !is_root("being several users") {
        return;
    }
    let mut site = Site::new();
    site.client("name = \"everyone\"\ngid = 0\nscopes = []");
    let daemon = OpenDaemon::start(&site);
    daemon.client().get("/api/v1/keys").ok();
    daemon.client_of(USERS).post("/api/v1/tokenize", &json!({"items": []})).problem(403, "perm.denied");
    daemon.stop();

    let mut site = Site::new();
    site.client("name = \"operator\"\nuser = \"root\"\nscopes = [\"metrics:read\"]");
    let daemon = OpenDaemon::start(&site);
    daemon.client().get("/api/v1/keys").problem(403, "perm.denied");
    assert_eq!(daemon.client().get("/health").ok(), json!({"status": "ok"}));
    daemon.stop();
}

#[test]
fn a_scope_for_one_kind_rejects_items_of_other_kinds() {
    if !is_root("being several users") {
        return;
    }
    let mut site = Site::new();
    site.client(&format!("name = \"all\"\nuid = {USERS}\nscopes = [\"*\"]"));
    let scopes = ["tokenize:PHONE", "rehydrate:PHONE", "lookup:PHONE", "rewrap:CARD", "forget:PHONE"];
    site.client(&format!("name = \"phones\"\nuid = {}\nscopes = {scopes:?}", USERS + 1));
    let daemon = OpenDaemon::start(&site);
    let (mut all, mut phones) = (daemon.client_of(USERS), daemon.client_of(USERS + 1));
    let (name, card) = (all.token("NAME", "Ada"), all.token("CARD", "4111"));

    let items = [item("PHONE", "415-555-2671"), item("NAME", "Ada"), item("NOSUCH", "x"), item("NOTE", "x")];
    let results = phones.tokenize(&items);
    let phone = results[0]["token"].as_str().unwrap().to_owned();
    assert_eq!(results[1]["error"]["detail"], "this caller lacks the scope `tokenize:NAME`");
    let codes: Vec<&str> = results[1..].iter().map(error_code).collect();
    assert_eq!(codes, ["perm.denied", "kind.unknown", "perm.denied"]);
    let found = phones.ask_items("/api/v1/lookup", &items[..2]);
    assert_eq!(found[0], json!({"tokens": [phone], "exact": true}));
    assert_eq!(error_code(&found[1]), "perm.denied");

    let opened = phones.rehydrate(&[phone.as_str(), &name, &card, "rubbish"]);
    assert_eq!(opened[0]["value"], "415-555-2671");
    assert_eq!(
        opened[1..].iter().map(error_code).collect::<Vec<_>>(),
        ["perm.denied", "perm.denied", "token.malformed"]
    );
    // A token relabelled to an allowed kind is not found, and an unknown kind is not quoted.
    let relabelled = name.replace(".NAME.", ".PHONE.");
    assert_eq!(error_code(&phones.rehydrate(&[relabelled.as_str()])[0]), "token.not_found");
    let unknown = phones.rehydrate(&[name.replace(".NAME.", ".MADE_UP.").as_str()]).remove(0);
    assert_eq!(error_code(&unknown), "perm.denied");
    assert!(!unknown.to_string().contains("MADE_UP"), "{unknown}");

    let rewrapped = phones.ask_tokens("/api/v1/rewrap", &[card.as_str(), &phone]);
    assert_eq!(rewrapped[0], json!({"token": card, "changed": false}));
    assert_eq!(error_code(&rewrapped[1]), "perm.denied");
    let forgotten = phones.ask_tokens("/api/v1/forget", &[name.as_str(), &phone]);
    assert_eq!((error_code(&forgotten[0]), &forgotten[1]), ("perm.denied", &json!({"forgotten": true})));
    assert_eq!(all.value(&name), "Ada", "what may not be forgotten is still there");

    let whoami = phones.get("/api/v1/auth/whoami").ok();
    assert_eq!(whoami["name"], "phones");
    assert_eq!((&whoami["scopes"]["tokenize"], &whoami["scopes"]["tokenize:PHONE"]), (&json!(false), &json!(true)));
    daemon.stop();
}

const BILL: &str = "name = \"bill\"\nversion = 1\nkid = \"K_PAY\"\ntokenization = \"vault-deterministic\"\n\
                    [entities.PHONE]\n[entities.IBAN]\ntokenization = \"reversible-aead\"\n";

#[test]
fn a_client_is_limited_to_its_policies_and_contexts() {
    if !is_root("being several users") {
        return;
    }
    let mut site = Site::new();
    site.policy("bill.toml", BILL);
    site.set("policy", "default", "\"care\"");
    site.client(&format!("name = \"all\"\nuid = {USERS}\nscopes = [\"*\"]"));
    site.client(&format!("name = \"bill\"\nuid = {}\nscopes = [\"*\"]\npolicies = [\"bill\"]", USERS + 1));
    let contexts = "contexts = [\"clinic-7\", \"clinic-7/*\"]";
    site.client(&format!("name = \"clinic\"\nuid = {}\nscopes = [\"*\"]\n{contexts}", USERS + 2));
    let daemon = OpenDaemon::start(&site);
    let [mut all, mut bill, mut clinic] = [0, 1, 2].map(|place| daemon.client_of(USERS + place));
    let of = |policy: &str, context: &str, value: &str| json!({"policy": policy, "context": context, "items": [item("PHONE", value)]});
    let mint = |client: &mut super::harness::Client, body: &Value| {
        client.post("/api/v1/tokenize", body).results(1).remove(0)["token"].as_str().unwrap().to_owned()
    };
    let (care, pay) = (mint(&mut all, &of("care", "", "1")), mint(&mut all, &of("bill", "", "2")));

    for path in ["/api/v1/tokenize", "/api/v1/lookup"] {
        let detail = bill.post(path, &of("care", "", "1")).problem(403, "perm.denied");
        assert!(detail.contains("only with certain policies"), "{detail}");
        bill.post(path, &of("bill", "", "2")).results(1);
    }
    let opened = bill.rehydrate(&[care.as_str(), &pay]);
    assert_eq!((error_code(&opened[0]), &opened[1]["value"]), ("perm.denied", &json!("2")));
    let forgotten = bill.ask_tokens("/api/v1/forget", &[care.as_str()]);
    assert_eq!(error_code(&forgotten[0]), "perm.denied");
    assert_eq!(all.value(&care), "1");

    for (context, reached) in [("", false), ("clinic-7", true), ("clinic-7/ward", true), ("clinic-70", false)] {
        let result = clinic.post("/api/v1/tokenize", &of("care", context, "3")).results(1).remove(0);
        assert_eq!(result["token"].is_string(), reached, "{context:?}: {result}");
        let token = mint(&mut all, &of("care", context, "3"));
        let opened = clinic.post("/api/v1/rehydrate", &json!({"context": context, "tokens": [token]})).results(1);
        assert_eq!(opened[0]["value"] == "3", reached, "{context:?}: {opened:?}");
        if !reached {
            assert_eq!((error_code(&result), error_code(&opened[0])), ("perm.denied", "perm.denied"));
            assert!(context.is_empty() || !format!("{result}{opened:?}").contains(context), "{result}");
        }
    }
    daemon.stop();
}

#[test]
fn a_reload_replaces_the_clients() {
    if !is_root("being several users") {
        return;
    }
    let mut site = Site::new();
    site.client(&format!("name = \"operator\"\nuid = {USERS}\nscopes = [\"*\"]"));
    let daemon = OpenDaemon::start(&site);
    let (mut operator, mut app) = (daemon.client_of(USERS), daemon.client_of(USERS + 1));
    app.get("/api/v1/keys").problem(403, "perm.denied");

    site.client(&format!("name = \"app\"\nuid = {}\nscopes = [\"keys:read\"]", USERS + 1));
    site.write();
    operator.exchange("POST", "/api/v1/policies/reload", b"").ok();
    app.get("/api/v1/keys").ok();

    // An invalid configuration changes nothing, and is reported with its line.
    site.client("name = \"ghost\"\nuser = \"no-such-user\"\nscopes = [\"tokenise\"]");
    site.write();
    let detail = operator.exchange("POST", "/api/v1/policies/reload", b"").problem(422, "policy.invalid");
    assert!(detail.contains("did you mean `tokenize`?") && detail.contains("masker.toml:"), "{detail}");
    app.get("/api/v1/keys").ok();
    site.forget_clients();
    site.client("name = \"ghost\"\nuser = \"no-such-user\"\nscopes = [\"tokenize\"]\npolicies = [\"nosuch\"]");
    site.write();
    let detail = operator.exchange("POST", "/api/v1/policies/reload", b"").problem(422, "policy.invalid");
    assert!(detail.contains("`no-such-user`") && detail.contains("`nosuch`"), "{detail}");

    site.forget_clients();
    site.client(&format!("name = \"operator\"\nuid = {USERS}\nscopes = [\"*\"]"));
    site.write();
    daemon.reload();
    app.get("/api/v1/keys").problem(403, "perm.denied");
    operator.get("/api/v1/keys").ok();
    daemon.stop();

    site.client("name = \"ghost\"\nuser = \"no-such-user\"\nscopes = []");
    let log = site.launch().care_keys().refused().code(3);
    assert!(log.contains("names the user `no-such-user`, which does not exist on this host"), "{log}");
}

/// A control group as the service manager creates it for a unit, if this host allows that.
struct Unit(PathBuf);

impl Unit {
    fn make(name: &str) -> Option<Self> {
        // Unified, as systemd mounts it today; legacy with its own hierarchy; hybrid.
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"].map(PathBuf::from);
        let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists())?;
        let group = root.join(name);
        fs::create_dir(&group).ok()?;
        Some(Unit(group))
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // An empty group is removed like a directory. A group that is left can be recognized by its name.
        drop(fs::remove_dir(&self.0));
    }
}

#[test]
fn a_client_can_be_a_unit() {
    if !is_root("making control groups") {
        return;
    }
    let name = format!("masker-test-{}.service", process::id());
    let Some(unit) = Unit::make(&name) else {
        eprintln!("skipped: this host does not allow new control groups");
        return;
    };
    let mut site = Site::new();
    site.client(&format!("name = \"billing\"\nuid = 0\nunit = \"{name}\"\nscopes = [\"keys:read\"]"));
    let daemon = OpenDaemon::start(&site);
    let ask = |prelude: &str| {
        let masker = env!("CARGO_BIN_EXE_masker");
        let script = format!("{prelude} exec {masker} --socket {} --json whoami", daemon.socket().display());
        let output = process::Command::new("sh").args(["-c", &script]).env_clear().output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let inside = ask(&format!("echo $$ > {}/cgroup.procs &&", unit.0.display()));
    assert_eq!((&inside["name"], &inside["unit"]), (&json!("billing"), &json!(name)), "{inside}");
    assert_eq!(inside["scopes"]["keys:read"], true);
    let outside = ask("");
    assert_eq!(outside["name"], "trusted", "{outside}");
    assert_ne!(outside["unit"], json!(name));
    daemon.stop();
}
