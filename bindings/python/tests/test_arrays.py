# SPDX-License-Identifier: MIT OR Apache-2.0
"""Arrays of all kinds in, and out: the same results, without copies, or a clear error."""

import array
import sys
import tracemalloc

import numpy as np
import pytest

import wfvae
from wfvae import _arrays

# Whether NumPy's __dlpack__() has the arguments of DLPack 1.0.
DLPACK_1 = np.lib.NumpyVersion(np.__version__) >= "2.1.0"


def same(a, b):
    assert a.shape == b.shape and a.dtype == b.dtype
    assert np.array_equal(a, b)


def planes(clip):
    """Addresses that the library gets, of the first element of each channel that the picture has."""
    first = clip.first
    return [p for p in first.planes if p]


STRIDED = {
    "contiguous": lambda v: v,
    "every other row and column of a larger one": lambda v: np.repeat(np.repeat(v, 2, 1), 2, 2)[:, ::2, ::2],
    "bottom up": lambda v: np.ascontiguousarray(v[:, ::-1])[:, ::-1],
    "mirrored": lambda v: np.ascontiguousarray(v[:, :, ::-1])[:, :, ::-1],
    "BGR": lambda v: np.ascontiguousarray(v[..., ::-1])[..., ::-1],
    "backwards in time": lambda v: np.ascontiguousarray(v[::-1])[::-1],
    "everything reversed": lambda v: np.ascontiguousarray(v[::-1, ::-1, ::-1, ::-1])[::-1, ::-1, ::-1, ::-1],
    "channels of RGBA": lambda v: np.concatenate([v, v[..., :1]], 3)[..., :3],
    "channels of ARGB": lambda v: np.concatenate([v[..., :1], v], 3)[..., 1:],
    "CTHW in memory": lambda v: np.ascontiguousarray(v.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0),
    "columns in memory": lambda v: np.ascontiguousarray(v.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3),
    "Fortran order": np.asfortranarray,
    "padded rows": lambda v: np.pad(v, ((0, 0), (0, 0), (0, 5), (0, 0)))[:, :, :-5],
}


@pytest.mark.parametrize("name", STRIDED)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_strided_input_needs_no_copy(model, video, name, dtype):
    video = video[:5]
    scaled = {"uint8": video, "uint16": video * np.uint16(257)}.get(dtype, (video / 255.0).astype(dtype))
    strided = STRIDED[name](scaled)
    clip = _arrays.clip_of(strided, "THWC", "unit", 0, "video")
    start = strided.ctypes.data
    expected = [start + i * strided.strides[3] for i in range(3)]
    assert planes(clip) in (expected, expected[:1])
    same(model.encode(strided), model.encode(np.ascontiguousarray(scaled)))


@pytest.mark.parametrize("name", STRIDED)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32"])
def test_strided_output_is_written_in_place(model, latents, name, dtype):
    latents = latents[:2]
    expected = model.decode(latents, dtype=dtype)
    out = STRIDED[name](np.zeros(expected.shape, dtype))
    whole = out
    while whole.base is not None:
        whole = whole.base
    result = model.decode(latents, out=out)
    assert result is out
    same(np.ascontiguousarray(out), expected)
    # What lies between the elements is as it was. (repeat and concatenate make views of nothing but zeros.)
    assert np.count_nonzero(whole) == np.count_nonzero(expected)


@pytest.mark.parametrize("layout", ["THWC", "CTHW", "TCHW", "cthw", "HWCT"])
def test_layouts(model, video, latents, layout):
    order = ["THWC".index(axis) for axis in layout.upper()]
    moved = video.transpose(order)
    same(model.encode(np.ascontiguousarray(moved), layout=layout), latents)
    decoded = model.decode(latents, layout=layout)
    assert decoded.flags.c_contiguous
    same(decoded, np.ascontiguousarray(model.decode(latents).transpose(order)))


def test_no_allocation(model):
    """The binding allocates nothing of the clip's size."""
    video = np.zeros((9, 128, 192, 3), np.float32)
    out = np.zeros((9, 256, 384, 4), np.float32)[:, ::2, ::-2, 2::-1]
    with model.stream(192, 128) as stream:
        z = np.empty((3, 16, 16, 24), np.float32)
        stream.encode(video, out=z)
        stream.decode(z, out=out)
        stream.reset()
        tracemalloc.start()
        try:
            stream.encode(video[:, ::-1], out=z)
            stream.decode(z, out=out)
            stream.decode_flush(out=out)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 20_000


def test_numbers_of_all_types_agree(model, video, latents):
    for other in (video * np.uint16(257), (video / 255).astype(np.float32), (video / 127.5 - 1).astype(np.float32)):
        z = model.encode(other, range="signed" if other.min() < 0 else "unit")
        assert np.abs(z - latents).max() < 1e-4
    ten = (video.astype(np.uint16) << 2) | (video >> 6)
    assert np.abs(model.encode(ten, bit_depth=10) - latents).max() < 0.05
    out = model.decode(latents, dtype="u16", bit_depth=10)
    assert out.max() <= 1023
    signed = model.decode(latents, dtype="f32", range="signed")
    assert np.allclose(signed / 2 + 0.5, model.decode(latents, dtype="f32"), atol=1e-6)


def test_alpha_is_ignored_and_opaque(model, video, latents):
    rgba = np.concatenate([video, video[..., :1]], 3)
    same(model.encode(rgba), latents)
    planar = np.ascontiguousarray(rgba.transpose(3, 0, 1, 2))
    same(model.encode(planar, layout="CTHW"), latents)
    for dtype, top in ("u8", 255), ("u16", 65535), ("f16", 1), ("f32", 1):
        out = model.decode(latents, channels=4, dtype=dtype)
        assert (out[..., 3] == top).all()
        same(np.ascontiguousarray(out[..., :3]), model.decode(latents, dtype=dtype))
        out = model.decode(latents, channels=4, dtype=dtype, layout="CTHW")
        assert (out[3] == top).all()


def test_alpha_is_carried(model, video):
    rgba = np.concatenate([video, video[::-1, :, :, 1:2]], 3)
    with model.stream(48, 32, alpha=True) as stream:
        z = stream.encode(rgba)
        out = np.concatenate([stream.decode(z, channels=4), stream.decode_flush(channels=4)])
    same(out[..., 3], rgba[..., 3])


def test_what_strides_cannot_say_is_copied(model, video, latents):
    row = np.broadcast_to(video[:, :1], video.shape)
    same(model.encode(row), model.encode(row.copy()))
    still = np.broadcast_to(video[:1], video.shape)
    same(model.encode(still), model.encode(still.copy()))
    grey = np.broadcast_to(video[..., :1], video.shape)
    assert planes(_arrays.clip_of(grey, "THWC", "unit", 0, "video"))[0] == grey.ctypes.data
    same(model.encode(grey), model.encode(grey.copy()))
    wide = video.astype(np.uint16) * 257
    same(model.encode(wide.astype(">u2")), model.encode(wide))
    memory = np.zeros(wide.nbytes + 1, np.uint8)
    crooked = np.frombuffer(memory.data, np.uint16, wide.size, 1).reshape(wide.shape)
    crooked[...] = wide
    assert not crooked.flags.aligned
    same(model.encode(crooked), model.encode(wide))
    windows = np.lib.stride_tricks.sliding_window_view(video[0].ravel(), 48 * 3)[:32].reshape(1, 32, 48, 3)
    same(model.encode(windows), model.encode(windows.copy()))


def test_latents_of_all_kinds(model, latents):
    expected = model.decode(latents)
    gaps = np.zeros((10, *latents.shape[1:]), np.float32)
    gaps[::2] = latents
    same(model.decode(gaps[::2]), expected)
    same(model.decode(np.ascontiguousarray(latents.swapaxes(0, 1)).swapaxes(0, 1)), expected)
    half = latents.astype(np.float16)
    same(model.decode(half), model.decode(half.astype(np.float32)))
    with model.stream(48, 32) as stream:
        a = stream.decode(half)
    with model.stream(48, 32, latent_dtype="f16") as stream:
        same(stream.decode(half), a)
        with pytest.raises(TypeError, match="float16"):
            stream.decode(latents)
    assert model.encode(np.zeros((1, 32, 48, 3), np.uint8), dtype=np.float16).dtype == np.float16


def test_objects_that_describe_memory(model, video, latents):
    same(model.encode(memoryview(video)), latents)
    raw = array.array("B", video.tobytes())
    same(model.encode(memoryview(raw).cast("B", video.shape)), latents)

    class Interface:
        __array_interface__ = video.__array_interface__

    same(model.encode(Interface()), latents)

    class DLPack:
        def __init__(self, of):
            self.of = of

        def __dlpack__(self, **more):
            return self.of.__dlpack__(**more)

        def __dlpack_device__(self):
            return self.of.__dlpack_device__()

    class DLPackCopy(DLPack):
        def __dlpack__(self, **more):
            return self.of.__dlpack__(copy=True, **more)

    same(model.encode(DLPack(video)), latents)
    if DLPACK_1:
        same(model.encode(DLPackCopy(video)), latents)
    backwards = np.ascontiguousarray(video[:, ::-1])[:, ::-1]
    clip = _arrays.clip_of(DLPack(backwards), "THWC", "unit", 0, "video")
    assert planes(clip)[0] == backwards.ctypes.data
    same(model.encode(DLPack(backwards)), latents)
    out = np.zeros_like(video)
    if DLPACK_1:
        model.decode(latents, out=DLPack(out))
        same(out, model.decode(latents))
        with pytest.raises(ValueError, match="read-only"):
            model.decode(latents, out=DLPackCopy(out))
    fixed = np.zeros_like(video)
    fixed.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        model.decode(latents, out=DLPack(fixed))

    class OldDLPack(DLPack):
        def __dlpack__(self):
            return self.of.__dlpack__()

    same(model.encode(OldDLPack(video)), latents)

    class OnDevice(DLPack):
        def __dlpack_device__(self):
            return 2, 0

    with pytest.raises(ValueError, match="copy it to the CPU first, or set frame_memory='cuda'"):
        model.encode(OnDevice(video))
    with pytest.raises(ValueError, match="copy it to the CPU first$"):
        wfvae.save("never.safetensors", OnDevice(latents), model)
    references = sys.getrefcount(video)
    for _ in range(10):
        model.encode(DLPack(video[:1]))
    assert sys.getrefcount(video) == references


@pytest.mark.skipif(not DLPACK_1, reason="NumPy before 2.1 has an older DLPack")
def test_memory_of_a_device_and_a_model_on_the_cpu(model, video, latents):
    class OnDevice:
        def __init__(self, of, device=(2, 0)):
            self.of, self.device = of, device

        def __dlpack__(self, *, stream, max_version):
            assert stream == 1
            return self.of.__dlpack__(max_version=max_version)

        def __dlpack_device__(self):
            return self.device

    class Interface:
        def __init__(self, of, **more):
            self.__cuda_array_interface__ = {**of.__array_interface__, **more}

    for there in OnDevice(video), Interface(video):
        # All is as asked for, except that the model has no device.
        with pytest.raises(wfvae.ArgumentError, match="frame_memory"):
            model.encode(there, frame_memory="cuda")
        with pytest.raises(ValueError, match="or set frame_memory='cuda'"):
            model.encode(there)
    for there in OnDevice(latents), Interface(latents):
        with pytest.raises(wfvae.ArgumentError, match="latent_memory"):
            model.decode(there, latent_memory="cuda")
        with pytest.raises(ValueError, match="or set latent_memory='cuda'"):
            model.decode(there)
    for wrong, kind, text in [
        (video, ValueError, "video is in the CPU's memory, must be in the memory of the model's CUDA device 0, as frame_memory is 'cuda'"),
        (bytes(100), TypeError, "video is a bytes"),
        ([video], TypeError, "video is a list"),
        (OnDevice(video, (1, 0)), ValueError, "in the CPU's memory"),
        (OnDevice(video, (2, 1)), ValueError, "on CUDA device 1"),
        (OnDevice(video, (13, 0)), ValueError, "in managed memory"),
        (OnDevice(video, (10, 0)), ValueError, "DLPack device 10"),
        (Interface(video, stream=7), ValueError, "set cuda_stream=7"),
        (Interface(video, typestr="<i4"), TypeError, "<i4"),
        (Interface(video, mask=video), TypeError, "mask"),
    ]:
        with pytest.raises(kind, match=text):
            model.encode(wrong, frame_memory="cuda")
    with pytest.raises(ValueError, match="z is in the CPU's memory"):
        model.decode(latents, latent_memory="cuda")
    with pytest.raises(ValueError, match="out is needed: with frame_memory='cuda'"):
        model.decode(latents, frame_memory="cuda")
    with pytest.raises(ValueError, match="out is in the CPU's memory"):
        model.decode(latents, frame_memory="cuda", out=np.empty_like(video))
    for call in model.stream, model.estimate:
        for options in {"frame_memory": "cuda"}, {"latent_memory": "cuda", "cuda_stream": 4096}:
            with pytest.raises(wfvae.ArgumentError, match="_memory"):
                call(48, 32, **options)
        with pytest.raises(ValueError, match="latent_memory is 'gpu'"):
            call(48, 32, latent_memory="gpu")
        with pytest.raises(ValueError, match="cuda_stream is -1"):
            call(48, 32, cuda_stream=-1)


WRONG_VIDEOS = {
    "no frames": (lambda v: v[:0], ValueError, "empty"),
    "no rows": (lambda v: v[:, :0], ValueError, "empty"),
    "one frame": (lambda v: v[0], ValueError, r"array\[None\]"),
    "a batch": (lambda v: v[None], ValueError, "one clip of a batch"),
    "0-d": (lambda v: np.uint8(3), ValueError, "axes"),
    "CTHW without layout": (lambda v: v.transpose(3, 0, 1, 2), ValueError, "layout="),
    "one channel": (lambda v: v[..., :1], ValueError, "channels"),
    "float64": (lambda v: v / 255.0, TypeError, "float64"),
    "int64": (lambda v: v.astype(np.int64), TypeError, "int64"),
    "bool": (lambda v: v > 3, TypeError, "bool"),
    "complex": (lambda v: v.astype(np.complex64), TypeError, "complex64"),
    "objects": (lambda v: v.astype(object), TypeError, "object"),
    "structured": (lambda v: np.zeros(v.shape, "u1,u1"), TypeError, "convert"),
    "a list": (lambda v: list(v), TypeError, "stack"),
    "None": (lambda v: None, TypeError, "NoneType"),
    "a text": (lambda v: "video.mp4", TypeError, "str"),
    "bytes": (lambda v: bytes(100), ValueError, "axes"),
    "NaN": (lambda v: np.full(v.shape, np.nan, np.float32), wfvae.NotFiniteError, "NaN"),
    "a crooked size": (lambda v: v[:, :31], wfvae.SizeError, "padding"),
    "too wide": (lambda v: np.broadcast_to(v[:1, :1, :1], (1, 8, 32776, 3)), wfvae.SizeError, "32768"),
}


@pytest.mark.parametrize("name", WRONG_VIDEOS)
def test_wrong_videos(model, video, name):
    make, kind, text = WRONG_VIDEOS[name]
    with pytest.raises(kind, match=text):
        model.encode(make(video))


WRONG_OUTPUTS = {
    "read-only": (lambda shape: np.broadcast_to(np.zeros(shape, np.uint8), shape), ValueError, "read-only"),
    "too few frames": (lambda shape: np.zeros((3, *shape[1:]), np.uint8), ValueError, "out holds 3 frames"),
    "another size": (lambda shape: np.zeros((shape[0], 8, 8, 3), np.uint8), ValueError, "8x8"),
    "float64": (lambda shape: np.zeros(shape), TypeError, "float64"),
    "foreign byte order": (lambda shape: np.zeros(shape, ">u2"), ValueError, "byte order"),
    "a broadcast axis": (lambda shape: broadcast(shape, 3), ValueError, "share memory"),
    "a broadcast row": (lambda shape: broadcast(shape, 1), ValueError, "overlap|share"),
    "a broadcast frame": (lambda shape: broadcast(shape, 0), ValueError, "share memory"),
    "bytes": (lambda shape: bytes(10), ValueError, "read-only"),
    "a list": (lambda shape: [], TypeError, "list"),
    "a copy": (lambda shape: Copied(shape), TypeError, "Copied, .* can be written"),
}


class Copied:
    """As of libraries whose arrays are elsewhere."""

    def __init__(self, shape):
        self.shape = shape

    def __array__(self, dtype=None, copy=None):
        return np.zeros(self.shape, np.uint8)


def broadcast(shape, axis):
    strides = list(np.zeros(shape, np.uint8).strides)
    strides[axis] = 0
    return np.lib.stride_tricks.as_strided(np.zeros(shape, np.uint8), shape, strides)


@pytest.mark.parametrize("name", WRONG_OUTPUTS)
def test_wrong_outputs(model, video, latents, name):
    make, kind, text = WRONG_OUTPUTS[name]
    with pytest.raises(kind, match=text):
        model.decode(latents, out=make(video.shape))


def test_out_apart_from_what_is_read(model, video, latents):
    memory = np.zeros(latents.nbytes + 2 * video.nbytes, np.uint8)
    start = video.nbytes
    z = memory[start : start + latents.nbytes].view(np.float32).reshape(latents.shape)
    with model.stream(48, 32) as stream:
        for begin in start // 2, start, start + latents.nbytes - 1:
            frames = memory[begin : begin + video.nbytes].reshape(video.shape)[:, ::-1]
            for call, text in [
                (lambda: model.decode(z, out=frames), "out overlaps the memory of z"),
                (lambda: stream.decode(z, out=frames), "out overlaps the memory of z"),
                (lambda: model.encode(frames, out=z), "out overlaps the memory of video"),
                (lambda: stream.encode(frames, out=z), "out overlaps the memory of video"),
            ]:
                with pytest.raises(ValueError, match=text):
                    call()
        # Side by side.
        frames = memory[:start].reshape(video.shape)
        frames[...] = video
        same(stream.encode(frames, out=z), latents.copy())
    same(model.decode(z, out=frames), model.decode(latents))


WRONG_LATENTS = {
    "no latents": (lambda z: z[:0], ValueError, "empty"),
    "one latent": (lambda z: z[0], ValueError, r"z\[None\]"),
    "CTHW": (lambda z: z.swapaxes(0, 1), ValueError, "swapaxes"),
    "integers": (lambda z: z.astype(np.uint8), TypeError, "integer"),
    "float64": (lambda z: z.astype(np.float64), TypeError, "float64"),
    "channels": (lambda z: z[:, :8], ValueError, "C = 16"),
    "NaN": (lambda z: z * np.nan, wfvae.NotFiniteError, "NaN"),
    "huge": (lambda z: np.broadcast_to(z[:1, :, :1, :1], (1, 16, 1, 5000)), wfvae.SizeError, "32768"),
}


@pytest.mark.parametrize("name", WRONG_LATENTS)
def test_wrong_latents(model, latents, name):
    make, kind, text = WRONG_LATENTS[name]
    with pytest.raises(kind, match=text):
        model.decode(make(latents))


def test_out_of_latents(model, video, latents):
    out = np.zeros_like(latents)
    assert model.encode(video, out=out) is out
    same(out, latents.copy())
    for wrong, kind in [
        (np.zeros((4, *latents.shape[1:]), np.float32), ValueError),
        (np.zeros(latents.shape, np.float16), TypeError),
        (np.zeros((10, *latents.shape[1:]), np.float32)[::2], ValueError),
        (latents, ValueError),
    ]:
        with pytest.raises(kind):
            model.encode(video, out=wrong)


def test_options_list_their_choices(model, video, latents):
    for call, text in [
        (lambda: wfvae.Model(provider="gpu"), "'auto', 'cpu', 'cuda'"),
        (lambda: wfvae.Model(precision="float16"), "precision is 'float16', must be one of 'f32', 'tf32', 'f16', 'bf16'"),
        (lambda: wfvae.Model(decode_precision="float16"), "decode_precision is 'float16'"),
        (lambda: model.encode(video, posterior="mode"), "'mean', 'sample', 'moments'"),
        (lambda: model.encode(video, layout="NCHW"), "T, H, W, C"),
        (lambda: model.encode(video, range="tv"), "'unit', 'signed'"),
        (lambda: model.encode(video, range="signed"), "integers"),
        (lambda: model.encode(video, bit_depth=10), "uint16"),
        (lambda: model.encode(video, dtype="bf16"), "float32 or float16"),
        (lambda: model.decode(latents, dtype="int8"), "'u8', 'u16'"),
        (lambda: model.decode(latents, dtype="bf16"), "ml_dtypes"),
        (lambda: model.decode(latents, channels=1), "3 or 4"),
        (lambda: model.decode(latents, frames=13), "frames is 13"),
        (lambda: model.decode(latents, frames=0), "frames is 0"),
        (lambda: model.decode(latents, width=40), "40x32"),
        (lambda: model.encode(video, seed=-1), "seed is -1"),
        (lambda: model.encode(video, seed=1 << 64), "seed"),
        (lambda: model.stream(1 << 32, 8), "width"),
        (lambda: wfvae.Model("a\0b"), "NUL"),
        (lambda: wfvae.Model(log_level=9), "0 to 5"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()
    for call, text in [
        (lambda: model.latents_for_frames(-1), "frames is -1"),
        (lambda: model.frames_for_latents(1 << 64), "latents is 18446744073709551616"),
        (lambda: wfvae.Model(runtime="/a\0b"), "NUL"),
        (lambda: wfvae.Model(provider_options={"use_tf32": "1\0"}), "NUL"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()
    for call, text in [
        (lambda: model.estimate(64, 64, tilings="off"), "tilings"),
        (lambda: model.stream(64.5, 64), "width is 64.5, must be an integer"),
        (lambda: model.decode(latents, frames=17.0), "frames is 17.0"),
        (lambda: model.decode(latents, height="32"), "height is '32'"),
        (lambda: model.decode(latents, dtype="u16", bit_depth=10.0), "bit_depth is 10.0"),
        (lambda: model.latents_for_frames(17.0), "frames is 17.0"),
        (lambda: wfvae.Model(log_level="info"), "log_level is 'info'"),
    ]:
        with pytest.raises(TypeError, match=text):
            call()
