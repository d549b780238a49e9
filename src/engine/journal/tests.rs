use super::*;

const LANE: Lane = Lane::Readings;

fn journal(term: Term) -> Journal {
    let mut journal = Journal::default();
    journal.begin(
        term,
        [Cursor { term, segment: 1, offset: FIRST_OFFSET, seq: 1 }; 2],
        LeftOut::default(),
    );
    journal
}

/// Gathers and writes so many records of 100 bytes.
fn write(journal: &mut Journal, now_ms: u64, records: u32) {
    let through_seq = journal.lanes[0].gathered_seq + u64::from(records);
    journal.gathered(now_ms, LANE, records * 100, through_seq);
    let create = journal.create();
    let marks = journal.marks(create);
    journal.named(&marks, create);
    let append = journal.append(now_ms, 200, true).expect("due at once");
    assert_eq!(append.bytes, records * 100);
    journal.appended(now_ms, LANE);
}

fn fetched(from: Cursor, count: u32, at_end: bool) -> Fetched {
    let seq = from.seq + u64::from(count);
    Fetched {
        request: 1,
        first_seq: from.seq,
        count,
        bytes: count * 100,
        next: Cursor { seq, offset: from.offset + count * 100, ..from },
        at_end,
        missing: false,
        damaged: 0,
        damaged_bytes: 0,
    }
}

#[test]
fn nothing_is_written_before_its_segment_is_named() {
    let mut journal = journal(3);
    journal.gathered(0, LANE, 100, 1);
    assert!(journal.wants_segment(), "B1");
    assert_eq!(journal.append(1_000, 200, true), None, "B1");
    assert_eq!(journal.create(), [1, 0]);
    let marks = journal.marks([1, 0]);
    assert_eq!(marks[0].newest_segment, 1);
    journal.named(&marks, [1, 0]);
    let append = journal.append(1_000, 200, false).expect("its time has come");
    assert_eq!((append.segment, append.offset), (1, FIRST_OFFSET));
}

#[test]
fn what_gathers_waits_for_company_unless_it_is_a_whole_group() {
    let mut journal = journal(3);
    journal.gathered(1_000, LANE, 100, 1);
    assert_eq!(journal.append_due_ms(200), 1_200);
    journal.gathered(1_100, LANE, 200, 2);
    assert_eq!(journal.append_due_ms(200), 1_200, "from the first");
    journal.gathered(1_110, LANE, 70_000, 700);
    assert_eq!(journal.append_due_ms(200), 0);
}

#[test]
fn a_failed_write_goes_to_a_new_segment_with_the_same_records() {
    let mut journal = journal(3);
    write(&mut journal, 0, 5);
    journal.gathered(10, LANE, 300, 8);
    journal.append(300, 200, false).expect("due");
    journal.gathered(310, LANE, 100, 9);
    journal.append_failed(LANE);
    assert_eq!(journal.append(400, 200, true), None, "B5: closed for good");
    assert_eq!(journal.create(), [2, 0]);
    let marks = journal.marks([2, 0]);
    journal.named(&marks, [2, 0]);
    let again = journal.append(400, 200, false).expect("at once");
    assert_eq!((again.segment, again.bytes), (2, 300), "B5: the same groups");
    journal.appended(400, LANE);
    assert_eq!(journal.acknowledge(LANE), Some(8));
    assert_eq!(journal.append(600, 200, true).expect("the rest").bytes, 100);
}

#[test]
fn the_cursor_goes_through_older_terms_and_then_through_ours() {
    let mut journal = Journal::default();
    let from = Cursor { term: 2, segment: 1, offset: 264, seq: 3 };
    journal.begin(5, [from; 2], LeftOut::default());
    let mark = |term, newest| TermMark { term, newest_segment: [newest, 0], last_seq: [0; 2] };
    journal.take_over([from; 2], &[mark(2, 2), mark(3, 0), mark(5, 0)]);
    let whole = u32::MAX;
    assert_eq!(journal.next_read(LANE), Read::Fetch { from, end: whole });
    journal.done(0, LANE, &fetched(from, 2, true));
    let second = Cursor { term: 2, segment: 2, offset: FIRST_OFFSET, seq: 5 };
    assert_eq!(journal.next_read(LANE), Read::Fetch { from: second, end: whole });
    assert!(journal.nothing_fetched(0, LANE, &fetched(second, 0, true)));
    assert_eq!(journal.next_read(LANE), Read::List { term: 4 }, "its slot is gone");
    journal.listed(LANE, 4, 1);
    let fourth = Cursor { term: 4, segment: 1, offset: FIRST_OFFSET, seq: 1 };
    assert_eq!(journal.next_read(LANE), Read::Fetch { from: fourth, end: whole });
    let missing = Fetched { missing: true, ..fetched(fourth, 0, true) };
    assert!(journal.nothing_fetched(0, LANE, &missing), "listed, and gone meanwhile");
    assert_eq!(journal.next_read(LANE), Read::Nothing);
    write(&mut journal, 0, 7);
    let ours = Cursor { term: 5, segment: 1, offset: FIRST_OFFSET, seq: 1 };
    let end = FIRST_OFFSET + 700;
    assert_eq!(journal.next_read(LANE), Read::Fetch { from: ours, end });
}

#[test]
fn a_named_segment_that_is_not_there_is_waited_for() {
    let mut journal = Journal::default();
    let from = Cursor { term: 2, segment: 1, offset: FIRST_OFFSET, seq: 1 };
    journal.begin(5, [from; 2], LeftOut::default());
    journal.take_over([from; 2], &[TermMark { term: 2, newest_segment: [1, 0], last_seq: [0; 2] }]);
    let missing = Fetched { missing: true, ..fetched(from, 0, true) };
    assert!(!journal.nothing_fetched(1_000, LANE, &missing));
    let due_ms = journal.batch_due_ms(LANE, &Settings::default());
    assert_eq!(due_ms, 1_000 + u64::from(SEGMENT_WAIT_MS));
    assert_eq!(journal.next_read(LANE), Read::Fetch { from, end: u32::MAX }, "never absent");
    let late_ms = 1_000 + u64::from(SEGMENT_HIDDEN_MS_MAX);
    assert!(!journal.nothing_fetched(late_ms, LANE, &missing));
    assert_eq!(journal.next_read(LANE), Read::List { term: 2 }, "no share hides it so long");
    journal.listed(LANE, 2, 0);
    assert_eq!(journal.next_read(LANE), Read::Fetch { from, end: u32::MAX });
    assert!(journal.nothing_fetched(late_ms, LANE, &missing), "swept by another, or lost");
}

#[test]
fn a_batch_is_due_by_count_by_bytes_or_by_age() {
    let settings = Settings::default();
    let mut few = journal(3);
    assert_eq!(few.batch_due_ms(LANE, &settings), u64::MAX);
    write(&mut few, 1_000, 5);
    assert_eq!(few.batch_due_ms(LANE, &settings), 11_000, "by age");
    write(&mut few, 2_000, 500);
    assert_eq!(few.batch_due_ms(LANE, &settings), 0, "by count");
    let mut large = journal(3);
    write(&mut large, 1_000, 400);
    let settings = Settings { batch_bytes_max: 40_000, ..settings };
    assert_eq!(large.batch_due_ms(LANE, &settings), 0, "by bytes");
}

#[test]
fn only_what_is_behind_the_durable_cursor_is_swept() {
    let mut journal = journal(3);
    write(&mut journal, 0, 5);
    let (lane, first) = journal.sweep().expect("what older terms left");
    journal.swept(lane, first);
    let (lane, first) = journal.sweep().expect("the alert lane too");
    journal.swept(lane, first);
    journal.append_failed(LANE);
    write(&mut journal, 0, 5);
    let from = Cursor { term: 3, segment: 1, offset: FIRST_OFFSET, seq: 1 };
    journal.done(0, LANE, &fetched(from, 5, true));
    assert!(journal.is_cursor_ahead());
    assert_eq!(journal.sweep(), None, "B4");
    let marks = journal.marks([0, 0]);
    journal.named(&marks, [0, 0]);
    let (_, before) = journal.sweep().expect("segment 1 is behind");
    assert_eq!((before.term, before.segment), (3, 2));
}

#[test]
fn a_segment_of_our_own_that_is_not_there_is_waited_for_and_then_passed_with_a_word() {
    let mut journal = journal(3);
    write(&mut journal, 0, 5);
    let from = Cursor { term: 3, segment: 1, offset: FIRST_OFFSET, seq: 1 };
    let missing = Fetched { missing: true, ..fetched(from, 0, true) };
    assert!(!journal.nothing_fetched(1_000, LANE, &missing));
    assert!(journal.is_waiting_for_segment());
    assert!(journal.found(LANE), "it may be put back");
    assert!(!journal.is_waiting_for_segment());
    assert!(!journal.nothing_fetched(2_000, LANE, &missing));
    let late_ms = 2_000 + u64::from(SEGMENT_HIDDEN_MS_MAX);
    assert!(journal.nothing_fetched(late_ms, LANE, &missing));
    assert_eq!(journal.take_lost(LANE), Some(5));
    assert_eq!(journal.take_lost(LANE), None, "told once");
}

#[test]
fn a_released_term_is_left_once_its_last_record_was_passed_and_what_is_short_of_it_is_lost() {
    let mark = TermMark { term: 2, newest_segment: [1, 0], last_seq: [9, 0] };
    let at = |seq| Cursor { term: 2, segment: 1, offset: 1_000, seq };
    let after = |cursor| {
        let mut journal = Journal::default();
        journal.begin(3, [cursor; 2], LeftOut::default());
        journal.take_over([cursor; 2], &[mark]);
        journal
    };
    let mut whole = after(at(10));
    assert_eq!(whole.next_read(LANE), Read::Nothing, "there or not");
    assert_eq!(whole.take_lost(LANE), None);
    let mut short = after(at(7));
    assert_eq!(short.next_read(LANE), Read::Fetch { from: at(7), end: u32::MAX });
    assert!(short.nothing_fetched(0, LANE, &fetched(at(7), 0, true)));
    assert_eq!(short.next_read(LANE), Read::Nothing);
    assert_eq!(short.take_lost(LANE), Some(3));
}

#[test]
fn a_segment_that_is_wholly_forwarded_is_not_looked_at_again() {
    let mut journal = journal(3);
    write(&mut journal, 0, 5);
    let from = Cursor { term: 3, segment: 1, offset: FIRST_OFFSET, seq: 1 };
    journal.done(0, LANE, &fetched(from, 5, true));
    journal.append_failed(LANE);
    write(&mut journal, 0, 5);
    let next = Cursor { segment: 2, seq: 6, ..from };
    assert_eq!(journal.next_read(LANE), Read::Fetch { from: next, end: FIRST_OFFSET + 500 });
}
