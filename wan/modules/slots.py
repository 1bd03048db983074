r"""The seams of the attention layers: what may be put in from outside."""
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import torch

# Called by a block's self-attention as slot(q, k, v, x, q_rotated, k_rotated)
# -> x, all [B, L, N, D]; q and k are normed, and rotated only where their name
# says so; x is the result so far.
RefSlot = Callable[..., torch.Tensor]
# Called by a block's cross-attention as slot(q, k, v, x) -> x; q and x are
# [B, L, N, D], k and v [B, Lt, N, D] of the text.
CrossSlot = Callable[..., torch.Tensor]
# (q, k, v, ...) -> x, see `attention`: the kernel, or what shares the tokens
# between processes. That has the kernel as `local`, for keys that every
# process has.
Attend = Callable[..., torch.Tensor]

# The `Tokens` of a model.
T = TypeVar('T')


class Share(Protocol):
    r"""The tokens of a forward spread over processes, or some left out."""

    def split(self, tokens: T, attend: Attend) -> tuple[T, Attend]:
        r"""This process's tokens, and how they attend to all of them."""

    def gather(
        self, x: torch.Tensor, length: int
    ) -> torch.Tensor | Sequence[torch.Tensor]:
        r"""What is here, [B, n, C], and all others' as B [length, C]."""

    def part(self, length: int) -> slice | torch.Tensor:
        r"""Which of `length` tokens are here, padding left out."""

    def total(self, x: torch.Tensor) -> torch.Tensor:
        r"""The sum over all processes."""


class TextKV(NamedTuple):
    r"""A batch of prompts as the cross-attentions need them.

    The text does not change while a video is sampled, so this is made once,
    by `WanModel.project_text`, and belongs to that model (and, for image to
    video, to one image). 2 * layers * B * text_len * dim values: 94 MB a
    prompt for the 1.3B model in bfloat16.

    Args:
        blocks: for each block keys and values of the text, [B, Lt, N, D]
            each, and then of the image's tokens where the model has them.
    """
    blocks: tuple[tuple[torch.Tensor, ...], ...]

    @classmethod
    def joined(cls, parts: Sequence['TextKV']) -> 'TextKV':
        r"""The prompts of several as one batch."""
        return cls(tuple(
            tuple(map(torch.cat, zip(*blocks, strict=True)))
            for blocks in zip(*(part.blocks for part in parts), strict=True)))
