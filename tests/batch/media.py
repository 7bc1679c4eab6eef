"""What is read from media files: the same latents as encode_file gives for the frames that ffmpeg decodes."""

import json
import shutil
import struct
import subprocess

from base import ALL, ENCODE, FFV1, GOLDEN, H264, TIME, Output, check, contains, equal, ffmpeg, make_clip, run

MODEL = GOLDEN / "v1-tiny"
VP9 = ["-c:v", "libvpx-vp9", "-b:v", "200k"]
MJPEG = ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]
MPEG1 = ["-c:v", "mpeg1video", "-pix_fmt", "yuv420p", "-bf", "2"]


def expected(folder, clip, filters="null", options=(), pixels=None, centre=False):
    """The tensor that encode_file writes. centre: the chroma samples of 4:2:0 are where MPEG-1 and JPEG have them."""
    pixels = ["-pix_fmt", pixels] if pixels else []
    y4m = ["-fps_mode", "passthrough", "-strict", "-1", "-f", "yuv4mpegpipe", "-"]
    frames = ffmpeg("-i", clip, "-vf", filters, *pixels, *y4m)
    if not centre:
        # What ffmpeg writes if it does not know.
        frames = frames.replace(b" C420jpeg ", b" C420mpeg2 ", 1)
    target = folder / "expected.safetensors"
    command = [ENCODE, "-f", "-m", MODEL, *options, "-", target]
    subprocess.run(command, input=frames, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=TIME)
    return Output(folder).latents("expected")[1]


def formats(folder):
    """Containers, codecs, pixel formats, matrices and ranges."""
    clips = folder / "clips"
    cases = {
        "h264.mp4": (H264, "null", ()),
        "deep/vp9.webm": (VP9, "null", ()),
        "deep/mpeg1.mpg": (MPEG1, "null", ()),
        "mjpeg.avi": (MJPEG, "null", ()),
        "h264.ts": (H264, "null", ()),
        "709.mkv": ([*H264, "-colorspace", "bt709"], "null", ["-M", "709"]),
        "full.mkv": ([*H264, "-color_range", "pc"], "scale=out_range=full", ["-R", "full"]),
        "10bit.mkv": ([*FFV1, "-pix_fmt", "yuv422p10le"], "null", ()),
        "444.mkv": ([*FFV1, "-pix_fmt", "yuv444p"], "null", ()),
        "odd.mkv": ([*FFV1, "-pix_fmt", "yuv420p"], "scale=47:33", ()),
        "tall.mkv": ([*FFV1, "-pix_fmt", "yuv420p"], "scale=32:48", ()),
    }
    for name, (codec, filters, _) in cases.items():
        make_clip(clips / name, codec=codec, filters=filters)
    (clips / "h264.ts").rename(clips / "stream.ts")
    cases["stream.ts"] = cases.pop("h264.ts")
    # What is no media file is not looked at.
    (clips / "notes.txt").write_text("no list\n")
    out = Output(folder / "out")
    equal("formats: status", run("-m", MODEL, clips, "-o", out.folder), (0, out_text(len(cases))))
    out.agrees("formats")
    equal("formats: keys", sorted(out.rows()), sorted(name.rpartition(".")[0] for name in cases))
    for name, (_, _, options) in cases.items():
        key = name.rpartition(".")[0]
        header, data = out.latents(key)
        centre = name in ("mjpeg.avi", "deep/mpeg1.mpg")
        check(f"formats: latents of {name}", data == expected(folder, clips / name, options=options, centre=centre))
        equal(f"formats: rate of {name}", header["__metadata__"]["fps"], "25/1")
        equal(f"formats: frames of {name}", (out.done()[key]["decoded"], out.done()[key]["frames"]), (17, 17))
    first = out.lines()[0]
    metadata = out.latents("h264")[0]["__metadata__"]
    equal("formats: identities", (first["model"], first["encoder"]), (metadata["model"], metadata["encoder"]))
    equal("formats: the job", (first["posterior"], first["latent_type"], first["precision"]), ("mean", "f16", "f32"))


def out_text(done, failed=0, verb="encoded"):
    """The last line, of which only the time is not known."""

    class Text(str):
        def __eq__(self, other):
            start, _, end = other.strip().rpartition("\n")[2].partition(" frames, in ")
            return start.startswith(f"{done} clips {verb}, ") and end.partition(" s; ")[2].startswith(f"{failed} failed")

        __hash__ = None

    return Text(f"{done} clips {verb}, ... frames, in ... s; {failed} failed")


def converted(folder):
    """Frames that FFmpeg converts: libwfvae has no such format."""
    clips = folder / "clips"
    make_clip(clips / "rgba.mov", codec=["-c:v", "qtrle", "-pix_fmt", "argb"])
    make_clip(clips / "p410.mkv", codec=["-c:v", "ffvhuff", "-pix_fmt", "yuv410p"])
    make_clip(clips / "grey.mkv", codec=[*FFV1, "-pix_fmt", "gray"])
    out = Output(folder / "out")
    equal("converted: status", run("-m", MODEL, clips, "-o", out.folder), (0, out_text(3)))
    ffmpeg("-i", clips / "rgba.mov", "-c:v", "ffv1", "-pix_fmt", "gbrp", folder / "rgb.mkv")
    same = Output(folder / "same")
    run("-m", MODEL, folder / "rgb.mkv", "-o", same.folder)
    check("converted: RGB stays RGB", out.latents("rgba")[1] == same.latents("rgb")[1])
    check("converted: grey", out.latents("grey")[1] == expected(folder, clips / "grey.mkv", options=["-R", "full"]))
    check(
        "converted: 4:1:0 becomes 4:4:4",
        out.latents("p410")[1] == expected(folder, clips / "p410.mkv", pixels="yuv444p"),
    )


def parts(folder):
    """Ranges, of which every frame counts; every n-th frame; the first frames; other rates."""
    clip = make_clip(folder / "long.mp4", frames=100)
    late = make_clip(folder / "late.ts", frames=100, options=["-output_ts_offset", "7"])
    gop = make_clip(folder / "gop.mkv", frames=100, codec=[*H264, "-x264-params", "open-gop=1:keyint=12"])
    lines = []
    cases = {}
    ranges = ((0, 10), (11, 12), (37, 61), (83, 100), *([(1, 18), (12, 29), (61, 100)] if ALL else []))
    for path in (clip, late, gop):
        for start, end in ranges:
            key = f"{path.stem}-{start}-{end}"
            lines.append({"path": path.name, "key": key, "start": start / 25, "end": end / 25, "expect_frames": end - start})
            cases[key] = (path, f"trim=start_frame={start}:end_frame={end}")
    listed = folder / "list.jsonl"
    listed.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = Output(folder / "out")
    equal("parts: status", run("-m", MODEL, listed, "-o", out.folder), (0, out_text(len(lines))))
    for key, (path, filters) in cases.items():
        check(f"parts: latents of {key}", out.latents(key)[1] == expected(folder, path, filters))
    row = out.rows()["long-37-61"]
    equal("parts: row", (row["start"], row["end"], row["done"]["decoded"], row["done"]["frames"]), (1.48, 2.44, 24, 24))
    cases = {
        "every": (["--every", 3], "select=not(mod(n\\,3))", "25/3", 34),
        "frames": (["--frames", 13], "trim=end_frame=13", "25/1", 13),
        "slower": (["--fps", 10], "fps=10", "10/1", 40),
        "faster": (["--fps", "30000/1001", "--frames", 50], "fps=30000/1001,trim=end_frame=50", "30000/1001", 50),
        "range": (["--start", 0.4, "--end", 1.2], "trim=start_frame=10:end_frame=30", "25/1", 20),
    }
    for name, (options, filters, rate, frames) in cases.items():
        out = Output(folder / name)
        equal(f"parts: status of {name}", run("-m", MODEL, clip, "-o", out.folder, *options), (0, out_text(1)))
        header, data = out.latents("long")
        check(f"parts: latents of {name}", data == expected(folder, clip, filters))
        equal(f"parts: rate of {name}", header["__metadata__"]["fps"], rate)
        equal(f"parts: frames of {name}", header["__metadata__"]["frames"], str(frames))


def sizes(folder):
    """Sizes, shapes of pixels, and clips that are to be turned."""
    clips = folder / "clips"
    wide = make_clip(clips / "wide.mkv", size="96x32", codec=[*FFV1, "-pix_fmt", "yuv420p"])
    make_clip(clips / "tall.mkv", size="32x96", codec=[*FFV1, "-pix_fmt", "yuv420p"])
    make_clip(clips / "same.mkv", size="64x48", codec=[*FFV1, "-pix_fmt", "yuv420p"])
    make_clip(clips / "pixels.mkv", size="32x48", codec=[*FFV1, "-pix_fmt", "yuv420p"], filters="setsar=2")
    # No tag says where FFV1's chroma samples are, so they are left.
    scaling = "in_h_chr_pos=0:in_v_chr_pos=128:flags=lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"
    scale = "scale={}:{}:" + scaling
    cases = {
        "wide": scale.format(144, 48) + ",crop=64:48",
        "tall": scale.format(64, 192) + ",crop=64:48",
        "same": "null",
        "pixels": scale.format(64, 48),
    }
    out = Output(folder / "crop")
    equal("sizes: status", run("-m", MODEL, clips, "-o", out.folder, "--size", "64x48"), (0, out_text(4)))
    for key, filters in cases.items():
        pixels = None if filters == "null" else "yuv444p"
        found = out.latents(key)[1] == expected(folder, clips / f"{key}.mkv", filters, pixels=pixels)
        check(f"sizes: latents of {key}", found)
        equal(f"sizes: {key}", (out.done()[key]["width"], out.done()[key]["height"]), (64, 48))
    out = Output(folder / "stretch")
    run("-m", MODEL, wide, "-o", out.folder, "--size", "64x48", "--fit", "stretch")
    stretched = expected(folder, wide, scale.format(64, 48), pixels="yuv444p")
    check("sizes: stretched", out.latents("wide")[1] == stretched)
    out = Output(folder / "filter")
    run("-m", MODEL, wide, "-o", out.folder, "--filter", "crop=40:24:8:4", "--size", "64x48")
    filters = "crop=40:24:8:4," + scale.format(80, 48) + ",crop=64:48"
    check("sizes: a filter before", out.latents("wide")[1] == expected(folder, wide, filters, pixels="yuv444p"))
    for name, options, rate in (
        ("doubled", ["--filter", "bwdif=mode=send_field:deint=all"], "50/1"),
        ("fewer", ["--filter", "fps=5"], "5/1"),
        ("both", ["--filter", "fps=50", "--fps", "10", "--every", 2], "5/1"),
    ):
        rates = Output(folder / name)
        equal(f"sizes: {name} frames", run("-m", MODEL, wide, "-o", rates.folder, *options)[0], 0)
        equal(f"sizes: rate of {name} frames", rates.done()["wide"]["fps"], rate)


def turned(folder):
    """Clips that are to be turned and mirrored: the four turns, with and without."""
    clips = folder / "clips"
    clips.mkdir()
    upright = make_clip(folder / "upright.mp4", size="64x32")
    scaling = "in_h_chr_pos=0:in_v_chr_pos=128:flags=lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"
    cases = {
        (1, 0, 0, 1): "null",
        (0, 1, -1, 0): "transpose=clock",
        (-1, 0, 0, -1): "hflip,vflip",
        (0, -1, 1, 0): "transpose=cclock",
        (-1, 0, 0, 1): "hflip",
        (1, 0, 0, -1): "vflip",
        (0, 1, 1, 0): "transpose=cclock_flip",
        (0, -1, -1, 0): "transpose=clock_flip",
    }
    content = upright.read_bytes()
    # ISO/IEC 14496-12, 8.3.2: the matrix of the track's header.
    at = content.index(b"tkhd") + 44
    for index, (a, b, c, d) in enumerate(cases):
        matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
        (clips / f"{index}.mp4").write_bytes(content[:at] + matrix + content[at + len(matrix) :])
    half = struct.pack(">9i", 46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30)
    (clips / "half.mp4").write_bytes(content[:at] + half + content[at + len(half) :])
    out = Output(folder / "out")
    equal("turned: status", run("-m", MODEL, clips, "-o", out.folder), (1, out_text(8, failed=1)))
    for index, filters in enumerate(cases.values()):
        full = "null" if filters == "null" else f"scale={scaling},format=yuv444p,{filters}"
        check(f"turned: {filters}", out.latents(str(index))[1] == expected(folder, upright, full))
        size = (32, 64) if "transpose" in filters else (64, 32)
        equal(f"turned: size after {filters}", (out.done()[str(index)]["width"], out.done()[str(index)]["height"]), size)
    contains("turned: by 45 degrees", out.errors()["half"], "at an angle that is no multiple of 90 degrees")


def colours(folder):
    """Resized clips keep matrix and chroma siting, and the shape of their pixels that only the container knows."""
    untagged = make_clip(folder / "untagged.mkv", frames=1, size="1280x720", codec=[*FFV1, "-pix_fmt", "yuv420p"])
    tagged = folder / "tagged.mkv"
    # Not with -colorspace, to which FFmpeg 7 and later convert.
    ffmpeg("-i", untagged, "-vf", "setparams=colorspace=bt709", *FFV1, tagged)
    for options in (["--size", "64x48"], ["--filter", "crop=128:96:200:200"]):
        out, same = Output(folder / f"untagged{options[0]}"), Output(folder / f"tagged{options[0]}")
        run("-m", MODEL, untagged, "-o", out.folder, *options)
        run("-m", MODEL, tagged, "-o", same.folder, *options)
        check(f"colours: HD without a tag is BT.709, {options[0]}", out.latents("untagged")[1] == same.latents("tagged")[1])

    # Coloured edges, of which the chroma samples are taken where the tag says.
    source = folder / "source.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=192x128:rate=25", "-frames:v", 1, "-c:v", "ffv1", "-pix_fmt", "gbrp", source)
    truth = Output(folder / "truth")
    run("-m", MODEL, source, "-o", truth.folder, "--size", "96x64", "--type", "f32")
    places = {"left": (0, 128), "center": (128, 128), "topleft": (0, 0)}
    # FFmpeg 7 has no option of encoders that tells the place.
    tag = {name: ["-bsf:v", f"h264_metadata=chroma_sample_loc_type={number}"] for number, name in enumerate(places)}
    for name, (h, v) in places.items():
        clip = folder / f"{name}.mkv"
        chroma = f"scale=out_h_chr_pos={h}:out_v_chr_pos={v}:flags=lanczos+accurate_rnd+full_chroma_int+full_chroma_inp,format=yuv420p"
        ffmpeg("-i", source, "-vf", chroma, "-c:v", "libx264", "-qp", 0, *tag[name], clip)
        out = Output(folder / f"out-{name}")
        run("-m", MODEL, clip, "-o", out.folder, "--size", "96x64", "--type", "f32")
        other = "left" if name == "center" else "center"
        wrong = folder / f"{name}-as-{other}.mkv"
        ffmpeg("-i", source, "-vf", chroma, "-c:v", "libx264", "-qp", 0, *tag[other], wrong)
        run("-m", MODEL, wrong, "-o", folder / f"wrong-{name}", "--size", "96x64", "--type", "f32")
        errors = [distance(found, truth.latents("source")[1]) for found in (
            out.latents(name)[1], Output(folder / f"wrong-{name}").latents(wrong.stem)[1])]
        check(f"colours: chroma at {name}", errors[0] < 0.7 * errors[1], errors)

    square = make_clip(folder / "square.mp4", size="32x48")
    shown = folder / "shown.mp4"
    ffmpeg("-i", square, "-c", "copy", "-aspect", "4:3", shown)
    out, same = Output(folder / "shown"), Output(folder / "square")
    run("-m", MODEL, shown, "-o", out.folder, "--size", "64x48")
    run("-m", MODEL, square, "-o", same.folder, "--size", "64x48", "--fit", "stretch")
    check("colours: the container's shape of pixels", out.latents("shown")[1] == same.latents("square")[1])


def distance(first, second):
    """Root mean square of the differences."""
    pairs = list(zip(floats(first), floats(second)))
    return (sum((a - b) ** 2 for a, b in pairs) / len(pairs)) ** 0.5


def floats(content):
    return memoryview(content).cast("f")


def hard_parts(folder):
    """Parts of files where frames are hard to find: few key frames, none, coarse times, few times, a cut start."""
    gop = ["-g", "100"]
    files = {
        "mpeg2.ts": ["-c:v", "mpeg2video", *gop],
        "refresh.ts": ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-x264-params", "intra-refresh=1:keyint=50"],
        "mpeg1.mpg": ["-c:v", "mpeg1video", "-bf", "2", *gop],
        "mpeg4.avi": ["-c:v", "mpeg4", "-bf", "2", *gop],
        "h264.flv": [*H264, *gop],
        "vp9.webm": [*VP9, *gop],
    }
    lines, cases = [], {}
    for name, codec in files.items():
        path = make_clip(folder / name, frames=250, codec=codec)
        for first, last in ((98, 108), (50, 55), (203, 240), (30, 250), (149, 150)):
            key = f"{name}-{first}-{last}"
            # Between the times of frames, so that rounding decides nothing.
            lines.append({"path": name, "key": key, "start": (first - 0.5) / 25, "end": (last - 0.5) / 25})
            cases[key] = (path, first, last)
    (folder / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = Output(folder / "out")
    equal("hard parts: status", run("-m", MODEL, folder / "list.jsonl", "-o", out.folder), (0, out_text(len(lines))))
    for key, (path, first, last) in cases.items():
        filters = f"trim=start={(first - 0.5) / 25}:end={(last - 0.5) / 25}"
        found = out.latents(key)[1] if key in out.done() else b""
        check(f"hard parts: {key}", found == expected(folder, path, filters, centre=path.suffix in (".mpg",)))
    between = Output(folder / "between")
    run("-m", MODEL, folder / "mpeg4.avi", "-o", between.folder, "--start", 1.01, "--end", 1.03)
    contains("hard parts: between two frames", between.errors()["mpeg4"], "it has no frames in this range")

    # As programs cut that copy: the first frames lack others.
    source = make_clip(folder / "open.ts", frames=250, codec=[*H264, "-x264-params", "open-gop=1:keyint=25:bframes=3"])
    for name in ("copied.ts", "copied.mp4"):
        ffmpeg("-ss", "3.3", "-i", source, "-t", "4", "-c", "copy", folder / name)
    content = source.read_bytes()
    (folder / "joined.ts").write_bytes(content[188 * (len(content) // 188 // 3) :])
    for name in ("copied.ts", "copied.mp4", "joined.ts"):
        out = Output(folder / f"out-{name}")
        equal(f"hard parts: {name}", run("-m", MODEL, folder / name, "-o", out.folder), (0, out_text(1)))


def posteriors(folder):
    """Means, moments and samples, each clip with noise of its own that depends on nothing but seed and key."""
    clips = folder / "clips"
    clip = make_clip(clips / "a.mkv")
    shutil.copyfile(clip, clips / "b.mkv")
    make_clip(clips / "c.mkv", size="64x48")
    names = {}
    for name, options in {
        "sample": ["-p", "sample", "-s", 5],
        "again": ["-p", "sample", "-s", 5, "-j", 1],
        "other": ["-p", "sample", "-s", 6],
        "moments": ["-p", "moments"],
        "f32": ["--type", "f32"],
    }.items():
        names[name] = Output(folder / name)
        equal(f"posteriors: {name}", run("-m", MODEL, clips, "-o", names[name].folder, *options), (0, out_text(3)))
    same = names["sample"].hashes()
    equal("posteriors: the same for any number of jobs", names["again"].hashes(), same)
    check("posteriors: noise of its own", same["a.safetensors"] != same["b.safetensors"])
    check("posteriors: another seed", names["other"].hashes()["a.safetensors"] != same["a.safetensors"])
    seed = names["sample"].latents("a")[0]["__metadata__"]["seed"]
    equal("posteriors: FNV-1a of seed and key", int(seed), fnv((5).to_bytes(8, "little") + b"a"))
    check("posteriors: as encode_file", names["sample"].latents("a")[1] == expected(folder, clip, options=["-p", "sample", "-s", seed]))
    check("posteriors: moments", names["moments"].latents("a")[1] == expected(folder, clip, options=["-p", "moments"]))
    equal("posteriors: the type", names["f32"].latents("a")[0]["mean"]["dtype"], "F32")


def fnv(content):
    value = 0xCBF29CE484222325
    for byte in content:
        value = (value ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return value


def whole_clips(folder):
    """A model whose norms span the clip takes clips of one length."""
    clip = make_clip(folder / "clips" / "a.mkv", frames=20)
    model = GOLDEN / "own-v2-groupnorm"
    status, text = run("-m", model, clip, "-o", folder / "none")
    equal("whole clips: refused", status, 2)
    contains("whole clips: advice", text, "add --frames")
    status, text = run("-m", model, clip, "-o", folder / "none", "--frames", 10)
    equal("whole clips: a length that does not fit", status, 2)
    contains("whole clips: lengths that do", text, "give 9 or 13")
    out = Output(folder / "out")
    equal("whole clips: status", run("-m", model, clip, "-o", out.folder, "--frames", 9), (0, out_text(1)))
    equal("whole clips: frames", out.done()["a"]["frames"], 9)


TOPICS = [formats, converted, parts, hard_parts, sizes, turned, colours, posteriors, whole_clips]
