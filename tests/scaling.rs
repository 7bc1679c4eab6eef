//! Scaled latents, `(z - shift) * scale` per channel, at the channel counts of published models.

mod common;

use common::{clip, decode, encode, golden, max_abs};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize_to_file};
use serde_json::{Value, json};
use tempfile::TempDir;
use wfvae::{ErrorKind, Model, ModelOptions, Posterior, Stream, StreamOptions};

const WIDTH: usize = 24;
const HEIGHT: usize = 16;
const FRAMES: usize = 6;

/// Of the published model with 8 channels.
const SCALE_8: [f32; 8] = [0.2969, 0.8164, 0.6758, 0.8906, 0.416, 0.6719, 0.5469, 0.7812];
const SHIFT_8: [f32; 8] = [-0.1621, -0.2734, -0.4004, -2.75, -2.0938, -1.8359, 1.0, -0.9844];

/// Of the published model of Open-Sora-Plan 1.5, from the configuration that its inference example gives.
const SCALE_32: [f32; 32] = [
    0.7031, 0.7109, 1.5391, 1.2969, 0.7109, 1.4141, 1.3828, 2.1719, 1.7266, 1.8281, 1.9141, 1.2031, 0.6875, 0.9609,
    1.6484, 1.1875, 1.5312, 1.1328, 0.8828, 0.6836, 0.8828, 0.9219, 1.6953, 1.4453, 1.5312, 0.6836, 0.7656, 0.8242,
    1.2344, 1.0312, 1.7266, 0.9492,
];
const SHIFT_32: [f32; 32] = [
    -0.2129, 0.1226, 1.6328, 0.6211, -0.8750, 0.6172, -0.5703, 0.1348, -0.2178, -0.9375, 0.3184, 0.3281, -0.0544,
    -0.1826, -0.2812, 0.4355, 0.1621, -0.2578, 0.7148, -0.7422, -0.2295, -0.2324, -1.4922, 0.6328, 1.1250, -0.2578,
    -2.1094, 1.0391, 1.1797, -1.2422, -0.2988, -0.9570,
];

/// A small model with any number of latent channels: those of a golden case with 8, repeated with other gains, so that
/// no two are equal. `None`: the config has no lists.
fn model(channels: usize, scale: Option<Value>, shift: Option<Value>) -> (TempDir, Model) {
    let (case, folder) = (golden("v1-rect"), TempDir::new().unwrap());
    let mut config: Value = serde_json::from_slice(&std::fs::read(case.join("config.json")).unwrap()).unwrap();
    config["latent_dim"] = channels.into();
    for (field, list) in [("scale", scale), ("shift", shift)] {
        match list {
            Some(list) => config[field] = list,
            None => _ = config.as_object_mut().unwrap().remove(field),
        }
    }
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();

    let bytes = std::fs::read(case.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let gain = |c: usize| 1.0 + c as f32 / 64.0;
    let mut tensors = vec![];
    for (key, view) in file.iter() {
        let (mut shape, mut data) = (view.shape().to_vec(), view.data().to_vec());
        let values = common::tensor(&file, key).unwrap().data;
        let changed: Option<Vec<f32>> = match key {
            // Mean and log-variance of each channel.
            "encoder.conv_out.conv.weight" | "encoder.conv_out.conv.bias" => {
                let row = values.len() / 16;
                shape[0] = 2 * channels;
                let rows = (0..2).flat_map(|half| (0..channels).map(move |c| (8 * half + c % 8, gain(c))));
                Some(rows.flat_map(|(r, gain)| values[r * row..][..row].iter().map(move |v| v * gain)).collect())
            }
            "decoder.conv_in.conv.weight" => {
                let kernel = 27;
                shape[1] = channels;
                let columns = (0..16).flat_map(|o| (0..channels).map(move |c| (8 * o + c % 8, 8.0 / channels as f32)));
                let kernels = columns.map(|(k, gain)| values[k * kernel..][..kernel].iter().map(move |v| v * gain));
                Some(kernels.flatten().collect())
            }
            _ => None,
        };
        if let Some(values) = changed {
            data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        }
        tensors.push((key.to_string(), shape, data));
    }
    let views = tensors.iter().map(|(k, shape, data)| (k, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    serialize_to_file(views, None, &folder.path().join("model.safetensors")).unwrap();
    let model = Model::open(folder.path(), &ModelOptions::default()).unwrap();
    (folder, model)
}

fn stream(model: &Model, posterior: Posterior, scaled: bool) -> wfvae::Result<Stream> {
    let mut options = StreamOptions::new(WIDTH, HEIGHT);
    (options.posterior, options.scaled) = (posterior, scaled);
    Stream::new(model, &options)
}

/// What a model's scaled latents must be, given the lists that its config means.
fn check_scaled(model: &Model, scale: &[f32], shift: &[f32]) {
    assert!(model.info().has_scaling && model.info().latent_channels == scale.len());
    let video = clip(FRAMES, WIDTH, HEIGHT, 5);
    let plane = WIDTH / 8 * (HEIGHT / 8);
    let channel = |i: usize| i / plane % scale.len();
    for posterior in [Posterior::Mean, Posterior::Sample { seed: 3 }] {
        let [mut raw_stream, mut scaled_stream] = [false, true].map(|scaled| stream(model, posterior, scaled).unwrap());
        let [raw, scaled] = [&mut raw_stream, &mut scaled_stream].map(|stream| encode(stream, &video, &[FRAMES]));
        assert_eq!(raw.len(), 3 * scale.len() * plane);
        for (i, (z, s)) in raw.iter().zip(&scaled).enumerate() {
            let (scale, shift) = (scale[channel(i)], shift[channel(i)]);
            assert_eq!(*s, (z - shift) * scale, "channel {}", channel(i));
            let back = s / scale + shift;
            // Three roundings, of numbers no larger than these.
            assert!((back - z).abs() <= 2.0 * f32::EPSILON * (z.abs() + shift.abs()), "{back} for {z}");
        }
        let [from_raw, from_scaled] = [decode(&mut raw_stream, &raw, &[3]), decode(&mut scaled_stream, &scaled, &[3])];
        assert!(max_abs(&from_raw, &from_scaled) < 3e-5, "{}", max_abs(&from_raw, &from_scaled));
        // The comparison would see it if nothing were scaled.
        let wrong = decode(&mut stream(model, posterior, false).unwrap(), &scaled, &[3]);
        assert!(max_abs(&from_raw, &wrong) > 1e-3);
    }
}

#[test]
fn eight_channels_with_the_published_lists() {
    check_scaled(&model(8, Some(json!(SCALE_8)), Some(json!(SHIFT_8))).1, &SCALE_8, &SHIFT_8);
}

#[test]
fn thirty_two_channels_with_the_published_lists() {
    check_scaled(&model(32, Some(json!(SCALE_32)), Some(json!(SHIFT_32))).1, &SCALE_32, &SHIFT_32);
}

/// Published configs of 16 channels repeat the default list, which has 4 entries.
#[test]
fn short_lists_of_equal_entries_are_for_every_channel() {
    let short = (Some(json!(vec![0.18215f32; 4])), Some(json!(vec![0f32; 4])));
    for (scale, shift) in [short, (None, None)] {
        check_scaled(&model(16, scale, shift).1, &[0.18215; 16], &[0.0; 16]);
    }
    check_scaled(&model(16, Some(json!([2.0])), Some(json!(vec![0.5f32; 4]))).1, &[2.0; 16], &[0.5; 16]);
}

/// They say nothing about raw latents, so only those who ask for scaled ones hear of it.
#[test]
fn short_lists_of_unequal_entries_are_refused_where_they_matter() {
    let video = clip(FRAMES, WIDTH, HEIGHT, 5);
    let raw = |model: &Model| encode(&mut stream(model, Posterior::Mean, false).unwrap(), &video, &[FRAMES]);
    let expected = raw(&model(16, None, None).1);
    let unequal = json!([0.5, 0.6, 0.7, 0.8]);
    let lists = [(Some(unequal.clone()), None, "scale"), (Some(json!([1.0])), Some(unequal), "shift")];
    for (scale, shift, field) in lists {
        let (_folder, model) = model(16, scale, shift);
        assert!(!model.info().has_scaling && raw(&model) == expected);
        for posterior in [Posterior::Mean, Posterior::Sample { seed: 3 }] {
            let e = stream(&model, posterior, true).expect_err("refused");
            assert!(
                e.kind() == ErrorKind::InvalidArgument
                    && e.text().contains("scaled latents were requested")
                    && e.text().contains(&format!("config.json: {field} has 4 entries, expected 16")),
                "{e}"
            );
        }
    }
}

/// They would divide by zero, or make everything NaN.
#[test]
fn lists_that_cannot_scale_are_refused_where_they_matter() {
    let mut zero = SCALE_8;
    zero[3] = 0.0;
    let mut subnormal = SCALE_8;
    subnormal[5] = 1e-39;
    let mut huge = vec![0.0; 8];
    huge[7] = 1e39;
    for (scale, shift) in [
        (Some(json!(zero)), None),
        (Some(json!([0.0])), None),
        (Some(json!(subnormal)), None),
        (Some(json!(huge.iter().map(|v| 1.0 + v).collect::<Vec<f64>>())), None),
        (None, Some(json!(huge))),
    ] {
        let (_folder, model) = model(8, scale, shift);
        assert!(!model.info().has_scaling);
        stream(&model, Posterior::Mean, false).unwrap();
        let e = stream(&model, Posterior::Mean, true).expect_err("refused");
        assert!(e.kind() == ErrorKind::InvalidArgument && e.text().contains("scale must not be zero"), "{e}");
    }
}

/// The reference's bounds, -30 to 20, hold for moments and for the noise of samples.
#[test]
fn log_variances_are_clamped() {
    let (folder, _) = model(8, None, None);
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let bias = {
        let file = SafeTensors::deserialize(&bytes).unwrap();
        file.tensor("encoder.conv_out.conv.bias").unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize
    };
    // The last channels are far above and far below.
    for (channel, value) in [(6, 1e4f32), (7, -1e4)] {
        bytes[bias + 4 * (8 + channel)..][..4].copy_from_slice(&value.to_le_bytes());
    }
    std::fs::write(&path, bytes).unwrap();
    let model = Model::open(folder.path(), &ModelOptions::default()).unwrap();
    let video = clip(FRAMES, WIDTH, HEIGHT, 5);
    let run = |posterior| encode(&mut stream(&model, posterior, false).unwrap(), &video, &[FRAMES]);
    let [moments, means, samples] = [Posterior::Moments, Posterior::Mean, Posterior::Sample { seed: 3 }].map(run);
    let plane = WIDTH / 8 * (HEIGHT / 8);
    let (mut squares, mut count) = (0.0, 0);
    for (latent, moments) in moments.chunks(16 * plane).enumerate() {
        let log_variance = |channel: usize| &moments[(8 + channel) * plane..][..plane];
        assert!(log_variance(6).iter().all(|v| *v == 20.0) && log_variance(7).iter().all(|v| *v == -30.0));
        assert!(log_variance(0).iter().all(|v| *v > -30.0 && *v < 20.0));
        let noise = |channel: usize| {
            let place = (latent * 8 + channel) * plane;
            means[place..][..plane].iter().zip(&samples[place..][..plane]).map(|(mean, sample)| sample - mean)
        };
        assert!(noise(7).all(|e| e.abs() <= 6.0 * (-15.0f32).exp()));
        squares += noise(6).map(|e| (e / 10.0f32.exp()).powi(2)).sum::<f32>();
        count += plane;
    }
    assert!((0.2..4.0).contains(&(squares / count as f32)), "a variance of {}", squares / count as f32);
}
