use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::*;

const OLD: u8 = 1;

fn kid(text: &str) -> Kid {
    Kid::parse(text).unwrap()
}

fn kind(text: &str) -> EntityKind {
    EntityKind::parse(text).unwrap()
}

fn context(text: &str) -> Context<'_> {
    Context::new(text).unwrap()
}

fn value(text: &str) -> Value<'_> {
    Value::new(text).unwrap()
}

fn generation(number: u8, mode: Mode) -> GenerationKeys {
    let key = std::array::from_fn(|i| number.wrapping_mul(31).wrapping_add(i as u8));
    let key = SecretKey::from_bytes(Zeroizing::new(key)).unwrap();
    GenerationKeys::derive(kid("K_A"), &key, mode).unwrap()
}

fn binding(kind: EntityKind, minted_kid: Kid) -> RecordBinding {
    RecordBinding {
        kind,
        minted_kid,
        id: TokenId::from_bytes([1; 20]),
        minted_at_ms: 1_800_000_000_000,
        value_index: Some(Index::from_bytes([2; 20])),
        form_index: Some(Index::from_bytes([3; 20])),
    }
}

fn payload(text: &str) -> RecordPayload<'_> {
    RecordPayload { context: Context::EMPTY, value: value(text), normalizer: Normalizer::Exact, form: None }
}

/// Creates a body from bytes that the test changes.
fn body(bytes: &[u8]) -> Option<AeadBody> {
    AeadBody::from_bytes(bytes.into())
}

#[test]
fn fingerprints_are_16_lower_case_hex_digits() {
    let fingerprint = generation(0, Mode::Live).fingerprint();
    let text = fingerprint.to_string();
    assert_eq!(text.len(), 16);
    assert_eq!(Fingerprint::parse(&text), Some(fingerprint));
    assert_eq!(fingerprint.prefix(), fingerprint.as_bytes()[..4]);
    assert_eq!(generation(0, Mode::Test).fingerprint(), fingerprint);
    for bad in ["", &text[1..], &text.to_uppercase(), &format!("{text}0"), "432a0c7614d2cfe ", "432A0C7614D2CFEC"] {
        assert_eq!(Fingerprint::parse(bad), None, "{bad:?}");
    }
}

/// Changes every bit of the body and truncates it at every length, for every suite; then changes every bit of the kind
/// and the context, which are bound but not in the body.
#[test]
fn rejects_every_changed_token() {
    let keys = generation(0, Mode::Live);
    let mut rng = StdRng::seed_from_u64(1);
    let (kind_a, context_a) = (kind("PHONE"), context("tenant-7"));
    for suite in Suite::ALL {
        for text in ["5", "fifteen bytes!!", "sixteen bytes!!!", "+14155552671 and an extension of 42"] {
            let token = keys.mint(suite, kind_a, context_a, value(text), &mut rng);
            assert_eq!(keys.open(kind_a, context_a, &token).as_deref().map(String::as_str), Ok(text));

            let bytes = token.as_bytes();
            for bit in 0..bytes.len() * 8 {
                let mut changed = bytes.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                // If the changed suite is unknown, parsing fails.
                if let Some(changed) = body(&changed) {
                    assert_eq!(keys.open(kind_a, context_a, &changed).err(), Some(UnsealError), "{suite:?} bit {bit}");
                }
            }
            for length in 0..bytes.len() {
                if let Some(cut) = body(&bytes[..length]) {
                    assert_eq!(
                        keys.open(kind_a, context_a, &cut).err(),
                        Some(UnsealError),
                        "{suite:?} cut to {length}"
                    );
                }
                if let Some(cut) = body(&bytes[bytes.len() - length..]) {
                    assert_eq!(keys.open(kind_a, context_a, &cut).err(), Some(UnsealError), "{suite:?} last {length}");
                }
            }
            let extended = [bytes, &[0; 16]].concat();
            assert!(keys.open(kind_a, context_a, &body(&extended).unwrap()).is_err(), "{suite:?} extended");

            for other in changes_of_one_bit("PHONE").filter_map(|text| EntityKind::parse(&text)) {
                assert!(keys.open(other, context_a, &token).is_err(), "{suite:?} kind {other}");
            }
            for other in changes_of_one_bit("tenant-7").chain(["".into(), "tenant-".into(), "tenant-77".into()]) {
                assert!(keys.open(kind_a, context(&other), &token).is_err(), "{suite:?} context {other:?}");
            }
            // Bound bytes cannot move from one field to the next.
            assert!(keys.open(kind("PHONET"), context("enant-7"), &token).is_err());
        }
    }
}

/// Returns every text that differs in one bit.
fn changes_of_one_bit(text: &str) -> impl Iterator<Item = String> + '_ {
    (0..text.len() * 8).filter_map(move |bit| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        String::from_utf8(bytes).ok()
    })
}

#[test]
fn tokens_are_bound_to_key_id_generation_and_mode() {
    let mut rng = StdRng::seed_from_u64(2);
    let keys = generation(0, Mode::Live);
    let same_key = std::array::from_fn(|i| i as u8);
    let other_kid = |kid| {
        let key = SecretKey::from_bytes(Zeroizing::new(same_key)).unwrap();
        GenerationKeys::derive(kid, &key, Mode::Live).unwrap()
    };
    let other_keys: Vec<GenerationKeys> = changes_of_one_bit("K_A")
        .filter_map(|text| Kid::parse(&text).map(other_kid))
        .chain([generation(OLD, Mode::Live), generation(0, Mode::Test)])
        .collect();
    assert!(other_keys.len() > 8);
    let (kind, context) = (kind("NAME"), context(""));
    let index = keys.value_index(kind, context, value("v"));
    let form_index = keys.form_index(Normalizer::Trim, kind, context, "v");
    let binding = binding(kind, keys.kid());
    for other in other_keys {
        for suite in Suite::ALL {
            let token = keys.mint(suite, kind, context, value("v"), &mut rng);
            assert!(other.open(kind, context, &token).is_err(), "{suite:?} by {}", other.kid());
        }
        assert_ne!(other.value_index(kind, context, value("v")), index);
        assert_ne!(other.form_index(Normalizer::Trim, kind, context, "v"), form_index);
        assert_ne!(other.index_tag(IndexName::Value, index, b""), keys.index_tag(IndexName::Value, index, b""));
        let sealed = keys.seal_record(&binding, &payload("v"), &mut rng);
        assert!(other.open_record(&binding, &sealed.nonce, &sealed.ciphertext).is_err());
    }
}

/// Seals content that minting never produces, under the right key.
fn forge(keys: &GenerationKeys, suite: Suite, nonce: [u8; NONCE_BYTES], plaintext: &[u8]) -> AeadBody {
    let [a, b, c, d] = keys.fingerprint().prefix();
    let header = [suite.code(), a, b, c, d];
    let aad = keys.token_aad(&header, kind("NAME"), Context::EMPTY);
    let mut data = plaintext.to_vec();
    let tag = match suite.cipher() {
        AeadCipher::Xaes256Gcm => keys.states.xaes.seal(&nonce, aad.as_slice(), &mut data),
        AeadCipher::XChaCha20Poly1305 => {
            let data = data.as_mut_slice().into();
            keys.states.xchacha.encrypt_inout_detached((&nonce).into(), aad.as_slice(), data).unwrap().into()
        }
    };
    body(&[&header[..], &nonce, &data, &tag].concat()).unwrap()
}

#[test]
fn rejects_invalid_content_under_the_right_key() {
    let keys = generation(0, Mode::Live);
    let open = |token: &AeadBody| keys.open(kind("NAME"), Context::EMPTY, token);
    let padded = |bytes: &[u8]| {
        let mut plaintext = bytes.to_vec();
        padding::pad(&mut plaintext, bytes.len());
        plaintext
    };
    for suite in Suite::ALL {
        let own_nonce = |text: &str| {
            let [a, b, c, d] = keys.fingerprint().prefix();
            synthetic_nonce(&keys.states.nonce, &[suite.code(), a, b, c, d], kind("NAME"), Context::EMPTY, text)
        };
        // Shows that the forger works: valid content opens.
        let nonce = own_nonce("value");
        assert_eq!(open(&forge(&keys, suite, nonce, &padded(b"value"))).as_deref().map(String::as_str), Ok("value"));

        let mut other_nonce = nonce;
        other_nonce[23] ^= 1;
        let rejected = open(&forge(&keys, suite, other_nonce, &padded(b"value"))).is_err();
        assert_eq!(rejected, suite.is_deterministic(), "{suite:?}: a nonce that is not the value's own");

        let plaintexts: [(&str, Vec<u8>); 6] = [
            ("zeros for padding", [&b"value"[..], &[0; 11]].concat()),
            ("no padding", b"sixteen bytes!!!".to_vec()),
            ("padding over a whole block", [&b"sixteen bytes!!!"[..], &[0x80], &[0; 15], &[0; 16]].concat()),
            ("not UTF-8", padded(b"\xFF\xFE")),
            ("an empty value", padded(b"")),
            ("a value over 4,096 bytes", padded(&[b'x'; 4_097])),
        ];
        for (why, plaintext) in plaintexts {
            assert_eq!(open(&forge(&keys, suite, nonce, &plaintext)).err(), Some(UnsealError), "{suite:?}: {why}");
        }
    }
}

#[test]
fn random_suites_never_mint_a_token_twice() {
    let keys = generation(0, Mode::Live);
    let mut rng = StdRng::seed_from_u64(3);
    for suite in [Suite::Xaes256GcmRandom, Suite::XChaCha20Poly1305Random] {
        let mut mint = || keys.mint(suite, kind("NAME"), Context::EMPTY, value("v"), &mut rng);
        assert_ne!(mint().nonce(), mint().nonce());
    }
}

#[test]
fn opens_the_shortest_and_longest_values() {
    let keys = generation(0, Mode::Live);
    let mut rng = StdRng::seed_from_u64(4);
    let longest_context = "c".repeat(CONTEXT_BYTES_MAX);
    let longest_kind = kind(&"K".repeat(KIND_BYTES_MAX));
    for length in [1, 15, 16, 17, 4_079, 4_080, 4_095, 4_096] {
        let text = "x".repeat(length);
        for suite in Suite::ALL {
            let token = keys.mint(suite, longest_kind, context(&longest_context), value(&text), &mut rng);
            assert_eq!(token.as_bytes().len(), 45 + 16 * (length / 16 + 1));
            let opened = keys.open(longest_kind, context(&longest_context), &token);
            assert_eq!(opened.as_deref().map(String::as_str), Ok(text.as_str()));
        }
    }
}

#[test]
fn rejects_every_changed_record() {
    let keys = generation(0, Mode::Live);
    let mut rng = StdRng::seed_from_u64(5);
    let own = binding(kind("PHONE"), kid("K_OTHER"));
    let payload = RecordPayload {
        context: context("ctx"),
        value: value("(415) 555-2671"),
        normalizer: Normalizer::Phone,
        form: Value::new("4155552671"),
    };
    let sealed = keys.seal_record(&own, &payload, &mut rng);
    let open = |nonce: &[u8; 24], ciphertext: &[u8]| keys.open_record(&own, nonce, ciphertext);

    let opened = open(&sealed.nonce, &sealed.ciphertext).expect("the record is unchanged");
    assert!(opened.payload() == payload);
    assert_eq!((opened.context(), opened.value(), opened.form()), ("ctx", "(415) 555-2671", "4155552671"));

    for bit in 0..24 * 8 {
        let mut nonce = sealed.nonce;
        nonce[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&nonce, &sealed.ciphertext).is_err(), "nonce bit {bit}");
    }
    for bit in 0..sealed.ciphertext.len() * 8 {
        let mut ciphertext = sealed.ciphertext.clone();
        ciphertext[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&sealed.nonce, &ciphertext).is_err(), "ciphertext bit {bit}");
    }
    for length in 0..sealed.ciphertext.len() {
        assert!(open(&sealed.nonce, &sealed.ciphertext[..length]).is_err(), "cut to {length}");
        assert!(open(&sealed.nonce, &sealed.ciphertext[length + 1..]).is_err(), "from {length}");
    }
    assert!(open(&sealed.nonce, &[&sealed.ciphertext[..], &[0]].concat()).is_err());

    let flipped = |bytes: &[u8; 20], bit: usize| {
        let mut bytes = *bytes;
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    let mut others = Vec::new();
    for bit in 0..160 {
        let index = |index: Option<Index>| index.map(|index| Index::from_bytes(flipped(index.as_bytes(), bit)));
        others.push(RecordBinding { id: TokenId::from_bytes(flipped(own.id.as_bytes(), bit)), ..own });
        others.push(RecordBinding { value_index: index(own.value_index), ..own });
        others.push(RecordBinding { form_index: index(own.form_index), ..own });
    }
    others.extend((0..64).map(|bit| RecordBinding { minted_at_ms: own.minted_at_ms ^ (1 << bit), ..own }));
    others.push(RecordBinding { value_index: None, ..own });
    others.push(RecordBinding { form_index: None, ..own });
    others.push(RecordBinding { value_index: own.form_index, form_index: own.value_index, ..own });
    let kinds = changes_of_one_bit("PHONE").filter_map(|text| EntityKind::parse(&text));
    others.extend(kinds.map(|kind| RecordBinding { kind, ..own }));
    let kids = changes_of_one_bit("K_OTHER").filter_map(|text| Kid::parse(&text));
    others.extend(kids.map(|minted_kid| RecordBinding { minted_kid, ..own }));
    others.push(RecordBinding { kind: kind("PHONEK"), minted_kid: kid("OTHER"), ..own });
    for other in others {
        assert!(keys.open_record(&other, &sealed.nonce, &sealed.ciphertext).is_err(), "{other:?}");
    }
}

#[test]
fn sealing_a_record_twice_gives_different_bytes() {
    let keys = generation(0, Mode::Live);
    let mut rng = StdRng::seed_from_u64(6);
    let mut seal = || keys.seal_record(&binding(kind("NAME"), kid("K_A")), &payload("v"), &mut rng);
    let (a, b) = (seal(), seal());
    assert!(a.nonce != b.nonce && a.ciphertext != b.ciphertext);
}

/// Tokens and records have different seals, although both can use XAES-256-GCM.
#[test]
fn a_token_does_not_open_as_a_record() {
    let keys = generation(0, Mode::Live);
    let mut rng = StdRng::seed_from_u64(7);
    let token = keys.mint(Suite::Xaes256Gcm, kind("NAME"), Context::EMPTY, value("v"), &mut rng);
    let binding = binding(kind("NAME"), kid("K_A"));
    assert!(keys.open_record(&binding, &token.nonce(), &token.as_bytes()[29..]).is_err());
}

#[test]
fn an_index_tag_verifies_only_its_row() {
    let keys = generation(0, Mode::Live);
    let (name, index, list) = (IndexName::Value, Index::from_bytes([1; 20]), [2; 40]);
    let tag = keys.index_tag(name, index, &list);
    assert!(keys.index_tag_verifies(name, index, &list, &tag));
    assert!(!keys.index_tag_verifies(IndexName::Form, index, &list, &tag));
    assert!(!keys.index_tag_verifies(name, index, &list[..20], &tag));
    assert!(!generation(OLD, Mode::Live).index_tag_verifies(name, index, &list, &tag));
    fn flip<const N: usize>(bytes: &[u8; N], bit: usize) -> [u8; N] {
        let mut bytes = *bytes;
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    }
    (0..128).for_each(|bit| assert!(!keys.index_tag_verifies(name, index, &list, &flip(&tag, bit)), "tag {bit}"));
    (0..320).for_each(|bit| assert!(!keys.index_tag_verifies(name, index, &flip(&list, bit), &tag), "list {bit}"));
    (0..160).for_each(|bit| {
        let other = Index::from_bytes(flip(index.as_bytes(), bit));
        assert!(!keys.index_tag_verifies(name, other, &list, &tag), "index {bit}");
    });
}

/// Returns similar values, kinds and contexts, so that equal ones occur.
fn inputs() -> impl Strategy<Value = (String, String, String)> {
    ("[AB]{1,2}", "[ab]{0,2}", "[ab]{1,3}|\\PC{1,40}")
}

proptest! {
    #[test]
    fn opening_returns_the_minted_value(
        kind_text in "[A-Z][A-Z0-9_]{0,31}",
        context_text in "\\PC{0,40}",
        text in "\\PC{1,80}",
        seed in any::<u64>(),
    ) {
        let keys = generation(0, Mode::Live);
        for suite in Suite::ALL {
            let (kind, context) = (kind(&kind_text), context(&context_text));
            let token = keys.mint(suite, kind, context, value(&text), &mut StdRng::seed_from_u64(seed));
            prop_assert_eq!(token.suite(), suite);
            prop_assert_eq!(token.fingerprint_prefix(), keys.fingerprint().prefix());
            let opened = keys.open(kind, context, &token);
            prop_assert_eq!(opened.as_deref().map(String::as_str), Ok(text.as_str()));
        }
    }

    #[test]
    fn only_equal_inputs_give_equal_tokens(a in inputs(), b in inputs(), seed in any::<u64>()) {
        let keys = generation(0, Mode::Live);
        let mut rng = StdRng::seed_from_u64(seed);
        let mut mint = |suite, (k, c, v): &(String, String, String)| {
            keys.mint(suite, kind(k), context(c), value(v), &mut rng)
        };
        for suite in [Suite::Xaes256Gcm, Suite::XChaCha20Poly1305] {
            prop_assert!(mint(suite, &a) == mint(suite, &a));
            prop_assert_eq!(mint(suite, &a) == mint(suite, &b), a == b);
        }
        let index = |(k, c, v): &(String, String, String)| keys.value_index(kind(k), context(c), value(v));
        prop_assert_eq!(index(&a) == index(&b), a == b);
        let form_index = |normalizer, (k, c, v): &(String, String, String)| {
            keys.form_index(normalizer, kind(k), context(c), v)
        };
        prop_assert_eq!(form_index(Normalizer::Trim, &a) == form_index(Normalizer::Trim, &b), a == b);
        prop_assert_ne!(form_index(Normalizer::Trim, &a), form_index(Normalizer::Casefold, &a));
        prop_assert_ne!(form_index(Normalizer::Trim, &a), index(&a));
    }
}
