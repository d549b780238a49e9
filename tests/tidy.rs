//! Holds the source to its own rules.
//!
//! - T1: the engine has no `std` outside its tests, and imports neither edge nor sys.
//! - T2: sys imports neither edge nor engine; `unsafe` lives there alone.
//! - T3: functions stay under 70 lines, files under 700 (500 is what we aim at).
//! - T4: nothing unfinished is left.
//! - T5: the top level has no folders but the known ones.
//! - T6: the README says how shares are exported and mounted, which the laboratory goes by.
//!
//! It reads words, not meaning: comments and literals are blanked first.

#[path = "lab/advice.rs"]
mod advice;

use std::fs;
use std::path::{Path, PathBuf};

// see build.rs
use edge_agent as _;

/// A function has fewer lines than this, from `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;
/// A file has at most so many lines.
const FILE_LINES_MAX: usize = 700;
/// Folders at the top level, those with a leading dot left out.
const FOLDERS: [&str; 4] = ["cross", "config", "src", "tests"];

struct Source {
    name: String,
    lines: usize,
    /// The text with comments, strings and characters blanked, line breaks kept.
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of ours can be read") {
            let path = entry.expect("a folder of ours can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                found.push(read(&path));
            }
        }
    }
    assert!(!found.is_empty(), "no source in {folder}");
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

fn read(path: &PathBuf) -> Source {
    let text = fs::read_to_string(path).expect("a source is UTF-8");
    let name = path.strip_prefix(root()).expect("it lies below the root").display().to_string();
    Source { name, lines: text.lines().count(), code: blank(&text) }
}

/// Blanks comments, strings and characters.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if is_raw_string(bytes, at) => raw_string_end(bytes, at),
            b'\'' => character_end(bytes, at),
            _ => at,
        };
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("only whole characters are blanked")
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0;
    let mut end = at;
    while end < bytes.len() {
        let (step, change) = match &bytes[end..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        end += step;
        depth += change;
        if depth == 0 {
            return end;
        }
    }
    end
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while end < bytes.len() && bytes[end] != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    (end + 1).min(bytes.len())
}

fn is_raw_string(bytes: &[u8], at: usize) -> bool {
    let starts_word = at == 0 || !is_word(bytes[at - 1]) || bytes[at - 1] == b'b';
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    starts_word && bytes.get(at + 1 + hashes) == Some(&b'"')
}

fn raw_string_end(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    let closing = format!("\"{}", "#".repeat(hashes));
    let body = at + 2 + hashes;
    let found = bytes[body..].windows(closing.len()).position(|part| part == closing.as_bytes());
    found.map_or(bytes.len(), |length| body + length + closing.len())
}

/// `'a'` and `'\n'` are characters, `'a` alone is a lifetime.
fn character_end(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at + 1) == Some(&b'\\') {
        let closing = bytes[at + 3..].iter().position(|byte| *byte == b'\'');
        return closing.map_or(bytes.len(), |length| at + 4 + length);
    }
    let closing = bytes.iter().skip(at + 2).take(4).position(|byte| *byte == b'\'');
    match closing {
        Some(length) if length == 0 || bytes[at + 1] > 127 => at + 3 + length,
        _ => at,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where a word stands by itself.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let after = at + word.len();
        let free = |index: usize| bytes.get(index).is_none_or(|byte| !is_word(*byte));
        (*at == 0 || free(at - 1)) && free(after)
    })
}

fn line_of(code: &str, at: usize) -> usize {
    1 + code[..at].matches('\n').count()
}

/// Where the block that opens at or after `at` is closed; `None`: there is none before `;`.
fn block_end(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_u32;
    let mut nesting = 0_u32;
    for (index, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return Some(index + 1),
            b'}' => depth -= 1,
            b'(' | b'[' if depth == 0 => nesting += 1,
            b')' | b']' if depth == 0 => nesting = nesting.saturating_sub(1),
            b';' if depth == 0 && nesting == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The code with every item under `#[cfg(test)]` blanked.
fn without_tests(code: &str) -> String {
    let mut kept = code.to_owned();
    while let Some(at) = kept.find("#[cfg(test)]") {
        let after = at + "#[cfg(test)]".len();
        let semicolon = || kept[after..].find(';').map(|length| after + length + 1);
        let end = block_end(&kept, after).or_else(semicolon).unwrap_or(kept.len());
        let blanked: String =
            kept[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        kept.replace_range(at..end, &blanked);
    }
    kept
}

fn report(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

fn uses(folder: &str, words_wanted: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources(folder) {
        // `#[cfg(test)] mod tests;` puts them in a file of their own
        if source.name.ends_with("/tests.rs") || source.name.contains("/tests/") {
            continue;
        }
        let code = without_tests(&source.code);
        for word in words_wanted {
            let found = words(&code, word);
            faults
                .extend(found.map(|at| format!("{}:{}: {word}", source.name, line_of(&code, at))));
        }
    }
    faults
}

#[test]
fn the_engine_decides_and_does_nothing_else() {
    report("T1: the engine has neither std nor alloc", &uses("src/engine", &["std", "alloc"]));
    let imports = ["crate::edge", "crate::sys", "super::edge", "super::sys"];
    report("T1: the engine imports neither edge nor sys", &uses("src/engine", &imports));
}

#[test]
fn sys_imports_neither_of_the_other_rings() {
    let imports = ["crate::edge", "crate::engine", "super::edge", "super::engine"];
    report("T2: sys imports neither edge nor engine", &uses("src/sys", &imports));
}

#[test]
fn unsafe_lives_in_sys_alone() {
    let mut faults = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        if source.name.starts_with("src/sys/") {
            continue;
        }
        let found = words(&source.code, "unsafe");
        faults.extend(found.map(|at| format!("{}:{}", source.name, line_of(&source.code, at))));
    }
    report("T2: unsafe outside src/sys", &faults);
}

#[test]
fn functions_and_files_stay_short() {
    let mut faults = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        if source.lines > FILE_LINES_MAX {
            faults.push(format!("{}: {} lines", source.name, source.lines));
        }
        for at in words(&source.code, "fn") {
            let Some(end) = block_end(&source.code, at) else { continue };
            let lines = 1 + source.code[at..end].matches('\n').count();
            // a type such as `fn(u8)` has no name and no block of its own
            let named = source.code[at + 2..].trim_start().starts_with(|c: char| c != '(');
            if named && lines >= FUNCTION_LINES {
                let line = line_of(&source.code, at);
                faults.push(format!("{}:{line}: a function of {lines} lines", source.name));
            }
        }
    }
    report("T3: too long", &faults);
}

#[test]
fn nothing_unfinished_is_left() {
    let mut faults = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        for mark in ["todo!", "unimplemented!", "dbg!"] {
            let found = source.code.match_indices(mark);
            faults.extend(
                found.map(|(at, _)| {
                    format!("{}:{}: {mark}", source.name, line_of(&source.code, at))
                }),
            );
        }
    }
    report("T4: unfinished", &faults);
}

#[test]
fn the_top_level_has_no_other_folders() {
    let mut faults = Vec::new();
    for entry in fs::read_dir(root()).expect("the root can be read") {
        let path = entry.expect("the root can be read").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        // what cargo builds into is marked as a cache
        let is_cache = path.join("CACHEDIR.TAG").exists() || name == "target";
        if path.is_dir() && !name.starts_with('.') && !is_cache && !FOLDERS.contains(&&*name) {
            faults.push(name);
        }
    }
    report("T5: unknown folders", &faults);
}

#[test]
fn the_readme_says_how_shares_are_exported_and_mounted() {
    let (nfs, smb) = (advice::mount("nfs"), advice::mount("cifs"));
    let server = fs::read_to_string(root().join("tests/lab/server.rs")).expect("it can be read");
    let host = fs::read_to_string(root().join("tests/lab/host.rs")).expect("it can be read");
    let has = |text: &str, name: &str, value: &str| {
        text.contains(&format!("const {name}: &str = \"{value}\";"))
    };
    let (_, folder) = nfs.device.split_once(':').expect("server and folder");
    let (_, section) = smb.device.rsplit_once('/').expect("server and share");
    let options = |mount: &advice::Mount, wanted: &[&str]| {
        wanted.iter().all(|option| mount.options.split(',').any(|one| one == *option))
    };
    let rules = [
        ("T6: one mount point", nfs.point == smb.point && has(&host, "MOUNT", nfs.point)),
        ("T6: one folder", has(&server, "EXPORT", folder)),
        ("T6: NFS's options", options(&nfs, &["vers=4.2", "hard"])),
        ("T6: SMB's options", options(&smb, &["vers=3.1.1", "uid=8480", "closetimeo=0"])),
        ("T6: its password in a file", smb.options.contains("credentials=/")),
        ("T6: exports", advice::export_options().starts_with("rw,sync,")),
        ("T6: the lease", advice::settings("nfsd").contains("\nlease-time=15\n")),
        ("T6: smb.conf", advice::settings(section).contains(&format!("\npath = {folder}\n"))),
    ];
    let faults = rules.iter().filter(|(_, holds)| !holds).map(|(rule, _)| (*rule).to_owned());
    report("the README's lines for shares", &faults.collect::<Vec<_>>());
}

#[test]
fn the_reader_of_sources_sees_code_alone() {
    let text = "fn f<'a>(x: &'a str) { // unsafe\n let c = '\"'; /* dbg! /* x */ */ \
                let s = \"unsafe \\\" {\"; let r = r#\"unsafe \" }\"#; let q = '\\''; unsafe {} }";
    let code = blank(text);
    assert_eq!(words(&code, "unsafe").count(), 1, "{code}");
    assert_eq!(block_end(&code, 0), Some(code.len()), "{code}");
    assert!(!code.contains("dbg!"));
    let tested = "use core::fmt;\n#[cfg(test)]\nmod tests { use std::fs; }\nfn f() {}\n";
    let kept = without_tests(tested);
    assert!(kept.contains("core::fmt") && kept.contains("fn f") && !kept.contains("std"));
}
