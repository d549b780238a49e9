//! What the process tests, the demo and the benchmark share: real processes in a scratch
//! folder, a producer, and a receiver that trusts nothing.
//!
//! Threads and a heap are free here: this runs in the test's process, never in the agent's.

#![allow(dead_code, reason = "each target uses the part that it needs")]
#![allow(unreachable_pub, reason = "a module of several crates")]

pub mod answers;
pub mod binary;
pub mod certificates;
pub mod figures;
pub mod guard;
pub mod http;
pub mod ledger;
pub mod left_out;
pub mod processes;
pub mod producer;
pub mod receiver;
pub mod scene;
pub mod site;
pub mod slow_link;
pub mod trace;
pub mod wanted;

/// The secret key of every scratch site.
pub const SECRET_KEY: &str = "testsecretkey0000000000000000000000000001";
/// The access key of every scratch site.
pub const ACCESS_KEY: &str = "testaccesskey";
/// The thing that the producer's readings belong to.
pub const THING: &str = "7t38b9dbt9";
/// The thing that the file sources' readings belong to.
pub const HOST_THING: &str = "host000001";
/// The thing that HA alerts are sent for.
pub const ALERT_THING: &str = "edge000001";

/// The monotonic clock, in ns: the one that the agent's own traces use.
pub fn now_ns() -> u64 {
    edge_agent::sys::clock::monotonic_ns()
}
