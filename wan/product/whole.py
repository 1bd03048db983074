r"""A product's whole outline, where something before it hides a part.

Its outlines in the other frames are laid over each other: what hides a part
moves against the product, and so hides other parts of it there. An outline
that only changes uncovers what is around the product; what hides it looks
otherwise.
"""
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from .filters import blur, dilate, erode, spread
from .places import REACH, Places, sample, similarity

# Pixels of the common outline, and points of a contour that are compared.
SIDE, POINTS = 96, 200
# Shares of the size by which a place is moved to find the best, and logs of
# the size's ratio; then finer. What is hidden makes a product smaller.
MOVES, GROWTHS = torch.linspace(-.16, .16, 9), torch.linspace(-.06, .18, 7)
FINER = (.25, .08)
ROUNDS = 2
# Blur of contours in pixels of the common outline, and what a share of the
# outline that sticks out costs.
SOFT, OUTSIDE = 1.2, 2.
# Frames that tell of one, as a share of all: an outline may change slowly.
NEAR = 1 / 4
# Shares of the size: of the rim that is not told apart, and of how far
# around a product its surroundings are looked at.
RIM, AROUND = .03, .4
# Colours nearer than this are alike; of the surroundings so much may look like
# what hides a product, in the middle of its pixels and in each.
ALIKE, RARE, USUAL = .16, .24, .35
# Colours that are compared.
COLOURS = 400


class Whole(NamedTuple):
    r"""A product and what stands before it, each [F, H, W], 0 or 1.

    Attributes:
        mask: of the product, with what is hidden of it.
        front: of what stands before it, near it.
    """
    mask: torch.Tensor
    front: torch.Tensor


def whole(
    video: torch.Tensor,
    mask: torch.Tensor,
    places: Places,
    seen: list[int],
    angles: torch.Tensor,
) -> Whole:
    r"""A product of which something hides a part in some of its frames.

    Args:
        video: [3, F, H, W] in [-1, 1].
        mask: [F, H, W], 0 or 1, what is seen of the product.
        places: of it.
        seen: the N frames that show it.
        angles: [N], radians by which it is turned in them.
    """
    front = torch.zeros_like(mask)
    if len(seen) < 3:
        return Whole(mask, front)
    full = mask.clone()
    for i, outline in zip(seen, usual(mask, places, seen, angles),
                          strict=True):
        rim = math.ceil(RIM * places.size[i].item())
        missing = (outline * (1 - mask[i]))[None]
        missing = dilate(erode(missing, rim), rim + 1) * missing
        if not missing.any():
            continue
        before = _before(
            video[:, i], mask[i:i + 1], missing, places.size[i].item())
        if before is not None:
            front[i] = before
            full[i] = torch.maximum(mask[i], missing[0])
    return Whole(full, front)


def usual(
    mask: torch.Tensor, places: Places, seen: list[int],
    angles: torch.Tensor,
) -> torch.Tensor:
    r"""[N, H, W]: a product's outline as most of the frames near show it.

    Args:
        mask, places, seen, angles: see `whole`.
    """
    points = [_points(mask[i]) for i in seen]
    fits = torch.cat([places.centre[seen], places.size[seen, None]], 1)
    for _ in range(ROUNDS):
        layers = _layers(_looks(mask, seen, fits, angles).mean(0) > .5)
        fits = torch.stack([
            _fitted(layers, *own, fit, angle) for own, fit, angle in zip(
                points, fits, angles, strict=True)])
    looks = _looks(mask, seen, fits, angles)
    common = (blur(looks, max(1., NEAR * len(seen)), 0) > .5).float()
    return torch.cat([
        sample(outline[None, None], mask.shape[1:], similarity(
            fit[:2], torch.full((2,), SIDE / 2), -angle[None],
            SIDE / (REACH * fit[2])))[0]
        for fit, angle, outline in zip(fits, angles, common, strict=True)
    ]).gt(.5).float()


def _before(frame, mask, missing, size) -> torch.Tensor | None:
    r"""[H, W], what hides the missing part and hangs together with it.

    None when that looks like the surroundings.
    """
    core = missing * (1 - dilate(mask, 1))
    near = dilate(torch.maximum(mask, missing), round(AROUND * size))
    ring = near * (1 - dilate(torch.maximum(mask, missing), 2))
    if not core.any() or not ring.any():
        return None
    own, around = _some(frame, core[0]), _some(frame, ring[0])
    if _alike(own, around).mean(1).mean() > RARE:
        return None
    rows, columns = (near[0] * (1 - mask[0])).nonzero(as_tuple=True)
    colours = frame[:, rows, columns].T
    fits = _alike(colours, own).any(1) & (
        _alike(colours, around).mean(1) < USUAL)
    allowed = missing.clone()
    allowed[0, rows[fits], columns[fits]] = 1
    return spread(missing, allowed)[0]


def _some(frame, where):
    r"""[K, 3], colours of a part."""
    found = frame[:, where > 0].T
    return found[::math.ceil(len(found) / COLOURS)]


def _alike(one, two):
    r"""[N, K]: whether colours [N, 3] and [K, 3] are."""
    return torch.cat([
        (part[:, None] - two).abs().amax(2) < ALIKE
        for part in one.split(4096)]).float()


def _points(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Some of a mask's contour and of its inside, [N, 2] each, x and y."""
    inner = erode(mask[None], 1)[0]
    # The picture's edge is no contour.
    inner[0], inner[-1], inner[:, 0], inner[:, -1] = 1, 1, 1, 1
    found = []
    for chosen in (mask * (1 - inner), mask):
        places = chosen.nonzero().flip(1) + .5
        found.append(places[::max(1, len(places) // POINTS)])
    return tuple(found)


def _looks(mask, seen, fits, angles):
    r"""[N, SIDE, SIDE]: the outlines as if they stood in one place."""
    middle = torch.full((2,), SIDE / 2)
    return torch.cat([
        sample(mask[i][None, None], (SIDE, SIDE), similarity(
            middle, fit[:2], angle[None], REACH * fit[2] / SIDE))[0]
        for i, fit, angle in zip(seen, fits, angles, strict=True)])


def _layers(common):
    r"""[2, SIDE, SIDE] of an outline: its contour, and what is outside."""
    common = common.float()
    layers = torch.stack([common - erode(common[None], 1)[0], 1 - common])
    for dim in (1, 2):
        layers = blur(layers, SOFT, dim)
    return layers / layers.amax((1, 2), keepdim=True).clamp_min(1e-6)


def _fitted(layers, contour, inside, fit, angle):
    r"""Centre and size with which contour and inside agree best."""
    growths = GROWTHS
    for scale in (1., *FINER):
        growth, dx, dy = torch.meshgrid(
            growths * scale, MOVES * scale, MOVES * scale, indexing='ij')
        tries = torch.stack([
            fit[0] + fit[2] * dx, fit[1] + fit[2] * dy,
            fit[2] * growth.exp()], -1).flatten(0, 2)
        score = _mean(layers[0], contour, tries, angle, 0.) \
            - OUTSIDE * _mean(layers[1], inside, tries, angle, 1.)
        fit = tries[score.argmax()]
        growths = GROWTHS - GROWTHS.mean()
    return fit


def _mean(layer, points, tries, angle, beyond):
    r"""[K], of a layer at points, placed as is tried; `beyond` it a value."""
    cos, sin = angle.cos(), angle.sin()
    x, y = ((points - tries[:, None, :2]) / tries[:, None, 2:]).unbind(-1)
    # Back by the angle.
    grid = torch.stack([cos * x + sin * y, cos * y - sin * x], -1) * (
        2 / REACH)
    found = F.grid_sample((layer - beyond)[None, None], grid[None],
                          align_corners=False)
    return found[0, 0].mean(-1) + beyond
