#!/usr/bin/env python3
"""Checks that random_checkpoint.py, which knows the models by a table of names and shapes, agrees with the PyTorch model.

Every preset, every golden case's config and many random configs of each family; nothing is computed or written. Both refuse
the same configs of a CausalVAE.
"""
import json
import random
from pathlib import Path

import numpy as np
import torch

import wfvae
from random_checkpoint import CUBE, DOWN, PRESETS, UP, preset, shapes, values

WEIGHTS = {"L": (317_081_244, 0), "S": (145_580_000, 5_000), "v2": (131_720_000, 5_000),  # upstream's trainable ones, +-
           "causalvae-1.0": (229_169_895, 0), "causalvae-1.1": (246_859_499, 0), "causalvae-1.2": (239_189_991, 0)}
KEYS = {"causalvae-1.0": 248, "causalvae-1.1": 260, "causalvae-1.2": 248}


def state(config):
    with torch.device("meta"):  # shapes only
        return wfvae.from_config(config).state_dict()


def thin(rng, config):
    """Drops some fields, so that both sides fill in their defaults."""
    return {k: v for k, v in config.items() if k == "_class_name" or rng.random() < 0.9}


def random_v1(rng):
    n = rng.randint
    config = dict(
        latent_dim=n(1, 9), base_channels=32 * n(1, 2), encoder_num_resblocks=n(0, 3), decoder_num_resblocks=n(1, 3),
        encoder_energy_flow_hidden_size=32 * n(1, 4), decoder_energy_flow_hidden_size=32 * n(1, 4), use_attention=n(0, 1) == 1,
        norm_type=rng.choice(["layernorm", "groupnorm"]), connect_res_layer_num=n(0, 3))
    config = thin(rng, config)
    if n(0, 1):
        config.update(l1_dowmsample_block=CUBE, l1_downsample_wavelet="HaarWaveletTransform3D",
                      l1_upsample_block="Spatial2xTime2x3DUpsample", l1_upsample_wavelet="InverseHaarWaveletTransform3D")
    return config


def random_v2(rng):
    n, levels, image = rng.randint, rng.randint(1, 3), rng.random() < 0.3
    widths = lambda: [32 * n(1, 4) for _ in range(levels + 1)]
    mid = ["ResnetBlock2D", "ResnetBlock3D", "AttnBlock3DFix", "AttnBlock2D"]
    config = dict(
        _class_name="WFVAE2Model", latent_dim=n(1, 9), decoder_base_channels=rng.choice([None, widths()]),
        encoder_num_resblocks=n(1, 3), decoder_num_resblocks=n(2, 4), encoder_energy_flow_size=32 * n(1, 4),
        decoder_energy_flow_size=32 * n(1, 4), norm_type=rng.choice(["layernorm", "groupnorm"]),
        mid_layers_type=[rng.choice(mid) for _ in range(n(0, 4))])
    together = dict(  # fields that have to fit each other
        base_channels=widths(), layer_type=[rng.choice(["hw"] if image else ["hw", "thw"]) for _ in range(levels)],
        layer_res_type=[rng.choice(["ResnetBlock2D", "ResnetBlock3D"]) for _ in range(levels)],
        input_type="image" if image else "video")
    return {**thin(rng, config), **together}


def random_cv(rng):
    n, image, levels = rng.randint, rng.random() < 0.2, rng.randint(1, 4)
    both = lambda field, make: {f"encoder_{field}": make(), f"decoder_{field}": make()}
    conv = lambda: "Conv2d" if image else rng.choice(["Conv2d", "CausalConv3d", "CausalConv3d_GC"])
    res = lambda: "ResnetBlock2D" if image else rng.choice(["ResnetBlock2D", "ResnetBlock3D"])
    attention = lambda: "AttnBlock2D" if image else rng.choice(["AttnBlock3D", "AttnBlock3DFix"])
    config = dict(
        z_channels=n(1, 9), embed_dim=n(1, 9), num_res_blocks=n(1, 3), use_quant_layer=n(0, 3) > 0, q_conv=conv(),
        **both("conv_in", conv), **both("conv_out", conv), **both("mid_resnet", res), **both("attention", attention))
    config = config if image else thin(rng, config)

    # What the encoder halves, the decoder doubles, in any slots.
    slots = [(kind, i) for kind in ("spatial", "temporal") for i in range(levels)]
    lists = {f"{half}_{kind}_{way}sample": [""] * (levels + n(0, 1))
             for half, way in (("encoder", "down"), ("decoder", "up")) for kind in ("spatial", "temporal")}
    changes = [(1, 2) if image else rng.choice([(1, 2), (2, 1), (2, 2)]) for _ in range(n(0, levels))]
    for half, way, table, flat in ("encoder", "down", DOWN, "Downsample"), ("decoder", "up", UP, "Upsample"):
        for (t, s), (kind, i) in zip(changes, rng.sample(slots, len(changes))):
            fitting = [name for name, (_, _, *factors) in table.items() if factors == [t, s]]
            lists[f"{half}_{kind}_{way}sample"][i] = flat if image else rng.choice(fitting)

    # The encoder's attentions have 32 groups even with layernorm: in the mid, and in the levels that attn_resolutions name.
    norm, resolution, attended = rng.choice(["layernorm", "groupnorm"]), rng.choice([256, 64, 100]), n(0, 1)
    unit = 8 if norm == "layernorm" and not attended else 32
    return {
        "_class_name": "CausalVAEModel", **config, **lists, "norm_type": norm, "resolution": resolution,
        "hidden_size": unit, "hidden_size_mult": [n(1, 4) for _ in range(levels - 1)] + [4],
        "encoder_resnet_blocks": [res() for _ in range(levels)],
        "decoder_resnet_blocks": [res() for _ in range(levels + n(0, 2))],
        "attn_resolutions": [resolution // 2 ** n(0, 4) for _ in range(2 * attended)]}


def check_refused():
    """Configs of a CausalVAE that cannot work, each a change to one that does."""
    good = preset("causalvae-1.2")
    refused = [
        {"double_z": False}, {"num_res_blocks": 0}, {"norm_type": "batchnorm"}, {"hidden_size": 48}, {"hidden_size_mult": []},
        {"encoder_attention": "AttnBlock2D", "decoder_attention": "AttnBlock2D"},  # with 3D blocks
        {"norm_type": "layernorm", "hidden_size": 4},  # the encoder's attention has 16 channels
        {"norm_type": "layernorm", "hidden_size": 8, "attn_resolutions": [256]},
        {"encoder_resnet_blocks": ["ResnetBlock3D"] * 5}, {"encoder_resnet_blocks": ["ResnetBlock3D"] * 3},
        {"decoder_resnet_blocks": ["ResnetBlock3D"] * 3}, {"decoder_spatial_upsample": [""]},
        {"encoder_temporal_downsample": []}, {"decoder_temporal_upsample": ["", "", "", "TimeUpsample2x"]},
        {"encoder_spatial_downsample": ["Downsample", CUBE, "", ""]},
        {"encoder_spatial_downsample": ["Upsample", CUBE, CUBE, ""]},
        {"decoder_temporal_upsample": ["TimeUpsampleResAdv2x"] * 4},
        {"decoder_mid_resnet": "ResnetBlock3D_GC"}, {"encoder_attention": "LinAttnBlock"}, {"q_conv": "ResnetBlock2D"},
        {"encoder_conv_in": "Conv3d"}, {"decoder_attention": ""}, {"encoder_mid_resnet": ["ResnetBlock3D"]}]
    for change in refused:
        for way in state, shapes:
            try:
                way({**good, **change})
            except ValueError as e:
                assert str(e), change
            else:
                raise AssertionError(f"{way.__module__}.{way.__name__} takes {change}")


def main():
    rng = random.Random(0)
    golden = sorted(Path(__file__).parents[1].glob("tests/golden/*/config.json"))
    assert golden, "no golden cases found"
    configs = {name: preset(name) for name in PRESETS}
    configs |= {path.parent.name: json.loads(path.read_text()) for path in golden}
    configs |= {"v1 defaults": {}, "v2 defaults": {"_class_name": "WFVAE2Model"}}
    configs |= {"CausalVAE defaults": {"_class_name": "CausalVAEModel"}}
    for i in range(150):
        configs |= {f"random v1 {i}": random_v1(rng), f"random v2 {i}": random_v2(rng), f"random CausalVAE {i}": random_cv(rng)}

    for name, config in configs.items():
        want, got = {k: tuple(v.shape) for k, v in state(config).items()}, shapes(config)
        wrong = {k: (want.get(k), got.get(k)) for k in sorted(want.keys() | got.keys()) if want.get(k) != got.get(k)}
        assert not wrong, f"{name}: model's and table's shapes differ: {wrong}\n{json.dumps(config)}"
        if name in WEIGHTS:
            count = sum(int(np.prod(v)) for k, v in got.items() if "wavelet_transform" not in k)
            right, slack = WEIGHTS[name]
            assert abs(count - right) <= slack, f"{name}: {count} weights, not {right}"
            assert len(got) == KEYS.get(name, len(got)), f"{name}: {len(got)} keys, not {KEYS[name]}"
    check_refused()

    for bank in wfvae.analysis(2), wfvae.analysis(3), wfvae.InverseHaar(3):
        for key, tensor in bank.state_dict().items():
            got = values(f"a.wavelet_transform.{key}", tuple(tensor.shape), 0)
            assert np.array_equal(got, tensor.numpy()), f"Haar filter {key}: {got.ravel()} is not {tensor.flatten()}"
    print(f"{len(configs)} configs: names and shapes agree")


if __name__ == "__main__":
    main()
