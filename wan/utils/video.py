r"""Reading video files: what a header declares, and frames as tensors."""
import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wan.utils.ffmpeg import (
    MAX_PIXELS,
    input_args,
    read_header,
    reason,
    run_ffmpeg,
    stderr_text,
)

MAX_FRAMES = 2000  # per clip read
MAX_SECONDS = 6 * 3600
MAX_ASPECT = 10.0

# Without these swscale is off by up to three of 255 even in a plain picture.
SCALE_FLAGS = 'lanczos+accurate_rnd+full_chroma_int'

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoInfo:
    r"""What the header of a video file declares.

    Attributes:
        width: pixels as shown, after rotation and in square pixels.
        height: pixels as shown.
        fps: average frames per second.
        duration: seconds of the longest stream; None if not declared.
        frames: estimated number of frames; None if not declared.
        audio_codec: codec of the first audio stream; None if there is none.
        rotation: degrees, already applied in `width`, `height` and on reading.
    """
    width: int
    height: int
    fps: float
    duration: float | None
    frames: int | None
    audio_codec: str | None
    rotation: float

    @property
    def has_audio(self) -> bool:
        return self.audio_codec is not None


def probe(path: str | Path) -> VideoInfo:
    r"""Read the header of a video file, decoding nothing.

    Raises:
        ValueError: not an existing, readable video, or larger than allowed.
    """
    header = read_header(path)
    found = re.search(
        r'^  Stream #0:\d+[^\n]*?: Video: (?![^\n]*\(attached pic\))'
        r'([^\n]*)((?:\n(?!  Stream #)[^\n]*)*)', header, re.MULTILINE)
    if found is None:
        kind = re.search(r'^Input #0, (\S+), from', header, re.MULTILINE)
        raise ValueError(f'{path} holds no video (it is {kind[1]}), one with '
                         'a picture is needed.')
    stream, side_data = found.groups()
    shape = re.search(r', (\d+)x(\d+)', stream)
    rate = re.search(r'([\d.]+)(k?) (fps|tbr)', stream)
    if shape is None or rate is None:
        raise ValueError(f'{path} cannot be decoded ({reason(header)}); frames '
                         f'may have at most {MAX_PIXELS} pixels.')
    width, height = _shown(stream, side_data, int(shape[1]), int(shape[2]))
    fps = float(rate[1]) * (1000 if rate[2] else 1)
    time = re.search(r'^  Duration: (\d+):(\d+):([\d.]+)', header, re.MULTILINE)
    duration = time and (int(time[1]) * 60 + int(time[2])) * 60 + float(time[3])
    # tbr, printed where no average is known, may be 1000 a second.
    counted = duration and rate[3] == 'fps'
    info = VideoInfo(
        width, height, fps, duration,
        max(1, round(duration * fps)) if counted else None,
        _audio_codec(header), _rotation(side_data))
    _check_size(path, info, int(shape[1]) * int(shape[2]))
    return info


def read_video(
    path: str | Path,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    max_frames: int | None = None,
    fit: str = 'crop',
) -> torch.Tensor:
    r"""The first frames of a video, as shown: rotated, in square pixels.

    Args:
        path: a local file that ffmpeg reads, in one of `CONTAINERS`.
        size: (width, height) wanted; None keeps the file's.
        fps: frames per second wanted, taken by nearest timestamp, so that
            variable rates keep their speed; None gives every stored frame.
        max_frames: read at most so many; None reads all.
        fit: 'crop' covers `size` and cuts the overhang off evenly; 'pad' fits
            inside and surrounds it with black.

    Returns:
        float32 [3, T, H, W] in [-1, 1], T >= 1.

    Raises:
        ValueError: not an existing, readable, whole video; larger than
            allowed; or a request out of range.
    """
    info = probe(path)
    width, height = size or (info.width, info.height)
    _check_request(width, height, fps, max_frames, fit)
    declared = (info.duration or 0) * fps if fps else info.frames or 0
    if max_frames is None and declared > MAX_FRAMES + 1:
        raise ValueError(f'{path} has about {declared:.0f} frames, at most '
                         f'{MAX_FRAMES} are read in one go.')
    wanted = max_frames or MAX_FRAMES
    filters = _resampled(info.fps, fps) if fps else []
    filters += _fitted(width, height, fit)
    result = run_ffmpeg([
        *input_args(path), '-map', '0:V:0', '-vf', ','.join(filters),
        '-fps_mode', 'passthrough', '-frames:v', str(wanted), '-f', 'rawvideo',
        '-pix_fmt', 'rgb24', 'pipe:1'])
    count = len(result.stdout) // (width * height * 3)
    _check_whole(path, count, min(wanted, declared), stderr_text(result))
    frames = np.frombuffer(
        result.stdout, np.uint8, count * width * height * 3)
    frames = frames.reshape(count, height, width, 3).transpose(3, 0, 1, 2)
    clip = torch.from_numpy(frames.astype(np.float32, order='C'))
    return clip.div_(127.5).sub_(1)


def audio_codec(path: str | Path) -> str | None:
    r"""Codec of a file's first audio stream, None if it has none.

    Raises:
        ValueError: not an existing file that ffmpeg reads.
    """
    return _audio_codec(read_header(path))


def _shown(stream: str, side_data: str, width: int, height: int) -> tuple:
    # The container's word, which ffmpeg prints last, outweighs the codec's.
    for across, down in re.findall(r'SAR (\d+):(\d+) ', stream)[-1:]:
        width = max(1, round(width * int(across) / max(1, int(down))))
    if round(_rotation(side_data)) % 180 == 90:
        width, height = height, width
    return width, height


def _rotation(side_data: str) -> float:
    found = re.search(r'^\s+display ?matrix: rotation of (-?[\d.]+)',
                      side_data, re.MULTILINE | re.IGNORECASE)
    return float(found[1]) if found else 0.0


def _audio_codec(header: str) -> str | None:
    found = re.search(r'^  Stream #0:\d+[^\n]*?: Audio: (\w+)', header,
                      re.MULTILINE)
    return found[1] if found else None


def _check_size(path: str | Path, info: VideoInfo, pixels: int) -> None:
    shape = f'{info.width}x{info.height}'
    if max(pixels, info.width * info.height) > MAX_PIXELS:
        raise ValueError(f'{path} has frames of {shape} pixels, at most '
                         f'{MAX_PIXELS} pixels are allowed.')
    if not 1 / MAX_ASPECT <= info.width / info.height <= MAX_ASPECT:
        raise ValueError(f'{path} has frames of {shape} pixels, one side may '
                         f'be at most {MAX_ASPECT:.0f} times the other.')
    if (info.duration or 0) > MAX_SECONDS:
        raise ValueError(f'{path} declares {info.duration:.0f} seconds, at '
                         f'most {MAX_SECONDS} are allowed.')


def _check_request(width, height, fps, max_frames, fit) -> None:
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


def _resampled(native: float, fps: float) -> list[str]:
    r"""Filters that pick, for each time k / fps, the nearest frame.

    Rounding up keeps, of all frames until k / fps, the latest. Half a frame of
    the faster rate before it makes that the nearest and forgives timestamps
    that the container rounds. ffmpeg's own `round=near` keeps the latest frame
    until half an output frame later: up to 1 / (2 fps) too early.
    """
    early = 0.5 / max(native, fps)
    return [f'setpts=PTS-STARTPTS-{early:.9f}/TB',
            f'fps={fps}:start_time=0:round=up']


def _fitted(width: int, height: int, fit: str) -> list[str]:
    r"""Filters from any frame (`dar` is its shown aspect) to width x height."""
    pick, then = (('max', f'crop={width}:{height}') if fit == 'crop' else
                  ('min', f'pad={width}:{height}:-1:-1'))
    scaled = (f"scale=w='{pick}({width},max(1,round({height}*dar)))'"
              f":h='{pick}({height},max(1,round({width}/dar)))'"
              f':flags={SCALE_FLAGS}')
    return [scaled, 'format=rgb24', then]


def _check_whole(path, count: int, expected: float, log: str) -> None:
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
