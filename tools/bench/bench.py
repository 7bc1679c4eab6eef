"""Times libwfvae beside other ways to run the same models, in one run on one machine: `make bench`, `make bench-cuda`.

    bench.py [--quick] [--clips MODEL:FRAMESxWIDTHxHEIGHT ...] [--threads N] ...      (--help lists all)

Prints a table for each clip and one of all clips, and writes target/bench/bench.md and target/bench/bench.json:

    {"machine": {"processor", "processors", "memory_bytes", "instructions", "load_average", "kernel"},
     "versions": {"commit", "onnxruntime", "torch", ...}, "threads": N, "provider": "cpu" or "cuda",
     "peak_gflops": best of "peak"; null where it cannot be measured,
     "peak": [{"192x128x128": GFLOP/s, ...}, ...],    at the start of the run and, without a deadline, at its end
     "tile_peak_gflops": best of "tile_peak"; null where it was not measured,
     "tile_peak": [GFLOP/s, ...],    at the same times: products of bfloat16 in the registers of the CPU's matrix unit
     "rows": [...], "left_out": ["what: why"], "failed": ["what: why"]}

A row is one program on one clip in one direction, in a process of its own:

    model, direction     "L", "encode"
    frames, width, height
    chunk                frames (encode) or latents (decode) per call; null: the whole clip in one call
    precision            "f32", "tf32", "f16", "bf16": of weights and activations
    kind, name           "ours" "libwfvae", "libwfvae 8-bit"; "peer" "onnx rank-5", "torch eager", "torch eager channels-last", "torch compiled"
    convolution          libwfvae's option: "exact", its default, or another; null: a peer
    layout               libwfvae's option: "auto", its default, "planes" or "channels-last"; null: a peer
    provider_options     libwfvae's option, "NAME=VALUE,..."; null: none, or a peer
    seconds              for the whole clip: median of the repetitions, after one to warm up; best_seconds, all_seconds
    cpu_seconds          median of the CPU time: seconds times threads, unless other programs used the CPU
    fps                  frames / seconds
    work_gflop           work of the reference's direct convolutions and attention, see work.py
    gflops               work_gflop / seconds; the work is the same for every row of a clip
    fraction_of_peak     gflops / peak_gflops; the peak is that of float32, on a CUDA device that of its fastest precision
    fraction_of_tile_peak     gflops / tile_peak_gflops; null: the row is not of "bf16", or that peak was not measured
    load_seconds         until the first call: libwfvae's model and stream, the peer's session or module
    load_peak_bytes      maximum of anonymous resident memory until then
    run_peak_bytes       the same afterwards
    peak_bytes           the larger of the two
    steady_bytes         after the last repetition
    mapped_bytes         resident pages of files at that time: programs, and weights that are mapped from their file
    device_bytes         on a CUDA device: maximum of memory in use, minus that before; no other program may use the device
    max_abs_difference   from libwfvae's result for the whole clip in float32 or, if that failed, from the first result that did
                         not; largest: the greatest magnitude in that result
    weight_bytes, sessions, state_bytes      reported by libwfvae, only with "ours"

Memory is anonymous resident memory, sampled every 10 ms. It does not contain the clip's own buffers (with libwfvae they are
mapped files), except PyTorch's results and 8-bit frames. These are made from the clip's floats, and made into floats again.
Random weights are made under target/bench if they are missing.

An entry of --convolutions is CONVOLUTION[:LAYOUT[:NAME=VALUE,...]], one way to compute the same: stacked,
volume:channels-last, stacked:planes:fuse_conv_bias=1. Provider options exist only on a CUDA device; on the CPU only direct,
stacked and volume have layouts. On a CUDA device all rows of libwfvae have wfvae_graphs=1, unless the option is given.

On the CPU "bf16" needs a matrix unit (Intel AMX: amx_tile and amx_bf16 in /proc/cpuinfo). Where rows are of "bf16" and the CPU has
one, its peak is measured, too. PyTorch is timed in f32 and bf16, unless --torch-precisions says what else.

A row that fails does not end the run: "failed" has its program's last message. With --deadline SECONDS no row starts after that
time, and a row that is still running is stopped; "left_out" says which. The last table has a line for each row: how many times
as fast it is as the fastest row of eager PyTorch in float16, and its largest difference relative to the largest value.

The programs print a line of JSON when they have loaded, {"event": "loaded", ...}, and one with their times, {"event":
"done", ...}; then they wait for the end of their input, so that their memory can be measured.

Fails if libwfvae's result depends on the chunks; if the result of other convolutions or of a float32 peer differs from it by more
than a thousandth of the largest value; if the result of another precision, or the latents of 8-bit frames, by more than a
twentieth; or if decoded 8-bit frames differ by more than rounding makes.
"""
import argparse
import json
import os
import re
import select
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "training"))
import random_checkpoint  # noqa: E402
import work  # noqa: E402

HERE = Path(__file__).resolve().parent
PROGRAMS = ROOT / "target/release/c"
CUDA_CLIPS = ["L:33x512x512", "L:17x256x256", "L:1x1024x1024", "builtin:33x1280x720"]
CUDA_QUICK = ["L:17x256x256", "builtin:9x1280x720"]
CLIPS = ["L:17x128x128", "L:1x256x256", "S:33x256x256", "builtin:17x848x480", "builtin:9x1280x720", "causalvae-1.2:17x256x256"]
QUICK = ["L:17x128x128", "L:1x256x256", "builtin:5x848x480"]
# How upstream's chunked mode cuts, by its automatic choice for most lengths.
UPSTREAM_CHUNKS = {"encode": 4, "decode": 2}
TOLERANCE = 1e-3
HALF_TOLERANCE = 0.05
# The first of each is the one that other convolutions and chunks are timed in.
PRECISIONS = {"cpu": ["f32"], "cuda": ["f16", "tf32", "f32"]}
# On a CUDA device "exact" is stacked, channels-last, with our kernels.
CONVOLUTIONS = {"cpu": ["fast", "direct"], "cuda": [
    "direct", "volume", "stacked:auto:wfvae_kernels=0", "stacked:auto:fuse_conv_bias=1,wfvae_kernels=0", "stacked:planes"]}
TORCH_PRECISIONS = {"cpu": ["f32", "bf16"], "cuda": ["f16", "tf32", "f32"]}


class Late(Exception):
    """The deadline of the run is over."""


class Emission(NamedTuple):
    """How libwfvae is told to compute."""
    convolution: str = "exact"
    layout: str = "auto"
    provider_options: str | None = None

    def __str__(self):
        """What is not the default."""
        parts = [self.convolution != "exact" and self.convolution, self.layout != "auto" and self.layout, self.provider_options]
        return " ".join(filter(None, parts))


def parse():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--quick", action="store_true", help="fewer and shorter clips, one chunk size, 2 repetitions")
    p.add_argument("--clips", nargs="+", metavar="MODEL:FRAMESxWIDTHxHEIGHT",
                   help=f"MODEL: builtin, a preset of training/random_checkpoint.py or a checkpoint folder; default: {' '.join(CLIPS)}; cuda: {' '.join(CUDA_CLIPS)}")
    p.add_argument("--provider", choices=["cpu", "cuda"], default="cpu")
    p.add_argument("--device", type=int, default=0, help="index, of a CUDA device")
    p.add_argument("--precisions", nargs="+", choices=["f32", "tf32", "f16", "bf16"],
                   help="of libwfvae; chunks and other convolutions are timed in the first; default f32, cuda: f16 tf32 f32")
    p.add_argument("--no-f32", action="store_true",
                   help="does not begin with libwfvae in f32; others are then compared with what comes first")
    p.add_argument("--directions", nargs="+", choices=["encode", "decode"], default=["encode", "decode"])
    p.add_argument("--encode-chunks", nargs="*", type=int, metavar="FRAMES", help="besides the whole clip; default 1 4 8 16")
    p.add_argument("--decode-chunks", nargs="*", type=int, metavar="LATENTS", help="besides the whole clip; default 1 2 4")
    p.add_argument("--convolutions", nargs="*", metavar="CONVOLUTION[:LAYOUT[:NAME=VALUE,...]]",
                   help="besides exact, of exact, fast, direct, stacked, volume; layouts auto, planes, channels-last; "
                   f"default fast direct, cuda: {' '.join(CONVOLUTIONS['cuda'])}")
    p.add_argument("--bytes", action="store_true", help="times libwfvae with frames of 8-bit RGB, too, of whole clips")
    p.add_argument("--peers", nargs="*", choices=["onnx", "torch"], default=["onnx", "torch"])
    p.add_argument("--torch", metavar="PYTHON", help="a Python that has torch, safetensors and numpy; default: python3 if it has")
    p.add_argument("--torch-precisions", nargs="+", choices=["f32", "tf32", "f16", "bf16"],
                   help="of PyTorch's rows; default f32 bf16, cuda: f16 tf32 f32")
    p.add_argument("--torch-ways", nargs="+", choices=["whole", "chunks", "channels-last"], default=["whole", "chunks", "channels-last"],
                   help="PyTorch's rows: the whole clip, upstream's chunks, and on a CUDA device the whole clip channels-last")
    p.add_argument("--torch-compile", action="store_true", help="times PyTorch's compiled module, too, of whole clips")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all CPU cores")
    p.add_argument("--repetitions", type=int, help="after one to warm up; default 5")
    p.add_argument("--seconds", type=float, default=30, help="no more repetitions of a row after this, but at least 2; default 30")
    p.add_argument("--row-seconds", type=float, help="a row that takes longer, loading included, is ended and has failed")
    p.add_argument("--peak-seconds", type=float,
                   help="for each shape of the peak, and for the tile peak; 0: not measured; default --seconds, but at most 1.5")
    p.add_argument("--deadline", type=float, metavar="SECONDS", help="of the whole run: no row begins or goes on after it")
    p.add_argument("--out", type=Path, default=ROOT / "target/bench", help="folder of models, results and scratch files")
    a = p.parse_args()
    cuda = a.provider == "cuda"
    clips = (CUDA_QUICK if cuda else QUICK) if a.quick else (CUDA_CLIPS if cuda else CLIPS)
    a.clips = [clip(p, text) for text in a.clips or clips]
    a.precisions = a.precisions or PRECISIONS[a.provider]
    convolutions = CONVOLUTIONS[a.provider] if a.convolutions is None else a.convolutions
    a.convolutions = [emission(p, text, cuda) for text in convolutions]
    a.peak_seconds = min(a.seconds, 1.5) if a.peak_seconds is None else a.peak_seconds
    a.chunks = {"encode": a.encode_chunks, "decode": a.decode_chunks}
    for direction, default, quick in ("encode", [1, 4, 8, 16], [4]), ("decode", [1, 2, 4], [1]):
        if a.chunks[direction] is None:
            a.chunks[direction] = quick if a.quick else default
    a.repetitions = a.repetitions or (2 if a.quick else 5)
    if a.threads < 1 or a.repetitions < 1 or min(a.chunks["encode"] + a.chunks["decode"], default=1) < 1:
        p.error("threads, repetitions and chunks begin at 1")
    return a


def clip(parser, text):
    found = re.fullmatch(r"(.+):(\d+)x(\d+)x(\d+)", text)
    if not found:
        parser.error(f"{text!r} is not MODEL:FRAMESxWIDTHxHEIGHT")
    return found[1], *map(int, found.groups()[1:])


def emission(parser, text, cuda):
    parts = text.split(":", 2)
    found = Emission(*parts)
    if found.convolution not in ("exact", "fast", "direct", "stacked", "volume"):
        parser.error(f"{text!r}: there is no convolution {found.convolution!r}")
    if found.layout not in ("auto", "planes", "channels-last"):
        parser.error(f"{text!r}: there is no layout {found.layout!r}")
    if len(parts) == 3:
        if not re.fullmatch(r"\w+=[^,=]+(,\w+=[^,=]+)*", parts[2]):
            parser.error(f"{text!r}: {parts[2]!r} is not NAME=VALUE,...")
        if not cuda:
            parser.error(f"{text!r}: the CPU provider has no options")
    if not cuda and found.layout != "auto" and found.convolution in ("exact", "fast"):
        parser.error(f"{text!r}: on the CPU only direct, stacked and volume have layouts")
    return found


# ---------------------------------------------------------------- models and clips


class Model:
    def __init__(self, name, out):
        self.name, self.argument, self.out = Path(name).name, name, out
        if name == "builtin":
            self.folder, self.argument = ROOT / "src/model/builtin", "-"
        elif name in random_checkpoint.PRESETS:
            self.folder = out / name
            self.argument = str(self.folder)
            make_checkpoint(self.folder, random_checkpoint.preset(name))
        else:
            self.folder = Path(name)
        self.config = json.loads((self.folder / "config.json").read_text())
        config = self.config
        # Directions that take whole clips have no chunks, and no other convolutions.
        self.whole = ()
        if config.get("_class_name") == "CausalVAEModel":
            places = work.causal_places(config, 1 << 10, 1 << 10, 1 << 10)
            (frames, width, _), c = places["latents"], {**random_checkpoint.DEFAULTS3, **config}
            self.whole = ("encode",) if c["norm_type"] == "layernorm" and c["decoder_attention"] != "AttnBlock3D" else ("encode", "decode")
            self.interpolation, self.channels = "trilinear", c["embed_dim" if c["use_quant_layer"] else "z_channels"]
            self.t_factor, self.s_factor = -(-(1 << 10) // frames), (1 << 10) // width
            return
        second = config.get("_class_name") == "WFVAE2Model"
        levels = config.get("layer_type", ["hw", "thw"]) if second else work.levels_v1(config)
        if config.get("input_type", "video") != "video" or config.get("norm_type", "layernorm" if second else "groupnorm") != "layernorm":
            sys.exit(f"{name}: only video models with layernorm")
        self.interpolation = config.get("t_interpolation", "trilinear" if second else "nearest")
        self.channels = config.get("latent_dim", 4 if second else 8)
        self.t_factor, self.s_factor = 2 ** (1 + levels.count("thw")), 2 ** (1 + len(levels))

    def latents(self, frames):
        if (frames - 1) % self.t_factor:
            sys.exit(f"{self.name}: clips have 1 + {self.t_factor} n frames")
        return 1 + (frames - 1) // self.t_factor

    def onnx(self):
        """The folder of the whole-clip graphs, written anew when the library or the checkpoint is newer."""
        folder = self.out / f"{self.name}-onnx"
        done, sources = folder / "decoder.clip.onnx", [ROOT / "target/release/libwfvae.so", *self.folder.iterdir()]
        if not done.exists() or done.stat().st_mtime < max(p.stat().st_mtime for p in sources):
            folder.mkdir(parents=True, exist_ok=True)
            model = [] if self.argument == "-" else ["-m", self.argument]
            subprocess.run([PROGRAMS / "save_onnx", "-w", *model, folder], check=True)
        return folder


def make_checkpoint(folder, config):
    made = folder / "config.json"
    if made.exists() and json.loads(made.read_text()) == config:
        return
    note(f"making {folder}: random weights")
    # Elsewhere first: a folder of this name is complete.
    partial = folder.with_name(folder.name + ".partial")
    for path in (partial, folder):
        if path.exists():
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
    random_checkpoint.write_checkpoint(partial, config)
    partial.rename(folder)


def make_input(path, shape, direction):
    """Noise, as [T, C, H, W]. Speed does not depend on it; what differs between programs does not hide in it."""
    random, out = np.random.default_rng(0), np.memmap(path, np.float32, "w+", shape=shape)
    for frame in out:
        frame[:] = random.uniform(-1, 1, shape[1:]) if direction == "encode" else random.standard_normal(shape[1:])
    out.flush()


# ---------------------------------------------------------------- processes


def resident(pid, kind="RssAnon"):
    """Resident bytes that are no file's, or RssFile: that are; 0 when the process has ended."""
    try:
        found = re.search(rf"{kind}:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0


def device_memory(device):
    """Bytes in use on a CUDA device, by whomever."""
    query = ["nvidia-smi", f"--id={device}", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    said = subprocess.run(query, capture_output=True, text=True).stdout.strip()
    return (1 << 20) * int(said) if said.isdigit() else 0


def watch(command, device=None, end=None, errors=None):
    """Runs one of the programs. What it said and its memory, also that of a CUDA device; or, as a text, why there is
    nothing. At the time `end` of the monotonic clock it is killed. What it writes to its standard error goes to the file
    `errors` if one is named."""
    before = device_memory(device) if device is not None else 0
    stderr = open(errors, "wb") if errors else None
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)
    said, text, peak, on_device, looked = {}, b"", 0, 0, time.monotonic()
    try:
        while True:
            peak = max(peak, resident(process.pid))
            now = time.monotonic()
            if end is not None and now > end:
                return "it took too long"
            if device is not None and now - looked > 0.2:
                on_device, looked = max(on_device, device_memory(device) - before), now
            if not select.select([process.stdout], [], [], 0.01)[0]:
                continue
            piece = os.read(process.stdout.fileno(), 1 << 16)
            if not piece:
                break
            *lines, text = (text + piece).split(b"\n")
            for line in (line for line in lines if line.startswith(b"{")):
                event = json.loads(line)
                now = resident(process.pid)
                if event.pop("event") == "loaded":
                    said["load_peak_bytes"], peak = max(peak, now), now
                else:
                    said["run_peak_bytes"], said["steady_bytes"] = max(peak, now), now
                    said["mapped_bytes"] = resident(process.pid, "RssFile")
                    if device is not None:
                        said["device_bytes"] = max(on_device, device_memory(device) - before)
                    process.stdin.close()
                said.update(event)
        # Its output has ended; it follows soon.
        code = process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        return "it did not end"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for file in (process.stdin, process.stdout, stderr):
            if file and not file.closed:
                try:
                    file.close()
                except BrokenPipeError:
                    pass
    if code or "steady_bytes" not in said:
        text = Path(errors).read_text(errors="replace").strip() if errors else ""
        # ONNX Runtime's errors, which libwfvae passes on, may have several lines.
        last = " ".join(text[text.rfind("\nbench: ") + 1 :].split()) if "bench: " in text else text.split("\n")[-1]
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"the program failed, {how}{': ' * bool(last)}{last[:500]}"
    said["peak_bytes"] = max(said["load_peak_bytes"], said["run_peak_bytes"])
    return said


def note(text):
    print(text, file=sys.stderr, flush=True)


# ---------------------------------------------------------------- the run


class Bench:
    def __init__(self, a):
        self.a, self.rows, self.peaks, self.tile_peaks, self.left_out, self.failed = a, [], [], [], [], []
        self.end = None if a.deadline is None else time.monotonic() + a.deadline
        a.out.mkdir(parents=True, exist_ok=True)
        self.machine, self.versions = machine(), {"commit": commit()}
        busy = self.machine["load_average"]
        if busy > 0.3:
            note(f"the machine is busy: load average {busy}; do not trust the times")
        self.torch = self.find_torch() if "torch" in a.peers else None
        self.device = a.device if a.provider == "cuda" else None
        self.torch_precisions = a.torch_precisions or TORCH_PRECISIONS[a.provider]
        if self.device is None and self.torch and not a.torch_precisions and not self.machine["instructions"]["bf16"]:
            self.torch_precisions = ["f32"]
            self.leave_out("torch eager, bf16", "the CPU has no bf16 instructions")
        if self.device is not None:
            self.leave_out("onnx rank-5", "it is timed on the CPU only; convolution volume is the closest")
            try:
                query = ["nvidia-smi", f"--id={a.device}", "--query-gpu=name", "--format=csv,noheader"]
                self.machine["device"] = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
            except (OSError, subprocess.CalledProcessError) as error:
                sys.exit(f"no CUDA device {a.device}: nvidia-smi does not know it ({error})")

    def leave_out(self, what, why):
        self.left_out.append(f"{what}: {why}")
        note(f"left out: {what}: {why}")

    def fail(self, what, why):
        self.failed.append(f"{what}: {why}")
        note(f"failed: {what}: {why}")

    def watch(self, command, what):
        """As watch(), within the run's deadline and a row's time."""
        now = time.monotonic()
        ends = [self.end] if self.end is not None else []
        if self.a.row_seconds:
            ends.append(now + self.a.row_seconds)
        self.check_time(what)
        said = watch(command, self.device, min(ends, default=None), self.a.out / "scratch-errors.txt")
        if isinstance(said, str):
            self.check_time(what)
        return said

    def check_time(self, what):
        if self.end is not None and time.monotonic() > self.end:
            self.leave_out(f"{what} and what comes after it", f"the deadline of {self.a.deadline:g} s is over")
            raise Late

    def find_torch(self):
        python = self.a.torch or "python3"
        try:
            test = "import torch, safetensors, numpy" + ("; torch.zeros(1).cuda()" if self.a.provider == "cuda" else "")
            found = subprocess.run([python, "-c", test], capture_output=True, text=True)
            if found.returncode == 0:
                return python
            why = found.stderr.strip().split("\n")[-1]
        except OSError as error:
            why = str(error)
        if self.a.torch:
            sys.exit(f"--torch: {why}")
        self.leave_out("torch eager", f"{python}: {why}; --torch PYTHON names another")
        return None

    def measure_peaks(self):
        if self.a.peak_seconds:
            self.measure_peak()
            self.measure_tile_peak()

    def measure_tile_peak(self):
        precisions = [*self.a.precisions, *(self.torch_precisions if self.torch else [])]
        if self.device is not None or "bf16" not in precisions:
            return
        if not self.machine["instructions"]["amx_bf16"]:
            if not any(text.startswith("the tile peak") for text in self.left_out):
                self.leave_out("the tile peak", "the CPU has no matrix unit (amx_tile and amx_bf16)")
            return
        note("tile peak: products of bfloat16 in registers")
        said = self.watch([PROGRAMS / "tile_peak", self.a.threads, self.a.peak_seconds], "the tile peak")
        if isinstance(said, str):
            self.fail("the tile peak", said)
            return
        self.tile_peaks.append(said["gflops"])

    def measure_peak(self):
        seconds = self.a.peak_seconds
        note("peak: 3x3 convolutions of 192, 384 and 768 channels")
        if self.device is None:
            command = [sys.executable, HERE / "peak.py", self.a.threads, seconds]
        elif self.torch:
            command = [self.torch, HERE / "cuda_peak.py", self.a.device, seconds]
        else:
            self.leave_out("the peak", "on a CUDA device PyTorch measures it")
            return
        said = self.watch(command, "the peak")
        if isinstance(said, str):
            self.fail("the peak", said)
            return
        self.peaks.append(said["gflops"])
        self.versions.update({name: said[name] for name in ("onnxruntime", "onnx") if name in said})

    def run(self):
        try:
            self.measure_peaks()
            for name, frames, width, height in self.a.clips:
                self.check_time(f"{name} {frames}x{width}x{height}")
                model = Model(name, self.a.out)
                for direction in self.a.directions:
                    self.clip(model, direction, frames, width, height)
            if self.end is None:
                self.measure_peaks()
        except Late:
            pass
        self.clean()
        self.save()

    def clip(self, model, direction, frames, width, height):
        latents, s = model.latents(frames), model.s_factor
        coded, pixels = (latents, model.channels, height // s, width // s), (frames, 3, height, width)
        given, made = (pixels, coded) if direction == "encode" else (coded, pixels)
        self.clean()
        paths = [self.a.out / f"scratch-{what}.f32" for what in ("input", "output", "first")]
        make_input(paths[0], given, direction)
        about = dict(model=model.name, direction=direction, frames=frames, width=width, height=height)
        gflop = work.flops(model.config, frames, width, height)[direction] / 1e9

        def row(kind, name, chunk, precision, program, argument, *more, emission=None):
            what = f"{name} {emission or ''}".strip()
            calls = f"chunks of {chunk}" if chunk else "whole"
            label = f"{model.name} {frames}x{width}x{height} {direction}, {what}, {precision}, {calls}"
            command = [*program, argument, direction, frames, width, height, chunk or 0, self.a.threads, self.a.repetitions,
                       self.a.seconds, paths[0], paths[1], *more]
            said = self.watch(command, label)
            if isinstance(said, str):
                self.fail(label, said)
                self.save()
                return
            walls = said.pop("seconds")
            said["cpu_seconds"] = statistics.median(said["cpu_seconds"])
            if version := said.pop("version", None):
                self.versions["torch"] = version
            if runtime := said.pop("runtime", None):
                self.versions["libwfvae's onnxruntime"] = runtime
            if (provider := said.pop("provider", self.a.provider)).lower() != self.a.provider:
                self.fail(label, f"it ran on {provider}")
                return
            seconds = statistics.median(walls)
            options = (emission or Emission(None, None))._asdict()
            result = dict(about, chunk=chunk, precision=precision, kind=kind, name=name, **options, seconds=seconds,
                          best_seconds=min(walls), all_seconds=walls, fps=frames / seconds, work_gflop=gflop,
                          gflops=gflop / seconds, **said)
            self.compare(result, label, paths, made)
            self.rows.append(result)
            note(f"{label}: {seconds:.3f} s, {result['gflops']:.1f} GFLOP/s, differs by {result['max_abs_difference']:.2g}")
            self.save()

        def ours(emission, precision, chunk=None, *options, name="libwfvae"):
            provider = "cpu" if self.device is None else f"cuda:{self.device}"
            program = [PROGRAMS / "bench", "-P", provider, "-F", precision, "-C", emission.convolution, "-L", emission.layout]
            own = emission.provider_options.split(",") if emission.provider_options else []
            # Nothing else in the program waits for the whole device.
            if self.device is not None and not any(option.startswith("wfvae_graphs=") for option in own):
                own.append("wfvae_graphs=1")
            if own:
                program += ["-O", ",".join(own)]
            row("ours", name, chunk, precision, [*program, *options], model.argument, emission=emission)

        main, plain = self.a.precisions[0], Emission()
        first = [] if self.a.no_f32 else ["f32"]  # others are compared with it
        for precision in dict.fromkeys([*first, *self.a.precisions]):
            ours(plain, precision)
        whole = direction in model.whole
        for chunk in (n for n in self.a.chunks[direction] if n < given[0] and not whole):
            ours(plain, main, chunk)
        if self.a.bytes:
            ours(plain, main, None, "-8", name="libwfvae 8-bit")
        if "onnx" in self.a.peers and self.device is None:
            name = "encoder.clip.onnx" if direction == "encode" else "decoder.clip.onnx"
            try:
                graph = model.onnx() / name
                program = [sys.executable, HERE / "onnx_clip.py"]
                row("peer", "onnx rank-5", None, "f32", program, graph, latents, model.interpolation)
            except subprocess.CalledProcessError as error:
                self.fail("onnx rank-5", f"the graphs were not written: {error}")
        torch_precisions = self.torch_precisions if self.torch else []

        def torch(name, chunk, precision, *options):
            place = "cpu" if self.device is None else self.device
            row("peer", name, chunk, precision, [self.torch, HERE / "torch_eager.py"], model.folder, precision, place, *options)

        for precision in torch_precisions:
            if "whole" in self.a.torch_ways:
                torch("torch eager", None, precision)
            if frames > 1 and "chunks" in self.a.torch_ways and not model.whole:
                chunk = UPSTREAM_CHUNKS[direction]
                torch("torch eager", max(chunk, model.t_factor) if direction == "encode" else chunk, precision)
            if self.device is not None and "channels-last" in self.a.torch_ways:
                torch("torch eager channels-last", None, precision, "--memory-format", "channels-last")
        # Last, as they are many: a deadline may cut some off.
        for emission in self.a.convolutions if not whole else []:
            ours(emission, main)
        # And what may take minutes to begin.
        for precision in torch_precisions if self.a.torch_compile else []:
            torch("torch compiled", None, precision, "--compile")
        self.clean()

    def clean(self):
        """Also of what a run that was cut off left."""
        for path in self.a.out.glob("scratch-*"):
            path.unlink()

    def compare(self, result, label, paths, shape):
        """With the whole clip in float32, and chunks with the whole clip in their own precision."""
        new = np.memmap(paths[1], np.float32, "r", shape=shape)
        precision, mine = result["precision"], result["kind"] == "ours"
        # 8-bit frames hold no values beyond -1 and 1. Decoded, they are off by half of a code.
        in_bytes = "8-bit" in result["name"]
        clamped = in_bytes and result["direction"] == "decode"

        def furthest(reference):
            return max(float(np.abs((np.clip(a, -1, 1) if clamped else a) - b).max()) for a, b in zip(reference, new))

        if not paths[2].exists():
            shutil.copy(paths[1], paths[2])
            # A reference of fewer bits than float32's says less.
            self.reference = label, precision, mine
        first = np.memmap(paths[2], np.float32, "r", shape=shape)
        difference, largest = furthest(first), max(float(np.abs(frame).max()) for frame in first)
        result.update(max_abs_difference=difference, largest=largest)

        def tolerance(precision, mine):
            return TOLERANCE if precision == "f32" else HALF_TOLERANCE if mine else float("inf")

        allowed = max(tolerance(precision, mine), tolerance(*self.reference[1:])) * largest
        if in_bytes:
            allowed = allowed + 0.6 * 2 / 255 if clamped else max(allowed, HALF_TOLERANCE * largest)
        if not difference <= allowed:
            self.fail(label, f"differs by {difference:.3g} from {self.reference[0]}, whose largest value is {largest:.3g}")
        if mine and not in_bytes and Emission(*(result[name] for name in Emission._fields)) == Emission():
            whole = paths[2].with_suffix(f".{precision}")
            if result["chunk"] is None:
                shutil.copy(paths[1], whole)
            elif whole.exists() and (changed := furthest(np.memmap(whole, np.float32, "r", shape=shape))) != 0:
                self.fail(label, f"differs by {changed:.3g} from the whole clip in {precision}")

    def save(self):
        peak = max((gflops for peaks in self.peaks for gflops in peaks.values()), default=None)
        tile_peak = max(self.tile_peaks, default=None)
        for row in self.rows:
            row["fraction_of_peak"] = row["gflops"] / peak if peak else None
            row["fraction_of_tile_peak"] = row["gflops"] / tile_peak if tile_peak and row["precision"] == "bf16" else None
        everything = dict(machine=self.machine, versions=self.versions, threads=self.a.threads, provider=self.a.provider, peak_gflops=peak, peak=self.peaks,
                          tile_peak_gflops=tile_peak, tile_peak=self.tile_peaks,
                          rows=self.rows, left_out=self.left_out, failed=self.failed)
        for name, text in ("bench.json", json.dumps(everything, indent=1) + "\n"), ("bench.md", tables(everything)):
            partial = self.a.out / (name + ".partial")
            partial.write_text(text)
            partial.rename(self.a.out / name)


def machine():
    cpuinfo = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", cpuinfo)
    words = set(re.search(r"(?:flags|Features)\s*: (.*)|$", cpuinfo).group().split())
    instructions = {"avx2": "avx2" in words, "avx512f": "avx512f" in words,
                    "bf16": bool(words & {"avx512_bf16", "amx_bf16", "bf16"}), "amx": "amx_tile" in words,
                    "amx_bf16": {"amx_tile", "amx_bf16"} <= words}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return dict(processor=name[1] if name else os.uname().machine, processors=len(os.sched_getaffinity(0)), memory_bytes=memory,
                instructions=instructions, load_average=round(os.getloadavg()[0], 2), kernel=os.uname().release)


def commit():
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return None
    return found.stdout.strip() or None


# ---------------------------------------------------------------- the table


def tables(everything):
    machine, rows = everything["machine"], everything["rows"]
    where = machine.get("device", f"{machine['processor']}, {everything['threads']} threads")
    best = "the best" if "device" in machine else "the best float32 convolution"
    peak = everything["peak_gflops"]
    tiles = everything["tile_peak_gflops"]
    out = [where + (f"; {best}: {peak:.0f} GFLOP/s" if peak else "") + (f"; the matrix unit: {tiles:.0f} GFLOP/s" if tiles else "")]
    keys = ("model", "frames", "width", "height", "direction")
    for group in dict.fromkeys(tuple(row[key] for key in keys) for row in rows):
        mine = [row for row in rows if tuple(row[key] for key in keys) == group]
        model, frames, width, height, direction = group
        out += ["", f"**{model}, {frames}x{width}x{height}, {direction}**, {mine[0]['work_gflop']:.1f} GFLOP", ""]
        out += table(mine, "frames" if direction == "encode" else "latents")
    for what in "left_out", "failed":
        out += [""] + [f"{what.replace('_', ' ')}: {text}" for text in everything[what]] if everything[what] else []
    out += summary(rows) if rows else []
    return "\n".join(out) + "\n"


def table(rows, unit):
    def columns(row):
        megabytes = lambda key: f"{row[key] / 1e6:.0f}" if key in row else ""
        return {
            "": title(row),
            unit + " a call": str(row["chunk"] or "all"),
            "s": f"{row['seconds']:.3f}",
            "best s": f"{row['best_seconds']:.3f}",
            "frames/s": f"{row['fps']:.2f}",
            "GFLOP/s": f"{row['gflops']:.1f}",
            "of peak": f"{row['fraction_of_peak']:.2f}" if row["fraction_of_peak"] else "",
            "of tile peak": f"{row['fraction_of_tile_peak']:.2f}" if row["fraction_of_tile_peak"] else "",
            "peak MB": megabytes("peak_bytes"),
            "steady MB": megabytes("steady_bytes"),
            "mapped MB": megabytes("mapped_bytes"),
            "device MB": megabytes("device_bytes"),
            "load s": f"{row['load_seconds']:.2f}",
            "weights MB": megabytes("weight_bytes"),
            "sessions": str(row.get("sessions", "")),
            "differs by": f"{row['max_abs_difference']:.1e}" if row["max_abs_difference"] else "0",
        }

    return render([columns(row) for row in rows])


def title(row):
    """What the row is, but for the defaults."""
    options = [row[key] for key in ("convolution", "layout", "provider_options", "precision")]
    return ", ".join([row["name"], *(option for option in options if option not in (None, "exact", "auto", "f32"))])


def summary(rows):
    """A line for each row of all clips."""
    def clip(row):
        return f"{row['model']} {row['frames']}x{row['width']}x{row['height']}"

    eager = {}
    for row in rows:
        if row["name"].startswith("torch eager") and row["precision"] == "f16":
            key = clip(row), row["direction"]
            eager[key] = min(eager.get(key, float("inf")), row["seconds"])
    about = "; x eager: the time of the fastest eager PyTorch in f16 over this one" if eager else ""
    return ["", f"**All clips**{about}", ""] + render([{
        "clip": clip(row),
        "direction": row["direction"],
        "what": title(row),
        "a call": str(row["chunk"] or "all"),
        "s": f"{row['seconds']:.3f}",
        "TFLOP/s": f"{row['gflops'] / 1e3:.3g}",
        "x eager": f"{eager[key] / row['seconds']:.2f}" if (key := (clip(row), row["direction"])) in eager else "",
        "device MB": f"{row['device_bytes'] / 1e6:.0f}" if "device_bytes" in row else "",
        "off by": f"{row['max_abs_difference'] / row['largest']:.0e}" if row["max_abs_difference"] and row["largest"] else "0",
    } for row in rows], {"clip", "direction", "what"})


def render(cells, texts=("",)):
    """A table, without columns in which nothing is."""
    head = [name for name in cells[0] if any(row[name] for row in cells)]
    body = [[row[name] for name in head] for row in cells]
    widths = [max(len(line[i]) for line in [head] + body) for i in range(len(head))]
    left = [name in texts for name in head]
    line = lambda cells: "| " + " | ".join(t.ljust(w) if l else t.rjust(w) for l, t, w in zip(left, cells, widths)) + " |"
    rule = "|" + "|".join("-" * (w + 2) if l else "-" * (w + 1) + ":" for l, w in zip(left, widths)) + "|"
    return [line(head), rule] + [line(cells) for cells in body]


def main():
    # So that indices are those of nvidia-smi.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    bench = Bench(parse())
    bench.run()
    print((bench.a.out / "bench.md").read_text(), end="")
    sys.exit(1 if bench.failed else 0)


if __name__ == "__main__":
    main()
