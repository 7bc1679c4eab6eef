"""Checks what the programs do with files and streams that are not as they should be: whose output is their input, which
break off, which cannot be written; and their options, warnings and exit statuses. Needs no more than Python.

    check_programs.py PROGRAMS [RUNNER...]

With a RUNNER, such as wine64, the programs are those of Windows, and it runs them.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import pathlib
import pty
import re
import resource
import select
import shutil
import signal
import string
import struct
import subprocess
import sys
import tempfile
import termios
import time
import zlib

PROGRAMS = pathlib.Path(sys.argv[1]).resolve()
RUNNER = sys.argv[2:]
WINDOWS = bool(RUNNER)
NULL = "NUL" if WINDOWS else os.devnull
# An error of the library; the words of Windows are in the user's language.
MISSING = "(os error 2)" if WINDOWS else "/none: No such file or directory (os error 2)"
MODEL = pathlib.Path(__file__).resolve().parent / "golden" / "v1-tiny"
NAMES = ["reconstruct", "encode_file", "decode_file", "save_onnx", "scrub"]
WIDTH, HEIGHT = 32, 24
# Linux's, which Python has from 3.10 on.
F_SETPIPE_SZ = 1031
# Seconds; what takes longer hangs.
TIME = 300
HEADER = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F25:1 Ip A1:1 C444\n".encode()

passed = 0


def ok(name):
    global passed
    passed += 1
    print(f"ok {name}")


def some(items):
    """All of them, or on Windows the first two, as its programs start slowly under an emulator."""
    return list(items)[:2] if WINDOWS else list(items)


def command(program, *arguments):
    return [*RUNNER, str(PROGRAMS / (program + ".exe" if WINDOWS else program)), *map(str, arguments)]


def run(program, *arguments, **more):
    """Status, standard output, standard error."""
    more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **more}
    if "input" in more:
        del more["stdin"]
    result = subprocess.run(command(program, *arguments), stderr=subprocess.PIPE, timeout=TIME, **more)
    return result.returncode, result.stdout, result.stderr.decode()


@contextlib.contextmanager
def started(*command, **more):
    """A program that is ended with the block, whatever happens there."""
    with subprocess.Popen(command, **more) as program:
        try:
            yield program
        finally:
            program.kill()


def works(program, *arguments, **more):
    status, output, error = run(program, *arguments, **more)
    assert status == 0, (program, arguments, status, error)
    return output


def fails(text, program, *arguments, **more):
    status, output, error = run(program, *arguments, **more)
    assert status == 1 and text in error, (program, arguments, status, error)
    return output


def frames(count, size=WIDTH * HEIGHT):
    """Something that moves, with its marks."""
    sample = lambda t, p, i: (i * (p + 2) // 3 + 5 * t + 40 * p) % 200 + 20
    return [b"FRAME\n" + bytes(sample(t, p, i) for p in range(3) for i in range(size)) for t in range(count)]


def clip(count):
    return HEADER + b"".join(frames(count))


def copy_model(folder):
    folder.mkdir()
    for name in "config.json", "model.safetensors":
        shutil.copyfile(MODEL / name, folder / name)
    return folder


def state(folder):
    """All names below a folder, what they lead to, and what is in the files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        found[str(path)] = (os.readlink(path) if path.is_symlink() else None, content)
    return found


def check_own_input(folder):
    """No program writes over what it reads, by whatever name; nothing on the disk changes."""
    model = copy_model(folder / "model")
    source, latents, other = folder / "in.y4m", folder / "in.latents", folder / "other.y4m"
    source.write_bytes(clip(9))
    other.write_bytes(b"precious")
    works("encode_file", "-m", model, source, latents)
    (folder / "soft").symlink_to("in.y4m")
    (folder / "soft-latents").symlink_to(latents)
    (folder / "hard").hardlink_to(source)
    (folder / "hard-weights").hardlink_to(model / "model.safetensors")
    (folder / "soft-config").symlink_to("model/config.json")
    (folder / "nowhere").symlink_to("new.y4m")
    (folder / "far").symlink_to(folder / "nowhere")
    (folder / "farther").symlink_to("soft-folder/far")
    (folder / "soft-folder").symlink_to(folder)
    (folder / "graphs").mkdir()
    (folder / "graphs/encoder.0.onnx").symlink_to("../model/config.json")
    (folder / "raw").write_bytes(bytes(4 * 3 * 16 * 16))

    of_clip = [source] + [f"{folder}/{name}" for name in ("./in.y4m", "graphs/../in.y4m", "soft", "hard", "soft-folder/in.y4m")]
    if WINDOWS:
        of_clip += [f"{folder}\\GRAPHS\\..\\IN.Y4M", f"{folder}/in.y4m."]
    of_model = [model / "config.json", model / "model.safetensors", folder / "hard-weights", folder / "soft-config"]
    m = ["-m", model]
    refused = []
    for output in of_clip:
        refused += [("the output is the input", program, *m, source, output) for program in ("reconstruct", "encode_file")]
        refused += [("the picture is the input", "reconstruct", *m, "-p", output, source, folder / "new.y4m")]
    for output in latents, folder / "soft-latents", folder / "soft-folder/in.latents":
        refused += [("the output is the input", "decode_file", *m, latents, output)]
    for output in of_model:
        refused += [("the output is a file of the model", "reconstruct", *m, source, output)]
        refused += [("the output is a file of the model", "encode_file", *m, source, output)]
        refused += [("the output is a file of the model", "decode_file", *m, latents, output)]
        refused += [("the picture is a file of the model", "reconstruct", *m, "-p", output, source, folder / "new.y4m")]
        # The model may be named by its weights.
        refused += [("is a file of the model", "reconstruct", "-m", model / "model.safetensors", source, output)]
    new = [("new.y4m", name) for name in ("./new.y4m", "soft-folder/new.y4m")]
    if WINDOWS:
        new += [("new.y4m", name) for name in ("NEW.y4m", ".\\new.y4m", "new.y4m.")]
    else:
        new += [("new.y4m", name) for name in ("nowhere", "far", "farther")] + [("farther", "new.y4m")]
    for a, b in [(other, other), *new]:
        refused += [("the picture is the output", "reconstruct", *m, "-p", folder / a, source, folder / b)]
    for graphs in model, folder / "soft-folder/model", f"{model}/.":
        refused += [("holds the open model's own files", "save_onnx", *m, graphs)]
    refused += [("own file", "save_onnx", *m, folder / "graphs")]
    # What the folder would open in place of its model.
    for name in "diffusion_pytorch_model.safetensors", "model.safetensors.index.json":
        for path in model / name, folder / "soft-folder/model" / name:
            refused += [("would be opened as weights", "encode_file", *m, source, path)]
    raw = folder / "raw"
    if not WINDOWS:
        refused += [("the output is the input", "bench", "-", "encode", 1, 16, 16, 1, 1, 1, 0, raw, raw)]
    # A pipeline's model lies in a folder, a cache's versions in several, an index has its shards beside it.
    (folder / "cache").mkdir()
    for part in "vae", "snapshots/1a2b/vae":
        shutil.copytree(model, folder / "cache" / part)
        config = folder / "cache" / part / "config.json"
        refused += [("is a file of the model", "reconstruct", "-m", folder / "cache", source, config)]
    (folder / "cache/model_index.json").write_bytes(b"{}")
    refused += [("is a file of the model", "reconstruct", "-m", folder / "cache", source, folder / "cache/model_index.json")]
    sharded = folder / "sharded"
    sharded.mkdir()
    for name in "config.json", "w.safetensors.index.json", "w-00001-of-00002.safetensors", "w-00002-of-00002.safetensors":
        (sharded / name).write_bytes(b"precious")
        named = sharded / "w.safetensors.index.json"
        refused += [("is a file of the model", "reconstruct", "-m", model_, source, sharded / name) for model_ in (sharded, named)]
    if not WINDOWS:
        refused += [("the picture is the output", "reconstruct", *m, "-p", "/dev/stdout", source)]
        refused += [("the report is the picture", "reconstruct", *m, "-p", "/dev/stdout", source, folder / "new.y4m")]
    before = state(folder)
    for text, *command in refused:
        fails(text, *command)
        assert state(folder) == before, command
    ok(f"output over input, model or another output: {len(refused)} ways, nothing is written")

    def redirected(text, program, *arguments, read=None, append):
        with open(read or os.devnull, "rb") as stdin, open(append, "ab") as stdout:
            fails(text, program, *arguments, stdin=stdin, stdout=stdout)
        assert state(folder) == before, (program, arguments)

    redirected("the output is the input", "reconstruct", read=source, append=source)
    redirected("the output is the input", "reconstruct", "-", "-", read=folder / "hard", append=source)
    redirected("the output is the input", "reconstruct", source, append=folder / "soft")
    if not WINDOWS:
        redirected("the output is the input", "reconstruct", "/dev/stdin", "/dev/stdout", read=source, append=source)
    redirected("the output is the input", "decode_file", latents, append=latents)
    redirected("standard output is the input", "scrub", source, append=source)
    redirected("the report is the input", "reconstruct", source, folder / "new.y4m", append=source)
    redirected("the output is a file of the model", "reconstruct", *m, source, append=model / "config.json")
    for name in "reconstruct", "encode_file":
        with open(source, "rb") as stdin:
            fails("the output is the input", name, "-", source, stdin=stdin)
            if not WINDOWS:
                fails("the output is the input", name, "/dev/stdin", source, stdin=stdin)
    fails("latents cannot be written to standard output", "encode_file", source, "-", cwd=folder)
    assert state(folder) == before
    ok("redirections of the shell")

    # What is no mistake.
    expected = works("reconstruct", "-q", *m, source)
    for output in other, folder / "nowhere", NULL, *([] if WINDOWS else ["/dev/stdout"]):
        text = works("reconstruct", "-q", *m, "-p", folder / "picture.png", source, output)
        assert output == NULL or (text if output == "/dev/stdout" else output.read_bytes()) == expected, output
    assert (folder / "nowhere").is_symlink() and (folder / "new.y4m").read_bytes() == expected
    assert works("reconstruct", "-q", *m, "-", "-", input=source.read_bytes()) == expected
    with open(folder / "both", "wb") as stdout:
        works("reconstruct", "-q", *m, source, folder / "both", stdout=stdout)
    assert (folder / "both").read_bytes() == expected
    works("encode_file", *m, source, latents)
    # Beside a model, in a folder that the library does not look into, latents may be written, also a second time.
    (model / "latents").mkdir()
    for _ in range(2):
        works("encode_file", *m, source, model / "latents/clip.safetensors")
    works("save_onnx", *m, folder)
    works("save_onnx", *m, folder)
    with open(os.devnull, "wb") as stdout:
        status, _, error = run("reconstruct", *m, source, NULL, stdout=stdout)
    assert status == 0 and "psnr" not in error, error
    ok("other outputs, pipes and devices")


def check_broken_clips(folder):
    """The whole frames before the damage come out as from a clip of so many, then the error."""
    whole = frames(11)
    good = lambda count: HEADER + b"".join(whole[:count])
    damages = {
        "in a frame": (7, good(7) + whole[7][:1000], "truncated"),
        "one byte short": (10, good(11)[:-1], "frame 10: truncated, 1 of 2304"),
        "in the second frame": (1, good(2)[:-5], "frame 1: truncated"),
        "in the word FRAME": (4, good(4) + b"FRA", "frame 4: truncated"),
        "after the word FRAME": (4, good(4) + b"FRAME", "frame 4: truncated"),
        "garbage between frames": (5, good(5) + b"garbage" + whole[5], "frame 5: does not begin with FRAME"),
        "a damaged word FRAME": (5, good(5) + b"FRAXE" + whole[5][5:] + whole[6], "frame 5: does not begin with FRAME"),
        "a line break lost": (5, good(5) + b"FRAME" + whole[5][6:], "frame 5: "),
        "another clip behind it": (3, good(3) + good(3), "frame 3: does not begin with FRAME"),
    }
    out, latents = folder / "out.y4m", folder / "out.latents"
    damages = some(damages.items())
    for name, (count, data, text) in damages:
        kept = f"{count} whole frame{'s' if count > 1 else ''} before it w"
        expected = works("reconstruct", "-q", input=good(count))
        for chunk in some([1, 4, 7]):
            result = fails(text, "reconstruct", "-q", "-c", chunk, input=data)
            assert result == expected, (name, chunk)
        (folder / "in.y4m").write_bytes(data)
        report = fails(kept, "reconstruct", "-q", "-p", folder / "picture.png", folder / "in.y4m", out)
        assert out.read_bytes() == expected and f"{count} frames".encode() in report, name
        fails(kept, "reconstruct", "-q", "-w", 16, folder / "in.y4m", out)
        assert out.read_bytes().count(b"FRAME\n") == count, name

        works("encode_file", "-", folder / "expected", input=good(count))
        report = fails(kept, "encode_file", "-", latents, input=data)
        assert latents.read_bytes() == (folder / "expected").read_bytes(), name
        assert f"{count} frames of".encode() in report, name
        if count > 1:
            report = fails(kept, "scrub", folder / "in.y4m")
            assert b"forked: bit-identical" in report, name
    ok(f"clips that break off: {len(damages)} kinds")

    # Where not one frame is whole, what was there stays.
    out.write_bytes(b"precious")
    shutil.copyfile(out, latents)
    nothing = {b"": "it is empty", HEADER[:20]: "stream header: truncated", HEADER: "no frame in the clip"}
    nothing |= {b"\x1aE\xdf\xa3" * 9: "convert it, with ffmpeg -i INPUT"}
    nothing |= {HEADER + whole[0][:-1]: "frame 0: truncated, 1 of 2304", HEADER + b"garbage": "frame 0: does not begin"}
    nothing |= {b"YUV4MPEG2 W2 H1 Cmono10\nFRAME\n\0\3\0\4": "frame 0: a sample exceeds 10 bits"}
    nothing |= {clip(3).replace(b"\n", b"\r\n"): "copy it as bytes"}
    headers = {(b"W32", b"W99999999"): "frame size 99999999x24", (b"H24", b"H-24"): "bad header tag H-24"}
    headers |= {(b"Ip", b"It"): "ffmpeg -i INPUT -vf bwdif", (b"C444", b"C410"): "ffmpeg -i INPUT -pix_fmt yuv420p"}
    nothing |= {clip(3).replace(*change): text for change, text in headers.items()}
    nothing = some(nothing.items())
    for data, text in nothing:
        for program, output in ("reconstruct", out), ("encode_file", latents):
            fails(text, program, "-", output, input=data)
            assert output.read_bytes() == b"precious", (program, data[:60])
        fails(text if data != HEADER else "two frames or more", "scrub", "-", input=data)
    assert {path.name for path in folder.iterdir()} == {"in.y4m", "out.y4m", "out.latents", "expected", "picture.png"}
    fails("no-such.y4m: No such file", "reconstruct", folder / "no-such.y4m", out)
    fails("Is a directory", "reconstruct", folder, out)
    fails("Is a directory", "encode_file", folder, latents)
    none = ["-m", folder / "none"]
    fails(f"{MISSING}; name a folder or a file on this machine", "reconstruct", *none, folder / "in.y4m", out)
    fails(f"{MISSING}; name", "decode_file", *none, folder / "expected", out)
    assert out.read_bytes() == latents.read_bytes() == b"precious"
    ok(f"no whole frame: {len(nothing)} kinds, and the output is not touched")

    alpha = HEADER.replace(b"C444", b"C444alpha") + b"".join(frame + bytes(WIDTH * HEIGHT) for frame in whole)
    status, output, error = run("reconstruct", "-q", input=alpha)
    assert status == 0 and output == works("reconstruct", "-q", input=good(11))
    assert error.count("alpha is ignored") == 1, error
    ok("alpha is read over, with one warning")

    assert fails("the clip is longer than -w says", "reconstruct", "-q", "-w", 5, input=good(11)).count(b"FRAME\n") == 5
    ok("a clip longer than -w")


def check_broken_latents(folder):
    """A file that becomes shorter while it is decoded, which the pipe holds back until that has happened."""
    source, latents = folder / "in.y4m", folder / "latents"
    left = 12
    count = 1 + 4 * (left - 1)
    source.write_bytes(clip(count))
    works("encode_file", "-m", MODEL, source, latents)
    expected = works("decode_file", "-m", MODEL, latents)
    source.write_bytes(clip(65))
    for chunk in 1, 5:
        works("encode_file", "-m", MODEL, source, latents)
        size = latents.stat().st_size
        data = struct.unpack("<Q", latents.read_bytes()[:8])[0] + 8
        with started(*command("decode_file", "-m", MODEL, "-c", chunk, latents), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
            # Room for less than a frame's two pages, so that the program cannot run ahead.
            fcntl.fcntl(program.stdout, F_SETPIPE_SZ, 4096)
            assert select.select([program.stdout], [], [], TIME)[0], "no output"
            start = os.read(program.stdout.fileno(), 1)
            os.truncate(latents, data + (size - data) // 17 * left + 5)
            rest, error = program.communicate(timeout=TIME)
            output, error = start + rest, error.decode()
            assert program.returncode == 1 and f"frames before it that were written: {count}" in error, error
        assert output == expected, (chunk, len(output), len(expected))
    out = folder / "out.y4m"
    out.write_bytes(b"precious")
    fails("truncated or damaged", "decode_file", "-m", MODEL, latents, out)
    fails("a clip (Y4M), not latents", "decode_file", "-m", MODEL, source, out)
    assert out.read_bytes() == b"precious"
    ok("latents that break off: what was decoded is written")


def limit_files():
    """As a shell's ulimit -f: what a program writes beyond ends it, if it does not see to that."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def check_full_disks(folder):
    """What did not arrive is an error, wherever it shows."""
    source, latents = folder / "in.y4m", folder / "latents"
    source.write_bytes(clip(5))
    works("encode_file", source, latents)
    expected = works("reconstruct", "-q", source)
    full = "No space left on device"
    fails(full, "reconstruct", "-q", source, "/dev/full")
    fails(full, "decode_file", latents, "/dev/full")
    fails("cannot write the file", "reconstruct", "-q", "-p", "/dev/full", source, "/dev/null")
    with open("/dev/full", "wb") as device:
        fails(full, "reconstruct", "-q", source, stdout=device)
        fails(full, "decode_file", latents, stdout=device)
        fails(full, "scrub", source, stdout=device)
        fails(full, "reconstruct", "-q", source, folder / "out.y4m", stdout=device)
        fails(full, "encode_file", source, folder / "new", stdout=device)
        for name in NAMES:
            fails(full, name, "-h", stdout=device)
    assert (folder / "out.y4m").read_bytes() == expected and (folder / "new").read_bytes() == latents.read_bytes()
    fails("File too large", "save_onnx", folder, preexec_fn=limit_files)
    fails("File too large", "reconstruct", "-q", source, folder / "cut.y4m", preexec_fn=limit_files)
    fails("File too large", "decode_file", latents, folder / "cut.y4m", preexec_fn=limit_files)
    source.write_bytes(clip(65))
    before = set(folder.iterdir())
    fails("File too large", "encode_file", "-p", "moments", source, folder / "cut", preexec_fn=limit_files)
    assert set(folder.iterdir()) == before
    ok("full disks")


def check_lost_reader(folder):
    source, latents = folder / "in.y4m", folder / "latents"
    source.write_bytes(clip(5))
    works("encode_file", source, latents)
    for program, file in ("reconstruct", source), ("decode_file", latents):
        for ignored in True, False:
            read, write = os.pipe()
            os.close(read)
            status, _, error = run(program, file, stdout=write, restore_signals=not ignored, close_fds=True)
            os.close(write)
            # Whoever left the signal as it is has the program ended by it, as any in a pipe.
            reported = status == 1 and ("Broken pipe" in error or WINDOWS and "cannot write: Invalid argument" in error)
            right = reported if ignored or WINDOWS else status == -signal.SIGPIPE
            assert right, (program, status, error)
    ok("a reader that went away")


def check_interrupts(folder):
    # What nohup has ignored stays ignored; otherwise no file is left.
    for number, ignored in (signal.SIGHUP, True), (signal.SIGHUP, False), (signal.SIGINT, False), (signal.SIGTERM, False):
        hang_up = signal.SIG_IGN if ignored else signal.SIG_DFL
        encode = command("encode_file", "-m", MODEL, "-", folder / f"hang-up-{ignored}")
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        with started(*encode, **pipes, preexec_fn=lambda: signal.signal(number, hang_up)) as program:
            # More than a pipe holds: it is at work.
            program.stdin.write(clip(65))
            program.stdin.flush()
            program.send_signal(number)
            _, error = program.communicate(frames(1)[0], timeout=TIME)
            assert program.returncode == (0 if ignored else 1), error
            assert ignored or b"interrupted" in error, error
    assert [path.name for path in folder.glob("*hang-up*")] == ["hang-up-True"]
    assert not list(folder.glob(".wfvae*"))
    ok("hang-ups and interrupts")


def check_console(folder):
    """Control-C in a console of Windows, which is a terminal here, leaves no file."""
    control, terminal = pty.openpty()
    encode = command("encode_file", "-m", MODEL, "-", folder / "clip.safetensors")
    session = {"start_new_session": True, "preexec_fn": lambda: fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)}
    with started(*encode, stdin=subprocess.PIPE, stdout=terminal, stderr=terminal, **session) as program:
        program.stdin.write(clip(25))
        program.stdin.flush()
        end = time.monotonic() + TIME
        while not any(folder.iterdir()):
            assert time.monotonic() < end, "no file is begun"
            time.sleep(0.01)
        os.write(control, b"\x03")
        # Wine cannot end the wait for input of a pipe of Linux.
        time.sleep(1)
        program.stdin.close()
        assert program.wait(TIME) == 1
    assert b"interrupted" in os.read(control, 1 << 16)
    assert not list(folder.iterdir())
    os.close(control)
    os.close(terminal)
    ok("Control-C")


def check_closed_descriptors(folder):
    source = folder / "in.y4m"
    source.write_bytes(clip(5))
    expected = works("reconstruct", "-q", source)

    # A closed descriptor must not become the output, and then receive the report.
    def shell(redirections, *arguments):
        reconstruct = ["sh", "-c", f'"$@" {redirections}', "sh", *command("reconstruct", "-q", *arguments)]
        return subprocess.run(reconstruct, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIME)

    closed = folder / "closed.y4m"
    cases = [(source, "<&-", 0), (source, ">&-", 1), (source, "2>&-", 0), ("-", f"<'{source}' >&-", 1)]
    for name, redirections, status in cases:
        result = shell(redirections, name, closed)
        assert result.returncode == status and (status == 0 or b"Bad file descriptor" in result.stderr), (redirections, result)
        assert closed.read_bytes() == expected, redirections
    result = shell(">&-", source)
    assert result.returncode == 1 and b"Bad file descriptor" in result.stderr, result
    ok("closed descriptors")


def check_options(folder):
    source = folder / "in.y4m"
    source.write_bytes(clip(5))
    for name in NAMES:
        text = works(name, "-h").decode()
        assert text.startswith(f"usage: {name} [options]") and max(map(len, text.splitlines())) <= 120
        listed = set(re.findall(r"^  -(\w)", text, re.M))
        letters = some(string.ascii_letters)
        unknown = "unknown option" if WINDOWS else "invalid option"
        for letter in letters:
            assert (unknown not in run(name, f"-{letter}")[2]) == (letter in listed), (name, letter)
        for option in some(["-t 0", "-t 1025", "-t -1", "-t 4x", "-P cuda:256", "-P cuda:-1", "-F F16", "-L ", "-C Fast"]):
            status, _, error = run(name, "-N", *option.split(" "), source, folder / "out")
            assert status == 2 and error.startswith(f"usage: {name}") and f"{name}: {option}:" in error, (option, error)
    wrong = {
        "reconstruct": ["-c 0", "-c 257", "-w 65537", "-T x", "-s 32769", "-b 1e3", "-M 2020", "-R tv", "-p -"],
        "encode_file": ["-c 257", "-p mode", "-s 18446744073709551616", "-s -1", "-M ", "-R Full"],
        "decode_file": ["-c 0", "-c 65", "-c 99999999999999999999"],
        "scrub": ["-M 2020"],
    }
    for name, options in wrong.items():
        for option in some(options):
            status, output, error = run(name, *option.split(" "), source, folder / "out")
            assert status == 2 and not output and f"{name}: {option}:" in error, (name, option, error)
    counts = {"reconstruct": [3], "encode_file": [1, 3], "decode_file": [0, 3], "save_onnx": [0, 2], "scrub": [0, 3]}
    for name, count in ((name, count) for name in counts for count in counts[name]):
        status, _, error = run(name, *[source] * count)
        assert status == 2 and "file names are missing, or there are too many" in error, (name, count)
    assert not (folder / "out").exists()
    ok("options out of range, and those of -h are those that there are")


def picture_rows(png):
    """The rows of an RGB picture, 8 bits a sample."""
    at, data = 8, b""
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        data += png[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += 12 + size
    data, row, length = zlib.decompress(data), bytes(9 * WIDTH), 9 * WIDTH + 1
    for start in range(0, len(data), length):
        above, row, rest = row, bytearray(), data[start + 1 : start + length]
        for i, value in enumerate(rest):
            left, corner = (row[i - 3], above[i - 3]) if i >= 3 else (0, 0)
            up = above[i]
            nearest = min((abs(up - corner), 0, left), (abs(left - corner), 1, up), (abs(left + up - 2 * corner), 2, corner))
            row.append((value + (0, left, up, (left + up) // 2, nearest[2])[data[start]]) % 256)
        yield row


def check_reconstruct_options(folder):
    """What the options of reconstruct do, by its report and its picture."""
    source, out, picture = folder / "in.y4m", folder / "out.y4m", folder / "picture.png"
    size = 96 * 64
    source.write_bytes(HEADER.replace(b"W32 H24", b"W96 H64") + b"".join(frames(5, size)))
    # Without attention, so that there are exact tiles.
    model = MODEL.parent / "own-noattn"

    def report(*options):
        text = works("reconstruct", "-q", "-m", model, *options, source, out).decode()
        number = lambda pattern: float(re.search(pattern, text).group(1))
        return number(r"encode, ([\d.]+) MB decode"), number(r"psnr ([\d.]+) dB"), text

    state, psnr, text = report()
    assert "tiles" not in text and report("-w", 5)[1] == psnr, text
    assert report("-H")[0] < state
    assert "6 tiles of 48x48 encode, 6 of 48x48 decode" in report("-T", "blended", "-s", 48)[2]
    assert "2 tiles of 80x64 encode" in report("-T", "blended", "-s", 80)[2]
    # Exact ones of that size would be all overlap.
    fails("they overlap by", "reconstruct", "-m", model, "-T", "exact", "-s", 80, source, out)
    assert report("-T", "exact")[1] == psnr
    fails("memory_limit is 1000000 bytes", "reconstruct", "-m", model, "-b", 1, source, out)

    # Of one frame the picture has all that the number is made of.
    source.write_bytes(HEADER + frames(1)[0])
    psnr = report("-p", picture)[1]
    error = 0
    for row in picture_rows(picture.read_bytes()):
        before, after, difference = (row[i * 3 * WIDTH :][: 3 * WIDTH] for i in range(3))
        assert list(difference) == [min(255, 4 * abs(a - b)) for a, b in zip(before, after)]
        error += sum((a - b) ** 2 for a, b in zip(before, after))
    assert abs(psnr - 10 * math.log10(255**2 * 3 * WIDTH * HEIGHT / error)) < 0.01, (psnr, error)
    ok("options of reconstruct, its picture and its number")

    # Four frames before the snapshot are one latent, of which one frame came out.
    source.write_bytes(clip(9))
    text = works("scrub", "-m", MODEL, source).decode()
    assert "snapshot after 4 frames" in text and "first time: 8 frames" in text, text
    ok("scrub compares what comes after the snapshot")


def check_whole_clips(folder):
    """Models that take whole clips get them in one call, from files and from pipes; so does reconstruct, and the results are the same."""
    source, latents, decoded, out = (folder / name for name in ("in.y4m", "z.safetensors", "decoded.y4m", "out.y4m"))
    for case in "cv-tiny", "own-cv-layernorm":
        model = MODEL.parent / case
        source.write_bytes(clip(5))
        works("encode_file", "-m", model, "-", latents, input=source.read_bytes())
        decoded.unlink(missing_ok=True)
        works("decode_file", "-m", model, latents, decoded)
        fails("give the whole clip at once, with -w", "reconstruct", "-m", model, source, out)
        works("reconstruct", "-q", "-w", 5, "-m", model, source, out)
        assert decoded.read_bytes() == out.read_bytes(), case
        # More frames than there was room for at first; repeated ones are not silent.
        source.write_bytes(clip(8))
        status, _, error = run("encode_file", "-m", model, source, latents)
        assert status == 0 and "a clip of 8 frames: its last one is repeated up to 9" in error, (case, error)
        assert works("decode_file", "-m", model, latents).count(b"FRAME\n") == 8
        # Without a latent that cannot be used, the others would be another clip, unless the decoder streams.
        latents.write_bytes(latents.read_bytes()[:-4] + struct.pack("<f", math.nan))
        expected = {"cv-tiny": 0, "own-cv-layernorm": 5}[case]
        frames = fails("NaN", "decode_file", "-m", model, latents).count(b"FRAME\n")
        assert frames == expected, (case, frames)
    ok("whole clips, in files and in one call")


def check_warnings(folder):
    """Every program shows what the library warns of, once, and says by itself which program it is."""
    model = copy_model(folder / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "a_field_of_tomorrow": 1}))
    source, latents = folder / "in.y4m", folder / "latents"
    source.write_bytes(clip(5))
    (folder / "raw").write_bytes(bytes(4 * 3 * 16 * 16))
    commands = [["encode_file", "-m", model, source, latents], ["decode_file", "-m", model, latents, NULL]]
    commands += [["reconstruct", "-q", "-m", model, source, NULL], ["save_onnx", "-m", model, folder]]
    commands += [["scrub", "-m", model, source], ["scrub", source, model]]
    if not WINDOWS:
        commands += [["bench", model, "encode", 1, 16, 16, 1, 1, 1, 0, folder / "raw", folder / "values"]]
    for given in commands:
        status, _, error = run(*given)
        lines = [line for line in error.splitlines() if "a_field_of_tomorrow" in line]
        assert status == 0 and len(lines) == 1 and lines[0].startswith(f"{given[0]}: warning: "), (given, error)
        quiet = [MODEL if argument == model else argument for argument in given]
        assert "warning" not in run(*quiet)[2], quiet
    ok(f"warnings: {len(commands)} programs")

    weights = bytearray((model / "model.safetensors").read_bytes())
    size = struct.unpack("<Q", weights[:8])[0]
    tensors = json.loads(weights[8 : 8 + size])
    start = 8 + size + tensors["decoder.conv_out.weight"]["data_offsets"][0]
    weights[start : start + 4] = struct.pack("<f", float("nan"))
    (model / "model.safetensors").write_bytes(weights)
    for program, *arguments in commands[2:5]:
        fails("tensor decoder.conv_out.weight: element 0 is NaN", program, "-N", *arguments)
    ok("-N looks for NaN")


def check_killed_writer(folder):
    """What a killed encode_file leaves is removed by the next one that writes to the same name; that of a living one is not."""
    target = folder / "clip.safetensors"
    encode = command("encode_file", "-m", MODEL, "-", target)
    temporary = lambda: sorted(folder.glob(".clip.safetensors.wfvae-*.tmp"))

    def size(path):
        # The next writer may remove it meanwhile.
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_size
        return 0

    def wait_for_file():
        """The name of a file that is begun, and locked."""
        end = time.monotonic() + TIME
        while not (begun := [path for path in temporary() if size(path) > 1]):
            assert time.monotonic() < end, temporary()
            time.sleep(0.01)
        return begun[0]

    with started(*encode, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        program.stdin.write(clip(17))
        program.stdin.flush()
        left = wait_for_file()
        program.send_signal(signal.SIGKILL)
    assert temporary() == [left] and not target.exists(), os.listdir(folder)
    # The next writer's file has the same name, but not this size.
    left.write_bytes(b"x")

    with started(*encode, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as living:
        living.stdin.write(clip(17))
        living.stdin.flush()
        own = wait_for_file()
        assert temporary() == [own] == [left], temporary()
        ok("a killed writer's file is removed by the next writer")
        works("encode_file", "-m", MODEL, "-", target, input=clip(5))
        short = target.read_bytes()
        assert temporary() == [own], temporary()
        living.stdin.close()
        error = living.stderr.read()
        assert living.wait(TIME) == 0, error
        assert temporary() == [] and len(target.read_bytes()) > len(short)
    ok("a living writer's file stays")


def main():
    checks = [check_own_input, check_broken_clips, check_broken_latents, check_lost_reader, check_options]
    checks += [check_reconstruct_options, check_whole_clips, check_warnings, check_killed_writer]
    # Devices, limits, signals and redirections are those of POSIX.
    checks += [check_console] if WINDOWS else [check_full_disks, check_interrupts, check_closed_descriptors]
    for check in checks:
        # Any name that a user may give.
        with tempfile.TemporaryDirectory(prefix="vidéo 日本 ") as folder:
            check(pathlib.Path(folder).resolve())
    print(f"{passed} passed, 0 failed")


if __name__ == "__main__":
    main()
