//! The byte strings to search for.

use sha2::block_api::compress256;

use crate::harness::TestKey;

/// Byte strings that must not be found, with names for the report.
#[derive(Default)]
pub struct Needles {
    all: Vec<(String, Vec<u8>)>,
    /// Whether a needle begins with these two bytes, to skip most places quickly.
    starts: Vec<bool>,
}

impl Needles {
    /// Adds a needle of at least 8 bytes.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        assert!(bytes.len() >= 8, "{name} would be found by accident");
        self.starts.resize(1 << 16, false);
        self.starts[start_of(bytes)] = true;
        self.all.push((name.to_owned(), bytes.to_vec()));
    }

    /// Returns the number of needles.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds everything derived from a key that is as sensitive as the key: the output of HKDF-Extract, each subkey,
    /// and the states in which HMAC and XAES keep them.
    pub fn add_derived(&mut self, name: &str, kid: &str, key: &TestKey) {
        self.add_mac_key(&format!("{name}: PRK"), &key.extracted());
        for world in ["", "test/"] {
            for label in ["index", "index-tag", "nonce"] {
                let label = format!("{world}{label}");
                self.add_mac_key(&format!("{name}: {label}"), &key.subkey(kid, &label));
            }
            for label in ["aead/xaes-256-gcm", "aead/xchacha20-poly1305", "record"] {
                let label = format!("{world}{label}");
                // A prepared AES-256 key begins with the key itself, in the 32 bytes of its first two round keys.
                self.add(&format!("{name}: {label}"), &key.subkey(kid, &label));
            }
        }
    }

    /// Adds a key of HMAC-SHA256: itself, the two padded blocks, and the two states after them (RFC 2104 section 4),
    /// which are SHA-256's words in native byte order.
    fn add_mac_key(&mut self, name: &str, key: &[u8; 32]) {
        self.add(name, key);
        for (pad, byte) in [("inner", 0x36), ("outer", 0x5c)] {
            let mut block = [byte; 64];
            block.iter_mut().zip(key).for_each(|(mixed, key)| *mixed ^= key);
            self.add(&format!("{name}, {pad} block"), &block[..32]);
            let mut state = [
                0x6a09_e667,
                0xbb67_ae85,
                0x3c6e_f372,
                0xa54f_f53a,
                0x510e_527f,
                0x9b05_688c,
                0x1f83_d9ab,
                0x5be0_cd19,
            ];
            compress256(&mut state, &[block]);
            let words: Vec<u8> = state.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
            self.add(&format!("{name}, {pad} state"), &words);
        }
    }

    /// Returns the needles in `bytes`, with their offsets.
    pub fn find<'n>(&'n self, bytes: &[u8]) -> Vec<(&'n str, usize)> {
        let places = bytes.windows(2).enumerate().filter(|(_, start)| self.starts.get(start_of(start)) == Some(&true));
        let held = places.flat_map(|(at, _)| {
            let here = self.all.iter().filter(move |(_, needle)| bytes[at..].starts_with(needle));
            here.map(move |(name, _)| (name.as_str(), at))
        });
        held.collect()
    }

    /// Fails if `bytes` contain a needle.
    pub fn assert_absent(&self, place: &str, bytes: &[u8]) {
        let found = self.find(bytes);
        assert!(found.is_empty(), "{place} has {found:?}");
    }
}

fn start_of(bytes: &[u8]) -> usize {
    usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]))
}

/// Returns the texts in which the keys of these variables could be written: raw, in base64 (also in pieces, because
/// four characters encode three bytes), and in hex.
pub fn text_of_keys<'v>(variables: impl Iterator<Item = &'v str>) -> Needles {
    let mut needles = Needles::default();
    for variable in variables {
        let key = TestKey::named(variable);
        let base64 = key.base64();
        let hex = data_encoding::HEXLOWER.encode(key.bytes());
        needles.add(&format!("{variable}: raw"), key.bytes());
        for (form, text) in [("base64", &base64), ("hex", &hex), ("upper-case hex", &hex.to_uppercase())] {
            let (front, back) = text.split_at(20);
            needles.add(&format!("{variable}: {form}"), front.as_bytes());
            needles.add(&format!("{variable}: {form}, its end"), &back.as_bytes()[..20]);
        }
        for (form, half) in [("raw, first half", &key.bytes()[..16]), ("raw, second half", &key.bytes()[16..])] {
            needles.add(&format!("{variable}: {form}"), half);
        }
    }
    needles
}
