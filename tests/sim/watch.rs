//! What comes in and what is written, and the looks of those who check.

use edge_agent::engine::Event;
use edge_agent::engine::ident::Lane;
use edge_agent::engine::slot::Slot;
use edge_agent::limits::GATHER_BYTES_MAX;

use crate::checks::stalls;
use crate::disk::{RECORD_BYTES, SegmentKey, Write};
use crate::node::{Life, Node};
use crate::plan::{Aim, Fault};
use crate::world::{Due, Part, World};

/// How often the site is looked at.
const LOOK_MS: u64 = 250;

impl World {
    // --- what is written ----------------------------------------------------------------

    /// A write is there for all to see, some of them later.
    pub(crate) fn apply(&mut self, place: usize, write: &Write) {
        let mut fresh_ms = self.now_ms + self.dice.within(0, self.plan.fresh_ms_max);
        if self.part == Some(Part::SlotsSeenFresh) {
            fresh_ms = u64::MAX;
        }
        if let Write::Slot { slot, .. } = write {
            self.checks.claims.written(self.now_ms, slot);
        }
        self.disk.apply(self.now_ms, fresh_ms, place, write);
    }

    /// And durable.
    pub(crate) fn make_durable(&mut self, write: &Write) {
        self.disk.sync(write);
        if let Write::Slot { slot, .. } = write {
            let newest = self.disk.durable_slot(slot.term).cloned();
            if let Some(slot) = newest {
                self.see_durable(&slot);
            }
        }
    }

    fn see_durable(&mut self, slot: &Slot) {
        self.checks.ownership.named(slot.term, slot.fenced);
        if slot.fenced {
            self.checks.repeats.surveyed(slot.term, self.now_ms);
        }
        self.checks.repeats.passed(self.now_ms, slot.term, slot.lanes.map(|lane| lane.cursor));
        let checked = self.checks.journal.durable(slot);
        self.judge(checked);
    }

    /// A write of a process that is gone may land later.
    pub(crate) fn land_later(&mut self, place: usize, write: Write) {
        let in_ms = self.dice.within(0, self.plan.late_ms_max);
        self.due_in(in_ms, Due::Lands(place, write));
    }

    pub(crate) fn land(&mut self, place: usize, write: &Write) {
        if let Write::Claim { term } = write {
            self.table.hit(Fault::ClaimLandsLate);
            self.disk.claim(*term);
            return;
        }
        self.table.hit(Fault::LandsLate);
        // a slot that changes is a sign of life
        self.disturb();
        if !self.disk.local {
            self.apply(place, write);
        }
        self.make_durable(write);
    }

    /// A claim's file is made.
    pub(crate) fn made_claim(&mut self, life: Life, term: u32) {
        self.trace.note(self.now_ms, life.place, "claims", u64::from(term));
        self.nodes[life.place].term = term;
        self.checks.ownership.claimed(term, life);
        let over = self.disk.newest(self.now_ms, life.place).cloned();
        let seize_ms = self.plan.settings.seize_ms;
        let checked = self.checks.claims.claims(life, over.as_ref(), self.plan.class, seize_ms);
        self.judge(checked);
        if let Aim::Overlap(for_ms) = self.plan.aim {
            self.overlap(life.place, for_ms);
        }
        if self.plan.aim == Aim::Claim && !self.healing && self.dice.one_in(3) {
            self.table.hit(Fault::Killed);
            self.kill(life.place);
        }
    }

    /// Segments are deleted.
    pub(crate) fn swept(&mut self, _: Life, gone: &[SegmentKey]) {
        for key in gone {
            let checked = self.checks.journal.deleted(*key);
            self.judge(checked);
        }
    }

    // --- producers ----------------------------------------------------------------------

    /// Records come in to whoever collects.
    pub(crate) fn produce(&mut self) {
        for place in 0..self.nodes.len() {
            let node = &self.nodes[place];
            let quiet = self.healing && self.now_ms > self.plan.faults_ms + 10_000;
            if node.collecting.is_none() || !node.runs(self.now_ms) || quiet {
                continue;
            }
            let records = self.dice.within(1, 5);
            if self.push(place, Lane::Readings, records) {
                self.gather(place, Lane::Readings);
            }
        }
        let in_ms = self.dice.within(50, 400);
        self.due_in(in_ms, Due::Produce);
    }

    /// Whether there was room for them.
    pub(crate) fn push(&mut self, place: usize, lane: Lane, records: u64) -> bool {
        let node = &mut self.nodes[place];
        let Some(term) = node.collecting else { return false };
        let gathered = &mut node.lanes[lane.index()];
        let bytes = (gathered.pushed - gathered.flown + records) * u64::from(RECORD_BYTES);
        if bytes > GATHER_BYTES_MAX as u64 {
            return false;
        }
        gathered.pushed += records;
        self.checks.repeats.written(lane.index(), term, gathered.pushed);
        true
    }

    pub(crate) fn gather(&mut self, place: usize, lane: Lane) {
        let node = &self.nodes[place];
        if node.collecting.is_none() {
            return;
        }
        let gathered = &node.lanes[lane.index()];
        let bytes = u32::try_from(gathered.pushed - gathered.flown).expect("few") * RECORD_BYTES;
        let through_seq = gathered.pushed;
        self.event(place, Event::Gathered { lane, bytes, through_seq });
    }

    // --- the checkers' own looks --------------------------------------------------------

    pub(crate) fn look(&mut self) {
        self.due_in(LOOK_MS, Due::Look);
        let now_ms = self.now_ms;
        let well = |node: &&Node| node.is_well(now_ms) && now_ms >= node.hung_until_ms;
        let able = self.nodes.iter().any(|node| well(&node)) && !self.disk.full;
        let leased = |node: &Node| self.checks.lease.has(node.life, node.clock.now(now_ms).ms);
        let collects =
            self.nodes.iter().filter(well).any(|node| node.collecting.is_some() && leased(node));
        let in_ms = self.takeover_ms_max();
        let checked = self.checks.failover.look(now_ms, collects, able, in_ms);
        self.judge(checked);
        let late = now_ms > 150_000 && now_ms < 150_000 + LOOK_MS;
        if self.part == Some(Part::AgentStays) && late {
            let master = self.nodes.iter().position(|node| node.collecting.is_some());
            if let Some(place) = master {
                self.abort(place);
            }
        }
        for place in 0..self.nodes.len() {
            let node = &self.nodes[place];
            let operation = node.keeper.as_ref().and_then(|keeper| keeper.operation.as_ref());
            if let Some(operation) = operation.filter(|_| node.runs(now_ms)) {
                let since_ms = operation.begun_ms.max(node.frozen_until_ms);
                let checked = stalls::waits(now_ms - since_ms, node.stall_told);
                self.judge(checked);
            }
        }
    }
}
