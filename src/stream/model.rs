//! The model handle: a checked checkpoint and its loaded sessions, shared by any number of streams.

use super::counting::Counting;
use super::stage::Step;
use crate::error::{Error, ErrorKind, Result, fail};
use crate::float_mode::FloatMode;
use crate::graph::{self, Element, Operators, StepGraph, Taps};
use crate::kernels::{self, ScratchPool};
use crate::logger::Logger;
use crate::memory;
use crate::model::{self, Checkpoint, Half, Network};
use crate::process::Process;
use crate::runtime::{
    CudaOptions, Device, PROVIDER_OPTIONS, Place, Runtime, Session, SessionOptions, threads, write_weights,
};
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the network runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provider {
    /// The best that there is. For now always the processor: no GPU has run the CUDA path yet, so it has to be asked for.
    /// The log and [`ModelInfo`] say so.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// A CUDA device. An error that says what is missing, if it cannot be used. Streams keep their state and all that lies
    /// between their two ends on the device.
    Cuda {
        /// Its index.
        device: u32,
    },
}

/// In which numbers a direction of the network computes. The frames and latents of callers do not depend on it.
///
/// Below float32, convolutions, matrix products and causal caches are of the narrower type and weights take half of the
/// memory; residual sums, the statistics of norms, the scores of attention, wavelets and the interpolation stay float32,
/// whose products a CUDA device may then round to TF32. More inputs then make an output that is not finite, which is
/// [`ErrorKind::NotFinite`] in every precision.
/// Models that take whole clips compute in float32 only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// float32 throughout.
    #[default]
    F32,
    /// float32, but a CUDA device may round the factors of products to 11 bits (TF32) and multiply them several times as
    /// fast. An error with [`Provider::Cpu`]; where [`Provider::Auto`] takes the processor the same as `F32`.
    Tf32,
    /// IEEE half precision: 11 bits, up to 65504. Made for GPUs. The processor has no such convolutions: there ONNX Runtime
    /// converts around float32 ones, which is slower than `F32`, and so is the direct convolution that it uses.
    F16,
    /// bfloat16: 8 bits, with the range of float32. For CUDA devices only, where the runtime has such convolutions; making
    /// a stream is an error otherwise.
    Bf16,
}

/// How the causal caches of a model's streams are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheType {
    /// As the network computes them: exact.
    #[default]
    F32,
    /// Rounded to half precision: half the memory, and results that differ in the third or fourth digit.
    F16,
}

/// Which graphs [`Model::save_onnx`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Graphs {
    /// Those that the library runs. Each is one step for one frame; causal caches are inputs and outputs. For a model that
    /// takes whole clips the same as [`Clip`](Self::Clip).
    #[default]
    Steps,
    /// The whole clip in one graph, `encoder.clip` and `decoder.clip`, as a plain export would have it.
    Clip,
}

/// How 3x3 convolutions are computed, which are nearly all of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Convolution {
    /// The fastest way whose results are the reference's to float32's rounding: Winograd's algorithm in tiles of 2x2 and,
    /// in layers where their rounding stays small in the result, of 4x4 pixels.
    #[default]
    Exact,
    /// Tiles of 4x4 pixels in all layers: in the golden cases results differ from the reference's mostly by up to twice as
    /// much, at worst by 7 times.
    Fast,
    /// By ONNX Runtime's own convolutions: a causal convolution is a 2D one of each of its three frames, and two sums. Below
    /// float32 as [`Stacked`](Self::Stacked).
    Direct,
    /// The same as one 2D convolution of three frames stacked on their channels. What [`Exact`](Self::Exact) and
    /// [`Fast`](Self::Fast) are on a CUDA device and below float32.
    Stacked,
    /// The same as one 3D convolution of a clip of three frames.
    Volume,
}

/// How frames lie in memory between the layers, where convolutions are ONNX Runtime's: on a CUDA device, below float32,
/// and by [`Direct`](Convolution::Direct), [`Stacked`](Convolution::Stacked) and [`Volume`](Convolution::Volume). Elsewhere
/// they are channels-last always, and planes in models that take whole clips. The results are the same to the rounding of
/// the convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// As [`Planes`](Self::Planes).
    #[default]
    Auto,
    /// A plane for each channel. Each norm then transposes its frame twice.
    Planes,
    /// The channels of a pixel side by side, as tensor cores want them; norms transpose nothing. Only a CUDA device has such
    /// convolutions, of float32, TF32 and float16; with bfloat16 it is an error. The processor transposes around each
    /// convolution, which is slower than planes.
    ChannelsLast,
}

/// Why nobody gets CUDA who does not ask for it. `make check-cuda` has to pass on a device first.
const CUDA_IS_A_PREVIEW: &str = "CUDA is a preview that no GPU has run yet, so it has to be asked for by name";

/// More is a mistake in the caller's numbers.
const MAX_THREADS: usize = 1024;

const DEFAULT_ATTENTION_BYTES: u64 = 64 << 20;

/// How a model is opened. The default suits most programs.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ModelOptions {
    /// The ONNX Runtime library. `None`: `WFVAE_ONNXRUNTIME`, `ORT_DYLIB_PATH`, one that the process has loaded, beside
    /// libwfvae, the loader's search, in this order.
    pub runtime: Option<PathBuf>,
    /// Where the network runs.
    pub provider: Provider,
    /// In what the encoder computes.
    pub encode_precision: Precision,
    /// In what the decoder computes.
    pub decode_precision: Precision,
    /// Threads that work on one call, up to 1024; 0 for all processors that the process may use. Each session has so many,
    /// less one. The first stream of a direction starts up to twice as many for a moment, to find out whether the system
    /// allows them.
    pub threads: usize,
    /// How causal caches are stored, where the network computes in float32.
    pub cache_type: CacheType,
    /// How 3x3 convolutions are computed.
    pub convolution: Convolution,
    /// How frames lie in memory between the layers.
    pub layout: Layout,
    /// Options of ONNX Runtime's CUDA provider, as names and values, in place of the library's own choice:
    /// `arena_extend_strategy`, `cudnn_conv_algo_search`, `cudnn_conv_use_max_workspace`, `fuse_conv_bias`,
    /// `gpu_mem_limit` (bytes, of each session), `use_tf32`. For tuning and measuring; ONNX Runtime's documentation says
    /// what they mean. Any other name is an error, and so is one with [`Provider::Cpu`]; where [`Provider::Auto`] takes the
    /// processor they are not used.
    pub provider_options: Vec<(String, String)>,
    /// Attention works on as many queries at once as keep its score matrix below so many bytes; 0: 64 MiB. The results
    /// are the same.
    pub attention_bytes: u64,
    /// Also refuses weights that hold a NaN or an infinity when the model is opened, and says which; reads the whole
    /// checkpoint. Without it such a model opens, and its first result that is not finite is
    /// [`ErrorKind::NotFinite`].
    pub check_finite: bool,
    /// Where messages go.
    pub logger: Logger,
}

/// What a model is and what it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The checkpoint's path, or "the built-in model".
    pub name: String,
    /// 1: WFVAEModel, 2: WFVAE2Model.
    pub generation: u32,
    /// C of the latents.
    pub latent_channels: usize,
    /// Pixels per latent value, in each direction.
    pub spatial_compression: usize,
    /// Frames per latent, after the first.
    pub temporal_compression: u64,
    /// Frames that can go in before a latent comes out.
    pub encode_delay: u64,
    /// Frames that the decoder holds back until more latents or the flush come.
    pub decode_delay: u64,
    /// Attention makes time grow with the square of a frame's area.
    pub has_attention: bool,
    /// Group norm spans the whole clip: such a model cannot stream, each call gets a whole clip and ends it.
    pub whole_clips: bool,
    /// Pixels around a tile that exact tiling of the encoder needs, `None` if it is not possible.
    pub encode_halo: Option<usize>,
    /// The same of the decoder.
    pub decode_halo: Option<usize>,
    /// Whether the config's scale and shift can be used.
    pub has_scaling: bool,
    /// Trainable numbers that the checkpoint holds.
    pub parameters: u64,
    /// Tells this model from others: a hash of samples of the weights as they are stored, and of the interpolation. The
    /// same on every machine and in every release; a copy of the weights in another precision has another one.
    pub identity: u64,
    /// Tells this model's encoder, and so its latents, from others: a hash of samples of the encoder's weights, by their
    /// numbers and not by the type that they are stored in. The same on every machine and in every release; 0 if the
    /// checkpoint holds no encoder.
    pub encoder_identity: u64,
    /// The same of the decoder and of the interpolation.
    pub decoder_identity: u64,
    /// Whether the checkpoint holds the encoder; streams that encode need it.
    pub encodes: bool,
    /// Whether the checkpoint holds the decoder.
    pub decodes: bool,
    /// The execution provider that runs the network: "CPU" or "CUDA".
    pub provider: &'static str,
    /// Index of its device; 0 for the processor.
    pub device: u32,
    /// Why [`Provider::Auto`] did not take a CUDA device, if it was asked and did not.
    pub fallback: Option<String>,
    /// In what the encoder computes.
    pub encode_precision: Precision,
    /// In what the decoder computes.
    pub decode_precision: Precision,
    /// Bytes that the model's streams hold on its device, without weights and working memory; 0 on the processor.
    pub device_bytes: u64,
    /// The ONNX Runtime library in use.
    pub runtime_path: PathBuf,
    /// Its version.
    pub runtime_version: String,
    /// Sessions loaded so far, each with weights that no other has.
    pub sessions: u32,
    /// Bytes of the weights loaded so far, as the network computes with them.
    pub weight_bytes: u64,
}

/// An open model. Cloning shares it.
///
/// Thread-safety: safe. Any number of streams, in any threads, share one model and its weights.
#[derive(Clone)]
pub struct Model(Arc<Shared>);

struct Shared {
    owner: Process,
    network: Network,
    checkpoint: Arc<Checkpoint>,
    runtime: &'static Runtime,
    place: Place,
    fallback: Option<String>,
    /// The memory of `place`, if that has its own.
    device: Option<Arc<Device>>,
    threads: usize,
    logger: Logger,
    encode_precision: Precision,
    decode_precision: Precision,
    provider_options: Arc<[(String, String)]>,
    encoder_options: graph::Options,
    decoder_options: graph::Options,
    scratch: Arc<ScratchPool>,
    encoder: OnceCell<Vec<Arc<Step>>>,
    decoder: OnceCell<Vec<Arc<Step>>>,
}

impl Model {
    /// Opens the model that is built into the library.
    ///
    /// # Errors
    /// [`RuntimeMissing`](ErrorKind::RuntimeMissing) and its neighbours when ONNX Runtime cannot be used.
    pub fn builtin(options: &ModelOptions) -> Result<Self> {
        Self::new(None, options)
    }

    /// Opens a checkpoint: a folder with `config.json` and `*.safetensors`, the folder of a pipeline or of a download cache
    /// above it, or a weights file or index with its config beside it. Of several weights in a folder,
    /// `diffusion_pytorch_model.safetensors` is taken before `model.safetensors`, and the index of either before the single
    /// file; without one of these there must be one file or index. It may hold the encoder or the decoder alone. Everything
    /// is checked now; weights are loaded by the first stream that needs them. If the files were written to by then, that is
    /// [`Checkpoint`](ErrorKind::Checkpoint), not a stream of other weights; a file that was replaced by a new one of its
    /// name is still the old one here.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io), [`Config`](ErrorKind::Config), [`Checkpoint`](ErrorKind::Checkpoint),
    /// [`UnsupportedModel`](ErrorKind::UnsupportedModel), and those of [`builtin`](Self::builtin).
    pub fn open(path: impl AsRef<Path>, options: &ModelOptions) -> Result<Self> {
        Self::new(Some(path.as_ref()), options)
    }

    fn new(path: Option<&Path>, options: &ModelOptions) -> Result<Self> {
        // The runtime's threads, which begin here and in a stream's first sessions, have the mode of the one that makes them.
        let _mode = FloatMode::set_default();
        if options.threads > MAX_THREADS {
            fail!(InvalidArgument, "n_threads is {}, expected 0 to {MAX_THREADS}", options.threads);
        }
        let (network, checkpoint) = model::open(path, options.check_finite)?;
        for warning in &network.warnings {
            options.logger.log(log::Level::Warn, warning);
        }
        memory::check("a model")?;
        check_provider_options(options)?;
        let runtime = Runtime::get(options.runtime.as_deref(), &options.logger)?;
        let checkpoint = Arc::new(checkpoint);
        let available = || std::thread::available_parallelism().map_or(1, |n| n.get());
        let threads = if options.threads == 0 { available() } else { options.threads };
        let (place, device, fallback) = match options.provider {
            Provider::Cpu => (Place::Cpu, None, None),
            Provider::Cuda { device } => {
                let memory = open_cuda(runtime, &checkpoint, device, options)?;
                (Place::Cuda(device), Some(memory), None)
            }
            Provider::Auto => (Place::Cpu, None, Some(CUDA_IS_A_PREVIEW.to_string())),
        };
        if let Some(reason) = &fallback {
            // Nobody who has no use for a GPU wants to hear of it.
            options.logger.log(log::Level::Debug, format_args!("provider: the CPU, because {reason}"));
        }
        Self::placed(network, checkpoint, runtime, (place, device, fallback), threads, options)
    }

    fn placed(
        network: Network,
        checkpoint: Arc<Checkpoint>,
        runtime: &'static Runtime,
        (place, device, fallback): (Place, Option<Arc<Device>>, Option<String>),
        threads: usize,
        options: &ModelOptions,
    ) -> Result<Self> {
        let precision = |precision, direction| resolve(precision, direction, options.provider, place, &network);
        let encode_precision = precision(options.encode_precision, "encode")?;
        let decode_precision = precision(options.decode_precision, "decode")?;
        let whole_clips = network.needs_whole_clip();
        check_layout(options, place, [encode_precision, decode_precision], whole_clips)?;
        options.logger.log(
            log::Level::Info,
            format_args!(
                "{}: {} parameters, {}x{}x{} compression, {} channels; {}, {encode_precision} to encode, {decode_precision} to decode, {threads} threads; ONNX Runtime {} {}",
                checkpoint.name(),
                network.parameters(),
                network.temporal_compression(),
                network.spatial_compression(),
                network.spatial_compression(),
                network.latent_channels,
                match place {
                    Place::Cuda(device) => format!("CUDA device {device}"),
                    place => place.name().into(),
                },
                runtime.version(),
                runtime.path().display()
            ),
        );
        Ok(Model(Arc::new(Shared {
            owner: Process::current(),
            network,
            checkpoint,
            runtime,
            place,
            fallback,
            device,
            threads,
            logger: options.logger.clone(),
            encode_precision,
            decode_precision,
            provider_options: options.provider_options.clone().into(),
            encoder_options: graph_options(options, place, encode_precision),
            decoder_options: graph_options(options, place, decode_precision),
            scratch: Arc::default(),
            encoder: OnceCell::new(),
            decoder: OnceCell::new(),
        })))
    }

    /// A model whose streams may touch the memory of their state as little as a device's.
    #[cfg(test)]
    pub(crate) fn open_pretended(path: Option<&Path>, options: &ModelOptions) -> Result<Self> {
        let (network, checkpoint) = model::open(path, options.check_finite)?;
        let runtime = Runtime::get(options.runtime.as_deref(), &options.logger)?;
        let (checkpoint, place) = (Arc::new(checkpoint), Place::Pretended);
        let session = SessionOptions {
            place,
            cuda: CudaOptions::default(),
            threads: 1,
            loading_threads: 1,
            scratch: Arc::default(),
            logger: options.logger.clone(),
        };
        let device = Device::open(runtime, &checkpoint, &session)?;
        Self::placed(network, checkpoint, runtime, (place, Some(device), None), 1, options)
    }

    /// What this model is and what it runs on.
    pub fn info(&self) -> ModelInfo {
        let network = self.network();
        let counting = self.counting();
        let loaded = || self.0.encoder.get().into_iter().chain(self.0.decoder.get()).flatten();
        ModelInfo {
            name: self.0.checkpoint.name().into(),
            generation: network.generation,
            latent_channels: network.latent_channels,
            spatial_compression: network.spatial_compression(),
            temporal_compression: counting.unit,
            encode_delay: counting.encode_delay(),
            decode_delay: counting.decode_delay(),
            has_attention: network.has_attention(),
            whole_clips: network.needs_whole_clip(),
            encode_halo: self.encode_halo(),
            decode_halo: self.decode_halo(),
            has_scaling: network.scaling.is_ok(),
            parameters: network.parameters(),
            identity: network.identities.model,
            encoder_identity: network.identities.encoder,
            decoder_identity: network.identities.decoder,
            encodes: network.has(Half::Encoder),
            decodes: network.has(Half::Decoder),
            provider: self.0.place.name(),
            device: if let Place::Cuda(device) = self.0.place { device } else { 0 },
            fallback: self.0.fallback.clone(),
            encode_precision: self.0.encode_precision,
            decode_precision: self.0.decode_precision,
            device_bytes: self.device().map_or(0, |device| device.live_bytes()),
            runtime_path: self.0.runtime.path().into(),
            runtime_version: self.0.runtime.version().into(),
            sessions: loaded().count() as u32,
            weight_bytes: loaded().map(|step| step.weight_bytes).sum(),
        }
    }

    /// Latents of a whole clip of `frames` frames, with the last group completed.
    pub fn latents_for_frames(&self, frames: u64) -> u64 {
        self.counting().latents(frames)
    }

    /// Frames of a whole clip of `latents` latents.
    pub fn frames_for_latents(&self, latents: u64) -> u64 {
        self.counting().frames(latents)
    }

    /// Writes the graphs as `encoder.0.onnx`, ... with their weights beside them (`encoder.0.bin`, ...), for viewers and
    /// other runtimes. The folder must exist; files of these names are replaced. Inputs `size.0`, `size.1`, ... are whole
    /// numbers that follow from the size of a frame, and how many queries attention takes at a time; the description of each in
    /// the file (`doc_string`) tells which. A half that the checkpoint lacks is left out.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io); [`InvalidArgument`](ErrorKind::InvalidArgument) if the folder holds this model's own files, or
    /// one of the files to be replaced is such a file by another name, and nothing is written then;
    /// [`Checkpoint`](ErrorKind::Checkpoint) if its files changed since they were opened;
    /// [`OutOfMemory`](ErrorKind::OutOfMemory). Nothing is left of the graph that was being written.
    pub fn save_onnx(&self, folder: impl AsRef<Path>, graphs: Graphs) -> Result<()> {
        let _mode = FloatMode::set_default();
        self.0.owner.check("model")?;
        let folder = folder.as_ref();
        let (mut encoder, mut decoder) = match graphs {
            Graphs::Steps => (
                self.encoder_steps_by(&plain(&self.0.encoder_options)),
                self.decoder_steps_by(&plain(&self.0.decoder_options)),
            ),
            Graphs::Clip => (vec![self.encoder_clip()], vec![self.decoder_clip()]),
        };
        for (half, steps) in [(Half::Encoder, &mut encoder), (Half::Decoder, &mut decoder)] {
            if !self.network().has(half) {
                steps.clear();
            }
        }
        let steps: Vec<_> = encoder.into_iter().chain(decoder).collect();
        let targets = |step: &StepGraph| (folder.join(format!("{}.onnx", step.name)), folder.join(step.weights_file()));
        self.0.checkpoint.check_target_folder(folder)?;
        for (model, weights) in steps.iter().map(targets) {
            self.check_target(model).and_then(|()| self.check_target(weights))?;
        }
        for step in steps {
            let (model, weights) = targets(&step);
            let io = |path: &Path, e: std::io::Error| Error::new(ErrorKind::Io, format!("{}: {e}", path.display()));
            let create = |path: &Path| std::fs::File::create(path).map_err(|e| io(path, e));
            let mut graph = create(&model)?;
            let file = match create(&weights) {
                Ok(file) => file,
                Err(e) => {
                    let _ = std::fs::remove_file(&model);
                    return Err(e);
                }
            };
            let written = self.0.checkpoint.while_unchanged(|| {
                graph.write_all(&step.onnx).map_err(|e| io(&model, e))?;
                let mut file = std::io::BufWriter::new(file);
                write_weights(&step, &self.0.checkpoint, &mut file, |e| io(&weights, e))?;
                file.flush().map_err(|e| io(&weights, e))
            });
            if written.is_err() {
                // Nobody is to take them for this model's.
                let _ = [&model, &weights].map(std::fs::remove_file);
            }
            written?;
        }
        Ok(())
    }

    /// Fails if a file that is to be written is one of this model's own, by this or another name, or would be taken for
    /// one when the model's folder is opened again.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument).
    pub fn check_target(&self, target: impl AsRef<Path>) -> Result<()> {
        self.0.checkpoint.check_target(target.as_ref())
    }

    /// The process that opened it.
    pub(crate) fn owner(&self) -> Process {
        self.0.owner
    }

    pub(crate) fn network(&self) -> &Network {
        &self.0.network
    }

    /// Fails where a stream wants a half that the checkpoint lacks.
    pub(crate) fn check_half(&self, half: Half, wanted: bool) -> Result<()> {
        let (name, network) = (self.0.checkpoint.name(), self.network());
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
            interpolations: network.temporal_levels() as u32,
            interpolation: network.interpolation,
        }
    }

    /// Pixels around a tile that the encoder looks at, as whole latents.
    pub(crate) fn encode_halo(&self) -> Option<usize> {
        self.network().encoder_reach().map(|reach| reach.next_multiple_of(self.network().spatial_compression()))
    }

    /// Pixels around a tile that the decoder looks at, as whole latents.
    pub(crate) fn decode_halo(&self) -> Option<usize> {
        self.network().decoder_reach().map(|reach| reach * self.network().spatial_compression())
    }

    /// Of the scores of one block of queries.
    pub(crate) fn attention_bytes(&self) -> u64 {
        self.0.encoder_options.attention_bytes
    }

    #[cfg(test)]
    pub(super) fn encoder_options(&self) -> &graph::Options {
        &self.0.encoder_options
    }

    /// Those that run the network.
    pub(crate) fn threads(&self) -> usize {
        self.0.threads
    }

    /// Where streams keep their state, if not in the processor's memory.
    pub(crate) fn device(&self) -> Option<&Arc<Device>> {
        self.0.device.as_ref()
    }

    /// The encoder's steps, or the one graph of a model that must see whole clips.
    pub(crate) fn encoder_graphs(&self) -> Vec<StepGraph> {
        self.encoder_steps_by(&self.0.encoder_options)
    }

    /// The decoder's steps, or its one graph.
    pub(crate) fn decoder_graphs(&self) -> Vec<StepGraph> {
        self.decoder_steps_by(&self.0.decoder_options)
    }

    fn encoder_steps_by(&self, options: &graph::Options) -> Vec<StepGraph> {
        match self.network().needs_whole_clip() {
            true => vec![self.encoder_clip()],
            false => graph::encoder(&self.network().encoder, options),
        }
    }

    fn decoder_steps_by(&self, options: &graph::Options) -> Vec<StepGraph> {
        let network = self.network();
        match network.needs_whole_clip() {
            true => vec![self.decoder_clip()],
            false => graph::decoder(&network.decoder, network.latent_channels, options),
        }
    }

    fn encoder_clip(&self) -> StepGraph {
        graph::encoder_clip(&self.network().encoder, &clip(&self.0.encoder_options))
    }

    fn decoder_clip(&self) -> StepGraph {
        let network = self.network();
        let (channels, interpolation) = (network.latent_channels, network.interpolation);
        graph::decoder_clip(&network.decoder, channels, interpolation, &clip(&self.0.decoder_options))
    }

    /// The encoder's sessions, loaded by the first caller.
    pub(crate) fn encoder_steps(&self) -> Result<&[Arc<Step>]> {
        Ok(self.0.encoder.get_or_try_init(|| self.load(self.encoder_graphs(), self.0.encode_precision))?)
    }

    /// The decoder's sessions, loaded by the first caller.
    pub(crate) fn decoder_steps(&self) -> Result<&[Arc<Step>]> {
        Ok(self.0.decoder.get_or_try_init(|| self.load(self.decoder_graphs(), self.0.decode_precision))?)
    }

    pub(super) fn load(&self, graphs: Vec<StepGraph>, precision: Precision) -> Result<Vec<Arc<Step>>> {
        let place = self.0.place;
        if precision == Precision::Bf16 && !matches!(place, Place::Cuda(_)) {
            fail!(
                Provider,
                "precision bf16: ONNX Runtime's CPU provider has no convolutions of bfloat16; take f32 or f16, or a CUDA \
                 device"
            );
        }
        // Each session has threads of its own, and others load and pack. Where not all of these can be had, this thread does
        // what it can alone.
        let (pools, others) = (graphs.len() * (self.0.threads - 1), graphs.len().saturating_sub(1));
        let wanted = if self.0.threads == 1 { 0 } else { 2 * pools + others };
        let (more, loading_threads) = match threads::obtainable(wanted) {
            count if count < pools => {
                let what = format!("n_threads {}, {} sessions", self.0.threads, graphs.len());
                return Err(threads::refused(&what));
            }
            count if count < wanted || self.0.threads == 1 => (0, 1),
            _ => (others, self.0.threads),
        };
        let options = SessionOptions {
            place,
            cuda: CudaOptions {
                tensor_cores: precision != Precision::F32,
                channels_last: self.0.encoder_options.channels_last,
                more: self.0.provider_options.clone(),
            },
            threads: self.0.threads,
            loading_threads,
            scratch: self.0.scratch.clone(),
            logger: self.0.logger.clone(),
        };
        let narrow = matches!(precision, Precision::F16 | Precision::Bf16)
            || graphs.iter().flat_map(|graph| &graph.caches).any(|cache| cache.now.element == Element::F16);
        let load = |graph: StepGraph| -> Result<Arc<Step>> {
            let start = std::time::Instant::now();
            memory::check("a session")?;
            let session = Session::load(self.0.runtime, &graph, &self.0.checkpoint, &options)?;
            self.0.logger.log(
                log::Level::Debug,
                format_args!("{}: {} bytes of weights in {:.2?}", graph.name, graph.weight_bytes(), start.elapsed()),
            );
            let weight_bytes = graph.weight_bytes() as u64;
            Ok(Arc::new(Step {
                session,
                inputs: graph.inputs,
                outputs: graph.outputs,
                caches: graph.caches.into_iter().map(|cache| cache.now).collect(),
                sizes: graph.sizes,
                device: self.0.device.clone(),
                narrow,
                weight_bytes,
            }))
        };
        // Building a session is the work of one thread, of which this is one.
        let (queue, loaded) = (Mutex::new(graphs.into_iter().enumerate()), Mutex::new(Vec::new()));
        let work = || {
            loop {
                let Some((i, graph)) = queue.lock().next() else { break };
                let step = load(graph);
                loaded.lock().push((i, step));
            }
        };
        self.0.checkpoint.while_unchanged(|| {
            std::thread::scope(|scope| {
                let mut more = 0..more;
                while more.next().is_some() && std::thread::Builder::new().spawn_scoped(scope, work).is_ok() {}
                work();
            });
            let mut loaded = std::mem::take(&mut *loaded.lock());
            loaded.sort_by_key(|(i, _)| *i);
            loaded.into_iter().map(|(_, step)| step).collect()
        })
    }
}

/// The memory of a place; `None`: the place uses the processor's.
fn open_cuda(
    runtime: &'static Runtime,
    checkpoint: &Arc<Checkpoint>,
    device: u32,
    options: &ModelOptions,
) -> Result<Arc<Device>> {
    runtime.check_cuda(device)?;
    let cuda = CudaOptions { more: options.provider_options.clone().into(), ..CudaOptions::default() };
    let place = Place::Cuda(device);
    Device::open(
        runtime,
        checkpoint,
        &SessionOptions {
            place,
            cuda,
            threads: 1,
            loading_threads: 1,
            scratch: Arc::default(),
            logger: options.logger.clone(),
        },
    )
}

fn check_provider_options(options: &ModelOptions) -> Result<()> {
    for (name, value) in &options.provider_options {
        if options.provider == Provider::Cpu {
            fail!(
                InvalidArgument,
                "provider_options: {name} is an option of a CUDA device, and the provider is the CPU"
            );
        }
        if !PROVIDER_OPTIONS.contains(&name.as_str()) {
            fail!(InvalidArgument, "provider_options: {name:?} is not one of {}", PROVIDER_OPTIONS.join(", "));
        }
        if value.is_empty() || value.contains('\0') {
            fail!(InvalidArgument, "provider_options: {name} has the value {value:?}, which cannot be one");
        }
    }
    Ok(())
}

fn check_layout(options: &ModelOptions, place: Place, precisions: [Precision; 2], whole_clips: bool) -> Result<()> {
    let ours = place == Place::Cpu && matches!(options.convolution, Convolution::Exact | Convolution::Fast);
    match options.layout {
        Layout::ChannelsLast if whole_clips => fail!(
            InvalidArgument,
            "layout channels_last: the model has norm_type \"groupnorm\", whose graphs of a whole clip are planes; take \
             layout auto or planes"
        ),
        Layout::Planes if ours && !whole_clips && precisions.contains(&Precision::F32) => fail!(
            InvalidArgument,
            "layout planes: on the processor, convolution exact and fast are channels-last; take layout auto, or \
             convolution direct, stacked or volume"
        ),
        Layout::ChannelsLast if precisions.contains(&Precision::Bf16) => fail!(
            InvalidArgument,
            "layout channels_last: ONNX Runtime has no such convolutions of bfloat16; take layout planes, or precision f16"
        ),
        _ => Ok(()),
    }
}

/// The precision that a direction really has, if it can.
fn resolve(
    precision: Precision,
    direction: &str,
    provider: Provider,
    place: Place,
    network: &Network,
) -> Result<Precision> {
    match precision {
        Precision::Tf32 if provider == Provider::Cpu => fail!(
            InvalidArgument,
            "{direction}_precision tf32: the CPU has no such mode; take f32 there, or a CUDA device"
        ),
        Precision::Tf32 if place == Place::Cpu => Ok(Precision::F32),
        Precision::F16 | Precision::Bf16 if network.needs_whole_clip() => fail!(
            InvalidArgument,
            "{direction}_precision {precision}: the model has norm_type \"groupnorm\", whose sums over a whole clip need \
             float32; take f32"
        ),
        precision => Ok(precision),
    }
}

fn graph_options(options: &ModelOptions, place: Place, precision: Precision) -> graph::Options {
    let compute = match precision {
        Precision::F32 | Precision::Tf32 => Element::F32,
        Precision::F16 => Element::F16,
        Precision::Bf16 => Element::Bf16,
    };
    let operators = match options.convolution {
        // Ours are of float32, for the processor.
        _ if place != Place::Cpu || compute != Element::F32 => Operators::Onnx,
        // A processor without vectors that we know: the runtime's own operators are faster.
        _ if kernels::lanes() == 1 => Operators::Onnx,
        Convolution::Exact => Operators::Exact,
        Convolution::Fast => Operators::Fast,
        Convolution::Direct => Operators::OurNorms,
        Convolution::Stacked | Convolution::Volume => Operators::Onnx,
    };
    graph::Options {
        cache: match options.cache_type {
            CacheType::F32 => Element::F32,
            CacheType::F16 => Element::F16,
        },
        compute,
        attention_bytes: match options.attention_bytes {
            0 => DEFAULT_ATTENTION_BYTES,
            bytes => bytes,
        },
        operators,
        taps: match options.convolution {
            Convolution::Stacked => Taps::Stacked,
            Convolution::Volume => Taps::Volume,
            // ONNX Runtime 1.31 gets sums of three half precision convolutions wrong on the processor.
            _ if place == Place::Cpu && compute != Element::F32 => Taps::Stacked,
            // A guess until it is measured: sums of 27 C products in one kernel, without passes to add three results and,
            // in half precision, without rounding them before.
            Convolution::Exact | Convolution::Fast if place != Place::Cpu => Taps::Stacked,
            Convolution::Exact | Convolution::Fast | Convolution::Direct => Taps::Added,
        },
        channels_last: options.layout == Layout::ChannelsLast
            && !matches!(operators, Operators::Exact | Operators::Fast),
        narrow_norms: true,
    }
}

/// For viewers and other runtimes: only what ONNX defines.
fn plain(options: &graph::Options) -> graph::Options {
    graph::Options { operators: Operators::Onnx, narrow_norms: false, ..*options }
}

/// Our operators take frames, and sums over a clip need float32.
fn clip(options: &graph::Options) -> graph::Options {
    graph::Options { compute: Element::F32, ..plain(options) }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_in_half_precision_has_the_convolutions_that_were_asked_for() {
        let taps = |convolution, place| {
            let options = ModelOptions { convolution, ..ModelOptions::default() };
            graph_options(&options, place, Precision::F16).taps
        };
        for (convolution, expected) in [
            (Convolution::Exact, Taps::Stacked),
            (Convolution::Direct, Taps::Added),
            (Convolution::Stacked, Taps::Stacked),
            (Convolution::Volume, Taps::Volume),
        ] {
            assert_eq!(taps(convolution, Place::Cuda(0)), expected, "{convolution:?}");
        }
        assert_eq!(taps(Convolution::Direct, Place::Cpu), Taps::Stacked);
    }
}
