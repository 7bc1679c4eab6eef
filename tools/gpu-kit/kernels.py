"""What `on-device` does in Python; run in the project's root, on the GPU machine.

    kernels.py fastest BENCH.JSON N      the N fastest entries of --convolutions in the file, by encode and decode together
    kernels.py command [MODEL... as below]      makes the clip; the program that runs it and its arguments, one a line
    kernels.py profile OUT [MODEL:FRAMESxWIDTHxHEIGHT [encode|decode [CHUNK [PRECISION [CONVOLUTION [LAYOUT]]]]]]

profile runs libwfvae under PyTorch's profiler, in one process (CUPTI sees every kernel of it), and tells which kernels the
last repetition's time went to: OUT/profile.txt. By default L:17x128x128, decode, 2 latents a call, in f16, as it comes.
KIT_PROVIDER=cpu: another provider than cuda:0.
"""
import ctypes
import json
import os
import sys
from pathlib import Path

ROOT = Path.cwd()
sys.path.insert(0, str(ROOT / "tools/bench"))


def fastest(path, count):
    seconds = {}
    for row in json.loads(Path(path).read_text())["rows"]:
        if row["kind"] == "ours" and row["precision"] == "f16" and row["chunk"] is None:
            way = ":".join(row[name] for name in ("convolution", "layout", "provider_options") if row[name])
            seconds.setdefault(way, []).append(row["seconds"])
    # "exact" is timed without being asked for; what failed in one direction is left out.
    done = {way: sum(s) for way, s in seconds.items() if len(s) == max(map(len, seconds.values())) and way != "exact:auto"}
    for way in sorted(done, key=done.get)[:count]:
        print(way)


def prepare(more):
    """Makes the model and the clip: the benchmark's arguments, the file that it prints to, and what is run."""
    import bench

    more = [*more, *["L:17x128x128", "decode", "2", "f16", "exact", "auto"][len(more):]]
    (name, frames, width, height), direction = bench.clip(None, more[0]), more[1]
    scratch = Path(os.environ["KIT"]) / "bench"
    scratch.mkdir(parents=True, exist_ok=True)
    model = bench.Model(name, scratch)
    coded = (model.latents(frames), model.channels, height // model.s_factor, width // model.s_factor)
    paths = [scratch / f"profile-{what}" for what in ("input.f32", "output.f32", "said")]
    bench.make_input(paths[0], (frames, 3, height, width) if direction == "encode" else coded, direction)
    words = ["bench", "-P", os.environ.get("KIT_PROVIDER", "cuda:0"), "-F", more[3], "-C", more[4], "-L", more[5], model.argument,
             direction, frames, width, height, more[2], len(os.sched_getaffinity(0)), 3, 10, paths[0], paths[1]]
    return words, paths[2], " ".join(more)


def command(*more):
    import bench

    words, _, _ = prepare(more)
    print(bench.PROGRAMS / "bench", *words[1:], sep="\n")


def run_profile(out, *more):
    import torch
    from torch.profiler import ProfilerActivity, profile

    import bench

    words, printed, what = prepare(more)
    torch.cuda.init()
    program = ctypes.CDLL(str(bench.PROGRAMS / "libbench.so"))
    argv = (ctypes.c_char_p * (len(words) + 1))(*[str(word).encode() for word in words], None)
    # It prints to the C library's standard output, and waits for the end of its input.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(os.open(printed, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o666), 1)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as p:
        failed = program.bench_main(len(words), argv)
        torch.cuda.synchronize()
    ctypes.CDLL(None).fflush(None)
    os.dup2(kept, 1)
    if failed:
        sys.exit("the program failed")
    trace = printed.with_name("trace.json")
    p.export_chrome_trace(str(trace))
    said = json.loads(printed.read_text().strip().split("\n")[-1])
    events = json.loads(trace.read_text())["traceEvents"]
    report(events, said["seconds"][-1], what, Path(out))


def report(events, seconds, what, out):
    """Of the last `seconds` before the end of the last kernel, the last repetition: time by kernel."""
    kinds = ("kernel", "gpu_memcpy", "gpu_memset")
    found = [e for e in events if e.get("ph") == "X" and e.get("cat") in kinds]
    if not found:
        sys.exit("the trace has no kernels")
    end = max(e["ts"] + e["dur"] for e in found)
    last = [e for e in found if e["ts"] >= end - seconds * 1e6]
    by = {}
    for e in last:
        by.setdefault(e["name"], []).append(e["dur"])
    busy = sum(e["dur"] for e in last) / 1e6
    text = [f"profile of {what}: last repetition {seconds:.3f} s, {len(last)} kernels and copies, device busy {busy:.3f} s"]
    for name, times in sorted(by.items(), key=lambda x: -sum(x[1]))[:60]:
        text.append(f"{sum(times) / 1e4 / seconds:5.1f} % {len(times):6} x {sum(times) / len(times):9.1f} us  {name[:110]}")
    (out / "profile.txt").write_text("\n".join(text) + "\n")
    print("\n".join(text[:26]))


if __name__ == "__main__":
    # So that indices are those of nvidia-smi.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    if sys.argv[1] == "fastest":
        fastest(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "command":
        command(*sys.argv[2:])
    else:
        run_profile(*sys.argv[2:])
