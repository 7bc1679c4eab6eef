"""Measures what a CUDA device can do: PyTorch's best 3x3 convolutions and matrix products in each precision, in GFLOP/s.
Arguments: device, and seconds for each of them.
"""
import sys
import time

import torch
import torch.nn.functional as F

import peer
from torch_eager import DTYPES, set_precision

# Channels and side: of the layers that a model of base width 192 has at 512x512.
SHAPES = [(192, 512), (384, 256), (768, 128)]


def best(run, gflop, seconds):
    run()
    torch.cuda.synchronize()
    fastest, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - start)
    return gflop / fastest


def main():
    device, seconds = torch.device("cuda", int(sys.argv[1])), float(sys.argv[2])
    torch.cuda.set_device(device)
    torch.backends.cudnn.benchmark = True
    peer.say(event="loaded", load_seconds=0)
    found = {}
    with torch.inference_mode():
        for precision, dtype in DTYPES.items():
            set_precision(precision)
            for channels, side in SHAPES:
                x = torch.randn(4, channels, side, side, device=device, dtype=dtype).to(memory_format=torch.channels_last)
                w = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
                found[f"{precision} {channels}x{side}x{side}"] = best(
                    lambda: F.conv2d(x, w, padding=1), 4 * 2 * 9 * channels**2 * side**2 / 1e9, seconds)
            a = torch.randn(8192, 8192, device=device, dtype=dtype)
            found[f"{precision} 8192x8192 product"] = best(lambda: a @ a, 2 * 8192**3 / 1e9, seconds)
    peer.finish(dict(gflops=found, version=torch.__version__, device=torch.cuda.get_device_name(device)))


if __name__ == "__main__":
    main()
