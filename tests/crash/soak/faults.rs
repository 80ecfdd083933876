//! The faults that the soak causes.

use std::{fmt, time::Instant};

use super::{super::promises::Exchange, around::Around, strikes};
use crate::{harness::Daemon, powercut::disk::Seeded};

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9`.
    Kill,
    /// The file system of vault and audit log is full.
    FullDisk,
    /// The file system is read-only.
    ReadOnlyDisk,
    /// Syncs fail.
    FailingDisk,
    /// Writes and syncs are slow.
    SlowDisk,
    /// The clock jumps ahead or back, and is corrected.
    ClockJump,
    /// Many `SIGHUP`, while policies change.
    HangupStorm,
    /// A reload reads half of a policy file.
    HalfAPolicy,
    /// Clients leave in the middle of requests, or do not wait for answers.
    VanishingClients,
    /// No more files can be opened, while many clients connect.
    NoDescriptors,
    /// A control group has little memory left.
    ScarceMemory,
    /// The address space is limited.
    ScarceAddresses,
    /// A stop, a start with a new key, and a rotation to it.
    Rotation,
}

impl Fault {
    /// All faults.
    pub const ALL: [Fault; 13] = [
        Fault::Kill,
        Fault::FullDisk,
        Fault::ReadOnlyDisk,
        Fault::FailingDisk,
        Fault::SlowDisk,
        Fault::ClockJump,
        Fault::HangupStorm,
        Fault::HalfAPolicy,
        Fault::VanishingClients,
        Fault::NoDescriptors,
        Fault::ScarceMemory,
        Fault::ScarceAddresses,
        Fault::Rotation,
    ];

    /// Causes the fault while the daemon is under load, and ends it. `exchanges` receives the answers to requests beside
    /// the load.
    pub fn strike(
        self,
        around: &Around,
        daemon: &Daemon,
        exchanges: &mut Vec<Exchange>,
        random: &mut Seeded,
    ) -> Outcome {
        match self {
            Fault::Kill => strikes::kill(daemon, random),
            Fault::FullDisk => strikes::full_disk(around, daemon, random),
            Fault::ReadOnlyDisk => strikes::read_only_disk(around, daemon, random),
            Fault::FailingDisk => strikes::failing_disk(around, daemon, random),
            Fault::SlowDisk => strikes::slow_disk(around, random),
            Fault::ClockJump => strikes::clock_jump(around, daemon, random),
            Fault::HangupStorm => strikes::hangup_storm(around, daemon, random),
            Fault::HalfAPolicy => strikes::half_a_policy(around, daemon, random),
            Fault::VanishingClients => strikes::vanishing_clients(daemon, exchanges, random),
            Fault::NoDescriptors => strikes::no_descriptors(daemon, random),
            Fault::ScarceMemory => strikes::scarce_memory(around, daemon, random),
            Fault::ScarceAddresses => strikes::scarce_addresses(daemon, exchanges, random),
            Fault::Rotation => strikes::rotation(daemon),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Fault::Kill => "kill -9",
            Fault::FullDisk => "full disk",
            Fault::ReadOnlyDisk => "read-only disk",
            Fault::FailingDisk => "disk that fails to sync",
            Fault::SlowDisk => "slow disk",
            Fault::ClockJump => "clock jump",
            Fault::HangupStorm => "storm of SIGHUP",
            Fault::HalfAPolicy => "half-written policy",
            Fault::VanishingClients => "clients that vanish",
            Fault::NoDescriptors => "no descriptors left",
            Fault::ScarceMemory => "memory pressure (control group)",
            Fault::ScarceAddresses => "memory pressure (address space)",
            Fault::Rotation => "stop, new key and rotation",
        })
    }
}

/// The state of the daemon afterwards.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// It serves.
    Serves,
    /// It serves, or the system has ended it.
    MayHaveEnded,
    /// It was killed.
    Killed,
    /// It was stopped at this time, and the next daemon gets a new key to rotate to.
    Rotating(Instant),
}
