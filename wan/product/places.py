r"""Where a product is in each frame, and looks at it there."""
from typing import NamedTuple

import torch
import torch.nn.functional as F

# A look at the product is so many pixels wide, and so many times the square
# root of the product's area.
LOOK, REACH = 48, 2.2


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


def look(
    picture: torch.Tensor,
    places: Places,
    index: int,
    angles: torch.Tensor,
    side: int = LOOK,
) -> torch.Tensor:
    r"""A picture around the product, turned back by angles.

    Args:
        picture: [1, C, H, W].
        places, index: where the product is.
        angles: [K], radians, clockwise.
        side: pixels of the look.

    Returns:
        [K, C, side, side].
    """
    middle = torch.full((2,), side / 2)
    return sample(picture, (side, side), similarity(
        middle, places.centre[index], angles,
        REACH * places.size[index] / side))


def similarity(
    here: torch.Tensor, there: torch.Tensor, angles: torch.Tensor,
    scale: torch.Tensor | float,
) -> torch.Tensor:
    r"""Matrices [K, 2, 3]: there + scale * R(angle) (point - here)."""
    cos, sin = angles.cos(), angles.sin()
    turn = scale * torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)
    return torch.cat([turn, (there - turn @ here)[..., None]], 2)


def sample(
    picture: torch.Tensor, size: tuple[int, int], matrices: torch.Tensor
) -> torch.Tensor:
    r"""[K, C, h, w]: a picture [1, C, H, W] at mapped pixels, 0 outside it."""
    y, x = torch.meshgrid(
        *(torch.arange(side) + 0.5 for side in size), indexing='ij')
    points = torch.stack([x, y, torch.ones_like(x)], -1) @ matrices.mT[:, None]
    grid = 2 * points / torch.tensor(picture.shape[-1:-3:-1]) - 1
    return F.grid_sample(
        picture.expand(len(grid), -1, -1, -1), grid, align_corners=False)


def overlap(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    r"""Intersection over union of masks [K, h, w]."""
    union = torch.maximum(one, two).sum((1, 2))
    return torch.minimum(one, two).sum((1, 2)) / union.clamp_min(1e-6)
