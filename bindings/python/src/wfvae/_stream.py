# SPDX-License-Identifier: MIT OR Apache-2.0
"""Streams: clips that are encoded and decoded piece by piece."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from . import _abi
from ._abi import CALL_LIMIT, library, unsigned, value_of
from ._arrays import (
    SIZES,
    Clip,
    Place,
    View,
    axes_of,
    check_apart,
    clip_of,
    dtype_of,
    kind_of,
    latents_for,
    latents_of,
    new_frames,
    new_latents,
    one_latent,
    view,
)
from ._calls import Handle, made, opened
from ._errors import ArgumentError, Error, error_of

# A call that is expected to take less runs in the main thread itself: Ctrl-C waits for it. A first latent takes a fraction of what
# later ones take, and other programs may slow the CPU, so this is far below the 50 ms in which Ctrl-C ends a call.
SHORT_S = 0.008

# Anything that describes an array; see Model.encode().
Array = Any
Direction = str
Layout = str
MemoryKind = str
Posterior = str
Tiling = str


class StreamInfo(NamedTuple):
    """Sizes and counters of a stream. Sizes in pixels or bytes, counters since the start of the clip; steps since the stream was made."""

    width: int
    height: int
    latent_width: int
    latent_height: int
    #: C of the latents that decoding reads.
    latent_channels: int
    #: Channels that encoding writes: C, or 2C with posterior="moments".
    encoded_channels: int
    #: Bytes of one latent that decoding reads, and that encoding writes.
    latent_size: int
    encoded_size: int
    #: Bytes of the causal caches, waiting frames and buffers.
    encode_state_bytes: int
    decode_state_bytes: int
    frames_in: int
    latents_out: int
    latents_in: int
    frames_out: int
    encode_steps: int
    decode_steps: int
    #: An earlier call failed: call reset().
    needs_reset: bool


class Progress(NamedTuple):
    """Steps of the running call: how many it has run, and will run in all. 0 of 0 if none is running."""

    done: int
    total: int


class Memory(NamedTuple):
    """What a stream takes, in bytes, and how it is tiled; tiles in pixels."""

    total_bytes: int
    weight_bytes: int
    encode_state_bytes: int
    decode_state_bytes: int
    working_bytes: int
    encode_tile_width: int
    encode_tile_height: int
    encode_tiles: int
    decode_tile_width: int
    decode_tile_height: int
    decode_tiles: int


def stream_options(
    width: int,
    height: int,
    directions: str,
    padding: object,
    latent_dtype: Any,
    posterior: str,
    seed: int,
    scaled: object,
    tiling: str,
    tile_width: int,
    tile_height: int,
    tile_overlap: int,
    any_encoder: object,
    clip_frames: int,
    memory_limit: int,
    alpha: object,
    frame_memory: str = "cpu",
    latent_memory: str = "cpu",
    cuda_stream: int = 0,
) -> _abi.Options:
    kind = kind_of(latent_dtype, "the latents' dtype")
    if kind not in _abi.LATENT_TYPES:
        raise ValueError(f"the latents' dtype is {latent_dtype!r}, must be float32 or float16")
    return _abi.Options(
        width=unsigned("width", width),
        height=unsigned("height", height),
        directions=value_of("directions", _abi.DIRECTIONS, directions),
        padding=bool(padding),
        latent_type=_abi.LATENT_TYPES.index(kind),
        posterior=value_of("posterior", _abi.POSTERIORS, posterior),
        seed=unsigned("seed", seed, 64),
        scaled=bool(scaled),
        tiling=value_of("tiling", _abi.TILINGS, tiling),
        tile_width=unsigned("tile_width", tile_width),
        tile_height=unsigned("tile_height", tile_height),
        tile_overlap=unsigned("tile_overlap", tile_overlap),
        any_encoder=bool(any_encoder),
        clip_frames=unsigned("clip_frames", clip_frames, 64),
        memory_limit=unsigned("memory_limit", memory_limit, 64),
        alpha=bool(alpha),
        frame_memory=value_of("frame_memory", _abi.MEMORY_KINDS, frame_memory),
        latent_memory=value_of("latent_memory", _abi.MEMORY_KINDS, latent_memory),
        cuda_stream=unsigned("cuda_stream", cuda_stream, 64) or None,
    )


def places_of(frame_memory: str, latent_memory: str, cuda_stream: int, device: int) -> tuple[Place, Place]:
    """Where a stream's frames and latents are."""
    stream = unsigned("cuda_stream", cuda_stream, 64) or 1
    if stream == 2:
        raise ValueError("cuda_stream is 2, the default stream of each thread, but calls run in several threads: pass another one")
    kinds = {"frame_memory": frame_memory, "latent_memory": latent_memory}
    frames, latents = (
        Place(option, device if value_of(option, _abi.MEMORY_KINDS, kind) else None, stream) for option, kind in kinds.items()
    )
    return frames, latents


class Snapshot:
    """A stream's state at one point of its clip. Never changes; may be restored any number of times, to several streams.

    bytes(snapshot) and pickle keep it beyond the process; Snapshot(data) reads such bytes and raises ArgumentError for others.
    """

    __slots__ = ("_handle",)

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        raw = np.frombuffer(data, np.uint8)
        self._handle = opened(
            "snapshot", library.snapshot_destroy, library.snapshot_read, raw.ctypes.data, raw.size, keep=raw, survives=True
        )

    @classmethod
    def _of(cls, handle: Handle) -> Snapshot:
        snapshot = cls.__new__(cls)
        snapshot._handle = handle
        return snapshot

    @property
    def nbytes(self) -> int:
        """Bytes of bytes(snapshot)."""
        return self._handle.value(library.snapshot_size)  # type: ignore[no-any-return]

    def __bytes__(self) -> bytes:
        memory, written = np.empty(self.nbytes, np.uint8), ctypes.c_size_t()
        self._handle.run(library.snapshot_write, memory.ctypes.data, memory.size, ctypes.byref(written), keep=(memory, written))
        return memory.tobytes()

    def __reduce__(self) -> tuple[type[Snapshot], tuple[bytes]]:
        return type(self), (bytes(self),)


class Stream:
    """Encodes and decodes clips of one size piece by piece; Model.stream() makes it. Output does not depend on how a clip is split.

    The two directions are independent of each other. One thread at a time may use a stream (otherwise BusyError); cancel(), progress
    and close() are allowed at any time. Calls let other Python threads run.

    Ctrl-C, or another signal handler that raises, ends a call: it raises KeyboardInterrupt, and the stream needs reset() or restore();
    until then its calls raise CancelledError or NeedsResetError.

    It closes itself when it is forgotten; `with` closes it at once.
    """

    def __init__(self, model: Handle, options: _abi.Options, places: tuple[Place, Place]) -> None:
        handle = made(model, "stream", library.destroy, library.create, ctypes.byref(options), keep=options)
        self._start(handle, _abi.LATENT_TYPES[options.latent_type], places)

    def _start(self, handle: Handle, kind: str, places: tuple[Place, Place]) -> None:
        self._handle = handle
        self._kind = kind
        self._frames_at, self._latents_at = places
        # Empty tensors like those that the last call of each direction was given, for the results of the flushes.
        self._encode_like: Any = None
        self._decode_like: Any = None
        # Of each function, the most seconds that it took for one latent.
        self._paces: dict[str, float] = {}
        # Only read by calls that keep the GIL.
        self._progress = ctypes.create_string_buffer(_abi.PROGRESS.pack(_abi.PROGRESS.size, 0, 0), _abi.PROGRESS.size)
        info = self.info
        self._encoded = info.encoded_channels, info.latent_height, info.latent_width
        self._decoded = info.latent_channels, info.latent_height, info.latent_width
        self._size = info.width, info.height

    # Results.

    @property
    def info(self) -> StreamInfo:
        """Sizes and counters. BusyError while another thread is inside a call."""
        raw = ctypes.create_string_buffer(_INFO_START, _abi.INFO.size)
        self._handle.short(library.get_info, raw)
        values = _abi.INFO.unpack(raw)
        return StreamInfo._make((*values[1:17], values[17] != 0))

    @property
    def progress(self) -> Progress:
        """Steps of the running call, from any thread: (done, total); (0, 0) if none is running."""
        raw = self._progress
        self._handle.short(library.get_progress, raw)
        _, done, total = _abi.PROGRESS.unpack(raw)
        return Progress(done, total)

    # Encoding.

    def encode(self, video: Array, *, layout: Layout = "THWC", range: str = "unit", bit_depth: int = 0, out: Any = None) -> Any:
        """Encodes frames and returns the latents that they complete, [n, C, h, w]; n may be 0.

        video, layout, range, bit_depth: as for Model.encode(), of the stream's size, 1 to 65536 frames. With alpha=True, 4 channels.
        out: memory for the result, [n or more, C, h, w] without gaps; out[:n] is returned.

        A failure with a status below 300 leaves the stream as it was. Raises as Model.encode(); StateError after encode_flush().
        """
        return self._encode(clip_of(video, layout, range, bit_depth, "video", place=self._frames_at), out)

    def encode_flush(self, *, out: Any = None) -> Any:
        """Ends the clip: returns the latent of an incomplete last group, [0 or 1, C, h, w]. The last frame is repeated for missing ones."""
        count = ctypes.c_size_t()
        self._handle.short(library.encode_flush_count, ctypes.byref(count))
        return self._write_latents(count.value, out, library.encode_flush)

    def encode_iter(self, frames: Iterable[Array], *, layout: Layout = "HWC", range: str = "unit", bit_depth: int = 0) -> Iterator[Any]:
        """Encodes frames one by one, [H, W, C] or in another layout, and yields each latent [C, h, w] as soon as it is complete.

        Ends the clip when the iterable ends. If the iterable raises, or the iterator is dropped, the stream keeps its place: go on with
        more frames, or reset(). info.frames_in counts the frames that it has taken.
        """
        axes_of(layout, "HWC")
        value_of("range", _abi.RANGES, range)
        return self._encode_each(iter(frames), layout, range, bit_depth)

    def _encode_each(self, frames: Iterator[Array], layout: str, range: str, bit_depth: int) -> Iterator[Any]:
        for frame in frames:
            yield from self._encode(clip_of(frame, layout, range, bit_depth, "a frame", axes="HWC", place=self._frames_at), None, "a frame")
        yield from self.encode_flush()

    def _encode(self, clip: Clip, out: Any, what: str = "video") -> Any:
        self._check_size(clip, what)
        self._encode_like = _empty_like(clip.view)
        count = ctypes.c_size_t()
        self._handle.short(library.encode_count, clip.count, ctypes.byref(count))
        return self._write_latents(count.value, out, library.encode_frames, ctypes.byref(clip.frames), keep=clip)

    def _write_latents(self, count: int, out: Any, function: Callable[..., Any], *arguments: Any, keep: Clip | None = None) -> Any:
        shape = (count, *self._encoded)
        target: Any
        if out is None:
            result = new_latents(self._kind, shape, self._latents_at, self._encode_like)
            # The shorter way for NumPy. A tensor may reuse memory on which there is work: view() waits for that.
            target = result if self._latents_at.device is None else view(result, "the result", place=self._latents_at)
            address = result.__array_interface__["data"][0] if target is result else target.address
        else:
            room = _first_axis(out, "out")
            if room < count:
                raise ValueError(f"out has room for {room} latents, needed are {count}")
            target = latents_for(out, self._kind, (room, *self._encoded), self._latents_at)
            if keep is not None:
                check_apart(target, keep.view, "video")
            address = target.address
            result = _sliced(out, slice(count))
        written = ctypes.c_size_t()
        self._run_counted(count, function, *arguments, address, count, ctypes.byref(written), keep=(keep, target, written))
        return result if written.value == count else result[: written.value]

    def _encode_clip(self, clip: Clip, count: int, out: Any) -> Any:
        shape = (count, *self._encoded)
        result = new_latents(self._kind, shape, self._latents_at, clip.view.like) if out is None else out
        target = latents_for(result, self._kind, shape, self._latents_at)
        check_apart(target, clip.view, "video")
        address = target.address
        size = SIZES[self._kind] * int(np.prod(self._encoded))
        written, done = ctypes.c_size_t(), 0
        for part in _parts(clip):
            self._run(library.encode_frames, ctypes.byref(part.frames), address + done * size, count - done, ctypes.byref(written), keep=(part, target, written))
            done += written.value
        self._run(library.encode_flush, address + done * size, count - done, ctypes.byref(written), keep=(target, written))
        if done + written.value != count:
            raise Error(f"encoding gave {done + written.value} latents instead of {count}")
        return result

    # Decoding.

    def decode(
        self,
        z: Array,
        *,
        dtype: Any = np.uint8,
        layout: Layout = "THWC",
        range: str = "unit",
        bit_depth: int = 0,
        channels: int = 3,
        out: Any = None,
    ) -> Any:
        """Decodes latents [n, C, h, w], 1 to 65536 of them, and returns the frames that are final, [m, H, W, channels]; m may be 0.

        The stream holds back decode_delay frames (Model.info) until the next latent or decode_flush().
        dtype, layout, range, bit_depth, channels, out: as for Model.decode(); out has room for m or more frames, and its first m are
        returned.
        """
        latents = latents_of(z, self._kind, (self._decoded[0],), "z", self._latents_at)
        if latents.shape[1:] != self._decoded:
            raise ValueError(f"z has the shape {latents.shape}, must be [T, {', '.join(map(str, self._decoded))}]")
        self._decode_like = _empty_like(latents)
        count = ctypes.c_size_t()
        self._handle.short(library.decode_count, latents.shape[0], ctypes.byref(count))
        return self._write_frames(
            count.value, dtype, layout, range, bit_depth, channels, out,
            latents.shape[0], library.decode_frames, latents.address, latents.shape[0], keep=latents,
        )  # fmt: skip

    def decode_flush(
        self,
        *,
        dtype: Any = np.uint8,
        layout: Layout = "THWC",
        range: str = "unit",
        bit_depth: int = 0,
        channels: int = 3,
        out: Any = None,
    ) -> Any:
        """Ends the clip: returns the frames that were held back, as decode() does."""
        count = ctypes.c_size_t()
        self._handle.short(library.decode_flush_count, ctypes.byref(count))
        return self._write_frames(count.value, dtype, layout, range, bit_depth, channels, out, 1, library.decode_flush_frames)

    def decode_iter(
        self,
        latents: Iterable[Array],
        *,
        frames: int | None = None,
        dtype: Any = np.uint8,
        layout: Layout = "HWC",
        range: str = "unit",
        bit_depth: int = 0,
        channels: int = 3,
    ) -> Iterator[Any]:
        """Decodes latents [C, h, w] one by one, and yields each frame as soon as it is final, [H, W, channels] or in another layout.

        frames: the clip's length; see set_frame_count(). Ends the clip when the iterable ends; see encode_iter().
        """
        axes_of(layout, "HWC")
        value_of("range", _abi.RANGES, range)
        dtype_of(dtype, "dtype")
        if frames is not None:
            self.set_frame_count(frames)
        return self._decode_each(iter(latents), dtype, "T" + layout, range, bit_depth, channels)

    def _decode_each(self, latents: Iterator[Array], dtype: Any, layout: str, range: str, bit_depth: int, channels: int) -> Iterator[Any]:
        for z in latents:
            yield from self.decode(one_latent(z, self._latents_at), dtype=dtype, layout=layout, range=range, bit_depth=bit_depth, channels=channels)
        yield from self.decode_flush(dtype=dtype, layout=layout, range=range, bit_depth=bit_depth, channels=channels)

    def _write_frames(
        self,
        count: int,
        dtype: Any,
        layout: str,
        range: str,
        bit_depth: int,
        channels: int,
        out: Any,
        units: int,
        function: Callable[..., Any],
        *arguments: Any,
        keep: View | None = None,
    ) -> Any:
        width, height = self._size
        places = axes_of(layout)
        if out is None:
            result = new_frames(dtype, layout, count, height, width, channels, self._frames_at, self._decode_like)
        else:
            room = _first_axis(out, "out", places[0])
            if room < count:
                raise ValueError(f"out has room for {room} frames, needed are {count}")
            result = _sliced(out, (slice(None),) * places[0] + (slice(0, count),))
        written = ctypes.c_size_t()
        if count == 0:
            # The call still takes the latents, and needs no room.
            empty = _abi.Frames(_abi.FRAMES_SIZE, ctypes.pointer(_abi.Frame(_abi.FRAME_SIZE)), 0)
            self._run_counted(units, function, *arguments, ctypes.byref(empty), ctypes.byref(written), keep=(keep, empty, written))
            return result
        clip = clip_of(result, layout, range, bit_depth, "out" if out is not None else "the result", writing=True, place=self._frames_at)
        self._check_size(clip, "out")
        if keep is not None:
            check_apart(clip.view, keep, "z")
        self._run_counted(units, function, *arguments, ctypes.byref(clip.frames), ctypes.byref(written), keep=(keep, clip, written))
        return result if written.value == count else result[(slice(None),) * places[0] + (slice(0, written.value),)]

    def _decode_clip(self, latents: View, clip: Clip, frames: int) -> None:
        check_apart(clip.view, latents, "z")
        self.set_frame_count(frames)
        n_latents = latents.shape[0]
        size = SIZES[latents.kind] * int(np.prod(latents.shape[1:]))
        written, done = ctypes.c_size_t(), 0
        for start in range(0, n_latents, CALL_LIMIT):
            part = _rest(clip, done)
            latent_count = min(CALL_LIMIT, n_latents - start)
            self._run(library.decode_frames, latents.address + start * size, latent_count, ctypes.byref(part.frames), ctypes.byref(written), keep=(part, latents, written))
            done += written.value
        part = _rest(clip, done)
        self._run(library.decode_flush_frames, ctypes.byref(part.frames), ctypes.byref(written), keep=(part, written))
        if done + written.value != frames:
            raise Error(f"decoding gave {done + written.value} frames instead of {frames}")

    # The clip.

    def set_frame_count(self, frames: int | None) -> None:
        """Tells the decoder the clip's length, so that it does not return the frames that encode_flush() added. None: no limit.

        Call it before the last latents are decoded; an Error if it is too late. reset() forgets it.
        """
        value = (1 << 64) - 1 if frames is None else unsigned("frames", frames, 64)
        self._handle.short(library.set_frame_count, value)

    def set_seed(self, seed: int) -> None:
        """Gives the samples of the next clip the noise of another seed than Model.stream()'s. A reset keeps it.

        A LatentWriter writes the seed that is set when it is made. An Error in the middle of a clip, and if the posterior is not
        "sample".
        """
        self._handle.short(library.set_seed, unsigned("seed", seed, 64))

    def reset(self) -> None:
        """Starts a new clip in both directions. Forgets what waits, the frame count, any failure and any cancellation."""
        self._handle.run(library.reset, direct=True)

    def cancel(self) -> None:
        """Ends the call that another thread is running on the stream, which raises CancelledError; if none is running, the next one.

        Lasts until reset() or restore(). Allowed from any thread at any time.
        """
        self._handle.cancel()

    def snapshot(self) -> Snapshot:
        """Takes a snapshot of the stream's state, to return to later. NeedsResetError if an earlier call failed."""
        return Snapshot._of(made(self._handle, "snapshot", library.snapshot_destroy, library.snapshot_create, survives=True))

    def restore(self, snapshot: Snapshot) -> None:
        """Returns to a snapshot's state, in both directions. It must be of the same model, size, directions and tiles.

        Raises ArgumentError or SizeError if it is not.
        """
        if not isinstance(snapshot, Snapshot):
            raise TypeError(f"snapshot is a {type(snapshot).__name__}, must be a wfvae.Snapshot; Snapshot(data) makes one of bytes")
        other = snapshot._handle
        self._handle.run(_with(other, library.snapshot_restore), keep=other)

    def fork(self) -> Stream:
        """A second stream at the same point of the clip, independent of this one."""
        stream = type(self).__new__(type(self))
        stream._start(made(self._handle, "stream", library.destroy, library.fork), self._kind, (self._frames_at, self._latents_at))
        stream._encode_like, stream._decode_like = self._encode_like, self._decode_like
        return stream

    def close(self) -> None:
        """Closes the stream. A call that another thread is running is cancelled there. May be called again."""
        self._handle.close()

    def _run(self, function: Callable[..., Any], *arguments: Any, keep: Any, direct: bool = False) -> None:
        self._handle.run(function, *arguments, keep=keep, direct=direct)

    def _run_counted(self, units: int, function: Callable[..., Any], *arguments: Any, keep: Any) -> None:
        """A call with the room that the library counted just before. Only another thread can have changed the count.

        units: latents that it works on; 0: it only stores frames.
        """
        name = function.__name__
        pace = self._paces.get(name)
        direct = units == 0 or (pace is not None and pace * units < SHORT_S)
        start = time.perf_counter()
        try:
            self._run(function, *arguments, keep=keep, direct=direct)
            if units:
                self._paces[name] = max(pace or 0.0, (time.perf_counter() - start) / units)
        except ArgumentError as error:
            if error.status != _abi.STATUS_CAPACITY:
                raise
            raise error_of(_abi.STATUS_BUSY, "another thread used this stream meanwhile; give each thread a stream of its own") from None
        except Error:
            raise
        except BaseException:
            # The call may have ended, but its caller does not get the result.
            self._handle.poison()
            raise

    def _check_size(self, clip: Clip, what: str) -> None:
        if (clip.width, clip.height) != self._size:
            raise ValueError(f"{what} is {clip.width}x{clip.height}, but the stream's frames are {self._size[0]}x{self._size[1]}; layout= names the order of the axes")

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        closed = ", closed" if self._handle.pointer is None else ""
        return f"<wfvae.Stream of {self._size[0]}x{self._size[1]}{closed}>"


_INFO_START = _abi.INFO.pack(_abi.INFO.size, *(0,) * 18)


def _with(other: Handle, function: Callable[..., Any]) -> Callable[..., Any]:
    """A call that also uses another handle, which may be closed meanwhile."""

    def call(pointer: int, *arguments: Any) -> Any:
        return other.value(lambda second: function(pointer, second, *arguments))

    return call


def _empty_like(given: View) -> Any:
    """It keeps the tensor's kind and device, but not its memory."""
    return None if given.like is None else given.like.new_empty(0)


def _first_axis(out: Any, what: str, axis: int = 0) -> int:
    shape = getattr(out, "shape", None)
    if shape is None or len(shape) != 4:
        raise ValueError(f"{what} must be an array or a tensor with 4 axes")
    return int(shape[axis])


def _sliced(out: Any, index: Any) -> Any:
    try:
        return out[index]
    except (TypeError, IndexError, NotImplementedError):
        raise TypeError(f"out is a {type(out).__name__}, of which a stream cannot return the part that it wrote: pass a NumPy array or a tensor") from None


def _rest(clip: Clip, start: int) -> Clip:
    """The frames from `start` on."""
    return _part(clip, start, clip.count - start)


def _parts(clip: Clip) -> Iterator[Clip]:
    for start in range(0, clip.count, CALL_LIMIT):
        yield _part(clip, start, min(CALL_LIMIT, clip.count - start))


def _part(clip: Clip, start: int, count: int) -> Clip:
    if start == 0 and count == clip.count:
        return clip
    first = _abi.Frame.from_buffer_copy(clip.first)
    step = clip.frames.frame_strides[0]
    for i in range(4):
        if first.planes[i]:
            first.planes[i] += start * step
    part = Clip.__new__(Clip)
    part.view, part.first, part.count, part.width, part.height = clip.view, first, count, clip.width, clip.height
    part.frames = _abi.Frames(_abi.FRAMES_SIZE, ctypes.pointer(first), count, clip.frames.frame_strides)
    return part
