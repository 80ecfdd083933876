use super::*;
use crate::document::DocumentError;

/// The example of the reference, with all defaults written out.
const REFERENCE: &str = r#"
name = "healthcare-default"
version = 1
description = "…"
kid = "k_healthcare"
tokenization = "vault-deterministic"
cipher = "aes-256-gcm"
deterministic = true

[entities.PHONE]
normalize = "phone"
[entities.SSN]
normalize = "digits"
context = "required"
action = "tokenize"
[entities.NOTE]
action = "redact"
[entities.CITY]
action = "passthrough"
[entities.CARD]
kid = "K_PAYMENTS"
tokenization = "reversible-aead"
cipher = "xchacha20-poly1305"
deterministic = false
"#;

fn rule(policy: &Policy, kind: &str) -> EntityRule {
    *policy.rule(kind).unwrap().1
}

fn tokenize(kid: &str, scheme: Scheme, normalizer: Normalizer) -> Action {
    Action::Tokenize(TokenizeRule { kid: Kid::parse(kid).unwrap(), scheme, normalizer, validation: None })
}

/// Parses a policy with the given lines at the top, from line 3, and the given entities after them.
fn parse(top: &str, entities: &str) -> Result<Policy, Vec<DocumentError>> {
    Policy::parse(&format!("name = \"p\"\nversion = 1\n{top}\n{entities}"))
}

/// Returns each problem as `line: message`.
fn outline(parsed: Result<Policy, Vec<DocumentError>>) -> Vec<String> {
    parsed.unwrap_err().iter().map(|problem| format!("{}: {}", problem.line, problem.message)).collect()
}

fn assert_problems(parsed: Result<Policy, Vec<DocumentError>>, expected: &[(usize, &str)]) {
    let problems = parsed.unwrap_err();
    let seen: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(seen, expected.iter().map(|(line, _)| *line).collect::<Vec<_>>(), "{problems:#?}");
    for (problem, (_, part)) in problems.iter().zip(expected) {
        assert!(problem.message.contains(part), "{part:?} is not in {problem}");
    }
}

#[test]
fn settings_of_a_kind_override_those_at_the_top() {
    let policy = Policy::parse(REFERENCE).unwrap();
    assert_eq!((policy.name.as_str(), policy.version, policy.description.as_str()), ("healthcare-default", 1, "…"));
    let vault = Scheme::VaultDeterministic;
    let phone = tokenize("K_HEALTHCARE", vault, Normalizer::Phone);
    assert_eq!(rule(&policy, "PHONE"), EntityRule { action: phone, context_required: false });
    let ssn = tokenize("K_HEALTHCARE", vault, Normalizer::Digits);
    assert_eq!(rule(&policy, "SSN"), EntityRule { action: ssn, context_required: true });
    assert_eq!(rule(&policy, "NOTE"), EntityRule { action: Action::Redact, context_required: false });
    assert_eq!(rule(&policy, "CITY"), EntityRule { action: Action::Passthrough, context_required: false });
    let card = tokenize("K_PAYMENTS", Scheme::ReversibleAead(Suite::XChaCha20Poly1305Random), Normalizer::Exact);
    assert_eq!(rule(&policy, "CARD"), EntityRule { action: card, context_required: false });
    assert!(policy.rule("phone").is_none() && policy.rule("FAX").is_none());
    let kids: Vec<String> = policy.kids().map(|kid| kid.to_string()).collect();
    assert_eq!(kids, ["K_HEALTHCARE", "K_PAYMENTS"]);
}

#[test]
fn a_context_required_at_the_top_is_required_for_each_tokenized_kind() {
    let top = "kid = \"K\"\ntokenization = \"vault-deterministic\"\ncontext = \"required\"";
    let policy =
        parse(top, "[entities.A]\n[entities.B]\ncontext = \"optional\"\n[entities.C]\naction = \"redact\"\n").unwrap();
    let required = ["A", "B", "C"].map(|kind| rule(&policy, kind).context_required);
    assert_eq!(required, [true, false, false]);
}

#[test]
fn a_check_is_off_by_default() {
    let top = "kid = \"K\"\ntokenization = \"reversible-aead\"";
    let checks = |text: &str| match rule(&parse(top, text).unwrap(), "A").action {
        Action::Tokenize(rule) => rule.validation,
        Action::Redact | Action::Passthrough => None,
    };
    assert_eq!(checks("[entities.A]\n"), None);
    for validation in Validation::ALL {
        assert_eq!(checks(&format!("[entities.A]\nvalidate = \"{}\"\n", validation.name())), Some(validation));
    }
}

#[test]
fn a_cipher_and_a_nonce_select_a_suite() {
    for (cipher, deterministic, suite) in [
        ("aes-256-gcm", true, Suite::Xaes256Gcm),
        ("aes-256-gcm", false, Suite::Xaes256GcmRandom),
        ("xchacha20-poly1305", true, Suite::XChaCha20Poly1305),
        ("xchacha20-poly1305", false, Suite::XChaCha20Poly1305Random),
    ] {
        let top = format!(
            "kid = \"K\"\ntokenization = \"reversible-aead\"\ncipher = \"{cipher}\"\ndeterministic = {deterministic}"
        );
        let policy = parse(&top, "[entities.A]\n").unwrap();
        assert_eq!(rule(&policy, "A").action, tokenize("K", Scheme::ReversibleAead(suite), Normalizer::Exact));
        assert_eq!((PolicyCipher::of(suite).name(), suite.is_deterministic()), (cipher, deterministic));
    }
    let policy = parse("kid = \"K\"\ntokenization = \"reversible-aead\"", "[entities.A]\n").unwrap();
    let by_default = Scheme::ReversibleAead(Suite::Xaes256Gcm);
    assert_eq!(rule(&policy, "A").action, tokenize("K", by_default, Normalizer::Exact));
}

#[test]
fn reports_every_error_with_its_line() {
    let text = r#"name = "Health Care"
version = 0
descripton = "x"
kid = "K_OLD"
tokenization = "vault"

[entities.phone]
normalize = "fone"

[entities.SSN]
context = true
action = "hide"
normalise = "digits"
validate = "lun"

[entities.CARD]
tokenization = "vault-deterministic"
cipher = "rot13"
deterministic = "no"

[entities.DOB]
tokenization = "vault-deterministic"
cipher = "aes-256-gcm"
deterministic = false

[entities.NOTE]
action = "redact"
kid = "K_X"
normalize = "trim"
validate = "luhn"

[entitie.X]
"#;
    assert_problems(
        Policy::parse(text),
        &[
            (1, "`name` cannot be `Health Care`"),
            (2, "`version` must be a whole number from 1"),
            (3, "did you mean `description`?"),
            (4, "does not end in `_OLD`"),
            (5, "there is `vault-deterministic` and `reversible-aead`"),
            (7, "did you mean `PHONE`?"),
            (8, "`normalize` cannot be `fone`: did you mean `phone`?"),
            (11, "`context` in [entities.SSN] must be a string"),
            (12, "`action` cannot be `hide`"),
            (13, "did you mean `normalize`?"),
            (14, "`validate` cannot be `lun`: did you mean `luhn`?"),
            (18, "`cipher` cannot be `rot13`"),
            (19, "`deterministic` in [entities.CARD] must be true or false"),
            (23, "`cipher` is for `tokenization = \"reversible-aead\"`"),
            (24, "`deterministic` is for"),
            (28, "`kid` has no effect: NOTE is redacted"),
            (29, "`normalize` has no effect"),
            (30, "`validate` has no effect: NOTE is redacted"),
            (32, "did you mean `entities`?"),
        ],
    );
}

#[test]
fn reports_missing_settings_once() {
    assert_problems(
        Policy::parse("[entities.A]\n[entities.B]\n"),
        &[
            (1, "`kid` is missing: needed by `A` and `B`"),
            (1, "`name` is missing"),
            (1, "`tokenization` is missing: needed by `A` and `B`"),
            (1, "`version` is missing"),
        ],
    );
    assert_problems(parse("kid = \"K\"", ""), &[(1, "`entities` is missing")]);
    assert_problems(parse("kid = \"K\"\n[entities]", ""), &[(4, "[entities] is empty")]);
    assert_problems(parse("entities = 1", ""), &[(3, "must be a section")]);
}

#[test]
fn rejects_settings_for_reversible_tokens_without_such_kinds() {
    let top = "kid = \"K\"\ntokenization = \"vault-deterministic\"";
    let unused = format!("{top}\ncipher = \"xchacha20-poly1305\"\ndeterministic = false");
    assert_problems(parse(&unused, "[entities.A]\n"), &[(5, "`cipher` has no effect"), (6, "`deterministic` has no")]);
    assert!(parse(&unused, "[entities.A]\n[entities.B]\ntokenization = \"reversible-aead\"\n").is_ok());
    let documentation = format!("{top}\ncipher = \"aes-256-gcm\"\ndeterministic = true");
    assert!(parse(&documentation, "[entities.A]\n").is_ok());
}

#[test]
fn checks_the_names_of_policies() {
    let named = |name: &str| {
        Policy::parse(&format!(
            "name = \"{name}\"\nversion = 1\nkid = \"K\"\ntokenization = \"reversible-aead\"\n[entities.A]\n"
        ))
    };
    for good in ["a", "0", "a-b-", &"a".repeat(64)] {
        assert!(named(good).is_ok(), "{good}");
    }
    for bad in ["", "-a", "A", "a_b", "a b", "é", &"a".repeat(65)] {
        assert_eq!(outline(named(bad)).len(), 1, "{bad}");
    }
}

#[test]
fn warns_of_normalizers_for_reversible_tokens() {
    let top = "kid = \"K\"\ntokenization = \"reversible-aead\"";
    let policy = parse(top, "[entities.A]\nnormalize = \"digits\"\n[entities.B]\nnormalize = \"exact\"\n").unwrap();
    let warnings = policy.warnings();
    assert!(
        matches!(&warnings[..], [one] if one.contains("policy `p`") && one.contains("tokens of A")),
        "{warnings:?}"
    );
}

#[test]
fn the_shipped_policies_are_valid() {
    let shipped = [
        ("healthcare-default", include_str!("../../../../policies/healthcare-default.toml"), 24),
        ("payments", include_str!("../../../../policies/payments.toml"), 12),
        ("stateless", include_str!("../../../../policies/stateless.toml"), 24),
    ];
    for (name, text, kinds) in shipped {
        let policy = Policy::parse(text).unwrap();
        assert_eq!((policy.name.as_str(), policy.entities.len()), (name, kinds));
        assert_eq!(policy.warnings(), Vec::<String>::new());
        assert_eq!(policy.kids().count(), 1);
    }
    let [healthcare, _, stateless] = shipped.map(|(_, text, _)| Policy::parse(text).unwrap());
    assert!(healthcare.entities.keys().eq(stateless.entities.keys()));
}

/// Returns the effect of changing the section of kind A.
fn effect(before: &str, after: &str) -> Option<Effect> {
    let policy = |settings: &str| {
        let text = format!("[entities.A]\n{settings}\n[entities.Z]\naction = \"redact\"\n");
        parse("kid = \"K\"\ntokenization = \"vault-deterministic\"", &text).unwrap()
    };
    let changes = changes(&policy(before), &policy(after));
    assert!(changes.len() <= 1);
    changes.first().map(|change| change.effect)
}

#[test]
fn reports_whether_known_values_get_new_tokens() {
    let aead = "tokenization = \"reversible-aead\"";
    let random = "tokenization = \"reversible-aead\"\ndeterministic = false";
    let chacha = "tokenization = \"reversible-aead\"\ncipher = \"xchacha20-poly1305\"";
    let aead_digits = "tokenization = \"reversible-aead\"\nnormalize = \"digits\"";
    let (digits, phone) = ("normalize = \"digits\"", "normalize = \"phone\"");
    let (required, optional) = ("context = \"required\"", "context = \"optional\"");
    let (redact, pass) = ("action = \"redact\"", "action = \"passthrough\"");
    assert_eq!(effect(digits, digits), None);
    for (before, after) in [("", "kid = \"K2\""), ("", aead), (aead, random), (random, aead), (aead, chacha)] {
        assert!(matches!(effect(before, after), Some(Effect::NewTokens(_))), "{before} to {after}");
    }
    assert!(matches!(effect(optional, required), Some(Effect::SomeNewTokens(_))));
    assert_eq!(effect(digits, phone), Some(Effect::OtherMatches));
    let (luhn, ssn) = ("validate = \"luhn\"", "validate = \"ssn\"");
    assert_eq!(effect("", luhn), Some(Effect::Validated(Validation::Luhn)));
    assert_eq!(effect(luhn, ssn), Some(Effect::Validated(Validation::Ssn)));
    assert_eq!(effect(luhn, ""), Some(Effect::SameTokens));
    for (before, after) in [(aead, aead_digits), (required, optional)] {
        assert_eq!(effect(before, after), Some(Effect::SameTokens), "{before} to {after}");
    }
    assert_eq!(effect(digits, redact), Some(Effect::TokenizedNoMore));
    assert_eq!(effect(redact, aead), Some(Effect::TokenizedFromNowOn));
    assert_eq!(effect(redact, pass), Some(Effect::OtherWithoutToken));
}

#[test]
fn added_and_removed_kinds_are_changes() {
    let top = "kid = \"K\"\ntokenization = \"vault-deterministic\"";
    let (one, other) = (parse(top, "[entities.A]\n[entities.B]\n"), parse(top, "[entities.B]\n[entities.C]\n"));
    let changes = changes(&one.unwrap(), &other.unwrap());
    let seen: Vec<(&str, Effect)> = changes.iter().map(|change| (change.kind.as_str(), change.effect)).collect();
    assert_eq!(seen, [("A", Effect::Removed), ("C", Effect::Added)]);
}
