r"""The layers of the causal VAE, each for a whole clip or chunk by chunk.

No layer looks ahead in time, so a clip streams through in chunks: what a layer
needs of earlier frames is in a `Cache` that comes with the chunk and is brought
up to date. Without a cache the same layers take a whole clip at once, with the
same result.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange

# Layer -> the last input frames it has seen; starts empty with each clip.
Cache = dict[nn.Module, torch.Tensor]


class CausalConv3d(nn.Conv3d):
    r"""3D convolution with all its padding in time before the first frame.

    Takes the arguments of `nn.Conv3d`; time padding p means 2p frames of
    zeros, or of the past when a cache holds it.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.lookback = 2 * self.padding[0]
        self.padding = (0, *self.padding[1:])

    def forward(
            self, x: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        r"""[B, C, T, H, W] -> [B, C', T', H', W']."""
        if self.lookback == 0:
            return super().forward(x)
        past = 0
        if cache is not None:
            if self in cache:
                past = cache[self].shape[2]
                x = torch.cat([cache[self], x], 2)
            # A copy, or the slice would keep the whole chunk alive.
            cache[self] = x[:, :, -self.lookback:].clone()
        if x.shape[2] == 1:
            # Only zeros before it: the last tap is the whole convolution.
            return self._conv_forward(x, self.weight[:, :, -1:], self.bias)
        if past < self.lookback:
            x = F.pad(x, (0, 0, 0, 0, self.lookback - past, 0))
        return super().forward(x)

    def _conv_forward(self, x, weight, bias):
        # On the CPU PyTorch sends small float32 3D convolutions to a kernel
        # several times slower than the sum of 2D ones over the taps.
        taps, stride = weight.shape[2], self.stride[0]
        slow = x.device.type == 'cpu' and x.dtype == torch.float32
        if taps > 1 and not slow:
            return super()._conv_forward(x, weight, bias)
        frames = (x.shape[2] - taps) // stride + 1
        out = None
        for k in range(taps):
            stop = k + stride * (frames - 1) + 1
            y = F.conv2d(
                x[:, :, k:stop:stride].transpose(1, 2).flatten(0, 1),
                weight[:, :, k], None if k else bias, self.stride[1:],
                self.padding[1:], self.dilation[1:], self.groups)
            out = out.add_(y) if k else y
        return out.unflatten(0, (-1, frames)).transpose(1, 2)


class RMS_norm(nn.Module):
    r"""Channels scaled to root mean square one, then by a learned gamma.

    Args:
        dim: number of channels C.
        channel_first: channels are axis 1, else the last one.
        images: input is [B, C, H, W], else [B, C, T, H, W].
        bias: add a learned bias.
    """

    def __init__(self, dim: int, channel_first: bool = True,
                 images: bool = True, bias: bool = False) -> None:
        super().__init__()
        shape = (dim, *(1, 1, 1)[images:]) if channel_first else (dim,)
        self.channel_first = channel_first
        self.scale = dim**0.5
        self.gamma = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.normalize(x, dim=1 if self.channel_first else -1)
        x = x.mul_(self.gamma * self.scale)
        return x if self.bias is None else x + self.bias


class CausalSequential(nn.Sequential):
    r"""`nn.Sequential` that hands the cache to the layers that stream."""

    def forward(
            self, x: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        for layer in self:
            streams = isinstance(layer, (CausalConv3d, ResidualBlock, Resample))
            x = layer(x, cache) if streams else layer(x)
        return x


class Resample(nn.Module):
    r"""Halve or double height and width, in the 3d modes the frame rate too.

    Args:
        dim: input channels C; upsampling halves them, downsampling keeps them.
        mode: 'upsample2d', 'upsample3d', 'downsample2d' or 'downsample3d'.
    """

    def __init__(self, dim: int, mode: str) -> None:
        super().__init__()
        self.dim = dim
        self.mode = mode
        if mode in ('upsample2d', 'upsample3d'):
            self.resample = nn.Sequential(
                nn.Upsample(scale_factor=2, mode='nearest-exact'),
                nn.Conv2d(dim, dim // 2, 3, padding=1))
        elif mode in ('downsample2d', 'downsample3d'):
            self.resample = nn.Sequential(
                nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(dim, dim, 3, stride=2))
        else:
            raise ValueError(f'Resample mode is {mode!r}; allowed are '
                             'upsample2d, upsample3d, downsample2d and '
                             'downsample3d.')
        if mode == 'upsample3d':
            self.time_conv = CausalConv3d(
                dim, dim * 2, (3, 1, 1), padding=(1, 0, 0))
        elif mode == 'downsample3d':
            self.time_conv = CausalConv3d(
                dim, dim, (3, 1, 1), stride=(2, 1, 1))

    def forward(
            self, x: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        r"""[B, C, T, H, W] -> [B, C', T', H', W']; T' counts a first frame."""
        cache = {} if cache is None else cache
        if self.mode == 'upsample3d':
            x = self._double_rate(x, cache)
        frames = x.shape[2]
        x = self.resample(rearrange(x, 'b c t h w -> (b t) c h w'))
        x = rearrange(x, '(b t) c h w -> b c t h w', t=frames)
        return self._halve_rate(x, cache) if self.mode == 'downsample3d' else x

    def _double_rate(self, x: torch.Tensor, cache: Cache) -> torch.Tensor:
        if self.time_conv not in cache:
            # The clip's first frame stays one frame, unseen by the next ones.
            first, rest = x[:, :, :1], x[:, :, 1:]
            cache[self.time_conv] = x[:, :, :0]
            if rest.shape[2] == 0:
                return first
            return torch.cat([first, self._double_rate(rest, cache)], 2)
        x = self.time_conv(x, cache)
        x = rearrange(x, 'b (two c) t h w -> b (t two) h w c', two=2)
        return x.movedim(-1, 1)

    def _halve_rate(self, x: torch.Tensor, cache: Cache) -> torch.Tensor:
        last = cache.get(self.time_conv)
        cache[self.time_conv] = x[:, :, -1:].clone()
        if last is not None:
            return self.time_conv(torch.cat([last, x], 2))
        if x.shape[2] == 1:
            return x
        return torch.cat([x[:, :, :1], self.time_conv(x)], 2)


class ResidualBlock(nn.Module):
    r"""Two causal 3x3x3 convolutions beside a shortcut, pre-norm with SiLU."""

    def __init__(self, in_dim: int, out_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.out_dim = out_dim
        self.residual = CausalSequential(
            RMS_norm(in_dim, images=False), nn.SiLU(inplace=True),
            CausalConv3d(in_dim, out_dim, 3, padding=1),
            RMS_norm(out_dim, images=False), nn.SiLU(inplace=True),
            nn.Dropout(dropout), CausalConv3d(out_dim, out_dim, 3, padding=1))
        self.shortcut = nn.Identity()
        if in_dim != out_dim:
            self.shortcut = CausalConv3d(in_dim, out_dim, 1)

    def forward(
            self, x: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        r"""[B, C, T, H, W] -> [B, C', T, H, W]."""
        return self.residual(x, cache).add_(self.shortcut(x))


class AttentionBlock(nn.Module):
    r"""Single-head self-attention over the positions of each frame alone."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.norm = RMS_norm(dim)
        self.to_qkv = nn.Conv2d(dim, dim * 3, 1)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        r"""[B, C, T, H, W] -> the same."""
        frames, height = x.shape[2:4]
        y = self.norm(rearrange(x, 'b c t h w -> (b t) c h w'))
        q, k, v = rearrange(
            self.to_qkv(y), 'n (three c) h w -> three n 1 (h w) c', three=3)
        y = F.scaled_dot_product_attention(q, k, v)
        y = self.proj(rearrange(y, 'n 1 (h w) c -> n c h w', h=height))
        return x + rearrange(y, '(b t) c h w -> b c t h w', t=frames)


def stage(in_dim: int, out_dim: int, blocks: int, attention: bool,
          dropout: float) -> list[nn.Module]:
    r"""Residual blocks at one resolution, each with attention if asked."""
    layers = []
    for i in range(blocks):
        layers.append(
            ResidualBlock(out_dim if i else in_dim, out_dim, dropout))
        if attention:
            layers.append(AttentionBlock(out_dim))
    return layers


def middle(dim: int, dropout: float) -> CausalSequential:
    r"""The blocks at the lowest resolution, with attention."""
    return CausalSequential(
        ResidualBlock(dim, dim, dropout), AttentionBlock(dim),
        ResidualBlock(dim, dim, dropout))


def head(in_dim: int, out_dim: int) -> CausalSequential:
    r"""The last norm and the convolution to the output channels."""
    return CausalSequential(
        RMS_norm(in_dim, images=False), nn.SiLU(inplace=True),
        CausalConv3d(in_dim, out_dim, 3, padding=1))


def channels_last(model: nn.Module) -> nn.Module:
    r"""Lay convolution weights out channels-last, in place.

    Activations follow: convolutions and norms run faster (bf16 on CPU twice as
    fast) and frames fold into the batch as a view.
    """
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for p in model.parameters():
        if p.dim() in formats and p.device.type != 'mps':
            p.data = p.data.contiguous(memory_format=formats[p.dim()])
    return model
