r"""Still images in, and pixels in [0, 1] or [-1, 1] as bytes."""
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops, UnidentifiedImageError, features

from wan.utils.image_colour import in_srgb

# Only decoders met in practice: every further one is a way in for a crafted
# file. The pixel cap is Pillow's own, its warning being made an error below.
IMAGE_FORMATS = ('PNG', 'JPEG', 'WEBP', 'BMP', 'TIFF') + (
    ('AVIF',) if features.check('avif') else ())
IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.jfif', '.webp', '.bmp', '.tif',
                  '.tiff') + (('.avif',) if 'AVIF' in IMAGE_FORMATS else ())
MAX_BYTES = 2**30
MAX_ASPECT = 20.0
ORIENTATION = 0x0112
# By EXIF's number; 1 is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90}


def read_image(path: str | Path) -> Image.Image:
    r"""The image of `open_image`, without its notes."""
    return open_image(path)[0]


def open_image(path: str | Path) -> tuple[Image.Image, tuple[str, ...]]:
    r"""An image as seen: turned by its EXIF tag, 8 bits, transparency kept.

    Palettes, grey, 16 bits and CMYK are converted, colours to sRGB if the
    file says what they mean; of an animation the first frame is taken.
    Metadata that is broken is no fault of the picture.

    Returns:
        PIL image in mode RGBA if the file has transparency, else RGB, and
        sentences on what was converted.

    Raises:
        ValueError: not an existing, whole image in one of `IMAGE_FORMATS`, of
            at most Pillow's `MAX_IMAGE_PIXELS` pixels, neither of its sides
            more than `MAX_ASPECT` times the other.
    """
    if not os.path.isfile(path):
        raise ValueError(f'{path} is not an existing file.')
    if not 0 < os.path.getsize(path) <= MAX_BYTES:
        size = os.path.getsize(path)
        raise ValueError(f'{path} is ' + (
            f'too large ({size} bytes, at most {MAX_BYTES} are allowed).'
            if size else 'empty (0 bytes), an image is needed.'))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        warnings.simplefilter('error', Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=IMAGE_FORMATS) as image:
                _check_aspect(path, *image.size)
                image.load()
                converted, notes = in_srgb(_in_8_bits(image), path)
                count = getattr(image, 'n_frames', 1)
                if count > 1 and image.format != 'MPO':  # a photo's previews
                    notes += (f'Of its {count} pictures the first is taken.',)
                return _upright(converted, image), notes
        except (Image.DecompressionBombWarning,
                Image.DecompressionBombError):
            raise ValueError(
                f'{path} has more than {Image.MAX_IMAGE_PIXELS} pixels, the '
                'most that is allowed.') from None
        except _Refused:
            raise
        except Exception as error:  # decoders raise any kind on damaged data
            raise ValueError(
                f'{path} is not a readable image '
                f'({_cause(error)}); whole files in '
                f'{", ".join(IMAGE_FORMATS)} are.') from error


def read_mask_image(path: str | Path) -> Image.Image:
    r"""A mask in mode L: white where it is both painted white and opaque.

    Raises:
        ValueError: as of `open_image`.
    """
    image = read_image(path)
    if image.mode == 'RGB':
        return image.convert('L')
    return ImageChops.multiply(
        image.convert('RGB').convert('L'), image.getchannel('A'))


class _Refused(ValueError):
    r"""A whole sentence on an image that is readable."""


def _check_aspect(path, width: int, height: int) -> None:
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise _Refused(f'{path} has {width}x{height} pixels, one side may be '
                       f'at most {MAX_ASPECT:.0f} times the other.')


def _upright(image: Image.Image, source: Image.Image) -> Image.Image:
    r"""`image` turned as the EXIF of `source` says, if that is readable."""
    try:
        turn = TURNS.get(source.getexif().get(ORIENTATION))
    except Exception:  # parsers raise any kind on damaged data
        turn = None
    return image if turn is None else image.transpose(turn)


def _in_8_bits(image: Image.Image) -> Image.Image:
    r"""Mode L, CMYK, RGB or RGBA; `info` is kept."""
    if image.mode == 'F':
        raise ValueError('float pixels have no defined white')
    info = image.info
    if image.mode.startswith('I'):  # 16 bits, which convert() would clip
        eighth = np.asarray(image).astype(np.float64) / 257
        image = Image.fromarray(
            eighth.round().clip(0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert('RGBA')
    elif image.mode not in ('L', 'CMYK', 'RGB'):
        image = image.convert('L' if image.mode == '1' else 'RGB')
    image.info = dict(info)
    return image


def _cause(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return 'another format, or a damaged header'
    return f'{type(error).__name__}: {error}'


def is_transparent(image: Image.Image) -> bool:
    r"""Whether any pixel is not opaque."""
    return image.has_transparency_data \
        and image.convert('RGBA').getchannel('A').getextrema()[0] < 255


def on_white(image: Image.Image) -> Image.Image:
    r"""In mode RGB, transparent parts white."""
    if not is_transparent(image):
        return image.convert('RGB')
    image = image.convert('RGBA')
    white = Image.new('RGBA', image.size, 'white')
    return Image.alpha_composite(white, image).convert('RGB')


def as_clip(image: Image.Image) -> torch.Tensor:
    r"""A video of one frame, [3, 1, H, W] in [-1, 1]."""
    pixels = np.asarray(on_white(image), np.float32) / 127.5 - 1
    return torch.from_numpy(pixels).permute(2, 0, 1)[:, None].contiguous()


def unit_range(
    tensor: torch.Tensor, value_range: tuple[float, float],
) -> torch.Tensor:
    r"""Clamp to `value_range` and map it to float32 [0, 1].

    Raises:
        ValueError: the range is empty, or values are nan.
    """
    low, high = value_range
    if not low < high:
        raise ValueError(f'value_range must be (low, high), not {value_range}.')
    tensor = tensor.float()
    if tensor.isnan().any():
        raise ValueError(f'{int(tensor.isnan().sum())} of {tensor.numel()} '
                         'values are nan, a picture needs numbers.')
    return tensor.clamp(low, high).sub(low).div(high - low)


def to_bytes(image: torch.Tensor, rounded: bool) -> np.ndarray:
    r"""[C, H, W] in [0, 1] -> uint8 [H, W, C].

    Upstream rounds stills and truncates frames of videos; so does this.
    """
    scaled = image.mul(255) + (0.5 if rounded else 0.0)
    scaled = scaled.clamp(0, 255).to(torch.uint8)
    return scaled.permute(1, 2, 0).contiguous().cpu().numpy()


def make_grid(
    images: torch.Tensor, nrow: int = 8, padding: int = 2,
) -> torch.Tensor:
    r"""Lay images out in rows of `nrow` with black lines between and around.

    Args:
        images: [B, C, H, W] in [0, 1]; one channel is repeated to three.

    Returns:
        [3, H', W']; the image itself, without lines, if there is only one.
    """
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    count, channels, height, width = images.shape
    if count == 1:
        return images[0]
    columns = min(nrow, count)
    rows = -(-count // columns)
    step_y, step_x = height + padding, width + padding
    grid = images.new_zeros(
        channels, rows * step_y + padding, columns * step_x + padding)
    for i, image in enumerate(images):
        y = i // columns * step_y + padding
        x = i % columns * step_x + padding
        grid[:, y:y + height, x:x + width] = image
    return grid
