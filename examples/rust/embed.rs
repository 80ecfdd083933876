//! Embeds `masker-core`, without the daemon and without a vault: reads a key and a policy, mints a stateless token, and
//! opens it again.
//!
//! ```console
//! $ cargo run -p masker-core --example embed
//! ```

use std::{error::Error, fmt::Display};

use masker_core::{
    crypto::SecretKey,
    keyring::{Keyring, LoadedKey, Role},
    policy::{Action, Policy, Scheme},
    token::Token,
};
use masker_types::{
    kind::{Context, Kid, Value},
    mode::Mode,
};

/// A key for this example only. Generate your own with `head -c 32 /dev/urandom | base64`.
const KEY: &[u8] = b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

const POLICY: &str = r#"
name = "example"
version = 1
kid = "K_EXAMPLE"
tokenization = "reversible-aead"

[entities.PHONE]
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let key = LoadedKey { kid: kid("K_EXAMPLE")?, role: Role::Active, key: SecretKey::parse_base64(KEY)? };
    let keyring = Keyring::build(vec![key], 0).map_err(|problems| join(&problems))?;
    let policy = Policy::parse(POLICY).map_err(|problems| join(&problems))?;

    let token = tokenize(&keyring, &policy, "PHONE", "415-555-2671")?;
    let value = rehydrate(&keyring, &token)?;
    println!("token: {token}");
    println!("value: {value}");
    Ok(())
}

/// Returns the stateless token of a value.
fn tokenize(keyring: &Keyring, policy: &Policy, kind: &str, value: &str) -> Result<String, Box<dyn Error>> {
    let (kind, rule) = policy.rule(kind).ok_or("the policy does not name this kind")?;
    let Action::Tokenize(rule) = rule.action else { return Err("the policy does not tokenize this kind".into()) };
    let Scheme::ReversibleAead(suite) = rule.scheme else { return Err("vault tokens need the daemon".into()) };
    let keys = keyring.get(rule.kid).ok_or("the key is not loaded")?.active().keys(Mode::Live);
    let value = Value::new(value).ok_or("a value has 1 to 4,096 bytes")?;
    let body = keys.mint(suite, kind, Context::EMPTY, value, &mut rand::rng());
    Ok(Token::Aead { kind, kid: rule.kid, body }.to_text())
}

/// Returns the value of a stateless token.
fn rehydrate(keyring: &Keyring, token: &str) -> Result<String, Box<dyn Error>> {
    let Token::Aead { kind, kid, body } = Token::parse(token)? else {
        return Err("vault tokens need the daemon".into());
    };
    // Two generations match only during a rotation, and only by chance.
    for generation in keyring.matching(kid, body.fingerprint_prefix()) {
        if let Ok(value) = generation.keys(Mode::Live).open(kind, Context::EMPTY, &body) {
            return Ok(value.to_string());
        }
    }
    Err("no loaded key opens this token".into())
}

fn kid(text: &str) -> Result<Kid, Box<dyn Error>> {
    Kid::parse(text).ok_or_else(|| "not a key id".into())
}

fn join(problems: &[impl Display]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn runs() {
        super::main().unwrap();
    }
}
