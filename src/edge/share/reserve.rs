//! `reserve`: a file that takes up room, so that there is some when the share is full.
//!
//! # Invariants
//!
//! - V1: what it takes up is really allocated: its content does not compress, and has no holes.
//! - V2: it is made only while enough is free besides; what cannot be made whole is deleted.

use std::os::fd::AsFd;

use super::directory::Root;
use super::fault::{cannot, fault_of};
use super::file;
use crate::engine::share::{ReserveOrder, ReserveSeen, ShareError, ShareFault};
use crate::limits::{RESERVE_BYTES, RESERVE_ROOM_BYTES};
use crate::sys::space;

/// Makes the reserve, or gives it up.
pub(super) fn perform(root: &Root, order: ReserveOrder) -> Result<ReserveSeen, ShareError> {
    match order {
        ReserveOrder::Make => make(root),
        ReserveOrder::GiveUp => give_up(root),
    }
}

fn make(root: &Root) -> Result<ReserveSeen, ShareError> {
    let path = root.reserve();
    let whole = |length: u64| length == RESERVE_BYTES as u64;
    if std::fs::metadata(&path).is_ok_and(|seen| whole(seen.len())) {
        return Ok(ReserveSeen::There);
    }
    let folder = file::open(&root.path).map_err(|error| cannot("open", &root.path, &error))?;
    // where nobody tells how much is free, the try decides
    let free = space::free_bytes(folder.as_fd()).ok().filter(|free| *free > 0);
    if free.is_some_and(|free| free < RESERVE_ROOM_BYTES) {
        return Ok(ReserveSeen::NoRoom);
    }
    let reserve = root.open_or_create(&path).map_err(|error| cannot("create", &path, &error))?;
    match file::write_at(&reserve, &content(), 0).and_then(|()| file::sync_all(&reserve)) {
        Ok(()) => file::sync_directory(&root.path).map(|()| ReserveSeen::Made),
        Err(error) => {
            file::delete(&path)?;
            match fault_of(&error) {
                ShareFault::NoSpace => Ok(ReserveSeen::NoRoom),
                ShareFault::Missing
                | ShareFault::Newer
                | ShareFault::Denied
                | ShareFault::ReadOnly
                | ShareFault::Stale
                | ShareFault::Other => Err(cannot("write", &path, &error)),
            }
        }
    }
}

/// Bytes that no file system can store in fewer (V1): xorshift64.
fn content() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..RESERVE_BYTES / 8).flat_map(|_| next()).collect()
}

fn give_up(root: &Root) -> Result<ReserveSeen, ShareError> {
    let path = root.reserve();
    let there = path.exists();
    file::delete(&path)?;
    Ok(if there { ReserveSeen::GivenUp } else { ReserveSeen::Nothing })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::super::testing::Folder;
    use super::*;

    #[test]
    fn it_takes_up_its_room_once_and_gives_it_back() {
        let folder = Folder::new();
        let root = folder.root();
        let act = |order| perform(&root, order).expect("done");
        assert_eq!(act(ReserveOrder::GiveUp), ReserveSeen::Nothing);
        assert_eq!(act(ReserveOrder::Make), ReserveSeen::Made);
        let seen = fs::metadata(root.reserve()).expect("it is there");
        assert_eq!(seen.len(), RESERVE_BYTES as u64);
        assert!(seen.blocks() * 512 >= RESERVE_BYTES as u64, "V1: {} blocks", seen.blocks());
        assert_eq!(act(ReserveOrder::Make), ReserveSeen::There);
        fs::write(root.reserve(), b"a crash left this").expect("written");
        assert_eq!(act(ReserveOrder::Make), ReserveSeen::Made);
        assert_eq!(act(ReserveOrder::GiveUp), ReserveSeen::GivenUp);
        assert!(!root.reserve().exists());
    }

    #[test]
    fn its_content_has_no_pattern() {
        let mut counts = [0_u32; 256];
        for byte in content() {
            counts[usize::from(byte)] += 1;
        }
        let even = u32::try_from(RESERVE_BYTES / 256).expect("small");
        assert!(counts.iter().all(|count| *count > even / 2 && *count < even * 2), "{counts:?}");
    }
}
