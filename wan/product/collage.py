r"""The photo pasted over the old product: an edit without a model.

It shows where the new product would be and which way round: the goal that an
edit's pull inside the mask can have, and a baseline for any edit.
"""
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ..utils import disk
from .filters import blur, dilate

# Shares of the frame's height: how far the old product's edge and shadow reach
# beyond its mask, and the blur that carries the surroundings into the hole.
EDGE, SPREAD = 1 / 32, 1 / 12
# Rows at which the hole is filled; what is blurred needs no more.
FILL_ROWS = 128
# Turns in radians that are tried: from frame to frame, and at first between
# photo and template.
STEPS = torch.linspace(-0.24, 0.24, 25)
TILTS = torch.linspace(-1.0, 1.0, 41)
# What a turn of 1 radian costs in likeness, 0 to 1: a disc does not turn.
RELUCTANCE = 0.02
# A look at the product is so many pixels wide, and so many times the square
# root of the product's area.
LOOK, REACH = 48, 2.2


class Collage(NamedTuple):
    r"""Videos [3, F, H, W] in [-1, 1] and [F, H, W] in [0, 1]."""
    video: torch.Tensor
    alpha: torch.Tensor


class Places(NamedTuple):
    r"""A product in each frame: centre [F, 2], x and y, and size [F], pixels.

    The size is the square root of its area, 0 where it is not seen.
    """
    centre: torch.Tensor
    size: torch.Tensor

    @classmethod
    def of(cls, mask: torch.Tensor) -> 'Places':
        r"""Of a mask [F, H, W] in [0, 1]."""
        area = mask.sum((1, 2))
        x, y = ((mask.sum(dim) * (torch.arange(mask.size(3 - dim)) + 0.5)
                 ).sum(1) / area.clamp_min(1e-6) for dim in (1, 2))
        return cls(torch.stack([x, y], 1), area.sqrt())


def collage(
    video: torch.Tensor,
    mask: torch.Tensor,
    photo: torch.Tensor,
    alpha: torch.Tensor,
) -> Collage:
    r"""The template with the photo's product in place of its own.

    In each frame the surroundings are spread over the old product, and the
    new one is laid on its centre with its area. It is turned at first so that
    their outlines agree best, up to a third of a half turn, then as the old
    one turns. It is not lit anew.

    Args:
        video: the template, [3, F, H, W] in [-1, 1].
        mask: [F, H, W] in [0, 1], the old product.
        photo, alpha: [3, 1, h, w] in [-1, 1] and [1, h, w] in [0, 1], as from
            `Product.fitted`.

    Returns:
        The collage, and where it shows the new product.
    """
    mask = (mask > 0.5).float()
    old, new = Places.of(mask), Places.of(alpha)
    seen = old.size.nonzero().flatten().tolist()
    out, alphas = disk.empty(video.shape), torch.zeros_like(mask)
    for i in range(video.size(1)):
        out[:, i:i + 1] = fill(video[:, i:i + 1], mask[i:i + 1])
    if not seen:
        return Collage(out, alphas)
    turns = _turns(video, mask, old, seen)
    turns = turns + _tilt(alpha, new, mask[seen[:1]], old, seen[0])
    # Shrunk first, or fine patterns would alias.
    shrink = min(1., float(old.size.max() / new.size[0]))
    product = F.interpolate(
        torch.cat([photo[:, 0] * alpha, alpha])[None], scale_factor=shrink,
        mode='bilinear', antialias=True, recompute_scale_factor=True)
    ratio = torch.tensor(product.shape[-1:-3:-1]) / torch.tensor(
        alpha.shape[-1:-3:-1])
    for i, turn in zip(seen, turns, strict=True):
        scale = new.size[0] * ratio.mean() / old.size[i]
        pasted = _sample(product, mask.shape[1:], _similarity(
            old.centre[i], new.centre[0] * ratio, -turn[None], scale))[0]
        out[:, i] = pasted[:3] + (1 - pasted[3]) * out[:, i]
        alphas[i] = pasted[3]
    return Collage(out, alphas)


def fill(video: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    r"""The surroundings of a mask spread over it, frame by frame."""
    size = video.shape[2:]
    keep = 1 - dilate((mask > 0).to(video), math.ceil(EDGE * size[0]))
    shrink = min(1., FILL_ROWS / size[0])
    small = [round(side * shrink) for side in size]
    total, weight = (F.interpolate(part.transpose(0, 1), small, mode='area')
                     for part in (video * keep, keep[None]))
    for dim in (-2, -1):
        total, weight = (blur(part, SPREAD * small[0], dim)
                         for part in (total, weight))
    spread = F.interpolate(
        total / weight.clamp_min(1e-6), size, mode='bilinear').transpose(0, 1)
    return torch.lerp(spread, video, keep)


def _turns(video, mask, places, seen) -> torch.Tensor:
    r"""Radians by which the product has turned since it was seen first."""
    def layers(i):
        return torch.cat([video[:, i], mask[i:i + 1]])[None]

    first = _look(layers(seen[0]), places, seen[0], torch.zeros(1))
    turns = [torch.tensor(0.)]
    for i in seen[1:]:
        angles = turns[-1] + STEPS
        looks = _look(layers(i), places, i, angles)
        both = looks[:, 3] * first[:, 3]
        difference = (looks[:, :3] - first[:, :3]).abs().mean(1) * both
        likeness = _overlap(looks[:, 3], first[:, 3]) - difference.sum(
            (1, 2)) / both.sum((1, 2)).clamp_min(1)
        turns.append(angles[
            (likeness - RELUCTANCE * STEPS.abs()).argmax()])
    return torch.stack(turns)


def _tilt(alpha, new, mask, old, index) -> torch.Tensor:
    r"""Radians by which to turn the photo for the outlines to agree."""
    still = _look(alpha[None], new, 0, torch.zeros(1))
    turned = _look(mask[None], old, index, TILTS)
    likeness = _overlap(turned[:, 0], still[:, 0])
    return TILTS[(likeness - RELUCTANCE * TILTS.abs()).argmax()]


def _overlap(one, two) -> torch.Tensor:
    r"""Intersection over union of masks [K, h, w]."""
    union = torch.maximum(one, two).sum((1, 2))
    return torch.minimum(one, two).sum((1, 2)) / union.clamp_min(1e-6)


def _look(picture, places, index, angles) -> torch.Tensor:
    r"""A picture [1, C, H, W] around the product, turned back by angles."""
    middle = torch.full((2,), LOOK / 2)
    return _sample(picture, (LOOK, LOOK), _similarity(
        middle, places.centre[index], angles,
        REACH * places.size[index] / LOOK))


def _similarity(here, there, angles, scale) -> torch.Tensor:
    r"""Matrices [K, 2, 3]: there + scale * R(angle) (point - here)."""
    cos, sin = angles.cos(), angles.sin()
    turn = scale * torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)
    return torch.cat([turn, (there - turn @ here)[..., None]], 2)


def _sample(picture, size, matrices) -> torch.Tensor:
    r"""[K, C, h, w]: a picture [1, C, H, W] at mapped pixels, 0 outside it."""
    y, x = torch.meshgrid(
        *(torch.arange(side) + 0.5 for side in size), indexing='ij')
    points = torch.stack([x, y, torch.ones_like(x)], -1) @ matrices.mT[:, None]
    grid = 2 * points / torch.tensor(picture.shape[-1:-3:-1]) - 1
    return F.grid_sample(
        picture.expand(len(grid), -1, -1, -1), grid, align_corners=False)
