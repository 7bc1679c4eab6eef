# SPDX-License-Identifier: MIT OR Apache-2.0
"""Builds the wheel around a built library of any system: the environment variable WFVAE_LIBRARY, or else the tree's release build.
STRIP names the program that strips it; without it, the tree's release build is stripped, and a library that was named is not."""

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
        source = library_file()
        name, tag = kind_of(source)
        self.folder = tempfile.TemporaryDirectory()
        library = pathlib.Path(self.folder.name, name)
        shutil.copyfile(source, library)
        strip = os.environ.get("STRIP", "" if os.environ.get("WFVAE_LIBRARY") else "strip")
        if shutil.which(strip):
            # Without debugging symbols it is a third of the size.
            subprocess.run([strip, "--strip-unneeded", library], check=True)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{tag}"
        build_data["force_include"][str(library)] = f"wfvae/lib/{name}"


def library_file():
    return pathlib.Path(os.environ.get("WFVAE_LIBRARY") or TREE / "target/release/libwfvae.so").resolve()


def kind_of(library):
    """The name that the package gives it, and the tag of the systems that it is for."""
    data = library.read_bytes()
    if data[:2] == b"MZ":
        header = int.from_bytes(data[0x3C:0x40], "little")
        if data[header : header + 6] != b"PE\0\0\x64\x86":
            raise ValueError(f"{library} is not for x86-64")
        return "wfvae.dll", "win_amd64"
    machines = {62: "x86_64", 183: "aarch64"}
    machine = machines.get(int.from_bytes(data[18:20], "little")) if data[:5] == b"\x7fELF\2" else None
    if machine is None:
        raise ValueError(f"{library} is no shared library of Linux for x86-64 or aarch64, nor one of Windows")
    # The oldest glibc that has all symbols that it needs (PEP 600); their versions are strings in the file. It needs glibc's and
    # GCC's libraries only.
    versions = re.findall(rb"\0GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\0)", data)
    if not versions:
        raise ValueError(f"{library} names no version of glibc")
    major, minor = max((int(a), int(b)) for a, b in versions)
    return "libwfvae.so", f"manylinux_{major}_{minor}_{machine}"
