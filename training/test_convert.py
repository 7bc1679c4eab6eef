"""Tests convert.py with checkpoints made of golden cases: test_convert.py. Needs numpy and safetensors; the checkpoints that
torch.save() writes are tested where torch is there.

Where target/release has the library, convert.py opens every result with it.
"""

import contextlib
import inspect
import io
import json
import os
import pathlib
import resource
import shutil
import struct
import subprocess
import sys
import tempfile

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

try:
    import torch
except ImportError:
    torch = None

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parent / "tests/golden"
CASE = GOLDEN / "v1-tiny"
CONFIG = CASE / "config.json"
# Of the model that the tests convert.
WEIGHTS = load_file(CASE / "model.safetensors")
OTHER = {key: value + 1 if "wavelet" not in key else value for key, value in WEIGHTS.items()}
BUFFERS = [key for key in WEIGHTS if "wavelet" in key]
HEAD = "decoder.norm_out.norm.bias"
NO_WEIGHTS = "expected encoder.* and decoder.*; the first keys are: "


def run(*arguments, script=HERE / "convert.py", here=False, **more):
    """Status and output; `here`: in this process, which has imported torch already."""
    if here:
        return run_here(arguments)
    result = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, timeout=300, **more)
    return result.returncode, result.stdout + result.stderr


def run_here(arguments):
    sys.path.insert(0, str(HERE))
    import convert

    output, argv = io.StringIO(), sys.argv
    sys.argv = ["convert.py", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(output):
            convert.main()
    except SystemExit as e:
        return (1, str(e.code)) if e.code else (0, output.getvalue())
    finally:
        sys.argv = argv
    return 0, output.getvalue()


def check_weights(folder, expected, name):
    with (folder / "model.safetensors").open("rb") as file:
        assert struct.unpack("<Q", file.read(8))[0] % 8 == 0, f"{name}: numbers that are not aligned"
    with safe_open(folder / "model.safetensors", framework="np") as file:
        assert set(file.keys()) == set(expected), f"{name}: {set(file.keys()) ^ set(expected)}"
        for key, value in expected.items():
            found = file.get_tensor(key)
            assert found.dtype == value.dtype and np.array_equal(found, value), f"{name}: {key}"


def converts(name, path, folder, expected, *arguments, says=(), config=CONFIG, **more):
    status, text = run(path, folder, "--config", config, *arguments, **more)
    assert status == 0 and all(part in text for part in says), f"{name}: {text}"
    check_weights(folder, expected, name)
    assert (folder / "config.json").read_bytes() == config.read_bytes()
    assert sorted(entry.name for entry in folder.iterdir()) == ["config.json", "model.safetensors"], name
    print(f"ok {name}")


def refuses(name, path, folder, *arguments, says, config=CONFIG, **more):
    """Nothing in the folder is changed, and none is made."""
    look = lambda: {e.name: (e.is_symlink(), e.read_bytes() if e.is_file() else None) for e in folder.iterdir()} if folder.exists() else None
    before, beside = look(), set(folder.parent.iterdir())
    status, text = run(path, folder, *(["--config", config] if config else []), *arguments, **more)
    assert status == 1 and all(part in text for part in says) and "Traceback" not in text, f"{name}: {text}"
    assert look() == before and set(folder.parent.iterdir()) == beside, name
    print(f"ok refused: {name}")


def renamed(weights, rename):
    return {rename(key): value for key, value in weights.items()}


def prefixed(weights, prefix):
    return renamed(weights, lambda key: prefix + key)


def without_dots(weights):
    return renamed(weights, lambda key: "model_ema." + key.replace(".", ""))


def inside(wrapper):
    return lambda key: key.replace(".", f".{wrapper}.", 1)


def without_library(at):
    """A folder with convert.py as if the library were not built: numpy's check stands in."""
    alone = at / "alone"
    alone.mkdir()
    for script in ("convert.py", "random_checkpoint.py"):
        shutil.copy(HERE / script, alone)
    return alone


def test_safetensors(at):
    """What can be in a state dict, without torch."""
    double = {key: value.astype(np.float64) for key, value in WEIGHTS.items()}
    half = {key: value.astype(np.float16) for key, value in WEIGHTS.items()}
    more = {"loss.logvar": np.ones(1, np.float32), "loss.disc.bn.num_batches_tracked": np.zeros(1, np.int64)}
    average = lambda weights: {key: value for key, value in weights.items() if key not in BUFFERS}
    vae = prefixed(WEIGHTS, "vae.")
    cases = {
        "plain": (WEIGHTS, WEIGHTS, []),
        "half": (half, half, []),
        "double": (double, WEIGHTS, ["float64, stored as float32"]),
        "integers": ({**WEIGHTS, "decoder.steps": np.ones(1, np.int64)}, WEIGHTS, ["decoder.steps: I64, left out"]),
        "other networks": ({**WEIGHTS, **more}, WEIGHTS, []),
        "module": (prefixed(WEIGHTS, "module."), WEIGHTS, []),
        "compiled": (renamed(WEIGHTS, inside("_orig_mod")), WEIGHTS, []),
        "checkpointed": (renamed(WEIGHTS, lambda k: k.replace(".mid.0.", ".mid.0._checkpoint_wrapped_module.")), WEIGHTS, []),
        "fsdp": (prefixed(renamed(WEIGHTS, inside("_fsdp_wrapped_module")), "_fsdp_wrapped_module.module._orig_mod."), WEIGHTS, []),
        "lightning": ({**vae, **more}, WEIGHTS, ["the prefix vae. is dropped"]),
        "first stage": (prefixed(WEIGHTS, "module.first_stage_model."), WEIGHTS, ["the prefix first_stage_model. is dropped"]),
        "text encoder": ({**vae, "text_encoder.encoder.x": np.ones(1, np.float32)}, WEIGHTS, ["vae. is dropped"]),
        "average alone": (prefixed(WEIGHTS, "ema."), WEIGHTS, ["the prefix ema. is dropped"]),
        "average beside": ({**OTHER, **prefixed(average(WEIGHTS), "ema.")}, WEIGHTS, ["tensors of ema"]),
        "LitEma": ({**prefixed(OTHER, "vae."), **without_dots(average(WEIGHTS)), "model_ema.decay": np.ones(1, np.float32)}, WEIGHTS,
                   ["tensors of model_ema"]),
        "AveragedModel": ({**prefixed(WEIGHTS, "module."), "n_averaged": np.ones(1, np.int64)}, WEIGHTS, []),
    }
    for half in ("encoder", "decoder"):
        tensors = {key: value for key, value in WEIGHTS.items() if key.startswith(half)}
        cases[f"{half} alone"] = (tensors, tensors, [f"the {half} alone"])
        newer = {key: value for key, value in OTHER.items() if key in tensors}
        both = {**prefixed(newer, "vae."), **prefixed(average(tensors), "ema.vae.")}
        cases[f"an average of the {half}"] = (both, tensors, [f"the {half} alone", "tensors of ema"])
    # The prefix that is none, though the name has the half twice.
    cases["encoder of an encoder"] = ({**WEIGHTS, "encoder.encoder.steps": np.ones(1, np.int64)}, WEIGHTS, ["left out"])
    for name, (tensors, expected, says) in cases.items():
        path = at / f"{name}.safetensors"
        save_file(tensors, path)
        converts(name, path, at / name, expected, says=says)
    converts("no-ema", at / "average beside.safetensors", at / "last", OTHER, "--no-ema")

    strange = {"model_ema.w": np.ones(4, np.float32)}
    refused = {
        "an average that is not understood": ({**WEIGHTS, **strange}, ["model_ema", "not understood; --no-ema takes"]),
        "an average of a part": ({**WEIGHTS, **prefixed({k: v for k, v in WEIGHTS.items() if "mid" in k}, "ema.")},
                                 ["ema: an average of a part of the weights", "--no-ema takes"]),
        "an average of another shape": ({**WEIGHTS, **prefixed({**OTHER, HEAD: np.ones(5, np.float32)}, "ema.")},
                                        ["ema: an average of another network", HEAD, "--no-ema takes"]),
        "two averages": ({**WEIGHTS, **prefixed(OTHER, "ema."), **prefixed(OTHER, "ema_slow.")}, ["several averages", "ema, ema_slow"]),
        "two networks": ({**vae, **prefixed(OTHER, "teacher.")}, ["several networks", "teacher., vae."]),
        "one name twice": ({**WEIGHTS, **prefixed(OTHER, "module.")}, ["are one name without wrappers"]),
        "no weights": ({"head.weight": np.ones(1, np.float32)}, [NO_WEIGHTS + "head.weight"]),
        "two networks in the average": ({**WEIGHTS, **prefixed(OTHER, "ema.a."), **prefixed(OTHER, "ema.b.")},
                                        ["ema: several networks", "a., b.", "--no-ema takes"]),
        "a part of one half": ({k: v for k, v in WEIGHTS.items() if k.startswith("decoder") and k != HEAD}, [HEAD, "missing"]),
        "a layer less": ({k: v for k, v in WEIGHTS.items() if k != HEAD}, [HEAD, "missing"]),
        "a layer more": ({**WEIGHTS, "decoder.x": np.ones(1, np.float32)}, ["decoder.x"]),
        "another shape": ({**WEIGHTS, HEAD: np.ones(5, np.float32)}, [HEAD, "shape"]),
    }
    alone = without_library(at)
    for name, (tensors, says) in refused.items():
        path = at / f"{name}.safetensors"
        save_file(tensors, path)
        for script in (HERE / "convert.py", alone / "convert.py"):
            refuses(name, path, at / "refused", says=says, script=script)
    save_file({**WEIGHTS, **strange}, at / "strange.safetensors")
    converts("not understood, no-ema", at / "strange.safetensors", at / "strange", WEIGHTS, "--no-ema")
    refuses("an average alone, no-ema", at / "average alone.safetensors", at / "refused", "--no-ema", says=["leave --no-ema out"])
    status, text = run(at / "plain.safetensors", at / "by names", "--config", CONFIG, script=alone / "convert.py")
    assert status == 0 and "names and shapes as in its config.json" in text, text
    for name, fields in {"many": {"encoder_num_resblocks": 10**12}, "wrong": {"base_channels": {}, "mid_layers_type": [7]}}.items():
        config = at / f"{name}.json"
        config.write_text(json.dumps(json.loads(CONFIG.read_text()) | fields))
        refuses(f"{name}, by names", at / "plain.safetensors", at / "refused", config=config, script=alone / "convert.py",
                says=["config.json: it describes more than" if name == "many" else "config.json: unsupported operand"])
    refuses("another library", at / "plain.safetensors", at / "refused", "--library", CONFIG, says=["config.json", "invalid ELF"])

    status, text = run(at / "decoder alone.safetensors", at / "half by names", "--config", CONFIG, script=alone / "convert.py")
    assert status == 0 and "names and shapes as in its config.json" in text, text

    # bfloat16, which numpy does not have, comes through as it is.
    bf16 = GOLDEN / "own-bf16"
    status, text = run(bf16 / "model.safetensors", at / "bf16")
    assert status == 0, text
    with safe_open(at / "bf16/model.safetensors", "np") as new, safe_open(bf16 / "model.safetensors", "np") as old:
        types = lambda file: {key: file.get_slice(key).get_dtype() for key in file.keys()}
        assert types(new) == types(old) and "BF16" in types(new).values()
    print("ok bf16")
    # A config that does not say how many layers the side branches have.
    config = json.loads(CONFIG.read_text())
    del config["connect_res_layer_num"]
    (at / "short.json").write_text("\ufeff" + json.dumps(config))
    status, text = run(at / "plain.safetensors", at / "short", "--config", at / "short.json", script=alone / "convert.py")
    assert status == 0, text


def test_shards(at):
    keys = sorted(WEIGHTS)
    names = ["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"]
    map_ = {key: names[i % 2] for i, key in enumerate(keys)}
    index = at / "m.safetensors.index.json"
    for name in names:
        save_file({key: WEIGHTS[key] for key in keys if map_[key] == name}, at / name)
    index.write_text(json.dumps({"metadata": {}, "weight_map": map_}))
    converts("an index of shards", index, at / "of index", WEIGHTS)
    refuses("one shard", at / names[0], at / "refused", says=["one of 2 shards", "*.index.json"])
    for name, text, says in [
        ("a config", CONFIG.read_text(), 'without a "weight_map"'),
        ("no JSON", "weight_map:", "not JSON"),
        ("a shard elsewhere", json.dumps({"weight_map": {keys[0]: f"../{names[0]}"}}), 'without a "weight_map"'),
        ("a shard that is not there", json.dumps({"weight_map": map_ | {keys[0]: "m-3.safetensors"}}), "m-3.safetensors: No such file"),
        ("an index in an index", json.dumps({"weight_map": {keys[0]: "bad.index.json"}}), "bad.index.json: an index, expected a file"),
        ("a name with a NUL", json.dumps({"weight_map": {keys[0]: "m\0"}}), "no file can have this name"),
        ("half a character", json.dumps({"weight_map": {keys[0]: "m\ud800"}}), "no file can have this name"),
        ("brackets in brackets", "[" * 100_000, "not JSON: too many brackets"),
        ("a tensor that is not there", json.dumps({"weight_map": map_ | {"encoder.x": names[0]}}), "names encoder.x, which no shard"),
    ]:
        (at / "bad.index.json").write_text(text)
        refuses(name, at / "bad.index.json", at / "refused", says=["bad.index.json", says])
    os.mkfifo(at / "pipe")
    refuses("a pipe", at / "pipe", at / "refused", says=["pipe: not a file"])


def test_choice(at):
    """What torch.save() would hold, without torch."""
    sys.path.insert(0, str(HERE))
    import convert

    def tensors(weights, **more):
        return {key: convert.Tensor("F32", value.shape, value.tobytes) for key, value in weights.items()} | more

    last, other = tensors(WEIGHTS), tensors(OTHER)
    parameters = [value for key, value in other.items() if key not in BUFFERS]
    is_other = lambda weights: weights[HEAD] is other[HEAD]
    for name, checkpoint, place, others in [
        ("a teacher", {"model": last, "teacher": other}, "model", ["teacher"]),
        ("a target network in one dictionary", {**last, **prefixed(other, "target.module.")}, "top level", ["target"]),
        ("the best so far", {"epoch": 3, "state_dict": last, "kept": {"best": other}}, "state_dict", ["kept.best"]),
    ]:
        weights, where, _, left_out = convert.select(checkpoint, True)
        assert (where, left_out, is_other(weights)) == (place, others, False), (name, where, left_out)
    for name, checkpoint, place in [
        ("an average in the optimizer", {"state_dict": last, "optimizer_states": [{"opt": {}, "ema": parameters}]}, "optimizer_states.0.ema"),
        ("an average beside", {"model": last, "ema": {"module": other}}, "ema"),
    ]:
        weights, where, _, left_out = convert.select(checkpoint, True)
        assert (where, left_out, is_other(weights)) == (place, [], True), (name, where, left_out)
        assert not is_other(convert.select(checkpoint, False)[0]), name
    gradients = {"state": {0: {"exp_avg": parameters[0], "exp_avg_sq": parameters[0]}}}
    assert convert.select({"model": last, "optimizer": gradients}, True)[1] == "model"
    print("ok similar networks and averages")


def test_library(at):
    """What the library says of the result."""
    path = at / "weights.safetensors"
    save_file(WEIGHTS, path)
    for status in (0, 202, 300, 303, 401, 900):
        library = at / f"lib{status}.so"
        (at / "stub.c").write_text(
            f'int wfvae_model_open(void) {{ return {status}; }}\n'
            'const char *wfvae_last_error(void) { return "as the stub says"; }\nvoid wfvae_model_close(void) {}\n')
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", library, at / "stub.c"], check=True)
        name, folder, arguments = f"status {status}", at / str(status), ("--library", library)
        if status in (0, 300, 303):
            converts(name, path, folder, WEIGHTS, *arguments, says=[f"{'files checked' if status else 'opened'} by {library}"])
        else:
            refuses(name, path, folder, *arguments, says=["libwfvae refuses the result: as the stub says"])
    named = {**os.environ, "WFVAE_LIBRARY": str(at / "lib0.so")}
    converts("WFVAE_LIBRARY", path, at / "by variable", WEIGHTS, says=[f"opened by {at / 'lib0.so'}"], env=named)
    if not (HERE.parent / "target/release/libwfvae.so").exists():
        print("skipped: what the library itself says, because it is not built")
        return
    broken = {key: value.copy() for key, value in WEIGHTS.items() if key not in BUFFERS}
    broken[HEAD][1] = np.nan
    save_file({**WEIGHTS, **prefixed(broken, "ema.")}, path)
    refuses("an average that is not finite", path, at / "refused", says=[HEAD, "element 1 is NaN"])
    fields = {**json.loads(CONFIG.read_text()), "a_note": "of the run"}
    (at / "more.json").write_text(json.dumps(fields))
    status, text = run(path, at / "warned", "--config", at / "more.json", "--no-ema")
    assert status == 0 and "warning: " in text and "a_note" in text, text


def test_files(at):
    """What the folder holds, and what is wrong with the input."""
    path = at / "last.safetensors"
    save_file(OTHER, path)
    for name in ("model.safetensors", "diffusion_pytorch_model.safetensors", "odd.safetensors", "model.fp16.safetensors",
                 "diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.fp16.json"):
        folder = at / f"with {name}"
        folder.mkdir()
        shutil.copy(CONFIG, folder)
        (folder / name).write_text("of another model")
        refuses(f"a folder with {name}", path, folder, says=[name, "exists, and the library could open it instead"])
    pipeline = at / "pipeline"
    (pipeline / "vae").mkdir(parents=True)
    shutil.copy(CONFIG, pipeline / "vae")
    (pipeline / "model_index.json").write_text("{}")
    refuses("a pipeline", path, pipeline, says=["vae", "exists, and the library would open it instead"])

    # A config that is there is kept, whatever its spaces; another one is not replaced.
    fields = json.loads(CONFIG.read_text())
    kept = at / "kept"
    kept.mkdir()
    (kept / "config.json").write_text(json.dumps(fields))
    (kept / "log.txt").write_text("of the run")
    before = (kept / "config.json").read_bytes()
    other = at / "other.json"
    other.write_text(json.dumps({**fields, "scale": [2.0]}))
    refuses("another config", path, kept, config=other, says=["config.json: exists and differs from", "other.json"])
    status, text = run(path, kept, "--config", CONFIG)
    assert status == 0 and (kept / "config.json").read_bytes() == before, text
    check_weights(kept, OTHER, "kept")
    # Of a run, beside the checkpoint: the folder's own comes first.
    run_folder, own = at / "run", at / "own"
    run_folder.mkdir(), own.mkdir()
    shutil.copy(path, run_folder / "last.safetensors")
    (run_folder / "config.json").write_text('{"learning_rate": 1e-5, "_class_name": "WFVAEModel"}')
    shutil.copy(CONFIG, own)
    refuses("the config of a run", run_folder / "last.safetensors", at / "refused", config=None, says=["last.safetensors"])
    status, text = run(run_folder / "last.safetensors", own)
    assert status == 0 and (own / "config.json").read_bytes() == CONFIG.read_bytes(), text
    refuses("no config", path, at / "refused", config=None, says=["no config.json", "--config"])
    refuses("a config that is none", path, at / "refused", config=path, says=["last.safetensors: "])

    # Links are not followed: blobs of a cache keep what their names say.
    blob, links = at / "blob", at / "links"
    blob.write_bytes(CONFIG.read_bytes())
    links.mkdir()
    (links / "config.json").symlink_to(blob)
    refuses("a linked config", path, links, config=other, says=["exists and differs"])
    (links / "model.safetensors").symlink_to(at / "nowhere")
    refuses("linked weights", path, links, says=["model.safetensors: exists"])
    (links / "model.safetensors").unlink()
    status, text = run(path, links, "--config", CONFIG)
    assert status == 0 and blob.read_bytes() == CONFIG.read_bytes() and not (at / "nowhere").exists(), text
    dangling = at / "dangling"
    dangling.mkdir()
    (dangling / "config.json").symlink_to(at / "nowhere")
    status, text = run(path, dangling, "--config", CONFIG)
    assert status == 0 and not (dangling / "config.json").is_symlink() and not (at / "nowhere").exists(), text
    (at / "to nothing").symlink_to(at / "nowhere")
    refuses("a folder that is a link to nothing", path, at / "to nothing", says=["leads nowhere"])
    print("ok links")

    for umask in (0o022, 0o077, 0o002):
        folder = at / f"{umask:o}"
        status, text = run(path, folder, "--config", CONFIG, preexec_fn=lambda: os.umask(umask))
        modes = [entry.stat().st_mode & 0o777 for entry in (folder, *sorted(folder.iterdir()))]
        assert status == 0 and modes == [0o777 & ~umask, 0o666 & ~umask, 0o666 & ~umask], (text, modes)
    print("ok modes")

    # A disk that is full: nothing is left, neither beside nor in the folder.
    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    empty = at / "empty"
    empty.mkdir()
    for folder in (at / "refused", empty):
        refuses(f"a full disk, {folder.name}", path, folder, says=["too large"], preexec_fn=full)

    whole = path.read_bytes()
    damaged = {
        "cut.safetensors": (whole[:-1], "truncated or damaged: tensor"),
        "short.safetensors": (whole[:100], "truncated, or not safetensors: the header is"),
        "few.safetensors": (b"abc", "truncated, or not safetensors"),
        "empty.ckpt": (b"", "the file is empty"),
        "lfs.ckpt": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer"),
        "page.ckpt": (b"\n<!DOCTYPE html>", "a text (HTML or XML) page"),
        "twice.safetensors": (whole.replace(b'"encoder.down1.1.conv1.bias"', b'"encoder.down1.1.conv2.bias"', 1), "is there twice"),
    }
    headers = {
        "list": ("[1]", "found a list, expected an object"),
        "brackets": ("[" * 100_000, "too many brackets in brackets"),
        "type": ('{"x":{"dtype":["F32"],"shape":[],"data_offsets":[0,0]}}', "tensor x does not fit the file"),
        "offsets": ('{"encoder.x":{"dtype":"F32","shape":[1],"data_offsets":[0.0,4.0]}}', "tensor encoder.x does not fit the file"),
        "shape": ('{"encoder.x":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', "tensor encoder.x does not fit the file"),
        "negative": ('{"encoder.x":{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}}', "tensor encoder.x does not fit the file"),
    }
    for name, (header, says) in headers.items():
        damaged[name + ".safetensors"] = (struct.pack("<Q", len(header)) + header.encode() + bytes(8), says)
    for name, (data, says) in damaged.items():
        (at / name).write_bytes(data)
        refuses(name, at / name, at / "refused", says=[name, says])
    refuses("none.ckpt", at / "none.ckpt", at / "refused", says=["none.ckpt: No such file"])
    refuses("a folder", at / "kept", at / "refused", says=["a folder; name a file in it", "dcp_to_torch"])
    # By its bytes, whatever its name.
    shutil.copy(path, at / "renamed.ckpt")
    converts("renamed.ckpt", at / "renamed.ckpt", at / "renamed", OTHER)
    if torch is None:
        (at / "pickle.ckpt").write_bytes(b"PK\x03\x04")
        refuses("without torch", at / "pickle.ckpt", at / "refused", says=["pip install torch"])


def test_placing(at):
    """The folder's own state, whatever happens between the first look at it and the last."""
    sys.path.insert(0, str(HERE))
    import convert

    stage, folder = at / "stage", at / "folder"
    stage.mkdir(), folder.mkdir()
    (stage / "config.json").write_bytes(CONFIG.read_bytes())
    try:
        convert.place(stage, folder)
        raise AssertionError("weights that are not there were placed")
    except FileNotFoundError:
        assert not any(folder.iterdir()), "a config without its weights"
    (stage / "config.json").write_bytes(CONFIG.read_bytes())
    (stage / "model.safetensors").write_text("new")
    (folder / "odd.safetensors").write_text("of another program")
    try:
        convert.place(stage, folder)
        raise AssertionError("weights were placed beside others")
    except convert.Refused:
        assert [entry.name for entry in folder.iterdir()] == ["odd.safetensors"]
    print("ok a folder that changed meanwhile")

    cut = convert.Tensor("F32", (2,), lambda: bytes(4))
    try:
        list(convert.safetensors({"x": cut}))
        raise AssertionError("half a tensor was written")
    except convert.Refused as e:
        assert "changed meanwhile" in str(e)
    print("ok a checkpoint that was cut meanwhile")

    path, synced, fsync = at / "weights.safetensors", set(), os.fsync
    save_file(WEIGHTS, path)
    (at / "there").mkdir()
    for name in ("new", "there"):
        synced.clear()
        os.fsync = lambda handle: (synced.add(os.fstat(handle).st_ino), fsync(handle))
        try:
            convert.convert(path, at / name, CONFIG)
        finally:
            os.fsync = fsync
        places = [at / name / "config.json", at / name / "model.safetensors", at / name, at]
        assert {place.stat().st_ino for place in places} <= synced, name
    print("ok on the disk")
    # Renaming works on one file system only.
    converts("temporary files elsewhere", path, at / "elsewhere", WEIGHTS, env={**os.environ, "TMPDIR": "/dev/shm"})


def test_pickles(at):
    """What training programs write with torch.save()."""
    of = lambda weights: {key: torch.from_numpy(value.copy()) for key, value in weights.items()}
    weights, other = of(WEIGHTS), of(OTHER)
    trained = {key: value for key, value in weights.items() if key not in BUFFERS}
    mixed = {**of(OTHER), **{key: weights[key] for key in BUFFERS}}
    nested = lambda gen, **more: {"epoch": 3, "optimizer_state": {"a": torch.ones(2)}, "state_dict": gen, **more}
    parallel = {"gen_model": prefixed(weights, "module."), "dics_model": {"x": torch.ones(1)}}
    half = {key: value.half() for key, value in weights.items()}
    types = {**weights, "decoder.steps": torch.tensor(7), HEAD: weights[HEAD].double()}
    adam = {"optimizer_states": [{"state": {0: {"exp_avg": torch.ones(4)}}}]}
    shared = torch.cat([weights[HEAD], weights[HEAD]])
    cases = {
        "plain": (weights, [], WEIGHTS),
        "state_dict": (nested(weights), [], WEIGHTS),
        "gen_model": (nested(parallel), [], WEIGHTS),
        "compiled": (nested(prefixed(weights, "module._orig_mod.")), [], WEIGHTS),
        "model": ({"model": weights, "optimizer": {}}, [], WEIGHTS),
        "module": ({"module": prefixed(weights, "vae."), **adam}, [], WEIGHTS),
        "another name": ({"step": 3, "wfvae_state": {"weights_g": weights}, **adam}, [], WEIGHTS),
        "the usual name first": ({"current_model_state": other, "state_dict": weights}, [], WEIGHTS),
        "model of a state_dict": ({"model": {"state_dict": weights}}, [], WEIGHTS),
        # The average has no buffers; they come from the rest.
        "ema": (nested({"gen_model": prefixed(mixed, "module.")}, ema_state_dict=prefixed(trained, "module.")), [], WEIGHTS),
        "no-ema": (nested({"gen_model": other}, ema_state_dict=trained), ["--no-ema"], OTHER),
        "empty-ema": (nested({"gen_model": weights}, ema_state_dict={}), [], WEIGHTS),
        "shadow": (nested({"gen_model": other}, ema_state_dict={"decay": 0.9, "num_updates": 1, "shadow": trained}), [], WEIGHTS),
        "list": (nested({"gen_model": other}, ema_state_dict={"shadow_params": list(weights.values())}), [], WEIGHTS),
        "list of parameters": ({"state_dict": mixed, "ema": {"shadow_params": list(trained.values())}}, [], WEIGHTS),
        "ema at the top": ({"state_dict": other, "ema": weights}, [], WEIGHTS),
        "ema_model": ({"model": other, "ema_model": {"module": weights}}, [], WEIGHTS),
        "model_ema": ({"model": other, "model_ema": {"state_dict": prefixed(weights, "module.")}}, [], WEIGHTS),
        "litema": ({"state_dict": {**other, **without_dots(trained), "model_ema.decay": torch.tensor(0.9)}}, [], WEIGHTS),
        "swa": ({"model": other, "swa_model": {"n_averaged": torch.tensor(4), **prefixed(weights, "module.")}}, [], WEIGHTS),
        "averaged_model": ({"model": other, "averaged_model": prefixed(weights, "module.")}, [], WEIGHTS),
        "callback": ({"state_dict": other, "callbacks": {"EMACallback": {"ema_state_dict": weights}}, **adam}, [], WEIGHTS),
        "average alone": ({"ema": {"shadow": weights}}, [], WEIGHTS),
        "half": (half, [], {key: value.astype(np.float16) for key, value in WEIGHTS.items()}),
        "types": (types, [], WEIGHTS),
        "parameters": ({key: torch.nn.Parameter(value) for key, value in weights.items()}, [], WEIGHTS),
        "a view": ({**weights, HEAD: shared[len(shared) // 2:]}, [], WEIGHTS),
        "not contiguous": ({key: value.t().contiguous().t() if value.dim() == 2 else value for key, value in weights.items()}, [], WEIGHTS),
    }
    for name, (checkpoint, arguments, expected) in cases.items():
        path = at / f"{name}.ckpt"
        torch.save(checkpoint, path)
        says = {"types": ["decoder.steps: torch.int64, left out", "float64, stored as float32"]}.get(name, [])
        converts(f"{name}.ckpt", path, at / f"{name} of torch", expected, *arguments, says=says, here=True)
    torch.save(weights, at / "old.ckpt", _use_new_zipfile_serialization=False)
    converts("old.ckpt", at / "old.ckpt", at / "old of torch", WEIGHTS, here=True)

    torch.save({"state_dict": weights, "args": pathlib.Path("x")}, at / "objects.ckpt")
    torch.save({"state_dict": {"head.weight": torch.ones(1)}}, at / "other.ckpt")
    torch.save([1, 2], at / "list.ckpt")
    torch.save({"model": weights, "ema": {"shadow_params": list(weights.values())[::-1]}}, at / "reversed.ckpt")
    torch.save({"model": weights, "ema": {"weights": torch.ones(9)}}, at / "strange.ckpt")
    torch.save({"vae": weights, "model": {"teacher": other}}, at / "several.ckpt")
    (at / "cut.ckpt").write_bytes((at / "plain.ckpt").read_bytes()[:5000])
    refused = {
        "objects.ckpt": ["PosixPath", "weights_only=False"],
        "cut.ckpt": ["torch.load(weights_only=True) refuses it", "It is damaged"],
        "other.ckpt": [NO_WEIGHTS + "state_dict.head.weight"],
        "list.ckpt": ["found a list, expected a dictionary"],
        "reversed.ckpt": ["ema.shadow_params: a list of", "--no-ema takes the last weights"],
        "several.ckpt": ["weights of several networks", "vae, model.teacher"],
        "strange.ckpt": ["ema: named like an average", "--no-ema takes the last weights"],
    }
    for name, says in refused.items():
        refuses(name, at / name, at / "refused", says=[name, *says], here=True)
    status, text = run(at / "cut.ckpt", at / "refused", "--config", CONFIG)
    assert "weights_only=False" not in text, text


def test_causal(at):
    """A CausalVAE: more names than encoder.* and decoder.*, and its training's loss among them."""
    case = GOLDEN / "cv-legacy"
    config, alone = case / "config.json", without_library(at)
    weights = load_file(case / "model.safetensors")
    other = {key: value + 1 for key, value in weights.items()}
    loss = {"loss.logvar": np.ones(1, np.float32), "loss.discriminator.main.0.weight": np.ones((2, 3, 4, 4), np.float32)}
    ema = prefixed(weights, "ema.module.")
    halves = {half: {key: value for key, value in weights.items() if key.startswith(starts)}
              for half, starts in (("encoder", ("encoder.", "quant_conv.")), ("decoder", ("decoder.", "post_quant_conv.")))}
    cases = {
        "plain": (weights, weights, [], []),
        "loss": ({**weights, **loss}, weights, [], []),
        "a prefix": ({**prefixed(weights, "module.vae."), **loss}, weights, [], ["the prefix vae. is dropped"]),
        "compiled": (renamed(weights, inside("_orig_mod")), weights, [], []),
        "average": ({**other, **ema, **loss}, weights, [], ["tensors of ema"]),
        "no-ema": ({**other, **ema, **loss}, other, ["--no-ema"], []),
        **{f"{half} alone": (tensors, tensors, [], [f"the {half} alone"]) for half, tensors in halves.items()}}
    for name, (tensors, expected, arguments, says) in cases.items():
        path = at / f"{name}.safetensors"
        save_file(tensors, path)
        for place, script in ("", HERE), (" by names", alone):
            says = [*says, "names and shapes as in its config.json"] if place else says
            converts(f"CausalVAE, {name}{place}", path, at / (name + place), expected, *arguments, says=says, config=config,
                     script=script / "convert.py")

    first, last = "quant_conv.conv.bias", "post_quant_conv.conv.weight"
    without = lambda *keys: {key: value for key, value in weights.items() if key not in keys}
    refused = {
        "without quant_conv": (without(first), [first, "missing"]),
        "an encoder without quant_conv": ({k: v for k, v in halves["encoder"].items() if k != first}, [first, "missing"]),
        "an average without post_quant_conv": ({**weights, **prefixed(without(last), "ema.")}, ["a part of the weights", last]),
        "a layer more": ({**weights, "quant_conv.x": np.ones(1, np.float32)}, ["quant_conv.x"]),
        "another shape": ({**weights, first: np.ones(5, np.float16)}, [first, "shape"])}
    for name, (tensors, says) in refused.items():
        path = at / f"{name}.safetensors"
        save_file(tensors, path)
        for script in (HERE / "convert.py", alone / "convert.py"):
            refuses(f"CausalVAE, {name}", path, at / "refused", says=says, config=config, script=script)
    fields = json.loads(config.read_text())
    del fields["_class_name"]
    (at / "no-class.json").write_text(json.dumps(fields))
    for name, path in ("no class", at / "no-class.json"), ("another class", CONFIG):
        refuses(f"CausalVAE, {name}", at / "plain.safetensors", at / "refused", config=path, says=["of a CausalVAE", path.name])
    (at / "short.json").write_text(json.dumps({**fields, "_class_name": "CausalVAEModel", "decoder_spatial_upsample": [""]}))
    refuses("CausalVAE, a list too short", at / "plain.safetensors", at / "refused", config=at / "short.json",
            says=["decoder_spatial_upsample"], script=alone / "convert.py")

    if torch is None or "mmap" not in inspect.signature(torch.load).parameters:
        return
    of = lambda weights: {key: torch.from_numpy(value.copy()) for key, value in weights.items()}
    new, old, loss = of(weights), of(other), of(loss)
    gen = {"gen_model": prefixed(old, "module."), "dics_model": {"module.main.0.weight": torch.ones(1)}}
    checkpoints = {
        "ema": {"epoch": 1, "state_dict": gen, "ema_state_dict": prefixed(new, "module.")},
        "gen_model": {"epoch": 1, "state_dict": {**gen, "gen_model": prefixed(new, "module.")}, "ema_state_dict": {}},
        "lightning": {"state_dict": {**new, **loss}, "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(4)}}}]},
        "list of parameters": {"state_dict": {**old, **loss}, "ema": {"shadow_params": list(new.values())}}}
    for name, checkpoint in checkpoints.items():
        torch.save(checkpoint, at / f"{name}.ckpt")
        converts(f"CausalVAE, {name}.ckpt", at / f"{name}.ckpt", at / f"{name} of torch", weights, config=config, here=True)


def test_old_torch(at):
    """Before 2.1 the reader of weights alone does not know all that may lie beside them."""
    weights = {key: torch.from_numpy(value.copy()) for key, value in WEIGHTS.items()}
    torch.save({"state_dict": weights}, at / "plain.ckpt")
    converts("plain.ckpt, old torch", at / "plain.ckpt", at / "out", WEIGHTS, here=True)
    torch.save({"state_dict": weights, "rate": 0.1}, at / "float.ckpt")
    refuses("float.ckpt, old torch", at / "float.ckpt", at / "refused", says=["is too old for it: use 2.1 or newer"], here=True)


def main():
    with tempfile.TemporaryDirectory() as folder:
        for test in (test_safetensors, test_shards, test_choice, test_library, test_files, test_placing, test_causal,
                     test_pickles):
            at = pathlib.Path(folder) / test.__name__
            at.mkdir()
            if test is test_pickles and torch is None:
                print("skipped: checkpoints of torch.save(), because torch is not there")
            elif test is test_pickles and "mmap" not in inspect.signature(torch.load).parameters:
                test_old_torch(at)
                print("skipped: checkpoints of torch.save(), because torch is older than 2.1")
            else:
                test(at)
    print("passed")


if __name__ == "__main__":
    main()
