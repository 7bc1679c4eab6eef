#!/usr/bin/env python3
"""Counts unsafe code in the Rust sources, by folder: blocks, functions, and promises about types (impl). Tests are counted apart.

The reasons are in the sources; this shows how much there is to read."""

import collections
import pathlib
import re

# Comments, and strings, in which the word is none.
OTHER = re.compile(r'//[^\n]*|/\*.*?\*/|r#"[\s\S]*?"#|"(?:[^"\\]|\\[\s\S])*"', re.DOTALL)
KINDS = {"blocks": r"\bunsafe\s*\{", "functions": r'\bunsafe\s+(?:extern\s+)?fn\s+\w', "impls": r"\bunsafe\s+impl\b"}


def folder(path):
    # `plain` is a reference for tests.
    if path.parts[1] == "tests" or "test" in path.stem or path.stem.startswith("fake_") or path.stem in ("plain", "fuzzing"):
        return "tests"
    return "/".join(path.parts[:2]) if len(path.parts) > 2 else "src"


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    totals = collections.defaultdict(collections.Counter)
    for path in sorted((root / "src").rglob("*.rs")):
        code = OTHER.sub("", path.read_text())
        for kind, pattern in KINDS.items():
            totals[folder(path.relative_to(root))][kind] += len(re.findall(pattern, code))
    totals["all"] = sum(totals.values(), collections.Counter())
    print(f"{'unsafe':16}" + "".join(f"{kind:>11}" for kind in KINDS))
    for name, counts in totals.items():
        if counts.total():
            print(f"{name:16}" + "".join(f"{counts[kind]:11}" for kind in KINDS))


if __name__ == "__main__":
    main()
