"""What Encode takes and gives, and clips(), in one driver."""

import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
import webdataset
from safetensors.numpy import load

import wfvae
import wfvae.ray
from base import BAD, check, contains, data_of, equal, reference

ACTOR = ray.data.ActorPoolStrategy(size=1)


def message(function, *arguments, **options):
    """Of the error that a call raises."""
    try:
        function(*arguments, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


def encoded(dataset, batch_format="pyarrow", **options):
    return dataset.map_batches(wfvae.ray.Encode(**options), batch_format=batch_format, compute=ACTOR)


def batch_formats(source, folder, expected):
    """Rows of a user's own, with columns of his own, in each format of batches."""
    film = str(source.parent / "film.1.mp4")
    items = [
        {"path": film, "start": 2.0, "end": 3.0, "caption": "a film", "number": 7},
        {"path": film, "start": 1.0, "end": None, "caption": None, "number": 8},
        {"path": "film.1.mp4", "start": None, "end": 3.0, "caption": "relative", "number": 9},
        {"path": "s3://bucket/film.1.mp4", "start": None, "end": None, "caption": "address", "number": 10},
    ]
    table = pa.Table.from_pylist(items)
    below = str(source.parent).lstrip("/")
    found = {}
    for batch_format in "pyarrow", "numpy", "pandas":
        result = encoded(ray.data.from_arrow(table), batch_format, posterior="moments").to_pandas().to_dict("records")
        keys = [f"{below}/film.1_2000_3000", f"{below}/film.1_1000_", "film.1__3000", "s3:/bucket/film.1"]
        equal(f"{batch_format}: keys", [row["key"] for row in result], keys)
        equal(f"{batch_format}: columns of the user's", [row["number"] for row in result], [7, 8, 9, 10])
        equal(f"{batch_format}: text of the user's", [row["caption"] for row in result][::2], ["a film", "relative"])
        equal(f"{batch_format}: latents", result[0]["latents"], data_of(expected[0]["film.1/part.2"]))
        equal(f"{batch_format}: frames", [row["frames"] for row in result[:2]], [25, 175])
        contains(f"{batch_format}: relative", result[2]["error"], "its path is relative, and must be absolute")
        contains(f"{batch_format}: address", result[3]["error"], "files must be in a file system that all machines have mounted")
        equal(f"{batch_format}: start of one that failed", result[2]["end"], 3.0)
        found[batch_format] = [row["latents"] for row in result]
    check("batch formats: same", found["pyarrow"] == found["numpy"] == found["pandas"])
    row = encoded(ray.data.from_arrow(table.slice(2))).take(1)[0]
    contains("array of a clip that failed", message(wfvae.row_latents, row), "JobError: film.1__3000 has no latents: its path")
    errors = {
        "no path": ({"file": film}, "rows must have the column 'path'; those of this data set have file"),
        "a column of the result's": (
            {"path": film, "width": 3},
            "rows have the column 'width', which is the name of a column of the result",
        ),
        "a path that is none": ({"path": 3}, "the column 'path' holds 3, must hold a str in each row"),
    }
    for name, (item, part) in errors.items():
        contains(name, message(encoded(ray.data.from_items([item])).materialize), part)


def one_schema(source, folder, expected):
    """Blocks of clips that all failed have the same types as others."""
    films = wfvae.ray.clips([{"path": source.parent / "film.0.mp4", "end": 0.5}])
    broken = wfvae.ray.clips([{"path": source.parent / name} for name in ("text.mp4", "missing.mp4")])
    for format in "columns", "webdataset":
        schemas = [encoded(clips, format=format).materialize().schema().base_schema for clips in (films, broken)]
        check(f"{format}: one schema", schemas[0].equals(schemas[1]), schemas)
        wanted = wfvae.ray._rows.schema(format)
        check(f"{format}: the schema", schemas[0].equals(wanted), (schemas[0], wanted))
    rows = encoded(broken).take_all()
    equal("broken: failed", [bool(row["error"]) for row in rows], [True, True])
    equal("broken: no latents", [row["latents"] for row in rows], [None, None])
    both = films.union(broken)
    out = folder / "ray-parquet"
    encoded(both).write_parquet(str(out))
    table = pa.concat_tables([pq.read_table(file) for file in out.glob("*.parquet")])
    equal("write_parquet() of Ray", (table.num_rows, table["error"].null_count), (3, 1))


def samples(source, folder, expected):
    """The noise of a clip depends on its key, and not on who encodes it."""
    options = {"posterior": "sample", "seed": 7, "dtype": "f32", "scaled": True, "size": (64, 64)}
    files, _ = reference(source, folder / "samples", **options)
    clips = wfvae.ray.clips(source).random_shuffle(seed=1)
    rows = encoded(clips, **options).take_all()
    equal(
        "samples",
        {row["key"]: row["latents"] for row in rows if row["error"] is None},
        {key: data_of(file) for key, file in files.items()},
    )
    row = next(row for row in rows if row["error"] is None)
    equal("samples: type", (row["type"], row["scaled"], wfvae.row_latents(row).dtype), ("f32", True, np.float32))


def tables(source, folder, expected):
    """Large batches are given on in parts, as the driver would see them in an actor."""
    wfvae.ray._encode.TABLE_BYTES = 500_000
    batch = wfvae.ray.clips(source, clips_per_block=1000).to_pandas()
    parts = list(wfvae.ray.Encode(posterior="moments")()(batch))
    check("parts", 10 < len(parts) < 30, len(parts))
    rows = pa.concat_tables(parts).to_pylist()
    equal("parts: order", [row["key"] for row in rows], list(batch["key"]))
    equal(
        "parts: latents",
        {row["key"]: row["latents"] for row in rows if row["latents"]},
        {key: data_of(f) for key, f in expected[0].items()},
    )
    empty = wfvae.ray.Encode()()(pa.table({"path": pa.array([], pa.string()), "caption": pa.array([], pa.string())}))
    equal("an empty batch", [(part.num_rows, part.column_names[-2:]) for part in empty], [(0, ["error", "caption"])])


def shards(source, folder, expected):
    """Ray's own writer of shards, and wfvae-batch's."""
    reference(source, folder / "tar", posterior="moments", shards="1G")
    wanted = members(folder / "tar")
    rows = encoded(wfvae.ray.clips(source), format="webdataset", posterior="moments")
    rows.filter(lambda row: row["error"] is None).write_webdataset(str(folder / "ray-tar"), encoder=None)
    equal("shards: as wfvae-batch's", members(folder / "ray-tar"), wanted)
    rows.write_webdataset(str(folder / "ray-tar-all"), encoder=None)
    more = members(folder / "ray-tar-all")
    failed = {name for name in more if name not in wanted}
    equal("shards: clips that failed", failed, {f"{name}.error" for name in BAD})
    sink = wfvae.ray.Sink(folder / "sink-tar", format="webdataset")
    sink.store(encoded(wfvae.ray.clips(source, done=sink), sink=sink, posterior="moments"))
    equal("sink of shards", members(folder / "sink-tar"), wanted)
    equal("sink of shards: failed", sorted(wfvae.ray.failed(folder / "sink-tar")), BAD)
    urls = [str(path) for path in sorted((folder / "sink-tar").glob("*.tar"))]
    read = {}
    for sample in webdataset.WebDataset(urls, shardshuffle=False):
        about = json.loads(sample["json"])
        read[about["key"]] = load(sample["safetensors"])[about["posterior"]].tobytes()
    equal("sink of shards: webdataset", read, {key: data_of(file) for key, file in expected[0].items()})


def members(folder):
    found = {}
    for path in folder.glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                found[member.name] = tar.extractfile(member).read()
    return found


def inputs(source, folder, expected):
    """clips(): what it takes, and in which blocks."""
    clips = wfvae.ray.clips(source, clips_per_block=20)
    blocks = [ray.get(ref).to_pydict() for ref in clips.to_arrow_refs()]
    check("blocks: sizes", [len(block["path"]) for block in blocks] == [16, 16, 19], [len(block["path"]) for block in blocks])
    films = [set(block["path"]) for block in blocks]
    equal("blocks: whole files", sum(map(len, films)), len(set.union(*films)))
    again = wfvae.ray.clips(
        list(
            reversed(
                [json.loads(line) | {"path": source.parent / json.loads(line)["path"]} for line in source.read_text().splitlines()]
            )
        )
    )
    equal("the order of inputs does not matter", again.take_all(), wfvae.ray.clips(source).take_all())
    rows = wfvae.ray.clips(source.parent).take_all()
    equal("a folder", [row["key"] for row in rows], [*(f"film.{n}" for n in range(6)), "short", "text"])
    check("paths are absolute", all(row["path"].startswith("/") for row in rows))
    more = wfvae.ray.clips(
        [{"path": source.parent / "film.0.mp4", "caption": "x", "tags": ["a", "b"]}, source.parent / "film.1.mp4"]
    ).take_all()
    equal(
        "columns of the user's",
        [(row["key"], row["caption"], row["tags"]) for row in more],
        [("film.0", "x", ["a", "b"]), ("film.1", None, None)],
    )
    film = source.parent / "film.0.mp4"
    contains("two of one key", message(wfvae.ray.clips, [film, {"path": film, "key": "film.0"}]), "would both be written to film.0")
    contains("an address", message(wfvae.ray.clips, "s3://bucket/films"), "ValueError: s3://bucket/films: its path is an address")
    contains("nothing", message(wfvae.ray.clips, folder / "no-folder"), "No such file or directory")
    contains("a sink that is an address", message(wfvae.ray.Sink, "s3://bucket"), "ValueError: s3://bucket: its path is an address")


TESTS = [batch_formats, one_schema, samples, tables, shards, inputs]
