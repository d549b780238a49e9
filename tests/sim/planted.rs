//! One rule after another is left out, and a checker must notice; with the rule in its place, the
//! same seed must not break the same promise.
//!
//! Chance alone would take long to hit some of them: each comes with faults, and a site, that
//! lead towards it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use edge_agent::engine::ident::ShareClass::{self, Doubtful, Local, Nfs4};
use edge_agent::engine::planted::{LeftOut, Rule};

use crate::checks::Broken;
use crate::checks::Promise::{
    self, Bounds, Claims, Failover, Healed, Journal, Kept, Lease, Order, Ownership, Repeats,
    Stalls, Steady,
};
use crate::dice::Dice;
use crate::finish;
use crate::plan::Fault::{
    self, AnswerLost, Burnt, CloudRefuses, CloudSlow, Failed, Frozen, Hung, Killed, LockDeleted,
    LockReplaced, LocksDropped, SlotLost, Stale, Stopped, Switchover,
};
use crate::plan::{Aim, Plan};
use crate::world::{Part, World};

/// Seeds that are tried before a rule counts as not noticed.
const SEEDS_MAX: u64 = 3_000;

/// What is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Rule(Rule),
    Part(Part),
}

/// A rule to leave out, what leads towards it, and who may notice first.
struct Planted {
    what: What,
    class: ShareClass,
    faults: &'static [Fault],
    also: fn(&mut Plan),
    noticed_by: &'static [Promise],
}

fn as_it_is(_: &mut Plan) {}

fn three(plan: &mut Plan) {
    plan.nodes = 3;
}

/// The lock never comes free, long enough for silence to count.
fn frozen_long(plan: &mut Plan) {
    three(plan);
    (plan.settings.seize_ms, plan.fault_ms_max, plan.fault_every_ms) = (10_000, 60_000, 20_000);
    plan.faults_ms = 120_000;
}

fn short_stalls(plan: &mut Plan) {
    (plan.settings.seize_ms, plan.fault_ms_max, plan.fault_every_ms) = (60_000, 8_000, 5_000);
    plan.faults_ms = 120_000;
}

fn in_a_hurry(plan: &mut Plan) {
    three(plan);
    (plan.fault_ms_max, plan.fault_every_ms, plan.faults_ms) = (8_000, 700, 60_000);
    plan.settings.batch_age_ms_max = 100;
}

/// What others wrote is seen much later than on any share that was measured.
fn stale(plan: &mut Plan) {
    in_a_hurry(plan);
    plan.nodes = 4;
    plan.fresh_ms_max = 2_000;
}

/// Requests that need nothing of the share, all the time.
fn with_things(plan: &mut Plan) {
    in_a_hurry(plan);
    plan.settings.alive_every_ms.clear();
    plan.settings.alive_every_ms.extend([300; 2]);
}

/// The standby claims over a master that lives, and does not learn of its lost lock.
fn over_a_master(plan: &mut Plan) {
    with_things(plan);
    (plan.nodes, plan.loss_unseen, plan.burnt_min) = (2, true, 5);
    (plan.fault_every_ms, plan.aim) = (5_000, Aim::Overlap(0));
}

fn slowly_over_a_master(plan: &mut Plan) {
    over_a_master(plan);
    plan.aim = Aim::Overlap(4_000);
}

fn lying(plan: &mut Plan) {
    short_stalls(plan);
    plan.lies = true;
}

fn lying_stale(plan: &mut Plan) {
    stale(plan);
    plan.lies = true;
}

fn calm(plan: &mut Plan) {
    (plan.faults_ms, plan.fault_every_ms) = (200_000, 1_000_000);
    plan.settings.seize_ms = 15_000;
}

fn no_operator(plan: &mut Plan) {
    plan.has_operator = false;
}

fn locks_left_alone(plan: &mut Plan) {
    short_stalls(plan);
    (plan.lies, plan.unsafe_mount, plan.settings.seize_ms) = (true, true, 10_000);
}

fn slow_deaths(plan: &mut Plan) {
    plan.nodes = 5;
    (plan.orphan_ms_max, plan.fault_every_ms) = (3_000, 3_000);
    (plan.settings.batch_age_ms_max, plan.settings.poll_ms) = (100, 100);
}

fn rule(
    rule: Rule,
    class: ShareClass,
    faults: &'static [Fault],
    also: fn(&mut Plan),
    noticed_by: &'static [Promise],
) -> Planted {
    Planted { what: What::Rule(rule), class, faults, also, noticed_by }
}

fn part(
    part: Part,
    class: ShareClass,
    faults: &'static [Fault],
    also: fn(&mut Plan),
    noticed_by: &'static [Promise],
) -> Planted {
    Planted { what: What::Part(part), class, faults, also, noticed_by }
}

/// What the product's contract marks.
fn marked() -> Vec<Planted> {
    vec![
        part(
            Part::LockFileAlone,
            Local,
            &[LockReplaced],
            as_it_is,
            &[Kept, Repeats, Order, Journal],
        ),
        rule(Rule::LockedSaid, Local, &[Frozen], frozen_long, &[Order, Claims]),
        rule(Rule::FencedSaid, Nfs4, &[LocksDropped, Hung, Switchover], in_a_hurry, &[Order]),
        rule(Rule::CursorSaid, Local, &[Killed], as_it_is, &[Repeats, Journal]),
        rule(Rule::SegmentsSaid, Local, &[Killed], as_it_is, &[Kept, Journal]),
        rule(Rule::UnlockedLeftAlone, Local, &[Frozen], frozen_long, &[Claims]),
        rule(Rule::SilenceWhereDoubtful, Doubtful, &[Hung], lying, &[Claims]),
        rule(Rule::DistrustedLeftAlone, Doubtful, &[Hung], lying, &[Claims]),
        rule(Rule::TakenRemembered, Local, &[Burnt, Killed], as_it_is, &[Failover]),
        rule(Rule::OneBelow, Doubtful, &[Switchover, Stopped], lying_stale, &[Order]),
        rule(Rule::LocalOnly, Nfs4, &[LocksDropped, Hung], in_a_hurry, &[Order]),
        rule(Rule::FiveQuarters, Nfs4, &[Burnt, LocksDropped], over_a_master, &[Order]),
        rule(Rule::SinceDurable, Nfs4, &[LocksDropped], slowly_over_a_master, &[Order]),
        rule(Rule::CursorsReadLate, Nfs4, &[LocksDropped, Burnt, Hung], stale, &[Repeats, Kept]),
        rule(Rule::ByteUnderLock, Nfs4, &[Frozen], frozen_long, &[Failover]),
    ]
}

/// What else the checkers are shown to notice: with the marked ones, two at least for each.
fn others() -> Vec<Planted> {
    vec![
        rule(Rule::ClaimedExclusively, Local, &[Burnt, Killed], as_it_is, &[Ownership]),
        part(Part::ExclusiveCreate, Doubtful, &[Burnt, Killed], as_it_is, &[Ownership]),
        rule(Rule::SilenceSeizes, Local, &[Frozen], frozen_long, &[Failover]),
        rule(Rule::LeaseFromStart, Nfs4, &[Hung], with_things, &[Lease]),
        rule(Rule::LeaseEndsWithLock, Nfs4, &[LocksDropped], with_things, &[Lease]),
        part(Part::LeaseTimer, Nfs4, &[Hung, Frozen], in_a_hurry, &[Lease]),
        part(Part::LockCopied, Local, &[Killed], slow_deaths, &[Order]),
        rule(Rule::AcknowledgedUnderLease, Nfs4, &[LocksDropped, Hung], in_a_hurry, &[Kept]),
        rule(Rule::VerdictAwaited, Local, &[AnswerLost], as_it_is, &[Kept]),
        rule(Rule::DurableCursorFirst, Local, &[Failed], in_a_hurry, &[Repeats]),
        rule(Rule::SweptBehindDurable, Local, &[Failed, Stale, Killed], in_a_hurry, &[Journal]),
        rule(Rule::SweptWhenFenced, Nfs4, &[LocksDropped], in_a_hurry, &[Ownership]),
        rule(Rule::ClosedAfterFailure, Local, &[Failed], in_a_hurry, &[Journal]),
        rule(Rule::EndOfClosedOnly, Local, &[Failed, CloudSlow], in_a_hurry, &[Kept]),
        rule(Rule::NamesShownFirst, Nfs4, &[SlotLost, LocksDropped], in_a_hurry, &[Kept]),
        rule(Rule::PauseEnds, Local, &[CloudRefuses], no_operator, &[Healed]),
        rule(Rule::LooksAgain, Local, &[Failed], in_a_hurry, &[Healed]),
        rule(Rule::OpensAfresh, Doubtful, &[LockDeleted], locks_left_alone, &[Healed, Failover]),
        rule(Rule::RecordsBounded, Local, &[], as_it_is, &[Bounds]),
        rule(Rule::BytesBounded, Local, &[], as_it_is, &[Bounds]),
        rule(Rule::StallTold, Local, &[Hung], as_it_is, &[Stalls]),
        rule(Rule::SleepsUntilDue, Local, &[], as_it_is, &[Stalls]),
        part(Part::LocksExclude, Nfs4, &[], calm, &[Steady]),
        part(Part::SlotsSeenFresh, Nfs4, &[], calm, &[Repeats]),
        part(Part::AgentStays, Nfs4, &[], calm, &[Steady]),
    ]
}

/// The rule of this name is left out.
pub(crate) fn without(name: &str) -> LeftOut {
    let mut rules = marked().into_iter().chain(others()).filter_map(|planted| match planted.what {
        What::Rule(rule) => Some(rule),
        What::Part(_) => None,
    });
    let named = rules.find(|rule| format!("{rule:?}") == name);
    LeftOut::just(named.unwrap_or_else(|| panic!("{name} is no rule that is left out here")))
}

impl Planted {
    /// The first seed at which one who should notices, who, and what is said.
    fn play(&self) -> Option<(u64, Promise, String)> {
        let (left_out, part) = match self.what {
            What::Rule(rule) => (LeftOut::just(rule), None),
            What::Part(part) => (LeftOut::default(), Some(part)),
        };
        (1..=SEEDS_MAX).find_map(|seed| {
            let (_, broken) = self.history(seed, left_out, part)?;
            let right = self.noticed_by.contains(&broken.promise);
            let fair = right && {
                let fine = self.history(seed, LeftOut::default(), None);
                fine.is_none_or(|(_, other)| other.promise != broken.promise)
            };
            fair.then_some((seed, broken.promise, broken.text))
        })
    }

    fn history(&self, seed: u64, left_out: LeftOut, part: Option<Part>) -> Option<(u64, Broken)> {
        let mut dice = Dice::new(seed);
        let mut plan = Plan::of(&mut dice);
        plan.settle_on(self.class);
        plan.thrown = self.faults.to_vec();
        (plan.aim, plan.lies) = (Aim::Anywhere, false);
        (plan.unsafe_mount, plan.loss_unseen) = (false, false);
        (self.also)(&mut plan);
        finish(&mut World::new(dice, plan, left_out, part), false).broken
    }
}

#[test]
fn what_is_left_out_is_noticed() {
    let all: Vec<_> = marked().into_iter().chain(others()).collect();
    for promise in Promise::ALL {
        let plants = all.iter().filter(|planted| planted.noticed_by.contains(&promise)).count();
        assert!(plants >= 2, "{promise:?} is shown to fail by {plants} rules");
    }
    let only = std::env::var("SIM_LEFT_OUT").unwrap_or_default();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let play = || {
        while let Some(planted) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let name = format!("{:?}", planted.what);
            if !name.contains(&only) {
                continue;
            }
            let noticed = planted.play();
            match &noticed {
                Some((seed, promise, text)) => {
                    let text = text.lines().next().unwrap_or("");
                    println!("{name:<32} {seed:>5} seeds  {promise:?}: {text}");
                }
                None => println!("{name:<32} not noticed"),
            }
            if noticed.is_none() {
                wrong.lock().expect("whole").push(name);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(play);
        }
    });
    let wrong = wrong.into_inner().expect("whole");
    assert!(wrong.is_empty(), "not noticed by whom it concerns: {wrong:?}");
}
