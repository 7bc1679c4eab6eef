#!/usr/bin/env python3
"""Checks that random_checkpoint.py, which knows the models by a table of names and shapes, agrees with the PyTorch model.

Every preset, every golden case's config and many random configs of both generations; nothing is computed or written.
"""
import json
import random
from pathlib import Path

import numpy as np
import torch

import wfvae
from random_checkpoint import CUBE, PRESETS, preset, shapes, values

WEIGHTS = {"L": (317_081_244, 0), "S": (145_580_000, 5_000), "v2": (131_720_000, 5_000)}  # upstream's trainable ones, +-


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


def main():
    rng = random.Random(0)
    golden = sorted(Path(__file__).parents[1].glob("tests/golden/*/config.json"))
    assert golden, "no golden cases found"
    configs = {name: preset(name) for name in PRESETS}
    configs |= {path.parent.name: json.loads(path.read_text()) for path in golden}
    configs |= {"v1 defaults": {}, "v2 defaults": {"_class_name": "WFVAE2Model"}}
    for i in range(150):
        configs |= {f"random v1 {i}": random_v1(rng), f"random v2 {i}": random_v2(rng)}

    for name, config in configs.items():
        want, got = {k: tuple(v.shape) for k, v in state(config).items()}, shapes(config)
        wrong = {k: (want.get(k), got.get(k)) for k in sorted(want.keys() | got.keys()) if want.get(k) != got.get(k)}
        assert not wrong, f"{name}: model's and table's shapes differ: {wrong}\n{json.dumps(config)}"
        if name in WEIGHTS:
            count = sum(int(np.prod(v)) for k, v in got.items() if "wavelet_transform" not in k)
            right, slack = WEIGHTS[name]
            assert abs(count - right) <= slack, f"{name}: {count} weights, not {right}"

    for bank in wfvae.analysis(2), wfvae.analysis(3), wfvae.InverseHaar(3):
        for key, tensor in bank.state_dict().items():
            got = values(f"a.wavelet_transform.{key}", tuple(tensor.shape), 0)
            assert np.array_equal(got, tensor.numpy()), f"Haar filter {key}: {got.ravel()} is not {tensor.flatten()}"
    print(f"{len(configs)} configs: names and shapes agree")


if __name__ == "__main__":
    main()
