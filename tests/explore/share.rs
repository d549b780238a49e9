//! The share as elections see it: a lock, claims, slots; and what of an order touches them.
//!
//! | order | steps that others can come between |
//! |---|---|
//! | `Poll` | the lock; the slots (one step if the lock is left alone) |
//! | `Claim` | the exclusive create |
//! | `Announce` | the slot, durable; all slots |
//! | `Prove` | the lock; the slot, durable; slots and lock file |
//! | `Release` | the slot, durable; the lock |
//! | `Survey` | all slots |
//! | all else | none: it is done at once |

use std::collections::{BTreeMap, BTreeSet};

use edge_agent::engine::ident::{Cursor, Lane, ShareClass, SiteId, Term};
use edge_agent::engine::planted::{LeftOut, Rule};
use edge_agent::engine::share::{
    Fetch, Fetched, LockSeen, LockWish, MountJudgement, NodesSeen, OwnRecord, Polled, Proof,
    ProofLock, ProofVerdict, Proven, ReserveSeen, ShareOrder, ShareOutcome, Survey, TermMark,
};
use edge_agent::engine::slot::Slot;
use edge_agent::engine::store::{StoreCount, StoreOrder, StoreOutcome};

/// One run of a node's agent: its place, and the run's number.
pub(crate) type Life = (usize, u32);

/// Bytes of a record, with its group's head.
pub(crate) const RECORD_BYTES: u32 = 50;
/// The inode of the lock file.
const INODE: u64 = 7;

/// A part of an order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Step {
    Lock,
    Slots,
    Claim,
    Write,
    Survey,
    Byte,
    Verify,
    Unlock,
}

/// The steps of an order, the last first; none: it is done at once.
pub(crate) fn steps_of(order: &ShareOrder) -> Vec<Step> {
    match order {
        ShareOrder::Poll(poll) if poll.lock == LockWish::Try => vec![Step::Slots, Step::Lock],
        ShareOrder::Poll(_) => vec![Step::Slots],
        ShareOrder::Claim { .. } => vec![Step::Claim],
        ShareOrder::Announce(_) => vec![Step::Survey, Step::Write],
        ShareOrder::Prove(proof) if proof.write_slot => vec![Step::Verify, Step::Write, Step::Byte],
        ShareOrder::Prove(_) => vec![Step::Verify, Step::Byte],
        ShareOrder::Release(Some(_)) => vec![Step::Unlock, Step::Write],
        ShareOrder::Release(None) => vec![Step::Unlock],
        ShareOrder::Survey => vec![Step::Survey],
        ShareOrder::Open
        | ShareOrder::Load
        | ShareOrder::Reread
        | ShareOrder::Append(_)
        | ShareOrder::Fetch(_)
        | ShareOrder::Decline(_)
        | ShareOrder::Store(_)
        | ShareOrder::Attach
        | ShareOrder::Nodes(_)
        | ShareOrder::Forget { .. }
        | ShareOrder::Newest { .. }
        | ShareOrder::Sweep { .. }
        | ShareOrder::Tidy { .. }
        | ShareOrder::Reserve(_) => Vec::new(),
    }
}

/// The slot that an order writes.
pub(crate) fn slot_of(order: &ShareOrder) -> Option<&Slot> {
    match order {
        ShareOrder::Announce(slot)
        | ShareOrder::Release(Some(slot))
        | ShareOrder::Prove(Proof { slot, .. }) => Some(slot),
        _ => None,
    }
}

/// A keeper: an order under way, and what it holds.
#[derive(Clone, Hash, Default, Debug)]
pub(crate) struct Keeper {
    /// It believes to hold the lock.
    pub(crate) grip: bool,
    /// Term and heartbeat of the slot that it wrote last.
    pub(crate) last: Option<(Term, u64)>,
    pub(crate) work: Option<Work>,
}

/// An order under way.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Work {
    pub(crate) order: ShareOrder,
    pub(crate) steps: Vec<Step>,
    pub(crate) begun_ms: u64,
    pub(crate) lock: LockSeen,
}

/// The server's share.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Share {
    pub(crate) class: ShareClass,
    pub(crate) slots: BTreeMap<Term, Slot>,
    claims: BTreeSet<Term>,
    /// How many records of each term's lane of readings are durable.
    records: BTreeMap<Term, u64>,
    /// Who holds the lock at the server.
    pub(crate) holders: BTreeSet<Life>,
    /// Slots that somebody wrote and that did not arrive yet.
    pub(crate) late: Vec<Slot>,
    left_out: LeftOut,
}

impl Share {
    pub(crate) fn new(class: ShareClass, left_out: LeftOut) -> Self {
        let (slots, claims, holders) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let (records, late) = (BTreeMap::new(), Vec::new());
        Self { class, slots, claims, records, holders, late, left_out }
    }

    /// A slot arrives. A page shows the newest of its copies.
    pub(crate) fn write(&mut self, slot: &Slot) {
        let newer = |there: &Slot| there.heartbeat >= slot.heartbeat;
        if !self.slots.get(&slot.term).is_some_and(newer) {
            self.slots.insert(slot.term, slot.clone());
        }
    }

    fn newest(&self) -> Option<&Slot> {
        self.slots.values().next_back()
    }

    fn survey(&self) -> Survey {
        let newest = self.newest();
        let lower = self.left_out.has(Rule::OneBelow);
        let before = self.slots.values().rev().nth(1);
        let is_below = |before: &&Slot| newest.is_some_and(|newest| newest.term == before.term + 1);
        let mark = |slot: &Slot| TermMark {
            term: slot.term,
            newest_segment: slot.lanes.map(|lane| lane.newest_segment),
            last_seq: slot.lanes.map(|lane| lane.last_seq),
        };
        let mut cursors = [Cursor::default(); 2];
        for slot in self.slots.values() {
            for (cursor, lane) in cursors.iter_mut().zip(&slot.lanes) {
                if lane.cursor.is_past(cursor) {
                    *cursor = lane.cursor;
                }
            }
        }
        Survey {
            newest: newest.cloned(),
            before: before.filter(|it| lower || is_below(it)).cloned(),
            fence_ms_max: self.slots.values().map(|slot| slot.fence_ms).max().unwrap_or(0),
            cursors,
            marks: self.slots.values().map(mark).collect(),
        }
    }

    /// Whether a try for the lock would be refused.
    pub(crate) fn is_busy(&self, life: Life) -> bool {
        !self.holders.is_empty() && !self.holders.contains(&life)
    }

    fn try_lock(&mut self, life: Life, keeper: &mut Keeper, lies: bool) -> LockSeen {
        if keeper.grip {
            return LockSeen::Held { inode: INODE };
        }
        if self.is_busy(life) && !lies {
            return LockSeen::Busy;
        }
        self.holders.insert(life);
        keeper.grip = true;
        LockSeen::Held { inode: INODE }
    }

    /// What the server says to a write inside the lock.
    fn is_lost(&self, life: Life, keeper: &Keeper) -> bool {
        let lost = !self.holders.contains(&life);
        !keeper.grip
            || match self.class {
                ShareClass::Local => false,
                ShareClass::Nfs4 => lost,
                // mandatory: only another's lock is in the way
                ShareClass::Doubtful => lost && !self.holders.is_empty(),
            }
    }

    /// Does a step; the outcome, if it was the last.
    pub(crate) fn step(
        &mut self,
        life: Life,
        keeper: &mut Keeper,
        work: &mut Work,
        lies: bool,
    ) -> Option<ShareOutcome> {
        let step = work.steps.pop().expect("a step is left");
        match (step, &work.order) {
            (Step::Lock, _) => work.lock = self.try_lock(life, keeper, lies),
            (Step::Slots, ShareOrder::Poll(poll)) => {
                if poll.lock == LockWish::Leave {
                    self.unlock(life, keeper);
                }
                let newest = self.newest().cloned();
                let taken = self.claims.last().copied().filter(|_| newest.is_none()).unwrap_or(0);
                return Some(ShareOutcome::Polled(Polled { lock: work.lock, newest, taken }));
            }
            (Step::Claim, ShareOrder::Claim { term }) => {
                return Some(ShareOutcome::Claimed { created: self.claims.insert(*term) });
            }
            (Step::Write, order) => {
                let slot = slot_of(order).expect("an order that writes one").clone();
                self.write(&slot);
                keeper.last = Some((slot.term, slot.heartbeat));
            }
            (Step::Survey, _) => return Some(ShareOutcome::Surveyed(self.survey())),
            (Step::Byte, ShareOrder::Prove(proof)) => match proof.lock {
                ProofLock::Write if self.is_lost(life, keeper) => {
                    self.unlock(life, keeper);
                    work.lock = LockSeen::Lost;
                    // R2: the slot is not written
                    work.steps.retain(|step| *step != Step::Write);
                }
                ProofLock::Write => work.lock = LockSeen::Held { inode: INODE },
                ProofLock::Try => work.lock = self.try_lock(life, keeper, lies),
                ProofLock::Leave => work.lock = LockSeen::Left,
            },
            (Step::Verify, ShareOrder::Prove(proof)) => {
                let verdict = self.verify(keeper, work.lock, proof);
                return Some(ShareOutcome::Proven(Proven { verdict, lock: work.lock }));
            }
            (Step::Unlock, _) => {
                self.unlock(life, keeper);
                keeper.last = None;
                return Some(ShareOutcome::Done);
            }
            (step, order) => panic!("{step:?} is no part of {order:?}"),
        }
        None
    }

    fn unlock(&mut self, life: Life, keeper: &mut Keeper) {
        if std::mem::take(&mut keeper.grip) {
            self.holders.remove(&life);
        }
    }

    fn verify(&self, keeper: &Keeper, lock: LockSeen, proof: &Proof) -> ProofVerdict {
        let own = proof.slot.term;
        let ahead = if proof.all { u32::MAX } else { own + 3 };
        let by = self.slots.range(..=ahead).next_back().map_or(0, |(term, _)| *term);
        let heartbeat = keeper.last.filter(|last| last.0 == own).map_or(0, |last| last.1);
        let is_ours = self
            .slots
            .get(&own)
            .is_some_and(|slot| slot.nonce == proof.slot.nonce && slot.heartbeat >= heartbeat);
        if by > own {
            ProofVerdict::Superseded { by }
        } else if !is_ours {
            ProofVerdict::Replaced
        } else if proof.lock == ProofLock::Write && lock == LockSeen::Lost {
            ProofVerdict::LockLost
        } else {
            ProofVerdict::Proven
        }
    }

    /// Of readings there is one segment a term; of alerts there are none.
    fn fetch(&self, order: &Fetch) -> Fetched {
        let from = order.from;
        let there = self.records.get(&from.term).copied().unwrap_or(0);
        let there = if order.lane == Lane::Readings { there } else { 0 };
        let count = u32::try_from((there + 1).saturating_sub(from.seq)).expect("few");
        let next = Cursor {
            offset: from.offset + count * RECORD_BYTES,
            seq: from.seq + u64::from(count),
            ..from
        };
        Fetched {
            request: order.request,
            first_seq: from.seq,
            count,
            bytes: count * RECORD_BYTES,
            next,
            at_end: true,
            missing: false,
            damaged: 0,
            damaged_bytes: 0,
        }
    }

    /// What is done at once: nothing of it decides an election.
    pub(crate) fn at_once(
        &mut self,
        life: Life,
        keeper: &mut Keeper,
        order: &ShareOrder,
    ) -> ShareOutcome {
        match order {
            ShareOrder::Open => {
                self.unlock(life, keeper);
                keeper.last = None;
                ShareOutcome::Opened {
                    site: SiteId([1; 16]),
                    class: self.class,
                    free_bytes: u64::MAX,
                    mount: MountJudgement::default(),
                }
            }
            ShareOrder::Load => ShareOutcome::Loaded,
            ShareOrder::Reread => ShareOutcome::Reread,
            ShareOrder::Append(append) => {
                let count = u64::from(append.bytes / RECORD_BYTES);
                *self.records.entry(append.term).or_default() += count;
                ShareOutcome::Done
            }
            ShareOrder::Fetch(fetch) => ShareOutcome::Fetched(self.fetch(fetch)),
            ShareOrder::Store(StoreOrder::Count) => {
                let count = StoreCount { files: 0, bytes: 0, records: 0, complete: true };
                ShareOutcome::Store(StoreOutcome::Counted(count))
            }
            ShareOrder::Nodes(order) => {
                let own =
                    if order.own_nonce.is_some() { OwnRecord::Clear } else { OwnRecord::Unread };
                ShareOutcome::Nodes(NodesSeen { own, ..NodesSeen::default() })
            }
            ShareOrder::Newest { lane, term } => ShareOutcome::Newest {
                segment: self.slots.get(term).map_or(0, |it| it.lanes[lane.index()].newest_segment),
            },
            ShareOrder::Sweep { .. } => ShareOutcome::Swept { journal_bytes: 0 },
            ShareOrder::Reserve(_) => ShareOutcome::Reserve(ReserveSeen::There),
            ShareOrder::Attach | ShareOrder::Tidy { .. } | ShareOrder::Forget { .. } => {
                ShareOutcome::Done
            }
            order => panic!("{order:?} is for who has records, or has several steps"),
        }
    }
}
