"""Times training/wfvae.py in PyTorch, eager. Two more arguments: f32, tf32 (f32 whose products a CUDA device may shorten),
f16 or bf16, for which weights and clip are cast; and cpu, or the index of a CUDA device, to which each repetition then
moves the clip, and the result from it, as libwfvae does. With --memory-format channels-last weights and clip have the
channels of a pixel side by side; with --compile a whole clip is computed by torch.compile's module.

With a CHUNK it works as upstream's own chunked mode does: the first frame, then CHUNK frames at a time; the first
latent, then CHUNK latents at a time with the next latent, if there is one, behind them, whose frames are computed to
end the interpolation rightly and thrown away. Every causal layer keeps its last frames.
"""
import sys
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

import peer

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "training"))
import wfvae  # noqa: E402


DTYPES = {"f32": torch.float32, "tf32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def set_precision(precision):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"


def channels_last(x):
    """Of a clip, or of weights of 2D or 3D convolutions; others stay."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.contiguous(memory_format=formats[x.dim()]) if x.dim() in formats else x


class Chunks:
    """Gives the layers of a model, which work on whole clips, the memory of the chunk before."""

    def __init__(self, model):
        self.model, self.kept, self.first, self.ahead = model, {}, True, 0
        for layer in model.modules():
            if isinstance(layer, wfvae.CausalConv) and layer.past:
                layer.forward = partial(self.conv, layer)
            elif isinstance(layer, wfvae.Up3D):
                layer.forward = partial(self.up, layer, layer.forward)
            elif isinstance(layer, wfvae.InverseHaar) and layer.dims == 3:
                layer.forward = partial(self.synthesis, layer)
            elif isinstance(layer, wfvae.Haar) and layer.dims == 3:
                layer.forward = partial(self.analysis, layer)

    def run(self, f, x, chunk, ahead, per_frame):
        """f of x in pieces: of one frame, then of `chunk` frames and `ahead` more, of which each makes `per_frame`."""
        self.first, self.kept = True, {}
        at, step = 0, 1
        while at < x.shape[2]:
            self.ahead = 0 if self.first else max(0, min(ahead, x.shape[2] - at - step))
            extra = self.ahead * per_frame
            y = f(x[:, :, at : at + step + self.ahead])
            yield y[:, :, : y.shape[2] - extra]
            at, step, self.first = at + step, chunk, False

    def encode(self, video, chunk):
        # Not model.encode(), which refuses what is no whole clip.
        return self.run(lambda x: self.model.encoder(x).chunk(2, 1)[0], video, chunk, 0, 0)

    def decode(self, z, chunk):
        return self.run(self.model.decode, z, chunk, 1, self.model.t_factor)

    def keep(self, layer, x, count):
        """The last frames but for those that come again."""
        end = x.shape[2] - self.ahead
        self.kept[layer] = x[:, :, end - count : end].clone()

    def conv(self, layer, x):
        x = torch.cat([x[:, :, :1]] * 2 + [x] if self.first else [self.kept[layer], x], 2)
        self.keep(layer, x, 3 - layer.conv.stride[0])
        return layer.conv(x)

    def up(self, layer, whole, x):
        if self.first:
            return whole(x)
        low, left = x, self.kept.get(layer)
        if not layer.nearest and left is not None:
            low = torch.cat([left, x], 2)
        y = F.interpolate(low, scale_factor=(1 if layer.nearest else 2, 2, 2), mode="trilinear")
        y = y.repeat_interleave(2, 2) if layer.nearest else y[:, :, 2 * (low.shape[2] - x.shape[2]) :]
        self.keep(layer, x, 1)
        self.ahead *= 2
        return layer.conv(y)

    def analysis(self, layer, x):
        return layer.transform(torch.cat([x[:, :, :1], x], 2) if self.first else x)

    def synthesis(self, layer, x):
        y = layer.transform(x)
        return y[:, :, 1:] if self.first else y


def main():
    a = peer.arguments("precision", "device", memory_format=dict(choices=["planes", "channels-last"], default="planes"),
                       compile=dict(action="store_true"))
    torch.set_num_threads(a.threads)
    torch.backends.cudnn.benchmark = True
    set_precision(a.precision)
    dtype, device = DTYPES[a.precision], torch.device("cpu" if a.device == "cpu" else f"cuda:{a.device}")
    start = time.perf_counter()
    model = wfvae.load(a.model).to(device, dtype)
    arrange = channels_last if a.memory_format == "channels-last" else lambda x: x
    for parameter in model.parameters():
        parameter.data = arrange(parameter.data)
    peer.say(event="loaded", load_seconds=time.perf_counter() - start, version=torch.__version__)
    s = model.s_factor
    shape = (3, a.height, a.width) if a.direction == "encode" else (model.config["latent_dim"], a.height // s, a.width // s)
    clip = torch.from_numpy(peer.clip(a.input, *shape))
    if device.type == "cpu":
        clip = clip.to(dtype)
    if a.chunk:
        chunks = Chunks(model)
        f = chunks.encode if a.direction == "encode" else chunks.decode
    else:
        whole = (lambda x: model.encode(x)[0]) if a.direction == "encode" else model.decode
        whole = torch.compile(whole) if a.compile else whole
        f = lambda x, _: [whole(x)]
    parts = []

    def run():
        parts.clear()
        for part in f(arrange(clip.to(device, dtype)), a.chunk):
            parts.append(part.float().cpu() if device.type == "cuda" else part)

    with torch.inference_mode():
        result = peer.measure(run, a.repetitions, a.seconds)
        peer.save(a.output, torch.cat(parts, 2).float().numpy())
    peer.finish(result)


if __name__ == "__main__":
    main()
