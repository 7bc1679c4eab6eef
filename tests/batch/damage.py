"""Clips that are damaged, too short or no clips: each is a row with a reason, and none hides the others."""

import json
import os
import random
import subprocess
import time

from base import FFV1, GOLDEN, H264, Output, check, children, contains, equal, ffmpeg, make_clip, resident, run, start
from media import MJPEG, MODEL, VP9

MPEG4 = ["-c:v", "mpeg4", "-q:v", "3"]


def cut(source, target, part):
    """The first part of a file."""
    content = source.read_bytes()
    target.write_bytes(content[: int(len(content) * part)])


def flip(source, target, seed, parts=(0.3, 0.9), count=20):
    """A file in which some bytes of a part are others."""
    content = bytearray(source.read_bytes())
    numbers = random.Random(seed)
    for _ in range(count):
        at = numbers.randrange(int(len(content) * parts[0]), int(len(content) * parts[1]))
        content[at] ^= 1 << numbers.randrange(8)
    target.write_bytes(content)


def files(folder):
    """All kinds of damage to files, beside good ones."""
    whole, clips = folder / "whole", folder / "clips"
    clips.mkdir()
    kinds = {
        "h264.mkv": (H264, ()),
        "early.mp4": (H264, ("-movflags", "+faststart")),
        "late.mp4": (H264, ()),
        "vp9.webm": (VP9, ()),
        "mjpeg.avi": (MJPEG, ()),
        "ffv1.mkv": (FFV1, ()),
        "mpeg4.mov": (MPEG4, ()),
        "raw.y4m": (["-pix_fmt", "yuv420p"], ()),
    }
    for name, (codec, options) in kinds.items():
        clip = make_clip(whole / name, frames=60, codec=codec, options=options)
        for part in (0.2, 0.5, 0.9):
            cut(clip, clips / f"cut{part}-{name}", part)
    for seed in range(4):
        for name in ("h264.mkv", "ffv1.mkv", "mpeg4.mov"):
            flip(whole / name, clips / f"flip{seed}-{name}", seed)
    (clips / "empty.mp4").write_bytes(b"")
    (clips / "text.mp4").write_text("not a clip\n" * 1000)
    (clips / "noise.mkv").write_bytes(random.Random(1).randbytes(100000))
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", clips / "sound.mp4")
    picture = folder / "cover.png"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=48x32", "-frames:v", 1, picture)
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-i", picture, "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v:0",
           "attached_pic", clips / "cover.mp4")
    small = make_clip(folder / "small.h264", frames=20).read_bytes()
    (clips / "sizes.ts").write_bytes(small + make_clip(folder / "large.h264", frames=20, size="96x64").read_bytes())
    os.mkfifo(clips / "pipe.mp4")
    os.symlink("nowhere.mp4", clips / "link.mp4")
    # Without checksums a decoder need not notice.
    unsure = {path.stem for path in clips.iterdir() if path.name.startswith("flip") and "ffv1" not in path.name}
    damaged = {path.stem for path in clips.iterdir()} - unsure
    for name in ("good0.mkv", "good1.mkv"):
        make_clip(clips / name)

    out = Output(folder / "out")
    status, text = run("-m", MODEL, clips, "-o", out.folder)
    errors = out.errors()
    equal("damage: status", status, 1)
    equal("damage: what failed", sorted(set(errors) - unsure), sorted(damaged))
    equal("damage: what is done", sorted(set(out.done()) - unsure), ["good0", "good1"])
    out.agrees("damage")
    for key, part in {
        "empty": "cannot open it",
        "text": "cannot open it",
        "sound": "it has no video",
        "cover": "it has no video",
        "sizes": "96x64 yuv420p, the frames before it are 48x32",
        "pipe": "not a regular file",
        "link": "No such file",
        "cut0.5-late": "cannot open it",
    }.items():
        contains(f"damage: reason of {key}", errors.get(key, ""), part)
    check("damage: every reason is told", all(error in text for error in errors.values()), text)
    equal("damage: the same again", (run("-m", MODEL, clips, "-o", out.folder, "--resume")[0], out.errors()), (1, errors))


def ends(folder):
    """Files that lost their end, wherever: between two frames, too, where decoders notice nothing."""
    kinds = {
        "early.mp4": [*H264, "-movflags", "+faststart"],
        "pieces.mp4": [*H264, "-movflags", "frag_keyframe+empty_moov"],
        "mpeg4.mov": ["-c:v", "mpeg4", "-movflags", "+faststart"],
        "clusters.mkv": [*H264, "-cluster_time_limit", "200"],
        "vp9.webm": VP9,
        "mjpeg.avi": MJPEG,
        "h264.avi": H264,
        "wmv2.wmv": ["-c:v", "wmv2"],
        "picture.gif": [],
        "flash.flv": H264,
    }
    clips, whole = folder / "clips", folder / "whole"
    clips.mkdir()
    for name, codec in kinds.items():
        clip = make_clip(whole / name, frames=40, codec=codec)
        content = clip.read_bytes()
        probe = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=pos,size", "-of", "json", clip]
        packets = json.loads(subprocess.run(probe, stdout=subprocess.PIPE, check=True).stdout)["packets"]
        places = [(int(packet["pos"]), int(packet["size"])) for packet in packets if "pos" in packet][12::4]
        # Where a packet begins and ends; in AVI, positions are those of heads of 8 bytes.
        cuts = {at for pos, size in places for at in (pos, pos + size, pos + size + 8)}
        cuts |= {len(content) - missing for missing in (1, 2, 4, 8, 20, 64)}
        for at in cuts:
            if len(content) // 4 < at < len(content):
                (clips / f"{clip.stem}-{clip.suffix[1:]}-{at}{clip.suffix}").write_bytes(content[:at])
    out = Output(folder / "out")
    run("-m", MODEL, whole, "-o", out.folder)
    equal("ends: whole files", out.errors(), {})
    out = Output(folder / "cut")
    equal("ends: status", run("-m", MODEL, clips, "-o", out.folder)[0], 1)
    # An end behind the last frame may be missing.
    short = {key: row["decoded"] for key, row in out.done().items() if row["decoded"] < 40}
    check("ends: no clip is short", not short, short)
    check("ends: enough cuts", len(out.errors()) > 100, len(out.errors()))


def others(folder):
    """Files that would make FFmpeg read others."""
    clips = folder / "clips"
    secret = make_clip(folder / "clips" / "sub" / "secret.mp4")
    make_clip(folder / "clips" / "sub" / "segment.ts")
    for name, text in {
        "concat.mp4": "ffconcat version 1.0\nfile sub/secret.mp4\n",
        "playlist.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nsub/segment.ts\n#EXT-X-ENDLIST\n",
        "dash.mp4": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">'
        '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>sub/secret.mp4</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>",
    }.items():
        (clips / name).write_text(text)
    picture = folder / "picture.png"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=48x32", "-frames:v", 1, picture)
    for name in ("1.png", "2.png", "%d.mp4"):
        (clips / name).write_bytes(picture.read_bytes())
    (clips / "file:sub").mkdir()
    out = Output(folder / "out")
    status, text = run("-m", MODEL, ".", "-o", out.folder, cwd=clips)
    equal("others: status", status, 1)
    equal("others: what fails", sorted(out.errors()), ["concat", "dash", "playlist"])
    for key in ("concat", "dash", "playlist"):
        check(f"others: words for {key}", "it is no media file but a list of others" in out.errors()[key] or "cannot open it" in out.errors()[key], out.errors()[key])
    equal("others: a picture is one frame", out.done()["%d"]["frames"], 1)
    (clips / "12:30:05.mp4").write_bytes(secret.read_bytes())
    out = Output(folder / "colon")
    equal("others: a name with colons", run("-m", MODEL, "12:30:05.mp4", "-o", out.folder, cwd=clips)[0], 0)


def hostile(folder):
    """Small files that ask for much memory or have no end."""
    clips = folder / "clips"
    make_clip(clips / "large.mov", frames=1, size="9000x8000", codec=["-c:v", "png"], filters="drawbox=t=fill")
    out = Output(folder / "out")
    peak = 0
    with start("-m", MODEL, clips, "-o", out.folder, "--size", "64x64", "--memory", "150M", "-j", 1) as process:
        while process.poll() is None:
            peak = max(peak, *(resident(number) for number in [process.pid, *children(process)]))
            time.sleep(0.005)
    equal("hostile: large frames", (process.returncode, len(out.errors())), (1, 1))
    # Of a process, in kB; a frame alone would take 216 MB.
    check("hostile: memory", 20000 < peak < 200000, peak)
    gap = folder / "gap.mkv"
    filters = "setpts=if(eq(N\\,3)\\,100000/TB\\,N/25/TB)"
    make_clip(gap, frames=4, filters=filters, options=["-fps_mode", "passthrough"])
    equal("hostile: a gap", run("-m", MODEL, gap, "-o", folder / "gap")[0], 0)
    out = Output(folder / "repeated")
    equal("hostile: a gap that is filled", run("-m", MODEL, gap, "-o", out.folder, "--fps", 25)[0], 1)
    contains("hostile: words for a gap", out.errors()["gap"], "would be repeated for more than 600 s")
    last = folder / "last.mp4"
    content = make_clip(last, frames=4, rate="1/1000", options=["-movflags", "+faststart"])
    out = Output(folder / "last")
    equal("hostile: a last frame that is filled", run("-m", MODEL, content, "-o", out.folder, "--fps", 25)[0], 1)
    contains("hostile: words for a last frame", out.errors()["last"], "would be repeated for more than 600 s")


def counts(folder):
    """Clips that have other numbers of frames than wanted."""
    clip = make_clip(folder / "clip.mkv")
    for name, options, part in (
        ("more", ["--expect-frames", 18], "it has 17 frames, expected 18"),
        ("fewer", ["--expect-frames", 16], "it has 17 frames, expected 16"),
        ("short", ["--frames", 18], "it gives 17 frames, fewer than the 18 that are wanted"),
        ("late", ["--start", 7], "it has no frames in this range"),
        ("none", ["--filter", "select=0"], "of its 17 frames none is left"),
        ("graph", ["--filter", "nothing=1"], "its frames cannot be filtered"),
    ):
        out = Output(folder / name)
        status, _ = run("-m", MODEL, clip, "-o", out.folder, *options)
        equal(f"counts: status of {name}", status, 1)
        contains(f"counts: {name}", out.errors()["clip"], part)
        equal(f"counts: files of {name}", out.files(), [])
    equal("counts: as expected", run("-m", MODEL, clip, "-o", folder / "ok", "--expect-frames", 17)[0], 0)


def lists(folder):
    """Lists, and what is wrong in them; names of all kinds."""
    clip = make_clip(folder / "clips" / "a.mkv")
    names = ["with space.mkv", "ünïcödé-日本.mkv", "q'\"uo\\te.mkv", "new\nline.mkv", "-dash.mkv", "a.b.c.mkv", "UPPER.MKV", "%d.mkv"]
    named = folder / "named"
    named.mkdir()
    for name in names:
        os.link(clip, named / name)
    os.link(clip, os.fsencode(named) + b"/not-unicode-\xff.mkv")
    os.symlink(folder / "clips", named / "linked")
    out = Output(folder / "out")
    equal("names: status", run("-m", MODEL, named, "-o", out.folder)[0], 0)
    keys = [name.rpartition(".")[0] for name in names] + ["not-unicode-\ufffd", "linked/a"]
    equal("names: keys", sorted(out.done()), sorted(keys))
    out.agrees("names")
    (folder / "texts.txt").write_text("./clips/a.mkv\n\n./named/./a.b.c.mkv\n")
    out = Output(folder / "texts")
    equal("lists: texts", run("-m", MODEL, folder / "texts.txt", "-o", out.folder)[0], 0)
    equal("lists: keys of paths", sorted(out.done()), ["clips/a", "named/a.b.c"])
    (folder / "windows.txt").write_bytes(b"\xef\xbb\xbfclips/a.mkv\r\nnamed/a.b.c.mkv\r\n")
    equal("lists: as Windows writes them", run("-m", MODEL, folder / "windows.txt", "-o", folder / "windows")[0], 0)
    (folder / "latin.txt").write_bytes(b"clips/a.mkv\nb\xe4r.mkv\n")
    status, text = run("-m", MODEL, folder / "latin.txt", "-o", folder / "latin")
    equal("lists: not UTF-8", (status, "latin.txt: line 2: it is not UTF-8" in text), (2, True))
    os.symlink(named, named / "loop")
    status, text = run("-m", MODEL, named, "-o", folder / "loop")
    equal("names: a loop of links", (status, "loop" in text), (2, True))

    listed = folder / "list.jsonl"
    for name, lines, part in (
        ("text", ["nothing"], "line 1: expected"),
        ("field", [json.dumps({"path": "a", "begin": 1})], "line 1: unknown field `begin`"),
        ("path", [json.dumps({"key": "a"})], "line 1: missing field `path`"),
        ("up", [json.dumps({"path": "a", "key": "../a"})], "the key \"../a\" is not a path below the output folder"),
        ("root", [json.dumps({"path": "a", "key": "/a"})], "the key \"/a\" is not a path below"),
        ("time", ["", json.dumps({"path": "a", "start": -1})], "line 2: -1 is not a time in a clip"),
        ("twice", [json.dumps({"path": "clips/a.mkv", "key": "k"})] * 2, "would both be written to k"),
        ("order", [json.dumps({"path": "a", "start": 2, "end": 1})], "line 1: its end, 1 s, is not after its start, 2 s"),
        ("empty", [], "it names no clip"),
    ):
        listed.write_text("".join(line + "\n" for line in lines))
        status, text = run("-m", MODEL, listed, "-o", folder / "bad")
        equal(f"lists: status of {name}", status, 2)
        contains(f"lists: {name}", text, part)
    check("lists: nothing is begun", not (folder / "bad").exists())
    listed.write_text(json.dumps({"path": "missing.mkv"}) + "\n" + json.dumps({"path": "clips/a.mkv", "expect_frames": 5}) + "\n")
    out = Output(folder / "missing")
    equal("lists: status of a missing clip", run("-m", MODEL, listed, "-o", out.folder)[0], 1)
    contains("lists: a missing clip", out.errors()["missing"], "No such file")
    contains("lists: frames of a clip", out.errors()["clips/a"], "it has 17 frames, expected 5")


def options(folder):
    """Options that cannot be, and models that cannot be opened: an error, and no folder."""
    clip = make_clip(folder / "a.mkv")
    out = folder / "out"
    for arguments, part in (
        ([clip], "--output <FOLDER>"),
        (["-o", out], "<INPUTS>"),
        ([clip, "-o", out, "--size", "64"], "expected WIDTHxHEIGHT"),
        ([clip, "-o", out, "--fit", "crop"], "--size"),
        ([clip, "-o", out, "--fps", "0"], "expected a rate"),
        ([clip, "-o", out, "--fps", "25/0"], "expected a rate"),
        ([clip, "-o", out, "--every", "0"], "0 is not in"),
        ([clip, "-o", out, "--jobs", "0"], "0 is not in"),
        ([clip, "-o", out, "--memory", "lots"], "expected a size such as 500M"),
        ([clip, "-o", out, "--timeout", "0"], "expected a number of seconds"),
        ([clip, "-o", out, "--start", "2", "--end", "1"], "its end, 1 s, is not after its start, 2 s"),
        ([clip, "-o", out, "--provider", "gpu"], "expected auto, cpu, cuda or cuda:DEVICE"),
        ([clip, "-o", out, "--seed", "1"], "--posterior sample"),
        ([clip, "-o", out, "-p", "moments", "-n"], "moments are never scaled"),
        ([clip, "-o", out, "--frames", "5", "--expect-frames", "17"], "of which no frame after the last one is read"),
        ([clip, "-o", out, "--fps", "4000000000/1"], "expected a rate"),
        ([clip, "-o", out, "--memory", "0.5"], "expected a size such as 500M"),
        ([folder / "none", "-o", out], "No such file"),
        ([clip, "-o", out, "-m", folder / "none"], "No such file"),
        ([clip, "-o", out, "-m", GOLDEN / "own-v2-image", "--precision", "f64"], "possible values"),
    ):
        status, text = run(*arguments)
        equal(f"options: status of {arguments[-2:]}", status, 2)
        contains(f"options: {arguments[-2:]}", text, part)
    check("options: nothing is begun", not out.exists())


TOPICS = [files, ends, others, hostile, counts, lists, options]
