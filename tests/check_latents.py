"""Checks latent files with Python's safetensors, and the programs that write and read them.

    check_latents.py PROGRAMS LIBRARY

PROGRAMS is the folder of reconstruct, encode_file and decode_file, LIBRARY libwfvae.so.
"""

import ctypes
import json
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

PROGRAMS, LIBRARY = map(pathlib.Path, sys.argv[1:])
GOLDEN = pathlib.Path(__file__).parent / "golden"
# Header tags, what a frame has, as a multiple of its pixels, and bytes of a sample.
CHROMA = {"C420jpeg": (2, 1), "C422p10": (2, 2), "C444": (3, 1)}

passed = 0


def ok(name):
    global passed
    passed += 1
    print(f"ok {name}")


def run(program, *arguments, fails=None, **more):
    """Standard output; `fails`: the program must fail and name this on standard error."""
    command = [str(PROGRAMS / program), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, timeout=300, **more)
    error = result.stderr.decode()
    if fails is None:
        assert result.returncode == 0, f"{command}: {result.returncode}: {error}"
    else:
        assert result.returncode == 1 and fails in error, f"{command}: {result.returncode}: {error}"
    return result.stdout


def make_clip(path, width, height, frames, chroma, rate):
    """A moving pattern; Y4M rounds the sides of subsampled chroma up."""
    tags = f"YUV4MPEG2 W{width} H{height} F{rate} Ip A1:1 {chroma}\n"
    half = lambda n: (n + 1) // 2
    sides = {"C420jpeg": (half(width), half(height)), "C422p10": (half(width), height), "C444": (width, height)}
    top = 255 if CHROMA[chroma][1] == 1 else 1023
    with open(path, "wb") as file:
        file.write(tags.encode())
        for t in range(frames):
            file.write(b"FRAME\n")
            for p, (w, h) in enumerate([(width, height), sides[chroma], sides[chroma]]):
                y, x = np.mgrid[0:h, 0:w]
                plane = 0.5 + 0.3 * np.sin(0.4 * x + 0.7 * t + p) * np.cos(0.3 * y - 0.2 * t)
                file.write((plane * top).astype(np.uint8 if top == 255 else "<u2").tobytes())


def samples(y4m):
    """Of 8-bit video without the header, whose frame marks are equal in all."""
    return np.frombuffer(y4m[y4m.index(b"\n") + 1 :], np.uint8).astype(int)


def tensor(path):
    with safe_open(path, framework="np") as file:
        (name,) = file.keys()
        return name, file.get_tensor(name), file.metadata()


def library_values(path, shape):
    """The mean of all latents as float32, by the library's own reader."""
    library = ctypes.CDLL(str(LIBRARY.resolve()))
    reader, values = ctypes.c_void_p(), np.full(shape, np.nan, np.float32)
    library.wfvae_last_error.restype = ctypes.c_char_p
    status = library.wfvae_latent_reader_open(str(path).encode(), ctypes.byref(reader))
    assert status == 0, library.wfvae_last_error(None)
    room = values.ctypes.data_as(ctypes.c_void_p)
    count = ctypes.c_size_t(shape[0])
    status = library.wfvae_latent_reader_read(reader, ctypes.c_uint64(0), count, ctypes.c_uint32(0), room)
    assert status == 0, library.wfvae_last_error(None)
    library.wfvae_latent_reader_close(reader)
    return values


def check_clip(folder, width, height, frames, chroma, rate):
    """Encoding to a file and decoding it is what reconstruct does, to the bit."""
    name = f"{width}x{height}, {frames} frames, {chroma}"
    clip, expected, latents, decoded = (folder / n for n in ["in.y4m", "expected.y4m", "l.safetensors", "out.y4m"])
    make_clip(clip, width, height, frames, chroma, rate)
    run("reconstruct", "-q", clip, expected)
    run("encode_file", clip, latents)
    run("decode_file", latents, decoded)
    assert decoded.read_bytes() == expected.read_bytes()
    assert decoded.read_bytes().count(b"FRAME\n") == frames
    ok(f"round trip: {name}")

    with open(clip, "rb") as file:
        run("encode_file", "-c", 7, "-t", 1, "-", folder / "piped", stdin=file)
    assert (folder / "piped").read_bytes() == latents.read_bytes()
    assert run("decode_file", "-c", 3, latents) == expected.read_bytes()
    ok(f"pipes and chunks: {name}")

    kind, values, metadata = tensor(latents)
    config = json.loads((pathlib.Path(__file__).parent.parent / "src/model/builtin/config.json").read_text())
    c, h, w = config["latent_dim"], -(-height // 8), -(-width // 8)
    assert kind == "mean" and values.dtype == np.float32
    assert values.shape == (1 + -(-(frames - 1) // 4), c, h, w)
    assert metadata["note"].startswith(f"YUV4MPEG2 W{width} H{height} F{rate} ")
    for key in ("scale", "shift"):
        assert np.array_equal(np.float32(json.loads(metadata[key])), np.float32(config[key]))
    fixed = {k: v for k, v in metadata.items() if k not in ("note", "scale", "shift", "generator")}
    assert fixed == {
        "format": "wfvae-latents",
        "format_version": "1",
        "model": "c87dbf89e0a193dc",
        "encoder": "63a04ed0837b4b59",
        "decoder": "74e85060fdd88dd8",
        "width": str(width),
        "height": str(height),
        "padded": "true" if width % 8 or height % 8 else "false",
        "spatial_compression": "8",
        "temporal_compression": "4",
        "latent_channels": str(c),
        "posterior": "mean",
        "scaled": "false",
        "frames": str(frames),
        "fps": rate.replace(":", "/"),
    }
    assert metadata["generator"].startswith("libwfvae ")
    assert np.array_equal(library_values(latents, values.shape), values)
    ok(f"Python reads it: {name}")


def check_kinds(folder):
    """Against the file of float32 means."""
    clip, mean = folder / "clip.y4m", folder / "mean"
    make_clip(clip, 45, 31, 11, "C420jpeg", "25:1")
    run("encode_file", clip, mean)
    expected = samples(run("decode_file", mean))
    _, values, metadata = tensor(mean)

    run("encode_file", "-f", clip, folder / "half")
    kind, half, _ = tensor(folder / "half")
    assert kind == "mean" and half.dtype == np.float16 and np.array_equal(half, values.astype(np.float16))
    assert np.array_equal(library_values(folder / "half", half.shape), half.astype(np.float32))
    difference = np.abs(samples(run("decode_file", folder / "half")) - expected)
    # Rounding to 11 bits moves the result by a code here and there.
    assert difference.max() <= 2 and 0 < difference.mean() < 0.05, (difference.max(), difference.mean())
    ok(f"float16: decoded samples differ by at most {difference.max()} of 255, {difference.mean():.4f} on average")

    run("encode_file", "-n", clip, folder / "scaled")
    _, scaled, lists = tensor(folder / "scaled")
    scale, shift = (np.float32(json.loads(lists[key])).reshape(1, -1, 1, 1) for key in ("scale", "shift"))
    assert lists["scaled"] == "true" and np.allclose(scaled, (values - shift) * scale, rtol=1e-6, atol=1e-6)
    assert np.abs(samples(run("decode_file", folder / "scaled")) - expected).max() <= 1
    ok("scaled")

    run("encode_file", "-p", "moments", clip, folder / "moments")
    kind, moments, _ = tensor(folder / "moments")
    c = values.shape[1]
    assert kind == "moments" and moments.shape[1] == 2 * c and np.array_equal(moments[:, :c], values)
    assert np.array_equal(library_values(folder / "moments", values.shape), values)
    assert np.array_equal(samples(run("decode_file", folder / "moments")), expected)
    ok("moments")

    seeds = {}
    for name, seed in [("a", 1), ("b", 1), ("c", 18446744073709551615)]:
        run("encode_file", "-p", "sample", "-s", seed, clip, folder / name)
        kind, seeds[name], fields = tensor(folder / name)
        assert kind == "sample" and fields["seed"] == str(seed)
    noise = (seeds["a"] - values) / np.exp(moments[:, c:] / 2)
    assert np.array_equal(seeds["a"], seeds["b"]) and not np.array_equal(seeds["a"], seeds["c"])
    assert abs(noise.mean()) < 0.1 and 0.9 < noise.std() < 1.1, (noise.mean(), noise.std())
    run("decode_file", folder / "a")
    ok("sample")

    # What another program writes, with no more than it must.
    written = {k: v for k, v in metadata.items() if k not in ("note", "scale", "shift")}
    save_file({"mean": values}, folder / "python", {**written, "generator": "check_latents.py", "other": "ignored"})
    assert np.array_equal(samples(run("decode_file", folder / "python")), expected)
    del written["fps"]
    save_file({"mean": half}, folder / "python-half", written)
    result = run("decode_file", folder / "python-half")
    assert result.startswith(b"YUV4MPEG2 W45 H31 F0:0 ") and np.abs(samples(result) - expected).max() <= 2
    # More than a Y4M header can say.
    for rate in "2147483648/1", "1/4294967295":
        save_file({"mean": values}, folder / "python-rate", {**written, "fps": rate})
        assert run("decode_file", folder / "python-rate").startswith(b"YUV4MPEG2 W45 H31 F0:0 "), rate
    ok("Python writes it")


def check_colours(folder):
    """The matrix and range of -M and -R, which the clip's header does not have, hold for decode_file too."""
    clip, latents = folder / "clip.y4m", folder / "latents"
    # From 720 lines up the matrix is another if none is given.
    for width, height in (64, 48), (16, 720):
        make_clip(clip, width, height, 3, "C444", "25:1")
        results = {}
        for options in [], ["-M", "601"], ["-M", "709"], ["-R", "full"], ["-R", "limited"], ["-M", "709", "-R", "full"]:
            run("encode_file", *options, clip, latents)
            result = run("decode_file", latents)
            assert result == run("reconstruct", "-q", *options, clip), (width, height, options)
            results[" ".join(options)] = samples(result)
        default, other = ("-M 601", "-M 709") if height < 720 else ("-M 709", "-M 601")
        assert np.array_equal(results[""], results[default]) and np.array_equal(results[""], results["-R limited"])
        for options in other, "-R full", "-M 709 -R full":
            assert np.abs(results[options] - results[""]).max() > 0, options
    ok("matrix and range")


def check_model_options(folder):
    """How the network is computed: how far latents and frames move, and by how much at least where they must."""
    clip, mean = folder / "clip.y4m", folder / "mean"
    make_clip(clip, 64, 48, 9, "C420jpeg", "25:1")
    run("encode_file", "-P", "cpu", clip, mean)
    values, expected = tensor(mean)[1], samples(run("decode_file", mean))
    largest = np.abs(values).max()
    kinds = [["-C", c] for c in ("fast", "direct", "stacked", "volume")] + [["-F", "f16"], ["-F", "f16", "-C", "volume"]]
    for options in kinds:
        near = 1e-5 if "-F" not in options else 4e-3
        run("encode_file", *options, clip, folder / "other")
        moved = np.abs(tensor(folder / "other")[1] - values).max() / largest
        assert 0 < moved < near, (options, moved)
        frames = np.abs(samples(run("decode_file", *options, mean)) - expected)
        assert frames.max() <= (1 if "-F" not in options else 4), (options, frames.max())
        assert "-F" not in options or frames.max() > 0, options
        ok(f"{' '.join(options)}: latents move by {moved:.1e} of the largest, samples by at most {frames.max()} of 255")

    for program, files in ("encode_file", [clip, folder / "x"]), ("decode_file", [mean]), ("reconstruct", [clip, folder / "x"]):
        run(program, "-P", "cuda", *files, fails="CUDA device 0: ")
        run(program, "-P", "cuda:3", "-F", "bf16", *files, fails="CUDA device 3: ")
        run(program, "-P", "cpu", "-F", "tf32", *files, fails="the CPU has no such mode")
        run(program, "-P", "cpu", "-O", "use_tf32=1", *files, fails="use_tf32 is an option of a CUDA device")
        run(program, "-P", "cpu", "-L", "planes", *files, fails="layout planes: on the CPU")
        for wrong in ["-P", "gpu"], ["-P", "cuda:x"], ["-P", "cuda:"], ["-F", "f8"], ["-C", ""], ["-t", "0"], ["-t", "1025"]:
            result = subprocess.run([PROGRAMS / program, *wrong, *files], capture_output=True, timeout=60)
            assert result.returncode == 2 and result.stderr.startswith(f"usage: {program} ".encode()), (program, wrong)
        assert not (folder / "x").exists()
    ok("refused options")


def check_refusals(folder):
    """Programs that fail name the cause, and leave nothing."""
    clip, latents, output = folder / "clip.y4m", folder / "latents", folder / "output"
    make_clip(clip, 45, 31, 11, "C420jpeg", "25:1")
    run("encode_file", clip, latents)
    _, values, metadata = tensor(latents)
    files = set(folder.iterdir())

    run("decode_file", "-m", GOLDEN / "v1-tiny", latents, output, fails="encoders and decoders differ")
    run("decode_file", "-m", GOLDEN / "v1-tiny", "-E", latents, output, fails="latent channels")
    # Models of the same sizes, of which another encoder made the latents.
    tiny, nearest = GOLDEN / "v1-tiny", GOLDEN / "v1-tiny-nearest"
    run("encode_file", "-m", tiny, clip, output)
    run("decode_file", "-m", nearest, output, fails="encoders and decoders differ")
    assert run("decode_file", "-m", nearest, "-E", output).count(b"FRAME\n") == 11
    output.unlink()
    # Latents that no decoder takes: what comes out is the clip that those before them are.
    broken = values.copy()
    broken[2] = 3e38
    save_file({"mean": broken}, folder / "broken", metadata)
    save_file({"mean": values[:2]}, folder / "good", {**metadata, "frames": "5"})
    expected = run("decode_file", folder / "good")
    for chunk in 1, 2, 3, 4:
        result = run("decode_file", "-c", chunk, folder / "broken", fails="frames before it that were written: 5")
        assert result.count(b"FRAME\n") == 5 and result == expected, chunk
    for name in "broken", "good":
        (folder / name).unlink()

    run("decode_file", clip, output, fails="clip.y4m: a clip (Y4M), not latents: encode it first")
    run("decode_file", folder / "none", output, fails="none: No such file")
    run("encode_file", "-x", clip, output, fails="45x31: width and height must be multiples of 8")
    run("encode_file", "-m", GOLDEN / "none", clip, output, fails="none")
    run("encode_file", clip, folder, fails="not a regular file")
    run("encode_file", clip, "/dev/null", fails="not a regular file")
    run("encode_file", clip, folder / "none/x", fails="No such file")
    whole = clip.read_bytes()
    run("encode_file", "-", output, input=whole[: whole.index(b"\n") + 1], fails="no frame in the clip")

    def small_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    run("encode_file", clip, output, fails="File too large", preexec_fn=small_disk)
    assert tensor(latents)[1].shape == values.shape and set(folder.iterdir()) == files, set(folder.iterdir()) - files

    # Interrupted in the middle of a pipe, when its temporary file is there.
    with subprocess.Popen([PROGRAMS / "encode_file", "-", output], stdin=-1, stderr=-1) as program:
        program.stdin.write(whole[:-1])
        program.stdin.flush()
        while not set(folder.iterdir()) - files:
            assert program.poll() is None
        program.terminate()
        assert b"interrupted" in program.stderr.read() and program.wait() == 1
        program.stdin.close()
    assert set(folder.iterdir()) == files, set(folder.iterdir()) - files
    ok("failures leave nothing")

    # But of a clip that breaks off the whole frames are kept.
    run("encode_file", "-", output, input=whole[:-1], fails="-: frame 10: truncated, 1 of")
    assert tensor(output)[2]["frames"] == "10" and np.array_equal(tensor(output)[1][:3], values[:3])
    ok("a clip that breaks off")


def main():
    clips = [(64, 48, 9, "C420jpeg", "25:1"), (45, 31, 11, "C444", "30000:1001"), (45, 31, 1, "C420jpeg", "24:1")]
    clips += [(17, 40, 6, "C422p10", "50:1"), (8, 8, 4, "C420jpeg", "25:1")]
    for clip in clips:
        with tempfile.TemporaryDirectory() as folder:
            check_clip(pathlib.Path(folder), *clip)
    for check in check_kinds, check_colours, check_model_options, check_refusals:
        with tempfile.TemporaryDirectory() as folder:
            check(pathlib.Path(folder))
    print(f"{passed} passed, 0 failed")


if __name__ == "__main__":
    main()
