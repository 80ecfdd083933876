//! All entries of `tests/vectors/tokens-v1.json`, the executable half of the token format, through the public
//! functions that mint, parse and open. The `derive` entries are tested in the crate, because subkeys do not leave
//! it.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use masker_core::{
    crypto::{GenerationKeys, Index, IndexName, SecretKey, Suite, TokenId},
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

fn kid(vector: &Json) -> Kid {
    Kid::parse(text(vector, "kid")).expect("a key id")
}

fn kind(vector: &Json) -> EntityKind {
    EntityKind::parse(text(vector, "kind")).expect("a kind")
}

/// Returns the mode of a vector: live, unless it says otherwise.
fn mode(vector: &Json) -> Mode {
    if vector["mode"] == "test" { Mode::Test } else { Mode::Live }
}

/// Returns the keys of a vector: `key` is active, and `old`, if present, is the old one.
fn keyring(vector: &Json) -> Keyring {
    let loaded = [("key", Role::Active), ("old", Role::Old)].into_iter().filter_map(|(field, role)| {
        let bytes = HEXLOWER.decode(vector.get(field)?.as_str()?.as_bytes()).expect("hex");
        let key = SecretKey::from_bytes(Zeroizing::new(bytes.try_into().expect("32 bytes"))).expect("a key");
        Some(LoadedKey { kid: kid(vector), role, key })
    });
    match Keyring::build(loaded.collect(), 0) {
        Ok(keyring) => keyring,
        Err(problems) => panic!("{problems:?}"),
    }
}

/// Opens a token as a request does: returns the value, or the code of the error.
fn open(keyring: &Keyring, mode: Mode, token: &str, context: Context<'_>) -> Result<String, &'static str> {
    let Token::Aead { kind, kid, body } = Token::parse(token).map_err(|InvalidToken| "token.malformed")? else {
        panic!("a reversible token")
    };
    let mut matching = keyring.matching(kid, body.fingerprint_prefix()).peekable();
    if matching.peek().is_none() {
        return Err("key.unavailable");
    }
    matching
        .find_map(|generation| generation.keys(mode).open(kind, context, &body).ok())
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
        ("form-index", 24),
        ("msk1", 84),
        ("msk1-open", 9),
        ("msk1-reject", 34),
        ("mskv1", 42),
        ("normalize", 80),
        ("parse-reject", 22),
        ("value-index", 84),
        ("value-refused", 4),
        ("value-taken", 6),
    ];
    assert_eq!(counts, BTreeMap::from(expected), "each kind has its test, in this file or in crypto::kdf");
}

#[test]
fn normalize() {
    for vector in vectors("normalize") {
        let normalizer = Normalizer::from_name(text(&vector, "normalizer")).expect("a normalizer");
        assert_eq!(normalizer.form(value(&vector)), text(&vector, "result"), "{vector}");
    }
}

#[test]
fn vault_tokens() {
    for vector in vectors("mskv1") {
        let id = HEXLOWER.decode(text(&vector, "id").as_bytes()).expect("hex");
        let id = TokenId::from_bytes(id.try_into().expect("20 bytes"));
        let token = Token::Vault { kind: kind(&vector), kid: kid(&vector), id };
        assert_eq!(token.to_text(), text(&vector, "token"), "{vector}");
        assert!(Token::parse(text(&vector, "token")) == Ok(token), "{vector}");
    }
}

#[test]
fn value_indexes() {
    for vector in vectors("value-index") {
        let indexed = |keys: &GenerationKeys| keys.value_index(kind(&vector), context(&vector), value(&vector));
        assert_index(&vector, IndexName::Value, indexed);
    }
}

#[test]
fn form_indexes() {
    for vector in vectors("form-index") {
        let normalizer = Normalizer::from_name(text(&vector, "normalizer")).expect("a normalizer");
        let form = normalizer.form(value(&vector));
        assert_eq!(form, text(&vector, "form"), "{vector}");
        let indexed = |keys: &GenerationKeys| keys.form_index(normalizer, kind(&vector), context(&vector), &form);
        assert_index(&vector, IndexName::Form, indexed);
    }
}

/// Checks the index of a vector and the tag of its list, and that the other mode has other ones.
fn assert_index(vector: &Json, name: IndexName, indexed: impl Fn(&GenerationKeys) -> Index) {
    let keyring = keyring(vector);
    let generation = keyring.get(kid(vector)).expect("loaded").active();
    let bytes = |digits: &str| HEXLOWER.decode(digits.as_bytes()).expect("hex");
    let entries = vector["entries"].as_array().expect("a list");
    let list: Vec<u8> = entries.iter().flat_map(|entry| bytes(entry.as_str().expect("hex"))).collect();
    let mode = mode(vector);
    let keys = generation.keys(mode);
    let index = indexed(keys);
    let tag = keys.index_tag(name, index, &list);
    assert_eq!(HEXLOWER.encode(index.as_bytes()), text(vector, "index"), "{vector}");
    assert_eq!(HEXLOWER.encode(&tag), text(vector, "tag"), "{vector}");
    assert!(keys.index_tag_verifies(name, index, &list, &tag), "{vector}");
    for other in Mode::ALL.into_iter().filter(|other| *other != mode) {
        let other = generation.keys(other);
        assert!(indexed(other) != index && !other.index_tag_verifies(name, index, &list, &tag), "{vector}");
    }
}

#[test]
fn reversible_tokens() {
    for vector in vectors("msk1") {
        let keyring = keyring(&vector);
        let (kid, kind, mode) = (kid(&vector), kind(&vector), mode(&vector));
        let code = vector["suite"].as_u64().and_then(|code| u8::try_from(code).ok()).expect("a code");
        let suite = Suite::from_code(code).expect("a suite");
        assert!(suite.is_deterministic(), "a random token cannot be minted again");
        let keys = keyring.get(kid).expect("loaded").active().keys(mode);
        let body = keys.mint(suite, kind, context(&vector), value(&vector), &mut StdRng::seed_from_u64(0));
        let minted = Token::Aead { kind, kid, body };
        assert_eq!(minted.to_text(), text(&vector, "token"), "{vector}");
        assert!(Token::parse(text(&vector, "token")) == Ok(minted), "{vector}");
        let opened = open(&keyring, mode, text(&vector, "token"), context(&vector));
        assert_eq!(opened.as_deref(), Ok(text(&vector, "value")), "{vector}");
    }
}

#[test]
fn reversible_tokens_of_active_and_old_keys_open() {
    for vector in vectors("msk1-open") {
        let token = text(&vector, "token");
        assert_eq!(Token::parse(token).map(|token| token.to_text()).as_deref(), Ok(token), "{vector}");
        let opened = open(&keyring(&vector), mode(&vector), token, context(&vector));
        assert_eq!(opened.as_deref(), Ok(text(&vector, "value")), "{vector}");
    }
}

#[test]
fn reversible_tokens_that_must_not_open() {
    for vector in vectors("msk1-reject") {
        let opened = open(&keyring(&vector), mode(&vector), text(&vector, "token"), context(&vector));
        assert_eq!(opened, Err(text(&vector, "expect")), "{vector}");
    }
}

#[test]
fn invalid_tokens() {
    for vector in vectors("parse-reject") {
        assert_eq!(Token::parse(text(&vector, "token")), Err(InvalidToken), "{vector}");
    }
}

#[test]
fn values_that_are_tokens_are_refused() {
    for vector in vectors("value-refused") {
        assert_eq!(text(&vector, "expect"), "value.is_token");
        assert!(Token::parse(text(&vector, "value")).is_ok(), "{vector}");
    }
    for vector in vectors("value-taken") {
        assert_eq!(Token::parse(text(&vector, "value")), Err(InvalidToken), "{vector}");
    }
}
