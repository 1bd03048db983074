r"""How a video and its latent are cut into chunks and blended tiles.

The first video frame stands alone in the latent; each later latent frame
stands for `stride[0]` frames, each latent cell for `stride[1]` pixels a side.
"""
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product
from typing import NamedTuple

import torch

# Called after each chunk with (chunks done, chunks in all).
OnChunk = Callable[[int, int], None]


class TileShare(NamedTuple):
    r"""This process's share of the tiles.

    Args:
        index, count: tiles index, index + count, ... are its own.
        total: adds up a tensor over all processes.
    """
    index: int
    count: int
    total: Callable[[torch.Tensor], torch.Tensor]


class Span(NamedTuple):
    r"""Cells [start, stop) of an axis, shared with a neighbour at each end.

    `before` and `after` count the cells shared with the span on that side, 0
    at the ends of the axis; `last` marks the span that ends it. Every method
    takes `stride`, the samples per cell, so that one span serves a latent axis
    and the pixel axis it stands for.
    """
    start: int
    stop: int
    before: int
    after: int
    last: bool

    def slice(self, stride: int = 1) -> slice:
        r"""The samples; the last span takes a remainder below one cell too."""
        stop = None if self.last else self.stop * stride
        return slice(self.start * stride, stop)

    def weights(self, stride: int = 1) -> torch.Tensor:
        r"""Blending weights [n]: linear ramps over the shared cells, else 1."""
        weights = torch.ones((self.stop - self.start) * stride)
        before, after = self.before * stride, self.after * stride
        weights[:before] = _ramp(before)
        weights[len(weights) - after:] = _ramp(after).flip(0)
        return weights


def _ramp(n: int) -> torch.Tensor:
    # Sampled at cell centres, so that a ramp and its mirror sum to one.
    return (torch.arange(n) + 0.5) / max(n, 1)


def spans(length: int, size: int, overlap: int) -> list[Span]:
    r"""Cover `length` cells with as few equal spans as fit in `size`.

    Neighbours share exactly `overlap` cells and lengths differ by one at most,
    which costs less than full spans with a larger overlap at the end.

    Raises:
        ValueError: size < 3 * overlap (a cell could lie in three spans).
    """
    if overlap < 0 or size < max(1, 3 * overlap):
        raise ValueError(f'A span needs 0 <= 3 * overlap <= size and size >= '
                         f'1; got size {size}, overlap {overlap}.')
    count = max(1, math.ceil((length - overlap) / (size - overlap)))
    edges = [i * (length - overlap) // count for i in range(count + 1)]
    return [
        Span(start, stop + overlap,
             before=overlap if i else 0,
             after=overlap if i < count - 1 else 0,
             last=i == count - 1)
        for i, (start, stop) in enumerate(pairwise(edges))
    ]


class Tile(NamedTuple):
    r"""One tile of a clip, and what its earlier chunks left behind.

    Attributes:
        row, col: its latent cells.
        cache: see `vae_layers.Cache`; empty before the first chunk.
    """
    row: Span
    col: Span
    cache: dict

    def area(self, stride: int = 1) -> tuple:
        r"""Its index in a latent or, by stride, in a video [..., H, W]."""
        return ..., self.row.slice(stride), self.col.slice(stride)

    def weights(self, stride: int = 1) -> torch.Tensor:
        r"""Blending weights [H, W]; over all tiles they sum to one."""
        return torch.outer(self.row.weights(stride), self.col.weights(stride))


def tiles(
    height: int,
    width: int,
    tile: tuple[int, int] | None = None,
    share: TileShare | None = None,
) -> list[Tile]:
    r"""The tiles of a clip of height x width latent cells.

    Args:
        tile: side and overlap of the tiles in latent cells; None is one tile.
        share: only the tiles of this share.
    """
    size = tile or (max(height, width), 0)
    found = list(product(spans(height, *size), spans(width, *size)))
    if share is not None:
        found = found[share.index::share.count]
    return [Tile(row, col, {}) for row, col in found]


class Part(NamedTuple):
    r"""One chunk of one tile.

    Attributes:
        tile: the tile.
        latent: index of the part in the latent [..., T, H, W].
        video: index of the part in the video [..., T, H, W].
    """
    tile: Tile
    latent: tuple
    video: tuple


def parts(
    grid: Sequence[int],
    stride: tuple[int, int],
    tile: tuple[int, int] | None = None,
    on_chunk: OnChunk | None = None,
    share: TileShare | None = None,
) -> Iterator[Part]:
    r"""Walk a latent tile by tile, each tile through all its frames.

    In this order the cache of one tile alone is alive.

    Args:
        grid: latent frames, height and width.
        stride: video frames and pixels per latent cell.
        tile, share: see `tiles`.
        on_chunk: called when the caller is done with a part.
    """
    frames, height, width = grid
    time, space = stride
    found = tiles(height, width, tile, share)
    for i, one in enumerate(found):
        (_, *latent), (_, *video) = one.area(), one.area(space)
        for t in range(frames):
            stop = 1 + time * t
            yield Part(one, (..., slice(t, t + 1), *latent),
                       (..., slice(max(0, stop - time), stop), *video))
            if on_chunk is not None:
                on_chunk(i * frames + t + 1, len(found) * frames)
        one.cache.clear()
