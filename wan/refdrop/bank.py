r"""The reference bank: K and V of a product photo, captured once, read often.

Capture: one forward of the photo's one-frame latent; each block's slot keeps
the keys after `norm_k`, unrotated, and the values, and returns the attention
as it is. Read: each block's slot attends from the video's queries to the kept
keys and blends the result with the self-attention's. Nothing is stored on the
model and nothing in the bank changes while it is read.
"""
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from ..modules.attention import attention
from ..modules.model import RefSlot, rotate
from ..modules.rope import token_grid
from .blend import MATCH_STATS, blend
from .config import RefConfig
from .positions import place


@dataclass(frozen=True)
class Reference:
    r"""One photo in the bank.

    Args:
        keys: of each block, [1, Lr, N, D], normed and not rotated.
        values: of each block, [1, Lr, N, D].
        grid: the photo's tokens (frames, rows, columns), Lr in all.
        mask: [Lr], true for the product's tokens; None for all of them.
    """
    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    grid: tuple[int, int, int]
    mask: torch.Tensor | None = None

    @property
    def product(self) -> torch.Tensor:
        r"""Indices of the product's tokens, on the CPU."""
        if self.mask is None:
            return torch.arange(self.keys[0].size(1))
        return self.mask.flatten().nonzero().flatten().cpu()

    def to(self, device: torch.device | str) -> 'Reference':
        r"""The same reference with keys and values on a device."""
        keys, values = (
            tuple(t.to(device) for t in part)
            for part in (self.keys, self.values))
        return replace(self, keys=keys, values=values)

    @property
    def box(self) -> torch.Tensor:
        r"""[4], top, left, bottom, right of the product's tokens."""
        where = torch.stack(torch.unravel_index(
            self.product, self.grid))[1:]
        return torch.cat([where.amin(1), where.amax(1) + 1])


class _Recorder:
    r"""A slot that keeps what it sees."""

    def __init__(self):
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    def __call__(self, q, k, v, x, *_):
        self.keys.append(k.to(v.dtype))
        self.values.append(v)
        return x


def capture(
    model: Callable,
    latent: torch.Tensor,
    context: Sequence[torch.Tensor],
    levels: Sequence[float] = (0.,),
    noise: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
) -> Reference:
    r"""Run the photo through the model and keep every block's K and V.

    Args:
        model: a `WanModel`.
        latent: [C, 1, h, w], the photo encoded as the video is (more frames
            are a reference as well).
        context: the target prompt, as for sampling.
        levels: sigmas to run at; keys and values are averaged over them.
        noise: like `latent`; mixes each level's noise into it. None leaves
            it clean and moves only the timestep.
        mask: [Lr], true for the product's tokens.
    """
    depth = len(model.blocks)
    grid = token_grid(latent.shape, model.patch_size)
    keys = values = None
    for level in levels:
        x = latent if noise is None else (1 - level) * latent + level * noise
        slot = _Recorder()
        model([x], t=torch.tensor([1000. * level], device=latent.device),
              context=context, seq_len=math.prod(grid), ref=[slot] * depth)
        share = 1 / len(levels)
        k, v = ([part * share for part in kept]
                for kept in (slot.keys, slot.values))
        keys = k if keys is None else [a + b for a, b in zip(
            keys, k, strict=True)]
        values = v if values is None else [a + b for a, b in zip(
            values, v, strict=True)]
    return Reference(tuple(keys), tuple(values), grid, mask)


class _View(NamedTuple):
    r"""How one photo is read, the same in every block."""
    reference: Reference
    weight: float
    kept: torch.Tensor  # [Lk], indices of the tokens that are read
    query: torch.Tensor | None  # rotation of what reads; None is the video's
    key: torch.Tensor  # rotation of the kept tokens


class _Reader:
    r"""A slot that blends one block's attention with the references'.

    Only the samples (`rows`) and tokens that read are computed.
    """

    def __init__(self, views: Sequence[_View], layer: int, stats: str,
                 rows: torch.Tensor, tokens: torch.Tensor | None):
        self.views, self.layer, self.stats = views, layer, stats
        self.rows, self.tokens = rows, tokens

    def __call__(self, q, k, v, x, grid_sizes, rotation, q_rotated):
        where = self._where(x)
        own = x[where]
        refs = []
        for view in self.views:
            query = q_rotated[where] if view.query is None \
                else rotate(q[where], view.query, v.dtype)
            refs.append(self._attend(view, query, own))
        out = blend(own, refs, [view.weight for view in self.views])
        if own.shape == x.shape:
            return out
        return x.index_put(where, out)

    def _where(self, x):
        r"""Indices of what reads, to select from [B, L, N, D]."""
        if self.tokens is not None:
            return self.rows[:, None], self.tokens
        # A whole batch is a view, not a copy.
        return (slice(None) if len(self.rows) == len(x) else self.rows,)

    def _attend(self, view, query, own):
        key, value = (
            part[self.layer][:, view.kept]
            for part in (view.reference.keys, view.reference.values))
        key, value = (
            part.expand(len(query), -1, -1, -1) for part in (
                rotate(key, view.key, query.dtype), value.to(query.dtype)))
        return MATCH_STATS[self.stats](attention(query, key, value), own)


@dataclass(frozen=True)
class Bank:
    r"""References and how they are read.

    Raises:
        ValueError: not one c for each reference.
    """
    references: tuple[Reference, ...]
    config: RefConfig

    def __post_init__(self):
        if len(self.references) != len(self.config.ref_c):
            raise ValueError(
                f'{len(self.references)} product photos need as many values '
                f'of ref_c, got {len(self.config.ref_c)}.')

    def slots(
        self,
        reads: Sequence[bool],
        grid: tuple[int, int, int],
        mask: torch.Tensor | None = None,
        boxes: torch.Tensor | None = None,
    ) -> list[RefSlot | None] | None:
        r"""One slot for each block, for `WanModel.forward(ref=...)`.

        Args:
            reads: for each sample of the batch, whether it reads.
            grid: the video's tokens (frames, rows, columns).
            mask: [frames * rows * columns], true where c applies.
            boxes: [frames, 4], the product in each frame, for 'box'.

        Returns:
            None when nothing would be read, which is a plain forward.
        """
        depth = len(self.references[0].keys)
        layers = self.config.layers(depth)
        rows = [i for i, read in enumerate(reads) if read]
        if not rows or not layers or not any(self.config.ref_c) or (
                mask is not None and not mask.any()):
            return None
        device = self.references[0].keys[0].device
        tokens = None if mask is None else mask.nonzero().flatten().to(device)
        views = [
            self._view(reference, c, grid, tokens, boxes)
            for reference, c in zip(
                self.references, self.config.ref_c, strict=True) if c
        ]
        rows = torch.tensor(rows, device=device)
        return [
            _Reader(views, i, self.config.ref_stats, rows, tokens)
            if i in layers else None for i in range(depth)
        ]

    def _view(self, reference, weight, grid, tokens, boxes) -> _View:
        keys = reference.keys[0]
        query, key = place(
            self.config.ref_rope, grid, reference.grid, keys.size(-1), boxes,
            reference.box).to(keys.device)
        kept = reference.product if self.config.ref_key_mask \
            else torch.arange(keys.size(1))
        kept = kept.to(keys.device)
        if query is not None and tokens is not None:
            query = query[:, tokens]
        return _View(reference, weight, kept, query, key[:, kept])
