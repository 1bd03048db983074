r"""Questions in the world in depth: a template, photos and the true answer."""
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from PIL import Image

from ...depth import (
    DepthClip,
    Solid,
    Stand,
    anchored,
    any_side,
    depth_mask,
    hidden_mask,
    render_depth_background,
    render_depth_clip,
    render_solid,
    sample_depth_clip,
    view_set,
)
from ...depth.captions import (
    depth_caption_without_appearance,
    full_depth_caption,
)
from ...depth.sampling import RISES, SLIM, sample_solid
from ...depth.scene import SOLIDS
from ...sampling import TEST_SEEDS
from ...scene import PRODUCT_COLOURS, swap
from ..pairs import same_shape
from .measures import SHIFTS, DepthAnswer, shown_turn, stand_of, turn_is_right

# How photos are taken: near the pose of the middle frame, from anywhere, or
# in sets of views around the product.
PHOTOS = ('anchored', 'any', 'views')


@dataclass(frozen=True)
class DepthPair:
    r"""A template and the solid that is to replace its own.

    Args:
        seed: of the template, and of the noise of every edit of it.
        clip: the template.
        product: the new one.
        wrong: what the control's photo shows instead: of the same shape and
            proportions, but in other colours and another pattern.
        stands: for each of `PHOTOS`, how the product stands in its photos.
        elevation: of the photos' camera.
    """
    seed: int
    clip: DepthClip
    product: Solid
    wrong: Solid
    stands: tuple[tuple[Stand, ...], ...]
    elevation: float

    @property
    def truth(self) -> DepthClip:
        r"""What a perfect edit shows."""
        return swap(self.clip, self.product)

    @property
    def anchor(self) -> int:
        r"""The frame that the anchored photo is near to."""
        return self.clip.frames // 2

    def shifted(self, count: int) -> list[DepthClip]:
        r"""The truth with the skin turned about its body, `count` times."""
        return [swap(self.clip, replace(
            self.product, phase=2 * math.pi * i / count))
            for i in range(count)]

    def answer(self) -> DepthAnswer:
        r"""What edits are held against, rendered."""
        truth, old = render_depth_clip(self.truth), depth_mask(self.clip)
        source, new = render_depth_clip(self.clip), depth_mask(self.truth)
        turn = self.clip.motion.turn / max(1, self.clip.frames - 1)
        return DepthAnswer(
            source, truth, render_depth_background(self.clip), old, new,
            tuple(map(render_depth_clip, self.shifted(SHIFTS))),
            hidden_mask(self.truth), turn,
            turn_is_right(shown_turn(truth, new), turn),
            stand_of(source, old))

    def photos(self, taken: str, which: str = 'right') -> list[Image.Image]:
        r"""RGBA photos, of `PHOTOS`, of the 'right' or 'wrong' product."""
        product = {'right': self.product, 'wrong': self.wrong}[which]
        return [render_solid(product, stand, self.elevation, self.clip.size)
                for stand in self.stands[PHOTOS.index(taken)]]

    def angles(self, taken: str) -> tuple[float, ...]:
        r"""Degrees from the side that the anchor shows to that of each photo;
        none where there is one photo, which is taken to show it."""
        if taken != 'views':
            return ()
        seen = self.clip.motion.stand(self.anchor, self.clip.frames).yaw
        return tuple(
            math.degrees(math.remainder(seen - stand.yaw, 2 * math.pi))
            for stand in self.stands[PHOTOS.index(taken)])

    def prompts(self, caption: str) -> tuple[str, str]:
        r"""Source and target prompt; caption as of `Pair.prompts`."""
        target = {'full': full_depth_caption,
                  'hidden': depth_caption_without_appearance}[caption]
        return full_depth_caption(self.clip), target(self.truth)

    @property
    def words(self) -> tuple[str, str]:
        r"""The products' names in source and target prompt."""
        return self.clip.product.shape, self.product.shape


def make_depth_pair(
    number: int,
    seeds: Sequence[int] = TEST_SEEDS,
    size: int = 128,
    frames: int = 17,
) -> DepthPair:
    r"""The pair of a number: the same for the same arguments.

    The new product has none of the old one's colours and another pattern; its
    shape is another in even pairs and the same in odd ones.
    """
    clip = sample_depth_clip(seeds[number], size, frames)
    rng = Random(f'depth pair {seeds[number]}')
    old, shape = clip.product, clip.product.shape
    if not same_shape(number):
        shape = rng.choice([name for name in SOLIDS if name != shape])
    slim, deep = rng.uniform(*SLIM[shape]), rng.uniform(.5, 1.)
    product = _unlike(rng, shape, slim, deep, old)
    wrong = _unlike(rng, shape, slim, deep, old, product)
    stands = ((anchored(clip, frames // 2, rng),), (any_side(rng),),
              view_set(rng.choice((3, 4)), rng))
    low, high = RISES
    elevation = min(high, max(
        low, clip.room.elevation + rng.uniform(-.12, .12)))
    return DepthPair(
        seeds[number], clip, product, wrong, stands, elevation)


def _unlike(rng, shape, slim, deep, *others: Solid) -> Solid:
    r"""A product that shares neither colour nor pattern with the others."""
    taken = {other.pattern for other in others}
    product = sample_solid(rng)
    while product.pattern in taken:
        product = sample_solid(rng)
    free = [name for name in PRODUCT_COLOURS
            if not any(name in other.colours for other in others)]
    colours = tuple(rng.sample(free, len(product.colours)))
    return replace(
        product, shape=shape, slim=slim, deep=deep, colours=colours)
