r"""Compressing planes, by a process of its own."""
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np

from wan.footage.codecs import Coding
from wan.utils.ffmpeg import TIMEOUT_SECONDS


def encode(
    path: str | Path,
    frames: Iterable[Sequence[np.ndarray]],
    ticks: Sequence[int],
    base: Fraction,
    coding: Coding,
    tags: dict[str, int],
    aspect: float = 1.,
) -> None:
    r"""Write a file that holds nothing but the video.

    Args:
        path: of the file.
        frames: planes of each frame, in the format of `coding`.
        ticks: when each frame is shown, rising from 0, and when the last is
            gone; one more than frames.
        base: seconds of a tick.
        tags: numbers of the colours, as `Ground` has them.
        aspect: of a pixel, width by height.

    Raises:
        OSError: encoding or writing failed.
    """
    pixels = coding.pixels
    if not pixels.full and tags['range'] == 2:
        tags = tags | {'range': 1}
    head = {
        'path': str(Path(path).absolute()), 'encoder': coding.encoder.name,
        'options': dict(coding.options), 'pixels': pixels.name,
        'shapes': pixels.shapes, 'dtype': pixels.dtype.str,
        'base': [base.numerator, base.denominator], 'ticks': list(ticks),
        'tags': tags, 'aspect': aspect}
    with (tempfile.TemporaryFile() as log, subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name('encoder.py'))],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=log) as process):
        try:
            # If it gave up, it says why in the log.
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(head).encode() + b'\n')
                for planes in frames:
                    for plane in planes:
                        process.stdin.write(np.ascontiguousarray(plane).data)
                process.stdin.close()
            code = process.wait(TIMEOUT_SECONDS)
        finally:
            process.kill()
            with suppress(BrokenPipeError):
                process.stdin.close()
        log.seek(0)
        said = log.read().decode(errors='replace').strip().splitlines()
    if code:
        raise OSError(f'encoding with {coding.encoder.name} failed: '
                      f'{said[-1] if said else f"it ended with {code}"}')
