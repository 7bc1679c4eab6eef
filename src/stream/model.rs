//! The model handle: a checked checkpoint and its loaded sessions, shared by any number of streams.

use super::compute::{self, Way};
use super::model_info::ModelInfo;
use super::model_options::ModelOptions;
#[cfg(test)]
use super::model_options::Precision;
use super::options::{MemoryKind, StreamOptions};
use super::sessions::Sessions;
use crate::engine::{Counting, Step};
use crate::error::{Result, fail};
use crate::float_mode::FloatMode;
use crate::graph::{self, StepGraph};
use crate::memory;
use crate::model::{self, Checkpoint, Half, Network, Wavelet};
use crate::process::Process;
use crate::runtime::{CallersMemory, Device, Place};
use crate::sync::MadeOnce;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// An open model. Cloning shares it.
///
/// Thread-safety: safe. Any number of streams, in any threads, share one model and its weights.
#[derive(Clone)]
pub struct Model(Arc<Shared>);

struct Shared {
    owner: Process,
    network: Network,
    sessions: Sessions,
    encoder: Side,
    decoder: Side,
}

/// How one half of the network is computed.
struct Side {
    way: Way,
    options: graph::Options,
    /// Loaded by the first stream that needs them.
    steps: MadeOnce<Vec<Arc<Step>>>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, provider) = (self.checkpoint().name(), self.0.sessions.place.name());
        f.debug_struct("Model").field("name", &name).field("provider", &provider).finish_non_exhaustive()
    }
}

impl Model {
    /// Opens the model that is built into the library.
    ///
    /// # Errors
    /// [`RuntimeMissing`](crate::ErrorKind::RuntimeMissing) and the kinds after it, if ONNX Runtime cannot be used.
    pub fn builtin(options: &ModelOptions) -> Result<Self> {
        Self::new(None, options)
    }

    /// Opens a checkpoint. `path` is a folder with `config.json` and `*.safetensors`, the folder of a pipeline or of a download
    /// cache above it, or a weights file or index with its config beside it. If a folder holds several weights,
    /// `diffusion_pytorch_model.safetensors` comes before `model.safetensors`, and the index of either before the single file;
    /// without any of these names there must be exactly one file or index. A checkpoint may hold the encoder or the decoder
    /// alone.
    ///
    /// Everything is checked now. The first stream that needs weights loads them. If a file was written to in between, making
    /// the stream is [`Checkpoint`](crate::ErrorKind::Checkpoint). A file that was replaced by a new one of the same name does
    /// no harm: the model keeps the old one.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io), [`Config`](crate::ErrorKind::Config), [`Checkpoint`](crate::ErrorKind::Checkpoint),
    /// [`UnsupportedModel`](crate::ErrorKind::UnsupportedModel), and those of [`builtin`](Self::builtin).
    pub fn open(path: impl AsRef<Path>, options: &ModelOptions) -> Result<Self> {
        Self::new(Some(path.as_ref()), options)
    }

    fn new(path: Option<&Path>, options: &ModelOptions) -> Result<Self> {
        // The runtime's threads take the mode of the thread that starts them, here and when the first sessions are loaded.
        let _mode = FloatMode::set_default();
        options.check()?;
        let (network, checkpoint) = model::open(path, options.check_finite)?;
        for warning in &network.warnings {
            options.logger.log(log::Level::Warn, warning);
        }
        memory::check("a model")?;
        Self::with(network, Sessions::new(checkpoint, options)?, options)
    }

    /// A model whose streams keep their state on a fake device.
    #[cfg(test)]
    pub(crate) fn open_on_fake_device(path: Option<&Path>, options: &ModelOptions) -> Result<Self> {
        let (network, checkpoint) = model::open(path, options.check_finite)?;
        Self::with(network, Sessions::on_fake_device(checkpoint, options)?, options)
    }

    /// For a stream whose caller has frames or latents in the device's memory.
    pub(super) fn callers_memory(&self, options: &StreamOptions) -> Result<Option<Arc<CallersMemory>>> {
        let frames = options.frame_memory == MemoryKind::Cuda;
        if !frames && options.latent_memory == MemoryKind::Cpu {
            return Ok(None);
        }
        let (sessions, stream) = (&self.0.sessions, options.cuda_stream());
        let device = self.device().expect("the plan was checked");
        // SAFETY: whoever set the options promised a CUDA stream.
        Ok(Some(unsafe { CallersMemory::new(sessions.runtime, device, sessions.place, stream, frames)? }))
    }

    /// Threads that may check and convert what a call gets.
    pub(super) fn converting_threads(&self) -> usize {
        self.0.sessions.converting_threads()
    }

    fn with(network: Network, sessions: Sessions, options: &ModelOptions) -> Result<Self> {
        let place = sessions.place;
        let side = |precision, half: Half| -> Result<Side> {
            let precision = compute::resolve(precision, half, options.provider, place, &network)?;
            let way =
                Way { precision, convolution: options.convolution, layout: options.layout, direction: half.verb() };
            let options = compute::graph_options(options, place, precision, (&network, half), &sessions.kernels());
            Ok(Side { way, options, steps: MadeOnce::new() })
        };
        let encoder = side(options.encode_precision, Half::Encoder)?;
        let decoder = side(options.decode_precision, Half::Decoder)?;
        let (encode_precision, decode_precision) = (encoder.way.precision, decoder.way.precision);
        compute::check_layout(options, place, [encode_precision, decode_precision], &network)?;
        if let Some(text) =
            compute::unoptimised(options.convolution, place, [encode_precision, decode_precision], &network)
        {
            options.logger.log(log::Level::Warn, text);
        }
        options.logger.log(
            log::Level::Info,
            format_args!(
                "{}: {} parameters, {}x{}x{} compression, {} channels; {}, {encode_precision} to encode, {decode_precision} to decode, {} threads; ONNX Runtime {} {}",
                sessions.checkpoint.name(),
                network.parameters(),
                network.temporal_compression(),
                network.spatial_compression(),
                network.spatial_compression(),
                network.latent_channels,
                match place {
                    Place::Cuda(device) => format!("CUDA device {device}"),
                    place => place.name().into(),
                },
                sessions.threads,
                sessions.runtime.version(),
                sessions.runtime.path().display()
            ),
        );
        Ok(Model(Arc::new(Shared { owner: Process::current(), network, sessions, encoder, decoder })))
    }

    /// What this model is and what it runs on.
    pub fn info(&self) -> ModelInfo {
        let (network, sessions, counting) = (self.network(), &self.0.sessions, self.counting());
        let loaded = || [&self.0.encoder, &self.0.decoder].into_iter().filter_map(|side| side.steps.get()).flatten();
        ModelInfo {
            name: sessions.checkpoint.name().into(),
            generation: network.generation,
            latent_channels: network.latent_channels,
            spatial_compression: network.spatial_compression(),
            temporal_compression: counting.unit,
            encode_delay: counting.encode_delay(),
            decode_delay: counting.decode_delay(),
            has_attention: network.has_attention(),
            whole_clips: network.any_needs_whole_clip().is_some(),
            decode_whole_clips: network.needs_whole_clip(Half::Decoder).is_some(),
            encode_halo: self.halo(Half::Encoder),
            decode_halo: self.halo(Half::Decoder),
            has_scaling: network.scaling.is_ok(),
            parameters: network.parameters(),
            identity: network.identities.model,
            encoder_identity: network.identities.encoder,
            decoder_identity: network.identities.decoder,
            encodes: network.has(Half::Encoder),
            decodes: network.has(Half::Decoder),
            provider: sessions.place.name(),
            device: if let Place::Cuda(device) = sessions.place { device } else { 0 },
            fallback: sessions.fallback.clone(),
            encode_precision: self.0.encoder.way.precision,
            decode_precision: self.0.decoder.way.precision,
            device_bytes: self.device().map_or(0, |device| device.live_bytes()),
            runtime_path: sessions.runtime.path().into(),
            runtime_version: sessions.runtime.version().into(),
            sessions: loaded().count() as u32,
            weight_bytes: loaded().map(|step| step.weight_bytes).sum(),
        }
    }

    /// How many latents a whole clip of `frames` frames gives, with the last group completed.
    pub fn latents_for_frames(&self, frames: u64) -> u64 {
        self.counting().latents(frames)
    }

    /// How many frames a whole clip of `latents` latents gives.
    pub fn frames_for_latents(&self, latents: u64) -> u64 {
        self.counting().frames(latents)
    }

    /// Fails if `target`, a file that you are about to write, is one of the model's own files by any name, or would be
    /// taken for one when the model's folder is opened again.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub fn check_target(&self, target: impl AsRef<Path>) -> Result<()> {
        self.checkpoint().check_target(target.as_ref())
    }

    /// A warning for the owner of the model.
    pub(super) fn warn(&self, text: fmt::Arguments<'_>) {
        self.0.sessions.logger.log(log::Level::Warn, text);
    }

    /// The process that opened it.
    pub(crate) fn owner(&self) -> Process {
        self.0.owner
    }

    pub(crate) fn network(&self) -> &Network {
        &self.0.network
    }

    pub(super) fn checkpoint(&self) -> &Checkpoint {
        &self.0.sessions.checkpoint
    }

    /// Fails if a stream wants a half that the checkpoint lacks.
    pub(super) fn check_half(&self, half: Half, wanted: bool) -> Result<()> {
        let (name, network) = (self.checkpoint().name(), self.network());
        if !wanted || network.has(half) {
            return Ok(());
        }
        match half {
            Half::Encoder => fail!(
                InvalidArgument,
                "{name} holds the decoder alone (no tensor encoder.*), so its streams cannot encode; make one that only \
                 decodes"
            ),
            Half::Decoder => fail!(
                InvalidArgument,
                "{name} holds the encoder alone (no tensor decoder.*), so its streams cannot decode; make one that only \
                 encodes"
            ),
        }
    }

    pub(crate) fn counting(&self) -> Counting {
        let network = self.network();
        Counting {
            unit: network.temporal_compression() as u64,
            interpolations: network.decoder.interpolations() as u32,
            interpolation: network.interpolation,
            wavelet: network.decoder.wavelet.is_some_and(Wavelet::is_temporal),
        }
    }

    fn side(&self, half: Half) -> &Side {
        match half {
            Half::Encoder => &self.0.encoder,
            Half::Decoder => &self.0.decoder,
        }
    }

    /// Pixels of context that an exact tile of a half needs on each side, in whole latents.
    pub(super) fn halo(&self, half: Half) -> Option<usize> {
        let (network, compression) = (self.network(), self.network().spatial_compression());
        match half {
            Half::Encoder => network.encoder_reach().map(|pixels| pixels.next_multiple_of(compression)),
            Half::Decoder => network.decoder_reach().map(|latents| latents * compression),
        }
    }

    #[cfg(test)]
    pub(crate) fn encoder_options(&self) -> &graph::Options {
        &self.0.encoder.options
    }

    #[cfg(test)]
    pub(crate) fn decoder_options(&self) -> &graph::Options {
        &self.0.decoder.options
    }

    /// Those that run the network.
    pub(crate) fn threads(&self) -> usize {
        self.0.sessions.threads
    }

    /// Where streams keep their state, if not in the CPU's memory.
    pub(crate) fn device(&self) -> Option<&Arc<Device>> {
        self.0.sessions.device.as_ref()
    }

    /// The steps of a half, or its one graph if the model takes whole clips.
    pub(crate) fn graphs(&self, half: Half) -> Vec<StepGraph> {
        self.graphs_by(half, &self.side(half).options)
    }

    /// The same with only what ONNX defines, for viewers and other runtimes.
    pub(super) fn plain_graphs(&self, half: Half) -> Vec<StepGraph> {
        self.graphs_by(half, &compute::plain(&self.side(half).options))
    }

    fn graphs_by(&self, half: Half, options: &graph::Options) -> Vec<StepGraph> {
        let network = self.network();
        match half {
            _ if network.needs_whole_clip(half).is_some() => vec![self.clip_graph_by(half, options)],
            Half::Encoder => graph::encoder(&network.encoder, options),
            Half::Decoder => graph::decoder(&network.decoder, network.latent_channels, options),
        }
    }

    /// A half as one graph of a whole clip, with only what ONNX defines.
    pub(super) fn clip_graph(&self, half: Half) -> StepGraph {
        self.clip_graph_by(half, &compute::plain(&self.side(half).options))
    }

    fn clip_graph_by(&self, half: Half, options: &graph::Options) -> StepGraph {
        let (network, options) = (self.network(), compute::clip(options));
        match half {
            Half::Encoder => graph::encoder_clip(&network.encoder, &options),
            Half::Decoder => {
                graph::decoder_clip(&network.decoder, network.latent_channels, network.interpolation, &options)
            }
        }
    }

    /// The sessions of a half, loaded by the first caller.
    pub(crate) fn steps(&self, half: Half) -> Result<&[Arc<Step>]> {
        let side = self.side(half);
        let sessions = &self.0.sessions;
        let load = || {
            compute::check(&side.way, sessions.place)?;
            sessions.load(self.graphs(half), side.way.precision, &side.options)
        };
        Ok(side.steps.get_or_make(load)?)
    }

    #[cfg(test)]
    pub(crate) fn load(&self, graphs: Vec<StepGraph>, precision: Precision) -> Result<Vec<Arc<Step>>> {
        self.0.sessions.load(graphs, precision, &self.0.encoder.options)
    }
}
