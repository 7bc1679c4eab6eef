# SPDX-License-Identifier: MIT OR Apache-2.0
"""Models: open checkpoints, from which streams are made."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from . import _abi
from ._abi import AnyPath, library, path_bytes, text_bytes, unsigned, value_of
from ._arrays import View, clip_of, latents_of, new_frames
from ._calls import Handle, opened
from ._runtime import runtime_path
from ._stream import Array, Direction, Layout, Memory, MemoryKind, Posterior, Stream, Tiling, places_of, stream_options

Precision = str

_logger = logging.getLogger("wfvae")
_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG, 5: logging.DEBUG - 5}


def _log(_: Any, level: int, text: bytes | None) -> None:
    _logger.log(_LEVELS.get(level, logging.INFO), "%s", (text or b"").decode("utf-8", "replace"))


_log_callback = _abi.LogCallback(_log)
# ONNX Runtime's threads may still log when Python's modules are gone.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_log_callback))


class ModelInfo(NamedTuple):
    """What a model is and what it runs on."""

    #: The checkpoint that was opened, or "the built-in model".
    name: str
    #: The execution provider that runs the network: "CPU" or "CUDA".
    provider: str
    #: The ONNX Runtime library in use.
    runtime_path: str
    runtime_version: str
    #: Trainable parameters in the checkpoint.
    parameters: int
    #: Identifies the model: a hash of its weights as they are stored.
    identity: int
    #: Bytes of the weights loaded so far.
    weight_bytes: int
    #: ONNX Runtime sessions loaded so far.
    sessions: int
    #: 1: WFVAEModel, 2: WFVAE2Model.
    generation: int
    #: C of the latents.
    latent_channels: int
    #: Pixels per latent value, horizontally and vertically.
    spatial_compression: int
    #: Frames per latent, after the first.
    temporal_compression: int
    #: The most frames that wait in the encoder for the rest of their group.
    encode_delay: int
    #: Frames that the decoder holds back until the next latent or the flush.
    decode_delay: int
    has_attention: bool
    #: Whether config.json has scale and shift; see scaled=.
    has_scaling: bool
    #: Whether each call of encode takes one whole clip, and of decode, too, if decode_whole_clips is set.
    whole_clips: bool
    #: Pixels of context that an exact encoder tile needs on each side; 0: exact tiles are impossible.
    encode_halo: int
    decode_halo: int
    #: Why provider="auto" chose the CPU; otherwise empty.
    fallback: str
    #: Bytes that the model's streams hold on its device; 0 on the CPU.
    device_bytes: int
    device: int
    encode_precision: str
    decode_precision: str
    #: "encode", "decode" or "both": what the checkpoint holds.
    directions: str
    #: Identify the encoder and the decoder; 0: the checkpoint does not hold it.
    encoder_identity: int
    decoder_identity: int
    #: Whether decode takes whole clips; if not, latents are decoded in any number of calls, even if whole_clips is set.
    decode_whole_clips: bool


class Model:
    """An open checkpoint. Any number of streams in any threads share its weights.

    path: None: the built-in model. A folder with config.json and *.safetensors, the folder of a pipeline or of a download cache, or one
        .safetensors file. The first stream that needs weights loads them.
    provider: "auto", "cpu" or "cuda"; anything but "auto" never falls back. device: index of the CUDA device.
    precision: "f32", "tf32", "f16" or "bf16", the type in which both directions compute; encode_precision and decode_precision set one.
        "bf16" takes a CPU with a matrix unit (Intel AMX, on Linux), where it is the fastest, or a CUDA device.
    threads: threads that work on one call, 1 to 1024; 0: one for each CPU.
    check_finite: read all weights now, and refuse those with a NaN or an infinity.
    cache_type: "f32" or "f16", how causal caches are stored. convolution: "exact", "fast", "direct", "stacked" or "volume".
    memory_layout: "auto", "planes" or "channels-last", between the layers. attention_bytes: limit of the attention's scores; 0: 64 MiB.
    provider_options: options of ONNX Runtime's CUDA provider, such as {"use_tf32": "0"}.
    runtime: path of libonnxruntime.so or onnxruntime.dll. None: the environment variables WFVAE_ONNXRUNTIME and ORT_DYLIB_PATH, then
        the package onnxruntime. A process uses one runtime.
    log_level: 1 errors, 2 warnings, 3 information, 4 debug, 5 trace, to the logger "wfvae" of Python's logging; None: as that logger is
        set now; 0: nothing.

    A model and its streams may be closed in any order, or be forgotten. A forked process opens models of its own.

    Raises ModelError, FileError, OnnxRuntimeError, ArgumentError, OutOfMemoryError; ForkedError if the parent of this process forked
    while it was opening a model.
    """

    def __init__(
        self,
        path: AnyPath | None = None,
        *,
        provider: str = "auto",
        device: int = 0,
        precision: Precision = "f32",
        encode_precision: Precision | None = None,
        decode_precision: Precision | None = None,
        threads: int = 0,
        check_finite: bool = False,
        cache_type: str = "f32",
        convolution: str = "exact",
        memory_layout: str = "auto",
        attention_bytes: int = 0,
        provider_options: Mapping[str, object] | None = None,
        runtime: AnyPath | None = None,
        log_level: int | None = None,
    ) -> None:
        level = _level() if log_level is None else unsigned("log_level", log_level)
        if level > 5:
            raise ValueError(f"log_level is {log_level}, must be 0 to 5")
        precisions = {}
        for option, own in (("encode_precision", encode_precision), ("decode_precision", decode_precision)):
            precisions[option] = value_of(option if own else "precision", _abi.PRECISIONS, own or precision)
        options = _abi.ModelOptions(
            runtime_path=runtime_path(runtime),
            provider=value_of("provider", _abi.PROVIDERS, provider),
            device=unsigned("device", device),
            n_threads=unsigned("threads", threads),
            check_finite=bool(check_finite),
            log_level=level,
            cache_type=value_of("cache_type", _abi.CACHE_TYPES, cache_type),
            attention_bytes=unsigned("attention_bytes", attention_bytes, 64),
            convolution=value_of("convolution", _abi.CONVOLUTIONS, convolution),
            layout=value_of("memory_layout", _abi.LAYOUTS, memory_layout),
            **precisions,
            provider_options=text_bytes("provider_options", ",".join(f"{k}={v}" for k, v in (provider_options or {}).items())),
        )
        if level:
            options.log_callback = _log_callback
        name = None if path is None else path_bytes(path)
        self._handle: Handle = opened("model", library.model_close, library.model_open, name, ctypes.byref(options), keep=options)
        info = self.info
        self._channels = info.latent_channels
        self._device = info.device
        self._spatial = info.spatial_compression

    @property
    def info(self) -> ModelInfo:
        """What the model is and what it runs on."""
        raw = _abi.ModelInfo()
        self._handle.short(library.model_get_info, ctypes.byref(raw))
        values = [getattr(raw, name) for name in ModelInfo._fields]
        for i, name in enumerate(ModelInfo._fields):
            if isinstance(values[i], bytes):
                values[i] = values[i].decode("utf-8", "surrogateescape")
            elif name in ("has_attention", "has_scaling", "whole_clips", "decode_whole_clips"):
                values[i] = bool(values[i])
            elif name.endswith("_precision"):
                values[i] = _abi.PRECISIONS[values[i]]
            elif name == "directions":
                values[i] = _abi.DIRECTIONS[values[i]]
        return ModelInfo._make(values)

    def latents_for_frames(self, frames: int) -> int:
        """Counts the latents of a whole clip of so many frames: 1 + ceil((frames - 1) / temporal_compression), 0 for 0."""
        return self._handle.value(library.latents_for_frames, unsigned("frames", frames, 64))  # type: ignore[no-any-return]

    def frames_for_latents(self, latents: int) -> int:
        """Counts the frames of a whole clip of so many latents: 1 + (latents - 1) * temporal_compression, 0 for 0."""
        return self._handle.value(library.frames_for_latents, unsigned("latents", latents, 64))  # type: ignore[no-any-return]

    def stream(
        self,
        width: int,
        height: int,
        *,
        directions: Direction = "all",
        padding: bool = False,
        latent_dtype: Any = "f32",
        posterior: Posterior = "mean",
        seed: int = 0,
        scaled: bool = False,
        tiling: Tiling = "off",
        tile_width: int = 0,
        tile_height: int = 0,
        tile_overlap: int = 0,
        any_encoder: bool = False,
        clip_frames: int = 0,
        memory_limit: int = 0,
        alpha: bool = False,
        frame_memory: MemoryKind = "cpu",
        latent_memory: MemoryKind = "cpu",
        cuda_stream: int = 0,
    ) -> Stream:
        """Makes a stream for clips of one size. It is a context manager, which closes it.

        width, height: of the frames in pixels, 1 to 32768; multiples of spatial_compression, unless padding is set.
        directions: "all" that the model has, "encode", "decode" or "both". A direction that is left out takes no memory.
        padding: allow any size: the last column and row are repeated for encoding, and cropped again by decoding. With a model of
            whole_clips also any number of frames: the last one is repeated. There, what is repeated counts in the statistics.
        latent_dtype: float32 or float16, of the latents in both directions.
        posterior: "mean"; "sample", with noise that depends on seed and the latent's index only; "moments": the means' channels, then
            those of the log-variance.
        scaled: latents are (z - shift) * scale with the lists of config.json, in both directions.
        tiling: "off", "exact" or "blended"; tile_width, tile_height and tile_overlap in pixels, 0: chosen by the library.
        any_encoder: decode latent files of other encoders.
        clip_frames: 0: a clip is split across any number of calls. Above: each call takes one whole clip of at most so many frames.
        memory_limit: bytes; OutOfMemoryError if the stream would take more. 0: no limit.
        alpha: keep the alpha of encoded frames for the decoded frames of the same index; both then have 4 channels.
        frame_memory, latent_memory: "cpu", or "cuda": all frames, or all latents, of the stream's calls are in the memory of the model's
            CUDA device: tensors of PyTorch, or objects with DLPack or __cuda_array_interface__. Nothing is copied: latents need the
            stream's type and no gaps. Results are tensors if the input is a tensor on the device (for flushes, that of the call before);
            otherwise pass out=. Frames on a device need a stream without tiles and alpha, and a model that takes no whole clips.
        cuda_stream: with "cuda", the address of the cudaStream_t in which the library's work on that memory takes its turn, such as
            torch.cuda.current_stream().cuda_stream; 0: the device's default stream. It must stay as long as the stream. PyTorch's
            current stream, and those that other objects tell, are waited for in any case. When a call returns, its work is done.

        Raises SizeError, ArgumentError, OutOfMemoryError, OnnxRuntimeError, ModelError.
        """
        options = stream_options(
            width, height, directions, padding, latent_dtype, posterior, seed, scaled,
            tiling, tile_width, tile_height, tile_overlap, any_encoder, clip_frames, memory_limit, alpha,
            frame_memory, latent_memory, cuda_stream,
        )  # fmt: skip
        return Stream(self._handle, options, places_of(frame_memory, latent_memory, cuda_stream, self._device))

    def estimate(self, width: int, height: int, **options: Any) -> Memory:
        """Estimates the memory of a stream with these options, those of stream(), in bytes. Allocates and loads nothing."""
        names = ("directions", "padding", "latent_dtype", "posterior", "seed", "scaled", "tiling", "tile_width", "tile_height",
                 "tile_overlap", "any_encoder", "clip_frames", "memory_limit", "alpha", "frame_memory", "latent_memory",
                 "cuda_stream")  # fmt: skip
        if unknown := options.keys() - set(names):
            raise TypeError(f"estimate() got an unexpected option {sorted(unknown)[0]!r}; it takes those of stream()")
        values = "all", False, "f32", "mean", 0, False, "off", 0, 0, 0, False, 0, 0, False, "cpu", "cpu", 0
        defaults = dict(zip(names, values, strict=True))
        raw = _abi.Memory()
        chosen = stream_options(width, height, **{**defaults, **options})
        self._handle.run(library.estimate, ctypes.byref(chosen), ctypes.byref(raw), keep=(chosen, raw))
        return Memory._make(getattr(raw, name) for name in Memory._fields)

    def encode(
        self,
        video: Array,
        *,
        layout: Layout = "THWC",
        range: str = "unit",
        bit_depth: int = 0,
        posterior: Posterior = "mean",
        seed: int = 0,
        scaled: bool = False,
        padding: bool = False,
        dtype: Any = "f32",
        tiling: Tiling = "off",
        tile_width: int = 0,
        tile_height: int = 0,
        tile_overlap: int = 0,
        memory_limit: int = 0,
        frame_memory: MemoryKind = "cpu",
        latent_memory: MemoryKind = "cpu",
        cuda_stream: int = 0,
        out: Any = None,
    ) -> Any:
        """Encodes a whole clip.

        video: [T, H, W, C] with at least one frame, or another order of these axes that layout names, such as "CTHW". C is 3 (RGB) or 4
            (alpha is ignored). uint8 and uint16 span their whole range (uint16 with bit_depth=10: 0 to 1023); float16, bfloat16 and
            float32 are 0 to 1, or -1 to 1 with range="signed". A NumPy array, a tensor of PyTorch on the CPU, or any object with DLPack,
            __array_interface__ or the buffer protocol. Any strides; what strides cannot say is copied: a row or column that is
            broadcast, elements that are not aligned or are in foreign byte order.
        posterior, seed, scaled, padding, tiling, ..., frame_memory, latent_memory, cuda_stream: as for stream().
        dtype: of the latents, float32 or float16.
        out: memory for the result: [T, C, h, w] without gaps. It may not overlap video.

        Returns latents [T, C, h, w], with T = latents_for_frames(frames): the last frame is repeated for an incomplete last group. Their
        number does not tell the clip's exact length; keep it for decode(frames=...).

        Raises TypeError and ValueError for a wrong array; SizeError, NotFiniteError, OutOfMemoryError and others of Error.
        """
        places = places_of(frame_memory, latent_memory, cuda_stream, self._device)
        clip = clip_of(video, layout, range, bit_depth, "video", place=places[0])
        options = stream_options(
            clip.width, clip.height, "encode", padding, dtype, posterior, seed, scaled,
            tiling, tile_width, tile_height, tile_overlap, False, 0, memory_limit, False, frame_memory, latent_memory, cuda_stream,
        )  # fmt: skip
        with Stream(self._handle, options, places) as stream:
            return stream._encode_clip(clip, self.latents_for_frames(clip.count), out)

    def decode(
        self,
        z: Array,
        *,
        frames: int | None = None,
        width: int | None = None,
        height: int | None = None,
        dtype: Any = np.uint8,
        layout: Layout = "THWC",
        range: str = "unit",
        bit_depth: int = 0,
        channels: int = 3,
        scaled: bool = False,
        tiling: Tiling = "off",
        tile_width: int = 0,
        tile_height: int = 0,
        tile_overlap: int = 0,
        memory_limit: int = 0,
        frame_memory: MemoryKind = "cpu",
        latent_memory: MemoryKind = "cpu",
        cuda_stream: int = 0,
        out: Any = None,
    ) -> Any:
        """Decodes a whole clip.

        z: latents [T, C, h, w], float32, float16 or bfloat16, of the same kinds of objects as encode()'s video. Latents with gaps or
            permuted axes, and bfloat16, are copied.
        frames: the clip's length, at most and by default frames_for_latents(T). encode() rounds a clip up to whole latents; len(video)
            given here drops the frames that it added.
        width, height: of the frames, by default w and h times spatial_compression; smaller ones crop the padding of encode(padding=True).
        dtype, layout, range, bit_depth: of the result, as for encode()'s video. Integers are rounded and clamped, floats are not.
        channels: 3, or 4 with opaque alpha.
        scaled, tiling, ..., frame_memory, latent_memory, cuda_stream: as for stream().
        out: memory for the result, of its exact shape in layout: an array or tensor with any strides, written in place. Its elements
            set dtype and channels. It must be writable, no two of its elements may share memory, and it may not overlap z.

        Returns the frames [T, H, W, C] in the order of layout, or out.

        Raises as encode().
        """
        places = places_of(frame_memory, latent_memory, cuda_stream, self._device)
        latents = latents_of(z, None, (self._channels,), "z", places[1])
        frames, width, height, padding = self._clip_of(latents, frames, width, height)
        if out is None:
            result = new_frames(dtype, layout, frames, height, width, channels, places[0], latents.like)
        else:
            result = out
        clip = clip_of(result, layout, range, bit_depth, "out" if out is not None else "the result", writing=True, place=places[0])
        if (clip.count, clip.height, clip.width) != (frames, height, width):
            raise ValueError(f"out holds {clip.count} frames of {clip.width}x{clip.height}, must hold {frames} of {width}x{height}")
        options = stream_options(
            width, height, "decode", padding, latents.kind, "mean", 0, scaled,
            tiling, tile_width, tile_height, tile_overlap, True, 0, memory_limit, False, frame_memory, latent_memory, cuda_stream,
        )  # fmt: skip
        with Stream(self._handle, options, places) as stream:
            stream._decode_clip(latents, clip, frames)
        return result

    def _clip_of(self, latents: View, frames: int | None, width: int | None, height: int | None) -> tuple[int, int, int, bool]:
        """The length and the size of the clip that latents hold, and whether it is padded. Checks what is given."""
        count, _, rows, columns = latents.shape
        total = self.frames_for_latents(count)
        frames = total if frames is None else unsigned("frames", frames, 64)
        if self.latents_for_frames(frames) != count:
            fewest = self.frames_for_latents(count - 1) + 1
            raise ValueError(f"frames is {frames}, but {count} latents are those of {fewest} to {total} frames")
        s = self._spatial
        width = columns * s if width is None else unsigned("width", width)
        height = rows * s if height is None else unsigned("height", height)
        if -(-width // s) != columns or -(-height // s) != rows:
            raise ValueError(f"width and height are {width}x{height}, but z holds frames of {columns * s}x{rows * s} with their padding")
        return frames, width, height, width % s != 0 or height % s != 0

    def save_onnx(self, folder: AnyPath, graphs: str = "steps") -> None:
        """Writes the model's ONNX graphs and their weights to a folder that exists. graphs: "steps" or "clip"."""
        self._handle.run(library.model_save_onnx, path_bytes(folder), value_of("graphs", _abi.GRAPHS, graphs))

    def close(self) -> None:
        """Closes the model. Its streams stay usable. May be called again."""
        self._handle.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "<wfvae.Model, closed>" if self._handle.pointer is None else f"<wfvae.Model of {self.info.name}>"


def _level() -> int:
    level = _logger.getEffectiveLevel()
    return next((n for n, name in sorted(_LEVELS.items(), reverse=True) if level <= name), 0)
