r"""How planes are compressed, and what a codec cannot keep."""
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import av

from wan.footage.pixels import Pixels, limited, nearest
from wan.utils.video_writer import VIDEO_SUFFIXES


@dataclass(frozen=True)
class Encoder:
    r"""An encoder of ffmpeg's and its settings.

    Attributes:
        name: ffmpeg's.
        crf: its own default of quality, 0 best; None if it has no such knob.
        options: further settings.
        even: it takes no picture with an overhang of chroma.
        ranges: it can say that a picture has the full range.
        suffixes: containers that hold it.
        lossless: what is decoded is what was given.
    """
    name: str
    crf: float | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    even: bool = True
    ranges: bool = True
    suffixes: tuple[str, ...] = VIDEO_SUFFIXES
    lossless: bool = False

    @property
    def formats(self) -> list[str]:
        r"""ffmpeg's names of what it takes."""
        return [f.name for f in av.codec.Codec(self.name, 'w').video_formats]


# The first encoder that keeps most is taken.
CODECS: dict[str, tuple[Encoder, ...]] = {
    'x264': (Encoder('libx264', 10., {'preset': 'medium'}),),
    'x265': (Encoder('libx265', 8., {
        'preset': 'medium',
        'x265-params': 'log-level=none:psy-rd=0:psy-rdoq=0'}),),
    # One scale of rounding for all, whatever bytes it takes.
    'prores': (Encoder('prores_ks', options={
        'vendor': 'apl0', 'flags': '+qscale', 'global_quality': '472'},
        ranges=False, suffixes=('.mov', '.mkv')),),
    'lossless': (
        Encoder('libx264', options={'preset': 'medium', 'qp': '0'},
                lossless=True),
        Encoder('ffv1', options={'level': '3', 'slicecrc': '1'}, even=False,
                suffixes=('.mov', '.mkv'), lossless=True)),
}
MAX_CRF = 51.


@dataclass(frozen=True)
class Coding:
    r"""An encoder, with the format and settings for one template."""
    encoder: Encoder
    pixels: Pixels
    options: Mapping[str, str]
    notes: tuple[str, ...] = ()


def coding(
    pixels: Pixels, codec: str, crf: float | None, path: str | Path,
) -> Coding:
    r"""How planes are to be compressed into a file.

    Args:
        pixels: the planes to be kept.
        codec: a name of `CODECS`.
        crf: 0 (best) to 51; None for the codec's own default.
        path: of the file, whose ending names the container.

    Raises:
        ValueError: an unknown codec or ending, a container that does not
            hold the codec, or a `crf` that it has not.
    """
    suffix = Path(path).suffix.lower()
    if codec not in CODECS:
        raise ValueError(f'codec must be one of {", ".join(CODECS)}, not '
                         f'{codec!r}.')
    if suffix not in VIDEO_SUFFIXES:
        raise ValueError(f'{path} must end in one of '
                         f'{", ".join(VIDEO_SUFFIXES)}.')
    encoders = [e for e in CODECS[codec] if suffix in e.suffixes]
    if not encoders:
        raise ValueError(
            f'{path} cannot hold {codec}, a name ending in '
            f'{" or ".join(CODECS[codec][0].suffixes)} can.')
    if crf is not None and not any(e.crf is not None for e in encoders):
        raise ValueError(f'{codec} has no crf; x264 and x265 have.')
    if crf is not None and not 0 <= crf <= MAX_CRF:
        raise ValueError(f'crf must be within 0 (best) and {MAX_CRF:g}, not '
                         f'{crf:g}.')
    found = [(new, e) for e in encoders if (new := nearest(
        pixels if e.ranges else limited(pixels), e.formats, e.even))]
    # The first of those that lose least and store least beyond it.
    target, encoder = min(found, key=lambda f: (
        f[0].depth < pixels.depth, pixels.sx + pixels.sy - f[0].sx - f[0].sy))
    if encoder.lossless and target.depth < pixels.depth:
        raise ValueError(
            f'{path} cannot hold {pixels.depth} bits without loss; a name '
            'ending in .mov or .mkv can.')
    options = dict(encoder.options)
    if encoder.crf is not None:
        options['crf'] = f'{encoder.crf if crf is None else crf:g}'
    if encoder.name == 'libx264' and not encoder.lossless and (
            not target.sx):  # where x264 codes chroma coarser than luma
        options['chromaoffset'] = '-6'
    if encoder.name == 'prores_ks':
        options['profile'] = 'hq' if target.sx else '4444'
    return Coding(encoder, target, options, tuple(_notes(
        pixels, target, codec)))


def _notes(pixels, target, codec):
    if target.depth < pixels.depth or (
            (target.sx, target.sy) != (pixels.sx, pixels.sy)) or (
            target.depth != pixels.depth):
        yield (f'{codec} stores the {pixels.words} of the template as '
               f'{target.words}.')
    if (target.sx, target.sy) == (0, 0) != (pixels.sx, pixels.sy) and (
            not pixels.fits()):
        yield (f'Sides of {pixels.width}x{pixels.height} are odd: some '
               'players do not play them.')
    if target.full != pixels.full:
        yield (f'{codec} stores the full range of the template as the '
               'limited one.')
