//! Names in messages: quoting, lists, and suggestions for misspelled names.

/// Quotes and escapes a text for a message. A long text is omitted: it may be a key that was pasted into the wrong
/// field.
pub fn quoted(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 40;
    let chars = text.chars().count();
    if chars <= SHOWN_CHARS_MAX {
        format!("`{}`", text.escape_debug())
    } else {
        format!("a text of {chars} characters")
    }
}

/// Returns whether a character changes how a text looks without being seen itself, so that two texts can look alike, or one can
/// look like another: control characters, the characters of the Unicode category `Cf` (format, such as U+202E, which reverses
/// what follows), line and paragraph separators, and others that Unicode lists as ignorable by default
/// (`Default_Ignorable_Code_Point` of Unicode 16).
pub fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            u32::from(character),
            0xAD
                | 0x34F
                | 0x600..=0x605
                | 0x61C
                | 0x6DD
                | 0x70F
                | 0x890..=0x891
                | 0x8E2
                | 0x115F..=0x1160
                | 0x17B4..=0x17B5
                | 0x180B..=0x180F
                | 0x200B..=0x200F
                | 0x2028..=0x202E
                | 0x2060..=0x206F
                | 0x3164
                | 0xFE00..=0xFE0F
                | 0xFEFF
                | 0xFFA0
                | 0xFFF0..=0xFFFB
                | 0x110BD
                | 0x110CD
                | 0x13430..=0x1343F
                | 0x1BCA0..=0x1BCA3
                | 0x1D173..=0x1D17A
                | 0xE0000..=0xE0FFF
        )
}

/// Suggests a replacement for `found`: the nearest of the names if one is near, otherwise all of them.
pub fn suggestion(found: &str, names: &[&str]) -> String {
    match (nearest(found, names), names) {
        (Some(name), _) => format!("did you mean `{name}`?"),
        (None, []) => "no name is allowed here".to_owned(),
        (None, _) => format!("there is {}", listed(names)),
    }
}

/// Returns the name that `found` is probably a misspelling of.
pub fn nearest<'a>(found: &str, names: &[&'a str]) -> Option<&'a str> {
    let found = found.to_lowercase();
    let (edits, name) = names.iter().map(|name| (distance(&found, &name.to_lowercase()), *name)).min()?;
    // `policies` is three edits from `policy`, but still a likely mistake.
    let plural = name.len() > 3 && name.get(..name.len() - 1).is_some_and(|stem| found.starts_with(stem));
    (edits <= name.len().div_ceil(3) || plural).then_some(name)
}

/// Formats names as a list in a sentence.
pub fn listed<T: AsRef<str>>(names: &[T]) -> String {
    match names {
        [] => "none".to_owned(),
        [one] => format!("`{}`", one.as_ref()),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|name| format!("`{}`", name.as_ref())).collect();
            format!("{} and `{}`", first.join(", "), last.as_ref())
        }
    }
}

/// Counts the insertions, deletions, substitutions and swaps of neighbours that turn one text into the other (optimal
/// string alignment). It compares at most 64 characters, which is longer than any name.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().take(64).collect();
    let other: Vec<char> = other.chars().take(64).collect();
    let mut rows = vec![vec![0; other.len() + 1]; one.len() + 1];
    for i in 0..=one.len() {
        for j in 0..=other.len() {
            if i == 0 || j == 0 {
                rows[i][j] = i + j;
                continue;
            }
            let substitution = rows[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut best = substitution.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (one, other, edits) in
            [("", "ab", 2), ("kid", "kid", 0), ("kdi", "kid", 1), ("phnoe", "phone", 1), ("a", "b", 1)]
        {
            assert_eq!(distance(one, other), edits, "{one} {other}");
        }
    }
}
