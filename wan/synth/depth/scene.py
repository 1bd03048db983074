r"""What a clip of the world in depth shows, as plain values.

x is to the right, y up and z toward the camera, the floor being y = 0. One
unit is half a frame's height at the middle of the scene. A product's yaw is
its turn about the vertical axis: at 0 its front faces the camera, at pi / 2
the right. A roll is clockwise on the screen. Angles are in radians.
"""
import math
from dataclasses import dataclass

from ..scene import PRODUCT_COLOURS, SURFACE_COLOURS, Light, check
from ..shapes import PATTERNS, SHAPES
from ..surfaces import SURFACES

SOLIDS = ('box', 'can', 'bottle', 'ball', 'mug')
THINGS = ('ball', 'block', 'post')
# Ways a pattern lies: its stripes upright, around the body, or winding.
UPRIGHT, AROUND, WINDING = LEANS = (0, 1, 2)


@dataclass(frozen=True)
class Solid:
    r"""An object to be sold, with a skin all around it.

    Args:
        shape: of `SOLIDS`.
        pattern: key of `PATTERNS`.
        colours: keys of `PRODUCT_COLOURS`, the main one first. Two or three,
            but of a 'solid' one: one, or two with a mark.
        mark: key of `SHAPES`: printed on the front in the main colour, on a
            label of the last one; None for no label.
        slim: width by height, above 0.
        deep: depth by width of a box, above 0.
        period: length of the pattern's repeat, in units of the size; the
            nearest is taken that closes around the body.
        lean: of `LEANS`.
        gloss: of the highlight, in [0, 1].
        phase: by which the skin is turned about the body.
    """
    shape: str
    pattern: str
    colours: tuple[str, ...]
    mark: str | None = None
    slim: float = 0.7
    deep: float = 1.0
    period: float = 0.55
    lean: int = UPRIGHT
    gloss: float = 0.3
    phase: float = 0.0

    def __post_init__(self):
        check('shape', self.shape, SOLIDS)
        check('pattern', self.pattern, PATTERNS)
        if self.mark is not None:
            check('mark', self.mark, SHAPES)
        if self.lean not in LEANS:
            raise ValueError(f'lean is {self.lean}, allowed: 0, 1, 2.')
        for colour in self.colours:
            check('colour', colour, PRODUCT_COLOURS)
        allowed = (2, 3)
        if self.pattern == 'solid':
            allowed = (1,) if self.mark is None else (2,)
        if len(set(self.colours)) != len(self.colours) or (
                len(self.colours) not in allowed):
            raise ValueError(
                f'A {self.pattern} product {"with" if self.mark else "without"}'
                f' a mark got the colours {self.colours}; '
                f'{" or ".join(map(str, allowed))} different ones are needed.')
        for name in ('slim', 'deep', 'period'):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f'{name} is {getattr(self, name)}, allowed is above 0.')


@dataclass(frozen=True)
class Thing:
    r"""What is not for sale, on the floor; it may pass by.

    Args:
        shape: of `THINGS`.
        colour: key of `SURFACE_COLOURS`.
        x, z, size: place at the middle of the clip, and radius.
        dx: way from the first frame to the last.
    """
    shape: str
    colour: str
    x: float
    z: float
    size: float
    dx: float = 0.0

    def __post_init__(self):
        check('thing', self.shape, THINGS)
        check('colour', self.colour, SURFACE_COLOURS)


@dataclass(frozen=True)
class Room:
    r"""A textured floor, a plain wall behind it, things and light.

    Args:
        surface: key of `SURFACES`.
        colour: key of `SURFACE_COLOURS`.
        angle, scale, x, y: how the texture lies on the floor.
        light: its angle is that of the way toward it on the floor: 0 the
            right, pi / 2 the front.
        elevation: the camera looks down by it.
        wall: how far behind the middle.
    """
    surface: str
    colour: str
    angle: float = 0.0
    scale: float = 1.0
    x: float = 0.0
    y: float = 0.0
    light: Light = Light()
    elevation: float = 0.35
    wall: float = 1.8
    things: tuple[Thing, ...] = ()

    def __post_init__(self):
        check('surface', self.surface, SURFACES)
        check('colour', self.colour, SURFACE_COLOURS)
        if not 0 < self.elevation < math.pi / 2:
            raise ValueError(
                f'elevation is {self.elevation}, allowed is 0 to pi / 2, both '
                f'excluded.')


@dataclass(frozen=True)
class Stand:
    r"""Place on the floor, turns and size (the radius around a product)."""
    x: float = 0.0
    z: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0
    size: float = 0.55


@dataclass(frozen=True)
class DepthMotion:
    r"""Even motion of product and camera around the middle of the clip.

    Args:
        middle: the product's stand halfway through.
        dx, dz, turn, roll, growth: its change from the first frame to the
            last; growth is the log of the ratio of sizes.
        pan_x, pan_y, zoom: as of `Motion`.
    """
    middle: Stand = Stand()
    dx: float = 0.0
    dz: float = 0.0
    turn: float = 0.0
    roll: float = 0.0
    growth: float = 0.0
    pan_x: float = 0.0
    pan_y: float = 0.0
    zoom: float = 0.0

    def stand(self, frame: int, frames: int) -> Stand:
        r"""The product's pose in a frame of a clip."""
        part = frame / (frames - 1) - 0.5 if frames > 1 else 0.
        middle = self.middle
        return Stand(
            middle.x + self.dx * part, middle.z + self.dz * part,
            middle.yaw + self.turn * part, middle.roll + self.roll * part,
            middle.size * math.exp(self.growth * part))


@dataclass(frozen=True)
class DepthClip:
    r"""A solid in a room; `swap` puts another in its place.

    Args:
        size: pixels of a frame's height and width.
        frames: how many.
    """
    product: Solid
    room: Room
    motion: DepthMotion
    size: int = 128
    frames: int = 17

    def __post_init__(self):
        if self.size < 16 or self.frames < 1:
            raise ValueError(
                f'A clip has at least 1 frame of 16 pixels, not {self.frames} '
                f'of {self.size}.')

    @property
    def shape(self) -> tuple[int, int]:
        r"""Rows and columns of a frame."""
        return self.size, self.size
