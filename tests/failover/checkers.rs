//! The ledger's checks can fail: one planted fault for each.

use crate::support::ledger::{Incoming, Ledger};

const EVENTS: &str = "/api/v3/things/event.json";

/// A request of term 3 with reading 7 in it, as it should be.
fn good() -> Incoming {
    Incoming {
        accepted_ns: 1_000,
        path: EVENTS.to_owned(),
        site: "site".to_owned(),
        node: "a".to_owned(),
        term: "3".to_owned(),
        records: "3/readings/1-1".to_owned(),
        signed: true,
        body: br#"{"events":[{"timestamp":1,"thing_key":"t","data":{"n":7}}]}"#.to_vec(),
        status: 200,
    }
}

/// The faults after a good request and one that was made bad.
fn faults_after(make_bad: impl FnOnce(&mut Incoming)) -> String {
    let mut ledger = Ledger::default();
    ledger.enter(good());
    assert!(ledger.faults.is_empty(), "{:?}", ledger.faults);
    let mut bad = good();
    make_bad(&mut bad);
    ledger.enter(bad);
    ledger.faults.join("; ")
}

#[test]
fn a_planted_fault_is_found_by_its_check() {
    assert_eq!(faults_after(|_| ()), "", "a plain repeat is no fault");
    assert!(faults_after(|request| request.signed = false).contains("(L1)"));
    let uncounted = faults_after(|request| request.records = "3/readings/1-2".to_owned());
    assert!(uncounted.contains("(L2)"), "{uncounted}");
    let unreadable = faults_after(|request| request.records = "3/readings/2-1".to_owned());
    assert!(unreadable.contains("(L2)"), "{unreadable}");
    let changed = faults_after(|request| {
        request.body = br#"{"events":[{"timestamp":2,"thing_key":"t","data":{"n":7}}]}"#.to_vec();
    });
    assert!(changed.contains("(L3)"), "{changed}");
    let renamed = faults_after(|request| request.records = "3/readings/2-2".to_owned());
    assert!(renamed.contains("(L4)"), "{renamed}");
    assert!(faults_after(|request| request.site = "other".to_owned()).contains("(L5)"));
}

#[test]
fn losses_repeats_and_a_wrong_order_are_found() {
    let mut ledger = Ledger::default();
    ledger.enter(good());
    assert_eq!(ledger.missing(&[7, 8]), [8], "L6");
    assert_eq!((ledger.repeated_records, ledger.batches_repeated_since(0)), (0, 0));

    let mut refused = good();
    refused.records = "3/readings/2-2".to_owned();
    refused.body = br#"{"timestamp":1,"thing_key":"t","data":{"n":8}}"#.to_vec();
    refused.status = 500;
    ledger.enter(refused);
    assert_eq!(ledger.missing(&[8]), [8], "what was answered 500 was not delivered");

    ledger.enter(good());
    assert_eq!((ledger.repeated_records, ledger.batches_repeated_since(0)), (1, 1), "L7");
    assert_eq!(ledger.batches_repeated_since(3), 0);

    assert_eq!(ledger.order_fault(), None);
    let mut newer = good();
    newer.term = "4".to_owned();
    newer.accepted_ns = 2_000;
    ledger.enter(newer);
    assert_eq!(ledger.order_fault(), None);
    let mut late = good();
    late.accepted_ns = 3_000;
    ledger.enter(late);
    assert!(ledger.order_fault().is_some_and(|fault| fault.contains("(L8)")));
    assert_eq!(ledger.first_of_term(4).map(|request| request.accepted_ns), Some(2_000));
    assert!(ledger.faults.is_empty(), "{:?}", ledger.faults);
}
