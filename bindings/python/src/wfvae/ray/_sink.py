# SPDX-License-Identifier: MIT OR Apache-2.0
"""Sink, which writes what Encode gives, so that a job that was killed goes on."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

from ray.data import Datasink

from .. import _columns
from .._abi import AnyPath
from .._errors import JobError
from . import _rows
from ._folder import ENDINGS, Done, Run

if TYPE_CHECKING:
    import pyarrow as pa
    import ray.data

# Fields of the job that rows have, too.
CHECKED = {"model": "model", "encoder": "encoder", "posterior": "posterior", "scaled": "scaled", "latent_type": "type"}


class Written(NamedTuple):
    """What a write task tells the driver."""

    #: The file of the clips that are done.
    file: str | None
    keys: list[str]


class Sink(Datasink):
    """A folder of Parquet files or of shards for webdataset, which rows of Encode are written to, once.

        sink = wfvae.ray.Sink("/data/latents")
        clips = wfvae.ray.clips("/data/videos", done=sink)
        encode = wfvae.ray.Encode(sink=sink, posterior="moments")
        sink.store(clips.map_batches(encode, batch_format="pyarrow", compute=ray.data.ActorPoolStrategy(size=8)))
        print(wfvae.ray.failed("/data/latents"))

    The same lines again go on with a job that was stopped or killed. A file has its name when it is complete and on the disk; after
    each run every clip that is done is in exactly one file, once. Clips that failed are in no file of latents: failed() tells them,
    and the next run tries them again.

    Making a Sink takes the folder over: a job that still writes to it fails.

    folder: in a file system that all machines have mounted. Names that begin with an underscore are the sink's own.
    format: "parquet" or "webdataset".
    rows_per_file: at least so many clips in a file, if there are; None: those of a block.

    Raises JobError if a file is damaged, or the folder holds the other format.
    """

    #: The clips that were done when the sink was made, by key.
    done: dict[str, Done]

    def __init__(
        self, folder: AnyPath, *, format: Literal["parquet", "webdataset"] = "parquet", rows_per_file: int | None = None
    ) -> None:
        if format not in ENDINGS:
            raise ValueError(f"format is {format!r}, must be one of {', '.join(map(repr, ENDINGS))}")
        self._run = Run(folder, format)
        self._rows_per_file = rows_per_file
        self.done = self._run.done
        self.format = format
        #: The format of the rows, for Encode.
        self.rows: _rows.Format = "columns" if format == "parquet" else "webdataset"

    @property
    def folder(self) -> Path:
        return self._run.folder

    @property
    def min_rows_per_write(self) -> int | None:
        return self._rows_per_file

    def store(self, rows: ray.data.Dataset) -> None:
        """Encodes what is in the data set, and writes it as it comes.

        It is write_datasink() with tasks that need no CPU. Ray would start others only after the actors that have all CPUs, and
        until then nothing would be on the disk.

        Raises JobError if two clips have one key. Errors of actors and of write tasks are Ray's, and their text holds the reason.
        """
        rows.write_datasink(self, ray_remote_args={"num_cpus": 0})

    def claim(self, job: Mapping[str, Any]) -> None:
        """Raises JobError if the folder holds latents of another job."""
        self._run.claim(job)

    def write(self, blocks: Iterable[Any], ctx: Any) -> Written:
        import pyarrow as pa
        import pyarrow.compute as pc
        from ray.data.block import BlockAccessor

        tables = [BlockAccessor.for_block(block).to_arrow() for block in blocks]
        tables = [table for table in tables if table.num_rows]
        if not tables:
            return Written(None, [])
        table = pa.concat_tables(tables, promote_options="default")
        expected = _rows.schema(self.rows)
        if missing := [name for name in expected.names if name not in table.column_names]:
            raise JobError(f"rows have no column {missing[0]!r}: they must come from wfvae.ray.Encode(sink=...) with this sink")
        self._check(table)
        clips = _clips(table)
        keys = [clip["key"] for clip in clips]
        if len(set(keys)) < len(keys):
            raise JobError(_twice(keys))
        is_done = pc.is_null(table["error"])
        name = self._run.name(keys)
        failed = [{**clip, "error": error} for clip, error in zip(clips, table["error"].to_pylist()) if error is not None]
        if failed:
            self._run.write_failed(name, failed)
        table = table.filter(is_done)
        if not table.num_rows:
            return Written(None, [])
        write = _write_parquet if self.format == "parquet" else _write_tar
        # Those that failed have no file, so this column is empty.
        file = self._run.write_done(name, lambda file: write(table.drop_columns("error"), file))
        return Written(file, [key for key, done in zip(keys, is_done.to_pylist()) if done])

    def on_write_complete(self, write_result: Any) -> None:
        written: list[Written] = [found for found in write_result.write_returns if found is not None]
        self._run.finish({found.file for found in written if found.file})
        keys = [*self.done, *(key for found in written for key in found.keys)]
        if len(set(keys)) < len(keys):
            raise JobError(_twice(keys))

    def on_write_failed(self, error: Exception) -> None:
        self._run.end()

    def _check(self, table: pa.Table) -> None:
        job = self._run.job()
        for name, column in CHECKED.items() if self.format == "parquet" else ():
            for found in table[column].unique().to_pylist():
                if found != job[name]:
                    raise JobError(f"rows have the {column} {found}, but those of the job of {self.folder} have {job[name]}")

    def __getstate__(self) -> dict[str, Any]:
        """For write tasks and actors, which need not know what is done."""
        state = dict(self.__dict__, done={}, _run=object.__new__(Run))
        state["_run"].__dict__.update(self._run.__dict__, done={})
        return state


def _clips(table: pa.Table) -> list[dict[str, Any]]:
    if "__clip__" in table.column_names:
        return [json.loads(text) for text in table["__clip__"].to_pylist()]
    clips: list[dict[str, Any]] = table.select(["key", "path", "start", "end"]).to_pylist()
    return clips


def _twice(keys: Iterable[str]) -> str:
    ((key, _),) = Counter(keys).most_common(1)
    return f"two clips have the key {key!r}: give clips keys of their own, in the column 'key'"


def _write_parquet(table: pa.Table, file: BinaryIO) -> None:
    rows = max(1, _columns.GROUP_BYTES * table.num_rows // max(1, table.nbytes))
    with _columns.writer(file, table.schema) as writer:
        writer.write_table(table, row_group_size=rows)


def _write_tar(table: pa.Table, file: BinaryIO) -> None:
    """As write_webdataset() does it, but with the same bytes each time."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for row in table.to_pylist():
            for name, value in row.items():
                if value is None or name.startswith("__"):
                    continue
                if not isinstance(value, (bytes, str)):
                    raise JobError(f"the column {name!r} holds a {type(value).__name__}; shards hold texts and bytes")
                content = value.encode() if isinstance(value, str) else value
                member = tarfile.TarInfo(f"{row['__key__']}.{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
