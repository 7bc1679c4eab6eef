"""Encodes clips with training/wfvae.py and PyTorch, as a user of a DataLoader would: datasets.py times it.

    torch_clips.py MODEL LIST OUTPUT THREADS WORKERS PRECISION

LIST has a path a line. WORKERS processes decode with PyAV; this one encodes with THREADS threads, in f32 or bf16. Writes the mean of each
clip to OUTPUT/NAME.safetensors, in float16. A clip that PyAV refuses is left out. Prints how many were encoded.
"""
import sys
from pathlib import Path

import av
import numpy as np
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "training"))
import wfvae  # noqa: E402


class Clips(torch.utils.data.Dataset):
    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        try:
            with av.open(self.paths[index]) as file:
                frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
            clip = torch.from_numpy(np.stack(frames))
        except (av.FFmpegError, ValueError, IndexError):
            return index, None
        return index, clip


def pad(clip, factor):
    height, width = clip.shape[-2:]
    return torch.nn.functional.pad(clip, (0, -width % factor, 0, -height % factor, 0, 0), mode="replicate")


def main():
    model, listed, output, threads, workers, precision = sys.argv[1:]
    torch.set_num_threads(int(threads))
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]
    network = wfvae.load(model).to(dtype)
    paths = Path(listed).read_text().splitlines()
    loader = torch.utils.data.DataLoader(Clips(paths), batch_size=None, num_workers=int(workers))
    done = 0
    with torch.inference_mode():
        for index, clip in loader:
            if clip is None:
                continue
            video = clip.permute(3, 0, 1, 2)[None].to(dtype) / 127.5 - 1
            if (video.shape[2] - 1) % network.t_factor:
                # The network takes whole groups of frames.
                more = -(video.shape[2] - 1) % network.t_factor
                video = torch.cat([video, video[:, :, -1:].expand(-1, -1, more, -1, -1)], 2)
            mean, _ = network.encode(pad(video, network.s_factor))
            save_file({"mean": mean[0].half().transpose(0, 1).contiguous()}, f"{output}/{Path(paths[index]).stem}.safetensors")
            done += 1
    print(done)


if __name__ == "__main__":
    main()
