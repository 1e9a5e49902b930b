//! What goes wrong, at random: two threads, one for the server and one for the links and the readers, so that faults overlap.

use super::history::now_ms;
use super::world::World;
use crate::support::{Proxy, Server, locked};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// A small generator (splitmix64): the same seed gives the same choices, though not the same moments.
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `from` to `to`, both included.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from + 1)
    }

    /// One of them, as often as its weight says.
    pub fn pick<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let mut left = self.next() % choices.iter().map(|(weight, _)| weight).sum::<u64>();
        for &(weight, choice) in choices {
            match left.checked_sub(weight) {
                Some(rest) => left = rest,
                None => return choice,
            }
        }
        choices[0].1
    }
}

fn sleep(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

#[derive(Clone, Copy)]
enum OnServer {
    KillPubsub,
    KillNormal,
    KillUser,
    Freeze,
    PauseAll,
    PauseWrite,
    Limit,
    Acl,
    Restart,
    Crash,
}

/// Faults of the server, until the run is over. Leaves it healed.
pub fn of_server(world: &World, server: &Server, clients: usize, seed: u64) {
    let mut random = Random(seed);
    let choices = [
        (24, OnServer::KillPubsub),
        (12, OnServer::KillNormal),
        (24, OnServer::KillUser),
        (4, OnServer::Freeze),
        (6, OnServer::PauseAll),
        (6, OnServer::PauseWrite),
        (8, OnServer::Limit),
        (8, OnServer::Acl),
        (1, OnServer::Restart),
        (1, OnServer::Crash),
    ];
    let mut conn = None;
    while !world.over() {
        sleep(random.within(20, 120));
        let what = random.pick(&choices);
        let user = format!("u{}", random.within(0, clients as u64 - 1));
        let mut say = |args: &[&str]| {
            let answered = conn
                .take()
                .or_else(|| server.try_conn().ok())
                .and_then(|mut open: crate::support::Conn| open.try_command(args).ok().map(|_| conn = Some(open)));
            answered.is_some()
        };
        let began = now_ms();
        let (kind, done) = match what {
            OnServer::KillPubsub => ("kill pubsub", say(&["CLIENT", "KILL", "TYPE", "pubsub"])),
            OnServer::KillNormal => ("kill normal", say(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])),
            OnServer::KillUser => ("kill user", say(&["CLIENT", "KILL", "USER", &user])),
            OnServer::Freeze => {
                server.freeze();
                sleep(random.within(5, 60));
                server.thaw();
                ("freeze", true)
            }
            OnServer::PauseAll | OnServer::PauseWrite => {
                let ms = random.within(5, 60);
                let all = matches!(what, OnServer::PauseAll);
                let done = say(&["CLIENT", "PAUSE", &ms.to_string(), if all { "ALL" } else { "WRITE" }]);
                sleep(ms);
                (if all { "pause all" } else { "pause write" }, done)
            }
            OnServer::Limit => {
                let done = say(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 48kb 24kb 1"]);
                sleep(random.within(20, 100));
                while !say(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 32mb 8mb 60"]) {}
                ("output limit", done)
            }
            OnServer::Acl => {
                let left = [
                    &["&own:*", "&pr:*"][..],
                    &["&a:*", "&own:*", "&pr:*"],
                    &["&a:0*", "&a:1?", "&b:*"],
                    &["&b:?[02468]", "&own:*", "&pr:*"],
                ];
                let channels = left[random.within(0, left.len() as u64 - 1) as usize];
                let args: Vec<&str> =
                    ["ACL", "SETUSER", &user, "resetchannels"].into_iter().chain(channels.iter().copied()).collect();
                let done = say(&args);
                sleep(random.within(20, 250));
                while !say(&["ACL", "SETUSER", &user, "allchannels"]) {}
                ("acl", done)
            }
            OnServer::Restart | OnServer::Crash => {
                if matches!(what, OnServer::Crash) {
                    server.kill();
                    sleep(random.within(0, 50));
                }
                server.restart();
                (if matches!(what, OnServer::Crash) { "crash" } else { "restart" }, true)
            }
        };
        if done {
            locked(&world.faults).push((began, kind, now_ms()));
        }
    }
}

#[derive(Clone, Copy)]
enum OnLink {
    Cut,
    CutWithin,
    CutCommand,
    Stall,
    StallCommands,
    Delay,
    Dribble,
    Swallow,
    Refuse,
    Unplug,
    Slow,
}

/// Faults of the links through the proxies, and readers that sleep, until the run is over. Leaves all healed.
pub fn of_links(world: &World, proxies: &[Proxy], seed: u64) {
    let mut random = Random(seed);
    let choices = [
        (20, OnLink::Cut),
        (20, OnLink::CutWithin),
        (12, OnLink::CutCommand),
        (10, OnLink::Stall),
        (6, OnLink::StallCommands),
        (6, OnLink::Delay),
        (4, OnLink::Dribble),
        (4, OnLink::Swallow),
        (3, OnLink::Refuse),
        (2, OnLink::Unplug),
        (12, OnLink::Slow),
    ];
    while !world.over() {
        sleep(random.within(10, 90));
        let proxy = &proxies[random.within(0, proxies.len() as u64 - 1) as usize];
        let began = now_ms();
        let kind = match random.pick(&choices) {
            OnLink::Cut => {
                proxy.cut_all();
                "cut"
            }
            OnLink::CutWithin => {
                proxy.to_client().cut_after(random.within(0, 20_000) as usize);
                sleep(10);
                "cut within a frame"
            }
            OnLink::CutCommand => {
                proxy.to_server().cut_after(random.within(0, 300) as usize);
                sleep(20);
                "cut within a command"
            }
            OnLink::Stall => {
                proxy.to_client().stall();
                sleep(random.within(5, 80));
                "stall"
            }
            OnLink::StallCommands => {
                proxy.to_server().stall();
                sleep(random.within(5, 80));
                "stall of commands"
            }
            OnLink::Delay => {
                proxy.to_client().delay(Duration::from_millis(random.within(1, 10)));
                sleep(random.within(20, 80));
                "delay"
            }
            OnLink::Dribble => {
                proxy.to_client().dribble(random.within(1, 900) as usize, Duration::from_micros(300));
                sleep(random.within(20, 60));
                "dribble"
            }
            OnLink::Swallow => {
                proxy.to_client().swallow();
                sleep(random.within(5, 60));
                // What was swallowed is gone, so the connection must go with it, or the stream itself would be false.
                proxy.cut_all();
                "swallow, then cut"
            }
            OnLink::Refuse => {
                proxy.refuse();
                proxy.cut_all();
                sleep(random.within(5, 60));
                "refuse"
            }
            OnLink::Unplug => {
                proxy.listener_off();
                proxy.cut_all();
                sleep(random.within(5, 60));
                "port closed"
            }
            OnLink::Slow => {
                let reader = random.within(0, world.slow_until.len() as u64 - 1) as usize;
                world.slow_until[reader].store(now_ms() + random.within(20, 200), SeqCst);
                "slow reader"
            }
        };
        proxy.pass();
        locked(&world.faults).push((began, kind, now_ms()));
    }
}
