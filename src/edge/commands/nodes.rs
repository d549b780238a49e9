//! `nodes`: who belongs to the site; `nodes forget`: who does not any more.
//!
//! The agent of this host knows who lives; the nodes' pages on the share know the rest. Each is
//! asked, and what one of them cannot tell is left out.

use std::path::Path;
use std::time::Duration;

use super::apart::{Failure, apart};
use super::client::{self, ask};
use super::snapshot::Snapshot;
use super::status::ago;
use super::{exit, fail, print};
use crate::edge::options::Options;
use crate::edge::share::{self, Forgotten, NodePage, look};
use crate::engine::ident::NodeName;
use crate::limits::{NODE_REWRITTEN_MS, NODES_MAX, REPLY_BYTES_MAX};

const HEADS: [&str; COLUMNS] =
    ["node", "role", "live", "last seen", "version", "class", "address", "path"];
const COLUMNS: usize = 8;

type Pages = heapless::Vec<NodePage, NODES_MAX>;
type Row = [String; COLUMNS];

pub(super) fn list(options: &Options) -> i32 {
    let snapshot = match agent(options) {
        Ok(snapshot) => snapshot,
        Err(code) => return code,
    };
    let pages = pages(&options.data_dir);
    match (snapshot, pages) {
        (None, Err(failure)) => {
            let (run_dir, data_dir) = (options.run_dir.display(), options.data_dir.display());
            let why = format!("no agent runs at {run_dir}, and {data_dir}: {failure}");
            fail(exit::UNAVAILABLE, &why)
        }
        (snapshot, pages) => print(&table(&rows(snapshot.as_ref(), pages.ok().as_deref()))),
    }
}

pub(super) fn forget(options: &Options, node: &NodeName) -> i32 {
    let snapshot = match agent(options) {
        Ok(snapshot) => snapshot,
        Err(code) => return code,
    };
    let known = snapshot
        .as_ref()
        .and_then(|seen| seen.nodes.iter().find(|known| known.node == node.as_str()));
    let live = || fail(exit::TEMPORARY, &format!("{node} is live: stop it first"));
    if known.is_some_and(|known| known.live) {
        return live();
    }
    // an agent that saw it live and fall silent knows; else its page is watched for a change
    let was_seen = known.is_some_and(|known| !known.unseen);
    let watch = Duration::from_millis(if was_seen { 0 } else { NODE_REWRITTEN_MS.into() });
    let forgotten = apart("edge-forget", || {
        let forgotten = share::forget(&options.data_dir, node, watch);
        Ok(vec![match forgotten.map_err(|error| error.to_string())? {
            Forgotten::Unknown => 0,
            Forgotten::Live => 1,
            Forgotten::Gone => 2,
        }])
    });
    match forgotten.as_deref() {
        Ok([0]) => {
            let why = format!("no node {node} is known; edge-agent nodes lists them");
            fail(exit::TEMPORARY, &why)
        }
        Ok([1]) => live(),
        Ok(_) => print(&format!("{node} is forgotten\n")),
        Err(failure) => {
            fail(exit::TEMPORARY, &format!("{}: {failure}", options.data_dir.display()))
        }
    }
}

/// What the agent of this host says; `None`: none runs.
fn agent(options: &Options) -> Result<Option<Snapshot>, i32> {
    let failed = |code, why: &str| Err(fail(code, &format!("the agent of this host: {why}")));
    match ask(&options.run_dir, "GET /status.json", "") {
        Ok(reply) => match Snapshot::parse(&reply.body).filter(|_| reply.status == 200) {
            Some(snapshot) => Ok(Some(snapshot)),
            None => failed(exit::TEMPORARY, "its answer is not a snapshot"),
        },
        Err(client::Failure::NoAgent) => Ok(None),
        Err(failure @ client::Failure::Silent) => failed(exit::TEMPORARY, &failure.to_string()),
        Err(failure @ client::Failure::Broken(_)) => {
            failed(exit::UNAVAILABLE, &failure.to_string())
        }
    }
}

/// The nodes' own words, read by a child.
fn pages(data_dir: &Path) -> Result<Pages, Failure> {
    let bytes = apart("edge-nodes", || {
        let looked = look(data_dir).map_err(|error| error.to_string())?;
        let pages: Pages = looked.nodes.into_iter().take(NODES_MAX).collect();
        let mut bytes = vec![0; REPLY_BYTES_MAX];
        let length =
            postcard::to_slice(&pages, &mut bytes).map_err(|error| error.to_string())?.len();
        bytes.truncate(length);
        Ok(bytes)
    })?;
    postcard::from_bytes(&bytes).map_err(|error| Failure::Fault(error.to_string()))
}

/// A line for each node that either knows, but for those that were forgotten: an agent knows
/// them until it lists the nodes again.
fn rows(snapshot: Option<&Snapshot>, read: Option<&[NodePage]>) -> Vec<Row> {
    let mut rows = Vec::new();
    let pages = read.unwrap_or_default();
    let page_of = |name: &str| pages.iter().find(|page| page.record.node.as_str() == name);
    let of_page = |page: Option<&NodePage>| match page {
        Some(page) => [page.record.class.name().to_owned(), page.host.path.as_str().to_owned()],
        None => [String::new(), String::new()],
    };
    let known = snapshot.map(|snapshot| snapshot.nodes.as_slice()).unwrap_or_default();
    for node in known {
        let is_own = snapshot.is_some_and(|snapshot| snapshot.node == node.node);
        if read.is_some() && page_of(&node.node).is_none() && !node.live {
            continue;
        }
        let seen = match (is_own, node.unseen) {
            (true, _) => "this node".to_owned(),
            (false, true) => "not since this agent started".to_owned(),
            (false, false) => ago(node.silent_ms),
        };
        let live = if node.live { "yes" } else { "no" };
        let [class, path] = of_page(page_of(&node.node));
        let text = |text: &str| text.to_owned();
        let (name, role) = (text(&node.node), text(&node.role));
        let (version, address) = (text(&node.version), text(&node.advertise));
        rows.push([name, role, live.to_owned(), seen, version, class, address, path]);
    }
    for page in pages {
        let record = &page.record;
        if known.iter().any(|node| node.node == record.node.as_str()) {
            continue;
        }
        let [class, path] = of_page(Some(page));
        rows.push([
            record.node.to_string(),
            record.role.name().to_owned(),
            String::new(),
            String::new(),
            record.version.as_str().to_owned(),
            class,
            record.advertise.as_str().to_owned(),
            path,
        ]);
    }
    rows
}

/// Aligned columns under their heads; what is not known is a dash.
fn table(rows: &[Row]) -> String {
    let shown = |cell: &str| {
        let printable = |letter: char| if letter.is_control() { '?' } else { letter };
        if cell.is_empty() { "-".to_owned() } else { cell.chars().map(printable).collect() }
    };
    let mut lines = vec![HEADS.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| row.each_ref().map(|cell| shown(cell))));
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::share::HostMark;
    use crate::engine::ident::{Role, ShareClass};
    use crate::engine::share::NodeRecord;

    fn page(name: &str) -> NodePage {
        let record = NodeRecord {
            node: NodeName::parse(name).expect("a valid name"),
            nonce: 1,
            beat: 2,
            role: Role::Standby,
            class: ShareClass::Nfs4,
            version: "0.1.0".try_into().expect("short"),
            advertise: heapless::String::new(),
            wish: None,
            wall_ms: 0,
        };
        let host = HostMark { path: "/mnt/e".try_into().expect("short"), ..HostMark::default() };
        NodePage { record, host }
    }

    const SNAPSHOT: &[u8] = br#"{"node":"gw-1","nodes":[
        {"node":"gw-1","role":"master","live":true,"version":"0.1.0","advertise":"http://gw-1"},
        {"node":"gw-2","role":"standby","live":false,"silent_ms":42000,"version":"0.0.9"}]}"#;

    #[test]
    fn agent_and_share_complete_each_other() {
        let snapshot = Snapshot::parse(SNAPSHOT).expect("a snapshot");
        let expected = "\
node   role     live  last seen  version  class  address      path
gw-1   master   yes   this node  0.1.0    -      http://gw-1  -
gw-2   standby  no    42 s ago   0.0.9    nfs4   -            /mnt/e
gw-10  standby  -     -          0.1.0    nfs4   -            /mnt/e
";
        assert_eq!(table(&rows(Some(&snapshot), Some(&[page("gw-10"), page("gw-2")]))), expected);
    }

    #[test]
    fn a_node_that_was_only_found_is_not_called_seen() {
        let json = br#"{"node":"gw-1","nodes":[{"node":"gw-2","unseen":true,"silent_ms":5}]}"#;
        let rows = rows(Snapshot::parse(json).as_ref(), None);
        assert_eq!(rows[0][3], "not since this agent started");
    }

    #[test]
    fn a_forgotten_node_is_not_shown_though_the_agent_remembers_it() {
        let snapshot = Snapshot::parse(SNAPSHOT).expect("a snapshot");
        let names = |read| rows(Some(&snapshot), read).into_iter().map(|[name, ..]| name);
        assert!(names(Some(&[])).eq(["gw-1"]), "it is live");
        assert!(names(None).eq(["gw-1", "gw-2"]), "the share does not answer");
    }

    #[test]
    fn without_an_agent_the_share_alone_tells() {
        let expected = "\
node  role     live  last seen  version  class  address  path
gw-2  standby  -     -          0.1.0    nfs4   -        /mnt/e
";
        assert_eq!(table(&rows(None, Some(&[page("gw-2")]))), expected);
        assert_eq!(table(&[]).lines().count(), 1);
    }

    #[test]
    fn pages_come_from_a_child() {
        let folder = std::env::temp_dir().join(format!("edge-nodes-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        assert!(matches!(pages(&folder), Err(Failure::Fault(_))));
        share::init(&folder, false, false).expect("room");
        assert!(pages(&folder).expect("a data directory").is_empty());
        std::fs::remove_dir_all(&folder).expect("ours");
    }
}
