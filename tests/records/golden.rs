//! The golden blocks: made here, field by field, without the code under test.

use redmux::error::Status;
use redmux::inbox::Record;
use std::fmt::Write;

/// The kinds' names, from number 1 on.
pub const KINDS: [&str; 19] = [
    "message",
    "active",
    "lost",
    "dropped",
    "done",
    "published",
    "promise",
    "refused",
    "request",
    "cancel",
    "accepted",
    "answer",
    "end",
    "mail",
    "gap",
    "question",
    "log",
    "state",
    "closed",
];

/// One block with its name and a line about it.
pub struct Golden {
    pub name: &'static str,
    about: &'static str,
    pub records: Vec<Record>,
    pub data: Vec<u8>,
}

/// A record to be: everything but its parts.
struct Head(Record);

fn head(kind: &str, source: u64, token: u64) -> Head {
    let kind = KINDS.iter().position(|&name| name == kind).expect("a kind's name") as u16 + 1;
    Head(Record { kind, source, token, ..Record::default() })
}

impl Head {
    fn flags(mut self, flags: u16) -> Head {
        self.0.flags = flags;
        self
    }

    fn status(mut self, status: Status) -> Head {
        self.0.status = status.code();
        self
    }

    fn number(mut self, number: u64) -> Head {
        self.0.number = number;
        self
    }

    fn aux(mut self, aux: u64) -> Head {
        self.0.aux = aux;
        self
    }
}

impl Golden {
    fn new(name: &'static str, about: &'static str) -> Golden {
        Golden { name, about, records: Vec::new(), data: Vec::new() }
    }

    /// Appends a record; its parts are laid one behind the other: name, extra, payload.
    fn with(mut self, head: Head, name: &[u8], extra: &[u8], payload: &[u8]) -> Golden {
        let mut lay = |bytes: &[u8]| {
            let at = if bytes.is_empty() { 0 } else { self.data.len() as u32 };
            self.data.extend_from_slice(bytes);
            (at, bytes.len() as u32)
        };
        let mut record = head.0;
        (record.name_off, record.name_len) = lay(name);
        (record.extra_off, record.extra_len) = lay(extra);
        (record.data_off, record.data_len) = lay(payload);
        self.records.push(record);
        self
    }

    fn bare(self, head: Head) -> Golden {
        self.with(head, b"", b"", b"")
    }

    /// The records, then the data, little-endian, whatever the machine.
    pub fn bin(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for r in &self.records {
            out.extend(r.kind.to_le_bytes());
            out.extend(r.flags.to_le_bytes());
            out.extend(r.status.to_le_bytes());
            for wide in [r.source, r.token, r.number, r.aux] {
                out.extend(wide.to_le_bytes());
            }
            for half in [r.name_off, r.name_len, r.extra_off, r.extra_len, r.data_off, r.data_len] {
                out.extend(half.to_le_bytes());
            }
        }
        out.extend(&self.data);
        out
    }

    /// What a reader must find, in the canonical spelling.
    pub fn json(&self) -> String {
        let mut out = format!(
            "{{\n\"about\": \"{}\",\n\"count\": {},\n\"data_len\": {},\n\"records\": [\n",
            self.about,
            self.records.len(),
            self.data.len()
        );
        for (at, r) in self.records.iter().enumerate() {
            let known = usize::from(r.kind).checked_sub(1).and_then(|at| KINDS.get(at));
            let is = known.map_or("null".to_owned(), |name| format!("\"{name}\""));
            let _ = write!(out, "{{\"is\":{is},\"kind\":{},\"flags\":{},\"status\":{}", r.kind, r.flags, r.status);
            let numbers = [
                ("source", r.source),
                ("token", r.token),
                ("number", r.number),
                ("aux", r.aux),
                ("name_off", r.name_off.into()),
                ("name_len", r.name_len.into()),
                ("extra_off", r.extra_off.into()),
                ("extra_len", r.extra_len.into()),
                ("data_off", r.data_off.into()),
                ("data_len", r.data_len.into()),
            ];
            for (key, value) in numbers {
                let _ = write!(out, ",\"{key}\":{value}");
            }
            for (key, bytes) in
                [("name", r.name(&self.data)), ("extra", r.extra(&self.data)), ("data", r.payload(&self.data))]
            {
                let _ = write!(out, ",\"{key}\":{}", spell(bytes));
            }
            out += if at + 1 == self.records.len() { "}\n" } else { "},\n" };
        }
        out + "]\n}\n"
    }
}

fn spell(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        let text = String::from_utf8_lossy(bytes).replace('\\', "\\\\").replace('"', "\\\"");
        return format!("\"{text}\"");
    }
    let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    format!("{{\"hex\":\"{hex}\"}}")
}

/// A time and durations, easy to know again.
const TIME: u64 = 1_700_000_000_123_456_789;
const SECOND: u64 = 1_000_000_000;

/// Every golden block.
pub fn all() -> Vec<Golden> {
    vec![messages(), operations(), buffer(), mailbox(), events(), unknown(), extremes(), shared()]
}

fn messages() -> Golden {
    let (sub, pattern) = (257, 258);
    Golden::new("messages", "what two subscriptions get: one to channels (source 257), one to a pattern (258)")
        .with(head("active", sub, 7).flags(1).number(1), b"news", b"", b"")
        .with(head("active", sub, 7).flags(1).number(2), b"\x00\xff{bin}\n", b"", b"")
        .with(head("active", pattern, 8).flags(1).number(3), b"n*", b"", b"")
        .bare(head("active", sub, 7).flags(1).number(4))
        .with(head("message", sub, 7).number(1).aux(TIME), b"news", b"", b"hello")
        .with(head("message", pattern, 8).flags(1).aux(TIME), b"news", b"n*", b"hello")
        .with(head("message", sub, 7).number(2).aux(TIME + 1), b"\x00\xff{bin}\n", b"", b"\r\n\x00\x80")
        .with(head("message", sub, 7).number(1).aux(TIME + 1), b"news", b"", b"")
        .with(head("message", sub, 7).number(4).aux(TIME + 1), b"", b"", b"from the channel without a name")
        .with(head("message", sub, 7).number(4).aux(TIME + 1), b"", b"", b"")
        .with(head("message", sub, 7).number(5).aux(TIME + 2), "gr\u{fc}\u{df}e".as_bytes(), b"", "\u{2713}".as_bytes())
        .bare(head("dropped", sub, 7).number(12))
        .bare(head("dropped", pattern, 8).number(1).status(Status::TooLarge))
        .with(
            head("lost", sub, 7).number(1).aux(TIME + 3).status(Status::LinkLost),
            b"",
            b"lost the connection to 10.0.0.1:6379: closed by the server",
            b"",
        )
        .with(
            head("lost", pattern, 8).number(3).aux(TIME + 3).status(Status::PingTimeout),
            b"",
            b"ping timeout: 10.0.0.1:6379 was silent for 5s",
            b"",
        )
        .bare(head("active", sub, 7).number(2).aux(SECOND + 5))
        .bare(head("active", pattern, 8).number(2).aux(SECOND + 6))
        .bare(head("closed", sub, 7))
        .bare(head("closed", pattern, 8).status(Status::Overflow))
}

fn operations() -> Golden {
    let (client, sub, set, alone) = (256, 257, 260, 261);
    Golden::new("operations", "the ends of operations: of a subscription (257), promises (260, 261) and a client (256)")
        .with(head("refused", sub, 20).status(Status::Refused).number(9), b"secret:\x01", b"NOPERM", b"")
        .with(
            head("done", sub, 20).status(Status::Partial).number(11).aux(1),
            b"",
            b"1 refused by ACL (NOPERM) for user \"web\"; the other 11 are active",
            b"",
        )
        .bare(head("done", sub, 21).number(2))
        .with(
            head("done", sub, 22).status(Status::Superseded),
            b"",
            b"1 of the names were removed again before they were active",
            b"",
        )
        .with(head("done", sub, 23).status(Status::Timeout), b"", b"3 names are not active yet; they stay wanted", b"")
        .bare(head("done", sub, 24))
        .bare(head("done", sub, 25).status(Status::Cancelled))
        .bare(head("done", set, 26).number(4))
        .bare(head("done", client, 27).number(5))
        .with(
            head("done", client, 28).status(Status::Interrupted).number(6),
            b"",
            b"publishes before it were lost with the connection",
            b"",
        )
        .bare(head("done", client, 29))
        .with(
            head("done", client, 30).status(Status::Auth),
            b"",
            b"the server refused to authenticate the live connection: WRONGPASS invalid username-password pair",
            b"",
        )
        .bare(head("done", client, 31).status(Status::Closed))
        .bare(head("published", client, 40).number(3))
        .with(
            head("published", client, 41).status(Status::NotSent),
            b"",
            b"never sent; it is safe to publish it again",
            b"",
        )
        .with(
            head("published", client, 42).status(Status::Unknown),
            b"",
            b"sent, and not answered; it may or may not have been published",
            b"",
        )
        .with(head("promise", set, 50).aux(4), b"job:42", b"", b"done\n")
        .with(head("promise", set, 51).aux(4), b"job:\xff", b"", b"")
        .with(head("promise", alone, 52), b"once", b"", b"{\"ok\":true}")
        .with(head("promise", set, 53).status(Status::Interrupted), b"job:43", b"", b"")
        .with(
            head("promise", set, 54).status(Status::TooLarge).aux(4),
            b"job:44",
            b"its message of 70000000 bytes does not fit the inbox",
            b"",
        )
        .bare(head("closed", alone, 52))
        .bare(head("done", sub, 32))
}

fn buffer() -> Golden {
    let (responder, gather) = (300, 301);
    let by = "\"by\":\"0192f0c1-0000-7000-8000-000000000001\",\"name\":\"api-3\"";
    Golden::new("buffer", "provisional: a responder (300) and a gather (301)")
        .with(
            head("request", responder, 1).number(1).aux(TIME + 5 * SECOND),
            b"user.lookup",
            br#"{"id":"0192f0c1-0000-7000-8000-0000000000aa","from":"web-1","attempt":1,"h":{"traceparent":"00-1"}}"#,
            b"\x00body",
        )
        .with(
            head("request", responder, 1).flags(3).number(2).aux(TIME + 6 * SECOND),
            b"Demo.PingRequest",
            br#"{"id":"52333da4-f51c-4094-9a3b-53243f15bd82","attempt":2}"#,
            br#"{"Body":"hello"}"#,
        )
        .with(head("cancel", responder, 1).number(2).status(Status::Cancelled), b"Demo.PingRequest", b"", b"")
        .with(head("accepted", gather, 2).number(1).aux(TIME), b"user.lookup", format!("{{{by}}}").as_bytes(), b"")
        .with(head("answer", gather, 2).aux(TIME + 1), b"user.lookup", format!("{{{by}}}").as_bytes(), b"first")
        .with(
            head("answer", gather, 2).flags(1).number(1).aux(TIME + 2),
            b"user.lookup",
            format!("{{{by},\"h\":{{\"k\":\"v\"}}}}").as_bytes(),
            b"",
        )
        .with(
            head("answer", gather, 2).flags(3).aux(TIME + 3).status(Status::Internal),
            b"user.lookup",
            format!("{{{by},\"code\":\"BUSY\",\"message\":\"no room\",\"retriable\":true}}").as_bytes(),
            b"",
        )
        .with(
            head("end", gather, 2).number(6).aux(2 * SECOND).status(Status::Timeout),
            b"user.lookup",
            format!("{{\"expected\":3,\"answers\":2,\"errors\":1,\"missing\":[{{{by}}}],\"duplicates\":0,\"late\":0}}")
                .as_bytes(),
            b"",
        )
}

fn mailbox() -> Golden {
    let reader = 400;
    Golden::new("mailbox", "provisional: a reader of a mailbox (400)")
        .with(
            head("mail", reader, 3).flags(1).number(41).aux(1),
            b"user1",
            br#"{"id":"0192f0c1-0000-7000-8000-0000000000bb","from":"web-1","time":1700000000123}"#,
            b"kept until read",
        )
        .with(
            head("gap", reader, 3).number(42).aux(1),
            b"user1",
            br#"{"to":[2,7],"count":9,"reason":"rolled back"}"#,
            b"",
        )
        .with(head("mail", reader, 3).number(8).aux(2), b"\x00{user}\xfe", b"{}", b"")
}

fn events() -> Golden {
    let (client, inbox, gateway) = (256, 259, 500);
    Golden::new("events", "an event inbox: questions, lines of log, states of a client (256), lost posts")
        .bare(head("state", client, 0).number(1).aux(TIME))
        .with(head("question", client, 0).number(1).aux(TIME + 5 * SECOND), b"address", b"", b"")
        .with(head("question", client, 0).number(2).aux(TIME + 5 * SECOND), b"credentials", b"", b"")
        .with(
            head("question", gateway, 0).number(3).aux(TIME + 5 * SECOND),
            b"authorize",
            b"",
            br#"{"user":"user1","token":"t","address":"10.0.0.9:4711","origin":null}"#,
        )
        .with(head("state", client, 0).number(2).aux(TIME), b"", b"10.0.0.1:6379", b"")
        .with(head("log", 0, 0).number(3).aux(TIME), b"", b"connected to 10.0.0.1:6379 (redis 7.0.15)", b"")
        .with(head("log", 0, 0).number(1).aux(TIME), b"", "\u{201e}caf\u{e9}\u{201c}".as_bytes(), b"")
        .with(
            head("state", inbox, 0).number(5).aux(TIME + 1),
            b"",
            b"an inbox is full; its policy decides what goes",
            b"",
        )
        .with(
            head("state", client, 0).number(3).aux(TIME + 2).status(Status::Connect),
            b"",
            b"10.0.0.1:6379: connection refused",
            b"",
        )
        .bare(head("dropped", 0, 0).number(17).aux(TIME + 3).status(Status::NotSent))
        .bare(head("state", client, 0).number(4).aux(TIME + 4))
}

fn unknown() -> Golden {
    let foreign = |kind| Head(Record { kind, ..head("message", 257, 7).0 });
    Golden::new("unknown", "kinds that a reader does not know stand between two messages, with and without parts")
        .with(head("message", 257, 7).number(1).aux(TIME), b"news", b"", b"before")
        .bare(foreign(20))
        .with(foreign(65535).flags(65535).number(u64::MAX), b"name", b"extra", b"data")
        .with(foreign(0), b"blank", b"", b"")
        .with(head("message", 257, 7).flags(0xfffe).number(1).aux(TIME), b"news", b"", b"after, with unknown flags")
}

fn extremes() -> Golden {
    let mut largest = head("message", u64::MAX, u64::MAX).flags(u16::MAX).number(u64::MAX).aux(u64::MAX);
    largest.0.status = i32::MAX;
    let mut lowest = head("done", 1 << 63, (1 << 53) + 1).number(1 << 32).aux(u64::MAX - 1);
    lowest.0.status = i32::MIN;
    let every_byte: Vec<u8> = (0..=255).collect();
    Golden::new("extremes", "numbers that do not fit a double or a signed integer, and every byte in every part")
        .with(largest, b"a", b"b", b"c")
        .bare(lowest)
        .with(head("message", 1, 0), &every_byte, &every_byte, &every_byte)
}

/// What a wave leaves in a buffer: the frames as the server sent them, from the first part used to the last.
fn shared() -> Golden {
    let data = b"n*\r\n$4\r\nnews\r\n$5\r\nhello\r\n>3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nworld";
    let place = |part: &[u8], nth: usize| {
        let found = (0..data.len()).filter(|&at| data[at..].starts_with(part)).nth(nth);
        (found.expect("it is there") as u32, part.len() as u32)
    };
    let mut block =
        Golden::new("shared", "parts of a read buffer: protocol bytes between them, fan-out on the same bytes");
    block.data = data.to_vec();
    for (source, token) in [(258, 8), (259, 9)] {
        let mut record = head("message", source, token).flags(1).aux(TIME).0;
        (record.name_off, record.name_len) = place(b"news", 0);
        (record.extra_off, record.extra_len) = place(b"n*", 0);
        (record.data_off, record.data_len) = place(b"hello", 0);
        block.records.push(record);
    }
    let mut record = head("message", 257, 7).number(1).aux(TIME).0;
    (record.name_off, record.name_len) = place(b"news", 1);
    (record.data_off, record.data_len) = place(b"world", 0);
    block.records.push(record);
    block
}
