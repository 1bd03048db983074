r"""The benchmark's questions: a template, a photo and the true answer."""
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from PIL import Image

from .. import captions
from ..native import HEIGHT, sample_native
from ..render import (
    render_background,
    render_clip,
    render_photo,
    visible_mask,
)
from ..sampling import (
    TEST_SEEDS,
    TUNE_SEEDS,
    sample_clip,
    sample_pose,
    sample_product,
)
from ..scene import PRODUCT_COLOURS, Article, Clip, Pose, swap
from ..shapes import SHAPES
from .answer import Answer

# Settings are chosen on the one and reported on the other.
SEEDS = {'test': TEST_SEEDS, 'tune': TUNE_SEEDS}


@dataclass(frozen=True)
class Pair:
    r"""A template and the product that is to replace its own.

    Args:
        seed: of the template, and of the noise of every edit of it.
        clip: the template.
        product: the new one.
        wrong: what the control's photo shows instead: of the same shape, but
            in other colours and another pattern than either product.
        pose: of `product` and of `wrong` in their photos.
    """
    seed: int
    clip: Clip
    product: Article
    wrong: Article
    pose: Pose

    # A flat product has one side.
    anchor = None

    @property
    def truth(self) -> Clip:
        r"""What a perfect edit shows."""
        return swap(self.clip, self.product)

    def angles(self, taken: str) -> tuple[float, ...]:
        r"""None: a flat product has no sides."""
        return ()

    def answer(self) -> Answer:
        r"""What edits are held against, rendered."""
        return Answer(
            render_clip(self.clip), render_clip(self.truth),
            render_background(self.clip), visible_mask(self.clip),
            visible_mask(self.truth))

    def photos(self, taken: str, which: str) -> list[Image.Image]:
        r"""The one `photo`, however it is to be taken."""
        return [self.photo(which)]

    def photo(self, which: str) -> Image.Image:
        r"""RGBA photo of the 'right' or of the 'wrong' product."""
        product = {'right': self.product, 'wrong': self.wrong}[which]
        return render_photo(product, self.pose, self.clip.size)

    def prompts(self, caption: str) -> tuple[str, str]:
        r"""Source and target prompt.

        Args:
            caption: 'full', or 'hidden': the target prompt does not tell the
                product's colours and pattern, so they can come from the photo
                alone. The source prompt is full in either: a user sees the
                template and can describe it, and what the old product looks
                like is then guided away from.
        """
        target = {'full': captions.full_caption,
                  'hidden': captions.caption_without_appearance}[caption]
        return captions.full_caption(self.clip), target(self.truth)

    @property
    def words(self) -> tuple[str, str]:
        r"""The products' names in source and target prompt."""
        return self.clip.product.shape, self.product.shape


def make_pair(
    number: int,
    seeds: Sequence[int] = TEST_SEEDS,
    size: int = 128,
    frames: int = 17,
) -> Pair:
    r"""The pair of a number: the same for the same arguments.

    The new product has none of the old one's colours and another pattern; its
    shape is another in even pairs and the same in odd ones, see `same_shape`.
    """
    return _pair(number, seeds[number], sample_clip(
        seeds[number], size, frames))


def make_native_pair(
    number: int,
    seeds: Sequence[int] = TEST_SEEDS,
    size: int = HEIGHT,
    frames: int | None = None,
) -> Pair:
    r"""The same of a native template, see `sample_native`."""
    return _pair(number, seeds[number], sample_native(
        seeds[number], size, frames))


def _pair(number: int, seed: int, clip: Clip) -> Pair:
    rng = Random(f'pair {seed}')
    old, shape = clip.product, clip.product.shape
    if not same_shape(number):
        shape = rng.choice([name for name in SHAPES if name != shape])
    product = _unlike(rng, shape, old)
    return Pair(seed, clip, product, _unlike(rng, shape, old, product),
                sample_pose(rng))


def same_shape(number: int) -> bool:
    r"""Whether a pair's new product has the old one's shape."""
    return number % 2 == 1


def _unlike(rng: Random, shape: str, *others: Article) -> Article:
    r"""A product that shares neither colour nor pattern with the others."""
    taken = {other.pattern for other in others}
    product = sample_product(rng)
    while product.pattern in taken:
        product = sample_product(rng)
    free = [name for name in PRODUCT_COLOURS
            if not any(name in other.colours for other in others)]
    colours = tuple(rng.sample(free, len(product.colours)))
    return replace(product, shape=shape, colours=colours)
