//! Everything of one run: the streams, the clients' inboxes with their judges, the ledger, and what is counted for people.

use super::c::{self, Hears};
use super::history::now_ms;
use super::ledger::{Ledger, Op};
use super::oracle::{Rule, Source};
use super::streams::{self, RAW, Streams};
use crate::support::locked;
use redmux::error::Status;
use redmux::ffi::block::redmux_record;
use redmux::ffi::inbox::redmux_inbox;
use redmux::inbox::Kind;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// A span of time that is drawn, ms.
pub type Span = (u64, u64);

/// What a run shares between its threads.
pub struct World {
    pub streams: Streams,
    pub ledgers: Vec<Mutex<Ledger>>,
    pub ports: Mutex<Vec<Arc<Port>>>,
    /// Faults: when, which, and until when.
    pub faults: Mutex<Vec<(u64, &'static str, u64)>>,
    pub violations: Mutex<Vec<String>>,
    /// Set by the first violation and at the end: no more faults and no more operations.
    pub over: AtomicBool,
    /// Until when the takers of slow inboxes sleep, ms, by client.
    pub slow_until: Vec<AtomicU64>,
    pub logs: Mutex<VecDeque<String>>,
    pub posts_lost: AtomicU64,
}

impl World {
    /// For so many clients.
    pub fn new(clients: usize) -> World {
        World {
            streams: Streams::new(clients),
            ledgers: (0..clients).map(|_| Mutex::default()).collect(),
            ports: Mutex::default(),
            faults: Mutex::default(),
            violations: Mutex::default(),
            over: AtomicBool::new(false),
            slow_until: (0..clients).map(|_| AtomicU64::new(0)).collect(),
            logs: Mutex::default(),
            posts_lost: AtomicU64::new(0),
        }
    }

    /// Whether the run is to end.
    pub fn over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Something happened that must not.
    pub fn violated(&self, rule: &Rule, who: &str, lines: &[String]) {
        let mut violations = locked(&self.violations);
        if violations.len() < 5 {
            let around: String = lines.iter().map(|line| format!("    {line}\n")).collect();
            violations.push(format!("{:.3} s  {who}: {rule:?}\n{around}", now_ms() as f64 / 1000.0));
        }
        self.over.store(true, SeqCst);
    }

    /// Announces an operation that may end with TIMEOUT after so long.
    pub fn begin(&self, client: usize, op: Op, inbox: redmux_inbox, timeout_ms: i64) -> u64 {
        locked(&self.ledgers[client]).begin(op, inbox.id, now_ms() + timeout_ms.max(0) as u64)
    }
}

/// A subscription, its token, and what is drawn of it.
pub struct Seat {
    pub token: u64,
    pub source: Source,
    lost_at: u64,
}

/// What the records of one inbox are judged by.
#[derive(Default)]
pub struct Judge {
    pub seats: HashMap<u64, Seat>,
    /// The highest number of each stream: in an inbox all subscriptions stand in the order of the link.
    order: Vec<u64>,
    /// For the summary and the drawing.
    pub messages: u64,
    pub dropped: u64,
    pub losses: u64,
    pub excused: u64,
    pub spans: Vec<Span>,
    pub drops: Vec<u64>,
    pub kinds: BTreeMap<Kind, u64>,
}

/// An inbox of a client and its judge.
pub struct Port {
    pub world: Arc<World>,
    pub client: usize,
    pub label: String,
    pub judge: Mutex<Judge>,
    /// Ends of `ready` after a restart, for the thread that asked: token and generation. Only a mailbox.
    pub readied: Mutex<HashMap<u64, (Status, u64)>>,
    /// The last barrier that came back well.
    pub barrier: AtomicU64,
    pub ended: AtomicBool,
}

impl Port {
    /// An inbox of a client.
    pub fn new(world: &Arc<World>, client: usize, label: &str) -> Arc<Port> {
        let port = Arc::new(Port {
            world: Arc::clone(world),
            client,
            label: format!("client {client}, {label}"),
            judge: Mutex::default(),
            readied: Mutex::default(),
            barrier: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        locked(&world.ports).push(Arc::clone(&port));
        port
    }

    fn verdict(&self, judge: &Judge, record: &redmux_record, rule: &Rule) {
        let seat = judge.seats.get(&record.source);
        let who = seat.map_or(format!("{} (source {:#x})", self.label, record.source), |seat| {
            format!("{}, {}", self.label, seat.source.label)
        });
        let mut lines = vec![format!(
            "at the record: kind {}, status {}, token {}, number {}",
            record.kind, record.status, record.token, record.number
        )];
        if let Some(seat) = seat {
            lines.extend(seat.source.lines());
        }
        lines.extend(locked(&self.world.logs).iter().cloned());
        let faults = locked(&self.world.faults);
        lines.extend(
            faults
                .iter()
                .rev()
                .take(12)
                .rev()
                .map(|(at, kind, to)| format!("{:>9.3} s  fault: {kind}, for {} ms", *at as f64 / 1000.0, to - at)),
        );
        self.world.violated(rule, &who, &lines);
    }

    fn record(&self, judge: &mut Judge, record: &redmux_record, data: &[u8]) -> Result<(), Rule> {
        let truth = &self.world.streams;
        let name = || c::part(data, record.name_off, record.name_len);
        if record.kind == Kind::Message as u16 {
            return self.message(judge, record, data);
        }
        let kind = Kind::ALL.into_iter().find(|&kind| kind as u16 == record.kind).ok_or(Rule::Stranger)?;
        *judge.kinds.entry(kind).or_default() += 1;
        let text = String::from_utf8_lossy(name()).into_owned();
        match kind {
            Kind::Done | Kind::Published | Kind::Promise => return self.ended(judge, kind, record, data),
            Kind::State => return Ok(()),
            Kind::Log => {
                let line = c::part(data, record.extra_off, record.extra_len);
                let mut logs = locked(&self.world.logs);
                if logs.len() == 40 {
                    logs.pop_front();
                }
                let line = String::from_utf8_lossy(line);
                logs.push_back(format!("{:>9.3} s  client {}: {line}", now_ms() as f64 / 1000.0, self.client));
                return Ok(());
            }
            Kind::Dropped if record.source == 0 => {
                self.world.posts_lost.fetch_add(record.number, SeqCst);
                return Ok(());
            }
            _ => {}
        }
        let Judge { seats, spans, drops, losses, dropped, excused, .. } = judge;
        let seat = match seats.get_mut(&record.source) {
            Some(seat) => seat,
            // The set of promises has marks of its own, which promises are judged without.
            None if record.token == PROMISES => return Ok(()),
            // The pattern that it was made with found no room: the call has failed, and its one record says so.
            None if kind == Kind::Closed && c::status(record.status) == Status::Full => return Ok(()),
            None => return Err(Rule::Stranger),
        };
        if record.token != seat.token && kind != Kind::Refused {
            return Err(Rule::Stranger);
        }
        let source = &mut seat.source;
        match kind {
            Kind::Active if record.flags & 1 == 1 => source.active_name(&text, truth),
            Kind::Active => {
                if source.lost {
                    spans.push((seat.lost_at, now_ms()));
                }
                source.active(record.number, truth)
            }
            Kind::Lost => {
                *losses += record.number;
                if !source.lost {
                    seat.lost_at = now_ms();
                }
                source.lost(record.number)
            }
            Kind::Dropped => {
                *dropped += record.number;
                let now = now_ms();
                if drops.last().is_none_or(|last| now > last + 20) {
                    drops.push(now);
                }
                source.dropped(record.number)
            }
            Kind::Refused => source.refused(&text),
            Kind::Closed => {
                *excused += source.excused;
                source.close(truth)
            }
            _ => Err(Rule::Stranger),
        }
    }

    fn message(&self, judge: &mut Judge, record: &redmux_record, data: &[u8]) -> Result<(), Rule> {
        let Some(seat) = judge.seats.get_mut(&record.source) else { return Err(Rule::Stranger) };
        let source = &mut seat.source;
        let truth = &self.world.streams;
        let stream = source.stream;
        let (channel, payload) =
            (c::part(data, record.name_off, record.name_len), c::part(data, record.data_off, record.data_len));
        let number = streams::read(stream, channel, payload)?;
        let extra = c::part(data, record.extra_off, record.extra_len);
        let pattern = if record.flags & 1 == 1 { source.names[0].text.as_bytes() } else { &[] };
        if extra != pattern || record.token != seat.token {
            return Err(Rule::Damaged);
        }
        if let Some(client) = stream.checked_sub(RAW) {
            let mut fates = locked(&truth.own[client]);
            fates.arrived(number)?;
            for missing in source.missing(number) {
                fates.missed(missing)?;
            }
        }
        source.message(number, truth)?;
        judge.messages += 1;
        if judge.order.len() <= stream {
            judge.order.resize(stream + 1, 0);
        }
        let highest = &mut judge.order[stream];
        if number < *highest {
            return Err(Rule::OrderInInbox { number, behind: *highest });
        }
        *highest = number;
        Ok(())
    }

    /// An operation ended.
    fn ended(&self, judge: &mut Judge, kind: Kind, record: &redmux_record, data: &[u8]) -> Result<(), Rule> {
        let truth = &self.world.streams;
        let status = c::status(record.status);
        let op = locked(&self.world.ledgers[self.client]).end(record.token, status, now_ms())?;
        let expected = match op {
            Op::Publish { .. } => Kind::Published,
            Op::Promise { .. } => Kind::Promise,
            _ => Kind::Done,
        };
        if kind != expected {
            return Err(Rule::Outcome);
        }
        let well = status == Status::Ok;
        match op {
            Op::Add { source, names } => {
                if let Some(seat) = judge.seats.get_mut(&source) {
                    names.into_iter().for_each(|name| seat.source.ended(name, true, well, truth));
                }
            }
            Op::Remove { source, names } => {
                if let Some(seat) = judge.seats.get_mut(&source) {
                    names.into_iter().for_each(|name| seat.source.ended(name, false, well, truth));
                }
            }
            Op::Wait { source } => {
                if let Some(seat) = judge.seats.get_mut(&source).filter(|_| well) {
                    seat.source.waited(record.number, truth);
                }
            }
            Op::Ready { .. } => {
                locked(&self.readied).insert(record.token, (status, record.number));
            }
            Op::Publish { number } => locked(&truth.own[self.client]).outcome(number, status, record.number)?,
            Op::Barrier { raw, own } if well => {
                for (&id, seat) in &mut judge.seats {
                    let source = &mut seat.source;
                    let result = match raw.get(source.stream) {
                        Some(&to) => source.barrier(to, truth),
                        None => {
                            let mut fates = locked(&truth.own[self.client]);
                            source.missing(own).try_for_each(|missing| fates.missed(missing))
                        }
                    };
                    if let Err(rule) = result {
                        self.verdict(judge, &redmux_record { source: id, ..*record }, &rule);
                        return Ok(());
                    }
                }
                self.barrier.store(record.token, SeqCst);
            }
            Op::Promise { text, .. } => {
                let (name, data) =
                    (c::part(data, record.name_off, record.name_len), c::part(data, record.data_off, record.data_len));
                if well && (data != text.as_bytes() || name != text.as_bytes()) {
                    return Err(Rule::Promise);
                }
            }
            Op::Barrier { .. } | Op::Flush | Op::Drain => {}
        }
        Ok(())
    }
}

/// The token of the sets of promises.
pub const PROMISES: u64 = 7;

impl Hears for Port {
    fn hear(&self, records: &[redmux_record], data: &[u8]) {
        let mut judge = locked(&self.judge);
        for record in records {
            if let Err(rule) = self.record(&mut judge, record, data) {
                self.verdict(&judge, record, &rule);
            }
        }
    }
}

impl Judge {
    /// A new subscription of this inbox. Called with the judge locked since before it was made.
    pub fn seat(&mut self, id: u64, token: u64, source: Source) {
        self.seats.insert(id, Seat { token, source, lost_at: 0 });
    }

    /// Forgets subscriptions that are closed.
    pub fn tidy(&mut self) {
        self.seats.retain(|_, seat| !seat.source.closed || seat.source.names.iter().any(|name| name.open > 0));
    }

    /// A subscription that never said that it is closed.
    pub fn left(&self) -> Option<(String, Rule)> {
        let open = self.seats.values().find(|seat| !seat.source.closed)?;
        Some((open.source.label.clone(), Rule::NotClosed))
    }
}
