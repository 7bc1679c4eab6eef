# SPDX-License-Identifier: MIT OR Apache-2.0
"""Streams video through WF-VAE models: frames to latents and back, on ONNX Runtime.

    import wfvae

    model = wfvae.Model()                   # the built-in model; or the folder of a checkpoint
    z = model.encode(video)                 # [T, H, W, 3] to [T, C, h, w]
    video = model.decode(z)                 # and back

Errors of the library are wfvae.Error, with .status and .text, and its subclasses.
"""

from ._abi import library as _library
from ._errors import (
    ArgumentError,
    BusyError,
    CancelledError,
    Error,
    FileError,
    ForkedError,
    LatentFileError,
    ModelError,
    NeedsResetError,
    NotFiniteError,
    OnnxRuntimeError,
    OutOfMemoryError,
    SizeError,
    StateError,
)
from ._latent_file import LatentFile, LatentFileInfo, open, save
from ._model import Model, ModelInfo
from ._stream import Memory, Progress, Snapshot, Stream, StreamInfo

#: The release of the library.
__version__: str = _library.version().decode()

__all__ = [
    "ArgumentError",
    "BusyError",
    "CancelledError",
    "Error",
    "FileError",
    "ForkedError",
    "LatentFile",
    "LatentFileError",
    "LatentFileInfo",
    "Memory",
    "Model",
    "ModelError",
    "ModelInfo",
    "NeedsResetError",
    "NotFiniteError",
    "OnnxRuntimeError",
    "OutOfMemoryError",
    "Progress",
    "SizeError",
    "Snapshot",
    "StateError",
    "Stream",
    "StreamInfo",
    "open",
    "save",
]
