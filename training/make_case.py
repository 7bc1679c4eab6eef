#!/usr/bin/env python3
"""Makes a golden-style case folder from the PyTorch model: random weights, a made-up clip, and the outputs for it.

With --checkpoint and --video it makes the io.safetensors alone, of those weights and that clip; latents are the means then.

The outputs are computed in float64 from the weights as they are stored (rounded, with --dtype f16 or bf16), then rounded
to float32: a float32 implementation has only its own rounding to answer for. The last line printed says how much that is
for this one.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save

import wfvae
from random_checkpoint import DTYPES, values, write_safetensors


def clip(frames, height, width, rng):
    """Moving sinusoids plus noise in [-1, 1]."""
    t, y, x = np.meshgrid(np.arange(max(frames, 1)), np.arange(height), np.arange(width), indexing="ij")
    video = 0.15 * rng.standard_normal((3, *t.shape))
    for c in range(3):
        for _ in range(3):
            ft, fy, fx, phase = rng.uniform([-1, -0.6, -0.6, 0], [1, 0.6, 0.6, 6.28])
            video[c] += rng.uniform(0.15, 0.35) * np.sin(ft * t + fy * y + fx * x + phase)
    return torch.from_numpy(video.clip(-1, 1)[None].astype(np.float32))


def make_weights(folder, a):
    """Writes the checkpoint folder's two files; returns the config."""
    config = json.loads(Path(a.config).read_text())
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    table = {}
    for key, tensor in wfvae.from_config(config).state_dict().items():
        haar = "wavelet_transform" in key
        if not (haar and a.haar == "none"):
            table[key] = (tuple(tensor.shape), "f32" if haar and a.haar == "f32" else a.dtype)
    table = dict(sorted(table.items(), key=lambda kv: (kv[1][1] != "f32", kv[0])))  # widest type first: aligned
    write_safetensors(folder / "model.safetensors", table, lambda key: values(key, table[key][0], a.seed))
    return config


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out_dir")
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", help="of random weights")
    what.add_argument("--checkpoint", help="a folder with weights, which stay where they are")
    p.add_argument("--video", help="a .safetensors file whose `video` is the clip, for --checkpoint")
    p.add_argument("--frames", type=int, default=9, help="0: an image without a frames axis, for image models")
    p.add_argument("--height", type=int, default=16)
    p.add_argument("--width", type=int, default=16)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--dtype", choices=DTYPES, default="f16", help="how the weights are stored")
    p.add_argument("--haar", choices=["f32", "cast", "none"], default="f32", help="the Haar constants: as f32, like the weights, or left out")
    a = p.parse_args()
    torch.set_num_threads(1)

    folder = Path(a.out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([a.seed, 1])
    if a.checkpoint:
        model, video = wfvae.load(a.checkpoint), load_file(a.video)["video"]
        config = {}
    else:
        config = make_weights(folder, a)
        model, video = wfvae.load(folder), clip(a.frames, a.height, a.width, rng)  # from what was stored
    if a.frames == 0:
        video = video[:, :, 0]
    with torch.inference_mode():
        plain = model.encode(video)
        model.double()
        mean, logvar = model.encode(video.double())
        eps = torch.from_numpy(rng.standard_normal(mean.shape, np.float32))
        z = mean.float() if a.checkpoint else (mean + torch.exp(0.5 * logvar) * eps).float()
        decoded = model.decode(z.double())
        plain = (*plain, model.float().decode(z))
    io = dict(video=video, mean=mean, logvar=logvar, eps=eps, z=z, decoded=decoded)
    if a.checkpoint:
        del io["eps"]
    if "scale" in config and "shift" in config:
        lists = (config[k][:1] if len(set(config[k])) == 1 else config[k] for k in ("scale", "shift"))  # equal ones serve all channels
        scale, shift = (torch.tensor(v, dtype=torch.float64).view(-1, *[1] * (z.dim() - 2)) for v in lists)
        io["z_scaled"] = (z.double() - shift) * scale
    (folder / "io.safetensors").write_bytes(save({k: v.float().contiguous() for k, v in io.items()}))
    noise = [(x - y).abs().max().item() for x, y in zip(plain, (mean, logvar, decoded))]
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{folder.name}: {list(video.shape)} -> {list(mean.shape)} -> {list(decoded.shape)}, |decoded| <= {decoded.abs().max():.1f},",
          f"logvar in [{logvar.min():.1f}, {logvar.max():.1f}], f32 against f64:", " ".join(f"{n:.1e}" for n in noise), f", {size // 1024} KiB")


if __name__ == "__main__":
    main()
