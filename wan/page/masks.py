r"""Masks of a template as a visitor changes them: painted, grown, shrunk."""
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops, ImageDraw, ImageOps

from ..footage import Footage
from ..product.filters import dilate, erode
from ..product.hint import Hint
from ..utils.image import read_mask_image
from ..utils.mask_file import is_still
from ..utils.record import atomic_write
from ..utils.video_writer import write_video

# The longer side of pictures to paint on, so that a brush is as wide on all;
# masks need not be exact to a pixel.
SIDE = 960
TINT, TINTED = (0, 200, 120), 0.55
BOX = (255, 196, 0)
PAINT = '#00c878'
MOST_GROWN = 64
WHITE = 128  # from here on a grey counts as white


def footage(path: str | Path) -> Footage:
    r"""What is known of a video, kept while the file stays as it is.

    Raises:
        ValueError: it is no readable video.
    """
    path = Path(path)
    return _footage(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=16)  # to count the frames of a video takes a while
def _footage(path: Path, changed: int) -> Footage:
    return Footage.open(path)


def frame(video: str | Path, number: int) -> Image.Image:
    r"""A frame of a video as shown; the last one if it has fewer.

    Raises:
        ValueError: it cannot be read.
    """
    shot = footage(video)
    number = max(0, min(int(number), len(shot.times) - 1))
    return Image.fromarray(next(_pictures(shot, [number])))


def _pictures(shot: Footage, numbers: list[int]) -> Iterator[np.ndarray]:
    for picture in shot.shown_bytes(numbers):
        yield picture.round().clip(0, 255).astype(np.uint8)


def mask_at(mask: str | Path, number: int) -> Image.Image:
    r"""A mask, black and white, in a frame: that picture of a video, or the
    one picture for all frames.

    Raises:
        ValueError: it cannot be read.
    """
    found = read_mask_image(mask) if is_still(mask) \
        else frame(mask, number).convert('L')
    return found.point(lambda value: 255 * (value >= WHITE))


def small(picture: Image.Image) -> Image.Image:
    r"""At most `SIDE` wide and high."""
    picture = picture.copy()
    picture.thumbnail((SIDE, SIDE))
    return picture


def sized(picture: Image.Image) -> Image.Image:
    r"""As large as fits into a square of `SIDE`."""
    return ImageOps.contain(picture, (SIDE, SIDE))


def tinted(picture: Image.Image, mask: Image.Image) -> Image.Image:
    r"""A picture on which what a mask marks is green."""
    share = mask.resize(picture.size).point(lambda value: value * TINTED)
    return Image.composite(
        Image.new('RGB', picture.size, TINT), picture, share)


def boxed(picture: Image.Image, box: tuple[float, ...]) -> Image.Image:
    r"""A picture with a box (x, y, width, height), or with a point (x, y)."""
    picture, wide = picture.copy(), max(2, picture.width // 160)
    left, top = box[:2]
    width, height = box[2:] or (0, 0)
    if not box[2:]:
        left, top, width, height = (
            left - 2 * wide, top - 2 * wide, 4 * wide, 4 * wide)
    ImageDraw.Draw(picture).rectangle(
        (left, top, left + max(1, width) - 1, top + max(1, height) - 1),
        outline=BOX, width=wide)
    return picture


def hinted(
    picture: Image.Image, hints: Mapping[str, str], number: int
) -> Image.Image:
    r"""A frame with the box or point that is given for it.

    Args:
        hints: `src_box` and `src_point` as they are written, or empty.
        number: of the frame.

    Raises:
        ValueError: a hint that cannot be read.
    """
    for name, text in hints.items():
        hint = Hint.parse(name, text) if text else None
        if hint is not None and hint.frame == number:
            size = (hint.width, hint.height) if hint.width else ()
            return boxed(picture, (hint.x, hint.y, *size))
    return picture


def to_paint(
    picture: Image.Image, mask: str | Path | None, number: int
) -> dict[str, object]:
    r"""A frame to paint on, as an editor takes it, green where the mask is.
    """
    if mask:
        picture = tinted(picture, mask_at(mask, number))
    # An empty layer wipes off what was painted before.
    return {'background': picture,
            'layers': [Image.new('RGBA', picture.size)],
            'composite': np.asarray(picture)}


def painted(layers: list[Image.Image]) -> Image.Image:
    r"""The mask of what was painted in any colour, white on black.

    Raises:
        ValueError: nothing was.
    """
    found = None
    for layer in layers:
        alpha = layer.convert('RGBA').getchannel('A').point(
            lambda value: 255 * (value > 0))
        found = alpha if found is None else ImageChops.lighter(found, alpha)
    if found is None or found.getbbox() is None:
        raise ValueError(
            'src_mask: nothing is painted yet; paint over the product.')
    return found


def box_around(
    mask: Image.Image, size: tuple[int, int]
) -> tuple[int, int, int, int]:
    r"""x, y, width and height of what a mask marks, in a video's pixels.

    Args:
        mask: not empty, of the video's shape.
        size: (width, height) of the video.
    """
    left, top, right, bottom = (
        round(side * size[i % 2] / mask.size[i % 2])
        for i, side in enumerate(mask.getbbox()))
    return left, top, max(1, right - left), max(1, bottom - top)


def grown(mask: Image.Image, pixels: int) -> Image.Image:
    r"""A mask with its edge moved outward by so many pixels, or inward where
    they are negative; at most `MOST_GROWN`."""
    pixels = max(-MOST_GROWN, min(pixels, MOST_GROWN))
    white = torch.from_numpy(np.array(mask.convert('L')))[None] / 255
    white = dilate(white, pixels) if pixels >= 0 else erode(white, -pixels)
    return Image.fromarray(white[0].mul(255).byte().numpy())


def write_grown(mask: str | Path, pixels: int, folder: Path) -> Path:
    r"""A mask file with its edge moved, as `grown` does; all its frames."""
    return _written(mask, folder, lambda picture, at: grown(picture, pixels))


def write_painted(
    picture: Image.Image, mask: str | Path | None, number: int,
    video: str | Path, folder: Path, erase: bool = False,
) -> Path:
    r"""A mask with what was painted: in this frame of a mask video, or else
    in all frames.

    Args:
        picture: white where it was painted.
        mask: what there was; None without.
        number: of the frame that was painted on.
        video: the template, whose size a new mask gets.
        erase: take what was painted away from the mask.

    Raises:
        ValueError: there is nothing to take it away from.
    """
    if mask is None and erase:
        raise ValueError('src_mask: there is no mask yet; paint one first.')

    def change(own: Image.Image, at: int) -> Image.Image:
        if at != number and not (mask is None or is_still(mask)):
            return own
        paint = picture.resize(own.size)
        return ImageChops.subtract(own, paint) if erase else \
            ImageChops.lighter(own, paint)

    if mask is None:
        return _saved(change(
            Image.new('L', footage(video).size), number), folder)
    return _written(mask, folder, change)


def _written(mask, folder, change) -> Path:
    r"""A mask file with every picture changed, losslessly."""
    if is_still(mask):
        return _saved(change(mask_at(mask, 0), 0), folder)
    shot = footage(mask)
    pictures = _pictures(shot, list(range(len(shot.times))))
    return write_video(
        folder / 'mask.mov', (
            np.asarray(change(Image.fromarray(picture).convert('L').point(
                lambda value: 255 * (value >= WHITE)), at).convert('RGB'))
            for at, picture in enumerate(pictures)),
        shot.fps, lossless=True)


def _saved(picture: Image.Image, folder: Path) -> Path:
    r"""One picture for all frames."""
    path = folder / 'mask.png'
    with atomic_write(path) as temporary:
        picture.save(temporary)
    return path
