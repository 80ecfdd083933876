//! The daemon from outside: the real binary, started on a directory of its own, over its real socket.

pub mod daemon {
    // Shared with other tests: public, so that what only those use is not dead here.
    pub mod harness;

    mod access;
    mod api_keys;
    mod audit;
    mod backup;
    mod bulk;
    mod connections;
    mod contract;
    mod engines;
    mod handover;
    mod honeytokens;
    mod keys;
    mod lifecycle;
    mod limits;
    mod races;
    mod rotations;
    mod sandbox;
    mod reload;
    mod request_path;
    mod secrets;
    mod sessions;
    mod socket;
    mod starts;
    mod status;
}
