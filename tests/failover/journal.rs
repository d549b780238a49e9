//! What a crash or a bad disk leaves in a segment never stops a start, and costs only what is
//! damaged.

use std::fs;
use std::path::{Path, PathBuf};

use edge_agent::engine::segment::{
    GROUP_HEAD_BYTES, GroupHead, SEGMENT_HEADER_BYTES, SegmentHeader,
};

use crate::support::receiver::Behaviour;
use crate::support::site::{Part, Plan};
use crate::{LOAD, Scene};

#[test]
fn a_torn_tail_is_cut_and_a_damaged_group_is_set_aside() {
    let mut scene = Scene::beside(&Plan::default());
    scene.start(&["a"]);
    scene.receiver.behave(Behaviour::HangUp);
    let producer = scene.produce(&["a"]);
    scene.site.wait("some seconds of readings in the journal", 60, |_| {
        (producer.acknowledged() > 3 * LOAD).then_some(())
    });
    let mut sent = producer.stop();
    scene.site.kill("a", Part::Agent);

    let segment = newest_segment(&scene.site.data().join("journal/readings"));
    let mut bytes = fs::read(&segment).expect("the segment can be read");
    let groups = groups_of(&bytes);
    assert!(groups.len() >= 5, "{} groups in {}", groups.len(), segment.display());
    let (start, head) = groups[groups.len() / 2];
    let end = start + head.group_bytes();
    let damaged = numbers_in(&bytes[start + GROUP_HEAD_BYTES..end]);
    assert_eq!(damaged.len(), head.count as usize);
    bytes[start + GROUP_HEAD_BYTES + 20] ^= 0x04;
    // a group begun and never finished: its head promises more than there is
    let (first, _) = groups[0];
    let torn = bytes[first..first + GROUP_HEAD_BYTES + 40].to_vec();
    bytes.extend_from_slice(&torn);
    fs::write(&segment, &bytes).expect("the segment can be written");

    scene.receiver.behave(Behaviour::Answer(200));
    scene.site.start("b");
    let producer = scene.produce(&["b"]);
    sent.acknowledged.retain(|number| !damaged.contains(number));
    scene.wait_all_delivered(&sent);
    for number in damaged {
        assert!(!scene.receiver.ledger().has(number), "reading {number} came from a bad group");
    }
    let status = scene.site.status("b").expect("b answers");
    assert!(status["journal"][0]["damaged"].as_u64() > Some(0), "{status}");
    // numbers start again at 0 with each producer: what this one sends is not judged
    drop(producer);
    let ledger = scene.receiver.ledger();
    let others = ledger.faults.iter().filter(|fault| !fault.contains("(L4)")).count();
    assert_eq!(others, 0, "{:#?}", ledger.faults);
}

fn newest_segment(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder).expect("the lane's folder is there");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "seg")).max().expect("a segment")
}

/// Where each whole group starts, and its head.
fn groups_of(bytes: &[u8]) -> Vec<(usize, GroupHead)> {
    let header = SegmentHeader::decode(bytes).expect("a segment begins with its header");
    let mut groups = Vec::new();
    let mut at = SEGMENT_HEADER_BYTES;
    while let Some(head) = bytes.get(at..).and_then(GroupHead::decode) {
        let Some(payload) = bytes.get(at + GROUP_HEAD_BYTES..at + head.group_bytes()) else {
            break;
        };
        if !head.matches(header.groups(), &bytes[at..at + GROUP_HEAD_BYTES], payload) {
            break;
        }
        groups.push((at, head));
        at += head.group_bytes();
    }
    groups
}

/// The numbers of the readings in a group.
fn numbers_in(records: &[u8]) -> Vec<u64> {
    let text = std::str::from_utf8(records).expect("records are JSON");
    let number =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["data"]["n"].as_u64();
    text.lines().filter_map(number).collect()
}
