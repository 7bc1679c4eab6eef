"""Folders of sinks that are damaged, that two jobs write to, or that hold a clip twice. Jobs in one driver."""

import pyarrow.parquet as pq
import ray
import ray.data

import wfvae.ray
from base import contains, equal, same
from rows import ACTOR, message


def store(source, folder, format="parquet", **options):
    sink = wfvae.ray.Sink(folder, format=format)
    clips = wfvae.ray.clips(source, done=sink, clips_per_block=8)
    encode = wfvae.ray.Encode(sink=sink, posterior="moments", **options)
    sink.store(clips.map_batches(encode, batch_format="pyarrow", compute=ACTOR))


def damaged_files(source, folder, expected):
    for format, ending in ("parquet", "parquet"), ("webdataset", "tar"):
        out = folder / f"damaged-{format}"
        store(source, out, format)
        file = sorted(out.glob(f"*.{ending}"))[0]
        content = file.read_bytes()
        for cut in (len(content) // 2, 100, 0):
            file.write_bytes(content[:cut])
            text = message(wfvae.ray.Sink, out, format=format)
            contains(f"{format}: cut to {cut}", text, f"JobError: {file} is damaged (")
            contains(f"{format}: cut to {cut}: what to do", text, "delete it, and its clips are encoded again")
        file.unlink()
        store(source, out, format)
        equal(f"{format}: encoded again", sorted(wfvae.ray.done(out)), sorted(expected[0]))
    same("a file that was deleted", folder / "damaged-parquet", expected)


def twice(source, folder, expected):
    """What Ray repeated with other blocks, before a driver was killed: a clip is in two files."""
    out = folder / "twice"
    store(source, out)
    first, second, *_ = sorted(out.glob("*.parquet"))
    table = pq.read_table(first)
    pq.write_table(table.slice(0, 3), out / "0001-0123456789abcdef.parquet")
    before = {file.name for file in out.glob("*.parquet")}
    store(source, out)
    equal(
        "a clip twice: the later file goes",
        {file.name for file in out.glob("*.parquet")} ^ before,
        {"0001-0123456789abcdef.parquet"},
    )
    same("a clip twice", out, expected)
    # With another part, it is another clip.
    column = table.column_names.index("start")
    pq.write_table(table.set_column(column, "start", [[0.25] * table.num_rows]), out / "0009-0123456789abcdef.parquet")
    contains(
        "two clips of one key", message(wfvae.ray.Sink, out), "which another clip of the folder has: give clips keys of their own"
    )
    (out / "0009-0123456789abcdef.parquet").unlink()
    lines = [{"path": str(source.parent / "film.0.mp4"), "key": "film.0/part.0", "start": 0.5}]
    sink = wfvae.ray.Sink(out)
    contains(
        "another part of a clip that is done",
        message(wfvae.ray.clips, lines, done=sink),
        "holds film.0/part.0 with the start and end (0.0, 1.0)",
    )


def one_key(source, folder, expected):
    """Rows of a user's own, with one key in two blocks, and in one."""
    film = str(source.parent / "film.0.mp4")
    items = [{"path": film, "key": "a", "end": 0.2}, {"path": film, "key": "a", "end": 0.4}]
    for name, blocks, part in ("two blocks", 2, "two clips have the key 'a'"), ("one block", 1, "two clips have the key 'a'"):
        sink = wfvae.ray.Sink(folder / f"one-key-{blocks}")
        rows = ray.data.from_items(items, override_num_blocks=blocks)
        rows = rows.map_batches(wfvae.ray.Encode(sink=sink), batch_format="pyarrow", compute=ACTOR)
        contains(f"one key in {name}", message(sink.store, rows), part)


def other_rows(source, folder, expected):
    """A sink takes the rows that were made for it."""
    clips = wfvae.ray.clips([{"path": source.parent / "film.0.mp4", "end": 0.2}])
    sink = wfvae.ray.Sink(folder / "other-rows")
    contains(
        "rows without latents",
        message(sink.store, clips),
        "rows have no column 'latents': they must come from wfvae.ray.Encode(sink=...)",
    )
    sink = wfvae.ray.Sink(folder / "other-rows")
    rows = clips.map_batches(wfvae.ray.Encode(), batch_format="pyarrow", compute=ACTOR)
    contains(
        "rows of no sink",
        message(sink.store, rows),
        "has no _job.json: rows must come from wfvae.ray.Encode(sink=...) with this sink",
    )
    sink = wfvae.ray.Sink(folder / "other-rows")
    sink.store(clips.map_batches(wfvae.ray.Encode(sink=sink), batch_format="pyarrow", compute=ACTOR))
    contains("a sink twice", message(sink.store, rows), "make another one")
    sink = wfvae.ray.Sink(folder / "other-rows")
    rows = wfvae.ray.clips([source.parent / "film.1.mp4"]).map_batches(
        wfvae.ray.Encode(posterior="moments"), batch_format="pyarrow", compute=ACTOR
    )
    contains("rows of another job", message(sink.store, rows), "rows have the posterior moments, but those of the job of")


def two_drivers(source, folder, expected):
    """A folder that another job takes over while one writes to it: the first one fails, the second one does all."""
    out = folder / "two-drivers"
    first = wfvae.ray.Sink(out)
    clips = wfvae.ray.clips(source, done=first, clips_per_block=8)
    rows = clips.map_batches(wfvae.ray.Encode(sink=first, posterior="moments"), batch_format="pyarrow", compute=ACTOR).materialize()
    second = wfvae.ray.Sink(out)
    contains("a folder that was taken over", message(first.store, rows), "was taken over by another job")
    equal("a folder that was taken over: nothing is written", wfvae.ray.done(out), {})
    contains("a job without rows", message(first.store, rows.limit(0)), "was taken over by another job")
    second.store(rows)
    same("two drivers", out, expected)


TESTS = [damaged_files, twice, one_key, other_rows, two_drivers]
