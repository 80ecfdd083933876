//! Limits of callers: rates, quotas and budgets.

use serde_json::{Value, json};

use super::{
    api_keys::create,
    harness::{Client, Site, item},
};

fn phones(numbers: std::ops::Range<u32>) -> Value {
    json!({"items": numbers.map(|number| item("PHONE", &number.to_string())).collect::<Vec<Value>>()})
}

/// Returns what is left of one limit.
fn left(client: &mut Client, limit: &str) -> u64 {
    client.get("/api/v1/auth/whoami").ok()["limits_left"][limit].as_u64().expect("a number")
}

#[test]
fn answers_have_rate_limit_headers() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let scopes = ["tokenize", "rehydrate"];
    let key = create(&mut daemon.client(), "limited", &scopes, json!({"limits": {"requests_per_hour": 5}}));
    let mut client = key.client(&daemon);
    let asked = [
        client.post("/api/v1/tokenize", &phones(0..1)),
        client.post("/api/v1/tokenize", &json!({"items": 1})),
        client.get("/api/v1/keys"),
        client.get("/nowhere"),
        client.exchange("PUT", "/api/v1/tokenize", b""),
    ];
    assert_eq!(asked.each_ref().map(|answer| answer.status), [200, 400, 403, 404, 405]);
    for (answer, remaining) in asked.iter().zip([4, 3, 2, 1, 0]) {
        let [limit, left, reset] = answer.rate.expect("the headers");
        assert_eq!((limit, left), (5, remaining), "{}", answer.status);
        assert!((1..=3_600).contains(&reset), "{reset}");
    }
    let refused = client.post("/api/v1/tokenize", &phones(0..1));
    let detail = refused.problem(429, "rate.limited");
    assert!(detail.contains("`requests_per_hour`"), "{detail}");
    assert_eq!(refused.rate.map(|[limit, left, _]| (limit, left)), Some((5, 0)));
    let wait: u64 = refused.retry_after.expect("seconds").parse().unwrap();
    assert!((1..=3_600).contains(&wait), "{wait}");
    // A caller without remaining requests can still see its limits.
    assert_eq!(left(&mut client, "requests_per_hour"), 0);
    assert!(daemon.client().get("/api/v1/keys").rate.is_none(), "the operator has no limits");

    // New limits for the same key keep its usage.
    daemon.client().exchange("PATCH", &key.path(), br#"{"limits": {"requests_per_hour": 8}}"#).ok();
    assert!(left(&mut client, "requests_per_hour") <= 2);
    daemon.stop();
}

#[test]
fn requests_are_admitted_whole_or_not_at_all() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let scopes = ["tokenize", "rehydrate"];
    let limited =
        [("values_per_hour", "rate.limited", "one request"), ("operations_per_day", "quota.exceeded", "a day")];
    for (limit, code, span) in limited {
        let key = create(&mut daemon.client(), limit, &scopes, json!({"limits": {limit: 5}}));
        let mut client = key.client(&daemon);
        let detail = client.post("/api/v1/tokenize", &phones(0..6)).problem(429, code);
        assert!(detail.contains(&format!("allows at most 5 values in {span}; send fewer")), "{detail}");
        assert!(detail.contains("this request needs 6"), "{detail}");
        // To ask what is left takes nothing of it.
        assert_eq!((left(&mut client, limit), left(&mut client, limit)), (5, 5));
        client.post("/api/v1/tokenize", &phones(0..3)).results(3);
        let detail = client.post("/api/v1/tokenize", &phones(0..3)).problem(429, code);
        assert!(detail.contains("needs 3, 2 are left") && !detail.contains("used up"), "{detail}");
        client.post("/api/v1/tokenize", &phones(0..2)).results(2);
        let detail = client.post("/api/v1/rehydrate", &json!({"tokens": ["x"]})).problem(429, code);
        assert!(detail.contains("is used up for"), "{detail}");
    }
    daemon.stop();
}

#[test]
fn only_new_values_count_against_the_budget() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let limits = json!({"distinct_values_per_day": 10, "rehydrations_per_day": 5});
    let key = create(&mut daemon.client(), "careful", &["tokenize", "lookup", "rehydrate"], json!({"limits": limits}));
    let mut client = key.client(&daemon);
    let crossed = |limit: &str| daemon.client().metric(&format!("masker_budget_crossed_total{{limit=\"{limit}\"}}"));
    for _ in 0..5 {
        client.post("/api/v1/tokenize", &phones(0..7)).results(7);
        client.post("/api/v1/lookup", &phones(0..7)).results(7);
    }
    assert_eq!((left(&mut client, "distinct_values_per_day"), crossed("distinct_values_per_day")), (3, Some(0.0)));
    // The eighth of ten is 80 %, which is reported once.
    client.post("/api/v1/lookup", &phones(7..8)).results(1);
    client.post("/api/v1/tokenize", &phones(8..9)).results(1);
    assert_eq!(crossed("distinct_values_per_day"), Some(1.0));
    let detail = client.post("/api/v1/tokenize", &phones(7..11)).problem(429, "quota.exceeded");
    assert!(detail.contains("`distinct_values_per_day`"), "{detail}");
    client.post("/api/v1/tokenize", &phones(7..10)).results(3);
    client.post("/api/v1/lookup", &phones(10..11)).problem(429, "quota.exceeded");
    client.post("/api/v1/tokenize", &phones(0..10)).results(10);

    let tokens = client.tokens("PHONE", &["0", "1", "2"]);
    client.rehydrate(&tokens);
    assert_eq!(crossed("rehydrations_per_day"), Some(0.0));
    client.post("/api/v1/rehydrate", &json!({"tokens": tokens})).problem(429, "quota.exceeded");
    client.rehydrate(&tokens[..2]);
    assert_eq!(crossed("rehydrations_per_day"), Some(1.0));
    client.post("/api/v1/rehydrate", &json!({"tokens": tokens[..1]})).problem(429, "quota.exceeded");
    daemon.stop();
}

#[test]
fn a_value_counts_once_whatever_the_policy() {
    let mut site = Site::new();
    let policy =
        "name = \"other\"\nversion = 1\nkid = \"K_PAY\"\ntokenization = \"vault-deterministic\"\n[entities.PHONE]\n";
    site.policy("other.toml", policy);
    site.set("policy", "default", "\"care\"");
    let daemon = site.launch().care_keys().start();
    let limits = json!({"distinct_values_per_day": 10});
    let key = create(&mut daemon.client(), "guesser", &["tokenize", "lookup", "forget"], json!({"limits": limits}));
    let mut client = key.client(&daemon);
    let of = |policy: &str, numbers: std::ops::Range<u32>| {
        let mut body = phones(numbers);
        body["policy"] = json!(policy);
        body
    };
    for policy in ["care", "other"] {
        client.post("/api/v1/tokenize", &of(policy, 0..5)).results(5);
        client.post("/api/v1/lookup", &of(policy, 0..5)).results(5);
        client.post("/api/v1/forget", &of(policy, 0..5)).results(5);
    }
    assert_eq!(left(&mut client, "distinct_values_per_day"), 5);
    // Two policies are not two budgets.
    client.post("/api/v1/lookup", &of("care", 5..10)).results(5);
    for policy in ["care", "other"] {
        client.post("/api/v1/lookup", &of(policy, 10..11)).problem(429, "quota.exceeded");
    }
    daemon.stop();
}

#[test]
fn the_standard_limits_bound_the_guesses_of_a_request() {
    let site = Site::new();
    let daemon = site.launch().care_keys().start();
    let key = create(&mut daemon.client(), "standard", &["lookup"], json!({"limits": "standard"}));
    let mut client = key.client(&daemon);
    client.post("/api/v1/lookup", &phones(0..1_001)).problem(429, "rate.limited");
    client.post("/api/v1/lookup", &phones(0..1_000)).results(1_000);
    client.post("/api/v1/lookup", &phones(1_000..2_000)).problem(429, "rate.limited");
    daemon.stop();
}

#[test]
fn usage_survives_a_reload() {
    let mut site = Site::new();
    let own = |most: u32| {
        let uid = nix::unistd::geteuid();
        format!(
            "name = \"own\"\nuid = {uid}\nscopes = [\"*\"]\n[clients.limits]\nvalues_per_hour = {most}\n\
             distinct_values_per_day = 6"
        )
    };
    site.client(&own(10));
    let daemon = site.launch().care_keys().start();
    let mut client = daemon.client();
    client.post("/api/v1/tokenize", &phones(0..4)).results(4);
    daemon.reload();
    assert_eq!(left(&mut client, "values_per_hour"), 6);
    client.post("/api/v1/tokenize", &phones(4..7)).problem(429, "quota.exceeded");
    let before = left(&mut client, "values_per_hour");
    site.forget_clients();
    site.client(&own(20));
    site.write();
    daemon.reload();
    assert_eq!((left(&mut client, "values_per_hour"), left(&mut client, "distinct_values_per_day")), (before + 10, 2));
    daemon.stop();
}
