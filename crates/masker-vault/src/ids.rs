//! Ids that the vault creates.

use std::fmt;

use data_encoding::HEXLOWER;

macro_rules! ids {
    ($($(#[$meaning:meta])* $name:ident;)*) => {$(
        $(#[$meaning])*
        /// It is the creation time in milliseconds of Unix time, in 6 bytes, then 10 random bytes, written as 32 lower-case
        /// hex digits. Ids sort by time.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Returns the id of these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                $name(bytes)
            }

            /// Creates an id.
            pub(crate) fn new(now_ms: u64, random: [u8; 10]) -> Self {
                let [_, _, time @ ..] = now_ms.to_be_bytes();
                let mut bytes = [0; 16];
                bytes[..6].copy_from_slice(&time);
                bytes[6..].copy_from_slice(&random);
                $name(bytes)
            }

            /// Parses 32 lower-case hex digits; `None` for anything else.
            pub fn parse(text: &str) -> Option<Self> {
                let mut bytes = [0; 16];
                if HEXLOWER.decode_len(text.len()) != Ok(bytes.len()) {
                    return None;
                }
                HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).ok()?;
                Some($name(bytes))
            }

            /// Returns the bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

ids! {
    /// The id of a rotation.
    RotationId;
    /// The id of a session.
    SessionId;
    /// The id of a honeytoken's mark. It does not reveal the token.
    HoneytokenId;
}
