//! What a user of a client does at random: one action a function.

use super::*;

impl Driver {
    pub(super) fn some_names(&mut self, of: usize) -> Vec<usize> {
        let count = self.random.within(1, 5);
        let mut names: Vec<usize> = (0..count).map(|_| self.random.within(0, of as u64 - 1) as usize).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    pub(super) fn any_timeout(&mut self) -> i64 {
        self.random.pick(&[(8, 5000), (1, 1), (1, 20)])
    }

    pub(super) fn a_changing_one(&mut self) -> Sub {
        let at = self.random.within(0, self.changing.len() as u64 - 1) as usize;
        self.changing[at].clone()
    }

    pub(super) fn toggle(&mut self) {
        let sub = self.a_changing_one();
        let (names, add) = (self.some_names(sub.names.len()), self.random.within(0, 9) < 6);
        let timeout = self.any_timeout();
        self.change(&sub, add, &names, timeout);
    }

    pub(super) fn flap(&mut self) {
        let sub = self.a_changing_one();
        let names = self.some_names(sub.names.len());
        for turn in 0..self.random.within(2, 6) {
            self.change(&sub, turn % 2 == 0, &names, 5000);
        }
    }

    pub(super) fn own_message(&mut self) -> (u64, String, Vec<u8>) {
        let stream = RAW + self.index;
        let number = locked(&self.world.streams.own[self.index]).begin();
        let mut data = Vec::new();
        streams::payload(stream, number, &mut data);
        (number, Streams::channel(stream, number), data)
    }

    pub(super) fn publish(&mut self) {
        for _ in 0..self.random.within(1, 20) {
            let (number, channel, data) = self.own_message();
            let timeout = self.any_timeout();
            let client = self.client;
            let (name, name_len, at, len) = (channel.as_ptr(), channel.len(), data.as_ptr(), data.len());
            let asked = self.ask(Op::Publish { number }, TAKE, timeout, |inbox, token| {
                redmux_client_publish(client, name, name_len, at, len, inbox, token, timeout)
            });
            if asked.is_none() {
                let _ = locked(&self.world.streams.own[self.index]).outcome(number, Status::NotSent, 0);
            }
        }
    }

    pub(super) fn post(&mut self) {
        for _ in 0..self.random.within(1, 20) {
            let (number, channel, data) = self.own_message();
            let (name, len) = (channel.as_ptr(), channel.len());
            let status = c::status(redmux_client_post(self.client, name, len, data.as_ptr(), data.len()));
            let fate = if status == Status::Ok { Status::Unknown } else { Status::NotSent };
            let _ = locked(&self.world.streams.own[self.index]).outcome(number, fate, 0);
            locked(&self.world.ledgers[self.index]).posted(status);
        }
    }

    pub(super) fn flush(&mut self) {
        let (client, timeout) = (self.client, self.any_timeout());
        self.ask(Op::Flush, TAKE, timeout, |inbox, token| redmux_client_flush(client, inbox, token, timeout));
    }

    pub(super) fn barrier_in(&mut self, inbox: usize, timeout: i64) -> Option<u64> {
        let (client, own) = (self.client, locked(&self.world.streams.own[self.index]).next());
        let op = Op::Barrier { raw: self.world.streams.answered(), own };
        self.ask(op, inbox, timeout, |inbox, token| redmux_client_barrier(client, inbox, token, timeout))
    }

    pub(super) fn barrier(&mut self) {
        let inbox = self.random.within(0, 3) as usize;
        let timeout = self.any_timeout();
        self.barrier_in(inbox, timeout);
    }

    pub(super) fn wait(&mut self) {
        let subs = self.lasting();
        let at = self.random.within(0, subs.len() as u64 - 1) as usize;
        let timeout = self.any_timeout();
        self.wait_for(&subs[at], timeout);
    }

    pub(super) fn wait_for(&self, sub: &Sub, timeout: i64) -> Option<u64> {
        let handle = sub.handle;
        let call = |_, token| redmux_subscription_active(handle, c::NO_INBOX, token, timeout);
        self.ask(Op::Wait { source: handle.id }, sub.inbox, timeout, call)
    }

    pub(super) fn ready_in(&mut self, restart: bool, timeout: i64) -> Option<u64> {
        let client = self.client;
        self.ask(Op::Ready { restart }, TAKE, timeout, |inbox, token| {
            redmux_client_ready(client, inbox, token, timeout)
        })
    }

    pub(super) fn ready(&mut self) {
        let timeout = self.any_timeout();
        self.ready_in(false, timeout);
        locked(&self.inboxes[TAKE].port.readied).clear();
    }

    /// A subscription that stays for a moment.
    pub(super) fn come(&mut self) {
        if self.short.len() >= 6 {
            return;
        }
        let stream = self.random.within(0, 1) as usize;
        let inbox = self.random.within(0, 3) as usize;
        let sub = if self.random.within(0, 3) == 0 {
            let tens = self.random.within(0, 2);
            let mask = (tens * 10..tens * 10 + 10).fold(0, |mask: Mask, at| mask | 1 << at);
            let letter = if stream == 0 { 'a' } else { 'b' };
            self.subscribe_pattern(inbox, stream, &format!("{letter}:{tens}?"), mask)
        } else {
            let first = self.random.within(0, CHANNELS - 5);
            let sub = self.subscribe(inbox, "for a moment", stream, &channels(stream, first..first + 4));
            self.change(&sub, true, &[0, 1, 2, 3], 5000);
            Some(sub)
        };
        self.short.extend(sub);
    }

    pub(super) fn go(&mut self) {
        if self.short.is_empty() {
            return;
        }
        let at = self.random.within(0, self.short.len() as u64 - 1) as usize;
        let drain = self.random.within(0, 2) > 0;
        let sub = self.short.swap_remove(at);
        self.end(&sub, drain);
        self.drained.retain(|sub| {
            let closed = locked(&self.inboxes[sub.inbox].port.judge)
                .seats
                .get(&sub.handle.id)
                .is_none_or(|seat| seat.source.closed);
            if closed {
                redmux_subscription_close(sub.handle);
            }
            !closed
        });
        self.inboxes.iter().for_each(|inbox| locked(&inbox.port.judge).tidy());
    }

    pub(super) fn end(&mut self, sub: &Sub, drain: bool) {
        let port = Arc::clone(&self.inboxes[sub.inbox].port);
        let mut judge = locked(&port.judge);
        if let Some(seat) = judge.seats.get_mut(&sub.handle.id) {
            seat.source.closing();
        }
        if !drain {
            redmux_subscription_close(sub.handle);
            return;
        }
        let timeout = self.any_timeout();
        let handle = sub.handle;
        let call = |_, token| redmux_subscription_drain(handle, c::NO_INBOX, token, timeout);
        if self.ask(Op::Drain, sub.inbox, timeout, call).is_some() {
            self.drained.push(sub.clone());
        } else {
            redmux_subscription_close(sub.handle);
        }
    }

    /// Cancels something that is under way, often enough in time.
    pub(super) fn cancel(&mut self) {
        let sub = self.a_changing_one();
        let names = self.some_names(sub.names.len());
        let add = self.random.within(0, 1) == 0;
        if let Some(token) = self.change(&sub, add, &names, 5000) {
            locked(&self.world.ledgers[self.index]).cancelling(token);
            redmux_inbox_cancel(self.inboxes[sub.inbox].handle, token);
        }
    }

    /// The gap of a stopped client has no `lost`, so its judges are told.
    pub(super) fn stop_and_restart(&mut self) {
        // Rarely: while it is stopped nothing else is proven.
        if self.random.within(0, 14) > 0 {
            return;
        }
        {
            let mut judges: Vec<_> = self.inboxes.iter().map(|inbox| locked(&inbox.port.judge)).collect();
            let seats = judges.iter_mut().flat_map(|judge| judge.seats.values_mut());
            seats.filter(|seat| !seat.source.closed).for_each(|seat| seat.source.stopping());
            assert_eq!(c::status(redmux_client_stop(self.client)), Status::Ok, "stop");
        }
        locked(&self.world.faults).push((now_ms(), "stop and restart", now_ms()));
        std::thread::sleep(Duration::from_millis(self.random.within(0, 20)));
        assert_eq!(c::status(redmux_client_restart(self.client)), Status::Ok, "restart");
        let port = Arc::clone(&self.inboxes[TAKE].port);
        loop {
            let token = self.ready_in(true, 5000).expect("ready after a restart");
            let mut found = None;
            eventually("ready ends", Duration::from_secs(20), || {
                found = locked(&port.readied).remove(&token);
                found.is_some()
            });
            if let Some((Status::Ok, generation)) = found {
                for inbox in &self.inboxes {
                    for seat in locked(&inbox.port.judge).seats.values_mut() {
                        seat.source.restarted(generation, &self.world.streams);
                    }
                }
                return;
            }
        }
    }

    /// An inbox that is closed with everything that delivers and completes there.
    pub(super) fn closed_inbox(&mut self) {
        let inbox =
            Inbox { handle: c::inbox(self.client, "{}"), port: Port::new(&self.world, self.index, "closed inbox") };
        let handle = inbox.handle;
        self.inboxes.push(inbox);
        let at = self.inboxes.len() - 1;
        let first = self.random.within(0, CHANNELS - 9);
        let sub = self.subscribe(at, "in a closed inbox", 0, &channels(0, first..first + 8));
        self.change(&sub, true, &[0, 1, 2, 3, 4, 5, 6, 7], 5000);
        let client = self.client;
        for _ in 0..3 {
            self.ask(Op::Flush, at, 5000, |inbox, token| redmux_client_flush(client, inbox, token, 5000));
        }
        let port = Arc::clone(&self.inboxes[at].port);
        c::take_all(handle, self.random.within(0, 20) as i64, 8, |records, data| c::Hears::hear(&*port, records, data));
        assert_eq!(c::status(redmux_inbox_close(handle, -1)), Status::Ok, "closing an inbox");
        redmux_subscription_close(sub.handle);
        locked(&self.world.ledgers[self.index]).discard(handle.id);
        self.inboxes.pop();
        locked(&self.world.ports).retain(|other| !Arc::ptr_eq(other, &port));
    }

    /// A promise, mostly kept.
    pub(super) fn promise(&mut self, server: &Server) {
        let suffix = self.next_promise.to_string();
        let text = format!("pr:{}:{suffix}", self.index);
        self.next_promise += 1;
        let fate = self.random.pick(&[(8, 0), (1, 1), (1, 2)]);
        let timeout = if fate == 1 { 30 } else { 8000 };
        let promises = self.promises;
        let (at, len) = (suffix.as_ptr(), suffix.len());
        let op = Op::Promise { text: text.clone(), published: false };
        let call = |inbox, token| redmux_promises_make(promises, at, len, inbox, token, timeout);
        let Some(token) = self.ask(op, TAKE, timeout, call) else { return };
        match fate {
            0 => {
                let published = self.conn.take().or_else(|| server.try_conn().ok()).and_then(|mut conn| {
                    conn.try_command(&["PUBLISH", &text, &text]).ok()?;
                    self.conn = Some(conn);
                    Some(())
                });
                if published.is_some() {
                    locked(&self.world.ledgers[self.index]).kept(token);
                }
            }
            1 => {}
            _ => {
                locked(&self.world.ledgers[self.index]).cancelling(token);
                redmux_inbox_cancel(self.inboxes[TAKE].handle, token);
            }
        }
    }
}
