"""Trains a WF-VAE of the first generation on the clips of fetch_data.py: `train.py --minutes 112`.

Starts anew, or continues from RUN/state.pt if that exists; an interrupted run loses at most a few minutes. Also writes
RUN/log.csv and RUN/curve.png, and at the end RUN/model: the averaged weights as a checkpoint folder that the library opens.
"""
import argparse
import copy
import csv
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tqdm import tqdm

import wfvae
from clips import Clips, load_sources
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
STATISTICS_STEPS = 200
POOL_BATCHES = 32


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, default="target/training/data/train")
    p.add_argument("--run", type=Path, default="target/training/run")
    p.add_argument("--minutes", type=float, default=112, help="of training in all; the learning rate falls over them")
    p.add_argument("--pause", type=float, default=math.inf, help="stop after so many minutes, to go on with the next start")
    p.add_argument("--lr", type=float, default=2e-3, help="at its highest")
    p.add_argument("--init", type=Path, help="a checkpoint folder to start from; residual blocks and latent channels that it lacks change nothing at first")
    p.add_argument("--config", type=json.loads, default={}, help='changes to the built-in config: \'{"base_channels": 24}\'')
    p.add_argument("--kl", type=float, default=1e-6)
    p.add_argument("--wavelet", type=float, default=0.02)
    p.add_argument("--l1", type=float, default=0.05)
    p.add_argument("--average", type=float, default=0.999, help="decay of the weights' moving average")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--threads", type=int)
    p.add_argument("--batch", type=int, default=1, help="times the clips of clips.py a step: a GPU wants some 8")
    p.add_argument("--workers", type=int, default=1, help="processes that make clips")
    p.add_argument("--reuse", type=int, default=1, help="steps for each new batch, of clips drawn again and mirrored: for a "
                   "GPU that learns faster than the CPU makes clips")
    p.add_argument("--eager", action="store_true", help="on a GPU: neither compiled kernels nor CUDA graphs")
    return p.parse_args()


def start_from(model, folder):
    """Copies the weights of `folder`. Blocks and latent channels that it lacks change nothing at first; of its own latent
    channels those stay that vary most."""
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
    if model.config["latent_dim"] != old.config["latent_dim"]:
        choose_latents(state, model, old.config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected:
        raise ValueError(f"{folder}: does not fit the config: {unexpected[:4]}")
    for chain, end in ends.items():
        for index in range(end, end + extra[chain.split(".")[0]]):
            block = model.get_submodule(f"{chain}.{index}")
            torch.nn.init.zeros_(block.conv2.conv.weight if hasattr(block.conv2, "conv") else block.conv2.weight)
            torch.nn.init.zeros_(block.conv2.conv.bias if hasattr(block.conv2, "conv") else block.conv2.bias)


def choose_latents(state, model, old):
    before, after = old["latent_dim"], model.config["latent_dim"]
    chosen = torch.tensor(old.get("scale") or [1.0] * before).argsort(stable=True)[:after]
    for kind in ("weight", "bias"):
        key = f"encoder.conv_out.conv.{kind}"
        value = model.state_dict()[key].clone()
        for half in range(2):  # means, log variances
            value[half * after :][: len(chosen)] = state[key][half * before + chosen]
        state[key] = value
    key = "decoder.conv_in.conv.weight"
    value = torch.zeros_like(model.state_dict()[key])
    value[:, : len(chosen)] = state[key][:, chosen]
    state[key] = value


class Coefficients:
    """The wavelet coefficients that the encoder computed and the decoder predicted in the last pass, level by level."""

    def __init__(self, model):
        self.true, self.predicted = {}, {}
        for level in ("l1", "l2"):
            down = getattr(model.encoder, f"wavelet_transform_{level}")
            down.register_forward_hook(lambda _, __, out, level=level: self.true.update({level: out}))
            up = getattr(model.decoder, f"inverse_wavelet_transform_{level}")
            up.register_forward_pre_hook(lambda _, inputs, level=level: self.predicted.update({level: inputs[0]}))

    def clear(self):
        """Lets go of the tensors, and with them of all that led to them."""
        self.true.clear(), self.predicted.clear()

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


def signed(clips):
    """Bytes to [-1, 1]."""
    return clips.float() / 127.5 - 1


class Batches:
    """Batches on the device. Each is followed by `reuse` - 1 of its size, drawn from among the latest and mirrored."""

    def __init__(self, loader, reuse, device, seed):
        self.loader, self.reuse, self.device = loader, reuse, device
        self.random = np.random.default_rng(seed)
        self.pools, self.size, self.turn = {}, None, 0

    def __next__(self):
        new = self.turn % self.reuse == 0
        self.turn += 1
        if new:
            batch = next(self.loader).to(self.device)
            if self.reuse > 1:
                self.keep(batch)
            return batch
        pool, batches = self.pools[self.size]
        count = self.size[0]
        picks = torch.randint(min(batches, POOL_BATCHES) * count, (count,), device=self.device)
        return pool[picks].flip([axis for axis in (2, 4) if self.random.random() < 0.5])

    def keep(self, batch):
        self.size, count = batch.shape, len(batch)
        pool, batches = self.pools.get(self.size) or (batch.new_empty(POOL_BATCHES * count, *batch.shape[1:]), 0)
        first = batches % POOL_BATCHES * count
        pool[first : first + count] = batch
        self.pools[self.size] = pool, batches + 1


def capture(function):
    """What `function` launches on the GPU as a CUDA graph, and what it returns; it is also run."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        function()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function()
    return graph, result


class Step:
    """One step of training. On a GPU it is two CUDA graphs, the first for each size of batch, since launching thousands of
    small kernels takes longer than running them: on an H200 about 13 ms against 2.4 for the update."""

    def __init__(self, model, average, options):
        self.model, self.options = model, options
        self.coefficients = Coefficients(model)
        self.weights, self.averaged = list(model.parameters()), list(average.parameters())
        self.device = self.weights[0].device
        # These two are read by graphs, so they stay where they are.
        self.lr, self.mix = (torch.zeros((), device=self.device) for _ in range(2))
        self.optimizers = make_optimizers(model, self.lr)
        for weight in self.weights:
            weight.grad = torch.zeros_like(weight)
        self.gradients = [weight.grad for weight in self.weights]
        self.graphs = {} if self.device.type == "cuda" and not options.eager else None

    def state(self):
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state(self, states):
        for optimizer, state in zip(self.optimizers, states):
            optimizer.load_state_dict(state)
            for group in optimizer.param_groups:
                group["lr"] = self.lr

    def learn(self, clips):
        """Gradients of a batch; gives loss, psnr and kl."""
        torch._foreach_zero_(self.gradients)
        with torch.autocast(self.device.type, torch.bfloat16):
            loss, psnr, kl = losses(self.model, self.coefficients, signed(clips), self.options)
        loss.backward()
        self.coefficients.clear()
        return torch.stack([loss.detach(), psnr, kl])

    def update(self):
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            change = torch._foreach_sub(self.weights, self.averaged)
            torch._foreach_mul_(change, self.mix)
            torch._foreach_add_(self.averaged, change)

    def __call__(self, clips, lr, mix):
        """`mix`: how much of the new weights goes into their average."""
        if self.graphs is None:
            statistics = self.learn(clips)
            self.lr.fill_(lr), self.mix.fill_(mix)
            self.update()
            return statistics
        if clips.shape not in self.graphs:
            place = clips.clone()
            self.graphs[clips.shape] = *capture(lambda: self.learn(place)), place
        graph, statistics, place = self.graphs[clips.shape]
        place.copy_(clips)
        graph.replay()
        if "update" not in self.graphs:
            # Run at a rate of zero: the momentum alone would change, by one gradient.
            self.lr.zero_(), self.mix.zero_()
            self.graphs["update"] = capture(self.update)
        self.lr.fill_(lr), self.mix.fill_(mix)
        self.graphs["update"][0].replay()
        return statistics


def norm_silu(x, weight, bias):
    return F.silu(F.layer_norm(x.float(), weight.shape, weight, bias, 1e-6)).bfloat16()


def fuse():
    """Makes norm and activation of training passes one kernel each way; else they take most of a GPU's time."""
    torch._dynamo.config.cache_size_limit = 64  # one for each number of channels
    compiled, plain = torch.compile(norm_silu), wfvae.activate

    def activate(norm, x):
        if not isinstance(norm, wfvae.LayerNorm) or not torch.is_autocast_enabled(x.device.type):
            return plain(norm, x)
        rows = x.movedim(1, -1)
        flat = rows.flatten(0, -2).contiguous()
        torch._dynamo.mark_dynamic(flat, 0)
        torch._dynamo.mark_static(flat, 1)
        return compiled(flat, norm.norm.weight, norm.norm.bias).view(rows.shape).movedim(-1, 1)

    wfvae.activate = activate


def save_model(model, folder, sources, seed, device):
    """The checkpoint folder, with each latent channel's measured shift (its mean) and scale (one over its deviation)."""
    latents = []
    with torch.no_grad():
        for _, clips in zip(range(MEASURED_BATCHES), Clips(sources, seed)):
            latents.append(model.encode(signed(clips.to(device)))[0].transpose(0, 1).flatten(1).cpu())
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
    if device.type == "cuda" and not options.eager:
        fuse()
    average = copy.deepcopy(model).requires_grad_(False)
    learn = Step(model, average, options)
    state_path, log_path = options.run / "state.pt", options.run / "log.csv"
    options.run.mkdir(parents=True, exist_ok=True)
    step, elapsed = 0, 0.0
    if state_path.exists():
        state = torch.load(state_path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        learn.load_state(state["optimizers"])
        step, elapsed = state["step"], state["elapsed"]
        print(f"going on from step {step}, minute {elapsed / 60:.1f}")
    else:
        log_path.write_text("step,minutes,lr,loss,psnr,kl\n")
    sources = load_sources(options.data)
    # A resumed run sees other clips than the first part did.
    loader = torch.utils.data.DataLoader(Clips(sources, options.seed + step, options.batch), batch_size=None,
                                         num_workers=options.workers, prefetch_factor=8)
    batches = Batches(iter(loader), options.reuse, device, options.seed + step)

    def save():
        state = dict(model=model.state_dict(), average=average.state_dict(), step=step, elapsed=elapsed,
                     optimizers=learn.state())
        torch.save(state, state_path.with_suffix(".new"))
        state_path.with_suffix(".new").rename(state_path)
        if log_path.read_text().count("\n") > 2:
            draw(log_path, options.run / "curve.png")

    def statistics():
        loss, psnr, kl = (sums / (step - summed)).tolist()
        if step > summed and not math.isfinite(loss):
            raise FloatingPointError(f"step {step}: the loss is {loss}; start again from state.pt with a lower --lr")
        sums.zero_()
        return loss, psnr, kl

    budget, began, saved = options.minutes * 60, time.monotonic() - elapsed, time.monotonic()
    until = min(budget, elapsed + options.pause * 60)
    sums, summed = torch.zeros(3, device=device), step
    bar = tqdm(total=round(budget), initial=round(elapsed), unit="s", smoothing=0)
    while elapsed < until:
        lr = options.lr * min((step + 1) / 100, 0.01 + 0.99 * (1 + math.cos(math.pi * elapsed / budget)) / 2)
        sums += learn(next(batches), lr, 1 - min(options.average, (1 + step) / (10 + step)))
        step += 1
        elapsed = time.monotonic() - began
        if step % STATISTICS_STEPS == 0:
            loss, psnr, kl = statistics()
            summed = step
            with open(log_path, "a") as f:
                f.write(f"{step},{elapsed / 60:.2f},{lr:.6f},{loss:.5f},{psnr:.3f},{kl:.3f}\n")
            bar.set_postfix(step=step, loss=f"{loss:.4f}", psnr=f"{psnr:.2f}")
            if time.monotonic() - saved > SAVE_SECONDS:
                save()
                saved = time.monotonic()
        bar.update(round(elapsed) - bar.n)
    bar.close()
    statistics()
    save()
    save_model(average.eval(), options.run / "model", sources, options.seed, device)
    print(f"{options.run / 'model'}: {step} steps, {elapsed / 60:.1f} of {options.minutes:g} minutes")


if __name__ == "__main__":
    main()
