# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a job works on: paths, patterns and dicts become arguments of wfvae-batch, and a list where they cannot be arguments."""

from __future__ import annotations

import contextlib
import glob
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from ._abi import AnyPath

Input = AnyPath | Mapping[str, Any]
Inputs = Input | Iterable[Input]

# Of a list's line.
FIELDS = ("path", "key", "start", "end", "expect_frames")
# Systems limit the size of all arguments and the environment, mostly to 2 MB.
ARGUMENT_BYTES = 100_000
LISTS = (".txt", ".jsonl")


@contextlib.contextmanager
def arguments(inputs: Inputs) -> Iterator[list[str]]:
    """The arguments that name them. A list that is needed for that is there until the context ends."""
    paths, lines = _sorted_out(inputs)
    if sum(len(os.fsencode(path)) + 1 for path in paths) > ARGUMENT_BYTES:
        listed = [path for path in paths if _can_be_listed(path)]
        lines += [{"path": _absolute(path), "key": key_of(os.path.basename(path))} for path in listed]
        paths = [path for path in paths if not _can_be_listed(path)]
    with contextlib.ExitStack() as stack:
        if lines:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="wfvae-"))
            path = Path(folder, "clips.jsonl")
            path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
            paths.append(str(path))
        yield paths


def _sorted_out(inputs: Inputs) -> tuple[list[str], list[dict[str, Any]]]:
    """Paths, and lines of a list."""
    if isinstance(inputs, (str, bytes, os.PathLike, Mapping)):
        inputs = [inputs]
    elif not isinstance(inputs, Iterable):
        raise TypeError(f"inputs is a {type(inputs).__name__}, must be a path, a pattern, a dict, or an iterable of these")
    paths: list[str] = []
    lines: list[dict[str, Any]] = []
    for number, given in enumerate(inputs):
        if isinstance(given, Mapping):
            lines.append(_line(given, number))
        elif isinstance(given, (str, bytes, os.PathLike)):
            paths += _found(given)
        else:
            raise TypeError(f"inputs[{number}] is a {type(given).__name__}, must be a path, a pattern or a dict")
    if not paths and not lines:
        raise ValueError("inputs is empty, must name at least one clip")
    return paths, lines


def _found(given: AnyPath) -> list[str]:
    """The path, or what a pattern matches. A file whose name looks like a pattern is that file."""
    path = os.fsdecode(given)
    if not path:
        raise ValueError("inputs holds an empty path")
    if not isinstance(given, str) or not glob.has_magic(path) or os.path.lexists(path):
        return [path]
    found = sorted(glob.glob(path, recursive=True))
    if not found:
        raise FileNotFoundError(f"no file matches the pattern {path!r}")
    return found


def _line(given: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A line of a list that lies in another folder: its path is absolute, and its key is what it would be here."""
    where = f"inputs[{number}]"
    if unknown := [name for name in given if name not in FIELDS]:
        raise ValueError(f"{where} has the field {unknown[0]!r}; those of a clip are {', '.join(FIELDS)}")
    line = {name: value for name, value in given.items() if value is not None}
    if not isinstance(line.get("path"), (str, bytes, os.PathLike)):
        raise ValueError(f"{where} must have the field 'path', a path")
    path = os.fsdecode(line["path"])
    if not isinstance(line.get("key", ""), str):
        raise TypeError(f"{where}: key is {line['key']!r}, must be a str")
    for name in "start", "end":
        if name in line:
            line[name] = _seconds(line[name], f"{where}: {name}")
    if "expect_frames" in line:
        try:
            line["expect_frames"] = line["expect_frames"].__index__()
        except AttributeError:
            raise TypeError(f"{where}: expect_frames is {line['expect_frames']!r}, must be an int") from None
    line.setdefault("key", key_of(path, line.get("start"), line.get("end")))
    line["path"] = _absolute(path)
    for name in "path", "key":
        if not is_unicode(line[name]):
            raise ValueError(f"{where}: {name} is {line[name]!r}, which is not Unicode; give such a path by itself, without a dict")
    return line


def _seconds(value: Any, name: str) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, must be a number of seconds")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} is {value!r}, must be 0 or more seconds")
    return float(value)


def key_of(path: str, start: float | None = None, end: float | None = None) -> str:
    """The key of a list's line that has none, by the rule of wfvae-batch (clips.rs, docs/datasets.md).

    That is the path without its ending (of an absolute one, and of one that leads up, only the name), and the times of a part in
    milliseconds.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts:
        return ""
    before, dot, _ = parts[-1].rpartition(".")
    name = before if before and dot and parts[-1] != ".." else parts[-1]
    below = not path.startswith("/") and ".." not in parts
    key = "/".join([*parts[:-1], name]) if below else name
    if start is not None or end is not None:
        key += "".join("_" if time is None else f"_{_microseconds(time) // 1000}" for time in (start, end))
    return key


def _microseconds(seconds: float) -> int:
    """As Rust rounds."""
    scaled = seconds * 1e6
    whole = int(scaled)
    return whole + (scaled - whole >= 0.5)


def _absolute(path: str) -> str:
    # abspath() would take `..` behind a link for the folder that the link is in.
    return os.path.join(os.getcwd(), path)


def _can_be_listed(path: str) -> bool:
    # In a list it would be a clip that fails. Given by itself it ends the job.
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path!r} is missing")
    return not os.path.isdir(path) and not path.lower().endswith(LISTS) and is_unicode(_absolute(path))


def is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
