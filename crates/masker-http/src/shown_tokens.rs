//! Honeytokens in requests that are refused as a whole.
//!
//! Nobody's body is parsed before it is known that they may. So the body of a refused request is not parsed, but searched for
//! the texts of tokens, piece by piece and without keeping it: a few bytes in a row that have the form of a token are all
//! that is held. That happens only for routes that take tokens, and only while there are honeytokens. Texts are searched as
//! well before anything is decided about them, for what a text has shown does not depend on the result.

use std::sync::Arc;

use hyper::body::Incoming;

use super::{Service, context::RequestContext, input::Input, route::BodyKind};
use masker_core::token::{TOKEN_BYTES_MAX, tokens_in};
use masker_vault::HoneytokenId;

impl Service {
    /// Notes the honeytokens in the body of a refused request, at most as much of it as a body may have. What a client holds
    /// back until it is asked for (`Expect: 100-continue`) was not shown.
    pub(super) async fn watch_refused(&self, ctx: &mut RequestContext, input: &mut Input) {
        let Some(route) = ctx.route.filter(|route| route.takes_tokens()) else { return };
        if !self.vault.has_honeytokens() || !ctx.honeytokens.is_empty() {
            return;
        }
        // It has no place among the requests of its address, so its body must not take one.
        if ctx.caller.address().is_some() && ctx.address_slot.is_none() {
            return;
        }
        let mut shown: Vec<HoneytokenId> = Vec::new();
        let mut search = ShownTokenSearch::default();
        let mut note = |token: &str| shown.extend(self.vault.honeytoken(token));
        search.read(input.whole_body(), &mut note);
        let seat = Arc::clone(&ctx.connection.seat);
        self.bodies.watch(route.body, input, &seat, |piece| search.read(piece, &mut note)).await;
        search.finish(&mut note);
        self.record_honeytokens(ctx, shown.into_iter());
    }

    /// Notes the honeytokens in what a failed stream has read but not processed, and in the rest of its body, if given.
    pub(super) async fn watch_failed_stream(
        &self,
        ctx: &mut RequestContext,
        read: &[u8],
        unread: Option<&mut Incoming>,
    ) {
        if !self.vault.has_honeytokens() {
            return;
        }
        let mut shown: Vec<HoneytokenId> = Vec::new();
        let mut search = ShownTokenSearch::default();
        let mut note = |token: &str| shown.extend(self.vault.honeytoken(token));
        search.read(read, &mut note);
        if let Some(body) = unread {
            let seat = Arc::clone(&ctx.connection.seat);
            let piece = |piece: &[u8]| search.read(piece, &mut note);
            self.bodies.watch_body(BodyKind::Streamed, body, &seat, piece).await;
        }
        search.finish(&mut note);
        self.record_honeytokens(ctx, shown.into_iter());
    }

    /// Notes the honeytokens among the tokens of texts, with any result.
    pub(super) fn note_tokens_in_texts<'t>(&self, ctx: &mut RequestContext, texts: impl IntoIterator<Item = &'t str>) {
        if !self.vault.has_honeytokens() {
            return;
        }
        let tokens = texts.into_iter().flat_map(|text| tokens_in(text).into_iter().map(|range| &text[range]));
        let shown: Vec<HoneytokenId> = tokens.filter_map(|token| self.vault.honeytoken(token)).collect();
        self.record_honeytokens(ctx, shown.into_iter());
    }
}

/// Finds the texts of tokens in bytes that come in pieces, also where JSON escapes their characters.
#[derive(Default)]
struct ShownTokenSearch {
    /// Characters in a row of which tokens consist.
    run: Vec<u8>,
    /// The beginning of an escaped character.
    escape: Vec<u8>,
}

impl ShownTokenSearch {
    fn read(&mut self, piece: &[u8], found: &mut impl FnMut(&str)) {
        for byte in piece {
            if self.escape.is_empty() && *byte != b'\\' {
                self.push(*byte, found);
                continue;
            }
            self.escape.push(*byte);
            match self.escape.as_slice() {
                [b'\\'] | [b'\\', b'u'] => {}
                [b'\\', b'u', digits @ ..] if byte.is_ascii_hexdigit() => {
                    if let [_, _, _, _] = digits {
                        let character =
                            std::str::from_utf8(digits).ok().and_then(|text| u8::from_str_radix(text, 16).ok());
                        self.escape.clear();
                        self.push(character.unwrap_or(b' '), found);
                    }
                }
                _ => {
                    self.escape.clear();
                    self.push(b' ', found);
                }
            }
        }
    }

    fn push(&mut self, byte: u8, found: &mut impl FnMut(&str)) {
        if !(byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'.') {
            return self.finish(found);
        }
        self.run.push(byte);
        if self.run.len() >= 2 * TOKEN_BYTES_MAX {
            // No token that begins in the first half reaches beyond what is here.
            self.search(TOKEN_BYTES_MAX, found);
        }
    }

    /// Ends a row of characters.
    fn finish(&mut self, found: &mut impl FnMut(&str)) {
        if !self.run.is_empty() {
            self.search(self.run.len(), found);
        }
    }

    /// Finds the tokens that begin before a place in the row, and forgets what is before it.
    fn search(&mut self, before: usize, found: &mut impl FnMut(&str)) {
        // It is ASCII.
        let run = std::str::from_utf8(&self.run).unwrap_or_default();
        let mut end = before;
        for range in tokens_in(run).into_iter().take_while(|range| range.start < before) {
            end = end.max(range.end);
            found(&run[range]);
        }
        self.run.drain(..end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: &str = "MSKV1.PHONE.K_A.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ";
    const AEAD: &str = "MSK1.PHONE.K_HEALTHCARE.AFBSUDDWECOB6UOCCK5E6XOI7SXTCCVAG25A26FL2FFYPN2OJIM5QSUO76EJKG7ADY4AYPGX43MB2WMVF44QSMTSUEYUYQHJ24";

    fn found(text: &str, piece: usize) -> Vec<String> {
        let (mut search, mut found) = (ShownTokenSearch::default(), Vec::new());
        let mut note = |token: &str| found.push(token.to_owned());
        text.as_bytes().chunks(piece).for_each(|piece| search.read(piece, &mut note));
        search.finish(&mut note);
        found
    }

    #[test]
    fn finds_tokens_in_pieces_of_every_length_and_in_what_is_no_json() {
        let escaped: String = VAULT.bytes().map(|byte| format!("\\u{byte:04X}")).collect();
        let texts = [
            format!("{{\"tokens\": [\"{VAULT}\", {{\"token\": \"{AEAD}\"}}]}}"),
            format!("{VAULT}{AEAD}").replace("MJMSK1", "MJ\nMSK1"),
            format!("[\"{escaped}\" \"x\\n{AEAD}"),
            format!("\\u0041{VAULT}\\\\{AEAD}"),
            format!("{}{VAULT}.{} {AEAD}.", "A.".repeat(TOKEN_BYTES_MAX), "B".repeat(3 * TOKEN_BYTES_MAX)),
        ];
        for text in texts {
            for piece in [1, 2, 7, text.len()] {
                assert_eq!(found(&text, piece), [VAULT, AEAD], "{text} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn holds_no_more_than_a_token() {
        let mut search = ShownTokenSearch::default();
        search.read("A".repeat(1 << 20).as_bytes(), &mut |_: &str| panic!("no token"));
        assert!(search.run.len() < 2 * TOKEN_BYTES_MAX);
        assert_eq!(found(&format!("{} {VAULT}", "A".repeat(1 << 20)), 4_096), [VAULT]);
        for text in ["", "MSK1.", "mskv1.PHONE.K_A.X", "\\u00", "\\", "MSKV1\\u12.PHONE"] {
            assert_eq!(found(text, 1), Vec::<String>::new(), "{text}");
        }
    }
}
