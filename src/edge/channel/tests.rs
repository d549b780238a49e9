//! Frames over real socket pairs; what needs a second process is in `tests/sys_process/`.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};

use super::{FRAME_MAX, LENGTHS, Link, Port};
use crate::limits::{FRAME_BODY_MAX, FRAME_HEAD_MAX};
use crate::sys::memfd::memfd;
use crate::sys::poll::{PollFd, poll};
use crate::sys::socket::{pair, shrink_buffers};

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Head {
    number: u32,
    text: heapless::String<64>,
}

fn head(number: u32) -> Head {
    let text = "x".repeat(number as usize % 50);
    Head { number, text: text.as_str().try_into().expect("short") }
}

fn link_and_port() -> (Link, Port) {
    let (one, other) = pair().expect("pair");
    (Link::new(one).expect("link"), Port::new(other))
}

fn link_and_socket() -> (Link, UnixStream) {
    let (one, other) = pair().expect("pair");
    (Link::new(one).expect("link"), UnixStream::from(other))
}

/// The next frame of a link, waiting for it.
fn next(link: &mut Link) -> Head {
    loop {
        if let Some(head) = link.receive().expect("receive") {
            return head;
        }
        let ready = poll(&mut [PollFd::new(link.as_fd(), true, false)], Some(5_000));
        assert_eq!(ready.expect("poll"), 1, "a frame within 5 s");
    }
}

/// A body whose bytes tell where they belong.
fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).expect("below 251")).collect()
}

fn raw(total: u32, head: u32, rest: &[u8]) -> Vec<u8> {
    [&total.to_le_bytes()[..], &head.to_le_bytes(), rest].concat()
}

#[test]
fn frames_go_both_ways_in_order() {
    let (mut link, mut port) = link_and_port();
    assert_eq!(link.receive::<Head>().expect("nothing is no error"), None);
    for number in 0..20 {
        link.send(&head(number), &body(number as usize), None).expect("send");
    }
    for number in 0..20 {
        assert_eq!(port.receive::<Head>().expect("receive"), head(number));
        assert_eq!(port.body(), body(number as usize));
        assert!(port.take_fd().is_none());
        port.send(&head(number + 1), port_body(number).as_slice()).expect("send");
    }
    for number in 0..20 {
        assert_eq!(next(&mut link), head(number + 1));
        assert_eq!(link.body(), port_body(number));
    }
    assert_eq!(link.receive::<Head>().expect("no more"), None);
    assert_eq!(link.body(), b"");
}

fn port_body(number: u32) -> Vec<u8> {
    body(1_000 * number as usize)
}

#[test]
fn what_does_not_go_at_once_is_queued_and_goes_later() {
    let (one, other) = pair().expect("pair");
    shrink_buffers(one.as_fd());
    shrink_buffers(other.as_fd());
    let (mut link, mut port) = (Link::new(one).expect("link"), Port::new(other));
    link.send(&head(1), &body(FRAME_BODY_MAX), None).expect("send");
    link.send(&head(2), &body(70_000), None).expect("send");
    assert!(link.wants_write());
    let reader = std::thread::spawn(move || {
        assert_eq!(port.receive::<Head>().expect("first"), head(1));
        assert_eq!(port.body(), body(FRAME_BODY_MAX));
        assert_eq!(port.receive::<Head>().expect("second"), head(2));
        assert_eq!(port.body(), body(70_000));
        port
    });
    while link.wants_write() {
        let ready = poll(&mut [PollFd::new(link.as_fd(), false, true)], Some(5_000));
        assert_eq!(ready.expect("poll"), 1, "writable within 5 s");
        link.flush().expect("flush");
    }
    let mut port = reader.join().expect("the reader's own assertions");
    link.send(&head(3), b"after", None).expect("send");
    assert_eq!(port.receive::<Head>().expect("third"), head(3));
}

#[test]
fn frames_come_whole_however_they_are_cut() {
    let (mut link, mut socket) = link_and_socket();
    let mut bytes = Vec::new();
    for number in [3, 4] {
        let head = postcard::to_slice(&head(number), &mut [0; 100]).expect("fits").to_vec();
        let length = u32::try_from(head.len()).expect("small");
        bytes.extend(raw(4 + length + 2, length, &[&head[..], b"ab"].concat()));
    }
    for (at, byte) in bytes.iter().enumerate() {
        socket.write_all(&[*byte]).expect("write");
        let whole = at + 1 == bytes.len() / 2 || at + 1 == bytes.len();
        let got = link.receive::<Head>().expect("receive");
        assert_eq!(got.is_some(), whole, "after byte {at}");
        assert_eq!(link.body(), if whole { &b"ab"[..] } else { b"" });
    }
    // both in one piece: the second lies in the buffer and is handed out without a read
    socket.write_all(&bytes).expect("write");
    drop(socket);
    assert_eq!(link.receive::<Head>().expect("first"), Some(head(3)));
    assert_eq!(link.receive::<Head>().expect("second"), Some(head(4)));
    let error = link.receive::<Head>().expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_descriptor_comes_with_its_own_frame() {
    let (one, other) = pair().expect("pair");
    shrink_buffers(one.as_fd());
    let (mut link, mut port) = (Link::new(one).expect("link"), Port::new(other));
    let files: Vec<OwnedFd> =
        [b"first", b"third"].map(|text| memfd("test", text).expect("memfd")).into();
    // the first fills the socket, so that the others are queued
    link.send(&head(0), &body(300_000), Some(files[0].as_fd())).expect("send");
    assert!(link.wants_write());
    link.send(&head(1), b"none", None).expect("send");
    link.send(&head(2), b"", Some(files[1].as_fd())).expect("send");
    drop(files);
    let sender = std::thread::spawn(move || {
        while link.wants_write() {
            poll(&mut [PollFd::new(link.as_fd(), false, true)], Some(5_000)).expect("poll");
            link.flush().expect("flush");
        }
    });
    let mut read = |number| {
        assert_eq!(port.receive::<Head>().expect("receive"), head(number));
        port.take_fd().map(|fd| {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
            std::fs::read(path).expect("reopened")
        })
    };
    assert_eq!(read(0).as_deref(), Some(&b"first"[..]));
    assert_eq!(read(1), None);
    assert_eq!(read(2).as_deref(), Some(&b"third"[..]));
    sender.join().expect("the sender's own assertions");
}

#[test]
fn a_port_passes_descriptors_too_and_closes_what_is_not_taken() {
    let (one, other) = pair().expect("pair");
    let (mut one, mut other) = (Port::new(one), Port::new(other));
    let (ours, theirs) = pair().expect("pair");
    one.send_with_fd(&7_u32, b"", Some(theirs.as_fd())).expect("send");
    one.send(&8_u32, b"").expect("send");
    drop(theirs);
    assert_eq!(other.receive::<u32>().expect("receive"), 7);
    assert_eq!(other.receive::<u32>().expect("receive"), 8);
    assert!(other.take_fd().is_none(), "it came with the frame before");
    let mut ours = UnixStream::from(ours);
    assert_eq!(ours.read(&mut [0]).expect("read"), 0, "the copy not taken is closed");
}

#[test]
fn lengths_that_make_no_sense_are_refused() {
    let too_long = u32::try_from(FRAME_MAX).expect("fits");
    let head_max = u32::try_from(FRAME_HEAD_MAX).expect("fits");
    let cases = [
        raw(3, 0, b""),
        raw(8, 5, b"12345"),
        raw(u32::MAX, u32::MAX, b""),
        raw(u32::MAX, 0, b""),
        raw(0, u32::MAX, b""),
        raw(4 + head_max + 1, head_max + 1, b""),
        raw(too_long, 1, b""),
    ];
    for bytes in cases {
        let (mut link, mut socket) = link_and_socket();
        socket.write_all(&bytes).expect("write");
        let error = link.receive::<Head>().expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{bytes:?}");
        let (mut socket, mut port) = {
            let (one, other) = pair().expect("pair");
            (File::from(one), Port::new(other))
        };
        socket.write_all(&bytes).expect("write");
        let error = port.receive::<Head>().expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{bytes:?}");
        assert_eq!(port.body(), b"");
    }
}

#[test]
fn heads_of_another_type_are_refused() {
    for head in [&b"\x05\x00"[..], b"\x05", b"\x05\x00trailing"] {
        let (mut link, mut socket) = link_and_socket();
        let length = u32::try_from(head.len()).expect("small");
        socket.write_all(&raw(4 + length, length, head)).expect("write");
        let got = link.receive::<Head>();
        if head.len() == 2 {
            let expected = Head { number: 5, text: heapless::String::new() };
            assert_eq!(got.expect("whole"), Some(expected));
        } else {
            assert_eq!(got.expect_err("refused").kind(), ErrorKind::InvalidData);
        }
    }
}

#[test]
fn a_port_has_no_body_after_a_head_of_another_type() {
    let (one, other) = pair().expect("pair");
    let mut port = Port::new(other);
    File::from(one).write_all(&raw(4 + 1 + 4, 1, b"\x05body")).expect("write");
    assert_eq!(port.receive::<Head>().expect_err("refused").kind(), ErrorKind::InvalidData);
    assert_eq!(port.body(), b"");
}

#[test]
fn frames_too_large_are_refused_and_leave_the_channel_whole() {
    let (mut link, mut port) = link_and_port();
    let large = "x".repeat(FRAME_HEAD_MAX);
    let error = link.send(&large.as_str(), b"", None).expect_err("head");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = link.send(&head(1), &body(FRAME_BODY_MAX + 1), None).expect_err("body");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(!link.wants_write());
    let error = port.send(&large.as_str(), b"").expect_err("head");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    link.send(&head(2), b"", None).expect("send");
    assert_eq!(port.receive::<Head>().expect("receive"), head(2));
}

#[test]
fn the_end_of_the_other_side_is_an_error_for_both() {
    let (mut link, mut port) = link_and_port();
    link.send(&head(1), b"left behind", None).expect("send");
    drop(link);
    assert_eq!(port.receive::<Head>().expect("receive"), head(1));
    let error = port.receive::<Head>().expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(port.send(&head(1), b"").expect_err("closed").kind(), ErrorKind::BrokenPipe);

    let (mut link, port) = link_and_port();
    drop(port);
    let error = link.send(&head(1), b"", None).expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_frame_cut_short_by_the_end_is_no_frame() {
    let (one, other) = pair().expect("pair");
    let mut port = Port::new(other);
    File::from(one).write_all(&raw(100, 10, b"12345")).expect("write");
    let error = port.receive::<Head>().expect_err("cut short");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_peer_that_never_reads_is_an_error_in_the_end() {
    let (mut link, _port) = link_and_port();
    let large = body(FRAME_BODY_MAX);
    let mut sent = 0;
    let error = loop {
        match link.send(&head(1), &large, None) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 4, "the queue is bounded");
    };
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert!(sent >= 1, "one whole frame always fits");
}

#[test]
fn buffers_do_not_creep() {
    let (mut link, mut port) = link_and_port();
    for number in 0..2_000 {
        link.send(&head(number), &body(500), None).expect("send");
        assert_eq!(port.receive::<Head>().expect("receive"), head(number));
        port.send(&head(number), &body(3_000)).expect("send");
        port.send(&head(number), &body(20)).expect("send");
        assert_eq!(next(&mut link), head(number));
        assert_eq!(next(&mut link), head(number));
        assert_eq!(link.body(), body(20));
    }
    assert_eq!(link.room(), LENGTHS + FRAME_HEAD_MAX, "never above what it started with");
}
