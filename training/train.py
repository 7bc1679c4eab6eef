"""Trains a WF-VAE of the first generation on the clips of fetch_data.py: `train.py --minutes 100`.

Starts anew, or goes on from RUN/state.pt if that exists; an interrupted run loses at most a few minutes. Every save also
writes the averaged weights as a checkpoint folder that the library opens, RUN/model, RUN/log.csv and RUN/curve.png.
"""
import argparse
import copy
import csv
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tqdm import tqdm

import wfvae
from clips import Clips
from optimizer import make_optimizers

CONFIG = {
    "_class_name": "WFVAEModel", "_diffusers_version": "0.30.2", "latent_dim": 16, "base_channels": 16,
    "encoder_num_resblocks": 2, "decoder_num_resblocks": 4, "encoder_energy_flow_hidden_size": 16,
    "decoder_energy_flow_hidden_size": 16, "attention_type": "AttnBlock3DFix", "use_attention": False,
    "connect_res_layer_num": 1, "dropout": 0.0, "norm_type": "layernorm", "t_interpolation": "trilinear",
    "l1_dowmsample_block": "Downsample", "l1_downsample_wavelet": "HaarWaveletTransform2D",
    "l1_upsample_block": "Upsample", "l1_upsample_wavelet": "InverseHaarWaveletTransform2D",
    "l2_dowmsample_block": "Spatial2xTime2x3DDownsample", "l2_downsample_wavelet": "HaarWaveletTransform3D",
    "l2_upsample_block": "Spatial2xTime2x3DUpsample", "l2_upsample_wavelet": "InverseHaarWaveletTransform3D",
}
SAVE_SECONDS = 180
MEASURED_BATCHES = 200


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, default="target/training/data/train")
    p.add_argument("--run", type=Path, default="target/training/run")
    p.add_argument("--minutes", type=float, default=112, help="of training in all; the learning rate falls over them")
    p.add_argument("--lr", type=float, default=2e-3, help="at its highest")
    p.add_argument("--init", type=Path, help="a checkpoint folder to start from; residual blocks that it lacks start as identity")
    p.add_argument("--config", type=json.loads, default={}, help='changes to the built-in config: \'{"base_channels": 24}\'')
    p.add_argument("--kl", type=float, default=1e-6)
    p.add_argument("--wavelet", type=float, default=0.02)
    p.add_argument("--l1", type=float, default=0.05)
    p.add_argument("--average", type=float, default=0.999, help="decay of the weights' moving average")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--threads", type=int)
    return p.parse_args()


def start_from(model, folder):
    """Copies the weights of `folder`. Blocks that it lacks change nothing at first."""
    old = wfvae.load(folder)
    extra = {side: model.config[f"{side}_num_resblocks"] - old.config[f"{side}_num_resblocks"] for side in ("encoder", "decoder")}
    had = {side: old.config[f"{side}_num_resblocks"] for side in extra}
    # Where each chain's repeated blocks end
    ends = {"encoder.down1": 1 + had["encoder"], "encoder.down2": 1 + had["encoder"],
            "decoder.up2": had["decoder"], "decoder.up1": had["decoder"]}
    state = {}
    for key, value in old.state_dict().items():
        chain = ".".join(key.split(".")[:2])
        if chain in ends:
            index = int(key.split(".")[2])
            if index >= ends[chain]:
                index += extra[chain.split(".")[0]]
            key = ".".join([chain, str(index), *key.split(".")[3:]])
        state[key] = value
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected:
        raise ValueError(f"{folder}: does not fit the config: {unexpected[:4]}")
    for chain, end in ends.items():
        for index in range(end, end + extra[chain.split(".")[0]]):
            block = model.get_submodule(f"{chain}.{index}")
            torch.nn.init.zeros_(block.conv2.conv.weight if hasattr(block.conv2, "conv") else block.conv2.weight)
            torch.nn.init.zeros_(block.conv2.conv.bias if hasattr(block.conv2, "conv") else block.conv2.bias)


class Coefficients:
    """The wavelet coefficients that the encoder computed and the decoder predicted in the last pass, level by level."""

    def __init__(self, model):
        self.true, self.predicted = {}, {}
        for level in ("l1", "l2"):
            down = getattr(model.encoder, f"wavelet_transform_{level}")
            down.register_forward_hook(lambda _, __, out, level=level: self.true.update({level: out}))
            up = getattr(model.decoder, f"inverse_wavelet_transform_{level}")
            up.register_forward_pre_hook(lambda _, inputs, level=level: self.predicted.update({level: inputs[0]}))

    def loss(self):
        return sum((self.predicted[level].float() - self.true[level]).abs().mean() for level in self.true)


def losses(model, coefficients, clips, options):
    """The paper's L1, KL and wavelet terms, and the root mean square error of each clip, which is what PSNR ranks by."""
    mean, logvar = model.encode(clips)
    mean, logvar = mean.float(), logvar.float()
    z = mean + (logvar / 2).exp() * torch.randn_like(mean)
    error = model.decode(z).float() - clips
    squares = error.square().mean((1, 2, 3, 4))
    kl = (mean.square() + logvar.exp() - 1 - logvar).mean() / 2
    total = (squares + 1e-5).sqrt().mean() + options.l1 * error.abs().mean()
    total = total + options.kl * kl + options.wavelet * coefficients.loss()
    return total, (10 * torch.log10(4 / (squares.detach() + 1e-6))).mean(), kl.detach()


def save_model(model, folder, data, seed, device):
    """The checkpoint folder, with each latent channel's measured shift (its mean) and scale (one over its deviation)."""
    latents = []
    with torch.no_grad():
        for _, clips in zip(range(MEASURED_BATCHES), Clips(data, seed)):
            latents.append(model.encode(clips.to(device))[0].transpose(0, 1).flatten(1).cpu())
    z = torch.cat(latents, 1)
    config = {k: v for k, v in model.config.items() if k in CONFIG}
    config["scale"] = [round(float(v), 4) for v in 1 / z.std(1)]
    config["shift"] = [round(float(v), 4) for v in z.mean(1)]
    folder.mkdir(parents=True, exist_ok=True)
    half = {k: v.half().cpu() if "wavelet_transform" not in k else v.cpu() for k, v in model.state_dict().items()}
    save_file({k: v.contiguous() for k, v in half.items()}, folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def draw(log, path):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    with open(log) as f:
        rows = list(csv.DictReader(f))
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4))
    minutes = [float(r["minutes"]) for r in rows]
    for axis, name in zip(axes, ("psnr", "loss")):
        axis.plot(minutes, [float(r[name]) for r in rows])
        axis.set(xlabel="minutes", title=f"{name} on training clips")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def main():
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    model = wfvae.from_config({**CONFIG, **options.config}).to(device)
    if options.init:
        start_from(model, options.init)
    average = copy.deepcopy(model).requires_grad_(False)
    optimizers = make_optimizers(model, options.lr)
    state_path, log_path = options.run / "state.pt", options.run / "log.csv"
    options.run.mkdir(parents=True, exist_ok=True)
    step, elapsed = 0, 0.0
    if state_path.exists():
        state = torch.load(state_path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        step, elapsed = state["step"], state["elapsed"]
        print(f"going on from step {step}, minute {elapsed / 60:.1f}")
    else:
        log_path.write_text("step,minutes,lr,loss,psnr,kl\n")
    coefficients = Coefficients(model)
    # A resumed run sees other clips than the first part did.
    loader = iter(torch.utils.data.DataLoader(Clips(options.data, options.seed + step), batch_size=None, num_workers=1, prefetch_factor=8))
    next(loader)  # reading the data is not training

    def save():
        state = dict(model=model.state_dict(), average=average.state_dict(), step=step, elapsed=elapsed,
                     optimizers=[o.state_dict() for o in optimizers])
        torch.save(state, state_path.with_suffix(".new"))
        state_path.with_suffix(".new").rename(state_path)
        if log_path.read_text().count("\n") > 2:
            draw(log_path, options.run / "curve.png")

    budget, began, saved = options.minutes * 60, time.monotonic() - elapsed, time.monotonic()
    sums = torch.zeros(3)
    bar = tqdm(total=round(budget), initial=round(elapsed), unit="s", smoothing=0)
    while elapsed < budget:
        progress = elapsed / budget
        lr = options.lr * min((step + 1) / 100, 0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        clips = next(loader).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            loss, psnr, kl = losses(model, coefficients, clips, options)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"step {step}: the loss is {loss.item()}; start again from state.pt with a lower --lr")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():
            decay = min(options.average, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        step += 1
        elapsed = time.monotonic() - began
        sums += torch.stack([loss.detach(), psnr, kl]).cpu()
        if step % 200 == 0:
            loss, psnr, kl = (sums / 200).tolist()
            sums.zero_()
            with open(log_path, "a") as f:
                f.write(f"{step},{elapsed / 60:.2f},{lr:.6f},{loss:.5f},{psnr:.3f},{kl:.3f}\n")
            bar.set_postfix(step=step, loss=f"{loss:.4f}", psnr=f"{psnr:.2f}")
        bar.update(round(elapsed) - bar.n)
        if time.monotonic() - saved > SAVE_SECONDS:
            save()
            saved = time.monotonic()
    save()
    save_model(average.eval(), options.run / "model", options.data, options.seed, device)
    print(f"{options.run / 'model'}: {step} steps, {elapsed / 60:.0f} minutes")


if __name__ == "__main__":
    main()
