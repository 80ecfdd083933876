//! The primitives that [`super::in_flight`] is built on. Its model in the tests has a module of the same name with loom's.

pub(super) use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
pub(super) use tokio::sync::watch;
