//! Room that is set aside: a completion always has its place, because its call was refused where there was none.

use super::budget::Policy;
use super::inbox::{Inbox, Phase, Pushed, State};
use super::record::RecordIn;
use crate::error::Status;
use crate::sync::{Arc, lock};

impl Inbox {
    /// Sets room aside for a completion. `FULL` if there is none; with `drop-oldest` messages give way, and none goes
    /// for a reservation that fails.
    pub fn reserve(&self, bytes: usize) -> Result<(), Status> {
        let mut state = lock(&self.state);
        if state.phase != Phase::Open {
            return Err(Status::Closed);
        }
        let before = state.bytes();
        if !self.has_room_beside(&state, before, before, bytes) {
            return Err(Status::Full);
        }
        state.reserved += bytes;
        if self.config.policy == Policy::DropOldest {
            let dropped = self.shed(&mut state, before);
            self.count_dropped(&mut state, dropped);
        }
        self.charge(&mut state, before);
        Ok(())
    }

    /// Whether `bytes` fit beside `used` when the messages that may give way have done so.
    fn has_room_beside(&self, state: &State, charged: usize, used: usize, bytes: usize) -> bool {
        let yielding = if self.config.policy == Policy::DropOldest { state.queue.droppable_cost() } else { 0 };
        let needed = (used - yielding.min(used)).saturating_add(bytes);
        used == 0 || needed <= self.config.bytes && self.beside(charged).saturating_add(needed) <= self.budget.limit
    }

    /// Gives back room that was set aside and is not needed.
    pub fn unreserve(&self, bytes: usize) {
        let mut state = lock(&self.state);
        let before = state.bytes();
        state.reserved = state.reserved.saturating_sub(bytes);
        self.charge(&mut state, before);
        let freed = state.bytes() < before;
        drop(state);
        if freed {
            (self.on_room)();
        }
    }

    /// Delivers a completion into the room that was set aside for it.
    pub fn complete(self: &Arc<Inbox>, record: &RecordIn<'_>, reserved: usize) -> Pushed {
        self.complete_all(std::iter::once(*record), reserved)
    }

    /// Delivers completions, each into `reserved` bytes that were set aside for it, and tells whoever waits once.
    pub fn complete_all<'a>(
        self: &Arc<Inbox>,
        records: impl ExactSizeIterator<Item = RecordIn<'a>>,
        reserved: usize,
    ) -> Pushed {
        let mut state = lock(&self.state);
        let (pushed, freed) = self.place_completions(&mut state, records, reserved);
        if state.phase == Phase::Open {
            self.tell(state);
        }
        if freed {
            (self.on_room)();
        }
        pushed
    }

    /// Delivers a completion; whoever waits is not told before `announce`.
    pub fn complete_quietly(&self, record: &RecordIn<'_>, reserved: usize) {
        let (_, freed) = self.place_completions(&mut lock(&self.state), std::iter::once(*record), reserved);
        if freed {
            (self.on_room)();
        }
    }

    /// Also says whether there is more room than before.
    fn place_completions<'a>(
        &self,
        state: &mut State,
        records: impl ExactSizeIterator<Item = RecordIn<'a>>,
        reserved: usize,
    ) -> (Pushed, bool) {
        let before = state.bytes();
        state.reserved = state.reserved.saturating_sub(reserved * records.len());
        if state.phase != Phase::Open {
            self.charge(state, before);
            return (Pushed::default(), false);
        }
        for record in records {
            Inbox::append(state, &record);
        }
        let freed = state.bytes() < before;
        (self.account(state, before, Pushed::default()), freed)
    }

    /// Delivers a record that somebody waits for, if it has room; `false` if it has none. Whoever waits is not told before
    /// `announce`.
    pub fn offer_quietly(&self, record: &RecordIn<'_>) -> bool {
        let mut state = lock(&self.state);
        let before = state.bytes();
        if state.phase != Phase::Open || !self.has_room_beside(&state, before, before, record.cost()) {
            return false;
        }
        Inbox::append(&mut state, record);
        self.account(&mut state, before, Pushed::default());
        true
    }

    /// Whether a record of so many bytes has room beside what waits, `reserved` of it set aside before.
    pub fn fits(&self, bytes: usize, reserved: usize) -> bool {
        let state = lock(&self.state);
        let before = state.bytes();
        self.has_room_beside(&state, before, before.saturating_sub(reserved), bytes)
    }
}
