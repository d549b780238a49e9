//! What needs a second process: locks across a fork, the lease's guard, death with the parent,
//! children and their channels, the supervisor.
//!
//! Forking is sound only in a process of one thread, so this test has its own `main` and runs its
//! cases one after another. Arguments that are no options select cases by parts of their names.

mod children;
mod lease;
mod locks;
mod processes;
mod shared;
mod supervisor;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let mut run = 0;
    let cases =
        [locks::CASES, lease::CASES, processes::CASES, children::CASES, supervisor::CASES].concat();
    for (name, case) in cases {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            // what fails panics, and that ends this process with an error
            print!("test {name} ... ");
            std::io::stdout().flush().expect("stdout");
            case();
            println!("ok");
            run += 1;
        }
    }
    println!("{run} cases passed");
    ExitCode::SUCCESS
}
