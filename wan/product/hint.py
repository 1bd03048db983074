r"""Where a person says that the product is, in one frame: a box or a point.

A hint decides a case that the pictures leave open, such as two products of
one kind. `following` carries it through the other frames.
"""
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

# Radius of a point, as a share of the picture's shorter side.
DOT = 1 / 48

NUMBER = r'\s*(-?\d+(?:\.\d*)?)\s*'
FORMS = {'src_box': ('x,y,width,height', 4), 'src_point': ('x,y', 2)}


@dataclass(frozen=True)
class Hint:
    r"""A box, or a point, in one frame.

    Args:
        x, y: the point, or the box's left upper corner, in pixels; the
            picture begins at 0, 0.
        width, height: of the box, in pixels; both 0 for a point.
        frame: counted from 0.
    """
    x: float
    y: float
    width: float = 0.
    height: float = 0.
    frame: int = 0

    @classmethod
    def parse(cls, name: str, text: str) -> 'Hint':
        r"""Of 'x,y,width,height' or 'x,y', and '@frame' behind it.

        Args:
            name: of the setting, 'src_box' or 'src_point'.

        Raises:
            ValueError: another form, or a box of no size.
        """
        form, count = FORMS[name]
        found = re.fullmatch(
            ','.join([NUMBER] * count) + r'(?:@\s*(\d{1,9})\s*)?', text)
        if found is None:
            raise ValueError(
                f'{name} is {text!r}, expected {form} in pixels of the '
                f'template, or {form}@frame.')
        *numbers, frame = found.groups()
        hint = cls(*map(float, numbers), frame=int(frame or 0))
        if count == 4 and not (hint.width > 0 and hint.height > 0):
            raise ValueError(
                f'{name} is {text!r}: width and height must be above 0.')
        return hint

    @classmethod
    def around(cls, mask: torch.Tensor, frame: int) -> 'Hint | None':
        r"""The box around a frame of a mask [F, H, W]; None if it is empty."""
        rows, columns = (
            mask[frame].amax(dim).nonzero().flatten() for dim in (1, 0))
        if len(rows) == 0:
            return None
        x, y = int(columns[0]), int(rows[0])
        return cls(x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y,
                   frame)

    @classmethod
    def typical(cls, mask: torch.Tensor) -> 'Hint | None':
        r"""The box where a mask [F, H, W] has its median extent.

        Nearest to what is usual, so that a frame in which it leaks or is
        half hidden is not the one that others follow.
        """
        sizes = mask.sum((1, 2))
        seen = sizes[sizes > 0]
        if len(seen) == 0:
            return None
        away = (sizes - seen.median()).abs().masked_fill(
            sizes == 0, torch.inf)
        return cls.around(mask, int(away.argmin()))

    @property
    def is_point(self) -> bool:
        return not self.width and not self.height

    @property
    def corners(self) -> tuple[float, float, float, float]:
        r"""Left, upper, right and lower edge."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    def check(self, name: str, size: tuple[int, int], frames: int) -> None:
        r"""Check that it lies in a picture (width, height) and its frames.

        Raises:
            ValueError: it does not.
        """
        left, upper, right, lower = self.corners
        inside = left >= 0 and upper >= 0 and (
            left < size[0] and upper < size[1] if self.is_point
            else right <= size[0] and lower <= size[1])
        if not inside:
            raise ValueError(
                f'{name} is {self._text}, which does not lie in the '
                f'template of {size[0]}x{size[1]}.')
        if not self.frame < frames:
            raise ValueError(
                f'{name} is of frame {self.frame}, but of the template '
                f'{frames} frames are edited, 0 to {frames - 1}.')

    def seen(
        self, window: Sequence[float], size: tuple[int, int]
    ) -> 'Hint | None':
        r"""As it is in a part of the picture that is resized.

        Args:
            window: x, y, width and height of the part; it may reach beyond
                the picture.
            size: (width, height) that the part is brought to.

        Returns:
            None when nothing of it lies in the part.
        """
        x, y, width, height = window
        zoom = size[0] / width, size[1] / height
        left, upper, right, lower = (
            (edge - start) * factor for edge, start, factor in zip(
                self.corners, (x, y) * 2, zoom * 2, strict=True))
        if right < 0 or lower < 0 or left >= size[0] or upper >= size[1]:
            return None
        left, right = (min(max(e, 0.), size[0]) for e in (left, right))
        upper, lower = (min(max(e, 0.), size[1]) for e in (upper, lower))
        if not self.is_point and not (left < right and upper < lower):
            return None
        return replace(self, x=left, y=upper, width=right - left,
                       height=lower - upper)

    def scaled(
        self, size_from: tuple[int, int], size_to: tuple[int, int],
        fit: str = 'crop',
    ) -> 'Hint | None':
        r"""As it is in the whole picture, fitted to a size.

        Args:
            size_from, size_to: (width, height) in pixels.
            fit: 'crop' cuts the overhang off evenly, 'pad' adds bars.

        Returns:
            None when it lies in what is cut off.
        """
        pick = min if fit == 'crop' else max
        shrink = pick(a / b for a, b in zip(size_from, size_to, strict=True))
        width, height = (shrink * side for side in size_to)
        return self.seen(((size_from[0] - width) / 2,
                          (size_from[1] - height) / 2, width, height),
                         size_to)

    def retimed(self, fps_from: float, fps_to: float, frames: int) -> 'Hint':
        r"""At the frame shown at its time, of so many at another rate."""
        frame = round(self.frame * fps_to / fps_from)
        return replace(self, frame=min(frame, frames - 1))

    def marks(self, size: Sequence[int], grow: float = 0.) -> torch.Tensor:
        r"""[h, w], 1 at its cells, of which at least one is, else 0.

        Args:
            size: (h, w, H, W), of the cells and of the picture in pixels.
            grow: of a box, by this share of its sides to each side.
        """
        h, w, height, width = size
        cells = (width / w, height / h)
        centre = self.x + self.width / 2, self.y + self.height / 2
        dot = DOT * min(height, width) if self.is_point else 0.
        lines = []
        for middle, side, cell, count in zip(
                centre, (self.width, self.height), cells, (w, h),
                strict=True):
            reach = max(side * (.5 + grow) + dot, cell / 2)
            places = (torch.arange(count) + .5) * cell
            line = (places - middle).abs() <= reach
            line[min(int(middle / cell), count - 1)] = True
            lines.append(line)
        return (lines[1][:, None] & lines[0]).float()

    @property
    def _text(self) -> str:
        numbers = (self.x, self.y) if self.is_point else (
            self.x, self.y, self.width, self.height)
        return ','.join(f'{number:g}' for number in numbers)
