"""Tests of the FFmpeg filter and the frei0r plugin, as their users run them: through ffmpeg's command line.

    check.py FFMPEG FFPROBE [--full] [--frei0r FOLDER] [--stock FFMPEG]
    check.py FFMPEG FFPROBE --sanitizers | --long

Runs in the repository's root. Ends with the number of checks that passed and failed.
"""

import argparse
import fractions
import itertools
import os
import pathlib
import shutil
import subprocess
import tempfile

CLIP = "target/demo/box-320x240.y4m"
BUILTIN = "src/model/builtin"
GOLDEN = "tests/golden"
# Models of the second generation, by frames for each latent.
SECOND = {"v2-tiny": 4, "own-v2-16x": 4, "own-v2-2x": 2, "own-v2-8x": 8}
IMAGES = {"own-v2-image-clip": 1, "own-v2-image-mixing": 1, "own-v2-groupnorm-image": 1}
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
        command = [self.path, "-v", "error", "-y", *map(str, arguments)]
        result = subprocess.run(
            command, capture_output=True, timeout=300, stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
        )
        if ok:
            check(" ".join(command)[:200], result.returncode == 0, result.stderr.decode()[-800:])
            return result.stdout
        return None if result.returncode == 0 else result.stderr.decode()

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
    """Colour tags, shape of pixels and side data survive."""
    out = folder / "tags.mkv"
    ffmpeg.run(
        *source(6, "64x48"), "-vf", "setsar=4/3,setparams=color_primaries=bt709:color_trc=bt709,wfvae", "-c:v", "ffv1", out
    )
    entries = "stream=sample_aspect_ratio,color_primaries,color_transfer"
    text = subprocess.run([ffprobe, "-v", "error", "-show_entries", entries, out], capture_output=True, text=True).stdout
    for tag in ["sample_aspect_ratio=4:3", "color_primaries=bt709", "color_transfer=bt709"]:
        check(f"tag {tag}", tag in text, text)


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
    """The frames, and their times since the first with their durations."""
    frames = ffmpeg.frames(*arguments)
    unit = float(1000 * ffmpeg.time_base)
    return frames, [((f[0] - frames[0][0]) * unit, f[1] * unit) for f in frames]


def latents(ffmpeg, folder, full):
    """Latents as video: stored, copied to another file and turned back in processes of their own."""
    lengths = range(1, 41) if full else [1, 2, 5, 7, 13]
    for length in lengths:
        for size, vfr in [("64x48", False), ("61x35", True)]:
            stored_and_back(ffmpeg, folder, f"latents of {length} frames {size} vfr={vfr}", source(length, size, vfr), size)


def stored_and_back(ffmpeg, folder, name, clip, size, model=BUILTIN, step=0.001, most=2, slow=False):
    """Returns the pictures of a roundtrip. most: what the step may do to them; slow: the latents have a rate that FFmpeg 5,
    which has no durations, does not guess."""
    first, second, options = folder / "latents.mkv", folder / "remuxed.nut", f"wfvae=model={model}"
    ffmpeg.run(*clip, "-vf", f"{options}:mode=encode:step={step}", "-c:v", "ffv1", *ffmpeg.exact, first)
    ffmpeg.run("-i", first, "-c", "copy", second)
    decode = ["-i", second, "-vf", f"{options}:mode=decode:size={size}"]
    through, found = in_milliseconds(ffmpeg, *decode)
    direct, expected = in_milliseconds(ffmpeg, *clip, "-vf", options)
    equal(f"{name}: count", len(through), len(direct))
    # Matroska counts in milliseconds; the file starts with the clip's first frame.
    near = all(abs(a[0] - b[0]) <= 1 for a, b in zip(found, expected))
    check(f"{name}: times", near, f"{found} {expected}")
    near = all(abs(a[1] - b[1]) <= 1 for a, b in zip(found, expected))
    check(f"{name}: durations", near or (slow and ffmpeg.is_5), f"{found} {expected}")
    a = ffmpeg.run(*decode, *ffmpeg.exact, "-f", "rawvideo", "-pix_fmt", "gbrp", "-")
    b = ffmpeg.run(*clip, "-vf", options, *ffmpeg.exact, "-f", "rawvideo", "-")
    check(f"{name}: pictures", difference(a, b) <= most, difference(a, b))
    return b


def difference(a, b):
    """The largest; of clips of different lengths more than any."""
    return max((abs(x - y) for x, y in set(zip(a, b))), default=0) if len(a) == len(b) else 256


def c_program(raw, size, *model):
    ours = subprocess.run(["target/release/c/roundtrip_gbrp", *size.split("x"), *model], input=raw, capture_output=True)
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
            out = stored_and_back(ffmpeg, folder, text, clip, size, model, step, most=4, slow=unit == 8)
            raw = ffmpeg.run(*clip, *ffmpeg.exact, "-f", "rawvideo", "-")
            check(f"{text}: the C API's pictures", out == c_program(raw, size, model))
        clip = source(2 * unit + 2, "61x35")
        # A latent has the time of its last frame, also where that is not there.
        equal(f"{name}: latents", [f[0] for f in ffmpeg.frames(*clip, "-vf", encode)], [n * unit for n in range(4)])
        chunks = [ffmpeg.run(*clip, "-vf", f"{roundtrip}:chunk={chunk}", "-f", "rawvideo", "-") for chunk in [1, 64]]
        check(f"{name}: chunks", chunks[0] == chunks[1])


def whole_clips(ffmpeg):
    """Group norm needs what a filter never has, and the filter says so before the first frame."""
    for mode in ["roundtrip", "encode", "decode"]:
        vf = f"format={'gray16' if mode == 'decode' else 'gbrp'},wfvae=model={GOLDEN}/own-v2-groupnorm:mode={mode}"
        text = ffmpeg.run(*source(3, "64x48"), "-vf", vf, "-f", "null", "-", ok=False)
        expected = ["own-v2-groupnorm: ", "groupnorm", "whole clip", "layernorm", "outside of FFmpeg"]
        check(f"group norm, {mode}", text is not None and all(word in text for word in expected), text)


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

    text = refused("memory=1M", "memory=1M", "needs at least", "1 MiB", "cache=f16", "tiles=blended")
    needed = int(text.partition("at least ")[2].split()[0]) << 20
    check("just enough memory", picture(f"memory={needed}") == whole)
    refused("too little memory", f"memory={needed - (2 << 20)}", "needs at least")
    check("half the caches are less", picture(f"memory={needed * 9 // 10}:cache=f16") == half)
    # Attention takes the square of the area, so that the library finds tiles that fit.
    wfvae = "format=gbrp,wfvae"
    clip, attention = source(2, "480x320"), f"model={GOLDEN}/v2-tiny:memory=70M"
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


def computing(ffmpeg):
    """Kinds of convolutions and precisions: nearly the same pictures."""
    clip, wfvae = ["-i", CLIP], "trim=end_frame=5,format=gbrp,wfvae"
    picture = lambda options: ffmpeg.run(*clip, "-vf", f"{wfvae}={options}", "-f", "rawvideo", "-")
    whole = picture("provider=cpu")
    for convolution in ["exact", "fast", "direct", "stacked", "volume"]:
        other = picture(f"provider=cpu:convolution={convolution}")
        check(f"convolution={convolution}", difference(other, whole) <= 1, difference(other, whole))
        check(f"convolution={convolution} is not another's", (other == whole) == (convolution == "exact"))
    half = picture("precision=f16")
    check("precision=f16", half != whole and difference(half, whole) <= 4, difference(half, whole))
    for options, needle in [
        ("provider=cpu:precision=tf32", "the CPU has no such mode"),
        ("provider=cpu:precision=bf16", "no convolutions of bfloat16"),
        ("provider=cuda:device=2", "CUDA device 2: "),
        ("precision=f8", "f8"),
        ("convolution=nonsense", "nonsense"),
    ]:
        text = ffmpeg.run(*clip, "-vf", f"{wfvae}={options}", "-f", "null", "-", ok=False)
        check(options, text is not None and needle in text, text)


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
        refused(f"a changed bit at {place}", "atent frame", *reader, "-vf", decode)
    damaged.write_bytes(raw)
    equal("undamaged", len(ffmpeg.frames(*reader, "-vf", decode)), 9)
    refused("scaled", "Not a latent frame", "-i", stored, "-vf", f"scale=80:60,scale={width}:{height},format=gray16,{decode}")
    refused("another size", "do not hold latents", "-i", stored, "-vf", f"scale=96:64,format=gray16,{decode}")
    refused("8 bits", "atent frame", "-i", stored, "-vf", f"format=gray,format=gray16,{decode}")
    refused("a video", "atent", "-i", CLIP, "-vf", f"scale={width}:{height},format=gray16,{decode}")
    refused("wrong size option", "size=", "-i", stored, "-vf", f"{decode}:size=300x200")
    for i, size in enumerate(["96x64", "64x48"]):
        ffmpeg.run(*source(1, size), "-vf", "wfvae=mode=encode,format=gray16be", folder / f"size{i}.png")
    mixed = ["-reinit_filter", 0, "-i", folder / "size%d.png"]
    refused("another size in the middle", "in the middle", *mixed, "-vf", f"scale=iw:ih:eval=frame,format=gray16le,{decode}")
    # The same shape, one weight another.
    other = folder / "other"
    shutil.copytree(BUILTIN, other)
    weights = other / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    refused("another model", "another model", "-i", stored, "-vf", f"{decode}:model={other}")

    for name, options, needle in [
        ("no model", f"model={folder}/none", "No such file"),
        ("no GPU", "provider=cuda", "CUDA"),
        ("bad mode", "mode=nonsense", "nonsense"),
        ("bad step", "mode=encode:step=0", "step"),
    ]:
        refused(name, needle, *source(3, "64x48"), "-vf", f"wfvae={options}")
    refused("damaged model", "safetensors", *source(3, "64x48"), "-vf", f"wfvae=model={truncated(folder)}")


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
            command, capture_output=True, stdin=subprocess.DEVNULL, env={**os.environ, "FREI0R_PATH": plugins}
        )
        equal(f"frei0r, {name}", (result.returncode, len(result.stdout)), (0, 6 * 64 * 48 * 3))
        if name == "own-v2-groupnorm":
            check(f"frei0r, {name}: error", b"groupnorm" in result.stderr and not any(result.stdout[64 * 48 * 3 :]))
        else:
            own = ffmpeg.run(*clip, "-vf", f"wfvae=model={model}", "-f", "rawvideo", "-")
            check(f"frei0r, {name}: pictures", result.stdout == own, result.stderr)


def readme(stock, plugins):
    """Users copy the README's commands; each is run as it stands, in a folder with a clip."""
    text = pathlib.Path("README.md").read_text()
    block = text.split("## Use it from FFmpeg", 1)[1].split("```sh\n", 1)[1].split("```", 1)[0]
    commands = [line for line in block.splitlines() if line and not line.startswith("#")]
    check("README has its commands", len(commands) >= 6)
    with tempfile.TemporaryDirectory() as folder:
        stock.run("-i", CLIP, "-frames:v", 12, "-c:v", "ffv1", f"{folder}/in.mkv")
        for command in commands:
            if "FREI0R_PATH" in command and not plugins:
                continue
            command = command.replace("target/", os.path.abspath("target") + "/")
            result = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, stdin=subprocess.DEVNULL)
            check(command, result.returncode == 0, result.stderr.decode()[-800:])
        made = sorted(path.stem for path in pathlib.Path(folder).glob("*.mkv") if path.stat().st_size > 1000)
        expected = ["compare", "decoded", "in", "latents", "out", "subbands"] + (["stock"] if plugins else [])
        equal("README's files", made, sorted(expected))


def sanitizers(ffmpeg, folder):
    """Every way through the filter, also those that end badly, in a build with ASan, LeakSanitizer and UBSan."""
    stored = folder / "latents.mkv"
    clip = source(30, "64x48")
    options = {"ASAN_OPTIONS": "detect_leaks=1:exitcode=99", "UBSAN_OPTIONS": "print_stacktrace=1"}

    def clean(name, *arguments, fails=False):
        command = [ffmpeg.path, "-v", "error", "-y", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, env={**os.environ, **options})
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
        else:
            timestamps(ffmpeg, options.full)
            properties(ffmpeg, options.ffprobe, folder)
            graphs(ffmpeg, folder)
            subbands(ffmpeg)
            latents(ffmpeg, folder, options.full)
            refusals(ffmpeg, folder)
            second_generation(ffmpeg, folder, options.full)
            whole_clips(ffmpeg)
            image_subbands(ffmpeg)
            memory(ffmpeg, folder)
            computing(ffmpeg)
            c_api(ffmpeg)
            readme(ffmpeg, options.frei0r)
            if options.frei0r:
                frei0r(ffmpeg, Ffmpeg(options.stock), os.path.abspath(options.frei0r))
    print(f"{len(passed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
