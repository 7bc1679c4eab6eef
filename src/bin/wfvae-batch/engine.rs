//! What all clips share: the model, the memory, and how many clips are processed at a time.

use crate::arguments::{ModelArguments, WorkArguments};
use wfvae::{Model, ModelOptions};

/// The part of the free memory that is taken if no other is asked for.
const PART_OF_FREE: f64 = 0.8;

pub struct Engine {
    pub model: Model,
    /// Bytes for everything.
    pub memory: u64,
    /// Clips at a time.
    pub workers: usize,
}

/// CPUs that this process may use: fewer than the system allows if OMP_NUM_THREADS says so, as Ray and batch systems have it.
fn cpus() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let told = std::env::var("OMP_NUM_THREADS").ok().and_then(|text| text.trim().parse().ok());
    told.filter(|&told| told > 0).map_or(allowed, |told: usize| told.min(allowed))
}

impl Engine {
    /// `clips`: how many there are at most.
    pub fn open(model: &ModelArguments, work: &WorkArguments, clips: usize) -> Result<Self, String> {
        let cpus = cpus();
        let workers = work.jobs.map_or(cpus, |jobs| jobs as usize).min(clips);
        let free = || wfvae::available_memory().map(|bytes| (bytes as f64 * PART_OF_FREE) as u64);
        let memory = work.memory.or_else(free).unwrap_or(u64::MAX);
        // Streams side by side use the CPUs better than threads in one stream.
        let mut options = ModelOptions::default();
        options.provider = model.provider;
        (options.encode_precision, options.decode_precision) = (model.precision.into(), model.precision.into());
        options.threads = (cpus / workers).max(1);
        let model = match &model.model {
            Some(path) => Model::open(path, &options),
            None => Model::builtin(&options),
        };
        Ok(Engine { model: model.map_err(|e| format!("model: {e}"))?, memory, workers })
    }
}
