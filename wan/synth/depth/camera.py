r"""The camera and where things stand before it, frame by frame."""
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..drawing import toward
from .bodies import Body, Vector
from .scene import DepthClip, DepthMotion, Stand, Thing

# From the eye to the point it looks at, and that point's height.
DISTANCE, AIM = 4.0, 0.42


class Camera(NamedTuple):
    r"""It looks down at the middle of the scene.

    Attributes:
        elevation: in radians, 0 for the horizontal.
        x, y, zoom: of the picture's middle, and magnification, [T, 1, 1]; T is
            1 if they do not change.
    """
    elevation: float
    x: Tensor
    y: Tensor
    zoom: Tensor

    @classmethod
    def still(cls, elevation: float) -> 'Camera':
        zero = torch.zeros(1, 1, 1)
        return cls(elevation, zero, zero, zero + 1)

    @classmethod
    def of(cls, clip: DepthClip) -> 'Camera':
        motion = clip.motion
        part = torch.zeros(1, 1, 1)
        if motion.pan_x or motion.pan_y or motion.zoom:
            part = progress(clip.frames)
        return cls(clip.room.elevation, motion.pan_x * part,
                   motion.pan_y * part, (motion.zoom * part).exp())

    @property
    def eye(self) -> tuple[float, float, float]:
        return (0., AIM + DISTANCE * math.sin(self.elevation),
                DISTANCE * math.cos(self.elevation))

    def rays(self, x: Tensor, y: Tensor) -> Vector:
        r"""Directions through points of the picture plane.

        The plane is one in which a unit at the scene's middle is 1: the
        screen, less what the camera pans and zooms.
        """
        sin, cos = math.sin(self.elevation), math.cos(self.elevation)
        return x, -DISTANCE * sin - y * cos, y * sin - DISTANCE * cos

    def screen(self, point: Vector) -> tuple[Tensor, Tensor, Tensor]:
        r"""Screen x, y in half frames of points, and their scale there."""
        sin, cos = math.sin(self.elevation), math.cos(self.elevation)
        up = point[1] - AIM
        scale = DISTANCE / (DISTANCE - up * sin - point[2] * cos)
        return ((point[0] * scale - self.x) * self.zoom,
                ((point[2] * sin - up * cos) * scale - self.y) * self.zoom,
                scale * self.zoom)

    def plane(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Screen points in the plane of `rays`."""
        return x / self.zoom + self.x, y / self.zoom + self.y


class Place(NamedTuple):
    r"""A body's place [T, 1, 1]; T is 1 for what does not move.

    Attributes:
        centre: of the body in the scene.
        yaw, roll: as of `Stand`, cosine and sine of each.
        size: as of `Stand`.
    """
    centre: Vector
    yaw: tuple[Tensor, Tensor]
    roll: tuple[Tensor, Tensor]
    size: Tensor

    def inward(self, v: Vector) -> Vector:
        r"""A direction of the scene in the body's own axes, length kept."""
        cos, sin = self.roll
        x, y = cos * v[0] - sin * v[1], sin * v[0] + cos * v[1]
        cos, sin = self.yaw
        return cos * x - sin * v[2], y, sin * x + cos * v[2]

    def origin(self, point: Vector) -> Vector:
        r"""A point of the scene in the body's own axes and unit."""
        found = self.inward(tuple(
            a - b for a, b in zip(point, self.centre, strict=True)))
        return tuple(part / self.size for part in found)

    def map(self, change: Callable[[Tensor], Tensor]) -> 'Place':
        r"""Each of its tensors changed."""
        return Place(
            *(tuple(map(change, part)) for part in self[:3]),
            change(self.size))

    def of_frames(self, count: int) -> 'Place':
        r"""As many frames at least, if it has one."""
        return self if len(self.size) > 1 else self.map(
            lambda part: part.expand(count, 1, 1))


def standing(stand: Stand, body: Body) -> Place:
    r"""Of a body at rest."""
    return moved(DepthMotion(stand), body, 1)


def moved(motion: DepthMotion, body: Body, frames: int) -> Place:
    r"""Of the product in each frame: rolled, it stands on its lower edge."""
    part, middle = progress(frames), motion.middle
    size = middle.size * (motion.growth * part).exp()
    roll = middle.roll + motion.roll * part
    # A ball's centre keeps its height.
    edge = 0. if body.half == body.radius else body.radius
    lift = roll.cos().abs() * body.half + roll.sin().abs() * edge
    if not edge:
        lift = torch.full_like(roll, body.half)
    return Place(
        (middle.x + motion.dx * part, size * lift, middle.z + motion.dz * part),
        toward(middle.yaw + motion.turn * part), toward(roll), size)


def passing(thing: Thing, body: Body, frames: int) -> Place:
    r"""Of a thing in each frame, or in one if it stays."""
    part = progress(frames if thing.dx else 1)
    zero = torch.zeros_like(part)
    return Place((thing.x + thing.dx * part, zero + body.half * thing.size,
                  zero + thing.z), toward(zero), toward(zero),
                 zero + thing.size)


def progress(frames: int) -> Tensor:
    r"""[T, 1, 1] from -0.5 to 0.5; 0 for a single image."""
    if frames == 1:
        return torch.zeros(1, 1, 1)
    return torch.linspace(-0.5, 0.5, frames)[:, None, None]
