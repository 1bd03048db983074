r"""The photo pasted over the old product: an edit without a model.

It shows where the new product would be and which way round: the goal that an
edit's pull inside the mask can have, and a baseline for any edit.
"""
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ..edit_config import COLLAGES
from ..utils import disk
from .filters import blur, dilate
from .leaning import tilt, turns
from .places import Places, sample, similarity
from .standing import DOWN, Standing, foot, standing
from .turning import turned_photo

# Shares of the frame's height: how far the old product's edge and shadow reach
# beyond its mask, and the blur that carries the surroundings into the hole.
EDGE, SPREAD = 1 / 32, 1 / 12
# Rows at which the hole is filled; what is blurred needs no more.
FILL_ROWS = 128
PASTES = tuple(kind for kind in COLLAGES if kind != 'off')


class Collage(NamedTuple):
    r"""Videos [3, F, H, W] in [-1, 1] and [F, H, W] in [0, 1]."""
    video: torch.Tensor
    alpha: torch.Tensor


def collage(
    video: torch.Tensor,
    mask: torch.Tensor,
    photo: torch.Tensor,
    alpha: torch.Tensor,
    kind: str = 'flat',
    anchor: int | None = None,
    stand: Standing | None = None,
) -> Collage:
    r"""The template with the photo's product in place of its own.

    In each frame the surroundings are spread over the old product, and the
    new one is laid on its centre with its area. It is not lit anew.

    Args:
        video: the template, [3, F, H, W] in [-1, 1].
        mask: [F, H, W] in [0, 1], the old product.
        photo, alpha: [3, 1, h, w] in [-1, 1] and [1, h, w] in [0, 1], as from
            `Product.fitted`.
        kind: of `PASTES`. 'flat': turned at first so that their outlines
            agree best, up to a third of a half turn, then as the old one
            turns in the picture's plane. Where the old one is seen to turn
            about its upright axis (`standing`), 'upright' puts the new one
            on its foot, leaning only as it does, and 'turning' also turns it
            at its rate, as a body of revolution; elsewhere both are 'flat'.
        anchor: the frame whose side of the product the photo shows; None for
            the middle one.
        stand: what `standing` says of the template, if it is known.

    Returns:
        The collage, and where it shows the new product.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in PASTES:
        raise ValueError(
            f'Unknown collage {kind!r}; allowed: {", ".join(PASTES)}.')
    mask = (mask > 0.5).float()
    old, new = Places.of(mask), Places.of(alpha)
    seen = old.size.nonzero().flatten().tolist()
    out, alphas = disk.empty(video.shape), torch.zeros_like(mask)
    for i in range(video.size(1)):
        out[:, i:i + 1] = fill(video[:, i:i + 1], mask[i:i + 1])
    if not seen:
        return Collage(out, alphas)
    angles, rate = None, 0.
    if kind != 'flat':
        angles, rate = stand or standing(video, mask, old, seen)
    if not rate:
        angles = turns(video, mask, old, seen) + tilt(
            alpha, new, mask[seen[:1]], old, seen[0])
    # Shrunk first, or fine patterns would alias.
    shrink = min(1., float(old.size.max() / new.size[0]))
    product = F.interpolate(
        torch.cat([photo[:, 0] * alpha, alpha])[None], scale_factor=shrink,
        mode='bilinear', antialias=True, recompute_scale_factor=True)
    ratio = torch.tensor(product.shape[-1:-3:-1]) / torch.tensor(
        alpha.shape[-1:-3:-1])
    since = torch.tensor(seen) - (
        video.size(1) // 2 if anchor is None else anchor)
    yaws = since * (rate if kind == 'turning' else 0.)
    for i, angle, yaw in zip(seen, angles, yaws, strict=True):
        scale = new.size[0] * ratio.mean() / old.size[i]
        centre = old.centre[i]
        if rate:  # it stands on something
            down = torch.stack([-angle.sin(), angle.cos()])
            centre = centre + down * (
                foot(mask[i], centre, down) - foot(
                    alpha[0], new.centre[0], DOWN) * old.size[i] / new.size[0])
        shown = turned_photo(product[0], yaw[None]) if yaw else product
        pasted = sample(shown, mask.shape[1:], similarity(
            centre, new.centre[0] * ratio, -angle[None], scale))[0]
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
