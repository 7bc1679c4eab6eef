"""Tests of wfvae-batch, as its users run it.

    check.py PROGRAMS [--all] [TOPIC...]

PROGRAMS is the folder that `make` builds: target/release. Makes its clips with the ffmpeg program. --all: a job is killed more often,
and has many clips. Ends with the number of checks that passed and failed.
"""

import pathlib
import sys
import tempfile
import time

import damage
import failures
import media
import resume
import shards
from base import failed, passed

TOPICS = [*media.TOPICS, *damage.TOPICS, *resume.TOPICS, *failures.TOPICS, *shards.TOPICS]


def main():
    names = [argument for argument in sys.argv[2:] if argument != "--all"]
    unknown = set(names) - {topic.__name__ for topic in TOPICS}
    if unknown:
        sys.exit(f"no such topic: {', '.join(sorted(unknown))}")
    for topic in TOPICS:
        if names and topic.__name__ not in names:
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            topic(pathlib.Path(folder))
        print(f"{topic.__name__}: {time.monotonic() - start:.1f} s", flush=True)
    print(f"wfvae-batch: {len(passed)} passed, {len(failed)} failed")
    return 1 if failed else 0


sys.exit(main())
