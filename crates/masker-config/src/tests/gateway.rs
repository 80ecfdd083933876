//! Gateways and roles.

use super::*;
use masker_types::{
    certificate::CertificateIdentity,
    grant::{GatewayAssertion, Scope},
};

const GATEWAY: &str = "[[clients]]\nname = \"gateway\"\nuser = \"masker-gateway\"\ngateway = true\n";

#[test]
fn reads_a_gateway_with_its_ceiling() {
    let host = TestHost::new();
    let loaded = |text: String| {
        host.write("work/masker.toml", &text);
        host.load().unwrap().access.clients.remove(0)
    };
    let all = "scopes = [\"gateway:login\", \"gateway:certificate\", \"gateway:address\"]\n";
    let client = loaded(format!("{GATEWAY}{all}"));
    assert!(client.grant.scopes.is_empty(), "a gateway has no rights of its own");
    let gateway = client.gateway.unwrap();
    assert_eq!(gateway.assertions, GatewayAssertion::ALL.iter().copied().collect());
    assert_eq!(gateway.ceiling, ScopeSet::default_ceiling());
    assert!(gateway.opened().is_empty());

    let ceiling = "ceiling = [\"tokenize\", \"rehydrate:PHONE\", \"lookup\"]\npolicies = [\"a\"]\ncontexts = [\"x\"]\n";
    let client = loaded(format!("{GATEWAY}scopes = [\"gateway:address\"]\n{ceiling}"));
    assert!(client.grant.allows_policy("a") && !client.grant.allows_policy("b") && client.grant.allows_context("x"));
    let gateway = client.gateway.unwrap();
    assert_eq!(gateway.assertions, [GatewayAssertion::Address].into());
    assert_eq!(gateway.opened(), ["lookup", "rehydrate:PHONE"]);

    let everything = loaded(format!("{GATEWAY}scopes = []\nceiling = [\"*\"]\n")).gateway.unwrap();
    assert!(everything.ceiling == ScopeSet::all() && everything.assertions.is_empty());
    let client = loaded("[[clients]]\nname = \"a\"\nuid = 1\nscopes = [\"*\"]\ngateway = false\n".to_owned());
    assert!(client.gateway.is_none() && client.grant.scopes.allows(Scope::Rehydrate));
}

#[test]
fn reads_roles() {
    let host = TestHost::new();
    let digest = "0f".repeat(32);
    let text = format!(
        "[roles.ci]\nscopes = [\"reports:read\"]\npolicies = [\"a\"]\ncontexts = [\"x/*\"]\nlimits = \"standard\"\n\
         members = [\"cert:sha256:{digest}\", \"cert:san:dns:CI.example\"]\n\
         [roles.admin]\nscopes = [\"api-keys:admin\"]\nmembers = [\"cert:san:uri:spiffe://a/admin\", \"cert:san:email:a@b.example\"]\n"
    );
    let file = host.write("work/masker.toml", &text);
    let roles = host.load().unwrap().access.roles;
    let [admin, ci] = roles.as_slice() else { panic!("{roles:?}") };
    assert_eq!((admin.name.as_str(), ci.name.as_str()), ("admin", "ci"));
    assert_eq!(ci.place, format!("{}:1", file.display()));
    assert_eq!(ci.grant.scopes.to_texts(), ["reports:read"]);
    assert!(ci.grant.allows_context("x/y") && !ci.grant.allows_context("") && !ci.grant.allows_policy("b"));
    assert_eq!((ci.limits, admin.limits), (Limits::standard(), Limits::none()));
    let members: Vec<String> = ci.members.iter().map(CertificateIdentity::to_string).collect();
    assert_eq!(members, [format!("sha256:{digest}"), "san:dns:ci.example".to_owned()]);
    assert_eq!(Config::reload_access(&file).unwrap().roles, roles);
}

#[test]
fn reports_every_error_of_gateways_and_roles_with_its_line() {
    let host = TestHost::new();
    let text = [
        "[[clients]]\nname = \"a\"\nuid = 1\ngateway = true\nscopes = [\"tokenize\", \"gateway:all\"]\n",
        "ceiling = [\"gateway:login\", \"tokenise\"]\nlimits = \"standard\"\n",
        "[[clients]]\nname = \"b\"\nuid = 2\nscopes = [\"gateway:address\"]\nceiling = []\n",
        "[[clients]]\nname = \"c\"\nuid = 3\nscopes = []\ngateway = 1\n",
        "[roles]\nci = 1\n",
        "[roles.Staff]\nscopes = [\"gateway:login\"]\nmembers = [\"san:dns:a\", \"cert:sha256:00\"]\n",
        "[roles.x]\nlevel = 1\n",
        "[roles.y]\nscopes = []\nmembers = [\"cert:san:dns:a\",\n\"cert:san:dns:A\"]\n",
        "[roles.z]\nscopes = [\"api-keys:admin\"]\nlimits = \"standard\"\nmembers = [\"cert:san:dns:a\"]\n",
    ]
    .concat();
    let file = host.write("work/masker.toml", &text);
    let errors = messages(&host.load().unwrap_err());
    let texts: Vec<&str> = errors.iter().map(|error| error.strip_prefix(file.to_str().unwrap()).unwrap()).collect();
    let expected = [
        (1, "`limits` of a gateway"),
        (5, "and not `tokenize`: list in `ceiling`"),
        (5, "and not `gateway:all`"),
        (6, "`ceiling` cannot contain `gateway:login`"),
        (6, "did you mean `tokenize`?"),
        (8, "`ceiling` is for gateways: add `gateway = true`"),
        (11, "`gateway:address` is for gateways: add `gateway = true`"),
        (17, "`gateway` in [clients] must be true or false"),
        (19, "write [roles.ci]"),
        (20, "the role `Staff` has an invalid name"),
        (21, "`gateway:login` is not a scope"),
        (22, "`members` cannot contain `san:dns:a`: write `cert:sha256:`"),
        (22, "`members` cannot contain `cert:sha256:00`"),
        (23, "`scopes` is missing"),
        (23, "`members` is missing"),
        (24, "unknown field `level`"),
        (28, "`members` of the role `y` has `cert:san:dns:A` twice"),
        (29, "the role `z` has `api-keys:admin` and `limits`"),
        (32, "`cert:san:dns:a` is a member of the roles `y` and `z`: a certificate has one role"),
    ];
    for (line, part) in expected {
        let found = texts.iter().any(|error| error.starts_with(&format!(":{line}: ")) && error.contains(part));
        assert!(found, "{line} {part}: {texts:#?}");
    }
    assert_eq!(texts.len(), expected.len(), "{texts:#?}");
}
