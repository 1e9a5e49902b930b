//! One command for one request: the body is its stdin, the answer its stdout. It runs in a process group of its own, so
//! that Ctrl-C is for the tool alone, and so that it can be ended with everything it started.
//!
//! It is ended by its id, which is its own until it is waited for. That happens under the lock that whoever ends it takes,
//! so that a signal never reaches a stranger that got the same id.

use crate::out::{Notes, Tone};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The exit status by which a command says that trying again may help (EX_TEMPFAIL of sysexits.h).
const TRY_AGAIN: i32 = 75;
/// The longest line of stderr that is passed on.
const LONGEST: u64 = 4096;

/// What a command is told of its request, beside the body.
pub struct Asked<'a> {
    /// The service that was asked.
    pub service: &'a [u8],
    /// The request's head.
    pub head: &'a Value,
}

impl Asked<'_> {
    /// A text of the head.
    pub fn text(&self, key: &str) -> &str {
        self.head[key].as_str().unwrap_or_default()
    }
}

/// What came of a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It printed this.
    Answer(Vec<u8>),
    /// It failed.
    Failed {
        /// A word: `EXIT_3`, `SIGNAL_9`.
        code: String,
        /// The first line of its stderr, or what there is to say.
        message: String,
        /// It said that trying again may help.
        retriable: bool,
    },
    /// It was ended because nobody waited for it any more.
    GivenUp,
}

impl Outcome {
    /// A failure that is not the command's own.
    pub fn failed(code: &str, message: impl Into<String>) -> Outcome {
        Outcome::Failed { code: code.into(), message: message.into(), retriable: false }
    }
}

/// A command that runs.
pub struct Running {
    pid: Pid,
    /// None when it was waited for: then its id may be another's.
    child: Mutex<Option<Child>>,
    /// Nobody waits for it any more.
    given_up: AtomicBool,
}

impl Running {
    /// Starts it.
    pub fn start(command: &[OsString], asked: &Asked<'_>) -> io::Result<Running> {
        let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut child = Command::new(program);
        child.args(args).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What another request left there, if this tool was itself started by one.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("REDMUX_HEADER_")) {
            child.env_remove(name);
        }
        let service = String::from_utf8_lossy(asked.service).into_owned();
        child.env("REDMUX_SERVICE", of_a_string(&service));
        child.env("REDMUX_FROM", of_a_string(asked.text("from"))).env("REDMUX_ID", of_a_string(asked.text("id")));
        for (key, value) in asked.head["h"].as_object().into_iter().flatten() {
            child.env(variable(key), of_a_string(value.as_str().unwrap_or_default()));
        }
        let child = child.spawn()?;
        Ok(Running { pid: Pid::from_child(&child), child: Mutex::new(Some(child)), given_up: AtomicBool::new(false) })
    }

    /// Ends it and what it started, because nobody waits for it.
    pub fn give_up(&self, signal: Signal) {
        self.given_up.store(true, Ordering::SeqCst);
        self.signal(signal);
    }

    /// Reaches it and what it started, if it has not been waited for.
    fn signal(&self, signal: Signal) {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if child.is_some() {
            // It may have ended by itself, and all of its own with it.
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// Gives it its body and waits for what it prints, at most `most` bytes, and for its end.
    pub fn finish(&self, body: &[u8], most: usize, notes: Option<Notes>) -> Outcome {
        let pipes = {
            let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
            child.as_mut().map(|child| (child.stdin.take(), child.stdout.take(), child.stderr.take()))
        };
        let Some((Some(mut stdin), Some(stdout), Some(stderr))) = pipes else {
            return Outcome::failed("INTERNAL", "a command without pipes");
        };
        let mut printed = Vec::new();
        let mut first = String::new();
        let read = std::thread::scope(|scope| {
            // A command that does not read all of it is within its rights.
            let write = move || drop(stdin.write_all(body));
            let writer = std::thread::Builder::new().spawn_scoped(scope, write);
            let complaints = std::thread::Builder::new().spawn_scoped(scope, || first = pass_on(stderr, notes));
            let read = match (writer, complaints) {
                (Ok(_), Ok(_)) => stdout.take(most as u64 + 1).read_to_end(&mut printed).map(|_| ()),
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
            if read.is_err() || printed.len() > most {
                self.signal(Signal::KILL);
            }
            read
        });
        match self.wait() {
            _ if self.given_up.load(Ordering::SeqCst) => Outcome::GivenUp,
            Err(error) => Outcome::failed("WAIT", error.to_string()),
            Ok(_) if read.is_err() => Outcome::failed("READ", "what it printed could not be read"),
            Ok(_) if printed.len() > most => {
                Outcome::failed("TOO_LARGE", format!("it printed more than {most} bytes (max_payload)"))
            }
            Ok(status) if status.success() => Outcome::Answer(printed),
            Ok(status) => failure(status, first),
        }
    }

    fn wait(&self) -> io::Result<ExitStatus> {
        // Not yet reaped by this: its id stays its own until the lock is held.
        waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        child.ok_or_else(|| io::Error::other("it was waited for twice"))?.wait()
    }
}

fn failure(status: ExitStatus, first: String) -> Outcome {
    let (code, said) = match (status.code(), status.signal()) {
        (Some(code), _) => (format!("EXIT_{code}"), format!("it ended with exit status {code}")),
        (None, Some(signal)) => (format!("SIGNAL_{signal}"), format!("it was ended by signal {signal}")),
        (None, None) => ("UNKNOWN".into(), status.to_string()),
    };
    let message = if first.is_empty() { said } else { first };
    Outcome::Failed { code, message, retriable: status.code() == Some(TRY_AGAIN) }
}

/// Shows a command's stderr as it comes, and gives its first line that says something.
fn pass_on(stderr: impl Read, notes: Option<Notes>) -> String {
    let mut from = BufReader::new(stderr);
    let mut first = String::new();
    let mut line = Vec::new();
    while matches!(from.by_ref().take(LONGEST).read_until(b'\n', &mut line), Ok(1..)) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if let Some(notes) = notes {
            notes.note(Tone::Dim, &text);
        }
        if first.is_empty() {
            first = text;
        }
        line.clear();
    }
    first
}

/// The name of a header's variable: `trace-id` is `REDMUX_HEADER_TRACE_ID`.
fn variable(key: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("REDMUX_HEADER_{}", key.chars().map(plain).collect::<String>())
}

/// A text as a variable can hold it: none holds a zero byte.
fn of_a_string(text: &str) -> String {
    text.replace('\0', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(script: &str, head: &Value, body: &[u8]) -> Outcome {
        let command = ["sh", "-c", script].map(OsString::from);
        let running = Running::start(&command, &Asked { service: b"x.y", head }).unwrap();
        running.finish(body, 1 << 20, None)
    }

    #[test]
    fn a_command_gets_its_request_and_what_it_prints_is_the_answer() {
        let head = json!({"id": "a.1", "from": "web\0-1", "h": {"trace-id": "7", "LD_PRELOAD": "/evil.so"}});
        let script =
            "cat; echo \" $REDMUX_SERVICE $REDMUX_FROM $REDMUX_ID $REDMUX_HEADER_TRACE_ID ${LD_PRELOAD-none}\"";
        assert_eq!(run(script, &head, b"hello"), Outcome::Answer(b"hello x.y web-1 a.1 7 none\n".to_vec()));
        // A body that it does not read, and more than a pipe holds.
        let large = vec![b'x'; 1 << 19];
        assert_eq!(run("echo no", &head, &large), Outcome::Answer(b"no\n".to_vec()));
        assert_eq!(run("cat", &head, &large), Outcome::Answer(large));
    }

    #[test]
    fn a_command_that_fails_is_told_by_its_first_words() {
        let head = json!({});
        let failed = |script: &str| match run(script, &head, b"") {
            Outcome::Failed { code, message, retriable } => (code, message, retriable),
            other => panic!("{other:?}"),
        };
        let told = |code: &str, message: &str, retriable| (code.to_owned(), message.to_owned(), retriable);
        assert_eq!(
            failed("echo >&2; echo no such user >&2; echo x >&2; exit 3"),
            told("EXIT_3", "no such user", false)
        );
        assert_eq!(failed("exit 75"), told("EXIT_75", "it ended with exit status 75", true));
        assert_eq!(failed("kill -9 $$"), told("SIGNAL_9", "it was ended by signal 9", false));
        assert_eq!(failed("yes"), told("TOO_LARGE", "it printed more than 1048576 bytes (max_payload)", false));
    }

    #[test]
    fn ending_a_command_ends_what_it_started_and_only_while_its_id_is_its_own() {
        let command = ["sh", "-c", "sleep 600 & sleep 600"].map(OsString::from);
        let running = Running::start(&command, &Asked { service: b"", head: &json!({}) }).unwrap();
        // Its children hold its stdout: it is over when they are gone too.
        running.give_up(Signal::TERM);
        assert_eq!(running.finish(b"", 10, None), Outcome::GivenUp);
        running.give_up(Signal::KILL);
    }
}
