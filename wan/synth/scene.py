r"""What a procedural clip shows, as plain values.

Places and lengths are in half frames: a square frame without camera motion is
[-1, 1] x [-1, 1], x to the right and y down. Of a frame that is not square the
height counts, and it shows more or less of the scene to the left and right.
Angles are in radians, clockwise on the screen.
"""
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .shapes import PATTERNS, PROP_SHAPES, SHAPES
from .surfaces import SURFACES

# sRGB in [0, 1]: saturated for products, muted for what surrounds them.
PRODUCT_COLOURS = {
    'red': (0.84, 0.10, 0.12),
    'orange': (0.96, 0.50, 0.06),
    'yellow': (0.97, 0.86, 0.16),
    'green': (0.12, 0.58, 0.22),
    'turquoise': (0.10, 0.76, 0.76),
    'blue': (0.12, 0.28, 0.84),
    'purple': (0.50, 0.17, 0.66),
    'pink': (0.97, 0.48, 0.70),
    'white': (0.94, 0.94, 0.94),
    'black': (0.09, 0.09, 0.10),
}
SURFACE_COLOURS = {
    'ivory': (0.85, 0.82, 0.72),
    'grey': (0.58, 0.58, 0.58),
    'tan': (0.76, 0.60, 0.42),
    'brown': (0.42, 0.28, 0.19),
    'mint': (0.62, 0.80, 0.68),
    'lavender': (0.70, 0.66, 0.84),
    'rose': (0.82, 0.62, 0.62),
    'slate': (0.32, 0.40, 0.46),
    'navy': (0.14, 0.19, 0.34),
}


@dataclass(frozen=True)
class Article:
    r"""An object to be sold.

    Args:
        shape: key of `SHAPES`.
        pattern: key of `PATTERNS`.
        colours: keys of `PRODUCT_COLOURS`, the main one first: it also makes
            the rim. One for 'solid', else two or three.
        period: length of the pattern's repeat, in units of the size.
        angle: of the pattern, relative to the product.
    """
    shape: str
    pattern: str
    colours: tuple[str, ...]
    period: float = 0.5
    angle: float = 0.0

    def __post_init__(self):
        check('shape', self.shape, SHAPES)
        check('pattern', self.pattern, PATTERNS)
        for colour in self.colours:
            check('colour', colour, PRODUCT_COLOURS)
        allowed = (1,) if self.pattern == 'solid' else (2, 3)
        if len(set(self.colours)) != len(self.colours) or (
                len(self.colours) not in allowed):
            raise ValueError(
                f'A {self.pattern} product got the colours {self.colours}; '
                f'{" or ".join(map(str, allowed))} different ones are needed.')


@dataclass(frozen=True)
class Prop:
    r"""A thing that is not for sale, at rest in the scene.

    Args:
        shape: key of `PROP_SHAPES`.
        colour: key of `SURFACE_COLOURS`.
        front: it stands between the camera and the product.
    """
    shape: str
    colour: str
    x: float
    y: float
    size: float
    front: bool = False

    def __post_init__(self):
        check('prop', self.shape, PROP_SHAPES)
        check('colour', self.colour, SURFACE_COLOURS)


@dataclass(frozen=True)
class Light:
    r"""Where the light comes from (0: the right, pi / 2: below)."""
    angle: float = -2.2
    strength: float = 0.8


@dataclass(frozen=True)
class Scene:
    r"""A surface with its texture, props and light.

    Args:
        surface: key of `SURFACES`.
        colour: key of `SURFACE_COLOURS`.
        angle, scale, x, y: how the texture lies on the surface.
    """
    surface: str
    colour: str
    angle: float = 0.0
    scale: float = 1.0
    x: float = 0.0
    y: float = 0.0
    light: Light = Light()
    props: tuple[Prop, ...] = ()

    def __post_init__(self):
        check('surface', self.surface, SURFACES)
        check('colour', self.colour, SURFACE_COLOURS)


@dataclass(frozen=True)
class Pose:
    r"""Centre, turn and size (radius of the circle around it) of a product."""
    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0
    size: float = 0.45


@dataclass(frozen=True)
class Motion:
    r"""Even motion of product and camera around the middle of the clip.

    Args:
        middle: the product's pose halfway through.
        dx, dy, turn, growth: the product's change from the first frame to the
            last; growth is the log of the ratio of sizes.
        pan_x, pan_y, zoom: the camera's, zoom being the log of a ratio.
    """
    middle: Pose = Pose()
    dx: float = 0.0
    dy: float = 0.0
    turn: float = 0.0
    growth: float = 0.0
    pan_x: float = 0.0
    pan_y: float = 0.0
    zoom: float = 0.0


@dataclass(frozen=True)
class Clip:
    r"""A product in a scene.

    Args:
        size: pixels of a frame's height.
        frames: how many.
        width: pixels of a frame's width; None for a square frame.
    """
    product: Article
    scene: Scene
    motion: Motion
    size: int = 128
    frames: int = 17
    width: int | None = None

    def __post_init__(self):
        if min(self.shape) < 16 or self.frames < 1:
            raise ValueError(
                f'A clip has at least 1 frame of 16 pixels, not {self.frames} '
                f'of {min(self.shape)}.')

    @property
    def shape(self) -> tuple[int, int]:
        r"""Rows and columns of a frame."""
        return self.size, self.size if self.width is None else self.width


def swap(clip: Clip, product: Article) -> Clip:
    r"""The same scene and motion with another product: a swap's true answer."""
    return replace(clip, product=product)


def check(what: str, name: str, allowed: Iterable[str]) -> None:
    r"""Refuse a name that is not allowed.

    Raises:
        ValueError: what it is and which are allowed.
    """
    if name not in allowed:
        raise ValueError(
            f'Unknown {what} {name!r}; allowed: {", ".join(allowed)}.')
