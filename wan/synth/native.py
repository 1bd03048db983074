r"""Native templates: wide clips of many frames with a product of any size.

They are what a seller has, seen from the model: larger and longer than it,
with a product that may be small and may cross the frame. Captions, surfaces,
products and lights are those of the square clips.
"""
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import torch

from wan.utils.ffmpeg import run_ffmpeg, stderr_text
from wan.utils.image import to_bytes, unit_range
from wan.utils.video_writer import write_video

from .render import render_clip
from .sampling import sample_motion, sample_product, sample_scene
from .scene import Clip, Motion, Scene
from .shapes import SHAPES, coverage

HEIGHT, ASPECT, FPS = 288, 16 / 9, 24
FRAMES = range(40, 61)
# Shares of the frame that the product covers in the middle of the clip.
LEAST, MOST = 1 / 18, 1 / 3.3
# Of a product that would not fit the frame's height.
LARGEST = 0.88
# Room for a product to breathe and for the camera to move, in half heights.
ROOM = 0.1
# Half heights a product moves by: it stays, moves as in the square clips, or
# crosses the frame.
STEPS = ((0, 0), (0.25, 0.45), (0.9, 1.8))
RATE = 48_000  # of the sound


def sample_native(
    seed: int, size: int = HEIGHT, frames: int | None = None
) -> Clip:
    r"""The native clip of a seed.

    Args:
        seed: in `TRAIN_SEEDS`, `TUNE_SEEDS` or `TEST_SEEDS`.
        size: pixels of the height; the width is 16/9 of it.
        frames: drawn from `FRAMES` if not given.
    """
    rng = Random(f'native {seed}')
    product, count = sample_product(rng), rng.choice(FRAMES)
    share = math.exp(rng.uniform(math.log(LEAST), math.log(MOST)))
    radius = min(LARGEST, math.sqrt(4 * ASPECT * share / area(product.shape)))
    return Clip(product, _wide(sample_scene(rng)), _motion(rng, radius), size,
                count if frames is None else frames, round(size * ASPECT))


@cache
def area(shape: str) -> float:
    r"""Of a product of size 1, in squares of the size."""
    pixel = 2.4 / 480
    x, y = torch.meshgrid(
        *[(torch.arange(480) + 0.5) * pixel - 1.2] * 2, indexing='xy')
    return coverage(SHAPES[shape](x, y), pixel).sum().item() * pixel ** 2


def write_native(
    path: str | Path, seed: int, size: int = HEIGHT, frames: int | None = None
) -> Clip:
    r"""Write the native clip of a seed as a video file with sound.

    The sound is a tone of the seed's own pitch: AAC, stereo, 48 kHz.

    Args:
        path: see `write_video`.
        seed, size, frames: see `sample_native`.

    Returns:
        What the file shows.

    Raises:
        ValueError, OSError: see `write_video`.
    """
    clip = sample_native(seed, size, frames)
    write_with_tone(path, clip, FPS, 220 + seed % 660)
    return clip


def write_with_tone(
    path: str | Path, clip: Clip, fps: float, pitch: int
) -> None:
    r"""Write a clip as a video file with a tone of a pitch in Hz.

    Raises:
        ValueError, OSError: see `write_video`.
    """
    pixels = (to_bytes(unit_range(frame, (-1, 1)), True)
              for frame in render_clip(clip).unbind(1))
    with TemporaryDirectory() as folder:
        tone = Path(folder, 'tone.m4a')
        _write_tone(tone, pitch, clip.frames / fps)
        write_video(path, pixels, fps, audio=tone)


def _write_tone(path: Path, pitch: int, seconds: float) -> None:
    result = run_ffmpeg([
        '-f', 'lavfi', '-i', f'sine=frequency={pitch}:sample_rate={RATE}:'
        f'duration={seconds:.6f}', '-ac', '2', '-c:a', 'aac', str(path)])
    if result.returncode:
        raise OSError(
            f'Could not make a tone: ffmpeg said {stderr_text(result)}')


def _wide(scene: Scene) -> Scene:
    r"""The props of the corners in those of a wide frame."""
    return replace(scene, props=tuple(
        prop if prop.front else replace(prop, x=prop.x * ASPECT)
        for prop in scene.props))


def _motion(rng: Random, radius: float) -> Motion:
    r"""A product of this size that stays in the frame."""
    motion, step = sample_motion(rng), rng.choice(STEPS)
    length, along_x = rng.uniform(*step), rng.random() < 0.75
    rooms = [max(0., half - ROOM - radius) for half in (ASPECT, 1)]
    moves, places = [0., 0.], []
    axis = 0 if along_x else 1
    moves[axis] = rng.choice((-1, 1)) * min(length, 2 * rooms[axis])
    for room, move in zip(rooms, moves, strict=True):
        spare = max(0., room - abs(move) / 2)
        places.append(rng.uniform(-spare, spare))
    middle = replace(
        motion.middle, x=places[0], y=places[1], size=radius)
    return replace(motion, middle=middle, dx=moves[0], dy=moves[1])
