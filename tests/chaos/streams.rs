//! What is published, known without the library: two streams of numbered messages over raw connections of their own, and
//! a stream a client that is published through the library.

use super::ledger::Fates;
use super::oracle::{CHANNELS, Mask, Rule, Truth, count};
use crate::support::{Conn, Server, locked};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

/// How many streams have a publisher of their own; the streams behind them belong to the clients.
pub const RAW: usize = 2;
/// Over `max_payload` of one of the clients.
const LARGE: usize = 3000;
const BATCH: u64 = 128;
const WINDOW: u64 = 1024;

/// A stream with a raw publisher.
#[derive(Debug, Default)]
pub struct Raw {
    /// The first number that was not yet handed to the socket.
    next: AtomicU64,
    /// The first number that has no answer yet.
    pub answered: AtomicU64,
    /// Those that never got one.
    unanswered: RwLock<Vec<(u64, u64)>>,
    /// How many deliveries the server counted.
    pub receivers: AtomicU64,
}

/// All streams.
#[derive(Debug)]
pub struct Streams {
    pub raw: [Raw; RAW],
    pub own: Vec<Mutex<Fates>>,
    pub stop: AtomicBool,
}

impl Streams {
    /// For so many clients.
    pub fn new(clients: usize) -> Streams {
        Streams {
            raw: Default::default(),
            own: (0..clients).map(|_| Mutex::default()).collect(),
            stop: AtomicBool::new(false),
        }
    }

    /// The channel of a number.
    pub fn channel(stream: usize, number: u64) -> String {
        match stream.checked_sub(RAW) {
            None => format!("{}:{:02}", (b'a' + stream as u8) as char, number % CHANNELS),
            Some(client) => format!("own:{client}"),
        }
    }

    /// How many numbers were never answered, and how many there are.
    pub fn sums(&self) -> (u64, u64) {
        let unanswered =
            |raw: &Raw| raw.unanswered.read().map_or(0, |list| list.iter().map(|(from, to)| to - from).sum());
        (self.raw.iter().map(unanswered).sum(), self.raw.iter().map(|raw| raw.next.load(SeqCst)).sum())
    }

    /// Up to where each raw stream is answered.
    pub fn answered(&self) -> [u64; RAW] {
        [0, 1].map(|stream: usize| self.raw[stream].answered.load(SeqCst))
    }
}

impl Truth for Streams {
    fn next(&self, stream: usize) -> u64 {
        match self.raw.get(stream) {
            Some(raw) => raw.next.load(SeqCst),
            None => locked(&self.own[stream - RAW]).next(),
        }
    }

    fn unanswered(&self, stream: usize, from: u64, to: u64, mask: Mask) -> u64 {
        // What is missing of a client's own stream is judged by what the library said of each publish.
        let Some(raw) = self.raw.get(stream) else { return count(from, to, mask) };
        let list = raw.unanswered.read().expect("no publisher panicked");
        let begin = list.partition_point(|range| range.1 <= from);
        let among = list.iter().skip(begin).take_while(|range| range.0 < to);
        among.map(|range| count(range.0.max(from), range.1.min(to), mask)).sum()
    }
}

fn seal(stream: usize, number: u64) -> u64 {
    (number ^ (stream as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn length(number: u64) -> usize {
    if number % 5003 == 5002 { LARGE } else { 16 + (number * 31 % 97) as usize }
}

/// Writes the payload of a number.
pub fn payload(stream: usize, number: u64, out: &mut Vec<u8>) {
    let end = out.len() + length(number);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&seal(stream, number).to_le_bytes());
    out.resize(end, number as u8);
}

/// The number in a payload, if channel and payload are what was published.
pub fn read(stream: usize, channel: &[u8], data: &[u8]) -> Result<u64, Rule> {
    let word = |at: usize| data.get(at..at + 8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes")));
    let (Some(number), Some(found)) = (word(0), word(8)) else { return Err(Rule::Damaged) };
    let whole = found == seal(stream, number) && data.len() == length(number);
    let tail = data.get(16..).is_some_and(|tail| tail.iter().all(|&byte| byte == number as u8));
    let right = match *channel {
        [letter, b':', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] if stream < RAW => {
            letter == b'a' + stream as u8 && u64::from((tens - b'0') * 10 + ones - b'0') == number % CHANNELS
        }
        _ => channel == Streams::channel(stream, number).as_bytes(),
    };
    if whole && tail && right { Ok(number) } else { Err(Rule::Damaged) }
}

impl Streams {
    /// Publishes a raw stream until told to stop, over one connection after the other; at most so many a second.
    pub fn publish(&self, stream: usize, server: &Server, rate: u64) {
        let began = Instant::now();
        let mut skipped = Duration::ZERO;
        while !self.stop.load(SeqCst) {
            // The server may be away.
            let Ok(mut conn) = server.try_conn() else {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            };
            if self.pipeline(stream, &mut conn, rate, began, &mut skipped).is_err() {
                let raw = &self.raw[stream];
                let range = (raw.answered.load(SeqCst), raw.next.load(SeqCst));
                if range.0 < range.1 {
                    raw.unanswered.write().expect("no reader panicked").push(range);
                }
                raw.answered.store(range.1, SeqCst);
            }
        }
    }

    fn pipeline(
        &self,
        stream: usize,
        conn: &mut Conn,
        rate: u64,
        began: Instant,
        skipped: &mut Duration,
    ) -> io::Result<()> {
        let raw = &self.raw[stream];
        let heads: Vec<String> = (0..CHANNELS)
            .map(|at| format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\n{}\r\n", Streams::channel(stream, at)))
            .collect();
        let mut answers = Answers::default();
        let mut out = Vec::new();
        loop {
            let stop = self.stop.load(SeqCst);
            let (next, answered) = (raw.next.load(SeqCst), raw.answered.load(SeqCst));
            if next - answered >= WINDOW || (stop && next > answered) {
                let (count, receivers) = answers.read(conn)?;
                raw.receivers.fetch_add(receivers, SeqCst);
                raw.answered.fetch_add(count, SeqCst);
                continue;
            }
            if stop {
                return Ok(());
            }
            // A pace, so that neighbours on the machine live. What an outage cost is not made good: it would be a flood.
            let due = Duration::from_nanos(next * 1_000_000_000 / rate) + *skipped;
            let ahead = due.checked_sub(began.elapsed());
            *skipped += began.elapsed().saturating_sub(due + Duration::from_millis(200));
            if let Some(ahead) = ahead {
                std::thread::sleep(ahead);
            }
            out.clear();
            for number in next..next + BATCH {
                out.extend_from_slice(heads[(number % CHANNELS) as usize].as_bytes());
                out.extend_from_slice(format!("${}\r\n", length(number)).as_bytes());
                payload(stream, number, &mut out);
                out.extend_from_slice(b"\r\n");
            }
            // Before a byte is written: who reads this number knows that everything from it on is yet to be sent.
            raw.next.store(next + BATCH, SeqCst);
            conn.send(&out)?;
        }
    }
}

/// Reads the numbers that PUBLISH is answered with.
#[derive(Default)]
struct Answers {
    value: u64,
}

impl Answers {
    /// Waits for some; how many they are, and their sum.
    fn read(&mut self, conn: &Conn) -> io::Result<(u64, u64)> {
        let mut buffer = [0; 4096];
        let read = conn.stream().read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut count, mut sum) = (0, 0);
        for &byte in &buffer[..read] {
            match byte {
                b'0'..=b'9' => self.value = self.value * 10 + u64::from(byte - b'0'),
                b'\n' => {
                    count += 1;
                    sum += std::mem::take(&mut self.value);
                }
                b':' | b'\r' => {}
                // An error: the server shuts down, or is not ready. Nobody knows which were executed.
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok((count, sum))
    }
}
