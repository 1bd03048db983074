r"""Before and after as one video, which cannot get out of step."""
import math
from pathlib import Path

import numpy as np
from PIL import Image

from ..footage import Footage
from ..utils.video_writer import write_video
from .masks import footage

# A page shows no more; the result itself can be downloaded.
SIDE, MOST = 960, 480


def write_pair(before: str | Path, after: str | Path, path: Path) -> Path:
    r"""Write each frame of a result under that of its template.

    Args:
        before: the template; of its frames the nearest in time are taken.
        path: .mp4, twice as high as the result, which is scaled down to
            `SIDE` and, of long ones, evenly to `MOST` frames.

    Raises:
        ValueError: a video that cannot be read.
    """
    old, new = footage(before), footage(after)
    step = math.ceil(len(new.times) / MOST)
    numbers = list(range(0, len(new.times), step))
    same = [_nearest(old.times, new.times[i]) for i in numbers]
    width, height = new.size
    scale = min(1, SIDE / max(width, height))
    size = tuple(max(2, round(side * scale / 2) * 2)
                 for side in (width, height))

    def frames():
        for pair in zip(_repeating(old, same), new.shown_bytes(numbers),
                        strict=True):
            yield np.concatenate([_scaled(part, size) for part in pair])

    return write_video(path, frames(), max(new.fps / step, 1e-3))


def _nearest(times, time: float) -> int:
    return min(range(len(times)), key=lambda i: abs(times[i] - time))


def _repeating(shot: Footage, numbers: list[int]):
    r"""Frames in rising order, of which some may come again."""
    stream, last, frame = shot.shown_bytes(sorted(set(numbers))), None, None
    for number in numbers:
        if number != last:
            frame, last = next(stream), number
        yield frame


def _scaled(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(frame.round().clip(0, 255).astype(np.uint8))
    return np.asarray(picture if picture.size == size else picture.resize(
        size, Image.Resampling.LANCZOS))
