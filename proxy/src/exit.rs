//! The exit codes of the operator's contract.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// How a command ended; scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: refused or failed, and the old side serves as before.
    Refused,
    /// 2: the command line or the configuration is wrong.
    Usage,
    /// 3: the outcome is not known; the text says what to do.
    Unknown,
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => 0,
            Exit::Refused => 1,
            Exit::Usage => 2,
            Exit::Unknown => 3,
        }
    }
}

impl TryFrom<u8> for Exit {
    type Error = String;

    fn try_from(code: u8) -> Result<Self, String> {
        match code {
            0 => Ok(Self::Done),
            1 => Ok(Self::Refused),
            2 => Ok(Self::Usage),
            3 => Ok(Self::Unknown),
            other => Err(format!("{other} is no exit code of pointsman")),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(u8::from(exit))
    }
}
