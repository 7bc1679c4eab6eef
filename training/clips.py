"""Training clips without end: cuts from real clips, and made-up camera and object motion over photographs.

The few real clips that are free teach too little motion, so most clips are put together: a photograph seen by a moving
camera (pan, zoom, turn, shake), others moving before it behind soft masks, cuts, fades, motion blur, defocus, noise.
"""
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageSequence

LUMA = torch.tensor([0.299, 0.587, 0.114])


def read(path):
    """uint8 [frames, height, width, 3] of what fetch_data.py or pack.py wrote."""
    if path.suffix == ".npy":
        return torch.from_numpy(np.load(path))
    with Image.open(path) as image:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
    return torch.from_numpy(np.stack(frames))


class Source:
    """A clip or photograph at full, half, quarter and eighth size."""

    def __init__(self, path):
        self.levels = [read(path)]
        while len(self.levels) < 4 and min(self.levels[-1].shape[1:3]) >= 256:
            x = self.levels[-1]
            x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
            half = torch.empty(x.shape[0], x.shape[1] // 2, x.shape[2] // 2, 3, dtype=torch.uint8)
            for i, frame in enumerate(x):  # one at a time: a clip as floats would not fit
                half[i] = frame.float().unflatten(0, (-1, 2)).unflatten(2, (-1, 2)).mean((1, 3)).round().byte()
            self.levels.append(half)
        self.frames = len(self.levels[0])


def load_sources(folder):
    """Every clip and photograph of a folder."""
    paths = sorted(p for p in Path(folder).glob("*") if p.suffix in (".npy", ".avif"))
    with ThreadPoolExecutor() as pool:
        sources = list(pool.map(Source, paths))
    if {source.frames > 1 for source in sources} != {False, True}:
        raise FileNotFoundError(f"{folder}: wants clips and photographs, as .npy or .avif; run fetch_data.py or pack.py first")
    return sources


class Clips(torch.utils.data.IterableDataset):
    """Batches of clips as uint8 [clips, 3, frames, height, width]; every batch has its own size."""

    # (share of the batches, clips, frames, side): about the same number of pixels each
    SHAPES = [(0.10, 6, 1, 128), (0.30, 6, 9, 64), (0.25, 3, 9, 96), (0.20, 3, 17, 64), (0.15, 1, 17, 112)]

    def __init__(self, sources, seed, batch=1):
        self.seed, self.batch = seed, batch
        self.videos = [s for s in sources if s.frames > 1]
        self.photographs = [s for s in sources if s.frames == 1]
        areas = np.array([math.sqrt(s.levels[0].shape[1] * s.levels[0].shape[2]) for s in self.photographs])
        self.weights = areas / areas.sum()

    def __iter__(self):
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        self.random = np.random.default_rng([self.seed, worker.id if worker else 0])
        shares = np.array([shape[0] for shape in self.SHAPES])
        while True:
            _, count, frames, side = self.SHAPES[self.random.choice(len(shares), p=shares / shares.sum())]
            yield torch.stack([self.clip(frames, side) for _ in range(count * self.batch)])

    def chance(self, p):
        return self.random.random() < p

    def between(self, low, high):
        return self.random.uniform(low, high)

    def log_between(self, low, high):
        return math.exp(self.random.uniform(math.log(low), math.log(high)))

    def clip(self, frames, side):
        x = self.scene(frames, side)
        if x.std() < 8 and self.chance(0.8):  # flat areas are learnt soon
            x = self.scene(frames, side)
        if frames > 1 and self.chance(0.07):  # a cut
            at = self.random.integers(1, frames)
            x = torch.cat([x[:at], self.scene(frames, side)[: frames - at]])
        x = self.colour(x)
        return x.clamp(0, 255).round().byte().permute(3, 0, 1, 2)

    def scene(self, frames, side):
        if self.chance(0.3):
            x = self.video(frames, side)
        else:
            x = self.layer(frames, side, None)
        layers = self.random.choice([0, 1, 2], p=[0.6, 0.3, 0.1])
        for _ in range(layers):
            pixels, mask = self.layer(frames, side, self.mask)
            x = x + (pixels - x) * mask
        return x

    def video(self, frames, side):
        source = self.videos[self.random.choice(len(self.videos))]
        x = source.levels[self.level(source)]
        step = min(self.random.choice([1, 1, 1, 2, 3]), (source.frames - 1) // max(frames - 1, 1))
        first = self.random.integers(0, source.frames - step * (frames - 1))
        top, left = (self.random.integers(0, n - side + 1) for n in x.shape[1:3])
        x = x[first : first + step * (frames - 1) + 1 : step, top : top + side, left : left + side].float()
        if self.chance(0.5):
            x = x.flip(0)
        return self.flip(x)

    def level(self, source):
        """Most often the smallest ones: large photographs are smooth from pixel to pixel, video seldom is."""
        weights = np.arange(1.0, len(source.levels) + 1)
        return self.random.choice(len(weights), p=weights / weights.sum())

    def flip(self, x):
        if self.chance(0.5):
            x = x.flip(2)
        if self.chance(0.2):
            x = x.flip(1)
        if self.chance(0.2):
            x = x.transpose(1, 2)
        return x

    def path(self, frames, fastest):
        """Places over time: steady, with some acceleration and shake, in pixels."""
        t = torch.arange(frames, dtype=torch.float32)
        speed = 0 if self.chance(0.15) else self.log_between(0.05, fastest)
        angle = self.between(0, 2 * math.pi)
        turn = self.between(-0.05, 0.05)
        steps = torch.stack([torch.cos(angle + turn * t), torch.sin(angle + turn * t)]) * speed
        steps *= 1 + self.between(-0.04, 0.04) * t
        if self.chance(0.3):
            steps += torch.from_numpy(self.random.normal(0, self.log_between(0.1, 1.5), (2, frames))).float()
        return steps.cumsum(1) - steps.sum(1, keepdim=True) / 2

    def layer(self, frames, side, mask):
        """A photograph in motion, [frames, side, side, 3]; with `mask` also a mask that moves with it."""
        source = self.photographs[self.random.choice(len(self.photographs), p=self.weights)]
        level = self.level(source)
        # Above 1: magnified, so out of focus
        magnified = self.log_between(1, 4) if self.chance(0.15) else self.log_between(0.75, 1.2)
        pixels = source.levels[level][0]
        parts = 3 if frames > 1 and self.chance(0.25) else 1  # motion blur
        count = frames * parts
        centre = self.path(count, 16) / parts
        zoom = magnified * torch.exp(torch.linspace(-0.5, 0.5, count) * frames * self.random.normal(0, 0.008))
        angle = self.random.normal(0, 0.3) + torch.linspace(-0.5, 0.5, count) * frames * self.random.normal(0, 0.008)
        places = torch.arange(side) - (side - 1) / 2
        v, u = torch.meshgrid(places, places, indexing="ij")
        # Coordinates in the photograph relative to where the layer's middle lies
        u, v = u - centre[0].view(-1, 1, 1), v - centre[1].view(-1, 1, 1)
        c, s = (torch.cos(angle) / zoom).view(-1, 1, 1), (torch.sin(angle) / zoom).view(-1, 1, 1)
        x, y = u * c - v * s, u * s + v * c
        covered = mask(x, y, side) if mask else None
        height, width = pixels.shape[:2]
        x, y = (n + self.between(0.15, 0.85) * size for n, size in ((x, width), (y, height)))
        x, y = reflect(x, width), reflect(y, height)
        left, top = int(x.min()), int(y.min())
        crop = pixels[top : int(y.max()) + 2, left : int(x.max()) + 2].permute(2, 0, 1).float()
        grid = torch.stack([(x - left) * 2 / max(crop.shape[2] - 1, 1) - 1, (y - top) * 2 / max(crop.shape[1] - 1, 1) - 1], 3)
        # Bicubic: linear sampling would take the finest detail away
        out = F.grid_sample(crop[None], grid.reshape(1, count * side, side, 2), "bicubic", "border", align_corners=True)
        out = out[0].view(3, count, side, side).permute(1, 2, 3, 0)
        out = out.unflatten(0, (frames, parts)).mean(1)
        if mask is None:
            return self.flip(out)
        return out, covered.unflatten(0, (frames, parts)).mean(1)[..., None]

    def mask(self, x, y, side):
        """Of a disc, a half-plane, a bar, or a box: 1 inside, 0 outside, soft at the edge."""
        angle, softness = self.between(0, 2 * math.pi), self.log_between(0.5, 4)
        offset = self.random.normal(0, side / 6, 2)
        a = (x - offset[0]) * math.cos(angle) + (y - offset[1]) * math.sin(angle)
        b = (y - offset[1]) * math.cos(angle) - (x - offset[0]) * math.sin(angle)
        size, other = self.log_between(side / 16, side / 2), self.log_between(side / 16, side / 2)
        kind = self.random.integers(0, 4)
        if kind == 0:
            inside = size - torch.sqrt(a * a + (b * size / other) ** 2)
        elif kind == 1:
            inside = a
        elif kind == 2:
            inside = size / 4 - a.abs()
        else:
            inside = torch.minimum(size - a.abs(), other - b.abs())
        return torch.sigmoid(inside / softness * 3)

    def colour(self, x):
        if self.chance(0.05):
            x = x[..., torch.from_numpy(self.random.permutation(3))]
        if self.chance(0.35):  # contrast, brightness, saturation, tint
            grey = (x @ LUMA)[..., None]
            x = grey + (x - grey) * self.between(0.2, 1.4)
            gain = torch.tensor([self.between(0.9, 1.1) for _ in range(3)]) * self.log_between(0.4, 1.3)
            x = x * gain + self.random.normal(0, 12)
        if len(x) > 1 and self.chance(0.07):  # a fade or a flash
            ramp = torch.linspace(self.between(0.4, 1.1), self.between(0.4, 1.1), len(x))
            x = x * ramp.view(-1, 1, 1, 1)
        if self.chance(0.15):
            x = x + torch.from_numpy(self.random.normal(0, self.log_between(0.5, 5), x.shape)).float()
        if self.chance(0.7):  # chroma at half the size, as in nearly all video
            luma = (x @ LUMA)[..., None]
            chroma = (x - luma).permute(0, 3, 1, 2)
            chroma = F.interpolate(F.avg_pool2d(chroma, 2), scale_factor=2, mode="bilinear")
            x = luma + chroma.permute(0, 2, 3, 1)
        return x


def reflect(x, size):
    """Mirrors coordinates at the picture's edges."""
    x = x.remainder(2 * (size - 1))
    return torch.where(x > size - 1, 2 * (size - 1) - x, x)
