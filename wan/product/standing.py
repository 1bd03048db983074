r"""How a product stands: upright, unless its own turn says otherwise."""
from typing import NamedTuple

import torch

from .leaning import leaning, turns
from .places import Places
from .turning import turn_of

DOWN = torch.tensor([0., 1.])
# What turning in the picture's plane must add to the likeness of the unrolled
# rows, over standing upright; and radians of it that are none.
CLEARLY, LEAST = .05, .12


class Standing(NamedTuple):
    r"""How a product stands.

    Attributes:
        leans: [N], radians by which it leans, clockwise.
        rate: radians a frame by which its front turns to the right.
    """
    leans: torch.Tensor
    rate: float


def standing(
    video: torch.Tensor,
    mask: torch.Tensor,
    places: Places,
    seen: list[int],
) -> Standing:
    r"""How a product leans, and turns about its upright axis.

    Args:
        video: [3, F, H, W] in [-1, 1].
        mask: [F, H, W], 0 or 1.
        places: of the mask.
        seen: the N frames that show it.

    Returns:
        It leans only where it is seen to turn in the picture's plane, and
        where that explains what its skin does better than a turn in depth
        alone.
    """
    upright = torch.zeros(len(seen))
    one = turn_of(video, mask, places, seen, upright)
    turned = turns(video, mask, places, seen)
    if turned.max() - turned.min() < LEAST:
        return Standing(upright, one.rate)
    leans = turned + leaning(mask, places, seen, turned)
    two = turn_of(video, mask, places, seen, leans)
    if two.likeness < one.likeness + CLEARLY:
        return Standing(upright, one.rate)
    return Standing(leans, two.rate)


def foot(
    mask: torch.Tensor, centre: torch.Tensor, down: torch.Tensor
) -> torch.Tensor:
    r"""Pixels from a product's centre to its foot.

    Args:
        mask: [H, W] in [0, 1].
        centre: x and y of it.
        down: unit vector x and y toward the foot.
    """
    y, x = (mask > .5).nonzero(as_tuple=True)
    away = (x + .5 - centre[0]) * down[0] + (y + .5 - centre[1]) * down[1]
    return away.max()
