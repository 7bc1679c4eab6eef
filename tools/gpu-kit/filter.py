"""FFmpeg's filter on the GPU machine; `on-device` calls it. Prints a line for each check; exits with 1 if one failed.

    filter.py FFMPEG FOLDER [PROVIDER]      PROVIDER: the options of the filter that choose it, by default provider=cuda

Clips come from FFmpeg's testsrc2, as raw planar RGB. What the device gives is compared with what the CPU gives in float32.
LD_LIBRARY_PATH names the folder of libwfvae.so. FOLDER holds clips of up to 200 MB for a while.
"""
import re
import subprocess
import sys
import time
from pathlib import Path

FFMPEG, FOLDER = sys.argv[1], Path(sys.argv[2])
DEVICE = sys.argv[3] if len(sys.argv) > 3 else "provider=cuda"
FRAMES = 34  # the last group of four is not whole
SECONDS = 60
failed = 0


class Failed(Exception):
    pass


def ffmpeg(*arguments, fails=False):
    """Runs it; gives what it said and the seconds. `fails`: whether it must."""
    begun = time.monotonic()
    command = [FFMPEG, "-hide_banner", "-nostats", "-nostdin", "-y", *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise Failed(f"it takes more than {SECONDS} s") from None
    said = done.stderr.strip()
    if done.returncode < 0:
        raise Failed(f"signal {-done.returncode}: {said[-300:]}")
    if (done.returncode != 0) != fails:
        # What the filter says, if anything; the rest follows from that.
        own = [line for line in said.splitlines() if "wfvae" in line.lower()]
        raise Failed(f"exit {done.returncode}: {(own or said.splitlines() or ['nothing'])[0][-300:]}")
    return said, time.monotonic() - begun


def raw(size, path, *before):
    return [*before, "-f", "rawvideo", "-pixel_format", "gbrp", "-video_size", size, "-framerate", 30, "-i", path]


def to_raw(path):
    return ["-pix_fmt", "gbrp", "-f", "rawvideo", path]


def make(size, frames, path):
    width, height = map(int, size.split("x"))
    # testsrc2 has even sizes.
    filters = f"format=gbrp,crop={width}:{height}:0:0:exact=1"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={width + width % 2}x{height + height % 2}:rate=30", "-vf", filters,
           "-frames:v", frames, *to_raw(path))


def psnr(size, first, second):
    said, _ = ffmpeg(*raw(size, first), *raw(size, second), "-lavfi", "psnr", "-f", "null", "-")
    return float(re.search(r"PSNR .*average:(\S+)", said)[1])


def check(name, function):
    global failed
    begun = time.monotonic()
    try:
        result, text = "ok", function()
    except (Failed, OSError, TypeError, ValueError) as error:
        result, text = "FAILED", str(error) or repr(error)
        failed += 1
    print(f"{name:44} {result:7} {time.monotonic() - begun:5.1f} s  {' '.join(text.split())}", flush=True)


def expect(right, text):
    if not right:
        raise Failed(text)
    return text


def whole(size, path):
    width, height = map(int, size.split("x"))
    frames = path.stat().st_size / (3 * width * height)
    expect(frames == FRAMES, f"{frames:g} frames of {FRAMES}")


def round_trips(size):
    source, cpu = FOLDER / f"{size}.gbrp", FOLDER / f"{size}-cpu.gbrp"

    def first():
        make(size, FRAMES, source)
        whole(size, source)
        ffmpeg(*raw(size, source), "-vf", "wfvae=provider=cpu", *to_raw(cpu))
        whole(size, cpu)
        return f"PSNR {psnr(size, cpu, source):.2f} dB against the source"

    check(f"{size}, CPU", first)

    def on_device(precision, least):
        path = FOLDER / f"{size}-{precision}.gbrp"
        ffmpeg(*raw(size, source), "-vf", f"wfvae={DEVICE}:precision={precision}", *to_raw(path))
        whole(size, path)
        near = psnr(size, path, cpu)
        text = f"PSNR {near:.2f} dB against the CPU's, {psnr(size, path, source):.2f} against the source"
        return expect(near >= least, text + ("" if near >= least else f"; {least} are expected"))

    check(f"{size}, f32", lambda: on_device("f32", 85))
    check(f"{size}, f16", lambda: on_device("f16", 55))

    def chunks():
        path = FOLDER / f"{size}-chunks.gbrp"
        ffmpeg(*raw(size, source), "-vf", f"wfvae={DEVICE}:precision=f16:chunk=9", *to_raw(path))
        same = path.read_bytes() == (FOLDER / f"{size}-f16.gbrp").read_bytes()
        return expect(same, f"chunks of 9 frames give {'the same pictures as' if same else 'other pictures than'} chunks of 4")

    check(f"{size}, f16, other chunks", chunks)

    def latents():
        stored, path = FOLDER / f"{size}.mkv", FOLDER / f"{size}-decoded.gbrp"
        ffmpeg(*raw(size, source), "-vf", f"wfvae=mode=encode:{DEVICE}:precision=f16", "-c:v", "ffv1", stored)
        decode = f"wfvae=mode=decode:size={size}:precision=f16"
        ffmpeg("-i", stored, "-vf", f"{decode}:{DEVICE}", *to_raw(path))
        whole(size, path)
        near = psnr(size, path, FOLDER / f"{size}-f16.gbrp")
        text = f"{stored.stat().st_size} bytes; PSNR {near:.2f} dB against the round trip"
        return expect(near >= 50, text + ("" if near >= 50 else "; 50 are expected"))

    check(f"{size}, f16, stored latents", latents)
    for path in FOLDER.glob(f"{size}*"):
        path.unlink()


def error():
    said, _ = ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48", "-frames:v", 1, "-vf", "wfvae=provider=cuda:device=77",
                     "-f", "null", "-", fails=True)
    own = [line for line in said.splitlines() if "77" in line]
    return expect(own, own[0].partition("] ")[2][:120] if own else f"no text about device 77: {said[-200:]}")


def speed(size):
    """Without loading and the end: what three times as many frames take in addition."""
    source, frames, turns = FOLDER / f"{size}.gbrp", 30, 3

    def rate(filters):
        ends = [ffmpeg(*raw(size, source, "-stream_loop", n), "-vf", filters, "-f", "null", "-")[1] for n in (0, turns)]
        return frames * turns / (ends[1] - ends[0])

    make(size, frames, source)
    check(f"{size}, reading alone", lambda: f"{rate('null'):.0f} frames/s")
    options = f"{DEVICE}:precision=f16:chunk=8"
    check(f"{size}, f16, encode", lambda: f"{rate(f'wfvae=mode=encode:{options}'):.1f} frames/s")
    check(f"{size}, f16, round trip", lambda: f"{rate(f'wfvae={options}'):.1f} frames/s")
    source.unlink()


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    round_trips("848x480")
    check("a device that is not there", error)
    speed("1920x1080")
    round_trips("426x239")
    sys.exit(failed > 0)
