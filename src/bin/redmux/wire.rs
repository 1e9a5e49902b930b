//! A connection for questions to the server itself (INFO, CONFIG GET, MONITOR): the library's own dialer, greeting and
//! reader, without its mux. One command at a time; whoever asks waits, for `connect_timeout` at most.

use crate::exit::{Exit, Failure, Result};
use redmux::error::{Error, Status};
use redmux::link::dial::{Socket, dial};
use redmux::link::handshake::{Greeting, Hello, greet};
use redmux::mux::hub::Settings;
use redmux::options::{Key, Options};
use redmux::proto::resp::{self, Frame, Limits, Reply, Step};
use redmux::settings::settings;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

const LIMITS: Limits = Limits { max_payload: 1 << 20, max_name: 64 * 1024 };

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A string.
    Text(Vec<u8>),
    /// A number.
    Number(i64),
    /// The server's error line.
    Error(String),
    /// Anything else, as it came.
    Other(Vec<u8>),
}

impl Answer {
    /// As text; empty if it is none.
    pub fn text(&self) -> String {
        match self {
            Answer::Text(text) => String::from_utf8_lossy(text).into_owned(),
            _ => String::new(),
        }
    }

    /// The elements of an array or a map, one after the other.
    pub fn items(&self) -> Vec<Answer> {
        match self {
            Answer::Other(raw) => resp::values(raw).map(|reply| own(&reply)).collect(),
            _ => Vec::new(),
        }
    }
}

fn own(reply: &Reply<'_>) -> Answer {
    match reply {
        Reply::Status(text) | Reply::Bulk(text) => Answer::Text(text.to_vec()),
        Reply::Error(text) => Answer::Error(String::from_utf8_lossy(text).into_owned()),
        Reply::Integer(number) => Answer::Number(*number),
        Reply::Null => Answer::Other(Vec::new()),
        Reply::Other(raw) => verbatim(raw).map_or_else(|| Answer::Other(raw.to_vec()), Answer::Text),
    }
}

/// What INFO and CLIENT INFO answer in RESP3: `=15\r\ntxt:Some string\r\n`.
fn verbatim(raw: &[u8]) -> Option<Vec<u8>> {
    let line = raw.strip_prefix(b"=")?;
    let start = line.iter().position(|byte| *byte == b'\n')? + 1;
    line.strip_suffix(b"\r\n")?.get(start + 4..).map(<[u8]>::to_vec)
}

/// A connection.
pub struct Wire {
    socket: Socket,
    /// What was read and not yet looked at.
    unread: Vec<u8>,
    limit: Duration,
    /// What the server said of itself.
    pub greeting: Greeting,
    /// After the socket, which lives on it.
    runtime: Runtime,
}

impl Wire {
    /// Connects and greets, once.
    pub fn connect(options: &Options) -> Result<Wire> {
        let settings = settings(options)?;
        let failed = |error: std::io::Error| Failure::new(Exit::No, format!("cannot make a runtime: {error}"));
        let runtime = Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
        let limit = settings.dial.connect_timeout;
        let (socket, mut greeting) = runtime.block_on(reach(options, &settings))?;
        let unread = std::mem::take(&mut greeting.leftover);
        Ok(Wire { socket, unread, limit, greeting, runtime })
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &str {
        &self.socket.peer
    }

    /// Sends a command and waits for its answer.
    pub fn ask(&mut self, parts: &[&[u8]]) -> Result<Answer> {
        let mut command = Vec::new();
        resp::command(&mut command, parts);
        let Wire { socket, unread, runtime, limit, .. } = self;
        let work = async {
            socket.io.write_all(&command).await.map_err(|error| lost(&error))?;
            socket.io.flush().await.map_err(|error| lost(&error))?;
            loop {
                let step = resp::next(unread, &LIMITS)
                    .map_err(|error| Error::new(Status::Protocol, format!("the server's answer: {error}")))?;
                let (used, answer) = match step {
                    Step::Frame { used, frame: Frame::Reply(reply) } => (used, Some(own(&reply))),
                    Step::Frame { used, .. } => (used, None),
                    Step::More { .. } => {
                        more(socket, unread).await?;
                        continue;
                    }
                    Step::Oversized { .. } => return Err(Error::new(Status::Protocol, "an answer is over 1 MiB")),
                };
                unread.drain(..used);
                if let Some(answer) = answer {
                    return Ok(answer);
                }
            }
        };
        match runtime.block_on(async { tokio::time::timeout(*limit, work).await }) {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Failure::new(Exit::Server, format!("the server did not answer within {limit:?}"))),
        }
    }

    /// The same, by words.
    pub fn ask_words(&mut self, words: &str) -> Result<Answer> {
        let parts: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        self.ask(&parts)
    }

    /// Whatever comes next, without a limit of time: for MONITOR, whose lines never end.
    pub fn read(&mut self) -> Result<Vec<u8>> {
        let Wire { socket, unread, runtime, .. } = self;
        if unread.is_empty() {
            runtime.block_on(more(socket, unread))?;
        }
        Ok(std::mem::take(unread))
    }
}

async fn reach(options: &Options, settings: &Settings) -> redmux::error::Result<(Socket, Greeting)> {
    let mut socket = dial(&settings.address, &settings.dial).await?;
    let (user, password) = (options.text(Key::User), options.text(Key::Password));
    let hello = Hello {
        user: Some(user).filter(|user| !user.is_empty()),
        password: Some(password).filter(|password| !password.is_empty()),
        client_name: &settings.name,
        lib_name: &settings.lib_name,
        lib_version: env!("CARGO_PKG_VERSION"),
        db: None,
    };
    let limit = settings.dial.connect_timeout;
    match tokio::time::timeout(limit, greet(&mut socket.io, &hello)).await {
        Ok(greeting) => Ok((socket, greeting?)),
        Err(_) => {
            let text = format!("{} did not answer HELLO within {limit:?}", settings.address);
            Err(Error::new(Status::Connect, text))
        }
    }
}

async fn more(socket: &mut Socket, unread: &mut Vec<u8>) -> redmux::error::Result<()> {
    unread.reserve(16 * 1024);
    match socket.io.read_buf(unread).await {
        Ok(0) => Err(Error::new(Status::LinkLost, "the server closed the connection")),
        Ok(_) => Ok(()),
        Err(error) => Err(lost(&error)),
    }
}

fn lost(error: &std::io::Error) -> Error {
    Error::new(Status::LinkLost, format!("the connection was lost: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verbatim_string_is_a_text() {
        assert_eq!(own(&Reply::Other(b"=7\r\ntxt:a\nb\r\n")), Answer::Text(b"a\nb".to_vec()));
        assert_eq!(own(&Reply::Other(b"*0\r\n")), Answer::Other(b"*0\r\n".to_vec()));
    }
}
