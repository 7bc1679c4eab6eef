"""Files as training/convert.py gets them, with atheris: a .safetensors file, an index, a config. Whatever they hold, it converts them
or refuses them with a text; any other exception is a finding."""

import pathlib
import shutil
import struct
import sys
import tempfile

import atheris

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "training"))
with atheris.instrument_imports(include=["convert", "random_checkpoint"]):
    import convert

GOLDEN = ROOT / "tests/golden/own-v2-image"
CONFIG = (GOLDEN / "config.json").read_bytes()
WEIGHTS = (GOLDEN / "model.safetensors").read_bytes()
FOLDER = pathlib.Path(tempfile.mkdtemp())
convert.find_library = lambda named: (None, None)
# One that takes minutes is a finding of its own: only small ones are compared.
convert.sync = lambda folder: None


def safetensors(text):
    """A header of so many bytes, and zeros for its data."""
    return struct.pack("<Q", len(text)) + text + bytes(4096)


def one_input(data):
    kind, data = (data[0] if data else 0) % 4, data[1:]
    config, name, content = CONFIG, "model.safetensors", WEIGHTS
    if kind == 0:
        content = safetensors(data)
    elif kind == 1:
        content = data
    elif kind == 2:
        name, content = "model.safetensors.index.json", data
    else:
        config = data
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    (FOLDER / "config.json").write_bytes(config)
    (FOLDER / name).write_bytes(content)
    if kind == 2:
        (FOLDER / "a.safetensors").write_bytes(WEIGHTS)
    try:
        for line in convert.convert(FOLDER / name, FOLDER / "out"):
            line.encode()
    except convert.Refused as e:
        assert str(e)
    except OSError as e:
        assert e.strerror, e


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
