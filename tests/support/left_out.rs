//! What cannot be tested on this machine is left out with a word, and its test passes. Under
//! `EDGE_NOTHING_LEFT_OUT=1` it fails: CI says so where nothing that tests need should be missing.
//!
//! What is tried only when it is asked for (`EDGE_LONG=1`, debug builds) is skipped, not left out.

use std::io::Write;

const NOTHING: &str = "EDGE_NOTHING_LEFT_OUT";

/// Says why something is not tested here, past whoever captures the output of tests.
///
/// # Panics
///
/// If nothing may be left out.
pub fn leave_out(why: &str) {
    let nothing = std::env::var_os(NOTHING).is_some_and(|value| value == "1");
    assert!(!nothing, "left out under {NOTHING}=1: {why}");
    let told = writeln!(std::io::stderr(), "left out: {why}");
    assert!(told.is_ok(), "{why}");
}
