r"""The product photo: where the product is in it, and fitting it to a video."""
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from ..utils.image import is_transparent, on_white
from .segment import border, segment

NOT_TOLD_APART = (
    'The product could not be told from the ground of its photo: all of the '
    'photo is used. A transparent ground or a mask helps.')

# From a photo in mode RGB to the product [H, W] in [0, 1], None if it cannot
# be told.
PhotoFinder = Callable[[Image.Image], torch.Tensor | None]


def plain_ground(photo: Image.Image) -> torch.Tensor | None:
    r"""A `PhotoFinder`: what stands out from a plain ground."""
    return segment(photo)


PLAIN: tuple[PhotoFinder, ...] = (plain_ground,)


class Product:
    r"""A product photo, and where the product is in it.

    Args:
        photo: any mode.
        mask: of the photo's size, white at the product; otherwise its
            transparency counts, or what the finders tell.
        finders: tried in turn; what stands out from a plain ground.

    Attributes:
        alpha: [H, W] in [0, 1], where the product is, see `product_mask`.
        note: a sentence for the user if that could not be told, or None.

    Raises:
        ValueError: a photo that is transparent everywhere, a mask of another
            size, or one that is all black.
    """

    def __init__(
        self, photo: Image.Image, mask: Image.Image | None = None,
        finders: Sequence[PhotoFinder] = PLAIN,
    ):
        if is_transparent(photo) and photo.convert(
                'RGBA').getchannel('A').getextrema()[1] == 0:
            raise ValueError(
                'A product photo is transparent everywhere: it shows nothing.')
        self.photo = photo
        found = product_mask(photo, mask, finders)
        self.note = NOT_TOLD_APART if found is None else None
        self.alpha = torch.ones(photo.height, photo.width) \
            if found is None else found

    @property
    def on_white(self) -> Image.Image:
        r"""The photo in mode RGB, transparent parts white."""
        return on_white(self.photo)

    @property
    def cut_out(self) -> Image.Image:
        r"""The photo in mode RGBA, transparent where the product is not."""
        picture = self.on_white.copy()
        picture.putalpha(Image.fromarray(
            self.alpha.mul(255).round().to(torch.uint8).numpy()))
        return picture

    def fitted(
        self, size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        r"""Photo and mask in a frame of (width, height), `prepare_photo`."""
        return prepare_photo(self.photo, self.alpha, size)


def product_mask(
    image: Image.Image, mask: Image.Image | None = None,
    finders: Sequence[PhotoFinder] = PLAIN,
) -> torch.Tensor | None:
    r"""Where the product is in its photo.

    In this order: the given mask, the transparency of the photo, or what the
    first finder tells that can.

    Args:
        image: the photo, any mode.
        mask: of the photo's size, white at the product.
        finders: by default of what stands out from a plain ground.

    Returns:
        [H, W] in [0, 1]; None when it cannot be told.

    Raises:
        ValueError: a mask of another size, or one that is black everywhere.
    """
    if mask is not None:
        if mask.size != image.size:
            raise ValueError(
                'The mask of a product photo must have its size, '
                f'{image.width}x{image.height}, not '
                f'{mask.width}x{mask.height}.')
        found = _channel(mask.convert('L'))
        if found.max() < 0.5:
            raise ValueError(
                'The mask of a product photo is black everywhere: the '
                'product must be white.')
        return found
    if is_transparent(image):
        found = _channel(image.convert('RGBA').getchannel('A'))
        if 0 < found.max() < 0.5:  # half transparent all over: its shape
            found = found / found.max()
        return found if found.max() >= 0.5 else None
    for find in finders:
        found = find(image.convert('RGB'))
        if found is not None and found.max() >= 0.5:
            return found
    return None


def prepare_photo(
    image: Image.Image,
    mask: torch.Tensor,
    size: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Fit a photo into the video's frame, its aspect kept.

    What the photo does not cover has the colour of its ground; transparent
    parts are white.

    Args:
        image: the photo, any mode.
        mask: [H, W] from `product_mask`.
        size: (width, height) of the video in pixels.

    Returns:
        The photo as a video of one frame, [3, 1, height, width] in [-1, 1],
        and its mask, [1, height, width] in [0, 1].
    """
    photo = on_white(image)
    whole = np.array([[0., 0.], [photo.width, photo.height]])
    factor = (size / whole[1]).min()
    # The frame in the photo's coordinates, and what it sees of the photo.
    frame = whole.mean(0) + np.array([[-.5], [.5]]) * size / factor
    seen = frame.clip(*whole)
    place = ((seen - frame[0]) * factor).round().astype(int)
    extent = (place[1] - place[0]).clip(1)

    def fit(picture, ground, resample):
        canvas = Image.new(picture.mode, size, ground)
        part = picture.resize(
            tuple(extent.tolist()), resample, box=tuple(seen.ravel()))
        canvas.paste(part, tuple(place[0].tolist()))
        return np.array(canvas, dtype=np.float32)

    rgb = fit(photo, _ground_colour(image, mask), Image.Resampling.LANCZOS)
    fitted = fit(
        Image.fromarray(mask.float().numpy()), 0., Image.Resampling.BILINEAR)
    rgb = torch.from_numpy(rgb).permute(2, 0, 1).div(127.5).sub(1)
    return rgb[:, None].contiguous(), torch.from_numpy(fitted)[None]


def _ground_colour(image, mask) -> tuple[int, int, int]:
    r"""White where there was transparency, else the border's median."""
    if is_transparent(image):
        return (255, 255, 255)
    pixels = np.array(image.convert('RGB'))
    edge = border(mask.shape)
    ground = edge & (mask < 0.5)
    chosen = ground if ground.any() else edge
    return tuple(
        np.median(pixels[chosen.numpy()], axis=0).astype(int).tolist())


def _channel(image) -> torch.Tensor:
    return torch.from_numpy(np.array(image, dtype=np.float32)) / 255
