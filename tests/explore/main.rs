//! The election, searched exhaustively: every interleaving of a few real engines, to a stated depth.
//!
//! ```text
//!  scene: a site in a state worth looking at ──► search: all that may happen next, and next, …
//!                                                   │
//!                     site: engines, leases, requests; share: a lock, claims, slots
//! ```
//!
//! The engines are the product's own. What touches the share comes apart into steps, and every order
//! of the nodes' steps is tried; so is every place at which something goes wrong: a delay of any
//! step or request, a node that freezes, dies or dies in the middle of a write that arrives later,
//! a lock that the server forgets or grants to two, a switchover, a stop. A search allows so many of
//! these. In every state:
//!
//! - P1: no request of a term begins after one of a higher term;
//! - none begins without a proof that is younger than a lease;
//! - one node alone writes the slots of a term;
//! - engines come to rest between events;
//!
//! and of the states at the end of the depth a part is left to itself: one master, all others stand
//! by. That all this can fail is shown by rules that are left out (`engine::planted`).
//!
//! `EDGE_LONG=1 cargo test --release --test explore -- --nocapture` goes deeper. The numbers of
//! states are exact: a change of the engine changes them, and says so here.
//!
//! Not for records, clocks that drift, or more than three nodes: that is `tests/sim`.

#![allow(clippy::wildcard_enum_match_arm, reason = "a part of the world names what it is about")]

mod search;
mod share;
mod site;

use std::env;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use edge_agent::engine::ident::ShareClass::{self, Doubtful, Local, Nfs4};
use edge_agent::engine::planted::LeftOut;
use search::Search;
use site::{Action, Site};

/// A search: from a site in a state worth looking at.
#[derive(Clone, Copy)]
struct Scene {
    name: &'static str,
    begin: fn(&mut Site),
    nodes: usize,
    class: ShareClass,
    /// How many things may go wrong.
    deviations: u8,
    /// How many actions are tried, and how many states that makes.
    depth: u8,
    states: usize,
    /// How many the long run tries.
    depth_long: u8,
}

/// Nobody is up yet.
fn empty(_: &mut Site) {}

/// The first node is master and free to forward, all others stand by.
fn steady(site: &mut Site) {
    site.take(Action::Start(0));
    assert!(site.run_until(20_000, |site| site.is_fenced(0)), "{}", site.tell_state());
    assert!(site.run_until(20_000, Site::is_well), "{}", site.tell_state());
}

/// The master is frozen, and its successor forwards.
fn succeeded(site: &mut Site) {
    steady(site);
    site.take_free(Action::Freeze(0));
    assert!(site.run_until(40_000, |site| site.is_fenced(1)), "{}", site.tell_state());
}

/// The master is frozen, and the next one is about to claim.
fn contested(site: &mut Site) {
    steady(site);
    site.take_free(Action::Freeze(0));
    assert!(site.run_until(40_000, Site::is_claiming), "{}", site.tell_state());
}

/// The master has just proved itself and is frozen, the server forgot its lock, and the next one is
/// about to claim.
fn overlapping(site: &mut Site) {
    steady(site);
    assert!(site.run_until(20_000, |site| site.has_just_proved(0)), "{}", site.tell_state());
    site.take_free(Action::ForgetLock);
    site.take_free(Action::Freeze(0));
    assert!(site.run_until(40_000, Site::is_claiming), "{}", site.tell_state());
}

const fn scene(
    name: &'static str,
    begin: fn(&mut Site),
    (nodes, class, deviations): (usize, ShareClass, u8),
    (depth, states): (u8, usize),
    depth_long: u8,
) -> Scene {
    Scene { name, begin, nodes, class, deviations, depth, states, depth_long }
}

/// All searches.
const SCENES: [Scene; 10] = [
    scene("empty", empty, (2, Local, 1), (16, 5_242), 36),
    scene("empty", empty, (3, Doubtful, 1), (8, 3_343), 18),
    scene("steady", steady, (2, Nfs4, 1), (20, 12_178), 44),
    scene("steady", steady, (2, Local, 2), (8, 3_571), 20),
    scene("succeeded", succeeded, (2, Doubtful, 1), (16, 5_896), 36),
    scene("contested", contested, (2, Nfs4, 1), (16, 10_269), 32),
    scene("contested", contested, (3, Doubtful, 1), (8, 3_868), 18),
    scene("overlapping", overlapping, (2, Nfs4, 1), (20, 18_505), 40),
    scene("overlapping", overlapping, (3, Doubtful, 1), (8, 3_779), 20),
    scene("overlapping", overlapping, (2, Nfs4, 2), (8, 8_991), 18),
];

impl Scene {
    fn site(&self, left_out: LeftOut) -> Site {
        let mut site = Site::new(self.nodes, self.class, left_out);
        (self.begin)(&mut site);
        site.deviations = self.deviations;
        site
    }

    /// Searches, and says what was found; the number of states.
    fn search(&self, depth: u8) -> usize {
        let (begin, site) = (Instant::now(), self.site(LeftOut::default()));
        let search = Search::of(&site, depth);
        println!(
            "{:<11} {} nodes, {:<8} {} deviations, depth {depth:>2}: {:>8} states, {:>5} left to \
             rest, {:>6.1} s",
            self.name,
            self.nodes,
            format!("{:?},", self.class).to_lowercase(),
            self.deviations,
            search.states(),
            search.rested,
            begin.elapsed().as_secs_f64()
        );
        if let Some((path, why)) = &search.broken {
            panic!("{}: {why}\n{}", self.name, search::tell(&site, path));
        }
        search.states()
    }
}

/// Does something with each, on all processors.
fn for_each<T: Sync>(all: &[T], act: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            act(one);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(work);
        }
    });
}

#[test]
fn no_state_breaks_a_promise() {
    let long = env::var_os("EDGE_LONG").is_some_and(|value| value == "1");
    let (begin, states) = (Instant::now(), AtomicUsize::new(0));
    for_each(&SCENES, |scene| {
        let found = scene.search(if long { scene.depth_long } else { scene.depth });
        states.fetch_add(found, Ordering::Relaxed);
        assert!(long || found == scene.states, "{}: {found}, not {}", scene.name, scene.states);
    });
    println!("{states:?} states in {:.1} s", begin.elapsed().as_secs_f64());
}

#[cfg(debug_assertions)]
mod planted {
    use super::*;
    use edge_agent::engine::planted::Rule;

    /// A rule that is left out, where that is found, and what is said.
    struct Planted {
        rule: Rule,
        begin: fn(&mut Site),
        site: (usize, ShareClass, u8),
        depth_max: u8,
        says: &'static str,
    }

    const fn plant(
        rule: Rule,
        begin: fn(&mut Site),
        site: (usize, ShareClass, u8),
        depth_max: u8,
        says: &'static str,
    ) -> Planted {
        Planted { rule, begin, site, depth_max, says }
    }

    const PLANTED: [Planted; 6] = [
        plant(Rule::LocalOnly, overlapping, (2, Nfs4, 0), 20, "P1"),
        plant(Rule::LockedSaid, succeeded, (2, Local, 0), 40, "P1"),
        plant(Rule::LeaseEndsWithLock, overlapping, (2, Nfs4, 1), 12, "without a fresh proof"),
        plant(Rule::ClaimedExclusively, overlapping, (2, Nfs4, 1), 20, "write slots of term"),
        plant(Rule::TakenRemembered, overlapping, (2, Doubtful, 1), 24, "no rest"),
        plant(Rule::SleepsUntilDue, empty, (2, Local, 0), 8, "again and again"),
    ];

    #[test]
    fn what_is_left_out_is_found() {
        for_each(&PLANTED, |planted| {
            let scene = scene("", planted.begin, planted.site, (0, 0), 0);
            let site = scene.site(LeftOut::just(planted.rule));
            let found = (1..=planted.depth_max).find_map(|depth| {
                let search = Search::of(&site, depth);
                search.broken.clone().map(|(path, why)| (path, why, search.states()))
            });
            let (path, why, states) =
                found.unwrap_or_else(|| panic!("{:?} is not found", planted.rule));
            println!("{:?}: {} actions, {states} states: {why}", planted.rule, path.len());
            let told = search::tell(&site, &path);
            println!("{told}");
            assert!(why.contains(planted.says), "{:?}: {why}\n{told}", planted.rule);
        });
    }
}
