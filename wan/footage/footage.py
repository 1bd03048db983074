r"""A template video: what it holds, and its frames as they are shown."""
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from wan.footage.pixels import Pixels
from wan.footage.times import between, nearest_frames, runs, stored_times
from wan.utils.colour import HDR, converted
from wan.utils.ffmpeg import frame_stream, read_facts
from wan.utils.frame_folder import FPS, each_frame, frame_files
from wan.utils.video import GROUNDS, probe
from wan.utils.video_filters import (
    as_shown,
    fitted,
    guessed_matrix,
    meaning,
    shown_args,
    stored_shape,
)
from wan.utils.video_info import VideoInfo

MOST_RUNS = 400  # that a filter names; else all between them are read
FULL_RANGE = 2  # in ffmpeg's numbers


@dataclass(frozen=True)
class Footage:
    r"""What is known of a template video; its frames stay in the file.

    Attributes:
        path: a video file, or a folder of numbered pictures.
        info: as `wan.utils.video.probe` tells it.
        ticks: when each stored frame is shown, rising, in units of `base`
            and on the file's own clock.
        base: seconds of a tick.
        last: ticks for which the last frame is shown.
        notes: sentences on what is read in another way than it is stored.
        streams: index, kind and codec of all streams in the file.
        start: seconds at which the file starts, on its own clock.
        stamp: of the file, to know it again.
    """
    path: Path
    info: VideoInfo
    ticks: tuple[int, ...]
    base: Fraction
    last: int
    notes: tuple[str, ...]
    streams: tuple[dict, ...] = field(default=(), repr=False)
    start: float = 0.
    stamp: tuple[int, ...] = ()

    @classmethod
    def open(cls, path: str | Path) -> 'Footage':
        r"""Look into a video; its frames are decoded once, for their times.

        Raises:
            ValueError: not an existing, readable, whole video, or one larger
                or longer than allowed; in one sentence.
        """
        path = Path(path)
        stamp, info = _stamp(path), probe(path)
        if path.is_dir():
            count = len(frame_files(path)[0])
            return cls(path, info, tuple(range(count)),
                       Fraction(1 / FPS), 1, info.notes, stamp=stamp)
        facts, stream = read_facts(path), info.stream
        ticks, last, note = stored_times(path, stream, info.frames or 0)
        notes = [*meaning(stream), *((note,) if note else ())]
        if stream['others']:
            notes.append(f'Of {stream["others"] + 1} videos in the file the '
                         'default one is read.')
        return cls(path, info, tuple(ticks), Fraction(*stream['base']), last,
                   tuple(notes), tuple(facts['streams']), facts['start'],
                   stamp)

    @property
    def size(self) -> tuple[int, int]:
        r"""(width, height) as shown: upright, in square pixels."""
        return self.info.width, self.info.height

    @property
    def fps(self) -> float:
        r"""Average frames per second."""
        return float(len(self.ticks) / Fraction(self.duration))

    @property
    def times(self) -> tuple[float, ...]:
        r"""Seconds of each stored frame, rising from 0."""
        return tuple(float((tick - self.ticks[0]) * self.base)
                     for tick in self.ticks)

    @property
    def duration(self) -> float:
        r"""Seconds until the last frame is gone."""
        return float((self.ticks[-1] + self.last - self.ticks[0]) * self.base)

    @property
    def pixels(self) -> Pixels | None:
        r"""The planes as coded; None if it has others (RGB, grey, alpha)."""
        stream = self.info.stream
        if not stream or stream['alpha'] or stream['rgb'] or stream['grey']:
            return None
        full = stream['range'] == FULL_RANGE or 'yuvj' in stream['pixels']
        return Pixels.named(
            stream['pixels'], stream['width'], stream['height'], full)

    @property
    def matrix(self) -> str | int:
        r"""That of its planes: a number of H.273, or ffmpeg's name of what
        untagged ones are taken for."""
        return guessed_matrix(self.info.stream) or self.info.stream['matrix']

    @property
    def hdr(self) -> str | None:
        r"""PQ or HLG, else None."""
        return HDR.get(self.info.stream.get('transfer'))

    @property
    def colours_change(self) -> bool:
        r"""Whether what is shown has other colours than what is stored."""
        stream = self.info.stream
        return bool(stream) and converted(
            stream['primaries'], stream['transfer']) is not None

    def chosen(
        self,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> tuple[int, ...]:
        r"""Numbers of stored frames, rising.

        Args:
            fps: only those nearest to a time k / fps; None for every one.
            start: seconds of the first; None for 0.
            end: seconds before which all are; None for the end.

        Raises:
            ValueError: a value out of range, or nothing is left.
        """
        if fps is not None and not (math.isfinite(fps) and fps > 0):
            raise ValueError(f'fps must be positive, not {fps}.')
        times, whole = self.times, self.duration
        first = 0. if start is None else start
        last = whole if end is None else end
        if not 0 <= first < last <= whole + 1e-3:
            raise ValueError(
                f'The part from {first:g} to {last:g} seconds is not within '
                f'the {whole:g} seconds of {self.path}.')
        inside = between(times, first, last)
        found = inside if fps is None else [
            i for i in nearest_frames(times, whole, fps) if i in inside]
        if not found:
            raise ValueError(f'{self.path} has no frame from {first:g} to '
                             f'{last:g} seconds.')
        return tuple(found)

    def shown(
        self, frames: Sequence[int], ground: str = 'white'
    ) -> Iterator[torch.Tensor]:
        r"""Frames as `read_video` gives them, one at a time.

        Args:
            frames: numbers of stored frames, rising.
            ground: 'white' or 'black', on which transparent parts are shown.

        Yields:
            float32 [3, H, W] in [-1, 1]; upright, square pixels, SDR BT.709.

        Raises:
            ValueError: the numbers are none of its, the file has changed, or
                a frame cannot be read.
        """
        for frame in self.shown_bytes(frames, ground):
            yield torch.from_numpy(frame).permute(2, 0, 1).contiguous().div_(
                127.5).sub_(1)

    def shown_bytes(
        self, frames: Sequence[int], ground: str = 'white'
    ) -> Iterator[np.ndarray]:
        r"""`shown` as float32 [H, W, 3] in [0, 255]."""
        self.check(frames)
        if self.path.is_dir():
            files = frame_files(self.path)[0]
            for frame in each_frame(
                    files, frames, self.size, 'crop', GROUNDS[ground]):
                yield frame.astype(np.float32)
            return
        stream = self.info.stream
        shape, kind = stored_shape(stream, *self.size)
        for data in self.raw(
                frames, math.prod(shape) * kind.itemsize,
                fitted(stream, *self.size, 'crop')):
            yield as_shown(np.frombuffer(data, kind).reshape(shape), stream,
                           GROUNDS[ground])

    def raw(
        self, frames: Sequence[int], size: int, filters: list[str],
        before: tuple[str, ...] = (),
    ) -> Iterator[bytes]:
        r"""What ffmpeg gives for each of `frames`, `size` bytes.

        Args:
            filters: applied to each.
            before: arguments for reading the file.
        """
        spans = runs(frames)
        if len(spans) > MOST_RUNS:
            spans = [(frames[0], frames[-1])]
        select = '+'.join(f'between(n\\,{a}\\,{b})' for a, b in spans)
        read = (i for a, b in spans for i in range(a, b + 1))
        args = [*before, *shown_args(
            self.path, self.info.stream, [f'select={select}', *filters]),
            '-frames:v', str(sum(b - a + 1 for a, b in spans)), 'pipe:1']
        wanted, count = set(frames), 0
        with closing(frame_stream(args, size)) as stream:
            for i, data in zip(read, stream, strict=False):
                if i in wanted:
                    count += 1
                    yield data
        if count < len(frames):
            raise ValueError(
                f'{self.path} gave {count} of {len(frames)} frames: it has '
                'changed, or cannot be read any more.')

    def check(self, frames: Sequence[int]) -> None:
        r"""A ValueError unless these are rising numbers of stored frames."""
        rising = all(a < b for a, b in zip(frames, frames[1:], strict=False))
        if not (len(frames) and rising and frames[0] >= 0
                and frames[-1] < len(self.ticks)):
            raise ValueError(
                f'The frames of {self.path} are numbered 0 to '
                f'{len(self.ticks) - 1}; rising numbers of them are needed.')
        self.unchanged()

    def unchanged(self) -> None:
        r"""A ValueError if the file is not the one that was opened."""
        if _stamp(self.path) != self.stamp:
            raise ValueError(f'{self.path} has changed since it was opened.')


def _stamp(path: Path) -> tuple[int, ...]:
    r"""Sizes and times of change, of a folder those of what is in it."""
    try:
        files = sorted(os.scandir(path), key=lambda f: f.name) \
            if path.is_dir() else [path]
        found = [file.stat() for file in files]
    except OSError:
        return ()
    return (len(found), sum(s.st_size for s in found),
            max((s.st_mtime_ns for s in found), default=0))
