r"""A product that turns about its upright axis: its rate, and a photo of it
turned likewise.

Row by row its outline is taken for that of a body of revolution: a place u in
[-1, 1] of a row is the angle asin(u) around the body. What is true of cans is
wrong at the corners of boxes, and for handles.
"""
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from .places import Places, look

# Pixels of a look, and columns of an unrolled one over +- WIDE radians.
SIDE, COLUMNS, WIDE = 64, 48, 1.05
# Shares of the outline's height that are unrolled: no lid, no foot.
TOP, FOOT = .25, .88
ROWS = 24
# Radians a frame that are tried, and frames that are compared.
RATES, FINER = torch.linspace(-.24, .24, 49), torch.tensor([-.005, 0, .005])
GAPS = (1, 2, 3, 4, 6)
# Correlation that a turn must add to that of standing still.
CLEAR = .04
# Contrast of a skin that tells nothing, summed.
PLAIN = 1.
# Two looks must share so many columns.
SHARED = 12
# How much more a photo counts where it shows a place from the front: a power
# of the cosine; and the least that it counts.
FRONT, LEAST = 4, 1e-4


class Turn(NamedTuple):
    r"""How a product turns about its upright axis.

    Attributes:
        rate: radians a frame, its front to the right; 0 if none is clearly
            better than standing still.
        likeness: correlation of its rows, turned back, with each other; 0
            where a plain skin tells nothing.
    """
    rate: float
    likeness: float


def turn_of(
    video: torch.Tensor,
    mask: torch.Tensor,
    places: Places,
    seen: list[int],
    leans: torch.Tensor,
) -> Turn:
    r"""The even rate that explains the unrolled outlines best.

    Args:
        video: [3, F, H, W] in [-1, 1].
        mask: [F, H, W], 0 or 1.
        places: of the mask.
        seen: the N frames that show it.
        leans: [N], radians by which it leans in them.
    """
    strips = torch.stack([
        unrolled(video[:, i], mask[i], places, i, lean)
        for i, lean in zip(seen, leans, strict=True)])
    where = {frame: number for number, frame in enumerate(seen)}
    pairs = []
    for gap in GAPS:
        first = [where[i] for i in seen if i + gap in where]
        last = [where[i + gap] for i in seen if i + gap in where]
        if first:
            pairs.append((strips[first], strips[last], gap))
    if not pairs:
        return Turn(0., 0.)
    scores = [_agreement(pairs, rate) for rate in RATES.tolist()]
    still, best = scores[len(RATES) // 2], max(scores)
    if best < still + CLEAR:
        return Turn(0., still)
    near = RATES[scores.index(best)] + FINER
    finer = [_agreement(pairs, rate) for rate in near.tolist()]
    best = max(finer)
    return Turn(near[finer.index(best)].item(), best)


def unrolled(
    frame: torch.Tensor, mask: torch.Tensor, places: Places, index: int,
    lean: torch.Tensor,
) -> torch.Tensor:
    r"""[4, ROWS, COLUMNS]: a product's rows by angle around it, from the left.

    Colours, less their local mean along a row, so that the light does not
    count, and last where the rows are the product's.
    """
    seen = look(torch.cat([frame, mask[None]])[None], places, index,
                lean[None], SIDE)[0]
    middle, half, known = extents(seen[3])
    lines = known.nonzero().flatten()
    first, last = (lines[0].item(), lines[-1].item()) if len(lines) else (0, 0)
    height = last - first + 1
    rows = first + height * (
        TOP + (FOOT - TOP) * (torch.arange(ROWS) + .5) / ROWS)
    row = rows.long().clamp(0, SIDE - 1)
    angle = torch.linspace(-WIDE, WIDE, COLUMNS)
    x = middle[row][:, None] + half[row][:, None] * angle.sin()
    y = rows[:, None].expand_as(x)
    grid = torch.stack([x, y], -1) * 2 / SIDE - 1
    strip = F.grid_sample(seen[None], grid[None], align_corners=False)[0]
    inside = (strip[3:] > .5).float() * known[row][:, None]
    colours = strip[:3] * inside
    width = COLUMNS // 2 + 1
    mean, share = (F.avg_pool1d(
        part, width, 1, width // 2, count_include_pad=False)
        for part in (colours, inside))
    return torch.cat([(colours - mean / share.clamp_min(1e-3)) * inside,
                      inside])


def turned_views(
    views: torch.Tensor, angles: torch.Tensor, base: int = 0
) -> torch.Tensor:
    r"""A product wrapped on its own outline and turned.

    Where several photos show a place, they are blended, those most that show
    it from the front. What none shows is the mirror image of what is near.

    Args:
        views: [V, 4, h, w], photos: colours times alpha, and alpha.
        angles: [V], radians by which the front of each goes to the right.
        base: the photo whose outline it gets.

    Returns:
        [4, h, w].
    """
    height, width = views.shape[2:]
    middle, half, known = extents(views[base, 3])
    x, y = torch.arange(width) + .5, torch.arange(height) + .5
    around = ((x - middle[:, None]) / half[:, None]).clamp(-1, 1).asin()
    top, tall = _rows(known)
    total, weights = 0., 0.
    for view, angle in zip(views, angles, strict=True):
        middle, half, known = extents(view[3])
        first, high = _rows(known)
        down = first + (y - top) * (high / tall)
        row = down.long().clamp(0, height - 1)
        # Not from the edge itself, where the ground shines through.
        inner = (half - 1.5).clamp_min(.5)
        own = around - angle
        source = middle[row][:, None] + inner[row][:, None] * own.sin()
        grid = torch.stack([2 * source / width - 1, (
            2 * down[:, None] / height - 1).expand_as(source)], -1)
        found = F.grid_sample(view[None], grid[None], align_corners=False)[0]
        colours = found[:3] / found[3:].clamp_min(1e-3)
        # Of all that show nothing here, the nearest.
        weight = own.cos().clamp_min(0).pow(FRONT) + LEAST * (
            1 + LEAST + own.cos())
        weight = weight * (found[3] > .05)
        total, weights = total + colours * weight, weights + weight
    alpha = views[base, 3]
    return torch.cat([
        total / weights.clamp_min(1e-9) * alpha, alpha[None]])


def _rows(known: torch.Tensor) -> tuple[float, float]:
    r"""The first of an outline's rows, and how many there are."""
    rows = known.nonzero().flatten()
    if not len(rows):
        return 0., 1.
    return rows[0].item(), rows[-1].item() + 1 - rows[0].item()


def extents(
    mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    r"""Middle and half width of each row of a mask [h, w], and if it has any.
    """
    inside = mask > .5
    width = mask.size(1)
    places = torch.arange(width)
    first = torch.where(inside, places, width).amin(1)
    last = torch.where(inside, places, -1).amax(1)
    known = last >= first
    middle = torch.where(known, (first + last + 1) / 2, width / 2)
    half = torch.where(known, (last - first + 1) / 2, .5)
    return middle, half, known


def _agreement(pairs, rate: float) -> float:
    r"""Correlation of strips with those some frames on, turned back.

    Args:
        pairs: (strips [K, 4, ROWS, COLUMNS], those `gap` frames on, gap).
    """
    step = 2 * WIDE / (COLUMNS - 1)
    total, power = torch.tensor(0.), PLAIN
    for one, two, gap in pairs:
        shift = rate * gap / step
        if abs(shift) > COLUMNS - SHARED:
            continue
        a, b = _shifted(one, two, shift)
        both = a[:, 3:] * b[:, 3:]
        total = total + (a[:, :3] * b[:, :3] * both).sum()
        power = power + ((a[:, :3].square() + b[:, :3].square()) * both
                         ).sum() / 2
    return (total / power).item()


def _shifted(one, two, shift: float):
    r"""The columns that both show, the first one's moved by a shift."""
    if shift < 0:
        two, one = _shifted(two, one, -shift)
        return one, two
    whole = math.floor(shift)
    part = shift - whole
    count = one.size(-1) - whole - 1
    # two(c) shows what one(c - shift) does.
    moved = (1 - part) * one[..., 1:count + 1] + part * one[..., :count]
    return moved, two[..., whole + 1:]
