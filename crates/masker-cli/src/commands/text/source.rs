//! The files of a command on texts, read piece by piece.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::places::{Place, Places};
use crate::{commands::bulk::FileReader, context::CommandError, file_kind, format::io_error, output::Output};

/// The path that means standard input or standard output.
pub(super) const STANDARD: &str = "-";
/// Bytes that are read at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Most bytes of a character.
const CHARACTER_BYTES_MAX: usize = 4;

/// A text of a command: a file or standard input.
pub(super) struct TextSource {
    /// `None` for standard input.
    path: Option<PathBuf>,
    /// How it is called in messages.
    pub(super) name: String,
    /// How it is called in results.
    pub(super) label: String,
    /// The length in bytes of a regular file.
    pub(super) bytes: Option<u64>,
}

impl TextSource {
    /// Returns the sources of a command: its arguments, or standard input. All are checked first as far as that is possible
    /// without consuming them.
    ///
    /// # Errors
    /// A file cannot be read, or is not UTF-8.
    pub(super) fn of_arguments(files: &[PathBuf], output: &Output) -> Result<Vec<Self>, CommandError> {
        let standard = [PathBuf::from(STANDARD)];
        let files = if files.is_empty() { &standard[..] } else { files };
        if files.iter().filter(|file| *file == Path::new(STANDARD)).count() > 1 {
            return Err(CommandError::Usage("standard input (`-`) can be given once".to_owned()));
        }
        let sources: Vec<Self> = files.iter().map(|path| Self::checked(path)).collect::<Result<_, _>>()?;
        if sources.iter().any(|source| source.path.is_none()) && io::stdin().is_terminal() {
            output.note("type or paste a text; end with Ctrl-D");
        }
        Ok(sources)
    }

    fn checked(path: &Path) -> Result<Self, CommandError> {
        if path == Path::new(STANDARD) {
            let name = "standard input".to_owned();
            let file = FileReader::of(&io::stdin());
            let bytes = file.as_ref().map(FileReader::bytes_left);
            let source = TextSource { path: None, name, label: STANDARD.to_owned(), bytes };
            file.map_or(Ok(()), |file| source.check(Box::new(file)))?;
            return Ok(source);
        }
        let name = path.to_string_lossy().into_owned();
        let mut source = TextSource { path: Some(path.to_owned()), label: name.clone(), name, bytes: None };
        let metadata = path.metadata().map_err(|error| source.unreadable(error))?;
        if metadata.is_dir() {
            return Err(source.unreadable(io::ErrorKind::IsADirectory.into()));
        }
        if metadata.is_file() {
            source.bytes = Some(metadata.len());
            let file = source.open()?;
            source.check(file)?;
        }
        Ok(source)
    }

    /// Reads a text to its end.
    fn check(&self, file: Box<dyn Read + Send>) -> Result<(), CommandError> {
        let (mut reader, mut places) = (TextReader::new(file), Places::default());
        loop {
            match reader.next() {
                Ok(Some(piece)) => places.push(piece),
                Ok(None) => return Ok(()),
                Err(problem) => return Err(self.problem(problem, places.end())),
            }
        }
    }

    fn open(&self) -> Result<Box<dyn Read + Send>, CommandError> {
        match &self.path {
            None => Ok(Box::new(io::stdin())),
            Some(path) => Ok(Box::new(File::open(path).map_err(|error| self.unreadable(error))?)),
        }
    }

    /// Refuses a text that is also standard output.
    ///
    /// # Errors
    /// [`CommandError::Usage`], or the file cannot be opened.
    pub(super) fn refuse_output(&self) -> Result<(), CommandError> {
        match &self.path {
            None => file_kind::refuse_same_file(),
            // Opening a pipe would wait for its writer, and it is not the file of the output.
            Some(_) if self.bytes.is_none() => Ok(()),
            Some(path) => file_kind::refuse_output(File::open(path).map_err(|error| self.unreadable(error))?),
        }
    }

    /// Returns a reader of the text.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn reader(&self) -> Result<TextReader, CommandError> {
        Ok(TextReader::new(self.open()?))
    }

    /// Returns whether the text can be read again.
    pub(super) fn is_repeatable(&self) -> bool {
        self.path.is_some() && self.bytes.is_some()
    }

    fn unreadable(&self, error: io::Error) -> CommandError {
        match &self.path {
            None => CommandError::Input(error),
            Some(_) => CommandError::Other(format!("failed to read {}: {}", self.name, io_error(&error))),
        }
    }

    /// Returns the error of a text that cannot be read to its end.
    pub(super) fn problem(&self, problem: TextProblem, end: Option<Place>) -> CommandError {
        match problem {
            TextProblem::Unreadable(error) => self.unreadable(error),
            TextProblem::NotUtf8(byte) => CommandError::Other(format!(
                "{}: not UTF-8 text (byte {byte}): convert it, as with `iconv -f windows-1252 -t UTF-8`",
                self.at(end)
            )),
            TextProblem::Kind(what) => CommandError::Other(format!("{} is {what}", self.name)),
        }
    }

    /// Returns the name with a place.
    pub(super) fn at(&self, place: Option<Place>) -> String {
        match place {
            Some(place) => format!("{}:{place}", self.name),
            None => self.name.clone(),
        }
    }
}

/// Why a text cannot be read to its end.
pub(super) enum TextProblem {
    Unreadable(io::Error),
    /// The offset of the first byte that is not UTF-8.
    NotUtf8(u64),
    /// What it is, and what to do.
    Kind(String),
}

/// Reads UTF-8 in pieces of whole characters, as they arrive. The buffer is wiped.
pub(super) struct TextReader {
    source: Box<dyn Read + Send>,
    buffer: Zeroizing<Vec<u8>>,
    /// The bytes of the buffer that were returned, and those that were read.
    given: usize,
    filled: usize,
    /// The offset of the buffer in the text.
    offset: u64,
    begun: bool,
    ended: bool,
}

impl TextReader {
    fn new(source: Box<dyn Read + Send>) -> Self {
        let buffer = Zeroizing::new(vec![0; PIECE_BYTES + CHARACTER_BYTES_MAX]);
        TextReader { source, buffer, given: 0, filled: 0, offset: 0, begun: false, ended: false }
    }

    /// Returns the next piece, which is not empty; `None` at the end. Blocks until there is one.
    ///
    /// # Errors
    /// [`TextProblem`], after all that is before it.
    pub(super) fn next(&mut self) -> Result<Option<&str>, TextProblem> {
        self.buffer.copy_within(self.given..self.filled, 0);
        self.offset += self.given as u64;
        (self.filled, self.given) = (self.filled - self.given, 0);
        self.begin()?;
        loop {
            if let Some(end) = self.whole_characters()? {
                self.given = end;
                return Ok(Some(std::str::from_utf8(&self.buffer[..end]).unwrap_or_default()));
            }
            if self.ended {
                return Ok(None);
            }
            self.read()?;
        }
    }

    /// Returns how many bytes of the buffer are whole characters; `None` if there are none.
    fn whole_characters(&self) -> Result<Option<usize>, TextProblem> {
        let filled = &self.buffer[..self.filled];
        let end = match std::str::from_utf8(filled) {
            Ok(text) => text.len(),
            Err(error) => {
                let is_cut = error.error_len().is_none() && !self.ended;
                if error.valid_up_to() == 0 && !is_cut {
                    return Err(TextProblem::NotUtf8(self.offset));
                }
                error.valid_up_to()
            }
        };
        Ok(Some(end).filter(|end| *end > 0))
    }

    /// Examines the beginning of the text.
    fn begin(&mut self) -> Result<(), TextProblem> {
        while !self.begun {
            if !self.ended && !file_kind::is_enough(&self.buffer[..self.filled]) {
                self.read()?;
                continue;
            }
            self.begun = true;
            if let Some(what) = file_kind::of(&self.buffer[..self.filled]).unless_utf8() {
                return Err(TextProblem::Kind(what.to_owned()));
            }
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), TextProblem> {
        match self.source.read(&mut self.buffer[self.filled..]) {
            Ok(read) => {
                self.ended = read == 0;
                self.filled += read;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(TextProblem::Unreadable(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns so many bytes for each read.
    struct Slow(&'static [u8], usize);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn read(bytes: &'static [u8], at_once: usize) -> (String, Option<TextProblem>) {
        let mut reader = TextReader::new(Box::new(Slow(bytes, at_once)));
        let mut text = String::new();
        loop {
            match reader.next() {
                Ok(Some(piece)) => text.push_str(piece),
                Ok(None) => return (text, None),
                Err(problem) => return (text, Some(problem)),
            }
        }
    }

    #[test]
    fn pieces_are_whole_characters() {
        for text in ["", "a", "Zoë 渚 😀\r\n and more than sixteen bytes", "\u{feff}Ann\n"] {
            for at_once in 1..=5 {
                assert!(matches!(read(text.as_bytes(), at_once), (read, None) if read == text), "{text}");
            }
        }
    }

    #[test]
    fn what_is_not_utf_8_has_an_offset() {
        for (bytes, before, at) in [
            (&b"Zo\xEB, and more of the text"[..], "Zo", 2),
            (b"an end within a character \xE6\xB8", "an end within a character ", 26),
            (b"\xFF", "", 0),
        ] {
            for at_once in [1, 3, 100] {
                let (text, problem) = read(bytes, at_once);
                assert!(text == before && matches!(problem, Some(TextProblem::NotUtf8(byte)) if byte == at), "{text}");
            }
        }
        for bytes in [&b"\xFF\xFEA\0"[..], b"\x1F\x8B\x08\0\0"] {
            assert!(matches!(read(bytes, 1), (text, Some(TextProblem::Kind(_))) if text.is_empty()));
        }
    }
}
