//! The server that both mounts share, and the way of an operation: through the gate, then done and
//! answered, or refused, or both later.

use std::io::{Error, Result};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use fuser::Errno;

use crate::answers::Refuse;
use crate::files::Files;
use crate::gate::{Gate, Held, Kind, Side, Verdict, Woken};
use crate::locks::Locks;

/// What both mounts share: the server.
pub(crate) struct Server {
    /// What it was told to do wrong.
    pub(crate) gate: Gate,
    /// Its files.
    pub(crate) files: Files,
    locks: Mutex<Locks>,
}

impl Server {
    /// Of the files in this folder.
    pub(crate) fn of(folder: &Path) -> Self {
        Self { gate: Gate::default(), files: Files::of(folder), locks: Mutex::default() }
    }

    /// Its locks.
    pub(crate) fn locks(&self) -> MutexGuard<'_, Locks> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a write or a sync through this open file may be done.
    pub(crate) fn check_lock(&self, file: u64) -> Result<()> {
        let told = self.locks().told(file);
        told.map_or(Ok(()), |errno| Err(Error::from_raw_os_error(errno)))
    }

    /// Lets an operation through the gate: does it and answers, or refuses it, or both later.
    pub(crate) fn pass<R, T>(
        self: &Arc<Self>,
        (side, kind, path): (Side, Kind, &Path),
        reply: R,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) where
        R: Refuse + Send + 'static,
    {
        match self.gate.judge(side, kind, path) {
            Verdict::Pass => finish(work(self), reply, answer),
            Verdict::Fail(errno) => reply.refuse(Errno::from_i32(errno)),
            Verdict::Hold(held) => {
                let server = Arc::clone(self);
                thread::spawn(move || hold(&server, held, reply, work, answer));
            }
        }
    }
}

fn finish<R: Refuse, T>(done: Result<T>, reply: R, answer: impl FnOnce(R, T)) {
    match done {
        Ok(value) => answer(reply, value),
        Err(error) => reply.refuse(error.into()),
    }
}

/// Waits until the operation may be done. Who was let go before that gets no second answer.
fn hold<R: Refuse, T>(
    server: &Server,
    mut held: Held,
    reply: R,
    work: impl FnOnce(&Server) -> Result<T>,
    answer: impl FnOnce(R, T),
) {
    let mut reply = Some(reply);
    loop {
        match server.gate.wait(&mut held) {
            Woken::Due => break,
            Woken::Buried => {
                if let Some(reply) = reply.take() {
                    reply.refuse(Errno::EIO);
                }
            }
            Woken::Ended => {
                if let Some(reply) = reply {
                    reply.refuse(Errno::EIO);
                }
                return;
            }
        }
    }
    let done = work(server);
    if let Some(reply) = reply {
        finish(done, reply, answer);
    }
}
