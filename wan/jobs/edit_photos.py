r"""The photos of an edit, and where the product is in them."""
import os
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageOps

from ..product.photo import Product
from ..utils.image import open_image, read_mask_image
from .edit_masks import CutoutConfig

# No video is larger; what a photo has beyond that costs memory only.
MAX_PHOTO_SIDE = 1280


def read_products(
    photos: Sequence[str], masks: Sequence[str], cutout: CutoutConfig
) -> tuple[tuple[Product, ...], list[str]]:
    r"""Product photos with their masks, if there are any, and notes on them.

    Args:
        cutout: how a product without mask and alpha is told from its photo.

    Raises:
        ValueError: unreadable files, not one mask for each photo, or one of
            another size; or what the cut-out needs is missing.
    """
    if masks and len(masks) != len(photos):
        raise ValueError(
            f'target_mask names {len(masks)} masks for {len(photos)} photos; '
            f'one each is needed.')
    cutout.finders()  # what they lack is told though no photo needs it
    products, notes = [], []
    for path, mask in zip(photos, masks or [None] * len(photos), strict=True):
        product, found = _product(
            path, mask, cutout, _state(path), _state(mask),
            _state(cutout.cutout_model))
        products.append(product)
        notes += [f'{path}: {note}' for note in (*found, product.note) if note]
    return tuple(products), notes


def _state(path: str | None) -> tuple[int, ...] | None:
    if path is None or not os.path.exists(path):
        return None
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _matching(mask: str, photo: str, size: tuple[int, int]) -> Image.Image:
    r"""A photo's mask, of the photo's size."""
    image = read_mask_image(mask)
    if image.size != size:
        raise ValueError(
            f'target_mask {mask} must have the size of its photo {photo}, '
            f'{size[0]}x{size[1]}, not {image.width}x{image.height}.')
    return image


@lru_cache(maxsize=4)  # to tell a product from its ground takes a second
def _product(path, mask, cutout, *states) -> tuple[Product, tuple[str, ...]]:
    r"""A photo as it was in these states, and notes on its file."""
    image, notes = open_image(path)
    alpha = None if mask is None else _small(_matching(mask, path, image.size))
    try:
        return Product(_small(image), alpha, cutout.finders()), tuple(notes)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def _small(image: Image.Image) -> Image.Image:
    if max(image.size) > MAX_PHOTO_SIDE:
        return ImageOps.contain(image, (MAX_PHOTO_SIDE, MAX_PHOTO_SIDE))
    return image
