r"""When each stored frame of a video is shown."""
from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from wan.utils.ffmpeg import input_args, run_ffmpeg, stderr_text
from wan.utils.video import check_whole
from wan.utils.video_filters import decoder

MAX_FRAMES = 100_000
NO_TIME = -2**62  # ffmpeg writes smaller numbers for times unknown


def stored_times(
    path: str | Path, stream: dict, expected: float = 0.,
) -> tuple[list[int], int, str | None]:
    r"""Times of all frames that decoding gives, in units of `stream['base']`.

    They are decoded for it, as they are later: the numbers of frames that a
    damaged file loses, or an edit list hides, come out the same.

    Args:
        stream: `wan.utils.container.facts` of the video.
        expected: number of frames that the file declares.

    Returns:
        rising times in the file's own clock, how long the last frame is
        shown, and a sentence if times had to be made up.

    Raises:
        ValueError: nothing can be decoded, far less than declared, or more
            than `MAX_FRAMES`.
    """
    base = Fraction(*stream['base'])
    corner = "crop=w='min(iw,16)':h='min(ih,16)':x=0:y=0:exact=1"
    result = run_ffmpeg([
        '-copyts', '-noautorotate', *decoder(stream), *input_args(path),
        '-map', f'0:{stream["index"]}', '-vf', corner, '-fps_mode',
        'passthrough', '-enc_time_base', f'{base.numerator}/{base.denominator}',
        '-frames:v', str(MAX_FRAMES + 1), '-f', 'framecrc', 'pipe:1'])
    lines = [line.split(',') for line in result.stdout.decode().splitlines()
             if not line.startswith('#')]
    check_whole(path, len(lines), expected, stderr_text(result))
    if len(lines) > MAX_FRAMES:
        raise ValueError(f'{path} has more than {MAX_FRAMES} frames, which '
                         'are allowed at most.')
    return _rising([int(line[2]) for line in lines], int(lines[-1][3]),
                   stream, base)


def _rising(times, last, stream, base) -> tuple[list[int], int, str | None]:
    r"""Where a time is not after the one before, it is made so."""
    if min(times) < NO_TIME:
        each = 1 / Fraction(stream['rate'] or 25).limit_denominator(10**6)
        times = [round(i * each / base) for i in range(len(times))]
        last = round(each / base)
        note = ('The video does not say when its frames are shown: they are '
                'taken as evenly spaced.')
        return times, max(1, last), note
    faults = sum(b <= a for a, b in pairwise(times))
    for i in range(1, len(times)):
        times[i] = max(times[i], times[i - 1] + 1)
    if last <= 0:
        gaps = sorted(b - a for a, b in pairwise(times))
        last = gaps[len(gaps) // 2] if gaps else round(
            1 / Fraction(stream['rate'] or 25).limit_denominator(10**6) / base)
    note = (f'{faults} frames are not later than the one before: their times '
            'are moved.') if faults else None
    return times, max(1, last), note


def nearest_frames(
    times: Sequence[float], duration: float, fps: float,
) -> list[int]:
    r"""Of all frames, those that are nearest to some time k / fps.

    Args:
        times: seconds, rising from 0.
        duration: seconds after which no frame is asked for.
    """
    borders = [0., *((a + b) / 2 for a, b in pairwise(times)), duration]
    ceil = [-int(-(border * fps - 1e-6) // 1) for border in borders]
    return [i for i, (a, b) in enumerate(pairwise(ceil)) if a < b or i == 0]


def between(
    times: Sequence[float], start: float, end: float, slack: float = 1e-4,
) -> range:
    r"""Numbers of the frames with start <= time < end; clocks are rounded."""
    return range(bisect_left(times, start - slack),
                 bisect_left(times, end - slack))


def runs(frames: Sequence[int]) -> list[tuple[int, int]]:
    r"""Rising numbers as (first, last) of what follows without a gap."""
    found: list[tuple[int, int]] = []
    for i in frames:
        if found and i == found[-1][1] + 1:
            found[-1] = (found[-1][0], i)
        else:
            found.append((i, i))
    return found
