# SPDX-License-Identifier: MIT OR Apache-2.0
"""Frames and latents in a CUDA device's memory: what comes of them is what comes of the CPU's, bit for bit.

WFVAE_TEST_PROVIDER=cuda: on a CUDA device, with PyTorch's tensors where there is PyTorch. =stub: on the stub of CUDA, which computes
nothing; then no values are compared. It needs no pytest:

    WFVAE_LIBRARY=libwfvae.so WFVAE_ONNXRUNTIME=... PYTHONPATH=bindings/python/src python bindings/python/tests/test_device.py
"""

import ctypes
import functools
import os
import pathlib
import re
import sys
import traceback
import weakref

import numpy as np

import wfvae
from wfvae import _arrays

if __name__ == "__main__":
    os.environ.setdefault("WFVAE_TEST_PROVIDER", "cuda")
PROVIDER = os.environ.get("WFVAE_TEST_PROVIDER")
STUB = PROVIDER == "stub"
WIDTH, HEIGHT, FRAMES, LATENTS = 48, 32, 9, 3
ON_DEVICE = {"frame_memory": "cuda", "latent_memory": "cuda"}
CODES = {"u": 1, "f": 2}


class Skipped(Exception):
    pass


if __name__ != "__main__":
    import pytest

    Skipped = pytest.skip.Exception
    pytestmark = pytest.mark.skipif(PROVIDER not in ("stub", "cuda"), reason="WFVAE_TEST_PROVIDER is not stub or cuda")


@functools.cache
def model():
    return wfvae.Model(provider="cuda", threads=2)


@functools.cache
def torch():
    """PyTorch that can use the device."""
    try:
        import torch
    except ImportError:
        raise Skipped("PyTorch is not installed") from None
    if STUB or not torch.cuda.is_available():
        raise Skipped("PyTorch has no CUDA device")
    return torch


def video(dtype=np.uint8):
    t, y, x, c = np.meshgrid(np.arange(FRAMES), np.arange(HEIGHT), np.arange(WIDTH), np.arange(3), indexing="ij")
    values = 127 + 80 * np.sin(0.3 * x + 0.5 * t + c) * np.cos(0.2 * y)
    return values.astype(np.uint8) if dtype == np.uint8 else (values / 255).astype(dtype)


@functools.cache
def latents():
    """What the device gives for frames in the CPU's memory. The stub gives what happens to be in its memory."""
    z = model().encode(video())
    return np.zeros_like(z) if STUB else z


@functools.cache
def decoded(dtype="u8"):
    return model().decode(latents(), dtype=dtype)


@functools.cache
def cuda():
    """The CUDA runtime that the model has loaded."""
    model()
    runtime = ctypes.CDLL(None)
    for name, arguments in {
        "cudaMalloc": [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t],
        "cudaFree": [ctypes.c_void_p],
        "cudaMemcpy": [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int],
        "cudaStreamCreate": [ctypes.POINTER(ctypes.c_void_p)],
        "cudaStreamDestroy": [ctypes.c_void_p],
    }.items():
        getattr(runtime, name).argtypes = arguments
    return runtime


def done(code):
    assert code == 0, f"CUDA error {code}"


class Memory:
    """Memory of the device."""

    def __init__(self, size):
        address = ctypes.c_void_p()
        done(cuda().cudaMalloc(ctypes.byref(address), max(size, 1)))
        self.address = address.value
        weakref.finalize(self, cuda().cudaFree, self.address).atexit = False


class Array:
    """An array on the device that speaks DLPack. Slices of its first axis share its memory."""

    device = 2, 0
    # Whether capsules are those of DLPack 1.0.
    versioned = True
    read_only = False

    def __init__(self, values=None, shape=None, dtype=None, memory=None, start=0):
        self.shape = tuple(shape) if values is None else values.shape
        self.dtype = np.dtype(dtype) if values is None else values.dtype
        self.nbytes = int(np.prod(self.shape)) * self.dtype.itemsize
        self.strides = _arrays.compact(self.shape, self.dtype.itemsize)
        self.memory = memory or Memory(self.nbytes)
        self.address = self.memory.address + start
        self.start = start
        self.waited = []
        if values is not None:
            self.set(values)

    def set(self, values):
        values = np.ascontiguousarray(values)
        done(cuda().cudaMemcpy(self.address, values.ctypes.data, self.nbytes, 1))

    def get(self):
        values = np.empty(self.shape, self.dtype)
        done(cuda().cudaMemcpy(values.ctypes.data, self.address, self.nbytes, 2))
        return values

    def __getitem__(self, index):
        first, *rest = index if isinstance(index, tuple) else (index,)
        assert all(one == slice(None) for one in rest)
        start, stop, step = first.indices(self.shape[0])
        assert step == 1
        part = type(self)(None, (stop - start, *self.shape[1:]), self.dtype, self.memory, self.start + start * self.strides[0])
        part.waited = self.waited
        return part

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream=None, max_version=None):
        self.waited.append(stream)
        n = len(self.shape)
        self.shapes, self.steps = (ctypes.c_int64 * n)(*self.shape), (ctypes.c_int64 * n)(*[s // self.dtype.itemsize for s in self.strides])
        tensor = _arrays._DLTensor(
            self.address, *self.device, n, CODES[self.dtype.kind], 8 * self.dtype.itemsize, 1, self.shapes, self.steps, 0
        )
        self.managed = _arrays._DLVersioned(1, 0, None, None, int(self.read_only), tensor) if self.versioned else tensor
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        self.name = b"dltensor_versioned" if self.versioned else b"dltensor"
        return new(ctypes.addressof(self.managed), self.name, None)


class OldArray(Array):
    """As CuPy: old capsules, and CUDA's interface that tells whether the memory may be written."""

    versioned = False

    def __dlpack__(self, *, stream=None):
        return super().__dlpack__(stream=stream)

    @property
    def __cuda_array_interface__(self):
        return Interface(self).__cuda_array_interface__


class Interface:
    """Only __cuda_array_interface__."""

    def __init__(self, array, stream=None, read_only=False):
        self.array, self.shape = array, array.shape
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.address, read_only),
            "strides": None,
            "stream": stream,
        }

    def __getitem__(self, index):
        return Interface(self.array[index])


def same(found, expected):
    found = found.get() if isinstance(found, Array) else found.cpu().numpy() if hasattr(found, "cpu") else found
    assert found.shape == expected.shape and found.dtype == expected.dtype, (found.shape, found.dtype, expected.shape, expected.dtype)
    assert STUB or np.array_equal(found, expected)


def raises(kind, text, call):
    try:
        call()
    except kind as error:
        assert text in str(error), f"{text!r} is not in {str(error)!r}"
    else:
        raise AssertionError(f"no error with {text!r}")


def outs():
    """Memory for latents and for frames."""
    return Array(shape=(LATENTS, *latents().shape[1:]), dtype="f4"), Array(shape=video().shape, dtype="u1")


def of_kind(kind):
    return Interface if kind is Interface else lambda array: kind(None, array.shape, array.dtype, array.memory)


def whole_clips(kind):
    wrapped = of_kind(kind)
    z, frames = outs()
    out = wrapped(z)
    assert model().encode(wrapped(Array(video())), out=out, **ON_DEVICE) is out
    same(z, latents())
    out = wrapped(frames)
    assert model().decode(wrapped(Array(latents())), out=out, **ON_DEVICE) is out
    same(frames, decoded())


def test_whole_clips_of_dlpack():
    whole_clips(Array)


def test_whole_clips_of_old_dlpack():
    whole_clips(OldArray)


def test_whole_clips_of_cuda_array_interface():
    whole_clips(Interface)


def test_elements_and_layouts():
    for dtype in (np.float16, np.float32):
        given = video(dtype)
        expected = model().encode(given)
        z = outs()[0]
        model().encode(Array(given.transpose(3, 0, 1, 2).copy()), layout="CTHW", out=z, **ON_DEVICE)
        same(z, expected)
        frames = Array(shape=(3, *given.shape[:3]), dtype=dtype)
        model().decode(Array(latents()), out=frames, layout="CTHW", **ON_DEVICE)
        same(frames, model().decode(latents(), dtype=dtype, layout="CTHW"))
    half = Array(shape=latents().shape, dtype="f2")
    model().encode(Array(video()), dtype="f16", out=half, **ON_DEVICE)
    same(half, model().encode(video(), dtype="f16"))


def test_one_side_on_the_device():
    z, frames = outs()
    same(model().encode(Array(video()), frame_memory="cuda"), latents())
    model().encode(video(), latent_memory="cuda", out=z)
    same(z, latents())
    same(model().decode(Array(latents()), latent_memory="cuda"), decoded())
    model().decode(latents(), frame_memory="cuda", out=frames)
    same(frames, decoded())


def test_streams():
    z, frames = outs()
    source = Array(video())
    with model().stream(WIDTH, HEIGHT, **ON_DEVICE) as stream:
        first = stream.encode(source[:1], out=z)
        assert first.shape[0] == 1
        assert stream.encode(source[1:3], out=z[1:]).shape[0] == 0
        assert stream.encode(source[3:], out=z[1:]).shape[0] == 2
        assert stream.encode_flush(out=z[3:]).shape[0] == 0
        same(z, latents())
        z.set(latents())
        part = stream.decode(z, out=frames)
        assert stream.fork().decode_flush(out=Array(video())[part.shape[0] :]).shape[0] == FRAMES - part.shape[0]
        stream.decode_flush(out=frames[part.shape[0] :])
        same(frames, decoded())
    assert {*source.waited, *z.waited, *frames.waited} == {1}
    # Frames one by one, without out.
    with model().stream(WIDTH, HEIGHT, frame_memory="cuda") as stream:
        each = list(stream.encode_iter(Array(frame) for frame in video()))
        same(np.stack(each), latents())


def test_the_stream_that_is_told_waits():
    handle = ctypes.c_void_p()
    done(cuda().cudaStreamCreate(ctypes.byref(handle)))
    address = handle.value
    z, frames = outs()
    source = Array(video())
    model().encode(source, out=z, cuda_stream=address, **ON_DEVICE)
    same(z, latents())
    z.set(latents())
    model().decode(z, out=frames, cuda_stream=address, **ON_DEVICE)
    same(frames, decoded())
    assert {*source.waited, *z.waited, *frames.waited} == {address}
    # The interface tells a stream, but makes none wait.
    model().encode(Interface(source, stream=address), out=z, cuda_stream=address, **ON_DEVICE)
    model().encode(Interface(source, stream=1), out=z, **ON_DEVICE)
    raises(ValueError, f"set cuda_stream={address}", lambda: model().encode(Interface(source, stream=address), out=z, **ON_DEVICE))
    raises(ValueError, "set cuda_stream=1", lambda: model().encode(Interface(source, stream=1), out=z, cuda_stream=address, **ON_DEVICE))
    raises(ValueError, "cuda_stream is 2", lambda: model().stream(WIDTH, HEIGHT, cuda_stream=2, **ON_DEVICE))
    raises(TypeError, "cuda_stream is", lambda: model().stream(WIDTH, HEIGHT, cuda_stream=None, **ON_DEVICE))
    done(cuda().cudaStreamDestroy(address))


def test_wrong_places():
    z, frames = outs()
    source = Array(video())

    class Managed(Array):
        device = 13, 0

    class Other(Array):
        device = 2, 1

    class ReadOnly(Array):
        read_only = True

    def encode(video, out=z, **options):
        return lambda: model().encode(video, out=out, **(options or ON_DEVICE))

    raises(ValueError, "frame_memory is 'cuda'", encode(video()))
    raises(ValueError, "latent_memory is 'cuda'", encode(source, latents().copy()))
    raises(ValueError, "or set frame_memory='cuda'", encode(source, None, frame_memory="cpu"))
    raises(ValueError, "or set latent_memory='cuda'", encode(video(), z, frame_memory="cpu"))
    raises(ValueError, "or set frame_memory='cuda'", encode(Interface(source), None, frame_memory="cpu"))
    raises(ValueError, "managed memory", encode(of_kind(Managed)(source)))
    raises(ValueError, "CUDA device 1", encode(of_kind(Other)(source)))
    raises(ValueError, "read-only", encode(source, of_kind(ReadOnly)(z)))
    raises(ValueError, "read-only", encode(source, Interface(z, read_only=True)))
    raises(TypeError, "on CUDA device 0", encode([source]))
    raises(ValueError, "out is needed", encode(source, None))
    raises(ValueError, "out is needed", lambda: model().decode(Array(latents()), **ON_DEVICE))
    raises(ValueError, "must be one of 'cpu', 'cuda'", encode(source, frame_memory="gpu"))
    with model().stream(WIDTH, HEIGHT, **ON_DEVICE) as stream:
        raises(ValueError, "out is needed", stream.encode_flush)
        raises(ValueError, "latent_memory is 'cuda'", lambda: stream.decode(latents(), out=frames))
        half = Array(shape=latents().shape, dtype="f2")
        raises(TypeError, "latent_dtype='f16'", lambda: stream.decode(half, out=frames))
        turned = Array(latents())
        turned.strides = turned.strides[:2] + (4, 4 * turned.shape[2])
        raises(ValueError, "no gaps", lambda: stream.decode(turned, out=frames))
        raises(ValueError, "gaps", lambda: stream.encode(source, out=turned))
        still = Array(video())
        still.strides = (still.strides[0], 0, *still.strides[2:])
        raises(ValueError, "rows that do not overlap", lambda: stream.encode(still, out=z))

        # The library asks the driver what an address is.
        class Pretended(Array):
            def __init__(self, values):
                super().__init__(values)
                self.values, self.address = values, values.ctypes.data

        raises(wfvae.ArgumentError, "", lambda: stream.encode(Pretended(video()), out=z))
        # None of these has changed the stream.
        assert stream.encode(source, out=z).shape[0] == LATENTS
        same(z, latents())


class Tensor(Array):
    """What the package uses of PyTorch's tensors, for machines without them."""

    layout = "torch.strided"
    requires_grad = False

    class device:
        type, index = "cuda", 0

    def __dlpack_device__(self):
        raise AssertionError("tensors are described by their methods")

    def __dlpack__(self, *, stream):
        # The description comes from the methods.
        self.waited.append(stream)

    def data_ptr(self):
        return self.address if self.nbytes else 0

    def element_size(self):
        return self.dtype.itemsize

    def stride(self):
        return tuple(s // self.dtype.itemsize for s in self.strides)

    def is_neg(self):
        return False

    def detach(self):
        return self

    def new_empty(self, shape, dtype=np.dtype("u1")):
        new = Tensor(shape=np.atleast_1d(shape).tolist(), dtype=dtype)
        # All that is made of one.
        new.waited = self.waited
        return new


def test_what_acts_like_a_tensor():
    real = sys.modules.get("torch")
    sys.modules["torch"] = type("torch", (), {name: np.dtype(name) for name in ("uint8", "float16", "float32")})
    try:
        frames = Tensor(video())
        z = model().encode(frames, **ON_DEVICE)
        assert type(z) is Tensor and len(frames.waited) == 2
        same(z, latents())
        z.set(latents())
        found = model().decode(z, **ON_DEVICE)
        assert type(found) is Tensor and set(frames.waited) == {1} and len(frames.waited) == 4
        same(found, decoded())
        same(model().decode(z, dtype="f32", layout="CTHW", **ON_DEVICE), model().decode(latents(), dtype="f32", layout="CTHW"))
        raises(ValueError, "has no bfloat16", lambda: model().decode(z, dtype="bf16", **ON_DEVICE))
        with model().stream(WIDTH, HEIGHT, cuda_stream=1, **ON_DEVICE) as stream:
            parts = [stream.encode(frames[:1]), stream.encode(frames[1:3]), stream.encode(frames[3:8]), stream.fork().encode_flush()]
            assert [type(part) for part in parts] == [Tensor] * 4 and [part.shape[0] for part in parts] == [1, 0, 1, 1]
            same(parts[2], latents()[1:2])
            first = stream.decode(z)
            last = stream.decode_flush()
            assert type(first) is type(last) is Tensor
            expected = decoded()
            same(first, expected[: first.shape[0]])
            same(last, expected[first.shape[0] :])
        raises(ValueError, "or set frame_memory='cuda'", lambda: model().encode(frames))
    finally:
        del sys.modules["torch"]
        if real:
            sys.modules["torch"] = real


def on(stream):
    return torch().cuda.stream(stream)


def tensor(array):
    return torch().tensor(array.tolist(), dtype=getattr(torch(), array.dtype.name), device="cuda")


def test_tensors():
    frames = tensor(video())
    z = model().encode(frames, **ON_DEVICE)
    assert isinstance(z, torch().Tensor) and z.device == frames.device
    same(z, latents())
    found = model().decode(z, frames=FRAMES, **ON_DEVICE)
    assert found.device == frames.device
    same(found, decoded())
    same(model().decode(z, dtype=torch().float32, **ON_DEVICE), decoded("f32"))
    half = model().encode(frames, dtype=torch().float16, **ON_DEVICE)
    same(half, model().encode(video(), dtype="f16"))
    out = torch().zeros_like(z)
    assert model().encode(frames, out=out, **ON_DEVICE) is out
    same(out, latents())
    out = torch().zeros(3, FRAMES, HEIGHT, WIDTH, dtype=torch().uint8, device="cuda")
    assert model().decode(z, out=out, layout="CTHW", **ON_DEVICE) is out
    same(out.permute(1, 2, 3, 0), decoded())
    # One side only.
    same(model().encode(frames, frame_memory="cuda"), latents())
    same(model().decode(z, latent_memory="cuda"), decoded())
    with_gradients = tensor(video(np.float32)).requires_grad_()
    same(model().encode(with_gradients, **ON_DEVICE), model().encode(video(np.float32)))


def test_tensors_of_every_type():
    for name in ("float16", "bfloat16", "float32", "uint16"):
        dtype = getattr(torch(), name, None)
        if dtype is None:
            continue
        there = tensor(video()).to(torch().int32).mul(257).to(dtype) if name == "uint16" else tensor(video(np.float32)).to(dtype)
        same(model().encode(there, **ON_DEVICE), model().encode(there.cpu()))
        found = model().decode(tensor(latents()), dtype=dtype, **ON_DEVICE)
        expected = torch().empty(found.shape, dtype=dtype)
        model().decode(latents(), out=expected)
        assert found.dtype == dtype and bytes(found.cpu().view(torch().uint8).numpy()) == bytes(expected.view(torch().uint8).numpy())


def test_streams_of_tensors():
    frames = tensor(video())
    with model().stream(WIDTH, HEIGHT, **ON_DEVICE) as stream:
        z = torch().stack(list(stream.encode_iter(frames)))
        same(z, latents())
        found = torch().stack(list(stream.decode_iter(z, frames=FRAMES)))
        same(found, decoded())
        stream.reset()
        # The flush gives a latent that is like the others, in a fork too.
        first = stream.encode(frames[:1])
        assert stream.encode(frames[1:3]).shape[0] == 0
        last = stream.fork().encode_flush()
        assert isinstance(last, torch().Tensor) and last.shape[0] == 1
        same(torch().cat([first, last]), model().encode(video()[:3]))
        stream.reset()
        raises(ValueError, "out is needed", lambda: stream.encode(Array(video())))
        raises(ValueError, "latent_memory is 'cuda'", lambda: stream.decode(z.cpu()))
        raises(ValueError, "frame_memory is 'cuda'", lambda: stream.encode(frames.cpu()))
    raises(ValueError, "frame_memory='cuda'", lambda: model().encode(frames))
    raises(ValueError, "latent_memory='cuda'", lambda: model().encode(video(), out=z))
    raises(ValueError, "pass a copy", lambda: model().decode(z.bfloat16(), **ON_DEVICE))


def slow():
    """Work of some tenths of a second in the current stream."""
    torch().cuda._sleep(400_000_000)


def in_turn(own):
    """Work is pending in a stream of PyTorch's when the call begins, and another stream reads its result when it returns.

    own: the library is told that stream; otherwise it waits for the default stream, which waits for that stream.
    """
    source, expected = tensor(video()), tensor(latents())
    side, reader = torch().cuda.Stream(), torch().cuda.Stream()
    told = {"cuda_stream": side.cuda_stream} if own else {}
    for given in (False, True):
        frames, z = torch().zeros_like(source), torch().zeros_like(expected)
        out, back = torch().zeros_like(expected), torch().zeros_like(source)
        torch().cuda.synchronize()
        with on(side):
            slow()
            frames.copy_(source)
            out.fill_(7)
            found = model().encode(frames, out=out if given else None, **ON_DEVICE, **told)
        with on(reader):
            same(found.clone(), latents())
        with on(side):
            slow()
            z.copy_(expected)
            back.fill_(7)
            found = model().decode(z, frames=FRAMES, out=back if given else None, **ON_DEVICE, **told)
        with on(reader):
            same(found.clone(), decoded())


def test_work_in_a_side_stream():
    in_turn(own=False)


def test_work_in_the_stream_that_is_told():
    in_turn(own=True)


def test_readme_lines():
    torch()
    readmes = os.environ.get("WFVAE_TEST_READMES", str(pathlib.Path(__file__).parent.parent / "README.md")).split()
    blocks = [b for path in readmes for b in re.findall(r"```python\n(.*?)```", pathlib.Path(path).read_text(), re.DOTALL)]
    (block,) = [b for b in blocks if 'device="cuda"' in b]
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    frames, z = names["frames"].cpu().numpy(), names["z"]
    same(z, model().encode(frames))
    same(names["latents"], z.cpu().numpy())
    same(names["decoded"], model().decode(z.cpu(), frames=17))
    same(names["out"], model().decode(z.cpu(), dtype="f16", layout="TCHW"))


def main():
    """Runs all tests, and prints a line for each."""
    model()
    failed = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        try:
            test()
        except Skipped as reason:
            print(f"{name}: left out: {reason}", flush=True)
        except Exception as error:
            traceback.print_exc()
            print(f"{name}: FAILED: {type(error).__name__}: {error}", flush=True)
            failed += 1
        else:
            print(f"{name}: ok", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
