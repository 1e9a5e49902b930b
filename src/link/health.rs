//! When to ask a silent server whether it lives, and when to give it up.
//!
//! Pure: every call carries the time. The owner of a link tells what it read and sent, sleeps until
//! [`Health::deadline`], and does what [`Health::poll`] says. It must read the socket empty before it polls: after the
//! process was stopped for a minute the answer may be waiting in the kernel, and only reading shows it.

use std::time::{Duration, Instant};

/// What the owner of a link should do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing; sleep until [`Health::deadline`].
    Nothing,
    /// Send a PING and say so with [`Health::on_ping_sent`].
    SendPing,
    /// The link is dead: no byte came in the time allowed.
    Dead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ping {
    /// None is needed.
    Idle,
    /// `poll` asked for one at that time, and it is not yet sent. It counts as sent, so that a link on which nothing
    /// can be written is found dead too.
    Asked(Instant),
    /// One was sent at that time, and no byte came since.
    Sent(Instant),
}

/// The health of one link.
#[derive(Debug, Clone)]
pub struct Health {
    interval: Duration,
    timeout: Duration,
    last_bytes: Instant,
    ping: Ping,
}

/// Where a deadline is put that will not come.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

impl Health {
    /// The health of a link that was just greeted. An interval of zero asks for no PING; one that is sent for another
    /// reason is still judged.
    pub fn new(ping_interval: Duration, ping_timeout: Duration, now: Instant) -> Health {
        Health { interval: ping_interval, timeout: ping_timeout, last_bytes: now, ping: Ping::Idle }
    }

    /// Bytes came, any bytes: the server lives.
    pub fn on_bytes(&mut self, now: Instant) {
        self.last_bytes = now;
        self.ping = Ping::Idle;
    }

    /// A PING was given to the kernel, for whatever reason. While one is unanswered, another does not buy time.
    pub fn on_ping_sent(&mut self, now: Instant) {
        if !matches!(self.ping, Ping::Sent(_)) {
            self.ping = Ping::Sent(now);
        }
    }

    /// When the last byte came, or the link was greeted.
    pub fn last_bytes(&self) -> Instant {
        self.last_bytes
    }

    /// When to call [`Health::poll`] next.
    pub fn deadline(&self) -> Instant {
        let (from, wait) = match self.ping {
            Ping::Asked(at) | Ping::Sent(at) => (at, self.timeout),
            Ping::Idle if self.interval.is_zero() => (self.last_bytes, NEVER),
            Ping::Idle => (self.last_bytes, self.interval),
        };
        from.checked_add(wait.min(NEVER)).unwrap_or(from)
    }

    /// What to do, with the socket read empty.
    pub fn poll(&mut self, now: Instant) -> Action {
        if now < self.deadline() {
            return Action::Nothing;
        }
        match self.ping {
            Ping::Asked(_) | Ping::Sent(_) => Action::Dead,
            Ping::Idle => {
                self.ping = Ping::Asked(now);
                Action::SendPing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: u64 = 3;
    const TIMEOUT: u64 = 2;

    struct Clock(Instant);

    impl Clock {
        fn at(&self, second: u64) -> Instant {
            self.0 + Duration::from_secs(second)
        }
    }

    fn fresh() -> (Clock, Health) {
        let clock = Clock(Instant::now());
        let health = Health::new(Duration::from_secs(INTERVAL), Duration::from_secs(TIMEOUT), clock.at(0));
        (clock, health)
    }

    #[test]
    fn a_ping_is_asked_for_once_after_the_interval() {
        let (clock, mut health) = fresh();
        assert_eq!(health.deadline(), clock.at(3));
        assert_eq!(health.poll(clock.at(2)), Action::Nothing);
        assert_eq!(health.poll(clock.at(3)), Action::SendPing);
        assert_eq!(health.poll(clock.at(3)), Action::Nothing);
        assert_eq!(health.deadline(), clock.at(5));
    }

    #[test]
    fn silence_after_a_ping_is_death() {
        let (clock, mut health) = fresh();
        assert_eq!(health.poll(clock.at(3)), Action::SendPing);
        health.on_ping_sent(clock.at(4));
        assert_eq!(health.deadline(), clock.at(6));
        assert_eq!(health.poll(clock.at(5)), Action::Nothing);
        assert_eq!(health.poll(clock.at(6)), Action::Dead);
        assert_eq!(health.last_bytes(), clock.at(0));
    }

    #[test]
    fn a_ping_that_cannot_be_written_is_death_too() {
        let (clock, mut health) = fresh();
        assert_eq!(health.poll(clock.at(3)), Action::SendPing);
        assert_eq!(health.poll(clock.at(5)), Action::Dead);
    }

    #[test]
    fn a_stopped_process_asks_before_it_judges() {
        let (clock, mut health) = fresh();
        assert_eq!(health.poll(clock.at(600)), Action::SendPing);
        health.on_ping_sent(clock.at(600));
        health.on_bytes(clock.at(9_000));
        assert_eq!(health.poll(clock.at(9_000)), Action::Nothing);
    }

    #[test]
    fn further_pings_buy_no_time() {
        let (clock, mut health) = fresh();
        health.on_ping_sent(clock.at(1));
        health.on_ping_sent(clock.at(2));
        assert_eq!(health.poll(clock.at(3)), Action::Dead);
    }

    #[test]
    fn an_interval_of_zero_asks_for_nothing_and_still_judges_a_ping() {
        let clock = Clock(Instant::now());
        let mut health = Health::new(Duration::ZERO, Duration::from_secs(TIMEOUT), clock.at(0));
        assert_eq!(health.poll(clock.at(1_000_000)), Action::Nothing);
        health.on_ping_sent(clock.at(1_000_000));
        assert_eq!(health.poll(clock.at(1_000_002)), Action::Dead);
    }

    #[test]
    fn the_longest_durations_do_not_overflow() {
        let now = Instant::now();
        let mut health = Health::new(Duration::MAX, Duration::MAX, now);
        assert_eq!(health.poll(now + Duration::from_secs(1)), Action::Nothing);
        health.on_ping_sent(now);
        assert!(health.deadline() > now);
    }

    /// Every order of bytes, pings and polls over seven seconds, held against a rule that looks at the history alone.
    #[test]
    fn every_order_of_events_follows_the_rule() {
        const STEPS: u32 = 7;
        for code in 0..5u32.pow(STEPS) {
            let (clock, mut health) = fresh();
            let (mut last, mut asked, mut sent) = (0, None::<u64>, None::<u64>);
            for step in 0..STEPS {
                let second = u64::from(step) + 1;
                let event = code / 5u32.pow(step) % 5;
                // 0: nothing  1: bytes  2: a ping of another reason  3: poll, ping sent at once  4: poll, ping stuck
                match event {
                    1 => {
                        health.on_bytes(clock.at(second));
                        (last, asked, sent) = (second, None, None);
                    }
                    2 => {
                        health.on_ping_sent(clock.at(second));
                        sent = sent.or(Some(second));
                    }
                    3 | 4 => {
                        let expected = match sent.or(asked) {
                            Some(at) if second >= at + TIMEOUT => Action::Dead,
                            None if second >= last + INTERVAL => Action::SendPing,
                            _ => Action::Nothing,
                        };
                        let due = health.deadline() <= clock.at(second);
                        let action = health.poll(clock.at(second));
                        assert_eq!(action, expected, "step {step} of {code}");
                        assert_eq!(due, action != Action::Nothing, "the deadline and the action agree");
                        match action {
                            Action::Dead => break,
                            Action::SendPing if event == 3 => {
                                health.on_ping_sent(clock.at(second));
                                (asked, sent) = (Some(second), Some(second));
                            }
                            Action::SendPing => asked = Some(second),
                            Action::Nothing => {}
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}
