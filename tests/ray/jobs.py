"""Whole jobs, in which actors, engines, machines and drivers are killed."""

import os
import pathlib
import signal
import tempfile

import pyarrow.parquet as pq

import wfvae
import wfvae.ray
from base import check, contains, engines, environment_of, command_of, equal, finish, rows_of, run, same, start, wait_for

MOMENTS = {"posterior": "moments"}


def files(folder):
    return sorted(folder.glob("*.parquet"))


def scratch():
    return set(pathlib.Path(tempfile.gettempdir()).glob("wfvae-scratch-*"))


def one_worker(cluster, source, folder, expected):
    out = folder / "one"
    told = run("one worker", cluster, source, out, encode=MOMENTS)
    equal("one worker: left", told, {"left": 51, "done": 0})
    rows = same("one worker", out, expected)
    wait_for(lambda: not engines(os.getpid()))
    equal("one worker: no folder is left", scratch(), set())
    row = rows["film.2/part.4"]
    about = {name: value for name, value in row.items() if name not in ("latents", "scale", "shift", "model", "encoder")}
    path = str(source.parent / "film.2.mp4")
    equal(
        "a row",
        about,
        {
            "key": "film.2/part.4", "path": path, "start": 4.0, "end": 5.0, "shape": [7, 32, 24, 36], "type": "f16", "frames": 25,
            "fps": "25/1", "width": 288, "height": 192, "posterior": "moments", "scaled": False,
        },
    )  # fmt: skip
    latents = wfvae.row_latents(row)
    equal("an array", (latents.shape, str(latents.dtype)), ((7, 32, 24, 36), "float16"))
    # The library reads the file of the same clip.
    with wfvae.open(folder / "reference" / "film.2" / "part.4.safetensors") as file:
        check("an array: values", (latents == file.read(moments=True)).all())
        info = file.info
        equal(
            "scale and shift",
            (row["scale"], row["shift"]),
            tuple(None if v is None else [float(f"{x:.6g}") for x in v] for v in (info.scale, info.shift)),
        )
        equal(
            "identities",
            (row["model"], row["encoder"]),
            tuple(f"{number:016x}" for number in (info.model_identity, info.encoder_identity)),
        )
    # A file is in one block, from its start on.
    for file in files(out):
        table = pq.read_table(file, columns=["path", "start"]).to_pylist()
        equal("the order in a file", table, sorted(table, key=lambda row: (row["path"], row["start"])))
    equal(
        "blocks of whole files", sum(len(set(pq.read_table(file, columns=["path"])["path"].to_pylist())) for file in files(out)), 6
    )


def again(cluster, source, folder, expected):
    """A job that is done has nothing left but what failed."""
    out = folder / "one"
    before = {file.name: file.read_bytes() for file in files(out)}
    told = run("again", cluster, source, out, encode=MOMENTS)
    equal("again: left", told, {"left": 3, "done": 48})
    equal("again: files", {file.name: file.read_bytes() for file in files(out)}, before)
    same("again", out, expected)
    (source.parent / "text.mp4").write_bytes((source.parent / "film.0.mp4").read_bytes())
    run("repaired", cluster, source, out, encode=MOMENTS)
    equal("repaired: failed", sorted(wfvae.ray.failed(out)), ["missing", "short"])
    check("repaired: done", "text" in rows_of(out))
    (source.parent / "text.mp4").write_text("no film")


def two_workers(cluster, source, folder, expected):
    out = folder / "two"
    run("two workers", cluster, source, out, actors=2, encode=MOMENTS)
    same("two workers", out, expected)


def killed_actor(cluster, source, folder, expected):
    """One of two actors is killed, twice."""
    out = folder / "killed-actor"
    process = start(cluster, source, out, actors=2, encode=MOMENTS, clips_per_block=1)
    wait_for(lambda: len(files(out)) >= 1)
    for _ in range(2):
        engine, actor = wait_for(lambda: list(engines(os.getpid()).items()))[0]
        os.kill(actor, signal.SIGKILL)
        wait_for(lambda: engine not in engines(os.getpid()) and not os.path.exists(f"/proc/{engine}"), 10)
    status, _, text = finish(process)
    check("a killed actor", status == 0, text[-3000:])
    same("a killed actor", out, expected)


def killed_engine(cluster, source, folder, expected):
    """The programs of both actors are killed, twice."""
    out = folder / "killed-engine"
    process = start(cluster, source, out, actors=2, encode=MOMENTS, clips_per_block=1)
    for enough in (1, 3):
        wait_for(lambda: len(files(out)) >= enough)
        for engine in engines(os.getpid()):
            os.kill(engine, signal.SIGKILL)
    status, _, text = finish(process)
    check("a killed engine", status == 0, text[-3000:])
    same("a killed engine", out, expected)


def killed_driver(cluster, source, folder, expected):
    """The driver is killed at three moments. What was on the disk stays as it is, and is not encoded again."""
    for format in "parquet", "webdataset":
        out = folder / f"killed-driver-{format}"
        done = 0
        for enough in (1, 2, 3):
            process = start(cluster, source, out, actors=2, format=format, encode=MOMENTS, clips_per_block=1)
            wait_for(lambda: len(list(out.glob("0*"))) >= enough)
            process.kill()
            process.wait()
            now = len(wfvae.ray.done(out))
            check(f"{format}: a killed driver keeps what is done", now >= done, (now, done))
            done = now
        check(f"{format}: the driver was killed before the end", done < 48, done)
        told = run("after a killed driver", cluster, source, out, actors=2, format=format, encode=MOMENTS, clips_per_block=1)
        # Write tasks of a driver that was killed may have ended a little later.
        check(f"{format}: only what was not done", told["done"] >= done and told["left"] == 51 - told["done"], (told, done))
        if format == "parquet":
            same("a killed driver", out, expected)
        else:
            equal("a killed driver: shards", sorted(wfvae.ray.done(out)), sorted(expected[0]))


def lost_machine(cluster, source, folder, expected):
    """One of two machines goes, and another one comes."""
    out = folder / "lost"
    process = start(cluster, source, out, actors=2, encode=MOMENTS, clips_per_block=1)
    wait_for(lambda: files(out))
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    cluster.add_node(num_cpus=1, object_store_memory=200_000_000)
    status, _, text = finish(process)
    check("a lost machine", status == 0, text[-3000:])
    same("a lost machine", out, expected)


def threads_and_memory(cluster, source, folder, expected):
    """The program gets what Ray gave the actor."""
    node = cluster.add_node(num_cpus=2, resources={"two": 1}, memory=3_000_000_000, object_store_memory=100_000_000)
    out = folder / "threads"
    process = start(cluster, source, out, cpus=2, encode=MOMENTS)
    engine = wait_for(lambda: list(engines(os.getpid())))[0]
    options = [option.decode() for option in command_of(engine)]
    equal("CPUs of the program", environment_of(engine).get("OMP_NUM_THREADS"), "2")
    check("jobs of the program", "--jobs=2" in options, options)
    check("memory of the program", "--memory=3000000000" in options, options)
    check("two CPUs", finish(process)[0] == 0)
    cluster.remove_node(node)
    same("two CPUs", out, expected)


def wrong_jobs(cluster, source, folder, expected):
    """Jobs that cannot run, and folders of other jobs."""
    if not (folder / "two").exists():
        two_workers(cluster, source, folder, expected)
    status, _, text = finish(start(cluster, source, folder / "two", encode={"posterior": "mean"}))
    check("other options: fails", status != 0)
    contains("other options", text, 'is of another job: posterior is "moments", this job\'s "mean"; choose another folder')
    status, _, text = finish(start(cluster, source, folder / "two", format="webdataset", encode=MOMENTS))
    contains("another format", text, "this job writes .tar files: choose another folder")
    status, _, text = finish(start(cluster, source, folder / "none", encode={"model": "/nowhere"}))
    contains("no model", text, "model: checkpoint /nowhere: No such file or directory")
    status, _, text = finish(start(cluster, source, folder / "none", encode={"sizes": 3}))
    contains("an unknown option", text, "unexpected keyword argument 'sizes'")
    status, _, text = finish(start(cluster, source, folder / "none", encode={"size": "huge"}))
    contains("a wrong value", text, "invalid value 'huge' for '--size <WIDTHxHEIGHT>'")
    same("other jobs leave a folder alone", folder / "two", expected)


def nothing_left(cluster, source, folder, expected):
    """Programs and their folders are gone; the next one that is made removes what killed ones left."""
    wait_for(lambda: not engines(os.getpid()))
    with wfvae.ClipEncoder() as encoder:
        check("one folder", encoder.job and len(scratch()) == 1, scratch())
    equal("no folder", scratch(), set())


TESTS = [one_worker, again, two_workers, killed_actor, killed_engine, killed_driver, lost_machine, threads_and_memory]
TESTS += [wrong_jobs, nothing_left]
