//! `switchover`: asks the local agent to have the mastership handed over, and waits for it.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::client::{Failure, Reply, ask};
use super::snapshot::{Master, Snapshot};
use super::{exit, fail, print};
use crate::edge::options::Options;
use crate::engine::ident::{NodeName, Term};
use crate::limits::SWITCHOVER_MS_MAX;

/// How often the agent is asked who is master now.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) fn switchover(options: &Options, to: Option<&NodeName>) -> i32 {
    let body = to.map(|node| format!("{{\"to\":\"{node}\"}}")).unwrap_or_default();
    let begin = Instant::now();
    match ask(&options.run_dir, "POST /switchover", &body) {
        Err(failure) => refused(&failure),
        Ok(reply) => match judge(&reply) {
            Err(reason) => fail(exit::TEMPORARY, &format!("not handed over: {reason}")),
            Ok(term) => {
                let limit = Duration::from_millis(u64::from(SWITCHOVER_MS_MAX));
                let next = wait(&options.run_dir, term, begin + limit);
                report(next.as_ref(), term, to)
            }
        },
    }
}

fn refused(failure: &Failure) -> i32 {
    let code = match failure {
        Failure::NoAgent | Failure::Broken(_) => exit::UNAVAILABLE,
        Failure::Silent => exit::TEMPORARY,
    };
    fail(code, &format!("the agent of this host: {failure}"))
}

/// The term that shall end, or why none does.
fn judge(reply: &Reply) -> Result<Term, String> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        term: Option<Term>,
        #[serde(default)]
        reason: Option<heapless::String<160>>,
    }
    let body = serde_json_core::from_slice_escaped::<Body>(&reply.body, &mut [0; 256]);
    match body {
        Ok((Body { term: Some(term), .. }, _)) if reply.status == 202 => Ok(term),
        Ok((Body { reason: Some(reason), .. }, _)) => Err(reason.as_str().to_owned()),
        Ok(_) | Err(_) => Err(format!("the agent answered with status {}", reply.status)),
    }
}

/// The master of a later term, once there is one.
fn wait(run_dir: &Path, term: Term, end: Instant) -> Option<Master> {
    loop {
        let reply = ask(run_dir, "GET /status.json", "").ok();
        let snapshot = reply.and_then(|reply| Snapshot::parse(&reply.body));
        let master = snapshot.and_then(|snapshot| snapshot.master);
        if let Some(master) = master.filter(|master| master.term > term && master.state == "active")
        {
            return Some(master);
        }
        if Instant::now() + LOOK_EVERY > end {
            return None;
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn report(next: Option<&Master>, term: Term, to: Option<&NodeName>) -> i32 {
    let Some(next) = next else {
        let limit_s = SWITCHOVER_MS_MAX / 1_000;
        let why = format!("no master followed that of term {term} within {limit_s} s");
        return fail(exit::TEMPORARY, &why);
    };
    let code = print(&format!("{} is master, term {}\n", next.node, next.term));
    match to.filter(|to| next.node != to.as_str()) {
        Some(to) => fail(exit::TEMPORARY, &format!("{to} was not there to take over")),
        None => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> Result<Term, String> {
        judge(&Reply { status, body: body.as_bytes().to_vec() })
    }

    #[test]
    fn answers_are_judged() {
        assert_eq!(judged(202, "{\"term\":7}"), Ok(7));
        let reason = "no master is \"known\"";
        assert_eq!(judged(503, "{\"reason\":\"no master is \\\"known\\\"\"}"), Err(reason.into()));
        let odd = |status| Err(format!("the agent answered with status {status}"));
        assert_eq!(judged(503, "{\"term\":7}"), odd(503));
        assert_eq!(judged(404, "{\"expected\":\"/healthz\"}"), odd(404));
        assert_eq!(judged(200, "<html>"), odd(200));
    }

    #[test]
    fn the_report_tells_whether_the_wish_came_true() {
        let master =
            |node: &str| Master { node: node.try_into().expect("short"), ..Master::default() };
        let to = NodeName::parse("gw-2");
        assert_eq!(report(Some(&master("gw-2")), 7, to.as_ref()), exit::OK);
        assert_eq!(report(Some(&master("gw-2")), 7, None), exit::OK);
        assert_eq!(report(Some(&master("gw-3")), 7, to.as_ref()), exit::TEMPORARY);
        assert_eq!(report(None, 7, None), exit::TEMPORARY);
    }
}
