//! Gateways on real shares: the driver, run inside a virtual machine by `tests/lab/run`.
//!
//! ```text
//! ┌────────────── machine, one kernel ──────────────┐
//! │ knfsd or smbd on an ext4 · receiver, cloud.test │
//! │      bridge storage      ·  bridge management   │
//! │        │        │               │         │     │
//! │  ┌─ host a ──┐  └── host b ─────┼─────────┘     │
//! │  │ agent     │      agent       │               │
//! │  └───────────┴──────────────────┘               │
//! └─────────────────────────────────────────────────┘
//! ```
//!
//! A host is a set of namespaces for network, host name and mounts: its clients of NFS and SMB
//! are as separate as on two machines. Cutting a host off means taking its port off a bridge:
//! packets vanish and nobody is told. The management network stays up unless a cell says
//! otherwise, so that a node without its share could still reach the cloud.
//!
//! - `shell`: commands of the machine.
//! - `advice`: how the README would have shares exported and mounted.
//! - `server`: networks, file system, knfsd, smbd.
//! - `host`: a gateway's host.
//! - `scene`: a site on them; measures and judges; `stalls`: when the machine stood still.
//! - `cells`, `mounts`: what is done to it. Each cell runs in a process of its own, with hosts,
//!   addresses and a data directory that no other cell has.
//!
//! Every cell is judged alike: nothing that was acknowledged is lost, at most a batch comes
//! again, no request of a lower term starts after one of a higher term, and all goes on within
//! the times of the product's promises. The product's default times are used. The emulated
//! processor is slow: what is measured is an upper limit, and the time for which the host gave
//! the machine no processor is not held against the product. A cell that is late and nothing else is
//! tried once more.
//!
//! It does not try what the process tests try on a local disk.

#[path = "../support/mod.rs"]
mod support;

mod advice;
mod cells;
mod host;
mod mounts;
mod scene;
mod server;
mod shell;
mod stalls;

use std::env;
use std::fs;
use std::process::{Command, ExitCode};

use cells::{ALL, Cell};
use scene::{Judged, Scene};
use server::Share;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => machine(),
        ["cell", share, number] => cell(share, number),
        ["list"] => {
            for (name, share) in Share::ALL {
                let cells = ALL.iter().filter(|cell| (cell.on)(share));
                cells.for_each(|cell| println!("{name}/{}", cell.name));
            }
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: lab [list]; without a word only as a machine's init");
            ExitCode::from(64)
        }
    }
}

/// The machine has started: the kernel's command line says what to do,
/// `lab=SHARE[,CELL]…`.
fn machine() -> ExitCode {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let mut words =
        line.split_whitespace().find_map(|word| word.strip_prefix("lab=")).unwrap_or("").split(',');
    let share = words.next().and_then(Share::parse).expect("the command line names a share");
    let chosen: Vec<_> = words.collect();
    let is_ours = |name: &&str| ALL.iter().any(|cell| cell.name == *name && (cell.on)(share));
    assert!(chosen.iter().all(is_ours), "{} has not all of {chosen:?}", share.name());
    server::prepare();
    server::begin(share);
    let mut worst = Judged::Passed;
    for (number, cell) in ALL.iter().enumerate() {
        let is_chosen = chosen.is_empty() || chosen.contains(&cell.name);
        if !is_chosen || !(cell.on)(share) {
            continue;
        }
        let first = try_cell(share, cell.name, number);
        // places, addresses and names of its own
        let judged = match first {
            Judged::Late => try_cell(share, cell.name, number + ALL.len()),
            Judged::Passed | Judged::Failed => first,
        };
        worst = worst.max(judged);
    }
    println!("lab: {} {}", share.name(), worst.word());
    ExitCode::from(worst as u8)
}

/// Runs a cell in a process of its own.
fn try_cell(share: Share, name: &str, number: usize) -> Judged {
    let own = env::current_exe().expect("this program has a path");
    let ended = Command::new(own).args(["cell", share.name(), &number.to_string()]).status();
    match ended.ok().and_then(|status| status.code()) {
        Some(0) => Judged::Passed,
        Some(code) if code == Judged::Late as i32 => Judged::Late,
        Some(_) => Judged::Failed,
        None => {
            println!("ROW|{}|{name}|-|-|-|-|failed", share.name());
            Judged::Failed
        }
    }
}

fn cell(share: &str, number: &str) -> ExitCode {
    let share = Share::parse(share).expect("the machine names a share");
    let number: usize = number.parse().expect("the machine counts cells");
    let Cell { name, limit, run, .. } = &ALL[number % ALL.len()];
    std::panic::set_hook(Box::new(move |panic| {
        println!("FAIL {}/{name}: {panic}", share.name());
    }));
    let mut scene = Scene::new(share, name, number + 1);
    run(&mut scene);
    ExitCode::from(scene.finish(limit.bound(share)) as u8)
}
