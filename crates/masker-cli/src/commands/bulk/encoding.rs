//! The encodings of tables.
//!
//! A table is split into cells as bytes, and only the cells that are swapped are decoded. So the others keep their bytes, also
//! where they are not text. UTF-16 is the exception: its tables are converted as a whole, in both directions.

use std::{
    borrow::Cow,
    io::{self, Read},
};

use encoding_rs::{
    Decoder, DecoderResult, Encoding, ISO_2022_JP, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE, X_USER_DEFINED,
};

use super::wiped_bytes::WipedBytes;
use crate::file_kind::ByteOrder;

/// Size in bytes of the pieces of UTF-16 that are converted at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// The encoding of the cells of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CellEncoding {
    Utf8,
    /// ISO 8859-1: each byte is the code point of the same number. The Encoding Standard knows the name for windows-1252 only.
    Latin1,
    Other(&'static Encoding),
}

/// The encoding of a file, as `--encoding` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileEncoding {
    Cells(CellEncoding),
    /// UTF-16, in the order of the byte order mark if none is given.
    Utf16(Option<ByteOrder>),
}

/// Why bytes cannot be swapped as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("not {} text; use --encoding if the file has another one", .0.name())]
    NotText(CellEncoding),
    /// Encodings of several bytes have more than one code for some characters, of which encoders write one.
    #[error(
        "a character has several codes in {}, and this one would not come back; convert the file to UTF-8 first",
        .0.name()
    )]
    SecondCode(CellEncoding),
}

impl FileEncoding {
    /// The default.
    pub(super) const UTF_8: Self = FileEncoding::Cells(CellEncoding::Utf8);

    /// Returns the encoding with this name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "latin-1" | "latin1" | "l1" | "iso-8859-1" | "iso8859-1" | "iso_8859-1" => {
                return Some(FileEncoding::Cells(CellEncoding::Latin1));
            }
            "utf-16" | "utf16" => return Some(FileEncoding::Utf16(None)),
            "utf-16le" | "utf16le" => return Some(FileEncoding::Utf16(Some(ByteOrder::Little))),
            "utf-16be" | "utf16be" => return Some(FileEncoding::Utf16(Some(ByteOrder::Big))),
            _ => {}
        }
        // The names of code pages, as Python and `iconv` have them.
        let label = match lower.as_str() {
            "cp932" => "shift_jis",
            "cp936" => "gbk",
            "cp949" => "euc-kr",
            "cp950" => "big5",
            name => name,
        };
        let encoding = Encoding::for_label(label.as_bytes())?;
        // The Encoding Standard takes ASCII for windows-1252, and would accept any byte.
        if lower.contains("ascii") || lower.contains("ansi_x3.4") {
            return None;
        }
        if encoding == UTF_8 {
            return Some(FileEncoding::Cells(CellEncoding::Utf8));
        }
        // These are not a superset of ASCII, or are not for files.
        let refused = [REPLACEMENT, X_USER_DEFINED, ISO_2022_JP, UTF_16LE, UTF_16BE];
        (!refused.contains(&encoding)).then_some(FileEncoding::Cells(CellEncoding::Other(encoding)))
    }

    /// Returns the encoding of the cells after the conversion of the file.
    pub(super) fn cells(self) -> CellEncoding {
        match self {
            FileEncoding::Cells(cells) => cells,
            FileEncoding::Utf16(_) => CellEncoding::Utf8,
        }
    }
}

impl CellEncoding {
    /// Returns its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            CellEncoding::Utf8 => "UTF-8",
            CellEncoding::Latin1 => "ISO-8859-1",
            CellEncoding::Other(encoding) => encoding.name(),
        }
    }

    /// Returns whether this byte is always a character of its own.
    pub(super) fn is_single(self, byte: u8) -> bool {
        match self {
            CellEncoding::Other(encoding) if !encoding.is_single_byte() => byte < 0x40 && !byte.is_ascii_digit(),
            _ => byte.is_ascii(),
        }
    }

    /// Returns the text of these bytes.
    ///
    /// # Errors
    /// They are not text, or [`CellEncoding::encode`] would give other bytes: what goes in must come back.
    pub(super) fn decode(self, bytes: &[u8]) -> Result<Cow<'_, str>, DecodeError> {
        let text = match self {
            CellEncoding::Utf8 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            CellEncoding::Latin1 => Some(bytes.iter().copied().map(char::from).collect()),
            CellEncoding::Other(encoding) => encoding.decode_without_bom_handling_and_without_replacement(bytes),
        };
        let text = text.ok_or(DecodeError::NotText(self))?;
        match self {
            CellEncoding::Other(_) if self.encode(&text).as_deref() != Some(bytes) => {
                Err(DecodeError::SecondCode(self))
            }
            _ => Ok(text),
        }
    }

    /// Returns the bytes of a text, or `None` if the encoding lacks one of its characters.
    pub(super) fn encode(self, text: &str) -> Option<Cow<'_, [u8]>> {
        match self {
            CellEncoding::Utf8 => Some(Cow::Borrowed(text.as_bytes())),
            CellEncoding::Latin1 => text.chars().map(|character| u8::try_from(character).ok()).collect(),
            CellEncoding::Other(encoding) => {
                let (bytes, _, incomplete) = encoding.encode(text);
                (!incomplete).then_some(bytes)
            }
        }
    }
}

/// Converts UTF-16 to UTF-8.
pub(super) struct Utf16Reader<R> {
    source: R,
    decoder: Decoder,
    piece: WipedBytes,
    /// UTF-8, of which the bytes before `given` were returned.
    converted: WipedBytes,
    given: usize,
    ended: bool,
}

impl<R: Read> Utf16Reader<R> {
    pub(super) fn new(source: R, order: ByteOrder) -> Self {
        let encoding = if order == ByteOrder::Little { UTF_16LE } else { UTF_16BE };
        Utf16Reader {
            source,
            decoder: encoding.new_decoder_without_bom_handling(),
            piece: vec![0; PIECE_BYTES].into(),
            converted: WipedBytes::default(),
            given: 0,
            ended: false,
        }
    }

    /// Converts the next piece of the source.
    fn convert(&mut self) -> io::Result<()> {
        let read = self.source.read(&mut self.piece)?;
        self.ended = read == 0;
        // One code unit is left from before, and one takes three bytes at most.
        self.converted.resize(read / 2 * 3 + 16, 0);
        let (result, _, written) =
            self.decoder.decode_to_utf8_without_replacement(&self.piece[..read], &mut self.converted, self.ended);
        self.given = 0;
        self.converted.truncate(written);
        match result {
            DecoderResult::InputEmpty => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the input is not UTF-16 text")),
        }
    }
}

impl<R: Read> Read for Utf16Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.converted.len() && !self.ended {
            self.convert()?;
        }
        let length = buffer.len().min(self.converted.len() - self.given);
        buffer[..length].copy_from_slice(&self.converted[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}

/// Converts UTF-8 to UTF-16. What is not UTF-8 is left out: it cannot come from a file of UTF-16.
pub(super) fn to_utf16(text: &[u8], order: ByteOrder) -> Vec<u8> {
    let mut converted = Vec::with_capacity(text.len() * 2);
    for unit in text.utf8_chunks().flat_map(|chunk| chunk.valid().encode_utf16()) {
        let bytes = if order == ByteOrder::Little { unit.to_le_bytes() } else { unit.to_be_bytes() };
        converted.extend_from_slice(&bytes);
    }
    converted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(name: &str) -> CellEncoding {
        FileEncoding::parse(name).unwrap().cells()
    }

    #[test]
    fn every_byte_of_single_byte_encodings_comes_back() {
        for name in ["latin-1", "ISO-8859-1", "windows-1252", "cp1252", "windows-1251", "iso-8859-15", "koi8-r"] {
            let encoding = cells(name);
            for byte in 0..=u8::MAX {
                if let Ok(text) = encoding.decode(&[byte]) {
                    assert_eq!(encoding.encode(&text).as_deref(), Some(&[byte][..]), "{name} {byte}");
                }
            }
        }
        assert_eq!(cells("latin-1").decode(b"Zo\xEB \x80").as_deref(), Ok("Zoë \u{80}"));
        assert_eq!(cells("windows-1252").decode(b"Zo\xEB \x80").as_deref(), Ok("Zoë €"));
        assert_eq!(cells("latin-1").encode("€"), None);
        assert_eq!(cells("windows-1252").encode("渚"), None);
        assert_eq!(cells("utf-8").decode(b"\xEB"), Err(DecodeError::NotText(CellEncoding::Utf8)));
    }

    #[test]
    fn bytes_of_longer_characters_are_not_delimiters() {
        let shift_jis = cells("shift_jis");
        assert_eq!(cells("CP932"), shift_jis);
        assert_eq!(shift_jis.decode(b"\x95\x5C").as_deref(), Ok("表"));
        // The NEC code of a character that IBM's code is written for.
        assert_eq!(shift_jis.decode(b"\xED\x40"), Err(DecodeError::SecondCode(shift_jis)));
        assert!(!shift_jis.is_single(b'\\') && !shift_jis.is_single(b'|') && shift_jis.is_single(b';'));
        assert!(cells("windows-1252").is_single(b'|') && !cells("utf-8").is_single(0xE9));
        for name in
            ["iso-2022-jp", "nonsense", "replacement", "x-user-defined", "ascii", "US-ASCII", "ansi_x3.4-1968", "cp850"]
        {
            assert_eq!(FileEncoding::parse(name), None, "{name}");
        }
    }

    #[test]
    fn utf_16_is_converted_in_both_directions() {
        let text = "Zoë 渚 😀\r\n".repeat(20_000);
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let wide = to_utf16(text.as_bytes(), order);
            let mut read = String::new();
            Utf16Reader::new(wide.as_slice(), order).read_to_string(&mut read).unwrap();
            assert!(read == text);
            let halves = if order == ByteOrder::Little { b"\x00\xD8\x00\xD8" } else { b"\xD8\x00\xD8\x00" };
            for damaged in [&wide[..wide.len() - 1], halves] {
                assert!(Utf16Reader::new(damaged, order).read_to_string(&mut String::new()).is_err());
            }
        }
    }
}
