//! The judge of one subscription: every record that its inbox gave, held against what was published. Pure: no clock, no
//! socket, no thread; `oracle_tests` plants every fault that it must see.
//!
//! A publisher numbers its messages 0, 1, 2, ... and sends number k to its channel k mod 32, over one connection. So the
//! server has one order for all of them, and a subscription must see the numbers of its channels in that order. Between two
//! messages that it got lies a **hole**, mostly an empty one. What is missing in a hole must be
//!
//! * counted, exactly, by the `dropped` marks in it; or
//! * of a channel that need not have been there: before its `active`, from `lost` until it came back, after it was removed; or
//! * never answered by the server to its publisher, so that nobody knows whether it was published at all.
//!
//! Whoever reads `active` looks at what the publisher sends next: from that number on nothing may be missing. That is all
//! the clock there is, and it holds without one: the number was sent after the server had acknowledged the name.
//! Memory is bounded: a subscription keeps a number, not a set of numbers.

use super::history::{Event, History};

/// How many channels a stream has.
pub const CHANNELS: u64 = 32;

/// Some of the channels of a stream.
pub type Mask = u32;

/// What is known of the streams without the library.
pub trait Truth {
    /// The first number that was not yet handed to a socket.
    fn next(&self, stream: usize) -> u64;
    /// How many numbers of `from..to` on these channels were never answered, so that they may not have been published.
    fn unanswered(&self, stream: usize, from: u64, to: u64, mask: Mask) -> u64;
}

/// How many numbers of `from..to` belong to these channels.
pub fn count(from: u64, to: u64, mask: Mask) -> u64 {
    if from >= to {
        return 0;
    }
    let length = to - from;
    let turned = mask.rotate_right((from % CHANNELS) as u32);
    let rest = (1u64 << (length % CHANNELS)) - 1;
    length / CHANNELS * u64::from(mask.count_ones()) + u64::from((turned & rest as u32).count_ones())
}

/// What must never happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// A message came that was never published.
    Phantom,
    /// A message came twice in a row.
    Twice,
    /// A message came after one that was published later.
    Order,
    /// In its inbox a message stands behind one that was published later.
    OrderInInbox { number: u64, behind: u64 },
    /// Messages are missing that nothing explains.
    Missing { must: u64, dropped: u64 },
    /// More messages are said to be dropped than there can have been.
    Overcounted { may: u64, dropped: u64 },
    /// A message of a name that is not wanted (any more).
    Unwanted,
    /// A message of a name before its `active`.
    BeforeActive,
    /// `active` of the whole subscription without a `lost` before it.
    ActiveWithoutLost,
    /// The generation of `active` did not grow.
    Generation,
    /// A record behind `closed`.
    AfterClosed,
    /// A record of a source that is not there, or of a name that it never had.
    Stranger,
    /// Payload, channel or pattern are not what was published.
    Damaged,
    /// At the end a wanted name is neither active nor refused.
    NotWhole,
    /// A closed subscription never said so.
    NotClosed,
    /// An operation ended twice, or was never asked for.
    EndedTwice,
    /// An operation did not end.
    NeverEnded,
    /// An operation ended as it cannot.
    Outcome,
    /// A publish that was said not to be sent arrived, or one that was answered did not.
    Publish,
    /// A promise was not kept though its message came, or was kept with another message.
    Promise,
    /// Handles are left, or something else of the world is not as it must be.
    World,
}

/// Where a name stands, as far as its reader can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not wanted, and its removal is over.
    Off,
    /// Asked for; nothing may come before its `active`.
    Adding,
    /// Everything from this number on must come.
    On { from: u64 },
    /// The link was lost: from the first message on, or from `active`, everything must come again.
    Gap,
    /// Let go: it may come until the removal is done.
    Leaving,
    /// Removed and added at once, or the client is stopped without a word: nothing can be said until all is settled.
    Fuzzy,
    /// The server refused it; nothing may come before its `active`.
    Refused,
}

impl State {
    /// Whether messages of it may come.
    fn possible(self) -> bool {
        !matches!(self, State::Off | State::Adding | State::Refused)
    }
}

/// One channel, or the pattern, of a subscription.
#[derive(Debug)]
pub struct Name {
    pub text: String,
    pub mask: Mask,
    pub state: State,
    /// What was asked for last.
    pub wanted: bool,
    /// Adds and removes that have not ended.
    pub open: u32,
    /// It was refused at a moment when nothing could be said about it: only its own `active` says that it is there.
    pub doubtful: bool,
}

impl Name {
    /// Whether it is in doubt, and what says that the subscription is whole speaks of it too.
    fn settles(&self) -> bool {
        self.state == State::Fuzzy && self.wanted && self.open == 0 && !self.doubtful
    }
}

/// A subscription as its reader sees it.
#[derive(Debug)]
pub struct Source {
    pub label: String,
    pub stream: usize,
    pub names: Vec<Name>,
    pub history: History,
    pub closed: bool,
    pub lost: bool,
    /// Delivered, dropped, outages.
    pub messages: u64,
    pub dropped: u64,
    pub outages: u64,
    /// How many messages lost spans and unanswered publishes excused.
    pub excused: u64,
    at: [u8; CHANNELS as usize],
    /// The first number behind the last message.
    next: u64,
    last: Option<u64>,
    hole: u64,
    /// Channels of which something may have come in this hole; and of which something may come now.
    touched: Mask,
    possible: Mask,
    generation: u64,
    /// The client was stopped: `Some(None)` until the generation is known from which on it runs again.
    stopped: Option<Option<u64>>,
    closing: bool,
    cached_next: u64,
}

const NOBODY: u8 = u8::MAX;

impl Source {
    /// A subscription that gets numbers of `stream`, with names that may be added to it.
    pub fn new(label: &str, stream: usize, names: &[(String, Mask)]) -> Source {
        let mut at = [NOBODY; CHANNELS as usize];
        for (index, (_, mask)) in names.iter().enumerate() {
            (0..CHANNELS as usize).filter(|bit| mask >> bit & 1 == 1).for_each(|bit| at[bit] = index as u8);
        }
        let name = |(text, mask): &(String, Mask)| Name {
            text: text.clone(),
            mask: *mask,
            state: State::Off,
            wanted: false,
            open: 0,
            doubtful: false,
        };
        Source {
            label: label.to_owned(),
            stream,
            names: names.iter().map(name).collect(),
            history: History::default(),
            closed: false,
            lost: false,
            messages: 0,
            dropped: 0,
            outages: 0,
            excused: 0,
            at,
            next: 0,
            last: None,
            hole: 0,
            touched: 0,
            possible: 0,
            generation: 0,
            stopped: None,
            closing: false,
            cached_next: 0,
        }
    }

    fn set(&mut self, index: usize, state: State) {
        let Some(name) = self.names.get_mut(index) else { return };
        name.state = state;
        name.doubtful &= !matches!(state, State::On { .. } | State::Off);
        let masks = self.names.iter().filter(|name| name.state.possible()).map(|name| name.mask);
        self.possible = masks.fold(0, |all, mask| all | mask);
        self.touched |= self.possible;
    }

    /// The name with that text.
    pub fn find(&self, text: &str) -> Result<usize, Rule> {
        self.names.iter().position(|name| name.text == text).ok_or(Rule::Stranger)
    }

    fn each(&mut self, mut new: impl FnMut(&Name) -> Option<State>) {
        for index in 0..self.names.len() {
            if let Some(state) = self.names.get(index).and_then(&mut new) {
                self.set(index, state);
            }
        }
    }

    /// A message with that number; how many are missing before it, that nothing but the gap of a link excuses.
    pub fn message(&mut self, number: u64, truth: &impl Truth) -> Result<(), Rule> {
        self.history.message(number);
        if self.closed {
            return Err(Rule::AfterClosed);
        }
        if number >= self.cached_next {
            self.cached_next = truth.next(self.stream);
            if number >= self.cached_next {
                return Err(Rule::Phantom);
            }
        }
        if self.last == Some(number) {
            return Err(Rule::Twice);
        }
        if number < self.next {
            return Err(Rule::Order);
        }
        let index = usize::from(self.at[(number % CHANNELS) as usize]);
        let state = self.names.get(index).ok_or(Rule::Stranger)?.state;
        match state {
            State::Off => return Err(Rule::Unwanted),
            State::Adding | State::Refused => return Err(Rule::BeforeActive),
            _ => {}
        }
        if self.hole > 0 || count(self.next, number, self.touched) > 0 {
            let must = self.owed(number, truth);
            let may = count(self.next, number, self.touched);
            if self.hole < must {
                return Err(Rule::Missing { must, dropped: self.hole });
            }
            if self.hole > may {
                return Err(Rule::Overcounted { may, dropped: self.hole });
            }
            // What came before its first message was never its own.
            self.excused += if self.last.is_some() { may - self.hole } else { 0 };
        }
        if state == State::Gap {
            self.set(index, State::On { from: number });
        }
        self.next = number + 1;
        self.last = Some(number);
        self.hole = 0;
        self.touched = self.possible;
        self.messages += 1;
        Ok(())
    }

    /// How many numbers below `to` must have come since the last message, dropped ones included.
    fn owed(&self, to: u64, truth: &impl Truth) -> u64 {
        let owed = |name: &Name| match name.state {
            State::On { from } => {
                let from = from.max(self.next);
                count(from, to, name.mask) - truth.unanswered(self.stream, from, to, name.mask)
            }
            _ => 0,
        };
        self.names.iter().map(owed).sum()
    }

    /// The numbers below `to` that must have come by now and did not.
    pub fn missing(&self, to: u64) -> impl Iterator<Item = u64> + '_ {
        let next = self.next;
        let must = move |number: &u64| {
            let index = usize::from(self.at[(number % CHANNELS) as usize]);
            matches!(self.names.get(index).map(|name| name.state), Some(State::On { from }) if *number >= from)
        };
        (next..to).filter(must)
    }

    /// Everything below `to` was answered to its publisher, and a barrier came back behind it.
    pub fn barrier(&mut self, to: u64, truth: &impl Truth) -> Result<(), Rule> {
        self.history.push(Event::Barrier { to });
        let must = self.owed(to, truth);
        if self.closed || self.hole >= must { Ok(()) } else { Err(Rule::Missing { must, dropped: self.hole }) }
    }

    /// Messages that had no room.
    pub fn dropped(&mut self, count: u64) -> Result<(), Rule> {
        self.history.push(Event::Dropped { count });
        self.hole += count;
        self.dropped += count;
        self.open()
    }

    fn open(&self) -> Result<(), Rule> {
        if self.closed { Err(Rule::AfterClosed) } else { Ok(()) }
    }

    /// The link was lost.
    pub fn lost(&mut self, outages: u64) -> Result<(), Rule> {
        self.history.push(Event::Lost { outages });
        self.open()?;
        self.lost = true;
        self.outages += outages;
        self.each(|name| matches!(name.state, State::On { .. }).then_some(State::Gap));
        Ok(())
    }

    /// The whole subscription is active again.
    pub fn active(&mut self, generation: u64, truth: &impl Truth) -> Result<(), Rule> {
        self.history.push(Event::Active { generation });
        self.open()?;
        if !self.lost && self.stopped.is_none() {
            return Err(Rule::ActiveWithoutLost);
        }
        if generation <= self.generation {
            return Err(Rule::Generation);
        }
        (self.generation, self.lost) = (generation, false);
        let from = truth.next(self.stream);
        let settled = match self.stopped {
            None => true,
            Some(Some(again)) if generation >= again => {
                self.stopped = None;
                true
            }
            _ => false,
        };
        self.each(|name| match name.state {
            State::Gap if settled => Some(State::On { from }),
            State::Fuzzy if settled && name.settles() => Some(State::On { from }),
            _ => None,
        });
        Ok(())
    }

    /// One name is active.
    pub fn active_name(&mut self, text: &str, truth: &impl Truth) -> Result<(), Rule> {
        let index = self.find(text)?;
        self.history.push(Event::ActiveName { name: index });
        self.open()?;
        let stopped = self.stopped.is_some();
        let from = truth.next(self.stream);
        let Some(name) = self.names.get_mut(index) else { return Ok(()) };
        match name.state {
            State::Off => return Err(Rule::Unwanted),
            State::Adding | State::Refused | State::Gap if stopped => self.set(index, State::Fuzzy),
            State::Adding | State::Refused | State::Gap => self.set(index, State::On { from }),
            State::Fuzzy if name.wanted && name.open == 0 => {
                // Behind a refusal it is the newer word, and a later refusal would be said again.
                name.doubtful = false;
                if !stopped {
                    self.set(index, State::On { from });
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The server refused one name.
    pub fn refused(&mut self, text: &str) -> Result<(), Rule> {
        let index = self.find(text)?;
        self.history.push(Event::Refused { name: index });
        self.open()?;
        // It was let go, or is being added for the second time: what this says may be of the time before.
        if let Some(name) = self.names.get_mut(index) {
            match name.state {
                State::Leaving | State::Fuzzy => name.doubtful = true,
                _ => self.set(index, State::Refused),
            }
        }
        Ok(())
    }

    /// The name is being added: whatever is seen of it is seen later.
    pub fn adding(&mut self, index: usize) {
        self.history.push(Event::Asked { name: index, add: true });
        let Some(name) = self.names.get_mut(index) else { return };
        name.wanted = true;
        name.open += 1;
        match name.state {
            State::Off => self.set(index, State::Adding),
            State::Leaving => self.set(index, State::Fuzzy),
            // A second add is another try, which may have been answered before we hear of the first.
            State::Refused => self.set(index, State::Refused),
            _ => {}
        }
    }

    /// The name is being removed.
    pub fn removing(&mut self, index: usize) {
        self.history.push(Event::Asked { name: index, add: false });
        let Some(name) = self.names.get_mut(index) else { return };
        name.wanted = false;
        name.open += 1;
        if name.state != State::Off {
            let state = if name.open > 1 { State::Fuzzy } else { State::Leaving };
            self.set(index, state);
        }
    }

    /// An add or a remove of the name ended, well or not.
    pub fn ended(&mut self, index: usize, add: bool, well: bool, truth: &impl Truth) {
        self.history.push(Event::Ended { name: index, add, well });
        let stopped = self.stopped.is_some();
        let from = truth.next(self.stream);
        let Some(name) = self.names.get_mut(index) else { return };
        name.open = name.open.saturating_sub(1);
        name.doubtful |= add && !well;
        let (open, wanted, state) = (name.open, name.wanted, name.state);
        if open > 0 || self.closing {
            return;
        }
        if !wanted {
            self.set(index, State::Off);
        } else if add && well && state == State::Fuzzy && !stopped {
            self.set(index, State::On { from });
        }
    }

    /// A wait for the whole subscription ended well, with that generation.
    pub fn waited(&mut self, generation: u64, truth: &impl Truth) {
        self.history.push(Event::Waited);
        if self.stopped.is_some_and(|again| again.is_some_and(|again| generation >= again)) && !self.lost {
            self.stopped = None;
        }
        if self.stopped.is_none() && !self.lost {
            let from = truth.next(self.stream);
            self.each(|name| name.settles().then_some(State::On { from }));
        }
    }

    /// The client is about to be stopped.
    pub fn stopping(&mut self) {
        self.history.push(Event::Stopped);
        self.stopped = Some(None);
        self.each(|name| matches!(name.state, State::On { .. } | State::Gap).then_some(State::Fuzzy));
    }

    /// It runs again, from that generation on.
    pub fn restarted(&mut self, generation: u64, truth: &impl Truth) {
        self.history.push(Event::Restarted { generation });
        if self.stopped != Some(None) {
            return;
        }
        self.stopped = Some(Some(generation));
        if self.generation >= generation && !self.lost {
            self.stopped = None;
            let from = truth.next(self.stream);
            self.each(|name| name.settles().then_some(State::On { from }));
        }
    }

    /// It is about to be closed or drained: whatever comes until `closed`, need not.
    pub fn closing(&mut self) {
        self.history.push(Event::Closing);
        self.closing = true;
        self.each(|name| (name.state != State::Off).then_some(State::Fuzzy));
        self.names.iter_mut().for_each(|name| name.wanted = false);
    }

    /// Its last record.
    pub fn close(&mut self, truth: &impl Truth) -> Result<(), Rule> {
        self.history.push(Event::Closed);
        self.open()?;
        self.closed = true;
        let may = count(self.next, truth.next(self.stream), self.touched);
        if self.hole > may { Err(Rule::Overcounted { may, dropped: self.hole }) } else { Ok(()) }
    }

    /// What it saw last, and where its names stand, for a person.
    pub fn lines(&self) -> Vec<String> {
        let names: Vec<String> = self.names.iter().map(|name| name.text.clone()).collect();
        let mut lines = self.history.lines(&names);
        lines.push(format!("next is {}, dropped since the last message {}", self.next, self.hole));
        let said = |name: &Name| {
            let wanted = if name.wanted { "wanted" } else { "not wanted" };
            let doubt = if name.doubtful { ", in doubt" } else { "" };
            format!("{}: {:?}, {wanted}{doubt}, {} under way", name.text, name.state, name.open)
        };
        lines.extend(self.names.iter().map(said));
        lines.push(format!("stopped {:?}, lost {}", self.stopped, self.lost));
        lines
    }

    /// The end, when all is healed, after the last barrier: it must be whole.
    pub fn whole(&self) -> Result<(), Rule> {
        let whole = |name: &Name| match name.state {
            State::On { .. } => true,
            State::Off => !name.wanted,
            _ => false,
        };
        if self.closed || (!self.lost && self.names.iter().all(whole)) { Ok(()) } else { Err(Rule::NotWhole) }
    }
}
