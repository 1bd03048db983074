r"""The one caller of the model: velocities of named branches.

Sampling asks for the branches 'cond' and 'uncond', an edit for those of its
method. Whatever saves or shares evaluations wraps a `Velocity` and is one
again; neither the loops nor the model know of it.
"""
import math
from collections.abc import (
    Callable,
    Container,
    Hashable,
    Iterable,
    Mapping,
    Sequence,
)
from typing import Protocol

import torch
from torch import Tensor

from .conditioning import Condition
from .modules.attention import attention
from .modules.model import WanModel
from .modules.rope import token_grid
from .modules.slots import CrossSlot, RefSlot, Share
from .samplers import guided

# ({branch: latent}, t) -> {branch: velocity}; latents and velocities are
# [C, T, h, w], t in [0, 1000] is a number or a tensor [].
Velocity = Callable[[Mapping[str, Tensor], float | Tensor], dict[str, Tensor]]


class Slots(Protocol):
    r"""Which branches read a reference, when, and how."""

    def reads(self, branch: str, t: float) -> bool:
        r"""Whether a branch reads at a timestep."""

    def __call__(
        self, reads: Sequence[bool], t: float
    ) -> list[RefSlot | None] | None:
        r"""Slots of all blocks for a batch of which some samples read."""

    def part(self, frames: slice) -> 'Slots':
        r"""The same for some of the video's latent frames alone."""

    def at(self, tokens: Tensor) -> 'Slots':
        r"""The same for some of the video's tokens alone, [n], rising."""


class Denoiser:
    r"""A model, and how it is called.

    Args:
        model: the network, on the device it runs on.
        num_train_timesteps: the model's timestep at sigma 1.
        attend: computes every attention.
        sp_size: processes that share the tokens; their number is padded to a
            multiple of it.
        share: this process's share of the tokens; None has all of them.
    """

    def __init__(
        self,
        model: WanModel,
        num_train_timesteps: int = 1000,
        attend: Callable[..., Tensor] = attention,
        sp_size: int = 1,
        share: Share | None = None,
    ):
        self.model = model
        self.num_train_timesteps = num_train_timesteps
        self.attend = attend
        self.sp_size = sp_size
        self.share = share

    @property
    def alone(self) -> 'Denoiser':
        r"""The same with all tokens in every process, for a few of them."""
        return Denoiser(self.model, self.num_train_timesteps, self.attend)

    def sharing(self, share: Share) -> 'Denoiser':
        r"""The same with another share of the tokens, in this process."""
        return Denoiser(
            self.model, self.num_train_timesteps, self.attend, share=share)

    def timestep(self, sigma: float) -> float:
        r"""The model's timestep at a sigma in [0, 1]."""
        return self.num_train_timesteps * sigma

    def __call__(
        self,
        latents: Sequence[Tensor],
        t: float | Tensor,
        condition: Condition,
        ref: Sequence[RefSlot | None] | None = None,
        cross: Sequence[CrossSlot | None] | None = None,
    ) -> list[Tensor]:
        r"""The velocity of each latent [C, T, h, w] at its timestep.

        `t` is one for all, a number or [], or one each, [B].
        """
        tokens = max(
            math.prod(token_grid(x.shape, self.model.patch_size))
            for x in latents)
        seq_len = -(-tokens // self.sp_size) * self.sp_size
        t = torch.as_tensor(t, device=latents[0].device).expand(len(latents))
        return self.model(
            list(latents), t=t, context=condition.text, seq_len=seq_len,
            ref=ref, cross=cross, attend=self.attend, share=self.share,
            **condition.inputs)


def velocity(
    denoiser: Denoiser,
    conditions: Mapping[str, Condition],
    slots: Slots | None = None,
    batch: bool = False,
) -> Velocity:
    r"""The velocities of branches, each latent evaluated once.

    Branches of the same latent and condition that read alike are one
    evaluation.

    Args:
        denoiser: the model.
        conditions: of each branch.
        slots: the reference; None reads nothing.
        batch: evaluate all branches of a step, of one size, as one batch.
    """
    joined: dict[tuple[int, ...], Condition] = {}

    def evaluate(names, latents, reads, t):
        chosen = tuple(id(conditions[name]) for name in names)
        if chosen not in joined:
            joined[chosen] = Condition.joined([conditions[n] for n in names])
        ref = slots(reads, t) if any(reads) else None
        return denoiser(
            [latents[name] for name in names], t, joined[chosen], ref)

    def by_branch(latents, t):
        reads = {name: slots is not None and slots.reads(name, t)
                 for name in latents}
        same: dict[Hashable, str] = {}
        first = {
            name: same.setdefault(
                (id(latent), id(conditions[name]), reads[name]), name)
            for name, latent in latents.items()}
        out = {}
        for group in _groups(same.values(), latents, batch):
            out.update(zip(group, evaluate(
                group, latents, [reads[name] for name in group], t),
                strict=True))
        return {name: out[first[name]] for name in latents}

    return by_branch


def _groups(
    names: Iterable[str], latents: Mapping[str, Tensor], batch: bool
) -> list[list[str]]:
    r"""Branches that are evaluated at once: those of one size, or each."""
    if not batch:
        return [[name] for name in names]
    groups: dict[torch.Size, list[str]] = {}
    for name in names:
        groups.setdefault(latents[name].shape, []).append(name)
    return list(groups.values())


def behind(
    v: Velocity,
    lead: Tensor,
    noise: Tensor,
    branches: Container[str],
    denoiser: Denoiser,
) -> Velocity:
    r"""Branches evaluated behind clean frames that are noised as they are.

    Args:
        v: of the longer latents.
        lead: [C, n, h, w], put in front of the branches' latents in time.
        noise: like it, mixed in by the timestep.
        branches: names of those it is put in front of.
        denoiser: tells a timestep's sigma.
    """

    def longer(latents, t):
        sigma = t / denoiser.num_train_timesteps
        front = (1 - sigma) * lead + sigma * noise
        joined: dict[int, Tensor] = {}  # branches of one latent still are
        out = v({
            name: joined.setdefault(id(x), torch.cat([front, x], dim=1))
            if name in branches else x for name, x in latents.items()}, t)
        return {name: u[:, lead.size(1):] if name in branches else u
                for name, u in out.items()}

    return longer


def classifier_free(
    v: Velocity, scale: float
) -> Callable[[Tensor, Tensor], Tensor]:
    r"""(latent, t) -> velocity with classifier-free guidance (2207.12598).

    At scale 1 the negative prompt has no weight and is not evaluated.

    Args:
        v: of the branches 'cond' and 'uncond'.
        scale: the guidance scale.
    """

    def guided_velocity(latent, t):
        if scale == 1:
            return v({'cond': latent}, t)['cond']
        out = v({'cond': latent, 'uncond': latent}, t)
        return guided(out['cond'], out['uncond'], scale)

    return guided_velocity


def at_sigma(v: Velocity, denoiser: Denoiser) -> Velocity:
    r"""The same by sigma in [0, 1], as the editing loops ask for it."""
    return lambda latents, sigma: v(latents, denoiser.timestep(sigma))
