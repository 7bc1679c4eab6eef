//! The forms that a checkpoint may have: shards, links, half-precision weights, fields that configs leave out.

mod common;

use common::{clip, encode, golden, stream};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize_to_file};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;
use tempfile::TempDir;
use wfvae::{ErrorKind, Model, ModelOptions, Posterior, Stream, StreamOptions};

fn config(case: &str) -> Map<String, Value> {
    serde_json::from_slice(&std::fs::read(golden(case).join("config.json")).unwrap()).unwrap()
}

/// A folder with a golden case's config, changed by `change`, and nothing else yet.
fn folder(case: &str, change: impl FnOnce(&mut Map<String, Value>)) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut config = config(case);
    change(&mut config);
    std::fs::write(folder.path().join("config.json"), Value::Object(config).to_string()).unwrap();
    folder
}

fn copy_weights(case: &str, folder: &TempDir) {
    std::fs::copy(golden(case).join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
}

fn open(path: &Path) -> wfvae::Result<Model> {
    Model::open(path, &ModelOptions::default())
}

fn latents(model: &Model) -> Vec<f32> {
    encode(&mut stream(model, 16, 16), &clip(5, 16, 16, 1), &[5])
}

#[test]
fn shards_with_an_index_equal_one_file() {
    let bytes = std::fs::read(golden("v1-tiny").join("model.safetensors")).unwrap();
    let whole = SafeTensors::deserialize(&bytes).unwrap();
    let folder = folder("v1-tiny", |_| {});
    let shard_name = |i: usize| format!("diffusion_pytorch_model-{:05}-of-00003.safetensors", i + 1);
    let mut weight_map = Map::new();
    let mut shards = [vec![], vec![], vec![]];
    for (i, (key, view)) in whole.iter().enumerate() {
        shards[i % 3].push((key.to_string(), view));
        weight_map.insert(key.into(), shard_name(i % 3).into());
    }
    for (i, shard) in shards.into_iter().enumerate() {
        serialize_to_file(shard, None, &folder.path().join(shard_name(i))).unwrap();
    }
    let index = json!({ "metadata": {}, "weight_map": weight_map }).to_string();
    std::fs::write(folder.path().join("diffusion_pytorch_model.safetensors.index.json"), index).unwrap();
    assert!(latents(&open(folder.path()).unwrap()) == latents(&common::open("v1-tiny")));
}

/// Model hubs keep files elsewhere and link to them.
#[test]
fn linked_files_and_a_weights_file_by_name() {
    let folder = folder("v1-tiny", |_| {});
    let link = folder.path().join("diffusion_pytorch_model.safetensors");
    if !common::system::symlink(golden("v1-tiny").join("model.safetensors"), &link) {
        return;
    }
    let expected = latents(&common::open("v1-tiny"));
    assert!(latents(&open(folder.path()).unwrap()) == expected);
    assert!(latents(&open(&link).unwrap()) == expected);
}

/// A model with half-precision weights is the model with those weights widened.
#[test]
fn half_precision_weights_are_widened() {
    let bytes = std::fs::read(golden("own-noattn").join("model.safetensors")).unwrap();
    let halves = SafeTensors::deserialize(&bytes).unwrap();
    assert!(halves.iter().any(|(_, view)| view.dtype() == Dtype::F16));
    let widen = |view: &TensorView| -> Vec<u8> {
        let pairs = view.data().chunks_exact(2);
        match view.dtype() {
            Dtype::F16 => pairs.flat_map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32().to_le_bytes()).collect(),
            _ => view.data().to_vec(),
        }
    };
    let wide: HashMap<String, (Vec<usize>, Vec<u8>)> =
        halves.iter().map(|(key, view)| (key.into(), (view.shape().to_vec(), widen(&view)))).collect();
    let views =
        wide.iter().map(|(key, (shape, data))| (key, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    let folder = folder("own-noattn", |_| {});
    serialize_to_file(views, None, &folder.path().join("model.safetensors")).unwrap();
    assert!(latents(&open(folder.path()).unwrap()) == latents(&common::open("own-noattn")));
}

/// Some published configs do not say how many resblocks the side branches have; the weights do.
#[test]
fn connect_layers_are_read_from_the_weights() {
    for case in ["own-noattn", "own-nochange", "v1-tiny"] {
        let folder = folder(case, |config| {
            config.remove("connect_res_layer_num");
        });
        copy_weights(case, &folder);
        assert!(latents(&open(folder.path()).unwrap()) == latents(&common::open(case)), "{case}");
    }
}

/// Without attention its type does not matter; a wrong count of blocks is found before anything runs.
#[test]
fn a_config_of_another_model_is_refused() {
    let refused = |change: fn(&mut Map<String, Value>)| {
        let folder = folder("v1-tiny", change);
        copy_weights("v1-tiny", &folder);
        let e = open(folder.path()).expect_err("refused");
        (e.kind(), e.to_string())
    };
    let (kind, text) = refused(|c| _ = c.insert("decoder_num_resblocks".into(), 2.into()));
    assert!(kind == ErrorKind::Checkpoint && text.contains("decoder.up2.2"), "{text}");
    let (kind, text) = refused(|c| _ = c.insert("use_attention".into(), false.into()));
    assert!(kind == ErrorKind::Checkpoint && text.contains("mid.1"), "{text}");
    let (kind, text) = refused(|c| _ = c.insert("connect_res_layer_num".into(), 0.into()));
    assert!(kind == ErrorKind::Checkpoint && text.contains("decoder.connect_l"), "{text}");
}

/// `(z - shift) * scale`, per channel; short lists count where all their entries are equal.
#[test]
fn scaled_latents_follow_the_lists_of_the_config() {
    let means = |model: &Model, scaled: bool| {
        let mut options = StreamOptions::new(16, 16);
        (options.posterior, options.scaled) = (Posterior::Mean, scaled);
        Stream::new(model, &options).map(|mut stream| encode(&mut stream, &clip(5, 16, 16, 1), &[5]))
    };
    // v1-tiny has four channels of 2x2.
    let cases = [
        (
            json!([2.0, 0.5, 1.0, 4.0]),
            json!([0.5, 0.0, -1.0, 2.0]),
            Some([(2.0, 0.5), (0.5, 0.0), (1.0, -1.0), (4.0, 2.0)]),
        ),
        (json!([0.25]), json!([1.0, 1.0]), Some([(0.25, 1.0); 4])),
        (json!([0.25, 0.5]), json!([1.0]), None),
        (json!([0.0]), json!([0.0]), None),
    ];
    for (scale, shift, expected) in cases {
        let folder = folder("v1-tiny", |config| {
            config.insert("scale".into(), scale.clone());
            config.insert("shift".into(), shift.clone());
        });
        copy_weights("v1-tiny", &folder);
        let model = open(folder.path()).unwrap();
        let raw = means(&model, false).unwrap();
        match expected {
            Some(channels) => {
                let scaled = means(&model, true).unwrap();
                for (i, (z, s)) in raw.iter().zip(&scaled).enumerate() {
                    let (scale, shift) = channels[i / 4 % 4];
                    assert_eq!(*s, (z - shift) * scale);
                }
            }
            None => {
                assert!(!model.info().has_scaling);
                let e = means(&model, true).expect_err("refused");
                assert!(e.kind() == ErrorKind::InvalidArgument && e.to_string().contains("config.json"), "{e}");
            }
        }
    }
}

/// The constant that the checkpoint was saved with is used, not the one of the paper.
#[test]
fn the_stored_haar_constant_is_used() {
    let bytes = std::fs::read(golden("v1-tiny").join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let kept = |key: &str| !key.contains("wavelet_transform");
    let without = folder("v1-tiny", |_| {});
    let views = tensors.iter().filter(|(key, _)| kept(key));
    serialize_to_file(views, None, &without.path().join("model.safetensors")).unwrap();
    // The golden case stores float32(0.3536), which is also what is taken where nothing is stored.
    let expected = latents(&common::open("v1-tiny"));
    assert!(latents(&open(without.path()).unwrap()) == expected);

    let exact: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(key, view)| {
            let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            let haar_3d = !kept(key) && view.shape().len() == 5;
            let exact = |v: f32| if haar_3d { v.signum() / 8f32.sqrt() } else { v };
            (key.to_string(), view.shape().to_vec(), values.flat_map(|v| exact(v).to_le_bytes()).collect())
        })
        .collect();
    let changed = folder("v1-tiny", |_| {});
    let views = exact.iter().map(|(key, shape, data)| (key, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    serialize_to_file(views, None, &changed.path().join("model.safetensors")).unwrap();
    let difference = common::max_abs(&latents(&open(changed.path()).unwrap()), &expected);
    assert!((1e-5..1e-2).contains(&difference), "{difference}");
}

/// Files that hold latents name their model by this number, so it must never change.
#[test]
fn the_identity_tells_models_apart() {
    let identity = |case: &str| common::open(case).info().identity;
    assert_eq!(common::builtin().info().identity, 0xc87d_bf89_e0a1_93dc);
    assert_ne!(identity("v1-tiny"), identity("v1-tiny-nearest"));
    // The same weights, used in another way, are another model; another spelling of the config is not.
    let changed = |change: fn(&mut Map<String, Value>)| {
        let folder = folder("v1-tiny", change);
        copy_weights("v1-tiny", &folder);
        open(folder.path()).unwrap().info().identity
    };
    assert_ne!(identity("v1-tiny"), changed(|c| _ = c.insert("t_interpolation".into(), "nearest".into())));
    assert_eq!(identity("v1-tiny"), changed(|c| _ = c.insert("dropout".into(), 0.5.into())));
}

/// Second-generation configs that upstream cannot build, or that are not one: the error names the field and what works.
#[test]
fn second_generation_configs_are_checked() {
    let refused = |field: &str, value: Value, kind: ErrorKind, text: &str| {
        let folder = folder("v2-tiny", |config| {
            config.insert(field.into(), value);
        });
        copy_weights("v2-tiny", &folder);
        let error = open(folder.path()).err().unwrap_or_else(|| panic!("{field} was accepted"));
        assert!(error.kind() == kind && error.text().contains(text), "{field}: {error}");
    };
    let config = |field: &str, value: Value, text: &str| refused(field, value, ErrorKind::Config, text);
    let working = "\"ResnetBlock3D\", \"ResnetBlock2D\", \"AttnBlock3DFix\"";
    config("mid_layers_type", json!(["ResnetBlock3D", "Attention3DFix", "ResnetBlock3D"]), working);
    config("mid_layers_type", Value::Null, "the default where the field is missing");
    config("mid_layers_type", json!(["Attn"]), working);
    config("mid_layers_type", json!("ResnetBlock3D"), "expected a list of strings");
    refused("mid_layers_type", json!(["AttnBlock3D"]), ErrorKind::UnsupportedModel, "not causal; supported are");
    refused("mid_layers_type", json!(["AttnBlock2D"]), ErrorKind::UnsupportedModel, "works in image models only");
    config("layer_type", json!([]), "has 0 entries, expected 1 to 14");
    config("layer_type", json!(["hw"]), "layer_res_type has 2 entries, expected 1");
    config("layer_type", json!(["hw", "hwt"]), "found \"hwt\", expected \"hw\" or \"thw\"");
    config(
        "layer_res_type",
        json!(["ResnetBlock2D", "ResnetBlock"]),
        "expected \"ResnetBlock2D\" or \"ResnetBlock3D\"",
    );
    config("base_channels", json!([4, 8]), "base_channels has 2 entries, expected 3");
    config("base_channels", json!(16), "expected a list of integers from 1");
    config("decoder_base_channels", json!([4, 8, 0]), "expected a list of integers from 1");
    config("decoder_base_channels", json!([4, 8, 16, 32]), "decoder_base_channels has 4 entries");
    config("encoder_num_resblocks", json!(0), "expected an integer from 1 to");
    config("decoder_num_resblocks", json!(1), "expected an integer from 2 to");
    config("input_type", json!("audio"), "expected \"video\" or \"image\"");
    config("input_type", json!("image"), "entry 1 is \"thw\", but an image model");
    config("norm_type", json!("groupnorm"), "need multiples of 32 channels");
    refused("latent_dim", json!(5), ErrorKind::Checkpoint, "found shape [8, 16, 3, 3, 3], expected [10, 16, 3, 3, 3]");
    refused("decoder_num_resblocks", json!(3), ErrorKind::Checkpoint, "decoder.up_blocks.0.res_block.0");
}
