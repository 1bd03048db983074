r"""Reading video files: what a file holds, and frames as tensors."""
import logging
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from wan.utils.ffmpeg import (
    MAX_PIXELS,
    read_facts,
    reason,
    run_ffmpeg,
    stderr_text,
)
from wan.utils.frame_folder import frame_files, probe_folder, read_frames
from wan.utils.video_filters import (
    as_shown,
    fitted,
    meaning,
    resampled,
    shown_args,
    stored_shape,
    unknown_colours,
)
from wan.utils.video_info import VideoInfo, check_size

__all__ = ['MAX_FRAMES', 'VideoInfo', 'audio_codec', 'probe', 'read_video']

MAX_FRAMES = 2000  # per clip read
GROUNDS = {'white': 255, 'black': 0}

logger = logging.getLogger(__name__)


def probe(path: str | Path) -> VideoInfo:
    r"""Read what a video holds; only its first picture is decoded.

    A folder of numbered pictures is a video, too.

    Raises:
        ValueError: not an existing, readable video, or larger than allowed,
            or its colours have no meaning known here.
    """
    if os.path.isdir(path):
        return probe_folder(path)
    facts = read_facts(path)
    stream, audio = facts['video'], facts['audio']
    if stream is None:
        kind = facts['format'].split(',')[0]
        raise ValueError(f'{path} holds no video (it is {kind}), one with a '
                         'picture is needed.')
    pixels = stream.get('width', 0) * stream.get('height', 0)
    if pixels > MAX_PIXELS:
        raise ValueError(
            f'{path} has frames of {stream["width"]}x{stream["height"]} '
            f'pixels, at most {MAX_PIXELS} pixels are allowed.')
    if stream.get('fault') or not pixels:
        raise ValueError(
            f'{path} cannot be decoded ({stream.get("fault", "no picture")}); '
            f'frames may have at most {MAX_PIXELS} pixels.')
    width, height = _shown(stream)
    rate, duration = stream['rate'], facts['duration']
    info = VideoInfo(
        width, height, rate or stream['guessed_rate'] or 1.0, duration,
        max(1, round(duration * rate)) if duration and rate else None,
        _kept(audio), stream['rotation'], stream['start'], stream['alpha'],
        tuple(_notes(stream, audio)), stream)
    check_size(path, info)
    if unknown_colours(stream):
        raise ValueError(
            f'{path} has colours that are not read here '
            f'({unknown_colours(stream)}); BT.709, BT.601, BT.2020, P3, PQ '
            'and HLG are.')
    return info


def read_video(
    path: str | Path,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    max_frames: int | None = None,
    fit: str = 'crop',
    ground: str = 'white',
    only: Sequence[int] | None = None,
) -> torch.Tensor:
    r"""The first frames of a video, as shown: rotated, in square pixels.

    Args:
        path: a local file that ffmpeg reads, in one of `CONTAINERS`, or a
            folder of numbered pictures.
        size: (width, height) wanted; None keeps the file's.
        fps: frames per second wanted, taken by nearest timestamp, so that
            variable rates keep their speed; None gives every stored frame.
        max_frames: read at most so many; None reads all.
        fit: 'crop' covers `size` and cuts the overhang off evenly; 'pad' fits
            inside and surrounds it with black.
        ground: 'white' or 'black', on which transparent parts are shown.
        only: numbers of the stored frames wanted, rising, in place of `fps`
            and `max_frames`; those that the video lacks are left out.

    Returns:
        float32 [3, T, H, W] in [-1, 1], T >= 1; SDR colours of BT.709.

    Raises:
        ValueError: not an existing, readable, whole video; larger than
            allowed; or a request out of range.
    """
    info = probe(path)
    width, height = size or (info.width, info.height)
    _check_request(width, height, fps, max_frames, fit, ground)
    if only is not None:
        fps, max_frames = None, len(only)
    declared = (info.duration or 0) * fps if fps else info.frames or 0
    if max_frames is None and declared > MAX_FRAMES + 1:
        raise ValueError(f'{path} has about {declared:.0f} frames, at most '
                         f'{MAX_FRAMES} are read in one go.')
    wanted = max_frames or MAX_FRAMES
    if os.path.isdir(path):
        files = frame_files(path)[0]
        if only is not None:
            files = [files[i] for i in only if i < len(files)]
        return read_frames(files, (width, height), fps, wanted, fit,
                           GROUNDS[ground])
    filters = resampled(info.fps, fps, wanted) if fps else []
    if only is not None:
        filters = ['select=' + '+'.join(f'eq(n\\,{i})' for i in only)]
    filters += fitted(info.stream, width, height, fit)
    result = run_ffmpeg([
        *shown_args(path, info.stream, filters), '-frames:v', str(wanted),
        'pipe:1'])
    shape, kind = stored_shape(info.stream, width, height)
    count = len(result.stdout) // (math.prod(shape) * kind.itemsize)
    check_whole(path, count, min(wanted, declared), stderr_text(result))
    clip = np.empty((3, count, height, width), np.float32)
    for i in range(count):
        frame = np.frombuffer(
            result.stdout, kind, math.prod(shape),
            i * math.prod(shape) * kind.itemsize).reshape(shape)
        clip[:, i] = as_shown(
            frame, info.stream, GROUNDS[ground]).transpose(2, 0, 1)
    return torch.from_numpy(clip).div_(127.5).sub_(1)


def audio_codec(path: str | Path) -> str | None:
    r"""Codec of the sound of a file that can be kept, None if there is none.

    Raises:
        ValueError: not an existing file that ffmpeg reads.
    """
    return _kept(read_facts(path)['audio'])


def _kept(audio: dict | None) -> str | None:
    return audio['codec'] if audio and not audio['fault'] else None


def _shown(stream: dict) -> tuple[int, int]:
    width, height = stream['width'], stream['height']
    width = max(1, round(width * stream['aspect']))
    if stream['rotation'] % 180 == 90:
        width, height = height, width
    return width, height


def _notes(stream: dict, audio: dict | None) -> Iterator[str]:
    yield from meaning(stream)
    if stream['others']:
        yield (f'Of {stream["others"] + 1} videos in the file the default one '
               'is read.')
    if audio and audio['fault']:
        yield (f"The video's audio cannot be decoded ({audio['fault']}); the "
               'result has none.')
    elif audio and audio['others']:
        yield (f'Of {audio["others"] + 1} sound tracks the default one is '
               'kept.')


def _check_request(width, height, fps, max_frames, fit, ground) -> None:
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise ValueError(f'size {width}x{height} must be positive and have at '
                         f'most {MAX_PIXELS} pixels.')
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise ValueError(f'fps must be positive, not {fps}.')
    if max_frames is not None and not 1 <= max_frames <= MAX_FRAMES:
        raise ValueError(f'max_frames must be within 1 and {MAX_FRAMES}, not '
                         f'{max_frames}.')
    if fit not in ('crop', 'pad'):
        raise ValueError(f"fit must be 'crop' or 'pad', not {fit!r}.")
    if ground not in GROUNDS:
        raise ValueError(f"ground must be 'white' or 'black', not {ground!r}.")


def check_whole(
    path: str | Path, count: int, expected: float, log: str,
) -> None:
    r"""A file whose decoding failed before the frames it declares is broken.

    Fewer frames alone are not a fault: audio may be longer than the video.
    """
    if count == 0 or (log and count < 0.95 * expected - 1):
        raise ValueError(f'{path} is damaged or cut short: {count} of about '
                         f'{max(expected, 1):.0f} frames could be read '
                         f'({reason(log)}).')
    if log:
        logger.warning('%s has faults that decoding survived: %s', path,
                       reason(log))
