r"""A folder of numbered pictures, read as the video that it stands for."""
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from wan.utils.image import IMAGE_SUFFIXES, open_image, read_image
from wan.utils.video_info import VideoInfo, check_size

FPS = 16.0  # of the pictures, which say nothing of time


def frame_files(folder: str | Path) -> tuple[list[Path], tuple[str, ...]]:
    r"""The pictures of a folder by number, and notes on what is left out.

    Raises:
        ValueError: no pictures, some of another name, or numbers missing.
    """
    try:
        names = [n for n in os.listdir(folder) if not n.startswith('.')]
    except OSError as error:
        raise ValueError(
            f'{folder} cannot be read ({error.strerror}).') from error
    found = [(match[1], int(match[2]), match[3].lower(), name)
             for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES
             and (match := re.fullmatch(r'(.*?)(\d{1,9})(\.\w+)', name, re.S))]
    if not found:
        raise ValueError(
            f'{folder} is not an existing file, nor a folder of numbered '
            'pictures (001.png, 002.png, ...).')
    found.sort(key=lambda item: item[1])
    first = found[0]
    for place, item in enumerate(found):
        if (item[0], item[2]) != (first[0], first[2]):
            raise ValueError(
                f'{folder} holds pictures of several names, {first[3]} and '
                f'{item[3]}; those of one video are needed.')
        if item[1] != first[1] + place:
            raise ValueError(
                f'{folder} lacks a picture between {found[place - 1][3]} and '
                f'{item[3]}, or has one twice.')
    others = len(names) - len(found)
    notes = [f'The {len(found)} pictures in {folder} are read as a video of '
             f'{FPS:.0f} frames a second.']
    if others:
        notes.append(f'{others} other files in {folder} are left out.')
    return [Path(folder, item[3]) for item in found], tuple(notes)


def probe_folder(folder: str | Path) -> VideoInfo:
    r"""`probe` of a folder of pictures; only the first is read.

    Raises:
        ValueError: as of `frame_files`, or the first is not readable.
    """
    files, notes = frame_files(folder)
    image, found = open_image(files[0])
    alpha = image.mode == 'RGBA'
    if alpha:
        found += ('What is transparent in it is shown on white.',)
    info = VideoInfo(
        *image.size, FPS, len(files) / FPS, len(files), None, 0.0,
        has_alpha=alpha, notes=(*notes, *found))
    check_size(folder, info)
    return info


def read_frames(
    files: list[Path],
    size: tuple[int, int],
    fps: float | None,
    max_frames: int,
    fit: str,
    ground: int,
) -> torch.Tensor:
    r"""Pictures as `read_video` gives the frames of a video.

    Args:
        files: from `frame_files`.
        ground: grey of 0 to 255 under transparent parts.

    Returns:
        float32 [3, T, H, W] in [-1, 1].

    Raises:
        ValueError: a picture is not readable, or has another size than the
            first.
    """
    frames = list(each_frame(
        files, _places(len(files), fps, max_frames), size, fit, ground))
    clip = torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2).float()
    return clip.contiguous().div_(127.5).sub_(1)


def each_frame(
    files: list[Path],
    places: Iterable[int],
    size: tuple[int, int],
    fit: str,
    ground: int,
) -> Iterator[np.ndarray]:
    r"""The pictures at `places`, one by one, uint8 [H, W, 3].

    Arguments and errors as of `read_frames`.
    """
    shown, last = read_image(files[0]).size, None
    for place in places:
        if place != last:
            image, last = read_image(files[place]), place
            if image.size != shown:
                raise ValueError(
                    f'{files[place]} has {image.width}x{image.height} pixels, '
                    f'{files[0]} {shown[0]}x{shown[1]}: the pictures of one '
                    'video must have one size.')
            pixels = _fitted(image, size, fit, ground)
        yield pixels


def _places(count: int, fps: float | None, max_frames: int) -> list[int]:
    r"""Which picture is nearest to each time k / fps, as in videos."""
    if fps is None:
        return list(range(min(count, max_frames)))
    early = 0.5 / max(FPS, fps)
    wanted = min(max_frames, int(np.ceil((count / FPS - early) * fps - 1e-6)))
    return [min(count - 1, int((k / fps + early) * FPS + 1e-6))
            for k in range(max(1, wanted))]


def _fitted(image, size, fit: str, ground: int) -> np.ndarray:
    r"""uint8 [H, W, 3]."""
    if fit == 'crop':
        image = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    else:
        black = (0, 0, 0, 255)[:len(image.getbands())]
        image = ImageOps.pad(image, size, Image.Resampling.LANCZOS, black)
    if image.mode == 'RGBA':
        under = Image.new('RGBA', image.size, (ground, ground, ground, 255))
        image = Image.alpha_composite(under, image).convert('RGB')
    return np.asarray(image)
