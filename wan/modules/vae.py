r"""The causal 3D VAE: video in pixels to latents at stride 4 x 8 x 8 and back.

Wan, https://arxiv.org/abs/2503.20314, section 4.1. The first frame stands
alone; every later latent frame holds four video frames. Clips of any length
stream through in chunks of one latent frame, so memory does not grow with the
length; spatial tiles bound it in height and width too.
"""
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import torch
import torch.nn as nn

from ..utils.checkpoint import (
    CheckpointError,
    find_weights,
    load_weights,
    sidecar,
)
from ..utils.sizes import VAE_SIZES
from .tiling import OnChunk, Tile, TileShare, parts
from .vae_chunks import decode_chunks, encode_chunks
from .vae_layers import AttentionBlock as AttentionBlock
from .vae_layers import (
    Cache,
    CausalConv3d,
    CausalSequential,
    Resample,
    channels_last,
    head,
    middle,
    stage,
)
from .vae_layers import ResidualBlock as ResidualBlock
from .vae_layers import RMS_norm as RMS_norm

__all__ = ['WanVAE']

# Statistics of the official VAE's latents, per channel.
MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)
STD = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687,
       2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)

OFFICIAL = dict(
    dim=96, dim_mult=(1, 2, 4, 4), num_res_blocks=2, attn_scales=(),
    temperal_downsample=(False, True, True), dropout=0.0)

# Side of a tile and cells shared by neighbours, in latent cells (8 pixels).
TILE = (48, 8)


class Encoder3d(nn.Module):
    r"""Video to latent features; the arguments are those of `WanVAE_`."""

    def __init__(self, dim: int = 128, z_dim: int = 4,
                 dim_mult: Sequence[int] = (1, 2, 4, 4),
                 num_res_blocks: int = 2, attn_scales: Sequence[float] = (),
                 temperal_downsample: Sequence[bool] = (True, True, False),
                 dropout: float = 0.0) -> None:
        super().__init__()
        dims = [dim * m for m in (1, *dim_mult)]
        self.conv1 = CausalConv3d(3, dims[0], 3, padding=1)
        layers, scale = [], 1.0
        for i, (in_dim, out_dim) in enumerate(pairwise(dims)):
            layers += stage(in_dim, out_dim, num_res_blocks,
                            scale in attn_scales, dropout)
            if i < len(dim_mult) - 1:
                rank = '3d' if temperal_downsample[i] else '2d'
                layers.append(Resample(out_dim, f'downsample{rank}'))
                scale /= 2
        self.downsamples = CausalSequential(*layers)
        self.middle = middle(dims[-1], dropout)
        self.head = head(dims[-1], z_dim)

    def forward(
            self, x: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        r"""[B, 3, T, H, W] -> [B, z_dim, T', H', W'].

        With a cache `x` is the next chunk: a clip's first frame, then as many
        frames as make one latent frame, or a multiple of it.
        """
        x = self.conv1(x, cache)
        x = self.downsamples(x, cache)
        x = self.middle(x, cache)
        return self.head(x, cache)


class Decoder3d(nn.Module):
    r"""Latent to video; the arguments are those of `WanVAE_`."""

    def __init__(self, dim: int = 128, z_dim: int = 4,
                 dim_mult: Sequence[int] = (1, 2, 4, 4),
                 num_res_blocks: int = 2, attn_scales: Sequence[float] = (),
                 temperal_upsample: Sequence[bool] = (False, True, True),
                 dropout: float = 0.0) -> None:
        super().__init__()
        dims = [dim * m for m in (dim_mult[-1], *reversed(dim_mult))]
        self.conv1 = CausalConv3d(z_dim, dims[0], 3, padding=1)
        self.middle = middle(dims[0], dropout)
        layers, scale = [], 0.5**(len(dim_mult) - 2)
        for i, (in_dim, out_dim) in enumerate(pairwise(dims)):
            # The upsampling before every stage but the first halved them.
            layers += stage(in_dim // 2 if i else in_dim, out_dim,
                            num_res_blocks + 1, scale in attn_scales, dropout)
            if i < len(dim_mult) - 1:
                rank = '3d' if temperal_upsample[i] else '2d'
                layers.append(Resample(out_dim, f'upsample{rank}'))
                scale *= 2
        self.upsamples = CausalSequential(*layers)
        self.head = head(dims[-1], 3)

    def forward(
            self, x: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        r"""[B, z_dim, T, H, W] -> [B, 3, T', H', W'].

        With a cache `x` is the next chunk: any number of latent frames.
        """
        x = self.conv1(x, cache)
        x = self.middle(x, cache)
        x = self.upsamples(x, cache)
        return self.head(x, cache)


class WanVAE_(nn.Module):
    r"""The network: an encoder and a decoder that stream.

    Args:
        dim: channels of the widest (in pixels) stage.
        z_dim: latent channels.
        dim_mult: channels of each stage over `dim`.
        num_res_blocks: residual blocks of an encoder stage; a decoder stage
            has one more.
        attn_scales: scales whose stages have attention; official: none.
        temperal_downsample: for each of the stages but the last whether it
            halves the frame rate, encoder order.
        dropout: dropout probability of the residual blocks.
    """

    def __init__(self, dim: int = 128, z_dim: int = 4,
                 dim_mult: Sequence[int] = (1, 2, 4, 4),
                 num_res_blocks: int = 2, attn_scales: Sequence[float] = (),
                 temperal_downsample: Sequence[bool] = (True, True, False),
                 dropout: float = 0.0) -> None:
        super().__init__()
        self.z_dim = z_dim
        # Frames and pixels of a latent cell: (4, 8) officially.
        self.stride = (2**sum(temperal_downsample), 2**(len(dim_mult) - 1))
        shared = (dim_mult, num_res_blocks, attn_scales)
        self.encoder = Encoder3d(
            dim, z_dim * 2, *shared, temperal_downsample, dropout)
        self.conv1 = CausalConv3d(z_dim * 2, z_dim * 2, 1)
        self.conv2 = CausalConv3d(z_dim, z_dim, 1)
        self.decoder = Decoder3d(
            dim, z_dim, *shared, temperal_downsample[::-1], dropout)

    def encode(self, x: torch.Tensor, scale: Sequence, *,
               tile: tuple[int, int] | None = None,
               on_chunk: OnChunk | None = None,
               share: TileShare | None = None) -> torch.Tensor:
        r"""The normalised latent mean of a video.

        Args:
            x: [B, 3, T, H, W] in [-1, 1], on any device: chunks move to the
                network's. As in the official code, frames past 1 + 4k are
                dropped; pixels past a multiple of 8 are seen by the border
                cells but get no cell of their own.
            scale: latent mean and 1 / standard deviation, [z_dim] each.
            tile: side and overlap of spatial tiles in latent cells; None
                takes frames whole.
            on_chunk: progress callback.
            share: of the tiles; the result has those of all processes.

        Returns:
            float32 [B, z_dim, 1 + (T - 1) // 4, H // 8, W // 8] on x's device.

        Raises:
            ValueError: `x` has another shape, or is smaller than one cell.
        """
        time, space = self.stride
        _check(x, 3, space)
        batch, _, frames, height, width = x.shape
        grid = (1 + (frames - 1) // time, height // space, width // space)
        out = x.new_zeros((batch, self.z_dim, *grid), dtype=torch.float32)
        for part in parts(grid, self.stride, tile, on_chunk, share):
            out[part.latent] += self.encoded(
                x[part.video], scale, part.tile, out)
        return out if share is None else share.total(out)

    def decode(self, z: torch.Tensor, scale: Sequence, *,
               tile: tuple[int, int] | None = None,
               on_chunk: OnChunk | None = None,
               share: TileShare | None = None) -> torch.Tensor:
        r"""The video of a normalised latent; not clamped.

        Args:
            z: [B, z_dim, T, H, W] on any device.
            scale, tile, on_chunk, share: see `encode`.

        Returns:
            float32 [B, 3, 1 + 4 (T - 1), 8 H, 8 W] on z's device.

        Raises:
            ValueError: `z` has another shape.
        """
        _check(z, self.z_dim, 1)
        time, space = self.stride
        batch, _, *grid = z.shape
        out = z.new_zeros(
            (batch, 3, 1 + time * (grid[0] - 1), space * grid[1],
             space * grid[2]), dtype=torch.float32)
        for part in parts(grid, self.stride, tile, on_chunk, share):
            out[part.video] += self.decoded(
                z[part.latent], scale, part.tile, out)
        return out if share is None else share.total(out)

    def encoded(self, x: torch.Tensor, scale: Sequence, tile: Tile,
                like: torch.Tensor) -> torch.Tensor:
        r"""The next chunk of a tile, [B, 3, n, H, W], as one latent frame.

        It is weighted for the sum of all tiles, of `like`'s device and dtype.
        """
        mean, inv_std = (_channels(s, like) for s in scale)
        y = self.encoder(x.to(self.conv1.weight), tile.cache)
        mu = self.conv1(y)[:, :self.z_dim].to(like)
        return (mu - mean) * inv_std * tile.weights().to(like)

    def decoded(self, z: torch.Tensor, scale: Sequence, tile: Tile,
                like: torch.Tensor) -> torch.Tensor:
        r"""The next latent frame of a tile as video, weighted likewise."""
        mean, inv_std = (_channels(s, like) for s in scale)
        y = self.conv2((z.to(like) / inv_std + mean).to(self.conv2.weight))
        y = self.decoder(y, tile.cache).to(like)
        return y * tile.weights(self.stride[1]).to(like)


def _channels(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(values).to(like).view(1, -1, 1, 1, 1)


def _check(x: torch.Tensor, channels: int, least: int) -> None:
    if (x.dim() != 5 or x.shape[1] != channels or x.shape[2] < 1 or
            min(x.shape[3:]) < least):
        raise ValueError(
            f'Expected [B, {channels}, T, H, W] with T >= 1 and H, W >= '
            f'{least}; got {list(x.shape)}.')


class WanVAE:
    r"""The VAE with its weights: lists of videos in, lists of latents out.

    Args:
        z_dim: latent channels.
        vae_pth: weights, .pth or .safetensors. A .json beside them may name
            other `WanVAE_` arguments than the official ones, and the `mean`
            and `std` of that network's latents.
        dtype: dtype of weights and activations; latents and videos are
            float32 whatever it is.
        device: where the network runs.
        tiling: work in blended spatial tiles of 384 x 384 pixels, which
            bounds memory at a small cost in accuracy and time.
        share: this process's share of these tiles.

    Raises:
        CheckpointError: no such file, unreadable, or of another network; or
            the numbers beside it are beyond `VAE_SIZES` or do not agree.
    """

    share: TileShare | None = None

    def __init__(self, z_dim: int = 16,
                 vae_pth: str = 'cache/vae_step_411000.pth',
                 dtype: torch.dtype = torch.float,
                 device: torch.device | str = 'cuda', *,
                 tiling: bool = False,
                 share: TileShare | None = None) -> None:
        self.dtype = dtype
        self.device = device
        self.tile = TILE if tiling else None
        # Without tiles there is nothing to share.
        self.share = share if tiling else None
        path = find_weights(vae_pth)
        config = OFFICIAL | {'z_dim': z_dim, 'mean': MEAN, 'std': STD}
        config |= sidecar(path, VAE_SIZES)
        # Statistics stay float32: rounding them would shift every latent.
        self.mean, self.std = (
            torch.tensor(config.pop(k), dtype=torch.float32, device=device)
            for k in ('mean', 'std'))
        self.scale = [self.mean, 1.0 / self.std]
        stages, halved = (
            len(config[k]) for k in ('dim_mult', 'temperal_downsample'))
        if halved != stages - 1:
            raise CheckpointError(
                f'{path}: a VAE with {stages} values of dim_mult needs '
                f'{stages - 1} of temperal_downsample; got {halved}.')
        with torch.device('meta'):
            model = WanVAE_(**config)
        for name in ('mean', 'std'):
            values = getattr(self, name)
            if values.shape != (model.z_dim,):
                raise CheckpointError(
                    f'{path}: a VAE with z_dim {model.z_dim} needs as many '
                    f'values of {name}; got {values.numel()}.')
        self.model = channels_last(load_weights(model, path, dtype, device))

    def encode(
        self, videos: list[torch.Tensor], on_chunk: OnChunk | None = None
    ) -> list[torch.Tensor]:
        r"""Encode videos [3, T, H, W] in [-1, 1], one after the other.

        Frames past 1 + 4k are dropped. See `WanVAE_.encode`.

        Returns:
            float32 latents [z_dim, 1 + (T - 1) // 4, H // 8, W // 8].
        """
        return [
            self.model.encode(
                video[None], self.scale, tile=self.tile, on_chunk=on_chunk,
                share=self.share)[0] for video in videos
        ]

    def decode(
        self, zs: list[torch.Tensor], on_chunk: OnChunk | None = None
    ) -> list[torch.Tensor]:
        r"""Decode latents [z_dim, T, H, W], one after the other.

        Returns:
            float32 videos [3, 1 + 4 (T - 1), 8 H, 8 W] clamped to [-1, 1].
        """
        return [
            self.model.decode(
                z[None], self.scale, tile=self.tile, on_chunk=on_chunk,
                share=self.share)[0].clamp_(-1, 1) for z in zs
        ]

    def encode_chunks(self, frames: Iterable[torch.Tensor]) -> torch.Tensor:
        r"""Encode one video of any length as its frames come.

        Args:
            frames: [3, n, H, W] in [-1, 1], any n at a time, or [3, H, W].

        Raises:
            ValueError: no frames, or of several sizes.

        Returns:
            The latent, bit for bit that of `encode`.
        """
        return torch.cat(list(encode_chunks(
            self.model, frames, self.scale, self.tile, self.share)), 1)

    def decode_chunks(self, z: torch.Tensor) -> Iterator[torch.Tensor]:
        r"""Decode one latent [z_dim, T, H, W], one of its frames at a time.

        Yields:
            float32 [3, 1, 8 H, 8 W], then [3, 4, 8 H, 8 W] each, clamped to
            [-1, 1]: together, bit for bit, what `decode` gives.
        """
        for chunk in decode_chunks(
                self.model, z, self.scale, self.tile, self.share):
            yield chunk.clamp_(-1, 1)
