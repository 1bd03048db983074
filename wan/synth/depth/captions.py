r"""Plain English captions of the world in depth, in a closed vocabulary.

They are worded as those of the flat world, with some words more. A tokenizer
for both worlds is made of both vocabularies.
"""
import math
from collections.abc import Collection
from random import Random

from ..captions import SURFACE_NAMES, article, words
from ..captions import VOCABULARY as FLAT_VOCABULARY
from ..scene import Light
from .scene import SOLIDS, DepthClip, DepthMotion, Solid, Thing

ATTRIBUTES = (
    'shape', 'pattern', 'colours', 'accents', 'mark', 'motion', 'surface',
    'surface_colour', 'things', 'light', 'camera')
APPEARANCE = ('pattern', 'colours', 'accents', 'mark')
SIDES = ('the right', 'the front', 'the left', 'behind')
PHRASES = (
    'with', 'turns left', 'turns right', 'tilts clockwise',
    'tilts counterclockwise', 'passes in front', 'stands still', 'slides')
VOCABULARY: tuple[str, ...] = tuple(sorted({
    *FLAT_VOCABULARY, *SOLIDS, *words(' '.join((*SIDES, *PHRASES)))}))


def full_depth_caption(clip: DepthClip) -> str:
    r"""Everything that captions can tell about the clip."""
    return compose_depth(clip, ATTRIBUTES)


def depth_caption_without_appearance(clip: DepthClip) -> str:
    r"""Everything but the product's colours, pattern and mark."""
    return compose_depth(
        clip, [name for name in ATTRIBUTES if name not in APPEARANCE])


def depth_caption(clip: DepthClip, rng: Random, drop: float = .3) -> str:
    r"""A caption that leaves out each attribute with probability `drop`."""
    return compose_depth(
        clip, [name for name in ATTRIBUTES if rng.random() >= drop])


def compose_depth(clip: DepthClip, told: Collection[str]) -> str:
    r"""A caption that tells some attributes.

    Raises:
        ValueError: an unknown attribute.
    """
    unknown = set(told) - set(ATTRIBUTES)
    if unknown:
        raise ValueError(
            f'Unknown attributes {", ".join(sorted(unknown))}; allowed: '
            f'{", ".join(ATTRIBUTES)}.')
    room = clip.room
    parts = [describe_solid(clip.product, told)]
    if 'motion' in told and clip.frames > 1:
        parts.append(_motion(clip.motion))
    found = [room.colour] if 'surface_colour' in told else []
    found.append(
        SURFACE_NAMES[room.surface] if 'surface' in told else 'surface')
    parts.append(f'on {article(" ".join(found))}')
    clauses = [' '.join(parts)]
    if 'things' in told:
        clauses += [_thing(thing, clip) for thing in room.things]
    if 'light' in told:
        clauses.append(f'lit from {_side(room.light)}')
    if 'camera' in told and clip.frames > 1:
        clauses.append(f'the camera {_camera(clip.motion)}')
    return ', '.join(clauses) + '.'


def describe_solid(
    product: Solid, told: Collection[str] = ATTRIBUTES
) -> str:
    r"""The product alone: 'a striped red and white can with a star'."""
    found = [product.pattern] if 'pattern' in told else []
    if 'colours' in told:
        shown = None if 'accents' in told else 1
        found.append(' and '.join(product.colours[:shown]))
    found.append(product.shape if 'shape' in told else 'product')
    text = article(' '.join(found))
    if 'mark' in told and product.mark is not None:
        text += f' with {article(product.mark)}'
    return text


def _motion(motion: DepthMotion) -> str:
    found = []
    if motion.dx:
        found.append(f'slides {"right" if motion.dx > 0 else "left"}')
    if motion.turn:
        found.append(f'turns {"right" if motion.turn > 0 else "left"}')
    if motion.roll:
        found.append('tilts clockwise' if motion.roll > 0 else
                     'tilts counterclockwise')
    # By a way of dz it looks larger by about a quarter of it.
    nearer = motion.growth + motion.dz / 4
    if nearer:
        found.append('comes closer' if nearer > 0 else 'moves away')
    return ' and '.join(found) or 'stands still'


def _thing(thing: Thing, clip: DepthClip) -> str:
    name = article(f'{thing.colour} {thing.shape}')
    if thing.z < clip.motion.middle.z:
        return f'beside {name}'
    if thing.dx and clip.frames > 1:
        return f'{name} passes in front'
    return f'behind {name}'


def _camera(motion: DepthMotion) -> str:
    if motion.pan_x:
        return f'pans {"right" if motion.pan_x > 0 else "left"}'
    if motion.pan_y:
        return f'pans {"down" if motion.pan_y > 0 else "up"}'
    if motion.zoom:
        return 'zooms in' if motion.zoom > 0 else 'zooms out'
    return 'stands still'


def _side(light: Light) -> str:
    return SIDES[round(light.angle / (math.pi / 2)) % 4]
