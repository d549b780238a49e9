//! `edge-agent`: see the crate's documentation.

use edge_agent::edge::options::{self, Asked, Command};
use edge_agent::edge::{agent, logging};

fn main() {
    let environment: Vec<_> = std::env::vars_os().collect();
    match options::parse(std::env::args_os().skip(1), &environment) {
        Ok(Asked::Do(Command::Run, options)) => {
            logging::start(options.log, options.log_level);
            std::process::exit(agent::run(&options));
        }
        other => eprintln!("{other:?}"),
    }
}
