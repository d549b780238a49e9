//! What the agent itself sees and the site's people are told of by the alert lane, while it
//! collects: sources that fail, a clock that is not set, certificates that expire.
//!
//! 1. Each is raised and cleared as `engine::telling` says; a new term tells anew, since
//!    nobody knows what of the old one's alerts got out.
//! 2. Nothing here is told while another node is master: it will tell what it sees itself.

use super::super::logging::Utc;
use super::Agent;
use crate::engine::ident::Term;
use crate::engine::notes::Alert;
use crate::engine::telling::{Patience, Phase, Telling};
use crate::limits::{CERTIFICATE_LOOK_MS, CERTIFICATE_WARN_MS, CLOCK_TELL_HOLD_MS, TELL_EVERY_MS};
use crate::sys::clock::boottime_ms;

/// The condition's name.
pub(super) const CERTIFICATE_EXPIRING: &str = "certificate-expiring";

const CLOCK: Patience = Patience { hold_ms: CLOCK_TELL_HOLD_MS, every_ms: TELL_EVERY_MS };
const CERTIFICATES: Patience = Patience { hold_ms: 0, every_ms: TELL_EVERY_MS };

/// What was told in which term.
#[derive(Debug, Default)]
pub(super) struct Told {
    term: Option<Term>,
    clock: Telling,
    certificates: Telling,
}

/// The certificates of `ca_file`.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    ends_ms: Vec<u64>,
    expiring: usize,
    look_due_ms: u64,
}

impl Certificates {
    /// Those that end then, in ms since the Unix epoch.
    pub(super) fn new(mut ends_ms: Vec<u64>, before: &Self) -> Self {
        ends_ms.sort_unstable();
        Self { ends_ms, expiring: before.expiring, look_due_ms: 0 }
    }

    /// Whether any expires soon, or has.
    pub(super) fn is_any_expiring(&self) -> bool {
        self.expiring > 0
    }

    /// Counts those that expire soon or have, now and then; says so when that begins or ends.
    fn look(&mut self, now_ms: u64, wall_ms: Option<u64>) {
        let Some(wall_ms) = wall_ms.filter(|_| now_ms >= self.look_due_ms) else { return };
        self.look_due_ms = now_ms + u64::from(CERTIFICATE_LOOK_MS);
        let soon_ms = wall_ms + CERTIFICATE_WARN_MS;
        let expiring = self.ends_ms.iter().filter(|end_ms| **end_ms <= soon_ms).count();
        let (before, of) = (std::mem::replace(&mut self.expiring, expiring), self.ends_ms.len());
        let first = Utc(self.first_ms());
        if expiring > 0 && before == 0 {
            let day = first.day();
            log::warn!(
                "{CERTIFICATE_EXPIRING}: {expiring} of {of} certificates of ca_file expire soon \
                 or have expired, the first on {day}: renew them"
            );
        } else if expiring == 0 && before > 0 {
            log::info!("{CERTIFICATE_EXPIRING}: over: all {of} certificates of ca_file are good");
        }
    }

    fn first_ms(&self) -> u64 {
        self.ends_ms.first().copied().unwrap_or(0)
    }

    /// When they are looked at next; `u64::MAX`: there are none.
    pub(super) fn due_ms(&self) -> u64 {
        if self.ends_ms.is_empty() && self.expiring == 0 { u64::MAX } else { self.look_due_ms }
    }
}

impl Agent {
    /// Looks at what the agent itself sees, and tells it while it collects.
    pub(super) fn tell_own(&mut self) {
        let now_ms = boottime_ms();
        let wall_ms = self.wall.valid_ms();
        self.certificates.look(now_ms, wall_ms);
        self.hands.stamp_alerts(now_ms, wall_ms);
        if self.told.term != self.hands.collecting {
            self.told = Told { term: self.hands.collecting, ..Told::default() };
            self.sources.forget_told();
        }
        if self.hands.collecting.is_none() {
            return;
        }
        let mut alerts = Vec::new();
        self.sources.tell(now_ms, |alert| alerts.push(alert));
        let told = &mut self.told;
        told.clock.see(now_ms, self.wall.is_invalid(), CLOCK);
        if let Some(phase) = told.clock.wish() {
            alerts.push(Alert::Clock { phase, lasted_ms: told.clock.lasted_ms(now_ms, phase) });
            told.clock.told(now_ms, phase);
        }
        told.certificates.see(now_ms, self.certificates.is_any_expiring(), CERTIFICATES);
        if let Some(phase) = told.certificates.wish() {
            alerts.push(self.certificates.alert(phase));
            told.certificates.told(now_ms, phase);
        }
        for alert in alerts {
            self.hands.gather_alert(&alert);
        }
    }

    /// When [`Agent::tell_own`] has something to do at the latest.
    pub(super) fn tell_due_ms(&self) -> u64 {
        let own_ms = match self.hands.collecting {
            Some(_) => self.sources.tell_due_ms().min(self.told.clock.due_ms(CLOCK)),
            None => u64::MAX,
        };
        // while the clock is not set, certificates cannot be judged
        if self.wall.is_invalid() { own_ms } else { own_ms.min(self.certificates.due_ms()) }
    }
}

impl Certificates {
    fn alert(&self, phase: Phase) -> Alert {
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        let (expiring, of) = (count(self.expiring), count(self.ends_ms.len()));
        Alert::Certificates { phase, expiring, of, first_ms: self.first_ms() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;
    const TODAY_MS: u64 = 1_800_000_000_000;

    fn certificates(days: &[u64]) -> Certificates {
        let ends_ms = days.iter().map(|days| TODAY_MS + days * DAY_MS).collect();
        Certificates::new(ends_ms, &Certificates::default())
    }

    #[test]
    fn certificates_that_end_within_a_month_are_counted() {
        for (days, expiring) in
            [(&[][..], 0), (&[31, 4_000], 0), (&[400, 29], 1), (&[0, 30, 31], 2)]
        {
            let mut certificates = certificates(days);
            certificates.look(1_000, Some(TODAY_MS));
            assert_eq!(certificates.expiring, expiring, "{days:?}");
            assert_eq!(certificates.is_any_expiring(), expiring > 0);
        }
    }

    #[test]
    fn they_are_looked_at_now_and_then_and_only_by_a_clock_that_is_set() {
        let mut certificates = certificates(&[30]);
        certificates.look(1_000, None);
        assert_eq!((certificates.expiring, certificates.due_ms()), (0, 0));
        certificates.look(2_000, Some(TODAY_MS - DAY_MS));
        assert_eq!(certificates.expiring, 0);
        let due_ms = certificates.due_ms();
        assert_eq!(due_ms, 2_000 + u64::from(CERTIFICATE_LOOK_MS));
        certificates.look(due_ms - 1, Some(TODAY_MS));
        assert_eq!(certificates.expiring, 0, "not yet");
        certificates.look(due_ms, Some(TODAY_MS));
        let Alert::Certificates { expiring: 1, of: 1, first_ms, .. } =
            certificates.alert(Phase::Raise)
        else {
            panic!("{certificates:?}")
        };
        assert_eq!(first_ms, TODAY_MS + 30 * DAY_MS);
        let mut renewed = Certificates::new(vec![TODAY_MS + 99 * DAY_MS], &certificates);
        assert!(renewed.is_any_expiring(), "until looked at");
        renewed.look(due_ms + 1, Some(TODAY_MS));
        assert!(!renewed.is_any_expiring());
    }
}
