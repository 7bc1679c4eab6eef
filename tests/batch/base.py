"""What the tests of wfvae-batch share: the program, clips made by ffmpeg, and the manifest."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

# Seconds; what takes longer hangs.
TIME = 300
GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
PROGRAMS = pathlib.Path(sys.argv[1]).resolve()
BATCH = PROGRAMS / "wfvae-batch"
ENCODE = PROGRAMS / "c" / "encode_file"
ALL = "--all" in sys.argv
passed, failed = [], []


def check(name, condition, detail=""):
    (passed if condition else failed).append(name)
    if not condition:
        print(f"FAILED {name} {detail}", flush=True)


def equal(name, found, expected):
    check(name, found == expected, f"found {str(found)[:1000]}, expected {str(expected)[:1000]}")


def contains(name, text, part):
    check(name, part in text, f"found {text[:1000]!r}, expected {part!r}")


def ffmpeg(*arguments):
    """Standard output as bytes."""
    command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, timeout=TIME).stdout


# With B-frames, and key frames that seeks must find.
H264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "12", "-bf", "2"]
# All of the frames depend on each other and have checksums.
FFV1 = ["-c:v", "ffv1", "-level", "3", "-slicecrc", "1"]


def make_clip(path, frames=17, size="48x32", rate="25", codec=H264, filters="null", options=()):
    """A clip in which every frame differs from all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = f"testsrc2=size={size}:rate={rate}:duration=100,{filters}"
    ffmpeg("-f", "lavfi", "-i", source, "-frames:v", frames, *codec, *options, path)
    return path


def copies(path, folder, count):
    """That many copies of a clip: c000, c001 and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        shutil.copyfile(path, folder / f"c{index:03}{path.suffix}")
    return folder


def start(*arguments, command="encode", **more):
    more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
    return subprocess.Popen([str(BATCH), command, *map(str, arguments)], **more)


def run(*arguments, **more):
    """Exit status and standard error."""
    with start(*arguments, **more) as process:
        _, text = process.communicate(timeout=TIME)
    return process.returncode, text


class Output:
    """A folder of results."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def lines(self):
        manifest = self.folder / "manifest.jsonl"
        if not manifest.exists():
            return []
        # The last line may be under way.
        return [json.loads(line) for line in manifest.read_text().split("\n")[:-1]]

    def rows(self):
        """The last row of each clip, by key."""
        return {line["key"]: line for line in self.lines()[1:] if "key" in line}

    def done(self):
        return {key: row["done"] for key, row in self.rows().items() if "done" in row}

    def errors(self):
        return {key: row["failed"]["error"] for key, row in self.rows().items() if "failed" in row}

    def files(self):
        """Names of all files but the manifest, those that are hidden, too."""
        found = (pathlib.Path(folder) / name for folder, _, names in os.walk(self.folder) for name in names)
        return sorted(str(path.relative_to(self.folder)) for path in found if path.name != "manifest.jsonl")

    def hashes(self):
        return {name: hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in self.files()}

    def latents(self, key):
        """The header and the data of a latent file."""
        content = (self.folder / f"{key}.safetensors").read_bytes()
        length = int.from_bytes(content[:8], "little")
        return json.loads(content[8 : 8 + length]), content[8 + length :]

    def agrees(self, name):
        """Checks that files and rows say the same, and that nothing else is there."""
        done = self.done()
        equal(f"{name}: files", self.files(), sorted(row["output"] for row in done.values()))
        sizes = {key: (self.folder / row["output"]).stat().st_size for key, row in done.items()}
        equal(f"{name}: sizes", sizes, {key: row["output_bytes"] for key, row in done.items()})
        for key, row in done.items():
            header, _ = self.latents(key)
            (tensor,) = (header[name] for name in header if name != "__metadata__")
            equal(f"{name}: latents of {key}", tensor["shape"][0], row["latents"])


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("it does not happen")
        time.sleep(0.005)


def children(process):
    """The process IDs of a program's children."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True).stdout
    return [int(number) for number in listed.split()]


def resident(number):
    """Memory of a process in kB; 0 if it has ended."""
    try:
        status = open(f"/proc/{number}/status").read()
    except OSError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
    return int(found[0]) if found else 0
