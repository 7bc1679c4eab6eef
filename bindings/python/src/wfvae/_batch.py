# SPDX-License-Identifier: MIT OR Apache-2.0
"""Finds the program wfvae-batch, and runs it as a child process that never outlives this one.

The program gets the id of this process (WFVAE_BATCH_PARENT): then it ends with the thread that started it, and reports what it did
as a line of JSON. It is the leader of a session of its own, so that Control-C in a terminal reaches this process only, which passes
it on.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NamedTuple

from ._errors import ProgramMissingError
from ._runtime import runtime_path

NAME = "wfvae-batch"
# Control-C more often than this ends the program, whatever it does.
ENDS_ITSELF = 2
# How many of the last lines an error shows if the program ended without a report.
LAST_LINES = 20
# How often the program is asked whether it has ended while it prints nothing.
POLL_MS = 200


class Ended(NamedTuple):
    """How the program ended."""

    #: The exit status; below 0: the signal that ended it.
    status: int
    #: What it reported; empty if it could not.
    report: dict[str, Any]
    #: The last lines that it printed; empty if it printed to this process's own standard error.
    text: str


def find() -> str:
    """The program that the environment variable WFVAE_BATCH names, that of this package, or the one on PATH."""
    if sys.platform == "win32":
        raise ProgramMissingError(f"{NAME} is not for Windows: it runs on Linux")
    if named := os.environ.get("WFVAE_BATCH"):
        return _runnable(named, "WFVAE_BATCH names")
    own = Path(__file__).parent / "bin" / NAME
    if own.is_file():
        return _runnable(str(own), "this package has")
    if found := shutil.which(NAME):
        return found
    raise ProgramMissingError(
        f"the program {NAME} is missing: this wheel of wfvae was built without it. In the source tree of libwfvae, where FFmpeg's "
        f"libraries are, `make wheel` builds one that holds it and `make install` installs it; WFVAE_BATCH may name its path"
    )


def _runnable(path: str, who: str) -> str:
    if not os.path.isfile(path):
        raise ProgramMissingError(f"{who} {path}, where no file is: it must be the program {NAME}")
    if not os.access(path, os.X_OK):
        raise ProgramMissingError(f"{who} {path}, which is not executable: chmod +x allows it to run")
    return path


def environment() -> dict[str, str]:
    """That of this process, with the ONNX Runtime that models of this process would use."""
    found = dict(os.environ)
    if runtime := runtime_path(None):
        found["WFVAE_ONNXRUNTIME"] = os.fsdecode(runtime)
    return found


def run(arguments: Sequence[str], on_line: Callable[[str], None] | None = None) -> Ended:
    """Runs the program to its end.

    on_line: gets each line of its standard error; None: they go to sys.stderr.
    Control-C lets it finish the clips that it is working on; a second one stops it at once. In both cases KeyboardInterrupt is
    raised when it has ended. Any other exception, such as one of on_line, stops it at once.
    """
    program = find()
    direct = on_line is None and _is_systems(sys.stderr)
    if direct:
        print(end="", file=sys.stderr, flush=True)
    with tempfile.TemporaryFile() as report, _Interrupts() as interrupts:
        try:
            process = subprocess.Popen(
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=report,
                stderr=None if direct else subprocess.PIPE,
                env={**environment(), "WFVAE_BATCH_PARENT": str(os.getpid())},
                start_new_session=True,
            )
        except OSError as error:
            raise ProgramMissingError(f"{program} cannot be started: {error.strerror}") from None
        last: list[str] = []
        try:
            interrupts.pass_to(process)
            for line in () if direct else _lines(process):
                last = [*last[1 - LAST_LINES :], line]
                (on_line or _print)(line)
            status = process.wait()
        finally:
            # Does nothing if it has ended. Its decoders end with it.
            process.kill()
            process.wait()
            if process.stderr:
                process.stderr.close()
        report.seek(0)
        content = report.read()
    if interrupts.count:
        raise KeyboardInterrupt
    return Ended(status, _parsed(content), "\n".join(last))


def become(arguments: Sequence[str]) -> None:
    """Replaces this process by the program."""
    program = find()
    # Python ignores them, and so would the program.
    for name in "SIGPIPE", "SIGXFSZ":
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execve(program, [program, *arguments], environment())
    except OSError as error:
        raise ProgramMissingError(f"{program} cannot be started: {error.strerror}") from None


class _Interrupts:
    """Counts Control-C and passes it on, where it would raise KeyboardInterrupt: in the main thread, unless the user handles it."""

    def __init__(self) -> None:
        self.count = 0
        self._passed = 0
        self._process: subprocess.Popen[bytes] | None = None
        in_main = threading.current_thread() is threading.main_thread()
        self._handles = in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def __enter__(self) -> _Interrupts:
        if self._handles:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._handles:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def pass_to(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        # Those that came before.
        self._pass()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self._pass()

    def _pass(self) -> None:
        while self._process and self._passed < self.count:
            self._passed += 1
            self._process.send_signal(signal.SIGINT if self._passed <= ENDS_ITSELF else signal.SIGKILL)


def _is_systems(stream: Any) -> bool:
    """Whether it is this process's standard error. Jupyter, pytest and others put objects of their own there."""
    try:
        own = sys.__stderr__
        return own is not None and stream is own and own.fileno() == 2
    except (OSError, ValueError):
        return False


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """What it prints to standard error. They end with the process: others that were forked meanwhile may hold the pipe open."""
    assert process.stderr
    pipe = process.stderr.fileno()
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    rest = b""
    while True:
        ended = process.poll() is not None
        if poll.poll(0 if ended else POLL_MS):
            read = os.read(pipe, 1 << 16)
            if not read:
                break
            *lines, rest = (rest + read).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines)
        elif ended:
            break
    if rest:
        yield rest.decode("utf-8", "replace")


def _print(line: str) -> None:
    # print() would take None for standard output.
    if sys.stderr is not None:
        # That nobody can read it ends no job.
        with contextlib.suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        report = json.loads(content)
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}
