//! All entries of `tests/vectors/tokens-v1.json`, the executable half of the token format, through the public
//! functions that mint, parse and open. The `derive` entries are tested in the crate, because subkeys do not leave
//! it.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use masker_core::{
    crypto::{SecretKey, Suite},
    keyring::{Keyring, LoadedKey, Role},
    normalize::Normalizer,
    token::{InvalidToken, Token},
};
use masker_types::{
    kind::{Context, EntityKind, Kid, Value},
    mode::Mode,
};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::Value as Json;
use zeroize::Zeroizing;

fn vectors(kind_of: &str) -> Vec<Json> {
    let mut file: Json = serde_json::from_str(include_str!("../vectors/tokens-v1.json")).expect("JSON");
    let Json::Array(all) = file["vectors"].take() else { panic!("a list of vectors") };
    all.into_iter().filter(|vector| vector["kind_of"] == kind_of).collect()
}

fn text<'v>(vector: &'v Json, field: &str) -> &'v str {
    vector[field].as_str().unwrap_or_else(|| panic!("{field} of {vector}"))
}

fn context(vector: &Json) -> Context<'_> {
    Context::new(text(vector, "context")).expect("a context")
}

fn value(vector: &Json) -> Value<'_> {
    Value::new(text(vector, "value")).expect("a value")
}

/// Returns the keys of a vector: `key` is active, and `old`, if present, is the old one.
fn keyring(vector: &Json) -> Keyring {
    let loaded = [("key", Role::Active), ("old", Role::Old)].into_iter().filter_map(|(field, role)| {
        let bytes = HEXLOWER.decode(vector.get(field)?.as_str()?.as_bytes()).expect("hex");
        let key = SecretKey::from_bytes(Zeroizing::new(bytes.try_into().expect("32 bytes"))).expect("a key");
        Some(LoadedKey { kid: Kid::parse(text(vector, "kid")).expect("a key id"), role, key })
    });
    match Keyring::build(loaded.collect(), 0) {
        Ok(keyring) => keyring,
        Err(problems) => panic!("{problems:?}"),
    }
}

/// Opens a token as a request does: returns the value, or the code of the error.
fn open(keyring: &Keyring, token: &str, context: Context<'_>) -> Result<String, &'static str> {
    let Token::Aead { kind, kid, body } = Token::parse(token).map_err(|InvalidToken| "token.malformed")? else {
        panic!("a reversible token")
    };
    let mut matching = keyring.matching(kid, body.fingerprint_prefix()).peekable();
    if matching.peek().is_none() {
        return Err("key.unavailable");
    }
    matching
        .find_map(|generation| generation.keys(Mode::Live).open(kind, context, &body).ok())
        .map(|value| value.to_string())
        .ok_or("token.not_found")
}

#[test]
fn each_kind_of_vector_is_tested() {
    let file: Json = serde_json::from_str(include_str!("../vectors/tokens-v1.json")).expect("JSON");
    let mut counts = BTreeMap::new();
    for vector in file["vectors"].as_array().expect("a list") {
        *counts.entry(text(vector, "kind_of")).or_insert(0) += 1;
    }
    let expected = [
        ("derive", 6),
        ("msk1", 78),
        ("msk1-open", 9),
        ("msk1-reject", 32),
        ("mskv1", 39),
        ("normalize", 30),
        ("parse-reject", 22),
    ];
    assert_eq!(counts, BTreeMap::from(expected), "each kind has its test, in this file or in crypto::kdf");
}

#[test]
fn normalize() {
    for vector in vectors("normalize") {
        let normalizer = Normalizer::from_name(text(&vector, "normalizer")).expect("a normalizer");
        assert_eq!(normalizer.apply(value(&vector)).as_deref(), Ok(text(&vector, "result")), "{vector}");
    }
}

#[test]
fn vault_tokens() {
    for vector in vectors("mskv1") {
        let keyring = keyring(&vector);
        let kid = Kid::parse(text(&vector, "kid")).expect("a key id");
        let kind = EntityKind::parse(text(&vector, "kind")).expect("a kind");
        let normalizer = Normalizer::from_name(text(&vector, "normalizer")).expect("a normalizer");
        let normal = normalizer.apply(value(&vector)).expect("a normal form");
        let generation = keyring.get(kid).expect("loaded").active();
        let minted =
            Token::Vault { kind, kid, id: generation.keys(Mode::Live).token_id(kind, context(&vector), &normal) };
        assert_eq!(minted.to_text(), text(&vector, "token"), "{vector}");
        assert!(Token::parse(text(&vector, "token")) == Ok(minted), "{vector}");
        let in_test = generation.keys(Mode::Test).token_id(kind, context(&vector), &normal);
        assert_ne!(Token::Vault { kind, kid, id: in_test }.to_text(), text(&vector, "token"), "{vector}");
    }
}

#[test]
fn reversible_tokens() {
    for vector in vectors("msk1") {
        let keyring = keyring(&vector);
        let kid = Kid::parse(text(&vector, "kid")).expect("a key id");
        let kind = EntityKind::parse(text(&vector, "kind")).expect("a kind");
        let code = vector["suite"].as_u64().and_then(|code| u8::try_from(code).ok()).expect("a code");
        let suite = Suite::from_code(code).expect("a suite");
        assert!(suite.is_deterministic(), "a random token cannot be minted again");
        let keys = keyring.get(kid).expect("loaded").active().keys(Mode::Live);
        let body = keys.mint(suite, kind, context(&vector), value(&vector), &mut StdRng::seed_from_u64(0));
        let minted = Token::Aead { kind, kid, body };
        assert_eq!(minted.to_text(), text(&vector, "token"), "{vector}");
        assert!(Token::parse(text(&vector, "token")) == Ok(minted), "{vector}");
        let opened = open(&keyring, text(&vector, "token"), context(&vector));
        assert_eq!(opened.as_deref(), Ok(text(&vector, "value")), "{vector}");
    }
}

#[test]
fn reversible_tokens_of_active_and_old_keys_open() {
    for vector in vectors("msk1-open") {
        let token = text(&vector, "token");
        assert_eq!(Token::parse(token).map(|token| token.to_text()).as_deref(), Ok(token), "{vector}");
        let opened = open(&keyring(&vector), token, context(&vector));
        assert_eq!(opened.as_deref(), Ok(text(&vector, "value")), "{vector}");
    }
}

#[test]
fn reversible_tokens_that_must_not_open() {
    for vector in vectors("msk1-reject") {
        let opened = open(&keyring(&vector), text(&vector, "token"), context(&vector));
        assert_eq!(opened, Err(text(&vector, "expect")), "{vector}");
    }
}

#[test]
fn invalid_tokens() {
    for vector in vectors("parse-reject") {
        assert_eq!(Token::parse(text(&vector, "token")), Err(InvalidToken), "{vector}");
    }
}
