#!/usr/bin/env python3
"""Writes a WF-VAE checkpoint folder, of either generation, with lively random weights: right names, shapes and sizes, no training.

Needs only numpy. Tensors are made and written one at a time, so memory stays small. A tensor's values depend on the
seed and its name alone: the same checkpoint comes out in any precision and any number of shards.
"""
import argparse
import json
import zlib
from pathlib import Path

import numpy as np

HAAR2 = ["aa", "ad", "da", "dd"]
HAAR3 = ["h", "g", "hh", "gh", "h_v", "g_v", "hh_v", "gh_v"]
DTYPES = {"f32": ("F32", 4), "f16": ("F16", 2), "bf16": ("BF16", 2)}
CUBE = "Spatial2xTime2x3DDownsample"
MID2 = ["ResnetBlock3D", "AttnBlock3DFix", "ResnetBlock3D"]  # upstream's own default names a class that does not exist
PRESETS = {"L": (16, 192, 2, 128, 128), "M": (8, 64, 2, 64, 64), "S": (8, 128, 2, 64, 128), "tiny": (4, 8, 1, 8, 4), "v2": None}


def preset(name):
    if name == "v2":
        return {
            "_class_name": "WFVAE2Model", "_diffusers_version": "0.30.2", "latent_dim": 16, "base_channels": [128, 256, 512],
            "decoder_base_channels": None, "layer_type": ["hw", "thw"], "layer_res_type": ["ResnetBlock2D", "ResnetBlock3D"],
            "encoder_num_resblocks": 2, "decoder_num_resblocks": 3, "encoder_energy_flow_size": 128,
            "decoder_energy_flow_size": 128, "dropout": 0.0, "norm_type": "layernorm", "t_interpolation": "trilinear",
            "input_type": "video", "mid_layers_type": MID2, "scale": [0.18215] * 16, "shift": [0.0] * 16}
    latent, base, blocks, e, d = PRESETS[name]
    return {
        "_class_name": "WFVAEModel", "_diffusers_version": "0.30.2", "latent_dim": latent, "base_channels": base,
        "encoder_num_resblocks": blocks, "decoder_num_resblocks": blocks, "encoder_energy_flow_hidden_size": e,
        "decoder_energy_flow_hidden_size": d, "attention_type": "AttnBlock3DFix", "use_attention": True, "dropout": 0.0,
        "norm_type": "layernorm", "t_interpolation": "trilinear", "connect_res_layer_num": 1,
        "l1_dowmsample_block": "Downsample", "l1_downsample_wavelet": "HaarWaveletTransform2D",
        "l1_upsample_block": "Upsample", "l1_upsample_wavelet": "InverseHaarWaveletTransform2D",
        "l2_dowmsample_block": CUBE, "l2_downsample_wavelet": "HaarWaveletTransform3D",
        "l2_upsample_block": "Spatial2xTime2x3DUpsample", "l2_upsample_wavelet": "InverseHaarWaveletTransform3D",
        "scale": [0.18215] * latent, "shift": [0.0] * latent}


class Shapes(dict):
    """{key: shape}, filled layer by layer. cube: the layer is three-dimensional."""

    def __init__(self, norm_type):
        self.dot_norm = ".norm" if norm_type == "layernorm" else ""

    def conv(self, key, cin, cout, cube=False, k=3):
        key += ".conv" if cube else ""
        self[key + ".weight"], self[key + ".bias"] = (cout, cin, *[k] * (3 if cube else 2)), (cout,)

    def norm(self, key, c):
        self[f"{key}{self.dot_norm}.weight"] = self[f"{key}{self.dot_norm}.bias"] = (c,)

    def res(self, key, a, b, cube=True):
        self.norm(key + ".norm1", a)
        self.conv(key + ".conv1", a, b, cube)
        self.norm(key + ".norm2", b)
        self.conv(key + ".conv2", b, b, cube)
        if a != b:
            self.conv(key + ".nin_shortcut", a, b, cube, 1)

    def attention(self, key, c, cube=True):
        self.norm(key + ".norm", c)
        for name in ("q", "k", "v", "proj_out"):
            self.conv(f"{key}.{name}", c, c, cube, 1)

    def haar(self, key, cube, suffix=""):
        for band in HAAR3 if cube else HAAR2:
            self[f"{key}.{band}{suffix if cube else ''}"] = (1, 1, 2, 2, 2) if cube else (1, 1, 2, 2)

    def analysis(self, key, cube):
        self.haar(key, cube, "_conv.conv.weight")


def shapes(config):
    """{key: shape} of a model of either generation, Haar constants included."""
    name = config.get("_class_name", "WFVAEModel")
    if name not in ("WFVAEModel", "WFVAE2Model"):
        raise ValueError(f"unknown _class_name {name!r}")
    return shapes1(config.get) if name == "WFVAEModel" else shapes2(config.get)


def shapes1(get):
    out = Shapes(get("norm_type", "groupnorm"))
    B, L = get("base_channels", 128), get("latent_dim", 8)
    E, D = get("encoder_energy_flow_hidden_size", 64), get("decoder_energy_flow_hidden_size", 128)
    NE, ND, K = get("encoder_num_resblocks", 2), get("decoder_num_resblocks", 2), get("connect_res_layer_num", 1)
    deep, attention = get("l1_dowmsample_block") == CUBE, get("use_attention", True)
    bands1 = 24 if deep else 12

    def mid(key, a, b, c):
        out.res(key + ".0", a, b)
        if attention:
            out.attention(key + ".1", b)
        out.res(f"{key}.{1 + attention}", b, c)

    out.conv("encoder.down1.0", 24, B)
    for i in range(NE):
        out.res(f"encoder.down1.{1 + i}", B, B, cube=False)
    out.conv(f"encoder.down1.{NE + 1}.conv", B, B, deep)
    out.conv("encoder.down2.0", B + E, 2 * B)
    for i in range(NE):
        out.res(f"encoder.down2.{1 + i}", 2 * B, 2 * B)
    out.conv(f"encoder.down2.{NE + 1}.conv", 2 * B, 2 * B, cube=True)
    out.conv("encoder.connect_l1", bands1, E)
    out.conv("encoder.connect_l2", 24, E)
    mid("encoder.mid", 2 * B + E, 4 * B, 4 * B)
    out.norm("encoder.norm_out", 4 * B)
    out.conv("encoder.conv_out", 4 * B, 2 * L, cube=True)

    out.conv("decoder.conv_in", L, 4 * B, cube=True)
    mid("decoder.mid", 4 * B, 4 * B, 4 * B + D)
    for level, bands in (2, 24), (1, bands1):
        for i in range(K):
            out.res(f"decoder.connect_l{level}.{i}", D, D)
        out.conv(f"decoder.connect_l{level}.{K}", D, bands)
    for i in range(ND):
        out.res(f"decoder.up2.{i}", 4 * B, 4 * B)
    out.conv(f"decoder.up2.{ND}.conv", 4 * B, 4 * B, cube=True)
    out.res(f"decoder.up2.{ND + 1}", 4 * B, 4 * B + D)
    for i in range(ND):
        out.res(f"decoder.up1.{i}", 2 * B if i else 4 * B, 2 * B)
    out.conv(f"decoder.up1.{ND}.conv", 2 * B, 2 * B, deep)
    out.res(f"decoder.up1.{ND + 1}", 2 * B, 2 * B)
    out.res("decoder.layer.0", 2 * B, B)
    out.res("decoder.layer.1", B, B)
    out.norm("decoder.norm_out", B)
    out.conv("decoder.conv_out", B, 24)

    for name, cube in ("in", True), ("l1", deep), ("l2", True):
        out.analysis("encoder.wavelet_transform_" + name, cube)
    for name, cube in ("out", True), ("l1", deep), ("l2", True):
        out.haar("decoder.inverse_wavelet_transform_" + name, cube)
    return out


def shapes2(get):
    out = Shapes(get("norm_type", "layernorm"))
    enc, L = get("base_channels", [128, 256, 512]), get("latent_dim", 4)
    dec = get("decoder_base_channels") or enc
    E, D = get("encoder_energy_flow_size", 128), get("decoder_energy_flow_size", 128)
    NE, ND = get("encoder_num_resblocks", 2), get("decoder_num_resblocks", 3)
    video = get("input_type", "video") == "video"
    levels = list(zip(get("layer_type", ["hw", "thw"]), get("layer_res_type", ["ResnetBlock2D", "ResnetBlock3D"])))

    def mid(key, c):
        for i, name in enumerate(get("mid_layers_type", MID2)):
            if name.startswith("ResnetBlock"):
                out.res(f"{key}.{i}", c, c, name == "ResnetBlock3D")
            elif name in ("AttnBlock3DFix", "AttnBlock2D"):
                out.attention(f"{key}.{i}", c, name == "AttnBlock3DFix")
            else:
                raise ValueError(f"mid_layers_type: not supported: {name!r}")

    out.analysis("encoder.wavelet_transform_in", video)
    out.conv("encoder.conv_in", 24 if video else 12, enc[0])
    for i, (kind, res) in enumerate(levels):
        key, deep, plain = f"encoder.down_blocks.{i}", kind == "thw", res == "ResnetBlock3D"
        out.analysis(key + ".wavelet_transform", deep)
        out.conv(key + ".in_flow_conv", 24 if deep else 12, E)
        for j in range(NE - 1):
            out.res(f"{key}.res_block.{j}", enc[i], enc[i], plain)
        out.conv(key + ".down.conv", enc[i], enc[i], deep)
        out.res(key + ".out_res_block", enc[i] + E, enc[i + 1], plain)
    mid("encoder.mid", enc[-1])
    out.norm("encoder.norm_out", enc[-1])
    out.conv("encoder.conv_out", enc[-1], 2 * L, video)

    out.conv("decoder.conv_in", L, dec[-1], video)
    mid("decoder.mid", dec[-1])
    for i, (kind, res) in enumerate(reversed(levels)):  # up_blocks.0 is the deepest
        key, deep, plain = f"decoder.up_blocks.{i}", kind == "thw", res == "ResnetBlock3D"
        a, b = dec[len(levels) - i], dec[len(levels) - i - 1]
        out.res(key + ".branch_conv", a, a + D, deep)
        out.res(key + ".out_flow_conv.0", D, D, deep)
        out.conv(key + ".out_flow_conv.1", D, 24 if deep else 12)
        out.haar(key + ".inverse_wavelet_transform", deep)
        for j in range(ND - 2):
            out.res(f"{key}.res_block.{j}", a, a, plain)
        out.conv(key + ".up.conv", a, a, deep)
        out.res(key + ".out_res_block", a, b, plain)
    out.norm("decoder.norm_out", dec[0])
    out.conv("decoder.conv_out", dec[0], 24 if video else 12)
    out.haar("decoder.inverse_wavelet_transform_out", video)
    return out


def values(key, shape, seed):
    """A tensor's float32 values: the true constants for Haar filters, else random with activations of order one."""
    if "wavelet_transform" in key:
        name = key.split("wavelet_transform", 1)[1].split(".")[1].removesuffix("_conv")
        band, axes = (HAAR3.index(name), (4, 3, 2)) if len(shape) == 5 else (HAAR2.index(name), (2, 3))
        out = np.full(shape, 0.3536 if len(shape) == 5 else 0.5, np.float32)
        for bit, axis in enumerate(axes):
            if band >> bit & 1:
                np.moveaxis(out, axis, 0)[1] *= -1
        return out
    out = np.random.default_rng([seed, zlib.crc32(key.encode())]).standard_normal(shape, np.float32)
    if key.endswith("bias"):
        out *= np.float32(0.1)
    elif len(shape) == 1:
        out *= np.float32(0.2)
        out += 1
    else:
        out *= np.float32((1.3 / np.prod(shape[1:])) ** 0.5)
    return out


def stored(array, dtype):
    """The array as its file's bytes hold it; bf16 rounds to nearest even by hand, numpy has no such type."""
    if dtype != "bf16":
        return array.astype("<f4" if dtype == "f32" else "<f2")
    bits = array.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def write_safetensors(path, tensors, make):
    """tensors: {key: (shape, dtype)}; make(key): the float32 values, asked for one key at a time."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for key, (shape, dtype) in tensors.items():
        name, size = DTYPES[dtype]
        end = at + size * int(np.prod(shape))
        header[key] = {"dtype": name, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for key, (_, dtype) in tensors.items():
            stored(make(key), dtype).tofile(f)
    return at


def write_checkpoint(folder, config, dtype="f32", shards=1, seed=0):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    # widest type first, then by name, as the usual writers order them (here: one type)
    table = {k: (s, dtype) for k, s in sorted(shapes(config).items())}
    total = sum(DTYPES[dtype][1] * int(np.prod(s)) for s, _ in table.values())
    parts, at = [{} for _ in range(shards)], 0
    for key, (shape, d) in table.items():
        parts[min(at * shards // total, shards - 1)][key] = (shape, d)
        at += DTYPES[d][1] * int(np.prod(shape))
    stem = "diffusion_pytorch_model"
    names = [f"{stem}.safetensors"] if shards == 1 else [f"{stem}-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    for name, part in zip(names, parts):
        write_safetensors(folder / name, part, lambda key: values(key, table[key][0], seed))
    if shards > 1:
        index = {"metadata": {"total_size": total}, "weight_map": {k: n for n, p in zip(names, parts) for k in p}}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out_dir")
    which = p.add_mutually_exclusive_group()
    which.add_argument("--config", help="a config.json; else a preset")
    which.add_argument("--preset", choices=PRESETS, default="tiny")
    p.add_argument("--dtype", choices=DTYPES, default="f32")
    p.add_argument("--shards", type=int, default=1)
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    config = json.loads(Path(a.config).read_text()) if a.config else preset(a.preset)
    try:
        keys = len(shapes(config))
    except ValueError as e:
        p.error(str(e))
    if not 1 <= a.shards <= keys:
        p.error("--shards out of range")
    write_checkpoint(a.out_dir, config, a.dtype, a.shards, a.seed)


if __name__ == "__main__":
    main()
