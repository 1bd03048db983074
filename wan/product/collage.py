r"""The photo pasted over the old product: an edit without a model.

It shows where the new product would be and which way round: the goal that an
edit's pull inside the mask can have, and a baseline for any edit.
"""
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ..edit_config import COLLAGES, EditConfig
from ..utils import disk
from .filters import blur, dilate
from .leaning import tilt, turns
from .photo import Product
from .places import Places, sample, similarity
from .standing import foot, standing
from .views import At, Views
from .whole import Whole, whole

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


class Old(NamedTuple):
    r"""The old product: how the new one is pasted, where it is and stands in
    the frames that show it. Without a rate the leans are not used."""
    kind: str
    whole: Whole
    places: Places
    seen: list[int]
    leans: torch.Tensor | None = None
    rate: float = 0.


def old_product(video: torch.Tensor, mask: torch.Tensor, kind: str) -> Old:
    r"""What a collage needs to know of the template, whatever the photo.

    Args:
        video, mask, kind: see `collage`.
    """
    mask = (mask > 0.5).float()
    places = Places.of(mask)
    seen = places.size.nonzero().flatten().tolist()
    found = Whole(mask, torch.zeros_like(mask))
    if kind == 'flat':
        return Old('flat', found, places, seen)
    stand = standing(video, mask, places, seen)
    if kind == 'auto' and not stand.rate:
        return Old('flat', found, places, seen)
    found = whole(video, mask, places, seen, stand.leans)
    if found.front.any():
        places = Places.of(found.mask)
        stand = standing(video, found.mask, places, seen)
    return Old('turning' if kind == 'auto' else kind, found, places, seen,
               *stand)


def collage(
    video: torch.Tensor,
    mask: torch.Tensor,
    photo: torch.Tensor,
    alpha: torch.Tensor,
    kind: str = 'flat',
    anchor: int | None = None,
    old: Old | None = None,
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
        old: what `old_product` says of the template, if that is known.
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
    out, alphas = disk.empty(video.shape), torch.zeros_like(mask)
    for i in range(video.size(1)):
        out[:, i:i + 1] = fill(video[:, i:i + 1], mask[i:i + 1])
    if not mask.any():
        return Collage(out, alphas)
    old = old or old_product(video, mask, kind)
    views = Views.of(photo, alpha, angles, old.places.size.max())
    leans = old.leans
    if not old.rate:
        base = views.nearest(0.)
        first, alpha = old.seen[:1], alpha[base:base + 1]
        leans = turns(video, old.whole.mask, old.places, old.seen) + tilt(
            alpha, Places.of(alpha), old.whole.mask[first], old.places, *first)
    if old.kind != 'flat':
        views = views.lit(video, mask, old.whole.mask, old.seen)
    since = torch.tensor(old.seen) - (
        video.size(1) // 2 if anchor is None else anchor)
    for i, lean, yaw in zip(
            old.seen, leans, (since * old.rate).tolist(), strict=True):
        shown, place = views.at(yaw, old.kind == 'turning')
        pasted = sample(shown[None], mask.shape[1:], _laid(
            old, i, lean, place))[0]
        visible = 1 - old.whole.front[i]
        out[:, i] = torch.lerp(
            video[:, i], pasted[:3] + (1 - pasted[3]) * out[:, i], visible)
        alphas[i] = pasted[3] * visible
    return Collage(out, alphas)


def collage_of(
    video: torch.Tensor,
    mask: torch.Tensor,
    products: Sequence[Product],
    edit: EditConfig,
    old: Old | None = None,
) -> Collage:
    r"""The collage that an edit's settings ask for, see `collage`.

    Args:
        mask: [1 or F, H, W].
        products: the photos; without `view_angles` the first is pasted.
        old: see `collage`.
    """
    frames, height, width = video.shape[1:]
    used = products if edit.view_angles else products[:1]
    photos, alphas = zip(*(product.fitted((width, height))
                           for product in used), strict=True)
    return collage(
        video, mask.expand(frames, -1, -1), torch.cat(photos, 1),
        torch.cat(alphas), edit.collage, edit.view_frame, old,
        [math.radians(angle) for angle in edit.view_angles or (0.,)])


def _laid(old: Old, index: int, lean, place: At) -> torch.Tensor:
    r"""The map from a frame's pixels to a picture of the new product."""
    scale = place.size / old.places.size[index]
    centre = old.places.centre[index]
    if old.rate:  # it stands on something
        down = torch.stack([-lean.sin(), lean.cos()])
        centre = centre + down * (
            foot(old.whole.mask[index], centre, down) - place.foot / scale)
    return similarity(centre, place.centre, -lean[None], scale)


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
