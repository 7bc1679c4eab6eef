"""Tests of the FFmpeg filter and the frei0r plugin, as their users run them: through ffmpeg's command line.

    check.py FFMPEG FFPROBE [--full] [--frei0r FOLDER] [--stock FFMPEG]
    check.py FFMPEG FFPROBE --sanitizers | --long | --cuda-stub FOLDER

Runs in the repository's root. Ends with the number of checks that passed and failed.
"""

import argparse
import ctypes
import fractions
import itertools
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile
import zlib

CLIP = "target/demo/box-320x240.y4m"
BUILTIN = "src/model/builtin"
GOLDEN = "tests/golden"
OLD = "tests/ffmpeg/latents-1.mkv"
# Models of the second generation, by frames for each latent.
SECOND = {"v2-tiny": 4, "own-v2-16x": 4, "own-v2-2x": 2, "own-v2-8x": 8}
IMAGES = {"own-v2-image-clip": 1, "own-v2-image-mixing": 1, "own-v2-groupnorm-image": 1}
# Parts of a second: a multiple of what the usual time bases count.
FINE = 18000000
# Seconds; what takes longer hangs.
TIME = 300
passed, failed = [], []


def check(name, condition, detail=""):
    (passed if condition else failed).append(name)
    if not condition:
        print(f"FAILED {name} {detail}")


def equal(name, found, expected):
    check(name, found == expected, f"found {str(found)[:300]}, expected {str(expected)[:300]}")


class Ffmpeg:
    def __init__(self, path):
        self.path = path
        version = subprocess.run([path, "-version"], capture_output=True, text=True).stdout.split()[2]
        self.is_5 = version.startswith("5")
        # The encoder's time base as the filter has it; newer versions have a word for it.
        self.exact = ["-fps_mode", "passthrough", "-enc_time_base", "-1" if self.is_5 else "filter"]

    def run(self, *arguments, ok=True, environment=None):
        """Standard output as bytes; with ok=False, the text of the failure."""
        command = [self.path, "-v", "repeat+error", "-y", *map(str, arguments)]
        result = subprocess.run(
            command, capture_output=True, timeout=TIME, stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
        )
        if ok:
            check(" ".join(command)[:200], result.returncode == 0, result.stderr.decode()[-800:])
            return result.stdout
        return None if result.returncode == 0 else result.stderr.decode()

    def words(self, *arguments, level="warning"):
        """What a run that ends well says, down to warnings."""
        command = [self.path, "-v", f"repeat+{level}", "-y", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, timeout=TIME, stdin=subprocess.DEVNULL)
        text = result.stderr.decode(errors="replace")
        check(" ".join(command)[:200], result.returncode == 0, text[-800:])
        return text

    def seconds(self, *arguments):
        """Times of the frames that come out, exactly, in seconds."""
        fine = ["-fps_mode", "passthrough", "-enc_time_base", f"1:{FINE}"]
        output = self.run(*arguments, *fine, "-f", "framecrc", "-").decode()
        return [fractions.Fraction(int(line.split(",")[2]), FINE) for line in output.splitlines() if not line.startswith("#")]

    def frames(self, *arguments):
        """(pts, duration, checksum) of each frame that comes out."""
        output = self.run(*arguments, *self.exact, "-f", "framecrc", "-")
        lines = output.decode().splitlines()
        time_bases = [line.split()[-1] for line in lines if line.startswith("#tb")]
        self.time_base = fractions.Fraction(*map(int, time_bases[0].split("/"))) if time_bases else None
        rows = [line.split(",") for line in lines if not line.startswith("#")]
        return [(int(row[2]), int(row[3]), row[5].strip()) for row in rows]


def times(frames):
    return [frame[:2] for frame in frames]


def source(frames, size, vfr=False, fmt="gbrp"):
    """A lively synthetic clip; of variable frame rate if some frames are left out."""
    gaps = "select='mod(n*n,7)'," if vfr else ""
    return ["-f", "lavfi", "-i", f"life=s={size}:r=25:mold=10:random_seed=1,{gaps}trim=end_frame={frames},format={fmt}"]


def timestamps(ffmpeg, full):
    """Every frame comes out, with its own time and duration."""
    lengths = range(1, 41) if full else [1, 2, 4, 5, 6, 11, 17]
    formats = ["gbrp", "gbrpf32le", "yuv420p"]
    grid = itertools.product(lengths, ["64x48", "61x35"], formats, [False, True])
    for i, (length, size, fmt, vfr) in enumerate(grid):
        # A third of the grid, so that every pair of values is there.
        if not full and i % 3 != length % 3:
            continue
        clip = source(length, size, vfr, fmt)
        before = ffmpeg.frames(*clip)
        equal(f"{length} frames {size} {fmt} vfr={vfr}", times(ffmpeg.frames(*clip, "-vf", "wfvae")), times(before))
        check(f"{length} frames of source", len(before) == length)


def properties(ffmpeg, ffprobe, folder):
    """Colour tags, shape of pixels, side data and metadata survive."""
    out = folder / "tags.mkv"
    ffmpeg.run(
        *source(6, "64x48"), "-vf", "setsar=4/3,setparams=color_primaries=bt709:color_trc=bt709,wfvae", "-c:v", "ffv1", out
    )
    entries = "stream=sample_aspect_ratio,color_primaries,color_transfer"
    text = subprocess.run([ffprobe, "-v", "error", "-show_entries", entries, out], capture_output=True, text=True).stdout
    for tag in ["sample_aspect_ratio=4:3", "color_primaries=bt709", "color_transfer=bt709"]:
        check(f"tag {tag}", tag in text, text)
    clip, length = source(7, "64x48"), 7
    # What a container says of latents as of grey video is not said of the video.
    tagged = "wfvae=mode=encode,setparams=range=tv:colorspace=bt709,wfvae=mode=decode,showinfo"
    text = ffmpeg.words(*clip, "-vf", tagged, "-f", "null", "-", level="info")
    equal("tags of decoded video", text.count("color_range:pc color_space:gbr"), length)
    for chunk in [1, 4]:
        regions = f"addroi=x=8:y=0:w=8:h=8,wfvae=chunk={chunk},showinfo"
        text = ffmpeg.words(*clip, "-vf", regions, "-f", "null", "-", level="info")
        equal(f"side data, chunk={chunk}", text.lower().count("regions of interest"), length)
        marks = ",".join(f"metadata=add:key=n{n}:value={n}:enable='eq(n,{n})'" for n in range(length))
        text = ffmpeg.run(*clip, "-vf", f"{marks},wfvae=chunk={chunk},metadata=print:file=-", "-f", "null", "-").decode()
        kept = [line for line in text.splitlines() if line.startswith("n")]
        equal(f"metadata, chunk={chunk}", kept, [f"n{n}={n}" for n in range(length)])


def graphs(ffmpeg, folder):
    """What users build around a filter."""
    clip = source(30, "64x48")
    count = lambda *arguments: len(ffmpeg.frames(*arguments))
    equal("side by side", count(*clip, "-vf", "split[a][b];[a]wfvae[c];[c][b]hstack"), 30)
    equal("psnr", count(*clip, "-vf", "split[a][b];[a]wfvae[c];[c][b]psnr"), 30)
    equal("early stop", count(*clip, "-vf", "wfvae", "-frames:v", "7"), 7)
    equal("trim", count(*clip, "-vf", "wfvae,trim=start_frame=3:end_frame=9"), 6)
    equal("two in series", count(*clip, "-vf", "wfvae,wfvae"), 30)
    equal("two in parallel", count(*clip, "-vf", "split[a][b];[a]wfvae[c];[b]wfvae=chunk=1[d];[c][d]hstack"), 30)
    equal("encode and decode in one graph", count(*clip, "-vf", "wfvae=mode=encode,wfvae=mode=decode"), 30)
    stored = folder / "loop.mkv"
    ffmpeg.run(*clip, "-c:v", "ffv1", stored)
    equal("loop", count("-stream_loop", "1", "-i", stored, "-vf", "wfvae"), 60)
    equal("seek", count("-ss", "0.4", "-i", stored, "-vf", "wfvae"), 20)
    whole = ffmpeg.run(*clip, "-vf", "wfvae", "-f", "rawvideo", "-")
    for chunk in [1, 3, 64]:
        check(f"chunk={chunk}", ffmpeg.run(*clip, "-vf", f"wfvae=chunk={chunk}", "-f", "rawvideo", "-") == whole)
    sample = lambda seed: ffmpeg.run(*clip, "-vf", f"wfvae=posterior=sample:seed={seed}", "-f", "rawvideo", "-")
    check("seeds", sample(1) == sample(1) != sample(2))


def subbands(ffmpeg):
    frames = ffmpeg.frames(*source(9, "61x35"), "-vf", "wfvae=mode=subbands")
    equal("subbands' times", [f[0] for f in frames], [0, 2, 4, 6, 8])
    raw = ffmpeg.run(*source(1, "64x48", fmt="gbrp"), "-vf", "wfvae=mode=subbands", "-f", "rawvideo", "-")
    equal("subbands' size", len(raw), 128 * 48 * 3)
    # A still picture has no detail in time: the lower row is gray, but for the labels.
    row = raw[(24 + 20) * 128 : (24 + 21) * 128]
    equal("no detail in time", set(row), {128})


def in_milliseconds(ffmpeg, *arguments):
    """The frames' times and durations."""
    frames = ffmpeg.frames(*arguments)
    unit = float(1000 * ffmpeg.time_base)
    return [(f[0] * unit, f[1] * unit) for f in frames]


def latents(ffmpeg, folder, full):
    """Latents as video: stored, copied to another file and turned back in processes of their own."""
    lengths = range(1, 41) if full else [1, 2, 5, 7, 13]
    for length in lengths:
        for size, vfr in [("64x48", False), ("61x35", True)]:
            stored_and_back(ffmpeg, folder, f"latents of {length} frames {size} vfr={vfr}", source(length, size, vfr), size)


def stored_and_back(ffmpeg, folder, name, clip, size, model=BUILTIN, step=0.001, most=2):
    """Returns the pictures of a roundtrip. most: what the step may do to them."""
    first, second, options = folder / "latents.mkv", folder / "remuxed.nut", f"wfvae=model={model}"
    ffmpeg.run(*clip, "-vf", f"{options}:mode=encode:step={step}", "-c:v", "ffv1", first)
    ffmpeg.run("-i", first, "-c", "copy", second)
    decode = ["-i", second, "-vf", f"{options}:mode=decode:size={size}"]
    equal(f"{name}: times", ffmpeg.seconds(*decode), ffmpeg.seconds(*clip, "-vf", options))
    through, expected = (in_milliseconds(ffmpeg, *way) for way in [decode, [*clip, "-vf", options]])
    near = [abs(a[1] - b[1]) <= 1 for a, b in zip(through, expected)]
    # The encoder of FFmpeg 5 does not hand durations on.
    check(f"{name}: durations", all(near) or ffmpeg.is_5, f"{through} {expected}")
    a = ffmpeg.run(*decode, *ffmpeg.exact, "-f", "rawvideo", "-pix_fmt", "gbrp", "-")
    b = ffmpeg.run(*clip, "-vf", options, *ffmpeg.exact, "-f", "rawvideo", "-")
    check(f"{name}: pictures", difference(a, b) <= most, difference(a, b))
    return b


def difference(a, b):
    """The largest; of clips of different lengths more than any."""
    return max((abs(x - y) for x, y in set(zip(a, b))), default=0) if len(a) == len(b) else 256


def c_program(raw, size, *model):
    command = ["target/release/c/roundtrip_gbrp", *size.split("x"), *model]
    ours = subprocess.run(command, input=raw, capture_output=True, timeout=TIME)
    equal("C program", ours.returncode, 0)
    return ours.stdout


def second_generation(ffmpeg, folder, full):
    """Other compressions, and image models: in each mode every frame with its own time."""
    for i, (name, unit) in enumerate({**SECOND, **IMAGES}.items()):
        model = f"{GOLDEN}/{name}"
        roundtrip, encode = f"wfvae=model={model}", f"wfvae=model={model}:mode=encode"
        for n, length in enumerate(range(1, 20) if full else [1, 2 * unit + 2]):
            size, vfr = [("61x35", False), ("32x48", True)][(i + n) % 2]
            text, clip = f"{name}: {length} frames {size} vfr={vfr}", source(length, size, vfr)
            before = times(ffmpeg.frames(*clip))
            equal(text, times(ffmpeg.frames(*clip, "-vf", roundtrip)), before)
            # Random weights blow the smallest differences up, and 16 bits hold no smaller steps.
            step = 0.0001 if name in SECOND else 0.0002
            out = stored_and_back(ffmpeg, folder, text, clip, size, model, step, most=4)
            raw = ffmpeg.run(*clip, *ffmpeg.exact, "-f", "rawvideo", "-")
            check(f"{text}: the C API's pictures", out == c_program(raw, size, model))
        clip = source(2 * unit + 2, "61x35")
        # A latent has the time of its last frame; of a last group that is short, of what is there, if it is far enough.
        ends = [n * unit for n in range(3)] + [2 * unit + 1 if unit < 8 else 19]
        equal(f"{name}: latents", [f[0] for f in ffmpeg.frames(*clip, "-vf", encode)], ends)
        chunks = [ffmpeg.run(*clip, "-vf", f"{roundtrip}:chunk={chunk}", "-f", "rawvideo", "-") for chunk in [1, 64]]
        check(f"{name}: chunks", chunks[0] == chunks[1])


def whole_clips(ffmpeg):
    """Group norm needs what a filter never has, and the filter says so before the first frame."""
    for mode in ["roundtrip", "encode", "decode"]:
        vf = f"format={'gray16' if mode == 'decode' else 'gbrp'},wfvae=model={GOLDEN}/own-v2-groupnorm:mode={mode}"
        text = ffmpeg.run(*source(3, "64x48"), "-vf", vf, "-f", "null", "-", ok=False)
        expected = ["own-v2-groupnorm: ", "groupnorm", "whole clip", "layernorm", "outside of FFmpeg"]
        check(f"group norm, {mode}", text is not None and all(word in text for word in expected), text)
    # The decoder of this one streams, but nothing in FFmpeg makes its latents: what comes is none.
    for mode, model, expected in [("roundtrip", "cv-tiny", "whole clip"), ("encode", "own-cv-layernorm", "whole clip"),
                                  ("decode", "own-cv-layernorm", "latent"), ("subbands", "cv-tiny", "no wavelets")]:
        vf = f"format={'gray16' if mode == 'decode' else 'gbrp'},wfvae=model={GOLDEN}/{model}:mode={mode}"
        text = ffmpeg.run(*source(3, "64x48"), "-vf", vf, "-f", "null", "-", ok=False)
        check(f"CausalVAE, {mode}", text is not None and expected in text, text)


def image_subbands(ffmpeg):
    """Image models transform each frame on its own, in two dimensions; others as the built-in one."""
    clip, width, height = source(3, "61x35"), 31, 18
    bands = f"wfvae=mode=subbands:model={GOLDEN}/"
    equal("image subbands' times", times(ffmpeg.frames(*clip, "-vf", f"{bands}v2-image")), times(ffmpeg.frames(*clip)))
    raw, found = (ffmpeg.run(*clip, *vf, "-f", "rawvideo", "-") for vf in [[], ["-vf", f"{bands}own-v2-groupnorm-image"]])
    equal("image subbands' size", len(found), 3 * 3 * 4 * width * height)
    for frame, plane, band in itertools.product(range(3), range(3), range(4)):
        pixel = lambda y, x: raw[((frame * 3 + plane) * 35 + min(y, 34)) * 61 + min(x, 60)]
        start = (frame * 3 + plane) * 4 * width * height + band * width
        wrong = 0
        # Below the labels.
        for y, x in itertools.product(range(12, height), range(width)):
            high = [(band >> 1) * dy + (band & 1) * dx for dy in range(2) for dx in range(2)]
            taps = [pixel(2 * y + dy, 2 * x + dx) for dy in range(2) for dx in range(2)]
            sum_ = sum(-tap if odd % 2 else tap for tap, odd in zip(taps, high))
            expected = min(max(128 + int(sum_ / 2), 0), 255) if band else (sum_ + 2) // 4
            wrong += found[start + y * 4 * width + x] != expected
        equal(f"image subbands: frame {frame}, plane {plane}, band {band}", wrong, 0)
    same = [ffmpeg.run(*clip, "-vf", vf, "-f", "rawvideo", "-") for vf in ["wfvae=mode=subbands", f"{bands}own-v2-2x"]]
    check("a video model's subbands", same[0] == same[1])


def memory(ffmpeg, folder):
    """Half precision caches, tiles and limits."""
    # Wide enough for two tiles with the built-in model's overlap.
    clip, wfvae = ["-i", CLIP], "trim=end_frame=5,scale=400:240,format=gbrp,wfvae"
    picture = lambda options: ffmpeg.run(*clip, "-vf", f"{wfvae}={options}", "-f", "rawvideo", "-")
    count, whole = 5 * 3 * 400 * 240, picture("chunk=4")
    equal("whole frames", len(whole), count)
    half = picture("cache=f16")
    check("cache=f16", half != whole and difference(half, whole) <= 8, difference(half, whole))
    exact = picture("tiles=exact:tile=352")
    check("exact tiles", difference(exact, whole) <= 1, difference(exact, whole))
    tiled = [picture(f"tiles=blended:tile=96:overlap={overlap}") for overlap in [0, 24, 48]]
    for other in tiled[1:]:
        check("blended tiles", 1 < difference(other, whole) < 128, difference(other, whole))
    check("overlaps", tiled[0] == tiled[1] != tiled[2])
    check("a frame in one tile", picture("tiles=blended:tile=1000") == whole)
    stored = folder / "tiled.mkv"
    ffmpeg.run(*clip, "-vf", f"{wfvae}=mode=encode:tiles=exact:tile=352:step=0.001", "-c:v", "ffv1", stored)
    decode = "wfvae=mode=decode:tiles=exact:tile=352,format=gbrp"
    both = ffmpeg.run("-i", stored, "-vf", decode, "-f", "rawvideo", "-")
    check("exact tiles of each direction", difference(both, whole) <= 2, difference(both, whole))

    def refused(name, options, *needles):
        text = ffmpeg.run(*clip, "-vf", f"{wfvae}={options}", "-f", "null", "-", ok=False)
        check(name, text is not None and all(needle in text for needle in needles), text)
        return text or ""

    text = refused("memory=1M", "memory=1M", "needs at least", "is 1000000 bytes", "cache=f16", "tiles=blended")
    needed = int(text.partition("at least ")[2].split()[0]) << 20
    check("just enough memory", picture(f"memory={needed}") == whole)
    refused("too little memory", f"memory={needed - (2 << 20)}", "needs at least")
    check("half the caches are less", picture(f"memory={needed * 9 // 10}:cache=f16") == half)
    # Attention takes the square of the area, so that the library finds tiles that fit.
    wfvae = "format=gbrp,wfvae"
    clip, attention = source(2, "480x320"), f"model={GOLDEN}/v2-tiny:memory=90M"
    refused("too little memory for attention", attention, "needs at least")
    equal("tiles that fit", len(picture(f"{attention}:tiles=blended")), 2 * 3 * 480 * 320)
    refused("a size without tiles", "tile=64", "tiles=blended")
    refused("an overlap without tiles", "overlap=8", "tiles=blended")
    refused("an overlap of exact tiles", "tiles=exact:tile=256:overlap=8", "tiles=blended")
    refused("exact tiles too small", "tiles=exact:tile=32", "overlap by")
    refused("exact tiles with attention", f"model={GOLDEN}/v2-tiny:tiles=exact", "attention", "blended")
    refused("no such tiles", "tiles=nonsense", "nonsense")
    refused("no such cache", "cache=f8", "f8")
    refused("memory below 0", "memory=-1", "memory")


def has_matrix_unit():
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    there = cpuinfo.exists() and "amx_bf16" in cpuinfo.read_text().split()
    return there and os.environ.get("WFVAE_CPU", "") in ("", "amx")


def computing(ffmpeg):
    """Kinds of convolutions and precisions: nearly the same pictures."""
    clip, wfvae = ["-i", CLIP], "trim=end_frame=5,format=gbrp,wfvae"
    picture = lambda options: ffmpeg.run(*clip, "-vf", f"{wfvae}={options}", "-f", "rawvideo", "-")
    whole = picture("provider=cpu")
    for convolution in ["exact", "fast", "direct", "stacked", "volume"]:
        other = picture(f"provider=cpu:convolution={convolution}")
        check(f"convolution={convolution}", difference(other, whole) <= 1, difference(other, whole))
        check(f"convolution={convolution} is not another's", (other == whole) == (convolution == "exact"))
    for layout in ["auto", "planes", "channels-last"]:
        other = picture(f"provider=cpu:convolution=stacked:layout={layout}")
        check(f"layout={layout}", difference(other, whole) <= 1, difference(other, whole))
    half = picture("precision=f16")
    check("precision=f16", half != whole and difference(half, whole) <= 4, difference(half, whole))
    # Only a matrix unit has it, and no lower level does.
    narrow = [*clip, "-vf", f"{wfvae}=provider=cpu:precision=bf16", "-f", "rawvideo", "-"]
    if has_matrix_unit():
        other = ffmpeg.run(*narrow)
        check("precision=bf16", other != whole and difference(other, whole) <= 24, difference(other, whole))
    else:
        text = ffmpeg.run(*narrow, ok=False)
        check("precision=bf16", text is not None and "no matrix unit" in text, text)
    text = ffmpeg.run(*narrow, ok=False, environment={"WFVAE_CPU": "scalar"})
    check("precision=bf16 without a matrix unit", text is not None and "no matrix unit" in text, text)
    for options, needle in [
        ("provider=cpu:precision=tf32", "the CPU has no such mode"),
        ("provider=cpu:precision=bf16:convolution=direct", "take convolution exact or fast"),
        ("provider=cuda:device=2", "CUDA device 2: "),
        ("precision=f8", "f8"),
        ("convolution=nonsense", "nonsense"),
        ("layout=nonsense", "nonsense"),
    ]:
        text = ffmpeg.run(*clip, "-vf", f"{wfvae}={options}", "-f", "null", "-", ok=False)
        check(options, text is not None and needle in text, text)


def numbered(length, rate, times="N"):
    """A clip with the given times, in units of the rate. Its arguments end with a filter, for others to follow."""
    rate = fractions.Fraction(rate)
    unit = f"(1/({rate.numerator}/{rate.denominator})/TB)"
    clip = ["-f", "lavfi", "-i", f"life=s=64x48:r={rate.numerator}/{rate.denominator}:mold=10:random_seed=1,"
            f"trim=end_frame={length},format=gbrp"]
    return [*clip, "-vf", "null" if times == "N" else f"setpts='({times})*{unit}'"]


def store(ffmpeg, folder, kind, clip, rate, unit=4):
    """Encodes a clip to latents in a container, as users do, and returns the arguments that read it."""
    rate = fractions.Fraction(rate) / unit
    slow = ["-framerate", f"{rate.numerator}/{rate.denominator}"]
    encode = [*clip[:-1], f"{clip[-1]},wfvae=mode=encode"]
    if kind == "png":
        for old in folder.glob("l_*.png"):
            old.unlink()
        ffmpeg.run(*encode, folder / "l_%03d.png")
        return [*slow, "-i", folder / "l_%03d.png"]
    if kind == "raw":
        ffmpeg.run(*encode, "-f", "rawvideo", folder / "l.raw")
        width, height = latent_size(ffmpeg)
        return ["-f", "rawvideo", "-pix_fmt", "gray16le", "-s", f"{width}x{height}", *slow, "-i", folder / "l.raw"]
    out = folder / f"l.{kind}"
    ffmpeg.run(*encode, *(["-strict", "-1"] if kind == "y4m" else ["-c:v", "ffv1"]), out)
    return ["-i", out]


def latent_size(ffmpeg, cache=[]):
    """Of the built-in model's latents of 64x48."""
    if not cache:
        text = ffmpeg.words(*source(1, "64x48"), "-vf", "wfvae=mode=encode,showinfo", "-f", "null", "-", level="info")
        cache += map(int, re.search(r" s:(\d+)x(\d+) ", text).groups())
    return cache


def containers(ffmpeg, folder, full):
    """Every frame has its own time, whatever the container makes of the latents' times. As users call it: nothing is said
    of time bases or of how frames are timed, but for the rate of files that have none."""
    decode = "wfvae=mode=decode"
    steady = "N"
    gaps = "N+3*floor(N/5)+trunc(N/9)"
    jitter = "2*N+mod(N*N,2)/2+mod(N,3)/4"
    every = "mkv nut mov avi png raw y4m"
    cases = [
        ("25", steady, every),
        ("24000/1001", steady, "mkv mov"),
        ("30000/1001", gaps, "mkv mov avi raw"),
        ("50", jitter, "mkv nut"),
        ("120", steady, "mkv"),
        ("2997/100", steady, "avi"),
        ("1/3", steady, "nut"),
    ]
    for rate, times_, kinds in cases:
        clip = numbered(22, rate, times_)
        expected = ffmpeg.seconds(*clip)
        equal(f"source at {rate}", len(set(expected)), 22)
        one = [*clip[:-1], f"{clip[-1]},wfvae=mode=encode,{decode}"]
        equal(f"{rate} {times_}: one process", ffmpeg.seconds(*one), expected)
        equal(f"{rate} {times_}: roundtrip", ffmpeg.seconds(*clip[:-1], f"{clip[-1]},wfvae"), expected)
        for kind in (every if full else kinds).split():
            stored = store(ffmpeg, folder, kind, clip, rate)
            equal(f"{rate} {times_}: {kind}", ffmpeg.seconds(*stored, "-vf", decode), expected)
            if times_ == steady:
                # Without a word about time bases, which are then a frame long.
                default = ffmpeg.run(*stored, "-vf", decode, "-f", "framecrc", "-").decode().splitlines()
                pts = [int(line.split(",")[2]) for line in default if not line.startswith("#")]
                equal(f"{rate}: {kind}, nothing lost", pts, list(range(22)))
    # Faster than the rate that is announced, then with long gaps: no two latents may fall together.
    clip = numbered(40, "25")
    clip[-1] = "settb=1/1000,setpts='if(lt(N,8),N*40,320+(N-8)*10+1000*gt(N,30))'"
    expected = ffmpeg.seconds(*clip)
    for kind in ["mkv", "mov"]:
        stored = store(ffmpeg, folder, kind, clip, "25")
        equal(f"a burst: {kind}", ffmpeg.seconds(*stored, "-vf", decode), expected)
    # A wrong rate of the latents moves nothing either.
    clip = numbered(22, "25")
    stored = store(ffmpeg, folder, "png", clip, "25")
    for rate in ["25", "1", "1000"]:
        equal(f"read at {rate}/s", ffmpeg.seconds("-framerate", rate, *stored[2:], "-vf", decode), ffmpeg.seconds(*clip))
    text = ffmpeg.words("-framerate", "1", *stored[2:], "-vf", decode, "-f", "null", "-")
    equal("a wrong rate is said to be one, once", text.count("-framerate"), 1)

    # The clip's start: late, below zero, after a seek; and hours between two frames, in nanoseconds.
    for name, times_ in [("late start", "N+1000"), ("negative", "N-7")]:
        clip = numbered(14, "25", times_)
        ffmpeg.run(*clip[:-1], f"{clip[-1]},wfvae=mode=encode", "-c:v", "ffv1", folder / "start.nut")
        equal(name, ffmpeg.seconds("-copyts", "-i", folder / "start.nut", "-vf", decode), ffmpeg.seconds(*clip))
    clip = numbered(14, "25")
    clip[-1] = "settb=1/1000000000,setpts='N*40000000+if(gte(N,7),20000000000000)'"
    stored = folder / "hours.nut"
    ffmpeg.run(*clip[:-1], f"{clip[-1]},wfvae=mode=encode", "-c:v", "ffv1", stored)
    hours = [fractions.Fraction(n, 25) + (20000 if n >= 7 else 0) for n in range(14)]
    for name, arguments in [("one process", [*clip[:-1], f"{clip[-1]},wfvae=mode=encode,{decode}"]),
                            ("stored", ["-i", stored, "-vf", decode])]:
        equal(f"hours between frames, {name}", ffmpeg.seconds(*arguments), hours)
    for kind in ["mkv", "mov"]:
        stored = store(ffmpeg, folder, kind, numbered(22, "25"), "25")
        # The first latent from there on is that of 0.32 s.
        found = ffmpeg.seconds("-ss", "0.3", *stored, "-vf", decode)
        expected = [fractions.Fraction(n, 25) - fractions.Fraction(3, 10) for n in range(8, 22)]
        check(f"seek in {kind}", len(found) == 14 and all(abs(a - b) <= 0.001 for a, b in zip(found, expected)), found)


def old_latents(ffmpeg):
    """A file of the header's version 1: 11 frames at 25/s."""
    found = ffmpeg.seconds("-i", OLD, "-vf", "wfvae=mode=decode")
    equal("old latents: times", found, [fractions.Fraction(n, 25) for n in range(11)])
    clip = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25,trim=end_frame=11,format=gbrp"]
    raw = lambda *arguments: ffmpeg.run(*arguments, "-f", "rawvideo", "-pix_fmt", "gbrp", "-")
    apart = difference(raw("-i", OLD, "-vf", "wfvae=mode=decode"), raw(*clip, "-vf", "wfvae"))
    check("old latents: pictures", apart <= 8, apart)


def joined(ffmpeg, folder):
    """A clip begins where the one before it ends, though a container counts whole latents."""
    decode, listed = "wfvae=mode=decode", folder / "list.txt"

    def join(*files):
        listed.write_text("".join(f"file '{file}'\n" for file in files))
        return ffmpeg.seconds("-f", "concat", "-safe", 0, "-i", listed, "-vf", decode)

    old = os.path.abspath(OLD)
    equal("joined: old", join(old, old, old), [fractions.Fraction(n, 25) for n in range(33)])
    for kind in ["mkv", "mov", "avi"]:
        for rate in ["25", "30000/1001"]:
            files, total = [], 0
            for length in [1, 11, 1, 1, 7, 13]:
                stored = store(ffmpeg, folder, kind, numbered(length, rate), rate)[-1]
                files.append(folder / f"join{length}.{kind}")
                shutil.copy(stored, files[-1])
                total += length
            equal(f"joined: {kind} at {rate}", join(*files), [n / fractions.Fraction(rate) for n in range(total)])
    # Where ffmpeg hands exact times and durations on, the container lasts as long as the clip.
    for length in [] if ffmpeg.is_5 else [1, 9, 10, 11, 12]:
        clip, out = numbered(length, "25"), folder / "exact.mkv"
        ffmpeg.run(*clip[:-1], f"{clip[-1]},wfvae=mode=encode", "-c:v", "ffv1", *ffmpeg.exact, out)
        text = ffmpeg.words("-i", out, "-f", "null", "-", level="info")
        check(f"{length} frames last as long as the clip", f"Duration: 00:00:00.{4 * length:02d}," in text, text)
    # A pause that the list asks for stays.
    first, second = folder / "join11.mkv", folder / "join7.mkv"
    for length, out in [(11, first), (7, second)]:
        shutil.copy(store(ffmpeg, folder, "mkv", numbered(length, "25"), "25")[-1], out)
    listed.write_text(f"file '{first}'\nduration 2\nfile '{second}'\n")
    expected = [fractions.Fraction(n, 25) for n in range(11)] + [2 + fractions.Fraction(n, 25) for n in range(7)]
    equal("joined with a pause", ffmpeg.seconds("-f", "concat", "-safe", 0, "-i", listed, "-vf", decode), expected)
    # Files without times.
    stored = store(ffmpeg, folder, "raw", numbered(11, "25"), "25")
    stored[-1].write_bytes(2 * stored[-1].read_bytes())
    equal("joined: raw", ffmpeg.seconds(*stored, "-vf", decode), [fractions.Fraction(n, 25) for n in range(22)])


def crafted(frame, values):
    """A latent frame with other bytes from these samples of its header on, and the checksum of that."""
    frame, checksum = bytearray(frame), 2 * 98
    for sample, value in values.items():
        frame[2 * sample : 2 * sample + len(value)] = value
    frame[checksum : checksum + 4] = struct.pack("<I", zlib.crc32(frame[:checksum] + frame[checksum + 4 :]))
    return bytes(frame)


def hostile_times(whole, size):
    """Joined clips of one frame, with times whose sums no 64 bits hold."""
    near = 2**60 - 2
    far = [-(2**63), -(2**62), -near, 2**59, near, 2**62, 2**63 - 1]
    for name, places in [("pts", [26]), ("slots", [30]), ("times", [34]), ("durations", [66]), ("all", [26, 30, 34, 66])]:
        for order in far, far[::-1], [near] * 9 + [-near] * 9:
            # Counted about as finely as the filter does, so that much is just not too far off. Each is the last of its clip,
            # or the same one again would be a repetition.
            common = {17: struct.pack("<ii", 1, 576000000), 22: struct.pack("<ii", 576000000, 1), 21: struct.pack("<H", 1)}
            clips = (crafted(whole[:size], common | {place: struct.pack("<q", time) for place in places}) for time in order)
            yield name, b"".join(clips)


def damaged_latents(ffmpeg, folder):
    """A latent that cannot be read costs its own frames and those that need it, and the file goes on."""
    decode = "wfvae=mode=decode"
    stored = store(ffmpeg, folder, "raw", numbered(22, "25"), "25")
    whole, path = stored[-1].read_bytes(), stored[-1]
    width, height = latent_size(ffmpeg)
    size = 2 * width * height
    equal("latents", len(whole), 7 * size)
    frames_of = lambda n: range(0, 1) if n == 0 else range(4 * n - 3, min(4 * n + 1, 22))

    def left(*lost):
        """A latent after a lost one gives its last frame only."""
        kept = []
        for n in range(7):
            if n not in lost:
                kept += list(frames_of(n))[-1:] if n - 1 in lost else frames_of(n)
        return [fractions.Fraction(n, 25) for n in kept]

    def spoil(lost, place):
        data = bytearray(whole)
        for n in lost:
            data[n * size + place] ^= 0x10
        path.write_bytes(data)

    for lost, place in [([2], size - 100), ([0], size - 100), ([6], 4), ([1, 2], 0), ([3], 2 * 3), ([2, 4], 2 * 36)]:
        spoil(lost, place)
        equal(f"damaged latents {lost} at {place}", ffmpeg.seconds(*stored, "-vf", decode), left(*lost))
        text = ffmpeg.words(*stored, "-vf", decode, "-f", "null", "-", level="error")
        equal(f"damaged latents {lost} at {place} are said", text.count("atent frame"), len(lost))
        text = ffmpeg.run(*stored, "-vf", f"{decode}:strict=1", "-f", "null", "-", ok=False)
        check(f"damaged latents {lost} at {place}: strict", text is not None and "atent frame" in text, text)
    text = ffmpeg.words(*stored, "-vf", decode, "-f", "null", "-")
    equal("after a damaged latent", text.count("approximate"), 2)
    spoil(range(7), 100)
    text = ffmpeg.run(*stored, "-vf", decode, "-f", "null", "-", ok=False)
    check("all damaged", text is not None and "No latent frame could be read" in text, text)
    spoil_all = bytearray(40 * whole)
    for n in range(280):
        spoil_all[n * size] ^= 1
    path.write_bytes(spoil_all)
    text = ffmpeg.run(*stored, "-vf", decode, "-f", "null", "-", ok=False)
    check("no latents at all end early", text is not None and text.count("Not a latent") == 32, text)

    # Values that no encoder writes, with a good checksum.
    for step in [1e38, 3e3, 1e-7, 0.0, -0.02, float("inf"), float("nan")]:
        third = crafted(whole[2 * size : 3 * size], {10: struct.pack("<f", step)})
        path.write_bytes(whole[: 2 * size] + third + whole[3 * size :])
        equal(f"a step of {step}", ffmpeg.seconds(*stored, "-vf", decode), left(2))
    for name, data in hostile_times(whole, size):
        path.write_bytes(data)
        # Raw, as other muxers refuse times that go back.
        raw = ffmpeg.run(*stored, "-vf", f"{decode},format=gbrp", "-fps_mode", "passthrough", "-f", "rawvideo", "-")
        equal(f"hostile times, {name}", len(raw), len(data) // size * 3 * 64 * 48)

    # The same pictures as of a decoder that starts there.
    spoil([2], size - 100)
    picture = 3 * 64 * 48
    pictures = lambda: ffmpeg.run(*stored, "-vf", f"{decode},format=gbrp", "-fps_mode", "passthrough", "-f", "rawvideo", "-")
    around = pictures()
    path.write_bytes(whole[3 * size :])
    after = pictures()
    check("pictures after a damaged latent", around[-len(after) :] == after and len(around) == 5 * picture + len(after))

    # Latents that are not there, and one of another size.
    stored = store(ffmpeg, folder, "mkv", numbered(22, "25"), "25")
    equal("a lost latent", ffmpeg.seconds(*stored, "-vf", f"select='not(eq(n,3))',{decode}"), left(3))
    for n in range(7):
        size = "64x48" if n != 3 else "32x48"
        ffmpeg.run(*source(1, size), "-vf", "wfvae=mode=encode", "-frames:v", 1, folder / f"sized{n}.png")
    mixed = ["-reinit_filter", 0, "-framerate", "25", "-i", folder / "sized%d.png", "-vf", f"scale=iw:ih:eval=frame,{decode}"]
    equal("one of another size", len(ffmpeg.seconds(*mixed)), 6)


def alpha(ffmpeg, folder):
    """Alpha goes round the model with its own frame; latents have none, which is said once."""
    length, plane, path = 11, 64 * 48, folder / "alpha.raw"
    for fmt, bytes_ in [("gbrap", 1), ("gbrap10le", 2), ("gbrap12le", 2), ("gbrap16le", 2), ("gbrapf32le", 4)]:
        opaque = fmt.replace("gbrap", "gbrp")
        pictures = ffmpeg.run(*source(length, "64x48"), "-pix_fmt", opaque, "-f", "rawvideo", "-")
        size = 3 * plane * bytes_
        alphas = []
        for n in range(length):
            values = [(n * 37 + i * 11) % 251 for i in range(plane)]
            alphas.append(bytes(values) if bytes_ == 1 else
                          struct.pack(f"<{plane}{'H' if bytes_ == 2 else 'f'}", *[v / 256 if bytes_ == 4 else v for v in values]))
        path.write_bytes(b"".join(pictures[n * size : (n + 1) * size] + alphas[n] for n in range(length)))
        clip = ["-f", "rawvideo", "-pix_fmt", fmt, "-s", "64x48", "-i", path]
        found = ffmpeg.run(*clip, "-vf", "wfvae", "-f", "rawvideo", "-")
        path2 = folder / "opaque.raw"
        path2.write_bytes(pictures)
        model = ffmpeg.run("-f", "rawvideo", "-pix_fmt", opaque, "-s", "64x48", "-i", path2, "-vf", "wfvae", "-f", "rawvideo", "-")
        expected = b"".join(model[n * size : (n + 1) * size] + alphas[n] for n in range(length))
        check(f"alpha, {fmt}", found == expected and len(model) == length * size)
        for mode in ["roundtrip", "encode", "subbands"]:
            text = ffmpeg.words(*clip, "-vf", f"wfvae=mode={mode}", "-f", "null", "-")
            equal(f"alpha, {fmt}, {mode}: warnings", text.count("Alpha is dropped"), int(mode != "roundtrip"))
    # What has no alpha gets none.
    text = ffmpeg.words(*source(2, "64x48", fmt="yuv420p"), "-vf", "wfvae,showinfo", "-f", "null", "-", level="info")
    check("no alpha", "fmt:gbrp" in text and "fmt:gbrap" not in text, text)


def warnings(ffmpeg, folder):
    """What the results do not show is said, once."""
    clip = source(9, "64x48")
    for mode in ["roundtrip", "encode", "subbands"]:
        for field, count in [("tff", 1), ("bff", 1), ("prog", 0)]:
            text = ffmpeg.words(*clip, "-vf", f"setfield={field},wfvae=mode={mode}", "-f", "null", "-")
            equal(f"interlaced {field}, {mode}", text.count("nterlaced frames"), count)
    for step, count in [(0.02, 0), (1e-6, 1)]:
        text = ffmpeg.words(*clip, "-vf", f"wfvae=mode=encode:step={step}", "-f", "null", "-")
        equal(f"values beyond 16 bits, step {step}", text.count("did not fit 16 bits; use a larger step"), count)
    # The library's own words.
    model = folder / "newer"
    shutil.copytree(BUILTIN, model)
    config = json.loads((model / "config.json").read_text())
    config["a_field_of_tomorrow"] = 1
    (model / "config.json").write_text(json.dumps(config))
    text = ffmpeg.words(*clip, "-vf", f"wfvae=model={model}", "-f", "null", "-")
    equal("the library's warnings", text.count("a_field_of_tomorrow"), 1)
    return model


def refusals(ffmpeg, folder):
    """What was changed on the way is not decoded."""
    stored = folder / "stored.mkv"
    ffmpeg.run("-i", CLIP, "-vf", "trim=end_frame=9,wfvae=mode=encode", "-c:v", "ffv1", stored)
    raw = ffmpeg.run("-i", stored, "-f", "rawvideo", "-")
    width, height = 160, 121
    equal("latent frame", len(raw), 3 * 2 * width * height)

    def refused(name, needle, *arguments):
        text = ffmpeg.run(*arguments, "-f", "null", "-", ok=False)
        check(name, text is not None and needle in text, text)

    decode = "wfvae=mode=decode"
    damaged = folder / "damaged.raw"
    reader = ["-f", "rawvideo", "-pix_fmt", "gray16le", "-s", f"{width}x{height}", "-i", damaged]
    for place in [0, 4, 2 * 20, 2 * width * 50 + 7]:
        bytes_ = bytearray(raw)
        bytes_[2 * width * height + place] ^= 1
        damaged.write_bytes(bytes_)
        refused(f"a changed bit at {place}", "atent frame", *reader, "-vf", f"{decode}:strict=1")
    damaged.write_bytes(raw)
    equal("undamaged", len(ffmpeg.frames(*reader, "-vf", decode)), 9)
    refused("scaled", "Not a latent frame", "-i", stored, "-vf", f"scale=80:60,scale={width}:{height},format=gray16,{decode}")
    refused("another size", "do not hold latents", "-i", stored, "-vf", f"scale=96:64,format=gray16,{decode}")
    refused("8 bits", "atent frame", "-i", stored, "-vf", f"format=gray,format=gray16,{decode}")
    refused("a video", "atent", "-i", CLIP, "-vf", f"scale={width}:{height},format=gray16,{decode}")
    refused("wrong size option", "size=", "-i", stored, "-vf", f"{decode}:size=300x200")
    for i, size in enumerate(["96x64", "64x48"]):
        ffmpeg.run(*source(1, size), "-vf", "wfvae=mode=encode,format=gray16be", folder / f"size{i}.png")
    mixed, scale = ["-reinit_filter", 0, "-i", folder / "size%d.png"], "scale=iw:ih:eval=frame,format=gray16le"
    refused("another size in the middle", "in the middle", *mixed, "-vf", f"{scale},{decode}:strict=1")
    refused("a video's size in the middle", "in the middle", *mixed, "-vf", "scale=iw:ih:eval=frame,format=gbrp,wfvae")
    # The same shape, one weight of the encoder another.
    other = folder / "other"
    shutil.copytree(BUILTIN, other)
    weights = other / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    refused("another encoder", "any_encoder=1", "-i", stored, "-vf", f"{decode}:model={other}")
    text = ffmpeg.words("-i", stored, "-vf", f"{decode}:model={other}:any_encoder=1", "-f", "null", "-")
    equal("another encoder's latents all the same", text.count("another encoder"), 1)
    equal("all of them", len(ffmpeg.frames("-i", stored, "-vf", f"{decode}:model={other}:any_encoder=1")), 9)

    # A decoder that was tuned beside the same encoder; the decoder alone.
    header, start, data = tensors(BUILTIN)
    tuned, alone = (shutil.copytree(BUILTIN, folder / name) / weights.name for name in ("tuned", "alone"))
    place = start + header["decoder.conv_out.weight"]["data_offsets"][0]
    tuned.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    header = {name: value for name, value in header.items() if name.startswith("decoder.")}
    values = b""
    for value in header.values():
        first, end = value["data_offsets"]
        value["data_offsets"] = [len(values), len(values) + end - first]
        values += data[start + first : start + end]
    text = json.dumps(header).encode()
    alone.write_bytes(struct.pack("<Q", len(text)) + text + values)
    text = ffmpeg.words("-i", stored, "-vf", f"{decode}:model={tuned.parent}", "-f", "null", "-")
    check("a tuned decoder needs no option", "encoder" not in text, text)
    equal("a tuned decoder", len(ffmpeg.frames("-i", stored, "-vf", f"{decode}:model={tuned.parent}")), 9)
    refused("a decoder alone", "no encoder to compare with; any_encoder=1", "-i", stored, "-vf", f"{decode}:model={alone.parent}")
    whole, found = (
        ffmpeg.run("-i", stored, "-vf", f"{decode}{options}", "-f", "rawvideo", "-pix_fmt", "gbrp", "-")
        for options in ("", f":model={alone.parent}:any_encoder=1")
    )
    check("a decoder alone, any encoder", found == whole and len(whole) == 9 * 3 * 320 * 240)

    for name, options, needle in [
        ("no model", f"model={folder}/none", "No such file"),
        ("no GPU", "provider=cuda", "CUDA"),
        ("bad mode", "mode=nonsense", "nonsense"),
        ("bad step", "mode=encode:step=0", "step"),
    ]:
        refused(name, needle, *source(3, "64x48"), "-vf", f"wfvae={options}")
    refused("damaged model", "safetensors", *source(3, "64x48"), "-vf", f"wfvae=model={truncated(folder)}")


def tensors(model):
    """A safetensors file: its header, where its data begins, and all of it."""
    data = (pathlib.Path(model) / "diffusion_pytorch_model.safetensors").read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:start]), start, data


def truncated(folder):
    target = folder / "truncated"
    shutil.copytree(BUILTIN, target)
    os.truncate(target / "diffusion_pytorch_model.safetensors", 100_000)
    return target


def c_api(ffmpeg):
    """The filter's pictures are the library's own."""
    for size in ["64x48", "61x35"]:
        raw, out = (ffmpeg.run(*source(11, size), *vf, "-f", "rawvideo", "-") for vf in [[], ["-vf", "wfvae"]])
        check(f"C API {size}", out == c_program(raw, size))


def has_cuda(ffmpeg):
    """Whether the build takes frames in a CUDA device's memory: where NVIDIA's headers could be had."""
    hwaccels = subprocess.run([ffmpeg.path, "-v", "error", "-hwaccels"], capture_output=True, text=True).stdout
    return "cuda" in hwaccels.split()


def without_device(ffmpeg):
    """Frames on the CPU stay there in a build with CUDA, whatever comes after the filter. Where there is no driver, FFmpeg says so."""
    if not has_cuda(ffmpeg):
        return
    clip = source(6, "64x48")
    for name, vf, size in [
        ("roundtrip", "wfvae,format=nv12|cuda", 64 * 48 * 3 // 2),
        ("roundtrip of gray", "format=gray,wfvae,format=cuda|gray", 64 * 48),
        ("decode", "wfvae=mode=encode,wfvae=mode=decode,format=cuda|gbrp", 64 * 48 * 3),
    ]:
        equal(f"no device: {name}", len(ffmpeg.run(*clip, "-vf", vf, "-f", "rawvideo", "-")), 6 * size)
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pass
    else:
        return
    device = ["-init_hw_device", "cuda=cu:0,primary_ctx=1"]
    text = ffmpeg.run(*device, *clip, "-vf", "format=nv12,hwupload,wfvae", "-f", "null", "-", ok=False)
    check("no device: none is made", text is not None and "libcuda.so.1" in text and "wfvae" not in text, text)
    # The encoder takes frames of both kinds and comes as far as its driver.
    text = ffmpeg.run(*clip, "-vf", "wfvae", "-c:v", "h264_nvenc", "-f", "null", "-", ok=False)
    check("no device: an encoder on a device", text is not None and "libcuda.so.1" in text and "convert" not in text, text)


def cuda_stub(ffmpeg, stub):
    """Frames in the memory of a device that computes nothing. What is checked: that they never leave it, how many come out, and when.
    The stub ends the process where the CPU touches the device's memory."""
    check("built with CUDA", has_cuda(ffmpeg))
    environment = {
        "LD_LIBRARY_PATH": f"{os.path.abspath(stub)}/wheel/nvidia/stub/lib",
        "WFVAE_ONNXRUNTIME": f"{os.path.abspath(stub)}/libonnxruntime.so.1",
    }
    primary = ["-init_hw_device", "cuda=cu:0,primary_ctx=1"]
    run = lambda *arguments, **more: ffmpeg.run(*arguments, environment=environment, **more)

    def on_device(fmt, options, after=None):
        return f"format={fmt},hwupload,wfvae{options},{after or f'hwdownload,format={fmt}'}"

    def moments(*arguments):
        lines = run(*primary, *arguments, *ffmpeg.exact, "-f", "framecrc", "-").decode().splitlines()
        return [line.split(",")[2:5] for line in lines if not line.startswith("#")]

    formats = ["nv12", "p010", "p016", "yuv420p", "yuv444p", "yuv444p16", "0rgb32", "0bgr32"]
    formats += [] if ffmpeg.is_5 else ["rgb32", "bgr32"]
    lengths = [1, 2, 5, 7, 12]
    little = {"p010": "p010le", "p016": "p016le", "yuv444p16": "yuv444p16le", "0rgb32": "bgr0", "0bgr32": "rgb0"}
    little.update({"rgb32": "bgra", "bgr32": "rgba"})
    for i, fmt in enumerate(formats):
        name, size, vfr = little.get(fmt, fmt), ["64x48", "62x36"][i % 2], i % 3 == 0
        clip = source(lengths[i % len(lengths)], size, vfr, name)
        expected = moments(*clip, "-vf", f"format={name},hwupload,hwdownload,format={name}")
        text = f"{name} on the device, {len(expected)} frames {size} vfr={vfr}"
        equal(text, moments(*clip, "-vf", on_device(name, "=provider=cuda")), expected)
        check(f"{text}: as many as there are", len(expected) == lengths[i % len(lengths)])
    clip = source(13, "64x48")
    expected = moments(*clip, "-vf", "format=nv12,hwupload,hwdownload,format=nv12")
    for options in ["", "=chunk=1", "=chunk=7:device=0", "=cache=f16:memory=8G"]:
        equal(f"on the device, {options}", moments(*clip, "-vf", on_device("nv12", options)), expected)
    equal("on the device, two in series", moments(*clip, "-vf", on_device("nv12", ",wfvae")), expected)
    stop = [*clip, "-vf", on_device("nv12", ""), "-frames:v", 5]
    equal("on the device, early stop", moments(*stop), expected[:5])
    beside = "format=nv12,hwupload,split[a][b];[a]wfvae,hwdownload,format=nv12[c];[b]hwdownload,format=nv12[d];[c][d]hstack"
    equal("on the device, beside the original", len(moments(*clip, "-vf", beside)), 13)
    latents = run(*primary, *clip, "-vf", on_device("nv12", "=mode=encode", "format=gray16"), *ffmpeg.exact, "-f", "rawvideo", "-")
    plain = run(*clip, "-vf", "wfvae=mode=encode:provider=cpu", *ffmpeg.exact, "-f", "rawvideo", "-")
    equal("on the device, latents", len(latents), len(plain))
    back = on_device("nv12", "=mode=encode", "wfvae=mode=decode,format=gbrp")
    equal("on the device, latents and back", len(moments(*clip, "-vf", back)), 13)

    def refused(name, vf, *needles, device=primary):
        text = run(*device, *clip, "-vf", vf, "-f", "null", "-", ok=False)
        check(f"on the device, {name}", text is not None and "cuda-stub" not in text and all(n in text for n in needles), text)

    other = ["-init_hw_device", "cuda=cu:0"]
    refused("another context", on_device("nv12", ""), "primary context of CUDA device 0", "primary_ctx=1", device=other)
    refused("its own context", "format=nv12,hwupload_cuda,wfvae", "primary_ctx=1", device=[])
    refused("another device", on_device("nv12", "=device=1"), "device=1", "CUDA device 0")
    refused("provider=cpu", on_device("nv12", "=provider=cpu"), "provider=cpu", "hwdownload,format=nv12")
    refused("tiles", on_device("nv12", "=tiles=blended"), "tiles", "hwdownload,format=nv12")
    refused("another format", on_device("yuva420p", ""), "yuva420p", "scale_cuda")
    tagged = on_device("nv12", "").replace("wfvae", "setparams=colorspace=ycgco,wfvae")
    refused("another color space", tagged, "ycgco", "setparams")
    repaired = tagged.replace("wfvae", "setparams=colorspace=bt709,wfvae")
    equal("on the device, another color space, repaired", len(moments(*clip, "-vf", repaired)), 13)
    alpha = [] if ffmpeg.is_5 else ["bgra", "rgba"]
    for fmt in alpha:
        command = [ffmpeg.path, "-v", "warning", *primary, *clip, "-vf", on_device(fmt, ""), "-f", "null", "-"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=TIME, env={**os.environ, **environment})
        check(f"on the device, {fmt}: a warning", result.stderr.count("Alpha is dropped") == 1, result.stderr[-500:])


def frei0r(ffmpeg, stock, plugins):
    """In an ffmpeg that knows nothing of libwfvae."""
    delay = 5
    chain = f"tpad=stop_mode=clone:stop={delay},frei0r=wfvae,trim=start_frame={delay},setpts=PTS-{delay}/FRAME_RATE/TB,format=gbrp"
    for length in [1, 4, 6, 16]:
        clip = source(length, "64x48")
        plugin = stock.run(*clip, "-vf", chain, "-f", "rawvideo", "-", environment={"FREI0R_PATH": plugins})
        own = ffmpeg.run(*clip, "-vf", "wfvae", "-f", "rawvideo", "-")
        equal(f"frei0r: {length} frames", len(plugin), len(own))
        # The plugin cannot know that the clip ends, so the frames that the decoder's flush gives are its own.
        sure = (length - 2) * 64 * 48 * 3
        check(f"frei0r: pictures of {length} frames", plugin[: max(sure, 0)] == own[: max(sure, 0)])
    # An image model has no delay. What needs the whole clip fails with the reason, and the clip goes on in black.
    for name in ["own-v2-image-clip", "own-v2-groupnorm"]:
        model, clip = f"{GOLDEN}/{name}", source(6, "64x48")
        command = [stock.path, "-v", "error", *clip, "-vf", f"frei0r=wfvae:{model},format=gbrp", "-f", "rawvideo", "-"]
        result = subprocess.run(
            command, capture_output=True, timeout=TIME, stdin=subprocess.DEVNULL, env={**os.environ, "FREI0R_PATH": plugins}
        )
        equal(f"frei0r, {name}", (result.returncode, len(result.stdout)), (0, 6 * 64 * 48 * 3))
        if name == "own-v2-groupnorm":
            check(f"frei0r, {name}: error", b"groupnorm" in result.stderr and not any(result.stdout[64 * 48 * 3 :]))
        else:
            own = ffmpeg.run(*clip, "-vf", f"wfvae=model={model}", "-f", "rawvideo", "-")
            check(f"frei0r, {name}: pictures", result.stdout == own, result.stderr)


# A host of the plugin: frames with alpha of their own go in; what comes out is printed.
HOST = """
import ctypes, sys
plugin = ctypes.CDLL(sys.argv[1])
plugin.f0r_construct.restype = ctypes.c_void_p
call = lambda name, *arguments: getattr(plugin, name)(*arguments)
call("f0r_init")
instance = ctypes.c_void_p(call("f0r_construct", 64, 48))
if len(sys.argv) > 2:
    path = ctypes.c_char_p(sys.argv[2].encode())
    call("f0r_set_param_value", instance, ctypes.byref(path), 0)
    given = ctypes.c_char_p()
    call("f0r_get_param_value", instance, ctypes.byref(given), 0)
    assert given.value == path.value, given.value
for n in range(14):
    pixels = bytes(value for i in range(64 * 48) for value in (90, 120, 150, (n * 37 + i * 11) % 251))
    out = ctypes.create_string_buffer(len(pixels))
    call("f0r_update", instance, ctypes.c_double(n / 25), ctypes.create_string_buffer(pixels, len(pixels)), out)
    sys.stdout.buffer.write(out.raw)
call("f0r_destruct", instance)
"""


def frei0r_alpha(plugins, model):
    """Alpha comes out with its own frame, and the library's warnings reach standard error."""
    size, delay = 4 * 64 * 48, 5
    command = ["python3", "-c", HOST, f"{plugins}/wfvae.so"]
    for arguments, said in [([], 0), ([model], 1)]:
        result = subprocess.run([*command, *arguments], capture_output=True, timeout=TIME)
        equal("frei0r in a host", (result.returncode, len(result.stdout)), (0, 14 * size))
        equal("frei0r: the library's warnings", result.stderr.count(b"a_field_of_tomorrow"), said)
        frames = [result.stdout[n * size : (n + 1) * size] for n in range(14)]
        check("frei0r: nothing before the first frame", not any(b"".join(frames[:delay])))
        for n in range(14 - delay):
            expected = bytes((n * 37 + i * 11) % 251 for i in range(64 * 48))
            check(f"frei0r: alpha of frame {n}", frames[n + delay][3::4] == expected)
            check(f"frei0r: picture of frame {n}", frames[n + delay][:2] != b"\0\0")


def documented_commands(name, heading):
    text = pathlib.Path(name).read_text()
    block = text.split(heading, 1)[1].split("```sh\n", 1)[1].split("```", 1)[0]
    lines = (line.split("  # ")[0].rstrip() for line in block.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def documentation(stock, plugins):
    """Users copy the commands of README.md and docs/ffmpeg.md; each is run as it stands, in a folder with a clip."""
    short = documented_commands("README.md", "## Use it from FFmpeg")
    commands = list(dict.fromkeys(short + documented_commands("docs/ffmpeg.md", "## Commands")))
    check("the documentation has its commands", len(short) >= 3 and len(commands) >= 6)
    with tempfile.TemporaryDirectory() as folder:
        stock.run("-i", CLIP, "-frames:v", 12, "-c:v", "ffv1", f"{folder}/in.mkv")
        for command in commands:
            if "FREI0R_PATH" in command and not plugins:
                continue
            command = command.replace("target/", os.path.abspath("target") + "/")
            result = subprocess.run(
                ["sh", "-c", command], cwd=folder, capture_output=True, timeout=TIME, stdin=subprocess.DEVNULL
            )
            check(command, result.returncode == 0, result.stderr.decode()[-800:])
        made = sorted(path.stem for path in pathlib.Path(folder).glob("*.mkv") if path.stat().st_size > 1000)
        expected = ["compare", "decoded", "in", "latents", "out", "subbands"] + (["stock"] if plugins else [])
        equal("the files of documented commands", made, sorted(expected))


def sanitizers(ffmpeg, folder):
    """Every way through the filter, also those that end badly, in a build with ASan, LeakSanitizer and UBSan."""
    stored = folder / "latents.mkv"
    clip = source(30, "64x48")
    options = {"ASAN_OPTIONS": "detect_leaks=1:exitcode=99", "UBSAN_OPTIONS": "print_stacktrace=1"}

    def clean(name, *arguments, fails=False):
        command = [ffmpeg.path, "-v", "error", "-y", *map(str, arguments)]
        result = subprocess.run(
            command, capture_output=True, timeout=TIME, stdin=subprocess.DEVNULL, env={**os.environ, **options}
        )
        text = result.stderr.decode(errors="replace")
        reported = [word for word in ["Sanitizer", "runtime error"] if word in text]
        check(f"{name}: clean", not reported and result.returncode != 99, text[-2000:])
        check(f"{name}: ends as it should", (result.returncode != 0) == fails, text[-500:])

    null = ["-f", "null", "-"]
    for mode in ["roundtrip", "encode", "subbands"]:
        clean(mode, *clip, "-vf", f"wfvae=mode={mode}", *null)
        clean(f"{mode}, early stop", *clip, "-vf", f"wfvae=mode={mode}", "-frames:v", 2, *null)
    for length in [1, 2, 5, 7]:
        clean(f"{length} frames", *source(length, "61x35"), "-vf", "wfvae", *null)
    clean("store", *clip, "-vf", "wfvae=mode=encode", "-c:v", "ffv1", stored)
    clean("decode", "-i", stored, "-vf", "wfvae=mode=decode", *null)
    clean("decode, early stop", "-i", stored, "-vf", "wfvae=mode=decode", "-frames:v", 3, *null)
    clean("decode after a seek", "-ss", "0.5", "-i", stored, "-vf", "wfvae=mode=decode", *null)
    transparent = source(9, "64x48", fmt="gbrap")
    for mode in ["roundtrip", "encode", "subbands"]:
        clean(f"{mode}, alpha", *transparent, "-vf", f"wfvae=mode={mode}", *null)
        clean(f"{mode}, alpha, early stop", *transparent, "-vf", f"wfvae=mode={mode}", "-frames:v", 2, *null)
        clean(f"{mode}, interlaced", *clip, "-vf", f"setfield=tff,wfvae=mode={mode}", *null)
    clean("decode old latents", "-i", OLD, "-vf", "wfvae=mode=decode", *null)
    lost = "select='not(eq(n,2)+eq(n,4))'"
    clean("decode with latents lost", "-i", stored, "-vf", f"{lost},wfvae=mode=decode", *null)
    spoilt = store(ffmpeg, folder, "raw", numbered(22, "25"), "25")
    whole = spoilt[-1].read_bytes()
    data = bytearray(whole)
    for place in [len(data) // 2, len(data) // 7 * 2]:
        data[place] ^= 1
    spoilt[-1].write_bytes(data)
    clean("decode damaged latents", *spoilt, "-vf", "wfvae=mode=decode", *null)
    clean("decode damaged latents, strict", *spoilt, "-vf", "wfvae=mode=decode:strict=1", *null, fails=True)
    for name, data in hostile_times(whole, len(whole) // 7):
        spoilt[-1].write_bytes(data)
        clean(f"decode hostile times, {name}", *spoilt, "-vf", "wfvae=mode=decode", *null)
    for time in "-pow(2,62)", "pow(2,62)", "pow(2,62)*(1-2*mod(N,2))", "pow(2,60)+1000*N":
        for unit in "1/90000", "1":
            hostile = f"settb={unit},setpts='{time}'"
            clean(f"encode with {hostile}", *source(9, "64x48"), "-vf", f"{hostile},wfvae=mode=encode", *null)
    listed = folder / "list.txt"
    listed.write_text(f"file '{stored}'\nfile '{os.path.abspath(OLD)}'\n")
    clean("decode joined latents", "-f", "concat", "-safe", 0, "-i", listed, "-vf", "wfvae=mode=decode", *null)
    other = shutil.copytree(BUILTIN, folder / "other-weights") / "diffusion_pytorch_model.safetensors"
    other.write_bytes(other.read_bytes()[:-1] + b"\x01")
    clean("another model's latents", "-i", stored, "-vf", f"wfvae=mode=decode:model={other.parent}", *null, fails=True)
    clean("any encoder", "-i", stored, "-vf", f"wfvae=mode=decode:any_encoder=1:model={other.parent}", *null)
    clean("decode what is not latents", "-i", stored, "-vf", "scale=16:13,scale=32:26,format=gray16,wfvae=mode=decode", *null, fails=True)
    for model in ["v2-tiny", "own-v2-2x", "own-v2-image-clip"]:
        for mode in ["roundtrip", "encode", "subbands"]:
            clean(f"{model}, {mode}", *source(6, "61x35"), "-vf", f"wfvae=model={GOLDEN}/{model}:mode={mode}", *null)
    clean("tiles", *clip, "-vf", "wfvae=tiles=blended:tile=48:cache=f16:memory=1G", *null)
    clean("too little memory", *clip, "-vf", "wfvae=memory=1000", *null, fails=True)
    clean("group norm", *clip, "-vf", f"wfvae=model={GOLDEN}/own-v2-groupnorm", *null, fails=True)
    clean("no model", *clip, "-vf", f"wfvae=model={folder}/none", *null, fails=True)
    clean("damaged model", *clip, "-vf", f"wfvae=model={truncated(folder)}", *null, fails=True)
    clean("no provider", *clip, "-vf", "wfvae=provider=cuda", *null, fails=True)
    # Allocations that fail: of the filter's buffers, of its frames, of its input.
    for limit in [3000, 9000, 20000, 40000]:
        for mode in ["roundtrip", "encode"]:
            big = source(9, "128x96")
            clean(f"{mode} with {limit} bytes", "-max_alloc", limit, *big, "-vf", f"wfvae=mode={mode}", *null, fails=True)


def long(ffmpeg):
    """15,000 frames: time stamps do not drift and memory does not grow."""
    total = 15000
    command = [ffmpeg.path, "-v", "error", *source(total, "64x48"), "-vf", "wfvae", "-f", "framecrc", "-"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    resident, frames = {}, []
    for line in process.stdout:
        if line.startswith("#"):
            continue
        frames.append(int(line.split(",")[2]))
        if len(frames) in (500, total // 2, total - 100):
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            resident[len(frames)] = int(status.split("VmRSS:")[1].split()[0])
    equal("ends well", process.wait(), 0)
    equal("time stamps", frames, list(range(total)))
    first, *later = resident.values()
    print("resident kB:", resident)
    check("memory is flat", all(kb <= 1.03 * first for kb in later), resident)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ffmpeg")
    parser.add_argument("ffprobe")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--sanitizers", action="store_true", help="FFMPEG has them: only run it for their reports")
    parser.add_argument("--long", action="store_true", help="only stream a long clip")
    parser.add_argument("--cuda-stub", help="only run on a device that computes nothing; the folder that tests/cuda-stub/build.sh made")
    parser.add_argument("--frei0r", help="folder of the plugin")
    parser.add_argument("--stock", default="ffmpeg", help="an ffmpeg that loads frei0r plugins")
    options = parser.parse_args()
    ffmpeg = Ffmpeg(os.path.abspath(options.ffmpeg))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if options.sanitizers:
            sanitizers(ffmpeg, folder)
        elif options.long:
            long(ffmpeg)
        elif options.cuda_stub:
            cuda_stub(ffmpeg, options.cuda_stub)
        else:
            timestamps(ffmpeg, options.full)
            properties(ffmpeg, options.ffprobe, folder)
            graphs(ffmpeg, folder)
            subbands(ffmpeg)
            latents(ffmpeg, folder, options.full)
            containers(ffmpeg, folder, options.full)
            old_latents(ffmpeg)
            joined(ffmpeg, folder)
            damaged_latents(ffmpeg, folder)
            alpha(ffmpeg, folder)
            newer = warnings(ffmpeg, folder)
            refusals(ffmpeg, folder)
            second_generation(ffmpeg, folder, options.full)
            whole_clips(ffmpeg)
            image_subbands(ffmpeg)
            memory(ffmpeg, folder)
            computing(ffmpeg)
            without_device(ffmpeg)
            c_api(ffmpeg)
            documentation(ffmpeg, options.frei0r)
            if options.frei0r:
                frei0r(ffmpeg, Ffmpeg(options.stock), os.path.abspath(options.frei0r))
                frei0r_alpha(os.path.abspath(options.frei0r), newer)
    print(f"{len(passed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
