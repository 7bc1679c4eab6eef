# SPDX-License-Identifier: MIT OR Apache-2.0
"""The package gives what the example programs in C give, bit for bit; and the READMEs' lines run. check.sh sets the paths."""

import ctypes
import os
import pathlib
import re
import subprocess

import numpy as np
import pytest

import wfvae
from wfvae import _abi

PROGRAMS = os.environ.get("WFVAE_TEST_PROGRAMS")
READMES = os.environ.get("WFVAE_TEST_READMES", "").split()
YUV444P8, RGBP_F32 = 25, 7


def rgb_of(yuv):
    """Frames [T, 3, H, W] of uint8, BT.601 and limited range, as the programs read them: float32 in the same layout."""
    convert = ctypes.CDLL(_abi.library_path()).wfvae_convert_frame
    rgb = np.empty(yuv.shape, np.float32)
    height, width = yuv.shape[2:]
    for source, target in zip(yuv, rgb):
        frames = [
            _abi.Frame(
                _abi.FRAME_SIZE, form, width, height, 0, 0, 0,
                tuple(plane.ctypes.data for plane in picture), (picture.strides[1],) * 3,
            )
            for form, picture in ((YUV444P8, source), (RGBP_F32, target))
        ]  # fmt: skip
        assert convert(ctypes.byref(frames[0]), ctypes.byref(frames[1])) == 0
    return rgb


@pytest.mark.skipif(not PROGRAMS, reason="WFVAE_TEST_PROGRAMS does not name the folder of the example programs")
def test_latents_of_encode_file(tmp_path, model):
    yuv = np.random.default_rng(1).integers(20, 230, (7, 3, 32, 48), dtype=np.uint8)
    clip = tmp_path / "clip.y4m"
    clip.write_bytes(b"YUV4MPEG2 W48 H32 F25:1 Ip A1:1 C444\n" + b"".join(b"FRAME\n" + frame.tobytes() for frame in yuv))
    ours = model.encode(rgb_of(yuv), layout="TCHW")
    for options, of in ([], {}), (["-p", "sample", "-s", "5", "-n"], {"posterior": "sample", "seed": 5, "scaled": True}):
        path = tmp_path / "latents.safetensors"
        subprocess.run([f"{PROGRAMS}/encode_file", *options, clip, path], check=True, capture_output=True)
        # Windows replaces no file that is open.
        with wfvae.open(path) as f:
            ours = model.encode(rgb_of(yuv), layout="TCHW", **of)
            assert np.array_equal(f[:], ours)
            assert f.info.frames == 7 and f.info.fps == 25
            note = f.info.note
    # And back: a file of ours, decoded by a program, is what that program decodes from its own.
    wfvae.save(tmp_path / "ours.safetensors", ours, model, fps=25, frames=7, posterior="sample", seed=5, scaled=True, note=note)
    decoded = []
    for name in "latents", "ours":
        target = tmp_path / f"{name}.y4m"
        subprocess.run([f"{PROGRAMS}/decode_file", tmp_path / f"{name}.safetensors", target], check=True, capture_output=True)
        decoded.append(target.read_bytes())
    assert decoded[0] == decoded[1]
    with wfvae.open(path) as f:
        assert np.array_equal(f.decode(model, dtype="f32"), model.decode(ours, frames=7, scaled=True, dtype="f32"))


@pytest.mark.parametrize("readme", READMES, ids=lambda path: pathlib.Path(path).parent.name)
def test_readme_lines(readme, tmp_path, monkeypatch):
    """All blocks of Python that use the package, one after another.

    test_device.py has those that need PyTorch on a device, and test_batch.py those of data sets.
    """
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", pathlib.Path(readme).read_text(), re.DOTALL)
    blocks = [b for b in blocks if "wfvae" in b and "torch" not in b and "encode_files" not in b]
    assert blocks
    names = {}
    exec(compile("\n".join(blocks), readme, "exec"), names)
    assert names["decoded"].shape == names["video"].shape
