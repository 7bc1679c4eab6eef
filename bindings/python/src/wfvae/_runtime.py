# SPDX-License-Identifier: MIT OR Apache-2.0
"""Finds ONNX Runtime's library in the package onnxruntime, without importing it."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

from ._abi import AnyPath, path_bytes

_VARIABLES = ("WFVAE_ONNXRUNTIME", "ORT_DYLIB_PATH")


def runtime_path(given: AnyPath | None) -> bytes | None:
    """The path to pass to the library; None: it searches itself, and obeys the environment."""
    if given is not None:
        return path_bytes(given)
    if any(os.environ.get(name) for name in _VARIABLES):
        return None
    found = in_package()
    return None if found is None else path_bytes(found)


def in_package() -> Path | None:
    """The library of the package onnxruntime (or onnxruntime-gpu), whatever its version is called."""
    try:
        spec = importlib.util.find_spec("onnxruntime")
    except (ImportError, ValueError):
        return None
    # Linux has the version in the name.
    name = re.compile(r"onnxruntime\.dll()" if sys.platform == "win32" else r"libonnxruntime\.so((?:\.\d+)*)")
    for folder in (spec and spec.submodule_search_locations) or ():
        names = [m for p in Path(folder, "capi").glob("*onnxruntime.*") if (m := name.fullmatch(p.name))]
        if names:
            newest = max(names, key=lambda m: [int(n) for n in m[1].split(".")[1:]])
            return Path(folder, "capi", newest[0])
    return None
