//! One line of MONITOR: read, relieved of its secrets, and written for a person. Pure.

use crate::text::count;
use redmux::proto::envelope;

/// A command that the server was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When, ns since 1970.
    pub at: u64,
    /// Who: an address, `unix:/path`, or `lua`.
    pub who: String,
    /// The command and its arguments.
    pub words: Vec<Vec<u8>>,
    /// It was too long: the end of the last word, and what came behind it, is missing.
    pub cut: bool,
}

/// A request or an answer, as `docs/wire.md` tells.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it says.
    pub kind: &'static str,
    /// The request, or all that it is about.
    pub id: String,
    /// Who says it, for people.
    pub who: String,
    /// What is behind the head line.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// The head in a few words. Ids are long, and begin alike: their ends tell them apart.
    pub fn told(&self) -> String {
        let from = self.id.char_indices().rev().nth(11).map_or(0, |(at, _)| at);
        let id = self.id.get(from..).unwrap_or_default();
        let cut = if from == 0 { "" } else { "…" };
        let who = if self.who.is_empty() { String::new() } else { format!(" {}", self.who) };
        format!("{} {cut}{id}{who}: ", self.kind)
    }
}

/// Instead of a secret.
const HIDDEN: &[u8] = b"***";

impl Line {
    /// Reads `1700000000.123456 [0 127.0.0.1:50000] "PUBLISH" "news" "..."`. A line that was cut keeps what there is of it.
    pub fn parse(line: &[u8], cut: bool) -> Option<Line> {
        let text = line.strip_prefix(b"+").unwrap_or(line);
        let open = text.iter().position(|byte| *byte == b'[')?;
        let close = open + text.get(open..)?.windows(3).position(|bytes| bytes == b"] \"")?;
        let time = std::str::from_utf8(text.get(..open)?).ok()?.trim();
        let (seconds, micros) = time.split_once('.')?;
        let at = seconds.parse::<u64>().ok()? * 1_000_000_000 + micros.parse::<u64>().ok()? * 1000;
        let who = std::str::from_utf8(text.get(open + 1..close)?).ok()?;
        let (_db, who) = who.split_once(' ')?;
        let words = words(text.get(close + 2..)?);
        if words.is_empty() { None } else { Some(Line { at, who: who.to_owned(), words, cut }) }
    }

    /// The command, in capitals.
    pub fn command(&self) -> String {
        self.words.first().map_or_else(String::new, |word| String::from_utf8_lossy(word).to_uppercase())
    }

    /// Whether it is about Pub/Sub: subscribing, unsubscribing, publishing.
    pub fn is_pubsub(&self) -> bool {
        let command = self.command();
        command.ends_with("SUBSCRIBE") || command == "PUBLISH" || command == "SPUBLISH"
    }

    /// The channel that it publishes on.
    pub fn published_on(&self) -> Option<&[u8]> {
        let whole = self.command() == "PUBLISH" && !self.is_cut(1);
        if whole { self.words.get(1).map(Vec::as_slice) } else { None }
    }

    /// What it publishes.
    pub fn message(&self) -> Option<&[u8]> {
        if self.command().ends_with("PUBLISH") { self.words.get(2).map(Vec::as_slice) } else { None }
    }

    /// Whether the end of that word is missing.
    pub fn is_cut(&self, at: usize) -> bool {
        self.cut && at + 1 >= self.words.len()
    }

    /// The request or the answer that it publishes, if it is one.
    pub fn frame(&self) -> Option<Frame<'_>> {
        let channel = self.published_on()?;
        let of_requests = [&b":svc:"[..], b":reply:"].iter().any(|part| memchr::memmem::find(channel, part).is_some());
        let frame = of_requests.then(|| envelope::read(self.words.get(2)?).ok())??;
        let head = frame.head;
        let id = if head.ids.is_empty() { head.id.into_owned() } else { head.ids.join(" ") };
        let who = if head.name.is_empty() { head.from } else { head.name }.into_owned();
        Some(Frame { kind: frame.kind.word(), id, who, body: frame.body })
    }

    /// Replaces passwords by stars. Redis hides those that it knows of; what it leaves, and what older and other
    /// servers show, is hidden here.
    pub fn hide_secrets(&mut self) {
        let command = self.command();
        let second = self.words.get(1).map_or_else(String::new, |word| String::from_utf8_lossy(word).to_uppercase());
        match (command.as_str(), second.as_str()) {
            ("AUTH", _) => self.hide_from(1),
            ("ACL", "SETUSER") => {
                for word in self.words.iter_mut().skip(3) {
                    if matches!(word.first(), Some(b'>' | b'<' | b'#' | b'!')) {
                        *word = HIDDEN.to_vec();
                    }
                }
            }
            ("CONFIG", "SET") => {
                for at in (2..self.words.len()).step_by(2) {
                    let key = String::from_utf8_lossy(&self.words[at]).to_lowercase();
                    if ["pass", "auth", "secret", "user"].iter().any(|part| key.contains(part)) {
                        self.hide(at + 1);
                    }
                }
            }
            ("SENTINEL", "SET" | "CONFIG") => self.hide_from(3),
            ("HELLO", _) => self.hide_after("AUTH", 2),
            ("MIGRATE", _) => {
                self.hide_after("AUTH", 1);
                self.hide_after("AUTH2", 2);
            }
            _ => {}
        }
    }

    fn hide(&mut self, at: usize) {
        if let Some(word) = self.words.get_mut(at) {
            *word = HIDDEN.to_vec();
        }
    }

    fn hide_from(&mut self, at: usize) {
        (at..self.words.len()).for_each(|at| self.hide(at));
    }

    fn hide_after(&mut self, keyword: &str, how_many: usize) {
        if let Some(at) = self.words.iter().position(|word| word.eq_ignore_ascii_case(keyword.as_bytes())) {
            (at + 1..=at + how_many).for_each(|at| self.hide(at));
        }
    }

    /// The arguments as a person reads them: bare where they are plain words, else quoted; at most `most` characters
    /// of each, and at most 20. `size` is how long a message is, which may be shown in other words.
    pub fn arguments(&self, most: usize, size: usize) -> Vec<String> {
        let shown = 20;
        let message = self.message().is_some();
        let one = |(at, word): (usize, &Vec<u8>)| {
            plain(word, most, if message && at == 2 { size } else { word.len() }, self.is_cut(at))
        };
        let mut arguments: Vec<String> = self.words.iter().enumerate().skip(1).take(shown).map(one).collect();
        let left = self.words.len().saturating_sub(1 + shown);
        if left > 0 {
            arguments.push(format!("and {left} more"));
        }
        arguments
    }
}

/// Words in quotes. Ends at what it cannot read; of a word that was cut it keeps what there is.
fn words(mut text: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    while let Some(rest) = text.strip_prefix(b"\"") {
        let mut word = Vec::new();
        let end = unquote(rest, &mut word);
        if let (None, Err(error)) = (end, std::str::from_utf8(&word))
            && error.error_len().is_none()
        {
            // Half a character would make bytes of a text.
            word.truncate(error.valid_up_to());
        }
        words.push(word);
        let Some(end) = end else { break };
        text = rest.get(end + 1..).unwrap_or_default();
        text = text.strip_prefix(b" ").unwrap_or(text);
    }
    words
}

/// Reads up to the closing quote, with the escapes of `sdscatrepr`, and says where that is; `None` if it does not come.
fn unquote(text: &[u8], word: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    loop {
        match (*text.get(at)?, text.get(at + 1)) {
            (b'"', _) => return Some(at),
            (b'\\', None) => return None,
            (b'\\', Some(b'x')) => {
                let hex = std::str::from_utf8(text.get(at + 2..at + 4)?).ok()?;
                word.push(u8::from_str_radix(hex, 16).ok()?);
                at += 4;
            }
            (b'\\', Some(escaped)) => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'a' => 7,
                    b'b' => 8,
                    other => *other,
                });
                at += 2;
            }
            (byte, _) => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

/// How long a message is, as far as it is known.
pub fn long(bytes: usize, cut: bool) -> String {
    format!("{}{}", count(bytes as u64, "byte"), if cut { " or more" } else { "" })
}

fn plain(word: &[u8], most: usize, size: usize, cut: bool) -> String {
    let text = String::from_utf8_lossy(&crate::out::visible(word)).into_owned();
    let bare = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "_-.:/*?[]{}@#=,+…".contains(c));
    let text = text.replace('\n', "\\n").replace('\t', "\\t");
    let shown = match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}… ({})", text.get(..end).unwrap_or_default(), long(size, cut)),
        None if cut => format!("{text}… ({})", long(size, cut)),
        None => text,
    };
    if bare { shown } else { format!("'{shown}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(words: &[&str]) -> Vec<String> {
        let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let mut line = Line { at: 0, who: "x".into(), words, cut: false };
        line.hide_secrets();
        line.words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    #[test]
    fn a_line_is_read_with_its_escapes() {
        let text = br#"+1700000000.000123 [0 127.0.0.1:50000] "PUBLISH" "ch [x] \"y" "a\x00b\n\\""#;
        let line = Line::parse(text, false).unwrap();
        assert_eq!((line.at, line.who.as_str()), (1_700_000_000_000_123_000, "127.0.0.1:50000"));
        assert_eq!(line.words, [b"PUBLISH".to_vec(), b"ch [x] \"y".to_vec(), b"a\0b\n\\".to_vec()]);
        assert_eq!(line.published_on(), Some(&b"ch [x] \"y"[..]));
        assert_eq!(line.arguments(80, 4), ["'ch [x] \"y'", "'a\\x00b\\n\\'"]);
        assert_eq!(Line::parse(b"+OK", false), None);
    }

    #[test]
    fn a_request_is_told_by_its_kind_its_id_and_who_asks() {
        let published = |channel: &str, payload: &str| Line {
            at: 0,
            who: "x".into(),
            words: ["PUBLISH", channel, payload].map(|word| word.as_bytes().to_vec()).into(),
            cut: false,
        };
        let line =
            published("redmux:svc:x", "{\"v\":1,\"k\":\"request\",\"id\":\"0123456789abcdef.1\",\"from\":\"vm\"}\nhi");
        let frame = line.frame().unwrap();
        assert_eq!((frame.told().as_str(), frame.body), ("request …6789abcdef.1 vm: ", &b"hi"[..]));
        let line = published("redmux:reply:y", "{\"v\":1,\"k\":\"alive\",\"ids\":[\"a\",\"b\"],\"by\":\"z\"}\n");
        assert_eq!(line.frame().unwrap().told(), "alive a b: ");
        assert_eq!(published("redmux:svc:x", "hello\n").frame(), None);
        assert_eq!(published("news", "{\"v\":1,\"k\":\"cancel\"}\n").frame(), None);
    }

    #[test]
    fn a_line_that_was_cut_shows_what_there_is() {
        let cut = |payload: &str| {
            let text = format!(r#"1.000001 [0 lua] "PUBLISH" "news" "{payload}"#);
            Line::parse(text.as_bytes(), true).unwrap()
        };
        let line = cut("abc");
        assert_eq!(line.arguments(80, 3), ["news", "abc… (3 bytes or more)"]);
        assert_eq!(line.arguments(2, 3), ["ne… (4 bytes)", "ab… (3 bytes or more)"]);
        // In the middle of an escape, and of a character.
        for end in [r"abc\", r"abc\x", r"abc\xc", r"abc\xc3"] {
            assert_eq!(cut(end).message(), Some(&b"abc"[..]), "{end}");
        }
        let line = Line::parse(br#"1.000001 [0 lua] "PUBLISH" "ne"#, true).unwrap();
        assert_eq!((line.published_on(), line.message()), (None, None), "nobody is asked about half a channel");
    }

    #[test]
    fn secrets_are_hidden_wherever_a_command_holds_one() {
        assert_eq!(hidden(&["auth", "web", "s3cret"]), ["auth", "***", "***"]);
        assert_eq!(
            hidden(&["HELLO", "3", "AUTH", "web", "s3cret", "SETNAME", "x"]),
            ["HELLO", "3", "AUTH", "***", "***", "SETNAME", "x"]
        );
        assert_eq!(
            hidden(&["ACL", "SETUSER", "web", "on", ">s3cret", "+@all"]),
            ["ACL", "SETUSER", "web", "on", "***", "+@all"]
        );
        assert_eq!(
            hidden(&["CONFIG", "SET", "maxclients", "5", "requirepass", "s3cret"]),
            ["CONFIG", "SET", "maxclients", "5", "requirepass", "***"]
        );
        assert_eq!(hidden(&["MIGRATE", "h", "1", "k", "0", "9", "AUTH2", "u", "s3cret"])[7..], ["***", "***"]);
        assert_eq!(hidden(&["PUBLISH", "auth", "hi"]), ["PUBLISH", "auth", "hi"]);
    }
}
