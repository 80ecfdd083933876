//! Tables of text: CSV, TSV, and the files of MySQL.
//!
//! - [`RowScanner`] finds the cells of a row as spans of its bytes, so that a program can copy the bytes of cells that it does
//!   not change.
//! - [`Dialect`] decodes and encodes single cells.
//!
//! Reading is strict: a row that another program could split in another way is an error. A reader that guesses would take
//! a part of a value for a cell of its own. The crate does no I/O, and uses no other crate of masker. Every crate may use it.

#![warn(missing_docs)]

mod dialect;
mod scan;
#[cfg(test)]
mod tests;

pub use self::{
    dialect::{Dialect, Quoting, Unrepresentable},
    scan::{Cell, RowEnd, RowError, RowScanner},
};
