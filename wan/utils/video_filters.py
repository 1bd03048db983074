r"""From stored pictures to pixels: ffmpeg's filters, and what follows them.

`stream` is what `wan.utils.container.facts` tells of the video.
"""
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wan.utils.colour import (
    BT709,
    BT2020,
    DISPLAYED,
    HDR,
    MATRICES,
    UNTAGGED,
    converted,
    to_bt709,
)
from wan.utils.ffmpeg import input_args

# Without these swscale is off by up to three of 255 even in a plain picture.
SCALE_FLAGS = 'lanczos+accurate_rnd+full_chroma_int'

# ffmpeg's own decoders leave out the alpha stored beside the picture.
ALPHA_DECODERS = {'vp8': 'libvpx', 'vp9': 'libvpx-vp9'}
DOLBY_VISION = ('dvh1', 'dvhe', 'dva1', 'dvav', 'dav1')


def decoder(stream: dict) -> list[str]:
    r"""Arguments before the input, if not any decoder will do."""
    return ['-c:v', ALPHA_DECODERS[stream['codec']]] if stream['beside'] else []


def is_deep(stream: dict) -> bool:
    r"""Whether its colours are converted, which 8 bits are too few for."""
    return converted(stream['primaries'], stream['transfer']) is not None


def guessed_matrix(stream: dict) -> str | None:
    r"""ffmpeg's name of the matrix that untagged YUV has; None if tagged.

    The other tags tell if they are there, else the size as stored does.
    """
    if stream['rgb'] or stream['grey'] or stream['matrix'] != UNTAGGED:
        return None
    if stream['transfer'] in HDR or stream['primaries'] == BT2020:
        return 'bt2020'
    if stream['primaries'] != UNTAGGED:
        return 'bt601' if stream['primaries'] in (4, 5, 6, 7) else 'bt709'
    large = stream['height'] >= 720 or stream['width'] > 1024
    return 'bt709' if large or stream['transfer'] == BT709 else 'bt601'


def unknown_colours(stream: dict) -> str | None:
    r"""Which of its tags has a meaning that is not read here, or None."""
    if stream['tag'] in DOLBY_VISION and stream['transfer'] == UNTAGGED:
        return 'Dolby Vision without a layer for other players'
    if stream['transfer'] not in DISPLAYED:
        return f'transfer {stream["transfer"]} of H.273'
    if stream['matrix'] not in MATRICES:
        return f'matrix {stream["matrix"]} of H.273'
    return None


def meaning(stream: dict) -> Iterator[str]:
    r"""Sentences on what colours and alpha are taken for."""
    change = converted(stream['primaries'], stream['transfer'])
    if change:
        yield f'The colours of the video are {change}.'
    elif guessed_matrix(stream) not in (None, 'bt601'):  # what all assume
        name = guessed_matrix(stream).replace('bt', 'BT.')
        yield ('The video does not say how its colours are coded: they are '
               f'read as {name}.')
    if stream['alpha']:
        yield 'What is transparent in the video is shown on white.'


def resampled(native: float, fps: float, count: int) -> list[str]:
    r"""Filters that pick, for each time k / fps, the nearest frame.

    Rounding up keeps, of all frames until k / fps, the latest. Half a frame of
    the faster rate before it makes that the nearest and forgives timestamps
    that the container rounds. ffmpeg's own `round=near` keeps the latest frame
    until half an output frame later: up to 1 / (2 fps) too early. Times after
    all `count` frames are brought forward, or a frame that is shown for days
    would be repeated millions of times.
    """
    early = 0.5 / max(native, fps)
    end = (count + 2) / fps
    return [f"setpts='min(PTS-STARTPTS-{early:.9f}/TB,{end:.9f}/TB)'",
            f'fps={fps}:start_time=0:round=up']


def fitted(stream: dict, width: int, height: int, fit: str) -> list[str]:
    r"""Filters from any frame to width x height, as `as_shown` takes it.

    `dar` is a frame's shown aspect. Colours that alpha hides are taken out
    before they bleed into what is seen.
    """
    pick, then = (('max', f'crop={width}:{height}') if fit == 'crop' else
                  ('min', f'pad={width}:{height}:-1:-1'))
    flags = f'flags={SCALE_FLAGS}'
    if guessed_matrix(stream):
        flags += f':in_color_matrix={guessed_matrix(stream)}'
    scaled = (f"scale=w='{pick}({width},max(1,round({height}*dar)))'"
              f":h='{pick}({height},max(1,round({width}/dar)))':{flags}")
    deep = is_deep(stream)
    if not stream['alpha']:
        return [scaled, f'format={"rgb48le" if deep else "rgb24"}', then]
    return [f'scale={flags}', f'format={"gbrap16le" if deep else "gbrap"}',
            'premultiply=inplace=1', scaled,
            f'format={"rgba64le" if deep else "rgba"}', then]


def shown_args(
    path: str | Path, stream: dict, filters: list[str],
) -> list[str]:
    r"""ffmpeg's arguments that write the frames to its stdout, unchanged in
    number; `filters` end with those of `fitted`."""
    return [*decoder(stream), *input_args(path), '-map',
            f'0:{stream["index"]}', '-vf', ','.join(filters), '-fps_mode',
            'passthrough', '-f', 'rawvideo']


def stored_shape(
    stream: dict, width: int, height: int,
) -> tuple[tuple[int, int, int], np.dtype]:
    r"""Shape and type of a frame as `fitted` gives it."""
    return ((height, width, 4 if stream['alpha'] else 3),
            np.dtype('<u2' if is_deep(stream) else 'u1'))


def as_shown(frame: np.ndarray, stream: dict, ground: int) -> np.ndarray:
    r"""A frame as `fitted` gives it, in SDR, its alpha on a grey `ground`.

    Args:
        frame: [H, W, 3 or 4], all bits of an unsigned type.
        ground: 0 to 255.

    Returns:
        float32 [H, W, 3] in [0, 255].
    """
    if not (stream['alpha'] or is_deep(stream)):
        return frame.astype(np.float32)
    full = np.float32(np.iinfo(frame.dtype).max)
    rgb, alpha = frame[..., :3] / full, frame[..., 3:] / full
    if is_deep(stream):
        if stream['alpha']:
            rgb = (rgb / alpha.clip(1e-4)).clip(0, 1)
        rgb = to_bt709(rgb, stream['primaries'], stream['transfer'])
        rgb = rgb * alpha if stream['alpha'] else rgb
    if not stream['alpha']:
        return rgb * 255
    return np.minimum(rgb, alpha) * 255 + ground * (1 - alpha)
