# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a checkpoint, a latent file or a job's folder holds, as a dict that JSON can hold and as lines for people."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from ._abi import AnyPath
from ._errors import Error, FileError, LatentFileError, ModelError
from ._latent_file import LatentFile
from ._manifest import NAME, Manifest, path_of
from ._model import Model

# How many failures people see.
SHOWN = 20
# What belongs to the run of a model, and not to its checkpoint.
OF_RUNS = ("provider", "runtime_path", "runtime_version", "weight_bytes", "sessions", "fallback", "device_bytes", "device",
           "encode_precision", "decode_precision")  # fmt: skip


def describe(path: AnyPath) -> dict[str, Any]:
    """Raises FileError, ModelError, LatentFileError, ManifestError and others of Error."""
    name = os.fsdecode(path)
    if not os.path.exists(name):
        raise FileError(f"{name}: there is no such file or folder")
    if path_of(name).is_file():
        return _job(name)
    if os.path.isdir(name):
        try:
            return _model(name)
        except (FileError, ModelError) as error:
            text = f"{name} has no {NAME}, so it is no folder of a job; and as a model: {error.text}"
            raise type(error)(text, error.status) from None
    return _file(name)


def _file(name: str) -> dict[str, Any]:
    try:
        return _latents(name)
    except LatentFileError as error:
        as_latents = error
    try:
        return _model(name)
    except Error as error:
        text = f"{name} is no latent file that can be read, nor a model. As latents: {as_latents.text}. As a model: {error.text}"
        raise LatentFileError(text) from None


def _job(name: str) -> dict[str, Any]:
    manifest = Manifest(name)
    job = {field: value for field, value in manifest.job.items() if field not in ("format", "format_version")}
    done, failed = manifest.done, manifest.failed
    return {
        "kind": "job",
        "folder": str(manifest.folder),
        **job,
        "clips_done": len(done),
        "clips_failed": len(failed),
        "frames_done": sum(row.frames for row in done),
        "latents_done": sum(row.latents for row in done),
        "shards": len(manifest.shards),
        "clips_in_shards": sum(row.shard is not None for row in done),
        "damaged_lines": manifest.damaged,
        "failed": [{"key": row.key, "source": row.source, "error": row.error} for row in failed],
    }


def _latents(name: str) -> dict[str, Any]:
    with LatentFile(name) as file:
        return {"kind": "latents", "path": name, **_plain(file.info._asdict())}


def _model(name: str) -> dict[str, Any]:
    with Model(name, provider="cpu") as model:
        found = model.info._asdict()
    return {"kind": "model", "path": name, **_plain({field: found[field] for field in found if field not in OF_RUNS})}


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """Identities are written as in files."""
    return {name: _value(name, value) for name, value in fields.items()}


def _value(name: str, value: Any) -> Any:
    if name.endswith("identity"):
        return f"{value:016x}" if value else None
    return str(value) if isinstance(value, Fraction) else value


def lines(found: dict[str, Any]) -> Iterator[str]:
    width = max(map(len, found))
    for name, value in found.items():
        if name == "failed":
            continue
        text = {None: "none", True: "yes", False: "no"}.get(value) if value is None or isinstance(value, bool) else None
        yield f"{name:{width}}  {_shown(text or value)}"
    failed = found.get("failed", [])
    for row in failed[:SHOWN]:
        yield f"failed: {_shown(row['key'])} ({_shown(row['source'])}): {_shown(row['error'])}"
    if len(failed) > SHOWN:
        yield f"and {len(failed) - SHOWN} more that failed; --json lists all"


def _shown(value: Any) -> str:
    """Control characters of files that nobody should trust are no part of a line."""
    text = ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
