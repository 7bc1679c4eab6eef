# SPDX-License-Identifier: MIT OR Apache-2.0
"""clips(), which makes a data set of the clips of folders, files and lists."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .. import _batch
from .._errors import JobError
from .._inputs import FIELDS, Input, Inputs, arguments, key_of
from ._rows import refusal

if TYPE_CHECKING:
    import pyarrow as pa
    import ray.data

    from ._sink import Sink

# If the caller does not say how many clips a block has: enough for an actor with several threads.
CLIPS_PER_BLOCK = range(8, 65)


def clips(inputs: Inputs, *, done: Sink | None = None, clips_per_block: int | None = None) -> ray.data.Dataset:
    """A data set with a row for each clip: path (absolute), key, start, end, expect_frames.

    inputs: a folder, a media file, a list or a pattern, or an iterable of these and of dicts, as for wfvae.encode_files(). Keys are
        the same as there. Other fields of dicts become columns of their own.
    done: leave out the clips that are done in the sink's folder.
    clips_per_block: how many an actor gets at a time; None: from 8 to 64, by their number.

    All clips of a file are in one block, in the order of their starts, so that one machine reads the file. The order does not
    depend on that of the inputs.

    Raises JobError if inputs name no clips, or two with one key; and if a clip is done in the folder, but with another start or
    end. ProgramMissingError, FileNotFoundError, TypeError and ValueError as wfvae.encode_files().
    """
    import ray.data

    rows, others = _listed(inputs)
    if done is not None:
        rows = [row for row in rows if not _is_done(row, done)]
    rows.sort(key=lambda row: (row["path"], row.get("start") or 0.0, row["key"]))
    limit = clips_per_block or min(max(len(rows) // CLIPS_PER_BLOCK.stop, CLIPS_PER_BLOCK.start), CLIPS_PER_BLOCK.stop - 1)
    table = _table(rows, others)
    return ray.data.from_arrow([table.slice(start, count) for start, count in _blocks(rows, limit)] or [table])


def _is_done(row: dict[str, Any], sink: Sink) -> bool:
    found = sink.done.get(row["key"])
    if found is None:
        return False
    was, asked = (found.start, found.end), (row.get("start"), row.get("end"))
    if was != asked:
        raise JobError(
            f"{sink.folder} holds {row['key']} with the start and end {was}, and the clip of this key has {asked} now: "
            f"give it another key, or choose another folder"
        )
    return True


def _blocks(rows: list[dict[str, Any]], limit: int) -> Iterator[tuple[int, int]]:
    """Where blocks start and how many rows they have: whole files, at most `limit` rows unless one file has more."""
    starts = [place for place, row in enumerate(rows) if place == 0 or row["path"] != rows[place - 1]["path"]]
    begin = 0
    for start, end in zip(starts, [*starts[1:], len(rows)]):
        if start > begin and end - begin > limit:
            yield begin, start - begin
            begin = start
    if begin < len(rows):
        yield begin, len(rows) - begin


def _listed(inputs: Inputs) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The lines of a list; and the fields that are none of a list's, by key."""
    others: dict[str, dict[str, Any]] = {}
    with arguments(_split(inputs, others)) as paths:
        listed = subprocess.run(
            [_batch.find(), "list", "--", *paths], env=_batch.environment(), stdin=subprocess.DEVNULL, capture_output=True
        )
    if listed.returncode != 0:
        raise JobError(listed.stderr.decode("utf-8", "replace").strip().removeprefix("wfvae-batch: "))
    return [json.loads(line) for line in listed.stdout.splitlines()], others


def _split(inputs: Inputs, others: dict[str, dict[str, Any]]) -> Inputs:
    if isinstance(inputs, (str, bytes, os.PathLike, Mapping)) or not isinstance(inputs, Iterable):
        return _own(inputs, others)
    return [_own(given, others) for given in inputs]


def _own(given: Input, others: dict[str, dict[str, Any]]) -> Input:
    """What is wfvae-batch's of an input."""
    path = given.get("path") if isinstance(given, Mapping) else given
    if isinstance(path, str) and "://" in path and (reason := refusal(path)):
        raise ValueError(f"{path}: {reason}")
    if not isinstance(given, Mapping) or not (more := {name: value for name, value in given.items() if name not in FIELDS}):
        return given
    own = {name: given[name] for name in FIELDS if given.get(name) is not None}
    if isinstance(path, (str, bytes, os.PathLike)):
        key = own.setdefault("key", key_of(os.fsdecode(path), own.get("start"), own.get("end")))
        others[key] = more
    return own


def _table(rows: list[dict[str, Any]], others: dict[str, dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    schema = pa.schema(
        {"path": pa.string(), "key": pa.string(), "start": pa.float64(), "end": pa.float64(), "expect_frames": pa.int64()}
    )
    table = pa.Table.from_pylist(rows, schema=schema)
    for name in sorted({name for more in others.values() for name in more}):
        table = table.append_column(name, pa.array([others.get(row["key"], {}).get(name) for row in rows]))
    return table
