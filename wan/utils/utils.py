r"""Saving results under upstream's names, and parsing of boolean flags."""
import argparse
import json
import logging
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image, PngImagePlugin

from wan.utils.image import (
    IMAGE_SUFFIXES,
    make_grid,
    to_bytes,
    unit_range,
)
from wan.utils.record import atomic_write
from wan.utils.sound import Sound
from wan.utils.video_writer import write_video

__all__ = ['cache_video', 'cache_image', 'str2bool']

EXIF_DESCRIPTION = 0x010E
MAX_EXIF = 65_000  # bytes, of 65,533 that a JPEG can hold

logger = logging.getLogger(__name__)


def rand_name(length: int = 8, suffix: str = '') -> str:
    r"""A random file name of `length` bytes in hex, with `suffix` if given."""
    if suffix and not suffix.startswith('.'):
        suffix = f'.{suffix}'
    return secrets.token_hex(length) + suffix


def cache_video(
    tensor: torch.Tensor,
    save_file: str | Path | None = None,
    fps: float = 30,
    suffix: str = '.mp4',
    nrow: int = 8,
    normalize: bool = True,
    value_range: tuple[float, float] = (-1, 1),
    *,
    metadata: Mapping[str, str] | None = None,
    audio: str | Path | Sound | None = None,
) -> Path:
    r"""Write clips side by side as one H.264 video; values are truncated.

    Args:
        tensor: [B, C, T, H, W], C 1 or 3, values clamped to `value_range`.
        save_file: .mp4, .mov or .mkv; None for a random name in the system's
            temporary folder with `suffix`.
        fps: frames per second.
        nrow: clips per row of the grid, lines of 2 pixels between them.
        normalize: map `value_range` to [0, 1]; if not, values lie there.
        metadata: tags written into the file.
        audio: what `read_sound` gave, or a file to read as much of.

    Returns:
        The path written.

    Raises:
        ValueError: wrong shape, nan, or a bad path, rate or audio file.
        OSError: encoding, writing or reading back failed; the target, if
            there was one, is as it was.
    """
    _check_shape(tensor, '[B, C, T, H, W]')
    if save_file is None:
        save_file = Path(tempfile.gettempdir(), rand_name(suffix=suffix))
    frames = (
        to_bytes(make_grid(_in_unit(frame, normalize, value_range), nrow),
                 rounded=False) for frame in tensor.unbind(2))
    return write_video(save_file, frames, fps, metadata=metadata, audio=audio)


def cache_image(
    tensor: torch.Tensor,
    save_file: str | Path,
    nrow: int = 8,
    normalize: bool = True,
    value_range: tuple[float, float] = (-1, 1),
    *,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    r"""Write images as one grid; values are rounded.

    Args:
        tensor: [B, C, H, W], C 1 or 3, values clamped to `value_range`.
        save_file: ends in one of `IMAGE_SUFFIXES`, which names the format.
        nrow: images per row of the grid, lines of 2 pixels between them.
        normalize: map `value_range` to [0, 1]; if not, values lie there.
        metadata: text chunks of a PNG; in other formats that have EXIF, JSON
            in its image description, unless it is longer than fits there.

    Returns:
        The path written.

    Raises:
        ValueError: wrong shape, nan, or a bad path.
        OSError: writing or reading back failed; the target, if there was one,
            is as it was.
    """
    _check_shape(tensor, '[B, C, H, W]')
    grid = make_grid(_in_unit(tensor, normalize, value_range), nrow)
    return save_image(Image.fromarray(to_bytes(grid, rounded=True)), save_file,
                      metadata=metadata)


def save_image(
    image: Image.Image,
    save_file: str | Path,
    *,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    r"""Write a PIL image as `cache_image` does; returns the path written."""
    path = Path(save_file)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise ValueError(f'{path} must end in one of '
                         f'{", ".join(IMAGE_SUFFIXES)}.')
    with atomic_write(path) as temporary:
        image.save(temporary, quality=95, **_tags(path, metadata or {}))
        try:
            with Image.open(temporary) as written:
                written.load()
        except Exception as error:  # decoders raise any kind
            raise OSError(f'Could not write {path}: it does not decode '
                          f'({error})') from error
    return path


def _tags(path: Path, metadata: Mapping[str, str]) -> dict[str, object]:
    r"""Pillow's options that write `metadata`."""
    if path.suffix.lower() == '.png':
        text = PngImagePlugin.PngInfo()
        for key, value in metadata.items():
            text.add_itxt(
                key, value.encode('utf-8', 'backslashreplace').decode())
        return {'pnginfo': text}
    exif, described = Image.Exif(), json.dumps(dict(metadata))
    if len(described) > MAX_EXIF:
        logger.warning('%s does not hold its record, which is too long for '
                       'it.', path)
    elif metadata:
        exif[EXIF_DESCRIPTION] = described
        return {'exif': exif}
    return {}


def str2bool(v: bool | str) -> bool:
    r"""Parse a boolean flag: yes/true/t/y/1 or no/false/f/n/0, in any case.

    Raises:
        argparse.ArgumentTypeError: anything else.
    """
    if isinstance(v, bool):
        return v
    if v.lower() in ('yes', 'true', 't', 'y', '1'):
        return True
    if v.lower() in ('no', 'false', 'f', 'n', '0'):
        return False
    raise argparse.ArgumentTypeError(
        f'Boolean value expected (yes/no, true/false, 1/0), not {v!r}.')


def _check_shape(tensor: torch.Tensor, axes: str) -> None:
    wanted = axes.count(',') + 1
    if tensor.ndim != wanted or tensor.shape[1] not in (1, 3) or (
            0 in tensor.shape):
        raise ValueError(f'{axes} with C = 1 or 3 is needed, not '
                         f'{list(tensor.shape)}.')


def _in_unit(tensor, normalize, value_range) -> torch.Tensor:
    if normalize:
        return unit_range(tensor, value_range)
    return unit_range(tensor, (0, 1))
