//! `run`: be a node of the site.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::edge::logging;
use crate::edge::options::Options;

/// Begins to log, makes the run directory, then runs the agent until that ends.
pub fn run(options: &Options, agent: impl FnOnce(&Options) -> i32) -> i32 {
    logging::start(options.log, options.log_level);
    for name in &options.unknown_variables {
        log::warn!("{name} is not a variable of this program: it is ignored");
    }
    make_run_dir(&options.run_dir);
    agent(options)
}

/// Makes the last folder of the path if it is missing. Without it there is no socket: the
/// console says so and tries again, so this is no reason to stop.
fn make_run_dir(path: &Path) {
    match DirBuilder::new().mode(0o750).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => {
            log::error!("cannot make {}: {error}; --run-dir names another", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_run_directory_is_made_for_its_group() {
        let folder = std::env::temp_dir().join(format!("edge-run-{}", std::process::id()));
        make_run_dir(&folder);
        make_run_dir(&folder);
        let mode = std::fs::metadata(&folder).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o027, 0o020 & mode, "nothing for others, no writing for the group");
        assert_eq!(mode & 0o700, 0o700);
        std::fs::remove_dir(&folder).expect("ours, and empty");
        make_run_dir(&folder.join("deeper/still"));
    }
}
