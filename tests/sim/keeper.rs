//! The keeper: what an order does on the share, step by step.
//!
//! Between two steps anything may happen: to this node, to others, to the share. The steps are
//! those of `edge::share`, in their order; what each sees, it sees at its own moment.
//!
//! | order | steps |
//! |---|---|
//! | `Poll` | the lock; the slots |
//! | `Claim` | the exclusive create |
//! | `Announce` | write the slot; sync; read all slots |
//! | `Prove` | make segments; the lock's byte, or a try; write the slot; sync; read the slots; look at the lock file |
//! | `Append` | write the groups; sync |
//! | `Release` | write the slot; sync; give up the lock |
//! | all else | one step |

use edge_agent::engine::ident::ShareClass;
use edge_agent::engine::ident::{Lane, SiteId};
use edge_agent::engine::naming::Namesake;
use edge_agent::engine::planted::Rule;
use edge_agent::engine::share::{
    Append, Declined, Fetch, LockSeen, LockWish, MountJudgement, NodesOrder, NodesRead, NodesSeen,
    OwnRecord, Poll, Polled, Proof, ProofLock, ProofVerdict, Proven, ReserveOrder, ReserveSeen,
    ShareError, ShareFault, ShareOrder, ShareOutcome,
};
use edge_agent::engine::slot::Slot;

use crate::checks::bounds;
use crate::disk::{Holder, RECORD_BYTES, SegmentKey, Write};
use crate::node::{Keeper, Life, Operation};
use crate::plan::Fault;
use crate::world::{Part, World};

/// A part of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// What an order of one part does.
    Whole,
    Lock,
    Slots,
    Claim,
    WriteSlot,
    Sync,
    Survey,
    Segments,
    Byte,
    VerifyTerms,
    VerifyLock,
    WriteGroups,
    Unlock,
}

/// The steps of an order, the last first.
pub(crate) fn steps_of(order: &ShareOrder) -> Vec<Step> {
    use Step::{
        Byte, Claim, Lock, Segments, Slots, Survey, Sync, Unlock, VerifyLock, VerifyTerms, Whole,
        WriteGroups, WriteSlot,
    };
    match order {
        ShareOrder::Poll(_) => vec![Slots, Lock],
        ShareOrder::Claim { .. } => vec![Claim],
        ShareOrder::Announce(_) => vec![Survey, Sync, WriteSlot],
        ShareOrder::Prove(_) => {
            vec![VerifyLock, VerifyTerms, Sync, WriteSlot, Byte, Segments]
        }
        ShareOrder::Append(_) => vec![Sync, WriteGroups],
        ShareOrder::Release(Some(_)) => vec![Unlock, Sync, WriteSlot],
        ShareOrder::Release(None) => vec![Unlock],
        _ => vec![Whole],
    }
}

impl World {
    /// Does the next step of a node's operation; gives the outcome once there is one.
    pub(crate) fn step(&mut self, life: Life, operation: &mut Operation) {
        let place = life.place;
        if self.now_ms < self.nodes[place].unmounted_until_ms {
            let text = "no data directory";
            operation.outcome = Some(failed(ShareFault::Missing, text));
        } else if let Some(fault) = self.nodes[place].fails.take() {
            self.fail(life, operation, fault);
        } else if let Some(step) = operation.steps.pop() {
            self.act(life, operation, step);
        }
        if matches!(operation.outcome, Some(ShareOutcome::Failed(_))) {
            self.settle_failure(life, operation);
        }
    }

    fn fail(&mut self, life: Life, operation: &mut Operation, fault: ShareFault) {
        let kind = if fault == ShareFault::Stale { Fault::Stale } else { Fault::Failed };
        self.table.hit(kind);
        if fault == ShareFault::Stale {
            match operation.steps.last() {
                Some(Step::Byte) => {
                    operation.steps.pop();
                    self.lose_lock(life, operation);
                    return;
                }
                Some(Step::Lock) => self.drop_grip(life.place),
                _ => {}
            }
        }
        operation.outcome = Some(failed(fault, "an error"));
    }

    /// What a failed operation leaves: an append that failed closes its segment.
    fn settle_failure(&mut self, life: Life, operation: &mut Operation) {
        for write in std::mem::take(&mut operation.unsynced) {
            // the client may still have it
            if self.dice.one_in(2) {
                self.land_later(life.place, write);
            }
        }
        match &operation.order {
            ShareOrder::Append(append) => self.checks.journal.failed(key_of(append)),
            ShareOrder::Release(_) => self.drop_grip(life.place),
            _ => {}
        }
    }

    fn act(&mut self, life: Life, operation: &mut Operation, step: Step) {
        match (step, operation.order.clone()) {
            (Step::Whole, order) => operation.outcome = Some(self.whole(life, order)),
            (Step::Lock, ShareOrder::Poll(poll)) => match self.poll_lock(life, poll) {
                Some(lock) => operation.lock = lock,
                None => operation.outcome = Some(failed(ShareFault::Missing, "no lock file")),
            },
            (Step::Slots, ShareOrder::Poll(poll)) => {
                operation.outcome = Some(self.poll_slots(life, operation.lock, poll));
            }
            (Step::Claim, ShareOrder::Claim { term }) => {
                operation.outcome = Some(self.claim(life, term));
            }
            (Step::WriteSlot, order) => {
                if let Some(slot) = slot_of(&order) {
                    self.write_slot(life, operation, slot);
                }
            }
            (Step::Sync, order) => {
                self.sync(life, operation);
                if matches!(order, ShareOrder::Append(_)) {
                    operation.outcome = Some(ShareOutcome::Done);
                }
            }
            (Step::Survey, _) => {
                let lower = self.left_out.has(Rule::OneBelow);
                let survey = self.disk.survey(self.now_ms, life.place, lower);
                operation.outcome = Some(ShareOutcome::Surveyed(survey));
            }
            (Step::Segments, ShareOrder::Prove(proof)) => self.make(life, operation, &proof),
            (Step::Byte, ShareOrder::Prove(proof)) => self.byte(life, operation, &proof),
            (Step::VerifyTerms, ShareOrder::Prove(proof)) => {
                self.verify_terms(life, operation, &proof);
            }
            (Step::VerifyLock, ShareOrder::Prove(proof)) => {
                self.verify_lock(operation, &proof);
            }
            (Step::WriteGroups, ShareOrder::Append(append)) => {
                self.write_groups(life, operation, append);
            }
            (Step::Unlock, _) => {
                self.drop_grip(life.place);
                self.keeper(life.place).last = None;
                operation.outcome = Some(ShareOutcome::Done);
            }
            (step, order) => panic!("{step:?} is no part of {order:?}"),
        }
    }

    fn keeper(&mut self, place: usize) -> &mut Keeper {
        self.nodes[place].keeper.as_mut().expect("a keeper is at work")
    }

    // --- the lock -----------------------------------------------------------------------

    fn poll_lock(&mut self, life: Life, poll: Poll) -> Option<LockSeen> {
        self.nodes[life.place].tries_lock = poll.lock == LockWish::Try;
        match poll.lock {
            LockWish::Leave => {
                self.drop_grip(life.place);
                Some(LockSeen::Left)
            }
            LockWish::Try => self.try_lock(life.place),
        }
    }

    /// `None`: there is no lock file.
    fn try_lock(&mut self, place: usize) -> Option<LockSeen> {
        let inode = self.disk.inode;
        if inode == 0 {
            self.drop_grip(place);
            return None;
        }
        if let Some((_, held)) = self.keeper(place).grip {
            if held == inode {
                return Some(LockSeen::Held { inode });
            }
            self.drop_grip(place);
        }
        let free = self.disk.holders.is_empty();
        if !free && !self.disk.lies {
            return Some(LockSeen::Busy);
        }
        if !free {
            self.table.hit(Fault::LockLies);
        }
        self.grips += 1;
        let grip = self.grips;
        self.disk.holders.insert(Holder::Grip(grip));
        self.keeper(place).grip = Some((grip, inode));
        Some(LockSeen::Held { inode })
    }

    /// The keeper closes the descriptor of the lock. A copy in the uplink keeps it, but on SMB.
    pub(crate) fn drop_grip(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        let Some((grip, _)) = node.keeper.as_mut().and_then(|keeper| keeper.grip.take()) else {
            return;
        };
        let copied = node.uplink.as_ref().is_some_and(|uplink| uplink.grip == Some(grip));
        if !copied || self.plan.class == ShareClass::Doubtful {
            self.disk.holders.remove(&Holder::Grip(grip));
        }
    }

    /// What the server says to a write inside the lock.
    fn is_lock_lost(&mut self, place: usize) -> bool {
        let Some((grip, inode)) = self.keeper(place).grip else { return true };
        if inode != self.disk.inode || self.disk.holders.contains(&Holder::Grip(grip)) {
            return false;
        }
        match self.plan.class {
            _ if self.plan.loss_unseen => false,
            ShareClass::Local => false,
            ShareClass::Nfs4 => true,
            // mandatory: only another's lock is in the way
            ShareClass::Doubtful => !self.disk.holders.is_empty(),
        }
    }

    fn byte(&mut self, life: Life, operation: &mut Operation, proof: &Proof) {
        operation.lock = match proof.lock {
            ProofLock::Write if self.is_lock_lost(life.place) => {
                self.lose_lock(life, operation);
                return;
            }
            ProofLock::Write => {
                let (_, inode) = self.keeper(life.place).grip.expect("it is not lost");
                LockSeen::Held { inode }
            }
            ProofLock::Try => self.try_lock(life.place).unwrap_or(LockSeen::Lost),
            ProofLock::Leave => LockSeen::Left,
        };
    }

    /// The lock's byte cannot be written, or the lock not tried for. If it was held, the slot is
    /// not written (R2); the rest is looked at all the same.
    fn lose_lock(&mut self, life: Life, operation: &mut Operation) {
        self.drop_grip(life.place);
        operation.lock = LockSeen::Lost;
        if matches!(&operation.order, ShareOrder::Prove(proof) if proof.lock == ProofLock::Write) {
            operation.steps.retain(|step| !matches!(step, Step::WriteSlot | Step::Sync));
        }
    }

    // --- slots --------------------------------------------------------------------------

    fn poll_slots(&mut self, life: Life, lock: LockSeen, poll: Poll) -> ShareOutcome {
        let (now_ms, place) = (self.now_ms, life.place);
        let ahead = if poll.all { None } else { self.disk.ahead(now_ms, place, poll.newest) };
        let newest = ahead.or_else(|| self.disk.newest(now_ms, place)).cloned();
        if newest.as_ref().map(|slot| (slot.term, slot.heartbeat)) != self.disk.truth() {
            self.table.hit(Fault::StaleRead);
        }
        let taken = if newest.is_none() { self.disk.highest_taken() } else { 0 };
        let held = matches!(lock, LockSeen::Held { .. });
        self.checks.claims.polled(now_ms, life, held, newest.as_ref());
        ShareOutcome::Polled(Polled { lock, newest, taken })
    }

    fn claim(&mut self, life: Life, term: u32) -> ShareOutcome {
        if self.disk.full && !self.disk.reserve && self.dice.one_in(2) {
            return failed(ShareFault::NoSpace, "no space");
        }
        let created = self.disk.claim(term) || self.part == Some(Part::ExclusiveCreate);
        if created {
            self.made_claim(life, term);
        }
        ShareOutcome::Claimed { created }
    }

    fn write_slot(&mut self, life: Life, operation: &mut Operation, slot: Slot) {
        let checked = self.checks.ownership.wrote("a slot", slot.term, life);
        self.judge(checked);
        let copy = self.disk.copy_for(slot.term);
        let write = Write::Slot { copy, slot };
        if self.disk.local {
            self.apply(life.place, &write);
        }
        operation.unsynced.push(write);
    }

    fn sync(&mut self, life: Life, operation: &mut Operation) {
        for write in std::mem::take(&mut operation.unsynced) {
            if !self.disk.local {
                self.apply(life.place, &write);
            }
            self.make_durable(&write);
            if let Write::Slot { slot, .. } = &write {
                self.keeper(life.place).last = Some((slot.term, slot.heartbeat));
            }
        }
    }

    fn verify_terms(&mut self, life: Life, operation: &mut Operation, proof: &Proof) {
        let (now_ms, place, slot) = (self.now_ms, life.place, &proof.slot);
        let newest = if proof.all {
            self.disk.newest(now_ms, place)
        } else {
            self.disk.ahead(now_ms, place, slot.term)
        };
        let by = newest.map_or(0, |newest| newest.term);
        let last = self.nodes[place].keeper.as_ref().and_then(|keeper| keeper.last);
        let heartbeat = last.filter(|last| last.0 == slot.term).map_or(0, |last| last.1);
        let own = self.disk.slot(now_ms, place, slot.term);
        let ours = own.is_some_and(|own| own.nonce == slot.nonce && own.heartbeat >= heartbeat);
        let worse = if by > slot.term {
            Some(ProofVerdict::Superseded { by })
        } else {
            (!ours).then_some(ProofVerdict::Replaced)
        };
        if let Some(verdict) = worse {
            let lock = operation.lock;
            operation.outcome = Some(ShareOutcome::Proven(Proven { verdict, lock }));
        }
    }

    fn verify_lock(&mut self, operation: &mut Operation, proof: &Proof) {
        let lock = operation.lock;
        let at_path = self.disk.inode;
        let locked = match lock {
            LockSeen::Held { inode } => inode,
            LockSeen::Left | LockSeen::Busy | LockSeen::Lost => at_path,
        };
        let named = if proof.slot.locked == 0 { at_path } else { proof.slot.locked };
        let lost = proof.lock == ProofLock::Write && lock == LockSeen::Lost;
        let same = at_path != 0 && at_path == named && at_path == locked;
        let verdict = match (same, lost) {
            (false, _) => ProofVerdict::Replaced,
            (true, true) => ProofVerdict::LockLost,
            (true, false) => ProofVerdict::Proven,
        };
        operation.outcome = Some(ShareOutcome::Proven(Proven { verdict, lock }));
    }

    // --- the journal --------------------------------------------------------------------

    fn make(&mut self, life: Life, operation: &mut Operation, proof: &Proof) {
        if proof.create != [0, 0] && self.disk.full {
            operation.outcome = Some(failed(ShareFault::NoSpace, "no space"));
            return;
        }
        let made = proof.create.into_iter().enumerate().filter(|(_, number)| *number > 0);
        for (lane, number) in made {
            let key = SegmentKey { lane, term: proof.slot.term, number };
            let checked = self.checks.ownership.wrote("a segment", key.term, life);
            self.judge(checked);
            self.disk.create(self.now_ms, life.place, key);
        }
    }

    fn write_groups(&mut self, life: Life, operation: &mut Operation, append: Append) {
        let key = key_of(&append);
        let checked = bounds::append(&append)
            .and_then(|()| self.checks.ownership.wrote("a segment", key.term, life))
            .and_then(|()| self.checks.journal.written(key));
        self.judge(checked);
        if self.disk.full {
            operation.outcome = Some(failed(ShareFault::NoSpace, "no space"));
            return;
        }
        if self.disk.end_of(key) != Some(append.offset) {
            operation.outcome = Some(failed(ShareFault::Missing, "not as long as expected"));
            return;
        }
        let lane = &self.nodes[life.place].lanes[key.lane];
        let count = u64::from(append.bytes / RECORD_BYTES);
        assert_eq!(count, lane.flying, "what was handed over is what is written");
        let first_seq = lane.flown - lane.flying + 1;
        let write = Write::Group { key, offset: append.offset, first_seq, count };
        if self.disk.local {
            self.apply(life.place, &write);
        }
        operation.unsynced.push(write);
    }

    fn fetch(&mut self, fetch: &Fetch) -> ShareOutcome {
        let checked = bounds::fetch(fetch, &self.plan.settings);
        self.judge(checked);
        ShareOutcome::Fetched(self.disk.fetch(fetch))
    }

    // --- all else -----------------------------------------------------------------------

    fn whole(&mut self, life: Life, order: ShareOrder) -> ShareOutcome {
        let place = life.place;
        match order {
            ShareOrder::Open => {
                self.drop_grip(place);
                self.disk.make_lock_file();
                self.keeper(place).last = None;
                self.checks.claims.forget(life);
                let because = self.plan.unsafe_mount.then(|| "nobrl".try_into().expect("short"));
                ShareOutcome::Opened {
                    site: SiteId([1; 16]),
                    class: self.plan.class,
                    free_bytes: u64::MAX,
                    mount: MountJudgement { unsafe_because: because, ..Default::default() },
                }
            }
            ShareOrder::Load => ShareOutcome::Loaded,
            ShareOrder::Reread => ShareOutcome::Reread,
            ShareOrder::Survey => {
                let as_of_ms = self.now_ms.saturating_sub(self.plan.fresh_ms_max);
                self.checks.repeats.surveyed(self.nodes[place].term, as_of_ms);
                let lower = self.left_out.has(Rule::OneBelow);
                ShareOutcome::Surveyed(self.disk.survey(self.now_ms, place, lower))
            }
            ShareOrder::Fetch(fetch) => self.fetch(&fetch),
            ShareOrder::Decline(order) => {
                let (request, lane, from, end) = (0, order.lane, order.from, order.end);
                let (records_max, bytes_max) = (order.records, u32::MAX);
                let all = Fetch { request, lane, from, end, records_max, bytes_max };
                let read = self.disk.fetch(&all);
                let writer = self.keeper(place).last.map_or(0, |last| last.0);
                let count = self.disk.declined.keep(writer, &order, &read);
                ShareOutcome::Declined(Declined { count, next: read.next, dropped: 0 })
            }
            ShareOrder::Store(order) => {
                let writer = self.keeper(place).last.map_or(0, |last| last.0);
                let (outcome, purged) = self.disk.declined.perform(writer, &order);
                self.purged.extend(purged);
                ShareOutcome::Store(outcome)
            }
            ShareOrder::Attach | ShareOrder::Tidy { .. } | ShareOrder::Forget { .. } => {
                ShareOutcome::Done
            }
            ShareOrder::Nodes(order) => ShareOutcome::Nodes(self.records(life, order)),
            ShareOrder::Newest { lane, term } => self.newest(place, lane, term),
            ShareOrder::Sweep { lane, before } => {
                let gone = self.disk.sweep(lane, before);
                self.swept(life, &gone);
                ShareOutcome::Swept { journal_bytes: self.disk.journal_bytes(lane) }
            }
            ShareOrder::Reserve(order) => ShareOutcome::Reserve(self.keep_reserve(order)),
            order => panic!("{order:?} has several parts"),
        }
    }

    fn newest(&mut self, place: usize, lane: Lane, term: u32) -> ShareOutcome {
        let hides = self.plan.class == ShareClass::Nfs4 && self.dice.one_in(2);
        let since_ms = if hides { self.now_ms.saturating_sub(30_000) } else { self.now_ms };
        let segment = self.disk.newest_segment(lane, term, (since_ms, place));
        if segment != self.disk.newest_segment(lane, term, (self.now_ms, place)) {
            self.table.hit(Fault::NameUnseen);
        }
        ShareOutcome::Newest { segment }
    }

    fn keep_reserve(&mut self, order: ReserveOrder) -> ReserveSeen {
        match (order, self.disk.reserve, self.disk.full) {
            (ReserveOrder::Make, true, _) => ReserveSeen::There,
            (ReserveOrder::Make, false, true) => ReserveSeen::NoRoom,
            (ReserveOrder::Make, false, false) => {
                self.disk.reserve = true;
                ReserveSeen::Made
            }
            (ReserveOrder::GiveUp, true, _) => {
                self.disk.reserve = false;
                ReserveSeen::GivenUp
            }
            (ReserveOrder::GiveUp, false, _) => ReserveSeen::Nothing,
        }
    }

    fn records(&mut self, life: Life, order: NodesOrder) -> NodesSeen {
        let name = crate::node::name(life.place);
        let own = match (order.own_nonce, self.disk.records.get(&name)) {
            (None, _) => OwnRecord::Unread,
            (Some(nonce), Some((record, writer, _))) if record.nonce != nonce => {
                OwnRecord::Foreign(Namesake {
                    nonce: record.nonce,
                    beat: record.beat,
                    role: record.role,
                    same_machine: true,
                    same_boot: writer.place == life.place,
                    same_run_dir: true,
                    host: heapless::String::new(),
                })
            }
            (Some(_), _) => OwnRecord::Clear,
        };
        if let Some(record) = order.write {
            let made_ms =
                self.disk.records.get(&name).map_or(self.now_ms, |(.., made_ms)| *made_ms);
            self.disk.records.insert(name.clone(), (record, life, made_ms));
        }
        let mut seen = NodesSeen { own, ..NodesSeen::default() };
        if order.read == NodesRead::Nothing {
            return seen;
        }
        let hides = self.plan.class == ShareClass::Nfs4 && self.dice.one_in(2);
        let since_ms = if hides { self.now_ms.saturating_sub(30_000) } else { self.now_ms };
        let others = self.disk.records.iter().filter(|(other, _)| **other != name);
        let shown = others.filter(|(_, (_, _, made_ms))| *made_ms <= since_ms);
        seen.records = shown.map(|(_, (record, ..))| record.clone()).collect();
        if seen.records.len() + 1 < self.disk.records.len() {
            self.table.hit(Fault::NameUnseen);
        }
        if order.read == NodesRead::Listed {
            seen.listed = Some(seen.records.iter().map(|record| record.node.clone()).collect());
        }
        seen
    }
}

fn key_of(append: &Append) -> SegmentKey {
    SegmentKey { lane: append.lane.index(), term: append.term, number: append.segment }
}

fn slot_of(order: &ShareOrder) -> Option<Slot> {
    match order {
        ShareOrder::Announce(slot) | ShareOrder::Release(Some(slot)) => Some(slot.clone()),
        ShareOrder::Prove(proof) => Some(proof.slot.clone()),
        _ => None,
    }
}

/// A failure of this kind.
pub(crate) fn failed(fault: ShareFault, text: &str) -> ShareOutcome {
    let text = heapless::String::try_from(text).expect("short");
    ShareOutcome::Failed(ShareError { fault, errno: 0, text })
}
