//! P2: what was acknowledged is delivered, or kept in the declined store, in the end.

use std::collections::{BTreeMap, BTreeSet};

use edge_agent::engine::ident::Term;

use super::{Checked, Promise, hold};
use crate::declined::Identity;

/// What was promised, and what became of it.
#[derive(Default)]
pub(crate) struct Kept {
    /// By lane and term, the last seq that was acknowledged.
    acknowledged: BTreeMap<(usize, Term), u64>,
    accepted: BTreeSet<Identity>,
}

impl Kept {
    /// A producer was told so.
    pub(crate) fn acknowledged(&mut self, lane: usize, term: Term, through_seq: u64) {
        let last = self.acknowledged.entry((lane, term)).or_default();
        *last = through_seq.max(*last);
    }

    /// The cloud has it.
    pub(crate) fn accepted(&mut self, record: Identity) {
        self.accepted.insert(record);
    }

    /// How much was acknowledged.
    pub(crate) fn records(&self) -> u64 {
        self.acknowledged.values().sum()
    }

    /// All is over; this is in the declined store, or was purged from it.
    pub(crate) fn end(&self, declined: &BTreeSet<Identity>) -> Checked {
        for ((lane, term), last) in &self.acknowledged {
            for seq in 1..=*last {
                let record = (*lane, *term, seq);
                let kept = self.accepted.contains(&record) || declined.contains(&record);
                hold(Promise::Kept, kept, || {
                    format!("{record:?} (lane, term, seq) was acknowledged up to {last} and lost")
                })?;
            }
        }
        Ok(())
    }
}
