"""Tests of wfvae-batch, as its users run it.

    check.py PROGRAMS [--all] [TOPIC...]

PROGRAMS is the folder that `make` builds: target/release. Makes its clips with the ffmpeg program. Without --all, topics that take long
are left out, jobs are killed less often, and none has many clips. Ends with the number of checks that passed and failed.
"""

import pathlib
import sys
import tempfile
import time

import damage
import decode
import failures
import media
import resume
import serve
import shards
from base import ALL, failed, passed

TOPICS = [*media.TOPICS, *damage.TOPICS, *resume.TOPICS, *failures.TOPICS, *shards.TOPICS, *decode.TOPICS, *serve.TOPICS]

LONG = [media.hard_parts, media.colours, damage.ends, damage.hostile, resume.interrupts, failures.decoders, failures.threads,
        failures.disks, failures.memory, failures.progress, failures.many, shards.killed_shards, serve.readers,
        decode.kinds, decode.ffmpeg_options, decode.videos, decode.videos_again, decode.wrong_latents, decode.writers, resume.again,
        resume.side_by_side]


def main():
    names = [argument for argument in sys.argv[2:] if argument != "--all"]
    unknown = set(names) - {topic.__name__ for topic in TOPICS}
    if unknown:
        sys.exit(f"no such topic: {', '.join(sorted(unknown))}")
    left_out = [] if ALL or names else LONG
    if left_out:
        print(f"left out: {', '.join(topic.__name__ for topic in left_out)}; make check-batch runs them")
    for topic in TOPICS:
        if topic in left_out:
            continue
        if names and topic.__name__ not in names:
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            topic(pathlib.Path(folder))
        print(f"{topic.__name__}: {time.monotonic() - start:.1f} s", flush=True)
    print(f"wfvae-batch: {len(passed)} passed, {len(failed)} failed")
    return 1 if failed else 0


sys.exit(main())
