# SPDX-License-Identifier: MIT OR Apache-2.0
"""Builds the wheel around a built library of any system, and around the programs wfvae-batch and wfvae-media.

The environment variable WFVAE_LIBRARY names the library. WFVAE_BATCH and WFVAE_MEDIA name the programs, which the wheel lacks if
only the library is named. If none of the three is set, the wheel gets what the tree's release build has. STRIP names the program
that strips them; without it, what the tree has is stripped, and what was named is not.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

HERE = pathlib.Path(__file__).parent
TREE = HERE.parent.parent
BUILD = TREE / "target/release"
# The variables that name them.
PROGRAMS = {"wfvae-batch": "WFVAE_BATCH", "wfvae-media": "WFVAE_MEDIA"}
LICENCES = ["LICENSE-MIT", "LICENSE-APACHE", "src/model/builtin/ATTRIBUTION"]


class Version(MetadataHookInterface):
    """The version is that of the crate. Puts the licences where the metadata look for them."""

    def update(self, metadata):
        found = re.search(r'^version = "(.*)"', (TREE / "Cargo.toml").read_text(), re.MULTILINE)
        metadata["version"] = found[1]
        shutil.rmtree(HERE / "licences", ignore_errors=True)
        (HERE / "licences").mkdir()
        files = [TREE / name for name in LICENCES]
        # A folder with those of the code of others in the library, which tools/dist.sh writes.
        if notices := os.environ.get("WFVAE_NOTICES"):
            files += [file for file in pathlib.Path(notices).iterdir() if file.is_file()]
        for file in files:
            shutil.copyfile(file, HERE / "licences" / file.name)


class Library(BuildHookInterface):
    def initialize(self, version, build_data):
        if version == "editable":
            return
        source, programs = library_file(), program_files()
        name, machine, glibc = kind_of(source)
        # The programs need the same or an older glibc, or the wheel says that it needs a newer one.
        for program in programs.values():
            kind, of_program, needed = kind_of(program)
            if (kind, of_program) != (name, machine):
                raise ValueError(f"{program} is not for the system of {source}")
            glibc = max(glibc, needed)
        self.folder = tempfile.TemporaryDirectory()
        # wfvae-batch looks for wfvae-media in its own folder.
        files = {f"lib/{name}": source, **{f"bin/{program}": file for program, file in programs.items()}}
        for place, file in files.items():
            copy = pathlib.Path(self.folder.name, place)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, copy)
            # pip installs files as executable if they are so here.
            copy.chmod(0o755)
            strip(copy)
            build_data["force_include"][str(copy)] = f"wfvae/{place}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{tag_of(machine, glibc)}"


def library_file():
    return pathlib.Path(os.environ.get("WFVAE_LIBRARY") or BUILD / "libwfvae.so").resolve()


def program_files():
    """By name."""
    named = {name: os.environ.get(variable) for name, variable in PROGRAMS.items()}
    if all(named.values()):
        return {name: pathlib.Path(file).resolve() for name, file in named.items()}
    if any(named.values()):
        raise ValueError(f"{' and '.join(PROGRAMS.values())} name two programs that need each other: set both, or none")
    if os.environ.get("WFVAE_LIBRARY"):
        return {}
    built = {name: BUILD / name for name in PROGRAMS}
    return built if all(file.is_file() for file in built.values()) else {}


def strip(file):
    """Without debugging symbols it is a third of the size."""
    program = os.environ.get("STRIP", "" if os.environ.get("WFVAE_LIBRARY") else "strip")
    if shutil.which(program):
        subprocess.run([program, "--strip-unneeded", file], check=True)


def kind_of(file):
    """The name that the package gives the library of such a system, the machine, and the glibc that the file needs; None: none."""
    data = file.read_bytes()
    if data[:2] == b"MZ":
        header = int.from_bytes(data[0x3C:0x40], "little")
        if data[header : header + 6] != b"PE\0\0\x64\x86":
            raise ValueError(f"{file} is not for x86-64")
        return "wfvae.dll", "amd64", None
    machines = {62: "x86_64", 183: "aarch64"}
    machine = machines.get(int.from_bytes(data[18:20], "little")) if data[:5] == b"\x7fELF\2" else None
    if machine is None:
        raise ValueError(f"{file} is no shared library or program of Linux for x86-64 or aarch64, nor one of Windows")
    # The oldest glibc that has all symbols that it needs (PEP 600); their versions are strings in the file. It needs glibc's and
    # GCC's libraries only. wfvae-media needs the system's libraries of FFmpeg, too: without them wfvae-batch says what is missing.
    versions = re.findall(rb"\0GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\0)", data)
    if not versions:
        raise ValueError(f"{file} names no version of glibc")
    return "libwfvae.so", machine, max((int(a), int(b)) for a, b in versions)


def tag_of(machine, glibc):
    """The tag of the systems that the wheel is for."""
    return f"win_{machine}" if glibc is None else f"manylinux_{glibc[0]}_{glibc[1]}_{machine}"
