# SPDX-License-Identifier: MIT OR Apache-2.0
"""Manifests: which row of a clip counts, what shards change, and what damaged and foreign files give."""

import json
import pickle
from fractions import Fraction

import pytest

import wfvae

JOB = {"format": "wfvae-batch", "format_version": 1, "model": "00ff", "posterior": "mean", "seed": None, "a_later_field": [1]}


def line(key, **result):
    return {"key": key, "source": {"path": f"in/{key}.mp4", "bytes": 5, "modified": 7}, "seconds": 0.5, **result}


def done(key, **more):
    fields = {"output": f"{key}.safetensors", "output_bytes": 100, "decoded": 9, "frames": 9, "latents": 3}
    return line(key, done={**fields, "width": 48, "height": 32, **more})


def failed(key, error="damaged"):
    return line(key, failed={"error": error})


@pytest.fixture
def write(tmp_path):
    def write(*lines, job=JOB, end=b""):
        texts = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in (job, *lines)]
        (tmp_path / "manifest.jsonl").write_bytes(b"".join(text + b"\n" for text in texts) + end)
        return tmp_path

    return write


def test_rows(write):
    folder = write(done("b", fps="30000/1001", tile="64x32"), {**failed("a"), "start": 1.5, "end": 2})
    manifest = wfvae.Manifest(folder)
    assert manifest.job == JOB and manifest.folder == folder and not manifest.damaged and not manifest.shards
    a, b = manifest
    assert len(manifest) == 2 and list(manifest.rows) == ["a", "b"] and manifest.done == [b] and manifest.failed == [a]
    assert (a.key, a.source, a.start, a.end) == ("a", "in/a.mp4", 1.5, 2)
    assert (a.error, a.output, a.frames, a.fps) == ("damaged", None, 0, None)
    assert (b.error, b.output, b.frames, b.latents, b.width, b.height) == (None, folder / "b.safetensors", 9, 3, 48, 32)
    assert (b.start, b.fps, b.tile, b.seconds, b.shard) == (None, Fraction(30000, 1001), "64x32", 0.5, None)
    assert b.line["source"]["bytes"] == 5
    for path in folder / "manifest.jsonl", str(folder), bytes(folder):
        assert list(wfvae.Manifest(path)) == [a, b]
    assert list(pickle.loads(pickle.dumps(manifest))) == [a, b]


def test_the_last_row_counts(write):
    lines = done("a"), failed("b"), failed("a"), done("b", frames=1), done("c", frames=1), done("c", frames=2)
    manifest = wfvae.Manifest(write(*lines))
    assert [row.key for row in manifest.failed] == ["a"]
    assert [(row.key, row.frames) for row in manifest.done] == [("b", 1), ("c", 2)]


def test_shards(write):
    """A failure does not replace a clip that is in a shard, if it comes after the shard."""
    shard = {"shard": "shard-000000.tar", "bytes": 10240, "keys": ["a", "b"]}
    folder = write(failed("a"), done("a"), done("b"), shard, failed("a"), done("c"), failed("c"))
    manifest = wfvae.Manifest(folder)
    assert manifest.shards == [wfvae.Shard(folder / "shard-000000.tar", 10240, ("a", "b"))]
    assert [(row.key, row.output, row.shard) for row in manifest.done] == [(key, None, folder / "shard-000000.tar") for key in "ab"]
    assert [row.key for row in manifest.failed] == ["c"]


def test_damaged_lines(write):
    """What a power loss may leave, and a line that is under way."""
    wrong = [
        b"\0" * 50, b"", b"[1]", b"3", b"{}", b'{"key": "a"}', b'{"shard": "x", "bytes": 1}', b"\xff\xfe",
        {"key": 3, "source": {}, "done": {}}, {"key": "a", "source": "x", "done": {}}, done("a", frames="9"), done("a", output=3),
        {"shard": "x", "bytes": 1, "keys": [["a"]]}, line("a", failed={"error": 3}), b'{"key": "a", "source": {}, "done": {}',
    ]  # fmt: skip
    manifest = wfvae.Manifest(write(done("a"), *wrong, done("b", fps=None), end=json.dumps(done("c")).encode()))
    assert list(manifest.rows) == ["a", "b"] and manifest.damaged == len(wrong)
    assert wfvae.Manifest(write(done("a", fps="25/0"))).rows["a"].fps is None


def test_what_is_no_manifest(tmp_path, write):
    for path in tmp_path, tmp_path / "none", tmp_path / "manifest.jsonl":
        with pytest.raises(wfvae.FileError, match="manifest.jsonl: No such file") as caught:
            wfvae.Manifest(path)
        assert isinstance(caught.value, OSError) and caught.value.status == 200
    for job in b"", b"{}", b"[]", b"\0", {**JOB, "format": "other"}:
        with pytest.raises(wfvae.ManifestError, match="not a manifest of wfvae-batch"):
            wfvae.Manifest(write(done("a"), job=job))
    with pytest.raises(wfvae.ManifestError, match="the format_version 2, and this release reads 1"):
        wfvae.Manifest(write(job={**JOB, "format_version": 2}))
    with pytest.raises(wfvae.ManifestError):
        (tmp_path / "manifest.jsonl").write_bytes(json.dumps(JOB).encode())
        wfvae.Manifest(tmp_path)
    with pytest.raises(TypeError):
        wfvae.Manifest(3)


def test_a_job_with_shards(clips, tmp_path):
    """What wfvae-batch itself writes."""
    out = tmp_path / "out"
    first = wfvae.encode_files(clips, out, shards=2000, quiet=True).manifest
    assert [shard.keys for shard in first.shards] == [("a",), ("b",), ("sub/c",)] and [row.key for row in first.failed] == ["cut"]
    assert all(shard.path.stat().st_size == shard.bytes for shard in first.shards)
    assert [row.shard for row in first.done] == [shard.path for shard in first.shards]
    # A clip in a shard whose file has changed fails, but its latents are there still.
    (clips / "a.y4m").write_bytes((clips / "b.y4m").read_bytes()[:-100])
    again = wfvae.encode_files(clips, out, resume=True, shards=2000, quiet=True)
    assert [row.key for row in again.failed] == ["a", "cut"] and [row.key for row in again.manifest.failed] == ["cut"]
    assert again.rows["a"].shard == first.shards[0].path
