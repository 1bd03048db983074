r"""Samples of one video's size in one row of tokens, some only in part.

What is left out of a sample is read from another that has all tokens: its
keys and values stand for the missing ones, block by block, so that no block's
outlive it. A forward is told by its `share` and knows nothing else of it.
"""
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from .slots import Attend, RefSlot, T

# Of `Tokens`, what each token has of its own.
PER_TOKEN = ('x', 'rotation', 'control')


class Part(NamedTuple):
    r"""Which tokens of a sample are computed.

    Args:
        tokens: [n], int64, their places in the video, rising; None for all.
        rest: the number of the sample, one of all tokens, that the others
            are taken from.
    """
    tokens: Tensor | None = None
    rest: int = 0


class Pack:
    r"""A batch as one row: the `Share` of a forward.

    Args:
        parts: of the samples, all of one timestep.
        length: tokens of the video.
    """

    def __init__(self, parts: Sequence[Part], length: int):
        self.parts = tuple(parts)
        sizes = [length if part.tokens is None else len(part.tokens)
                 for part in parts]
        self.places = tuple(
            slice(stop - size, stop)
            for size, stop in zip(sizes, accumulate(sizes), strict=True))

    def split(self, tokens: T, attend: Attend) -> tuple[T, Attend]:
        r"""The tokens that are computed, and how they attend.

        Raises:
            ValueError: samples of unequal sizes.
        """
        if tokens.seq_lens is not None:
            raise ValueError(
                f'Samples in one row must be of one size, these are '
                f'{list(tokens.grids)}.')
        rows = {name: self._row(value) for name in PER_TOKEN
                if (value := getattr(tokens, name)) is not None}
        return tokens._replace(
            e=tokens.e[:1], e0=tokens.e0[:1], **rows), PackedAttention(
                self, attend)

    def gather(self, x: Tensor, length: int) -> list[Tensor]:
        r"""The row [1, n, C] as samples [L, C], what is missing filled in."""
        return [self.whole(x, i)[0] for i in range(len(self.parts))]

    def whole(self, x: Tensor, number: int) -> Tensor:
        r"""A sample's [1, L, ...] of a row [1, n, ...]."""
        own, part = x[:, self.places[number]], self.parts[number]
        if part.tokens is None:
            return own
        return x[:, self.places[part.rest]].index_copy(1, part.tokens, own)

    def _row(self, x: Tensor) -> Tensor:
        r"""[B or 1, L, ...] -> [1, n, ...]."""
        samples = x.expand(len(self.parts), *x.shape[1:])
        return torch.cat([
            sample if part.tokens is None else sample[part.tokens]
            for sample, part in zip(samples, self.parts, strict=True)])[None]


class PackedAttention:
    r"""Each sample of a row attends to its own video, and to its own text.

    Args:
        kernel: computes the attention of one sample.
    """

    def __init__(self, pack: Pack, kernel: Attend):
        self.pack, self.kernel = pack, kernel

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        k_lens: Tensor | None = None,
        window_size: tuple[int, int] = (-1, -1),
    ) -> Tensor:
        r"""[1, n, N, D] each, to the same.

        Raises:
            ValueError: a window, or lengths, were given.
        """
        if k_lens is not None or tuple(window_size) != (-1, -1):
            raise ValueError(
                f'Samples in one row attend to all of their video; got '
                f'k_lens {k_lens} and window_size {window_size}.')
        return torch.cat([
            self.kernel(
                q[:, place], self.pack.whole(k, i), self.pack.whole(v, i))
            for i, place in enumerate(self.pack.places)], dim=1)

    def local(
        self, q: Tensor, k: Tensor, v: Tensor, k_lens: Tensor | None = None
    ) -> Tensor:
        r"""q [1, n, N, D] to k and v [B, Lt, N, D], a text for each sample."""
        return torch.cat([
            self.kernel(
                q[:, place], k[i:i + 1], v[i:i + 1],
                k_lens=None if k_lens is None else k_lens[i:i + 1])
            for i, place in enumerate(self.pack.places)], dim=1)


class PackedSlot:
    r"""One block's slots of the samples of a row, each by itself.

    A sample's slot sees its queries, and the keys and values of all of its
    video; the keys that are not rotated are its own tokens' alone.

    Args:
        slots: by the number of the sample; made for `Chosen` tokens where it
            has only some.
    """

    def __init__(self, pack: Pack, slots: Mapping[int, RefSlot]):
        self.pack, self.slots = pack, slots

    def __call__(self, q, k, v, x, q_rotated, k_rotated):
        x = x.clone()
        for i, slot in self.slots.items():
            own = self.pack.places[i]
            x[:, own] = slot(
                q[:, own], k[:, own], self.pack.whole(v, i), x[:, own],
                q_rotated[:, own], self.pack.whole(k_rotated, i))
        return x


def packed_slots(
    pack: Pack, slots: Mapping[int, Sequence[RefSlot | None]]
) -> list[RefSlot | None] | None:
    r"""One slot for each block; None where no sample has any.

    Args:
        slots: for each block, by the number of the sample.
    """
    if not slots:
        return None
    blocks = (
        {i: slot for i, slot in zip(slots, block, strict=True)
         if slot is not None} for block in zip(*slots.values(), strict=True))
    return [PackedSlot(pack, block) if block else None for block in blocks]


class Chosen:
    r"""Some tokens of a video to what reads for them: to it, a `Share`.

    Args:
        tokens: see `Part`.
    """

    def __init__(self, tokens: Tensor):
        self.tokens = tokens

    def part(self, length: int) -> Tensor:
        r"""Which of `length` tokens they are."""
        return self.tokens

    def gather(self, x: Tensor, length: int) -> Tensor:
        r"""Keys and values, which are the whole video's."""
        return x

    def total(self, x: Tensor) -> Tensor:
        r"""A sum over them, which no other process adds to."""
        return x
