//! What the emitted graphs are made of, so that a change that adds work is seen without a clock.

use super::{Element, Operators, Options, StepGraph, Taps, decoder, decoder_clip, encoder, encoder_clip, onnx};
use crate::model;
use prost::Message;
use std::collections::BTreeMap;
use std::path::Path;

/// Every kind of node of a step and how many there are, those of loops included.
fn count(step: &StepGraph) -> String {
    fn add(graph: &onnx::Graph, counts: &mut BTreeMap<String, usize>) {
        for node in &graph.node {
            *counts.entry(node.op_type.clone()).or_default() += 1;
            node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()).for_each(|inner| add(inner, counts));
        }
    }
    let model = onnx::Model::decode(step.onnx.as_slice()).unwrap();
    let mut counts = BTreeMap::new();
    add(&model.graph.unwrap(), &mut counts);
    let text: Vec<_> = counts.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
    format!("{}: {}", step.name, text.join(", "))
}

/// `None`: the built-in model.
fn counts(folder: Option<&str>, options: &Options) -> String {
    let (network, _) = model::open(folder.map(Path::new), false).unwrap();
    let encoder = encoder(&network.encoder, options);
    let decoder = decoder(&network.decoder, network.latent_channels, options);
    let lines: Vec<_> = encoder.iter().chain(&decoder).map(count).collect();
    lines.join("\n")
}

fn check(folder: Option<&str>, operators: Operators, expected: &str) {
    check_options(folder, operators, Taps::Added, Element::F32, expected);
}

fn check_options(folder: Option<&str>, operators: Operators, taps: Taps, compute: Element, expected: &str) {
    check_layout(folder, operators, taps, compute, false, expected);
}

fn check_layout(
    folder: Option<&str>,
    operators: Operators,
    taps: Taps,
    compute: Element,
    channels_last: bool,
    expected: &str,
) {
    let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>().join(" ");
    let options = Options {
        cache: compute,
        compute,
        attention_bytes: 1 << 26,
        operators,
        taps,
        channels_last,
        narrow_norms: true,
        wide: false,
    };
    let found = counts(folder, &options);
    assert_eq!(
        words(&found),
        words(expected),
        "{operators:?}, {taps:?}, {compute:?} of {folder:?}: more nodes are more work; if they pay, change the test"
    );
}

/// The two graphs of a whole clip.
fn check_clip(case: &str, operators: Operators, expected: &str) {
    let (network, _) = model::open(Some(&Path::new("tests/golden").join(case)), false).unwrap();
    let options = Options {
        cache: Element::F32,
        compute: Element::F32,
        attention_bytes: 1 << 26,
        operators,
        taps: Taps::Added,
        channels_last: false,
        narrow_norms: false,
        wide: false,
    };
    let encoder = encoder_clip(&network.encoder, &options);
    let decoder = decoder_clip(&network.decoder, network.latent_channels, network.interpolation, &options);
    let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>().join(" ");
    let found = format!("{}\n{}", count(&encoder), count(&decoder));
    assert_eq!(
        words(&found),
        words(expected),
        "{operators:?} of {case}: more nodes are more work; if they pay, change the test"
    );
}

#[test]
fn whole_clips_by_our_operators() {
    check_clip(
        "cv-tiny",
        Operators::Exact,
        "
        encoder.clip: ClipPointwise 5, ClipStatistics 14, ClipStrided 3, ClipWinograd2 7, ClipWinograd4 7, MatMul 2, Mul 1,
            Reshape 6, Scan 1, Softmax 1, Squeeze 1, Transpose 3, Unsqueeze 4
        decoder.clip: ClipInterpolatedWinograd4 2, ClipPointwise 5, ClipStatistics 22, ClipWinograd2 9, ClipWinograd4 13,
            ClipWinograd4Doubled 1, Concat 2, MatMul 2, Mul 1, Reshape 6, Scan 1, Softmax 1, Squeeze 1, Transpose 3,
            Unsqueeze 4
        ",
    );
    check_clip(
        "cv-tiny",
        Operators::Fast,
        "
        encoder.clip: ClipPointwise 5, ClipStatistics 14, ClipStrided 3, ClipWinograd4 14, MatMul 2, Mul 1, Reshape 6, Scan 1,
            Softmax 1, Squeeze 1, Transpose 3, Unsqueeze 4
        decoder.clip: ClipInterpolatedWinograd4 2, ClipPointwise 5, ClipStatistics 22, ClipWinograd4 22, ClipWinograd4Doubled 1,
            Concat 2, MatMul 2, Mul 1, Reshape 6, Scan 1, Softmax 1, Squeeze 1, Transpose 3, Unsqueeze 4
        ",
    );
}

/// The layout of the released large models: two residual blocks a stage, attention.
const LARGE: Option<&str> = Some("tests/golden/v1-image");

#[test]
fn large_models_by_our_operators() {
    check(
        LARGE,
        Operators::Exact,
        "
        encoder.0: Concat 1, HaarAnalysis 2, NormSilu 8, Reshape 8, Shape 4, Strided 1, Winograd2 5,
            Winograd4 6
        encoder.1: Concat 1, HaarAnalysis 1, MatMul 2, Mul 1, Norm 1, NormSilu 5, Pointwise 5, Reshape 16,
            Scan 1, Shape 5, Softmax 1, Strided 1, Transpose 2, Winograd4 6
        decoder.0: Concat 1, HaarSynthesis 1, MatMul 2, Mul 1, Norm 1, NormSilu 10, Pointwise 5, Reshape 28,
            Resize 1, Scan 1, Shape 11, Slice 2, Softmax 1, Transpose 2, Winograd2 12, Winograd4 1
        decoder.1: Blend 1, HaarSynthesis 2, NormSilu 15, Pointwise 3, Reshape 28, Shape 14, Slice 2,
            Winograd4 16, Winograd4Doubled 1",
    );
}

#[test]
fn large_models_by_large_tiles() {
    check(
        LARGE,
        Operators::Fast,
        "
        encoder.0: Concat 1, HaarAnalysis 2, NormSilu 8, Reshape 8, Shape 4, Strided 1, Winograd4 11
        encoder.1: Concat 1, HaarAnalysis 1, MatMul 2, Mul 1, Norm 1, NormSilu 5, Pointwise 5, Reshape 16,
            Scan 1, Shape 5, Softmax 1, Strided 1, Transpose 2, Winograd4 6
        decoder.0: Concat 1, HaarSynthesis 1, MatMul 2, Mul 1, Norm 1, NormSilu 10, Pointwise 5, Reshape 28,
            Resize 1, Scan 1, Shape 11, Slice 2, Softmax 1, Transpose 2, Winograd4 13
        decoder.1: Blend 1, HaarSynthesis 2, NormSilu 15, Pointwise 3, Reshape 28, Shape 14, Slice 2,
            Winograd4 16, Winograd4Doubled 1",
    );
}

#[test]
fn large_models_by_the_operators_of_onnx() {
    check(
        LARGE,
        Operators::Onnx,
        "
        encoder.0: Add 12, Concat 2, Conv 22, LayerNormalization 8, Mul 8, Reshape 8, Shape 4, Sigmoid 8,
            Slice 2, Transpose 16
        encoder.1: Add 15, Concat 2, Conv 25, LayerNormalization 6, MatMul 2, Mul 6, Reshape 16, Scan 1,
            Shape 5, Sigmoid 5, Softmax 1, Transpose 15
        decoder.0: Add 28, Concat 1, Conv 41, DepthToSpace 1, Identity 1, LayerNormalization 11, MatMul 2,
            Mul 11, Reshape 28, Resize 1, Scan 1, Shape 11, Sigmoid 10, Slice 4, Softmax 1, Transpose 25
        decoder.1: Add 39, Concat 3, Conv 53, DepthToSpace 3, Gather 3, LayerNormalization 15, MatMul 3, Mul
            15, Reshape 33, Shape 14, Sigmoid 15, Slice 8, Transpose 30",
    );
}

#[test]
fn large_models_on_a_matrix_unit() {
    check_options(
        LARGE,
        Operators::Matrix,
        Taps::Added,
        Element::Bf16,
        "
        encoder.0: Concat 1, HaarNarrowAnalysis 2, MatrixNarrow 3, MatrixSameNormed 6,
            MatrixSameResidualNormed 2, MatrixSameResidualSums 2, MatrixSameSums 1, MatrixStridedSums 1, Reshape
            8, Shape 4
        encoder.1: Concat 1, HaarNarrowAnalysis 1, MatrixAttend 1, MatrixNarrow 1, MatrixNorm 1,
            MatrixPointwiseNarrow 3, MatrixPointwiseResidualNormed 1, MatrixPointwiseSums 1, MatrixSameNormed 2,
            MatrixSameResidualNormed 2, MatrixSameSums 2, MatrixStridedSums 1, Reshape 10, Shape 5, Transpose 1
        decoder.0: Concat 1, HaarSynthesis 1, MatrixAttend 1, MatrixDoubled 1, MatrixNarrow 3, MatrixNorm 2,
            MatrixPointwiseNarrow 3, MatrixPointwiseResidualNormed 1, MatrixPointwiseSums 1, MatrixSameNarrow 1,
            MatrixSameNormed 6, MatrixSameResidualNormed 2, MatrixSameResidualSums 3, MatrixSameSums 1, Reshape
            22, Shape 11, Slice 2, Transpose 1
        decoder.1: HaarSynthesis 2, MatrixBlend 1, MatrixDoubledNormed 1, MatrixNarrow 5, MatrixNorm 3,
            MatrixPointwiseSums 3, MatrixSameNormed 7, MatrixSameResidualNormed 4, MatrixSameResidualSums 3,
            MatrixSameSums 2, Reshape 28, Shape 14, Slice 2",
    );
}

#[test]
fn the_built_in_model_by_our_operators() {
    check(
        None,
        Operators::Exact,
        "
        encoder.0: Concat 1, HaarAnalysis 2, NormSilu 8, Reshape 8, Shape 4, Strided 1, Winograd2 5,
            Winograd4 6
        encoder.1: Concat 1, HaarAnalysis 1, NormSilu 5, Pointwise 1, Reshape 10, Shape 5, Strided 1,
            Transpose 1, Winograd4 6
        decoder.0: Concat 1, HaarSynthesis 1, NormSilu 14, Pointwise 1, Reshape 30, Resize 1, Shape 15,
            Slice 2, Transpose 1, Winograd2 16, Winograd4 1
        decoder.1: Blend 1, HaarSynthesis 2, NormSilu 19, Pointwise 3, Reshape 36, Shape 18, Slice 2,
            Winograd4 20, Winograd4Doubled 1",
    );
}

#[test]
fn large_models_by_the_convolutions_of_onnx_and_our_norms() {
    check(
        LARGE,
        Operators::OurNorms,
        "
        encoder.0: Add 12, Concat 2, Conv 22, NormSilu 8, Reshape 8, Shape 4, Slice 2, Transpose 24
        encoder.1: Add 15, Concat 2, Conv 25, LayerNormalization 1, MatMul 2, Mul 1, NormSilu 5, Reshape 16,
            Scan 1, Shape 5, Softmax 1, Transpose 25
        decoder.0: Add 28, Concat 1, Conv 41, DepthToSpace 1, Identity 1, LayerNormalization 1, MatMul 2,
            Mul 1, NormSilu 10, Reshape 28, Resize 1, Scan 1, Shape 11, Slice 4, Softmax 1, Transpose 45
        decoder.1: Add 39, Concat 3, Conv 53, DepthToSpace 3, Gather 3, MatMul 3, NormSilu 15, Reshape 33,
            Shape 14, Slice 8, Transpose 58",
    );
}

#[test]
fn large_models_for_cuda_stacked() {
    check_options(
        LARGE,
        Operators::Onnx,
        Taps::Stacked,
        Element::F32,
        "
        encoder.0: Add 4, Concat 6, Conv 14, LayerNormalization 8, Mul 8, Reshape 8, Shape 4, Sigmoid 8,
            Slice 2, Transpose 16
        encoder.1: Add 3, Concat 8, Conv 13, LayerNormalization 6, MatMul 2, Mul 6, Reshape 16, Scan 1,
            Shape 5, Sigmoid 5, Softmax 1, Transpose 15
        decoder.0: Add 6, Concat 12, Conv 19, DepthToSpace 1, Identity 1, LayerNormalization 11, MatMul 2,
            Mul 11, Reshape 28, Resize 1, Scan 1, Shape 11, Sigmoid 10, Slice 4, Softmax 1, Transpose 25
        decoder.1: Add 11, Concat 17, Conv 25, DepthToSpace 3, Gather 3, LayerNormalization 15, MatMul 3,
            Mul 15, Reshape 33, Shape 14, Sigmoid 15, Slice 8, Transpose 30",
    );
}

#[test]
fn large_models_for_cuda_volume() {
    check_options(
        LARGE,
        Operators::Onnx,
        Taps::Volume,
        Element::F32,
        "
        encoder.0: Add 4, Concat 6, Conv 14, LayerNormalization 8, Mul 8, Reshape 8, Shape 4, Sigmoid 8,
            Slice 2, Squeeze 4, Transpose 16, Unsqueeze 12
        encoder.1: Add 3, Concat 8, Conv 13, LayerNormalization 6, MatMul 2, Mul 6, Reshape 16, Scan 1,
            Shape 5, Sigmoid 5, Softmax 1, Squeeze 6, Transpose 15, Unsqueeze 18
        decoder.0: Add 6, Concat 12, Conv 19, DepthToSpace 1, Identity 1, LayerNormalization 11, MatMul 2,
            Mul 11, Reshape 28, Resize 1, Scan 1, Shape 11, Sigmoid 10, Slice 4, Softmax 1, Squeeze 11,
            Transpose 25, Unsqueeze 33
        decoder.1: Add 11, Concat 17, Conv 25, DepthToSpace 3, Gather 3, LayerNormalization 15, MatMul 3,
            Mul 15, Reshape 33, Shape 14, Sigmoid 15, Slice 8, Squeeze 14, Transpose 30, Unsqueeze 42",
    );
}

#[test]
fn large_models_for_cuda_stacked_in_float16() {
    check_options(
        LARGE,
        Operators::Onnx,
        Taps::Stacked,
        Element::F16,
        "
        encoder.0: Add 4, Cast 9, Concat 6, Conv 14, LayerNormalization 8, Mul 8, Reshape 8, Shape 4,
            Sigmoid 8, Slice 2, Transpose 16
        encoder.1: Add 3, Cast 12, Concat 8, Conv 13, LayerNormalization 6, MatMul 2, Mul 6, Reshape 16,
            Scan 1, Shape 5, Sigmoid 5, Softmax 1, Transpose 15
        decoder.0: Add 6, Cast 17, Concat 12, Conv 19, DepthToSpace 1, LayerNormalization 11, MatMul 2, Mul
            11, Reshape 28, Resize 1, Scan 1, Shape 11, Sigmoid 10, Slice 4, Softmax 1, Transpose 25
        decoder.1: Add 11, Cast 21, Concat 17, Conv 25, DepthToSpace 3, Gather 3, LayerNormalization 15,
            MatMul 3, Mul 15, Reshape 33, Shape 14, Sigmoid 15, Slice 8, Transpose 30",
    );
}

#[test]
fn large_models_for_cuda_volume_in_bfloat16() {
    check_options(
        LARGE,
        Operators::Onnx,
        Taps::Volume,
        Element::Bf16,
        "
        encoder.0: Add 4, Cast 11, Concat 6, Conv 14, LayerNormalization 8, Mul 8, Reshape 8, Shape 4,
            Sigmoid 8, Slice 2, Squeeze 4, Transpose 16, Unsqueeze 12
        encoder.1: Add 3, Cast 17, Concat 8, Conv 13, LayerNormalization 6, MatMul 2, Mul 6, Reshape 16,
            Scan 1, Shape 5, Sigmoid 5, Softmax 1, Squeeze 6, Transpose 15, Unsqueeze 18
        decoder.0: Add 6, Cast 24, Concat 12, Conv 19, DepthToSpace 1, LayerNormalization 11, MatMul 2, Mul
            11, Reshape 28, Resize 1, Scan 1, Shape 11, Sigmoid 10, Slice 4, Softmax 1, Squeeze 11, Transpose
            25, Unsqueeze 33
        decoder.1: Add 11, Cast 28, Concat 17, Conv 25, DepthToSpace 2, Gather 3, LayerNormalization 15,
            MatMul 3, Mul 15, Reshape 35, Shape 14, Sigmoid 15, Slice 8, Squeeze 14, Transpose 31, Unsqueeze 42",
    );
}

/// Norms transpose nothing; what the runtime's channels-last convolutions leave out is what lies around each convolution.
#[test]
fn large_models_for_cuda_stacked_channels_last_in_float16() {
    check_layout(
        LARGE,
        Operators::Onnx,
        Taps::Stacked,
        Element::F16,
        true,
        "
        encoder.0: Add 4, Cast 9, Concat 6, Conv 14, LayerNormalization 8, Mul 8, Reshape 8, Shape 4,
            Sigmoid 8, Slice 2, Transpose 26
        encoder.1: Add 3, Cast 12, Concat 8, Conv 13, LayerNormalization 6, MatMul 2, Mul 6, Reshape 16,
            Scan 1, Shape 5, Sigmoid 5, Softmax 1, Transpose 27
        decoder.0: Add 6, Cast 17, Concat 12, Conv 19, DepthToSpace 1, LayerNormalization 11, MatMul 2, Mul
            11, Reshape 29, Resize 1, Scan 1, Shape 11, Sigmoid 10, Slice 4, Softmax 1, Transpose 38
        decoder.1: Add 11, Cast 21, Concat 17, Conv 25, DepthToSpace 3, Gather 3, LayerNormalization 15,
            MatMul 3, Mul 15, Reshape 33, Shape 14, Sigmoid 15, Slice 8, Transpose 43",
    );
}

#[test]
fn large_models_for_cuda_volume_channels_last() {
    check_layout(
        LARGE,
        Operators::Onnx,
        Taps::Volume,
        Element::F32,
        true,
        "
        encoder.0: Add 4, Concat 6, Conv 14, LayerNormalization 8, Mul 8, Reshape 8, Shape 4, Sigmoid 8,
            Slice 2, Squeeze 4, Transpose 26, Unsqueeze 12
        encoder.1: Add 3, Concat 8, Conv 13, LayerNormalization 6, MatMul 2, Mul 6, Reshape 16, Scan 1,
            Shape 5, Sigmoid 5, Softmax 1, Squeeze 6, Transpose 27, Unsqueeze 18
        decoder.0: Add 6, Concat 12, Conv 19, DepthToSpace 1, LayerNormalization 11, MatMul 2, Mul 11,
            Reshape 29, Resize 1, Scan 1, Shape 11, Sigmoid 10, Slice 4, Softmax 1, Squeeze 11, Transpose 38,
            Unsqueeze 33
        decoder.1: Add 11, Concat 17, Conv 25, DepthToSpace 3, Gather 3, LayerNormalization 15, MatMul 3,
            Mul 15, Reshape 33, Shape 14, Sigmoid 15, Slice 8, Squeeze 14, Transpose 43, Unsqueeze 42",
    );
}

/// Between the convolutions are our nodes, each one pass.
#[test]
fn large_models_for_cuda_by_our_operators_in_float16() {
    check_layout(
        LARGE,
        Operators::Device,
        Taps::Stacked,
        Element::F16,
        true,
        "
        encoder.0: Cast 2, Concat 2, Conv 14, Reshape 8, Shape 4, Slice 2, Transpose 26, add_narrow_f32_f16
            2, add_norm_f16_f16 2, norm_f16_f16 6, stack_f16 4
        encoder.1: Add 1, Cast 5, Concat 2, Conv 13, MatMul 2, Mul 1, Reshape 16, Scan 1, Shape 5, Softmax
            1, Transpose 27, add_norm_f16_f16 1, add_norm_f32_f16 2, norm_f16_f16 3, stack_f16 6
        decoder.0: Add 1, Cast 7, Concat 1, Conv 19, DepthToSpace 1, MatMul 2, Mul 1, Reshape 29, Scan 1,
            Shape 11, Slice 4, Softmax 1, Transpose 39, add_f16_f16 1, add_f32_f16 1, add_narrow_f32_f16 1,
            add_norm_f16_f16 1, add_norm_f32_f16 2, doubled_f32_f16 1, norm_f16_f16 6, norm_f32_f16 2, stack_f16
            11
        decoder.1: Add 5, Cast 5, Concat 2, Conv 25, DepthToSpace 2, Reshape 28, Shape 14, Slice 8,
            Transpose 45, add_f16_f16 1, add_narrow_f32_f16 2, add_norm_f16_f16 3, add_norm_f32_f16 1, blend_f16
            1, norm_f16_f16 8, norm_f32_f16 3, stack_f16 14, weave_f16 1",
    );
}

/// Nodes that only move values, or tell a shape.
const MOVERS: [&str; 10] =
    ["Cast", "Concat", "DepthToSpace", "Identity", "Reshape", "Shape", "Slice", "Squeeze", "Transpose", "Unsqueeze"];

/// Counts the nodes of a graph that compute, and those of them that read float16.
fn computing(graph: &onnx::Graph, narrow: &mut BTreeMap<String, bool>) -> [usize; 2] {
    narrow.extend(graph.initializer.iter().map(|tensor| (tensor.name.clone(), tensor.data_type == onnx::FLOAT16)));
    for input in &graph.input {
        let tensor = input.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
        narrow.insert(input.name.clone(), tensor.elem_type == onnx::FLOAT16);
    }
    let mut counts = [0; 2];
    for node in &graph.node {
        for inner in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            let inner = computing(inner, narrow);
            counts = [counts[0] + inner[0], counts[1] + inner[1]];
        }
        let reads_narrow = node.input.iter().any(|input| !input.is_empty() && narrow[input]);
        if !MOVERS.contains(&node.op_type.as_str()) {
            counts = [counts[0] + 1, counts[1] + usize::from(reads_narrow)];
        }
        let result = match node.op_type.as_str() {
            "Cast" => node.attribute[0].i == Some(onnx::FLOAT16.into()),
            "Shape" => false,
            _ => reads_narrow,
        };
        narrow.extend(node.output.iter().map(|output| (output.clone(), result)));
    }
    counts
}

#[test]
fn wide_graphs_do_not_compute_in_float16() {
    for case in ["v1-image", "v1-tiny-8x", "own-v2-16x"] {
        let (network, _) = model::open(Some(&Path::new("tests/golden").join(case)), false).unwrap();
        let count = |taps, channels_last, wide| {
            let options = Options {
                cache: Element::F16,
                compute: Element::F16,
                attention_bytes: 1 << 26,
                operators: Operators::Onnx,
                taps,
                channels_last,
                narrow_norms: true,
                wide,
            };
            let mut steps = encoder(&network.encoder, &options);
            steps.extend(decoder(&network.decoder, network.latent_channels, &options));
            let graphs = steps.iter().map(|step| onnx::Model::decode(step.onnx.as_slice()).unwrap().graph.unwrap());
            graphs.map(|graph| computing(&graph, &mut BTreeMap::new())).fold([0; 2], |a, b| [a[0] + b[0], a[1] + b[1]])
        };
        for taps in [Taps::Added, Taps::Stacked, Taps::Volume] {
            for channels_last in [false, true] {
                let [all, narrow] = count(taps, channels_last, false);
                assert!(narrow > all / 2, "{case}: {narrow} of {all}");
                assert_eq!(count(taps, channels_last, true), [all, 0], "{case}, {taps:?}");
            }
        }
    }
}
