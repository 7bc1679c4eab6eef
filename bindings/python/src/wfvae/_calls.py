# SPDX-License-Identifier: MIT OR Apache-2.0
"""How the library is called: who keeps a handle alive meanwhile, and how Ctrl-C, fork() and the interpreter's end are met.

Python runs signal handlers in the main thread, between bytecodes. A call in the main thread would therefore delay Ctrl-C until it
ends. So long calls of the main thread run in a worker thread, while the main thread waits for a lock, which signal handlers can
interrupt. If a handler raises, the call is cancelled. Other threads call directly, and so does the main thread where a call is known to
be short: waking another thread takes up to 0.1 ms.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

from ._abi import STATUS_FORKED, library
from ._errors import StateError, error_of

# How long an interrupted call may take to end, before the exception goes on without it.
GRACE_S = 0.03
# How long the interpreter's end waits for calls in daemon threads.
EXIT_S = 10.0
# On Windows nothing interrupts a wait for a lock, so that signal handlers run between short ones. -1: no limit.
WAIT_S = 0.05 if sys.platform == "win32" else -1.0
# What a thread that calls the library needs, with room for Python.
STACK_BYTES = 1 << 20

Function = Callable[..., Any]


class _Process:
    """Which process this is: another object in every forked child."""

    def __init__(self) -> None:
        self.main = threading.main_thread().ident
        self.idle: list[_Worker] = []
        # By id(). Not a WeakSet: that fails if another thread adds to it while it is read.
        self.handles: dict[int, weakref.ref[Handle]] = {}
        self.exiting = False

    def worker(self) -> _Worker | None:
        """None: no thread can be started, as memory is out or the interpreter is ending."""
        try:
            return self.idle.pop() if self.idle else _Worker(self)
        except RuntimeError:
            return None


class Handle:
    """A handle of the library, and the calls that use it. It is destroyed when it is closed and the last call has left."""

    # Lists serve as counters: append() and pop() are atomic. A signal handler may raise when a function is entered or has returned, so
    # that pop() must come first of all after `finally`, and not in a function.
    __slots__ = ("__weakref__", "_destroy", "_name", "_users", "_waiting", "late", "pointer", "process", "survives")

    def __init__(self, name: str, pointer: int | None, destroy: Function, survives: bool = False) -> None:
        """survives: works in forked children."""
        self.pointer = pointer
        self.process = _process
        self.survives = survives
        # Calls that were interrupted and have not ended yet.
        self.late: set[_Job] = set()
        self._name = name
        self._destroy = destroy
        self._users: list[None] = []
        self._waiting: list[int] = []
        _process.handles[id(self)] = weakref.ref(self)

    def check(self) -> None:
        """Raises if it cannot be used."""
        if self.process is not _process and not self.survives:
            raise error_of(STATUS_FORKED, f"the {self._name} belongs to the parent of this forked process: open the model in this process")
        if self.pointer is None:
            raise StateError(f"the {self._name} is closed")

    def short(self, function: Function, *arguments: Any) -> None:
        """A call that returns at once. In a forked child the library itself decides."""
        try:
            self._users.append(None)
            if self.pointer is None:
                self.check()
            status = function(self.pointer, *arguments)
            if status:
                raise error_of(status, last_error())
        finally:
            self._users.pop()
            if self._waiting:
                self._destroy_waiting()

    def value(self, function: Function, *arguments: Any) -> Any:
        """A call that returns at once, with a result instead of a status."""
        try:
            self._users.append(None)
            if self.pointer is None:
                self.check()
            return function(self.pointer, *arguments)
        finally:
            self._users.pop()
            if self._waiting:
                self._destroy_waiting()

    def run(self, function: Function, *arguments: Any, keep: Any = None, direct: bool = False) -> None:
        """A call that may take long. keep: what must live until it ends, even if the caller was interrupted.

        direct: it is short, so that Ctrl-C can wait.
        """
        if self.late and self.process is _process:
            self._wait_for_late()
        job = _Job(self, function, arguments, keep)
        worker = None if direct or threading.get_ident() != _process.main else _process.worker()
        if worker is None:
            job.run()
        else:
            job.wait(worker)
        if job.failure is not None:
            raise job.failure

    def cancel(self) -> None:
        """Ends the running call of a stream, or the next one."""
        self.short(library.cancel)

    def poison(self) -> None:
        """After an exception between a call and its caller: the stream's results are lost, so the next call must fail."""
        if self._destroy is library.destroy and self.pointer is not None and self.process is _process:
            self.cancel()

    def close(self) -> None:
        """Destroys the handle, if needed after the running call, which is cancelled. Once more is allowed."""
        if self.process is not _process and not self.survives:
            # The library would do nothing either.
            self.pointer = None
        try:
            self._users.append(None)
            pointer, self.pointer = self.pointer, None
            if pointer is not None:
                self._waiting.append(pointer)
                if len(self._users) > 1 and self._destroy is library.destroy:
                    library.cancel(pointer)
        finally:
            self._users.pop()
            if self._waiting:
                self._destroy_waiting()

    def _destroy_waiting(self) -> None:
        if self._users or _process.exiting:
            return
        try:
            pointer = self._waiting.pop()
        except IndexError:
            # Another thread was faster.
            return
        self._destroy(pointer)

    def _wait_for_late(self) -> None:
        for job in tuple(self.late):
            job.wait_for_end()
            self.late.discard(job)

    @property
    def users(self) -> int:
        return len(self._users)

    def __del__(self) -> None:
        self.process.handles.pop(id(self), None)
        # At the interpreter's end the system takes the memory back.
        if not self.process.exiting:
            self.close()

    def __reduce__(self) -> NoReturn:
        more = "pass a snapshot(), or copy it with fork()" if self._name == "stream" else "pass its path, and open it there"
        raise TypeError(f"a {self._name} cannot be pickled or copied: {more}")


class _Job:
    """One call. Holds all that the call uses, so that it may outlive its caller."""

    __slots__ = ("_arguments", "_cancelled", "_done", "_function", "_handle", "_keep", "_started", "failure", "finished")

    def __init__(self, handle: Handle, function: Function, arguments: tuple[Any, ...], keep: Any) -> None:
        self._handle = handle
        self._function = function
        self._arguments = arguments
        self._keep = keep
        self._started = self._cancelled = self.finished = False
        self.failure: BaseException | None = None

    def run(self) -> None:
        handle = self._handle
        try:
            handle._users.append(None)
            self._started = True
            if self._cancelled:
                return
            if _process.exiting:
                raise StateError("the interpreter is ending")
            if handle.process is not _process or handle.pointer is None:
                handle.check()
            status = self._function(handle.pointer, *self._arguments)
            if status:
                # The text is this thread's.
                self.failure = error_of(status, last_error())
        except BaseException as error:
            self.failure = error
        finally:
            self.finished = True
            handle._users.pop()
            self._keep, self._arguments = None, ()
            if handle._waiting:
                handle._destroy_waiting()

    def end(self) -> None:
        self._done.release()

    def wait_for_end(self) -> None:
        if not self.finished:
            self._acquire_done()
            self._done.release()

    def _acquire_done(self) -> None:
        while not self._done.acquire(timeout=WAIT_S):
            pass

    def wait(self, worker: _Worker) -> None:
        """Runs it in the worker. An exception of a signal handler ends it."""
        self._done = threading.Lock()
        self._done.acquire()
        try:
            worker.start(self)
            self._acquire_done()
        except BaseException:
            self._cancelled = True
            if self._started:
                self._handle.poison()
                if not self.finished:
                    self._handle.late.add(self)
                    if self._done.acquire(timeout=GRACE_S):
                        self._done.release()
            raise


class _Worker:
    """A thread that runs one job after another for the main thread."""

    def __init__(self, process: _Process) -> None:
        self._process = process
        self._go = threading.Lock()
        self._go.acquire()
        self._job: _Job | None = None
        stack = threading.stack_size()
        if 0 < stack < STACK_BYTES:
            threading.stack_size(STACK_BYTES)
        try:
            threading.Thread(target=self._loop, name="wfvae", daemon=True).start()
        finally:
            threading.stack_size(stack)

    def start(self, job: _Job) -> None:
        self._job = job
        self._go.release()

    def _loop(self) -> None:
        go, idle = self._go, self._process.idle
        while True:
            go.acquire()
            job, self._job = self._job, None
            assert job is not None
            job.run()
            idle.append(self)
            job.end()
            # What it holds must not wait for the next job.
            del job


def last_error() -> str:
    """The text of the calling thread's last failed call."""
    text: bytes = library.last_error(None)
    return text.decode("utf-8", "replace")


_process: _Process = _Process()
# For calls without a handle of their own: opening models and files.
_library: Handle


def opened(name: str, destroy: Function, function: Function, *arguments: Any, keep: Any = None, survives: bool = False) -> Handle:
    """Calls a function whose last parameter receives a handle. If the caller is interrupted, the handle is closed again."""
    opening = _Opening(name, destroy, function, survives)
    _library.run(opening, *arguments, keep=keep)
    assert opening.handle is not None
    return opening.handle


def made(source: Handle, name: str, destroy: Function, function: Function, *arguments: Any, keep: Any = None, survives: bool = False) -> Handle:
    """The same for a function whose first parameter is another handle."""
    opening = _Opening(name, destroy, function, survives)
    source.run(opening.of, *arguments, keep=keep)
    assert opening.handle is not None
    return opening.handle


class _Opening:
    def __init__(self, name: str, destroy: Function, function: Function, survives: bool) -> None:
        self.handle: Handle | None = None
        self._made = name, destroy, survives
        self._function = function

    def __call__(self, _: Any, *arguments: Any) -> int:
        return self.of(*arguments)

    def of(self, *arguments: Any) -> int:
        pointer = ctypes.c_void_p()
        status: int = self._function(*arguments, ctypes.byref(pointer))
        if status == 0:
            name, destroy, survives = self._made
            # If nobody waits for it any more, it goes with this object, and is closed.
            self.handle = Handle(name, pointer.value, destroy, survives)
        return status


_library = Handle("library", 1, lambda pointer: None, survives=True)


def _after_fork() -> None:
    global _process, _library
    _process = _Process()
    _library = Handle("library", 1, lambda pointer: None, survives=True)


def _at_exit() -> None:
    """No call may run while the interpreter ends: it could log, and C++ libraries destroy what it uses."""
    _process.exiting = True
    end = time.monotonic() + EXIT_S
    while (running := [h for r in list(_process.handles.values()) if (h := r()) and h.users]) and time.monotonic() < end:
        for handle in running:
            if handle._destroy is library.destroy and handle.pointer is not None:
                library.cancel(handle.pointer)
        time.sleep(0.002)


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
