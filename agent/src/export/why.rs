//! Why a batch is given up or finds no room, for people.

use std::time::Duration;

use super::retry::MAX_DEMAND;
use crate::stats::Drop as Cause;

/// Why a batch is not sent again, for people.
pub(super) fn why_over(after: Option<Duration>, limit: Duration) -> String {
    match after {
        Some(after) => {
            format!(
                "told to wait {after:.0?} more, and a batch may take {limit:?} and be silent for {MAX_DEMAND:?} besides"
            )
        }
        None => "retries are used up".to_owned(),
    }
}

/// Why there is no room, for people.
pub(super) fn why_full(cause: Cause) -> &'static str {
    match cause {
        Cause::MemoryFull => "the queues together hold all that they may (resource_caps.queue_bytes)",
        _ => "the queue is full",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_told_to_wait_for_too_long_has_not_used_up_its_retries() {
        let limit = Duration::from_secs(300);
        assert_eq!(why_over(None, limit), "retries are used up");
        let told = why_over(Some(Duration::from_secs(3600)), limit);
        assert_eq!(told, "told to wait 3600s more, and a batch may take 300s and be silent for 600s besides");
    }
}
