# SPDX-License-Identifier: MIT OR Apache-2.0
"""Data sets: encode_files() and decode_files(), which run wfvae-batch."""

from __future__ import annotations

import functools
import operator
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any, Literal

from . import _batch, _inputs
from ._abi import AnyPath
from ._arrays import kind_of
from ._errors import ClipsFailedError, JobError
from ._inputs import Inputs
from ._manifest import Manifest, ManifestRow, failed_since
from ._model import Precision
from ._stream import Posterior

# How many clips an error names.
NAMED = 5


@dataclass(frozen=True)
class JobResult:
    """What one run of a job did."""

    #: The job's folder.
    folder: Path
    #: How many clips are done that were not before.
    done: int
    #: The rows of those that failed.
    failed: list[ManifestRow]
    #: How many clips were done before, by an earlier run with the same folder.
    skipped: int
    #: How many frames the clips have that are done.
    frames: int

    @functools.cached_property
    def manifest(self) -> Manifest:
        """The manifest of the folder: also of clips of earlier runs."""
        return Manifest(self.folder)

    @property
    def rows(self) -> dict[str, ManifestRow]:
        """The manifest's rows, by key."""
        return self.manifest.rows


def encode_files(
    inputs: Inputs,
    output: AnyPath,
    *,
    resume: bool = False,
    shards: int | str | None = None,
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
    quiet: bool = False,
    strict: bool = False,
    on_line: Callable[[str], None] | None = None,
) -> JobResult:
    """Encodes media files to latent files on all cores, and records each in a manifest, from which a job that was stopped goes on.

    The program wfvae-batch does it, in a process of its own; docs/datasets.md says more of all of this.

    inputs: a folder, which is searched for media files, a media file, a list (.txt, .jsonl), or a pattern such as "clips/**/*.mp4";
        or an iterable of these, and of dicts for parts of files: {"path": "a.mp4", "key": "a/first", "start": 1.5, "end": 3.25,
        "expect_frames": 42}, of which only path is needed. Relative paths are relative to the current folder. Keys name the
        outputs, and are those of the command line: of a media file, its name without the ending; of a file in a folder, its path
        below the folder; of a dict, key, or else as in a list: the path without the ending (of an absolute one the name), with
        times as a_1500_3250 for parts.
    output: the folder of the latents, and of the manifest.
    resume: go on with the folder's job, if there is one: encode what is not done, what failed, and what has changed since.
    shards: put latents into tar files for webdataset of at most so many bytes, an integer or a text such as "1G", instead of one
        file for each clip.

    model: the folder of a checkpoint, or one .safetensors file; None: the built-in model.
    provider: "auto" (default), "cpu", "cuda" or "cuda:DEVICE". precision: "f32" (default), "tf32", "f16" or "bf16".
    posterior: "mean" (default), "sample" or "moments". seed: of samples, 0 by default; each clip has one of its own, made from this
        one and its key. dtype: of the files, float16 (default) or float32. scaled: scale by the lists of config.json.

    start, end: seconds from the file's start at which clips begin and end. For files that are given as dicts, theirs come first.
    fps: convert to so many frames a second, by repeating and leaving out frames: 25, 23.976, Fraction(30000, 1001), "30000/1001".
    every: take each N-th frame only. frames: encode the first N frames; a shorter clip fails.
    size: resize frames to (width, height), or "256x256". fit: "crop" (default) or "stretch", where the shapes differ.
    expect_frames: a clip fails if it has another number of frames, before fps and every.
    filter: a filter graph of FFmpeg, such as "bwdif", which comes before all other steps.

    jobs: clips at a time, 1 to 1024; None: one for each CPU. memory: bytes for weights, streams and decoders, an integer or a text
        such as "8G"; None: four fifths of what is free. timeout: a clip fails if none of its frames is decoded for so many seconds,
        60 by default.
    quiet: print nothing but errors. on_line: a function that gets each line, instead of sys.stderr.
    strict: raise ClipsFailedError if clips fail, after all others are done.

    Control-C in the main thread finishes the clips that are being encoded, then KeyboardInterrupt is raised; a second one stops at
    once. Where this process has a handler of its own for it, an exception of that handler stops the job at once. If this process
    ends, whatever ends it, so does the job. In all cases resume=True goes on with it.

    Returns what was done. Clips that fail are rows of the result and do not raise, unless strict is set.

    Raises ProgramMissingError if this package has no wfvae-batch, as on Windows; JobError if the job cannot start or go on, with
    the reason; FileNotFoundError if a pattern matches nothing; TypeError and ValueError for wrong arguments; ClipsFailedError.
    """
    return _run("encode", dict(locals()))


def decode_files(
    inputs: Inputs,
    output: AnyPath,
    *,
    resume: bool = False,
    format: Literal["mp4", "mkv", "png"] | None = None,
    fps: float | Fraction | str | None = None,
    ffmpeg: str | None = None,
    model: AnyPath | None = None,
    provider: str | None = None,
    precision: Precision | None = None,
    any_encoder: bool = False,
    jobs: int | None = None,
    memory: int | str | None = None,
    timeout: float | None = None,
    quiet: bool = False,
    strict: bool = False,
    on_line: Callable[[str], None] | None = None,
) -> JobResult:
    """Decodes latent files to videos on all cores, as encode_files() encodes them.

    inputs: folders, latent files, lists and so on, as for encode_files(); dicts have path and key only.
    output: the folder of the videos, and of the manifest.
    format: "mp4" (default, H.264), "mkv" (FFV1, without loss) or "png" (a folder of pictures for each).
    fps: frames per second of videos whose latents tell no rate, 25 by default. ffmpeg: more options for the program ffmpeg, which
        writes the videos and must be on PATH, separated by blanks, such as "-c:v libx265 -crf 20".
    any_encoder: decode latents of other encoders than the model's.
    The other arguments, the result and the errors are those of encode_files().
    """
    return _run("decode", dict(locals()))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, must be a str")
    return value


def _path(name: str, value: Any) -> str:
    if not isinstance(value, (str, bytes, os.PathLike)):
        raise TypeError(f"{name} is {value!r}, must be a path")
    path = os.fsdecode(value)
    if not path:
        raise ValueError(f"{name} is an empty path")
    return path


def _count(name: str, value: Any) -> str:
    try:
        return str(operator.index(value))
    except TypeError:
        raise TypeError(f"{name} is {value!r}, must be an int") from None


def _bytes(name: str, value: Any) -> str:
    return value if isinstance(value, str) else _count(name, value)


def _seconds(name: str, value: Any) -> str:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, must be a number of seconds")
    return repr(float(value))


def _rate(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, must be an int, a float, a Fraction or a str")
    return str(value) if isinstance(value, (int, Fraction)) else repr(float(value))


def _size(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        width, height = value
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r}, must be (width, height), or a str such as '256x256'") from None
    return f"{_count(name, width)}x{_count(name, height)}"


def _dtype(name: str, value: Any) -> str:
    return kind_of(value, name)


#: Of each keyword that is an option of the program: the option, and what makes its value of a Python value. None: it has no value.
OPTIONS: dict[str, tuple[str, Callable[[str, Any], str] | None]] = {
    "output": ("--output", _path),
    "resume": ("--resume", None),
    "shards": ("--shards", _bytes),
    "format": ("--as", _text),
    "ffmpeg": ("--ffmpeg", _text),
    "model": ("--model", _path),
    "provider": ("--provider", _text),
    "precision": ("--precision", _text),
    "any_encoder": ("--any-encoder", None),
    "posterior": ("--posterior", _text),
    "seed": ("--seed", _count),
    "dtype": ("--type", _dtype),
    "scaled": ("--scaled", None),
    "start": ("--start", _seconds),
    "end": ("--end", _seconds),
    "fps": ("--fps", _rate),
    "every": ("--every", _count),
    "frames": ("--frames", _count),
    "size": ("--size", _size),
    "fit": ("--fit", _text),
    "expect_frames": ("--expect-frames", _count),
    "filter": ("--filter", _text),
    "jobs": ("--jobs", _count),
    "memory": ("--memory", _bytes),
    "timeout": ("--timeout", _seconds),
    "quiet": ("--quiet", None),
}
#: Keywords that are for this package.
OWN = ("inputs", "strict", "on_line")


def options_of(keywords: dict[str, Any]) -> list[str]:
    """The program's options for a function's keywords. Defaults are the program's."""
    found = []
    for name, value in keywords.items():
        if name in OWN or value is None:
            continue
        option, convert = OPTIONS[name]
        if convert:
            # A value that begins with a hyphen is no option.
            found.append(f"{option}={convert(name, value)}")
        elif value:
            found.append(option)
    return found


def _run(command: str, keywords: dict[str, Any]) -> JobResult:
    options = options_of(keywords)
    with _inputs.arguments(keywords["inputs"]) as inputs:
        ended = _batch.run([command, *options, "--", *inputs], keywords["on_line"])
    folder = Path(os.fsdecode(keywords["output"]))
    result = _result(ended, folder)
    if keywords["strict"] and result.failed:
        raise ClipsFailedError(_failures(result), result)
    return result


def _result(ended: _batch.Ended, folder: Path) -> JobResult:
    report = ended.report
    if "error" in report:
        raise JobError(report["error"])
    if report.get("interrupted"):
        raise JobError(f"a signal interrupted wfvae-batch after {report['done']} clips; resume=True goes on")
    if "done" not in report:
        more = f": {ended.text}" if ended.text else ""
        if ended.status in (0, 1):
            raise JobError(f"the program that was run reported nothing: it is not wfvae-batch, or not that of this release{more}")
        raise JobError(f"wfvae-batch {how_ended(ended.status)} before the job was at its end; resume=True goes on{more}")
    failed = failed_since(folder, report["manifest_bytes_before"]) if report["failed"] else []
    return JobResult(folder, report["done"], failed, report["skipped"], report["frames"])


def how_ended(status: int) -> str:
    if status >= 0:
        return f"ended with the exit status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by the signal {-status}"


def _failures(result: JobResult) -> str:
    lines = [f"{row.key}: {row.error}" for row in result.failed[:NAMED]]
    more = len(result.failed) - NAMED
    if more > 0:
        lines.append(f"and {more} more, see {result.folder}")
    return f"{len(result.failed)} of the clips failed:\n" + "\n".join(lines)
