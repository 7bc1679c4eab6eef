# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the package declares of wfvae.h, against the C compiler: WFVAE_TEST_ABI names what bindings/abi.py wrote. check.sh sets it.

What the package leaves out on purpose is listed here.
"""

import ctypes
import logging
import os
import pathlib
import re

import pytest

from wfvae import _abi, _arrays, _errors, _model, _stream

ABI = os.environ.get("WFVAE_TEST_ABI")
pytestmark = pytest.mark.skipif(not ABI, reason="WFVAE_TEST_ABI does not name what bindings/abi.py wrote")

STRUCTS = {
    "wfvae_model_options": _abi.ModelOptions,
    "wfvae_model_info": _abi.ModelInfo,
    "wfvae_options": _abi.Options,
    "wfvae_memory": _abi.Memory,
    "wfvae_frame": _abi.Frame,
    "wfvae_frames": _abi.Frames,
    "wfvae_info": _abi.Info,
    "wfvae_progress": _abi.Progress,
    "wfvae_latent_writer_options": _abi.WriterOptions,
    "wfvae_latent_file_info": _abi.FileInfo,
}
ENUMS = {
    "wfvae_provider": _abi.PROVIDERS,
    "wfvae_precision": _abi.PRECISIONS,
    "wfvae_cache_type": _abi.CACHE_TYPES,
    "wfvae_convolution": _abi.CONVOLUTIONS,
    "wfvae_layout": _abi.LAYOUTS,
    "wfvae_posterior": _abi.POSTERIORS,
    "wfvae_latent_type": _abi.LATENT_TYPES,
    "wfvae_tiling": _abi.TILINGS,
    "wfvae_memory_kind": _abi.MEMORY_KINDS,
    "wfvae_range": _abi.RANGES,
    "wfvae_graphs": _abi.GRAPHS,
    "wfvae_direction": _abi.DIRECTIONS,
}
# Arrays of frames are RGB or RGBA: no YUV, no grey, and other orders of channels by strides.
LEFT_OUT = {"wfvae_matrix", "wfvae_yuv_range", "wfvae_siting"}
LEFT_OUT_FORMATS = re.compile("gbrp.*|bgra?8|gray.*|yuv.*|nv12|p010")
LEFT_OUT_FUNCTIONS = {
    # wfvae_frames, one struct for all frames, is enough.
    "wfvae_encode_chunk",
    "wfvae_decode_chunk",
    "wfvae_decode_flush",
    "wfvae_convert_frame",
    # Exceptions carry the text of the thread.
    "wfvae_latent_writer_last_error",
}


@pytest.fixture(scope="module")
def header():
    """The rest of each line by its first word."""
    lines = {}
    for line in pathlib.Path(ABI).read_text().splitlines():
        what, *rest = line.split()
        lines.setdefault(what, []).append(rest)
    return lines


@pytest.fixture(scope="module")
def values(header):
    """Of each enumeration its names in lower case, without the enumeration's own, with their values."""
    found = {}
    for enum, name, value in header["value"]:
        found.setdefault(enum, {})[name.removeprefix(enum.upper() + "_").lower()] = int(value)
    return found


def kind(c_type):
    """A ctypes type in abi.py's words."""
    if c_type is None:
        return "v0"
    if c_type is ctypes.c_char_p:
        letter = "s"
    elif issubclass(c_type, ctypes._Pointer) and c_type._type_ is ctypes.c_float:
        letter = "r"
    elif c_type is ctypes.c_void_p or issubclass(c_type, (ctypes._Pointer, ctypes._CFuncPtr)):
        letter = "p"
    else:
        letter = "f" if c_type._type_ in "fd" else "u" if c_type._type_ in "BHILQ" else "i" if c_type._type_ in "bhilq" else c_type._type_
    return f"{letter}{ctypes.sizeof(c_type)}"


def compare(ours, theirs):
    """Compares lines, and names those that only one side has."""
    lines = sorted([f"{line}  (wfvae.h)" for line in theirs - ours] + [f"{line}  (the package)" for line in ours - theirs])
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def signature(name, types, theirs):
    """A function as abi.py writes it. An enumeration may be signed or not."""
    kinds = [kind(c_type) for c_type in types]
    if len(kinds) == len(theirs):
        kinds = ["e4" if their == "e4" and our in ("i4", "u4") else our for our, their in zip(kinds, theirs)]
    return " ".join([name, *kinds])


def members(enum, names):
    return {f"{enum} {name} {value}" for name, value in names.items()}


def test_structs(header):
    declared = {t for t in vars(_abi).values() if isinstance(t, type) and issubclass(t, ctypes.Structure)} - {_abi.Struct}
    assert declared == set(STRUCTS.values())
    ours = set()
    for name, struct in STRUCTS.items():
        ours.add(f"{name} {ctypes.sizeof(struct)}")
        for field, c_type in struct._fields_:
            element, count = (c_type._type_, c_type._length_) if issubclass(c_type, ctypes.Array) else (c_type, 1)
            ours.add(f"{name} {field} {getattr(struct, field).offset} {count} {kind(element)}")
    compare(ours, {" ".join(line) for line in header["struct"] + header["field"]})


def test_functions(header):
    theirs = {name: types for name, *types in header["function"] + header["callback"] if name not in LEFT_OUT_FUNCTIONS}
    callback = _abi.LogCallback._restype_, *_abi.LogCallback._argtypes_
    declared = [*_abi._LONG.items(), *_abi._SHORT.items(), ("wfvae_log_callback", callback)]
    assert len(dict(declared)) == len(declared)
    compare({signature(name, types, theirs.get(name, ())) for name, types in declared}, {" ".join([n, *t]) for n, t in theirs.items()})


def test_enumerations(values):
    ours = {enum: {name.replace("-", "_"): i for i, name in enumerate(names)} for enum, names in ENUMS.items()}
    directions = ours["wfvae_direction"]
    assert (directions.pop("all"), directions.pop("both")) == (0, directions["encode"] | directions["decode"])

    suffix = {"u8": "8", "u16": "16", "f16": "_f16", "bf16": "_bf16", "f32": "_f32"}
    formats = {"rgbp" + suffix[kind]: value for kind, value in _arrays._PLANAR.items()}
    formats |= {("rgb" if channels == 3 else "rgba") + suffix[kind]: value for (kind, channels), value in _arrays._PACKED.items()}
    ours["wfvae_pixel_format"] = formats

    statuses = values["wfvae_status"]
    names = {value: name for name, value in statuses.items()}
    classes = {statuses["ok"]: None, _errors.Error.status: _errors.Error, **_errors._CLASSES}
    ours["wfvae_status"] = {names.get(value, value): value for value in classes}
    assert classes[statuses["internal"]] is _errors.Error
    # What a class says of itself is one of its statuses.
    assert {c for c in _errors._CLASSES.values() if classes.get(c.status) is not c} == set()
    for name, value in vars(_abi).items():
        if name.startswith("STATUS_"):
            assert (name, value) == (name, statuses[name.removeprefix("STATUS_").lower()])

    # Python has no level below DEBUG.
    levels = {getattr(logging, name.upper(), logging.DEBUG - 5): name for name in values["wfvae_log_level"] if name != "default"}
    ours["wfvae_log_level"] = {"default": 0} | {levels.get(level, level): value for value, level in _model._LEVELS.items()}

    theirs = set()
    for enum, of in values.items():
        if enum not in LEFT_OUT:
            theirs |= members(enum, {n: v for n, v in of.items() if enum != "wfvae_pixel_format" or not LEFT_OUT_FORMATS.fullmatch(n)})
    compare(set().union(*(members(*one) for one in ours.items())), theirs)


def test_fields_by_order():
    """Structs that are read without ctypes' names: the formats of their bytes, and the tuples that are made of these."""
    for struct, form in (_abi.Info, _abi.INFO), (_abi.Progress, _abi.PROGRESS):
        letters = "".join(letter * int(count or 1) for count, letter in re.findall(r"(\d*)([A-Za-z])", form.format))
        codes = {"N": ctypes.c_size_t, "I": ctypes.c_uint32, "Q": ctypes.c_uint64}
        assert form.format[0] == "@" and [kind(codes[letter]) for letter in letters] == [kind(t) for _, t in struct._fields_]
    for struct, named in (_abi.Info, _stream.StreamInfo), (_abi.Memory, _stream.Memory), (_abi.ModelInfo, _model.ModelInfo):
        assert [n for n, _ in struct._fields_ if n not in ("struct_size", "reserved")] == list(named._fields)
