//! The parts of `edge.json` as serde reads them, with their defaults.

use core::fmt;

use heapless::String as Text;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::VERSION;
use crate::engine::notes;
use crate::engine::settings::WhenFull;
use crate::limits::{
    ALIVE_EVERY_MS_DEFAULT, BATCH_AGE_MS_DEFAULT, BATCH_BYTES_DEFAULT, BATCH_RECORDS_DEFAULT,
    CLOUD_KEY_MAX, CLOUD_TIMEOUT_MS_DEFAULT, CONFIG_NAME_MAX, CONFIG_PATH_MAX,
    DECLINED_BYTES_MAX_DEFAULT, FENCE_MS_DEFAULT, HEARTBEAT_MS_DEFAULT, JOURNAL_BYTES_MAX_DEFAULT,
    LISTEN_MAX, METRIC_MAX, PATTERN_MAX, POLL_MS_DEFAULT, SEIZE_MS_DEFAULT, SYNC_MS_DEFAULT,
    THING_KEY_MAX, UNIT_MAX, URL_MAX,
};

/// Where to forward to, and how.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default)]
pub struct Cloud {
    /// Which cloud.
    pub kind: CloudKind,
    /// Its URL, without a trailing slash; empty with `stdout`.
    pub url: Text<URL_MAX>,
    /// The access key; empty with `stdout`.
    pub access_key: Secret,
    /// The secret key, if it stands here.
    pub secret_key: Option<Secret>,
    /// The file that holds the secret key.
    pub secret_key_file: Option<Text<CONFIG_PATH_MAX>>,
    /// Certificates to trust, in PEM; `None`: the system's.
    pub ca_file: Option<Text<CONFIG_PATH_MAX>>,
    /// The URL of an HTTP proxy that leads there.
    pub proxy: Option<Text<URL_MAX>>,
    /// Who we are to it.
    pub proxy_user: Option<Text<CLOUD_KEY_MAX>>,
    /// The password, if it stands here.
    pub proxy_password: Option<Secret>,
    /// The file that holds the password.
    pub proxy_password_file: Option<Text<CONFIG_PATH_MAX>>,
    /// See [`CLOUD_TIMEOUT_MS_DEFAULT`].
    pub timeout_ms: u32,
    /// See [`BATCH_RECORDS_DEFAULT`].
    pub batch_records_max: u32,
    /// See [`BATCH_BYTES_DEFAULT`].
    pub batch_bytes_max: u32,
    /// See [`BATCH_AGE_MS_DEFAULT`].
    pub batch_age_ms_max: u32,
}

impl Default for Cloud {
    fn default() -> Self {
        Self {
            kind: CloudKind::Datonis,
            url: Text::new(),
            access_key: Secret::default(),
            secret_key: None,
            secret_key_file: None,
            ca_file: None,
            proxy: None,
            proxy_user: None,
            proxy_password: None,
            proxy_password_file: None,
            timeout_ms: CLOUD_TIMEOUT_MS_DEFAULT,
            batch_records_max: BATCH_RECORDS_DEFAULT,
            batch_bytes_max: BATCH_BYTES_DEFAULT,
            batch_age_ms_max: BATCH_AGE_MS_DEFAULT,
        }
    }
}

/// Which cloud.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloudKind {
    /// Datonis, by HTTPS.
    Datonis,
    /// Lines on standard output, for a first look.
    Stdout,
}

/// A key that no log may show (F2).
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Secret(Text<CLOUD_KEY_MAX>);

impl Secret {
    /// The key itself.
    pub fn reveal(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("…")
    }
}

/// HA alerts.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default)]
pub struct Alerts {
    /// The thing that they are sent for; `None`: log and console only.
    pub thing_key: Option<Text<THING_KEY_MAX>>,
    /// Lesser alerts are not sent.
    pub level_min: Level,
}

impl Default for Alerts {
    fn default() -> Self {
        Self { thing_key: None, level_min: Level::Info }
    }
}

/// How grave an alert is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// `alert_type` 0.
    Info,
    /// `alert_type` 1.
    Warning,
    /// `alert_type` 2.
    Error,
    /// `alert_type` 3.
    Critical,
}

impl From<Level> for notes::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Info => Self::Info,
            Level::Warning => Self::Warning,
            Level::Error => Self::Error,
            Level::Critical => Self::Critical,
        }
    }
}

/// The election's times.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default)]
pub struct Ha {
    /// See [`POLL_MS_DEFAULT`].
    pub poll_ms: u32,
    /// See [`HEARTBEAT_MS_DEFAULT`].
    pub heartbeat_ms: u32,
    /// See [`FENCE_MS_DEFAULT`].
    pub fence_ms: u32,
    /// See [`SEIZE_MS_DEFAULT`].
    pub seize_ms: u32,
}

impl Default for Ha {
    fn default() -> Self {
        Self {
            poll_ms: POLL_MS_DEFAULT,
            heartbeat_ms: HEARTBEAT_MS_DEFAULT,
            fence_ms: FENCE_MS_DEFAULT,
            seize_ms: SEIZE_MS_DEFAULT,
        }
    }
}

/// The journal.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default)]
pub struct Journal {
    /// See [`JOURNAL_BYTES_MAX_DEFAULT`].
    pub bytes_max: u64,
    /// What gives way when it is full.
    pub when_full: WhenFull,
    /// See [`SYNC_MS_DEFAULT`].
    pub sync_ms: u32,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            bytes_max: JOURNAL_BYTES_MAX_DEFAULT,
            when_full: WhenFull::DropOldest,
            sync_ms: SYNC_MS_DEFAULT,
        }
    }
}

/// The declined store.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default)]
pub struct Declined {
    /// See [`DECLINED_BYTES_MAX_DEFAULT`].
    pub bytes_max: u64,
}

impl Default for Declined {
    fn default() -> Self {
        Self { bytes_max: DECLINED_BYTES_MAX_DEFAULT }
    }
}

/// A thing, and what is read for it.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Thing {
    /// Its key in the cloud.
    pub thing_key: Text<THING_KEY_MAX>,
    /// Its name for people; its key if none was given.
    #[serde(default)]
    pub name: Text<CONFIG_NAME_MAX>,
    /// How often its heartbeat is sent.
    #[serde(default = "alive_every_ms")]
    pub alive_every_ms: u32,
    /// What is read for it.
    #[serde(default, deserialize_with = "list")]
    pub sources: Vec<Source>,
}

/// Something that is read at intervals: just one of its fields is there, or none if a newer
/// version knows another one.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Source {
    /// A number in a file.
    #[serde(default)]
    pub file: Option<FileSource>,
}

/// A number in a file: one of its words, or what a pattern finds.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct FileSource {
    /// Its path, relative to the configuration file.
    pub path: Text<CONFIG_PATH_MAX>,
    /// Which of its words, separated by white space, from 1; `None` with a pattern, else 1.
    #[serde(default)]
    pub field: Option<u32>,
    /// A regular expression, for [`super::pattern`]; its capture group is the number.
    #[serde(default)]
    pub pattern: Option<Text<PATTERN_MAX>>,
    /// What the number is multiplied by.
    #[serde(default)]
    pub scale: Option<f64>,
    /// What is added then.
    #[serde(default)]
    pub offset: Option<f64>,
    /// The result's unit, for people only: it is not part of a record.
    #[serde(default)]
    pub unit: Text<UNIT_MAX>,
    /// What to call it.
    pub metric: Text<METRIC_MAX>,
    /// How often it is read.
    #[serde(default = "every_ms")]
    pub every_ms: u32,
}

/// Readings that others post.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default)]
pub struct Intake {
    /// Whether they are taken.
    pub enabled: bool,
}

impl Default for Intake {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// The console.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default)]
pub struct Console {
    /// `ADDRESS:PORT`, or `off`.
    pub listen: Text<LISTEN_MAX>,
    /// The file that holds its token; it need not exist.
    pub token_file: Text<CONFIG_PATH_MAX>,
}

impl Default for Console {
    fn default() -> Self {
        Self {
            listen: Text::try_from("127.0.0.1:8480").expect("the default fits"),
            token_file: Text::try_from("console.token").expect("the default fits"),
        }
    }
}

pub(super) const fn version() -> u32 {
    VERSION
}

const fn alive_every_ms() -> u32 {
    ALIVE_EVERY_MS_DEFAULT
}

const fn every_ms() -> u32 {
    1_000
}

/// A list on the heap; [`schema`] has bounded its length.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    input: D,
) -> Result<Vec<T>, D::Error> {
    struct Items<T>(core::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
        type Value = Vec<T>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                list.push(item);
            }
            Ok(list)
        }
    }

    input.deserialize_seq(Items(core::marker::PhantomData))
}
