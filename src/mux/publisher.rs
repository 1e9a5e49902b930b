//! The task that owns the publish link: connects when something is first published, writes what has gathered, reads the
//! answers. What becomes of each publish is decided in `publish.rs`; this only moves bytes and judges the link's health.

use super::events::{Level, State};
use super::hub::{Credentials, Either, Hub, Run, race};
use super::outgoing::Job;
use super::reader::Reader;
use crate::error::Status;
use crate::link::backoff::{Backoff, Rng};
use crate::link::dial::Socket;
use crate::link::health::{Action, Health};
use crate::proto::resp::{self, Frame, Reply, Step};
use crate::sync::{Arc, lock};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::ReadBuf;

/// The task of the publish link: connects when something is first to be published, and then stays.
pub async fn run(hub: Arc<Hub>) {
    let mut control = hub.control.subscribe();
    let mut backoff = Backoff::new(hub.settings.backoff_min, hub.settings.backoff_max);
    let mut rng = Rng::from_entropy();
    loop {
        let now = *control.borrow_and_update();
        if now == Run::Closed {
            return;
        }
        if now == Run::Stopped || !lock(&hub.outgoing).wanted {
            let _ = race(hub.publish_work.notified(), control.changed()).await;
            continue;
        }
        let connected = race(control.changed(), with_expiry(&hub, hub.connect())).await;
        let text = match connected {
            Either::Left(_) => continue,
            Either::Right(Ok((socket, _, used))) => {
                let Some(session) = Session::new(&hub, socket, &used) else { continue };
                let since = Instant::now();
                hub.counters.publish_connects.fetch_add(1, Ordering::Relaxed);
                hub.events.state(State::PublishOnline, hub.id, 0, &session.socket.peer);
                let fault = session.serve().await;
                hub.publisher_lost(false);
                if since.elapsed() >= hub.settings.stable_after {
                    backoff.reset();
                }
                // A session that a stop took the publishes from may meet their answers before it sees the stop.
                let Some(text) = fault.filter(|_| hub.running()) else { continue };
                hub.events.state(State::PublishOffline, hub.id, Status::LinkLost.code(), &text);
                text
            }
            // It may have been looked at a moment too early.
            Either::Right(Err(_)) if control.has_changed().unwrap_or(true) => continue,
            Either::Right(Err(error)) => error.message().to_owned(),
        };
        let pause = backoff.next(rng.next_u64());
        hub.events.log(Level::Warn, &format!("publish link: {text}; retrying in {pause:?}"));
        let _ = race(with_expiry(&hub, tokio::time::sleep(pause)), control.changed()).await;
    }
}

/// Waits for `future`, and ends publishes whose time is over meanwhile.
async fn with_expiry<F: Future>(hub: &Hub, future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        let next = hub.expire_publishes(Instant::now());
        let pause = async {
            match next {
                Some(next) => {
                    race(tokio::time::sleep_until(next.into()), hub.publish_work.notified()).await;
                }
                None => hub.publish_work.notified().await,
            }
        };
        if let Either::Left(done) = race(future.as_mut(), pause).await {
            return done;
        }
    }
}

struct Session<'a> {
    hub: &'a Hub,
    socket: Socket,
    reader: Reader,
    health: Health,
}

enum Wake {
    /// Whether the kernel left something.
    Wrote(bool),
    Read(std::io::Result<usize>),
    Work,
    Timer,
    Control,
    Failed(std::io::Error),
}

impl<'a> Session<'a> {
    /// `None` if the link was made with credentials that are not ours any more.
    fn new(hub: &'a Hub, socket: Socket, used: &Credentials) -> Option<Session<'a>> {
        let side = socket.side_writer();
        let mut out = lock(&hub.outgoing);
        if hub.outdated(used) {
            return None;
        }
        out.side = side;
        out.online = true;
        drop(out);
        let health = Health::new(hub.settings.ping_interval, hub.settings.ping_timeout, Instant::now());
        Some(Session { hub, socket, reader: Reader::new(&hub.pool), health })
    }

    /// Serves until the link fails, or until the client is stopped or closed.
    async fn serve(mut self) -> Option<String> {
        let hub = self.hub;
        let control = hub.control.subscribe();
        // Once, not in each turn: to enter its list and leave it again is a good part of what a lone message costs.
        let mut told = control.clone();
        let mut told = pin!(told.changed());
        let mut work = pin!(hub.publish_work.notified());
        let mut armed = self.health.deadline();
        let mut sleep = pin!(tokio::time::sleep_until(armed.into()));
        loop {
            if Hub::session_over(&control) {
                return None;
            }
            let now = Instant::now();
            let expiry = hub.expire_publishes(now);
            let next = expiry.map_or(self.health.deadline(), |expiry| expiry.min(self.health.deadline()));
            if next < armed {
                armed = next;
                sleep.as_mut().reset(armed.into());
            }
            let wake = poll_fn(|cx| {
                if let Poll::Ready(wake) = self.poll_socket(cx) {
                    return Poll::Ready(wake);
                }
                if told.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Wake::Control);
                }
                if work.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Wake::Work);
                }
                sleep.as_mut().poll(cx).map(|()| Wake::Timer)
            })
            .await;
            let result = match wake {
                Wake::Wrote(left) => {
                    // Redis answers nothing before it has the whole of a payload, which may take longer than silence may last. A
                    // peer that reads no more takes no more either. What came in since says nothing of the peer.
                    if left {
                        self.health.on_bytes(Instant::now());
                    }
                    Ok(())
                }
                Wake::Control => return None,
                Wake::Failed(error) => Err(error.to_string()),
                Wake::Read(Ok(0)) => Err("closed by the server".into()),
                Wake::Read(Ok(count)) => self.read(count),
                Wake::Read(Err(error)) => Err(error.to_string()),
                Wake::Work => {
                    work.set(hub.publish_work.notified());
                    // Whoever woke us is in the middle of publishing more. Where it waits for this very processor, it
                    // is let go on: 100 posts were 3 writes and 12 changes of thread without that.
                    std::thread::yield_now();
                    Ok(())
                }
                Wake::Timer => {
                    let now = Instant::now();
                    let result = self.judge(now);
                    armed = self.health.deadline();
                    sleep.as_mut().reset(armed.into());
                    result
                }
            };
            if let Err(why) = result {
                if !lock(&hub.outgoing).online {
                    return None;
                }
                return Some(format!("lost the connection to {}: {why}", self.socket.peer));
            }
        }
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        let mut io = Pin::new(&mut *self.socket.io);
        let mut out = lock(&self.hub.outgoing);
        if !out.online {
            return Poll::Ready(Wake::Failed(std::io::ErrorKind::NotConnected.into()));
        }
        let unsent = out.unsent();
        if !unsent.is_empty() {
            match io.as_mut().poll_write(cx, unsent) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Wake::Failed(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    return Poll::Ready(Wake::Wrote(out.wrote(count)));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Wake::Failed(error)),
                Poll::Pending => {}
            }
        }
        drop(out);
        if !self.reader.prepare() {
            return Poll::Ready(Wake::Failed(std::io::ErrorKind::OutOfMemory.into()));
        }
        let Some(space) = self.reader.space() else { return Poll::Pending };
        let mut buf = ReadBuf::new(space);
        match io.as_mut().poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) => Poll::Ready(Wake::Read(Ok(buf.filled().len()))),
            Poll::Ready(Err(error)) => Poll::Ready(Wake::Read(Err(error))),
            Poll::Pending => {
                let _ = io.poll_flush(cx);
                Poll::Pending
            }
        }
    }

    fn judge(&mut self, now: Instant) -> Result<(), String> {
        match self.health.poll(now) {
            Action::Nothing => Ok(()),
            Action::SendPing => {
                let mut out = lock(&self.hub.outgoing);
                let start = out.end();
                resp::command(&mut out.bytes, &[b"PING"]);
                out.push(Job::Ping, start, None);
                drop(out);
                self.health.on_ping_sent(now);
                Ok(())
            }
            Action::Dead => Err(format!("ping timeout: silent for {:?}", self.hub.settings.ping_timeout)),
        }
    }

    fn read(&mut self, count: usize) -> Result<(), String> {
        self.reader.filled(count);
        let now = Instant::now();
        self.health.on_bytes(now);
        let Some((buffer, from, to)) = self.reader.unread() else { return self.judge(now) };
        let bytes = buffer.bytes().get(..to).unwrap_or_default();
        let mut at = from;
        let mut need = 1;
        let mut answers = self.hub.answers();
        let mut fault = None;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if let Some((used, count)) = resp::count(rest) {
                at += used;
                fault = answers.answer(Reply::Integer(count));
                if fault.is_some() {
                    break;
                }
                continue;
            }
            match resp::next(rest, &self.hub.settings.limits) {
                Ok(Step::Frame { used, frame }) => {
                    at += used;
                    if let Frame::Reply(reply) = frame {
                        fault = answers.answer(reply);
                    }
                    if fault.is_some() {
                        break;
                    }
                }
                Ok(Step::More { at_least }) => {
                    need = at_least;
                    break;
                }
                Ok(Step::Oversized { .. }) => {
                    fault = Some("the server sent a message to a connection without subscriptions".into());
                    break;
                }
                Err(error) => {
                    fault = Some(format!("the server sent {} (byte {})", error.what, error.at));
                    break;
                }
            }
        }
        let told = answers.finish();
        drop(buffer);
        self.reader.used(at - from, need, 0);
        self.hub.tell(told);
        fault.map_or(Ok(()), Err)
    }
}
