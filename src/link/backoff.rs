//! How long to wait before dialling again: full jitter, doubling from a minimum to a maximum, for ever.
//!
//! Pure: the random number is an argument, and nothing here sleeps. The owner of a link calls [`Backoff::next`] after
//! each failure and [`Backoff::reset`] once the link was whole for a while. Full jitter, because ten thousand clients
//! that lost one server must not come back in step.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime};

/// The pauses between dials.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    cap: Duration,
}

impl Backoff {
    /// Pauses of at most `min` at first and at most `max` in the end. A `max` below `min` counts as `min`.
    pub fn new(min: Duration, max: Duration) -> Backoff {
        Backoff { min, max: max.max(min), cap: min }
    }

    /// The next pause: uniform between nothing and the present cap, which doubles for the one after.
    ///
    /// `random` must be uniform over all of `u64`.
    pub fn next(&mut self, random: u64) -> Duration {
        let pause = uniform(random, self.cap);
        self.cap = self.cap.saturating_mul(2).min(self.max);
        pause
    }

    /// The longest that the next pause can be.
    pub fn cap(&self) -> Duration {
        self.cap
    }

    /// Begin again at the minimum.
    pub fn reset(&mut self) {
        self.cap = self.min;
    }
}

/// `random` scaled to 0..=cap, both ends included.
fn uniform(random: u64, cap: Duration) -> Duration {
    let steps = u64::try_from(cap.as_nanos()).unwrap_or(u64::MAX);
    let scaled = (u128::from(random) * (u128::from(steps) + 1)) >> 64;
    Duration::from_nanos(u64::try_from(scaled).unwrap_or(u64::MAX))
}

/// A small random number generator (splitmix64) for jitter. Never for anything secret.
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The generator that begins at `seed`: the same seed gives the same numbers.
    pub fn seeded(seed: u64) -> Rng {
        Rng { state: seed }
    }

    /// A generator unlike that of any other link or process.
    ///
    /// The process id and the time are mixed in, because `RandomState` alone is inherited by a forked child: the
    /// workers of a pre-forking server would all draw the same pauses.
    pub fn from_entropy() -> Rng {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        hasher.write_u128(now.as_nanos());
        Rng::seeded(hasher.finish())
    }

    /// The next number, uniform over all of `u64`.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may fail")]
mod tests {
    use super::{Rng, *};
    use proptest::prelude::*;

    const MIN: Duration = Duration::from_millis(8);
    const MAX: Duration = Duration::from_secs(5);

    #[test]
    fn the_cap_doubles_to_the_maximum_and_stays_there() {
        let mut backoff = Backoff::new(MIN, MAX);
        let caps: Vec<u64> = (0..13).map(|_| backoff.next(u64::MAX).as_nanos() as u64 / 1_000_000).collect();
        assert_eq!(caps, [8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 5000, 5000, 5000]);
    }

    #[test]
    fn the_ends_of_the_range_are_reached() {
        assert_eq!(Backoff::new(MIN, MAX).next(0), Duration::ZERO);
        assert_eq!(Backoff::new(MIN, MAX).next(u64::MAX), MIN);
        assert_eq!(Backoff::new(Duration::MAX, Duration::MAX).next(0), Duration::ZERO);
    }

    #[test]
    fn pauses_are_spread_evenly() {
        let (mut rng, mut slots) = (Rng::seeded(7), [0u32; 8]);
        for _ in 0..80_000 {
            let pause = Backoff::new(MIN, MAX).next(rng.next_u64());
            slots[(pause.as_nanos() * 8 / (MIN.as_nanos() + 1)) as usize] += 1;
        }
        assert!(slots.iter().all(|n| (9_500..10_500).contains(n)), "{slots:?}");
    }

    #[test]
    fn the_generator_repeats_by_seed_and_differs_by_entropy() {
        // The first numbers of the reference splitmix64 for the seed 1234567.
        let mut rng = Rng::seeded(1_234_567);
        assert_eq!([rng.next_u64(), rng.next_u64()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
        assert_ne!(Rng::from_entropy().next_u64(), Rng::from_entropy().next_u64());
    }

    proptest! {
        #[test]
        fn a_pause_is_never_over_its_cap_and_a_cap_never_shrinks(
            min in 0u64..10_000_000_000, max in 0u64..10_000_000_000, randoms in prop::collection::vec(any::<u64>(), 1..80),
        ) {
            let (min, max) = (Duration::from_nanos(min), Duration::from_nanos(max));
            let mut backoff = Backoff::new(min, max);
            prop_assert_eq!(backoff.cap(), min);
            let mut last = Duration::ZERO;
            for random in randoms {
                let cap = backoff.cap();
                prop_assert!(cap >= last && cap <= max.max(min));
                prop_assert!(backoff.next(random) <= cap);
                last = cap;
            }
            backoff.reset();
            prop_assert!(backoff.next(u64::MAX) == min);
        }

        #[test]
        fn a_greater_random_number_never_gives_a_shorter_pause(a: u64, b: u64, cap: u64) {
            let cap = Duration::from_nanos(cap);
            prop_assert!(uniform(a.min(b), cap) <= uniform(a.max(b), cap));
        }
    }
}
