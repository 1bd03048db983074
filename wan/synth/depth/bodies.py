r"""Bodies, and where rays meet them first: closed forms, no marching.

Coordinates are a body's own, in units of its size: y up, the origin in its
middle, the front toward +z. Points and directions are three tensors x, y, z
that broadcast. A ray is o + t d, d of any length, and starts outside.
"""
import math
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .scene import Solid

Vector = tuple[Tensor, Tensor, Tensor]

# Heights and radii of half an outline, in units of half the body's height and
# of its radius. No part is so flat that a ray from above sees it from within.
PROFILES = {
    'can': ((-1, .9), (-.93, 1), (.93, 1), (1, .86)),
    'bottle': ((-1, .93), (-.95, 1), (.18, 1), (.36, .84), (.5, .36),
               (.8, .34), (.81, .44), (1, .44)),
    'mug': ((-1, .9), (-.9, 1), (1, 1)),
    'post': ((-1, 1), (1, 1)),
}


class Hit(NamedTuple):
    r"""Where rays meet a body.

    Attributes:
        t: along the ray, infinite where it is missed.
        face: the part's number from 1, float; 0 where it is missed.
    """
    t: Tensor
    face: Tensor


class Chart(NamedTuple):
    r"""The skin at points of a body.

    Attributes:
        normal: of length 1, outward.
        s: way around the body from the front, in [-girth / 2, girth / 2),
            growing to the right.
        v: downward from the middle.
        stretch: how much faster s runs than the way on the surface.
        printed: 1 where the skin has its pattern, 0 where it is plain.
    """
    normal: Vector
    s: Tensor
    v: Tensor
    stretch: Tensor
    printed: Tensor


class Body(Protocol):
    r"""A closed surface.

    Attributes:
        half, radius: half its height, and its radius at the floor.
        girth: the way around it.
        across: radius of the upright cylinder that holds it.
        smooth: so many parts, the first ones, meet without a sharp edge.
        label: centre v, half width and half height of the label.
    """
    half: float
    radius: float
    girth: float
    across: float
    smooth: int
    label: tuple[float, float, float]

    def hit(self, o: Vector, d: Vector) -> Hit: ...

    def chart(self, p: Vector, face: Tensor) -> Chart: ...


@cache
def body_of(solid: Solid) -> Body:
    r"""The body of a product."""
    if solid.shape == 'ball':
        return Ball()
    if solid.shape == 'box':
        scale = 1 / math.sqrt(1 + solid.slim ** 2 * (1 + solid.deep ** 2))
        return Box(solid.slim * scale, scale, solid.slim * solid.deep * scale)
    half = 1 / math.hypot(1, solid.slim)
    kind = Mug if solid.shape == 'mug' else Revolved
    return kind(half, solid.slim * half, PROFILES[solid.shape])


@cache
def body_of_thing(shape: str) -> Body:
    r"""The body of what is not for sale."""
    if shape == 'ball':
        return Ball()
    if shape == 'block':
        return Box(*[1 / math.sqrt(3)] * 3)
    return Revolved(4., 0.6, PROFILES['post'])


@dataclass(frozen=True)
class Ball:
    r"""Of radius 1."""
    half = radius = across = 1.0
    smooth = 0
    girth = 2 * math.pi
    label = 0., .62, .5

    def hit(self, o: Vector, d: Vector) -> Hit:
        t = _near(_dot(d, d), _dot(o, d), _dot(o, o) - 1)
        return Hit(t, t.isfinite().float())

    def chart(self, p: Vector, face: Tensor) -> Chart:
        across = torch.hypot(p[0], p[2]).clamp_min(.05)
        return Chart(p, torch.atan2(p[0], p[2]), -p[1].clamp(-1, 1).asin(),
                     1 / across, torch.ones_like(face))


@dataclass(frozen=True)
class Box:
    r"""Of half width, half height and half depth; the skin goes around."""
    wide: float
    half: float
    deep: float
    smooth = 0

    @property
    def radius(self) -> float:
        return self.wide

    @property
    def girth(self) -> float:
        return 4 * (self.wide + self.deep)

    @property
    def across(self) -> float:
        return math.hypot(self.wide, self.deep)

    @property
    def label(self) -> tuple[float, float, float]:
        return 0., .7 * self.wide, .6 * self.half

    def hit(self, o: Vector, d: Vector) -> Hit:
        r"""Faces are 1, 2 (x), 3, 4 (y), 5, 6 (z), the positive one first."""
        enter = leave = face = None
        for axis, side in enumerate((self.wide, self.half, self.deep)):
            slope = d[axis].abs().clamp_min(1e-9)
            middle = -o[axis] * d[axis].sign() / slope
            first, last = middle - side / slope, middle + side / slope
            own = 2 * axis + 1 + (d[axis] > 0).float()
            if enter is None:
                enter, leave, face = first, last, own
            else:
                face = torch.where(first > enter, own, face)
                enter, leave = enter.maximum(first), leave.minimum(last)
        found = enter < leave
        return Hit(torch.where(found, enter, math.inf), face * found)

    def chart(self, p: Vector, face: Tensor) -> Chart:
        sign = 2 * (face % 2) - 1
        x, y, z = ((face > first) & (face < first + 3) for first in (0, 2, 4))
        right = sign * (self.wide + self.deep) - sign * p[2]
        # From the middle of the back, left of which the skin begins.
        back = torch.where(p[0] > 0, 1., -1.) * self.girth / 2 - p[0]
        s = torch.where(x, right, torch.where(z & (sign < 0), back, p[0]))
        v = torch.where(y, p[2], -p[1])
        normal = tuple(part * sign for part in (x, y, z))
        return Chart(normal, s, v, torch.ones_like(s), torch.ones_like(s))


@dataclass(frozen=True)
class Revolved:
    r"""A profile turned about the y axis, with a lid and a bottom.

    Args:
        half, radius: half its height, and its largest radius.
        profile: see `PROFILES`.
    """
    half: float
    radius: float
    profile: tuple[tuple[float, float], ...]

    @property
    def girth(self) -> float:
        return 2 * math.pi * self.radius

    @property
    def across(self) -> float:
        return self.radius

    @property
    def smooth(self) -> int:
        return len(self.profile) - 1

    @property
    def label(self) -> tuple[float, float, float]:
        low, high = max(
            ((y, above) for (y, r), (above, next_r) in self.parts()
             if r == next_r == self.radius), key=lambda y: y[1] - y[0])
        return -(low + high) / 2, .8 * self.radius, .36 * (high - low)

    def parts(self):
        r"""Pairs of (height, radius) that bound each part, from below."""
        ring = [(y * self.half, r * self.radius) for y, r in self.profile]
        return list(zip(ring[:-1], ring[1:], strict=True))

    def hit(self, o: Vector, d: Vector) -> Hit:
        parts, hits = self.parts(), []
        flat = [d[0] * d[0] + d[2] * d[2], o[0] * d[0] + o[2] * d[2],
                o[0] * o[0] + o[2] * o[2]]
        for low, high in parts:
            hits.append(_frustum(o, d, flat, low, high))
        hits += [_disc(o, d, *parts[-1][1]), _disc(o, d, *parts[0][0])]
        return _first(hits)

    def chart(self, p: Vector, face: Tensor) -> Chart:
        across = torch.hypot(p[0], p[2]).clamp_min(1e-6)
        parts = self.parts()
        out, up = _slopes(parts, face)
        normal = p[0] / across * out, up, p[2] / across * out
        printed = (face <= len(parts)).float()
        return Chart(normal, torch.atan2(p[0], p[2]) * self.radius, -p[1],
                     self.radius / across.clamp_min(.2 * self.radius), printed)


@dataclass(frozen=True)
class Mug(Revolved):
    r"""Open above, with a flat handle on its right."""
    WALL, FLOOR = .86, -.8
    # Of the handle, in units of half the height; its centre is on the wall.
    OUTER, INNER, THICK = .62, .4, .14

    @property
    def across(self) -> float:
        return self.radius + self.OUTER * self.half

    def hit(self, o: Vector, d: Vector) -> Hit:
        parts = self.parts()
        flat = [d[0] * d[0] + d[2] * d[2], o[0] * d[0] + o[2] * d[2],
                o[0] * o[0] + o[2] * o[2]]
        inner, floor = self.WALL * self.radius, self.FLOOR * self.half
        hits = [_frustum(o, d, flat, low, high) for low, high in parts]
        hits += [_disc(o, d, self.half, self.radius, inner),
                 _disc(o, d, *parts[0][0]),
                 _inside(o, d, flat, inner, floor, self.half),
                 _disc(o, d, floor, inner), *self._handle(o, d)]
        return _first(hits)

    def _handle(self, o, d) -> list[Tensor]:
        r"""Its two sides, its outer and its inner edge."""
        x, thick = o[0] - self.radius, self.THICK * self.half
        outer, inner = self.OUTER * self.half, self.INNER * self.half
        found = []
        for side in (thick, -thick):
            t = (side - o[2]) / _nonzero(d[2])
            away = torch.hypot(x + t * d[0], o[1] + t * d[1])
            found.append(_where(
                (away < outer) & (away > inner), t, o, d, self.radius))
        a, b = d[0] * d[0] + d[1] * d[1], x * d[0] + o[1] * d[1]
        c = x * x + o[1] * o[1]
        for radius, far in ((outer, False), (inner, True)):
            t = _near(a, b, c - radius ** 2, far)
            near = (o[2] + t * d[2]).abs() < thick
            found.append(_where(near, t, o, d, self.radius))
        return found

    def chart(self, p: Vector, face: Tensor) -> Chart:
        r"""After the parts: rim, bottom, inner wall, its floor, handle."""
        count, chart = len(self.parts()), super().chart(p, face)
        own = face - count
        x, y = p[0] - self.radius, p[1]
        away = torch.hypot(x, y).clamp_min(1e-6)
        edge = torch.where(own == 7, 1., -1.) * (own > 6)
        across = torch.hypot(p[0], p[2]).clamp_min(1e-6)
        wall, side = (own == 3).float(), (own == 5).float() - (own == 6).float()
        up = chart.normal[1] * (own <= 2) + (own == 4)
        inward = chart.normal[0] * (own <= 2) - wall * p[0] / across
        normal = (inward + edge * x / away, up + edge * y / away,
                  chart.normal[2] * (own <= 2) - wall * p[2] / across + side)
        return chart._replace(normal=normal)


def _slopes(parts, face: Tensor) -> tuple[Tensor, Tensor]:
    r"""The normal's outward and upward shares, lid and bottom included."""
    table = [(0., 0.)]
    for (y, r), (above, next_r) in parts:
        length = math.hypot(above - y, next_r - r)
        table.append(((above - y) / length, (r - next_r) / length))
    table += [(0., 1.), (0., -1.)]
    number = face.long().clamp(max=len(table) - 1)
    out, up = torch.tensor(table).T
    return out[number], up[number]


def _first(hits: list[Tensor]) -> Hit:
    t, face = hits[0], torch.ones_like(hits[0])
    for number, other in enumerate(hits[1:], 2):
        face = torch.where(other < t, float(number), face)
        t = t.minimum(other)
    return Hit(t, face * t.isfinite())


def _near(a, b, c, far: bool = False) -> Tensor:
    r"""The first (or second) root of a t^2 + 2 b t + c, else infinity."""
    inner = b * b - a * c
    root = inner.clamp_min(0).sqrt()
    t = ((root if far else -root) - b) / a.clamp_min(1e-9)
    return torch.where((inner > 0) & (a > 1e-9), t, math.inf)


def _frustum(o, d, flat, low, high) -> Tensor:
    (y, r), (above, next_r) = low, high
    slope = (next_r - r) / (above - y)
    here, rate = r + slope * (o[1] - y), slope * d[1]
    t = _near(flat[0] - rate * rate, flat[1] - here * rate,
              flat[2] - here * here)
    at = o[1] + t * d[1]
    return torch.where((at >= y) & (at <= above), t, math.inf)


def _inside(o, d, flat, radius, low, high) -> Tensor:
    r"""The far inner wall of a cup, seen through its mouth."""
    t = _near(flat[0], flat[1], flat[2] - radius ** 2, True)
    at, mouth = o[1] + t * d[1], (high - o[1]) / _nonzero(d[1])
    across = torch.hypot(o[0] + mouth * d[0], o[2] + mouth * d[2])
    seen = (at >= low) & (at <= high) & (across < radius)
    return torch.where(seen, t, math.inf)


def _disc(o, d, y, radius, hole=0.) -> Tensor:
    t = (y - o[1]) / _nonzero(d[1])
    across = torch.hypot(o[0] + t * d[0], o[2] + t * d[2])
    return torch.where((across <= radius) & (across >= hole), t, math.inf)


def _where(found, t, o, d, radius) -> Tensor:
    r"""Only what stands out of the body."""
    across = torch.hypot(o[0] + t * d[0], o[2] + t * d[2])
    return torch.where(
        found & (across > .97 * radius) & (o[0] + t * d[0] > 0), t, math.inf)


def _nonzero(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 1e-9, 1e-9, x)


def _dot(a: Vector, b: Vector) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
