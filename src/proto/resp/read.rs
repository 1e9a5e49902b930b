//! A cursor over the bytes of one frame: lines, lengths, blobs and whole values, each checked before it is believed.
//!
//! It must never read past the buffer or move backwards, and it decides by the bytes before its position alone: what it
//! says of a part of a frame holds for the whole. `general` drives it over frames, `values` over replies.

use super::{MAX_DEPTH, MAX_DIGITS, MAX_ELEMENTS, MAX_LINE, MAX_REPLY, MAX_VALUES, ProtocolError, Reply};

/// Why reading ended early.
pub(super) enum Stop {
    /// This many bytes are needed, counted from the start of the buffer.
    More(usize),
    Bad(ProtocolError),
}

pub(super) type Read<T> = Result<T, Stop>;

fn bad<T>(what: &'static str, at: usize) -> Read<T> {
    Err(Stop::Bad(ProtocolError { what, at }))
}

pub(super) struct Cursor<'a> {
    buf: &'a [u8],
    at: usize,
    /// How many more values this frame may have.
    values: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(buf: &'a [u8]) -> Self {
        Self { buf, at: 0, values: MAX_VALUES }
    }

    /// How many bytes were read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What was read says something that it must not.
    pub(super) fn bad<T>(&self, what: &'static str) -> Read<T> {
        bad(what, self.at)
    }

    fn more<T>(&self) -> Read<T> {
        Err(Stop::More(self.buf.len().saturating_add(1)))
    }

    fn byte(&self, at: usize) -> Read<u8> {
        match self.buf.get(at) {
            Some(&byte) => Ok(byte),
            None => self.more(),
        }
    }

    /// The mark of the next value.
    pub(super) fn peek(&self) -> Read<u8> {
        self.byte(self.at)
    }

    /// Steps over a mark that was peeked at.
    pub(super) fn step(&mut self) {
        self.at += 1;
    }

    fn line_end(&mut self) -> Read<()> {
        if self.byte(self.at)? != b'\r' || self.byte(self.at + 1)? != b'\n' {
            return self.bad("a line or a string does not end with CR LF");
        }
        self.at += 2;
        Ok(())
    }

    /// The rest of a line, without its end.
    pub(super) fn line(&mut self) -> Read<&'a [u8]> {
        let rest = self.buf.get(self.at..).unwrap_or_default();
        let window = rest.get(..=MAX_LINE).unwrap_or(rest);
        match memchr::memchr2(b'\r', b'\n', window) {
            Some(len) => {
                self.at += len;
                self.line_end()?;
                Ok(window.get(..len).unwrap_or_default())
            }
            None if window.len() > MAX_LINE => self.bad("a line is too long"),
            None => self.more(),
        }
    }

    /// A length: one to ten digits and nothing else.
    pub(super) fn length(&mut self) -> Read<u64> {
        let start = self.at;
        let mut len = 0;
        loop {
            match self.byte(self.at)? {
                digit @ b'0'..=b'9' if self.at - start < MAX_DIGITS => len = len * 10 + u64::from(digit - b'0'),
                b'0'..=b'9' => return bad("a length has too many digits", start),
                b'\r' if self.at > start => break,
                b'-' => return bad("a length is negative", start),
                b'?' => return bad("a streamed value, which no server sends", start),
                _ => return self.bad("a length is not a number"),
            }
            self.at += 1;
        }
        self.line_end()?;
        Ok(len)
    }

    /// An integer that fits 64 bits.
    pub(super) fn integer(&mut self) -> Read<i64> {
        let start = self.at;
        let sign = self.byte(start)?;
        if matches!(sign, b'-' | b'+') {
            self.at += 1;
        }
        let digits = self.at;
        let mut value = 0i64;
        loop {
            let digit = match self.byte(self.at)? {
                digit @ b'0'..=b'9' if self.at - digits < 19 => i64::from(digit - b'0'),
                b'0'..=b'9' => return bad("an integer has too many digits", start),
                b'\r' if self.at > digits => break,
                _ => return self.bad("an integer is not a number"),
            };
            // The smallest integer has no positive counterpart, so negative ones are counted downwards.
            let signed = if sign == b'-' { -digit } else { digit };
            value = match value.checked_mul(10).and_then(|value| value.checked_add(signed)) {
                Some(value) => value,
                None => return bad("an integer does not fit 64 bits", start),
            };
            self.at += 1;
        }
        self.line_end()?;
        Ok(value)
    }

    /// `len` bytes and their line end.
    pub(super) fn blob(&mut self, len: u64) -> Read<&'a [u8]> {
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len));
        let Some((end, needed)) = end.and_then(|end| Some((end, end.checked_add(2)?))) else {
            return self.bad("a string does not fit the memory");
        };
        if self.buf.len() < needed {
            return Err(Stop::More(needed));
        }
        let bytes = self.buf.get(self.at..end).unwrap_or_default();
        self.at = end;
        self.line_end()?;
        Ok(bytes)
    }

    /// A length and a blob of a reply.
    fn short_blob(&mut self) -> Read<&'a [u8]> {
        let len = self.length()?;
        if len > MAX_REPLY as u64 || self.at + len as usize + 2 > MAX_REPLY {
            return self.bad("a reply is too long");
        }
        self.blob(len)
    }

    /// The head of an aggregate after its mark, each entry of which is `each` values.
    pub(super) fn count(&mut self, each: u64) -> Read<u64> {
        let start = self.at;
        let count = self.length()? * each;
        if count > MAX_ELEMENTS {
            return bad("an aggregate has too many elements", start);
        }
        Ok(count)
    }

    /// Skips attributes, if any, so that a value's own mark comes next. `depth` aggregates are open.
    pub(super) fn attributes(&mut self, depth: usize) -> Read<()> {
        while self.peek()? == b'|' {
            self.step();
            self.spend()?;
            let count = self.count(2)?;
            self.skip(count, depth)?;
            self.fence()?;
        }
        Ok(())
    }

    /// Skips the `count` values of an aggregate that stands in `depth` others.
    pub(super) fn skip(&mut self, count: u64, depth: usize) -> Read<()> {
        if depth >= MAX_DEPTH {
            return self.bad("aggregates are nested too deeply");
        }
        for _ in 0..count {
            self.value(depth + 1)?;
        }
        Ok(())
    }

    /// Any value but a push. `depth` aggregates are open.
    pub(super) fn value(&mut self, depth: usize) -> Read<Reply<'a>> {
        self.spend()?;
        self.attributes(depth)?;
        let start = self.at;
        let mark = self.peek()?;
        self.step();
        let reply = match mark {
            b'+' => Reply::Status(self.line()?),
            b'-' => Reply::Error(self.line()?),
            b':' => Reply::Integer(self.integer()?),
            b'$' => Reply::Bulk(self.short_blob()?),
            b'!' => Reply::Error(self.short_blob()?),
            b'_' => {
                self.line_end()?;
                Reply::Null
            }
            b'*' | b'~' | b'%' => {
                let count = self.count(if mark == b'%' { 2 } else { 1 })?;
                self.skip(count, depth)?;
                self.whole(start)
            }
            b'#' => {
                if !matches!(self.line()?, b"t" | b"f") {
                    return bad("a boolean is neither true nor false", start);
                }
                self.whole(start)
            }
            b',' => {
                let line = self.line()?;
                if line.is_empty() || !line.iter().all(|byte| b"0123456789+-.eEinfaN".contains(byte)) {
                    return bad("a double is not a number", start);
                }
                self.whole(start)
            }
            b'(' => {
                let line = self.line()?;
                let digits = line.strip_prefix(b"-").or(line.strip_prefix(b"+")).unwrap_or(line);
                if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                    return bad("a big number is not a number", start);
                }
                self.whole(start)
            }
            b'=' => {
                if self.short_blob()?.get(3) != Some(&b':') {
                    return bad("a verbatim string has no format", start);
                }
                self.whole(start)
            }
            b'>' => return bad("a push stands inside of a value", start),
            _ => return bad("an unknown mark where a value should begin", start),
        };
        self.fence()?;
        Ok(reply)
    }

    fn whole(&self, start: usize) -> Reply<'a> {
        Reply::Other(self.buf.get(start..self.at).unwrap_or_default())
    }

    fn spend(&mut self) -> Read<()> {
        match self.values.checked_sub(1) {
            Some(left) => {
                self.values = left;
                Ok(())
            }
            None => self.bad("a frame has too many values"),
        }
    }

    fn fence(&self) -> Read<()> {
        if self.at > MAX_REPLY { self.bad("a reply is too long") } else { Ok(()) }
    }
}
