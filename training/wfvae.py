"""WF-VAE, both generations, as a plain eager PyTorch module; load() and from_config() make a CausalVAE as well.

A second opinion on the library's numbers, a peer for its benchmarks and a base for training. Tensors are
[batch, channels, frames, height, width]; whole clips only, no streaming. State-dict keys are those of the public
checkpoints. Image models of the second generation take [batch, channels, height, width] as well. causalvae.py has the
CausalVAE, of layers that are here.

    model = load("folder")                  # config.json + *.safetensors
    mean, logvar = model.encode(video)      # video in [-1, 1], frames = 1 + n * model.t_factor
    video = model.decode(mean)
"""
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

V1_DEFAULTS = dict(
    latent_dim=8, base_channels=128, encoder_num_resblocks=2, decoder_num_resblocks=2,
    encoder_energy_flow_hidden_size=64, decoder_energy_flow_hidden_size=128, attention_type="AttnBlock3DFix",
    use_attention=True, norm_type="groupnorm", t_interpolation="nearest", connect_res_layer_num=1,
    l1_dowmsample_block="Downsample", l1_downsample_wavelet="HaarWaveletTransform2D",
    l1_upsample_block="Upsample", l1_upsample_wavelet="InverseHaarWaveletTransform2D",
    l2_dowmsample_block="Spatial2xTime2x3DDownsample", l2_downsample_wavelet="HaarWaveletTransform3D",
    l2_upsample_block="Spatial2xTime2x3DUpsample", l2_upsample_wavelet="InverseHaarWaveletTransform3D")
V2_DEFAULTS = dict(
    latent_dim=4, base_channels=[128, 256, 512], decoder_base_channels=None, layer_type=["hw", "thw"],
    layer_res_type=["ResnetBlock2D", "ResnetBlock3D"], encoder_num_resblocks=2, decoder_num_resblocks=3,
    encoder_energy_flow_size=128, decoder_energy_flow_size=128, norm_type="layernorm", t_interpolation="trilinear",
    input_type="video", mid_layers_type=["ResnetBlock3D", "AttnBlock3DFix", "ResnetBlock3D"])


# ---------------------------------------------------------------- layers

def per_frame(f, x):
    """Applies f, which wants [batch, channels, height, width], to every frame of x; an image passes straight through."""
    if x.dim() == 4:
        return f(x)
    b, c, t, h, w = x.shape
    y = f(x.transpose(1, 2).reshape(b * t, c, h, w))
    return y.reshape(b, t, *y.shape[1:]).transpose(1, 2)


class FrameConv(nn.Conv2d):
    """A 2D convolution of every frame on its own."""

    def __init__(self, cin, cout, k=3, stride=1, padding=None):
        super().__init__(cin, cout, k, stride, k // 2 if padding is None else padding)

    def forward(self, x):
        return per_frame(super().forward, x)


class CausalConv(nn.Module):
    """3D convolution whose past is filled with copies of the first frame. Strided: the caller has padded space.

    k and stride: a number, or one each for time, height and width.
    """

    def __init__(self, cin, cout, k=3, stride=1):
        super().__init__()
        kt, kh, kw = k if isinstance(k, tuple) else (k, k, k)
        self.conv = nn.Conv3d(cin, cout, k, stride, (0, kh // 2, kw // 2) if stride == 1 else 0)
        self.past = kt - 1

    def forward(self, x):
        if self.past:
            x = torch.cat([x[:, :, :1]] * self.past + [x], 2)
        return self.conv(x)


class LayerNorm(nn.Module):
    """LayerNorm over the channels of each position."""

    def __init__(self, c):
        super().__init__()
        self.norm = nn.LayerNorm(c, eps=1e-6)

    def forward(self, x):
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


def make_norm(kind, c):
    if kind == "layernorm":
        return LayerNorm(c)
    if kind == "groupnorm":
        if c % 32:
            raise ValueError(f"groupnorm has 32 groups, which {c} channels do not divide into")
        return nn.GroupNorm(32, c, eps=1e-6)
    raise ValueError(f"unknown norm_type {kind!r}")


def activate(norm, x):  # train.py puts a compiled one in its place
    return F.silu(norm(x))


class Res3D(nn.Module):
    conv = CausalConv

    def __init__(self, cin, cout, norm):
        super().__init__()
        self.norm1, self.conv1 = make_norm(norm, cin), self.conv(cin, cout)
        self.norm2, self.conv2 = make_norm(norm, cout), self.conv(cout, cout)
        if cin != cout:
            self.nin_shortcut = self.conv(cin, cout, 1)

    def forward(self, x):
        y = self.conv1(activate(self.norm1, x))
        y = self.conv2(activate(self.norm2, y))
        return y + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class Res2D(Res3D):
    conv = FrameConv

    def forward(self, x):  # fold once, so that GroupNorm too sees one frame at a time
        return per_frame(super().forward, x)


class Attn3D(nn.Module):
    """Single-head attention among the positions of each frame."""
    conv = CausalConv

    def __init__(self, c, norm):
        super().__init__()
        self.norm = make_norm(norm, c)
        self.q, self.k, self.v, self.proj_out = (self.conv(c, c, 1) for _ in range(4))

    @staticmethod
    def tokens(x):  # [b, c, (t,) h, w] -> [b, t or 1, h*w, c]
        return (x.unsqueeze(2) if x.dim() == 4 else x).flatten(3).permute(0, 2, 3, 1).contiguous()

    def forward(self, x):
        h = self.norm(x)
        a = F.scaled_dot_product_attention(*(self.tokens(f(h)) for f in (self.q, self.k, self.v)))
        return x + self.proj_out(a.permute(0, 3, 1, 2).reshape(x.shape))


class Attn2D(Attn3D):
    conv = FrameConv


class Down2D(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = FrameConv(c, c, 3, 2, padding=0)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Down3D(Down2D):
    def __init__(self, c):
        nn.Module.__init__(self)
        self.conv = CausalConv(c, c, 3, 2)


class Up2D(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = FrameConv(c, c)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=(1, 2, 2)[5 - x.dim():], mode="nearest"))


def double(x, axis):
    """Twice the length by linear interpolation, as F.interpolate does it, which is slow in 3D on a GPU."""
    n = x.shape[axis]
    before = torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, n - 1)], axis)
    after = torch.cat([x.narrow(axis, 1, n - 1), x.narrow(axis, n - 1, 1)], axis)
    return torch.stack([x.lerp(before, 0.25), x.lerp(after, 0.25)], axis + 1).flatten(axis, axis + 1)


def double_time(x, nearest=False):
    """The first frame stays single and is never a neighbour of the others."""
    first, rest = x[:, :, :1], x[:, :, 1:]
    if rest.shape[2]:
        rest = rest.repeat_interleave(2, 2) if nearest else double(rest, 2)
    return torch.cat([first, rest], 2)


class Up3D(nn.Module):
    """Doubles space (bilinear) and time."""

    def __init__(self, c, t_interpolation):
        super().__init__()
        if t_interpolation not in ("nearest", "trilinear"):
            raise ValueError(f"unknown t_interpolation {t_interpolation!r}")
        self.conv = CausalConv(c, c)
        self.nearest = t_interpolation == "nearest"

    def forward(self, x):
        return self.conv(double_time(double(double(x, 3), 4), self.nearest))


class Haar(nn.Module):
    """Haar analysis of each channel, band-major. The filters are buffers, so a checkpoint's own constants are used."""
    NAMES = {2: ["aa", "ad", "da", "dd"], 3: ["h", "g", "hh", "gh", "h_v", "g_v", "hh_v", "gh_v"]}

    def __init__(self, dims, key="{}"):
        super().__init__()
        self.dims, self.keys = dims, [key.format(n) for n in self.NAMES[dims]]
        self.conv = F.conv3d if dims == 3 else F.conv2d
        self.conv_t = F.conv_transpose3d if dims == 3 else F.conv_transpose2d
        for band, name in enumerate(self.keys):
            filt = torch.full([1, 1] + [2] * dims, 0.3536 if dims == 3 else 0.5)
            # the axis that each bit of the band index negates: 3D counts w, h, t; 2D counts h, w
            for bit, axis in enumerate((4, 3, 2) if dims == 3 else (2, 3)):
                if band >> bit & 1:
                    filt.select(axis, 1).neg_()
            *path, leaf = name.split(".")
            at = self
            for p in path:
                if p not in at._modules:
                    at.add_module(p, nn.Module())
                at = at._modules[p]
            at.register_buffer(leaf, filt)

    def bank(self):
        return torch.cat([self.get_buffer(k) for k in self.keys])

    @torch.autocast("cpu", enabled=False)  # pixels have more bits than bfloat16
    @torch.autocast("cuda", enabled=False)
    def transform(self, x):
        bank = self.bank()
        y = self.conv(x.to(bank.dtype).reshape(-1, 1, *x.shape[2:]), bank, stride=2)
        return y.unflatten(0, (x.shape[0], x.shape[1])).transpose(1, 2).flatten(1, 2)

    def forward(self, x):
        if self.dims == 2:
            return per_frame(self.transform, x)
        return self.transform(torch.cat([x[:, :, :1], x], 2))


class InverseHaar(Haar):
    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def transform(self, x):
        bank = self.bank()
        x = x.to(bank.dtype).unflatten(1, (len(self.keys), -1)).transpose(1, 2)
        return self.conv_t(x.flatten(0, 1), bank, stride=2).reshape(*x.shape[:2], *(2 * n for n in x.shape[3:]))

    def forward(self, x):
        return per_frame(self.transform, x) if self.dims == 2 else self.transform(x)[:, :, 1:]


def analysis(dims):
    return Haar(dims, "{}_conv.conv.weight" if dims == 3 else "{}")


def add_low(coeffs, low):
    """Adds the image of the deeper level to the low-pass band."""
    return torch.cat([coeffs[:, :3] + low, coeffs[:, 3:]], 1)


# ---------------------------------------------------------------- first generation

class Encoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        b, e, n, norm = c["base_channels"], c["encoder_energy_flow_hidden_size"], c["encoder_num_resblocks"], c["norm_type"]
        deep = c["t_factor"] == 8
        self.wavelet_transform_in = analysis(3)
        self.wavelet_transform_l1 = analysis(3 if deep else 2)
        self.wavelet_transform_l2 = analysis(3)
        self.down1 = nn.Sequential(FrameConv(24, b), *(Res2D(b, b, norm) for _ in range(n)), (Down3D if deep else Down2D)(b))
        self.down2 = nn.Sequential(FrameConv(b + e, 2 * b), *(Res3D(2 * b, 2 * b, norm) for _ in range(n)), Down3D(2 * b))
        self.connect_l1, self.connect_l2 = FrameConv(24 if deep else 12, e), FrameConv(24, e)
        attn = [Attn3D(4 * b, norm)] if c["use_attention"] else []
        self.mid = nn.Sequential(Res3D(2 * b + e, 4 * b, norm), *attn, Res3D(4 * b, 4 * b, norm))
        self.norm_out = make_norm(norm, 4 * b)
        self.conv_out = CausalConv(4 * b, 2 * c["latent_dim"])

    def forward(self, x):
        w0 = self.wavelet_transform_in(x)
        w1 = self.wavelet_transform_l1(w0[:, :3])
        w2 = self.wavelet_transform_l2(w1[:, :3])
        h = self.down1(w0)
        h = self.down2(torch.cat([h, self.connect_l1(w1)], 1))
        h = self.mid(torch.cat([h, self.connect_l2(w2)], 1))
        return self.conv_out(activate(self.norm_out, h))


class Decoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        b, d, n, norm = c["base_channels"], c["decoder_energy_flow_hidden_size"], c["decoder_num_resblocks"], c["norm_type"]
        k, deep, up = c["connect_res_layer_num"], c["t_factor"] == 8, c["t_interpolation"]
        self.flow = d
        if n < 1 or d < 1:
            raise ValueError("the decoder needs at least one resblock and one energy-flow channel")
        self.conv_in = CausalConv(c["latent_dim"], 4 * b)
        attn = [Attn3D(4 * b, norm)] if c["use_attention"] else []
        self.mid = nn.Sequential(Res3D(4 * b, 4 * b, norm), *attn, Res3D(4 * b, 4 * b + d, norm))
        self.up2 = nn.Sequential(*(Res3D(4 * b, 4 * b, norm) for _ in range(n)), Up3D(4 * b, up), Res3D(4 * b, 4 * b + d, norm))
        self.up1 = nn.Sequential(
            Res3D(4 * b, 2 * b, norm), *(Res3D(2 * b, 2 * b, norm) for _ in range(n - 1)),
            Up3D(2 * b, up) if deep else Up2D(2 * b), Res3D(2 * b, 2 * b, norm))
        self.layer = nn.Sequential(Res3D(2 * b, b, norm), Res3D(b, b, norm))
        self.connect_l1 = nn.Sequential(*(Res3D(d, d, norm) for _ in range(k)), FrameConv(d, 24 if deep else 12))
        self.connect_l2 = nn.Sequential(*(Res3D(d, d, norm) for _ in range(k)), FrameConv(d, 24))
        self.norm_out, self.conv_out = make_norm(norm, b), FrameConv(b, 24)
        self.inverse_wavelet_transform_out = InverseHaar(3)
        self.inverse_wavelet_transform_l1 = InverseHaar(3 if deep else 2)
        self.inverse_wavelet_transform_l2 = InverseHaar(3)

    def forward(self, z):
        h = self.mid(self.conv_in(z))
        l2 = self.inverse_wavelet_transform_l2(self.connect_l2(h[:, -self.flow:]))
        h = self.up2(h[:, :-self.flow])
        l1 = self.inverse_wavelet_transform_l1(add_low(self.connect_l1(h[:, -self.flow:]), l2))
        h = self.layer(self.up1(h[:, :-self.flow]))
        h = self.conv_out(activate(self.norm_out, h))
        return self.inverse_wavelet_transform_out(add_low(h, l1))


# ---------------------------------------------------------------- second generation

def v2_mid(names, c, norm):
    kinds = {"ResnetBlock2D": lambda: Res2D(c, c, norm), "ResnetBlock3D": lambda: Res3D(c, c, norm),
             "AttnBlock3DFix": lambda: Attn3D(c, norm), "AttnBlock2D": lambda: Attn2D(c, norm)}
    if unknown := [n for n in names if n not in kinds]:
        raise ValueError(f"mid_layers_type: not supported: {unknown}")
    return nn.Sequential(*(kinds[n]() for n in names))


def v2_res(name):
    return {"ResnetBlock2D": Res2D, "ResnetBlock3D": Res3D}[name]


class DownBlock(nn.Module):
    def __init__(self, a, b, flow, n, kind, res, norm):
        super().__init__()
        deep = kind == "thw"
        self.res_block = nn.Sequential(*(res(a, a, norm) for _ in range(n - 1)))
        self.down = (Down3D if deep else Down2D)(a)
        self.wavelet_transform = analysis(3 if deep else 2)
        self.in_flow_conv = FrameConv(24 if deep else 12, flow)
        self.out_res_block = res(a + flow, b, norm)

    def forward(self, h, w):
        w = self.wavelet_transform(w[:, :3])
        return self.out_res_block(torch.cat([self.down(self.res_block(h)), self.in_flow_conv(w)], 1)), w


class UpBlock(nn.Module):
    def __init__(self, a, b, flow, n, kind, res, norm, t_interpolation):
        super().__init__()
        deep = kind == "thw"
        side = Res3D if deep else Res2D
        self.flow = flow
        self.branch_conv = side(a, a + flow, norm)
        self.out_flow_conv = nn.Sequential(side(flow, flow, norm), FrameConv(flow, 24 if deep else 12))
        self.inverse_wavelet_transform = InverseHaar(3 if deep else 2)
        self.res_block = nn.Sequential(*(res(a, a, norm) for _ in range(n - 2)))
        self.up = Up3D(a, t_interpolation) if deep else Up2D(a)
        self.out_res_block = res(a, b, norm)

    def forward(self, h, w):
        h = self.branch_conv(h)
        coeffs = self.out_flow_conv(h[:, -self.flow:])
        w = self.inverse_wavelet_transform(coeffs if w is None else add_low(coeffs, w))
        return self.out_res_block(self.up(self.res_block(h[:, :-self.flow]))), w


class Encoder2(nn.Module):
    def __init__(self, c):
        super().__init__()
        base, norm, image = c["base_channels"], c["norm_type"], c["input_type"] == "image"
        self.wavelet_transform_in = analysis(2 if image else 3)
        self.conv_in = FrameConv(12 if image else 24, base[0])
        self.down_blocks = nn.ModuleList(
            DownBlock(base[i], base[i + 1], c["encoder_energy_flow_size"], c["encoder_num_resblocks"], kind, v2_res(res), norm)
            for i, (kind, res) in enumerate(zip(c["layer_type"], c["layer_res_type"])))
        self.mid = v2_mid(c["mid_layers_type"], base[-1], norm)
        self.norm_out = make_norm(norm, base[-1])
        self.conv_out = (FrameConv if image else CausalConv)(base[-1], 2 * c["latent_dim"])

    def forward(self, x):
        w = self.wavelet_transform_in(x)
        h = self.conv_in(w)
        for block in self.down_blocks:
            h, w = block(h, w)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder2(nn.Module):
    def __init__(self, c):
        super().__init__()
        base, norm, image = c["decoder_base_channels"] or c["base_channels"], c["norm_type"], c["input_type"] == "image"
        self.conv_in = (FrameConv if image else CausalConv)(c["latent_dim"], base[-1])
        self.mid = v2_mid(c["mid_layers_type"], base[-1], norm)
        self.up_blocks = nn.ModuleList(
            UpBlock(base[i + 1], base[i], c["decoder_energy_flow_size"], c["decoder_num_resblocks"], c["layer_type"][i],
                    v2_res(c["layer_res_type"][i]), norm, c["t_interpolation"])
            for i in reversed(range(len(c["layer_type"]))))
        self.norm_out, self.conv_out = make_norm(norm, base[0]), FrameConv(base[0], 12 if image else 24)
        self.inverse_wavelet_transform_out = InverseHaar(2 if image else 3)

    def forward(self, z):
        h, w = self.mid(self.conv_in(z)), None
        for block in self.up_blocks:
            h, w = block(h, w)
        h = self.conv_out(self.norm_out(h))  # no activation here, unlike the first generation
        return self.inverse_wavelet_transform_out(h if w is None else add_low(h, w))


# ---------------------------------------------------------------- models

class WFVAE(nn.Module):
    def __init__(self, config, encoder, decoder):
        super().__init__()
        self.config, self.t_factor, self.s_factor = config, config["t_factor"], config["s_factor"]
        self.encoder, self.decoder = encoder(config), decoder(config)

    def encode(self, video):
        """-> mean, logvar (clamped)"""
        t = video.shape[2] if video.dim() == 5 else 1
        if (t - 1) % self.t_factor or any(n % self.s_factor for n in video.shape[-2:]):
            raise ValueError(f"need 1 + {self.t_factor}n frames and sides divisible by {self.s_factor}: {list(video.shape)}")
        mean, logvar = self.moments(video).chunk(2, 1)
        return mean, logvar.clamp(-30, 20)

    def moments(self, video):
        return self.encoder(video)

    def decode(self, z):
        return self.decoder(z)


def from_config(config):
    name = config.get("_class_name", "WFVAEModel")
    if name == "CausalVAEModel":
        import causalvae  # here, because it imports this module
        return causalvae.from_config(config)
    if name not in ("WFVAEModel", "WFVAE2Model"):
        raise ValueError(f"unknown _class_name {name!r}")
    c = {**(V1_DEFAULTS if name == "WFVAEModel" else V2_DEFAULTS), **config}
    if name == "WFVAEModel":
        deep = c["l1_dowmsample_block"] == "Spatial2xTime2x3DDownsample"
        for key, default in V1_DEFAULTS.items():  # the l1 blocks are all 2D or all like l2's; l2's are fixed
            want = V1_DEFAULTS["l2" + key[2:]] if deep and key.startswith("l1_") else default
            if key[:3] in ("l1_", "l2_") and c[key] != want:
                raise ValueError(f"{key}: {c[key]!r} is not supported")
        if c["use_attention"] and c["attention_type"] != "AttnBlock3DFix":
            raise ValueError(f"attention_type {c['attention_type']!r} is not supported")
        c.update(t_factor=8 if deep else 4, s_factor=8)
        return WFVAE(c, Encoder, Decoder)
    types, image = c["layer_type"], c["input_type"] == "image"
    if set(types) - ({"hw"} if image else {"hw", "thw"}) or len(types) != len(c["layer_res_type"]):
        raise ValueError(f"layer_type {types}, layer_res_type {c['layer_res_type']}: not supported")
    c.update(t_factor=1 if image else 2 ** (1 + types.count("thw")), s_factor=2 ** (1 + len(types)))
    return WFVAE(c, Encoder2, Decoder2)


def load(folder):
    """The model of a folder that holds config.json and one or more *.safetensors (a case's io.safetensors is not weights)."""
    from safetensors.torch import load_file
    folder = Path(folder)
    model = from_config(json.loads((folder / "config.json").read_text()))
    state = {}
    for path in sorted(folder.glob("*.safetensors")):
        if path.name != "io.safetensors":
            state.update((k, v.float()) for k, v in load_file(path).items())
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [k for k in missing if "wavelet_transform" not in k]
    if missing or unexpected:
        raise ValueError(f"{folder}: missing {missing[:4]} ({len(missing)}), unexpected {unexpected[:4]} ({len(unexpected)})")
    return model.eval()
