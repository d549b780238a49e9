//! The data directory: found, judged, and made where it may be made.
//!
//! # Invariants
//!
//! - D1: `edge.terms` alone gives the site id. It is made whole and synced under another
//!   name, then linked; whoever finds one uses it.
//! - D2: a damaged header, or none beside claims, journal or a lock file, is never remade.
//! - D3: `edge.lock` is made in the same way where it is missing beside a whole `edge.terms`,
//!   and never renamed, replaced or deleted.
//! - D4: where a site id is expected, no directory is made.
//! - D5: what is built on is durable. Whoever made it may have been killed before its name was
//!   synced, so each opening syncs the names again: of `edge.terms` too.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::fault::{cannot, foreign, missing, newer, said, short_name};
use super::ways::Ways;
use super::{claims, file, lock, mount, segments, terms};
use crate::engine::ident::{Lane, ShareClass, SiteId};
use crate::engine::share::{ShareError, ShareFault};
use crate::engine::slot::{HEADER_BYTES, Header, HeaderOf};
use crate::limits::{LOCK_OFFSET, SLOT_BYTES, SLOTS};
use crate::sys::random::{random_16, random_u64};

/// An open data directory.
#[derive(Clone, Debug)]
pub(super) struct Root {
    /// Its path, symbolic links resolved.
    pub(super) path: PathBuf,
    /// Its site.
    pub(super) site: SiteId,
    /// How its files are opened.
    pub(super) ways: Ways,
}

impl Root {
    /// Opens a file of it for reading.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        self.ways.open(|flags| file::open_with(path, flags))
    }

    /// Opens one for reading and writing.
    pub(super) fn open_writable(&self, path: &Path) -> io::Result<File> {
        self.ways.open(|flags| file::open_writable(path, flags))
    }

    /// Creates one exclusively.
    pub(super) fn create_new(&self, path: &Path) -> io::Result<File> {
        self.ways.open(|flags| file::create_new(path, flags))
    }

    /// Opens one for reading and writing, or creates it.
    pub(super) fn open_or_create(&self, path: &Path) -> io::Result<File> {
        self.ways.open(|flags| file::open_or_create(path, flags))
    }

    /// `edge.terms`.
    pub(super) fn terms(&self) -> PathBuf {
        self.path.join("edge.terms")
    }

    /// `edge.lock`.
    pub(super) fn lock(&self) -> PathBuf {
        self.path.join("edge.lock")
    }

    /// `claims/`.
    pub(super) fn claims(&self) -> PathBuf {
        self.path.join("claims")
    }

    /// `nodes/`.
    pub(super) fn nodes(&self) -> PathBuf {
        self.path.join("nodes")
    }

    /// `journal/<lane>/`.
    pub(super) fn lane(&self, lane: Lane) -> PathBuf {
        self.path.join("journal").join(lane.name())
    }

    /// `reserve`.
    pub(super) fn reserve(&self) -> PathBuf {
        self.path.join("reserve")
    }

    /// `declined/`.
    pub(super) fn declined(&self) -> PathBuf {
        self.path.join("declined")
    }
}

/// What may be made where there is no data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Making {
    /// Nothing.
    Never,
    /// A data directory, in an empty directory or in one new one.
    Here,
    /// The same, and the directories above it.
    Parents,
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Where.
    pub(super) path: &'a Path,
    /// What may be made.
    pub(super) making: Making,
    /// The only site that will do.
    pub(super) expected: Option<SiteId>,
    /// Whether a file system of this host alone will not do.
    pub(super) network: bool,
}

/// Finds the data directory, judges it, and makes what may be made.
pub(super) fn open(wanted: Wanted<'_>) -> Result<(Root, ShareClass), ShareError> {
    let making = if wanted.expected.is_some() { Making::Never } else { wanted.making };
    let path = resolve(wanted.path, making)?;
    let (class, ways) = judge_mount(&path, wanted.network)?;
    let mut root = Root { path, site: SiteId::default(), ways };
    let found = match site_in(&root, HeaderOf::Terms)? {
        Some(site) => site,
        None => make_terms(&root, making, wanted.expected)?,
    };
    if let Some(expected) = wanted.expected.filter(|&expected| expected != found) {
        return Err(foreign(&root.path, found, expected));
    }
    root.site = found;
    make_directories(&root)?;
    make_lock(&root)?;
    Ok((root, class))
}

/// Finds a data directory and changes nothing.
pub(super) fn find(path: &Path) -> Result<(Root, ShareClass), ShareError> {
    let path = resolve(path, Making::Never)?;
    let (class, ways) = judge_mount(&path, false)?;
    let mut root = Root { path, site: SiteId::default(), ways };
    match site_in(&root, HeaderOf::Terms)? {
        Some(site) => root.site = site,
        None => return Err(no_terms(&root)),
    }
    Ok((root, class))
}

/// Gives the copy of a data directory a site id of its own. Only one without any term.
pub(super) fn renew(root: &mut Root) -> Result<(), ShareError> {
    let _lock = lock::alone(root)?;
    let newest = terms::read_all(&terms::open(root)?, &root.terms())?.newest;
    if newest.is_some() || holds_terms(root)? {
        return Err(missing(format_args!(
            "share: {} holds terms of site {}: make the new site in an empty directory and copy \
             edge.json",
            root.path.display(),
            root.site
        )));
    }
    let site = new_site(&root.path)?;
    for (path, of) in [(root.lock(), HeaderOf::Lock), (root.terms(), HeaderOf::Terms)] {
        root.open_writable(&path)
            .and_then(|file| {
                file::write_at(&file, &of.encode(site), 0)?;
                file::sync_all(&file)
            })
            .map_err(|error| cannot("write", &path, &error))?;
    }
    root.site = site;
    Ok(())
}

/// The site that a file's header names; `None`: there is no such file.
pub(super) fn site_in(root: &Root, of: HeaderOf) -> Result<Option<SiteId>, ShareError> {
    let path = match of {
        HeaderOf::Terms => root.terms(),
        HeaderOf::Lock => root.lock(),
    };
    match root.open(&path) {
        Ok(file) => site_of(&file, &path, of).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("open", &path, &error)),
    }
}

/// The site that an open file's header names.
pub(super) fn site_of(file: &File, path: &Path, of: HeaderOf) -> Result<SiteId, ShareError> {
    let mut header = [0; HEADER_BYTES];
    file::read_at(file, &mut header, 0).map_err(|error| cannot("read", path, &error))?;
    match of.decode(&header) {
        Header::Good(site) => Ok(site),
        Header::Newer(format) => Err(newer(path, format)),
        Header::Damaged => {
            let remedy = match of {
                HeaderOf::Terms => "it is never remade: restore it or begin a new data directory",
                HeaderOf::Lock => "delete it, and it is made anew",
            };
            let name = short_name(path);
            Err(missing(format_args!("share: the header of {name} is damaged; {remedy}")))
        }
    }
}

/// The directory itself, symbolic links resolved, made if it may be.
fn resolve(path: &Path, making: Making) -> Result<PathBuf, ShareError> {
    let found = match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && making != Making::Never => {
            if let Some(parent) = path.parent().filter(|_| making == Making::Parents) {
                fs::create_dir_all(parent).map_err(|error| cannot("make", parent, &error))?;
            }
            file::make_directory(path).map_err(|error| cannot("make", path, &error))?;
            if making == Making::Here {
                log::warn!(
                    "share: {} was not there and was made; if other nodes have a data directory \
                     already, is the share mounted?",
                    path.display()
                );
            }
            fs::canonicalize(path)
        }
        found => found,
    };
    let found = found.map_err(|error| cannot("open", path, &error))?;
    if found.is_dir() {
        return Ok(found);
    }
    Err(missing(format_args!("share: {} is not a directory", path.display())))
}

fn judge_mount(path: &Path, network: bool) -> Result<(ShareClass, Ways), ShareError> {
    let directory = file::open(path).map_err(|error| cannot("open", path, &error))?;
    let mounted = mount::of(&directory);
    let class = mounted.as_ref().map_or(ShareClass::Doubtful, mount::Mount::class);
    match mounted {
        Ok(mount) if network && class == ShareClass::Local => Err(missing(format_args!(
            "share: {} is on {}, of this host alone; a network file system is required",
            path.display(),
            mount.kind
        ))),
        Ok(mount) => Ok((class, Ways::of(&mount))),
        Err(_) => Ok((class, Ways::Plain)),
    }
}

/// D1, D2, D4: makes `edge.terms` if nothing speaks against it; its site.
fn make_terms(root: &Root, making: Making, expected: Option<SiteId>) -> Result<SiteId, ShareError> {
    if let Some(expected) = expected {
        return Err(missing(format_args!(
            "share: {} holds no data directory, expected site {expected}: is the share mounted?",
            root.path.display()
        )));
    }
    if making == Making::Never {
        return Err(no_terms(root));
    }
    let made = refuse_remains(root).and_then(|()| {
        sync_ancestors(&root.path);
        let site = new_site(&root.path)?;
        link_new(root, &root.terms(), HeaderOf::Terms.encode(site), 1 + SLOTS)
    });
    // another node may have been quicker, and its files are no remains
    match site_in(root, HeaderOf::Terms)? {
        Some(found) => Ok(found),
        None => Err(made.err().unwrap_or_else(|| no_terms(root))),
    }
}

fn no_terms(root: &Root) -> ShareError {
    missing(format_args!(
        "share: {} is not a data directory: is the share mounted? `edge-agent init` makes one",
        root.path.display()
    ))
}

/// D2, and nothing is made among foreign files. A configuration put there beforehand, with
/// the files that it may name, is no foreign file.
fn refuse_remains(root: &Root) -> Result<(), ShareError> {
    let lock_there = site_in(root, HeaderOf::Lock)?.is_some();
    if lock_there || holds_terms(root)? {
        return Err(missing(format_args!(
            "share: {} has lost its edge.terms; it is never remade: restore it or begin a new \
             data directory",
            root.path.display()
        )));
    }
    if root.path.join("edge.json").exists() {
        return Ok(());
    }
    let mut foreign = None;
    file::names(&root.path, |name| {
        let ours = matches!(name, "lost+found" | "claims" | "nodes" | "journal" | "declined");
        if !ours && !name.starts_with(".edge.") {
            foreign = Some(name.to_owned());
        }
        Ok(())
    })?;
    match foreign {
        None => Ok(()),
        Some(name) => Err(missing(format_args!(
            "share: {} is not a data directory and not empty (found {name}): name an empty one",
            root.path.display()
        ))),
    }
}

/// Whether any claim or segment is there.
fn holds_terms(root: &Root) -> Result<bool, ShareError> {
    Ok(claims::highest(root)? > 0 || segments::highest_term(root)? > 0)
}

fn new_site(path: &Path) -> Result<SiteId, ShareError> {
    random_16().map(SiteId).map_err(|error| cannot("make a site id for", path, &error))
}

/// Makes what is missing. Without claims and journal no node can do anything; without the others
/// it does all else, and what fails says so.
fn make_directories(root: &Root) -> Result<(), ShareError> {
    let journal = root.path.join("journal");
    make_under(&root.path, &[root.claims(), root.nodes(), journal.clone(), root.declined()])?;
    make_lanes(root)?;
    [root.claims(), journal]
        .into_iter()
        .chain(Lane::ALL.map(|lane| root.lane(lane)))
        .try_for_each(|path| check_folder(&path))
}

/// Whether this is still the data directory that was opened: what is missing in an empty mount
/// point is not made anew (D4).
pub(super) fn check_site(root: &Root) -> Result<(), ShareError> {
    match site_in(root, HeaderOf::Terms)? {
        Some(found) if found == root.site => Ok(()),
        Some(found) => Err(foreign(&root.path, found, root.site)),
        None => Err(no_terms(root)),
    }
}

/// Whether a folder of ours is one. Only what is seen to be something else is said to be.
pub(super) fn check_folder(path: &Path) -> Result<(), ShareError> {
    match fs::metadata(path) {
        Ok(seen) if seen.is_dir() => Ok(()),
        Ok(_) => Err(no_folder(path)),
        Err(error) => Err(cannot("look at", path, &error)),
    }
}

/// D5: of the folders above. What cannot be synced is other people's.
fn sync_ancestors(path: &Path) {
    for folder in path.ancestors().skip(1) {
        let _ = file::sync_directory(folder);
    }
}

/// Makes the journal's folders where they are missing.
pub(super) fn make_lanes(root: &Root) -> Result<(), ShareError> {
    let journal = root.path.join("journal");
    make_under(&root.path, std::slice::from_ref(&journal))?;
    make_under(&journal, &Lane::ALL.map(|lane| root.lane(lane)))
}

/// Something else stands where a folder of ours should be.
pub(super) fn no_folder(path: &Path) -> ShareError {
    let name = short_name(path);
    missing(format_args!("share: {name} is not a folder: move it away, and it is made anew"))
}

/// D5: synced also where nothing was missing.
fn make_under(parent: &Path, directories: &[PathBuf]) -> Result<(), ShareError> {
    for path in directories {
        file::make_directory(path).map_err(|error| cannot("make", path, &error))?;
    }
    file::sync_directory(parent)
}

/// D3. Opened for writing, so that a share that cannot be written is known at once.
fn make_lock(root: &Root) -> Result<(), ShareError> {
    let path = root.lock();
    if let Err(error) = root.open_writable(&path) {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(cannot("open", &path, &error));
        }
        let pages = u32::try_from(LOCK_OFFSET / SLOT_BYTES as u64).expect("a small file") + 1;
        link_new(root, &path, HeaderOf::Lock.encode(root.site), pages)?;
    }
    lock::check_header(root)
}

/// Makes a file of `pages` pages whole under another name, synced, then links it. One that
/// is there already is left as it is.
fn link_new(
    root: &Root,
    path: &Path,
    header: [u8; HEADER_BYTES],
    pages: u32,
) -> Result<(), ShareError> {
    let folder = path.parent().expect("a path in the data directory");
    let name = path.file_name().expect("a file's path").to_string_lossy();
    let random = random_u64().map_err(|error| cannot("make", path, &error))?;
    let aside = folder.join(format!(".{name}.{random:016x}"));
    let linked = write_new(root, &aside, header, pages)
        .map_err(|error| cannot("write", &aside, &error))
        .and_then(|()| match file::link(&aside, path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(cannot_link(path, &error)),
        });
    let gone = file::delete(&aside);
    linked.and(gone).and_then(|()| file::sync_directory(folder))
}

fn cannot_link(path: &Path, error: &io::Error) -> ShareError {
    match error.raw_os_error() {
        Some(errno @ (libc::EPERM | libc::ENOTSUP | libc::ENOSYS | libc::EMLINK)) => {
            let name = short_name(path);
            let text = format_args!(
                "share: cannot link {name}: this file system has no hard links: it cannot be used"
            );
            said(ShareFault::Other, errno, text)
        }
        Some(_) | None => cannot("link", path, error),
    }
}

fn write_new(root: &Root, path: &Path, header: [u8; HEADER_BYTES], pages: u32) -> io::Result<()> {
    let file = root.create_new(path)?;
    let mut page = [0; SLOT_BYTES];
    page[..HEADER_BYTES].copy_from_slice(&header);
    for index in 0..u64::from(pages) {
        file::write_at(&file, &page, index * SLOT_BYTES as u64)?;
        page.fill(0);
    }
    file::sync_all(&file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::testing::Folder;
    use super::*;

    fn wanted(path: &Path, making: Making) -> Wanted<'_> {
        Wanted { path, making, expected: None, network: false }
    }

    fn fault(wanted: Wanted<'_>) -> ShareFault {
        open(wanted).expect_err("nothing to open").fault
    }

    #[test]
    fn an_empty_directory_becomes_one_and_stays_itself() {
        let folder = Folder::new();
        let (first, class) = open(wanted(&folder.path, Making::Here)).expect("made");
        let (again, _) = open(wanted(&folder.path, Making::Never)).expect("found");
        assert_eq!(first.site, again.site);
        assert_ne!(first.site, SiteId::default());
        assert_eq!(class, mount::of_path(&folder.path).expect("mounted").class());
        let size = |path: PathBuf| fs::metadata(path).expect("a file").len();
        assert_eq!(size(first.terms()), 4096 * 257);
        assert_eq!(size(first.lock()), 8192);
        let names: Vec<_> = fs::read_dir(&folder.path).expect("a folder").collect();
        assert_eq!(names.len(), 6, "nothing is left over: {names:?}");
    }

    #[test]
    fn only_one_new_directory_is_made_unless_parents_are_wanted() {
        let folder = Folder::new();
        let deep = folder.path.join("a/b");
        assert_eq!(fault(wanted(&deep, Making::Never)), ShareFault::Missing);
        assert_eq!(fault(wanted(&deep, Making::Here)), ShareFault::Missing);
        assert!(!folder.path.join("a").exists());
        assert!(open(wanted(&folder.path.join("c"), Making::Here)).is_ok());
        assert!(open(wanted(&deep, Making::Parents)).is_ok());
        let access =
            |path: &Path| fs::metadata(path).expect("a directory").permissions().mode() & 0o777;
        assert_eq!(access(&deep), 0o700);
        assert_eq!(access(&deep.join("edge.terms")), 0o600);
        assert_ne!(access(&folder.path.join("a")), 0o700, "others pass through it");
    }

    #[test]
    fn an_expected_site_is_never_made_and_never_mistaken() {
        let folder = Folder::new();
        let expected = Some(SiteId([7; 16]));
        let want = Wanted { expected, ..wanted(&folder.path, Making::Here) };
        assert_eq!(fault(want), ShareFault::Missing);
        assert!(!folder.path.join("edge.terms").exists());
        let (root, _) = open(wanted(&folder.path, Making::Here)).expect("made");
        let error = open(want).expect_err("another site");
        assert_eq!(error.fault, ShareFault::Missing);
        assert!(error.text.contains(&root.site.to_string()), "{error}");
        assert!(error.text.contains(&SiteId([7; 16]).to_string()), "{error}");
        let right = Wanted { expected: Some(root.site), ..want };
        assert!(open(right).is_ok());
    }

    #[test]
    fn foreign_files_are_left_alone_but_a_configuration_is_welcome() {
        let folder = Folder::new();
        fs::write(folder.path.join("family.jpg"), b"x").expect("written");
        assert_eq!(fault(wanted(&folder.path, Making::Here)), ShareFault::Missing);
        fs::write(folder.path.join("edge.json"), b"{}").expect("written");
        assert!(open(wanted(&folder.path, Making::Here)).is_ok());
    }

    #[test]
    fn a_damaged_or_lost_mark_is_never_remade() {
        let folder = Folder::new();
        let (root, _) = open(wanted(&folder.path, Making::Here)).expect("made");
        let mut bytes = fs::read(root.terms()).expect("read");
        bytes[13] ^= 1;
        fs::write(root.terms(), &bytes).expect("written");
        assert_eq!(fault(wanted(&folder.path, Making::Here)), ShareFault::Missing);
        fs::remove_file(root.terms()).expect("gone");
        assert_eq!(fault(wanted(&folder.path, Making::Here)), ShareFault::Missing);
        fs::remove_file(root.lock()).expect("gone");
        fs::write(root.claims().join("3"), b"gw-1").expect("written");
        assert_eq!(fault(wanted(&folder.path, Making::Here)), ShareFault::Missing);
        assert!(!root.terms().exists(), "D2");
        fs::remove_file(root.claims().join("3")).expect("gone");
        assert!(open(wanted(&folder.path, Making::Here)).is_ok());
    }

    #[test]
    fn a_lost_lock_file_is_remade_for_the_same_site() {
        let folder = Folder::new();
        let (root, _) = open(wanted(&folder.path, Making::Here)).expect("made");
        fs::remove_file(root.lock()).expect("gone");
        let want = Wanted { expected: Some(root.site), ..wanted(&folder.path, Making::Never) };
        assert!(open(want).is_ok());
        assert_eq!(site_in(&root, HeaderOf::Lock).expect("read"), Some(root.site));
        fs::write(root.lock(), HeaderOf::Lock.encode(SiteId([1; 16]))).expect("written");
        assert_eq!(fault(want), ShareFault::Missing, "another site's lock file");
    }

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let folder = Folder::new();
        let (root, _) = open(wanted(&folder.path, Making::Here)).expect("made");
        let mut bytes = HeaderOf::Terms.encode(root.site);
        bytes[8] = 2;
        let sum = crate::engine::codec::CRC_32C.checksum(&bytes[..28]);
        bytes[28..].copy_from_slice(&sum.to_le_bytes());
        let file = root.open_writable(&root.terms()).expect("opened");
        file::write_at(&file, &bytes, 0).expect("written");
        assert_eq!(fault(wanted(&folder.path, Making::Here)), ShareFault::Newer);
    }

    #[test]
    fn nodes_that_begin_together_agree_on_one_site() {
        let folder = Folder::new();
        let path = folder.path.as_path();
        let sites: Vec<SiteId> = std::thread::scope(|scope| {
            let begun: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| open(wanted(path, Making::Here)).expect("made").0.site))
                .collect();
            begun.into_iter().map(|node| node.join().expect("opened")).collect()
        });
        assert!(sites.iter().all(|&site| site == sites[0]), "{sites:?}");
    }

    #[test]
    fn a_path_through_a_symbolic_link_is_resolved_at_each_opening() {
        let folder = Folder::new();
        let (first, second) = (folder.path.join("1"), folder.path.join("2"));
        let (one, _) = open(wanted(&first, Making::Here)).expect("made");
        let (two, _) = open(wanted(&second, Making::Here)).expect("made");
        let link = folder.path.join("link");
        std::os::unix::fs::symlink(&first, &link).expect("linked");
        assert_eq!(open(wanted(&link, Making::Never)).expect("found").0.site, one.site);
        fs::remove_file(&link).expect("gone");
        std::os::unix::fs::symlink(&second, &link).expect("linked");
        assert_eq!(open(wanted(&link, Making::Never)).expect("found").0.site, two.site);
    }

    #[test]
    fn a_network_file_system_can_be_required() {
        let folder = Folder::new();
        let local = mount::of_path(&folder.path).expect("mounted").class() == ShareClass::Local;
        let want = Wanted { network: true, ..wanted(&folder.path, Making::Here) };
        assert_eq!(open(want).is_err(), local);
    }
}
