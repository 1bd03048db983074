r"""Compressing planes, each frame with its own time; a program of its own.

`wan.footage.encode` runs this file by path: what an encoder does to its
process, such as ending it, ends here. The first line of stdin is JSON, then
come raw frames; the last line of stderr says what went wrong.

    python encoder.py < HEAD_AND_FRAMES
"""
import json
import sys
from fractions import Fraction

if __name__ == '__main__':
    del sys.path[0]  # our own folder, whose names are not for others

import av
import numpy as np

TAGS = {'range': 'color_range', 'matrix': 'colorspace',
        'primaries': 'color_primaries', 'transfer': 'color_trc'}


def write(head: dict, source) -> None:
    r"""Write a file that holds nothing but the video: mov, for FFV1
    mkv.

    Args:
        head: `path`, `encoder`, `options`, `pixels` (ffmpeg's name), `shapes`
            and `dtype` of the planes, `base` (seconds of a tick, as two
            numbers), `ticks` (when each frame is shown, and when the last is
            gone), `tags`, `aspect`.
        source: of the raw frames.
    """
    ticks, base = head['ticks'], Fraction(*head['base'])
    kind = 'matroska' if head['encoder'] == 'ffv1' else 'mov'
    with av.open(head['path'], 'w', format=kind) as file:
        stream, lasting = _stream(file, head, ticks, base), {}
        for begin, end in zip(ticks, ticks[1:], strict=False):
            frame = _frame(source, head, stream.codec_context)
            frame.pts, frame.time_base = begin, base
            lasting[begin] = end - begin
            _mux(file, stream.encode(frame), base, lasting)
        _mux(file, stream.encode(None), base, lasting)


def _stream(file, head, ticks, base):
    rate = (len(ticks) - 1) / Fraction((ticks[-1] - ticks[0]) * base)
    stream = file.add_stream(
        head['encoder'], rate=rate.limit_denominator(2**16),
        options=head['options'])
    context = stream.codec_context
    stream.height, stream.width = head['shapes'][0]
    stream.pix_fmt = head['pixels']
    stream.time_base = context.time_base = base
    context.sample_aspect_ratio = Fraction(head['aspect']).limit_denominator(
        2**16)
    for name, value in head['tags'].items():
        setattr(context, TAGS[name], value)
    if head['encoder'] == 'libx265':
        context.codec_tag = 'hvc1'  # by which Apple's players know it
    return stream


def _frame(source, head, context) -> av.VideoFrame:
    height, width = head['shapes'][0]
    frame = av.VideoFrame(width, height, head['pixels'])
    for name in TAGS.values():  # ProRes looks for them here
        setattr(frame, name, getattr(context, name))
    kind = np.dtype(head['dtype'])
    for plane, (rows, columns) in zip(
            frame.planes, head['shapes'], strict=True):
        data = source.read(rows * columns * kind.itemsize)
        there = np.frombuffer(plane, kind).reshape(
            -1, plane.line_size // kind.itemsize)
        there[:rows, :columns] = np.frombuffer(data, kind).reshape(
            rows, columns)
    return frame


def _mux(file, packets, base, lasting: dict[int, int]) -> None:
    r"""The last frame of a file is shown as long as its packet says."""
    for packet in packets:
        time = round(packet.pts * packet.time_base / base)
        packet.duration = round(lasting.pop(time) * base / packet.time_base)
        file.mux(packet)


def main() -> None:
    av.logging.set_level(av.logging.PANIC)
    source = sys.stdin.buffer
    try:
        write(json.loads(source.readline()), source)
    except (av.FFmpegError, OSError) as error:
        sys.exit(getattr(error, 'strerror', None) or type(error).__name__)


if __name__ == '__main__':
    main()
