//! Reads as much Rust as it takes to see which names of the crate's root a file uses.

use std::{
    iter::Peekable,
    path::{Path, PathBuf},
    str::Chars,
};

/// A word or a sign of Rust, without the text of literals and comments.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`, which is one sign here.
    PathSeparator,
    Sign(char),
}

/// A token and its line, counted from 1.
type Placed = (Token, usize);

/// A file as far as it concerns layers.
pub(super) struct Source {
    /// Its path below `src`.
    pub(super) file: PathBuf,
    /// The module that it is, from the crate's root.
    pub(super) module: Vec<String>,
    /// What follows the crate's root in its paths, with the line, test code left out. `crate` itself, where a path has
    /// nothing after it or everything (`*`).
    pub(super) root_names: Vec<(String, usize)>,
    /// The modules of files that it declares for tests alone.
    pub(super) test_modules: Vec<Vec<String>>,
}

impl Source {
    pub(super) fn read(file: &Path, text: &str) -> Self {
        let module = module_of(file);
        let (tokens, test_names) = without_tests(tokens(text));
        let within = |name: String| module.iter().cloned().chain([name]).collect();
        Source {
            file: file.to_owned(),
            test_modules: test_names.into_iter().map(within).collect(),
            root_names: root_names(&tokens, module.len()),
            module,
        }
    }
}

/// The names of the `mod …;` lines, in their order.
pub(super) fn modules_in_order(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let declared = tokens.windows(3).filter_map(|window| match window {
        [(word, _), (Token::Word(name), _), (end, _)] if is_word(word, "mod") && *end == Token::Sign(';') => {
            Some(name.clone())
        }
        _ => None,
    });
    declared.collect()
}

/// `store/sled/mod.rs` and `store/sled.rs` are `store::sled`; `lib.rs` and `main.rs` are roots.
fn module_of(file: &Path) -> Vec<String> {
    let mut module: Vec<String> =
        file.with_extension("").components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

fn is_word(token: &Token, text: &str) -> bool {
    matches!(token, Token::Word(word) if word == text)
}

/// The tokens, each with its line, counted from 1.
fn tokens(text: &str) -> Vec<Placed> {
    let mut reader = Reader { chars: text.chars().peekable(), line: 1 };
    let mut tokens = Vec::new();
    while let Some(c) = reader.next() {
        let line = reader.line;
        match c {
            '/' if reader.peek() == Some('/') => reader.skip_line(),
            '/' if reader.peek() == Some('*') => reader.skip_block_comment(),
            '"' => reader.skip_string(),
            '\'' => reader.skip_character_or_lifetime(),
            ':' if reader.peek() == Some(':') => {
                reader.next();
                tokens.push((Token::PathSeparator, line));
            }
            _ if c.is_alphanumeric() || c == '_' => {
                let mut word = String::from(c);
                while let Some(next) = reader.peek().filter(|next| next.is_alphanumeric() || *next == '_') {
                    word.push(next);
                    reader.next();
                }
                if matches!(word.as_str(), "r" | "br" | "cr") && matches!(reader.peek(), Some('"' | '#')) {
                    reader.skip_raw_string();
                } else {
                    tokens.push((Token::Word(word), line));
                }
            }
            _ if c.is_whitespace() => {}
            _ => tokens.push((Token::Sign(c), line)),
        }
    }
    tokens
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.next();
        self.line += usize::from(c == Some('\n'));
        c
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().copied()
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|c| c != '\n') {}
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 1;
        self.next();
        while let (Some(c), true) = (self.next(), depth > 0) {
            match (c, self.peek()) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => continue,
            }
            self.next();
            if depth == 0 {
                return;
            }
        }
    }

    fn skip_string(&mut self) {
        while let Some(c) = self.next() {
            match c {
                '\\' => drop(self.next()),
                '"' => return,
                _ => {}
            }
        }
    }

    /// From the `#` or the `"` after the prefix. `r#name` is a raw identifier, whose name follows as a word.
    fn skip_raw_string(&mut self) {
        let mut hashes = 0;
        while self.peek() == Some('#') {
            self.next();
            hashes += 1;
        }
        if self.peek() != Some('"') {
            return;
        }
        self.next();
        while let Some(c) = self.next() {
            if c == '"' {
                let mut seen = 0;
                while seen < hashes && self.peek() == Some('#') {
                    self.next();
                    seen += 1;
                }
                if seen == hashes {
                    return;
                }
            }
        }
    }

    /// After the first `'`: a character ends with another one, a lifetime does not.
    fn skip_character_or_lifetime(&mut self) {
        match self.next() {
            Some('\\') => {
                self.next();
                while self.next().is_some_and(|c| c != '\'') {}
            }
            _ if self.peek() == Some('\'') => drop(self.next()),
            _ => {}
        }
    }
}

/// The tokens without items under `#[cfg(test)]`, and the names of the modules in files of their own among those.
fn without_tests(tokens: Vec<Placed>) -> (Vec<Placed>, Vec<String>) {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let reads = |token: &Token, text: &str| match token {
        Token::Sign(sign) => text.chars().eq([*sign]),
        _ => is_word(token, text),
    };
    let (mut kept, mut names) = (Vec::new(), Vec::new());
    let mut rest = tokens.as_slice();
    while let Some((first, after)) = rest.split_first() {
        let attribute = rest
            .get(..ATTRIBUTE.len())
            .is_some_and(|head| head.iter().zip(ATTRIBUTE).all(|((token, _), text)| reads(token, text)));
        if attribute {
            let (item, after) = item(&rest[ATTRIBUTE.len()..]);
            if let [.., (word, _), (Token::Word(name), _), (Token::Sign(';'), _)] = item
                && is_word(word, "mod")
            {
                names.push(name.clone());
            }
            rest = after;
        } else {
            kept.push(first.clone());
            rest = after;
        }
    }
    (kept, names)
}

/// The item that the tokens begin with, attributes and all, and what follows it: it ends with its `;`, or with its body
/// where that comes first. The braces of a `use` are no body.
fn item(tokens: &[Placed]) -> (&[Placed], &[Placed]) {
    let (mut depth, mut in_use) = (0, false);
    for (place, (token, _)) in tokens.iter().enumerate() {
        match token {
            Token::Word(word) if word == "use" && depth == 0 => in_use = true,
            Token::Sign('(' | '[' | '{') => depth += 1,
            Token::Sign(closing @ (')' | ']' | '}')) => {
                depth -= 1;
                if depth == 0 && *closing == '}' && !in_use {
                    return tokens.split_at(place + 1);
                }
            }
            Token::Sign(';') if depth == 0 => return tokens.split_at(place + 1),
            _ => {}
        }
    }
    (tokens, &[])
}

/// What follows the crate's root in the paths of a file that stands `depth` modules below it.
fn root_names(tokens: &[Placed], depth: usize) -> Vec<(String, usize)> {
    let mut names = Vec::new();
    // Whether each brace that is open belongs to a module.
    let mut braces = Vec::new();
    let mut place = 0;
    while let Some((token, _)) = tokens.get(place) {
        let before = place.checked_sub(1).and_then(|before| tokens.get(before)).map(|(token, _)| token);
        match token {
            Token::Sign('{') => {
                let named = place.checked_sub(2).and_then(|mod_| tokens.get(mod_));
                braces.push(named.is_some_and(|(word, _)| is_word(word, "mod")));
            }
            Token::Sign('}') => drop(braces.pop()),
            Token::Word(word) if matches!(word.as_str(), "crate" | "super" | "self") => {
                // `pub(crate)`, `pub(in …)` and `pub(super)` say who may look, and use nothing.
                let visibility = matches!(before, Some(Token::Sign('('))) && is_visibility(tokens, place)
                    || before.is_some_and(|before| is_word(before, "in"));
                let depth = depth + braces.iter().filter(|module| **module).count();
                if !visibility && before != Some(&Token::PathSeparator) {
                    place = path(tokens, place, &mut Vec::new(), depth, &mut names);
                    continue;
                }
            }
            _ => {}
        }
        place += 1;
    }
    names
}

fn is_visibility(tokens: &[Placed], place: usize) -> bool {
    let public = place.checked_sub(2).and_then(|before| tokens.get(before));
    public.is_some_and(|(token, _)| is_word(token, "pub"))
}

/// Follows a path, or a tree of paths, from one of its words on; returns where it ends.
fn path(
    tokens: &[Placed],
    mut place: usize,
    prefix: &mut Vec<String>,
    depth: usize,
    names: &mut Vec<(String, usize)>,
) -> usize {
    let length_before = prefix.len();
    let line = tokens.get(place).map_or(0, |(_, line)| *line);
    loop {
        match tokens.get(place).map(|(token, _)| token) {
            Some(Token::Word(word)) => prefix.push(word.clone()),
            Some(Token::Sign('*')) => prefix.push("*".to_owned()),
            Some(Token::Sign('{')) => {
                place += 1;
                while let Some((token, _)) = tokens.get(place) {
                    match token {
                        Token::Sign('}') => break,
                        Token::Word(_) | Token::Sign('*' | '{') => place = path(tokens, place, prefix, depth, names),
                        _ => place += 1,
                    }
                }
                prefix.truncate(length_before);
                return place + 1;
            }
            _ => break,
        }
        place += 1;
        if tokens.get(place).map(|(token, _)| token) != Some(&Token::PathSeparator) {
            break;
        }
        place += 1;
    }
    if let Some(name) = below_root(prefix, depth) {
        names.push((name, line));
    }
    prefix.truncate(length_before);
    // The new name of `… as name` is no path.
    if tokens.get(place).is_some_and(|(token, _)| is_word(token, "as")) { place + 2 } else { place }
}

/// The first name below the crate's root, if the path goes there.
fn below_root(path: &[String], depth: usize) -> Option<String> {
    let mut names = path.iter().map(String::as_str).filter(|name| *name != "self").peekable();
    let mut up = 0;
    if names.peek() == Some(&"crate") {
        names.next();
        up = depth;
    }
    while names.next_if_eq(&"super").is_some() {
        up += 1;
    }
    let reaches_root = up >= depth && up > 0;
    reaches_root.then(|| names.next().filter(|name| *name != "*").unwrap_or("crate").to_owned())
}
