//! What our processes exit with: the codes of sysexits.h.

/// Done.
pub const OK: i32 = 0;
/// The command line or a variable is wrong.
pub const USAGE: i32 = 64;
/// No agent and no share to be asked, or nothing to run an agent with.
pub const UNAVAILABLE: i32 = 69;
/// A fault of the program itself.
pub const BUG: i32 = 70;
/// Not now; perhaps later. Also an uplink whose lease has ended.
pub const TEMPORARY: i32 = 75;
/// A file, folder or setting has to be mended first.
pub const CONFIGURATION: i32 = 78;
