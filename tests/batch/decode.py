"""Latents to videos and pictures: what is in them, and what becomes of latents and of jobs that fail."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

import base
from base import ALL, GOLDEN, PROGRAMS, Output, check, children, contains, copies, equal, ffmpeg, make_clip, start, wait_for
from failures import lives
from media import MODEL, out_text

DECODE = PROGRAMS / "c" / "decode_file"


def run(*arguments, **more):
    return base.run(*arguments, command="decode", **more)


def text(done, failed=0):
    return out_text(done, failed, verb="decoded")


def make_latents(folder, *arguments):
    """Latents of clips of several sizes and rates."""
    clips = folder / "clips"
    make_clip(clips / "even.mkv", frames=17, size="48x32")
    make_clip(clips / "sub" / "odd.mkv", frames=6, size="50x36", rate="30000/1001", codec=base.FFV1, filters="crop=45:35:exact=1")
    make_clip(clips / "one.mkv", frames=1, size="32x32")
    latents = folder / "latents"
    equal("latents: made", base.run("-m", MODEL, clips, "-o", latents, *arguments)[0], 0)
    return latents


def pixels(path, kind="rgb24"):
    return ffmpeg("-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", kind, "-")


def probe(path, *names):
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", f"stream={','.join(names)}", "-of", "json", str(path)]
    (stream,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["streams"]
    return tuple(stream.get(name) for name in names)


def agrees(name, out):
    """Files and rows say the same, and nothing else is there."""
    done = out.done()
    found, sizes = set(), {}
    for file in out.files():
        output = file.rpartition("/")[0] if file.endswith(".png") else file
        found.add(output)
        sizes[output] = sizes.get(output, 0) + (out.folder / file).stat().st_size
    equal(f"{name}: files", found, {row["output"] for row in done.values()})
    equal(f"{name}: sizes", sizes, {row["output"]: row["output_bytes"] for row in done.values()})


def videos(folder):
    """Frames are those of the library; rates, tags and rows are right."""
    latents = make_latents(folder)
    outs = {}
    for kind, options in (("mp4", []), ("mkv", []), ("png", []), ("lossless", ["--ffmpeg", " -crf 0  -preset veryfast "])):
        out = outs[kind] = Output(folder / kind)
        as_kind = [] if kind in ("mp4", "lossless") else ["--as", kind]
        equal(f"videos: {kind}", run("-m", MODEL, latents, "-o", out.folder, *as_kind, *options), (0, text(3)))
        agrees(f"videos: {kind}", out)
    counts = {"even": 17, "sub/odd": 6, "one": 1}
    rates = {"even": "25/1", "sub/odd": "30000/1001", "one": "25/1"}
    names = ("codec_name", "pix_fmt", "color_range", "color_space", "r_frame_rate", "nb_read_frames")
    for key, frames in counts.items():
        odd = key == "sub/odd"
        mp4, mkv = outs["mp4"].folder / f"{key}.mp4", outs["mkv"].folder / f"{key}.mkv"
        layout = "yuv444p" if odd else "yuv420p"
        expected = ("h264", layout, "tv", "smpte170m", rates[key], str(frames))
        equal(f"videos: {key} in MP4", probe(mp4, *names), expected)
        equal(f"videos: {key} in Matroska", probe(mkv, "codec_name", "nb_read_frames"), ("ffv1", str(frames)))
        files = sorted((outs["png"].folder / f"{key}.frames").iterdir())
        equal(f"videos: pictures of {key}", [file.name for file in files], [f"{i:06}.png" for i in range(1, frames + 1)])
        check(f"videos: pixels of {key}", b"".join(map(pixels, files)) == pixels(mkv))
        row = outs["mp4"].done()[key]
        told = (row["frames"], row["latents"], row["fps"], row["output"], "decoded" in row)
        equal(f"videos: row of {key}", told, (frames, 1 + -(-(frames - 1) // 4), rates[key], f"{key}.mp4", False))
    equal("videos: sizes", [outs["mp4"].done()["sub/odd"][side] for side in ("width", "height")], [45, 35])
    first = outs["lossless"].lines()[0]
    equal("videos: the job", (first["task"], first["video"], first["precision"]), ("decode", "mp4 -crf 0 -preset veryfast", "f32"))
    again = Output(folder / "again")
    run("-m", MODEL, latents, "-o", again.folder, "-j", 1)
    equal("videos: the same bytes from one worker", again.hashes(), outs["mp4"].hashes())

    # x264 without loss gives exactly what the library gives, with chroma samples where they are in H.264.
    y4m, file, back = folder / "c.y4m", folder / "c.safetensors", folder / "back.y4m"
    ffmpeg("-i", folder / "clips" / "even.mkv", y4m)
    contains("videos: chroma", y4m.read_bytes()[:60].decode(), "C420mpeg2")
    subprocess.run([base.ENCODE, "-m", MODEL, y4m, file], check=True, capture_output=True)
    subprocess.run([DECODE, "-m", MODEL, file, back], check=True, capture_output=True)
    run("-m", MODEL, file, "-o", folder / "exact", "--ffmpeg", "-crf 0")
    check("videos: the library's", pixels(folder / "exact" / "c.mp4", "yuv420p") == pixels(back, "yuv420p"))

    # Large frames are BT.709, as programs guess.
    large = make_clip(folder / "large.mkv", frames=1, size="64x720")
    base.run("-m", MODEL, large, "-o", folder / "large")
    equal("videos: a large one", run("-m", MODEL, folder / "large", "-o", folder / "large-video"), (0, text(1)))
    equal("videos: its matrix", probe(folder / "large-video" / "large.mp4", "color_space"), ("bt709",))


def kinds(folder):
    """All that latent files can hold; rates that are not known; names that mean something to ffmpeg."""
    clip = make_clip(folder / "clip" / "a.mkv", frames=9)
    for name, options in (("moments", ["-p", "moments"]), ("sample", ["-p", "sample"]), ("float", ["--type", "f32"]), ("mean", [])):
        base.run("-m", MODEL, clip, "-o", folder / name, *options)
        equal(f"kinds: {name}", run("-m", MODEL, folder / name, "-o", folder / f"{name}-video", "--as", "mkv"), (0, text(1)))
    frames = {name: pixels(folder / f"{name}-video" / "a.mkv") for name in ("moments", "sample", "mean")}
    check("kinds: moments are decoded by their mean", frames["moments"] == frames["mean"])
    check("kinds: samples are not means", frames["sample"] != frames["mean"])

    # encode_file writes no rate if the Y4M file has none.
    y4m = folder / "rate.y4m"
    y4m.write_bytes(b"YUV4MPEG2 W32 H32 C420jpeg\n" + 3 * (b"FRAME\n" + bytes(32 * 32 * 3 // 2)))
    odd = folder / "odd names"
    odd.mkdir()
    file = odd / "rate.safetensors"
    subprocess.run([base.ENCODE, "-m", MODEL, y4m, file], check=True, capture_output=True)
    for rate, found in ((None, "25/1"), ("12", "12/1"), ("23.976", "2997/125")):
        out = folder / f"rate {rate}"
        equal(f"kinds: rate {rate}", run("-m", MODEL, file, "-o", out, *(["--fps", rate] if rate else [])), (0, text(1)))
        equal(f"kinds: rate {rate} in the file", probe(out / "rate.mp4", "r_frame_rate"), (found,))
    names = ["-y", "%03d", "file:a", "a:b|c", "'quoted'", "ümläut", "x" * 240, "new\nline", "a.b.c"]
    for name in names:
        shutil.copy(file, odd / f"{name}.safetensors")
    for kind in ("mp4", "png"):
        out = Output(folder / f"names {kind}")
        equal(f"kinds: names as {kind}", run("-m", MODEL, odd, "-o", out.folder, "--as", kind), (0, text(len(names) + 1)))
        agrees(f"kinds: names as {kind}", out)
        equal(f"kinds: keys as {kind}", set(out.done()), {"rate", *names})


def unrecorded(folder):
    """A job that begins writes over no file that is there, and outputs are never below each other."""
    clips = folder / "clips"
    for name in ("a", "b"):
        make_clip(clips / f"{name}.mp4", frames=5)
    latents = folder / "latents"
    base.run("-m", MODEL, clips, "-o", latents)
    before = Output(clips).hashes()
    for inputs, out, command, words in (
        (latents, clips, "decode", "a.mp4 and 1 more outputs are there already, and no manifest says that a job has made them"),
        (latents / "b.safetensors", clips, "decode", "b.mp4 is there already, and no manifest says that a job has made it"),
    ):
        status, found = base.run("-m", MODEL, inputs, "-o", out, command=command)
        equal(f"unrecorded: {inputs.name}", (status, Output(out).hashes()), (2, before))
        contains(f"unrecorded: words for {inputs.name}", found, words)
    (latents / "manifest.jsonl").unlink()
    status, found = base.run("-m", MODEL, clips, "-o", latents)
    equal("unrecorded: latents", (status, "a.safetensors and 1 more outputs are there already" in found), (2, True))
    for name in ("shard-000000.tar", "index.json"):
        other = folder / f"with {name}"
        other.mkdir()
        (other / name).write_text("mine")
        status, found = base.run("-m", MODEL, clips, "-o", other, "--shards", "1M")
        equal(f"unrecorded: {name}", (status, (other / name).read_text(), f"{name} is there already" in found), (2, "mine", True))
    listed = folder / "list.jsonl"
    keys = ("a", "a.frames/b")
    listed.write_text("".join(json.dumps({"path": "latents/a.safetensors", "key": key}) + "\n" for key in keys))
    status, found = run("-m", MODEL, listed, "-o", folder / "below", "--as", "png")
    equal("unrecorded: below each other", (status, "a.frames and a.frames/b.frames would both be outputs" in found), (2, True))


def ffmpeg_options(folder):
    """Options for ffmpeg: those that work, and those that would make a row untrue."""
    latents = make_latents(folder)
    job = ["-m", MODEL, latents]
    encoders = subprocess.run(["ffmpeg", "-hide_banner", "-encoders"], capture_output=True, text=True).stdout
    if " libx265 " in encoders:
        # It does not take small ones.
        base.run("-m", MODEL, make_clip(folder / "large.mkv", frames=5, size="128x96"), "-o", folder / "large")
        equal("ffmpeg options: of the help", run("-m", MODEL, folder / "large", "-o", folder / "x265", "--ffmpeg", "-c:v libx265 -crf 20"), (0, text(1)))
        equal("ffmpeg options: HEVC", probe(folder / "x265" / "large.mp4", "codec_name"), ("hevc",))
        words = run(*job, "-o", folder / "none", "--ffmpeg", "-c:v libx265 -preset nonsense")[1]
        contains("ffmpeg options: what x265 calls an error", words, "nonsense")
    else:
        print("ffmpeg options: libx265 was skipped, as ffmpeg does not have it")
    equal("ffmpeg options: filters", run(*job, "-o", folder / "flip", "--ffmpeg", "-vf hflip"), (0, text(3)))
    equal("ffmpeg options: tags stay", probe(folder / "flip" / "even.mp4", "color_range", "color_space"), ("tv", "smpte170m"))
    for options in ("-frames:v 3", "-r 5"):
        out = Output(folder / options)
        equal(f"ffmpeg options: {options}", run(*job, "-o", out.folder, "--ffmpeg", options)[0], 1)
        contains(f"ffmpeg options: words for {options}", out.errors()["even"], "frames of 17; --ffmpeg must not change their number")
        agrees(f"ffmpeg options: {options}", out)
    for options in ("extra.mp4", "-crf 20 extra.mp4"):
        status, words = run(*job, "-o", folder / "none", "--ffmpeg", options)
        equal(f"ffmpeg options: {options}", (status, "extra.mp4 is neither an option" in words), (2, True))
    environment = {**os.environ, "FFREPORT": "file=report.log:level=32"}
    equal("ffmpeg options: no reports", run(*job, "-o", folder / "quiet", env=environment), (0, text(3)))
    agrees("ffmpeg options: no reports", Output(folder / "quiet"))

    content = (latents / "even.safetensors").read_bytes()
    for rate, kinds in (("2000/1", ["mp4", "mkv"]), ("1/100000", ["mp4"]), ("30000001/1000001", ["mkv"]), ("4294967295/4294967295", ["mp4"])):
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        header["__metadata__"]["fps"] = rate
        changed = json.dumps(header).encode()
        changed += b" " * (-len(changed) % 8)
        file = folder / "rate.safetensors"
        file.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + length :])
        for kind in (*kinds, "png"):
            out = Output(folder / f"{rate.replace('/', ' ')} {kind}")
            status = run("-m", MODEL, file, "-o", out.folder, "--as", kind)[0]
            if kind == "png":
                equal(f"ffmpeg options: pictures at {rate}", status, 0)
            else:
                contains(f"ffmpeg options: {kind} at {rate}", out.errors().get("rate", ""), f"its rate is {rate} frames a second; videos can have")


def half_model(folder, half):
    """The folder of a checkpoint with the encoder or the decoder alone."""
    target = folder / half
    target.mkdir()
    for path in MODEL.iterdir():
        if path.name.endswith(".json"):
            shutil.copy(path, target)
    (source,) = [path for path in MODEL.glob("*.safetensors") if path.name != "io.safetensors"]
    content = source.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    kept, parts, at = {}, [], 0
    for name, tensor in header.items():
        if name.startswith(half):
            begin, end = tensor["data_offsets"]
            kept[name] = {**tensor, "data_offsets": [at, at + end - begin]}
            parts.append(data[begin:end])
            at += end - begin
    text = json.dumps(kept).encode()
    (target / source.name).write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))
    return target


def wrong_latents(folder):
    """Latents that cannot be decoded are rows; options that cannot work end the job before it starts."""
    latents = make_latents(folder)
    good = (latents / "even.safetensors").read_bytes()
    length = int.from_bytes(good[:8], "little")
    bad = {
        "cut": (good[:-100], "bytes"),
        "empty": (b"", "latent file"),
        "text": (b"nothing of the sort, but long enough", "latent file"),
        "nan": (good[: 8 + length] + b"\xff" * (len(good) - 8 - length), "NaN"),
        "frames": (good.replace(b'"frames":"17"', b'"frames":"37"'), "frames"),
    }
    check("wrong: another count", bad["frames"][0] != good)
    for name, (content, _) in bad.items():
        (latents / f"{name}.safetensors").write_bytes(content)
    other = folder / "other"
    base.run("-m", GOLDEN / "v1-tiny-8x", folder / "clips" / "even.mkv", "-o", other)
    shutil.copy(other / "even.safetensors", latents / "other.safetensors")
    out = Output(folder / "out")
    equal("wrong: status", run("-m", MODEL, latents, "-o", out.folder), (1, text(3, failed=6)))
    errors = out.errors()
    equal("wrong: which", set(errors), {*bad, "other"})
    for name, (_, part) in bad.items():
        contains(f"wrong: {name}", errors.get(name, ""), part)
    contains("wrong: another model", errors.get("other", ""), "the model that made them")
    agrees("wrong", out)
    (latents / "cut.safetensors").write_bytes(good)
    equal("wrong: mended", run("-m", MODEL, latents, "-o", out.folder, "--resume"), (1, text(1, failed=5)))
    agrees("wrong: mended", out)

    # The same encoder's sizes, with other weights.
    only = ["-m", GOLDEN / "v1-tiny-nearest", latents / "even.safetensors", "-o"]
    contains("wrong: another encoder", run(*only, folder / "refused")[1], "any encoder")
    equal("wrong: any encoder", run(*only, folder / "any", "-E"), (0, text(1)))

    job = ["-m", MODEL, latents, "-o", folder / "none"]
    missing = {**os.environ, "PATH": str(folder)}
    for name, arguments, more, part in (
        ("an unknown encoder", [*job, "--ffmpeg", "-c:v nonsense"], {}, "ffmpeg: "),
        ("an unknown option", [*job, "--ffmpeg", "-nonsense 1"], {}, "ffmpeg: "),
        ("no ffmpeg", job, {"env": missing}, "ffmpeg, which writes videos, cannot be started"),
        ("no latents", ["-m", MODEL, folder / "clips", "-o", folder / "none"], {}, "it names no latent file"),
        ("a job that encodes", ["-m", MODEL, latents, "-o", latents, "--resume"], {}, "it is of a job that encodes"),
    ):
        status, words = run(*arguments, **more)
        equal(f"wrong: status of {name}", status, 2)
        contains(f"wrong: words for {name}", words, part)
    check("wrong: nothing is begun", not (folder / "none").exists())
    listed = folder / "list.jsonl"
    listed.write_text(json.dumps({"path": "latents/even.safetensors", "start": 1}) + "\n")
    contains("wrong: parts", run("-m", MODEL, listed, "-o", folder / "none")[1], "latents are decoded whole")
    listed.write_text(json.dumps({"path": "latents/even.safetensors", "key": "b"}) + "\n")
    equal("wrong: a list", run("-m", MODEL, listed, "-o", folder / "listed"), (0, text(1)))
    equal("wrong: its key", Output(folder / "listed").files(), ["b.mp4"])
    for half, command, inputs in (("encoder", "decode", latents), ("decoder", "encode", folder / "clips"), ("decoder", "serve", None)):
        model = folder / half if (folder / half).exists() else half_model(folder, half)
        status, words = base.run("-m", model, *([inputs] if inputs else []), "-o", folder / "none", command=command)
        equal(f"wrong: {half} alone", (status, "choose one that has" in words), (2, True))
    status, words = run("-m", MODEL, latents / "even.safetensors", "-o", folder / "small", "--memory", "70M")
    equal("wrong: too little memory", status, 1)
    contains("wrong: words for it", words, "of it for ffmpeg, and 67 MiB may be used; raise --memory")


def videos_again(folder):
    """Killed at any moment, a job goes on, and gives what an undisturbed one gives."""
    clip = make_clip(folder / "a.mkv", frames=17, size="96x64")
    count, kills = (60, 20) if ALL else (16, 4)
    clips = copies(clip, folder / "clips", count)
    latents = folder / "latents"
    base.run("-m", MODEL, clips, "-o", latents)
    for kind in ("mp4", "png"):
        whole, out = Output(folder / f"whole {kind}"), Output(folder / f"out {kind}")
        job = ["-m", MODEL, latents, "--as", kind, "--resume", "-o"]
        begin = time.monotonic()
        equal(f"again: {kind} undisturbed", run(*job, whole.folder), (0, text(count)))
        taken = time.monotonic() - begin
        numbers = random.Random(22)
        for _ in range(kills):
            with start(*job, out.folder, command="decode") as process:
                time.sleep(numbers.uniform(0.1, taken / kills + 0.3))
                process.kill()
        equal(f"again: {kind} after the kills", run(*job, out.folder)[0], 0)
        equal(f"again: the same {kind}", out.hashes(), whole.hashes())
        agrees(f"again: {kind}", out)
        rows = [line["key"] for line in out.lines()[1:]]
        equal(f"again: no {kind} twice", len(rows), len(set(rows)))
        # What is lost or changed is made again.
        first = whole.files()[0]
        (out.folder / first).unlink()
        os.utime(latents / "c005.safetensors")
        equal(f"again: a lost {kind}", run(*job, out.folder), (0, text(2)))
        equal(f"again: it is back, {kind}", out.hashes(), whole.hashes())
    # A folder that somebody else put something into is not deleted.
    pictures = folder / "out png" / "c003.frames"
    (pictures / "notes.txt").write_text("mine")
    (pictures / "000001.png").unlink()
    out = Output(folder / "out png")
    status, _ = run("-m", MODEL, latents, "--as", "png", "--resume", "-o", out.folder)
    equal("again: another's file", (status, (pictures / "notes.txt").read_text(), (pictures / "000002.png").exists()), (1, "mine", True))
    contains("again: words for it", out.errors()["c003"], "something else than a job's pictures")
    out = Output(folder / "out mp4")
    (out.folder / "c003.mp4").unlink()
    (out.folder / "c003.mp4").mkdir()
    (out.folder / "c003.mp4" / "000001.png").write_text("mine")
    equal("again: a folder in the way", run("-m", MODEL, latents, "--resume", "-o", out.folder), (1, text(1, failed=1)))
    check("again: it stays", (out.folder / "c003.mp4" / "000001.png").exists())


def writers(folder):
    """ffmpeg hangs, is killed, or has no space; nothing of it is left, and the job goes on."""
    clip = make_clip(folder / "a.mkv", frames=200, size="192x128")
    latents = folder / "latents"
    base.run("-m", MODEL, copies(clip, folder / "clips", 3), "-o", latents)
    for name, number, part in (
        ("hang", signal.SIGSTOP, "ffmpeg wrote nothing for 2 s (--timeout)"),
        ("crash", signal.SIGKILL, "ffmpeg ended: signal: 9 (SIGKILL)"),
    ):
        out = Output(folder / name)
        job = ["-m", MODEL, latents, "-o", out.folder, "-j", 1, "--timeout", 2]
        with start(*job, command="decode") as process:
            wait_for(lambda: len(out.lines()) == 2)
            time.sleep(0.2)
            (writer,) = children(process)
            os.kill(writer, number)
            process.communicate(timeout=60)
        equal(f"writers: status of {name}", process.returncode, 1)
        equal(f"writers: {name}", out.errors(), {"c001": part})
        agrees(f"writers: {name}", out)
        equal(f"writers: {name} is tried again", run(*job, "--resume"), (0, text(1)))

    # A job that is stopped for longer than that goes on.
    out = Output(folder / "stopped")
    one = latents / "c000.safetensors"
    with start("-m", MODEL, one, "-o", out.folder, "--timeout", 2, "--ffmpeg", "-preset placebo", command="decode") as process:
        for _ in range(2):
            wait_for(lambda: children(process))
            time.sleep(0.5)
            process.send_signal(signal.SIGSTOP)
            time.sleep(4)
            process.send_signal(signal.SIGCONT)
        process.communicate(timeout=60)
    equal("writers: stopped for a while", (process.returncode, out.errors()), (0, {}))

    # The program may be a script that starts it.
    programs = folder / "programs"
    programs.mkdir()
    script = programs / "ffmpeg"
    script.write_text(f'#!/bin/sh\nPATH={os.environ["PATH"]}\ncase "$*" in *"-f null"*) exec ffmpeg "$@";; esac\nffmpeg "$@"\nsleep 100\n')
    script.chmod(0o755)
    out = Output(folder / "script")
    begin = time.monotonic()
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    status = run("-m", MODEL, latents / "c000.safetensors", "-o", out.folder, "--timeout", 2, env=environment)[0]
    equal("writers: a script that hangs", (status, out.errors()), (1, {"c000": "ffmpeg wrote nothing for 2 s (--timeout)"}))
    check("writers: it ends in time", time.monotonic() - begin < 30)
    agrees("writers: a script that hangs", out)

    out = Output(folder / "orphans")
    with start("-m", MODEL, latents, "-o", out.folder, "-j", 2, command="decode") as process:
        wait_for(lambda: len(children(process)) == 2)
        time.sleep(0.2)
        found = children(process)
        for number in found:
            os.kill(number, signal.SIGSTOP)
        process.kill()
    wait_for(lambda: not any(lives(number) for number in found))

    out = Output(folder / "interrupted")
    with start("-m", MODEL, latents, "-o", out.folder, "-j", 1, command="decode", start_new_session=True) as process:
        wait_for(lambda: len(children(process)) == 1 and len(out.lines()) > 0)
        time.sleep(0.2)
        # As a terminal does.
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    equal("writers: interrupted", (process.returncode, out.errors()), (130, {}))
    check("writers: some are left", 0 < len(out.done()) < 3)
    agrees("writers: interrupted", out)

    # Services are stopped with all of their processes. ffmpeg ends, and its video is not a failure.
    out = Output(folder / "service")
    with start("-m", MODEL, latents, "-o", out.folder, "-j", 1, command="decode") as process:
        wait_for(lambda: len(children(process)) == 1 and len(out.lines()) > 0)
        time.sleep(0.2)
        for number in (process.pid, *children(process)):
            os.kill(number, signal.SIGTERM)
        process.communicate(timeout=60)
    equal("writers: all are ended", (process.returncode, out.errors()), (130, {}))
    agrees("writers: all are ended", out)

    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", folder / "clips"], capture_output=True).returncode != 0:
        print("writers: a full disk was skipped: no file system can be mounted, which takes root")
        return
    try:
        out = Output(folder / "clips" / "out")
        job = ["-m", MODEL, latents, "-o", out.folder]
        for kind in ("mkv", "png"):
            out = Output(folder / "clips" / kind)
            status, words = run("-m", MODEL, latents, "-o", out.folder, "--as", kind)
            check(f"writers: status with {kind} on a full disk", status in (1, 2), status)
            contains(f"writers: words for {kind} on a full disk", words, "No space left on device")
            equal(f"writers: no {kind} is done", out.done(), {})
            agrees(f"writers: {kind} on a full disk", out)
            shutil.rmtree(out.folder)
    finally:
        subprocess.run(["umount", folder / "clips"], check=True)


TOPICS = [videos, kinds, ffmpeg_options, unrecorded, wrong_latents, videos_again, writers]
