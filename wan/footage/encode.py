r"""Compressing planes, each frame with its own time."""
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from wan.footage.codecs import Coding

TAGS = {'range': 'color_range', 'matrix': 'colorspace',
        'primaries': 'color_primaries', 'transfer': 'color_trc'}


def encode(
    path: str | Path,
    frames: Iterable[Sequence[np.ndarray]],
    ticks: Sequence[int],
    base: Fraction,
    coding: Coding,
    tags: dict[str, int],
    aspect: float = 1.,
) -> None:
    r"""Write a mov file that holds nothing but the video.

    Args:
        path: of the file.
        frames: planes of each frame, in the format of `coding`.
        ticks: when each frame is shown, rising from 0, and when the last is
            gone; one more than frames.
        base: seconds of a tick.
        tags: numbers of the colours, as `Ground` has them.
        aspect: of a pixel, width by height.

    Raises:
        ValueError: too few or too many frames.
        OSError: encoding or writing failed.
    """
    try:
        with av.open(str(path), 'w', format='mov') as file:
            stream = _stream(file, ticks, base, coding, tags, aspect)
            lasting, count = {}, 0
            for planes in frames:
                if count == len(ticks) - 1:
                    raise ValueError(f'There are more frames than the {count} '
                                     'that have a time.')
                frame = _frame(planes, coding, stream.codec_context)
                frame.pts, frame.time_base = ticks[count], base
                lasting[ticks[count]] = ticks[count + 1] - ticks[count]
                count += 1
                _mux(file, stream.encode(frame), base, lasting)
            if count != len(ticks) - 1:
                raise ValueError(f'There are {count} frames, '
                                 f'{len(ticks) - 1} are to be written.')
            _mux(file, stream.encode(None), base, lasting)
    except av.FFmpegError as error:
        raise OSError(f'encoding with {coding.encoder.name} failed: '
                      f'{error.strerror or type(error).__name__}') from error


def _stream(file, ticks, base, coding, tags, aspect):
    pixels = coding.pixels
    rate = (len(ticks) - 1) / Fraction((ticks[-1] - ticks[0]) * base)
    stream = file.add_stream(
        coding.encoder.name, rate=rate.limit_denominator(2**16),
        options=dict(coding.options))
    context = stream.codec_context
    stream.width, stream.height = pixels.width, pixels.height
    stream.pix_fmt = pixels.name
    stream.time_base = context.time_base = base
    context.sample_aspect_ratio = Fraction(aspect).limit_denominator(2**16)
    if coding.encoder.name == 'libx265':
        context.codec_tag = 'hvc1'  # by which Apple's players know it
    for name, value in tags.items():
        setattr(context, TAGS[name], value)
    if pixels.full is False and tags['range'] == 2:
        context.color_range = 1
    return stream


def _frame(planes, coding: Coding, context) -> av.VideoFrame:
    pixels = coding.pixels
    frame = av.VideoFrame(pixels.width, pixels.height, pixels.name)
    for name in TAGS.values():  # ProRes looks for them here
        setattr(frame, name, getattr(context, name))
    for plane, values in zip(frame.planes, planes, strict=True):
        height, width = values.shape
        there = np.frombuffer(plane, pixels.dtype).reshape(
            -1, plane.line_size // pixels.dtype.itemsize)
        there[:height, :width] = values
    return frame


def _mux(file, packets, base, lasting: dict[int, int]) -> None:
    r"""The last frame of a file is shown as long as its packet says."""
    for packet in packets:
        time = round(packet.pts * packet.time_base / base)
        packet.duration = round(
            lasting.pop(time) * base / packet.time_base)
        file.mux(packet)
