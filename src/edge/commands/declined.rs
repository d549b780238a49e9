//! `declined`: what the cloud refused is listed, sent again, or deleted; on the master's host.
//!
//! The agent of this host says whether it is master, and does what is done. A list is read from
//! the share, by a child that may hang.

mod list;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

pub(super) use self::list::list;
use super::client::{Failure, Reply, ask};
use super::snapshot::{Declined, Snapshot};
use super::{exit, fail, print};
use crate::edge::options::Options;
use crate::engine::ident::Term;
use crate::limits::DECLINED_SILENT_MS_MAX;

/// How often the agent is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often that is told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What was begun: the status knows it by this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Begun {
    number: u32,
    term: Term,
}

pub(super) fn replay(options: &Options) -> i32 {
    let begun = match begin(options, "POST /declined/replay") {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    let mut told = (Instant::now(), String::new());
    let ended = follow(&options.run_dir, begun, |declined, snapshot| {
        if declined.replay.number != begun.number {
            return Err(LOST.to_owned());
        }
        if !declined.replay.running {
            return Ok(Some(declined.replay.clone()));
        }
        let progress = progress(declined, snapshot);
        if told.0.elapsed() >= TELL_EVERY && progress != told.1 {
            print(&progress);
            told = (Instant::now(), progress);
        }
        Ok(None)
    });
    match ended {
        Err(code) => code,
        Ok(replay) => {
            let (delivered, refused) = (records(replay.delivered), replay.refused);
            let code = print(&format!("replayed {delivered}, {refused} refused again\n"));
            if replay.reason.is_empty() {
                return code;
            }
            let why = format!("declined: the replay stopped: {}", replay.reason);
            fail(exit::TEMPORARY, &printable(&why))
        }
    }
}

pub(super) fn purge(options: &Options) -> i32 {
    let begun = match begin(options, "POST /declined/purge") {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    let ended = follow(&options.run_dir, begun, |declined, _| {
        if declined.purge.number < begun.number {
            return Err(LOST.to_owned());
        }
        Ok((!declined.purge.running).then(|| declined.purge.clone()))
    });
    match ended {
        Err(code) => code,
        Ok(purge) if purge.reason.is_empty() => {
            print(&format!("deleted {}\n", records(purge.records)))
        }
        Ok(purge) => {
            let why = format!("declined: not deleted: {}", purge.reason);
            fail(exit::TEMPORARY, &printable(&why))
        }
    }
}

const LOST: &str = "this node is no longer the master that was asked";

/// Has the agent begin; or the exit code, everything said.
fn begin(options: &Options, request: &str) -> Result<Begun, i32> {
    match ask(&options.run_dir, request, "") {
        Err(failure) => Err(no_answer(options, &failure)),
        Ok(reply) => judge(&reply).map_err(|why| fail(exit::TEMPORARY, &why)),
    }
}

fn no_answer(options: &Options, failure: &Failure) -> i32 {
    match failure {
        Failure::NoAgent => {
            let run_dir = options.run_dir.display();
            fail(exit::UNAVAILABLE, &format!("declined: no agent runs at {run_dir}"))
        }
        Failure::Silent => fail(exit::TEMPORARY, &format!("the agent of this host: {failure}")),
        Failure::Broken(_) => {
            fail(exit::UNAVAILABLE, &format!("the agent of this host: {failure}"))
        }
    }
}

/// What the agent began, or why nothing.
fn judge(reply: &Reply) -> Result<Begun, String> {
    #[derive(Deserialize)]
    struct Body {
        number: Option<u32>,
        term: Option<Term>,
        master: Option<heapless::String<32>>,
        advertise: Option<heapless::String<96>>,
        reason: Option<heapless::String<160>>,
    }
    let odd = || format!("the agent answered with status {}", reply.status);
    let body = serde_json_core::from_slice_escaped::<Body>(&reply.body, &mut [0; 256]);
    let Ok((body, _)) = body else { return Err(odd()) };
    match (reply.status, body) {
        (202, Body { number: Some(number), term: Some(term), .. }) => Ok(Begun { number, term }),
        (_, Body { reason: Some(reason), .. }) => Err(format!("declined: {reason}")),
        (503, Body { master, advertise: Some(advertise), .. }) => {
            Err(elsewhere(master.as_deref().unwrap_or_default(), &advertise))
        }
        _ => Err(odd()),
    }
}

/// Whom to ask instead.
fn elsewhere(master: &str, advertise: &str) -> String {
    let at = if advertise.is_empty() { String::new() } else { format!(" at {advertise}") };
    let text = match master {
        "" => "declined: this node stands by, and knows no master".to_owned(),
        _ => format!("declined: this node stands by; ask the master {master}{at}"),
    };
    printable(&text)
}

/// Looks at the status until `seen` finds what it looks for. The agent goes on without us.
fn follow<T>(
    run_dir: &Path,
    begun: Begun,
    mut seen: impl FnMut(&Declined, &Snapshot) -> Result<Option<T>, String>,
) -> Result<T, i32> {
    let early = |why: &str| Err(fail(exit::TEMPORARY, &format!("declined: ended early: {why}")));
    let patience = Duration::from_millis(u64::from(DECLINED_SILENT_MS_MAX));
    let mut heard = Instant::now();
    loop {
        match ask(run_dir, "GET /status.json", "") {
            Ok(reply) => {
                heard = Instant::now();
                let snapshot = Snapshot::parse(&reply.body).unwrap_or_default();
                let declined = snapshot.declined.as_ref().filter(|_| snapshot.term == begun.term);
                match declined.map_or_else(|| Err(LOST.to_owned()), |it| seen(it, &snapshot)) {
                    Ok(Some(found)) => return Ok(found),
                    Ok(None) => {}
                    Err(why) => return early(&why),
                }
            }
            Err(Failure::NoAgent) => return early("the agent of this host ended"),
            Err(failure) if heard.elapsed() >= patience => return early(&failure.to_string()),
            Err(_) => {}
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn progress(declined: &Declined, snapshot: &Snapshot) -> String {
    let Declined { records, replay, .. } = declined;
    let (delivered, refused) = (replay.delivered, replay.refused);
    let mut text = format!("{delivered} sent, {refused} refused again, {records} in the store");
    if snapshot.cloud.wait_ms > 0 && !snapshot.cloud.reason.is_empty() {
        text.push_str("; the cloud: ");
        text.push_str(&snapshot.cloud.reason);
    }
    printable(&text) + "\n"
}

fn records(count: u64) -> String {
    format!("{count} record{}", if count == 1 { "" } else { "s" })
}

/// For a terminal: nothing in it moves the cursor or turns the text round (UAX 9).
fn printable(text: &str) -> String {
    let turns = |letter| matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    let shown = |letter: char| if letter.is_control() || turns(letter) { '?' } else { letter };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> Result<Begun, String> {
        judge(&Reply { status, body: body.as_bytes().to_vec() })
    }

    #[test]
    fn answers_are_judged() {
        assert_eq!(judged(202, r#"{"number":2,"term":7}"#), Ok(Begun { number: 2, term: 7 }));
        let here = r#"{"master":"gw-1","advertise":"http://10.0.0.1:8480"}"#;
        let expected = "declined: this node stands by; ask the master gw-1 at http://10.0.0.1:8480";
        assert_eq!(judged(503, here), Err(expected.into()));
        let silent = r#"{"master":"gw-1","advertise":""}"#;
        let expected = "declined: this node stands by; ask the master gw-1";
        assert_eq!(judged(503, silent), Err(expected.into()));
        let nobody = r#"{"master":null,"advertise":""}"#;
        let expected = "declined: this node stands by, and knows no master";
        assert_eq!(judged(503, nobody), Err(expected.into()));
        let busy = r#"{"reason":"a replay or a purge is under way"}"#;
        assert_eq!(judged(409, busy), Err("declined: a replay or a purge is under way".into()));
        let odd = |status| Err(format!("the agent answered with status {status}"));
        assert_eq!(judged(404, r#"{"expected":"/healthz"}"#), odd(404));
        assert_eq!(judged(200, "<html>"), odd(200));
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J\u{9b}b\u{202e}c\u{2066}ä\n"), "a?[2J?b?c?ä?");
    }

    #[test]
    fn progress_says_what_the_cloud_says_while_it_waits() {
        let mut snapshot = Snapshot::default();
        let declined = Declined { records: 9, ..Declined::default() };
        let line = "0 sent, 0 refused again, 9 in the store";
        assert_eq!(progress(&declined, &snapshot), format!("{line}\n"));
        snapshot.cloud.wait_ms = 5;
        snapshot.cloud.reason = "busy".try_into().expect("short");
        assert_eq!(progress(&declined, &snapshot), format!("{line}; the cloud: busy\n"));
    }
}
