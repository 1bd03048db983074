r"""The reference bank: K and V of a product photo, captured once, read often.

Capture: one forward of the photo's one-frame latent; each block's slot keeps
the keys after `norm_k`, unrotated, and the values, and returns the attention
as it is. Nothing is stored on the model. How the bank is read stands in
`reading`.
"""
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ..conditioning import Condition
from ..modules.rope import Grid, token_grid
from ..velocity import Denoiser


@dataclass(frozen=True)
class Reference:
    r"""One photo in the bank.

    Args:
        keys: of each block, [1, Lr, N, D], normed and not rotated.
        values: of each block, [1, Lr, N, D].
        grid: the photo's tokens, Lr in all.
        mask: [Lr], true for the product's tokens; None for all of them.
    """
    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    grid: Grid
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

    def __call__(self, q, k, v, x, q_rotated, k_rotated):
        self.keys.append(k.to(v.dtype))
        self.values.append(v)
        return x


def capture(
    denoiser: Denoiser,
    latent: torch.Tensor,
    condition: Condition,
    sigmas: Sequence[float] = (0.,),
    noise: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
) -> Reference:
    r"""Run the photo through the model and keep every block's K and V.

    Args:
        denoiser: the model.
        latent: [C, 1, h, w], the photo encoded as the video is (more frames
            are a reference as well).
        condition: of the target prompt, as for sampling.
        sigmas: in [0, 1], to run at; keys and values are averaged over them.
        noise: like `latent`; mixes each sigma's noise into it. None leaves
            it clean and moves only the timestep.
        mask: [Lr], true for the product's tokens.
    """
    # So few tokens that every process has them all.
    denoiser, model = denoiser.alone, denoiser.model
    grid = token_grid(latent.shape, model.patch_size)
    keys = values = None
    for sigma in sigmas:
        x = latent if noise is None else (1 - sigma) * latent + sigma * noise
        slot = _Recorder()
        denoiser([x], denoiser.timestep(sigma), condition,
                 ref=[slot] * len(model.blocks))
        share = 1 / len(sigmas)
        k, v = ([part * share for part in kept]
                for kept in (slot.keys, slot.values))
        keys = k if keys is None else [a + b for a, b in zip(
            keys, k, strict=True)]
        values = v if values is None else [a + b for a, b in zip(
            values, v, strict=True)]
    return Reference(tuple(keys), tuple(values), grid, mask)
