//! Configuration: `masker.toml`, the environment variables that override it, the policies, and the credentials.
//!
//! - [`Config::load`] finds and reads the configuration file and the variables, and reports every error at once.
//! - [`load_policies`] reads the policies that it names.
//! - [`Credentials::collect`] reads the keys. Keys have no place in the configuration file, which is easy to read for
//!   others; they come from variables, key files or systemd credentials.
//!
//! This crate reads files, but nothing of the process: the environment, the user and the working directory are arguments
//! ([`HostEnvironment`]).
//!
//! This crate uses `masker-core` and `masker-types`. `masker-access`, `masker-cli`, the daemon and `xtask` use it.

mod acceptance;
mod audit;
mod clients;
mod credentials;
mod environment;
mod error;
mod fields;
mod file;
mod gateway;
mod host;
mod key_file;
mod load;
mod policies;
mod replaceable;
mod roles;
mod sandbox;
mod settings;
#[cfg(test)]
mod tests;
mod text_file;
mod trust;

pub use acceptance::{AcceptableState, AcceptanceError, AcceptedKind, AcceptedStates, NONE};
pub use audit::AuditConfig;
pub use clients::{AccessConfig, ClientConfig};
pub use credentials::{
    CredentialCaution, CredentialFault, CredentialProblem, CredentialProblems, CredentialWarning, Credentials,
    KeyChanges, KeySources, OriginKind, PartialCredentials, ReloadedKeys, SecretOrigin, is_secret_name,
};
pub use environment::Environment;
pub use error::{ConfigError, ConfigErrors};
pub use gateway::GatewayConfig;
pub use host::{CommandLineOptions, HostEnvironment, SYSTEM_DIR};
pub use masker_types::engine::EngineKind;
pub use policies::{is_policy_file, load_policies, load_policy, policy_files};
pub use replaceable::replaceable;
pub use roles::RoleConfig;
pub use sandbox::{SandboxConfig, SeccompMode};
pub use settings::{Config, KeyConfig, LogConfig, PolicyConfig, ServerConfig, SessionConfig, VaultConfig};
pub use trust::is_open_to_all;
