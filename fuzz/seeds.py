#!/usr/bin/env python3
"""Writes small seeds for the fuzz targets, made of golden files: fuzz/seeds.py FOLDER, to FOLDER/TARGET."""

import json
import struct
import sys
import zlib
from pathlib import Path
from random import Random

import wrong_seeds

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"


def write(folder, target, name, data):
    (folder / target).mkdir(parents=True, exist_ok=True)
    (folder / target / name).write_bytes(data)


def header(file):
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return data[8 : 8 + length]


def checkpoints(folder):
    for number, file in enumerate(sorted(GOLDEN.glob("*/model.safetensors"))):
        name = file.parent.name
        # Edits: the golden model of that number, whatever fits its config, and no edit. fuzz/make_seeds.sh makes texts of the small networks'.
        write(folder, "checkpoint", name + "-edits", bytes([2, 192 + number, 1]) + bytes(16))
        keys = list(json.loads(header(file)))
        shards = {key: f"model-{i % 2 + 1:05}-of-00002.safetensors" for i, key in enumerate(keys[:6])}
        write(folder, "index", name, json.dumps({"metadata": {}, "weight_map": shards}).encode())
    for number in range(5):
        write(folder, "checkpoint", f"small-{number}-edits", bytes([2, number, 1]) + bytes(16))
    # Without tensors, an input is quick.
    for name, config in wrong_seeds.configs(GOLDEN):
        write(folder, "checkpoint", f"config-{name}", b"\0" + json.dumps(config, separators=(",", ":")).encode() + b"\n{}")
    for name, config, text in wrong_seeds.wavelets(GOLDEN):
        write(folder, "checkpoint", name, b"\0" + config.encode() + b"\n" + text.encode())
    for name, text in wrong_seeds.headers():
        write(folder, "checkpoint", f"header-{name}", b"\0{}\n" + text.encode())
    text = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    for name, size in ("cut", 2), ("longer", 8):
        write(folder, "checkpoint", f"header-{name}", b"\1{}\n" + struct.pack("<Q", len(text)) + text + bytes(size))
    for name, text in wrong_seeds.damaged():
        write(folder, "checkpoint", f"damaged-config-{name}", b"\0" + text + b"\n{}")
        write(folder, "checkpoint", f"damaged-{name}", b"\1{}\n" + text)
        write(folder, "index", f"damaged-{name}", text)
    for name, files in ("folder", "a/b"), ("parent", ".."), ("empty", ""), ("number", 1):
        write(folder, "index", name, json.dumps({"weight_map": {"a": files}}).encode())


def latent_files(folder):
    """Files that the model own-v2-thw can decode."""
    for posterior in "mean", "sample", "moments":
        for kind, width in ("F32", 4), ("F16", 2):
            shape = [3, 8 if posterior == "moments" else 4, 2, 3]
            metadata = {
                "format": "wfvae-latents", "format_version": "1", "model": "0123456789abcdef",
                "encoder": "0123456789abcdef", "decoder": "0123456789abcdef", "width": "12", "height": "8",
                "padded": "false", "spatial_compression": "4", "temporal_compression": "4", "latent_channels": "4",
                "posterior": posterior, "scaled": "false", "frames": "9", "generator": "libwfvae", "fps": "30000/1001",
                "scale": "[0.6,0.9,1.2,0.75]", "shift": "[-0.4,0.29,0.06,-0.17]", "note": "a note",
            }
            if posterior == "sample":
                metadata["seed"] = "7"
            size = width * 3 * shape[1] * 6
            others = wrong_seeds.metadata(metadata) if (posterior, kind) == ("sample", "F16") else []
            for name, entries in [("right", metadata), *others]:
                tensors = {"__metadata__": entries, posterior: {"dtype": kind, "shape": shape, "data_offsets": [0, size]}}
                text = json.dumps(tensors, separators=(",", ":")).encode()
                for target in ("latent_file", "latent_decode") if entries == metadata else ("latent_file",):
                    write(folder, target, f"{posterior}-{kind}-{name}", b"\0" + text + b"\n" + bytes(range(16)))
            whole = struct.pack("<Q", len(text)) + text + bytes(size)
            write(folder, "latent_file", f"{posterior}-{kind}-file", b"\1" + whole)
    # Right in themselves, but of a model that compresses otherwise than the one that decodes them, or has other channels.
    for name, (spatial, temporal, channels) in {"spatial": (2, 4, 4), "temporal": (4, 2, 4), "channels": (4, 4, 2)}.items():
        of_other = {"spatial_compression": str(spatial), "temporal_compression": str(temporal), "latent_channels": str(channels),
                    "scale": json.dumps([1] * channels), "shift": json.dumps([0] * channels)}
        other = [1 + 8 // temporal, channels, 8 // spatial, 12 // spatial]
        size = 4 * other[0] * other[1] * other[2] * other[3]
        tensors = {"__metadata__": metadata | of_other | {"posterior": "mean"}, "mean": {"dtype": "F32", "shape": other, "data_offsets": [0, size]}}
        tensors["__metadata__"].pop("seed", None)
        write(folder, "latent_decode", f"other-{name}", b"\0" + json.dumps(tensors, separators=(",", ":")).encode() + b"\n" + bytes(range(16)))
    others = {"scaled-moments": {"moments": (metadata | {"scaled": "true"}, "F32")}, "integers": {"moments": (metadata, "I32")}}
    others["two"] = {"mean": (metadata, "F32"), "moments": (metadata, "F32")}
    for name, entries in others.items():
        tensors = {"__metadata__": entries["moments"][0]}
        for i, (tensor, (_, kind)) in enumerate(entries.items()):
            tensors[tensor] = {"dtype": kind, "shape": shape, "data_offsets": [4 * 144 * i, 4 * 144 * (i + 1)]}
        write(folder, "latent_file", name, b"\0" + json.dumps(tensors).encode())
    for name, text in wrong_seeds.damaged():
        write(folder, "latent_file", f"damaged-{name}", b"\1" + text)
    for name, text in wrong_seeds.headers():
        write(folder, "latent_file", f"header-{name}", b"\0" + text.encode())


def snapshots(folder):
    for flags, alpha in (1, b""), (2, b""), (3, b""), (15, b""), (19, None):
        frames = 2 if flags & 1 else 0
        if alpha is None:
            planes = [struct.pack("<QB", 5, 1) + bytes(4), struct.pack("<QB", 17, 2) + bytes(16)]
            track = struct.pack("<Q", 0) + b"".join(planes)
            alpha = track + struct.pack("<Q", len(track))
        body = bytes(8) + alpha
        size = 16 + 88 + len(body) + 4
        fields = [size, 1, 2, 2, 8, 8, flags, frames, 1 if flags & 2 else 0, 2**64 - 1, 0]
        data = b"WFVAESNP" + struct.pack("<II11Q", 0x01020304, 1, *fields) + body
        data += struct.pack("<I", zlib.crc32(data))
        write(folder, "snapshot", f"flags-{flags}", b"\0" + data)


def pictures(folder):
    for number in range(32):
        choices = struct.pack("<HBBBBBBB4B", 11 * number, 7 * number % 256, 5 * number, number % 4, number % 3, number & 1, number >> 1 & 1,
                              number >> 2 & 1, number, 3 * number, number % 20, number % 9)
        write(folder, "pixels", f"{number}", choices + bytes((37 * number + 11 * i) % 256 for i in range(96)))


def clips(folder):
    tags = "420jpeg 420mpeg2 420paldv 420 411 422 444 444alpha mono 420p10 422p12 444p16 mono9"
    for number, tag in enumerate(tags.split()):
        colours = ["", " XCOLORRANGE=FULL", " XCOLORRANGE=LIMITED XYSCSS=420 Xa"][number % 3]
        head = f"YUV4MPEG2 W5 H3 F30000:1001 Ip A1:1 C{tag}{colours}\n".encode()
        # More than any of these frames needs: the rest is no frame, or cut.
        frames = b"".join(b"FRAME" + mark + b"\n" + bytes((i * 37) % 256 for i in range(size)) for mark, size in ((b"", 33), (b" Ip", 90)))
        write(folder, "y4m", tag, head + frames)
    for columns, rows, tag, size in (4, 2, "420jpeg", 12), (4, 2, "444", 24), (3, 3, "mono", 9), (4, 2, "420p10", 24):
        write(folder, "y4m", f"whole-{tag}", f"YUV4MPEG2 W{columns} H{rows} F25:1 Ip A0:0 C{tag}\n".encode() + (b"FRAME\n" + bytes(range(size))) * 2)


def calls(folder):
    """Bytes that choose calls, most of them the usual ones: a stream, frames, latents, the end of the clip."""
    names = "create encode decode encode decode flush reset snapshot fork twice write_file read_file cancel set info convert destroy open"
    number = {name: index for index, name in enumerate(names.split())}
    random = Random(7)

    def record(call, *arguments):
        return bytes([number[call], *arguments]).ljust(48, b"\0")

    usual = [record("create"), record("encode", 0, 4), record("encode", 0, 8, 1), record("decode", 0, 1), record("flush", 0, 1), record("flush")]
    file = [record("write_file", 0, what, 2) for what in (0, 1, 2, 5)] + [record("read_file", 0, what) for what in (0, 1, 2, 4, 6, 7)]
    back = [record("snapshot"), record("encode", 0, 3), record("snapshot", 0, 0, 1), record("twice"), record("fork", 0, 1), record("reset")]
    for model in range(6):
        create = record("create", 0, model)
        write(folder, "calls", f"usual-{model}", b"".join([create, *usual[1:]]))
        write(folder, "calls", f"file-{model}", b"".join([create, *file, usual[1]]))
        write(folder, "calls", f"back-{model}", b"".join([create, usual[1], *back]))
    for index in range(48):
        spread = 8 if index < 24 else 256
        some = lambda: bytes(random.randrange(spread) if random.random() < 0.5 else 0 for _ in range(46))
        records = [record(random.choice(list(number)), 0, *some()) for _ in range(8)]
        write(folder, "calls", f"{index}", b"".join([record("create", 0, index % 6), *records]))


def header_rows(folder):
    for index in range(24):
        random = Random(index)
        write(folder, "header_row", f"{index}", bytes([index, index // 4]) + random.randbytes(40 * (index + 1) % 400))


def conversions(folder):
    file = GOLDEN / "own-v2-image" / "model.safetensors"
    write(folder, "convert", "header", b"\0" + header(file))
    write(folder, "convert", "index", b"\2" + json.dumps({"weight_map": dict.fromkeys(json.loads(header(file)), "a.safetensors")}).encode())
    write(folder, "convert", "config", b"\3" + (file.parent / "config.json").read_bytes())
    tensors = {"state_dict.encoder.a": [2], "ema.encoder.a": [2], "loss.b": [1]}
    entries = {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * shape[0]]} for name, shape in tensors.items()}
    write(folder, "convert", "average", b"\0" + json.dumps(entries).encode())


target = Path(sys.argv[1])
checkpoints(target)
latent_files(target)
snapshots(target)
pictures(target)
clips(target)
calls(target)
header_rows(target)
conversions(target)
