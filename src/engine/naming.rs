//! Whether the name that we go by is ours alone.
//!
//! Nodes are known by their names: two live ones of one name write one record, are one node to
//! all others, and are one successor to a master. So only one of them takes part. This is for
//! order, not for safety: whatever two of them do meanwhile, terms and leases bound.
//!
//! Every look at our own record goes through [`Naming::observe`]: before anything else is done
//! on a share that was opened, each heartbeat while we wait, and before each rewrite later on.
//!
//! | the name is | our own record shows | what follows |
//! |---|---|---|
//! | not looked for yet | nothing, or our nonce | it is ours |
//! | | a foreign nonce that stopped | it is ours |
//! | | a foreign nonce of our machine: of an earlier boot, or of this boot and of our run directory; and we listen in our run directory | a restart: it is ours |
//! | | any other foreign nonce | we wait |
//! | | that it cannot be read, twice in a row | as if nothing was found |
//! | waited for | a change | its silence is counted anew |
//! | | a foreign nonce that stopped | it is ours |
//! | | nothing new for 11 s | it is ours |
//! | | that it cannot be read | we wait on |
//! | ours | anything, as our first record is written over it | nothing |
//! | | a foreign nonce for the first time | noted: it may be the late write of a dead process |
//! | | that nonce, with a higher beat | another lives under our name: who yields, waits |
//! | | that nonce, no higher beat | a stale page, or one write that landed late: nothing |
//! | | nothing foreign for 11 s, or that nonce stopped | what was noted is forgotten |
//!
//! Who yields: never one that claims or has a term; else whoever sees that the other claims or
//! has one; of two that have none, the one with the larger nonce.
//!
//! # Cases
//!
//! | case | what becomes of it |
//! |---|---|
//! | both start at once and find nothing | both write, each finds the other's record, twice; one yields within three rewrites |
//! | both find the record of one that died | both wait (or both take it for their own restart), then as above |
//! | cloned cards: equal machine and host name | each takes the other for its own former process, then as above |
//! | two containers of one image on one host | equal boot; their run directories lie on other devices or in other folders of one |
//! | a former process writes late | one foreign write, which ours covers: N3 |
//! | two of its writes land late | the node yields, and has its name back after 11 s |
//! | a stale page is read on NFS | its beat is not higher: N3 |
//! | each sees the other as master, though one has resigned since | both wait, both take the name 11 s later, and then compare nonces |
//! | both claim or have a term | the lower term ends, and its node yields |
//! | three of one name | the largest nonce yields to whom it sees, then the next |
//! | two agents alone on one directory | the second waits; once it has the name it stands by, and never seizes |
//! | a frozen process thaws after its name was taken | as two that live |
//! | our share was away, another has the name now | looked for anew at the opening |
//! | the folder of records fails, and nothing else does | whoever does not wait yet takes part; what two of one name do until it is mended, terms bound |
//!
//! # Invariants
//!
//! - N1: a node that does not have its name neither polls, nor tries the lock, nor claims, nor
//!   writes a record; a lock that it holds, it gives up first.
//! - N2: a node that claims or has a term never yields; of two that have none and see each
//!   other, one does: in the end one has the name, and who waits takes it when that one is gone.
//! - N3: a node yields only to a nonce that it saw twice, at a higher beat the second time,
//!   after its own record was written.
//! - N4: silence is counted as in `roster`: over gaps that our own looks bound. One that could
//!   not read our record bounds none.
//! - N5: that a look fails keeps nobody from taking part whom no earlier look kept: whether the
//!   share itself is bad, a poll finds out.
//!
//! It also has the names of nodes forgotten that were not seen for long, or that take up the room
//! of others.

use heapless::String;
use serde::{Deserialize, Serialize};

use super::ident::{NodeName, Role};
use super::node_notes::{NameNote, NodeNote};
use super::notes::Note;
use super::roster::Roster;
use super::share::{FaultClass, NodesRead, NodesSeen, OwnRecord, ShareError, ShareOrder};
use super::standby::tell;
use super::{Asked, Effect, Engine, Now, Out, Stage};
use crate::limits::{HOST_NAME_MAX, NODE_LIST_EVERY_MS, NODE_SILENT_MS};

/// Our own record, found under a nonce that is not ours.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Namesake {
    /// Random number of the process that wrote it.
    pub nonce: u64,
    /// Counts its writes.
    pub beat: u32,
    /// What it was doing.
    pub role: Role,
    /// Whether it was written on this machine,
    pub same_machine: bool,
    /// since this machine was started,
    pub same_boot: bool,
    /// by an agent with our run directory.
    pub same_run_dir: bool,
    /// Its host's name; empty: not said.
    pub host: String<HOST_NAME_MAX>,
}

impl Namesake {
    /// Whether only a former process of this very node can have written it, as far as one can
    /// tell from here.
    fn is_former_self(&self, run_dir_ours: bool) -> bool {
        self.same_machine && run_dir_ours && (!self.same_boot || self.same_run_dir)
    }

    const fn has_term(&self) -> bool {
        matches!(self.role, Role::Claiming | Role::Master | Role::Resigning)
    }
}

/// Whose the name is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Hold {
    Unknown,
    Waiting,
    Ours,
}

/// Who else goes by our name.
#[derive(Clone, Copy, Hash, Debug)]
struct Rival {
    nonce: u64,
    beat: u32,
    silent_ms: u64,
    /// It was seen to advance (N3).
    lives: bool,
}

/// What we are, while we look.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) struct We {
    pub(super) nonce: u64,
    /// We claim or have a term.
    pub(super) has_term: bool,
    /// No other agent runs in our run directory.
    pub(super) run_dir_ours: bool,
}

impl We {
    /// N2.
    const fn yield_to(self, other: &Namesake) -> bool {
        !self.has_term && (other.has_term() || self.nonce > other.nonce)
    }
}

/// What we know of our name.
#[derive(Clone, Hash, Debug)]
pub(super) struct Naming {
    hold: Hold,
    rival: Option<Rival>,
    seen_ms: Option<u64>,
    /// The last look failed.
    is_blind: bool,
    /// Our own record was written since the name is ours.
    is_written: bool,
    /// Its first writing is to be ordered before anything else.
    record_due: bool,
    /// We yielded, and the keeper may hold the lock (N1).
    lock_to_leave: bool,
    /// The node whose record is being deleted, and for how long it was silent.
    forgetting: Option<(NodeName, u64)>,
    forget_due_ms: u64,
}

impl Default for Naming {
    fn default() -> Self {
        Self {
            hold: Hold::Unknown,
            rival: None,
            seen_ms: None,
            is_blind: false,
            is_written: false,
            record_due: false,
            lock_to_leave: false,
            forgetting: None,
            forget_due_ms: 0,
        }
    }
}

impl Naming {
    /// Whether we may take part (N1).
    pub(super) fn is_ours(&self) -> bool {
        self.hold == Hold::Ours
    }

    /// Whether another live node is known to go by our name.
    pub(super) fn is_taken(&self) -> bool {
        self.hold == Hold::Waiting || self.rival.is_some_and(|rival| rival.lives)
    }

    /// The share was opened: who has the name now, must be seen anew.
    pub(super) fn look_again(&mut self) {
        if self.hold == Hold::Ours {
            self.hold = Hold::Unknown;
            self.rival = None;
        }
        self.seen_ms = None;
    }

    /// Looks before the share was away bound no silence after it (N4).
    pub(super) fn break_off(&mut self) {
        self.seen_ms = None;
        // It went with the keeper.
        self.lock_to_leave = false;
    }

    /// Whether our record is to be written before anything else: whoever comes later finds it.
    pub(super) fn is_record_due(&self) -> bool {
        self.hold == Hold::Ours && self.record_due
    }

    /// It is ordered. Should it fail, it is not waited for.
    pub(super) fn record_ordered(&mut self) {
        self.record_due = false;
    }

    /// Takes in a look at our own record; tells what is new.
    pub(super) fn observe(
        &mut self,
        now_ms: u64,
        gap_ms_max: u64,
        seen: Option<&Namesake>,
        we: We,
    ) -> Option<NameNote> {
        self.is_blind = false;
        let gap_ms = self.seen_ms.map_or(0, |seen_ms| now_ms - seen_ms);
        self.seen_ms = Some(now_ms);
        if let Some(rival) = self.rival.as_mut().filter(|_| gap_ms <= gap_ms_max) {
            rival.silent_ms += gap_ms;
        }
        match self.hold {
            Hold::Unknown => self.found(seen, we),
            Hold::Waiting => self.waited(seen),
            Hold::Ours => self.checked(seen, we),
        }
    }

    /// A look failed (N5); whether the share is to be opened anew, which mends it or tells why.
    fn note_blind(&mut self) -> bool {
        if self.hold == Hold::Ours {
            return false;
        }
        let is_again = core::mem::replace(&mut self.is_blind, true);
        if is_again && self.hold == Hold::Unknown {
            self.take();
        }
        !is_again && self.hold == Hold::Waiting
    }

    fn found(&mut self, seen: Option<&Namesake>, we: We) -> Option<NameNote> {
        let other = seen
            .filter(|other| other.role != Role::Stopped)
            .filter(|other| !other.is_former_self(we.run_dir_ours));
        let Some(other) = other else {
            self.take();
            return None;
        };
        self.hold = Hold::Waiting;
        self.rival = Some(Rival::of(other));
        Some(NameNote::Taken)
    }

    fn waited(&mut self, seen: Option<&Namesake>) -> Option<NameNote> {
        let known = self.rival.map(|rival| (rival.nonce, rival.beat));
        if let Some(other) = seen.filter(|other| Some((other.nonce, other.beat)) != known) {
            self.rival = Some(Rival::of(other));
        }
        let stopped = seen.is_some_and(|other| other.role == Role::Stopped);
        if !stopped && !self.is_rival_silent() {
            return None;
        }
        self.take();
        Some(NameNote::Free)
    }

    fn checked(&mut self, seen: Option<&Namesake>, we: We) -> Option<NameNote> {
        if !core::mem::replace(&mut self.is_written, true) {
            // This look came with our first write: what it shows was there before (N3).
            return None;
        }
        let was_known = self.rival.is_some_and(|rival| rival.lives);
        match (seen, self.rival.as_mut()) {
            (Some(other), Some(rival)) if rival.nonce == other.nonce => {
                if other.role == Role::Stopped {
                    self.rival = None;
                } else if rival.advance(other) && we.yield_to(other) {
                    self.hold = Hold::Waiting;
                    self.lock_to_leave = true;
                    return Some(NameNote::Yielded);
                }
            }
            (Some(other), _) if other.role != Role::Stopped => {
                self.rival = Some(Rival { lives: was_known, ..Rival::of(other) });
            }
            (Some(_) | None, _) => {}
        }
        if self.is_rival_silent() {
            self.rival = None;
        }
        let is_known = self.rival.is_some_and(|rival| rival.lives);
        match (was_known, is_known) {
            (false, true) => Some(NameNote::Disputed),
            (true, false) => Some(NameNote::Undisputed),
            (true, true) | (false, false) => None,
        }
    }

    fn is_rival_silent(&self) -> bool {
        self.rival.is_some_and(|rival| rival.silent_ms >= u64::from(NODE_SILENT_MS))
    }

    /// N3: what was seen before this counts for nothing.
    fn take(&mut self) {
        self.hold = Hold::Ours;
        self.rival = None;
        self.is_written = false;
        self.record_due = true;
        self.lock_to_leave = false;
    }
}

impl Rival {
    fn of(other: &Namesake) -> Self {
        Self { nonce: other.nonce, beat: other.beat, silent_ms: 0, lives: false }
    }

    /// Takes in a record of its; whether it is a later one than the last.
    fn advance(&mut self, other: &Namesake) -> bool {
        let ahead = other.beat.wrapping_sub(self.beat);
        let is_later = ahead != 0 && ahead <= u32::MAX / 2;
        if is_later {
            *self = Self { lives: true, ..Self::of(other) };
        }
        is_later
    }
}

impl Engine {
    /// Whether this node takes no part because another has its name.
    pub fn waits_for_name(&self) -> bool {
        self.naming.hold == Hold::Waiting
    }

    pub(super) fn has_name(&self) -> bool {
        self.naming.is_ours()
    }

    /// Looks at our own record, while the name is not ours (N1).
    pub(super) fn order_look(&mut self, now: Now, out: &mut Out<'_>) {
        if self.naming.lock_to_leave {
            self.naming.lock_to_leave = false;
            self.sight.forget_lock();
            self.ask(now, Asked::Release, ShareOrder::Release(None), out);
        } else if now.ms >= self.nodes_due_ms {
            self.order_nodes(now, NodesRead::Nothing, out);
        }
    }

    pub(super) fn look_due_ms(&self) -> u64 {
        if self.naming.lock_to_leave { 0 } else { self.nodes_due_ms }
    }

    /// Who waits polls nothing that would find out what is wrong.
    pub(super) fn look_failed(&mut self, now: Now, error: &ShareError) {
        if self.stage != Stage::Standby {
            return;
        }
        if self.naming.note_blind() && error.fault.class() == FaultClass::Reopen {
            self.sight.break_off();
            self.poll_due_ms = now.ms + u64::from(self.settings.poll_ms);
            self.stage = Stage::Closed;
        }
    }

    /// Judges what stands in our own record.
    pub(super) fn judge_name(&mut self, now: Now, seen: &NodesSeen, out: &mut Out<'_>) {
        let we = We {
            nonce: self.host.nonce,
            has_term: self.stage != Stage::Standby,
            run_dir_ours: self.host.run_dir_ours,
        };
        let gap_ms_max = self.records_gap_ms_max();
        let own = match &seen.own {
            OwnRecord::Unread => return,
            OwnRecord::Clear => None,
            OwnRecord::Foreign(other) => Some(other),
        };
        let Some(what) = self.naming.observe(now.ms, gap_ms_max, own, we) else { return };
        match what {
            NameNote::Free => self.poll_due_ms = now.ms,
            // Who waits does not look at the others.
            NameNote::Yielded => self.roster = Roster::default(),
            NameNote::Taken | NameNote::Disputed | NameNote::Undisputed => {}
        }
        let host = own.map(|other| other.host.clone()).unwrap_or_default();
        let here = own.is_some_and(|other| other.same_machine && other.same_boot);
        let node = self.host.node.clone();
        out(Effect::Note(Note::Node(NodeNote::Name { node, host, here, what })));
    }

    /// Has the record deleted of a node that has not been seen for long, or that takes up the
    /// room of others; whether it was ordered.
    pub(super) fn order_forget(&mut self, now: Now, out: &mut Out<'_>) -> bool {
        if now.ms < self.naming.forget_due_ms {
            return false;
        }
        let Some((node, silent_ms)) = self.roster.forgettable() else { return false };
        let node = node.clone();
        self.naming.forget_due_ms = now.ms + u64::from(NODE_LIST_EVERY_MS);
        self.naming.forgetting = Some((node.clone(), silent_ms));
        self.ask(now, Asked::Forget, ShareOrder::Forget { node }, out);
        true
    }

    pub(super) fn forgotten(&mut self, out: &mut Out<'_>) {
        let Some((node, silent_ms)) = self.naming.forgetting.take() else { return };
        let tells = self.stage == Stage::Master;
        self.roster.forget(&node, |change| {
            if tells {
                tell(change, out);
            }
        });
        out(Effect::Note(Note::Node(NodeNote::Forgotten { node, silent_ms })));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDBY: We = We { nonce: 50, has_term: false, run_dir_ours: true };
    const MASTER: We = We { has_term: true, ..STANDBY };
    const GAP_MS_MAX: u64 = 8_500;

    fn other(nonce: u64, beat: u32, role: Role) -> Namesake {
        Namesake {
            nonce,
            beat,
            role,
            same_machine: false,
            same_boot: false,
            same_run_dir: false,
            host: String::new(),
        }
    }

    fn standby(nonce: u64, beat: u32) -> Namesake {
        other(nonce, beat, Role::Standby)
    }

    /// Looks once a second; gives what was told.
    fn look(
        naming: &mut Naming,
        from_ms: u64,
        we: We,
        looks: &[Option<Namesake>],
    ) -> Vec<Option<NameNote>> {
        let looks = looks.iter().zip((from_ms..).step_by(1_000));
        looks.map(|(seen, ms)| naming.observe(ms, GAP_MS_MAX, seen.as_ref(), we)).collect()
    }

    fn ours() -> Naming {
        let mut naming = Naming::default();
        assert_eq!(naming.observe(0, GAP_MS_MAX, None, STANDBY), None);
        assert!(naming.is_ours());
        assert_eq!(naming.observe(0, GAP_MS_MAX, Some(&standby(9, 9)), STANDBY), None);
        naming
    }

    #[test]
    fn what_is_found_first_decides_whether_we_wait() {
        let on = |same_machine, same_boot, same_run_dir| {
            Some(Namesake { same_machine, same_boot, same_run_dir, ..standby(7, 3) })
        };
        let apart = We { run_dir_ours: false, ..STANDBY };
        let rows = [
            (None, STANDBY, true),
            (Some(other(7, 3, Role::Stopped)), STANDBY, true),
            (Some(standby(7, 3)), STANDBY, false),
            (Some(other(7, 3, Role::Master)), STANDBY, false),
            // a restart, or a reboot
            (on(true, true, true), STANDBY, true),
            (on(true, false, true), STANDBY, true),
            (on(true, false, false), STANDBY, true),
            // another agent of this machine, or one that runs in our run directory
            (on(true, true, false), STANDBY, false),
            (on(true, true, true), apart, false),
            (on(true, false, true), apart, false),
            (on(false, true, true), STANDBY, false),
        ];
        for (row, (seen, we, expected)) in rows.into_iter().enumerate() {
            let mut naming = Naming::default();
            assert!(!naming.is_ours() && !naming.is_taken());
            let told = naming.observe(5, GAP_MS_MAX, seen.as_ref(), we);
            assert_eq!(naming.is_ours(), expected, "row {row}");
            assert_eq!(naming.is_taken(), !expected, "row {row}");
            assert_eq!(told, (!expected).then_some(NameNote::Taken), "row {row}");
        }
    }

    #[test]
    fn a_name_is_waited_for_until_its_holder_is_silent_or_stops() {
        let mut naming = Naming::default();
        let lives: Vec<_> = (0..60).map(|beat| Some(standby(7, beat / 5))).collect();
        let told = look(&mut naming, 0, STANDBY, &lives);
        assert_eq!(told[0], Some(NameNote::Taken));
        assert!(told[1..].iter().all(Option::is_none) && naming.is_taken());
        let silent = vec![Some(standby(7, 11)); 12];
        let told = look(&mut naming, 60_000, STANDBY, &silent);
        let free = told.iter().position(|told| *told == Some(NameNote::Free));
        // unchanged since the 55th second
        assert_eq!(free, Some(6));
        assert!(naming.is_ours() && !naming.is_taken());

        let mut naming = Naming::default();
        let stops = [Some(standby(7, 1)), Some(other(7, 2, Role::Stopped))];
        let told = look(&mut naming, 0, STANDBY, &stops);
        assert_eq!(told, [Some(NameNote::Taken), Some(NameNote::Free)]);
    }

    #[test]
    fn silence_does_not_grow_while_nothing_could_be_seen() {
        let mut naming = Naming::default();
        look(&mut naming, 0, STANDBY, &vec![Some(standby(7, 1)); 5]);
        assert_eq!(naming.observe(100_000, GAP_MS_MAX, Some(&standby(7, 1)), STANDBY), None);
        naming.break_off();
        assert_eq!(naming.observe(107_000, GAP_MS_MAX, Some(&standby(7, 1)), STANDBY), None);
        assert!(!naming.is_ours(), "N4");
        naming.look_again();
        let told = look(&mut naming, 108_000, STANDBY, &vec![Some(standby(7, 1)); 8]);
        assert_eq!(told.last(), Some(&Some(NameNote::Free)), "what was counted still counts");
    }

    #[test]
    fn what_cannot_be_read_counts_for_nothing() {
        let mut naming = Naming::default();
        assert!(!naming.note_blind() && !naming.is_ours(), "it is looked for once more");
        assert!(!naming.note_blind() && naming.is_ours(), "N5");
        naming.look_again();
        assert!(!naming.note_blind() && naming.is_ours(), "known to fail");
        naming.look_again();
        assert_eq!(
            naming.observe(0, GAP_MS_MAX, Some(&standby(7, 1)), STANDBY),
            Some(NameNote::Taken)
        );
        assert!(naming.note_blind(), "the share is opened anew, once");
        assert!((0..100).all(|_| !naming.note_blind()) && !naming.is_ours());
        let told = look(&mut naming, 10_000, STANDBY, &vec![Some(standby(7, 1)); 12]);
        let free = told.iter().position(|told| *told == Some(NameNote::Free));
        assert_eq!(free, Some(11), "N4: the gap was longer than counts");
    }

    #[test]
    fn one_late_write_of_a_dead_process_is_no_rival() {
        let mut naming = ours();
        // it is read again, and again stale, before ours is seen to cover it
        let seen = [Some(standby(7, 4)), Some(standby(7, 4)), Some(standby(7, 3)), None];
        assert!(look(&mut naming, 5_000, STANDBY, &seen).iter().all(Option::is_none), "N3");
        look(&mut naming, 9_000, STANDBY, &vec![None; 20]);
        let told = look(&mut naming, 30_000, STANDBY, &[Some(standby(7, 5))]);
        assert!(told[0].is_none() && naming.is_ours() && !naming.is_taken(), "forgotten since");
    }

    #[test]
    fn of_two_that_live_one_yields() {
        use NameNote::{Disputed, Yielded};
        let rows = [
            (STANDBY, 40, Role::Standby, Yielded),
            (STANDBY, 60, Role::Standby, Disputed),
            (STANDBY, 60, Role::Master, Yielded),
            (STANDBY, 60, Role::Claiming, Yielded),
            (STANDBY, 60, Role::Resigning, Yielded),
            (MASTER, 40, Role::Standby, Disputed),
            (MASTER, 40, Role::Master, Disputed),
        ];
        for (row, (we, nonce, role, expected)) in rows.into_iter().enumerate() {
            let mut naming = ours();
            let beats = [u32::MAX, 0, 1].map(|beat| Some(other(nonce, beat, role)));
            let told = look(&mut naming, 5_000, we, &beats[..2]);
            assert_eq!(told, [None, Some(expected)], "row {row}");
            assert!(naming.is_taken());
            assert_eq!(naming.is_ours(), expected == Disputed, "N2: row {row}");
            let told = look(&mut naming, 7_000, we, &beats[2..]);
            assert_eq!(told, [None], "told once");
        }
    }

    #[test]
    fn who_keeps_the_name_is_told_when_it_is_alone_again() {
        for ends in [vec![None; 13], vec![Some(other(60, 3, Role::Stopped))]] {
            let mut naming = ours();
            look(&mut naming, 5_000, MASTER, &[Some(standby(60, 1)), Some(standby(60, 2))]);
            let told = look(&mut naming, 7_000, MASTER, &ends);
            let alone = told.iter().filter(|told| **told == Some(NameNote::Undisputed)).count();
            assert_eq!(alone, 1);
            assert!(naming.is_ours() && !naming.is_taken());
        }
    }

    #[test]
    fn who_yielded_waits_although_the_record_is_its_own_last_one() {
        let mut naming = ours();
        look(&mut naming, 5_000, STANDBY, &[Some(standby(40, 1)), Some(standby(40, 2))]);
        assert!(naming.lock_to_leave, "N1");
        let told = look(&mut naming, 7_000, STANDBY, &vec![None; 12]);
        let free = told.iter().position(|told| *told == Some(NameNote::Free));
        assert_eq!(free, Some(10), "11 s after it was last seen");
    }
}
