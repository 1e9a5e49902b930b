//! The queue against what it promises: random histories are pushed, dropped and popped, and what was read is held
//! against what was pushed.

#![cfg(not(redmux_model))]

use proptest::prelude::*;
use redmux::inbox::block::{BLOCK_BYTES, BLOCK_RECORDS};
use redmux::inbox::queue::{Queue, Wave};
use redmux::inbox::record::ACTIVE_NAME;
use redmux::inbox::{Block, Buffer, BufferPool, Kind, Record, RecordIn};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

const SOURCES: u64 = 4;

#[derive(Debug, Clone)]
enum Op {
    Message { source: u64, len: usize },
    Dropped { source: u64, count: u64 },
    Lost { source: u64 },
    Active { source: u64 },
    Named { source: u64 },
    Done { source: u64, len: usize },
    Wave { shared: bool, base: usize, gap: usize, messages: Vec<(u64, usize)> },
    Many { shared: bool, source: u64, count: usize },
    DropOldest { bytes: usize, records: u64 },
    Pop,
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0usize..40, 3 => 40usize..3000, 1 => Just(40_000usize), 1 => Just(70_000usize)]
}

fn op() -> impl Strategy<Value = Op> {
    let source = 0..SOURCES;
    prop_oneof![
        8 => (source.clone(), len()).prop_map(|(source, len)| Op::Message { source, len }),
        3 => (source.clone(), 1u64..5).prop_map(|(source, count)| Op::Dropped { source, count }),
        4 => source.clone().prop_map(|source| Op::Lost { source }),
        4 => source.clone().prop_map(|source| Op::Active { source }),
        1 => source.clone().prop_map(|source| Op::Named { source }),
        2 => (source.clone(), len()).prop_map(|(source, len)| Op::Done { source, len }),
        3 => (any::<bool>(), 0usize..5000, 0usize..50, prop::collection::vec((source.clone(), 0usize..2000), 0..30))
            .prop_map(|(shared, base, gap, messages)| Op::Wave { shared, base, gap, messages }),
        1 => (any::<bool>(), source, 900usize..2200)
            .prop_map(|(shared, source, count)| Op::Many { shared, source, count }),
        3 => (0usize..200_000, 0u64..60).prop_map(|(bytes, records)| Op::DropOldest { bytes, records }),
        2 => Just(Op::Pop),
    ]
}

/// What was pushed of one source, in order.
#[derive(Debug, Clone, Copy)]
enum Event {
    Message(u64),
    Hole(u64),
    Lost,
    Active(u64),
}

#[derive(Default)]
struct Model {
    queue: Queue,
    next: u64,
    history: BTreeMap<u64, Vec<Event>>,
    /// Payloads by number.
    payloads: HashMap<u64, Vec<u8>>,
    read: Vec<Record>,
}

fn payload(number: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (number as usize).wrapping_mul(31).wrapping_add(at) as u8).collect()
}

fn name(source: u64) -> Vec<u8> {
    format!("name-{source}").into_bytes()
}

fn token(source: u64) -> u64 {
    source + 100
}

impl Model {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn event(&mut self, source: u64, event: Event) {
        self.history.entry(source).or_default().push(event);
    }

    fn push(&mut self, kind: Kind, source: u64, number: u64, data: &[u8], name: &[u8]) {
        let flags = if kind == Kind::Active && !name.is_empty() { ACTIVE_NAME } else { 0 };
        let record = RecordIn { flags, number, name, data, ..RecordIn::new(kind, source, token(source)) };
        assert!(self.queue.push(&record));
    }

    fn wave(&mut self, shared: bool, base: usize, gap: usize, messages: &[(u64, usize)]) {
        // As much as one read gives; the rest is left out.
        let pool = Arc::new(BufferPool::default());
        let mut buffer = BufferPool::get(&pool);
        let bytes = Arc::get_mut(&mut buffer).unwrap().bytes_mut();
        let mut at = base;
        let mut records = Vec::new();
        for &(source, len) in messages {
            let name = name(source);
            if at + gap + name.len() + len > bytes.len() {
                break;
            }
            at += gap;
            let number = self.number();
            let data = payload(number, len);
            let mut record =
                Record { kind: Kind::Message as u16, source, token: token(source), number, ..Record::default() };
            (record.name_off, record.name_len) = ((at - base) as u32, name.len() as u32);
            bytes[at..at + name.len()].copy_from_slice(&name);
            at += name.len();
            // An empty payload points to where it would be: the queue must put that right.
            (record.data_off, record.data_len) = ((at - base) as u32, len as u32);
            bytes[at..at + len].copy_from_slice(&data);
            at += len;
            records.push(record);
            self.payloads.insert(number, data);
            self.event(source, Event::Message(number));
        }
        // As the mux hands over what it staged, where that fits one block.
        let end = |record: &Record| (record.data_off + record.data_len).max(record.name_off + record.name_len) as usize;
        let first = records.first().map_or(0, |record| record.name_off);
        let len = records.iter().filter(|record| record.data_len > 0).map(end).max().unwrap_or(0);
        let staged = shared && messages.len().is_multiple_of(2) && (1..=BLOCK_RECORDS).contains(&records.len());
        let staged = staged && records.iter().all(|record| record.data_len > 0) && len - first as usize <= BLOCK_BYTES;
        let mut base = base;
        let wave = if staged {
            records.iter_mut().for_each(|record| record.rebase(first));
            base += first as usize;
            let cost = records.iter().map(Record::cost).sum();
            Wave::Staged { buffer: &buffer, len: len - first as usize, cost }
        } else if shared {
            Wave::Shared(&buffer)
        } else {
            Wave::Bytes(buffer.bytes())
        };
        assert!(self.queue.push_wave(&mut records, base, wave).is_empty());
        assert!(records.is_empty());
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Message { source, len } => {
                let number = self.number();
                let data = payload(number, len);
                self.push(Kind::Message, source, number, &data, &name(source));
                self.payloads.insert(number, data);
                self.event(source, Event::Message(number));
            }
            Op::Dropped { source, count } => {
                self.push(Kind::Dropped, source, count, b"", b"");
                self.event(source, Event::Hole(count));
            }
            Op::Lost { source } => {
                self.push(Kind::Lost, source, 1, b"", b"");
                self.event(source, Event::Lost);
            }
            Op::Active { source } => {
                let number = self.number();
                self.push(Kind::Active, source, number, b"", b"");
                self.event(source, Event::Active(number));
            }
            Op::Named { source } => {
                let number = self.number();
                self.push(Kind::Active, source, number, b"", &name(source));
            }
            Op::Done { source, len } => {
                let number = self.number();
                let data = payload(number, len);
                self.push(Kind::Done, source, number, &data, b"");
                self.payloads.insert(number, data);
            }
            Op::Wave { shared, base, gap, ref messages } => self.wave(shared, base, gap, messages),
            Op::Many { shared, source, count } => self.wave(shared, 7, 3, &vec![(source, 0); count]),
            Op::DropOldest { bytes, records } => {
                let before = self.queue.messages();
                let over = |queue: &Queue| queue.cost() > bytes || queue.messages() > records;
                let dropped = self.queue.drop_oldest(over);
                assert_eq!(self.queue.messages(), before - dropped);
                assert!(self.queue.messages() <= 1 || !over(&self.queue));
                assert!(before == 0 || self.queue.messages() > 0, "the newest stays");
            }
            Op::Pop => {
                self.pop();
            }
        }
    }

    fn pop(&mut self) -> bool {
        let before = (self.queue.cost(), self.queue.messages(), self.queue.len());
        let Some(block) = self.queue.pop() else {
            assert_eq!(before, (0, 0, 0));
            assert!(self.queue.is_empty());
            return false;
        };
        self.check_block(&block);
        let records = block.records();
        let cost: usize = records.iter().map(Record::cost).sum();
        let messages = records.iter().filter(|record| record.droppable()).count() as u64;
        let after = (self.queue.cost(), self.queue.messages(), self.queue.len());
        assert_eq!(after, (before.0 - cost, before.1 - messages, before.2 - records.len() as u64));
        self.read.extend_from_slice(records);
        self.queue.recycle(block);
        true
    }

    fn check_block(&self, block: &Block) {
        let (records, data) = (block.records(), block.data());
        assert!(!records.is_empty() && records.len() <= 1024);
        assert!(data.len() <= BLOCK_BYTES || records.len() == 1, "{} bytes", data.len());
        let (mut from, mut to) = (usize::MAX, 0);
        for record in records {
            assert_ne!(record.kind, 0);
            let parts = [
                (record.name_off, record.name_len),
                (record.extra_off, record.extra_len),
                (record.data_off, record.data_len),
            ];
            for (off, len) in parts.map(|(off, len)| (off as usize, len as usize)) {
                assert!(len != 0 || off == 0, "an empty part is at 0");
                assert!(off + len <= data.len());
                if len != 0 {
                    (from, to) = (from.min(off), to.max(off + len));
                }
            }
            if record.name_len != 0 {
                assert_eq!(record.name(data), name(record.source));
            }
            if record.is(Kind::Message) || record.is(Kind::Done) {
                assert_eq!(record.payload(data), &self.payloads[&record.number][..]);
            }
            assert_eq!(record.token, token(record.source));
        }
        assert_eq!(if to == 0 { (0, 0) } else { (from, to) }, (0, data.len()), "data spans what is used");
    }

    /// Reads everything, and holds it against the history.
    fn finish(mut self) {
        let sums = (self.queue.cost(), self.queue.messages(), self.queue.len());
        let droppable = self.queue.droppable_cost();
        let already = self.read.len();
        while self.pop() {}
        let waited = &self.read[already..];
        let messages: Vec<_> = waited.iter().filter(|record| record.droppable()).map(Record::cost).collect();
        let cost = waited.iter().map(Record::cost).sum::<usize>();
        assert_eq!(sums, (cost, messages.len() as u64, waited.len() as u64));
        assert_eq!(droppable, messages.split_last().map_or(0, |(_, older)| older.iter().sum()));

        let unmerged = |record: &&Record| {
            record.is(Kind::Message) || record.is(Kind::Done) || record.is(Kind::Active) && record.name_len != 0
        };
        let order: Vec<_> = self.read.iter().filter(unmerged).map(|record| record.number).collect();
        assert!(order.is_sorted_by(|a, b| a < b), "order is kept");
        let pushed = |kind: Kind| self.read.iter().filter(|record| record.is(kind)).count();
        assert_eq!(pushed(Kind::Done), self.payloads.len() - self.messages_pushed());

        for (source, history) in &self.history {
            self.check_source(*source, history);
        }
    }

    fn messages_pushed(&self) -> usize {
        self.history.values().flatten().filter(|event| matches!(event, Event::Message(_))).count()
    }

    /// Between two messages that were read, the holes are exact, and each message is read in the state it was sent in.
    fn check_source(&self, source: u64, history: &[Event]) {
        let mut history = history.iter();
        let (mut holes, mut lost, mut is_lost, mut generation) = (0, 0, None, 0);
        let (mut read_lost, mut read_is_lost) = (0, None);
        for record in self.read.iter().filter(|record| record.source == source) {
            if record.is(Kind::Dropped) {
                assert!(record.number > 0);
                holes += record.number;
            } else if record.is(Kind::Lost) {
                read_lost += record.number;
                read_is_lost = Some(true);
            } else if record.is(Kind::Active) && record.name_len == 0 {
                read_is_lost = Some(false);
                generation = record.number;
            } else if record.is(Kind::Message) {
                let mut missing = 0;
                for event in history.by_ref() {
                    match *event {
                        Event::Message(number) if number == record.number => break,
                        Event::Message(_) => missing += 1,
                        Event::Hole(count) => missing += count,
                        Event::Lost => (lost, is_lost) = (lost + 1, Some(true)),
                        Event::Active(_) => is_lost = Some(false),
                    }
                }
                assert_eq!(holes, missing, "the hole before {}", record.number);
                assert_eq!((read_lost, read_is_lost), (lost, is_lost), "the state at {}", record.number);
                holes = 0;
            }
        }
        let (mut missing, mut newest) = (0, generation);
        for event in history {
            match *event {
                Event::Message(_) => missing += 1,
                Event::Hole(count) => missing += count,
                Event::Lost => (lost, is_lost) = (lost + 1, Some(true)),
                Event::Active(number) => (newest, is_lost) = (number, Some(false)),
            }
        }
        assert_eq!(holes, missing, "the last hole");
        assert_eq!((read_lost, read_is_lost), (lost, is_lost), "the last state");
        if is_lost == Some(false) {
            assert_eq!(generation, newest, "the last generation");
        }
    }
}

/// About ten seconds in a debug build; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if asked { config } else { ProptestConfig { cases: 100, ..config } }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_is_pushed_is_read_in_order_or_counted_where_it_is_missing(ops in prop::collection::vec(op(), 1..120)) {
        let mut model = Model::default();
        for op in &ops {
            model.apply(op);
        }
        model.finish();
    }

    #[test]
    fn what_waits_is_bounded_by_messages_and_sources_when_nobody_reads(
        ops in prop::collection::vec(
            op().prop_filter("kept for ever", |op| !matches!(op, Op::Pop | Op::Done { .. } | Op::Named { .. })), 1..300),
    ) {
        let mut model = Model::default();
        for op in &ops {
            model.apply(op);
            model.queue.drop_oldest(|queue| queue.messages() > 8);
            // Before, between and after the eight messages a source has at most dropped, active, lost, active; and
            // the same once more in front of all.
            prop_assert!(model.queue.len() <= 8 + 4 * (8 + 2 * SOURCES), "{} records wait", model.queue.len());
        }
        model.finish();
    }
}

fn kinds(queue: &mut Queue) -> Vec<(u16, u64)> {
    std::iter::from_fn(|| queue.pop())
        .flat_map(|block| block.records().iter().map(|record| (record.kind, record.number)).collect::<Vec<_>>())
        .collect()
}

fn mark(queue: &mut Queue, kind: Kind, number: u64) {
    queue.push(&RecordIn { number, ..RecordIn::new(kind, 1, 0) });
}

#[test]
fn a_source_that_is_lost_again_is_not_read_as_active() {
    let mut queue = Queue::default();
    for (kind, number) in [(Kind::Lost, 1), (Kind::Active, 7), (Kind::Lost, 1)] {
        mark(&mut queue, kind, number);
    }
    assert_eq!((queue.len(), queue.cost()), (1, 64));
    assert_eq!(kinds(&mut queue), [(Kind::Lost as u16, 2)]);
    assert_eq!((queue.len(), queue.cost()), (0, 0));
}

#[test]
fn a_source_that_came_back_again_is_read_as_active_once() {
    let mut queue = Queue::default();
    for (kind, number) in [(Kind::Lost, 1), (Kind::Active, 7), (Kind::Lost, 1), (Kind::Active, 8)] {
        mark(&mut queue, kind, number);
    }
    assert_eq!(kinds(&mut queue), [(Kind::Lost as u16, 2), (Kind::Active as u16, 8)]);
}

#[test]
fn marks_do_not_merge_over_a_message_of_their_source_but_over_one_of_another() {
    let mut queue = Queue::default();
    mark(&mut queue, Kind::Dropped, 1);
    queue.push(&RecordIn::new(Kind::Message, 2, 0));
    mark(&mut queue, Kind::Dropped, 1);
    queue.push(&RecordIn::new(Kind::Message, 1, 0));
    mark(&mut queue, Kind::Dropped, 1);
    let (dropped, message) = (Kind::Dropped as u16, Kind::Message as u16);
    assert_eq!(kinds(&mut queue), [(dropped, 2), (message, 0), (message, 0), (dropped, 1)]);
}

#[test]
fn holes_among_log_lines_are_marked_where_they_are() {
    let mut queue = Queue::default();
    mark(&mut queue, Kind::Dropped, 1);
    queue.push(&RecordIn::new(Kind::Log, 1, 0));
    mark(&mut queue, Kind::Dropped, 2);
    let (dropped, log) = (Kind::Dropped as u16, Kind::Log as u16);
    assert_eq!(kinds(&mut queue), [(dropped, 1), (log, 0), (dropped, 2)]);
}

fn large(records: &[(u32, u32)], size: usize) -> (Vec<Record>, Arc<Buffer>) {
    let record = |&(data_off, data_len)| Record { kind: Kind::Message as u16, data_off, data_len, ..Record::default() };
    (records.iter().map(record).collect(), Buffer::large(size).unwrap())
}

#[test]
fn a_large_frame_for_two_subscriptions_of_one_inbox_is_shared_by_two_blocks_of_one_record() {
    let (mut records, buffer) = large(&[(10, 1 << 20), (10, 1 << 20)], (1 << 20) + 20);
    let mut queue = Queue::default();
    assert!(queue.push_wave(&mut records, 0, Wave::Shared(&buffer)).is_empty());
    for _ in 0..2 {
        let block = queue.pop().unwrap();
        assert_eq!((block.records().len(), block.data().len()), (1, 1 << 20));
        assert_eq!(block.data().as_ptr(), buffer.bytes()[10..].as_ptr());
    }
    assert!(queue.pop().is_none());
}

#[test]
fn one_small_message_at_the_end_of_a_full_buffer_does_not_pin_it() {
    let pool = Arc::new(BufferPool::default());
    let mut buffer = BufferPool::get(&pool);
    let mut records = vec![Record { kind: 1, data_off: BLOCK_BYTES as u32 - 10, data_len: 10, ..Record::default() }];
    let mut queue = Queue::default();
    queue.push_wave(&mut records, 0, Wave::Shared(&buffer));
    assert!(Arc::get_mut(&mut buffer).is_some(), "copied");
    assert_eq!(queue.pop().unwrap().data().len(), 10);
}

#[test]
fn a_wave_that_uses_most_of_a_buffer_shares_it_and_gives_it_back() {
    let pool = Arc::new(BufferPool::default());
    let mut buffer = BufferPool::get(&pool);
    let record = |at: u32| Record { kind: 1, data_off: at * 600 + 20, data_len: 580, ..Record::default() };
    let mut records: Vec<_> = (0..100).map(record).collect();
    let mut queue = Queue::default();
    queue.push_wave(&mut records, 0, Wave::Shared(&buffer));
    assert!(Arc::get_mut(&mut buffer).is_none(), "shared");
    let block = queue.pop().unwrap();
    assert_eq!(block.data().as_ptr(), buffer.bytes()[20..].as_ptr());
    queue.recycle(block);
    assert!(Arc::get_mut(&mut buffer).is_some(), "given back");
}
