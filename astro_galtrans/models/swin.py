"""
Swin Transformer translation: self-attention in small windows, shifted between layers.

The network is SwinIR (Liang et al. 2021, https://arxiv.org/abs/2108.10257), built from the windows of Liu et al. (2021,
https://arxiv.org/abs/2103.14030); parameters carry the names of the authors' code, so that their weights load.

The computation is arranged differently. A token is a pixel's ``width`` features. Within a residual group tokens stay
*in window order* (the 64 tokens of a window next to each other), and one gather takes them from the plain windows of a
block to the shifted windows of the next. Windows that meet the same attention mask are kept together, so that mask and
relative position bias are one small matrix per group and nothing is built per window.
"""

import math
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from .base import Estimate, TranslationModel
from .blocks import LOG_STD_RANGE, conv, crop_to, pad_to_multiple, split_estimate

__all__ = ["SwinIR", "SwinTranslator"]

#: What a token adds to its attention to a token of another region; exp(-100) is zero in float32.
FORBIDDEN = -100.0

#: Largest margin, in pixels. A deep network reaches further, but faintly; so do the authors' tiles.
MARGIN = 32

#: Windows computed together: few enough that what they need stays in a core's cache.
CHUNK = 32


class SwinTranslator(TranslationModel):
    """
    Translate with residual Swin Transformer groups (SwinIR).

    Parameters
    ----------
    in_bands, out_bands, scale
        As for `~astro_galtrans.models.base.TranslationModel`.
    depths : sequence of int, optional
        Number of blocks in each residual group; every second block has shifted windows.
    width : int, optional
        Features per pixel.
    heads : int, optional
        Attention heads; must divide ``width``.
    window : int, optional
        Side of an attention window in source pixels, even.
    mlp_ratio : float, optional
        Hidden features of the two-layer perceptron per feature.
    upsampler : {'pixelshuffledirect', 'pixelshuffle'}, optional
        One convolution to the finer grid, or several with 64 features.
    resi : {'1conv', '3conv'}, optional
        Convolution at the end of each residual group.
    """

    name: ClassVar[str] = "swin"
    PRESETS: ClassVar[dict[str, dict]] = {
        "tiny": dict(
            depths=(2, 2), width=48, heads=2, window=8, mlp_ratio=2.0, upsampler="pixelshuffledirect", resi="1conv"
        ),
        "paper": dict(
            depths=(6,) * 6, width=180, heads=6, window=8, mlp_ratio=2.0, upsampler="pixelshuffle", resi="1conv"
        ),
    }  # fmt: skip

    def __init__(
        self, in_bands, out_bands, scale, *, depths=(2, 2), width=48, heads=2, window=8, mlp_ratio=2.0,
        upsampler="pixelshuffledirect", resi="1conv", observed=False,
    ):  # fmt: skip
        super().__init__(in_bands, out_bands, scale, observed)
        self.multiple_of = window
        self.margin = min(_reach(depths, window, upsampler, resi), MARGIN)
        self.network = SwinIR(
            self.in_channels, 2 * len(self.out_bands), scale=self.scale, depths=depths, width=width, heads=heads,
            window=window, mlp_ratio=mlp_ratio, upsampler=upsampler, resi=resi,
        )  # fmt: skip
        last = self.network.last_convolution
        nn.init.zeros_(last.weight)  # an untrained network returns the skip connection and a deviation of exp(-1)
        with torch.no_grad():
            means, log_stds = last.bias.chunk(2)
            means.zero_()
            log_stds.fill_(_raw_log_std(-1.0))

    def forward(self, source):
        """Source ``[B, C_in, H, W]`` to an `~astro_galtrans.models.base.Estimate` on the finer grid."""
        return Estimate(*split_estimate(self.network(source), self.skip(source), bounded=self.observed))


def _reach(depths, window, upsampler, resi):
    """
    Pixels from a tile's cut edge, which is a multiple of the window, at which an output pixel can still depend on the
    cut.
    """
    last = 1 if resi == "1conv" else 2
    front = 1  # conv_first
    for depth in depths:
        for block in range(depth):
            shift = window // 2 * (block % 2)
            front = shift + window * math.ceil((front - shift) / window)  # a cut in a window affects all of it
        front += last
    return front + last + (1 if upsampler == "pixelshuffledirect" else 3)


def _raw_log_std(log_std):
    """Value that `split_estimate` turns into ``log_std``."""
    low, high = LOG_STD_RANGE
    half = (high - low) / 2
    return half * math.atanh((log_std - (low + high) / 2) / half)


class SwinIR(nn.Module):
    """
    The network of Liang et al. (2021): convolution, residual Swin groups, convolution, upsampling.

    An official state dict of the same configuration loads with ``strict=True``; the masks and position indices it also
    holds follow from the configuration and are left out. (The official code subtracts a mean colour from RGB images,
    outside its weights: do so before, with such weights.)

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the image and of the result.
    scale : int, optional
        Output pixels per input pixel along each axis.
    depths, width, heads, window, mlp_ratio, upsampler, resi
        As for `SwinTranslator`; an ``upsampler`` of ``""`` adds the result to the image (denoising; scale 1).
    """

    def __init__(
        self, in_channels, out_channels, *, scale=2, depths=(4, 4, 4, 4), width=60, heads=6, window=8, mlp_ratio=2.0,
        upsampler="pixelshuffledirect", resi="1conv",
    ):  # fmt: skip
        super().__init__()
        _check_sizes(depths, width, heads, window)
        self.window = window
        self.upsampler = upsampler
        self.conv_first = conv(in_channels, width)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(width)})  # patches are single pixels
        self.layers = nn.ModuleList(
            ResidualGroup(width, depth, heads, window, int(width * mlp_ratio), resi) for depth in depths
        )
        self.norm = nn.LayerNorm(width)
        self.conv_after_body = _residual_conv(width, resi)
        self._add_reconstruction(width, out_channels, scale)
        self.apply(_init_linear)

    def forward(self, image):
        """Image ``[B, C_in, H, W]`` of any size to ``[B, C_out, scale*H, scale*W]``."""
        height, width = image.shape[-2:]
        padded = pad_to_multiple(image, self.window)
        shallow = self.conv_first(padded.contiguous(memory_format=torch.channels_last))
        deep = self.conv_after_body(self.features(shallow)) + shallow
        finer = self.reconstruct(deep)
        if not self.upsampler:
            finer = padded + finer
        factor = finer.shape[-1] // padded.shape[-1]
        return crop_to(finer, factor * height, factor * width)

    def features(self, shallow):
        """Shallow features ``[B, C, H, W]`` to deep ones, channels last in between."""
        x = self.patch_embed["norm"](shallow.permute(0, 2, 3, 1))  # [B, H, W, C]
        for layer in self.layers:
            x = layer(x)
        return self.norm(x).permute(0, 3, 1, 2)  # [B, C, H, W]

    def reconstruct(self, deep):
        """Deep features to the finer grid."""
        if self.upsampler == "pixelshuffledirect":
            return self.upsample(deep)
        if self.upsampler == "pixelshuffle":
            deep = self.upsample(self.conv_before_upsample(deep))
        return self.conv_last(deep)

    @property
    def last_convolution(self):
        """The convolution that makes the output."""
        return self.upsample[0] if self.upsampler == "pixelshuffledirect" else self.conv_last

    def _add_reconstruction(self, width, out_channels, scale):
        if self.upsampler == "pixelshuffledirect":
            self.upsample = nn.Sequential(conv(width, out_channels * scale**2), nn.PixelShuffle(scale))
        elif self.upsampler == "pixelshuffle":
            self.conv_before_upsample = nn.Sequential(conv(width, 64), nn.LeakyReLU())
            self.upsample = nn.Sequential(*_upsampling_steps(scale, 64))
            self.conv_last = conv(64, out_channels)
        elif self.upsampler == "" and scale == 1:
            self.conv_last = conv(width, out_channels)
        else:
            msg = f"upsampler must be 'pixelshuffledirect', 'pixelshuffle', or '' at scale 1; got {self.upsampler!r}"
            raise ValueError(msg)


class ResidualGroup(nn.Module):
    """Residual Swin Transformer group: blocks, a convolution, and the input added."""

    def __init__(self, width, depth, heads, window, hidden, resi):
        super().__init__()
        self.window = window
        blocks = (SwinBlock(width, heads, window, window // 2 * (i % 2), hidden) for i in range(depth))
        self.residual_group = nn.ModuleDict({"blocks": nn.ModuleList(blocks)})  # as the official weights call them
        self.conv = _residual_conv(width, resi)

    def forward(self, x):
        """Features ``[B, H, W, C]`` to features."""
        *shape, width = x.shape
        tokens, before = x.reshape(-1, width), None  # [B*H*W, C], in image order
        for block in self.residual_group["blocks"]:
            counts = _windows_per_kind(tuple(shape), self.window, block.shift)
            tokens = block(tokens, self._reordering(x, before, block.shift), counts)
            before = block.shift
        tokens = _Gather.apply(tokens, *self._reordering(x, before, None))
        return self.conv(tokens.view(x.shape).permute(0, 3, 1, 2)).permute(0, 2, 3, 1) + x

    def _reordering(self, x, before, after):
        return _change_order(tuple(x.shape[:3]), self.window, before, after, x.device)


class SwinBlock(nn.Module):
    """Swin Transformer block (Liu et al. 2021, eq. 3): attention in windows, then a perceptron, both residual."""

    def __init__(self, width, heads, window, shift, hidden):
        super().__init__()
        self.shift = shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window, shift)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, hidden)
        self.register_load_state_dict_pre_hook(_drop_derived)

    def forward(self, tokens, order, counts):
        """
        Tokens ``[N*M, C]`` in the order of the block before to tokens in this block's order of windows.

        ``order`` is the index from one to the other (`_change_order`), ``counts`` the number of windows of each kind.
        """
        biases, size = self.attn.bias(), self.attn.window**2
        most = CHUNK if tokens.device.type == "cpu" else max(counts)  # a GPU waits for the start of each chunk
        lengths, kinds = _chunks(counts, most, size)
        if torch.is_grad_enabled() or torch.is_autocast_enabled(tokens.device.type):
            parts = _Gather.apply(tokens, *order).split(lengths)
            return torch.cat([self._block(part, biases[kind]) for part, kind in zip(parts, kinds, strict=True)])
        result = torch.empty_like(tokens)
        for index, part, kind in zip(order[0].split(lengths), result.split(lengths), kinds, strict=True):
            self._block_into(part, tokens.index_select(0, index), biases[kind])
        return result

    def _block(self, tokens, bias):
        tokens = tokens + self.attn(self.norm1(tokens), bias)
        return tokens + self.mlp(self.norm2(tokens))

    def _block_into(self, result, tokens, bias):
        """
        Write what `_block` returns into ``result``, overwriting the tokens; a tenth faster, as products add to what is
        there.
        """
        _add_linear(tokens, self.attn.proj, self.attn.mix(self.norm1(tokens), bias), out=tokens)
        _add_linear(tokens, self.mlp.fc2, self.mlp.hidden(self.norm2(tokens)), out=result)


def _add_linear(x, layer, y, out):
    """Write ``x + layer(y)`` into ``out``, overwriting x."""
    torch.addmm(x.add_(layer.bias), y, layer.weight.t(), out=out)


class Mlp(nn.Module):
    """Two-layer perceptron with GELU."""

    def __init__(self, width, hidden):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x):
        """Tokens to tokens."""
        return self.fc2(self.hidden(x))

    def hidden(self, x):
        """Tokens to hidden features."""
        return F.gelu(self.fc1(x))


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a bias by relative position (Liu et al. 2021, eq. 4)."""

    def __init__(self, width, heads, window, shift):
        super().__init__()
        self.heads, self.window = heads, window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.register_buffer("index", _relative_position(window), persistent=False)
        self.register_buffer("masks", _shift_masks(window, shift), persistent=False)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, tokens, bias):
        """Normalised tokens ``[N*M, C]`` in window order, and bias ``[h, M, M]``, to tokens."""
        return self.proj(self.mix(tokens, bias))

    def mix(self, tokens, bias):
        """Weighted means of all heads, side by side: what `forward` does before the last projection."""
        qkv = self.qkv(tokens)
        return _Attention.apply(qkv, bias) if qkv.requires_grad else _fused_attention(qkv, bias)

    def bias(self):
        """Relative position bias plus mask, ``[kinds, h, M, M]``."""
        size = self.window**2
        bias = F.embedding(self.index, self.relative_position_bias_table).view(size, size, -1).permute(2, 0, 1)
        return bias + self.masks[:, None]


def _fused_attention(qkv, bias):
    """Attention without a gradient to the bias, which torch's fused kernel lacks; it keeps no weights."""
    heads, size, _ = bias.shape
    q, k, v = _split_heads(qkv, 3, heads, size).transpose(1, 2)  # each [N, h, M, d]
    return F.scaled_dot_product_attention(q, k, v, bias[None]).transpose(1, 2).reshape(len(qkv), -1)


class _Attention(torch.autograd.Function):
    r"""
    Attention of many small windows, with its gradient written out.

    :math:`P = \mathrm{softmax}(s\,q k^T + b)`, :math:`o = P v`; s is the inverse root of the head's width. Nothing but
    P and the input is kept, and k is transposed first, as batches of matrices this small multiply twice as fast so.
    """

    @staticmethod
    def forward(ctx, qkv, bias):
        heads, size, _ = bias.shape
        q, k, v = _split_heads(qkv, 3, heads, size)  # each [h, N, M, d]
        weights = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-2, -1).contiguous()).add_(bias[:, None])
        torch.softmax(weights, dim=-1, out=weights)
        ctx.save_for_backward(qkv, weights)
        return torch.matmul(weights, v).permute(1, 2, 0, 3).reshape(len(qkv), -1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        qkv, weights = ctx.saved_tensors
        heads, _, size, _ = weights.shape
        q, k, v = _split_heads(qkv, 3, heads, size)
        (g,) = _split_heads(gradient, 1, heads, size)
        slopes = torch.matmul(g, v.transpose(-2, -1).contiguous())
        slopes = torch._softmax_backward_data(slopes, weights, -1, weights.dtype)  # of the scores
        dqkv = torch.empty_like(qkv)
        dq, dk, dv = _split_heads(dqkv, 3, heads, size)
        scale = q.shape[-1] ** -0.5
        dq.copy_(torch.matmul(slopes, k)).mul_(scale)
        dk.copy_(torch.matmul(slopes.transpose(-2, -1), q)).mul_(scale)
        dv.copy_(torch.matmul(weights.transpose(-2, -1), g))
        return dqkv, slopes.sum(dim=1)


def _split_heads(tokens, parts, heads, size):
    """View tokens ``[N*M, parts*h*d]`` as ``[parts, h, N, M, d]``."""
    return tokens.view(-1, size, parts, heads, tokens.shape[-1] // (parts * heads)).permute(2, 3, 0, 1, 4)


class _Gather(torch.autograd.Function):
    """Rows in another order; its gradient is a gather too, where that of indexing would be a slow scatter."""

    @staticmethod
    def forward(ctx, rows, index, inverse):
        ctx.save_for_backward(index, inverse)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx, gradient):
        index, inverse = ctx.saved_tensors
        return _Gather.apply(gradient, inverse, index), None, None


@lru_cache(maxsize=16)
def _change_order(shape, window, before, after, device):
    """Index, and its inverse, that takes tokens from windows of one shift to those of another (None: image order)."""
    old, new = (_window_order(*shape, window, shift) for shift in (before, after))
    index, inverse = np.argsort(old)[new], np.argsort(new)[old]
    with torch.inference_mode(False):  # the cache outlives the caller's inference mode, and training may meet it later
        return tuple(torch.from_numpy(rows.astype(np.int32)).to(device) for rows in (index, inverse))


def _window_order(batch, height, breadth, window, shift):
    """Row-major position in the batch of each token, window by window."""
    place = np.arange(batch * height * breadth).reshape(batch, height, breadth)
    if shift is None:
        return place.ravel()
    rolled = np.roll(place, (-shift, -shift), axis=(1, 2))
    tiles = rolled.reshape(batch, height // window, window, breadth // window, window).swapaxes(2, 3)
    windows = tiles.reshape(-1, window**2)
    kinds = np.tile(_window_kinds(height // window, breadth // window, shift).ravel(), batch)
    return windows[np.argsort(kinds, kind="stable")].ravel()


def _window_kinds(rows, columns, shift):
    """Mask that each window meets: 0 for none; 1, 2, 3 where the shift wrapped it around in x, in y, in both."""
    kinds = np.zeros((rows, columns), dtype=int)
    if shift:
        kinds[:, -1] += 1
        kinds[-1, :] += 2
    return kinds


@lru_cache(maxsize=16)
def _windows_per_kind(shape, window, shift):
    batch, height, breadth = shape
    kinds = _window_kinds(height // window, breadth // window, shift)
    return tuple(int(count) for count in batch * np.bincount(kinds.ravel(), minlength=4 if shift else 1))


def _chunks(counts, most, size):
    """Cut runs of windows of one kind into chunks; their lengths in tokens, and kinds."""
    lengths, kinds = [], []
    for kind, count in enumerate(counts):
        full, rest = divmod(count, most)
        lengths += [most * size] * full + [rest * size] * bool(rest)
        kinds += [kind] * (full + bool(rest))
    return lengths, kinds


def _shift_masks(window, shift):
    """Masks ``[kinds, M, M]`` that keep tokens of a wrapped window to their own side of the image's edge."""
    beyond = torch.arange(window) >= window - shift
    x = beyond.repeat(window)
    y = beyond.repeat_interleave(window)
    regions = [torch.zeros_like(x), x, y, x + 2 * y] if shift else [torch.zeros_like(x)]
    return torch.stack([FORBIDDEN * (r[:, None] != r[None, :]).float() for r in regions])


def _relative_position(window):
    """Row of the bias table for each pair of tokens, ``[M * M]``."""
    y, x = (axis.ravel() for axis in np.mgrid[:window, :window])
    dy, dx = (axis[:, None] - axis[None, :] + window - 1 for axis in (y, x))
    return torch.from_numpy((dy * (2 * window - 1) + dx).ravel())


def _drop_derived(_, state_dict, prefix, *__):
    """Remove what official state dicts hold beside weights, which follows from the configuration."""
    for name in ("attn_mask", "attn.relative_position_index"):
        state_dict.pop(prefix + name, None)


def _residual_conv(width, resi):
    if resi == "1conv":
        return conv(width, width)
    if resi == "3conv":
        slim = width // 4
        first, middle, last = conv(width, slim), conv(slim, slim, 1), conv(slim, width)
        return nn.Sequential(first, nn.LeakyReLU(0.2), middle, nn.LeakyReLU(0.2), last)
    msg = f"resi must be '1conv' or '3conv', got {resi!r}"
    raise ValueError(msg)


def _upsampling_steps(scale, width):
    """Convolution and pixel shuffle by 2 as often as needed, or once by 3."""
    factors = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
    return [layer for s in factors for layer in (conv(width, width * s * s), nn.PixelShuffle(s))]


def _init_linear(module):
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def _check_sizes(depths, width, heads, window):
    if not depths or min(depths) < 1:
        msg = f"depths must be one or more positive numbers of blocks, got {depths}"
        raise ValueError(msg)
    if width % heads:
        msg = f"heads must divide width, got width={width} and heads={heads}"
        raise ValueError(msg)
    if window < 2 or window % 2:
        msg = f"window must be even and at least 2, got {window}"
        raise ValueError(msg)
