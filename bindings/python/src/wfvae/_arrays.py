# SPDX-License-Identifier: MIT OR Apache-2.0
"""Arrays of others as the library takes them: an address, an element type and strides. Nothing is copied where strides can say it.

Arrays are recognised by what they can do: NumPy arrays, PyTorch tensors (by their methods; torch is never imported), DLPack,
__array_interface__ and the buffer protocol. On a CUDA device: PyTorch tensors, DLPack and __cuda_array_interface__.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any, NamedTuple

import numpy as np

from ._abi import FRAME_SIZE, FRAMES_SIZE, RANGES, Frame, Frames, unsigned, value_of

# Element types by name, with their bytes.
SIZES = {"u8": 1, "u16": 2, "f16": 2, "bf16": 2, "f32": 4}
_KINDS: dict[np.dtype[Any], str] = {
    np.dtype(np.uint8): "u8",
    np.dtype(np.uint16): "u16",
    np.dtype(np.float16): "f16",
    np.dtype(np.float32): "f32",
}
_NAMES = {
    **{name: name for name in SIZES},
    "uint8": "u8",
    "uint16": "u16",
    "float16": "f16",
    "half": "f16",
    "bfloat16": "bf16",
    "float32": "f32",
    "float": "f32",
}
_DTYPES: dict[str, np.dtype[Any]] = {"u8": np.dtype(np.uint8), "u16": np.dtype(np.uint16), "f16": np.dtype(np.float16), "f32": np.dtype(np.float32)}

_TORCH_NAMES = {"u8": "uint8", "u16": "uint16", "f16": "float16", "bf16": "bfloat16", "f32": "float32"}

# wfvae_pixel_format of planar pictures, and of packed ones with 3 and with 4 channels.
_PLANAR = {"u8": 3, "u16": 5, "f16": 17, "bf16": 18, "f32": 7}
_PACKED = {("u8", 3): 1, ("u8", 4): 2, ("u16", 3): 11, ("u16", 4): 12, ("f16", 3): 13, ("f16", 4): 14, ("f32", 3): 15, ("f32", 4): 16}
# DLPack's codes of types and of devices whose memory the CPU can read: the CPU's own, and what CUDA and ROCm pinned.
_DLPACK_KINDS = {(1, 8): "u8", (1, 16): "u16", (2, 16): "f16", (2, 32): "f32", (4, 16): "bf16"}
_CPU_DEVICES = (1, 3, 11)
_CUDA, _CUDA_MANAGED = 2, 13
# Types of __cuda_array_interface__.
_TYPESTRS = {dtype.str: kind for dtype, kind in _KINDS.items()}


class Place(NamedTuple):
    """Where the arrays of a stream are: on the CPU, or on a CUDA device."""

    #: The option that says so, for errors.
    option: str
    #: None: the CPU.
    device: int | None
    #: The CUDA stream that the library waits for, as DLPack numbers it: 1 is the default stream.
    stream: int


class View:
    """An array: the address of its first element, the element type's name, shape, and strides in bytes."""

    __slots__ = ("address", "kind", "like", "on_cpu", "owner", "shape", "strides", "writable")

    def __init__(
        self,
        address: int,
        kind: str,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        writable: bool,
        owner: Any,
        on_cpu: bool = True,
        like: Any = None,
    ) -> None:
        self.address = address
        self.kind = kind
        self.shape = shape
        self.strides = strides
        self.writable = writable
        # Keeps the memory alive.
        self.owner = owner
        self.on_cpu = on_cpu
        # PyTorch's tensor on a CUDA device, from which results are made that are like it.
        self.like = like


def view(array: Any, what: str, writing: bool = False, place: Place | None = None) -> View:
    """Describes an array without a copy, unless it is read and has elements in foreign byte order.

    what: the argument's name, for errors. place: where it must be; None: on the CPU, and no option changes that.
    """
    if isinstance(array, View):
        found = array
    elif place is not None and place.device is not None:
        found = _on_cuda(array, what, writing, place, place.device)
    elif isinstance(array, np.ndarray):
        found = _of_numpy(array, what, writing)
    elif _is_torch(array):
        found = _of_torch(array, what, writing, place)
    elif hasattr(array, "__dlpack__"):
        found = _of_dlpack(array, what, place)
    else:
        found = _of_numpy(_as_numpy(array, what, writing, place), what, writing)
    if writing and not found.writable:
        raise ValueError(f"{what} is read-only")
    return found


@functools.lru_cache(maxsize=256)
def kind_of(dtype: Any, option: str) -> str:
    """The name of an element type that is given as a string, a NumPy dtype or a torch.dtype."""
    if isinstance(dtype, np.dtype):
        name = dtype.name
    elif isinstance(dtype, type):
        try:
            name = np.dtype(dtype).name
        except TypeError:
            name = dtype.__name__
    else:
        name = str(dtype).removeprefix("torch.")
    try:
        return _NAMES[name]
    except KeyError:
        raise ValueError(f"{option} is {name!r}, must be one of {', '.join(map(repr, SIZES))}, or such a dtype of NumPy or torch") from None


@functools.lru_cache(maxsize=256)
def dtype_of(dtype: Any, option: str) -> np.dtype[Any]:
    """The NumPy dtype for new arrays."""
    kind = kind_of(dtype, option)
    if kind == "bf16":
        if isinstance(dtype, str) or not isinstance(dtype, (np.dtype, type)):
            raise ValueError(f"{option} is bfloat16, which NumPy itself lacks: pass a tensor as out=, the dtype of ml_dtypes, or use 'f32'")
        return np.dtype(dtype)
    return _DTYPES[kind]


def _of_numpy(array: np.ndarray[Any, Any], what: str, writing: bool) -> View:
    dtype = array.dtype
    kind = _KINDS.get(dtype)
    if kind is None:
        if not dtype.isnative and _KINDS.get(dtype.newbyteorder("=")):
            if writing:
                raise ValueError(f"{what} is not in this machine's byte order")
            return _of_numpy(array.astype(dtype.newbyteorder("=")), what, writing)
        kind = "bf16" if dtype.name == "bfloat16" else None
        if kind is None:
            raise TypeError(_wrong_type(what, dtype.name))
    address: int = array.__array_interface__["data"][0]
    return View(address, kind, array.shape, array.strides, array.flags.writeable, array)


def _is_torch(array: Any) -> bool:
    return hasattr(array, "data_ptr") and hasattr(array, "element_size")


def _of_torch(tensor: Any, what: str, writing: bool, place: Place | None) -> View:
    device = tensor.device.type
    if device != "cpu":
        # A copy of `out` would be lost.
        more = ", must be on the CPU" if writing else f": pass {what}.cpu()"
        raise ValueError(f"{what} is on the device {tensor.device}{more}{_or_cuda(place) if device == 'cuda' else ''}")
    return _described_by_torch(tensor, what, writing)


def _described_by_torch(tensor: Any, what: str, writing: bool) -> View:
    if str(tensor.layout) != "torch.strided":
        raise ValueError(f"{what} has the layout {tensor.layout}: pass {what}.to_dense()")
    name = str(tensor.dtype).removeprefix("torch.")
    kind = _NAMES.get(name)
    if kind is None:
        raise TypeError(_wrong_type(what, name))
    if writing and tensor.requires_grad:
        raise ValueError(f"{what} requires gradients, which decoding does not give: pass {what}.detach()")
    if tensor.is_neg():
        raise ValueError(f"{what} is a negated view: pass {what}.resolve_neg()")
    size = SIZES[kind]
    address, shape = tensor.data_ptr(), tuple(tensor.shape)
    if address == 0 and 0 not in shape:
        raise ValueError(f"{what} has no memory of its own")
    return View(address, kind, shape, tuple(s * size for s in tensor.stride()), True, tensor)


def _or_cuda(place: Place | None) -> str:
    return "" if place is None else f", or set {place.option}='cuda'"


def _on_cuda(array: Any, what: str, writing: bool, place: Place, device: int) -> View:
    """An array in the memory of a CUDA device. Afterwards place.stream waits for the work on it that its owner has begun."""
    if _is_torch(array):
        kind, index = array.device.type, array.device.index
        if kind == "cuda" and index == device:
            found = _described_by_torch(array, what, writing)
            found.on_cpu, found.like = False, array
            # Only DLPack can make another CUDA stream wait for PyTorch's current one without torch itself. The capsule is not needed:
            # the methods tell more, namely gradients and, in all versions, that the memory may be written.
            array.detach().__dlpack__(stream=place.stream)
            return found
        raise ValueError(_elsewhere(what, "in the CPU's memory" if kind == "cpu" else f"on the device {array.device}", place))
    if hasattr(array, "__dlpack__"):
        kind, index = map(int, array.__dlpack_device__())
        if (kind, index) == (_CUDA, device):
            return _of_capsule(array, what, place.stream)
        if kind in _CPU_DEVICES:
            where = "in the CPU's memory"
        elif kind == _CUDA_MANAGED:
            where = "in managed memory"
        else:
            where = f"on CUDA device {index}" if kind == _CUDA else f"on another device (DLPack device {kind})"
        raise ValueError(_elsewhere(what, where, place))
    if hasattr(array, "__cuda_array_interface__"):
        return _of_cuda_interface(array, what, place)
    if isinstance(array, np.ndarray) or hasattr(array, "__array_interface__") or hasattr(array, "__array__"):
        raise ValueError(_elsewhere(what, "in the CPU's memory", place))
    raise TypeError(f"{what} is a {type(array).__name__}, must be an array or a tensor on CUDA device {device}")


def _elsewhere(what: str, where: str, place: Place) -> str:
    return f"{what} is {where}, must be in the memory of the model's CUDA device {place.device}, as {place.option} is 'cuda'"


def _of_cuda_interface(array: Any, what: str, place: Place) -> View:
    interface = array.__cuda_array_interface__
    kind = _TYPESTRS.get(interface["typestr"])
    if kind is None or interface.get("mask") is not None:
        raise TypeError(_wrong_type(what, interface["typestr"]) if kind is None else f"{what} has a mask")
    # Work that its owner has begun is in this stream. Only DLPack can make another one wait for it.
    stream = interface.get("stream")
    if stream not in (None, place.stream):
        raise ValueError(f"{what} has work pending in the CUDA stream {stream}: set cuda_stream={stream}")
    shape = tuple(interface["shape"])
    strides = interface.get("strides") or compact(shape, SIZES[kind])
    address, read_only = interface["data"]
    return View(address or 0, kind, shape, tuple(strides), not read_only, (array, interface), on_cpu=False)


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _DLVersioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _DLTensor),
    ]


_capsule_name = ctypes.pythonapi.PyCapsule_GetName
_capsule_name.restype, _capsule_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def _of_dlpack(array: Any, what: str, place: Place | None) -> View:
    device = int(array.__dlpack_device__()[0])
    if device not in _CPU_DEVICES:
        more = _or_cuda(place) if device == _CUDA else ""
        raise ValueError(f"{what} is on a device that the CPU cannot read (DLPack device {device}): copy it to the CPU first{more}")
    return _of_capsule(array, what, None)


def _of_capsule(array: Any, what: str, stream: int | None) -> View:
    """Reads the capsule without taking it over: it stays whole and frees its tensor when it is forgotten.

    stream: of CUDA, which waits for the work that the array's owner has begun; None: the array is on the CPU.
    """
    options = {} if stream is None else {"stream": stream}
    try:
        capsule = array.__dlpack__(max_version=(1, 0), **options)
    except TypeError:
        # Producers from before DLPack 1.0.
        capsule = array.__dlpack__(**options)
    name = _capsule_name(capsule)
    address = _capsule_pointer(capsule, name)
    if name == b"dltensor_versioned":
        versioned = _DLVersioned.from_address(address)
        if versioned.major != 1:
            raise ValueError(f"{what} speaks DLPack {versioned.major}, which this package does not know")
        # Read-only, or a copy that its owner would never see.
        tensor, writable = versioned.tensor, not versioned.flags & 3
    elif name == b"dltensor":
        # Old capsules do not tell whether they may be written, but CUDA's interface does.
        tensor = _DLTensor.from_address(address)
        writable = stream is not None and not getattr(array, "__cuda_array_interface__", {"data": (0, True)})["data"][1]
    else:
        raise TypeError(f"{what}: __dlpack__() gave a capsule {name!r}")
    kind = _DLPACK_KINDS.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
    if kind is None:
        raise TypeError(_wrong_type(what, f"of DLPack code {tensor.code} and {tensor.bits} bits"))
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    size = SIZES[kind]
    strides = tuple(tensor.strides[i] * size for i in range(tensor.ndim)) if tensor.strides else compact(shape, size)
    return View((tensor.data or 0) + tensor.byte_offset, kind, shape, strides, writable, (array, capsule), on_cpu=stream is None)


def _as_numpy(array: Any, what: str, writing: bool, place: Place | None) -> np.ndarray[Any, Any]:
    # What __array__() returns may be a copy.
    if hasattr(array, "__array_interface__") or (hasattr(array, "__array__") and not writing):
        return np.asarray(array)
    if hasattr(array, "__cuda_array_interface__"):
        raise ValueError(f"{what} is on a CUDA device: copy it to the CPU first{_or_cuda(place)}")
    try:
        return np.asarray(memoryview(array))
    except TypeError:
        more = ""
        if writing:
            more = " whose memory can be written"
        elif isinstance(array, (list, tuple)):
            more = ": use numpy.stack(), or a stream's encode_iter() or decode_iter()"
        raise TypeError(f"{what} is a {type(array).__name__}, must be an array or a tensor{more}") from None


def _wrong_type(what: str, name: str) -> str:
    return f"{what} has elements of type {name}: convert it first. Frames are uint8, uint16, float16, bfloat16 or float32, latents float16 or float32"


def compact(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The strides of an array without gaps."""
    strides = []
    for length in reversed(shape):
        strides.append(size)
        size *= length
    return tuple(reversed(strides))


def is_compact(array: View) -> bool:
    expected = compact(array.shape, SIZES[array.kind])
    return 0 in array.shape or all(n == 1 or s == e for n, s, e in zip(array.shape, array.strides, expected, strict=True))


class _Interface:
    def __init__(self, array: View) -> None:
        self.__array_interface__ = {
            "version": 3,
            "data": (array.address, True),
            "typestr": f"<u{SIZES[array.kind]}",
            "shape": array.shape,
            "strides": array.strides,
        }
        self.owner = array


def copied(array: View, what: str, need: str) -> View:
    """A copy without gaps. Its elements are integers to NumPy, whatever they are. need: why, for errors: nothing is copied on a device."""
    if not array.on_cpu:
        raise ValueError(f"{what} {need}, and is copied for that only on the CPU: pass a copy of it")
    new = np.array(np.asarray(_Interface(array)), order="C", copy=True)
    return View(new.ctypes.data, array.kind, new.shape, new.strides, True, new)


class Clip:
    """Frames as the C API takes them. `first` and `view` must live as long as `frames` is used."""

    __slots__ = ("count", "first", "frames", "height", "view", "width")

    def __init__(self, view: View, steps: tuple[int, int, int, int], first: Frame, count: int) -> None:
        self.view = view
        self.first = first
        self.count = count
        self.width = first.width
        self.height = first.height
        self.frames = Frames(FRAMES_SIZE, ctypes.pointer(first), count, (steps[0],) * 4)


@functools.lru_cache(maxsize=256)
def axes_of(layout: str, expected: str = "THWC") -> tuple[int, ...]:
    """Where the axes T, H, W, C (or H, W, C) are in an array."""
    if not isinstance(layout, str) or sorted(layout.upper()) != sorted(expected):
        raise ValueError(f"layout is {layout!r}, must hold each of the letters {', '.join(expected)} once, such as {expected!r}")
    layout = layout.upper()
    return tuple(layout.index(axis) for axis in expected)


def new_frames(dtype: Any, layout: str, count: int, height: int, width: int, channels: int, place: Place, like: Any) -> Any:
    axes_of(layout)
    if channels not in (3, 4):
        raise ValueError(f"channels is {channels}, must be 3 or 4")
    sizes = {"T": count, "H": height, "W": width, "C": channels}
    shape = tuple(sizes[axis] for axis in layout.upper())
    if place.device is None:
        return np.empty(shape, dtype_of(dtype, "dtype"))
    return _new_tensor(kind_of(dtype, "dtype"), shape, place, like)


def clip_of(
    array: Any,
    layout: str,
    range: str,
    bit_depth: int,
    what: str,
    writing: bool = False,
    axes: str = "THWC",
    place: Place | None = None,
) -> Clip:
    """Describes a clip, or with the axes "HWC" one frame. Copies what is read if strides cannot say it, on the CPU."""
    places = axes_of(layout, axes)
    found = view(array, what, writing, place)
    if len(found.shape) != len(axes):
        raise ValueError(f"{what} has {len(found.shape)} axes, must have {len(axes)}: {layout}{_also(found.shape, axes)}")
    range_value = value_of("range", RANGES, range)
    if range_value and found.kind in ("u8", "u16"):
        raise ValueError(f"range is {range!r}, but {what} holds integers, whose range is always the whole one")
    if bit_depth and (found.kind != "u16" or not 9 <= unsigned("bit_depth", bit_depth) <= 16):
        raise ValueError(f"bit_depth is {bit_depth}, must be 9 to 16 and is for uint16 only; 0: 16")
    channels = found.shape[places[-1]]
    if channels not in (3, 4):
        raise ValueError(f"{what} has {channels} channels, must have 3 or 4: its shape is {found.shape} in the layout {layout}; layout= names the order of its axes")
    steps = _steps(found, places)
    count = found.shape[places[0]] if axes == "THWC" else 1
    height, width = found.shape[places[-3]], found.shape[places[-2]]
    if 0 in (count, height, width):
        raise ValueError(f"{what} is empty: its shape is {found.shape}")
    if max(width, height) >= 1 << 31:
        raise ValueError(f"{what} is too large: {width}x{height}")
    size = SIZES[found.kind]
    if not _expressible(found, steps, width, height, size):
        if writing:
            raise ValueError(f"{what} cannot be written with its strides {found.strides}: rows must not overlap, and elements must be aligned")
        found = copied(found, what, f"has the strides {found.strides}, must have rows that do not overlap and aligned elements")
        steps = _steps(found, places)
    if writing and not (isinstance(array, np.ndarray) and array.flags.c_contiguous) and _overlaps(found, size):
        raise ValueError(f"{what} has elements that share memory, such as those of a broadcast axis: its strides are {found.strides}")
    return _described(found, steps, count, width, height, channels, range_value, bit_depth)


def _described(found: View, steps: tuple[int, int, int, int], count: int, width: int, height: int, channels: int, range_value: int, bit_depth: int) -> Clip:
    _, row, pixel, channel = steps
    size, start = SIZES[found.kind], found.address
    packed = _PACKED.get((found.kind, channels)) if channel == size and pixel == channels * size else None
    planes = (start,) if packed else (start, start + channel, start + 2 * channel, start + 3 * channel)[:channels]
    pixel = 0 if packed else pixel
    form = packed or _PLANAR[found.kind]
    first = Frame(FRAME_SIZE, form, width, height, bit_depth, range_value, 0, planes, (row,) * 4, (pixel,) * 4)
    return Clip(found, steps, first, count)


def _steps(found: View, places: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Bytes from one frame, row, pixel and channel to the next. Those of axes of length 1 are free: they become ordinary."""
    size = SIZES[found.kind]
    stride = [found.strides[i] for i in places]
    length = [found.shape[i] for i in places]
    if 1 not in length and len(places) == 4:
        return stride[0], stride[1], stride[2], stride[3]
    if len(places) == 3:
        stride, length = [0, *stride], [1, *length]
    if length[2] == 1:
        stride[2] = max(stride[3], size) * length[3] if stride[3] == size else size
    if length[1] == 1:
        stride[1] = abs(stride[2]) * length[2]
    if length[0] == 1:
        stride[0] = 0
    return stride[0], stride[1], stride[2], stride[3]


def _expressible(found: View, steps: tuple[int, int, int, int], width: int, height: int, size: int) -> bool:
    _, row, pixel, channel = steps
    if found.address % size or row % size or pixel % size or channel % size or steps[0] % size:
        return False
    row, pixel = abs(row), abs(pixel)
    return min(row, pixel) >= size and (row >= (width - 1) * pixel + size or pixel >= (height - 1) * row + size)


def check_apart(out: View, source: View, what: str) -> None:
    """Results are written before all of the source is read."""
    (low, high), (other_low, other_high) = _bounds(out), _bounds(source)
    if low < other_high and other_low < high:
        raise ValueError(f"out overlaps the memory of {what}, which must not change during the call")


def _bounds(array: View) -> tuple[int, int]:
    low = high = array.address
    for stride, length in zip(array.strides, array.shape, strict=True):
        if stride < 0:
            low += stride * (length - 1)
        else:
            high += stride * (length - 1)
    return low, high + SIZES[array.kind]


def _overlaps(found: View, size: int) -> bool:
    """Whether elements may share memory."""
    span = size
    for stride, length in sorted((abs(s), n) for s, n in zip(found.strides, found.shape, strict=True) if n > 1):
        if stride < span:
            return True
        span = stride * (length - 1) + span
    return False


def _also(shape: tuple[int, ...], axes: str) -> str:
    if len(shape) == len(axes) + 1:
        return "; pass one clip of a batch at a time" if axes == "THWC" else "; pass one frame at a time"
    if len(shape) == len(axes) - 1:
        return "; for one frame, pass array[None]"
    return ""


def one_latent(array: Any, place: Place | None = None) -> View:
    """A latent [C, h, w] as [1, C, h, w]."""
    found = view(array, "a latent", place=place)
    if len(found.shape) != 3:
        raise ValueError(f"a latent has the shape {found.shape}, must be [C, h, w]")
    return View(found.address, found.kind, (1, *found.shape), (0, *found.strides), False, found.owner, found.on_cpu, found.like)


def latents_of(array: Any, kind: str | None, channels: tuple[int, ...], what: str, place: Place | None = None) -> View:
    """Latents to read, [T, C, h, w] without gaps, as float32 or float16. On the CPU, copies those with gaps and those of other types.

    kind: the type that is needed; None: the array's own. channels: how many are allowed.
    """
    found = view(array, what, place=place)
    if len(found.shape) != 4:
        more = "; for one latent, pass z[None]" if len(found.shape) == 3 else ""
        raise ValueError(f"{what} has the shape {found.shape}, must be [T, C, h, w]{more}")
    if found.kind in ("u8", "u16"):
        raise TypeError(f"{what} has integer elements, must be float16, bfloat16 or float32")
    if found.shape[1] not in channels:
        more = "; to swap the axes of [C, T, h, w], use swapaxes(0, 1)" if found.shape[0] in channels else ""
        raise ValueError(f"{what} has the shape {found.shape}, must be [T, C, h, w] with C = {' or '.join(map(str, channels))}{more}")
    if 0 in found.shape:
        raise ValueError(f"{what} is empty: its shape is {found.shape}")
    if found.kind == "bf16":
        if kind == "f16":
            raise TypeError(f"{what} holds bfloat16, which float16 cannot hold exactly: use a stream with latent_dtype='f32'")
        bits = copied(found, what, "holds bfloat16, must be float32 or float16").owner.astype(np.uint32)
        bits <<= 16
        found = View(bits.ctypes.data, "f32", found.shape, bits.strides, True, bits)
    elif not is_compact(found) or found.address % SIZES[found.kind]:
        found = copied(found, what, "must have no gaps or permuted axes, and aligned elements")
    if kind is None or found.kind == kind:
        return found
    if kind == "f16":
        raise TypeError(f"{what} holds float32, but the stream's latents are float16: convert it, or use latent_dtype='f32'")
    if not found.on_cpu:
        raise TypeError(f"{what} holds float16, but the stream's latents are float32: convert it, or use latent_dtype='f16'")
    wide = np.asarray(_Interface(found)).view(np.float16).astype(np.float32)
    return View(wide.ctypes.data, "f32", found.shape, wide.strides, True, wide)


def new_latents(kind: str, shape: tuple[int, ...], place: Place, like: Any) -> Any:
    if place.device is None:
        return np.empty(shape, _DTYPES[kind])
    return _new_tensor(kind, shape, place, like)


def _new_tensor(kind: str, shape: tuple[int, ...], place: Place, like: Any) -> Any:
    """Memory on a CUDA device. like: PyTorch's tensor; None: there is nobody who can give any."""
    if like is None:
        raise ValueError(f"out is needed: with {place.option}='cuda' a result is made only if the input is a PyTorch tensor on the CUDA device")
    # There is a tensor, so torch is loaded.
    dtype = getattr(sys.modules["torch"], _TORCH_NAMES[kind], None)
    if dtype is None:
        raise ValueError(f"this PyTorch has no {_TORCH_NAMES[kind]}: choose another dtype")
    return like.new_empty(shape, dtype=dtype)


def latents_for(array: Any, kind: str, shape: tuple[int, ...], place: Place | None = None) -> View:
    """Latents to write. It must live as long as it is written to: what DLPack gives may belong to it alone."""
    what = "out"
    found = view(array, what, writing=True, place=place)
    if found.kind != kind:
        raise TypeError(f"{what} has elements of type {found.kind}, must be {kind}")
    if found.shape != shape:
        raise ValueError(f"{what} has the shape {found.shape}, must be {shape}")
    if not is_compact(found):
        raise ValueError(f"{what} has gaps or permuted axes; latents are written to memory without gaps")
    if found.address % SIZES[kind]:
        raise ValueError(f"{what} is not aligned to its elements")
    return found
