//! Checks of values: check digits, areas, lists.

mod bank;
mod ids;
mod net;
mod phone;
#[cfg(test)]
mod tests;

pub(crate) use bank::{card_issuer, iban_len, is_iban, luhn};
pub(crate) use ids::{is_dea, is_npi, is_ssn, is_vin};
pub(crate) use net::{is_ipv4, is_ipv6, is_reserved_domain, is_tld};
pub use phone::Region;
pub(crate) use phone::{is_international, is_nanp};
