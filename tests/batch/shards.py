"""Tar files of latents: the same ones for any number of jobs and after any interruption, no clip twice, none lost."""

import json
import os
import random
import re
import shutil
import tarfile
import time

from base import ALL, Output, check, contains, equal, make_clip, run, start
from media import MODEL, out_text

# How webdataset splits a member's name.
SAMPLE = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")
LIMIT = 20000


class Shards(Output):
    def names(self):
        return [name for name in self.files() if name.endswith(".tar")]

    def samples(self):
        """Of all shards: the name of each sample and its files by ending."""
        found = {}
        for name in self.names():
            with tarfile.open(self.folder / name) as tar:
                for member in tar:
                    sample, ending = SAMPLE.match(member.name).groups()
                    files = found.setdefault(sample, {"shard": name})
                    check(f"shards: {member.name} is there once", ending not in files)
                    files[ending] = tar.extractfile(member).read()
        return found

    def agrees(self, name):
        """Nothing but shards and the index, which tell the same as the manifest."""
        shards = [line for line in self.lines()[1:] if "shard" in line]
        equal(f"{name}: files", self.files(), sorted(["index.json", *(shard["shard"] for shard in shards)]))
        index = json.loads((self.folder / "index.json").read_text())
        equal(f"{name}: the index", (index["__kind__"], index["wids_version"]), ("wids-shard-index-v1", 1))
        told = [{"url": shard["shard"], "nsamples": len(shard["keys"]), "filesize": shard["bytes"]} for shard in shards]
        equal(f"{name}: the index's shards", index["shardlist"], told)
        sizes = [(self.folder / shard["shard"]).stat().st_size for shard in shards]
        equal(f"{name}: sizes", sizes, [shard["bytes"] for shard in shards])
        samples = self.samples().values()
        equal(f"{name}: keys", [json.loads(sample["json"])["key"] for sample in samples], [key for shard in shards for key in shard["keys"]])
        equal(f"{name}: every clip", sorted(key for shard in shards for key in shard["keys"]), sorted(self.done()))


def clips_of(folder, count):
    kinds = [make_clip(folder / f"{frames}.mkv", frames=frames) for frames in (1, 9, 33)]
    clips = folder / "clips"
    for index in range(count):
        (clips / f"{index % 3}").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kinds[index % 3], clips / f"{index % 3}" / f"c{index}.mkv")
    return clips


def shards(folder):
    """What is in shards, and how large they are."""
    clips = clips_of(folder, 30)
    shutil.copyfile(clips / "0" / "c0.mkv", clips / "a.b%c.mkv")
    shutil.copyfile(clips / "0" / "c0.mkv", clips / f"{'long' * 40}.mkv")
    single, out = Output(folder / "single"), Shards(folder / "out")
    run("-m", MODEL, clips, "-o", single.folder)
    job = ["-m", MODEL, clips, "-o", out.folder, "--shards", LIMIT]
    equal("shards: status", run(*job), (0, out_text(32)))
    out.agrees("shards")
    sizes = [(out.folder / name).stat().st_size for name in out.names()]
    check("shards: sizes", len(sizes) > 3 and all(LIMIT * 0.5 < size <= LIMIT for size in sizes[:-1]) and sizes[-1] <= LIMIT, sizes)
    samples = out.samples()
    check("shards: dots and percent signs", "a%2Eb%25c" in samples, list(samples))
    job_line = out.lines()[0]
    for name, files in samples.items():
        sample = json.loads(files["json"])
        done = single.done()[sample["key"]]
        same = files["safetensors"] == (single.folder / done["output"]).read_bytes()
        check(f"shards: latents of {name}", same)
        told = {"key", "source", "decoded", "frames", "latents", "width", "height", "fps", "model", "encoder", "posterior", "scaled", "latent_type"}
        equal(f"shards: what is told of {name}", set(sample), told)
        for field in ("frames", "latents", "width", "height", "fps"):
            equal(f"shards: {field} of {name}", sample[field], done[field])
        equal(f"shards: model of {name}", sample["model"], job_line["model"])
    large = Shards(folder / "large")
    run("-m", MODEL, clips, "-o", large.folder, "--shards", 1000)
    equal("shards: one for each clip that is larger than a shard", len(large.names()), 32)
    large.agrees("shards: large")
    for jobs in (1, 4):
        other = Shards(folder / f"jobs{jobs}")
        run("-m", MODEL, clips, "-o", other.folder, "--shards", LIMIT, "-j", jobs)
        equal(f"shards: with {jobs} jobs", other.hashes(), out.hashes())

    equal("shards: nothing to do", run(*job, "--resume"), (0, out_text(0)))
    before = out.hashes()
    (out.folder / "index.json").unlink()
    shutil.copyfile(clips / "0" / "c0.mkv", clips / "new.mkv")
    (clips / "bad.mkv").write_bytes(b"")
    os.utime(clips / "0" / "c0.mkv")
    status, text = run(*job, "--resume")
    equal("shards: a new one, a damaged one and one that has changed", (status, text), (1, out_text(1, failed=2)))
    contains("shards: words for the changed one", text, "c0.mkv: other latents of it are in a shard")
    equal("shards: old ones stay", {name: out.hashes()[name] for name in before if name != "index.json"},
          {name: value for name, value in before.items() if name != "index.json"})
    equal("shards: the new one", list(out.samples().values())[-1]["shard"], f"shard-{len(sizes):06}.tar")
    shutil.copyfile(clips / "0" / "c0.mkv", clips / "bad.mkv")
    equal("shards: the damaged one later", run(*job, "--resume"), (1, out_text(1, failed=1)))
    check("shards: each once", len(out.samples()) == 34)

    for options in ([], ["--shards", 2 * LIMIT]):
        status, text = run("-m", MODEL, clips, "-o", out.folder, "--resume", *options)
        equal("shards: another kind of job", (status, "shard_bytes is" in text), (2, True))
    name = out.folder / out.names()[1]
    name.rename(folder / "kept.tar")
    status, text = run(*job, "--resume")
    equal("shards: a lost one", status, 2)
    contains("shards: words for a lost one", text, "put it back, or begin again in another folder")
    name.write_bytes(b"short")
    contains("shards: words for a short one", run(*job, "--resume")[1], "it has 5 bytes, not")


def killed_shards(folder):
    """Killed at any moment, a job gives the shards of an undisturbed one."""
    kills, count = (50, 600) if ALL else (6, 90)
    clips = clips_of(folder, count)
    whole, out = Shards(folder / "whole"), Shards(folder / "out")
    job = ["-m", MODEL, clips, "--shards", LIMIT]
    begin = time.monotonic()
    run(*job, "-o", whole.folder)
    taken = time.monotonic() - begin
    numbers, done = random.Random(22), 0
    while done < kills:
        with start(*job, "-o", out.folder, "--resume") as process:
            time.sleep(numbers.uniform(0.05, taken / kills + 0.25))
            process.kill()
        if process.returncode == 0:
            break
        done += 1
    print(f"killed {done} times, {len(out.done())} of {count} clips were done, in {len(out.names())} shards")
    # A shard that was not recorded before the job was killed.
    (out.folder / f"shard-{len(out.names()):06}.tar").write_bytes(b"not recorded")
    equal("killed shards: status", run(*job, "-o", out.folder, "--resume")[0], 0)
    equal("killed shards: the same", out.hashes(), whole.hashes())
    out.agrees("killed shards")


TOPICS = [shards, killed_shards]
