# SPDX-License-Identifier: MIT OR Apache-2.0
"""Encode, whose actors encode the clips of a data set's rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .._errors import JobError
from .._manifest import ManifestRow
from .._server import ClipEncoder, EncodedClip, failed_row
from . import _rows
from ._rows import FORMATS, Format

if TYPE_CHECKING:
    import pyarrow as pa

    from ._sink import Sink

# A table with more latents is given on before the batch is at its end.
TABLE_BYTES = 64_000_000


def Encode(*, sink: Sink | None = None, format: Format | None = None, **options: Any) -> type:
    """A class for Dataset.map_batches(), whose actors encode the clips that rows name. Each opens the model once.

        actors = ray.data.ActorPoolStrategy(size=8)
        latents = clips.map_batches(wfvae.ray.Encode(posterior="moments"), batch_format="pyarrow", compute=actors, num_cpus=4)

    Rows must have the column path, an absolute path in a file system that all machines have mounted, and may have key, start, end
    and expect_frames, as the lines of a list (docs/datasets.md). Without a key, a row's key is its path with its folders, and its
    times in milliseconds. Other columns are passed through.

    sink: where the rows go to. Then an actor refuses to encode if the sink's folder holds latents of another model or of other
        options.
    format: "columns" (default): key, path, start, end, latents (bytes, in C order, little-endian), shape ([T, C, h, w]), type
        ("f16" or "f32"), frames, fps (such as "25/1"), width, height, model and encoder (identities), posterior, scaled, scale,
        shift, error. wfvae.row_latents(row) makes an array of it. "webdataset": __key__, safetensors (a latent file), json (a text)
        and error, for write_webdataset(encoder=None). A sink has its own format.
    options: those of wfvae.ClipEncoder: model, posterior, dtype, size, frames, fps and so on. jobs, by default, is the number of
        CPUs that Ray has given the actor, and memory what it has: what map_batches() was told, or else the CPUs' part of what Ray
        has on the machine.

    Clips that fail are rows with an error, without latents, and with empty lists; of other rows the error is None. A model that
    cannot be opened, or a program that cannot run, is an exception, which ends the job.

    Raises TypeError and ValueError for wrong options.
    """
    if sink is not None:
        if format not in (None, sink.rows):
            raise ValueError(f"format is {format!r}, but the sink takes {sink.rows!r}")
        format = sink.rows
    format = format or "columns"
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}, must be one of {', '.join(map(repr, FORMATS))}")
    # Checks them.
    ClipEncoder(**options)
    return type("Encode", (_Encode,), {"sink": sink, "format": format, "options": options})


class _Encode:
    sink: Sink | None
    format: Format
    options: dict[str, Any]

    def __init__(self) -> None:
        cpus, memory = _given()
        options = {"cpus": cpus, "jobs": cpus, "memory": memory, **self.options}
        self.encoder = ClipEncoder(**options)
        # Opens the model.
        self.job = self.encoder.job
        if self.sink is not None:
            self.sink.claim(self.job)

    def __call__(self, batch: Any) -> Iterator[pa.Table]:
        table = _table(batch)
        clips, others = _rows.clips_of(table), _rows.others_of(table, self.format)
        given, ready = 0, []
        for clip in self._encoded(clips):
            ready.append(clip)
            if _rows.size_of(ready) >= TABLE_BYTES or given + len(ready) == len(clips):
                yield self._result(ready, others.slice(given, len(ready)))
                given += len(ready)
                ready = []
        if not clips:
            yield self._result([], others)

    def _encoded(self, clips: list[dict[str, Any]]) -> Iterator[EncodedClip]:
        refusals = [_rows.refusal(clip["path"]) for clip in clips]
        encoded = self.encoder.encode(clip for clip, refusal in zip(clips, refusals) if refusal is None)
        for clip, refusal in zip(clips, refusals):
            found = next(encoded) if refusal is None else EncodedClip(failed_row(clip["key"], clip["path"], refusal), None)
            yield _asked(found, clip)
        # It has nothing left to give, and lets go of the encoder.
        next(encoded, None)

    def _result(self, clips: list[EncodedClip], others: pa.Table) -> pa.Table:
        result = _rows.table_of(clips, self.job, self.format)
        for name in others.column_names:
            result = result.append_column(others.schema.field(name), others.column(name))
        return result


def _table(batch: Any) -> pa.Table:
    from ray.data.block import BlockAccessor

    return BlockAccessor.for_block(BlockAccessor.batch_to_block(batch)).to_arrow()


def _asked(clip: EncodedClip, asked: Mapping[str, Any]) -> EncodedClip:
    """With the part that was asked for, which rows of clips that the program has not seen lack."""
    row: ManifestRow = clip.row
    if row.error is None:
        return clip
    return clip._replace(row=row._replace(start=asked.get("start"), end=asked.get("end")))


def _given() -> tuple[int | None, int | None]:
    """The CPUs and the bytes of memory that Ray has given this actor; None: as the system has it."""
    try:
        import ray
    except ImportError:
        raise JobError("wfvae.ray needs Ray: pip install 'wfvae[ray]'") from None
    if not ray.is_initialized():
        return None, None
    context = ray.get_runtime_context()
    if context.get_actor_id() is None:
        return None, None
    assigned = context.get_assigned_resources()
    cpus = max(1, int(assigned.get("CPU", 1)))
    if memory := assigned.get("memory"):
        return cpus, int(memory)
    machine = context.get_node_id()
    resources: dict[str, float] = next((node["Resources"] for node in ray.nodes() if node["NodeID"] == machine), {})
    if "memory" not in resources or not resources.get("CPU"):
        return cpus, None
    return cpus, int(resources["memory"] * min(1.0, cpus / resources["CPU"]))
