r"""The photo pasted over the old product: an edit without a model.

It shows where the new product would be and which way round: the goal that an
edit's pull inside the mask can have, and a baseline for any edit.
"""
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ..edit_config import COLLAGES
from ..utils import disk
from .filters import blur, dilate
from .leaning import tilt, turns
from .places import Places, sample, similarity
from .standing import Standing, foot, standing
from .views import Views
from .whole import Whole
from .whole import whole as whole_of

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
    angles: Sequence[float] = (0.,),
) -> Collage:
    r"""The template with the photo's product in place of its own.

    In each frame the surroundings are spread over the old product, and the
    new one is laid on its centre with its area.

    Args:
        video: the template, [3, F, H, W] in [-1, 1].
        mask: [F, H, W] in [0, 1], the old product.
        photo, alpha: [3, V, h, w] in [-1, 1] and [V, h, w] in [0, 1], V views
            of the product, each as from `Product.fitted`.
        kind: of `PASTES`. 'flat': turned at first so that their outlines
            agree best, up to a third of a half turn, then as the old one
            turns in the picture's plane. 'upright' and 'turning' are for
            solids: what stands before the old product stays there, and the
            new one is in its light. Where the old one is seen to turn about
            its upright axis (`standing`), 'upright' puts the new one on its
            foot, leaning only as it does, and 'turning' also turns it at its
            rate, as a body of revolution. 'auto' is 'turning' there, and
            'flat' elsewhere.
        anchor: the frame whose side of the product a photo of angle 0 shows;
            None for the middle one.
        stand: what `standing` says of the template, if it is known.
        angles: of each view, radians by which the camera has gone to the
            right around the product. But for 'turning', only the one nearest
            to 0 is pasted.

    Returns:
        The collage, and where it shows the new product.

    Raises:
        ValueError: an unknown kind, or not one angle for each view.
    """
    if kind not in PASTES:
        raise ValueError(
            f'Unknown collage {kind!r}; allowed: {", ".join(PASTES)}.')
    if len(angles) != photo.size(1):
        raise ValueError(f'The collage got {len(angles)} angles for '
                         f'{photo.size(1)} photos.')
    mask = (mask > 0.5).float()
    old = Places.of(mask)
    seen = old.size.nonzero().flatten().tolist()
    out, alphas = disk.empty(video.shape), torch.zeros_like(mask)
    for i in range(video.size(1)):
        out[:, i:i + 1] = fill(video[:, i:i + 1], mask[i:i + 1])
    if not seen:
        return Collage(out, alphas)
    whole, pose = Whole(mask, alphas), None
    if kind != 'flat':
        pose = stand or standing(video, mask, old, seen)
    if pose and kind == 'auto':
        kind = 'turning' if pose.rate else 'flat'
    solid = kind != 'flat'
    if solid:
        whole = whole_of(video, mask, old, seen, pose.leans)
        if whole.front.any():
            old = Places.of(whole.mask)
            pose = standing(video, whole.mask, old, seen)
    views = Views.of(photo, alpha, angles, old.size.max())
    if not (solid and pose.rate):
        base = views.nearest(0.)
        pose = Standing(turns(video, whole.mask, old, seen) + tilt(
            alpha[base:base + 1], Places.of(alpha[base:base + 1]),
            whole.mask[seen[:1]], old, seen[0]), 0.)
    if solid:
        views = views.lit(video, mask, whole.mask, seen)
    since = torch.tensor(seen) - (
        video.size(1) // 2 if anchor is None else anchor)
    for i, lean, yaw in zip(
            seen, pose.leans, (since * pose.rate).tolist(), strict=True):
        shown, place = views.at(yaw, kind == 'turning')
        scale = place.size / old.size[i]
        centre = old.centre[i]
        if pose.rate:  # it stands on something
            down = torch.stack([-lean.sin(), lean.cos()])
            centre = centre + down * (
                foot(whole.mask[i], centre, down) - place.foot / scale)
        pasted = sample(shown[None], mask.shape[1:], similarity(
            centre, place.centre, -lean[None], scale))[0]
        visible = 1 - whole.front[i]
        out[:, i] = torch.lerp(
            video[:, i], pasted[:3] + (1 - pasted[3]) * out[:, i], visible)
        alphas[i] = pasted[3] * visible
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
