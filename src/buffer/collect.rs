//! When is a request complete, and why? Pure: it is told what came and when, and says when to ask it again.
//!
//! Redis says how many received the request (n), which is more than the responders if somebody listens to a pattern.
//! Responders say that they accepted (A) and that they finished (F). Whatever fires first ends it, exactly once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long a responder that accepted may be silent: it says each second that it is alive, and three are missed.
const LOST_AFTER: Duration = Duration::from_millis(3200);

/// How many responders a request may have. Anybody may say under as many names as he likes that he took it, and each is
/// kept, and looked at with each sign of another.
const MOST_RESPONDERS: usize = 16 * 1024;

/// Why a gather ended. The numbers are those of `end` records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nobody serves it.
    NoResponders = 1,
    /// Everybody who took it has finished.
    All = 2,
    /// As many answers as were asked for.
    Count = 3,
    /// The caller has what it wanted.
    Predicate = 4,
    /// No new answer for the time that was given.
    Quiet = 5,
    /// The time is over.
    Deadline = 6,
    /// The caller gave it up.
    Cancelled = 7,
    /// The inbox or the client was closed.
    Closed = 8,
    /// A connection was lost while it waited.
    Interrupted = 9,
    /// Everybody who took it answered with an error.
    Failed = 10,
    /// More answers than there is room for.
    Overflow = 11,
}

/// What the caller asked for.
#[derive(Debug, Clone)]
pub struct Rules {
    /// So many answers are enough; 0 is no number.
    pub count: u64,
    /// The silence after an answer that ends it.
    pub quiet: Option<Duration>,
    /// Wait for every receiver that Redis counted, whoever they are.
    pub strict: bool,
    /// The most answers.
    pub most: u64,
    /// The most bytes of answers.
    pub most_bytes: u64,
    /// When the time is over.
    pub deadline: Instant,
}

/// What is to be done with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is new: the caller gets it.
    Deliver,
    /// It came before: counted.
    Duplicate,
    /// There is no more room: the gather has ended.
    Overflow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Working,
    Finished,
    /// It fell silent. Counts as finished, and as missing.
    Lost,
    /// Somebody else of its group does it.
    Declined,
    /// It gave signs before the request was sent again, and none since. What it answered stays known.
    Earlier {
        finished: bool,
    },
}

#[derive(Debug)]
struct Responder {
    by: Box<str>,
    name: Box<str>,
    at: At,
    /// When it last gave a sign.
    seen: Instant,
    /// The first sequence number that did not come yet, and those beyond it that did.
    next: u64,
    beyond: BTreeSet<u64>,
    /// How many answers it says that it gave, once it has ended.
    total: Option<u64>,
    failed: bool,
    /// It failed because it did not get to work on it: if that is asked again, it may fail at the work.
    busy: bool,
}

impl Responder {
    /// Where it stands by what came: finished when it has ended and every answer that it gave is here. One whose end came and an
    /// answer of which did not is waited for as if it worked, and is missing in the end.
    fn stands(&self) -> At {
        if self.total.is_some_and(|total| self.next >= total) { At::Finished } else { At::Working }
    }

    /// Whether it has finished, since the request was last sent or before.
    fn had_finished(&self) -> bool {
        matches!(self.at, At::Finished | At::Earlier { finished: true })
    }

    /// `false` if the number came before.
    fn take(&mut self, seq: u64) -> bool {
        if seq < self.next {
            return false;
        }
        if seq == self.next {
            self.next += 1;
        } else if !self.beyond.insert(seq) {
            return false;
        }
        while self.beyond.remove(&self.next) {
            self.next += 1;
        }
        true
    }
}

/// How long receivers may take to accept, and since when.
#[derive(Debug, Clone, Copy)]
struct Accept {
    since: Instant,
    length: Duration,
}

impl Accept {
    fn until(&self) -> Instant {
        self.since + self.length
    }
}

/// The state of one request.
#[derive(Debug)]
pub struct Collect {
    rules: Rules,
    began: Instant,
    /// What Redis said, and until when those who received it may accept.
    receivers: Option<u64>,
    window: Option<Accept>,
    /// That time was looked at and is over. Only `time` says so: who calls it has read what was there by then, and what comes
    /// in late, because this machine was slow, is not judged by the first half of it.
    window_closed: bool,
    responders: Vec<Responder>,
    answers: u64,
    bytes: u64,
    errors: u64,
    duplicates: u64,
    late: u64,
    last_answer: Option<Instant>,
    ended: Option<Reason>,
}

/// What a gather says when it has ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// How many received it, as Redis counted.
    pub expected: Option<u64>,
    /// Answers.
    pub answers: u64,
    /// Responders that failed.
    pub errors: u64,
    /// Answers that came twice.
    pub duplicates: u64,
    /// Answers of responders that had been given up.
    pub late: u64,
    /// Who accepted and did not finish: id and name.
    pub missing: Vec<(&'a str, &'a str)>,
}

impl Collect {
    /// A request that is about to be sent.
    pub fn new(rules: Rules, now: Instant) -> Collect {
        Collect {
            rules,
            began: now,
            receivers: None,
            window: None,
            window_closed: false,
            responders: Vec::new(),
            answers: 0,
            bytes: 0,
            errors: 0,
            duplicates: 0,
            late: 0,
            last_answer: None,
            ended: None,
        }
    }

    /// Why it ended, if it has.
    pub fn ended(&self) -> Option<Reason> {
        self.ended
    }

    /// How long it has been going on.
    pub fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// When its time is over.
    pub fn deadline(&self) -> Instant {
        self.rules.deadline
    }

    /// How many have accepted, or given another sign that they took it.
    pub fn accepted_count(&self) -> u64 {
        self.current().filter(|one| one.at != At::Declined).count() as u64
    }

    /// Whether somebody received it and nobody gave a sign.
    pub fn is_unheard(&self) -> bool {
        self.receivers.is_some_and(|receivers| receivers > 0) && self.current().next().is_none()
    }

    /// Whether errors came, and nothing else.
    pub fn only_errors(&self) -> bool {
        self.answers == 0 && self.errors > 0
    }

    /// Who gave a sign since it was last sent.
    fn current(&self) -> impl Iterator<Item = &Responder> {
        self.responders.iter().filter(|one| !matches!(one.at, At::Earlier { .. }))
    }

    /// Whether somebody may still be working on it, so that a cancel is worth sending.
    pub fn is_worked_on(&self) -> bool {
        let reached = self.receivers != Some(0);
        let silent = self.receivers.is_none_or(|n| (self.current().count() as u64) < n);
        reached && (silent || self.current().any(|one| one.at == At::Working))
    }

    /// It is sent again: who received it before counts no more, unless it receives it again. What it answered stays
    /// known, because it will say the same again.
    pub fn sent_again(&mut self) {
        self.receivers = None;
        self.window = None;
        self.window_closed = false;
        // The silence since was the connection's.
        self.last_answer = None;
        self.responders.retain(|one| one.at != At::Declined);
        for one in &mut self.responders {
            let finished = matches!(one.at, At::Finished | At::Earlier { finished: true });
            one.at = At::Earlier { finished };
        }
    }

    /// Redis said how many received it; they may accept for so long from now.
    pub fn published(&mut self, receivers: u64, window: Duration, now: Instant) {
        self.receivers = Some(receivers);
        self.window = Some(Accept { since: now, length: window });
        if self.answers > 0 {
            // Sent again: those who have not answered yet have as long as before.
            self.last_answer.get_or_insert(now);
        }
        self.window_closed = false;
        self.settle();
    }

    /// A responder took it. `true` if this is its first sign.
    pub fn accepted(&mut self, by: &str, name: &str, now: Instant) -> bool {
        let Some((at, new)) = self.sign(by, name, now) else { return false };
        self.settle_one(at, At::Working);
        new
    }

    /// An answer, perhaps the last of its responder.
    pub fn answer(&mut self, by: &str, name: &str, seq: u64, bytes: usize, last: bool, now: Instant) -> Verdict {
        let Some((at, _)) = self.sign(by, name, now) else { return Verdict::Overflow };
        let Some(one) = self.responders.get_mut(at) else { return Verdict::Duplicate };
        let lost = one.at == At::Lost;
        if last {
            one.total = Some(seq.saturating_add(1));
        }
        let new = one.take(seq);
        let stands = one.stands();
        if !new {
            self.duplicates += 1;
            if last {
                self.settle_one(at, stands);
            }
            return Verdict::Duplicate;
        }
        if self.ended.is_some() {
            return Verdict::Duplicate;
        }
        if self.answers >= self.rules.most || self.bytes + bytes as u64 > self.rules.most_bytes {
            self.end(Reason::Overflow);
            return Verdict::Overflow;
        }
        self.answers += 1;
        self.bytes += bytes as u64;
        self.late += u64::from(lost);
        self.last_answer = Some(now);
        if self.rules.count > 0 && self.answers >= self.rules.count {
            self.mark(at, stands);
            self.end(Reason::Count);
        } else {
            self.settle_one(at, stands);
        }
        Verdict::Deliver
    }

    /// Whether an answer of a responder came before.
    pub fn has_answer(&self, by: &str, seq: u64) -> bool {
        let known = self.responders.iter().find(|one| &*one.by == by);
        known.is_some_and(|one| seq < one.next || one.beyond.contains(&seq))
    }

    /// Whether it is known of a responder that it failed, or that it finished. That it was busy says nothing of another failure.
    pub fn has_failed(&self, by: &str, busy: bool) -> bool {
        let known = self.responders.iter().find(|one| &*one.by == by);
        known.is_some_and(|one| if one.failed && one.busy { busy } else { one.failed || one.had_finished() })
    }

    /// A responder ended without another answer, after so many, if it says so. `false` if it had ended before.
    pub fn finished(&mut self, by: &str, name: &str, total: Option<u64>, now: Instant) -> bool {
        let Some((at, _)) = self.sign(by, name, now) else { return false };
        let Some(one) = self.responders.get_mut(at) else { return false };
        let before = one.at == At::Finished;
        one.total = Some(total.unwrap_or(one.next));
        let stands = one.stands();
        self.duplicates += u64::from(before);
        self.settle_one(at, stands);
        !before
    }

    /// A responder failed, perhaps because it was busy. `false` if it had ended before.
    pub fn failed(&mut self, by: &str, name: &str, busy: bool, now: Instant) -> bool {
        // Also before it was sent again: it may say that it forgot its answers, and they are here.
        let before = self.has_failed(by, busy);
        let Some((at, _)) = self.sign(by, name, now) else { return false };
        let Some(one) = self.responders.get_mut(at) else { return false };
        if self.ended.is_some() {
            self.duplicates += u64::from(before);
            return false;
        }
        self.errors += u64::from(!before && !one.failed);
        if !before {
            (one.failed, one.busy) = (true, busy);
        }
        self.duplicates += u64::from(before);
        self.settle_one(at, At::Finished);
        !before
    }

    /// A responder is still working on it.
    pub fn alive(&mut self, by: &str, name: &str, now: Instant) {
        self.accepted(by, name, now);
    }

    /// A responder leaves it to another of its group. One that finished before it was sent again says no more of it.
    pub fn declined(&mut self, by: &str, name: &str, now: Instant) {
        let finished = self.had_finished(by);
        let Some((at, new)) = self.sign(by, name, now) else { return };
        if finished {
            self.mark(at, At::Finished);
        } else if new {
            self.mark(at, At::Declined);
        }
        self.settle();
    }

    /// The caller, the client or the connection ends it.
    pub fn stop(&mut self, reason: Reason) {
        self.end(reason);
    }

    /// An answer found no room at its caller.
    pub fn overflow(&mut self) {
        self.end(Reason::Overflow);
    }

    /// Until then nothing could be heard, for a reason on this side: all silence begins there.
    pub fn deaf_until(&mut self, until: Instant) {
        for one in &mut self.responders {
            one.seen = one.seen.max(until);
        }
        if let Some(window) = &mut self.window {
            window.since = window.since.max(until);
        }
        if let Some(last) = &mut self.last_answer {
            *last = (*last).max(until);
        }
    }

    /// Time has passed.
    pub fn time(&mut self, now: Instant) {
        if self.ended.is_some() {
            return;
        }
        for one in &mut self.responders {
            if one.at == At::Working && now >= one.seen + LOST_AFTER {
                one.at = At::Lost;
            }
        }
        self.window_closed = self.window.is_some_and(|window| now >= window.until());
        self.settle();
        if let (Some(last), Some(quiet)) = (self.last_answer, self.rules.quiet)
            && now >= last + quiet
        {
            self.end(Reason::Quiet);
        }
        if now >= self.rules.deadline {
            self.end(Reason::Deadline);
        }
    }

    /// When to call `time` next. Never later than it would change anything.
    pub fn next(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let window = self.window.filter(|_| !self.window_closed).map(|window| window.until());
        let quiet = self.last_answer.and_then(|last| Some(last + self.rules.quiet?));
        let silent = self.responders.iter().filter(|one| one.at == At::Working).map(|one| one.seen + LOST_AFTER).min();
        [Some(self.rules.deadline), window, quiet, silent].into_iter().flatten().min()
    }

    /// What it has to say.
    pub fn report(&self) -> Report<'_> {
        let unfinished = |one: &&Responder| matches!(one.at, At::Working | At::Lost | At::Earlier { finished: false });
        let missing = self.responders.iter().filter(unfinished);
        Report {
            expected: self.receivers,
            answers: self.answers,
            errors: self.errors,
            duplicates: self.duplicates,
            late: self.late,
            missing: missing.map(|one| (&*one.by, &*one.name)).collect(),
        }
    }

    /// Whether a responder has finished, since it was last sent or before.
    fn had_finished(&self, by: &str) -> bool {
        self.responders.iter().find(|one| &*one.by == by).is_some_and(Responder::had_finished)
    }

    /// The place of a responder, who gave a sign just now, and whether it is its first. `None` if there are too many:
    /// that ends it.
    fn sign(&mut self, by: &str, name: &str, now: Instant) -> Option<(usize, bool)> {
        if let Some(at) = self.responders.iter().position(|one| &*one.by == by) {
            if let Some(one) = self.responders.get_mut(at) {
                one.seen = now;
                if let At::Earlier { .. } = one.at {
                    one.at = At::Working;
                }
            }
            return Some((at, false));
        }
        if self.responders.len() >= MOST_RESPONDERS {
            self.end(Reason::Overflow);
            return None;
        }
        let one = Responder {
            by: by.into(),
            name: name.into(),
            at: At::Working,
            seen: now,
            next: 0,
            beyond: BTreeSet::new(),
            total: None,
            failed: false,
            busy: false,
        };
        self.responders.push(one);
        Some((self.responders.len() - 1, true))
    }

    fn mark(&mut self, at: usize, to: At) {
        if let Some(one) = self.responders.get_mut(at)
            && one.at != At::Finished
        {
            one.at = to;
        }
    }

    fn settle_one(&mut self, at: usize, to: At) {
        self.mark(at, to);
        self.settle();
    }

    fn end(&mut self, reason: Reason) {
        self.ended.get_or_insert(reason);
    }

    /// Looks whether it is complete.
    fn settle(&mut self) {
        if self.ended.is_some() {
            return;
        }
        let finished = self.current().filter(|one| one.at != At::Working).count();
        let everybody = self.receivers.is_some_and(|receivers| finished as u64 >= receivers);
        let everybody_who_took_it = !self.rules.strict && self.window_closed && finished == self.current().count();
        if everybody || everybody_who_took_it {
            let took = |one: &&Responder| matches!(one.at, At::Finished | At::Lost | At::Earlier { finished: true });
            let mut took = self.responders.iter().filter(took).peekable();
            self.end(if took.peek().is_none() {
                Reason::NoResponders
            } else if self.answers == 0 && took.all(|one| one.failed) {
                Reason::Failed
            } else {
                Reason::All
            });
        }
    }
}

/// How long receivers have to accept: four times what nearly all of them took lately.
#[derive(Debug)]
pub struct Window {
    lately: [Duration; Window::KEPT],
    count: usize,
    now: Duration,
}

impl Default for Window {
    fn default() -> Window {
        Window { lately: [Duration::ZERO; Window::KEPT], count: 0, now: Window::MOST }
    }
}

impl Window {
    const KEPT: usize = 128;
    /// The shortest.
    ///
    /// 20 ms were too few: on a busy machine a responder that was not let run for so long made a request end with nobody
    /// there. It is paid only where somebody else listens to the channel, and nobody answers at once.
    const LEAST: Duration = Duration::from_millis(100);
    /// The longest, and what it is before anything was measured.
    const MOST: Duration = Duration::from_secs(1);

    /// A responder took so long to give its first sign.
    pub fn measured(&mut self, took: Duration) {
        if let Some(place) = self.lately.get_mut(self.count % Window::KEPT) {
            *place = took;
        }
        self.count += 1;
        // Each time would cost more than the rest of a request.
        if self.count.is_multiple_of(16) || self.count < 16 {
            let mut lately = self.lately;
            let kept = lately.get_mut(..self.count.min(Window::KEPT)).unwrap_or_default();
            let at = (kept.len() * 99 / 100).min(kept.len().saturating_sub(1));
            let (_, nearly_all, _) = kept.select_nth_unstable(at);
            self.now = (*nearly_all * 4).clamp(Window::LEAST, Window::MOST);
        }
    }

    /// It closed on receivers none of which had given a sign: they may take longer than they did, and would never be measured.
    pub fn closed_on_nobody(&mut self) {
        self.now = (self.now * 2).min(Window::MOST);
    }

    /// How long it is.
    pub fn length(&self) -> Duration {
        self.now
    }
}
