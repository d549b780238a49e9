//! Orders given to whole keepers: two of them beside each other, and an uplink.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::testing::{Folder, group_of, node, record, slot};
use super::*;
use crate::edge::channel::Port;
use crate::engine::ident::{Cursor, Lane, Role, Term};
use crate::engine::segment::GroupOf;
use crate::engine::share::{
    Append, NodeRecord, NodesRead, OwnRecord, Proof, ProofLock, ProofVerdict, Survey,
};
use crate::engine::slot::{ReleaseReason, SlotState};
use crate::sys::socket::pair;

/// Whose groups the master of these tests writes.
const FIRST: GroupOf = GroupOf { term: 1, lane: Lane::Readings };

fn share(folder: &Folder, name: &str) -> Share {
    let mut share = Share::new(Place {
        data_dir: folder.path.clone(),
        config: None,
        expected_site: None,
        may_create: true,
        alone: false,
        require_network: false,
        node: node(name),
        run_dir: folder.path.join(name),
    });
    let outcome = give(&mut share, ShareOrder::Open);
    let ShareOutcome::Opened { .. } = outcome else { panic!("{outcome:?}") };
    share
}

fn give(share: &mut Share, order: ShareOrder) -> ShareOutcome {
    share.perform(order, &[], None)
}

fn failure(outcome: ShareOutcome) -> ShareError {
    let ShareOutcome::Failed(error) = outcome else { panic!("{outcome:?}") };
    error
}

fn polled(share: &mut Share, lock: LockWish, newest: Term) -> Polled {
    let outcome = give(share, ShareOrder::Poll(Poll { lock, all: false, newest }));
    let ShareOutcome::Polled(polled) = outcome else { panic!("{outcome:?}") };
    polled
}

fn announced(share: &mut Share, slot: Slot) -> Survey {
    let outcome = give(share, ShareOrder::Announce(slot));
    let ShareOutcome::Surveyed(survey) = outcome else { panic!("{outcome:?}") };
    survey
}

fn lock_inode(folder: &Folder) -> u64 {
    fs::metadata(folder.path.join("edge.lock")).expect("a file").ino()
}

#[test]
fn nothing_is_done_before_a_data_directory_is_open() {
    let folder = Folder::new();
    let mut opened = share(&folder, "gw-1");
    fs::remove_file(folder.path.join("edge.terms")).expect("gone");
    failure(give(&mut opened, ShareOrder::Open));
    for order in [
        ShareOrder::Survey,
        ShareOrder::Claim { term: 1 },
        ShareOrder::Tidy { keep_from: 1 },
        ShareOrder::Release(Some(slot(1, 1))),
    ] {
        assert_eq!(failure(give(&mut opened, order)).fault, ShareFault::Missing);
    }
    assert_eq!(give(&mut opened, ShareOrder::Release(None)), ShareOutcome::Done);
    assert!(!folder.path.join("claims/1").exists());
}

#[test]
fn a_term_from_the_first_poll_to_the_release() {
    let folder = Folder::new();
    let (mut a, mut b) = (share(&folder, "gw-1"), share(&folder, "gw-2"));
    let inode = lock_inode(&folder);
    let seen = polled(&mut a, LockWish::Try, 0);
    assert_eq!(seen, Polled { lock: LockSeen::Held { inode }, newest: None, taken: 0 });
    assert_eq!(polled(&mut b, LockWish::Try, 0).lock, LockSeen::Busy);
    let claim = ShareOrder::Claim { term: 1 };
    assert_eq!(give(&mut a, claim.clone()), ShareOutcome::Claimed { created: true });
    assert_eq!(give(&mut b, claim), ShareOutcome::Claimed { created: false });
    assert_eq!(polled(&mut b, LockWish::Leave, 0).taken, 1, "claimed, not yet announced");
    let mut own = slot(1, 1);
    own.locked = inode;
    assert_eq!(announced(&mut a, own.clone()).newest, Some(own.clone()));
    own.heartbeat = 2;
    let lock = ProofLock::Write;
    let proof = Proof { slot: own.clone(), write_slot: true, all: false, lock, create: [1, 0] };
    let outcome = give(&mut a, ShareOrder::Prove(proof));
    let ShareOutcome::Proven(proven) = outcome else { panic!("{outcome:?}") };
    assert_eq!(proven.verdict, ProofVerdict::Proven);
    assert_eq!(polled(&mut b, LockWish::Try, 1).newest, Some(own.clone()));
    own.heartbeat = 3;
    own.state = SlotState::Released { reason: ReleaseReason::Stopped, successor: None };
    assert_eq!(give(&mut a, ShareOrder::Release(Some(own.clone()))), ShareOutcome::Done);
    let seen = polled(&mut b, LockWish::Try, 1);
    assert_eq!(seen, Polled { lock: LockSeen::Held { inode }, newest: Some(own), taken: 0 });
    assert_eq!(polled(&mut b, LockWish::Leave, 1).lock, LockSeen::Left);
    assert!(matches!(polled(&mut a, LockWish::Try, 1).lock, LockSeen::Held { .. }));
}

#[test]
fn a_release_gives_up_the_lock_also_if_the_slot_cannot_be_written() {
    let folder = Folder::new();
    let (mut a, mut b) = (share(&folder, "gw-1"), share(&folder, "gw-2"));
    polled(&mut a, LockWish::Try, 0);
    let terms = folder.path.join("edge.terms");
    fs::rename(&terms, folder.path.join("aside")).expect("renamed");
    failure(give(&mut a, ShareOrder::Release(Some(slot(1, 1)))));
    fs::rename(folder.path.join("aside"), &terms).expect("renamed");
    assert!(matches!(polled(&mut b, LockWish::Try, 0).lock, LockSeen::Held { .. }));
}

#[test]
fn a_release_never_covers_a_later_terms_slot() {
    let folder = Folder::new();
    let (mut a, mut b) = (share(&folder, "gw-1"), share(&folder, "gw-2"));
    announced(&mut b, slot(257, 1));
    assert_eq!(give(&mut a, ShareOrder::Release(Some(slot(1, 9)))), ShareOutcome::Done);
    assert_eq!(polled(&mut a, LockWish::Leave, 257).newest.map(|slot| slot.term), Some(257));
    let survey = announced(&mut a, slot(1, 10));
    assert_eq!(survey.newest.map(|slot| slot.term), Some(257), "shown, not covered");
}

#[test]
fn opening_again_gives_up_the_lock() {
    let folder = Folder::new();
    let (mut a, mut b) = (share(&folder, "gw-1"), share(&folder, "gw-2"));
    polled(&mut a, LockWish::Try, 0);
    give(&mut a, ShareOrder::Open);
    assert!(matches!(polled(&mut b, LockWish::Try, 0).lock, LockSeen::Held { .. }));
}

#[test]
fn a_deleted_lock_file_is_missing_until_opening_remakes_it() {
    let folder = Folder::new();
    let mut a = share(&folder, "gw-1");
    polled(&mut a, LockWish::Try, 0);
    fs::remove_file(folder.path.join("edge.lock")).expect("gone");
    let poll = Poll { lock: LockWish::Try, all: false, newest: 0 };
    let error = failure(give(&mut a, ShareOrder::Poll(poll)));
    assert_eq!(error.fault, ShareFault::Missing);
    give(&mut a, ShareOrder::Open);
    let inode = lock_inode(&folder);
    assert_eq!(polled(&mut a, LockWish::Try, 0).lock, LockSeen::Held { inode });
}

fn append(share: &mut Share, offset: usize, groups: &[u8]) -> ShareOutcome {
    let order = Append {
        lane: Lane::Readings,
        term: 1,
        segment: 1,
        offset: u32::try_from(offset).expect("small"),
        bytes: u32::try_from(groups.len()).expect("small"),
    };
    share.perform(ShareOrder::Append(order), groups, None)
}

/// A master of term 1 with three records journalled.
fn master(folder: &Folder) -> Share {
    let mut master = share(folder, "gw-1");
    polled(&mut master, LockWish::Try, 0);
    let mut own = slot(1, 1);
    own.locked = lock_inode(folder);
    let lock = ProofLock::Write;
    let proof = Proof { slot: own, write_slot: true, all: false, lock, create: [1, 1] };
    assert!(matches!(give(&mut master, ShareOrder::Prove(proof)), ShareOutcome::Proven(_)));
    assert_eq!(append(&mut master, 64, &group_of(FIRST, 1, 3)), ShareOutcome::Done);
    master
}

fn fetch(request: u32) -> ShareOrder {
    ShareOrder::Fetch(Fetch {
        request,
        lane: Lane::Readings,
        from: Cursor { term: 1, segment: 1, offset: 64, seq: 1 },
        end: u32::MAX,
        records_max: u32::MAX,
        bytes_max: 1 << 20,
    })
}

fn fetched(share: &mut Share, request: u32) -> Fetched {
    let outcome = give(share, fetch(request));
    let ShareOutcome::Fetched(fetched) = outcome else { panic!("{outcome:?}") };
    fetched
}

#[test]
fn an_uplink_is_greeted_with_the_lock_and_given_each_batch() {
    let folder = Folder::new();
    let mut a = master(&folder);
    let (ours, theirs) = pair().expect("a pair");
    assert_eq!(a.perform(ShareOrder::Attach, &[], Some(ours)), ShareOutcome::Done);
    let mut uplink = Port::new(theirs);
    let hello: Hello = uplink.receive().expect("greeted");
    assert!(hello.locked);
    let copy = uplink.take_fd().expect("the lock's descriptor");
    assert_eq!(fetched(&mut a, 41).count, 3);
    let head: BatchHead = uplink.receive().expect("a batch");
    assert_eq!(head, BatchHead { request: 41 });
    let expected: String = (1..=3).map(record).collect();
    assert_eq!(uplink.body(), expected.as_bytes());
    give(&mut a, ShareOrder::Release(None));
    let mut b = share(&folder, "gw-2");
    assert_eq!(polled(&mut b, LockWish::Try, 1).lock, LockSeen::Busy, "the uplink's copy");
    drop(copy);
    assert!(matches!(polled(&mut b, LockWish::Try, 1).lock, LockSeen::Held { .. }));
}

#[test]
fn without_the_lock_an_uplink_is_told_so() {
    let folder = Folder::new();
    let mut a = share(&folder, "gw-1");
    let (ours, theirs) = pair().expect("a pair");
    a.perform(ShareOrder::Attach, &[], Some(ours));
    let mut uplink = Port::new(theirs);
    let hello: Hello = uplink.receive().expect("greeted");
    assert_eq!((hello.locked, uplink.take_fd().is_none()), (false, true));
    failure(give(&mut a, ShareOrder::Attach));
}

#[test]
fn an_uplink_that_is_gone_or_slow_holds_up_nothing() {
    let folder = Folder::new();
    let mut a = master(&folder);
    let (ours, theirs) = pair().expect("a pair");
    a.perform(ShareOrder::Attach, &[], Some(ours));
    drop(theirs);
    assert_eq!(fetched(&mut a, 1).count, 3);
    assert!(a.wants_write().is_none());
    let mut end = 64 + group_of(FIRST, 1, 3).len();
    let mut seq = 4;
    while end < 900_000 {
        let more = group_of(FIRST, seq, 1_000);
        assert_eq!(append(&mut a, end, &more), ShareOutcome::Done);
        end += more.len();
        seq += 1_000;
    }
    let (ours, theirs) = pair().expect("a pair");
    a.perform(ShareOrder::Attach, &[], Some(ours));
    let whole = fetched(&mut a, 2);
    assert_eq!(u64::from(whole.count), seq - 1);
    assert!(a.wants_write().is_some(), "more than a socket takes");
    let reader = std::thread::spawn(move || {
        let mut uplink = Port::new(theirs);
        let _: Hello = uplink.receive().expect("greeted");
        let head: BatchHead = uplink.receive().expect("a batch");
        (head.request, uplink.body().len())
    });
    while a.wants_write().is_some() {
        a.flush();
        std::thread::yield_now();
    }
    assert_eq!(reader.join().expect("read"), (2, whole.bytes as usize));
}

#[test]
fn a_swept_lane_says_what_is_left() {
    let folder = Folder::new();
    let mut a = master(&folder);
    let before = Cursor { term: 1, segment: 1, offset: 9, seq: 9 };
    let left = 64 + group_of(FIRST, 1, 3).len() as u64;
    let sweep = |before| ShareOrder::Sweep { lane: Lane::Readings, before };
    assert_eq!(give(&mut a, sweep(before)), ShareOutcome::Swept { journal_bytes: left });
    let newest = ShareOrder::Newest { lane: Lane::Readings, term: 1 };
    assert_eq!(give(&mut a, newest.clone()), ShareOutcome::Newest { segment: 1 });
    let all = Cursor { segment: 2, ..before };
    assert_eq!(give(&mut a, sweep(all)), ShareOutcome::Swept { journal_bytes: 0 });
    assert_eq!(give(&mut a, newest), ShareOutcome::Newest { segment: 0 });
}

#[test]
fn two_nodes_see_each_other() {
    let folder = Folder::new();
    let (mut a, mut b) = (share(&folder, "gw-1"), share(&folder, "gw-2"));
    let record = |name| NodeRecord {
        node: node(name),
        nonce: 5,
        beat: 1,
        role: Role::Standby,
        class: ShareClass::Local,
        version: heapless::String::new(),
        advertise: heapless::String::new(),
        wish: None,
        wall_ms: 0,
    };
    let order = |name| {
        let (own_nonce, write) = (Some(5), Some(record(name)));
        ShareOrder::Nodes(NodesOrder { own_nonce, write, read: NodesRead::Listed })
    };
    let listed = Some(heapless::Vec::new());
    let nobody = NodesSeen { own: OwnRecord::Clear, listed, ..NodesSeen::default() };
    assert_eq!(give(&mut a, order("gw-1")), ShareOutcome::Nodes(nobody));
    let outcome = give(&mut b, order("gw-2"));
    let ShareOutcome::Nodes(seen) = outcome else { panic!("{outcome:?}") };
    assert_eq!(seen.records.as_slice(), [record("gw-1")]);
    assert_eq!(look(&folder.path).expect("looked").nodes.len(), 2);
    let forget = || forget(&folder.path, &node("gw-1"), Duration::ZERO).expect("asked");
    assert_eq!(forget(), Forgotten::Gone);
    assert_eq!(forget(), Forgotten::Unknown);
    assert_eq!(look(&folder.path).expect("looked").nodes.len(), 1);
}

#[test]
fn init_makes_one_with_its_parents_and_then_leaves_it_alone() {
    let folder = Folder::new();
    let deep = folder.path.join("a/b");
    let site = init(&deep, false, false).expect("made");
    assert_eq!(init(&deep, false, false).expect("found"), site);
    let looked = look(&deep).expect("looked");
    assert_eq!((looked.site, looked.newest), (site, None));
    fs::write(folder.path.join("a/other"), b"x").expect("written");
    assert_eq!(
        init(&folder.path.join("a"), false, false).expect_err("foreign").fault,
        ShareFault::Missing
    );
    assert_eq!(look(&folder.path).expect_err("none").fault, ShareFault::Missing);
}

#[test]
fn a_new_id_is_given_only_where_no_term_has_been() {
    let folder = Folder::new();
    let path = folder.path.as_path();
    let first = init(path, true, false).expect("made");
    let second = init(path, true, false).expect("renewed");
    assert_ne!(first, second);
    let mut a = share(&folder, "gw-1");
    polled(&mut a, LockWish::Try, 0);
    let error = init(path, true, false).expect_err("in use");
    assert!(error.text.contains("in use"), "{error}");
    give(&mut a, ShareOrder::Claim { term: 1 });
    give(&mut a, ShareOrder::Release(None));
    let error = init(path, true, false).expect_err("a term");
    assert!(error.text.contains("holds terms"), "{error}");
    assert_eq!(look(path).expect("looked").site, second);
    fs::remove_file(folder.path.join("claims/1")).expect("gone");
    announced(&mut a, slot(1, 1));
    init(path, true, false).expect_err("a slot");
}

#[test]
fn refused_records_are_kept_by_who_has_a_term() {
    let folder = Folder::new();
    let mut a = share(&folder, "gw-1");
    let path = segments::path_of(&folder.root(), Lane::Readings, 1, 1);
    segments::create(&folder.root(), Lane::Readings, 1, 1).expect("created");
    let bytes = [fs::read(&path).expect("read"), group_of(FIRST, 1, 3)].concat();
    fs::write(&path, bytes).expect("written");
    let order = ShareOrder::Decline(Decline {
        lane: Lane::Readings,
        from: Cursor { term: 1, segment: 1, offset: 64, seq: 1 },
        end: u32::MAX,
        records: 2,
        status: 422,
        reason: heapless::String::new(),
        wall_ms: 5,
        bytes_max: 1 << 20,
    });
    assert_eq!(failure(give(&mut a, order.clone())).fault, ShareFault::Other);
    announced(&mut a, slot(7, 1));
    let ShareOutcome::Declined(done) = give(&mut a, order) else { panic!("declined") };
    assert_eq!((done.count, done.next.seq, done.dropped), (2, 3, 0));
    let found: Vec<_> =
        declined(&folder.path).expect("listed").map(|it| it.expect("read")).collect();
    let (position, second) = &found[1];
    assert_eq!((position.term, second.seq, second.status), (7, 2, 422));
    assert_eq!(second.record, record(2).trim_end().as_bytes());
    let mut ordered = |order| {
        let outcome = give(&mut a, ShareOrder::Store(order));
        let ShareOutcome::Store(outcome) = outcome else { panic!("{outcome:?}") };
        outcome
    };
    let forget = StoreOrder::Forget { through: found[0].0 };
    assert_eq!(ordered(forget), StoreOutcome::Forgotten);
    assert_eq!(declined(&folder.path).expect("listed").count(), 1);
    assert_eq!(ordered(StoreOrder::Purge), StoreOutcome::Purged { records: 1 });
    assert_eq!(declined(&folder.path).expect("listed").count(), 0);
}
