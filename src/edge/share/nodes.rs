//! `nodes/<node>`: each node's word about itself, rewritten in place.
//!
//! # Format
//!
//! | bytes of the page of 4096 | what |
//! |---|---|
//! | 0..8 | magic `EDGENODE` |
//! | 8..12 | format version |
//! | 12..16 | length of the text |
//! | 16..20 | CRC-32C of bytes 0..16 and the text |
//! | 20.. | the text: JSON, [`NodePage`]; a member that we do not know is passed over |
//!
//! # Invariants
//!
//! A member that is missing has its default: pages of other versions are read as far as they say
//! something. The format version grows only when that would not do any more.
//!
//! - N1: a node writes its own page alone, and it is read through a fresh open.
//! - N2: a page that is damaged, half written or of another name is as if it was not there, and
//!   takes up nobody's room.
//! - N3: what fails keeps nothing else from being done: a page that cannot be read is left out,
//!   unless none of the others' can; a folder that cannot be listed has the pages known before.

use std::env;
use std::fs;
use std::io;
use std::path::Path;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use super::directory::{self, Root};
use super::fault::{cannot, fault_of};
use super::{file, mount};
use crate::edge::machine::machine_id;
use crate::engine::codec::{CRC_32C, Reader, Writer};
use crate::engine::ident::NodeName;
use crate::engine::naming::Namesake;
use crate::engine::share::{
    NodeRecord, NodesOrder, NodesRead, NodesSeen, OwnRecord, ShareError, ShareFault,
};
use crate::engine::slot::FORMAT;
use crate::limits::{HOST_NAME_MAX, NODES_MAX, NODES_TRIED_MAX, PATH_MAX};

const MAGIC: [u8; 8] = *b"EDGENODE";
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const PAGE_BYTES: usize = 4_096;
const HEAD_BYTES: usize = 20;

/// What stands in a node's page.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NodePage {
    /// Its word about itself.
    pub record: NodeRecord,
    /// Its host, and where it finds the data directory.
    pub host: HostMark,
}

/// What tells hosts apart, and agents on one host.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostMark {
    /// The host's name, for people.
    pub name: String<HOST_NAME_MAX>,
    /// What stays the same on it; empty: it has nothing like that.
    pub machine: String<36>,
    /// `/proc/sys/kernel/random/boot_id`; empty: unknown.
    pub boot: String<36>,
    /// The path of the data directory, as far as it fits.
    pub path: String<PATH_MAX>,
    /// The place of the run directory, by [`mount::place_of`], its end as far as that fits;
    /// empty: unknown.
    pub run: String<PATH_MAX>,
    /// Its program's file; empty: unknown.
    pub program: String<PATH_MAX>,
    /// The newest format of the data directory that its program reads and writes. 0, from before
    /// this was said: 1. A program that knows a newer one than a live node writes the older.
    pub format: u32,
}

impl HostMark {
    /// Reads this host's marks.
    pub fn of_this_host(data_dir: &Path, run_dir: &Path) -> Self {
        let run = mount::place_of(run_dir).unwrap_or_default();
        let mut end = run.len().saturating_sub(PATH_MAX);
        while !run.is_char_boundary(end) {
            end += 1;
        }
        Self {
            name: fitting(fs::read_to_string(HOST_NAME).unwrap_or_default().trim()),
            machine: fitting(&machine_id()),
            boot: fitting(fs::read_to_string(BOOT_ID).unwrap_or_default().trim()),
            path: fitting(&data_dir.to_string_lossy()),
            run: fitting(&run[end..]),
            program: fitting(&env::current_exe().unwrap_or_default().to_string_lossy()),
            format: FORMAT,
        }
    }

    /// What our own page says, that stands under a foreign nonce.
    pub(super) fn judge(&self, page: &NodePage) -> Namesake {
        let is_same = |ours: &str, theirs: &str| !ours.is_empty() && ours == theirs;
        Namesake {
            nonce: page.record.nonce,
            beat: page.record.beat,
            role: page.record.role,
            same_machine: is_same(&self.machine, &page.host.machine),
            same_boot: is_same(&self.boot, &page.host.boot),
            same_run_dir: is_same(&self.run, &page.host.run),
            host: page.host.name.clone(),
        }
    }
}

/// The names that the last listing found, without our own.
pub(super) type Known = Vec<NodeName, NODES_MAX>;

/// The nodes that have a page.
pub(super) struct Listed {
    /// In no order.
    pub(super) names: Known,
    /// There are more than fit.
    pub(super) crowded: bool,
}

/// Looks at our own page and writes it, as far as that is due, then reads the others' (N3).
///
/// # Errors
///
/// Something failed, and nothing came of the rest.
pub(super) fn perform(
    root: &Root,
    own: &NodeName,
    host: &HostMark,
    order: &NodesOrder,
    known: &mut Known,
) -> Result<NodesSeen, ShareError> {
    let mut seen = NodesSeen::default();
    let own_failed = match touch_own(root, own, host, order) {
        Ok(shown) => {
            seen.own = shown;
            None
        }
        Err(error) => Some(error),
    };
    let list_failed = match order.read {
        NodesRead::Nothing | NodesRead::Known => None,
        NodesRead::Listed => list(root, Some(own), known)
            .map(|listed| {
                seen.crowded = listed.crowded;
                seen.listed = Some(listed.names.clone());
                *known = listed.names;
            })
            .err(),
    };
    let read_failed = match order.read {
        NodesRead::Nothing => None,
        NodesRead::Known | NodesRead::Listed => read_others(root, known, &mut seen),
    };
    // Ours last: it is not looked at with each order, and the text must not change each time.
    seen.failed = list_failed.or(read_failed).or(own_failed);
    let is_empty =
        seen.own == OwnRecord::Unread && seen.records.is_empty() && seen.listed.is_none();
    match seen.failed.take() {
        Some(error) if is_empty => Err(error),
        failed => Ok(NodesSeen { failed, ..seen }),
    }
}

/// Looks at our own page, then writes it, whatever it showed.
fn touch_own(
    root: &Root,
    own: &NodeName,
    host: &HostMark,
    order: &NodesOrder,
) -> Result<OwnRecord, ShareError> {
    let seen = order.own_nonce.map(|nonce| {
        let page = read(root, own)?;
        if page.is_none() && !root.nodes().is_dir() {
            // what is not there in an empty mount point is not silent
            directory::check_site(root)?;
        }
        let page = page.filter(|page| page.record.nonce != nonce);
        Ok(page.map_or(OwnRecord::Clear, |page| OwnRecord::Foreign(host.judge(&page))))
    });
    if let Some(record) = &order.write {
        write(root, &NodePage { record: record.clone(), host: host.clone() })?;
    }
    seen.unwrap_or(Ok(OwnRecord::Unread))
}

/// Reads the pages of these; what failed, if none of them could be read.
fn read_others(root: &Root, known: &Known, seen: &mut NodesSeen) -> Option<ShareError> {
    let mut failed = None;
    let mut is_any_readable = false;
    for node in known {
        match read(root, node) {
            Ok(page) => {
                is_any_readable = true;
                seen.records.extend(page.map(|page| page.record));
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.filter(|_| !is_any_readable)
}

/// The nodes that have a page. Of more than [`NODES_MAX`], those known before come first, and
/// the rest is left out; of those not known, [`NODES_TRIED_MAX`] are tried (N2).
pub(super) fn list(
    root: &Root,
    but: Option<&NodeName>,
    known: &[NodeName],
) -> Result<Listed, ShareError> {
    let mut listed = Listed { names: Known::new(), crowded: false };
    let mut newcomers = Known::new();
    let mut tried = 0;
    file::names(&root.nodes(), |name| {
        let Some(node) = NodeName::parse(name).filter(|node| Some(node) != but) else {
            return Ok(());
        };
        let names = if known.contains(&node) {
            &mut listed.names
        } else if tried == NODES_TRIED_MAX {
            listed.crowded = true;
            return Ok(());
        } else {
            tried += 1;
            // one that cannot be read may be a node's
            if matches!(read(root, &node), Ok(None)) {
                return Ok(());
            }
            &mut newcomers
        };
        listed.crowded |= names.push(node).is_err();
        Ok(())
    })?;
    for node in newcomers {
        listed.crowded |= listed.names.push(node).is_err();
    }
    Ok(listed)
}

/// Deletes a node's page.
pub(super) fn forget(root: &Root, node: &NodeName) -> Result<(), ShareError> {
    file::delete(&root.nodes().join(node.as_str()))
}

/// A node's page, through a fresh open (N1); `None`: there is none (N2).
///
/// # Errors
///
/// What is there cannot be read: it may say anything.
pub(super) fn read(root: &Root, node: &NodeName) -> Result<Option<NodePage>, ShareError> {
    let path = root.nodes().join(node.as_str());
    let mut page = [0; PAGE_BYTES];
    let length = match root.open(&path).and_then(|file| file::read_at(&file, &mut page, 0)) {
        Ok(length) => length,
        // not there, or a folder
        Err(error) if fault_of(&error) == ShareFault::Missing => return Ok(None),
        Err(error) => return Err(cannot("read", &path, &error)),
    };
    Ok(decode(&page[..length]).filter(|page| page.record.node == *node))
}

fn write(root: &Root, page: &NodePage) -> Result<(), ShareError> {
    let path = root.nodes().join(page.record.node.as_str());
    let bytes = encode(page);
    let mut opened = root.open_or_create(&path);
    if opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        // somebody has deleted the folder, or all that was there
        directory::check_site(root)?;
        opened = file::make_directory(&root.nodes()).and_then(|()| root.open_or_create(&path));
    }
    opened
        .and_then(|file| {
            file::write_at(&file, &bytes, 0)?;
            file::sync(&file)
        })
        .map_err(|error| cannot("write", &path, &error))
}

fn encode(page: &NodePage) -> [u8; PAGE_BYTES] {
    let mut bytes = [0; PAGE_BYTES];
    let length = serde_json_core::to_slice(page, &mut bytes[HEAD_BYTES..])
        .expect("N: names, numbers and short texts fit a page");
    let mut head = Writer::new(&mut bytes[..16]);
    head.raw(&MAGIC);
    head.u32(FORMAT);
    head.u32(u32::try_from(length).expect("less than a page"));
    let sum = sum_of(&bytes, length);
    bytes[16..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<NodePage> {
    let mut head = Reader::new(bytes);
    let magic: [u8; 8] = head.raw();
    let format = head.u32();
    let length = usize::try_from(head.u32()).ok()?;
    let sum = head.u32();
    let text = bytes.get(HEAD_BYTES..HEAD_BYTES.checked_add(length)?)?;
    if magic != MAGIC || format == 0 || sum != sum_of(bytes, length) {
        return None;
    }
    let mut room = [0; PATH_MAX];
    let (page, _) = serde_json_core::from_slice_escaped::<NodePage>(text, &mut room).ok()?;
    let valid = |name: &NodeName| NodeName::parse(name.as_str()).is_some();
    let wished = page.record.wish.as_ref().and_then(|wish| wish.to.as_ref());
    let good = valid(&page.record.node) && wished.is_none_or(valid);
    good.then_some(page)
}

fn sum_of(bytes: &[u8], length: usize) -> u32 {
    let mut digest = CRC_32C.digest();
    digest.update(&bytes[..16]);
    digest.update(&bytes[HEAD_BYTES..HEAD_BYTES + length]);
    digest.finalize()
}

fn fitting<const N: usize>(text: &str) -> String<N> {
    let mut fits = String::new();
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        if fits.push(letter).is_err() {
            break;
        }
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, node};
    use super::*;
    use crate::engine::ident::{Role, ShareClass};
    use crate::engine::share::Wish;
    use crate::limits::NODE_NAME_MAX;

    fn record(name: &str, beat: u32) -> NodeRecord {
        NodeRecord {
            node: node(name),
            nonce: u64::MAX,
            beat,
            role: Role::Master,
            class: ShareClass::Nfs4,
            version: String::try_from("0.1.0").expect("short"),
            advertise: String::try_from("http://gw-1:8480/\"\\").expect("short"),
            wish: Some(Wish { term: 4, to: Some(node("gw-2")) }),
            wall_ms: u64::MAX,
        }
    }

    fn order(root: &Root, own: &str, beat: u32, read: NodesRead, known: &mut Known) -> NodesSeen {
        let host = HostMark::of_this_host(&root.path, &root.path);
        let order = NodesOrder { own_nonce: Some(u64::MAX), write: Some(record(own, beat)), read };
        perform(root, &node(own), &host, &order, known).expect("done")
    }

    #[test]
    fn each_node_sees_the_others_as_they_last_wrote() {
        let folder = Folder::new();
        let root = folder.root();
        let (mut a, mut b) = (Known::new(), Known::new());
        order(&root, "gw-1", 1, NodesRead::Nothing, &mut a);
        let seen = order(&root, "gw-2", 1, NodesRead::Listed, &mut b);
        assert_eq!(seen.records.as_slice(), [record("gw-1", 1)]);
        order(&root, "gw-1", 2, NodesRead::Nothing, &mut a);
        let seen = order(&root, "gw-2", 2, NodesRead::Known, &mut b);
        assert_eq!(seen.records.as_slice(), [record("gw-1", 2)]);
        assert!(order(&root, "gw-1", 3, NodesRead::Known, &mut a).records.is_empty());
        let seen = order(&root, "gw-1", 4, NodesRead::Listed, &mut a);
        assert_eq!(seen.records.as_slice(), [record("gw-2", 2)]);
    }

    #[test]
    fn a_page_tells_the_host_apart() {
        let folder = Folder::new();
        let root = folder.root();
        order(&root, "gw-1", 1, NodesRead::Nothing, &mut Known::new());
        let page = read(&root, &node("gw-1")).expect("read").expect("whole");
        assert_eq!(page.host.path, root.path.to_string_lossy().as_ref());
        assert_eq!(page.host.boot.len(), 36);
    }

    #[test]
    fn our_own_page_under_a_foreign_nonce_is_given_back_before_it_is_covered() {
        let folder = Folder::new();
        let root = folder.root();
        let runs = [1, 2].map(|number| root.path.join(format!("run-{number}")));
        for run in &runs {
            fs::create_dir(run).expect("made");
        }
        let look = |run: &Path, nonce, write| {
            let host = HostMark::of_this_host(&root.path, run);
            let order = NodesOrder { own_nonce: Some(nonce), write, read: NodesRead::Nothing };
            perform(&root, &node("gw-1"), &host, &order, &mut Known::new()).expect("done").own
        };
        let foreign = |own| match own {
            OwnRecord::Foreign(seen) => seen,
            OwnRecord::Unread | OwnRecord::Clear => panic!("{own:?}"),
        };
        assert_eq!(look(&runs[0], 7, None), OwnRecord::Clear, "there is none");
        let first = NodeRecord { nonce: 7, ..record("gw-1", 3) };
        assert_eq!(look(&runs[0], 7, Some(first)), OwnRecord::Clear);
        assert_eq!(look(&runs[0], 7, None), OwnRecord::Clear, "it is ours");
        let second = NodeRecord { nonce: 8, role: Role::Standby, ..record("gw-1", 1) };
        let seen = foreign(look(&runs[1], 8, Some(second)));
        assert_eq!((seen.nonce, seen.beat, seen.role), (7, 3, Role::Master));
        assert!(seen.same_machine && seen.same_boot && !seen.same_run_dir);
        let seen = foreign(look(&runs[1], 9, None));
        assert!(seen.nonce == 8 && seen.same_run_dir && !seen.host.is_empty());
        let seen = foreign(look(&root.path.join("not-there"), 9, None));
        assert!(!seen.same_run_dir, "not known");
    }

    #[test]
    fn more_pages_than_fit_leave_out_newcomers() {
        let folder = Folder::new();
        let root = folder.root();
        let host = HostMark::of_this_host(&root.path, &root.path);
        let make = |name: &str| {
            let page = NodePage { record: record(name, 1), host: host.clone() };
            write(&root, &page).expect("written");
        };
        (0..NODES_MAX).for_each(|number| make(&format!("a-{number}")));
        let listed = list(&root, None, &[]).expect("listed");
        assert!(listed.names.len() == NODES_MAX && !listed.crowded);
        (0..NODES_MAX).for_each(|number| make(&format!("b-{number}")));
        let known = listed.names;
        let listed = list(&root, Some(&node("a-0")), &known).expect("listed");
        assert!(listed.crowded && !listed.names.contains(&node("a-0")));
        assert!(
            known.iter().skip(1).all(|name| *name == node("a-0") || listed.names.contains(name))
        );
        forget(&root, &node("a-1")).expect("forgotten");
        forget(&root, &node("a-1")).expect("gone is as good");
        assert!(!list(&root, None, &known).expect("listed").names.contains(&node("a-1")));
    }

    /// What cannot be opened by anybody, not even by root.
    fn rot(root: &Root, name: &str) {
        let path = root.nodes().join(name);
        // there may be none yet
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink(name, &path).expect("made");
    }

    #[test]
    fn a_page_that_cannot_be_read_hides_no_other() {
        let folder = Folder::new();
        let root = folder.root();
        let mut known = Known::new();
        for name in ["gw-1", "gw-3", "gw-4"] {
            order(&root, name, 1, NodesRead::Nothing, &mut Known::new());
        }
        rot(&root, "gw-3");
        let seen = order(&root, "gw-2", 1, NodesRead::Listed, &mut known);
        assert_eq!((seen.records.len(), seen.failed), (2, None), "N3");
        assert_eq!(seen.listed.map(|names| names.len()), Some(3), "it may be a node's");
        rot(&root, "gw-1");
        rot(&root, "gw-4");
        for read in [NodesRead::Known, NodesRead::Listed] {
            let seen = order(&root, "gw-2", 2, read, &mut known);
            assert_eq!(seen.own, OwnRecord::Clear, "N3");
            let failed = seen.failed.as_ref().expect("none can be read");
            assert!(failed.text.contains("cannot read nodes/"), "{failed}");
            assert!(!seen.shows_others());
        }
        assert_eq!(list(&root, None, &[]).expect("listed").names.len(), 4);
    }

    #[test]
    fn our_own_page_that_cannot_be_read_is_not_taken_for_absent() {
        let folder = Folder::new();
        let root = folder.root();
        let host = HostMark::of_this_host(&root.path, &root.path);
        let mut known = Known::new();
        order(&root, "gw-1", 1, NodesRead::Nothing, &mut known);
        rot(&root, "gw-2");
        let mut give = |write, read| {
            let order = NodesOrder { own_nonce: Some(1), write, read };
            perform(&root, &node("gw-2"), &host, &order, &mut known)
        };
        let error = give(None, NodesRead::Nothing).expect_err("nothing came of it");
        assert!(error.text.contains("cannot read nodes/gw-2"), "{error}");
        give(Some(record("gw-2", 1)), NodesRead::Nothing).expect_err("nothing came of it");
        let seen = give(Some(record("gw-2", 1)), NodesRead::Listed).expect("the others came");
        assert_eq!(seen.own, OwnRecord::Unread);
        assert_eq!(seen.records.as_slice(), [record("gw-1", 1)]);
        let failed = seen.failed.as_ref().expect("it says what failed");
        assert!(failed.text.contains("cannot write nodes/gw-2") && seen.shows_others(), "{failed}");
    }

    #[test]
    fn nothing_is_seen_nor_made_in_an_empty_mount_point() {
        let folder = Folder::new();
        let root = folder.root();
        let host = HostMark::of_this_host(&root.path, &root.path);
        let give = |write| {
            let order = NodesOrder { own_nonce: Some(1), write, read: NodesRead::Nothing };
            perform(&root, &node("gw-1"), &host, &order, &mut Known::new())
        };
        fs::remove_dir_all(root.nodes()).expect("ours");
        assert_eq!(give(None).expect("seen").own, OwnRecord::Clear, "only the folder is gone");
        assert_eq!(give(Some(record("gw-1", 1))).expect("made anew").own, OwnRecord::Clear);
        fs::remove_dir_all(&root.path).expect("ours");
        fs::create_dir(&root.path).expect("made");
        for write in [None, Some(record("gw-1", 2))] {
            assert_eq!(give(write).expect_err("not there").fault, ShareFault::Missing);
        }
        assert_eq!(fs::read_dir(&root.path).expect("there").count(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_listed_has_the_pages_known_before() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new();
        let root = folder.root();
        let mut known = Known::new();
        order(&root, "gw-1", 1, NodesRead::Nothing, &mut Known::new());
        order(&root, "gw-2", 1, NodesRead::Listed, &mut known);
        let allow = |mode| fs::set_permissions(root.nodes(), fs::Permissions::from_mode(mode));
        allow(0o300).expect("ours");
        let is_root = fs::read_dir(root.nodes()).is_ok();
        let seen = order(&root, "gw-2", 2, NodesRead::Listed, &mut known);
        allow(0o700).expect("ours");
        assert_eq!((seen.own, seen.records.len()), (OwnRecord::Clear, 1), "N3");
        if is_root {
            eprintln!("skipped: a folder that cannot be listed (root can list any)");
        } else {
            assert!(seen.listed.is_none() && seen.failed.is_some());
        }
    }

    #[test]
    fn a_page_of_an_older_version_is_read_as_far_as_it_goes() {
        let text = r#"{"record":{"node":"gw-1","nonce":5,"beat":2,"role":"standby",
            "class":"nfs4","version":"0.0.9","advertise":"","wish":null},
            "host":{"machine":"m","boot":"b","path":"/mnt/e"}}"#;
        let page = decode(&page_of(text)).expect("readable");
        assert_eq!((page.record.nonce, page.record.wall_ms), (5, 0));
        assert_eq!((page.host.path.as_str(), page.host.run.as_str()), ("/mnt/e", ""));
    }

    #[test]
    fn the_longest_texts_fit_a_page_however_they_are_written() {
        // two bytes each in JSON; there are no control characters
        fn worst<const N: usize>() -> String<N> {
            fitting(&"\"\u{1}".repeat(N))
        }
        let mut record = record(&"n".repeat(NODE_NAME_MAX), u32::MAX);
        (record.version, record.advertise) = (worst(), worst());
        let (name, machine, boot) = (worst(), worst(), worst());
        let (path, run, program) = (worst(), worst(), worst());
        let host = HostMark { name, machine, boot, path, run, program, format: u32::MAX };
        let page = NodePage { record, host };
        assert_eq!(decode(&encode(&page)), Some(page));
    }

    /// A whole page around a text.
    fn page_of(text: &str) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        let mut head = Writer::new(&mut page[..16]);
        head.raw(&MAGIC);
        head.u32(FORMAT);
        head.u32(u32::try_from(text.len()).expect("small"));
        page[HEAD_BYTES..HEAD_BYTES + text.len()].copy_from_slice(text.as_bytes());
        let sum = sum_of(&page, text.len());
        page[16..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
        page
    }

    #[test]
    fn damaged_foreign_and_misnamed_pages_are_left_out() {
        let folder = Folder::new();
        let root = folder.root();
        let mut known = Known::new();
        order(&root, "gw-1", 1, NodesRead::Nothing, &mut known);
        let page = fs::read(root.nodes().join("gw-1")).expect("read");
        fs::write(root.nodes().join("gw-9"), &page).expect("written");
        fs::write(root.nodes().join("gw-8"), b"EDGENODE").expect("written");
        fs::write(root.nodes().join("Not A Node"), &page).expect("written");
        fs::create_dir(root.nodes().join("folder")).expect("made");
        let seen = order(&root, "gw-2", 1, NodesRead::Listed, &mut known);
        assert_eq!(seen.records.as_slice(), [record("gw-1", 1)], "N2");
        assert_eq!(known.as_slice(), [node("gw-1")], "N2: they take up no room");
        for number in 0..NODES_MAX {
            fs::write(root.nodes().join(format!("junk-{number}")), b"").expect("written");
        }
        order(&root, "gw-3", 1, NodesRead::Nothing, &mut Known::new());
        let mut known = Known::new();
        let seen = order(&root, "gw-2", 2, NodesRead::Listed, &mut known);
        assert_eq!((seen.records.len(), seen.crowded), (2, false), "N2");
    }

    #[test]
    fn every_damaged_bit_is_seen_and_a_newer_member_is_not_minded() {
        let host = HostMark::of_this_host(Path::new("/mnt/\"edge\""), Path::new("/"));
        let page = NodePage { record: record("gw-1", 1), host };
        let bytes = encode(&page);
        assert_eq!(decode(&bytes), Some(page.clone()));
        let length = HEAD_BYTES + u32::from_le_bytes([bytes[12], bytes[13], 0, 0]) as usize;
        for bit in 0..length * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
        let text = std::str::from_utf8(&bytes[HEAD_BYTES..length]).expect("JSON");
        let newer = text.replacen('{', "{\"mood\":[{\"a\":1}],", 1);
        assert_eq!(decode(&page_of(&newer)), Some(page));
    }
}
