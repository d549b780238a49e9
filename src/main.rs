//! `edge-agent`: see the crate's documentation.
fn main() {}
