# SPDX-License-Identifier: MIT OR Apache-2.0
"""Streams, snapshots, latent files: what they give, and what wrong use gives."""

import copy
import os
import pickle
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

import wfvae


def same(a, b):
    assert a.shape == b.shape and a.dtype == b.dtype
    assert np.array_equal(a, b)


@pytest.fixture
def stream(model):
    with model.stream(48, 32) as stream:
        yield stream


@pytest.mark.parametrize("sizes", [[17], [1] * 17, [3, 5, 1, 8], [16, 1]])
def test_any_split_is_the_same(stream, video, latents, decoded, sizes):
    starts = np.cumsum([0, *sizes])
    parts = [stream.encode(video[a : a + n]) for a, n in zip(starts, sizes)]
    same(np.concatenate([*parts, stream.encode_flush()]), latents.copy())
    frames = [stream.decode(part, dtype="f32") for part in parts if len(part)]
    same(np.concatenate([*frames, stream.decode_flush(dtype="f32")]), decoded)


@pytest.mark.parametrize("frames", [1, 2, 4, 5, 6])
def test_lengths(model, video, frames):
    z = model.encode(video[:frames])
    assert len(z) == model.latents_for_frames(frames)
    assert len(model.decode(z)) == model.frames_for_latents(len(z)) >= frames
    decoded = model.decode(z, frames=frames)
    assert decoded.shape == video[:frames].shape
    same(decoded, model.decode(z)[:frames])


def test_iterators(stream, video, latents, decoded):
    same(np.stack(list(stream.encode_iter(video))), latents.copy())
    same(np.stack(list(stream.decode_iter(latents, frames=17, dtype="f32"))), decoded)
    stream.reset()
    chw = (frame.transpose(2, 0, 1) for frame in video)
    same(np.stack(list(stream.encode_iter(chw, layout="CHW"))), latents.copy())
    frames = list(stream.decode_iter(map(memoryview, latents), layout="CHW", dtype="f32", frames=16))
    same(np.stack(frames), decoded[:16].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_an_iterable_that_raises_keeps_the_streams_place(stream, video, latents, kind):
    def broken():
        yield from video[:6]
        raise kind("the file is truncated")

    found = []
    with pytest.raises(kind):
        for z in stream.encode_iter(broken()):
            found.append(z)
    assert stream.info.frames_in == 6 and not stream.info.needs_reset
    found += stream.encode_iter(video[6:])
    same(np.stack(found), latents.copy())


def test_a_dropped_iterator(stream, video, latents):
    iterator = stream.encode_iter(video)
    next(iterator)
    iterator.close()
    stream.reset()
    same(np.stack(list(stream.encode_iter(video))), latents.copy())
    for wrong in (lambda: stream.encode_iter(video, layout="THWC"), lambda: stream.encode_iter(3), lambda: stream.decode_iter(latents, dtype="i8")):
        # At once, not at the first latent.
        with pytest.raises((ValueError, TypeError)):
            wrong()
    stream.reset()
    with pytest.raises(ValueError, match="one frame at a time"):
        list(stream.encode_iter([video]))
    with pytest.raises(ValueError, match="must be"):
        list(stream.decode_iter([latents]))


def test_out_of_a_stream(stream, video, latents, decoded):
    z = np.zeros((7, *latents.shape[1:]), np.float32)
    part = stream.encode(video, out=z)
    assert part.base is z and len(part) == 5
    frames = np.zeros((20, *decoded.shape[1:]), np.float32)
    part = stream.decode(z[:5], out=frames)
    rest = stream.decode_flush(out=frames[len(part) :])
    assert np.shares_memory(rest, frames)
    same(frames[:17], decoded)
    assert not frames[17:].any()
    stream.reset()
    with pytest.raises(ValueError, match="room for 4 latents, needed are 5"):
        stream.encode(video, out=z[:4])
    with pytest.raises(ValueError, match="room for 3 frames, needed are 15"):
        stream.decode(latents, out=frames[:3])
    # Nothing was consumed.
    same(stream.encode(video), latents.copy())


def test_wrong_order(stream, video, latents):
    stream.encode(video)
    stream.encode_flush()
    assert stream.encode_flush().shape == (0, 16, 4, 6)
    with pytest.raises(wfvae.StateError) as caught:
        stream.encode(video)
    assert caught.value.status == 103 and caught.value.text == str(caught.value) != ""
    assert isinstance(caught.value, RuntimeError) and isinstance(caught.value, wfvae.Error)
    with pytest.raises(ValueError, match="48x32"):
        stream.encode(video[:, :16])
    with pytest.raises(ValueError, match="must be"):
        stream.decode(latents[..., :2])
    with pytest.raises(ValueError, match="empty"):
        stream.decode(latents[:0])


def test_closed(model, video):
    stream = model.stream(48, 32)
    fork = stream.fork()
    snapshot = stream.snapshot()
    stream.close()
    stream.close()
    for use in (lambda: stream.encode(video), stream.encode_flush, stream.reset, stream.cancel, stream.fork, stream.snapshot,
                lambda: stream.info, lambda: stream.progress, lambda: stream.restore(snapshot), lambda: stream.decode_flush()):  # fmt: skip
        with pytest.raises(wfvae.StateError, match="the stream is closed"):
            use()
    assert "closed" in repr(stream)
    fork.restore(snapshot)
    snapshot._handle.close()
    with pytest.raises(wfvae.StateError, match="the snapshot is closed"):
        fork.restore(snapshot)
    other = wfvae.Model(threads=1)
    left = other.stream(48, 32, directions="encode")
    other.close()
    other.close()
    with pytest.raises(wfvae.StateError, match="the model is closed"):
        other.encode(video)
    assert "closed" in repr(other)
    # Streams outlive their model.
    assert len(left.encode(video)) == 5
    del left, fork


def test_snapshots(model, stream, video, latents):
    first = stream.encode(video[:6])
    snapshot = stream.snapshot()
    fork = stream.fork()
    rest = np.concatenate([stream.encode(video[6:]), stream.encode_flush()])
    same(np.concatenate([first, rest]), latents.copy())
    same(fork.encode(video[6:]), rest)
    for again in (snapshot, pickle.loads(pickle.dumps(snapshot)), copy.deepcopy(snapshot), wfvae.Snapshot(bytes(snapshot))):
        assert len(bytes(again)) == again.nbytes
        stream.restore(again)
        same(stream.encode(video[6:]), rest)
    with model.stream(64, 32) as other, pytest.raises(wfvae.SizeError):
        other.restore(snapshot)
    for wrong in (b"", b"nothing", bytes(snapshot)[:-1]):
        with pytest.raises(wfvae.ArgumentError):
            wfvae.Snapshot(wrong)
    with pytest.raises(TypeError, match="bytes"):
        stream.restore(bytes(snapshot))


def test_posteriors(model, video, latents):
    moments = model.encode(video, posterior="moments")
    same(np.ascontiguousarray(moments[:, :16]), latents.copy())
    sample = model.encode(video, posterior="sample", seed=3)
    assert not np.array_equal(sample, latents)
    same(sample, model.encode(video, posterior="sample", seed=3))
    assert not np.array_equal(sample, model.encode(video, posterior="sample", seed=4))
    with model.stream(48, 32, posterior="sample", seed=4) as stream:
        stream.set_seed(3)
        for _ in range(2):
            same(sample, np.concatenate([stream.encode(video), stream.encode_flush()]))
            with pytest.raises(wfvae.StateError, match="frames of the clip are encoded already"):
                stream.set_seed(4)
            stream.reset()
    info = model.info
    assert info.has_scaling
    scaled = model.encode(video, scaled=True)
    assert not np.allclose(scaled, latents)
    assert np.abs(model.decode(scaled, scaled=True, dtype="f32") - model.decode(latents, dtype="f32")).max() < 1e-4


def test_padding(model, video):
    odd = video[:5, :29, :43]
    with pytest.raises(wfvae.SizeError):
        model.encode(odd)
    z = model.encode(odd, padding=True)
    assert z.shape == (2, 16, 4, 6)
    assert model.decode(z).shape == (5, 32, 48, 3)
    assert model.decode(z, width=43, height=29).shape == odd.shape


def test_tiles_and_memory(model, video):
    memory = model.estimate(512, 512, tiling="blended", tile_width=256, tile_height=256, directions="encode")
    assert memory.encode_tiles == 9 and memory.decode_tiles == 0 and memory.total_bytes > 1e6
    with pytest.raises(MemoryError) as caught:
        model.encode(video, memory_limit=1000)
    assert caught.value.status == 401
    z = model.encode(np.zeros((1, 64, 64, 3), np.uint8), tiling="blended", tile_width=32, tile_height=32)
    assert z.shape == (1, 16, 8, 8)


def test_not_finite_input_changes_nothing(stream, video, latents):
    bad = np.full((1, 32, 48, 3), np.inf, np.float32)
    with pytest.raises(wfvae.NotFiniteError):
        stream.encode(bad)
    assert not stream.info.needs_reset
    same(stream.encode(video), latents.copy())


def test_info_and_progress(model, stream, video):
    stream.encode(video[:7])
    info = stream.info
    assert (info.width, info.height, info.frames_in, info.latents_out) == (48, 32, 7, 2)
    assert info.latent_size == 16 * 4 * 6 * 4 and info.needs_reset is False
    assert stream.progress == (0, 0)
    assert model.info.latent_channels == 16 and model.info.directions == "both"
    assert model.info.runtime_version.startswith("1.")


def test_files(tmp_path, model, video, latents, decoded):
    path = tmp_path / "ä.safetensors"
    wfvae.save(path, latents, model, fps=Fraction(30000, 1001), note="a note")
    with wfvae.open(path) as f:
        assert len(f) == 5 and f.info.frames == 17 and f.info.fps == Fraction(30000, 1001)
        assert (f.info.note, f.info.posterior, f.info.latent_type, f.info.scaled) == ("a note", "mean", "f32", False)
        assert (f.info.width, f.info.height, f.info.latents) == (48, 32, 5)
        same(f[:], latents.copy())
        same(f[1:3], latents[1:3])
        same(f[-1], latents[-1])
        for part in slice(None, None, -2), slice(3, None, -1), slice(1, 9, 3), slice(-2, None), slice(2, 1, -5), slice(4, 0, 1):
            same(f[part], latents[part])
            assert f[part].base is None
        same(f[7:], latents[7:])
        same(np.asarray(f), latents.copy())
        same(np.stack(list(f)), latents.copy())
        assert f.read(dtype="f16").dtype == np.float16
        same(f.decode(model, dtype="f32"), decoded)
        out = np.zeros((2, *latents.shape[1:]), np.float32)
        assert f.read(3, 2, out=out) is out
        same(out, latents[3:])
        for wrong in (5, -6):
            with pytest.raises(IndexError):
                f[wrong]
        with pytest.raises(ValueError, match="holds 5"):
            f.read(3, 3)
        with pytest.raises(TypeError):
            f["mean"]
        with pytest.raises(wfvae.StateError):
            f.read(moments=True)
        with pytest.raises(TypeError, match="own"):
            f.decode(model, frames=3)
    with pytest.raises(wfvae.StateError, match="closed"):
        f[0]
    assert "closed" in repr(f)

    moments = model.encode(video[:6, :29, :43], posterior="moments", padding=True, dtype="f16")
    wfvae.save(str(path), moments, model, frames=6, width=43, height=29, fps=25)
    f = wfvae.open(path)
    assert f.info.posterior == "moments" and f.info.padded and f.info.latent_type == "f16" and f.info.fps == 25
    same(f.read(moments=True), moments)
    same(f[:], np.ascontiguousarray(moments[:, :16]))
    assert f.decode(model).shape == (6, 29, 43, 3)


def test_wrong_files(tmp_path, model, latents):
    path = tmp_path / "a.safetensors"
    with pytest.raises(OSError) as caught:
        wfvae.open(path)
    assert caught.value.status == 200 and "a.safetensors" in str(caught.value)
    path.write_bytes(b"nothing")
    with pytest.raises(wfvae.LatentFileError):
        wfvae.open(path)
    for more in ({"fps": 0}, {"fps": -1}, {"fps": float("nan")}, {"fps": (1, 0)}, {"frames": 12}, {"width": 8}, {"posterior": "moments"}, {"note": "\0"}):
        with pytest.raises(ValueError):
            wfvae.save(path, latents, model, **more)
    for more in ({"fps": [25, 1]}, {"fps": (25.0, 1)}, {"note": b"a"}, {"frames": 17.0}, {"model": None}):
        with pytest.raises(TypeError, match=f"{next(iter(more))} is "):
            wfvae.save(**{"path": path, "z": latents, "model": model, **more})
    with pytest.raises(wfvae.NotFiniteError):
        wfvae.save(path, latents * np.nan, model)
    with pytest.raises(wfvae.FileError):
        wfvae.save(tmp_path / "no" / "a.safetensors", latents, model)
    # A failure leaves what was there, and nothing else.
    assert path.read_bytes() == b"nothing"
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_wrong_models(tmp_path):
    with pytest.raises(OSError) as caught:
        wfvae.Model(tmp_path / "none")
    assert caught.value.status == 200
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(wfvae.Error):
        wfvae.Model(tmp_path)
    with pytest.raises(wfvae.OnnxRuntimeError):
        wfvae.Model(provider="cuda")
    with pytest.raises(wfvae.Error, match="runtime"):
        wfvae.Model(runtime=tmp_path / "libonnxruntime.so")


def test_bfloat16_takes_a_matrix_unit(video, latents):
    flags = open("/proc/cpuinfo").read().split() if sys.platform == "linux" else []
    if "amx_bf16" in flags and os.environ.get("WFVAE_CPU", "") in ("", "amx"):
        with wfvae.Model(provider="cpu", precision="bf16") as model:
            assert (model.info.encode_precision, model.info.decode_precision) == ("bf16", "bf16")
            z = model.encode(video)
            assert z.dtype == np.float32 and 0 < np.abs(z - latents).max() < 0.05 * np.abs(latents).max()
    else:
        with wfvae.Model(provider="cpu", precision="bf16") as model, pytest.raises(wfvae.OnnxRuntimeError, match="matrix unit"):
            model.encode(video)
    # The level is that of a whole process.
    program = "import wfvae\nmodel = wfvae.Model(provider='cpu', decode_precision='bf16')\ntry: model.stream(64, 64)\nexcept wfvae.OnnxRuntimeError as e: print(e.text)"
    environment = {**os.environ, "WFVAE_CPU": "scalar"}
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=environment).stdout
    assert "decode_precision bf16 on the CPU" in said and "no matrix unit" in said


def test_errors_travel():
    for kind in wfvae.Error, *wfvae.Error.__subclasses__():
        error = pickle.loads(pickle.dumps(kind("a text", 123)))
        assert type(error) is kind and (error.text, error.status, str(error)) == ("a text", 123, "a text")
        assert kind("a text").status >= 100
