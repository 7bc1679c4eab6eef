# SPDX-License-Identifier: MIT OR Apache-2.0
"""The folder that a Sink writes to.

    RUN-HASH.parquet or .tar    latents of clips that are done; RUN counts the runs, HASH is that of the keys of a block
    _failed/RUN-HASH.jsonl      clips of the block that failed
    _job.json                   what all latents have in common
    _unfinished-RUN-ID/         files of a run that are being written

Files get their names when they are complete. A run begins by removing what unfinished folders there are: then nobody who still
works for an earlier run can give a file its name any more, and what the run finds is all that there is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from .._abi import AnyPath
from .._errors import FileError, JobError
from .._folders import sync_folder
from ._rows import refusal

JOB = "_job.json"
FAILED = "_failed"
UNFINISHED = re.compile(r"_unfinished-(\d{4,})-[0-9a-f]{32}")
NAME = re.compile(r"(\d{4,})-[0-9a-f]{16}\.(parquet|tar|jsonl)")
ENDINGS = {"parquet": ".parquet", "webdataset": ".tar"}
# Two empty blocks end a tar file.
TAR_END = bytes(1024)

# How often an unfinished folder is emptied that somebody still writes to.
ATTEMPTS = 100


class Done(NamedTuple):
    """A clip whose latents are in the folder, as it was asked for."""

    path: str
    start: float | None
    end: float | None


def done(folder: AnyPath) -> dict[str, Done]:
    """The clips whose latents are in a Sink's folder, by key.

    Raises JobError if a file is damaged, FileError if the folder cannot be read.
    """
    found: dict[str, Done] = {}
    for _, clips in _data(Path(os.fsdecode(folder))):
        found.update(clips)
    return found


def failed(folder: AnyPath) -> dict[str, dict[str, Any]]:
    """The clips that failed and are not done by now: path, start, end and error, by key. Of several runs, the last one counts.

    Raises the errors of done().
    """
    path = Path(os.fsdecode(folder))
    finished = done(path)
    found: dict[str, dict[str, Any]] = {}
    for file in _files(path / FAILED) if (path / FAILED).is_dir() else ():
        for line in file.read_text("utf-8").split("\n")[:-1]:
            row = json.loads(line)
            found[row.pop("key")] = row
    return {key: row for key, row in found.items() if key not in finished}


class Run:
    """Of a job: all that is written to a folder from one start to the next."""

    def __init__(self, folder: AnyPath, format: str) -> None:
        """Takes the folder over from earlier runs."""
        self.folder = Path(os.path.abspath(os.fsdecode(folder)))
        if "://" in os.fsdecode(folder):
            raise ValueError(f"{os.fsdecode(folder)}: {refusal(os.fsdecode(folder))}")
        self.ending = ENDINGS[format]
        self.folder.mkdir(parents=True, exist_ok=True)
        # A run whose number no file has may be under way, too.
        numbers = []
        for path in list(self.folder.iterdir()):
            if match := UNFINISHED.fullmatch(path.name):
                numbers.append(int(match[1]))
                _remove(path)
        (self.folder / FAILED).mkdir(exist_ok=True)
        if other := [file for file in _files(self.folder) if file.suffix != self.ending]:
            raise JobError(f"{self.folder} holds {other[0].name}, and this job writes {self.ending} files: choose another folder")
        numbers += [_run(file) for file in [*_files(self.folder), *_files(self.folder / FAILED)]]
        self.number = max(numbers, default=-1) + 1
        self.done = self._cleaned()
        self.unfinished = self.folder / f"_unfinished-{self.number:04}-{uuid.uuid4().hex}"
        self.unfinished.mkdir()

    def _cleaned(self) -> dict[str, Done]:
        """What is done. Of a clip that is done twice, the later file is removed: Ray may repeat what it has no answer of."""
        found: dict[str, Done] = {}
        for file, clips in _data(self.folder):
            twice = [key for key in clips if key in found]
            for key in twice:
                if found[key] != clips[key]:
                    raise JobError(
                        f"{file} holds the key {key}, which another clip of the folder has: give clips keys of their own"
                    )
            if twice:
                file.unlink()
            else:
                found.update(clips)
        return found

    def claim(self, job: Mapping[str, Any]) -> None:
        """Refuses a job whose latents would be others than those that the folder holds. Called in each actor."""
        path = self.folder / JOB
        if not path.exists():
            # All actors write the same.
            self._commit(path, lambda file: file.write((json.dumps(job, indent=1) + "\n").encode()))
        found = self.job()
        differs = [
            f"{name} is {json.dumps(found.get(name))}, this job's {json.dumps(job[name])}"
            for name in job
            if found.get(name) != job[name]
        ]
        if differs:
            raise JobError(f"{self.folder} is of another job: {'; '.join(differs)}; choose another folder")

    def job(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / JOB).read_bytes())
        except FileNotFoundError:
            raise JobError(f"{self.folder} has no {JOB}: rows must come from wfvae.ray.Encode(sink=...) with this sink") from None
        return found

    def name(self, keys: Sequence[str]) -> str:
        """Of the files of a block, without their endings. A block that Ray writes again has the same."""
        return f"{self.number:04}-{hashlib.sha256(chr(0).join(keys).encode()).hexdigest()[:16]}"

    def write_done(self, name: str, write: Callable[[BinaryIO], object]) -> str:
        path = self.folder / (name + self.ending)
        self._commit(path, write)
        return path.name

    def write_failed(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._commit(self.folder / FAILED / f"{name}.jsonl", lambda file: file.write(text.encode()))

    def _commit(self, path: Path, write: Callable[[BinaryIO], object]) -> None:
        """Writes a file that appears complete or not at all, and is on the disk then."""
        unfinished = self.unfinished / f"{path.name}.{uuid.uuid4().hex}"
        try:
            with unfinished.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(path)
        except FileNotFoundError:
            raise self._taken_over() from None
        finally:
            unfinished.unlink(missing_ok=True)
        sync_folder(path.parent)

    def _taken_over(self) -> JobError:
        reason = "was taken over by another job, or this sink has been written to before: make another one"
        return JobError(f"{self.folder} {reason}")

    def finish(self, written: set[str]) -> None:
        """`written`: the names of the files of this run that count."""
        if not self.unfinished.is_dir():
            raise self._taken_over()
        for file in _files(self.folder):
            if _run(file) == self.number and file.name not in written:
                file.unlink()
        self.end()

    def end(self) -> None:
        _remove(self.unfinished)


def _files(folder: Path) -> list[Path]:
    """Of a sink, those of earlier runs first."""
    try:
        found = [path for path in folder.iterdir() if NAME.fullmatch(path.name)]
    except OSError as error:
        raise FileError(f"{folder}: {error.strerror}; a folder that a wfvae.ray.Sink has written to is wanted") from None
    return sorted(found, key=lambda path: (_run(path), path.name))


def _run(file: Path) -> int:
    return int(file.name.partition("-")[0])


def _data(folder: Path) -> Iterator[tuple[Path, dict[str, Done]]]:
    """Of each file of latents, what is in it."""
    for file in _files(folder):
        try:
            yield file, _in_parquet(file) if file.suffix == ".parquet" else _in_tar(file)
        except (ValueError, OSError, KeyError, tarfile.TarError) as error:
            raise JobError(f"{file} is damaged ({error}): delete it, and its clips are encoded again") from None


def _in_parquet(file: Path) -> dict[str, Done]:
    import pyarrow.parquet as pq

    rows = pq.read_table(file, columns=["key", "path", "start", "end"], partitioning=None).to_pylist()
    return {row["key"]: Done(row["path"], row["start"], row["end"]) for row in rows}


def _in_tar(file: Path) -> dict[str, Done]:
    found: dict[str, Done] = {}
    with file.open("rb") as content:
        content.seek(-len(TAR_END), os.SEEK_END)
        if content.read() != TAR_END:
            raise ValueError("its end is missing")
        content.seek(0)
        with tarfile.open(fileobj=content, mode="r:") as tar:
            for member in tar:
                if member.name.endswith(".json") and (opened := tar.extractfile(member)):
                    about = json.load(opened)
                    found[about["key"]] = Done(about["source"], about.get("start"), about.get("end"))
    return found


def _remove(folder: Path) -> None:
    """Also while somebody writes to it."""
    for _ in range(ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.01)
    raise FileError(f"{folder} cannot be removed; it is what an earlier job was writing")
