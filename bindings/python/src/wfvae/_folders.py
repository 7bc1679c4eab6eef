# SPDX-License-Identifier: MIT OR Apache-2.0
"""Folders whose lists of files are there after a power loss, too."""

from __future__ import annotations

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Puts a folder's list of files on the disk, where the file system can."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError:
        # Not every file system can.
        pass
    finally:
        os.close(opened)
