"""Measures how well a model reconstructs the test clips, which were not used in training: `make eval`.

    evaluate.py MODEL [--data DIR] [--pictures DIR] [--clips NAME ...]

MODEL is a checkpoint folder. Each clip goes through libwfvae (latent = posterior mean, 8-bit pixels in and out) as a whole,
streamed frame by frame, in float16, and in bfloat16 where the CPU has a matrix unit ("-" where not). Two simple codecs that keep the same number of values are measured beside it: block
DCT, with the coefficients that suit the clip best, and reduced size. PSNR is over all samples of a clip, SSIM the mean of its
frames. Visible artefacts: grid is the error's power at the borders of 8x8 blocks divided by that inside them (1: no grid);
pulse is the PSNR in dB of the best frame of a group of four minus that of the worst, by their index in the group; colour is the
largest error of a channel's mean, of 255. The last line is the mean of the four clips at their listed size, whole, float32.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.fft import dctn, idctn
from skimage.metrics import structural_similarity

from fetch_data import TEST, TEST_LARGE

ROOT = Path(__file__).parent.parent
BENCH = ROOT / "target/release/c/bench"
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def psnr(a, b):
    error = np.mean(np.square(a.astype(np.float64) - b))
    return 10 * np.log10(255 ** 2 / error) if error else float("inf")


def ssim(a, b):
    options = dict(channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    return float(np.mean([structural_similarity(x, y, **options) for x, y in zip(a, b)]))


def artefacts(clip, result):
    error = result.astype(np.float64) - clip
    power = np.square(error).mean(3)
    at_border = [np.isin(np.arange(n) % 8, (0, 7)) for n in power.shape[1:]]
    border = at_border[0][:, None] | at_border[1]
    # The picture's own edge is no part of a grid
    inner = power[:, 8:-8, 8:-8]
    border = border[8:-8, 8:-8]
    places = [power[1 + i::4].mean() for i in range(4)]
    colour = np.abs(error.mean((0, 1, 2))).max()
    return inner[:, border].mean() / inner[:, ~border].mean(), 10 * np.log10(max(places) / min(places)), colour


def to_8_bit(x):
    return np.clip(np.round(x), 0, 255).astype(np.uint8)


def reconstruct(model, clip, chunk=0, precision="f32"):
    """Frames [T, H, W, 3] through the library and back, `chunk` frames and latents a call (0: all at once); None if the CPU
    lacks what the precision takes."""
    frames, height, width, _ = clip.shape
    with tempfile.TemporaryDirectory() as folder:
        pixels, latents, out = (str(Path(folder) / name) for name in ("in", "latents", "out"))
        (clip.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1).tofile(pixels)
        for direction, source, target in (("encode", pixels, latents), ("decode", latents, out)):
            command = [BENCH, "-F", precision, model, direction, frames, width, height, chunk, 0, 1, 0, source, target]
            run = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True)
            if precision == "bf16" and "no matrix unit" in run.stderr:
                return None
            if run.returncode:
                sys.exit(run.stderr.strip())
        y = np.fromfile(out, np.float32).reshape(frames, 3, height, width).transpose(0, 2, 3, 1)
    return to_8_bit((y + 1) * 127.5)


def in_blocks(clip):
    """[blocks, 3, 4, 8, 8] of luma and chroma; the first frame stands four times, as it has a latent of its own."""
    x = np.concatenate([clip[:1]] * 3 + [clip]).astype(np.float64) @ TO_YCC.T
    t, h, w, _ = x.shape
    return x.reshape(t // 4, 4, h // 8, 8, w // 8, 8, 3).transpose(0, 2, 4, 6, 1, 3, 5)


def block_dct(clip, values):
    blocks = dctn(in_blocks(clip), axes=(4, 5, 6), norm="ortho")
    energy = np.square(blocks).mean((0, 1, 2)).ravel()
    kept = np.zeros(energy.size, bool)
    kept[np.argsort(-energy)[:values]] = True
    x = idctn(blocks * kept.reshape(blocks.shape[3:]), axes=(4, 5, 6), norm="ortho").transpose(0, 4, 1, 5, 2, 6, 3)
    t, _, h, _, w = x.shape[:5]
    x = x.reshape(t * 4, h * 8, w * 8, 3) @ np.linalg.inv(TO_YCC).T
    return to_8_bit(x)[3:]


def reduced(clip, values):
    """The mean of each four frames, smaller by bicubic scaling until as many values are left, and back."""
    t, h, w, _ = clip.shape
    scale = 8 / (values / 3) ** 0.5
    size = max(1, round(w / scale)), max(1, round(h / scale))
    groups = [clip[:1], *(clip[i:i + 4] for i in range(1, t, 4))]
    out = []
    for group in groups:
        small = Image.fromarray(to_8_bit(group.mean(0))).resize(size, Image.Resampling.BICUBIC)
        out += [np.asarray(small.resize((w, h), Image.Resampling.BICUBIC))] * len(group)
    return np.stack(out)


def picture(clip, result, path):
    """A middle frame: the original, the reconstruction, and four times the difference."""
    i = len(clip) // 2
    difference = np.clip(np.abs(clip[i].astype(int) - result[i]) * 4, 0, 255).astype(np.uint8)
    Image.fromarray(np.concatenate([clip[i], result[i], difference], 0 if clip.shape[2] > clip.shape[1] else 1)).save(path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", nargs="?", type=Path, default=ROOT / "src/model/builtin")
    p.add_argument("--data", type=Path, default=ROOT / "target/training/data/test", help="written by fetch_data.py")
    p.add_argument("--pictures", type=Path, default=ROOT / "target/eval")
    p.add_argument("--clips", nargs="+", default=[*TEST, *TEST_LARGE])
    options = p.parse_args()
    config = json.loads((options.model / "config.json").read_text())
    channels = config["latent_dim"]
    options.pictures.mkdir(parents=True, exist_ok=True)
    print(f"{options.model}: {channels} values for every 4x8x8 pixels; PSNR in dB")
    print(f"{'clip':<14}{'size':>9}{'whole':>8}{'streamed':>10}{'f16':>8}{'bf16':>8}{'SSIM':>8}{'DCT':>8}{'reduced':>9}{'over DCT':>10}"
          f"{'grid':>7}{'pulse':>7}{'colour':>8}")
    scores = []
    for name in options.clips:
        path = options.data / f"{name}.npy"
        if not path.exists():
            sys.exit(f"{path} is missing: run training/fetch_data.py --test")
        clip = np.load(path)
        ways = {}, {"chunk": 1}, {"precision": "f16"}, {"precision": "bf16"}
        whole, streamed, half, brain = (reconstruct(options.model, clip, **how) for how in ways)
        brain = "-" if brain is None else f"{psnr(clip, brain):.2f}"
        row = psnr(clip, whole), ssim(clip, whole)
        dct, small = psnr(clip, block_dct(clip, channels)), psnr(clip, reduced(clip, channels))
        size = f"{clip.shape[2]}x{clip.shape[1]}"
        print(f"{name:<14}{size:>9}{row[0]:8.2f}{psnr(clip, streamed):10.2f}{psnr(clip, half):8.2f}{brain:>8}{row[1]:8.4f}{dct:8.2f}{small:9.2f}{row[0] - dct:+10.2f}"
              "{:7.2f}{:7.2f}{:8.2f}".format(*artefacts(clip, whole)), flush=True)
        picture(clip, whole, options.pictures / f"{name}.png")
        if name in TEST:
            scores.append(row)
    mean = np.mean(scores, 0)
    print(f"pictures: {options.pictures}")
    print(f"mean PSNR {mean[0]:.2f} dB SSIM {mean[1]:.4f}")


if __name__ == "__main__":
    main()
