# SPDX-License-Identifier: MIT OR Apache-2.0
"""write_parquet(), which packs the latents of a job into Parquet files."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from . import _columns
from ._abi import AnyPath
from ._errors import FileError, JobError
from ._folders import sync_folder
from ._manifest import Manifest, ManifestRow
from ._server import EncodedClip, sample_name

if TYPE_CHECKING:
    import pyarrow as pa

PART = re.compile(r"part-(\d{6,})\.parquet")
UNFINISHED = ".wfvae-part.tmp"
# Of the file's metadata: the manifest's line of the job.
JOB = b"wfvae.job"
# How latents are packed is no matter of what they are.
NOT_COMPARED = ("shard_bytes",)
SIZE = re.compile(r"(\d+(?:\.\d+)?)([KkMGT]?)B?")
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def write_parquet(job: AnyPath, output: AnyPath, *, size: int | str = "1G") -> list[Path]:
    """Packs the latents of a job of encode_files() into Parquet files: part-000000.parquet and so on, a row for each clip.

    job: the folder of the job; its latents may be in files or in shards. It may still run: the clips that are done by now are packed.
    output: the folder of the Parquet files. If it has some, they must be of the same job: they are kept, and clips that they lack come
        into new ones.
    size: bytes of latents in a file, an integer or a text such as "500M"; a larger clip has a file of its own.

    A row has key, path, start and end (seconds, or null), latents (bytes, in C order, little-endian), shape ([T, C, h, w]), type ("f16"
    or "f32"), frames, fps (such as "25/1"), width, height, model and encoder (identities), posterior, scaled, scale and shift (lists of C
    numbers, or null), source_bytes and source_modified (nanoseconds since 1970) of the media file. row_latents() makes an array of it.
    The file's metadata hold the manifest's line of the job as JSON, "wfvae.job".

    Clips come in the order of their keys. A file appears complete or not at all; if this function is stopped, a second call goes on.

    Needs pyarrow: pip install 'wfvae[parquet]'. Returns the files that were written.

    Raises JobError if the folder holds files of another job, if a packed clip has changed since, or if another call writes to the folder;
    ManifestError and FileError if the job cannot be read; ValueError for a wrong size.
    """
    limit = _bytes(size)
    if importlib.util.find_spec("pyarrow") is None:
        raise JobError("write_parquet() needs pyarrow: pip install 'wfvae[parquet]'")
    manifest = Manifest(job)
    if manifest.job.get("task") != "encode":
        raise JobError(f"{manifest.folder} is of a job that decodes: it has no latents")
    folder = Path(os.fsdecode(output))
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        return _Packer(manifest, folder, limit).pack()


def _bytes(size: int | str) -> int:
    match = SIZE.fullmatch(size) if isinstance(size, str) else None
    if isinstance(size, str) and not match:
        raise ValueError(f"size is {size!r}, must be a number of bytes, or a text such as '500M' or '1G'")
    limit = int(float(match[1]) * UNITS[match[2].upper()]) if match else int(size)
    if limit < 1:
        raise ValueError(f"size is {size!r}, must be at least 1 byte")
    return limit


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    if sys.platform == "win32":
        raise JobError("write_parquet() is not for Windows, as wfvae-batch is not")
    import fcntl

    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise JobError(f"{folder}: another process is writing to it") from None
    finally:
        os.close(opened)


class _Packer:
    def __init__(self, manifest: Manifest, folder: Path, limit: int) -> None:
        import pyarrow as pa

        self.manifest, self.folder, self.limit = manifest, folder, limit
        columns = {**_columns.schema(), "source_bytes": pa.int64(), "source_modified": pa.int64()}
        self.schema = pa.schema(columns, metadata={JOB: json.dumps(manifest.job)})
        self.next = 0
        # Size and time of change of the media file, by key.
        self.packed: dict[str, tuple[int, int]] = {}
        self.latents = _Latents(manifest)

    def pack(self) -> list[Path]:
        for file in sorted(self.folder.iterdir()):
            if match := PART.fullmatch(file.name):
                self._read(file)
                self.next = max(self.next, int(match[1]) + 1)
        left = [row for row in self.manifest.done if not self._is_packed(row)]
        return [self._write(rows) for rows in self._parts(left)]

    def _read(self, file: Path) -> None:
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(file) as part:
                found = json.loads((part.schema_arrow.metadata or {}).get(JOB, b"null"))
                table = part.read(["key", "source_bytes", "source_modified"])
        except (ValueError, OSError, KeyError) as error:
            raise JobError(f"{file} is not a file of write_parquet(), or is damaged ({error}): choose another folder") from None
        own = self.manifest.job
        names = [name for name in own if name not in NOT_COMPARED]
        if not isinstance(found, dict) or any(found.get(name) != own[name] for name in names):
            raise JobError(f"{file} has latents of another job than {self.manifest.folder}: choose another folder")
        sources = zip(table["source_bytes"].to_pylist(), table["source_modified"].to_pylist())
        self.packed.update(zip(table["key"].to_pylist(), sources))

    def _is_packed(self, row: ManifestRow) -> bool:
        found = self.packed.get(row.key)
        if found is not None and found != _source(row):
            raise JobError(f"{self.folder} has latents of what {row.source} was before: choose another folder")
        return found is not None

    def _parts(self, rows: Sequence[ManifestRow]) -> Iterator[list[ManifestRow]]:
        part: list[ManifestRow] = []
        total = 0
        for row in rows:
            size = int(row.line["done"]["output_bytes"])
            if part and total + size > self.limit:
                yield part
                part, total = [], 0
            part.append(row)
            total += size
        if part:
            yield part

    def _write(self, rows: Sequence[ManifestRow]) -> Path:
        path, unfinished = self.folder / f"part-{self.next:06}.parquet", self.folder / UNFINISHED
        self.next += 1
        try:
            with unfinished.open("wb") as file:
                self._write_rows(rows, file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(path)
        finally:
            unfinished.unlink(missing_ok=True)
        sync_folder(self.folder)
        return path

    def _write_rows(self, rows: Sequence[ManifestRow], file: BinaryIO) -> None:
        import pyarrow as pa

        with _columns.writer(file, self.schema) as writer:
            group: list[dict[str, Any]] = []
            size = 0
            for row in rows:
                bytes_, modified = _source(row)
                values = _columns.values(EncodedClip(row, self.latents.read(row)), self.manifest.job)
                group.append({**values, "source_bytes": bytes_, "source_modified": modified})
                size += len(values["latents"])
                if size >= _columns.GROUP_BYTES:
                    writer.write_table(pa.Table.from_pylist(group, self.schema))
                    group, size = [], 0
            if group:
                writer.write_table(pa.Table.from_pylist(group, self.schema))


def _source(row: ManifestRow) -> tuple[int, int]:
    source = row.line["source"]
    return source["bytes"], source["modified"]


class _Latents:
    """Latent files of a job, as they are or in shards."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.path: Path | None = None
        self.shard: tarfile.TarFile | None = None

    def read(self, row: ManifestRow) -> bytes:
        expected = row.line["done"]["output_bytes"]
        where = row.shard or row.output
        try:
            content = self._member(row.shard, row.key) if row.shard else (self.manifest.folder / row.line["done"]["output"]).read_bytes()
        except (OSError, KeyError, tarfile.TarError) as error:
            raise FileError(f"{where}: the latents of {row.key} cannot be read: {error}") from None
        if len(content) != expected:
            raise FileError(f"{where}: the latents of {row.key} have {len(content)} bytes, expected {expected}")
        return content

    def _member(self, path: Path, key: str) -> bytes:
        if self.shard is None or self.path != path:
            if self.shard:
                self.shard.close()
            self.path, self.shard = path, tarfile.open(path)
        member = self.shard.extractfile(f"{sample_name(key)}.safetensors")
        if member is None:
            raise KeyError(f"{key} is not a file")
        return member.read()
