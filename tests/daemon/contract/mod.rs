//! The HTTP interface: all routes, shapes and codes.

mod admin;
mod openapi;
mod refusals;
mod schema;
mod values;
mod vectors;
