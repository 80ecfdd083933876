//! Exit codes.

use std::process::ExitCode;

use masker_client::{ClientError, TlsProblem};
use masker_types::error_code::Code;

/// How a command ended. [`Exit::code`] is the exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: success.
    Done,
    /// 1: any other error.
    Error,
    /// 2: a failure that the command reports, such as a token that was not found, a degraded daemon, or personal data that
    /// `masker text detect --check` has found.
    Failure,
    /// 3: a policy or the configuration is invalid.
    Invalid,
    /// 4: not authorized.
    Unauthorized,
    /// 5: the daemon is not reachable.
    Unreachable,
    /// 64: the command line is invalid (`EX_USAGE` of sysexits.h).
    Usage,
}

impl Exit {
    /// Returns the exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Error => 1,
            Exit::Failure => 2,
            Exit::Invalid => 3,
            Exit::Unauthorized => 4,
            Exit::Unreachable => 5,
            Exit::Usage => 64,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

impl From<&ClientError> for Exit {
    fn from(error: &ClientError) -> Exit {
        match error {
            ClientError::NoSocket(_)
            | ClientError::Refused(_)
            | ClientError::Forbidden(_)
            | ClientError::Connect { .. }
            | ClientError::Unreachable { .. }
            | ClientError::Proxy(_)
            | ClientError::Lost(_) => Exit::Unreachable,
            ClientError::Tls(error) => match error.problem {
                TlsProblem::CertificateNeeded | TlsProblem::CertificateRefused(_) => Exit::Unauthorized,
                _ => Exit::Unreachable,
            },
            ClientError::Problem(problem) if matches!(problem.status, 401 | 403) => Exit::Unauthorized,
            ClientError::Problem(problem) | ClientError::Busy { problem, .. }
                if problem.code == Code::AuthBlocked.as_str() =>
            {
                Exit::Unauthorized
            }
            ClientError::Problem(problem) if problem.code == Code::PolicyInvalid.as_str() => Exit::Invalid,
            ClientError::Problem(_)
            | ClientError::Busy { .. }
            | ClientError::UnexpectedResponse(_)
            | ClientError::Request(_)
            | _ => Exit::Error,
        }
    }
}
