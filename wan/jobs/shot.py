r"""The part of a template that is edited, and what the model sees of it."""
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from ..footage import Footage
from ..product.view import (
    Size,
    View,
    around,
    coarse_size,
    resized,
    squeezed,
    whole,
)
from ..utils import disk
from ..utils.image import read_mask_image
from ..utils.mask_file import is_still
from ..utils.progress import Progress

# Seconds by which a mask may be longer: containers round.
SLACK = 0.5


def opened(path: str) -> Footage:
    r"""A video, looked into once as long as it stays as it is: the products
    of a catalogue share it.

    Raises:
        ValueError: see `Footage.open`.
    """
    found = _looked_into(path, os.path.realpath(path))
    try:
        found.unchanged()
    except ValueError:
        _looked_into.cache_clear()
        found = _looked_into(path, os.path.realpath(path))
    return found


@lru_cache(maxsize=8)
def _looked_into(path: str, real: str) -> Footage:
    return Footage.open(path)


@dataclass(frozen=True)
class Mask:
    r"""A mask of the template that is given, read frame by frame.

    Args:
        path: of a video, a folder of pictures, or one picture.
        numbers: for each edited frame the mask's stored frame; None for a
            picture, which holds for all.
    """
    path: str
    numbers: tuple[int, ...] | None

    @classmethod
    def of(cls, path: str, template: Footage, frames: Sequence[int]) -> 'Mask':
        r"""A mask of a template, of which some frames are edited.

        Raises:
            ValueError: unreadable, or not as long as the template or as its
                part that is edited.
        """
        if is_still(path):
            return cls(path, None)
        mask = opened(path)
        count, seconds = len(mask.times), mask.duration
        if count == len(template.times):
            return cls(path, tuple(frames))
        if count == len(frames):
            return cls(path, tuple(range(count)))
        if abs(seconds - template.duration) > SLACK:
            raise ValueError(
                f'src_mask {path} has {count} frames ({seconds:.2f} s), the '
                f'template {len(template.times)} ({template.duration:.2f} s), '
                f'of which {len(frames)} are edited: as many as either are '
                f'needed.')
        times = torch.tensor(mask.times)
        return cls(path, tuple(
            int((times - template.times[i]).abs().argmin()) for i in frames))

    def frames(self, count: int) -> Iterator[torch.Tensor]:
        r"""[1, h, w] in [0, 1] for each edited frame."""
        if self.numbers is None:
            image = read_mask_image(self.path)
            data = torch.frombuffer(
                bytearray(image.convert('L').tobytes()), dtype=torch.uint8)
            still = data.view(1, image.height, image.width).float() / 255
            for _ in range(count):
                yield still
            return
        wanted = Counter(self.numbers)  # near in time may be one for several
        shown = opened(self.path).shown(sorted(wanted), ground='black')
        for number, frame in zip(sorted(wanted), shown, strict=True):
            for _ in range(wanted[number]):
                # In bytes, as a picture or a lossless copy has it.
                yield ((frame.mean(0, keepdim=True) + 1) * 127.5).round() / 255


@dataclass(frozen=True)
class Found:
    r"""A mask that was found, read as one that was written to a file is.

    Args:
        cells: [F, h, w] in [0, 1], small, of the edited frames.
        size: of the template.
    """
    cells: torch.Tensor
    size: Size

    def frames(self, count: int) -> Iterator[torch.Tensor]:
        r"""[1, h, w], 0 or 1, for each edited frame."""
        for frame in self.cells[:count]:
            yield (resized(frame[None], self.size) > 0.5).float()


@dataclass(frozen=True)
class Shot:
    r"""What is edited of a template.

    Args:
        footage: the template.
        frames: numbers of its frames that are edited.
        written: numbers of those that are written; None for all.
        size: (width, height) that the model sees.
        view: the window; None until the product is found.
        mask: where the product is; None as long as that is not known.
    """
    footage: Footage
    frames: tuple[int, ...]
    written: tuple[int, ...] | None
    size: Size
    view: View | None
    mask: Mask | Found | None = None

    @property
    def count(self) -> int:
        r"""Frames that the model is shown: 4n + 1, the last one repeated."""
        return (len(self.frames) + 2) // 4 * 4 + 1

    @property
    def everything(self) -> View:
        r"""The whole frame, padded."""
        return whole(
            self.footage.size, self.size, len(self.frames), pad=True)

    @property
    def searched(self) -> View:
        r"""The whole frame, in which the product is looked for."""
        return squeezed(self.footage.size, self.size, len(self.frames))

    def seen(self, view: View, progress: Progress) -> torch.Tensor:
        r"""The clip [3, F, h, w] in [-1, 1] that the model sees.

        Raises:
            ValueError: the template is no longer what it was.
        """
        self.footage.unchanged()
        total = len(self.frames)
        with progress.stage('read the template', total) as step:

            def counted():
                for i, frame in enumerate(self.footage.shown(self.frames)):
                    yield frame
                    step(i + 1, total)

            return self._clip(counted(), 3, view, -1.)

    def masked(self, view: View) -> torch.Tensor:
        r"""The mask [F, h, w], 0 or 1, as the model sees it."""
        return (self._clip(self.mask.frames(len(self.frames)), 1, view, 0.)[
            0] > 0.5).float()

    def _clip(self, pictures, channels, view, ground):
        width, height = view.size
        clip = disk.empty((channels, self.count, height, width))
        for i, picture in enumerate(pictures):
            clip[:, i] = view.take(picture, i, ground)
        clip[:, len(self.frames):] = clip[:, len(self.frames) - 1, None]
        return clip

    def at(self, view: View) -> 'Shot':
        return replace(self, view=view)

    def having(self, found: torch.Tensor) -> 'Shot':
        r"""With a mask [F, h, w] of the whole template that was found."""
        return replace(self, mask=Found(found, self.footage.size))

    def around(self, mask: torch.Tensor | None) -> 'Shot':
        r"""With a window around a mask [F, h, w] of the template's aspect;
        None, or one that marks nothing, is the whole frame."""
        if mask is None or not (mask > 0.5).any():
            return self.at(self.everything)
        return self.at(around(mask, self.footage.size, self.size))

    def coarse(self) -> torch.Tensor:
        r"""The mask [F, h, w], small, of the whole template."""
        size = coarse_size(self.footage.size)
        return torch.cat([
            resized(frame, size)
            for frame in self.mask.frames(len(self.frames))])

    def known_mask(self) -> torch.Tensor | None:
        r"""What `masked` gives, if window and mask are known by now."""
        if self.mask is None or self.view is None:
            return None
        return self.masked(self.view)

    def outside(self, mask: torch.Tensor, view: View) -> torch.Tensor:
        r"""A mask [F, h, w] that was found in a view, of the whole template,
        small: [F, h', w']."""
        size = coarse_size(self.footage.size)
        return torch.cat([
            view.put(mask[i][None].float(), i, size)
            for i in range(len(self.frames))])
