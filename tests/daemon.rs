//! The daemon from outside: the real binary, started on a directory of its own, over its real socket.

mod daemon {
    mod harness;

    mod connections;
    mod contract;
    mod keys;
    mod lifecycle;
    mod races;
    mod secrets;
    mod socket;
}
