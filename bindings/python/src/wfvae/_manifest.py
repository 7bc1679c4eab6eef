# SPDX-License-Identifier: MIT OR Apache-2.0
"""Reads the manifests that wfvae-batch writes; docs/formats.md describes them."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from ._abi import AnyPath
from ._errors import FileError, ManifestError

NAME = "manifest.jsonl"
FORMAT, VERSION = "wfvae-batch", 1
# Fields of `done` and `failed`, which may be left out.
RESULT: dict[str, type] = {
    "error": str, "output": str, "frames": int, "latents": int, "width": int, "height": int, "fps": str, "tile": str,
}  # fmt: skip


class Shard(NamedTuple):
    """A file with many clips that is complete."""

    path: Path
    bytes: int
    #: Of its clips, in their order.
    keys: tuple[str, ...]


class ManifestRow(NamedTuple):
    """What became of a clip.

    A data set may have millions of them, so they are small: what takes memory is made when it is asked for.
    """

    key: str
    #: The file that was read.
    source: str
    #: The part of it that was asked for, in seconds; None: from its start, or to its end.
    start: float | None
    end: float | None
    #: Why it failed; None: it is done.
    error: str | None
    #: The shard that holds what was written; None: it is in a file of its own.
    shard: Path | None
    #: What was written. 0 if it failed.
    frames: int
    latents: int
    width: int
    height: int
    #: Frames per second; None: unknown.
    fps: Fraction | None
    #: Size of the tiles in which it was processed, such as "384x352"; None: it was processed as a whole.
    tile: str | None
    #: Seconds that the clip took.
    seconds: float
    #: The job's folder.
    folder: Path
    #: Its line in the manifest.
    text: bytes

    @property
    def output(self) -> Path | None:
        """The file, or the folder of pictures, that was written; None: it failed, or is in a shard."""
        name = None if self.error is not None or self.shard else self.line["done"].get("output")
        return None if name is None else self.folder / name

    @property
    def line(self) -> dict[str, Any]:
        """All fields of its line."""
        fields: dict[str, Any] = json.loads(self.text)
        return fields


class Manifest:
    """The manifest of a job: what became of each clip. It may be read while the job runs, and holds what was recorded then.

    folder: the job's folder, or the manifest.jsonl in it.

    len(manifest) counts the clips, and iterating gives their rows, in the order of their keys.

    Raises FileError if it cannot be read, ManifestError if it is none, or one of a later version.
    """

    #: The job's folder.
    folder: Path
    #: The line of the job: model, posterior, latent_type and so on.
    job: dict[str, Any]
    #: The row that counts of each clip, by key.
    rows: dict[str, ManifestRow]
    shards: list[Shard]
    #: Lines that a power loss damaged. resume=True encodes their clips again.
    damaged: int

    def __init__(self, folder: AnyPath) -> None:
        path = path_of(folder)
        self.folder = path.parent
        lines = _lines(path)
        self.job = _job(path, next(lines, b""))
        self.damaged = 0
        self.shards = []
        counting: dict[str, ManifestRow] = {}
        # The shard of each clip that is in one.
        places: dict[str, Path] = {}
        for text, line in _parsed(lines):
            if line is None:
                self.damaged += 1
            elif "shard" in line:
                shard = Shard(self.folder / line["shard"], line["bytes"], tuple(line["keys"]))
                self.shards.append(shard)
                places.update(dict.fromkeys(shard.keys, shard.path))
            elif line["key"] not in places or "done" in line:
                counting[line["key"]] = row_of(line, text, self.folder)
        for key in counting.keys() & places.keys():
            counting[key] = counting[key]._replace(shard=places[key])
        self.rows = {key: counting[key] for key in sorted(counting)}

    @property
    def done(self) -> list[ManifestRow]:
        """The rows of the clips that are done."""
        return [row for row in self.rows.values() if row.error is None]

    @property
    def failed(self) -> list[ManifestRow]:
        """The rows of the clips that failed."""
        return [row for row in self.rows.values() if row.error is not None]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ManifestRow]:
        return iter(self.rows.values())

    def __repr__(self) -> str:
        return f"<wfvae.Manifest of {self.folder}, {len(self.rows)} clips>"


def path_of(folder: AnyPath) -> Path:
    path = Path(os.fsdecode(folder))
    return path if path.name == NAME and not path.is_dir() else path / NAME


def failed_since(folder: Path, position: int) -> list[ManifestRow]:
    """The clips that failed by the lines after the first `position` bytes, those of one run of the job."""
    lines = _parsed(_lines(path_of(folder), position))
    rows = {line["key"]: row_of(line, text, folder) for text, line in lines if line and "shard" not in line}
    return [rows[key] for key in sorted(rows) if rows[key].error is not None]


def _lines(path: Path, position: int = 0) -> Iterator[bytes]:
    """Whole lines: the last one may be under way."""
    try:
        with path.open("rb") as file:
            file.seek(position)
            yield from (line for line in file if line.endswith(b"\n"))
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}; a folder in which wfvae-batch has started a job holds it") from None


def _job(path: Path, line: bytes) -> dict[str, Any]:
    try:
        job = json.loads(line)
    except ValueError:
        job = None
    if not isinstance(job, dict) or job.get("format") != FORMAT:
        raise ManifestError(f"{path} is not a manifest of wfvae-batch: its first line describes no job")
    if job.get("format_version") != VERSION:
        raise ManifestError(f"{path} has the format_version {job.get('format_version')}, and this release reads {VERSION}")
    return job


def _parsed(lines: Iterable[bytes]) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """Lines of clips and of shards, and what is in them; None: one that is damaged."""
    for text in lines:
        try:
            line = json.loads(text)
        except ValueError:
            yield text, None
            continue
        yield text, line if isinstance(line, dict) and _is_whole(line) else None


def _is_whole(line: dict[str, Any]) -> bool:
    """Whether the fields that are read here are what they should be. Anybody may have changed a manifest."""
    if "shard" in line:
        return _has(line, {"shard": str, "bytes": int, "keys": list}) and all(isinstance(key, str) for key in line["keys"])
    result = "done" if "done" in line else "failed"
    if not _has(line, {"key": str, "source": dict, result: dict}):
        return False
    given = {name: value for name, value in line[result].items() if value is not None}
    return all(isinstance(given.get(name, kind()), kind) for name, kind in RESULT.items())


def _has(line: dict[str, Any], types: dict[str, type]) -> bool:
    return all(isinstance(line.get(name), kind) for name, kind in types.items())


def row_of(line: dict[str, Any], text: bytes, folder: Path) -> ManifestRow:
    done = line.get("done") or {}
    return ManifestRow(
        key=line["key"],
        source=line["source"].get("path", ""),
        start=line.get("start"),
        end=line.get("end"),
        error=None if "done" in line else line["failed"].get("error") or "unknown",
        shard=None,
        frames=done.get("frames") or 0,
        latents=done.get("latents") or 0,
        width=done.get("width") or 0,
        height=done.get("height") or 0,
        fps=_rate(done.get("fps")),
        tile=done.get("tile"),
        seconds=line.get("seconds", 0.0),
        folder=folder,
        text=text,
    )


@functools.lru_cache(maxsize=1024)
def _rate(text: str | None) -> Fraction | None:
    try:
        return Fraction(text) if text else None
    except (ValueError, ZeroDivisionError):
        return None
