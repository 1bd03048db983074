r"""Still images in, and pixels in [0, 1] or [-1, 1] as bytes."""
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError, features

# Only decoders met in practice: every further one is a way in for a crafted
# file. The pixel cap is Pillow's own, its warning being made an error below.
IMAGE_FORMATS = ('PNG', 'JPEG', 'WEBP', 'BMP', 'TIFF') + (
    ('AVIF',) if features.check('avif') else ())
IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif',
                  '.tiff') + (('.avif',) if 'AVIF' in IMAGE_FORMATS else ())


def read_image(path: str | Path) -> Image.Image:
    r"""An image as seen: turned by its EXIF tag, 8 bits, transparency kept.

    Palettes, grey, 16 bits and CMYK are converted; a colour profile is
    ignored; of an animation the first frame is taken.

    Returns:
        PIL image in mode RGBA if the file has transparency, else RGB.

    Raises:
        ValueError: not an existing, whole image in one of `IMAGE_FORMATS`, or
            more pixels than Pillow's `MAX_IMAGE_PIXELS`.
    """
    if not os.path.isfile(path):
        raise ValueError(f'{path} is not an existing file.')
    if os.path.getsize(path) == 0:
        raise ValueError(f'{path} is empty (0 bytes), an image is needed.')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        warnings.simplefilter('error', Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=IMAGE_FORMATS) as image:
                return _as_rgb(ImageOps.exif_transpose(image))
        except (Image.DecompressionBombWarning,
                Image.DecompressionBombError):
            raise ValueError(
                f'{path} has more than {Image.MAX_IMAGE_PIXELS} pixels, the '
                'most that is allowed.') from None
        except Exception as error:  # decoders raise any kind on damaged data
            raise ValueError(
                f'{path} is not a readable image '
                f'({_cause(error)}); whole files in '
                f'{", ".join(IMAGE_FORMATS)} are.') from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == 'F':
        raise ValueError('float pixels have no defined white')
    if image.mode.startswith('I'):  # 16 bits, which convert() would clip
        eighth = np.asarray(image).astype(np.float64) / 257
        image = Image.fromarray(
            eighth.round().clip(0, 255).astype(np.uint8))
    return image.convert('RGBA' if image.has_transparency_data else 'RGB')


def _cause(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return 'another format, or a damaged header'
    return f'{type(error).__name__}: {error}'


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
