//! What goes wrong: thrown as the plan says, and healed.

use edge_agent::engine::Event;
use edge_agent::engine::ident::ShareClass;
use edge_agent::engine::share::ShareFault;

use crate::cloud::Mood;
use crate::disk::{Holder, Write};
use crate::keeper::Step;
use crate::node::{Life, Node, Orphan, name};
use crate::plan::Fault;
use crate::world::{Due, Part, World};

impl World {
    /// One of the plan's faults, and the next one's time.
    pub(crate) fn throw(&mut self) {
        if self.healing {
            return;
        }
        let in_ms = self.dice.within(1, 2 * self.plan.fault_every_ms);
        self.due_in(in_ms, Due::Throw);
        if self.plan.thrown.is_empty() {
            return;
        }
        let fault = self.plan.thrown[self.dice.place(self.plan.thrown.len())];
        // half of them hit the master
        let master = self.nodes.iter().position(|node| node.collecting.is_some());
        let anyone = self.dice.place(self.nodes.len());
        let place = master.filter(|_| self.dice.one_in(2)).unwrap_or(anyone);
        let for_ms = self.dice.within(100, self.plan.fault_ms_max);
        if self.strike(fault, place, for_ms) {
            self.table.hit(fault);
            self.trace
                .say(self.now_ms, "FAULT", || format!("{fault:?} at gw-{place} for {for_ms} ms"));
            self.trace.note(self.now_ms, place, "fault", fault as u64);
        }
    }

    /// Whether it could happen.
    fn strike(&mut self, fault: Fault, place: usize, for_ms: u64) -> bool {
        let runs = self.nodes[place].runs(self.now_ms) && !self.nodes[place].exited;
        let until_ms = self.now_ms + for_ms;
        if !runs {
            return self.strike_share(fault, place, for_ms);
        }
        match fault {
            Fault::Killed => self.kill_and_expect(place, for_ms),
            Fault::KeeperKilled => self.kill_keeper(place),
            Fault::UplinkKilled => {
                self.kill_uplink(place);
                true
            }
            Fault::PowerLost => self.lose_power(place, for_ms),
            Fault::Frozen => self.hold(place, until_ms, |node| &mut node.frozen_until_ms),
            Fault::Hung => self.hold(place, until_ms, |node| &mut node.hung_until_ms),
            Fault::Cut | Fault::CutWhole => self.cut(place, until_ms, fault == Fault::CutWhole),
            Fault::Unmounted => self.hold(place, until_ms, |node| &mut node.unmounted_until_ms),
            Fault::ClockJump => {
                let ahead_ms = self.dice.below(100_000_000_000);
                self.nodes[place].clock.wall_ahead_ms = ahead_ms;
                true
            }
            Fault::Stopped => self.stop(place),
            Fault::Switchover | Fault::SwitchoverTo => {
                self.disturb();
                let to = self.dice.place(self.nodes.len());
                let to = (fault == Fault::SwitchoverTo).then(|| name(to));
                self.event(place, Event::Switchover { to });
                true
            }
            Fault::Reload => self.reload(place),
            Fault::Replay => {
                self.event(place, Event::Replay);
                true
            }
            Fault::Purge => {
                self.event(place, Event::Purge);
                true
            }
            _ => self.strike_share(fault, place, for_ms),
        }
    }

    /// What needs no node that runs.
    fn strike_share(&mut self, fault: Fault, place: usize, for_ms: u64) -> bool {
        match fault {
            Fault::AllHung => {
                let until_ms = self.now_ms + for_ms;
                for place in 0..self.nodes.len() {
                    self.hold(place, until_ms, |node| &mut node.hung_until_ms);
                }
                true
            }
            Fault::LocksDropped => {
                self.disturb();
                self.disk.holders.clear();
                true
            }
            Fault::LockDeleted => {
                self.disturb();
                self.disk.delete_lock_file()
            }
            Fault::LockReplaced => {
                self.disturb();
                let slots_too = self.part == Some(Part::LockFileAlone);
                self.disk.replace_lock_file(slots_too);
                self.disk.keep_slots();
                true
            }
            Fault::Stale | Fault::Failed => {
                self.disturb();
                let kind =
                    if fault == Fault::Stale { ShareFault::Stale } else { ShareFault::Other };
                self.nodes[place].fails = Some(kind);
                // it counts once it has failed
                false
            }
            Fault::Full => {
                self.disturb();
                self.disk.full = true;
                self.due_in(for_ms, Due::RoomBack);
                true
            }
            Fault::Burnt => self.burn(),
            Fault::SlotLost => self.lose_slot(),
            _ => self.strike_cloud(fault, for_ms),
        }
    }

    fn strike_cloud(&mut self, fault: Fault, for_ms: u64) -> bool {
        let mood = match fault {
            Fault::AnswerLost => Mood::AnswerLost,
            Fault::RequestLost => Mood::Away,
            Fault::CloudFails => {
                Mood::Says(self.dice.pick(&[500, 500, 502, 503, 504, 429, 408, 425, 301, 100]))
            }
            Fault::CloudRefuses => Mood::Says(self.dice.pick(&[401, 403, 404, 405, 410])),
            Fault::CloudPicky => Mood::Picky,
            Fault::CloudSmall => Mood::Small(self.dice.within(1, 20)),
            Fault::CloudSlow => Mood::Slow,
            _ => return false,
        };
        self.mood = mood;
        self.due_in(for_ms, Due::CloudBack);
        true
    }

    /// Something holds a node up until then.
    fn hold(&mut self, place: usize, until_ms: u64, what: fn(&mut Node) -> &mut u64) -> bool {
        self.disturb();
        let held = what(&mut self.nodes[place]);
        *held = until_ms.max(*held);
        self.due_in(until_ms - self.now_ms, Due::Calm);
        true
    }

    // --- processes ----------------------------------------------------------------------

    fn kill_and_expect(&mut self, place: usize, for_ms: u64) -> bool {
        let was_master = self.nodes[place].collecting.is_some();
        let calm = self.is_calm_without(place);
        self.kill(place);
        self.nodes[place].frozen_until_ms = 0;
        if was_master && calm {
            self.expect_takeover("the master's process was killed");
        }
        self.due_in(for_ms, Due::Up(place));
        true
    }

    /// Whether all that stand by are well, and locks are what they should be.
    fn is_calm_without(&self, place: usize) -> bool {
        let others = self.nodes.iter().filter(|node| node.life.place != place);
        let mut standing_by =
            others.clone().filter(|node| node.is_well(self.now_ms) && node.keeper.is_some());
        let well = standing_by.any(|node| node.tries_lock)
            && others.clone().all(|node| node.is_well(self.now_ms));
        let node = &self.nodes[place];
        let gripped = node.keeper.as_ref().and_then(|keeper| keeper.grip);
        let alone = gripped.is_some_and(|(grip, inode)| {
            inode == self.disk.inode
                && self.disk.holders.iter().all(|holder| *holder == Holder::Grip(grip))
        });
        let newest = self.disk.truth().map_or(0, |(term, _)| term);
        // each number that is taken costs a poll
        let burnt = self.disk.highest_taken() > newest;
        let share_is_well = alone && !burnt && !self.disk.full && !self.plan.lies;
        well && share_is_well && self.checks.failover.is_calm(self.now_ms)
    }

    fn expect_takeover(&mut self, why: &'static str) {
        let settings = &self.plan.settings;
        let doubtful = self.plan.class == ShareClass::Doubtful;
        let heartbeats = if doubtful { 3 * u64::from(settings.heartbeat_ms) + 200 } else { 0 };
        // a poll under way, the poll that sees it, and the polls that a look at all slots costs
        let polls = 2 * u64::from(settings.poll_ms);
        let in_ms = 300 + polls + heartbeats + 14 * (self.plan.step_ms_max + 2);
        let until_ms = self.now_ms + in_ms;
        self.checks.failover.expect(until_ms, why);
    }

    /// SIGKILL of all processes. The uplink may live a moment longer, with its lock.
    pub(crate) fn kill(&mut self, place: usize) {
        self.disturb();
        self.end_processes(place, true);
        let in_ms = self.dice.within(200, 20_000);
        self.due_in(in_ms, Due::Up(place));
    }

    /// The agent ends by a fault of its own, and is started again.
    pub(crate) fn abort(&mut self, place: usize) {
        self.end_processes(place, true);
        self.due_in(5_000, Due::Up(place));
    }

    fn end_processes(&mut self, place: usize, host_lives: bool) {
        let life = self.nodes[place].life;
        self.cut_flight(place, host_lives);
        let node = &mut self.nodes[place];
        node.up = false;
        node.collecting = None;
        let held = node.keeper.take().and_then(|keeper| keeper.grip).map(|(grip, _)| grip);
        let uplink = node.uplink.take();
        // the keeper may have gone before, and the uplink's copy be the last
        let grip = held.or_else(|| uplink.as_ref().and_then(|uplink| uplink.grip));
        let lease_end_ms = node.lease_end_ms;
        let mut last_ms = 0;
        if let Some(uplink) = uplink.filter(|uplink| host_lives && !uplink.dying) {
            last_ms = self.dice.within(0, self.plan.orphan_ms_max);
            let now_ms = self.now_ms;
            self.orphans.retain(|orphan| now_ms < orphan.dies_ms);
            let dies_ms = now_ms + last_ms;
            self.orphans.push(Orphan { life, uplink, lease_end_ms, dies_ms });
        }
        let Some(grip) = grip else { return };
        if host_lives {
            let copied = self.part != Some(Part::LockCopied);
            let held_ms = if copied { last_ms + 1 } else { 0 };
            let release_ms = if self.disk.local { 0 } else { self.dice.below(100) };
            self.due_in(held_ms + release_ms, Due::Freed(Holder::Grip(grip)));
        } else {
            self.linger(grip);
        }
    }

    /// The server still holds the lock of a host that is down.
    fn linger(&mut self, grip: u32) {
        if !self.disk.holders.remove(&Holder::Grip(grip)) {
            return;
        }
        let ghost = Holder::Ghost(grip);
        self.disk.holders.insert(ghost);
        match self.plan.expiry_ms {
            0 => self.table.hit(Fault::LockLingers),
            expiry_ms => {
                self.table.hit(Fault::LockExpired);
                self.due_in(expiry_ms, Due::Freed(ghost));
            }
        }
    }

    /// What the keeper was writing lands at once, late, torn or never.
    fn cut_flight(&mut self, place: usize, host_lives: bool) {
        let keeper = self.nodes[place].keeper.as_mut();
        let Some(operation) = keeper.and_then(|keeper| keeper.operation.take()) else { return };
        for write in operation.unsynced {
            if host_lives || self.dice.one_in(4) {
                self.land_later(place, write);
            } else if self.dice.one_in(2) {
                self.table.hit(Fault::WriteTorn);
                self.disk.tear(&write);
            } else {
                self.table.hit(Fault::WriteLost);
            }
        }
        let claims = operation.steps.last() == Some(&Step::Claim);
        if let edge_agent::engine::share::ShareOrder::Claim { term } = operation.order
            && claims
            && self.dice.one_in(2)
        {
            self.land_later(place, Write::Claim { term });
        }
    }

    fn kill_keeper(&mut self, place: usize) -> bool {
        if self.nodes[place].keeper.is_none() {
            return false;
        }
        self.disturb();
        self.cut_flight(place, true);
        self.drop_grip(place);
        let node = &mut self.nodes[place];
        node.keeper = None;
        let (life, stuck_ms) = (node.life, node.hung_until_ms.saturating_sub(self.now_ms));
        self.due_in(stuck_ms + 1, Due::KeeperGone(life));
        true
    }

    fn lose_power(&mut self, place: usize, for_ms: u64) -> bool {
        self.disturb();
        if self.disk.local {
            for place in 0..self.nodes.len() {
                self.end_processes(place, false);
            }
            self.disk.lose_power();
            for place in 0..self.nodes.len() {
                let in_ms = self.dice.within(500, 5_000);
                self.due_in(in_ms, Due::Up(place));
            }
        } else {
            self.end_processes(place, false);
            self.due_in(for_ms, Due::Up(place));
        }
        true
    }

    /// A node starts, or starts again.
    pub(crate) fn come_up(&mut self, place: usize) {
        if self.nodes[place].up {
            return;
        }
        self.disturb();
        let node = &self.nodes[place];
        let life = Life { place, number: node.life.number + 1 };
        let clock = node.clock;
        let (hung_until_ms, offline_until_ms) = (node.hung_until_ms, node.offline_until_ms);
        self.nodes[place] =
            Node { hung_until_ms, offline_until_ms, ..Node::new(life, clock, self.left_out) };
        self.event(place, Event::Tick);
    }

    fn stop(&mut self, place: usize) -> bool {
        let was_master = self.nodes[place].collecting.is_some();
        let calm = self.is_calm_without(place);
        self.disturb();
        if was_master && calm {
            self.clean_stop = Some(place);
        }
        self.event(place, Event::Stop);
        true
    }

    /// The agent ends by itself.
    pub(crate) fn exit(&mut self, place: usize) {
        self.nodes[place].exited = true;
        self.trace.note(self.now_ms, place, "exits", 0);
        self.disturb();
        self.end_processes(place, true);
        if self.clean_stop.take() == Some(place) {
            self.expect_takeover("the master was stopped");
        }
        let in_ms = self.dice.within(500, 20_000);
        self.due_in(in_ms, Due::Up(place));
    }

    fn reload(&mut self, place: usize) -> bool {
        self.disturb();
        let life = self.nodes[place].life;
        self.checks.claims.forget(life);
        self.event(place, Event::Reload);
        true
    }

    // --- the share ----------------------------------------------------------------------

    /// A host is cut off: what it was doing hangs, and its server may end its lock.
    fn cut(&mut self, place: usize, until_ms: u64, whole: bool) -> bool {
        self.hold(place, until_ms, |node| &mut node.hung_until_ms);
        if whole {
            self.nodes[place].offline_until_ms = until_ms;
        }
        if self.plan.expiry_ms > 0 {
            self.due_in(self.plan.expiry_ms, Due::Expired(place));
        } else {
            self.table.hit(Fault::LockLingers);
        }
        true
    }

    /// A node's share hangs.
    pub(crate) fn hang(&mut self, place: usize, for_ms: u64) {
        self.table.hit(Fault::Hung);
        self.hold(place, self.now_ms + for_ms, |node| &mut node.hung_until_ms);
    }

    /// A claimer's share hangs, then that of the master that it claimed over.
    pub(crate) fn overlap(&mut self, claimer: usize, for_ms: u64) {
        let is_other = |node: &&Node| node.life.place != claimer && node.collecting.is_some();
        let master = self.nodes.iter().find(is_other).map(|node| node.life.place);
        if let Some(master) = master.filter(|_| !self.healing) {
            self.hang(claimer, for_ms);
            let after_ms = for_ms + self.dice.within(600, 1_200);
            self.due_in(after_ms, Due::Hangs(master, 20_000));
        }
    }

    /// The server has not heard of a host for so long.
    pub(crate) fn expire(&mut self, place: usize) {
        let node = &self.nodes[place];
        if self.now_ms >= node.hung_until_ms {
            return;
        }
        if let Some((grip, _)) = node.keeper.as_ref().and_then(|keeper| keeper.grip) {
            self.table.hit(Fault::LockExpired);
            self.disk.holders.remove(&Holder::Grip(grip));
            self.disturb();
        }
    }

    /// The page of the term before a fenced one is noise: whoever is fenced took its cursors over,
    /// and the next one does not find it. Its master is gone.
    fn lose_slot(&mut self) -> bool {
        let Some(term) = self.disk.slot_to_lose() else { return false };
        let lives = {
            let is_its_master = |node: &Node| node.term == term && node.collecting.is_some();
            self.nodes.iter().any(is_its_master)
        };
        if !lives {
            self.disk.lose_slot(term);
        }
        !lives
    }

    /// Others took numbers and died.
    fn burn(&mut self) -> bool {
        let newest = self.disk.truth().map_or(0, |(term, _)| term);
        let highest = self.disk.highest_taken();
        if newest == 0 || newest > 180 || highest > newest + 5 {
            return false;
        }
        self.disturb();
        for term in highest + 1
            ..=highest + u32::try_from(self.dice.within(self.plan.burnt_min, 5)).expect("few")
        {
            self.disk.claim(term);
        }
        true
    }

    // --- healing ------------------------------------------------------------------------

    /// Nothing new goes wrong. What holds a node up comes to its end by itself.
    pub(crate) fn heal(&mut self) {
        self.healing = true;
        self.disturb();
        self.trace.say(self.now_ms, "HEAL", || "nothing new goes wrong".to_owned());
        self.mood = Mood::Good;
        self.disk.full = false;
        for place in 0..self.nodes.len() {
            self.nodes[place].fails = None;
            self.come_up(place);
        }
        self.due_in(self.plan.fault_ms_max + 1, Due::Mended);
    }

    /// What was paused for wrong credentials goes on by an operator's word, or by itself.
    pub(crate) fn mend(&mut self) {
        self.mended_ms = Some(self.now_ms);
        for place in 0..self.nodes.len() {
            self.come_up(place);
            if self.plan.has_operator {
                self.reload(place);
            }
        }
    }
}
