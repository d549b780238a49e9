//! A sync that is left out, or a page that is written in the wrong place, must be noticed.

use std::collections::BTreeSet;
use std::path::Path;

use edge_agent::edge::share::changes::Change;
use edge_agent::engine::slot::COPY_BYTES;

use crate::history::History;
use crate::{Folder, crash_everywhere};

/// Histories that are tried before it counts as not noticed.
const SEEDS_MAX: u64 = 20;

/// A fault of the keeper, as its changes would show it; and the check that must notice.
struct Planted {
    name: &'static str,
    alter: fn(&Change, &Files) -> Altered,
    noticed_by: &'static str,
}

enum Altered {
    Kept,
    Gone,
    Other(Change),
}

/// Which inodes are whose.
#[derive(Default)]
struct Files {
    terms: BTreeSet<u64>,
    segments: BTreeSet<u64>,
    declined: BTreeSet<u64>,
    marks: BTreeSet<u64>,
    /// They were synced once, whole.
    made: BTreeSet<u64>,
}

impl Files {
    fn see(&mut self, change: &Change) {
        let Change::Create { inode, path } = change else { return };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // an inode may have been another file's
        let all = [&mut self.terms, &mut self.segments, &mut self.declined, &mut self.marks];
        all.into_iter().chain([&mut self.made]).for_each(|of| {
            of.remove(inode);
        });
        if name.starts_with(".edge.terms") {
            self.terms.insert(*inode);
        } else if name.ends_with(".seg") {
            self.segments.insert(*inode);
        } else if name.ends_with(".log") {
            self.declined.insert(*inode);
        } else if name == "forgotten.new" {
            self.marks.insert(*inode);
        }
    }
}

/// The first sync of a file is of what it was made with.
fn no_sync_once_made(change: &Change, of: &BTreeSet<u64>, files: &Files) -> Altered {
    let made = matches!(change, Change::Sync { inode } if files.made.contains(inode));
    if made { no_sync(change, of) } else { Altered::Kept }
}

fn without_if(gone: bool) -> Altered {
    if gone { Altered::Gone } else { Altered::Kept }
}

fn no_sync(change: &Change, of: &BTreeSet<u64>) -> Altered {
    without_if(matches!(change, Change::Sync { inode } if of.contains(inode)))
}

fn no_names(change: &Change, ends: &str) -> Altered {
    without_if(matches!(change, Change::SyncNames(path) if path.ends_with(Path::new(ends))))
}

/// A slot goes over the newest copy, not beside it.
fn over_the_newest(change: &Change, files: &Files) -> Altered {
    let Change::Write { inode, offset, bytes } = change else { return Altered::Kept };
    if !files.terms.contains(inode) || bytes.len() != COPY_BYTES {
        return Altered::Kept;
    }
    let page = offset / 4_096 * 4_096;
    Altered::Other(Change::Write { inode: *inode, offset: page, bytes: bytes.clone() })
}

const PLANTED: [Planted; 10] = [
    Planted {
        name: "journal: groups are not synced",
        alter: |change, files| no_sync_once_made(change, &files.segments, files),
        noticed_by: "4",
    },
    Planted {
        name: "journal: names of segments are not synced",
        alter: |change, _| no_names(change, "readings"),
        noticed_by: "4",
    },
    Planted {
        name: "slots: they are not synced",
        alter: |change, files| no_sync_once_made(change, &files.terms, files),
        noticed_by: "2",
    },
    Planted { name: "slots: over the newest copy", alter: over_the_newest, noticed_by: "2" },
    Planted {
        name: "claims: their names are not synced",
        alter: |change, _| no_names(change, "claims"),
        noticed_by: "5",
    },
    Planted {
        name: "site: the name of edge.terms is not synced",
        alter: |change, _| no_names(change, "data"),
        noticed_by: "1",
    },
    Planted {
        name: "site: edge.terms has its name before it is synced",
        alter: |change, files| no_sync(change, &files.terms),
        noticed_by: "1",
    },
    Planted {
        name: "declined: entries are not synced",
        alter: |change, files| no_sync(change, &files.declined),
        noticed_by: "6",
    },
    Planted {
        name: "declined: names of files are not synced",
        alter: |change, _| no_names(change, "declined"),
        noticed_by: "6",
    },
    Planted {
        name: "declined: the mark is not synced before it takes its place",
        alter: |change, files| no_sync(change, &files.marks),
        noticed_by: "6",
    },
];

impl Planted {
    fn alter(&self, root: &Path, changes: &[Change]) -> Vec<Change> {
        let mut files = Files::default();
        let mut altered = Vec::new();
        for change in changes {
            files.see(change);
            let done = (self.alter)(change, &files);
            if let Change::Sync { inode } = change {
                files.made.insert(*inode);
            }
            match done {
                Altered::Kept => altered.push(change.clone()),
                // a sync of nothing: the facts count changes
                Altered::Gone => altered.push(Change::SyncNames(root.join("nowhere"))),
                Altered::Other(other) => altered.push(other),
            }
        }
        altered
    }

    /// Images until it was noticed, and what was said.
    fn play(&self) -> Option<(u64, String)> {
        let mut images = 0;
        for seed in 1..=SEEDS_MAX {
            let folder = Folder::new(&format!("planted-{}", self.name.replace([' ', ':'], "-")));
            let history = History::of(seed, &folder.0);
            let altered = self.alter(&history.path, &history.changes);
            let outcome = crash_everywhere(seed, &history, &altered);
            images += outcome.images;
            if let Some(broken) = outcome.broken {
                return Some((images, broken.lines().next().unwrap_or("").to_owned()));
            }
        }
        None
    }
}

#[test]
fn what_is_left_out_is_noticed() {
    for planted in &PLANTED {
        let (images, said) = planted.play().unwrap_or_else(|| panic!("{}: unseen", planted.name));
        println!("{:<60} {images:>5} images  {said}", planted.name);
        assert!(said.starts_with(planted.noticed_by), "{}: {said}", planted.name);
    }
}
