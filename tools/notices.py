#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Prints the licences of the crates that are linked into the library for a target, from the crates' own files: notices.py TRIPLE"""

import json
import pathlib
import re
import subprocess
import sys

# As crates name such files.
NAMES = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense).*", re.IGNORECASE)


def linked(metadata):
    """The packages that the library depends on, without what only builds or tests need."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    root = metadata["resolve"]["root"]
    found, left = {root}, [root]
    while left:
        for dep in nodes[left.pop()]["deps"]:
            macro = any("proc-macro" in target["kind"] for target in packages[dep["pkg"]]["targets"])
            if dep["pkg"] not in found and not macro and any(kind["kind"] is None for kind in dep["dep_kinds"]):
                found.add(dep["pkg"])
                left.append(dep["pkg"])
    return sorted((packages[name] for name in found - {root}), key=lambda package: (package["name"], package["version"]))


def licence_files(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    return sorted(file for file in folder.iterdir() if file.is_file() and NAMES.fullmatch(file.name))


def main():
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", sys.argv[1]]
    packages = linked(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    print(f"libwfvae contains code of these {len(packages)} Rust packages and of Rust's standard library.\n")
    for package in packages:
        print(f"{package['name']} {package['version']}: {package['license']}")
    # By text: many have the same.
    texts = {}
    for package in packages:
        # Some leave the file to another crate of the same repository.
        same = [p for p in packages if p["repository"] == package["repository"] and p["license"] == package["license"]]
        files = licence_files(package) or next((found for p in same if (found := licence_files(p))), None)
        if not files:
            sys.exit(f"notices.py: neither {package['name']} nor another crate of its repository has a file with its licence")
        for file in files:
            text = "\n".join(line.rstrip() for line in file.read_text(encoding="utf-8").strip().splitlines())
            texts.setdefault(text, []).append(f"{package['name']} {package['version']}")
    for text, names in texts.items():
        print(f"\n{'=' * 100}\n{', '.join(names)}:\n\n{text}")


main()
