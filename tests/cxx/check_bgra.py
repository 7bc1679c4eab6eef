#!/usr/bin/env python3
"""Runs examples/bgra.cpp: frames come out as many as went in, resemble them, the right way up, and keep their alpha. Errors
are texts.

    check_bgra.py PROGRAM
"""

import subprocess
import sys

WIDTH, HEIGHT, FRAMES = 45, 30, 7


def run(arguments, data=b""):
    return subprocess.run([sys.argv[1], *arguments], input=data, capture_output=True, timeout=60)


def main():
    # Blue grows from the first row to the last, and each pixel has another alpha.
    pixels = bytes(
        value
        for t in range(FRAMES)
        for y in range(HEIGHT)
        for x in range(WIDTH)
        for value in (60 + 4 * y, 100, 200 - 3 * x, (7 * t + 5 * y + x) % 256)
    )
    result = run([str(WIDTH), str(HEIGHT)], pixels)
    out = result.stdout
    problems = []
    if result.returncode or len(out) != len(pixels):
        problems.append(f"exit status {result.returncode}, {len(out)} bytes of {len(pixels)}: {result.stderr.decode()}")
    else:
        if out[3::4] != pixels[3::4]:
            problems.append("alpha is not kept")
        colours = [i for i in range(len(pixels)) if i % 4 < 3]
        error = sum((out[i] - pixels[i]) ** 2 for i in colours) / len(colours)
        if error > 65:  # 30 dB
            problems.append(f"the mean squared error is {error:.1f}")
    for arguments, data, text in [
        ([], b"", "usage"),
        (["x", "8"], b"", "x is not a number"),
        (["-8", "8"], b"", "-8 is not a number"),
        (["0", "8"], b"", "0x8"),
        (["8", "8", "none"], b"", "none"),
        (["8", "8"], b"abc", "inside a frame"),
    ]:
        result = run(arguments, data)
        if result.returncode != 1 or text not in result.stderr.decode():
            problems.append(f"bgra {arguments}: {result.returncode}, {result.stderr.decode()}")
    for problem in problems:
        print(problem)
    return len(problems) > 0


sys.exit(main())
