"""Converts the checkpoint of a training run to a folder that libwfvae opens.

    convert.py CHECKPOINT OUT_DIR [--config config.json] [--no-ema] [--library libwfvae.so]

CHECKPOINT is a file of torch.save() (needs torch, preferably 2.1 or newer), a .safetensors file (needs no torch), or the index
of shards. The weights may be at the top level or below state_dict, model, module, gen_model, vae and the like. The parts that
wrappers add to names are removed (module., _orig_mod., _checkpoint_wrapped_module., _fsdp_wrapped_module.), and so is one
prefix before encoder.* and decoder.*, and before a CausalVAE's quant_conv.* and post_quant_conv.*. A checkpoint may hold only
the encoder or only the decoder.

If there is an average of the weights (EMA), it is used; tensors that it lacks, such as buffers, come from the last weights. An
average of an unknown form is an error: --no-ema uses the last weights.

Types are kept, except float64, which becomes float32. Integers, and tensors of other names, such as a loss's, are left out. The
config is --config, else the one in OUT_DIR, else the one beside the checkpoint. If the library is found (--library,
WFVAE_LIBRARY, or target/release here), it must open the result before that is put in place; else names and shapes are compared
with the config, which needs numpy. Neither notices a wrong list of layers that have no weights, such as a CausalVAE's
TimeDownsample2x: take the run's own config.
"""

import argparse
import array
import ctypes
import inspect
import json
import math
import os
import pathlib
import re
import shutil
import struct
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent

WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module", "module")
# Where training programs keep the weights of a model; other places are looked into after these.
PLACES = ("state_dict", "model_state_dict", "model", "module", "gen_model", "generator", "vae", "autoencoder", "net",
          "network", "params", "weights")
# What a dictionary with an average keeps its weights under.
SHADOWS = ("shadow", "shadow_params", "state_dict", "model_state_dict", "model", "module", "ema_model", "gen_model", "params")
AVERAGE = re.compile(r"(?:^|[._])(?i:ema|shadow|avg|averaged?|swa|polyak)(?:[._\d]|$)|EMA|^(?:current_)?averaging_state$")
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
# What belongs to each; the convolutions between them are a CausalVAE's.
HALVES = {"encoder": ("encoder.", "quant_conv."), "decoder": ("decoder.", "post_quant_conv.")}
TAKE_LAST = "--no-ema takes the last weights"


class Refused(Exception):
    pass


class Tensor:
    """The name of the type as safetensors has it, the shape, and a function that gives the bytes."""

    def __init__(self, dtype, shape, data):
        self.dtype, self.shape, self.data = dtype, tuple(shape), data
        self.elements = math.prod(self.shape)

    def as_single(self):
        return Tensor("F32", self.shape, lambda: array.array("f", array.array("d", self.data())).tobytes())


# ---- reading ----


def parse(text, **options):
    """JSON. All that may be wrong with it is a ValueError; Python has another error for brackets in brackets."""
    try:
        return json.loads(text, **options)
    except RecursionError:
        raise ValueError("too many brackets in brackets")


def load(path, shard=False):
    """What a checkpoint holds: dictionaries and lists of Tensor, and other values. `shard`: its index named it."""
    if path.is_dir():
        raise Refused("a folder; name a file in it. What torch.distributed wrote in parts (*.distcp) becomes a file by: "
                      "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE")
    # Opening a pipe would wait for its writer.
    if path.exists() and not path.is_file():
        raise Refused("not a file: a checkpoint is read in several places; store it first")
    if not shard and (count := re.search(r"-\d{5}-of-(\d{5})\.", path.name)) and int(count[1]) > 1:
        raise Refused(f"one of {int(count[1])} shards: name the index (*.index.json) beside it")
    try:
        with path.open("rb") as file:
            start, size = file.read(4096), os.fstat(file.fileno()).st_size
    except OSError as e:
        raise Refused(e.strerror)
    except ValueError:  # a NUL in it, or half a character
        raise Refused("no file can have this name")
    if not start:
        raise Refused("the file is empty")
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        raise Refused("a Git LFS pointer, not the file itself: run `git lfs pull` in its folder, or download it again")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise Refused("a text (HTML or XML) page, not the file itself: the download failed")
    if path.suffix == ".json":
        if shard:
            raise Refused("an index, expected a file of weights")
        return load_index(path)
    is_pickle = start.startswith((b"PK\x03\x04", b"\x80\x02"))
    if start[8:9] == b"{" or (path.suffix == ".safetensors" and not is_pickle):
        return load_safetensors(path, size)
    return load_pickle(path)


def load_index(path):
    """The tensors of all shards, which lie beside their index."""
    try:
        index = parse(path.read_text(encoding="utf-8-sig"))
    except ValueError as e:
        raise Refused(f"not JSON: {e}")
    files = index.get("weight_map") if isinstance(index, dict) else None
    plain = isinstance(files, dict) and all(isinstance(name, str) and name == os.path.basename(name) for name in files.values())
    if not plain or not files:
        raise Refused('a JSON file without a "weight_map" that names files beside it: name the checkpoint itself')
    tensors = {}
    for name in sorted(set(files.values())):
        try:
            part = load(path.parent / name, shard=True)
        except Refused as e:
            raise Refused(f"{name}: {e}")
        if not isinstance(part, dict):
            raise Refused(f"{name}: found a {type(part).__name__}, expected a dictionary of weights")
        if twice := part.keys() & tensors.keys():
            raise Refused(f"{name}: {min(twice)} is in another shard as well")
        tensors.update(part)
    if missing := files.keys() - tensors.keys():
        raise Refused(f"names {min(missing)}, which no shard holds")
    return tensors


def load_safetensors(path, size):
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            raise Refused(f"truncated, or not safetensors: the header is {length} bytes, {max(size - 8, 0)} are there")
        try:
            header = parse(file.read(length), object_pairs_hook=unique)
            if not isinstance(header, dict):
                raise ValueError(f"found a {type(header).__name__}, expected an object")
        except ValueError as e:
            raise Refused(f"damaged, or not safetensors: its header: {e}")
    header.pop("__metadata__", None)
    body = 8 + length
    tensors = {}
    for key, info in header.items():
        try:
            dtype, shape, (begin, end) = info["dtype"], info["shape"], info["data_offsets"]
            numbers = [*shape, begin, end]
            if not isinstance(dtype, str) or any(type(number) is not int or number < 0 for number in numbers):
                raise ValueError
            fits = dtype not in SIZES or math.prod(shape) * SIZES[dtype] == end - begin
            if not fits or not begin <= end <= size - body:
                raise ValueError
        except (TypeError, KeyError, ValueError):
            raise Refused(f"truncated or damaged: tensor {key} does not fit the file")
        tensors[key] = Tensor(dtype, shape, reader(path, body + begin, end - begin))
    return tensors


def reader(path, start, size):
    def data():
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    return data


def unique(pairs):
    names = set()
    for name, _ in pairs:
        if name in names:
            raise ValueError(f"the name {name} is there twice")
        names.add(name)
    return dict(pairs)


def load_pickle(path):
    try:
        import torch
    except ImportError:
        raise Refused("reading this needs PyTorch, which this Python does not have (pip install torch); .safetensors files "
                      "are read without it")
    known = inspect.signature(torch.load).parameters
    if "weights_only" not in known:
        raise Refused(f"PyTorch {torch.__version__} reads no weights without running code from the file; 1.13 and newer do")
    # A run's checkpoint is several times what is kept of it.
    mapped = {"mmap": True} if "mmap" in known else {}
    try:
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True, **mapped)
        except RuntimeError as e:
            # Files as PyTorch wrote them before 1.6.
            if "mmap can only be used" not in str(e):
                raise
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:
        # torch raises many types. One line says what it met, where others advise to run code from the file.
        lines = (str(e) or type(e).__name__).splitlines()
        unknown = next((line.strip() for line in lines if "Unsupported global" in line), None)
        if unknown:
            raise Refused(
                f"torch.load(weights_only=True) refuses it: {unknown}\n"
                "It holds Python objects besides tensors, which could run any code. Only if you trust who made it: load it "
                "with weights_only=False, torch.save() its state_dict alone, and convert that."
            )
        reason = next((line.strip() for line in lines if "Unpickler error" in line), lines[0])
        # Before 2.1 it knew few types: not even Python's float.
        old = "" if mapped else f", or PyTorch {torch.__version__} is too old for it: use 2.1 or newer"
        raise Refused(f"torch.load(weights_only=True) refuses it: {reason}\nIt is damaged, or not a PyTorch checkpoint{old}.")

    types = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}

    def of_torch(value):
        dense = value.layout == torch.strided and not value.is_quantized and value.device.type == "cpu"
        data = lambda: value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return Tensor(types.get(value.dtype, str(value.dtype)) if dense else "not plain", value.shape, data)

    def walk(value):
        if isinstance(value, torch.Tensor):
            return of_torch(value)
        if isinstance(value, dict):
            return {key: walk(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [walk(inner) for inner in value]
        return value

    return walk(loaded)


# ---- choosing ----


def plain_names(weights, place):
    """The tensors of a state dict by names without wrappers."""
    result, names = {}, {}
    for key, value in weights.items():
        if isinstance(key, str) and isinstance(value, Tensor):
            name = ".".join(part for part in key.split(".") if part not in WRAPPERS)
            if name in result:
                raise Refused(f"{place}: {names[name]} and {key} are one name without wrappers")
            result[name], names[name] = value, key
    return result


def halves_in(names):
    return [half for half in HALVES if any(re.search(rf"(^|\.){half}\.", name) for name in names)]


def prefixes(names, halves):
    """What stands before each of encoder.* and decoder.*, or before the one that there is."""
    found = {half: set() for half in halves}
    for name in names:
        for half, before in found.items():
            if match := re.match(rf"(|.*?\.){half}\.", name):
                before.add(match.group(1))
    return sorted(set.intersection(*found.values()))


def one_of(found, place, advice):
    """The prefix of the only network, or None. One without a prefix comes first."""
    if "" in found:
        return ""
    if len(found) > 1:
        raise Refused(f"{place}: several networks have an encoder and a decoder: {', '.join(found)}; {advice}")
    return found[0] if found else None


def under(names, prefix):
    starts = tuple(prefix + start for half in HALVES.values() for start in half)
    return {name[len(prefix):]: value for name, value in names.items() if name.startswith(starts)}


def below(place, name):
    return f"{place}.{name}" if place else str(name)


def find_weights(holder, halves, place="", averages=False):
    """encoder.* and decoder.*, the prefix that they had, and where they were; None: there are none."""
    names = plain_names(holder, place or "top level")
    found = [prefix for prefix in prefixes(names, halves) if averages or not AVERAGE.search(prefix)]
    prefix = one_of(found, place or "top level", "save the state_dict of one of them alone")
    if prefix is not None:
        return under(names, prefix), prefix, place or "top level"
    inner = {str(name): value for name, value in holder.items() if isinstance(value, dict) and "optim" not in str(name).lower()}
    inner = {name: value for name, value in inner.items() if averages or not AVERAGE.search(name)}
    usual = [name for name in inner if name in PLACES]
    for names in (usual, [name for name in inner if name not in PLACES]):
        found = [weights for name in names if (weights := find_weights(inner[name], halves, below(place, name), averages))]
        if len(found) > 1:
            places = ", ".join(where for _, _, where in found)
            raise Refused(f"weights of several networks with an encoder and a decoder: {places}; save one of them alone")
        if found:
            return found[0]
    return None


def average_in(value, weights, place):
    """The average that a value keeps, by the names of `weights`; None: it keeps none."""
    if isinstance(value, list):
        return average_list(value, weights, place)
    names = plain_names(value, place)
    prefix = one_of(prefixes(names, halves_in(weights)), place, TAKE_LAST)
    if prefix is not None:
        return under(names, prefix)
    if average := without_dots(names, weights):
        return average
    for name, inner in value.items():
        known = name in SHADOWS or isinstance(name, str) and AVERAGE.search(name)
        if known and isinstance(inner, (dict, list)) and (average := average_in(inner, weights, below(place, name))):
            return average
    return None


def without_dots(names, weights):
    """LitEma's buffers, which have the names without their dots."""
    flat = {}
    for key in weights:
        flat.setdefault(key.replace(".", ""), []).append(key)
    found = {flat[name][0]: value for name, value in names.items() if len(flat.get(name, ())) == 1}
    return found if len(found) > 1 else None


def average_list(values, weights, place):
    """A list has no names: it has the model's parameters in their order, which buffers are not among. The shapes tell."""
    if not values or not all(isinstance(value, Tensor) for value in values):
        return None
    floats = [key for key, value in weights.items() if value.dtype in SIZES]
    for buffers in ("wavelet_transform", "inverse_wavelet_transform", "encoder.wavelet_transform", None):
        keys = [key for key in floats if buffers is None or buffers not in key]
        if [weights[key].shape for key in keys] == [value.shape for value in values]:
            return dict(zip(keys, values))
    raise Refused(f"{place}: a list of {len(values)} tensors without names, whose shapes are not those of the weights in their "
                  f"order; {TAKE_LAST}")


def find_averages(holder, weights, place=""):
    """All that is named like an average: (place, the average or None where it is not understood)."""
    names = plain_names(holder, place or "top level")
    groups = {}
    for name, value in names.items():
        parts = name.split(".")
        first = next((i for i, part in enumerate(parts[:-1]) if AVERAGE.search(part)), None)
        if first is not None:
            groups.setdefault(".".join(parts[:first + 1]), {})[".".join(parts[first + 1:])] = value
    for name, group in groups.items():
        yield below(place, name), group
    for name, value in holder.items():
        if not isinstance(name, str) or not isinstance(value, (dict, list)):
            continue
        if "optim" in name.lower():
            yield from averages_of_optimizer(value, below(place, name))
        elif AVERAGE.search(name):
            yield below(place, name), value
        elif isinstance(value, dict):
            yield from find_averages(value, weights, below(place, name))


def averages_of_optimizer(state, place):
    """Some optimizers keep one of all parameters as "ema"; other averages there are of gradients."""
    for name, value in state.items() if isinstance(state, dict) else enumerate(state):
        if name == "ema" and isinstance(value, (dict, list)):
            yield below(place, name), value
        elif isinstance(value, (dict, list)):
            yield from averages_of_optimizer(value, below(place, name))


def most_elements(value):
    if isinstance(value, Tensor):
        return value.elements
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max(map(most_elements, inner), default=0)


def choose_average(checkpoint, weights):
    """The average of `weights` and its place, or (None, None)."""
    found, unclear = {}, []
    for place, value in find_averages(checkpoint, weights):
        if average := average_in(value, weights, place):
            found[place] = average
        elif most_elements(value) > 1:
            unclear.append(place)
    if len(found) > 1:
        raise Refused(f"several averages of the weights: {', '.join(found)}; keep one of them, or {TAKE_LAST}")
    if not found and unclear:
        raise Refused(f"{unclear[0]}: named like an average of the weights (EMA), in a form that is not understood; {TAKE_LAST}")
    for place, average in found.items():
        for key, value in average.items():
            if key not in weights or weights[key].shape != value.shape:
                raise Refused(f"{place}: an average of another network: {key} is not in the last weights, or in another shape; "
                              f"{TAKE_LAST}")
        for key, value in weights.items():
            if key not in average and value.dtype in SIZES and "wavelet_transform" not in key:
                raise Refused(f"{place}: an average of a part of the weights: {key} is not in it; {TAKE_LAST}")
        return average, place
    return None, None


def same_networks(holder, weights, place=""):
    """All places of a network with the names of `weights`."""
    names = plain_names(holder, place or "top level")
    for prefix in prefixes(names, halves_in(weights)):
        if under(names, prefix).keys() >= weights.keys():
            yield below(place, prefix.rstrip(".")) if prefix else place
    for name, value in holder.items():
        if isinstance(value, dict) and "optim" not in str(name).lower():
            yield from same_networks(value, weights, below(place, name))


def left_out(checkpoint, weights, place, prefix):
    """Networks like the one that was taken, which no name tells to be an average of it: a teacher's, an older one."""
    place = "" if place == "top level" else place
    taken = below(place, prefix.rstrip(".")) if prefix else place
    return [other for other in same_networks(checkpoint, weights) if other != taken and not AVERAGE.search(other)]


def select(checkpoint, use_ema):
    """The weights of the model, where they were, the prefix that was dropped, and where similar ones are left out."""
    if not isinstance(checkpoint, dict):
        raise Refused(f"found a {type(checkpoint).__name__}, expected a dictionary of weights")
    keys = list(leaves(checkpoint))
    halves = halves_in(keys)
    if halves and (found := find_weights(checkpoint, halves)):
        weights, prefix, place = found
        others = left_out(checkpoint, weights, place, prefix)
        average, where = choose_average(checkpoint, weights) if use_ema else (None, None)
        return ({**weights, **average}, where, prefix, others) if average else (weights, place, prefix, others)
    if halves and (found := find_weights(checkpoint, halves, averages=True)):
        if not use_ema:
            raise Refused(f"{found[2]}: an average of the weights alone, and no last weights: leave --no-ema out")
        return found[0], found[2], found[1], []
    raise Refused("found no weights of a WF-VAE or CausalVAE, expected encoder.* and decoder.*; the first keys are: "
                  f"{', '.join(keys[:5])}")


def leaves(value, place=""):
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from leaves(inner, below(place, key))
        else:
            yield below(place, key)


# ---- checking ----


def read_config(path):
    try:
        config = parse(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as e:
        raise Refused(f"{path}: {e.strerror if isinstance(e, OSError) else e}")
    if not isinstance(config, dict):
        raise Refused(f"{path}: expected a JSON object")
    return config


def choose_config(checkpoint, folder, named):
    target, beside = folder / "config.json", checkpoint.parent / "config.json"
    source = named or next((path for path in (target, beside) if path.exists()), None)
    if source is None:
        raise Refused(f"there is no config.json in {folder} nor beside the checkpoint: name the model's with --config")
    config = read_config(source)
    if target.exists() and read_config(target) != config:
        raise Refused(f"{target}: exists and differs from {source}; remove one of them, or name another folder")
    return source, config


def check_class(config, weights, source):
    """A config that names no class is a WF-VAE's."""
    name = config.get("_class_name", "WFVAEModel")
    if name != "CausalVAEModel" and any(key.startswith(("encoder.down.", "decoder.up.")) for key in weights):
        raise Refused(f'the names are those of a CausalVAE, but in {source} "_class_name" is not "CausalVAEModel"')


def check_folder(folder):
    """Nothing there may be opened in place of what is written."""
    if not folder.exists():
        if folder.is_symlink():
            raise Refused(f"{folder}: a link that leads nowhere; name another folder")
        return
    if not folder.is_dir():
        raise Refused(f"{folder}: not a folder; name another")
    for entry in sorted(folder.iterdir()):
        if ".safetensors" in entry.name and entry.name.endswith((".safetensors", ".json")):
            raise Refused(f"{entry}: exists, and the library could open it instead; remove it, or name another folder")
    if (folder / "model_index.json").exists() and (folder / "vae/config.json").exists():
        raise Refused(f"{folder / 'vae'}: exists, and the library would open it instead; name another folder")


def find_library(named):
    """libwfvae.so, loaded, and its path; (None, None): there is none."""
    named = named or os.environ.get("WFVAE_LIBRARY")
    path = pathlib.Path(named or HERE.parent / "target/release/libwfvae.so").absolute()
    try:
        library = ctypes.CDLL(str(path))
        library.wfvae_last_error.restype = ctypes.c_char_p
    except (OSError, AttributeError) as e:
        if named:
            raise Refused(f"{path}: {e}")
        return None, None
    return library, path


LOG_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p)


class ModelOptions(ctypes.Structure):
    """wfvae_model_options as the first version of the library had it, which later ones take."""

    _fields_ = [("struct_size", ctypes.c_size_t), ("runtime_path", ctypes.c_char_p), ("provider", ctypes.c_uint32),
                ("device", ctypes.c_uint32), ("n_threads", ctypes.c_uint32), ("check_finite", ctypes.c_uint32),
                ("log_callback", LOG_CALLBACK), ("log_user", ctypes.c_void_p), ("log_level", ctypes.c_uint32),
                ("cache_type", ctypes.c_uint32), ("attention_bytes", ctypes.c_uint64), ("convolution", ctypes.c_uint32),
                ("layout", ctypes.c_uint32), ("encode_precision", ctypes.c_uint32), ("decode_precision", ctypes.c_uint32),
                ("provider_options", ctypes.c_char_p), ("error_text", ctypes.c_char_p), ("error_size", ctypes.c_size_t)]


def open_with(wfvae, folder):
    """Opens the folder with the library, which says what is wrong with it. Whether it could, and its warnings."""
    said = lambda text: text.decode(errors="replace").replace(str(folder), "").lstrip("/")
    warnings, warn = [], 2
    callback = LOG_CALLBACK(lambda _, level, text: warnings.append(f"warning: {said(text)}"))
    options = ModelOptions(check_finite=1, log_callback=callback, log_level=warn)
    options.struct_size = ctypes.sizeof(options)
    model = ctypes.c_void_p()
    status = wfvae.wfvae_model_open(os.fsencode(folder), ctypes.byref(options), ctypes.byref(model))
    # From 300 to 399 it is ONNX Runtime that is missing or fails, which is looked for after the files were checked.
    if 0 < status < 300 or status >= 400:
        raise Refused(f"libwfvae refuses the result: {said(wfvae.wfvae_last_error(None))}")
    if not status:
        wfvae.wfvae_model_close(model)
    return not status, warnings


def compare(weights, config):
    """Names and shapes are those of the config."""
    sys.path.insert(0, str(HERE))
    try:
        from random_checkpoint import shapes
    except ImportError:
        raise Refused("neither libwfvae nor numpy is there to check the result: build the library, name it with --library, or "
                      "pip install numpy")
    finally:
        sys.path.pop(0)
    counted = [int(m.group(1)) for key in weights if (m := re.match(r"decoder\.connect_l1\.(\d+)\.", key))]
    try:
        expected = shapes({"connect_res_layer_num": max(counted, default=1), **config})
    # Values that no model has may fail anywhere in it.
    except Exception as e:
        raise Refused(f"config.json: {e or type(e).__name__}")
    halves = tuple(start for half in halves_in(weights) for start in HALVES[half])
    for key, shape in expected.items():
        if not key.startswith(halves):
            continue
        found = weights.get(key)
        if found is None and "wavelet_transform" not in key:
            raise Refused(f"tensor {key} is missing, which config.json describes: do they belong together?")
        if found is not None and found.shape != tuple(shape):
            raise Refused(f"tensor {key}: found shape {list(found.shape)}, config.json says {list(shape)}: do they belong together?")
    extra = [key for key in weights if key not in expected and "wavelet_transform" not in key]
    if extra:
        raise Refused(f"{extra[0]} and {len(extra) - 1} more are not in config.json: do they belong together?")


# ---- writing ----


def write(path, parts):
    """A new file, as the umask has it; it is on the disk afterwards."""
    with path.open("xb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def safetensors(weights):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for key, tensor in sorted(weights.items()):
        end = at + tensor.elements * SIZES[tensor.dtype]
        header[key] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for key, tensor in sorted(weights.items()):
        data = tensor.data()
        if len(data) != tensor.elements * SIZES[tensor.dtype]:
            raise Refused(f"tensor {key}: found {len(data)} bytes: was the checkpoint changed meanwhile?")
        yield data


def sync(folder):
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def place(stage, folder):
    """Moves the finished files to the folder; renaming never follows a link."""
    if not folder.exists():
        umask = os.umask(0)
        os.umask(umask)
        stage.chmod(0o777 & ~umask)
        stage.rename(folder)
    else:
        check_folder(folder)
        config, added = folder / "config.json", False
        if not config.exists():
            os.replace(stage / "config.json", config)
            added = True
        try:
            os.replace(stage / "model.safetensors", folder / "model.safetensors")
        except OSError:
            if added:
                config.unlink()
            raise
        sync(folder)
    sync(folder.parent)


def convert(checkpoint, folder, config=None, use_ema=True, library=None):
    """Converts, and gives the lines to say about it."""
    checkpoint, folder = pathlib.Path(checkpoint), pathlib.Path(os.path.abspath(folder))
    check_folder(folder)
    source, fields = choose_config(checkpoint, folder, pathlib.Path(config) if config else None)
    try:
        weights, place_of, prefix, others = select(load(checkpoint), use_ema)
        check_class(fields, weights, source)
    except Refused as e:
        raise Refused(f"{checkpoint}: {e}")
    kept, lines = {}, [f"the prefix {prefix} is dropped"] if prefix else []
    lines += [f"{other}: weights of the same names, left out; if they are meant, save them alone" for other in others]
    for key, value in weights.items():
        if value.dtype not in SIZES:
            lines.append(f"{key}: {value.dtype}, left out")
            continue
        if value.dtype == "F64":
            lines.append(f"{key}: float64, stored as float32")
            value = value.as_single()
        kept[key] = value
    if len(halves := halves_in(kept)) == 1:
        lines.append(f"the {halves[0]} alone")

    library, library_path = find_library(library)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, so that the library does not see it, and on the same file system.
    stage = pathlib.Path(tempfile.mkdtemp(prefix=".convert-", dir=folder if folder.exists() else folder.parent))
    try:
        if library is None:
            compare(kept, fields)
            by = "names and shapes as in its config.json"
        write(stage / "config.json", [source.read_bytes()])
        write(stage / "model.safetensors", safetensors(kept))
        if library is not None:
            opened, warnings = open_with(library, stage)
            by = f"{'opened' if opened else 'files checked'} by {library_path}"
            lines.extend(warnings)
        sync(stage)
        place(stage, folder)
    except Refused as e:
        raise Refused(f"{checkpoint}: {e}")
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return [*lines, f"{folder / 'model.safetensors'}: {len(kept)} tensors of {place_of}, {by}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("folder")
    parser.add_argument("--config", help="the model's config.json, which is copied")
    parser.add_argument("--no-ema", action="store_true", help="the last weights instead of their moving average")
    parser.add_argument("--library", help="the libwfvae.so that opens the result")
    arguments = parser.parse_args()
    # Names in a file may hold what is no character.
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        lines = convert(arguments.checkpoint, arguments.folder, arguments.config, not arguments.no_ema, arguments.library)
    except Refused as e:
        sys.exit(f"convert.py: {e}")
    except OSError as e:
        sys.exit(f"convert.py: {e.filename}: {e.strerror}" if e.filename else f"convert.py: {e}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
