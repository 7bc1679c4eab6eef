"""Seeds that are wrong in one place, so that the fuzz targets begin with every refusal: configs, headers of safetensors files, files that
are something else."""

import json

MODELS = "v1-tiny", "v2-tiny", "own-cv-layernorm"
VALUES = None, True, False, -1, 0, 1, 3, 1.5, 1 << 20, 1 << 40, "x", [], ["x"], [-1], [1], [0.5] * 70, ["hw"] * 4, ["Downsample"] * 70, {"a": 1}
NAMES = (
    "AttnBlock3D AttnBlock3DFix AttnBlock2D Attention3DFix CausalConv3d_GC Conv2d ResnetBlock2D Downsample Upsample "
    "HaarWaveletTransform2D Spatial2xTime2x3DDownsample Spatial2xTime2x3DUpsample SpatialUpsample2x layernorm nearest image"
).split()
# Fields that configs may have beside their family's, or have by mistake.
OTHERS = (
    "scaling_factor shift_factor latents_mean latents_std out_channels in_channels norm_eps norm_num_groups lr act_fn use_quant_layer resolution "
    "Base-Channels laten_dim unknown_field base_channels hidden_size layer_type attn_resolutions double_z norm_type"
).split()


def of_names(value):
    return isinstance(value, str) or isinstance(value, list) and isinstance((value + [0])[0], str)


def levels(count, down, up):
    """Of a CausalVAE, each of half the size."""
    lists = {"hidden_size_mult": 1, "encoder_spatial_downsample": "Downsample", "decoder_spatial_upsample": "Upsample", "encoder_temporal_downsample": down, "decoder_temporal_upsample": up}
    lists |= {"encoder_resnet_blocks": "ResnetBlock2D", "decoder_resnet_blocks": "ResnetBlock2D"}
    return {name: [value] * count for name, value in lists.items()}


def configs(golden):
    """Configs of each family with one field that is another value, or missing, or new."""
    for model in MODELS:
        config = json.loads((golden / model / "config.json").read_text())
        for field in [*config, *OTHERS]:
            known = config.get(field)
            names = [[name] * len(known) if isinstance(known, list) else name for name in NAMES] if of_names(known) else []
            longer = [known + known, known[:1], known[:-1] + [2 * known[-1]]] if isinstance(known, list) and known else []
            for number, value in enumerate([*(VALUES if field in config else VALUES[::3]), *names, *longer]):
                yield f"{model}-{field}-{number}", {**config, field: value}
            yield f"{model}-no-{field}", {name: value for name, value in config.items() if name != field}
        several = {"attends": {"attn_resolutions": [256, 128, 64], "resolution": 256}, "legacy": {"attention_type": "AttnBlock3D", "use_attention": False}}
        several |= {"wide": {"hidden_size": 1 << 16, "hidden_size_mult": [4]}, "levels": levels(40, "TimeDownsample2x", "TimeUpsample2x"), "halvings": levels(20, "", "")}
        several |= {"zero": {"scale": [0.0], "shift": [0.0]}}
        for name, fields in several.items():
            yield f"{model}-{name}", {**config, **fields}
        yield f"{model}-other-scale", {**{name: value for name, value in config.items() if name not in ("scale", "shift")}, "scaling_factor": 1}
        yield f"{model}-inside", {"vae": config}
        yield f"{model}-unnamed", {name: value for name, value in config.items() if name != "_class_name"}


def headers():
    """Headers of safetensors files."""
    one = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}

    def but(**fields):
        return {**one, **fields}

    wrong = {
        "end-first": but(data_offsets=[4, 0]), "behind": but(data_offsets=[0, 1 << 40]), "gap": but(data_offsets=[4, 8]), "large": but(shape=[1 << 40, 1 << 40]),
        "other-size": but(shape=[2]), "axes": but(shape=[1] * 70), "axis": but(shape=[-1]), "shape": but(shape="x"), "type": but(dtype=1),
        "long-type": but(dtype="F" * 2000), "unknown-type": but(dtype="F8_E4M3"), "three": but(data_offsets=[0, 4, 8]), "list": [], "more": but(x=1),
    }
    for name, tensor in wrong.items():
        yield name, json.dumps({"a": tensor})
    yield "overlap", json.dumps({"a": but(shape=[2], data_offsets=[0, 8]), "b": but(data_offsets=[4, 8])})
    yield "between", json.dumps({"a": one, "b": but(data_offsets=[8, 12])})
    yield "long-name", json.dumps({"a" * 2000: one})
    yield "twice", '{"a":' + json.dumps(one) + ',"a":' + json.dumps(one) + "}"
    yield "metadata-twice", '{"__metadata__":{},"__metadata__":{}}'
    yield "no-object", "[1]"


def wavelets(golden):
    """Configs and headers with what else models store: wavelets, whose values are zeros here, and layers that the config does not count."""
    bands = "h g hh gh h_v g_v hh_v gh_v".split()

    def header(names, shape):
        size = 4
        for side in shape:
            size *= side
        return {name: {"dtype": "F32", "shape": shape, "data_offsets": [i * size, (i + 1) * size]} for i, name in enumerate(names)}

    for model in "v1-tiny", "v2-tiny":
        config = json.loads((golden / model / "config.json").read_text())
        config.pop("connect_res_layer_num", None)
        for place in "encoder.wavelet_transform_in encoder.wavelet_transform_l1 encoder.wavelet_transform_l2 decoder.inverse_wavelet_transform_out".split():
            names = [f"{place}.{band}" for band in bands]
            for kind, some, shape in ("all", names, [1, 1, 2, 2, 2]), ("some", names[:3], [1, 1, 2, 2, 2]), ("shape", names, [1, 2, 2, 2]):
                yield f"{model}-{place}-{kind}", json.dumps(config), json.dumps(header(some, shape))
        yield f"{model}-connect", json.dumps(config), json.dumps(header(["decoder.connect_l1.3.x", "decoder.connect_l1.99999999999999999999.x"], [1]))
    yield "unnamed-list", '{"base_channels":[1,1]}', "{}"


def damaged():
    """Files that are no JSON, or not only."""
    texts = {
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "pickle": b"PK\x03\x04 data.pkl", "old-pickle": b"\x80\x02}q\0.", "zip": b"PK\x03\x04",
        "7z": b"7z\xbc\xaf\x27\x1c", "gzip": b"\x1f\x8b\x08", "xz": b"\xfd7zXZ\0", "bzip2": b"BZh9", "zstd": b"\x28\xb5\x2f\xfd", "gguf": b"GGUF\3\0", "hdf": b"\x89HDF\r\n",
        "utf-16": '{"a": 1}'.encode("utf-16"), "zeros": bytes(80), "html": b"<!DOCTYPE html><html>", "xml": b"<?xml version='1.0'?>", "text": b"Not found",
        "cut-text": "\N{BULLET}".encode() * 30, "empty": b"", "spaces": b" \n ", "bom": b"\xef\xbb\xbf{}", "list": b"[1]", "latin-1": b'{"a": "\xe9"}', "nul": b'{"a": "\0"}',
        "cut": b'{"a": [1, ', "comment": b'{"a": 1, // one\n}', "hash": b'{"a": 1, # one\n}', "quotes": b"{'a': 1}", "nan": b'{"a": {"b": [1, NaN]}}', "none": b'{"a\\"b": None}',
        "no-json": b'{"a": b}', "twice": b'{"a": 1, "a": 2}', "twice-same": b'{"a": 1, "a": 1}', "deep": b"[" * 200,
    }
    yield from texts.items()


def metadata(right):
    """Those of latent files with one entry that is another text, or missing."""
    values = "", "x", "0", "-1", "1", "2", "3", "1000000", "99999999999999999999", "true", "false", "[]", "[1]", "[0,0,0,0]", "[1e999,1,1,1]", "1/0", "0/1", "1/2/3", "y" * 5000
    for field in right:
        for number, value in enumerate([*values, "moments", "mean", "sample"]):
            yield f"{field}-{number}", {**right, field: value}
        yield f"no-{field}", {name: value for name, value in right.items() if name != field}
