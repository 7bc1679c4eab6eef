#!/usr/bin/env python3
"""check_golden.py DIR...: runs the PyTorch model on every case folder in DIR (or DIR itself) and checks its tolerances.

A case is a folder with config.json, weights in *.safetensors, and io.safetensors.
"""
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

import wfvae

LIMITS = {"mean": 1e-5, "logvar": 1e-5, "decoded": 5e-5}


def main():
    torch.set_num_threads(1)
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folders = [f for d in map(Path, sys.argv[1:]) for f in [d, *sorted(d.iterdir())] if (f / "io.safetensors").exists()]
    bad = 0
    for folder in folders:
        if not (folder / "config.json").exists():
            print(f"{folder.name:24} skipped: no config.json (its model lives elsewhere)")
            continue
        io = load_file(folder / "io.safetensors")
        model = wfvae.load(folder)
        with torch.inference_mode():
            mean, logvar = model.encode(io["video"])
            got = {"mean": mean, "logvar": logvar, "decoded": model.decode(io["z"])}
        errors = {k: (v - io[k]).abs().max().item() for k, v in got.items()}
        ok = all(errors[k] <= LIMITS[k] for k in LIMITS)  # NaN compares false
        bad += not ok
        print(f"{folder.name:24}", " ".join(f"{k} {e:.2e}" for k, e in errors.items()), "ok" if ok else "FAILED")
    if bad or not folders:
        sys.exit(f"{bad} of {len(folders)} cases failed" if folders else "no case found")


if __name__ == "__main__":
    main()
