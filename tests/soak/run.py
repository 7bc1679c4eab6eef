#!/usr/bin/env python3
"""Runs the soak program, judges what the process held meanwhile, and draws it.

    run.py PROGRAM GOLDEN FOLDER [OPTION...]

Before each long run come short ones, in which memory, a descriptor or a thread is lost on purpose, or a bit is wrong. Each must be
noticed, and a short run in which nothing is wrong must pass. Tables and the picture come to FOLDER.
"""

import argparse
import csv
import pathlib
import subprocess
import sys

import picture

# This part of a run's samples is warm-up: buffers and pools fill, and each thread gets an arena of the allocator.
WARM_UP = 0.25
FEWEST_SAMPLES = 12
THIN_INTERVAL, SHORT_INTERVAL, LONG_INTERVAL = 0.01, 0.1, 2
KIB = 1024
HEAP = 64 * KIB


class Part:
    """A part of the soak. It may hold so many bytes more at its end than at its start, by the slope of a line through all samples:
    HEAP in blocks of malloc, `short_heap` in a short run, as buffers still grow to their size; and `pages` in pages, which also
    depend on how the allocator uses them. `short` and `thin` are sizes of runs, `planted` bytes that a short run loses."""

    def __init__(self, name, unit, title, *, short_heap, pages, planted, short, thin):
        self.name, self.unit, self.title = name, unit, title
        self.short_heap, self.pages = short_heap, pages
        self.planted, self.short, self.thin = planted, short, thin


PARTS = {
    part.name: part
    for part in (
        Part("stream", "frame", "{:,} frames through one stream",
             short_heap=HEAP, pages=1 << 20, planted=16, short=20_000, thin=2000),
        Part("open", "open", "{:,} models opened and closed",
             short_heap=HEAP, pages=4 << 20, planted=4096, short=600, thin=100),
        Part("threads", "turn", "16 streams over 4 threads, {:,} turns",
             short_heap=8 * HEAP, pages=8 << 20, planted=4096, short=10, thin=3),
    )
}


def slope(rows, column):
    """Of the line by least squares, for a second."""
    times, values = [row["seconds"] for row in rows], [row[column] for row in rows]
    time, value = sum(times) / len(rows), sum(values) / len(rows)
    return sum((t - time) * (v - value) for t, v in zip(times, values)) / sum((t - time) ** 2 for t in times)


class Run:
    """One run of the program. `wrong` has a text for each column of the table that grew, or for "program" if that failed. Only the
    columns of `judged` may be wrong."""

    def __init__(self, arguments, part, size, interval, judged, name, plant=None):
        self.part, self.judged, self.wrong, self.lines = part, judged, {}, []
        table = arguments.folder / f"{name}.csv"
        command = [arguments.program, part.name, "-s" if part.name == "threads" else "-n", str(size), "-i", str(interval)]
        command += ["-r", str(arguments.seed), *(["-p", plant] if plant else []), arguments.golden, table]
        done = subprocess.run(command, capture_output=True, text=True)
        self.output = (done.stdout + done.stderr).rstrip()
        if done.returncode:
            self.wrong["program"] = f"status {done.returncode}"
            return
        self.rows = picture.read(table)
        rows = self.rows[int(len(self.rows) * WARM_UP) :]
        if len(rows) < FEWEST_SAMPLES:
            self.wrong["program"] = f"only {len(rows)} samples"
            return
        self.judge_bytes(rows, "heap", HEAP if "resident" in judged else part.short_heap)
        for column in ("anonymous", "resident"):
            self.judge_bytes(rows, column, part.pages)
        for column in ("descriptors", "threads"):
            counts = {int(row[column]) for row in rows}
            self.judge(column, len(counts) == 1, f"{min(counts)} to {max(counts)}")

    def judge(self, column, good, text):
        self.lines.append(f"{column}: {text}")
        if column in self.judged and not good:
            self.wrong[column] = text

    def judge_bytes(self, rows, column, limit):
        first, last = rows[0], rows[-1]
        by_second = slope(rows, column)
        growth = by_second * (last["seconds"] - first["seconds"])
        by_unit = growth / (last["done"] - first["done"])
        self.judge(
            column,
            growth <= limit,
            f"{first[column] / 1e6:.2f} to {last[column] / 1e6:.2f} MB, {by_second * 3600 / KIB:+.1f} KiB an hour, {by_unit:+.4f} bytes "
            f"for each {self.part.unit}; in all {growth / KIB:+.1f} KiB, at most {limit // KIB} allowed",
        )

    @property
    def title(self):
        return self.part.title.format(int(self.rows[-1]["done"]))


COUNTS = ("descriptors", "threads")
ALL = ("heap", "anonymous", "resident", *COUNTS)


def report(run, good, name):
    print(f"{'ok' if good else 'FAILED'} {run.part.name}: {name}", *run.output.splitlines(), *run.lines, sep="\n    ")
    for column, text in run.wrong.items():
        print(f"    wrong: {column}: {text}")
    sys.stdout.flush()
    return good


def short_runs(arguments, part):
    """Whether all that is planted is noticed, and nothing else. Pages are not judged, as they settle only after minutes."""
    good = True
    plants = {None: None, f"memory:{part.planted}": "heap", "descriptor": "descriptors", "thread": "threads", "bit": "program"}
    for plant, column in plants.items():
        name = (plant or "short").split(":")[0]
        run = Run(arguments, part, part.short, SHORT_INTERVAL, ("heap", *COUNTS), f"{part.name}-{name}", plant)
        noticed = column in run.wrong if plant else not run.wrong
        noticed = noticed and (plant != "bit" or "differ" in run.output)
        good = report(run, noticed, f"a short run, with {plant} planted" if plant else "a short run") and good
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("golden")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--part", action="append", choices=list(PARTS), help="this one only, and others that are named; without it, all")
    parser.add_argument("--frames", type=int, default=1_000_000, help="of part stream")
    parser.add_argument("--opens", type=int, default=100_000, help="of part open")
    parser.add_argument("--seconds", type=float, default=3600, help="of part threads")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", choices=["also", "only", "no"], default="also", help="the short runs before the long ones")
    parser.add_argument("--thin", action="store_true", help="a few seconds of each part, only for the results, descriptors and threads")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    sizes = {"stream": arguments.frames, "open": arguments.opens, "threads": arguments.seconds}

    good, runs = True, []
    for name in arguments.part or PARTS:
        part = PARTS[name]
        if arguments.thin:
            run = Run(arguments, part, part.thin, THIN_INTERVAL, COUNTS, f"{name}-thin")
            good = report(run, not run.wrong, "a thin run") and good
            continue
        if arguments.short != "no":
            good = short_runs(arguments, part) and good
        if arguments.short != "only":
            run = Run(arguments, part, sizes[name], LONG_INTERVAL, ALL, name)
            good = report(run, not run.wrong, "the long run") and good
            runs += [run] if run.lines else []
    if runs:
        path = arguments.folder / "soak.svg"
        picture.draw(path, [(run.title, run.rows) for run in runs])
        print(f"picture: {path}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
