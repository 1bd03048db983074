r"""Masks from files, white where they count, and the shape a file has."""
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from wan.utils.image import IMAGE_SUFFIXES, read_image, read_mask_image
from wan.utils.video import probe, read_video


def is_still(path: str | Path) -> bool:
    r"""Whether a file is read as one picture, by its name."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES and not Path(
        path).is_dir()


def shown_size(path: str | Path) -> tuple[int, int]:
    r"""(width, height) of a picture or video as shown, turned upright.

    Raises:
        ValueError: not a readable picture, video or folder of pictures.
    """
    if is_still(path):
        return read_image(path).size
    info = probe(path)
    return info.width, info.height


def read_mask(
    path: str | Path,
    size: tuple[int, int],
    fps: float,
    max_frames: int,
    fit: str = 'crop',
) -> torch.Tensor:
    r"""A mask as [1 or F, H, W] in [0, 1]: one for all frames, or a video.

    It is white where it is both painted white and opaque, so that white paint
    on transparency means what it looks like.

    Args:
        size, fps, max_frames, fit: as of the template's `read_video`.

    Raises:
        ValueError: as of `read_image` and `read_video`.
    """
    if not is_still(path):
        mask = read_video(path, size, fps, max_frames, fit, ground='black')
        return (mask.mean(0) + 1) / 2
    resize = ImageOps.fit if fit == 'crop' else ImageOps.pad
    image = resize(read_mask_image(path), size, Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(image, np.float32) / 255)[None]
