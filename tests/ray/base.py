"""What the tests of wfvae.ray share: clips, what wfvae-batch makes of them, drivers, and the processes of the cluster."""

import json
import pathlib
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq

import wfvae
import wfvae.ray

# Seconds; what takes longer hangs.
TIME = 300
HERE = pathlib.Path(__file__).resolve().parent
passed, failed = [], []


def check(name, condition, detail=""):
    (passed if condition else failed).append(name)
    if not condition:
        print(f"FAILED {name} {detail}", flush=True)


def equal(name, found, expected):
    check(name, found == expected, f"found {str(found)[:1500]}, expected {str(expected)[:1500]}")


def contains(name, text, part):
    check(name, part in text, f"found {text[-3000:]!r}, expected {part!r}")


def make_inputs(folder):
    """A list of parts of six films, and of three files that are damaged in different ways."""
    folder.mkdir(parents=True)
    lines = []
    for number in range(6):
        path = folder / f"film.{number}.mp4"
        source = f"testsrc2=size={256 + 16 * number}x192:rate=25:duration=8,hue=h={60 * number}"
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "12", path]
        subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=TIME)
        # Not in the order of their starts.
        for part in (3, 0, 7, 1, 2, 5, 6, 4):
            lines.append({"path": path.name, "key": f"film.{number}/part.{part}", "start": float(part), "end": part + 1.0})
    (folder / "text.mp4").write_text("no film")
    (folder / "short.mp4").write_bytes((folder / "film.0.mp4").read_bytes()[:20000])
    lines += [{"path": name, "key": name[:-4]} for name in ("text.mp4", "short.mp4", "missing.mp4")]
    clips = folder / "clips.jsonl"
    clips.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return clips


BAD = ["missing", "short", "text"]


def reference(source, folder, **options):
    """What wfvae-batch makes of it alone: latent files by key, as bytes, and errors by key."""
    result = wfvae.encode_files(source, folder, on_line=lambda line: None, **options)
    files = {row.key: row.output.read_bytes() for row in result.rows.values() if row.output}
    return files, {row.key: row.error for row in result.failed}


def data_of(file):
    return file[8 + int.from_bytes(file[:8], "little") :]


def rows_of(folder):
    """All rows of a folder's Parquet files, and that each key is in them once."""
    tables = [pq.read_table(file) for file in sorted(folder.glob("*.parquet"))]
    equal(f"{folder.name}: one schema", len({str(table.schema) for table in tables}), 1)
    rows = pa.concat_tables(tables).to_pylist()
    keys = [row["key"] for row in rows]
    equal(f"{folder.name}: each key once", len(set(keys)), len(keys))
    return {row["key"]: row for row in rows}


def same(name, folder, expected):
    """Checks that a folder holds what wfvae-batch made, and nothing else."""
    files, errors = expected
    rows = rows_of(folder)
    equal(f"{name}: keys", sorted(rows), sorted(files))
    equal(f"{name}: bytes", [key for key in rows if rows[key]["latents"] != data_of(files[key])], [])
    equal(f"{name}: failed", {key: row["error"] for key, row in wfvae.ray.failed(folder).items()}, errors)
    equal(f"{name}: nothing unfinished", [path.name for path in folder.glob("_unfinished*")], [])
    return rows


def start(cluster, source, folder, **options):
    command = [sys.executable, HERE / "driver.py", cluster.address, source, folder, json.dumps(options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    """Exit status, what it told if it succeeded, and its errors."""
    out, err = process.communicate(timeout=TIME)
    # Ray prints to standard output, too.
    told = [line for line in out.splitlines() if line.startswith('{"left')]
    return process.returncode, json.loads(told[0]) if told else None, out + err


def run(name, cluster, source, folder, **options):
    """Runs a driver that must succeed."""
    status, told, err = finish(start(cluster, source, folder, **options))
    check(name, status == 0, err[-3000:])
    return told


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError("it does not happen")
        time.sleep(0.02)
    return found


def parent_of(process):
    try:
        return int(pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def command_of(process):
    try:
        return pathlib.Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def environment_of(process):
    content = pathlib.Path(f"/proc/{process}/environ").read_bytes()
    return dict(item.decode("utf-8", "replace").split("=", 1) for item in content.split(b"\0") if b"=" in item)


def descendants(ancestor):
    """The processes below this one, which are those of the cluster."""
    parents = {int(path.name): parent_of(path.name) for path in pathlib.Path("/proc").iterdir() if path.name.isdecimal()}
    found, below = [], [ancestor]
    while below:
        below = [process for process, parent in parents.items() if parent in below]
        found += below
    return found


def engines(ancestor):
    """The running wfvae-batch, each with its actor."""
    found = [process for process in descendants(ancestor) if b"serve" in command_of(process)[1:2]]
    return {process: parent_of(process) for process in found}
