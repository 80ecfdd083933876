//! Inputs as edits to a valid file: random bytes are never a valid sealed file, but edits reach almost valid ones.

/// Applies edits to a text. Each edit is four bytes; at most 16 edits are applied.
pub fn edited(text: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    for edit in edits.chunks_exact(4).take(16) {
        let &[operation, high, low, byte] = edit else { continue };
        if text.is_empty() {
            break;
        }
        let at = usize::from(u16::from_be_bytes([high, low])) % text.len();
        match operation % 6 {
            0 => text[at] = byte,
            1 => text[at] ^= 1 << (byte % 8),
            2 => text.truncate(at),
            3 => text.insert(at, byte),
            4 => drop(text.remove(at)),
            // Appends a copy of the text from `at`: up to its end, or `byte` bytes.
            _ => {
                let part = text[at..].to_vec();
                let part = if byte == 0 { &part[..] } else { &part[..part.len().min(usize::from(byte))] };
                text.extend_from_slice(part);
            }
        }
    }
    text
}
