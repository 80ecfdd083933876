//! The wire types of the HTTP interface: requests, responses and error codes.
//!
//! There is one module for each resource. Request types borrow from the body, so that a batch of values is not copied.
//! Every type is in the OpenAPI document that the daemon serves. Unknown fields of requests are errors; clients must
//! accept new fields of responses.
//!
//! The crate has no I/O and no async code. It uses only `masker-types`; the daemon, the client and the command line use
//! it.

#![warn(missing_docs)]

mod admin;
mod api_keys;
mod audit;
mod honeytokens;
mod strict_object;
mod report;
mod rotations;
mod sessions;
mod text;
mod maintenance;
mod masking;
mod values;

pub use admin::{
    CheckReport, Component, Components, DaemonConfiguration, EntityDescription, ErrorBody, Health, HealthStatus,
    KeyAction, KeyAdvice, KeyList, KeyStatus, KeysReloadReport, KidRecords, PolicyDescription, PolicyList,
    PolicySummary, ReloadReport, VaultStats, WhoAmI,
};
pub use api_keys::{
    ApiKeyCreate, ApiKeyIssued, ApiKeyList, ApiKeyPatch, ApiKeyRotate, ApiKeyStatus, ApiKeyUse, SecretInGrace,
};
pub use audit::{AuditEvents, AuditHead};
pub use honeytokens::{Honeytoken, HoneytokenList, HoneytokenPlant, HoneytokenPlanted};
pub use maintenance::{
    CompactReport, ControlKeyHolder, ControlKeyReport, ImportReport, PurgeReport, PurgeRequest, PurgedRecords,
};
pub use masker_types::error_code::Code;
pub use masking::{
    TextAction, TextDetectResponse, TextDetectResult, TextFinding, TextFormat, TextMaskRequest, TextMaskResponse,
    TextMaskResult, TextMaskStreamOptions, TextMaskStreamPart, TextOffsets, TextReplacement, TextRestoreRequest,
    TextRestoreResponse, TextRestoreResult, TextRestoreStreamOptions, TextRestoreStreamPart, TextSpan, TextStreamEnd,
    TextStreamError, TextStreamPart, TextUnrestored, TextWhy,
};
pub use report::{
    Report, ReportApiKey, ReportApiKeys, ReportBudget, ReportCaller, ReportCallerTotals, ReportChainFailure, ReportDay,
    ReportErasures, ReportEvent, ReportFailure, ReportHoneytokens, ReportItems, ReportKey, ReportKind, ReportLog,
    ReportOperation, ReportPeriod, ReportVerification,
};
pub use rotations::{Rotation, RotationBegin, RotationFailure, RotationList};
pub use sessions::{SessionInfo, SessionKind, SessionList, SessionOpen, SessionOpener, SessionTokens};
pub use strict_object::StrictObject;
pub use text::Text;
pub use values::{
    BatchResponse, ForgetRequest, ForgetResult, ItemError, LookupResult, RehydrateRequest, RehydrateResult,
    RewrapResult, TokenItem, TokenizeItem, TokenizeRequest, TokenizeResult,
};

/// The header with the id of the session of a request.
pub const SESSION_HEADER: &str = "x-masker-session";
/// The header of every response with the id of its request.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
