//! `claims/<term>`: a term belongs to whoever created its file exclusively.

use std::io;

use super::directory::Root;
use super::fault::{cannot, fault_of};
use super::file;
use crate::engine::ident::{NodeName, Term};
use crate::engine::share::{ShareError, ShareFault};

/// Creates the claim of `term`, durable once this returns; `false`: the number is taken.
///
/// After a failure the number may be taken or not: it is not tried again.
pub(super) fn create(root: &Root, term: Term, node: &NodeName) -> Result<bool, ShareError> {
    let path = root.claims().join(term.to_string());
    let claim = match root.create_new(&path) {
        Ok(claim) => claim,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(cannot("create", &path, &error)),
    };
    let text = node.as_str().as_bytes();
    match file::write_at(&claim, text, 0).and_then(|()| file::sync_all(&claim)) {
        Ok(()) => {}
        // the name alone is the claim; what stands in it is for people
        Err(error) if fault_of(&error) == ShareFault::NoSpace => {}
        Err(error) => return Err(cannot("write", &path, &error)),
    }
    file::sync_directory(&root.claims())?;
    Ok(true)
}

/// The highest number claimed; 0: none.
pub(super) fn highest(root: &Root) -> Result<Term, ShareError> {
    let mut highest = 0;
    file::names(&root.claims(), |name| {
        highest = highest.max(term_of(name).unwrap_or(0));
        Ok(())
    })?;
    Ok(highest)
}

/// Deletes the claims below `keep_from`.
pub(super) fn tidy(root: &Root, keep_from: Term) -> Result<(), ShareError> {
    let folder = root.claims();
    file::names(&folder, |name| match term_of(name) {
        Some(term) if term < keep_from => match file::delete(&folder.join(name)) {
            // a folder is not ours
            Err(_) if folder.join(name).is_dir() => Ok(()),
            done => done,
        },
        Some(_) | None => Ok(()),
    })
}

/// A claim's name is its term in decimal digits, as we write it.
fn term_of(name: &str) -> Option<Term> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit()) && !name.starts_with('0');
    if digits { name.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::{Folder, node};
    use super::*;

    #[test]
    fn a_number_is_taken_once() {
        let folder = Folder::new();
        let root = folder.root();
        assert!(create(&root, 5, &node("gw-1")).expect("created"));
        assert!(!create(&root, 5, &node("gw-2")).expect("asked"));
        assert_eq!(fs::read(root.claims().join("5")).expect("read"), b"gw-1");
        assert_eq!(highest(&root).expect("listed"), 5);
    }

    #[test]
    fn only_older_claims_are_deleted() {
        let folder = Folder::new();
        let root = folder.root();
        for term in [1, 9, 10, 300] {
            create(&root, term, &node("gw-1")).expect("created");
        }
        fs::write(root.claims().join("1.txt"), b"mine").expect("written");
        tidy(&root, 10).expect("tidied");
        let mut left = Vec::new();
        file::names(&root.claims(), |name| {
            left.push(name.to_owned());
            Ok(())
        })
        .expect("listed");
        left.sort();
        assert_eq!(left, ["1.txt", "10", "300"]);
    }
}
