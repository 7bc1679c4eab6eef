"""Checks the benchmark's count of operations, and runs it on tiny clips for the form of what it writes."""

import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools/bench"), str(ROOT / "training")]
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
]
FIELDS = {
    "model": str, "direction": str, "frames": int, "width": int, "height": int, "chunk": (int, type(None)), "precision": str,
    "kind": str, "name": str, "convolution": (str, type(None)), "seconds": float, "best_seconds": float, "all_seconds": list, "cpu_seconds": float, "fps": float,
    "work_gflop": float, "gflops": float, "fraction_of_peak": float, "load_seconds": float, "load_peak_bytes": int,
    "run_peak_bytes": int, "peak_bytes": int, "steady_bytes": int, "mapped_bytes": int, "max_abs_difference": float, "largest": float}
OURS = {"weight_bytes": int, "sessions": int, "state_bytes": int}


def check_work():
    for name, config, expected in COUNTED:
        for (frames, width, height), pair in zip(SIZES, expected):
            counted = work.flops(config, frames, width, height)
            for direction, gflop in zip(("encode", "decode"), pair):
                # As exact as the number was noted.
                digits = 1 if gflop != round(gflop) else 0
                mine = counted[direction] / 1e9
                assert abs(mine - gflop) <= 0.5 * 10**-digits + 1e-9, f"{name}, {frames}x{width}x{height}, {direction}: {mine}"
        print(f"ok work of {name}")


def check_run():
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, ROOT / "tools/bench/bench.py", "--out", out, "--peers", "onnx", "--threads", "1",
                   "--repetitions", "2", "--seconds", "0.05", "--encode-chunks", "4", "--decode-chunks", "1", "--clips",
                   "tiny:9x32x32", f"{ROOT}/tests/golden/v1-tiny-nearest:9x32x32", "builtin:1x32x48"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        written = json.loads((pathlib.Path(out) / "bench.json").read_text())
        table = (pathlib.Path(out) / "bench.md").read_text()
        left = sorted(p.name for p in pathlib.Path(out).glob("*.f32"))
    assert result.stdout == table and not left, left
    assert written["threads"] == 1 and not written["failed"], written["failed"]
    assert written["peak_gflops"] == max(v for peak in written["peak"] for v in peak.values()) > 0
    assert {"processor", "processors", "memory_bytes", "load_average"} <= written["machine"].keys()
    rows = written["rows"]
    found = [(r["model"], r["frames"], r["direction"], r["kind"], r["convolution"], r["chunk"]) for r in rows]
    clips = [("tiny", 9, [4, 1]), ("v1-tiny-nearest", 9, [4, 1]), ("builtin", 1, [None, None])]
    expected = [(model, frames, direction, kind, convolution, n)
                for model, frames, chunks in clips for direction, chunk in zip(("encode", "decode"), chunks)
                for kind, convolution, n in [("ours", "exact", None)] + [("ours", "exact", chunk)] * (frames > 1) +
                [("ours", "fast", None), ("ours", "direct", None), ("peer", None, None)]]
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
    print(f"ok {len(rows)} rows")


if __name__ == "__main__":
    check_work()
    check_run()
