//! What can go wrong, as one number and one sentence.
//!
//! Every call of the C ABI answers with a [`Status`]; calls that parse, connect or wait can give an [`Error`]
//! besides, which says what happened, to what, and what to do. Numbers are frozen: new ones are only appended
//! to their range. `tests/abi.rs` holds the table.

use std::fmt;

macro_rules! statuses {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal, $c_name:literal, $message:literal;)*) => {
        /// A result: 0 is success, negative is an error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum Status { $($(#[doc = $doc])* $name = $number,)* }

        impl Status {
            /// Every status, in the order of the table.
            pub const ALL: &'static [Status] = &[$(Status::$name),*];

            /// The status with that number, if there is one.
            pub const fn from_code(code: i32) -> Option<Status> {
                match code { $($number => Some(Status::$name),)* _ => None }
            }

            /// The name used in C, with a final NUL.
            pub const fn c_name(self) -> &'static std::ffi::CStr {
                match self { $(Status::$name => $c_name,)* }
            }

            /// One line for a person, with a final NUL.
            pub const fn c_message(self) -> &'static std::ffi::CStr {
                match self { $(Status::$name => $message,)* }
            }
        }
    };
}

statuses! {
    /// Success.
    Ok = 0, c"REDMUX_OK", c"success";

    /// An argument is NULL, empty, out of range or not a known value.
    InvalidArgument = -100, c"REDMUX_ERR_INVALID_ARGUMENT", c"an argument is missing or out of range";
    /// No option has that key; the message names the nearest.
    UnknownOption = -101, c"REDMUX_ERR_UNKNOWN_OPTION", c"no option has that key";
    /// The option exists and the value does not fit it.
    InvalidValue = -102, c"REDMUX_ERR_INVALID_VALUE", c"the value does not fit the option";
    /// The URL or connection string cannot be read.
    InvalidUrl = -103, c"REDMUX_ERR_INVALID_URL", c"the URL or connection string cannot be read";
    /// This build was made without the feature.
    NotBuilt = -104, c"REDMUX_ERR_NOT_BUILT", c"this build was made without that feature";

    /// The handle is closed, stale or was never given out.
    Closed = -200, c"REDMUX_ERR_CLOSED", c"closed, or never opened";
    /// The handle was made by the parent of this process; open a new client here.
    Forked = -201, c"REDMUX_ERR_FORKED", c"the handle belongs to the parent process; open a new client";
    /// Another thread is inside this inbox; an inbox has one taker at a time.
    Busy = -202, c"REDMUX_ERR_BUSY", c"another thread is using it";
    /// The call would wait for itself; it was made inside a callback.
    WouldDeadlock = -203, c"REDMUX_ERR_WOULD_DEADLOCK", c"a blocking call inside a callback";
    /// The promise set is not subscribed at this moment.
    Inactive = -204, c"REDMUX_ERR_INACTIVE", c"not subscribed at this moment";
    /// Cancelled by the caller.
    Cancelled = -205, c"REDMUX_ERR_CANCELLED", c"cancelled by the caller";
    /// A later remove won over this add.
    Superseded = -206, c"REDMUX_ERR_SUPERSEDED", c"a later remove won over this add";
    /// The client is stopped.
    Stopped = -207, c"REDMUX_ERR_STOPPED", c"the client is stopped";
    /// Only a stopped client can be started again.
    NotStopped = -208, c"REDMUX_ERR_NOT_STOPPED", c"the client is not stopped";
    /// The service or name is already served by this client.
    AlreadySubscribed = -209, c"REDMUX_ERR_ALREADY_SUBSCRIBED", c"already served by this client";
    /// What is asked cannot live beside what is there.
    Conflict = -210, c"REDMUX_ERR_CONFLICT", c"it cannot live beside what is there";

    /// No connection could be made.
    Connect = -300, c"REDMUX_ERR_CONNECT", c"no connection could be made";
    /// The host name could not be resolved.
    Resolve = -301, c"REDMUX_ERR_RESOLVE", c"the host name could not be resolved";
    /// TLS could not be agreed; the message says which part failed.
    Tls = -302, c"REDMUX_ERR_TLS", c"TLS could not be agreed";
    /// The connection was lost.
    LinkLost = -303, c"REDMUX_ERR_LINK_LOST", c"the connection was lost";
    /// The connection was lost while this was waiting.
    Interrupted = -304, c"REDMUX_ERR_INTERRUPTED", c"the connection was lost while this was waiting";
    /// Never given to the kernel; it is safe to send again.
    NotSent = -305, c"REDMUX_ERR_NOT_SENT", c"never sent; it is safe to send again";
    /// Sent, and the connection was lost before the answer came.
    Unknown = -306, c"REDMUX_ERR_UNKNOWN", c"sent, and the connection was lost before the answer came";
    /// The server sent something that is not RESP3.
    Protocol = -307, c"REDMUX_ERR_PROTOCOL", c"the server sent something that is not RESP3";
    /// The server did not answer a PING in time.
    PingTimeout = -308, c"REDMUX_ERR_PING_TIMEOUT", c"the server did not answer a PING in time";

    /// Nobody serves it.
    NoResponders = -309, c"REDMUX_ERR_NO_RESPONDERS", c"nobody serves it";
    /// The responder answered with an error.
    Remote = -310, c"REDMUX_ERR_REMOTE", c"the responder answered with an error";

    /// Redis answered with an error.
    Redis = -400, c"REDMUX_ERR_REDIS", c"Redis answered with an error";
    /// Redis refused the user or the password.
    Auth = -401, c"REDMUX_ERR_AUTH", c"Redis refused the user or the password";
    /// Redis refused the name (ACL).
    Refused = -402, c"REDMUX_ERR_REFUSED", c"Redis refused the name";
    /// Some names are active and some were refused.
    Partial = -403, c"REDMUX_ERR_PARTIAL", c"some names are active, some were refused";
    /// The server is older than Redis 7.0 or does not speak RESP3.
    OldServer = -404, c"REDMUX_ERR_OLD_SERVER", c"the server is older than Redis 7.0";

    /// There is no room; take some records first.
    Full = -500, c"REDMUX_ERR_FULL", c"there is no room";
    /// A name or a payload is over its limit.
    TooLarge = -501, c"REDMUX_ERR_TOO_LARGE", c"larger than its limit allows";
    /// The inbox was full and its policy is to close.
    Overflow = -502, c"REDMUX_ERR_OVERFLOW", c"the inbox was full";
    /// The machine has no memory for it.
    NoMemory = -503, c"REDMUX_ERR_NO_MEMORY", c"out of memory";

    /// The time given is over.
    Timeout = -600, c"REDMUX_ERR_TIMEOUT", c"the time given is over";

    /// A defect of this library; the handle can still be closed.
    Internal = -900, c"REDMUX_ERR_INTERNAL", c"a defect of this library";
}

impl Status {
    /// The number given to C.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// Whether the same call may succeed later without any change.
    pub const fn retriable(self) -> bool {
        matches!(
            self,
            Status::Busy
                | Status::Inactive
                | Status::Connect
                | Status::Resolve
                | Status::LinkLost
                | Status::Interrupted
                | Status::NotSent
                | Status::PingTimeout
                | Status::Full
                | Status::NoMemory
                | Status::Timeout
        )
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.c_message().to_str().unwrap_or("unknown status"))
    }
}

/// A status with a sentence: what happened, to what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    status: Status,
    message: String,
    redis: Option<String>,
}

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with its sentence.
    pub fn new(status: Status, message: impl Into<String>) -> Error {
        Error { status, message: message.into(), redis: None }
    }

    /// An error that Redis answered: its first word (`NOPERM`, `WRONGPASS`) is kept apart.
    pub fn from_redis(status: Status, context: &str, line: &[u8]) -> Error {
        let line = String::from_utf8_lossy(line);
        let word = line.split(' ').next().unwrap_or_default().to_owned();
        Error { status, message: format!("{context}: {line}"), redis: Some(word) }
    }

    /// The same error with Redis' own word.
    pub fn said_by_redis(mut self, word: &str) -> Error {
        self.redis = Some(word.to_owned());
        self
    }

    /// The status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Redis' own error word, where Redis answered.
    pub fn redis(&self) -> Option<&str> {
        self.redis.as_deref()
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        Error::new(status, status.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
