//! What is printed: results on stdout, notes and complaints on stderr.
//!
//! A verb prints whole lines and flushes when it waits. Colours are for terminals. What came over the network never
//! reaches a terminal with control characters in it, or a message could move its cursor and repaint what stands there;
//! into a file or a pipe it goes byte for byte.

use crate::exit::Result;
use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a piece of text is, which decides its colour.
#[derive(Debug, Clone, Copy)]
pub enum Tone {
    /// A channel, a command: what one looks for.
    Name,
    /// All is well.
    Good,
    /// Look here.
    Warn,
    /// Wrong.
    Bad,
    /// Beside the point.
    Dim,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Tone::Name => "36",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31;1",
            Tone::Dim => "2",
        }
    }
}

/// Where a verb prints.
pub struct Out {
    stdout: BufWriter<Stdout>,
    terminal: bool,
    paint: bool,
    notes: Notes,
}

/// What stands beside the results, on stderr; for other threads too. Nobody to read it is no error.
#[derive(Debug, Clone, Copy)]
pub struct Notes {
    paint: bool,
}

impl Notes {
    /// A note.
    pub fn note(self, tone: Tone, text: &str) {
        let _ = writeln!(io::stderr(), "{}", painted(self.paint, tone, &clean(text)));
    }

    /// What is wrong.
    pub fn complain(self, text: &str) {
        let head = painted(self.paint, Tone::Bad, "redmux:");
        let _ = writeln!(io::stderr(), "{head} {}", clean(text));
    }
}

impl Out {
    /// Stdout and stderr as they are.
    pub fn new(color: Color) -> Out {
        let allowed = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let paint = |terminal: bool| match color {
            Color::Auto => terminal && allowed,
            Color::Always => true,
            Color::Never => false,
        };
        let terminal = io::stdout().is_terminal();
        let notes = Notes { paint: paint(io::stderr().is_terminal()) };
        Out { stdout: BufWriter::new(io::stdout()), terminal, paint: paint(terminal), notes }
    }

    /// A text for stdout in its colour.
    pub fn tone(&self, tone: Tone, text: &str) -> String {
        painted(self.paint, tone, text)
    }

    /// Whether a person reads it as it comes.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Bytes from the network as they may stand on this output.
    pub fn safe<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if self.terminal { visible(bytes) } else { Cow::Borrowed(bytes) }
    }

    /// Prints bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stdout.write_all(bytes)?)
    }

    /// Prints a line.
    pub fn line(&mut self, text: &str) -> Result<()> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Everything printed is out.
    pub fn flush(&mut self) -> Result<()> {
        Ok(self.stdout.flush()?)
    }

    /// Where notes go.
    pub fn notes(&self) -> Notes {
        self.notes
    }

    /// A note beside the results.
    pub fn note(&self, tone: Tone, text: &str) {
        self.notes.note(tone, text);
    }

    /// Why it failed.
    pub fn complain(&self, text: &str) {
        self.notes.complain(text);
    }
}

fn painted(paint: bool, tone: Tone, text: &str) -> String {
    if paint { format!("\x1b[{}m{text}\x1b[0m", tone.code()) } else { text.to_owned() }
}

/// A text without control characters but for line ends.
fn clean(text: &str) -> String {
    let keep = |byte: &u8| *byte == b'\n' || *byte == b'\t' || !byte.is_ascii_control();
    if text.bytes().all(|byte| keep(&byte)) {
        return text.to_owned();
    }
    String::from_utf8_lossy(&visible(text.as_bytes())).into_owned()
}

/// Control characters, but for tabs and line ends, as `\x1b`.
pub fn visible(bytes: &[u8]) -> Cow<'_, [u8]> {
    let text = String::from_utf8_lossy(bytes);
    let harmless = |c: char| c == '\n' || c == '\t' || !c.is_control();
    if text.chars().all(harmless) && matches!(text, Cow::Borrowed(_)) {
        return Cow::Borrowed(bytes);
    }
    let mut seen = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if harmless(c) { seen.push(c) } else { seen.push_str(&format!("\\x{:02x}", c as u32)) }
        }
        for byte in chunk.invalid() {
            seen.push_str(&format!("\\x{byte:02x}"));
        }
    }
    Cow::Owned(seen.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_repaint_a_terminal_is_written_out() {
        assert_eq!(&*visible(b"plain \xc3\xa9\ttab"), "plain \u{e9}\ttab".as_bytes());
        assert_eq!(&*visible(b"\x1b[2Jgone\xff\x07"), b"\\x1b[2Jgone\\xff\\x07");
    }
}
