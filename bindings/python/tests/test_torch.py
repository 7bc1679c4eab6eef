# SPDX-License-Identifier: MIT OR Apache-2.0
"""PyTorch's tensors and loaders."""

import subprocess
import sys

import numpy as np
import pytest

import wfvae
from wfvae import _arrays

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

DTYPES = ["uint8", "float16", "bfloat16", "float32"] + (["uint16"] if hasattr(torch, "uint16") else [])


def array_of(tensor):
    """Works with NumPy of any version."""
    return np.array(tensor.float().tolist(), np.float32)


def tensor_of(video, dtype):
    values = torch.tensor(video.tolist(), dtype=torch.int32)
    if dtype == "uint8":
        return values.to(torch.uint8)
    if dtype == "uint16":
        return (values * 257).to(torch.uint16)
    return (values.float() / 255).to(getattr(torch, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_in_and_out(model, video, latents, dtype):
    tensor = tensor_of(video, dtype)
    clip = _arrays.clip_of(tensor, "THWC", "unit", 0, "video")
    assert clip.first.planes[0] == tensor.data_ptr()
    z = model.encode(tensor)
    assert np.abs(z - latents).max() < (0.1 if dtype == "bfloat16" else 0.02)
    # [C, T, H, W] in memory, and views of it.
    other = tensor.permute(3, 0, 1, 2).contiguous()
    assert np.array_equal(model.encode(other, layout="CTHW"), z)
    assert np.array_equal(model.encode(other.permute(1, 2, 3, 0)), z)
    clip = _arrays.clip_of(other, "CTHW", "unit", 0, "video")
    assert list(clip.first.planes[:3]) == [other[i].data_ptr() for i in range(3)]

    out = torch.zeros(3, 17, 64, 96, dtype=getattr(torch, dtype))[:, :, ::2, ::2]
    assert model.decode(latents, out=out, layout="CTHW") is out
    expected = model.decode(latents, dtype="f32", layout="CTHW")
    found = np.array(out.to(torch.float32).tolist()) / {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    assert np.abs(found - expected).max() < {"uint8": 0.51, "uint16": 0.01, "bfloat16": 0.01, "float16": 0.002, "float32": 1e-6}[dtype]


def test_latents_of_torch(model, latents):
    expected = model.decode(latents)
    tensor = torch.tensor(latents.tolist())
    assert np.array_equal(model.decode(tensor), expected)
    turned = tensor.transpose(0, 1).contiguous().transpose(0, 1)
    assert np.array_equal(model.decode(turned), expected)
    half = tensor.to(torch.bfloat16)
    assert np.array_equal(model.decode(half), model.decode(half.float()))
    out = torch.zeros_like(tensor)
    video = np.full((17, 32, 48, 3), 9, np.uint8)
    assert model.encode(video, out=out) is out
    assert np.array_equal(array_of(out), model.encode(video))


def test_streams_write_to_tensors(model, latents):
    out = torch.zeros(3, 17, 32, 48)
    with model.stream(48, 32) as stream:
        part = stream.decode(torch.tensor(latents.tolist()), out=out, layout="CTHW")
        stream.decode_flush(out=out[:, part.shape[1] :], layout="CTHW")
        assert part.data_ptr() == out.data_ptr()
        frames = [torch.zeros(32, 48, 3, dtype=torch.uint8)] * 5
        assert len(list(stream.encode_iter(frames))) == 2
    assert np.array_equal(array_of(out), model.decode(latents, dtype="f32", layout="CTHW"))


def test_wrong_tensors(model, latents):
    video = torch.zeros(1, 16, 16, 3)
    for wrong, kind, text in [
        (video.double(), TypeError, "float64"),
        (video.to_sparse(), ValueError, "to_dense"),
        (video.to("meta"), ValueError, "cpu"),
        (video[0], ValueError, "axes"),
        (torch.tensor(3.0), ValueError, "axes"),
    ]:
        with pytest.raises(kind, match=text):
            model.encode(wrong)
    with pytest.raises(ValueError, match="out is on the device meta, must be on the CPU"):
        model.decode(latents, out=torch.zeros(17, 32, 48, 3, device="meta"))
    with pytest.raises(ValueError, match="resolve_neg"):
        model.encode(torch.zeros(1, 16, 16, 3, dtype=torch.complex64).conj().imag)
    with pytest.raises(ValueError, match="detach"):
        model.decode(latents, out=torch.zeros(17, 32, 48, 3, requires_grad=True))
    with pytest.raises(ValueError, match="share memory"):
        model.decode(latents, out=torch.zeros(17, 32, 48, 1).expand(17, 32, 48, 3))
    still = torch.zeros(1, 16, 16, 3).expand(5, 16, 16, 3)
    assert np.array_equal(model.encode(still), model.encode(still.contiguous()))


class Clips:
    """A data set that encodes."""

    model = None

    def __len__(self):
        return 4

    def __getitem__(self, i):
        if self.model is None:
            self.model = wfvae.Model(threads=1)
        return self.model.encode(torch.full((5, 16, 16, 3), 40 * i, dtype=torch.uint8)).tolist()


LOADER = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from test_torch import Clips
import wfvae
if __name__ == "__main__":
    expected = [Clips()[i] for i in range(4)]
    for method in ("fork", "spawn"):
        loader = torch.utils.data.DataLoader(Clips(), batch_size=None, num_workers=2, multiprocessing_context=method)
        assert list(loader) == expected, method
    # A model of the parent says what to do.
    clips = Clips()
    clips.model = wfvae.Model(threads=1)
    try:
        list(torch.utils.data.DataLoader(clips, batch_size=None, num_workers=1, multiprocessing_context="fork"))
    except wfvae.ForkedError as error:
        assert "in this process" in str(error), error
    else:
        raise AssertionError("no error")
"""


def test_data_loaders(tmp_path):
    program = tmp_path / "loader.py"
    program.write_text(LOADER)
    result = subprocess.run([sys.executable, program, __file__.rpartition("/")[0]], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
