r"""Seeded sampling of clips: attributes are drawn independently."""
import math
from random import Random

from .scene import (
    PRODUCT_COLOURS,
    SURFACE_COLOURS,
    Article,
    Clip,
    Light,
    Motion,
    Pose,
    Prop,
    Scene,
)
from .shapes import PATTERNS, SHAPES
from .surfaces import SURFACES

# Disjoint, so that no clip is both learned from, tuned on and reported.
TRAIN_SEEDS = range(0, 1_000_000_000)
TUNE_SEEDS = range(1_000_000_000, 1_500_000_000)
TEST_SEEDS = range(1_500_000_000, 2_000_000_000)
# Products stand about upright, in clips and in photos, as they do in shops.
TILT = 0.5
# Patterns whose marks end in both directions are coarser by this: among finer
# ones the embedded model loses the product's outline.
COARSER = {'checked': 1.4, 'dotted': 1.2}
# Share of the clips where a prop stands in front of the product.
OCCLUDED = 0.15


def sample_clip(seed: int, size: int = 128, frames: int = 17) -> Clip:
    r"""The clip of a seed, its attributes drawn independently.

    Args:
        seed: in `TRAIN_SEEDS`, `TUNE_SEEDS` or `TEST_SEEDS`.
    """
    rng = Random(f'clip {seed}')  # not what a caller draws by Random(seed)
    return Clip(sample_product(rng), sample_scene(rng), sample_motion(rng),
                size, frames)


def sample_product(rng: Random) -> Article:
    shape = rng.choice(tuple(SHAPES))
    pattern = rng.choice(tuple(PATTERNS))
    colours = tuple(rng.sample(tuple(PRODUCT_COLOURS), 3))
    count = rng.choice((2, 2, 3))
    return Article(
        shape, pattern, colours[:1 if pattern == 'solid' else count],
        rng.uniform(0.5, 0.62) * COARSER.get(pattern, 1.0),
        rng.uniform(-math.pi, math.pi))


def sample_scene(rng: Random) -> Scene:
    surface = rng.choice(tuple(SURFACES))
    colour = rng.choice(tuple(SURFACE_COLOURS))
    angle, scale = rng.uniform(-0.4, 0.4), rng.uniform(0.85, 1.2)
    x, y = rng.uniform(-3, 3), rng.uniform(-3, 3)
    if surface == 'studio':  # its light and dark ends stay in view
        x = y = 0.0
    light = Light(rng.uniform(-math.pi, math.pi), rng.uniform(0.5, 1.0))
    others = [name for name in SURFACE_COLOURS if name != colour]
    return Scene(surface, colour, angle, scale, x, y, light,
                 _sample_props(others, rng))


def sample_motion(rng: Random) -> Motion:
    middle = Pose(rng.uniform(-0.12, 0.12), rng.uniform(-0.12, 0.12),
                  rng.uniform(-TILT, TILT), rng.uniform(0.48, 0.6))
    heading = rng.randrange(4) * math.pi / 2 + rng.uniform(-0.3, 0.3)
    length = rng.choice((0, 1, 1)) * rng.uniform(0.25, 0.45)
    turn = rng.choice((0, -1, 1)) * rng.uniform(0.4, 1.0)
    growth = rng.choice((0, 0, -1, 1)) * rng.uniform(0.15, 0.3)
    camera = rng.choice((None, None, 'pan', 'zoom'))
    pan_x = pan_y = zoom = 0.0
    sign, along_x = rng.choice((-1, 1)), rng.random() < 0.5
    amount = rng.uniform(0.15, 0.25)
    if camera == 'zoom':
        zoom = sign * amount
    elif camera and along_x:
        pan_x = sign * amount
    elif camera:
        pan_y = sign * amount
    return Motion(middle, length * math.cos(heading),
                  length * math.sin(heading), turn, growth, pan_x, pan_y, zoom)


def sample_pose(rng: Random) -> Pose:
    r"""How a product lies in its photo: larger than in a clip."""
    return Pose(rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1),
                rng.uniform(-TILT, TILT), rng.uniform(0.65, 0.8))


def _sample_props(colours: list[str], rng: Random) -> tuple[Prop, ...]:
    r"""Up to two props in the corners, and sometimes one in front."""
    corners = rng.sample([(-1, -1), (1, -1), (-1, 1), (1, 1)],
                         rng.choice((0, 1, 2)))
    props = []
    for x, y in corners:
        place = rng.uniform(0.72, 0.85), rng.uniform(0.72, 0.85)
        props.append(Prop(rng.choice(('ball', 'block')), rng.choice(colours),
                          x * place[0], y * place[1], rng.uniform(0.17, 0.24)))
    if rng.random() < OCCLUDED:
        x = rng.choice((-1, 1)) * rng.uniform(0.2, 0.45)
        colour = rng.choice(colours)
        props.append(rng.choice((
            Prop('post', colour, x, rng.uniform(0.3, 0.6), 1.0, True),
            Prop('ball', colour, x, rng.uniform(0.25, 0.45), 0.22, True))))
    return tuple(props)
