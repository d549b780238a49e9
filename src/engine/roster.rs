//! The other nodes, as their records show them to us.
//!
//! # Invariants
//!
//! - R1: a node is live only if its record was seen to change; a record that was merely found
//!   may be years old.
//! - R2: silence is counted as in `election`: over gaps that our own observations bound.
//! - R3: a loss is told once, and its end once: that it is back, or forgotten.
//! - R4: a node that a whole listing no longer shows is forgotten, whoever deleted its record;
//!   one that was live only once it should have written again, as lost.
//! - R5: only a node that is not live has its record deleted, the one that was silent for longest
//!   first: after a month, or, where there are too many, after an hour, or at once if it was
//!   never seen to live.
//! - R6: what was told of a node that is forgotten is over: that it is lost, or its clock off.

use heapless::Vec;

use super::ident::{NodeName, Role, Term};
use super::share::{NodeRecord, NodesSeen, Wish};
use super::skew::Skew;
use super::status::NodeStatus;
use crate::limits::{
    NODE_CROWDED_MS, NODE_FORGET_MS, NODE_REWRITTEN_MS, NODE_SILENT_MS, NODES_MAX,
};

/// Whether a node lives, as far as we know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Life {
    /// Its record was found and has not changed since (R1).
    Found,
    /// Its record changes.
    Live,
    /// It was live, and fell silent or said that it stopped.
    Lost,
    /// Its record never changed while we looked.
    Dead,
}

#[derive(Clone, Hash, Debug)]
struct Entry {
    record: NodeRecord,
    silent_ms: u64,
    life: Life,
    /// Whoever is master was to tell that it is lost.
    loss_told: bool,
    skew: Skew,
    /// Whoever is master was to tell of the skew.
    skew_told: bool,
}

/// A look at the records.
#[derive(Clone, Copy, Hash, Debug)]
pub struct Look {
    /// When its outcome came, in ms.
    pub now_ms: u64,
    /// When it was ordered, in ms.
    pub start_ms: u64,
    /// Our wall clock when its outcome came, in ms.
    pub wall_ms: u64,
    /// A longer gap before it bounds no silence (R2).
    pub gap_ms_max: u64,
    /// Whether we are master: what changed is told.
    pub tells: bool,
}

/// What changed with a look.
#[derive(Clone, PartialEq, Hash, Debug)]
pub enum Change {
    /// A node fell silent, or stopped.
    Lost {
        /// Which.
        node: NodeName,
        /// For how long it has been silent, in ms.
        silent_ms: u64,
        /// Whether it said that it stopped.
        stopped: bool,
    },
    /// A lost node is back.
    Returned {
        /// Which.
        node: NodeName,
    },
    /// A lost node is forgotten.
    Forgotten {
        /// Which.
        node: NodeName,
    },
    /// A node's wall clock is off ours.
    ClockOff {
        /// Which.
        node: NodeName,
        /// How far it is ahead, in ms; negative: behind.
        skew_ms: i64,
    },
    /// It is no longer, or the node is forgotten.
    ClockBack {
        /// Which.
        node: NodeName,
    },
}

/// All other nodes of the site that are known.
#[derive(Clone, Hash, Debug, Default)]
pub struct Roster {
    entries: Vec<Entry, NODES_MAX>,
    seen_ms: Option<u64>,
    /// When the last look was ordered, in ms.
    looked_ms: Option<u64>,
    /// There are more records than are kept here.
    is_crowded: bool,
}

impl Roster {
    /// Takes in a look at the records.
    pub fn observe(&mut self, look: Look, seen: &NodesSeen, mut tell: impl FnMut(Change)) {
        let gap_ms = self.seen_ms.map_or(0, |seen_ms| look.now_ms - seen_ms);
        let counted_ms = if gap_ms <= look.gap_ms_max { gap_ms } else { 0 };
        let age_ms_max = self.looked_ms.map(|looked_ms| look.now_ms - looked_ms);
        self.seen_ms = Some(look.now_ms);
        self.looked_ms = Some(look.start_ms);
        for entry in &mut self.entries {
            entry.silent_ms += counted_ms;
        }
        let mut tell = |change| {
            if look.tells {
                tell(change);
            }
        };
        for record in &seen.records {
            let age_ms_max = age_ms_max.unwrap_or(u64::MAX);
            self.take(record, look.wall_ms, age_ms_max, &mut tell);
        }
        if let Some(names) = &seen.listed {
            self.is_crowded = seen.crowded;
            self.drop_unlisted(names, look.tells, &mut tell);
        }
        for entry in &mut self.entries {
            entry.age(look.tells, &mut tell);
            entry.tell_skew(look.tells, &mut tell);
        }
    }

    /// We are master now: the one before has told of the nodes that are lost and the clocks that
    /// are off, if there was one.
    pub fn begin_term(&mut self, is_first: bool) {
        for entry in &mut self.entries {
            entry.loss_told = entry.life == Life::Lost && !is_first;
            entry.skew_told = entry.skew.holds() && !is_first;
        }
    }

    /// A node whose record is to be deleted, and for how long it was silent (R5).
    pub fn forgettable(&self) -> Option<(&NodeName, u64)> {
        let is_due = |entry: &&Entry| match entry.life {
            Life::Found | Life::Live => false,
            Life::Lost | Life::Dead if entry.silent_ms >= u64::from(NODE_FORGET_MS) => true,
            Life::Lost => self.is_crowded && entry.silent_ms >= u64::from(NODE_CROWDED_MS),
            Life::Dead => self.is_crowded,
        };
        let oldest = self.entries.iter().filter(is_due).max_by_key(|entry| entry.silent_ms)?;
        Some((&oldest.record.node, oldest.silent_ms))
    }

    /// A node's record is deleted.
    pub fn forget(&mut self, node: &NodeName, mut tell: impl FnMut(Change)) {
        self.entries.retain(|entry| {
            let is_forgotten = entry.record.node == *node;
            if is_forgotten {
                entry.end(&mut tell);
            }
            !is_forgotten
        });
    }

    /// Whether the wall clock of a node that is live is off ours.
    pub fn is_any_clock_off(&self) -> bool {
        self.entries.iter().any(|entry| entry.life == Life::Live && entry.skew.holds())
    }

    /// Forgets when we last looked: the share was away (R2).
    pub fn break_off(&mut self) {
        self.seen_ms = None;
        self.looked_ms = None;
    }

    /// Time goes by for all.
    #[cfg(test)]
    pub(super) fn age_for_test(&mut self, span_ms: u64) {
        for entry in &mut self.entries {
            entry.silent_ms += span_ms;
        }
    }

    /// How many other nodes are live.
    pub fn live(&self) -> usize {
        self.entries.iter().filter(|entry| entry.life == Life::Live).count()
    }

    /// Whether every record has been watched for long enough to tell.
    pub fn is_settled(&self) -> bool {
        self.entries.iter().all(|entry| entry.life != Life::Found)
    }

    /// A wish of another node that is addressed to the master of this term.
    pub fn wish(&self, term: Term) -> Option<&Wish> {
        let wishes = self.entries.iter().filter_map(|entry| entry.record.wish.as_ref());
        wishes.into_iter().find(|wish| wish.term == term)
    }

    /// Where a node's console can be reached; empty: not known.
    pub fn advertised(&self, node: &NodeName) -> &str {
        let entry = self.entries.iter().find(|entry| entry.record.node == *node);
        entry.map_or("", |entry| entry.record.advertise.as_str())
    }

    /// The nodes at a glance.
    pub fn status(&self) -> impl Iterator<Item = NodeStatus> + '_ {
        self.entries.iter().map(|entry| NodeStatus {
            node: entry.record.node.clone(),
            role: entry.record.role,
            live: entry.life == Life::Live,
            unseen: matches!(entry.life, Life::Found | Life::Dead),
            silent_ms: entry.silent_ms,
            skew_ms: if entry.skew.holds() { entry.skew.ms() } else { 0 },
            version: entry.record.version.clone(),
            advertise: entry.record.advertise.clone(),
        })
    }

    fn take(
        &mut self,
        record: &NodeRecord,
        wall_ms: u64,
        age_ms_max: u64,
        tell: &mut impl FnMut(Change),
    ) {
        let known = self.entries.iter_mut().find(|entry| entry.record.node == record.node);
        let Some(entry) = known else {
            if self.entries.push(Entry::found(record)).is_err() {
                self.replace_dead(record);
            }
            return;
        };
        if (entry.record.nonce, entry.record.beat) == (record.nonce, record.beat) {
            return;
        }
        entry.record = record.clone();
        entry.silent_ms = 0;
        entry.skew.observe(record.wall_ms, wall_ms, age_ms_max);
        if record.role == Role::Stopped {
            return;
        }
        entry.loss_told = false;
        if entry.life == Life::Lost {
            tell(Change::Returned { node: record.node.clone() });
        }
        entry.life = Life::Live;
    }

    /// The list is full: a dead node makes room, else the newcomer is not shown.
    fn replace_dead(&mut self, record: &NodeRecord) {
        if let Some(dead) = self.entries.iter_mut().find(|entry| entry.life == Life::Dead) {
            *dead = Entry::found(record);
        }
    }

    /// R4.
    fn drop_unlisted(&mut self, names: &[NodeName], tells: bool, tell: &mut impl FnMut(Change)) {
        let is_crowded = self.is_crowded;
        self.entries.retain_mut(|entry| {
            let node = &entry.record.node;
            let is_live = entry.life == Life::Live;
            let may_write = is_live && entry.silent_ms < u64::from(NODE_REWRITTEN_MS);
            if is_crowded || may_write || names.contains(node) {
                return true;
            }
            if is_live {
                entry.lose(tells, tell);
            }
            entry.end(tell);
            false
        });
    }
}

impl Entry {
    fn found(record: &NodeRecord) -> Self {
        Self {
            record: record.clone(),
            silent_ms: 0,
            life: Life::Found,
            loss_told: false,
            skew: Skew::default(),
            skew_told: false,
        }
    }

    fn age(&mut self, tells: bool, tell: &mut impl FnMut(Change)) {
        let stopped = self.record.role == Role::Stopped;
        if !stopped && self.silent_ms < u64::from(NODE_SILENT_MS) {
            return;
        }
        match self.life {
            Life::Found => self.life = Life::Dead,
            Life::Live => self.lose(tells, tell),
            Life::Lost | Life::Dead => {}
        }
    }

    fn lose(&mut self, tells: bool, tell: &mut impl FnMut(Change)) {
        self.life = Life::Lost;
        self.loss_told = tells;
        let (node, silent_ms) = (self.record.node.clone(), self.silent_ms);
        tell(Change::Lost { node, silent_ms, stopped: self.record.role == Role::Stopped });
    }

    /// R6.
    fn end(&self, tell: &mut impl FnMut(Change)) {
        let node = &self.record.node;
        if self.loss_told {
            tell(Change::Forgotten { node: node.clone() });
        }
        if self.skew_told {
            tell(Change::ClockBack { node: node.clone() });
        }
    }

    fn tell_skew(&mut self, tells: bool, tell: &mut impl FnMut(Change)) {
        let holds = self.skew.holds();
        if !tells || holds == self.skew_told {
            return;
        }
        self.skew_told = holds;
        let node = self.record.node.clone();
        tell(if holds {
            Change::ClockOff { node, skew_ms: self.skew.ms() }
        } else {
            Change::ClockBack { node }
        });
    }
}
