//! What a replay, a purge or a count wants of the store.

use super::entry::{self, About, Entry, Scan};
use super::files::{self, Content, FileOf, Name};
use super::known::Known;
use super::{Root, Store, reading};
use crate::engine::ident::Term;
use crate::engine::share::ShareError;
use crate::engine::store::{Position, PutBack, StoreCount, StoreOrder, StoreOutcome};

impl Store {
    /// Performs an order; the records of a replay's batch go to `batch`.
    pub(in super::super) fn perform(
        &mut self,
        root: &Root,
        term: Term,
        order: &StoreOrder,
        batch: &mut Vec<u8>,
    ) -> Result<StoreOutcome, ShareError> {
        self.enter(term);
        match order {
            StoreOrder::Replay(fetch) => {
                reading::batch(root, fetch, batch).map(StoreOutcome::Replayed)
            }
            StoreOrder::Forget { through } => {
                self.forget(root, *through).map(|()| StoreOutcome::Forgotten)
            }
            StoreOrder::PutBack(order) => {
                self.put_back(root, order).map(|dropped| StoreOutcome::PutBack { dropped })
            }
            StoreOrder::Purge => self.purge(root).map(|records| StoreOutcome::Purged { records }),
            StoreOrder::Count => self.count(root).map(StoreOutcome::Counted),
        }
    }

    /// Also a file of our own goes once all in it is forgotten: the next entry begins another.
    fn forget(&mut self, root: &Root, through: Position) -> Result<(), ShareError> {
        let left = reading::forget(root, through)?;
        self.look(root)?;
        let name = Name::of(through);
        if let Some(stored) = self.files.iter_mut().find(|stored| stored.name == name) {
            stored.records = Some(left);
        }
        Ok(())
    }

    /// X7. A repeat after a failure goes on where that one stopped.
    fn put_back(&mut self, root: &Root, order: &PutBack) -> Result<u32, ShareError> {
        if self.put_back != Some(order.through) {
            self.putting_back = Some(order.through);
            let written = self.write_back(root, order);
            self.putting_back = None;
            if let Err(error) = written {
                self.abandon(root);
                return Err(error);
            }
            self.put_back = Some(order.through);
        }
        self.forget(root, order.through)?;
        Ok(std::mem::take(&mut self.owed.1))
    }

    /// Whatever is known to stand there: this is the record itself, with a new reason.
    fn write_back(&mut self, root: &Root, order: &PutBack) -> Result<(), ShareError> {
        let Some(entry) = entry_at(root, order.through)? else {
            return Ok(());
        };
        self.look(root)?;
        let about = About {
            term: entry.term,
            lane: entry.lane,
            seq: entry.seq,
            status: order.status,
            reason: &order.reason,
            wall_ms: order.wall_ms,
        };
        let mut scratch = Vec::new();
        entry::write(&about, &entry.record, &mut scratch);
        self.put(root, &about, order.bytes_max, &mut scratch)?;
        self.sync(root)?;
        // It was in the store before.
        self.owed.0 -= 1;
        Ok(())
    }

    fn purge(&mut self, root: &Root) -> Result<u64, ShareError> {
        let purged = reading::purge(root, &mut self.purged);
        self.known = Known::default();
        self.look(root)?;
        purged?;
        Ok(std::mem::take(&mut self.purged))
    }

    /// Reads one file at most: no order takes long.
    fn count(&mut self, root: &Root) -> Result<StoreCount, ShareError> {
        self.look(root)?;
        let forgotten = files::forgotten(root)?;
        let unknown = |stored: &&mut super::Stored| !stored.is_left && stored.records.is_none();
        if let Some(stored) = self.files.iter_mut().find(unknown) {
            match files::read(root, stored.name) {
                Ok(Content::Ours(bytes)) => {
                    stored.records = Some(reading::count(root, stored.name, &bytes, forgotten));
                }
                Ok(Content::Gone) => stored.records = Some(0),
                Ok(Content::Newer) | Err(_) => stored.is_left = true,
            }
        }
        let ours = || self.files.iter().filter(|stored| !stored.is_left);
        Ok(StoreCount {
            files: u32::try_from(ours().count()).unwrap_or(u32::MAX),
            bytes: ours().map(|stored| stored.bytes).sum(),
            records: ours().filter_map(|stored| stored.records).map(u64::from).sum(),
            complete: ours().all(|stored| stored.records.is_some()),
        })
    }
}

/// The entry that stands exactly there, if it is whole.
fn entry_at(root: &Root, position: Position) -> Result<Option<Entry>, ShareError> {
    let name = Name::of(position);
    let Content::Ours(bytes) = files::read(root, name)? else {
        return Ok(None);
    };
    let mut scan = Scan::new(FileOf { site: root.site, name }, position.offset as usize);
    let found = scan.next(&bytes).filter(|(offset, _)| *offset == position.offset);
    Ok(found.map(|(_, entry)| entry))
}

#[cfg(test)]
mod tests;
