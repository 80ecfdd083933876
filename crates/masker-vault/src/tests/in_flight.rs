//! In-flight records, step by step.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use crate::in_flight::{InFlightRecords, ReadMarker};
use masker_core::crypto::TokenId;

#[test]
fn a_reader_waits_only_for_the_commit_that_writes_its_records() {
    let (a, b) = (TokenId::from_bytes([1; 20]), TokenId::from_bytes([2; 20]));
    let in_flight = InFlightRecords::default();
    let mut cx = Context::from_waker(Waker::noop());
    let marker = in_flight.read_marker();
    assert_eq!(pin!(in_flight.must_reread(&marker, [a].into_iter())).poll(&mut cx), Poll::Ready(false));

    in_flight.begin([a]);
    assert_eq!(pin!(in_flight.must_reread(&marker, [b].into_iter())).poll(&mut cx), Poll::Ready(false));
    let mut waiting = pin!(in_flight.must_reread(&marker, [b, a].into_iter()));
    assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Pending);
    in_flight.end(false);
    assert_eq!(waiting.poll(&mut cx), Poll::Ready(true));
    assert_eq!(pin!(in_flight.must_reread(&marker, [a].into_iter())).poll(&mut cx), Poll::Ready(false));
}

#[test]
fn reads_again_after_a_failed_commit() {
    let (a, b) = (TokenId::from_bytes([1; 20]), TokenId::from_bytes([2; 20]));
    let in_flight = InFlightRecords::default();
    let mut cx = Context::from_waker(Waker::noop());
    let mut again = |marker: &ReadMarker| pin!(in_flight.must_reread(marker, [a].into_iter())).poll(&mut cx);

    // The commit has ended when the reader checks, and another one has begun.
    in_flight.begin([a]);
    let marker = in_flight.read_marker();
    in_flight.end(true);
    assert_eq!(again(&marker), Poll::Ready(true));
    in_flight.begin([b]);
    assert_eq!(again(&marker), Poll::Ready(true));
    assert_eq!(again(&in_flight.read_marker()), Poll::Ready(false));
}
