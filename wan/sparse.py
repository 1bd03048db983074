r"""Edit only what changes: the edit's branches on the product's tokens alone.

Outside of the product an edit is its source, and so are, nearly, the hidden
states of its branches (p) those of the source's (q). So q is evaluated on all
tokens and p on the region's; p's self-attention sees its own keys and values
and, of all other tokens, q's, in step block by block. Outside of the region
v_p is v_q: the update is 0 there, and the edit stays the source bit for bit.

A step of FlowAlign costs 1 + 2 s evaluations in place of 3, s being the
region's share of the tokens (with the reference's own guidance 1 + 3 s of 4).
A further edit of the same source, which reads the same q, adds 2 s.
"""
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .conditioning import Condition
from .edit_config import EditConfig
from .flowalign import BRANCHES, EDIT_METHODS, source_velocity
from .modules.packing import Pack, Part, packed_slots
from .modules.rope import token_grid
from .modules.slots import RefSlot
from .product.filters import dilate
from .product.masks import Region
from .utils.flags import check_choices, check_ranges, choice, ranged
from .velocity import Denoiser, Slots, Velocity
from .windows import WHOLE, check_common, windowed

# The methods with a source's branch to read from.
ABLE = tuple(
    name for name, method in EDIT_METHODS.items() if 'q' in method.branches)


@dataclass(frozen=True)
class SparseConfig:
    r"""Whether an edit is computed where the product is alone.

    Args:
        sparse: 'share' evaluates the edit only where the product is, old or
            new, and reads the rest from the template's own evaluation; 'off'
            evaluates it everywhere; 'auto' shares where the template is put
            back around the product anyway, and it can.
        sparse_margin: tokens (16 pixels) around the product that are
            evaluated too, 0 to 16.

    Raises:
        ValueError: a value that is not allowed.
    """
    sparse: str = choice('auto', ('auto', 'off', 'share'))
    sparse_margin: int = ranged(0, 0, 16)

    def __post_init__(self):
        check_choices(self)
        check_ranges(self)

    def resolved(self, shares: bool) -> 'SparseConfig':
        r"""What 'auto' stands for.

        Args:
            shares: whether it stands for 'share'.
        """
        if self.sparse != 'auto':
            return self
        return replace(self, sparse='share' if shares else 'off')

    def inside(
        self, region: Region | None, patch_size: Sequence[int]
    ) -> Tensor | None:
        r"""The tokens that are evaluated, [f, h, w] bool; None for all.

        Args:
            region: where the edit may change the video; None everywhere.
        """
        if self.sparse != 'share' or region is None or not region.limits:
            return None
        cells = region.cells
        grid = token_grid((1, *cells.shape), patch_size)
        # A token of which any cell is the product's.
        touched = F.adaptive_max_pool2d(cells[:, None].float(), grid[1:])
        return dilate(touched[:, 0], self.sparse_margin) > 0


DENSE = SparseConfig('off')


# A timestep -> a sample's slots of all blocks; None where it reads nothing.
Reads = Callable[[float], Sequence[RefSlot | None] | None]


def reading(slots: Slots, branch: str) -> Reads:
    r"""How a branch reads its slots."""
    return lambda t: slots([True], t) if slots.reads(branch, t) else None


def lockstep(
    denoiser: Denoiser,
    conditions: Mapping[Hashable, Condition],
    tokens: Mapping[Hashable, Tensor],
    rests: Mapping[Hashable, Hashable],
    reads: Mapping[Hashable, Reads] | None = None,
) -> Velocity:
    r"""Branches of which some are evaluated on a few tokens, in one forward.

    Any number of them may read the rest from one branch, each on tokens of
    its own, and each a reference of its own. All are asked for at once.

    Args:
        conditions: of each branch.
        tokens: [n], rising, of the branches that have only some.
        rests: for these the branch, of all tokens, whose keys and values, and
            whose velocity, stand for the rest.
        reads: of the branches that read a reference, made for their tokens.
    """
    packs: dict[tuple[Hashable, ...], tuple[Pack, Condition]] = {}

    def packed(names, first, length):
        if names not in packs:
            parts = [Part(tokens[name], names.index(first[rests[name]]))
                     if name in tokens else Part() for name in names]
            packs[names] = Pack(parts, length), Condition.joined(
                [conditions[name] for name in names])
        return packs[names]

    def by_branch(latents, t):
        found = {name: (reads or {}).get(name, _nothing)(t)
                 for name in latents}
        same: dict[tuple[int, int, int], Hashable] = {}
        first = {
            name: same.setdefault(
                (id(latent), id(conditions[name]), id(found[name])), name)
            for name, latent in latents.items()}
        names = tuple(same.values())
        pack, condition = packed(names, first, math.prod(token_grid(
            latents[names[0]].shape, denoiser.model.patch_size)))
        ref = packed_slots(pack, {
            i: found[name] for i, name in enumerate(names) if found[name]})
        out = dict(zip(names, denoiser.sharing(pack)(
            [latents[name] for name in names], t, condition, ref),
            strict=True))
        return {name: out[first[name]] for name in latents}

    return by_branch


def _nothing(t: float) -> None:
    r"""What a branch reads that has no reference."""


@dataclass(frozen=True)
class Sparse:
    r"""An edit of a few tokens.

    Args:
        inside: [f, h, w] bool, the tokens that are evaluated.
        edit: of which method, and how it guides the source.
    """
    inside: Tensor
    edit: EditConfig

    @property
    def share(self) -> float:
        r"""Of the tokens, above 0 to 1."""
        return self.inside.float().mean().item()

    def velocity(
        self,
        denoiser: Denoiser,
        conditions: Mapping[str, Condition],
        slots: Slots | None = None,
        windows: Sequence[slice] = WHOLE,
    ) -> Velocity:
        r"""The velocities of the edit's branches, see `wan.velocity`.

        Args:
            conditions: of each branch, by the names of `BRANCHES`.
            windows: of a long clip; each has the tokens that are in it.

        Raises:
            ValueError: see `check_common`.
        """
        v = lockstep_edits(
            denoiser, [SparseEdit(self, conditions, slots)], windows)

        def by_branch(latents, t):
            out = v({(name, 0): x for name, x in latents.items()}, t)
            return {name: out[name, 0] for name in latents}

        return by_branch


class SparseEdit(NamedTuple):
    r"""One of the edits of a source, as it is evaluated.

    Args:
        sparse: on which tokens.
        conditions: of each branch, by the names of `BRANCHES`.
        slots: its reference.
    """
    sparse: Sparse
    conditions: Mapping[str, Condition]
    slots: Slots | None = None


def lockstep_edits(
    denoiser: Denoiser,
    edits: Sequence[SparseEdit],
    windows: Sequence[slice] = WHOLE,
) -> Velocity:
    r"""Velocities of edits that read one source's branches, evaluated once.

    Its branches are named (branch, number of the edit); those of the source
    are the first edit's, and all others' as well.

    Args:
        windows: of a long clip; each has the tokens that are in it.

    Raises:
        ValueError: see `check_common`.
    """
    for edit in edits:
        check_common(edit.conditions, windows)

    def of_window(window):
        return _in_window(denoiser, [
            edit if len(windows) == 1 else edit._replace(
                sparse=replace(
                    edit.sparse, inside=edit.sparse.inside[window]),
                slots=edit.slots and edit.slots.part(window))
            for edit in edits])

    return windowed(of_window, windows)


def _in_window(denoiser: Denoiser, edits: Sequence[SparseEdit]) -> Velocity:
    asked = [name for name in BRANCHES if name in edits[0].conditions]
    conditions, tokens, rests, reads = {}, {}, {}, {}
    for number, (sparse, told, slots) in enumerate(edits):
        chosen = sparse.inside.flatten().nonzero().flatten()
        own = slots and slots.at(chosen)
        for name in asked:
            key = name, number
            conditions[key] = told[name]
            if BRANCHES[name].latent == 'p':
                tokens[key], rests[key] = chosen, (_rest(name, asked), 0)
            if slots:
                reads[key] = reading(own if key in tokens else slots, name)
    v = lockstep(denoiser, conditions, tokens, rests, reads)
    cells = [_cells(edit.sparse.inside, denoiser.model.patch_size)
             for edit in edits]
    scale = edits[0].sparse.edit.src_guide_scale

    def by_branch(latents, t):
        # In the order of `BRANCHES`: the source's branches come first.
        out = v({
            (name, number): latents[name, number] for name in BRANCHES
            for number in range(len(edits)) if (name, number) in latents
            and len(tokens.get((name, number), (None,)))}, t)
        source = source_velocity({
            name: u for (name, _), u in out.items()
            if BRANCHES[name].latent == 'q'}, scale)
        return {
            key: torch.where(cells[key[1]], out.get(key, source), source)
            if key in tokens else out[key] for key in latents}

    return by_branch


def _rest(name: str, asked: Sequence[str]) -> str:
    r"""The source's branch of the same prompt, if there is one."""
    prompt = BRANCHES[name].prompt
    return next((other for other in asked
                 if BRANCHES[other] == ('q', prompt)), 'q')


def _cells(inside: Tensor, patch_size: Sequence[int]) -> Tensor:
    r"""Tokens [f, h, w] as cells of the latent, [T, h, w]."""
    for dim, times in enumerate(patch_size):
        inside = inside.repeat_interleave(times, dim)
    return inside
