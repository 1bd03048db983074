r"""Masks on the grids they are used on, and the composite.

A mask is 1 at the product, on one of three grids: pixels [F, H, W], the
latent [T, h, w] (8 x 8 pixels; latent frame 0 is frame 0, latent frame t is
frames 4t - 3 to 4t) and tokens (2 x 2 cells of the latent).
"""
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from ..modules.rope import Grid
from .filters import blur, dilate

# Frames of a latent frame after the first.
TIME_STRIDE = 4
# Most of a token: at the rim, where they would paint the product over the
# scene, none read.
READING_SHARE = 0.75


@dataclass(frozen=True)
class Region:
    r"""Where an edit may change the video.

    Args:
        cells: [T, h, w] on the latent's grid, 1 at the product, else 0.
        found: False when nothing told the product apart and the region is
            everything.
    """
    cells: torch.Tensor
    found: bool = True

    @classmethod
    def given(
        cls, mask: torch.Tensor, latent_shape: Sequence[int], grow: int = 0
    ) -> 'Region':
        r"""Of a mask [1 or F, H, W], dilated by some cells.

        Raises:
            ValueError: see `mask_to_latent`.
        """
        return cls(dilate(mask_to_latent(mask, latent_shape), grow))

    @classmethod
    def everywhere(cls, latent: torch.Tensor) -> 'Region':
        r"""Of a latent [C, T, h, w] of which nothing is told apart."""
        return cls(torch.ones_like(latent[0]), found=False)

    @property
    def limits(self) -> bool:
        r"""Whether anything lies outside."""
        return bool((self.cells < 1).any())

    def to(self, device: torch.device | str) -> 'Region':
        r"""The same with its cells on a device."""
        return replace(self, cells=self.cells.to(device))

    def joined(self, mask: torch.Tensor) -> 'Region':
        r"""With the places of another mask [F, H, W], if it marks any."""
        if not mask.any():
            return self
        other = mask_to_latent(mask, self.cells.shape).to(self.cells)
        return replace(self, cells=torch.maximum(self.cells, other))

    def tokens(self, grid: Grid) -> torch.Tensor:
        r"""[f * h * w], bool, the tokens that read a reference."""
        return token_mask(self.cells, grid, READING_SHARE)

    def boxes(self, grid: Grid) -> torch.Tensor:
        r"""[f, 4], the box around these tokens in each frame, see `boxes`."""
        return boxes(self.tokens(grid).view(grid))

    def pixels(self, video_shape: Sequence[int]) -> torch.Tensor:
        r"""[F, H, W] on the CPU, for a video [3, F, H, W]."""
        return upsample_mask(self.cells.cpu(), video_shape)


def frames_of(window: slice) -> slice:
    r"""The frames of a window of latent frames, as a clip of its own.

    Its first latent frame stands for one frame, the last of its four.
    """
    first = TIME_STRIDE * (window.start or 0)
    return slice(first, None if window.stop is None
                 else TIME_STRIDE * (window.stop - 1) + 1)


def over_windows(
    windows: Sequence[slice], masks: Sequence[torch.Tensor | None]
) -> torch.Tensor | None:
    r"""The mask of a video whose windows have these: where any of them is.

    Args:
        windows: of latent frames.
        masks: [F, H, W] of each, None where nothing was found.

    Returns:
        [F, H, W] of the video; None when nothing was found in any.
    """
    if len(masks) == 1:
        return masks[0]
    found = [(frames_of(window), mask) for window, mask in zip(
        windows, masks, strict=True) if mask is not None]
    if not found:
        return None
    first = found[0][1]
    whole = first.new_zeros(
        frames_of(windows[-1]).stop, *first.shape[1:])
    for frames, mask in found:
        whole[frames] = torch.maximum(whole[frames], mask)
    return whole


def mask_to_latent(
    mask: torch.Tensor, latent_shape: Sequence[int], share: float = 0.1
) -> torch.Tensor:
    r"""A given mask on the latent's grid.

    A cell counts when the frames it covers, taken together, mark more than
    `share` of it: little, as an edit inside too tight a mask keeps the old
    product's outline.

    Args:
        mask: [F, H, W] in [0, 1], F = 4T - 3; one frame holds for all.
        latent_shape: ends in (T, h, w).

    Returns:
        [T, h, w], 0 or 1.

    Raises:
        ValueError: the number of frames does not fit, or nothing is marked.
    """
    frames, *size = latent_shape[-3:]
    expected = TIME_STRIDE * (frames - 1) + 1
    if len(mask) == 1:
        mask = mask.expand(expected, -1, -1)
    if len(mask) != expected:
        raise ValueError(
            f'The mask has {len(mask)} frames, allowed are 1 or the '
            f"video's {expected}.")
    mask = torch.cat([mask[:1].expand(TIME_STRIDE - 1, -1, -1), mask]).float()
    together = mask.unflatten(0, (frames, TIME_STRIDE)).amax(1)
    latent = (_pool(together, size) > share).float()
    if not latent.any():
        raise ValueError(
            'The mask marks nothing: the product must be white in it, and '
            'larger than a few pixels.')
    return latent


def upsample_mask(
    mask: torch.Tensor, video_shape: Sequence[int]
) -> torch.Tensor:
    r"""[T, h, w] on the latent's grid to pixels, (F, H, W) = `video_shape`.

    A right inverse of `mask_to_latent`, which merges the frames of a cell.
    """
    frames, *size = video_shape[-3:]
    mask = by_frames(mask.float(), frames)
    return F.interpolate(mask[:, None], size, mode='nearest')[:, 0]


def by_frames(cells: torch.Tensor, frames: int) -> torch.Tensor:
    r"""[T, h, w] by latent frames to [F, h, w] by frames of the video."""
    return cells.repeat_interleave(TIME_STRIDE, 0)[-frames:]


def token_mask(
    mask: torch.Tensor, grid: Sequence[int], share: float = 0.5
) -> torch.Tensor:
    r"""The tokens of which at least `share` lies in the mask.

    Args:
        mask: [f, H, W] in [0, 1], pixels or latent cells.
        grid: (f, h, w) in tokens.
        share: half and more by default, so that the keys that are read hold
            more product than ground.

    Returns:
        [f * h * w], bool; in a frame where no token reaches `share`, the
        fullest ones, none if nothing is marked.
    """
    filled = _pool(mask.float(), grid[1:]).flatten(1)
    enough = filled.amax(1, keepdim=True).clamp(max=share)
    return ((filled >= enough) & (filled > 0)).flatten()


def boxes(mask: torch.Tensor) -> torch.Tensor:
    r"""The box around the mask in each frame, in its cells.

    Args:
        mask: [T, h, w].

    Returns:
        [T, 4], int64, first row, first column, and the row and column after
        the last. A frame without product has the box of the nearest frame
        with it, of two the earlier one; the whole frame where none has it.
    """
    mask = mask > 0
    seen = mask.flatten(1).any(1).nonzero().flatten()
    if len(seen) == 0:
        mask, seen = ~mask, torch.arange(len(mask), device=mask.device)
    ends = []
    for line in (mask.any(2), mask.any(1)):  # rows [T, h], columns [T, w]
        line = line.int()
        ends.append((line.argmax(1), line.size(1) - line.flip(1).argmax(1)))
    found = torch.stack([ends[i][j] for j in (0, 1) for i in (0, 1)], dim=1)
    frames = torch.arange(len(mask), device=mask.device)
    distance = (frames[:, None] - seen).abs()
    return found[seen[distance.argmin(1)]]


def blocky(
    mask: torch.Tensor, grow: int = 10, block: int = 32
) -> torch.Tensor:
    r"""A mask grown, and then by whole blocks: no outline is left in it.

    Args:
        mask: [F, H, W], 1 at the product, else 0.
        grow, block: in pixels.

    Returns:
        [F, H, W], 0 or 1.
    """
    height, width = mask.shape[1:]
    grown = dilate(mask.float(), grow)
    blocks = F.max_pool2d(grown, block, ceil_mode=True)
    filled = blocks.repeat_interleave(block, 1).repeat_interleave(block, 2)
    return filled[:, :height, :width].contiguous()


def feather(mask: torch.Tensor, radius: int) -> torch.Tensor:
    r"""A mask that falls off softly around its edge.

    Args:
        mask: [F, H, W] in [0, 1].
        radius: in pixels, of rows or columns.

    Returns:
        [F, H, W], exactly 1 where the mask is, exactly 0 further than
        `radius` from it.
    """
    # Half of the way is taken by the dilation, half by the blur's reach.
    half = radius // 2
    soft = dilate(mask.float(), half)
    # By frames, which fit the cache.
    frames = [blur(blur(f, half / 3, 0), half / 3, 1) for f in soft]
    return torch.maximum(torch.stack(frames).clamp(max=1), mask.float())


def composite(
    edited: torch.Tensor,
    source: torch.Tensor,
    mask: torch.Tensor,
    radius: int = 16,
) -> torch.Tensor:
    r"""The source put back outside the mask.

    Args:
        edited, source: videos [3, F, H, W].
        mask: [F, H, W] in [0, 1], 1 where the edit stays.
        radius: of the feathered edge outside the mask, in pixels.
    """
    # Exact where the weight is 0 or 1.
    return torch.lerp(source, edited, feather(mask, radius).to(source))


def _pool(mask: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    r"""[T, H, W] to the mean over each cell of a grid (h, w)."""
    return F.adaptive_avg_pool2d(mask, tuple(size))
