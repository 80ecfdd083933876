//! Measures the cost of one value or token on one core: `cargo bench --bench tokens`.

use divan::{Bencher, black_box};
use masker_core::{
    crypto::{GenerationKeys, IndexName, RecordBinding, RecordPayload, SecretKey, Suite, TokenId},
    normalize::Normalizer,
    token::Token,
};
use masker_types::{
    kind::{Context, EntityKind, Kid, Value},
    mode::Mode,
};
use rand::{SeedableRng, rngs::StdRng};

fn main() {
    divan::main();
}

/// The lengths of a telephone number, a longer text, and the longest valid value.
const LENGTHS: [usize; 3] = [14, 100, 4_096];
/// A typical input for each normalizer, in the order of `Normalizer::ALL`.
const SPELLINGS: [&str; 12] = [
    "Sarah Chen",
    " Sarah Chen ",
    "Sarah Chen",
    "Sarah.Chen@Example.org",
    "123-45-6789",
    "1hg-cm826 33a",
    "(415) 555-2671",
    "(415) 555-2671",
    "1990/04/12",
    "04/12/1990",
    "12.4.1990",
    "2001:DB8::8a2e:370:7334",
];

struct Fixture {
    keys: GenerationKeys,
    kind: EntityKind,
    kid: Kid,
    context: Context<'static>,
    rng: StdRng,
}

fn fixture() -> Fixture {
    let mut rng = StdRng::seed_from_u64(0);
    let kid = Kid::parse("K_HEALTHCARE").expect("a key id");
    let key = SecretKey::generate(&mut rng).expect("locked memory");
    Fixture {
        keys: GenerationKeys::derive(kid, &key, Mode::Live).expect("locked memory"),
        kind: EntityKind::parse("PHONE").expect("a kind"),
        kid,
        context: Context::new("tenant-7").expect("a context"),
        rng,
    }
}

fn text(length: usize) -> String {
    "0123456789".chars().cycle().take(length).collect()
}

#[divan::bench(args = LENGTHS)]
fn value_index(bencher: Bencher, length: usize) {
    let (f, text) = (fixture(), text(length));
    bencher.bench_local(|| {
        let value = Value::new(black_box(&text)).expect("a value");
        f.keys.value_index(black_box(f.kind), f.context, value)
    });
}

#[divan::bench(args = LENGTHS)]
fn form_index(bencher: Bencher, length: usize) {
    let (f, text) = (fixture(), text(length));
    bencher.bench_local(|| f.keys.form_index(Normalizer::Digits, black_box(f.kind), f.context, black_box(&text)));
}

/// The tag of a value's list: one id, or the most that a list can have.
#[divan::bench(args = [1, 128])]
fn index_tag(bencher: Bencher, entries: usize) {
    let f = fixture();
    let index = f.keys.value_index(f.kind, f.context, Value::new("(415) 555-2671").expect("a value"));
    let list = vec![7; entries * TokenId::BYTES];
    bencher.bench_local(|| f.keys.index_tag(IndexName::Value, index, black_box(&list)));
}

#[divan::bench(args = Suite::ALL, consts = LENGTHS)]
fn mint<const LENGTH: usize>(bencher: Bencher, suite: Suite) {
    let (mut f, text) = (fixture(), text(LENGTH));
    bencher.bench_local(|| {
        let value = Value::new(black_box(&text)).expect("a value");
        f.keys.mint(suite, black_box(f.kind), f.context, value, &mut f.rng)
    });
}

#[divan::bench(args = Suite::ALL, consts = LENGTHS)]
fn open<const LENGTH: usize>(bencher: Bencher, suite: Suite) {
    let (mut f, text) = (fixture(), text(LENGTH));
    let value = Value::new(&text).expect("a value");
    let body = f.keys.mint(suite, f.kind, f.context, value, &mut f.rng);
    bencher.bench_local(|| f.keys.open(black_box(f.kind), f.context, black_box(&body)));
}

#[divan::bench(args = Suite::ALL)]
fn mint_and_print(bencher: Bencher, suite: Suite) {
    let (mut f, mut out) = (fixture(), String::new());
    bencher.bench_local(|| {
        let value = Value::new(black_box("(415) 555-2671")).expect("a value");
        let body = f.keys.mint(suite, f.kind, f.context, value, &mut f.rng);
        out.clear();
        Token::Aead { kind: f.kind, kid: f.kid, body }.write_to(&mut out);
    });
}

#[divan::bench(args = Suite::ALL)]
fn parse_and_open(bencher: Bencher, suite: Suite) {
    let mut f = fixture();
    let value = Value::new("(415) 555-2671").expect("a value");
    let body = f.keys.mint(suite, f.kind, f.context, value, &mut f.rng);
    let token = Token::Aead { kind: f.kind, kid: f.kid, body }.to_text();
    bencher.bench_local(|| match Token::parse(black_box(&token)) {
        Ok(Token::Aead { kind, body, .. }) => f.keys.open(kind, f.context, &body),
        _ => panic!("a reversible token"),
    });
}

/// Returns what the record of a value is bound to.
fn binding(f: &Fixture, value: Value<'_>) -> RecordBinding {
    RecordBinding {
        kind: f.kind,
        minted_kid: f.kid,
        id: TokenId::from_bytes([7; TokenId::BYTES]),
        minted_at_ms: 1_767_225_600_000,
        value_index: Some(f.keys.value_index(f.kind, f.context, value)),
        form_index: None,
    }
}

fn payload<'a>(f: &Fixture, value: Value<'a>) -> RecordPayload<'a> {
    RecordPayload { context: f.context, value, normalizer: Normalizer::Exact, form: None }
}

#[divan::bench(args = LENGTHS)]
fn seal_record(bencher: Bencher, length: usize) {
    let (mut f, text) = (fixture(), text(length));
    let value = Value::new(&text).expect("a value");
    let (binding, payload) = (binding(&f, value), payload(&f, value));
    bencher.bench_local(|| f.keys.seal_record(black_box(&binding), black_box(&payload), &mut f.rng));
}

#[divan::bench(args = LENGTHS)]
fn open_record(bencher: Bencher, length: usize) {
    let (mut f, text) = (fixture(), text(length));
    let value = Value::new(&text).expect("a value");
    let (binding, payload) = (binding(&f, value), payload(&f, value));
    let sealed = f.keys.seal_record(&binding, &payload, &mut f.rng);
    bencher.bench_local(|| f.keys.open_record(black_box(&binding), &sealed.nonce, black_box(&sealed.ciphertext)));
}

fn tokens() -> [Token; 2] {
    let mut f = fixture();
    let value = Value::new("(415) 555-2671").expect("a value");
    let id = TokenId::from_bytes(*b"a random code of 20b");
    let body = f.keys.mint(Suite::Xaes256Gcm, f.kind, f.context, value, &mut f.rng);
    [Token::Vault { kind: f.kind, kid: f.kid, id }, Token::Aead { kind: f.kind, kid: f.kid, body }]
}

#[divan::bench(args = ["MSKV1", "MSK1"])]
fn parse(bencher: Bencher, scheme: &str) {
    let text = tokens()[usize::from(scheme == "MSK1")].to_text();
    bencher.bench_local(|| Token::parse(black_box(&text)));
}

#[divan::bench(args = ["MSKV1", "MSK1"])]
fn print(bencher: Bencher, scheme: &str) {
    let (token, mut out) = (&tokens()[usize::from(scheme == "MSK1")], String::new());
    bencher.bench_local(|| {
        out.clear();
        black_box(token).write_to(&mut out);
    });
}

#[divan::bench(args = Normalizer::ALL)]
fn normalize(bencher: Bencher, normalizer: Normalizer) {
    let spelling = Normalizer::ALL
        .iter()
        .zip(SPELLINGS)
        .find(|(n, _)| **n == normalizer)
        .expect("each normalizer has a spelling")
        .1;
    bencher.bench_local(|| {
        let value = Value::new(black_box(spelling)).expect("a value");
        normalizer.form(value).len()
    });
}

#[divan::bench]
fn normalize_casefold_beyond_ascii(bencher: Bencher) {
    let value = Value::new("Søren Müller-Straße").expect("a value");
    bencher.bench_local(|| Normalizer::Casefold.form(black_box(value)).len());
}

#[divan::bench]
fn derive_generation(bencher: Bencher) {
    let kid = Kid::parse("K_HEALTHCARE").expect("a key id");
    let key = SecretKey::generate(&mut StdRng::seed_from_u64(0)).expect("locked memory");
    bencher.bench_local(|| GenerationKeys::derive(kid, &key, Mode::Live).map(|keys| keys.fingerprint()));
}
