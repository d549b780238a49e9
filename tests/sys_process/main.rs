//! What needs a second process: locks across a fork, the lease's guard, death with the parent,
//! children and their channels, the supervisor.
//!
//! Forking is sound only in a process of one thread, so this test has its own `main` and runs its
//! cases one after another. Words select cases by parts of their names (`wanted`).

mod children;
mod lease;
mod locks;
mod processes;
mod shared;
mod supervisor;

#[allow(unreachable_pub, reason = "others have it in a module of its own")]
#[path = "../support/left_out.rs"]
mod left_out;
#[allow(dead_code, unreachable_pub, reason = "others use all of it")]
#[path = "../support/wanted.rs"]
mod wanted;

use std::io::Write;
use std::process::ExitCode;

use wanted::Wanted;

fn main() -> ExitCode {
    let wanted = Wanted::of_command_line();
    let cases =
        [locks::CASES, lease::CASES, processes::CASES, children::CASES, supervisor::CASES].concat();
    let chosen: Vec<_> = cases.iter().filter(|(name, _)| wanted.wants(name)).collect();
    if wanted.list {
        for (name, _) in chosen {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    wanted.say_if_none(chosen.len(), cases.len());
    for (name, case) in &chosen {
        // what fails panics, and that ends this process with an error
        print!("test {name} ... ");
        std::io::stdout().flush().expect("stdout");
        case();
        println!("ok");
    }
    let (count, others) = (chosen.len(), cases.len() - chosen.len());
    println!("{count} cases passed, {others} were not asked for");
    ExitCode::SUCCESS
}
