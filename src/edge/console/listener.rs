//! Where the console listens: what could not be opened is tried again, and never fatal.
//!
//! # Invariants
//!
//! - D1: a socket file is replaced only once nobody answered on it.
//! - D2: without a token no address is listened on that other hosts can reach.
//! - D3: a failure is logged when it begins, when it changes and when it ends.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use log::{error, info};

use super::access::Origin;
use super::stream::Stream;
use crate::limits::LISTEN_WAIT_MS;
use crate::sys::connect::connect_unix;
use crate::sys::socket::listen_unix;

/// The socket's name in the run directory.
pub const SOCKET: &str = "agent.sock";

/// A place to listen at.
#[derive(Debug)]
pub(super) struct Door {
    place: Place,
    listener: Option<Listener>,
    /// When to try again.
    retry_ms: Option<u64>,
    /// Accepting pauses until then: descriptors have run out.
    pause_ms: Option<u64>,
    failure: Option<Failure>,
    /// D2
    is_barred: bool,
    /// Where [`super::Console::watch`] put it.
    pub(super) watched: Option<usize>,
}

#[derive(PartialEq, Eq, Debug)]
enum Place {
    Nowhere,
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener, SocketAddr),
    /// With the inode of its file.
    Unix(UnixListener, u64),
}

/// Why it is not open; comparable, so that only news is logged (D3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Failure {
    Answered,
    Io(io::ErrorKind),
}

impl Door {
    pub(super) fn nowhere() -> Self {
        Self::new(Place::Nowhere)
    }

    pub(super) fn tcp(address: SocketAddr) -> Self {
        Self::new(Place::Tcp(address))
    }

    pub(super) fn unix(run_dir: &Path) -> Self {
        Self::new(Place::Unix(run_dir.join(SOCKET)))
    }

    fn new(place: Place) -> Self {
        Self {
            place,
            listener: None,
            retry_ms: None,
            pause_ms: None,
            failure: None,
            is_barred: false,
            watched: None,
        }
    }

    /// Whether other hosts can reach it, so that it needs a token (D2).
    pub(super) fn is_for_others(&self) -> bool {
        match &self.place {
            Place::Nowhere | Place::Unix(_) => false,
            Place::Tcp(address) => !Origin::Tcp(*address).is_local(),
        }
    }

    /// Bars it, whether it is open or not, or lets it be opened.
    pub(super) fn bar(&mut self, is_barred: bool) {
        if is_barred && !self.is_barred {
            self.listener = None;
            self.retry_ms = None;
            error!(
                "console: cannot listen on {}: other hosts could reach it, and there is no token; \
                 write one to the file that console.token_file names, or use a loopback address \
                 such as 127.0.0.1:8480",
                self.place.shown()
            );
        }
        self.is_barred = is_barred;
    }

    /// Opens it if it is not open, or accepts again, if the time has come.
    pub(super) fn tick(&mut self, now_ms: u64) {
        self.pause_ms = self.pause_ms.filter(|pause_ms| now_ms < *pause_ms);
        if self.is_barred || self.listener.is_some() {
            return;
        }
        if self.retry_ms.is_some_and(|retry_ms| now_ms < retry_ms) {
            return;
        }
        let opened = match &self.place {
            Place::Nowhere => return,
            Place::Tcp(address) => listen_tcp(*address),
            Place::Unix(path) => listen_socket(path),
        };
        match opened {
            Ok(listener) => {
                self.retry_ms = None;
                self.listener = Some(listener);
                self.failure = None;
                info!("console: listening on {}", self.place.shown());
            }
            Err((failure, error)) => {
                self.retry_ms = Some(now_ms + u64::from(LISTEN_WAIT_MS));
                if self.failure.replace(failure) != Some(failure) {
                    self.log_failure(failure, error.as_ref());
                }
            }
        }
    }

    fn log_failure(&self, failure: Failure, error: Option<&io::Error>) {
        let place = self.place.shown();
        match (failure, error) {
            (Failure::Io(_), Some(error)) => error!("console: cannot listen on {place}: {error}"),
            (Failure::Answered, _) | (Failure::Io(_), None) => {
                error!(
                    "console: cannot listen on {place}: another agent answers there; use --run-dir"
                );
            }
        }
    }

    pub(super) fn is_for_the_same(&self, other: &Self) -> bool {
        self.place == other.place
    }

    /// When [`Door::tick`] is due.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.retry_ms.into_iter().chain(self.pause_ms).min()
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        if self.pause_ms.is_some() {
            return None;
        }
        self.listener.as_ref().map(|listener| match listener {
            Listener::Tcp(tcp, _) => tcp.as_fd(),
            Listener::Unix(unix, _) => unix.as_fd(),
        })
    }

    /// The next connection, non-blocking.
    pub(super) fn accept(&mut self, now_ms: u64) -> Option<(Stream, Origin)> {
        let accepted = match self.listener.as_ref()? {
            Listener::Tcp(tcp, _) => tcp.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                // what a listener on all addresses was reached by
                let address = stream.local_addr()?;
                Ok((Stream::Tcp(stream), Origin::Tcp(address)))
            }),
            Listener::Unix(unix, _) => unix.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                Ok((Stream::Unix(stream), Origin::Unix))
            }),
        };
        match accepted {
            Ok(accepted) => Some(accepted),
            Err(error) if is_passing(&error) => None,
            Err(_) => {
                // EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection waits, and so do we
                self.pause_ms = Some(now_ms + u64::from(LISTEN_WAIT_MS));
                None
            }
        }
    }

    /// The address listened on, if it is open.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self.listener {
            Some(Listener::Tcp(_, address)) => Some(address),
            Some(Listener::Unix(..)) | None => None,
        }
    }

    /// Listens no more, and takes the socket's file away if it is still ours.
    pub(super) fn close(&mut self) {
        if let (Some(Listener::Unix(_, inode)), Place::Unix(path)) = (&self.listener, &self.place)
            && fs::metadata(path).is_ok_and(|found| found.ino() == *inode)
        {
            // a file left behind is replaced at the next start
            let _ = fs::remove_file(path);
        }
        *self = Self::nowhere();
    }
}

impl Place {
    fn shown(&self) -> String {
        match self {
            Self::Nowhere => "nothing".to_owned(),
            Self::Tcp(address) => address.to_string(),
            Self::Unix(path) => path.display().to_string(),
        }
    }
}

/// Nothing to accept, or a connection that ended before it was: accept(2), "Error handling".
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

type Opened = Result<Listener, (Failure, Option<io::Error>)>;

fn failed(error: io::Error) -> (Failure, Option<io::Error>) {
    (Failure::Io(error.kind()), Some(error))
}

fn listen_tcp(address: SocketAddr) -> Opened {
    let open = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok(Listener::Tcp(listener, bound))
    };
    open().map_err(failed)
}

fn listen_socket(path: &Path) -> Opened {
    let listener = match listen_unix(path, 0o660) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            // an agent that is frozen has no room: it answers as far as we are concerned
            match connect_unix(path, 1).map_err(|error| error.kind()) {
                Err(io::ErrorKind::ConnectionRefused) => {}
                Ok(_) | Err(io::ErrorKind::WouldBlock) => return Err((Failure::Answered, None)),
                Err(kind) => return Err(failed(kind.into())),
            }
            fs::remove_file(path).and_then(|()| listen_unix(path, 0o660))
        }
        outcome => outcome,
    };
    let inode = fs::metadata(path).map(|found| found.ino());
    match (listener, inode) {
        (Ok(listener), Ok(inode)) => Ok(Listener::Unix(listener, inode)),
        (Err(error), _) | (_, Err(error)) => Err(failed(error)),
    }
}
