//! Crash tests: the keeper's own code on files of which a crash may have left anything.
//!
//! ```text
//!  history: a site's life, by orders to real keepers ──► changes, facts
//!                                                           │
//!  disk: what a crash after so many changes may leave ◄─────┘
//!    │
//!    └──► image: a data directory ──► checks: the next master opens it, and misses nothing
//! ```
//!
//! A seed makes a history: terms, claims, slots, segments of both lanes, cursors, refused records
//! that are kept, replayed and put back. Keepers are killed in the middle of an order, and syncs
//! fail; the next one goes on with what it sees. Each change of a file is recorded in the order in
//! which it was made. After every one of them the crash may come:
//!
//! - the process is killed: all changes are there, the last write perhaps in part;
//! - the power fails: what was synced is there. Of what was not, each write and each name may be
//!   there or not, in any order, torn or garbled.
//!
//! Each image is opened by the next master, which must find what was promised (`checks`). That these
//! can fail is shown by syncs that are left out (`planted`).
//!
//! - `CRASH_SEEDS=n CRASH_FIRST_SEED=m cargo test --test crash` plays that many histories,
//!   `EDGE_LONG=1` a hundred.
//!
//! Not for sectors that go bad later, nor for faults of a share that goes on: that is `tests/sim`.

#![cfg(debug_assertions)]

mod checks;
#[path = "../sim/dice.rs"]
mod dice;
mod disk;
mod history;
mod planted;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use dice::Dice;
use disk::{Disk, Kept};
use edge_agent::edge::share::changes::Change;
use history::History;

/// Histories of the fast lane, and of the long run.
const SEEDS: u64 = 4;
const SEEDS_LONG: u64 = 100;
/// So many images are made of one crash at least, beside those that all belong to.
const CHANCES: u64 = 6;
/// Of so few unsynced changes every choice is tried.
const CHOICES_MAX: u32 = 3;

/// A folder of this process, in memory where there is such a thing.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
        let path = parent.join(format!("edge-agent-crash-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What was tried, or where it failed.
#[derive(Default)]
struct Outcome {
    crashes: u64,
    images: u64,
    broken: Option<String>,
}

/// Lets the crash come after every change, and checks what it leaves.
fn crash_everywhere(seed: u64, history: &History, changes: &[Change]) -> Outcome {
    let mut dice = Dice::new(seed ^ 0x00c0_ffee);
    let folder = Folder::new(&format!("{seed}-{:?}", thread::current().id()));
    let mut outcome = Outcome::default();
    let mut disk = Disk::new(&history.path);
    for (count, change) in (1..).zip(changes) {
        disk.apply(change);
        // a file that is made in many writes is not looked at after each
        let goes_on = changes.get(count).is_some_and(|next| is_one_file(change, next));
        if goes_on && !dice.one_in(40) {
            continue;
        }
        outcome.crashes += 1;
        for kept in choices(&disk) {
            outcome.images += 1;
            let told = disk.make(&folder.0.join("data"), kept, &mut dice);
            if let Err(why) = checks::check(history, count, &folder.0) {
                outcome.broken = Some(format!(
                    "{why}\n  after change {count} of {}, {kept:?}:\n{told}\n  before it:\n{}",
                    changes.len(),
                    disk::tell(&history.path, &changes[count.saturating_sub(8)..count]),
                ));
                return outcome;
            }
        }
    }
    outcome
}

fn is_one_file(change: &Change, next: &Change) -> bool {
    matches!((change, next), (Change::Write { inode, .. }, Change::Write { inode: other, .. })
        if inode == other)
}

/// What is tried of one crash.
fn choices(disk: &Disk) -> Vec<Kept> {
    let mut choices = vec![Kept::All, Kept::AllTorn, Kept::Nothing];
    let pending = disk.pending();
    if pending > 0 && pending <= CHOICES_MAX {
        choices.extend((1..(1 << pending) - 1).map(Kept::These));
    }
    let by_chance = [Kept::First, Kept::Some, Kept::Garbled];
    let times = if pending > 0 || disk.is_doubtful() { CHANCES } else { 0 };
    choices.extend((0..times).zip(by_chance.into_iter().cycle()).map(|(_, kept)| kept));
    choices
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn no_crash_loses_what_was_promised() {
    let usual =
        if env::var_os("EDGE_LONG").is_some_and(|value| value == "1") { SEEDS_LONG } else { SEEDS };
    let (first, seeds) = (number("CRASH_FIRST_SEED", 1), number("CRASH_SEEDS", usual));
    let next = AtomicU64::new(first);
    let (crashes, images) = (AtomicU64::new(0), AtomicU64::new(0));
    let play = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return;
            }
            let folder = Folder::new(&format!("life-{seed}"));
            let history = History::of(seed, &folder.0);
            let outcome = crash_everywhere(seed, &history, &history.changes);
            crashes.fetch_add(outcome.crashes, Ordering::Relaxed);
            images.fetch_add(outcome.images, Ordering::Relaxed);
            if let Some(broken) = outcome.broken {
                panic!(
                    "{broken}\nseed {seed}; replay: CRASH_FIRST_SEED={seed} CRASH_SEEDS=1 cargo \
                     test --test crash no_crash"
                );
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(play);
        }
    });
    println!("{seeds} histories from {first}: {crashes:?} crashes, {images:?} images");
}

#[test]
fn every_kind_of_promise_is_in_the_histories() {
    let mut counts = BTreeMap::new();
    for seed in 1..=SEEDS {
        let folder = Folder::new("kinds");
        for (kind, count) in History::of(seed, &folder.0).counts() {
            *counts.entry(kind).or_insert(0) += count;
        }
    }
    let missing: Vec<_> = counts.iter().filter(|(_, count)| **count == 0).collect();
    assert!(missing.is_empty(), "{missing:?} of {counts:?}");
}
