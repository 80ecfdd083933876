//! Bytes as changes of a text that is there: nobody finds a sealed file by chance, but one that is nearly it.

/// Changes a text as these bytes say: four of them are one change.
pub fn edited(text: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    for edit in edits.chunks_exact(4).take(16) {
        let &[what, high, low, byte] = edit else { continue };
        if text.is_empty() {
            break;
        }
        let at = usize::from(u16::from_be_bytes([high, low])) % text.len();
        match what % 6 {
            0 => text[at] = byte,
            1 => text[at] ^= 1 << (byte % 8),
            2 => text.truncate(at),
            3 => text.insert(at, byte),
            4 => drop(text.remove(at)),
            // A part of it once more, from there on to the end or to so many bytes.
            _ => {
                let part = text[at..].to_vec();
                let part = if byte == 0 { &part[..] } else { &part[..part.len().min(usize::from(byte))] };
                text.extend_from_slice(part);
            }
        }
    }
    text
}
