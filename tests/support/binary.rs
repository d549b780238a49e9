//! The agent's binary beside an example's own.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// What tests run: what cargo built for them, or what `EDGE_BINARY` names.
pub fn under_test(built: &str) -> PathBuf {
    env::var_os("EDGE_BINARY").map_or_else(|| built.into(), PathBuf::from)
}

/// Whether `EDGE_BINARY` names another, such as one that an emulator runs: that has threads of its
/// own, and takes its time.
pub fn is_another() -> bool {
    env::var_os("EDGE_BINARY").is_some()
}

/// Has cargo bring the binary up to date (it builds none for examples), and says where it is;
/// `EDGE_BINARY` names another, such as one for another processor.
pub fn beside_example() -> PathBuf {
    if let Some(named) = env::var_os("EDGE_BINARY") {
        return named.into();
    }
    let own = env::current_exe().expect("binary: cannot tell where this program is");
    // target/<profile>/examples/<name>
    let folder = own.ancestors().nth(2).expect("an example has a folder above its own");
    let binary = folder.join("edge-agent");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // what `cargo run` says about the example would have build scripts run anew each time
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(key);
        }
    }
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    build.args(["build", "--locked", "--bin", "edge-agent", "--target-dir"]);
    build.arg(folder.parent().expect("a profile has a folder above its own"));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    match build.status() {
        Ok(status) if status.success() => {}
        other => eprintln!("cargo build: {other:?}; going on with what is there"),
    }
    assert!(binary.exists(), "binary: no {}; run cargo build --release first", binary.display());
    binary
}
