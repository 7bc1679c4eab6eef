# SPDX-License-Identifier: MIT OR Apache-2.0
"""Data sets: encode_files() and decode_files(), with the real wfvae-batch and clips that the tests write."""

import concurrent.futures
import contextlib
import inspect
import io
import json
import multiprocessing
import os
import pathlib
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest

import wfvae
from wfvae import _batch, _inputs, _jobs

TIME = 60
READMES = os.environ.get("WFVAE_TEST_READMES", "").split()
# Frames a second that make many frames of a clip with few of them.
LONG = 1000
MODEL = os.environ.get("WFVAE_TEST_MODEL")


def keys(result):
    return sorted(result.rows)


def programs_of(number):
    """By id, wfvae-batch if a process has started it, and its decoders."""
    parents, names = {}, {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            start, _, rest = stat.read_text().rpartition(")")
            state, parent = rest.split()[:2]
            if state != "Z":
                one = int(stat.parent.name)
                parents[one], names[one] = int(parent), start.partition("(")[2]
    found = [number]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return {one: names[one] for one in found[1:] if names[one].startswith("wfvae-")}


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)
    return found


def lives(number):
    try:
        return pathlib.Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_job_and_how_it_goes_on(clips, tmp_path, model):
    out = tmp_path / "out"
    result = wfvae.encode_files(clips, out, quiet=True)
    assert (result.done, result.skipped, result.frames, result.folder) == (3, 0, 15, out)
    (failed,) = result.failed
    assert failed.key == "cut" and failed.error and failed.output is None and failed.source == str(clips / "cut.y4m")
    assert keys(result) == ["a", "b", "cut", "sub/c"] and len(result.manifest.done) == 3
    with wfvae.open(result.rows["sub/c"].output) as f:
        assert (f.info.frames, f.info.width, f.info.latent_type) == (5, 32, "f16")
        assert f.info.model_identity == model.info.identity
    with pytest.raises(wfvae.JobError, match="resume") as caught:
        wfvae.encode_files(clips, out, quiet=True)
    assert caught.value.status == 900

    (clips / "b.y4m").write_bytes((clips / "b.y4m").read_bytes()[:-1])
    (clips / "cut.y4m").unlink()
    again = wfvae.encode_files(clips, out, resume=True, quiet=True)
    # The failure of cut.y4m is one of an earlier run.
    assert (again.done, [row.key for row in again.failed], again.skipped, again.frames) == (0, ["b"], 2, 0)
    assert [row.key for row in again.manifest.failed] == ["b", "cut"] and not (out / "b.safetensors").exists()
    last = wfvae.encode_files(clips / "a.y4m", out, resume=True, quiet=True)
    assert (last.done, last.failed, last.skipped) == (0, [], 1)


def test_a_damaged_manifest(clips, tmp_path, capsys):
    """The failures of a run are found also where lines of earlier ones are dropped."""
    manifest = tmp_path / "out" / "manifest.jsonl"
    wfvae.encode_files(clips, tmp_path / "out", quiet=True)
    lines = manifest.read_bytes().split(b"\n")
    manifest.write_bytes(b"\n".join([lines[0], b"\0" * 200, *lines[1:]]))
    result = wfvae.encode_files(clips, tmp_path / "out", resume=True, quiet=True)
    assert (result.done, [row.key for row in result.failed], result.skipped) == (0, ["cut"], 3)
    assert "lines of the manifest are damaged" in capsys.readouterr().err


def test_strict(clips, tmp_path):
    with pytest.raises(wfvae.ClipsFailedError, match="1 of the clips failed:\ncut: ") as caught:
        wfvae.encode_files(clips, tmp_path / "out", strict=True, quiet=True)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(copy, wfvae.JobError) and copy.result == caught.value.result and copy.result.done == 3
    wfvae.encode_files(clips / "a.y4m", tmp_path / "other", strict=True, quiet=True)


@pytest.mark.parametrize("limit", [_inputs.ARGUMENT_BYTES, 0], ids=["arguments", "list"])
def test_paths_and_patterns(limit, clips, tmp_path, monkeypatch, clip):
    monkeypatch.setattr(_inputs, "ARGUMENT_BYTES", limit)
    monkeypatch.chdir(clips)
    for name in "-n.y4m", "[x].y4m", "two words.y4m", "dots.in.name.Y4M", "ü.y4m":
        clip(clips / name)
    (clips / "list.txt").write_text("sub/c.y4m\n")
    odd = os.fsencode(clips) + b"/not \xff unicode.y4m"
    os.rename(clip(clips / "x.y4m"), odd)

    def check(expected, inputs):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        assert keys(wfvae.encode_files(inputs, out, quiet=True)) == expected

    check(["a"], "a.y4m")
    check(["a", "b", "c"], iter(["**/[a-c].y4m"]))
    paths = [pathlib.Path("./a.y4m"), b"b.y4m", str(clips / "sub"), "list.txt", odd, {"path": "cut.y4m"}]
    check(
        ["-n", "[x]", "a", "b", "c", "cut", "dots.in.name", "not \ufffd unicode", "sub/c", "two words", "ü"],
        ["-n.y4m", "[x].y4m", *paths, "two words.y4m", "dots*", "ü.y4m"],
    )
    with pytest.raises(FileNotFoundError, match=r"none\*\.y4m"):
        wfvae.encode_files("none*.y4m", tmp_path / "out2")
    with pytest.raises((wfvae.JobError, FileNotFoundError), match="missing.y4m"):
        wfvae.encode_files("missing.y4m", tmp_path / "out2")
    assert not (tmp_path / "out2").exists()


def test_dicts(clips, tmp_path, monkeypatch):
    """The keys and latents are those of the same lines in a list."""
    monkeypatch.chdir(tmp_path)
    lines = [
        {"path": "clips/a.y4m", "start": 0.04, "end": 0.12},
        {"path": "clips/a.y4m", "end": 0.08},
        {"path": "clips/a.y4m", "start": 0.1},
        {"path": "clips/b.y4m", "key": "x/y"},
        {"path": "clips/../clips/b.y4m", "expect_frames": 5},
        {"path": str(clips / "sub" / "c.y4m"), "expect_frames": 6},
    ]
    pathlib.Path("list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    by_list = wfvae.encode_files("list.jsonl", "list", quiet=True)
    lines[0] = {"path": pathlib.Path("clips/a.y4m"), "start": Fraction(1, 25), "end": np.float64(0.12), "key": None}
    before = set(pathlib.Path(tmp_path).parent.iterdir())
    by_dicts = wfvae.encode_files(lines, "dicts", quiet=True)
    assert set(pathlib.Path(tmp_path).parent.iterdir()) == before
    assert keys(by_dicts) == keys(by_list) == ["b", "c", "clips/a_100_", "clips/a_40_120", "clips/a__80", "x/y"]
    for key, row in by_list.rows.items():
        other = by_dicts.rows[key]
        assert (row.frames, row.start, row.end, row.error) == (other.frames, other.start, other.end, other.error)
    assert by_dicts.failed[0].error == "it has 5 frames, expected 6"
    assert by_dicts.rows["clips/a_40_120"].frames == 2


def test_keys_are_those_of_the_program(program, tmp_path):
    """Of paths of all kinds, in a list. That the files are missing is no matter: the rows of clips that fail have keys, too."""
    paths = ["a.mp4", "./b/./c.mp4", "d//e.mp4", "f/../g.mp4", "/h/i.mp4", ".hidden", "k.", "l.tar.gz", "m.d/n", "o/", "p/q.r/"]
    lines = [
        {"path": path, **times}
        for number, path in enumerate(paths)
        for times in ({}, {"start": number + 0.0005}, {"end": 0.9999995 + number}, {"start": number + 1.0015, "end": 1e6})
    ]
    listed = tmp_path / "list.jsonl"
    listed.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    result = wfvae.encode_files(listed, tmp_path / "out", quiet=True, on_line=lambda line: None)
    assert keys(result) == sorted(_inputs.key_of(line["path"], line.get("start"), line.get("end")) for line in lines)


@pytest.mark.parametrize(
    "inputs, error, text",
    [
        ([], ValueError, "inputs is empty"),
        ("", ValueError, "an empty path"),
        (3, TypeError, "inputs is a int"),
        ([3], TypeError, r"inputs\[0\] is a int"),
        ({"pth": "a"}, ValueError, r"inputs\[0\] has the field 'pth'"),
        (["a", {"key": "a"}], ValueError, r"inputs\[1\] must have the field 'path'"),
        ({"path": "a", "key": 3}, TypeError, "key is 3"),
        ({"path": "a", "start": "1"}, TypeError, "start is '1'"),
        ({"path": "a", "start": True}, TypeError, "start is True"),
        ({"path": "a", "end": float("nan")}, ValueError, "end is nan"),
        ({"path": "a", "end": -1}, ValueError, "end is -1"),
        ({"path": "a", "expect_frames": 1.5}, TypeError, "expect_frames is 1.5"),
        ({"path": b"\xff"}, ValueError, "not Unicode"),
        ("a\0b", ValueError, "null"),
    ],
)
def test_wrong_inputs(inputs, error, text, program, tmp_path):
    with pytest.raises(error, match=text):
        wfvae.encode_files(inputs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"size": 3}, TypeError, "size is 3"),
        ({"size": (1, 2, 3)}, TypeError, "size is"),
        ({"size": (1.5, 2)}, TypeError, "size is 1.5"),
        ({"fps": True}, TypeError, "fps is True"),
        ({"fps": [25]}, TypeError, "fps is"),
        ({"jobs": 1.5}, TypeError, "jobs is 1.5"),
        ({"memory": 1.5}, TypeError, "memory is 1.5"),
        ({"timeout": "1"}, TypeError, "timeout is '1'"),
        ({"model": 3}, TypeError, "model is 3"),
        ({"model": ""}, ValueError, "model is an empty path"),
        ({"filter": 3}, TypeError, "filter is 3"),
        ({"dtype": "f12"}, ValueError, "dtype is 'f12'"),
        ({"fps": "x"}, wfvae.JobError, "invalid value 'x' for '--fps <RATE>'"),
        ({"fps": -25}, wfvae.JobError, "invalid value '-25' for '--fps"),
        ({"start": float("nan")}, wfvae.JobError, "--start"),
        ({"precision": "f33"}, wfvae.JobError, "possible values: f32, tf32, f16, bf16"),
        ({"seed": 1}, wfvae.JobError, "--seed is for --posterior sample"),
        ({"jobs": 0}, wfvae.JobError, "--jobs"),
        ({"model": "/no/such/model"}, wfvae.JobError, "/no/such/model"),
        ({"output": "/dev/null/out"}, wfvae.JobError, "/dev/null/out"),
        ({"output": ""}, ValueError, "output is an empty path"),
    ],
)
def test_wrong_options(options, error, text, clips, tmp_path, capsys):
    arguments = {"inputs": clips, "output": tmp_path / "out", **options}
    with pytest.raises(error, match=re.escape(text)) as caught:
        wfvae.encode_files(**arguments)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_options_reach_the_program(clips, tmp_path):
    def job(**options):
        folder = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        result = wfvae.encode_files(clips / "a.y4m", folder, quiet=True, **options)
        return result.manifest.job, result.rows["a"]

    found, row = job(posterior="sample", seed=7, dtype=np.float32, jobs=1, memory="2G", timeout=30, provider="cpu", precision="f32")
    assert [found[name] for name in ("posterior", "seed", "latent_type")] == ["sample", 7, "f32"] and row.frames == 5
    found, row = job(fps=Fraction(30000, 1001), every=2, frames=2, size=(64, 48), fit="stretch", filter="null", memory=2 * 10**9)
    assert found["frames"] == "filter null, fps 30000/1001, every 2, frames 2, size 64x48 stretch"
    assert (row.frames, row.latents, row.width, row.height, row.fps) == (2, 2, 64, 48, Fraction(15000, 1001))
    found, row = job(fps=12.5, size="32x32", start=0.04, end=0.13, shards=10_000)
    assert found["frames"] == "fps 12500/1000, size 32x32 crop" and (row.start, row.end) == (0.04, 0.13)
    assert found["shard_bytes"] == 10_000 and row.shard.name == "shard-000000.tar"
    found, row = job(expect_frames=6, shards="20k", dtype="f16")
    assert found["shard_bytes"] == 20_000 and row.error == "it has 5 frames, expected 6"


@pytest.mark.skipif(not MODEL, reason="WFVAE_TEST_MODEL does not name a checkpoint")
def test_another_model(clips, tmp_path):
    result = wfvae.encode_files(clips / "a.y4m", tmp_path / "out", model=pathlib.Path(MODEL), quiet=True)
    with wfvae.Model(MODEL) as model:
        assert result.manifest.job["model"] == f"{model.info.identity:016x}"


def options_in_help(program, command):
    found = subprocess.run([program, command, "--help"], capture_output=True, text=True, timeout=TIME, check=True)
    return set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", found.stdout, re.MULTILINE)) - {"--help"}


@pytest.mark.parametrize("command, function", [("encode", wfvae.encode_files), ("decode", wfvae.decode_files)])
def test_all_options_are_keywords(command, function, program):
    keywords = [name for name in inspect.signature(function).parameters if name not in _jobs.OWN]
    ours = {_jobs.OPTIONS[name][0] for name in keywords}
    assert options_in_help(program, command) == ours


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the program ffmpeg is missing")
def test_videos(clips, tmp_path):
    wfvae.encode_files(clips, tmp_path / "latents", quiet=True)
    (tmp_path / "latents" / "bad.safetensors").write_bytes(b"no latents")
    result = wfvae.decode_files(tmp_path / "latents", tmp_path / "videos", format="mkv", fps=Fraction(30000, 1001), quiet=True)
    assert (result.done, result.frames, [row.key for row in result.failed]) == (3, 15, ["bad"])
    row = result.rows["sub/c"]
    assert row.output.stat().st_size > 0 and row.output == tmp_path / "videos" / "sub" / "c.mkv"
    assert (row.frames, row.width, row.fps, result.manifest.job["task"]) == (5, 32, 25, "decode")
    latents = f"{tmp_path}/latents/*.safetensors"
    again = wfvae.decode_files(latents, tmp_path / "videos", format="mkv", fps="30000/1001", resume=True)
    assert (again.done, again.skipped, len(again.failed)) == (0, 2, 1)
    pictures = wfvae.decode_files({"path": tmp_path / "latents" / "a.safetensors", "key": "x/y"}, tmp_path / "png", format="png")
    assert sorted(os.listdir(pictures.rows["x/y"].output)) == [f"00000{number}.png" for number in range(1, 6)]
    with pytest.raises(wfvae.JobError, match="nonsense"):
        wfvae.decode_files(tmp_path / "latents", tmp_path / "other", ffmpeg="-c:v nonsense", quiet=True)


def test_values_of_options():
    given = {"inputs": "x", "output": b"o", "format": "mkv", "any_encoder": True, "resume": False, "fps": None, "jobs": np.int64(3)}
    assert _jobs.options_of(given) == ["--output=o", "--as=mkv", "--any-encoder", "--jobs=3"]
    # A value that begins with a hyphen is no option, and numbers keep all their digits.
    given = {"filter": "-x", "fps": Fraction(1, 3), "start": 0.1 + 0.2, "size": [16, 8], "memory": 10**15, "dtype": np.dtype("f2")}
    expected = ["--filter=-x", "--fps=1/3", "--start=0.30000000000000004", "--size=16x8", "--memory=1000000000000000", "--type=f16"]
    assert _jobs.options_of(given) == expected


def test_a_handler_of_the_users(long_job):
    """An exception that it raises stops the job at once."""
    handler = "import signal; signal.signal(signal.SIGINT, lambda number, frame: sys.exit(5)); job()"
    process, children = long_job(call=handler, fps=LONG)
    process.send_signal(signal.SIGINT)
    assert ends(process, children) == "" and process.returncode == 5


def test_what_it_prints(clips, tmp_path, capfd):
    """Lines come to sys.stderr, whatever it is, or to a function. With quiet only errors do."""
    assert sys.stderr is not sys.__stderr__
    wfvae.encode_files(clips, tmp_path / "a")
    text = capfd.readouterr().err
    assert "3 clips encoded, 15 frames" in text and "cut.y4m: " in text and text.endswith("\n")
    with contextlib.redirect_stderr(io.StringIO()) as stream:
        wfvae.encode_files(clips, tmp_path / "b", quiet=True)
    assert stream.getvalue().count("\n") == 1 and "cut.y4m: " in stream.getvalue()
    stream.close()
    for broken in None, stream:
        with contextlib.redirect_stderr(broken):
            assert wfvae.encode_files(clips, tmp_path / "b", quiet=True, resume=True).failed
    lines = []
    wfvae.encode_files(clips, tmp_path / "a", on_line=lines.append, resume=True)
    assert len(lines) == 2 and "0 clips encoded" in lines[1]
    assert capfd.readouterr() == ("", "")


def test_own_standard_error(clips, tmp_path):
    """Of a process whose standard error is the system's, the program writes there itself."""
    text = f"import wfvae; print(wfvae.encode_files({str(clips)!r}, {str(tmp_path / 'out')!r}).done)"
    found = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=TIME)
    assert found.stdout == "3\n" and "3 clips encoded, 15 frames" in found.stderr


def test_a_function_that_raises_stops_the_job(tmp_path, clips, clip):
    clip(clips / "long.y4m", frames=40, width=256, height=256)

    def stop(line):
        raise KeyError(line)

    with pytest.raises(KeyError, match="cut.y4m"):
        wfvae.encode_files(clips, tmp_path / "out", on_line=stop, jobs=2, fps=LONG)
    assert not programs_of(os.getpid())
    assert "long" not in wfvae.Manifest(tmp_path / "out").rows


def test_threads(clips, tmp_path):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda index: wfvae.encode_files(clips, tmp_path / str(index), jobs=1, quiet=True), range(2)))
    assert [(result.done, len(result.failed)) for result in found] == [(3, 1)] * 2
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(wfvae.encode_files, clips, tmp_path / "same", quiet=True) for _ in range(2)]
    errors = [job.exception() for job in jobs]
    assert errors.count(None) == 1 and any("another job" in str(error) or "resume" in str(error) for error in errors)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes(method, clips, tmp_path):
    with multiprocessing.get_context(method).Pool(1) as pool:
        result = pool.apply(wfvae.encode_files, (clips, tmp_path / "out"), {"quiet": True})
    assert result.done == 3 and result.failed[0].key == "cut" and keys(result) == ["a", "b", "cut", "sub/c"]


def test_another_process_holds_the_pipe(clips, tmp_path, monkeypatch):
    """One that was forked while the program was started has its standard error, too, and may live longer."""
    start = subprocess.Popen

    def start_and_fork(*arguments, **more):
        read, write = os.pipe()
        process = start(*arguments, **{**more, "stderr": write})
        # It is never closed, as in such a process.
        process.stderr = os.fdopen(read, "rb")
        return process

    monkeypatch.setattr(subprocess, "Popen", start_and_fork)
    lines = []
    assert wfvae.encode_files(clips, tmp_path / "out", on_line=lines.append).done == 3
    assert "3 clips encoded" in lines[-1]


# Runs a job, one clip after the other, and tells how it ended.
JOB = """
import sys, threading, wfvae
def job():
    try:
        wfvae.encode_files(sys.argv[1], sys.argv[2], jobs=1, fps=FPS)
    except KeyboardInterrupt:
        print("KeyboardInterrupt", flush=True)
    except wfvae.JobError as error:
        print(error, flush=True)
"""


@pytest.fixture
def long_job(tmp_path, clip, program):
    """Starts JOB in a child of its own, and waits until its first clip is done."""
    started = []

    def start(call="job()", fps=25):
        # The first one is short.
        clip(tmp_path / "long" / "0.y4m", frames=1)
        for index in range(1, 6):
            clip(tmp_path / "long" / f"{index}.y4m", frames=40, width=256, height=256)
        script = JOB.replace("FPS", str(fps)) + call
        process = subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / "long", tmp_path / "out"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        manifest = tmp_path / "out" / "manifest.jsonl"
        wait_for(lambda: manifest.exists() and manifest.read_bytes().count(b"\n") >= 2)
        return process, programs_of(process.pid)

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ends(process, children):
    """What it printed."""
    text = process.communicate(timeout=TIME)[0]
    wait_for(lambda: not any(map(lives, children)), 5)
    return text


def test_control_c_in_a_terminal(long_job, tmp_path):
    """There it goes to all processes of the group, and must reach the program once."""
    process, children = long_job(call="import os; os.setpgid(0, 0); job()")
    assert sorted(children.values()) == ["wfvae-batch", "wfvae-media"]
    os.killpg(process.pid, signal.SIGINT)
    assert ends(process, children) == "KeyboardInterrupt\n"
    rows = wfvae.Manifest(tmp_path / "out").rows
    # The clip that was being encoded is done.
    assert 2 <= len(rows) < 6 and all(row.error is None for row in rows.values())
    with wfvae.open(rows["1"].output) as f:
        assert f.info.frames == 40
    assert wfvae.encode_files(tmp_path / "long" / "1.y4m", tmp_path / "out", resume=True, fps=25, quiet=True).skipped == 1


def test_control_c_twice(long_job, tmp_path):
    process, children = long_job(fps=LONG)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert all(map(lives, children))
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    assert ends(process, children) == "KeyboardInterrupt\n" and time.monotonic() - begin < 3
    assert list(wfvae.Manifest(tmp_path / "out").rows) == ["0"]


@pytest.mark.parametrize("call", ["job()", "threading.Thread(target=job).start()"], ids=["main thread", "thread"])
def test_it_ends_with_this_process(call, long_job):
    process, children = long_job(call=call, fps=LONG)
    assert len(children) == 2
    process.kill()
    wait_for(lambda: not any(map(lives, children)), 5)


@pytest.mark.parametrize("number, text", [("SIGKILL", "was ended by SIGKILL"), ("SIGTERM", "a signal interrupted wfvae-batch")])
def test_the_program_is_ended(number, text, long_job):
    process, children = long_job()
    (program,) = (child for child, name in children.items() if name == "wfvae-batch")
    os.kill(program, getattr(signal, number))
    assert text in (found := ends(process, children)) and "resume=True goes on" in found


def test_which_program(program, tmp_path, monkeypatch, clips):
    assert program.parent == pathlib.Path(_batch.__file__).parent / "bin" and os.access(program, os.X_OK)
    copies = tmp_path / "programs"
    shutil.copytree(program.parent, copies)
    monkeypatch.setenv("WFVAE_BATCH", str(copies / "wfvae-batch"))
    assert _batch.find() == str(copies / "wfvae-batch")
    (copies / "wfvae-batch").chmod(0o644)
    if os.getuid() == 0 or not os.access(copies / "wfvae-batch", os.X_OK):
        with pytest.raises(wfvae.ProgramMissingError, match="not executable"):
            wfvae.encode_files(clips, tmp_path / "out")
    monkeypatch.setenv("WFVAE_BATCH", str(tmp_path / "no"))
    with pytest.raises(wfvae.JobError, match="WFVAE_BATCH names .*no, where no file is"):
        wfvae.encode_files(clips, tmp_path / "out")
    for content in "no program", "#!/no/such/interpreter\n":
        (tmp_path / "no").write_text(content)
        (tmp_path / "no").chmod(0o755)
        with pytest.raises(wfvae.ProgramMissingError, match="cannot be started"):
            wfvae.encode_files(clips, tmp_path / "out")
    (tmp_path / "no").write_text("#!/bin/sh\necho hello >&2\n")
    with pytest.raises(wfvae.JobError, match="it is not wfvae-batch, or not that of this release: hello"):
        wfvae.encode_files(clips, tmp_path / "out")

    # A wheel that holds none.
    monkeypatch.delenv("WFVAE_BATCH")
    monkeypatch.setattr(_batch, "__file__", str(tmp_path / "_batch.py"))
    monkeypatch.setenv("PATH", "/no")
    with pytest.raises(wfvae.ProgramMissingError, match="make wheel.*WFVAE_BATCH"):
        wfvae.encode_files(clips, tmp_path / "out")
    (copies / "wfvae-batch").chmod(0o755)
    monkeypatch.setenv("PATH", f"/no:{copies}")
    assert wfvae.encode_files(clips, tmp_path / "out", quiet=True).done == 3


def test_without_ffmpegs_libraries(program, tmp_path, monkeypatch, clips):
    """The system's loader says what is missing, and the error tells."""
    for name in "wfvae-batch", "wfvae-media":
        shutil.copy(program.parent / name, tmp_path / name)
    media = (tmp_path / "wfvae-media").read_bytes()
    library = re.search(rb"libavformat\.so\.\d+", media)[0]
    (tmp_path / "wfvae-media").write_bytes(media.replace(library, library.replace(b"format", b"frobat")))
    monkeypatch.setenv("WFVAE_BATCH", str(tmp_path / "wfvae-batch"))
    with pytest.raises(wfvae.JobError, match="wfvae-media does not run .*libavfrobat"):
        wfvae.encode_files(clips, tmp_path / "out", quiet=True)


def test_which_runtime(monkeypatch, tmp_path, clips):
    for name in "WFVAE_ONNXRUNTIME", "ORT_DYLIB_PATH":
        monkeypatch.delenv(name, raising=False)
    with wfvae.Model() as model:
        assert _batch.environment()["WFVAE_ONNXRUNTIME"] == model.info.runtime_path
    assert wfvae.encode_files(clips, tmp_path / "a", quiet=True).done == 3
    monkeypatch.setenv("ORT_DYLIB_PATH", str(tmp_path / "none.so"))
    assert "WFVAE_ONNXRUNTIME" not in _batch.environment()
    with pytest.raises(wfvae.JobError, match="none.so"):
        wfvae.encode_files(clips, tmp_path / "b", quiet=True)


@pytest.mark.skipif(not READMES, reason="WFVAE_TEST_READMES does not name the READMEs")
def test_readme_lines(clips, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    texts = [pathlib.Path(readme).read_text() for readme in READMES]
    (block,) = (block for text in texts for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "encode_files" in block)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    out = capsys.readouterr().out
    assert "3 clips done, 0 were done before\nclips/cut.y4m: " in out and "sub/c 3 (2, 16, 32, 32)\n" in out
