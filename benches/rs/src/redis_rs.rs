//! redis-rs' async Pub/Sub, as its documentation says: a stream of messages on one thread.
//!
//!     redis-rs ADDRESS MESSAGES PAYLOAD

use std::error::Error;
use std::time::{Duration, Instant};

use futures_util::StreamExt;

const NAME: &str = "bench:0000000000";

/// What this process has used of its CPUs until now.
fn cpu() -> Duration {
    // SAFETY: all zeroes is a valid rusage, and getrusage writes into it and nowhere else.
    let used = unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut used);
        used
    };
    let of = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    of(used.ru_utime) + of(used.ru_stime)
}

fn resident_bytes() -> Result<u64, Box<dyn Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    Ok(statm.split(' ').nth(1).ok_or("a short statm")?.parse::<u64>()? * 4096)
}

async fn run(address: &str, messages: u64, payload: u64) -> Result<(), Box<dyn Error>> {
    let url = if address.starts_with('/') { format!("unix:{address}") } else { format!("redis://127.0.0.1:{address}") };
    let mut pubsub = redis::Client::open(url)?.get_async_pubsub().await?;
    pubsub.subscribe(NAME).await?;
    println!("ready");
    let mut stream = pubsub.into_on_message();
    let (mut got, mut lengths, mut first) = (0u64, 0u64, None);
    while got < messages {
        let message = stream.next().await.ok_or("the stream ended")?;
        if first.is_none() {
            first = Some((Instant::now(), cpu()));
        }
        got += 1;
        lengths += (message.get_channel_name().len() + message.get_payload_bytes().len()) as u64;
    }
    let (began, before) = first.ok_or("no message")?;
    let (wall, used) = (began.elapsed().as_nanos(), (cpu() - before).as_nanos());
    if lengths != messages * (NAME.len() as u64 + payload) {
        return Err(format!("the lengths add up to {lengths}").into());
    }
    let rss = resident_bytes()?;
    println!(r#"{{"messages": {got}, "lengths": {lengths}, "cpu_ns": {used}, "wall_ns": {wall}, "rss": {rss}}}"#);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, address, messages, payload] = arguments.as_slice() else {
        return Err("usage: redis-rs ADDRESS MESSAGES PAYLOAD".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(address, messages.parse()?, payload.parse()?))
}
