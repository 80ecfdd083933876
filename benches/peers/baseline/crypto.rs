//! The cryptography alone: mints or opens version 1 tokens in a loop on one core.

use std::{fs, hint::black_box, path::Path, time::Instant};

use masker_core::{
    crypto::{GenerationKeys, SecretKey, Suite},
    token::Token,
};
use masker_types::{
    kind::{Context, EntityKind, Kid, Value},
    mode::Mode,
};

use crate::Outcome;

/// Runs `tokenize` or `rehydrate` for at least `seconds` and prints the rate as JSON.
pub fn run(operation: &str, values: &Path, seconds: f64) -> Outcome<()> {
    let text = fs::read_to_string(values)?;
    let values: Vec<Value<'_>> =
        text.lines().map(|line| Value::new(line).ok_or("invalid value")).collect::<Result<_, _>>()?;
    let mut rng = rand::rng();
    let kid = Kid::parse("K_STATELESS").ok_or("a key id")?;
    let kind = EntityKind::parse("PHONE").ok_or("a kind")?;
    let context = Context::new("").ok_or("a context")?;
    let keys = GenerationKeys::derive(kid, &SecretKey::generate(&mut rng)?, Mode::Live)?;
    let mut tokens = vec![String::new(); values.len()];
    let mut mint = |number: usize| {
        let body = keys.mint(Suite::Xaes256Gcm, kind, context, values[number], &mut rng);
        tokens[number].clear();
        Token::Aead { kind, kid, body }.write_to(&mut tokens[number]);
        true
    };
    let minted = rate(if operation == "tokenize" { seconds } else { 0.0 }, values.len(), &mut mint)?;
    let rate = match operation {
        "tokenize" => minted,
        "rehydrate" => rate(seconds, values.len(), |number| match Token::parse(black_box(&tokens[number])) {
            Ok(Token::Aead { kind, body, .. }) => black_box(keys.open(kind, context, &body)).is_ok(),
            _ => false,
        })?,
        _ => return Err("the operation is neither tokenize nor rehydrate".into()),
    };
    println!("{}", serde_json::json!({ "values_per_second": rate }));
    Ok(())
}

/// Returns the values per second, measured over complete rounds of all values: at least one round.
fn rate(seconds: f64, values: usize, mut work: impl FnMut(usize) -> bool) -> Outcome<f64> {
    let (begun, mut done) = (Instant::now(), 0_usize);
    loop {
        for number in 0..values {
            if !work(number) {
                return Err("failed to process a value".into());
            }
        }
        done += values;
        let took = begun.elapsed().as_secs_f64();
        if took >= seconds {
            return Ok(done as f64 / took);
        }
    }
}
