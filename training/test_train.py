"""Tests of the training code: `python training/test_train.py`; needs requirements.txt, no data."""
import tempfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import torch

import wfvae
from clips import Clips
from optimizer import make_optimizers, orthogonalise
from train import CONFIG, Coefficients, losses, save_model, start_from

SMALL = {**CONFIG, "base_channels": 4, "latent_dim": 3, "encoder_energy_flow_hidden_size": 4,
         "decoder_energy_flow_hidden_size": 4}


def write_data(folder):
    random = np.random.default_rng(0)
    for name, frames in (("photo", 1), ("clip", 60)):
        np.save(folder / f"{name}.npy", random.integers(0, 256, (frames, 300, 280, 3), np.uint8))


def test_orthogonalised_matrices_have_singular_values_near_one():
    matrices = [torch.randn(8, n) * s for n, s in ((8, 1), (40, 1e-3), (200, 1e3))] + [torch.randn(16, 30)]
    for before, after in zip(matrices, orthogonalise(matrices)):
        values = torch.linalg.svdvals(after)
        assert after.shape == before.shape and values.min() > 0.3 and values.max() < 1.3, values
        u, _, v = torch.linalg.svd(before, full_matrices=False)
        assert torch.nn.functional.cosine_similarity((u @ v).flatten(), after.flatten(), 0) > 0.95


def test_every_weight_has_one_optimizer():
    model = wfvae.from_config(SMALL)
    held = [id(p) for o in make_optimizers(model, 1e-3) for g in o.param_groups for p in g["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())


def test_new_blocks_change_nothing_at_first():
    torch.manual_seed(1)
    few, many = ({**SMALL, "encoder_num_resblocks": a, "decoder_num_resblocks": b} for a, b in ((1, 2), (3, 3)))
    old, new = wfvae.from_config(few), wfvae.from_config(many)
    with tempfile.TemporaryDirectory() as folder:
        from safetensors.torch import save_file
        import json
        save_file(old.state_dict(), Path(folder) / "model.safetensors")
        (Path(folder) / "config.json").write_text(json.dumps({k: few[k] for k in CONFIG}))
        start_from(new, folder)
    video = torch.rand(1, 3, 5, 16, 24) * 2 - 1
    with torch.no_grad():
        (mean, _), (other, _) = old.encode(video), new.encode(video)
        assert torch.equal(mean, other) and torch.equal(old.decode(mean), new.decode(mean))


def test_clips_are_pixels_and_repeat_with_the_seed():
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder))
        first, again, other = (iter(Clips(folder, seed)) for seed in (1, 1, 2))
        shapes, same = set(), 0
        for _ in range(40):
            a, b, c = next(first), next(again), next(other)
            assert torch.equal(a, b) and torch.isfinite(a).all() and a.abs().max() <= 1
            assert torch.allclose((a + 1) * 127.5, ((a + 1) * 127.5).round(), atol=1e-3)
            same += a.shape == c.shape and torch.equal(a, c)
            shapes.add(tuple(a.shape))
        assert same == 0
        assert shapes == {(n, 3, t, s, s) for _, n, t, s in Clips.SHAPES}, shapes


def test_steps_learn_and_the_saved_model_opens():
    torch.manual_seed(2)
    model = wfvae.from_config(SMALL)
    coefficients, optimizers = Coefficients(model), make_optimizers(model, 5e-3)
    clips = torch.rand(2, 3, 5, 16, 16) * 0.2 + torch.tensor([0.5, -0.3, 0.1]).view(1, 3, 1, 1, 1)
    history = []
    for _ in range(40):
        loss, psnr, kl = losses(model, coefficients, clips, Namespace(l1=0.1, kl=1e-4, wavelet=0.05))
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        history.append(float(psnr))
    assert history[-1] > history[0] + 6, history[::10]
    assert set(coefficients.true) == set(coefficients.predicted) == {"l1", "l2"}
    assert all(coefficients.true[k].shape == coefficients.predicted[k].shape for k in coefficients.true)
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder))
        save_model(model, Path(folder) / "model", folder, 1, torch.device("cpu"))
        opened = wfvae.load(Path(folder) / "model")
        assert len(opened.config["scale"]) == len(opened.config["shift"]) == SMALL["latent_dim"]
        with torch.no_grad():
            assert (opened.encode(clips)[0] - model.encode(clips)[0]).abs().max() < 0.05


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print(f"{name}: ok", flush=True)
