r"""What the stages of training know of the world that they train for."""
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

from .. import captions, full_caption, render_clip, sample_clip
from ..depth import (
    any_side,
    depth_map,
    render_depth_clip,
    render_solid,
    sample_depth_clip,
    solid_map,
)
from ..depth import captions as depth_captions
from ..depth.sampling import sample_elevation, sample_solid
from ..judge import DEPTH_LABELS, DEPTH_WEIGHTS, LABELS, WEIGHTS
from ..render import photo_pixels, product_map, render_photo
from ..sampling import sample_pose, sample_product
from ..scene import Clip, Motion, Scene
from .moments import frozen, frozen_in_depth

TOLD = 'shape', 'pattern', 'colours', 'accents', 'mark'


class World(NamedTuple):
    r"""A world's clips, photos, captions and labels.

    Args:
        sample: seed, `frames` -> a clip.
        render: clip -> [3, T, H, W] in [-1, 1].
        shares: clip -> [3, T, H, W] in [0, 1], share of each pixel that shows
            the product's first, second and third colour.
        frozen: clip and a time from -0.5 to 0.5 -> a clip of one frame that
            looks like the other at that moment.
        full_caption, plain_caption: of a clip, with all that can be told, and
            without the product's looks.
        caption: clip, random generator, `drop` -> a caption with gaps.
        describe: product and what is told -> its words.
        photo: random generator -> what to give the next three.
        product: of a photo.
        render_photo: RGBA.
        photo_shares: as `shares`, of a photo.
        vocabulary: every word of the captions.
        labels: of the judge, see `wan.synth.judge`.
        judge: file of its weights.
    """
    sample: Callable[..., Any]
    render: Callable[[Any], Tensor]
    shares: Callable[[Any], Tensor]
    frozen: Callable[[Any, float], Any]
    full_caption: Callable[[Any], str]
    plain_caption: Callable[[Any], str]
    caption: Callable[..., str]
    describe: Callable[..., str]
    photo: Callable[[Random], tuple]
    render_photo: Callable[..., Image.Image]
    photo_shares: Callable[..., Tensor]
    vocabulary: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]]
    judge: Path

    def some_caption(self, clip: Any, rng: Random) -> str:
        r"""More or less complete, as captions of real videos are."""
        if rng.random() < 0.1:
            return self.plain_caption(clip)
        return self.caption(clip, rng, rng.choice((0.0, 0.3, 0.6)))

    def photo_caption(self, photo: tuple, rng: Random) -> str:
        told = [name for name in TOLD if rng.random() < 0.7]
        return self.describe(photo[0], told) + '.'

    def photo_pixels(self, photo: tuple, white: bool = False) -> Tensor:
        r"""[3, 1, H, W] in [-1, 1].

        Args:
            white: as pvtt shows what is transparent.
        """
        picture = self.render_photo(*photo)
        if white:
            picture = Image.alpha_composite(
                Image.new('RGBA', picture.size, 'white'), picture)
        return photo_pixels(picture)


def _flat_photo_shares(product, pose) -> Tensor:
    return product_map(Clip(
        product, Scene('plain', 'ivory'), Motion(pose), frames=1))


WORLDS = {
    'flat': World(
        sample_clip, render_clip, product_map, frozen, full_caption,
        captions.caption_without_appearance, captions.caption,
        captions.describe, lambda rng: (sample_product(rng), sample_pose(rng)),
        render_photo, _flat_photo_shares, captions.VOCABULARY, LABELS, WEIGHTS),
    'depth': World(
        sample_depth_clip, render_depth_clip, depth_map, frozen_in_depth,
        depth_captions.full_depth_caption,
        depth_captions.depth_caption_without_appearance,
        depth_captions.depth_caption, depth_captions.describe_solid,
        lambda rng: (
            sample_solid(rng), any_side(rng), sample_elevation(rng)),
        render_solid, solid_map, depth_captions.VOCABULARY, DEPTH_LABELS,
        DEPTH_WEIGHTS),
}
