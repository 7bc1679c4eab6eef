"""Converts a PyTorch checkpoint of a training run to a folder that the library opens.

    convert.py CHECKPOINT.ckpt OUT_DIR [--config config.json] [--no-ema]

The weights may lie at the top, under state_dict, or under state_dict.gen_model, and in ema_state_dict; keys may carry
the prefixes of parallel training. EMA weights are taken where there are any; what they lack, such as buffers, comes
from the others. Types are kept, but for float64. A config.json beside the checkpoint is taken if none is named.
"""

import argparse
import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file

# Of DistributedDataParallel and torch.compile, in any order.
PREFIXES = ("module.", "_orig_mod.")
STORED = (torch.float32, torch.float16, torch.bfloat16)


class Refused(Exception):
    pass


def load(path):
    try:
        path.open("rb").close()
    except OSError as e:
        raise Refused(f"{path}: {e.strerror}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:
        # torch raises many types. One line says what it met, where others advise to run code from the file.
        lines = (str(e) or type(e).__name__).splitlines()
        reason = next((line.strip() for line in lines if "Unpickler error" in line), lines[0])
        raise Refused(
            f"{path}: torch.load(weights_only=True) refuses it: {reason}\n"
            "It is damaged, or holds Python objects besides tensors, which could run any code. Only if you trust who "
            "made it: load it with weights_only=False, torch.save() its state_dict alone, and convert that."
        )


def plain(key):
    while key.startswith(PREFIXES):
        key = key.split(".", 1)[1]
    return key


def tensors(weights):
    """A state dict with plain keys, or {}."""
    if not isinstance(weights, dict):
        return {}
    return {plain(k): v for k, v in weights.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}


def select(checkpoint, use_ema):
    """The weights of the model, and where they were."""
    if not isinstance(checkpoint, dict):
        raise Refused(f"found a {type(checkpoint).__name__}, expected a dictionary of weights")
    weights, place = checkpoint, "top level"
    for name in ("state_dict", "gen_model"):
        if isinstance(weights.get(name), dict):
            weights = weights[name]
            place = name if place == "top level" else f"{place}.{name}"
    weights = tensors(weights)
    ema = tensors(checkpoint.get("ema_state_dict")) if use_ema else {}
    if ema:
        weights, place = {**weights, **ema}, "ema_state_dict"
    if not any(key.startswith("encoder.") for key in weights) or not any(key.startswith("decoder.") for key in weights):
        keys = ", ".join(map(str, list(weights or checkpoint)[:5]))
        raise Refused(f"found no weights of a WF-VAE, encoder.* and decoder.*; the first keys are: {keys}")
    return weights, place


def convert(checkpoint, folder, config=None, use_ema=True):
    checkpoint, folder = pathlib.Path(checkpoint), pathlib.Path(folder)
    output = folder / "model.safetensors"
    if config is None and (checkpoint.parent / "config.json").is_file():
        config = checkpoint.parent / "config.json"
    if output.exists():
        raise Refused(f"{output}: exists; remove it, or name another folder")
    if config is not None:
        try:
            json.loads(pathlib.Path(config).read_text())
        except (OSError, ValueError) as e:
            raise Refused(f"{config}: {e}")
    try:
        weights, place = select(load(checkpoint), use_ema)
    except Refused as e:
        text = str(e)
        raise Refused(text if text.startswith(str(checkpoint)) else f"{checkpoint}: {text}")

    kept, notes = {}, []
    for key, value in weights.items():
        if not value.is_floating_point():
            notes.append(f"{key}: {value.dtype}, left out")
            continue
        if value.dtype not in STORED:
            notes.append(f"{key}: {value.dtype}, stored as float32")
            value = value.float()
        # Copies, because safetensors refuses tensors that share memory.
        kept[key] = value.detach().clone().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(kept, output)
    target = folder / "config.json"
    if config is not None and not (target.exists() and target.samefile(config)):
        shutil.copyfile(config, target)
    for note in notes:
        print(note)
    print(f"{output}: {len(kept)} tensors of {place}")
    if not target.exists():
        print(f"{target} is missing: put the model's config there before you open the folder")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("folder")
    parser.add_argument("--config", help="the model's config.json, which is copied")
    parser.add_argument("--no-ema", action="store_true", help="the last weights instead of their moving average")
    arguments = parser.parse_args()
    try:
        convert(arguments.checkpoint, arguments.folder, arguments.config, not arguments.no_ema)
    except (Refused, OSError) as e:
        sys.exit(f"convert.py: {e}")


if __name__ == "__main__":
    main()
