//! A token that belongs to this host alone: read from a file outside the data directory, and made
//! if there is none, so that a container's console is never open to whoever can reach it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};

use super::Token;

/// The token in this file; made, for its owner alone, if the file is not there. The log names the
/// file and never the token. Errors: the file cannot be read or made, or holds no token.
pub fn host_token(path: &Path) -> io::Result<Token> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(path)?;
            log::info!("console: a token was made: it stands in {}", path.display());
            fs::read(path)?
        }
        read => read?,
    };
    Token::read(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, Token::EXPECTED))
}

/// Written under another name and then renamed: whoever is killed meanwhile leaves no half token.
fn make(path: &Path) -> io::Result<()> {
    let part = path.with_extension("part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    write(OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?)?;
    fs::rename(&part, path)
}

fn write(mut file: File) -> io::Result<()> {
    let mut random = [0; 24];
    SystemRandom::new().fill(&mut random).map_err(|_| io::Error::other("no random numbers"))?;
    for byte in random {
        write!(file, "{byte:02x}")?;
    }
    writeln!(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_for_its_owner_alone() {
        let path = std::env::temp_dir().join(format!("edge-token-{}", std::process::id()));
        let made = host_token(&path).expect("made");
        let access = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(access & 0o777, 0o600);
        assert_eq!(host_token(&path).expect("read"), made);
        fs::remove_file(&path).expect("ours");
        fs::write(path.with_extension("part"), "half").expect("left by one that was killed");
        let made = host_token(&path).expect("made");
        assert_eq!(host_token(&path).expect("read"), made);
        fs::write(&path, "two words\n").expect("written");
        let error = host_token(&path).expect_err("no token");
        assert!(error.to_string().contains("visible ASCII"), "{error}");
        fs::remove_file(&path).expect("ours");
        assert_ne!(host_token(&path).expect("made anew"), made);
        fs::remove_file(&path).expect("ours");
        assert!(host_token(Path::new("/nowhere/at/all")).is_err());
    }
}
