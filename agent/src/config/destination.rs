//! Destinations of spans: what the standard's exporters say, and what is ours about them.

use std::{path::PathBuf, time::Duration};

use globset::GlobSet;

use super::{otlp::OtlpConfig, settings::BatchConfig};
use crate::span::Kind;

/// One destination.
#[derive(Clone, Debug)]
pub struct DestinationConfig {
    /// In metrics, in the report and as the name of its folders; no two have the same.
    pub name: String,
    /// Where the file says it: the keys that lead to `exporter`, with dots between them.
    pub path: String,
    pub to: ToConfig,
    pub batch: BatchConfig,
    pub ours: DestinationOptions,
}

/// The kind of a destination.
#[derive(Clone, Debug)]
pub enum ToConfig {
    Otlp(Box<OtlpConfig>),
    File(FileConfig),
}

impl ToConfig {
    /// Where it is, for people: without a query, which may hold a key.
    pub fn shown(&self) -> String {
        match self {
            Self::Otlp(otlp) => otlp.shown(),
            Self::File(file) => file.path.display().to_string(),
        }
    }
}

/// A file of OTLP/JSON, one object a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileConfig {
    pub path: PathBuf,
    /// Size at which it is renamed and begun anew.
    pub max_bytes: Option<u64>,
    /// Renamed files that are kept.
    pub max_files: Option<usize>,
}

/// What only this agent has; `None` leaves the choice to the exporter.
#[derive(Clone, Debug, Default)]
pub struct DestinationOptions {
    pub filter: FilterConfig,
    pub policy: Option<PolicyConfig>,
    /// The bound of the queue in memory.
    pub queue_bytes: Option<usize>,
    /// Encoded bytes at which a batch is full.
    pub batch_bytes: Option<usize>,
    pub requests_in_flight: Option<usize>,
}

/// Which spans a destination wants.
#[derive(Clone, Debug, Default)]
pub struct FilterConfig {
    /// By `service.name`.
    pub services: Option<GlobSet>,
    /// The same as written.
    pub service_names: Vec<String>,
    pub kind: Option<Kind>,
    /// Only spans with the status `Error`.
    pub errors: bool,
    pub min_duration: Duration,
}

/// What is lost when a queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyConfig {
    Newest,
    Oldest,
    Traces,
}

/// A folder and the most that may be in it for one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    pub folder: PathBuf,
    pub max_bytes: u64,
}
