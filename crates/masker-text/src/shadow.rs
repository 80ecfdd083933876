//! The shadow of a text: what it says, without what hides it from patterns.
//!
//! The detector reads the shadow. An offset map leads from the shadow back to the original text. Compatibility characters (NFKC),
//! digits of other scripts, invisible characters, HTML entities, percent-encoded marks, JSON escapes, spelled-out digits and
//! addresses such as `jane (at) example (dot) org` are replaced. A soft wrap is a space, and marks of emphasis are nothing.

mod emphasis;
mod spoken;
mod wraps;

use std::borrow::Cow;
use unicode_normalization::{UnicodeNormalization, char::canonical_combining_class};

/// A part of the shadow that replaces a part of the text, or equals it.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Offset in the shadow.
    shadow: u32,
    /// Offset in the original.
    original: u32,
    /// Whether bytes correspond one to one up to the next run.
    equal: bool,
}

/// A text as patterns should see it, with the way back.
pub struct Shadow<'t> {
    text: Cow<'t, str>,
    original_len: usize,
    runs: Vec<Run>,
}

impl<'t> Shadow<'t> {
    /// Builds the shadow of a text.
    pub fn new(text: &'t str) -> Self {
        let mut shadow = Self { text: Cow::Borrowed(text), original_len: text.len(), runs: Vec::new() };
        if text.bytes().any(|byte| byte >= 0x80 || matches!(byte, b'&' | b'%' | b'\\')) {
            shadow = shadow.rewrite(characters);
        }
        if emphasis::may_emphasize(&shadow.text) {
            shadow = shadow.rewrite(emphasis::replace);
        }
        if shadow.text.contains('\n') {
            shadow = shadow.rewrite(wraps::replace);
        }
        if spoken::may_speak(&shadow.text) {
            shadow = shadow.rewrite(spoken::replace);
        }
        shadow
    }

    /// The shadow's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the original range of a range of the shadow. A part of a replacement means all of what it replaces.
    pub fn original(&self, start: usize, end: usize) -> (usize, usize) {
        if self.runs.is_empty() {
            return (start, end);
        }
        let first = self.runs.partition_point(|run| run.shadow as usize <= start) - 1;
        let run = self.runs[first];
        let from =
            if run.equal { run.original as usize + (start - run.shadow as usize) } else { run.original as usize };
        let last = self.runs.partition_point(|run| (run.shadow as usize) < end) - 1;
        let run = self.runs[last];
        let to = if run.equal {
            run.original as usize + (end - run.shadow as usize)
        } else {
            self.runs.get(last + 1).map_or(self.original_len, |next| next.original as usize)
        };
        (from, to)
    }

    /// Applies a rewriting step, if it changes anything.
    fn rewrite(self, step: fn(&str, &mut Writer<'_>)) -> Self {
        let mut writer = Writer { source: &self.text, out: String::new(), runs: Vec::new(), done: 0 };
        step(&self.text, &mut writer);
        let Some((out, runs)) = writer.finish() else { return self };
        let runs = if self.runs.is_empty() { runs } else { self.compose(&runs) };
        Self { text: Cow::Owned(out), original_len: self.original_len, runs }
    }

    /// Leads the runs of a further step through this step's runs to the original.
    fn compose(&self, next: &[Run]) -> Vec<Run> {
        let mut runs = Vec::new();
        for (index, run) in next.iter().enumerate() {
            let from = run.original as usize;
            let to = next.get(index + 1).map_or(self.text.len(), |run| run.original as usize);
            if !run.equal {
                let original = self.original(from, to.max(from + 1).min(self.text.len())).0 as u32;
                runs.push(Run { original, ..*run });
                continue;
            }
            let mut at = self.runs.partition_point(|own| own.shadow as usize <= from) - 1;
            while at < self.runs.len() && (self.runs[at].shadow as usize) < to {
                let own = self.runs[at];
                let start = from.max(own.shadow as usize);
                let original = if own.equal { own.original + (start as u32 - own.shadow) } else { own.original };
                runs.push(Run { shadow: run.shadow + (start - from) as u32, original, equal: own.equal });
                at += 1;
            }
        }
        runs
    }
}

/// Writes a shadow: copies the source except where it is replaced.
struct Writer<'s> {
    source: &'s str,
    out: String,
    runs: Vec<Run>,
    done: usize,
}

impl Writer<'_> {
    /// Replaces a range of the source. Ranges come in order, and do not overlap.
    fn replace(&mut self, start: usize, end: usize, with: &str) {
        if start > self.done || self.runs.is_empty() {
            self.runs.push(Run { shadow: self.out.len() as u32, original: self.done as u32, equal: true });
            self.out.push_str(&self.source[self.done..start]);
        }
        // What is removed belongs to no byte of the shadow: a finding around it covers it.
        self.runs.push(Run { shadow: self.out.len() as u32, original: start as u32, equal: false });
        self.out.push_str(with);
        self.done = end;
        // The next run begins here, so that this one ends.
        if end == self.source.len() {
            self.runs.push(Run { shadow: self.out.len() as u32, original: end as u32, equal: true });
        }
    }

    fn finish(mut self) -> Option<(String, Vec<Run>)> {
        if self.runs.is_empty() {
            return None;
        }
        if self.done < self.source.len() {
            self.runs.push(Run { shadow: self.out.len() as u32, original: self.done as u32, equal: true });
            self.out.push_str(&self.source[self.done..]);
        }
        Some((self.out, self.runs))
    }
}

/// Replaces single characters, entities and escapes.
fn characters(text: &str, writer: &mut Writer<'_>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let replaced = match byte {
            b'&' => entity(&text[at..]),
            b'%' => percent(&bytes[at..]),
            b'\\' => escape(text, at),
            0x80.. => {
                at = unicode(text, at, writer);
                continue;
            }
            _ => {
                at += 1;
                continue;
            }
        };
        match replaced {
            Some((len, with)) => {
                let mut buffer = [0; 4];
                let with = if invisible(with) { "" } else { with.encode_utf8(&mut buffer) };
                writer.replace(at, at + len, with);
                at += len;
            }
            None => at += 1,
        }
    }
}

/// An HTML entity at the start of a text: its length and character.
fn entity(text: &str) -> Option<(usize, char)> {
    let end = text.bytes().take(10).position(|byte| byte == b';')?;
    let name = &text[1..end];
    let char = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" | "rsquo" | "lsquo" => '\'',
        "nbsp" => ' ',
        "commat" => '@',
        "period" => '.',
        "hyphen" | "ndash" => '-',
        "lpar" => '(',
        "rpar" => ')',
        "num" => '#',
        "colon" => ':',
        "shy" | "zwnj" | "zwj" => '\u{ad}',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code).filter(|char| !char.is_control())?
        }
    };
    Some((end + 1, char))
}

/// A percent-encoded mark of an address. Others stay, because they separate nothing.
fn percent(bytes: &[u8]) -> Option<(usize, char)> {
    let char = match bytes.get(1..3)? {
        b"40" => '@',
        b"2B" | b"2b" => '+',
        b"2D" | b"2d" => '-',
        b"2E" | b"2e" => '.',
        b"5F" | b"5f" => '_',
        b"3A" | b"3a" => ':',
        _ => return None,
    };
    Some((3, char))
}

/// A JSON escape, or an escaped mark of Markdown, at an offset: its length and character.
fn escape(text: &str, at: usize) -> Option<(usize, char)> {
    let bytes = text.as_bytes();
    // `bob\_smith`, which is `bob\\_smith` in JSON.
    let slashes = bytes[at..].iter().take(3).take_while(|&&byte| byte == b'\\').count();
    if let Some(&mark) = bytes.get(at + slashes).filter(|_| slashes <= 2)
        && (mark == b'_' || slashes == 1 && b"*-.@+#()~".contains(&mark))
        && (at == 0 || bytes[at - 1] != b'\\' && bytes[at - 1] != b':')
    {
        return Some((slashes + 1, mark as char));
    }
    // `C:\new` and `\\host\share` are paths.
    if at > 0 && matches!(bytes[at - 1], b':' | b'\\') && !matches!(bytes.get(at + 1), Some(b'"' | b'u')) {
        return None;
    }
    match *bytes.get(at + 1)? {
        mark @ (b'"' | b'\'' | b'/' | b',') => Some((2, mark as char)),
        b'n' => Some((2, '\n')),
        b'r' => Some((2, '\r')),
        b't' => Some((2, '\t')),
        b'u' => {
            let code = u32::from_str_radix(text.get(at + 2..at + 6)?, 16).ok()?;
            match char::from_u32(code) {
                Some(char) if !char.is_control() => Some((6, char)),
                Some(_) => None,
                None => {
                    // A character above U+FFFF is a pair of surrogates.
                    let low = u32::from_str_radix(text.get(at + 6..at + 12)?.strip_prefix("\\u")?, 16).ok()?;
                    if !(0xd800..0xdc00).contains(&code) || !(0xdc00..0xe000).contains(&low) {
                        return None;
                    }
                    Some((12, char::from_u32(0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00))?))
                }
            }
        }
        _ => None,
    }
}

/// Normalizes a character that is not ASCII, with the marks that combine with it. Returns the offset of the next character.
fn unicode(text: &str, at: usize, writer: &mut Writer<'_>) -> usize {
    let char = text[at..].chars().next().expect("a character begins here");
    let mut end = at + char.len_utf8();
    if invisible(char) {
        writer.replace(at, end, "");
        return end;
    }
    if let Some(mark) = plain_mark(char) {
        let mut buffer = [0; 4];
        writer.replace(at, end, mark.encode_utf8(&mut buffer));
        return end;
    }
    let mut start = at;
    if canonical_combining_class(char) != 0 && at > writer.done {
        // The letter before the mark is ASCII, or has been looked at without change.
        start = text[..at].char_indices().next_back().map_or(at, |(offset, _)| offset).max(writer.done);
    }
    // A long row of marks is no letter: 8 are looked at together.
    for next in text[end..].chars().take(8) {
        if canonical_combining_class(next) == 0 {
            break;
        }
        end += next.len_utf8();
    }
    let cluster = &text[start..end];
    if cluster.chars().nth(1).is_none()
        && char < '\u{2000}'
        && !('\u{0660}'..='\u{1000}').contains(&char)
        && char > '\u{bf}'
    {
        // Letters of European scripts, most of which NFKC keeps.
        if !matches!(char, '\u{132}'..='\u{149}' | '\u{17f}' | '\u{1c4}'..='\u{1cc}' | '\u{1f1}'..='\u{1f3}' | '\u{2b0}'..='\u{2e4}'
            | '\u{340}'..='\u{3ff}' | '\u{587}' | '\u{1c80}'..)
        {
            return end;
        }
    }
    let normal: String = cluster.nfkc().map(|char| digit(char).unwrap_or(char)).collect();
    if normal != cluster {
        writer.replace(start, end, &normal);
    }
    end
}

/// Characters that show nothing.
fn invisible(char: char) -> bool {
    matches!(
        char,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// The ASCII mark that a typographic one means.
fn plain_mark(char: char) -> Option<char> {
    Some(match char {
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' => '-',
        '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2032}' | '\u{ff07}' | '\u{2bc}' => '\'',
        '\u{201c}'..='\u{201f}' | '\u{2033}' | '\u{ff02}' | '\u{ab}' | '\u{bb}' => '"',
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
        '\u{2028}' | '\u{2029}' | '\u{85}' => '\n',
        '\u{2024}' | '\u{3002}' => '.',
        _ => return None,
    })
}

/// The ASCII digit of a digit of another script.
fn digit(char: char) -> Option<char> {
    const ZEROS: [u32; 12] = [0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xe50, 0x1040];
    let code = u32::from(char);
    ZEROS.iter().find(|&&zero| (zero..zero + 10).contains(&code)).and_then(|zero| char::from_digit(code - zero, 10))
}

#[cfg(test)]
mod tests;
