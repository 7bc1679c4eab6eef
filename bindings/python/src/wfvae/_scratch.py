# SPDX-License-Identifier: MIT OR Apache-2.0
"""Temporary folders of processes that may be killed: each new one removes those that such processes left."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "wfvae-scratch-"
LOCK = "lock"


class Scratch:
    """A folder that is there until it is removed, or until the processes that hold its lock have ended and another one is made."""

    path: Path
    #: Children that write to the folder inherit it. Then nobody removes the folder before they have ended, too.
    lock: int

    def __init__(self) -> None:
        _remove_abandoned()
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
            try:
                self.lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(self.lock, fcntl.LOCK_EX)
                if _is_at(self.lock, self.path / LOCK):
                    return
                # Another process found it before it was locked.
                os.close(self.lock)
            except FileNotFoundError:
                pass

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def _remove_abandoned() -> None:
    for path in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        try:
            lock = os.open(path / LOCK, os.O_RDWR)
        except OSError:
            # It is being made or removed, or is another user's.
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            # Its process lives.
            pass
        finally:
            os.close(lock)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
