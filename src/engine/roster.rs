//! The other nodes, as their records show them to us.
//!
//! # Invariants
//!
//! - R1: a node is live only if its record was seen to change; a record that was merely found
//!   may be years old.
//! - R2: silence is counted as in `election`: over gaps that our own observations bound.
//! - R3: a loss is told once, and its return once.

use heapless::Vec;

use super::ident::{NodeName, Role, Term};
use super::share::{NodeRecord, NodesSeen, Wish};
use super::status::NodeStatus;
use crate::limits::{NODE_SILENT_MS, NODES_MAX};

/// Whether a node lives, as far as we know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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

#[derive(Clone, Debug)]
struct Entry {
    record: NodeRecord,
    silent_ms: u64,
    life: Life,
}

/// What changed with a look.
#[derive(Clone, PartialEq, Debug)]
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
}

/// All other nodes of the site that are known.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    entries: Vec<Entry, NODES_MAX>,
    seen_ms: Option<u64>,
}

impl Roster {
    /// Takes in a look at the records. `gap_ms_max`: a longer gap bounds no silence (R2).
    pub fn observe(
        &mut self,
        now_ms: u64,
        gap_ms_max: u64,
        seen: &NodesSeen,
        mut tell: impl FnMut(Change),
    ) {
        let gap_ms = self.seen_ms.map_or(0, |seen_ms| now_ms - seen_ms);
        let counted_ms = if gap_ms <= gap_ms_max { gap_ms } else { 0 };
        self.seen_ms = Some(now_ms);
        for entry in &mut self.entries {
            entry.silent_ms += counted_ms;
        }
        for record in &seen.records {
            self.take(record, &mut tell);
        }
        for entry in &mut self.entries {
            entry.age(&mut tell);
        }
    }

    /// Forgets when we last looked: the share was away (R2).
    pub fn break_off(&mut self) {
        self.seen_ms = None;
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
            silent_ms: entry.silent_ms,
            version: entry.record.version.clone(),
            advertise: entry.record.advertise.clone(),
        })
    }

    fn take(&mut self, record: &NodeRecord, tell: &mut impl FnMut(Change)) {
        let known = self.entries.iter_mut().find(|entry| entry.record.node == record.node);
        let Some(entry) = known else {
            let entry = Entry { record: record.clone(), silent_ms: 0, life: Life::Found };
            if self.entries.push(entry).is_err() {
                self.replace_dead(record);
            }
            return;
        };
        if (entry.record.nonce, entry.record.beat) == (record.nonce, record.beat) {
            return;
        }
        entry.record = record.clone();
        entry.silent_ms = 0;
        if record.role == Role::Stopped {
            return;
        }
        if entry.life == Life::Lost {
            tell(Change::Returned { node: record.node.clone() });
        }
        entry.life = Life::Live;
    }

    /// The list is full: a dead node makes room, else the newcomer is not shown.
    fn replace_dead(&mut self, record: &NodeRecord) {
        if let Some(dead) = self.entries.iter_mut().find(|entry| entry.life == Life::Dead) {
            *dead = Entry { record: record.clone(), silent_ms: 0, life: Life::Found };
        }
    }
}

impl Entry {
    fn age(&mut self, tell: &mut impl FnMut(Change)) {
        let stopped = self.record.role == Role::Stopped;
        if !stopped && self.silent_ms < u64::from(NODE_SILENT_MS) {
            return;
        }
        match self.life {
            Life::Found => self.life = Life::Dead,
            Life::Live => {
                self.life = Life::Lost;
                let (node, silent_ms) = (self.record.node.clone(), self.silent_ms);
                tell(Change::Lost { node, silent_ms, stopped });
            }
            Life::Lost | Life::Dead => {}
        }
    }
}
