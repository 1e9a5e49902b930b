//! The ready list of a client: which inboxes have something to take. It is to inboxes what epoll is to sockets.
//!
//! An inbox enters when it becomes non-empty or ends, and again when a take leaves records behind. The descriptor is
//! readable exactly while the list is not empty. Lock order: an inbox' lock is never held while this one is taken.

use super::inbox::Inbox;
use crate::error::Status;
use crate::sync::{Arc, Condvar, Mutex, lock, wait};
use crate::sys::Event;
use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct List {
    inboxes: VecDeque<Arc<Inbox>>,
    wakes: usize,
    closed: bool,
    event: Option<Event>,
}

/// The list, and whoever waits for it.
#[derive(Debug, Default)]
pub struct Ready {
    list: Mutex<List>,
    filled: Condvar,
}

impl Ready {
    /// Puts an inbox on the list, unless it is there.
    pub(super) fn enter(&self, inbox: &Arc<Inbox>) {
        if inbox.is_listed() {
            return;
        }
        let mut list = lock(&self.list);
        if list.closed || !inbox.mark_listed() {
            return;
        }
        list.inboxes.push_back(Arc::clone(inbox));
        if list.inboxes.len() == 1
            && let Some(event) = &list.event
        {
            event.raise();
        }
        drop(list);
        self.filled.notify_one();
    }

    /// Takes up to `capacity` inboxes off the list, waiting for the first. An empty result means that it was woken.
    pub fn wait(&self, limit: Option<Duration>, capacity: usize) -> Result<Vec<Arc<Inbox>>, Status> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut list = lock(&self.list);
        loop {
            if !list.inboxes.is_empty() {
                let count = capacity.min(list.inboxes.len());
                let popped: Vec<_> = list.inboxes.drain(..count).collect();
                popped.iter().for_each(|inbox| inbox.clear_listed());
                if list.inboxes.is_empty() {
                    if let Some(event) = &list.event {
                        event.clear();
                    }
                } else {
                    self.filled.notify_one();
                }
                return Ok(popped);
            }
            if list.wakes > 0 {
                list.wakes -= 1;
                return Ok(Vec::new());
            }
            if list.closed {
                return Err(Status::Closed);
            }
            let left = match (limit, deadline) {
                (Some(_), Some(deadline)) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Status::Timeout);
                    }
                    Some(left)
                }
                _ => None,
            };
            list = wait(&self.filled, list, left);
        }
    }

    /// Makes one wait, running or the next, return with nothing.
    pub fn wake(&self) {
        lock(&self.list).wakes += 1;
        self.filled.notify_one();
    }

    /// The descriptor, made when first asked for.
    pub fn fd(&self) -> io::Result<RawFd> {
        let mut list = lock(&self.list);
        if let Some(event) = &list.event {
            return Ok(event.fd());
        }
        let event = Event::new()?;
        if !list.inboxes.is_empty() {
            event.raise();
        }
        let fd = event.fd();
        list.event = Some(event);
        Ok(fd)
    }

    /// Ends every wait once the list is empty.
    pub fn close(&self) {
        lock(&self.list).closed = true;
        self.filled.notify_all();
    }

    /// Forgets the inboxes on the list, which would otherwise hold each other alive.
    pub fn clear(&self) {
        let mut list = lock(&self.list);
        let inboxes = std::mem::take(&mut list.inboxes);
        if let Some(event) = &list.event {
            event.clear();
        }
        drop(list);
        drop(inboxes);
    }
}
