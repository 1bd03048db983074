r"""One clip of any length through the VAE, chunk by chunk.

Nothing of the clip is held but the chunk at hand and what the layers need of
earlier ones (of every tile, as all tiles walk through time together), so
memory does not grow with the length.
"""
from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn as nn

from .tiling import TileShare, tiles


@torch.no_grad()
def encode_chunks(
    model: nn.Module,
    frames: Iterable[torch.Tensor],
    scale: Sequence,
    tile: tuple[int, int] | None = None,
    share: TileShare | None = None,
) -> Iterator[torch.Tensor]:
    r"""The latent frames of a video, as soon as each is known.

    Args:
        model: the network, a `WanVAE_`.
        frames: [3, n, H, W] in [-1, 1], any n at a time, or [3, H, W]. Those
            past 1 + 4k in all are dropped.
        scale, tile, share: see `WanVAE_.encode`.

    Yields:
        float32 [z_dim, 1, H // 8, W // 8] on the device of the frames.

    Raises:
        ValueError: no frames, of another shape than the first, or smaller
            than a cell.
    """
    time, space = model.stride
    walked, size = None, None
    for chunk in _grouped(frames, time):
        if walked is None:
            size = chunk.shape[-2:]
            if chunk.shape[0] != 3 or min(size) < space:
                raise ValueError(
                    f'Expected frames [3, n, H, W] with H, W >= {space}; got '
                    f'{list(chunk.shape)}.')
            walked = tiles(*(side // space for side in size), tile, share)
        if chunk.shape[-2:] != size:
            raise ValueError(
                f'A frame is of {list(chunk.shape[-2:])} pixels, those '
                f'before it of {list(size)}.')
        out = chunk.new_zeros(
            (1, model.z_dim, 1, *(side // space for side in size)),
            dtype=torch.float32)
        for one in walked:
            out[one.area()] += model.encoded(
                chunk[None][one.area(space)], scale, one, out)
        yield (out if share is None else share.total(out))[0]
    if walked is None:
        raise ValueError('There are no frames to encode.')


@torch.no_grad()
def decode_chunks(
    model: nn.Module,
    z: torch.Tensor,
    scale: Sequence,
    tile: tuple[int, int] | None = None,
    share: TileShare | None = None,
) -> Iterator[torch.Tensor]:
    r"""The video of a latent, one latent frame after the other.

    Args:
        model: the network, a `WanVAE_`.
        z: [z_dim, T, H, W] on any device.
        scale, tile, share: see `WanVAE_.decode`.

    Yields:
        float32 [3, 1, 8 H, 8 W], then [3, 4, 8 H, 8 W] each, not clamped, on
        z's device.

    Raises:
        ValueError: `z` has another shape.
    """
    if z.dim() != 4 or z.shape[0] != model.z_dim or not z.numel():
        raise ValueError(
            f'Expected a latent [{model.z_dim}, T, H, W]; got '
            f'{list(z.shape)}.')
    time, space = model.stride
    height, width = z.shape[2:]
    walked = tiles(height, width, tile, share)
    for t in range(z.shape[1]):
        out = z.new_zeros(
            (1, 3, time if t else 1, space * height, space * width),
            dtype=torch.float32)
        for one in walked:
            out[one.area(space)] += model.decoded(
                z[None, :, t:t + 1][one.area()], scale, one, out)
        yield (out if share is None else share.total(out))[0]


def _grouped(
    frames: Iterable[torch.Tensor], time: int
) -> Iterator[torch.Tensor]:
    r"""A clip's first frame, then as many as make one latent frame."""
    held, wanted = [], 1
    for given in frames:
        chunk = given[:, None] if given.dim() == 3 else given
        for frame in chunk.split(1, dim=1):
            held.append(frame)
            if len(held) == wanted:
                yield torch.cat(held, 1)
                held, wanted = [], time
