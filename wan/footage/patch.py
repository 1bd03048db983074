r"""Laying an edited patch over a frame of the template, in its own planes."""
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from wan.footage.colours import coded, subsampled, touched
from wan.footage.footage import Footage
from wan.footage.source import Ground
from wan.utils.colour import BT709, from_bt709


class Patch(NamedTuple):
    r"""What is laid over a frame, at the template's size as shown.

    Attributes:
        rgb: [3, h, w] in [-1, 1], SDR BT.709.
        weight: [h, w] in [0, 1]; where it is 0 the template stays bit for
            bit.
        left: of the box, in pixels as shown.
        top: of the box.
    """
    rgb: torch.Tensor
    weight: torch.Tensor
    left: int
    top: int


class Box(NamedTuple):
    r"""A part of the coded picture: its corner, and where it may change."""
    top: int
    left: int
    mask: np.ndarray


class Painter:
    r"""Lays patches over the planes of one template."""

    def __init__(self, footage: Footage, ground: Ground):
        self._footage, self._ground = footage, ground
        self._width = max(1, round(ground.pixels.width * ground.aspect))

    def paint(
        self, planes: Sequence[np.ndarray], patch: Patch,
    ) -> tuple[list[np.ndarray], Box]:
        r"""Copies of `planes` with the patch, and where they differ at most.

        A sample of chroma changes only where all of its pixels may.

        Raises:
            ValueError: shapes or a place that do not fit the template.
        """
        pixels = self._ground.pixels
        rgb, weight, left, top = self._upright_to_coded(*self._checked(patch))
        rgb, weight, left = _columns(
            rgb, weight, left, self._width, pixels.width)
        left, top, (rgb, weight) = _aligned(left, top, pixels, rgb, weight)
        if self._footage.colours_change and self._ground.native:
            stream = self._footage.info.stream
            rgb = from_bt709(rgb, stream['primaries'], stream['transfer'])
        matrix = self._footage.matrix if self._ground.native else BT709
        mask = weight > 0
        finer = subsampled(weight, pixels) * touched(mask, pixels, every=True)
        result = []
        for i, (plane, new, share) in enumerate(zip(
                planes, coded(rgb, pixels, matrix), (weight, finer, finer),
                strict=True)):
            x, y = (left >> pixels.sx, top >> pixels.sy) if i else (left, top)
            height, width = share.shape
            part = np.s_[y:y + height, x:x + width]
            old = plane[part]
            mixed = old + share * (new - old)
            plane = plane.copy()
            plane[part] = np.where(
                share > 0, mixed.round().clip(0, 2 ** pixels.depth - 1),
                old).astype(plane.dtype)
            result.append(plane)
        return result, Box(top, left, mask)

    def _checked(self, patch: Patch):
        width, height = self._footage.size
        h, w = patch.weight.shape[-2:]
        if patch.rgb.shape != (3, h, w) or patch.weight.ndim != 2 or not (
                0 <= patch.left <= width - w and h and w
                and 0 <= patch.top <= height - h):
            raise ValueError(
                f'A patch of {list(patch.rgb.shape)} with weights '
                f'{list(patch.weight.shape)} at {patch.left},{patch.top} does '
                f'not lie within a picture of {width}x{height}.')
        if not (patch.rgb.isfinite().all() and patch.weight.isfinite().all()):
            raise ValueError('A patch holds values that are no numbers.')
        rgb = patch.rgb.float().cpu().permute(1, 2, 0).numpy()
        return ((rgb + 1) / 2).clip(0, 1), \
            patch.weight.float().cpu().numpy().clip(0, 1), \
            patch.left, patch.top

    def _upright_to_coded(self, rgb, weight, left, top):
        swap, flip_x, flip_y = self._ground.turn
        height, width = weight.shape
        if flip_x:
            rgb, weight = rgb[:, ::-1], weight[:, ::-1]
            left = self._footage.size[0] - left - width
        if flip_y:
            rgb, weight = rgb[::-1], weight[::-1]
            top = self._footage.size[1] - top - height
        if swap:
            rgb, weight = rgb.swapaxes(0, 1), weight.T
            left, top = top, left
        return rgb, weight, left, top


def _columns(rgb, weight, left: int, shown: int, stored: int):
    r"""From square pixels to those stored, which are wider or narrower.

    What is beside the patch weighs nothing, and its colour does not count.
    """
    if shown == stored:
        return rgb, weight, left
    first, table, whole = _kernel(left, weight.shape[1], shown, stored)
    inside = table.sum(1)
    colour = np.einsum('jw,hwc->hjc', table / inside[:, None], rgb)
    return colour, (weight @ table.T / whole).clip(0, 1), first


@lru_cache(16)
def _kernel(left: int, width: int, shown: int, stored: int):
    r"""First stored column, [stored, shown] of the patch, and full sums."""
    step = shown / stored
    reach = max(1., step)
    first = max(0, math.floor((left - reach) / step - 0.5) + 1)
    last = min(stored, math.ceil((left + width + reach) / step))
    centre = (np.arange(first, last, dtype=np.float32) + 0.5) * step

    def hats(begin, end):
        at = np.arange(begin, end, dtype=np.float32) + 0.5
        return (1 - np.abs(centre[:, None] - at) / reach).clip(0)

    table = hats(left, left + width)
    margin = math.ceil(reach) + 1
    whole = hats(max(0, left - margin),
                 min(shown, left + width + margin)).sum(1)
    used = np.flatnonzero(table.sum(1) > 1e-6)
    return (first + int(used[0]), table[used].astype(np.float32),
            whole[used].astype(np.float32))


def _aligned(left: int, top: int, pixels, rgb, weight):
    r"""A box that begins with a sample of chroma, and ends with one.

    What is added weighs nothing. At the picture's own border, where the
    last sample may have fewer pixels, nothing is added.
    """
    across, down = 1 << pixels.sx, 1 << pixels.sy
    height, width = weight.shape
    x, y = left % across, top % down
    right = min(-(left + width) % across, pixels.width - left - width)
    below = min(-(top + height) % down, pixels.height - top - height)
    room = ((y, below), (x, right))
    return left - x, top - y, (
        np.pad(rgb, (*room, (0, 0)), mode='edge'), np.pad(weight, room))
