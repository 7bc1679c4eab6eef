# SPDX-License-Identifier: MIT OR Apache-2.0
"""ClipEncoder, with the real wfvae-batch and clips that the tests write."""

import gc
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import pytest

import wfvae

fcntl = pytest.importorskip("fcntl", reason="wfvae-batch is not for Windows")
from wfvae import _scratch  # noqa: E402

TIME = 60
MISSING = "No such file"


@pytest.fixture
def encoder(program, tmp_path, monkeypatch):
    """Its temporary folders are below tmp_path."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with wfvae.ClipEncoder(posterior="moments") as encoder:
        yield encoder
    assert folders() == []


def folders():
    return sorted(pathlib.Path(tempfile.gettempdir()).glob(_scratch.PREFIX + "*"))


def program_of(encoder):
    return encoder._program.process.pid


def is_abandoned(folder):
    with (folder / _scratch.LOCK).open("rb+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def lives(number):
    try:
        return pathlib.Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition):
    end = time.monotonic() + TIME
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


def lines(path, count):
    return [{"path": path, "key": f"clips/c.{number}"} for number in range(count)]


def test_clips_come_in_their_order_as_encode_files_writes_them(encoder, clip, tmp_path):
    paths = [clip(tmp_path / f"{number}.y4m", frames=25 - 3 * number) for number in range(7)]
    wfvae.encode_files(paths, tmp_path / "out", posterior="moments", quiet=True)
    found = list(encoder.encode({"path": path, "key": path.stem} for path in paths))
    assert [one.row.key for one in found] == [path.stem for path in paths]
    for one in found:
        path = tmp_path / "out" / f"{one.row.key}.safetensors"
        assert one.content == path.read_bytes() and one.row.error is None
        with wfvae.open(path) as file:
            assert np.array_equal(one.latents(), file.read(moments=True)) and one.row.frames == file.info.frames
            assert one.parts().type == "f16" and one.parts().metadata["posterior"] == "moments"
    assert encoder.job["posterior"] == "moments" and encoder.job["model"] == one.parts().metadata["model"]


def test_clips_that_fail(encoder, clip, tmp_path):
    path = clip(tmp_path / "a.y4m", frames=5)
    wrong = {
        "missing": ({"path": tmp_path / "none.y4m"}, MISSING),
        "../above": ({}, "is not a path below the output folder"),
        "twice": ({}, None),
        "infinite": ({"start": float("inf")}, "its start is inf, must be a number of seconds"),
        "backwards": ({"start": 3, "end": 1}, "its end, 1 s, is not after its start"),
        "short": ({"expect_frames": 6}, "it has 5 frames, expected 6"),
        "negative": ({"expect_frames": -1}, "expected u64"),
        "\udcff": ({}, "its key is not Unicode"),
        "nan": ({"start": float("nan"), "end": np.float64(0.1), "expect_frames": 3.0, "other": object()}, None),
    }
    clips = [{"path": path, "key": key, **more} for key, (more, _) in wrong.items()]
    found = list(encoder.encode([*clips, {"path": path, "key": "twice"}]))
    for one, (key, (_, error)) in zip(found, wrong.items()):
        assert one.row.key == key and (error is None) == (one.row.error is None) == (one.content is not None)
        assert error is None or error in one.row.error
    assert found[-1].row.error == "another clip of the same batch has its key"
    with pytest.raises(wfvae.JobError, match="missing: No such file"):
        found[0].latents()
    for clips in [{"path": path}], [{"key": "a"}], [{"path": path, "key": 3}]:
        with pytest.raises(TypeError, match="must be a str"):
            list(encoder.encode(clips))
    # It goes on after errors.
    assert len(list(encoder.encode(lines(path, 3)))) == 3


def test_what_cannot_run(program, tmp_path, monkeypatch):
    with pytest.raises(wfvae.JobError, match="model: checkpoint /nowhere"):
        wfvae.ClipEncoder(model="/nowhere").job
    with pytest.raises(wfvae.JobError, match="invalid value 'huge' for '--size"):
        list(wfvae.ClipEncoder(size="huge").encode([]))
    with pytest.raises(TypeError, match="frames is 'x'"):
        wfvae.ClipEncoder(frames="x")
    with pytest.raises(TypeError, match="resume"):
        wfvae.ClipEncoder(resume=True)
    monkeypatch.setenv("WFVAE_BATCH", str(tmp_path / "none"))
    with pytest.raises(wfvae.ProgramMissingError, match="none"):
        wfvae.ClipEncoder().job


def test_a_program_that_is_killed_is_started_again(encoder, clip, tmp_path):
    path = clip(tmp_path / "a.y4m", frames=9)
    found = []
    for number, one in enumerate(encoder.encode(lines(path, 40))):
        found.append(one)
        if number in (3, 20):
            os.kill(program_of(encoder), signal.SIGKILL)
    assert [one.row.key for one in found] == [line["key"] for line in lines(path, 40)]
    assert {one.row.error for one in found} == {None} and len({one.content for one in found}) == 1
    os.kill(program_of(encoder), signal.SIGKILL)
    assert list(encoder.encode(lines(path, 1)))[0].content == found[0].content


def test_a_clip_that_ends_the_program_fails(encoder, clip, tmp_path):
    """It is killed whenever it has a certain clip."""
    path = clip(tmp_path / "a.y4m")
    encoder.close()
    with wfvae.ClipEncoder(posterior="moments", jobs=2, timeout=TIME) as encoder:
        encoder.job
        # A clip of hours.
        slow = clip(tmp_path / "slow.y4m", frames=4000, width=256, height=256)
        ended = threading.Event()

        def kill_while_slow():
            while not ended.is_set():
                alone = [asked.key for asked in dict(call_of(encoder)).values()]
                if "slow" in alone:
                    os.kill(program_of(encoder), signal.SIGKILL)
                    time.sleep(0.5)
                time.sleep(0.05)

        thread = threading.Thread(target=kill_while_slow)
        thread.start()
        try:
            clips = [*lines(path, 3), {"path": slow, "key": "slow"}, {"path": path, "key": "last"}]
            found = list(encoder.encode(clips))
        finally:
            ended.set()
            thread.join()
    assert [one.row.error is None for one in found] == [True, True, True, False, True]
    assert "was ended by SIGKILL" in found[3].row.error and "while it encoded nothing else" in found[3].row.error


def call_of(encoder):
    """What the program has been asked for."""
    calls = [one for one in gc.get_objects() if type(one).__name__ == "_Call" and one.program is encoder._program]
    return calls[0].outstanding if calls else {}


def test_calls_that_are_left(encoder, clip, tmp_path):
    path = clip(tmp_path / "a.y4m")
    call = encoder.encode(lines(path, 20))
    next(call)
    with pytest.raises(wfvae.JobError, match="is encoding clips already"):
        next(encoder.encode(lines(path, 1)))
    call.close()
    # Those of the first call do not come in the second one.
    assert [one.row.key for one in encoder.encode([{"path": path, "key": "b"}])] == ["b"]
    first = program_of(encoder)
    encoder.close()
    assert not lives(first) and len(list(encoder.encode(lines(path, 2)))) == 2


def test_copies_and_forks_have_programs_of_their_own(encoder, clip, tmp_path):
    path = clip(tmp_path / "a.y4m")
    expected = [one.content for one in encoder.encode(lines(path, 3))]
    first = program_of(encoder)
    with pickle.loads(pickle.dumps(encoder)) as copy:
        assert [one.content for one in copy.encode(lines(path, 3))] == expected and program_of(copy) != first
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if [one.content for one in encoder.encode(lines(path, 3))] == expected and program_of(encoder) != first:
                encoder.close()
                status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert lives(first) and [one.content for one in encoder.encode(lines(path, 3))] == expected and program_of(encoder) == first


def test_a_process_that_is_killed_leaves_nothing(encoder, clip, tmp_path):
    """Its program ends, in the middle of a clip that takes a while, and the next one removes its folder."""
    slow = clip(tmp_path / "slow.y4m", frames=4000, width=256, height=256)
    code = f"""if True:
        import tempfile
        tempfile.tempdir = {str(tmp_path)!r}
        import wfvae
        encoder = wfvae.ClipEncoder()
        encoder.job
        print(encoder._program.process.pid, flush=True)
        list(encoder.encode([{{"path": {str(slow)!r}, "key": "slow"}}]))
    """
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        wait_for(lambda: any("safetensors" in name for folder in folders() for _, _, names in os.walk(folder) for name in names))
        process.kill()
        process.wait()
    (left,) = folders()
    # All of its threads and decoders have the lock.
    wait_for(lambda: is_abandoned(left))
    assert not lives(child)
    encoder.job
    (own,) = folders()
    assert own != left


def test_no_reference_left(program, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    encoder = wfvae.ClipEncoder()
    encoder.job
    child = program_of(encoder)
    del encoder
    gc.collect()
    assert not lives(child) and folders() == []


def test_latents_that_are_too_large(encoder, clip, tmp_path, monkeypatch):
    monkeypatch.setattr("wfvae._server.CONTENT_BYTES", 10_000)
    paths = [clip(tmp_path / f"{frames}.y4m", frames=frames) for frames in (5, 400)]
    found = list(encoder.encode({"path": path, "key": path.stem} for path in paths))
    assert found[0].row.error is None and "more than the 10000 that can be given back" in found[1].row.error
    assert os.listdir(encoder._program.folder) == []
