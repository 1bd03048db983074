r"""Edit only what changes: the edit's branches on the product's tokens alone.

Outside of the product an edit is its source, and so are, nearly, the hidden
states of its branches (p) those of the source's (q). So q is evaluated on all
tokens and p on the region's; p's self-attention sees its own keys and values
and, of all other tokens, q's, in step block by block. Outside of the region
v_p is v_q: the update is 0 there, and the edit stays the source bit for bit.

A step of FlowAlign costs 1 + 2 s evaluations in place of 3, s being the
region's share of the tokens (with the reference's own guidance 1 + 3 s of 4).
"""
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .conditioning import Condition
from .edit_config import EditConfig
from .flowalign import BRANCHES, EDIT_METHODS, source_velocity
from .modules.packing import Pack, Part, packed_slots
from .modules.rope import token_grid
from .product.filters import dilate
from .product.masks import Region
from .utils.flags import check_choices, choice
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
    sparse_margin: int = 0

    def __post_init__(self):
        check_choices(self)
        if not 0 <= self.sparse_margin <= 16:
            raise ValueError(
                f'sparse_margin is {self.sparse_margin}, allowed is 0 to 16.')

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


def lockstep(
    denoiser: Denoiser,
    conditions: Mapping[str, Condition],
    tokens: Mapping[str, Tensor],
    rests: Mapping[str, str],
    slots: Slots | None = None,
) -> Velocity:
    r"""Branches of which some are evaluated on a few tokens, in one forward.

    Any number of them may read the rest from one branch, each on tokens of
    its own. All are asked for at once.

    Args:
        conditions: of each branch.
        tokens: [n], rising, of the branches that have only some.
        rests: for these the branch, of all tokens, whose keys and values, and
            whose velocity, stand for the rest.
        slots: the reference.
    """
    packs: dict[tuple[str, ...], tuple[Pack, Condition]] = {}
    own: dict[int, Slots] = {}

    def slots_of(name):
        if name not in tokens:
            return slots
        return own.setdefault(id(tokens[name]), slots.at(tokens[name]))

    def packed(names, first, length):
        if names not in packs:
            parts = [Part(tokens[name], names.index(first[rests[name]]))
                     if name in tokens else Part() for name in names]
            packs[names] = Pack(parts, length), Condition.joined(
                [conditions[name] for name in names])
        return packs[names]

    def by_branch(latents, t):
        reads = {name: slots is not None and slots.reads(name, t)
                 for name in latents}
        same: dict[tuple[int, int, bool], str] = {}
        first = {
            name: same.setdefault(
                (id(latent), id(conditions[name]), reads[name]), name)
            for name, latent in latents.items()}
        names = tuple(same.values())
        pack, condition = packed(names, first, math.prod(token_grid(
            latents[names[0]].shape, denoiser.model.patch_size)))
        found = {i: slots_of(name)([True], t)
                 for i, name in enumerate(names) if reads[name]}
        ref = packed_slots(
            pack, {i: blocks for i, blocks in found.items() if blocks})
        out = dict(zip(names, denoiser.sharing(pack)(
            [latents[name] for name in names], t, condition, ref),
            strict=True))
        return {name: out[first[name]] for name in latents}

    return by_branch


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
        check_common(conditions, windows)

        def of_window(window):
            own = slots if slots is None or len(windows) == 1 \
                else slots.part(window)
            return self._of(
                denoiser, conditions, own, self.inside[window])

        return windowed(of_window, windows)

    def _of(self, denoiser, conditions, slots, inside) -> Velocity:
        chosen = inside.flatten().nonzero().flatten()
        asked = [name for name in BRANCHES if name in conditions]
        rests = {name: _rest(name, asked) for name in asked
                 if BRANCHES[name].latent == 'p'}
        v = lockstep(denoiser, conditions, dict.fromkeys(rests, chosen),
                     rests, slots)
        cells = _cells(inside, denoiser.model.patch_size)

        def by_branch(latents, t):
            # In the order of `BRANCHES`: the source's branches come first.
            wanted = {
                name: latents[name] for name in BRANCHES if name in latents
                and (name not in rests or len(chosen))}
            out = v(wanted, t)
            source = source_velocity(out, self.edit.src_guide_scale)
            return {
                name: torch.where(cells, out.get(name, source), source)
                if name in rests else out[name] for name in latents}

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
