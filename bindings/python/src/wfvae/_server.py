# SPDX-License-Identifier: MIT OR Apache-2.0
"""A wfvae-batch that stays open, and encodes clips as they are asked for."""

from __future__ import annotations

import json
import math
import operator
import os
import queue
import subprocess
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from . import _batch
from ._abi import AnyPath
from ._errors import JobError, ProgramMissingError
from ._inputs import is_unicode
from ._jobs import how_ended, options_of
from ._manifest import ManifestRow, row_of
from ._model import Precision
from ._stream import Posterior

# Clips that the program has for each that it works on, so that it never waits.
AHEAD = 2
# Of latents, which are given back in memory. A row of a table holds no more, and larger ones are better in files.
CONTENT_BYTES = (1 << 31) - 1
# How much of its messages an error shows.
MESSAGE_BYTES = 4000
TYPES = {"F16": "f16", "F32": "f32"}
DTYPES = {"f16": "<f2", "f32": "<f4"}
DIED = "was ended twice while it encoded this clip, the second time while it encoded nothing else"


def array_of(data: bytes | memoryview, kind: str, shape: Sequence[int]) -> np.ndarray[Any, Any]:
    """Latents as an array, which is the caller's: PyTorch makes tensors only of arrays that can be written to."""
    if kind not in DTYPES:
        raise ValueError(f"the type of latents is {kind!r}, must be 'f16' or 'f32'")
    latents: np.ndarray[Any, Any] = np.frombuffer(data, np.dtype(DTYPES[kind]))
    return latents.reshape(shape).copy()


class LatentContent(NamedTuple):
    """The parts of a latent file in memory."""

    #: Of latents: C order, little-endian.
    data: memoryview
    #: [T, C, h, w].
    shape: list[int]
    #: "f16" or "f32".
    type: str
    #: Strings; docs/formats.md describes them.
    metadata: dict[str, str]


class EncodedClip(NamedTuple):
    """What became of a clip."""

    #: Of the manifest: key, source, frames and so on; error, if it failed.
    row: ManifestRow
    #: The whole latent file; None: the clip failed.
    content: bytes | None

    def parts(self) -> LatentContent:
        """Raises JobError if the clip failed."""
        content = self._content()
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        metadata = header.pop("__metadata__")
        (tensor,) = header.values()
        return LatentContent(memoryview(content)[start:], tensor["shape"], TYPES[tensor["dtype"]], metadata)

    def latents(self) -> np.ndarray[Any, Any]:
        """[T, C, h, w]; 2C channels of moments. Raises JobError if the clip failed."""
        parts = self.parts()
        return array_of(parts.data, parts.type, parts.shape)

    def _content(self) -> bytes:
        if self.content is None:
            raise JobError(f"{self.row.key}: {self.row.error}")
        return self.content


class ClipEncoder:
    """Encodes clips, which are files or parts of files, as they are asked for. The model is opened once.

    The program wfvae-batch does it, in a process of its own. It starts with the first clip, so a ClipEncoder can be made in one
    process and used in others, which may be forked or get it pickled: each has a program of its own. The program ends with close(),
    or when its process ends, whatever ends it.

    cpus: threads of the program; None: OMP_NUM_THREADS, or all that the system allows. The other options are those of
        encode_files().

        with wfvae.ClipEncoder(posterior="moments", size=(256, 256)) as encoder:
            for clip in encoder.encode([{"path": "a.mp4", "key": "a", "end": 2.5}]):
                z = clip.latents()
    """

    def __init__(
        self,
        *,
        model: AnyPath | None = None,
        provider: str | None = None,
        precision: Precision | None = None,
        posterior: Posterior | None = None,
        seed: int | None = None,
        dtype: Any = None,
        scaled: bool = False,
        start: float | None = None,
        end: float | None = None,
        fps: float | Fraction | str | None = None,
        every: int | None = None,
        frames: int | None = None,
        size: tuple[int, int] | str | None = None,
        fit: Literal["crop", "stretch"] | None = None,
        expect_frames: int | None = None,
        filter: str | None = None,
        jobs: int | None = None,
        memory: int | str | None = None,
        timeout: float | None = None,
        cpus: int | None = None,
    ) -> None:
        """Raises TypeError and ValueError for values that no option can have."""
        keywords = {name: value for name, value in locals().items() if name not in ("self", "cpus")}
        self._options = options_of(keywords)
        self._cpus = cpus
        self._window = AHEAD * (jobs or cpus or os.cpu_count() or 1)
        self._program: _Program | None = None
        self._finalizer: weakref.finalize[[], ClipEncoder] | None = None
        self._forget()

    @property
    def job(self) -> dict[str, Any]:
        """What all clips have in common: the line of the job in a manifest (docs/formats.md).

        Starts the program. Raises JobError if it cannot open the model or run, with the reason; ProgramMissingError.
        """
        return self._started().job

    def encode(self, clips: Iterable[Mapping[str, Any]]) -> Iterator[EncodedClip]:
        """Encodes clips, many at a time, and gives them in their order.

        clips: the fields of a list's line: path, key, start, end, expect_frames. path and key are needed. Of two clips with one key
            in a call the second fails.

        Clips that fail have an error and do not raise. If the program is ended, by the system for lack of memory, say, it is
        started again, and encodes the clips that it was encoding once more, one after the other; one that ends it again fails.
        Raises JobError if the program cannot be started.
        """
        program = self._started()
        if not self._lock.acquire(blocking=False):
            raise JobError("this ClipEncoder is encoding clips already; each thread needs one of its own")
        call = _Call(program, clips, self._window)
        try:
            yield from call.run()
        finally:
            # What an earlier call asked for must not come in a later one.
            if call.order:
                self.close()
            self._lock.release()

    def close(self) -> None:
        """Ends the program. It is started again if more is asked for."""
        if self._finalizer and self._process_id == os.getpid():
            self._finalizer()
        self._program = None

    def _started(self) -> _Program:
        if self._process_id != os.getpid():
            # After a fork, the program is the parent's.
            if self._program and self._finalizer:
                self._finalizer.detach()
                self._program.leave()
            self._forget()
        if self._program is None:
            program = self._program = _Program(self._options, self._cpus)
            self._finalizer = weakref.finalize(self, program.close)
        return self._program

    def _forget(self) -> None:
        self._process_id = os.getpid()
        self._lock = threading.Lock()
        self._program = self._finalizer = None

    def __enter__(self) -> ClipEncoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"_options": self._options, "_cpus": self._cpus, "_window": self._window}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()


class _Asked(NamedTuple):
    """A clip that the program is to encode."""

    place: int
    key: str
    path: str
    line: bytes


class _Call:
    """One call of ClipEncoder.encode()."""

    def __init__(self, program: _Program, clips: Iterable[Mapping[str, Any]], window: int) -> None:
        self.program = program
        self.clips = enumerate(clips)
        self.window = window
        # Of all clips so far.
        self.keys: set[str] = set()
        # Places of the clips that are not given back yet.
        self.order: deque[int] = deque()
        self.results: dict[int, ManifestRow] = {}
        # What the program has, by key.
        self.outstanding: dict[str, _Asked] = {}
        # What it had when it ended. These clips are encoded one after the other.
        self.again: deque[_Asked] = deque()
        self.alone = False

    def run(self) -> Iterator[EncodedClip]:
        while True:
            self._ask()
            while self.order and self.order[0] in self.results:
                encoded = _taken(self.results.pop(self.order[0]))
                self.order.popleft()
                yield encoded
            if not self.order:
                return
            if not self.outstanding:
                continue
            answer = self.program.next_row()
            if answer is None:
                self._begin_again()
            elif asked := self.outstanding.pop(answer.key, None):
                self.results[asked.place] = answer

    def _ask(self) -> None:
        """Gives the program as many clips as it may have."""
        if self.again or self.alone:
            if self.outstanding:
                return
            self.alone = bool(self.again)
            if self.alone:
                self._send(self.again.popleft())
                return
        while len(self.outstanding) < self.window:
            place, clip = next(self.clips, (0, None))
            if clip is None:
                return
            self.order.append(place)
            line, error = _line(clip)
            key, path = line["key"], line["path"]
            if error is None and key in self.keys:
                error = "another clip of the same batch has its key"
            if error is None:
                self.keys.add(key)
                self._send(_Asked(place, key, path, json.dumps(line).encode() + b"\n"))
            else:
                self.results[place] = failed_row(key, path, error)

    def _send(self, asked: _Asked) -> None:
        self.outstanding[asked.key] = asked
        self.program.send(asked.line)

    def _begin_again(self) -> None:
        """The program has ended."""
        outstanding = list(self.outstanding.values())
        self.outstanding.clear()
        if self.alone:
            for place, key, path, _ in outstanding:
                self.results[place] = failed_row(key, path, f"wfvae-batch {self.program.how()}; it {DIED}")
        else:
            self.again.extend(outstanding)
        self.program.start()


class _Program:
    """The running program, and the folder that it writes to."""

    def __init__(self, options: list[str], cpus: int | None) -> None:
        self.program = _batch.find()
        # Which is not for Windows; neither is this.
        from ._scratch import Scratch

        self.options = options
        self.environment = _batch.environment()
        if cpus is not None:
            self.environment["OMP_NUM_THREADS"] = str(cpus)
        self.scratch = Scratch()
        self.folder = self.scratch.path / "latents"
        self.messages = self.scratch.path / "messages"
        self.process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Starts it, again if it has ended."""
        self._end()
        try:
            with self.messages.open("wb") as messages:
                self.process = subprocess.Popen(
                    [self.program, "serve", f"--output={self.folder}", "--quiet", *self.options],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=messages,
                    env=self.environment,
                    pass_fds=(self.scratch.lock,),
                    # Control-C in a terminal is for this process.
                    start_new_session=True,
                )
        except OSError as error:
            raise ProgramMissingError(f"{self.program} cannot be started: {error.strerror}") from None
        # Lines; then None.
        self.lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(self.process.stdout, self.lines), daemon=True).start()
        first = self.lines.get()
        if first is None:
            raise JobError(self._text() or f"wfvae-batch {self.how()} before it could encode a clip")
        #: The line that describes the job.
        self.job: dict[str, Any] = json.loads(first)

    def send(self, line: bytes) -> None:
        assert self.process and self.process.stdin
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
        except BrokenPipeError:
            # It has ended, and so have its lines.
            pass

    def next_row(self) -> ManifestRow | None:
        """None: the program has ended."""
        line = self.lines.get()
        return None if line is None else row_of(json.loads(line), line, self.folder)

    def how(self) -> str:
        """How it ended."""
        assert self.process
        how, text = how_ended(self.process.wait()), self._text()
        return f"{how} ({text})" if text else how

    def close(self) -> None:
        self._end()
        self.scratch.remove()

    def leave(self) -> None:
        """After a fork: closes this process's ends of the pipes, with which the parent's program would outlive the parent. Python's
        files may be in use in threads of the parent, so only what they refer to is replaced."""
        null = os.open(os.devnull, os.O_RDWR)
        for file in (self.process.stdin, self.process.stdout) if self.process else ():
            if file and not file.closed:
                os.dup2(null, file.fileno(), inheritable=False)
        os.close(null)

    def _text(self) -> str:
        """The last of its messages."""
        text = self.messages.read_bytes()[-MESSAGE_BYTES:].decode("utf-8", "replace").strip()
        # A wrong option is followed by the usage.
        return text.split("\n\n")[0].removeprefix("wfvae-batch: ").removeprefix("error: ")

    def _end(self) -> None:
        if self.process is None:
            return
        # Its decoders end with it.
        self.process.kill()
        self.process.wait()
        assert self.process.stdin
        try:
            self.process.stdin.close()
        except OSError:
            # What it did not read.
            pass
        self.process = None


def _read(pipe: Any, lines: queue.SimpleQueue[bytes | None]) -> None:
    with pipe:
        for line in pipe:
            # One without an end is of a program that was killed.
            if line.endswith(b"\n"):
                lines.put(line)
    lines.put(None)


def _line(clip: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The line of a list, and what is wrong with it that JSON cannot tell the program."""
    line: dict[str, Any] = {}
    for name in "path", "key":
        if not isinstance(clip.get(name), (str, os.PathLike)):
            raise TypeError(f"a clip's {name} is {clip.get(name)!r}, must be a str")
        line[name] = os.fspath(clip[name])
        if not is_unicode(line[name]):
            return {**line, "key": str(clip.get("key"))}, f"its {name} is not Unicode"
    for name in "start", "end":
        # Arrow, NumPy and pandas have None or NaN for what is missing.
        if clip.get(name) is not None and not math.isnan(clip[name]):
            line[name] = float(clip[name])
            if math.isinf(line[name]):
                return line, f"its {name} is {line[name]}, must be a number of seconds"
    frames = clip.get("expect_frames")
    if frames is not None and frames == frames:
        line["expect_frames"] = int(frames) if isinstance(frames, float) and frames.is_integer() else operator.index(frames)
    return line, None


def sample_name(key: str) -> str:
    """The name of a clip in a shard: the key without dots in its last part, as webdataset takes what follows one for the ending."""
    folders, slash, name = key.rpartition("/")
    return folders + slash + name.replace("%", "%25").replace(".", "%2E")


def failed_row(key: str, path: str, error: str) -> ManifestRow:
    """The row of a clip of which the program tells none."""
    line = {"key": key, "source": {"path": path, "bytes": 0, "modified": 0}, "failed": {"error": error}, "seconds": 0.0}
    return row_of(line, json.dumps(line).encode(), Path())


def _taken(row: ManifestRow) -> EncodedClip:
    """The clip with its latent file, which is removed."""
    if row.output is None:
        return EncodedClip(row, None)
    size = row.output.stat().st_size
    if size <= CONTENT_BYTES:
        content = row.output.read_bytes()
        row.output.unlink()
        return EncodedClip(row, content)
    row.output.unlink()
    error = f"its latents take {size} bytes, more than the {CONTENT_BYTES} that can be given back: ask for parts, by start and end"
    return EncodedClip(failed_row(row.key, row.source, error), None)
