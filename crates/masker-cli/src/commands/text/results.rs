//! The results of a command on texts, as they are shown.

use std::io::{self, IsTerminal};

use serde::Serialize;

use super::{answer::TextAnswer, source::TextSource, target::TextTarget};
use crate::{
    context::{CommandContext, CommandError},
    output::{Output, printable},
};
use masker_api::{TextAction, TextFinding};

/// Tokens and placeholders that are reported one by one. Further ones are counted.
const UNRESTORED_SHOWN_MAX: u64 = 20;

/// What is done with texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextOperation {
    Mask,
    Restore,
    Detect,
}

/// The place of a range of the text, as the daemon gives its offsets.
pub(super) trait Locate {
    /// Returns the line and the column of an offset, or else the offset.
    fn place(&self, offset: u64) -> String;

    /// Returns offsets in bytes, if they are known.
    fn bytes(&self, start: u64, end: u64) -> String;
}

/// Shows results as they come, and counts them.
pub(super) struct TextResults {
    operation: TextOperation,
    pub(super) target: TextTarget,
    is_json: bool,
    /// How findings are explained, if they are.
    explain: Option<ExplainStyle>,
    /// Lists of the JSON object of a text, which end it.
    lists: Vec<u8>,
    counts: ResultCounts,
    rows: Vec<Vec<String>>,
    /// Findings that masking replaces.
    pub(super) found: u64,
    pub(super) unrestored: u64,
    /// Whether something was written.
    pub(super) is_begun: bool,
}

/// Numbers of the JSON object of a text.
#[derive(Default)]
struct ResultCounts {
    existing: u64,
    restored: u64,
}

impl TextResults {
    pub(super) fn new(operation: TextOperation, target: TextTarget, explain: bool, ctx: &CommandContext<'_>) -> Self {
        let is_json = ctx.output.is_json();
        let on_terminal =
            if operation == TextOperation::Detect { ctx.output.is_terminal() } else { io::stderr().is_terminal() };
        let colored = on_terminal && ctx.environment().setting("NO_COLOR").is_none();
        TextResults {
            operation,
            target,
            is_json,
            explain: (explain && !is_json).then_some(ExplainStyle { colored }),
            lists: Vec::new(),
            counts: ResultCounts::default(),
            rows: Vec::new(),
            found: 0,
            unrestored: 0,
            is_begun: false,
        }
    }

    /// Returns whether places are shown, so that offsets are those of characters.
    pub(super) fn has_places(&self) -> bool {
        !self.is_json
    }

    /// Begins the results of a text.
    pub(super) fn begin(&mut self, source: &TextSource, output: &mut Output) -> Result<(), CommandError> {
        if !self.is_json {
            return Ok(());
        }
        self.counts = ResultCounts::default();
        let mut beginning = b"{\"file\":".to_vec();
        add_json(&mut beginning, &source.label);
        if self.operation != TextOperation::Detect {
            beginning.extend_from_slice(b",\"text\":\"");
        }
        self.is_begun = true;
        self.target.bytes(&beginning, output)
    }

    /// Adds a part of the results.
    pub(super) fn add(
        &mut self,
        source: &TextSource,
        answer: &TextAnswer<'_>,
        places: &impl Locate,
        output: &mut Output,
    ) -> Result<(), CommandError> {
        if self.is_json {
            for finding in &answer.findings {
                self.add_listed(finding);
            }
            for unrestored in &answer.unrestored {
                self.add_listed(unrestored);
            }
            self.counts.existing += answer.existing;
            self.counts.restored += answer.restored;
        }
        for finding in &answer.findings {
            self.found += u64::from(finding.action != TextAction::Passthrough);
            if let Some(style) = self.explain {
                let line = style.explanation(&source.name, finding, places);
                match self.operation {
                    TextOperation::Detect => output.bytes(format!("{line}\n").as_bytes())?,
                    _ => output.colored_line(&line),
                }
            } else if self.operation == TextOperation::Detect && !self.is_json {
                self.rows.push(row(&source.label, finding, places));
            }
        }
        for unrestored in &answer.unrestored {
            self.unrestored += 1;
            if !self.is_json && self.unrestored <= UNRESTORED_SHOWN_MAX {
                let (name, place) = (&source.name, places.place(unrestored.start));
                output.error(&format!("{name}:{place}: not restored: {}", unrestored.reason));
            }
        }
        if let Some(text) = &answer.text {
            self.is_begun |= !text.is_empty();
            if self.is_json {
                let mut quoted = Vec::with_capacity(text.len() + text.len() / 8 + 2);
                add_json(&mut quoted, &**text);
                self.target.bytes(&quoted[1..quoted.len() - 1], output)?;
            } else {
                self.target.text(text, output)?;
            }
        }
        Ok(())
    }

    fn add_listed(&mut self, value: &impl Serialize) {
        if !self.lists.is_empty() {
            self.lists.push(b',');
        }
        add_json(&mut self.lists, value);
    }

    /// Ends the results of a text.
    pub(super) fn end(&mut self, output: &mut Output) -> Result<(), CommandError> {
        if self.is_json {
            let list = std::mem::take(&mut self.lists);
            let ResultCounts { existing, restored } = self.counts;
            let (before, after) = match self.operation {
                TextOperation::Mask => ("\",\"findings\":[".to_owned(), format!("],\"existing\":{existing}}}\n")),
                TextOperation::Detect => (",\"findings\":[".to_owned(), format!("],\"existing\":{existing}}}\n")),
                TextOperation::Restore => (format!("\",\"restored\":{restored},\"unrestored\":["), "]}\n".to_owned()),
            };
            for part in [before.as_bytes(), &list, after.as_bytes()] {
                self.target.bytes(part, output)?;
            }
        }
        self.target.flush(output)
    }

    /// Shows what is shown at the end of a run, also of one that ended early.
    pub(super) fn show(&mut self, output: &mut Output) -> Result<(), CommandError> {
        if self.unrestored > UNRESTORED_SHOWN_MAX && !self.is_json {
            output.error(&format!("not restored: {} in all", self.unrestored));
        }
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(());
        }
        output.table(&["FILE", "PLACE", "BYTES", "KIND", "ACTION", "CONFIDENCE", "RULE"], rows)
    }
}

/// Returns the line of a finding. It does not contain the value.
fn row(label: &str, finding: &TextFinding<'_>, places: &impl Locate) -> Vec<String> {
    vec![
        label.to_owned(),
        places.place(finding.start),
        places.bytes(finding.start, finding.end),
        finding.kind.to_string(),
        action(finding.action).to_owned(),
        format!("{:.2}", finding.confidence),
        finding.rule.to_string(),
    ]
}

fn action(action: TextAction) -> &'static str {
    match action {
        TextAction::Tokenize => "tokenize",
        TextAction::Redact => "redact",
        TextAction::Passthrough => "passthrough",
    }
}

/// Appends a value as JSON. The types that are written always have one.
fn add_json<T: Serialize + ?Sized>(to: &mut Vec<u8>, value: &T) {
    let _ = serde_json::to_writer(to, value);
}

/// How explanations are written.
#[derive(Clone, Copy)]
struct ExplainStyle {
    colored: bool,
}

impl ExplainStyle {
    /// Explains a finding on a line. It has places and names of rules, and no part of the text: it may be shown to others.
    fn explanation(self, name: &str, finding: &TextFinding<'_>, places: &impl Locate) -> String {
        let action_color = match finding.action {
            TextAction::Tokenize => "\x1b[32m",
            TextAction::Redact => "\x1b[31m",
            TextAction::Passthrough => "\x1b[33m",
        };
        let mut line = format!(
            "{}: {} {:.2} {}: rule {}",
            self.colored("\x1b[1m", &format!("{}:{}", printable(name, ""), places.place(finding.start))),
            self.colored("\x1b[1;36m", &finding.kind),
            finding.confidence,
            self.colored(action_color, action(finding.action)),
            &*finding.rule,
        );
        if let Some(why) = &finding.why {
            line.push_str(&format!(" ({})", &*why.evidence));
            if let Some(label) = why.label {
                line.push_str(&format!(", label at {}", places.place(label.start)));
            }
            if let Some(check) = &why.check {
                line.push_str(&format!(", check passed: {}", &**check));
            }
            if why.rewritten {
                line.push_str(", read through an encoding");
            }
        }
        line
    }

    fn colored(self, color: &str, text: &str) -> String {
        if self.colored { format!("{color}{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Offsets;

    impl Locate for Offsets {
        fn place(&self, offset: u64) -> String {
            format!("1:{}", offset + 1)
        }

        fn bytes(&self, start: u64, end: u64) -> String {
            format!("{start}-{end}")
        }
    }

    #[test]
    fn an_explanation_has_places_and_colors_where_they_are_wanted() {
        let finding: TextFinding<'_> = serde_json::from_str(
            r#"{"start": 19, "end": 33, "kind": "IBAN", "action": "tokenize", "confidence": 0.95, "rule": "iban",
                "why": {"evidence": "labelled", "label": {"start": 11, "end": 15}, "check": "modulo 97", "rewritten": true}}"#,
        )
        .unwrap();
        let plain = ExplainStyle { colored: false }.explanation("note.txt", &finding, &Offsets);
        let expected = "note.txt:1:20: IBAN 0.95 tokenize: rule iban (labelled), label at 1:12, check passed: modulo 97, \
                        read through an encoding";
        assert_eq!(plain, expected);
        let colored = ExplainStyle { colored: true }.explanation("note.txt", &finding, &Offsets);
        assert!(
            colored.starts_with("\x1b[1mnote.txt:1:20\x1b[0m: \x1b[1;36mIBAN\x1b[0m 0.95 \x1b[32mtokenize\x1b[0m: ")
        );
        assert_eq!(row("-", &finding, &Offsets), ["-", "1:20", "19-33", "IBAN", "tokenize", "0.95", "iban"]);
    }
}
