"""What other programs ask for: `serve`, which encodes clips line by line, and `list`."""

import json
import os
import subprocess
import time

from base import BATCH, TIME, check, contains, equal, make_clip, run, start, wait_for


def ask(folder, *lines):
    """Exit status, rows without what differs from run to run, and standard error."""
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    with start("-o", folder, "-j", 2, "-q", command="serve", stdin=subprocess.PIPE) as process:
        out, err = process.communicate(text, timeout=TIME)
    rows = [json.loads(line) for line in out.splitlines()]
    return process.returncode, rows, err


def served(folder):
    """Rows and files are those of `encode`; what is wrong with a line is told in its row."""
    clip = make_clip(folder / "clips" / "a.mp4")
    run(folder / "clips", "-o", folder / "expected", "-q")
    expected = [json.loads(line) for line in (folder / "expected" / "manifest.jsonl").read_text().splitlines()]
    lines = [
        {"path": str(clip), "key": "a"},
        {"path": str(clip), "key": "../b"},
        {"path": str(clip), "key": "c", "start": 2, "end": 1},
        {"path": str(clip), "key": "d", "frames": 7},
        {"path": str(folder / "none.mp4"), "key": "e"},
        {"path": str(clip), "key": "f", "expect_frames": -1},
    ]
    status, (job, *rows), text = ask(folder / "out", *lines)
    equal("serve: status", (status, text), (1, ""))
    equal("serve: the job", job, expected[0])
    rows = {row["key"]: row for row in rows}
    equal("serve: a row", {**rows["a"], "seconds": 0}, {**expected[1], "seconds": 0})
    latents = [(folder / name / "a.safetensors").read_bytes() for name in ("out", "expected")]
    check("serve: a file", latents[0] == latents[1])
    errors = {
        "../b": "is not a path below the output folder",
        "c": "its end, 1 s, is not after its start, 2 s",
        "d": "unknown field `frames`",
        "e": "No such file or directory",
        "f": "expected u64",
    }
    equal("serve: keys", sorted(rows), sorted(["a", *errors]))
    for key, part in errors.items():
        contains(f"serve: {key}", rows[key]["failed"]["error"], part)
        equal(f"serve: path of {key}", rows[key]["source"]["path"], str(folder / "none.mp4") if key == "e" else str(clip))
    for name, line, part in (
        ("no JSON", "a.mp4\n", "line 1 of standard input: "),
        ("no key", {"key": 3}, "line 1 of standard input: "),
    ):
        status, rows, text = ask(folder / "wrong", line)
        equal(f"serve: {name}: status", (status, len(rows)), (2, 1))
        contains(f"serve: {name}", text, part)


def lines(folder):
    """Blank lines are none, long ones are wrong; one clip of a key at a time, and none in the folder of a job. It ends at once."""
    clip = make_clip(folder / "clips" / "a.mp4")
    line = {"path": str(clip), "key": "a"}
    status, rows, text = ask(folder / "out", "\n", line, " \r\n")
    equal("serve: blank lines", (status, text, [row["key"] for row in rows[1:]]), (0, "", ["a"]))
    _, (_, *rows), _ = ask(folder / "out", *[line] * 4)
    reasons = {row["failed"]["error"] for row in rows if "failed" in row}
    check("serve: one key at a time", len(rows) == 4 and reasons <= {"another clip with its key is being encoded"}, rows)
    for name, wrong in (("an endless line", "x" * 3_000_000), ("what is not UTF-8", "\udcff\n")):
        with start("-o", folder / "out", "-q", command="serve", stdin=subprocess.PIPE, text=False) as process:
            out, err = process.communicate(wrong.encode("utf-8", "surrogateescape"), timeout=TIME)
        part = "longer than 1048576 bytes" if name == "an endless line" else "not UTF-8"
        equal(f"serve: {name}: status", (process.returncode, out.count(b"\n")), (2, 1))
        contains(f"serve: {name}", err.decode(), f"line 1 of standard input: it is {part}")
    run(folder / "clips", "-o", folder / "job", "-q")
    status, rows, text = ask(folder / "job", line)
    equal("serve: the folder of a job", (status, rows, "is the folder of a job" in text), (2, [], True))

    with start("-o", folder / "out", "-j", 64, command="serve", stdin=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(0.3)
        begin = time.monotonic()
        process.terminate()
        process.wait(timeout=TIME)
    equal("serve: status when ended", process.returncode, 130)
    check("serve: it ends at once", time.monotonic() - begin < 3)


def readers(folder):
    """It ends in the middle of a clip when nobody reads its rows any more, and takes its decoders with it."""
    clip = make_clip(folder / "long.mkv", frames=2000, size="256x256")
    for name in "before a clip", "within a clip":
        out = folder / name
        process = start("-o", out, command="serve", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdout.readline()
        if name == "within a clip":
            process.stdin.write(json.dumps({"path": str(clip), "key": "a"}) + "\n")
            process.stdin.flush()
            wait_for(lambda: out.exists() and os.listdir(out))
        process.stdout.close()
        equal(f"serve without a reader, {name}", process.wait(timeout=10), 130)
        process.stdin.close()
        process.stderr.close()
    # Its rows may go to a file.
    with (folder / "rows").open("wb") as rows:
        line = json.dumps({"path": str(clip), "key": "a", "end": 0.2}) + "\n"
        command = [BATCH, "serve", "-o", folder / "file"]
        ended = subprocess.run(command, input=line.encode(), stdout=rows, stderr=subprocess.PIPE, timeout=TIME)
    equal("serve to a file", (ended.returncode, len((folder / "rows").read_text().splitlines())), (0, 2))


def listed(folder):
    """Clips with their keys and absolute paths, in the order of the keys."""
    for name in "b.mp4", "sub/a.mkv", "no.txt":
        (folder / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "clips" / name).touch()
    clips = [
        {"path": "clips/x.mp4", "start": 1.5, "end": 2},
        {"path": "y.mp4", "key": "0", "expect_frames": 3},
    ]
    (folder / "list.jsonl").write_text("".join(json.dumps(clip) + "\n" for clip in clips))

    def lines(*inputs, **more):
        with start(*inputs, command="list", **more) as process:
            out, err = process.communicate(timeout=TIME)
        return process.returncode, [json.loads(line) for line in out.splitlines()], err

    status, found, text = lines("clips", "list.jsonl", cwd=folder)
    expected = [
        {"path": f"{folder}/y.mp4", "key": "0", "expect_frames": 3},
        {"path": f"{folder}/clips/b.mp4", "key": "b"},
        {"path": f"{folder}/clips/x.mp4", "key": "clips/x_1500_2000", "start": 1.5, "end": 2.0},
        {"path": f"{folder}/clips/sub/a.mkv", "key": "sub/a"},
    ]
    equal("list", (status, found, text), (0, expected, ""))
    status, found, text = lines(folder / "clips", folder / "clips" / "b.mp4")
    equal("list: two of one key: status", (status, found), (2, []))
    contains("list: two of one key", text, "would both be written to b")
    (folder / "odd").mkdir()
    (folder / "odd" / os.fsdecode(b"\xff.mp4")).touch()
    status, found, text = lines(folder / "odd")
    equal("list: not Unicode: status", (status, found), (2, []))
    contains("list: not Unicode", text, "its name is not Unicode, which a list has to be")


TOPICS = [served, lines, readers, listed]
