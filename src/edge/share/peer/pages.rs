//! Pages between two hosts: how late one sees what the other rewrites, and whether a master that was
//! held up sees at its first look that it is superseded.
//!
//! # How late a page may be seen
//!
//! A master's lease runs for `fence_ms` from the start of the last proof that saw no newer slot. If
//! what is read is d old, that proof began no later than d after the newer slot was durable, and the
//! lease ends no later than d and `fence_ms` after it. The newer master forwards 5/4 of `fence_ms`
//! and 200 ms after it, and the 200 ms are spent: on a request that was about to connect. So d is at
//! most a quarter of `fence_ms`, or two masters send at once (P1). Proofs in between look at the three
//! slots after their own alone (`engine::mandate`, M5): that four numbers are burnt within a quarter
//! and a page is seen so late, both at once, is not covered.
//!
//! Where a lock is believed after three heartbeats of silence, a living master must not seem silent
//! for so long: its heartbeats come one apart, and d is at most two of them. More does no harm but
//! needless takeovers.
//!
//! # Invariants
//!
//! - G1: each of the two pages is a file that one host alone writes, in place, and that the other
//!   reads as standbys read slots, by a fresh open for each look.
//! - G2: who sleeps through a takeover is woken by the meeting's file alone. It looks at neither claim
//!   nor slots before it writes late, and not before the claim was made.

use std::path::Path;

use super::super::directory::Root;
use super::super::fault::cannot;
use super::super::file;
use super::meeting::NEVER;
use super::page::Side;
use super::{Finding, Proof, Told, create};
use crate::edge::config::Ha;
use crate::edge::share::probe::Level;
use crate::engine::share::ShareError;
use crate::limits::{
    DOUBTFUL_HEARTBEATS, PEER_ROUNDS, PEER_ROUNDS_MS_MAX, PEER_SLEEP_MS, PEER_STALE_MS_MAX,
    SLOT_BYTES,
};
use crate::sys::clock::boottime_ms;

/// The last number of a page: no answer is waited for.
const ENOUGH: u64 = u64::MAX;
/// What a slot is filled with once it is written.
const MARK: u8 = 0x5a;

/// What a sleeper found when it woke.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Woken {
    /// It saw the new master's slot at its first look.
    sees: bool,
    /// It was refused the new master's number.
    is_refused: bool,
    /// Its late write left the new master's slot whole.
    is_harmless: bool,
}

impl<T: FnMut(Told)> Proof<'_, '_, T> {
    /// G1. The first host asks, the second answers; a page and its answer together are a limit of
    /// either.
    pub(super) fn freshness(&mut self, ha: &Ha) -> Result<(), ShareError> {
        let own = [ha.fence_ms, ha.heartbeat_ms].map(u64::from);
        let mut times_ms = own;
        for time_ms in &mut times_ms {
            *time_ms = self.meeting.meet(*time_ms)?.min(*time_ms);
        }
        let [fence_ms, heartbeat_ms] = times_ms;
        let side = self.meeting.side();
        let page = |side: Side| format!("page.{side:?}");
        let (ours, theirs) =
            (self.meeting.scratch(&page(side)), self.meeting.scratch(&page(side.other())));
        write_page(self.root, &ours, 0, &number_page(0))?;
        self.meeting.meet(0)?;
        let mut spans_ms = match side {
            Side::First => self.ask(&ours, &theirs)?,
            Side::Second => self.answer(&ours, &theirs)?,
        };
        spans_ms.sort_unstable();
        let middle_ms = spans_ms.get(spans_ms.len() / 2).copied().unwrap_or(NEVER);
        let middle_ms = self.meeting.tell(Side::First, middle_ms)?;
        let worst_ms = spans_ms.last().copied().unwrap_or(NEVER);
        let worst_ms = self.meeting.tell(Side::First, worst_ms)?;
        self.say(judge_freshness([middle_ms, worst_ms], fence_ms, heartbeat_ms));
        Ok(())
    }

    fn ask(&mut self, ours: &Path, theirs: &Path) -> Result<Vec<u64>, ShareError> {
        let (root, mut spans_ms) = (self.root, Vec::new());
        let end_ms = boottime_ms() + u64::from(PEER_ROUNDS_MS_MAX);
        for round in 1..=u64::from(PEER_ROUNDS) {
            let begin_ms = boottime_ms();
            if begin_ms >= end_ms {
                break;
            }
            write_page(root, ours, 0, &number_page(round))?;
            let is_answered = || Ok(number_in(root, theirs)? == round);
            if self.meeting.wait(PEER_STALE_MS_MAX, is_answered)? == NEVER {
                spans_ms.push(NEVER);
                break;
            }
            spans_ms.push(boottime_ms() - begin_ms);
        }
        write_page(root, ours, 0, &number_page(ENOUGH))?;
        Ok(spans_ms)
    }

    fn answer(&mut self, ours: &Path, theirs: &Path) -> Result<Vec<u64>, ShareError> {
        let (root, mut seen) = (self.root, 0);
        for _ in 0..=PEER_ROUNDS {
            let last = seen;
            let is_asked = || {
                seen = number_in(root, theirs)?;
                Ok(seen > last)
            };
            let waited_ms = self.meeting.wait(2 * PEER_STALE_MS_MAX, is_asked)?;
            if waited_ms == NEVER || seen == ENOUGH {
                break;
            }
            write_page(root, ours, 0, &number_page(seen))?;
        }
        Ok(Vec::new())
    }

    /// The sleeper does nothing while the other claims (G2), then writes its own slot, as a master
    /// does that was held up, and looks.
    pub(super) fn slept_through(&mut self, sleeper: Side) -> Result<(), ShareError> {
        let root = self.root;
        let claim = self.meeting.scratch(&format!("term.{sleeper:?}"));
        let slots = self.meeting.scratch(&format!("slots.{sleeper:?}"));
        let is_sleeper = self.meeting.side() == sleeper;
        if is_sleeper {
            write_page(root, &slots, 1, &[0; SLOT_BYTES])?;
            write_page(root, &slots, 0, &[MARK; SLOT_BYTES])?;
            // what it saw in its last proof, and may remember
            is_marked(root, &slots, 1)?;
        }
        self.meeting.meet(0)?;
        if !is_sleeper {
            create(root, &claim)?;
            write_page(root, &slots, 1, &[MARK; SLOT_BYTES])?;
        }
        self.meeting.meet(0)?;
        let (mut sees, mut is_refused) = (false, false);
        if is_sleeper {
            self.meeting.wait(PEER_SLEEP_MS, || Ok(false))?;
            write_page(root, &slots, 0, &[MARK; SLOT_BYTES])?;
            sees = is_marked(root, &slots, 1)?;
            is_refused = !create(root, &claim)?;
        }
        let sees = self.meeting.tell(sleeper, u64::from(sees))? != 0;
        let is_refused = self.meeting.tell(sleeper, u64::from(is_refused))? != 0;
        let is_harmless = !is_sleeper && is_marked(root, &slots, 1)?;
        let is_harmless = self.meeting.tell(sleeper.other(), u64::from(is_harmless))? != 0;
        self.say(judge_woken(sleeper, Woken { sees, is_refused, is_harmless }));
        Ok(())
    }
}

/// A slot that says a number.
fn number_page(number: u64) -> [u8; SLOT_BYTES] {
    let mut page = [0; SLOT_BYTES];
    page[..8].copy_from_slice(&number.to_le_bytes());
    page
}

/// The number that a page says; 0: none yet.
fn number_in(root: &Root, path: &Path) -> Result<u64, ShareError> {
    let mut bytes = [0; 8];
    match root.open(path).and_then(|file| file::read_at(&file, &mut bytes, 0)) {
        Ok(_) => Ok(u64::from_le_bytes(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(cannot("read", path, &error)),
    }
}

fn write_page(
    root: &Root,
    path: &Path,
    slot: usize,
    page: &[u8; SLOT_BYTES],
) -> Result<(), ShareError> {
    let written = root.open_or_create(path).and_then(|file| {
        file::write_at(&file, page, (slot * SLOT_BYTES) as u64)?;
        file::sync(&file)
    });
    written.map_err(|error| cannot("write", path, &error))
}

fn is_marked(root: &Root, path: &Path, slot: usize) -> Result<bool, ShareError> {
    let mut page = [0; SLOT_BYTES];
    let read = root.open(path);
    let read = read.and_then(|it| file::read_at(&it, &mut page, (slot * SLOT_BYTES) as u64));
    read.map_err(|error| cannot("read", path, &error))?;
    Ok(page == [MARK; SLOT_BYTES])
}

/// Judges the middle and the worst time until a page was answered; see the module.
fn judge_freshness([middle_ms, worst_ms]: [u64; 2], fence_ms: u64, heartbeat_ms: u64) -> Finding {
    let most_ms = (fence_ms / 4).min(u64::from(PEER_STALE_MS_MAX));
    let too_old = format!(
        "a quarter of ha.fence_ms, {most_ms} ms here, is the most: else a superseded master may \
         still send"
    );
    if worst_ms == NEVER {
        let seconds = PEER_STALE_MS_MAX / 1_000;
        let text = format!("freshness: a page was not answered for {seconds} s: {too_old}");
        return (Level::Fail, text);
    }
    let text = format!(
        "freshness: a page that one rewrites is seen and answered by the other in {middle_ms} ms, \
         {worst_ms} ms at worst"
    );
    let late_ms = u64::from(DOUBTFUL_HEARTBEATS - 1) * heartbeat_ms;
    if worst_ms > most_ms {
        let text = format!("{text}: {too_old}: raise ha.fence_ms, or find what slows it");
        (Level::Fail, text)
    } else if worst_ms > late_ms {
        let text = format!(
            "{text}: more than two heartbeats, so that a living master may seem silent: raise \
             ha.heartbeat_ms, or find what slows it"
        );
        (Level::Warn, text)
    } else {
        (Level::Pass, text)
    }
}

fn judge_woken(sleeper: Side, woken: Woken) -> Finding {
    let name = sleeper.name();
    let what = match woken {
        Woken { sees: true, is_refused: true, is_harmless: true } => {
            let text = format!(
                "late: {name} slept through a takeover, saw it at its first look, and its late write \
                 harmed nothing"
            );
            return (Level::Pass, text);
        }
        Woken { sees: false, .. } => "did not see the new master's slot",
        Woken { is_refused: false, .. } => "was given the new master's number too",
        Woken { is_harmless: false, .. } => "destroyed the new master's slot",
    };
    let text =
        format!("late: {name} slept through a takeover and {what}: this share cannot be used");
    (Level::Fail, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness_is_judged_by_the_configured_times() {
        for (worst_ms, fence_ms, heartbeat_ms, level) in [
            (1_250, 5_000, 1_000, Level::Pass),
            (1_251, 5_000, 1_000, Level::Fail),
            (376, 1_500, 200, Level::Fail),
            (2_001, 20_000, 1_000, Level::Warn),
            (10_000, 60_000, 20_000, Level::Pass),
            (NEVER, 60_000, 20_000, Level::Fail),
        ] {
            let (found, text) = judge_freshness([40, worst_ms], fence_ms, heartbeat_ms);
            assert_eq!(found, level, "{text}");
        }
    }

    #[test]
    fn only_a_sleeper_that_saw_all_passes() {
        for (sees, is_refused, is_harmless, level, part) in [
            (true, true, true, Level::Pass, "saw it at its first look"),
            (false, true, true, Level::Fail, "did not see the new master's slot"),
            (true, false, true, Level::Fail, "was given the new master's number too"),
            (true, true, false, Level::Fail, "destroyed the new master's slot"),
        ] {
            let woken = Woken { sees, is_refused, is_harmless };
            let (found, text) = judge_woken(Side::First, woken);
            assert_eq!(found, level, "{text}");
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
