//! Tokens of a text: words, numbers and marks.

use super::hash::{WordHash, mix};

/// What a token consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Letters and combining marks, with apostrophes inside.
    Word,
    /// ASCII digits.
    Number,
    /// The ending `'s`.
    Possessive,
    /// One character of anything else.
    Mark,
}

/// The case of a word's letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// No letters, or letters without case.
    None,
    /// `word`
    Lower,
    /// `Word`
    Title,
    /// `WORD`, of two letters or more
    Upper,
    /// `W`
    Single,
    /// `wOrd`, `McDonald`
    Mixed,
}

/// A token with what the tagger needs of its letters.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// Byte offset of the first character.
    pub start: u32,
    /// Byte offset after the last character.
    pub end: u32,
    /// Kind of the characters.
    pub kind: TokenKind,
    /// Case of a word.
    pub case: Case,
    /// Whether white space or the start of the text precedes the token.
    pub space: bool,
    /// Whether a line break or the start of the text precedes the token.
    pub line: bool,
    /// Number of characters.
    pub chars: u16,
    /// The first character.
    pub first: char,
    /// Hash of the lower-cased word.
    pub word: u64,
    /// Hash of the first three lower-cased characters.
    pub prefix: u32,
    /// Hash of the last two lower-cased characters.
    pub suffix2: u32,
    /// Hash of the last three lower-cased characters.
    pub suffix3: u32,
}

impl Token {
    /// Returns the token's text.
    pub fn text<'t>(&self, text: &'t str) -> &'t str {
        &text[self.start as usize..self.end as usize]
    }

    /// Whether the token is this ASCII mark.
    pub fn is(&self, mark: char) -> bool {
        self.kind == TokenKind::Mark && self.first == mark
    }

    /// Whether the token is a word that begins with a capital letter, or has letters without case.
    pub fn capital(&self) -> bool {
        self.kind == TokenKind::Word && !matches!(self.case, Case::Lower | Case::None)
    }
}

/// Splits a text into tokens, appended to `tokens`. White space separates, and is no token.
pub fn tokenize(text: &str, tokens: &mut Vec<Token>) {
    tokenize_around(text, &[], tokens);
}

/// Splits a text into tokens, as [`tokenize`] does. Each of some ranges, in the order of the text, is one mark.
pub fn tokenize_around(text: &str, marks: &[(usize, usize)], tokens: &mut Vec<Token>) {
    let bytes = text.as_bytes();
    let mut marks = marks.iter();
    let mut whole = marks.next();
    let mut at = 0;
    let mut space = true;
    let mut line = true;
    while at < bytes.len() {
        if let Some(&(start, end)) = whole
            && at >= start
        {
            whole = marks.next();
            if at < end {
                let mark = plain(
                    at,
                    end,
                    char::REPLACEMENT_CHARACTER,
                    mix(5, u64::from(u32::from(char::REPLACEMENT_CHARACTER)), 0),
                );
                tokens.push(Token { space, line, ..mark });
                (space, line) = (false, false);
                at = end;
            }
            continue;
        }
        let byte = bytes[at];
        if byte.is_ascii_whitespace() {
            line |= byte == b'\n' || byte == b'\r';
            space = true;
            at += 1;
            continue;
        }
        let token = if byte.is_ascii_digit() {
            let len = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            number(bytes, at, at + len)
        } else if byte.is_ascii_alphabetic() || byte >= 0x80 {
            let first = text[at..].chars().next().expect("a character begins here");
            if first.is_whitespace() {
                space = true;
                at += first.len_utf8();
                continue;
            }
            if first.is_alphabetic() { word(text, at) } else { mark(at, first) }
        } else if byte == b'\'' && !space && is_possessive(bytes, at) {
            Token { kind: TokenKind::Possessive, ..plain(at, at + 2, '\'', mix(7, 1, 2)) }
        } else {
            mark(at, byte as char)
        };
        at = token.end as usize;
        tokens.push(Token { space, line, ..token });
        (space, line) = (false, false);
    }
}

/// Whether `'s` stands at an offset, and a word ends there.
fn is_possessive(bytes: &[u8], at: usize) -> bool {
    matches!(bytes.get(at + 1), Some(b's' | b'S'))
        && bytes.get(at + 2).is_none_or(|&next| !next.is_ascii_alphanumeric() && next < 0x80)
}

fn plain(start: usize, end: usize, first: char, word: u64) -> Token {
    Token {
        start: start as u32,
        end: end as u32,
        kind: TokenKind::Mark,
        case: Case::None,
        space: false,
        line: false,
        chars: (end - start).min(usize::from(u16::MAX)) as u16,
        first,
        word,
        prefix: 0,
        suffix2: 0,
        suffix3: 0,
    }
}

fn number(bytes: &[u8], start: usize, end: usize) -> Token {
    // All numbers of one length are one word to the tagger.
    let len = (end - start).min(12) as u64;
    Token { kind: TokenKind::Number, ..plain(start, end, bytes[start] as char, mix(3, len, 0)) }
}

fn mark(at: usize, first: char) -> Token {
    Token { chars: 1, ..plain(at, at + first.len_utf8(), first, mix(5, u64::from(u32::from(first)), 0)) }
}

/// Reads a word at an offset. An apostrophe between letters belongs to it, unless it begins the ending `'s`.
fn word(text: &str, start: usize) -> Token {
    let bytes = text.as_bytes();
    let mut hash = WordHash::new();
    let (mut chars, mut upper, mut lower, mut cased_first) = (0u32, 0u32, 0u32, false);
    let mut last = ['\0'; 3];
    let mut prefix = 0;
    let mut end = start;
    let mut first = '\0';
    for (offset, char) in text[start..].char_indices() {
        if char == '\'' {
            let next = text[start + offset + 1..].chars().next();
            if !next.is_some_and(char::is_alphabetic) || is_possessive(bytes, start + offset) {
                break;
            }
        } else if !is_word_char(char) {
            break;
        }
        let folded = if char.is_ascii() {
            upper += u32::from(char.is_ascii_uppercase());
            lower += u32::from(char.is_ascii_lowercase());
            char.to_ascii_lowercase()
        } else {
            upper += u32::from(char.is_uppercase());
            lower += u32::from(char.is_lowercase());
            char.to_lowercase().next().unwrap_or(char)
        };
        if chars == 0 {
            first = char;
            cased_first = upper > 0;
        }
        hash.push(folded);
        last = [last[1], last[2], folded];
        chars += 1;
        if chars == 3 {
            prefix = hash.short();
        }
        end = start + offset + char.len_utf8();
    }
    if chars < 3 {
        prefix = hash.short();
    }
    let case = match (upper, lower) {
        (0, 0) => Case::None,
        (0, _) => Case::Lower,
        (1, 0) if chars == 1 => Case::Single,
        (_, 0) => Case::Upper,
        (1, _) if cased_first => Case::Title,
        _ => Case::Mixed,
    };
    let code = |char: char| u64::from(u32::from(char));
    Token {
        kind: TokenKind::Word,
        case,
        chars: chars.min(u32::from(u16::MAX)) as u16,
        prefix,
        suffix2: mix(11, code(last[1]), code(last[2])) as u32,
        suffix3: mix(code(last[0]), code(last[1]), code(last[2])) as u32,
        ..plain(start, end, first, hash.finish())
    }
}

fn is_word_char(char: char) -> bool {
    if char.is_ascii() {
        char.is_ascii_alphabetic()
    } else {
        char.is_alphabetic() || unicode_normalization::char::is_combining_mark(char)
    }
}

/// Hashes a word as [`tokenize`] does: the lower-cased characters.
pub fn hash_word(word: &str) -> u64 {
    let mut hash = WordHash::new();
    for char in word.chars() {
        hash.push(char.to_lowercase().next().unwrap_or(char));
    }
    hash.finish()
}
