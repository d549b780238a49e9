//! What a claim over a term that was not released may rest on, seen from outside: by the
//! standby's own polls, and the slot's true age.
//!
//! - Over a slot that names no lock: `seize_ms` of silence.
//! - Where locks are doubtful: three of its heartbeats; by who held the lock while the slot
//!   advanced twice (E3), `seize_ms`.

use std::collections::BTreeMap;

use edge_agent::engine::ident::{ShareClass, Term};
use edge_agent::engine::slot::Slot;
use edge_agent::limits::DOUBTFUL_HEARTBEATS;

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
    /// For how long the slot had been what was seen, in ms.
    age_ms: u64,
    locked: u64,
}

/// What standbys have seen, and when slots changed.
#[derive(Default)]
pub(crate) struct Claims {
    watches: BTreeMap<Life, Watch>,
    /// By term and heartbeat, when a slot was written, in true ms.
    written_ms: BTreeMap<(Term, u64), u64>,
}

impl Claims {
    /// A slot is written.
    pub(crate) fn written(&mut self, now_ms: u64, slot: &Slot) {
        self.written_ms.entry((slot.term, slot.heartbeat)).or_insert(now_ms);
    }

    /// A poll is answered.
    pub(crate) fn polled(&mut self, now_ms: u64, life: Life, held: bool, newest: Option<&Slot>) {
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
        let written_ms = self.written_ms.get(&(slot.term, slot.heartbeat)).copied();
        watch.age_ms = now_ms - written_ms.unwrap_or(now_ms);
        watch.locked = slot.locked;
    }

    /// Its keeper is another, its share was opened anew, or an operator trusts the lock again.
    pub(crate) fn forget(&mut self, life: Life) {
        self.watches.remove(&life);
    }

    /// A claim is made over this slot, on a share of this class, by what was polled last.
    pub(crate) fn claims(
        &self,
        life: Life,
        over: Option<&Slot>,
        class: ShareClass,
        seize_ms: u32,
    ) -> Checked {
        // what we claimed ourselves and gave up needs no silence
        let ours = |slot: &&Slot| slot.nonce == life.nonce();
        let Some(slot) = over.filter(|slot| !slot.is_released() && !ours(slot)) else {
            return Ok(());
        };
        let Some(watch) = self.watches.get(&life).filter(|watch| watch.term == slot.term) else {
            // it is newer than anything that was polled
            return Ok(());
        };
        let (knows, age_ms) = (watch.knows, watch.age_ms);
        let doubtful = class == ShareClass::Doubtful;
        let silent_ms = match ((knows && doubtful) || watch.locked == 0, doubtful) {
            (true, _) => seize_ms,
            (false, true) => DOUBTFUL_HEARTBEATS * slot.heartbeat_ms,
            (false, false) => 0,
        };
        // its clock may run fast
        let enough_ms = u64::from(silent_ms) * 98 / 100;
        hold(Promise::Claims, age_ms >= enough_ms, || {
            format!(
                "{life:?} claims over term {}, locked {}, that wrote its slot {age_ms} ms ago; \
                 it knows that the lock does not exclude: {knows}",
                slot.term, watch.locked
            )
        })
    }
}
