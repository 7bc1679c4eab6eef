# SPDX-License-Identifier: MIT OR Apache-2.0
"""The rows that Encode takes and gives, as Arrow tables. All blocks have the same types, whatever values they hold."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from .. import _columns
from .._inputs import FIELDS, key_of
from .._server import EncodedClip, sample_name

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["columns", "webdataset"]
FORMATS = ("columns", "webdataset")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def schema(format: Format) -> pa.Schema:
    """Of what Encode adds."""
    import pyarrow as pa

    if format == "webdataset":
        # Ray's own writer leaves out columns that begin with two underscores.
        columns = {"__key__": pa.string(), "__clip__": pa.string(), "safetensors": pa.large_binary(), "json": pa.string()}
    else:
        columns = _columns.schema()
    return pa.schema({**columns, "error": pa.string()})


def clips_of(table: pa.Table) -> list[dict[str, Any]]:
    """The clips of a batch, each with a key that depends on its row alone."""
    if "path" not in table.column_names:
        raise ValueError(f"rows must have the column 'path'; those of this data set have {', '.join(table.column_names)}")
    clips: list[dict[str, Any]] = table.select([name for name in FIELDS if name in table.column_names]).to_pylist()
    for clip in clips:
        if not isinstance(clip["path"], str):
            raise TypeError(f"the column 'path' holds {clip['path']!r}, must hold a str in each row")
        if clip.get("key") is None:
            # Of an absolute path wfvae-batch would take the name alone, which other rows may have, too.
            below = os.path.normpath(clip["path"]).lstrip("/")
            clip["key"] = key_of(below, *(_seconds(clip.get(name)) for name in ("start", "end")))
    return clips


def refusal(path: str) -> str | None:
    """Why a path cannot be read on any machine."""
    if _ADDRESS.match(path):
        return "its path is an address; files must be in a file system that all machines have mounted"
    if not os.path.isabs(path):
        return "its path is relative, and must be absolute: machines have other working folders than the one that named it"
    return None


def others_of(table: pa.Table, format: Format) -> pa.Table:
    """The columns that are passed through."""
    others = table.select([name for name in table.column_names if name not in FIELDS])
    for name in others.column_names:
        if name in schema(format).names:
            raise ValueError(f"rows have the column {name!r}, which is the name of a column of the result: rename it")
    return others


def table_of(clips: Iterable[EncodedClip], job: Mapping[str, Any], format: Format) -> pa.Table:
    import pyarrow as pa

    row = _sample if format == "webdataset" else _row
    rows = [{**row(clip, job), "error": clip.row.error} for clip in clips]
    return pa.Table.from_pylist(rows, schema=schema(format))


def _row(clip: EncodedClip, job: Mapping[str, Any]) -> dict[str, Any]:
    # Ray makes no pandas of a column with lists and nulls.
    lists: dict[str, Any] = dict.fromkeys(("shape", "scale", "shift"), []) if clip.content is None else {}
    return {**_columns.values(clip, job), **lists}


def _sample(clip: EncodedClip, job: Mapping[str, Any]) -> dict[str, Any]:
    """The same as in the shards of wfvae-batch (shards.rs), but for a clip that failed."""
    row = clip.row
    about = {"key": row.key, "path": row.source, "start": row.start, "end": row.end}
    found = {"__key__": sample_name(row.key), "__clip__": json.dumps(about)}
    if clip.content is None:
        return found
    done = row.line["done"]
    sample = {
        "key": row.key,
        "source": row.source,
        "start": row.start,
        "end": row.end,
        "decoded": done.get("decoded"),
        "frames": row.frames,
        "latents": row.latents,
        "width": row.width,
        "height": row.height,
        "fps": done.get("fps"),
        **{name: job[name] for name in ("model", "encoder", "posterior", "scaled", "latent_type")},
    }
    sample = {name: value for name, value in sample.items() if value is not None}
    text = json.dumps(sample, ensure_ascii=False, separators=(",", ":")) + "\n"
    return {**found, "safetensors": clip.content, "json": text}


def _seconds(value: float | None) -> float | None:
    return None if value is None or value != value else value


def size_of(clips: Sequence[EncodedClip]) -> int:
    return sum(len(clip.content) for clip in clips if clip.content)
