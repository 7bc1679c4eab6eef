"""Checks the benchmark's count of operations, and runs it on tiny clips for the form of what it writes."""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools/bench"), str(ROOT / "training")]
import bench  # noqa: E402
import random_checkpoint  # noqa: E402
import work  # noqa: E402

CUBES = {
    "l1_dowmsample_block": random_checkpoint.CUBE, "l1_downsample_wavelet": "HaarWaveletTransform3D",
    "l1_upsample_block": "Spatial2xTime2x3DUpsample", "l1_upsample_wavelet": "InverseHaarWaveletTransform3D"}
LARGE, SMALL = random_checkpoint.preset("L"), random_checkpoint.preset("S")
SIZES = [(33, 256, 256), (17, 128, 128), (1, 256, 256)]
# GFLOP of encode and decode at these sizes, counted by hooks on the reference's own layers.
COUNTED = [
    ("L", LARGE, [(4424.6, 21481), (590.7, 2857.1), (325, 1400)]),
    ("L, base 128", {**LARGE, "base_channels": 128}, [(2007.2, 9960), (267.4, 1324.2), (148, 649)]),
    ("S", SMALL, [(1964.4, 9958), (261.6, 1323.9), (144, 649)]),
    ("S, 2 connecting blocks", {**SMALL, "connect_res_layer_num": 2}, [(1964.4, 10098), (261.6, 1342.5), (144, 658)]),
    ("8x, base 160", {**LARGE, "base_channels": 160, "latent_dim": 32, **CUBES},
     [(1954.3, 11728), (271.9, 1595.7), (233, 1050)]),
    ("second generation", random_checkpoint.preset("v2"), [(1693, 4096)]),
    # Counted by PyTorch's own counter on training/causalvae.py.
    ("CausalVAE 1.0", random_checkpoint.preset("causalvae-1.0"), [None, (1891.5, 4986.3), (776.3, 1492.9)]),
    ("CausalVAE 1.1", random_checkpoint.preset("causalvae-1.1"), [None, (1332.8, 6102.5), (514.5, 1782.8)]),
    ("CausalVAE 1.2", random_checkpoint.preset("causalvae-1.2"), [None, (1301.4, 5904.4), (504.8, 1686.2)]),
]
FIELDS = {
    "model": str, "direction": str, "frames": int, "width": int, "height": int, "chunk": (int, type(None)), "precision": str,
    "kind": str, "name": str, "convolution": (str, type(None)), "layout": (str, type(None)), "provider_options": type(None),
    "seconds": float, "best_seconds": float, "all_seconds": list, "cpu_seconds": float, "fps": float,
    "work_gflop": float, "gflops": float, "fraction_of_peak": float, "fraction_of_tile_peak": (float, type(None)), "load_seconds": float, "load_peak_bytes": int,
    "run_peak_bytes": int, "peak_bytes": int, "steady_bytes": int, "mapped_bytes": int, "max_abs_difference": float, "largest": float}
OURS = {"weight_bytes": int, "sessions": int, "state_bytes": int}


def check_work():
    for name, config, expected in COUNTED:
        for (frames, width, height), pair in zip(SIZES, expected):
            if not pair:
                continue
            counted = work.flops(config, frames, width, height)
            for direction, gflop in zip(("encode", "decode"), pair):
                # As exact as the number was noted.
                digits = 1 if gflop != round(gflop) else 0
                mine = counted[direction] / 1e9
                assert abs(mine - gflop) <= 0.5 * 10**-digits + 1e-9, f"{name}, {frames}x{width}x{height}, {direction}: {mine}"
        print(f"ok work of {name}")


def run(*arguments):
    """The finished process, and what it wrote."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, ROOT / "tools/bench/bench.py", "--out", out, "--threads", "1", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert (pathlib.Path(out) / "bench.json").exists(), result.stderr
        written = json.loads((pathlib.Path(out) / "bench.json").read_text())
        table = (pathlib.Path(out) / "bench.md").read_text()
        left = sorted(p.name for p in pathlib.Path(out).glob("scratch*"))
    assert result.stdout == table and not left, left
    return result, written


def check_run():
    result, written = run(
        "--peers", "onnx", "--repetitions", "2", "--seconds", "0.05", "--encode-chunks", "4", "--decode-chunks", "1",
        "--convolutions", "fast", "direct", "volume:planes", "stacked:channels-last", "--clips", "tiny:9x32x32",
        f"{ROOT}/tests/golden/v1-tiny-nearest:9x32x32", "builtin:1x32x48")
    assert result.returncode == 0, result.stderr
    assert written["threads"] == 1 and not written["failed"], written["failed"]
    assert written["peak_gflops"] == max(v for peak in written["peak"] for v in peak.values()) > 0
    assert {"processor", "processors", "memory_bytes", "load_average"} <= written["machine"].keys()
    rows = written["rows"]
    found = [(r["model"], r["frames"], r["direction"], r["kind"], r["convolution"], r["layout"], r["chunk"]) for r in rows]
    clips = [("tiny", 9, [4, 1]), ("v1-tiny-nearest", 9, [4, 1]), ("builtin", 1, [None, None])]
    expected = [(model, frames, direction, kind, convolution, layout, n)
                for model, frames, chunks in clips for direction, chunk in zip(("encode", "decode"), chunks)
                for kind, convolution, layout, n in
                [("ours", "exact", "auto", None)] + [("ours", "exact", "auto", chunk)] * (frames > 1) +
                [("peer", None, None, None), ("ours", "fast", "auto", None), ("ours", "direct", "auto", None),
                 ("ours", "volume", "planes", None), ("ours", "stacked", "channels-last", None)]]
    assert found == expected, found
    for row in rows:
        fields = FIELDS | (OURS if row["kind"] == "ours" else {})
        assert row.keys() == fields.keys(), row.keys() ^ fields.keys()
        assert all(isinstance(row[name], kind) for name, kind in fields.items()), row
        assert len(row["all_seconds"]) == 2 and row["best_seconds"] == min(row["all_seconds"]) <= row["seconds"]
        assert abs(row["gflops"] * row["seconds"] / row["work_gflop"] - 1) < 1e-9
        assert abs(row["fraction_of_peak"] * written["peak_gflops"] / row["gflops"] - 1) < 1e-9
        assert row["peak_bytes"] == max(row["load_peak_bytes"], row["run_peak_bytes"]) >= row["steady_bytes"] > 1 << 20
        assert row["mapped_bytes"] > 1 << 20
        assert row["largest"] > 0.01 and (row["max_abs_difference"] == 0) == (row["convolution"] == "exact")
    # The last table has a line for each row, after its two of the head.
    last = result.stdout.split("**All clips**")[1].strip().split("\n")
    assert len(last) == 2 + len(rows), last
    for name in "libwfvae, volume, planes", "libwfvae, stacked, channels-last":
        assert sum(name in line for line in last) == 6, last
    print(f"ok {len(rows)} rows")


SHORT = ["--peers", "--peak-seconds", "0", "--clips", "tiny:33x64x64"]


def check_ends():
    """A run that is over before its rows are, and one in which every row fails."""
    start = time.monotonic()
    result, written = run("--deadline", "3", "--seconds", "1000", "--repetitions", "1000000", *SHORT)
    took = time.monotonic() - start
    assert result.returncode == 0 and took < 10, (took, result.stderr)
    assert any("deadline of 3 s" in text for text in written["left_out"]), written["left_out"]
    assert written["rows"] == written["failed"] == written["peak"] == []
    result, written = run("--row-seconds", "0.001", "--encode-chunks", "--decode-chunks", "--convolutions", "direct", *SHORT)
    assert result.returncode == 1 and written["rows"] == [], result.stderr
    assert len(written["failed"]) == 4 and all("too long" in text for text in written["failed"]), written["failed"]
    result, written = run("--directions", "encode", "--precisions", "bf16", "--encode-chunks", "--convolutions", *SHORT)
    if written["machine"]["instructions"]["amx_bf16"]:
        check_bf16(result, written)
    else:
        assert result.returncode == 1 and [row["precision"] for row in written["rows"]] == ["f32"], result.stderr
        assert len(written["failed"]) == 1 and "no matrix unit" in written["failed"][0], written["failed"]
    print("ok deadline and failing rows")


def check_bf16(result, written):
    """Rows on a CPU with a matrix unit: without its peak, which was not asked for, and with it."""
    assert result.returncode == 0 and [row["precision"] for row in written["rows"]] == ["f32", "bf16"], result.stderr
    assert written["tile_peak_gflops"] is None and all(row["fraction_of_tile_peak"] is None for row in written["rows"])
    result, written = run(
        "--directions", "encode", "--precisions", "bf16", "--encode-chunks", "4", "--convolutions", *SHORT, "--peak-seconds", "0.05")
    assert result.returncode == 0, result.stderr
    assert len(written["tile_peak"]) == 2 and written["tile_peak_gflops"] == max(written["tile_peak"]) > 0
    assert "the matrix unit: " in result.stdout and "of tile peak" in result.stdout
    for row in written["rows"]:
        found = row["fraction_of_tile_peak"]
        assert (found is None) == (row["precision"] != "bf16"), row
        # Of direct sums, so it cannot be beyond 1, but for what the clock and other programs do.
        assert found is None or 0 < found < 1 and abs(found * written["tile_peak_gflops"] / row["gflops"] - 1) < 1e-9, row
    print("ok bf16")


def check_syntax():
    def wrong(text, provider):
        command = [sys.executable, ROOT / "tools/bench/bench.py", "--provider", provider, "--convolutions", text]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 2, (text, result)
        return result.stderr.strip().split("\n")[-1]

    assert "there is no convolution 'winograd'" in wrong("winograd", "cpu")
    assert "there is no layout 'rows'" in wrong("volume:rows", "cpu")
    assert "only direct, stacked and volume have layouts" in wrong("fast:planes", "cpu")
    assert "the CPU provider has no options" in wrong("stacked:planes:use_tf32=1", "cpu")
    assert "is not NAME=VALUE" in wrong("stacked:planes:use_tf32", "cuda")
    given = bench.CONVOLUTIONS["cuda"]
    assert len({bench.emission(None, text, True) for text in given}) == len(given) == 5
    found = bench.emission(None, "stacked:planes:use_tf32=0,fuse_conv_bias=1", True)
    assert found == ("stacked", "planes", "use_tf32=0,fuse_conv_bias=1"), found
    print("ok ways to compute")


if __name__ == "__main__":
    check_work()
    check_syntax()
    check_run()
    check_ends()
