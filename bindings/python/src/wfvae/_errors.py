# SPDX-License-Identifier: MIT OR Apache-2.0
"""The exceptions: one class for each kind of status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._jobs import JobResult


class Error(Exception):
    """What libwfvae reports. `text` says what is wrong and what to do about it; `status` is the wfvae_status.

    Wrong arguments that this package itself refuses are plain TypeError and ValueError.
    """

    #: The value of the C API's wfvae_status.
    status: int = 900
    #: What is wrong, and what to do.
    text: str

    def __init__(self, text: str = "", status: int | None = None) -> None:
        super().__init__(text)
        self.text = text
        if status is not None:
            self.status = status

    def __str__(self) -> str:
        return self.text

    # For multiprocessing. OSError would make one of its own.
    def __reduce__(self) -> tuple[type[Error], tuple[Any, ...]]:
        return type(self), (self.text, self.status)


class ArgumentError(Error, ValueError):
    """An argument is outside its range (100, 102). The stream is as it was before."""

    status = 100


class SizeError(ArgumentError):
    """The model or the stream does not support this width or height (101)."""

    status = 101


class StateError(Error, RuntimeError):
    """The call is out of order, for example a chunk after the flush (103). The stream is as it was before."""

    status = 103


class BusyError(StateError):
    """Another thread is inside a call on the same stream (104)."""

    status = 104


class NeedsResetError(StateError):
    """An earlier call on this stream failed or was interrupted: call reset() first (105)."""

    status = 105


class ForkedError(StateError):
    """The model or stream belongs to the parent of this forked process: open the model in this process (106)."""

    status = 106


class FileError(Error, OSError):
    """A file or folder could not be read or written (200)."""

    status = 200


class ModelError(Error, ValueError):
    """The checkpoint is malformed, damaged, or of an unsupported kind (201 to 203)."""

    status = 202


class LatentFileError(Error, ValueError):
    """A latent file is damaged, is of another format, or does not match the model or the stream (204)."""

    status = 204


class OnnxRuntimeError(Error, RuntimeError):
    """ONNX Runtime is missing, too old, or failed, or its provider cannot run here (300 to 303)."""

    status = 303


class NotFiniteError(Error, ValueError):
    """A NaN, an infinity, or a value too large for float16, in the input or in the result (304).

    If it was in the input, the stream is as it was before. stream.info.needs_reset tells.
    """

    status = 304


class CancelledError(Error):
    """The call was cancelled (400). The stream needs reset()."""

    status = 400


class OutOfMemoryError(Error, MemoryError):
    """Memory could not be allocated, or memory_limit is too low (401)."""

    status = 401


class ManifestError(Error, ValueError):
    """A manifest of wfvae-batch is damaged, or of another format. It comes from no call of the library: status is 900."""


class JobError(Error, RuntimeError):
    """A job of wfvae-batch could not start or go on; `text` says why. It comes from no call of the library: status is 900."""


class ProgramMissingError(JobError):
    """The program wfvae-batch is not there, or cannot be run."""


class ClipsFailedError(JobError):
    """Clips of a job with strict=True failed. The job went on with the others."""

    #: What encode_files() or decode_files() would have returned.
    result: JobResult

    def __init__(self, text: str, result: JobResult) -> None:
        super().__init__(text)
        self.result = result

    def __reduce__(self) -> tuple[type[Error], tuple[Any, ...]]:
        return type(self), (self.text, self.result)


_CLASSES: dict[int, type[Error]] = {
    100: ArgumentError,
    101: SizeError,
    102: ArgumentError,
    103: StateError,
    104: BusyError,
    105: NeedsResetError,
    106: ForkedError,
    200: FileError,
    201: ModelError,
    202: ModelError,
    203: ModelError,
    204: LatentFileError,
    300: OnnxRuntimeError,
    301: OnnxRuntimeError,
    302: OnnxRuntimeError,
    303: OnnxRuntimeError,
    304: NotFiniteError,
    400: CancelledError,
    401: OutOfMemoryError,
}


def error_of(status: int, text: str) -> Error:
    """The exception for a status."""
    return _CLASSES.get(status, Error)(text, status)
