"""CausalVAE ("OD-VAE", the VAE of Open-Sora-Plan 1.0 to 1.2) as a plain eager PyTorch module.

Made by load() and from_config() of wfvae.py, which has most of the layers and says what the tensors are; docs/spec.md has the
mathematics. A model with AttnBlock2D takes images without a frames axis, [batch, channels, height, width]; all others take
clips.
"""
import torch
import torch.nn.functional as F
from torch import nn

from wfvae import (WFVAE, Attn2D, Attn3D, CausalConv, Down2D, Down3D, FrameConv, Res2D, Res3D, Up2D, Up3D, double, double_time,
                   make_norm)

DEFAULTS = dict(
    hidden_size=128, hidden_size_mult=[1, 2, 4, 4], z_channels=4, embed_dim=4, use_quant_layer=True, q_conv="CausalConv3d",
    num_res_blocks=2, double_z=True, norm_type="groupnorm", attn_resolutions=[], resolution=256,
    encoder_conv_in="CausalConv3d", encoder_conv_out="CausalConv3d", encoder_mid_resnet="ResnetBlock3D",
    encoder_resnet_blocks=["ResnetBlock3D"] * 4, encoder_attention="AttnBlock3D",
    encoder_spatial_downsample=["SpatialDownsample2x"] * 3 + [""],
    encoder_temporal_downsample=["", "TimeDownsample2x", "TimeDownsample2x", ""],
    decoder_conv_in="CausalConv3d", decoder_conv_out="CausalConv3d", decoder_mid_resnet="ResnetBlock3D",
    decoder_resnet_blocks=["ResnetBlock3D"] * 4, decoder_attention="AttnBlock3D",
    decoder_spatial_upsample=[""] + ["SpatialUpsample2x"] * 3,
    decoder_temporal_upsample=["", "", "TimeUpsample2x", "TimeUpsample2x"])


# ---------------------------------------------------------------- layers

class MixingAttn3D(Attn3D):
    """The older attention: it takes channels and frames, in the order [channels, frames], for [frames, channels]."""

    def forward(self, x):
        b, c, t, h, w = x.shape
        y = self.norm(x)
        q, k, v = (f(y).reshape(b, t, c, h * w).transpose(2, 3) for f in (self.q, self.k, self.v))
        a = F.scaled_dot_product_attention(q, k, v).transpose(2, 3)
        return x + self.proj_out(a.reshape(x.shape))


class SpatialDown(Down2D):
    def __init__(self, c):
        nn.Module.__init__(self)
        self.conv = CausalConv(c, c, (1, 3, 3), (1, 2, 2))


class SpatialDown3D(Down2D):
    def __init__(self, c):
        nn.Module.__init__(self)
        self.conv = CausalConv(c, c, 3, (1, 2, 2))


class TimeDown(nn.Module):
    """Averages of three frames, every second one; the first is three times itself."""

    def __init__(self, _):
        super().__init__()

    def forward(self, x):
        return F.avg_pool3d(past_filled(x), (3, 1, 1), (2, 1, 1))


class TimeDownRes(nn.Module):
    """These averages, mixed with a convolution."""

    def __init__(self, c):
        super().__init__()
        self.conv = nn.Conv3d(c, c, 3, (2, 1, 1), (0, 1, 1))
        self.mix_factor = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, x):
        x, a = past_filled(x), torch.sigmoid(self.mix_factor)
        return a * F.avg_pool3d(x, (3, 1, 1), (2, 1, 1)) + (1 - a) * self.conv(x)


def past_filled(x):
    return torch.cat([x[:, :, :1]] * 2 + [x], 2)


class SpatialUp(Up2D):
    def __init__(self, c):
        nn.Module.__init__(self)
        self.conv = CausalConv(c, c, (1, 3, 3))


class SpatialUp3D(nn.Module):
    """Bilinear, where the 2D ones are nearest."""

    def __init__(self, c):
        super().__init__()
        self.conv = CausalConv(c, c)

    def forward(self, x):
        return self.conv(double(double(x, 3), 4))


class SpaceTimeUp(Up3D):
    def __init__(self, c):
        super().__init__(c, "trilinear")


class TimeUp(nn.Module):
    def __init__(self, _):
        super().__init__()

    def forward(self, x):
        return double_time(x)


class TimeUpRes(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = CausalConv(c, c)
        self.mix_factor = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, x):
        x, a = double_time(x), torch.sigmoid(self.mix_factor)
        return a * x + (1 - a) * self.conv(x)


# ---------------------------------------------------------------- names in config.json

CONVS = {"Conv2d": FrameConv, "CausalConv3d": CausalConv, "CausalConv3d_GC": CausalConv}  # _GC only trains differently
BLOCKS = {"ResnetBlock2D": Res2D, "ResnetBlock3D": Res3D}
ATTENTIONS = {"AttnBlock3D": MixingAttn3D, "AttnBlock3DFix": Attn3D, "AttnBlock2D": Attn2D}
# With the factors of time and space. Each of these may stand in a spatial or in a temporal list.
DOWN = {"Downsample": (Down2D, 1, 2), "SpatialDownsample2x": (SpatialDown, 1, 2),
        "Spatial2x3DDownsample": (SpatialDown3D, 1, 2), "Spatial2xTime2x3DDownsample": (Down3D, 2, 2),
        "TimeDownsample2x": (TimeDown, 2, 1), "TimeDownsampleRes2x": (TimeDownRes, 2, 1)}
UP = {"Upsample": (Up2D, 1, 2), "SpatialUpsample2x": (SpatialUp, 1, 2),
      "Spatial2x3DUpsample": (SpatialUp3D, 1, 2), "Spatial2xTime2x3DUpsample": (SpaceTimeUp, 2, 2),
      "TimeUpsample2x": (TimeUp, 2, 1), "TimeUpsampleRes2x": (TimeUpRes, 2, 1)}
KINDS = {
    **{f"{half}_conv_{end}": CONVS for half in ("encoder", "decoder") for end in ("in", "out")}, "q_conv": CONVS,
    **{f"{half}_{field}": BLOCKS for half in ("encoder", "decoder") for field in ("mid_resnet", "resnet_blocks")},
    "encoder_attention": ATTENTIONS, "decoder_attention": ATTENTIONS,
    "encoder_spatial_downsample": DOWN, "encoder_temporal_downsample": DOWN,
    "decoder_spatial_upsample": UP, "decoder_temporal_upsample": UP}
IMAGE = {"Conv2d", "ResnetBlock2D", "AttnBlock2D", "Downsample", "Upsample"}  # what works without a frames axis


def names(c, field):
    """The names that a field has for the levels, or its only one."""
    return c[field][:len(c["widths"])] if isinstance(c[field], list) else [c[field]]


def layer(c, field, *arguments):
    return KINDS[field][c[field]](*arguments)


def resizer(c, field, i):
    name = c[field][i]
    return KINDS[field][name][0](c["widths"][i]) if name else None


def factors(c, *fields):
    """How much all layers in these lists together change time and space."""
    t = s = 1
    for field in fields:
        for name in filter(None, names(c, field)):
            t, s = t * KINDS[field][name][1], s * KINDS[field][name][2]
    return t, s


# ---------------------------------------------------------------- the model

class Level(nn.Module):
    """Resblocks, an attention after each where the level has them, then what changes the size."""

    def __init__(self, blocks, attentions, **resizers):
        super().__init__()
        self.block, self.attn, self.resizers = nn.ModuleList(blocks), nn.ModuleList(attentions), []
        for name, module in resizers.items():
            if module is not None:
                self.add_module(name, module)
                self.resizers.append(name)

    def forward(self, x):
        for i, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        for name in self.resizers:
            x = self.get_submodule(name)(x)
        return x


class Mid(nn.Module):
    def __init__(self, c, half, attention_norm):
        super().__init__()
        width = c["widths"][-1]
        self.block_1 = layer(c, half + "_mid_resnet", width, width, c["norm_type"])
        self.attn_1 = layer(c, half + "_attention", width, attention_norm)
        self.block_2 = layer(c, half + "_mid_resnet", width, width, c["norm_type"])

    def forward(self, x):
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        widths, n, norm = c["widths"], c["num_res_blocks"], c["norm_type"]
        attention_norm = "groupnorm"  # whatever norm_type says
        self.conv_in = layer(c, "encoder_conv_in", 3, c["hidden_size"])
        self.down = nn.ModuleList()
        before, size = c["hidden_size"], c["resolution"]  # a nominal size, which only attn_resolutions refer to
        for i, width in enumerate(widths):
            res = BLOCKS[c["encoder_resnet_blocks"][i]]
            attentions = n if size in c["attn_resolutions"] else 0
            self.down.append(Level(
                [res(width if j else before, width, norm) for j in range(n)],
                [layer(c, "encoder_attention", width, attention_norm) for _ in range(attentions)],
                downsample=resizer(c, "encoder_spatial_downsample", i),
                time_downsample=resizer(c, "encoder_temporal_downsample", i)))
            before = width
            if c["encoder_spatial_downsample"][i]:
                size //= 2
        self.mid = Mid(c, "encoder", attention_norm)
        self.norm_out = make_norm(norm, widths[-1])
        self.conv_out = layer(c, "encoder_conv_out", widths[-1], 2 * c["z_channels"])

    def forward(self, x):
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        widths, n, norm = c["widths"], c["num_res_blocks"] + 1, c["norm_type"]
        self.conv_in = layer(c, "decoder_conv_in", c["z_channels"], widths[-1])
        self.mid = Mid(c, "decoder", norm)
        levels, before, size = [], widths[-1], c["resolution"] // 2 ** (len(widths) - 1)
        for i in reversed(range(len(widths))):
            res = BLOCKS[c["decoder_resnet_blocks"][i]]
            attentions = n if size in c["attn_resolutions"] else 0
            levels.append(Level(
                [res(widths[i] if j else before, widths[i], norm) for j in range(n)],
                [layer(c, "decoder_attention", widths[i], norm) for _ in range(attentions)],
                upsample=resizer(c, "decoder_spatial_upsample", i),
                time_upsample=resizer(c, "decoder_temporal_upsample", i)))
            before = widths[i]
            if c["decoder_spatial_upsample"][i]:
                size *= 2
        self.up = nn.ModuleList(reversed(levels))  # up.0 is the outermost, which runs last
        self.norm_out = make_norm(norm, widths[0])
        self.conv_out = layer(c, "decoder_conv_out", widths[0], 3)

    def forward(self, z):
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(h)))


class CausalVAE(WFVAE):
    def __init__(self, c):
        super().__init__(c, Encoder, Decoder)
        z, latent = c["z_channels"], c["embed_dim"]
        if c["use_quant_layer"]:
            self.quant_conv, self.post_quant_conv = layer(c, "q_conv", 2 * z, 2 * latent, 1), layer(c, "q_conv", latent, z, 1)
        else:
            self.quant_conv = self.post_quant_conv = nn.Identity()

    def check(self, x):
        dims = 4 if self.config["image"] else 5
        if x.dim() != dims:
            raise ValueError(f"this model takes tensors of {dims} axes: {list(x.shape)}")

    def moments(self, video):
        self.check(video)
        return self.quant_conv(self.encoder(video))

    def decode(self, z):
        self.check(z)
        return self.decoder(self.post_quant_conv(z))


def from_config(config):
    """A config that describes no working model is a ValueError."""
    c = {**DEFAULTS, **config}
    n = len(c["hidden_size_mult"])
    c["widths"] = [c["hidden_size"] * m for m in c["hidden_size_mult"]]
    if not n or c["num_res_blocks"] < 1:
        raise ValueError("hidden_size_mult, num_res_blocks: need at least one level, and one resblock in it")
    if not c["double_z"]:
        raise ValueError("double_z: false: the encoder would give no logvar")
    used = set()
    for field, kinds in KINDS.items():
        if isinstance(c[field], list) != isinstance(DEFAULTS[field], list):
            raise ValueError(f"{field}: {c[field]!r}: expected {type(DEFAULTS[field]).__name__}")
        if isinstance(c[field], list) and (len(c[field]) < n or field == "encoder_resnet_blocks" and len(c[field]) != n):
            raise ValueError(f"{field}: {len(c[field])} entries for {n} levels")
        empty = {""} if kinds in (DOWN, UP) else set()
        if unknown := [name for name in names(c, field) if name not in kinds.keys() | empty]:
            raise ValueError(f"{field}: {unknown[0]!r} is not supported")
        if field != "q_conv" or c["use_quant_layer"]:
            used.update(filter(None, names(c, field)))
    c["image"] = "AttnBlock2D" in used
    if c["image"] and used - IMAGE:
        raise ValueError(f"AttnBlock2D takes no frames axis, which {min(used - IMAGE)} needs")
    c["t_factor"], c["s_factor"] = factors(c, "encoder_spatial_downsample", "encoder_temporal_downsample")
    c["latent_dim"] = c["embed_dim"] if c["use_quant_layer"] else c["z_channels"]
    up = factors(c, "decoder_spatial_upsample", "decoder_temporal_upsample")
    if up != (c["t_factor"], c["s_factor"]):
        raise ValueError(f"factors of time and space: the encoder's {c['t_factor'], c['s_factor']}, the decoder's {up}")
    return CausalVAE(c)
