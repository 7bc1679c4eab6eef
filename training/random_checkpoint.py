#!/usr/bin/env python3
"""Writes a checkpoint folder of a WF-VAE, of either generation, or a CausalVAE, with lively random weights: right names, shapes
and sizes, no training.

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
PRESETS = {"L": (16, 192, 2, 128, 128), "M": (8, 64, 2, 64, 64), "S": (8, 128, 2, 64, 128), "tiny": (4, 8, 1, 8, 4), "v2": None,
           "causalvae-1.0": None, "causalvae-1.1": None, "causalvae-1.2": None}  # these three: of Open-Sora-Plan
# CausalVAE's layers that change the size: the key of their convolution, its kernel, and the factors of time and space.
DOWN = {"Downsample": (".conv", (3, 3), 1, 2), "SpatialDownsample2x": (".conv.conv", (1, 3, 3), 1, 2),
        "Spatial2x3DDownsample": (".conv.conv", (3, 3, 3), 1, 2), CUBE: (".conv.conv", (3, 3, 3), 2, 2),
        "TimeDownsample2x": (None, (), 2, 1), "TimeDownsampleRes2x": (".conv", (3, 3, 3), 2, 1)}
UP = {"Upsample": (".conv", (3, 3), 1, 2), "SpatialUpsample2x": (".conv.conv", (1, 3, 3), 1, 2),
      "Spatial2x3DUpsample": (".conv.conv", (3, 3, 3), 1, 2), "Spatial2xTime2x3DUpsample": (".conv.conv", (3, 3, 3), 2, 2),
      "TimeUpsample2x": (None, (), 2, 1), "TimeUpsampleRes2x": (".conv.conv", (3, 3, 3), 2, 1)}
DEFAULTS3 = {
    "hidden_size": 128, "hidden_size_mult": [1, 2, 4, 4], "z_channels": 4, "embed_dim": 4, "use_quant_layer": True,
    "q_conv": "CausalConv3d", "num_res_blocks": 2, "double_z": True, "norm_type": "groupnorm", "attn_resolutions": [],
    "resolution": 256, "encoder_conv_in": "CausalConv3d", "encoder_conv_out": "CausalConv3d",
    "encoder_resnet_blocks": ["ResnetBlock3D"] * 4, "encoder_mid_resnet": "ResnetBlock3D", "encoder_attention": "AttnBlock3D",
    "encoder_spatial_downsample": ["SpatialDownsample2x"] * 3 + [""],
    "encoder_temporal_downsample": ["", "TimeDownsample2x", "TimeDownsample2x", ""],
    "decoder_conv_in": "CausalConv3d", "decoder_conv_out": "CausalConv3d",
    "decoder_resnet_blocks": ["ResnetBlock3D"] * 4, "decoder_mid_resnet": "ResnetBlock3D", "decoder_attention": "AttnBlock3D",
    "decoder_spatial_upsample": [""] + ["SpatialUpsample2x"] * 3,
    "decoder_temporal_upsample": ["", "", "TimeUpsample2x", "TimeUpsample2x"]}


def preset(name):
    if name.startswith("causalvae-"):
        newer = {
            "encoder_conv_in": "Conv2d", "encoder_resnet_blocks": ["ResnetBlock2D"] * 2 + ["ResnetBlock3D"] * 2,
            "encoder_attention": "AttnBlock3DFix", "decoder_attention": "AttnBlock3DFix"}
        changes = {
            "causalvae-1.0": {"encoder_temporal_downsample": ["TimeDownsample2x"] * 2 + [""] * 2},
            "causalvae-1.1": {
                **newer, "encoder_spatial_downsample": ["Downsample"] * 3 + [""],
                "encoder_temporal_downsample": ["", "TimeDownsampleRes2x", "TimeDownsampleRes2x", ""],
                "decoder_temporal_upsample": ["", "", "TimeUpsampleRes2x", "TimeUpsampleRes2x"]},
            "causalvae-1.2": {
                **newer, "encoder_spatial_downsample": ["Downsample", CUBE, CUBE, ""], "encoder_temporal_downsample": [""] * 4,
                "decoder_spatial_upsample": ["", "SpatialUpsample2x"] + ["Spatial2xTime2x3DUpsample"] * 2,
                "decoder_temporal_upsample": [""] * 4}}
        return {"_class_name": "CausalVAEModel", "_diffusers_version": "0.27.2", "dropout": 0.0, **DEFAULTS3, **changes[name]}
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


# Of a model, as in the library: a config with a wrong count must not take all memory.
MOST_TENSORS = 1 << 18


class Shapes(dict):
    """{key: shape}, filled layer by layer. cube: the layer is three-dimensional."""

    def __init__(self, norm_type):
        self.dot_norm = ".norm" if norm_type == "layernorm" else ""

    def __setitem__(self, key, shape):
        if len(self) == MOST_TENSORS:
            raise ValueError(f"it describes more than {MOST_TENSORS} tensors")
        super().__setitem__(key, shape)

    def conv(self, key, cin, cout, cube=False, k=3):
        key += ".conv" if cube else ""
        self[key + ".weight"], self[key + ".bias"] = (cout, cin, *[k] * (3 if cube else 2)), (cout,)

    def norm(self, key, c, dot_norm=None):
        key += self.dot_norm if dot_norm is None else dot_norm
        self[key + ".weight"] = self[key + ".bias"] = (c,)

    def res(self, key, a, b, cube=True):
        self.norm(key + ".norm1", a)
        self.conv(key + ".conv1", a, b, cube)
        self.norm(key + ".norm2", b)
        self.conv(key + ".conv2", b, b, cube)
        if a != b:
            self.conv(key + ".nin_shortcut", a, b, cube, 1)

    def attention(self, key, c, cube=True, dot_norm=None):
        self.norm(key + ".norm", c, dot_norm)
        for name in ("q", "k", "v", "proj_out"):
            self.conv(f"{key}.{name}", c, c, cube, 1)

    def haar(self, key, cube, suffix=""):
        for band in HAAR3 if cube else HAAR2:
            self[f"{key}.{band}{suffix if cube else ''}"] = (1, 1, 2, 2, 2) if cube else (1, 1, 2, 2)

    def analysis(self, key, cube):
        self.haar(key, cube, "_conv.conv.weight")


def shapes(config):
    """{key: shape} of a model, Haar constants included."""
    name = config.get("_class_name", "WFVAEModel")
    if name == "CausalVAEModel":
        return shapes3({**DEFAULTS3, **config})
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


def shapes3(c):
    """Raises a ValueError, too, for a config that describes no working model."""
    out, widths, blocks = Shapes(c["norm_type"]), [c["hidden_size"] * m for m in c["hidden_size_mult"]], c["num_res_blocks"]
    n, used, factors = len(widths), set(), {"encoder": [1, 1], "decoder": [1, 1]}

    def need(right, reason):
        if not right:
            raise ValueError(reason)

    def find(table, field, i=None):
        name = c[field] if i is None else c[field][i]
        need(isinstance(name, str) and name in table, f"{field}: not supported: {name!r}")
        used.add(name)
        return table[name]

    def conv(key, field, cin, cout, k=3):
        out.conv(key, cin, cout, find({"Conv2d": False, "CausalConv3d": True, "CausalConv3d_GC": True}, field), k)

    def res(key, field, i, a, b):
        need(c["norm_type"] == "layernorm" or not (a % 32 or b % 32), f"groupnorm: {a} and {b} channels in 32 groups")
        out.res(key, a, b, find({"ResnetBlock2D": False, "ResnetBlock3D": True}, field, i))

    def attention(key, half, width):
        group = half == "encoder" or c["norm_type"] == "groupnorm"  # the encoder's are groupnorm, whatever norm_type says
        need(not (group and width % 32), f"groupnorm: {width} channels in 32 groups")
        cube = find({"AttnBlock2D": False, "AttnBlock3D": True, "AttnBlock3DFix": True}, half + "_attention")
        out.attention(key, width, cube, "" if group else ".norm")

    def resize(key, half, field, i, table):
        suffix, kernel, t, s = find({"": (None, (), 1, 1), **table}, field, i)
        factors[half][0] *= t
        factors[half][1] *= s
        if suffix:
            out[f"{key}{suffix}.weight"], out[f"{key}{suffix}.bias"] = (widths[i], widths[i], *kernel), (widths[i],)
        if "Res2x" in c[field][i]:
            out[key + ".mix_factor"] = (1,)

    def mid(half):
        for i in 1, 2:
            res(f"{half}.mid.block_{i}", half + "_mid_resnet", None, widths[-1], widths[-1])
        attention(half + ".mid.attn_1", half, widths[-1])

    need(n and blocks > 0 and c["double_z"], "double_z, and at least one level and one resblock are needed")
    need(c["norm_type"] in ("groupnorm", "layernorm"), f"unknown norm_type {c['norm_type']!r}")
    for field, default in DEFAULTS3.items():
        if field.endswith(("_blocks", "sample")) and isinstance(default, list):
            exact = field == "encoder_resnet_blocks"
            fits = isinstance(c[field], list) and (len(c[field]) == n if exact else len(c[field]) >= n)
            need(fits, f"{field}: expected a list for {n} levels")

    conv("encoder.conv_in", "encoder_conv_in", 3, c["hidden_size"])
    width, size = c["hidden_size"], c["resolution"]
    for i in range(n):
        for j in range(blocks):
            res(f"encoder.down.{i}.block.{j}", "encoder_resnet_blocks", i, width, widths[i])
            width = widths[i]
            if size in c["attn_resolutions"]:
                attention(f"encoder.down.{i}.attn.{j}", "encoder", width)
        resize(f"encoder.down.{i}.downsample", "encoder", "encoder_spatial_downsample", i, DOWN)
        resize(f"encoder.down.{i}.time_downsample", "encoder", "encoder_temporal_downsample", i, DOWN)
        size //= 2 if c["encoder_spatial_downsample"][i] else 1
    mid("encoder")
    out.norm("encoder.norm_out", width)
    conv("encoder.conv_out", "encoder_conv_out", width, 2 * c["z_channels"])
    if c["use_quant_layer"]:
        conv("quant_conv", "q_conv", 2 * c["z_channels"], 2 * c["embed_dim"], 1)
        conv("post_quant_conv", "q_conv", c["embed_dim"], c["z_channels"], 1)

    conv("decoder.conv_in", "decoder_conv_in", c["z_channels"], width)
    mid("decoder")
    size = c["resolution"] // 2 ** (n - 1)
    for i in reversed(range(n)):  # up.0 is the outermost
        for j in range(blocks + 1):
            res(f"decoder.up.{i}.block.{j}", "decoder_resnet_blocks", i, width, widths[i])
            width = widths[i]
            if size in c["attn_resolutions"]:
                attention(f"decoder.up.{i}.attn.{j}", "decoder", width)
        resize(f"decoder.up.{i}.upsample", "decoder", "decoder_spatial_upsample", i, UP)
        resize(f"decoder.up.{i}.time_upsample", "decoder", "decoder_temporal_upsample", i, UP)
        size *= 2 if c["decoder_spatial_upsample"][i] else 1
    out.norm("decoder.norm_out", width)
    conv("decoder.conv_out", "decoder_conv_out", width, 3)
    need(factors["encoder"] == factors["decoder"], f"the factors of time and space differ: {factors}")
    video = used - {"", "Conv2d", "ResnetBlock2D", "AttnBlock2D", "Downsample", "Upsample"}
    need(not ("AttnBlock2D" in used and video), f"AttnBlock2D takes images alone; not so: {sorted(video)}")
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
    elif key.endswith("mix_factor"):
        out *= np.float32(0.8)
        out += np.float32(0.3)
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
