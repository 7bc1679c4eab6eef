"""Tests of the training code: `python training/test_train.py`; needs requirements.txt, no data."""
import copy
import json
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import wfvae
from clips import Clips, load_sources
from optimizer import make_optimizers, orthogonalise
from train import CONFIG, Batches, Step, fuse, save_model, signed, start_from

SMALL = {**CONFIG, "base_channels": 4, "latent_dim": 3, "encoder_energy_flow_hidden_size": 4,
         "decoder_energy_flow_hidden_size": 4}


def write_data(folder):
    random = np.random.default_rng(0)
    for name, frames in (("photo", 1), ("clip", 60)):
        np.save(folder / f"{name}.npy", random.integers(0, 256, (frames, 300, 280, 3), np.uint8))


def test_orthogonalised_matrices_have_singular_values_near_one():
    torch.manual_seed(1)
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


def grown(config, changes):
    """A model of random weights, and one that starts from it with `changes` to its config."""
    old, new = wfvae.from_config(config), wfvae.from_config({**config, **changes})
    with tempfile.TemporaryDirectory() as folder:
        save_file(old.state_dict(), Path(folder) / "model.safetensors")
        kept = {key: value for key, value in config.items() if key in CONFIG or key == "scale"}
        (Path(folder) / "config.json").write_text(json.dumps(kept))
        start_from(new, folder)
    return old, new


def test_new_blocks_change_nothing_at_first():
    torch.manual_seed(1)
    old, new = grown({**SMALL, "encoder_num_resblocks": 1, "decoder_num_resblocks": 2},
                     {"encoder_num_resblocks": 3, "decoder_num_resblocks": 3})
    video = torch.rand(1, 3, 5, 16, 24) * 2 - 1
    with torch.no_grad():
        (mean, _), (other, _) = old.encode(video), new.encode(video)
        assert torch.equal(mean, other) and torch.equal(old.decode(mean), new.decode(mean))


def test_the_latent_channels_that_vary_most_stay():
    torch.manual_seed(1)
    video = torch.rand(1, 3, 5, 16, 24) * 2 - 1
    with torch.no_grad():
        old, more = grown({**SMALL, "scale": [2.0, 0.5, 1.0]}, {"latent_dim": 5})
        for before, after in zip(old.encode(video), more.encode(video)):
            assert torch.allclose(before[:, [1, 2, 0]], after[:, :3], atol=1e-6)
        assert torch.allclose(old.decode(old.encode(video)[0]), more.decode(more.encode(video)[0]), atol=1e-5)
        old, fewer = grown({**SMALL, "scale": [2.0, 0.5, 1.0]}, {"latent_dim": 2})
        mean = old.encode(video)[0]
        assert torch.allclose(mean[:, [1, 2]], fewer.encode(video)[0], atol=1e-6)
        mean[:, 0] = 0
        assert torch.allclose(old.decode(mean), fewer.decode(fewer.encode(video)[0]), atol=1e-5)


def test_clips_are_pixels_and_repeat_with_the_seed():
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder))
        sources = load_sources(folder)
        first, again, other, more = (iter(Clips(sources, seed, batch)) for seed, batch in ((1, 1), (1, 1), (2, 1), (3, 2)))
        shapes, same = set(), 0
        for _ in range(40):
            a, b, c = next(first), next(again), next(other)
            assert torch.equal(a, b) and a.dtype == torch.uint8
            same += a.shape == c.shape and torch.equal(a, c)
            shapes.add(tuple(a.shape))
        assert same == 0
        assert shapes == {(n, 3, t, s, s) for _, n, t, s in Clips.SHAPES}, shapes
        assert tuple(next(more).shape) in {(2 * n, 3, t, s, s) for _, n, t, s in Clips.SHAPES}


def test_missing_data_say_what_to_do():
    with tempfile.TemporaryDirectory() as folder:
        pack = subprocess.run([sys.executable, Path(__file__).parent / "pack.py", "--data", folder], capture_output=True, text=True)
        assert pack.returncode and "run fetch_data.py first" in pack.stderr, pack
        write_data(Path(folder))
        (Path(folder) / "clip.npy").unlink()
        for bad in (folder, f"{folder}/none"):
            try:
                load_sources(bad)
            except FileNotFoundError as error:
                assert str(error).startswith(bad) and "fetch_data.py" in str(error)
            else:
                raise AssertionError(bad)


def test_packed_data_is_nearly_the_same():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        y, x = np.mgrid[:300, :320]
        smooth = np.stack([128 + 100 * np.sin(x / 20), 128 + 100 * np.cos(y / 30), (x + y) / 3], 2).astype(np.uint8)
        np.save(folder / "photo.npy", smooth[None])
        np.save(folder / "clip.npy", np.stack([np.roll(smooth, n, 1) for n in range(9)]))
        subprocess.run([sys.executable, Path(__file__).parent / "pack.py", "--data", folder, "--out", folder / "pack",
                        "--frames", "7"], check=True, capture_output=True)
        clip, photo = load_sources(folder / "pack")
        assert (clip.frames, photo.frames) == (7, 1)
        for source, name in ((clip, "clip"), (photo, "photo")):
            error = source.levels[0].numpy().astype(float) - np.load(folder / f"{name}.npy")[: source.frames]
            assert np.abs(error).mean() < 3, np.abs(error).mean()


def test_batches_are_used_again_mirrored():
    made = iter([torch.full((3, 3, 5, 4, 4), value, dtype=torch.uint8) for value in range(4)])
    batches = Batches(made, 3, torch.device("cpu"), 1)
    values = [next(batches).flatten(1).unique(dim=1) for _ in range(12)]
    assert all(v.shape == (3, 1) for v in values)
    for step, value in enumerate(values):
        if step % 3 == 0:
            assert (value == step // 3).all()
        assert (value <= step // 3).all()
    assert len(set(values[-1].flatten().tolist() + values[-2].flatten().tolist())) > 1
    batch = torch.arange(45, dtype=torch.uint8).view(1, 1, 5, 3, 3)
    batches, variants = Batches(iter([batch] * 20), 2, torch.device("cpu"), 1), [batch.flip(a) for a in ([], [2], [4], [2, 4])]
    again = [[torch.equal(b, v) for v in variants].index(True) for b in (next(batches) for _ in range(40))]
    assert again[::2] == [0] * 20 and set(again[1::2]) == {0, 1, 2, 3}


def test_fused_norms_are_norms():
    torch.manual_seed(4)
    plain = wfvae.activate
    fuse()
    try:
        for channels, shape in ((16, (5, 8, 6)), (16, (9, 4, 4)), (24, (5, 8, 6)), (16, (8, 6))):
            norm = wfvae.LayerNorm(channels)
            torch.nn.init.normal_(norm.norm.weight), torch.nn.init.normal_(norm.norm.bias)
            x = torch.randn(2, channels, *shape, requires_grad=True)
            along = torch.randn_like(x)
            results = []
            for autocast in (False, True):
                for leaf in (x, norm.norm.weight, norm.norm.bias):
                    leaf.grad = None
                with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                    y = wfvae.activate(norm, x)
                assert y.dtype == (torch.bfloat16 if autocast else torch.float32)
                (y.float() * along).sum().backward()
                results.append((y.detach().float(), x.grad, norm.norm.weight.grad, norm.norm.bias.grad))
            for a, b in zip(*results):
                assert (a - b).norm() < 1e-2 * a.norm(), (channels, shape, (a - b).norm() / a.norm())
        group = wfvae.make_norm("groupnorm", 32)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(wfvae.activate(group, x.repeat(1, 2, 1, 1)), plain(group, x.repeat(1, 2, 1, 1)))
    finally:
        wfvae.activate = plain


def test_steps_learn_and_the_saved_model_opens():
    torch.manual_seed(2)
    model = wfvae.from_config(SMALL)
    average = copy.deepcopy(model).requires_grad_(False)
    step = Step(model, average, Namespace(l1=0.1, kl=1e-4, wavelet=0.05, eager=False))
    clips = (torch.rand(2, 3, 5, 16, 16) * 26 + torch.tensor([191, 89, 140]).view(1, 3, 1, 1, 1)).byte()
    history = [float(step(clips, 5e-3, 0.1)[1]) for _ in range(40)]
    assert history[-1] > history[0] + 6, history[::10]
    other = Step(copy.deepcopy(model), average, step.options)
    other.load_state(copy.deepcopy(step.state()))
    torch.manual_seed(3), step(clips, 1e-3, 0.5)
    torch.manual_seed(3), other(clips, 1e-3, 0)
    assert all(torch.equal(a, b) for a, b in zip(step.weights, other.weights))
    clips = signed(clips)
    with torch.no_grad():
        error = lambda m: (m.decode(m.encode(clips)[0]) - clips).square().mean()
        assert error(average) < 2 * error(model)
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder))
        save_model(model, Path(folder) / "model", load_sources(folder), 1, torch.device("cpu"))
        opened = wfvae.load(Path(folder) / "model")
        assert len(opened.config["scale"]) == len(opened.config["shift"]) == SMALL["latent_dim"]
        with torch.no_grad():
            assert (opened.encode(clips)[0] - model.encode(clips)[0]).abs().max() < 0.05


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print(f"{name}: ok", flush=True)
