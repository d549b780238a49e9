//! The snapshot as lines of 80 columns.

use super::super::snapshot::{Agent, Cloud, Declined, Lane, Master, Node, Share, Snapshot, Term};
use crate::edge::logging::Utc;

/// Columns of a terminal.
const COLUMNS: usize = 80;
/// Columns before the text of a line.
const INDENT: usize = 12;
/// Terms that are shown.
const TERMS: usize = 3;
/// Heartbeats that a master may miss until it counts as silent here, and the least time.
const HEARTBEATS: u64 = 3;
const SILENT_MS: u64 = 5_000;

/// Who told us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Witness {
    /// The agent of this host.
    Agent,
    /// The files on the share, which do not tell how old they are.
    Share,
}

/// How a line is to be taken; on a terminal, its colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
}

impl Tone {
    /// ECMA-48, SGR.
    const fn colour(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }

    /// `bad` if something is so, else `otherwise`.
    const fn bad_if(is_bad: bool, otherwise: Self) -> Self {
        if is_bad { Self::Bad } else { otherwise }
    }
}

/// The whole page.
pub(super) fn page(snapshot: &Snapshot, witness: Witness, is_coloured: bool) -> String {
    let mut page = Page { text: String::new(), is_coloured };
    let share = &snapshot.share;
    page.line("node", &node_line(snapshot, witness));
    page.line("site", &site_line(snapshot));
    let is_bad = !share.open || share.stalled_ms > 0;
    page.toned("share", &share_line(share, witness), Tone::bad_if(is_bad, Tone::Plain));
    let master = snapshot.master.as_ref();
    page.toned("master", &master_line(master, witness), master_tone(snapshot, witness));
    if let Some(master) = master.filter(|master| !master.advertise.is_empty()) {
        page.line("", &master.advertise);
    }
    if witness == Witness::Agent {
        let is_run_out = snapshot.lease_ms == 0 && snapshot.role == "master";
        page.toned("lease", &lease_line(snapshot), Tone::bad_if(is_run_out, Tone::Plain));
        for (place, term) in snapshot.agent.terms.iter().take(TERMS).enumerate() {
            page.line(if place == 0 { "terms" } else { "" }, &term_line(place, term));
        }
    }
    if snapshot.nodes.is_empty() {
        page.line("nodes", "none known");
    }
    let widest = snapshot.nodes.iter().map(|node| node.node.len()).max().unwrap_or(0);
    for (place, node) in snapshot.nodes.iter().enumerate() {
        let label = if place == 0 { "nodes" } else { "" };
        let is_gone = witness == Witness::Agent && !node.live;
        let tone = if is_gone { Tone::Warn } else { Tone::Plain };
        page.toned(label, &node_of_site(node, snapshot, widest, witness), tone);
    }
    let [readings, alerts] = &snapshot.journal;
    page.toned("readings", &lane_line(readings, witness), lane_tone(readings));
    page.toned("alerts", &lane_line(alerts, witness), lane_tone(alerts));
    if witness == Witness::Agent {
        tell_agent(&mut page, snapshot);
    }
    page.text
}

/// What only an agent knows.
fn tell_agent(page: &mut Page, snapshot: &Snapshot) {
    if let Some(declined) = &snapshot.declined {
        let tone = if declined.records > 0 { Tone::Warn } else { Tone::Plain };
        page.toned("declined", &declined_line(declined), tone);
    }
    if snapshot.agent.sources > 0 {
        let is_failing = snapshot.agent.sources_failing > 0;
        let tone = if is_failing { Tone::Warn } else { Tone::Plain };
        page.toned("sources", &sources_line(&snapshot.agent), tone);
    }
    let is_failing = snapshot.cloud.failures > 0;
    page.toned("cloud", &cloud_line(&snapshot.cloud), Tone::bad_if(is_failing, Tone::Plain));
    let names: Vec<&str> = snapshot.conditions.iter().map(AsRef::as_ref).collect();
    let conditions = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    page.toned("conditions", &conditions, Tone::bad_if(!names.is_empty(), Tone::Good));
}

fn site_line(snapshot: &Snapshot) -> String {
    match (snapshot.agent.site.as_str(), snapshot.site_id.as_str()) {
        (_, "") => "not known".to_owned(),
        ("", site_id) => site_id.to_owned(),
        (name, site_id) => format!("{name} ({site_id})"),
    }
}

/// Only an agent that sees it go on calls it good.
fn master_tone(snapshot: &Snapshot, witness: Witness) -> Tone {
    let Some(master) = &snapshot.master else { return Tone::Bad };
    let silent_ms = (HEARTBEATS * u64::from(master.heartbeat_ms)).max(SILENT_MS);
    let is_silent = master.silent_ms > silent_ms;
    match (witness, master.state.as_str()) {
        (Witness::Share, _) => Tone::Plain,
        (Witness::Agent, "active") if is_silent => Tone::Bad,
        (Witness::Agent, "active") if snapshot.share.stalled_ms == 0 => Tone::Good,
        (Witness::Agent, _) => Tone::Warn,
    }
}

fn lane_tone(lane: &Lane) -> Tone {
    if lane.dropped > 0 || lane.damaged > 0 { Tone::Warn } else { Tone::Plain }
}

fn term_line(place: usize, term: &Term) -> String {
    let Term { term, node, reason, started_wall_ms, ended_wall_ms, gap_ms } = term;
    let mut parts = vec![format!("{term} {node}, from {}", seconds(*started_wall_ms))];
    if *ended_wall_ms > 0 {
        parts.push(format!("until {} ({reason})", seconds(*ended_wall_ms)));
    } else if place > 0 {
        parts.push("then silent".to_owned());
    }
    if let Some(gap_ms) = gap_ms {
        parts.push(format!("nobody before for {}", span(*gap_ms)));
    }
    parts.join(", ")
}

fn sources_line(agent: &Agent) -> String {
    let Agent { sources, sources_failing, sources_dropped, .. } = agent;
    let mut parts = vec![match sources_failing {
        0 => format!("{sources} read"),
        failing => format!("{failing} of {sources} cannot be read: see edge-agent sources"),
    }];
    if *sources_dropped > 0 {
        parts.push(format!("{sources_dropped} values dropped: there was no room"));
    }
    parts.join("; ")
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
pub(in super::super) fn ago(ms: u64) -> String {
    if ms < 1_000 { "just now".to_owned() } else { format!("{} ago", span(ms)) }
}

/// A moment, to the second.
pub(in super::super) fn seconds(wall_ms: u64) -> String {
    let text = Utc(wall_ms).to_string();
    let whole = text.split_once('.').map_or(text.as_str(), |(whole, _)| whole);
    format!("{whole}Z")
}

/// Lines of a label and a text, none longer than a terminal is wide.
struct Page {
    text: String,
    is_coloured: bool,
}

impl Page {
    fn line(&mut self, label: &str, text: &str) {
        self.toned(label, text, Tone::Plain);
    }

    fn toned(&mut self, label: &str, text: &str, tone: Tone) {
        let printable = |letter: char| if letter.is_control() { '?' } else { letter };
        let text: String = text.chars().map(printable).collect();
        let (begin, end) = match tone {
            Tone::Good | Tone::Warn | Tone::Bad if self.is_coloured => (tone.colour(), "\x1b[0m"),
            Tone::Plain | Tone::Good | Tone::Warn | Tone::Bad => ("", ""),
        };
        let mut label = label;
        let mut rest = text.as_str();
        loop {
            let (line, more) = split(rest, COLUMNS - INDENT);
            let line = format!("{label:<INDENT$}{begin}{}", line.trim_end());
            self.text.push_str(line.trim_end());
            self.text.push_str(end);
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
        "conditions":["cloud-unreachable"],"agent":{"site":"plant-7","sources":12,
        "sources_failing":2,"terms":[{"term":8,"node":"gw-1","started_wall_ms":1600000000000,
        "gap_ms":400},{"term":7,"node":"gateway-2","reason":"switchover",
        "started_wall_ms":1599990000000,"ended_wall_ms":1599999999000,"gap_ms":null}]}}"#;

    #[test]
    fn a_master_is_shown_at_a_glance() {
        let expected = "\
node        gw-1, master of term 8, version 0.1.0
site        plant-7 (000102030405060708090a0b0c0d0e0f)
share       nfs4, lock held here
master      gw-1, term 8, active, since 2020-09-13T12:26:40Z, heard of just now
            http://10.0.0.1:8480
lease       4.3 s left
terms       8 gw-1, from 2020-09-13T12:26:40Z, nobody before for 0.4 s
            7 gateway-2, from 2020-09-13T09:40:00Z, until 2020-09-13T12:26:39Z
            (switchover)
nodes       gw-1       master     this node    0.1.0
            gateway-2  standby    3.0 s ago    0.1.0  clock 45 s behind
            gw-4       standby    not seen       since this agent started
            gw-3       stopped    2 h ago      0.1.0  not live
readings    4 waiting, older ones too; 99 journalled, 95 sent in this term
alerts      none waiting; 1 journalled, 1 sent in this term; 2 damaged stretches
            set aside
declined    512 records in 65000 bytes; replay: 300 sent, 2 refused again
sources     2 of 12 cannot be read: see edge-agent sources
cloud       next try in 12 s; failed 3 times: cannot connect to 10.1.1.1:443:
            connection refused
conditions  cloud-unreachable
";
        assert_eq!(page(&snapshot(MASTER), Witness::Agent, false), expected);
    }

    #[test]
    fn what_stands_on_the_share_is_shown_without_ages() {
        let expected = "\
node        no agent runs here; this is what stands on the share
site        plant-7 (000102030405060708090a0b0c0d0e0f)
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
        assert_eq!(page(&snapshot(MASTER), Witness::Share, false), expected);
    }

    #[test]
    fn a_node_without_a_share_says_why() {
        let json = r#"{"node":"gw-2","version":"0.1.0","role":"standby","share":{"open":false,
            "fault":"share: /mnt/a is not a data directory of site 00: an empty folder; mount it"},
            "cloud":{"state":"off"},"conditions":["share-missing"]}"#;
        let text = page(&snapshot(json), Witness::Agent, false);
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
        let text = page(&snapshot(json), Witness::Agent, false);
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
                let page = page(&snapshot, witness, false);
                let widest = page.lines().map(|line| line.chars().count()).max();
                assert!(widest <= Some(COLUMNS), "{page}");
            }
        }
    }

    #[test]
    fn colour_is_no_part_of_the_text() {
        let snapshot = snapshot(MASTER);
        let plain = page(&snapshot, Witness::Agent, false);
        let coloured = page(&snapshot, Witness::Agent, true);
        assert!(!plain.contains('\x1b') && coloured.contains("\x1b[31mcloud-unreachable\x1b[0m\n"));
        let mut text = coloured;
        for code in ["\x1b[0m", "\x1b[31m", "\x1b[32m", "\x1b[33m"] {
            assert!(text.contains(code));
            text = text.replace(code, "");
        }
        assert_eq!(text, plain);
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
