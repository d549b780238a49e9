//! Connections of our own making for who can only connect by name.
//!
//! minreq looks a name up and connects to what it finds, in order, and can be told nothing about
//! either. So the linker puts this module before `getaddrinfo(3)` and `connect(2)` (`ld(1)`,
//! `--wrap`; see `build.rs`):
//!
//! 1. On a thread that is in [`dialled_by`], no name is looked up, and a TCP socket that is to be
//!    connected gets the connection that the dialler made, wherever it was to lead.
//! 2. The dialler itself, every other thread, every other moment and every other kind of socket
//!    get the C library's own functions, unchanged.
//!
//! Not for: where to connect to (`edge::cloud::way`).

use std::cell::Cell;
use std::ffi::{c_char, c_int};
use std::io;
use std::mem::size_of;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};

use super::check;

/// A dialler on the stack of [`dialled_by`].
#[derive(Clone, Copy)]
struct Dialler {
    data: *mut (),
    /// Only to be called with `data`, and while that is not borrowed.
    dial: unsafe fn(*mut ()) -> io::Result<TcpStream>,
}

thread_local! {
    /// `None` also while the dialler is at work.
    static DIALLER: Cell<Option<Dialler>> = const { Cell::new(None) };
}

/// Does `work`; each TCP socket that it connects gets a connection that `dial` makes.
///
/// `dial` must not panic: the C library is between it and its caller. An error of `dial` that is
/// no system error reaches `work` as `ECONNABORTED`.
pub fn dialled_by<D, T>(mut dial: D, work: impl FnOnce() -> T) -> T
where
    D: FnMut() -> io::Result<TcpStream>,
{
    /// Puts back what was there before, however `work` ends.
    struct Restore(Option<Dialler>);

    impl Drop for Restore {
        fn drop(&mut self) {
            DIALLER.set(self.0);
        }
    }

    let dialler = Dialler { data: (&raw mut dial).cast(), dial: call::<D> };
    let restore = Restore(DIALLER.replace(Some(dialler)));
    let done = work();
    drop(restore);
    done
}

/// # Safety
///
/// `data` points to a `D` that nothing else refers to.
unsafe fn call<D: FnMut() -> io::Result<TcpStream>>(data: *mut ()) -> io::Result<TcpStream> {
    // SAFETY: promised by the caller.
    let dial = unsafe { &mut *data.cast::<D>() };
    dial()
}

unsafe extern "C" {
    fn __real_connect(
        socket: c_int,
        address: *const libc::sockaddr,
        length: libc::socklen_t,
    ) -> c_int;
    fn __real_getaddrinfo(
        node: *const c_char,
        service: *const c_char,
        hints: *const libc::addrinfo,
        result: *mut *mut libc::addrinfo,
    ) -> c_int;
}

/// What the program calls as `connect(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_connect(
    socket: c_int,
    address: *const libc::sockaddr,
    length: libc::socklen_t,
) -> c_int {
    let Some(dialler) = DIALLER.get().filter(|_| is_tcp(socket)) else {
        // SAFETY: the caller's promises are those that connect(2) asks for.
        return unsafe { __real_connect(socket, address, length) };
    };
    DIALLER.set(None);
    // SAFETY: it lives on the stack of `dialled_by`, which called us; with the cell empty,
    // nobody calls it a second time meanwhile.
    let made = unsafe { (dialler.dial)(dialler.data) };
    DIALLER.set(Some(dialler));
    match made.and_then(|stream| put(&stream, socket)) {
        Ok(()) => 0,
        Err(error) => fail(error.raw_os_error().unwrap_or(libc::ECONNABORTED)),
    }
}

/// What the program calls as `getaddrinfo(3)`. While there is a dialler, any address will do: a
/// numeric one is made without a look at anything, by the C library's own allocator.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const libc::addrinfo,
    result: *mut *mut libc::addrinfo,
) -> c_int {
    let node = if DIALLER.get().is_some() { c"127.0.0.1".as_ptr() } else { node };
    // SAFETY: the caller's promises are those that getaddrinfo(3) asks for; a name may stand in
    // for another.
    unsafe { __real_getaddrinfo(node, service, hints, result) }
}

fn is_tcp(socket: RawFd) -> bool {
    let is_internet = matches!(option(socket, libc::SO_DOMAIN), Ok(libc::AF_INET | libc::AF_INET6));
    is_internet && matches!(option(socket, libc::SO_TYPE), Ok(libc::SOCK_STREAM))
}

/// An option of a socket that is an integer.
fn option(socket: RawFd, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut length: libc::socklen_t = size_of::<c_int>().try_into().expect("4");
    // SAFETY: `value` is an integer of `length` bytes that the call may write.
    check(unsafe {
        libc::getsockopt(socket, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length)
    })?;
    Ok(value)
}

/// Lets `socket` stand for the connection from now on.
fn put(stream: &TcpStream, socket: RawFd) -> io::Result<()> {
    // SAFETY: two numbers; the caller of connect(2) owns `socket`, and goes on using it as a TCP
    // socket, which it still is.
    check(unsafe { libc::dup3(stream.as_raw_fd(), socket, libc::O_CLOEXEC) })?;
    Ok(())
}

/// Fails as a function of the C library does.
fn fail(code: c_int) -> c_int {
    // SAFETY: gives this thread's own errno.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: valid for the life of the thread, and only this thread writes it.
    unsafe { *errno = code };
    -1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::{UnixListener, UnixStream};

    /// Whoever looks this up finds nothing (RFC 6761 6.4).
    const NOWHERE: &str = "nowhere.invalid:1";

    #[test]
    fn a_connection_is_that_of_the_dialler_wherever_it_was_to_lead() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut dials = 0;
        let dial = || {
            dials += 1;
            // the dialler's own names and connections are real ones
            assert!(TcpStream::connect(NOWHERE).is_err());
            TcpStream::connect(address)
        };
        let mut near = dialled_by(dial, || TcpStream::connect(NOWHERE)).expect("dialled");
        let (mut far, _) = listener.accept().expect("a connection");
        near.write_all(b"x").expect("connected");
        far.read_exact(&mut [0]).expect("connected");
        assert_eq!(dials, 1);
        assert!(TcpStream::connect(NOWHERE).is_err(), "it is over");
    }

    #[test]
    fn errors_reach_who_connects() {
        let fail = |code| dialled_by(|| Err(io::Error::from_raw_os_error(code)), connect);
        assert_eq!(fail(libc::EHOSTUNREACH).kind(), ErrorKind::HostUnreachable);
        assert_eq!(fail(libc::ECONNREFUSED).kind(), ErrorKind::ConnectionRefused);
        let other = dialled_by(|| Err(io::Error::other("no")), connect);
        assert_eq!(other.kind(), ErrorKind::ConnectionAborted);
    }

    fn connect() -> io::Error {
        TcpStream::connect(NOWHERE).expect_err("the dialler fails")
    }

    #[test]
    fn other_sockets_and_other_threads_go_their_way() {
        let folder = std::env::temp_dir().join(format!("edge-dial-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a scratch folder");
        let path = folder.join("a.sock");
        let _unix = UnixListener::bind(&path).expect("a free path");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = tcp.local_addr().expect("an address");
        dialled_by(
            || Err(ErrorKind::ConnectionRefused.into()),
            || {
                UnixStream::connect(&path).expect("a Unix socket");
                let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
                udp.connect(address).expect("a datagram socket");
                let elsewhere = std::thread::spawn(move || TcpStream::connect(address));
                elsewhere.join().expect("joined").expect("another thread");
            },
        );
        std::fs::remove_dir_all(&folder).expect("ours");
    }
}
