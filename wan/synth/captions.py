r"""Plain English captions of clips, in a closed vocabulary."""
import math
import re
from collections.abc import Collection
from random import Random

from .scene import (
    PRODUCT_COLOURS,
    SURFACE_COLOURS,
    Article,
    Clip,
    Light,
    Motion,
    Scene,
)
from .shapes import PATTERNS, PROP_SHAPES, SHAPES

ATTRIBUTES = (
    'shape', 'pattern', 'colours', 'accents', 'motion', 'surface',
    'surface_colour', 'props', 'light', 'camera')
APPEARANCE = ('pattern', 'colours', 'accents')
SURFACE_NAMES = {
    'plain': 'plain table',
    'wooden': 'wooden table',
    'tiled': 'tiled floor',
    'marble': 'marble slab',
    'woven': 'woven cloth',
    'studio': 'studio backdrop',
}
SIDES = ('the right', 'below', 'the left', 'above')
WAYS = ('right', 'down', 'left', 'up')
# Every other word that a caption can have.
PHRASES = (
    'product', 'a an and on', 'slides', 'turns clockwise',
    'turns counterclockwise', 'comes closer', 'moves away', 'lies still',
    'surface', 'beside', 'behind', 'lit from', 'the camera stands still',
    'the camera pans', 'the camera zooms in', 'the camera zooms out')


def words(text: str) -> list[str]:
    r"""The words and punctuation marks of a caption."""
    return re.findall(r'\w+|[^\w\s]', text)


VOCABULARY: tuple[str, ...] = tuple(sorted({
    ',', '.',
    *SHAPES, *PATTERNS, *PRODUCT_COLOURS, *SURFACE_COLOURS, *PROP_SHAPES,
    *WAYS,
    *words(' '.join((*SIDES, *SURFACE_NAMES.values(), *PHRASES)))}))


def full_caption(clip: Clip) -> str:
    r"""Everything that captions can tell about the clip."""
    return compose(clip, ATTRIBUTES)


def caption_without_appearance(clip: Clip) -> str:
    r"""Everything but the product's colours and pattern."""
    return compose(clip, [a for a in ATTRIBUTES if a not in APPEARANCE])


def caption(clip: Clip, rng: Random, drop: float = 0.3) -> str:
    r"""A caption that leaves out each attribute with probability `drop`."""
    return compose(clip, [a for a in ATTRIBUTES if rng.random() >= drop])


def compose(clip: Clip, told: Collection[str]) -> str:
    r"""A caption that tells some attributes.

    Args:
        told: members of `ATTRIBUTES`. The accents are the colours after the
            main one. A clip of one frame has no motion to tell.

    Raises:
        ValueError: an unknown attribute.
    """
    unknown = set(told) - set(ATTRIBUTES)
    if unknown:
        raise ValueError(
            f'Unknown attributes {", ".join(sorted(unknown))}; allowed: '
            f'{", ".join(ATTRIBUTES)}.')
    parts = [describe(clip.product, told)]
    if 'motion' in told and clip.frames > 1:
        parts.append(_motion(clip.motion))
    parts.append(_surface(clip.scene, told))
    clauses = [' '.join(parts)]
    if 'props' in told:
        clauses += [
            f'{"behind" if prop.front else "beside"} '
            f'{article(f"{prop.colour} {prop.shape}")}'
            for prop in clip.scene.props]
    if 'light' in told:
        clauses.append(f'lit from {_side(clip.scene.light)}')
    if 'camera' in told and clip.frames > 1:
        clauses.append(f'the camera {_camera(clip.motion)}')
    return ', '.join(clauses) + '.'


def describe(product: Article, told: Collection[str] = ATTRIBUTES) -> str:
    r"""The product alone: 'a striped red and white star'."""
    found = [product.pattern] if 'pattern' in told else []
    if 'colours' in told:
        shown = None if 'accents' in told else 1
        found.append(' and '.join(product.colours[:shown]))
    found.append(product.shape if 'shape' in told else 'product')
    return article(' '.join(found))


def _motion(motion: Motion) -> str:
    found = []
    if motion.dx or motion.dy:
        found.append(f'slides {_way(motion.dx, motion.dy)}')
    if motion.turn:
        found.append('turns clockwise' if motion.turn > 0 else
                     'turns counterclockwise')
    if motion.growth:
        found.append('comes closer' if motion.growth > 0 else 'moves away')
    return ' and '.join(found) or 'lies still'


def _surface(scene: Scene, told: Collection[str]) -> str:
    found = [scene.colour] if 'surface_colour' in told else []
    found.append(SURFACE_NAMES[scene.surface] if 'surface' in told else
                 'surface')
    return f'on {article(" ".join(found))}'


def _camera(motion: Motion) -> str:
    if motion.pan_x or motion.pan_y:
        return f'pans {_way(motion.pan_x, motion.pan_y)}'
    if motion.zoom:
        return 'zooms in' if motion.zoom > 0 else 'zooms out'
    return 'stands still'


def _way(dx: float, dy: float) -> str:
    if abs(dx) >= abs(dy):
        return 'right' if dx > 0 else 'left'
    return 'down' if dy > 0 else 'up'


def _side(light: Light) -> str:
    return SIDES[round(light.angle / (math.pi / 2)) % 4]


def article(phrase: str) -> str:
    r"""The phrase with 'a' or 'an' before it."""
    return ('an ' if phrase[0] in 'aeiou' else 'a ') + phrase
