#!/usr/bin/env python3
"""A table of what llvm-cov exported, and the lines that were not reached: fuzz/coverage.py TARGET FILE."""

import json
import os
import sys

target, file = sys.argv[1:]
data = json.load(open(file))["data"][0]


def not_reached(segments):
    """Lines of a file in which some region was never run, as "a-b"."""
    lines = set()
    for here, behind in zip(segments, segments[1:]):
        line, _, count, has_count, _, gap = here[:6]
        if has_count and not gap and count == 0:
            lines.update(range(line, behind[0] + 1))
    runs = []
    for line in sorted(lines):
        if runs and runs[-1][1] == line - 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


print(f"{target}:")
for one in data["files"]:
    name = os.path.relpath(one["filename"])
    regions, lines = one["summary"]["regions"], one["summary"]["lines"]
    rest = not_reached(one["segments"])
    print(f"  {name}: {regions['covered']} of {regions['count']} regions, {lines['covered']} of {lines['count']} lines" + (f"; not all of {rest}" if rest else ""))
