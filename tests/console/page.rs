//! The page in a real browser, before, during and after a takeover, and with a stalled share.

use serde_json::json;

use crate::browser::{Browser, PROGRAMS};
use crate::support::site::{Part, Plan};
use crate::support::{processes, producer::Producer};
use crate::{NODES, Seen, have};

/// A phone's and a desk's.
const SIZES: [(u32, u32); 2] = [(360, 740), (1_280, 900)];

fn verdict(tile: &str) -> String {
    format!("#{tile} .verdict")
}

/// Nothing is cut off at the side, and the verdicts stand above the fold.
fn check_layout(browser: &Browser) {
    let width = "return [document.documentElement.scrollWidth, window.innerWidth]";
    let width = browser.ask(width);
    assert!(width[0].as_u64() <= width[1].as_u64(), "page: wider than its window: {width}");
    let bottom = browser.ask(
        "return [document.querySelector('#delivery').getBoundingClientRect().bottom, innerHeight]",
    );
    assert!(bottom[0].as_f64() <= bottom[1].as_f64(), "page: verdicts below the fold: {bottom}");
}

/// What a reader without eyes or a mouse needs.
fn check_access(browser: &Browser) {
    let lacks = browser.ask(
        "const lacks = [];
         if (!document.documentElement.lang) lacks.push('lang');
         for (const one of document.querySelectorAll('section'))
           if (!one.ariaLabel && !document.getElementById(one.getAttribute('aria-labelledby')))
             lacks.push(one.outerHTML.slice(0, 40));
         for (const one of document.querySelectorAll('th')) if (!one.scope) lacks.push('th');
         for (const one of document.querySelectorAll('a')) if (!one.innerText) lacks.push('a');
         if (document.querySelectorAll('[aria-live],[role=alert]').length < 4) lacks.push('live');
         return lacks",
    );
    assert_eq!(lacks.as_array().map(Vec::len), Some(0), "page: {lacks}");
}

/// Only what is asked of a dead agent may fail.
fn check_console(browser: &mut Browser) {
    for (level, text) in browser.said() {
        let is_lost = text.contains("status.json") && text.contains("net::ERR_");
        assert!(level != "SEVERE" || is_lost, "page: its console says {level}: {text}");
        assert!(!text.contains("Content Security Policy"), "page: {text}");
    }
}

#[test]
fn the_page_follows_a_takeover() {
    if !have(&PROGRAMS, "the_page_follows_a_takeover") {
        return;
    }
    let source = json!({"file": {"path": "/proc/loadavg", "metric": "load1", "every_ms": 500}});
    let mut seen = Seen::new(&Plan { sources: vec![source], ..Plan::default() });
    seen.start_both();
    let producer = Producer::start(seen.site.sockets(&NODES), 50);
    let scratch = seen.site.scratch().to_owned();
    let mut windows: Vec<Browser> =
        SIZES.iter().map(|(width, height)| Browser::open(&scratch, *width, *height)).collect();
    // the phone looks at the standby, the desk at the master
    for (browser, node) in windows.iter().zip([1, 0]) {
        browser.go(&seen.url(node));
        browser.wait(&verdict("master"), |text| text.contains("gw-1 is master"));
        browser.wait(&verdict("redundancy"), |text| text.contains("1 standby ready"));
        check_layout(browser);
        check_access(browser);
    }
    let [phone, desk] = &windows[..] else { unreachable!("two sizes") };
    desk.wait(&verdict("delivery"), |text| text.contains("delivering"));
    desk.wait("#journal", |text| text.contains("delivered in this term"));
    desk.wait("#sources", |text| text.contains("load1"));
    assert_eq!(desk.text("#terms tbody tr th"), "1");
    assert!(phone.text("#delivery").contains("the master knows"));
    // known once the master's record was read
    phone.wait("#master .detail", |text| text.starts_with("its page: "));
    let link = phone.ask("return document.querySelector('#master a').href");
    assert_eq!(link.as_str(), Some(&*format!("{}/", seen.url(0))));

    seen.site.kill(NODES[0], Part::Agent);
    desk.wait("#lost", |text| text.starts_with("No answer from this agent since "));
    assert_eq!(desk.ask("return document.body.className").as_str(), Some("old"));
    let during = phone.wait(&verdict("master"), |text| !text.contains("gw-1 is master"));
    println!("page: during the takeover it said {during:?}");
    phone.wait(&verdict("master"), |text| text.contains("gw-2 is master"));
    phone.wait(&verdict("redundancy"), |text| text.contains("no standby"));
    phone.wait("#conditions", |text| text.contains("redundancy-lost"));
    phone.wait(&verdict("delivery"), |text| text.contains("delivering"));
    let term = phone.text("#terms tbody tr:nth-child(1)");
    assert!(term.contains("gw-2") && term.contains("for "), "page: the time line says {term:?}");
    assert!(phone.text("#terms tbody tr:nth-child(2)").contains("gw-1"));
    check_layout(phone);

    seen.start(0);
    desk.wait(&verdict("master"), |text| text.contains("gw-2 is master"));
    let lost = desk.ask("return document.getElementById('lost').hidden");
    assert_eq!(lost.as_bool(), Some(true), "page: it has its agent again");
    phone.wait(&verdict("redundancy"), |text| text.contains("1 standby ready"));

    let keeper = seen.site.part(NODES[1], Part::Keeper).expect("a master has a keeper");
    processes::signal("STOP", &[keeper]);
    phone.wait("#term", |text| text.contains("stalled for"));
    phone.wait("#conditions", |text| text.contains("share-stalled"));
    phone.wait(&verdict("delivery"), |text| text.contains("stopped"));
    phone.wait(&verdict("redundancy"), |text| text.contains("not known now"));
    phone.go(&seen.url(1));
    phone.wait("#term", |text| text.contains("stalled for"));
    processes::signal("CONT", &[keeper]);
    phone.wait("#term", |text| !text.contains("stalled for"));
    drop(producer);
    windows.iter_mut().for_each(check_console);
}
