# SPDX-License-Identifier: MIT OR Apache-2.0
"""Streams video through WF-VAE models: frames to latents and back, on ONNX Runtime.

    import wfvae

    model = wfvae.Model()                   # the built-in model; or the folder of a checkpoint
    z = model.encode(video)                 # [T, H, W, 3] to [T, C, h, w]
    video = model.decode(z)                 # and back

    wfvae.encode_files("clips/", "latents/")    # data sets: media files to latent files, on all cores

Errors of the library are wfvae.Error, with .status and .text, and its subclasses.
"""

from ._abi import library as _library
from ._columns import row_latents
from ._errors import (
    ArgumentError,
    BusyError,
    CancelledError,
    ClipsFailedError,
    Error,
    FileError,
    ForkedError,
    JobError,
    LatentFileError,
    ManifestError,
    ModelError,
    NeedsResetError,
    NotFiniteError,
    OnnxRuntimeError,
    OutOfMemoryError,
    ProgramMissingError,
    SizeError,
    StateError,
)
from ._jobs import JobResult, decode_files, encode_files
from ._latent_file import LatentFile, LatentFileInfo, open, save
from ._manifest import Manifest, ManifestRow, Shard
from ._model import Model, ModelInfo
from ._parquet import write_parquet
from ._server import ClipEncoder, EncodedClip
from ._stream import Memory, Progress, Snapshot, Stream, StreamInfo

#: The release of the library.
__version__: str = _library.version().decode()

__all__ = [
    "ArgumentError",
    "BusyError",
    "CancelledError",
    "ClipEncoder",
    "ClipsFailedError",
    "EncodedClip",
    "Error",
    "FileError",
    "ForkedError",
    "JobError",
    "JobResult",
    "LatentFile",
    "LatentFileError",
    "LatentFileInfo",
    "Manifest",
    "ManifestError",
    "ManifestRow",
    "Memory",
    "Model",
    "ModelError",
    "ModelInfo",
    "NeedsResetError",
    "NotFiniteError",
    "OnnxRuntimeError",
    "OutOfMemoryError",
    "ProgramMissingError",
    "Progress",
    "Shard",
    "SizeError",
    "Snapshot",
    "StateError",
    "Stream",
    "StreamInfo",
    "decode_files",
    "encode_files",
    "open",
    "row_latents",
    "save",
    "write_parquet",
]
