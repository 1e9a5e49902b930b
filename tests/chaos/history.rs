//! What a subscription saw last, so that a violation can be shown with what was around it. Runs of messages are one event.

use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::sync::OnceLock;
use std::time::Instant;

/// How many events are remembered.
const KEPT: usize = 60;

/// Something that a subscription saw, or that was asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Messages { first: u64, last: u64, count: u64 },
    Dropped { count: u64 },
    Lost { outages: u64 },
    Active { generation: u64 },
    ActiveName { name: usize },
    Refused { name: usize },
    Asked { name: usize, add: bool },
    Ended { name: usize, add: bool, well: bool },
    Barrier { to: u64 },
    Waited,
    Stopped,
    Restarted { generation: u64 },
    Closing,
    Closed,
}

/// Milliseconds since the first look.
pub fn now_ms() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// The last events, oldest first: messages and drops apart, or a flood of them would push out what is said of names.
#[derive(Debug, Default)]
pub struct History {
    events: VecDeque<(u64, Event)>,
    flow: VecDeque<(u64, Event)>,
}

impl History {
    /// One more event.
    pub fn push(&mut self, event: Event) {
        let flows = matches!(event, Event::Messages { .. } | Event::Dropped { .. } | Event::Barrier { .. });
        let events = if flows { &mut self.flow } else { &mut self.events };
        if events.len() == KEPT {
            events.pop_front();
        }
        events.push_back((now_ms(), event));
    }

    /// One more message; it joins the run before it if it follows closely.
    pub fn message(&mut self, number: u64) {
        if let Some((_, Event::Messages { last, count, .. })) = self.flow.back_mut()
            && number > *last
            && number - *last <= super::oracle::CHANNELS
        {
            (*last, *count) = (number, *count + 1);
            return;
        }
        self.push(Event::Messages { first: number, last: number, count: 1 });
    }

    /// A line an event, with the names of the subscription.
    pub fn lines(&self, names: &[String]) -> Vec<String> {
        let name = |index: usize| names.get(index).map_or("?", String::as_str);
        let line = |event: Event| match event {
            Event::Messages { first, last, count } => format!("{count} messages, from {first} to {last}"),
            Event::ActiveName { name: index } => format!("active {}", name(index)),
            Event::Refused { name: index } => format!("refused {}", name(index)),
            Event::Asked { name: index, add } => format!("asked to {} {}", verb(add), name(index)),
            Event::Ended { name: index, add, well } => {
                format!("{} of {} ended{}", verb(add), name(index), if well { "" } else { ", not well" })
            }
            other => format!("{other:?}"),
        };
        let mut events: Vec<(u64, Event)> = self.events.iter().chain(&self.flow).copied().collect();
        events.sort_by_key(|&(at, _)| at);
        events.iter().map(|&(at, event)| format!("{:>9.3} s  {}", at as f64 / 1000.0, line(event))).collect()
    }
}

fn verb(add: bool) -> &'static str {
    if add { "add" } else { "remove" }
}

/// A number as a person reads it: 1,234,567.
pub struct Grouped(pub u64);

impl Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}
