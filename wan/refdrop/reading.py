r"""Reading the bank: each block's slot attends from the video's queries to
the kept keys, or to these and its own, and blends the result with the
self-attention's.

Nothing in the bank changes while it is read. A slot holds the keys and values
of its own block alone, so that all blocks are one graph to torch.compile.
"""
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import torch

from ..modules.attention import attention
from ..modules.packing import Chosen
from ..modules.rope import Grid, rotate
from ..modules.slots import RefSlot, Share
from .bank import Reference
from .blend import MATCH_STATS, blend
from .config import RefConfig
from .positions import place


class View(NamedTuple):
    r"""How a block reads one photo.

    Args:
        key, value: [1, Lk, N, D], the tokens that are read, not rotated.
        key_rotation: [1, Lk, 1, D / 2].
        query_rotation: [1, L, 1, D / 2] of what reads; None is the video's.
        weight: c.
    """
    key: torch.Tensor
    value: torch.Tensor
    key_rotation: torch.Tensor
    query_rotation: torch.Tensor | None
    weight: float

    def kept(self, query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        r"""Keys, rotated, and values for queries [B, L, N, D]."""
        key = rotate(self.key, self.key_rotation, query.dtype)
        return tuple(part.expand(len(query), -1, -1, -1)
                     for part in (key, self.value.to(query.dtype)))


class ReadingSlot:
    r"""A slot that blends one block's attention with the references'.

    Only the samples (`rows`) and tokens that read are computed.

    Args:
        views: of the photos.
        stats: key of `MATCH_STATS`.
        where: indices of what reads, to select from [B, L, N, D].
        attend: computes the attention.
        share: as of `reading_slots`.
    """

    def __init__(
        self,
        views: tuple[View, ...],
        stats: str,
        where: tuple[torch.Tensor | slice, ...],
        attend: Callable[..., torch.Tensor] = attention,
        share: Share | None = None,
    ):
        self.views, self.stats = views, stats
        self.where, self.attend = where, attend
        self.total = None if share is None else share.total

    def __call__(self, q, k, v, x, q_rotated, k_rotated):
        own = x[self.where]
        refs = [self._read(view, q, v, q_rotated, own) for view in self.views]
        return self._put(
            x, blend(own, refs, [view.weight for view in self.views]))

    def _put(self, x, out):
        if out.shape == x.shape:
            return out
        x = x.clone()
        x[self.where] = out
        return x

    def _read(self, view, q, v, q_rotated, own):
        match = MATCH_STATS[self.stats]
        if not own.size(1):  # none of this process's tokens
            return match(own, own, self.total)
        query = q_rotated[self.where] if view.query_rotation is None \
            else rotate(q[self.where], view.query_rotation, v.dtype)
        return match(
            self.attend(query, *view.kept(query)), own, self.total)


class JointSlot(ReadingSlot):
    r"""A slot that attends to the block's own tokens and the references' in
    one softmax, and blends that with the attention to its own alone.

    The softmax is the blend of two with a gate for each query and head,
    sigmoid(lse_ref - lse_own), lse the log-sum-exp of each one's logits.

    Args:
        views: of the photos, all of one weight; queries keep their rotation.
        rows: of the samples that read.
        tokens: of a whole video; its keys must all be there, or in the other
            processes.
        where, attend, share: see `ReadingSlot`.
    """

    def __init__(
        self,
        views: tuple[View, ...],
        rows: slice | torch.Tensor,
        tokens: int,
        where: tuple[torch.Tensor | slice, ...],
        attend: Callable[..., torch.Tensor] = attention,
        share: Share | None = None,
    ):
        super().__init__(views, 'none', where, attend, share)
        self.rows, self.tokens, self.share = rows, tokens, share

    def __call__(self, q, k, v, x, q_rotated, k_rotated):
        if self.share is not None:
            k_rotated, v = (
                self.share.gather(part.flatten(2), self.tokens).unflatten(
                    2, part.shape[2:]) for part in (k_rotated, v))
        if k_rotated.size(1) != self.tokens:
            raise ValueError(
                f"ref_gate joint reads a whole video's {self.tokens} tokens, "
                f'but {k_rotated.size(1)} are there.')
        query = q_rotated[self.where]
        if not query.size(1):  # none of this process's tokens
            return x
        keys, values = zip(
            (k_rotated[self.rows], v[self.rows]),
            *(view.kept(query) for view in self.views), strict=True)
        joint = self.attend(query, torch.cat(keys, 1), torch.cat(values, 1))
        return self._put(
            x, blend(x[self.where], [joint], [self.views[0].weight]))


def reading_slots(
    references: Sequence[Reference],
    config: RefConfig,
    reads: Sequence[bool],
    grid: Grid,
    mask: torch.Tensor | None = None,
    boxes: torch.Tensor | None = None,
    attend: Callable[..., torch.Tensor] = attention,
    share: Share | None = None,
) -> list[RefSlot | None] | None:
    r"""One slot for each block, for `WanModel.forward(ref=...)`.

    Args:
        references: the bank.
        config: how it is read.
        reads: for each sample of the batch, whether it reads.
        grid: the video's tokens.
        mask: [frames * rows * columns], true where c applies.
        boxes: [frames, 4], the product in each frame, for 'box'.
        attend: computes the attention.
        share: of the tokens, which alone it reads for; None has all of them.

    Returns:
        None when nothing would be read, which is a plain forward.

    Raises:
        ValueError: not one c for each reference, see `RefConfig.ref_c`.
    """
    config.check_photos(len(references))
    depth = len(references[0].keys)
    layers = config.layers(depth)
    rows = [i for i, read in enumerate(reads) if read]
    if not rows or not layers or not any(config.ref_c) or (
            mask is not None and not mask.any()):
        return None
    device = references[0].keys[0].device
    length = math.prod(grid)
    tokens = torch.arange(length)
    if share is not None:
        part = share.part(length)
        tokens = tokens[part if isinstance(part, slice) else part.cpu()]
    index = torch.tensor(rows, device=device)
    # A whole batch is a view, not a copy.
    samples = slice(None) if len(rows) == len(reads) else index
    where = samples, slice(0, len(tokens))
    if mask is not None:
        own = mask.cpu()[tokens].nonzero().flatten()
        where, tokens = (index[:, None], own.to(device)), tokens[own]
    tokens = tokens.to(device)
    weights = [sum(config.ref_c)] * len(references) if config.joint \
        else config.ref_c
    views = [
        _views(reference, c, config, grid, tokens, boxes,
               sum(other.grid[0] for other in references[:n]))
        for n, (reference, c) in enumerate(
            zip(references, weights, strict=True)) if c]
    kind = partial(JointSlot, rows=samples, tokens=length) \
        if config.joint else partial(ReadingSlot, stats=config.ref_stats)
    return [
        kind(photos, where=where, attend=attend, share=share)
        if i in layers else None
        for i, photos in enumerate(zip(*views, strict=True))]


def _views(
    reference, weight, config, grid, tokens, boxes, before
) -> list[View]:
    r"""For each block how it reads a photo."""
    keys = reference.keys[0]
    query, key = place(
        config.ref_rope, grid, reference.grid, keys.size(-1), boxes,
        reference.box, before).to(keys.device)
    if query is not None:
        query = query[:, tokens]
    kept = slice(None)
    if config.ref_key_mask and reference.mask is not None:
        kept = reference.product.to(keys.device)
    key = key[:, kept]
    return [
        View(k[:, kept], v[:, kept], key, query, weight)
        for k, v in zip(reference.keys, reference.values, strict=True)]


@dataclass
class Reader:
    r"""Reads a bank in the branches and steps that the settings name.

    It is the `Slots` of an edit, see `wan.velocity`.

    Args:
        recall: a step's sigma -> the references to read there.
        config: the settings.
        steps: {timestep: sigma} of the steps, in their order.
        grid: the video's tokens.
        mask, boxes, attend, share: see `reading_slots`.
    """
    recall: Callable[[float], tuple[Reference, ...]]
    config: RefConfig
    steps: dict[float, float]
    grid: Grid
    mask: torch.Tensor | None = None
    boxes: torch.Tensor | None = None
    attend: Callable[..., torch.Tensor] = attention
    share: Share | None = None
    _made: dict[tuple[bool, ...], list[RefSlot | None] | None] = field(
        default_factory=dict, init=False)
    _at: float | None = field(default=None, init=False)

    def __post_init__(self):
        falling = sorted(self.steps, reverse=True)
        self._active = frozenset(
            t for i, t in enumerate(falling)
            if self.config.active(i, len(falling)))
        self._something = any(self.config.ref_c) and (
            self.mask is None or bool(self.mask.any()))

    def part(self, frames: slice) -> 'Reader':
        r"""What reads the same bank in some of the video's frames, which are
        a video of their own to it."""
        count, *sides = self.grid
        mask, boxes = self.mask, self.boxes
        return replace(
            self, grid=(len(range(count)[frames]), *sides),
            mask=None if mask is None
            else mask.view(self.grid)[frames].flatten(),
            boxes=None if boxes is None else boxes[frames])

    def at(self, tokens: torch.Tensor) -> 'Reader':
        r"""What reads the same bank in some of the video's tokens, [n]."""
        return replace(self, share=Chosen(tokens))

    def reads(self, branch: str, t: float) -> bool:
        r"""Whether a branch reads at a timestep."""
        return self._something and t in self._active \
            and branch in self.config.reading

    def __call__(
        self, reads: Sequence[bool], t: float
    ) -> list[RefSlot | None] | None:
        r"""Slots of all blocks for a batch of which some samples read."""
        reads = tuple(reads)
        if self.config.matched and t != self._at:
            # Another bank: what was read from the last one goes first.
            self._made, self._at = {}, t
        if reads not in self._made:
            self._made[reads] = reading_slots(
                self.recall(self.steps[t]), self.config, reads, self.grid,
                self.mask, self.boxes, self.attend, self.share)
        return self._made[reads]
