//! Ctrl-C and SIGTERM: the tool is gone within a second, whatever it was doing.
//!
//! Until a verb says otherwise a signal ends the process where it stands, with 128 + the signal's number. A verb that
//! runs until it is told to end gives a hook, after which it ends by itself, with its own exit code and its last words;
//! if it has not within [`GRACE`], or a second signal comes, the process ends where it stands.

use crate::exit::{Exit, Failure, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

type Hook = Box<dyn FnOnce() + Send>;

/// How long a verb may take to end by itself.
const GRACE: Duration = Duration::from_millis(700);

/// What a signal does.
#[derive(Clone)]
pub struct Stop {
    hook: Arc<Mutex<Option<Hook>>>,
    /// The signal that came first; 0 before.
    signal: Arc<AtomicI32>,
}

impl Stop {
    /// From now on signals are ours.
    pub fn install() -> Result<Stop> {
        let failed = |error| Failure::new(Exit::No, format!("cannot watch for signals: {error}"));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
        let stop = Stop { hook: Arc::default(), signal: Arc::default() };
        let (shared, first) = (Arc::clone(&stop.hook), Arc::clone(&stop.signal));
        let body = move || {
            for signal in signals.forever() {
                let hook = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
                let Some(hook) = hook else { std::process::exit(128 + signal) };
                first.store(signal, Ordering::SeqCst);
                // Beside this thread, which must see the second signal.
                std::thread::spawn(hook);
                std::thread::spawn(move || {
                    std::thread::sleep(GRACE);
                    std::process::exit(128 + signal);
                });
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(body).map_err(failed)?;
        Ok(stop)
    }

    /// The signal that told the verb to end, if one did.
    pub fn signal(&self) -> Option<i32> {
        Some(self.signal.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
    }

    /// What the first signal does from now on, instead of ending the process.
    pub fn on_signal(&self, hook: impl FnOnce() + Send + 'static) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
    }
}
