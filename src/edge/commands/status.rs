//! `status`: the site at a glance, from the local agent or else from the share.

use super::client::{Failure, ask};
use super::snapshot::{Cloud, Declined, Lane, Master, Node, Share, Snapshot};
use super::survey::survey;
use super::{exit, fail, print};
use crate::edge::logging::Utc;
use crate::edge::options::Options;

/// Columns of a terminal.
const COLUMNS: usize = 80;
/// Columns before the text of a line.
const INDENT: usize = 12;

/// Who told us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Witness {
    /// The agent of this host.
    Agent,
    /// The files on the share, which do not tell how old they are.
    Share,
}

pub(super) fn status(options: &Options, json: bool, local: bool) -> i32 {
    let (text, witness) = match gather(options, local) {
        Ok(found) => found,
        Err(code) => return code,
    };
    if json {
        return print(&format!("{}\n", String::from_utf8_lossy(&text)));
    }
    match Snapshot::parse(&text) {
        Some(snapshot) => print(&page(&snapshot, witness)),
        None => fail(exit::TEMPORARY, "the agent's answer is not a snapshot; try --json"),
    }
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

/// The whole page.
fn page(snapshot: &Snapshot, witness: Witness) -> String {
    let mut page = Page::default();
    page.line("node", &node_line(snapshot, witness));
    let site = if snapshot.site_id.is_empty() { "not known" } else { &snapshot.site_id };
    page.line("site", site);
    page.line("share", &share_line(&snapshot.share, witness));
    page.line("master", &master_line(snapshot.master.as_ref(), witness));
    if let Some(master) = snapshot.master.as_ref().filter(|master| !master.advertise.is_empty()) {
        page.line("", &master.advertise);
    }
    if witness == Witness::Agent {
        page.line("lease", &lease_line(snapshot));
    }
    if snapshot.nodes.is_empty() {
        page.line("nodes", "none known");
    }
    let widest = snapshot.nodes.iter().map(|node| node.node.len()).max().unwrap_or(0);
    for (place, node) in snapshot.nodes.iter().enumerate() {
        let label = if place == 0 { "nodes" } else { "" };
        page.line(label, &node_of_site(node, snapshot, widest, witness));
    }
    let [readings, alerts] = &snapshot.journal;
    page.line("readings", &lane_line(readings, witness));
    page.line("alerts", &lane_line(alerts, witness));
    if witness == Witness::Agent {
        if let Some(declined) = &snapshot.declined {
            page.line("declined", &declined_line(declined));
        }
        page.line("cloud", &cloud_line(&snapshot.cloud));
        let names: Vec<&str> = snapshot.conditions.iter().map(AsRef::as_ref).collect();
        let conditions = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        page.line("conditions", &conditions);
    }
    page.text
}

fn node_line(snapshot: &Snapshot, witness: Witness) -> String {
    let Snapshot { node, role, version, term, fenced, .. } = snapshot;
    match (witness, role.as_str()) {
        (Witness::Share, _) => "no agent runs here; this is what stands on the share".to_owned(),
        (Witness::Agent, "master") => {
            let forwards = if *fenced { "" } else { ", collecting, not yet forwarding" };
            format!("{node}, master of term {term}{forwards}, version {version}")
        }
        (Witness::Agent, _) => format!("{node}, {role}, version {version}"),
    }
}

fn share_line(share: &Share, witness: Witness) -> String {
    if !share.open {
        return if share.fault.is_empty() {
            "not open yet".to_owned()
        } else {
            format!("not open: {}", share.fault)
        };
    }
    let mut parts = vec![share.class.as_deref().unwrap_or("open").to_owned()];
    if witness == Witness::Agent {
        parts.push(if share.locked { "lock held here" } else { "lock not held here" }.to_owned());
    }
    if share.stalled_ms > 0 {
        parts.push(format!("stalled for {}", span(share.stalled_ms)));
    }
    parts.join(", ")
}

fn master_line(master: Option<&Master>, witness: Witness) -> String {
    let Some(Master { node, term, state, silent_ms, fenced, started_wall_ms, .. }) = master else {
        return "none yet".to_owned();
    };
    let mut parts = vec![format!("{node}, term {term}, {state}")];
    if *started_wall_ms > 0 {
        parts.push(format!("since {}", seconds(*started_wall_ms)));
    }
    let is_over = state == "released";
    if !fenced && !is_over {
        parts.push("not yet forwarding".to_owned());
    }
    if witness == Witness::Agent && !is_over {
        parts.push(format!("heard of {}", ago(*silent_ms)));
    }
    parts.join(", ")
}

fn lease_line(snapshot: &Snapshot) -> String {
    match (snapshot.lease_ms, snapshot.role.as_str()) {
        (0, "master") => "run out: nothing is forwarded".to_owned(),
        (0, _) => "none: not the master".to_owned(),
        (lease_ms, _) => format!("{} left", span(lease_ms)),
    }
}

fn node_of_site(node: &Node, snapshot: &Snapshot, widest: usize, witness: Witness) -> String {
    let seen = match witness {
        Witness::Share => "",
        Witness::Agent if node.unseen => "not seen",
        Witness::Agent if node.node == snapshot.node => "this node",
        Witness::Agent => &ago(node.silent_ms),
    };
    let gone = match witness {
        Witness::Share => "",
        Witness::Agent if node.live => "",
        Witness::Agent if node.unseen => "  since this agent started",
        Witness::Agent => "  not live",
    };
    let clock = match node.skew_ms {
        0 => String::new(),
        ahead_ms @ 1.. => format!("  clock {} ahead", span(ahead_ms.unsigned_abs())),
        behind_ms => format!("  clock {} behind", span(behind_ms.unsigned_abs())),
    };
    let name = node.node.as_str();
    let line =
        format!("{name:<widest$}  {:<9}  {seen:<11}  {}{gone}{clock}", node.role, node.version);
    line.trim_end().to_owned()
}

fn lane_line(lane: &Lane, witness: Witness) -> String {
    let Lane { cursor, journalled, waiting, backlog, delivered, declined, dropped, damaged } = lane;
    let first = match (witness, waiting) {
        (Witness::Share, _) if cursor.term == 0 => "none sent yet".to_owned(),
        (Witness::Share, _) => format!("next to send: {} of term {}", cursor.seq, cursor.term),
        (Witness::Agent, 0) if *backlog => "records of older segments waiting".to_owned(),
        (Witness::Agent, waiting) if *backlog => format!("{waiting} waiting, older ones too"),
        (Witness::Agent, 0) => "none waiting".to_owned(),
        (Witness::Agent, waiting) => format!("{waiting} waiting"),
    };
    let mut parts = vec![first];
    if witness == Witness::Agent {
        parts.push(format!("{journalled} journalled, {delivered} sent in this term"));
    }
    if *declined > 0 {
        parts.push(format!("{declined} declined by the cloud"));
    }
    if *dropped > 0 {
        parts.push(format!("{dropped} dropped: the journal was full"));
    }
    if *damaged > 0 {
        parts.push(format!("{damaged} damaged stretches set aside"));
    }
    parts.join("; ")
}

fn declined_line(declined: &Declined) -> String {
    let Declined { records, bytes, complete, replay, .. } = declined;
    let still = if *complete { "" } else { ", still counting" };
    let mut parts = vec![match records {
        0 if *complete => "none in the store".to_owned(),
        records => format!("{records} records in {bytes} bytes{still}"),
    }];
    if replay.running {
        let (delivered, refused) = (replay.delivered, replay.refused);
        parts.push(format!("replay: {delivered} sent, {refused} refused again"));
    } else if !replay.reason.is_empty() {
        parts.push(format!("the last replay stopped: {}", replay.reason));
    }
    parts.join("; ")
}

fn cloud_line(cloud: &Cloud) -> String {
    let state = match cloud.state.as_str() {
        "off" => "not sending: not the master".to_owned(),
        "waiting" => format!("next try in {}", span(cloud.wait_ms)),
        "paused" => format!("paused, next try in {}", span(cloud.wait_ms)),
        other => other.to_owned(),
    };
    let failures = match cloud.failures {
        0 => return state,
        1 => "failed once".to_owned(),
        count => format!("failed {count} times"),
    };
    let status =
        if cloud.status > 0 { format!(", status {}", cloud.status) } else { String::new() };
    let colon = if cloud.reason.is_empty() { "" } else { ": " };
    format!("{state}; {failures}{status}{colon}{}", cloud.reason)
}

/// A span for people: two digits or so of it.
fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..10 => format!("{seconds}.{} s", ms % 1_000 / 100),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How long ago that was, for people.
pub(super) fn ago(ms: u64) -> String {
    if ms < 1_000 { "just now".to_owned() } else { format!("{} ago", span(ms)) }
}

/// A moment, to the second.
pub(super) fn seconds(wall_ms: u64) -> String {
    let text = Utc(wall_ms).to_string();
    let whole = text.split_once('.').map_or(text.as_str(), |(whole, _)| whole);
    format!("{whole}Z")
}

/// Lines of a label and a text, none longer than a terminal is wide.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, label: &str, text: &str) {
        let printable = |letter: char| if letter.is_control() { '?' } else { letter };
        let text: String = text.chars().map(printable).collect();
        let mut label = label;
        let mut rest = text.as_str();
        loop {
            let (line, more) = split(rest, COLUMNS - INDENT);
            self.text.push_str(format!("{label:<INDENT$}{line}").trim_end());
            self.text.push('\n');
            if more.is_empty() {
                return;
            }
            (label, rest) = ("", more);
        }
    }
}

/// What fits in so many columns, broken at a blank if there is one, and the rest.
fn split(text: &str, columns: usize) -> (&str, &str) {
    let Some((limit, _)) = text.char_indices().nth(columns) else {
        return (text, "");
    };
    let blank = if text[limit..].starts_with(' ') { Some(limit) } else { text[..limit].rfind(' ') };
    let end = blank.filter(|end| *end > 0).unwrap_or(limit);
    (&text[..end], text[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::console::testing;
    use crate::limits::REPLY_BYTES_MAX;

    fn snapshot(json: &str) -> Snapshot {
        Snapshot::parse(json.as_bytes()).expect("a snapshot")
    }

    const MASTER: &str = r#"{"node":"gw-1","version":"0.1.0",
        "site_id":"000102030405060708090a0b0c0d0e0f","role":"master","term":8,"fenced":true,
        "lease_ms":4321,"share":{"open":true,"class":"nfs4","locked":true,"stalled_ms":0},
        "master":{"node":"gw-1","term":8,"state":"active","silent_ms":200,"fenced":true,
        "started_wall_ms":1600000000000,"advertise":"http://10.0.0.1:8480"},
        "nodes":[{"node":"gw-1","role":"master","live":true,"version":"0.1.0"},
        {"node":"gateway-2","role":"standby","live":true,"silent_ms":3000,"version":"0.1.0",
        "skew_ms":-45000},{"node":"gw-4","role":"standby","unseen":true,"silent_ms":9},
        {"node":"gw-3","role":"stopped","live":false,"silent_ms":9000000,"version":"0.1.0"}],
        "journal":[{"cursor":{"term":7,"segment":1,"offset":64,"seq":12},"journalled":99,
        "waiting":4,"backlog":true,"delivered":95,"damaged":0},{"cursor":{"term":8,"segment":1,
        "offset":64,"seq":1},"journalled":1,"waiting":0,"backlog":false,"delivered":1,
        "damaged":2}],"declined":{"records":512,"bytes":65000,"complete":true,"replay":{
        "running":true,"delivered":300,"refused":2}},"cloud":{"state":"waiting","failures":3,"status":0,
        "reason":"cannot connect to 10.1.1.1:443: connection refused","wait_ms":12000},
        "conditions":["cloud-unreachable"]}"#;

    #[test]
    fn a_master_is_shown_at_a_glance() {
        let expected = "\
node        gw-1, master of term 8, version 0.1.0
site        000102030405060708090a0b0c0d0e0f
share       nfs4, lock held here
master      gw-1, term 8, active, since 2020-09-13T12:26:40Z, heard of just now
            http://10.0.0.1:8480
lease       4.3 s left
nodes       gw-1       master     this node    0.1.0
            gateway-2  standby    3.0 s ago    0.1.0  clock 45 s behind
            gw-4       standby    not seen       since this agent started
            gw-3       stopped    2 h ago      0.1.0  not live
readings    4 waiting, older ones too; 99 journalled, 95 sent in this term
alerts      none waiting; 1 journalled, 1 sent in this term; 2 damaged stretches
            set aside
declined    512 records in 65000 bytes; replay: 300 sent, 2 refused again
cloud       next try in 12 s; failed 3 times: cannot connect to 10.1.1.1:443:
            connection refused
conditions  cloud-unreachable
";
        assert_eq!(page(&snapshot(MASTER), Witness::Agent), expected);
    }

    #[test]
    fn what_stands_on_the_share_is_shown_without_ages() {
        let expected = "\
node        no agent runs here; this is what stands on the share
site        000102030405060708090a0b0c0d0e0f
share       nfs4
master      gw-1, term 8, active, since 2020-09-13T12:26:40Z
            http://10.0.0.1:8480
nodes       gw-1       master                  0.1.0
            gateway-2  standby                 0.1.0  clock 45 s behind
            gw-4       standby
            gw-3       stopped                 0.1.0
readings    next to send: 12 of term 7
alerts      next to send: 1 of term 8; 2 damaged stretches set aside
";
        assert_eq!(page(&snapshot(MASTER), Witness::Share), expected);
    }

    #[test]
    fn a_node_without_a_share_says_why() {
        let json = r#"{"node":"gw-2","version":"0.1.0","role":"standby","share":{"open":false,
            "fault":"share: /mnt/a is not a data directory of site 00: an empty folder; mount it"},
            "cloud":{"state":"off"},"conditions":["share-missing"]}"#;
        let text = page(&snapshot(json), Witness::Agent);
        let share = "\
share       not open: share: /mnt/a is not a data directory of site 00: an empty
            folder; mount it
master      none yet
lease       none: not the master
nodes       none known
";
        assert!(text.contains(share), "{text}");
    }

    #[test]
    fn what_a_cloud_says_cannot_steer_the_terminal() {
        let json = r#"{"cloud":{"state":"waiting","failures":1,"reason":"\u001b[2J\nx"}}"#;
        let text = page(&snapshot(json), Witness::Agent);
        assert!(text.contains("failed once: ?[2J?x\n"), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        for is_longest in [false, true] {
            let mut text = vec![0; REPLY_BYTES_MAX];
            let status = testing::status(is_longest);
            let length = serde_json_core::to_slice(&status, &mut text).expect("it fits");
            let snapshot = Snapshot::parse(&text[..length]).expect("a snapshot");
            for witness in [Witness::Agent, Witness::Share] {
                let page = page(&snapshot, witness);
                let widest = page.lines().map(|line| line.chars().count()).max();
                assert!(widest <= Some(COLUMNS), "{page}");
            }
        }
    }

    #[test]
    fn spans_are_short() {
        for (ms, expected) in [
            (0, "0.0 s"),
            (950, "0.9 s"),
            (9_999, "9.9 s"),
            (42_000, "42 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 days"),
        ] {
            assert_eq!(span(ms), expected);
        }
    }

    #[test]
    fn long_words_are_broken_and_letters_are_not() {
        assert_eq!(split("ab cd", 5), ("ab cd", ""));
        assert_eq!(split("ab cde", 5), ("ab", "cde"));
        assert_eq!(split("ab cde", 2), ("ab", "cde"));
        assert_eq!(split("äöüäöü", 4), ("äöüä", "öü"));
    }
}
