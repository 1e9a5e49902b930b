//! Limits of a server that decide what a subscriber may receive, read out of its configuration. Pure.

/// `client-output-buffer-limit pubsub`: 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimit {
    /// A subscriber whose answers take more is closed at once.
    pub hard: u64,
    /// One whose answers take more for [`OutputLimit::seconds`] is closed.
    pub soft: u64,
    /// How long.
    pub seconds: u64,
}

impl OutputLimit {
    /// From what CONFIG GET says: `normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60`.
    pub fn parse(value: &str) -> Option<OutputLimit> {
        let mut words = value.split_whitespace().skip_while(|word| *word != "pubsub").skip(1);
        let mut next = || words.next()?.parse().ok();
        Some(OutputLimit { hard: next()?, soft: next()?, seconds: next()? })
    }

    /// Whether one payload of that size closes a subscriber that reads it at once. A little is sent around it.
    pub fn closes_at(&self, payload: u64) -> bool {
        self.hard > 0 && self.hard < payload.saturating_add(1024)
    }

    /// Limits under which that payload has room, as CONFIG SET takes them.
    pub fn fitting(payload: u64) -> String {
        let hard = (2 * payload.max(16 << 20)).next_multiple_of(1 << 20) >> 20;
        format!("CONFIG SET client-output-buffer-limit \"pubsub {hard}mb {}mb 60\"", hard / 2)
    }
}

/// A size as options are written.
pub fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 && b.is_multiple_of(1 << 30) => format!("{}GiB", b >> 30),
        b if b >= 1 << 20 && b.is_multiple_of(1 << 20) => format!("{}MiB", b >> 20),
        b if b >= 1 << 10 && b.is_multiple_of(1 << 10) => format!("{}KiB", b >> 10),
        b => format!("{b} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_a_default_server_closes_at_32_mib() {
        let limit = OutputLimit::parse("normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60").unwrap();
        assert_eq!(limit, OutputLimit { hard: 32 << 20, soft: 8 << 20, seconds: 60 });
        assert!(limit.closes_at(32 << 20) && limit.closes_at(64 << 20) && !limit.closes_at(31 << 20));
        assert!(!OutputLimit { hard: 0, ..limit }.closes_at(u64::MAX));
        assert_eq!(OutputLimit::parse("normal 0 0 0"), None);
        assert_eq!(OutputLimit::fitting(64 << 20), "CONFIG SET client-output-buffer-limit \"pubsub 128mb 64mb 60\"");
    }
}
