//! The commands: each takes its options, prints what it has to say, and gives an exit code.

mod apart;
mod check;
mod client;
mod declined;
mod init;
mod journal;
mod nodes;
mod run;
mod snapshot;
mod sources;
mod status;
mod survey;
mod switchover;

use std::io::{self, ErrorKind, Write as _};

pub use self::run::run;
use super::options::{Asked, Command, Options, help};
use crate::exit;

/// Carries out what the command line asked for; `agent` is what `run` runs.
pub fn carry_out(asked: &Asked, agent: impl FnOnce(&Options) -> i32) -> i32 {
    let (command, options) = match asked {
        Asked::Help(verb) => return print(&help(*verb)),
        Asked::Version => {
            return print(concat!("edge-agent ", env!("CARGO_PKG_VERSION"), "\n"));
        }
        Asked::Do(command, options) => (command, options),
    };
    if let Command::Run = command {
        return run(options, agent);
    }
    // a second logger is refused: the first one serves
    let _ = simple_logger::SimpleLogger::new().with_level(options.log_level).init();
    match command {
        Command::Run => unreachable!("it ran above"),
        Command::Init { new_id } => init::init(options, *new_id),
        Command::Status { json, local, watch } => {
            let (json, local, watch) = (*json, *local, *watch);
            status::status(options, status::Wanted { json, local, watch })
        }
        Command::Sources => sources::sources(options),
        Command::Switchover { to } => switchover::switchover(options, to.as_ref()),
        Command::Check { peer } => check::check(options, *peer),
        Command::JournalVerify => journal::verify(options),
        Command::DeclinedList { json } => declined::list(options, *json),
        Command::DeclinedReplay => declined::replay(options),
        Command::DeclinedPurge => declined::purge(options),
        Command::Nodes => nodes::list(options),
        Command::Forget { node } => nodes::forget(options, node),
    }
}

/// Prints on standard output. Nobody reading it is no failure; a full disk is.
fn print(text: &str) -> i32 {
    match try_print(text) {
        Ok(()) => exit::OK,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit::OK,
        Err(error) => fail(exit::TEMPORARY, &format!("cannot print: {error}")),
    }
}

fn try_print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Says on standard error why a command failed.
fn fail(code: i32, why: &str) -> i32 {
    // where standard error takes nothing, the code has to do
    let _ = writeln!(io::stderr(), "edge-agent: {why}");
    code
}
