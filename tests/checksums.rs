//! Checksums of what the library computes, to compare two states of the code on one machine: `make checksums > before`,
//! change, `make checksums > after`, `diff before after`. A line a golden case and way to compute. No table is kept here,
//! as the last bits depend on the CPU and on ONNX Runtime.

mod common;

use common::{calls, cases, decode, encode, golden, open_case, swap_outer, tensor};
use safetensors::SafeTensors;
use wfvae::{
    CacheType, Convolution, Graphs, Image, ImageMut, Latents, LatentsMut, Layout, Model, ModelOptions, PixelFormat,
    Posterior, Precision, Stream, StreamOptions, Tiling,
};

fn main() {
    for case in cases() {
        let bytes = std::fs::read(golden(&case).join("io.safetensors")).unwrap();
        let io = SafeTensors::deserialize(&bytes).unwrap();
        let input = |name: &str| {
            let tensor = tensor(&io, name).unwrap();
            let shape = &tensor.shape;
            let frames = if shape.len() == 5 { shape[2] } else { 1 };
            (swap_outer(&tensor.data, shape[1], frames), shape[shape.len() - 2], shape[shape.len() - 1])
        };
        let (video, height, width) = input("video");
        let (z, ..) = input("z");
        let clip = Clip { video, z, width, height };
        for (name, options) in models() {
            match open_case(&case, &options) {
                Ok(model) => clip.by_model(&case, name, &model),
                Err(e) => println!("{case} {name}: {}", e.kind() as u32),
            }
        }
    }
}

/// Every way to compute.
fn models() -> Vec<(&'static str, ModelOptions)> {
    let with = |change: fn(&mut ModelOptions)| {
        let mut options = ModelOptions::default();
        change(&mut options);
        options
    };
    vec![
        ("exact", with(|_| ())),
        ("exact on one thread", with(|o| o.threads = 1)),
        ("fast", with(|o| o.convolution = Convolution::Fast)),
        ("direct", with(|o| o.convolution = Convolution::Direct)),
        ("stacked", with(|o| o.convolution = Convolution::Stacked)),
        ("volume", with(|o| o.convolution = Convolution::Volume)),
        ("volume, channels-last", with(|o| (o.convolution, o.layout) = (Convolution::Volume, Layout::ChannelsLast))),
        ("f16 caches", with(|o| o.cache_type = CacheType::F16)),
        ("f16", with(|o| (o.encode_precision, o.decode_precision) = (Precision::F16, Precision::F16))),
        ("queries one by one", with(|o| o.attention_bytes = 1)),
    ]
}

struct Clip {
    video: Vec<f32>,
    z: Vec<f32>,
    width: usize,
    height: usize,
}

impl Clip {
    fn by_model(&self, case: &str, way: &str, model: &Model) {
        let info = model.info();
        let unit = info.spatial_compression;
        let whole = if info.whole_clips { usize::MAX } else { 1 };
        let print = |what: &str, values: &[u32]| {
            let sums: Vec<String> = values.iter().map(|value| format!("{value:08x}")).collect();
            println!("{case} {way}, {what}: {}", sums.join(" "));
        };
        let run = |what: &str, change: &dyn Fn(&mut StreamOptions), plan: &[usize]| {
            let mut options = StreamOptions::new(self.width, self.height);
            options.posterior = Posterior::Moments;
            change(&mut options);
            match Stream::new(model, &options) {
                Ok(mut stream) => {
                    let latents = sum(&encode(&mut stream, &self.video, plan));
                    let frames = sum(&decode(&mut stream, &self.z, plan));
                    print(what, &[latents, frames]);
                }
                Err(e) => println!("{case} {way}, {what}: {}", e.kind() as u32),
            }
        };
        run("at once", &|_| (), &[usize::MAX]);
        run("streamed", &|_| (), &[whole]);
        let tiled = |options: &mut StreamOptions, tiling| {
            (options.tiling, options.tile_width, options.tile_height) = (tiling, 2 * unit, 2 * unit);
        };
        run("blended tiles", &|o| tiled(o, Tiling::Blended { overlap: unit }), &[whole]);
        run(
            "blended tiles, a clip a call",
            &|o| (tiled(o, Tiling::Blended { overlap: 0 }), o.clip_frames = 64).1,
            &[64],
        );
        if way == "exact" {
            run("sample", &|o| o.posterior = Posterior::Sample { seed: 5 }, &[usize::MAX]);
            run("scaled", &|o| (o.posterior, o.scaled) = (Posterior::Mean, true), &[usize::MAX]);
            self.exact_tiles(model, &print);
            self.bytes(model, &print);
            if !info.whole_clips {
                self.snapshots(model, &print);
            }
            self.graphs(model, &print);
        }
    }

    /// Of a picture that is larger than the receptive field, if that is known and not huge.
    fn exact_tiles(&self, model: &Model, print: &dyn Fn(&str, &[u32])) {
        let info = model.info();
        let (Some(encode_halo), Some(decode_halo)) = (info.encode_halo, info.decode_halo) else { return };
        let size = 2 * encode_halo.max(decode_halo) + 2 * info.spatial_compression;
        if size > 1024 {
            return;
        }
        let (width, height) = (size + 2 * info.spatial_compression, info.spatial_compression * 2);
        let mut options = StreamOptions::new(width, height);
        (options.tiling, options.tile_width, options.tile_height) = (Tiling::Exact, size, size);
        let mut stream = Stream::new(model, &options).unwrap();
        let latents = encode(&mut stream, &common::clip(5, width, height, 3), &[2]);
        print("exact tiles", &[sum(&latents), sum(&decode(&mut stream, &latents, &[1]))]);
    }

    /// 8-bit frames with padding, float16 latents.
    fn bytes(&self, model: &Model, print: &dyn Fn(&str, &[u32])) {
        let (width, height, count) = (self.width - 1, self.height - 1, 5);
        let mut options = StreamOptions::new(width, height);
        (options.pad, options.clip_frames) = (true, 5);
        let mut stream = Stream::new(model, &options).unwrap();
        let info = stream.info();
        let latent = info.encoded_channels * info.latent_width * info.latent_height;
        let picture = |t: usize| (0..3 * width * height).map(|i| ((i * 7 + t * 29) % 251) as u8).collect::<Vec<u8>>();
        let pictures: Vec<Vec<u8>> = (0..count).map(picture).collect();
        let images: Vec<Image> =
            pictures.iter().map(|bytes| Image::packed(bytes, PixelFormat::Rgb8, width, height).unwrap()).collect();
        let latents = stream.encode_count(count as u64).unwrap() as usize;
        let mut halves = vec![half::f16::ZERO; latents * latent];
        stream.encode(&images, LatentsMut::F16(&mut halves)).unwrap();
        let frames = stream.decode_count(latents as u64).unwrap() as usize;
        let mut out = vec![0u8; frames * 3 * width * height];
        let mut images: Vec<ImageMut> = out
            .chunks_exact_mut(3 * width * height)
            .map(|bytes| ImageMut::packed(bytes, PixelFormat::GbrPlanar8, width, height).unwrap())
            .collect();
        stream.decode(Latents::F16(&halves), &mut images).unwrap();
        drop(images);
        let halves: Vec<u8> = halves.iter().flat_map(|value| value.to_bits().to_ne_bytes()).collect();
        print("8 bits", &[crc32fast::hash(&halves), crc32fast::hash(&out)]);
    }

    /// The bytes of a snapshot in the middle of a clip, and what follows it.
    fn snapshots(&self, model: &Model, print: &dyn Fn(&str, &[u32])) {
        let mut stream = Stream::new(model, &StreamOptions::new(self.width, self.height)).unwrap();
        let info = stream.info();
        let frame = 3 * info.width * info.height;
        let latent = info.encoded_channels * info.latent_width * info.latent_height;
        let frames: Vec<Image> =
            self.video.chunks_exact(frame).map(|f| common::image(f, info.width, info.height)).collect();
        let mut latents = vec![0.0; self.z.len()];
        let first = calls(&[3], frames.len())[0];
        let count = stream.encode(&frames[..first], LatentsMut::F32(&mut latents)).unwrap();
        let snapshot = stream.snapshot().unwrap();
        let start = sum(&latents[..count * latent]);
        let rest = encode(&mut stream.fork().unwrap(), &self.video[first * frame..], &[2]);
        stream.restore(&snapshot).unwrap();
        assert_eq!(rest, encode(&mut stream, &self.video[first * frame..], &[1]));
        print("snapshot", &[start, crc32fast::hash(snapshot.as_bytes()), sum(&rest)]);
    }

    fn graphs(&self, model: &Model, print: &dyn Fn(&str, &[u32])) {
        for (what, graphs) in [("graphs of steps", Graphs::Steps), ("graphs of a clip", Graphs::Clip)] {
            let folder = tempfile::tempdir().unwrap();
            model.save_onnx(folder.path(), graphs).unwrap();
            let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            let sums: Vec<u32> = files.iter().map(|file| crc32fast::hash(&std::fs::read(file).unwrap())).collect();
            print(what, &sums);
        }
    }
}

fn sum(values: &[f32]) -> u32 {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
    crc32fast::hash(&bytes)
}
