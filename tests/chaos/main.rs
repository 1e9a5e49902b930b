//! The oracle: numbered messages, random faults, and nothing that is not explained.
//!
//! | module | what it is |
//! |---|---|
//! | `oracle` | judges what one subscription got; pure (`oracle_tests` shows that it sees every fault) |
//! | `ledger` | operations end once and as they can; what is said of a publish holds; pure |
//! | `history` | what a subscription saw last, for a person |
//! | `streams` | what is published, over connections that the library has no part in |
//! | `world` | what a run shares; every record of an inbox goes to its judge |
//! | `driver` | a client, its inboxes and readers, and what is asked of it at random |
//! | `faults` | what goes wrong |
//! | `draw` | the picture |
//! | `c` | the functions of the C ABI, called as C calls them |
//!
//! `make chaos SECONDS=60 SEED=7` runs it at length. The seed gives the same choices, not the same moments.

mod c;
mod draw;
mod driver;
mod faults;
mod history;
mod ledger;
mod ledger_tests;
mod oracle;
mod oracle_tests;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod world;

use draw::{Picture, Row};
use driver::Driver;
use faults::Random;
use history::{Grouped, now_ms};
use oracle::Rule;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{sleep, spawn};
use std::time::Duration;
use support::{Proxy, Server, locked};
use world::World;

const CLIENTS: usize = 3;

fn number_from(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a number")))
}

/// One run, with everything that it needs.
struct Run {
    world: Arc<World>,
    seed: u64,
    samples: Vec<(u64, u64, u64)>,
}

impl Run {
    fn sample(&mut self) {
        let delivered = locked(&self.world.ports).iter().map(|port| locked(&port.judge).messages).sum();
        self.samples.push((now_ms(), self.world.streams.sums().1, delivered));
    }

    fn faults(&self) -> BTreeMap<&'static str, u64> {
        let mut faults = BTreeMap::new();
        locked(&self.world.faults).iter().for_each(|(_, kind, _)| *faults.entry(*kind).or_default() += 1);
        faults
    }

    /// The counts, for a person.
    fn summary(&self) -> String {
        let mut lines = vec![format!("seed {}, {:.1} s", self.seed, now_ms() as f64 / 1000.0)];
        let faults = self.faults();
        let list = |map: &BTreeMap<&str, u64>| {
            let parts: Vec<String> = map.iter().map(|(kind, count)| format!("{kind} {}", Grouped(*count))).collect();
            parts.join(", ")
        };
        lines.push(format!("faults     {}: {}", Grouped(faults.values().sum()), list(&faults)));
        let (unanswered, published) = self.world.streams.sums();
        lines.push(format!("published  {}, of which {} were never answered", Grouped(published), Grouped(unanswered)));
        let (mut delivered, mut dropped, mut excused, mut losses) = (0, 0, 0, 0);
        for port in locked(&self.world.ports).iter() {
            let judge = locked(&port.judge);
            delivered += judge.messages;
            dropped += judge.dropped;
            losses += judge.losses;
            excused += judge.excused + judge.seats.values().map(|seat| seat.source.excused).sum::<u64>();
        }
        lines.push(format!("delivered  {} to all subscriptions", Grouped(delivered)));
        lines.push(format!(
            "dropped    {} for want of room or for their size, each counted where it was",
            Grouped(dropped)
        ));
        lines.push(format!(
            "lost       {} in {} lost records' gaps and around changes",
            Grouped(excused),
            Grouped(losses)
        ));
        let mut ends: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
        for ledger in &self.world.ledgers {
            for ((name, how), count) in &locked(ledger).counts {
                *ends.entry(name).or_default().entry(how.clone()).or_default() += count;
            }
        }
        for (name, hows) in ends {
            let parts: Vec<String> = hows.iter().map(|(how, count)| format!("{how} {}", Grouped(*count))).collect();
            lines.push(format!("  {name:<11} {}", parts.join(", ")));
        }
        lines.join("\n")
    }

    fn draw(&self) -> PathBuf {
        let (_, published) = self.world.streams.sums();
        let delivered = self.samples.last().map_or(0, |sample| sample.2);
        let faults: u64 = self.faults().values().sum();
        let mut ports: Vec<_> = locked(&self.world.ports).iter().map(Arc::clone).collect();
        ports.retain(|port| locked(&port.judge).messages > 0);
        ports.sort_by_key(|port| port.label.clone());
        let row = |port: &Arc<world::Port>| {
            let judge = locked(&port.judge);
            let dropped =
                if judge.dropped > 0 { format!(", {} dropped", Grouped(judge.dropped)) } else { String::new() };
            Row {
                label: port.label.clone(),
                note: format!("{}{dropped}", Grouped(judge.messages)),
                lost: judge.spans.clone(),
                drops: judge.drops.clone(),
            }
        };
        let unexplained = locked(&self.world.violations).len();
        let picture = Picture {
            title: "redmux while everything around it fails".into(),
            subtitle: format!(
                "seed {}  ·  {} published  ·  {} delivered  ·  {} faults  ·  {unexplained} unexplained",
                self.seed,
                Grouped(published),
                Grouped(delivered),
                Grouped(faults)
            ),
            samples: self.samples.clone(),
            faults: locked(&self.world.faults).clone(),
            rows: ports.iter().map(row).collect(),
        };
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory").join("chaos");
        std::fs::create_dir_all(&target).expect("target/chaos");
        let file = target.join(format!("{}.svg", self.seed));
        std::fs::write(&file, picture.svg()).expect("the picture");
        file
    }
}

#[test]
fn every_number_is_delivered_counted_or_lost_where_lost_was_told() {
    let random = || std::collections::hash_map::RandomState::new().build_hasher().finish() % 1_000_000;
    let seed = number_from("REDMUX_CHAOS_SEED").unwrap_or_else(random);
    let seconds = number_from("REDMUX_CHAOS_SECONDS").unwrap_or(15);
    // An unoptimized oracle is the bottleneck of its own run.
    let rate = number_from("REDMUX_CHAOS_RATE").unwrap_or(if cfg!(debug_assertions) { 12_000 } else { 60_000 });
    println!("chaos: seed {seed}, {seconds} s");
    let mut random = Random(seed);
    let mut builder = Server::builder();
    for client in 0..CLIENTS {
        builder = builder.acl(&format!("user u{client} on >secret ~* &* +@all"));
    }
    let server = Arc::new(builder.start());
    let proxies: Arc<Vec<Proxy>> = Arc::new((1..CLIENTS).map(|_| Proxy::start(&*server)).collect());
    let world = Arc::new(World::new(CLIENTS));
    let mut run = Run { world: Arc::clone(&world), seed, samples: Vec::new() };

    let mut drivers: Vec<Driver> = (0..CLIENTS)
        .map(|client| {
            let port = proxies.get(client).map_or(server.port(), Proxy::port);
            Driver::new(&world, client, &format!("redis://u{client}:secret@127.0.0.1:{port}"), random.next())
        })
        .collect();
    let publishers: Vec<_> = (0..streams::RAW)
        .map(|stream| {
            let (world, server) = (Arc::clone(&world), Arc::clone(&server));
            spawn(move || world.streams.publish(stream, &server, rate / streams::RAW as u64))
        })
        .collect();
    let mut crew = Vec::new();
    for mut driver in drivers.drain(..) {
        let server = Arc::clone(&server);
        crew.push(spawn(move || {
            driver.drive(&server);
            driver
        }));
    }
    let (on_server, on_links) = (random.next(), random.next());
    let faults = [
        spawn({
            let (world, server) = (Arc::clone(&world), Arc::clone(&server));
            move || faults::of_server(&world, &server, CLIENTS, on_server)
        }),
        spawn({
            let (world, proxies) = (Arc::clone(&world), Arc::clone(&proxies));
            move || faults::of_links(&world, &proxies, on_links)
        }),
    ];

    let step = (seconds * 1000 / 300).clamp(100, 2000);
    let until = now_ms() + seconds * 1000;
    while now_ms() < until && !world.over() {
        run.sample();
        sleep(Duration::from_millis(step));
    }
    world.over.store(true, SeqCst);
    faults.into_iter().for_each(|thread| thread.join().expect("the faults"));
    let mut drivers: Vec<Driver> = crew.into_iter().map(|thread| thread.join().expect("a driver")).collect();
    drivers.iter_mut().for_each(Driver::heal);
    run.sample();
    world.streams.stop.store(true, SeqCst);
    publishers.into_iter().for_each(|thread| thread.join().expect("a publisher"));
    drivers.iter_mut().for_each(Driver::settle_accounts);
    run.sample();
    drivers.into_iter().for_each(Driver::close);
    for ledger in &world.ledgers {
        let left = locked(ledger).left();
        if !left.is_empty() {
            world.violated(&Rule::NeverEnded, "after everything was closed", &left);
        }
    }
    for port in locked(&world.ports).iter() {
        if let Some((label, rule)) = locked(&port.judge).left() {
            world.violated(&rule, &format!("{}, {label}", port.label), &[]);
        }
    }
    let live = redmux::ffi::version::redmux_debug_live();
    if live != 0 {
        world.violated(&Rule::World, "handles and blocks that are left", &[live.to_string()]);
    }
    let picture = run.draw();
    println!("{}\npicture    {}", run.summary(), picture.display());
    let violations = locked(&world.violations);
    assert!(violations.is_empty(), "seed {seed}: not everything is explained\n\n{}", violations.join("\n"));
}
