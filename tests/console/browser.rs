//! Chromium without a screen, by the `WebDriver` protocol (<https://www.w3.org/TR/webdriver2/>).

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Beside;
use crate::support::http::{ask_tcp, free_port};

/// The programs that it takes.
pub(crate) const PROGRAMS: [&str; 2] = ["chromium", "chromedriver"];

/// How long a page may take to say what is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// A window.
pub(crate) struct Browser {
    port: u16,
    session: String,
    /// Whatever the console of the page said so far: level and text.
    said: Vec<(String, String)>,
    _driver: Beside,
}

impl Browser {
    /// A window of this size, in CSS pixels.
    pub(crate) fn open(scratch: &Path, width: u32, height: u32) -> Self {
        let port = free_port();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}"));
        let driver = Beside::start(&mut command, &scratch.join(format!("chromedriver-{port}")));
        let mut browser = Self { port, session: String::new(), said: Vec::new(), _driver: driver };
        let profile = scratch.join(format!("chromium-{port}"));
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {
                "args": [
                    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                    format!("--user-data-dir={}", profile.display()),
                ],
                // a window is never narrower than 500 pixels: a phone is emulated
                "mobileEmulation": {"deviceMetrics": {
                    "width": width, "height": height, "pixelRatio": 1.0, "touch": false
                }}
            }
        }}});
        let end = Instant::now() + LIMIT;
        let made = loop {
            match browser.try_order("POST", "", &wanted) {
                Ok(made) => break made,
                Err(why) => assert!(Instant::now() < end, "browser: no session: {why}"),
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        made["sessionId"].as_str().expect("it has an id").clone_into(&mut browser.session);
        browser
    }

    /// Goes to a page.
    pub(crate) fn go(&self, url: &str) {
        self.order("POST", "/url", &json!({"url": url}));
    }

    /// What a script gives.
    pub(crate) fn ask(&self, script: &str) -> Value {
        self.order("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// The text that is shown of an element.
    pub(crate) fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?}).innerText");
        self.ask(&script).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a text of the page is right.
    pub(crate) fn wait(&self, selector: &str, is_right: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let text = self.text(selector);
            if is_right(&text) {
                return text;
            }
            assert!(Instant::now() < end, "page: {selector} says {text:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the page's console said since the start: errors, warnings, violations of its policy.
    pub(crate) fn said(&mut self) -> &[(String, String)] {
        let lines = self.order("POST", "/se/log", &json!({"type": "browser"}));
        for line in lines.as_array().into_iter().flatten() {
            let word = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            self.said.push((word("level"), word("message")));
        }
        &self.said
    }

    fn order(&self, method: &str, target: &str, body: &Value) -> Value {
        self.try_order(method, target, body)
            .unwrap_or_else(|why| panic!("browser: {target}: {why}"))
    }

    fn try_order(&self, method: &str, target: &str, body: &Value) -> Result<Value, String> {
        let session = if self.session.is_empty() { "" } else { "/" };
        let target = format!("/session{session}{}{target}", self.session);
        let body = body.to_string();
        let reply = ask_tcp(self.port, method, &target, "", body.as_bytes(), LIMIT)
            .map_err(|error| error.to_string())?;
        let value = reply.json().map(|json| json["value"].clone()).unwrap_or_default();
        if reply.status == 200 { Ok(value) } else { Err(value.to_string()) }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // ends Chromium; the driver is ended by itself
        let _ = self.try_order("DELETE", "", &json!({}));
    }
}
