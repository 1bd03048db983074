r"""Planes of brightness and colour: how they lie in memory, and what is lost
when a codec has no such planes."""
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

NAMES = {'410': (2, 2), '411': (2, 0), '420': (1, 1), '422': (1, 0),
         '440': (0, 1), '444': (0, 0)}
# Formats that hold the very samples of planar ones in another order.
REPACKED = {
    'nv12': 'yuv420p', 'nv21': 'yuv420p', 'nv16': 'yuv422p',
    'nv24': 'yuv444p', 'nv42': 'yuv444p', 'yuyv422': 'yuv422p',
    'uyvy422': 'yuv422p', 'yvyu422': 'yuv422p', 'uyyvyy411': 'yuv411p',
    'p010le': 'yuv420p10le', 'p210le': 'yuv422p10le',
    'p410le': 'yuv444p10le', 'p012le': 'yuv420p12le', 'y210le': 'yuv422p10le'}


@dataclass(frozen=True)
class Pixels:
    r"""Three planes of a picture as it is coded, luma first.

    Attributes:
        width: of luma.
        height: of luma.
        sx: a sample of chroma stands for 2 ** sx columns,
        sy: and for 2 ** sy rows; at the borders for what there is of them.
        depth: bits, 8 to 16; more than 8 lie in the low bits of uint16.
        full: luma has the whole range of the bits, not 16 to 235 of 8.
    """
    width: int
    height: int
    sx: int
    sy: int
    depth: int = 8
    full: bool = False

    @classmethod
    def named(cls, name: str, width: int, height: int, full: bool = False):
        r"""From ffmpeg's name of a format; None if it has no such planes."""
        found = re.fullmatch(r'yuvj?(4\d\d)p(\d*)(le|be)?',
                             REPACKED.get(name, name))
        if not found or found[1] not in NAMES:
            return None
        return cls(width, height, *NAMES[found[1]], int(found[2] or 8), full)

    @property
    def name(self) -> str:
        r"""ffmpeg's name."""
        kind = next(k for k, v in NAMES.items() if v == (self.sx, self.sy))
        return f'yuv{kind}p' + (
            f'{self.depth}le' if self.depth > 8 else '')

    @property
    def words(self) -> str:
        r"""For a note: `4:2:0 with 8 bits`."""
        kind = self.name[3:6]
        return f'{":".join(kind)} with {self.depth} bits'

    @property
    def dtype(self) -> np.dtype:
        return np.dtype('<u2' if self.depth > 8 else 'u1')

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        r"""(rows, columns) of each plane."""
        chroma = (-(-self.height >> self.sy), -(-self.width >> self.sx))
        return (self.height, self.width), chroma, chroma

    @property
    def frame_bytes(self) -> int:
        return self.dtype.itemsize * sum(h * w for h, w in self.shapes)

    def planes(self, data: bytes) -> list[np.ndarray]:
        r"""The planes in a raw frame, as arrays that may not be written."""
        found, at = [], 0
        for height, width in self.shapes:
            count = height * width
            found.append(np.frombuffer(data, self.dtype, count, at).reshape(
                height, width))
            at += count * self.dtype.itemsize
        return found

    def levels(self, plane: int) -> tuple[float, float]:
        r"""What the signals 0 and 1 of a plane (chroma: from -.5) become."""
        top, step = 2 ** self.depth - 1, 2 ** (self.depth - 8)
        if self.full:
            return (0 if plane == 0 else 2 ** (self.depth - 1)), top
        return (16 if plane == 0 else 128) * step, (
            219 if plane == 0 else 224) * step

    def fits(self) -> bool:
        r"""Whether chroma covers the picture without an overhang."""
        return not (self.width % (1 << self.sx) or
                    self.height % (1 << self.sy))


def converted(
    planes: Sequence[np.ndarray], source: Pixels, target: Pixels,
) -> list[np.ndarray]:
    r"""Planes in another format of the same size.

    More bits and finer chroma lose nothing: values are shifted and repeated.
    Fewer bits and another range are rounded.
    """
    result = []
    for i, (plane, shape) in enumerate(zip(
            planes, target.shapes, strict=True)):
        if (source.depth, source.full) != (target.depth, target.full):
            plane = _revalued(plane, i, source, target)
        for axis, by in enumerate((source.sy - target.sy,
                                   source.sx - target.sx)):
            if i and by:
                plane = np.repeat(plane, 1 << by, axis)
        result.append(plane[:shape[0], :shape[1]])
    return result


def _revalued(plane, i, source, target) -> np.ndarray:
    most = 2 ** target.depth - 1
    if source.full != target.full:
        zero, span = source.levels(i)
        to_zero, to_span = target.levels(i)
        value = (plane - np.float32(zero)) * np.float32(to_span / span)
        return (value + to_zero).round().clip(0, most).astype(target.dtype)
    up = target.depth - source.depth
    if up >= 0:
        return plane.astype(target.dtype) << up
    half = 1 << (-up - 1)
    return ((plane.astype(np.uint32) + half) >> -up).clip(
        0, most).astype(target.dtype)


def nearest(
    wanted: Pixels, offered: Sequence[str], even: bool,
) -> Pixels | None:
    r"""The format of a codec that keeps most of another.

    Args:
        offered: ffmpeg's names.
        even: chroma without an overhang only.

    Returns:
        All bits if that can be, then the least chroma that loses none, then
        the fewest bits; None if every one has too little chroma.
    """
    found = []
    for name in offered:
        if name.startswith('yuvj') or name in REPACKED:
            continue
        new = Pixels.named(name, wanted.width, wanted.height, wanted.full)
        if new and new.sx <= wanted.sx and new.sy <= wanted.sy and (
                not even or new.fits()):
            found.append(new)
    return min(found, default=None, key=lambda p: (
        max(0, wanted.depth - p.depth), -p.sx - p.sy, p.depth))


def limited(pixels: Pixels) -> Pixels:
    r"""The same in the range that cameras use."""
    return replace(pixels, full=False)
