"""What goes wrong around clips: decoders that hang or crash, disks that are full, folders that cannot be written, too little memory."""

import os
import pty
import shutil
import signal
import subprocess
import time

from base import BATCH, FFV1, PROGRAMS, Output, check, children, contains, copies, equal, make_clip, resident, run, start, wait_for
from media import MODEL, floats, out_text


def decoders(folder):
    """A decoder that does not go on fails one clip; one that crashes does, too; one that is ended between clips none."""
    clips = copies(make_clip(folder / "a.mkv", frames=60, size="192x128"), folder / "clips", 8)
    # The second clip takes long, so that its decoder can be met at work.
    make_clip(clips / "c001.mkv", frames=400, size="192x128")
    for name, number, part in (
        ("hang", signal.SIGSTOP, "no frame was decoded in 2 s (--timeout)"),
        ("crash", signal.SIGSEGV, "the decoder ended: signal: 11 (SIGSEGV)"),
    ):
        out = Output(folder / name)
        with start(clips, "-o", out.folder, "-j", 1, "--timeout", 2) as process:
            wait_for(lambda: len(out.lines()) == 2)
            time.sleep(0.3)
            os.kill(children(process)[0], number)
            process.communicate(timeout=60)
        equal(f"decoders: status of {name}", process.returncode, 1)
        equal(f"decoders: {name}", (out.errors(), len(out.done())), ({"c001": part}, 7))
        out.agrees(f"decoders: {name}")
        equal(f"decoders: {name} is tried again", run(clips, "-o", out.folder, "--resume"), (0, out_text(1)))
    # Filters that wait are no faster on any machine.
    status, text = run(clips, "-o", folder / "slow", "--filter", "realtime=speed=0.01", "--timeout", 0.3, "-j", 8)
    equal("decoders: slow filters", (status, text), (1, out_text(0, failed=8)))

    # Programs that lie elsewhere, one of them broken.
    programs = folder / "programs"
    programs.mkdir()
    shutil.copy(BATCH, programs)
    environment = {**os.environ, "WFVAE_ONNXRUNTIME": str(PROGRAMS / "libonnxruntime.so.1")}
    copy = [str(programs / BATCH.name), "encode", str(clips), "-o", str(folder / "none")]
    for content, part in ((None, "wfvae-media is missing"), ("#!/bin/sh\necho no library >&2; exit 127\n", "(exit status: 127): no library")):
        if content:
            (programs / "wfvae-media").write_text(content)
            (programs / "wfvae-media").chmod(0o755)
        result = subprocess.run(copy, capture_output=True, text=True, timeout=60, env=environment)
        equal("decoders: status without one", result.returncode, 2)
        contains("decoders: words without one", result.stderr, part)
    # It passes the trial, which has no standard input, and then sends what is no message, and lives.
    (programs / "wfvae-media").write_text("#!/bin/sh\n[ /proc/self/fd/0 -ef /dev/null ] && exit 0\nprintf '\\377\\377\\377\\377\\377\\377'; exec sleep 100\n")
    copy[-1] = str(folder / "nonsense")
    begin = time.monotonic()
    result = subprocess.run([*copy, "--timeout", "20"], capture_output=True, text=True, timeout=60, env=environment)
    reasons = list(Output(folder / "nonsense").errors().values())
    equal("decoders: nonsense", (result.returncode, reasons), (1, ["the decoder sent what is no message"] * 8))
    check("decoders: nonsense is found at once", time.monotonic() - begin < 20)

    # Whoever kills the job kills decoders that hang, too.
    out = Output(folder / "orphans")
    with start(clips, "-o", out.folder, "-j", 2) as process:
        wait_for(lambda: len(children(process)) == 2 and len(out.lines()) > 2)
        readers = children(process)
        for reader in readers:
            os.kill(reader, signal.SIGSTOP)
        process.kill()
    wait_for(lambda: not any(lives(reader) for reader in readers))


def threads(folder):
    """As many clips at a time as there are CPUs, or as OMP_NUM_THREADS allows, if that is less."""
    clips = copies(make_clip(folder / "a.mkv", frames=60, size="192x128"), folder / "clips", 8)
    cpus = min(8, len(os.sched_getaffinity(0)))
    for told, workers in (("1", 1), ("1000", cpus), ("0", cpus), ("some", cpus), (None, cpus)):
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        if told:
            environment["OMP_NUM_THREADS"] = told
        out = Output(folder / f"out {told}")
        with start(clips, "-o", out.folder, env=environment) as process:
            wait_for(lambda: len(children(process)) >= workers and len(out.lines()) > 1)
            equal(f"threads: {told}", len(children(process)), workers)
            process.kill()


def lives(number):
    # One that has ended may wait for whoever adopted it.
    state = subprocess.run(["ps", "-o", "state=", "-p", str(number)], capture_output=True, text=True).stdout.strip()
    return state not in ("", "Z")


def disks(folder):
    """A full disk and read-only folders. With more space, the job goes on."""
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True).returncode != 0:
        print("disks: skipped: no file system can be mounted, which takes root")
        return
    try:
        clips = copies(make_clip(folder / "a.mkv", frames=60, size="128x96", codec=FFV1), folder / "clips", 12)
        disk = folder / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", disk], check=True)
        try:
            out = Output(disk / "out")
            status, text = run(clips, "-o", out.folder, "--type", "f32")
            check("disks: full", status in (1, 2), status)
            contains("disks: words for a full disk", text, "No space left on device")
            done = len(out.done())
            check("disks: some fit", 0 < done < 12, done)
            out.agrees("disks: full")
            subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
            job = [clips, "-o", out.folder, "--type", "f32", "--resume"]
            equal("disks: with more space", run(*job), (0, out_text(12 - done)))
            out.agrees("disks: with more space")
            whole = Output(folder / "whole")
            run(clips, "-o", whole.folder, "--type", "f32")
            equal("disks: the same files", out.hashes(), whole.hashes())

            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            for target in (out.folder, disk / "other"):
                status, text = run(clips, "-o", target, "--type", "f32", "--resume")
                equal("disks: read-only", status, 2)
                contains("disks: words for a read-only disk", text, f"{target}")
                contains("disks: the system's words", text, "Read-only file system")
        finally:
            subprocess.run(["umount", disk], check=True)
        # A folder below that is another disk: only its clips fail.
        below = folder / "mixed" / "sub"
        below.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", below], check=True)
        try:
            mixed = copies(clips / "c000.mkv", folder / "two" / "sub", 2).parent
            copies(clips / "c000.mkv", mixed, 2)
            out = Output(folder / "mixed")
            equal("disks: a part", run(mixed, "-o", out.folder), (1, out_text(2, failed=2)))
            contains("disks: words for a part", out.errors()["sub/c000"], "Read-only file system")
        finally:
            subprocess.run(["umount", below], check=True)
    finally:
        subprocess.run(["umount", folder], check=True)


def memory(folder):
    """Clips that do not fit are processed in tiles, if the model can, or fail; those that fit wait for each other."""
    large = make_clip(folder / "large.mkv", frames=5, size="640x480", codec=[*FFV1, "-pix_fmt", "yuv420p"])
    out, tiled, many = Output(folder / "out"), Output(folder / "tiled"), Output(folder / "many")
    equal("memory: all", run(large, "-o", out.folder, "--type", "f32"), (0, out_text(1)))
    check("memory: no tiles", "tile" not in out.done()["large"])
    little = [large, "--type", "f32", "--memory", "130M"]
    equal("memory: little", run(*little, "-o", tiled.folder, "--frames", 5), (0, out_text(1)))
    check("memory: tiles", tiled.done()["large"].get("tile", "640x480") != "640x480", tiled.done())
    difference = max(abs(a - b) for a, b in zip(floats(out.latents("large")[1]), floats(tiled.latents("large")[1])))
    check("memory: tiles are exact", difference < 1e-4, difference)
    # What a clip gets does not depend on those before it.
    mixed = folder / "mixed"
    make_clip(mixed / "1.mkv", frames=5, size="64x48")
    make_clip(mixed / "2.mkv", frames=5, size="2560x1440")
    make_clip(mixed / "3.mkv", frames=5, size="64x48")
    alone, together = Output(folder / "alone"), Output(folder / "together")
    options = ["--size", "640x480", "--frames", 5, "-j", 1, "--memory", "380M"]
    run(mixed / "2.mkv", "-o", alone.folder, *options)
    run(mixed, "-o", together.folder, *options)
    check("memory: a large source has tiles", "tile" in alone.done()["2"], alone.rows())
    equal("memory: tiles", [row.get("tile") for row in together.done().values()], [None, alone.done()["2"].get("tile"), None])
    clips = copies(large, folder / "clips", 3)
    equal("memory: one after the other", run(clips, "-o", many.folder, "--type", "f32", "--memory", "300M", "-j", 3), (0, out_text(3)))
    check("memory: the same", set(many.hashes().values()) == set(out.hashes().values()))
    few = Output(folder / "few")
    equal("memory: too little", run(*little, "-o", few.folder)[0], 1)
    contains("memory: words", few.errors()["large"], "124 MiB may be used; raise --memory, take fewer --jobs, or make the frames smaller with --size; with --frames")
    attention = Output(folder / "attention")
    equal("memory: no tiles with attention", run("-m", MODEL, large, "-o", attention.folder, "--frames", 5, "--memory", "60M")[0], 1)
    contains("memory: words for attention", attention.errors()["large"], "58 MiB may be used; raise --memory")


def progress(folder):
    """A bar on a terminal, lines elsewhere, nothing if it is to be quiet."""
    clips = copies(make_clip(folder / "a.mkv", frames=60, size="128x96"), folder / "clips", 6)
    (clips / "bad.mkv").write_bytes(b"")
    owner, terminal = pty.openpty()
    with start("-m", MODEL, clips, "-o", folder / "bar", stderr=terminal, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"}) as process:
        os.close(terminal)
        text = b""
        try:
            while part := os.read(owner, 4096):
                text += part
        except OSError:
            # The terminal is closed.
            pass
    text = text.decode()
    contains("progress: clips", text, "/7 clips")
    contains("progress: the failure", text, "bad.mkv: cannot open it")
    contains("progress: the end", text, "6 clips encoded, 360 frames")
    for name, errors in (("full", "/dev/full"), ("closed", None)):
        out = Output(folder / name)
        reader, writer = os.pipe()
        os.close(reader)
        with open(errors, "wb") if errors else os.fdopen(writer, "wb") as target:
            status = run("-m", MODEL, clips, "-o", out.folder, stderr=target)[0]
        equal(f"progress: nobody reads errors, {name}", (status, len(out.done()), len(out.errors())), (1, 6, 1))
    status, text = run("-m", MODEL, clips, "-o", folder / "lines")
    check("progress: no bar", "\x1b" not in text and "\r" not in text, repr(text))
    equal("progress: quiet", run("-q", "-m", MODEL, clips / "c000.mkv", "-o", folder / "quiet"), (0, ""))
    status, text = run("-q", "-m", MODEL, clips, "-o", folder / "errors")
    equal("progress: errors are told", (status, text.count("\n"), "bad.mkv" in text), (1, 1, True))


def many(folder):
    """Memory and rate do not depend on how many clips there are."""
    clip = make_clip(folder / "a.mkv", frames=5)
    clips = folder / "clips"
    for index in range(10000):
        (clips / f"{index // 1000}").mkdir(parents=True, exist_ok=True)
        os.link(clip, clips / f"{index // 1000}" / f"c{index:04}.mkv")
    out = Output(folder / "out")
    samples = []
    with start("-m", MODEL, clips, "-o", out.folder, "-q") as process:
        begin = time.monotonic()
        while process.poll() is None:
            time.sleep(0.5)
            lines = sum(1 for _ in open(out.folder / "manifest.jsonl", "rb")) if (out.folder / "manifest.jsonl").exists() else 0
            own, *others = [resident(number) for number in (process.pid, *children(process))] if process.poll() is None else [0]
            if own:
                samples.append((time.monotonic() - begin, lines, own, sum(others)))
    equal("many: status", process.returncode, 0)
    equal("many: clips", len(out.done()), 10000)
    tenth = len(samples) // 10
    early, late = samples[tenth : 2 * tenth], samples[-tenth:]
    mean = lambda part, column: sum(sample[column] for sample in part) / len(part)
    rate = lambda part: (part[-1][1] - part[0][1]) / (part[-1][0] - part[0][0])
    print(f"many: {10000 / samples[-1][0]:.0f} clips a second, early {rate(early):.0f}, late {rate(late):.0f}; "
          f"kB early {mean(early, 2):.0f} + {mean(early, 3):.0f}, late {mean(late, 2):.0f} + {mean(late, 3):.0f}")
    check("many: memory of the job", mean(late, 2) < mean(early, 2) + 8000)
    check("many: memory of decoders", mean(late, 3) < mean(early, 3) + 8000)
    # Machines that are shared change their speed by a third.
    check("many: the rate", rate(late) > 0.6 * rate(early))


TOPICS = [decoders, threads, disks, memory, progress, many]
