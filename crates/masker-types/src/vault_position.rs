//! The position of a vault: which vault it is, and its latest commit.

use std::fmt;

/// The position of a vault after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VaultPosition {
    /// The id of the vault.
    pub vault_id: [u8; 16],
    /// The history that the commit belongs to. A new epoch begins when an operator accepts a loss.
    pub epoch: u64,
    /// The number of the commit, which continues over epochs.
    pub sequence: u64,
    /// The version of the control rows; the default where they are not counted.
    pub control: ControlPosition,
}

/// The version of the rows that grant or withhold, such as API keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControlPosition {
    /// The number of the key that authenticates them.
    pub epoch: u64,
    /// How many commits changed them, in all epochs.
    pub changes: u64,
}

impl ControlPosition {
    /// Returns whether neither number is below that of `other`.
    pub fn reaches(&self, other: &ControlPosition) -> bool {
        self.epoch >= other.epoch && self.changes >= other.changes
    }

    /// Returns the higher of both numbers each.
    #[must_use]
    pub fn max(self, other: ControlPosition) -> ControlPosition {
        ControlPosition { epoch: self.epoch.max(other.epoch), changes: self.changes.max(other.changes) }
    }
}

impl VaultPosition {
    /// Returns whether this position is later than `other`, which is of the same vault.
    pub fn is_after(&self, other: &VaultPosition) -> bool {
        (self.epoch, self.sequence) > (other.epoch, other.sequence)
    }
}

/// The id of a vault in messages and in the audit log: 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VaultId(pub [u8; 16]);

impl VaultId {
    /// Parses the text of an id.
    pub fn parse(text: &str) -> Option<Self> {
        let mut id = [0; 16];
        let digits = text.as_bytes();
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        if digits.len() != 32 {
            return None;
        }
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(VaultId(id))
    }
}

impl fmt::Display for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_text() {
        let id = VaultId(std::array::from_fn(|at| 17 * at as u8));
        let text = id.to_string();
        assert_eq!(text, "00112233445566778899aabbccddeeff");
        assert_eq!(VaultId::parse(&text), Some(id));
        for other in ["", &text[1..], &format!("{text}0"), &text.to_uppercase(), &text.replace('0', "g")] {
            assert_eq!(VaultId::parse(other), None, "{other}");
        }
    }

    #[test]
    fn an_epoch_comes_before_a_sequence() {
        let at =
            |epoch, sequence| VaultPosition { vault_id: [1; 16], epoch, sequence, control: ControlPosition::default() };
        assert!(at(2, 5).is_after(&at(1, 9)) && at(1, 9).is_after(&at(1, 8)));
        assert!(!at(1, 9).is_after(&at(1, 9)) && !at(1, 9).is_after(&at(2, 5)));
    }
}
