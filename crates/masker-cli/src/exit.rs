//! Exit codes: what scripts decide on.

use std::process::ExitCode;

use masker_client::ClientError;
use masker_types::error_code::Code;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: an error that is none of the others.
    Error,
    /// 2: the command's own failure, such as a token that did not rehydrate or a daemon that is not well.
    Failure,
    /// 3: a policy or the configuration does not validate.
    Invalid,
    /// 4: not authorized.
    Unauthorized,
    /// 5: the daemon cannot be reached.
    Unreachable,
    /// 64: the command line is not understood (`EX_USAGE` of sysexits.h).
    Usage,
}

impl Exit {
    /// The number.
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
            | ClientError::Lost(_) => Exit::Unreachable,
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
