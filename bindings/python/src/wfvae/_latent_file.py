# SPDX-License-Identifier: MIT OR Apache-2.0
"""Latent files: safetensors with one tensor, [T, C, h, w], and what decoding it needs."""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from . import _abi
from ._abi import CALL_LIMIT, AnyPath, library, path_bytes, text_bytes
from ._arrays import SIZES, kind_of, latents_for, latents_of
from ._calls import made, opened
from ._model import Model
from ._stream import _with


class LatentFileInfo(NamedTuple):
    """What a latent file holds."""

    #: Identities of the model that encoded the latents, of its encoder and of its decoder; 0: not known.
    model_identity: int
    encoder_identity: int
    decoder_identity: int
    #: Frames of the clip.
    frames: int
    #: T.
    latents: int
    #: The seed of posterior="sample", otherwise 0.
    seed: int
    #: Of the frames, in pixels.
    width: int
    height: int
    #: Whether the frames' size is not a multiple of spatial_compression.
    padded: bool
    spatial_compression: int
    temporal_compression: int
    #: C of the latents that decoding reads.
    latent_channels: int
    latent_width: int
    latent_height: int
    #: "mean", "sample" or "moments"; the last has 2C channels in the file.
    posterior: str
    #: "f32" or "f16", as stored.
    latent_type: str
    #: Whether the latents are (z - shift) * scale.
    scaled: bool
    #: Frames per second; None: unknown.
    fps: Fraction | None
    #: The model's lists, latent_channels values each; None: it has none.
    scale: tuple[float, ...] | None
    shift: tuple[float, ...] | None
    #: The program that wrote the file.
    generator: str
    #: A text that its writer added. Do not trust it.
    note: str


class LatentFile:
    """A latent file that is open for reading; wfvae.open() makes it. Any threads may use it, and forked processes too.

    f[3:9] reads latents [6, C, h, w], f[3] one, [C, h, w], as the file's type; of a file of moments the means. len(f) is T. Reading takes
    no more memory than the result.
    """

    def __init__(self, path: AnyPath) -> None:
        """Raises LatentFileError, FileError."""
        self._handle = opened("latent file", library.latent_reader_close, library.latent_reader_open, path_bytes(path), survives=True)
        raw = _abi.FileInfo()
        self._handle.short(library.latent_reader_get_info, ctypes.byref(raw))
        n = raw.latent_channels
        #: What the file holds.
        self.info = LatentFileInfo(
            model_identity=raw.model_identity,
            encoder_identity=raw.encoder_identity,
            decoder_identity=raw.decoder_identity,
            frames=raw.n_frames,
            latents=raw.n_latents,
            seed=raw.seed,
            width=raw.width,
            height=raw.height,
            padded=bool(raw.padded),
            spatial_compression=raw.spatial_compression,
            temporal_compression=raw.temporal_compression,
            latent_channels=n,
            latent_width=raw.latent_width,
            latent_height=raw.latent_height,
            posterior=_abi.POSTERIORS[raw.posterior],
            latent_type=_abi.LATENT_TYPES[raw.latent_type],
            scaled=bool(raw.scaled),
            fps=Fraction(raw.fps_num, raw.fps_den) if raw.fps_den else None,
            scale=tuple(raw.scale[:n]) if raw.scale else None,
            shift=tuple(raw.shift[:n]) if raw.shift else None,
            generator=raw.generator.decode("utf-8", "replace"),
            note=raw.note.decode("utf-8", "replace"),
        )

    def read(self, start: int = 0, count: int | None = None, *, dtype: Any = None, moments: bool = False, out: Any = None) -> Any:
        """Reads `count` latents from `start` on, by default all: [count, C, h, w].

        dtype: float32 or float16; None: the file's. moments: both moments, [count, 2C, h, w], of a file that holds them.
        out: memory for the result without gaps.

        Raises ValueError if the range is not in the file, StateError if it holds no moments, NotFiniteError, FileError.
        """
        info = self.info
        start = operator.index(start)
        count = info.latents - start if count is None else operator.index(count)
        if start < 0 or count < 0 or start + count > info.latents:
            raise ValueError(f"latents {start} to {start + count} are not in the file, which holds {info.latents}")
        kind = info.latent_type if dtype is None else kind_of(dtype, "dtype")
        if kind not in _abi.LATENT_TYPES:
            raise ValueError(f"dtype is {dtype!r}, must be float32 or float16")
        shape = (count, info.latent_channels * (2 if moments else 1), info.latent_height, info.latent_width)
        result = np.empty(shape, np.float16 if kind == "f16" else np.float32) if out is None else out
        target = latents_for(result, kind, shape)
        function = library.latent_reader_read_moments if moments else library.latent_reader_read
        size = SIZES[kind] * int(np.prod(shape[1:]))
        for done in range(0, count, CALL_LIMIT):
            part = min(CALL_LIMIT, count - done)
            self._handle.run(function, start + done, part, _abi.LATENT_TYPES.index(kind), target.address + done * size, keep=target)
        return result

    def decode(self, model: Model, *, any_encoder: bool = False, **options: Any) -> Any:
        """Decodes the whole clip: Model.decode() with the file's frames, width, height and scaling.

        any_encoder: accept latents of another encoder. options: dtype, layout, range, tiling, out, ... of Model.decode().
        Raises LatentFileError if the model's encoder did not make the latents.
        """
        info = self.info
        if taken := options.keys() & {"frames", "width", "height", "scaled"}:
            raise TypeError(f"{sorted(taken)[0]} is the file's own")
        if not any_encoder:
            self.check(model)
        return _checked(model).decode(
            self.read(), frames=info.frames, width=info.width, height=info.height, scaled=info.scaled, **options
        )

    def check(self, model: Model) -> None:
        """Raises LatentFileError if the model's encoder did not make the latents."""
        other = _checked(model)._handle
        other.check()
        self._handle.run(_with(other, library.latent_reader_check_model), keep=other)

    def __len__(self) -> int:
        return self.info.latents

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            places = range(start, stop, step)
            if step == 1 or not places:
                return self.read(start if places else 0, len(places))
            first = self.read(places[0], 1)
            z = np.empty((len(places), *first.shape[1:]), first.dtype)
            z[0] = first[0]
            for i in range(1, len(places)):
                self.read(places[i], 1, out=z[i : i + 1])
            return z
        place = operator.index(index)
        if place < 0:
            place += len(self)
        if not 0 <= place < len(self):
            raise IndexError(f"latent {index} is not in the file, which holds {len(self)}")
        return self.read(place, 1)[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("a latent file is read from the disk, which is a copy")
        z: np.ndarray[Any, Any] = self[:]
        return z if dtype is None else z.astype(dtype, copy=False)

    def close(self) -> None:
        """Closes the file. May be called again."""
        self._handle.close()

    def __enter__(self) -> LatentFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        info = self.info
        closed = ", closed" if self._handle.pointer is None else ""
        return f"<wfvae.LatentFile of {info.latents} latents, {info.frames} frames of {info.width}x{info.height}{closed}>"


def open(path: AnyPath) -> LatentFile:
    """Opens a latent file and checks all of it except the latents' values. Raises LatentFileError, FileError."""
    return LatentFile(path)


def save(
    path: AnyPath,
    z: Any,
    model: Model,
    *,
    fps: float | Fraction | tuple[int, int] | None = None,
    frames: int | None = None,
    width: int | None = None,
    height: int | None = None,
    posterior: str | None = None,
    seed: int = 0,
    scaled: bool = False,
    note: str = "",
) -> None:
    """Writes latents of a whole clip to a file, which appears, or replaces another, when it is complete.

    z: what model.encode() returned, [T, C, h, w] float32 or float16; bfloat16 is stored as float32. With 2C channels, moments.
    model: the one that encoded them; the file names it.
    fps: frames per second, as an integer, a Fraction, (30000, 1001), or a float that is rounded to a denominator of at most 1001.
    frames, width, height: as for Model.decode(), if the clip is shorter or smaller than its latents.
    posterior, seed, scaled: how they were encoded; None: "mean", or "moments" with 2C channels.
    note: a text to store, up to 65536 bytes of UTF-8.

    Raises ValueError and TypeError for wrong latents; NotFiniteError, FileError, ArgumentError.
    """
    channels = _checked(model)._channels
    latents = latents_of(z, None, (channels, 2 * channels), "z")
    count, found = latents.shape[:2]
    if posterior is None:
        posterior = "mean" if found == channels else "moments"
    if (found == 2 * channels) != (posterior == "moments"):
        raise ValueError(f"posterior is {posterior!r}, but z has {found} channels")
    frames, width, height, padding = model._clip_of(latents, frames, width, height)
    rate = _rate(fps)
    options = _abi.WriterOptions(fps_num=rate[0], fps_den=rate[1], note=text_bytes("note", note))
    with model.stream(
        width, height, directions="encode", padding=padding, latent_dtype=latents.kind, posterior=posterior, seed=seed, scaled=scaled
    ) as stream:
        writer = made(
            stream._handle, "latent file", library.latent_writer_destroy, library.latent_writer_create,
            path_bytes(path), ctypes.byref(options), keep=options,
        )  # fmt: skip
    try:
        size = SIZES[latents.kind] * int(np.prod(latents.shape[1:]))
        for start in range(0, count, CALL_LIMIT):
            writer.run(library.latent_writer_write, latents.address + start * size, min(CALL_LIMIT, count - start), keep=latents)
        writer.run(library.latent_writer_finish, frames)
    finally:
        writer.close()


def _checked(model: Model) -> Model:
    if not isinstance(model, Model):
        raise TypeError(f"model is a {type(model).__name__}, must be a wfvae.Model")
    return model


def _rate(fps: float | Fraction | tuple[int, int] | None) -> tuple[int, int]:
    if fps is None:
        return 0, 0
    try:
        rate = Fraction(*fps) if isinstance(fps, tuple) else Fraction(fps)
    except (ValueError, OverflowError, ZeroDivisionError):
        raise ValueError(f"fps is {fps!r}, must be a positive rate") from None
    except TypeError:
        raise TypeError(f"fps is {fps!r}, must be an int, a float, a Fraction, or a tuple of two integers") from None
    if isinstance(fps, float):
        rate = rate.limit_denominator(1001)
    if not 0 < rate.numerator < 1 << 32 or rate.denominator >= 1 << 32:
        raise ValueError(f"fps is {fps!r}, must be positive and a ratio of integers below 2**32")
    return rate.numerator, rate.denominator
