//! The HTTP interface: every route, every shape, every code that a client can meet.

mod admin;
mod openapi;
mod refusals;
mod schema;
mod values;
mod vectors;
