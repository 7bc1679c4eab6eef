# SPDX-License-Identifier: MIT OR Apache-2.0
"""Data sets on many machines, with Ray Data: docs/datasets.md, "Many machines: Ray".

    import ray
    import wfvae.ray

    sink = wfvae.ray.Sink("/data/latents")
    clips = wfvae.ray.clips("/data/videos", done=sink)
    encode = wfvae.ray.Encode(sink=sink, posterior="moments")
    actors = ray.data.ActorPoolStrategy(size=8)
    sink.store(clips.map_batches(encode, batch_format="pyarrow", compute=actors, num_cpus=4))

Needs wfvae[ray], but done() and failed() do not import Ray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._clips import clips
from ._encode import Encode
from ._folder import done, failed

if TYPE_CHECKING:
    from ._sink import Sink

__all__ = ["Encode", "Sink", "clips", "done", "failed"]


def __getattr__(name: str) -> Any:
    # Its base class is Ray's.
    if name == "Sink":
        from ._sink import Sink

        return Sink
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
