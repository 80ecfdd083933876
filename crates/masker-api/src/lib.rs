//! The wire: what requests and answers look like, and the codes of every failure. Server and command line share it.
//!
//! Request types borrow from the body they were read from, so that a batch of values is not copied before it is
//! worked on. Every type is in the OpenAPI document that the daemon serves.

mod admin;
mod api_keys;
mod audit;
mod honeytokens;
mod strict_object;
mod rotations;
mod sessions;
mod text;
mod maintenance;
mod values;

pub use admin::{
    CheckReport, Component, Components, EntityDescription, ErrorBody, Health, HealthStatus, KeyAdvice, KeyList,
    KeyStatus, KeysReloadReport, KidRecords, PolicyDescription, PolicyList, PolicySummary, ReloadReport, VaultStats,
    WhoAmI,
};
pub use api_keys::{ApiKeyCreate, ApiKeyIssued, ApiKeyList, ApiKeyPatch, ApiKeyRotate, ApiKeyStatus, ApiKeyUse};
pub use audit::{AuditEvents, AuditHead};
pub use honeytokens::{Honeytoken, HoneytokenList, HoneytokenPlant, HoneytokenPlanted};
pub use maintenance::{CompactReport, ImportReport, PurgeReport, PurgeRequest, PurgedRecords};
pub use masker_types::error_code::Code;
pub use rotations::{Rotation, RotationBegin, RotationFailure, RotationList};
pub use sessions::{SessionInfo, SessionKind, SessionList, SessionOpen, SessionOpener, SessionTokens};
pub use strict_object::Object;
pub use text::Text;
pub use values::{
    Answer, ForgetResult, ItemError, LookupResult, RehydrateRequest, RehydrateResult, RewrapResult, TokenItem,
    TokenizeItem, TokenizeRequest, TokenizeResult,
};

/// The header that names the session which a request works in.
pub const SESSION_HEADER: &str = "x-masker-session";
/// The header that carries the id of a request on every answer.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
