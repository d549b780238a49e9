//! `edge-agent check`, as far as the share goes: what it is, and whether it does what we need.
//!
//! # Invariants
//!
//! - P1: a running site is not disturbed: what is tried is tried on a scratch file of our own,
//!   whose name begins with `.edge.` and which is deleted at once.
//! - P2: every finding that is not a pass says what mends it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use heapless::String;
use serde::{Deserialize, Serialize};

use super::directory::{self, Root};
use super::fault::{cannot, cut, foreign};
use super::{file, judge, load, mount, nodes};
use crate::edge::config::Files;
use crate::edge::keeper::Place;
use crate::engine::ident::{Role, ShareClass, SiteId};
use crate::engine::share::{ShareError, ShareFault};
use crate::limits::{PROBE_SPACE_MIN, PROBE_SYNC_MS_MAX, PROBE_SYNCS, SLOT_BYTES};
use crate::sys::lock::{TryLock, try_lock};
use crate::sys::process::user_id;
use crate::sys::random::random_u64;
use crate::sys::space::free_bytes;

/// How it went; the worst is the greatest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Level {
    /// As it should be.
    Pass,
    /// It works, but.
    Warn,
    /// It may pass by itself, or when something is reachable again.
    FailForNow,
    /// Something has to be changed first.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Probe {
    /// How it went.
    pub level: Level,
    /// What was found, and what mends it.
    pub text: String<400>,
}

impl Probe {
    /// A finding; a text that is too long is cut.
    pub fn new(level: Level, text: &str) -> Self {
        Self { level, text: cut(text) }
    }

    pub(super) fn of(error: &ShareError) -> Self {
        let level = match error.fault {
            ShareFault::Missing | ShareFault::Newer | ShareFault::Denied | ShareFault::ReadOnly => {
                Level::Fail
            }
            ShareFault::NoSpace | ShareFault::Stale | ShareFault::Other => Level::FailForNow,
        };
        Self::new(level, &error.text)
    }
}

/// What is needed of the share to ask the cloud.
pub struct Probed {
    /// The site; that of no site if there is no data directory.
    pub site: SiteId,
    /// The configuration, with its files.
    pub files: Files,
}

/// Looks at the share and tells what it finds; gives the configuration, if it can be read.
pub fn probe(place: &Place, mut tell: impl FnMut(Probe)) -> Option<Probed> {
    let root = match directory::find(&place.data_dir) {
        Ok((root, _)) => {
            let site = match place.expected_site.filter(|expected| *expected != root.site) {
                Some(expected) => Probe::of(&foreign(&root.path, root.site, expected)),
                None => pass(&format!(
                    "share: {} is the data directory of site {}",
                    root.path.display(),
                    root.site
                )),
            };
            tell(site);
            Some(root)
        }
        Err(error) => {
            tell(Probe::of(&error));
            None
        }
    };
    if let Some(root) = &root {
        probe_mount(root, place, &mut tell);
        for found in [probe_owner(root), probe_space(root)] {
            tell(found);
        }
        probe_scratch(root, &mut tell);
        probe_nodes(root, place, &mut tell);
    }
    match load::load(place, root.as_ref()) {
        Ok(files) => Some(Probed { site: root.map(|root| root.site).unwrap_or_default(), files }),
        // said already
        Err(_) if root.is_none() => None,
        Err(error) => {
            tell(Probe::of(&error));
            None
        }
    }
}

fn pass(text: &str) -> Probe {
    Probe::new(Level::Pass, text)
}

fn warn(text: &str) -> Probe {
    Probe::new(Level::Warn, text)
}

fn fail(text: &str) -> Probe {
    Probe::new(Level::Fail, text)
}

fn probe_mount(root: &Root, place: &Place, tell: &mut impl FnMut(Probe)) {
    match mount::of_path(&root.path) {
        Ok(mount) => {
            tell(judge_mount(&mount, place.require_network));
            for remark in judge::remarks(&mount, judge::Facts::of(&mount)) {
                tell(warn(&format!("mount: {remark}")));
            }
        }
        Err(error) => {
            tell(warn(&format!("mount: not known ({error}): mount /proc; locks are doubted")));
        }
    }
}

fn judge_mount(mount: &mount::Mount, require_network: bool) -> Probe {
    let class = mount.class();
    let what = format!("mount: {} on {}, class {}", mount.kind, mount.point, class.name());
    if let Some(why) = judge::unsafe_because(mount) {
        return fail(&format!("{what}: {why}"));
    }
    match class {
        ShareClass::Local if require_network => {
            fail(&format!("{what}: of this host alone: mount the network share there"))
        }
        ShareClass::Local | ShareClass::Nfs4 => pass(&what),
        ShareClass::Doubtful => warn(&format!(
            "{what}: a granted lock is believed only after three heartbeats of silence; \
             NFS version 4 is quicker"
        )),
    }
}

fn probe_owner(root: &Root) -> Probe {
    let us = user_id();
    match root.path.metadata() {
        Ok(seen) if seen.uid() == us => pass(&format!("owner: uid {us}, as we are")),
        Ok(seen) => {
            let (owner, path) = (seen.uid(), root.path.display());
            warn(&format!(
                "owner: {path} belongs to uid {owner}, we are uid {us}: check as the agent's user, \
                 or chown -R it to that"
            ))
        }
        Err(error) => Probe::of(&cannot("look at", &root.path, &error)),
    }
}

fn probe_space(root: &Root) -> Probe {
    match file::open(&root.path).and_then(|folder| free_bytes(folder.as_fd())) {
        Ok(free) if free < PROBE_SPACE_MIN => Probe::new(
            Level::FailForNow,
            &format!("space: {} MiB free: free space or raise the quota", free >> 20),
        ),
        Ok(free) => pass(&format!("space: {} MiB free", free >> 20)),
        Err(error) => warn(&format!("space: not known: {error}")),
    }
}

/// P1: exclusive creation, locks and syncs.
fn probe_scratch(root: &Root, tell: &mut impl FnMut(Probe)) {
    let path = match random_u64() {
        Ok(random) => root.path.join(format!(".edge.check.{random:016x}")),
        Err(error) => return tell(Probe::of(&cannot("make", &root.path, &error))),
    };
    let tried = match root.create_new(&path) {
        Ok(first) => {
            let tried = try_scratch(root, &first, &path, tell);
            let deleted = file::delete(&path);
            tried.and(deleted)
        }
        Err(error) => Err(cannot("create", &path, &error)),
    };
    if let Err(error) = tried {
        tell(Probe::of(&error));
    }
}

fn try_scratch(
    root: &Root,
    first: &File,
    path: &Path,
    tell: &mut impl FnMut(Probe),
) -> Result<(), ShareError> {
    tell(match root.create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            pass("create: a file is created exclusively")
        }
        Ok(_) => fail("create: a file was created twice: this file system cannot be used"),
        Err(error) => Probe::of(&cannot("create", path, &error)),
    });
    let second = root.open_writable(path).map_err(|error| cannot("open", path, &error))?;
    let lock =
        |file: &File| try_lock(file.as_fd(), 0).map_err(|error| cannot("lock", path, &error));
    tell(match (lock(first), lock(&second)) {
        (Ok(TryLock::Held), Ok(TryLock::Busy)) => pass("lock: granted once"),
        (Ok(TryLock::Held), Ok(TryLock::Held)) => {
            fail("lock: granted twice: mount with locks (no nolock, no nobrl)")
        }
        (Ok(TryLock::Busy), Ok(TryLock::Held | TryLock::Busy)) => {
            fail("lock: refused on a file that nobody else knows: this share gives no locks")
        }
        (Err(error), _) | (_, Err(error)) => {
            fail(&format!("lock: {}: mount a share that gives locks", error.text))
        }
    });
    let mut times_ms = [0; PROBE_SYNCS];
    for time_ms in &mut times_ms {
        let begin = Instant::now();
        file::write_at(first, &[0x5a; SLOT_BYTES], 0)
            .and_then(|()| file::sync(first))
            .map_err(|error| cannot("sync", path, &error))?;
        *time_ms = begin.elapsed().as_millis();
    }
    times_ms.sort_unstable();
    let (median_ms, worst_ms) = (times_ms[PROBE_SYNCS / 2], times_ms[PROBE_SYNCS - 1]);
    let text = format!("sync: a page in {median_ms} ms, {worst_ms} ms at worst");
    tell(if worst_ms > u128::from(PROBE_SYNC_MS_MAX) {
        warn(&format!("{text}: raise ha.heartbeat_ms and ha.fence_ms, or find what slows it"))
    } else {
        pass(&text)
    });
    Ok(())
}

/// What the other nodes say of themselves, where it differs from us.
fn probe_nodes(root: &Root, place: &Place, tell: &mut impl FnMut(Probe)) {
    if let Some(namesake) = probe_name(root, place) {
        tell(namesake);
    }
    let known = match nodes::list(root, Some(&place.node), &[]) {
        Ok(listed) => listed.names,
        Err(error) => return tell(Probe::of(&error)),
    };
    let mut names = Vec::new();
    for node in &known {
        match nodes::read(root, node) {
            Ok(Some(page)) => {
                names.push(node.as_str().to_owned());
                for differs in differing(&page, &place.data_dir) {
                    tell(warn(&format!("nodes: {node} {differs}")));
                }
            }
            Ok(None) => {}
            Err(error) => tell(Probe::of(&error)),
        }
    }
    tell(match names.len() {
        0 => pass("nodes: no other node is known"),
        count => pass(&format!("nodes: {count} other known: {}", names.join(", "))),
    });
}

/// Another machine under our name: it runs, or was never said to stop.
fn probe_name(root: &Root, place: &Place) -> Option<Probe> {
    let page = match nodes::read(root, &place.node) {
        Ok(page) => page.filter(|page| page.record.role != Role::Stopped)?,
        Err(error) => return Some(Probe::of(&error)),
    };
    let found = nodes::HostMark::of_this_host(&place.data_dir, &place.run_dir).judge(&page);
    let (name, host) = (&place.node, found.host.as_str());
    (!found.same_machine).then(|| {
        warn(&format!(
            "nodes: {name} is the name of a node on host {host}, too: if that lives, give this one \
             another (--node, EDGE_NODE)"
        ))
    })
}

/// What a node's page says that is not as it is here.
fn differing(page: &nodes::NodePage, data_dir: &Path) -> Vec<std::string::String> {
    let mut differs = Vec::new();
    let ours = env!("CARGO_PKG_VERSION");
    let version = page.record.version.as_str();
    if version != ours {
        differs.push(format!("has version {version}, this node {ours}: upgrade the older one"));
    }
    let path = page.host.path.as_str();
    let here = nodes::HostMark::of_this_host(data_dir, Path::new(""));
    if path != here.path.as_str() {
        differs.push(format!(
            "finds the data directory at {path}, this node at {}: right if both are one",
            here.path
        ));
    }
    let (theirs, program) = (page.host.program.as_str(), here.program.as_str());
    if !theirs.is_empty() && !program.is_empty() && theirs != program {
        differs.push(format!(
            "runs {theirs}, this is {program}: nodes that are installed alike are upgraded alike"
        ));
    }
    differs
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, node};
    use super::*;
    use crate::engine::share::{NodeRecord, NodesOrder, NodesRead};

    fn place(folder: &Folder) -> Place {
        Place {
            data_dir: folder.path.clone(),
            config: None,
            expected_site: None,
            may_create: false,
            alone: false,
            require_network: false,
            node: node("gw-1"),
            run_dir: folder.path.clone(),
        }
    }

    fn probes(place: &Place) -> (Vec<Probe>, Option<Probed>) {
        let mut found = Vec::new();
        let probed = probe(place, |one| found.push(one));
        (found, probed)
    }

    #[test]
    fn a_good_share_passes_and_nothing_is_left_on_it() {
        let folder = Folder::new();
        let root = folder.root();
        let names = || std::fs::read_dir(&folder.path).expect("a folder").count();
        let before = names();
        let (found, probed) = probes(&place(&folder));
        let begins: Vec<_> =
            found.iter().map(|one| one.text.split(':').next().unwrap_or_default()).collect();
        let expected = ["share", "mount", "owner", "space", "create", "lock", "sync", "nodes"];
        assert_eq!(begins, expected, "{found:?}");
        let bad = |one: &&Probe| matches!(one.level, Level::Fail | Level::FailForNow);
        assert_eq!(found.iter().find(bad), None);
        assert!(probed.is_some_and(|it| it.site == root.site && it.files.config.is_none()));
        assert_eq!(names(), before, "P1");
        assert!(root.terms().exists());
    }

    fn record(role: Role) -> NodeRecord {
        NodeRecord {
            node: node("gw-1"),
            nonce: 1,
            beat: 1,
            role,
            class: ShareClass::Local,
            version: String::try_from(env!("CARGO_PKG_VERSION")).expect("short"),
            advertise: String::new(),
            wish: None,
            wall_ms: 0,
        }
    }

    #[test]
    fn a_node_of_our_name_on_another_machine_is_told() {
        let folder = Folder::new();
        let root = folder.root();
        let here = nodes::HostMark::of_this_host(&root.path, &root.path);
        let there = nodes::HostMark {
            machine: String::try_from("another").expect("short"),
            name: String::try_from("gw-b").expect("short"),
            ..here.clone()
        };
        for (host, role, is_told) in [
            (&here, Role::Standby, false),
            (&there, Role::Standby, true),
            (&there, Role::Stopped, false),
        ] {
            let write = Some(record(role));
            let order = NodesOrder { own_nonce: None, write, read: NodesRead::Nothing };
            let own = node("gw-1");
            nodes::perform(&root, &own, host, &order, &mut nodes::Known::new()).expect("written");
            let told = probe_name(&root, &place(&folder));
            assert_eq!(told.is_some(), is_told, "{told:?}");
            assert!(told.is_none_or(|told| told.text.contains("gw-b")));
        }
    }

    #[test]
    fn whatever_another_node_has_otherwise_is_told() {
        let folder = Folder::new();
        let root = folder.root();
        let mut page = nodes::NodePage {
            record: record(Role::Standby),
            host: nodes::HostMark::of_this_host(&root.path, &root.path),
        };
        assert!(differing(&page, &root.path).is_empty());
        page.record.version = String::try_from("0.0.1").expect("short");
        page.host.path = String::try_from("/mnt/other").expect("short");
        page.host.program = String::try_from("/opt/edge-agent").expect("short");
        let differs = differing(&page, &root.path);
        assert_eq!(differs.len(), 3, "{differs:?}");
        assert!(differs[0].contains("0.0.1") && differs[1].contains("/mnt/other"));
        assert!(differs[2].contains("/opt/edge-agent"));
        page.host.program = String::new();
        assert_eq!(differing(&page, &root.path).len(), 2, "an older version does not say");
    }

    #[test]
    fn a_missing_and_a_foreign_directory_fail_for_good() {
        let folder = Folder::new();
        let (found, probed) = probes(&place(&folder));
        assert_eq!((found.len(), found[0].level), (1, Level::Fail), "{found:?}");
        assert!(probed.is_none());
        folder.root();
        let expected_site = Some(SiteId([7; 16]));
        let (found, _) = probes(&Place { expected_site, ..place(&folder) });
        assert!(found[0].level == Level::Fail && found[0].text.contains("expected"), "{found:?}");
    }

    #[test]
    fn mounts_are_judged() {
        let mount = |kind: &str, options: &str| mount::Mount {
            kind: kind.into(),
            origin: "8:1".into(),
            root: "/".into(),
            point: "/mnt/edge".into(),
            options: options.into(),
        };
        for (kind, options, network, level) in [
            ("ext4", "rw,", false, Level::Pass),
            ("ext4", "rw,", true, Level::Fail),
            ("nfs4", "rw,vers=4.2,", true, Level::Pass),
            ("cifs", "rw,", true, Level::Warn),
            ("cifs", "rw,nobrl,", false, Level::Fail),
            ("nfs", "rw,nolock,", false, Level::Fail),
        ] {
            let found = judge_mount(&mount(kind, options), network);
            assert_eq!(found.level, level, "{found:?}");
        }
    }
}
