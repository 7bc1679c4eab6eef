# SPDX-License-Identifier: MIT OR Apache-2.0
"""The program `wfvae`, or `python -m wfvae`.

Exit status: 0; 1, some clips failed; 2, a wrong argument, or what was named cannot be read; 130, Control-C.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from . import __version__, _batch, _describe
from ._errors import Error
from ._parquet import write_parquet

JOBS = {
    "encode": "encodes the clips of a data set to latents, by wfvae-batch; `encode --help` lists its options",
    "decode": "decodes latent files to videos, by wfvae-batch; `decode --help` lists its options",
}


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        # All that follows is for wfvae-batch, `--help` too.
        if given and given[0] in JOBS:
            _batch.become(given)
        options = _parser().parse_args(given)
        if options.command == "parquet":
            return _parquet(options.job, options.output, options.size)
        return _info(options.path, options.json)
    except Error as error:
        print(f"wfvae: {error.text}", file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # Whoever reads the output wants no more of it. Python would write the rest at its end, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"wfvae: {error.filename or 'error'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wfvae",
        description="WF-VAE video models: data sets to latents and back, and what files hold.",
        epilog="Exit status: 0; 1, some clips failed; 2, a wrong argument, or what was named cannot be read; 130, Control-C.",
    )
    parser.add_argument("--version", action="version", version=f"wfvae {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="encode | decode | parquet | info")
    for name, text in JOBS.items():
        commands.add_parser(name, help=text, add_help=False)
    about = "packs the latents of a job of wfvae-batch into Parquet files of a folder; what the folder has already is kept"
    parquet = commands.add_parser("parquet", help=about, description=about)
    parquet.add_argument("job", metavar="FOLDER", help="folder of the job")
    parquet.add_argument("-o", "--output", metavar="FOLDER", required=True, help="folder of the Parquet files")
    parquet.add_argument("--size", default="1G", help="latents in a file, in bytes, such as 500M (default 1G)")
    about = "describes a checkpoint, a latent file, or the folder of a job of wfvae-batch"
    info = commands.add_parser("info", help=about, description=about)
    info.add_argument("path", metavar="PATH", help="folder or .safetensors file of a checkpoint, latent file, or folder of a job")
    info.add_argument("--json", action="store_true", help="print one JSON object, with all clips that failed")
    return parser


def _info(path: str, as_json: bool) -> int:
    found = _describe.describe(path)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(_describe.lines(found)))
    sys.stdout.flush()
    return 0


def _parquet(job: str, output: str, size: str) -> int:
    try:
        written = write_parquet(job, output, size=size)
    except ValueError as error:
        print(f"wfvae: {error}", file=sys.stderr)
        return 2
    print(f"{len(written)} files written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
