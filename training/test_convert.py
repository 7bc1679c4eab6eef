"""Tests convert.py with checkpoints made of a golden case: test_convert.py. Needs torch."""

import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file

HERE = pathlib.Path(__file__).parent
CASE = HERE.parent / "tests/golden/v1-tiny"


def convert(*arguments):
    command = [sys.executable, HERE / "convert.py", *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.returncode, result.stdout + result.stderr


def main():
    weights = load_file(CASE / "model.safetensors")
    other = {k: v + 1 for k, v in weights.items()}
    buffers = [k for k in weights if "wavelet" in k]
    assert buffers
    ema = {k: v for k, v in weights.items() if k not in buffers}
    prefixed = lambda tensors, prefix: {prefix + k: v for k, v in tensors.items()}
    nested = lambda gen, **more: {"epoch": 3, "optimizer_state": {"a": torch.ones(2)}, "state_dict": gen, **more}
    mixed = {**other, **{k: weights[k] for k in buffers}}
    half = {k: v.half() for k, v in weights.items()}
    bias = "decoder.norm_out.norm.bias"
    more = {**weights, "decoder.steps": torch.tensor(7), bias: weights[bias].double()}
    parallel = {"gen_model": prefixed(weights, "module."), "dics_model": {"x": torch.ones(1)}}
    averaged = nested({"gen_model": prefixed(mixed, "module.")}, ema_state_dict=prefixed(ema, "module."))
    cases = {
        "plain": (weights, [], weights),
        "state_dict": (nested(weights), [], weights),
        "gen_model": (nested(parallel), [], weights),
        "compiled": (nested(prefixed(weights, "module._orig_mod.")), [], weights),
        # The average has no buffers; they come from the rest.
        "ema": (averaged, [], weights),
        "no-ema": (nested({"gen_model": mixed}, ema_state_dict=ema), ["--no-ema"], mixed),
        "empty-ema": (nested({"gen_model": weights}, ema_state_dict={}), [], weights),
        "half": (half, [], half),
        "types": (more, [], weights),
    }
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, (checkpoint, arguments, expected) in cases.items():
            path, out = folder / f"{name}.ckpt", folder / name
            torch.save(checkpoint, path)
            status, text = convert(path, out, "--config", CASE / "config.json", *arguments)
            assert status == 0, text
            found = load_file(out / "model.safetensors")
            assert found.keys() == expected.keys(), name
            assert all(found[k].dtype == v.dtype and torch.equal(found[k], v) for k, v in expected.items()), name
            assert (out / "config.json").read_bytes() == (CASE / "config.json").read_bytes()
            print(f"ok {name}")
        assert "decoder.steps: torch.int64, left out" in text and "torch.float64, stored as float32" in text

        status, text = convert(folder / "plain.ckpt", folder / "no-config")
        assert status == 0 and "config.json is missing" in text, text
        (folder / "config.json").write_text((CASE / "config.json").read_text())
        status, text = convert(folder / "plain.ckpt", folder / "config-beside")
        assert status == 0 and (folder / "config-beside/config.json").exists(), text

        torch.save({"state_dict": weights, "args": pathlib.Path("x")}, folder / "objects.ckpt")
        torch.save({"state_dict": {"head.weight": torch.ones(1)}}, folder / "other.ckpt")
        torch.save([1, 2], folder / "list.ckpt")
        (folder / "cut.ckpt").write_bytes((folder / "plain.ckpt").read_bytes()[:5000])
        refused = {
            "objects.ckpt": "PosixPath",
            "cut.ckpt": "torch.load(weights_only=True) refuses it",
            "other.ckpt": "found no weights of a WF-VAE, encoder.* and decoder.*; the first keys are: head.weight",
            "list.ckpt": "found a list, expected a dictionary",
            "none.ckpt": "No such file",
        }
        for name, expected in refused.items():
            status, text = convert(folder / name, folder / "refused")
            assert status == 1 and name in text and expected in text and "Traceback" not in text, text
            assert not (folder / "refused").exists()
            print(f"ok refused: {name}")
        status, text = convert(folder / "plain.ckpt", folder / "plain")
        assert status == 1 and "exists; remove it" in text, text
        status, text = convert(folder / "plain.ckpt", folder / "bad-config", "--config", folder / "cut.ckpt")
        assert status == 1 and "cut.ckpt" in text and not (folder / "bad-config").exists(), text
    print("passed")


if __name__ == "__main__":
    main()
