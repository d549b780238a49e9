//! `status`: the site at a glance, from the local agent or else from the share.

mod page;

use std::io::IsTerminal as _;
use std::time::Duration;
use std::{io, thread};

use self::page::{Witness, page};
pub(super) use self::page::{ago, seconds};
use super::client::{Failure, ask};
use super::snapshot::Snapshot;
use super::survey::survey;
use super::{exit, fail, print, try_print};
use crate::edge::options::Options;
use crate::limits::WATCH_EVERY_MS;

/// What is printed, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// The snapshot as it came.
    pub(super) json: bool,
    /// Of this host's agent, or not at all.
    pub(super) local: bool,
    /// Again and again, until the command is ended.
    pub(super) watch: bool,
}

pub(super) fn status(options: &Options, wanted: Wanted) -> i32 {
    let is_terminal = io::stdout().is_terminal();
    if !wanted.watch {
        return show(options, wanted, is_terminal).map_or_else(|code| code, |text| print(&text));
    }
    let mut is_old = false;
    loop {
        // what cannot be had now is said on standard error, in place of what was shown before
        if is_old && is_terminal && try_print(&over("")).is_err() {
            return exit::OK;
        }
        let shown = show(options, wanted, is_terminal);
        is_old = shown.is_err();
        let printed = shown.map(|text| match (is_terminal, wanted.json) {
            (true, _) => try_print(&over(&text)),
            (false, true) => try_print(&text),
            (false, false) => try_print(&format!("{text}\n")),
        });
        // nobody reads any more
        if printed.is_ok_and(|printed| printed.is_err()) {
            return exit::OK;
        }
        thread::sleep(Duration::from_millis(u64::from(WATCH_EVERY_MS)));
    }
}

/// The text in place of the one before, on a terminal (ECMA-48: CUP, EL, ED): written over, so
/// that nothing flickers.
fn over(text: &str) -> String {
    let lines = text.replace('\n', "\x1b[K\n");
    format!("\x1b[H{lines}\x1b[J")
}

fn show(options: &Options, wanted: Wanted, is_terminal: bool) -> Result<String, i32> {
    let (text, witness) = gather(options, wanted.local)?;
    if wanted.json {
        return Ok(format!("{}\n", String::from_utf8_lossy(&text)));
    }
    let not_ours = "the agent's answer is not a snapshot; try --json";
    let snapshot = Snapshot::parse(&text).ok_or_else(|| fail(exit::TEMPORARY, not_ours))?;
    Ok(page(&snapshot, witness, is_terminal && wants_colour()))
}

/// <https://no-color.org>: whatever it says, if it says anything.
fn wants_colour() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|text| !text.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// The snapshot as JSON; or the exit code, everything said.
fn gather(options: &Options, local: bool) -> Result<(Vec<u8>, Witness), i32> {
    match ask(&options.run_dir, "GET /status.json", "") {
        Ok(reply) if reply.status == 200 => return Ok((reply.body, Witness::Agent)),
        Ok(reply) => {
            let why = format!("the agent answered with status {}", reply.status);
            return Err(fail(exit::TEMPORARY, &why));
        }
        Err(Failure::NoAgent) if local => {
            let why = format!("no agent runs at {}", options.run_dir.display());
            return Err(fail(exit::UNAVAILABLE, &why));
        }
        Err(Failure::NoAgent) => {}
        Err(failure @ Failure::Silent) => {
            return Err(fail(exit::TEMPORARY, &format!("the agent of this host: {failure}")));
        }
        Err(failure @ Failure::Broken(_)) => {
            return Err(fail(exit::UNAVAILABLE, &format!("the agent of this host: {failure}")));
        }
    }
    match survey(&options.data_dir, &options.node) {
        Ok(text) => Ok((text, Witness::Share)),
        Err(failure) => {
            let (run_dir, data_dir) = (options.run_dir.display(), options.data_dir.display());
            let why = format!("no agent runs at {run_dir}, and {data_dir}: {failure}");
            Err(fail(exit::UNAVAILABLE, &why))
        }
    }
}
