#!/usr/bin/env python3
"""Checks that relative links in Markdown files, and sections of docs/spec.md that other files cite, exist."""

import pathlib
import re
import subprocess
import sys

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CITED = re.compile(r"docs/spec\.md,? section (\d+)")


def prose(path):
    return FENCE.sub("", path.read_text())


def anchors(path):
    """As GitHub and GitLab name headings."""
    names = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(prose(path)))
    return {name.strip().replace(" ", "-") for name in names}


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root, capture_output=True, check=True
    )
    files = [root / name for name in listed.stdout.decode().split("\0") if name and (root / name).is_file()]
    sections = set(re.findall(r"^## (\d+)\.", prose(root / "docs/spec.md"), re.MULTILINE))
    checked, broken = 0, []
    for path in files:
        targets = LINK.findall(prose(path)) if path.suffix == ".md" else []
        for target in targets:
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            to = (path.parent / file).resolve() if file else path
            checked += 1
            if not to.exists() or (anchor and anchor not in anchors(to)):
                broken.append(f"{path.relative_to(root)}: {target}")
        if path.suffix in (".md", ".rs", ".h", ".c", ".py"):
            cited = CITED.findall(path.read_text(errors="replace"))
            checked += len(cited)
            broken += [f"{path.relative_to(root)}: docs/spec.md section {n}" for n in cited if n not in sections]
    print("\n".join(f"no such file or section: {line}" for line in broken))
    print(f"links: {checked - len(broken)} passed, {len(broken)} failed")
    return bool(broken or not checked)


if __name__ == "__main__":
    sys.exit(main())
