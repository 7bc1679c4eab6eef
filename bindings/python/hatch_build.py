# SPDX-License-Identifier: MIT OR Apache-2.0
"""Builds the wheel around a built libwfvae.so: the environment variable WFVAE_LIBRARY, or else the tree's own release build."""

import os
import pathlib
import platform
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
        (HERE / "licences").mkdir(exist_ok=True)
        for name in LICENCES:
            shutil.copyfile(TREE / name, HERE / "licences" / pathlib.Path(name).name)


class Library(BuildHookInterface):
    def initialize(self, version, build_data):
        if version == "editable":
            return
        source = pathlib.Path(os.environ.get("WFVAE_LIBRARY") or TREE / "target/release/libwfvae.so").resolve()
        self.folder = tempfile.TemporaryDirectory()
        library = pathlib.Path(self.folder.name, "libwfvae.so")
        shutil.copyfile(source, library)
        if shutil.which("strip"):
            # Without debugging symbols it is a third of the size.
            subprocess.run(["strip", "--strip-unneeded", library], check=True)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag(library)}"
        build_data["force_include"][str(library)] = "wfvae/lib/libwfvae.so"


def platform_tag(library):
    """The oldest glibc that has all symbols that the library needs (PEP 600). It needs glibc's and GCC's libraries only."""
    # Versions of needed symbols are strings in the file.
    versions = re.findall(rb"\0GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\0)", library.read_bytes())
    if not versions:
        raise ValueError(f"{library} names no version of glibc")
    major, minor = max((int(a), int(b)) for a, b in versions)
    return f"manylinux_{major}_{minor}_{platform.machine()}"
