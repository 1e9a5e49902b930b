//! How the tool ends: a number for scripts and one sentence for people. The numbers are frozen; `redmux --help` and
//! `docs/tool.md` list them.

use crate::out::Out;
use redmux::error::{Error, Status};
use std::io;
use std::process::ExitCode;

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Ok = 0,
    /// The answer is no, or something else failed.
    No = 1,
    /// The command line or an option is wrong.
    Usage = 2,
    /// The server cannot be reached, does not let us in, or was lost.
    Server = 3,
    /// Redis refused.
    Refused = 4,
    /// The time given is over.
    Timeout = 5,
    /// Nobody is there to answer.
    Nobody = 6,
    /// An answer is an error, or somebody who took the request fell silent.
    Failed = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why it did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// Told to the person.
    Told(Exit, String),
    /// Ended by a signal before it was done, after it tidied up.
    Signal(i32),
    /// Nobody reads the output any more: not an error, there is just nothing left to do.
    OutputClosed,
}

/// The result of a verb and its parts.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure with its sentence.
    pub fn new(exit: Exit, text: impl Into<String>) -> Failure {
        Failure::Told(exit, text.into())
    }

    /// Prints it and gives its number.
    pub fn tell(&self, out: &Out) -> ExitCode {
        match self {
            Failure::Told(exit, text) => {
                out.complain(text);
                (*exit).into()
            }
            Failure::Signal(signal) => ExitCode::from((128 + signal) as u8),
            Failure::OutputClosed => Exit::Ok.into(),
        }
    }
}

/// The number that a status of the library becomes.
pub fn exit_of(status: Status) -> Exit {
    use Status::*;
    match status {
        Ok => Exit::Ok,
        InvalidArgument | UnknownOption | InvalidValue | InvalidUrl | NotBuilt | TooLarge => Exit::Usage,
        Connect | Resolve | Tls | LinkLost | Interrupted | NotSent | Unknown | Protocol | PingTimeout | Auth
        | OldServer => Exit::Server,
        Redis | Refused | Partial => Exit::Refused,
        Timeout => Exit::Timeout,
        NoResponders => Exit::Nobody,
        Remote => Exit::Failed,
        _ => Exit::No,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::new(exit_of(error.status()), error.message())
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Error::from(status).into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::new(Exit::No, format!("cannot print: {error}")),
        }
    }
}
