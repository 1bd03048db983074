r"""What becomes of a template: which part is edited, and how it is written."""
import math
from dataclasses import dataclass

from ..footage import CODECS
from ..utils.flags import check_choices, choice, names
from .settings import Idle


@dataclass(frozen=True)
class OutputSettings:
    r"""What comes out.

    Args:
        output: native is the template itself, its size, rate, length, sound
            and colours kept and the product replaced in it; model is the
            clip that the model made, of the model's size and rate.
        fps: frames of the template that are edited and written in a second;
            native is all of them, at their own times.
        start: seconds of the template at which the edit begins; what comes
            before is passed through.
        end: seconds at which it ends (default: with the template).
        crop: what the model sees of the template: auto, a window around the
            product; full, the whole frame; or x,y,width,height in pixels.
        codec: of the written video.
        crf: its quality, less is better and larger (default: the codec's
            own, good enough to see no difference).

    Raises:
        ValueError: a value that is not allowed.
    """
    output: str = choice('native', ('native', 'model'))
    fps: str = 'native'
    start: float = 0.0
    end: float | None = None
    crop: str = 'auto'
    codec: str = choice('x264', CODECS)
    crf: float | None = None

    def __post_init__(self):
        check_choices(self)
        if self.rate is not None and not 0 < self.rate <= 1000:
            raise ValueError(
                f'fps is {self.fps}, allowed are native and numbers above 0 '
                f'to 1000.')
        if self.start < 0 or (self.end is not None and self.end <= self.start):
            raise ValueError(
                f'start {self.start:g} and end {self.end} are seconds of the '
                f'template: start at least 0, end after it.')
        if isinstance(self.window, str) and self.window not in (
                'auto', 'full'):
            raise ValueError(
                f'crop is {self.crop!r}, allowed are auto, full and '
                f'x,y,width,height in pixels of the template.')

    @property
    def rate(self) -> float | None:
        r"""Frames a second; None for all."""
        if self.fps == 'native':
            return None
        try:
            rate = float(self.fps)
        except ValueError:
            return math.inf
        return math.inf if math.isnan(rate) else rate

    @property
    def window(self) -> str | tuple[int, ...]:
        r"""The crop as its name, or as four numbers."""
        parts = self.crop.split(',')
        if len(parts) == 4 and all(p.strip().isdecimal() for p in parts):
            return tuple(int(part) for part in parts)
        return self.crop.strip()

    @property
    def native(self) -> bool:
        return self.output == 'native'


def suffix_of(codec: str) -> str:
    r"""Of the usual file with a codec."""
    return '.mov' if codec == 'prores' else '.mp4'


# Of `Facts`; see `Idle`.
IDLE = (
    Idle(names(OutputSettings)[1:], lambda f: not f.output.native,
         "output model is the model's own clip"),
    Idle(('composite',), lambda f: f.output.native,
         'output native always puts the template back outside the mask'),
    Idle(('fit',), lambda f: f.output.native and f.output.window != 'full',
         'the model sees a window around the product (crop full is the whole '
         'frame)'),
)
