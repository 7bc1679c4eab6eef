"""FFmpeg's filter with frames in the GPU's memory; `on-device` calls it. Prints a line for each check; exits with 1 if one failed.

    filter_frames.py FFMPEG FOLDER [PROVIDER]      PROVIDER: the options of the filter that choose it, by default provider=cuda

What comes out is compared bit for bit with what the library gives for the same frames in the CPU's memory, on the same device:
of planar RGB through the filter, of YUV, which the filter takes from the CPU only after a conversion, through the C API.
WFVAE_LIBRARY names libwfvae.so, and LD_LIBRARY_PATH its folder. The repository's root is the working folder. clip.mp4, beside
FFMPEG, is an H.264 file for the GPU's decoder.
"""
import ctypes
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import filter as common
from filter import DEVICE, FFMPEG, FOLDER, FRAMES, SECONDS, Failed, check, expect, ffmpeg

SIZE, WIDTH, HEIGHT = "426x240", 426, 240
GPU = ["-init_hw_device", "cuda=cu:0,primary_ctx=1"]
CLIP = Path(FFMPEG).parent / "clip.mp4"
OPTIONS = f"{DEVICE}:precision=f16"
# By format: that of wfvae_pixel_format, planes as (bytes of a row, rows).
FORMATS = {
    "nv12": (28, [(WIDTH, HEIGHT), (WIDTH, HEIGHT // 2)]),
    "p010le": (29, [(2 * WIDTH, HEIGHT), (2 * WIDTH, HEIGHT // 2)]),
    "yuv420p": (21, [(WIDTH, HEIGHT), (WIDTH // 2, HEIGHT // 2), (WIDTH // 2, HEIGHT // 2)]),
    "yuv444p": (25, [(WIDTH, HEIGHT)] * 3),
    "yuv444p16le": (26, [(2 * WIDTH, HEIGHT)] * 3),
    "rgb0": (2, [(4 * WIDTH, HEIGHT)]),
    "bgr0": (10, [(4 * WIDTH, HEIGHT)]),
}


def raw(fmt, path):
    return ["-f", "rawvideo", "-pixel_format", fmt, "-video_size", SIZE, "-framerate", 30, "-i", path]


def to_raw(fmt, path):
    return ["-fps_mode", "passthrough", "-pix_fmt", fmt, "-f", "rawvideo", path]


def through(fmt, filters, before=""):
    """The filters between an upload and a download."""
    return f"{before}format={fmt},hwupload,{filters},hwdownload,format={fmt}"


def same(first, second, what):
    a, b = first.read_bytes(), second.read_bytes()
    expect(len(a) > 0, f"{first.name} is empty")
    expect(len(a) == len(b), f"{len(a)} bytes, {what} {len(b)}")
    if a != b:
        others = sum(x != y for x, y in zip(a, b))
        raise Failed(f"{others} of {len(a)} bytes differ from {what}, the first at {next(i for i in range(len(a)) if a[i] != b[i])}")
    return f"{len(a)} bytes, the same as {what}"


# -- the C API, in a process of its own


def load_abi():
    """Structs and functions as the Python package has them, without its need of an installation."""
    spec = importlib.util.spec_from_file_location("wfvae_abi", "bindings/python/src/wfvae/_abi.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def reference(fmt, source, target, provider, matrix, full):
    """A round trip of frames in the CPU's memory: filter_frames.py FFMPEG FOLDER PROVIDER reference FORMAT ..."""
    abi = load_abi()
    lib = ctypes.CDLL(os.environ["WFVAE_LIBRARY"])
    lib.wfvae_last_error.restype = ctypes.c_char_p
    number, planes = FORMATS[fmt]
    total = sum(row * rows for row, rows in planes)
    model, stream = ctypes.c_void_p(), ctypes.c_void_p()

    def call(function, *arguments):
        if function(*arguments) != 0:
            raise SystemExit(lib.wfvae_last_error(None).decode())

    def describe(memory, n):
        frame = abi.Frame()
        frame.struct_size, frame.format, frame.width, frame.height = ctypes.sizeof(frame), number, WIDTH, HEIGHT
        if fmt not in ("rgb0", "bgr0"):
            frame.matrix, frame.yuv_range = matrix, full
        at = ctypes.addressof(memory) + n * total
        for i, (row, rows) in enumerate(planes):
            frame.planes[i], frame.strides[i] = at, row
            at += row * rows
        return frame

    options = abi.ModelOptions(provider=provider, encode_precision=2 * (provider == 2), decode_precision=2 * (provider == 2))
    call(lib.wfvae_model_open, None, ctypes.byref(options), ctypes.byref(model))
    call(lib.wfvae_create, model, ctypes.byref(abi.Options(width=WIDTH, height=HEIGHT, padding=1)), ctypes.byref(stream))
    info, most, count = abi.Info(), 16, ctypes.c_size_t()
    call(lib.wfvae_get_info, stream, ctypes.byref(info))
    latents = ctypes.create_string_buffer(2 * info.encoded_size)
    memory, out = ctypes.create_string_buffer(total), ctypes.create_string_buffer(most * total)
    frames = (abi.Frame * most)(*(describe(out, n) for n in range(most)))
    with open(source, "rb") as before, open(target, "wb") as after:

        def decode(function, *arguments):
            call(function, stream, *arguments, frames, ctypes.c_size_t(most), ctypes.byref(count))
            after.write(out.raw[: count.value * total])

        def decode_latents():
            if count.value:
                decode(lib.wfvae_decode_chunk, latents, ctypes.c_size_t(count.value))

        while data := before.read(total):
            memory[:total] = data
            frame = describe(memory, 0)
            call(lib.wfvae_encode_chunk, stream, ctypes.byref(frame), ctypes.c_size_t(1), latents, ctypes.c_size_t(2),
                 ctypes.byref(count))
            decode_latents()
        call(lib.wfvae_get_info, stream, ctypes.byref(info))
        call(lib.wfvae_set_frame_count, stream, ctypes.c_uint64(info.frames_in))
        call(lib.wfvae_encode_flush, stream, latents, ctypes.c_size_t(2), ctypes.byref(count))
        decode_latents()
        decode(lib.wfvae_decode_flush)


def run_reference(fmt, source, target, matrix=0, full=0):
    command = [sys.executable, __file__, FFMPEG, str(FOLDER), DEVICE, "reference", fmt, source, target, str(matrix), str(full)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise Failed(f"the C API takes more than {SECONDS} s") from None
    expect(done.returncode == 0, f"the C API: exit {done.returncode}: {done.stderr.strip()[-300:]}")


# -- checks


def source_of(fmt):
    path = FOLDER / f"source.{fmt}"
    if not path.exists():
        # A moving picture with colours of all kinds.
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={SIZE}:rate=30", "-vf", f"format={fmt}", "-frames:v", FRAMES, *to_raw(fmt, path))
    return path


def pictures(fmt):
    source, out, expected = source_of(fmt), FOLDER / f"out.{fmt}", FOLDER / f"expected.{fmt}"
    ffmpeg(*GPU, *raw(fmt, source), "-vf", through(fmt, f"wfvae={OPTIONS}"), *to_raw(fmt, out))
    run_reference(fmt, source, expected)
    expect(out.stat().st_size == source.stat().st_size, f"{out.stat().st_size} bytes of {source.stat().st_size}")
    return same(out, expected, "the C API's of frames on the CPU")


def tagged(fmt):
    """Matrix and range are those of the frames' tags."""
    source, out, expected = source_of(fmt), FOLDER / f"tagged.{fmt}", FOLDER / f"expected-tagged.{fmt}"
    before = "setparams=colorspace=bt709:range=pc,"
    ffmpeg(*GPU, *raw(fmt, source), "-vf", through(fmt, f"wfvae={OPTIONS}", before), *to_raw(fmt, out))
    run_reference(fmt, source, expected, matrix=2, full=1)
    return same(out, expected, "the C API's of BT.709 in full range")


def planar(path):
    """A clip of rgb0 as gbrp."""
    data, size, target = path.read_bytes(), 4 * WIDTH * HEIGHT, path.with_suffix(".gbrp")
    with open(target, "wb") as file:
        for at in range(0, len(data), size):
            frame = data[at : at + size]
            file.write(frame[1::4] + frame[2::4] + frame[0::4])
    return target


def as_planar():
    """The filter itself takes planar RGB from the CPU."""
    source, out, expected = source_of("rgb0"), FOLDER / "out-planar.rgb0", FOLDER / "expected-planar.gbrp"
    ffmpeg(*GPU, *raw("rgb0", source), "-vf", through("rgb0", f"wfvae={OPTIONS}"), *to_raw("rgb0", out))
    ffmpeg(*raw("gbrp", planar(source)), "-vf", f"wfvae={OPTIONS}", *to_raw("gbrp", expected))
    return same(planar(out), expected, "the filter's of planar RGB on the CPU")


def chunks():
    source, out = source_of("nv12"), FOLDER / "chunks.nv12"
    ffmpeg(*GPU, *raw("nv12", source), "-vf", through("nv12", f"wfvae={OPTIONS}:chunk=9"), *to_raw("nv12", out))
    return same(out, FOLDER / "out.nv12", "in chunks of 4 frames")


def latents():
    source, out, expected = source_of("rgb0"), FOLDER / "out.gray16", FOLDER / "expected.gray16"
    encode = f"wfvae=mode=encode:{OPTIONS}"
    ffmpeg(*GPU, *raw("rgb0", source), "-vf", f"format=rgb0,hwupload,{encode}", *to_raw("gray16le", out))
    ffmpeg(*raw("gbrp", planar(source)), "-vf", encode, *to_raw("gray16le", expected))
    return same(out, expected, "latents of frames on the CPU")


def times():
    """Frames at uneven distances keep their times and durations."""
    source, found = source_of("nv12"), []
    for filters in ("null", f"wfvae={OPTIONS}"):
        out, uneven = FOLDER / "times.txt", r"settb=1/600,setpts=20*(2*N+mod(N\,2)),"
        ffmpeg(*GPU, *raw("nv12", source), "-vf", through("nv12", filters, uneven), "-fps_mode", "passthrough", "-enc_time_base",
               "1:600", "-f", "framecrc", out)
        lines = [line for line in out.read_text().splitlines() if not line.startswith("#")]
        found.append([line.split(",")[1:4] for line in lines])
    expect(len(found[0]) == FRAMES, f"{len(found[0])} frames of {FRAMES}")
    return expect(found[0] == found[1], f"{len(found[1])} frames" + ("" if found[0] == found[1] else f" at other times: {found[1][:4]}"))


def stops():
    """Few frames of many: what waits in the filter is dropped."""
    out = FOLDER / "stops.nv12"
    ffmpeg(*GPU, *raw("nv12", source_of("nv12")), "-vf", through("nv12", f"wfvae={OPTIONS}"), "-frames:v", 7, *to_raw("nv12", out))
    frames = out.stat().st_size / (WIDTH * HEIGHT * 3 // 2)
    return expect(frames == 7, f"{frames:g} frames of 7")


def refused(*texts, device=tuple(GPU), fmt="nv12", filters=f"wfvae={OPTIONS}"):
    said, _ = ffmpeg(*device, "-f", "lavfi", "-i", "testsrc2=size=64x48", "-frames:v", 1, "-vf", f"format={fmt},hwupload,{filters}",
                     "-f", "null", "-", fails=True)
    own = [line for line in said.splitlines() if "wfvae" in line and all(text in line for text in texts)]
    return expect(own, own[0].partition("] ")[2][:150] if own else f"no text with {texts}: {said[-200:]}")


def works(*arguments):
    """An empty text, or why the GPU cannot do this here, which is not the filter's fault."""
    try:
        ffmpeg("-v", "error", *GPU, *arguments, "-f", "null", "-")
    except Failed as error:
        return f"left out: this GPU or its driver here cannot ({str(error)[-120:]})"
    return ""


DECODE = ["-hwaccel", "cuda", "-hwaccel_device", "cu", "-hwaccel_output_format", "cuda", "-extra_hw_frames", 12]


def decoder():
    """The GPU decodes H.264 into its memory, and the CPU decodes the same pictures."""
    expect(CLIP.exists(), f"{CLIP.name} was not packed: no stock ffmpeg with libx264 was there")
    if missing := works(*DECODE, "-i", CLIP, "-vf", "hwdownload,format=nv12"):
        return missing
    out, expected = FOLDER / "decoded.nv12", FOLDER / "expected-decoded.nv12"
    filters = f"wfvae={OPTIONS},hwdownload,format=nv12"
    ffmpeg(*GPU, *DECODE, "-i", CLIP, "-vf", filters, *to_raw("nv12", out))
    ffmpeg(*GPU, "-i", CLIP, "-vf", f"format=nv12,hwupload,{filters}", *to_raw("nv12", expected))
    return same(out, expected, "of pictures that the CPU decoded")


def encoder():
    expect(CLIP.exists(), f"{CLIP.name} was not packed")
    if missing := works(*DECODE, "-i", CLIP, "-c:v", "hevc_nvenc"):
        return missing
    out = FOLDER / "encoded.mp4"
    ffmpeg(*GPU, *DECODE, "-i", CLIP, "-vf", f"wfvae={OPTIONS}", "-c:v", "hevc_nvenc", out)
    return f"{out.stat().st_size} bytes of HEVC"


def speed(mode, fmt, upload):
    """Frames/s at 1920x1080, of frames that are made once. Without loading and the end: what further frames take."""
    few, many = 48, 1248

    def seconds(frames):
        clip = f"trim=end_frame=8,format={fmt},{upload}loop=loop=-1:size=8,trim=end_frame={frames},setpts=N/30/TB"
        filters = f"{clip},wfvae={mode}{OPTIONS}:chunk=8"
        return ffmpeg(*GPU, "-f", "lavfi", "-i", "testsrc2=size=1920x1080:rate=30", "-vf", filters, "-f", "null", "-")[1]

    return f"{(many - few) / (seconds(many) - seconds(few)):.1f} frames/s"


def main():
    if "cuda" not in subprocess.run([FFMPEG, "-hide_banner", "-hwaccels"], capture_output=True, text=True).stdout.split():
        print("left out: this ffmpeg was built without CUDA")
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    # The most important first: time may end.
    first = ["nv12", "p010le"]
    for fmt in first:
        check(f"{fmt} on the GPU", lambda fmt=fmt: pictures(fmt))
    check("rgb0 on the GPU, gbrp on the CPU", as_planar)
    check("nv12 on the GPU, BT.709, full range", lambda: tagged("nv12"))
    check("nv12 on the GPU, other chunks", chunks)
    check("nv12 on the GPU, times", times)
    check("nv12 on the GPU, early stop", stops)
    check("rgb0 on the GPU, latents", latents)
    check("another context", lambda: refused("primary_ctx=1", device=("-init_hw_device", "cuda=cu:0")))
    check("a format that it does not take", lambda: refused("yuva420p", "hwdownload", fmt="yuva420p"))
    check("tiles", lambda: refused("tiles", filters=f"wfvae=tiles=blended:{OPTIONS}"))
    check("provider=cpu", lambda: refused("provider=cpu", filters="wfvae=provider=cpu"))
    check("the GPU's H.264 decoder", decoder)
    check("the GPU's decoder and encoder", encoder)
    for name, mode in (("round trip", ""), ("encode", "mode=encode:")):
        check(f"1920x1080, {name}, nv12 on the GPU", lambda mode=mode: speed(mode, "nv12", "hwupload,"))
        check(f"1920x1080, {name}, gbrp on the CPU", lambda mode=mode: speed(mode, "gbrp", ""))
    for fmt in FORMATS:
        if fmt not in first:
            check(f"{fmt} on the GPU", lambda fmt=fmt: pictures(fmt))
    sys.exit(common.failed > 0)


if len(sys.argv) > 4 and sys.argv[4] == "reference":
    reference(*sys.argv[5:8], {"cpu": 1, "cuda": 2}[DEVICE.partition("=")[2].partition(":")[0]], *map(int, sys.argv[8:10]))
else:
    main()
