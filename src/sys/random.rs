//! Random numbers for nonces, identifiers and jitter (`getrandom(2)`, Linux 3.17).
//!
//! Never blocks: before the kernel's pool is ready, early after boot, `/dev/urandom` is read
//! instead. Not for: keys; TLS has its own source.

use std::fs::File;
use std::io::{self, Read};

use super::{check, uninterrupted};

/// 64 random bits.
pub fn random_u64() -> io::Result<u64> {
    Ok(u64::from_ne_bytes(random()?))
}

/// 128 random bits.
pub fn random_16() -> io::Result<[u8; 16]> {
    random()
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    const { assert!(N <= 256, "up to 256 bytes come whole: getrandom(2)") };
    let mut bytes = [0; N];
    let filled = uninterrupted(|| {
        // SAFETY: the call writes at most N bytes into `bytes`.
        check(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, libc::GRND_NONBLOCK) })
    });
    match filled {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        }
        Err(error) => return Err(error),
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{random_16, random_u64};

    #[test]
    fn numbers_differ() {
        let numbers: std::collections::BTreeSet<u64> =
            (0..64).map(|_| random_u64().expect("random")).collect();
        assert_eq!(numbers.len(), 64);
        let (one, other) = (random_16().expect("random"), random_16().expect("random"));
        assert_ne!(one, other);
        assert_ne!(one[..8], one[8..], "both halves are filled");
    }
}
