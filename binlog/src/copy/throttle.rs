//! The bandwidth limit: one budget of bytes for all workers.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// How much unused time is kept for a burst.
const BURST: Duration = Duration::from_millis(100);

/// A limit on bytes a second; without one it costs nothing.
///
/// Each call reserves its stretch of time behind the earlier ones, so the callers together keep to
/// the limit, whatever their number.
#[derive(Debug)]
pub(crate) struct Throttle {
    bytes_per_second: Option<u64>,
    reserved_until: Mutex<Instant>,
}

impl Throttle {
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        let reserved_until = Mutex::new(Instant::now());
        Self {
            bytes_per_second: bytes_per_second.filter(|rate| *rate > 0),
            reserved_until,
        }
    }

    /// Waits until these bytes are within the limit.
    pub(crate) async fn take(&self, bytes: usize) {
        let Some(rate) = self.bytes_per_second else {
            return;
        };
        let nanos = u128::try_from(bytes)
            .unwrap_or(u128::MAX)
            .saturating_mul(1_000_000_000)
            / u128::from(rate);
        let stretch = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let until = self.reserve(Instant::now(), stretch);
        sleep_until(until).await;
    }

    fn reserve(&self, now: Instant, stretch: Duration) -> Instant {
        let mut reserved_until = self.reserved_until.lock();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        *reserved_until = (*reserved_until).max(earliest) + stretch;
        *reserved_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_follow_each_other_and_a_pause_gives_a_short_burst_only() {
        let throttle = Throttle::new(Some(1_000));
        let start = *throttle.reserved_until.lock();
        let second = Duration::from_secs(1);
        assert_eq!(throttle.reserve(start, second), start + second);
        assert_eq!(throttle.reserve(start, second), start + second * 2);
        let later = start + Duration::from_secs(60);
        assert_eq!(throttle.reserve(later, second), later - BURST + second);
    }
}
