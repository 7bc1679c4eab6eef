# SPDX-License-Identifier: MIT OR Apache-2.0
"""Clips with their latents as rows of a table: the columns of Parquet files, which write_parquet() and wfvae.ray write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from ._errors import JobError
from ._server import EncodedClip, array_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# Of a row group of Parquet, which readers read as a whole.
GROUP_BYTES = 16_000_000


def row_latents(row: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """The latents of a row of a Parquet file, or of wfvae.ray.Encode, as an array.

    row: a dict with latents, type, shape and key.

    Returns [T, C, h, w], float16 or float32; of moments 2C channels, the means first.

    Raises JobError if the row is of a clip that failed.
    """
    if row.get("error") is not None:
        raise JobError(f"{row['key']} has no latents: {row['error']}")
    return array_of(row["latents"], row["type"], [int(length) for length in row["shape"]])


def schema() -> dict[str, pa.DataType]:
    """The types of the columns, which do not depend on values."""
    import pyarrow as pa

    return {
        "key": pa.string(),
        "path": pa.string(),
        "start": pa.float64(),
        "end": pa.float64(),
        "latents": pa.large_binary(),
        "shape": pa.list_(pa.int64()),
        "type": pa.string(),
        "frames": pa.int64(),
        "fps": pa.string(),
        "width": pa.int64(),
        "height": pa.int64(),
        "model": pa.string(),
        "encoder": pa.string(),
        "posterior": pa.string(),
        "scaled": pa.bool_(),
        "scale": pa.list_(pa.float64()),
        "shift": pa.list_(pa.float64()),
    }


def values(clip: EncodedClip, job: Mapping[str, Any]) -> dict[str, Any]:
    """Of a clip; where it failed, only those that are known without latents."""
    row = clip.row
    found = {
        "key": row.key,
        "path": row.source,
        "start": row.start,
        "end": row.end,
        "type": job["latent_type"],
        "model": job["model"],
        "encoder": job["encoder"],
        "posterior": job["posterior"],
        "scaled": job["scaled"],
    }
    if clip.content is None:
        return found
    parts = clip.parts()
    lists: dict[str, Any] = {name: json.loads(parts.metadata[name]) for name in ("scale", "shift") if name in parts.metadata}
    return {
        **found,
        **lists,
        "latents": bytes(parts.data),
        "shape": parts.shape,
        "frames": row.frames,
        "fps": row.line["done"].get("fps"),
        "width": row.width,
        "height": row.height,
    }


def writer(file: BinaryIO, schema: pa.Schema) -> Any:
    """A ParquetWriter. Latents are noise to a compressor, and nobody searches for them."""
    import pyarrow.parquet as pq

    others = [name for name in schema.names if name != "latents"]
    compression = {name: "NONE" if name == "latents" else "zstd" for name in schema.names}
    return pq.ParquetWriter(file, schema, compression=compression, use_dictionary=others, write_statistics=others)
