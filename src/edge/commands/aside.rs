//! What a one-shot command has a child do: whatever may hang beyond any signal.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::edge::channel::Link;
use crate::sys::poll::{PollFd, poll};

/// Waits for a child's next frame, whose body is then `link.body()`. `None`: it took longer
/// than `limit_ms`.
pub(super) fn wait<T: DeserializeOwned>(link: &mut Link, limit_ms: u32) -> io::Result<Option<T>> {
    let begin = Instant::now();
    let limit = Duration::from_millis(u64::from(limit_ms));
    loop {
        link.flush()?;
        if let Some(found) = link.receive()? {
            return Ok(Some(found));
        }
        let Some(left) = limit.checked_sub(begin.elapsed()) else {
            return Ok(None);
        };
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(0) + 1;
        poll(&mut [PollFd::new(link.as_fd(), true, link.wants_write())], Some(left_ms))?;
    }
}
