r"""What a product looks like from above: round, or a box.

Lengths are in half widths of what is seen; angles are radians by which the
front, a box's face, has turned to the right.
"""
import math
from typing import NamedTuple

import torch
from torch import Tensor

# Share of the width that a box's lowest rows have at least: a round foot is
# an arc. And of its other rows, as a box has straight sides.
FLAT, STRAIGHT = .85, .9
# Rows that are the lowest, and those that count, as shares of the height.
LOWEST, MIDDLE = .015, (.3, .9)


class Points(NamedTuple):
    r"""Places of the outside [...]: to the right and to the front, and the
    way that each faces."""
    x: Tensor
    z: Tensor
    right: Tensor
    front: Tensor


class Plan(NamedTuple):
    r"""Round where it is not a box of half width and half depth."""
    wide: float = 1.
    deep: float = 1.
    box: bool = False

    def half(self, yaw: float) -> float:
        r"""Half the width that is seen."""
        if not self.box:
            return 1.
        return self.wide * abs(math.cos(yaw)) + self.deep * abs(math.sin(yaw))

    def points(self, across: Tensor, yaw: float) -> Points:
        r"""What is seen at shares [-1, 1] of the half width."""
        if not self.box:
            around = across.asin() - yaw
            x, z = around.sin(), around.cos()
            return Points(x, z, x, z)
        cos, sin = math.cos(yaw), math.sin(yaw)
        near = math.copysign(1., cos), -math.copysign(1., sin)
        seen = across * self.half(yaw)
        cos, sin = (math.copysign(max(abs(v), 1e-6), v) for v in (cos, sin))
        z, x = self.deep * near[0], self.wide * near[1]
        on_front = (seen - z * sin) / cos
        on_side = (seen - x * cos) / sin
        face = on_front.abs() <= self.wide
        zero = torch.zeros_like(across)
        return Points(
            torch.where(face, on_front, x),
            torch.where(face, z, on_side.clamp(-self.deep, self.deep)),
            torch.where(face, zero, near[1]),
            torch.where(face, near[0], zero))

    def seen(self, points: Points, yaw: float) -> tuple[Tensor, Tensor]:
        r"""Where that is across what is seen, [-1, 1], and the cosine by which
        it faces the camera: below 0 on the other side."""
        cos, sin = math.cos(yaw), math.sin(yaw)
        across = (points.x * cos + points.z * sin) / self.half(yaw)
        return across, points.front * cos - points.right * sin


ROUND = Plan()


def plan_of(widths: list[Tensor], angles: list[float]) -> Plan:
    r"""Of the width of each row, from the top, in several views.

    Args:
        widths: of each view, [rows].
        angles: of each, by how much the camera has gone around from the
            first, which shows a box's face.
    """
    if len(widths) < 2 or not all(map(len, widths)) or not _is_box(widths[0]):
        return ROUND
    # In heights of the upright edges, as photos differ in size, and lids show.
    seen = torch.stack([
        row.median() / (row > STRAIGHT * row.median()).sum()
        for row in widths])
    turns = torch.tensor(angles)
    sides = torch.stack([turns.cos().abs(), turns.sin().abs()], 1)
    if sides[:, 1].max() < .3:
        return ROUND
    wide, deep = torch.linalg.lstsq(sides, seen[:, None])[0][:, 0].tolist()
    return Plan(wide, deep, True) if min(wide, deep) > 0 else ROUND


def _is_box(widths: Tensor) -> bool:
    count = len(widths)
    usual = widths.median()
    low = widths[count - 1 - math.floor(LOWEST * count)]
    middle = widths[int(MIDDLE[0] * count):max(1, int(MIDDLE[1] * count))]
    return bool(low > FLAT * usual and (middle > STRAIGHT * usual).all()
                and (middle < usual / STRAIGHT).all())
