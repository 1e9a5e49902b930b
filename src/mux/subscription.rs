//! What a caller does with subscriptions and promises, each as one step under the mux' lock.
//!
//! Every operation reserves the room of its completion first, so that what somebody waits for is never dropped.

use super::hub::Hub;
use super::ops::{COMPLETION_ROOM, Op, REFUSED_ROOM, What};
use super::promise::{Promises, pattern_of};
use super::{Mux, Role};
use crate::error::{Error, Result, Status};
use crate::inbox::Inbox;
use crate::inbox::record::RECORD_SIZE;
use crate::proto::resp::Kind;
use crate::sync::{Arc, MutexGuard, lock};
use std::time::{Duration, Instant};

/// Where an operation completes: the inbox, the caller's number, and until when.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// Where the completion goes; none is the source's own inbox.
    pub inbox: Option<Arc<Inbox>>,
    /// The caller's number.
    pub token: u64,
    /// When it ends with `TIMEOUT`; none is never.
    pub deadline: Option<Instant>,
}

impl Hub {
    fn check_name(&self, name: &[u8]) -> Result<()> {
        let most = self.settings.limits.max_name;
        if name.len() > most {
            let text = format!("a name has {} bytes; max_name is {most}", name.len());
            return Err(Error::new(Status::TooLarge, text));
        }
        Ok(())
    }

    fn op(&self, mux: &Mux, slot: u32, source: u64, ticket: Ticket, room: usize, what: What) -> Result<Op> {
        let inbox = ticket.inbox.or_else(|| mux.inbox_of(slot)).ok_or(Status::Closed)?;
        inbox.reserve(room).map_err(|status| match status {
            Status::Full => Error::new(status, format!("the inbox has no room for a completion of {room} bytes")),
            other => other.into(),
        })?;
        Ok(Op { inbox, token: ticket.token, source, room, deadline: ticket.deadline, what })
    }

    /// Lets the mux go and wakes the tasks that have something to do now.
    fn leave(&self, mut mux: MutexGuard<'_, Mux>) {
        let timer = mux.needs_timer();
        let work = mux.registry.backlog().0 > 0;
        drop(mux);
        if timer {
            self.timers.notify_one();
        }
        if work {
            self.work.notify_one();
        }
        // A full inbox that had made the link wait may have nothing subscribed any more.
        self.room();
    }

    /// A subscription to channels, without any yet, or to one pattern.
    pub fn subscribe(
        &self,
        source: u64,
        token: u64,
        inbox: &Arc<Inbox>,
        pattern: Option<(&[u8], Ticket)>,
    ) -> Result<()> {
        if let Some((pattern, _)) = &pattern {
            self.check_name(pattern)?;
        }
        let kind = if pattern.is_some() { Kind::Pattern } else { Kind::Channel };
        lock(&self.mux).open(source, token, inbox, kind, Role::Subscription)?;
        if let Some((pattern, ticket)) = pattern
            && let Err(error) = self.add_names(source, &[pattern], ticket, true)
        {
            let mut mux = lock(&self.mux);
            if let Ok(slot) = mux.slot(source) {
                mux.close_source(slot, error.status());
            }
            return Err(error);
        }
        Ok(())
    }

    /// Adds channels; completes when they are active or refused. A pattern subscription has one pattern for its life.
    pub fn add(&self, source: u64, names: &[&[u8]], ticket: Ticket) -> Result<()> {
        self.add_names(source, names, ticket, false)
    }

    fn add_names(&self, source: u64, names: &[&[u8]], ticket: Ticket, pattern: bool) -> Result<()> {
        for name in names {
            self.check_name(name)?;
        }
        let room = COMPLETION_ROOM + names.iter().map(|name| REFUSED_ROOM + name.len()).sum::<usize>();
        let mut mux = lock(&self.mux);
        let slot = mux.slot(source)?;
        if !pattern && mux.registry.kind(slot) == Some(Kind::Pattern) {
            return Err(Error::new(Status::Conflict, "a pattern subscription has one pattern for its whole life"));
        }
        let what = What::Add { slot, remaining: names.len(), active: 0, refused: 0, superseded: 0, lost: false };
        let op = self.op(&mux, slot, source, ticket, room, what)?;
        let id = mux.ops.begin(op);
        if names.is_empty() {
            mux.end_add(id);
        }
        for name in names {
            mux.registry.add(slot, name, Some(id));
        }
        mux.apply(Instant::now());
        self.leave(mux);
        Ok(())
    }

    /// Removes names; completes when the server let them go, or somebody else here still has them.
    pub fn remove(&self, source: u64, names: &[&[u8]], ticket: Ticket) -> Result<()> {
        let mut mux = lock(&self.mux);
        let slot = mux.slot(source)?;
        if matches!(mux.target(slot).map(|target| &target.role), Some(Role::Promises(_) | Role::Promise(_))) {
            return Err(Status::Conflict.into());
        }
        let what = What::Leave { slot, remaining: names.len() + 1, drain: false };
        let op = self.op(&mux, slot, source, ticket, COMPLETION_ROOM, what)?;
        let id = mux.ops.begin(op);
        let mut absent = 1;
        for name in names {
            if !mux.registry.remove(slot, name, Some(id)) {
                absent += 1;
            }
        }
        self.settle_leave(mux, id, absent);
        Ok(())
    }

    /// Counts the names that were not there, and one for the call itself, which kept it from ending too early.
    fn settle_leave(&self, mut mux: MutexGuard<'_, Mux>, id: u64, absent: usize) {
        mux.apply(Instant::now());
        if let Some(What::Leave { remaining, .. }) = mux.ops.get_mut(id).map(|op| &mut op.what) {
            *remaining -= absent;
            if *remaining == 0 {
                mux.end_leave(id);
            }
        }
        self.leave(mux);
    }

    /// Removes all names. A drain first has everything delivered that is on its way, and closes the subscription after the
    /// server let the names go.
    pub fn clear(&self, source: u64, drain: bool, ticket: Ticket) -> Result<()> {
        let mut mux = lock(&self.mux);
        let slot = mux.slot(source)?;
        if matches!(mux.target(slot).map(|target| &target.role), Some(Role::Promises(_) | Role::Promise(_))) {
            return Err(Status::Conflict.into());
        }
        let what = What::Leave { slot, remaining: 1, drain };
        let op = self.op(&mux, slot, source, ticket, COMPLETION_ROOM, what)?;
        let id = mux.ops.begin(op);
        if drain && mux.online() {
            // What the server sent before it reads this PING comes before its answer, and is still wanted until then.
            mux.pings.push(id);
            self.leave(mux);
            self.work.notify_one();
            return Ok(());
        }
        mux.let_go(id);
        self.leave(mux);
        Ok(())
    }

    /// Completes when every name of the source is active or refused.
    pub fn wait_active(&self, source: u64, ticket: Ticket) -> Result<()> {
        self.wait_whole(source, ticket, false)
    }

    /// The same for a source that is of no use without its name: where Redis refused it, this ends as `REFUSED`.
    pub fn wait_allowed(&self, source: u64, ticket: Ticket) -> Result<()> {
        self.wait_whole(source, ticket, true)
    }

    fn wait_whole(&self, source: u64, ticket: Ticket, insist: bool) -> Result<()> {
        let mut mux = lock(&self.mux);
        let slot = mux.slot(source)?;
        // A set whose pattern is refused has nothing more to wait for, and is not active.
        let insist = insist || matches!(mux.target(slot).map(|target| &target.role), Some(Role::Promises(_)));
        let op = self.op(&mux, slot, source, ticket, COMPLETION_ROOM, What::Active { slot, insist })?;
        let id = mux.ops.begin(op);
        if mux.registry.is_whole(slot) {
            mux.end_wait(id, slot, insist);
        } else if let Some(target) = mux.target_mut(slot) {
            target.waiters.push(id);
        }
        self.leave(mux);
        Ok(())
    }

    /// The names that a source has, in no order.
    pub fn names_of(&self, source: u64) -> Result<Vec<Vec<u8>>> {
        let mux = lock(&self.mux);
        let slot = mux.slot(source)?;
        let names = mux.registry.names();
        let name = |id| names.get(id).map(|entry| entry.name.to_vec());
        Ok(mux.registry.members(slot).into_iter().filter_map(name).collect())
    }

    /// Closes a source: `closed` is its last record.
    pub fn close_source(&self, source: u64) -> Result<()> {
        let mut mux = lock(&self.mux);
        let slot = mux.slot(source)?;
        mux.close_source(slot, Status::Ok);
        self.leave(mux);
        Ok(())
    }

    /// A set of promises under a prefix: one pattern, whatever the number of promises.
    pub fn promises(&self, source: u64, token: u64, inbox: &Arc<Inbox>, prefix: &[u8]) -> Result<()> {
        let pattern = pattern_of(prefix);
        self.check_name(&pattern)?;
        let mut mux = lock(&self.mux);
        let slot = mux.open(source, token, inbox, Kind::Pattern, Role::Promises(Promises::new(prefix)))?;
        mux.registry.add(slot, &pattern, None);
        mux.apply(Instant::now());
        self.leave(mux);
        Ok(())
    }

    fn promised_name(&self, mux: &Mux, slot: u32, suffix: &[u8]) -> Result<Box<[u8]>> {
        let Some(Role::Promises(promises)) = mux.target(slot).map(|target| &target.role) else {
            return Err(Status::Closed.into());
        };
        let name = [&promises.prefix, suffix].concat();
        self.check_name(&name)?;
        Ok(name.into())
    }

    /// Makes a promise now; `INACTIVE` if the set is not subscribed at this moment.
    pub fn promise(&self, source: u64, suffix: &[u8], ticket: Ticket) -> Result<()> {
        let mut mux = lock(&self.mux);
        let slot = mux.slot(source)?;
        let name = self.promised_name(&mux, slot, suffix)?;
        if !mux.promises_active(slot) {
            return Err(Status::Inactive.into());
        }
        let room = RECORD_SIZE + name.len();
        let op = self.op(&mux, slot, source, ticket, room, What::Promise { slot, name, alone: false })?;
        mux.promise(slot, op)?;
        self.leave(mux);
        Ok(())
    }

    /// Makes a promise as soon as the set is active. `ticket` bounds the wait; `timeout` begins when it is made.
    pub fn promise_later(&self, source: u64, suffix: &[u8], ticket: Ticket, timeout: Option<Duration>) -> Result<()> {
        let mut mux = lock(&self.mux);
        let slot = mux.slot(source)?;
        let name = self.promised_name(&mux, slot, suffix)?;
        let room = RECORD_SIZE + name.len();
        let op = self.op(&mux, slot, source, ticket, room, What::Maker { slot, name, timeout })?;
        mux.promise_later(slot, op, Instant::now());
        self.leave(mux);
        Ok(())
    }

    /// One promise on one channel, subscribed while somebody waits. `active` says when it is in effect.
    pub fn promise_alone(&self, source: u64, name: &[u8], inbox: &Arc<Inbox>, ticket: Ticket) -> Result<()> {
        self.check_name(name)?;
        let mut mux = lock(&self.mux);
        let slot = mux.open(source, ticket.token, inbox, Kind::Channel, Role::Subscription)?;
        let what = What::Promise { slot, name: name.into(), alone: true };
        let room = RECORD_SIZE + name.len();
        match self.op(&mux, slot, source, ticket, room, what) {
            Ok(op) => {
                let id = mux.ops.begin(op);
                if let Some(target) = mux.target_mut(slot) {
                    target.role = Role::Promise(id);
                }
                mux.registry.add(slot, name, None);
                mux.apply(Instant::now());
                self.leave(mux);
                Ok(())
            }
            Err(error) => {
                mux.close_source(slot, error.status());
                Err(error)
            }
        }
    }

    /// Fails every promise of a set, which goes on. Returns how many.
    pub fn clear_promises(&self, source: u64) -> Result<usize> {
        let mut mux = lock(&self.mux);
        let slot = mux.slot(source)?;
        if !matches!(mux.target(slot).map(|target| &target.role), Some(Role::Promises(_))) {
            return Err(Status::Closed.into());
        }
        Ok(mux.end_promises(slot, Status::Cancelled))
    }
}
