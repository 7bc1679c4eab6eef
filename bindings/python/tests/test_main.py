# SPDX-License-Identifier: MIT OR Apache-2.0
"""The program wfvae: `python -m wfvae`."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import wfvae
from wfvae import __main__

TIME = 60
MODEL = os.environ.get("WFVAE_TEST_MODEL")
PYTHON = [sys.executable, "-m", "wfvae"]


def run(*arguments, expected=0, program=PYTHON):
    """Standard output and standard error, of a process of its own."""
    found = subprocess.run([*program, *map(str, arguments)], capture_output=True, text=True, timeout=TIME)
    assert found.returncode == expected, found.stdout + found.stderr
    return found.stdout, found.stderr


@pytest.fixture
def call(capsys):
    """The same in this process, which is faster."""

    def call(*arguments, expected=0):
        try:
            status = __main__.main(list(map(str, arguments)))
        except SystemExit as end:
            status = end.code
        found = capsys.readouterr()
        assert status == expected, found
        return found

    return call


@pytest.fixture
def info(call):
    def info(path):
        lines, errors = call("info", path)
        assert not errors
        return json.loads(call("info", "--json", path)[0]), lines

    return info


def test_help(call):
    out, _ = run("--help")
    assert all(word in out for word in ("encode", "decode", "info", "Exit status"))
    assert "--json" in call("info", "--help")[0]
    assert call("--version")[0] == f"wfvae {wfvae.__version__}\n"
    for wrong in [], ["encod"], ["info"], ["info", "a", "b"], ["--no"]:
        assert "usage: wfvae" in call(*wrong, expected=2)[1]


def test_the_script():
    """The package's script, which pip installs."""
    script = pathlib.Path(sys.executable).parent / ("wfvae.exe" if sys.platform == "win32" else "wfvae")
    if not script.exists():
        pytest.skip("the package was not installed by pip")
    assert run("--version", program=[script])[0] == f"wfvae {wfvae.__version__}\n"


def test_encode(clips, tmp_path):
    """It is wfvae-batch, with its exit statuses."""
    arguments = ["encode", clips, "-o", tmp_path / "out"]
    out, errors = run(*arguments, expected=1)
    assert out == "" and "3 clips encoded, 15 frames" in errors
    assert "add --resume" in run(*arguments, expected=2)[1]
    assert "Usage: wfvae-batch encode" in run("encode", "--help")[0]
    (clips / "cut.y4m").unlink()
    assert "3 were done before" in run(*arguments, "--resume", expected=0)[1]


def test_interrupts(clip, tmp_path, program):
    """The process itself becomes wfvae-batch, so that signals reach it."""
    for index in range(4):
        clip(tmp_path / "clips" / f"{index}.y4m", frames=40 if index else 1, width=256, height=256)
    command = [*PYTHON, "encode", tmp_path / "clips", "-o", tmp_path / "out", "-j1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        manifest = tmp_path / "out" / "manifest.jsonl"
        end = time.monotonic() + 20
        while not manifest.exists() or manifest.read_bytes().count(b"\n") < 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert pathlib.Path(f"/proc/{process.pid}/comm").read_text() == "wfvae-batch\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=TIME)
    assert process.returncode == 130 and "finishes the clips" in errors


def test_without_the_program(tmp_path):
    environment = {**os.environ, "WFVAE_BATCH": str(tmp_path / "none")}
    found = subprocess.run([*PYTHON, "decode", "--help"], capture_output=True, text=True, timeout=TIME, env=environment)
    text = "is not for Windows" if sys.platform == "win32" else "WFVAE_BATCH names"
    assert (found.returncode, found.stdout) == (2, "") and found.stderr.startswith("wfvae: ") and text in found.stderr


def test_info_of_a_job(clips, tmp_path, model, info):
    wfvae.encode_files(clips, tmp_path / "out", shards="2k", on_line=lambda line: None)
    found, lines = info(tmp_path / "out")
    assert found["kind"] == "job" and found["model"] == f"{model.info.identity:016x}" and found["precision"] == "f32"
    assert [found[name] for name in ("clips_done", "clips_failed", "frames_done", "shards", "clips_in_shards")] == [3, 1, 15, 3, 3]
    assert [row["key"] for row in found["failed"]] == ["cut"] and found["failed"][0]["error"] in lines
    assert "\nclips_done       3\n" in lines and "\nscaled           no\n" in lines and "\nseed             none\n" in lines
    assert info(tmp_path / "out" / "manifest.jsonl")[0] == found


def test_info_of_many_failures_and_names_that_mislead(tmp_path, info):
    job = {"format": "wfvae-batch", "format_version": 1, "model": "\x1b[31m"}
    rows = [{"key": f"{n:02}", "source": {"path": "a\nb"}, "failed": {"error": "\x07"}} for n in range(25)]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [job, *rows]))
    found, lines = info(tmp_path)
    assert len(found["failed"]) == 25 and "and 5 more that failed; --json lists all\n" in lines
    assert "\x1b" not in lines and "failed: 00 (a\N{REPLACEMENT CHARACTER}b): \N{REPLACEMENT CHARACTER}\n" in lines


def test_info_of_latents(tmp_path, model, latents, info):
    wfvae.save(tmp_path / "a.safetensors", latents, model, fps=25, frames=17, note="two\nlines")
    found, lines = info(tmp_path / "a.safetensors")
    assert (found["kind"], found["frames"], found["latents"], found["width"], found["fps"]) == ("latents", 17, 5, 48, "25")
    assert found["encoder_identity"] == f"{model.info.encoder_identity:016x}" and found["note"] == "two\nlines"
    assert "two\N{REPLACEMENT CHARACTER}lines" in lines


@pytest.mark.skipif(not MODEL, reason="WFVAE_TEST_MODEL does not name a checkpoint")
def test_info_of_a_model(info):
    with wfvae.Model(MODEL) as model:
        expected = model.info
    for path in MODEL, pathlib.Path(MODEL, "model.safetensors"):
        found, _ = info(path)
        assert found["kind"] == "model" and found["parameters"] == expected.parameters and "runtime_path" not in found
        assert found["identity"] == f"{expected.identity:016x}" and found["latent_channels"] == expected.latent_channels


def test_info_of_what_is_none(tmp_path, call):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.safetensors").write_bytes(b"no latents")
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "manifest.jsonl").write_bytes(b"{}\n")
    for name, text in [
        ("none", "there is no such file or folder"),
        ("empty", "has no manifest.jsonl, so it is no folder of a job; and as a model: "),
        ("a.safetensors", "is no latent file that can be read, nor a model. As latents: "),
        ("job", "is not a manifest of wfvae-batch"),
    ]:
        out, errors = call("info", tmp_path / name, expected=2)
        assert out == "" and errors.startswith("wfvae: ") and text in errors and errors.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such pipes on Windows")
def test_nobody_reads_what_it_prints(tmp_path):
    rows = [{"key": f"{n}", "source": {}, "failed": {"error": "x" * 100}} for n in range(5000)]
    lines = [{"format": "wfvae-batch", "format_version": 1}, *rows]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with subprocess.Popen([*PYTHON, "info", "--json", tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (0, b"")
