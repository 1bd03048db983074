r"""How the product is looked for, as one value."""
from dataclasses import dataclass
from typing import Protocol

import torch

from .hint import Hint


class Segmenter(Protocol):
    r"""A network of another kind that finds the product.

    Attributes:
        needs_place: whether it follows a hint, and finds nothing without.
    """
    needs_place: bool

    def mask(
        self, video: torch.Tensor, words: str, hint: Hint | None
    ) -> torch.Tensor | None:
        r"""Where the product is in a video.

        Args:
            video: [3, F, H, W] in [-1, 1].
            words: that name the product.
            hint: where it is in one frame.

        Returns:
            [F, H, W] on the CPU, 0 or 1; None when nothing is found.
        """


@dataclass(frozen=True)
class Finding:
    r"""How the product is looked for where no mask is given.

    Args:
        use_words: let the attention to the words that name it help.
        hint: where it is in one frame, in pixels of the video.
        segmenter: that is asked; None looks with the video model alone.
        words: for the segmenter.
    """
    use_words: bool = True
    hint: Hint | None = None
    segmenter: Segmenter | None = None
    words: str = ''

    @property
    def asks_model(self) -> bool:
        r"""Whether the video model looks, be it for the segmenter's hint."""
        return self.segmenter is None or (
            self.segmenter.needs_place and self.hint is None)

    def mask(
        self, video: torch.Tensor, found: torch.Tensor | None
    ) -> torch.Tensor | None:
        r"""The mask [F, H, W], 0 or 1; None when nothing tells.

        Args:
            video: [3, F, H, W] in [-1, 1].
            found: the mask that the video model has found, if it was asked.
        """
        if self.segmenter is None:
            return found
        hint = self.hint
        if self.segmenter.needs_place and hint is None:
            hint = None if found is None else Hint.typical(found)
            if hint is None:
                return None
        return self.segmenter.mask(video.cpu(), self.words, hint)


AUTO = Finding()
