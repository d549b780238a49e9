//! What any bytes may come to: bodies of the fuzzers, and of a test that plays them by a fixed seed.
//!
//! Each module takes bytes of one kind, gives them to the code that reads such bytes in the field,
//! and panics where that breaks a property, not only where the code itself panics.
//!
//! | target | bytes | held to |
//! |---|---|---|
//! | [`configuration`] | `edge.json` | what is taken is valid and reads back as it is printed; a fault stands within the text, and its words hold nothing of it |
//! | [`intake`] | bodies of readings | records are compact lines of ASCII within their limit, say what the body says, and read back as they are; a refused body leaves nothing |
//! | [`requests`] | what a client of the console sends | how it is cut into pieces changes nothing; nothing is asked without the token that it needs; each answer is whole |
//! | [`answers`] | what a cloud or proxy answers | there is always a verdict, of bounded length; a bounded part of an endless answer is read |
//! | [`segments`] | a file of the journal | any batch from any boundary gives the same records; none is invented; each byte is accounted for |
//! | [`slots`] | pages of `edge.terms`, headers | damage is damage; the newest whole copy counts, is never written over, and reads back as it is written |
//! | [`frames`] | what comes over a channel | both ends read the same; a frame that is taken is sent back as it was |
//!
//! `tests/fuzz/run [SECONDS]` runs each under libFuzzer, with a nightly compiler and `cargo-fuzz`;
//! `cargo test --test fuzz` (`main.rs`) needs neither. `corpus/` holds what both begin with: seeds
//! that the modules themselves make ([`Target::seeds`]), and reduced finds, named `find-…`.
//!
//! Not for: what faults and times do (`tests/sim`, `tests/crash`).

#![allow(unreachable_pub, reason = "public to the fuzzers, and private to the test")]

pub mod answers;
pub mod configuration;
mod folder;
pub mod frames;
pub mod intake;
mod plan;
pub mod requests;
pub mod segments;
pub mod slots;

/// Bytes of one kind, and what reads them.
pub struct Target {
    /// Its name: of the module, the fuzzer and the folder in `corpus/`.
    pub name: &'static str,
    /// Reads such bytes; panics where they break a property.
    pub try_one: fn(&[u8]),
    /// Bytes as they occur, each with a name.
    pub seeds: fn() -> Vec<(&'static str, Vec<u8>)>,
}

macro_rules! targets {
    ($($name:ident)*) => {
        &[$(Target { name: stringify!($name), try_one: $name::try_one, seeds: $name::seeds }),*]
    };
}

/// All of them.
pub const TARGETS: &[Target] =
    targets![configuration intake requests answers segments slots frames];
