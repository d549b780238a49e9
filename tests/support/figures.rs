//! Medians, worst cases and the machine's own figures, to print beside a measurement.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Median and worst of some times, in ms; `None` of none.
pub fn median_and_worst(times_ms: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = times_ms.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some((*sorted.get(sorted.len() / 2)?, *sorted.last()?))
}

/// How often one goes into the other.
#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
pub fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// ns as ms.
#[allow(clippy::cast_precision_loss, reason = "spans of a test are far below 2^52 ns")]
pub fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// The load average of the last minute, as the kernel writes it.
pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

/// Times in ms of so many small writes with fdatasync(2) in a folder.
pub fn sync_times_ms(folder: &Path, count: usize) -> Vec<f64> {
    let path = folder.join("sync-probe");
    let Ok(mut file) = File::create(&path) else { return Vec::new() };
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        if file.write_all(&[0; 4096]).and_then(|()| file.sync_data()).is_err() {
            break;
        }
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let _ = fs::remove_file(path);
    times
}

/// Keeps every processor busy while it lives.
pub struct Burners {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Burners {
    /// Starts so many threads that do nothing but count.
    pub fn start(count: usize) -> Self {
        use std::sync::atomic::{AtomicBool, Ordering};
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let burn = || {
            let stop = std::sync::Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for turn in 0..10_000_u32 {
                        std::hint::black_box(turn);
                    }
                }
            })
        };
        let threads = (0..count).map(|_| burn()).collect();
        Self { stop, threads }
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// A span for people: `1.234 s` or `56 ms`.
pub fn span(time: Duration) -> String {
    if time >= Duration::from_secs(1) {
        format!("{:.2} s", time.as_secs_f64())
    } else {
        format!("{} ms", time.as_millis())
    }
}
