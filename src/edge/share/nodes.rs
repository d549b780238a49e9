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
//! - N1: a node writes its own page alone, and it is read through a fresh open.
//! - N2: a page that is damaged, half written or of another name is left out.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use super::directory::Root;
use super::fault::{cannot, fault_of};
use super::file;
use crate::edge::machine::machine_id;
use crate::engine::codec::{CRC_32C, Reader, Writer};
use crate::engine::ident::NodeName;
use crate::engine::share::{NodeRecord, NodesOrder, NodesRead, NodesSeen, ShareError, ShareFault};
use crate::engine::slot::FORMAT;
use crate::limits::{NODES_MAX, PATH_MAX};

const MAGIC: [u8; 8] = *b"EDGENODE";
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

/// What tells hosts apart.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HostMark {
    /// What stays the same on it; empty: it has nothing like that.
    pub machine: String<36>,
    /// `/proc/sys/kernel/random/boot_id`; empty: unknown.
    pub boot: String<36>,
    /// The path of the data directory, as far as it fits.
    pub path: String<PATH_MAX>,
}

impl HostMark {
    /// Reads this host's marks.
    pub fn of_this_host(path: &Path) -> Self {
        Self {
            machine: fitting(&machine_id()),
            boot: fitting(fs::read_to_string(BOOT_ID).unwrap_or_default().trim()),
            path: fitting(&path.to_string_lossy()),
        }
    }
}

/// The names that the last listing found, without our own.
pub(super) type Known = Vec<NodeName, NODES_MAX>;

/// Writes our own page if it is due, and reads the others'.
pub(super) fn perform(
    root: &Root,
    own: &NodeName,
    host: &HostMark,
    order: NodesOrder,
    known: &mut Known,
) -> Result<NodesSeen, ShareError> {
    if let Some(record) = order.write {
        write(root, &NodePage { record, host: host.clone() })?;
    }
    match order.read {
        NodesRead::Nothing => return Ok(NodesSeen::default()),
        NodesRead::Known => {}
        NodesRead::Listed => *known = list(root, Some(own))?,
    }
    let mut seen = NodesSeen::default();
    for node in known.iter() {
        if let Some(page) = read(root, node)? {
            seen.records.push(page.record).expect("N: as many records as names");
        }
    }
    Ok(seen)
}

/// The nodes that have a page; of more than [`NODES_MAX`] the rest is left out.
pub(super) fn list(root: &Root, but: Option<&NodeName>) -> Result<Known, ShareError> {
    let mut known = Known::new();
    file::names(&root.nodes(), |name| {
        if let Some(node) = NodeName::parse(name).filter(|node| Some(node) != but) {
            // beyond the limit a node is not seen: NODES_MAX is what a site can have
            let _ = known.push(node);
        }
        Ok(())
    })?;
    Ok(known)
}

/// A node's page, through a fresh open (N1); `None`: not there, or not readable (N2).
pub(super) fn read(root: &Root, node: &NodeName) -> Result<Option<NodePage>, ShareError> {
    let path = root.nodes().join(node.as_str());
    let mut page = [0; PAGE_BYTES];
    let length = match file::open(&path).and_then(|file| file::read_at(&file, &mut page, 0)) {
        Ok(length) => length,
        // the share itself fails, which must not look like a silent node
        Err(error) if fault_of(&error) == ShareFault::Stale => {
            return Err(cannot("read", &path, &error));
        }
        Err(_) => return Ok(None),
    };
    Ok(decode(&page[..length]).filter(|page| page.record.node == *node))
}

fn write(root: &Root, page: &NodePage) -> Result<(), ShareError> {
    let path = root.nodes().join(page.record.node.as_str());
    let bytes = encode(page);
    let mut opened = file::open_or_create(&path);
    if opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        // somebody has deleted the folder
        opened = file::make_directory(&root.nodes()).and_then(|_| file::open_or_create(&path));
    }
    opened
        .and_then(|file| {
            file.write_all_at(&bytes, 0)?;
            file.sync_data()
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
        }
    }

    fn order(root: &Root, own: &str, beat: u32, read: NodesRead, known: &mut Known) -> NodesSeen {
        let host = HostMark::of_this_host(&root.path);
        let order = NodesOrder { write: Some(record(own, beat)), read };
        perform(root, &node(own), &host, order, known).expect("done")
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
        assert_eq!(known.len(), 4);
    }

    #[test]
    fn every_damaged_bit_is_seen_and_a_newer_member_is_not_minded() {
        let host = HostMark::of_this_host(Path::new("/mnt/\"edge\""));
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
        let mut grown = [0; PAGE_BYTES];
        grown[..16].copy_from_slice(&bytes[..16]);
        grown[12..16].copy_from_slice(&u32::try_from(newer.len()).expect("small").to_le_bytes());
        grown[HEAD_BYTES..HEAD_BYTES + newer.len()].copy_from_slice(newer.as_bytes());
        let sum = sum_of(&grown, newer.len());
        grown[16..20].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(decode(&grown), Some(page));
    }
}
