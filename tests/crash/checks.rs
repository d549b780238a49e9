//! What the next master must find, whatever a crash left.
//!
//! 1. The data directory opens, as the same site.
//! 2. The newest slot is the last one that was durable, or one that was being written since.
//! 3. No cursor stands before a durable one.
//! 4. Every acknowledged record that the cursor has not passed is read, as it was, in its order; and
//!    none that was never written.
//! 5. A number that was claimed is not claimed again.
//! 6. What was declined is listed, as it was, until it is forgotten or purged; and nothing else is.
//! 7. The next term begins, writes and reads.

use std::collections::BTreeSet;
use std::path::Path;

use edge_agent::edge::share;
use edge_agent::engine::ident::{Cursor, Lane, SiteId, Term};
use edge_agent::engine::segment::FIRST_OFFSET;
use edge_agent::engine::share::{ShareOrder, ShareOutcome, Survey};
use edge_agent::engine::slot::Slot;

use crate::history::{Fact, History, Identity, Keeper, What, first_slot, line};

type Checked = Result<(), String>;

/// What is known when the crash comes.
struct Known<'a> {
    facts: &'a [Fact],
    count: usize,
}

impl<'a> Known<'a> {
    fn certain<T>(&self, of: impl Fn(&'a What) -> Option<T> + 'a) -> impl Iterator<Item = T> {
        let count = self.count;
        self.facts
            .iter()
            .filter(move |fact| fact.is_certain(count))
            .filter_map(move |f| of(&f.what))
    }

    fn begun<T>(&self, of: impl Fn(&'a What) -> Option<T> + 'a) -> impl Iterator<Item = T> {
        let count = self.count;
        self.facts.iter().filter(move |fact| fact.is_begun(count)).filter_map(move |f| of(&f.what))
    }
}

fn site_of(what: &What) -> Option<SiteId> {
    if let What::Site(site) = what { Some(*site) } else { None }
}

fn slot_of(what: &What) -> Option<&Slot> {
    if let What::Slot(slot) = what { Some(slot) } else { None }
}

fn claim_of(what: &What) -> Option<Term> {
    if let What::Claimed(term) = what { Some(*term) } else { None }
}

fn appended(what: &What) -> Option<Identity> {
    if let What::Appended(identity) = what { Some(*identity) } else { None }
}

fn declined(what: &What) -> Option<Identity> {
    if let What::Declined(identity) = what { Some(*identity) } else { None }
}

fn forgotten(what: &What) -> Option<Identity> {
    if let What::Forgotten(identity) = what { Some(*identity) } else { None }
}

fn let_go(what: &What) -> Option<Identity> {
    if let What::Forgotten(identity) | What::Purged(identity) = what {
        Some(*identity)
    } else {
        None
    }
}

/// Opens an image of the crash that came after so many changes.
pub(crate) fn check(history: &History, count: usize, folder: &Path) -> Checked {
    let path = folder.join("data");
    let known = Known { facts: &history.facts, count };
    let (mut keeper, site) = Keeper::open(&path, "gw-9").map_err(|why| format!("1: {why}"))?;
    let Some(before) = known.certain(site_of).next() else {
        // it was being made: whoever opens it makes it
        return goes_on(&mut keeper);
    };
    hold(site == before, || format!("1: it was site {before}, and is {site} now"))?;
    let ShareOutcome::Surveyed(survey) = keeper.order(ShareOrder::Survey)? else {
        return Err("2: nothing was surveyed".to_owned());
    };
    check_slots(&known, &survey)?;
    check_declined(&known, &path)?;
    for lane in Lane::ALL {
        check_lane(&known, &mut keeper, &survey, lane)?;
    }
    for term in known.certain(claim_of) {
        let outcome = keeper.order(ShareOrder::Claim { term })?;
        let again = outcome == ShareOutcome::Claimed { created: true };
        hold(!again, || format!("5: term {term} was claimed twice"))?;
    }
    goes_on(&mut keeper)
}

fn hold(holds: bool, why: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(why()) }
}

fn check_slots(known: &Known<'_>, survey: &Survey) -> Checked {
    let rank = |slot: &&Slot| (slot.term, slot.heartbeat);
    let durable = known.certain(slot_of).max_by_key(rank);
    let newest = survey.newest.as_ref();
    let was_written = known.begun(slot_of).any(|slot| Some(slot) == newest);
    let is_later = newest.as_ref().map(rank) >= durable.as_ref().map(rank);
    let tell = |slot: Option<&Slot>| slot.map(|slot| (slot.term, slot.heartbeat));
    hold(newest == durable || was_written && is_later, || {
        format!("2: {:?} is the newest slot, not {:?}", tell(newest), tell(durable))
    })?;
    for lane in Lane::ALL {
        let cursors = known.certain(slot_of).map(|slot| slot.lanes[lane.index()].cursor);
        let cursor = survey.cursors[lane.index()];
        for durable in cursors {
            hold(!durable.is_past(&cursor), || {
                format!("3: {lane:?} stands at {cursor:?}, before the durable {durable:?}")
            })?;
        }
    }
    Ok(())
}

/// Reads a lane as the next master does.
fn check_lane(known: &Known<'_>, keeper: &mut Keeper, survey: &Survey, lane: Lane) -> Checked {
    let cursor = survey.cursors[lane.index()];
    let mut found = BTreeSet::new();
    let mut marks: Vec<_> = survey.marks.iter().filter(|mark| mark.term >= cursor.term).collect();
    marks.sort_by_key(|mark| mark.term);
    for mark in marks {
        let newest = mark.newest_segment[lane.index()];
        let (first, begin) = if mark.term == cursor.term {
            (cursor.segment, cursor)
        } else {
            (1, Cursor { term: mark.term, segment: 1, offset: FIRST_OFFSET, seq: 1 })
        };
        let mut next = begin;
        for segment in first..=newest {
            if segment > first {
                next = Cursor { segment, offset: FIRST_OFFSET, ..next };
            }
            next = read_segment(known, keeper, lane, next, &mut found)?;
        }
    }
    for identity in known.certain(appended).filter(|identity| identity.1 == lane.index()) {
        let passed = (identity.0, identity.2) < (cursor.term, cursor.seq);
        hold(passed || found.contains(&identity), || {
            format!("4: {identity:?} (term, lane, seq) was acknowledged and is lost")
        })?;
    }
    Ok(())
}

fn read_segment(
    known: &Known<'_>,
    keeper: &mut Keeper,
    lane: Lane,
    from: Cursor,
    found: &mut BTreeSet<Identity>,
) -> Result<Cursor, String> {
    let begun: BTreeSet<_> = known.begun(appended).collect();
    let mut next = from;
    loop {
        let (fetched, body) = keeper.fetch(lane, next, 10_000)?;
        hold(!fetched.missing, || format!("4: the segment of {next:?} is named and not there"))?;
        let seqs = fetched.first_seq..fetched.first_seq + u64::from(fetched.count);
        for (seq, text) in seqs.zip(body.split_inclusive(|&byte| byte == b'\n')) {
            let identity = (from.term, lane.index(), seq);
            let right = begun.contains(&identity) && text == line(identity).as_bytes();
            hold(right, || format!("4: {identity:?} was never written so"))?;
            hold(found.insert(identity), || format!("4: {identity:?} comes twice"))?;
        }
        if fetched.count == 0 || fetched.at_end {
            return Ok(fetched.next);
        }
        next = fetched.next;
    }
}

fn check_declined(known: &Known<'_>, path: &Path) -> Checked {
    let begun: BTreeSet<_> = known.begun(declined).collect();
    let mut found = BTreeSet::new();
    for entry in share::declined(path).map_err(|error| format!("6: {error}"))? {
        let (_, entry) = entry.map_err(|error| format!("6: {error}"))?;
        let identity = (entry.term, entry.lane.index(), entry.seq);
        let as_it_was = entry.record == line(identity).trim_end().as_bytes()
            && entry.wall_ms >= 1_800_000_000_000
            && entry.reason.starts_with("refused");
        hold(begun.contains(&identity) && as_it_was, || {
            format!("6: {identity:?} was never declined so: {entry:?}")
        })?;
        found.insert(identity);
    }
    let let_go: BTreeSet<_> = known.begun(let_go).collect();
    for identity in known.certain(declined).filter(|identity| !let_go.contains(identity)) {
        hold(found.contains(&identity), || format!("6: {identity:?} was declined and is lost"))?;
    }
    for identity in known.certain(forgotten) {
        hold(!found.contains(&identity), || format!("6: {identity:?} was forgotten and is back"))?;
    }
    Ok(())
}

fn goes_on(keeper: &mut Keeper) -> Checked {
    let write = |keeper: &mut Keeper| {
        let term = keeper.take_term()?;
        let begin = Cursor { term, segment: 1, offset: FIRST_OFFSET, seq: 1 };
        let mut slot = first_slot(term, "gw-9", [begin; 2]);
        keeper.order(ShareOrder::Announce(slot.clone()))?;
        slot.heartbeat += 1;
        for mark in &mut slot.lanes {
            mark.newest_segment = 1;
        }
        keeper.prove(slot, [1, 1])?;
        keeper.append(Lane::Readings, (term, 1, FIRST_OFFSET), 1..4)?;
        let (fetched, body) = keeper.fetch(Lane::Readings, begin, 10)?;
        let whole = (1..4).map(|seq| line((term, 0, seq))).collect::<String>();
        hold(fetched.count == 3 && body == whole.as_bytes(), || format!("it reads {fetched:?}"))
    };
    write(keeper).map_err(|why| format!("7: {why}"))
}
