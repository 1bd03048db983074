r"""Outlines as signed distances and patterns as colour weights.

Both take coordinates x, y in units of the product's size, y down, as float32
tensors of one shape. A distance is negative inside; away from the outline it
may be a bound, which is all that antialiasing and shading ask for.
"""
import math
from collections.abc import Callable

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]

# Where pointed shapes end. Beyond a point the distance to its edges hardly
# grows and a shadow's blur would run on, so the distance to a disc steps in.
TIP = 1.04


def disc(x: Tensor, y: Tensor, radius: float = 0.88) -> Tensor:
    return torch.hypot(x, y).sub_(radius)


def ring(x: Tensor, y: Tensor) -> Tensor:
    return disc(x, y, 0.66).abs_().sub_(0.27)


def square(x: Tensor, y: Tensor) -> Tensor:
    return _box(x, y, 0.74, 0.74)


def triangle(x: Tensor, y: Tensor) -> Tensor:
    slanted = x.abs() * (math.sqrt(3) / 2) - y / 2
    return torch.maximum(slanted, y).sub_(0.52).maximum(disc(x, y, TIP))


def star(x: Tensor, y: Tensor, notch: float = 0.52) -> Tensor:
    r"""Five points: the plane is folded into a tenth of it, one edge left."""
    around = disc(x, y, TIP)
    nx, ny = math.cos(math.pi / 5), math.sin(math.pi / 5)
    x = x.abs()
    for _ in range(2):  # a mirror 36 degrees beside the upper tip
        over = (x * nx + y * ny).clamp_(min=0).mul_(2)
        x, y = (x - over * nx).abs_(), y - over * ny
    # The edge from the tip (0, -TIP) to the notch on that mirror.
    ex, ey = notch * ny, TIP - notch * nx
    edge = (x * ey - (y + TIP) * ex).div_(math.hypot(ex, ey))
    return edge.maximum(around)


def cross(x: Tensor, y: Tensor) -> Tensor:
    return torch.minimum(_box(x, y, 0.9, 0.35), _box(x, y, 0.35, 0.9))


def heart(x: Tensor, y: Tensor) -> Tensor:
    r"""A square on its corner with a disc on each upper side."""
    x, y, half = x.abs(), y - 0.14, 0.52
    side = half / math.sqrt(2)
    lobe = torch.hypot(x - side, y + side).sub_(half)
    corner = torch.maximum((x + y).abs(), (x - y).abs()).div_(math.sqrt(2))
    return torch.minimum(lobe, corner.sub_(half))


def capsule(x: Tensor, y: Tensor) -> Tensor:
    return torch.hypot((x.abs() - 0.5).clamp_(min=0), y).sub_(0.5)


def bottle(x: Tensor, y: Tensor) -> Tensor:
    body = _box(x, y - 0.3, 0.52, 0.64, 0.16)
    neck = _box(x, y + 0.62, 0.19, 0.36)
    cap = _box(x, y + 0.86, 0.28, 0.13)
    return torch.minimum(torch.minimum(body, neck), cap)


def post(x: Tensor, y: Tensor) -> Tensor:
    return torch.hypot(x, (y.abs() - 0.9).clamp_(min=0)).sub_(0.1)


def _box(x: Tensor, y: Tensor, width: float, height: float,
         corner: float = 0.08) -> Tensor:
    x, y = x.abs() - (width - corner), y.abs() - (height - corner)
    inside = torch.maximum(x, y).clamp_(max=0)
    return torch.hypot(x.clamp_(min=0), y.clamp_(min=0)) + inside - corner


SHAPES: dict[str, Distance] = {
    shape.__name__: shape
    for shape in (disc, capsule, triangle, star, ring, bottle, cross, heart)}
PROP_SHAPES: dict[str, Distance] = {
    'ball': disc, 'block': square, 'post': post}


def coverage(distance: Tensor, pixel: Tensor | float) -> Tensor:
    r"""Share of each pixel inside, in [0, 1], for pixels `pixel` wide."""
    return (0.5 - distance / pixel).clamp_(0, 1)


# Patterns. Coordinates are in periods. Each gives the weight of the marks over
# the main colour, in [0, 1], and where they have the third colour rather than
# the second (a product of two colours ignores that).

def striped(x: Tensor, y: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    i = x.floor()
    return coverage((x - i - 0.5).abs_().sub_(0.23), pixel), _odd(i)


def ringed(x: Tensor, y: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    r"""Rings, the second colour inside and the third outside of each."""
    radius = torch.hypot(x, y).div_(0.9)
    middle = radius - radius.floor() - 0.5
    return (coverage(middle.abs().sub_(0.27), pixel / 0.9),
            coverage(middle.neg(), pixel / 0.9))


def dotted(x: Tensor, y: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    i, j = x.round(), y.round()
    return coverage(torch.hypot(x - i, y - j).sub_(0.3), pixel), _odd(j)


def checked(x: Tensor, y: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    r"""Checks are the diamonds of a lattice turned by 45 degrees."""
    i, j = x.floor(), y.floor()
    distance = (x - i - 0.5).abs_() + (y - j - 0.5).abs_() - 0.5
    return coverage(distance.div_(math.sqrt(2)), pixel), _odd(i)


def gradient(x: Tensor, y: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    position = (x - 0.2) * 0.9
    return (1 + position).clamp_(0, 1), position.clamp(0, 1)


def _odd(cell: Tensor) -> Tensor:
    return cell.remainder(2)


PATTERNS = {
    'solid': None, 'striped': striped, 'checked': checked, 'dotted': dotted,
    'ringed': ringed, 'gradient': gradient}
