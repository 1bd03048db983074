r"""The planes that an edit is laid on: the template's own where it has some."""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wan.footage.colours import coded
from wan.footage.footage import Footage
from wan.footage.pixels import REPACKED, Pixels
from wan.utils.colour import BT709

LIMITED = 1  # in ffmpeg's numbers of ranges


@dataclass(frozen=True)
class Ground:
    r"""What is under the patches of a template, and how it is told.

    Attributes:
        pixels: the planes.
        native: whether they are the template's own, as coded; else its
            frames as shown, brought to 4:2:0 of BT.709 once.
        turn: how they are shown, see `Turn`.
        tags: numbers of H.273 and ffmpeg's of the range, to be written.
        aspect: of a pixel, width by height.
    """
    pixels: Pixels
    native: bool
    turn: tuple[bool, bool, bool]
    tags: dict[str, int]
    aspect: float = 1.

    @classmethod
    def of(cls, footage: Footage) -> 'Ground':
        r"""That of a template.

        Raises:
            ValueError: HDR that has no planes to be kept in, or a picture
                turned by something else than quarters.
        """
        stream, pixels = footage.info.stream, footage.pixels
        if pixels is None:
            if footage.colours_change:
                raise ValueError(
                    f'{footage.path} holds wide or HDR colours as '
                    f'{stream["pixels"]}, which cannot be kept; with output '
                    "model the result is the model's own clip in SDR.")
            return cls(Pixels(*footage.size, 1, 1), False, (False,) * 3, {
                'range': LIMITED, 'matrix': BT709, 'primaries': BT709,
                'transfer': BT709})
        if stream['turn'] is None:
            raise ValueError(
                f'{footage.path} is shown turned by {stream["rotation"]} '
                'degrees, which cannot be kept; with output model the result '
                "is the model's own clip.")
        tags = {name: stream[name] for name in (
            'range', 'matrix', 'primaries', 'transfer')}
        if pixels.full:
            tags['range'] = 2
        return cls(pixels, True, tuple(stream['turn']), tags, stream['aspect'])

    def notes(self, footage: Footage) -> Iterator[str]:
        r"""Sentences on what is not the template's own."""
        if not self.native:
            kind = footage.info.stream.get('pixels', 'pictures')
            yield (f'The template is stored as {kind}: it is brought to 4:2:0 '
                   'of BT.709 with 8 bits, as shown, before the edit is laid '
                   'over it.')
        elif footage.hdr:
            yield (f'The result stays {footage.hdr}; the edit is made in SDR '
                   'and brought back. Data on the mastering display and on '
                   'single frames are not kept.')
        elif footage.colours_change:
            yield ('The result keeps the colours of the template; the edit is '
                   'brought back to them.')
        if self.native and footage.info.stream['interlaced']:
            yield ('The template is interlaced; its frames are kept as they '
                   'are stored, but called progressive.')


def ground_planes(
    footage: Footage, ground: Ground, frames: Sequence[int],
) -> Iterator[list[np.ndarray]]:
    r"""The planes of each of `frames`, one frame at a time.

    Args:
        frames: rising numbers of stored frames.

    Raises:
        ValueError: the file has changed, or cannot be read.
    """
    pixels = ground.pixels
    if not ground.native:
        for frame in footage.shown_bytes(frames):
            yield [plane.round().astype(np.uint8) for plane in coded(
                frame / 255, pixels, BT709)]
        return
    footage.check(frames)
    name = footage.info.stream['pixels']
    again = name in REPACKED or name.endswith('be')
    for data in footage.raw(
            frames, pixels.frame_bytes,
            [f'format={pixels.name}'] if again else [], ('-noautorotate',)):
        yield pixels.planes(data)
