//! `edge-agent`: reads the command line, carries out the command, gives its exit code.

use std::env;
use std::ffi::OsString;
use std::panic;
use std::process::exit;

use edge_agent::edge::{agent, commands, options};
use edge_agent::exit as code;
use edge_agent::sys::process::exit_now;

fn main() {
    panic::set_hook(Box::new(|bug| {
        if log::max_level() == log::LevelFilter::Off {
            eprintln!("edge-agent: {bug}");
        }
        log::error!("bug: {bug}");
        exit_now(code::BUG);
    }));
    let environment: Vec<(OsString, OsString)> = env::vars_os().collect();
    match options::parse(env::args_os().skip(1), &environment) {
        Ok(asked) => exit(commands::carry_out(&asked, agent::run)),
        Err(usage) => {
            eprintln!("edge-agent: {usage}");
            exit(code::USAGE);
        }
    }
}
