"""The arithmetic of a WF-VAE or CausalVAE as its reference does it: direct convolutions, the wavelets' among them, and attention.

Two operations for each multiplication with its addition. Every output of a convolution counts with all its weights, at
the clip's start and at borders too. Norms, activations and interpolation do not count: they are below 1 %.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "training"))
import random_checkpoint  # noqa: E402


def flops(config, frames, width, height):
    """{"encode": operations, "decode": operations} of a whole clip."""
    if config.get("_class_name") == "CausalVAEModel":
        places = causal_places(config, frames, width, height)
        return total(config, lambda key: places[causal_place(key)])
    first = config.get("_class_name", "WFVAEModel") == "WFVAEModel"
    levels = levels_v1(config) if first else config.get("layer_type", ["hw", "thw"])
    video = config.get("input_type", "video") == "video"
    # Where layers work: after the first wavelet transform, then after each level.
    places = [((frames - 1) // 2 + 1 if video else frames, height // 2, width // 2)]
    for kind in levels:
        t, h, w = places[-1]
        places.append(((t - 1) // 2 + 1 if kind == "thw" else t, h // 2, w // 2))

    return total(config, lambda key: places[(place_v1 if first else place_v2)(key, config, len(levels))])


def total(config, place):
    """place: the size of a convolution's output, by its weight's name."""
    total = {"encode": 0, "decode": 0}
    for key, shape in random_checkpoint.shapes(config).items():
        if len(shape) == 1:
            continue
        t, h, w = place(key)
        # One filter of a wavelet's works on three colours.
        weights = 3 if "wavelet_transform" in key else 1
        for n in shape:
            weights *= n
        direction = "encode" if key.startswith(("encoder.", "quant_conv.")) else "decode"
        total[direction] += 2 * weights * t * h * w
        if key.endswith((".q.weight", ".q.conv.weight")):
            # Queries by keys, and scores by values, in each frame, or each of as many groups of rows.
            total[direction] += 2 * 2 * t * (h * w) ** 2 * shape[0]
    return total


def causal_places(config, frames, width, height):
    """Sizes by half, level and what was done in it: nothing yet (0), the spatial block (1), the temporal block (2)."""
    c = {**random_checkpoint.DEFAULTS3, **config}
    size, levels, places = (frames, height, width), range(len(c["hidden_size_mult"])), {}
    places["video"] = size
    for i in levels:
        places["encoder", i, 0] = size
        for slot, field in (1, "encoder_spatial_downsample"), (2, "encoder_temporal_downsample"):
            if c[field][i]:
                _, _, t, s = random_checkpoint.DOWN[c[field][i]]
                size = ((size[0] - 1) // t + 1, size[1] // s, size[2] // s)
            places["encoder", i, slot] = size
    places["latents"] = size
    for i in reversed(levels):
        places["decoder", i, 0] = size
        for slot, field in (1, "decoder_spatial_upsample"), (2, "decoder_temporal_upsample"):
            if c[field][i]:
                _, _, t, s = random_checkpoint.UP[c[field][i]]
                size = ((size[0] - 1) * t + 1, size[1] * s, size[2] * s)
            places["decoder", i, slot] = size
    return places


def causal_place(key):
    half, part, *rest = key.split(".")
    if part in ("down", "up"):
        slots = {"downsample": 1, "upsample": 1, "time_downsample": 2, "time_upsample": 2}
        return half, int(rest[0]), slots.get(rest[1], 0)
    return "video" if (half, part) in (("encoder", "conv_in"), ("decoder", "conv_out")) else "latents"


def levels_v1(config):
    return ["thw" if config.get("l1_dowmsample_block") == random_checkpoint.CUBE else "hw", "thw"]


def place_v1(key, config, _):
    """Which place a convolution's output is in. A stage's resampling is the last layer, or the last but one, of it."""
    side, stage, index = (key.split(".") + [""])[:3]
    if "wavelet_transform" in stage:
        return {"in": 0, "out": 0, "l1": 1, "l2": 2}[stage.split("_")[-1]]
    if side == "encoder":
        last = config.get("encoder_num_resblocks", 2) + 1
        if stage in ("down1", "down2"):
            return int(stage[-1]) - 1 + (int(index) == last)
        return 1 if stage == "connect_l1" else 2
    blocks = config.get("decoder_num_resblocks", 2)
    if stage in ("up1", "up2"):
        return int(stage[-1]) - (int(index) >= blocks)
    return {"conv_in": 2, "mid": 2, "connect_l2": 2, "connect_l1": 1, "layer": 0, "conv_out": 0}[stage]


def place_v2(key, _, levels):
    side, stage, index, part = (key.split(".") + ["", ""])[:4]
    if stage == "down_blocks":
        return int(index) + (part != "res_block")
    if stage == "up_blocks":  # the deepest comes first
        return levels - int(index) - (part in ("up", "out_res_block"))
    outer = "conv_in" if side == "encoder" else "conv_out"
    return 0 if stage == outer or "wavelet_transform" in stage else levels
