# SPDX-License-Identifier: MIT OR Apache-2.0
"""The C API, as ctypes sees it: structs, functions and the names of enumeration values. wfvae.h explains each of them."""

from __future__ import annotations

import ctypes
import operator
import os
import struct
import sys
from ctypes import POINTER, c_char_p, c_int32, c_size_t, c_ssize_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any, Union

AnyPath = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]


class Struct(ctypes.Structure):
    """Sets struct_size; all other fields are zero unless they are given."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(struct_size=ctypes.sizeof(self), **fields)


LogCallback = ctypes.CFUNCTYPE(None, c_void_p, c_uint32, c_char_p)


class ModelOptions(Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("runtime_path", c_char_p),
        ("provider", c_uint32),
        ("device", c_uint32),
        ("n_threads", c_uint32),
        ("check_finite", c_uint32),
        ("log_callback", LogCallback),
        ("log_user", c_void_p),
        ("log_level", c_uint32),
        ("cache_type", c_uint32),
        ("attention_bytes", c_uint64),
        ("convolution", c_uint32),
        ("layout", c_uint32),
        ("encode_precision", c_uint32),
        ("decode_precision", c_uint32),
        ("provider_options", c_char_p),
        ("error_text", c_void_p),
        ("error_size", c_size_t),
    ]


class ModelInfo(Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("provider", c_char_p),
        ("runtime_path", c_char_p),
        ("runtime_version", c_char_p),
        ("parameters", c_uint64),
        ("identity", c_uint64),
        ("weight_bytes", c_uint64),
        ("sessions", c_uint32),
        ("generation", c_uint32),
        ("latent_channels", c_uint32),
        ("spatial_compression", c_uint32),
        ("temporal_compression", c_uint32),
        ("encode_delay", c_uint32),
        ("decode_delay", c_uint32),
        ("has_attention", c_uint32),
        ("has_scaling", c_uint32),
        ("whole_clips", c_uint32),
        ("encode_halo", c_uint32),
        ("decode_halo", c_uint32),
        ("fallback", c_char_p),
        ("device_bytes", c_uint64),
        ("device", c_uint32),
        ("encode_precision", c_uint32),
        ("decode_precision", c_uint32),
        ("directions", c_uint32),
        ("encoder_identity", c_uint64),
        ("decoder_identity", c_uint64),
        ("decode_whole_clips", c_uint32),
        ("reserved", c_uint32),
    ]


class Options(Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("width", c_uint32),
        ("height", c_uint32),
        ("directions", c_uint32),
        ("padding", c_uint32),
        ("latent_type", c_uint32),
        ("posterior", c_uint32),
        ("seed", c_uint64),
        ("scaled", c_uint32),
        ("tiling", c_uint32),
        ("tile_width", c_uint32),
        ("tile_height", c_uint32),
        ("tile_overlap", c_uint32),
        ("any_encoder", c_uint32),
        ("clip_frames", c_uint64),
        ("memory_limit", c_uint64),
        ("alpha", c_uint32),
        ("frame_memory", c_uint32),
        ("latent_memory", c_uint32),
        ("reserved", c_uint32),
        ("cuda_stream", c_void_p),
        ("error_text", c_void_p),
        ("error_size", c_size_t),
    ]


class Memory(Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("total_bytes", c_uint64),
        ("weight_bytes", c_uint64),
        ("encode_state_bytes", c_uint64),
        ("decode_state_bytes", c_uint64),
        ("working_bytes", c_uint64),
        ("encode_tile_width", c_uint32),
        ("encode_tile_height", c_uint32),
        ("encode_tiles", c_uint32),
        ("decode_tile_width", c_uint32),
        ("decode_tile_height", c_uint32),
        ("decode_tiles", c_uint32),
    ]


class Frame(ctypes.Structure):
    # Made often, so without names: struct_size and the others in order.
    _fields_ = [
        ("struct_size", c_size_t),
        ("format", c_uint32),
        ("width", c_uint32),
        ("height", c_uint32),
        ("bit_depth", c_uint32),
        ("range", c_uint32),
        ("matrix", c_uint32),
        ("planes", c_void_p * 4),
        ("strides", c_ssize_t * 4),
        ("pixel_steps", c_ssize_t * 4),
        ("yuv_range", c_uint32),
        ("siting", c_uint32),
    ]


class Frames(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("first", POINTER(Frame)),
        ("n_frames", c_size_t),
        ("frame_strides", c_ssize_t * 4),
    ]


FRAME_SIZE = ctypes.sizeof(Frame)
FRAMES_SIZE = ctypes.sizeof(Frames)


class Info(Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("width", c_uint32),
        ("height", c_uint32),
        ("latent_width", c_uint32),
        ("latent_height", c_uint32),
        ("latent_channels", c_uint32),
        ("encoded_channels", c_uint32),
        ("latent_size", c_uint64),
        ("encoded_size", c_uint64),
        ("encode_state_bytes", c_uint64),
        ("decode_state_bytes", c_uint64),
        ("frames_in", c_uint64),
        ("latents_out", c_uint64),
        ("latents_in", c_uint64),
        ("frames_out", c_uint64),
        ("encode_steps", c_uint64),
        ("decode_steps", c_uint64),
        ("needs_reset", c_uint32),
        ("reserved", c_uint32),
    ]


class Progress(Struct):
    _fields_ = [("struct_size", c_size_t), ("steps_done", c_uint64), ("steps_total", c_uint64)]


class WriterOptions(Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("fps_num", c_uint32),
        ("fps_den", c_uint32),
        ("note", c_char_p),
        ("error_text", c_void_p),
        ("error_size", c_size_t),
    ]


class FileInfo(Struct):
    _fields_ = [
        ("struct_size", c_size_t),
        ("model_identity", c_uint64),
        ("n_frames", c_uint64),
        ("n_latents", c_uint64),
        ("seed", c_uint64),
        ("width", c_uint32),
        ("height", c_uint32),
        ("padded", c_uint32),
        ("spatial_compression", c_uint32),
        ("temporal_compression", c_uint32),
        ("latent_channels", c_uint32),
        ("latent_width", c_uint32),
        ("latent_height", c_uint32),
        ("posterior", c_uint32),
        ("latent_type", c_uint32),
        ("scaled", c_uint32),
        ("fps_num", c_uint32),
        ("fps_den", c_uint32),
        ("reserved", c_uint32),
        ("scale", POINTER(ctypes.c_float)),
        ("shift", POINTER(ctypes.c_float)),
        ("generator", c_char_p),
        ("note", c_char_p),
        ("encoder_identity", c_uint64),
        ("decoder_identity", c_uint64),
    ]


# How the values of a struct without pointers are unpacked; faster than reading its fields.
INFO = struct.Struct("@N6I10Q2I")
PROGRESS = struct.Struct("@NQQ")
assert INFO.size == ctypes.sizeof(Info) and PROGRESS.size == ctypes.sizeof(Progress)

# Names of enumeration values, by value.
PROVIDERS = ("auto", "cpu", "cuda")
PRECISIONS = ("f32", "tf32", "f16", "bf16")
CACHE_TYPES = ("f32", "f16")
CONVOLUTIONS = ("exact", "fast", "direct", "stacked", "volume")
LAYOUTS = ("auto", "planes", "channels-last")
POSTERIORS = ("mean", "sample", "moments")
LATENT_TYPES = ("f32", "f16")
TILINGS = ("off", "exact", "blended")
MEMORY_KINDS = ("cpu", "cuda")
RANGES = ("unit", "signed")
GRAPHS = ("steps", "clip")
# Both at once are WFVAE_DIRECTION_ENCODE | WFVAE_DIRECTION_DECODE; zero is what the model has.
DIRECTIONS = ("all", "encode", "decode", "both")

STATUS_CAPACITY = 102
STATUS_BUSY = 104
STATUS_FORKED = 106

# Frames or latents in one call.
CALL_LIMIT = 65536

_POINTER = c_void_p
_COUNT = c_size_t
# Of each function the result, then the arguments.
_LONG: dict[str, tuple[Any, ...]] = {
    "wfvae_status_str": (c_char_p, c_int32),
    "wfvae_last_error": (c_char_p, _POINTER),
    "wfvae_model_open": (c_int32, c_char_p, _POINTER, _POINTER),
    "wfvae_model_close": (None, _POINTER),
    "wfvae_model_get_info": (c_int32, _POINTER, _POINTER),
    "wfvae_model_save_onnx": (c_int32, _POINTER, c_char_p, c_uint32),
    "wfvae_create": (c_int32, _POINTER, _POINTER, _POINTER),
    "wfvae_destroy": (None, _POINTER),
    "wfvae_estimate": (c_int32, _POINTER, _POINTER, _POINTER),
    "wfvae_encode_frames": (c_int32, _POINTER, _POINTER, _POINTER, _COUNT, _POINTER),
    "wfvae_encode_flush": (c_int32, _POINTER, _POINTER, _COUNT, _POINTER),
    "wfvae_decode_frames": (c_int32, _POINTER, _POINTER, _COUNT, _POINTER, _POINTER),
    "wfvae_decode_flush_frames": (c_int32, _POINTER, _POINTER, _POINTER),
    "wfvae_reset": (c_int32, _POINTER),
    "wfvae_snapshot_create": (c_int32, _POINTER, _POINTER),
    "wfvae_snapshot_restore": (c_int32, _POINTER, _POINTER),
    "wfvae_snapshot_destroy": (None, _POINTER),
    "wfvae_snapshot_size": (_COUNT, _POINTER),
    "wfvae_snapshot_write": (c_int32, _POINTER, _POINTER, _COUNT, _POINTER),
    "wfvae_snapshot_read": (c_int32, _POINTER, _COUNT, _POINTER),
    "wfvae_fork": (c_int32, _POINTER, _POINTER),
    "wfvae_latent_writer_create": (c_int32, _POINTER, c_char_p, _POINTER, _POINTER),
    "wfvae_latent_writer_write": (c_int32, _POINTER, _POINTER, _COUNT),
    "wfvae_latent_writer_finish": (c_int32, _POINTER, c_uint64),
    "wfvae_latent_writer_destroy": (None, _POINTER),
    "wfvae_latent_reader_open": (c_int32, c_char_p, _POINTER),
    "wfvae_latent_reader_get_info": (c_int32, _POINTER, _POINTER),
    "wfvae_latent_reader_check_model": (c_int32, _POINTER, _POINTER),
    "wfvae_latent_reader_check_stream": (c_int32, _POINTER, _POINTER),
    "wfvae_latent_reader_read": (c_int32, _POINTER, c_uint64, _COUNT, c_uint32, _POINTER),
    "wfvae_latent_reader_read_moments": (c_int32, _POINTER, c_uint64, _COUNT, c_uint32, _POINTER),
    "wfvae_latent_reader_close": (None, _POINTER),
    "wfvae_api_version": (c_uint32,),
    "wfvae_version": (c_char_p,),
}
# These return at once, take no lock that others hold for longer, and log nothing. So they keep the GIL, which is faster, above all
# while other threads compute.
_SHORT: dict[str, tuple[Any, ...]] = {
    "wfvae_latents_for_frames": (c_uint64, _POINTER, c_uint64),
    "wfvae_frames_for_latents": (c_uint64, _POINTER, c_uint64),
    "wfvae_cancel": (c_int32, _POINTER),
    "wfvae_get_progress": (c_int32, _POINTER, _POINTER),
    "wfvae_get_info": (c_int32, _POINTER, _POINTER),
    "wfvae_set_frame_count": (c_int32, _POINTER, c_uint64),
    "wfvae_set_seed": (c_int32, _POINTER, c_uint64),
    "wfvae_encode_count": (c_int32, _POINTER, _COUNT, _POINTER),
    "wfvae_encode_flush_count": (c_int32, _POINTER, _POINTER),
    "wfvae_decode_count": (c_int32, _POINTER, _COUNT, _POINTER),
    "wfvae_decode_flush_count": (c_int32, _POINTER, _POINTER),
}


def library_path() -> str:
    """The library of the package, or what the environment variable WFVAE_LIBRARY names."""
    name = "wfvae.dll" if sys.platform == "win32" else "libwfvae.so"
    return os.environ.get("WFVAE_LIBRARY") or str(Path(__file__).parent / "lib" / name)


class Library:
    """The loaded library, with the functions as attributes, without "wfvae_"."""

    def __init__(self, path: str) -> None:
        try:
            long, short = ctypes.CDLL(path), ctypes.PyDLL(path)
        except OSError as error:
            raise ImportError(f"libwfvae cannot be loaded: {error}; the wheel of wfvae holds it, a bare source tree does not") from None
        for library, functions in (long, _LONG), (short, _SHORT):
            for name, (result, *arguments) in functions.items():
                try:
                    function = getattr(library, name)
                except AttributeError:
                    raise ImportError(f"{path} has no {name}: it is older than this package needs") from None
                function.restype, function.argtypes = result, arguments
                setattr(self, name.removeprefix("wfvae_"), function)

    # For type checkers: the attributes are functions of ctypes.
    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


library = Library(library_path())


def value_of(option: str, names: tuple[str, ...], name: str) -> int:
    """The value of an enumeration's name."""
    try:
        return names.index(name)
    except ValueError:
        choices = ", ".join(map(repr, names))
        raise ValueError(f"{option} is {name!r}, must be one of {choices}") from None


def unsigned(option: str, value: int, bits: int = 32) -> int:
    """Checks an integer: ctypes would take it modulo 2**bits."""
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{option} is {value!r}, must be an integer") from None
    if not 0 <= value < 1 << bits:
        raise ValueError(f"{option} is {value}, must be 0 to 2**{bits} - 1")
    return value


def path_bytes(path: AnyPath) -> bytes:
    given = os.fspath(path)
    # The library takes UTF-8 on Windows, whatever Python takes there, and elsewhere the system's bytes.
    if sys.platform == "win32" and isinstance(given, str):
        return _without_nul("the path", given.encode())
    return _without_nul("the path", os.fsencode(given))


def text_bytes(option: str, text: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"{option} is a {type(text).__name__}, must be a str")
    return _without_nul(option, text.encode())


def _without_nul(option: str, found: bytes) -> bytes:
    # The library would stop reading there.
    if b"\0" in found:
        raise ValueError(f"{option} contains a NUL: {found!r}")
    return found
