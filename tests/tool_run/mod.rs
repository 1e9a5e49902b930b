//! Running the command-line tool as a person does: its output line by line, its end, its exit code.

#![allow(dead_code, reason = "each test uses its part")]

use crate::support::{PATIENCE, process};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What was built.
pub const TOOL: &str = env!("CARGO_BIN_EXE_redmux");

/// A command that knows no server but that one, and no colours of its surroundings.
pub fn tool(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(TOOL);
    command.args(args);
    clean(&mut command, url);
    command
}

/// The environment of a person whose server is at that url.
pub fn clean(command: &mut Command, url: &str) {
    for name in ["REDIS_HOST", "REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.env("REDIS_URL", url).env("TERM", "xterm");
}

/// What a run printed, and its exit code.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs it to its end.
#[track_caller]
pub fn run(command: Command) -> Ran {
    let mut running = Running::start(command);
    let code = running.end(PATIENCE * 3);
    Ran { code, stdout: running.rest(true), stderr: running.rest(false) }
}

/// A tool that runs.
pub struct Running {
    pub child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    receiver
}

impl Running {
    #[track_caller]
    pub fn start(mut command: Command) -> Running {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
        let mut child = process::spawn(command).expect("what was built can be run");
        let (stdout, stderr) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        Running { child, stdout: lines(stdout), stderr: lines(stderr) }
    }

    /// The next line of stdout.
    #[track_caller]
    pub fn line(&self) -> String {
        next(&self.stdout, "stdout")
    }

    /// The next line of stderr.
    #[track_caller]
    pub fn note(&self) -> String {
        next(&self.stderr, "stderr")
    }

    /// Waits for a note that contains `part`.
    #[track_caller]
    pub fn noted(&self, part: &str) -> String {
        loop {
            let note = self.note();
            if note.contains(part) {
                return note;
            }
        }
    }

    /// Its exit code, when it has ended by itself; 128 and more as a shell counts signals.
    #[track_caller]
    pub fn end(&mut self, limit: Duration) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of this process") {
                return status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
            }
            assert!(started.elapsed() < limit, "it has not ended within {limit:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What it printed and nobody read yet, after its end.
    pub fn rest(&self, stdout: bool) -> String {
        let from = if stdout { &self.stdout } else { &self.stderr };
        from.iter().map(|line| line + "\n").collect()
    }
}

#[track_caller]
fn next(lines: &Receiver<String>, what: &str) -> String {
    match lines.recv_timeout(PATIENCE) {
        Ok(line) => line,
        Err(RecvTimeoutError::Timeout) => panic!("no line on {what} within {PATIENCE:?}"),
        Err(RecvTimeoutError::Disconnected) => panic!("it closed its {what} instead of printing a line"),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
