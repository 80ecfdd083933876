//! Runs the real binary in a temporary directory, and connects to it over its socket.
//!
//! A [`Site`] has the files of a daemon: configuration, policies, the vault and the socket. It outlives its daemons, so that
//! they can be killed and started again with other keys. A [`Launch`] has the settings of one start, which ends in a
//! [`Daemon`] that is ready, or in a refusal. A [`Client`] speaks HTTP/1.1 and checks every header of an answer.
//!
//! ```ignore
//! let site = Site::new();
//! let daemon = site.launch().key("K_CARE", &TestKey::named("first")).start();
//! let mut client = daemon.client();
//! let token = client.token("PHONE", "415-555-2671");
//! daemon.kill();
//! let daemon = site.launch().key("K_CARE", &TestKey::named("second")).old_key("K_CARE", &TestKey::named("first")).start();
//! assert_eq!(daemon.client().token("PHONE", "415-555-2671"), token);
//! daemon.stop();
//! ```
//!
//! Nothing here sleeps or polls. Readiness, reloads and the end arrive as notifications of the service manager's protocol
//! or as the end of standard error; other events are lines of the log. Each wait has a limit, after which the test fails
//! and shows the log.

mod client;
mod events;
mod gateway;
mod keys;
mod log;
mod notify;
mod operations;
mod process;
mod site;
mod stranger;

pub use client::{Client, Response, request};
pub use events::events_of;
pub use gateway::start_gateway;
pub use keys::TestKey;
pub use log::Log;
pub use operations::{error_code, item, shape_of};
pub use process::{Daemon, Ended, masker, masker_gateway};
pub use site::{CARE, Launch, Site};
pub use stranger::{OpenDaemon, connect_as, is_root};

use std::time::Duration;

/// The time limit for anything that should take no time, on a busy machine with several daemons.
pub const LIMIT: Duration = Duration::from_secs(30);
