//! The wall clock that readings are stamped with, and whether it is set.
//!
//! A gateway without a battery wakes up in 1970. Until its clock has been set, readings are
//! held back ([`super::hold`]), and the condition `clock-invalid` says so: it is logged when it
//! begins and when it ends.

use super::logging::Utc;
use crate::limits::WALL_MS_MIN;
use crate::sys::clock::{boottime_ms, wall_ms};

/// The condition's name.
pub const CLOCK_INVALID: &str = "clock-invalid";

/// The wall clock.
#[derive(Debug, Default)]
pub struct Wall {
    is_invalid: bool,
    /// For tests, in debug builds: until then the clock is as if the host had started in 1970.
    wrong_until_ms: u64,
}

impl Wall {
    /// As the system says. `EDGE_WALL_WRONG_MS` makes it wrong for so long, in debug builds.
    pub fn new() -> Self {
        let wrong = std::env::var("EDGE_WALL_WRONG_MS").ok().filter(|_| cfg!(debug_assertions));
        let wrong_ms: Option<u64> = wrong.and_then(|text| text.parse().ok());
        let wrong_until_ms = wrong_ms.map_or(0, |wrong_ms| boottime_ms() + wrong_ms);
        Self { is_invalid: false, wrong_until_ms }
    }

    /// Ms since 1970.
    pub fn now_ms(&self) -> u64 {
        if self.wrong_until_ms > 0 && boottime_ms() < self.wrong_until_ms {
            return boottime_ms();
        }
        wall_ms()
    }

    /// Ms since 1970; `None`: the clock is not set.
    pub fn valid_ms(&self) -> Option<u64> {
        Some(self.now_ms()).filter(|wall_ms| *wall_ms >= WALL_MS_MIN)
    }

    /// Whether the clock was not set when last looked at.
    pub fn is_invalid(&self) -> bool {
        self.is_invalid
    }

    /// Looks at the clock; says so when it began or ended to be invalid.
    pub fn watch(&mut self) {
        let is_invalid = self.valid_ms().is_none();
        if is_invalid == self.is_invalid {
            return;
        }
        self.is_invalid = is_invalid;
        let now = Utc(self.now_ms());
        if is_invalid {
            log::warn!(
                "{CLOCK_INVALID}: this gateway's clock says {now}: readings without a timestamp \
                 of their own are held back or refused until it is set"
            );
        } else {
            log::info!("{CLOCK_INVALID}: over: this gateway's clock says {now}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_release_is_not_set() {
        let mut wall = Wall { is_invalid: false, wrong_until_ms: u64::MAX };
        assert_eq!(wall.valid_ms(), None);
        wall.watch();
        assert!(wall.is_invalid());
        wall.wrong_until_ms = 0;
        wall.watch();
        assert!(!wall.is_invalid() && wall.valid_ms().is_some());
    }
}
