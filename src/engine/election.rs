//! A standby's judgement: whether to try the lock, and when to claim.
//!
//! Every poll's outcome goes through [`Sight::observe`]; [`Sight::lock_wish`] says what the
//! next poll does with the lock, [`Sight::decide`] whether to claim now.
//!
//! | newest slot | lock | what is done |
//! |---|---|---|
//! | none | held | claim |
//! | none | busy | claim without it after `seize_ms` of silence |
//! | released, `locked` 0 | left alone | claim without it, if it is our turn |
//! | released, `locked` set | held | claim |
//! | released, lock distrusted | left alone | claim without it, if it is our turn |
//! | released, `locked` set | busy | claim without it after `seize_ms` of silence |
//! | active, `locked` 0 | left alone | claim without it after `seize_ms` of silence |
//! | active, same class, local or nfs4 | held | claim |
//! | active, otherwise | held | claim after three of its heartbeats of silence; two advances meanwhile: the lock does not exclude |
//! | active | busy or lost | claim without it after `seize_ms` of silence |
//! | claiming, by ourselves, and given up | any | claim without it after a `fence_ms` of silence: nobody else writes it, and it never forwarded |
//! | active, lock distrusted | left alone | claim without it after `seize_ms` of silence |
//!
//! A claiming slot counts as active. It is our turn on a released slot that names a successor
//! if we are it, or once `3·poll_ms` have passed since the release was seen.
//!
//! # Invariants
//!
//! - E1: silence grows only over gaps that our own successful observations bound; a changed
//!   slot ends it.
//! - E2: no claim rests on the lock alone: the number claimed is above every number seen.
//! - E3: a lock that was found not to exclude is not tried again until it is trusted anew; one of
//!   a mount that is judged unsafe never.
//!
//! It is not for what a master does with its term: that is `mandate`.

use super::ident::{NodeName, ShareClass, Term};
use super::planted::Rule;
use super::settings::{Host, Settings};
use super::share::{LockSeen, LockWish, Polled};
use super::slot::{Slot, SlotState};
use crate::limits::{ADVANCES_MAX, DOUBTFUL_HEARTBEATS, SIGHT_GAP_MS_MAX, SUCCESSOR_POLLS};

/// What a standby has seen of the newest term.
#[derive(Clone, Hash, Debug)]
pub struct Sight {
    newest: Option<Slot>,
    silent_ms: u64,
    seen_ms: Option<u64>,
    advances_held: u32,
    release_seen_ms: Option<u64>,
    lock: LockSeen,
    lock_distrusted: bool,
    mount_is_unsafe: bool,
    taken: Term,
}

/// What follows from what was seen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Decision {
    /// Poll on.
    Wait,
    /// Take the next number.
    Claim(Ground),
    /// The lock was granted although its holder lives: say so, and leave it alone (E3).
    LockDoesNotExclude,
}

/// Why a claim may be made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ground {
    /// Nobody was master before.
    First,
    /// The last master released its term.
    Released,
    /// Its lock came free, so its process is gone.
    LockFree,
    /// Its lock came free and it fell silent.
    Silent,
    /// Its lock never came free, or it had none; only silence speaks.
    Seized,
}

impl Ground {
    /// As alerts and log name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Released => "released",
            Self::LockFree => "process gone",
            Self::Silent => "host silent",
            Self::Seized => "seized",
        }
    }
}

impl Default for Sight {
    fn default() -> Self {
        Self {
            newest: None,
            silent_ms: 0,
            seen_ms: None,
            advances_held: 0,
            release_seen_ms: None,
            lock: LockSeen::Left,
            lock_distrusted: false,
            mount_is_unsafe: false,
            taken: 0,
        }
    }
}

impl Sight {
    /// Takes in a poll's outcome, at the time at which it came.
    pub fn observe(&mut self, now_ms: u64, polled: &Polled, settings: &Settings) {
        let held_before = self.locked() != 0;
        self.lock = polled.lock;
        self.taken = self.taken.max(polled.taken);
        let gap_ms = self.seen_ms.map_or(u64::MAX, |seen_ms| now_ms - seen_ms);
        self.seen_ms = Some(now_ms);
        if self.is_unchanged(polled.newest.as_ref()) {
            if gap_ms <= u64::from(SIGHT_GAP_MS_MAX.max(3 * settings.poll_ms)) {
                self.silent_ms += gap_ms;
            }
            return;
        }
        let same_term = match (&self.newest, &polled.newest) {
            (Some(old), Some(new)) => old.term == new.term,
            _ => false,
        };
        // An advance counts if the lock was ours before it, too.
        let held = held_before && self.locked() != 0;
        self.advances_held = if same_term && held { self.advances_held + 1 } else { 0 };
        self.silent_ms = 0;
        self.release_seen_ms =
            polled.newest.as_ref().filter(|slot| slot.is_released()).map(|_| now_ms);
        self.newest.clone_from(&polled.newest);
    }

    /// Notes that a number was found taken, or is taken now by ourselves.
    pub fn note_taken(&mut self, term: Term) {
        self.taken = self.taken.max(term);
    }

    /// Takes a slot of our own, or one seen by a proof, as the newest known.
    pub fn note_slot(&mut self, now_ms: u64, slot: &Slot) {
        if self.newest.as_ref().is_some_and(|newest| newest.term > slot.term) {
            return;
        }
        self.release_seen_ms = slot.is_released().then_some(now_ms);
        self.newest = Some(slot.clone());
        self.silent_ms = 0;
        self.advances_held = 0;
        self.seen_ms = Some(now_ms);
    }

    /// Forgets the lock: the keeper holds none.
    pub fn forget_lock(&mut self) {
        self.lock = LockSeen::Left;
        self.advances_held = 0;
    }

    /// Observations before a share was reopened bound no silence after it (E1).
    pub fn break_off(&mut self) {
        self.seen_ms = None;
        self.forget_lock();
    }

    /// SIGHUP or a remount: the lock may be believed again.
    pub fn trust_lock(&mut self) {
        self.lock_distrusted = false;
    }

    /// The lock was shown not to exclude (E3).
    pub fn distrust_lock(&mut self) {
        self.lock_distrusted = true;
    }

    /// What the mount's options say of its locks; SIGHUP does not change that.
    pub fn judge_mount(&mut self, is_safe: bool) {
        self.mount_is_unsafe = !is_safe;
    }

    /// Whether the lock is left alone (E3).
    pub fn is_lock_distrusted(&self) -> bool {
        self.lock_distrusted || self.mount_is_unsafe
    }

    /// Whether the lock was shown not to exclude.
    pub fn was_lock_given_twice(&self) -> bool {
        self.lock_distrusted
    }

    /// The newest slot seen.
    pub fn newest(&self) -> Option<&Slot> {
        self.newest.as_ref()
    }

    /// The newest term seen; 0: none.
    pub fn newest_term(&self) -> Term {
        self.newest.as_ref().map_or(0, |slot| slot.term)
    }

    /// For how long the newest slot was seen unchanged, in ms.
    pub fn silent_ms(&self) -> u64 {
        self.silent_ms
    }

    /// How long ago the newest slot was last seen, in ms.
    pub fn seen_ago_ms(&self, now_ms: u64) -> u64 {
        self.seen_ms.map_or(0, |seen_ms| now_ms.saturating_sub(seen_ms))
    }

    /// The number to claim next (E2).
    pub fn next_term(&self) -> Term {
        self.newest_term().max(self.taken) + 1
    }

    /// Inode of the lock file whose lock the keeper holds; 0: none.
    pub fn locked(&self) -> u64 {
        match self.lock {
            LockSeen::Held { inode } => inode,
            LockSeen::Left | LockSeen::Busy | LockSeen::Lost => 0,
        }
    }

    /// What the next poll does with the lock.
    pub fn lock_wish(&self, now_ms: u64, host: &Host, settings: &Settings) -> LockWish {
        if self.is_lock_distrusted() {
            return LockWish::Leave;
        }
        let Some(slot) = &self.newest else { return LockWish::Try };
        let is_others_turn = slot.is_released() && !self.is_our_turn(now_ms, &host.node, settings);
        if says_unlocked(slot, host) || is_others_turn {
            return LockWish::Leave;
        }
        LockWish::Try
    }

    /// Whether to claim, by what was seen last.
    pub fn decide(
        &self,
        now_ms: u64,
        host: &Host,
        class: ShareClass,
        settings: &Settings,
    ) -> Decision {
        let Host { node, alone, .. } = host;
        // a second agent never seizes
        let seizes = !*alone && !host.left_out.has(Rule::SilenceSeizes);
        let seize = if seizes && self.silent_ms >= u64::from(settings.seize_ms) {
            Decision::Claim(Ground::Seized)
        } else {
            Decision::Wait
        };
        let held = self.locked() != 0;
        let Some(slot) = &self.newest else {
            return if held { Decision::Claim(Ground::First) } else { seize };
        };
        if slot.is_released() {
            let free = held || slot.locked == 0 || self.is_lock_distrusted();
            let ours = self.is_our_turn(now_ms, node, settings);
            return if free && ours { Decision::Claim(Ground::Released) } else { seize };
        }
        let given_up = slot.state == SlotState::Claiming && slot.nonce == host.nonce;
        if given_up && self.silent_ms >= u64::from(settings.fence_ms) {
            return Decision::Claim(Ground::Released);
        }
        if !held || says_unlocked(slot, host) || self.is_lock_distrusted() {
            return seize;
        }
        let silence = slot.class != class || class == ShareClass::Doubtful;
        if !silence || host.left_out.has(Rule::SilenceWhereDoubtful) {
            return Decision::Claim(Ground::LockFree);
        }
        if self.advances_held >= ADVANCES_MAX && !host.left_out.has(Rule::DistrustedLeftAlone) {
            return Decision::LockDoesNotExclude;
        }
        let enough_ms = u64::from(DOUBTFUL_HEARTBEATS) * u64::from(slot.heartbeat_ms);
        if self.silent_ms >= enough_ms { Decision::Claim(Ground::Silent) } else { Decision::Wait }
    }

    fn is_unchanged(&self, seen: Option<&Slot>) -> bool {
        match (&self.newest, seen) {
            // An older slot than the one we knew, or none, is no sign of life.
            (_, None) => true,
            (Some(old), Some(new)) if new.term < old.term => true,
            (Some(old), Some(new)) => {
                (old.term, old.nonce, old.heartbeat) == (new.term, new.nonce, new.heartbeat)
            }
            (None, Some(_)) => false,
        }
    }

    fn is_our_turn(&self, now_ms: u64, node: &NodeName, settings: &Settings) -> bool {
        let Some(slot) = &self.newest else { return true };
        let SlotState::Released { successor: Some(successor), .. } = &slot.state else {
            return true;
        };
        let wait_ms = u64::from(SUCCESSOR_POLLS) * u64::from(settings.poll_ms);
        successor == node || self.release_seen_ms.is_none_or(|seen_ms| now_ms >= seen_ms + wait_ms)
    }
}

/// Whether a slot says that its master holds no lock.
fn says_unlocked(slot: &Slot, host: &Host) -> bool {
    let believed =
        host.left_out.has(Rule::LockedSaid) || host.left_out.has(Rule::UnlockedLeftAlone);
    slot.locked == 0 && (slot.is_released() || !believed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::slot::{LaneMark, ReleaseReason};

    const HELD: LockSeen = LockSeen::Held { inode: 7 };

    fn name(text: &str) -> NodeName {
        NodeName::parse(text).expect("a name")
    }

    fn slot(locked: u64, class: ShareClass, state: SlotState) -> Slot {
        Slot {
            term: 4,
            node: name("gw-1"),
            nonce: 1,
            heartbeat: 10,
            state,
            locked,
            fenced: true,
            class,
            heartbeat_ms: 1_000,
            fence_ms: 5_000,
            lanes: [LaneMark::default(); 2],
            started_wall_ms: 0,
            ended_wall_ms: 0,
        }
    }

    fn released(locked: u64, successor: Option<&str>) -> Slot {
        let successor = successor.map(name);
        let state = SlotState::Released { reason: ReleaseReason::Switchover, successor };
        slot(locked, ShareClass::Local, state)
    }

    fn active(locked: u64, class: ShareClass) -> Slot {
        slot(locked, class, SlotState::Active)
    }

    /// Polls every 500 ms from 0 on; returns the sight and the last time.
    fn watch(newest: Option<&Slot>, lock: LockSeen, for_ms: u64) -> (Sight, u64) {
        let mut sight = Sight::default();
        let mut now_ms = 0;
        loop {
            let polled = Polled { lock, newest: newest.cloned(), taken: 0 };
            sight.observe(now_ms, &polled, &Settings::default());
            if now_ms >= for_ms {
                return (sight, now_ms);
            }
            now_ms += 500;
        }
    }

    fn decide(sight: &Sight, now_ms: u64, class: ShareClass) -> Decision {
        sight.decide(now_ms, &host(false), class, &Settings::default())
    }

    fn host(alone: bool) -> Host {
        Host {
            node: name("gw-2"),
            nonce: 2,
            advertise: heapless::String::new(),
            version: heapless::String::new(),
            alone,
            run_dir_ours: true,
            left_out: crate::engine::planted::LeftOut::default(),
        }
    }

    #[test]
    fn our_own_claim_that_was_given_up_is_not_waited_for_long() {
        let claiming = |nonce| Slot { nonce, ..slot(7, ShareClass::Doubtful, SlotState::Claiming) };
        for (nonce, for_ms, expected) in [
            (2, 4_500, Decision::Wait),
            (2, 5_000, Decision::Claim(Ground::Released)),
            (1, 59_500, Decision::Wait),
        ] {
            let (sight, now_ms) = watch(Some(&claiming(nonce)), LockSeen::Busy, for_ms);
            let decision = decide(&sight, now_ms, ShareClass::Doubtful);
            assert_eq!(decision, expected, "{nonce} {for_ms}");
        }
    }

    #[test]
    fn the_table_of_the_module() {
        use ShareClass::{Doubtful, Local, Nfs4};
        let claim = Decision::Claim;
        let rows: [(Option<Slot>, LockSeen, u64, ShareClass, Decision); 17] = [
            (None, HELD, 0, Local, claim(Ground::First)),
            (None, LockSeen::Busy, 59_000, Local, Decision::Wait),
            (None, LockSeen::Busy, 60_000, Local, claim(Ground::Seized)),
            (Some(released(0, None)), LockSeen::Left, 0, Local, claim(Ground::Released)),
            (Some(released(7, None)), HELD, 0, Doubtful, claim(Ground::Released)),
            (Some(released(7, Some("gw-2"))), HELD, 0, Local, claim(Ground::Released)),
            (Some(released(7, Some("gw-3"))), HELD, 1_000, Local, Decision::Wait),
            (Some(released(7, Some("gw-3"))), HELD, 1_500, Local, claim(Ground::Released)),
            (Some(released(7, None)), LockSeen::Busy, 60_000, Local, claim(Ground::Seized)),
            (Some(active(0, Local)), LockSeen::Left, 59_500, Local, Decision::Wait),
            (Some(active(0, Local)), LockSeen::Left, 60_000, Local, claim(Ground::Seized)),
            (Some(active(7, Local)), HELD, 0, Local, claim(Ground::LockFree)),
            (Some(active(7, Nfs4)), HELD, 0, Nfs4, claim(Ground::LockFree)),
            (Some(active(7, Nfs4)), HELD, 2_500, Local, Decision::Wait),
            (Some(active(7, Doubtful)), HELD, 3_000, Doubtful, claim(Ground::Silent)),
            (Some(active(7, Local)), LockSeen::Busy, 59_500, Local, Decision::Wait),
            (Some(active(7, Local)), LockSeen::Lost, 60_000, Local, claim(Ground::Seized)),
        ];
        for (row, (newest, lock, for_ms, class, expected)) in rows.into_iter().enumerate() {
            let (sight, now_ms) = watch(newest.as_ref(), lock, for_ms);
            assert_eq!(decide(&sight, now_ms, class), expected, "row {row}");
        }
    }

    #[test]
    fn two_advances_under_our_lock_show_that_it_does_not_exclude() {
        let mut sight = Sight::default();
        let mut slot = active(7, ShareClass::Doubtful);
        for advance in 0..3 {
            slot.heartbeat += 1;
            let polled = Polled { lock: HELD, newest: Some(slot.clone()), taken: 0 };
            sight.observe(advance * 1_000, &polled, &Settings::default());
        }
        assert_eq!(decide(&sight, 2_000, ShareClass::Doubtful), Decision::LockDoesNotExclude);
        sight.distrust_lock();
        let settings = Settings::default();
        assert_eq!(sight.lock_wish(2_000, &host(false), &settings), LockWish::Leave, "E3");
        assert_eq!(decide(&sight, 9_000, ShareClass::Doubtful), Decision::Wait);
        let newest = Some(released(7, None));
        let polled = Polled { lock: LockSeen::Left, newest, taken: 0 };
        let mut ended = sight.clone();
        ended.observe(3_000, &polled, &settings);
        let decision = decide(&ended, 3_000, ShareClass::Doubtful);
        assert_eq!(decision, Decision::Claim(Ground::Released), "a clean stop counts");
        sight.trust_lock();
        assert_eq!(sight.lock_wish(2_000, &host(false), &settings), LockWish::Try);
    }

    #[test]
    fn silence_does_not_grow_over_a_gap_in_which_nothing_was_seen() {
        let newest = active(7, ShareClass::Local);
        let (mut sight, now_ms) = watch(Some(&newest), LockSeen::Busy, 5_000);
        assert_eq!(sight.silent_ms(), 5_000);
        let polled = Polled { lock: LockSeen::Busy, newest: Some(newest.clone()), taken: 0 };
        sight.observe(now_ms + 100_000, &polled, &Settings::default());
        assert_eq!(sight.silent_ms(), 5_000, "E1: our own share was away");
        sight.break_off();
        sight.observe(now_ms + 100_500, &polled, &Settings::default());
        assert_eq!(sight.silent_ms(), 5_000, "E1: reopened");
        let mut advanced = newest;
        advanced.heartbeat += 1;
        let polled = Polled { newest: Some(advanced), ..polled };
        sight.observe(now_ms + 101_000, &polled, &Settings::default());
        assert_eq!(sight.silent_ms(), 0);
    }

    #[test]
    fn a_slot_that_vanishes_is_no_sign_of_life() {
        let newest = active(7, ShareClass::Local);
        let (mut sight, now_ms) = watch(Some(&newest), LockSeen::Busy, 1_000);
        let mut older = newest;
        older.term = 3;
        for (step, seen) in [None, Some(older)].into_iter().enumerate() {
            let polled = Polled { lock: LockSeen::Busy, newest: seen, taken: 0 };
            sight.observe(now_ms + 500 * (step as u64 + 1), &polled, &Settings::default());
        }
        assert_eq!((sight.newest_term(), sight.silent_ms()), (4, 2_000));
    }

    #[test]
    fn the_next_number_is_above_all_that_was_seen() {
        let (mut sight, _) = watch(Some(&active(7, ShareClass::Local)), LockSeen::Busy, 0);
        assert_eq!(sight.next_term(), 5);
        sight.note_taken(9);
        assert_eq!(sight.next_term(), 10, "E2");
        let mut empty = Sight::default();
        let polled = Polled { lock: HELD, newest: None, taken: 41 };
        empty.observe(0, &polled, &Settings::default());
        assert_eq!(empty.next_term(), 42, "E2: found by listing");
    }

    #[test]
    fn a_second_agent_of_a_node_alone_never_seizes() {
        let (sight, now_ms) = watch(Some(&active(7, ShareClass::Local)), LockSeen::Busy, 90_000);
        let settings = Settings::default();
        let decision = sight.decide(now_ms, &host(true), ShareClass::Local, &settings);
        assert_eq!(decision, Decision::Wait);
    }
}
