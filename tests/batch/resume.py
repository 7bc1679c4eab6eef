"""Jobs that go on: what is done is not done again, and what is not, is; whatever ended the job."""

import json
import os
import random
import shutil
import signal
import time

from base import ALL, GOLDEN, Output, check, contains, copies, equal, make_clip, run, start, wait_for
from media import MODEL, out_text


def again(folder):
    """--resume encodes what is not done, what has changed, and what is lost; it refuses another job."""
    clips, out = folder / "clips", Output(folder / "out")
    copies(make_clip(folder / "a.mkv"), clips, 6)
    job = ["-m", MODEL, clips, "-o", out.folder]
    manifest = out.folder / "manifest.jsonl"
    equal("again: the first time", run(*job, "--resume"), (0, out_text(6)))
    first, hashes = out.lines(), out.hashes()
    status, text = run(*job)
    equal("again: without --resume", (status, "add --resume to go on with its job" in text), (2, True))
    status, text = run(*job, "--resume")
    equal("again: nothing to do", (status, text), (0, out_text(0)))
    contains("again: what was done", text, "6 were done before")
    equal("again: the same rows", out.lines(), first)

    moved = folder / "moved"
    shutil.copytree(clips, moved)
    equal("again: clips in another place", run("-m", MODEL, moved, "-o", out.folder, "--resume"), (0, out_text(0)))
    os.utime(clips / "c000.mkv")
    (out.folder / "c001.safetensors").unlink()
    (out.folder / "c002.safetensors").write_bytes(b"short")
    equal("again: changed, lost and cut", run(*job, "--resume"), (0, out_text(3)))
    equal("again: all is well", out.hashes(), hashes)
    make_clip(clips / "c003.mkv", frames=9)
    make_clip(clips / "new.mkv", frames=5)
    equal("again: changed and new", run(*job, "--resume"), (0, out_text(2)))
    equal("again: frames", (out.done()["c003"]["frames"], out.done()["new"]["frames"]), (9, 5))
    out.agrees("again")

    stale = Output(folder / "stale")
    kept = shutil.copyfile(clips / "c005.mkv", folder / "kept.mkv")
    run("-m", MODEL, kept, "-o", stale.folder)
    kept.write_bytes(kept.read_bytes()[:500])
    equal("again: a clip that is damaged now", run("-m", MODEL, kept, "-o", stale.folder, "--resume")[0], 1)
    equal("again: its old latents are gone", stale.files(), [])

    listed = folder / "list.jsonl"
    for line, count in (({}, 0), ({"end": 0.2}, 1), ({"end": 0.2}, 0), ({"end": 0.2, "expect_frames": 5}, 0)):
        listed.write_text(json.dumps({"path": "clips/c004.mkv", "key": "c004", **line}) + "\n")
        equal(f"again: {line}", run("-m", MODEL, listed, "-o", out.folder, "--resume"), (0, out_text(count)))

    for options, part in (
        (["-F", "bf16"], "precision is \"f32\", this job's \"bf16\""),
        (["-p", "moments"], "posterior is \"mean\", this job's \"moments\""),
        (["-p", "sample"], "seed is null, this job's 0"),
        (["--type", "f32"], "latent_type is \"f16\", this job's \"f32\""),
        (["--size", "32x32"], 'frames is "", this job\'s "size 32x32 crop"'),
        (["--fps", "10"], 'this job\'s "fps 10/1"'),
        (["--filter", "hflip"], 'this job\'s "filter hflip"'),
    ):
        status, text = run(*job, "--resume", *options)
        equal(f"again: status with {options}", status, 2)
        contains(f"again: with {options}", text, part)
    status, text = run("-m", GOLDEN / "v1-tiny-8x", clips, "-o", out.folder, "--resume")
    equal("again: another model", (status, "model is" in text), (2, True))
    manifest.write_bytes(b"")
    equal("again: an empty manifest", run(*job, "--resume"), (0, out_text(7)))
    lines = manifest.read_bytes().splitlines(keepends=True)
    for name, content, count, part in (
        ("torn", b"".join(lines)[:-30], 1, "lines of the manifest are damaged, 1: their clips are processed again"),
        ("begun", lines[0][:40], 7, ""),
        ("damaged", b"".join([*lines[:-2], b"\0" * 200 + b"\n", b"{\n", lines[-1]]), 1, "lines of the manifest are damaged, 2"),
    ):
        manifest.write_bytes(content)
        status, text = run(*job, "--resume")
        equal(f"again: {name}", (status, text), (0, out_text(count)))
        contains(f"again: words for {name}", text, part)
        out.agrees(f"again: {name}")
    mode = (out.folder / "manifest.jsonl").stat().st_mode
    equal("again: others can still read it", mode & 0o444, 0o444 & ~umask())
    for content in (b"x", b"notes", b"notes\n", b'{"key": "a"}\n', lines[0].replace(b'"wfvae-batch"', b'"other"')):
        manifest.write_bytes(content)
        status, text = run(*job, "--resume")
        equal("again: another file", (status, manifest.read_bytes()), (2, content))
        contains("again: words for another file", text, "it is not a manifest of wfvae-batch, choose another folder")


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def other_part(folder):
    """Killed between a new file and its row, a job does not take the file for that of an old row."""
    clip = make_clip(folder / "a.mkv", frames=40)
    out = Output(folder / "out")
    job = ["-m", MODEL, clip, "-o", out.folder, "--resume"]
    run(*job, "--end", 0.4)
    first = out.hashes()
    before = (out.folder / "manifest.jsonl").read_bytes()
    run(*job, "--start", 0.4, "--end", 0.8)
    lines = (out.folder / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    equal("other part: the old row is taken back first", len(lines), 4)
    check("other part: another file of the same size", out.hashes() != first)
    # As if the last row had not come to the disk.
    (out.folder / "manifest.jsonl").write_bytes(b"".join(lines[:-1]))
    equal("other part: the old part again", run(*job, "--end", 0.4), (0, out_text(1)))
    equal("other part: its latents", out.hashes(), first)
    check("other part: rows are only added", b"".join(lines).startswith(before))


def killed(folder):
    """Killed at any moment, as often as it takes, a job gives what an undisturbed one gives, and does nothing twice."""
    clips, whole, out = folder / "clips", Output(folder / "whole"), Output(folder / "out")
    kinds = [make_clip(folder / f"{frames}.mkv", frames=frames, size="128x96") for frames in (5, 17, 60)]
    kills, count = (50, 500) if ALL else (4, 40)
    for index in range(count):
        (clips / f"{index % 7}").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kinds[index % 3], clips / f"{index % 7}" / f"c{index}.mkv")
    begin = time.monotonic()
    equal("killed: undisturbed", run(clips, "-o", whole.folder), (0, out_text(count)))
    taken = time.monotonic() - begin
    numbers, done, amid = random.Random(22), 0, 0
    while True:
        with start(clips, "-o", out.folder, "--resume") as process:
            time.sleep(numbers.uniform(0.05, taken / kills + 0.25))
            process.kill()
        done += process.returncode < 0
        amid += 0 < len(out.done()) < count
        # On a machine that starts slowly, all of the first ones may come before any clip.
        if process.returncode == 0 or (done >= kills and (amid or done > 10 * kills)):
            break
    print(f"killed {done} times, {len(out.done())} of {count} clips were done")
    check("killed: in the middle, too", amid > 0)
    status, text = run(clips, "-o", out.folder, "--resume")
    equal("killed: status", status, 0)
    equal("killed: the same files", out.hashes(), whole.hashes())
    out.agrees("killed")
    rows = [line["key"] for line in out.lines()[1:]]
    equal("killed: nothing twice", len(rows), len(set(rows)))
    strip = lambda rows: {key: (row["done"], row["source"]) for key, row in rows.items()}
    equal("killed: the same rows", strip(out.rows()), strip(whole.rows()))


def interrupts(folder):
    """Control-C finishes what is being encoded; a second one does not wait. nohup is heeded."""
    clips = copies(make_clip(folder / "a.mkv", frames=60, size="192x128"), folder / "clips", 12)
    whole = Output(folder / "whole")
    run(clips, "-o", whole.folder)
    for name, signals, status in (
        ("control-C", [signal.SIGINT], 130),
        ("SIGTERM", [signal.SIGTERM], 130),
        ("twice", [signal.SIGINT, signal.SIGINT], 130),
        ("hang-up", [signal.SIGHUP], 130),
        ("group", [signal.SIGTERM], 130),
    ):
        out = Output(folder / name)
        with start(clips, "-o", out.folder, "-j", 2, start_new_session=True) as process:
            wait_for(lambda: len(out.lines()) > 2)
            for number in signals:
                begin = time.monotonic()
                # Services are stopped with all of their processes.
                send = os.killpg if name == "group" else os.kill
                send(process.pid, number)
                time.sleep(0.05)
            _, text = process.communicate(timeout=60)
        equal(f"interrupts: status of {name}", process.returncode, status)
        contains(f"interrupts: {name}", text, "finishes the clips that are under way; Control-C again stops at once")
        done = len(out.done())
        check(f"interrupts: {name} is before the end", 0 < done < 12, done)
        if name == "twice":
            check("interrupts: at once", time.monotonic() - begin < 5)
        else:
            out.agrees(f"interrupts: {name}")
        equal(f"interrupts: {name} goes on", run(clips, "-o", out.folder, "--resume"), (0, out_text(12 - done)))
        equal(f"interrupts: results after {name}", out.hashes(), whole.hashes())
    out = Output(folder / "nohup")
    with start(clips, "-o", out.folder, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as process:
        wait_for(lambda: len(out.lines()) > 2)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
    equal("interrupts: nohup", (process.returncode, len(out.done())), (0, 12))


def side_by_side(folder):
    """One job for each folder."""
    clips = copies(make_clip(folder / "a.mkv", frames=60, size="192x128"), folder / "clips", 6)
    out = Output(folder / "out")
    with start(clips, "-o", out.folder, "-j", 1) as process:
        wait_for(lambda: len(out.lines()) > 1)
        status, text = run(clips, "-o", out.folder, "--resume")
        process.communicate(timeout=60)
    equal("side by side: status", (process.returncode, status), (0, 2))
    contains("side by side: words", text, "another job is writing it")
    out.agrees("side by side")


TOPICS = [again, other_part, killed, interrupts, side_by_side]
