//! `declined list`: a line for each record, the oldest first.

use super::super::apart::{Failure, Teller, Work};
use super::super::client::ask;
use super::super::snapshot::Snapshot;
use super::super::status::seconds;
use super::super::{exit, fail, print};
use super::{elsewhere, no_answer, printable, records};
use crate::edge::json::write_text;
use crate::edge::options::Options;
use crate::edge::share::{self, Entry};
use crate::limits::SURVEY_MS_MAX;

/// Letters of a record that are shown to people.
const RECORD_COLUMNS: usize = 60;

/// What the first byte of a piece says of the rest.
const LINE: u8 = b'l';
const FAULT: u8 = b'f';
const DAMAGED: u8 = b'd';

pub(in super::super) fn list(options: &Options, json: bool) -> i32 {
    let snapshot = match ask(&options.run_dir, "GET /status.json", "") {
        Err(failure) => return no_answer(options, &failure),
        Ok(reply) => Snapshot::parse(&reply.body).filter(|_| reply.status == 200),
    };
    let Some(snapshot) = snapshot else {
        return fail(exit::TEMPORARY, "the agent of this host: its answer is not a snapshot");
    };
    if snapshot.role != "master" {
        let master = snapshot.master.as_ref().filter(|master| master.state != "released");
        let (name, advertise) =
            master.map_or(("", ""), |master| (master.node.as_str(), master.advertise.as_str()));
        return fail(exit::TEMPORARY, &elsewhere(name, advertise));
    }
    match read(options, &snapshot.site_id, json) {
        Ok(code) => code,
        Err(failure) => {
            fail(exit::TEMPORARY, &format!("{}: {failure}", options.data_dir.display()))
        }
    }
}

/// Has a child read the store, and prints what it tells; memory is one record.
fn read(options: &Options, site_id: &str, json: bool) -> Result<i32, Failure> {
    let mut work = Work::begin("edge-declined", |teller| {
        match tell_all(options, site_id, json, teller) {
            // an empty piece: it was read to its end
            Ok(()) => teller.tell(Ok(b"")),
            Err(why) => teller.tell(Err(&why)),
        }
    })?;
    let (mut count, mut code) = (0_u64, exit::OK);
    loop {
        let Some(piece) = work.next(SURVEY_MS_MAX)? else {
            return Err(Failure::Fault("the child that read it ended too early".to_owned()));
        };
        let Some((kind, text)) = piece.split_first() else { break };
        let text = String::from_utf8_lossy(text);
        if *kind == LINE {
            count += 1;
            code = code.max(print(&text));
        } else {
            code = fail(exit::TEMPORARY, &format!("declined: {}", printable(&text)));
        }
    }
    if !json {
        code = code.max(print(&format!("{}\n", records(count))));
    }
    Ok(code)
}

fn tell_all(
    options: &Options,
    site_id: &str,
    json: bool,
    teller: &mut Teller,
) -> Result<(), String> {
    let mut entries = share::declined(&options.data_dir).map_err(|error| error.to_string())?;
    let site = entries.site();
    if site.to_string() != site_id {
        return Err(format!(
            "it is of site {site}, the agent's is {site_id}: name the agent's by --datadirpath"
        ));
    }
    let mut piece = Vec::new();
    for found in entries.by_ref() {
        piece.clear();
        match found {
            Ok((_, entry)) => {
                piece.push(LINE);
                if json { json_line(&entry, &mut piece) } else { text_line(&entry, &mut piece) }
            }
            Err(error) => {
                piece.push(FAULT);
                piece.extend_from_slice(error.to_string().as_bytes());
            }
        }
        teller.tell(Ok(&piece));
    }
    if entries.damaged() > 0 {
        piece.clear();
        piece.push(DAMAGED);
        let text = format!("{} damaged places were passed over", entries.damaged());
        piece.extend_from_slice(text.as_bytes());
        teller.tell(Ok(&piece));
    }
    Ok(())
}

/// As it stands in the store.
fn json_line(entry: &Entry, out: &mut Vec<u8>) {
    let Entry { term, lane, seq, status, reason, wall_ms, record } = entry;
    let lane = lane.name();
    let begin = format!(
        "{{\"term\":{term},\"lane\":\"{lane}\",\"seq\":{seq},\"status\":{status},\"reason\":"
    );
    out.extend_from_slice(begin.as_bytes());
    write_text(reason, out);
    out.extend_from_slice(format!(",\"time\":{wall_ms},\"record\":").as_bytes());
    out.extend_from_slice(record);
    out.extend_from_slice(b"}\n");
}

/// Time, identity, status, reason, and how the record begins.
fn text_line(entry: &Entry, out: &mut Vec<u8>) {
    let Entry { term, lane, seq, status, reason, wall_ms, record } = entry;
    let record = String::from_utf8_lossy(record);
    let cut = record.char_indices().nth(RECORD_COLUMNS).map(|(at, _)| &record[..at]);
    let (record, more) = cut.map_or((&*record, ""), |begin| (begin, "..."));
    let (when, lane) = (seconds(*wall_ms), lane.name());
    let text = format!("{when}  {term}/{lane}/{seq}  {status}  {reason}  {record}{more}");
    out.extend_from_slice(printable(&text).as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ident::Lane;

    fn entry(record: &str) -> Entry {
        Entry {
            term: 3,
            lane: Lane::Readings,
            seq: 17,
            status: 400,
            reason: "no \"thing\"\u{1b}[2J".into(),
            wall_ms: 1_600_000_000_000,
            record: record.as_bytes().to_vec(),
        }
    }

    fn line(write: impl Fn(&Entry, &mut Vec<u8>), record: &str) -> String {
        let mut out = Vec::new();
        write(&entry(record), &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn people_see_the_beginning_of_a_record_and_no_control_characters() {
        let begin = "2020-09-13T12:26:40Z  3/readings/17  400  no \"thing\"?[2J  ";
        assert_eq!(line(text_line, "{\"a\":1}"), format!("{begin}{{\"a\":1}}\n"));
        let long = "x".repeat(RECORD_COLUMNS + 1);
        assert_eq!(line(text_line, &long), format!("{begin}{}...\n", "x".repeat(RECORD_COLUMNS)));
    }

    #[test]
    fn programs_get_all_of_it() {
        let long = format!("{{\"pad\":\"{}\"}}", "x".repeat(30_000));
        let line = line(json_line, &long);
        let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            (&json["term"], &json["lane"], &json["seq"]),
            (&3.into(), &"readings".into(), &17.into())
        );
        assert_eq!((&json["status"], &json["time"]), (&400.into(), &1_600_000_000_000_u64.into()));
        assert_eq!(json["reason"], "no \"thing\"\u{1b}[2J");
        assert_eq!(json["record"]["pad"].as_str().map(str::len), Some(30_000));
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.is_ascii());
    }
}
