"""What the programs that are timed have in common; bench.py says what passes between them and it.

Arguments of each: MODEL encode|decode FRAMES WIDTH HEIGHT CHUNK THREADS REPETITIONS SECONDS INPUT OUTPUT, and further
ones and options of its own. CHUNK 0 is the whole clip in one call. INPUT holds float32: frames [T, 3, H, W] in -1 to 1, or
latents [T, C, h, w]; OUTPUT receives the other of the two, latents as the posterior's mean.
"""
import argparse
import json
import mmap
import sys
import time

import numpy as np


def arguments(*more, **options):
    """`more` names arguments, `options` what argparse wants to know about options."""
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("direction", choices=["encode", "decode"])
    for name in ("frames", "width", "height", "chunk", "threads", "repetitions"):
        p.add_argument(name, type=int)
    p.add_argument("seconds", type=float)
    p.add_argument("input")
    p.add_argument("output")
    for name in more:
        p.add_argument(name)
    for name, about in options.items():
        p.add_argument(f"--{name.replace('_', '-')}", **about)
    return p.parse_args()


def shared(shape):
    """An array that does not count as anonymous memory: the clip's own buffers are the same for everyone."""
    size = 4 * int(np.prod(shape))
    return np.frombuffer(mmap.mmap(-1, size), np.float32).reshape(shape)


def clip(path, channels, height, width):
    """A file's [T, C, H, W] as [1, C, T, H, W]."""
    stored = np.memmap(path, np.float32, "r").reshape(-1, channels, height, width)
    out = shared((1, channels, len(stored), height, width))
    out[0] = stored.swapaxes(0, 1)
    return out


def save(path, array):
    """Writes [1, C, T, H, W] as the file's [T, C, H, W]."""
    np.ascontiguousarray(array[0].swapaxes(0, 1)).tofile(path)


def say(**event):
    print(json.dumps(event), flush=True)


def measure(run, repetitions, seconds):
    """Once to warm up, then repetitions; no more after `seconds`, but at least two."""
    run()
    walls, cpus = [], []
    while len(walls) < repetitions and (len(walls) < 2 or sum(walls) < seconds):
        cpu, wall = time.process_time(), time.perf_counter()
        run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return dict(seconds=walls, cpu_seconds=cpus)


def finish(result, **more):
    """Says the result and waits until bench.py has looked at this process's memory."""
    say(event="done", **result, **more)
    sys.stdin.read()
