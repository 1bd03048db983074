r"""Seeded sampling of the world in depth; seeds are those of `sampling`."""
import math
from dataclasses import replace
from random import Random

from ..sampling import COARSER
from ..scene import PRODUCT_COLOURS, SURFACE_COLOURS, Light
from ..shapes import PATTERNS, SHAPES
from ..surfaces import SURFACES
from .scene import (
    LEANS,
    SOLIDS,
    THINGS,
    DepthClip,
    DepthMotion,
    Room,
    Solid,
    Stand,
    Thing,
)

# Width by height.
SLIM = {'box': (.55, 1.1), 'can': (.5, .85), 'bottle': (.32, .46),
        'ball': (1., 1.), 'mug': (.85, 1.1)}
# Share of the products with a label, and of the clips where something passes.
LABELLED, PASSED = .6, .3
# Elevations of the cameras of photos.
RISES = (.15, .55)
# Between a photo and the frame that it is anchored to.
NEAR = .17


def sample_depth_clip(
    seed: int, size: int = 128, frames: int = 17
) -> DepthClip:
    r"""The clip of a seed, its attributes drawn independently."""
    rng = Random(f'depth clip {seed}')
    return DepthClip(sample_solid(rng), sample_room(rng),
                     sample_depth_motion(rng), size, frames)


def sample_solid(rng: Random) -> Solid:
    shape = rng.choice(SOLIDS)
    pattern = rng.choice(tuple(PATTERNS))
    mark = rng.choice(tuple(SHAPES)) if rng.random() < LABELLED else None
    colours = tuple(rng.sample(tuple(PRODUCT_COLOURS), 3))
    count = rng.choice((2, 2, 3))
    if pattern == 'solid':
        count = 1 if mark is None else 2
    return Solid(
        shape, pattern, colours[:count], mark, rng.uniform(*SLIM[shape]),
        rng.uniform(.5, 1.), rng.uniform(.5, .62) * COARSER.get(pattern, 1.),
        rng.choice(LEANS), rng.uniform(.1, .6))


def sample_room(rng: Random) -> Room:
    surface = rng.choice(tuple(SURFACES))
    colour = rng.choice(tuple(SURFACE_COLOURS))
    angle, scale = rng.uniform(-.4, .4), rng.uniform(1.1, 1.5)
    x, y = rng.uniform(-3, 3), rng.uniform(-3, 3)
    if surface == 'studio':  # its light and dark ends stay in view
        x = y = 0.
    light = Light(rng.uniform(-math.pi, math.pi), rng.uniform(.5, 1.))
    others = [name for name in SURFACE_COLOURS if name != colour]
    return Room(surface, colour, angle, scale, x, y, light,
                rng.uniform(.28, .5), rng.uniform(1.3, 2.2),
                _sample_things(others, rng))


def sample_depth_motion(rng: Random) -> DepthMotion:
    r"""A turn in depth of up to 180 degrees in most, and what else moves."""
    middle = Stand(rng.uniform(-.12, .12), rng.uniform(-.12, .12),
                   rng.uniform(-1.2, 1.2), 0., rng.uniform(.5, .6))
    turn = rng.choice((0, 1, 1, 1)) * rng.uniform(.3, math.pi)
    turn *= rng.choice((-1, 1))
    roll = rng.choice((0, 0, 0, -1, 1)) * rng.uniform(.25, .6)
    slide = rng.choice(('', '', 'x', 'z'))
    way = rng.choice((-1, 1)) * rng.uniform(.25, .45)
    growth = rng.choice((0, 0, 0, -1, 1)) * rng.uniform(.15, .3)
    camera = rng.choice(('', '', 'pan', 'zoom'))
    amount = rng.choice((-1, 1)) * rng.uniform(.15, .25)
    across = rng.random() < .5
    return DepthMotion(
        middle, way * (slide == 'x'), way * (slide == 'z'), turn, roll, growth,
        amount * (camera == 'pan' and across),
        amount * (camera == 'pan' and not across), amount * (camera == 'zoom'))


def anchored(clip: DepthClip, frame: int, rng: Random) -> Stand:
    r"""How a product stands in a photo from near a frame's side.

    It stands upright, as products do in photos.
    """
    yaw = clip.motion.stand(frame, clip.frames).yaw
    return replace(_photo(rng), yaw=yaw + rng.uniform(-NEAR, NEAR))


def any_side(rng: Random) -> Stand:
    r"""In a photo from anywhere around it."""
    return replace(_photo(rng), yaw=rng.uniform(-math.pi, math.pi))


def sample_elevation(rng: Random) -> float:
    r"""Of the camera of a photo whose template is not known."""
    return rng.uniform(*RISES)


def view_set(count: int, rng: Random) -> tuple[Stand, ...]:
    r"""In 3 or 4 photos around it, the front first: with 4 front, right side,
    back and left side, with 3 a third of a turn apart.

    Raises:
        ValueError: another count.
    """
    if count not in (3, 4):
        raise ValueError(f'A set has 3 or 4 views, not {count}.')
    stand = _photo(rng)
    # The right side faces the camera once the product has turned to the left.
    return tuple(
        replace(stand, yaw=-2 * math.pi * i / count) for i in range(count))


def _photo(rng: Random) -> Stand:
    return Stand(rng.uniform(-.06, .06), rng.uniform(-.06, .06),
                 size=rng.uniform(.66, .76))


def _sample_things(colours: list[str], rng: Random) -> tuple[Thing, ...]:
    r"""Up to two behind the product, and in a part one that passes by."""
    things = []
    for side in rng.sample((-1, 1), rng.choice((0, 1, 2))):
        things.append(Thing(
            rng.choice(('ball', 'block')), rng.choice(colours),
            side * rng.uniform(.7, .95), rng.uniform(-.9, -.55),
            rng.uniform(.15, .24)))
    if rng.random() < PASSED:
        way = rng.choice((-1, 1)) * rng.choice((0., .6, 1.2))
        shape = rng.choice(THINGS)
        things.append(Thing(
            shape, rng.choice(colours),
            rng.choice((-1, 1)) * rng.uniform(.1, .35), rng.uniform(.75, .95),
            rng.uniform(.2, .3) * (.4 if shape == 'post' else 1.), way))
    return tuple(things)
