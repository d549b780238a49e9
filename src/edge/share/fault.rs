//! What failed on the share, in words for people and as a kind for the engine.
//!
//! The text says what was being done to what, the reason, and the remedy if there is one:
//! `share: cannot open edge/edge.lock: permission denied (we are uid 8480, it belongs to
//! uid 0: chown -R 8480 /mnt/edge)`.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use heapless::String;

use super::mount;
use crate::engine::ident::SiteId;
use crate::engine::share::{ShareError, ShareFault};
use crate::engine::slot::FORMAT;
use crate::sys::process::user_id;

/// A failed system call: `doing` is a verb in its infinitive, done to the file at `path`.
pub(super) fn cannot(doing: &str, path: &Path, error: &io::Error) -> ShareError {
    let errno = error.raw_os_error().unwrap_or(0);
    let fault = fault_of(error);
    let (name, reason) = (short_name(path), reason_of(error));
    let text = format_args!("share: cannot {doing} {name}: {reason}").to_string();
    match remedy(fault, path) {
        Some(remedy) => said(fault, errno, format_args!("{text} ({remedy})")),
        None => said(fault, errno, format_args!("{text}")),
    }
}

/// A failure that no system call reported.
pub(super) fn said(fault: ShareFault, errno: i32, text: fmt::Arguments<'_>) -> ShareError {
    let mut clip = Clip(String::new());
    // a full clip is no failure: what fits is shown
    let _ = fmt::write(&mut clip, text);
    ShareError { fault, errno, text: clip.0 }
}

/// As much of a text as fits.
pub(super) fn cut<const N: usize>(text: &str) -> String<N> {
    let mut fits = String::new();
    // the first letter that does not fit ends it
    let _ = text.chars().try_for_each(|letter| fits.push(letter));
    fits
}

/// No data directory, or not ours.
pub(super) fn missing(text: fmt::Arguments<'_>) -> ShareError {
    said(ShareFault::Missing, 0, text)
}

/// What is there belongs to another site.
pub(super) fn foreign(path: &Path, found: SiteId, expected: SiteId) -> ShareError {
    let name = short_name(path);
    missing(format_args!("share: {name} is of site {found}, expected {expected}"))
}

/// What is there was written by a newer version of this program.
pub(super) fn newer(path: &Path, format: u32) -> ShareError {
    let name = short_name(path);
    let text = format_args!(
        "share: {name} has format {format}, this program knows {FORMAT}: upgrade this node"
    );
    said(ShareFault::Newer, 0, text)
}

/// The last two parts of a path: enough to know the file, short enough for a log line.
pub(super) fn short_name(path: &Path) -> std::string::String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    match path.parent().and_then(Path::file_name) {
        Some(parent) => format!("{}/{name}", parent.to_string_lossy()),
        None => name.into_owned(),
    }
}

/// The kind of a system call's failure.
pub(super) fn fault_of(error: &io::Error) -> ShareFault {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::EISDIR) => ShareFault::Missing,
        Some(libc::EACCES | libc::EPERM) => ShareFault::Denied,
        Some(libc::EROFS) => ShareFault::ReadOnly,
        Some(libc::ENOSPC | libc::EDQUOT) => ShareFault::NoSpace,
        Some(
            libc::ESTALE
            | libc::EBADF
            | libc::EIO
            | libc::ENODEV
            | libc::ENOTCONN
            | libc::EHOSTDOWN,
        ) => ShareFault::Stale,
        _ => ShareFault::Other,
    }
}

/// The system's words, lower case and without its number.
/// The reason alone, as it stands in a text.
pub(super) fn reason_of(error: &io::Error) -> std::string::String {
    let whole = error.to_string();
    let reason = whole.split(" (os error").next().unwrap_or_default();
    let mut letters = reason.chars();
    letters.next().map_or_else(std::string::String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

fn remedy(fault: ShareFault, path: &Path) -> Option<std::string::String> {
    match fault {
        ShareFault::Denied => Some(denied(path)),
        ShareFault::ReadOnly => Some("mount it read-write".into()),
        ShareFault::NoSpace => Some("free space or raise the quota".into()),
        ShareFault::Missing | ShareFault::Newer | ShareFault::Stale | ShareFault::Other => None,
    }
}

/// Who we are, whose it is, and what mends it.
fn denied(path: &Path) -> std::string::String {
    let us = user_id();
    let nearest = path.ancestors().find_map(|at| at.metadata().ok().map(|seen| (at, seen)));
    let Some((at, seen)) = nearest else {
        return format!("we are uid {us}");
    };
    let whose = format!("we are uid {us}, it belongs to uid {}", seen.uid());
    let folder = if seen.is_dir() { at } else { at.parent().unwrap_or(at) };
    match mount::of_path(folder).map(|mount| mount.kind) {
        Ok(kind) if kind == "cifs" || kind == "smb3" => {
            format!("{whose}: mount with uid={us},forceuid")
        }
        Ok(kind) if kind.starts_with("nfs") => {
            format!("{whose}: on the server, chown -R {us} the folder")
        }
        // Only a data directory is ours to give away whole; never what merely lies above one.
        Ok(_) | Err(_) => match data_directory_of(folder) {
            Some(root) => format!("{whose}: chown -R {us} {}", root.display()),
            None => format!("{whose}: as root, make the data directory and chown {us} it"),
        },
    }
}

fn data_directory_of(folder: &Path) -> Option<&Path> {
    folder.ancestors().take(3).find(|at| at.join("edge.terms").is_file())
}

/// Text of bounded length: what does not fit is cut off.
struct Clip(String<200>);

impl fmt::Write for Clip {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|letter| self.0.push(letter).map_err(|_| fmt::Error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errno: i32) -> ShareError {
        cannot("open", Path::new("/nowhere/edge/edge.lock"), &io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn a_failure_says_what_was_done_to_what_and_why() {
        let stale = of(libc::ESTALE);
        assert_eq!(stale.fault, ShareFault::Stale);
        assert_eq!(stale.errno, libc::ESTALE);
        assert_eq!(stale.text, "share: cannot open edge/edge.lock: stale file handle");
    }

    #[test]
    fn a_refusal_names_us_the_owner_and_the_remedy() {
        let denied = of(libc::EACCES);
        assert_eq!(denied.fault, ShareFault::Denied);
        let us = format!("we are uid {}, it belongs to uid 0", user_id());
        assert!(denied.text.contains(&us), "{denied}");
        assert!(denied.text.contains("chown") || denied.text.contains("uid="), "{denied}");
    }

    #[test]
    fn every_errno_has_its_kind() {
        for (errno, fault) in [
            (libc::ENOENT, ShareFault::Missing),
            (libc::EPERM, ShareFault::Denied),
            (libc::EROFS, ShareFault::ReadOnly),
            (libc::EDQUOT, ShareFault::NoSpace),
            (libc::EIO, ShareFault::Stale),
            (libc::ENOTCONN, ShareFault::Stale),
            (libc::EINVAL, ShareFault::Other),
        ] {
            assert_eq!(of(errno).fault, fault, "errno {errno}");
        }
    }

    #[test]
    fn a_long_text_is_cut_not_dropped() {
        let error = missing(format_args!("{}", "ä".repeat(300)));
        assert_eq!(error.text.as_str(), "ä".repeat(100));
    }
}
