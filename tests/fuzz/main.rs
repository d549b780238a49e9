//! The fuzzers' targets, without a fuzzer: each plays its kept corpus, and some thousand mutations
//! of that by a fixed seed. What it is held to stands in `src/lib.rs`.
//!
//! - `FUZZ_ROUNDS=n FUZZ_SEED=m cargo test --test fuzz` plays that many mutations of a target.
//! - `FUZZ_SEEDS=write cargo test --test fuzz` writes the seeds into the corpus.

#[allow(dead_code, reason = "others use all of it")]
#[path = "../sim/dice.rs"]
mod dice;
#[path = "src/lib.rs"]
mod targets;

use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use dice::Dice;
use targets::{TARGETS, Target};

/// What a mutation grows to at most.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// What all corpora together take at most.
const CORPUS_BYTES_MAX: u64 = 300_000;

fn corpus_of(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target.name)
}

/// The kept inputs, with their names, in order of these.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(corpus_of(target)).expect("each target has a corpus");
    let mut found: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("the corpus can be read").path();
            let name =
                path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a file"))
        })
        .collect();
    found.sort();
    found
}

/// Tries an input; one that breaks something is kept where it can be tried again.
fn try_one(target: &Target, origin: &str, input: &[u8]) {
    let tried = catch_unwind(AssertUnwindSafe(|| (target.try_one)(input)));
    if let Err(payload) = tried {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
        fs::write(&path, input).expect("the input can be kept");
        eprintln!("{}: {origin}; its input: {}", target.name, path.display());
        resume_unwind(payload);
    }
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Plays the corpus of a target, and so many mutations of it.
fn play(name: &str, rounds: u64) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let corpus = corpus(target);
    for (name, input) in &corpus {
        try_one(target, name, input);
    }
    for cut in 0..4 {
        try_one(target, "hardly anything", &[0, 1, 255, 0][..cut]);
    }
    let mut dice = Dice::new(number("FUZZ_SEED", 1));
    for round in 0..number("FUZZ_ROUNDS", rounds) {
        let (name, input) = &corpus[dice.place(corpus.len())];
        let mut input = input.clone();
        for _ in 0..=dice.below(4) {
            mutate(&mut input, &corpus, &mut dice);
        }
        input.truncate(INPUT_BYTES_MAX);
        try_one(target, &format!("round {round}, of {name}"), &input);
    }
}

/// Flips, overwrites, cuts out, doubles, joins.
fn mutate(input: &mut Vec<u8>, corpus: &[(String, Vec<u8>)], dice: &mut Dice) {
    let at = dice.place(input.len() + 1);
    let most = 1 << dice.below(8);
    let length = dice.place(most).min(input.len() - at);
    match dice.below(7) {
        0 if at < input.len() => input[at] ^= 1 << dice.below(8),
        1 if at < input.len() => input[at] = dice.pick(b"\0\x01\x7f\x80\xff\n\r \"\\{}[],:0-e"),
        2 => drop(input.drain(at..at + length)),
        3 => input.truncate(at),
        4 => {
            let copy = input[at..at + length].to_vec();
            let to = dice.place(input.len() + 1);
            input.splice(to..to, copy);
        }
        5 => {
            let other = &corpus[dice.place(corpus.len())].1;
            let from = dice.place(other.len() + 1);
            let length = dice.place(64).min(other.len() - from);
            input.splice(at..at, other[from..from + length].iter().copied());
        }
        _ => input.insert(at, u8::try_from(dice.below(256)).expect("a byte")),
    }
}

#[test]
fn configuration() {
    play("configuration", 4_000);
}

#[test]
fn intake() {
    play("intake", 4_000);
}

#[test]
fn requests() {
    play("requests", 1_000);
}

#[test]
fn answers() {
    play("answers", 1_000);
}

#[test]
fn segments() {
    play("segments", 400);
}

#[test]
fn slots() {
    play("slots", 800);
}

#[test]
fn frames() {
    play("frames", 2_000);
}

#[test]
fn the_seeds_stand_in_the_corpus() {
    let writes = env::var_os("FUZZ_SEEDS").is_some_and(|value| value == "write");
    for target in TARGETS {
        let folder = corpus_of(target);
        for (name, bytes) in (target.seeds)() {
            let path = folder.join(name);
            if writes {
                fs::create_dir_all(&folder).expect("made");
                fs::write(&path, &bytes).expect("written");
            }
            let kept = fs::read(&path).unwrap_or_default();
            assert!(kept == bytes, "{} is another: FUZZ_SEEDS=write", path.display());
        }
    }
}

#[test]
fn the_corpus_is_small_and_each_target_is_a_fuzzer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("the fuzzers' manifest");
    let mut bytes = 0;
    for target in TARGETS {
        bytes += corpus(target).iter().map(|(_, input)| input.len() as u64).sum::<u64>();
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
    }
    assert!(bytes < CORPUS_BYTES_MAX, "{bytes} bytes");
}
