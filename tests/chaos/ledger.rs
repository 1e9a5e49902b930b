//! Operations and publishes: each ends exactly once, as it can, and what is said of a publish holds. Pure, like the oracle.

use super::oracle::Rule;
use redmux::error::Status;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// An operation that was asked for, with what its end must be held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Add {
        source: u64,
        names: Vec<usize>,
    },
    Remove {
        source: u64,
        names: Vec<usize>,
    },
    Drain,
    Wait {
        source: u64,
    },
    Ready {
        restart: bool,
    },
    Publish {
        number: u64,
    },
    Flush,
    /// Everything below `raw` of each stream, and below `own` of the client's own, stands before its end.
    Barrier {
        raw: [u64; 2],
        own: u64,
    },
    /// Whether its message was published and the server has answered.
    Promise {
        text: String,
        published: bool,
    },
}

impl Op {
    /// Its name in the summary.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Add { .. } => "add",
            Op::Remove { .. } => "remove",
            Op::Drain => "drain",
            Op::Wait { .. } => "wait active",
            Op::Ready { .. } => "ready",
            Op::Publish { .. } => "publish",
            Op::Flush => "flush",
            Op::Barrier { .. } => "barrier",
            Op::Promise { .. } => "promise",
        }
    }

    /// How it may end, beside OK, TIMEOUT, CANCELLED and CLOSED, which any may.
    fn may_end(&self, status: Status) -> bool {
        use Status::{Interrupted, NotSent, Partial, Refused, Superseded, Unknown};
        match self {
            Op::Add { .. } => matches!(status, Partial | Refused | Superseded),
            Op::Remove { .. } | Op::Drain | Op::Ready { .. } | Op::Wait { .. } => false,
            Op::Publish { .. } => matches!(status, NotSent | Unknown | Refused),
            Op::Flush | Op::Barrier { .. } => status == Interrupted,
            Op::Promise { .. } => matches!(status, Interrupted | Refused),
        }
    }
}

#[derive(Debug)]
struct Open {
    op: Op,
    inbox: u64,
    deadline_ms: u64,
    cancelled: bool,
}

/// How late a clock may be read.
const SLACK_MS: u64 = 5;

/// The operations that have not ended, and how the others did.
#[derive(Debug, Default)]
pub struct Ledger {
    open: HashMap<u64, Open>,
    last: u64,
    /// How often an operation ended so.
    pub counts: BTreeMap<(&'static str, String), u64>,
}

impl Ledger {
    /// Announces an operation; its token. `deadline_ms` is when it may end with TIMEOUT.
    pub fn begin(&mut self, op: Op, inbox: u64, deadline_ms: u64) -> u64 {
        self.last += 1;
        self.open.insert(self.last, Open { op, inbox, deadline_ms, cancelled: false });
        self.last
    }

    fn note(&mut self, name: &'static str, how: &str) {
        *self.counts.entry((name, how.to_owned())).or_default() += 1;
    }

    /// The call was refused, so that nothing will end.
    pub fn refused(&mut self, token: u64, status: Status) -> Option<Op> {
        let open = self.open.remove(&token)?;
        self.note(open.op.name(), &format!("{status:?} at the call"));
        Some(open.op)
    }

    /// The subscription of an add is known now.
    pub fn known(&mut self, token: u64, id: u64) {
        if let Some(Op::Add { source, .. }) = self.open.get_mut(&token).map(|open| &mut open.op) {
            *source = id;
        }
    }

    /// A post was called, which has no end.
    pub fn posted(&mut self, status: Status) {
        self.note("post", &format!("{status:?} at the call"));
    }

    /// A cancel of that token is about to be asked for.
    pub fn cancelling(&mut self, token: u64) {
        if let Some(open) = self.open.get_mut(&token) {
            open.cancelled = true;
        }
    }

    /// The message of a promise was published, and the server has answered.
    pub fn kept(&mut self, token: u64) {
        if let Some(Op::Promise { published, .. }) = self.open.get_mut(&token).map(|open| &mut open.op) {
            *published = true;
        }
    }

    /// Its completion came.
    pub fn end(&mut self, token: u64, status: Status, now_ms: u64) -> Result<Op, Rule> {
        let open = self.open.remove(&token).ok_or(Rule::EndedTwice)?;
        self.note(open.op.name(), &format!("{status:?}"));
        let fits = match status {
            Status::Ok | Status::Closed => true,
            Status::Timeout => !matches!(open.op, Op::Publish { .. }) && now_ms + SLACK_MS >= open.deadline_ms,
            Status::Cancelled => open.cancelled,
            other => open.op.may_end(other),
        };
        if matches!((&open.op, status), (Op::Promise { published: true, .. }, Status::Timeout)) {
            return Err(Rule::Promise);
        }
        if fits { Ok(open.op) } else { Err(Rule::Outcome) }
    }

    /// An inbox was closed: what would have ended there is discarded with it.
    pub fn discard(&mut self, inbox: u64) -> Vec<Op> {
        let tokens: Vec<u64> =
            self.open.iter().filter(|(_, open)| open.inbox == inbox).map(|(&token, _)| token).collect();
        tokens
            .iter()
            .filter_map(|token| {
                let op = self.open.remove(token)?.op;
                self.note(op.name(), "discarded with its inbox");
                Some(op)
            })
            .collect()
    }

    /// How many have not ended.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// What has not ended, for a person.
    pub fn left(&self) -> Vec<String> {
        self.open.iter().take(20).map(|(token, open)| format!("{token}: {open:?}")).collect()
    }
}

/// What is known of one publish through the library.
#[derive(Debug, Default, Clone, Copy)]
struct Fate {
    arrived: bool,
    /// It did not come where it had to, if it was sent.
    missed: bool,
    outcome: Option<(Status, u64)>,
}

impl Fate {
    fn judge(&self) -> Result<(), Rule> {
        let fits = match self.outcome {
            // Nobody knows, or not yet.
            None | Some((Status::Unknown | Status::Closed, _)) => true,
            Some((Status::Ok, receivers)) => !(self.missed || self.arrived && receivers == 0),
            Some(_) => !self.arrived,
        };
        if fits { Ok(()) } else { Err(Rule::Publish) }
    }
}

/// The publishes of one client through the library: what was said of each against what arrived.
#[derive(Debug, Default)]
pub struct Fates {
    first: u64,
    fates: VecDeque<Fate>,
}

/// How many publishes are remembered; far more than can be under way.
const REMEMBERED: usize = 20_000;

impl Fates {
    /// One more; its number.
    pub fn begin(&mut self) -> u64 {
        if self.fates.len() == REMEMBERED {
            self.fates.pop_front();
            self.first += 1;
        }
        self.fates.push_back(Fate::default());
        self.next() - 1
    }

    /// The next one's number.
    pub fn next(&self) -> u64 {
        self.first + self.fates.len() as u64
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut Fate)) -> Result<(), Rule> {
        let Some(index) = number.checked_sub(self.first) else { return Ok(()) };
        let fate = self.fates.get_mut(index as usize).ok_or(Rule::Phantom)?;
        change(fate);
        fate.judge()
    }

    /// It arrived.
    pub fn arrived(&mut self, number: u64) -> Result<(), Rule> {
        self.change(number, |fate| fate.arrived = true)
    }

    /// It did not arrive where everything that was sent had to.
    pub fn missed(&mut self, number: u64) -> Result<(), Rule> {
        self.change(number, |fate| fate.missed = true)
    }

    /// What the library said of it.
    pub fn outcome(&mut self, number: u64, status: Status, receivers: u64) -> Result<(), Rule> {
        self.change(number, |fate| fate.outcome = Some((status, receivers)))
    }
}
