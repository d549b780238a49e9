//! Answers that are none, or odd ones: what they mean for the records, and what people read.

use std::net::TcpListener;
use std::time::Duration;

use crate::support::answers::Answer;
use crate::support::processes;
use crate::support::receiver::Behaviour;
use crate::support::site::{Part, Plan};
use crate::{NODE, Scene, plan};

fn raw(status: u16, text: &str) -> Answer {
    Answer::Raw(status, text.as_bytes().to_vec())
}

/// The ledger's word for records that no cloud would have taken.
const NOTHING: u16 = 999;

#[test]
fn what_is_no_answer_is_told_in_plain_words_and_sent_again() {
    let scene = Scene::start(&plan());
    let html = "<!DOCTYPE html>\r\n<html><body>Bad Gateway</body></html>";
    for (answer, reason) in [
        (Answer::Page(502, String::new(), html.into()), "answer 502 .: <!DOCTYPE html><html>"),
        (raw(0, ""), "connection closed without an HTTP answer by localhost"),
        (raw(NOTHING, "220 mail.example ESMTP\r\n"), "without an HTTP answer"),
        (raw(NOTHING, "HTTP/1.1 OK\r\n\r\n"), "without an HTTP answer"),
        (raw(0, "HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"a\":"), "answer 200 cut short"),
        (raw(NOTHING, "HTTP/1.1 100 Continue\r\n\r\n"), "answer 100 Continue"),
        (raw(NOTHING, "HTTP/1.1 304 Not Modified\r\n\r\n"), "answer 304 Not Modified"),
        (Answer::Status(408), "answer 408"),
        (Answer::Status(425), "answer 425"),
    ] {
        let told = format!("{answer:?}");
        let taken = answer.status() == 0;
        scene.receiver.rule(move |_| answer.clone());
        let mark = scene.mark();
        let sent = scene.post(3);
        let cloud = scene.wait_reason(reason)["cloud"].clone();
        assert!(cloud["failures"].as_u64() > Some(0), "{told}: {cloud}");
        assert!(scene.has_condition("cloud-unreachable"), "{told}");
        assert!(!scene.has_condition("cloud-declining"), "{told}");
        scene.recover();
        scene.wait_delivered(sent);
        let ledger = scene.receiver.ledger();
        let identities = &ledger.requests[mark].records;
        let same = ledger.requests[mark..].iter().filter(|r| r.records == *identities);
        assert!(same.clone().count() >= 2, "{told}: the same identities");
        assert_eq!(same.map(|r| r.repeated).max() > Some(0), taken, "{told}");
    }
    assert_eq!(scene.declined().len(), 0);
    scene.judge();
}

#[test]
fn a_redirect_is_not_followed() {
    let scene = Scene::start(&plan());
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a port");
    elsewhere.set_nonblocking(true).expect("set");
    let port = elsewhere.local_addr().expect("an address").port();
    for status in [301, 307, 308] {
        let location = format!("Location: https://localhost:{port}/api\r\n");
        scene.receiver.rule(move |_| Answer::Page(status, location.clone(), String::new()));
        let sent = scene.post(3);
        let reason = format!("answer {status}, redirected to https://localhost:{port}/api");
        scene.wait_reason(&reason);
        assert!(scene.has_condition("cloud-unreachable"));
        scene.recover();
        scene.wait_delivered(sent);
    }
    let asked = elsewhere.accept().map(|(_, from)| from);
    assert!(asked.is_err(), "the other host was asked, by {asked:?}");
    assert_eq!((scene.declined().len(), scene.receiver.ledger().repeated_records), (0, 0));
    scene.judge();
}

#[test]
fn any_success_is_one_whatever_its_body() {
    let scene = Scene::start(&plan());
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    for answer in [
        Answer::Page(200, String::new(), "<html>welcome to the captive portal</html>".into()),
        Answer::Status(202),
        // what a 200 means stands in its first line (RFC 9112 8)
        raw(200, "HTTP/1.1 200 OK\r\nContent-Le"),
        raw(204, "HTTP/1.1 204 No Content\r\n\r\n"),
        raw(200, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        raw(
            200,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 201 .\r\n\r\n",
        ),
        raw(200, &format!("HTTP/1.1 200 OK\r\n{chunked}2\r\n{{}}\r\n0\r\n\r\n")),
        Answer::Endless(200, b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; 8 << 10]),
    ] {
        let told = format!("{answer:?}").chars().take(80).collect::<String>();
        scene.receiver.rule(move |_| answer.clone());
        let sent = scene.post(3);
        scene.wait_delivered(sent.clone());
        // it is behind them once the next is sent
        let next = scene.post(1);
        scene.wait_delivered(next);
        scene.wait_status(&told, |status| status["journal"][0]["waiting"] == 0);
        assert_eq!(scene.status()["cloud"]["failures"], 0, "{told}");
    }
    assert_eq!((scene.declined().len(), scene.receiver.ledger().repeated_records), (0, 0));
    scene.judge();
}

/// An answer without an end costs neither memory nor, once it has said enough, time.
#[test]
fn an_endless_answer_is_bounded_in_memory_and_time() {
    let scene = Scene::start(&Plan { timeout: 2_000, ..plan() });
    let uplink_kb = || {
        let pid = scene.site.part(NODE, Part::Uplink).expect("there is an uplink");
        processes::peak_kb(pid).expect("it runs")
    };
    let before_kb = uplink_kb();
    let chunk = [b"2000\r\n".as_slice(), &[b'x'; 0x2000], b"\r\n"].concat();
    let line = [b"X-Fill: ".as_slice(), &[b'x'; 1_000], b"\r\n"].concat();
    let head = |text: &str| text.as_bytes().to_vec();
    let mut declined = 0;
    for (answer, reason) in [
        (
            Answer::Endless(
                500,
                head("HTTP/1.1 500 .\r\nTransfer-Encoding: chunked\r\n\r\n"),
                chunk,
            ),
            "answer 500",
        ),
        (Answer::Endless(503, head("HTTP/1.1 503 .\r\n\r\n"), vec![b'x'; 8 << 10]), "answer 503"),
        (
            Answer::Endless(
                503,
                // the most that a 32-bit processor counts
                head("HTTP/1.1 503 .\r\nContent-Length: 4294967295\r\n\r\n"),
                vec![b'x'; 8 << 10],
            ),
            "answer 503 .: xxx",
        ),
        // a head, a status line and interim answers without an end
        (Answer::Endless(NOTHING, head("HTTP/1.1 200 .\r\n"), line), "no usable answer"),
        (Answer::Endless(NOTHING, head("HTTP/1.1 200 "), vec![b'x'; 1_000]), "no usable answer"),
        (
            Answer::Endless(NOTHING, head(""), head("HTTP/1.1 100 Continue\r\n\r\n")),
            "answer 100 Continue",
        ),
        (Answer::Endless(400, head("HTTP/1.1 400 .\r\n\r\n"), vec![b'x'; 8 << 10]), "answer 400"),
    ] {
        let status = answer.status();
        scene.receiver.rule(
            move |asked| {
                if asked.is_readings() { answer.clone() } else { Answer::Status(200) }
            },
        );
        let sent = scene.post(1);
        if status == 400 {
            declined += 1;
            assert!(scene.wait_declined(declined)[0].reason.contains(reason));
        } else {
            scene.wait_reason(reason);
        }
        let grown_kb = uplink_kb().saturating_sub(before_kb);
        println!("endless, {reason}: the uplink grew by {grown_kb} kB from {before_kb} kB");
        assert!(grown_kb < 2_048, "{reason}: {grown_kb} kB more");
        scene.recover();
        if status != 400 {
            scene.wait_delivered(sent);
        }
    }
    scene.judge();
}

/// The cloud has it, and we never learn: the same again, under the same identities.
#[test]
fn a_lost_answer_repeats_the_batch_under_its_identities() {
    let scene = Scene::start(&plan());
    let mark = scene.mark();
    scene.receiver.behave(Behaviour::Reset);
    let sent = scene.post(200);
    scene.wait_reason("connection broken (Connection reset by peer");
    scene.wait_tries(mark, 2);
    assert!(scene.has_condition("cloud-unreachable"));
    scene.recover();
    scene.wait_delivered(sent);
    let more = scene.post(10);
    scene.wait_delivered(more);
    let ledger = scene.receiver.ledger();
    let batches = ledger.requests[mark..].iter().filter(|r| r.count == 200);
    let repeated: Vec<_> = batches.map(|r| (r.records.clone(), r.repeated)).collect();
    assert!(repeated.len() >= 3, "{repeated:?}");
    assert!(repeated.iter().all(|(records, _)| *records == repeated[0].0), "{repeated:?}");
    assert!(repeated[1..].iter().all(|(_, count)| *count == 200), "{repeated:?}");
    assert_eq!(ledger.batches_repeated_since(mark), repeated.len() - 1);
    drop(ledger);
    assert_eq!(scene.declined().len(), 0);
    scene.judge();
}

/// Told once when it begins, once when it ends, however long it lasts and whatever it is.
#[test]
fn an_outage_is_one_line_at_each_end() {
    let scene = Scene::start(&Plan { timeout: 1_000, ..plan() });
    let sent = scene.post(5);
    scene.wait_delivered(sent);
    scene.receiver.behave(Behaviour::HangUp);
    let sent = scene.post(5);
    // reset, or closed during the handshake
    scene.wait_reason("connection ");
    scene.receiver.behave(Behaviour::BlackHole);
    scene.site.reload(NODE);
    scene.wait_reason("no answer in time");
    scene.receiver.behave(Behaviour::Answer(503));
    scene.site.reload(NODE);
    scene.wait_reason("answer 503");
    assert!(scene.has_condition("cloud-unreachable"));
    scene.receiver.behave(Behaviour::Answer(200));
    scene.site.reload(NODE);
    scene.wait_delivered(sent);
    scene.wait_condition("cloud-unreachable", false);
    std::thread::sleep(Duration::from_millis(300));
    let lines = scene.site.log_lines(NODE, "cloud: ");
    let told: Vec<_> = lines.iter().filter(|line| !line.contains("DEBUG")).collect();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[1].contains("accepts again"), "{told:#?}");
    scene.judge();
}
