"""Packs the training data of fetch_data.py into few megabytes, for a machine without a network: `pack.py`.

Writes one .avif per clip and photograph, smaller and a little coarser than what fetch_data.py left. train.py --data reads
either; the machine that trains needs pillow for it and nothing else beside torch, numpy, safetensors, matplotlib and tqdm.
"""
import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, default="target/training/data/train")
    p.add_argument("--out", type=Path, default="target/training/pack")
    p.add_argument("--side", type=int, default=1280, help="longest")
    p.add_argument("--frames", type=int, default=200, help="of each clip, at most")
    p.add_argument("--quality", type=int, default=85)
    options = p.parse_args()
    paths = sorted(options.data.glob("*.npy"))
    if not paths:
        sys.exit(f"{options.data}: no .npy files; run fetch_data.py first")
    options.out.mkdir(parents=True, exist_ok=True)

    def pack(path):
        frames = [Image.fromarray(frame) for frame in np.load(path, mmap_mode="r")[: options.frames]]
        for frame in frames:
            frame.thumbnail((options.side, options.side), Image.Resampling.LANCZOS)
        out = options.out / f"{path.stem}.avif"
        frames[0].save(out, quality=options.quality, speed=8, save_all=True, append_images=frames[1:])
        return out.stat().st_size

    with ThreadPoolExecutor() as pool:
        size = sum(tqdm(pool.map(pack, paths), total=len(paths)))
    print(f"{options.out}: {len(paths)} files, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
