r"""Which slots a step of the editing loop gets."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from ..modules.model import RefSlot
from .bank import Bank, Reference
from .config import RefConfig


@dataclass
class ReferenceReader:
    r"""Reads a bank in the branches and steps that the settings name.

    Args:
        fill: levels in [0, 1] -> the references captured there.
        config: the settings.
        sigmas: the editing schedule, its 0 included.
        grid: the video's tokens (frames, rows, columns).
        mask: [frames * rows * columns], true where c applies; None
            everywhere.
        boxes: [frames, 4], the product in each frame in tokens.
    """
    fill: Callable[[Sequence[float]], tuple[Reference, ...]]
    config: RefConfig
    sigmas: Sequence[float]
    grid: tuple[int, int, int]
    mask: torch.Tensor | None = None
    boxes: torch.Tensor | None = None
    _level: float | None = field(default=None, init=False)
    _bank: Bank | None = field(default=None, init=False)
    _slots: dict[tuple[bool, ...], list[RefSlot | None] | None] = field(
        default_factory=dict, init=False)

    def __call__(
        self, names: Sequence[str], sigma: float
    ) -> list[RefSlot | None] | None:
        r"""Slots for a batch of the named branches at a level, or None."""
        reads = tuple(name in self.config.reading for name in names)
        steps = sorted((s for s in self.sigmas if s > 0), reverse=True)
        if not any(reads) or not self.config.active(
                steps.index(sigma), len(steps)):
            return None
        self.load(sigma)
        if reads not in self._slots:
            self._slots[reads] = self._bank.slots(
                reads, self.grid, self.mask, self.boxes)
        return self._slots[reads]

    def load(self, sigma: float) -> None:
        r"""Fill the bank: once, or at every level if it is matched."""
        level = sigma if self.config.matched else None
        if self._bank is None or level != self._level:
            levels = self.config.levels if level is None else (level,)
            self._bank = Bank(self.fill(levels), self.config)
            self._level, self._slots = level, {}
