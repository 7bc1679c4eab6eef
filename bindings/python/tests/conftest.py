# SPDX-License-Identifier: MIT OR Apache-2.0
import pathlib
import subprocess

import numpy as np
import pytest

import wfvae
from wfvae import _batch


@pytest.fixture(scope="session")
def model():
    with wfvae.Model(threads=2) as model:
        yield model


@pytest.fixture(scope="session")
def video():
    """[17, 32, 48, 3], uint8: a moving pattern."""
    t, y, x, c = np.meshgrid(np.arange(17), np.arange(32), np.arange(48), np.arange(3), indexing="ij")
    return (127 + 80 * np.sin(0.3 * x + 0.5 * t + c) * np.cos(0.2 * y)).astype(np.uint8)


@pytest.fixture(scope="session")
def latents(model, video):
    z = model.encode(video)
    z.flags.writeable = False
    return z


@pytest.fixture(scope="session")
def decoded(model, latents):
    """Of `latents`, float32."""
    return model.decode(latents, dtype="f32")


@pytest.fixture(scope="session")
def program():
    """The program wfvae-batch. Skips where the wheel lacks it, or the system its libraries."""
    try:
        found = pathlib.Path(_batch.find())
    except wfvae.ProgramMissingError as error:
        pytest.skip(error.text)
    decoder = subprocess.run([found.parent / "wfvae-media"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if decoder.returncode:
        pytest.skip(f"wfvae-media does not run, which needs FFmpeg's libraries: {decoder.stderr}")
    return found


@pytest.fixture
def clip():
    return write_clip


def write_clip(path, frames=5, width=32, height=16):
    """A Y4M file, 4:2:0, in which every frame differs from the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = width * height * 3 // 2
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420jpeg\n".encode())
        for index in range(frames):
            file.write(b"FRAME\n" + bytes([30 + 7 * index % 200]) * size)
    return path


@pytest.fixture
def clips(tmp_path, program):
    """A folder with a.y4m, b.y4m, sub/c.y4m, and cut.y4m, which ends within a frame."""
    folder = tmp_path / "clips"
    for name in "a", "b", "sub/c":
        write_clip(folder / f"{name}.y4m")
    cut = write_clip(folder / "cut.y4m")
    cut.write_bytes(cut.read_bytes()[:-50])
    return folder
