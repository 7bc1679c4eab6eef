# SPDX-License-Identifier: MIT OR Apache-2.0
"""write_parquet(): latents of jobs of the real wfvae-batch in Parquet files."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

import wfvae

fcntl = pytest.importorskip("fcntl", reason="wfvae-batch is not for Windows")
pq = pytest.importorskip("pyarrow.parquet")


def rows_of(folder):
    files = sorted(folder.glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


@pytest.fixture
def job(clips, clip, tmp_path):
    """The folder of a job with four clips, of which one has failed."""
    clip(clips / "a.b%c.y4m", frames=9, width=48)
    wfvae.encode_files(clips, tmp_path / "job", posterior="moments", quiet=True)
    return tmp_path / "job"


def test_rows(job, tmp_path, model):
    out = tmp_path / "parquet"
    assert wfvae.write_parquet(job, out) == [out / "part-000000.parquet"]
    rows = rows_of(out)
    manifest = wfvae.Manifest(job)
    assert [row["key"] for row in rows] == ["a", "a.b%c", "b", "sub/c"] == [row.key for row in manifest.done]
    for row in rows:
        told = manifest.rows[row["key"]]
        with wfvae.open(told.output) as file:
            np.testing.assert_array_equal(wfvae.row_latents(row), file.read(moments=True))
            assert (row["frames"], row["width"], row["height"]) == (file.info.frames, file.info.width, file.info.height)
            np.testing.assert_array_equal(np.float32([row["scale"], row["shift"]]), np.float32([file.info.scale, file.info.shift]))
        assert (row["fps"], row["type"], row["posterior"], row["scaled"]) == ("25/1", "f16", "moments", False)
        assert (row["path"], row["start"], row["model"]) == (told.source, None, f"{model.info.identity:016x}")
        assert (row["source_bytes"], row["source_modified"]) == tuple(told.line["source"][name] for name in ("bytes", "modified"))
    metadata = pq.read_schema(out / "part-000000.parquet").metadata
    assert json.loads(metadata[b"wfvae.job"]) == manifest.job


def test_shards_give_the_same(clips, job, tmp_path):
    """Rows do not depend on how the job packed its latents, nor on the size of files."""
    wfvae.encode_files([clips], tmp_path / "tars", posterior="moments", shards=5000, quiet=True)
    assert len(wfvae.Manifest(tmp_path / "tars").shards) > 1
    wfvae.write_parquet(tmp_path / "tars", tmp_path / "a", size=1)
    wfvae.write_parquet(job, tmp_path / "b")
    assert len(list((tmp_path / "a").iterdir())) == 4
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")


def test_it_goes_on(job, clip, clips, tmp_path):
    out = tmp_path / "parquet"
    wfvae.write_parquet(job, out)
    first = (out / "part-000000.parquet").read_bytes()
    (out / ".wfvae-part.tmp").write_bytes(b"left by a process that was killed")
    assert wfvae.write_parquet(job, out) == []
    # One that is new, and one that failed before.
    for name in "aa", "cut":
        clip(clips / f"{name}.y4m")
    wfvae.encode_files(clips, job, posterior="moments", resume=True, quiet=True)
    assert wfvae.write_parquet(job, out) == [out / "part-000001.parquet"]
    assert (out / "part-000000.parquet").read_bytes() == first
    assert [row["key"] for row in rows_of(out)] == ["a", "a.b%c", "b", "sub/c", "aa", "cut"]
    assert sorted(file.name for file in out.iterdir()) == ["part-000000.parquet", "part-000001.parquet"]

    os.utime(clips / "b.y4m")
    wfvae.encode_files(clips, job, posterior="moments", resume=True, quiet=True)
    with pytest.raises(wfvae.JobError, match="b.y4m was before: choose another folder"):
        wfvae.write_parquet(job, out)


def test_other_folders(clips, job, tmp_path):
    out = tmp_path / "parquet"
    wfvae.write_parquet(job, out)
    wfvae.encode_files(clips, tmp_path / "means", quiet=True)
    with pytest.raises(wfvae.JobError, match="latents of another job than .*means"):
        wfvae.write_parquet(tmp_path / "means", out)
    for content in b"", b"PAR1 and no more", (out / "part-000000.parquet").read_bytes()[:-20]:
        (out / "part-000000.parquet").write_bytes(content)
        with pytest.raises(wfvae.JobError, match="part-000000.parquet is not a file of write_parquet"):
            wfvae.write_parquet(job, out)
    with pytest.raises(wfvae.FileError, match="manifest.jsonl"):
        wfvae.write_parquet(clips, out)
    held = os.open(out, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(wfvae.JobError, match="another process"):
        wfvae.write_parquet(job, out)
    os.close(held)
    for size in "", "G", "-1", 0, "0.5K0":
        with pytest.raises(ValueError, match="size is"):
            wfvae.write_parquet(job, out, size=size)


def test_lost_latents(job, tmp_path):
    """No file of Parquet appears that lacks a clip."""
    latents = job / "b.safetensors"
    content = latents.read_bytes()
    latents.write_bytes(content[:-1])
    with pytest.raises(wfvae.FileError, match="b have .* bytes, expected"):
        wfvae.write_parquet(job, tmp_path / "parquet")
    latents.unlink()
    with pytest.raises(wfvae.FileError, match="b.safetensors"):
        wfvae.write_parquet(job, tmp_path / "parquet")
    assert not list((tmp_path / "parquet").iterdir())


def test_killed(clips, clip, tmp_path):
    """Killed at any moment, it leaves whole files, and goes on."""
    source = clip(tmp_path / "many" / "0.y4m", frames=1)
    for index in range(1, 60):
        (tmp_path / "many" / f"{index}.y4m").write_bytes(source.read_bytes())
    wfvae.encode_files(tmp_path / "many", tmp_path / "job", quiet=True)
    command = [sys.executable, "-m", "wfvae", "parquet", tmp_path / "job", "-o", tmp_path / "parquet", "--size", "3000"]
    begin = time.monotonic()
    done = subprocess.run([*command[:-3], tmp_path / "whole", "--size", "3000"], capture_output=True, text=True, check=True)
    taken = time.monotonic() - begin
    assert done.stdout == f"{len(list((tmp_path / 'whole').iterdir()))} files written\n"
    for part in range(4):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            time.sleep(taken * (0.5 + 0.12 * part))
            process.kill()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert rows_of(tmp_path / "parquet") == rows_of(tmp_path / "whole")


def test_the_command(job, tmp_path, capfd):
    from wfvae.__main__ import main

    assert main(["parquet", str(job), "-o", str(tmp_path / "out")]) == 0
    assert main(["parquet", str(job), "-o", str(tmp_path / "out"), "--size", "much"]) == 2
    assert main(["parquet", str(tmp_path / "none"), "-o", str(tmp_path / "out")]) == 2
    (tmp_path / "file").touch()
    assert main(["parquet", str(job), "-o", str(tmp_path / "file")]) == 2
    text = capfd.readouterr()
    assert text.out == "1 files written\n"
    assert all(part in text.err for part in ("size is 'much'", "manifest.jsonl", "file: File exists"))
