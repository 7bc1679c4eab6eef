//! Checkpoints of random, lively weights: activations stay of order one.

use super::cases::ModelConfig;
use crate::model::{self, Network, Wavelet, Weight};
use half::{bf16, f16};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;

#[derive(Debug, Clone)]
pub(super) struct Weights {
    pub(super) seed: u64,
    pub(super) storage: Storage,
    pub(super) haar: Haar,
    /// Of x and y: convolutions look mostly to the lower (-1) or higher (1) side, so that what lies as far away as the
    /// network can look counts as much as what is near.
    pub(super) lean: [i8; 2],
    /// The config does not say how many resblocks a side branch has.
    pub(super) leave_count_out: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Storage {
    F32,
    F16,
    Bf16,
}

/// How the checkpoint holds the Haar constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Haar {
    LeftOut,
    F32,
    AsWeights,
}

struct Tensor {
    key: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
    storage: Storage,
}

impl Weights {
    /// Writes `config.json` and `model.safetensors`.
    pub(super) fn write(&self, folder: &Path, config: &ModelConfig) -> Network {
        let network = config.describe();
        let mut tensors: Vec<Tensor> = network.weights().into_iter().map(|weight| self.tensor(weight)).collect();
        if self.haar != Haar::LeftOut {
            wavelets(&network).into_iter().for_each(|(prefix, wavelet)| self.add_haar(&mut tensors, &prefix, wavelet));
        }
        let views = tensors.iter().map(|tensor| {
            let dtype = match tensor.storage {
                Storage::F32 => Dtype::F32,
                Storage::F16 => Dtype::F16,
                Storage::Bf16 => Dtype::BF16,
            };
            (tensor.key.clone(), TensorView::new(dtype, tensor.shape.clone(), &tensor.bytes).unwrap())
        });
        safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
        let mut fields = config.0.clone();
        if self.leave_count_out {
            fields.remove("connect_res_layer_num");
        }
        std::fs::write(folder.join("config.json"), serde_json::Value::Object(fields).to_string()).unwrap();
        network
    }

    /// Its values depend on the seed and its name alone.
    fn tensor(&self, weight: &Weight) -> Tensor {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(crc32fast::hash(weight.key.as_bytes()).into());
        let count: usize = weight.shape.iter().product();
        let mut values: Vec<f32> = (0..count).map(|_| StandardNormal.sample(&mut random)).collect();
        match weight.shape[..] {
            [_] if weight.key.ends_with("bias") => values.iter_mut().for_each(|v| *v *= 0.1),
            [_] => values.iter_mut().for_each(|v| *v = 1.0 + 0.2 * *v),
            [.., height, width] => {
                let kernel: Vec<f32> = (0..height * width).map(|i| self.tap(i / width, i % width, width)).collect();
                let squares: f32 = kernel.iter().map(|tap| tap * tap).sum();
                let fan_in = (count / weight.shape[0] / kernel.len()) as f32 * squares;
                let gain = (1.3 / fan_in).sqrt();
                values.iter_mut().zip(kernel.iter().cycle()).for_each(|(v, tap)| *v *= gain * tap);
            }
            [] => unreachable!("a weight has axes"),
        }
        self.stored(weight.key.clone(), weight.shape.clone(), &values, self.storage)
    }

    fn tap(&self, y: usize, x: usize, side: usize) -> f32 {
        let one = |at: usize, lean: i8| {
            let leaning = side == 1 || lean == 0 || at as i8 - 1 == lean;
            if leaning { 1.0 } else { 0.25 }
        };
        one(x, self.lean[0]) * one(y, self.lean[1])
    }

    fn add_haar(&self, tensors: &mut Vec<Tensor>, prefix: &str, wavelet: Wavelet) {
        const BANDS_3D: [&str; 8] = ["h", "g", "hh", "gh", "h_v", "g_v", "hh_v", "gh_v"];
        const BANDS_2D: [&str; 4] = ["aa", "ad", "da", "dd"];
        let storage = if self.haar == Haar::F32 { Storage::F32 } else { self.storage };
        match wavelet {
            Wavelet::Haar2d => {
                for (band, name) in BANDS_2D.iter().enumerate() {
                    let kernel: Vec<f32> = (0..4).map(|i| 0.5 * model::sign_2d(band, i >> 1, i & 1)).collect();
                    tensors.push(self.stored(format!("{prefix}.{name}"), vec![1, 1, 2, 2], &kernel, storage));
                }
            }
            Wavelet::Haar3d { .. } => {
                let gain = self.gain(prefix);
                for (band, name) in BANDS_3D.iter().enumerate() {
                    let sign = |i: usize| model::sign_3d(band, i >> 2, i >> 1 & 1, i & 1);
                    let kernel: Vec<f32> = (0..8).map(|i| gain * sign(i)).collect();
                    let suffix = if prefix.starts_with("encoder") { "_conv.conv.weight" } else { "" };
                    let key = format!("{prefix}.{name}{suffix}");
                    tensors.push(self.stored(key, vec![1, 1, 2, 2, 2], &kernel, storage));
                }
            }
        }
    }

    /// Each transform's constant is another, so that none can stand for another one.
    fn gain(&self, prefix: &str) -> f32 {
        0.353 + 0.001 * (crc32fast::hash(prefix.as_bytes()) % 1000) as f32 / 1000.0
    }

    /// The constants that an opened network must have found.
    pub(super) fn check_haar(&self, network: &Network) -> Result<(), String> {
        for (prefix, wavelet) in wavelets(network) {
            let Wavelet::Haar3d { gain } = wavelet else { continue };
            let expected = match (self.haar, self.storage) {
                (Haar::LeftOut, _) => 0.3536,
                (Haar::F32, _) | (_, Storage::F32) => self.gain(&prefix),
                (_, Storage::F16) => f16::from_f32(self.gain(&prefix)).to_f32(),
                (_, Storage::Bf16) => bf16::from_f32(self.gain(&prefix)).to_f32(),
            };
            if gain != expected {
                return Err(format!("{prefix}: found the constant {gain}, expected {expected}"));
            }
        }
        Ok(())
    }

    fn stored(&self, key: String, shape: Vec<usize>, values: &[f32], storage: Storage) -> Tensor {
        let bytes = match storage {
            Storage::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Storage::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            Storage::Bf16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
        };
        Tensor { key, shape, bytes, storage }
    }
}

/// Every transform of a network, by the name that the reference gives it.
fn wavelets(network: &Network) -> Vec<(String, Wavelet)> {
    let (encoder, decoder) = (&network.encoder, &network.decoder);
    let count = decoder.levels.len();
    let first = network.generation == 1;
    let analysis = |i: usize| match first {
        true => format!("encoder.wavelet_transform_l{}", i + 1),
        false => format!("encoder.down_blocks.{i}.wavelet_transform"),
    };
    let synthesis = |i: usize| match first {
        true => format!("decoder.inverse_wavelet_transform_l{}", count - i),
        false => format!("decoder.up_blocks.{i}.inverse_wavelet_transform"),
    };
    let outer = [
        ("encoder.wavelet_transform_in".to_string(), encoder.wavelet),
        ("decoder.inverse_wavelet_transform_out".to_string(), decoder.wavelet),
    ];
    let encoder = encoder.levels.iter().enumerate().map(|(i, l)| (analysis(i), l.flow.as_ref().map(|f| f.wavelet)));
    let decoder = decoder.levels.iter().enumerate().map(|(i, l)| (synthesis(i), l.flow.as_ref().map(|f| f.wavelet)));
    let all = outer.into_iter().chain(encoder).chain(decoder);
    all.filter_map(|(name, wavelet)| Some((name, wavelet?))).collect()
}
