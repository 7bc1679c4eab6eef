//! How a network is computed: what follows from a model's options, the place where it runs and the CPU.

use super::model_options::{CacheType, Convolution, Layout, ModelOptions, Precision, Provider};
use crate::error::{Result, fail};
use crate::graph::{self, Element, Operators, Taps};
use crate::kernels::{OPTIMISED, Target};
use crate::model::{Half, Network};
use crate::runtime::{OUR_KERNELS, Place};

const DEFAULT_ATTENTION_BYTES: u64 = 64 << 20;

pub(super) fn check_layout(
    options: &ModelOptions,
    place: Place,
    precisions: [Precision; 2],
    network: &Network,
) -> Result<()> {
    let whole_clip = network.all_need_whole_clip();
    if let (Layout::ChannelsLast, Some(reason)) = (options.layout, whole_clip) {
        fail!(
            InvalidArgument,
            "layout channels_last: the model has {reason}, and graphs of a whole clip have a layout of their own; take layout auto"
        );
    }
    let ours = place == Place::Cpu && matches!(options.convolution, Convolution::Exact | Convolution::Fast);
    match options.layout {
        Layout::Planes if ours && whole_clip.is_none() && precisions.contains(&Precision::F32) => fail!(
            InvalidArgument,
            "layout planes: on the CPU, convolution exact and fast are channels-last; take layout auto, or \
             convolution direct, stacked or volume"
        ),
        Layout::ChannelsLast if precisions.contains(&Precision::Bf16) => fail!(
            InvalidArgument,
            "layout channels_last: ONNX Runtime has no such convolutions of bfloat16; take layout auto, or precision f16"
        ),
        _ => Ok(()),
    }
}

/// How a direction is computed, as the model's options say.
pub(super) struct Way {
    pub(super) precision: Precision,
    pub(super) convolution: Convolution,
    pub(super) layout: Layout,
    pub(super) direction: &'static str,
}

/// The precision that a direction gets, if it can have it.
pub(super) fn resolve(
    precision: Precision,
    half: Half,
    provider: Provider,
    place: Place,
    network: &Network,
) -> Result<Precision> {
    let direction = half.verb();
    if let (Precision::F16 | Precision::Bf16, Some(reason)) = (precision, network.needs_whole_clip(half)) {
        fail!(
            InvalidArgument,
            "{direction}_precision {precision}: the model has {reason}, which needs float32; take f32"
        );
    }
    match precision {
        Precision::Tf32 if provider == Provider::Cpu => fail!(
            InvalidArgument,
            "{direction}_precision tf32: the CPU has no such mode; take f32 there, or a CUDA device"
        ),
        Precision::Tf32 if place == Place::Cpu => Ok(Precision::F32),
        precision => Ok(precision),
    }
}

/// Whether streams can compute as these options of a direction say. A model is opened all the same, as its graphs can be saved for
/// other machines.
pub(super) fn check(way: &Way, place: Place) -> Result<()> {
    let Way { precision, convolution, layout, direction } = *way;
    if precision != Precision::Bf16 || place != Place::Cpu {
        return Ok(());
    }
    let what = format!("{direction}_precision bf16 on the CPU");
    if !matches!(convolution, Convolution::Exact | Convolution::Fast) {
        fail!(InvalidArgument, "{what}: ONNX Runtime has no such convolutions; take convolution exact or fast");
    }
    if layout == Layout::Planes {
        fail!(InvalidArgument, "{what}: its frames are channels-last; take layout auto");
    }
    if !OPTIMISED {
        fail!(
            Provider,
            "{what}: wfvae was compiled with opt-level 0 or 1, so its convolutions would be slow; compile it with opt-level 3, or \
             take f32"
        );
    }
    if let Err(reason) = Target::current().check_matrix_unit() {
        fail!(Provider, "{what}: {reason}; take f32, which is the fastest without one, or a CUDA device");
    }
    Ok(())
}

fn element(precision: Precision) -> Element {
    match precision {
        Precision::F32 | Precision::Tf32 => Element::F32,
        Precision::F16 => Element::F16,
        Precision::Bf16 => Element::Bf16,
    }
}

/// The types that our kernels on a CUDA device should compute in.
pub(super) fn wanted_kernels(options: &ModelOptions) -> Vec<Element> {
    if !options.is_on(OUR_KERNELS, true) || options.layout == Layout::Planes {
        return vec![];
    }
    // Channels-last convolutions of bfloat16 do not exist.
    let mut wanted = [options.encode_precision, options.decode_precision].map(element).to_vec();
    wanted.dedup();
    wanted.retain(|element| *element != Element::Bf16);
    wanted
}

/// What the graphs of a direction are made of. `kernels` are the types of our kernels on the device.
pub(super) fn graph_options(
    options: &ModelOptions,
    place: Place,
    precision: Precision,
    (network, half): (&Network, Half),
    kernels: &[Element],
) -> graph::Options {
    let compute = element(precision);
    let group_norms = network.has_group_norms(half);
    let channels_last = match options.layout {
        // Of ONNX's operators, graphs of a whole clip are planes.
        _ if network.needs_whole_clip(half).is_some() => false,
        Layout::ChannelsLast => true,
        Layout::Planes => false,
        // The fastest on an H100 wherever there is a choice. Group norms are of planes.
        Layout::Auto => matches!(place, Place::Cuda(_)) && compute != Element::Bf16 && !group_norms,
    };
    let operators = match options.convolution {
        _ if channels_last && kernels.contains(&compute) && !group_norms => Operators::Device,
        _ if place == Place::Cpu && compute == Element::Bf16 => Operators::Matrix,
        // The others of ours compute in float32, on the CPU.
        _ if place != Place::Cpu || compute != Element::F32 => Operators::Onnx,
        // A CPU without vectors that we know, or a debug build: the runtime's own operators are faster.
        _ if !OPTIMISED || !Target::current().has_vectors() => Operators::Onnx,
        // Only graphs of a whole clip can be planes then.
        Convolution::Exact | Convolution::Fast if options.layout == Layout::Planes => Operators::Onnx,
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
            // ONNX Runtime 1.31 gets sums of three half precision convolutions wrong on the CPU.
            _ if place == Place::Cpu && compute != Element::F32 => Taps::Stacked,
            // Sums of 27 C products in one kernel, without passes to add three results and, in half precision, without
            // rounding them before.
            Convolution::Exact | Convolution::Fast if place != Place::Cpu => Taps::Stacked,
            Convolution::Exact | Convolution::Fast | Convolution::Direct => Taps::Added,
        },
        channels_last: channels_last && !matches!(operators, Operators::Exact | Operators::Fast | Operators::Matrix),
        narrow_norms: true,
        // Elsewhere the CPU provider, which computes for the fake device, too, computes in float32 and inserts casts by itself.
        wide: !matches!(place, Place::Cuda(_)) && cfg!(target_arch = "aarch64"),
    }
}

/// What to tell the user if our operators would run but for the build. Only a Rust program can have such a build.
pub(super) fn unoptimised(
    convolution: Convolution,
    place: Place,
    precisions: [Precision; 2],
    network: &Network,
) -> Option<&'static str> {
    let wanted = match convolution {
        Convolution::Exact | Convolution::Fast => true,
        // Of a whole clip, norms are ONNX Runtime's then.
        Convolution::Direct => network.all_need_whole_clip().is_none(),
        Convolution::Stacked | Convolution::Volume => false,
    };
    let possible = place == Place::Cpu && precisions.contains(&Precision::F32);
    (!OPTIMISED && wanted && possible && Target::current().has_vectors()).then_some(
        "wfvae was compiled with opt-level 0 or 1, so ONNX Runtime's own convolutions and norms are used: calls take \
         twice as long, and results differ in the last bits. Add [profile.dev.package.wfvae] with opt-level = 3 and \
         debug-assertions = false to the Cargo.toml of your workspace",
    )
}

/// For viewers and other runtimes: only what ONNX defines.
pub(super) fn plain(options: &graph::Options) -> graph::Options {
    graph::Options { operators: Operators::Onnx, narrow_norms: false, wide: false, ..*options }
}

/// Of a whole clip, whose sums need float32.
pub(super) fn clip(options: &graph::Options) -> graph::Options {
    let operators = match options.operators {
        Operators::Exact | Operators::Fast => options.operators,
        _ => Operators::Onnx,
    };
    graph::Options { compute: Element::F32, operators, ..plain(options) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;
    use std::path::Path;

    fn network(case: &str) -> Network {
        model::open(Some(&Path::new("tests/golden").join(case)), false).unwrap().0
    }

    /// Otherwise no test would run them.
    #[test]
    fn our_kernels_are_those_that_tests_run() {
        let (network, options) = (network("v1-tiny"), ModelOptions::default());
        let graph = graph_options(&options, Place::Cpu, Precision::F32, (&network, Half::Encoder), &[]);
        let vectors = Target::choose().unwrap().has_vectors();
        assert_eq!(graph.operators, if vectors { Operators::Exact } else { Operators::Onnx });
        assert_eq!(unoptimised(options.convolution, Place::Cpu, [Precision::F32; 2], &network), None);
    }

    #[test]
    fn cuda_in_half_precision_has_the_convolutions_that_were_asked_for() {
        let network = network("v1-tiny");
        let taps = |convolution, place| {
            let options = ModelOptions { convolution, ..ModelOptions::default() };
            graph_options(&options, place, Precision::F16, (&network, Half::Encoder), &[]).taps
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

    #[test]
    fn cuda_is_channels_last_where_it_can_be_and_is_faster() {
        let (pixels, groups) = (&network("v1-tiny"), &network("own-v2-groupnorm"));
        let channels_last = |layout, place, precision, network: &Network| {
            let options = ModelOptions { layout, ..ModelOptions::default() };
            graph_options(&options, place, precision, (network, Half::Encoder), &[]).channels_last
        };
        let (auto, cuda) = (Layout::Auto, Place::Cuda(0));
        for precision in [Precision::F32, Precision::Tf32, Precision::F16] {
            assert!(channels_last(auto, cuda, precision, pixels), "{precision}");
        }
        assert!(!channels_last(auto, cuda, Precision::Bf16, pixels));
        assert!(!channels_last(auto, cuda, Precision::F32, groups));
        assert!(!channels_last(auto, Place::Cpu, Precision::F16, pixels));
        assert!(!channels_last(Layout::Planes, cuda, Precision::F16, pixels));
        assert!(channels_last(Layout::ChannelsLast, Place::Cpu, Precision::F16, pixels));
        assert!(!channels_last(Layout::ChannelsLast, cuda, Precision::F32, groups), "a whole clip");
    }
}
