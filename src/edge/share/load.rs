//! Reads the configuration and the files that it names, for the agent, which touches no path.
//!
//! # Invariants
//!
//! - C1: only regular files, and only as much as may be: nothing here waits for a writer.
//! - C2: nothing is judged: a configuration that cannot be taken is handed over all the same,
//!   and the agent says what is wrong with it.
//! - C3: the share's own failure is a failed order, never an empty configuration.
//! - C4: they are opened in the share's way: an operator's edit waits for no host that vanished.

use std::io::{self, Read as _};
use std::path::Path;

use super::directory::Root;
use super::fault::{cannot, fault_of};
use super::ways::Ways;
use super::{file, not_open};
use crate::edge::config::{self, Files, Origin};
use crate::edge::keeper::Place;
use crate::engine::share::{ShareError, ShareFault};
use crate::limits::{CONFIG_BYTES_MAX, PASSWORD_FILE_BYTES_MAX, SECRET_BYTES_MAX};

/// Reads `edge.json`, or the file that stands in for it, and what it names. Relative names
/// are relative to it. No `edge.json`: nothing is handed over.
pub(super) fn load(place: &Place, root: Option<&Root>) -> Result<Files, ShareError> {
    let (path, named) = match (&place.config, root) {
        (Some(path), _) => (path.clone(), Some(path.to_string_lossy())),
        (None, Some(root)) => (root.path.join("edge.json"), None),
        (None, None) => return Err(not_open()),
    };
    let ways = root.map(|root| root.ways).unwrap_or_default();
    let mut files = Files::default();
    let needed = named.is_some();
    files.config = take(ways, &path, CONFIG_BYTES_MAX, needed, &mut files.fault)?;
    let Some(bytes) = files.config.as_deref() else {
        return Ok(files);
    };
    let origin = named.as_deref().map_or(Origin::DataDirectory, Origin::Named);
    let Ok(config) = config::parse(bytes, origin) else {
        return Ok(files);
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let beside = config.named_files();
    let mut read = |name: &str, bytes_max, needed| {
        take(ways, &folder.join(name), bytes_max, needed, &mut files.fault)
    };
    let secret_key = beside.secret_key;
    let secret_key =
        secret_key.map(|name| read(name, SECRET_BYTES_MAX, true)).transpose()?.flatten();
    let ca = beside.ca.map(|name| read(name, SECRET_BYTES_MAX, true)).transpose()?.flatten();
    let password =
        beside.proxy_password.map(|name| read(name, PASSWORD_FILE_BYTES_MAX, true)).transpose()?;
    let token = read(beside.token, SECRET_BYTES_MAX, false)?;
    Ok(Files { secret_key, ca, proxy_password: password.flatten(), token, ..files })
}

/// A file's bytes. `None`: it is not there, or cannot be read; if it is needed, or it is there,
/// the first such `fault` says why.
fn take(
    ways: Ways,
    path: &Path,
    bytes_max: usize,
    needed: bool,
    fault: &mut Option<String>,
) -> Result<Option<Vec<u8>>, ShareError> {
    match read(ways, path, bytes_max) {
        Ok(bytes) => return Ok(Some(bytes)),
        Err(error) if fault_of(&error) == ShareFault::Stale => {
            return Err(cannot("read", path, &error));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !needed => {}
        Err(error) => {
            fault.get_or_insert_with(|| cannot("read", path, &error).text.as_str().into());
        }
    }
    Ok(None)
}

/// The bytes of a configuration file, for a command. May hang with the share.
pub fn read_config(path: &Path) -> io::Result<Vec<u8>> {
    read(Ways::default(), path, CONFIG_BYTES_MAX)
}

/// C1: opened without waiting, so that a pipe does not hold up the keeper.
fn read(ways: Ways, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = ways.open(|flags| file::open_with(path, flags | libc::O_NONBLOCK))?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::other(format!("larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::super::testing::{Folder, node};
    use super::*;

    fn place(folder: &Folder, config: Option<PathBuf>) -> Place {
        Place {
            data_dir: folder.path.clone(),
            config,
            expected_site: None,
            may_create: true,
            alone: false,
            require_network: false,
            node: node("gw-1"),
            run_dir: PathBuf::new(),
        }
    }

    fn configuration(cloud: &str) -> String {
        format!(
            r#"{{"site":"plant-7","cloud":{{"kind":"datonis","url":"https://api.datonis.io","access_key":"k",{cloud}}}}}"#
        )
    }

    #[test]
    fn no_configuration_is_no_fault() {
        let folder = Folder::new();
        let root = folder.root();
        let files = load(&place(&folder, None), Some(&root)).expect("loaded");
        assert!(files == Files::default());
        let error = load(&place(&folder, None), None).err().expect("nothing is open");
        assert_eq!(error.fault, ShareFault::Missing);
    }

    #[test]
    fn a_configuration_comes_with_the_files_that_it_names() {
        let folder = Folder::new();
        let root = folder.root();
        let text = configuration(
            r#""secret_key_file":"secret.key","ca_file":"ca.pem","proxy":"http://p:3128","proxy_user":"u","proxy_password_file":"p""#,
        );
        fs::write(root.path.join("edge.json"), &text).expect("written");
        fs::write(root.path.join("p"), b"word\n").expect("written");
        fs::write(root.path.join("secret.key"), b"s3cret\n").expect("written");
        fs::write(root.path.join("ca.pem"), b"PEM").expect("written");
        let files = load(&place(&folder, None), Some(&root)).expect("loaded");
        assert_eq!(files.config.as_deref(), Some(text.as_bytes()));
        assert_eq!(files.secret_key.as_deref(), Some(b"s3cret\n".as_slice()));
        assert_eq!(files.ca.as_deref(), Some(b"PEM".as_slice()));
        assert_eq!(files.proxy_password.as_deref(), Some(b"word\n".as_slice()));
        assert_eq!((files.token, files.fault), (None, None));
        fs::write(root.path.join("console.token"), b"t").expect("written");
        fs::remove_file(root.path.join("ca.pem")).expect("gone");
        let files = load(&place(&folder, None), Some(&root)).expect("loaded");
        assert_eq!(files.token.as_deref(), Some(b"t".as_slice()));
        let fault = files.fault.expect("a file is missing");
        assert!(fault.contains("ca.pem: no such file"), "{fault}");
    }

    #[test]
    fn a_named_file_stands_in_and_must_be_there() {
        let (folder, aside) = (Folder::new(), Folder::new());
        let path = aside.path.join("mine.json");
        let place = place(&folder, Some(path.clone()));
        let fault = load(&place, None).expect("loaded").fault.expect("it is not there");
        assert!(fault.contains("mine.json"), "{fault}");
        fs::write(&path, configuration(r#""secret_key_file":"k""#)).expect("written");
        fs::write(aside.path.join("k"), b"here").expect("written");
        let files = load(&place, None).expect("loaded");
        assert_eq!(files.secret_key.as_deref(), Some(b"here".as_slice()));
    }

    #[test]
    fn what_is_wrong_is_handed_over_and_what_is_odd_is_said() {
        let folder = Folder::new();
        let root = folder.root();
        let path = root.path.join("edge.json");
        fs::write(&path, b"{ nonsense").expect("written");
        let files = load(&place(&folder, None), Some(&root)).expect("loaded");
        assert_eq!(files.config.as_deref(), Some(b"{ nonsense".as_slice()), "C2");
        fs::write(&path, vec![b' '; CONFIG_BYTES_MAX + 1]).expect("written");
        let fault = load(&place(&folder, None), Some(&root)).expect("loaded").fault;
        assert!(fault.expect("too large").contains("larger than"));
        fs::remove_file(&path).expect("gone");
        fs::create_dir(&path).expect("made");
        let files = load(&place(&folder, None), Some(&root)).expect("loaded");
        assert!(files.config.is_none());
        assert!(files.fault.expect("a folder").contains("regular file"), "C1");
    }
}
