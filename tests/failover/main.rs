//! Real processes on a real data directory, killed, frozen and cheated; a TLS receiver that
//! checks every request.
//!
//! The fast run does two rounds of each; `EDGE_LONG=1` as many as each test names.
//! `EDGE_KEEP=1` keeps the scratch folders; those of failed tests stay anyway.
//!
//! Times are waited for with generous limits, never asserted to be short: this runs on busy
//! machines. What takeovers cost is measured by the benchmark.

mod alerts;
mod checkers;
mod cloud;
mod commands;
mod console;
mod declined;
mod distress;
mod first_look;
mod freeze;
mod frugal;
mod handover;
mod journal;
mod kills;
mod load;
mod lockfile;
mod names;
mod peer;
mod service;
mod sources;

#[path = "../support/mod.rs"]
mod support;

use support::binary;
use support::receiver::Receiver;
use support::scene::{Scene, Turn, check_traces, is_long};
use support::site::{Plan, Site};

/// The load that every test is under: readings a second.
const LOAD: u64 = 2_000;

/// How many rounds to do: `long` only if asked for.
fn rounds(long: usize) -> usize {
    if is_long() { long } else { 2 }
}

impl Scene {
    /// The only one, as long as it lives.
    fn new(plan: &Plan) -> Self {
        Self::in_turn(Turn::alone(), plan)
    }

    /// One of several that mostly wait.
    fn beside(plan: &Plan) -> Self {
        Self::in_turn(Turn::beside(), plan)
    }

    fn in_turn(turn: Turn, plan: &Plan) -> Self {
        let receiver = Receiver::start();
        let binary = &binary::under_test(env!("CARGO_BIN_EXE_edge-agent"));
        Self::of(Site::new(binary, &receiver, plan), receiver, LOAD, turn)
    }
}
