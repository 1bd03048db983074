r"""What the benchmark asks, in any world, and what an edit is held against."""
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image
from torch import Tensor

from .measures import measure


@dataclass(frozen=True)
class Answer:
    r"""All that an edit of a pair is held against.

    Args:
        source, truth, background: template, true answer, and neither's
            product, [3, T, H, W] in [-1, 1].
        old, new: where template and truth show their product, [T, H, W] in
            [0, 1].
    """
    source: Tensor
    truth: Tensor
    background: Tensor
    old: Tensor
    new: Tensor

    # How the template's product stands, where that is known.
    stand = None

    def measure(self, edited: Tensor) -> dict[str, float]:
        r"""The measures of an edited clip; some worlds' may be missing."""
        return measure(edited, self.truth, self.source, self.new, self.old,
                       self.background)


class Question(Protocol):
    r"""A template, photos of another product, and what is known of them.

    Attributes:
        seed: of the noise of every edit of it.
        clip, truth: scenes of its world: the template's and the answer's.
        words: the products' names in source and target prompt.
        anchor: the frame whose side of the product the photos show; None
            where that is not told.
    """
    seed: int
    clip: Any

    @property
    def truth(self) -> Any: ...

    @property
    def words(self) -> tuple[str, str]: ...

    @property
    def anchor(self) -> int | None: ...

    def prompts(self, caption: str) -> tuple[str, str]:
        r"""Source and target prompt, caption 'full' or 'hidden'."""

    def photos(self, taken: str, which: str) -> Sequence[Image.Image]:
        r"""RGBA photos of the 'right' or of the 'wrong' product.

        Args:
            taken: how, see `Row.taken`.
        """

    def angles(self, taken: str) -> tuple[float, ...]:
        r"""The photos' `view_angles`; none where they are not told."""

    def answer(self) -> Answer:
        r"""What edits are held against, rendered."""
