//! The simulator: sites of real engines in a world where everything goes wrong.
//!
//! ```text
//!            plan ── seed ── dice
//!              │
//!  faults ──► world ──► node: engine, clock ──► keeper ──► disk (the share)
//!              │                 └────────────► uplink ──► cloud
//!              └──► checks: a file a promise; table: what was tried
//! ```
//!
//! The engines are the product's own, driven as the agent drives them: events in, effects out,
//! time as a number. All around them is made here, by what was measured of real shares: locks
//! that two hosts hold together, writes that land 44 s late, names unseen for 30 s, hosts that
//! vanish, freeze and come back, and a cloud that loses answers. What an operation on the share
//! consists of is interleaved step by step.
//!
//! - `SIM_SEEDS=n SIM_FIRST_SEED=m cargo test --release --test sim` runs that many seeds.
//! - A seed that fails prints the command that replays it, and the end of its history;
//!   `SIM_TRACE=1` prints all of it. What failed once stands in `tests/seeds.txt`, with the rule
//!   of `engine::planted` that mended it: without that rule the seed must fail still. Seeds for
//!   it are found by `SIM_WITHOUT=RULE`, in builds with debug assertions.
//! - `cargo test --profile sim --test sim left_out` leaves out one rule after another, and shows
//!   after how many seeds which checker noticed. (Without optimisation it takes minutes longer.)
//!
//! It is not for what the keeper does within an operation, and what a crash leaves of its writes:
//! that is `tests/crash`. Nor for processes, sockets and signals: that is `tests/failover`.

#![allow(clippy::wildcard_enum_match_arm, reason = "a part of the world names what it is about")]

mod checks;
mod cloud;
mod declined;
mod dice;
mod disk;
mod faults;
mod keeper;
mod node;
mod plan;
#[cfg(debug_assertions)]
mod planted;
mod table;
mod trace;
mod uplink;
mod watch;
mod world;

use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use checks::Broken;
use dice::Dice;
use edge_agent::engine::planted::LeftOut;
use plan::Plan;
use table::Table;
use trace::Trace;
use world::World;

/// Seeds of the fast lane.
const SEEDS: u64 = 1_000;
/// With so many seeds, every fault must have happened.
const SEEDS_THOROUGH: u64 = 20_000;
/// So many failed seeds are enough.
const FAILED_MAX: usize = 20;
/// Lines of a failed history that are printed.
const LINES: usize = 150;

/// What became of a seed.
struct Outcome {
    broken: Option<(u64, Broken)>,
    table: Table,
    hash: u64,
    longest_ms: (u64, u64),
    lines: String,
}

fn play(seed: u64, left_out: LeftOut, told: bool) -> Outcome {
    let mut dice = Dice::new(seed);
    let plan = Plan::of(&mut dice);
    let mut world = World::new(dice, plan, left_out, None);
    finish(&mut world, told)
}

fn finish(world: &mut World, told: bool) -> Outcome {
    world.trace = Trace::new(told);
    let plan = world.plan.clone();
    world.trace.say(0, "PLAN", || format!("{plan:?}"));
    let broken = world.run();
    Outcome {
        broken,
        table: world.table.clone(),
        hash: world.trace.hash(),
        longest_ms: (world.checks.failover.longest_ms, world.checks.steady.longest_ms),
        lines: world.trace.lines().to_owned(),
    }
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Plays seeds on all processors; gives the table, and what failed, until that is enough.
fn play_all(first: u64, seeds: u64, left_out: LeftOut) -> (Table, u64, Vec<(u64, Broken)>) {
    let (next, failed) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let sum = Mutex::new((Table::default(), 0));
    let processors = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds || failed.lock().expect("whole").len() >= FAILED_MAX {
                        return;
                    }
                    let outcome = play(seed, left_out, false);
                    if let Some((_, broken)) = outcome.broken {
                        failed.lock().expect("whole").push((seed, broken));
                    }
                    let mut sum = sum.lock().expect("whole");
                    sum.0.add(&outcome.table);
                    sum.1 = outcome.longest_ms.0.max(sum.1);
                }
            });
        }
    });
    let (table, longest_ms) = sum.into_inner().expect("whole");
    let mut failed = failed.into_inner().expect("whole");
    failed.sort_by_key(|(seed, _)| *seed);
    (table, longest_ms, failed)
}

/// What `SIM_WITHOUT` has left out.
fn left_out() -> LeftOut {
    #[cfg(debug_assertions)]
    if let Ok(name) = env::var("SIM_WITHOUT") {
        return planted::without(&name);
    }
    LeftOut::default()
}

/// Plays a seed that failed once more, and says what happened.
fn explain(seed: u64, left_out: LeftOut) -> String {
    let outcome = play(seed, left_out, true);
    let whole = env::var("SIM_TRACE").is_ok();
    let lines: Vec<&str> = outcome.lines.lines().collect();
    let from = if whole { 0 } else { lines.len().saturating_sub(LINES) };
    let (at_ms, broken) = outcome.broken.expect("the same seed, the same history");
    format!(
        "{}\n\nseed {seed}, at {at_ms} ms: {:?}: {}\nreplay: SIM_FIRST_SEED={seed} SIM_SEEDS=1 \
         cargo test --test sim no_history",
        lines[from..].join("\n"),
        broken.promise,
        broken.text
    )
}

#[test]
fn no_history_breaks_a_promise() {
    let (first, seeds) = (number("SIM_FIRST_SEED", 1), number("SIM_SEEDS", SEEDS));
    let (begin, left_out) = (Instant::now(), left_out());
    let (table, longest_ms, failed) = play_all(first, seeds, left_out);
    table.print();
    println!("\n{seeds} seeds from {first} in {:.1} s", begin.elapsed().as_secs_f64());
    println!("longest that nobody collected in calm: {longest_ms} ms");
    for (seed, broken) in &failed {
        let text = broken.text.lines().next().unwrap_or("");
        println!("seed {seed}: {:?}: {text}", broken.promise);
    }
    if let Some((seed, _)) = failed.first() {
        panic!("{}", explain(*seed, left_out));
    }
    let never = table.never();
    assert!(seeds < SEEDS_THOROUGH || never.is_empty(), "never happened: {never:?}");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 1..=20 {
        let hash = |told| play(seed, LeftOut::default(), told).hash;
        assert_eq!(hash(false), hash(true), "seed {seed}");
    }
    let hash = |seed| play(seed, LeftOut::default(), false).hash;
    assert_ne!(hash(1), hash(2), "another seed, another history");
}

#[test]
fn what_failed_once_holds() {
    for line in include_str!("../seeds.txt").lines() {
        let Some(line) = line.strip_prefix("sim ") else { continue };
        let mut words = line.split(' ');
        let seed = words.next().and_then(|seed| seed.parse().ok()).expect("a seed, then a rule");
        let as_it_is = LeftOut::default();
        let failed = play(seed, as_it_is, false).broken.is_some();
        assert!(!failed, "{}", explain(seed, as_it_is));
        #[cfg(debug_assertions)]
        {
            let rule = words.next().expect("a rule, then the reason");
            if rule == "-" {
                continue;
            }
            let shown = play(seed, planted::without(rule), false).broken.is_some();
            assert!(shown, "seed {seed} does not need {rule} any more: find another");
        }
    }
}
