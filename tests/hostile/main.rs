//! The whole agent, real processes on a real disk, against a hostile data directory,
//! configuration and surroundings.
//!
//! The fast run takes a part of the long tables; `EDGE_LONG=1` all of them. `EDGE_KEEP=1`
//! keeps the scratch folders; those of failed tests stay anyway.
//!
//! Each scene is a site of its own, and scenes run beside each other: they mostly wait.

mod apart;
mod damage;
mod gateways;
mod lone;
mod outputs;
mod owner;
mod scene;
mod settings;
mod sources;
mod space;

#[path = "../support/mod.rs"]
mod support;

/// Whether all of a long table is asked for.
fn is_long() -> bool {
    std::env::var_os("EDGE_LONG").is_some_and(|value| value == "1")
}
