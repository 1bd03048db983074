r"""An edited window laid back over the template's own frames."""
from collections.abc import Iterator
from typing import NamedTuple

import torch

from .filters import blur
from .masks import Region, feather, upsample_mask
from .view import View, resized

# Pixels of the model's clip: of the soft edge around the region, and of that
# along the window's own border, where the region reaches it.
FEATHER, BORDER = 16, 4
# By so much may a frame's colours be moved, of the range [-1, 1], and the
# blur in frames of what they are moved by.
MOST, STEADY = 0.1, 2.0


class Laid(NamedTuple):
    r"""What is laid over a frame of the template.

    Args:
        rgb: [3, h, w] in [-1, 1].
        weight: [h, w] in [0, 1]; 0 keeps the template's pixel.
        left, top: of it in the frame, in pixels as shown.
    """
    rgb: torch.Tensor
    weight: torch.Tensor
    left: int
    top: int

    def over(self, frame: torch.Tensor) -> torch.Tensor:
        r"""A frame [3, H, W] with it; elsewhere the frame's own bits."""
        height, width = self.weight.shape
        out = frame.clone()
        part = out[:, self.top:self.top + height,
                   self.left:self.left + width]
        part.lerp_(self.rgb, self.weight)
        return out


class Weights:
    r"""How much of the edit is seen in each pixel of the model's clip.

    Args:
        region: where the edit may change the video; None is everywhere.
        view: the window.
    """

    def __init__(self, region: torch.Tensor | None, view: View):
        self.region, self.view = region, view
        self._last: tuple[int, torch.Tensor] | None = None

    def __getitem__(self, index: int) -> torch.Tensor:
        r"""[h, w] in [0, 1] of a frame: 1 in the region, softly 0 around it,
        and 0 at the window's border where the frame goes on beyond it."""
        width, height = self.view.size
        weight = torch.ones(height, width)
        if self.region is not None:
            weight = self._soft(index)
        left, top = self.view.corners[index]
        for dim, start, side, whole in (
                (1, left, self.view.box[0], self.view.frame[0]),
                (0, top, self.view.box[1], self.view.frame[1])):
            cells = torch.arange(weight.size(dim))
            ramps = [cells] * (start > 0) + [
                weight.size(dim) - 1 - cells] * (start + side < whole)
            for ramp in ramps:
                ramp = (ramp / BORDER).clamp(max=1)
                weight = weight * (ramp if dim else ramp[:, None])
        return weight

    def _soft(self, index: int) -> torch.Tensor:
        r"""The region with its soft edge, the same in all frames of a latent
        frame."""
        frame = (index + 3) // 4
        if self._last is None or self._last[0] != frame:
            mask = upsample_mask(
                self.region[frame:frame + 1], (1, *self.view.size[::-1]))
            self._last = frame, feather(mask, FEATHER)[0]
        return self._last[1]


def laid(
    edited: torch.Tensor,
    template: torch.Tensor,
    region: Region | None,
    view: View,
) -> Iterator[Laid]:
    r"""The edit of each frame, to be laid over the template.

    Its colours are moved so that they agree with the template's along the
    soft edge, if that brings them nearer to each other there.

    Args:
        edited, template: clips [3, F or more, h, w] in [-1, 1], as the model
            gave and saw them.
        region: where the edit may change the video; None is everywhere.
        view: the window that was seen, of as many frames as are wanted.
    """
    weights = Weights(
        None if region is None else region.cells.cpu().float(), view)
    shifts = colour_shifts(edited, template, weights)
    for index in range(len(view.corners)):
        yield _laid((edited[:, index] + shifts[index][:, None, None]).clamp(
            -1, 1), weights[index], view, index)


def colour_shifts(
    edited: torch.Tensor, template: torch.Tensor, weights: Weights
) -> torch.Tensor:
    r"""[F, 3], what to add to each frame's colours; 0 where it does not help.

    Along the soft edge both show the same things, so the mean difference
    there is the model's. It is taken steadily in time, or colours flickered.
    """
    found, before, after = [], 0., 0.
    count = len(weights.view.corners)
    for index in range(count):
        weight = weights[index]
        rim = weight * (1 - weight)  # most in the middle of the edge
        total = rim.sum()
        difference = (template[:, index] - edited[:, index]) * rim
        found.append(difference.sum((1, 2)) / total if total else
                     torch.zeros(3))
    shifts = blur(torch.stack(found), STEADY, 0).clamp(-MOST, MOST)
    for index in range(count):
        weight = weights[index]
        rim = weight * (1 - weight)
        difference = template[:, index] - edited[:, index]
        before += (difference.abs() * rim).sum()
        after += ((difference - shifts[index][:, None, None]).abs() * rim
                  ).sum()
    return shifts if after < before else torch.zeros_like(shifts)


def _laid(rgb, weight, view, index) -> Laid:
    r"""Both in the template's pixels, cut off at the frame's border."""
    picture = resized(torch.cat([rgb, weight[None]]), view.box)
    left, top = view.corners[index]
    width, height = view.frame
    x, y = max(0, -left), max(0, -top)
    part = picture[:, y:height - top, x:width - left]
    # What is resized reaches over edges; where there was 0, 0 stays.
    kept = resized((weight[None] > 0).float(), view.box)[
        0, y:height - top, x:width - left] > 0.5
    return Laid(part[:3].clamp(-1, 1), part[3].clamp(0, 1) * kept,
                left + x, top + y)
