//! CausalVAE: which configs and files it may have, and what its models do that others do not.

mod common;

use common::{clip, decode, decode_part, encode, golden, max_abs, stream};
use safetensors::tensor::TensorView;
use safetensors::{SafeTensors, serialize_to_file};
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use wfvae::{
    ErrorKind, LatentsMut, Logger, Model, ModelOptions, Posterior, Precision, Snapshot, Stream, StreamOptions,
};

/// A copy of a golden case with another config.
fn changed(case: &str, change: impl FnOnce(&mut Map<String, Value>)) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut config = serde_json::from_slice(&std::fs::read(golden(case).join("config.json")).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(folder.path().join("config.json"), Value::Object(config).to_string()).unwrap();
    std::fs::copy(golden(case).join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    folder
}

fn open(folder: &TempDir) -> wfvae::Result<Model> {
    Model::open(folder.path(), &ModelOptions::default())
}

/// A copy of a golden case with one more tensor.
fn with_tensor(case: &str, key: &str) -> TempDir {
    let bytes = std::fs::read(golden(case).join("model.safetensors")).unwrap();
    let whole = SafeTensors::deserialize(&bytes).unwrap();
    let one = [0u8; 2];
    let view = TensorView::new(safetensors::Dtype::F16, vec![1], &one).unwrap();
    let tensors = whole.iter().map(|(key, view)| (key.to_string(), view)).chain([(key.to_string(), view)]);
    let folder = changed(case, |_| {});
    serialize_to_file(tensors, None, &folder.path().join("model.safetensors")).unwrap();
    folder
}

/// What the reference cannot build, or not run, is refused with the reason.
#[test]
fn configs_are_checked() {
    let refused = |case: &str, field: &str, value: Value, kind: ErrorKind, text: &str| {
        let folder = changed(case, |config| _ = config.insert(field.into(), value));
        let error = open(&folder).err().unwrap_or_else(|| panic!("{field} was accepted"));
        assert!(error.kind() == kind && error.text().contains(text), "{field}: {error}");
    };
    let many = |kind: &str, levels: usize| json!(vec![kind; levels]);
    let config = |field: &str, value: Value, text: &str| refused("cv-tiny", field, value, ErrorKind::Config, text);
    let unsupported =
        |field: &str, value: Value, text: &str| refused("cv-tiny", field, value, ErrorKind::UnsupportedModel, text);
    unsupported("double_z", json!(false), "a mean and a log-variance");
    unsupported("encoder_attention", json!("AttnBlock2D"), "AttnBlock2D takes images");
    unsupported("decoder_attention", json!("AttnBlock2D"), "encoder_conv_out \"CausalConv3d\" needs one");
    config("decoder_attention", json!("AttnBlock"), "one of \"AttnBlock3D\", \"AttnBlock3DFix\", \"AttnBlock2D\"");
    config("encoder_attention", json!("LinAttnBlock"), "found \"LinAttnBlock\"");
    config("norm_type", json!("batchnorm"), "expected \"layernorm\" or \"groupnorm\"");
    config("num_res_blocks", json!(0), "expected an integer from 1");
    config("q_conv", json!("Conv3d"), "one of \"CausalConv3d\", \"Conv2d\"");
    config("encoder_conv_in", json!("Linear"), "encoder_conv_in: found \"Linear\"");
    config("encoder_mid_resnet", json!("ResnetBlock3D_GC"), "one of \"ResnetBlock2D\", \"ResnetBlock3D\"");
    config("encoder_resnet_blocks", json!(["ResnetBlock2D"]), "has 1 entries, expected 4 as in hidden_size_mult");
    config("encoder_resnet_blocks", many("ResnetBlock3D", 5), "has 5 entries, expected 4");
    config("decoder_resnet_blocks", many("ResnetBlock3D", 3), "decoder_resnet_blocks has 3 entries, expected 4");
    config(
        "encoder_spatial_downsample",
        json!(["Upsample", "", "", ""]),
        "found \"Upsample\", expected one of \"\", \"Down",
    );
    config("decoder_temporal_upsample", json!(["", "", "", "TimeUpsampleResAdv2x"]), "\"TimeUpsampleRes2x\"");
    config("decoder_temporal_upsample", many("", 3), "decoder_temporal_upsample has 3 entries");
    config(
        "encoder_spatial_downsample",
        json!(["Downsample", "", "", ""]),
        "compress space by 2, the decoder's expand it by 8",
    );
    config("encoder_temporal_downsample", json!(["", "TimeDownsample2x", "", ""]), "compress time by 8");
    config("hidden_size_mult", json!([]), "has 0 entries, expected 1 to 64");
    config("hidden_size_mult", json!([1, 1, 1, 65536]), "more than 65536 channels");
    config("hidden_size", json!(8), "need multiples of 32 channels");
    config("attn_resolutions", json!(256), "expected a list");
    config("latent_dim", json!(4), "a field of WFVAEModel; is _class_name right?");
    config("_class_name", json!("WFVAEModel"), "a field of CausalVAEModel; is _class_name right?");
    config("_class_name", Value::Null, "is a field of CausalVAEModel: add \"_class_name\": \"CausalVAEModel\"");
    config("hiden_size", json!(32), "did you mean hidden_size?");
    let deep = changed("cv-tiny", |config| {
        config.insert("hidden_size_mult".into(), json!(vec![1; 64]));
        for half in ["encoder", "decoder"] {
            config.insert(format!("{half}_resnet_blocks"), many("ResnetBlock3D", 64));
        }
        config.insert("encoder_spatial_downsample".into(), many("Downsample", 64));
        config.insert("encoder_temporal_downsample".into(), many("TimeDownsample2x", 64));
        config.insert("decoder_spatial_upsample".into(), many("Upsample", 64));
        config.insert("decoder_temporal_upsample".into(), many("TimeUpsample2x", 64));
    });
    let error = open(&deep).unwrap_err();
    assert!(error.text().contains("has 128 blocks that change sizes, at most 28"), "{error}");
    // A wrong width, and a quantization layer that the weights do not have.
    refused("cv-tiny", "z_channels", json!(5), ErrorKind::Checkpoint, "expected [10, 32, 3, 3, 3]");
    refused(
        "cv-tiny",
        "use_quant_layer",
        json!(false),
        ErrorKind::Checkpoint,
        "does not describe, the first is post_quant",
    );
    // More entries than levels are ignored, but for the encoder's blocks; so are training's fields.
    let folder = changed("cv-tiny", |config| {
        config.insert("decoder_resnet_blocks".into(), many("ResnetBlock3D", 6));
        config.insert("loss_type".into(), json!("a.b.C"));
        config.insert("encoder_conv_out".into(), json!("CausalConv3d_GC"));
    });
    assert_eq!(open(&folder).unwrap().info().identity, common::open("cv-tiny").info().identity);
}

/// Training runs save their loss with the model. What else is left over is a mistake.
#[test]
fn tensors_of_the_loss_are_ignored_and_others_are_not() {
    assert!(open(&with_tensor("cv-tiny", "loss.logvar")).is_ok());
    for key in ["quant_conv.extra", "encoder.down.3.downsample.conv.bias", "something"] {
        let error = open(&with_tensor("cv-tiny", key)).unwrap_err();
        assert!(error.kind() == ErrorKind::Checkpoint && error.text().contains(key), "{error}");
    }
}

/// As docs/formats.md defines them, computed by another program.
#[test]
fn identities_are_those_of_the_format() {
    let info = common::open("cv-tiny").info();
    assert_eq!((info.generation, info.latent_channels), (3, 4));
    assert_eq!((info.spatial_compression, info.temporal_compression), (8, 4));
    assert_eq!(info.identity, 0x11b6_31b8_9c54_2c25);
    assert_eq!(info.encoder_identity, 0x68e4_c7e0_a5f9_e96c);
    assert_eq!(info.decoder_identity, 0x0251_66e6_1fe5_90ff);
    // Blocks without weights, and attention that mixes frames, make another model of the same weights.
    let legacy = common::open("cv-legacy").info();
    let moved = changed("cv-legacy", |config| {
        config.insert("encoder_temporal_downsample".into(), json!(["", "TimeDownsample2x", "TimeDownsample2x", ""]));
    });
    let moved = open(&moved).unwrap().info();
    assert_ne!((moved.identity, moved.encoder_identity), (legacy.identity, legacy.encoder_identity));
    assert_eq!(moved.decoder_identity, legacy.decoder_identity);
    let fixed = changed("cv-legacy", |config| _ = config.insert("decoder_attention".into(), json!("AttnBlock3DFix")));
    let fixed = open(&fixed).unwrap().info();
    assert_eq!(fixed.encoder_identity, legacy.encoder_identity);
    assert_ne!(fixed.decoder_identity, legacy.decoder_identity);
}

/// Frames that complete a clip would change its statistics. They come if they are asked for, and a warning says so.
#[test]
fn clips_that_do_not_fit_are_refused_or_padded_aloud() {
    let warnings = Arc::new(Mutex::new(vec![]));
    let sink = warnings.clone();
    let mut options = ModelOptions::default();
    options.logger = Logger::new(log::LevelFilter::Warn, move |_, text| sink.lock().unwrap().push(text.to_string()));
    let model = Model::open(golden("cv-tiny"), &options).unwrap();
    let (width, height, frame) = (16, 24, 3 * 16 * 24);
    let video = clip(9, width, height, 3);
    let mut plain = stream(&model, width, height);
    for frames in [2, 3, 4, 6, 7, 8] {
        let error = plain.encode_count(frames).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidArgument && error.text().contains("or ask for padding"), "{error}");
    }
    let error = plain.encode_count(7).unwrap_err();
    assert!(
        error.text().contains("a clip of 7 frames: ") && error.text().contains("takes 1 + n * 4, 5 or 9"),
        "{error}"
    );
    assert_eq!([0, 1, 5, 9].map(|frames| plain.encode_count(frames).unwrap()), [0, 1, 2, 3]);
    let mut padding = StreamOptions::new(width, height);
    padding.pad = true;
    let mut padded = Stream::new(&model, &padding).unwrap();
    assert!(warnings.lock().unwrap().is_empty());
    let seven = encode(&mut padded, &video[..7 * frame], &[7]);
    let mut repeated = video[..7 * frame].to_vec();
    repeated.extend_from_within(6 * frame..);
    repeated.extend_from_within(6 * frame..7 * frame);
    assert!(encode(&mut plain, &repeated, &[9]) == seven);
    let said = warnings.lock().unwrap().join("\n");
    assert!(said.contains("a clip of 7 frames: its last one is repeated up to 9"), "{said}");
    // Sides, too.
    padding.width -= 1;
    assert_eq!(Stream::new(&model, &StreamOptions::new(width - 1, height)).unwrap_err().kind(), ErrorKind::InvalidSize);
    Stream::new(&model, &padding).unwrap();
    let said = warnings.lock().unwrap().join("\n");
    assert!(said.contains("frames of 15x24 are padded to 16x24"), "{said}");
    // Layer norms have no such statistics.
    padding.encode = false;
    warnings.lock().unwrap().clear();
    Stream::new(&model, &padding).unwrap();
    assert!(warnings.lock().unwrap().is_empty());
}

/// The encoder takes whole clips, the decoder streams.
#[test]
fn decoders_with_layer_norms_stream() {
    let model = common::open("own-cv-layernorm");
    let info = model.info();
    assert!(info.whole_clips && !info.decode_whole_clips);
    let unit = info.spatial_compression;
    let (width, height) = (2 * unit, 3 * unit);
    let video = clip(13, width, height, 5);
    let mut stream = stream(&model, width, height);
    let latents = encode(&mut stream, &video, &[13]);
    let error = stream.encode_count(1).unwrap_err();
    assert!(error.text().contains("has group norms in the encoder's attention"), "{error}");
    assert!(error.text().contains("so it cannot stream"), "{error}");
    let count = latents.len() / (13usize.div_ceil(4));
    let at_once = decode(&mut stream, &latents, &[4]);
    assert_eq!(at_once.len(), video.len());
    // One by one, in a stream that only decodes: 1, 2, 6 and 10 frames are final, and three come with the flush.
    let mut options = StreamOptions::new(width, height);
    options.encode = false;
    let mut decoder = Stream::new(&model, &options).unwrap();
    let counts = [1, 2, 3, 4].map(|latents| decoder.decode_count(latents).unwrap());
    assert_eq!(counts, [1, 2, 6, 10]);
    assert!(decode(&mut decoder, &latents, &[1]) == at_once);
    assert_eq!(decoder.info().frames_out, 13);
    // In the middle of a clip, in both kinds of streams.
    decoder.reset().unwrap();
    let first = decode_part(&mut decoder, &latents[..2 * count], &[1]);
    let bytes = decoder.snapshot().unwrap().as_bytes().to_vec();
    let rest = decode(&mut decoder, &latents[2 * count..], &[1]);
    decoder.restore(&Snapshot::from_bytes(&bytes).unwrap()).unwrap();
    assert!(decode(&mut decoder, &latents[2 * count..], &[1]) == rest);
    assert!([first, rest].concat() == at_once);
    // The decoder may be narrower than the encoder, which may not.
    let mut narrow = ModelOptions::default();
    narrow.decode_precision = Precision::F16;
    let drift = {
        let model = Model::open(golden("own-cv-layernorm"), &narrow).unwrap();
        max_abs(&decode(&mut common::stream(&model, width, height), &latents, &[4]), &at_once)
    };
    assert!(drift > 0.0 && drift < 0.1, "{drift}");
    narrow.encode_precision = Precision::F16;
    let error = Model::open(golden("own-cv-layernorm"), &narrow).unwrap_err();
    assert!(error.text().contains("encode_precision f16: the model has group norms"), "{error}");
    // Attention that mixes frames needs them all.
    let legacy = common::open("own-cv-layernorm-legacy");
    assert!(legacy.info().decode_whole_clips);
    let mut stream = common::stream(&legacy, 16, 16);
    let info = stream.info();
    let latent = vec![0.5; info.latent_channels * info.latent_width * info.latent_height];
    decode(&mut stream, &latent, &[1]);
    let error = stream.decode_count(1).unwrap_err();
    assert!(error.text().contains("AttnBlock3D, which mixes the frames"), "{error}");
}

/// Each picture is a clip of its own, in any number of calls.
#[test]
fn image_models_make_a_latent_of_each_picture() {
    let model = common::open("own-cv-image-model");
    let info = model.info();
    assert!(!info.whole_clips && info.temporal_compression == 1 && info.encode_halo.is_none());
    let side = 2 * info.spatial_compression;
    let (video, frame) = (clip(3, side, side, 9), 3 * side * side);
    let mut stream = stream(&model, side, side);
    let three = encode(&mut stream, &video, &[2]);
    stream.reset().unwrap();
    let last = encode(&mut stream, &video[2 * frame..], &[1]);
    assert!(three[2 * last.len()..] == last);
    assert_eq!(decode(&mut stream, &three, &[1]).len(), video.len());
}

/// One frame is a clip, as for every model.
#[test]
fn a_frame_is_a_clip() {
    let model = common::open("cv-legacy");
    let mut options = StreamOptions::new(16, 24);
    options.posterior = Posterior::Moments;
    let mut stream = Stream::new(&model, &options).unwrap();
    let video = clip(1, 16, 24, 4);
    let image = common::image(&video, 16, 24);
    let mut moments = vec![0.0; 2 * 4 * 2 * 3];
    assert_eq!(stream.encode(&[image], LatentsMut::F32(&mut moments)).unwrap(), 1);
    assert_eq!(decode(&mut stream, &moments[..4 * 2 * 3], &[1]).len(), video.len());
}
