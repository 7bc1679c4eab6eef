"""Encodes and decodes a small clip with the built-in model."""

import numpy as np
import wfvae

t, y, x, c = np.meshgrid(np.arange(5), np.arange(48), np.arange(64), np.arange(3), indexing="ij")
video = (127 + 80 * np.sin(0.1 * x + 0.2 * t + c) * np.cos(0.1 * y)).astype(np.uint8)
model = wfvae.Model()
decoded = model.decode(model.encode(video), frames=len(video))
error = np.mean((decoded.astype(float) - video) ** 2)
print(f"wfvae {wfvae.__version__}, ONNX Runtime {model.info.runtime_path}, psnr {10 * np.log10(255**2 / error):.2f} dB")
assert decoded.shape == video.shape and error < 60
