//! What a claim may rest on where the lock does not exclude (E3): whoever held the lock while
//! the master's slot advanced twice claims only what was released, or has been silent for
//! `seize_ms`. Seen from outside: by the standby's own polls, and the slot's true age.

use std::collections::BTreeMap;

use edge_agent::engine::ident::Term;
use edge_agent::engine::slot::Slot;

use super::{Checked, Promise, hold};
use crate::node::Life;

/// The polls of a standby in which the lock was held, each showing a new heartbeat.
#[derive(Clone, Copy, Default)]
struct Watch {
    term: Term,
    heartbeat: u64,
    held: bool,
    advances: u32,
    knows: bool,
}

/// What standbys have seen, and when slots changed.
#[derive(Default)]
pub(crate) struct Claims {
    watches: BTreeMap<Life, Watch>,
    /// When the newest slot last changed, in true ms.
    changed_ms: BTreeMap<Term, u64>,
}

impl Claims {
    /// A slot is written.
    pub(crate) fn written(&mut self, now_ms: u64, term: Term) {
        self.changed_ms.insert(term, now_ms);
    }

    /// A poll is answered.
    pub(crate) fn polled(&mut self, life: Life, held: bool, newest: Option<&Slot>) {
        let watch = self.watches.entry(life).or_default();
        let Some(slot) = newest.filter(|slot| !slot.is_released()) else {
            *watch = Watch::default();
            return;
        };
        let advanced = slot.term == watch.term && slot.heartbeat > watch.heartbeat;
        watch.advances = match (slot.term == watch.term, advanced, held && watch.held) {
            (true, true, true) => watch.advances + 1,
            (true, false, _) => watch.advances,
            (false, ..) | (_, _, false) => 0,
        };
        watch.knows |= watch.advances > 2;
        (watch.term, watch.heartbeat, watch.held) = (slot.term, slot.heartbeat, held);
    }

    /// Its keeper is another, its share was opened anew, or an operator trusts the lock again.
    pub(crate) fn forget(&mut self, life: Life) {
        self.watches.remove(&life);
    }

    /// A claim is made over this slot.
    pub(crate) fn claims(
        &self,
        now_ms: u64,
        life: Life,
        over: Option<&Slot>,
        seize_ms: u32,
    ) -> Checked {
        let knows = self.watches.get(&life).is_some_and(|watch| watch.knows);
        let Some(slot) = over.filter(|slot| knows && !slot.is_released()) else { return Ok(()) };
        let age_ms = now_ms - self.changed_ms.get(&slot.term).copied().unwrap_or(0);
        // its clock may run fast
        let enough_ms = u64::from(seize_ms) * 98 / 100;
        hold(Promise::Claims, age_ms >= enough_ms, || {
            format!(
                "{life:?} knows that the lock does not exclude, and claims over term {} that \
                 wrote its slot {age_ms} ms ago",
                slot.term
            )
        })
    }
}
