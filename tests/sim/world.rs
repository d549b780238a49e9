//! A site in a world of its own: true time, what is due when, and who hears of it.
//!
//! Everything that can take time is a thing that is due later: a step on the share, the way of
//! an outcome, the start of a request, its answer. What is due at one moment comes in the order
//! in which it was asked for. Between any two of them, anything else may happen.
//!
//! 1. Faults are thrown for a while, as the plan says, and every checker looks on.
//! 2. All is healed: every fault ends, every node runs, the cloud takes everything.
//! 3. The site must come to rest: one master, an empty journal, nothing lost.
//!
//! Not for: deciding what goes wrong (`faults`), what the share does (`keeper`, `disk`).

use std::collections::{BTreeMap, BTreeSet};

use edge_agent::engine::ident::Lane;
use edge_agent::engine::notes::Note;
use edge_agent::engine::planted::LeftOut;
use edge_agent::engine::share::{ProofVerdict, ShareOrder, ShareOutcome};
use edge_agent::engine::{Effect, Event};

use crate::checks::{Broken, Checked, Checks, healed, stalls};
use crate::cloud::{Answer, Mood};
use crate::declined::Identity;
use crate::dice::Dice;
use crate::disk::{Disk, Holder, RECORD_BYTES, Write};
use crate::keeper::steps_of;
use crate::node::{Clock, Keeper, Life, Node, Operation, Orphan};
use crate::plan::{Fault, Plan};
use crate::table::Table;
use crate::trace::Trace;

/// How long a site may take to come to rest.
const REST_MS_MAX: u64 = 400_000;

/// A part of the agent that is not the engine, left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Part {
    /// `edge.lock` holds nothing else: the slots would go with it.
    LockFileAlone,
    /// The lease's timer ends the uplink.
    LeaseTimer,
    /// The uplink holds a copy of the lock's descriptor.
    LockCopied,
    /// A claim's file is made exclusively.
    ExclusiveCreate,
    /// Locks of such a share exclude.
    LocksExclude,
    /// A slot that was rewritten is seen by all.
    SlotsSeenFresh,
    /// The agent of a master goes on.
    AgentStays,
}

/// Something that is due.
#[derive(Clone, Debug)]
pub(crate) enum Due {
    Wake(Life),
    Step(Life, u64),
    Outcome(Life, u64),
    KeeperUp(Life),
    KeeperGone(Life),
    Hello(Life, u64),
    Reaped(Life, u64),
    Start(Life, u64),
    Answer(Life, u64, Answer),
    Guard(Life),
    CallEnds(Life, u64),
    Produce,
    Throw,
    Look,
    Up(usize),
    Lands(usize, Write),
    Freed(Holder),
    Expired(usize),
    /// A node's share hangs for so long.
    Hangs(usize, u64),
    /// Something comes right again.
    Calm,
    CloudBack,
    RoomBack,
    /// Everything is well; an operator has a look at it.
    Mended,
}

/// A site and all around it.
pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) dice: Dice,
    pub(crate) plan: Plan,
    pub(crate) left_out: LeftOut,
    pub(crate) part: Option<Part>,
    pub(crate) disk: Disk,
    pub(crate) nodes: Vec<Node>,
    pub(crate) orphans: Vec<Orphan>,
    pub(crate) mood: Mood,
    pub(crate) checks: Checks,
    pub(crate) table: Table,
    pub(crate) trace: Trace,
    pub(crate) purged: BTreeSet<Identity>,
    pub(crate) grips: u32,
    pub(crate) healing: bool,
    pub(crate) mended_ms: Option<u64>,
    /// A master that is ending in good order, while all else is well.
    pub(crate) clean_stop: Option<usize>,
    pub(crate) broken: Option<(u64, Broken)>,
    dues: BTreeMap<(u64, u64), Due>,
    serial: u64,
}

impl World {
    /// A site before its first moment.
    pub(crate) fn new(mut dice: Dice, plan: Plan, left_out: LeftOut, part: Option<Part>) -> Self {
        let nodes = (0..plan.nodes).map(|place| {
            let clock = Clock::new(place, plan.drift[place]);
            Node::new(Life { place, number: 0 }, clock, left_out)
        });
        let nodes: Vec<_> = nodes.collect();
        let mut disk = Disk::new(plan.is_local());
        disk.lies = plan.lies || plan.unsafe_mount || part == Some(Part::LocksExclude);
        let mut world = Self {
            now_ms: 1,
            dice: Dice::new(dice.below(u64::MAX)),
            left_out,
            part,
            disk,
            nodes,
            orphans: Vec::new(),
            mood: Mood::Good,
            checks: Checks::default(),
            table: Table::default(),
            trace: Trace::new(false),
            purged: BTreeSet::new(),
            grips: 0,
            healing: false,
            mended_ms: None,
            clean_stop: None,
            broken: None,
            dues: BTreeMap::new(),
            serial: 0,
            plan,
        };
        for place in 0..world.nodes.len() {
            let start_ms = world.dice.below(2_000);
            world.nodes[place].up = false;
            world.due_in(start_ms, Due::Up(place));
        }
        for due in [Due::Produce, Due::Throw, Due::Look] {
            world.due_in(1, due);
        }
        if world.plan.is_slow() {
            world.table.hit(Fault::Slow);
        }
        if world.plan.drift.iter().any(|drift| *drift != 0) {
            world.table.hit(Fault::Drift);
        }
        world
    }

    /// Lets it all happen; gives what was broken, and when.
    pub(crate) fn run(&mut self) -> Option<(u64, Broken)> {
        let heal_ms = self.plan.faults_ms;
        let mut rest_since_ms = None;
        while self.broken.is_none() {
            let Some(((at_ms, _), due)) = self.dues.pop_first() else { break };
            self.now_ms = at_ms.max(self.now_ms);
            if !self.healing && self.now_ms >= heal_ms {
                self.heal();
            }
            let looks = matches!(due, Due::Look);
            self.happen(due);
            if let (Some(mended_ms), true) = (self.mended_ms, looks) {
                let rests = self.is_at_rest();
                rest_since_ms = rest_since_ms.filter(|_| rests).or(rests.then_some(self.now_ms));
                let rested = rest_since_ms.is_some_and(|since_ms| self.now_ms >= since_ms + 2_000);
                if rested || self.now_ms >= mended_ms + REST_MS_MAX {
                    self.end();
                    break;
                }
            }
        }
        self.broken.take()
    }

    fn is_at_rest(&mut self) -> bool {
        self.nodes.iter().all(|node| node.runs(self.now_ms)) && {
            let all: Vec<_> = self.statuses();
            healed::is_healed(&all)
        }
    }

    fn statuses(&self) -> Vec<edge_agent::engine::status::Status> {
        let status = |node: &Node| node.engine.status(node.clock.now(self.now_ms).ms);
        self.nodes.iter().map(status).collect()
    }

    fn end(&mut self) {
        let all = self.statuses();
        let mut declined: BTreeSet<_> = self.disk.declined.left().into_iter().collect();
        declined.extend(&self.purged);
        let checked = healed::end(&all).and_then(|()| self.checks.kept.end(&declined));
        self.judge(checked);
        if self.checks.kept.records() > 0 {
            self.table.reach("acknowledged something");
        }
    }

    /// Notes the first promise that is broken.
    pub(crate) fn judge(&mut self, checked: Checked) {
        if let Err(broken) = checked
            && self.broken.is_none()
        {
            self.trace
                .say(self.now_ms, "BROKEN", || format!("{:?}: {}", broken.promise, broken.text));
            self.broken = Some((self.now_ms, broken));
        }
    }

    /// A number that nothing else has.
    pub(crate) fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Something is due so much later.
    pub(crate) fn due_in(&mut self, in_ms: u64, due: Due) {
        self.serial += 1;
        self.dues.insert((self.now_ms + in_ms, self.serial), due);
    }

    /// Things go wrong, or right again: nobody is held to anything that was before.
    pub(crate) fn disturb(&mut self) {
        self.checks.failover.disturbed(self.now_ms);
        self.checks.steady.disturbed(self.now_ms);
    }

    fn happen(&mut self, due: Due) {
        if let Some(place) = self.held_up(&due) {
            let until_ms = self.nodes[place].frozen_until_ms;
            self.due_in(until_ms - self.now_ms, due);
            return;
        }
        match due {
            Due::Wake(life) => self.wake(life),
            Due::Step(life, number) => self.next_step(life, number),
            Due::Outcome(life, number) => self.deliver(life, number),
            Due::KeeperUp(life) => {
                if self.is_current(life) {
                    self.nodes[life.place].keeper = Some(Keeper::default());
                    self.checks.claims.forget(life);
                    self.event(life.place, Event::KeeperStarted);
                }
            }
            Due::KeeperGone(life) => {
                if self.is_current(life) {
                    self.event(life.place, Event::KeeperGone);
                }
            }
            Due::Hello(life, number) => self.hello(life, number),
            Due::Reaped(life, number) => self.reaped(life, number),
            Due::Start(life, number) => self.start(life, number),
            Due::Answer(life, number, answer) => self.answered(life, number, answer),
            Due::Guard(life) => self.guard(life),
            Due::CallEnds(life, number) => self.call_ends(life, number),
            Due::Produce => self.produce(),
            Due::Throw => self.throw(),
            Due::Look => self.look(),
            Due::Up(place) => self.come_up(place),
            Due::Lands(place, write) => self.land(place, &write),
            Due::Freed(holder) => {
                self.disk.holders.remove(&holder);
            }
            Due::Expired(place) => self.expire(place),
            Due::Hangs(place, for_ms) => self.hang(place, for_ms),
            Due::Calm => self.disturb(),
            Due::CloudBack => self.mood = Mood::Good,
            Due::RoomBack => {
                self.disk.full = false;
                self.disturb();
            }
            Due::Mended => self.mend(),
        }
    }

    /// The node whose processes are frozen, if this is theirs.
    fn held_up(&self, due: &Due) -> Option<usize> {
        let life = match due {
            Due::Wake(life)
            | Due::Step(life, _)
            | Due::Outcome(life, _)
            | Due::KeeperUp(life)
            | Due::KeeperGone(life)
            | Due::Hello(life, _)
            | Due::Reaped(life, _)
            | Due::Start(life, _)
            | Due::Answer(life, ..)
            | Due::Guard(life)
            | Due::CallEnds(life, _) => *life,
            Due::Produce
            | Due::Throw
            | Due::Look
            | Due::Up(_)
            | Due::Lands(..)
            | Due::Freed(_)
            | Due::Expired(_)
            | Due::Hangs(..)
            | Due::Calm
            | Due::CloudBack
            | Due::RoomBack
            | Due::Mended => return None,
        };
        let node = &self.nodes[life.place];
        (node.life == life && self.now_ms < node.frozen_until_ms).then_some(life.place)
    }

    /// This run of the agent is the one that is there.
    pub(crate) fn is_current(&self, life: Life) -> bool {
        let node = &self.nodes[life.place];
        node.life == life && node.up
    }

    // --- the engine ---------------------------------------------------------------------

    /// Tells an engine, does what it asks for, and sees when it wants to be called again.
    pub(crate) fn event(&mut self, place: usize, event: Event<'_>) {
        let now = self.nodes[place].clock.now(self.now_ms);
        let mut effects = Vec::new();
        self.nodes[place].engine.handle(now, event, &mut |effect| effects.push(effect));
        let mut gathered = [false; 2];
        for effect in effects {
            self.perform(place, effect, &mut gathered);
        }
        for lane in Lane::ALL.into_iter().filter(|lane| gathered[lane.index()]) {
            self.gather(place, lane);
        }
        self.schedule(place);
    }

    fn schedule(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        let local = node.clock.now(self.now_ms);
        let deadline_ms = node.engine.deadline_ms(local.ms);
        let at_ms = node.clock.true_ms(deadline_ms).max(self.now_ms);
        if deadline_ms < u64::MAX && node.wake_ms != at_ms {
            node.wake_ms = at_ms;
            let life = node.life;
            self.due_in(at_ms - self.now_ms, Due::Wake(life));
        }
    }

    fn wake(&mut self, life: Life) {
        if !self.is_current(life) || self.nodes[life.place].exited {
            return;
        }
        self.nodes[life.place].wake_ms = 0;
        for ticks in 0.. {
            let checked = stalls::ticked(ticks);
            let broken = checked.is_err();
            self.judge(checked);
            let node = &self.nodes[life.place];
            let local_ms = node.clock.now(self.now_ms).ms;
            if broken || node.exited {
                return;
            }
            if node.engine.deadline_ms(local_ms) > local_ms {
                self.schedule(life.place);
                return;
            }
            self.event(life.place, Event::Tick);
        }
    }

    fn perform(&mut self, place: usize, effect: Effect, gathered: &mut [bool; 2]) {
        let life = self.nodes[place].life;
        match effect {
            Effect::Share(order) => self.order(place, order),
            Effect::StartKeeper => {
                let in_ms = self.dice.within(1, 5);
                self.due_in(in_ms, Due::KeeperUp(life));
            }
            Effect::StartUplink => self.start_uplink(place),
            Effect::KillUplink => self.kill_uplink(place),
            Effect::Cloud(order) => self.order_request(place, order),
            Effect::Call(_) => {
                let number = self.number();
                self.nodes[place].calling = Some(number);
                let in_ms = self.dice.within(5, 500);
                self.due_in(in_ms, Due::CallEnds(life, number));
            }
            Effect::EndCall => {
                let number = self.number();
                self.nodes[place].calling = Some(number);
                self.due_in(1, Due::CallEnds(life, number));
            }
            Effect::Lease { end_ms } => self.set_lease(place, end_ms),
            Effect::Collect { term } => self.begin_to_collect(place, term),
            Effect::StopCollecting => {
                if self.nodes[place].collecting.take().is_some() {
                    let in_ms = self.takeover_ms_max();
                    let checked =
                        self.checks.steady.changed(self.now_ms, "a master resigns", in_ms);
                    self.judge(checked);
                }
            }
            Effect::Durable { lane, through_seq } => {
                let node = &self.nodes[place];
                let term = node.term;
                self.trace.note(self.now_ms, place, "durable", through_seq);
                self.checks.kept.acknowledged(lane.index(), term, through_seq);
            }
            Effect::OutcomeUnknown => {}
            Effect::Note(note) => self.note(place, &note),
            Effect::Alert(_) => gathered[Lane::Alerts.index()] |= self.push(place, Lane::Alerts, 1),
            Effect::Exit => self.exit(place),
        }
    }

    fn note(&mut self, place: usize, note: &Note) {
        self.trace.say(self.now_ms, crate::node::name(place), || note.to_string());
        match note {
            Note::ShareStalled { .. } => self.nodes[place].stall_told = true,
            Note::Term { what, .. } => {
                let what = format!("{what:?}");
                let word = what.split(|letter: char| !letter.is_alphanumeric()).next();
                self.table.reach(&format!("term {}", word.unwrap_or("")));
            }
            _ => {}
        }
    }

    fn begin_to_collect(&mut self, place: usize, term: u32) {
        self.nodes[place].lanes = Default::default();
        self.nodes[place].collecting = Some(term);
        self.trace.note(self.now_ms, place, "collects", u64::from(term));
        let in_ms = self.takeover_ms_max();
        let checked = self.checks.steady.changed(self.now_ms, "a node takes over", in_ms);
        self.judge(checked);
    }

    /// How long a takeover may take once nothing new goes wrong.
    pub(crate) fn takeover_ms_max(&self) -> u64 {
        let settings = &self.plan.settings;
        u64::from(settings.seize_ms) * 102 / 100
            + 20 * u64::from(settings.poll_ms)
            + 30 * self.plan.step_ms_max
    }

    // --- the keeper ---------------------------------------------------------------------

    fn order(&mut self, place: usize, order: ShareOrder) {
        let (number, now_ms) = (self.number(), self.now_ms);
        let life = self.nodes[place].life;
        self.trace.say(now_ms, crate::node::name(place), || format!("  {order:?}"));
        if let ShareOrder::Append(append) = &order {
            let lane = &mut self.nodes[place].lanes[append.lane.index()];
            if lane.flying == 0 {
                lane.flying = u64::from(append.bytes / RECORD_BYTES);
                lane.flown += lane.flying;
            }
        }
        if let ShareOrder::Sweep { .. } = &order {
            let checked = self.checks.ownership.deleted(self.nodes[place].term);
            self.judge(checked);
        }
        let node = &mut self.nodes[place];
        node.stall_told = false;
        let Some(keeper) = &mut node.keeper else { return };
        let steps = steps_of(&order);
        keeper.operation = Some(Operation {
            number,
            order,
            steps,
            begun_ms: now_ms,
            lock: edge_agent::engine::share::LockSeen::Left,
            unsynced: Vec::new(),
            outcome: None,
        });
        self.step_later(life, number);
    }

    fn step_later(&mut self, life: Life, number: u64) {
        let in_ms = self.dice.within(0, self.plan.step_ms_max);
        self.due_in(in_ms, Due::Step(life, number));
    }

    fn next_step(&mut self, life: Life, number: u64) {
        let hung_until_ms = self.nodes[life.place].hung_until_ms;
        if self.now_ms < hung_until_ms {
            self.due_in(hung_until_ms - self.now_ms, Due::Step(life, number));
            return;
        }
        let Some(mut operation) = self.operation(life, number) else { return };
        self.step(life, &mut operation);
        let done = operation.outcome.is_some();
        self.trace.note(self.now_ms, life.place, "step", operation.steps.len() as u64);
        if let Some(keeper) = &mut self.nodes[life.place].keeper {
            keeper.operation = Some(operation);
        }
        if done {
            let in_ms = self.dice.below(2);
            self.due_in(in_ms, Due::Outcome(life, number));
        } else {
            self.step_later(life, number);
        }
    }

    fn operation(&mut self, life: Life, number: u64) -> Option<Operation> {
        if !self.is_current(life) {
            return None;
        }
        let keeper = self.nodes[life.place].keeper.as_mut()?;
        keeper.operation.take_if(|operation| operation.number == number)
    }

    fn deliver(&mut self, life: Life, number: u64) {
        let Some(operation) = self.operation(life, number) else { return };
        let Some(outcome) = operation.outcome else { return };
        let place = life.place;
        self.trace.say(self.now_ms, crate::node::name(place), || format!("  = {outcome:?}"));
        match (&operation.order, &outcome) {
            (ShareOrder::Load, ShareOutcome::Loaded) => {
                let settings = self.plan.settings.clone();
                self.event(place, Event::Configured(&settings));
            }
            (ShareOrder::Append(append), ShareOutcome::Done) => {
                let lane = &mut self.nodes[place].lanes[append.lane.index()];
                lane.flying = 0;
            }
            (ShareOrder::Prove(proof), ShareOutcome::Proven(proven)) => {
                if proven.verdict == ProofVerdict::Proven {
                    let begun = self.nodes[place].clock.now(operation.begun_ms);
                    self.checks.lease.proven(life, begun.ms, proof.slot.fence_ms);
                } else {
                    self.checks.lease.ended(life);
                    self.table.reach(verdict_name(proven.verdict));
                }
            }
            (ShareOrder::Attach, ShareOutcome::Done) => self.attached(place),
            _ => {}
        }
        self.event(place, Event::Share(&outcome));
    }
}

fn verdict_name(verdict: ProofVerdict) -> &'static str {
    match verdict {
        ProofVerdict::Proven => "proven",
        ProofVerdict::Superseded { .. } => "superseded",
        ProofVerdict::Replaced => "file replaced",
        ProofVerdict::LockLost => "lock lost",
    }
}
